//! Folds with one fault each, held to the same check: it finds them, so it can fail.

use tests::{
    fleet::{Fleet, PATIENCE},
    oracle,
};

use super::{
    WORKER,
    log::{Mix, RandomLog},
    tomorrow,
};
use crate::crash::wrong_loop::{Fault, fold_wrongly};

/// Folds a random log of two lanes by a loop with this fault; what the check says.
async fn differences(fault: Fault, seed: u64) -> Vec<String> {
    println!("seed {seed}");
    let mut fleet = Fleet::new(WORKER, "").await;
    let lanes = fleet.world.lanes;
    let log = fleet.world.log().await;
    let mut random = RandomLog::new(seed, lanes, Mix::Plain, tomorrow());
    let mut records = 0;
    while records < 1_200 {
        records += random.append(&*log).await;
    }
    for lane in schemas::Lane::all(lanes) {
        fold_wrongly(&fleet, lane, fault).await;
    }
    fleet.start("projector");
    let projected = "select count(*) from cursor p join cursor o on o.lane = p.lane
                     where o.stage = 'observe' and p.stage = 'project' and p.through_seq >= o.seq
                     and o.seq > $1";
    super::every_lane(&fleet, projected, 0, PATIENCE).await;
    fleet.stop_all();
    oracle::differences(&fleet.world).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn property_a_loop_without_a_fault_passes_on_a_random_log() {
    assert_eq!(differences(Fault::None, 51).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn property_a_cursor_outside_the_transaction_is_caught_on_a_random_log() {
    let found = differences(Fault::CursorApart { crash_every: 4 }, 52).await;
    assert!(found.iter().any(|d| d.contains("ledger")), "{found:?}");
    assert!(found.iter().any(|d| d.contains("problem")), "{found:?}");
    assert!(found.iter().any(|d| d.contains("decision events")), "{found:?}");
}

/// A batch's ticks before its other records: each is folded at the batch's lane time.
#[tokio::test(flavor = "multi_thread")]
async fn property_a_fold_by_the_lane_time_of_the_batch_is_caught_on_a_random_log() {
    let found = differences(Fault::TimeOfBatch, 53).await;
    // Every record has its outcome; it is what was decided that is wrong.
    assert!(!found.iter().any(|d| d.contains("I2")), "{found:?}");
    assert!(found.iter().any(|d| d.contains("problem")), "{found:?}");
    assert!(found.iter().any(|d| d.contains("decision events")), "{found:?}");
}

/// An owner that lost its lane goes on with the rows it holds, and nothing compares the cursor.
#[tokio::test(flavor = "multi_thread")]
async fn property_two_owners_without_a_compare_and_set_are_caught_on_a_random_log() {
    let found = differences(Fault::TwoOwners, 54).await;
    assert!(found.iter().any(|d| d.contains("problem")), "{found:?}");
    assert!(found.iter().any(|d| d.contains("decision events")), "{found:?}");
}
