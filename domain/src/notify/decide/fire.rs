//! What fires: told now, gathered, or not told, and why.

use schemas::{
    Level,
    event::{Cause, Opened, Repeated},
    job::{SendKind, SummaryReason},
};

use super::{Desk, LEVEL_ROSE, NO_ROUTE, STILL_FIRES, Way, Why, key_of, no_route};
use crate::{
    notify::{
        Plan, Recipient,
        row::{Message, Owed, Told},
        working::Key,
    },
    rules::{Occasion, Soon, Subject, When},
};

impl Desk<'_> {
    /// A problem began to fire.
    pub(super) fn open(&mut self, opened: &Opened) {
        // An event without a project concerns every project of a lane; no incident is such.
        let Some(key) = key_of(self.event) else { return };
        let before = self.state.rows.take(&key);
        let mut told = Told::opened(opened, self.event.at, before);
        self.note_source(&key, &told);
        self.announce(&key, &mut told, true);
        self.state.rows.put(key, told);
    }

    /// Decides who is told of an incident nobody was told of yet. `alert`: because of an alert that
    /// is to be accounted for; else because what stood in the way may be gone.
    pub(super) fn announce(&mut self, key: &Key, told: &mut Told, alert: bool) {
        let ways = self.ways(key, told);
        let occasion = occasion(told.cause);
        let soon = self.soon(key, told, occasion);
        if ways.iter().all(|way| way.to.is_empty()) {
            told.settle();
            let rule = ways.into_iter().next().map_or_else(no_route, |way| way.rule);
            return self.withhold(key, told, Why::new("no_receiver", &rule));
        }
        if soon.when == When::Never {
            told.settle();
            return self.withhold(key, told, Why::new("policy_never", &soon.rule));
        }
        if let Some(held) = self.held(key, told) {
            (told.waiting, told.look_at) = (true, Some(held.until));
            if alert {
                let by = Some(held.by);
                self.withhold(key, told, Why { by, ..Why::new(held.reason, &held.rule) });
            }
            return;
        }
        told.look_at = told.silenced_until;
        let rules = self.rules.clone();
        let once = rules.once(&key.0);
        let bypass = once.regression_bypass && occasion == Occasion::Reappeared;
        let within = !self.hour_is_over(key, told) && !bypass;
        // What is worse than they were told of waits for no hour.
        if within && !told.is_worse_than_told() {
            told.settle();
            return self.fold(key, told);
        }
        let folded = told.owed == Some(Owed::Fire);
        if folded {
            // It went on in that message; its end is told there, should it get none of its own.
            if let Some(message) = &mut told.message {
                message.over = false;
            }
        } else {
            // What an earlier episode was told by is a message of its own.
            (told.message, told.folded) = (None, 0);
        }
        self.because = match (within || told.rises(), folded) {
            (true, _) => Some(LEVEL_ROSE),
            (false, true) => Some(STILL_FIRES),
            (false, false) => None,
        };
        self.tell(key, told, &soon, &ways);
        self.because = None;
        told.settle();
    }

    pub(super) fn soon(&self, key: &Key, told: &Told, occasion: Occasion) -> Soon {
        let subject = Subject { project: &key.0, facts: &told.facts };
        self.rules.policy(&key.0).soon(&subject, occasion)
    }

    /// Whether a problem may have another message (R43).
    pub(super) fn hour_is_over(&self, key: &Key, told: &Told) -> bool {
        self.end_of_hour(key, told).is_none_or(|over| self.now >= over)
    }

    /// It fires again within the hour of its message: it is edited into that, which rings nobody. So it
    /// is looked at again when the hour is over.
    pub(super) fn fold(&mut self, key: &Key, told: &mut Told) {
        told.folded += 1;
        let rules = self.rules.clone();
        let once = rules.once(&key.0);
        let Some(message) = &told.message else {
            // It was told in a summary, so it goes on in one.
            let reason = once.reason();
            return self.digest(key, told, SummaryReason::Hourly, &reason, &once.id);
        };
        let by = Some(message.incident.to_string());
        told.owed = Some(Owed::Fire);
        if let Some(over) = self.end_of_hour(key, told) {
            told.look(over);
        }
        self.withhold(key, told, Why { by, ..Why::new(&once.reason(), &once.id) });
        self.update(key, told);
    }

    /// Tells as soon as the policy says.
    pub(super) fn tell(&mut self, key: &Key, told: &mut Told, soon: &Soon, ways: &[Way]) {
        match soon.when {
            When::Now => self.tell_now(key, told, soon, ways),
            When::Hourly => {
                self.digest(key, told, SummaryReason::Hourly, "hourly_digest", &soon.rule);
            }
            When::Daily => self.digest(key, told, SummaryReason::Daily, "daily_digest", &soon.rule),
            When::Never => self.withhold(key, told, Why::new("policy_never", &soon.rule)),
        }
    }

    /// Tells now, unless there is too much to tell, or it is quiet.
    fn tell_now(&mut self, key: &Key, told: &mut Told, soon: &Soon, ways: &[Way]) {
        let rules = self.rules.clone();
        let quiet = rules.quiet_hours(&key.0);
        if quiet.until(self.now, told.facts.level).is_some() {
            return self.digest(key, told, SummaryReason::Hourly, "quiet_hours", &quiet.id);
        }
        if self.storms(&key.0) {
            return self.join_storm(key, told, ways);
        }
        // What is fatal waits for no summary; storms bound it.
        if !self.spend(&key.0) && told.facts.level != Some(Level::Fatal) {
            let limits = rules.limits(&key.0);
            return self.digest(key, told, SummaryReason::Hourly, "rate_limited", &limits.id);
        }
        let (mut to, mut rules): (Vec<Recipient>, Vec<&str>) = (Vec::new(), Vec::new());
        for way in ways {
            // Whom a message told of it waits for no others to hear that it is worse.
            let knows = |to: &Recipient| told.rises() && told.has_told(to);
            let (known, others): (Vec<_>, Vec<_>) = way.to.iter().cloned().partition(knows);
            let at_once = if self.bundle(key, told, &Way { to: others, ..way.clone() }) {
                known
            } else {
                way.to.clone()
            };
            if !at_once.is_empty() {
                rules.push(&way.rule);
            }
            for recipient in at_once {
                if !to.contains(&recipient) {
                    to.push(recipient);
                }
            }
        }
        if !to.is_empty() {
            let rule = format!("{}/{}", rules.join("+"), soon.rule);
            self.page(key, told, to, &rule, None);
        }
    }

    /// Plans the message about an incident; `summary` is the bundle it stands for.
    pub(super) fn page(
        &mut self,
        key: &Key,
        told: &mut Told,
        to: Vec<Recipient>,
        rule: &str,
        summary: Option<&str>,
    ) {
        self.note_told(key, told, self.now);
        told.folded = 0;
        let (incident, opening) = (told.incident, told.opening);
        let before = told.message.take();
        if let Some(other) = before.as_ref().filter(|m| m.incident != incident) {
            self.supersede(key, told, other);
        }
        let same = before.filter(|m| m.incident == incident && !m.over);
        told.reminded = 0;
        if let Some(message) = same.clone().filter(|_| told.rises() && summary.is_none()) {
            self.page_rise(key, told, message, to, rule);
            told.remind_at = self.next_reminder(key, told);
            return;
        }
        let plan = self.about(key, told, SendKind::Fire, rule);
        // Whom another route told at once hears of the end as well, and is not told twice.
        let earlier = same.filter(|_| summary.is_some()).map(|m| m.to).unwrap_or_default();
        let new: Vec<_> = to.into_iter().filter(|to| !earlier.contains(to)).collect();
        if new.is_empty() {
            // It is told there that they were many.
            self.send(&Plan { kind: SendKind::Update, ..plan }, &earlier, summary);
        } else {
            self.send(&plan, &new, summary);
        }
        told.settle_rise();
        let to = [earlier, new].concat();
        told.message = Some(Message { incident, opening, to, rule: rule.to_owned(), over: false });
        told.remind_at = self.next_reminder(key, told);
    }

    /// A problem fires on.
    pub(super) fn repeat(&mut self, repeated: &Repeated) {
        let Some(key) = key_of(self.event) else { return };
        let known = self.with(&key, |desk, told| {
            if told.incident != repeated.incident {
                desk.withhold(&key, told, Why::new("repeat", NO_ROUTE));
                return false;
            }
            if let Some(rise) = &repeated.rise {
                desk.rise(&key, told, repeated, rise);
                return true;
            }
            desk.note_source(&key, told);
            // Who has it already need not be told of it.
            if told.waiting && !told.is_held() {
                told.frequency = repeated.frequency.or(told.frequency);
                desk.announce(&key, told, true);
                return true;
            }
            if told.rises() {
                // It was silenced when it rose.
                desk.tell_rise(&key, told, true);
                return true;
            }
            desk.repeat_of(&key, told, repeated)
        });
        if !known {
            // Told before rows were kept, or by rules that were not.
            let way = self.state.way(repeated.incident).map(|way| way.rule.clone());
            let rule = way.unwrap_or_else(|| NO_ROUTE.to_owned());
            let why = Why::new("repeat", &rule);
            self.withhold_of(&key.0, repeated.incident, repeated.opening, why);
        }
    }

    /// How soon a repeat is told: as of the level it has now, which may be lower than it was.
    fn soon_again(&self, key: &Key, told: &mut Told, repeated: &Repeated) -> Soon {
        let worst = told.facts.level;
        told.facts.level = repeated.level.or(worst);
        let soon = self.soon(key, told, Occasion::Repeat);
        told.facts.level = worst;
        soon
    }

    /// Whether that changed the row.
    fn repeat_of(&mut self, key: &Key, told: &mut Told, repeated: &Repeated) -> bool {
        let soon = self.soon_again(key, told, repeated);
        if soon.when == When::Never {
            self.withhold(key, told, Why::new("policy_never", &soon.rule));
            return false;
        }
        if let Some(held) = self.held(key, told) {
            let by = Some(held.by);
            self.withhold(key, told, Why { by, ..Why::new(held.reason, &held.rule) });
            return false;
        }
        if let Some(changed) = self.count_where_it_stands(key, told) {
            return changed;
        }
        let before = told.summaries.clone();
        match soon.when {
            When::Now if told.is_held() => {
                self.digest(key, told, SummaryReason::Hourly, "acknowledged", &soon.rule);
            }
            When::Now if !self.hour_is_over(key, told) => {
                let rules = self.rules.clone();
                let once = rules.once(&key.0);
                self.digest(key, told, SummaryReason::Hourly, &once.reason(), &once.id);
            }
            When::Now => {
                let ways = self.ways(key, told);
                told.frequency = repeated.frequency.or(told.frequency);
                self.tell_now(key, told, &soon, &ways);
                return true;
            }
            When::Hourly | When::Daily | When::Never => self.tell(key, told, &soon, &[]),
        }
        told.summaries != before
    }
}

/// What stands in the way of an incident that was opened for that.
pub(super) fn occasion(cause: Cause) -> Occasion {
    match cause {
        Cause::New => Occasion::New,
        Cause::Regression | Cause::Reappearance => Occasion::Reappeared,
    }
}
