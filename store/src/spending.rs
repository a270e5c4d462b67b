//! What is spent on analysts: one row an hour for an analyst and a project, and one for all projects
//! together, from which every worker takes before a call and which it puts right afterwards.
//!
//! Hours are those of the database's clock, which all workers share. A call whose worker died stays
//! taken: nobody knows whether it was paid for.

use schemas::ProjectId;
use sqlx::FromRow;

use crate::{Error, Store};

/// SQLSTATE of a lock that was not had in time.
const LOCK_TIMEOUT: &str = "55P03";

/// What calls take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub calls: u64,
    /// Of questions and answers together.
    pub tokens: u64,
    /// Millionths of the currency that prices are configured in.
    pub cost_micros: u64,
}

/// The most of each in an hour; what is absent has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub calls: Option<u64>,
    pub tokens: Option<u64>,
    pub cost_micros: Option<u64>,
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    Calls,
    Tokens,
    Cost,
}

/// What was taken for a call, to be put right by [`Store::settle_spending`].
#[derive(Clone, Debug)]
pub struct Taken {
    analyst: String,
    project: ProjectId,
    hour: jiff_sqlx::Timestamp,
    amount: Amount,
    /// What is spent in this hour, this included, on all projects.
    pub spent: Amount,
}

/// Whether a call may be made.
#[derive(Clone, Debug)]
pub enum Take {
    Taken(Taken),
    /// The hour's budget does not suffice: the project's own, or that of all projects.
    Short {
        short: Short,
        of_project: bool,
    },
    /// Others held the rows for too long.
    Busy,
}

impl Limits {
    /// What there is too little of for `more` on top of `spent`.
    fn short(self, spent: Amount, more: Amount) -> Option<Short> {
        let over = |limit: Option<u64>, spent: u64, more: u64| {
            limit.is_some_and(|limit| spent.saturating_add(more) > limit)
        };
        if over(self.calls, spent.calls, more.calls) {
            Some(Short::Calls)
        } else if over(self.tokens, spent.tokens, more.tokens) {
            Some(Short::Tokens)
        } else if over(self.cost_micros, spent.cost_micros, more.cost_micros) {
            Some(Short::Cost)
        } else {
            None
        }
    }
}

#[derive(FromRow)]
struct SpendingRow {
    project: String,
    hour: jiff_sqlx::Timestamp,
    calls: i64,
    tokens: i64,
    cost_micros: i64,
}

impl SpendingRow {
    fn amount(&self) -> Amount {
        Amount {
            calls: self.calls as u64,
            tokens: self.tokens as u64,
            cost_micros: self.cost_micros as u64,
        }
    }
}

impl Store {
    /// Takes what a call will probably cost from this hour's budgets: of all projects, whose limits
    /// are `all`, and of `project`, whose limits are `each`. Both or none. Waits for its turn at the
    /// rows for 2 s at most, because the connection it waits with is wanted elsewhere.
    pub async fn take_spending(
        &self,
        analyst: &str,
        project: &ProjectId,
        amount: Amount,
        all: Limits,
        each: Limits,
    ) -> Result<Take, Error> {
        let doing = || Error::doing("take from the budget of an analyst");
        let mut transaction = self.pool().begin().await.map_err(doing())?;
        // Who stops in the middle of it holds everybody up.
        sqlx::query(
            "select set_config('lock_timeout', '2s', true),
                 set_config('idle_in_transaction_session_timeout', '5s', true)",
        )
        .execute(&mut *transaction)
        .await
        .map_err(doing())?;
        // Writes nothing new, but makes the rows where there are none, and locks them both: the one
        // of all projects first, as everybody does.
        let rows = sqlx::query_as(
            "insert into spending (analyst, project, hour, calls, tokens, cost_micros)
             select $1, project, date_trunc('hour', now(), 'UTC'), 0, 0, 0
             from unnest(array['', $2]) with ordinality as of (project, n) order by n
             on conflict (analyst, project, hour) do update set calls = spending.calls
             returning project, hour, calls, tokens, cost_micros",
        )
        .bind(analyst)
        .bind(project.as_str())
        .fetch_all(&mut *transaction)
        .await;
        let rows: Vec<SpendingRow> = match rows {
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some(LOCK_TIMEOUT) => {
                return Ok(Take::Busy);
            }
            rows => rows.map_err(doing())?,
        };
        let (mut hour, mut spent) = (None, Amount::default());
        for row in &rows {
            let of_project = !row.project.is_empty();
            let limits = if of_project { each } else { all };
            if let Some(short) = limits.short(row.amount(), amount) {
                return Ok(Take::Short { short, of_project });
            }
            hour = Some(row.hour);
            if !of_project {
                spent = row.amount();
            }
        }
        let hour = hour.ok_or_else(|| doing()(sqlx::Error::RowNotFound))?;
        let spent = Amount {
            calls: spent.calls.saturating_add(amount.calls),
            tokens: spent.tokens.saturating_add(amount.tokens),
            cost_micros: spent.cost_micros.saturating_add(amount.cost_micros),
        };
        let taken =
            Taken { analyst: analyst.to_owned(), project: project.clone(), hour, amount, spent };
        change(&mut transaction, &taken, amount, Amount::default()).await.map_err(doing())?;
        transaction.commit().await.map_err(doing())?;
        Ok(Take::Taken(taken))
    }

    /// Puts right what was taken once it is known what was `used`.
    pub async fn settle_spending(&self, taken: &Taken, used: Amount) -> Result<(), Error> {
        if used == taken.amount {
            return Ok(());
        }
        let doing = || Error::doing("put the budget of an analyst right");
        let mut connection = self.pool().acquire().await.map_err(doing())?;
        change(&mut connection, taken, used, taken.amount).await.map_err(doing())
    }
}

/// Adds `more` and takes `less` away, in both rows.
async fn change(
    connection: &mut sqlx::PgConnection,
    of: &Taken,
    more: Amount,
    less: Amount,
) -> Result<(), sqlx::Error> {
    let by = |more: u64, less: u64| {
        let part = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        part(more).saturating_sub(part(less))
    };
    sqlx::query(
        // In the order in which they are taken.
        "with held as (
             select project from spending
             where analyst = $1 and hour = $3 and project in ('', $2) order by project for update
         )
         update spending set calls = greatest(0, spending.calls + $4),
             tokens = greatest(0, spending.tokens + $5),
             cost_micros = greatest(0, spending.cost_micros + $6)
         from held
         where spending.analyst = $1 and spending.hour = $3 and spending.project = held.project",
    )
    .bind(&of.analyst)
    .bind(of.project.as_str())
    .bind(of.hour)
    .bind(by(more.calls, less.calls))
    .bind(by(more.tokens, less.tokens))
    .bind(by(more.cost_micros, less.cost_micros))
    .execute(connection)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_little_is_named() {
        let limits = Limits { calls: Some(3), tokens: Some(100), cost_micros: None };
        let spent = Amount { calls: 2, tokens: 60, cost_micros: 1 << 60 };
        let more = |calls, tokens| Amount { calls, tokens, cost_micros: 1 };
        assert_eq!(limits.short(spent, more(1, 40)), None);
        assert_eq!(limits.short(spent, more(2, 0)), Some(Short::Calls));
        assert_eq!(limits.short(spent, more(1, 41)), Some(Short::Tokens));
        let poor = Limits { cost_micros: Some(5), ..Limits::default() };
        assert_eq!(poor.short(spent, more(1, 1)), Some(Short::Cost));
    }
}
