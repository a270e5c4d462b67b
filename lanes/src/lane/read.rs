//! Reading a lane: messages become entries, entries become batches.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
};

use bytes::Bytes;
use eventlog::{Log, Message, Messages, Read};
use futures_util::{FutureExt, StreamExt};
use metrics::Counter;
use schemas::{
    CodecError, Generation, InputPosition, Lane, LaneKey, Namespace, ProducerId,
    event::PartHeader,
    frame::{FrameHeader, RecordFrame},
    subject::{self, EventChannel},
};
use store::lane::ProducerMark;

use super::{
    entry::{Content, Entry, Mark, Marks, items_of},
    stop::Stop,
    waiting::Size,
};
use crate::{Input, Item};

/// Where and how a lane is read.
pub(super) struct Source<'a> {
    pub log: &'a dyn Log,
    pub generation: Generation,
    pub lane: Lane,
    pub input: Input,
    /// The cursor.
    pub after: InputPosition,
    pub producers: Vec<ProducerMark>,
    pub marks: Marks,
    pub gaps: Counter,
    /// Nothing behind this (incarnation, sequence) is taken.
    pub until: Option<(i64, u64)>,
}

/// The reader of one lane, from the cursor on.
pub(super) struct Reader {
    messages: Messages,
    kind: Kind,
    place: Place,
    pending: VecDeque<Entry>,
    /// Nothing behind this (incarnation, sequence) is taken.
    until: Option<(i64, u64)>,
    failed: Option<Stop>,
}

/// What both kinds of reading need.
struct Place {
    namespace: Namespace,
    lane: Lane,
    incarnation: i64,
    /// The cursor: entries up to it are applied.
    after: InputPosition,
    /// The stream has lost its oldest messages, so a numbering may begin anywhere.
    cut: bool,
    gaps: Counter,
}

enum Kind {
    Records { producers: HashMap<(ProducerId, bool), ProducerMark> },
    Events { channels: &'static [EventChannel], marks: Marks },
}

/// The stream a stage reads and its subject filters.
pub(super) fn subjects(
    namespace: &Namespace,
    generation: Generation,
    lane: Lane,
    input: Input,
) -> (String, Vec<String>) {
    match input {
        Input::Records => {
            (subject::deliveries_stream(namespace), subject::lane_input(namespace, lane).to_vec())
        }
        Input::Events(channels) => (
            subject::events_stream(namespace, generation),
            channels.iter().map(|c| subject::events(namespace, generation, lane, *c)).collect(),
        ),
    }
}

impl Reader {
    /// Opens the lane behind the cursor.
    pub async fn open(source: Source<'_>) -> Result<Self, Stop> {
        let namespace = source.log.namespace().clone();
        let (stream, filters) = subjects(&namespace, source.generation, source.lane, source.input);
        let info = source.log.info(&stream).await?;
        let after = source.after;
        if after.sequence > 0 && after.incarnation != info.incarnation {
            return Err(Stop::Halt(format!(
                "stream {stream} was made at {}, the cursor of lane {} stands in one made at {}; \
                 use the tables that belong to this log",
                info.incarnation, source.lane, after.incarnation
            )));
        }
        if after.sequence > info.last_sequence {
            return Err(Stop::Halt(format!(
                "the cursor of lane {} stands at {}, behind the end of stream {stream} at {}; \
                 use the tables that belong to this log, or restore the stream",
                source.lane, after.sequence, info.last_sequence
            )));
        }
        let from = after.sequence.max(1);
        let messages = source.log.read(Read { stream, filters, from }).await?;
        let kind = match source.input {
            Input::Records => Kind::Records {
                producers: source
                    .producers
                    .into_iter()
                    .map(|mark| ((mark.producer, mark.of_all), mark))
                    .collect(),
            },
            Input::Events(channels) => Kind::Events { channels, marks: source.marks },
        };
        Ok(Self {
            messages,
            kind,
            place: Place {
                namespace,
                lane: source.lane,
                incarnation: info.incarnation,
                after,
                cut: info.first_sequence > 1,
                gaps: source.gaps,
            },
            pending: VecDeque::new(),
            until: source.until,
            failed: None,
        })
    }

    /// What waits, at most `room` and never more than a batch; waits for ever while there is nothing,
    /// or nothing that may be taken. One entry that is larger than a batch may be comes alone. Not
    /// safe to cancel: what it had taken is lost.
    pub async fn collect(&mut self, room: Size) -> Result<Vec<Entry>, Stop> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        loop {
            match self.take(&mut batch, &mut bytes, room) {
                Taken::Closed => break,
                Taken::Barred if batch.is_empty() => std::future::pending::<()>().await,
                Taken::Barred => break,
                Taken::Drained => {}
            }
            if let Some(stop) = self.failed.take() {
                if batch.is_empty() {
                    return Err(stop);
                }
                self.failed = Some(stop);
                break;
            }
            let next = if batch.is_empty() {
                self.messages.next().await
            } else if let Some(ready) = self.messages.next().now_or_never() {
                ready
            } else {
                break;
            };
            self.failed = match next {
                Some(Ok(message)) => self.expand(message).err(),
                Some(Err(error)) => Some(error.into()),
                None => Some(Stop::Log("the read ended".into())),
            };
        }
        Ok(batch)
    }

    /// Takes entries back that were not applied; they come first in the next batch.
    pub fn give_back(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.pending.push_front(entry);
        }
    }

    fn take(&mut self, batch: &mut Vec<Entry>, bytes: &mut usize, room: Size) -> Taken {
        while let Some(next) = self.pending.front() {
            if self.until.is_some_and(|u| (next.input.incarnation, next.input.sequence) > u) {
                return Taken::Barred;
            }
            let full = batch.len() >= room.items || *bytes + next.weight() > room.bytes;
            if full && !batch.is_empty() {
                return Taken::Closed;
            }
            *bytes += next.weight();
            batch.extend(self.pending.pop_front());
        }
        Taken::Drained
    }

    fn expand(&mut self, message: Message) -> Result<(), Stop> {
        match &mut self.kind {
            Kind::Records { producers } => {
                expand_frame(&self.place, producers, message, &mut self.pending)
            }
            Kind::Events { channels, marks } => {
                expand_part(&self.place, channels, marks, message, &mut self.pending)
            }
        }
    }
}

enum Taken {
    /// The batch is full.
    Closed,
    /// The next entry may not be taken now.
    Barred,
    /// Nothing is left of the messages read so far.
    Drained,
}

impl Place {
    fn at(&self, sequence: u64, record: u32) -> InputPosition {
        InputPosition { incarnation: self.incarnation, sequence, record }
    }

    /// The index of the first entry of a message that is not applied.
    fn first(&self, sequence: u64) -> usize {
        if sequence == self.after.sequence { self.after.record as usize + 1 } else { 0 }
    }
}

/// Compares a frame's number with its producer's last one. `None`: it stood in the log already.
fn number(
    place: &Place,
    producers: &mut HashMap<(ProducerId, bool), ProducerMark>,
    header: &FrameHeader,
    of_all: bool,
    sequence: u64,
) -> Option<ProducerMark> {
    let FrameHeader { producer, number, total, .. } = *header;
    let last = producers.get(&(producer, of_all));
    if last.is_some_and(|last| number <= last.number) {
        return None;
    }
    let expected = last.map_or(1, |last| last.number + 1);
    if number != expected && (last.is_some() || !place.cut) {
        let before = total.saturating_sub(u64::from(header.count));
        place.gaps.increment(1);
        tracing::error!(
            lane = place.lane.0,
            "records are missing: producer {producer} jumps from frame {} to {number} at sequence \
             {sequence} of lane {}, over {} records",
            expected - 1,
            place.lane,
            before.saturating_sub(last.map_or(0, |last| last.total)),
        );
    }
    let mark = ProducerMark { producer, of_all, number, total };
    producers.insert((producer, of_all), mark);
    Some(mark)
}

fn expand_frame(
    place: &Place,
    producers: &mut HashMap<(ProducerId, bool), ProducerMark>,
    message: Message,
    pending: &mut VecDeque<Entry>,
) -> Result<(), Stop> {
    let sequence = message.sequence;
    let (key, _) = subject::parse_deliveries(&place.namespace, &message.subject)
        .map_err(|e| Stop::Halt(e.to_string()))?;
    let of_all = key == LaneKey::All;
    let first = place.first(sequence);
    let entry = |record: usize, records: usize, content: Content| {
        let at = place.at(sequence, record as u32);
        Entry {
            at,
            input: at,
            through: Some(at),
            stored_at: message.time,
            records: records as u64,
            producer: None,
            mark: None,
            content,
        }
    };
    let frame = match RecordFrame::parse(&message.payload) {
        Ok(frame) => frame,
        Err(newer @ CodecError::Newer { .. }) => return Err(Stop::Halt(newer.to_string())),
        Err(_) if first > 0 => return Ok(()),
        Err(error @ (CodecError::Decode { .. } | CodecError::Count { .. })) => {
            // Its number still counts, or the next frame would seem to follow a lost one.
            let header: Option<FrameHeader> =
                schemas::codec::decode("frame header", &message.payload).ok();
            let mut given_up = entry(0, 1, Content::GivenUp(error.to_string()));
            if let Some(header) = header {
                given_up.producer = number(place, producers, &header, of_all, sequence);
                if given_up.producer.is_none() {
                    given_up.content = Content::Repeated;
                }
            }
            pending.push_back(given_up);
            return Ok(());
        }
    };
    let count = frame.records.len();
    // The rest of a frame that was split is not a repeat: repeats are never split.
    let mut producer = None;
    if first == 0 {
        producer = number(place, producers, &frame.header, of_all, sequence);
        if producer.is_none() {
            pending.push_back(entry(count.saturating_sub(1), count, Content::Repeated));
            return Ok(());
        }
        if count == 0 {
            let nothing = entry(0, 0, Content::Nothing);
            pending.push_back(Entry { producer, ..nothing });
            return Ok(());
        }
    }
    for (index, record) in frame.records.iter().enumerate().skip(first) {
        let item = Item {
            at: place.at(sequence, index as u32),
            bytes: message.payload.slice_ref(record),
            stored_at: message.time,
            of_all,
        };
        let step = entry(index, 1, Content::Item(item));
        pending.push_back(Entry { producer: producer.take(), ..step });
    }
    Ok(())
}

fn expand_part(
    place: &Place,
    channels: &'static [EventChannel],
    marks: &mut Marks,
    message: Message,
    pending: &mut VecDeque<Entry>,
) -> Result<(), Stop> {
    let sequence = message.sequence;
    let fault = |what: String| Stop::Halt(format!("event message {sequence}: {what}"));
    let (_, channel) = subject::parse_events(&place.namespace, &message.subject)
        .map_err(|e| fault(e.to_string()))?;
    let header =
        PartHeader::from_headers(|n| message.header(n)).map_err(|e| fault(e.to_string()))?;
    let stage = channel.stage();
    let reads_all = super::parts::channels_of(stage).iter().all(|c| channels.contains(c));
    let of = if reads_all { header.parts } else { header.leading };
    let first = place.first(sequence);
    let mut mark = None;
    if first == 0 {
        let last = marks.of(stage);
        if last.is_some_and(|m| (header.batch, header.part) <= (m.batch, m.part)) {
            return Ok(());
        }
        let expected = match last {
            Some(m) if m.part + 1 < m.of => Some((m.batch, m.part + 1)),
            Some(m) => Some((m.batch + 1, 0)),
            None if place.cut => None,
            None => Some((1, 0)),
        };
        if let Some((batch, part)) = expected.filter(|e| *e != (header.batch, header.part)) {
            place.gaps.increment(1);
            return Err(fault(format!(
                "events are missing: part {part} of batch {batch} of {stage} in lane {} should \
                 come next, part {} of batch {} does; the lane stops rather than skip them: \
                 restore the stream",
                place.lane, header.part, header.batch
            )));
        }
        let new = Mark { stage: stage.into(), batch: header.batch, part: header.part, of };
        marks.set(new.clone());
        mark = Some(new);
    }
    let mut events = match header.unpack(&message.payload).map_err(|e| fault(e.to_string()))? {
        Cow::Borrowed(_) => message.payload.clone(),
        Cow::Owned(events) => events.into(),
    };
    let mut items = items_of(&events).map_err(|e| fault(format!("cut into events: {e}")))?;
    if let (false, Some(own)) = (reads_all, header.own) {
        items.truncate(own as usize);
        // What the reader does not read shall not stay in memory with what it does.
        events = Bytes::copy_from_slice(&events[..items.last().map_or(0, |last| last.end)]);
    }
    let last = items.len().saturating_sub(1);
    // The input is covered once the batch's last part is applied, not its first.
    let leads = channels.first().is_some_and(|c| c.stage() == stage);
    let covers = (leads && header.part + 1 == of).then_some(header.through);
    let mut push = |index: usize, content: Content| {
        pending.push_back(Entry {
            at: place.at(sequence, index as u32),
            input: header.through,
            through: covers.filter(|_| index == last),
            stored_at: message.time,
            records: 0,
            producer: None,
            mark: mark.take(),
            content,
        });
    };
    if items.is_empty() && first == 0 {
        push(0, Content::Nothing);
    }
    for (index, range) in items.into_iter().enumerate().skip(first) {
        let bytes: Bytes = events.slice(range);
        push(
            index,
            Content::Item(Item {
                at: header.through,
                bytes,
                stored_at: message.time,
                of_all: false,
            }),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
