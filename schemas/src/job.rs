//! What a job row asks for and what came of it. Job rows hold these as CBOR.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{Facts, IncidentId, JobId, Position, ProjectId, Time, alert::Risk, id};

/// A triage call that is asked for: one per (opening position, reason).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct TriageJob {
    #[n(0)]
    pub project: ProjectId,
    #[n(1)]
    pub incident: IncidentId,
    #[n(2)]
    pub opening: Position,
    /// `open`, `escalate`, `request n`, `reject n`.
    #[n(3)]
    pub reason: String,
    /// Facts of the alert that opened the incident, or raised it; absent where they are gone.
    #[n(4)]
    pub facts: Option<Facts>,
}

impl JobId {
    /// The id of the triage call for (opening position, reason); also the run id on the pages.
    pub fn triage(opening: Position, reason: &str) -> Self {
        Self(id::hash(&[opening.to_string().as_bytes(), b"triage", reason.as_bytes()]))
    }
}

/// A message that is asked for: one per (project, target, kind, subject, trigger).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct SendJob {
    #[n(0)]
    pub project: ProjectId,
    #[n(1)]
    pub incident: IncidentId,
    /// The incident's opening position; with digests the digest key.
    #[n(2)]
    pub subject: String,
    #[n(3)]
    pub opening: Position,
    #[n(4)]
    pub kind: SendKind,
    /// Id of the configured channel.
    #[n(5)]
    pub target: String,
    #[n(6)]
    pub facts: Facts,
    #[n(7)]
    pub risk: Risk,
    /// The rule that decided, and the rules document it stands in.
    #[n(8)]
    pub rule: String,
    #[n(9)]
    pub rules: String,
    /// Lane time at which it was decided.
    #[n(10)]
    pub planned_at: Time,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum SendKind {
    /// A problem fires.
    #[n(0)]
    Fire,
    /// Its episode is over.
    #[n(1)]
    Resolve,
}

impl SendKind {
    /// The word in keys, tables and pages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fire => "fire",
            Self::Resolve => "resolve",
        }
    }
}

/// What became of a send.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum SendResult {
    /// The provider took it; with its message id where it gives one.
    #[n(0)]
    Delivered(#[n(0)] Option<String>),
    /// Another job told the same before.
    #[n(1)]
    AlreadyTold,
    /// The provider refuses it for good.
    #[n(2)]
    Refused(#[n(0)] String),
    /// It may or may not have arrived, and asking again could tell twice.
    #[n(3)]
    Unknown(#[n(0)] String),
}

impl SendResult {
    /// The word in tables, metrics and pages.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::AlreadyTold => "already_told",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What an analyst said of an incident (R29). Defaults are the source's own words.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Analysis {
    #[n(0)]
    pub root_cause: String,
    #[n(1)]
    pub impact: String,
    #[n(2)]
    pub fix_suggestion: String,
    #[n(3)]
    pub prevention: String,
    /// 0 to 1.
    #[n(4)]
    pub confidence: f64,
    /// The analyst that answered: `openclaw`, `playbook`, ...
    #[n(5)]
    pub analyzed_by: String,
    /// The model, when one answered.
    #[n(6)]
    pub model: Option<String>,
}

/// The end of a triage job.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct AnswerResult {
    /// Absent when every analyst failed: the incident stays `pending`.
    #[n(0)]
    pub analysis: Option<Analysis>,
    /// Each analyst that was asked, and how it ended (`answered`, `timeout`, `status 500`, ...).
    #[n(1)]
    pub attempts: Vec<(String, String)>,
    /// From first call to last, in milliseconds.
    #[n(2)]
    pub latency_ms: u64,
}
