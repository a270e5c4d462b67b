//! Who is told what: planned messages and withheld ones, each with the rule that decided.
//!
//! ```text
//! decision event ──> prepare ──> decide(state, event) ──> notices (why, why not)  ──> channel `notice`
//!                                                    └──> plans   (whom, what)    ──> send job rows
//! ```
//!
//! Decisions are made on what was planned, never on what became of a send, so a replay decides the
//! same without asking any provider. Receivers are names; which channels stand behind them is
//! configuration and unknown here.

mod feishu;
mod format;
mod plan;
mod render;
mod state;
#[cfg(test)]
mod tests;

use schemas::{
    Event, EventId, Facts, IncidentId, Level, Position,
    alert::Risk,
    event::{EVENT_VERSION, Kind, Opened, Planned, Repeated, Resolved, Withheld},
    job::SendKind,
};

pub use feishu::{feishu_card, feishu_text};
pub use format::{
    ANY, Key, KeyName, Language, Message, Sample, TemplateError, Templates, keyboard, sample_facts,
    wecom_text,
};
pub use plan::{Plan, Recipient};
pub use render::{render_text, severity};
pub use state::{State, Way};

use crate::rules::{self, Rules, Subject};

/// Version of this fold: raised whenever the same events would be decided otherwise. 2 decides by
/// the rules in force instead of the built-in ones.
pub const FOLD_VERSION: u32 = 2;

/// Rule id of a decision that no route took part in.
const NO_ROUTE: &str = "none";

/// What follows from one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// Planned and withheld messages, in the order they were decided.
    pub notices: Vec<Event>,
    /// What is to be sent, one per `Planned` notice.
    pub plans: Vec<Plan>,
    /// The analysis of this incident is there: its first message need not wait for it any longer.
    pub analysed: Option<IncidentId>,
    /// The state is not what it was.
    pub changed: bool,
}

/// An event, ready to be applied.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub event: Event,
    /// The document it puts in force.
    rules: Option<Rules>,
}

/// Reads what an event needs no turn for.
///
/// # Errors
/// When it puts a document in force that this binary does not understand, or that is another than
/// it is called: deciding on by the one before would tell the wrong people.
pub fn prepare(event: Event) -> Result<Prepared, rules::Error> {
    let rules = match &event.kind {
        Kind::RulesChanged(Some(document)) => Some(Rules::named(&document.hash, &document.text)?),
        // Written before events told the document; there was no way to apply one then.
        Kind::RulesChanged(None) => None,
        Kind::Opened(_)
        | Kind::Repeated(_)
        | Kind::Resolved(_)
        | Kind::Suppressed(_)
        | Kind::Stale(_)
        | Kind::Answered(_)
        | Kind::Ticked
        | Kind::Escalated(_)
        | Kind::Expired(_)
        | Kind::Applied(_)
        | Kind::Refused(_)
        | Kind::SilenceChanged(_)
        | Kind::Asked(_)
        | Kind::Tested(_)
        | Kind::Observed(_)
        | Kind::Settled(_)
        | Kind::Sent(_)
        | Kind::Planned(_)
        | Kind::Withheld(_) => None,
    };
    Ok(Prepared { event, rules })
}

/// Applies one decision event to `state`.
///
/// Events of other channels and events without a project decide nothing.
pub fn decide(state: &mut State, prepared: &Prepared) -> Decided {
    let Prepared { event, rules } = prepared;
    let mut desk = Desk { event, rules: state.rules().clone(), decided: Decided::default() };
    match &event.kind {
        Kind::Opened(opened) => desk.fire(state, opened),
        Kind::Repeated(repeated) => desk.repeat(state, repeated),
        Kind::Resolved(resolved) => desk.resolve(state, resolved),
        Kind::Suppressed(over) => {
            desk.end(state, over.incident, over.opening, "suppressed_at_sender");
        }
        Kind::Answered(answered) => desk.decided.analysed = Some(answered.incident),
        Kind::RulesChanged(_) => {
            if let Some(rules) = rules {
                state.put_rules(rules.clone());
                desk.decided.changed = true;
            }
        }
        Kind::Expired(over) => desk.end(state, over.incident, over.opening, "expired"),
        Kind::Applied(applied) if applied.after.is_over() && !applied.before.is_over() => {
            desk.end(state, applied.incident, applied.opening, "resolved_by_operator");
        }
        // Told by nobody: the clock, what changed nothing, and what operators do themselves.
        Kind::Stale(_)
        | Kind::Ticked
        | Kind::Escalated(_)
        | Kind::Applied(_)
        | Kind::Refused(_)
        | Kind::SilenceChanged(_)
        | Kind::Asked(_)
        | Kind::Tested(_) => {}
        // Not on channel `decision`.
        Kind::Observed(_)
        | Kind::Settled(_)
        | Kind::Sent(_)
        | Kind::Planned(_)
        | Kind::Withheld(_) => {}
    }
    desk.decided
}

/// One event being decided.
struct Desk<'a> {
    event: &'a Event,
    rules: Rules,
    decided: Decided,
}

/// The incident a decision is about.
#[derive(Clone, Copy)]
struct About<'a> {
    incident: IncidentId,
    opening: Position,
    facts: &'a Facts,
    risk: Risk,
}

impl Desk<'_> {
    fn fire(&mut self, state: &mut State, opened: &Opened) {
        // An event without a project concerns every project of a lane; no incident is such.
        let Some(project) = &self.event.project else { return };
        let about = About {
            incident: opened.incident,
            opening: self.event.at,
            facts: &opened.facts,
            risk: opened.risk,
        };
        let subject = Subject { project, facts: &opened.facts };
        let routed = self.rules.routes(&subject).into_iter().next();
        let (rule, receivers) =
            routed.map_or_else(|| ("no_route".to_owned(), Vec::new()), |r| (r.rule, r.receivers));
        let way = Way { rule, receivers, risk: opened.risk };
        if way.receivers.is_empty() {
            self.withhold(about.incident, about.opening, "no_receiver", &way.rule);
        }
        for receiver in &way.receivers {
            self.plan(about, SendKind::Fire, receiver, &way.rule);
        }
        state.open_incident(opened.incident, way);
        self.decided.changed = true;
    }

    fn repeat(&mut self, state: &State, repeated: &Repeated) {
        let rule = state.fire(repeated.incident).map_or(NO_ROUTE, |way| &way.rule).to_owned();
        self.withhold(repeated.incident, repeated.opening, "repeat", &rule);
    }

    /// A resolve goes to whom the fire was planned for, whatever the rules say by now.
    fn resolve(&mut self, state: &mut State, resolved: &Resolved) {
        let way = self.close(state, resolved.incident);
        let about = About {
            incident: resolved.incident,
            opening: resolved.opening,
            facts: &resolved.facts,
            risk: way.as_ref().map_or(Level::risk(resolved.facts.level), |way| way.risk),
        };
        match way {
            Some(way) if !way.receivers.is_empty() => {
                for receiver in &way.receivers {
                    self.plan(about, SendKind::Resolve, receiver, &way.rule);
                }
            }
            silent => {
                let rule = silent.map_or_else(|| NO_ROUTE.to_owned(), |way| way.rule);
                self.withhold(about.incident, about.opening, "resolve_without_fire", &rule);
            }
        }
    }

    /// An end that is told to nobody.
    fn end(&mut self, state: &mut State, incident: IncidentId, opening: Position, reason: &str) {
        let way = self.close(state, incident);
        let rule = way.map_or_else(|| NO_ROUTE.to_owned(), |way| way.rule);
        self.withhold(incident, opening, reason, &rule);
    }

    fn close(&mut self, state: &mut State, incident: IncidentId) -> Option<Way> {
        let way = state.close_incident(incident);
        self.decided.changed |= way.is_some();
        way
    }

    fn plan(&mut self, about: About<'_>, kind: SendKind, receiver: &str, rule: &str) {
        let Some(project) = self.event.project.clone() else { return };
        self.note(Kind::Planned(Planned {
            incident: about.incident,
            opening: about.opening,
            kind,
            receiver: receiver.to_owned(),
            rule: rule.to_owned(),
            summary: None,
        }));
        self.decided.plans.push(Plan {
            project,
            incident: about.incident,
            opening: about.opening,
            kind,
            subject: about.opening.to_string(),
            to: Recipient::Receiver(receiver.to_owned()),
            facts: about.facts.clone(),
            risk: about.risk,
            rule: rule.to_owned(),
            rules: self.rules.hash().to_owned(),
            trigger: self.event.at,
            at: self.event.lane_time,
            frequency: None,
            cause: None,
            standing: None,
            summary: None,
            reply: None,
            tags: Vec::new(),
        });
    }

    fn withhold(&mut self, incident: IncidentId, opening: Position, reason: &str, rule: &str) {
        self.note(Kind::Withheld(Withheld {
            incident,
            opening,
            reason: reason.to_owned(),
            rule: rule.to_owned(),
            summary: None,
            by: None,
        }));
    }

    fn note(&mut self, kind: Kind) {
        let ordinal = self.decided.notices.len() as u64;
        self.decided.notices.push(Event {
            version: EVENT_VERSION,
            id: EventId(schemas::id::derive(self.event.id.0, "notice", ordinal)),
            at: self.event.at,
            lane_time: self.event.lane_time,
            project: self.event.project.clone(),
            rules: self.rules.hash().to_owned(),
            kind,
        });
    }
}
