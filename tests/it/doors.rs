//! End to end over HTTP, with real processes: what is let in and what becomes of it, what is
//! refused, what harm a body can do, and what never leaves.

mod corpus;
mod fixtures;
mod golden;
mod outage;
mod pages;
mod paths;
mod poison;
mod printed;
mod published;
mod refusals;
mod reports;
mod secrets;
mod settings;
mod slow;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::HeaderMap;
use schemas::{
    Record, RecordFrame, Time,
    event::{EventBatch, Kind, Observed, PartHeader},
    record::{Body, Delivery},
    subject,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{GENERATION, fleet::Fleet, oracle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use uuid::Uuid;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const EVERYTHING: &str = "ingest,console,triage-worker,notifier-worker,projector";
/// How long a single answer may take.
const LONG: Duration = Duration::from_secs(30);

/// A fleet of one process, and where it answers.
struct Doors {
    fleet: Fleet,
    ingest: SocketAddr,
    console: SocketAddr,
}

/// An HTTP answer.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
    took: Duration,
}

impl Doors {
    /// One process with `roles`; `more` is added to its configuration.
    async fn open(roles: &str, more: &str) -> Self {
        Self::changed(roles, more, |text| text).await
    }

    /// The same with a changed configuration.
    async fn changed(roles: &str, more: &str, change: impl FnOnce(String) -> String) -> Self {
        let mut fleet = Fleet::new(WORKER, more).await;
        let text = std::fs::read_to_string(fleet.config()).unwrap();
        std::fs::write(fleet.config(), change(text)).unwrap();
        let member = fleet.start(roles);
        let (ingest, console) =
            (fleet.member(member).ingest.unwrap(), fleet.member(member).console.unwrap());
        Self { fleet, ingest, console }
    }

    /// The incidents a first message was planned about, and those with any notice.
    async fn noticed(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let mut sql = self.fleet.world.sql().await;
        let rows: Vec<(Uuid, Option<String>)> =
            sqlx::query_as("select incident, kind from notice").fetch_all(&mut sql).await.unwrap();
        let planned = rows.iter().filter(|(_, kind)| kind.as_deref() == Some("fire"));
        let of = |(incident, _): &(Uuid, Option<String>)| incident.to_string();
        (planned.map(of).collect(), rows.iter().map(of).collect())
    }

    /// Posts these bytes with these headers.
    async fn post(&self, path: &str, headers: &[(String, String)], body: Vec<u8>) -> Answer {
        let mut request = self.fleet.client.post(format!("http://{}{path}", self.ingest));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let started = Instant::now();
        let response = request.body(body).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer { status, headers, text, took: started.elapsed() }
    }

    /// Asks ingest's listener.
    async fn get(&self, path: &str) -> Answer {
        let started = Instant::now();
        let request = self.fleet.client.get(format!("http://{}{path}", self.ingest));
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer { status, headers, text, took: started.elapsed() }
    }

    /// Posts what must be accepted; its id.
    async fn accepted(&self, path: &str, headers: &[(String, String)], body: &[u8]) -> Uuid {
        let answer = self.post(path, headers, body.to_vec()).await;
        assert_eq!(answer.status, 202, "{path}: {}", answer.text);
        let said: Value = serde_json::from_str(&answer.text).unwrap();
        let id = said["event_id"].as_str().unwrap();
        assert_eq!(said["status_url"], format!("/api/v1/deliveries/{id}"));
        id.parse().unwrap()
    }

    /// What became of a delivery, as the API says it (R71); its alerts from all pages.
    async fn delivery(&self, id: Uuid) -> Value {
        let path = format!("/api/v1/deliveries/{id}?wait=10");
        let mut delivery = self.fleet.get(self.console, &path).await;
        while let Some(next) = delivery["next"].as_u64() {
            let mut page = self.fleet.get(self.console, &format!("{path}&after={next}")).await;
            let more = page["alerts"].as_array_mut().unwrap();
            delivery["alerts"].as_array_mut().unwrap().append(more);
            delivery["next"] = page["next"].take();
        }
        delivery
    }

    /// Every delivery record of the log, by id.
    async fn in_log(&self) -> BTreeMap<Uuid, Delivery> {
        let mut found = BTreeMap::new();
        for record in records(&self.fleet).await {
            if let Body::Delivery(delivery) = record.body {
                found.insert(record.id.0, *delivery);
            }
        }
        found
    }

    /// Every alert of the events stream, by delivery, in the order of the body.
    async fn observed(&self) -> BTreeMap<Uuid, Vec<Observed>> {
        let world = &self.fleet.world;
        let stream = subject::events_stream(&world.namespace, GENERATION);
        let mut found: BTreeMap<Uuid, Vec<Observed>> = BTreeMap::new();
        for message in oracle::everything(&*world.log().await, &stream).await {
            let header = PartHeader::from_headers(|name| message.header(name)).unwrap();
            for event in EventBatch::read(&header, &message.payload).unwrap().events {
                if let Kind::Observed(observed) = event.kind {
                    found.entry(observed.record.0).or_default().push(*observed);
                }
            }
        }
        found
    }

    /// Everything that is known of a delivery once all is settled.
    async fn shown(&self, id: Uuid, observed: &mut BTreeMap<Uuid, Vec<Observed>>) -> Shown {
        let delivery = self.delivery(id).await;
        let project = delivery["project_id"].as_str().unwrap();
        let path = format!("/api/v1/events/dossier?project_id={project}&limit=50");
        let dossier = self.fleet.get(self.console, &path).await;
        let rows: Vec<(Uuid, Value)> =
            sqlx::query_as("select event_id, facts from dossier where record = $1 order by idx")
                .bind(id)
                .fetch_all(&mut self.fleet.world.sql().await)
                .await
                .unwrap();
        let delivered = delivery["alerts"].as_array().unwrap();
        assert_eq!(delivered.len(), rows.len());
        let observed = observed.remove(&id).unwrap_or_default();
        assert_eq!(delivered.len(), observed.len());
        let mut alerts = Vec::new();
        for ((delivered, (event, facts)), observed) in delivered.iter().zip(rows).zip(observed) {
            assert_eq!(delivered["event_id"], event.to_string());
            let of_event = |row: &&Value| row["event_id"] == event.to_string();
            let dossier = dossier["events"].as_array().unwrap().iter().find(of_event).cloned();
            let dossier = dossier.expect("the dossier has every alert");
            alerts.push(ShownAlert { delivered: delivered.clone(), dossier, facts, observed });
        }
        Shown { delivery, alerts }
    }

    /// What the process wrote to its log file so far.
    fn said(&self) -> String {
        std::fs::read_to_string(self.fleet.world.dir.path().join("member-0.log")).unwrap()
    }
}

/// Every record of the input log, in order.
async fn records(fleet: &Fleet) -> Vec<Record> {
    let stream = subject::deliveries_stream(&fleet.world.namespace);
    let mut records = Vec::new();
    for message in oracle::everything(&*fleet.world.log().await, &stream).await {
        let frame = RecordFrame::parse(&message.payload).unwrap();
        records.extend(frame.records.iter().map(|bytes| Record::decode(bytes).unwrap()));
    }
    records
}

/// One delivery in every place that shows it.
struct Shown {
    delivery: Value,
    alerts: Vec<ShownAlert>,
}

/// One alert in every place that shows it.
struct ShownAlert {
    /// In the answer about its delivery.
    delivered: Value,
    /// In the dossier.
    dossier: Value,
    /// The facts in the dossier's table.
    facts: Value,
    /// In the events stream.
    observed: Observed,
}

impl Shown {
    fn outcome(&self) -> &str {
        self.delivery["outcome"].as_str().unwrap()
    }

    /// The places agree with each other and with the bytes that were sent.
    fn check(&self, what: &str, raw: &[u8]) {
        for alert in &self.alerts {
            let ShownAlert { delivered, dossier, facts, observed } = alert;
            let same = |name: &str, a: &Value, b: Value| assert_eq!(*a, b, "{what} {name}");
            for name in ["stage", "alertname", "severity", "namespace", "target_resource"] {
                same(name, &delivered[name], dossier[name].clone());
            }
            for name in ["provider_event_id", "fingerprint", "is_duplicate"] {
                same(name, &delivered[name], dossier[name].clone());
            }
            for (shown, fact) in [
                ("severity", "severity_raw"),
                ("alertname", "alertname"),
                ("namespace", "namespace"),
                ("target_resource", "target"),
                ("source_url", "url"),
                ("provider", "provider"),
            ] {
                same(shown, &dossier[shown], facts[fact].clone());
            }
            same("title", &delivered["title"], facts["title"].clone());
            same("facts", facts, serde_json::to_value(&observed.alert.facts).unwrap());
            let replaced = observed.alert.content.replaced > 0;
            same("has_redacted_content", &dossier["has_redacted_content"], json!(replaced));
            same("project_id", &dossier["project_id"], self.delivery["project_id"].clone());
            same("received_at", &dossier["received_at"], self.delivery["received_at"].clone());
            same("channel_type", &dossier["channel_type"], json!("webhook"));
            let sha256 = const_hex::encode(Sha256::digest(raw));
            same("content_sha256", &dossier["content_sha256"], json!(sha256));
            same("content_length", &dossier["content_length"], json!(raw.len()));
            let refs = dossier["source_refs"].as_object().unwrap();
            let count: usize = refs.values().map(|r| r.as_array().unwrap().len()).sum();
            same("source_ref_count", &dossier["source_ref_count"], json!(count));
            assert!(dossier["redaction_version"].is_string(), "{what}");
        }
    }
}

impl ShownAlert {
    /// The value of one name, from the place a reader would look at first.
    fn get(&self, name: &str) -> Value {
        let alert = &self.observed.alert;
        match name {
            "effect" | "incident_id" | "title" => self.delivered[name].clone(),
            "severity_raw" => self.dossier["severity"].clone(),
            "url" => self.dossier["source_url"].clone(),
            "target" => self.dossier["target_resource"].clone(),
            "correlation" => self.dossier["log_correlation"].clone(),
            "refs" => self.dossier["source_refs"].clone(),
            "alertname" | "namespace" | "stage" | "provider" | "provider_event_id"
            | "provider_ts" => self.dossier[name].clone(),
            "identity" => json!(alert.identity),
            "occurrence" => json!(alert.occurrence),
            "status_at" => json!(alert.status_at),
            "notes" => json!(alert.notes),
            "replaced" => json!(alert.content.replaced),
            fact => self.facts.get(fact).unwrap_or_else(|| panic!("no fact {fact}")).clone(),
        }
    }
}

/// Times are compared as times, everything else as it is.
fn same(expected: &Value, found: &Value) -> bool {
    let time = |v: &Value| v.as_str()?.parse::<Time>().ok();
    expected == found || time(expected).is_some_and(|t| Some(t) == time(found))
}

/// A source with a project of its own, both named `id`.
fn source(id: &str, provider: &str, credential: &str) -> String {
    format!("\n[sources.{id}]\nprovider = \"{provider}\"\nproject = \"{id}\"\n{credential}\n")
}

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The JSON object's fields as headers.
fn headers_of(fields: &Value) -> Vec<(String, String)> {
    let fields = fields.as_object().into_iter().flatten();
    fields.map(|(n, v)| (n.clone(), v.as_str().unwrap().to_owned())).collect()
}

fn in_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Opens a connection and sends these bytes.
async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// What comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}
