//! What everything must equal: the sequential fold of the log, computed apart from the loops.
//!
//! [`check`] reads the whole input log, folds it lane by lane with `domain::replay` up to where
//! observe's cursor stands, and compares with it every row and event that observe makes, the dossier
//! that is made from the events, and what notify said of them (I2, I4).

mod telling;

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    observe::{Incident, LaneState, Problem, SEEN_DAYS},
    replay::{self, Folded, Telling},
};
use eventlog::{Log, Message, Read};
use futures_util::StreamExt;
use schemas::{
    Event, Fingerprint, IncidentId, InputPosition, Lane, Time,
    event::{EventBatch, Kind, PartHeader},
    job::SendKind,
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
    /// What the fold of its decisions tells whom; nothing where no notify ran.
    pub telling: Telling,
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

    /// The incidents that messages of that kind were planned about for `receiver`, in order.
    pub fn planned(&self, kind: SendKind, receiver: &str) -> Vec<IncidentId> {
        let plans = self.telling.plans.iter();
        plans
            .filter(|plan| plan.kind == kind && plan.to.to_string() == receiver)
            .map(|plan| plan.incident)
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
    let mut cursors = Vec::new();
    for lane in Lane::all(world.lanes) {
        let cursor: (i64, i32) = sqlx::query_as(
            "select coalesce(max(seq), 0), coalesce(max(rec), 0) from cursor
             where stage = 'observe' and lane = $1",
        )
        .bind(i32::from(lane.0))
        .fetch_one(&mut sql)
        .await
        .unwrap();
        cursors.push((lane, cursor));
    }
    // Lanes are folded apart from each other, so side by side.
    let folded: Vec<(Lane, Folded, u64)> = std::thread::scope(|scope| {
        let fold = |(lane, cursor)| {
            let (messages, world) = (&messages, &*world);
            scope.spawn(move || folded(world, incarnation, messages, lane, cursor))
        };
        let folds: Vec<_> = cursors.into_iter().map(fold).collect();
        folds.into_iter().map(|fold| fold.join().unwrap()).collect()
    });
    let (mut lanes, mut differences) = (Vec::new(), Vec::new());
    for (lane, folded, in_frames) in folded {
        let mut found = Differences { lane, found: &mut differences };
        found.ledger(&mut sql, &folded, in_frames).await;
        found.problems(&mut sql, &folded).await;
        found.incidents(&mut sql, &folded).await;
        found.given_up(&mut sql, &folded).await;
        found.in_force(&mut sql, &folded, world).await;
        found.asked(&mut sql, &folded).await;
        found.events(&events, &folded, world);
        let telling = found.notices(&events, &folded, world);
        found.dossier(&mut sql, &folded).await;
        lanes.push(Compared { lane, folded, telling });
    }
    (lanes, differences)
}

/// Folds one lane up to where observe's cursor stands; also the records in its frames.
fn folded(
    world: &World,
    incarnation: i64,
    messages: &[Message],
    lane: Lane,
    (through, record): (i64, i32),
) -> (Lane, Folded, u64) {
    let covered = messages.iter().filter(|m| m.sequence <= through as u64).map(|m| {
        let Message { subject, sequence, time: stored_at, payload, .. } = m;
        replay::Message { subject, sequence: *sequence, stored_at: *stored_at, payload }
    });
    let mut frames = replay::frames(&world.namespace, incarnation, lane, covered).unwrap();
    // The cursor may stand inside the last frame.
    let cut = frames
        .inputs
        .iter()
        .filter(|i| i.at.sequence == through as u64 && i64::from(i.at.record) > i64::from(record));
    let cut = cut.count();
    frames.inputs.truncate(frames.inputs.len() - cut);
    frames.in_frames -= cut as u64;
    let in_frames = frames.in_frames;
    (lane, replay::of_frames(lane, world.lanes, frames).unwrap(), in_frames)
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
        let rows: Vec<(String, Uuid, Vec<u8>, Option<i64>)> = sqlx::query_as(
            "select project, fingerprint, state, due from problem
             where generation = $1 and lane = $2",
        )
        .bind(GENERATION.0)
        .bind(i32::from(self.lane.0))
        .fetch_all(sql)
        .await
        .unwrap();
        let mut is = BTreeMap::new();
        for (project, fingerprint, state, due) in rows {
            let problem = Problem::decode(&state).unwrap();
            let fingerprint = Fingerprint(fingerprint);
            // What is looked for is the column; what is decided by is the state.
            let of_state = problem.due.map(Time::micros);
            self.compare(&format!("due of problem {fingerprint}"), &due, &of_state);
            is.insert((project, fingerprint), problem);
        }
        let should: BTreeMap<(String, Fingerprint), Problem> = folded
            .problems
            .iter()
            .map(|(key, problem)| ((key.0.as_str().to_owned(), key.1), problem.clone()))
            .collect();
        for key in is.keys().chain(should.keys()).collect::<BTreeSet<_>>() {
            self.compare(&format!("problem {}", key.1), &is.get(key), &should.get(key));
        }
    }

    async fn incidents(&mut self, sql: &mut PgConnection, folded: &Folded) {
        let rows: Vec<(String, Uuid, Vec<u8>)> = sqlx::query_as(
            "select project, incident, state from opening where generation = $1 and lane = $2",
        )
        .bind(GENERATION.0)
        .bind(i32::from(self.lane.0))
        .fetch_all(&mut *sql)
        .await
        .unwrap();
        let is: BTreeMap<(String, IncidentId), Incident> = rows
            .into_iter()
            .map(|(p, i, state)| ((p, IncidentId(i)), Incident::decode(&state).unwrap()))
            .collect();
        let should: BTreeMap<(String, IncidentId), Incident> = folded
            .incidents
            .iter()
            .map(|(key, incident)| ((key.0.as_str().to_owned(), key.1), incident.clone()))
            .collect();
        for key in is.keys().chain(should.keys()).collect::<BTreeSet<_>>() {
            self.compare(&format!("incident {}", key.1), &is.get(key), &should.get(key));
        }
        // Each incident has one number, and nothing else has.
        let openings: BTreeMap<Uuid, String> =
            folded.openings.iter().map(|o| (o.incident.0, o.opening.to_string())).collect();
        let projects: BTreeSet<&str> = folded.openings.iter().map(|o| o.project.as_str()).collect();
        let numbered: Vec<(Uuid, String)> =
            sqlx::query_as("select incident, opening from incident_number where project = any($1)")
                .bind(Vec::from_iter(projects))
                .fetch_all(sql)
                .await
                .unwrap();
        self.compare("numbers", &numbered.len(), &openings.len());
        let wrong = numbered.iter().find(|(i, opening)| openings.get(i) != Some(opening));
        self.compare("first number of no opening", &wrong, &None);
    }

    /// Records that ended rejected or parked and were not redriven; names that were given; delivery
    /// ids that were applied.
    async fn given_up(&mut self, sql: &mut PgConnection, folded: &Folded) {
        let lane = i32::from(self.lane.0);
        let parked: Vec<(i64, i64, i32, String)> = sqlx::query_as(
            "select inc, seq, rec, reason from parked
             where generation = $1 and stage = 'observe' and lane = $2 order by inc, seq, rec",
        )
        .bind(GENERATION.0)
        .bind(lane)
        .fetch_all(&mut *sql)
        .await
        .unwrap();
        let place = |at: &InputPosition| (at.incarnation, at.sequence as i64, at.record as i32);
        let should: Vec<(i64, i64, i32, String)> = folded
            .parked
            .iter()
            .map(|(at, reason)| {
                let (inc, seq, rec) = place(at);
                (inc, seq, rec, reason.clone())
            })
            .collect();
        self.compare("parked records", &parked, &should);
        let rejected: Vec<(i64, i64, i32)> = sqlx::query_as(
            "select inc, seq, rec from rejected
             where generation = $1 and lane = $2 order by inc, seq, rec",
        )
        .bind(GENERATION.0)
        .bind(lane)
        .fetch_all(&mut *sql)
        .await
        .unwrap();
        let should: Vec<(i64, i64, i32)> = folded.rejected.iter().map(place).collect();
        self.compare("rejected records", &rejected, &should);
        let named: Vec<(i32, Uuid, String, String)> = sqlx::query_as(
            "select day, key, project, opening from handle
             where generation = $1 and lane = $2 order by day, key",
        )
        .bind(GENERATION.0)
        .bind(lane)
        .fetch_all(&mut *sql)
        .await
        .unwrap();
        let should = folded.handles.iter().map(|((day, key), (project, opening))| {
            (*day, *key, project.as_str().to_owned(), opening.to_string())
        });
        self.compare("names of incidents", &named, &Vec::from_iter(should));
        let seen: Vec<(i32, Uuid, i64)> = sqlx::query_as(
            "select day, key, expires from seen where generation = $1 and lane = $2",
        )
        .bind(GENERATION.0)
        .bind(lane)
        .fetch_all(sql)
        .await
        .unwrap();
        // Days that no look-up reaches any more are dropped.
        let first = folded.lane_time.day() - SEEN_DAYS;
        let is: BTreeMap<(i32, Uuid), i64> = seen
            .into_iter()
            .filter(|(day, ..)| *day >= first)
            .map(|(day, key, expires)| ((day, key), expires))
            .collect();
        let should: BTreeMap<(i32, Uuid), i64> = folded
            .seen
            .iter()
            .filter(|((day, _), _)| *day >= first)
            .map(|(key, expires)| (*key, expires.micros()))
            .collect();
        for key in is.keys().chain(should.keys()).collect::<BTreeSet<_>>() {
            self.compare(&format!("delivery id {key:?}"), &is.get(key), &should.get(key));
        }
    }

    /// Lane time and the rules in force.
    async fn in_force(&mut self, sql: &mut PgConnection, folded: &Folded, world: &World) {
        let lane_time: i64 = sqlx::query_scalar(
            "select coalesce(max(lane_time), 0) from cursor
             where stage = 'observe' and generation = $1 and lane = $2",
        )
        .bind(GENERATION.0)
        .bind(i32::from(self.lane.0))
        .fetch_one(&mut *sql)
        .await
        .unwrap();
        self.compare("lane time", &lane_time, &folded.lane_time.micros());
        let state: Option<Vec<u8>> = sqlx::query_scalar(
            "select state from lane_state
             where stage = 'observe' and generation = $1 and lane = $2",
        )
        .bind(GENERATION.0)
        .bind(i32::from(self.lane.0))
        .fetch_optional(sql)
        .await
        .unwrap();
        let restored =
            LaneState::restore(self.lane, world.lanes, Time::default(), state.as_deref()).unwrap();
        self.compare("rules in force", &restored.rules().hash(), &folded.rules.as_str());
    }

    /// What triage was asked for.
    async fn asked(&mut self, sql: &mut PgConnection, folded: &Folded) {
        let jobs: Vec<Uuid> = sqlx::query_scalar(
            "select id from job where generation = $1 and lane = $2 and queue = 'triage' order by id",
        )
        .bind(GENERATION.0)
        .bind(i32::from(self.lane.0))
        .fetch_all(sql)
        .await
        .unwrap();
        let mut should: Vec<Uuid> = folded.triage.iter().map(|ask| ask.id.0).collect();
        should.sort_unstable();
        self.compare("triage jobs", &jobs.len(), &should.len());
        let at = jobs.iter().zip(&should).position(|(is, should)| is != should);
        self.compare("first triage job that differs", &at, &None);
    }

    /// The stream holds, channel by channel, exactly the events of the fold in order: published
    /// once, none skipped, batches and parts without a gap.
    fn events(&mut self, messages: &[Message], folded: &Folded, world: &World) {
        let lane = self.lane;
        let subject = |channel| subject::events(&world.namespace, GENERATION, lane, channel);
        let of_stage = [EventChannel::Decision, EventChannel::Alert].map(subject);
        let mut read: Vec<Event> = Vec::new();
        for message in messages.iter().filter(|m| of_stage.contains(&m.subject)) {
            let header = PartHeader::from_headers(|name| message.header(name)).unwrap();
            let events = EventBatch::read(&header, &message.payload).unwrap().events;
            // What stands behind the channel's own events is for those who read the other one too.
            let own = header.own.map_or(events.len(), |own| own as usize);
            for (index, event) in events.iter().enumerate() {
                let of_subject = subject(event.kind.channel()) == message.subject;
                self.compare("channel of an event", &of_subject, &(index < own));
            }
            read.extend(events);
        }
        for channel in [EventChannel::Decision, EventChannel::Alert] {
            let is: Vec<&Event> = read.iter().filter(|e| e.kind.channel() == channel).collect();
            let should: Vec<&Event> =
                folded.events.iter().filter(|e| e.kind.channel() == channel).collect();
            let same = is.len() == should.len() && is.iter().zip(&should).all(|(a, b)| a == b);
            if !same {
                let at = is.iter().zip(&should).position(|(a, b)| a != b);
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
            // Of its own: a record that stands in the wrong lane is told under its project as well.
            .filter(|e| matches!(e.kind, Kind::Observed(_)))
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
