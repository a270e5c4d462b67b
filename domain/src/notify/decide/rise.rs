//! What gets worse while it fires, and what fires on after it was edited into an earlier message.

use schemas::{
    Status, Time,
    event::{IncidentState, Repeated, Rise},
    job::{SendKind, Standing},
};

use super::{Desk, LEVEL_ROSE, Why, fire::occasion, no_route};
use crate::{
    notify::{
        Recipient,
        row::{Message, Owed, Told},
        working::Key,
    },
    rules::When,
};

impl Desk<'_> {
    /// A problem that fires on is worse than it was so far: it is decided anew who is told, as of the
    /// higher level.
    pub(super) fn rise(&mut self, key: &Key, told: &mut Told, repeated: &Repeated, rise: &Rise) {
        told.worsen(rise, self.event.at);
        told.frequency = repeated.frequency.or(told.frequency);
        // It may inhibit others by now, and others no more.
        self.forget_source(key);
        self.note_source(key, told);
        self.note_rise(told);
        if told.waiting && !told.is_held() {
            return self.announce(key, told, true);
        }
        self.tell_rise(key, told, true);
    }

    /// Says in the summaries it stands in how bad it is.
    fn note_rise(&mut self, told: &Told) {
        for (slot, summary) in &told.summaries {
            let gathering = self.state.gathered.summaries.get_mut(slot);
            if let Some(gathering) = gathering.filter(|open| open.key == *summary) {
                gathering.worsen(told);
                self.state.gathered_changed = true;
            }
        }
    }

    /// Tells that an incident people know of is worse. Whoever has it took something less bad on, so
    /// that it is told all the same. `alert`: because of an alert that is to be accounted for; else
    /// because what stood in the way may be gone.
    pub(super) fn tell_rise(&mut self, key: &Key, told: &mut Told, alert: bool) {
        if let Some(held) = self.held(key, told) {
            told.look(held.until);
            if alert {
                let by = Some(held.by);
                self.withhold(key, told, Why { by, ..Why::new(held.reason, &held.rule) });
            }
            return;
        }
        told.waiting = false;
        if !self.hour_is_over(key, told) && !told.is_worse_than_told() {
            // They were told of something as bad within the hour: its level comes and goes.
            told.settle_rise();
            return self.fold(key, told);
        }
        let ways = self.ways(key, told);
        let soon = self.soon(key, told, occasion(told.cause));
        if ways.iter().all(|way| way.to.is_empty()) {
            let rule = ways.into_iter().next().map_or_else(no_route, |way| way.rule);
            self.withhold(key, told, Why::new("no_receiver", &rule));
        } else if soon.when == When::Never {
            self.withhold(key, told, Why::new("policy_never", &soon.rule));
        } else {
            if told.owed == Some(Owed::Fire)
                && let Some(message) = &mut told.message
            {
                // It went on in that message; its end is told there, should it get none of its own.
                message.over = false;
            }
            self.because = Some(LEVEL_ROSE);
            self.tell(key, told, &soon, &ways);
            self.because = None;
        }
        if told.rises() {
            // It is told in a summary, or to nobody else: what people have shows it.
            told.settle_rise();
            self.update(key, told);
        }
    }

    /// Plans the messages that say that it is worse: whom the message about it told hear that it
    /// rose, the others of the incident. Whoever the routes do not name any more finds it in the
    /// message. All are told of the end.
    pub(super) fn page_rise(
        &mut self,
        key: &Key,
        told: &mut Told,
        message: Message,
        to: Vec<Recipient>,
        rule: &str,
    ) {
        let (again, new): (Vec<_>, Vec<_>) = to.into_iter().partition(|to| message.to.contains(to));
        let others: Vec<_> = message.to.iter().filter(|to| !again.contains(to)).cloned().collect();
        self.send(&self.about(key, told, SendKind::Remind, rule), &again, None);
        self.send(&self.about(key, told, SendKind::Fire, rule), &new, None);
        told.settle_rise();
        self.send(&self.about(key, told, SendKind::Update, rule), &others, None);
        let to = [message.to, new].concat();
        told.message = Some(Message { to, rule: rule.to_owned(), ..message });
    }

    /// The hour of a message is over into which an incident was folded: if it still fires and nobody
    /// has it, it is told now (R43).
    pub(super) fn tell_folded(&mut self, key: &Key, told: &mut Told) {
        if told.is_held() {
            // What waits is told should it be given back: until then the message it goes on in stands.
            if !told.waiting {
                told.owed = None;
            }
            return;
        }
        if let Some(over) = self.end_of_hour(key, told).filter(|over| *over > self.now) {
            return told.look(over);
        }
        self.announce(key, told, false);
    }

    /// When a problem may have another message (R43); none: it had none.
    pub(super) fn end_of_hour(&self, key: &Key, told: &Told) -> Option<Time> {
        let seconds = self.rules.once(&key.0).seconds();
        told.told_at.map(|at| at.plus_seconds(seconds))
    }

    /// Notes that people are told of it by a message at that time: it begins an hour, unless one runs.
    pub(super) fn note_told(&self, key: &Key, told: &mut Told, at: Time) {
        if self.hour_is_over(key, told) || told.is_worse_than_told() {
            told.told_level = told.facts.level;
        }
        told.told_at = Some(at);
        told.owed = None;
    }

    /// Closes the message of an earlier incident that went on in it: it has one of its own by now.
    pub(super) fn supersede(&mut self, key: &Key, told: &Told, message: &Message) {
        let mut plan = self.about(key, told, SendKind::Update, &message.rule);
        (plan.incident, plan.opening) = (message.incident, message.opening);
        plan.subject = message.opening.to_string();
        plan.facts.status = Status::Resolved;
        plan.standing = Some(Standing {
            state: IncidentState::Superseded,
            verb: None,
            actor: None,
            at: self.now,
            silenced_until: None,
            folded: 0,
            rose: None,
        });
        self.send(&plan, &message.to, None);
    }
}
