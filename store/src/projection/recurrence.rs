//! `recurrence`: all-time counters of one recurrence key (R55).

use schemas::{EventId, Fingerprint, IncidentId, ProjectId, Time};

use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::{coverage::Counters, indexed, text};
use crate::{
    lane::LaneTransaction,
    rows::{Row, composites},
    timestamptz,
};

/// What a batch adds to one key; identity and `latest_*` are those of its last event.
#[derive(Debug)]
pub struct RecurrenceRow<'a> {
    pub project: &'a ProjectId,
    pub recurrence_key: Fingerprint,
    pub provider: &'a str,
    pub alertname: Option<&'a str>,
    pub severity: Option<&'a str>,
    pub namespace: Option<&'a str>,
    pub target_resource: Option<&'a str>,
    pub fingerprint: Fingerprint,
    pub latest_event: EventId,
    pub latest_provider_event_id: &'a str,
    pub latest_content_preview: &'a str,
    pub latest_incident: Option<IncidentId>,
    pub counters: Counters,
    /// Events that belong to an incident.
    pub linked: i64,
    pub first_received_at: Time,
    pub latest_received_at: Time,
}

impl Row for RecurrenceRow<'_> {
    const TYPE: &'static str = "recurrence_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.project.as_str())?
            .encode(self.recurrence_key.0)?
            .encode(self.provider)?
            .encode(self.alertname.map(text))?
            .encode(self.severity.map(text))?
            .encode(self.namespace.map(text))?
            .encode(self.target_resource.map(text))?
            .encode(self.fingerprint.0)?
            .encode(self.latest_event.0)?
            .encode(indexed(self.latest_provider_event_id))?
            .encode(text(self.latest_content_preview))?
            .encode(self.latest_incident.map(|i| i.0))?
            .encode(self.counters.total)?
            .encode(self.counters.duplicates)?
            .encode(self.counters.redacted)?
            .encode(self.counters.refs())?
            .encode(self.counters.without_refs)?
            .encode(self.counters.sentry_refs)?
            .encode(self.counters.signoz_refs)?
            .encode(self.counters.alert_refs)?
            .encode(timestamptz(self.first_received_at))?
            .encode(timestamptz(self.latest_received_at))?
            .encode(self.linked)?;
        Ok(())
    }
}

impl LaneTransaction<'_> {
    /// Adds to the counters, each key at most once a call. Exact, because the cursor moves in the
    /// same transaction.
    pub fn add_recurrence(&mut self, rows: &[RecurrenceRow<'_>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "recurrence",
            "insert into recurrence as r (generation, project, recurrence_key, provider, \
               alertname, severity, namespace, target_resource, fingerprint, latest_event_id, \
               latest_provider_event_id, latest_content_preview, latest_incident, \
               occurrence_total, duplicate_total, redacted_total, source_ref_total, \
               missing_source_refs_total, sentry_ref_total, signoz_ref_total, alert_ref_total, \
               first_received_at, latest_received_at, linked_total) \
             select $1, u.* from unnest(?::recurrence_row[]) as u \
             on conflict (generation, project, recurrence_key) do update set \
               alertname = excluded.alertname, severity = excluded.severity, \
               namespace = excluded.namespace, target_resource = excluded.target_resource, \
               fingerprint = excluded.fingerprint, latest_event_id = excluded.latest_event_id, \
               latest_provider_event_id = excluded.latest_provider_event_id, \
               latest_content_preview = excluded.latest_content_preview, \
               latest_incident = coalesce(excluded.latest_incident, r.latest_incident), \
               occurrence_total = r.occurrence_total + excluded.occurrence_total, \
               duplicate_total = r.duplicate_total + excluded.duplicate_total, \
               redacted_total = r.redacted_total + excluded.redacted_total, \
               source_ref_total = r.source_ref_total + excluded.source_ref_total, \
               missing_source_refs_total = \
                 r.missing_source_refs_total + excluded.missing_source_refs_total, \
               sentry_ref_total = r.sentry_ref_total + excluded.sentry_ref_total, \
               signoz_ref_total = r.signoz_ref_total + excluded.signoz_ref_total, \
               alert_ref_total = r.alert_ref_total + excluded.alert_ref_total, \
               linked_total = r.linked_total + excluded.linked_total, \
               first_received_at = least(r.first_received_at, excluded.first_received_at), \
               latest_received_at = greatest(r.latest_received_at, excluded.latest_received_at)",
        )
        .bind(composites(rows));
    }
}
