//! The frame: one JetStream message holding 1..N records of one lane.
//!
//! A CBOR sequence (RFC 8742): first the header, then the records. One format, whether it holds one
//! record or five hundred. A frame is numbered once, when it is closed; retry, spool and drain by
//! anybody keep its number, so a reader recognises a frame that stands in the log twice.

use minicbor::{Decode, Decoder, Encode};

use crate::{CodecError, ProducerId};

/// The newest frame format this binary writes and reads.
pub const FRAME_VERSION: u32 = 1;

/// A frame is closed at this many bytes of records ...
pub const MAX_FRAME_BYTES: usize = 512 * 1024;

/// ... or at this many records, whichever comes first.
pub const MAX_FRAME_RECORDS: usize = 500;

/// What stands in front of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FrameHeader {
    #[n(0)]
    pub version: u32,
    /// The process that closed the frame.
    #[n(1)]
    pub producer: ProducerId,
    /// Running number of this producer's frames in this lane, from 1, without gaps.
    #[n(2)]
    pub number: u64,
    /// Records this producer has put into this lane so far, these included.
    #[n(3)]
    pub total: u64,
    /// Records in this frame.
    #[n(4)]
    pub count: u32,
}

/// Closes a frame: header, then the already encoded records.
pub fn encode(header: &FrameHeader, records: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() + 64);
    crate::codec::append(header, &mut out);
    out.extend_from_slice(records);
    out
}

/// A frame taken apart; the records are still bytes, so that one bad record does not spoil its
/// neighbours.
#[derive(Debug)]
pub struct RecordFrame<'a> {
    pub header: FrameHeader,
    pub records: Vec<&'a [u8]>,
}

impl<'a> RecordFrame<'a> {
    /// Takes a frame apart without decoding its records.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let (version, mut d) = (peek_version(bytes)?, Decoder::new(bytes));
        if version > FRAME_VERSION {
            return Err(CodecError::Newer { what: "frame", found: version, known: FRAME_VERSION });
        }
        let header: FrameHeader = d.decode().map_err(|e| decode("frame header", &e))?;
        let mut records = Vec::with_capacity((header.count as usize).min(MAX_FRAME_RECORDS));
        while d.position() < bytes.len() {
            let start = d.position();
            d.skip().map_err(|e| decode("record boundaries", &e))?;
            records.push(&bytes[start..d.position()]);
        }
        if records.len() != header.count as usize {
            return Err(CodecError::Count { announced: header.count, found: records.len() });
        }
        Ok(Self { header, records })
    }
}

/// The version alone, so that a newer header is named as such and not as undecodable.
fn peek_version(bytes: &[u8]) -> Result<u32, CodecError> {
    #[derive(Decode)]
    #[cbor(map)]
    struct Version {
        #[n(0)]
        version: u32,
    }
    let v: Version = Decoder::new(bytes).decode().map_err(|e| decode("frame header", &e))?;
    Ok(v.version)
}

fn decode(what: &'static str, e: &minicbor::decode::Error) -> CodecError {
    CodecError::Decode { what, detail: e.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{
        Record, RecordId, Time,
        record::{Body, Tick},
    };

    fn tick(n: u128) -> Record {
        Record::new(
            RecordId(Uuid::from_u128(n)),
            Time::from_micros(1_763_617_422_000_000),
            None,
            Body::Tick(Tick { now: Time::from_micros(1_763_617_422_000_001) }),
        )
    }

    fn header(count: u32) -> FrameHeader {
        FrameHeader {
            version: FRAME_VERSION,
            producer: ProducerId(Uuid::from_u128(1)),
            number: 1,
            total: u64::from(count),
            count,
        }
    }

    #[test]
    fn frames_read_back_record_by_record() {
        let mut bytes = Vec::new();
        let records: Vec<_> = (0..5).map(tick).collect();
        for r in &records {
            r.encode_into(&mut bytes);
        }
        let frame = encode(&header(5), &bytes);
        let parsed = RecordFrame::parse(&frame).unwrap();
        assert_eq!(parsed.header, header(5));
        let back: Vec<_> = parsed.records.iter().map(|r| Record::decode(r).unwrap()).collect();
        assert_eq!(back, records);
    }

    #[test]
    fn a_frame_that_counts_wrong_is_refused() {
        let mut bytes = Vec::new();
        tick(1).encode_into(&mut bytes);
        let frame = encode(&header(2), &bytes);
        assert!(matches!(
            RecordFrame::parse(&frame),
            Err(CodecError::Count { announced: 2, found: 1 })
        ));
    }

    #[test]
    fn the_golden_frame_still_reads() {
        let hex = include_str!("../fixtures/v1/frame-tick.hex").trim();
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let parsed = RecordFrame::parse(&bytes).unwrap();
        assert_eq!(Record::decode(parsed.records[0]).unwrap(), tick(7));
        let mut records = Vec::new();
        tick(7).encode_into(&mut records);
        assert_eq!(encode(&header(1), &records), bytes, "the writer changed the wire format");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(frame) = RecordFrame::parse(&bytes) {
                for r in frame.records {
                    let _ = Record::decode(r);
                }
            }
        }
    }
}
