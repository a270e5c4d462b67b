//! What is told together: summaries of the hour and the day, bundles of a route, storms.

use schemas::{
    ProjectId, Time,
    job::{SendKind, SummaryReason},
};

use super::{Desk, Way, Why, no_route};
use crate::notify::{
    Plan, Recipient,
    row::Told,
    summary::{Begin, Gathering, MEMBERS},
    working::Key,
};

/// How long a storm looks back, in seconds.
const MINUTE: i64 = 60;

/// How long messages are counted for, in seconds.
const HOUR: i64 = 3600;

/// Where an incident is gathered.
struct Place<'a> {
    reason: SummaryReason,
    /// The rule by which it is gathered.
    rule: &'a str,
    /// What keeps it apart from others: a route, a storm.
    name: &'a str,
    group: Vec<(String, String)>,
    to: &'a [Recipient],
    due: Time,
    /// Seconds until it may be told again.
    interval: i64,
}

impl Place<'_> {
    fn slot(&self, project: &ProjectId) -> String {
        slot(project, self.reason, self.name, &self.group)
    }
}

fn slot(
    project: &ProjectId,
    reason: SummaryReason,
    name: &str,
    group: &[(String, String)],
) -> String {
    let mut slot = format!("{project}/{}/{name}", reason.word());
    for (name, value) in group {
        slot.push('\u{1f}');
        slot.push_str(name);
        slot.push('\u{1f}');
        slot.push_str(value);
    }
    slot
}

impl Desk<'_> {
    /// Counts an alert in the summary of the hour or the day of each route that takes it.
    pub(super) fn digest(
        &mut self,
        key: &Key,
        told: &mut Told,
        reason: SummaryReason,
        why: &str,
        rule: &str,
    ) {
        let ways = self.ways(key, told);
        self.digest_by(key, told, reason, Why::new(why, rule), &ways);
    }

    /// As [`Self::digest`], of these routes only.
    fn digest_by(
        &mut self,
        key: &Key,
        told: &mut Told,
        reason: SummaryReason,
        why: Why<'_>,
        ways: &[Way],
    ) {
        // A copy shares the document.
        let rules = self.rules.clone();
        let times = rules.digest(&key.0);
        let due = match reason {
            SummaryReason::Daily => times.next_daily(self.now),
            SummaryReason::Hourly | SummaryReason::Bundle | SummaryReason::Storm => {
                times.next_hourly(self.now)
            }
        };
        if ways.is_empty() {
            self.withhold(key, told, Why::new("no_receiver", &no_route()));
        }
        for way in ways {
            if way.to.is_empty() {
                self.withhold(key, told, Why::new("no_receiver", &way.rule));
                continue;
            }
            let (name, group) = (&way.rule, Vec::new());
            let place =
                Place { reason, rule: &times.id, name, group, to: &way.to, due, interval: 0 };
            let summary = Some(self.gather(key, told, &place));
            self.withhold(key, told, Why { summary, ..why.clone() });
        }
    }

    /// Puts an incident into the bundle of a route, if the route has it wait for others. False: it is
    /// told by itself.
    pub(super) fn bundle(&mut self, key: &Key, told: &mut Told, way: &Way) -> bool {
        if way.to.is_empty() || !way.group.bundles() {
            return false;
        }
        let (place, waits) = self.bundle_of(key, told, way);
        let slot = place.slot(&key.0);
        if !waits && !self.state.gathered.summaries.contains_key(&slot) {
            let next = self.now.plus_seconds(way.group.interval_seconds);
            self.state.gathered.groups.insert(slot, next);
            self.state.gathered_changed = true;
            return false;
        }
        let summary = Some(self.gather(key, told, &place));
        told.bundled += 1;
        self.withhold(key, told, Why { summary, ..Why::new("bundled", &way.rule) });
        true
    }

    /// The bundle of a route an incident belongs to, and whether it has to wait.
    fn bundle_of<'w>(&self, key: &Key, told: &Told, way: &'w Way) -> (Place<'w>, bool) {
        let subject = crate::rules::Subject { project: &key.0, facts: &told.facts };
        let mut place = Place {
            reason: SummaryReason::Bundle,
            rule: &way.rule,
            name: &way.rule,
            group: way.group.of(&subject),
            to: &way.to,
            due: self.now.plus_seconds(way.group.wait_seconds),
            interval: way.group.interval_seconds,
        };
        if let Some(next) = self.state.gathered.groups.get(&place.slot(&key.0)) {
            place.due = place.due.max(*next);
        }
        let waits = place.due > self.now;
        (place, waits)
    }

    /// Says in a summary that an incident is over that was told in one: in the bundle of its group
    /// that is open, else in that of the hour. What was told in a bundle begins another; what a storm
    /// told does not, or its end were as many messages as it has groups.
    pub(super) fn gather_end(&mut self, key: &Key, told: &mut Told, rule: &str) {
        let (mut others, mut gathered) = (Vec::new(), false);
        for way in self.ways(key, told) {
            if way.to.is_empty() || !way.group.bundles() {
                others.push(way);
                continue;
            }
            let (place, _) = self.bundle_of(key, told, &way);
            if told.by_bundle || self.state.gathered.summaries.contains_key(&place.slot(&key.0)) {
                let summary = Some(self.gather(key, told, &place));
                self.withhold(key, told, Why { summary, ..Why::new("resolve_in_summary", rule) });
                gathered = true;
            } else {
                others.push(way);
            }
        }
        if gathered && others.is_empty() {
            return;
        }
        let why = Why::new("resolve_in_summary", rule);
        self.digest_by(key, told, SummaryReason::Hourly, why, &others);
    }

    /// Counts an alert of an incident that stands in a bundle or a storm that is still open there.
    /// None: it stands in none; else whether that changed its row.
    pub(super) fn count_where_it_stands(&mut self, key: &Key, told: &mut Told) -> Option<bool> {
        let now = self.now;
        let (mut counted, mut bundled) = (Vec::new(), 0);
        for (slot, summary) in &told.summaries {
            let gathering = self.state.gathered.summaries.get_mut(slot);
            let Some(gathering) = gathering.filter(|g| g.key == *summary) else { continue };
            match gathering.reason {
                SummaryReason::Bundle => bundled = 1,
                SummaryReason::Storm => {}
                SummaryReason::Hourly | SummaryReason::Daily => continue,
            }
            gathering.count(told, key.1, false, now);
            counted.push((gathering.reason, gathering.rule.clone(), summary.clone()));
        }
        if counted.is_empty() {
            return None;
        }
        self.state.gathered_changed = true;
        told.bundled += bundled;
        for (reason, rule, summary) in counted {
            let reason = match reason {
                SummaryReason::Storm => "storm",
                SummaryReason::Bundle | SummaryReason::Hourly | SummaryReason::Daily => "bundled",
            };
            self.withhold(key, told, Why { summary: Some(summary), ..Why::new(reason, &rule) });
        }
        Some(bundled > 0)
    }

    /// Counts an alert in a summary, which is begun if there is none; its key.
    fn gather(&mut self, key: &Key, told: &mut Told, place: &Place<'_>) -> String {
        let (now, at, tags) = (self.now, self.event.at, self.tags(key, told));
        let slot = place.slot(&key.0);
        let gathered = &mut self.state.gathered;
        self.state.gathered_changed = true;
        // Those that were told since are not looked for again, but storms that end with it.
        told.summaries.retain(|(slot, summary)| {
            let open = gathered.summaries.get(slot).is_some_and(|open| open.key == *summary);
            open || gathered.calm.contains_key(summary)
        });
        let gathering = gathered.summaries.entry(slot.clone()).or_insert_with(|| {
            let mut summary = format!("{}:{}:{at}", place.reason.word(), place.name);
            if !place.group.is_empty() {
                // One event may begin several of one route.
                let hash = schemas::id::hash(&[slot.as_bytes()]).simple().to_string();
                summary = format!("{summary}:{}", &hash[..8]);
            }
            let begin = Begin {
                key: summary,
                reason: place.reason,
                rule: place.rule.to_owned(),
                group: place.group.clone(),
                due: place.due,
                interval: place.interval,
            };
            Gathering::new(begin, &key.0, told, now)
        });
        for to in place.to {
            if !gathering.to.contains(to) {
                gathering.to.push(to.clone());
            }
        }
        for tag in tags {
            if !gathering.tags.contains(&tag) {
                gathering.tags.push(tag);
            }
        }
        let stands = |(at, key): &(String, String)| *at == slot && *key == gathering.key;
        let first = !told.summaries.iter().any(stands);
        if first && gathering.reason == SummaryReason::Bundle && gathering.members.len() >= MEMBERS
        {
            // It will not be found when the bundle is told.
            (told.told_at, told.told_level) = (Some(gathering.due), told.facts.level);
        }
        gathering.count(told, key.1, first, now);
        let summary = gathering.key.clone();
        if first {
            told.summaries.push((slot, summary.clone()));
        }
        told.summarised = true;
        summary
    }

    /// Whether there is a storm in a project, counting one more message about a problem of it (R44).
    pub(super) fn storms(&mut self, project: &ProjectId) -> bool {
        let rule = self.rules.storm(project);
        let most = rule.problems_per_minute as usize;
        let slot = slot(project, SummaryReason::Storm, &rule.id, &[]);
        let gathered = &mut self.state.gathered;
        self.state.gathered_changed = true;
        let recent = gathered.recent.entry(project.clone()).or_default();
        recent.retain(|at| self.now < at.plus_seconds(MINUTE));
        recent.push(self.now);
        if recent.len() > most + 1 {
            recent.remove(0);
        }
        recent.len() > most || gathered.summaries.contains_key(&slot)
    }

    /// Tells of a problem in the message about the storm.
    pub(super) fn join_storm(&mut self, key: &Key, told: &mut Told, ways: &[Way]) {
        let rules = self.rules.clone();
        let rule = rules.storm(&key.0);
        let to: Vec<Recipient> = ways.iter().flat_map(|way| way.to.iter().cloned()).collect();
        let place = Place {
            reason: SummaryReason::Storm,
            rule: &rule.id,
            name: &rule.id,
            group: Vec::new(),
            to: &to,
            due: self.now.plus_seconds(rule.interval_seconds()),
            interval: 0,
        };
        let summary = self.gather(key, told, &place);
        self.note_told(key, told, self.now);
        let why = Why { summary: Some(summary), ..Why::new("storm", &rule.id) };
        self.withhold(key, told, why);
        // Who is not told of the storm yet is told at once; the others when it has grown.
        let slot = place.slot(&key.0);
        let Some(gathering) = self.state.gathered.summaries.get_mut(&slot) else { return };
        let new: Vec<Recipient> =
            gathering.to.iter().filter(|to| !gathering.told.contains(to)).cloned().collect();
        if !new.is_empty() {
            gathering.told.extend(new.iter().cloned());
            let gathering = gathering.clone();
            self.tell_summary(&gathering, SendKind::Summary, &new);
        }
    }

    /// Counts one message about a problem of a project. False: it has told enough for this hour.
    pub(super) fn spend(&mut self, project: &ProjectId) -> bool {
        let most = self.rules.limits(project).messages_per_hour;
        self.state.gathered_changed = true;
        let spent = self.state.gathered.spent.entry(project.clone()).or_insert((self.now, 0));
        if self.now >= spent.0.plus_seconds(HOUR) {
            *spent = (self.now, 0);
        }
        if spent.1 >= most {
            return false;
        }
        spent.1 += 1;
        true
    }

    pub(super) fn tell_summary(&mut self, gathering: &Gathering, kind: SendKind, to: &[Recipient]) {
        let plan = Plan {
            project: gathering.project.clone(),
            incident: gathering.id(),
            subject: gathering.key.clone(),
            opening: gathering.opening,
            kind,
            to: Recipient::Receiver(String::new()),
            facts: gathering.facts(),
            risk: gathering.risk,
            rule: gathering.rule.clone(),
            rules: self.rules.hash().to_owned(),
            trigger: self.event.at,
            at: self.now,
            frequency: None,
            cause: None,
            standing: None,
            summary: Some(Box::new(gathering.summary())),
            reply: None,
            tags: gathering.tags.clone(),
        };
        self.send(&plan, to, Some(&gathering.key));
    }

    /// Tells what is due.
    pub(super) fn tell_summaries(&mut self) {
        let now = self.now;
        let due: Vec<String> = self
            .state
            .gathered
            .summaries
            .iter()
            .filter(|(_, g)| g.due <= now || g.reason == SummaryReason::Storm)
            .map(|(slot, _)| slot.clone())
            .collect();
        for slot in due {
            let Some(gathering) = self.state.gathered.summaries.remove(&slot) else { continue };
            let goes_on = match gathering.reason {
                SummaryReason::Hourly | SummaryReason::Daily => self.tell_digest(gathering),
                SummaryReason::Bundle => self.tell_bundle(&slot, gathering),
                SummaryReason::Storm => self.tell_storm(gathering),
            };
            if let Some(gathering) = goes_on {
                self.state.gathered.summaries.insert(slot, gathering);
            }
        }
        let gathered = &mut self.state.gathered;
        let before = (gathered.groups.len(), gathered.recent.len(), gathered.spent.len());
        gathered.groups.retain(|_, next| *next > now);
        gathered
            .recent
            .retain(|_, recent| recent.last().is_some_and(|last| now < last.plus_seconds(MINUTE)));
        gathered.spent.retain(|_, (since, _)| now < since.plus_seconds(HOUR));
        let after = (gathered.groups.len(), gathered.recent.len(), gathered.spent.len());
        self.state.gathered_changed |= before != after;
    }

    /// Tells the summary of an hour or a day; gives it back while it has to wait.
    fn tell_digest(&mut self, gathering: Gathering) -> Option<Gathering> {
        self.state.gathered_changed = true;
        let quiet = self.rules.quiet_hours(&gathering.project);
        if let Some(end) = quiet.until(self.now, gathering.level) {
            return Some(Gathering { due: end, ..gathering });
        }
        self.tell_summary(&gathering, SendKind::Summary, &gathering.to);
        None
    }

    /// Tells a bundle: of a single incident as a message of its own. Gives it back while it is quiet;
    /// what wakes people and joins it meanwhile has it told.
    fn tell_bundle(&mut self, slot: &str, gathering: Gathering) -> Option<Gathering> {
        let quiet = self.rules.quiet_hours(&gathering.project);
        let sleeps = !gathering.unlevelled && quiet.until(self.now, gathering.level).is_some();
        if gathering.incidents > 0 && sleeps {
            return Some(gathering);
        }
        self.state.gathered_changed = true;
        if gathering.incidents == 0 {
            return None;
        }
        let (now, project) = (self.now, gathering.project.clone());
        let single = gathering.incidents == 1;
        let mut paged = false;
        for member in &gathering.members {
            let key = (project.clone(), *member);
            self.with(&key, |desk, told| {
                let stands = told.summaries.iter().any(|(known, _)| known == slot);
                if !stands {
                    return false;
                }
                told.bundled = 0;
                told.by_bundle = !single;
                desk.note_told(&key, told, now);
                if single && !told.state.is_over() {
                    paged = true;
                    let (to, rule) = (gathering.to.clone(), gathering.rule.clone());
                    desk.page(&key, told, to, &rule, Some(&gathering.key));
                }
                true
            });
        }
        if !paged {
            self.tell_summary(&gathering, SendKind::Summary, &gathering.to);
        }
        let interval = gathering.interval;
        self.state.gathered.groups.insert(slot.to_owned(), now.plus_seconds(interval));
        None
    }

    /// Tells how a storm grew; gives it back until a minute brings fewer.
    fn tell_storm(&mut self, mut gathering: Gathering) -> Option<Gathering> {
        let rules = self.rules.clone();
        let rule = rules.storm(&gathering.project);
        let recent = self.state.gathered.recent.get(&gathering.project);
        let lately = recent.map_or(0, |recent| {
            recent.iter().filter(|at| self.now < at.plus_seconds(MINUTE)).count()
        });
        let calm = lately < rule.problems_per_minute as usize;
        if (calm || gathering.due <= self.now) && std::mem::take(&mut gathering.grown) {
            self.tell_summary(&gathering, SendKind::Update, &gathering.told);
            gathering.due = self.now.plus_seconds(rule.interval_seconds());
            self.state.gathered_changed = true;
        }
        if !calm {
            return Some(gathering);
        }
        self.calm(gathering);
        None
    }
}
