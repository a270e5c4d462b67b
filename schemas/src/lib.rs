//! The contract: everything that is ever written to the log, and the names it is written under.
//!
//! This crate knows no IO and takes no decision. Whoever writes to the log and whoever reads it
//! share exactly these types, so what stands here is wire format: fields get new numbers, never
//! reused ones, and a shape that must change gets an upcaster.
//!
//! To add a record kind or an event kind: an enum arm with the next number, a golden sample in
//! `fixtures/v1/`, and the compiler lists every `match` that has to decide about it.

pub mod alert;
pub mod codec;
pub mod event;
pub mod frame;
pub mod id;
pub mod job;
pub mod outcome;
pub mod position;
pub mod record;
pub mod subject;
pub mod time;

#[cfg(test)]
mod golden;

pub use alert::{Alert, Facts, Level, StackFrame, Status};
pub use event::{Event, EventBatch};
pub use frame::{FrameHeader, RecordFrame};
pub use id::{EventId, Fingerprint, IncidentId, JobId, ProducerId, ProjectId, RecordId, SourceId};
pub use outcome::Outcome;
pub use position::{InputPosition, Position};
pub use record::Record;
pub use subject::{Generation, Lane, LaneKey, Namespace};
pub use time::Time;

/// Why bytes from the log could not be read as what they claim to be.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not the CBOR shape of `what`.
    #[error("decode {what}: {detail}")]
    Decode { what: &'static str, detail: String },
    /// The frame announces `announced` items and holds `found`.
    #[error("frame announces {announced} records and holds {found}")]
    Count { announced: u32, found: usize },
    /// Written by a newer version of the format than this binary knows.
    #[error("{what} version {found} is newer than {known}, the newest this binary reads")]
    Newer { what: &'static str, found: u32, known: u32 },
}
