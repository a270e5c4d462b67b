//! Every stream, subject and header name: built and parsed here only.

use std::{fmt, num::NonZeroU16, str::FromStr};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ProjectId, id::NotAToken};

/// Prefix that isolates environments and tests on one NATS server; default `bw`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

impl Namespace {
    /// Checks and wraps; the alphabet is that of ids.
    pub fn new(text: impl Into<String>) -> Result<Self, NotAToken> {
        ProjectId::new(text).map(|token| Self(token.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("bw".into())
    }
}

impl TryFrom<String> for Namespace {
    type Error = NotAToken;

    fn try_from(text: String) -> Result<Self, NotAToken> {
        Self::new(text)
    }
}

impl From<Namespace> for String {
    fn from(ns: Namespace) -> String {
        ns.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The unit of order and of fold parallelism: sha256(project) mod the number of lanes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Lane(#[n(0)] pub u16);

impl Lane {
    /// The lane of a project: the first 8 bytes of SHA-256(project), big-endian, mod `lanes`.
    pub fn of(project: &ProjectId, lanes: NonZeroU16) -> Self {
        let digest = Sha256::digest(project.as_str().as_bytes());
        let mut head = [0u8; 8];
        head.copy_from_slice(&digest[..8]);
        Self((u64::from_be_bytes(head) % u64::from(lanes.get())) as u16)
    }

    /// Every lane of a log with `lanes` lanes.
    pub fn all(lanes: NonZeroU16) -> impl Iterator<Item = Self> {
        (0..lanes.get()).map(Self)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a record is appended: one lane, or `all`, which every lane reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneKey {
    Lane(Lane),
    All,
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lane(lane) => lane.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for LaneKey {
    type Err = UnknownSubject;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "all" => Ok(Self::All),
            _ => s.parse().map(|n| Self::Lane(Lane(n))).map_err(|_| UnknownSubject(s.to_owned())),
        }
    }
}

/// One fold of the log. The first live one is 1.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Generation(#[n(0)] pub i32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Class of an input subject: `d` is subject to retention, `c` (control) is kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Data,
    Control,
}

impl Class {
    /// The subject's last token.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Data => "d",
            Self::Control => "c",
        }
    }
}

/// A subject that is none of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown subject {0:?}")]
pub struct UnknownSubject(pub String);

/// Name of the one input stream.
pub fn deliveries_stream(ns: &Namespace) -> String {
    format!("{ns}-DELIVERIES")
}

/// Subject filter of the whole input stream.
pub fn deliveries_all(ns: &Namespace) -> String {
    format!("{ns}.deliveries.*.*")
}

/// Subject of one lane and class of the input stream.
pub fn deliveries(ns: &Namespace, lane: LaneKey, class: Class) -> String {
    format!("{ns}.deliveries.{lane}.{}", class.token())
}

/// What a lane's owner reads: its own subjects and those of `all`, in stream order.
pub fn lane_input(ns: &Namespace, lane: Lane) -> [String; 2] {
    [format!("{ns}.deliveries.{lane}.*"), format!("{ns}.deliveries.all.*")]
}

/// Takes an input subject apart.
pub fn parse_deliveries(ns: &Namespace, subject: &str) -> Result<(LaneKey, Class), UnknownSubject> {
    let unknown = || UnknownSubject(subject.to_owned());
    let rest = subject
        .strip_prefix(ns.as_str())
        .and_then(|s| s.strip_prefix(".deliveries."))
        .ok_or_else(unknown)?;
    let (lane, class) = rest.split_once('.').ok_or_else(unknown)?;
    let class = match class {
        "d" => Class::Data,
        "c" => Class::Control,
        _ => return Err(unknown()),
    };
    Ok((lane.parse().map_err(|_| unknown())?, class))
}

/// A channel of derived events. Each has exactly one writing stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventChannel {
    /// observe: what changed; read by notify and the projector.
    Decision,
    /// observe: each alert and each delivery's outcome; read by the projector.
    Alert,
    /// notify: what was planned or withheld, with the reason; read by the projector.
    Notice,
}

impl EventChannel {
    /// The stage that writes this channel.
    pub const fn stage(self) -> &'static str {
        match self {
            Self::Decision | Self::Alert => "observe",
            Self::Notice => "notify",
        }
    }

    /// The subject's last token.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Alert => "alert",
            Self::Notice => "notice",
        }
    }
}

impl FromStr for EventChannel {
    type Err = UnknownSubject;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "decision" => Ok(Self::Decision),
            "alert" => Ok(Self::Alert),
            "notice" => Ok(Self::Notice),
            _ => Err(UnknownSubject(s.to_owned())),
        }
    }
}

/// Name of a generation's event stream.
pub fn events_stream(ns: &Namespace, generation: Generation) -> String {
    format!("{ns}-EVENTS-{generation}")
}

/// Subject filter of a generation's whole event stream.
pub fn events_all(ns: &Namespace, generation: Generation) -> String {
    format!("{ns}.events.{generation}.>")
}

/// Subject of one channel of one lane.
pub fn events(ns: &Namespace, generation: Generation, lane: Lane, channel: EventChannel) -> String {
    format!("{ns}.events.{generation}.{lane}.{}.{}", channel.stage(), channel.token())
}

/// What one stage writes in one lane; the subject filter its publishes are fenced by.
pub fn events_of_stage(ns: &Namespace, generation: Generation, lane: Lane, stage: &str) -> String {
    format!("{ns}.events.{generation}.{lane}.{stage}.*")
}

/// The channel of an event subject.
pub fn parse_events(ns: &Namespace, subject: &str) -> Result<(Lane, EventChannel), UnknownSubject> {
    let unknown = || UnknownSubject(subject.to_owned());
    let rest = subject
        .strip_prefix(ns.as_str())
        .and_then(|s| s.strip_prefix(".events."))
        .ok_or_else(unknown)?;
    let mut tokens = rest.split('.');
    let (Some(_generation), Some(lane), Some(stage), Some(channel), None) =
        (tokens.next(), tokens.next(), tokens.next(), tokens.next(), tokens.next())
    else {
        return Err(unknown());
    };
    let lane = lane.parse().map(Lane).map_err(|_| unknown())?;
    let channel: EventChannel = channel.parse().map_err(|_| unknown())?;
    if channel.stage() == stage { Ok((lane, channel)) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_parse_back_to_what_built_them() {
        let ns = Namespace::default();
        for lane in [LaneKey::All, LaneKey::Lane(Lane(3))] {
            for class in [Class::Data, Class::Control] {
                let subject = deliveries(&ns, lane, class);
                assert_eq!(parse_deliveries(&ns, &subject), Ok((lane, class)));
            }
        }
        for channel in [EventChannel::Decision, EventChannel::Alert, EventChannel::Notice] {
            let subject = events(&ns, Generation(1), Lane(2), channel);
            assert_eq!(parse_events(&ns, &subject), Ok((Lane(2), channel)));
        }
        assert!(parse_deliveries(&ns, "xx.deliveries.0.d").is_err());
        assert!(parse_events(&ns, "bw.events.1.0.observe.notice").is_err());
    }

    #[test]
    fn a_project_keeps_its_lane() {
        let lanes = NonZeroU16::new(4).unwrap();
        // Golden: the lane of a project is part of every key below it.
        let got: Vec<u16> = ["default", "payments", "search"]
            .iter()
            .map(|p| Lane::of(&ProjectId::new(*p).unwrap(), lanes).0)
            .collect();
        assert_eq!(format!("{got:?}"), include_str!("../fixtures/v1/lanes.txt").trim());
    }
}
