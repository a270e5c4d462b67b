//! `delivery`: one row a delivery and its outcome (R71).

use schemas::{InputPosition, Outcome, ProjectId, RecordId, SourceId, Time};

use super::{column, text};
use crate::{Error, lane::LaneTransaction, timestamptz};

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

impl LaneTransaction<'_> {
    /// Adds outcomes of deliveries; the partitions of their days must be open.
    pub async fn insert_deliveries(&mut self, rows: &[DeliveryRow<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into delivery (generation, day, record, inc, seq, rec, project, source, \
               provider, outcome, reason, alerts, received_at) \
             select $1, u.* from unnest($2::int[], $3::uuid[], $4::bigint[], $5::bigint[], \
               $6::int[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], \
               $12::int[], $13::timestamptz[]) as u \
             on conflict do nothing",
        )
        .bind(self.generation.0)
        .bind(column(rows, |r| r.day))
        .bind(column(rows, |r| r.record.0))
        .bind(column(rows, |r| r.at.incarnation))
        .bind(column(rows, |r| r.at.sequence as i64))
        .bind(column(rows, |r| r.at.record as i32))
        .bind(column(rows, |r| r.project.as_str()))
        .bind(column(rows, |r| r.source.as_str()))
        .bind(column(rows, |r| r.provider))
        .bind(column(rows, |r| r.outcome.word()))
        .bind(column(rows, |r| r.reason.map(text)))
        .bind(column(rows, |r| r.alerts as i32))
        .bind(column(rows, |r| timestamptz(r.received_at)))
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("insert delivery outcomes"))?;
        Ok(())
    }
}
