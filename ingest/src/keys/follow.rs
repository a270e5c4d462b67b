//! Reading the control records: to the end once, and on as they are appended.

use std::{sync::Arc, time::Duration};

use eventlog::{Log, Read};
use futures_util::StreamExt;
use runtime::{Clock, Health, Shutdown};
use schemas::{
    LaneKey,
    subject::{Class, deliveries, deliveries_stream},
};
use tokio::{
    sync::watch,
    time::{Instant, interval, sleep, timeout},
};

use super::{CopyFile, Held, Known, issued};
use crate::{Issued, Source, Sources, gate::Gate};

/// The part of the process's health this is.
const PART: &str = "keys";

/// How often the log is asked whether everything was read.
const LOOK: Duration = Duration::from_secs(2);

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pause before a log that could not be read is read again.
const PAUSE: Duration = Duration::from_millis(250);

/// Who follows the control records for the sources of a process.
pub struct Follower {
    log: Arc<dyn Log>,
    sources: Arc<Sources>,
    copy: Option<CopyFile>,
    clock: Clock,
    health: Health,
    /// What requests are let in by.
    known: Option<Known>,
    /// Whether they are let in by anything yet.
    is_known: watch::Sender<bool>,
    /// A sequence of that log that is not in it any more: copies that go as far are of a log that
    /// was put back to an earlier state.
    beyond: Option<u64>,
}

/// Why the log is read anew.
#[derive(Debug)]
enum Broken {
    Log(eventlog::Error),
    /// It did not answer in time.
    Slow,
    /// It is not the log that was read so far.
    Another,
    /// Records are there that the read did not bring.
    Behind {
        last: u64,
        read: u64,
    },
    /// The read ended.
    Ended,
}

impl From<eventlog::Error> for Broken {
    fn from(error: eventlog::Error) -> Self {
        Self::Log(error)
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Slow => write!(f, "the log does not answer"),
            Self::Another => write!(f, "another log stands where the one was that was read"),
            Self::Behind { last, read } => write!(f, "read up to {read}, and the last is {last}"),
            Self::Ended => write!(f, "the read ended"),
        }
    }
}

impl Follower {
    /// Begins with the copy, if there is one: from here on requests to `sources` are let in by it.
    /// To be called before any request is.
    /// Without a place for a copy, a start without the log knows no key.
    pub fn begin(
        log: Arc<dyn Log>,
        sources: Arc<Sources>,
        copy: Option<CopyFile>,
        clock: Clock,
        health: Health,
    ) -> Self {
        let read = copy.as_ref().map_or(Ok(None), CopyFile::read);
        let known = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "the copy of the keys cannot be used: {error}");
            None
        });
        let is_known = watch::Sender::new(known.is_some());
        let follower = Self { log, sources, copy, clock, health, known, is_known, beyond: None };
        match &follower.known {
            Some(known) => follower.hold(&known.held),
            None => follower.sources.iter().for_each(|source| {
                source.issue(Issued { unread: true, ..Issued::default() });
            }),
        }
        follower.goes_by("the control records were not read yet");
        follower
    }

    /// Becomes true once keys are known, by the log or by a copy. Until then a source that has no
    /// other credential answers 503.
    pub fn is_known(&self) -> watch::Receiver<bool> {
        self.is_known.subscribe()
    }

    /// Follows the control records until told to stop, and says in the health how far it came.
    ///
    /// While they cannot be read, requests are let in by what was read last.
    pub async fn follow(mut self, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.stopping() => {}
            () = self.go_on_for_ever() => {}
        }
    }

    fn hold(&self, held: &Held) {
        for source in self.sources.iter() {
            source.issue(issued(held, source));
        }
    }

    /// Says what requests are let in by, and why by no more.
    fn goes_by(&self, why: &str) {
        let by = self.known.as_ref().map_or_else(
            || "no key made by `bellwether keys` is known".to_owned(),
            |known| format!("keys and switches are those of {}", known.at),
        );
        self.health.degraded(PART, format!("{why}; {by}"));
    }

    async fn go_on_for_ever(&mut self) {
        loop {
            let Err(broken) = self.go_on().await;
            self.goes_by(&format!("the control records cannot be read: {broken}"));
            sleep(PAUSE).await;
        }
    }

    /// Reads on from what is known, for ever.
    async fn go_on(&mut self) -> Result<std::convert::Infallible, Broken> {
        let log = Arc::clone(&self.log);
        let stream = deliveries_stream(log.namespace());
        let subject = deliveries(log.namespace(), LaneKey::All, Class::Control);
        let info = timeout(PATIENCE, log.info(&stream)).await.map_err(|_| Broken::Slow)??;
        let goes_on = |known: &&Known| {
            known.incarnation == info.incarnation && known.sequence <= info.last_sequence
        };
        let mut now = match self.known.as_ref().filter(goes_on) {
            Some(known) => known.clone(),
            None => Known::nothing(info.incarnation, self.clock.now()),
        };
        let lost = |known: &&Known| known.sequence > info.last_sequence;
        if let Some(known) = self.known.as_ref().filter(lost) {
            self.beyond = Some(known.sequence);
        }
        let mut last = self.last(&stream, &subject).await?;
        let read =
            Read { stream: stream.clone(), filters: vec![subject.clone()], from: now.sequence + 1 };
        let mut messages = timeout(PATIENCE, log.read(read)).await.map_err(|_| Broken::Slow)??;
        let mut look = interval(LOOK);
        let mut owed_since = Instant::now();
        let (mut taken, mut is_news) = (false, false);
        loop {
            if now.sequence >= last {
                owed_since = Instant::now();
                if !taken {
                    self.take(now.clone()).await;
                    (taken, is_news) = (true, true);
                }
                self.health.ready(PART);
            }
            tokio::select! {
                biased;
                message = messages.next() => {
                    let message = message.ok_or(Broken::Ended)??;
                    now.apply(&message, is_news);
                    now.at = self.clock.now();
                    taken = false;
                    last = last.max(now.sequence);
                }
                _ = look.tick() => {
                    let info = timeout(PATIENCE, log.info(&stream)).await;
                    let info = info.map_err(|_| Broken::Slow)??;
                    if info.incarnation != now.incarnation {
                        return Err(Broken::Another);
                    }
                    last = self.last(&stream, &subject).await?;
                    if let Some(known) = self.known.as_mut().filter(|_| now.sequence >= last) {
                        known.at = self.clock.now();
                    }
                    // What was just appended is on its way.
                    if now.sequence < last && owed_since.elapsed() > LOOK + LOOK / 2 {
                        return Err(Broken::Behind { last, read: now.sequence });
                    }
                }
            }
        }
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<u64, Broken> {
        let last = timeout(PATIENCE, self.log.last(stream, subject)).await;
        Ok(last.map_err(|_| Broken::Slow)??.map_or(0, |message| message.sequence))
    }

    /// Lets requests in by this, and keeps a copy of it.
    async fn take(&mut self, now: Known) {
        if self.known.as_ref().is_none_or(|known| known.held != now.held) {
            let waited = |source: &Source| matches!(source.gate(now.at), Gate::Unread);
            let is_news = self.known.is_some()
                || now.held != Held::default()
                || self.sources.iter().any(waited);
            self.hold(&now.held);
            // Whoever tells the health first does so by these.
            if is_news && self.sources.are_announced() {
                self.sources.announce(&self.health);
            }
        }
        let before = self.known.replace(now.clone());
        self.is_known.send_replace(true);
        let same = |before: &Known| {
            (before.incarnation, before.sequence) == (now.incarnation, now.sequence)
        };
        let Some(copy) = self.copy.clone() else { return };
        if before.as_ref().is_some_and(same) {
            return;
        }
        let beyond = self.beyond;
        let written = tokio::task::spawn_blocking(move || copy.write(&now, beyond)).await;
        match written {
            Ok(Ok(())) => self.beyond = None,
            Ok(Err(error)) => {
                tracing::error!(%error, "the copy of the keys cannot be written: {error}");
            }
            // The process ends.
            Err(_) => {}
        }
    }
}
