//! A channel that never answers keeps no other from telling (F7).

use tests::{
    fleet::Fleet,
    hung::{Silent, measure},
};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

#[tokio::test(flavor = "multi_thread")]
async fn f7_a_channel_that_hangs_delays_no_other() {
    let silent = Silent::start().await;
    // The secret of the fleet's own receiver; nobody reads what the silent one gets.
    let secret = "whsec_YSBrZXkgb2YgMzIgYnl0ZXMsIGtub3duIHRvIGJvdGg=";
    let mut fleet = Fleet::new(WORKER, &silent.channel(secret)).await;
    fleet.start("notifier-worker");
    let latencies = measure(&fleet.world, &silent, 2, 150).await;
    let (alone, beside) = latencies.percentile(0.99);
    println!("p99 alone {alone:.4} s, beside a channel that hangs {beside:.4} s");
    // Noise is large where others use the machine; a target that waited for the other's time limit
    // would wait for more than a second.
    assert!(beside < 3.0 * alone + 0.1, "{alone:.4} s alone, {beside:.4} s beside");
}
