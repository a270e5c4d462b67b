//! A console over a database that the project stage fills.

use std::{collections::BTreeMap, num::NonZeroU16, sync::Arc, time::Duration};

use console::{Config, Deps, KeyHash, Operator, Projects, Role};
use eventlog::{Appender, AppenderConfig, MemoryLog};
use lanes::{Item, Out, Stage};
use projector::ProjectStage;
use runtime::{Clock, Controller, Health, Shutdown};
use schemas::{
    Alert, Event, EventId, Facts, Fingerprint, IncidentId, InputPosition, JobId, Lane, Namespace,
    Outcome, ProducerId, ProjectId, RecordId, SourceId, Status, Time,
    alert::{Content, LogCorrelation, Risk, SourceRefs, Stage as AlertStage},
    codec,
    event::{Answered, Cause, EVENT_VERSION, Effect, Kind, Observed, Opened, Settled},
    id,
    job::{Analysis, AnswerResult},
};
use serde_json::Value;
use servers::PostgresServer;
use sqlx::{Connection, PgConnection};
use store::Store;
use tempfile::TempDir;
use tests::GENERATION;
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

/// Sees everything.
pub const ANN: &str = "key-of-ann";
/// Sees project `search` only.
pub const BEN: &str = "key-of-ben";

/// The clock of the console: 2025-11-21T00:00:00Z.
pub const NOW: i64 = 1_763_683_200_000_000;

pub struct Desk {
    pub store: Store,
    url: String,
    database: String,
    http: reqwest::Client,
    controller: Controller,
    served: JoinHandle<()>,
    _postgres: PostgresServer,
    // Last: the folder must outlive the server in it.
    _dir: TempDir,
}

impl Desk {
    pub async fn start() -> Self {
        let dir = tests::temp_dir();
        let postgres = tests::postgres(&dir);
        let database = tests::database(&postgres, "bellwether").await;
        let store = Store::connect(&database, 4, Duration::from_secs(10)).await.unwrap();
        let operator = |key: &str, projects: &[&str]| Operator {
            key_sha256: KeyHash::of(key),
            role: Role::Viewer,
            projects: Projects::try_from(
                projects.iter().map(ToString::to_string).collect::<Vec<_>>(),
            )
            .unwrap(),
        };
        let config = Config {
            default_project: project("payments"),
            operators: BTreeMap::from([
                ("ann".to_owned(), operator(ANN, &["*"])),
                ("ben".to_owned(), operator(BEN, &["search"])),
            ]),
            ..Config::default()
        };
        // Nobody folds this log; what is projected the tests say.
        let log = Arc::new(MemoryLog::new(Namespace::default(), NonZeroU16::MIN));
        let (appender, driver) = Appender::start(
            log,
            AppenderConfig {
                producer: ProducerId(runtime::random_uuid()),
                lanes: NonZeroU16::MIN,
                budget: Duration::from_millis(900),
                max_queued_bytes: 1 << 20,
            },
        );
        tokio::spawn(driver);
        let deps = Deps {
            store: store.clone(),
            appender,
            lanes: NonZeroU16::MIN,
            clock: Clock::fixed(Time::from_micros(NOW)),
            health: Health::default(),
            metrics: runtime::telemetry::metrics(),
            beside: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (shutdown, controller) = Shutdown::new();
        let served = tokio::spawn(console::run(config, deps, listener, shutdown));
        let http = reqwest::Client::new();
        Self { store, url, database, http, controller, served, _postgres: postgres, _dir: dir }
    }

    /// Where the console answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection of one's own to the tables.
    pub async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.database).await.unwrap()
    }

    /// Ends the console the way a process does.
    pub async fn stop(self) {
        self.controller.stop();
        self.served.await.unwrap();
    }

    /// Applies `events` as one batch of the project stage; `commit` or leave no trace.
    pub async fn apply(&self, events: &[Event], commit: bool) {
        let stage = ProjectStage;
        let lane = Lane(0);
        // The lock of the batch before goes when the server has ended its session.
        let mut connection = loop {
            if let Some(owned) = self.store.own_lane(stage.name(), GENERATION, lane).await.unwrap()
            {
                break owned;
            }
            tokio::task::yield_now().await;
        };
        let mut state = stage.load(&mut connection, lane).await.unwrap();
        let batch: Vec<_> = events
            .iter()
            .map(|event| {
                let item = Item {
                    at: event.at.input,
                    bytes: codec::encode(event).into(),
                    stored_at: event.lane_time,
                    of_all: false,
                };
                let prepared = stage.prepare(&(), &item).unwrap();
                (item, prepared)
            })
            .collect();
        stage.gather(&mut connection, &mut state, &batch).await.unwrap();
        let mut out = Out::default();
        for (item, prepared) in batch {
            stage.fold(&mut state, item, prepared, &mut out);
        }
        let mut transaction = connection.begin();
        stage.write(&mut transaction, &mut state, &mut out).await.unwrap();
        if commit {
            transaction.commit().await.unwrap();
        } else {
            transaction.roll_back().await.unwrap();
        }
        connection.release().await;
    }

    /// Status and body of a request with `key`.
    pub async fn get(&self, key: &str, path: &str) -> (u16, Value) {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(key);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let problem = kind == "application/problem+json";
        assert_eq!(problem, status >= 400, "{path}: {status} as {kind}");
        (status, response.json().await.unwrap())
    }

    /// The body of a request that succeeds.
    pub async fn ok(&self, key: &str, path: &str) -> Value {
        let (status, body) = self.get(key, path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// A request without any key.
    pub async fn without_key(&self, path: &str) -> u16 {
        self.http.get(format!("{}{path}", self.url)).send().await.unwrap().status().as_u16()
    }
}

pub fn project(id: &str) -> ProjectId {
    ProjectId::new(id).unwrap()
}

/// One alert, as the fold of observe would have seen it.
#[derive(Clone)]
pub struct Sample {
    pub n: u64,
    pub project: &'static str,
    pub provider: &'static str,
    pub stage: AlertStage,
    pub effect: Effect,
    /// Which recurrence key, and with `incident` which incident.
    pub group: u128,
    pub incident: bool,
    pub refs: [usize; 3],
    pub replaced: u32,
}

impl Sample {
    pub fn at(&self) -> InputPosition {
        InputPosition {
            incarnation: 1_763_000_000,
            sequence: self.n / 4 + 1,
            record: self.n as u32 % 4,
        }
    }

    /// One sample an hour from 40 days ago, so that a run of them crosses lane days and the floor of
    /// the log.
    pub fn time(&self) -> Time {
        Time::from_micros(NOW - 40 * 86_400_000_000).plus_seconds(self.n as i64 * 3600)
    }

    pub fn record(&self) -> RecordId {
        let millis = (self.time().micros() / 1000) as u64;
        RecordId(uuid::Builder::from_unix_timestamp_millis(millis, &[self.n as u8; 10]).into_uuid())
    }

    pub fn key(&self) -> Fingerprint {
        Fingerprint(id::hash(&[
            self.project.as_bytes(),
            self.provider.as_bytes(),
            &self.group.to_be_bytes(),
        ]))
    }

    pub fn incident_id(&self) -> IncidentId {
        IncidentId(id::derive(self.key().0, "incident", 0))
    }

    pub fn provider_event_id(&self) -> String {
        format!("{}-{:04}", self.provider, self.n)
    }

    pub fn facts(&self) -> Facts {
        Facts {
            severity_raw: Some("error".into()),
            alertname: Some(format!("name-{}", self.group)),
            culprit: Some("app.score".into()),
            namespace: Some("shop".into()),
            target: Some("cart".into()),
            url: Some("https://example.test/1".into()),
            count: Some(3),
            labels: vec![("team".into(), "a".into())],
            ..Facts::new(
                self.provider,
                SourceId::new("front").unwrap(),
                format!("ValueError {}", self.group),
                Status::Firing,
            )
        }
    }

    pub fn event(&self, kind: Kind) -> Event {
        let at = self.at().alert(0);
        let id = EventId(id::hash(&[at.to_string().as_bytes(), kind.word().as_bytes()]));
        Event {
            version: EVENT_VERSION,
            id,
            at,
            lane_time: self.time(),
            project: Some(project(self.project)),
            rules: "0123456789abcdef".into(),
            kind,
        }
    }

    pub fn observed(&self) -> Event {
        let refs = |kind: &str, count| (0..count).map(|i| format!("{kind}-{i}")).collect();
        let [sentry, signoz, alert] = self.refs;
        self.event(Kind::Observed(Box::new(Observed {
            alert: Alert {
                facts: self.facts(),
                stage: self.stage,
                provider_event_id: self.provider_event_id(),
                provider_ts: Some(self.time().plus_seconds(-5)),
                status_at: None,
                identity: vec![],
                occurrence: None,
                refs: SourceRefs {
                    sentry: refs("sentry", sentry),
                    signoz: refs("signoz", signoz),
                    alert: refs("alert", alert),
                },
                correlation: LogCorrelation {
                    trace_id: Some("4bf92f35".into()),
                    ..LogCorrelation::default()
                },
                content: Content {
                    text: format!("content {}", self.n),
                    preview: format!("preview {}", self.n),
                    redaction: "builtin-1".into(),
                    replaced: self.replaced,
                    truncated: false,
                },
                notes: vec![],
            },
            record: self.record(),
            received_at: self.time(),
            fingerprint: self.key(),
            fingerprint_version: 1,
            recurrence_key: self.key(),
            effect: self.effect,
            incident: self.incident.then(|| self.incident_id()),
            opening: None,
            raw_sha256: [7; 32],
            raw_length: 2048,
            channel_type: "webhook".into(),
            fingerprint_by: None,
            frequency: None,
            provider_version: None,
        })))
    }

    /// The opening of a sample's incident.
    pub fn opened(&self) -> Event {
        self.event(Kind::Opened(Box::new(Opened {
            incident: self.incident_id(),
            fingerprint: self.key(),
            cause: Cause::New,
            episode: 1,
            risk: Risk::High,
            facts: self.facts(),
            rule: None,
            frequency: None,
            raised_by: None,
            flapping: None,
            channel: None,
        })))
    }

    /// The playbook's answer to the run of its incident.
    pub fn answered(&self, job: JobId) -> Event {
        let analysis = Analysis {
            root_cause: "Redis 連線池耗盡".into(),
            impact: "結帳".into(),
            fix_suggestion: "調高 max_connections".into(),
            prevention: "監控".into(),
            confidence: 0.75,
            analyzed_by: "playbook".into(),
            model: None,
            ..Analysis::default()
        };
        self.event(Kind::Answered(Box::new(Answered {
            incident: self.incident_id(),
            opening: self.at().alert(0),
            job,
            reason: "open".into(),
            prompt: "p1".into(),
            result: AnswerResult {
                analysis: Some(analysis),
                attempts: vec![
                    ("openclaw".into(), "timeout".into()),
                    ("playbook".into(), "answered".into()),
                ],
                latency_ms: 61_000,
                ..AnswerResult::default()
            },
            fingerprint: None,
        })))
    }

    pub fn settled(&self, outcome: Outcome, reason: Option<&str>) -> Event {
        self.event(Kind::Settled(Box::new(Settled {
            record: self.record(),
            outcome,
            reason: reason.map(Into::into),
            alerts: 1,
            provider: self.provider.into(),
            source: SourceId::new("front").unwrap(),
            received_at: self.time(),
            original: None,
        })))
    }
}

/// `count` different samples, the same in every run: two projects, three providers, a few groups.
pub fn samples(count: u64) -> Vec<Sample> {
    let effects = [Effect::Opened, Effect::Repeated, Effect::Redelivered, Effect::Resolved];
    (0..count)
        .map(|n| {
            let draw = id::derive(Uuid::nil(), "sample", n).into_bytes();
            let pick = |i: usize, of: usize| usize::from(draw[i]) % of;
            let stage = match draw[0] % 10 {
                0 => AlertStage::Heartbeat,
                1 => AlertStage::Test,
                2 | 3 => AlertStage::Resolved,
                _ => AlertStage::Received,
            };
            let group = pick(3, 5) as u128;
            Sample {
                n,
                project: ["payments", "payments", "search"][pick(1, 3)],
                provider: ["sentry", "alertmanager", "signoz"][pick(2, 3)],
                stage,
                effect: if stage.is_real() { effects[pick(4, 4)] } else { Effect::RecordedOnly },
                group,
                // Groups 0 to 2 have an incident.
                incident: stage.is_real() && group < 3,
                refs: [pick(5, 3), pick(9, 2), pick(10, 2)],
                replaced: pick(11, 2) as u32,
            }
        })
        .collect()
}
