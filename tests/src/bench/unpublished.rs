//! What it costs that a batch's messages are committed with it: the batch's own transaction, by the
//! store's own statements, with those rows and without.
//!
//! Problems and messages are real ones, read from the tables and the log that a drain left. Both
//! kinds take turns, so that what else the machine does falls on both.

use std::{collections::BTreeMap, time::Duration};

use eventlog::Read;
use futures_util::StreamExt;
use schemas::{
    Fingerprint, Lane, Outcome, ProjectId, Time,
    event::{EventBatch, Kind, PartHeader},
    subject::{events_of_stage, events_stream},
};
use sqlx::{Connection, PgConnection};
use store::{
    Store,
    lane::{Account, Cursor, LaneConnection, Message, Stream},
    observe::ProblemRow,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Scale,
    figures::{Figures, Target},
    filled::{Drained, Filled},
    wal,
};
use crate::{GENERATION, World, database};

/// Percent of observe's time that they may cost before there has to be another way.
const MOST: f64 = 15.0;
/// Transactions of a turn.
const TURN: u64 = 20;
/// Turns of each kind at the standard scale.
const TURNS: f64 = 12.0;
/// Messages at the end of the log that are looked at.
const LATEST: u64 = 400;
/// The log shows a message's id among its headers.
const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The lane whose problems and messages are taken.
const LANE: Lane = Lane(0);

/// Measures and adds the figures; `drained` is the drain of one lane before.
pub async fn run(figures: &mut Figures, site: &Filled, drained: &Drained, scale: Scale) {
    let world = &site.world;
    let (messages, alerts) = messages(world, drained.batch as usize).await;
    let problems = problems(&mut world.sql().await, alerts).await;
    let bytes: usize = messages.iter().map(|m| m.payload.len()).sum();

    let url = database(&world.postgres, "one_transaction").await;
    let store = Store::connect(&url, 1, Duration::from_secs(10)).await.unwrap();
    let owner = store.own_lane("observe", GENERATION, LANE).await.unwrap().unwrap();
    let mut batches = Batches { owner, problems, alerts: alerts as u64, url };
    batches.turn(&messages, TURN).await;
    batches.turn(&[], TURN).await;
    let (mut with, mut without) = (Turn::default(), Turn::default());
    for _ in 0..(TURNS * scale.0).max(2.0) as u32 {
        with.add(batches.turn(&messages, TURN).await);
        without.add(batches.turn(&[], TURN).await);
    }
    batches.owner.release().await;

    let name = |what: &str| format!("observe.unpublished.{what}");
    figures.add(name("alerts_a_batch"), alerts as f64, "");
    figures.add(name("bytes"), bytes as f64 / alerts as f64, "B/alert");
    let rate = |turn: &Turn| alerts as f64 * turn.transactions as f64 / turn.time.as_secs_f64();
    figures.add(name("rate_with"), rate(&with), "alerts/s");
    figures.add(name("rate_without"), rate(&without), "alerts/s");
    let wal = |turn: &Turn| turn.wal as f64 / turn.transactions as f64 / alerts as f64;
    figures.add(name("wal_with"), wal(&with), "B/alert");
    figures.add(name("wal_without"), wal(&without), "B/alert");
    let micros = (1.0 / rate(&with) - 1.0 / rate(&without)) * 1e6;
    figures.add(name("cost"), micros, "us/alert");
    // Of the time that observe itself takes for an alert, in which the transaction is a part.
    let share = micros * drained.rate / 1e6 * 100.0;
    figures.held(name("of_observe"), share, "%", Target::AtMost(MOST));
}

/// Transactions of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    transactions: u64,
    time: Duration,
    wal: i64,
}

impl Turn {
    fn add(&mut self, other: Self) {
        self.transactions += other.transactions;
        self.time += other.time;
        self.wal += other.wal;
    }
}

/// A lane, and what each of its batches writes.
struct Batches {
    owner: LaneConnection,
    problems: Vec<ProblemRow>,
    alerts: u64,
    url: String,
}

impl Batches {
    /// Commits this many batches with these messages.
    async fn turn(&mut self, messages: &[Message], transactions: u64) -> Turn {
        let mut sql = PgConnection::connect(&self.url).await.unwrap();
        let from = wal::position(&mut sql).await;
        let begin = Instant::now();
        let mut old = self.owner.cursor().await.unwrap();
        for _ in 0..transactions {
            old = self.batch(old, messages).await;
        }
        let time = begin.elapsed();
        Turn { transactions, time, wal: wal::position(&mut sql).await - from }
    }

    async fn batch(&mut self, old: Cursor, messages: &[Message]) -> Cursor {
        let mut new = old.clone();
        new.at.sequence += 1;
        new.through = new.at;
        new.batch += 1;
        let outcomes = BTreeMap::from([(Outcome::Observed, self.alerts)]);
        let account =
            Account { in_frames: self.alerts, outcomes: &outcomes, producers: &[], messages };
        let mut transaction = self.owner.begin();
        transaction.upsert_problems(&self.problems);
        transaction.advance(&old, &new, new.at, Some(&account));
        transaction.commit().await.unwrap();
        new
    }
}

/// As many problems of a lane, at most, as a batch has alerts.
async fn problems(sql: &mut PgConnection, most: usize) -> Vec<ProblemRow> {
    let rows: Vec<(String, Uuid, Vec<u8>, Option<i64>)> = sqlx::query_as(
        "select project, fingerprint, state, due from problem where lane = $1 \
         order by length(state) desc, fingerprint limit $2",
    )
    .bind(i32::from(LANE.0))
    .bind(most as i64)
    .fetch_all(sql)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(project, id, state, due)| {
            let project = ProjectId::new(project).unwrap();
            (((project, Fingerprint(id)), state), due.map(Time::from_micros))
        })
        .collect()
}

/// The messages of one of the lane's last batches, the one whose number of alerts comes closest to
/// `alerts`, and that number.
async fn messages(world: &World, alerts: usize) -> (Vec<Message>, usize) {
    let log = world.log().await;
    let stream = events_stream(&world.namespace, GENERATION);
    let filters = vec![events_of_stage(&world.namespace, GENERATION, LANE, "observe")];
    let last = log.last(&stream, &filters[0]).await.unwrap().unwrap().sequence;
    let from = last.saturating_sub(LATEST).max(1);
    let mut read = log.read(Read { stream, filters, from }).await.unwrap();
    let mut batches: BTreeMap<u64, (Vec<Message>, usize)> = BTreeMap::new();
    loop {
        let found = read.next().await.unwrap().unwrap();
        let header = PartHeader::from_headers(|name| found.header(name)).unwrap();
        let events = EventBatch::read(&header, &found.payload).unwrap().events;
        let observed = events.iter().filter(|e| matches!(e.kind, Kind::Observed(_))).count();
        let (messages, alerts) = batches.entry(header.batch).or_default();
        *alerts += observed;
        messages.push(Message {
            stream: Stream::Events,
            message_id: found.header(MESSAGE_ID).map(str::to_owned),
            payload: found.payload.to_vec(),
            subject: found.subject,
            headers: found.headers.into_iter().filter(|(name, _)| name != MESSAGE_ID).collect(),
        });
        if found.sequence >= last {
            break;
        }
    }
    batches.into_values().min_by_key(|(_, observed)| observed.abs_diff(alerts)).unwrap()
}
