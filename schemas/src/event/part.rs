//! The message events travel in.

use std::{
    borrow::Cow,
    io,
    sync::{Mutex, PoisonError},
};

use minicbor::Decoder;
use zstd::bulk::Compressor;

use super::{EVENT_VERSION, Event};
use crate::{CodecError, InputPosition, subject::EventChannel};

/// Events shorter than this are not worth packing: they are those of a trickle, where somebody waits
/// for them and their bytes cost little.
const WORTH_PACKING: usize = 64 * 1024;

/// The fastest level but the negative ones: events repeat each other so much that the next ones gain
/// little.
const LEVEL: i32 = 1;

/// The longest events a message may unpack to.
const MAX_UNPACKED: usize = 16 << 20;

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
    /// Length of the events when they are packed (Zstandard, RFC 8878); absent when they are not.
    pub unpacked: Option<u32>,
}

/// Header names of [`PartHeader`].
pub mod header {
    pub const BATCH: &str = "Bw-Batch";
    pub const PART: &str = "Bw-Part";
    pub const PARTS: &str = "Bw-Parts";
    pub const LEADING: &str = "Bw-Leading";
    pub const THROUGH: &str = "Bw-Through";
    pub const OWN: &str = "Bw-Own";
    pub const UNPACKED: &str = "Bw-Unpacked";
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
        headers.extend(self.unpacked.map(|length| (header::UNPACKED, length.to_string())));
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
        fn optional<T: std::str::FromStr>(
            name: &str,
            value: Option<&str>,
        ) -> Result<Option<T>, CodecError> {
            value.map(|given| field(name, Some(given))).transpose()
        }
        Ok(Self {
            batch: field(header::BATCH, get(header::BATCH))?,
            part: field(header::PART, get(header::PART))?,
            parts: field(header::PARTS, get(header::PARTS))?,
            leading: field(header::LEADING, get(header::LEADING))?,
            through: field(header::THROUGH, get(header::THROUGH))?,
            own: optional(header::OWN, get(header::OWN))?,
            unpacked: optional(header::UNPACKED, get(header::UNPACKED))?,
        })
    }

    /// Packs the events of this part, where that makes them shorter, and notes that.
    pub fn pack(&mut self, events: Vec<u8>) -> Vec<u8> {
        if !(WORTH_PACKING..=MAX_UNPACKED).contains(&events.len()) {
            return events;
        }
        match packed(&events) {
            Ok(packed) if packed.len() < events.len() => {
                self.unpacked = Some(events.len() as u32);
                packed
            }
            // Longer is what cannot be packed; and whatever else stood in the way, the events are
            // as good as they are.
            Ok(_) | Err(_) => events,
        }
    }

    /// The events of this part, out of its payload.
    ///
    /// # Errors
    /// When they are packed and cannot be unpacked to what the header says.
    pub fn unpack<'p>(&self, payload: &'p [u8]) -> Result<Cow<'p, [u8]>, CodecError> {
        let Some(length) = self.unpacked else { return Ok(Cow::Borrowed(payload)) };
        let fail = |detail: String| CodecError::Decode { what: "packed events", detail };
        let length = length as usize;
        if length > MAX_UNPACKED {
            return Err(fail(format!("{length} bytes are more than {MAX_UNPACKED}")));
        }
        let events = zstd::bulk::decompress(payload, length).map_err(|e| fail(e.to_string()))?;
        if events.len() != length {
            return Err(fail(format!("{} bytes, not {length}", events.len())));
        }
        Ok(Cow::Owned(events))
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

/// What a message is packed with. Made anew for each it is as much work as packing: half a megabyte
/// of tables, and room for what could become longer than it was.
struct Packer {
    compressor: Compressor<'static>,
    room: Vec<u8>,
}

/// One that nobody uses now; who finds none makes one.
static PACKER: Mutex<Option<Packer>> = Mutex::new(None);

impl Packer {
    fn free() -> io::Result<Self> {
        match PACKER.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(packer) => Ok(packer),
            None => Ok(Self { compressor: Compressor::new(LEVEL)?, room: Vec::new() }),
        }
    }

    fn release(self) {
        *PACKER.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }

    /// The bytes as one Zstandard frame.
    fn pack(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.room.clear();
        self.room.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        let length = self.compressor.compress_to_buffer(bytes, &mut self.room)?;
        Ok(self.room[..length].to_vec())
    }
}

/// The bytes as one Zstandard frame.
fn packed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = Packer::free()?;
    let packed = packer.pack(bytes);
    packer.release();
    packed
}

/// The events of one message.
#[derive(Debug)]
pub struct EventBatch {
    pub events: Vec<Event>,
}

impl EventBatch {
    /// Reads a message: its header and its payload.
    pub fn read(header: &PartHeader, payload: &[u8]) -> Result<Self, CodecError> {
        Self::parse(&header.unpack(payload)?)
    }

    /// Reads unpacked events: a CBOR sequence of events, possibly empty.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> PartHeader {
        PartHeader {
            batch: 7,
            part: 0,
            parts: 1,
            leading: 1,
            through: InputPosition { incarnation: 1, sequence: 2, record: 3 },
            own: Some(1),
            unpacked: None,
        }
    }

    /// Through the headers, as a message travels.
    fn read_back(sent: &PartHeader) -> PartHeader {
        let headers = sent.to_headers();
        let get = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        PartHeader::from_headers(get).unwrap()
    }

    #[test]
    fn events_are_packed_where_that_is_shorter() {
        let random: Vec<u8> = (0..5_000u32).flat_map(noise).collect();
        for (events, packed) in [
            (Vec::new(), false),
            (vec![7; WORTH_PACKING - 1], false),
            (vec![7; 100_000], true),
            (random, false),
        ] {
            let mut sent = header();
            let payload = sent.pack(events.clone());
            assert_eq!(sent.unpacked.is_some(), packed, "{} bytes", events.len());
            assert_eq!(payload.len() < events.len(), packed);
            let read = read_back(&sent);
            assert_eq!(read, sent);
            assert_eq!(read.unpack(&payload).unwrap(), events);
        }
    }

    /// Bytes that nothing makes shorter.
    fn noise(n: u32) -> [u8; 16] {
        *crate::id::hash(&[&n.to_be_bytes()]).as_bytes()
    }

    #[test]
    fn what_cannot_be_unpacked_to_what_the_header_says_is_an_error() {
        let mut sent = header();
        let payload = sent.pack(vec![7; 100_000]);
        let read = |unpacked, payload: &[u8]| {
            PartHeader { unpacked: Some(unpacked), ..sent }.unpack(payload).map(|e| e.len())
        };
        assert_eq!(read(100_000, &payload).unwrap(), 100_000);
        assert!(read(99_999, &payload).is_err(), "longer than said");
        assert!(read(100_001, &payload).is_err(), "shorter than said");
        assert!(read(100_000, &payload[..payload.len() - 1]).is_err(), "torn");
        assert!(read(u32::MAX, &payload).is_err(), "more than anybody sends");
    }
}
