//! Timers, operators' commands and redrives: their rows equal the sequential fold as well.

use domain::observe::DUE_PER_TICK;
use schemas::record::{Command, Redrive};
use servers::PostgresServer;
use sqlx::{Connection, PgConnection};

use super::*;

const HOUR: u64 = 3600;

/// A record that comes `at` seconds after the start.
fn later(at: u64, n: u64, body: impl FnOnce(u64) -> Record) -> (u64, Record) {
    let mut record = body(n);
    record.received_at = second(at);
    (at, record)
}

fn command(n: u64, verb: &str, opening: u64) -> Record {
    let command = Command {
        operator: "ada".into(),
        auth_method: "api_key".into(),
        verb: verb.into(),
        opening: Some(position(opening).alert(0)),
        arguments: r#"{"text":"pool?"}"#.into(),
    };
    record(n, Some("shop"), Body::Command(Box::new(command)))
}

fn tick(n: u64, at: u64) -> Record {
    record(n, None, Body::Tick(Tick { now: second(at) }))
}

fn redrive(n: u64, original: u64, carries: &Record) -> Record {
    let mut bytes = Vec::new();
    carries.encode_into(&mut bytes);
    let redrive = Redrive {
        original: position(original).whole(),
        operator: "ada".into(),
        record: Some(bytes),
    };
    record(n, Some("shop"), Body::Redrive(redrive))
}

/// Opening, escalating, expiring, opening again by hand; what was rejected and parked, redriven.
fn log() -> Vec<(u64, Record)> {
    let firing = |problem| move |n| alertmanager(n, "shop", &[(problem, "firing", n)]);
    let fixed = |n| alertmanager(n, "shop", &[(7, "firing", 1)]);
    let mut log = vec![
        later(1, 1, firing(1)),
        later(2, 2, firing(2)),
        later(3, 3, |n| delivery(n, "shop", "alertmanager", &[], "{".into())),
        later(4, 4, |n| delivery(n, "shop", "nobody", &[], "{}".into())),
        later(5, 5, |n| command(n, "ack", 1)),
        later(6, 6, |n| command(n, "request_triage", 1)),
    ];
    log.extend((7..12).map(|n| later(n, n, firing(2))));
    log.extend([
        later(HOUR, 12, |n| tick(n, HOUR)),
        later(HOUR, 13, |n| redrive(n, 3, &fixed(3))),
        later(HOUR, 14, |n| redrive(n, 3, &fixed(3))),
        later(HOUR, 15, |n| redrive(n, 4, &fixed(4))),
        later(HOUR, 16, |n| redrive(n, 1, &fixed(1))),
        // The first is over; the second was heard of ten seconds later.
        later(2 * HOUR + 5, 17, |n| tick(n, 2 * HOUR + 5)),
        later(2 * HOUR + 6, 18, |n| command(n, "reopen", 1)),
        later(2 * HOUR + 20, 19, |n| tick(n, 2 * HOUR + 20)),
        later(2 * HOUR + 30, 20, |n| command(n, "resolve", 13)),
        later(9 * HOUR, 21, |n| tick(n, 9 * HOUR)),
        later(9 * HOUR, 22, firing(1)),
        later(9 * HOUR, 23, |n| command(n, "ack", 99)),
    ]);
    log
}

fn items(log: &[(u64, Record)]) -> Vec<Item> {
    (1u64..)
        .zip(log)
        .map(|(n, (at, record))| {
            let mut bytes = Vec::new();
            record.encode_into(&mut bytes);
            let bytes = Bytes::from(bytes);
            Item { at: position(n), bytes, stored_at: second(*at), of_all: false }
        })
        .collect()
}

fn oracle(items: &[Item]) -> replay::Folded {
    let inputs = items.iter().map(|item| domain::observe::Input {
        at: item.at,
        bytes: &item.bytes,
        stored_at: item.stored_at,
        of_all: item.of_all,
    });
    replay::sequential(LANE, ONE, inputs).unwrap()
}

async fn database(postgres: &PostgresServer, name: &str) -> (String, Store) {
    let url = tests::database(postgres, name).await;
    let store = Store::connect(&url, 2, Duration::from_secs(10)).await.unwrap();
    (url, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_r70_b3_timers_commands_and_redrives_equal_the_sequential_fold() {
    let dir = tests::temp_dir();
    let postgres = tests::postgres(&dir);
    let items = items(&log());
    let oracle = oracle(&items);
    let of = |word: &str| {
        let of = oracle.events.iter().filter(|e| e.kind.word() == word);
        of.map(|e| e.at.input.sequence).collect::<Vec<_>>()
    };
    assert_eq!(of("opened"), [1, 2, 13, 22]);
    assert_eq!(of("escalated"), [10]);
    assert_eq!(of("applied"), [5, 6, 18, 20]);
    assert_eq!(of("refused"), [14, 16, 23]);
    assert_eq!(of("expired"), [17, 19, 21]);
    for size in [1, 3, 7, 100] {
        let (url, store) = database(&postgres, &format!("timers_{size}")).await;
        let made = run(&store, &items, size).await;
        assert_eq!(made.events, oracle.events, "batches of {size}");
        assert_eq!(made.outcomes, oracle.ledger);
        check(&url, &oracle).await;
    }
}

async fn check(url: &str, oracle: &replay::Folded) {
    let mut sql = PgConnection::connect(url).await.unwrap();
    let problems: Vec<(Uuid, Vec<u8>, Option<i64>)> =
        sqlx::query_as("select fingerprint, state, due from problem")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    assert_eq!(problems.len(), oracle.problems.len());
    for (fingerprint, state, due) in problems {
        let key = (ProjectId::new("shop").unwrap(), schemas::Fingerprint(fingerprint));
        let problem = Problem::decode(&state).unwrap();
        assert_eq!(problem, oracle.problems[&key]);
        assert_eq!(due.map(Time::from_micros), problem.due);
    }
    let openings: Vec<(Uuid, Vec<u8>)> =
        sqlx::query_as("select incident, state from opening").fetch_all(&mut sql).await.unwrap();
    assert_eq!(openings.len(), oracle.incidents.len());
    for (incident, state) in openings {
        let key = (ProjectId::new("shop").unwrap(), schemas::IncidentId(incident));
        assert_eq!(Incident::decode(&state).unwrap(), oracle.incidents[&key]);
    }
    let places = "select inc, seq, rec from rejected order by 1, 2, 3";
    let rejected: Vec<(i64, i64, i32)> = sqlx::query_as(places).fetch_all(&mut sql).await.unwrap();
    let expect: Vec<_> = oracle
        .rejected
        .iter()
        .map(|p| (p.incarnation, p.sequence as i64, p.record as i32))
        .collect();
    assert_eq!(rejected, expect);
    let parked: i64 =
        sqlx::query_scalar("select count(*) from parked").fetch_one(&mut sql).await.unwrap();
    assert_eq!(parked as usize, oracle.parked.len());

    // What an operator asks is asked with the facts of the opening.
    let jobs: Vec<(Uuid, Vec<u8>)> =
        sqlx::query_as("select id, payload from job where queue = 'triage' order by ordinal")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    let jobs: Vec<(Uuid, TriageJob)> = jobs
        .into_iter()
        .map(|(id, payload)| (id, schemas::codec::decode("triage job", &payload).unwrap()))
        .collect();
    let ids: Vec<Uuid> = jobs.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, oracle.triage.iter().map(|ask| ask.id.0).collect::<Vec<_>>());
    let reasons: Vec<&str> = jobs.iter().map(|(_, job)| job.reason.as_str()).collect();
    assert_eq!(reasons, ["open", "open", "request 1", "escalate", "open", "open"]);
    assert_eq!(jobs[2].1.facts, jobs[0].1.facts);
    assert!(jobs.iter().all(|(_, job)| job.facts.is_some()));
}

/// More problems than a tick looks at, over several ticks of one batch or of many.
#[tokio::test(flavor = "multi_thread")]
async fn r70_a_storm_expires_a_thousand_at_a_time_in_the_same_order_everywhere() {
    let dir = tests::temp_dir();
    let postgres = tests::postgres(&dir);
    let many = DUE_PER_TICK as u64 + 500;
    let mut log: Vec<_> = (1..=15)
        .map(|n| {
            let of: Vec<_> = (0..many / 15).map(|p| (n * 1_000 + p, "firing", n)).collect();
            later(n, n, |n| alertmanager(n, "shop", &of))
        })
        .collect();
    log.extend((16..20).map(|n| later(3 * HOUR + n, n, |at| tick(at, 3 * HOUR + n))));
    let items = items(&log);
    let oracle = oracle(&items);
    let expired = |at: u64| {
        let of = oracle.events.iter().filter(|e| e.kind.word() == "expired");
        of.filter(|e| e.at.input.sequence == at).count()
    };
    assert_eq!([16, 17, 18].map(expired), [DUE_PER_TICK, 500, 0]);
    for size in [1, 100] {
        let (url, store) = database(&postgres, &format!("storm_{size}")).await;
        let made = run(&store, &items, size).await;
        assert!(made.events == oracle.events, "batches of {size}");
        let mut sql = PgConnection::connect(&url).await.unwrap();
        let due: i64 = sqlx::query_scalar("select count(*) from problem where due is not null")
            .fetch_one(&mut sql)
            .await
            .unwrap();
        assert_eq!(due, 0);
    }
}

/// Reports leave the indexed columns of a problem's row as they are.
#[tokio::test(flavor = "multi_thread")]
async fn repeats_of_a_problem_are_updates_in_place() {
    let dir = tests::temp_dir();
    let postgres = tests::postgres(&dir);
    let (problems, repeats) = (50, 20);
    let of: Vec<_> = (0..problems).map(|p| (p, "firing", 1)).collect();
    let log: Vec<_> =
        (1..=repeats + 1).map(|n| later(n * 60, n, |n| alertmanager(n, "shop", &of))).collect();
    let (url, store) = database(&postgres, "in_place").await;
    run(&store, &items(&log), 1).await;
    let mut sql = PgConnection::connect(&url).await.unwrap();
    let wait = tokio::time::Instant::now() + Duration::from_secs(10);
    // The owners' sessions report what they did when they end.
    let in_place = loop {
        sqlx::query("select pg_stat_clear_snapshot()").execute(&mut sql).await.unwrap();
        let (all, in_place): (i64, i64) = sqlx::query_as(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'problem_g1'",
        )
        .fetch_one(&mut sql)
        .await
        .unwrap();
        if all as u64 >= problems * repeats {
            break in_place as f64 / all as f64;
        }
        assert!(tokio::time::Instant::now() < wait, "{all} updates were counted");
        tokio::task::yield_now().await;
    };
    assert!(in_place > 0.9, "{in_place} of the updates were in place");
}
