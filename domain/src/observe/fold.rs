//! The fold itself: one record after the other, in the order of the log.

mod alerts;
mod commands;
mod deliveries;
mod due;
mod interactions;

use std::{collections::BTreeMap, num::NonZeroU16};

use schemas::{
    Event, EventId, Lane, Outcome, Position, ProjectId, RecordId, Time,
    event::{Answered, EVENT_VERSION, Kind as EventKind},
    id,
    record::{Answer, RulesDocument, SendOutcome},
};

use deliveries::Settling;

use super::{
    incident_id,
    operators::Operators,
    prepare::{Content, Kind, NewRules, Prepared, Readable},
    working::Working,
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
    /// The newest version of each provider that read something of the lane.
    read_by: BTreeMap<String, u32>,
    /// Who the users of chats are.
    operators: Operators,
    pub(super) working: Working,
}

/// The record being folded: what its events have in common.
#[derive(Clone, Copy)]
struct Turn<'a> {
    record: RecordId,
    project: Option<&'a ProjectId>,
    received_at: Time,
    /// Where the record stands that this one redrives.
    original: Option<Position>,
}

impl LaneState {
    pub(super) fn new(
        lane: Lane,
        lanes: NonZeroU16,
        lane_time: Time,
        rules: Rules,
        read_by: BTreeMap<String, u32>,
        operators: Operators,
    ) -> Self {
        Self { lane, lanes, lane_time, rules, read_by, operators, working: Working::default() }
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

    /// The newest version of each provider that read something of the lane.
    pub(super) fn read_by(&self) -> &BTreeMap<String, u32> {
        &self.read_by
    }

    /// Who the users of chats are.
    pub(super) fn operators(&self) -> &Operators {
        &self.operators
    }

    /// Applies one record. Every row it looks at must have been asked for ([`Self::missing`]).
    pub fn fold(&mut self, prepared: Prepared, effects: &mut Effects) -> Verdict {
        let at = prepared.at;
        let verdict = self.apply(prepared, effects);
        if verdict.outcome == Outcome::Parked {
            self.working.park(at);
        }
        verdict
    }

    fn apply(&mut self, prepared: Prepared, effects: &mut Effects) -> Verdict {
        self.lane_time = lane_time_after(self.lane_time, &prepared);
        let record = match prepared.content {
            Content::Unreadable { reason } => return Verdict::parked(reason),
            Content::Record(record) => *record,
        };
        let (at, of_all) = (prepared.at.whole(), prepared.of_all);
        if of_all && let Some(verdict) = self.asked_of_all(&record, at, effects) {
            return verdict;
        }
        if let Some(verdict) = self.misplaced(&record, of_all, at, effects) {
            return verdict;
        }
        let Readable { id, received_at, project, names, kind } = record;
        for (key, named) in names {
            self.working.name(key, named, self.lane_time);
        }
        let turn = Turn { record: id, project: project.as_ref(), received_at, original: None };
        match kind {
            Kind::Delivery(delivery) => self.delivery(&turn, at, *delivery, effects),
            Kind::Answer(answer) => self.answer(&turn, at, *answer, effects),
            Kind::Outcome(outcome) => self.outcome(&turn, at, outcome, effects),
            Kind::Tick { .. } => {
                self.tell(&turn, at, EventKind::Ticked, effects);
                self.come_due(&turn, at, effects);
                Verdict::of(Outcome::Tick)
            }
            Kind::Rules(Ok(new)) => {
                let NewRules { rules, operator } = *new;
                let (hash, text) = (rules.hash().to_owned(), rules.text().to_owned());
                self.rules = rules;
                self.working.in_force_changed = true;
                let document = Box::new(RulesDocument { hash, text, operator });
                self.tell(&turn, at, EventKind::RulesChanged(Some(document)), effects);
                Verdict::of(Outcome::Control)
            }
            Kind::Rules(Err(reason)) => Verdict::parked(reason),
            Kind::ChatOperator(said) => match self.operators.say(*said) {
                Ok(()) => {
                    self.working.in_force_changed = true;
                    Verdict::of(Outcome::Control)
                }
                Err(reason) => Verdict::parked(reason),
            },
            Kind::Silence(Ok(change)) => {
                // Others count it; the lane of its project tells of it.
                let told = turn.project.is_none_or(|p| Lane::of(p, self.lanes) == self.lane);
                if told {
                    self.tell(&turn, at, EventKind::SilenceChanged(change), effects);
                }
                Verdict::of(Outcome::Control)
            }
            Kind::Silence(Err(reason)) => Verdict::parked(reason),
            Kind::Control => Verdict::of(Outcome::Control),
            Kind::Command(command) => self.command(&turn, at, *command, effects),
            Kind::Redrive(redrive) => self.redrive(&turn, at, *redrive, effects),
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
            Kind::Tick { .. }
            | Kind::Rules(_)
            | Kind::ChatOperator(_)
            | Kind::Silence(_)
            | Kind::Control => return None,
            Kind::Delivery(delivery) => Some(delivery.as_ref()),
            Kind::Command(_) | Kind::Answer(_) | Kind::Outcome(_) | Kind::Redrive(_) => None,
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
                original: None,
            };
            let settled =
                Settling { outcome: Outcome::Parked, reason: Some(reason.clone()), alerts: 0 };
            self.settle(&turn, at, delivery, settled, effects);
        }
        Some(Verdict::parked(reason))
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
        let known = self.working.incident(&(project.clone(), incident));
        let first = known.and_then(|known| {
            known.answer(&reason, result.analysis.as_ref()).then_some(known.fingerprint)
        });
        if first.is_some() {
            let fingerprint = first;
            let answered = Answered { incident, opening, job, reason, prompt, result, fingerprint };
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

    /// Emits an event under an id derived from its record, its kind and its alert (invariant I5).
    fn tell(&self, turn: &Turn<'_>, at: Position, kind: EventKind, effects: &mut Effects) {
        // The id of an observed alert is the dossier's event id, which others compute as well.
        let word = match &kind {
            EventKind::Observed(_) => "alert",
            other => other.word(),
        };
        let ordinal = at.alert.map_or(0, u64::from);
        let id = EventId(id::derive(turn.record.0, word, ordinal));
        effects.events.push(self.event(id, at, turn.project.cloned(), kind));
    }

    fn event(
        &self,
        id: EventId,
        at: Position,
        project: Option<ProjectId>,
        kind: EventKind,
    ) -> Event {
        Event {
            version: EVENT_VERSION,
            id,
            at,
            lane_time: self.lane_time,
            project,
            rules: self.rules.hash().to_owned(),
            kind,
        }
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
        | Kind::Command(_)
        | Kind::Answer(_)
        | Kind::Outcome(_)
        | Kind::Redrive(_)
        | Kind::Rules(_)
        | Kind::ChatOperator(_)
        | Kind::Silence(_)
        | Kind::Control => record.received_at.min(prepared.stored_at),
    };
    before.max(told)
}
