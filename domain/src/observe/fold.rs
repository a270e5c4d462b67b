//! The fold itself: one record after the other, in the order of the log.

mod alerts;

use std::num::NonZeroU16;

use schemas::{
    Event, EventId, Lane, Outcome, Position, ProjectId, RecordId, Time,
    event::{Answered, EVENT_VERSION, Kind as EventKind, Settled},
    id,
    record::{Answer, RulesDocument, SendOutcome},
};

use super::{
    incident_id,
    prepare::{Content, Kind, NewRules, Prepared, PreparedDelivery, Readable, SeenKey, Told},
    state::Working,
};
use crate::{effect::Effects, rules::Rules};

/// What became of a record: exactly one outcome (invariant I2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Why, for a record that is given up.
    pub reason: Option<String>,
}

/// What the owner of a lane holds while it folds.
#[derive(Debug)]
pub struct LaneState {
    lane: Lane,
    lanes: NonZeroU16,
    lane_time: Time,
    rules: Rules,
    pub(super) working: Working,
}

/// The record being folded: what its events have in common.
struct Turn<'a> {
    record: RecordId,
    project: Option<&'a ProjectId>,
    received_at: Time,
}

/// The delivery an alert came in.
struct Parcel<'a> {
    project: &'a ProjectId,
    raw_sha256: [u8; 32],
    raw_length: u64,
    channel_type: &'static str,
    redelivered: bool,
}

impl LaneState {
    pub(super) fn new(lane: Lane, lanes: NonZeroU16, lane_time: Time, rules: Rules) -> Self {
        Self { lane, lanes, lane_time, rules, working: Working::default() }
    }

    /// The lane.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Lane time after the last fold: the largest so far of tick and min(received, stored).
    pub fn lane_time(&self) -> Time {
        self.lane_time
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Applies one record. Every row it looks at must have been asked for ([`Self::missing`]).
    pub fn fold(&mut self, prepared: Prepared, effects: &mut Effects) -> Verdict {
        self.lane_time = lane_time_after(self.lane_time, &prepared);
        let record = match prepared.content {
            Content::Unreadable { reason } => return Verdict::parked(reason),
            Content::Record(record) => *record,
        };
        let at = prepared.at.whole();
        if let Some(verdict) = self.misplaced(&record, prepared.of_all, at, effects) {
            return verdict;
        }
        let Readable { id, received_at, project, kind } = record;
        let turn = Turn { record: id, project: project.as_ref(), received_at };
        match kind {
            Kind::Delivery(delivery) => self.delivery(&turn, at, *delivery, effects),
            Kind::Answer(answer) => self.answer(&turn, at, *answer, effects),
            Kind::Outcome(outcome) => self.outcome(&turn, at, outcome, effects),
            Kind::Tick { .. } => {
                self.tell(&turn, at, EventKind::Ticked, effects);
                Verdict::of(Outcome::Tick)
            }
            Kind::Rules(Ok(new)) => {
                let NewRules { rules, operator } = *new;
                let (hash, text) = (rules.hash().to_owned(), rules.text().to_owned());
                self.rules = rules;
                self.working.rules_changed = true;
                let document = Box::new(RulesDocument { hash, text, operator });
                self.tell(&turn, at, EventKind::RulesChanged(Some(document)), effects);
                Verdict::of(Outcome::Control)
            }
            Kind::Rules(Err(reason)) => Verdict::parked(reason),
            Kind::Control => Verdict::of(Outcome::Control),
            Kind::Command => Verdict::of(Outcome::Command),
            Kind::Redrive => Verdict::of(Outcome::Redrive),
        }
    }

    /// What becomes of a record that is not this lane's to apply.
    ///
    /// The lane of a record's project applies it; the others count it as elsewhere. A record that
    /// stands in another lane than its project's would be applied to a problem that lane's owner
    /// does not have: it is parked.
    fn misplaced(
        &self,
        record: &Readable,
        of_all: bool,
        at: Position,
        effects: &mut Effects,
    ) -> Option<Verdict> {
        let delivery = match &record.kind {
            Kind::Tick { .. } | Kind::Rules(_) | Kind::Control => return None,
            Kind::Delivery(delivery) => Some(delivery.as_ref()),
            Kind::Command | Kind::Answer(_) | Kind::Outcome(_) | Kind::Redrive => None,
        };
        let home = match (&record.project, delivery) {
            (Some(project), _) => Lane::of(project, self.lanes),
            // Nobody's: one lane parks it, in its turn, for all.
            (None, Some(_)) if of_all => Lane(0),
            (None, _) => return None,
        };
        if home == self.lane {
            return None;
        }
        if of_all {
            return Some(Verdict::of(Outcome::Elsewhere));
        }
        let reason = format!("wrong_lane: its project belongs to lane {home}");
        if let Some(delivery) = delivery {
            let turn = Turn {
                record: record.id,
                project: record.project.as_ref(),
                received_at: record.received_at,
            };
            self.settle(&turn, at, delivery, Outcome::Parked, Some(reason.clone()), 0, effects);
        }
        Some(Verdict::parked(reason))
    }

    fn delivery(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        mut delivery: PreparedDelivery,
        effects: &mut Effects,
    ) -> Verdict {
        let told =
            std::mem::replace(&mut delivery.content, Told::Recorded { reason: String::new() });
        let (outcome, reason, count) = match (told, turn.project) {
            (Told::Alerts { alerts, key }, Some(project)) => {
                let redelivered = key.is_some_and(|key| self.seen_before(key));
                let parcel = Parcel {
                    project,
                    raw_sha256: delivery.raw_sha256,
                    raw_length: delivery.raw_length,
                    channel_type: channel_type(&delivery.provider),
                    redelivered,
                };
                let count = alerts.len();
                for (index, alert) in (0u32..).zip(alerts) {
                    self.alert(turn, &parcel, at.input.alert(index), alert, effects);
                }
                if redelivered {
                    (Outcome::Redelivered, Some("delivery_id_seen".to_owned()), count)
                } else {
                    (Outcome::Observed, None, count)
                }
            }
            (Told::Alerts { .. }, None) => (Outcome::Parked, Some("no_project".to_owned()), 0),
            (Told::Recorded { reason }, _) => (Outcome::Recorded, Some(reason), 0),
            (Told::Rejected { reason }, _) => (Outcome::Rejected, Some(reason), 0),
            (Told::Unknown { reason }, _) => (Outcome::Parked, Some(reason), 0),
        };
        // A delivery of nobody has no page it could be shown on; its parked row tells of it.
        if turn.project.is_some() {
            self.settle(turn, at, &delivery, outcome, reason.clone(), count, effects);
        }
        Verdict { outcome, reason: reason.filter(|_| outcome == Outcome::Parked) }
    }

    /// Looks a sender's delivery id up, and notes it when it is new.
    fn seen_before(&mut self, key: SeenKey) -> bool {
        let seen = self.working.seen_until(key.key).is_some_and(|until| until > self.lane_time);
        if !seen {
            self.working.note_seen(key, self.lane_time);
        }
        seen
    }

    /// The first answer for (opening position, reason) takes effect; later ones only count, and so
    /// do answers about incidents this generation never opened.
    fn answer(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        answer: Answer,
        effects: &mut Effects,
    ) -> Verdict {
        let Some(project) = turn.project else {
            return Verdict::parked("no_project: an answer belongs to the project of its incident");
        };
        let Answer { job, opening, reason, prompt, result, incident: _, input: _ } = answer;
        let incident = incident_id(project, opening);
        if self.working.answer(&(project.clone(), incident), &reason) {
            let answered = Answered { incident, opening, job, reason, prompt, result };
            self.tell(turn, at, EventKind::Answered(Box::new(answered)), effects);
        }
        Verdict::of(Outcome::Answer)
    }

    fn outcome(
        &self,
        turn: &Turn<'_>,
        at: Position,
        outcome: Box<SendOutcome>,
        effects: &mut Effects,
    ) -> Verdict {
        self.tell(turn, at, EventKind::Sent(outcome), effects);
        Verdict::of(Outcome::Outcome)
    }

    #[expect(clippy::too_many_arguments, reason = "one call per field of the event it makes")]
    fn settle(
        &self,
        turn: &Turn<'_>,
        at: Position,
        delivery: &PreparedDelivery,
        outcome: Outcome,
        reason: Option<String>,
        alerts: usize,
        effects: &mut Effects,
    ) {
        let settled = Settled {
            record: turn.record,
            outcome,
            reason,
            alerts: u32::try_from(alerts).unwrap_or(u32::MAX),
            provider: delivery.provider.clone(),
            source: delivery.source.clone(),
            received_at: turn.received_at,
        };
        self.tell(turn, at, EventKind::Settled(Box::new(settled)), effects);
    }

    /// Emits an event under an id derived from its record, its kind and its alert (invariant I5).
    fn tell(&self, turn: &Turn<'_>, at: Position, kind: EventKind, effects: &mut Effects) {
        // The id of an observed alert is the dossier's event id, which others compute as well.
        let word = match &kind {
            EventKind::Observed(_) => "alert",
            other => other.word(),
        };
        let ordinal = at.alert.map_or(0, u64::from);
        effects.events.push(Event {
            version: EVENT_VERSION,
            id: EventId(id::derive(turn.record.0, word, ordinal)),
            at,
            lane_time: self.lane_time,
            project: turn.project.cloned(),
            rules: self.rules.hash().to_owned(),
            kind,
        });
    }
}

impl Verdict {
    fn of(outcome: Outcome) -> Self {
        Self { outcome, reason: None }
    }

    fn parked(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Parked, reason: Some(reason.into()) }
    }
}

/// Lane time once a record is folded; never earlier than before. What cannot be read moves nothing.
pub(super) fn lane_time_after(before: Time, prepared: &Prepared) -> Time {
    let Content::Record(record) = &prepared.content else { return before };
    let told = match record.kind {
        Kind::Tick { now } => now,
        Kind::Delivery(_)
        | Kind::Command
        | Kind::Answer(_)
        | Kind::Outcome(_)
        | Kind::Redrive
        | Kind::Rules(_)
        | Kind::Control => record.received_at.min(prepared.stored_at),
    };
    before.max(told)
}

/// How an alert came in.
fn channel_type(provider: &str) -> &'static str {
    match provider {
        "lark" | "telegram" | "slack" | "dingtalk" => "chat",
        "console" => "console",
        _ => "webhook",
    }
}
