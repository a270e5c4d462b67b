//! The chat channels against receivers that enforce their providers' rules: from a decision event
//! through notify and deliver to what stands in the chat, in the tables and in the log.

mod access;
mod edits;
mod email;
mod handed_on;
mod lark_app;
mod refusals;
mod robots;
mod secrets;
mod slack;
mod telling;
mod wecom_app;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use eventlog::{Appender, AppenderConfig, Log, Read};
use futures_util::StreamExt;
use lanes::{
    Item, JobLoop, JobLoopConfig, Out, Performed, Stage, Work,
    job::{Job, Queue, Room},
};
use notifier_worker::{Channels, Config, DeliverWork, NotifyStage, Sender};
use runtime::{
    Clock, Controller, Shutdown,
    http_client::{ClientConfig, Clients},
};
use schemas::{
    Event, EventId, Facts, Fingerprint, IncidentId, InputPosition, JobId, Lane, LaneKey, Position,
    ProducerId, ProjectId, Record, RecordFrame, Time,
    alert::Risk,
    event::{Cause, EVENT_VERSION, IncidentState, Kind, Opened, Resolved},
    job::{SendJob, SendKind, SendResult, Standing},
    record::{Body, SendOutcome},
    subject::{Class, deliveries, deliveries_stream},
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use store::{job::NewJob, lane::LaneConnection};
use tests::{GENERATION, World, receivers::telegram};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

const LANE: Lane = Lane(2);
const LEASE: Duration = Duration::from_secs(30);

/// No wait in these tests is longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bot's signing secret.
const SECRET: &str = "a-signing-secret-of-these-tests";

/// One lane of notify, and deliver beside it, for the configured channels.
struct Office {
    stage: NotifyStage,
    work: Arc<DeliverWork>,
    lane: LaneConnection,
    state: <NotifyStage as Stage>::State,
    log: Arc<dyn Log>,
    appender: Appender,
    sql: PgConnection,
    sequence: u64,
    /// Every channel there is.
    targets: Vec<String>,
    /// What opened each incident, by project and number.
    openings: BTreeMap<(String, u16), Position>,
    world: World,
}

impl Office {
    async fn open(channels: Value) -> Self {
        let world = World::start().await;
        let configs: BTreeMap<_, _> = serde_json::from_value(channels).unwrap();
        let channels = Arc::new(Channels::new(&configs).unwrap());
        let targets = channels.all().map(|target| target.id.clone()).collect();
        let config = Config::default();
        config.check(&channels).unwrap();
        let sender = Sender::new(
            Clients::new(&ClientConfig::default()).unwrap(),
            Clock::system(),
            Arc::new(|_| ()),
        );
        let stage = NotifyStage::new(Arc::clone(&channels), None);
        let store = world.store.clone();
        let work = DeliverWork::new(config, channels, store.clone(), sender, Clock::system());
        let mut lane = store.own_lane("notify", GENERATION, LANE).await.unwrap().unwrap();
        let state = stage.load(&mut lane, LANE).await.unwrap();
        let log = world.log().await;
        let (appender, driver) = Appender::start(
            Arc::clone(&log),
            AppenderConfig {
                producer: ProducerId(runtime::random_uuid()),
                lanes: world.lanes,
                budget: Duration::from_millis(900),
                max_queued_bytes: 1 << 20,
            },
        );
        tokio::spawn(driver);
        let sql = world.sql().await;
        let (work, openings) = (Arc::new(work), BTreeMap::new());
        let sequence = 0;
        Self { stage, work, lane, state, log, appender, sql, sequence, targets, openings, world }
    }

    /// Incident number `n` of `project` opens.
    async fn fire(&mut self, project: &str, n: u16, facts: Facts) {
        let incident = incident(project, n);
        self.number(project, n).await;
        let opened = Opened {
            incident,
            fingerprint: Fingerprint(incident.0),
            cause: Cause::New,
            episode: 1,
            risk: Risk::High,
            facts,
            rule: None,
            frequency: None,
            raised_by: None,
            flapping: None,
            channel: None,
        };
        self.batch(project, Kind::Opened(Box::new(opened))).await;
    }

    /// The incident that opens next has number `n` of `project`.
    async fn number(&mut self, project: &str, n: u16) {
        let opening = self.next_position();
        self.openings.insert((project.to_owned(), n), opening);
        sqlx::query(
            "insert into incident_number (project, day, number, incident, opening)
             values ($1, '20260102', $2, $3, $4)",
        )
        .bind(project)
        .bind(i32::from(n))
        .bind(incident(project, n).0)
        .bind(opening.to_string())
        .execute(&mut self.sql)
        .await
        .unwrap();
    }

    /// Asks for a message about number `n` of project `shop` to every channel, as notify does;
    /// `change` says what else is to stand in it.
    async fn ask(&mut self, kind: SendKind, n: u16, facts: Facts, change: impl Fn(&mut SendJob)) {
        let project = ProjectId::new("shop").unwrap();
        if !self.openings.contains_key(&("shop".to_owned(), n)) {
            self.number("shop", n).await;
        }
        let opening = self.openings[&("shop".to_owned(), n)];
        let trigger = self.next_position();
        self.sequence += 1;
        let job = |target: &String| {
            let mut send = SendJob {
                project: project.clone(),
                incident: incident("shop", n),
                subject: opening.to_string(),
                opening,
                kind,
                target: target.clone(),
                facts: facts.clone(),
                risk: Risk::High,
                rule: "everything".into(),
                rules: "0123".into(),
                planned_at: told_at(),
                frequency: None,
                cause: None,
                standing: None,
                summary: None,
                reply: None,
                tags: Vec::new(),
            };
            change(&mut send);
            NewJob {
                id: JobId::send(&project, target, kind, &send.subject, trigger),
                queue: Queue::Send,
                project: project.clone(),
                incident: send.incident,
                target: target.clone(),
                trigger,
                not_before_delay: None,
                urgent: false,
                payload: schemas::codec::encode(&send),
            }
        };
        let jobs: Vec<NewJob> = self.targets.iter().map(job).collect();
        let mut transaction = self.lane.begin();
        transaction.insert_jobs(&jobs).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Its episode is over.
    async fn resolve(&mut self, project: &str, n: u16, facts: Facts) {
        let incident = incident(project, n);
        let resolved = Resolved {
            incident,
            fingerprint: Fingerprint(incident.0),
            opening: self.openings[&(project.to_owned(), n)],
            occurrences: 1,
            facts,
            flapping: None,
        };
        self.batch(project, Kind::Resolved(Box::new(resolved))).await;
    }

    fn next_position(&self) -> Position {
        InputPosition { incarnation: 7, sequence: self.sequence + 1, record: 0 }.alert(0)
    }

    /// Folds one event as a batch of its own.
    async fn batch(&mut self, project: &str, kind: Kind) {
        let at = self.next_position();
        self.sequence += 1;
        let event = Event {
            version: EVENT_VERSION,
            id: EventId(Uuid::from_u128(u128::from(self.sequence))),
            at,
            lane_time: told_at(),
            project: Some(ProjectId::new(project).unwrap()),
            rules: "observed".into(),
            kind,
        };
        let item = Item {
            at: at.input,
            bytes: Bytes::from(schemas::codec::encode(&event)),
            stored_at: event.lane_time,
            of_all: false,
        };
        if self.lane.cursor().await.is_err() {
            // It was idle for longer than the session of an owner may be.
            let lane = self.world.store.own_lane("notify", GENERATION, LANE).await.unwrap();
            self.lane = lane.unwrap();
            self.state = self.stage.load(&mut self.lane, LANE).await.unwrap();
        }
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

    /// Delivers until it is told to stop.
    fn deliver(&self) -> (JoinHandle<()>, Controller) {
        let (shutdown, controller) = Shutdown::new();
        let job_loop = JobLoop::new(
            Arc::clone(&self.work),
            self.world.store.clone(),
            self.appender.clone(),
            Clock::system(),
            JobLoopConfig::default(),
        );
        (tokio::spawn(job_loop.run(shutdown)), controller)
    }

    /// Delivers until every job is over.
    async fn deliver_all(&mut self) {
        let (task, controller) = self.deliver();
        let over = async {
            loop {
                let left: i64 = sqlx::query_scalar(
                    "select count(*) from job where state in ('pending', 'claimed')",
                )
                .fetch_one(&mut self.sql)
                .await
                .unwrap();
                if left == 0 {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, over).await.unwrap();
        controller.stop();
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }

    /// Claims what there is, by target.
    async fn claim(&self) -> BTreeMap<String, Job> {
        let room = Room::default();
        let jobs = self.world.store.claim(Queue::Send, 10, LEASE, &room, &[]).await.unwrap();
        jobs.into_iter().map(|job| (job.target.clone(), job)).collect()
    }

    /// Performs a job as a worker does that claimed it, up to what is certain not to be told.
    async fn attempt(&self, job: &Job) -> Performed {
        let job = Job { claim: runtime::random_uuid(), ..job.clone() };
        let performed = self.work.perform(&job).await.unwrap();
        let (Performed::Finish { untold, .. } | Performed::Retry { untold, .. }) = &performed;
        if let Some(untold) = untold {
            self.world.store.retract(&job, untold).await.unwrap();
        }
        performed
    }

    /// The same, of a worker that dies before it keeps the result.
    async fn perform(&self, job: &Job) -> SendResult {
        match self.attempt(job).await {
            Performed::Finish { result, .. } => {
                schemas::codec::decode("send result", &result).unwrap()
            }
            retry @ Performed::Retry { .. } => panic!("{retry:?}"),
        }
    }

    /// State and reason of each job, by target.
    async fn jobs(&mut self) -> BTreeMap<String, (String, String)> {
        let rows: Vec<(String, String, Option<String>)> =
            sqlx::query_as("select target, state, reason from job")
                .fetch_all(&mut self.sql)
                .await
                .unwrap();
        rows.into_iter()
            .map(|(target, state, reason)| (target, (state, reason.unwrap_or_default())))
            .collect()
    }

    /// What the log says became of each send, in order.
    async fn outcomes(&self) -> Vec<SendOutcome> {
        let of = |record: Record| match record.body {
            Body::Outcome(outcome) => *outcome,
            other => panic!("{other:?} is no outcome"),
        };
        self.frames()
            .await
            .iter()
            .flat_map(|bytes| {
                let frame = RecordFrame::parse(bytes).unwrap();
                frame.records.iter().map(|b| of(Record::decode(b).unwrap())).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The lane's frames of the log as they stand there.
    async fn frames(&self) -> Vec<Bytes> {
        let stream = deliveries_stream(&self.world.namespace);
        let subject = deliveries(&self.world.namespace, LaneKey::Lane(LANE), Class::Data);
        let Some(last) = self.log.last(&stream, &subject).await.unwrap() else {
            return Vec::new();
        };
        let read = Read { stream, filters: vec![subject], from: 1 };
        let mut messages = self.log.read(read).await.unwrap();
        let mut frames = Vec::new();
        loop {
            let message = timeout(PATIENCE, messages.next()).await.unwrap().unwrap().unwrap();
            frames.push(message.payload);
            if message.sequence == last.sequence {
                return frames;
            }
        }
    }
}

fn incident(project: &str, n: u16) -> IncidentId {
    IncidentId(schemas::id::hash(&[project.as_bytes(), &n.to_be_bytes()]))
}

/// When everything here was decided.
fn told_at() -> Time {
    "2026-01-01T21:40:00Z".parse().unwrap()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/fixtures/notify")
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(fixtures().join(name)).unwrap()
}

/// The sample that the rendered fixtures of a provider are made from.
fn sample(provider: &str, kind: SendKind) -> Facts {
    let mut facts: Value =
        serde_json::from_str(&fixture(&format!("{provider}.facts.json"))).unwrap();
    serde_json::from_value(facts[kind.word()].take()).unwrap()
}

/// Who has it, or that it is over.
fn standing(state: IncidentState) -> Standing {
    Standing {
        state,
        verb: Some("ack".into()),
        actor: Some("ada".into()),
        at: told_at(),
        silenced_until: None,
        folded: 0,
        rose: None,
    }
}

fn feishu(url: &str, secret: &str) -> Value {
    json!({
        "kind": "feishu", "url": url, "secret": secret, "allow_private": true, "timeout_ms": 2_000,
    })
}

fn telegram(url: &str) -> Value {
    json!({
        "kind": "telegram", "url": url, "token": telegram::TOKEN, "chat_id": telegram::CHAT,
        "allow_private": true, "timeout_ms": 2_000,
    })
}

fn wecom(url: &str) -> Value {
    json!({
        "kind": "wecom-app", "url": url,
        "corp_id": tests::receivers::wecom_app::CORP,
        "corp_secret": tests::receivers::wecom_app::SECRET,
        "agent_id": tests::receivers::wecom_app::AGENT,
        "to_user": "ada|bob", "allow_private": true, "timeout_ms": 2_000,
    })
}

/// A channel to one of the chats of Lark's application.
fn lark(url: &str, chat: &str) -> Value {
    json!({
        "kind": "lark-app", "url": url, "app_id": tests::receivers::lark_app::APP,
        "app_secret": tests::receivers::lark_app::SECRET,
        "receive_id": format!("{}{chat}", tests::receivers::lark_app::CHATS),
        "allow_private": true, "timeout_ms": 2_000,
    })
}

/// `base` with one key set.
fn with(mut base: Value, key: &str, value: Value) -> Value {
    base[key] = value;
    base
}
