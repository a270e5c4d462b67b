//! What a triage call is asked with, and what is said of an incident.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{
    Facts, Fingerprint, IncidentId, JobId, Position, ProjectId, Time, event::Frequency, id,
};

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
    /// How often the problem occurred lately.
    #[n(5)]
    pub frequency: Option<Frequency>,
    /// Entries of the playbook that match, under the rules in force when it was asked.
    #[n(6)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub runbook: Vec<RunbookEntry>,
    /// The diagnosis that is not believed, where that is the reason.
    #[n(7)]
    pub rejection: Option<Rejection>,
    /// The problem it is about; absent in jobs of before it was asked with.
    #[n(8)]
    pub fingerprint: Option<Fingerprint>,
}

impl TriageJob {
    /// Asks about an incident and its facts alone.
    pub fn new(
        project: ProjectId,
        incident: IncidentId,
        opening: Position,
        reason: impl Into<String>,
        facts: Option<Facts>,
    ) -> Self {
        Self {
            project,
            incident,
            opening,
            reason: reason.into(),
            facts,
            frequency: None,
            runbook: Vec::new(),
            rejection: None,
            fingerprint: None,
        }
    }
}

impl JobId {
    /// The id of the triage call for (opening position, reason); also the run id on the pages.
    pub fn triage(opening: Position, reason: &str) -> Self {
        Self(id::hash(&[opening.to_string().as_bytes(), b"triage", reason.as_bytes()]))
    }
}

/// What the playbook says of alerts of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct RunbookEntry {
    /// What it is called by.
    #[n(0)]
    pub id: String,
    #[n(1)]
    pub cause: String,
    #[n(2)]
    pub impact: String,
    /// What to look at first, in order.
    #[n(3)]
    pub checks: Vec<String>,
    #[n(4)]
    pub fix: String,
    #[n(5)]
    pub prevention: String,
    /// Who knows more.
    #[n(6)]
    pub owner: Option<String>,
    /// Where more is written.
    #[n(7)]
    pub link: Option<String>,
    /// How sure its author is, in percent.
    #[n(8)]
    #[cbor(default)]
    pub confidence_percent: u8,
}

/// A diagnosis that an operator does not believe.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Rejection {
    /// What was rejected; absent where nothing had been said.
    #[n(0)]
    pub analysis: Option<Analysis>,
    #[n(1)]
    pub operator: String,
    /// Why, in the operator's own words.
    #[n(2)]
    pub note: Option<String>,
}

/// A past incident of the same project whose diagnosis an operator confirmed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Similar {
    /// `INC-YYYYMMDD-NNN`.
    pub number: String,
    pub title: String,
    /// When it was opened and when it ended.
    pub opened: Time,
    pub ended: Option<Time>,
    /// It was of the very same problem, not only of one like it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub same_problem: bool,
    pub diagnosis: Analysis,
}

/// What an analyst said of an incident (R29). Defaults are the source's own words.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode, Serialize, Deserialize)]
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
    /// The lines of the input it rests on, as the analyst repeats them; at most 5.
    #[n(7)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// The analyst says that what it was told does not suffice.
    #[n(8)]
    #[cbor(default, skip_if = "std::ops::Not::not")]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inconclusive: bool,
    /// Version of the prompt that was answered: 16 hex digits; absent where there was none.
    #[n(9)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// The end of a triage job.
///
/// Job rows hold one with what was told beside it, in fields 3 and 4: these numbers are taken.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct AnswerResult {
    /// Absent when every analyst failed: the incident stays `pending`.
    #[n(0)]
    pub analysis: Option<Analysis>,
    /// Each analyst that was asked, and how it ended: `answered`, or the name of the failure and what
    /// there is to say of it (`server_error: status 500`).
    #[n(1)]
    pub attempts: Vec<(String, String)>,
    /// From first call to last, in milliseconds.
    #[n(2)]
    pub latency_ms: u64,
    /// What each analyst that was asked cost.
    #[n(5)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub usage: Vec<Usage>,
}

/// What asking one analyst took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Usage {
    #[n(0)]
    pub analyst: String,
    #[n(1)]
    pub model: Option<String>,
    /// Requests made.
    #[n(2)]
    pub calls: u32,
    /// Tokens as the other side counts them, else as they are estimated.
    #[n(3)]
    pub tokens_in: u64,
    #[n(4)]
    pub tokens_out: u64,
    /// Millionths of the currency that prices are configured in.
    #[n(5)]
    pub cost_micros: u64,
    #[n(6)]
    pub latency_ms: u64,
}
