//! What requests are let in by what the log says.

use std::{
    collections::BTreeMap,
    num::NonZeroU16,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use eventlog::{
    Ack, Appender, AppenderConfig, Error, Log, MemoryLog, Message, Messages, Publish, PublishError,
    Read, StreamInfo, topology::StreamSpec,
};
use futures_util::future::BoxFuture;
use runtime::{Clock, Environment, Health, Shutdown};
use schemas::{
    LaneKey, Namespace, ProducerId, ProjectId, Record, Time,
    record::{Body as RecordBody, Control, KeyChange, KeyEvent, KeyScope, SourceSwitch},
    subject::Class,
};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::{CopyFile, Follower, Known, read};
use crate::{Config, Discard, SourceConfig, Sources, gate::Gate, router};

const CONFIG: &str = r#"
    [sentry]
    secret = "of-sentry"
    [prometheus]
    provider = "alertmanager"
    project = "payments"
    basic = { user = "am", password = "p" }
    [bare]
    provider = "alertmanager"
    project = "payments"
    [scripts]
    provider = "custom"
    project = "payments"
    senders = ["*"]
"#;

const START: Time = Time::from_micros(1_800_000_000_000_000);

/// A log whose answers can be withheld.
#[derive(Clone)]
struct Away {
    log: MemoryLog,
    away: Arc<AtomicBool>,
}

impl Away {
    fn check(&self) -> Result<(), Error> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(Error::Read { stream: "x".into(), reason: "it is away".into() }),
            false => Ok(()),
        }
    }
}

impl Log for Away {
    fn namespace(&self) -> &Namespace {
        self.log.namespace()
    }

    fn publish(&self, message: Publish) -> BoxFuture<'_, Result<Ack, PublishError>> {
        self.log.publish(message)
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Messages, Error>> {
        Box::pin(async move {
            self.check()?;
            self.log.read(read).await
        })
    }

    fn last<'a>(
        &'a self,
        stream: &'a str,
        filter: &'a str,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>> {
        Box::pin(async move {
            self.check()?;
            self.log.last(stream, filter).await
        })
    }

    fn get<'a>(
        &'a self,
        stream: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>> {
        self.log.get(stream, sequence)
    }

    fn info<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamInfo, Error>> {
        Box::pin(async move {
            self.check()?;
            self.log.info(stream).await
        })
    }

    fn purge<'a>(
        &'a self,
        stream: &'a str,
        filter: &'a str,
        below: u64,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        self.log.purge(stream, filter, below)
    }

    fn ensure<'a>(&'a self, topology: &'a [StreamSpec]) -> BoxFuture<'a, Result<(), Error>> {
        self.log.ensure(topology)
    }
}

/// A log, and an ingest that follows it.
struct World {
    log: Away,
    appender: Appender,
    folder: PathBuf,
}

/// One ingest that follows the log of a world.
struct Ingest {
    app: axum::Router,
    health: Health,
    stop: runtime::Controller,
    task: tokio::task::JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        let log = MemoryLog::new(Namespace::default(), NonZeroU16::MIN);
        let config = AppenderConfig {
            producer: ProducerId(runtime::random_uuid()),
            lanes: NonZeroU16::MIN,
            budget: Duration::from_secs(5),
            max_queued_bytes: 1 << 20,
        };
        let (appender, driver) = Appender::start(Arc::new(log.clone()), config);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(driver);
        let folder = std::env::temp_dir().join(format!("bellwether-{}", runtime::random_uuid()));
        Self { log: Away { log, away: Arc::default() }, appender, folder }
    }

    fn away(&self, is_away: bool) {
        self.log.away.store(is_away, Ordering::SeqCst);
    }

    /// Starts an ingest whose clock stands still at `now`.
    fn ingest(&self, now: Time) -> Ingest {
        self.ingest_in(Environment::Production, now)
    }

    fn ingest_in(&self, environment: Environment, now: Time) -> Ingest {
        // Meters belong to the recorder there is when they are made.
        runtime::telemetry::metrics();
        let configured: BTreeMap<String, SourceConfig> = toml_of(CONFIG);
        let config = Config::default();
        let sources = Sources::build(&config, &configured, &environment, NonZeroU16::MIN);
        let sources = Arc::new(sources.unwrap());
        let (health, clock) = (Health::default(), Clock::fixed(now));
        let app = router(&config, Arc::clone(&sources), Discard, clock.clone());
        let (shutdown, stop) = Shutdown::new();
        let (log, copy) = (Arc::new(self.log.clone()), CopyFile::in_folder(&self.folder));
        let follower = Follower::begin(log, sources.clone(), Some(copy), clock, health.clone());
        sources.announce(&health);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let task = tokio::spawn(follower.follow(shutdown));
        Ingest { app, health, stop, task }
    }

    async fn append(&self, seconds: i64, control: Control) {
        let body = RecordBody::Control(Box::new(control));
        let id = runtime::record_id(&Clock::fixed(START));
        let record = Record::new(id, START.plus_seconds(seconds), None, body);
        self.appender.append(LaneKey::All, Class::Control, record).await.unwrap();
    }

    /// Makes a key whose text is its id.
    async fn create(&self, seconds: i64, id: &str, scope: KeyScope, previous_until: i64) {
        let event = KeyEvent::Created {
            sha256: Sha256::digest(id).into(),
            previous_until: START.plus_seconds(previous_until),
        };
        self.key(seconds, id, scope, event).await;
    }

    async fn revoke(&self, seconds: i64, id: &str) {
        self.key(seconds, id, source("prometheus"), KeyEvent::Revoked).await;
    }

    async fn key(&self, seconds: i64, id: &str, scope: KeyScope, event: KeyEvent) {
        let (id, operator) = (id.to_owned(), "ada".to_owned());
        self.append(seconds, Control::Key(KeyChange { id, scope, event, operator })).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that never wrote one has none.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Ingest {
    async fn post(&self, path: &str, authorization: &str) -> StatusCode {
        let mut request = Request::post(path).body(Body::from("{}")).unwrap();
        if !authorization.is_empty() {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        self.app.clone().oneshot(request).await.unwrap().status()
    }

    /// Waits until a request is answered so.
    async fn until(&self, path: &str, authorization: &str, wanted: StatusCode) {
        let answered = async {
            while self.post(path, authorization).await != wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), answered).await.is_err() {
            panic!("{path} {authorization}: {}", self.post(path, authorization).await);
        }
    }

    /// Waits until the health says this of the keys; empty: nothing to say.
    async fn says(&self, words: &str) {
        let told = async {
            loop {
                let report = self.health.report();
                let reason = report.parts.get("keys").map(|p| p.reason.clone().unwrap_or_default());
                match reason {
                    Some(reason) if words.is_empty() && reason.is_empty() => return,
                    Some(reason) if !words.is_empty() && reason.contains(words) => return,
                    _ => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), told).await.is_err() {
            panic!("{words:?} is not said: {:?}", self.health.report());
        }
    }

    async fn stop(self) {
        self.stop.stop();
        self.task.await.unwrap();
    }
}

fn sources(configured: &BTreeMap<String, SourceConfig>) -> Sources {
    let (config, environment) = (Config::default(), Environment::Production);
    Sources::build(&config, configured, &environment, NonZeroU16::MIN).unwrap()
}

fn toml_of<T: serde::de::DeserializeOwned>(text: &str) -> T {
    // The reader of the configuration itself, with a file.
    let file = std::env::temp_dir().join(format!("bellwether-{}.toml", runtime::random_uuid()));
    std::fs::write(&file, text).unwrap();
    let read = runtime::config::load(Some(Path::new(&file)), &[]);
    std::fs::remove_file(&file).unwrap();
    read.unwrap()
}

fn source(id: &str) -> KeyScope {
    KeyScope::Source(schemas::SourceId::new(id).unwrap())
}

fn project(id: &str) -> KeyScope {
    KeyScope::Project(ProjectId::new(id).unwrap())
}

const PROMETHEUS: &str = "/webhook/alertmanager/prometheus";
const BARE: &str = "/webhook/alertmanager/bare";
const ACCEPTED: StatusCode = StatusCode::ACCEPTED;
const REFUSED: StatusCode = StatusCode::UNAUTHORIZED;
const AWAY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

#[tokio::test]
async fn r11_a_key_lets_in_to_its_source_until_it_is_revoked() {
    let world = World::new();
    let ingest = world.ingest(START);
    ingest.says("").await;
    assert_eq!(ingest.post(PROMETHEUS, "Bearer k1").await, REFUSED);
    world.create(0, "k1", source("prometheus"), 0).await;
    ingest.until(PROMETHEUS, "Bearer k1", ACCEPTED).await;
    assert_eq!(ingest.post(PROMETHEUS, "Bearer k2").await, REFUSED);
    assert_eq!(ingest.post(PROMETHEUS, "Basic YW06cA==").await, ACCEPTED, "as configured");
    assert_eq!(ingest.post("/webhook/custom/scripts", "Bearer k1").await, AWAY, "not its source");
    world.revoke(1, "k1").await;
    ingest.until(PROMETHEUS, "Bearer k1", REFUSED).await;
    assert_eq!(ingest.post(PROMETHEUS, "Basic YW06cA==").await, ACCEPTED);
    let text = runtime::telemetry::metrics().render();
    let used = "bellwether_ingest_credential_used_timestamp_seconds";
    let line = format!("{used}{{source=\"prometheus\",credential=\"k1\"}} 1800000000");
    assert!(text.contains(&line), "{text}");
    ingest.stop().await;
}

#[tokio::test]
async fn r3_r11_a_source_without_configured_credentials_opens_to_a_key_alone() {
    let world = World::new();
    let ingest = world.ingest(START);
    ingest.says("").await;
    assert_eq!(ingest.post(BARE, "Bearer k1").await, AWAY, "fail closed");
    world.create(0, "k1", project("payments"), 0).await;
    ingest.until(BARE, "Bearer k1", ACCEPTED).await;
    assert_eq!(ingest.post("/webhook/custom/scripts", "Bearer k1").await, ACCEPTED);
    assert_eq!(ingest.post("/webhook/sentry", "Bearer k1").await, REFUSED, "another project");
    assert_eq!(ingest.post(BARE, "").await, REFUSED);
    world.revoke(1, "k1").await;
    ingest.until(BARE, "Bearer k1", REFUSED).await;
    ingest.stop().await;
}

#[tokio::test]
async fn r11_two_keys_hold_while_the_sender_changes_over_and_no_longer() {
    let world = World::new();
    world.create(0, "k1", source("bare"), 0).await;
    world.create(10, "k2", source("bare"), 60).await;
    for (second, k1) in [(59, ACCEPTED), (60, REFUSED)] {
        let ingest = world.ingest(START.plus_seconds(second));
        ingest.until(BARE, "Bearer k2", ACCEPTED).await;
        assert_eq!(ingest.post(BARE, "Bearer k1").await, k1, "at {second}");
        ingest.stop().await;
    }
}

/// A key ends by the clock, without any record that says so.
#[test]
fn r11_a_key_ends_by_the_time_of_the_request() {
    let sources = sources(&toml_of(CONFIG));
    let mut held = super::Held::default();
    for (at, id, until) in [(0, "k1", 0), (10, "k2", 60)] {
        let event = KeyEvent::Created {
            sha256: Sha256::digest(id).into(),
            previous_until: START.plus_seconds(until),
        };
        let (id, operator) = (id.to_owned(), "ada".to_owned());
        let change = KeyChange { id, scope: source("bare"), event, operator };
        held.apply(START.plus_seconds(at), &Control::Key(change));
    }
    let bare = sources.iter().find(|source| source.id.as_str() == "bare").unwrap();
    bare.issue(super::issued(&held, bare));
    let headers = [("authorization".to_owned(), "Bearer k1".to_owned())];
    for (second, accepted) in [(11, true), (59, true), (60, false), (61, false)] {
        let received_at = START.plus_seconds(second);
        let request =
            domain::providers::Request { received_at, headers: &headers, ..Default::default() };
        let Gate::Verify(shown) = bare.gate(received_at) else { panic!("no key is asked for") };
        let verdict = shown.verify(bare.provider, bare.require, &request);
        assert_eq!(verdict.is_ok(), accepted, "at {second}");
    }
}

#[tokio::test]
async fn a_source_that_is_switched_off_is_as_if_it_were_not_there() {
    let world = World::new();
    let switch = |on| {
        let source = schemas::SourceId::new("prometheus").unwrap();
        Control::SourceSwitch(SourceSwitch { source, on, operator: "ada".into() })
    };
    let ingest = world.ingest(START);
    ingest.until(PROMETHEUS, "Basic YW06cA==", ACCEPTED).await;
    world.append(0, switch(false)).await;
    ingest.until(PROMETHEUS, "Basic YW06cA==", StatusCode::NOT_FOUND).await;
    assert_eq!(ingest.post("/webhook/alertmanager/nobody", "").await, StatusCode::NOT_FOUND);
    world.append(1, switch(true)).await;
    ingest.until(PROMETHEUS, "Basic YW06cA==", ACCEPTED).await;
    ingest.stop().await;
}

#[tokio::test]
async fn r11_without_the_log_a_start_goes_by_the_last_copy_and_says_so() {
    let world = World::new();
    world.create(0, "k1", source("bare"), 0).await;
    world.create(0, "k2", source("prometheus"), 0).await;
    // Nothing to go by: whoever shows a key is told to come again.
    world.away(true);
    let ingest = world.ingest(START);
    ingest.says("no key made by `bellwether keys` is known").await;
    assert_eq!(ingest.post(PROMETHEUS, "Bearer k2").await, AWAY);
    assert_eq!(ingest.post(PROMETHEUS, "Basic YW06cA==").await, ACCEPTED);
    assert_eq!(ingest.post(PROMETHEUS, "").await, REFUSED);
    world.away(false);
    ingest.until(PROMETHEUS, "Bearer k2", ACCEPTED).await;
    ingest.says("").await;
    ingest.stop().await;

    world.away(true);
    let ingest = world.ingest(START);
    ingest.until(PROMETHEUS, "Bearer k2", ACCEPTED).await;
    ingest.until(BARE, "Bearer k1", ACCEPTED).await;
    ingest.says("keys and switches are those of").await;
    assert_eq!(ingest.post(BARE, "Bearer k2").await, REFUSED);
    // What was appended meanwhile holds as soon as the log is there.
    world.revoke(1, "k1").await;
    world.away(false);
    ingest.until(BARE, "Bearer k1", REFUSED).await;
    ingest.says("").await;
    assert_eq!(ingest.post(PROMETHEUS, "Bearer k2").await, ACCEPTED);
    ingest.stop().await;
}

/// A source that was given a key is not open in development either, not even until the key is read.
#[tokio::test]
async fn r3_r11_in_development_nobody_is_let_in_before_the_keys_were_read() {
    let world = World::new();
    world.create(0, "k1", source("bare"), 0).await;
    world.away(true);
    let development = || Environment::Development("development".to_owned());
    let ingest = world.ingest_in(development(), START);
    let state = |ingest: &Ingest, part: &str| ingest.health.report().parts[part].state;
    for path in [BARE, "/webhook/custom/scripts"] {
        assert_eq!(ingest.post(path, "").await, AWAY, "{path}");
        assert_eq!(ingest.post(path, "Bearer k1").await, AWAY, "{path}");
    }
    assert_eq!(ingest.post(PROMETHEUS, "Basic YW06cA==").await, ACCEPTED, "as configured");
    assert_eq!(state(&ingest, "source bare"), runtime::health::State::NotReady);
    world.away(false);
    ingest.until(BARE, "Bearer k1", ACCEPTED).await;
    assert_eq!(ingest.post(BARE, "").await, REFUSED);
    // One without a key is open, as development has it.
    assert_eq!(ingest.post("/webhook/custom/scripts", "").await, ACCEPTED);
    ingest.says("").await;
    assert_eq!(state(&ingest, "source bare"), runtime::health::State::Ready);
    assert_eq!(state(&ingest, "source scripts"), runtime::health::State::Degraded);
    ingest.stop().await;
    // By the copy it is known from the start.
    world.away(true);
    let ingest = world.ingest_in(development(), START);
    assert_eq!(ingest.post(BARE, "").await, REFUSED);
    assert_eq!(ingest.post("/webhook/custom/scripts", "").await, ACCEPTED);
    ingest.stop().await;
}

#[tokio::test]
async fn the_copy_of_another_log_is_not_believed_once_the_log_is_there() {
    let world = World::new();
    let other = World::new();
    other.create(0, "k1", source("bare"), 0).await;
    let held = read(&other.log, START).await.unwrap().held;
    for (incarnation, sequence) in [(1, 1), (1_735_689_600, 99)] {
        let mut known = Known::nothing(incarnation, START);
        (known.sequence, known.held) = (sequence, held.clone());
        CopyFile::in_folder(&world.folder).write(&known, None).unwrap();
        let ingest = world.ingest(START);
        ingest.says("").await;
        assert_eq!(ingest.post(BARE, "Bearer k1").await, AWAY);
        ingest.stop().await;
        let copy = CopyFile::in_folder(&world.folder).read().unwrap().unwrap();
        assert_eq!((copy.sequence, copy.held.keys().len()), (0, 0));
    }
    // Nor one that is none.
    std::fs::write(world.folder.join("keys.json"), "{").unwrap();
    let ingest = world.ingest(START);
    ingest.says("").await;
    ingest.stop().await;
}

#[tokio::test]
async fn r11_a_log_that_goes_away_is_said_and_nobody_is_shut_out() {
    let world = World::new();
    world.create(0, "k1", source("bare"), 0).await;
    let ingest = world.ingest(START);
    ingest.until(BARE, "Bearer k1", ACCEPTED).await;
    ingest.says("").await;
    world.away(true);
    ingest.says("it is away").await;
    let part = ingest.health.report().parts["keys"].clone();
    assert_eq!(part.state, runtime::health::State::Degraded, "it goes on by what it knows");
    assert_eq!(ingest.post(BARE, "Bearer k1").await, ACCEPTED);
    world.away(false);
    ingest.says("").await;
    ingest.stop().await;
}
