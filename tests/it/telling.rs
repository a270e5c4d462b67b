//! Who is told what, from HTTP to HTTP: lane time is moved by ticks in the log.

use std::{collections::BTreeMap, process::Command};

use bytes::Bytes;
use eventlog::Publish;
use schemas::{
    FrameHeader, Lane, LaneKey, ProducerId, Record, RecordId, Time, frame,
    record::{Body, Control, Silence, SilenceChange, Tick},
    subject::{self, Class},
};
use serde_json::{Value, json};
use tests::{fleet::Fleet, oracle, receiver::Seen};

use crate::newcomer::bellwether;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// One process with every role, and lane time in the tests' hands.
struct World {
    fleet: Fleet,
    number: usize,
    /// Seconds that lane time is ahead.
    now: Time,
    /// Of the frames this test appends: number and records by lane.
    frames: BTreeMap<LaneKey, u64>,
    producer: ProducerId,
    second: u32,
}

impl World {
    async fn start() -> Self {
        let mut fleet = Fleet::new(WORKER, "").await;
        let number = fleet.start("ingest,console,triage-worker,notifier-worker,projector");
        Self {
            fleet,
            number,
            now: jiff::Timestamp::now().into(),
            frames: BTreeMap::new(),
            producer: ProducerId(runtime::random_uuid()),
            second: 0,
        }
    }

    async fn append(&mut self, key: LaneKey, class: Class, body: Body) {
        let number = self.frames.entry(key).or_default();
        *number += 1;
        let header = FrameHeader {
            version: 1,
            producer: self.producer,
            number: *number,
            total: *number,
            count: 1,
        };
        let mut bytes = Vec::new();
        let id = RecordId(runtime::random_uuid());
        Record::new(id, self.now, None, body).encode_into(&mut bytes);
        let publish = Publish {
            stream: subject::deliveries_stream(&self.fleet.world.namespace),
            subject: subject::deliveries(&self.fleet.world.namespace, key, class),
            message_id: None,
            headers: Vec::new(),
            payload: Bytes::from(frame::encode(&header, &bytes)),
            fence: None,
            keep_forever: class == Class::Control,
        };
        self.fleet.world.log().await.publish(publish).await.unwrap();
    }

    /// Lane time goes on by so many seconds, in every lane.
    async fn pass(&mut self, seconds: i64) {
        self.now = self.now.plus_seconds(seconds);
        for lane in Lane::all(self.fleet.world.lanes) {
            let tick = Body::Tick(Tick { now: self.now });
            self.append(LaneKey::Lane(lane), Class::Data, tick).await;
        }
        self.fleet.settled().await;
    }

    /// An alert of the fleet's alertmanager source.
    async fn alert(&mut self, instance: &str, severity: &str, environment: &str, status: &str) {
        self.second += 1;
        let at = format!("2026-01-01T00:{:02}:{:02}Z", self.second / 60, self.second % 60);
        let ends = if status == "resolved" { at.as_str() } else { "0001-01-01T00:00:00Z" };
        let body = json!({
            "version": "4", "groupKey": "{}", "status": status, "receiver": "r",
            "alerts": [{
                "status": status,
                "labels": {
                    "alertname": "Down", "instance": instance, "severity": severity,
                    "environment": environment,
                },
                "annotations": {"summary": "down"}, "startsAt": at, "endsAt": ends,
            }],
        });
        self.fleet.sender(self.number).alertmanager(&body).await;
        self.fleet.settled().await;
    }

    fn seen(&self) -> Seen {
        self.fleet.receiver.seen()
    }

    fn count(&self, kind: &str) -> usize {
        self.seen().of_type(&format!("incident.{kind}")).len()
    }

    /// Why the alerts of so far were told, or not: kind or reason with the rule, in order.
    async fn notices(&self) -> Vec<(String, String)> {
        sqlx::query_as(
            "select coalesce(kind, reason), rule from notice order by lane_time, at, event_id",
        )
        .fetch_all(&mut self.fleet.world.sql().await)
        .await
        .unwrap()
    }

    async fn end(mut self) -> Vec<oracle::Compared> {
        self.fleet.settled().await;
        self.fleet.stop_all();
        oracle::check(&self.fleet.world).await
    }
}

fn reasons(notices: &[(String, String)]) -> Vec<&str> {
    notices.iter().map(|(reason, _)| reason.as_str()).filter(|reason| *reason != "update").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_at_59_minutes_it_is_folded_and_at_61_it_pages() {
    let mut world = World::start().await;
    world.alert("db-1", "critical", "production", "firing").await;
    assert_eq!(world.count("fire"), 1);
    world.alert("db-1", "critical", "production", "resolved").await;
    assert_eq!(world.count("resolve"), 1);

    // A restart remembers it.
    world.fleet.kill(world.number);
    world.fleet.restart(world.number);
    world.pass(59 * 60).await;
    world.alert("db-1", "critical", "production", "firing").await;
    world.alert("db-1", "critical", "production", "resolved").await;
    assert_eq!((world.count("fire"), world.count("resolve")), (1, 1));
    world.pass(2 * 60).await;
    world.alert("db-1", "critical", "production", "firing").await;
    assert_eq!((world.count("fire"), world.count("resolve")), (2, 1));

    let notices = world.notices().await;
    let expect = ["fire", "resolve", "once_per_60m", "once_per_60m", "fire"];
    assert_eq!(reasons(&notices), expect);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_r42_who_is_told_now_and_who_in_a_summary_with_the_rule_that_says_so() {
    let mut world = World::start().await;
    for (environment, severity, expect) in [
        ("production", "critical", ("fire", "everything/policy.production.fatal")),
        ("production", "error", ("fire", "everything/policy.production.error")),
        ("production", "warning", ("hourly_digest", "policy.production.warning")),
        ("production", "info", ("daily_digest", "policy.production.info")),
        ("testing", "warning", ("fire", "everything/policy.testing.warning")),
        ("development", "critical", ("policy_never", "policy.development.fatal")),
    ] {
        world.alert(&format!("{environment}-{severity}"), severity, environment, "firing").await;
        let notices = world.notices().await;
        let (reason, rule) = notices.iter().rfind(|(reason, _)| reason != "update").unwrap();
        assert_eq!((reason.as_str(), rule.as_str()), expect, "{environment} {severity}");
    }
    assert_eq!(world.count("fire"), 3);
    // Their summaries come at their hours.
    let told = world.seen().accepted.len();
    world.pass(3_600).await;
    world.pass(24 * 3_600).await;
    let seen = world.seen();
    let after: Vec<&Value> = seen.accepted[told..].iter().map(|(_, body)| &body["type"]).collect();
    let lanes = world.end().await;
    let planned = lanes.iter().flat_map(|lane| &lane.telling.plans);
    let summaries: Vec<_> = planned.filter_map(|plan| plan.summary.as_ref()).collect();
    assert_eq!(summaries.len(), 2, "{summaries:?}");
    assert!(summaries.iter().all(|summary| (summary.incidents, summary.alerts) == (1, 1)));
    assert!(after.len() >= 2, "{after:?}");
}

/// An alert of a sender that knows its problem whatever its severity is.
fn of_level(instance: &str, severity: &str, second: u32) -> Value {
    json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
        "alerts": [{
            "status": "firing", "fingerprint": format!("00000000000000{instance}"),
            "labels": {"alertname": "Slow", "instance": instance, "severity": severity},
            "annotations": {"summary": format!("{severity} now")},
            "startsAt": format!("2026-01-01T00:00:{second:02}Z"), "endsAt": "0001-01-01T00:00:00Z",
        }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_a_level_that_rises_pages_once_and_the_incident_shows_it() {
    let mut world = World::start().await;
    let mut second = 0;
    for (instance, severity, told) in [
        // (fires, reminds) after it.
        ("aa", "warning", (0, 0)),
        ("bb", "error", (1, 0)),
        ("aa", "critical", (2, 0)),
        ("bb", "critical", (2, 1)),
        ("aa", "warning", (2, 1)),
        ("aa", "critical", (2, 1)),
        ("bb", "error", (2, 1)),
        ("bb", "critical", (2, 1)),
    ] {
        if second == 4 {
            // A restart remembers how bad they were.
            world.fleet.kill(world.number);
            world.fleet.restart(world.number);
        }
        second += 1;
        let body = of_level(instance, severity, second);
        world.fleet.sender(world.number).alertmanager(&body).await;
        world.fleet.settled().await;
        assert_eq!((world.count("fire"), world.count("remind")), told, "{instance} {severity}");
    }
    let mut sql = world.fleet.world.sql().await;
    let incidents: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(
        "select risk, facts ->> 'level', facts -> 'annotations' -> 0 ->> 1 from incident",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let fatal = |said: &str| ("CRITICAL".to_owned(), Some("fatal".into()), Some(said.to_owned()));
    assert_eq!(incidents, vec![fatal("critical now"); 2]);
    let because: Vec<(String, String)> = sqlx::query_as(
        "select kind, rule from notice where reason = 'level_rose' order by lane_time, at",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let rule = "everything/policy.production.fatal".to_owned();
    assert_eq!(because, [("fire".to_owned(), rule.clone()), ("remind".to_owned(), rule)]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_what_fires_again_within_the_hour_is_told_when_it_is_over() {
    let mut world = World::start().await;
    for status in ["firing", "resolved", "firing"] {
        world.alert("db-1", "error", "production", status).await;
    }
    assert_eq!((world.count("fire"), world.count("resolve")), (1, 1));
    world.pass(61 * 60).await;
    assert_eq!((world.count("fire"), world.count("resolve")), (2, 1));
    world.alert("db-1", "error", "production", "resolved").await;
    world.pass(61 * 60).await;
    assert_eq!((world.count("fire"), world.count("resolve")), (2, 2));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_a_silence_in_the_log_holds_and_what_still_fires_is_told_after_it() {
    let mut world = World::start().await;
    let silence = Silence {
        matchers: domain::matcher::Matchers::parse("instance=~\"db-.*\"")
            .unwrap()
            .list()
            .cloned()
            .collect(),
        starts_at: None,
        ends_at: world.now.plus_seconds(1_800),
        owner: "ada".into(),
        reason: "moving house".into(),
    };
    let change = SilenceChange { id: "s1".into(), silence: Some(silence), operator: "ada".into() };
    let control = Body::Control(Box::new(Control::Silence(change)));
    world.append(LaneKey::All, Class::Control, control).await;
    world.fleet.settled().await;
    world.alert("db-1", "critical", "production", "firing").await;
    world.alert("web-1", "critical", "production", "firing").await;
    assert_eq!(world.count("fire"), 1);
    let by: Option<String> =
        sqlx::query_scalar("select decided_by from notice where reason = 'silenced'")
            .fetch_one(&mut world.fleet.world.sql().await)
            .await
            .unwrap();
    assert_eq!(by.as_deref(), Some("s1"));
    world.fleet.kill(world.number);
    world.fleet.restart(world.number);
    world.pass(1_800).await;
    assert_eq!(world.count("fire"), 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_a_storm_over_http_is_bounded_and_every_alert_is_counted() {
    let mut world = World::start().await;
    let alerts: Vec<Value> = (0..400)
        .map(|n| {
            json!({
                "status": "firing",
                "labels": {"alertname": "Down", "instance": format!("i{n}"), "severity": "critical"},
                "annotations": {}, "startsAt": "2026-01-01T00:00:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
            })
        })
        .collect();
    for part in alerts.chunks(50) {
        let body = json!({
            "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r", "alerts": part,
        });
        world.fleet.sender(world.number).alertmanager(&body).await;
    }
    world.fleet.settled().await;
    world.pass(61).await;
    world.pass(61).await;
    assert_eq!(world.count("fire"), 30);
    let counted: Vec<(String, i64)> = sqlx::query_as(
        "select coalesce(reason, kind), count(distinct incident) from notice
         where coalesce(kind, '') <> 'update' group by 1 order by 1",
    )
    .fetch_all(&mut world.fleet.world.sql().await)
    .await
    .unwrap();
    let words: Vec<(&str, i64)> = counted.iter().map(|(word, n)| (word.as_str(), *n)).collect();
    // It is calm and not over: whoever was given it as an alert of its own has it until all end.
    assert_eq!(words, [("fire", 30), ("storm", 370), ("summary", 1)]);
    let lanes = world.end().await;
    let plans = lanes.iter().flat_map(|lane| &lane.telling.plans);
    let last = plans.filter_map(|plan| plan.summary.as_ref()).next_back().unwrap();
    assert_eq!((last.incidents, last.alerts), (370, 370));
}

/// A1, A4: the document that is in force can be shown, and is the one that decides.
#[tokio::test(flavor = "multi_thread")]
async fn a4_rules_that_are_applied_decide_from_then_on() {
    let mut world = World::start().await;
    let text = "[[defaults.routes]]\nname = \"nobody\"\nmatchers = ['instance=\"db-1\"']\n\
        receivers = []\n[[defaults.routes]]\nname = \"rest\"\nreceivers = [\"default\"]\n";
    let file = world.fleet.world.dir.path().join("draft.toml");
    std::fs::write(&file, text).unwrap();
    let applied = Command::new(bellwether())
        .args(["rules", "apply"])
        .arg(&file)
        .arg("--config")
        .arg(world.fleet.config())
        .env("USER", "ada")
        .output()
        .unwrap();
    assert!(applied.status.success(), "{applied:?}");
    world.alert("db-1", "critical", "production", "firing").await;
    world.alert("db-2", "critical", "production", "firing").await;
    let notices = world.notices().await;
    assert_eq!(reasons(&notices), ["no_receiver", "fire"]);
    assert_eq!(notices[0].1, "nobody");
    assert_eq!(world.count("fire"), 1);
    world.end().await;
}
