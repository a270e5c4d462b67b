//! With a spool: everything is answered 202 within a second, and is folded once whatever dies.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{
    fleet::{ALERTMANAGER_PASSWORD, Fleet, PATIENCE, SENTRY_SECRET, sign},
    oracle,
};
use tokio::{task::JoinHandle, time::sleep};
use uuid::Uuid;

use super::super::{WORKER, records};

/// How long a sender waits at most (Sentry).
const SENDER: Duration = Duration::from_secs(1);
/// Five requests a second each.
const SENDERS: u64 = 40;
const WORKERS: &str = "console,triage-worker,notifier-worker,projector";

fn spool(dir: &Path) -> String {
    format!("\n[ingest.spool]\ndir = {:?}\n", dir.join("spool"))
}

/// Senders about one problem each, half of which is resolved now and then.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    senders: Vec<JoinHandle<Sent>>,
}

/// What one of them saw.
struct Sent {
    accepted: Vec<Uuid>,
    /// Whether the last thing it said was that its problem is there.
    firing: bool,
    slowest: Duration,
    /// Requests that broke off without an answer, and were sent again.
    broken: u64,
}

impl Load {
    /// 200 requests a second to whatever of `doors` is there.
    fn start(client: &reqwest::Client, doors: &Arc<Mutex<Vec<SocketAddr>>>) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let senders = (0..SENDERS).map(|sender| {
            let (client, doors) = (client.clone(), doors.clone());
            tokio::spawn(send(client, doors, sender, stop.clone(), answered.clone()))
        });
        let senders = senders.collect();
        Self { stop, answered, senders }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    async fn stop(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.senders).await.into_iter().map(Result::unwrap).collect()
    }
}

async fn send(
    client: reqwest::Client,
    doors: Arc<Mutex<Vec<SocketAddr>>>,
    sender: u64,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
) -> Sent {
    let (accepted, firing, slowest, broken) = (Vec::new(), false, Duration::ZERO, 0);
    let mut sent = Sent { accepted, firing, slowest, broken };
    let mut n: u64 = 0;
    sleep(Duration::from_millis(200 * sender / SENDERS)).await;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let due = Instant::now() + Duration::from_millis(200);
        sent.firing = sender.is_multiple_of(2) || !n.is_multiple_of(7);
        let mut tries = 0;
        loop {
            let door = {
                let doors = doors.lock().unwrap();
                doors[(sender as usize + tries) % doors.len()]
            };
            tries += 1;
            let began = Instant::now();
            let Ok(response) = request(&client, door, sender, n, sent.firing).send().await else {
                sent.broken += 1;
                continue;
            };
            let status = response.status();
            let text = response.text().await.unwrap();
            assert_eq!(status, 202, "after {:?}: {text}", began.elapsed());
            sent.slowest = sent.slowest.max(began.elapsed());
            let said: Value = serde_json::from_str(&text).unwrap();
            sent.accepted.push(said["event_id"].as_str().unwrap().parse().unwrap());
            answered.fetch_add(1, Ordering::Relaxed);
            break;
        }
        tokio::time::sleep_until(due.into()).await;
    }
    sent
}

fn request(
    client: &reqwest::Client,
    door: SocketAddr,
    sender: u64,
    n: u64,
    firing: bool,
) -> reqwest::RequestBuilder {
    if sender.is_multiple_of(2) {
        let body = json!({"action": "created", "data": {"error": {
            "event_id": format!("{sender:016x}{n:016x}"), "issue_id": sender.to_string(),
            "project": 1, "title": format!("Error {sender}"), "culprit": "shop.cart",
            "level": "error", "environment": "production"}}})
        .to_string();
        return client
            .post(format!("http://{door}/webhook/sentry"))
            .header("sentry-hook-resource", "error")
            .header("sentry-hook-signature", sign(SENTRY_SECRET, body.as_bytes()))
            .body(body);
    }
    let at = |n: u64| format!("2026-01-01T{:02}:{:02}:{:02}Z", n / 3600, n / 60 % 60, n % 60);
    let body = json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
        "truncatedAlerts": 0,
        "alerts": [{
            "status": if firing { "firing" } else { "resolved" },
            "labels": {"alertname": "Down", "instance": format!("i{sender}"), "severity": "critical"},
            "annotations": {"summary": "down"},
            "startsAt": at(n), "endsAt": if firing { at(0) } else { at(n) },
        }],
    });
    client
        .post(format!("http://{door}/webhook/alertmanager"))
        .basic_auth("alertmanager", Some(ALERTMANAGER_PASSWORD))
        .body(body.to_string())
}

/// Everything accepted stands in the log and is folded once; the problems end as last said.
async fn check(fleet: &mut Fleet, sent: &[Sent]) {
    let accepted: Vec<Uuid> = sent.iter().flat_map(|sent| sent.accepted.clone()).collect();
    // What is spooled gets into the log first.
    let deadline = Instant::now() + PATIENCE;
    let missing = loop {
        let in_log: BTreeSet<Uuid> = records(fleet).await.iter().map(|r| r.id.0).collect();
        let missing = accepted.iter().filter(|id| !in_log.contains(id)).count();
        if missing == 0 || Instant::now() > deadline {
            break missing;
        }
        sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(missing, 0, "of {} accepted", accepted.len());
    fleet.settled().await;
    fleet.stop_all();
    let lanes = oracle::check(&fleet.world).await;
    let opened: BTreeSet<_> = lanes.iter().flat_map(|lane| lane.opened()).collect();
    let resolved: BTreeSet<_> = lanes.iter().flat_map(|lane| lane.resolved()).collect();
    let open = sent.iter().filter(|sent| sent.firing).count();
    assert_eq!(opened.difference(&resolved).count(), open, "of {} opened", opened.len());
}

fn segments(dir: &Path) -> usize {
    let folders = std::fs::read_dir(dir.join("spool")).unwrap().map(|found| found.unwrap().path());
    let files =
        folders.filter(|path| path.is_dir()).flat_map(|dir| std::fs::read_dir(dir).unwrap());
    files.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "frames")).count()
}

/// Where a process answers ingest's routes.
fn door(fleet: &Fleet, member: usize) -> SocketAddr {
    fleet.member(member).ingest.unwrap()
}

async fn until_emptied(dir: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while segments(dir) > 0 {
        assert!(Instant::now() < deadline, "frames are left in the spool");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn get(fleet: &Fleet, member: usize, path: &str) -> (u16, String) {
    let url = format!("http://{}{path}", door(fleet, member));
    let response = fleet.client.get(url).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// R1, F5: JetStream stands still for ten seconds under 200 requests a second.
#[tokio::test(flavor = "multi_thread")]
async fn r1_f5_a_log_that_stands_still_is_no_reason_to_refuse() {
    let dir = TempDir::new().unwrap();
    let mut fleet = Fleet::new(WORKER, &spool(dir.path())).await;
    let ingest = fleet.start("ingest");
    fleet.start(WORKERS);
    let doors = Arc::new(Mutex::new(vec![door(&fleet, ingest)]));
    let load = Load::start(&fleet.client, &doors);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(segments(dir.path()), 0, "nothing is spooled while the log answers");
    fleet.world.nats.pause();
    let before = load.answered();
    sleep(Duration::from_secs(10)).await;
    assert!(load.answered() - before > 1_000, "{}", load.answered() - before);
    assert!(segments(dir.path()) > 0);
    let (status, ready) = get(&fleet, ingest, "/ready").await;
    assert!(status == 200 && ready.contains("degraded"), "{status} {ready}");
    let (_, metrics) = get(&fleet, ingest, "/metrics").await;
    assert!(metrics.contains("bellwether_spool_frames "), "{metrics}");
    fleet.world.nats.resume();
    until_emptied(dir.path()).await;
    sleep(Duration::from_secs(1)).await;
    let sent = load.stop().await;
    let slowest = sent.iter().map(|sent| sent.slowest).max().unwrap();
    println!(
        "{} answered, slowest {slowest:?}",
        sent.iter().map(|s| s.accepted.len()).sum::<usize>()
    );
    assert!(slowest < SENDER, "{slowest:?}");
    assert_eq!(sent.iter().map(|sent| sent.broken).sum::<u64>(), 0);
    check(&mut fleet, &sent).await;
    assert_eq!(segments(dir.path()), 0);
}

/// R1, F1, F2: JetStream is killed under load, then one of two replicas as well; the other one
/// publishes what it left.
#[tokio::test(flavor = "multi_thread")]
async fn r1_f2_a_replica_publishes_what_a_dead_one_left() {
    let dir = TempDir::new().unwrap();
    let mut fleet = Fleet::new(WORKER, &spool(dir.path())).await;
    let (first, second) = (fleet.start("ingest"), fleet.start("ingest"));
    fleet.start(WORKERS);
    let both = vec![door(&fleet, first), door(&fleet, second)];
    let doors = Arc::new(Mutex::new(both));
    let load = Load::start(&fleet.client, &doors);
    sleep(Duration::from_secs(2)).await;
    fleet.world.nats.kill();
    sleep(Duration::from_secs(3)).await;
    assert!(segments(dir.path()) >= 2, "both have spooled");
    fleet.kill(first);
    doors.lock().unwrap().remove(0);
    sleep(Duration::from_secs(2)).await;
    fleet.world.nats.restart().unwrap();
    until_emptied(dir.path()).await;
    let sent = load.stop().await;
    let broken: u64 = sent.iter().map(|sent| sent.broken).sum();
    let slowest = sent.iter().map(|sent| sent.slowest).max().unwrap();
    println!("slowest {slowest:?}, {broken} broke off when their replica was killed");
    check(&mut fleet, &sent).await;
}

/// R1: a process that is killed in the middle, and comes back while the log is still away, answers
/// at once and goes on behind what it left. Without its last copy of the log's shape it would wait.
#[tokio::test(flavor = "multi_thread")]
async fn r1_ingest_starts_without_the_log() {
    let dir = TempDir::new().unwrap();
    let mut fleet = Fleet::new(WORKER, &spool(dir.path())).await;
    let ingest = fleet.start("ingest");
    fleet.start(WORKERS);
    let doors = Arc::new(Mutex::new(vec![door(&fleet, ingest)]));
    let load = Load::start(&fleet.client, &doors);
    sleep(Duration::from_secs(1)).await;
    fleet.world.nats.kill();
    sleep(Duration::from_secs(2)).await;
    fleet.kill(ingest);
    let left = segments(dir.path());
    assert!(left > 0);
    fleet.restart(ingest);
    let before = load.answered();
    sleep(Duration::from_secs(2)).await;
    assert!(load.answered() - before > 200, "{}", load.answered() - before);
    let (status, ready) = get(&fleet, ingest, "/ready").await;
    assert!(status == 200 && ready.contains("deliveries go to the spool"), "{status} {ready}");
    let strange = TempDir::new().unwrap();
    let unready = Command::new(WORKER)
        .arg(fleet.config())
        .arg("ingest")
        .env("BELLWETHER__INGEST__SPOOL__DIR", strange.path())
        .env("BELLWETHER__NATS__CONNECT_PATIENCE", "1s")
        .output()
        .unwrap();
    assert!(!unready.status.success());
    fleet.world.nats.restart().unwrap();
    until_emptied(dir.path()).await;
    let sent = load.stop().await;
    assert!(sent.iter().map(|sent| sent.broken).sum::<u64>() > 0);
    check(&mut fleet, &sent).await;
}

/// F4: a spool that is full or cannot be written refuses as if there were none, says so, and heals.
#[tokio::test(flavor = "multi_thread")]
async fn r1_f4_a_full_spool_refuses_loudly_and_heals() {
    let dir = TempDir::new().unwrap();
    let more = format!(
        "{}max_bytes = 2000000\n[ingest]\nmax_inflight_bytes = 1900000\npeer_inflight_bytes = \
         1500000\nsource_inflight_bytes = 1500000\n",
        spool(dir.path())
    );
    let mut fleet = Fleet::new(WORKER, "").await;
    let text = std::fs::read_to_string(fleet.config()).unwrap();
    let text = text.replace("ingest.listen = \"127.0.0.1:0\"\n", "");
    let more = more.replace("[ingest]\n", "[ingest]\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(fleet.config(), format!("{text}{more}")).unwrap();
    let ingest = fleet.start("ingest");
    fleet.start(WORKERS);
    let mut sent = Sent { accepted: Vec::new(), firing: true, slowest: SENDER, broken: 0 };
    let post = async |n: u64| {
        let mut body = json!({"action": "created", "data": {"error": {
            "event_id": format!("{n:032x}"), "issue_id": "1", "project": 1, "title": "Error",
            "culprit": "shop.cart", "level": "error", "environment": "production"}}});
        body["padding"] = json!("x".repeat(300_000));
        let body = body.to_string();
        let response = fleet
            .client
            .post(format!("http://{}/webhook/sentry", door(&fleet, ingest)))
            .header("sentry-hook-resource", "error")
            .header("sentry-hook-signature", sign(SENTRY_SECRET, body.as_bytes()))
            .body(body)
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let id = |text: &str| -> Uuid {
        let said: Value = serde_json::from_str(text).unwrap();
        said["event_id"].as_str().unwrap().parse().unwrap()
    };
    fleet.world.nats.pause();
    let mut n = 0;
    loop {
        n += 1;
        match post(n).await {
            (202, text) => sent.accepted.push(id(&text)),
            (503, _) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((3..20).contains(&n), "{n}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, ready) = get(&fleet, ingest, "/ready").await;
        if status == 503 && ready.contains("full") {
            break;
        }
        assert!(Instant::now() < deadline, "{status} {ready}");
        sleep(Duration::from_millis(100)).await;
    }
    fleet.world.nats.resume();
    until_emptied(dir.path()).await;
    loop {
        n += 1;
        match post(n).await {
            (202, text) => break sent.accepted.push(id(&text)),
            (503, _) => assert!(Instant::now() < deadline),
            other => panic!("{other:?}"),
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while get(&fleet, ingest, "/ready").await.1.contains("full") {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(100)).await;
    }
    check(&mut fleet, &[sent]).await;
}
