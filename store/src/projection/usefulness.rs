//! `usefulness`: what operators say of the messages about an incident, the last word of each (A15).

use schemas::{IncidentId, JobId, ProjectId, Time};
use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::indexed;
use crate::{
    lane::LaneTransaction,
    rows::{Row, composites},
    timestamptz,
};

/// What an operator said last.
#[derive(Debug)]
pub struct UsefulnessRow<'a> {
    pub project: &'a ProjectId,
    pub incident: IncidentId,
    pub operator: &'a str,
    /// `useful`, `not_useful` or `noise`.
    pub verdict: &'static str,
    /// The diagnosis that stood then.
    pub run: Option<JobId>,
    /// Lane time.
    pub at: Time,
}

impl Row for UsefulnessRow<'_> {
    const TYPE: &'static str = "usefulness_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.project.as_str())?
            .encode(self.incident.0)?
            .encode(indexed(self.operator))?
            .encode(self.verdict)?
            .encode(self.run.map(|run| run.0))?
            .encode(timestamptz(self.at))?;
        Ok(())
    }
}

impl LaneTransaction<'_> {
    /// Puts the last words in place of those before; each (incident, operator) at most once a call.
    pub fn put_usefulness(&mut self, rows: &[UsefulnessRow<'_>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "usefulness",
            "insert into usefulness (generation, project, incident, operator, verdict, run, at) \
             select $1, u.* from unnest(?::usefulness_row[]) as u \
             on conflict (generation, project, incident, operator) do update set \
               verdict = excluded.verdict, run = excluded.run, at = excluded.at",
        )
        .bind(composites(rows));
    }
}
