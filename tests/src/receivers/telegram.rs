//! Telegram's Bot API as far as `sendMessage` goes: token, chat and topic, length in UTF-16 code
//! units, markup where a parse mode is given, and the limits of the rate.

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
        let app =
            Router::new().route("/{bot}/sendMessage", post(take)).with_state(Arc::clone(&inbox));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inbox, server }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(inbox): State<Arc<Inbox>>, Path(bot): Path<String>, raw: Bytes) -> Response {
    let check = |taken: &[Arrival], now: Duration, body: &Value| {
        check(&bot, taken, now, body).map_err(|(code, description, parameters)| {
            let mut answer = json!({ "ok": false, "error_code": code, "description": description });
            if let Some(parameters) = parameters {
                answer["parameters"] = parameters;
            }
            (code, answer)
        })?;
        let result = json!({
            "message_id": 100 + taken.len(),
            "chat": { "id": body["chat_id"], "type": "supergroup" },
            "text": body["text"],
        });
        Ok(json!({ "ok": true, "result": result }))
    };
    inbox.answer(&raw, check).await
}

type Refused = (u16, String, Option<Value>);

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
    // One a second and twenty a minute for a group.
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
    }
}
