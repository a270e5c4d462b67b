//! Everything dies now and then, under load, with two of each worker: nothing acked is lost, nothing
//! is told twice, and what is left equals the sequential fold of the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use schemas::{Record, frame::RecordFrame, record::Body};
use tests::{
    fleet::{Fleet, PATIENCE},
    oracle,
    senders::{Senders, check},
};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// How long things die: `BELLWETHER_STORM_SECONDS`, else short enough for every change.
fn seconds() -> u64 {
    std::env::var("BELLWETHER_STORM_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(12)
}

fn seed() -> u64 {
    std::env::var("BELLWETHER_STORM_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261)
}

/// How often each thing died.
#[derive(Debug, Default)]
struct Deaths(BTreeMap<&'static str, u32>);

/// Kills something and brings it back.
async fn strike(fleet: &mut Fleet, members: &[usize], dice: &mut Senders, deaths: &mut Deaths) {
    let what = match dice.next(10) {
        0 => {
            fleet.world.nats.kill();
            tokio::time::sleep(Duration::from_millis(dice.next(400))).await;
            fleet.world.nats.restart().unwrap();
            "nats-server"
        }
        1 => {
            fleet.world.postgres.kill();
            tokio::time::sleep(Duration::from_millis(dice.next(400))).await;
            fleet.world.postgres.restart().unwrap();
            "postgres"
        }
        n => {
            let member = members[(dice.next(members.len() as u64)) as usize];
            if n == 2 {
                // Paused past several beats, then let go: a late owner must change nothing.
                fleet.signal(member, Signal::SIGSTOP);
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                fleet.signal(member, Signal::SIGCONT);
                "pause"
            } else {
                fleet.kill(member);
                fleet.restart(member);
                "worker or ingest"
            }
        }
    };
    *deaths.0.entry(what).or_default() += 1;
}

/// R64, R1, I1-I4, I6.
#[tokio::test(flavor = "multi_thread")]
async fn f1_f2_f3_r64_a_storm_of_crashes_loses_nothing_and_tells_nothing_twice() {
    let mut fleet = Fleet::new(WORKER, "").await;
    let roles = [
        "ingest",
        "triage-worker",
        "triage-worker",
        "notifier-worker",
        "notifier-worker",
        "projector",
        "projector",
    ];
    let members: Vec<usize> = roles.iter().map(|role| fleet.start(role)).collect();
    let sender = fleet.sender(members[0]);
    let until = Instant::now() + Duration::from_secs(seconds());

    let load: Vec<_> = (0..3)
        .map(|n| {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut senders = Senders::new(seed() + n).of_group(n);
                let mut accepted = Vec::new();
                while Instant::now() < until {
                    accepted.extend(senders.send(&sender, 5).await);
                }
                accepted
            })
        })
        .collect();
    let mut dice = Senders::new(seed());
    let mut deaths = Deaths::default();
    // On a busy machine each takes longer.
    while Instant::now() < until || deaths.0.values().sum::<u32>() < 5 {
        tokio::time::sleep(Duration::from_millis(200 + dice.next(600))).await;
        strike(&mut fleet, &members, &mut dice, &mut deaths).await;
    }
    let mut accepted = BTreeSet::new();
    for task in load {
        accepted.extend(task.await.unwrap());
    }
    println!("{} deliveries accepted, deaths {:?}", accepted.len(), deaths.0);
    assert!(deaths.0.values().sum::<u32>() >= 5);

    let began = Instant::now();
    check(&mut fleet).await;
    println!("settled and compared in {:.1} s", began.elapsed().as_secs_f64());

    // I1: what was acked stands in the log; a retry of a sender may stand there twice.
    let mut stored = BTreeSet::new();
    for message in oracle::input_log(&fleet.world).await {
        for bytes in RecordFrame::parse(&message.payload).unwrap().records {
            let record = Record::decode(bytes).unwrap();
            if let Body::Delivery(_) = record.body {
                stored.insert(record.id.to_string());
            }
        }
    }
    let lost: Vec<_> = accepted.difference(&stored).collect();
    assert!(lost.is_empty(), "acked and not in the log: {lost:?}");
    assert!(accepted.len() > 50, "{}", accepted.len());
}

/// A worker paused past the loss of its lock: another takes over within 15 s, and what the first
/// commits when it runs again changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_a_paused_owner_is_replaced_and_comes_back_too_late() {
    let mut fleet = Fleet::new(WORKER, "").await;
    let ingest = fleet.start("ingest,console,notifier-worker,projector");
    let paused = fleet.start("triage-worker");
    let (sender, mut senders) = (fleet.sender(ingest), Senders::new(31));
    senders.send(&sender, 20).await;
    fleet.start("triage-worker");
    // Paused in the middle of work: some of these are in its hands.
    let load = tokio::spawn(async move {
        senders.send(&sender, 20).await;
        senders
    });
    fleet.signal(paused, Signal::SIGSTOP);
    let began = Instant::now();
    let mut senders = load.await.unwrap();
    let stuck = "select count(*) from cursor where stage = 'observe' and seq >= $1";
    let log = fleet.world.log().await;
    let stream = schemas::subject::deliveries_stream(&fleet.world.namespace);
    let last = i64::try_from(log.info(&stream).await.unwrap().last_sequence).unwrap();
    fleet.until(stuck, last, i64::from(fleet.world.lanes.get())).await;
    let took = began.elapsed();
    println!("all lanes were taken over and caught up in {:.1} s", took.as_secs_f64());
    assert!(took < Duration::from_secs(15), "{took:?}");
    fleet.signal(paused, Signal::SIGCONT);
    senders.send(&fleet.sender(ingest), 20).await;
    check(&mut fleet).await;
    assert!(began.elapsed() < PATIENCE);
}
