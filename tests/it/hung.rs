//! A channel that never answers keeps no other from telling, and is told again soon after it answers
//! (F7).

use std::time::Duration;

use tests::{
    fleet::{Fleet, PATIENCE},
    hung::{Silent, measure},
    sends::fire,
};
use tokio::time::{Instant, sleep};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// The secret of the fleet's own receiver; nobody reads what the silent one gets.
const SECRET: &str = "whsec_YSBrZXkgb2YgMzIgYnl0ZXMsIGtub3duIHRvIGJvdGg=";

#[tokio::test(flavor = "multi_thread")]
async fn f7_a_channel_that_hangs_delays_no_other() {
    let silent = Silent::start().await;
    let mut fleet = Fleet::new(WORKER, &silent.channel(SECRET)).await;
    fleet.start("notifier-worker");
    let latencies = measure(&fleet.world, &silent, 2, 200).await;
    let (alone, beside) = latencies.percentile(0.99);
    println!(
        "p99 alone {alone:.4} s, beside a channel that hangs {beside:.4} s; {} unanswered, {} at \
         once; noticed after {:.1?} s, all told after {:.1?} s",
        latencies.unanswered, latencies.most, latencies.noticed, latencies.recovered,
    );
    // Noise is large where others use the machine; a target that waited for the other's time limit
    // would wait for more than a second.
    assert!(beside < 3.0 * alone + 0.1, "{alone:.4} s alone, {beside:.4} s beside");
    // It got its share once, and was only probed then: in 3 seconds, each of 1.5 seconds and a pause.
    assert!(latencies.most <= 4, "{} at once", latencies.most);
    assert!(latencies.unanswered <= 2 * (4 + 3), "{} unanswered", latencies.unanswered);
    for noticed in latencies.noticed {
        assert!(noticed < 5.0, "it answered for {noticed:.1} s before anything was told to it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_three_notifiers_probe_a_silent_channel_together() {
    // given three notifiers and a channel that hangs
    let silent = Silent::start().await;
    let mut fleet = Fleet::new(WORKER, &silent.channel(SECRET)).await;
    for _ in 0..3 {
        fleet.start("notifier-worker");
    }
    silent.hang();
    let mut lane = fleet.world.store.own_lane("test", tests::GENERATION, schemas::Lane(1)).await;
    let lane = lane.as_mut().unwrap().as_mut().unwrap();
    let mut batch = lane.begin();
    let jobs: Vec<_> = (0..60).map(|n| fire(n, "hung")).collect();
    batch.insert_jobs(&jobs).await.unwrap();
    batch.commit().await.unwrap();

    // when the first attempts have ended
    fleet.until("select count(*) from target where silent >= 3 and $1 = 0", 0, 1).await;
    let deadline = Instant::now() + PATIENCE;
    while silent.waiting() > 1 {
        assert!(Instant::now() < deadline, "{} requests wait", silent.waiting());
        sleep(Duration::from_millis(5)).await;
    }

    // then no more than one waits at any time, whoever asks
    let (before, _) = silent.unanswered();
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(6) {
        assert!(silent.waiting() <= 1, "{} at once", silent.waiting());
        sleep(Duration::from_millis(2)).await;
    }
    let (after, _) = silent.unanswered();
    assert!((1..=4).contains(&(after - before)), "{} probes", after - before);

    // and once it answers everything is told, and nothing was given up
    silent.answer();
    fleet.until("select count(*) from job where state = 'done' and $1 = 0", 0, 60).await;
}
