//! A problem's state: the fold of its alerts, kept as one compact row.

use minicbor::{Decode, Encode};
use schemas::{
    CodecError, IncidentId, Position, Status, Time, codec,
    event::{Cause, Effect},
    id,
};

use super::FOLD_VERSION;

/// How many occurrences a problem remembers. Reports of one occurrence arrive within seconds of
/// each other, so only a burst of more than this many different ones in between is counted twice.
const REMEMBERED: usize = 16;

/// Where a sender announces a problem without naming the occurrence behind it (Sentry's issue
/// webhooks), the named occurrence this close to it is the one it announced.
const SAME_MOMENT_SECONDS: i64 = 60;

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
}

/// What an alert did to its problem, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An episode began.
    Opened(Cause),
    /// It fires on.
    Repeated,
    /// The episode ended.
    Resolved,
    /// The sender ignores it until it reappears; the episode ended.
    Suppressed,
    /// The status change is not later than `last_change` and opens or closes nothing.
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
    /// The word for it on the alert.
    pub const fn effect(self) -> Effect {
        match self {
            Self::Opened(_) => Effect::Opened,
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
            Some(known) => {
                let change = known.turn(seen);
                (known, change)
            }
            None => {
                let first = problem.insert(Self::unheard_of(seen));
                let change = first.turn_to(seen, Cause::New);
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
        if seen.changed_at <= self.last_change {
            return Change::Stale { last_change: self.last_change };
        }
        let cause = match (self.episodes, self.status) {
            (0, _) => Cause::New,
            (_, Status::Suppressed) => Cause::Reappearance,
            (_, Status::Firing | Status::Resolved) => Cause::Regression,
        };
        self.turn_to(seen, cause)
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
        };
        if let Some(key) = seen.occurrence.filter(|_| firing) {
            state.remember(key);
        }
        state
    }

    /// Changes the status.
    fn turn_to(&mut self, seen: &Sighting, cause: Cause) -> Change {
        let was_open = self.is_open();
        self.status = seen.status;
        self.last_change = seen.changed_at;
        match seen.status {
            Status::Firing => {
                self.episodes += 1;
                self.opening = Some(seen.at);
                self.incident = Some(seen.incident);
                self.occurrences = 1;
                self.announced = seen.occurrence.is_none();
                Change::Opened(cause)
            }
            // Kept although nothing is open: a firing alert that this one overtook is stale.
            Status::Resolved | Status::Suppressed if !was_open => Change::NothingToClose,
            Status::Resolved => Change::Resolved,
            Status::Suppressed => Change::Suppressed,
        }
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
