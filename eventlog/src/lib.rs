//! The log: the only crate that knows JetStream.
//!
//! It knows how bytes get into a stream and out of it in order; it must not know what a record
//! means. Records are appended in groups ([`append`]), kept on disk while the log is away ([`spool`]),
//! read in stream order ([`Log::read`]), and derived events are published under a fence
//! ([`Publish::fence`]). [`memory::MemoryLog`] has the same semantics without a server.

pub mod append;
pub mod jetstream;
pub mod memory;
pub mod spool;
pub mod topology;

use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use schemas::{Namespace, Time};

pub use append::{AppendError, Appender, AppenderConfig, Durable, SpoolingAppender};
pub use jetstream::{Credentials, JetStream, JetStreamConfig};
pub use memory::MemoryLog;
pub use spool::{LogIdentity, Spool, SpoolConfig, SpoolStatus};

/// One message to be stored.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The stream that must take it; a message taken by another stream is an error.
    pub stream: String,
    pub subject: String,
    /// `Nats-Msg-Id`: a repeat within the server's window is dropped and acked as duplicate.
    pub message_id: Option<String>,
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
    pub fence: Option<Fence>,
    /// Stored with `Nats-TTL: never`, so that the stream's retention does not take it.
    pub keep_forever: bool,
}

/// "Store this only if the last message over `filter` has this sequence (0: there is none)."
#[derive(Clone, Debug)]
pub struct Fence {
    pub filter: String,
    pub last_sequence: u64,
}

/// The server's word that a message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub sequence: u64,
    /// The server knew the message id; nothing new was stored.
    pub duplicate: bool,
}

/// Why a publish was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The fence did not hold: somebody else wrote, or an earlier try of ours arrived after all.
    #[error("store {subject}: the last sequence is not {expected}")]
    WrongSequence { subject: String, expected: u64 },
    /// No answer within the budget: it may or may not be stored.
    #[error("store {subject}: no answer within {waited_ms} ms")]
    Unknown { subject: String, waited_ms: u64 },
    /// The server refused it, or could not be asked: it is not stored.
    #[error("store {subject}: {reason}")]
    NotStored { subject: String, reason: String },
}

/// Why the log could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connect to nats at {url}: {reason}")]
    Connect { url: String, reason: String },
    #[error("{what} of stream {stream}: {reason}")]
    Stream { what: &'static str, stream: String, reason: String },
    #[error("read {stream}: {reason}")]
    Read { stream: String, reason: String },
    #[error("keep the log's shape in {}: {reason}", .dir.display())]
    Spool { dir: PathBuf, reason: String },
    /// The stream exists with a setup that cannot be changed in place.
    #[error("stream {stream} has {found}, this configuration wants {wanted}; {remedy}")]
    Mismatch { stream: String, found: String, wanted: String, remedy: String },
}

/// One stored message.
#[derive(Clone, Debug)]
pub struct Message {
    pub subject: String,
    pub sequence: u64,
    /// When the server stored it.
    pub time: Time,
    /// The publisher's own headers and `Nats-Msg-Id`, by name.
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
}

impl Message {
    /// The header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Whether readers see a header: `Nats-*` is transport, the message id excepted.
fn is_kept_header(name: &str) -> bool {
    !name.starts_with("Nats-") || name == "Nats-Msg-Id"
}

/// An ordered read that follows the stream for ever.
#[derive(Clone, Debug)]
pub struct Read {
    pub stream: String,
    /// Subject filters that do not overlap; messages come in stream order over all of them.
    pub filters: Vec<String>,
    /// The first sequence wanted; one that was purged is passed over, one more than one beyond the
    /// stream's end is an error.
    pub from: u64,
}

/// What a stream looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Creation time in Unix seconds: a stream made anew is another incarnation.
    pub incarnation: i64,
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub messages: u64,
    pub bytes: u64,
    /// Size at which it refuses new messages; none: no limit of its own.
    pub max_bytes: Option<u64>,
}

/// Messages in stream order. Ends never; an error ends it and the reader reads anew.
pub type Messages = BoxStream<'static, Result<Message, Error>>;

/// Streams of messages with one total order each.
pub trait Log: Send + Sync + 'static {
    /// The namespace subjects and streams of this log are built with.
    fn namespace(&self) -> &Namespace;

    /// Stores one message and waits for the server's word.
    fn publish(&self, message: Publish) -> BoxFuture<'_, Result<Ack, PublishError>>;

    /// Reads on from a sequence, in order and without gaps.
    fn read(&self, read: Read) -> BoxFuture<'_, Result<Messages, Error>>;

    /// The last message over a subject filter.
    fn last<'a>(
        &'a self,
        stream: &'a str,
        filter: &'a str,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>>;

    /// The message at a sequence.
    fn get<'a>(
        &'a self,
        stream: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>>;

    /// What the stream looks like now.
    fn info<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamInfo, Error>>;

    /// Removes the messages of `filter` below a sequence; returns how many.
    fn purge<'a>(
        &'a self,
        stream: &'a str,
        filter: &'a str,
        below: u64,
    ) -> BoxFuture<'a, Result<u64, Error>>;

    /// Makes the streams of `topology` where they are missing and checks those that exist.
    fn ensure<'a>(
        &'a self,
        topology: &'a [topology::StreamSpec],
    ) -> BoxFuture<'a, Result<(), Error>>;
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests own their tasks and servers")]
mod tests;
