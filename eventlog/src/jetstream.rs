//! The log on a NATS server with JetStream.
//!
//! Facts this relies on, checked against nats-server 2.15 in `tests`: the fence header's subject
//! may be a wildcard filter; the fence is looked at before the message id, so a second try of what
//! was stored after all is refused by its own first try. From its sources: every error reply to a
//! publish is given before anything is stored (error code 10158, "id in process", excepted), while
//! a failed write gets no reply at all.

mod config;
mod ensure;
mod publish;
mod reader;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event,
    connection::State,
    header::HeaderMap,
    jetstream::{
        Context, ContextBuilder, ErrorCode, context::GetStreamErrorKind, message::StreamMessage,
        stream::LastRawMessageErrorKind,
    },
};
use futures_util::future::BoxFuture;
use schemas::{Namespace, Time};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

pub use config::{Credentials, JetStreamConfig};

use crate::{
    Ack, Error, Log, LogIdentity, Message, Messages, Publish, PublishError, Read, StreamInfo,
    topology,
};

/// The oldest server with everything this crate uses.
const SERVER: (i64, i64, i64) = (2, 12, 0);

/// Pause between two tries while a server is awaited.
const RETRY: Duration = Duration::from_millis(50);

/// A connection to a NATS server. Clones share it.
#[derive(Clone, Debug)]
pub struct JetStream {
    client: Client,
    context: Context,
    config: JetStreamConfig,
    /// Counts lost connections: what was on its way when it changes has an unknown outcome.
    losses: watch::Receiver<u64>,
    /// Whether the server and its streams were found to be what is wanted.
    is_open: Arc<AtomicBool>,
}

impl JetStream {
    /// Connects, trying for `config.connect_patience` while there is no server or its JetStream is
    /// not up yet. Afterwards a lost connection is restored by itself, for ever.
    ///
    /// # Errors
    /// [`Error::Connect`] when nobody answers in time, the credentials are refused, or the server
    /// is older than 2.12.
    pub async fn connect(config: &JetStreamConfig) -> Result<Self, Error> {
        let deadline = Instant::now() + config.connect_patience;
        let fail = |reason: String| Error::Connect { url: config.shown_url(), reason };
        let (client, losses) = loop {
            match try_connect(config, false).await {
                Ok(connected) => break connected,
                Err(e) => {
                    let hopeless = matches!(
                        e.kind(),
                        ConnectErrorKind::ServerParse
                            | ConnectErrorKind::Authentication
                            | ConnectErrorKind::AuthorizationViolation
                    );
                    if hopeless || Instant::now() >= deadline {
                        return Err(fail(e.to_string()));
                    }
                }
            }
            sleep(RETRY).await;
        };
        let log = Self::with(config, client, losses);
        log.check_version()?;
        while let Err(e) = log.context.query_account().await {
            if Instant::now() >= deadline {
                return Err(fail(format!("jetstream does not answer: {e}")));
            }
            sleep(RETRY).await;
        }
        log.is_open.store(true, Ordering::Release);
        Ok(log)
    }

    /// Begins to connect and waits for nobody. Nothing is stored before [`Self::open`] has returned.
    ///
    /// # Errors
    /// [`Error::Connect`] when the addresses are none.
    pub async fn begin(config: &JetStreamConfig) -> Result<Self, Error> {
        let fail = |reason: String| Error::Connect { url: config.shown_url(), reason };
        let (client, losses) = try_connect(config, true).await.map_err(|e| fail(e.to_string()))?;
        Ok(Self::with(config, client, losses))
    }

    /// Waits for the server of a connection that was begun, for ever, and makes or checks the
    /// streams of `topology`; then messages are stored.
    ///
    /// # Errors
    /// What waiting does not mend: a server that is too old, a stream that cannot be used.
    pub async fn open(&self, topology: &[topology::StreamSpec]) -> Result<(), Error> {
        loop {
            if self.client.connection_state() == State::Connected {
                self.check_version()?;
                match self.ensure(topology).await {
                    Ok(()) => break,
                    Err(e @ Error::Mismatch { .. }) => return Err(e),
                    Err(e) => tracing::debug!("the log is not open yet: {e}"),
                }
            }
            sleep(RETRY).await;
        }
        self.is_open.store(true, Ordering::Release);
        Ok(())
    }

    /// True while there is a connection to a log that is open. False is no verdict on anything sent
    /// before.
    pub fn connected(&self) -> bool {
        self.is_open.load(Ordering::Acquire) && self.client.connection_state() == State::Connected
    }

    /// What a start without this server would have to know of it.
    ///
    /// # Errors
    /// See [`Log::info`].
    pub async fn identity(&self) -> Result<LogIdentity, Error> {
        let stream = schemas::subject::deliveries_stream(&self.config.namespace);
        Ok(LogIdentity {
            namespace: self.config.namespace.clone(),
            lanes: self.config.lanes,
            incarnation: self.info_of(&stream).await?.incarnation,
            max_payload: self.client.max_payload(),
            doubted: false,
        })
    }

    fn with(config: &JetStreamConfig, client: Client, losses: watch::Receiver<u64>) -> Self {
        let context = ContextBuilder::new().timeout(config.ack_timeout).build(client.clone());
        Self { client, context, config: config.clone(), losses, is_open: Arc::default() }
    }

    fn check_version(&self) -> Result<(), Error> {
        let (major, minor, patch) = SERVER;
        if self.client.is_server_compatible(major, minor, patch) {
            return Ok(());
        }
        let reason = format!(
            "nats-server {} is too old, {major}.{minor} or newer is needed",
            self.client.server_info().version
        );
        Err(Error::Connect { url: self.config.shown_url(), reason })
    }

    async fn info_of(&self, stream: &str) -> Result<StreamInfo, Error> {
        let fail = |reason: String| Error::Stream { what: "info", stream: stream.into(), reason };
        let found = self.context.get_stream(stream).await.map_err(|e| fail(e.to_string()))?;
        let info = found.cached_info();
        Ok(StreamInfo {
            incarnation: info.created.unix_timestamp(),
            first_sequence: info.state.first_sequence,
            last_sequence: info.state.last_sequence,
            messages: info.state.messages,
            bytes: info.state.bytes,
            max_bytes: u64::try_from(info.config.max_bytes).ok().filter(|max| *max > 0),
        })
    }

    /// One message, from the stream's leader: a replica may lag behind what it acknowledged.
    async fn one(&self, stream: &str, which: Which<'_>) -> Result<Option<Message>, Error> {
        let fail = |reason: String| Error::Read { stream: stream.into(), reason };
        let handle =
            self.context.get_stream_no_info(stream).await.map_err(|e| fail(e.to_string()))?;
        let got = match which {
            Which::Last(filter) => handle.get_last_raw_message_by_subject(filter).await,
            Which::At(sequence) => handle.get_raw_message(sequence).await,
        };
        match got {
            Ok(message) => Ok(Some(stored(message))),
            Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(e) => Err(fail(e.to_string())),
        }
    }
}

impl Log for JetStream {
    fn namespace(&self) -> &Namespace {
        &self.config.namespace
    }

    fn publish(&self, message: Publish) -> BoxFuture<'_, Result<Ack, PublishError>> {
        Box::pin(publish::publish(self, message))
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Messages, Error>> {
        Box::pin(reader::open(self.clone(), read))
    }

    fn last<'a>(
        &'a self,
        stream: &'a str,
        filter: &'a str,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>> {
        Box::pin(self.one(stream, Which::Last(filter)))
    }

    fn get<'a>(
        &'a self,
        stream: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>> {
        Box::pin(self.one(stream, Which::At(sequence)))
    }

    fn info<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamInfo, Error>> {
        Box::pin(self.info_of(stream))
    }

    fn purge<'a>(
        &'a self,
        stream: &'a str,
        filter: &'a str,
        below: u64,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            // To the server a sequence of 0 is none, and a purge without one takes everything.
            if below == 0 {
                return Ok(0);
            }
            let fail =
                |reason: String| Error::Stream { what: "purge", stream: stream.into(), reason };
            let found =
                self.context.get_stream_no_info(stream).await.map_err(|e| fail(e.to_string()))?;
            let purge = found.purge().filter(filter).sequence(below);
            purge.await.map(|done| done.purged).map_err(|e| fail(e.to_string()))
        })
    }

    fn ensure<'a>(
        &'a self,
        topology: &'a [topology::StreamSpec],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for spec in topology {
                ensure::ensure(&self.context, &self.config, spec).await?;
            }
            Ok(())
        })
    }
}

enum Which<'a> {
    Last(&'a str),
    At(u64),
}

/// Connects, or begins to, in the background, for as long as it takes.
async fn try_connect(
    config: &JetStreamConfig,
    in_background: bool,
) -> Result<(Client, watch::Receiver<u64>), async_nats::ConnectError> {
    let (lost, losses) = watch::channel(0);
    let mut options = ConnectOptions::new()
        .name("bellwether")
        .connection_timeout(Duration::from_secs(2))
        // A server that stands still is noticed after two unanswered pings.
        .ping_interval(Duration::from_secs(5))
        .reconnect_delay_callback(|attempt| {
            Duration::from_millis(25).saturating_mul(attempt.min(20) as u32)
        })
        .event_callback(move |event| {
            if event == Event::Disconnected {
                lost.send_modify(|n| *n += 1);
            }
            std::future::ready(())
        });
    if let Some(Credentials { user, password }) = &config.credentials {
        options = options.user_and_password(user.clone(), password.clone());
    }
    if in_background {
        options = options.retry_on_initial_connect();
    }
    let client = options.connect(config.addresses()).await?;
    Ok((client, losses))
}

fn stored(message: StreamMessage) -> Message {
    Message {
        subject: message.subject.to_string(),
        sequence: message.sequence,
        time: time(message.time),
        headers: headers(&message.headers),
        payload: message.payload,
    }
}

/// The publisher's own headers and the message id; the rest of `Nats-*` is transport.
fn headers(map: &HeaderMap) -> Vec<(String, String)> {
    let mut headers: Vec<_> = map
        .iter()
        .filter(|(name, _)| crate::is_kept_header(name.as_ref()))
        .flat_map(|(name, values)| values.iter().map(|v| (name.to_string(), v.as_str().to_owned())))
        .collect();
    headers.sort_unstable();
    headers
}

fn time(at: async_nats::datetime::DateTime) -> Time {
    // Years that fit no i64 of microseconds do not come from a server's clock.
    Time::from_micros(i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or_default())
}

fn is_stream_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(e)
        if e.error_code() == ErrorCode::STREAM_NOT_FOUND)
}
