//! What stands in the input log: one entry is a record.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{
    CodecError, IncidentId, JobId, Position, ProjectId, RecordId, SourceId, Time,
    job::{AnswerResult, SendResult},
};

/// The newest record format this binary writes and reads.
pub const RECORD_VERSION: u32 = 1;

/// One entry of the input log.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    #[n(0)]
    pub version: u32,
    #[n(1)]
    pub id: RecordId,
    /// When the appending process received or made it, by its own clock.
    #[n(2)]
    pub received_at: Time,
    /// The tenant it belongs to; absent when it concerns every project.
    #[n(3)]
    pub project: Option<ProjectId>,
    /// Reserved for encryption at rest: the key the body is encrypted under; absent means clear.
    #[n(4)]
    pub key: Option<u32>,
    /// W3C `traceparent` of the request or job that made it.
    #[n(5)]
    pub trace: Option<String>,
    #[n(6)]
    pub body: Body,
}

/// The kinds of record (DESIGN: delivery, command, answer, outcome, tick, redrive, control).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Body {
    /// One authenticated inbound request.
    #[n(0)]
    Delivery(#[n(0)] Box<Delivery>),
    /// What an operator asked for.
    #[n(1)]
    Command(#[n(0)] Box<Command>),
    /// What an analyst said.
    #[n(2)]
    Answer(#[n(0)] Box<Answer>),
    /// What became of a send.
    #[n(3)]
    Outcome(#[n(0)] Box<SendOutcome>),
    /// The clock of the folds.
    #[n(4)]
    Tick(#[n(0)] Tick),
    /// "Apply that record again, here."
    #[n(5)]
    Redrive(#[n(0)] Redrive),
    /// What is in force from here on: rules, incident numbers, promotions, keys, switches.
    #[n(6)]
    Control(#[n(0)] Box<Control>),
}

/// One authenticated inbound request: kept headers and the raw bytes (invariant I8: they exist
/// here and nowhere else).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Delivery {
    /// Registry name of the provider.
    #[n(0)]
    pub provider: String,
    #[n(1)]
    pub source: SourceId,
    /// The route it came in by, without query or credentials.
    #[n(2)]
    pub route: String,
    /// Kept headers: lower-case name and value, only those on the provider's list.
    #[n(3)]
    pub headers: Vec<(String, String)>,
    /// The client's address as far as it can be trusted.
    #[n(4)]
    pub remote: Option<String>,
    #[n(5)]
    pub auth: Auth,
    /// The body as received; all signatures hold for exactly these bytes.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub raw: Vec<u8>,
    /// SHA-256 of `raw`.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub sha256: [u8; 32],
    /// Content type as the sender stated it.
    #[n(8)]
    pub content_type: Option<String>,
    /// The configured channel its sender asked for (R5), by id. What it was asked by may be a
    /// credential, and is not kept.
    #[n(9)]
    pub channel: Option<String>,
    /// Why it is recorded and read by nobody, where whoever accepted it knows that it is no alert to
    /// tell of: one word, as the outcome gives it.
    #[n(10)]
    pub recorded: Option<String>,
}

impl Delivery {
    /// The kept header `name` (lower-case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// How the request proved where it comes from.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Auth {
    /// `hmac_sha256`, `basic`, `bearer`, `skipped_dev`, ...
    #[n(0)]
    pub method: String,
    /// Which of the source's credentials matched: `current`, `previous`, or a key's id.
    #[n(1)]
    pub credential: Option<String>,
}

/// How a command from a chat is known to come from its sender: the chat says so, and that the
/// sender may do it is for the fold to say.
pub const CHAT: &str = "chat";

/// What an operator asked for, authorised or not; the fold decides and says so.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Command {
    /// Who: an operator's id; of a chat (`auth_method` [`CHAT`]) `<provider>:<id of the user there>`.
    #[n(0)]
    pub operator: String,
    /// How that is known. The console's own methods carry its verdict: the operator may do it.
    #[n(1)]
    pub auth_method: String,
    /// `ack`, `resolve`, `silence`, ...
    #[n(2)]
    pub verb: String,
    /// The opening position of the incident it is about.
    #[n(3)]
    pub opening: Option<Position>,
    /// Further arguments as JSON text.
    #[n(4)]
    pub arguments: String,
}

/// What an analyst said, with all it was told (invariant I7: recorded once, replay asks nobody).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Answer {
    #[n(0)]
    pub job: JobId,
    #[n(1)]
    pub incident: IncidentId,
    #[n(2)]
    pub opening: Position,
    /// `open`, `escalate`, `request n`, `reject n`.
    #[n(3)]
    pub reason: String,
    /// Hash that names the prompt version.
    #[n(4)]
    pub prompt: String,
    /// The whole input, redacted, as JSON text.
    #[n(5)]
    pub input: String,
    #[n(6)]
    pub result: AnswerResult,
}

/// What became of a send.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct SendOutcome {
    #[n(0)]
    pub job: JobId,
    #[n(1)]
    pub incident: Option<IncidentId>,
    #[n(2)]
    pub target: String,
    #[n(3)]
    pub channel: String,
    /// The word of its [`crate::job::SendKind`].
    #[n(4)]
    pub kind: String,
    /// Opening position or digest key, as text.
    #[n(5)]
    pub subject: String,
    #[n(6)]
    pub trigger: Position,
    #[n(7)]
    pub attempts: u32,
    #[n(8)]
    pub result: SendResult,
}

/// The clock of the folds: appended every few seconds by the live owner of observe.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Tick {
    /// Postgres's `now()` when the tick was made.
    #[n(0)]
    pub now: Time,
}

/// "Apply that record again, here." Its trigger is its own position.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Redrive {
    #[n(0)]
    pub original: Position,
    #[n(1)]
    pub operator: String,
    /// The original record as it stands there: exactly one CBOR item. It may be gone by the time
    /// this one is folded.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub record: Option<Vec<u8>>,
}

/// What is in force from its position on.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Control {
    /// A rules document (TOML text), named by its hash.
    #[n(0)]
    Rules(#[n(0)] RulesDocument),
    /// The number an incident was given; in no fold, loaded by a rebuild from nothing.
    #[n(1)]
    IncidentNumber(#[n(0)] IncidentNumber),
    /// The switch of the active generation.
    #[n(2)]
    Promote(#[n(0)] Promote),
    /// What became of a sender's key.
    #[n(3)]
    Key(#[n(0)] KeyChange),
    /// A source is switched off, or on again.
    #[n(4)]
    SourceSwitch(#[n(0)] SourceSwitch),
    /// Which operator a user of a chat is, from here on.
    #[n(5)]
    ChatOperator(#[n(0)] ChatOperator),
    /// A silence begins, is changed, or ends before its time.
    #[n(6)]
    Silence(#[n(0)] SilenceChange),
}

/// What became of a silence. It concerns the record's project, or all where it has none.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SilenceChange {
    /// What the silence is known by.
    #[n(0)]
    pub id: String,
    /// As it is from here on; absent: it is over.
    #[n(1)]
    pub silence: Option<Silence>,
    /// Who changed it.
    #[n(2)]
    pub operator: String,
}

/// Whoever matches is told to nobody for a while.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Silence {
    /// All of them match.
    #[n(0)]
    pub matchers: Vec<Matcher>,
    /// Lane time from which it holds; absent: from its record on.
    #[n(1)]
    pub starts_at: Option<Time>,
    /// Lane time at which it is over.
    #[n(2)]
    pub ends_at: Time,
    /// Whom to ask about it.
    #[n(3)]
    pub owner: String,
    #[n(4)]
    pub reason: String,
}

/// What a fact of an alert has to be; Alertmanager's four operators.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Matcher {
    /// A label, or a field of the alert: `alertname`, `severity`, `environment`, ...
    #[n(0)]
    pub name: String,
    #[n(1)]
    pub operator: MatchOperator,
    #[n(2)]
    pub value: String,
}

/// How a value is compared. What is absent counts as empty; expressions match the whole value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
pub enum MatchOperator {
    #[n(0)]
    #[serde(rename = "=")]
    Equal,
    #[n(1)]
    #[serde(rename = "!=")]
    NotEqual,
    #[n(2)]
    #[serde(rename = "=~")]
    Regex,
    #[n(3)]
    #[serde(rename = "!~")]
    NotRegex,
}

impl MatchOperator {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A rules document.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct RulesDocument {
    #[n(0)]
    pub hash: String,
    #[n(1)]
    pub text: String,
    #[n(2)]
    pub operator: String,
}

/// INC-YYYYMMDD-NNN: unique per project and day, in the order of opening.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct IncidentNumber {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub opening: Position,
    /// `YYYYMMDD` in the configured zone.
    #[n(2)]
    pub day: String,
    #[n(3)]
    pub number: u32,
}

/// The switch of the active generation.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Promote {
    #[n(0)]
    pub from: crate::Generation,
    #[n(1)]
    pub to: crate::Generation,
    #[n(2)]
    pub operator: String,
}

/// What became of a sender's key (R11). The key itself is nowhere.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct KeyChange {
    /// What the key is called in records, logs and commands; never used again.
    #[n(0)]
    pub id: String,
    #[n(1)]
    pub scope: KeyScope,
    #[n(2)]
    pub event: KeyEvent,
    #[n(3)]
    pub operator: String,
}

/// What a key lets in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum KeyScope {
    /// Deliveries of one source.
    #[n(0)]
    Source(#[n(0)] SourceId),
    /// Deliveries of any source of one project.
    #[n(1)]
    Project(#[n(0)] ProjectId),
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum KeyEvent {
    /// It holds from here on. Of those before it of the same scope, the newest holds until
    /// `previous_until` and older ones no more: at most two hold at a time.
    #[n(0)]
    Created {
        /// SHA-256 of the key as the sender shows it.
        #[cbor(n(0), with = "minicbor::bytes")]
        sha256: [u8; 32],
        #[n(1)]
        previous_until: Time,
    },
    /// It holds no more, for good.
    #[n(1)]
    Revoked,
}

/// A source is switched off, or on again: while it is off, nothing it is sent is let in.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct SourceSwitch {
    #[n(0)]
    pub source: SourceId,
    #[n(1)]
    pub on: bool,
    #[n(2)]
    pub operator: String,
}

/// Which operator a user of a chat is. The last one of a user is in force.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ChatOperator {
    /// `<provider>:<id of the user there>`, as commands of a chat name their sender.
    #[n(0)]
    pub user: String,
    /// The operator that user is; what the user asks for is done in this name.
    #[n(1)]
    pub operator: String,
    /// The projects whose incidents the user may act on; absent: all of them.
    #[n(2)]
    pub projects: Option<Vec<ProjectId>>,
    /// The user is nobody's any more.
    #[n(3)]
    pub removed: bool,
    /// Who said so.
    #[n(4)]
    pub by: String,
    /// The source whose user it is: another workspace has users of its own, and may call one of them
    /// the same. Absent: whichever source of the provider the user is heard of at. The one of a source
    /// goes before.
    #[n(5)]
    pub source: Option<SourceId>,
}

impl Record {
    /// A record in the current format.
    pub fn new(id: RecordId, received_at: Time, project: Option<ProjectId>, body: Body) -> Self {
        Self { version: RECORD_VERSION, id, received_at, project, key: None, trace: None, body }
    }

    /// Appends the CBOR form to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        crate::codec::append(self, out);
    }

    /// Reads one record; `bytes` is exactly one CBOR item.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let record: Self = minicbor::decode(bytes)
            .map_err(|e| CodecError::Decode { what: "record", detail: e.to_string() })?;
        if record.version > RECORD_VERSION {
            return Err(CodecError::Newer {
                what: "record",
                found: record.version,
                known: RECORD_VERSION,
            });
        }
        Ok(record)
    }

    /// The word the ledger counts records of this kind under when they are not alerts.
    pub const fn kind(&self) -> &'static str {
        match self.body {
            Body::Delivery(_) => "delivery",
            Body::Command(_) => "command",
            Body::Answer(_) => "answer",
            Body::Outcome(_) => "outcome",
            Body::Tick(_) => "tick",
            Body::Redrive(_) => "redrive",
            Body::Control(_) => "control",
        }
    }
}
