//! `dossier`: one row an alert (R49-R51).

use schemas::{
    EventId, Fingerprint, IncidentId, Position, ProjectId, RecordId, SourceId, Time,
    alert::{Facts, LogCorrelation, SourceRefs},
};
use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::{indexed, json, stated, text};
use crate::{
    lane::LaneTransaction,
    rows::{JsonText, Row, composites},
    timestamptz,
};

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
    /// The rule it was made by; absent where it is the built-in one.
    pub fingerprint_by: Option<&'a str>,
    pub recurrence_key: Fingerprint,
    pub effect: &'static str,
    pub is_duplicate: bool,
    pub incident: Option<IncidentId>,
    pub provider_ts: Option<Time>,
    pub received_at: Time,
}

impl Row for DossierRow<'_> {
    const TYPE: &'static str = "dossier_row_2";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.day)?
            .encode(self.at.input.incarnation)?
            .encode(self.at.input.sequence as i64)?
            .encode(self.at.input.record as i32)?
            .encode(self.at.alert.map_or(-1, |index| index as i32))?
            .encode(self.event.0)?
            .encode(self.record.0)?
            .encode(self.project.as_str())?
            .encode(self.source.as_str())?
            .encode(self.channel_type)?
            .encode(self.provider)?
            .encode(self.stage)?
            .encode(indexed(self.provider_event_id))?
            .encode(text(self.title))?
            .encode(text(self.content_preview))?
            .encode(text(self.content_redacted))?
            .encode(self.has_redacted_content)?
            .encode(self.redaction_version)?
            .encode(self.source_url.map(text))?
            .encode(&self.content_sha256[..])?
            .encode(self.content_length as i64)?
            .encode(JsonText(json(self.refs)?))?
            .encode(self.refs.count() as i32)?
            .encode(self.refs.sentry.len() as i32)?
            .encode(self.refs.signoz.len() as i32)?
            .encode(self.refs.alert.len() as i32)?
            .encode(JsonText(json(self.correlation)?))?
            .encode(JsonText(json(self.facts)?))?
            .encode(self.alertname.map(text))?
            .encode(self.severity.map(text))?
            .encode(self.namespace.map(text))?
            .encode(self.target_resource.map(text))?
            .encode(self.fingerprint.0)?
            .encode(self.recurrence_key.0)?
            .encode(self.effect)?
            .encode(self.is_duplicate)?
            .encode(self.incident.map(|incident| incident.0))?
            .encode(self.provider_ts.map(stated))?
            .encode(timestamptz(self.received_at))?
            .encode(self.fingerprint_by)?;
        Ok(())
    }
}

impl LaneTransaction<'_> {
    /// Adds dossier rows; the partitions of their days must be open.
    pub fn insert_dossier(&mut self, rows: &[DossierRow<'_>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "dossier",
            "insert into dossier (generation, day, inc, seq, rec, idx, event_id, record, project, \
               source, channel_type, provider, stage, provider_event_id, title, content_preview, \
               content_redacted, has_redacted_content, redaction_version, source_url, \
               content_sha256, content_length, source_refs, source_ref_count, sentry_ref_count, \
               signoz_ref_count, alert_ref_count, log_correlation, facts, alertname, severity, \
               namespace, target_resource, fingerprint, recurrence_key, effect, is_duplicate, \
               incident, provider_ts, received_at, fingerprint_by) \
             select $1, u.* from unnest(?::dossier_row_2[]) as u",
        )
        .bind(composites(rows));
    }
}
