//! The sequential fold of a log: what the tables must hold, worked out the plainest way.
//!
//! One record a batch, every row read back from its stored form, nothing kept in between: the
//! oracle that lane loops, crashes and rebuilds are compared with (invariant I4). It is the same
//! fold the live loop runs, so it shows that the loop applies each record once and in order; that
//! the fold is right is shown by the tests of [`crate::observe`].

mod telling;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
};

use schemas::{
    CodecError, Event, FrameHeader, InputPosition, Lane, LaneKey, Namespace, Outcome, ProducerId,
    RecordFrame, Time, subject,
};
use uuid::Uuid;

use crate::{
    effect::{Effects, Opening, TriageAsk},
    observe::{
        Changes, Found, Incident, IncidentKey, Input, LaneState, Missing, Named, Prepared, Problem,
        ProblemKey, SEEN_DAYS, Unasked, prepare,
    },
    rules::{self, Rules},
};

pub use telling::Telling;

/// Why a log cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("fold {at}: {source}")]
    Record { at: InputPosition, source: CodecError },
    #[error("read a row back: {0}")]
    Row(#[from] CodecError),
    #[error(transparent)]
    Unasked(#[from] Unasked),
    #[error("decide about an event: {0}")]
    Rules(rules::Error),
}

/// Everything one lane's fold made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folded {
    pub problems: BTreeMap<ProblemKey, Problem>,
    pub incidents: BTreeMap<IncidentKey, Incident>,
    /// Until when, by lane day and key.
    pub seen: BTreeMap<(i32, Uuid), Time>,
    /// What incidents are named by, by lane day and key.
    pub handles: BTreeMap<(i32, Uuid), Named>,
    /// Records by outcome (invariant I2).
    pub ledger: BTreeMap<Outcome, u64>,
    /// Records given up and not redriven since: parked ones with the reason, and rejected ones.
    pub parked: BTreeMap<InputPosition, String>,
    pub rejected: BTreeSet<InputPosition>,
    /// Every event, in order.
    pub events: Vec<Event>,
    pub triage: Vec<TriageAsk>,
    pub openings: Vec<Opening>,
    pub lane_time: Time,
    /// Hash of the rules in force.
    pub rules: String,
}

/// One message of the input log.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub subject: &'a str,
    pub sequence: u64,
    /// When the log stored it.
    pub stored_at: Time,
    pub payload: &'a [u8],
}

/// The records of one lane, taken out of its frames.
#[derive(Debug, Default)]
pub struct Frames<'a> {
    /// Records to be applied, in log order.
    pub inputs: Vec<Input<'a>>,
    /// Records of frames that stood in the log already.
    pub repeated: u64,
    /// Records the frame headers announce, repeated ones included.
    pub in_frames: u64,
    /// Messages that are no frame, with the reason.
    pub unreadable: Vec<(InputPosition, String)>,
    /// Last frame number and running total of each producer, by (producer, of the lane `all`).
    pub producers: BTreeMap<(ProducerId, bool), (u64, u64)>,
}

impl Frames<'_> {
    /// Notes a frame's number; false when it is not greater than its producer's last.
    fn follows(&mut self, header: &FrameHeader, of_all: bool) -> bool {
        let last = self.producers.entry((header.producer, of_all)).or_default();
        let follows = header.number > last.0;
        if follows {
            *last = (header.number, header.total);
        }
        follows
    }
}

/// Takes the messages of a log apart as the owner of `lane` reads them: its own subjects and those
/// of `all`, in stream order. A frame whose number is not greater than its producer's last is
/// repeated.
///
/// # Errors
/// [`CodecError::Newer`] for a frame this binary is too old for.
pub fn frames<'a>(
    namespace: &Namespace,
    incarnation: i64,
    lane: Lane,
    messages: impl IntoIterator<Item = Message<'a>>,
) -> Result<Frames<'a>, Error> {
    let mut out = Frames::default();
    for message in messages {
        let of_all = match subject::parse_deliveries(namespace, message.subject) {
            Ok((LaneKey::All, _)) => true,
            Ok((LaneKey::Lane(of), _)) if of == lane => false,
            Ok(_) | Err(_) => continue,
        };
        let position = |record| InputPosition { incarnation, sequence: message.sequence, record };
        let frame = match RecordFrame::parse(message.payload) {
            Ok(frame) => frame,
            Err(source @ CodecError::Newer { .. }) => {
                return Err(Error::Record { at: position(0), source });
            }
            Err(error) => {
                // One record, as far as anybody can say; its number counts where it can be read.
                out.in_frames += 1;
                let header = schemas::codec::decode("frame header", message.payload).ok();
                if header.is_some_and(|header| !out.follows(&header, of_all)) {
                    out.repeated += 1;
                } else {
                    out.unreadable.push((position(0), error.to_string()));
                }
                continue;
            }
        };
        let header = frame.header;
        out.in_frames += u64::from(header.count);
        if !out.follows(&header, of_all) {
            out.repeated += u64::from(header.count);
            continue;
        }
        let stored_at = message.stored_at;
        out.inputs.extend((0u32..).zip(frame.records).map(|(index, bytes)| Input {
            at: position(index),
            bytes,
            stored_at,
            of_all,
        }));
    }
    Ok(out)
}

/// Folds records of one lane, in log order.
///
/// # Errors
/// For a record a newer binary wrote, where the live loop would halt as well.
pub fn sequential<'a>(
    lane: Lane,
    lanes: NonZeroU16,
    inputs: impl IntoIterator<Item = Input<'a>>,
) -> Result<Folded, Error> {
    let mut tables = Tables::new(lane, lanes);
    for input in inputs {
        let prepared = prepare(input, tables.rules())
            .map_err(|source| Error::Record { at: input.at, source })?;
        tables.fold(vec![prepared])?;
    }
    tables.folded()
}

/// Folds what [`frames`] took out of a log; repeated and unreadable frames counted.
///
/// # Errors
/// As [`sequential`].
pub fn of_frames(lane: Lane, lanes: NonZeroU16, frames: Frames<'_>) -> Result<Folded, Error> {
    let mut folded = sequential(lane, lanes, frames.inputs)?;
    if frames.repeated > 0 {
        *folded.ledger.entry(Outcome::RepeatedFrame).or_default() += frames.repeated;
    }
    for (at, reason) in frames.unreadable {
        *folded.ledger.entry(Outcome::Parked).or_default() += 1;
        folded.parked.insert(at, reason);
    }
    Ok(folded)
}

/// Tables in memory, in the form rows are stored in.
#[derive(Debug)]
pub(crate) struct Tables {
    lane: Lane,
    lanes: NonZeroU16,
    problems: BTreeMap<ProblemKey, (Vec<u8>, Option<Time>)>,
    /// The problems that have one, by when they are due.
    due: BTreeSet<(Time, ProblemKey)>,
    incidents: BTreeMap<IncidentKey, Vec<u8>>,
    in_force: Option<Vec<u8>>,
    /// What the next record is prepared by.
    rules: Rules,
    made: Folded,
}

impl Tables {
    pub fn new(lane: Lane, lanes: NonZeroU16) -> Self {
        let rules = Rules::builtin().clone();
        let made = Folded { rules: rules.hash().to_owned(), ..Folded::default() };
        let (problems, due, incidents) = Default::default();
        Self { lane, lanes, problems, due, incidents, in_force: None, rules, made }
    }

    /// What the next record is prepared by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What an owner of the lane holds that takes it over now.
    pub fn load(&self) -> Result<LaneState, Error> {
        let in_force = self.in_force.as_deref();
        Ok(LaneState::restore(self.lane, self.lanes, self.made.lane_time, in_force)?)
    }

    /// Folds one batch with a state that is loaded for it and dropped after it.
    pub fn fold(&mut self, batch: Vec<Prepared>) -> Result<(), Error> {
        let mut state = self.load()?;
        self.apply(&mut state, batch)
    }

    /// Folds one batch with the state of an owner that folded everything before it, or took the
    /// lane over since.
    pub fn apply(&mut self, state: &mut LaneState, batch: Vec<Prepared>) -> Result<(), Error> {
        let mut missing = state.missing(&batch);
        loop {
            let found = self.find(&missing);
            state.learn(missing, found)?;
            missing = state.further(&batch);
            if missing.is_empty() {
                break;
            }
        }
        let mut effects = Effects::default();
        for prepared in batch {
            let at = prepared.at();
            let verdict = state.fold(prepared, &mut effects);
            *self.made.ledger.entry(verdict.outcome).or_default() += 1;
            if let Some(reason) = verdict.reason {
                self.made.parked.insert(at, reason);
            }
        }
        self.made.lane_time = state.lane_time();
        self.rules = state.rules().clone();
        self.made.rules = self.rules.hash().to_owned();
        self.keep(state.take_changes()?);
        self.made.events.append(&mut effects.events);
        self.made.triage.append(&mut effects.triage);
        self.made.openings.append(&mut effects.openings);
        Ok(())
    }

    fn find(&self, missing: &Missing) -> Found {
        let last = missing.days.last().copied().unwrap_or_default();
        let first = missing.days.first().copied().unwrap_or_default().saturating_sub(SEEN_DAYS);
        let until = |key: &Uuid| {
            (first..=last).filter_map(|day| self.made.seen.get(&(day, *key))).max().copied()
        };
        let problem = |key: &ProblemKey| Some((key.clone(), self.problems.get(key)?.0.clone()));
        let incident = |key: &IncidentKey| Some((key.clone(), self.incidents.get(key)?.clone()));
        let given_up = |at: &&InputPosition| {
            self.made.rejected.contains(at) || self.made.parked.contains_key(at)
        };
        let named = |key: &Uuid| {
            let mut named = self.made.handles.iter().rev().filter(|((_, known), _)| known == key);
            named.next().map(|(_, named)| named.clone())
        };
        let due = missing.due.iter().flat_map(|asked| {
            let due = self.due.iter().take_while(|(due, _)| *due <= asked.until);
            due.take(asked.limit).filter_map(|(_, key)| problem(key))
        });
        Found {
            problems: missing.problems.iter().filter_map(problem).collect(),
            incidents: missing.incidents.iter().filter_map(incident).collect(),
            seen: missing.seen.iter().filter_map(|key| Some((*key, until(key)?))).collect(),
            given_up: missing.originals.iter().filter(given_up).copied().collect(),
            handles: missing.handles.iter().filter_map(|key| Some((*key, named(key)?))).collect(),
            due: due.collect(),
        }
    }

    fn keep(&mut self, changes: Changes) {
        let Changes { problems, incidents, seen, rejected, redriven, handles, lane } = changes;
        for ((key, state), due) in problems {
            if let Some((_, Some(before))) = self.problems.get(&key) {
                self.due.remove(&(*before, key.clone()));
            }
            self.due.extend(due.map(|due| (due, key.clone())));
            self.problems.insert(key, (state, due));
        }
        self.incidents.extend(incidents);
        self.made.seen.extend(seen.into_iter().map(|s| ((s.day, s.key), s.expires)));
        self.made.rejected.extend(rejected.into_iter().map(|(_, at)| at));
        self.made.handles.extend(handles.into_iter().map(|h| ((h.day, h.key), h.named)));
        for at in redriven {
            self.made.rejected.remove(&at);
            self.made.parked.remove(&at);
        }
        self.in_force = lane.or(self.in_force.take());
    }

    /// What the fold made so far, its rows read back.
    pub fn folded(&self) -> Result<Folded, Error> {
        let mut made = self.made.clone();
        for (key, (bytes, _)) in &self.problems {
            made.problems.insert(key.clone(), Problem::decode(bytes)?);
        }
        for (key, bytes) in &self.incidents {
            made.incidents.insert(key.clone(), Incident::decode(bytes)?);
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use schemas::{
        ProjectId, Record, RecordId, SourceId,
        record::{Auth, Body, Delivery},
        subject::{Class, deliveries},
    };

    use super::*;
    use crate::invariant;

    const BODY: &str = r#"{"version":"4","groupKey":"{}","status":"firing","receiver":"r",
        "alerts":[{"status":"firing","labels":{"alertname":"Down"},"annotations":{},
        "startsAt":"2026-01-01T00:00:00Z","fingerprint":"00000000000000aa"}]}"#;

    fn record(n: u128) -> Record {
        let body = Body::Delivery(Box::new(Delivery {
            provider: "alertmanager".into(),
            source: SourceId::new("main").unwrap(),
            route: "/webhook/alertmanager".into(),
            headers: Vec::new(),
            remote: None,
            auth: Auth { method: "basic".into(), credential: None },
            raw: BODY.into(),
            sha256: [0; 32],
            content_type: None,
            channel: None,
            recorded: None,
        }));
        let at = Time::from_micros(1_767_225_600_000_000).plus_seconds(n as i64);
        Record::new(RecordId(Uuid::from_u128(n)), at, Some(ProjectId::new("shop").unwrap()), body)
    }

    fn frame(number: u64, records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|r| r.encode_into(&mut bytes));
        let header = FrameHeader {
            version: 1,
            producer: ProducerId(Uuid::from_u128(1)),
            number,
            total: 0,
            count: records.len() as u32,
        };
        schemas::frame::encode(&header, &bytes)
    }

    #[test]
    fn a_log_folds_from_its_messages_and_repeated_frames_count_once() {
        let namespace = Namespace::default();
        let own = deliveries(&namespace, LaneKey::Lane(Lane(0)), Class::Data);
        let other = deliveries(&namespace, LaneKey::Lane(Lane(1)), Class::Data);
        let all = deliveries(&namespace, LaneKey::All, Class::Data);
        let payloads = [
            (&own, frame(1, &[record(1), record(2)])),
            (&own, frame(1, &[record(1), record(2)])),
            (&other, frame(1, &[record(3)])),
            (&all, frame(1, &[record(4)])),
            (&own, b"no frame".to_vec()),
            (&own, frame(3, &[record(5)])),
        ];
        let messages = (1u64..).zip(&payloads).map(|(sequence, (subject, payload))| Message {
            subject,
            sequence,
            stored_at: Time::from_micros(i64::MAX),
            payload,
        });
        let frames = frames(&namespace, 9, Lane(0), messages).unwrap();
        let in_frames = frames.in_frames;
        assert_eq!((in_frames, frames.repeated, frames.inputs.len()), (7, 2, 4));
        let folded = of_frames(Lane(0), NonZeroU16::MIN, frames).unwrap();
        invariant::ledger_balances(in_frames, &folded.ledger).unwrap();
        invariant::episodes_are_in_order(&folded.events).unwrap();
        assert_eq!(folded.ledger[&Outcome::Observed], 4);
        assert_eq!(folded.ledger[&Outcome::Parked], 1);
        assert_eq!(folded.openings.len(), 1);
        assert_eq!(folded.openings[0].opening.to_string(), "9-1-0-0");
        assert_eq!(folded.problems.values().next().unwrap().occurrences, 4);
    }

    #[test]
    fn a_record_of_a_newer_format_stops_the_fold_and_one_that_is_none_is_parked() {
        let newer = schemas::codec::encode(&minicbor_map_with_version(2));
        let input = |bytes| Input {
            at: InputPosition::default(),
            bytes,
            stored_at: Time::default(),
            of_all: false,
        };
        let result = sequential(Lane(0), NonZeroU16::MIN, [input(&newer)]);
        assert!(matches!(result, Err(Error::Record { source: CodecError::Newer { .. }, .. })));
        let folded = sequential(Lane(0), NonZeroU16::MIN, [input(&[0x80])]).unwrap();
        assert_eq!(folded.ledger[&Outcome::Parked], 1);
    }

    /// Only what every version of the format is sure to have.
    fn minicbor_map_with_version(version: u32) -> impl minicbor::Encode<()> {
        #[derive(minicbor::Encode)]
        #[cbor(map)]
        struct Record {
            #[n(0)]
            version: u32,
            #[n(6)]
            body: String,
        }
        Record { version, body: "of a kind to come".into() }
    }
}
