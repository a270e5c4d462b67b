//! What a tick finds due: summaries, reminders, and what may be told by now.

use schemas::{Time, job::SendKind};

use super::{Desk, SILENCE_IS_OVER};
use crate::notify::{
    Recipient,
    row::{Owed, Told},
    state::DUE_PER_TICK,
    working::Key,
};

/// Rule id of the end of an operator's silence.
const SILENCE_OVER: &str = "incident_silence";

impl Desk<'_> {
    /// Lane time moved.
    pub(super) fn tick(&mut self) {
        self.end_silences();
        self.tell_summaries();
        for key in self.state.rows.take_due(self.now, DUE_PER_TICK) {
            let Some(mut told) = self.state.rows.take(&key) else { continue };
            if self.come_due(&key, &mut told) {
                self.state.rows.put(key, told);
            } else {
                self.forget_source(&key);
                self.state.rows.forget(key);
            }
        }
    }

    /// Looks at a problem again. False: it may be forgotten.
    fn come_due(&mut self, key: &Key, told: &mut Told) -> bool {
        if told.state.is_over() {
            return told.forgotten_at().is_some_and(|at| at > self.now);
        }
        let now = self.now;
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if is_due(told.look_at) {
            told.look_at = None;
            let silenced = told.silenced_until.take_if(|until| *until <= now).is_some();
            // Who has it already need not be told of it.
            if told.waiting && !told.is_held() {
                self.announce(key, told, false);
            } else if told.rises() {
                self.tell_rise(key, told, false);
            } else if told.owed == Some(Owed::Fire) {
                self.tell_folded(key, told);
            } else if silenced || told.owed == Some(Owed::Voice) {
                self.speak_again(key, told);
            }
            // One that goes on is looked at when it is over, whatever else there was to look at.
            if let Some(until) = told.silenced_until {
                told.look(until);
            }
        }
        if is_due(told.remind_at) {
            self.remind(key, told);
        }
        true
    }

    /// An operator's silence is over and nobody has the incident: whoever was told hears of it again,
    /// once nothing else stands in the way.
    fn speak_again(&mut self, key: &Key, told: &mut Told) {
        let first = told.owed.take().is_none();
        if told.is_held() {
            return self.update(key, told);
        }
        if told.message.is_none() {
            return;
        }
        if let Some(held) = self.held(key, told) {
            told.owed = Some(Owed::Voice);
            told.look(held.until);
            if first {
                self.update(key, told);
            }
            return;
        }
        let to = told.message.as_ref().map(|message| message.to.clone()).unwrap_or_default();
        self.because = Some(SILENCE_IS_OVER);
        self.remind_of(key, told, &to, SILENCE_OVER);
        self.because = None;
        // That was a reminder: the next comes a step later.
        told.remind_at = self.next_reminder(key, told);
    }

    /// When an incident is reminded of next; none: it is not, for one that somebody has.
    pub(super) fn next_reminder(&self, key: &Key, told: &Told) -> Option<Time> {
        told.message.as_ref().filter(|_| !told.is_held())?;
        let seconds = self.rules.reminder(&key.0).next(told.facts.level, told.reminded)?;
        Some(self.now.plus_seconds(seconds))
    }

    /// The step when nobody acknowledged: who was told, and others, are told again.
    fn remind(&mut self, key: &Key, told: &mut Told) {
        told.remind_at = None;
        if told.is_held() {
            return;
        }
        let quiet = self.rules.quiet_hours(&key.0).until(self.now, told.facts.level);
        if let Some(until) = quiet.or_else(|| self.held(key, told).map(|held| held.until)) {
            told.remind_at = Some(until);
            return;
        }
        let rules = self.rules.clone();
        let rule = rules.reminder(&key.0);
        if rule.next(told.facts.level, told.reminded).is_none() {
            return;
        }
        told.reminded += 1;
        let mut to = told.message.as_ref().map(|message| message.to.clone()).unwrap_or_default();
        for receiver in &rule.receivers {
            let receiver = Recipient::Receiver(receiver.clone());
            if !to.contains(&receiver) {
                to.push(receiver);
            }
        }
        self.remind_of(key, told, &to, &rule.id);
        // Who is told by a reminder is told of the end as well.
        if let Some(message) = &mut told.message {
            message.to = to;
        }
        told.remind_at = self.next_reminder(key, told);
    }

    fn remind_of(&mut self, key: &Key, told: &Told, to: &[Recipient], rule: &str) {
        let Some(message) = &told.message else { return };
        let mut plan = self.about(key, told, SendKind::Remind, rule);
        (plan.incident, plan.opening) = (message.incident, message.opening);
        plan.subject = message.opening.to_string();
        self.send(&plan, to, None);
    }
}
