//! What a job row asks for and what came of it. Job rows hold these as CBOR.

mod triage;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{
    Facts, IncidentId, JobId, Level, Position, ProjectId, SourceId, Time,
    alert::Risk,
    event::{Cause, Frequency, IncidentState},
    id,
};

pub use triage::{Analysis, AnswerResult, Rejection, RunbookEntry, Similar, TriageJob, Usage};

impl JobId {
    /// The id of the message for (project, target, kind, subject, trigger): what nothing is told
    /// twice under (I6), in any generation.
    pub fn send(
        project: &ProjectId,
        target: &str,
        kind: SendKind,
        subject: &str,
        trigger: Position,
    ) -> Self {
        Self(id::hash(&[
            project.as_str().as_bytes(),
            target.as_bytes(),
            kind.word().as_bytes(),
            subject.as_bytes(),
            trigger.to_string().as_bytes(),
        ]))
    }
}

/// A message that is asked for: one per (project, target, kind, subject, trigger).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct SendJob {
    #[n(0)]
    pub project: ProjectId,
    /// The incident; of a summary or a reply an id derived from its subject.
    #[n(1)]
    pub incident: IncidentId,
    /// The incident's opening position, the key of a summary, or the position of what is replied
    /// to. All sends of one subject to one target are about one message there.
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
    /// How often the problem occurred lately.
    #[n(11)]
    pub frequency: Option<Frequency>,
    /// Why the incident was opened.
    #[n(12)]
    pub cause: Option<Cause>,
    /// Where the incident stands; absent while nobody did anything with it.
    #[n(13)]
    pub standing: Option<Standing>,
    /// What a summary says.
    #[n(14)]
    pub summary: Option<Box<Summary>>,
    /// What a reply says, and where.
    #[n(15)]
    pub reply: Option<Box<Reply>>,
    /// Marks the policy puts on it, like `environment:testing`.
    #[n(16)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Where an incident stands, and who brought it there.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Standing {
    #[n(0)]
    pub state: IncidentState,
    /// The operator's last verb (`ack`, `silence`, ...) and name; absent where no operator did it.
    #[n(1)]
    pub verb: Option<String>,
    #[n(2)]
    pub actor: Option<String>,
    /// Lane time of the last change.
    #[n(3)]
    pub at: Time,
    /// Nobody is told of it until this lane time.
    #[n(4)]
    pub silenced_until: Option<Time>,
    /// Times it reappeared, or was told again, within the hour of its message (R43).
    #[n(5)]
    #[cbor(default)]
    pub folded: u64,
    /// Its level rose while it fired; absent where it did not.
    #[n(6)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rose: Option<Rose>,
}

/// How the level of an incident rose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Rose {
    /// The level people were told of before, or would have been; absent where there was none.
    #[n(0)]
    pub from: Option<Level>,
    /// The highest level so far.
    #[n(1)]
    pub to: Level,
    /// This message is there to say so; later ones show it.
    #[n(2)]
    pub news: bool,
}

/// Why several incidents stand in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum SummaryReason {
    /// They belong together and came within the route's wait.
    #[n(0)]
    Bundle,
    /// The policy tells of them once an hour.
    #[n(1)]
    Hourly,
    /// The policy tells of them once a day.
    #[n(2)]
    Daily,
    /// Too many new problems at once: one message for all of them, edited while it grows.
    #[n(3)]
    Storm,
}

impl SummaryReason {
    /// The word in keys, tables and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Storm => "storm",
        }
    }
}

/// One message about several incidents.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Summary {
    #[n(0)]
    pub reason: SummaryReason,
    /// What it is known by; `alert-group:<key>` in the pages (R48).
    #[n(1)]
    pub key: String,
    /// Lane time of the first and the last alert in it.
    #[n(2)]
    pub since: Time,
    #[n(3)]
    pub until: Time,
    /// All incidents and alerts it counts.
    #[n(4)]
    pub incidents: u64,
    #[n(5)]
    pub alerts: u64,
    /// What they have in common: names and values of the route's `group_by`.
    #[n(6)]
    pub group: Vec<(String, String)>,
    /// The first of them, worst first.
    #[n(7)]
    pub items: Vec<SummaryItem>,
}

/// One incident in a summary.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct SummaryItem {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub opening: Position,
    #[n(2)]
    pub provider: String,
    #[n(3)]
    pub title: String,
    #[n(4)]
    pub level: Option<Level>,
    #[n(5)]
    pub environment: Option<String>,
    /// Alerts of it since the summary before.
    #[n(6)]
    pub alerts: u64,
    #[n(7)]
    pub state: IncidentState,
}

/// An answer to somebody in a chat.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Reply {
    #[n(0)]
    pub to: ReplyTo,
    /// What was asked for: `ack`, `help`, `status`, ...
    #[n(1)]
    pub verb: String,
    /// Its arguments as JSON text.
    #[n(2)]
    pub arguments: String,
    /// The operator, or who the chat says it is.
    #[n(3)]
    pub actor: String,
    /// Why it was not done; absent where it was.
    #[n(4)]
    pub refused: Option<String>,
}

/// Where an answer belongs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct ReplyTo {
    /// The provider and the source it was asked at.
    #[n(0)]
    pub provider: String,
    #[n(1)]
    pub source: SourceId,
    /// The chat there, and the message in it that asks.
    #[n(2)]
    pub chat: Option<String>,
    #[n(3)]
    pub message: Option<String>,
    /// The record that asks: credentials for an answer stand nowhere else (I8).
    #[n(4)]
    pub at: Position,
    /// The message is one of ours, which shows its incident: no answer may take its place.
    #[n(5)]
    #[cbor(default, skip_if = "std::ops::Not::not")]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ours: bool,
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
    /// What was told before changed: edited where the channel can, else told where it matters.
    #[n(2)]
    Update,
    /// It fires and nobody has it.
    #[n(3)]
    Remind,
    /// Several incidents in one message.
    #[n(4)]
    Summary,
    /// Somebody tries whether messages arrive (R18).
    #[n(5)]
    Test,
    /// An answer to somebody in a chat.
    #[n(6)]
    Reply,
}

impl SendKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Fire,
        Self::Resolve,
        Self::Update,
        Self::Remind,
        Self::Summary,
        Self::Test,
        Self::Reply,
    ];

    /// The word in keys, tables and pages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fire => "fire",
            Self::Resolve => "resolve",
            Self::Update => "update",
            Self::Remind => "remind",
            Self::Summary => "summary",
            Self::Test => "test",
            Self::Reply => "reply",
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
    /// There was nothing to tell by then, and why.
    #[n(4)]
    NotNeeded(#[n(0)] String),
}

impl SendResult {
    /// The word in tables, metrics and pages.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::AlreadyTold => "already_told",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
            Self::NotNeeded(_) => "not_needed",
        }
    }
}
