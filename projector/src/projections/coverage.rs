//! Which providers of a project are heard, and how complete their events are.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use schemas::{ProjectId, event::Kind};
use store::{
    lane::LaneTransaction,
    projection::coverage::{Counters, CoverageRow},
};

use super::{Concerned, Projection};

/// One row a provider of a project.
pub struct Coverage;

impl Projection for Coverage {
    fn name(&self) -> &'static str {
        "coverage"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        transaction.add_coverage(&rows(events));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What the batch adds to each provider of a project.
fn rows(events: &[Concerned]) -> Vec<CoverageRow<'_>> {
    let mut providers = BTreeMap::<(&ProjectId, &str), CoverageRow<'_>>::new();
    for Concerned { project, event } in events {
        let Kind::Observed(observed) = &event.kind else { continue };
        let alert = &observed.alert;
        let provider = alert.facts.provider.as_str();
        let row = providers.entry((project, provider)).or_insert(CoverageRow {
            project,
            provider,
            counters: Counters::default(),
            latest_received_at: observed.received_at,
            latest_real_received_at: None,
        });
        row.counters.add(observed.effect.is_duplicate(), alert.content.replaced > 0, &alert.refs);
        row.latest_received_at = row.latest_received_at.max(observed.received_at);
        if alert.stage.is_real() {
            row.latest_real_received_at =
                row.latest_real_received_at.max(Some(observed.received_at));
        }
    }
    providers.into_values().collect()
}
