//! Slack, as far as an app's incoming webhook, `chat.postMessage` and `chat.update` go: token,
//! channel, the limits of blocks, control sequences, threads, which messages there are, and the
//! limits of the rate; and the addresses at which presses and commands are answered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Arrival, Inbox, recent};

/// The bot's token.
pub const TOKEN: &str = "xoxb-1000000000001-of-these-tests-only";

/// The last part of the webhook's address.
pub const HOOK: &str = "of-these-tests-only-0123";

/// A channel the app is in, and one it is not in.
pub const CHANNEL: &str = "C0000000001";
pub const FOREIGN: &str = "C0000000002";

/// An archived channel.
pub const ARCHIVED: &str = "C0000000003";

/// How often an address takes answers.
const MOST_ANSWERS: u32 = 5;

/// The workspace; it stops when dropped.
#[derive(Debug)]
pub struct Workspace {
    /// Where methods are called.
    pub api: String,
    /// The app's incoming webhook.
    pub hook: String,
    /// What came to both.
    pub inbox: Arc<Inbox>,
    /// What came to addresses for answers, with the address's key as `at`.
    pub answers: Arc<Inbox>,
    base: String,
    /// The addresses that were given, by key: how often each was used.
    given: Given,
    server: JoinHandle<()>,
}

impl Workspace {
    /// Starts on a free loopback port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (inbox, answers) = (Arc::new(Inbox::new()), Arc::new(Inbox::new()));
        let given = Given::default();
        let at_answers = Router::new()
            .route("/actions/T01/{key}", post(take_answer))
            .with_state((Arc::clone(&answers), Arc::clone(&given)));
        let app = Router::new()
            .route("/api/{method}", post(call))
            .route("/services/T01/B01/{hook}", post(hook))
            .with_state(Arc::clone(&inbox))
            .merge(at_answers);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let (api, hook) = (format!("{base}/api"), format!("{base}/services/T01/B01/{HOOK}"));
        Self { api, hook, inbox, answers, base, given, server }
    }

    /// A `response_url`, as a press or a slash command brings it; `key` is its last part.
    pub fn response_url(&self, key: &str) -> String {
        self.given.lock().unwrap().insert(key.to_owned(), 0);
        format!("{}/actions/T01/{key}", self.base)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        self.server.abort();
        self.inbox.nothing_was_wrong();
    }
}

type Given = Arc<Mutex<BTreeMap<String, u32>>>;

/// What the message that was taken as number `n` is called.
pub fn ts(n: usize) -> String {
    format!("1700000000.{n:06}")
}

async fn call(
    State(inbox): State<Arc<Inbox>>,
    Path(method): Path<String>,
    headers: HeaderMap,
    raw: Bytes,
) -> Response {
    let check = |taken: &[Arrival], now: Duration, body: &Value| {
        let refused = |word: &str| json!({ "ok": false, "error": word });
        if is_limited(taken, now) {
            return Err((429, refused("ratelimited")));
        }
        let ts = called(&method, &headers, taken, body).map_err(|word| (200, refused(word)))?;
        Ok(json!({ "ok": true, "channel": body["channel"], "ts": ts, "message": {} }))
    };
    patient(inbox.answer(&raw, check).await)
}

async fn hook(State(inbox): State<Arc<Inbox>>, Path(hook): Path<String>, raw: Bytes) -> Response {
    let check = |taken: &[Arrival], now: Duration, body: &Value| {
        if hook != HOOK {
            return Err((404, json!("no_service")));
        }
        if is_limited(taken, now) {
            return Err((429, json!("rate_limited")));
        }
        message(body).map_err(|_| (400, json!("invalid_payload")))?;
        Ok(json!("ok"))
    };
    patient(inbox.answer(&raw, check).await)
}

async fn take_answer(
    State((answers, given)): State<(Arc<Inbox>, Given)>,
    Path(key): Path<String>,
    raw: Bytes,
) -> Response {
    let mut noted: Value = serde_json::from_slice(&raw).unwrap_or_default();
    noted["at"] = json!(key);
    let check = |_: &[Arrival], _: Duration, body: &Value| {
        let mut given = given.lock().unwrap();
        let used = given.get_mut(&key).ok_or((404, json!("expired_url")))?;
        if *used >= MOST_ANSWERS {
            return Err((404, json!("used_url")));
        }
        answer(body).map_err(|_| (400, json!("invalid_payload")))?;
        *used += 1;
        Ok(json!({ "ok": true }))
    };
    answers.answer(noted.to_string().as_bytes(), check).await
}

/// An answer for one or for all, which takes nothing's place.
fn answer(body: &Value) -> Result<(), &'static str> {
    message(body)?;
    let to_all = match body["response_type"].as_str() {
        Some("in_channel") => true,
        Some("ephemeral") => false,
        Some(_) | None => return Err("invalid_response_type"),
    };
    let in_thread = body["thread_ts"].is_string();
    let fine = body["replace_original"] == false && (to_all || !in_thread);
    if fine { Ok(()) } else { Err("invalid_arguments") }
}

/// Who is asked for patience is told for how long.
fn patient(mut response: Response) -> Response {
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Sixty a minute, and three at once.
fn is_limited(taken: &[Arrival], now: Duration) -> bool {
    let came = |seconds| recent(taken, now, Duration::from_secs(seconds)).0;
    came(1) >= 3 || came(60) >= 60
}

/// The time of the message that a method made or changed, or the word of its error.
fn called(
    method: &str,
    headers: &HeaderMap,
    taken: &[Arrival],
    body: &Value,
) -> Result<String, &'static str> {
    let value = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if !value(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json")) {
        return Err("invalid_form_data");
    }
    match value(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")) {
        Some(TOKEN) => {}
        Some(_) => return Err("invalid_auth"),
        None => return Err("not_authed"),
    }
    let channel = body["channel"].as_str().unwrap_or_default();
    match channel {
        CHANNEL => {}
        ARCHIVED => return Err("is_archived"),
        FOREIGN => return Err("not_in_channel"),
        _ => return Err("channel_not_found"),
    }
    message(body)?;
    let exists = |name: &str| {
        let mut new = taken.iter().enumerate().filter(|(_, a)| a.body["ts"].is_null());
        new.any(|(n, a)| a.body["channel"] == channel && ts(n) == name)
    };
    match (method, body["ts"].as_str(), body["thread_ts"].as_str()) {
        ("chat.update", Some(name), None) if exists(name) => Ok(name.to_owned()),
        ("chat.update", ..) => Err("message_not_found"),
        ("chat.postMessage", None, thread) if thread.is_none_or(exists) => Ok(ts(taken.len())),
        ("chat.postMessage", None, _) => Err("thread_not_found"),
        _ => Err("unknown_method"),
    }
}

/// A message Slack takes: within the limits of its blocks, and without what would ring anybody.
fn message(body: &Value) -> Result<(), &'static str> {
    let text = body["text"].as_str().ok_or("no_text")?;
    if text.chars().count() > 40_000 {
        return Err("msg_too_long");
    }
    // Nothing in a text is more than text.
    if text.contains(['<', '>']) || body["mrkdwn"] != false || body["link_names"] == true {
        return Err("invalid_arguments");
    }
    if body["blocks"].is_null() {
        return if text.is_empty() { Err("no_text") } else { Ok(()) };
    }
    let blocks = body["blocks"].as_array().ok_or("invalid_blocks_format")?;
    let fine = (1..=50).contains(&blocks.len()) && blocks.iter().all(is_block);
    if fine { Ok(()) } else { Err("invalid_blocks") }
}

fn is_block(block: &Value) -> bool {
    let elements = || block["elements"].as_array().map(Vec::as_slice).unwrap_or_default();
    match block["type"].as_str() {
        Some("header") => is_text(&block["text"], 150) && block["text"]["type"] == "plain_text",
        Some("section") => is_text(&block["text"], 3_000),
        Some("divider") => true,
        Some("context") => {
            (1..=10).contains(&elements().len()) && elements().iter().all(|e| is_text(e, 2_000))
        }
        Some("actions") => {
            let mut ids: Vec<&str> =
                elements().iter().filter_map(|e| e["action_id"].as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            (1..=25).contains(&ids.len())
                && ids.len() == elements().len()
                && elements().iter().all(is_button)
        }
        Some(_) | None => false,
    }
}

fn is_button(button: &Value) -> bool {
    let fits = |name: &str, limit: usize| {
        button[name].as_str().is_some_and(|t| (1..=limit).contains(&t.chars().count()))
    };
    button["type"] == "button"
        && button["text"]["type"] == "plain_text"
        && is_text(&button["text"], 75)
        && fits("action_id", 255)
        && fits("value", 2_000)
}

/// A text within its limit whose only control sequences are links to the web.
fn is_text(text: &Value, limit: usize) -> bool {
    let said = text["text"].as_str().unwrap_or_default();
    let links = match text["type"].as_str() {
        Some("plain_text") => !said.contains(['<', '>']),
        Some("mrkdwn") => said
            .split('<')
            .skip(1)
            .all(|rest| rest.starts_with("http://") || rest.starts_with("https://")),
        Some(_) | None => false,
    };
    links && (1..=limit).contains(&said.encode_utf16().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Value {
        json!({ "channel": CHANNEL, "text": "x", "mrkdwn": false })
    }

    fn with(key: &str, value: Value) -> Value {
        let mut body = body();
        body[key] = value;
        body
    }

    #[track_caller]
    fn check(method: &str, token: &str, body: &Value, expect: Result<&str, &str>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        let before = Arrival { at: Duration::ZERO, body: self::body(), refused: None, fair: true };
        let got = called(method, &headers, &[before], body);
        assert_eq!(got.as_deref().map_err(|word| *word), expect, "{body}");
    }

    #[test]
    fn the_documented_rules_are_enforced() {
        let (post, update) = ("chat.postMessage", "chat.update");
        check(post, TOKEN, &body(), Ok(&ts(1)));
        check(post, "xoxb-other", &body(), Err("invalid_auth"));
        check(post, TOKEN, &with("channel", json!("C1")), Err("channel_not_found"));
        check(post, TOKEN, &with("channel", json!(FOREIGN)), Err("not_in_channel"));
        check(post, TOKEN, &with("thread_ts", json!(ts(0))), Ok(&ts(1)));
        check(post, TOKEN, &with("thread_ts", json!(ts(1))), Err("thread_not_found"));
        check(update, TOKEN, &with("ts", json!(ts(0))), Ok(&ts(0)));
        check(update, TOKEN, &with("ts", json!(ts(9))), Err("message_not_found"));
        check(update, TOKEN, &body(), Err("message_not_found"));
        check(post, TOKEN, &with("text", json!("<!channel>")), Err("invalid_arguments"));
        check(post, TOKEN, &with("text", json!("")), Err("no_text"));
        check(post, TOKEN, &with("blocks", json!([])), Err("invalid_blocks"));
    }

    #[test]
    fn an_answer_says_for_whom_it_is_and_replaces_nothing() {
        let answer_of = |more: Value| {
            let mut body = body();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            answer(&body).is_ok()
        };
        let (all, one) = ("in_channel", "ephemeral");
        assert!(answer_of(json!({"response_type": all, "replace_original": false})));
        assert!(answer_of(json!({"response_type": one, "replace_original": false})));
        let threaded =
            |kind| json!({"response_type": kind, "replace_original": false, "thread_ts": "1.2"});
        assert!(answer_of(threaded(all)) && !answer_of(threaded(one)));
        assert!(!answer_of(json!({"response_type": all})));
        assert!(!answer_of(json!({"replace_original": false})));
    }

    #[test]
    fn blocks_have_limits() {
        let plain = |n: usize| json!({ "type": "plain_text", "text": "x".repeat(n) });
        let mrkdwn = |text: &str| json!({ "type": "mrkdwn", "text": text });
        let button = |id: &str| json!({ "type": "button", "text": plain(75), "action_id": id, "value": "v" });
        for (block, expect) in [
            (json!({ "type": "header", "text": plain(150) }), true),
            (json!({ "type": "header", "text": plain(151) }), false),
            (json!({ "type": "section", "text": plain(3_000) }), true),
            (json!({ "type": "section", "text": plain(3_001) }), false),
            (json!({ "type": "section", "text": plain(0) }), false),
            (json!({ "type": "section", "text": mrkdwn("<!channel>") }), false),
            (json!({ "type": "context", "elements": [mrkdwn("<https://a.b|c>")] }), true),
            (json!({ "type": "context", "elements": [mrkdwn("<javascript:x|c>")] }), false),
            (json!({ "type": "actions", "elements": [button("a"), button("b")] }), true),
            (json!({ "type": "actions", "elements": [button("a"), button("a")] }), false),
            (json!({ "type": "image" }), false),
        ] {
            assert_eq!(is_block(&block), expect, "{block}");
        }
    }
}
