//! `dossier`: one row an alert (R49-R51).

use schemas::{
    EventId, Fingerprint, IncidentId, Position, ProjectId, RecordId, SourceId, Time,
    alert::{Facts, LogCorrelation, SourceRefs},
};
use sqlx::types::Uuid;

use super::{column, indexed, json, stated, text};
use crate::{Error, lane::LaneTransaction, timestamptz};

/// One alert with its evidence.
#[derive(Debug)]
pub struct DossierRow<'a> {
    /// Lane day: days since the Unix epoch.
    pub day: i32,
    pub at: Position,
    pub event: EventId,
    pub record: RecordId,
    pub project: &'a ProjectId,
    pub source: &'a SourceId,
    pub channel_type: &'a str,
    pub provider: &'a str,
    pub stage: &'static str,
    pub provider_event_id: &'a str,
    pub title: &'a str,
    pub content_preview: &'a str,
    pub content_redacted: &'a str,
    pub has_redacted_content: bool,
    pub redaction_version: &'a str,
    pub source_url: Option<&'a str>,
    pub content_sha256: &'a [u8; 32],
    /// Bytes of the raw body.
    pub content_length: u64,
    pub refs: &'a SourceRefs,
    pub correlation: &'a LogCorrelation,
    pub facts: &'a Facts,
    pub alertname: Option<&'a str>,
    /// The sender's own word.
    pub severity: Option<&'a str>,
    pub namespace: Option<&'a str>,
    pub target_resource: Option<&'a str>,
    pub fingerprint: Fingerprint,
    pub recurrence_key: Fingerprint,
    pub effect: &'static str,
    pub is_duplicate: bool,
    pub incident: Option<IncidentId>,
    pub provider_ts: Option<Time>,
    pub received_at: Time,
}

impl LaneTransaction<'_> {
    /// Adds dossier rows; the partitions of their days must be open.
    pub async fn insert_dossier(&mut self, rows: &[DossierRow<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let jsons = |value: fn(&DossierRow<'_>) -> Result<String, Error>| {
            rows.iter().map(value).collect::<Result<Vec<_>, _>>()
        };
        sqlx::query(
            "insert into dossier (generation, day, inc, seq, rec, idx, event_id, record, project, \
               source, channel_type, provider, stage, provider_event_id, title, content_preview, \
               content_redacted, has_redacted_content, redaction_version, source_url, \
               content_sha256, content_length, source_refs, source_ref_count, sentry_ref_count, \
               signoz_ref_count, alert_ref_count, log_correlation, facts, alertname, severity, \
               namespace, target_resource, fingerprint, recurrence_key, effect, is_duplicate, \
               incident, provider_ts, received_at) \
             select $1, day, inc, seq, rec, idx, event_id, record, project, source, channel_type, \
               provider, stage, provider_event_id, title, content_preview, content_redacted, \
               redacted, redaction, url, sha, length, refs::jsonb, ref_count, sentry, signoz, \
               alert, correlation::jsonb, facts::jsonb, alertname, severity, namespace, target, \
               fingerprint, recurrence, effect, duplicate, incident, provider_ts, received_at \
             from unnest($2::int[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::uuid[], \
               $8::uuid[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], \
               $14::text[], $15::text[], $16::text[], $17::text[], $18::bool[], $19::text[], \
               $20::text[], $21::bytea[], $22::bigint[], $23::text[], $24::int[], $25::int[], \
               $26::int[], $27::int[], $28::text[], $29::text[], $30::text[], $31::text[], \
               $32::text[], $33::text[], $34::uuid[], $35::uuid[], $36::text[], $37::bool[], \
               $38::uuid[], $39::timestamptz[], $40::timestamptz[]) \
             as u(day, inc, seq, rec, idx, event_id, record, project, source, channel_type, \
               provider, stage, provider_event_id, title, content_preview, content_redacted, \
               redacted, redaction, url, sha, length, refs, ref_count, sentry, signoz, alert, \
               correlation, facts, alertname, severity, namespace, target, fingerprint, \
               recurrence, effect, duplicate, incident, provider_ts, received_at) \
             on conflict do nothing",
        )
        .bind(self.generation.0)
        .bind(column(rows, |r| r.day))
        .bind(column(rows, |r| r.at.input.incarnation))
        .bind(column(rows, |r| r.at.input.sequence as i64))
        .bind(column(rows, |r| r.at.input.record as i32))
        .bind(column(rows, |r| r.at.alert.map_or(-1, |index| index as i32)))
        .bind(column(rows, |r| r.event.0))
        .bind(column(rows, |r| r.record.0))
        .bind(column(rows, |r| r.project.as_str()))
        .bind(column(rows, |r| r.source.as_str()))
        .bind(column(rows, |r| r.channel_type))
        .bind(column(rows, |r| r.provider))
        .bind(column(rows, |r| r.stage))
        .bind(column(rows, |r| indexed(r.provider_event_id)))
        .bind(column(rows, |r| text(r.title)))
        .bind(column(rows, |r| text(r.content_preview)))
        .bind(column(rows, |r| text(r.content_redacted)))
        .bind(column(rows, |r| r.has_redacted_content))
        .bind(column(rows, |r| r.redaction_version))
        .bind(column(rows, |r| r.source_url.map(text)))
        .bind(column(rows, |r| &r.content_sha256[..]))
        .bind(column(rows, |r| r.content_length as i64))
        .bind(jsons(|r| json(r.refs))?)
        .bind(column(rows, |r| r.refs.count() as i32))
        .bind(column(rows, |r| r.refs.sentry.len() as i32))
        .bind(column(rows, |r| r.refs.signoz.len() as i32))
        .bind(column(rows, |r| r.refs.alert.len() as i32))
        .bind(jsons(|r| json(r.correlation))?)
        .bind(jsons(|r| json(r.facts))?)
        .bind(column(rows, |r| r.alertname.map(text)))
        .bind(column(rows, |r| r.severity.map(text)))
        .bind(column(rows, |r| r.namespace.map(text)))
        .bind(column(rows, |r| r.target_resource.map(text)))
        .bind(column(rows, |r| r.fingerprint.0))
        .bind(column(rows, |r| r.recurrence_key.0))
        .bind(column(rows, |r| r.effect))
        .bind(column(rows, |r| r.is_duplicate))
        .bind(column::<_, Option<Uuid>>(rows, |r| r.incident.map(|i| i.0)))
        .bind(column(rows, |r| r.provider_ts.map(stated)))
        .bind(column(rows, |r| timestamptz(r.received_at)))
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("insert dossier rows"))?;
        Ok(())
    }
}
