//! One alert: the problems it is applied to, and what it changed in them.

use schemas::{
    EventId, Facts, Fingerprint, IncidentId, JobId, Level, Position, ProjectId, Status,
    alert::Stage,
    event::{Cause, Effect, Kind as EventKind, Observed, Opened, Repeated, Resolved, Stale},
    id,
    job::TriageJob,
};

use super::{LaneState, Parcel, Turn};
use crate::{
    effect::{Effects, Opening, TriageAsk},
    observe::{
        Change, Elsewhere, FINGERPRINT_BY_RULE, FINGERPRINT_VERSION, Identity, Incident, Latest,
        Scope, Sighting, changed_at, incident_id, occurrence_hash, prepare::PreparedAlert,
    },
};

/// The problem an alert is applied to.
#[derive(Clone, Copy)]
struct Whose<'a> {
    project: &'a ProjectId,
    fingerprint: Fingerprint,
    scope: Scope,
    /// Its running number among those of the alert.
    ordinal: u64,
}

/// An alert and its problem's latest episode after it.
struct Seen {
    fingerprint: Fingerprint,
    sighting: Sighting,
    latest: Latest,
    ordinal: u64,
}

impl Seen {
    fn over(&self, facts: &Facts, (incident, opening): (IncidentId, Position)) -> Resolved {
        Resolved {
            incident,
            fingerprint: self.fingerprint,
            opening,
            occurrences: self.latest.occurrences,
            facts: facts.clone(),
        }
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
        effects: &mut Effects,
    ) {
        let PreparedAlert { alert, identity } = prepared;
        let Identity { fingerprint, recurrence_key, scope, by: fingerprint_by } = identity;
        let (effect, belongs) = match alert.stage {
            Stage::Test | Stage::Heartbeat => (Effect::RecordedOnly, None),
            Stage::Received | Stage::Resolved => {
                let key = (parcel.project.clone(), fingerprint);
                if parcel.redelivered {
                    (Effect::Redelivered, self.working.incident_of(&key))
                } else {
                    let sighting = Sighting {
                        at,
                        incident: incident_id(parcel.project, at),
                        status: alert.facts.status,
                        changed_at: changed_at(alert.status_at, turn.received_at),
                        occurrence: alert.occurrence.as_deref().map(occurrence_hash),
                        lane_time: self.lane_time,
                        stale_seconds: self.rules.stale(parcel.project).seconds(),
                    };
                    let own = Whose { project: parcel.project, fingerprint, scope, ordinal: 0 };
                    self.apply_everywhere(turn, own, &alert.facts, sighting, effects)
                }
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
            effect,
            incident: belongs.map(|(incident, _)| incident),
            opening: belongs.map(|(_, opening)| opening),
            raw_sha256: parcel.raw_sha256,
            raw_length: parcel.raw_length,
            channel_type: parcel.channel_type.to_owned(),
            fingerprint_by,
        };
        self.tell(turn, at, EventKind::Observed(Box::new(observed)), effects);
    }

    /// Applies an alert to its problem and, where it tells of all environments, to those of the
    /// same identity that are open in others.
    fn apply_everywhere(
        &mut self,
        turn: &Turn<'_>,
        own: Whose<'_>,
        facts: &Facts,
        sighting: Sighting,
        effects: &mut Effects,
    ) -> (Effect, Option<(IncidentId, Position)>) {
        let key = (own.project.clone(), own.fingerprint);
        let others = match own.scope {
            Scope::Whole => self.working.elsewhere(&key).to_vec(),
            Scope::Own | Scope::One { .. } => Vec::new(),
        };
        if sighting.status == Status::Firing {
            // What is open somewhere is announced by nobody again.
            if let Some(other) = others.last()
                && sighting.occurrence.is_none()
                && !self.working.is_open(&key)
            {
                let belongs = self.working.incident_of(&(key.0, other.fingerprint));
                return (Effect::SameOccurrence, belongs);
            }
            return self.apply(turn, own, facts, sighting, effects);
        }
        let mut told = self.apply(turn, own, facts, sighting, effects);
        for (ordinal, other) in (1u64..).zip(others) {
            let whose = Whose {
                project: own.project,
                fingerprint: other.fingerprint,
                scope: Scope::One { whole: own.fingerprint },
                ordinal,
            };
            let facts = Facts { environment: Some(other.environment), ..facts.clone() };
            let also = self.apply(turn, whose, &facts, sighting, effects);
            // It belongs to what it closed first; if nothing, to what it did not.
            if !matches!(told.0, Effect::Resolved | Effect::Suppressed) {
                told = also;
            }
        }
        told
    }

    /// Applies an alert to one problem and tells what came of it.
    fn apply(
        &mut self,
        turn: &Turn<'_>,
        whose: Whose<'_>,
        facts: &Facts,
        sighting: Sighting,
        effects: &mut Effects,
    ) -> (Effect, Option<(IncidentId, Position)>) {
        let Whose { project, fingerprint, scope, ordinal } = whose;
        let (change, latest) = self.working.apply((project.clone(), fingerprint), &sighting);
        if let Scope::One { whole } = scope
            && let Some(open) = change.is_open_after()
        {
            let environment = facts.environment.clone().unwrap_or_default();
            let other = Elsewhere { environment, fingerprint };
            self.working.list((project.clone(), whole), other, open);
        }
        let seen = Seen { fingerprint, sighting, latest, ordinal };
        self.announce(turn, project, facts, change, &seen, effects)
    }

    /// Tells what an alert changed, and asks for what a new incident needs.
    fn announce(
        &mut self,
        turn: &Turn<'_>,
        project: &ProjectId,
        facts: &Facts,
        change: Change,
        seen: &Seen,
        effects: &mut Effects,
    ) -> (Effect, Option<(IncidentId, Position)>) {
        let belongs = seen.latest.incident;
        let fingerprint = seen.fingerprint;
        let kind = match change {
            Change::Opened { cause, dated_back } => {
                let rule = dated_back.then(|| self.rules.stale(project).id.clone());
                Some(self.open(project, facts, cause, rule, seen, effects))
            }
            Change::Repeated => belongs.map(|(incident, opening)| {
                let occurrences = seen.latest.occurrences;
                EventKind::Repeated(Repeated { incident, fingerprint, opening, occurrences })
            }),
            Change::Resolved => {
                belongs.map(|episode| EventKind::Resolved(Box::new(seen.over(facts, episode))))
            }
            Change::Suppressed => {
                belongs.map(|episode| EventKind::Suppressed(Box::new(seen.over(facts, episode))))
            }
            Change::Stale { last_change } => {
                let status_at = seen.sighting.changed_at;
                let rule = Some(self.rules.stale(project).id.clone());
                Some(EventKind::Stale(Stale { fingerprint, status_at, last_change, rule }))
            }
            Change::SameOccurrence | Change::NothingToClose => None,
        };
        if let Some(kind) = kind {
            self.tell(turn, seen.sighting.at, kind, effects);
            // One alert may tell of several problems.
            if let Some(event) = effects.events.last_mut().filter(|_| seen.ordinal > 0) {
                event.id = EventId(id::derive(event.id.0, "elsewhere", seen.ordinal));
            }
        }
        (change.effect(), belongs)
    }

    /// Opens an incident: its state, its number, its triage.
    fn open(
        &mut self,
        project: &ProjectId,
        facts: &Facts,
        cause: Cause,
        rule: Option<String>,
        seen: &Seen,
        effects: &mut Effects,
    ) -> EventKind {
        const REASON: &str = "open";
        let Sighting { at: opening, incident, .. } = seen.sighting;
        let fingerprint = seen.fingerprint;
        self.working.open_incident((project.clone(), incident), Incident::new(fingerprint));
        effects.openings.push(Opening {
            project: project.clone(),
            incident,
            opening,
            opened_at: self.lane_time,
        });
        effects.triage.push(TriageAsk {
            id: JobId::triage(opening, REASON),
            trigger: opening,
            job: TriageJob {
                project: project.clone(),
                incident,
                opening,
                reason: REASON.to_owned(),
                facts: facts.clone(),
            },
        });
        EventKind::Opened(Box::new(Opened {
            incident,
            fingerprint,
            cause,
            episode: seen.latest.episode,
            risk: Level::risk(facts.level),
            facts: facts.clone(),
            rule,
        }))
    }
}
