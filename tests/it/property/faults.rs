//! Servers and workers that go at the worst moment, and clocks that are wrong.

use std::{
    collections::BTreeSet,
    num::NonZeroU16,
    time::{Duration, Instant},
};

use domain::{
    observe::Input,
    replay::{self, Folded},
};
use eventlog::Publish;
use schemas::{
    InputPosition, Lane, LaneKey, ProducerId, ProjectId, Record, RecordId, SourceId, Time,
    event::Kind,
    frame::{self, FRAME_VERSION, FrameHeader, RecordFrame},
    record::{Auth, Body, Delivery, Tick},
    subject::{self, Class},
};
use serde_json::json;
use tests::{
    fleet::Fleet,
    oracle,
    senders::{Senders, check},
};
use uuid::Uuid;

use super::{WORKER, every_lane, log::Dice, number};

/// Every role, with the sender's door first.
fn everything(fleet: &mut Fleet) -> usize {
    let ingest = fleet.start("ingest,console");
    fleet.start("triage-worker");
    fleet.start("notifier-worker,projector");
    ingest
}

/// I1: what was acked stands in the log, once for each 2xx.
async fn nothing_is_lost(fleet: &Fleet, accepted: &[String]) {
    let mut stored = BTreeSet::new();
    for message in oracle::input_log(&fleet.world).await {
        for bytes in RecordFrame::parse(&message.payload).unwrap().records {
            stored.insert(Record::decode(bytes).unwrap().id.to_string());
        }
    }
    let lost: Vec<_> = accepted.iter().filter(|id| !stored.contains(*id)).collect();
    assert!(lost.is_empty(), "acked and not in the log: {lost:?}");
}

/// F2: the log dies three times under load. Ingest says 202 or 503 (the sender fails the test over
/// any other answer), sequences go on, and each record is folded once.
#[tokio::test(flavor = "multi_thread")]
async fn f2_the_log_dies_three_times_and_nothing_accepted_is_lost() {
    let mut fleet = Fleet::new(WORKER, "").await;
    let ingest = everything(&mut fleet);
    let sender = fleet.sender(ingest);
    let load: Vec<_> = (0..3)
        .map(|group| {
            let sender = sender.clone();
            tokio::spawn(async move {
                Senders::new(200 + group).of_group(group).send(&sender, 60).await
            })
        })
        .collect();
    let stream = subject::deliveries_stream(&fleet.world.namespace);
    let mut before = 0;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        fleet.world.nats.kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
        fleet.world.nats.restart().unwrap();
        let last = fleet.world.log().await.info(&stream).await.unwrap().last_sequence;
        assert!(last >= before, "the log ended at {before} and now ends at {last}");
        before = last;
    }
    let mut accepted = Vec::new();
    for task in load {
        accepted.extend(task.await.unwrap());
    }
    check(&mut fleet).await;
    assert_eq!(accepted.len(), 180);
    nothing_is_lost(&fleet, &accepted).await;
}

/// F3: the tables are away (`BELLWETHER_OUTAGE_SECONDS`); ingest does not notice, and the backlog
/// is gone within 30 s of their return.
#[tokio::test(flavor = "multi_thread")]
async fn f3_while_the_tables_are_away_everything_is_accepted_and_the_backlog_drains() {
    let outage = Duration::from_secs(number("BELLWETHER_OUTAGE_SECONDS").unwrap_or(5));
    let mut fleet = Fleet::new(WORKER, "").await;
    let ingest = everything(&mut fleet);
    let (sender, mut senders) = (fleet.sender(ingest), Senders::new(300));
    let mut accepted = senders.send(&sender, 20).await;
    fleet.world.postgres.kill();
    let until = Instant::now() + outage;
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        let asked = Instant::now();
        // Sent once each: an answer that is no 202 would be sent again, and show as a slow one.
        accepted.extend(senders.send(&sender, 1).await);
        slowest = slowest.max(asked.elapsed());
    }
    fleet.world.postgres.restart().unwrap();
    let back = Instant::now();
    let stream = subject::deliveries_stream(&fleet.world.namespace);
    let last = fleet.world.log().await.info(&stream).await.unwrap().last_sequence;
    let covered = "select count(*) from cursor where stage = 'project' and through_seq >= $1";
    every_lane(&fleet, covered, last, Duration::from_secs(30)).await;
    println!(
        "away {outage:?}: {} accepted, slowest {slowest:?}; drained after {:?}",
        accepted.len(),
        back.elapsed()
    );
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    check(&mut fleet).await;
    nothing_is_lost(&fleet, &accepted).await;
}

/// Alerts in a frame of a backlog; problems they are of; memory and pauses a worker may take.
const BACKLOG_FRAME: u64 = 500;
const BACKLOG_PROBLEMS: u64 = 2_000;
const MEMORY: u64 = 120 << 20;
const RECOVERY: Duration = Duration::from_secs(5);
/// Up to this many records the whole log is folded again for the comparison.
const FOLDED_AGAIN: u64 = 100_000;

/// A project of the first of two lanes.
fn project_of(lane: Lane, lanes: NonZeroU16) -> ProjectId {
    let mut names = (0..).map(|n| ProjectId::new(format!("backlog-{n}")).unwrap());
    names.find(|project| Lane::of(project, lanes) == lane).unwrap()
}

fn firing(n: u64, project: &ProjectId, received: Time, problem: u64) -> Record {
    let body = json!({"version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
        "truncatedAlerts": 0, "alerts": [{"status": "firing",
        "labels": {"alertname": "Down", "instance": format!("i{problem}"), "severity": "critical"},
        "annotations": {}, "startsAt": received.to_string(), "endsAt": "0001-01-01T00:00:00Z"}]});
    let delivery = Delivery {
        provider: "alertmanager".into(),
        source: SourceId::new("alertmanager").unwrap(),
        route: "/webhook/alertmanager".into(),
        headers: Vec::new(),
        remote: None,
        auth: Auth { method: "basic".into(), credential: None },
        raw: body.to_string().into_bytes(),
        sha256: [0; 32],
        content_type: None,
        channel: None,
        recorded: None,
    };
    let id = RecordId(Uuid::from_u128((0x7000 << 64) | u128::from(n)));
    Record::new(id, received, Some(project.clone()), Body::Delivery(Box::new(delivery)))
}

/// Puts `records` alerts into the two lanes of a log.
async fn backlog(fleet: &Fleet, records: u64) -> u64 {
    let (log, namespace) = (fleet.world.log().await, &fleet.world.namespace);
    let lanes: Vec<Lane> = Lane::all(fleet.world.lanes).collect();
    let now = runtime::Clock::system().now();
    let (mut made, mut last) = (0, 0);
    while made < records {
        let frame_number = made / BACKLOG_FRAME;
        let lane = lanes[(frame_number % 2) as usize];
        let project = project_of(lane, fleet.world.lanes);
        let mut bytes = Vec::new();
        for n in made..made + BACKLOG_FRAME {
            firing(n, &project, now, n % BACKLOG_PROBLEMS).encode_into(&mut bytes);
        }
        made += BACKLOG_FRAME;
        let number = frame_number / 2 + 1;
        let header = FrameHeader {
            version: FRAME_VERSION,
            producer: ProducerId(Uuid::from_u128(8)),
            number,
            total: number * BACKLOG_FRAME,
            count: BACKLOG_FRAME as u32,
        };
        let publish = Publish {
            stream: subject::deliveries_stream(namespace),
            subject: subject::deliveries(namespace, LaneKey::Lane(lane), Class::Data),
            message_id: None,
            headers: Vec::new(),
            payload: frame::encode(&header, &bytes).into(),
            fence: None,
            keep_forever: false,
        };
        last = log.publish(publish).await.unwrap().sequence;
    }
    last
}

/// Records that observe is through with.
async fn folded_records(fleet: &Fleet) -> u64 {
    let records: i64 = sqlx::query_scalar(
        "select coalesce(sum(records), 0)::bigint from ledger where outcome = 'in_frames'",
    )
    .fetch_one(&mut fleet.world.sql().await)
    .await
    .unwrap();
    u64::try_from(records).unwrap()
}

/// F8: a worker dies over a backlog (`BELLWETHER_BACKLOG_RECORDS`). The next goes on within five
/// seconds, in little memory, everything is folded once, and ingest does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn f8_a_backlog_is_drained_by_whoever_comes_after_a_worker_that_was_killed() {
    let records = number("BELLWETHER_BACKLOG_RECORDS").unwrap_or(10_000);
    let records = records.div_ceil(2 * BACKLOG_FRAME) * 2 * BACKLOG_FRAME;
    let mut fleet = Fleet::new(WORKER, "").await;
    let last = backlog(&fleet, records).await;
    let ingest = fleet.start("ingest");
    let first = fleet.start("triage-worker");
    let begun = Instant::now();
    let patience = Duration::from_secs(60 + records / 1_000);
    while folded_records(&fleet).await < records / 5 {
        assert!(begun.elapsed() < patience, "a fifth was not folded in {patience:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let memory_of_first = fleet.peak_memory(first);
    fleet.kill(first);
    let (killed, at) = (Instant::now(), folded_records(&fleet).await);
    assert!(at < records, "everything was folded before the worker could be killed");
    let second = fleet.start("triage-worker");
    while folded_records(&fleet).await == at {
        assert!(killed.elapsed() < 4 * RECOVERY, "nobody goes on at {at} of {records}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let recovered = killed.elapsed();

    // Live traffic while the rest drains.
    let (sender, mut senders) = (fleet.sender(ingest), Senders::new(800));
    let observed = "select count(*) from cursor where stage = 'observe' and seq >= $1";
    let mut latencies = Vec::new();
    let live = tokio::spawn(async move {
        let mut accepted = Vec::new();
        for _ in 0..100 {
            let asked = Instant::now();
            accepted.extend(senders.send(&sender, 1).await);
            latencies.push(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        latencies.sort_unstable();
        (accepted, latencies[latencies.len() * 99 / 100])
    });
    every_lane(&fleet, observed, last, patience).await;
    let (accepted, p99) = live.await.unwrap();
    let stream = subject::deliveries_stream(&fleet.world.namespace);
    let last = fleet.world.log().await.info(&stream).await.unwrap().last_sequence;
    every_lane(&fleet, observed, last, patience).await;
    let memory = memory_of_first.max(fleet.peak_memory(second));
    println!(
        "{records} records: recovered in {recovered:?}, drained in {:?}, {} MB, live p99 {p99:?}",
        begun.elapsed(),
        memory >> 20
    );
    assert!(recovered < RECOVERY, "{recovered:?}");
    assert!(memory <= MEMORY, "{} MB", memory >> 20);
    assert!(p99 < Duration::from_secs(2), "{p99:?}");
    fleet.stop(&[second, ingest]);
    nothing_is_lost(&fleet, &accepted).await;

    // Each record once: what problems count is what stands in the log.
    let mut sql = fleet.world.sql().await;
    let ledger: Vec<(String, i64)> = sqlx::query_as(
        "select outcome, sum(records)::bigint from ledger group by outcome order by outcome",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let of = |outcome: &str| ledger.iter().find(|l| l.0 == outcome).map_or(0, |l| l.1 as u64);
    let outcomes: i64 = ledger.iter().filter(|l| l.0 != "in_frames").map(|l| l.1).sum();
    assert_eq!(of("in_frames"), outcomes as u64, "{ledger:?}");
    let states: Vec<Vec<u8>> =
        sqlx::query_scalar("select state from problem where project like 'backlog-%'")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    let total: u64 =
        states.iter().map(|s| domain::observe::Problem::decode(s).unwrap().total).sum();
    assert_eq!(total, records, "occurrences that problems counted");
    if records <= FOLDED_AGAIN {
        fleet.start("projector");
        let projected = "select count(*) from cursor p join cursor o on o.lane = p.lane
                         where o.stage = 'observe' and p.stage = 'project'
                         and p.through_seq >= o.seq and o.seq > $1";
        every_lane(&fleet, projected, 0, patience).await;
        fleet.stop_all();
        oracle::check(&fleet.world).await;
    }
}

/// How wrong the clock of the process is that received a record, in seconds.
type Skew = fn(usize) -> i64;

/// A story of some hours, with a tick every five seconds; only the receiving clocks differ.
fn told_by(clock: Skew, stated: bool, seed: u64) -> (Folded, Vec<Time>) {
    let mut dice = Dice::new(seed);
    let begin: Time = "2026-01-01T00:00:00Z".parse().unwrap();
    let (mut now, mut ticked) = (begin, begin.plus_seconds(-5));
    let project = ProjectId::new("shop").unwrap();
    let mut records: Vec<(Time, Vec<u8>)> = Vec::new();
    for n in 0..900_u64 {
        // Apart enough that no change is in the moment of the one before.
        now = now.plus_seconds(2 + dice.below(40) as i64);
        while ticked.plus_seconds(5) <= now {
            ticked = ticked.plus_seconds(5);
            let id = RecordId(Uuid::from_u128((1 << 64) | ticked.micros() as u128));
            let tick = Record::new(id, ticked, None, Body::Tick(Tick { now: ticked }));
            let mut bytes = Vec::new();
            tick.encode_into(&mut bytes);
            records.push((ticked, bytes));
        }
        let (problem, fires) = (dice.below(6), !dice.one_in(3));
        let received = now.plus_seconds(clock(n as usize));
        let mut record = firing(n, &project, received, problem);
        if let Body::Delivery(delivery) = &mut record.body {
            let mut body: serde_json::Value = serde_json::from_slice(&delivery.raw).unwrap();
            let alert = &mut body["alerts"][0];
            alert["status"] = json!(if fires { "firing" } else { "resolved" });
            let at = json!(now.plus_seconds(-1).to_string());
            alert["startsAt"] = if stated { at.clone() } else { json!(null) };
            if !fires {
                alert["endsAt"] = if stated { at } else { json!(null) };
            }
            delivery.raw = body.to_string().into_bytes();
        }
        let mut bytes = Vec::new();
        record.encode_into(&mut bytes);
        records.push((now, bytes));
    }
    let inputs = (1u64..).zip(&records).map(|(sequence, (stored_at, bytes))| Input {
        at: InputPosition { incarnation: 1, sequence, record: 0 },
        bytes,
        stored_at: *stored_at,
        of_all: false,
    });
    let folded = replay::sequential(Lane(0), NonZeroU16::MIN, inputs).unwrap();
    let lane_times = folded.events.iter().map(|event| event.lane_time).collect();
    (folded, lane_times)
}

/// What was decided where, whatever time it was said to be.
fn decisions(folded: &Folded) -> Vec<(u64, String)> {
    let events = folded.events.iter();
    let word = |kind: &Kind| match kind {
        Kind::Observed(observed) => format!("observed {}", observed.effect.word()),
        Kind::Opened(opened) => format!("opened {} {:?}", opened.incident, opened.cause),
        Kind::Resolved(resolved) => format!("resolved {}", resolved.incident),
        kind => kind.word().to_owned(),
    };
    events.map(|event| (event.at.input.sequence, word(&event.kind))).collect()
}

/// F13: clocks of ingest that are ten minutes off decide nothing; lane time never goes back, and is
/// never far from the ticks.
fn skewed(stated: bool, clocks: &[(&str, Skew)]) {
    let (right, times) = told_by(|_| 0, stated, 1_300);
    let of = |word: &str| decisions(&right).iter().filter(|d| d.1.starts_with(word)).count();
    assert!(of("opened") > 50 && of("resolved") > 50, "{} {}", of("opened"), of("resolved"));
    for (name, clock) in clocks {
        let (wrong, skewed) = told_by(*clock, stated, 1_300);
        assert!(skewed.windows(2).all(|pair| pair[0] <= pair[1]), "{name}: lane time goes back");
        let is = decisions(&wrong);
        let differ = is.iter().zip(decisions(&right)).filter(|(a, b)| *a != b).count();
        let first = is.iter().zip(decisions(&right)).find(|(a, b)| *a != b);
        assert_eq!(first, None, "{name}: {differ} of {} decisions differ", is.len());
        assert_eq!(is.len(), decisions(&right).len(), "{name}");
        let apart = times.iter().zip(&skewed).map(|(a, b)| a.micros_since(*b).abs()).max();
        assert!(apart.unwrap() <= 5_000_000, "{name}: {apart:?}");
    }
}

const TOGETHER: [(&str, Skew); 2] = [("all late", |_| -600), ("all early", |_| 600)];
const ONE_EARLY: [(&str, Skew); 1] = [("one early", |n| if n % 3 == 0 { 600 } else { 0 })];

#[test]
fn f13_clocks_that_are_ten_minutes_off_change_nothing_where_senders_date_their_changes() {
    skewed(true, &TOGETHER);
    skewed(true, &ONE_EARLY);
}

/// Where senders date nothing, the order of changes is that of their receipt: by one clock, or by
/// clocks that agree.
#[test]
fn f13_clocks_that_are_ten_minutes_off_together_change_nothing_where_senders_date_nothing() {
    skewed(false, &TOGETHER);
}
