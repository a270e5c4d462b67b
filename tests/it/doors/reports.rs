//! R63: this system's own errors arrive at Sentry, with nothing of what anybody sent or may know; and
//! what comes back from its own project there ends where it comes in.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use tests::{
    fleet::{ALERTMANAGER_PASSWORD, OPERATOR_KEY, PATIENCE, SENTRY_SECRET, sign},
    receiver::Fault,
};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

use super::{Doors, EVERYTHING, WORKER, headers};

/// Stands in every body, and in no report.
const SENT: &str = "what-a-sender-sent-8113";
/// Id of the project that reports go to.
const OWN: u32 = 4242;
/// The public key of the DSN.
const KEY: &str = "a-public-key-of-the-project";

/// A Sentry that takes envelopes, as its protocol has them: a header line, then header and payload of
/// each item.
struct Sentry {
    dsn: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Every envelope as it came.
    raw: Mutex<Vec<String>>,
    /// The events in them.
    events: Mutex<Vec<Value>>,
    changed: Notify,
}

impl Sentry {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dsn = format!("http://{KEY}@{}/{OWN}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let app = Router::new().route(&format!("/api/{OWN}/envelope/"), post(take));
        let app = app.with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { dsn, shared, server }
    }

    fn events(&self) -> Vec<Value> {
        self.shared.events.lock().unwrap().clone()
    }

    /// Waits for an event that is `wanted`.
    async fn event(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let arrives = async {
            loop {
                let changed = self.shared.changed.notified();
                if let Some(event) = self.events().into_iter().find(&wanted) {
                    return event;
                }
                changed.await;
            }
        };
        let arrived = timeout(PATIENCE, arrives).await;
        arrived.unwrap_or_else(|_| panic!("no report of {what}: {:#?}", self.events()))
    }

    /// Nothing that came says any of this.
    fn says_nothing_of(&self, absent: &[&str]) {
        let raw = self.shared.raw.lock().unwrap();
        assert!(!raw.is_empty());
        for (envelope, word) in raw.iter().flat_map(|e| absent.iter().map(move |word| (e, word))) {
            assert!(!envelope.contains(word), "{word} in {envelope}");
        }
    }
}

impl Drop for Sentry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) {
    let auth = headers["x-sentry-auth"].to_str().unwrap();
    assert!(auth.contains(&format!("sentry_key={KEY}")), "{auth}");
    let text = String::from_utf8(body.to_vec()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let _: Value = serde_json::from_str(lines[0]).unwrap();
    for item in lines[1..].chunks(2) {
        let header: Value = serde_json::from_str(item[0]).unwrap();
        let payload: Value = serde_json::from_str(item[1]).unwrap();
        if header["type"] == "event" {
            shared.events.lock().unwrap().push(payload);
        }
    }
    shared.raw.lock().unwrap().push(text);
    shared.changed.notify_waiters();
}

fn section(sentry: &Sentry) -> String {
    format!("\n[sentry]\ndsn = \"{}\"\nown_projects = [\"gateway\"]\n", sentry.dsn)
}

fn is_of(role: &str) -> impl Fn(&Value) -> bool {
    move |event| event["tags"]["role"] == role
}

/// An issue of a project, as Sentry tells of it.
fn issue(project: u32, slug: &str) -> Value {
    json!({"action": "created", "data": {"issue": {
        "id": "81", "title": format!("KeyError: {SENT}"), "culprit": "cart.sum", "level": "error",
        "project": {"id": project.to_string(), "slug": slug, "name": slug},
    }}})
}

async fn deliver(doors: &Doors, resource: &str, body: &[u8]) -> uuid::Uuid {
    let signature = sign(SENTRY_SECRET, body);
    let headers =
        headers(&[("sentry-hook-resource", resource), ("sentry-hook-signature", &signature)]);
    doors.accepted("/webhook/sentry", &headers, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_a_forced_error_of_each_worker_arrives_and_nothing_of_what_was_sent() {
    let sentry = Sentry::start().await;
    let doors = Doors::open(EVERYTHING, &section(&sentry)).await;

    // A body that cannot be read is an error of observe, ...
    let broken =
        format!("{{\"data\": {{\"error\": {{\"title\": \"{SENT} password=hunter2-{SENT}\"");
    deliver(&doors, "error", broken.as_bytes()).await;
    let report = sentry.event("the body", is_of("triage-worker")).await;
    assert_eq!(report["release"], concat!("bellwether@", env!("CARGO_PKG_VERSION")));
    assert_eq!(report["environment"], "test");
    assert!(report["message"].as_str().unwrap().ends_with("_parse_failed"), "{report}");

    // ... and a receiver that refuses a message is one of deliver.
    doors.fleet.receiver.fail_by(|_| Some(Fault::Status(400)));
    deliver(&doors, "issue", issue(7, "shop").to_string().as_bytes()).await;
    let report = sentry.event("the message", is_of("notifier-worker")).await;
    assert_eq!(report["level"].as_str().unwrap_or("error"), "error");

    let receiver = &doors.fleet.receiver;
    let postgres = doors.fleet.world.database_url.clone();
    let password = postgres.split(['@', ':']).nth(2).unwrap().to_owned();
    sentry.says_nothing_of(&[
        SENT,
        "hunter2",
        SENTRY_SECRET,
        ALERTMANAGER_PASSWORD,
        OPERATOR_KEY,
        &receiver.secret,
        &receiver.url,
        &postgres,
        &password,
    ]);
    let metrics = doors.get("/metrics").await.text;
    assert!(metrics.contains("bellwether_error_reports_total{outcome=\"delivered\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_what_comes_back_from_the_own_project_makes_no_incident_and_no_report() {
    let sentry = Sentry::start().await;
    let doors = Doors::open(EVERYTHING, &section(&sentry)).await;

    let by_id = deliver(&doors, "issue", issue(OWN, "x").to_string().as_bytes()).await;
    let by_name = deliver(&doors, "issue", issue(9, "gateway").to_string().as_bytes()).await;
    let other = deliver(&doors, "issue", issue(OWN + 1, "shop").to_string().as_bytes()).await;

    assert_eq!(doors.delivery(other).await["outcome"], "observed");
    for own in [by_id, by_name] {
        let shown = doors.delivery(own).await;
        assert_eq!(
            (&shown["outcome"], &shown["reason"]),
            (&json!("recorded"), &json!("own_project"))
        );
    }
    doors.fleet.settled().await;
    let incidents: i64 = sqlx::query_scalar("select count(*) from incident")
        .fetch_one(&mut doors.fleet.world.sql().await)
        .await
        .unwrap();
    assert_eq!(incidents, 1, "of the other project alone");
    // It is all in the log, under its own name.
    assert_eq!(doors.in_log().await[&by_id].recorded.as_deref(), Some("own_project"));
    let metrics = doors.get("/metrics").await.text;
    let counted = "bellwether_ingest_requests_total{provider=\"sentry\",source=\"sentry\",\
                   outcome=\"own_project\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
    assert_eq!(sentry.events(), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_every_role_reports_what_it_ends_of() {
    let sentry = Sentry::start().await;
    let program = PathBuf::from(WORKER).with_file_name("bellwether");
    assert!(program.exists(), "{}: cargo build -p bellwether", program.display());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bellwether.toml");
    // Every listener wants an address that is taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let password = "a-password-of-postgres-5512";
    let text = format!(
        "environment = \"test\"\npostgres.url = \"postgres://u:{password}@127.0.0.1:1/b\"\n\
         ingest.listen = \"{address}\"\nconsole.listen = \"{address}\"\n\
         worker.listen = \"{address}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    for role in ["ingest", "console", "triage-worker", "notifier-worker", "projector"] {
        let output = Command::new(&program)
            .args(["run", "--role", role, "--config"])
            .arg(&file)
            .env("SENTRY_DSN", &sentry.dsn)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{role}");
        // It was sent before the process was gone.
        let event = sentry.event(role, is_of(role)).await;
        let message = event["message"].as_str().unwrap();
        assert!(message.starts_with("the process ended: listen on "), "{message}");
        assert_eq!(event["level"], "fatal");
    }
    sentry.says_nothing_of(&[password]);
}
