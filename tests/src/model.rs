//! A server of OpenAI's chat completions, as strict as the real ones: it checks the request, counts
//! every call by its idempotency key, and fails as scripted.
//!
//! Protocol: <https://platform.openai.com/docs/api-reference/chat/create>.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// The key that it wants.
pub const MODEL_KEY: &str = "sk-of-the-model-double";
/// What it counts for every question and answer it charges for.
pub const TOKENS: (u64, u64) = (900, 100);

/// What it does with a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Does {
    /// An analysis, with this root cause.
    Says(String),
    /// This, word for word, when it is told of something that holds the text before it; else an
    /// analysis.
    Writes(Vec<(String, String)>),
    /// The same after a while.
    Slow(Duration),
    /// Nothing, ever.
    Hangs,
    /// This status and a page of text.
    Status(u16),
    /// 429 with `Retry-After` in seconds.
    TooMany { retry_after: u64 },
    /// Half of an answer, then the connection breaks.
    Cut,
    /// Bytes that are no JSON.
    Garbage,
    /// A completion whose content is no analysis.
    Prose,
    /// A completion whose analysis has a confidence that is no number.
    WrongSchema,
    /// An answer of so many bytes.
    Large(usize),
    /// 302 to this address.
    Redirect(String),
    /// 200 with a web page, as a proxy's log-in.
    Page,
    /// An analysis, and no word of what it took.
    NoUsage,
    /// 400 for whatever asks for a format; an analysis for the rest.
    KnowsNoFormat,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The question it is for: the same at every try.
    pub key: String,
    /// Since the server's start.
    pub at: Duration,
    pub path: String,
    pub body: Value,
    /// The whole answer was handed to the connection; else the caller went away before.
    pub answered: bool,
}

/// A model server; it stops when dropped.
#[derive(Debug)]
pub struct ModelServer {
    /// What stands before `/chat/completions`.
    pub url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    calls: Vec<Call>,
    /// Requests that break the protocol, and how.
    wrong: Vec<String>,
    next: VecDeque<Does>,
    otherwise: Does,
    running: usize,
    most_running: usize,
}

impl ModelServer {
    /// Starts on a free loopback port; it answers `otherwise` unless a script says something else.
    pub async fn start(otherwise: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Seen {
            calls: Vec::new(),
            wrong: Vec::new(),
            next: VecDeque::new(),
            otherwise,
            running: 0,
            most_running: 0,
        };
        let shared = Arc::new(Shared { started: Instant::now(), seen: Mutex::new(seen) });
        let app = Router::new().fallback(complete).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, server }
    }

    /// Section `[[triage.analysts]]` that asks it; `more` is added.
    pub fn analyst(&self, name: &str, more: &str) -> String {
        format!(
            "[[triage.analysts]]\nkind = \"openai\"\nname = \"{name}\"\nurl = \"{}\"\n\
             model = \"double\"\napi_key = \"{MODEL_KEY}\"\n{more}\n",
            self.url
        )
    }

    /// What it does with the next calls, one each, and with all that follow.
    pub fn does(&self, next: impl IntoIterator<Item = Does>, otherwise: Does) {
        let mut seen = self.seen();
        seen.next = next.into_iter().collect();
        seen.otherwise = otherwise;
    }

    /// All calls so far, in the order they came.
    pub fn calls(&self) -> Vec<Call> {
        self.seen().calls.clone()
    }

    /// How often each question was asked.
    pub fn by_key(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in self.calls() {
            *counts.entry(call.key).or_default() += 1;
        }
        counts
    }

    /// Requests that break the protocol, and how.
    pub fn wrong(&self) -> Vec<String> {
        self.seen().wrong.clone()
    }

    /// The most calls it worked on at once.
    pub fn most_at_once(&self) -> usize {
        self.seen().most_running
    }

    /// Waits until there were so many calls; fails the test after `patience`.
    pub async fn wait_for(&self, calls: usize, patience: Duration) {
        let reached = async {
            while self.seen().calls.len() < calls {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(patience, reached).await.is_err() {
            panic!("waited {patience:?} for {calls} calls; there were {}", self.calls().len());
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A call while it is worked on; dropped by the server when the caller goes away.
struct Working {
    shared: Arc<Shared>,
    number: usize,
}

impl Working {
    fn answered(&self) {
        self.shared.seen.lock().unwrap().calls[self.number].answered = true;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.shared.seen.lock().unwrap().running -= 1;
    }
}

async fn complete(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<BTreeMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let (does, working) = {
        let mut seen = shared.seen.lock().unwrap();
        if let Err(wrong) = judge(&uri, &query, &headers, &body) {
            seen.wrong.push(wrong.clone());
            let error = json!({ "error": { "message": wrong, "type": "invalid_request_error" } });
            return (StatusCode::BAD_REQUEST, axum::Json(error)).into_response();
        }
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        let call = Call {
            key: key.unwrap_or_default().to_owned(),
            at: shared.started.elapsed(),
            path: uri.path().to_owned(),
            body: body.clone(),
            answered: false,
        };
        seen.calls.push(call);
        seen.running += 1;
        seen.most_running = seen.most_running.max(seen.running);
        let number = seen.calls.len() - 1;
        let otherwise = seen.otherwise.clone();
        let does = seen.next.pop_front().unwrap_or(otherwise);
        (does, Working { shared: Arc::clone(&shared), number })
    };
    let response = answer(does, &body).await;
    working.answered();
    response
}

/// What is wrong with a request.
fn judge(
    uri: &Uri,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
    body: &Value,
) -> Result<(), String> {
    let of = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let azure = uri.path().starts_with("/openai/deployments/");
    if !uri.path().ends_with("/chat/completions") {
        return Err(format!("no such path: {}", uri.path()));
    }
    if azure && !query.contains_key("api-version") {
        return Err("api-version is missing".into());
    }
    let key = if azure { of("api-key") } else { of("authorization").trim_start_matches("Bearer ") };
    if key != MODEL_KEY {
        return Err("the key is missing or wrong".into());
    }
    if !of("content-type").starts_with("application/json") {
        return Err("content-type is not application/json".into());
    }
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err("model is missing".into());
    }
    let roles: Vec<&str> = body["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|message| message["content"].as_str().is_some_and(|text| !text.is_empty()))
        .filter_map(|message| message["role"].as_str())
        .collect();
    if roles != ["system", "user"] {
        return Err(format!("messages are of {roles:?}"));
    }
    match body["response_format"]["type"].as_str() {
        None | Some("json_object") => {}
        Some("json_schema") => {
            let schema = &body["response_format"]["json_schema"];
            if !schema["name"].is_string() || !schema["schema"]["properties"].is_object() {
                return Err("response_format.json_schema has no name or no schema".into());
            }
        }
        Some(other) => return Err(format!("response_format {other}")),
    }
    if !body["stream"].is_null() {
        return Err("it was not to stream".into());
    }
    Ok(())
}

async fn answer(does: Does, body: &Value) -> Response {
    let says = |cause: &str| completion(&analysis(cause), true).into_response();
    match does {
        Does::Says(cause) => says(&cause),
        Does::Writes(by_text) => {
            let told = body["messages"][1]["content"].as_str().unwrap_or_default();
            match by_text.into_iter().find(|(text, _)| told.contains(text)) {
                Some((_, written)) => completion(&written, true).into_response(),
                None => says("知道"),
            }
        }
        Does::Slow(pause) => {
            sleep(pause).await;
            says("慢但是知道")
        }
        Does::Hangs => std::future::pending().await,
        Does::Status(status) => {
            (StatusCode::from_u16(status).unwrap(), "something is wrong").into_response()
        }
        Does::TooMany { retry_after } => {
            let after = [(header::RETRY_AFTER, retry_after.to_string())];
            (StatusCode::TOO_MANY_REQUESTS, after, "slow down").into_response()
        }
        Does::Cut => {
            let half = Bytes::from_static(b"{\"choices\":[{\"message\":{\"content\":\"");
            let parts = [Ok(half), Err(io::Error::other("the connection breaks"))];
            ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream::iter(parts)))
                .into_response()
        }
        Does::Garbage => "\u{1}\u{2}{{{ not json".into_response(),
        Does::Prose => completion("I am sorry, but I cannot say.", true).into_response(),
        Does::WrongSchema => {
            completion(r#"{"root_cause":"x","confidence":"very"}"#, true).into_response()
        }
        Does::Large(bytes) => {
            let part = Bytes::from(vec![b' '; 64 * 1024]);
            let parts =
                (0..bytes.div_ceil(part.len())).map(move |_| Ok::<_, Infallible>(part.clone()));
            Body::from_stream(stream::iter(parts)).into_response()
        }
        Does::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Does::Page => {
            let page = "<!doctype html><title>Log in</title>";
            ([(header::CONTENT_TYPE, "text/html")], page).into_response()
        }
        Does::NoUsage => completion(&analysis("沒有帳單"), false).into_response(),
        Does::KnowsNoFormat if body["response_format"].is_null() => says("沒有格式"),
        Does::KnowsNoFormat => {
            let error =
                json!({ "error": { "message": "unknown field response_format", "code": 400 } });
            (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
        }
    }
}

/// An analysis as a model writes it.
fn analysis(cause: &str) -> String {
    json!({
        "root_cause": cause, "impact": "結帳", "fix_suggestion": "重啟", "prevention": "告警",
        "confidence": 0.75, "evidence": [], "inconclusive": false, "analyzed_by": "double",
    })
    .to_string()
}

fn completion(content: &str, usage: bool) -> axum::Json<Value> {
    let (input, output) = TOKENS;
    let mut body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "double",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": content },
        }],
    });
    if usage {
        body["usage"] = json!({
            "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        });
    }
    axum::Json(body)
}
