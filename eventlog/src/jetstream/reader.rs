//! Ordered reads.
//!
//! Not the client's ordered consumer: when that one is rebuilt before its first message it starts
//! at the beginning of the stream, and it may sleep through a second missed heartbeat. This one
//! remembers the next sequence it owes, checks the consumer's own numbering of every message, and
//! after anything doubtful (a gap, a lost connection, a missed heartbeat) makes a new consumer from
//! exactly there. What it cannot make good it says, and ends.

use std::time::Duration;

use async_nats::jetstream::consumer::{
    AckPolicy, DeliverPolicy,
    pull::{Config, Stream},
};
use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{JetStream, RETRY, headers, time};
use crate::{Error, Message, Messages, Read};

/// How long a read tries to go on by itself before it says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Silence of twice this makes a new consumer.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Messages and bytes on their way to one reader at most (once more as much while one request
/// overlaps the next). Bytes must exceed the largest message the server takes.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;

/// Opens a read and checks that the stream can serve it.
pub(super) async fn open(log: JetStream, read: Read) -> Result<Messages, Error> {
    let mut reader = Reader { log, next: read.from.max(1), read, incarnation: None, source: None };
    reader.source = Some(reader.consumer().await?);
    Ok(stream::unfold(Some(reader), |state| async {
        let mut reader = state?;
        match reader.advance().await {
            Ok(message) => Some((Ok(message), Some(reader))),
            Err(e) => Some((Err(e), None)),
        }
    })
    .boxed())
}

struct Reader {
    log: JetStream,
    read: Read,
    /// The lowest sequence not yet given out.
    next: u64,
    incarnation: Option<i64>,
    source: Option<Source>,
}

/// One consumer on the server.
struct Source {
    messages: Stream,
    /// The consumer's number of the last message; they come without gaps.
    delivered: u64,
    losses: watch::Receiver<u64>,
}

impl Reader {
    async fn advance(&mut self) -> Result<Message, Error> {
        loop {
            let mut source = match self.source.take() {
                Some(source) => source,
                None => self.reopen().await?,
            };
            let received = tokio::select! {
                biased;
                received = source.messages.next() => received,
                _ = source.losses.changed() => continue,
            };
            let message = match received {
                Some(Ok(message)) => message,
                Some(Err(e)) => {
                    tracing::debug!(stream = %self.read.stream, "read interrupted: {e}");
                    continue;
                }
                None => continue,
            };
            let Ok(info) = message.info() else { continue };
            if info.consumer_sequence != source.delivered + 1 || info.stream_sequence < self.next {
                continue;
            }
            source.delivered = info.consumer_sequence;
            self.next = info.stream_sequence + 1;
            self.source = Some(source);
            return Ok(Message {
                subject: message.subject.to_string(),
                sequence: info.stream_sequence,
                time: time(info.published),
                headers: message.headers.as_ref().map(headers).unwrap_or_default(),
                payload: message.message.payload,
            });
        }
    }

    async fn reopen(&mut self) -> Result<Source, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let failed = match self.log.connected() {
                true => match self.consumer().await {
                    Ok(source) => return Ok(source),
                    // Another stream under the old name: waiting mends nothing.
                    Err(e @ Error::Mismatch { .. }) => return Err(e),
                    Err(e) => e,
                },
                false => self.fail("not connected to nats".into()),
            };
            if Instant::now() >= deadline {
                return Err(failed);
            }
            sleep(RETRY).await;
        }
    }

    /// A consumer that begins at the next sequence owed.
    async fn consumer(&mut self) -> Result<Source, Error> {
        // Marked first: a connection lost while the consumer is made spoils it.
        let mut losses = self.log.losses.clone();
        losses.mark_unchanged();
        let info = self.log.info_of(&self.read.stream).await?;
        let known = *self.incarnation.get_or_insert(info.incarnation);
        if known != info.incarnation {
            return Err(Error::Mismatch {
                stream: self.read.stream.clone(),
                found: format!("incarnation {}", info.incarnation),
                wanted: format!("incarnation {known}"),
                remedy: "the stream was made anew while it was read".into(),
            });
        }
        if info.last_sequence + 1 < self.next {
            return Err(self.fail(format!(
                "it ends at {}, before the wanted {}",
                info.last_sequence, self.next
            )));
        }
        let config = Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.next },
            filter_subjects: self.read.filters.clone(),
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: Duration::from_secs(60),
            ..Config::default()
        };
        let consumer = self
            .log
            .context
            .create_consumer_on_stream(config, &self.read.stream)
            .await
            .map_err(|e| self.fail(e.to_string()))?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .max_bytes_per_batch(BATCH_BYTES.max(self.log.client.max_payload() + (64 << 10)))
            .expires(Duration::from_secs(30))
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|e| self.fail(e.to_string()))?;
        Ok(Source { messages, delivered: 0, losses })
    }

    fn fail(&self, reason: String) -> Error {
        Error::Read { stream: self.read.stream.clone(), reason }
    }
}
