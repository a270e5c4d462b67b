//! `notice`: why something was or was not told (I9).

use schemas::{EventId, IncidentId, Position, ProjectId, Time};

use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::text;
use crate::{
    lane::LaneTransaction,
    rows::{Row, composites},
    timestamptz,
};

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
    /// Why nothing was planned, or why people are told of what they were told of before.
    pub reason: Option<&'a str>,
    pub rule: &'a str,
    pub rules: &'a str,
    pub lane_time: Time,
    /// The summary it is or will be told in.
    pub summary: Option<&'a str>,
    /// What decided besides the rule.
    pub by: Option<&'a str>,
}

impl Row for NoticeRow<'_> {
    const TYPE: &'static str = "notice_row_2";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.project.as_str())?
            .encode(self.event.0)?
            .encode(self.incident.0)?
            .encode(self.opening.to_string())?
            .encode(self.at.to_string())?
            .encode(self.verdict)?
            .encode(self.kind)?
            .encode(self.receiver)?
            .encode(self.reason)?
            .encode(self.rule)?
            .encode(self.rules)?
            .encode(timestamptz(self.lane_time))?
            .encode(self.summary.map(text))?
            .encode(self.by.map(text))?;
        Ok(())
    }
}

impl LaneTransaction<'_> {
    /// Adds decisions of notify.
    pub fn insert_notices(&mut self, rows: &[NoticeRow<'_>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "notice",
            "insert into notice (generation, project, event_id, incident, opening, at, verdict, \
               kind, receiver, reason, rule, rules, lane_time, summary, decided_by) \
             select $1, u.* from unnest(?::notice_row_2[]) as u",
        )
        .bind(composites(rows));
    }
}
