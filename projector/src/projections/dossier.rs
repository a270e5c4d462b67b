//! Each observed alert with its evidence.

use futures_util::future::BoxFuture;
use schemas::event::Kind;
use store::{lane::LaneTransaction, projection::dossier::DossierRow};

use super::{Concerned, Projection};

/// One row an alert.
pub struct Dossier;

impl Projection for Dossier {
    fn name(&self) -> &'static str {
        "dossier"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let rows: Vec<_> = events.iter().filter_map(row).collect();
            transaction.insert_dossier(&rows);
            Ok(())
        })
    }
}

fn row(Concerned { project, event }: &Concerned) -> Option<DossierRow<'_>> {
    let Kind::Observed(observed) = &event.kind else { return None };
    let alert = &observed.alert;
    let facts = &alert.facts;
    Some(DossierRow {
        day: event.lane_time.day(),
        at: event.at,
        event: event.id,
        record: observed.record,
        project,
        source: &facts.source,
        channel_type: &observed.channel_type,
        provider: &facts.provider,
        stage: alert.stage.word(),
        provider_event_id: &alert.provider_event_id,
        title: &facts.title,
        content_preview: &alert.content.preview,
        content_redacted: &alert.content.text,
        has_redacted_content: alert.content.replaced > 0,
        redaction_version: &alert.content.redaction,
        source_url: facts.url.as_deref(),
        content_sha256: &observed.raw_sha256,
        content_length: observed.raw_length,
        refs: &alert.refs,
        correlation: &alert.correlation,
        facts,
        alertname: facts.alertname.as_deref(),
        severity: facts.severity_raw.as_deref(),
        namespace: facts.namespace.as_deref(),
        target_resource: facts.target.as_deref(),
        fingerprint: observed.fingerprint,
        fingerprint_by: observed.fingerprint_by.as_ref().map(|by| by.rule.as_str()),
        recurrence_key: observed.recurrence_key,
        effect: observed.effect.word(),
        is_duplicate: observed.effect.is_duplicate(),
        incident: observed.incident,
        provider_ts: alert.provider_ts,
        received_at: observed.received_at,
    })
}
