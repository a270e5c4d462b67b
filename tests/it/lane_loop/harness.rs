//! What the tests of the lane loop share: producers, workers, and how to look at the outcome.

use std::{collections::HashMap, sync::Arc, time::Duration};

use eventlog::{Log, Publish, Read};
use futures_util::StreamExt;
use lanes::{LaneLoop, LaneLoopConfig};
use runtime::{Controller, Health, Shutdown};
use schemas::{
    Event, Lane, LaneKey, ProducerId, Record, RecordId, Time,
    event::{EventBatch, PartHeader},
    frame::{self, FRAME_VERSION, FrameHeader, RecordFrame},
    id,
    record::{Auth, Body, Delivery},
    subject::{self, Class},
};
use store::lane::Cursor;
use tests::{GENERATION, World};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::toy::{Toy, link};

pub const LANE: Lane = Lane(0);

/// How long anything here may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Sequence, and index of the record in its frame.
pub type Place = (u64, u32);

/// A process that numbers its frames.
pub struct Producer {
    log: Arc<dyn Log>,
    id: ProducerId,
    number: u64,
    total: u64,
}

impl Producer {
    pub async fn new(world: &World, id: u128) -> Self {
        Self { log: world.log().await, id: ProducerId(Uuid::from_u128(id)), number: 0, total: 0 }
    }

    /// Appends one frame of deliveries with these bodies; returns where its last record stands.
    pub async fn append(&mut self, key: LaneKey, texts: &[&str]) -> Place {
        self.number += 1;
        self.total += texts.len() as u64;
        self.repeat(key, texts).await
    }

    /// Appends the last frame's number again.
    pub async fn repeat(&mut self, key: LaneKey, texts: &[&str]) -> Place {
        let mut records = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            delivery(self.total - texts.len() as u64 + index as u64, text)
                .encode_into(&mut records);
        }
        let header = FrameHeader {
            version: FRAME_VERSION,
            producer: self.id,
            number: self.number,
            total: self.total,
            count: texts.len() as u32,
        };
        (self.raw(key, frame::encode(&header, &records)).await, texts.len() as u32 - 1)
    }

    pub async fn raw(&mut self, key: LaneKey, payload: Vec<u8>) -> u64 {
        let namespace = self.log.namespace().clone();
        let publish = Publish {
            stream: subject::deliveries_stream(&namespace),
            subject: subject::deliveries(&namespace, key, Class::Data),
            message_id: None,
            headers: Vec::new(),
            payload: payload.into(),
            fence: None,
            keep_forever: false,
        };
        self.log.publish(publish).await.unwrap().sequence
    }
}

pub fn delivery(number: u64, text: &str) -> Record {
    let body = Delivery {
        provider: "toy".into(),
        source: "toy".parse().unwrap(),
        route: "/".into(),
        headers: Vec::new(),
        remote: None,
        auth: Auth { method: "none".into(), credential: None },
        raw: text.as_bytes().to_vec(),
        sha256: [0; 32],
        content_type: None,
        channel: None,
        recorded: None,
    };
    let id = RecordId(id::hash(&[b"delivery", &number.to_be_bytes()]));
    Record::new(id, Time::default(), None, Body::Delivery(Box::new(body)))
}

/// Quick to notice, so that tests are short.
pub fn config() -> LaneLoopConfig {
    LaneLoopConfig {
        beat: Duration::from_millis(100),
        poll: Duration::from_millis(20),
        patience: Duration::from_millis(300),
        hand_over: Duration::from_millis(300),
        retry_pause: Duration::from_millis(1),
        back_off: Duration::from_millis(20),
        halt_pause: Duration::from_millis(50),
        ..LaneLoopConfig::default()
    }
}

/// A worker in this process.
pub struct Worker {
    controller: Controller,
    pub health: Health,
    pub task: JoinHandle<Result<(), lanes::Error>>,
}

impl Worker {
    pub async fn start(world: &World, stage: &Arc<Toy>, config: LaneLoopConfig) -> Self {
        let (shutdown, controller) = Shutdown::new();
        let health = Health::default();
        let lane_loop = LaneLoop::new(
            Arc::clone(stage),
            world.log().await,
            world.store.clone(),
            GENERATION,
            world.lanes,
            runtime::random_uuid(),
            config,
        )
        .with_health(health.clone());
        Self { controller, health, task: tokio::spawn(lane_loop.run(shutdown)) }
    }

    /// Stops softly: what is in hand is finished.
    pub async fn stop(self) {
        self.controller.stop();
        self.task.await.unwrap().unwrap();
    }

    /// Drops everything at once.
    pub async fn kill(self) {
        self.controller.abort();
        self.task.await.unwrap().unwrap();
    }

    /// Waits until a lane says why it does not go on, and returns that.
    pub async fn complains_of(&self, what: &str) -> String {
        until("the lane complains", async || {
            let report = self.health.report();
            let mut reasons = report.degraded.iter().map(|d| d.reason.clone());
            reasons.find(|reason| reason.contains(what))
        })
        .await
    }
}

/// Asks again and again until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until the stage has applied everything up to and including a record of the input.
pub async fn applied(world: &World, stage: &str, lane: Lane, place: Place) -> Cursor {
    until(&format!("{stage} of lane {lane} applies {place:?}"), async || {
        let cursor = world.store.cursor(stage, GENERATION, lane).await.unwrap()?;
        ((cursor.through.sequence, cursor.through.record) >= place).then_some(cursor)
    })
    .await
}

/// Everything a stream holds under these filters now.
pub async fn stored(world: &World, stream: String, filters: Vec<String>) -> Vec<eventlog::Message> {
    let log = world.log().await;
    let mut left = 0;
    for filter in &filters {
        let last = log.last(&stream, filter).await.unwrap();
        left = left.max(last.map_or(0, |message| message.sequence));
    }
    let mut messages = Vec::new();
    if left == 0 {
        return messages;
    }
    let mut read = log.read(Read { stream, filters, from: 1 }).await.unwrap();
    while messages.last().is_none_or(|m: &eventlog::Message| m.sequence < left) {
        messages.push(read.next().await.unwrap().unwrap());
    }
    messages
}

/// The chain a sequential fold of the lane makes, leaving out frames by number and given records.
pub async fn sequential(world: &World, lane: Lane, skip: impl Fn(&[u8]) -> bool) -> Uuid {
    let stream = subject::deliveries_stream(&world.namespace);
    let filters = subject::lane_input(&world.namespace, lane).to_vec();
    let mut last = HashMap::new();
    let mut chain = Uuid::nil();
    for message in stored(world, stream, filters).await {
        let Ok(frame) = RecordFrame::parse(&message.payload) else { continue };
        let of_all = message.subject.contains(".all.");
        let number = last.entry((frame.header.producer, of_all)).or_insert(0);
        if frame.header.number <= *number {
            continue;
        }
        *number = frame.header.number;
        for record in frame.records.iter().filter(|r| !skip(r)) {
            chain = link(chain, record);
        }
    }
    chain
}

/// The chain a stage has in the tables.
pub async fn chain(world: &World, stage: &str, lane: Lane) -> Option<Uuid> {
    let state: Option<Vec<u8>> =
        sqlx::query_scalar("select state from lane_state where stage = $1 and lane = $2")
            .bind(stage)
            .bind(i32::from(lane.0))
            .fetch_optional(&mut world.sql().await)
            .await
            .unwrap();
    state.map(|bytes| Uuid::from_slice(&bytes).unwrap())
}

/// I2: what was in frame headers is what has an outcome. Returns (records, repeated, parked).
pub async fn check_ledger(world: &World, lane: Lane) -> (u64, u64, u64) {
    let mut ledger = world.store.ledger(GENERATION, lane).await.unwrap();
    let in_frames = ledger.remove("in_frames").unwrap_or(0);
    assert_eq!(in_frames, ledger.values().sum::<u64>(), "{ledger:?}");
    let of = |outcome: &str| ledger.get(outcome).copied().unwrap_or(0);
    (in_frames, of("repeated_frame"), of("parked"))
}

/// The events a stage published for a lane; fails when parts are missing, twice or out of order.
pub async fn events(world: &World, stage: &str, lane: Lane) -> Vec<Event> {
    let stream = subject::events_stream(&world.namespace, GENERATION);
    let filter = subject::events_of_stage(&world.namespace, GENERATION, lane, stage);
    let (mut events, mut next) = (Vec::new(), (1, 0));
    for message in stored(world, stream, vec![filter]).await {
        let header = PartHeader::from_headers(|n| message.header(n)).unwrap();
        assert_eq!((header.batch, header.part), next, "the next part of {stage} in lane {lane}");
        let over = header.part + 1 == header.parts;
        next = if over { (header.batch + 1, 0) } else { (header.batch, header.part + 1) };
        events.extend(EventBatch::read(&header, &message.payload).unwrap().events);
    }
    events
}
