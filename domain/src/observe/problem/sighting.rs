//! What a problem is told, and what it says of that.

use schemas::{
    IncidentId, Level, Position, ProjectId, Status, Time,
    alert::Risk,
    event::{Cause, Effect, EscalationLevel, Frequency},
    id,
};

use crate::{
    providers::Silence,
    rules::{Escalation, Expiry, Flapping, Rules},
};

/// A sender's time may be this far ahead of the moment we received it; what is later is no time at
/// all, or one wrong clock would make every later change of the problem stale.
const AHEAD_SECONDS: i64 = 300;

/// One alert as far as a problem's state is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'r> {
    /// Where the alert stands.
    pub at: Position,
    /// The incident it opens, should it open one.
    pub incident: IncidentId,
    /// What the sender says of the problem.
    pub status: Status,
    /// How bad it says it is.
    pub level: Option<Level>,
    /// When the status changed; see [`changed_at`].
    pub changed_at: Time,
    /// Hash of the sender's occurrence key; see [`occurrence_hash`].
    pub occurrence: Option<u64>,
    /// Lane time at the alert.
    pub lane_time: Time,
    /// What it means to hear nothing more from this sender.
    pub silence: Silence,
    pub terms: Terms<'r>,
}

/// The rules a problem's state is folded by.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'r> {
    /// For how many seconds of lane time after a status change a firing that is dated before it
    /// is stale.
    pub stale_seconds: i64,
    pub escalation: &'r Escalation,
    pub expiry: &'r Expiry,
    pub flapping: &'r Flapping,
}

impl Sighting<'_> {
    /// The risk of an alert of its level.
    pub const fn risk(&self) -> Risk {
        Level::risk(self.level)
    }
}

impl<'r> Terms<'r> {
    /// The terms of a project's problems.
    pub fn of(rules: &'r Rules, project: &ProjectId) -> Self {
        Self {
            stale_seconds: rules.stale(project).seconds(),
            escalation: rules.escalation(project),
            expiry: rules.expiry(project),
            flapping: rules.flapping(project),
        }
    }
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
    /// The incident's risk.
    pub risk: Option<Risk>,
}

/// A problem after an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    pub change: Change,
    pub latest: Latest,
    /// How often it occurred lately; none for an alert that is no further occurrence.
    pub frequency: Option<Frequency>,
    /// It opens and resolves too often.
    pub flapping: bool,
    /// It is worse than it was so far in its episode.
    pub worse: Option<Worse>,
    /// The incident was raised after it was opened.
    pub raise: Option<Raise>,
    /// Its sender says nothing but that it still fires.
    pub goes_on: bool,
    /// Seconds since the last report, where it is a repeat by the clock if its whole delivery is.
    pub gap: Option<i64>,
}

/// A rise of the level of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worse {
    /// The highest level before.
    pub before: Option<Level>,
    pub risk_before: Risk,
    /// The incident's risk after the alert.
    pub risk: Risk,
}

/// A raise of an incident that was open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise {
    pub before: EscalationLevel,
    pub risk_before: Risk,
    pub risk: Risk,
    /// The first of the incident.
    pub first: bool,
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
///
/// The receipt is no earlier than lane time says: the clock that dated it may be slow, and taking
/// that for a sender's that is fast would make the change stale.
pub fn changed_at(stated: Option<Time>, received_at: Time, lane_time: Time) -> Time {
    let latest = received_at.max(lane_time).plus_seconds(AHEAD_SECONDS);
    stated.filter(|at| *at <= latest).unwrap_or(received_at)
}

/// The form in which an occurrence key is remembered.
pub fn occurrence_hash(key: &str) -> u64 {
    id::hash(&[b"occurrence", key.as_bytes()]).as_u64_pair().0
}
