//! `notice`: why something was or was not told (I9).

use schemas::{EventId, IncidentId, Position, ProjectId, Time};

use super::column;
use crate::{Error, lane::LaneTransaction, timestamptz};

/// One decision of notify.
#[derive(Debug)]
pub struct NoticeRow<'a> {
    pub project: &'a ProjectId,
    pub event: EventId,
    pub incident: IncidentId,
    pub opening: Position,
    /// What it was decided about.
    pub at: Position,
    /// `planned` or `withheld`.
    pub verdict: &'static str,
    /// What was planned, and for whom.
    pub kind: Option<&'static str>,
    pub receiver: Option<&'a str>,
    /// Why nothing was planned.
    pub reason: Option<&'a str>,
    pub rule: &'a str,
    pub rules: &'a str,
    pub lane_time: Time,
}

impl LaneTransaction<'_> {
    /// Adds decisions of notify.
    pub async fn insert_notices(&mut self, rows: &[NoticeRow<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into notice (generation, project, event_id, incident, opening, at, verdict, \
               kind, receiver, reason, rule, rules, lane_time) \
             select $1, u.* from unnest($2::text[], $3::uuid[], $4::uuid[], $5::text[], \
               $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], \
               $12::text[], $13::timestamptz[]) as u \
             on conflict do nothing",
        )
        .bind(self.generation.0)
        .bind(column(rows, |r| r.project.as_str()))
        .bind(column(rows, |r| r.event.0))
        .bind(column(rows, |r| r.incident.0))
        .bind(column(rows, |r| r.opening.to_string()))
        .bind(column(rows, |r| r.at.to_string()))
        .bind(column(rows, |r| r.verdict))
        .bind(column(rows, |r| r.kind))
        .bind(column(rows, |r| r.receiver))
        .bind(column(rows, |r| r.reason))
        .bind(column(rows, |r| r.rule))
        .bind(column(rows, |r| r.rules))
        .bind(column(rows, |r| timestamptz(r.lane_time)))
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("insert notices"))?;
        Ok(())
    }
}
