//! A problem's state: the fold of its alerts, kept as one compact row.

mod sighting;
mod timer;

use minicbor::{Decode, Encode};
use schemas::{
    CodecError, Fingerprint, IncidentId, Level, Position, Status, Time,
    alert::Risk,
    codec,
    event::{Cause, EscalationLevel, Frequency},
};

use super::{
    FOLD_VERSION,
    counts::Counts,
    escalation::{frequency, raised},
};

pub use sighting::{
    Change, Latest, Raise, Sighting, Terms, Turned, Worse, changed_at, occurrence_hash,
};

/// How many occurrences a problem remembers. Reports of one occurrence arrive within seconds of
/// each other, so only a burst of more than this many different ones in between is counted twice.
const REMEMBERED: usize = 16;

/// How many environments of one identity are known to be open; of more, the oldest are let go.
const ELSEWHERE: usize = 64;

/// Where a sender announces a problem without naming the occurrence behind it (Sentry's issue
/// webhooks), the named occurrence this close to it is the one it announced.
const SAME_MOMENT_SECONDS: i64 = 60;

/// The last change of a problem nothing was heard of: before all times a sender can state.
const UNHEARD: Time = Time::from_micros(i64::MIN);

/// What is known of one problem.
///
/// A field that is added gets a new number and is optional; a change of meaning raises
/// [`FOLD_VERSION`] and gets an upcaster in [`Problem::decode`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Problem {
    /// Version of the fold that wrote this state.
    #[n(0)]
    pub fold: u32,
    /// The last status change's status. Firing means that an episode is open.
    #[n(1)]
    pub status: Status,
    /// When the status last changed, by the sender's word, else by our receipt.
    #[n(2)]
    pub last_change: Time,
    /// Episodes so far; 0 while nothing ever fired.
    #[n(3)]
    pub episodes: u32,
    /// Where the latest episode was opened.
    #[n(4)]
    pub opening: Option<Position>,
    /// The incident the latest episode opened.
    #[n(5)]
    pub incident: Option<IncidentId>,
    /// Occurrences in the latest episode.
    #[n(6)]
    pub occurrences: u64,
    /// Occurrences ever, stale ones included.
    #[n(7)]
    pub total: u64,
    /// Hashes of the last occurrence keys, oldest first.
    #[n(8)]
    pub recent: Vec<u64>,
    /// The latest episode was opened by an alert that names no occurrence, and none was named
    /// since.
    #[n(9)]
    pub announced: bool,
    /// Lane time of the last status change; none in a row of fold 1.
    #[n(10)]
    pub changed_lane: Option<Time>,
    /// Open problems of the same identity in other environments, oldest first. Kept by the problem
    /// of the identity without an environment.
    #[n(11)]
    pub elsewhere: Option<Vec<Elsewhere>>,
    /// Occurrences lately.
    #[n(12)]
    #[cbor(skip_if = "Counts::is_empty")]
    pub lately: Counts,
    /// Status changes lately, as the sender told them.
    #[n(13)]
    #[cbor(skip_if = "Counts::is_empty")]
    pub changes: Counts,
    /// Episodes lately that began after an end.
    #[n(14)]
    #[cbor(skip_if = "Counts::is_empty")]
    pub refires: Counts,
    /// The highest level of the latest episode.
    #[n(15)]
    #[cbor(skip_if = "is_default")]
    pub level: EscalationLevel,
    /// The risk of the latest episode's incident; none in a row of fold 2.
    #[n(16)]
    pub risk: Option<Risk>,
    /// Triage was asked for because the latest episode escalated.
    #[n(17)]
    #[cbor(skip_if = "is_default")]
    pub escalated: bool,
    /// The latest episode ended because nothing was heard of it, and nothing was since.
    #[n(18)]
    #[cbor(skip_if = "is_default")]
    pub expired: bool,
    /// Lane time of the last report in an episode; none of a sender whose silence says nothing.
    #[n(19)]
    pub last_seen: Option<Time>,
    /// Seconds between the last two reports of a sender that repeats itself by the clock.
    #[n(20)]
    pub repeat: Option<i64>,
    /// When to look whether it is over; never later than its silence would be too long.
    #[n(21)]
    pub due: Option<Time>,
    /// Set where the problem is one environment's of an identity that has several.
    #[n(22)]
    pub part: Option<Part>,
    /// The highest level an alert of the latest episode said.
    #[n(23)]
    pub worst: Option<Level>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The level that makes this risk.
const fn level_of(risk: Risk) -> Level {
    match risk {
        Risk::Low => Level::Info,
        Risk::Medium => Level::Warning,
        Risk::High => Level::Error,
        Risk::Critical => Level::Fatal,
    }
}

/// The problem that keeps the list a problem stands on, and under which environment.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Part {
    #[n(0)]
    pub whole: Fingerprint,
    #[n(1)]
    pub environment: String,
}

/// A problem of the same identity in another environment.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Elsewhere {
    #[n(0)]
    pub environment: String,
    #[n(1)]
    pub fingerprint: Fingerprint,
}

impl Problem {
    /// True while an episode is open.
    pub fn is_open(&self) -> bool {
        self.status == Status::Firing
    }

    /// The latest episode.
    pub fn latest(&self) -> Latest {
        Latest {
            episode: self.episodes,
            occurrences: self.occurrences,
            incident: self.incident.zip(self.opening),
            risk: self.risk,
        }
    }

    /// Applies the next alert to `problem`; none is a problem never heard of.
    pub fn apply(problem: &mut Option<Self>, seen: &Sighting<'_>) -> Turned {
        match problem {
            Some(known) if known.is_heard_of() => {
                let resumed = known.expired && seen.changed_at <= known.last_change;
                let change = known.turn(seen);
                known.account(seen, change, resumed)
            }
            before => {
                let elsewhere = before.take().and_then(|list| list.elsewhere);
                let first = before.insert(Self { elsewhere, ..Self::unheard_of(seen) });
                let change = first.turn_to(seen, Cause::New, false);
                first.account(seen, change, false)
            }
        }
    }

    /// Counts what an alert changed, and what follows from the counts.
    ///
    /// `resumed`: the sender dates it before an end that was only an end because nothing was heard.
    fn account(&mut self, seen: &Sighting<'_>, change: Change, resumed: bool) -> Turned {
        let now = seen.lane_time;
        let (mut lately, mut raise, mut worse) = (None, None, None);
        match change {
            Change::Opened { cause, .. } => {
                self.lately.push(now);
                self.changes.push(now);
                if cause == Cause::Regression {
                    self.refires.push(now);
                }
                let counted = self.frequency(seen);
                self.level = counted.level;
                self.worst = seen.level;
                self.risk = Some(raised(seen.risk(), self.level));
                self.escalated = false;
                lately = Some(counted);
            }
            Change::Repeated => {
                self.lately.push(now);
                let mut counted = self.frequency(seen);
                // Within an episode it only rises.
                counted.level = counted.level.max(self.level);
                worse = self.worsen(seen);
                raise = self.raise(seen, counted.level);
                lately = Some(counted);
            }
            // Counted before, but one of the reports may know better how bad it is.
            Change::SameOccurrence if self.is_open() => worse = self.worsen(seen),
            Change::Resolved | Change::Suppressed => self.changes.push(now),
            Change::Stale { .. } | Change::SameOccurrence | Change::NothingToClose => {}
        }
        if let Some(worse) = &mut worse {
            worse.risk = self.risk.unwrap_or(worse.risk);
        }
        let goes_on = match change {
            Change::Repeated | Change::SameOccurrence => true,
            Change::Opened { .. } => resumed,
            Change::Resolved
            | Change::Suppressed
            | Change::Stale { .. }
            | Change::NothingToClose => false,
        };
        let gap = if goes_on { self.gap(seen) } else { None };
        if seen.status == Status::Firing && self.is_open() {
            self.heard(seen);
        }
        let window = u32::try_from(seen.terms.flapping.window_seconds / 60).unwrap_or(u32::MAX);
        let flapping = self.changes.within(window, now) >= u64::from(seen.terms.flapping.changes);
        let (latest, frequency) = (self.latest(), lately);
        Turned { change, latest, frequency, flapping, worse, raise, goes_on, gap }
    }

    fn frequency(&self, seen: &Sighting<'_>) -> Frequency {
        frequency(seen.terms.escalation, &self.lately, &self.refires, seen.lane_time)
    }

    /// Notes how bad an alert of an open episode says it is; none where that is no worse than it was.
    /// What says nothing is as bad as a warning, and makes nothing worse.
    fn worsen(&mut self, seen: &Sighting<'_>) -> Option<Worse> {
        let before = self.worst;
        if seen.level.is_none() || seen.risk() <= Level::risk(before) {
            return None;
        }
        self.worst = seen.level;
        let risk_before = self.risk.unwrap_or(Level::risk(before));
        let risk = risk_before.max(seen.risk());
        self.risk = Some(risk);
        Some(Worse { before, risk_before, risk })
    }

    /// Raises the incident to `level`. Told is what raises its risk or asks for somebody; that it
    /// repeats at all says the repeat.
    fn raise(&mut self, seen: &Sighting<'_>, level: EscalationLevel) -> Option<Raise> {
        let before = std::mem::replace(&mut self.level, level);
        if level <= before || level < EscalationLevel::Escalate {
            return None;
        }
        let risk_before = self.risk.unwrap_or(seen.risk());
        let risk = raised(risk_before, level);
        self.risk = Some(risk);
        let first = !std::mem::replace(&mut self.escalated, true);
        Some(Raise { before, risk_before, risk, first })
    }

    /// Applies the next alert.
    fn turn(&mut self, seen: &Sighting<'_>) -> Change {
        self.fold = FOLD_VERSION;
        let firing = seen.status == Status::Firing;
        if firing {
            if self.counted_before(seen) {
                return Change::SameOccurrence;
            }
            self.total += 1;
        }
        if seen.status == self.status {
            // The same again is no change, and so cannot be stale.
            if !firing {
                return Change::NothingToClose;
            }
            self.occurrences += 1;
            return Change::Repeated;
        }
        let dated_back = seen.changed_at <= self.last_change;
        // An end that nobody told is overtaken by every report.
        if dated_back && !(firing && (self.expired || self.copies_are_over(seen))) {
            return Change::Stale { last_change: self.last_change };
        }
        let cause = match (self.episodes, self.status) {
            (0, _) => Cause::New,
            (_, Status::Suppressed) => Cause::Reappearance,
            (_, Status::Firing | Status::Resolved) => Cause::Regression,
        };
        let dated_back = dated_back && !self.expired;
        self.turn_to(seen, cause, dated_back)
    }

    /// Whether the last status change is so long ago that a firing dated before it is no late copy.
    ///
    /// A sender that lost sight of a problem and then found it again goes on under the first start
    /// time: taken for a copy for ever, that outage would be told to nobody.
    fn copies_are_over(&mut self, seen: &Sighting<'_>) -> bool {
        let since = *self.changed_lane.get_or_insert(seen.lane_time);
        seen.lane_time > since.plus_seconds(seen.terms.stale_seconds)
    }

    /// Notes the occurrence a firing alert reports; true when it was counted already, reported
    /// another way (R4).
    fn counted_before(&mut self, seen: &Sighting<'_>) -> bool {
        let Some(key) = seen.occurrence else {
            // Of a sender that names occurrences, an alert without one tells of the problem only.
            return self.is_open() && !self.recent.is_empty();
        };
        if self.recent.contains(&key) {
            return true;
        }
        self.remember(key);
        let announced = std::mem::take(&mut self.announced) && self.is_open();
        let apart = seen.changed_at.micros_since(self.last_change).abs();
        announced && apart <= SAME_MOMENT_SECONDS * 1_000_000
    }

    /// The state just before the first alert, which is then a change of status whatever it says.
    fn unheard_of(seen: &Sighting<'_>) -> Self {
        let firing = seen.status == Status::Firing;
        let mut state =
            Self { last_change: seen.changed_at, total: u64::from(firing), ..Self::only_a_list() };
        if let Some(key) = seen.occurrence.filter(|_| firing) {
            state.remember(key);
        }
        state
    }

    /// Changes the status.
    fn turn_to(&mut self, seen: &Sighting<'_>, cause: Cause, dated_back: bool) -> Change {
        let was_open = self.is_open();
        self.status = seen.status;
        self.expired = false;
        // Never back, or a late copy of the end before would be the end of this episode.
        self.last_change = self.last_change.max(seen.changed_at);
        self.changed_lane = Some(seen.lane_time);
        match seen.status {
            Status::Firing => {
                self.episodes += 1;
                self.opening = Some(seen.at);
                self.incident = Some(seen.incident);
                self.occurrences = 1;
                self.announced = seen.occurrence.is_none();
                Change::Opened { cause, dated_back }
            }
            // Kept although nothing is open: a firing alert that this one overtook is stale.
            Status::Resolved | Status::Suppressed if !was_open => Change::NothingToClose,
            Status::Resolved => Change::Resolved,
            Status::Suppressed => Change::Suppressed,
        }
    }

    /// Notes in `problem` that one of the same identity is open elsewhere, or no longer is.
    pub fn list(problem: &mut Option<Self>, other: Elsewhere, open: bool) {
        let list = problem.get_or_insert_with(Self::only_a_list);
        list.fold = FOLD_VERSION;
        let mut all = list.elsewhere.take().unwrap_or_default();
        all.retain(|known| known.fingerprint != other.fingerprint);
        if open {
            if all.len() >= ELSEWHERE {
                all.remove(0);
            }
            all.push(other);
        }
        list.elsewhere = (!all.is_empty()).then_some(all);
    }

    /// The state of a problem nothing was ever heard of, for its list.
    fn only_a_list() -> Self {
        Self {
            fold: FOLD_VERSION,
            status: Status::Resolved,
            last_change: UNHEARD,
            episodes: 0,
            opening: None,
            incident: None,
            occurrences: 0,
            total: 0,
            recent: Vec::new(),
            announced: false,
            changed_lane: None,
            elsewhere: None,
            lately: Counts::default(),
            changes: Counts::default(),
            refires: Counts::default(),
            level: EscalationLevel::None,
            risk: None,
            escalated: false,
            expired: false,
            last_seen: None,
            repeat: None,
            due: None,
            part: None,
            worst: None,
        }
    }

    /// False while the row stands for its list alone.
    fn is_heard_of(&self) -> bool {
        self.last_change != UNHEARD
    }

    fn remember(&mut self, key: u64) {
        if self.recent.len() >= REMEMBERED {
            self.recent.remove(0);
        }
        self.recent.push(key);
    }

    /// The row's form.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// From the row's form. States of earlier folds are brought up to this one here.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut state: Self = codec::decode("problem state", bytes)?;
        super::known_fold("problem state", state.fold)?;
        if state.fold < 6 {
            // How bad it was said to be was not kept, but what its incident's risk came to was.
            state.worst = state.worst.or(state.risk.map(level_of));
        }
        Ok(state)
    }
}
