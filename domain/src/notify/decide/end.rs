//! What becomes of an incident: its end, what operators do with it, what analysts say of it.

use schemas::{
    Facts, Status,
    event::{Answered, Applied, Escalated, Expired, IncidentState, Resolved},
    job::{SendKind, SummaryReason},
};

use super::{Desk, NO_ROUTE, Why, key_of};
use crate::{
    notify::{Plan, Recipient, row::Told, state::Way, working::Key},
    observe::{Verb, silence_minutes},
};

/// The verbs that silence one incident, and let it be heard again.
const SILENCE: &str = "silence";
const UNSILENCE: &str = "unsilence";

/// How an incident ends.
struct End<'a> {
    state: IncidentState,
    /// What its sender says of the end.
    facts: Option<&'a Facts>,
    /// Why nobody is told by a message; none: whoever was told of it is.
    quietly: Option<&'a str>,
}

impl Desk<'_> {
    /// Its sender says that it is over.
    pub(super) fn resolve(&mut self, over: &Resolved) {
        let Some(key) = key_of(self.event) else { return };
        let known = self.with(&key, |desk, told| {
            if told.incident != over.incident || told.state.is_over() {
                desk.withhold(&key, told, Why::new("resolve_without_fire", NO_ROUTE));
                return false;
            }
            let facts = Some(&over.facts);
            desk.end(&key, told, &End { state: IncidentState::Resolved, facts, quietly: None });
            true
        });
        if known {
            return;
        }
        let Some(way) = self.state.forget_way(over.incident).filter(|w| !w.receivers.is_empty())
        else {
            let why = Why::new("resolve_without_fire", NO_ROUTE);
            return self.withhold_of(&key.0, over.incident, over.opening, why);
        };
        self.resolve_of_before(&key, over, &way);
    }

    /// The end of what was told before rows were kept.
    fn resolve_of_before(&mut self, key: &Key, over: &Resolved, way: &Way) {
        let plan = Plan {
            project: key.0.clone(),
            incident: over.incident,
            subject: over.opening.to_string(),
            opening: over.opening,
            kind: SendKind::Resolve,
            to: Recipient::Receiver(String::new()),
            facts: over.facts.clone(),
            risk: way.risk,
            rule: way.rule.clone(),
            rules: self.rules.hash().to_owned(),
            trigger: self.event.at,
            at: self.now,
            frequency: None,
            cause: None,
            standing: None,
            summary: None,
            reply: None,
            tags: Vec::new(),
        };
        let to: Vec<_> = way.receivers.iter().cloned().map(Recipient::Receiver).collect();
        self.send(&plan, &to, None);
    }

    /// Its sender ignores it.
    pub(super) fn suppress(&mut self, over: &Resolved) {
        let state = IncidentState::Suppressed;
        let end = End { state, facts: None, quietly: Some("suppressed_at_sender") };
        self.end_of(over.incident, over.opening, &end);
    }

    /// Nothing was heard of it any more.
    pub(super) fn expire(&mut self, over: &Expired) {
        let state = IncidentState::Expired;
        let end = End { state, facts: None, quietly: Some("expired") };
        self.end_of(over.incident, over.opening, &end);
    }

    fn end_of(&mut self, incident: schemas::IncidentId, opening: schemas::Position, end: &End<'_>) {
        let Some(key) = key_of(self.event) else { return };
        let reason = end.quietly.unwrap_or_default();
        let known = self.with(&key, |desk, told| {
            let ends = told.incident == incident && !told.state.is_over();
            if ends {
                desk.end(&key, told, end);
            } else {
                desk.withhold_of(&key.0, incident, opening, Why::new(reason, NO_ROUTE));
            }
            ends
        });
        if !known {
            let way = self.state.forget_way(incident);
            let rule = way.map_or_else(|| NO_ROUTE.to_owned(), |way| way.rule);
            self.withhold_of(&key.0, incident, opening, Why::new(reason, &rule));
        }
    }

    /// An incident is over: whoever was told of it by a message is told of its end, once; one that
    /// was told in a summary ends in a summary.
    fn end(&mut self, key: &Key, told: &mut Told, end: &End<'_>) {
        // Before its state says that nothing stands in its way any more.
        let held = self.held(key, told);
        let open: Vec<(String, String)> = told
            .summaries
            .iter()
            .filter(|(slot, key)| {
                let open = self.state.gathered.summaries.get(slot);
                open.is_some_and(|open| open.key == *key)
            })
            .cloned()
            .collect();
        told.turn(end.state, self.now);
        told.facts.ended_at = end.facts.and_then(|facts| facts.ended_at).or(Some(self.now));
        self.forget_source(key);
        self.count_in_storms(told);
        if told.message.is_some() {
            self.note_end(told, &open);
            return self.end_message(key, told, end, held.map(|held| (held.reason, held.by)));
        }
        if let Some(bundle) = self.leave_bundle(key, told, &open) {
            let by = Some(bundle);
            let reason = end.quietly.unwrap_or("over_before_told");
            return self.withhold(key, told, Why { by, ..Why::new(reason, NO_ROUTE) });
        }
        if let Some(reason) = end.quietly {
            self.note_end(told, &open);
            return self.withhold(key, told, Why::new(reason, NO_ROUTE));
        }
        if let Some(held) = held {
            self.note_end(told, &open);
            let by = Some(held.by);
            return self.withhold(key, told, Why { by, ..Why::new(held.reason, &held.rule) });
        }
        if !told.summarised {
            return self.withhold(key, told, Why::new("resolve_without_fire", NO_ROUTE));
        }
        match self.count_end(key, told, &open) {
            Some(summary) => {
                let summary = Some(summary);
                let why = Why { summary, ..Why::new("resolve_in_summary", NO_ROUTE) };
                self.withhold(key, told, why);
            }
            None => self.gather_end(key, told, NO_ROUTE),
        }
    }

    /// The end of what was told by a message.
    fn end_message(
        &mut self,
        key: &Key,
        told: &mut Told,
        end: &End<'_>,
        held: Option<(&'static str, String)>,
    ) {
        let Some(message) = told.message.clone() else { return };
        if let Some(reason) = end.quietly {
            self.withhold(key, told, Why::new(reason, &message.rule));
            return self.update(key, told);
        }
        if message.over {
            // Told of its end within this hour; it fired again and ended again since (R43).
            let rules = self.rules.clone();
            let once = rules.once(&key.0);
            let by = Some(message.incident.to_string());
            self.withhold(key, told, Why { by, ..Why::new(&once.reason(), &once.id) });
            return self.update(key, told);
        }
        if let Some((reason, by)) = held {
            let by = Some(by);
            self.withhold(key, told, Why { by, ..Why::new(reason, &message.rule) });
            return self.update(key, told);
        }
        let rules = self.rules.clone();
        let quiet = rules.quiet_hours(&key.0);
        if quiet.until(self.now, told.facts.level).is_some() {
            self.digest(key, told, SummaryReason::Hourly, "quiet_hours", &quiet.id);
            return self.update(key, told);
        }
        let mut plan = self.about(key, told, SendKind::Resolve, &message.rule);
        (plan.incident, plan.opening) = (message.incident, message.opening);
        plan.subject = message.opening.to_string();
        if let Some(facts) = end.facts {
            plan.facts = facts.clone();
        }
        self.send(&plan, &message.to, None);
        if let Some(message) = &mut told.message {
            message.over = true;
        }
    }

    /// Notes in the summaries it stands in that it is over.
    fn note_end(&mut self, told: &Told, open: &[(String, String)]) {
        for (slot, _) in open {
            if let Some(gathering) = self.state.gathered.summaries.get_mut(slot) {
                gathering.note(told.incident, told.state);
                self.state.gathered_changed = true;
            }
        }
    }

    /// Takes it out of the bundle nobody was told of yet; that bundle's key.
    fn leave_bundle(
        &mut self,
        key: &Key,
        told: &mut Told,
        open: &[(String, String)],
    ) -> Option<String> {
        let mut left = None;
        for (slot, summary) in open {
            let Some(gathering) = self.state.gathered.summaries.get_mut(slot) else { continue };
            if gathering.reason == SummaryReason::Bundle && told.bundled > 0 {
                gathering.drop_incident(told.incident, key.1, told.bundled);
                self.state.gathered_changed = true;
                left = Some(summary.clone());
            }
        }
        told.bundled = 0;
        left
    }

    /// Counts its end in the first summary it stands in that is still to be told, and notes it in
    /// the others.
    fn count_end(&mut self, key: &Key, told: &Told, open: &[(String, String)]) -> Option<String> {
        self.note_end(told, open);
        let (slot, summary) = open.first()?;
        self.state.gathered.summaries.get_mut(slot)?.count(told, key.1, false, self.now);
        Some(summary.clone())
    }

    /// Edits what was told of an incident: it stands elsewhere by now.
    pub(super) fn update(&mut self, key: &Key, told: &Told) {
        let Some(message) = &told.message else { return };
        let mut plan = self.about(key, told, SendKind::Update, &message.rule);
        (plan.incident, plan.opening) = (message.incident, message.opening);
        plan.subject = message.opening.to_string();
        self.send(&plan, &message.to, None);
    }

    /// It recurs so often that it is raised.
    pub(super) fn escalate(&mut self, raised: &Escalated) {
        let Some(key) = key_of(self.event) else { return };
        self.with(&key, |desk, told| {
            if told.incident != raised.incident {
                return false;
            }
            told.risk = told.risk.max(raised.risk);
            told.frequency = Some(raised.frequency);
            // What the same alert's rise says is said.
            let said = told.rose_at == Some(desk.event.at);
            // What is silenced goes on in no message.
            if !told.state.is_over() && !told.waiting && !said {
                desk.update(&key, told);
            }
            true
        });
    }

    /// An analyst answered.
    pub(super) fn answer(&mut self, answered: &Answered) {
        self.decided.analysed = Some(answered.incident);
        let Some(key) = key_of(self.event) else { return };
        self.with(&key, |desk, told| {
            let of_message = |told: &Told| {
                told.message.as_ref().is_some_and(|message| message.incident == answered.incident)
            };
            if answered.result.analysis.is_some() && !told.state.is_over() && of_message(told) {
                desk.update(&key, told);
            }
            false
        });
    }

    /// An operator did something with it.
    pub(super) fn apply(&mut self, applied: &Applied) {
        let Some(key) = key_of(self.event) else { return };
        let ends = applied.after.is_over() && !applied.before.is_over();
        let reason = "resolved_by_operator";
        let known = self.with(&key, |desk, told| {
            if told.incident != applied.incident || is_opinion(&applied.verb) {
                return false;
            }
            if applied.verb == SILENCE || applied.verb == UNSILENCE {
                if !applied.changed {
                    return false;
                }
                desk.silence_incident(&key, told, applied);
                return true;
            }
            if !applied.changed && applied.before == applied.after {
                return false;
            }
            told.verb = Some(applied.verb.clone());
            told.actor = Some(applied.actor.clone());
            if ends {
                let end = End { state: applied.after, facts: None, quietly: Some(reason) };
                desk.end(&key, told, &end);
                return true;
            }
            let reopened = applied.before.is_over() && !applied.after.is_over();
            told.turn(applied.after, desk.now);
            if reopened {
                desk.reopen(&key, told);
            }
            if told.is_held() {
                // Whoever has it saw how bad it is.
                told.settle_rise();
            } else if told.waiting {
                told.look(desk.now);
            }
            told.remind_at = desk.next_reminder(&key, told);
            desk.update(&key, told);
            true
        });
        if !known && ends {
            let way = self.state.forget_way(applied.incident);
            let rule = way.map_or_else(|| NO_ROUTE.to_owned(), |way| way.rule);
            let why = Why::new(reason, &rule);
            self.withhold_of(&key.0, applied.incident, applied.opening, why);
        }
        self.reply_applied(applied);
    }

    /// An operator opened it again: its end is told when it comes.
    fn reopen(&mut self, key: &Key, told: &mut Told) {
        told.facts.status = Status::Firing;
        told.facts.ended_at = None;
        if let Some(message) = &mut told.message {
            message.over = false;
        }
        self.note_source(key, told);
        self.count_in_storms(told);
    }

    /// An operator silences one incident, or lets it be heard again.
    fn silence_incident(&mut self, key: &Key, told: &mut Told, applied: &Applied) {
        let minutes = (applied.verb == SILENCE).then(|| silence_minutes(&applied.arguments));
        told.silenced_until = minutes
            .and_then(Result::ok)
            .map(|minutes| self.now.plus_seconds(i64::from(minutes) * 60));
        told.verb = Some(applied.verb.clone());
        told.actor = Some(applied.actor.clone());
        told.changed_at = Some(self.now);
        if !told.state.is_over() {
            // It may be told once that is over; at once, if it is lifted.
            let waits = told.waiting || told.owed.is_some() || told.rises();
            told.look_at = told.silenced_until.or(waits.then_some(self.now));
        }
        self.update(key, told);
    }
}

/// Whether a verb only says what is thought of a message: that changes none.
fn is_opinion(verb: &str) -> bool {
    Verb::from_word(verb).is_some_and(|verb| verb.opinion().is_some())
}
