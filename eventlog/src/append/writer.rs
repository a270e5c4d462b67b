//! The one writer of a lane key.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use schemas::{LaneKey, frame::MAX_FRAME_RECORDS, subject::Class};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc::UnboundedReceiver},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{AppendError, AppenderConfig, Item, frame::Frame};
use crate::{
    Log, Publish, PublishError, Spool,
    spool::{Entry, SpoolFailure},
};

/// Pause before a frame is sent again, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How long a frame waits for its ack before it goes to the spool, where there is one.
const ACK_BUDGET: Duration = Duration::from_millis(300);

/// How long records gather in front of a spool that is being emptied. Emptying it costs a synced
/// message a frame, filling it one sync for all lanes: without the pause it might never be empty.
const GATHER: Duration = Duration::from_millis(100);

/// What the writers of one appender have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) log: Arc<dyn Log>,
    pub(super) stream: String,
    pub(super) config: AppenderConfig,
    /// One for each frame that may be on its way, over all lanes.
    pub(super) ways: Arc<Semaphore>,
    pub(super) spool: Option<Spool>,
}

pub(super) struct Writer {
    common: Common,
    key: LaneKey,
    /// Of class data, of class control.
    subjects: [String; 2],
    incoming: UnboundedReceiver<Item>,
    /// Taken from the queue, not yet in a frame.
    pending: VecDeque<Item>,
    received: Vec<Item>,
    /// When the queue was last seen empty: whoever is in it came later.
    drained: Instant,
    /// Number of the last frame and running total of records up to it.
    number: u64,
    total: u64,
    /// The stream's incarnation as far as it is known to be current.
    incarnation: Option<i64>,
    last_sequence: u64,
    scratch: Vec<u8>,
}

/// What became of one try.
enum Outcome {
    Stored { incarnation: i64, sequence: u64 },
    NotStored { reason: String },
    Unknown,
}

impl Writer {
    pub(super) fn new(
        common: Common,
        key: LaneKey,
        subjects: [String; 2],
        incoming: UnboundedReceiver<Item>,
    ) -> Self {
        Self {
            common,
            key,
            subjects,
            incoming,
            pending: VecDeque::new(),
            received: Vec::new(),
            drained: Instant::now(),
            number: 0,
            total: 0,
            incarnation: None,
            last_sequence: 0,
            scratch: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        while self.receive().await {
            // Before the frame is closed, so that it grows while it waits.
            let way = self.way().await;
            self.take_waiting();
            let frame = Frame::close(
                &mut self.pending,
                self.common.config.producer,
                self.number,
                self.total,
                &mut self.scratch,
            );
            if let Some(frame) = frame {
                self.store(frame, way).await;
            }
        }
    }

    /// Takes what waits, at least one record; false when there will be none any more.
    async fn receive(&mut self) -> bool {
        if self.pending.is_empty() {
            self.incoming.recv_many(&mut self.received, MAX_FRAME_RECORDS).await;
            self.pending.extend(self.received.drain(..));
        }
        self.take_waiting();
        !self.pending.is_empty()
    }

    fn take_waiting(&mut self) {
        while self.pending.len() < MAX_FRAME_RECORDS
            && let Ok(item) = self.incoming.try_recv()
        {
            self.pending.push_back(item);
        }
    }

    /// Waits until another frame may be on its way; none if nobody counts them any more, or if the
    /// spool is where the frame has to go.
    async fn way(&mut self) -> Option<OwnedSemaphorePermit> {
        let ways = self.common.ways.clone();
        let Some(spool) = self.common.spool.clone() else {
            return self.wait(None, ways.acquire_owned()).await.ok();
        };
        if !spool.waits()
            && let Ok(way) = ways.clone().try_acquire_owned()
        {
            return Some(way);
        }
        let mut status = spool.watch();
        if self.pending.len() < MAX_FRAME_RECORDS && status.borrow_and_update().is_emptied() {
            let emptied = async {
                let _ = status.wait_for(|status| !status.is_emptied()).await;
            };
            let _ = self.wait(None, timeout(GATHER, emptied)).await;
        }
        let mut status = spool.watch();
        let way = async move {
            tokio::select! {
                biased;
                _ = status.wait_for(|status| status.waits()) => None,
                way = ways.acquire_owned() => way.ok(),
            }
        };
        self.wait(None, way).await
    }

    /// Sends a frame until it is durable or known not to be. What has to be sent again leaves the
    /// way to others.
    async fn store(&mut self, mut frame: Frame, mut way: Option<OwnedSemaphorePermit>) {
        let mut in_doubt = false;
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = match self.is_behind() {
                // Frames of this lane may be among those that wait: this one must not pass them.
                true => Outcome::NotStored { reason: "frames before it wait in the spool".into() },
                false => self.send(&mut frame).await,
            };
            way.take();
            let mut reason = match outcome {
                Outcome::Stored { incarnation, sequence } => {
                    self.count(&frame);
                    self.last_sequence = sequence;
                    frame.stored(incarnation, sequence);
                    return;
                }
                Outcome::NotStored { reason } => reason,
                Outcome::Unknown => {
                    in_doubt = true;
                    "its outcome is unknown".into()
                }
            };
            match self.spool(&mut frame).await {
                None => {}
                Some(Ok(())) => {
                    self.count(&frame);
                    frame.spooled();
                    return;
                }
                Some(Err(failure)) => {
                    in_doubt |= matches!(failure, SpoolFailure::InDoubt { .. });
                    reason = format!("{reason}; {failure}");
                }
            }
            if pause == FIRST_PAUSE {
                tracing::warn!(
                    log.lane = %self.key, log.frame = frame.number,
                    "frame {} of lane {} is sent again: {reason}", frame.number, self.key
                );
            }
            metrics::counter!("bellwether_log_retries_total").increment(1);
            if in_doubt {
                if !frame.is_awaited() && self.incoming.is_closed() && self.pending.is_empty() {
                    return; // Nobody is left to care, and no frame follows that could be mistaken.
                }
                self.wait(Some(&mut frame), sleep(pause)).await;
            } else {
                // Known not to be stored, so nobody is answered "unknown" while it rests.
                let deadline = frame.deadline().unwrap_or_else(Instant::now);
                let again = Instant::now() + pause;
                self.wait(None, sleep_until(again.min(deadline))).await;
                if Instant::now() >= deadline {
                    // The number goes to the next frame: this one never was.
                    frame.refused(&reason);
                    return;
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The frame has its number for good.
    fn count(&mut self, frame: &Frame) {
        self.number = frame.number;
        self.total += u64::from(frame.count);
        metrics::counter!("bellwether_log_frames_total").increment(1);
        metrics::counter!("bellwether_log_records_total").increment(frame.count.into());
    }

    fn is_behind(&self) -> bool {
        self.common.spool.as_ref().is_some_and(Spool::waits)
    }

    fn message_id(&self, frame: &Frame) -> String {
        format!("{}:{}:{}", self.common.config.producer, self.key, frame.number)
    }

    /// Puts the frame into the spool; none when there is no spool.
    async fn spool(&mut self, frame: &mut Frame) -> Option<Result<(), SpoolFailure>> {
        let spool = self.common.spool.clone()?;
        let entry = Entry {
            key: self.key,
            class: frame.class,
            message_id: self.message_id(frame),
            frame: frame.bytes.clone(),
        };
        Some(self.wait(Some(frame), spool.append(entry)).await)
    }

    /// One try.
    async fn send(&mut self, frame: &mut Frame) -> Outcome {
        let message = Publish {
            stream: self.common.stream.clone(),
            subject: self.subjects[(frame.class == Class::Control) as usize].clone(),
            message_id: Some(self.message_id(frame)),
            headers: Vec::new(),
            payload: frame.bytes.clone(),
            fence: None,
            keep_forever: frame.class == Class::Control,
        };
        let log = self.common.log.clone();
        let (known, last) = (self.incarnation.take(), self.last_sequence);
        let stream = self.common.stream.clone();
        let sent = AtomicBool::new(false);
        let attempt = async {
            // Before the send: what is stored must get a position.
            let incarnation = match known {
                Some(incarnation) => incarnation,
                None => match log.info(&stream).await {
                    Ok(info) => info.incarnation,
                    Err(e) => return Outcome::NotStored { reason: e.to_string() },
                },
            };
            let started = Instant::now();
            sent.store(true, Ordering::Relaxed);
            match log.publish(message).await {
                // A stream whose numbers begin again is another one.
                Ok(ack) if !ack.duplicate && ack.sequence <= last => {
                    match log.info(&stream).await {
                        Ok(info) => Outcome::Stored {
                            incarnation: info.incarnation,
                            sequence: ack.sequence,
                        },
                        Err(_) => Outcome::Unknown,
                    }
                }
                Ok(ack) => {
                    metrics::histogram!("bellwether_log_ack_seconds").record(started.elapsed());
                    Outcome::Stored { incarnation, sequence: ack.sequence }
                }
                Err(PublishError::Unknown { .. }) => Outcome::Unknown,
                Err(e @ (PublishError::NotStored { .. } | PublishError::WrongSequence { .. })) => {
                    Outcome::NotStored { reason: e.to_string() }
                }
            }
        };
        let outcome = match self.common.spool {
            None => self.wait(Some(frame), attempt).await,
            Some(_) => match self.wait(Some(frame), timeout(ACK_BUDGET, attempt)).await {
                Ok(outcome) => outcome,
                Err(_) if sent.load(Ordering::Relaxed) => Outcome::Unknown,
                Err(_) => Outcome::NotStored { reason: "the log does not answer".into() },
            },
        };
        // After a failure it is asked for anew: the server may have come back with another stream.
        if let Outcome::Stored { incarnation, .. } = outcome {
            self.incarnation = Some(incarnation);
        }
        outcome
    }

    /// Waits for `what` and meanwhile answers everybody whose patience ends: those of a frame in
    /// doubt with "unknown", those behind it with "not stored".
    async fn wait<F: Future>(&mut self, mut frame: Option<&mut Frame>, what: F) -> F::Output {
        tokio::pin!(what);
        loop {
            let front = self.pending.front().map(|item| item.caller.deadline);
            let in_frame = frame.as_ref().and_then(|frame| frame.deadline());
            let next = [front, in_frame].into_iter().flatten().min();
            let next = next.unwrap_or(self.drained + self.common.config.budget);
            tokio::select! {
                biased;
                output = &mut what => return output,
                () = sleep_until(next) => {}
            }
            let now = Instant::now();
            if let Some(frame) = &mut frame {
                frame.expire(now);
            }
            while let Ok(item) = self.incoming.try_recv() {
                self.pending.push_back(item);
            }
            self.drained = now;
            while let Some(item) = self.pending.pop_front_if(|item| item.caller.deadline <= now) {
                let reason = format!("frame {} of its lane is not settled", self.number + 1);
                item.caller.answer(Err(AppendError::NotStored { reason }));
            }
        }
    }
}
