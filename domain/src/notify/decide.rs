//! The decisions: what one event means for who is told.

mod calm;
mod due;
mod end;
mod fire;
mod gather;
mod held;
pub(super) mod reply;
mod rise;

use schemas::{
    Event, EventId, Fingerprint, IncidentId, Position, ProjectId, Time,
    event::{EVENT_VERSION, Kind, Planned, Withheld},
    job::SendKind,
    record::RulesDocument,
};

use super::{Plan, Recipient, State, row::Told, working::Key};
use crate::{
    matcher::Matchers,
    rules::{self, Class, Group, Rules, Subject},
};

/// Rule id of a decision that no route took part in.
const NO_ROUTE: &str = "none";

/// Why people are told of what they were told of before.
const LEVEL_ROSE: &str = "level_rose";
const STILL_FIRES: &str = "still_fires";
const SILENCE_IS_OVER: &str = "silence_over";

/// What follows from one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// Planned and withheld messages, in the order they were decided.
    pub notices: Vec<Event>,
    /// What is to be sent, one per `Planned` notice.
    pub plans: Vec<Plan>,
    /// The analysis of this incident is there: its first message need not wait for it any longer.
    pub analysed: Option<IncidentId>,
}

/// An event, ready to be applied.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub event: Event,
    /// The document it puts in force.
    rules: Option<Rules>,
    /// What a silence asks for.
    matchers: Option<Matchers>,
}

/// Reads what an event needs no turn for.
///
/// # Errors
/// When it puts a document in force that this binary does not understand, or that is another than
/// it is called: deciding on by the one before would tell the wrong people.
pub fn prepare(event: Event) -> Result<Prepared, rules::Error> {
    let (mut rules, mut matchers) = (None, None);
    match &event.kind {
        // Without a document: written before events told it; there was no way to apply one then.
        Kind::RulesChanged(document) => {
            let named = |document: &RulesDocument| Rules::named(&document.hash, &document.text);
            rules = document.as_deref().map(named).transpose()?;
        }
        Kind::SilenceChanged(change) => {
            // One that asks for nothing it could find was refused before it came here.
            matchers = change
                .silence
                .as_ref()
                .and_then(|silence| Matchers::new(silence.matchers.iter().cloned()).ok());
        }
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
        | Kind::Asked(_)
        | Kind::Tested(_)
        | Kind::Observed(_)
        | Kind::Settled(_)
        | Kind::Sent(_)
        | Kind::Planned(_)
        | Kind::Withheld(_) => {}
    }
    Ok(Prepared { event, rules, matchers })
}

impl Prepared {
    /// True for an event that must be the last of its batch. Where else a batch ends changes nothing
    /// but how much is in memory: what the ticks of a batch look at.
    pub fn ends_batch(&self) -> bool {
        matches!(self.event.kind, Kind::Ticked) && self.event.id.0.as_u128().is_multiple_of(8)
    }
}

/// The problem an event is about.
pub(super) fn key_of(event: &Event) -> Option<Key> {
    let fingerprint: Option<Fingerprint> = match &event.kind {
        Kind::Opened(opened) => Some(opened.fingerprint),
        Kind::Repeated(repeated) => Some(repeated.fingerprint),
        Kind::Resolved(over) | Kind::Suppressed(over) => Some(over.fingerprint),
        Kind::Escalated(raised) => Some(raised.fingerprint),
        Kind::Expired(over) => Some(over.fingerprint),
        Kind::Applied(applied) => Some(applied.fingerprint),
        Kind::Answered(answered) => answered.fingerprint,
        Kind::Stale(_)
        | Kind::Ticked
        | Kind::RulesChanged(_)
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
    Some((event.project.clone()?, fingerprint?))
}

/// Applies one decision event to `state`. Every row it looks at must have been asked for
/// ([`State::missing`]).
///
/// Events of other channels and events without a project decide nothing.
pub fn decide(state: &mut State, prepared: &Prepared) -> Decided {
    let Prepared { event, rules, matchers } = prepared;
    let mut desk = Desk {
        rules: state.rules().clone(),
        state,
        event,
        now: event.lane_time,
        because: None,
        decided: Decided::default(),
    };
    match &event.kind {
        Kind::Opened(opened) => desk.open(opened),
        Kind::Repeated(repeated) => desk.repeat(repeated),
        Kind::Resolved(resolved) => desk.resolve(resolved),
        Kind::Suppressed(over) => desk.suppress(over),
        Kind::Expired(over) => desk.expire(over),
        Kind::Escalated(raised) => desk.escalate(raised),
        Kind::Answered(answered) => desk.answer(answered),
        Kind::Applied(applied) => desk.apply(applied),
        Kind::Refused(refused) => desk.refuse(refused),
        Kind::Asked(asked) => desk.asked(asked),
        Kind::Tested(tested) => desk.test(tested),
        Kind::Ticked => desk.tick(),
        Kind::RulesChanged(_) => {
            if let Some(rules) = rules {
                desk.put_rules(rules.clone());
            }
        }
        Kind::SilenceChanged(change) => desk.change_silence(change, matchers.as_ref()),
        // Overtaken: it changed nothing.
        Kind::Stale(_)
        // Not on channel `decision`.
        | Kind::Observed(_)
        | Kind::Settled(_)
        | Kind::Sent(_)
        | Kind::Planned(_)
        | Kind::Withheld(_) => {}
    }
    desk.decided
}

/// One event being decided.
struct Desk<'a> {
    state: &'a mut State,
    event: &'a Event,
    rules: Rules,
    /// Lane time.
    now: Time,
    /// Why people are told of what they were told of before, while that is decided.
    because: Option<&'static str>,
    decided: Decided,
}

/// A route that took an incident, and who is told by it.
#[derive(Clone, Debug)]
struct Way {
    rule: String,
    to: Vec<Recipient>,
    group: Group,
}

impl Desk<'_> {
    /// The routes that take an incident; the channel its sender asked for in place of theirs (R5).
    fn ways(&self, key: &Key, told: &Told) -> Vec<Way> {
        let routed = self.rules.routes(&Subject { project: &key.0, facts: &told.facts });
        if let Some(id) = &told.channel {
            let rule = routed.into_iter().next().map_or_else(no_route, |routed| routed.rule);
            let to = vec![Recipient::Channel(id.clone())];
            return vec![Way { rule, to, group: Group::default() }];
        }
        let ways = routed.into_iter().map(|routed| Way {
            rule: routed.rule,
            to: routed.receivers.into_iter().map(Recipient::Receiver).collect(),
            group: routed.group,
        });
        ways.collect()
    }

    /// Does something with the row of a problem, which says whether it changed it. False: there is no
    /// row.
    fn with(&mut self, key: &Key, f: impl FnOnce(&mut Self, &mut Told) -> bool) -> bool {
        let Some(mut told) = self.state.rows.take(key) else { return false };
        if f(self, &mut told) {
            self.state.rows.put(key.clone(), told);
        } else {
            self.state.rows.put_back(key.clone(), told);
        }
        true
    }

    /// What is put on messages by the kind of environment (R42).
    fn tags(&self, key: &Key, told: &Told) -> Vec<String> {
        match self.rules.policy(&key.0).class(told.facts.environment.as_deref()) {
            Class::Testing => vec!["environment:testing".to_owned()],
            Class::Production | Class::Development => Vec::new(),
        }
    }

    /// A message about an incident, still to nobody.
    fn about(&self, key: &Key, told: &Told, kind: SendKind, rule: &str) -> Plan {
        Plan {
            project: key.0.clone(),
            incident: told.incident,
            subject: told.opening.to_string(),
            opening: told.opening,
            kind,
            to: Recipient::Receiver(String::new()),
            facts: (*told.facts).clone(),
            risk: told.risk,
            rule: rule.to_owned(),
            rules: self.rules.hash().to_owned(),
            trigger: self.event.at,
            at: self.now,
            frequency: told.frequency,
            cause: Some(told.cause),
            standing: told.standing(self.now),
            summary: None,
            reply: None,
            tags: self.tags(key, told),
        }
    }

    /// Plans a message for each of these.
    fn send(&mut self, plan: &Plan, to: &[Recipient], summary: Option<&str>) {
        let reason = match plan.kind {
            SendKind::Fire | SendKind::Remind => self.because.map(str::to_owned),
            SendKind::Resolve
            | SendKind::Update
            | SendKind::Summary
            | SendKind::Test
            | SendKind::Reply => None,
        };
        for to in to {
            self.note(
                &plan.project,
                Kind::Planned(Planned {
                    incident: plan.incident,
                    opening: plan.opening,
                    kind: plan.kind,
                    receiver: to.to_string(),
                    rule: plan.rule.clone(),
                    summary: summary.map(str::to_owned),
                    reason: reason.clone(),
                }),
            );
            self.decided.plans.push(Plan { to: to.clone(), ..plan.clone() });
        }
    }

    /// Says that a message is not planned, and why.
    fn withhold(&mut self, key: &Key, told: &Told, why: Why<'_>) {
        self.withhold_of(&key.0, told.incident, told.opening, why);
    }

    fn withhold_of(
        &mut self,
        project: &ProjectId,
        incident: IncidentId,
        opening: Position,
        why: Why<'_>,
    ) {
        let Why { reason, rule, summary, by } = why;
        let (reason, rule) = (reason.to_owned(), rule.to_owned());
        self.note(
            project,
            Kind::Withheld(Withheld { incident, opening, reason, rule, summary, by }),
        );
    }

    fn note(&mut self, project: &ProjectId, kind: Kind) {
        let ordinal = self.decided.notices.len() as u64;
        self.decided.notices.push(Event {
            version: EVENT_VERSION,
            id: EventId(schemas::id::derive(self.event.id.0, "notice", ordinal)),
            at: self.event.at,
            lane_time: self.now,
            project: Some(project.clone()),
            rules: self.rules.hash().to_owned(),
            kind,
        });
    }
}

/// Why a message is not planned.
#[derive(Clone, Debug, Default)]
struct Why<'a> {
    reason: &'a str,
    rule: &'a str,
    /// The summary it is told in.
    summary: Option<String>,
    by: Option<String>,
}

impl<'a> Why<'a> {
    fn new(reason: &'a str, rule: &'a str) -> Self {
        Self { reason, rule, summary: None, by: None }
    }
}

fn no_route() -> String {
    "no_route".to_owned()
}
