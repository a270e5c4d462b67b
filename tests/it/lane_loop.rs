//! The lane loop against real servers, with a stage small enough to check by hand.

mod commit;
mod harness;
mod silence;
mod toy;

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use eventlog::Publish;
use harness::*;
use lanes::{Faults, LaneLoopConfig, ProbeCommand};
use schemas::{
    Lane, LaneKey, Record, codec,
    event::PartHeader,
    subject::{self, EventChannel},
};
use sqlx::Executor;
use tests::{GENERATION, World};
use toy::{Toy, link};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn i4_two_workers_that_take_over_from_each_other_fold_as_one() {
    let world = World::with_lanes(2).await;
    let mut producers = [Producer::new(&world, 1).await, Producer::new(&world, 2).await];
    let mut to_all = Producer::new(&world, 1).await;
    let (observe, notify) = (Toy::observe().shared(), Toy::notify().shared());
    // Batches end inside frames.
    let small = || LaneLoopConfig { max_alerts: 7, ..config() };
    let mut last = Place::default();
    let mut workers = vec![
        Worker::start(&world, &observe, small()).await,
        Worker::start(&world, &observe, small()).await,
    ];
    let reader = Worker::start(&world, &notify, small()).await;
    for round in 0..60_u16 {
        for lane in [0, 1] {
            let texts: Vec<String> = (0..10).map(|n| format!("{round} {n}")).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let key = LaneKey::Lane(Lane(lane));
            last = producers[usize::from(lane)].append(key, &texts).await;
        }
        if round % 15 == 5 {
            workers.remove(0).kill().await;
            workers.push(Worker::start(&world, &observe, small()).await);
        }
    }
    last = last.max(to_all.append(LaneKey::All, &["to all"]).await);
    for lane in [Lane(0), Lane(1)] {
        applied(&world, "observe", lane, last).await;
        assert_eq!(
            chain(&world, "observe", lane).await,
            Some(sequential(&world, lane, |_| false).await),
            "observe of lane {lane}"
        );
        assert_eq!(check_ledger(&world, lane).await, (601, 0, 0));
        let events = events(&world, "observe", lane).await;
        assert_eq!(events.len(), 601);
        applied(&world, "notify", lane, last).await;
        let folded = events.iter().fold(Uuid::nil(), |c, e| link(c, &codec::encode(e)));
        assert_eq!(chain(&world, "notify", lane).await, Some(folded), "notify of lane {lane}");
    }
    for worker in workers {
        worker.stop().await;
    }
    reader.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_stands_in_the_log_twice_is_applied_once() {
    let world = World::with_lanes(1).await;
    let mut producer = Producer::new(&world, 1).await;
    let key = LaneKey::Lane(LANE);
    producer.append(key, &["a", "b"]).await;
    producer.append(key, &["c", "d", "e"]).await;
    producer.repeat(key, &["c", "d", "e"]).await;
    let last = producer.append(key, &["f"]).await;
    let small = LaneLoopConfig { max_alerts: 2, ..config() };
    let worker = Worker::start(&world, &Toy::observe().shared(), small).await;
    applied(&world, "observe", LANE, last).await;
    assert_eq!(check_ledger(&world, LANE).await, (9, 3, 0));
    let folded = sequential(&world, LANE, |_| false).await;
    assert_eq!(chain(&world, "observe", LANE).await, Some(folded));
    worker.stop().await;
}

/// Ends the owner once at `point`, which its next one has to make good.
async fn dies_once_at(point: &'static str) {
    let world = World::with_lanes(1).await;
    let mut producer = Producer::new(&world, 1).await;
    let texts = ["1", "2", "number", "4", "5", "6", "7"];
    let mut last = Place::default();
    for _ in 0..4 {
        last = producer.append(LaneKey::Lane(LANE), &texts).await;
    }
    let seen = AtomicU64::new(0);
    let faults = Faults::hook(move |reached| {
        // The second time is in the middle of a frame.
        assert!(reached != point || seen.fetch_add(1, Ordering::SeqCst) != 1, "dies at {point}");
    });
    let small = LaneLoopConfig { max_alerts: 3, faults, ..config() };
    let worker = Worker::start(&world, &Toy::observe().shared(), small).await;
    // Four control records follow the last frame.
    applied(&world, "observe", LANE, (last.0 + 4, 0)).await;
    assert_eq!(check_ledger(&world, LANE).await, (32, 0, 0), "dies at {point}");
    let folded = sequential(&world, LANE, |_| false).await;
    assert_eq!(chain(&world, "observe", LANE).await, Some(folded));
    assert_eq!(events(&world, "observe", LANE).await.len(), 32);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_an_owner_that_dies_before_the_commit_leaves_no_trace() {
    dies_once_at("before_commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_what_was_committed_and_not_published_is_published_by_the_next_owner() {
    dies_once_at("after_commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_what_was_published_is_not_published_again() {
    dies_once_at("after_publish").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_commit_that_comes_too_late_changes_nothing() {
    let world = World::with_lanes(1).await;
    let mut producer = Producer::new(&world, 1).await;
    let observe = Toy::observe().shared();
    // While the owner writes its first batch, somebody else commits the same records.
    let url = world.database_url.clone();
    let stolen = AtomicBool::new(false);
    *observe.on_write.lock().unwrap() = Some(Box::new(move |_| {
        if stolen.swap(true, Ordering::SeqCst) {
            return;
        }
        let url = url.clone();
        let steal = async move {
            use sqlx::Connection;
            let mut sql = sqlx::PgConnection::connect(&url).await.unwrap();
            sql.execute(
                "update cursor set batch = batch + 1, seq = 1, rec = 0, through_seq = 1, \
                 inc = (select incarnation from log_identity), \
                 through_inc = (select incarnation from log_identity) where stage = 'observe'",
            )
            .await
            .unwrap();
        };
        let steal = || tokio::runtime::Runtime::new().unwrap().block_on(steal);
        std::thread::scope(|scope| scope.spawn(steal).join()).unwrap();
    }));
    let first = producer.append(LaneKey::Lane(LANE), &["stolen"]).await;
    let worker = Worker::start(&world, &observe, config()).await;
    applied(&world, "observe", LANE, first).await;
    let second = producer.append(LaneKey::Lane(LANE), &["ours"]).await;
    applied(&world, "observe", LANE, second).await;
    let folded = sequential(&world, LANE, |r| Record::decode(r).unwrap() == delivery(0, "stolen"));
    assert_eq!(chain(&world, "observe", LANE).await, Some(folded.await), "only ours");
    let ledger = world.store.ledger(GENERATION, LANE).await.unwrap();
    assert_eq!(ledger["observed"], 1, "the late batch left no trace");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_record_is_parked_and_its_neighbours_go_on() {
    let world = World::with_lanes(1).await;
    let mut producer = Producer::new(&world, 1).await;
    let observe = Toy::observe().shared();
    let key = LaneKey::Lane(LANE);
    let bad = producer.append(key, &["a", "b", "poison", "c"]).await;
    let torn = producer.raw(key, b"\xff not a frame".to_vec()).await;
    let last = producer.append(key, &["d"]).await;
    let worker = Worker::start(&world, &observe, config()).await;
    applied(&world, "observe", LANE, last).await;
    assert_eq!(check_ledger(&world, LANE).await, (6, 0, 2));
    assert_eq!(observe.panics.load(Ordering::SeqCst), 5, "given up at the sixth attempt");
    let parked = world.store.parked(GENERATION).await.unwrap();
    let at: Vec<_> = parked.iter().map(|p| (p.at.sequence, p.at.record, p.attempts)).collect();
    assert_eq!((at[0], at[1].0), ((bad.0, 2, 6), torn));
    assert!(parked[0].reason.contains("poisoned on purpose"), "{}", parked[0].reason);
    let folded = sequential(&world, LANE, |r| r.windows(6).any(|w| w == b"poison")).await;
    assert_eq!(chain(&world, "observe", LANE).await, Some(folded));
    let cursor = world.store.cursor("observe", GENERATION, LANE).await.unwrap().unwrap();
    assert_eq!(cursor.attempts, 0, "a commit resets them");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_third_attempt_on_a_record_is_tried_in_a_process_of_its_own() {
    let world = World::with_lanes(1).await;
    let mut producer = Producer::new(&world, 1).await;
    let observe = Toy::observe().shared();
    let texts = ["a", "poison", "b", "endless", "c"];
    let last = producer.append(LaneKey::Lane(LANE), &texts).await;
    // Refuses one record, and never ends with another.
    let script = "body=$(cat); case \"$body\" in *poison*) exit 1;; *endless*) sleep 60;; esac; \
                  case $1 in --memory-limit=1000000) exit 0;; *) exit 2;; esac";
    let probe = ProbeCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into(), "probe".into()],
        memory_limit: 1_000_000,
        deadline: Duration::from_millis(500),
    };
    let careful = LaneLoopConfig { probe: Some(probe), ..config() };
    let worker = Worker::start(&world, &observe, careful).await;
    applied(&world, "observe", LANE, last).await;
    assert_eq!(check_ledger(&world, LANE).await, (5, 0, 2));
    assert_eq!(observe.panics.load(Ordering::SeqCst), 2, "the third attempt was not made here");
    let parked = world.store.parked(GENERATION).await.unwrap();
    assert!(parked[0].reason.contains("exit status: 1"), "{}", parked[0].reason);
    assert!(parked[1].reason.contains("not done within"), "{}", parked[1].reason);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_stops_rather_than_park_everything() {
    let world = World::with_lanes(1).await;
    let mut producer = Producer::new(&world, 1).await;
    for _ in 0..4 {
        producer.raw(LaneKey::Lane(LANE), b"\xff".to_vec()).await;
    }
    let strict = LaneLoopConfig { max_parked: 3, ..config() };
    let worker = Worker::start(&world, &Toy::observe().shared(), strict).await;
    worker.complains_of("would be parked").await;
    assert!(world.store.parked(GENERATION).await.unwrap().len() <= 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_events_stops_at_a_gap() {
    let world = World::with_lanes(1).await;
    let log = world.log().await;
    let mut sequence = 0;
    for batch in [1, 2, 4] {
        let header = PartHeader {
            batch,
            part: 0,
            parts: 1,
            leading: 1,
            through: format!("1-{batch}-0").parse().unwrap(),
            own: None,
            unpacked: None,
        };
        let decision = EventChannel::Decision;
        let publish = Publish {
            stream: subject::events_stream(&world.namespace, GENERATION),
            subject: subject::events(&world.namespace, GENERATION, LANE, decision),
            message_id: None,
            headers: header.to_headers().into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
            payload: Vec::new().into(),
            fence: None,
            keep_forever: false,
        };
        sequence = log.publish(publish).await.unwrap().sequence;
    }
    let worker = Worker::start(&world, &Toy::notify().shared(), config()).await;
    let reason = worker.complains_of("events are missing").await;
    assert!(reason.contains("part 0 of batch 3"), "{reason}");
    let cursor = applied(&world, "notify", LANE, (2, 0)).await;
    assert!(cursor.at.sequence < sequence, "nothing behind the gap is applied");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_rules_record_is_prepared_after_it() {
    let world = World::with_lanes(1).await;
    let mut producer = Producer::new(&world, 1).await;
    let observe = Toy::observe().shared();
    let mut last = Place::default();
    for round in 0..5 {
        let mut texts = vec!["x"; 30];
        texts[round * 6] = "rules";
        last = producer.append(LaneKey::Lane(LANE), &texts).await;
    }
    let worker = Worker::start(&world, &observe, config()).await;
    applied(&world, "observe", LANE, last).await;
    assert_eq!(observe.prepared_too_early.load(Ordering::SeqCst), 0);
    assert_eq!(observe.rules.load(Ordering::SeqCst), 5);
    assert_eq!(check_ledger(&world, LANE).await, (150, 0, 0));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_batch_crosses_the_frozen_position() {
    let world = World::with_lanes(1).await;
    let mut producer = Producer::new(&world, 1).await;
    let incarnation = world.log().await.info("bw-DELIVERIES").await.unwrap().incarnation;
    let mut sql = world.sql().await;
    let freeze = "update generation set frozen_inc = $1, frozen_seq = $2";
    sqlx::query(freeze).bind(incarnation).bind(2_i64).execute(&mut sql).await.unwrap();
    for _ in 0..3 {
        producer.append(LaneKey::Lane(LANE), &["a", "b"]).await;
    }
    let worker = Worker::start(&world, &Toy::observe().shared(), config()).await;
    let cursor = applied(&world, "observe", LANE, (2, 1)).await;
    assert_eq!(cursor.at.sequence, 2);
    sqlx::query(freeze).bind(incarnation).bind(3_i64).execute(&mut sql).await.unwrap();
    applied(&world, "observe", LANE, (3, 1)).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_binary_leaves_a_lane_that_a_newer_one_folded() {
    let world = World::with_lanes(1).await;
    let mut producer = Producer::new(&world, 1).await;
    let newer = Toy::observe_of_version(2).shared();
    let first = producer.append(LaneKey::Lane(LANE), &["a"]).await;
    let worker = Worker::start(&world, &newer, config()).await;
    applied(&world, "observe", LANE, first).await;
    worker.stop().await;
    producer.append(LaneKey::Lane(LANE), &["b"]).await;
    let older = Worker::start(&world, &Toy::observe().shared(), config()).await;
    older.complains_of("run the newer binary").await;
    assert_eq!(check_ledger(&world, LANE).await.0, 1);
    older.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_log_are_refused() {
    let world = World::with_lanes(1).await;
    world.store.log_identity(1, 1).await.unwrap();
    let worker = Worker::start(&world, &Toy::observe().shared(), config()).await;
    let refused = tokio::time::timeout(PATIENCE, worker.task).await.unwrap().unwrap();
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("nats.url and postgres.url must go together"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_shared_and_taken_over() {
    let world = World::with_lanes(4).await;
    let owned_by = |worker: &Worker| {
        let ready = worker.health.report().parts;
        ready.keys().filter(|part| part.starts_with("observe lane")).count()
    };
    let observe = Toy::observe().shared();
    let one = Worker::start(&world, &observe, config()).await;
    until("one owns all", async || (owned_by(&one) == 4).then_some(())).await;
    let two = Worker::start(&world, &observe, config()).await;
    until("each owns two", async || ((owned_by(&one), owned_by(&two)) == (2, 2)).then_some(()))
        .await;
    one.kill().await;
    until("two owns all", async || (owned_by(&two) == 4).then_some(())).await;
    two.stop().await;
    // The server ends a session a moment after it was told to.
    until("all are given back", async || {
        let held = world.store.owned_lanes("observe", GENERATION).await.unwrap();
        held.is_empty().then_some(())
    })
    .await;
}
