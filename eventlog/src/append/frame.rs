//! A frame: closed once, sent as often as it takes.

use std::collections::VecDeque;

use bytes::Bytes;
use schemas::{
    InputPosition, ProducerId,
    frame::{self, FRAME_VERSION, FrameHeader, MAX_FRAME_BYTES, MAX_FRAME_RECORDS},
    subject::Class,
};
use tokio::time::Instant;

use super::{AppendError, Caller, Durable, Item};

/// A closed frame and who waits for it.
pub(super) struct Frame {
    pub(super) class: Class,
    pub(super) number: u64,
    pub(super) bytes: Bytes,
    pub(super) count: u32,
    /// By index of their record; none: answered already.
    callers: Vec<Option<Caller>>,
    /// How many callers are not answered.
    waiting: usize,
}

impl Frame {
    /// Closes a frame over the first records of `pending`: all of one class, as many as fit.
    /// None when nothing waits. `number` and `total` are those of the frame before.
    pub(super) fn close(
        pending: &mut VecDeque<Item>,
        producer: ProducerId,
        number: u64,
        total: u64,
        scratch: &mut Vec<u8>,
    ) -> Option<Self> {
        let class = pending.front()?.class;
        scratch.clear();
        let mut callers = Vec::with_capacity(pending.len().min(MAX_FRAME_RECORDS));
        while callers.len() < MAX_FRAME_RECORDS
            && let Some(item) = pending.pop_front_if(|item| {
                item.class == class
                    && (scratch.is_empty() || scratch.len() + item.bytes.len() <= MAX_FRAME_BYTES)
            })
        {
            scratch.extend_from_slice(&item.bytes);
            callers.push(Some(item.caller));
        }
        let count = callers.len() as u32;
        let header = FrameHeader {
            version: FRAME_VERSION,
            producer,
            number: number + 1,
            total: total + u64::from(count),
            count,
        };
        Some(Self {
            class,
            number: header.number,
            bytes: frame::encode(&header, scratch).into(),
            count,
            waiting: callers.len(),
            callers,
        })
    }

    /// When the first caller's patience ends; none when all are answered.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.callers.iter().flatten().map(|caller| caller.deadline).min()
    }

    /// True while somebody waits for the outcome.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting > 0
    }

    /// Tells those whose patience has ended that the outcome is unknown.
    pub(super) fn expire(&mut self, now: Instant) {
        for slot in &mut self.callers {
            if let Some(caller) = slot.take_if(|caller| caller.deadline <= now) {
                self.waiting -= 1;
                caller.answer_unknown();
            }
        }
    }

    /// Tells everybody where their record stands.
    pub(super) fn stored(self, incarnation: i64, sequence: u64) {
        for (record, caller) in self.callers.into_iter().enumerate() {
            if let Some(caller) = caller {
                let at = InputPosition { incarnation, sequence, record: record as u32 };
                caller.answer(Ok(Durable::Appended(at)));
            }
        }
    }

    /// Tells everybody that their record is durable in the spool.
    pub(super) fn spooled(self) {
        for caller in self.callers.into_iter().flatten() {
            caller.answer(Ok(Durable::Spooled));
        }
    }

    /// Tells everybody that their record is not stored.
    pub(super) fn refused(self, reason: &str) {
        for caller in self.callers.into_iter().flatten() {
            caller.answer(Err(AppendError::NotStored { reason: reason.to_owned() }));
        }
    }
}
