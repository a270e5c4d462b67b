//! A problem's state: the fold of its alerts, kept as one compact row.

use minicbor::{Decode, Encode};
use schemas::{
    CodecError, Fingerprint, IncidentId, Position, Status, Time, codec,
    event::{Cause, Effect},
    id,
};

use super::FOLD_VERSION;

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

/// A sender's time may be this far ahead of the moment we received it; what is later is no time at
/// all, or one wrong clock would make every later change of the problem stale.
const AHEAD_SECONDS: i64 = 300;

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

/// One alert as far as a problem's state is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// Where the alert stands.
    pub at: Position,
    /// The incident it opens, should it open one.
    pub incident: IncidentId,
    /// What the sender says of the problem.
    pub status: Status,
    /// When the status changed; see [`changed_at`].
    pub changed_at: Time,
    /// Hash of the sender's occurrence key; see [`occurrence_hash`].
    pub occurrence: Option<u64>,
    /// Lane time at the alert.
    pub lane_time: Time,
    /// For how many seconds of lane time after a status change a firing that is dated before it
    /// is stale.
    pub stale_seconds: i64,
}

/// What an alert did to its problem, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An episode began.
    Opened {
        cause: Cause,
        /// The firing is not later than the last status change, and no longer stale for that.
        dated_back: bool,
    },
    /// It fires on.
    Repeated,
    /// The episode ended.
    Resolved,
    /// The sender ignores it until it reappears; the episode ended.
    Suppressed,
    /// The status change is not later than `last_change`, and opens or closes nothing.
    Stale { last_change: Time },
    /// This occurrence was counted before, reported another way.
    SameOccurrence,
    /// It was over, though nothing was open.
    NothingToClose,
}

/// A problem's latest episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest {
    /// Its number, from 1; 0 while nothing ever fired.
    pub episode: u32,
    pub occurrences: u64,
    /// The incident it opened, and where.
    pub incident: Option<(IncidentId, Position)>,
}

impl Change {
    /// Whether the problem is open after it, where that is another answer than before.
    pub const fn is_open_after(self) -> Option<bool> {
        match self {
            Self::Opened { .. } => Some(true),
            Self::Resolved | Self::Suppressed => Some(false),
            Self::Repeated | Self::Stale { .. } | Self::SameOccurrence | Self::NothingToClose => {
                None
            }
        }
    }

    /// The word for it on the alert.
    pub const fn effect(self) -> Effect {
        match self {
            Self::Opened { .. } => Effect::Opened,
            Self::Repeated => Effect::Repeated,
            Self::Resolved => Effect::Resolved,
            Self::Suppressed => Effect::Suppressed,
            Self::Stale { .. } => Effect::Stale,
            Self::SameOccurrence => Effect::SameOccurrence,
            Self::NothingToClose => Effect::NothingToClose,
        }
    }
}

/// When a status changed: the sender's word, unless it is absent or lies ahead of the receipt.
pub fn changed_at(stated: Option<Time>, received_at: Time) -> Time {
    stated.filter(|at| *at <= received_at.plus_seconds(AHEAD_SECONDS)).unwrap_or(received_at)
}

/// The form in which an occurrence key is remembered.
pub fn occurrence_hash(key: &str) -> u64 {
    id::hash(&[b"occurrence", key.as_bytes()]).as_u64_pair().0
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
        }
    }

    /// Applies the next alert to `problem`; none is a problem never heard of.
    pub fn apply(problem: &mut Option<Self>, seen: &Sighting) -> (Change, Latest) {
        let (state, change) = match problem {
            Some(known) if known.is_heard_of() => {
                let change = known.turn(seen);
                (known, change)
            }
            before => {
                let elsewhere = before.take().and_then(|list| list.elsewhere);
                let first = before.insert(Self { elsewhere, ..Self::unheard_of(seen) });
                let change = first.turn_to(seen, Cause::New, false);
                (first, change)
            }
        };
        (change, state.latest())
    }

    /// Applies the next alert.
    fn turn(&mut self, seen: &Sighting) -> Change {
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
        if dated_back && !(firing && self.copies_are_over(seen)) {
            return Change::Stale { last_change: self.last_change };
        }
        let cause = match (self.episodes, self.status) {
            (0, _) => Cause::New,
            (_, Status::Suppressed) => Cause::Reappearance,
            (_, Status::Firing | Status::Resolved) => Cause::Regression,
        };
        self.turn_to(seen, cause, dated_back)
    }

    /// Whether the last status change is so long ago that a firing dated before it is no late copy.
    ///
    /// A sender that lost sight of a problem and then found it again goes on under the first start
    /// time: taken for a copy for ever, that outage would be told to nobody.
    fn copies_are_over(&mut self, seen: &Sighting) -> bool {
        let since = *self.changed_lane.get_or_insert(seen.lane_time);
        seen.lane_time > since.plus_seconds(seen.stale_seconds)
    }

    /// Notes the occurrence a firing alert reports; true when it was counted already, reported
    /// another way (R4).
    fn counted_before(&mut self, seen: &Sighting) -> bool {
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
    fn unheard_of(seen: &Sighting) -> Self {
        let firing = seen.status == Status::Firing;
        let mut state = Self {
            fold: FOLD_VERSION,
            status: Status::Resolved,
            last_change: seen.changed_at,
            episodes: 0,
            opening: None,
            incident: None,
            occurrences: 0,
            total: u64::from(firing),
            recent: Vec::new(),
            announced: false,
            changed_lane: None,
            elsewhere: None,
        };
        if let Some(key) = seen.occurrence.filter(|_| firing) {
            state.remember(key);
        }
        state
    }

    /// Changes the status.
    fn turn_to(&mut self, seen: &Sighting, cause: Cause, dated_back: bool) -> Change {
        let was_open = self.is_open();
        self.status = seen.status;
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
        let state: Self = codec::decode("problem state", bytes)?;
        super::known_fold("problem state", state.fold)?;
        Ok(state)
    }
}
