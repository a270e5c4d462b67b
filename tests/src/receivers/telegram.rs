//! Telegram's Bot API as far as `sendMessage` and `editMessageText` go: token, chat and topic, length
//! in UTF-16 code units, markup where a parse mode is given, keys, which messages there are and what
//! they show, and the limits of the rate.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    response::Response,
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Arrival, Inbox, recent};

/// The bot's token.
pub const TOKEN: &str = "987654321:AAE-of_these_tests_only_0123456789";

/// A group the bot is in.
pub const CHAT: i64 = -1_001_000_000_001;

/// A group the bot was thrown out of.
pub const LEFT: i64 = -1_001_000_000_002;

/// A group that became the supergroup [`CHAT`].
pub const MOVED: i64 = -3;

/// The only topic of [`CHAT`].
pub const THREAD: i64 = 7;

/// The longest text.
const MAX_TEXT: usize = 4_096;

/// What the first message is called.
const FIRST: usize = 100;

/// The service; it stops when dropped.
#[derive(Debug)]
pub struct Api {
    /// What stands before `/bot<token>/sendMessage`.
    pub url: String,
    pub inbox: Arc<Inbox>,
    server: JoinHandle<()>,
}

impl Api {
    /// Starts on a free loopback port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inbox = Arc::new(Inbox::new());
        let app = Router::new()
            .route("/{bot}/sendMessage", post(take))
            .route("/{bot}/editMessageText", post(edit))
            .with_state(Arc::clone(&inbox));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inbox, server }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
        self.inbox.nothing_was_wrong();
    }
}

async fn take(State(inbox): State<Arc<Inbox>>, Path(bot): Path<String>, raw: Bytes) -> Response {
    let check = |taken: &[Arrival], now: Duration, body: &Value| {
        check(&bot, taken, now, body).map_err(answer)?;
        Ok(stands(FIRST + taken.len(), body))
    };
    inbox.answer(&raw, check).await
}

async fn edit(State(inbox): State<Arc<Inbox>>, Path(bot): Path<String>, raw: Bytes) -> Response {
    let check = |taken: &[Arrival], now: Duration, body: &Value| {
        check(&bot, taken, now, body).and_then(|()| changes(taken, body)).map_err(answer)?;
        let id = body["message_id"].as_u64().unwrap_or_default();
        Ok(stands(id.try_into().unwrap_or_default(), body))
    };
    inbox.answer(&raw, check).await
}

fn answer((code, description, parameters): Refused) -> (u16, Value) {
    let mut answer = json!({ "ok": false, "error_code": code, "description": description });
    if let Some(parameters) = parameters {
        answer["parameters"] = parameters;
    }
    (code, answer)
}

fn stands(id: usize, body: &Value) -> Value {
    let result = json!({
        "message_id": id,
        "chat": { "id": body["chat_id"], "type": "supergroup" },
        "text": body["text"],
    });
    json!({ "ok": true, "result": result })
}

type Refused = (u16, String, Option<Value>);

/// Whether a message is there, and would show something else afterwards.
fn changes(taken: &[Arrival], body: &Value) -> Result<(), Refused> {
    let refused = |description: &str| Err((400, format!("Bad Request: {description}"), None));
    let id = |a: &Arrival, n: usize| match &a.body["message_id"] {
        Value::Null => json!(FIRST + n),
        id => id.clone(),
    };
    let last = taken.iter().enumerate().rfind(|(n, a)| id(a, *n) == body["message_id"]);
    let shows = |body: &Value| (body["text"].clone(), body["reply_markup"].clone());
    match last {
        None => refused("message to edit not found"),
        Some((_, a)) if shows(&a.body) == shows(body) => refused(
            "message is not modified: specified new message content and reply markup are exactly \
             the same as a current content and reply markup of the message",
        ),
        Some(_) => Ok(()),
    }
}

fn check(bot: &str, taken: &[Arrival], now: Duration, body: &Value) -> Result<(), Refused> {
    let refused = |code: u16, description: &str| Err((code, description.to_owned(), None));
    match bot.strip_prefix("bot") {
        Some(TOKEN) => {}
        Some(other) if other.contains(':') => return refused(401, "Unauthorized"),
        Some(_) | None => return refused(404, "Not Found"),
    }
    match body["chat_id"].as_i64() {
        Some(CHAT) => {}
        Some(LEFT) => {
            return refused(403, "Forbidden: bot was kicked from the supergroup chat");
        }
        Some(MOVED) => {
            let said = "Bad Request: group chat was upgraded to a supergroup chat".to_owned();
            return Err((400, said, Some(json!({ "migrate_to_chat_id": CHAT }))));
        }
        Some(_) | None => return refused(400, "Bad Request: chat not found"),
    }
    if !body["message_thread_id"].is_null() && body["message_thread_id"] != THREAD {
        return refused(400, "Bad Request: message thread not found");
    }
    let text = body["text"].as_str().unwrap_or_default();
    if text.trim().is_empty() {
        return refused(400, "Bad Request: message text is empty");
    }
    if text.encode_utf16().count() > MAX_TEXT {
        return refused(400, "Bad Request: message is too long");
    }
    if !body["parse_mode"].is_null() && text.contains('<') {
        return refused(400, "Bad Request: can't parse entities: unsupported start tag");
    }
    let rows = body["reply_markup"]["inline_keyboard"].as_array().into_iter().flatten();
    let keys = rows.flat_map(|row| row.as_array().into_iter().flatten());
    for key in keys {
        match (key["callback_data"].as_str(), key["url"].as_str()) {
            (Some(data), None) if (1..=64).contains(&data.len()) => {}
            (None, Some(url)) if url.starts_with("http") && url.contains('.') => {}
            (None, Some(_)) => return refused(400, "Bad Request: BUTTON_URL_INVALID"),
            _ => return refused(400, "Bad Request: BUTTON_DATA_INVALID"),
        }
    }
    // One a second and twenty a minute for a group, changes included.
    for (limit, window) in [(1, 1), (20, 60)] {
        let (count, wait) = recent(taken, now, Duration::from_secs(window));
        if count >= limit {
            let seconds = wait.as_millis().div_ceil(1_000);
            let said = format!("Too Many Requests: retry after {seconds}");
            return Err((429, said, Some(json!({ "retry_after": seconds as u64 }))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_rules_are_enforced() {
        let ok = json!({ "chat_id": CHAT, "text": "x" });
        let bot = format!("bot{TOKEN}");
        let with = |key: &str, value: Value| {
            let mut body = ok.clone();
            body[key] = value;
            body
        };
        let now = Duration::from_secs(100);
        let before = |ms: u64| Arrival {
            at: now - Duration::from_millis(ms),
            body: Value::Null,
            refused: None,
            fair: true,
        };
        for (bot, taken, body, expect) in [
            (bot.as_str(), vec![], ok.clone(), None),
            ("bot1:x", vec![], ok.clone(), Some(401)),
            ("bot", vec![], ok.clone(), Some(404)),
            (&bot, vec![], with("chat_id", json!(1)), Some(400)),
            (&bot, vec![], with("chat_id", json!(LEFT)), Some(403)),
            (&bot, vec![], with("message_thread_id", json!(THREAD)), None),
            (&bot, vec![], with("message_thread_id", json!(8)), Some(400)),
            (&bot, vec![], with("text", json!("🦀".repeat(2_048))), None),
            (&bot, vec![], with("text", json!("🦀".repeat(2_049))), Some(400)),
            (&bot, vec![before(999)], ok.clone(), Some(429)),
            (&bot, vec![before(1_000)], ok.clone(), None),
            (&bot, vec![before(59_000); 20], ok.clone(), Some(429)),
        ] {
            let got = check(bot, &taken, now, &body).err().map(|(code, ..)| code);
            assert_eq!(got, expect, "{body}");
        }
        let key = |key: Value| with("reply_markup", json!({ "inline_keyboard": [[key]] }));
        for (body, expect) in [
            (key(json!({ "text": "x", "callback_data": "x".repeat(64) })), None),
            (key(json!({ "text": "x", "callback_data": "x".repeat(65) })), Some(400)),
            (key(json!({ "text": "x", "url": "https://a.example" })), None),
            (key(json!({ "text": "x", "url": "javascript:x.y" })), Some(400)),
        ] {
            let got = check(bot.as_str(), &[], now, &body).err().map(|(code, ..)| code);
            assert_eq!(got, expect, "{body}");
        }
    }

    #[test]
    fn only_what_is_there_is_changed_and_only_to_something_else() {
        let arrival = |body: Value| Arrival { at: Duration::ZERO, body, refused: None, fair: true };
        let taken = [
            arrival(json!({ "text": "a" })),
            arrival(json!({ "text": "b" })),
            arrival(json!({ "message_id": 100, "text": "c" })),
        ];
        for (id, text, expect) in [
            (100, "d", None),
            (100, "a", None),
            (100, "c", Some("not modified")),
            (101, "b", Some("not modified")),
            (101, "c", None),
            (102, "x", Some("not found")),
            (9, "x", Some("not found")),
        ] {
            let got = changes(&taken, &json!({ "message_id": id, "text": text })).err();
            let said = got.map(|(_, said, _)| said);
            assert_eq!(said.is_some(), expect.is_some(), "{id} {text}: {said:?}");
            assert!(said.unwrap_or_default().contains(expect.unwrap_or_default()));
        }
    }
}
