//! PagerDuty's Events API v2: routing key, the form and size of events, the limit of the rate, and
//! what becomes of its own incidents.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Router, body::Bytes, extract, http::StatusCode, response::Response, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Arrival, Inbox, recent};

/// The integration key of its service.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// The largest event.
const MAX_EVENT: usize = 512 * 1024;

/// The service; it stops when dropped.
#[derive(Debug)]
pub struct Service {
    /// The host that events are sent to.
    pub url: String,
    pub inbox: Arc<Inbox>,
    server: JoinHandle<()>,
}

/// One of its incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Triggered,
    Acknowledged,
    Resolved,
}

impl Service {
    /// Starts on a free loopback port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inbox = Arc::new(Inbox::new());
        let app = Router::new()
            .route("/v2/enqueue", post(take))
            .route("/v2/change/enqueue", post(take_change))
            .with_state(Arc::clone(&inbox));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inbox, server }
    }

    /// Its incidents by key, each with all it went through.
    pub fn incidents(&self) -> BTreeMap<String, Vec<State>> {
        let mut all: BTreeMap<String, Vec<State>> = BTreeMap::new();
        for event in self.inbox.taken() {
            if event["event_action"].is_null() {
                continue;
            }
            let key = event["dedup_key"].as_str().unwrap_or_default().to_owned();
            let (action, known) = (event["event_action"].as_str(), all.contains_key(&key));
            let state = match action {
                Some("trigger") => State::Triggered,
                // Of what it does not know nothing is heard.
                Some("acknowledge") if known => State::Acknowledged,
                Some("resolve") if known => State::Resolved,
                Some(_) | None => continue,
            };
            let went = all.entry(key).or_default();
            if went.last() != Some(&state) {
                went.push(state);
            }
        }
        all
    }

    /// What is shown beside the service and is no incident: the summary of each change.
    pub fn changes(&self) -> Vec<String> {
        let changes =
            self.inbox.taken().into_iter().filter(|event| event["event_action"].is_null());
        changes.map(|event| event["payload"]["summary"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
        self.inbox.nothing_was_wrong();
    }
}

async fn take(extract::State(inbox): extract::State<Arc<Inbox>>, raw: Bytes) -> Response {
    let check = |taken: &[Arrival], now: Duration, body: &Value| {
        check(raw.len(), taken, now, body).map_err(|(status, error)| {
            let said = "Event object is invalid";
            (status, json!({ "status": "invalid event", "message": said, "errors": [error] }))
        })?;
        let key = &body["dedup_key"];
        Ok(json!({ "status": "success", "message": "Event processed", "dedup_key": key }))
    };
    let mut response = inbox.answer(&raw, check).await;
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    response
}

async fn take_change(extract::State(inbox): extract::State<Arc<Inbox>>, raw: Bytes) -> Response {
    let check = |taken: &[Arrival], now: Duration, body: &Value| {
        check_change(raw.len(), taken, now, body).map_err(|(status, error)| {
            let said = "Change event object is invalid";
            (status, json!({ "status": "invalid event", "message": said, "errors": [error] }))
        })?;
        Ok(json!({ "status": "success", "message": "Change event processed" }))
    };
    let mut response = inbox.answer(&raw, check).await;
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    response
}

fn check_change(
    length: usize,
    taken: &[Arrival],
    now: Duration,
    event: &Value,
) -> Result<(), (u16, &'static str)> {
    check_any(length, taken, now, event)?;
    let known = ["routing_key", "payload", "links", "images"];
    if !event.as_object().is_some_and(|all| all.keys().all(|name| known.contains(&name.as_str()))) {
        return Err((400, "there is a key that no change has"));
    }
    check_payload(event)
}

/// What holds for alerts and for changes.
fn check_any(
    length: usize,
    taken: &[Arrival],
    now: Duration,
    event: &Value,
) -> Result<(), (u16, &'static str)> {
    if length > MAX_EVENT {
        return Err((413, "too large"));
    }
    if recent(taken, now, Duration::from_secs(60)).0 >= 120 {
        return Err((429, "too many"));
    }
    if event["routing_key"] != KEY {
        return Err((400, "Invalid routing key"));
    }
    Ok(())
}

fn text(value: &Value, most: usize) -> bool {
    value.as_str().is_some_and(|text| (1..=most).contains(&text.chars().count()))
}

fn check(
    length: usize,
    taken: &[Arrival],
    now: Duration,
    event: &Value,
) -> Result<(), (u16, &'static str)> {
    check_any(length, taken, now, event)?;
    if !text(&event["dedup_key"], 255) {
        return Err((400, "Length of 'dedup_key' is incorrect"));
    }
    match event["event_action"].as_str() {
        Some("acknowledge" | "resolve") => return Ok(()),
        Some("trigger") => {}
        Some(_) | None => return Err((400, "'event_action' is missing or unknown")),
    }
    let severity = event["payload"]["severity"].as_str();
    if !severity.is_some_and(|word| ["critical", "error", "warning", "info"].contains(&word)) {
        return Err((400, "'payload.severity' is invalid"));
    }
    check_payload(event)
}

fn check_payload(event: &Value) -> Result<(), (u16, &'static str)> {
    let payload = &event["payload"];
    if !text(&payload["summary"], 1_024) || !text(&payload["source"], 1_024) {
        return Err((400, "'payload.summary' or 'payload.source' is missing or too long"));
    }
    let stated = payload["timestamp"].as_str();
    if stated.is_some_and(|time| time.parse::<jiff::Timestamp>().is_err()) {
        return Err((400, "'payload.timestamp' is no ISO 8601 time"));
    }
    let links = event["links"].as_array().map(Vec::as_slice).unwrap_or_default();
    let web = |link: &Value| link["href"].as_str().is_some_and(|url| url.starts_with("http"));
    if links.iter().all(web) { Ok(()) } else { Err((400, "'links' is invalid")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_rules_are_enforced() {
        let event = || {
            json!({
                "routing_key": KEY, "event_action": "trigger", "dedup_key": "k",
                "payload": {"summary": "x", "source": "y", "severity": "error"},
            })
        };
        let with = |path: &str, value: Value| {
            let mut event = event();
            *event.pointer_mut(path).unwrap() = value;
            event
        };
        let check = |event: &Value, length: usize, before: usize, expect: Option<u16>| {
            let arrival = Arrival {
                at: Duration::from_secs(50),
                body: Value::Null,
                refused: None,
                fair: true,
            };
            let taken = vec![arrival; before];
            let got = super::check(length, &taken, Duration::from_secs(60), event);
            assert_eq!(got.err().map(|(status, _)| status), expect, "{event}");
        };
        check(&event(), 100, 119, None);
        check(&event(), 100, 120, Some(429));
        check(&event(), MAX_EVENT + 1, 0, Some(413));
        for (path, value) in [
            ("/routing_key", json!("x")),
            ("/event_action", json!("reopen")),
            ("/dedup_key", json!("x".repeat(256))),
            ("/payload/summary", json!("x".repeat(1_025))),
            ("/payload/summary", json!("")),
            ("/payload/source", Value::Null),
            ("/payload/severity", json!("high")),
            ("/payload", json!({})),
        ] {
            check(&with(path, value), 100, 0, Some(400));
        }
        let resolve = json!({"routing_key": KEY, "event_action": "resolve", "dedup_key": "k"});
        check(&resolve, 100, 0, None);

        let change = json!({"routing_key": KEY, "payload": {"summary": "x", "source": "y"}});
        let now = Duration::from_secs(60);
        assert_eq!(check_change(100, &[], now, &change), Ok(()));
        let refused = |event: &Value| check_change(100, &[], now, event).is_err();
        assert!(refused(&event()) && refused(&json!({"routing_key": KEY, "payload": {}})));
        assert!(refused(&json!({"routing_key": "x", "payload": change["payload"]})));
    }
}
