//! What an operator handles, from opening to close.

use std::collections::BTreeMap;

use domain::observe::{Verb, silence_minutes};
use futures_util::future::BoxFuture;
use schemas::{
    IncidentId, Time,
    event::{Applied, IncidentState, Kind, Resolved},
};
use store::{
    lane::LaneTransaction,
    projection::incident::{IncidentChange, OpenedRow},
};

use super::{Concerned, Projection};

/// One row an incident.
pub struct Incident;

impl Projection for Incident {
    fn name(&self) -> &'static str {
        "incident"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let (opened, changes) = rows(events);
            transaction.insert_incidents(&opened).await?;
            transaction.change_incidents(&changes);
            Ok(())
        })
    }
}

/// The incidents a batch opens, and one change for each it touches afterwards.
fn rows(events: &[Concerned]) -> (Vec<OpenedRow<'_>>, Vec<IncidentChange<'_>>) {
    let mut opened = Vec::new();
    let mut changes = Changes::default();
    for concerned @ Concerned { project, event } in events {
        match &event.kind {
            Kind::Opened(o) => opened.push(OpenedRow {
                project,
                incident: o.incident,
                fingerprint: o.fingerprint,
                opening: event.at,
                cause: o.cause.word(),
                episode: o.episode,
                risk: o.risk,
                facts: &o.facts,
                frequency: o.frequency,
                flapping: o.flapping.is_some(),
                opened_at: event.lane_time,
            }),
            Kind::Repeated(r) => {
                let change = changes.of(concerned, r.incident);
                change.occurrences = Some(r.occurrences);
                change.frequency = r.frequency.or(change.frequency);
                if let Some(rise) = &r.rise {
                    (change.risk, change.facts) = (Some(rise.risk), Some(&rise.facts));
                }
            }
            Kind::Escalated(e) => {
                let change = changes.of(concerned, e.incident);
                (change.risk, change.frequency) = (Some(e.risk), Some(e.frequency));
            }
            Kind::Resolved(r) => changes.close(concerned, r, IncidentState::Resolved),
            Kind::Suppressed(r) => changes.close(concerned, r, IncidentState::Suppressed),
            Kind::Expired(e) => {
                changes.of(concerned, e.incident).turn(IncidentState::Expired, event.lane_time);
            }
            Kind::Applied(a) if a.changed => {
                let change = changes.of(concerned, a.incident);
                if a.before != a.after {
                    change.turn(a.after, event.lane_time);
                }
                if let Some(silenced) = silenced(a, event.lane_time) {
                    change.silenced_until = Some(silenced);
                }
            }
            Kind::Answered(a) => {
                // A failed answer leaves the analysis there is, or none: pending (R30).
                if let Some(analysis) = &a.result.analysis {
                    changes.of(concerned, a.incident).analysis = Some((analysis, event.lane_time));
                }
            }
            Kind::Applied(_)
            | Kind::Refused(_)
            | Kind::SilenceChanged(_)
            | Kind::Asked(_)
            | Kind::Tested(_)
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
    (opened, changes.0.into_values().collect())
}

/// Until when nobody is told of an incident from this command on; none where it says nothing of that.
fn silenced(applied: &Applied, at: Time) -> Option<Option<Time>> {
    match Verb::from_word(&applied.verb)? {
        Verb::Silence => {
            let minutes = silence_minutes(&applied.arguments).ok()?;
            Some(Some(at.plus_seconds(i64::from(minutes) * 60)))
        }
        Verb::Unsilence | Verb::Reopen => Some(None),
        Verb::Ack
        | Verb::Unack
        | Verb::Resolve
        | Verb::Confirm
        | Verb::Reject
        | Verb::RequestTriage
        | Verb::Handoff
        | Verb::Note
        | Verb::Useful
        | Verb::NotUseful
        | Verb::Noise => None,
    }
}

/// One change for each incident a batch touches.
#[derive(Default)]
struct Changes<'a>(BTreeMap<IncidentId, IncidentChange<'a>>);

impl<'a> Changes<'a> {
    /// The change of `incident`, last touched by this event.
    fn of(
        &mut self,
        Concerned { project, event }: &'a Concerned,
        incident: IncidentId,
    ) -> &mut IncidentChange<'a> {
        let change = self.0.entry(incident).or_insert(IncidentChange {
            project,
            incident,
            occurrences: None,
            state: None,
            risk: None,
            facts: None,
            frequency: None,
            flapping: None,
            analysis: None,
            silenced_until: None,
            updated_at: event.lane_time,
        });
        change.updated_at = event.lane_time;
        change
    }

    fn close(&mut self, concerned: &'a Concerned, resolved: &Resolved, state: IncidentState) {
        let change = self.of(concerned, resolved.incident);
        change.occurrences = Some(resolved.occurrences);
        change.flapping = Some(resolved.flapping.is_some());
        change.turn(state, concerned.event.lane_time);
    }
}
