//! Sends that an operator has to look at: refused for good, or of which nobody knows whether they
//! arrived.

use schemas::{Generation, IncidentId, JobId, Position, ProjectId, Time, id};
use sqlx::FromRow;
use uuid::Uuid;

use super::{End, Telling};
use crate::{Error, Store, projection::text, time};

/// A send that was given up.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsent {
    pub generation: Generation,
    pub job: JobId,
    pub project: ProjectId,
    pub incident: IncidentId,
    pub target: String,
    /// Parked, or unknown.
    pub end: End,
    /// Why, in the receiver's words where it had any.
    pub reason: String,
    pub attempts: u32,
    pub trigger: Position,
    pub settled_at: Time,
    /// CBOR.
    pub payload: Vec<u8>,
}

/// What came of asking to send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resent {
    /// It waits to be sent, as this job.
    As(JobId),
    /// It was not given up, or was asked for again since.
    NotGivenUp,
    /// The receiver is known to have taken it, from this job or another.
    Told,
}

#[derive(FromRow)]
struct UnsentRow {
    generation: i32,
    id: Uuid,
    project: String,
    incident: Uuid,
    target: String,
    state: String,
    reason: Option<String>,
    attempts: i32,
    trigger: String,
    settled_at: jiff_sqlx::Timestamp,
    payload: Vec<u8>,
}

impl TryFrom<UnsentRow> for Unsent {
    type Error = Error;

    fn try_from(row: UnsentRow) -> Result<Self, Error> {
        fn unreadable(column: &'static str, detail: impl ToString) -> Error {
            Error::Column { table: "job", column, detail: detail.to_string() }
        }
        Ok(Self {
            generation: Generation(row.generation),
            job: JobId(row.id),
            project: ProjectId::new(row.project).map_err(|e| unreadable("project", e))?,
            incident: IncidentId(row.incident),
            target: row.target,
            end: End::from_word(&row.state).ok_or_else(|| unreadable("state", &row.state))?,
            reason: row.reason.unwrap_or_default(),
            attempts: u32::try_from(row.attempts).map_err(|e| unreadable("attempts", e))?,
            trigger: row.trigger.parse().map_err(|e| unreadable("trigger", e))?,
            settled_at: time(row.settled_at),
            payload: row.payload,
        })
    }
}

/// Sends of the live generation that were given up, in the columns of [`UnsentRow`].
const UNSENT: &str = "select j.generation, j.id, j.project, j.incident, j.target, j.state, \
       j.reason, j.attempts, j.trigger, j.settled_at, j.payload \
     from job j join generation g on g.generation = j.generation and g.state = 'active' \
     where j.queue = 'send' and j.state in ('parked', 'unknown')";

impl Store {
    /// The sends that were given up, the last first.
    pub async fn unsent(&self, limit: u32) -> Result<Vec<Unsent>, Error> {
        let statement = format!("{UNSENT} order by j.settled_at desc, j.id limit $1");
        let rows: Vec<UnsentRow> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(i64::from(limit))
            .fetch_all(self.pool())
            .await
            .map_err(Error::doing("list the sends that were given up"))?;
        rows.into_iter().map(Unsent::try_from).collect()
    }

    /// A send that was given up.
    pub async fn unsent_at(&self, job: JobId) -> Result<Option<Unsent>, Error> {
        let row: Option<UnsentRow> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("{UNSENT} and j.id = $1")))
                .bind(job.0)
                .fetch_optional(self.pool())
                .await
                .map_err(Error::doing("look for a send that was given up"))?;
        row.map(Unsent::try_from).transpose()
    }

    /// Has a send that was given up sent again, at the word of `operator`: a new job does it, and
    /// the old one is over. Nothing that somebody is known to have been told is sent again.
    ///
    /// `telling` is what [`Store::tell`] was asked for it.
    pub async fn resend(
        &self,
        unsent: &Unsent,
        telling: Telling<'_>,
        operator: &str,
    ) -> Result<Resent, Error> {
        let again = JobId(id::derive(unsent.job.0, "again", u64::from(unsent.attempts)));
        let doing = || Error::doing("send again");
        let mut transaction = self.pool().begin().await.map_err(doing())?;
        let ended = sqlx::query(
            "update job set state = 'done', reason = $3
             where generation = $1 and id = $2 and state in ('parked', 'unknown')",
        )
        .bind(unsent.generation.0)
        .bind(unsent.job.0)
        .bind(text(&format!("{}; sent again by {operator} as {again}", unsent.reason)))
        .execute(&mut *transaction)
        .await
        .map_err(doing())?;
        if ended.rows_affected() == 0 {
            return Ok(Resent::NotGivenUp);
        }
        let told: Option<bool> = sqlx::query_scalar(
            "select delivered_at is not null or (job <> $6 and refused_at is null) from sent
             where project = $1 and target = $2 and kind = $3 and subject = $4 and trigger = $5
             for update",
        )
        .bind(telling.project.as_str())
        .bind(telling.target)
        .bind(telling.kind)
        .bind(telling.subject)
        .bind(telling.trigger.to_string())
        .bind(telling.job.0)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(doing())?;
        if told == Some(true) {
            // Dropped, the transaction takes the first step back.
            return Ok(Resent::Told);
        }
        sqlx::query(
            "update sent set refused_at = coalesce(refused_at, now())
             where project = $1 and target = $2 and kind = $3 and subject = $4 and trigger = $5",
        )
        .bind(telling.project.as_str())
        .bind(telling.target)
        .bind(telling.kind)
        .bind(telling.subject)
        .bind(telling.trigger.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(doing())?;
        sqlx::query(
            "insert into job (generation, id, queue, lane, project, incident, target, state,
                              trigger, payload, urgent)
             select generation, $3, queue, lane, project, incident, target, 'pending', trigger,
                    payload, true
             from job where generation = $1 and id = $2",
        )
        .bind(unsent.generation.0)
        .bind(unsent.job.0)
        .bind(again.0)
        .execute(&mut *transaction)
        .await
        .map_err(doing())?;
        transaction.commit().await.map_err(doing())?;
        Ok(Resent::As(again))
    }
}
