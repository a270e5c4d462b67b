//! The triage runs: asked for when an incident opens, ended by their answer.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use schemas::{JobId, event::Kind};
use store::{
    lane::LaneTransaction,
    projection::run::{RunEnd, RunRow},
};

use super::{Concerned, Projection};

/// The reason of the run that every opening asks for.
const OPEN: &str = "open";

/// One row a run.
pub struct Run;

impl Projection for Run {
    fn name(&self) -> &'static str {
        "run"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move { transaction.upsert_runs(&rows(events)).await })
    }
}

/// Each run the batch touches, as it leaves it.
fn rows(events: &[Concerned]) -> Vec<RunRow<'_>> {
    let mut runs = BTreeMap::<JobId, RunRow<'_>>::new();
    for Concerned { project, event } in events {
        match &event.kind {
            Kind::Opened(o) => {
                let run = JobId::triage(event.at, OPEN);
                runs.entry(run).or_insert(RunRow {
                    project,
                    run,
                    incident: o.incident,
                    reason: OPEN,
                    started_at: event.lane_time,
                    end: None,
                });
            }
            Kind::Answered(a) => {
                let run = runs.entry(a.job).or_insert(RunRow {
                    project,
                    run: a.job,
                    incident: a.incident,
                    reason: &a.reason,
                    started_at: event.lane_time,
                    end: None,
                });
                run.end = Some(RunEnd {
                    agent: a.result.analysis.as_ref().map(|x| x.analyzed_by.as_str()),
                    attempts: &a.result.attempts,
                    latency_ms: a.result.latency_ms,
                    finished_at: event.lane_time,
                });
            }
            Kind::Repeated(_)
            | Kind::Resolved(_)
            | Kind::Suppressed(_)
            | Kind::Stale(_)
            | Kind::Ticked
            | Kind::RulesChanged(_)
            | Kind::Observed(_)
            | Kind::Settled(_)
            | Kind::Sent(_)
            | Kind::Planned(_)
            | Kind::Withheld(_) => {}
        }
    }
    runs.into_values().collect()
}
