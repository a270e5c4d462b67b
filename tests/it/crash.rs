//! Processes that die at the worst moment, and what is left of it: nothing.

mod sends;
pub(crate) mod wrong_loop;

use tests::{
    fleet::{Fleet, PATIENCE},
    senders::{Senders, check},
};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// R64: `role` dies when its loop passes `point` for the `nth` time; another takes over.
async fn dies_at(role: &str, point: &str, nth: u32, seed: u64) {
    let mut fleet = Fleet::new(WORKER, "").await;
    let all = ["ingest,console", "triage-worker", "notifier-worker", "projector"];
    let ingest = fleet.start(all[0]);
    let doomed = fleet.start_doomed(role, point, nth);
    for other in all[1..].iter().filter(|r| **r != role) {
        fleet.start(other);
    }
    let (sender, mut senders) = (fleet.sender(ingest), Senders::new(seed));
    senders.send(&sender, 60).await;
    fleet.wait_until_dead(doomed);
    fleet.start(role);
    senders.send(&sender, 20).await;
    check(&mut fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_observe_dies_between_commit_and_publish() {
    dies_at("triage-worker", "after_commit", 9, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_observe_dies_between_publish_and_next_batch() {
    dies_at("triage-worker", "after_publish", 9, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_observe_dies_before_commit() {
    dies_at("triage-worker", "before_commit", 9, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_notify_dies_between_commit_and_publish() {
    dies_at("notifier-worker", "after_commit", 5, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_projector_dies_between_commit_and_next_batch() {
    dies_at("projector", "after_commit", 9, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_deliver_dies_between_claim_and_send() {
    dies_at("notifier-worker", "claimed", 4, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_deliver_dies_between_send_and_result() {
    dies_at("notifier-worker", "performed", 4, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_deliver_dies_between_result_and_append() {
    dies_at("notifier-worker", "result_stored", 4, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_deliver_dies_between_append_and_settle() {
    dies_at("notifier-worker", "appended", 4, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_triage_dies_between_answer_and_append() {
    dies_at("triage-worker", "result_stored", 3, 10).await;
}

/// R64: a second worker stands by and takes over when the first is killed under load.
#[tokio::test(flavor = "multi_thread")]
async fn f1_r64_a_standby_takes_over_under_load() {
    let mut fleet = Fleet::new(WORKER, "").await;
    let ingest = fleet.start("ingest,console");
    let first = fleet.start("triage-worker,notifier-worker,projector");
    let (sender, mut senders) = (fleet.sender(ingest), Senders::new(11));
    senders.send(&sender, 30).await;
    fleet.start("triage-worker,notifier-worker,projector");
    let began = std::time::Instant::now();
    senders.send(&sender, 30).await;
    fleet.kill(first);
    senders.send(&sender, 30).await;
    check(&mut fleet).await;
    assert!(began.elapsed() < PATIENCE);
}
