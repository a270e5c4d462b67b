//! Notify and deliver against a real database and a strict receiver: from a decision event to a
//! signed message, and what is told again, or not, after each way of failing.

mod faults;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use lanes::{Item, Out, Performed, Stage, Work};
use notifier_worker::{ChannelConfig, Channels, Config, DeliverWork, NotifyStage, Sender};
use runtime::{
    Clock,
    http_client::{ClientConfig, Clients},
};
use schemas::{
    Event, EventId, Facts, Fingerprint, IncidentId, InputPosition, JobId, Lane, Level, Position,
    ProjectId, SourceId, Status, Time,
    alert::Risk,
    event::{Answered, Cause, EVENT_VERSION, Kind, Opened, Resolved},
    job::{Analysis, AnswerResult, SendResult},
    record::Body,
};
use sqlx::{Connection, PgConnection};
use store::{
    Store,
    job::{End, Job, Queue, Room},
    lane::LaneConnection,
};
use tempfile::TempDir;
use tests::{
    GENERATION, database, postgres,
    receiver::{Fault, Receiver},
    temp_dir,
};
use uuid::Uuid;

const LANE: Lane = Lane(2);
const LEASE: Duration = Duration::from_secs(30);
const NUMBER: &str = "INC-20260102-007";

/// One lane of notify, and deliver beside it: channels `hook` and `screen` serve the same receiver.
struct Desk {
    stage: NotifyStage,
    work: DeliverWork,
    lane: LaneConnection,
    state: <NotifyStage as Stage>::State,
    store: Store,
    sql: PgConnection,
    receiver: Receiver,
    printed: Arc<Mutex<Vec<String>>>,
    sequence: u64,
    _postgres: servers::PostgresServer,
    _dir: TempDir,
}

impl Desk {
    async fn open(hold: Option<Duration>) -> Self {
        let dir = temp_dir();
        let postgres = postgres(&dir);
        let url = database(&postgres, "bellwether").await;
        let store = Store::connect(&url, 4, Duration::from_secs(10)).await.unwrap();
        let receiver = Receiver::start().await;
        let channels = channels(&receiver);
        let printed = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&printed);
        let sender = Sender::new(
            Clients::new(&ClientConfig::default()).unwrap(),
            Clock::system(),
            Arc::new(move |text| sink.lock().unwrap().push(text.to_owned())),
        );
        let config = Config { max_attempts: 3, ..Config::default() };
        config.check(&channels).unwrap();
        let stage = NotifyStage::new(Arc::clone(&channels), hold);
        let work = DeliverWork::new(config, channels, store.clone(), sender, Clock::system());
        let mut lane = store.own_lane("notify", GENERATION, LANE).await.unwrap().unwrap();
        let state = stage.load(&mut lane, LANE).await.unwrap();
        let sql = PgConnection::connect(&url).await.unwrap();
        Self {
            stage,
            work,
            lane,
            state,
            store,
            sql,
            receiver,
            printed,
            sequence: 0,
            _postgres: postgres,
            _dir: dir,
        }
    }

    /// Folds one event as a batch of its own.
    async fn batch(&mut self, kind: Kind) {
        self.sequence += 1;
        let event = Event {
            version: EVENT_VERSION,
            id: EventId(Uuid::from_u128(u128::from(self.sequence))),
            at: at(self.sequence),
            lane_time: Time::from_micros(1_700_000_000_000_000),
            project: Some(project()),
            rules: "observed".into(),
            kind,
        };
        let item = Item {
            at: event.at.input,
            bytes: Bytes::from(schemas::codec::encode(&event)),
            stored_at: event.lane_time,
            of_all: false,
        };
        let prepared = self.stage.prepare(&(), &item).unwrap();
        let batch = [(item, prepared)];
        self.stage.gather(&mut self.lane, &mut self.state, &batch).await.unwrap();
        let [(item, prepared)] = batch;
        let mut out = Out::default();
        self.stage.fold(&mut self.state, item, prepared, &mut out);
        let mut transaction = self.lane.begin();
        self.stage.write(&mut transaction, &mut self.state, &mut out).await.unwrap();
        transaction.commit().await.unwrap();
    }

    async fn claim(&self) -> BTreeMap<String, Job> {
        let room = Room::default();
        let jobs = self.store.claim(Queue::Send, 10, LEASE, &room, &[]).await.unwrap();
        jobs.into_iter().map(|job| (job.target.clone(), job)).collect()
    }

    async fn told(&mut self) -> i64 {
        sqlx::query_scalar("select count(*) from sent where refused_at is null")
            .fetch_one(&mut self.sql)
            .await
            .unwrap()
    }

    /// What is left when a worker dies between the receiver's answer and its note.
    async fn forget_deliveries(&mut self) {
        sqlx::query("update sent set delivered_at = null").execute(&mut self.sql).await.unwrap();
    }

    /// Performs `job` under another claim, and checks how it ends and how often it counts as told
    /// then.
    async fn check(&mut self, job: &Job, expect: Expect, told: i64) {
        let job = &Job { claim: runtime::random_uuid(), ..job.clone() };
        let performed = self.work.perform(job).await.unwrap();
        let (Performed::Finish { untold, .. } | Performed::Retry { untold, .. }) = &performed;
        if let Some(untold) = untold {
            self.store.retract(job, untold).await.unwrap();
        }
        match (&performed, &expect) {
            (Performed::Finish { result, end, .. }, Expect::Finish(want, want_end)) => {
                let got: SendResult = schemas::codec::decode("send result", result).unwrap();
                assert_eq!((&got, end), (want, want_end));
                let Ok(Some(Body::Outcome(outcome))) = self.work.record(job, result) else {
                    panic!("no outcome of {performed:?}");
                };
                assert_eq!((outcome.job, &outcome.result), (job.id, want));
            }
            (
                Performed::Retry { after, reason, pause_target, .. },
                Expect::Retry(at_least, want, pauses),
            ) => {
                assert!(after >= at_least, "{after:?}");
                assert_eq!((reason.as_str(), pause_target), (*want, pauses));
            }
            _ => panic!("{performed:?}, not {expect:?}"),
        }
        assert_eq!(self.told().await, told, "after {expect:?}");
    }
}

#[derive(Debug)]
enum Expect {
    Finish(SendResult, End),
    /// After at least this long, for this reason, with or without the target's pause.
    Retry(Duration, &'static str, bool),
}

impl Expect {
    fn delivered() -> Self {
        Self::Finish(SendResult::Delivered(None), End::Done)
    }
}

fn channels(receiver: &Receiver) -> Arc<Channels> {
    let hook = serde_json::json!({
        "kind": "webhook",
        "url": receiver.url,
        "secret": receiver.secret,
        "allow_private": true,
        "timeout_ms": 500,
    });
    let configs: BTreeMap<String, ChannelConfig> = BTreeMap::from([
        ("hook".to_owned(), serde_json::from_value(hook).unwrap()),
        ("screen".to_owned(), serde_json::from_str(r#"{"kind": "log"}"#).unwrap()),
    ]);
    Arc::new(Channels::new(&configs).unwrap())
}

fn project() -> ProjectId {
    ProjectId::new("shop").unwrap()
}

fn at(sequence: u64) -> Position {
    InputPosition { incarnation: 7, sequence, record: 0 }.alert(0)
}

fn incident() -> IncidentId {
    IncidentId(Uuid::from_u128(77))
}

fn fingerprint() -> Fingerprint {
    Fingerprint(Uuid::from_u128(9))
}

fn facts() -> Facts {
    Facts {
        level: Some(Level::Error),
        culprit: Some("cart.total".into()),
        sender_project: Some("checkout".into()),
        ..Facts::new("sentry", SourceId::new("main").unwrap(), "boom", Status::Firing)
    }
}

fn opened() -> Kind {
    Kind::Opened(Box::new(Opened {
        incident: incident(),
        fingerprint: fingerprint(),
        cause: Cause::New,
        episode: 1,
        risk: Risk::High,
        facts: facts(),
        rule: None,
        frequency: None,
        raised_by: None,
        flapping: None,
        channel: None,
    }))
}

fn resolved() -> Kind {
    Kind::Resolved(Box::new(Resolved {
        incident: incident(),
        fingerprint: fingerprint(),
        opening: at(1),
        occurrences: 1,
        facts: Facts { status: Status::Resolved, ..facts() },
        flapping: None,
    }))
}

fn answer() -> AnswerResult {
    AnswerResult {
        analysis: Some(Analysis {
            root_cause: "a price is missing".into(),
            impact: "carts".into(),
            fix_suggestion: "check for it".into(),
            prevention: "a test".into(),
            confidence: 0.875,
            analyzed_by: "playbook".into(),
            model: None,
            ..Analysis::default()
        }),
        attempts: vec![("playbook".into(), "answered".into())],
        latency_ms: 1,
        ..AnswerResult::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_first_message_waits_for_its_analysis_and_carries_it_with_the_number() {
    let mut desk = Desk::open(Some(Duration::from_secs(3_600))).await;
    desk.batch(opened()).await;
    assert!(desk.claim().await.is_empty(), "held back");

    // Given the number, and an answer that stands in its job row.
    sqlx::query(
        "insert into incident_number (project, day, number, incident, opening)
         values ('shop', '20260102', 7, $1, '7-1-0-0')",
    )
    .bind(incident().0)
    .execute(&mut desk.sql)
    .await
    .unwrap();
    sqlx::query(
        "insert into job (generation, id, queue, lane, project, incident, state, trigger, payload,
                          result, result_end)
         values (1, $1, 'triage', 2, 'shop', $2, 'claimed', '7-1-0-0', '', $3, 'done')",
    )
    .bind(Uuid::from_u128(3))
    .bind(incident().0)
    .bind(schemas::codec::encode(&answer()))
    .execute(&mut desk.sql)
    .await
    .unwrap();

    // When the answer takes effect, then both channels may go at once.
    desk.batch(Kind::Answered(Box::new(Answered {
        incident: incident(),
        opening: at(1),
        job: JobId(Uuid::from_u128(3)),
        reason: "open".into(),
        prompt: "p".into(),
        result: answer(),
        fingerprint: None,
    })))
    .await;
    let jobs = desk.claim().await;
    assert_eq!(jobs.keys().collect::<Vec<_>>(), ["hook", "screen"]);
    desk.check(&jobs["hook"], Expect::delivered(), 1).await;
    desk.check(&jobs["screen"], Expect::delivered(), 2).await;

    let seen = desk.receiver.seen();
    assert_eq!((seen.accepted.len(), seen.repeated()), (1, 0), "{seen:?}");
    let (key, body) = &seen.accepted[0];
    assert_eq!(*key, jobs["hook"].id.to_string());
    assert_eq!(body["type"], "incident.fire");
    assert_eq!(body["data"]["number"], NUMBER);
    assert_eq!(body["data"]["analysis"]["root_cause"], "a price is missing");
    let printed = desk.printed.lock().unwrap().join("\n");
    assert_eq!(body["data"]["text"], printed);
    assert!(printed.contains("🧠 playbook 分析 (信心: 88%):\n「a price is missing」"), "{printed}");
    assert!(printed.ends_with(&format!("🆔 Approval: {NUMBER}")), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_a_repeat_keeps_its_key_and_another_generation_tells_nothing() {
    let mut desk = Desk::open(None).await;
    desk.batch(opened()).await;
    let job = desk.claim().await.remove("hook").unwrap();
    desk.check(&job, Expect::delivered(), 1).await;

    // The worker died before the result was kept: what is noted is not asked again.
    desk.check(&job, Expect::delivered(), 1).await;
    assert_eq!(desk.receiver.seen().requests, 1);

    // It died before that was noted as well: the receiver knows the repeat by its key.
    desk.forget_deliveries().await;
    desk.check(&job, Expect::delivered(), 1).await;
    let seen = desk.receiver.seen();
    assert_eq!((seen.accepted.len(), seen.repeated()), (1, 1), "{seen:?}");

    // I6: the same send of another generation was told already.
    let other = Job { generation: schemas::Generation(2), ..job };
    desk.check(&other, Expect::Finish(SendResult::AlreadyTold, End::Done), 1).await;
    assert_eq!(desk.receiver.seen().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_each_way_of_failing_ends_as_it_should() {
    let mut desk = Desk::open(None).await;
    desk.batch(opened()).await;
    let job = desk.claim().await.remove("hook").unwrap();
    let refused = |reason: &str| Expect::Finish(SendResult::Refused(reason.into()), End::Parked);
    let seconds = Duration::from_secs;
    let some = Duration::from_millis(500);

    // Definite refusals leave nothing behind: nobody was told.
    for (fault, expect) in [
        (Fault::TooMany { retry_after: 7 }, Expect::Retry(seconds(7), "status 429", true)),
        (Fault::Status(503), Expect::Retry(some, "status 503", true)),
        (Fault::Status(500), Expect::Retry(some, "status 500", false)),
        (
            Fault::OkWithError,
            Expect::Retry(some, "status 200, but the body reports an error", false),
        ),
        (Fault::Status(410), refused("status 410")),
        (Fault::Status(400), refused("status 400")),
    ] {
        desk.receiver.fail_next([fault]);
        desk.check(&job, expect, 0).await;
    }
    let last = Job { attempts: 3, ..job.clone() };
    desk.receiver.fail_next([Fault::Status(500)]);
    desk.check(&last, refused("given up after 3 attempts: status 500"), 0).await;

    // No answer: it may have been taken, so it stays noted, and the repeat is known as such.
    desk.receiver.fail_next([Fault::Hang(seconds(60))]);
    desk.check(&job, Expect::Retry(some, "timeout", false), 1).await;
    desk.check(&job, Expect::delivered(), 1).await;
    let seen = desk.receiver.seen();
    assert_eq!((seen.accepted.len(), seen.repeated()), (1, 1), "{seen:?}");

    // Another notifier may know the channel: this one's configuration may be the older.
    let reason = "channel gone is not configured where it was to be sent";
    let gone = Job { target: "gone".into(), ..job };
    desk.check(&gone, Expect::Retry(some, reason, false), 1).await;
    desk.check(&Job { attempts: 3, ..gone }, refused(reason), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_a_resolve_follows_its_fire_after_a_restart() {
    let mut desk = Desk::open(None).await;
    desk.batch(opened()).await;
    // A new owner knows from the table what was planned.
    desk.state = desk.stage.load(&mut desk.lane, LANE).await.unwrap();
    desk.batch(resolved()).await;

    // The resolve waits until the fire is over.
    let fire = desk.claim().await.remove("hook").unwrap();
    assert!(desk.claim().await.is_empty());
    desk.check(&fire, Expect::delivered(), 1).await;
    assert!(desk.store.settle(&fire, End::Done, None).await.unwrap());
    let resolve = desk.claim().await.remove("hook").unwrap();
    desk.check(&resolve, Expect::delivered(), 2).await;
    let types: Vec<_> =
        desk.receiver.seen().accepted.into_iter().map(|(_, body)| body["type"].clone()).collect();
    assert_eq!(types, ["incident.fire", "incident.resolve"]);
}
