//! `recurrence`: all-time counters of one recurrence key (R55).

use schemas::{EventId, Fingerprint, IncidentId, ProjectId, Time};

use super::{column, coverage::Counters, indexed, text};
use crate::{Error, lane::LaneTransaction, timestamptz};

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

impl LaneTransaction<'_> {
    /// Adds to the counters, each key at most once a call. Exact, because the cursor moves in the
    /// same transaction.
    pub async fn add_recurrence(&mut self, rows: &[RecurrenceRow<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into recurrence as r (generation, project, recurrence_key, provider, \
               alertname, severity, namespace, target_resource, fingerprint, latest_event_id, \
               latest_provider_event_id, latest_content_preview, latest_incident, \
               occurrence_total, duplicate_total, redacted_total, source_ref_total, \
               missing_source_refs_total, sentry_ref_total, signoz_ref_total, alert_ref_total, \
               first_received_at, latest_received_at, linked_total) \
             select $1, u.* from unnest($2::text[], $3::uuid[], $4::text[], $5::text[], \
               $6::text[], $7::text[], $8::text[], $9::uuid[], $10::uuid[], $11::text[], \
               $12::text[], $13::uuid[], $14::bigint[], $15::bigint[], $16::bigint[], \
               $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], \
               $22::timestamptz[], $23::timestamptz[], $24::bigint[]) as u \
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
        .bind(self.generation.0)
        .bind(column(rows, |r| r.project.as_str()))
        .bind(column(rows, |r| r.recurrence_key.0))
        .bind(column(rows, |r| r.provider))
        .bind(column(rows, |r| r.alertname.map(text)))
        .bind(column(rows, |r| r.severity.map(text)))
        .bind(column(rows, |r| r.namespace.map(text)))
        .bind(column(rows, |r| r.target_resource.map(text)))
        .bind(column(rows, |r| r.fingerprint.0))
        .bind(column(rows, |r| r.latest_event.0))
        .bind(column(rows, |r| indexed(r.latest_provider_event_id)))
        .bind(column(rows, |r| text(r.latest_content_preview)))
        .bind(column(rows, |r| r.latest_incident.map(|i| i.0)))
        .bind(column(rows, |r| r.counters.total))
        .bind(column(rows, |r| r.counters.duplicates))
        .bind(column(rows, |r| r.counters.redacted))
        .bind(column(rows, |r| r.counters.refs()))
        .bind(column(rows, |r| r.counters.without_refs))
        .bind(column(rows, |r| r.counters.sentry_refs))
        .bind(column(rows, |r| r.counters.signoz_refs))
        .bind(column(rows, |r| r.counters.alert_refs))
        .bind(column(rows, |r| timestamptz(r.first_received_at)))
        .bind(column(rows, |r| timestamptz(r.latest_received_at)))
        .bind(column(rows, |r| r.linked))
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("add to recurrence"))?;
        Ok(())
    }
}
