//! One alert: the problems it is applied to, and what it changed in them.

use schemas::{
    EventId, Facts, Fingerprint, IncidentId, Position, ProjectId, Status,
    alert::Stage,
    event::{
        Cause, Effect, Escalated, Frequency, Kind as EventKind, Observed, Opened, Repeated,
        Resolved, Rise, Stale, Tested,
    },
    id,
    job::TriageJob,
};

use super::{LaneState, Turn, deliveries::Parcel};
use crate::{
    effect::{Effects, Opening, TriageAsk},
    observe::{
        Change, Elsewhere, FINGERPRINT_BY_RULE, FINGERPRINT_VERSION, Identity, Incident,
        ProblemKey, Scope, Sighting, changed_at, incident_id, occurrence_hash,
        prepare::PreparedAlert,
        problem::{Part, Problem, Raise, Terms, Turned, Worse},
    },
    rules::Rules,
};

/// The reasons of triage calls the fold asks for by itself.
const OPEN: &str = "open";
const ESCALATE: &str = "escalate";

/// The problem an alert is applied to.
#[derive(Clone, Copy)]
struct Whose<'a> {
    project: &'a ProjectId,
    fingerprint: Fingerprint,
    scope: Scope,
    /// Its running number among those of the alert.
    ordinal: u64,
}

/// An alert and its problem after it.
struct Seen<'r> {
    fingerprint: Fingerprint,
    sighting: Sighting<'r>,
    turned: Turned,
    ordinal: u64,
    rules: &'r Rules,
    /// The channel its sender asked for, by id.
    channel: Option<&'r str>,
}

/// What a problem says of an alert it was applied to.
#[derive(Clone, Copy)]
struct Said {
    effect: Effect,
    /// The incident it belongs to, and where that was opened.
    belongs: Option<(IncidentId, Position)>,
    frequency: Option<Frequency>,
}

impl Said {
    const fn only(effect: Effect, belongs: Option<(IncidentId, Position)>) -> Self {
        Self { effect, belongs, frequency: None }
    }
}

/// How a delivery went so far.
#[derive(Debug, Default)]
pub(super) struct Went {
    /// Something in it is new to its problem.
    changed: bool,
    /// Problems that fire on, and the seconds since they were last heard of.
    gaps: Vec<(Fingerprint, i64)>,
}

impl Seen<'_> {
    fn over(
        &self,
        project: &ProjectId,
        facts: &Facts,
        (incident, opening): (IncidentId, Position),
    ) -> Box<Resolved> {
        Box::new(Resolved {
            incident,
            fingerprint: self.fingerprint,
            opening,
            occurrences: self.turned.latest.occurrences,
            facts: facts.clone(),
            flapping: self.flapping(project),
        })
    }

    /// It fires on, and how bad by now.
    fn goes_on(&self, facts: &Facts, (incident, opening): (IncidentId, Position)) -> EventKind {
        let Turned { latest, frequency, worse, .. } = self.turned;
        let rise = worse.map(|Worse { before, risk_before, risk }| {
            Box::new(Rise { before, risk_before, risk, facts: facts.clone() })
        });
        EventKind::Repeated(Repeated {
            incident,
            fingerprint: self.fingerprint,
            opening,
            occurrences: latest.occurrences,
            frequency,
            level: self.sighting.level,
            rise,
        })
    }

    /// The rule by which the problem is flapping.
    fn flapping(&self, project: &ProjectId) -> Option<String> {
        self.turned.flapping.then(|| self.rules.flapping(project).id.clone())
    }
}

impl LaneState {
    /// Folds one alert into its problem and tells what came of it.
    pub(super) fn alert(
        &mut self,
        turn: &Turn<'_>,
        parcel: &Parcel<'_>,
        at: Position,
        prepared: PreparedAlert,
        went: &mut Went,
        effects: &mut Effects,
    ) {
        let PreparedAlert { alert, silence, identity } = prepared;
        let Identity { fingerprint, recurrence_key, scope, by: fingerprint_by } = identity;
        let said = match alert.stage {
            Stage::Test => {
                // Whoever tries it waits for a message; the sender's retry is no second try.
                if !parcel.redelivered {
                    let tested = Tested {
                        record: turn.record,
                        facts: alert.facts.clone(),
                        channel: parcel.channel.map(str::to_owned),
                    };
                    self.tell(turn, at, EventKind::Tested(Box::new(tested)), effects);
                }
                Said::only(Effect::RecordedOnly, None)
            }
            Stage::Heartbeat => Said::only(Effect::RecordedOnly, None),
            Stage::Received | Stage::Resolved if parcel.redelivered => {
                let key = (parcel.project.clone(), fingerprint);
                Said::only(Effect::Redelivered, self.working.latest_of(&key))
            }
            Stage::Received | Stage::Resolved => {
                // A copy shares the document.
                let rules = self.rules.clone();
                let sighting = Sighting {
                    at,
                    incident: incident_id(parcel.project, at),
                    status: alert.facts.status,
                    level: alert.facts.level,
                    changed_at: changed_at(alert.status_at, turn.received_at, self.lane_time()),
                    occurrence: alert.occurrence.as_deref().map(occurrence_hash),
                    lane_time: self.lane_time,
                    silence,
                    terms: Terms::of(&rules, parcel.project),
                };
                let own = Whose { project: parcel.project, fingerprint, scope, ordinal: 0 };
                let (facts, channel) = (&alert.facts, parcel.channel);
                let told = Telling { turn, facts, sighting, rules: &rules, channel };
                self.apply_everywhere(own, told, went, effects)
            }
        };
        let observed = Observed {
            alert,
            record: turn.record,
            received_at: turn.received_at,
            fingerprint,
            fingerprint_version: match fingerprint_by {
                None => FINGERPRINT_VERSION,
                Some(_) => FINGERPRINT_BY_RULE,
            },
            recurrence_key,
            effect: said.effect,
            incident: said.belongs.map(|(incident, _)| incident),
            opening: said.belongs.map(|(_, opening)| opening),
            raw_sha256: parcel.raw_sha256,
            raw_length: parcel.raw_length,
            channel_type: parcel.channel_type.to_owned(),
            fingerprint_by,
            frequency: said.frequency,
            provider_version: parcel.provider_version,
        };
        self.tell(turn, at, EventKind::Observed(Box::new(observed)), effects);
    }

    /// Notes how often the sender repeats itself, after a delivery in which everything fires on.
    pub(super) fn learn_repeats(&mut self, project: &ProjectId, went: Went) {
        if went.changed || went.gaps.is_empty() {
            return;
        }
        let rules = self.rules.clone();
        for (fingerprint, seconds) in went.gaps {
            self.working.change((project.clone(), fingerprint), |problem| {
                if let Some(problem) = problem {
                    problem.repeats_every(seconds, rules.expiry(project));
                }
            });
        }
    }

    /// Applies an alert to its problem and, where it tells of all environments, to those of the
    /// same identity that are open in others.
    fn apply_everywhere(
        &mut self,
        own: Whose<'_>,
        told: Telling<'_>,
        went: &mut Went,
        effects: &mut Effects,
    ) -> Said {
        let key = (own.project.clone(), own.fingerprint);
        let others = match own.scope {
            Scope::Whole => self.working.elsewhere(&key).to_vec(),
            Scope::Own | Scope::One { .. } => Vec::new(),
        };
        if told.sighting.status == Status::Firing {
            // What is open somewhere is announced by nobody again.
            if let Some(other) = others.last()
                && told.sighting.occurrence.is_none()
                && !self.working.is_open(&key)
            {
                let belongs = self.working.latest_of(&(key.0, other.fingerprint));
                return Said::only(Effect::SameOccurrence, belongs);
            }
            return self.apply_to(own, told, went, effects);
        }
        let mut said = self.apply_to(own, told, went, effects);
        for (ordinal, other) in (1u64..).zip(others) {
            let whose = Whose {
                project: own.project,
                fingerprint: other.fingerprint,
                scope: Scope::One { whole: own.fingerprint },
                ordinal,
            };
            let facts = Facts { environment: Some(other.environment), ..told.facts.clone() };
            let also = self.apply_to(whose, Telling { facts: &facts, ..told }, went, effects);
            // It belongs to what it closed first; if nothing, to what it did not.
            if !matches!(said.effect, Effect::Resolved | Effect::Suppressed) {
                said = also;
            }
        }
        said
    }

    /// Applies an alert to one problem and tells what came of it.
    fn apply_to(
        &mut self,
        whose: Whose<'_>,
        told: Telling<'_>,
        went: &mut Went,
        effects: &mut Effects,
    ) -> Said {
        let Whose { project, fingerprint, scope, ordinal } = whose;
        let Telling { turn, facts, sighting, rules, channel } = told;
        let turned = self.working.apply((project.clone(), fingerprint), &sighting);
        if let Scope::One { whole } = scope
            && let Some(open) = turned.change.is_open_after()
        {
            let environment = facts.environment.clone().unwrap_or_default();
            self.list(project, fingerprint, Part { whole, environment }, open);
        }
        went.changed |= !turned.goes_on;
        went.gaps.extend(turned.gap.map(|seconds| (fingerprint, seconds)));
        let seen = Seen { fingerprint, sighting, turned, ordinal, rules, channel };
        self.announce(turn, project, facts, &seen, effects)
    }

    /// Notes that a problem of one environment is open, or no longer is, on the list of the whole.
    pub(super) fn list(
        &mut self,
        project: &ProjectId,
        fingerprint: Fingerprint,
        part: Part,
        open: bool,
    ) {
        let other = Elsewhere { environment: part.environment.clone(), fingerprint };
        let whole: ProblemKey = (project.clone(), part.whole);
        self.working.change(whole, |list| Problem::list(list, other, open));
        self.working.change((project.clone(), fingerprint), |problem| {
            if let Some(problem) = problem {
                problem.part = Some(part);
            }
        });
    }

    /// Tells what an alert changed, and asks for what a new incident needs.
    fn announce(
        &mut self,
        turn: &Turn<'_>,
        project: &ProjectId,
        facts: &Facts,
        seen: &Seen<'_>,
        effects: &mut Effects,
    ) -> Said {
        let Turned { change, latest, frequency, raise, worse, .. } = seen.turned;
        let belongs = latest.incident;
        let fingerprint = seen.fingerprint;
        let kind = match change {
            Change::Opened { cause, dated_back } => {
                let rule = dated_back.then(|| seen.rules.stale(project).id.clone());
                Some(self.open(project, facts, cause, rule, seen, effects))
            }
            Change::Repeated => belongs.map(|episode| seen.goes_on(facts, episode)),
            // No further occurrence, but worse than the report of it before said.
            Change::SameOccurrence if worse.is_some() => {
                belongs.map(|episode| seen.goes_on(facts, episode))
            }
            Change::Resolved => {
                belongs.map(|episode| EventKind::Resolved(seen.over(project, facts, episode)))
            }
            Change::Suppressed => {
                belongs.map(|episode| EventKind::Suppressed(seen.over(project, facts, episode)))
            }
            Change::Stale { last_change } => {
                let status_at = seen.sighting.changed_at;
                let rule = Some(seen.rules.stale(project).id.clone());
                Some(EventKind::Stale(Stale { fingerprint, status_at, last_change, rule }))
            }
            Change::SameOccurrence | Change::NothingToClose => None,
        };
        let raised = raise.zip(belongs).zip(frequency).map(|((raise, episode), frequency)| {
            self.escalate(project, facts, (raise, frequency), episode, seen, effects)
        });
        for kind in kind.into_iter().chain(raised) {
            self.tell(turn, seen.sighting.at, kind, effects);
            // One alert may tell of several problems.
            if let Some(event) = effects.events.last_mut().filter(|_| seen.ordinal > 0) {
                event.id = EventId(id::derive(event.id.0, "elsewhere", seen.ordinal));
            }
        }
        Said { effect: change.effect(), belongs, frequency }
    }

    /// Opens an incident: its state, its number, its triage.
    fn open(
        &mut self,
        project: &ProjectId,
        facts: &Facts,
        cause: Cause,
        rule: Option<String>,
        seen: &Seen<'_>,
        effects: &mut Effects,
    ) -> EventKind {
        let Sighting { at: opening, incident, .. } = seen.sighting;
        let fingerprint = seen.fingerprint;
        self.working.open_incident((project.clone(), incident), Incident::new(fingerprint));
        effects.openings.push(Opening {
            project: project.clone(),
            incident,
            opening,
            opened_at: self.lane_time,
        });
        let (whose, told) = (project.clone(), Some(facts.clone()));
        let job = TriageJob {
            frequency: seen.turned.frequency,
            fingerprint: Some(fingerprint),
            ..TriageJob::new(whose, incident, opening, OPEN, told)
        };
        effects.triage.push(TriageAsk::new(opening, job, seen.rules));
        let own_risk = seen.sighting.risk();
        let risk = seen.turned.latest.risk.unwrap_or(own_risk);
        EventKind::Opened(Box::new(Opened {
            incident,
            fingerprint,
            cause,
            episode: seen.turned.latest.episode,
            risk,
            facts: facts.clone(),
            rule,
            frequency: seen.turned.frequency,
            raised_by: (risk != own_risk).then(|| seen.rules.escalation(project).id.clone()),
            flapping: seen.flapping(project),
            channel: seen.channel.map(str::to_owned),
        }))
    }

    /// Raises an incident; the first time, analysts look at it again.
    fn escalate(
        &self,
        project: &ProjectId,
        facts: &Facts,
        (raise, frequency): (Raise, Frequency),
        (incident, opening): (IncidentId, Position),
        seen: &Seen<'_>,
        effects: &mut Effects,
    ) -> EventKind {
        let triage = raise.first.then(|| ESCALATE.to_owned());
        if let Some(reason) = triage.clone() {
            let (project, facts) = (project.clone(), Some(facts.clone()));
            let job = TriageJob {
                frequency: Some(frequency),
                fingerprint: Some(seen.fingerprint),
                ..TriageJob::new(project, incident, opening, reason, facts)
            };
            effects.triage.push(TriageAsk::new(seen.sighting.at, job, seen.rules));
        }
        EventKind::Escalated(Box::new(Escalated {
            incident,
            fingerprint: seen.fingerprint,
            opening,
            before: raise.before,
            frequency,
            risk_before: raise.risk_before,
            risk: raise.risk,
            rule: seen.rules.escalation(project).id.clone(),
            triage,
        }))
    }
}

/// An alert as it is told to each problem it tells of.
#[derive(Clone, Copy)]
struct Telling<'a> {
    turn: &'a Turn<'a>,
    facts: &'a Facts,
    sighting: Sighting<'a>,
    rules: &'a Rules,
    channel: Option<&'a str>,
}
