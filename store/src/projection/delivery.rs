//! `delivery`: one row a delivery and its outcome (R71).

use schemas::{InputPosition, Outcome, ProjectId, RecordId, SourceId, Time};

use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::text;
use crate::{
    lane::LaneTransaction,
    rows::{Row, composites},
    timestamptz,
};

/// What became of one delivery.
#[derive(Debug)]
pub struct DeliveryRow<'a> {
    /// Lane day: days since the Unix epoch.
    pub day: i32,
    pub record: RecordId,
    pub at: InputPosition,
    pub project: &'a ProjectId,
    pub source: &'a SourceId,
    pub provider: &'a str,
    pub outcome: Outcome,
    pub reason: Option<&'a str>,
    pub alerts: u32,
    pub received_at: Time,
}

impl Row for DeliveryRow<'_> {
    const TYPE: &'static str = "delivery_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.day)?
            .encode(self.record.0)?
            .encode(self.at.incarnation)?
            .encode(self.at.sequence as i64)?
            .encode(self.at.record as i32)?
            .encode(self.project.as_str())?
            .encode(self.source.as_str())?
            .encode(self.provider)?
            .encode(self.outcome.word())?
            .encode(self.reason.map(text))?
            .encode(self.alerts as i32)?
            .encode(timestamptz(self.received_at))?;
        Ok(())
    }
}

impl LaneTransaction<'_> {
    /// Adds outcomes of deliveries; the partitions of their days must be open.
    pub fn insert_deliveries(&mut self, rows: &[DeliveryRow<'_>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "delivery",
            "insert into delivery (generation, day, record, inc, seq, rec, project, source, \
               provider, outcome, reason, alerts, received_at) \
             select $1, u.* from unnest(?::delivery_row[]) as u \
             on conflict do nothing",
        )
        .bind(composites(rows));
    }
}
