//! Who is told and who is not, and what somebody asks for to be told.

use minicbor::{Decode, Encode};

use crate::{
    Facts, IncidentId, Position, RecordId,
    job::{ReplyTo, SendKind},
};

/// A message was planned for a receiver.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Planned {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub opening: Position,
    #[n(2)]
    pub kind: SendKind,
    /// The receiver the route names.
    #[n(3)]
    pub receiver: String,
    /// The rule that decided.
    #[n(4)]
    pub rule: String,
    /// The summary it is told in.
    #[n(5)]
    pub summary: Option<String>,
    /// Why people are told of what they were told of before: `level_rose`, `silence_over`,
    /// `still_fires`; absent where the rule says it all.
    #[n(6)]
    pub reason: Option<String>,
}

/// A message was not planned.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Withheld {
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub opening: Position,
    /// Why: `repeat`, `resolve_without_fire`, ...
    #[n(2)]
    pub reason: String,
    /// The rule that decided.
    #[n(3)]
    pub rule: String,
    /// The key of the summary it is going to be told in; absent: it is not going to be told.
    #[n(4)]
    pub summary: Option<String>,
    /// What decided besides the rule: the silence, the incident that inhibits, ...
    #[n(5)]
    pub by: Option<String>,
}

/// Somebody in a chat asked for what changes nothing: `help`, `status`, `top`, `why`.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Asked {
    /// The incident it is about.
    #[n(0)]
    pub incident: Option<IncidentId>,
    #[n(1)]
    pub opening: Option<Position>,
    #[n(2)]
    pub verb: String,
    /// As JSON text, redacted.
    #[n(3)]
    pub arguments: String,
    #[n(4)]
    pub actor: String,
    #[n(5)]
    pub to: ReplyTo,
}

/// Somebody tries whether messages arrive.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Tested {
    #[n(0)]
    pub record: RecordId,
    #[n(1)]
    pub facts: Facts,
    /// The one channel that is tried, by id; absent: whoever the routes name.
    #[n(2)]
    pub channel: Option<String>,
}
