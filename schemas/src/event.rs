//! Derived facts of one generation, and the message they travel in.

mod incident;
mod notice;
mod part;

use minicbor::{Decode, Encode};

use crate::{
    Alert, EventId, Facts, Fingerprint, IncidentId, JobId, Level, Outcome, Position, ProjectId,
    RecordId, Time, alert::Risk, job::AnswerResult, subject::EventChannel,
};

pub use incident::{
    Applied, Escalated, EscalationLevel, Expired, Frequency, IncidentState, Refused,
};
pub use notice::{Asked, Planned, Tested, Withheld};
pub use part::{EventBatch, PartHeader, header};

/// The newest event format this binary writes and reads.
pub const EVENT_VERSION: u32 = 1;

/// A derived fact.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Event {
    #[n(0)]
    pub version: u32,
    /// Derived from the position of what caused it.
    #[n(1)]
    pub id: EventId,
    /// The record, or the alert inside it, that caused this.
    #[n(2)]
    pub at: Position,
    #[n(3)]
    pub lane_time: Time,
    /// Absent when it concerns every project of the lane.
    #[n(4)]
    pub project: Option<ProjectId>,
    /// Hash of the rules in force.
    #[n(5)]
    pub rules: String,
    #[n(6)]
    pub kind: Kind,
}

/// The kinds of event. There are no `_` arms over it: the compiler lists every reader to visit.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Kind {
    // channel decision
    /// A problem began to fire: an incident is opened.
    #[n(0)]
    Opened(#[n(0)] Box<Opened>),
    /// It still fires.
    #[n(1)]
    Repeated(#[n(0)] Repeated),
    /// Its episode is over.
    #[n(2)]
    Resolved(#[n(0)] Box<Resolved>),
    /// The sender ignores it until it reappears.
    #[n(3)]
    Suppressed(#[n(0)] Box<Resolved>),
    /// A status change that was overtaken by a later one.
    #[n(4)]
    Stale(#[n(0)] Stale),
    /// An analyst's answer took effect.
    #[n(5)]
    Answered(#[n(0)] Box<Answered>),
    /// Lane time moved.
    #[n(6)]
    Ticked,
    /// Another rules document is in force: this one; absent in events written before they told it.
    #[n(7)]
    RulesChanged(#[n(0)] Option<Box<crate::record::RulesDocument>>),
    /// A problem recurs so often that its incident is raised.
    #[n(8)]
    Escalated(#[n(0)] Box<Escalated>),
    /// Its episode is over because nothing was heard of it.
    #[n(9)]
    Expired(#[n(0)] Box<Expired>),
    /// An operator's command took effect.
    #[n(10)]
    Applied(#[n(0)] Box<Applied>),
    /// An operator's command or redrive took none.
    #[n(11)]
    Refused(#[n(0)] Box<Refused>),
    /// A silence begins, is changed or ends.
    #[n(12)]
    SilenceChanged(#[n(0)] Box<crate::record::SilenceChange>),
    /// Somebody in a chat asked for what changes nothing.
    #[n(13)]
    Asked(#[n(0)] Box<Asked>),
    /// Somebody tries whether messages arrive (R18).
    #[n(14)]
    Tested(#[n(0)] Box<Tested>),

    // channel alert
    /// An alert, normalised, and what the fold made of it.
    #[n(20)]
    Observed(#[n(0)] Box<Observed>),
    /// The outcome of a record that came from outside.
    #[n(21)]
    Settled(#[n(0)] Box<Settled>),
    /// What became of a send.
    #[n(22)]
    Sent(#[n(0)] Box<crate::record::SendOutcome>),

    // channel notice
    /// A message was planned.
    #[n(40)]
    Planned(#[n(0)] Planned),
    /// A message was not planned, and why.
    #[n(41)]
    Withheld(#[n(0)] Withheld),
}

impl Kind {
    /// The channel this kind is published on.
    pub const fn channel(&self) -> EventChannel {
        match self {
            Self::Opened(_)
            | Self::Repeated(_)
            | Self::Resolved(_)
            | Self::Suppressed(_)
            | Self::Stale(_)
            | Self::Answered(_)
            | Self::Ticked
            | Self::RulesChanged(_)
            | Self::Escalated(_)
            | Self::Expired(_)
            | Self::Applied(_)
            | Self::Refused(_)
            | Self::SilenceChanged(_)
            | Self::Asked(_)
            | Self::Tested(_) => EventChannel::Decision,
            Self::Observed(_) | Self::Settled(_) | Self::Sent(_) => EventChannel::Alert,
            Self::Planned(_) | Self::Withheld(_) => EventChannel::Notice,
        }
    }

    /// The word in metrics and pages.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Opened(_) => "opened",
            Self::Repeated(_) => "repeated",
            Self::Resolved(_) => "resolved",
            Self::Suppressed(_) => "suppressed",
            Self::Stale(_) => "stale",
            Self::Answered(_) => "answered",
            Self::Ticked => "ticked",
            Self::RulesChanged(_) => "rules_changed",
            Self::Escalated(_) => "escalated",
            Self::Expired(_) => "expired",
            Self::Applied(_) => "applied",
            Self::Refused(_) => "refused",
            Self::SilenceChanged(_) => "silence_changed",
            Self::Asked(_) => "asked",
            Self::Tested(_) => "tested",
            Self::Observed(_) => "observed",
            Self::Settled(_) => "settled",
            Self::Sent(_) => "sent",
            Self::Planned(_) => "planned",
            Self::Withheld(_) => "withheld",
        }
    }
}

/// Why an incident was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Cause {
    /// Never seen before.
    #[n(0)]
    New,
    /// Fires again after it was resolved.
    #[n(1)]
    Regression,
    /// Fires again after the sender ignored it.
    #[n(2)]
    Reappearance,
}

impl Cause {
    /// The word in tables and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Regression => "regression",
            Self::Reappearance => "reappearance",
        }
    }
}

/// A problem began to fire. The event's position is the opening position.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Opened {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub fingerprint: Fingerprint,
    #[n(2)]
    pub cause: Cause,
    /// Running number of the problem's episodes, from 1.
    #[n(3)]
    pub episode: u32,
    #[n(4)]
    pub risk: Risk,
    #[n(5)]
    pub facts: Facts,
    /// The rule by which a firing that its sender dates before the problem's last status change
    /// opened it all the same; absent where the firing is the newer one.
    #[n(6)]
    pub rule: Option<String>,
    /// How often the problem occurred lately, this occurrence included.
    #[n(7)]
    pub frequency: Option<Frequency>,
    /// The rule that makes the risk higher than the alert's own; absent where it is as high.
    #[n(8)]
    pub raised_by: Option<String>,
    /// The rule by which the problem is flapping; absent while it is not.
    #[n(9)]
    pub flapping: Option<String>,
    /// The channel its sender asked for (R5), by id, in place of those the routes name.
    #[n(10)]
    pub channel: Option<String>,
}

/// The problem still fires.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Repeated {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub fingerprint: Fingerprint,
    #[n(2)]
    pub opening: Position,
    /// Occurrences in this episode, this one included.
    #[n(3)]
    pub occurrences: u64,
    /// How often the problem occurred lately, this occurrence included; absent for one that was
    /// counted before and is reported another way.
    #[n(4)]
    pub frequency: Option<Frequency>,
    /// The level of this alert; absent where its sender does not say it, and in events written
    /// before they told it.
    #[n(5)]
    pub level: Option<Level>,
    /// That level is higher than any of the episode before.
    #[n(6)]
    pub rise: Option<Box<Rise>>,
}

/// A problem is worse than it was so far in its episode.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Rise {
    /// The highest level before; absent where none was told.
    #[n(0)]
    pub before: Option<Level>,
    #[n(1)]
    pub risk_before: Risk,
    /// The incident's risk from here on: never lower than before, and as high as the same alert's
    /// `Escalated` makes it, where there is one.
    #[n(2)]
    pub risk: Risk,
    /// Facts of the alert; its level is the higher one.
    #[n(3)]
    pub facts: Facts,
}

/// The episode ended, or was suppressed at the sender.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Resolved {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub fingerprint: Fingerprint,
    #[n(2)]
    pub opening: Position,
    /// Occurrences in the episode.
    #[n(3)]
    pub occurrences: u64,
    #[n(4)]
    pub facts: Facts,
    /// The rule by which the problem is flapping; absent while it is not.
    #[n(5)]
    pub flapping: Option<String>,
}

/// A status change that was overtaken.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Stale {
    #[n(0)]
    pub fingerprint: Fingerprint,
    /// When the alert says its status changed.
    #[n(1)]
    pub status_at: Time,
    /// The problem's last status change, which is not earlier.
    #[n(2)]
    pub last_change: Time,
    /// The rule that decided.
    #[n(3)]
    pub rule: Option<String>,
}

/// An analyst's answer took effect.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Answered {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub opening: Position,
    #[n(2)]
    pub job: JobId,
    #[n(3)]
    pub reason: String,
    #[n(4)]
    pub prompt: String,
    #[n(5)]
    pub result: AnswerResult,
    /// The problem of its incident; absent in events written before they told it.
    #[n(6)]
    pub fingerprint: Option<Fingerprint>,
}

/// What the fold made of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Effect {
    #[n(0)]
    Opened,
    #[n(1)]
    Repeated,
    #[n(2)]
    Resolved,
    #[n(3)]
    Suppressed,
    /// Overtaken by a later status change.
    #[n(4)]
    Stale,
    /// The same occurrence, reported another way.
    #[n(5)]
    SameOccurrence,
    /// The sender sent the delivery again.
    #[n(6)]
    Redelivered,
    /// Resolved or ignored though nothing fired.
    #[n(7)]
    NothingToClose,
    /// Test or heartbeat: recorded, never an incident.
    #[n(8)]
    RecordedOnly,
}

impl Effect {
    /// R-is_duplicate: a redelivery, or a fold within the window that opened and advanced nothing.
    pub const fn is_duplicate(self) -> bool {
        match self {
            Self::Repeated | Self::SameOccurrence | Self::Redelivered | Self::Stale => true,
            Self::Opened
            | Self::Resolved
            | Self::Suppressed
            | Self::NothingToClose
            | Self::RecordedOnly => false,
        }
    }

    /// The word in tables and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Repeated => "repeated",
            Self::Resolved => "resolved",
            Self::Suppressed => "suppressed",
            Self::Stale => "stale",
            Self::SameOccurrence => "same_occurrence",
            Self::Redelivered => "redelivered",
            Self::NothingToClose => "nothing_to_close",
            Self::RecordedOnly => "recorded_only",
        }
    }
}

/// An alert, normalised, and what the fold made of it: one dossier row.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Observed {
    #[n(0)]
    pub alert: Alert,
    #[n(1)]
    pub record: RecordId,
    #[n(2)]
    pub received_at: Time,
    #[n(3)]
    pub fingerprint: Fingerprint,
    #[n(4)]
    pub fingerprint_version: u32,
    #[n(5)]
    pub recurrence_key: Fingerprint,
    #[n(6)]
    pub effect: Effect,
    /// The incident it belongs to.
    #[n(7)]
    pub incident: Option<IncidentId>,
    #[n(8)]
    pub opening: Option<Position>,
    /// SHA-256 of the raw body of the delivery.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub raw_sha256: [u8; 32],
    /// Length of the raw body of the delivery in bytes.
    #[n(10)]
    pub raw_length: u64,
    /// `webhook`, `chat` or `console`.
    #[n(11)]
    pub channel_type: String,
    /// The rule the fingerprint was made by; absent where it is version 1.
    #[n(12)]
    pub fingerprint_by: Option<FingerprintBy>,
    /// How often the problem occurred lately; absent for what is no further occurrence of one.
    #[n(13)]
    pub frequency: Option<Frequency>,
    /// Version of the provider that read it.
    #[n(14)]
    pub provider_version: Option<u32>,
}

/// What a rule made a fingerprint of, besides project, provider and environment.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FingerprintBy {
    /// The rule, as the document calls it.
    #[n(0)]
    pub rule: String,
    /// Each as `name=value`, or the one text of a template.
    #[n(1)]
    pub inputs: Vec<String>,
}

/// The outcome of a record that came from outside.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Settled {
    #[n(0)]
    pub record: RecordId,
    #[n(1)]
    pub outcome: Outcome,
    /// Why, for every outcome but `observed`.
    #[n(2)]
    pub reason: Option<String>,
    /// How many alerts were in it.
    #[n(3)]
    pub alerts: u32,
    #[n(4)]
    pub provider: String,
    #[n(5)]
    pub source: crate::SourceId,
    #[n(6)]
    pub received_at: Time,
    /// Where the record stands that this one redrives.
    #[n(7)]
    pub original: Option<Position>,
}

impl Event {
    /// Appends the CBOR form to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        crate::codec::append(self, out);
    }
}
