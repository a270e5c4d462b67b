//! How often the same thing comes back.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use schemas::{Fingerprint, ProjectId, event::Kind};
use store::{
    lane::LaneTransaction,
    projection::{coverage::Counters, recurrence::RecurrenceRow},
};

use super::{Concerned, Projection};

/// One row a recurrence key.
pub struct Recurrence;

impl Projection for Recurrence {
    fn name(&self) -> &'static str {
        "recurrence"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        transaction.add_recurrence(&rows(events));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What the batch adds to each key; the last event of a key is its latest.
fn rows(events: &[Concerned]) -> Vec<RecurrenceRow<'_>> {
    let mut keys = BTreeMap::<(&ProjectId, Fingerprint), RecurrenceRow<'_>>::new();
    for Concerned { project, event } in events {
        let Kind::Observed(observed) = &event.kind else { continue };
        let alert = &observed.alert;
        if !alert.stage.is_real() {
            continue;
        }
        let facts = &alert.facts;
        let earlier = keys.remove(&(project, observed.recurrence_key));
        let mut counters = earlier.as_ref().map_or(Counters::default(), |row| row.counters);
        counters.add(observed.effect.is_duplicate(), alert.content.replaced > 0, &alert.refs);
        let linked =
            earlier.as_ref().map_or(0, |row| row.linked) + i64::from(observed.incident.is_some());
        let first = earlier.as_ref().map_or(observed.received_at, |row| row.first_received_at);
        let latest = earlier.as_ref().map_or(observed.received_at, |row| row.latest_received_at);
        keys.insert(
            (project, observed.recurrence_key),
            RecurrenceRow {
                project,
                recurrence_key: observed.recurrence_key,
                provider: &facts.provider,
                alertname: facts.alertname.as_deref(),
                severity: facts.severity_raw.as_deref(),
                namespace: facts.namespace.as_deref(),
                target_resource: facts.target.as_deref(),
                fingerprint: observed.fingerprint,
                latest_event: event.id,
                latest_provider_event_id: &alert.provider_event_id,
                latest_content_preview: &alert.content.preview,
                latest_incident: observed.incident.or(earlier.and_then(|row| row.latest_incident)),
                counters,
                linked,
                first_received_at: first.min(observed.received_at),
                latest_received_at: latest.max(observed.received_at),
            },
        );
    }
    keys.into_values().collect()
}
