//! How much a target takes: its pause, and its budget, which all workers spend together.

use std::time::Duration;

use crate::{Error, Store};

/// How much a target takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub target: String,
    pub per_minute: u32,
    /// How many at once, after a time without any; at least 1.
    pub burst: u32,
}

impl Store {
    /// Makes the rows of targets that have a budget; those that stand keep what is left of it.
    pub async fn open_targets(&self, budgets: &[Budget]) -> Result<(), Error> {
        if budgets.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into target (target) select unnest($1::text[])
             on conflict (target) do nothing",
        )
        .bind(budgets.iter().map(|budget| budget.target.as_str()).collect::<Vec<_>>())
        .execute(self.pool())
        .await
        .map_err(Error::doing("make the rows of targets"))?;
        Ok(())
    }

    /// Takes `messages` more from a target's budget than the claim did, or gives back what was not
    /// used when it is negative.
    pub async fn spend(&self, target: &str, messages: i32) -> Result<(), Error> {
        sqlx::query("update target set tokens = tokens - $2 where target = $1")
            .bind(target)
            .bind(messages)
            .execute(self.pool())
            .await
            .map_err(Error::doing("spend a target's budget"))?;
        Ok(())
    }

    /// Lets no job of `target` start for `pause`, in any process. A longer pause stays.
    pub async fn pause_target(&self, target: &str, pause: Duration) -> Result<(), Error> {
        sqlx::query(
            "insert into target (target, not_before)
             values ($1, now() + make_interval(secs => $2))
             on conflict (target) do update
             set not_before = greatest(target.not_before, excluded.not_before)",
        )
        .bind(target)
        .bind(pause.as_secs_f64())
        .execute(self.pool())
        .await
        .map_err(Error::doing("pause a target"))?;
        Ok(())
    }
}
