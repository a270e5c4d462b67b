//! What happens to an incident between its opening and its end.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{Fingerprint, IncidentId, Position, Time, alert::Risk, job::ReplyTo};

/// How often a problem recurs (R27), from calm to bad.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EscalationLevel {
    #[default]
    #[n(0)]
    None,
    #[n(1)]
    Repeat,
    #[n(2)]
    Escalate,
    #[n(3)]
    PermanentFix,
}

impl EscalationLevel {
    /// The word in tables, messages and pages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Repeat => "REPEAT",
            Self::Escalate => "ESCALATE",
            Self::PermanentFix => "PERMANENT_FIX",
        }
    }
}

/// How often a problem occurred, on lane time: the sources' `anomaly_frequency` (R27).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(array)]
pub struct Frequency {
    /// Occurrences in the last hour, this one included.
    #[n(0)]
    pub count_1h: u64,
    #[n(1)]
    pub count_24h: u64,
    #[n(2)]
    pub count_7d: u64,
    /// The highest level of the incident so far.
    #[n(3)]
    #[serde(rename = "escalation_level")]
    pub level: EscalationLevel,
}

/// A problem recurs so often that its incident is raised (R27, R28).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Escalated {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub fingerprint: Fingerprint,
    #[n(2)]
    pub opening: Position,
    /// The level before; `frequency` has the one it rose to.
    #[n(3)]
    pub before: EscalationLevel,
    /// The counts that raised it.
    #[n(4)]
    pub frequency: Frequency,
    #[n(5)]
    pub risk_before: Risk,
    /// Never lower than before.
    #[n(6)]
    pub risk: Risk,
    /// The rule that decided.
    #[n(7)]
    pub rule: String,
    /// Reason of the triage call it asks for; absent where one was asked for before.
    #[n(8)]
    pub triage: Option<String>,
}

/// Nothing was heard of a problem for so long that its episode counts as over (R70). Nobody said
/// that it is.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Expired {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub fingerprint: Fingerprint,
    #[n(2)]
    pub opening: Position,
    /// Occurrences in the episode.
    #[n(3)]
    pub occurrences: u64,
    /// Lane time of its last report.
    #[n(4)]
    pub last_seen: Time,
    /// Seconds of lane time without a report after which it is over.
    #[n(5)]
    pub after_seconds: i64,
    /// The rule that decided.
    #[n(6)]
    pub rule: String,
}

/// Where an incident stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// Nobody has it.
    #[n(0)]
    Open,
    /// An operator has it.
    #[n(1)]
    Acknowledged,
    /// An operator confirmed its diagnosis.
    #[n(2)]
    Confirmed,
    /// It was handed on to others.
    #[n(3)]
    HandedOff,
    /// An operator opened it again, and nobody has it.
    #[n(4)]
    Reopened,
    /// Its sender or an operator says that it is over.
    #[n(5)]
    Resolved,
    /// Its sender ignores it until it reappears.
    #[n(6)]
    Suppressed,
    /// Nothing was heard of it any more.
    #[n(7)]
    Expired,
    /// It is over, and a later episode of its problem has an incident of its own.
    #[n(8)]
    Superseded,
}

impl IncidentState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Open,
        Self::Acknowledged,
        Self::Confirmed,
        Self::HandedOff,
        Self::Reopened,
        Self::Resolved,
        Self::Suppressed,
        Self::Expired,
        Self::Superseded,
    ];

    /// The word in tables and pages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Confirmed => "confirmed",
            Self::HandedOff => "handed_off",
            Self::Reopened => "reopened",
            Self::Resolved => "resolved",
            Self::Suppressed => "suppressed",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
        }
    }

    /// The state of that name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether its episode is over.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Resolved | Self::Suppressed | Self::Expired | Self::Superseded => true,
            Self::Open
            | Self::Acknowledged
            | Self::Confirmed
            | Self::HandedOff
            | Self::Reopened => false,
        }
    }
}

/// An operator's command took effect, or was true already: then it changed nothing (R17).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Applied {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub fingerprint: Fingerprint,
    #[n(2)]
    pub opening: Position,
    #[n(3)]
    pub verb: String,
    /// Who asked for it, and how that is known (R47).
    #[n(4)]
    pub actor: String,
    #[n(5)]
    pub auth_method: String,
    #[n(6)]
    pub before: IncidentState,
    #[n(7)]
    pub after: IncidentState,
    /// False where the command found what it asks for done.
    #[n(8)]
    pub changed: bool,
    /// The command's arguments as JSON text, redacted.
    #[n(9)]
    pub arguments: String,
    /// Reason of the triage call it asks for.
    #[n(10)]
    pub triage: Option<String>,
    /// Where whoever asked for it in a chat is answered.
    #[n(11)]
    pub reply: Option<ReplyTo>,
    /// Reason of the triage whose diagnosis stood when it was asked for; of verbs that are about the
    /// diagnosis, or about what was told of it.
    #[n(12)]
    pub diagnosis: Option<String>,
}

/// An operator's command or redrive took no effect.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Refused {
    /// The incident it is about; absent where there is none of that opening.
    #[n(0)]
    pub incident: Option<IncidentId>,
    /// The position it names.
    #[n(1)]
    pub opening: Option<Position>,
    #[n(2)]
    pub verb: String,
    #[n(3)]
    pub actor: String,
    #[n(4)]
    pub auth_method: String,
    /// `unknown_incident`, `unknown_verb`, ...
    #[n(5)]
    pub reason: String,
    /// Where whoever asked for it in a chat is answered.
    #[n(6)]
    pub reply: Option<ReplyTo>,
}
