//! The one writer of a lane key.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use schemas::{LaneKey, frame::MAX_FRAME_RECORDS, subject::Class};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc::UnboundedReceiver},
    time::{Instant, sleep, sleep_until},
};

use super::{AppendError, AppenderConfig, Item, frame::Frame};
use crate::{Log, Publish, PublishError};

/// Pause before a frame is sent again, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Writer {
    log: Arc<dyn Log>,
    stream: String,
    key: LaneKey,
    /// Of class data, of class control.
    subjects: [String; 2],
    config: AppenderConfig,
    incoming: UnboundedReceiver<Item>,
    /// One for each frame that may be on its way, over all lanes.
    ways: Arc<Semaphore>,
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
        log: Arc<dyn Log>,
        stream: String,
        key: LaneKey,
        subjects: [String; 2],
        config: AppenderConfig,
        incoming: UnboundedReceiver<Item>,
        ways: Arc<Semaphore>,
    ) -> Self {
        Self {
            log,
            stream,
            key,
            subjects,
            config,
            incoming,
            ways,
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
                self.config.producer,
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

    /// Waits until another frame may be on its way; none if nobody counts them any more.
    async fn way(&mut self) -> Option<OwnedSemaphorePermit> {
        let ways = self.ways.clone();
        self.wait(None, ways.acquire_owned()).await.ok()
    }

    /// Sends a frame until its outcome is known. What has to be sent again leaves the way to others.
    async fn store(&mut self, mut frame: Frame, mut way: Option<OwnedSemaphorePermit>) {
        let mut in_doubt = false;
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = self.send(&mut frame).await;
            way.take();
            let reason = match outcome {
                Outcome::Stored { incarnation, sequence } => {
                    self.number = frame.number;
                    self.total += u64::from(frame.count);
                    self.last_sequence = sequence;
                    metrics::counter!("bellwether_log_frames_total").increment(1);
                    metrics::counter!("bellwether_log_records_total").increment(frame.count.into());
                    frame.stored(incarnation, sequence);
                    return;
                }
                Outcome::NotStored { reason } => reason,
                Outcome::Unknown => {
                    in_doubt = true;
                    "its outcome is unknown".into()
                }
            };
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

    /// One try.
    async fn send(&mut self, frame: &mut Frame) -> Outcome {
        let message = Publish {
            stream: self.stream.clone(),
            subject: self.subjects[(frame.class == Class::Control) as usize].clone(),
            message_id: Some(format!("{}:{}:{}", self.config.producer, self.key, frame.number)),
            headers: Vec::new(),
            payload: frame.bytes.clone(),
            fence: None,
            keep_forever: frame.class == Class::Control,
        };
        let log = self.log.clone();
        let (known, last) = (self.incarnation.take(), self.last_sequence);
        let stream = self.stream.clone();
        let attempt = async move {
            // Before the send: what is stored must get a position.
            let incarnation = match known {
                Some(incarnation) => incarnation,
                None => match log.info(&stream).await {
                    Ok(info) => info.incarnation,
                    Err(e) => return Outcome::NotStored { reason: e.to_string() },
                },
            };
            let started = Instant::now();
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
        let outcome = self.wait(Some(frame), attempt).await;
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
            let next = next.unwrap_or(self.drained + self.config.budget);
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
