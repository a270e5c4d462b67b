//! `coverage`: all-time counters of one provider of a project (R52).

use schemas::{ProjectId, Time, alert::SourceRefs};

use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use crate::{
    lane::LaneTransaction,
    rows::{Row, composites},
    timestamptz,
};

/// What is counted of events, wherever they are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub total: i64,
    pub duplicates: i64,
    /// Events with at least one replaced value.
    pub redacted: i64,
    /// Events without any reference.
    pub without_refs: i64,
    pub sentry_refs: i64,
    pub signoz_refs: i64,
    pub alert_refs: i64,
}

impl Counters {
    /// Counts one event.
    pub fn add(&mut self, duplicate: bool, redacted: bool, refs: &SourceRefs) {
        self.total += 1;
        self.duplicates += i64::from(duplicate);
        self.redacted += i64::from(redacted);
        self.without_refs += i64::from(refs.count() == 0);
        self.sentry_refs += refs.sentry.len() as i64;
        self.signoz_refs += refs.signoz.len() as i64;
        self.alert_refs += refs.alert.len() as i64;
    }

    /// References of every kind.
    pub const fn refs(&self) -> i64 {
        self.sentry_refs + self.signoz_refs + self.alert_refs
    }
}

/// What a batch adds to one provider of a project.
#[derive(Debug)]
pub struct CoverageRow<'a> {
    pub project: &'a ProjectId,
    pub provider: &'a str,
    pub counters: Counters,
    pub latest_received_at: Time,
    /// The same without heartbeats and tests, so that they cannot hide a dead sender.
    pub latest_real_received_at: Option<Time>,
}

impl Row for CoverageRow<'_> {
    const TYPE: &'static str = "coverage_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.project.as_str())?
            .encode(self.provider)?
            .encode(self.counters.total)?
            .encode(self.counters.duplicates)?
            .encode(self.counters.redacted)?
            .encode(self.counters.refs())?
            .encode(self.counters.without_refs)?
            .encode(self.counters.sentry_refs)?
            .encode(self.counters.signoz_refs)?
            .encode(self.counters.alert_refs)?
            .encode(timestamptz(self.latest_received_at))?
            .encode(self.latest_real_received_at.map(timestamptz))?;
        Ok(())
    }
}

impl LaneTransaction<'_> {
    /// Adds to the counters, each provider of a project at most once a call. Exact, because the
    /// cursor moves in the same transaction.
    pub fn add_coverage(&mut self, rows: &[CoverageRow<'_>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "coverage",
            "insert into coverage as c (generation, project, provider, total, duplicate_total, \
               redacted_total, source_ref_total, missing_source_refs_total, sentry_ref_total, \
               signoz_ref_total, alert_ref_total, latest_received_at, latest_real_received_at) \
             select $1, u.* from unnest(?::coverage_row[]) as u \
             on conflict (generation, project, provider) do update set \
               total = c.total + excluded.total, \
               duplicate_total = c.duplicate_total + excluded.duplicate_total, \
               redacted_total = c.redacted_total + excluded.redacted_total, \
               source_ref_total = c.source_ref_total + excluded.source_ref_total, \
               missing_source_refs_total = \
                 c.missing_source_refs_total + excluded.missing_source_refs_total, \
               sentry_ref_total = c.sentry_ref_total + excluded.sentry_ref_total, \
               signoz_ref_total = c.signoz_ref_total + excluded.signoz_ref_total, \
               alert_ref_total = c.alert_ref_total + excluded.alert_ref_total, \
               latest_received_at = greatest(c.latest_received_at, excluded.latest_received_at), \
               latest_real_received_at = \
                 greatest(c.latest_real_received_at, excluded.latest_real_received_at)",
        )
        .bind(composites(rows));
    }
}
