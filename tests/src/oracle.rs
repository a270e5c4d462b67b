//! What everything must equal: the sequential fold of the log, computed apart from the loops.
//!
//! [`check`] reads the whole input log, folds it lane by lane with `domain::replay` up to where
//! observe's cursor stands, and compares ledger, problems, events and dossier with it (I2, I4).

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    observe::Problem,
    replay::{self, Folded},
};
use eventlog::{Log, Message, Read};
use futures_util::StreamExt;
use schemas::{
    Event, Fingerprint, IncidentId, Lane,
    event::{EventBatch, Kind, PartHeader},
    subject::{self, EventChannel},
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{GENERATION, World};

/// What one lane's fold made, and what the log holds of it.
#[derive(Debug)]
pub struct Compared {
    pub lane: Lane,
    pub folded: Folded,
}

impl Compared {
    /// The incidents opened, in order.
    pub fn opened(&self) -> Vec<IncidentId> {
        self.folded
            .events
            .iter()
            .filter_map(|e| match &e.kind {
                Kind::Opened(opened) => Some(opened.incident),
                _ => None,
            })
            .collect()
    }

    /// The incidents whose episode ended, in order.
    pub fn resolved(&self) -> Vec<IncidentId> {
        self.folded
            .events
            .iter()
            .filter_map(|e| match &e.kind {
                Kind::Resolved(resolved) => Some(resolved.incident),
                _ => None,
            })
            .collect()
    }
}

/// Compares every lane; the differences are returned, so that a test can also expect them.
pub async fn differences(world: &World) -> (Vec<Compared>, Vec<String>) {
    let log = world.log().await;
    let mut sql = world.sql().await;
    let input = subject::deliveries_stream(&world.namespace);
    let incarnation = log.info(&input).await.unwrap().incarnation;
    let messages = everything(&*log, &input).await;
    let events = everything(&*log, &subject::events_stream(&world.namespace, GENERATION)).await;
    let (mut lanes, mut differences) = (Vec::new(), Vec::new());
    for lane in Lane::all(world.lanes) {
        let (through, record): (i64, i32) = sqlx::query_as(
            "select coalesce(max(seq), 0), coalesce(max(rec), 0) from cursor
             where stage = 'observe' and lane = $1",
        )
        .bind(i32::from(lane.0))
        .fetch_one(&mut sql)
        .await
        .unwrap();
        let covered =
            messages.iter().filter(|m| m.sequence <= through as u64).map(|m| replay::Message {
                subject: &m.subject,
                sequence: m.sequence,
                stored_at: m.time,
                payload: &m.payload,
            });
        let mut frames = replay::frames(&world.namespace, incarnation, lane, covered).unwrap();
        // The cursor may stand inside the last frame.
        let cut = frames.inputs.iter().filter(|i| {
            i.at.sequence == through as u64 && i64::from(i.at.record) > i64::from(record)
        });
        let cut = cut.count();
        frames.inputs.truncate(frames.inputs.len() - cut);
        frames.in_frames -= cut as u64;
        let in_frames = frames.in_frames;
        let folded = replay::of_frames(lane, world.lanes, frames).unwrap();
        let mut found = Differences { lane, found: &mut differences };
        found.ledger(&mut sql, &folded, in_frames).await;
        found.problems(&mut sql, &folded).await;
        found.events(&events, &folded, world);
        found.dossier(&mut sql, &folded).await;
        lanes.push(Compared { lane, folded });
    }
    (lanes, differences)
}

/// Every message of the input log.
pub async fn input_log(world: &World) -> Vec<Message> {
    let log = world.log().await;
    everything(&*log, &subject::deliveries_stream(&world.namespace)).await
}

/// Fails the test unless every lane equals its sequential fold.
pub async fn check(world: &World) -> Vec<Compared> {
    let (lanes, differences) = differences(world).await;
    assert!(
        differences.is_empty(),
        "differs from the sequential fold:\n{}",
        differences.join("\n")
    );
    lanes
}

struct Differences<'a> {
    lane: Lane,
    found: &'a mut Vec<String>,
}

impl Differences<'_> {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, is: &T, should: &T) {
        if is != should {
            self.found.push(format!("lane {} {what}: is {is:?}, should be {should:?}", self.lane));
        }
    }

    async fn ledger(&mut self, sql: &mut PgConnection, folded: &Folded, in_frames: u64) {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "select outcome, records from ledger where generation = $1 and lane = $2",
        )
        .bind(GENERATION.0)
        .bind(i32::from(self.lane.0))
        .fetch_all(sql)
        .await
        .unwrap();
        let mut is: BTreeMap<String, u64> =
            rows.into_iter().map(|(outcome, n)| (outcome, n as u64)).filter(|r| r.1 > 0).collect();
        let frames = is.remove("in_frames").unwrap_or(0);
        self.compare("records in frames", &frames, &in_frames);
        self.compare("sum of outcomes (I2)", &is.values().sum::<u64>(), &frames);
        let should: BTreeMap<String, u64> = folded
            .ledger
            .iter()
            .map(|(outcome, n)| (outcome.word().to_owned(), *n))
            .filter(|r| r.1 > 0)
            .collect();
        self.compare("ledger", &is, &should);
    }

    async fn problems(&mut self, sql: &mut PgConnection, folded: &Folded) {
        let rows: Vec<(String, Uuid, Vec<u8>)> = sqlx::query_as(
            "select project, fingerprint, state from problem where generation = $1 and lane = $2",
        )
        .bind(GENERATION.0)
        .bind(i32::from(self.lane.0))
        .fetch_all(sql)
        .await
        .unwrap();
        let is: BTreeMap<(String, Fingerprint), Problem> = rows
            .into_iter()
            .map(|(p, f, state)| ((p, Fingerprint(f)), Problem::decode(&state).unwrap()))
            .collect();
        let should: BTreeMap<(String, Fingerprint), Problem> = folded
            .problems
            .iter()
            .map(|(key, problem)| ((key.0.as_str().to_owned(), key.1), problem.clone()))
            .collect();
        for key in is.keys().chain(should.keys()).collect::<BTreeSet<_>>() {
            self.compare(&format!("problem {}", key.1), &is.get(key), &should.get(key));
        }
    }

    /// The stream holds, channel by channel, exactly the events of the fold in order: published
    /// once, none skipped, batches and parts without a gap.
    fn events(&mut self, messages: &[Message], folded: &Folded, world: &World) {
        for channel in [EventChannel::Decision, EventChannel::Alert] {
            let subject = subject::events(&world.namespace, GENERATION, self.lane, channel);
            let mut is: Vec<Event> = Vec::new();
            for message in messages.iter().filter(|m| m.subject == subject) {
                is.extend(EventBatch::parse(&message.payload).unwrap().events);
            }
            let should: Vec<&Event> =
                folded.events.iter().filter(|e| e.kind.channel() == channel).collect();
            let same = is.len() == should.len() && is.iter().zip(&should).all(|(a, b)| a == *b);
            if !same {
                let at = is.iter().zip(&should).position(|(a, b)| a != *b);
                self.found.push(format!(
                    "lane {} {} events: {} in the stream, {} in the fold, first difference at {at:?}",
                    self.lane,
                    channel.token(),
                    is.len(),
                    should.len()
                ));
            }
        }
        let of_stage = format!(".{}.observe.", self.lane);
        let mut last: Option<PartHeader> = None;
        for message in messages.iter().filter(|m| m.subject.contains(&of_stage)) {
            let part = PartHeader::from_headers(|name| message.header(name)).unwrap();
            let next = match last {
                None => (1, 0),
                Some(l) if l.part + 1 < l.parts => (l.batch, l.part + 1),
                Some(l) => (l.batch + 1, 0),
            };
            self.compare("order of parts", &(part.batch, part.part), &next);
            last = Some(part);
        }
    }

    async fn dossier(&mut self, sql: &mut PgConnection, folded: &Folded) {
        let projects: Vec<String> = folded
            .events
            .iter()
            .filter_map(|e| e.project.as_ref().map(|p| p.as_str().to_owned()))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let rows: Vec<(Uuid, String, bool, Option<Uuid>)> = sqlx::query_as(
            "select event_id, effect, is_duplicate, incident from dossier
             where generation = $1 and project = any($2) order by inc, seq, rec, idx",
        )
        .bind(GENERATION.0)
        .bind(projects)
        .fetch_all(sql)
        .await
        .unwrap();
        let should: Vec<(Uuid, String, bool, Option<Uuid>)> = folded
            .events
            .iter()
            .filter_map(|e| match &e.kind {
                Kind::Observed(o) => Some((
                    e.id.0,
                    o.effect.word().to_owned(),
                    o.effect.is_duplicate(),
                    o.incident.map(|i| i.0),
                )),
                _ => None,
            })
            .collect();
        self.compare("dossier rows", &rows.len(), &should.len());
        let at = rows.iter().zip(&should).position(|(a, b)| a != b);
        self.compare("first dossier row that differs", &at, &None);
    }
}

/// Every message a stream holds now.
pub async fn everything(log: &dyn Log, stream: &str) -> Vec<Message> {
    let info = log.info(stream).await.unwrap();
    let mut messages = Vec::new();
    if info.messages == 0 {
        return messages;
    }
    let read = Read {
        stream: stream.to_owned(),
        filters: vec![">".into()],
        from: info.first_sequence.max(1),
    };
    let mut read = log.read(read).await.unwrap();
    while let Some(message) = read.next().await {
        let message = message.unwrap();
        let last = message.sequence >= info.last_sequence;
        messages.push(message);
        if last {
            break;
        }
    }
    messages
}
