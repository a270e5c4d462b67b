//! The observe stage on a real database: its rows equal the sequential fold of the same records.

mod timers;

use std::{collections::BTreeMap, num::NonZeroU16, time::Duration};

use bytes::Bytes;
use domain::{
    observe::{Incident, Problem, incident_id},
    replay,
    rules::Rules,
};
use lanes::{Item, Out, Stage};
use runtime::Clock;
use schemas::{
    Event, InputPosition, JobId, Lane, Outcome, ProjectId, Record, RecordId, SourceId, Time,
    event::Kind,
    job::{AnswerResult, TriageJob},
    record::{Answer, Auth, Body, Control, Delivery, RulesDocument, Tick},
};
use store::{
    Store,
    lane::{Account, LaneTransaction},
};
use tests::GENERATION;
use triage_worker::{ObserveStage, observe::Config};
use uuid::Uuid;

const LANE: Lane = Lane(0);
const ONE: NonZeroU16 = NonZeroU16::MIN;
/// 15:59 UTC: one minute before midnight at +08:00, where incident numbers change their day.
const START: &str = "2026-01-01T15:59:00Z";

fn second(n: u64) -> Time {
    START.parse::<Time>().unwrap().plus_seconds(n as i64)
}

fn record(n: u64, project: Option<&str>, body: Body) -> Record {
    let project = project.map(|p| ProjectId::new(p).unwrap());
    Record::new(RecordId(Uuid::from_u128(n.into())), second(n), project, body)
}

fn delivery(
    n: u64,
    project: &str,
    provider: &str,
    headers: &[(&str, &str)],
    raw: String,
) -> Record {
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let body = Body::Delivery(Box::new(Delivery {
        provider: provider.into(),
        source: SourceId::new("main").unwrap(),
        route: format!("/webhook/{provider}"),
        headers,
        remote: None,
        auth: Auth { method: "basic".into(), credential: None },
        raw: raw.into_bytes(),
        sha256: [3; 32],
        content_type: None,
        channel: None,
        recorded: None,
    }));
    record(n, Some(project), body)
}

/// An Alertmanager delivery of these (problem, status, when it changed).
fn alertmanager(n: u64, project: &str, alerts: &[(u64, &str, u64)]) -> Record {
    let alerts: Vec<_> = alerts
        .iter()
        .map(|(problem, status, at)| {
            let firing = *status == "firing";
            serde_json::json!({
                "status": status,
                "labels": {"alertname": format!("A{problem}"), "severity": "critical"},
                "annotations": {},
                "startsAt": if firing { second(*at).to_string() } else { second(0).to_string() },
                "endsAt": if firing { String::from("0001-01-01T00:00:00Z") }
                          else { second(*at).to_string() },
                "fingerprint": format!("{problem:016x}"),
            })
        })
        .collect();
    let body = serde_json::json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r", "alerts": alerts,
    });
    delivery(n, project, "alertmanager", &[], body.to_string())
}

fn sentry(n: u64, resource: &str, key: &str, body: serde_json::Value) -> Record {
    let headers = [("sentry-hook-resource", resource), ("idempotency-key", key)];
    delivery(n, "shop", "sentry", &headers, body.to_string())
}

fn position(n: u64) -> InputPosition {
    InputPosition { incarnation: 1, sequence: n, record: 0 }
}

/// Everything observe does with rows: opening, repeating, closing, reopening in two projects and
/// over midnight; redeliveries; answers; a change of rules.
fn log() -> Vec<Record> {
    let event = serde_json::json!({"action": "created", "data": {"error": {
        "event_id": "e1", "issue_id": "77", "project": 1, "title": "Boom", "culprit": "a.b",
        "level": "error", "environment": "production", "datetime": second(10).to_string()}}});
    let issue = serde_json::json!({"action": "created", "data": {"issue": {
        "id": "77", "title": "Boom", "culprit": "a.b", "level": "error",
        "project": {"id": "1", "slug": "shop"}, "firstSeen": second(10).to_string()}}});
    let solved = serde_json::json!({"action": "resolved", "data": {"issue": {
        "id": "77", "title": "Boom", "culprit": "a.b", "level": "error",
        "project": {"id": "1", "slug": "shop"}}}});
    // Of staging, and its end, which names no environment.
    let staged = serde_json::json!({"action": "created", "data": {"error": {
        "event_id": "e2", "issue_id": "78", "project": 1, "title": "Bang", "culprit": "a.c",
        "environment": "staging", "datetime": second(15).to_string()}}});
    let over = serde_json::json!({"action": "resolved", "data": {"issue": {
        "id": "78", "title": "Bang", "culprit": "a.c",
        "project": {"id": "1", "slug": "shop"}}}});
    let text = "[[defaults.routes]]\nname = \"all\"\nreceivers = [\"ops\"]\n";
    let rules = RulesDocument {
        hash: Rules::parse(text).unwrap().hash().to_owned(),
        text: text.into(),
        operator: "o".into(),
    };
    let answer = |n| {
        let shop = ProjectId::new("shop").unwrap();
        let opening = position(1).alert(0);
        record(
            n,
            Some("shop"),
            Body::Answer(Box::new(Answer {
                job: JobId::triage(opening, "open"),
                incident: incident_id(&shop, opening),
                opening,
                reason: "open".into(),
                prompt: "p".into(),
                input: "{}".into(),
                result: AnswerResult {
                    analysis: None,
                    attempts: Vec::new(),
                    latency_ms: n,
                    ..AnswerResult::default()
                },
            })),
        )
    };
    vec![
        alertmanager(1, "shop", &[(1, "firing", 1), (2, "firing", 1)]),
        alertmanager(2, "search", &[(1, "firing", 2)]),
        alertmanager(3, "shop", &[(1, "firing", 1), (2, "resolved", 3)]),
        answer(4),
        sentry(5, "error", "k1", event.clone()),
        sentry(6, "issue", "k2", issue),
        sentry(7, "error", "k1", event),
        answer(8),
        record(9, None, Body::Tick(Tick { now: second(90) })),
        record(10, None, Body::Control(Box::new(Control::Rules(rules)))),
        alertmanager(11, "shop", &[(2, "firing", 11), (3, "firing", 11)]),
        sentry(12, "issue", "k3", solved),
        delivery(13, "shop", "sentry", &[("sentry-hook-resource", "issue")], "{".into()),
        alertmanager(14, "shop", &[(2, "resolved", 5)]),
        sentry(15, "error", "k4", staged),
        sentry(16, "issue", "k5", over),
    ]
}

fn items(records: &[Record]) -> Vec<Item> {
    (1u64..)
        .zip(records)
        .map(|(n, record)| {
            let mut bytes = Vec::new();
            record.encode_into(&mut bytes);
            let bytes = Bytes::from(bytes);
            Item { at: position(n), bytes, stored_at: second(n), of_all: false }
        })
        .collect()
}

/// What the stage made, batch by batch.
#[derive(Default)]
struct Made {
    events: Vec<Event>,
    outcomes: BTreeMap<Outcome, u64>,
    numbers: Vec<(String, u32)>,
}

/// Runs the stage over `items` in batches of `size`; the owner's state is dropped after each.
async fn run(store: &Store, items: &[Item], size: usize) -> Made {
    let stage = ObserveStage::new(Config::default(), ONE, None, Clock::system());
    let mut made = Made::default();
    let mut rest = items;
    while !rest.is_empty() {
        // The lock of the batch before goes when the server has ended its session.
        let mut lane = loop {
            if let Some(owned) = store.own_lane("observe", GENERATION, LANE).await.unwrap() {
                break owned;
            }
            tokio::task::yield_now().await;
        };
        let old = lane.cursor().await.unwrap();
        let mut state = stage.load(&mut lane, LANE).await.unwrap();
        let mut batch = Vec::new();
        for item in rest.iter().take(size) {
            let prepared = stage.prepare(&stage.context(&state), item).unwrap();
            let ends = stage.ends_batch(&prepared);
            batch.push((item.clone(), prepared));
            if ends {
                break;
            }
        }
        rest = &rest[batch.len()..];
        let mut new = old.clone();
        new.at = batch.last().unwrap().0.at;
        new.batch += 1;
        stage.gather(&mut lane, &mut state, &batch).await.unwrap();
        let mut out = Out { lane_time: old.lane_time, ..Out::default() };
        for (item, prepared) in batch {
            stage.fold(&mut state, item, prepared, &mut out);
        }
        let mut transaction: LaneTransaction<'_> = lane.begin();
        stage.write(&mut transaction, &mut state, &mut out).await.unwrap();
        transaction.park(&out.parked, 1).await.unwrap();
        new.lane_time = out.lane_time;
        let account =
            Account { in_frames: 0, outcomes: &out.outcomes, producers: &[], messages: &[] };
        transaction.advance(&old, &new, new.at, Some(&account));
        transaction.commit().await.unwrap();
        lane.release().await;
        made.events.append(&mut out.events);
        for (outcome, n) in out.outcomes {
            *made.outcomes.entry(outcome).or_default() += n;
        }
        for control in out.controls {
            let Body::Control(control) = control.body else { panic!("not a control record") };
            let Control::IncidentNumber(given) = *control else { panic!("not a number") };
            made.numbers.push((given.day, given.number));
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_r26_r34_the_rows_of_observe_equal_the_sequential_fold() {
    let dir = tests::temp_dir();
    let postgres = tests::postgres(&dir);
    let items = items(&log());
    let inputs = items.iter().map(|item| domain::observe::Input {
        at: item.at,
        bytes: &item.bytes,
        stored_at: item.stored_at,
        of_all: item.of_all,
    });
    let oracle = replay::sequential(LANE, ONE, inputs).unwrap();
    let openings: Vec<_> = oracle.openings.iter().map(|o| o.opening.input.sequence).collect();
    // Both reports of the Sentry event are one incident.
    assert_eq!(openings, [1, 1, 2, 5, 11, 11, 15]);
    let ends = oracle.events.iter().filter_map(|e| match &e.kind {
        Kind::Resolved(over) => Some((e.at.input.sequence, over.opening.input.sequence)),
        _ => None,
    });
    assert_eq!(Vec::from_iter(ends), [(3, 1), (12, 5), (16, 15)]);
    assert_eq!(oracle.ledger[&Outcome::Redelivered], 1);
    assert_eq!(oracle.ledger[&Outcome::Rejected], 1);

    for size in [1, 2, 5, 100] {
        let url = tests::database(&postgres, &format!("observe_{size}")).await;
        let store = Store::connect(&url, 2, Duration::from_secs(10)).await.unwrap();
        let made = run(&store, &items, size).await;
        assert_eq!(made.events, oracle.events, "batches of {size}");
        assert_eq!(made.outcomes, oracle.ledger);
        check_rows(&url, &oracle, &made).await;
    }
}

async fn check_rows(url: &str, oracle: &replay::Folded, made: &Made) {
    use sqlx::Connection;
    let mut sql = sqlx::PgConnection::connect(url).await.unwrap();
    let problems: Vec<(String, Uuid, Vec<u8>)> =
        sqlx::query_as("select project, fingerprint, state from problem where generation = 1")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    assert_eq!(problems.len(), oracle.problems.len());
    for (project, fingerprint, state) in problems {
        let key = (ProjectId::new(project).unwrap(), schemas::Fingerprint(fingerprint));
        assert_eq!(Problem::decode(&state).unwrap(), oracle.problems[&key]);
    }
    let openings: Vec<(String, Uuid, Vec<u8>)> =
        sqlx::query_as("select project, incident, state from opening where generation = 1")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    assert_eq!(openings.len(), oracle.incidents.len());
    for (project, incident, state) in openings {
        let key = (ProjectId::new(project).unwrap(), schemas::IncidentId(incident));
        assert_eq!(Incident::decode(&state).unwrap(), oracle.incidents[&key]);
    }
    let seen: Vec<(i32, Uuid, i64)> =
        sqlx::query_as("select day, key, expires from seen").fetch_all(&mut sql).await.unwrap();
    let seen: BTreeMap<_, _> =
        seen.into_iter().map(|(day, key, until)| ((day, key), Time::from_micros(until))).collect();
    assert_eq!(seen, oracle.seen);
    let jobs: Vec<(Uuid, String, Vec<u8>)> = sqlx::query_as(
        "select id, state, payload from job where queue = 'triage' order by ordinal",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    assert_eq!(jobs.len(), oracle.triage.len());
    for ((id, state, payload), ask) in jobs.iter().zip(&oracle.triage) {
        assert_eq!((*id, state.as_str()), (ask.id.0, "pending"));
        let job: TriageJob = schemas::codec::decode("triage job", payload).unwrap();
        assert_eq!(job, ask.job);
    }
    // R34: in the order of opening, per project and day of the configured zone; the tick before
    // record 11 is on the other side of midnight.
    let numbers: Vec<(String, String, i32, String)> = sqlx::query_as(
        "select project, day, number, opening from incident_number order by day, project, number",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let expect = [
        ("search", "20260101", 1, "1-2-0-0"),
        ("shop", "20260101", 1, "1-1-0-0"),
        ("shop", "20260101", 2, "1-1-0-1"),
        ("shop", "20260101", 3, "1-5-0-0"),
        ("shop", "20260102", 1, "1-11-0-0"),
        ("shop", "20260102", 2, "1-11-0-1"),
        ("shop", "20260102", 3, "1-15-0-0"),
    ];
    let numbers: Vec<_> =
        numbers.iter().map(|(p, d, n, o)| (p.as_str(), d.as_str(), *n, o.as_str())).collect();
    assert_eq!(numbers, expect);
    assert_eq!(made.numbers.len(), expect.len(), "each number has its control record");
    let answered = made.events.iter().filter(|e| matches!(e.kind, Kind::Answered(_))).count();
    assert_eq!(answered, 1);
    let in_force: Vec<u8> =
        sqlx::query_scalar("select state from lane_state where stage = 'observe'")
            .fetch_one(&mut sql)
            .await
            .unwrap();
    let restored =
        domain::observe::LaneState::restore(LANE, ONE, Time::default(), Some(&in_force)).unwrap();
    assert_eq!(restored.rules().hash(), oracle.rules);
}
