//! Deliveries that were given up are listed, and applied once when what was wrong is right.

mod sends;

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::Instant,
};

use eventlog::Publish;
use schemas::{
    InputPosition, Lane, LaneKey, ProducerId, ProjectId, Record, RecordId, SourceId, Time,
    frame::{self, FRAME_VERSION, FrameHeader, RecordFrame},
    record::{Auth, Body, Delivery, Redrive},
    subject::{self, Class},
};
use serde_json::json;
use tests::fleet::{Fleet, PATIENCE};
use uuid::Uuid;

use crate::newcomer::bellwether;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// A project of lane 0, which a worker takes first.
const FIRST: &str = "core";
const WORK: &str = "triage-worker,notifier-worker,projector";

/// Given these words behind `bellwether parked`, then it ends with this code and says all of this.
#[track_caller]
fn check(fleet: &Fleet, words: &[&str], code: i32, says: &[&str]) -> String {
    let place = [PathBuf::from("--config"), fleet.config().to_owned()];
    let mut command = Command::new(bellwether());
    command.arg("parked").args(words).args(place).env("USER", "ada");
    let Output { status, stdout, stderr } =
        command.current_dir(fleet.world.dir.path()).output().unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert_eq!(status.code(), Some(code), "{words:?}: {said}");
    for words in says {
        assert!(said.contains(words), "{said:?} lacks {words:?}");
    }
    said
}

/// The position that `list` begins its only line with.
#[track_caller]
fn only(fleet: &Fleet, says: &[&str]) -> InputPosition {
    let said = check(fleet, &["list"], 0, says);
    assert_eq!(said.lines().count(), 1, "{said}");
    said.split(' ').next().unwrap().parse().unwrap()
}

/// A delivery with this body.
fn delivery(provider: &str, raw: &str) -> Body {
    Body::Delivery(Box::new(Delivery {
        provider: provider.into(),
        source: SourceId::new("main").unwrap(),
        route: "/webhook".into(),
        headers: Vec::new(),
        remote: None,
        auth: Auth { method: "basic".into(), credential: None },
        raw: raw.into(),
        sha256: [4; 32],
        content_type: None,
        channel: None,
        recorded: None,
    }))
}

/// Appends a record of `project`, in a frame of its own.
async fn append(fleet: &Fleet, project: &str, body: Body) -> InputPosition {
    let project = ProjectId::new(project).unwrap();
    let lane = LaneKey::Lane(Lane::of(&project, fleet.world.lanes));
    let now = Time::from_micros(1_800_000_000_000_000);
    let record = Record::new(RecordId(Uuid::now_v7()), now, Some(project), body);
    let mut bytes = Vec::new();
    record.encode_into(&mut bytes);
    let producer = ProducerId(runtime::random_uuid());
    let header = FrameHeader { version: FRAME_VERSION, producer, number: 1, total: 1, count: 1 };
    let log = fleet.world.log().await;
    let stream = subject::deliveries_stream(&fleet.world.namespace);
    let publish = Publish {
        subject: subject::deliveries(&fleet.world.namespace, lane, Class::Data),
        stream: stream.clone(),
        message_id: None,
        headers: Vec::new(),
        payload: frame::encode(&header, &bytes).into(),
        fence: None,
        keep_forever: false,
    };
    let sequence = log.publish(publish).await.unwrap().sequence;
    let incarnation = log.info(&stream).await.unwrap().incarnation;
    InputPosition { incarnation, sequence, record: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_what_was_parked_is_observed_once_when_it_can_be() {
    let mut fleet = Fleet::new(WORKER, "").await;
    check(&fleet, &["list"], 0, &["nothing was given up"]);
    let body = json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
        "alerts": [{
            "status": "firing", "labels": {"alertname": "Down", "severity": "critical"},
            "annotations": {}, "startsAt": "2026-01-01T00:00:01Z",
            "endsAt": "0001-01-01T00:00:00Z",
        }],
    });
    append(&fleet, FIRST, delivery("alertmanager", &body.to_string())).await;

    // Whoever tries it dies of it, again and again, until it is given up. So may a tick of the other
    // lane, which then is given up as well.
    let lane = Lane::of(&ProjectId::new(FIRST).unwrap(), fleet.world.lanes);
    let mut sql = fleet.world.sql().await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let tried: Option<i32> = sqlx::query_scalar(
            "select max(attempts) from cursor where stage = 'observe' and lane = $1",
        )
        .bind(i32::from(lane.0))
        .fetch_one(&mut sql)
        .await
        .unwrap();
        if tried.unwrap_or(0) >= 5 {
            break;
        }
        assert!(Instant::now() < deadline, "tried {tried:?} times");
        let doomed = fleet.start_doomed("triage-worker", "before_commit", 1);
        fleet.wait_until_dead(doomed);
    }
    fleet.start(WORK);
    fleet.settled().await;
    let listed = check(&fleet, &["list"], 0, &[]);
    let (ours, others): (Vec<_>, Vec<_>) = listed.lines().partition(|l| !l.contains("  tick of"));
    for line in others {
        check(&fleet, &["drop", line.split(' ').next().unwrap()], 0, &["dropped"]);
    }
    assert_eq!(ours.len(), 1, "{listed}");
    let reason = ["parked", "delivery of core, source main", "given up after 6 attempts"];
    let at = only(&fleet, &reason).to_string();
    check(&fleet, &["show", &at], 0, &["attempts  6", "of lane", "bytes, sha256 "]);
    let count = "select count(*) from incident where $1 = 0";
    fleet.until(count, 0, 0).await;

    // Nothing is wrong with it any more.
    check(&fleet, &["redrive", &at], 0, &["outcome   observed"]);
    check(&fleet, &["list"], 0, &["nothing was given up"]);
    check(&fleet, &["redrive", &at], 2, &["was not given up"]);
    check(&fleet, &["show", &at], 2, &["was not given up"]);
    check(&fleet, &["drop", &at], 2, &["was not given up"]);
    check(&fleet, &["show", "7"], 64, &["is not a position"]);
    fleet.until(count, 0, 1).await;

    // Somebody else asked at the same time: the fold takes one of them.
    let original: InputPosition = at.parse().unwrap();
    let stream = subject::deliveries_stream(&fleet.world.namespace);
    let message = fleet.world.log().await.get(&stream, original.sequence).await.unwrap().unwrap();
    let frame = RecordFrame::parse(&message.payload).unwrap();
    let record = Some(frame.records[original.record as usize].to_vec());
    let redrive = Redrive { original: original.whole(), operator: "bob".into(), record };
    append(&fleet, FIRST, Body::Redrive(redrive)).await;
    fleet.settled().await;
    fleet.until(count, 0, 1).await;
    let refused: Vec<(String, String, String)> =
        sqlx::query_as("select verb, actor, reason from incident_action")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    assert_eq!(refused, [("redrive".into(), "bob".into(), "original_not_given_up".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_what_nobody_can_read_is_given_up_again_and_can_be_dropped() {
    let mut fleet = Fleet::new(WORKER, "").await;
    let all = fleet.start(&format!("ingest,console,{WORK}"));
    let parked = append(&fleet, "infra", delivery("of-tomorrow", "{}")).await;
    fleet.settled().await;
    let unknown = "unknown_provider \"of-tomorrow\"";
    assert_eq!(only(&fleet, &["parked", unknown]), parked);
    let at = parked.to_string();
    let said = check(&fleet, &["redrive", &at], 2, &["ended parked: ", unknown]);
    let again = said.lines().find_map(|line| line.strip_prefix("position  ")).unwrap().to_owned();
    // The redrive is parked under its own position, and the original stays as it was.
    check(&fleet, &["list"], 0, &[&at, &again]);
    check(&fleet, &["redrive", &again], 2, &["it is no delivery"]);
    check(&fleet, &["drop", &again], 0, &[&again]);
    check(&fleet, &["drop", &at], 0, &[&at]);
    check(&fleet, &["redrive", &at], 2, &["was not given up"]);

    // A body that is none ends rejected, and is listed with why.
    let sent = fleet.sender(all).alertmanager(&json!({"alerts": 7})).await;
    fleet.settled().await;
    let at = only(&fleet, &["rejected", "delivery of infra, source alertmanager"]).to_string();
    check(&fleet, &["show", &at], 0, &[&sent]);
    check(&fleet, &["redrive", &at], 2, &["ended rejected: "]);
}
