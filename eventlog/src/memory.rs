//! A log in memory with the semantics of the one on a server: for tests, and for folds that need
//! no durability.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    num::NonZeroU16,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt as _, future::BoxFuture, stream};
use schemas::{Namespace, Time};
use tokio::{sync::watch, time::Instant};

use crate::{
    Ack, Error, JetStreamConfig, Log, Message, Messages, Publish, PublishError, Read, StreamInfo,
    topology::{self, StreamSpec},
};

/// 2100-01-01T00:00:00Z: later than any record's own time, so that lane time, the smaller of the
/// two, is the record's.
const FAR_FUTURE: Time = Time::from_micros(4_102_444_800_000_000);

/// 2025-01-01T00:00:00Z in seconds: the incarnation of the first stream; later ones count on.
const FIRST_INCARNATION: i64 = 1_735_689_600;

/// A log in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryLog {
    namespace: Namespace,
    shared: Arc<Shared>,
}

struct Shared {
    streams: Mutex<HashMap<String, Stored>>,
    /// Counts stores; readers wait on it.
    changed: watch::Sender<u64>,
    clock: Box<dyn Fn() -> Time + Send + Sync>,
}

struct Stored {
    spec: StreamSpec,
    incarnation: i64,
    /// By sequence; purged ones are missing.
    messages: BTreeMap<u64, Message>,
    last_sequence: u64,
    /// Last sequence per subject.
    last: HashMap<String, u64>,
    ids: HashMap<String, (u64, Instant)>,
    bytes: u64,
}

impl MemoryLog {
    /// An empty log with the input stream for `lanes` lanes. Messages are stamped with the year
    /// 2100, so that lane time follows the records; see [`Self::with_clock`].
    pub fn new(namespace: Namespace, lanes: NonZeroU16) -> Self {
        Self::with_clock(namespace, lanes, || FAR_FUTURE)
    }

    /// The same, stamping messages by `clock`.
    pub fn with_clock(
        namespace: Namespace,
        lanes: NonZeroU16,
        clock: impl Fn() -> Time + Send + Sync + 'static,
    ) -> Self {
        let config =
            JetStreamConfig { namespace: namespace.clone(), lanes, ..JetStreamConfig::default() };
        let log = Self {
            namespace,
            shared: Arc::new(Shared {
                streams: Mutex::default(),
                changed: watch::Sender::new(0),
                clock: Box::new(clock),
            }),
        };
        log.shared.make(&topology::deliveries(&config));
        log
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, HashMap<String, Stored>> {
        // Nothing panics while it holds the lock, so what a poisoned one guards is whole.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, spec: &StreamSpec) {
        let mut streams = self.streams();
        let incarnation = FIRST_INCARNATION + streams.len() as i64;
        streams.entry(spec.name.clone()).or_insert_with(|| Stored {
            spec: spec.clone(),
            incarnation,
            messages: BTreeMap::new(),
            last_sequence: 0,
            last: HashMap::new(),
            ids: HashMap::new(),
            bytes: 0,
        });
    }

    fn with<T>(&self, name: &str, ask: impl FnOnce(&Stored) -> T) -> Result<T, Error> {
        self.streams()
            .get(name)
            .map(ask)
            .ok_or_else(|| Error::Read { stream: name.into(), reason: "no such stream".into() })
    }

    fn publish(&self, message: Publish) -> Result<Ack, PublishError> {
        let mut streams = self.streams();
        let Some(stream) = streams.get_mut(&message.stream) else {
            let reason = format!("there is no stream {}", message.stream);
            return Err(PublishError::NotStored { subject: message.subject, reason });
        };
        let ack = stream.publish(message, (self.clock)())?;
        drop(streams);
        if !ack.duplicate {
            self.changed.send_modify(|n| *n += 1);
        }
        Ok(ack)
    }
}

impl Stored {
    fn at(&self, sequence: u64) -> Option<&Message> {
        self.messages.get(&sequence)
    }

    fn purge(&mut self, filter: &str, below: u64) -> u64 {
        let before = self.messages.len();
        let bytes = &mut self.bytes;
        self.messages.retain(|sequence, message| {
            let kept = *sequence >= below || !topology::matches(filter, &message.subject);
            if !kept {
                *bytes -= message.payload.len() as u64;
            }
            kept
        });
        let messages = &self.messages;
        self.last.retain(|_, sequence| messages.contains_key(sequence));
        (before - self.messages.len()) as u64
    }

    fn last_over(&self, filter: &str) -> u64 {
        if let Some(sequence) = self.last.get(filter) {
            return *sequence;
        }
        let over = self.last.iter().filter(|(subject, _)| topology::matches(filter, subject));
        over.map(|(_, sequence)| *sequence).max().unwrap_or(0)
    }

    /// In the order of a server without replicas: fence, known id, limits.
    fn publish(&mut self, message: Publish, time: Time) -> Result<Ack, PublishError> {
        let Publish { subject, message_id, headers, payload, fence, .. } = message;
        let refuse =
            |reason: String| Err(PublishError::NotStored { subject: subject.clone(), reason });
        if subject.split('.').any(|token| token.is_empty() || token.contains(['*', '>', ' '])) {
            return refuse("the subject is not a plain one".into());
        }
        if !self.spec.subjects.iter().any(|filter| topology::matches(filter, &subject)) {
            return refuse(format!("stream {} does not take it", self.spec.name));
        }
        if let Some((name, _)) = headers
            .iter()
            .find(|(name, value)| name.contains([':', '\r', '\n']) || value.contains(['\r', '\n']))
        {
            return refuse(format!("header {name:?} has characters nats cannot carry"));
        }
        if let Some(fence) = fence
            && self.last_over(&fence.filter) != fence.last_sequence
        {
            return Err(PublishError::WrongSequence { subject, expected: fence.last_sequence });
        }
        let now = Instant::now();
        if let Some((sequence, at)) = message_id.as_ref().and_then(|id| self.ids.get(id))
            && now.duration_since(*at) < self.spec.duplicate_window
        {
            return Ok(Ack { sequence: *sequence, duplicate: true });
        }
        let bytes = self.bytes + payload.len() as u64;
        if self.spec.max_bytes.is_some_and(|max| max >= 0 && bytes > max as u64) {
            return refuse("maximum bytes exceeded".into());
        }
        self.bytes = bytes;
        let sequence = self.last_sequence + 1;
        self.last_sequence = sequence;
        let mut headers: Vec<_> =
            headers.into_iter().filter(|(name, _)| crate::is_kept_header(name)).collect();
        if let Some(id) = message_id {
            headers.push(("Nats-Msg-Id".into(), id.clone()));
            self.ids.insert(id, (sequence, now));
        }
        headers.sort_unstable();
        self.last.insert(subject.clone(), sequence);
        let message = Message { subject, sequence, time, headers, payload };
        self.messages.insert(sequence, message);
        Ok(Ack { sequence, duplicate: false })
    }
}

impl Log for MemoryLog {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn publish(&self, message: Publish) -> BoxFuture<'_, Result<Ack, PublishError>> {
        Box::pin(async move { self.shared.publish(message) })
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Messages, Error>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let next = read.from.max(1);
            let last = shared.with(&read.stream, |s| s.last_sequence)?;
            if last + 1 < next {
                let reason = format!("it ends at {last}, before the wanted {next}");
                return Err(Error::Read { stream: read.stream, reason });
            }
            let changed = shared.changed.subscribe();
            Ok(stream::unfold(Reader { shared, read, next, changed }, |mut reader| async {
                let message = reader.advance().await?;
                Some((message, reader))
            })
            .boxed())
        })
    }

    fn last<'a>(
        &'a self,
        stream: &'a str,
        filter: &'a str,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>> {
        Box::pin(async move { self.shared.with(stream, |s| s.at(s.last_over(filter)).cloned()) })
    }

    fn get<'a>(
        &'a self,
        stream: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>> {
        Box::pin(async move { self.shared.with(stream, |s| s.at(sequence).cloned()) })
    }

    fn info<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamInfo, Error>> {
        Box::pin(async move {
            self.shared.with(stream, |s| StreamInfo {
                incarnation: s.incarnation,
                first_sequence: s.messages.keys().next().copied().unwrap_or(s.last_sequence + 1),
                last_sequence: s.last_sequence,
                messages: s.messages.len() as u64,
                bytes: s.bytes,
                max_bytes: s.spec.max_bytes.and_then(|max| u64::try_from(max).ok()),
            })
        })
    }

    fn purge<'a>(
        &'a self,
        stream: &'a str,
        filter: &'a str,
        below: u64,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let mut streams = self.shared.streams();
            let reason = || Error::Read { stream: stream.into(), reason: "no such stream".into() };
            Ok(streams.get_mut(stream).ok_or_else(reason)?.purge(filter, below))
        })
    }

    fn ensure<'a>(&'a self, topology: &'a [StreamSpec]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for spec in topology {
                self.shared.make(spec);
                let found = self.shared.with(&spec.name, |s| s.spec.lanes)?;
                if let (Some(found), Some(wanted)) = (found, spec.lanes)
                    && found != wanted
                {
                    return Err(Error::Mismatch {
                        stream: spec.name.clone(),
                        found: format!("{found} lanes"),
                        wanted: format!("{wanted} lanes"),
                        remedy: format!("set lanes = {found}"),
                    });
                }
            }
            Ok(())
        })
    }
}

struct Reader {
    shared: Arc<Shared>,
    read: Read,
    next: u64,
    changed: watch::Receiver<u64>,
}

impl Reader {
    /// The next message; none when the log is gone.
    async fn advance(&mut self) -> Option<Result<Message, Error>> {
        loop {
            // Marked before looking, so that a store after the look wakes this reader.
            self.changed.mark_unchanged();
            let (filters, next) = (&self.read.filters, &mut self.next);
            let found = self.shared.with(&self.read.stream, |s| {
                while *next <= s.last_sequence {
                    let Some(message) = s.at(*next) else {
                        *next += 1;
                        continue;
                    };
                    *next += 1;
                    if filters.iter().any(|filter| topology::matches(filter, &message.subject)) {
                        return Some(message.clone());
                    }
                }
                None
            });
            match found {
                Ok(Some(message)) => return Some(Ok(message)),
                Ok(None) => self.changed.changed().await.ok()?,
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
