//! What a batch publishes: its events in parts, its control records in frames.

use schemas::{
    Event, Generation, InputPosition, Lane, LaneKey, Namespace, ProducerId, Record,
    event::PartHeader,
    frame::{self, FRAME_VERSION, FrameHeader, MAX_FRAME_BYTES, MAX_FRAME_RECORDS},
    id,
    subject::{self, Class, EventChannel},
};
use store::lane::{Message, Stream};

/// A part of events is closed at this many bytes.
const MAX_PART_BYTES: usize = 512 * 1024;

/// The events of a batch that are together at most this long are one message, whatever their
/// channels: under a trickle a message costs what its sync costs, not what it holds, and a reader
/// of both channels has the whole batch at once.
const MAX_JOINT_BYTES: usize = 64 * 1024;

/// The channels a stage writes, the leading one first; empty for a stage that writes none.
pub(super) fn channels_of(stage: &str) -> Vec<EventChannel> {
    [EventChannel::Decision, EventChannel::Alert, EventChannel::Notice]
        .into_iter()
        .filter(|channel| channel.stage() == stage)
        .collect()
}

/// Whose messages these are.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub namespace: Namespace,
    pub stage: &'static str,
    pub generation: Generation,
    pub lane: Lane,
}

impl Writer {
    /// The parts of a batch, leading channel first; a small batch is one part on the leading channel.
    /// A stage that writes events writes at least one part a batch, empty if need be, so that its
    /// readers can tell that nothing is missing.
    pub fn parts(
        &self,
        batch: u64,
        through: InputPosition,
        events: &[Event],
    ) -> Result<Vec<Message>, String> {
        let channels = channels_of(self.stage);
        if let Some(stray) = events.iter().find(|e| !channels.contains(&e.kind.channel())) {
            return Err(format!(
                "stage {} made an event {}, whose channel it does not write",
                self.stage,
                stray.kind.word()
            ));
        }
        let mut payloads: Vec<(EventChannel, Vec<u8>, Option<u32>)> = Vec::new();
        let mut leading = 0;
        for (index, channel) in channels.iter().enumerate() {
            let of_channel = events.iter().filter(|e| e.kind.channel() == *channel);
            let cut = cut(of_channel, |event, out| event.encode_into(out), usize::MAX);
            payloads.extend(cut.into_iter().map(|(payload, _)| (*channel, payload, None)));
            if index == 0 {
                if payloads.is_empty() {
                    payloads.push((*channel, Vec::new(), None));
                }
                leading = payloads.len() as u32;
            }
        }
        if let [(channel, one, own), (_, other, _)] = payloads.as_mut_slice()
            && leading == 1
            && one.len() + other.len() <= MAX_JOINT_BYTES
        {
            *own = Some(events.iter().filter(|e| e.kind.channel() == *channel).count() as u32);
            one.append(other);
            payloads.truncate(1);
        }
        let parts = payloads.len() as u32;
        Ok(payloads
            .into_iter()
            .enumerate()
            .map(|(part, (channel, payload, own))| {
                let part = part as u32;
                let mut header =
                    PartHeader { batch, part, parts, leading, through, own, unpacked: None };
                let payload = header.pack(payload);
                Message {
                    stream: Stream::Events,
                    subject: subject::events(&self.namespace, self.generation, self.lane, channel),
                    message_id: Some(header.message_id(
                        self.stage,
                        self.generation,
                        self.lane,
                        channel,
                    )),
                    headers: header
                        .to_headers()
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                    payload,
                }
            })
            .collect())
    }

    /// The producer of this stage's control records: the same for every owner, so that whoever
    /// publishes a frame again repeats its number.
    fn producer(&self) -> ProducerId {
        ProducerId(id::hash(&[
            self.stage.as_bytes(),
            &self.generation.0.to_be_bytes(),
            &self.lane.0.to_be_bytes(),
        ]))
    }

    /// Control records as frames for the lane's `c` subject, numbered on from `frames` and `records`,
    /// which move.
    pub fn controls(&self, records: &[Record], frames: &mut u64, total: &mut u64) -> Vec<Message> {
        let (producer, key) = (self.producer(), LaneKey::Lane(self.lane));
        cut(records.iter(), |record, out| record.encode_into(out), MAX_FRAME_RECORDS)
            .into_iter()
            .map(|(payload, count)| {
                *frames += 1;
                *total += u64::from(count);
                let header = FrameHeader {
                    version: FRAME_VERSION,
                    producer,
                    number: *frames,
                    total: *total,
                    count,
                };
                Message {
                    stream: Stream::Deliveries,
                    subject: subject::deliveries(&self.namespace, key, Class::Control),
                    message_id: Some(format!("{producer}:{key}:{frames}")),
                    headers: Vec::new(),
                    payload: frame::encode(&header, &payload),
                }
            })
            .collect()
    }
}

/// Encodes in order and cuts by size; an item above the limit stands alone.
fn cut<'a, T: 'a>(
    items: impl Iterator<Item = &'a T>,
    encode: impl Fn(&T, &mut Vec<u8>),
    max_items: usize,
) -> Vec<(Vec<u8>, u32)> {
    const { assert!(MAX_PART_BYTES == MAX_FRAME_BYTES, "one limit for both") };
    let mut payloads: Vec<(Vec<u8>, u32)> = Vec::new();
    let (_, most) = items.size_hint();
    for (index, item) in items.enumerate() {
        let full = payloads.last().is_none_or(|(_, count)| *count as usize >= max_items);
        if full {
            payloads.push((Vec::new(), 0));
        }
        let Some((payload, count)) = payloads.last_mut() else { continue };
        let before = payload.len();
        encode(item, payload);
        *count += 1;
        if index == 0 {
            // The others are about as long. A payload that grows by and by is copied by and by.
            payload.reserve((payload.len() * most.unwrap_or(0)).min(MAX_PART_BYTES));
        }
        if payload.len() > MAX_PART_BYTES && *count > 1 {
            *count -= 1;
            let over = payload.split_off(before);
            payloads.push((over, 1));
        }
    }
    payloads
}
