//! What triage runs came to, and what operators say of it: a diagnosis is right, or it is not.

use std::collections::BTreeMap;

use domain::observe::{Verb, remark};
use futures_util::future::BoxFuture;
use schemas::{
    IncidentId, JobId, ProjectId,
    event::{Answered, Applied, Kind},
};
use store::{
    lane::LaneTransaction,
    projection::diagnosis::{CameTo, DiagnosisRow, Verdict},
};

use super::{Concerned, Projection};

/// How an analyst's attempt ended that has the answer.
pub const ANSWERED: &str = "answered";

/// One row a run that came to a diagnosis.
pub struct Diagnosis;

impl Projection for Diagnosis {
    fn name(&self) -> &'static str {
        "diagnosis"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            transaction.put_diagnoses(&rows(events));
            Ok(())
        })
    }
}

/// The run whose diagnosis a command is about, where it is about one.
pub fn run_of(applied: &Applied) -> Option<JobId> {
    let reason = applied.diagnosis.as_deref()?;
    Some(JobId::triage(applied.opening, reason))
}

/// Version of the prompt that an answer rests on; none where no model had it.
pub fn prompt_of<'a>(answered: &'a Answered, model: Option<&str>) -> Option<&'a str> {
    let analysis = answered.result.analysis.as_ref();
    let named = analysis.and_then(|analysis| analysis.prompt.as_deref());
    model.map(|_| named.unwrap_or(&answered.prompt))
}

/// Each diagnosis the batch touches, as it leaves it.
fn rows(events: &[Concerned]) -> Vec<DiagnosisRow<'_>> {
    let mut rows = BTreeMap::new();
    for Concerned { project, event } in events {
        match &event.kind {
            Kind::Answered(a) => {
                let Some(analysis) = &a.result.analysis else { continue };
                let model = analysis.model.as_deref();
                let last = a.result.attempts.iter().rev().find(|(_, end)| end == ANSWERED);
                row(&mut rows, project, a.job, a.incident).came_to = Some(CameTo {
                    analyst: last.map_or(&analysis.analyzed_by, |(analyst, _)| analyst),
                    model,
                    prompt: prompt_of(a, model),
                    analysis,
                    at: event.lane_time,
                });
            }
            Kind::Applied(a) if a.changed => {
                let (Some(word), Some(run)) = (verdict(&a.verb), run_of(a)) else { continue };
                row(&mut rows, project, run, a.incident).verdict = Some(Verdict {
                    word,
                    operator: &a.actor,
                    note: remark(&a.arguments),
                    at: event.lane_time,
                });
            }
            Kind::Applied(_)
            | Kind::Opened(_)
            | Kind::Repeated(_)
            | Kind::Resolved(_)
            | Kind::Suppressed(_)
            | Kind::Stale(_)
            | Kind::Ticked
            | Kind::RulesChanged(_)
            | Kind::Escalated(_)
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
    rows.into_values().collect()
}

fn row<'r, 'a>(
    rows: &'r mut BTreeMap<JobId, DiagnosisRow<'a>>,
    project: &'a ProjectId,
    run: JobId,
    incident: IncidentId,
) -> &'r mut DiagnosisRow<'a> {
    rows.entry(run).or_insert(DiagnosisRow { project, run, incident, came_to: None, verdict: None })
}

/// What a verb says of a diagnosis.
fn verdict(verb: &str) -> Option<&'static str> {
    match Verb::from_word(verb)? {
        Verb::Confirm => Some("confirmed"),
        Verb::Reject => Some("rejected"),
        Verb::Ack
        | Verb::Unack
        | Verb::Resolve
        | Verb::Reopen
        | Verb::RequestTriage
        | Verb::Handoff
        | Verb::Note
        | Verb::Silence
        | Verb::Unsilence
        | Verb::Useful
        | Verb::NotUseful
        | Verb::Noise => None,
    }
}
