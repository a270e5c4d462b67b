//! The message events travel in.

use minicbor::Decoder;

use super::{EVENT_VERSION, Event};
use crate::{CodecError, InputPosition, subject::EventChannel};

/// Which part of which batch a message of events is. Travels as message headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHeader {
    /// Running number of the writing stage's batches in this lane.
    pub batch: u64,
    /// Running number of the message in its batch, from 0; decision parts come first.
    pub part: u32,
    /// Messages in the batch.
    pub parts: u32,
    /// Messages of the batch on the stage's first channel (observe: decision; notify: notice).
    pub leading: u32,
    /// Input position the batch goes through.
    pub through: InputPosition,
    /// Events at the beginning of the message that are of its subject's channel, when those of the
    /// writing stage's other channel follow them; absent when all are.
    pub own: Option<u32>,
}

/// Header names of [`PartHeader`].
pub mod header {
    pub const BATCH: &str = "Bw-Batch";
    pub const PART: &str = "Bw-Part";
    pub const PARTS: &str = "Bw-Parts";
    pub const LEADING: &str = "Bw-Leading";
    pub const THROUGH: &str = "Bw-Through";
    pub const OWN: &str = "Bw-Own";
}

impl PartHeader {
    /// As message headers.
    pub fn to_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (header::BATCH, self.batch.to_string()),
            (header::PART, self.part.to_string()),
            (header::PARTS, self.parts.to_string()),
            (header::LEADING, self.leading.to_string()),
            (header::THROUGH, self.through.to_string()),
        ];
        headers.extend(self.own.map(|own| (header::OWN, own.to_string())));
        headers
    }

    /// From message headers; `get` looks one up.
    pub fn from_headers<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, CodecError> {
        fn field<T: std::str::FromStr>(name: &str, value: Option<&str>) -> Result<T, CodecError> {
            value.and_then(|v| v.parse().ok()).ok_or_else(|| CodecError::Decode {
                what: "event headers",
                detail: format!("{name} is {value:?}"),
            })
        }
        Ok(Self {
            batch: field(header::BATCH, get(header::BATCH))?,
            part: field(header::PART, get(header::PART))?,
            parts: field(header::PARTS, get(header::PARTS))?,
            leading: field(header::LEADING, get(header::LEADING))?,
            through: field(header::THROUGH, get(header::THROUGH))?,
            own: match get(header::OWN) {
                None => None,
                given => Some(field(header::OWN, given)?),
            },
        })
    }

    /// The id one part is published under, so that a repeat within the server's window is dropped.
    pub fn message_id(
        &self,
        stage: &str,
        generation: crate::Generation,
        lane: crate::Lane,
        channel: EventChannel,
    ) -> String {
        format!("{stage}:{generation}:{lane}:{}:{}:{}", self.batch, channel.token(), self.part)
    }
}

/// The events of one message.
#[derive(Debug)]
pub struct EventBatch {
    pub events: Vec<Event>,
}

impl EventBatch {
    /// Reads a message's payload: a CBOR sequence of events, possibly empty.
    pub fn parse(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut d = Decoder::new(bytes);
        let mut events = Vec::new();
        while d.position() < bytes.len() {
            let event: Event = d
                .decode()
                .map_err(|e| CodecError::Decode { what: "event", detail: e.to_string() })?;
            if event.version > EVENT_VERSION {
                return Err(CodecError::Newer {
                    what: "event",
                    found: event.version,
                    known: EVENT_VERSION,
                });
            }
            events.push(event);
        }
        Ok(Self { events })
    }
}
