use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use schemas::{
    Record, RecordId, Time,
    frame::{self, FRAME_VERSION},
    record::{Body, Tick},
};
use uuid::Uuid;

use super::*;

const PRODUCER: ProducerId = ProducerId(Uuid::from_u128(1));

/// A lane's reading without a stream.
struct Reading {
    place: Place,
    producers: HashMap<(ProducerId, bool), ProducerMark>,
    pending: VecDeque<Entry>,
    gaps: Arc<AtomicU64>,
}

impl Reading {
    /// Behind the record `record` of the message `sequence`; 0 is the beginning.
    fn after(sequence: u64, record: u32, cut: bool) -> Self {
        let gaps = Arc::new(AtomicU64::new(0));
        let place = Place {
            namespace: Namespace::default(),
            lane: Lane(0),
            incarnation: 9,
            after: InputPosition { incarnation: 9, sequence, record },
            cut,
            gaps: Counter::from_arc(Arc::clone(&gaps)),
        };
        Self { place, producers: HashMap::new(), pending: VecDeque::new(), gaps }
    }

    fn payload(&mut self, sequence: u64, payload: Vec<u8>) {
        let message = Message {
            subject: "bw.deliveries.0.d".into(),
            sequence,
            time: Time::default(),
            headers: Vec::new(),
            payload: payload.into(),
        };
        expand_frame(&self.place, &mut self.producers, message, &mut self.pending).unwrap();
    }

    fn frame(&mut self, sequence: u64, number: u64, count: u32) {
        let mut records = Vec::new();
        for _ in 0..count {
            let body = Body::Tick(Tick { now: Time::default() });
            let record = Record::new(RecordId(Uuid::nil()), Time::default(), None, body);
            record.encode_into(&mut records);
        }
        self.payload(sequence, frame::encode(&header(number, count), &records));
    }

    /// What stands to be applied: (sequence, record, what), and the gaps so far.
    fn check(&self, expected: &[(u64, u32, &str)], gaps: u64) {
        let found: Vec<_> = self
            .pending
            .iter()
            .map(|entry| {
                let what = match entry.content {
                    Content::Item(_) => "item",
                    Content::Repeated => "repeated",
                    Content::GivenUp(_) => "given up",
                    Content::Nothing => "nothing",
                };
                (entry.at.sequence, entry.at.record, what)
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(self.gaps.load(Ordering::SeqCst), gaps, "gaps");
    }
}

fn header(number: u64, count: u32) -> FrameHeader {
    FrameHeader { version: FRAME_VERSION, producer: PRODUCER, number, total: number * 2, count }
}

#[test]
fn a_repeated_frame_is_one_step_that_counts_all_its_records() {
    let mut reading = Reading::after(0, 0, false);
    reading.frame(1, 1, 2);
    reading.frame(2, 1, 2);
    reading.check(&[(1, 0, "item"), (1, 1, "item"), (2, 1, "repeated")], 0);
    assert_eq!(reading.pending[2].records, 2);
    assert_eq!(reading.pending[0].producer.map(|p| (p.number, p.total)), Some((1, 2)));
    assert_eq!(reading.pending[1].producer, None, "said once, with the first record");
}

#[test]
fn the_rest_of_a_split_frame_is_no_repeat() {
    let mut reading = Reading::after(5, 0, false);
    let mark = ProducerMark { producer: PRODUCER, of_all: false, number: 3, total: 6 };
    reading.producers.insert((PRODUCER, false), mark);
    reading.frame(5, 3, 3);
    reading.frame(6, 4, 1);
    reading.check(&[(5, 1, "item"), (5, 2, "item"), (6, 0, "item")], 0);
}

#[test]
fn a_frame_that_is_applied_to_its_end_is_passed_over() {
    let mut reading = Reading::after(5, 1, false);
    reading.frame(5, 3, 2);
    reading.check(&[], 0);
}

#[test]
fn a_jump_raises_the_alarm_and_the_lane_goes_on() {
    let mut reading = Reading::after(0, 0, false);
    reading.frame(1, 1, 1);
    reading.frame(2, 3, 1);
    reading.frame(3, 4, 1);
    reading.check(&[(1, 0, "item"), (2, 0, "item"), (3, 0, "item")], 1);
}

#[test]
fn a_numbering_may_begin_anywhere_only_where_the_stream_was_cut() {
    let mut whole = Reading::after(0, 0, false);
    whole.frame(1, 7, 1);
    whole.check(&[(1, 0, "item")], 1);
    let mut cut = Reading::after(0, 0, true);
    cut.frame(100, 7, 1);
    cut.check(&[(100, 0, "item")], 0);
}

#[test]
fn an_unreadable_frame_is_given_up_as_one_and_keeps_its_number() {
    let mut reading = Reading::after(0, 0, false);
    reading.frame(1, 1, 1);
    let torn = frame::encode(&header(2, 7), &[]);
    reading.payload(2, torn.clone());
    reading.payload(3, torn);
    reading.payload(4, b"\xff".to_vec());
    reading.frame(5, 3, 1);
    reading.check(
        &[
            (1, 0, "item"),
            (2, 0, "given up"),
            (3, 0, "repeated"),
            (4, 0, "given up"),
            (5, 0, "item"),
        ],
        0,
    );
    assert_eq!(reading.pending[1].records, 1);
}

#[test]
fn a_message_of_two_channels_is_read_as_far_as_the_reader_reads() {
    const DECISION: &[EventChannel] = &[EventChannel::Decision];
    const BOTH: &[EventChannel] = &[EventChannel::Decision, EventChannel::Alert];
    let lane = Lane(0);
    let message = |sequence: u64, own: Option<u32>, payload: &[u8]| {
        let through = InputPosition { incarnation: 1, sequence, record: 0 };
        let mut header = PartHeader {
            batch: sequence,
            part: 0,
            parts: 1,
            leading: 1,
            through,
            own,
            unpacked: None,
        };
        let payload = header.pack(payload.to_vec());
        let generation = Generation(1);
        Message {
            subject: subject::events(&Namespace::default(), generation, lane, BOTH[0]),
            sequence,
            time: Time::default(),
            headers: header.to_headers().into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
            payload: payload.into(),
        }
    };
    let messages: [(u64, Option<u32>, &[u8]); 3] =
        // Small numbers: each byte is one CBOR item.
        [(1, Some(1), &[1, 2, 3]), (2, Some(0), &[2]), (3, None, &[3])];
    for (channels, expected) in [
        (BOTH, vec![(1, 0, false), (1, 1, false), (1, 2, true), (2, 0, true), (3, 0, true)]),
        (DECISION, vec![(1, 0, true), (2, 0, true), (3, 0, true)]),
    ] {
        let mut reading = Reading::after(0, 0, false);
        let mut marks = Marks::default();
        for (sequence, own, payload) in messages {
            let message = message(sequence, own, payload);
            expand_part(&reading.place, channels, &mut marks, message, &mut reading.pending)
                .unwrap();
        }
        let covers = |entry: &Entry| (entry.at.sequence, entry.at.record, entry.through.is_some());
        assert_eq!(reading.pending.iter().map(covers).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_packed_message_is_read_as_what_was_packed() {
    const CHANNELS: &[EventChannel] = &[EventChannel::Decision];
    // Long enough to be packed; each byte is one CBOR item.
    let events = vec![7u8; 100_000];
    let through = InputPosition { incarnation: 1, sequence: 1, record: 0 };
    let (own, unpacked) = (Some(3), None);
    let mut header = PartHeader { batch: 1, part: 0, parts: 1, leading: 1, through, own, unpacked };
    let payload = header.pack(events);
    assert!(header.unpacked.is_some());
    let message = |payload: Vec<u8>| Message {
        subject: subject::events(&Namespace::default(), Generation(1), Lane(0), CHANNELS[0]),
        sequence: 1,
        time: Time::default(),
        headers: header.to_headers().into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
        payload: payload.into(),
    };
    let mut reading = Reading::after(0, 0, false);
    let (place, pending) = (&reading.place, &mut reading.pending);
    expand_part(place, CHANNELS, &mut Marks::default(), message(payload.clone()), pending).unwrap();
    reading.check(&[(1, 0, "item"), (1, 1, "item"), (1, 2, "item")], 0);
    let bytes = |entry: &Entry| match &entry.content {
        Content::Item(item) => item.bytes.to_vec(),
        Content::Repeated | Content::GivenUp(_) | Content::Nothing => Vec::new(),
    };
    assert!(reading.pending.iter().all(|entry| bytes(entry) == [7]));

    // One that cannot be unpacked stops the lane rather than lose what it holds.
    let torn = message(payload[..payload.len() - 1].to_vec());
    let mut reading = Reading::after(0, 0, false);
    let (place, pending) = (&reading.place, &mut reading.pending);
    let stop = expand_part(place, CHANNELS, &mut Marks::default(), torn, pending).unwrap_err();
    assert!(matches!(&stop, Stop::Halt(why) if why.contains("packed events")), "{stop:?}");
    assert!(reading.pending.is_empty());
}
