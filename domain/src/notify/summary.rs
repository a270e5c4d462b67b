//! What is gathered to be told in one message: digests, bundles, storms.
//!
//! A summary counts everything and names the worst: memory does not grow with what is counted.

use minicbor::{Decode, Encode};
use schemas::{
    Facts, Fingerprint, IncidentId, Level, Position, ProjectId, SourceId, Status, Time,
    alert::Risk,
    event::IncidentState,
    job::{Summary, SummaryItem, SummaryReason},
};

use super::{Recipient, row::Told};

/// How many incidents a summary names.
const NAMED: usize = 20;

/// How many problems a bundle knows by themselves; what comes then is counted.
pub(super) const MEMBERS: usize = 1_000;

/// A summary that is still to be told, or still grows.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Gathering {
    #[n(0)]
    pub key: String,
    #[n(1)]
    pub project: ProjectId,
    #[n(2)]
    pub reason: SummaryReason,
    /// The rule by which it is told.
    #[n(3)]
    pub rule: String,
    #[n(4)]
    pub group: Vec<(String, String)>,
    #[n(5)]
    pub to: Vec<Recipient>,
    /// Of these, who was told of it so far.
    #[n(6)]
    pub told: Vec<Recipient>,
    /// Lane time of the first and the last alert in it.
    #[n(7)]
    pub since: Time,
    #[n(8)]
    pub until: Time,
    /// When it is told, or told again.
    #[n(9)]
    pub due: Time,
    #[n(10)]
    pub incidents: u64,
    #[n(11)]
    pub alerts: u64,
    /// Worst first.
    #[n(12)]
    pub items: Vec<SummaryItem>,
    /// Where the first was opened, and who sent it.
    #[n(13)]
    pub opening: Position,
    #[n(14)]
    pub provider: String,
    #[n(15)]
    pub source: SourceId,
    #[n(16)]
    pub risk: Risk,
    /// The worst level; of alerts without one none.
    #[n(17)]
    pub level: Option<Level>,
    /// The problems of a bundle.
    #[n(18)]
    pub members: Vec<Fingerprint>,
    #[n(19)]
    pub tags: Vec<String>,
    /// It grew since it was last told.
    #[n(20)]
    pub grown: bool,
    /// Of a bundle: seconds until its group may be told again.
    #[n(21)]
    pub interval: i64,
    /// An alert in it has no level: nobody knows how bad it is.
    #[n(22)]
    #[cbor(default)]
    pub unlevelled: bool,
    /// Of a storm: how many of its incidents are over.
    #[n(23)]
    #[cbor(default)]
    pub over: u64,
}

/// What a gathering is begun with.
pub(super) struct Begin {
    pub key: String,
    pub reason: SummaryReason,
    pub rule: String,
    pub group: Vec<(String, String)>,
    pub due: Time,
    pub interval: i64,
}

impl Gathering {
    /// An empty one, begun because of `told`.
    pub fn new(begin: Begin, project: &ProjectId, told: &Told, now: Time) -> Self {
        let Begin { key, reason, rule, group, due, interval } = begin;
        Self {
            key,
            project: project.clone(),
            reason,
            rule,
            group,
            to: Vec::new(),
            told: Vec::new(),
            since: now,
            until: now,
            due,
            incidents: 0,
            alerts: 0,
            items: Vec::new(),
            opening: told.opening,
            provider: told.facts.provider.clone(),
            source: told.facts.source.clone(),
            risk: told.risk,
            level: told.facts.level,
            members: Vec::new(),
            tags: Vec::new(),
            grown: false,
            interval,
            unlevelled: false,
            over: 0,
        }
    }

    /// Counts one alert, `first` of its incident here.
    pub fn count(&mut self, told: &Told, fingerprint: Fingerprint, first: bool, now: Time) {
        self.alerts += 1;
        self.until = now;
        self.grown = true;
        self.risk = self.risk.max(told.risk);
        self.level = self.level.max(told.facts.level);
        self.unlevelled |= told.facts.level.is_none();
        if !first {
            if let Some(item) = self.items.iter_mut().find(|i| i.incident == told.incident) {
                item.alerts += 1;
                item.state = told.state;
            }
            return;
        }
        self.incidents += 1;
        if self.reason == SummaryReason::Bundle && self.members.len() < MEMBERS {
            self.members.push(fingerprint);
        }
        self.name(told, 1);
    }

    /// Notes that an incident in it is worse by now.
    pub fn worsen(&mut self, told: &Told) {
        self.risk = self.risk.max(told.risk);
        self.level = self.level.max(told.facts.level);
        self.grown = true;
        let known = self.items.iter().position(|item| item.incident == told.incident);
        // One that was not named before has had this alert, as far as anybody here knows.
        let alerts = known.map_or(1, |at| self.items.remove(at).alerts);
        self.name(told, alerts);
    }

    /// Names an incident, if it is among the worst.
    fn name(&mut self, told: &Told, alerts: u64) {
        let item = SummaryItem {
            incident: told.incident,
            opening: told.opening,
            provider: told.facts.provider.clone(),
            title: told.facts.title.clone(),
            level: told.facts.level,
            environment: told.facts.environment.clone(),
            alerts,
            state: told.state,
        };
        // Behind those that are as bad.
        let at = self.items.partition_point(|known| rank(known.level) >= rank(item.level));
        if at < NAMED {
            self.items.insert(at, item);
            self.items.truncate(NAMED);
        }
    }

    /// Notes where an incident in it stands by now.
    pub fn note(&mut self, incident: IncidentId, state: IncidentState) {
        if let Some(item) = self.items.iter_mut().find(|item| item.incident == incident) {
            item.state = state;
        }
        self.grown = true;
    }

    /// An incident of a storm is over, or fires again after it was. False: it is no storm.
    pub fn turn(&mut self, told: &Told) -> bool {
        if self.reason != SummaryReason::Storm {
            return false;
        }
        self.over = if told.state.is_over() { self.over + 1 } else { self.over.saturating_sub(1) };
        self.note(told.incident, told.state);
        true
    }

    /// Nothing in it fires any more, whether it is named or not.
    pub fn is_over(&self) -> bool {
        self.over >= self.incidents
    }

    /// Takes an incident out of it again, with its `alerts`.
    pub fn drop_incident(&mut self, incident: IncidentId, fingerprint: Fingerprint, alerts: u64) {
        self.incidents = self.incidents.saturating_sub(1);
        self.members.retain(|member| *member != fingerprint);
        self.items.retain(|item| item.incident != incident);
        self.alerts = self.alerts.saturating_sub(alerts);
    }

    /// As it is told.
    pub fn summary(&self) -> Summary {
        Summary {
            reason: self.reason,
            key: self.key.clone(),
            since: self.since,
            until: self.until,
            incidents: self.incidents,
            alerts: self.alerts,
            group: self.group.clone(),
            items: self.items.clone(),
        }
    }

    /// The id its messages go by.
    pub fn id(&self) -> IncidentId {
        let Self { project, key, .. } = self;
        IncidentId(schemas::id::hash(&[project.as_str().as_bytes(), b"summary", key.as_bytes()]))
    }

    /// What stands for an alert's facts in its messages.
    pub fn facts(&self) -> Facts {
        let title = self.items.first().map_or_else(String::new, |item| item.title.clone());
        let facts = Facts::new(self.provider.clone(), self.source.clone(), title, Status::Firing);
        Facts { level: self.level, ..facts }
    }
}

/// How bad; what has no level is as bad as a warning, and behind those that say so.
fn rank(level: Option<Level>) -> (Risk, bool) {
    (Level::risk(level), level.is_some())
}
