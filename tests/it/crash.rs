//! Processes that die at the worst moment, and what is left of it: nothing.

mod wrong_loop;

use serde_json::{Value, json};
use tests::{
    fleet::{Fleet, PATIENCE},
    oracle,
};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A reproducible stream of deliveries: a few problems that fire, repeat and resolve.
struct Senders {
    state: u64,
    sent: u32,
}

impl Senders {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self { state: seed, sent: 0 }
    }

    fn next(&mut self, below: u64) -> u64 {
        // xorshift64*: any reproducible sequence does.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }

    /// Sends `count` deliveries, one after the other; every one is accepted before it returns.
    async fn send(&mut self, fleet: &Fleet, ingest: usize, count: u32) {
        let address = fleet.member(ingest).ingest.unwrap();
        for _ in 0..count {
            self.sent += 1;
            if self.next(2) == 0 {
                let issue = self.next(6);
                let event = json!({
                    "event_id": format!("{:032x}", self.sent), "issue_id": issue.to_string(),
                    "title": format!("Error {issue}"), "culprit": "shop.cart", "level": "error",
                    "project": 1, "environment": "production",
                });
                let body = json!({"action": "created", "data": {"error": event}});
                fleet.sentry(address, "error", &body).await;
            } else {
                let alerts: Vec<Value> = (0..=self.next(3)).map(|_| self.alert()).collect();
                let body = json!({
                    "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
                    "truncatedAlerts": 0, "alerts": alerts,
                });
                fleet.alertmanager(address, &body).await;
            }
        }
    }

    fn alert(&mut self) -> Value {
        let (instance, resolved) = (self.next(5), self.next(3) == 0);
        // Each change is later than all before it, so that none is stale.
        let at = |seconds: u32| {
            format!(
                "2026-01-01T{:02}:{:02}:{:02}Z",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60
            )
        };
        json!({
            "status": if resolved { "resolved" } else { "firing" },
            "labels": {"alertname": "Down", "instance": format!("i{instance}"), "severity": "critical"},
            "annotations": {"summary": "down"},
            "startsAt": at(self.sent), "endsAt": if resolved { at(self.sent) } else { at(0) },
        })
    }
}

/// Everything equals the sequential fold; each opening was told once, each resolve at most once.
async fn check(fleet: &mut Fleet) {
    fleet.settled().await;
    let seen = fleet.receiver.seen();
    fleet.stop_all();
    let lanes = oracle::check(&fleet.world).await;
    let mut opened: Vec<String> =
        lanes.iter().flat_map(|l| l.opened()).map(|i| i.to_string()).collect();
    let mut resolved: Vec<String> =
        lanes.iter().flat_map(|l| l.resolved()).map(|i| i.to_string()).collect();
    assert!(opened.len() > 5 && resolved.len() > 2, "{} {}", opened.len(), resolved.len());
    let told = |word: &str| {
        let mut told: Vec<String> = seen
            .of_type(word)
            .iter()
            .map(|body| body["data"]["incident_id"].as_str().unwrap().to_owned())
            .collect();
        told.sort();
        told
    };
    opened.sort();
    resolved.sort();
    assert_eq!(told("incident.fire"), opened, "each opening is told once");
    assert_eq!(told("incident.resolve"), resolved, "each resolve is told once");
    assert!(seen.invalid.is_empty(), "{:?}", seen.invalid);
    for lane in &lanes {
        assert_eq!(lane.folded.parked.len(), 0);
    }
}

/// R64: `role` dies when its loop passes `point` for the `nth` time; another takes over.
async fn dies_at(role: &str, point: &str, nth: u32, seed: u64) {
    let mut fleet = Fleet::new(WORKER, "").await;
    let all = ["ingest,console", "triage-worker", "notifier-worker", "projector"];
    let ingest = fleet.start(all[0]);
    let doomed = fleet.start_doomed(role, point, nth);
    for other in all[1..].iter().filter(|r| **r != role) {
        fleet.start(other);
    }
    let mut senders = Senders::new(seed);
    senders.send(&fleet, ingest, 60).await;
    fleet.wait_until_dead(doomed);
    fleet.start(role);
    senders.send(&fleet, ingest, 20).await;
    check(&mut fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_observe_dies_between_commit_and_publish() {
    dies_at("triage-worker", "after_commit", 9, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_observe_dies_between_publish_and_next_batch() {
    dies_at("triage-worker", "after_publish", 9, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_observe_dies_before_commit() {
    dies_at("triage-worker", "before_commit", 9, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_notify_dies_between_commit_and_publish() {
    dies_at("notifier-worker", "after_commit", 5, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_projector_dies_between_commit_and_next_batch() {
    dies_at("projector", "after_commit", 9, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_deliver_dies_between_claim_and_send() {
    dies_at("notifier-worker", "claimed", 4, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_deliver_dies_between_send_and_result() {
    dies_at("notifier-worker", "performed", 4, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_deliver_dies_between_result_and_append() {
    dies_at("notifier-worker", "result_stored", 4, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_deliver_dies_between_append_and_settle() {
    dies_at("notifier-worker", "appended", 4, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_triage_dies_between_answer_and_append() {
    dies_at("triage-worker", "result_stored", 3, 10).await;
}

/// R64: a second worker stands by and takes over when the first is killed under load.
#[tokio::test(flavor = "multi_thread")]
async fn r64_a_standby_takes_over_under_load() {
    let mut fleet = Fleet::new(WORKER, "").await;
    let ingest = fleet.start("ingest,console");
    let first = fleet.start("triage-worker,notifier-worker,projector");
    let mut senders = Senders::new(11);
    senders.send(&fleet, ingest, 30).await;
    fleet.start("triage-worker,notifier-worker,projector");
    let began = std::time::Instant::now();
    senders.send(&fleet, ingest, 30).await;
    fleet.kill(first);
    senders.send(&fleet, ingest, 30).await;
    check(&mut fleet).await;
    assert!(began.elapsed() < PATIENCE);
}
