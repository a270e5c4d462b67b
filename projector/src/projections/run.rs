//! The triage runs: asked for when an incident opens or escalates and by operators, ended by their
//! answer.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use schemas::{IncidentId, JobId, Position, event::Kind};
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
    let mut runs = Runs::default();
    for concerned @ Concerned { event, .. } in events {
        match &event.kind {
            Kind::Opened(o) => {
                runs.of(concerned, JobId::triage(event.at, OPEN), o.incident, OPEN);
            }
            Kind::Escalated(e) => runs.asked(concerned, e.opening, e.incident, e.triage.as_deref()),
            Kind::Applied(a) => runs.asked(concerned, a.opening, a.incident, a.triage.as_deref()),
            Kind::Answered(a) => {
                runs.of(concerned, a.job, a.incident, &a.reason).end = Some(RunEnd {
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
            | Kind::Expired(_)
            | Kind::Refused(_)
            | Kind::SilenceChanged(_)
            | Kind::Asked(_)
            | Kind::Tested(_)
            | Kind::Observed(_)
            | Kind::Settled(_)
            | Kind::Sent(_)
            | Kind::Planned(_)
            | Kind::Withheld(_) => {}
        }
    }
    runs.0.into_values().collect()
}

/// One row for each run a batch touches.
#[derive(Default)]
struct Runs<'a>(BTreeMap<JobId, RunRow<'a>>);

impl<'a> Runs<'a> {
    /// The row of `run`, begun by this event unless one before did.
    fn of(
        &mut self,
        Concerned { project, event }: &'a Concerned,
        run: JobId,
        incident: IncidentId,
        reason: &'a str,
    ) -> &mut RunRow<'a> {
        let started_at = event.lane_time;
        let row = RunRow { project, run, incident, reason, started_at, end: None };
        self.0.entry(run).or_insert(row)
    }

    /// A run that was asked for after the opening, if one was.
    fn asked(
        &mut self,
        concerned: &'a Concerned,
        opening: Position,
        incident: IncidentId,
        reason: Option<&'a str>,
    ) {
        if let Some(reason) = reason {
            self.of(concerned, JobId::triage(opening, reason), incident, reason);
        }
    }
}
