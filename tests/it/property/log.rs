//! Random input logs: every kind of record, of eight projects in four lanes, in frames that are cut
//! anywhere, and some of which stand in the log twice.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    num::NonZeroU16,
};

use domain::rules::Rules;
use eventlog::{Log, Publish};
use schemas::{
    IncidentId, InputPosition, JobId, Lane, LaneKey, Position, ProducerId, ProjectId, Record,
    RecordId, SourceId, Time,
    frame::{self, FRAME_VERSION, FrameHeader},
    job::{Analysis, AnswerResult, SendKind, SendResult},
    record::{
        Answer, Auth, Body, Command, Control, Delivery, IncidentNumber, Redrive, RulesDocument,
        SendOutcome, Tick,
    },
    subject::{self, Class},
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::bodies;

/// Projects in each lane.
const PROJECTS: usize = 2;
/// Most records in a frame.
const LONGEST_FRAME: u64 = 160;
/// What is remembered of openings, deliveries and records that were given up.
const REMEMBERED: usize = 300;
const VERBS: [&str; 10] = [
    "ack",
    "unack",
    "resolve",
    "reopen",
    "confirm",
    "reject",
    "request_triage",
    "handoff",
    "note",
    "dance",
];
const REASONS: [&str; 4] = ["open", "escalate", "reject 1", "request 1"];

/// A reproducible sequence of numbers: xorshift64*.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // Never zero, which it would stay.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// What else than whole frames of readable records there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Nothing.
    Plain,
    /// Frames that stand twice, bytes that are no record, messages that are no frame.
    Broken,
}

/// A message of the log, ready to be published.
pub struct Frame {
    key: LaneKey,
    class: Class,
    payload: Vec<u8>,
    /// How many records it holds.
    pub records: u64,
    notes: Vec<(u32, Note)>,
}

/// What later records may be about.
enum Note {
    Opening(ProjectId, u32),
    GivenUp(ProjectId, Vec<u8>),
}

/// One process that numbers its frames, by lane.
struct Producer {
    id: ProducerId,
    counts: HashMap<LaneKey, (u64, u64)>,
}

/// See the module.
pub struct RandomLog {
    pub dice: Dice,
    mix: Mix,
    lanes: NonZeroU16,
    by_lane: Vec<Vec<ProjectId>>,
    /// Where the story is; ticks say so, and nothing else moves lane time.
    now: Time,
    made: u64,
    producers: Vec<Producer>,
    firing: BTreeSet<(ProjectId, u64)>,
    openings: VecDeque<(ProjectId, Position)>,
    given_up: VecDeque<(ProjectId, InputPosition, Vec<u8>)>,
    sent: VecDeque<Record>,
    last: VecDeque<Frame>,
    incarnation: Option<i64>,
}

impl RandomLog {
    /// The log that `seed` gives. Its story begins at `now`, which must not be earlier than what
    /// the owners of lanes append as ticks for as long as the test runs.
    pub fn new(seed: u64, lanes: NonZeroU16, mix: Mix, now: Time) -> Self {
        let mut by_lane = vec![Vec::new(); usize::from(lanes.get())];
        for n in 0.. {
            let project = ProjectId::new(format!("project-{n}")).unwrap();
            let of = &mut by_lane[usize::from(Lane::of(&project, lanes).0)];
            if of.len() < PROJECTS {
                of.push(project);
            }
            if by_lane.iter().all(|of| of.len() == PROJECTS) {
                break;
            }
        }
        let producers = (1..=3).map(|n| Producer {
            id: ProducerId(Uuid::from_u128((u128::from(seed) << 8) | n)),
            counts: HashMap::new(),
        });
        Self {
            dice: Dice::new(seed),
            mix,
            lanes,
            by_lane,
            now,
            made: 0,
            producers: producers.collect(),
            firing: BTreeSet::new(),
            openings: VecDeque::new(),
            given_up: VecDeque::new(),
            sent: VecDeque::new(),
            last: VecDeque::new(),
            incarnation: None,
        }
    }

    /// Appends one message; returns how many records it holds.
    pub async fn append(&mut self, log: &dyn Log) -> u64 {
        let frame = self.frame();
        let namespace = log.namespace();
        let publish = Publish {
            stream: subject::deliveries_stream(namespace),
            subject: subject::deliveries(namespace, frame.key, frame.class),
            message_id: None,
            headers: Vec::new(),
            payload: frame.payload.clone().into(),
            fence: None,
            keep_forever: false,
        };
        let stored = log.publish(publish).await.unwrap();
        if self.incarnation.is_none() {
            let stream = subject::deliveries_stream(namespace);
            self.incarnation = Some(log.info(&stream).await.unwrap().incarnation);
        }
        let (incarnation, sequence) = (self.incarnation.unwrap(), stored.sequence);
        for (record, note) in &frame.notes {
            let at = InputPosition { incarnation, sequence, record: *record };
            match note {
                Note::Opening(project, alert) => {
                    push(&mut self.openings, (project.clone(), at.alert(*alert)));
                }
                Note::GivenUp(project, bytes) => {
                    push(&mut self.given_up, (project.clone(), at, bytes.clone()));
                }
            }
        }
        let records = frame.records;
        if self.last.len() >= 4 {
            self.last.pop_front();
        }
        self.last.push_back(frame);
        records
    }

    /// The next message.
    fn frame(&mut self) -> Frame {
        if self.mix == Mix::Broken {
            if !self.last.is_empty() && self.dice.one_in(20) {
                return self.again();
            }
            if self.dice.one_in(200) {
                return self.no_frame();
            }
        }
        let all = self.dice.one_in(12);
        let lane = Lane(self.dice.below(u64::from(self.lanes.get())) as u16);
        let key = if all { LaneKey::All } else { LaneKey::Lane(lane) };
        let count = 1 + self.dice.below(if all { 4 } else { LONGEST_FRAME });
        let (mut bytes, mut notes) = (Vec::new(), Vec::new());
        for index in 0..count as u32 {
            // One lane's records and, now and then, those of a lane it is not.
            let of =
                if all { Lane(self.dice.below(u64::from(self.lanes.get())) as u16) } else { lane };
            let stray = self.mix == Mix::Broken && self.dice.one_in(1_500);
            let of = if stray { Lane((of.0 + 1) % self.lanes) } else { of };
            if self.mix == Mix::Broken && self.dice.one_in(800) {
                // One CBOR item that is no record.
                bytes.extend_from_slice(&[0x82, 0x01, 0x61, b'x']);
                continue;
            }
            let (record, note) = self.record(all, of);
            record.encode_into(&mut bytes);
            notes.extend(note.filter(|_| !stray).map(|note| (index, note)));
        }
        let class = if all && self.dice.one_in(2) { Class::Control } else { Class::Data };
        let payload = self.numbered(key, count, &bytes);
        Frame { key, class, payload, records: count, notes }
    }

    fn numbered(&mut self, key: LaneKey, count: u64, bytes: &[u8]) -> Vec<u8> {
        let n = self.dice.below(self.producers.len() as u64) as usize;
        let producer = &mut self.producers[n];
        let (number, total) = producer.counts.entry(key).or_default();
        *number += 1;
        *total += count;
        let header = FrameHeader {
            version: FRAME_VERSION,
            producer: producer.id,
            number: *number,
            total: *total,
            count: count as u32,
        };
        frame::encode(&header, bytes)
    }

    /// One of the last frames, as a retry whose first try was stored after all.
    fn again(&mut self) -> Frame {
        let n = self.dice.below(self.last.len() as u64) as usize;
        let Frame { key, class, payload, records, .. } = &self.last[n];
        Frame {
            key: *key,
            class: *class,
            payload: payload.clone(),
            records: *records,
            notes: Vec::new(),
        }
    }

    /// Bytes that are no frame, or one that announces more records than it has.
    fn no_frame(&mut self) -> Frame {
        let key = LaneKey::Lane(Lane(self.dice.below(u64::from(self.lanes.get())) as u16));
        let payload = if self.dice.one_in(2) {
            b"no frame".to_vec()
        } else {
            let mut bytes = Vec::new();
            self.tick().encode_into(&mut bytes);
            self.numbered(key, 7, &bytes)
        };
        Frame { key, class: Class::Data, payload, records: 1, notes: Vec::new() }
    }

    fn record(&mut self, all: bool, lane: Lane) -> (Record, Option<Note>) {
        let project = self.dice.of(&self.by_lane[usize::from(lane.0)]).clone();
        // Rules are everybody's.
        if all && self.dice.one_in(6) {
            return (self.rules(), None);
        }
        match self.dice.below(100) {
            0..=69 => self.delivery(project),
            70..=75 => (self.tick(), None),
            76..=84 => (self.command(project), None),
            85..=89 => (self.answer(project), None),
            90..=92 => (self.outcome(project), None),
            93..=96 => (self.redrive(project), None),
            97 => (self.number(project), None),
            _ => (self.tick(), None),
        }
    }

    fn make(&mut self, project: Option<ProjectId>, body: Body) -> Record {
        self.made += 1;
        let id = RecordId(Uuid::from_u128((0x7000 << 64) | u128::from(self.made)));
        // Received by clocks that are up to a minute apart.
        let received = self.now.plus_seconds(30 - self.dice.below(60) as i64);
        Record::new(id, received, project, body)
    }

    fn delivery(&mut self, project: ProjectId) -> (Record, Option<Note>) {
        if !self.sent.is_empty() && self.dice.one_in(25) {
            // The sender sends it again, as a record of its own.
            let sent = self.sent[self.dice.below(self.sent.len() as u64) as usize].clone();
            if sent.project.as_ref() == Some(&project) {
                return (self.make(sent.project.clone(), sent.body), None);
            }
        }
        let (now, n) = (self.now, self.made);
        let told = bodies::any(&mut self.dice, now, n, self.mix == Mix::Broken);
        let mut note = None;
        for (index, (problem, fires)) in (0u32..).zip(&told.problems) {
            let key = (project.clone(), *problem);
            if !fires {
                self.firing.remove(&key);
            } else if self.firing.insert(key) {
                note = Some(Note::Opening(project.clone(), index));
            }
        }
        let delivery = Delivery {
            provider: told.provider.into(),
            source: SourceId::new(told.source).unwrap(),
            route: format!("/webhook/{}", told.provider),
            headers: told.headers,
            remote: None,
            auth: Auth { method: "basic".into(), credential: None },
            sha256: Sha256::digest(&told.raw).into(),
            raw: told.raw,
            content_type: None,
            channel: None,
            recorded: None,
        };
        let record = self.make(Some(project.clone()), Body::Delivery(Box::new(delivery)));
        if told.given_up {
            // What is redriven can be read by now, or still cannot.
            let original = if self.dice.one_in(3) { record.clone() } else { readable(&record) };
            let mut bytes = Vec::new();
            original.encode_into(&mut bytes);
            note = Some(Note::GivenUp(project, bytes));
        }
        push(&mut self.sent, record.clone());
        (record, note)
    }

    /// Lane time moves: by minutes mostly, by hours at times.
    fn tick(&mut self) -> Record {
        let seconds = match self.dice.below(100) {
            0..=69 => self.dice.below(60),
            70..=97 => self.dice.below(300),
            _ => self.dice.below(5_400),
        };
        self.now = self.now.plus_seconds(seconds as i64);
        // Now and then a clock that went back.
        let back = if self.dice.one_in(10) { self.dice.below(900) as i64 } else { 0 };
        let now = self.now.plus_seconds(-back);
        self.make(None, Body::Tick(Tick { now }))
    }

    /// An opening, of this project mostly.
    fn opening(&mut self, project: &ProjectId) -> Position {
        let of: Vec<Position> =
            self.openings.iter().filter(|(p, _)| p == project).map(|(_, at)| *at).collect();
        if of.is_empty() || self.dice.one_in(15) {
            return InputPosition { incarnation: 1, sequence: 1, record: 0 }.alert(0);
        }
        *self.dice.of(&of)
    }

    fn command(&mut self, project: ProjectId) -> Record {
        let opening = self.opening(&project);
        let command = Command {
            operator: format!("operator-{}", self.dice.below(3)),
            auth_method: if self.dice.one_in(10) { "chat" } else { "api_key" }.into(),
            verb: (*self.dice.of(&VERBS)).into(),
            opening: (!self.dice.one_in(20)).then_some(opening),
            arguments: format!(r#"{{"to":"team-{}","text":"pool?"}}"#, self.dice.below(3)),
        };
        self.make(Some(project), Body::Command(Box::new(command)))
    }

    fn answer(&mut self, project: ProjectId) -> Record {
        let (opening, reason) = (self.opening(&project), *self.dice.of(&REASONS));
        let analysis = (!self.dice.one_in(4)).then(|| Analysis {
            root_cause: "a pool".into(),
            impact: "checkout".into(),
            fix_suggestion: "restart".into(),
            prevention: "limits".into(),
            confidence: 0.5,
            analyzed_by: "test".into(),
            model: None,
            ..Analysis::default()
        });
        let answer = Answer {
            job: JobId::triage(opening, reason),
            incident: IncidentId(Uuid::nil()),
            opening,
            reason: reason.into(),
            prompt: "p".into(),
            input: "{}".into(),
            result: AnswerResult {
                analysis,
                attempts: Vec::new(),
                latency_ms: 3,
                ..AnswerResult::default()
            },
        };
        self.make(Some(project), Body::Answer(Box::new(answer)))
    }

    fn outcome(&mut self, project: ProjectId) -> Record {
        let opening = self.opening(&project);
        let outcome = SendOutcome {
            job: JobId(Uuid::from_u128(u128::from(self.made))),
            incident: None,
            target: "hook".into(),
            channel: "hook".into(),
            kind: SendKind::Fire.word().into(),
            subject: opening.to_string(),
            trigger: opening,
            attempts: 1,
            result: SendResult::AlreadyTold,
        };
        self.make(Some(project), Body::Outcome(Box::new(outcome)))
    }

    fn redrive(&mut self, project: ProjectId) -> Record {
        let of: Vec<usize> =
            (0..self.given_up.len()).filter(|n| self.given_up[*n].0 == project).collect();
        let (original, record) = if of.is_empty() {
            (InputPosition { incarnation: 1, sequence: 1, record: 0 }, None)
        } else {
            let (_, at, bytes) = self.given_up[*self.dice.of(&of)].clone();
            (at, (!self.dice.one_in(10)).then_some(bytes))
        };
        let operator = "operator-0".into();
        let redrive = Redrive { original: original.whole(), operator, record };
        self.make(Some(project), Body::Redrive(redrive))
    }

    fn number(&mut self, project: ProjectId) -> Record {
        let opening = self.opening(&project);
        let number = IncidentNumber {
            incident: IncidentId(Uuid::nil()),
            opening,
            day: "20260101".into(),
            number: 1,
        };
        self.make(Some(project), Body::Control(Box::new(Control::IncidentNumber(number))))
    }

    fn rules(&mut self) -> Record {
        let (least, changes) = (2 + self.dice.below(4), 4 + self.dice.below(4));
        let project = self.dice.of(&self.by_lane[0]).clone();
        let text = format!(
            "[[defaults.routes]]\nname = \"r\"\nreceivers = [\"default\"]\n\
             [defaults.escalation]\nid = \"e\"\nrepeat_24h = 1\nescalate_1h = {least}\n\
             escalate_24h = 9\npermanent_fix_episodes_7d = {least}\n\
             [project.{project}.flapping]\nid = \"f\"\nchanges = {changes}\nwindow_minutes = 90\n"
        );
        let hash = Rules::parse(&text).unwrap().hash().to_owned();
        let document = RulesDocument { hash, text, operator: "operator-0".into() };
        self.make(None, Body::Control(Box::new(Control::Rules(document))))
    }
}

/// The same delivery with a body and a provider that can be read.
fn readable(record: &Record) -> Record {
    let mut record = record.clone();
    if let Body::Delivery(delivery) = &mut record.body {
        delivery.provider = "custom".into();
        delivery.raw = bodies::message("redriven", true).into_bytes();
    }
    record
}

fn push<T>(all: &mut VecDeque<T>, one: T) {
    if all.len() >= REMEMBERED {
        all.pop_front();
    }
    all.push_back(one);
}
