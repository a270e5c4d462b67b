//! A receiver of the generic webhook, as strict as Standard Webhooks asks receivers to be: it
//! checks signature and timestamp, and takes `webhook-id` as idempotency key, so a repeat is
//! acknowledged and counted but not accepted a second time.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Seconds a timestamp may be off.
const TOLERANCE: u64 = 300;

/// What the receiver answers instead of taking a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 with `Retry-After` in seconds.
    TooMany { retry_after: u64 },
    /// This status, with nothing else.
    Status(u16),
    /// No answer for this long, then 200; the message is accepted at once.
    Hang(Duration),
    /// 200 with a body that says it failed; the message is not accepted.
    OkWithError,
}

/// What came in so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Body of each accepted message, in order of acceptance, by key.
    pub accepted: Vec<(String, Value)>,
    /// How often each accepted key came again.
    pub repeats: BTreeMap<String, u32>,
    /// Why requests were refused: signature, timestamp, headers, body.
    pub invalid: Vec<String>,
    /// Requests of any kind, faults included.
    pub requests: u32,
    /// When each request came, since the receiver's start.
    pub at: Vec<Duration>,
}

impl Seen {
    /// How often any accepted key came again.
    pub fn repeated(&self) -> u32 {
        self.repeats.values().sum()
    }

    /// The accepted bodies of that type (`incident.fire`, `incident.resolve`).
    pub fn of_type(&self, word: &str) -> Vec<&Value> {
        self.accepted.iter().map(|(_, body)| body).filter(|body| body["type"] == word).collect()
    }
}

/// The receiver; it stops when dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where to send to.
    pub url: String,
    /// `whsec_…`, what to sign with.
    pub secret: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    key: Vec<u8>,
    started: std::time::Instant,
    seen: Mutex<Seen>,
    next: Mutex<VecDeque<Fault>>,
    plan: Mutex<Plan>,
    changed: Notify,
}

/// What is done with a request by its number, from 0.
struct Plan(Box<dyn Fn(u32) -> Option<Fault> + Send>);

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plan")
    }
}

impl Receiver {
    /// Starts on a free loopback port.
    pub async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Starts on a listener that is bound already.
    pub fn on(listener: TcpListener) -> Self {
        let key = b"a key of 32 bytes, known to both".to_vec();
        let secret = format!("whsec_{}", STANDARD.encode(&key));
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            key,
            started: std::time::Instant::now(),
            seen: Mutex::default(),
            next: Mutex::default(),
            plan: Mutex::new(Plan(Box::new(|_| None))),
            changed: Notify::new(),
        });
        let app = Router::new().route("/hook", post(take)).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, secret, shared, server }
    }

    /// Answers the next requests like this, one each, before taking any more.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.next).extend(faults);
    }

    /// Answers each request that [`Self::fail_next`] says nothing of by its number, from 0.
    pub fn fail_by(&self, plan: impl Fn(u32) -> Option<Fault> + Send + 'static) {
        *lock(&self.shared.plan) = Plan(Box::new(plan));
    }

    /// What came in so far.
    pub fn seen(&self) -> Seen {
        lock(&self.shared.seen).clone()
    }

    /// Waits until what came in satisfies `enough`; fails the test after `patience`.
    pub async fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        enough: impl Fn(&Seen) -> bool,
    ) -> Seen {
        let reached = async {
            loop {
                // Listen first, then look: nothing that comes between is missed.
                let changed = self.shared.changed.notified();
                let seen = self.seen();
                if enough(&seen) {
                    return seen;
                }
                changed.await;
            }
        };
        match timeout(patience, reached).await {
            Ok(seen) => seen,
            Err(_) => panic!("waited {patience:?} for {what}; seen: {:?}", self.seen()),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
        // No test passes while what is sent cannot be proved or read.
        if !std::thread::panicking() {
            let invalid = &lock(&self.shared.seen).invalid;
            assert!(invalid.is_empty(), "against the receiver's rules: {invalid:?}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let fault = {
        let mut seen = lock(&shared.seen);
        let number = seen.requests;
        seen.requests += 1;
        seen.at.push(shared.started.elapsed());
        lock(&shared.next).pop_front().or_else(|| lock(&shared.plan).0(number))
    };
    let answer = match fault {
        Some(Fault::TooMany { retry_after }) => {
            let after = [(header::RETRY_AFTER, retry_after.to_string())];
            (StatusCode::TOO_MANY_REQUESTS, after).into_response()
        }
        Some(Fault::Status(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Fault::OkWithError) => (StatusCode::OK, r#"{"ok":false}"#).into_response(),
        Some(Fault::Hang(_)) | None => accept(&shared, &headers, &body).into_response(),
    };
    shared.changed.notify_waiters();
    if let Some(Fault::Hang(pause)) = fault {
        sleep(pause).await;
    }
    answer
}

/// Verifies, and notes the message or its repeat.
fn accept(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> StatusCode {
    let verified = verify(&shared.key, headers, body, now());
    let mut seen = lock(&shared.seen);
    match verified {
        Err(reason) => {
            seen.invalid.push(reason);
            StatusCode::UNAUTHORIZED
        }
        Ok(id) if seen.accepted.iter().any(|(known, _)| *known == id) => {
            *seen.repeats.entry(id).or_default() += 1;
            StatusCode::OK
        }
        Ok(id) => match serde_json::from_slice(body) {
            Ok(body) => {
                seen.accepted.push((id, body));
                StatusCode::OK
            }
            Err(e) => {
                seen.invalid.push(format!("body is no JSON: {e}"));
                StatusCode::BAD_REQUEST
            }
        },
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The key of an authentic message: one of its `v1` signatures is right, and its time is near.
fn verify(key: &[u8], headers: &HeaderMap, body: &[u8], now: u64) -> Result<String, String> {
    let get = |name: &str| {
        let value = headers.get(name).ok_or_else(|| format!("header {name} is missing"))?;
        value.to_str().map_err(|_| format!("header {name} is no text"))
    };
    let (id, timestamp) = (get("webhook-id")?, get("webhook-timestamp")?);
    let seconds: u64 = timestamp.parse().map_err(|_| "webhook-timestamp is no number")?;
    if seconds.abs_diff(now) > TOLERANCE {
        return Err(format!("webhook-timestamp {seconds} is too far from {now}"));
    }
    let right = get("webhook-signature")?.split(' ').any(|signature| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        signature
            .strip_prefix("v1,")
            .and_then(|text| STANDARD.decode(text).ok())
            .is_some_and(|bytes| mac.verify_slice(&bytes).is_ok())
    });
    if right { Ok(id.to_owned()) } else { Err("no signature is right".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published example of Standard Webhooks, with one thing changed at a time.
    fn check(change: impl Fn(&mut HeaderMap), body: &str, now: u64, expect: Result<(), &str>) {
        let key = STANDARD.decode("C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
            ("webhook-timestamp", "1649367553"),
            ("webhook-signature", "v1,AAAA v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        change(&mut headers);
        match (verify(&key, &headers, body.as_bytes(), now), expect) {
            (Ok(_), Ok(())) => {}
            (Err(got), Err(want)) => assert!(got.contains(want), "{got:?} lacks {want:?}"),
            (got, want) => panic!("{got:?}, not {want:?}"),
        }
    }

    #[test]
    fn only_authentic_and_fresh_messages_are_taken() {
        let body = r#"{"email":"test@example.com","username":"test_user"}"#;
        let (now, same) = (1_649_367_553, |_: &mut HeaderMap| {});
        check(same, body, now, Ok(()));
        check(same, body, now + TOLERANCE, Ok(()));
        check(same, body, now + TOLERANCE + 1, Err("too far"));
        check(same, body, now - TOLERANCE - 1, Err("too far"));
        check(same, "{}", now, Err("no signature is right"));
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let without = |headers: &mut HeaderMap| drop(headers.remove(name));
            check(without, body, now, Err("is missing"));
        }
        let other = |headers: &mut HeaderMap| {
            headers.insert("webhook-id", "another".parse().unwrap());
        };
        check(other, body, now, Err("no signature is right"));
    }
}
