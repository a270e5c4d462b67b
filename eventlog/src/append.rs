//! Group commit of records into frames.
//!
//! One writer per lane key, and one frame in flight per writer: whatever arrived while the previous
//! frame was on its way goes into the next one, without a timer. A frame is numbered when it is
//! closed. As long as nobody knows what became of it, exactly its bytes are sent again under its
//! message id, and everything behind it waits; a reader that still finds it twice recognises it by
//! producer and number. Only a frame that is known not to be stored gives its number back.
//!
//! A [`SpoolingAppender`] hands a frame that the log does not take in time, and every frame behind
//! it, to the [`spool`](crate::spool), which publishes them in their order; an [`Appender`] is for
//! those who need a position in the log.

mod frame;
mod spooling;
mod writer;

use std::{
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use schemas::{
    InputPosition, Lane, LaneKey, ProducerId, Record,
    record::Body,
    subject::{Class, deliveries, deliveries_stream},
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};

use crate::{Log, Spool};
pub use spooling::SpoolingAppender;
use writer::{Common, Writer};

/// Frames on their way at once, over all lanes. The server syncs the messages of a stream one after
/// the other, so a third would only wait there, closed, instead of here, growing.
const WAYS: usize = 2;

/// How records are appended.
#[derive(Clone, Copy, Debug)]
pub struct AppenderConfig {
    /// The id this process's frames are numbered under; a restarted process takes another.
    pub producer: ProducerId,
    /// Number of lanes of the input stream.
    pub lanes: NonZeroU16,
    /// How long a caller is kept waiting for the outcome; 900 ms where senders give a second.
    pub budget: Duration,
    /// Encoded bytes that may wait over all lanes, those in flight included.
    pub max_queued_bytes: usize,
}

/// Where a record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// In the log, at this position.
    Appended(InputPosition),
    /// In the spool, on this machine's disk; it has no position yet, but will get one.
    Spooled,
}

/// Why a record is not known to be durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much waits already; nothing of this record was kept.
    #[error("append a record: the queue is full")]
    Full,
    /// It is not in the log and will not get there.
    #[error("append a record: {reason}")]
    NotStored { reason: String },
    /// It was sent and may be in the log, or still get there.
    #[error("append a record: no outcome known within {waited_ms} ms")]
    Unknown { waited_ms: u64 },
    /// The driver has ended; nothing of this record was kept.
    #[error("append a record: the appender has ended")]
    Closed,
}

/// Appends records to the input log. Clones share the queues.
#[derive(Clone, Debug)]
pub struct Appender {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// One queue per lane, and the one of `all` behind them.
    queues: Vec<mpsc::UnboundedSender<Item>>,
    queued_bytes: Arc<AtomicUsize>,
    max_queued_bytes: usize,
    budget: Duration,
}

type Answer = Result<Durable, AppendError>;

/// One record on its way.
#[derive(Debug)]
struct Item {
    class: Class,
    bytes: Vec<u8>,
    caller: Caller,
}

/// Who waits for a record's outcome.
#[derive(Debug)]
struct Caller {
    since: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Answer>,
    /// Gives the record's share of the queue back when the caller is answered.
    _share: Share,
}

/// Bytes taken from the queue's limit.
#[derive(Debug)]
struct Share {
    queued_bytes: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Appender {
    /// An appender, and its driver: the driver does the work while it is polled, and ends when all
    /// handles are dropped and everybody who waited was answered.
    pub fn start(
        log: Arc<dyn Log>,
        config: AppenderConfig,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        Self::start_with(log, config, None)
    }

    fn start_with(
        log: Arc<dyn Log>,
        config: AppenderConfig,
        spool: Option<Spool>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let stream = deliveries_stream(log.namespace());
        let keys = Lane::all(config.lanes).map(LaneKey::Lane).chain([LaneKey::All]);
        let ways = Arc::new(Semaphore::new(WAYS));
        let (queues, writers): (Vec<_>, FuturesUnordered<_>) = keys
            .map(|key| {
                let (queue, incoming) = mpsc::unbounded_channel();
                let subject = |class| deliveries(log.namespace(), key, class);
                let subjects = [subject(Class::Data), subject(Class::Control)];
                let (log, stream) = (log.clone(), stream.clone());
                let (ways, spool) = (ways.clone(), spool.clone());
                let common = Common { log, stream, config, ways, spool };
                (queue, Writer::new(common, key, subjects, incoming).run())
            })
            .unzip();
        let shared = Shared {
            queues,
            queued_bytes: Arc::default(),
            max_queued_bytes: config.max_queued_bytes,
            budget: config.budget,
        };
        (Self { shared: Arc::new(shared) }, writers.for_each(|()| std::future::ready(())))
    }

    /// Appends one record and waits until it is stored.
    ///
    /// Once polled, the record is on its way: dropping the future does not take it back.
    ///
    /// # Errors
    /// See [`AppendError`]; after [`AppendError::Unknown`] the record may stand in the log.
    pub async fn append(
        &self,
        lane: LaneKey,
        class: Class,
        record: Record,
    ) -> Result<InputPosition, AppendError> {
        match self.append_somewhere(lane, class, record).await? {
            Durable::Appended(at) => Ok(at),
            // Without a spool nothing is spooled; whatever it is, it has no position.
            Durable::Spooled => Err(AppendError::Unknown { waited_ms: 0 }),
        }
    }

    async fn append_somewhere(&self, lane: LaneKey, class: Class, record: Record) -> Answer {
        let outcome = self.enqueue(lane, class, record)?;
        match outcome.await {
            Ok(outcome) => outcome,
            // The driver was dropped with the record in hand.
            Err(_) => Err(AppendError::Unknown { waited_ms: 0 }),
        }
    }

    /// Encodes here, on the caller's thread; takes the record so that only its bytes wait.
    fn enqueue(
        &self,
        lane: LaneKey,
        class: Class,
        record: Record,
    ) -> Result<oneshot::Receiver<Answer>, AppendError> {
        let shared = &*self.shared;
        let lanes = shared.queues.len() - 1;
        let index = match lane {
            LaneKey::Lane(Lane(index)) if usize::from(index) < lanes => usize::from(index),
            LaneKey::Lane(index) => {
                return Err(AppendError::NotStored {
                    reason: format!("lane {index} is none of {lanes}"),
                });
            }
            LaneKey::All => lanes,
        };
        let mut bytes = Vec::with_capacity(expected_size(&record));
        record.encode_into(&mut bytes);
        let taken = shared.queued_bytes.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        let share = Share { queued_bytes: shared.queued_bytes.clone(), bytes: bytes.len() };
        if taken > shared.max_queued_bytes {
            return Err(AppendError::Full);
        }
        let since = Instant::now();
        let (reply, outcome) = oneshot::channel();
        let caller = Caller { since, deadline: since + shared.budget, reply, _share: share };
        shared.queues[index]
            .send(Item { class, bytes, caller })
            .map_err(|_| AppendError::Closed)?;
        Ok(outcome)
    }
}

/// Room for the encoded record, so that a large body is not copied while the buffer grows.
fn expected_size(record: &Record) -> usize {
    let body = if let Body::Delivery(delivery) = &record.body { delivery.raw.len() } else { 0 };
    body + 512
}

impl Caller {
    fn answer(self, outcome: Answer) {
        // A caller that has gone away wants no answer.
        let _ = self.reply.send(outcome);
    }

    fn answer_unknown(self) {
        let waited_ms = self.since.elapsed().as_millis() as u64;
        self.answer(Err(AppendError::Unknown { waited_ms }));
    }
}
