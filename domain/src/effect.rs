//! What decisions ask for: the only way out of the fold. Data; the stage writes it.

use schemas::{Event, Facts, IncidentId, JobId, Position, ProjectId, Time, job::TriageJob};

use crate::rules::{Rules, Subject};

/// What the folds of a batch ask for, in log order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Derived facts to be published.
    pub events: Vec<Event>,
    /// Triage calls to be made.
    pub triage: Vec<TriageAsk>,
    /// Incidents that opened and want a number.
    pub openings: Vec<Opening>,
}

/// A triage call that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct TriageAsk {
    /// hash(opening position, "triage", reason): asking twice is asking once.
    pub id: JobId,
    /// The alert that asks; decides which generation may act on it (invariant I6).
    pub trigger: Position,
    pub job: TriageJob,
    /// The rules in force where it was asked.
    rules: Rules,
}

impl TriageAsk {
    /// Asks for `job` because of what stands at `trigger`, with what the playbook in force there says
    /// of its facts.
    pub fn new(trigger: Position, job: TriageJob, rules: &Rules) -> Self {
        let id = JobId::triage(job.opening, &job.reason);
        let mut ask = Self { id, trigger, job, rules: rules.clone() };
        if let Some(facts) = ask.job.facts.take() {
            ask.give(facts);
        }
        ask
    }

    /// Gives a call its facts, and with them what the playbook said where it was asked: who asks for
    /// one has none at hand.
    pub fn give(&mut self, facts: Facts) {
        let subject = Subject { project: &self.job.project, facts: &facts };
        self.job.runbook = self.rules.runbook(&subject);
        self.job.facts = Some(facts);
    }
}

/// An incident that opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub project: ProjectId,
    pub incident: IncidentId,
    pub opening: Position,
    /// Lane time; its day in the configured zone is part of the incident's number.
    pub opened_at: Time,
}
