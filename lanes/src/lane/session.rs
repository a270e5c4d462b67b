//! One reading of a lane: from the cursor in the tables until something stops it.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};

use eventlog::Log;
use futures_util::FutureExt;
use store::lane::{Cursor, LaneConnection};
use tokio::sync::watch;

use super::{
    LaneLoopConfig,
    apply::{Session, Window},
    beat::Beat,
    entry::{Content, Entry, Marks},
    meters::Meters,
    parts::Writer,
    prepare::prepare,
    probe::{self, Failed},
    publish::{Publisher, Publishing},
    read::{Reader, Source},
    stop::{Asked, Stop, panic_text},
    waiting::{Size, Waiting},
};
use crate::{Input, Stage};

/// What this process remembers of a lane between two times of owning it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The batch behind which the attempts were raised by this process and not reset since.
    raised: Option<u64>,
    /// Why the last attempt failed.
    reason: Option<String>,
    /// A batch was committed since the lane was taken.
    pub progress: bool,
    pub window: Window,
}

impl Memory {
    /// A batch was committed.
    pub fn committed(&mut self, records: u64, parked: u64, window: u64) {
        self.raised = None;
        self.reason = None;
        self.progress = true;
        self.window.add(records, parked, window);
    }
}

/// The owner of one lane.
pub(super) struct Owner<S: Stage> {
    pub stage: Arc<S>,
    pub input: Input,
    pub log: Arc<dyn Log>,
    pub lane: schemas::Lane,
    pub writer: Writer,
    pub config: Arc<LaneLoopConfig>,
    pub connection: LaneConnection,
    pub beat: Beat,
    pub asked: Asked,
    pub memory: Memory,
    pub meters: Meters,
    /// Called when the lane is read and everything an earlier owner left is published.
    pub on_ready: Box<dyn Fn() + Send + Sync>,
}

impl<S: Stage> Owner<S> {
    /// Applies the lane until something stops it, then gives it back.
    pub async fn run(mut self) -> (Stop, Memory) {
        let stop = loop {
            let stop = match self.session().await {
                Ok(never) => match never {},
                Err(stop) => stop,
            };
            match stop {
                Stop::Poison { at, reason } => {
                    self.meters.failed.increment(1);
                    tracing::error!(
                        stage = self.stage.name(),
                        lane = self.lane.0,
                        position = %at,
                        "a batch of lane {} cannot be applied and is tried again: {reason} at {at}",
                        self.lane
                    );
                    self.memory.raised = None;
                    self.memory.reason = Some(reason);
                    let pause = tokio::time::sleep(self.config.retry_pause);
                    if let Err(stop) = self.beat.during(&mut self.connection, pause).await {
                        break stop;
                    }
                }
                Stop::Frozen => {}
                stop @ (Stop::Asked
                | Stop::NotOwner(_)
                | Stop::Halt(_)
                | Stop::Store(_)
                | Stop::Log(_)) => break stop,
            }
            if self.asked.is_asked() {
                break Stop::Asked;
            }
        };
        let Self { mut connection, mut memory, .. } = self;
        if let (Some(batch), Stop::Asked | Stop::Log(_)) = (memory.raised, &stop) {
            // The batch was not at fault. Should this fail the attempt counts, which is harmless
            // unless it happens six times in a row.
            if connection.forgive_attempt(batch).await.is_ok() {
                memory.raised = None;
            }
        }
        connection.release().await;
        (stop, memory)
    }

    async fn session(&mut self) -> Result<Infallible, Stop> {
        let limit = Size { items: self.config.max_alerts.max(1), bytes: self.config.max_bytes };
        let (mut session, mut reader) = self.take_over().await?;
        (self.on_ready)();

        let (beat, asked) = (&mut self.beat, &self.asked);
        let entries = beat
            .during(&mut self.connection, async {
                tokio::select! {
                    biased;
                    () = asked.asked() => Err(Stop::Asked),
                    entries = reader.collect(limit) => entries,
                }
            })
            .await??;
        let attempts = self.attempt(&session.cursor).await?;
        if attempts >= self.config.careful_at {
            self.carefully(&mut session, entries, attempts).await?;
        } else {
            let context = session.context(&self.stage)?;
            let (batch, left) =
                prepare(&self.stage, &context, entries, self.config.threads).await?;
            reader.give_back(left);
            self.apply(&mut session, batch, attempts).await?;
        }

        let waiting = Waiting::new(limit, self.stage.linger());
        let (folded, contexts) = watch::channel(session.context(&self.stage)?);
        let feed =
            feed(Arc::clone(&self.stage), &mut reader, self.config.threads, &waiting, contexts);
        tokio::select! {
            stop = self.work(&mut session, &waiting, &folded) => stop,
            never = feed => match never {},
        }
    }

    /// Loads what the lane needs, publishes what an earlier owner left, and opens the log behind
    /// the cursor.
    async fn take_over(&mut self) -> Result<(Session<S>, Reader), Stop> {
        let cursor = self.connection.cursor().await?;
        let (known, name) = (self.stage.fold_version(), self.stage.name());
        if cursor.fold_version > known {
            return Err(Stop::Halt(format!(
                "lane {} was folded by {name} version {}, this binary has {known}; run the newer \
                 binary",
                self.lane, cursor.fold_version
            )));
        }
        let standing = self.connection.standing().await?;
        self.beat.frozen_at = standing.frozen_at;
        let marks = Marks::decode(&cursor.marks).map_err(|e| Stop::Halt(e.to_string()))?;
        let unpublished = self.connection.unpublished().await?;
        let open = Publisher::open(Arc::clone(&self.log), self.writer.clone());
        let mut publisher = self.beat.during(&mut self.connection, open).await??;
        if let Some(found) = publisher.last_batch().filter(|last| *last > cursor.batch) {
            let again = self.connection.cursor().await?;
            if again.batch != cursor.batch {
                return Err(Stop::NotOwner(format!(
                    "lane {} moved while it was taken over",
                    self.lane
                )));
            }
            return Err(Stop::Halt(format!(
                "the log holds batch {found} of {name} in lane {}, the tables stand at {}: they \
                 were restored from an older copy; use the ones that belong to this log",
                self.lane, cursor.batch
            )));
        }
        let publish = publisher.publish(&unpublished, &self.asked);
        self.beat.during(&mut self.connection, publish).await??;

        let producers = match self.input {
            Input::Records => self.connection.producers().await?,
            Input::Events(_) => Vec::new(),
        };
        let state = AssertUnwindSafe(self.stage.load(&mut self.connection, self.lane))
            .catch_unwind()
            .await
            .map_err(|panic| Stop::Halt(format!("load {}", panic_text(&*panic))))??;
        let source = Source {
            log: &*self.log,
            generation: self.writer.generation,
            lane: self.lane,
            input: self.input,
            after: cursor.at,
            producers,
            marks: marks.clone(),
            gaps: self.meters.gaps.clone(),
            until: standing.frozen_at,
        };
        let open = Reader::open(source);
        let reader = self.beat.during(&mut self.connection, open).await??;
        self.beat.applied(cursor.at, None);
        let publishing = Publishing::new(publisher);
        Ok((Session { cursor, marks, publishing, state: Some(state) }, reader))
    }

    /// Notes that the batch behind the cursor is tried, unless this process did so already and was
    /// kept from trying. Returns how often it was.
    async fn attempt(&mut self, cursor: &Cursor) -> Result<u32, Stop> {
        if self.memory.raised == Some(cursor.batch) {
            return Ok(cursor.attempts.max(1));
        }
        let attempts = self.connection.raise_attempts(cursor, 0).await?;
        self.memory.raised = Some(cursor.batch);
        Ok(attempts)
    }

    /// Applies a batch that failed before one record at a time, each first in a child process; a
    /// record that was tried often enough is given up.
    async fn carefully(
        &mut self,
        session: &mut Session<S>,
        entries: Vec<Entry>,
        mut attempts: u32,
    ) -> Result<(), Stop> {
        tracing::warn!(
            stage = self.stage.name(),
            lane = self.lane.0,
            "{} records of lane {} are applied one at a time, attempt {attempts}",
            entries.len(),
            self.lane
        );
        for (index, mut entry) in entries.into_iter().enumerate() {
            if index > 0 {
                if self.asked.is_asked() {
                    return Err(Stop::Asked);
                }
                // Should this one end the process, its next owner is as careful at once.
                let at_least = self.config.careful_at.saturating_sub(1);
                attempts = self.connection.raise_attempts(&session.cursor, at_least).await?;
                self.memory.raised = Some(session.cursor.batch);
            }
            if let Content::Item(item) = &entry.content {
                if attempts >= self.config.park_at {
                    let reason = self.memory.reason.as_deref().unwrap_or("its process ended");
                    let reason = format!("given up after {attempts} attempts: {reason}");
                    tracing::error!(
                        stage = self.stage.name(),
                        lane = self.lane.0,
                        position = %item.at,
                        "record {} of lane {} is parked: {reason}",
                        item.at,
                        self.lane
                    );
                    entry.content = Content::GivenUp(reason);
                } else if let Some(command) = &self.config.probe {
                    let (at, tried) = (item.at, probe::probe(command, &item.bytes));
                    match self.beat.during(&mut self.connection, tried).await? {
                        Ok(()) => {}
                        Err(Failed::Item(reason)) => return Err(Stop::Poison { at, reason }),
                        Err(failed @ Failed::Start(_)) => {
                            tracing::error!("a record is tried in this process: {failed}");
                        }
                    }
                }
            }
            let context = session.context(&self.stage)?;
            let (batch, _) = prepare(&self.stage, &context, vec![entry], 1).await?;
            self.apply(session, batch, attempts).await?;
        }
        Ok(())
    }

    /// Applies batch after batch; after one that changes by what the next is prepared, says so.
    async fn work(
        &mut self,
        session: &mut Session<S>,
        waiting: &Waiting<S::Prepared>,
        folded: &watch::Sender<S::Context>,
    ) -> Result<Infallible, Stop> {
        loop {
            let (beat, asked) = (&mut self.beat, &self.asked);
            let next = beat
                .during(&mut self.connection, async {
                    tokio::select! {
                        biased;
                        () = asked.asked() => Err(Stop::Asked),
                        stop = session.publishing.failed() => Err(stop),
                        next = waiting.take() => next,
                    }
                })
                .await?;
            let batch = match next {
                Ok(batch) => batch,
                Err(stop) => {
                    // Asked, it finishes and publishes the batch in hand.
                    let published = session.publishing.done();
                    beat.during(&mut self.connection, published).await??;
                    return Err(stop);
                }
            };
            let ends = batch.ends;
            self.apply(session, batch, 1).await?;
            if ends {
                folded.send_replace(session.context(&self.stage)?);
            }
        }
    }
}

/// Reads and prepares the next batch while the last one is applied.
async fn feed<S: Stage>(
    stage: Arc<S>,
    reader: &mut Reader,
    threads: usize,
    waiting: &Waiting<S::Prepared>,
    mut contexts: watch::Receiver<S::Context>,
) -> Infallible {
    let mut context = contexts.borrow_and_update().clone();
    loop {
        let prepared = match reader.collect(waiting.room().await).await {
            Ok(entries) => prepare(&stage, &context, entries, threads).await,
            Err(stop) => Err(stop),
        };
        match prepared {
            Ok((batch, left)) => {
                reader.give_back(left);
                let ends = batch.ends;
                waiting.put(batch).await;
                if ends {
                    if contexts.changed().await.is_err() {
                        break;
                    }
                    context = contexts.borrow_and_update().clone();
                }
            }
            Err(stop) => {
                // Behind the batches that are still to be applied.
                waiting.stop(stop);
                break;
            }
        }
    }
    std::future::pending().await
}
