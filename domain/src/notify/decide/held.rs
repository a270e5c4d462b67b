//! What stands in the way: silences and inhibition, as Alertmanager documents both.

use schemas::{
    Time,
    record::{Silence, SilenceChange},
};

use super::Desk;
use crate::{
    matcher::Matchers,
    notify::{
        row::Told,
        state::{Inhibited, Silencing, Source},
        working::Key,
    },
    rules::{Inhibition, Rules, Subject},
};

/// How often it is looked whether what was silenced or inhibited still is, in seconds.
const LOOK_EVERY: i64 = 300;

/// Rule id of an operator's silence of one incident, and of others' silences.
const OF_INCIDENT: &str = "incident_silence";
const SILENCE: &str = "silence";

/// Why an incident may not be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub reason: &'static str,
    pub rule: String,
    /// The silence, or the incident that inhibits.
    pub by: String,
    /// When to look again.
    pub until: Time,
}

impl Desk<'_> {
    /// What stands in the way of telling of an incident.
    pub(super) fn held(&self, key: &Key, told: &Told) -> Option<Held> {
        self.silenced(key, told).or_else(|| self.inhibited(key, told))
    }

    fn silenced(&self, key: &Key, told: &Told) -> Option<Held> {
        let held = |rule: &str, by: &str, until| {
            let (rule, by) = (rule.to_owned(), by.to_owned());
            Held { reason: "silenced", rule, by, until }
        };
        if let Some(until) = told.silenced_until.filter(|until| *until > self.now) {
            let by = told.actor.as_deref().unwrap_or_default();
            return Some(held(OF_INCIDENT, by, until));
        }
        let matches = |silencing: &&Silencing| {
            is_active(&silencing.silence, self.now)
                && silencing.matchers.matches(&told.facts, &key.0)
        };
        let of_scope =
            self.state.silences.iter().filter(|((project, _), _)| {
                project.as_ref().is_none_or(|project| *project == key.0)
            });
        // The one that lasts longest says when to look again.
        let matching = of_scope.filter(|(_, silencing)| matches(silencing));
        let longest = matching.max_by_key(|((_, id), s)| (s.silence.ends_at, id));
        // It may be ended before its time, so it is looked at again before.
        let look = self.now.plus_seconds(LOOK_EVERY);
        longest.map(|((_, id), silencing)| held(SILENCE, id, silencing.silence.ends_at.min(look)))
    }

    fn inhibited(&self, key: &Key, told: &Told) -> Option<Held> {
        let subject = Subject { project: &key.0, facts: &told.facts };
        self.rules.inhibitions(&key.0).iter().find_map(|rule| {
            if !rule.target.hold(&subject) {
                return None;
            }
            let is_source = rule.source.hold(&subject);
            let sources = self.state.in_force.sources.get(&of(key, rule, &subject))?;
            let source = sources
                .iter()
                .find(|source| source.fingerprint != key.1 && !(is_source && source.is_target))?;
            Some(Held {
                reason: "inhibited",
                rule: rule.id.clone(),
                by: source.incident.to_string(),
                until: self.now.plus_seconds(LOOK_EVERY),
            })
        })
    }

    /// Notes what a problem that fires inhibits.
    pub(super) fn note_source(&mut self, key: &Key, told: &Told) {
        let rules = self.rules.clone();
        for rule in rules.inhibitions(&key.0) {
            let subject = Subject { project: &key.0, facts: &told.facts };
            if !rule.source.hold(&subject) {
                continue;
            }
            let is_target = rule.target.hold(&subject);
            let source = Source { fingerprint: key.1, incident: told.incident, is_target };
            let sources = &mut self.state.in_force.sources;
            let of_rule = sources.entry(of(key, rule, &subject)).or_default();
            if of_rule.contains(&source) {
                continue;
            }
            of_rule.retain(|known| known.fingerprint != key.1);
            of_rule.push(source);
            self.state.in_force_changed = true;
        }
    }

    /// A problem inhibits nothing any more.
    pub(super) fn forget_source(&mut self, key: &Key) {
        let sources = &mut self.state.in_force.sources;
        if sources.is_empty() {
            return;
        }
        sources.retain(|inhibited, of_rule| {
            if inhibited.project == key.0 {
                let before = of_rule.len();
                of_rule.retain(|source| source.fingerprint != key.1);
                self.state.in_force_changed |= of_rule.len() != before;
            }
            !of_rule.is_empty()
        });
    }

    /// Puts other rules in force. What inhibits by a rule that is no more, or another by now,
    /// does not; what fires is found by a new one when it is next heard of.
    pub(super) fn put_rules(&mut self, rules: Rules) {
        let before = self.state.in_force.rules.clone();
        let stands = |inhibited: &Inhibited| {
            let of = |rules: &Rules| {
                let all = rules.inhibitions(&inhibited.project);
                all.iter().find(|rule| rule.id == inhibited.rule).cloned()
            };
            of(&rules).is_some_and(|rule| of(&before) == Some(rule))
        };
        self.state.in_force.sources.retain(|inhibited, _| stands(inhibited));
        self.state.in_force.rules = rules;
        self.state.in_force_changed = true;
    }

    /// A silence begins, is changed or ends.
    pub(super) fn change_silence(&mut self, change: &SilenceChange, matchers: Option<&Matchers>) {
        let SilenceChange { id, silence, operator: _ } = change;
        let key = (self.event.project.clone(), id.clone());
        self.state.in_force_changed = true;
        if let (Some(silence), Some(matchers)) = (silence, matchers)
            && silence.ends_at > self.now
        {
            let (silence, matchers) = (silence.clone(), matchers.clone());
            self.state.silences.insert(key, Silencing { silence, matchers });
        } else {
            self.state.silences.remove(&key);
        }
    }

    /// Forgets silences that are over.
    pub(super) fn end_silences(&mut self) {
        let before = self.state.silences.len();
        self.state.silences.retain(|_, silencing| silencing.silence.ends_at > self.now);
        self.state.in_force_changed |= self.state.silences.len() != before;
    }
}

fn of(key: &Key, rule: &Inhibition, subject: &Subject<'_>) -> Inhibited {
    let (project, values) = (key.0.clone(), rule.values(subject));
    Inhibited { project, rule: rule.id.clone(), values }
}

fn is_active(silence: &Silence, now: Time) -> bool {
    silence.starts_at.is_none_or(|starts_at| starts_at <= now) && now < silence.ends_at
}
