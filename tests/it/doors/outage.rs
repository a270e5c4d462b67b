//! The log away: never a false 2xx, and nothing that was accepted is lost or told twice (R1, I1).

mod spool;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{
    fleet::{SENTRY_SECRET, sign},
    oracle,
};
use uuid::Uuid;

use super::{Answer, Doors, EVERYTHING};

/// "Within about a second": the budget is 900 ms, and two cores have more to do.
const ABOUT_A_SECOND: Duration = Duration::from_millis(2_500);

fn body(issue: u32) -> Value {
    json!({"action": "created", "data": {"error": {
        "event_id": format!("{issue:032x}"), "issue_id": issue.to_string(), "project": 1,
        "title": format!("Error {issue}"), "culprit": "shop.cart", "level": "error",
        "environment": "production"}}})
}

async fn post(doors: &Doors, issue: u32) -> Answer {
    let body = body(issue).to_string().into_bytes();
    let headers = [
        ("sentry-hook-resource".to_owned(), "error".to_owned()),
        ("sentry-hook-signature".to_owned(), sign(SENTRY_SECRET, &body)),
    ];
    doors.post("/webhook/sentry", &headers, body).await
}

/// What was accepted, by issue, each with every id its sender got.
#[derive(Default)]
struct Accepted(BTreeMap<u32, Vec<Uuid>>);

impl Accepted {
    /// Sends these issues at once while the log takes none of them.
    async fn refuse(doors: &Doors, issues: &[u32]) -> Duration {
        let answers = join_all(issues.iter().map(|issue| post(doors, *issue))).await;
        for answer in &answers {
            assert_eq!(answer.status, 503, "{}", answer.text);
            let after: u32 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&after), "{after}");
            let said: Value = serde_json::from_str(&answer.text).unwrap();
            assert_eq!(said["detail"], "the delivery could not be made durable: send it again");
            assert!(answer.took < ABOUT_A_SECOND, "{:?}", answer.took);
        }
        answers.iter().map(|a| a.took).max().unwrap()
    }

    /// Sends these issues until each is accepted, as senders do.
    async fn accept(&mut self, doors: &Doors, issues: &[u32]) {
        for issue in issues {
            let record = doors.fleet.sender(0).sentry("error", &body(*issue)).await;
            self.0.entry(*issue).or_default().push(record.parse().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_without_a_spool_503_while_the_log_is_away_and_nothing_accepted_is_lost() {
    let mut doors = Doors::open(EVERYTHING, "").await;
    let mut accepted = Accepted::default();
    accepted.accept(&doors, &[1, 2, 3]).await;

    // Killed: nothing can be stored.
    doors.fleet.world.nats.kill();
    let first = Accepted::refuse(&doors, &[11, 12, 13, 14, 15, 16, 17, 18]).await;
    let next = Accepted::refuse(&doors, &[19]).await;
    let ready = doors.get("/ready").await;
    assert_eq!(ready.status, 503, "{}", ready.text);
    assert!(ready.text.contains("nats"), "{}", ready.text);
    assert_eq!(doors.get("/health").await.status, 200);
    doors.fleet.world.nats.restart().unwrap();
    accepted.accept(&doors, &[11, 12, 13, 14, 15, 16, 17, 18, 19, 4]).await;

    // Stopped: what is sent may be stored later, and nobody may be told that it is.
    doors.fleet.world.nats.pause();
    let stopped = Accepted::refuse(&doors, &[21, 22, 23, 24]).await;
    doors.fleet.world.nats.resume();
    accepted.accept(&doors, &[21, 22, 23, 24, 5]).await;
    println!("slowest 503: killed {first:?}, still away {next:?}, stopped {stopped:?}");

    doors.fleet.settled().await;
    let log = doors.in_log().await;
    let mut incidents = BTreeMap::new();
    for (issue, records) in &accepted.0 {
        for record in records {
            assert!(log.contains_key(record), "issue {issue}: {record} was accepted");
            let delivery = doors.delivery(*record).await;
            // A try that was refused may have been stored all the same; then this is its repeat.
            let outcome = delivery["outcome"].as_str().unwrap();
            assert!(["observed", "redelivered"].contains(&outcome), "{delivery}");
            let incident = delivery["alerts"][0]["incident_id"].as_str().unwrap().to_owned();
            incidents.insert(incident, *issue);
        }
    }
    assert_eq!(incidents.len(), accepted.0.len(), "one incident an issue");
    let seen = doors.fleet.receiver.seen();
    let mut told: Vec<&str> = seen
        .of_type("incident.fire")
        .iter()
        .map(|body| body["data"]["incident_id"].as_str().unwrap())
        .collect();
    told.sort_unstable();
    let (planned, noticed) = doors.noticed().await;
    assert_eq!(told, planned.iter().map(String::as_str).collect::<Vec<_>>(), "each told once");
    let opened: BTreeSet<String> = incidents.keys().cloned().collect();
    assert!(planned.is_subset(&opened) && opened.is_subset(&noticed), "each has a notice");
    doors.fleet.stop_all();
    oracle::check(&doors.fleet.world).await;
}
