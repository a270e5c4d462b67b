//! What a tick finds due: problems nothing was heard of for too long (R70).

use schemas::{
    EventId, Position,
    event::{Expired, Kind as EventKind},
    id,
};

use super::{LaneState, Turn};
use crate::{
    effect::Effects,
    observe::{DUE_PER_TICK, Problem},
};

impl LaneState {
    /// Looks at the problems that are due: the first ones, in the order of due, project and
    /// fingerprint; the others at the next tick.
    pub(super) fn come_due(&mut self, turn: &Turn<'_>, at: Position, effects: &mut Effects) {
        let now = self.lane_time;
        let rules = self.rules.clone();
        let mut ordinal = 0;
        for key in self.working.take_due(now, DUE_PER_TICK) {
            let (project, fingerprint) = key.clone();
            let rule = rules.expiry(&project);
            let overdue = self.working.change(key, |problem| {
                problem.as_mut().and_then(|problem: &mut Problem| problem.come_due(now, rule))
            });
            let Some(overdue) = overdue else { continue };
            let Some((incident, opening)) = overdue.latest.incident else { continue };
            let expired = Expired {
                incident,
                fingerprint,
                opening,
                occurrences: overdue.latest.occurrences,
                last_seen: overdue.last_seen,
                after_seconds: overdue.after_seconds,
                rule: rule.id.clone(),
            };
            let kind = EventKind::Expired(Box::new(expired));
            let id = EventId(id::derive(turn.record.0, kind.word(), ordinal));
            ordinal += 1;
            effects.events.push(self.event(id, at, Some(project), kind));
        }
    }
}
