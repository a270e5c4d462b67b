//! Stories of events, and what is said of each.

mod bundles;
mod invariants;
mod lasting;
mod matrix;
mod operators;
mod quiet;
mod rises;
mod rows;
mod silences;
mod storms;
mod summaries;

use schemas::{
    Event, EventId, Facts, Fingerprint, IncidentId, InputPosition, Level, Position, ProjectId,
    SourceId, Status, Time,
    event::{
        Applied, Cause, EVENT_VERSION, Expired, IncidentState, Kind, Opened, Repeated, Resolved,
        Rise,
    },
    record::RulesDocument,
};
use uuid::Uuid;

use super::*;
use crate::{replay::Telling, rules::Rules};

/// Midnight of 2026-01-01 in the digests' zone, +08:00, in seconds.
const MIDNIGHT: i64 = 1_767_196_800;

const HOUR: i64 = 3_600;

fn project() -> ProjectId {
    ProjectId::new("shop").unwrap()
}

fn at(sequence: u64) -> Position {
    InputPosition { incarnation: 7, sequence, record: 0 }.alert(0)
}

fn fingerprint(problem: u64) -> Fingerprint {
    Fingerprint(Uuid::from_u128(u128::from(problem)))
}

fn incident(opening: Position) -> IncidentId {
    IncidentId(Uuid::from_u128(u128::from(opening.input.sequence)))
}

fn facts(level: Option<Level>, environment: &str) -> Facts {
    Facts {
        level,
        environment: Some(environment.to_owned()),
        ..Facts::new("sentry", SourceId::new("main").unwrap(), "boom", Status::Firing)
    }
}

fn of(level: Level) -> Facts {
    facts(Some(level), "production")
}

fn labelled(labels: &[(&str, &str)]) -> Facts {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Facts { labels: labels.collect(), ..of(Level::Error) }
}

/// A document with these tables, in front of one route to `default`.
fn document(tables: &str) -> String {
    format!("{tables}\n[[defaults.routes]]\nname = \"all\"\nreceivers = [\"default\"]\n")
}

/// Events one after the other, at times in seconds after [`MIDNIGHT`], and what was said of them.
struct Story {
    telling: Telling,
    state: State,
    sequence: u64,
    now: i64,
    /// The opening of each problem's latest incident.
    openings: std::collections::BTreeMap<u64, Position>,
    events: Vec<Event>,
}

impl Story {
    fn new() -> Self {
        let (telling, openings) = Default::default();
        Self { telling, state: State::default(), sequence: 0, now: 0, openings, events: Vec::new() }
    }

    /// With these rules in force.
    fn with(rules: &str) -> Self {
        let mut story = Self::new();
        story.rules(rules);
        story
    }

    fn at(&mut self, seconds: i64) -> &mut Self {
        assert!(seconds >= self.now, "lane time never goes back");
        self.now = seconds;
        self
    }

    fn event(&mut self, kind: Kind) -> Event {
        self.sequence += 1;
        Event {
            version: EVENT_VERSION,
            id: EventId(schemas::id::hash(&[&self.sequence.to_be_bytes()])),
            at: at(self.sequence),
            lane_time: Time::from_micros((MIDNIGHT + self.now) * 1_000_000),
            project: Some(project()),
            rules: "observed".into(),
            kind,
        }
    }

    /// What is said of it, in words: `fire to default`, `once_per_60m`, `hourly_digest in …`.
    fn say(&mut self, kind: Kind) -> Vec<String> {
        let event = self.event(kind);
        self.events.push(event.clone());
        let before = self.telling.notices.len();
        self.telling.apply(&mut self.state, vec![event]).unwrap();
        self.telling.notices[before..].iter().map(words).collect()
    }

    fn rules(&mut self, text: &str) -> Vec<String> {
        let hash = Rules::parse(text).unwrap().hash().to_owned();
        let document = RulesDocument { hash, text: text.to_owned(), operator: "ada".into() };
        self.say(Kind::RulesChanged(Some(Box::new(document))))
    }

    fn open(&mut self, problem: u64, cause: Cause, facts: Facts) -> Vec<String> {
        self.open_for(problem, cause, facts, None)
    }

    fn open_for(
        &mut self,
        problem: u64,
        cause: Cause,
        facts: Facts,
        channel: Option<&str>,
    ) -> Vec<String> {
        let opening = at(self.sequence + 1);
        self.openings.insert(problem, opening);
        self.say(Kind::Opened(Box::new(Opened {
            incident: incident(opening),
            fingerprint: fingerprint(problem),
            cause,
            episode: 1,
            risk: Level::risk(facts.level),
            facts,
            rule: None,
            frequency: None,
            raised_by: None,
            flapping: None,
            channel: channel.map(str::to_owned),
        })))
    }

    fn new_one(&mut self, problem: u64, level: Level) -> Vec<String> {
        self.open(problem, Cause::New, of(level))
    }

    fn again(&mut self, problem: u64, level: Level) -> Vec<String> {
        self.open(problem, Cause::Regression, of(level))
    }

    fn repeat(&mut self, problem: u64) -> Vec<String> {
        let opening = self.openings[&problem];
        self.say(Kind::Repeated(Repeated {
            incident: incident(opening),
            fingerprint: fingerprint(problem),
            opening,
            occurrences: 2,
            frequency: None,
            level: None,
            rise: None,
        }))
    }

    /// It fires on at another level than any of its episode before, or at one it had.
    fn repeat_as(
        &mut self,
        problem: u64,
        facts: Facts,
        before: Option<Option<Level>>,
    ) -> Vec<String> {
        let opening = self.openings[&problem];
        let level = facts.level;
        let rise = before.map(|before| {
            let (risk_before, risk) = (Level::risk(before), Level::risk(level));
            Box::new(Rise { before, risk_before, risk, facts })
        });
        self.say(Kind::Repeated(Repeated {
            incident: incident(opening),
            fingerprint: fingerprint(problem),
            opening,
            occurrences: 2,
            frequency: None,
            level,
            rise,
        }))
    }

    /// It gets worse.
    fn rises(&mut self, problem: u64, before: Level, level: Level) -> Vec<String> {
        self.repeat_as(problem, of(level), Some(Some(before)))
    }

    /// It fires on at a level it had before.
    fn goes_on_as(&mut self, problem: u64, level: Level) -> Vec<String> {
        self.repeat_as(problem, of(level), None)
    }

    fn over(&self, problem: u64) -> Box<Resolved> {
        let opening = self.openings[&problem];
        Box::new(Resolved {
            incident: incident(opening),
            fingerprint: fingerprint(problem),
            opening,
            occurrences: 2,
            facts: Facts { status: Status::Resolved, ..of(Level::Error) },
            flapping: None,
        })
    }

    fn resolve(&mut self, problem: u64) -> Vec<String> {
        let over = self.over(problem);
        self.say(Kind::Resolved(over))
    }

    fn suppress(&mut self, problem: u64) -> Vec<String> {
        let over = self.over(problem);
        self.say(Kind::Suppressed(over))
    }

    fn expire(&mut self, problem: u64) -> Vec<String> {
        let opening = self.openings[&problem];
        self.say(Kind::Expired(Box::new(Expired {
            incident: incident(opening),
            fingerprint: fingerprint(problem),
            opening,
            occurrences: 2,
            last_seen: Time::default(),
            after_seconds: 7200,
            rule: "expiry".into(),
        })))
    }

    fn apply(
        &mut self,
        problem: u64,
        verb: &str,
        (before, after): (IncidentState, IncidentState),
        arguments: &str,
    ) -> Vec<String> {
        let opening = self.openings[&problem];
        self.say(Kind::Applied(Box::new(Applied {
            incident: incident(opening),
            fingerprint: fingerprint(problem),
            opening,
            verb: verb.into(),
            actor: "ada".into(),
            auth_method: "api_key".into(),
            before,
            after,
            changed: true,
            arguments: arguments.into(),
            triage: None,
            reply: None,
            diagnosis: None,
        })))
    }

    fn ack(&mut self, problem: u64) -> Vec<String> {
        self.apply(problem, "ack", (IncidentState::Open, IncidentState::Acknowledged), "{}")
    }

    fn tick(&mut self) -> Vec<String> {
        self.say(Kind::Ticked)
    }

    /// The last message that was planned.
    fn plan(&self) -> &Plan {
        self.telling.plans.last().unwrap()
    }
}

/// A notice without what is told apart by position.
fn words(notice: &Event) -> String {
    let kept = |summary: &str| {
        let mut parts: Vec<&str> = summary.split(':').collect();
        parts.retain(|part| !part.starts_with("7-"));
        parts.join(":")
    };
    match &notice.kind {
        Kind::Planned(p) => {
            let of = p.summary.as_deref().map(|s| format!(" of {}", kept(s))).unwrap_or_default();
            format!("{} to {}{of}", p.kind.word(), p.receiver)
        }
        Kind::Withheld(w) => {
            let of = w.summary.as_deref().map(|s| format!(" in {}", kept(s))).unwrap_or_default();
            format!("{}{of}", w.reason)
        }
        other => panic!("not a notice: {other:?}"),
    }
}

/// The rule the last notice carries.
fn rule(story: &Story) -> String {
    match &story.telling.notices.last().unwrap().kind {
        Kind::Planned(p) => p.rule.clone(),
        Kind::Withheld(w) => w.rule.clone(),
        other => panic!("not a notice: {other:?}"),
    }
}

/// Why the last notice tells people of what they were told of before.
fn because(story: &Story) -> Option<String> {
    match &story.telling.notices.last().unwrap().kind {
        Kind::Planned(p) => p.reason.clone(),
        other => panic!("not planned: {other:?}"),
    }
}

/// What decided besides the rule.
fn by(story: &Story) -> Option<String> {
    match &story.telling.notices.last().unwrap().kind {
        Kind::Withheld(w) => w.by.clone(),
        other => panic!("not withheld: {other:?}"),
    }
}
