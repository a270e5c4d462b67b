//! Targets that do not answer: told one thing at a time, by all workers together, until they do.
//!
//! An attempt without an answer takes a worker's place until its time limit. So a target that was
//! silent a few times in a row is only probed: one attempt at a time, with a pause between two that
//! grows with the silence, and the first answer gives it all its places back.

use super::Job;
use crate::{Error, Store};

/// How a target answered lately, as a claim found it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// The last that was heard of it was an answer.
    #[default]
    Answers,
    /// The last attempt, or the last two, had no answer.
    Doubtful,
    /// It is silent, and this claim's attempt is the only one.
    Probed,
}

/// So many attempts in a row without an answer, and a target is silent.
pub(super) const SILENT: i32 = 3;

/// The pause between two probes is a quarter of the silence so far, but no shorter and no longer than
/// this, in seconds: so soon at the latest a target that answers again is noticed.
const SHORTEST_PAUSE: f64 = 1.0;
const LONGEST_PAUSE: f64 = 10.0;

impl Health {
    /// As [`Store::claim`] says it.
    pub(super) fn of(number: i32) -> Self {
        match number {
            0 => Self::Answers,
            1 => Self::Doubtful,
            _ => Self::Probed,
        }
    }
}

impl Store {
    /// Notes that the attempt of `job` had no answer. True: with that its target is silent, and was
    /// not before.
    pub async fn unanswered(&self, job: &Job) -> Result<bool, Error> {
        let silent: Option<i32> = sqlx::query_scalar(
            // What was begun before the target was found to be silent ends no other worker's probe.
            "update target
             set silent = silent + 1,
                 silent_since = coalesce(silent_since, now()),
                 probe_at = case when $2 or silent + 1 = $5 then
                     now() + make_interval(secs => least($4, greatest($3,
                         extract(epoch from now() - coalesce(silent_since, now())) / 4)))
                     else probe_at end
             where target = $1
             returning silent",
        )
        .bind(&job.target)
        .bind(job.health == Health::Probed)
        .bind(SHORTEST_PAUSE)
        .bind(LONGEST_PAUSE)
        .bind(SILENT)
        .fetch_optional(self.pool())
        .await
        .map_err(Error::doing("note that a target is silent"))?;
        Ok(silent == Some(SILENT))
    }

    /// Notes that `target` answered, whenever it was asked: it has all its places. True: it was silent
    /// until then.
    pub async fn answered(&self, target: &str) -> Result<bool, Error> {
        let before: Option<i32> = sqlx::query_scalar(
            "with before as (
                 select target, silent from target where target = $1 and silent > 0 for update
             )
             update target set silent = 0, silent_since = null, probe_at = null
             from before
             where target.target = before.target
             returning before.silent",
        )
        .bind(target)
        .fetch_optional(self.pool())
        .await
        .map_err(Error::doing("note that a target answers"))?;
        Ok(before.is_some_and(|silent| silent >= SILENT))
    }

    /// Hands the turn to probe `target` on, because nothing was asked in it.
    pub async fn pass_probe(&self, target: &str) -> Result<(), Error> {
        sqlx::query("update target set probe_at = now() where target = $1 and silent > 0")
            .bind(target)
            .execute(self.pool())
            .await
            .map_err(Error::doing("hand on the turn to probe a target"))?;
        Ok(())
    }
}
