//! What was told before (I6): one row a telling, in no generation.

use schemas::{JobId, Position, ProjectId};
use uuid::Uuid;

use crate::{Error, Store};

/// Who told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nobody so far: the row is made, go on.
    First,
    /// This job, at an earlier attempt of which no refusal is known: it may have arrived.
    Again,
    /// Another job: there is nothing left to tell.
    ByAnother,
}

/// The key of `sent` (I6): never told twice.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    pub project: &'a ProjectId,
    pub target: &'a str,
    /// `fire`, `resolve`, ...
    pub kind: &'a str,
    /// Opening position or digest key, as text.
    pub subject: &'a str,
    pub trigger: Position,
    pub job: JobId,
}

impl Store {
    /// Claims the right to tell something, once for ever (I6).
    pub async fn tell(&self, telling: Telling<'_>) -> Result<Told, Error> {
        // The row can be retracted between the two statements; then the next round makes it.
        loop {
            let made = sqlx::query(
                "insert into sent (project, target, kind, subject, trigger, job)
                 values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
            )
            .bind(telling.project.as_str())
            .bind(telling.target)
            .bind(telling.kind)
            .bind(telling.subject)
            .bind(telling.trigger.to_string())
            .bind(telling.job.0)
            .execute(self.pool())
            .await
            .map_err(Error::doing("note what is told"))?;
            if made.rows_affected() > 0 {
                return Ok(Told::First);
            }
            let by: Option<Uuid> = sqlx::query_scalar(
                "select job from sent
                 where project = $1 and target = $2 and kind = $3 and subject = $4
                   and trigger = $5",
            )
            .bind(telling.project.as_str())
            .bind(telling.target)
            .bind(telling.kind)
            .bind(telling.subject)
            .bind(telling.trigger.to_string())
            .fetch_optional(self.pool())
            .await
            .map_err(Error::doing("read who told it"))?;
            match by {
                Some(job) if job == telling.job.0 => return Ok(Told::Again),
                Some(_) => return Ok(Told::ByAnother),
                None => {}
            }
        }
    }

    /// Takes back what [`Store::tell`] noted, after an answer that says for certain that nothing
    /// was told; the next attempt is [`Told::First`] again.
    pub async fn retract(&self, telling: Telling<'_>) -> Result<(), Error> {
        sqlx::query(
            "delete from sent
             where project = $1 and target = $2 and kind = $3 and subject = $4 and trigger = $5
               and job = $6",
        )
        .bind(telling.project.as_str())
        .bind(telling.target)
        .bind(telling.kind)
        .bind(telling.subject)
        .bind(telling.trigger.to_string())
        .bind(telling.job.0)
        .execute(self.pool())
        .await
        .map_err(Error::doing("take back what was noted as told"))?;
        Ok(())
    }
}
