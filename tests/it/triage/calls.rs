//! One call for each (opening position, reason): with slow models, with workers that die, after a
//! rebuild.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use schemas::{InputPosition, Lane, LaneKey, subject};
use sqlx::{Connection, Executor};
use tests::{
    asks::{self, error},
    fleet::Fleet,
    model::{Does, ModelServer},
    senders::Senders,
};
use uuid::Uuid;

use super::{Over, PATIENCE, WORKER, over, until_done};

/// Triage with short leases, so that a test need not wait long for a take-over.
fn configuration(model: &ModelServer, concurrency: usize) -> String {
    let analyst = model.analyst("openclaw", "timeout_s = 60\nretries = 0");
    format!("[triage]\nlease_ms = 5000\nplaybook = false\nconcurrency = {concurrency}\n{analyst}")
}

/// `BELLWETHER_LONG` asks for what takes many minutes: a model that takes 20 s.
fn latency() -> Duration {
    let long = std::env::var_os("BELLWETHER_LONG").is_some();
    Duration::from_secs(if long { 20 } else { 1 })
}

/// Everything was answered by the model, and so often was a question asked again.
fn repeated(model: &ModelServer, jobs: &BTreeMap<Uuid, Over>) -> usize {
    assert_eq!(model.wrong(), [""; 0]);
    for job in jobs.values() {
        assert_eq!(job.words(), ["openclaw answered"], "{}", job.title);
    }
    let asked = model.by_key();
    assert_eq!(asked.len(), jobs.len(), "one key each");
    for id in jobs.keys() {
        assert!(asked.contains_key(&format!("{id}-openclaw")), "{id} was never asked");
    }
    asked.values().map(|calls| calls - 1).sum()
}

/// A13, I7: 300 incidents, a slow model, workers killed at any moment.
///
/// A kill loses the calls that are on their way: what they would have said is nowhere, so they have
/// to be asked again. Their number is what the killed process worked on at once, here two, and
/// nothing else may be asked twice: three kills of 300 incidents stay within two in a hundred.
#[tokio::test(flavor = "multi_thread")]
async fn a13_f1_killed_workers_ask_again_only_what_was_on_its_way() {
    const INCIDENTS: usize = 300;
    const WORKERS: usize = 8;
    const AT_ONCE: usize = 2;
    const KILLS: usize = 3;
    let latency = latency();
    let model = ModelServer::start(Does::Slow(latency)).await;
    let mut fleet = Fleet::new(WORKER, &configuration(&model, AT_ONCE)).await;
    let ingest = fleet.start("ingest");
    let mut workers: Vec<usize> = (0..WORKERS).map(|_| fleet.start("triage-worker")).collect();
    let sender = fleet.sender(ingest);
    for n in 0..INCIDENTS {
        sender.sentry("error", &error(n as u32)).await;
    }

    // when a random worker dies after each fifth of the calls
    let (mut random, mut on_their_way) = (Senders::new(7), 0);
    for kill in 1..=KILLS {
        let patience = latency * (INCIDENTS as u32) + PATIENCE;
        model.wait_for(INCIDENTS * kill / 5, patience).await;
        tokio::time::sleep(latency.mul_f64(random.next(1_000) as f64 / 1e3)).await;
        let doomed = random.next(WORKERS as u64) as usize;
        fleet.kill(workers[doomed]);
        on_their_way += AT_ONCE;
        workers[doomed] = fleet.start("triage-worker");
    }
    let deadline = Instant::now() + latency * (INCIDENTS as u32) + PATIENCE;
    let jobs = loop {
        let jobs = over(&fleet.world.database_url).await;
        if jobs.len() == INCIDENTS {
            break jobs;
        }
        assert!(Instant::now() < deadline, "{} of {INCIDENTS} are answered", jobs.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };

    // then
    let repeated = repeated(&model, &jobs);
    assert!(repeated <= on_their_way, "{repeated} asked again; {on_their_way} were on their way");
    let calls = model.calls().len();
    assert!(calls * 100 <= INCIDENTS * 102, "{calls} calls for {INCIDENTS} incidents");
    println!("{INCIDENTS} incidents, {KILLS} workers killed: {calls} calls");
    fleet.stop_all();
}

/// I7: what a model said is kept before anything else is done with it, so that a worker that dies
/// behind that has lost nothing.
#[tokio::test(flavor = "multi_thread")]
async fn i7_f1_an_answer_that_is_kept_is_never_asked_for_again() {
    for point in ["result_stored", "appended"] {
        let model = ModelServer::start(Does::Says("知道".into())).await;
        let mut fleet = Fleet::new(WORKER, &configuration(&model, 1)).await;
        let ingest = fleet.start("ingest");
        let doomed = fleet.start_doomed("triage-worker", point, 3);
        let sender = fleet.sender(ingest);
        for n in 0..6 {
            sender.sentry("error", &error(n)).await;
        }
        fleet.wait_until_dead(doomed);
        assert_eq!(model.calls().len(), 3, "{point}");
        fleet.start("triage-worker");
        let jobs = until_done(&fleet, 6).await;
        assert_eq!(repeated(&model, &jobs), 0, "{point}");
        fleet.stop_all();
    }
}

/// A claim lasts as long as its worker lives, however slow the model is.
#[tokio::test(flavor = "multi_thread")]
async fn a13_a_model_slower_than_a_lease_is_asked_once() {
    let model = ModelServer::start(Does::Slow(Duration::from_secs(7))).await;
    let mut fleet = Fleet::new(WORKER, &configuration(&model, 4)).await;
    let ingest = fleet.start("ingest");
    for _ in 0..2 {
        fleet.start("triage-worker");
    }
    let sender = fleet.sender(ingest);
    for n in 0..4 {
        sender.sentry("error", &error(n)).await;
    }
    let jobs = until_done(&fleet, 4).await;
    assert_eq!(repeated(&model, &jobs), 0);
    fleet.stop_all();
}

/// I7: tables that are made anew from the log find every answer there, also that there was none.
#[tokio::test(flavor = "multi_thread")]
async fn i7_after_a_rebuild_nobody_is_asked() {
    const INCIDENTS: u32 = 12;
    let model = ModelServer::start(Does::Says("第一次".into())).await;
    model.does([Does::Garbage, Does::Garbage], Does::Says("第一次".into()));
    let mut fleet = Fleet::new(WORKER, &configuration(&model, 4)).await;
    let ingest = fleet.start("ingest");
    let worker = fleet.start("triage-worker");
    let sender = fleet.sender(ingest);
    for n in 0..INCIDENTS {
        sender.sentry("error", &error(n)).await;
    }
    let before = until_done(&fleet, INCIDENTS as usize).await;
    fleet.stop(&[worker]);
    let records = async || {
        let stream = subject::deliveries_stream(&fleet.world.namespace);
        fleet.world.log().await.info(&stream).await.unwrap().last_sequence
    };
    assert_eq!(model.calls().len(), INCIDENTS as usize);
    let said = records().await;

    // when the log is folded once more, by a generation of its own, into tables that hold nothing
    let fresh = tests::database(&fleet.world.postgres, "rebuilt").await;
    let mut sql = sqlx::PgConnection::connect(&fresh).await.unwrap();
    let second = "update generation set state = 'dropped';
                  insert into generation (generation, state) values (2, 'active');
                  select bw_open_generation(2)";
    sql.execute(sqlx::raw_sql(second)).await.unwrap();
    let text = std::fs::read_to_string(fleet.config()).unwrap();
    std::fs::write(fleet.config(), text.replace(&fleet.world.database_url, &fresh)).unwrap();
    model.does([], Does::Says("第二次".into()));
    let rebuilder = fleet.start("triage-worker");
    let deadline = Instant::now() + PATIENCE;
    let after = loop {
        let jobs = over(&fresh).await;
        if jobs.len() == INCIDENTS as usize {
            break jobs;
        }
        let log = || {
            let file = fleet.world.dir.path().join(format!("member-{rebuilder}.log"));
            std::fs::read_to_string(file).unwrap()
        };
        let found = jobs.len();
        assert!(Instant::now() < deadline, "{found} of {INCIDENTS} are found again: {}", log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };

    // then
    assert_eq!(model.calls().len(), INCIDENTS as usize, "nobody was asked");
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (id, job) in &after {
        assert_eq!(job.result, before[id].result, "{}", job.title);
        assert_eq!(job.opening, before[id].opening);
    }
    let unanswered = after.values().filter(|job| job.result.analysis.is_none()).count();
    assert_eq!(unanswered, 2, "that nobody knew is an answer as well");
    // Only ticks were added: an answer stands in the log once.
    fleet.stop_all();
    let answers = answers(&fleet, said).await;
    assert_eq!(answers, 0);
}

/// How many answer records stand in the log behind a sequence.
async fn answers(fleet: &Fleet, behind: u64) -> usize {
    use futures_util::StreamExt;
    use schemas::{Record, RecordFrame, record::Body};
    let (log, namespace) = (fleet.world.log().await, &fleet.world.namespace);
    let stream = subject::deliveries_stream(namespace);
    let last = log.info(&stream).await.unwrap().last_sequence;
    if last <= behind {
        return 0;
    }
    let filters = vec![subject::deliveries_all(namespace)];
    let read = eventlog::Read { stream, filters, from: behind + 1 };
    let mut messages = log.read(read).await.unwrap();
    let mut count = 0;
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        let frame = RecordFrame::parse(&message.payload).unwrap();
        let records = frame.records.iter().map(|bytes| Record::decode(bytes).unwrap());
        count += records.filter(|record| matches!(record.body, Body::Answer(_))).count();
        if message.sequence >= last {
            break;
        }
    }
    count
}

/// I7: a job of an alert whose answer may stand further on in the log waits until observe has come
/// there.
#[tokio::test(flavor = "multi_thread")]
async fn i7_a_job_waits_for_what_the_log_may_say() {
    let model = ModelServer::start(Does::Says("知道".into())).await;
    let more = configuration(&model, 4);
    let mut fleet = Fleet::with_lanes(WORKER, 1, &more).await;
    let ingest = fleet.start("ingest");
    fleet.sender(ingest).sentry("error", &error(1)).await;
    // Observe of this lane has another owner, who does nothing.
    let lane = Lane(0);
    let owner =
        fleet.world.store.own_lane("observe", tests::GENERATION, lane).await.unwrap().unwrap();
    let stream = subject::deliveries_stream(&fleet.world.namespace);
    let ours =
        subject::deliveries(&fleet.world.namespace, LaneKey::Lane(lane), subject::Class::Data);
    let log = fleet.world.log().await;
    let incarnation = log.info(&stream).await.unwrap().incarnation;
    let sequence = log.last(&stream, &ours).await.unwrap().unwrap().sequence;
    let at = InputPosition { incarnation, sequence, record: 7 };
    asks::ask(&fleet.world.store, lane, &[asks::triggered(1, at), asks::triage(2)]).await;

    fleet.start("triage-worker");
    // What is triggered behind the end need not wait.
    until_done(&fleet, 1).await;
    let keys: Vec<String> = model.by_key().into_keys().collect();
    assert_eq!(keys, [format!("{}-openclaw", asks::triage(2).id)]);
    owner.release().await;
    // One of the alert itself, and one of ours.
    let jobs = until_done(&fleet, 3).await;
    assert_eq!(repeated(&model, &jobs), 0);
    fleet.stop_all();
}

/// I6: a shadow's jobs are nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn i6_a_shadow_asks_nobody() {
    let model = ModelServer::start(Does::Says("知道".into())).await;
    let mut fleet = Fleet::with_lanes(WORKER, 1, &configuration(&model, 4)).await;
    asks::ask(&fleet.world.store, Lane(0), &[asks::triage(1), asks::triage(2)]).await;
    let mut sql = fleet.world.sql().await;
    sqlx::query("update job set state = 'shadow' where id = $1")
        .bind(asks::triage(1).id.0)
        .execute(&mut sql)
        .await
        .unwrap();
    fleet.start("triage-worker");
    until_done(&fleet, 1).await;
    let keys: Vec<String> = model.by_key().into_keys().collect();
    assert_eq!(keys, [format!("{}-openclaw", asks::triage(2).id)]);
    fleet.stop_all();
}
