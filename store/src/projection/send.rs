//! `send`: what became of each send.

use schemas::{IncidentId, JobId, Position, ProjectId, Time};

use super::{column, text};
use crate::{Error, lane::LaneTransaction, timestamptz};

/// The end of one send.
#[derive(Debug)]
pub struct SendRow<'a> {
    pub project: &'a ProjectId,
    pub job: JobId,
    pub incident: Option<IncidentId>,
    pub target: &'a str,
    pub channel: &'a str,
    pub kind: &'a str,
    pub subject: &'a str,
    pub trigger: Position,
    pub result: &'static str,
    /// The provider's message id, or why it was not delivered.
    pub detail: Option<&'a str>,
    pub attempts: u32,
    /// Lane time.
    pub settled_at: Time,
}

impl LaneTransaction<'_> {
    /// Adds sends; the first outcome of a job stands.
    pub async fn insert_sends(&mut self, rows: &[SendRow<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into send (generation, project, job, incident, target, channel, kind, \
               subject, trigger, result, detail, attempts, settled_at) \
             select $1, u.* from unnest($2::text[], $3::uuid[], $4::uuid[], $5::text[], \
               $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], \
               $12::int[], $13::timestamptz[]) as u \
             on conflict do nothing",
        )
        .bind(self.generation.0)
        .bind(column(rows, |r| r.project.as_str()))
        .bind(column(rows, |r| r.job.0))
        .bind(column(rows, |r| r.incident.map(|i| i.0)))
        .bind(column(rows, |r| r.target))
        .bind(column(rows, |r| r.channel))
        .bind(column(rows, |r| r.kind))
        .bind(column(rows, |r| r.subject))
        .bind(column(rows, |r| r.trigger.to_string()))
        .bind(column(rows, |r| r.result))
        .bind(column(rows, |r| r.detail.map(text)))
        .bind(column(rows, |r| r.attempts as i32))
        .bind(column(rows, |r| timestamptz(r.settled_at)))
        .execute(self.connection().await?)
        .await
        .map_err(Error::doing("insert sends"))?;
        Ok(())
    }
}
