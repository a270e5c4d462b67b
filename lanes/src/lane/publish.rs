//! Publishing what a batch committed: one message at a time, in order, fenced.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use eventlog::{Fence, Log, Publish, PublishError};
use schemas::{event::PartHeader, subject};
use store::lane::{Message, Stream};
use tokio::{task::JoinSet, time::Instant};

use super::{
    parts::{Writer, channels_of},
    stop::{Asked, Stop},
};

/// The first pause before a message is tried again; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// A message that is not stored for this long is an error in the log, not a warning.
const LOUD: Duration = Duration::from_secs(5);

/// Publishes for one owner of a lane.
pub(super) struct Publisher {
    log: Arc<dyn Log>,
    writer: Writer,
    /// The last message over the subjects of this stage and lane.
    last: Last,
}

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    /// Its sequence; 0 when there is none.
    sequence: u64,
    /// Its (batch, part).
    part: Option<(u64, u32)>,
}

impl Publisher {
    /// Reads where the subjects stand.
    pub async fn open(log: Arc<dyn Log>, writer: Writer) -> Result<Self, Stop> {
        let mut publisher = Self { log, writer, last: Last::default() };
        publisher.look().await?;
        Ok(publisher)
    }

    /// The batch the last message in the log belongs to.
    pub fn last_batch(&self) -> Option<u64> {
        self.last.part.map(|(batch, _)| batch)
    }

    async fn look(&mut self) -> Result<(), Stop> {
        let Writer { namespace, stage, generation, lane } = &self.writer;
        if channels_of(stage).is_empty() {
            return Ok(());
        }
        let stream = subject::events_stream(namespace, *generation);
        let filter = subject::events_of_stage(namespace, *generation, *lane, stage);
        self.last = match self.log.last(&stream, &filter).await? {
            None => Last::default(),
            Some(message) => {
                let header = PartHeader::from_headers(|n| message.header(n))
                    .map_err(|e| Stop::Halt(format!("last message of {filter}: {e}")))?;
                Last { sequence: message.sequence, part: Some((header.batch, header.part)) }
            }
        };
        Ok(())
    }

    /// Publishes a batch's messages, those of them that are not in the log yet. Tries until it is
    /// done; once the owner is asked to stop, a failed try ends it, because the rows stay and the
    /// next owner goes on with them.
    pub async fn publish(&mut self, messages: &[Message], asked: &Asked) -> Result<(), Stop> {
        for message in messages {
            match message.stream {
                Stream::Events => self.publish_part(message, asked).await?,
                Stream::Deliveries => self.publish_frame(message, asked).await?,
            }
        }
        Ok(())
    }

    async fn publish_part(&mut self, message: &Message, asked: &Asked) -> Result<(), Stop> {
        let Writer { namespace, stage, generation, lane } = self.writer.clone();
        let get = |name: &str| {
            message.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
        };
        let header = PartHeader::from_headers(get)
            .map_err(|e| Stop::Halt(format!("unpublished message: {e}")))?;
        let part = (header.batch, header.part);
        let mut tries = Tries::new();
        loop {
            if self.last.part.is_some_and(|last| last >= part) {
                return Ok(());
            }
            let publish = Publish {
                stream: subject::events_stream(&namespace, generation),
                subject: message.subject.clone(),
                message_id: message.message_id.clone(),
                headers: message.headers.clone(),
                payload: Bytes::copy_from_slice(&message.payload),
                fence: Some(Fence {
                    filter: subject::events_of_stage(&namespace, generation, lane, stage),
                    last_sequence: self.last.sequence,
                }),
                keep_forever: false,
            };
            match self.log.publish(publish).await {
                Ok(ack) if !ack.duplicate => {
                    self.last = Last { sequence: ack.sequence, part: Some(part) };
                    return Ok(());
                }
                // Stored by an earlier try, ours or an earlier owner's: the look below finds it.
                Ok(_) | Err(PublishError::WrongSequence { .. }) if tries.count == 0 => {
                    tries.count += 1;
                }
                Ok(_) => tries.failed(message, "the log knows it and has it not", asked).await?,
                Err(error) => tries.failed(message, &error.to_string(), asked).await?,
            }
            // Whatever happened, the subjects' last message tells.
            self.look().await?;
        }
    }

    async fn publish_frame(&mut self, message: &Message, asked: &Asked) -> Result<(), Stop> {
        let mut tries = Tries::new();
        loop {
            let publish = Publish {
                stream: subject::deliveries_stream(&self.writer.namespace),
                subject: message.subject.clone(),
                message_id: message.message_id.clone(),
                headers: message.headers.clone(),
                payload: Bytes::copy_from_slice(&message.payload),
                // Not fenced: others write there too, and a frame that stands there twice is known
                // by its number.
                fence: None,
                keep_forever: true,
            };
            match self.log.publish(publish).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.failed(message, &error.to_string(), asked).await?,
            }
        }
    }
}

/// Publishes a batch's messages while the next one is made ready.
///
/// A batch is committed only once the messages of the one before are in the log: its commit forgets
/// them. Dropped, it stops where it is; the rows stay, and whoever comes next goes on with them.
pub(super) struct Publishing {
    idle: Option<Publisher>,
    running: JoinSet<(Publisher, Result<(), Stop>)>,
}

impl Publishing {
    /// Nothing is being published.
    pub fn new(publisher: Publisher) -> Self {
        Self { idle: Some(publisher), running: JoinSet::new() }
    }

    /// Waits until everything is published. Safe to cancel.
    pub async fn done(&mut self) -> Result<(), Stop> {
        match self.running.join_next().await {
            None => Ok(()),
            Some(Ok((publisher, published))) => {
                self.idle = Some(publisher);
                published
            }
            Some(Err(ended)) => Err(Stop::Log(format!("publishing ended: {ended}"))),
        }
    }

    /// Waits for as long as nothing goes wrong. Safe to cancel.
    pub async fn failed(&mut self) -> Stop {
        match self.done().await {
            Ok(()) => std::future::pending().await,
            Err(stop) => stop,
        }
    }

    /// Begins with the messages of a batch; those of the one before are [done](Self::done). Calls
    /// `then` when they are in the log.
    pub fn begin(
        &mut self,
        messages: Vec<Message>,
        asked: Asked,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), Stop> {
        let Some(mut publisher) = self.idle.take() else {
            return Err(Stop::Log("publishing ended before".into()));
        };
        self.running.spawn(async move {
            let published = publisher.publish(&messages, &asked).await;
            if published.is_ok() {
                then();
            }
            (publisher, published)
        });
        Ok(())
    }
}

struct Tries {
    since: Instant,
    count: u32,
    loud: bool,
}

impl Tries {
    fn new() -> Self {
        Self { since: Instant::now(), count: 0, loud: false }
    }

    /// Waits before the next try, longer each time.
    async fn failed(&mut self, message: &Message, why: &str, asked: &Asked) -> Result<(), Stop> {
        let subject = &message.subject;
        if self.since.elapsed() > LOUD && !self.loud {
            self.loud = true;
            tracing::error!("publishing to {subject} fails since {LOUD:?} and waits: {why}");
        } else {
            tracing::debug!("publishing to {subject} is tried again: {why}");
        }
        if asked.is_asked() && self.count > 0 {
            return Err(Stop::Asked);
        }
        let pause = SHORTEST.saturating_mul(1 << self.count.min(6)).min(LONGEST);
        self.count += 1;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
