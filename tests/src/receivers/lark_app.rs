//! Lark's server as far as an application's messages go: tokens, chats, the key that repeats are
//! known by, the form and size of cards, what may be changed (by id, or by the token that a press
//! brings), and the limits of the rate.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{patch, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    Arrival, Inbox, recent,
    tokens::{Tokens, Worth},
};

/// The application.
pub const APP: &str = "cli_0123456789abcdef";
pub const SECRET: &str = "a-lark-secret-of-these-tests";

/// Chats the bot is in begin so.
pub const CHATS: &str = "oc_of_these_tests_";

/// A chat the bot was thrown out of.
pub const LEFT: &str = "oc_left";

/// The longest key, and how long a repeat is known by it.
const MAX_UUID: usize = 50;
const KNOWN_FOR: Duration = Duration::from_secs(3_600);

/// How often the token of a press changes its card.
const MOST_CHANGES: u32 = 2;

/// The largest body with a card, and with a text.
const MAX_CARD: usize = 30 * 1_024;
const MAX_TEXT: usize = 150 * 1_024;

/// The server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    /// What stands before `/open-apis/…`.
    pub url: String,
    /// Every call as `{"call", "body"}`: `send`, `reply <id>`, `change <id>`.
    pub inbox: Arc<Inbox>,
    pub tokens: Arc<Tokens>,
    messages: Arc<Mutex<BTreeMap<String, Message>>>,
    presses: Presses,
    server: JoinHandle<()>,
}

/// The tokens of presses: the card each changes, and how often it did.
type Presses = Arc<Mutex<BTreeMap<String, (String, u32)>>>;

/// A message as it stands in a chat.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub chat: String,
    /// The message it answers.
    pub answers: Option<String>,
    pub kind: String,
    pub content: Value,
    /// How often it was changed.
    pub changes: usize,
    /// Why it cannot be changed any more.
    closed: Option<i64>,
    key: Option<String>,
    at: Duration,
}

#[derive(Clone, Debug)]
struct Rules {
    inbox: Arc<Inbox>,
    tokens: Arc<Tokens>,
    messages: Arc<Mutex<BTreeMap<String, Message>>>,
    presses: Presses,
}

impl Server {
    /// Starts on a free loopback port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let rules = Rules {
            inbox: Arc::new(Inbox::new()),
            tokens: Arc::new(Tokens::new(Duration::from_secs(7_200))),
            messages: Arc::default(),
            presses: Presses::default(),
        };
        let presses = Arc::clone(&rules.presses);
        let (inbox, tokens) = (Arc::clone(&rules.inbox), Arc::clone(&rules.tokens));
        let messages = Arc::clone(&rules.messages);
        let base = "/open-apis/im/v1/messages";
        let app = Router::new()
            .route("/open-apis/auth/v3/tenant_access_token/internal", post(grant))
            .route(base, post(send))
            .route(&format!("{base}/{{id}}"), patch(change))
            .route(&format!("{base}/{{id}}/reply"), post(reply))
            .route("/open-apis/interactive/v1/card/update", post(change_pressed))
            .with_state(rules);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inbox, tokens, messages, presses, server }
    }

    /// A card that the application sent by another program than this one; its id.
    pub fn made_elsewhere(&self, card: Value) -> String {
        let mut messages = self.messages.lock().unwrap();
        let id = format!("om_{}", messages.len());
        let message = Message {
            chat: format!("{CHATS}1"),
            answers: None,
            kind: "interactive".to_owned(),
            content: card,
            changes: 0,
            closed: None,
            key: None,
            at: Duration::ZERO,
        };
        messages.insert(id.clone(), message);
        id
    }

    /// Somebody presses a button of a card; the token that the callback brings.
    pub fn press(&self, card: &str) -> String {
        let mut presses = self.presses.lock().unwrap();
        let token = format!("c-295ee57216a5dc9de90fefd0aadb4b1d{}", presses.len());
        presses.insert(token.clone(), (card.to_owned(), 0));
        token
    }

    /// The messages by id, as they stand now.
    pub fn messages(&self) -> BTreeMap<String, Message> {
        self.messages.lock().unwrap().clone()
    }

    /// Somebody withdraws the message (230011), or it grows too old (230031).
    pub fn close(&self, id: &str, code: i64) {
        self.messages.lock().unwrap().get_mut(id).unwrap().closed = Some(code);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.server.abort();
        self.inbox.nothing_was_wrong();
    }
}

async fn grant(State(rules): State<Rules>, Json(body): Json<Value>) -> Response {
    let (status, answer) = if body["app_id"] != APP {
        (200, json!({ "code": 10003, "msg": "invalid param" }))
    } else if body["app_secret"] != SECRET {
        (200, json!({ "code": 10014, "msg": "app secret invalid" }))
    } else {
        match rules.tokens.grant().await {
            Ok((token, lasts)) => (
                200,
                json!({
                    "code": 0, "msg": "ok", "tenant_access_token": token, "expire": lasts,
                }),
            ),
            Err(fault) => fault,
        }
    };
    (StatusCode::from_u16(status).unwrap(), Json(answer)).into_response()
}

async fn send(
    State(rules): State<Rules>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    raw: Bytes,
) -> Response {
    let kind = query.get("receive_id_type").cloned().unwrap_or_default();
    rules
        .answer("send".to_owned(), &headers, &raw, |rules, body, now| {
            let chat = body["receive_id"].as_str().unwrap_or_default();
            if kind != "chat_id" && kind != "open_id" {
                return Err((230_001, "invalid receive_id_type"));
            }
            rules.put(chat, None, body, raw.len(), now)
        })
        .await
}

async fn reply(
    State(rules): State<Rules>,
    Path(id): Path<String>,
    headers: HeaderMap,
    raw: Bytes,
) -> Response {
    rules
        .answer(format!("reply {id}"), &headers, &raw, |rules, body, now| {
            let chat = format!("{CHATS}replies");
            rules.put(&chat, Some(id.clone()), body, raw.len(), now)
        })
        .await
}

async fn change(
    State(rules): State<Rules>,
    Path(id): Path<String>,
    headers: HeaderMap,
    raw: Bytes,
) -> Response {
    rules
        .answer(format!("change {id}"), &headers, &raw, |rules, body, _| {
            let mut messages = rules.messages.lock().unwrap();
            let message = messages.get_mut(&id).ok_or((230_001, "invalid message_id"))?;
            if let Some(code) = message.closed {
                return Err((code, "the message is withdrawn or too old"));
            }
            let card = content(body)?;
            let shared = |card: &Value| card["config"]["update_multi"] == true;
            if message.kind != "interactive" || !shared(&message.content) || !shared(&card) {
                return Err((230_054, "this operation is not supported for this message type"));
            }
            if raw.len() > MAX_CARD {
                return Err((230_025, "the length of the message content reaches its limit"));
            }
            is_card(&card).then_some(()).ok_or((230_099, "failed to create card content"))?;
            message.content = card;
            message.changes += 1;
            Ok(json!({}))
        })
        .await
}

async fn change_pressed(State(rules): State<Rules>, headers: HeaderMap, raw: Bytes) -> Response {
    rules
        .answer("change pressed".to_owned(), &headers, &raw, |rules, body, _| {
            let token = body["token"].as_str().unwrap_or_default();
            let mut presses = rules.presses.lock().unwrap();
            let (id, used) = presses.get_mut(token).ok_or((300_000, "invalid token"))?;
            if *used >= MOST_CHANGES {
                return Err((300_001, "the token was used too often"));
            }
            let card = &body["card"];
            if raw.len() > MAX_CARD || !is_card(card) {
                return Err((230_099, "failed to create card content"));
            }
            let mut messages = rules.messages.lock().unwrap();
            let message = messages.get_mut(id).ok_or((300_000, "invalid token"))?;
            *used += 1;
            message.content = card.clone();
            message.changes += 1;
            Ok(json!({}))
        })
        .await
}

type Refused = (i64, &'static str);

impl Rules {
    async fn answer(
        &self,
        call: String,
        headers: &HeaderMap,
        raw: &Bytes,
        done: impl FnOnce(&Self, &Value, Duration) -> Result<Value, Refused>,
    ) -> Response {
        let body: Value = serde_json::from_slice(raw).unwrap_or_default();
        let noted = json!({ "call": call, "body": body }).to_string();
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        let check = |taken: &[Arrival], now: Duration, noted: &Value| {
            let refused = |(code, said): Refused| (400, json!({ "code": code, "msg": said }));
            match token.map(|token| self.tokens.worth(token)) {
                None => return Err(refused((99_991_661, "Missing access token"))),
                Some(Worth::Unknown | Worth::Over) => {
                    return Err(refused((99_991_663, "Invalid access token for authorization")));
                }
                Some(Worth::Valid) => {}
            }
            let chat = &noted["body"]["receive_id"];
            let same: Vec<Arrival> =
                taken.iter().filter(|a| a.body["body"]["receive_id"] == *chat).cloned().collect();
            if chat.is_string() && recent(&same, now, Duration::from_secs(1)).0 >= 5 {
                return Err(refused((230_020, "This operation triggers the frequency limit.")));
            }
            let data = done(self, &noted["body"], now).map_err(refused)?;
            Ok(json!({ "code": 0, "msg": "success", "data": data }))
        };
        self.inbox.answer(noted.as_bytes(), check).await
    }

    fn put(
        &self,
        chat: &str,
        answers: Option<String>,
        body: &Value,
        length: usize,
        now: Duration,
    ) -> Result<Value, Refused> {
        if chat == LEFT {
            return Err((230_002, "Bot/User can NOT be out of the chat."));
        }
        if !chat.starts_with(CHATS) && !chat.starts_with("ou_") {
            return Err((230_001, "invalid receive_id"));
        }
        let key = body["uuid"].as_str().map(str::to_owned);
        if key.as_ref().is_some_and(|key| key.len() > MAX_UUID) {
            return Err((230_001, "uuid is too long"));
        }
        let mut messages = self.messages.lock().unwrap();
        let same =
            |message: &Message| key.is_some() && message.key == key && message.at + KNOWN_FOR > now;
        if let Some((id, _)) = messages.iter().find(|(_, message)| same(message)) {
            return Ok(json!({ "message_id": id }));
        }
        let content = content(body)?;
        let kind = body["msg_type"].as_str().unwrap_or_default();
        match kind {
            "interactive" if length > MAX_CARD => {
                return Err((230_025, "the length of the message content reaches its limit"));
            }
            "interactive" if !is_card(&content) => {
                return Err((230_099, "failed to create card content"));
            }
            "text" if length > MAX_TEXT || !is_text(&content) => {
                return Err((230_001, "invalid content"));
            }
            "interactive" | "text" => {}
            _ => return Err((230_001, "invalid msg_type")),
        }
        let id = format!("om_{}", messages.len());
        let (chat, kind) = (chat.to_owned(), kind.to_owned());
        let message =
            Message { chat, answers, kind, content, changes: 0, closed: None, key, at: now };
        messages.insert(id.clone(), message);
        Ok(json!({ "message_id": id }))
    }
}

/// Content is JSON as text.
fn content(body: &Value) -> Result<Value, Refused> {
    let text = body["content"].as_str().ok_or((230_001, "content is no text"))?;
    serde_json::from_str(text).map_err(|_| (230_001, "content is no JSON"))
}

/// A text that rings nobody.
fn is_text(content: &Value) -> bool {
    content["text"].as_str().is_some_and(|text| !text.is_empty() && !text.contains("<at"))
}

/// A header in plain text, elements of known kinds, buttons that say something or lead to the web,
/// and no mention.
fn is_card(card: &Value) -> bool {
    let known =
        |element: &Value| matches!(element["tag"].as_str(), Some("div" | "hr" | "action" | "note"));
    let elements = card["elements"].as_array().cloned().unwrap_or_default();
    let button = |button: &Value| {
        button["tag"] == "button"
            && button["text"]["tag"] == "plain_text"
            && button["url"].as_str().is_none_or(|url| url.starts_with("http"))
            && (button["url"].is_string() || button["value"].is_object())
    };
    let buttons = |element: &Value| {
        let actions = element["actions"].as_array();
        element["tag"] != "action" || actions.is_some_and(|all| all.iter().all(button))
    };
    let texts = card.to_string();
    card["header"]["title"]["tag"] == "plain_text"
        && card["header"]["title"]["content"].as_str().is_some_and(|text| !text.is_empty())
        && !elements.is_empty()
        && elements.iter().all(|element| known(element) && buttons(element))
        && !texts.to_lowercase().contains("<at id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_rules_are_enforced() {
        let good = || {
            json!({
                "header": { "title": { "tag": "plain_text", "content": "x" } },
                "elements": [
                    { "tag": "div" },
                    { "tag": "action", "actions": [
                        { "tag": "button", "text": { "tag": "plain_text" }, "value": {} },
                        { "tag": "button", "text": { "tag": "plain_text" }, "url": "https://x" },
                    ] },
                ],
            })
        };
        assert!(is_card(&good()));
        for (place, value) in [
            ("/header/title/tag", json!("lark_md")),
            ("/header/title/content", json!("")),
            ("/elements", json!([])),
            ("/elements/0/tag", json!("script")),
            ("/elements/0/tag", json!("<at id=all></at>")),
            ("/elements/1/actions/0/value", json!(null)),
            ("/elements/1/actions/1/url", json!("javascript:x")),
        ] {
            let mut card = good();
            *card.pointer_mut(place).unwrap() = value;
            assert!(!is_card(&card), "{card}");
        }
        assert!(is_text(&json!({ "text": "x" })));
        for text in [json!(""), json!(null), json!("<at user_id=\"all\">")] {
            assert!(!is_text(&json!({ "text": text })), "{text}");
        }
        assert!(content(&json!({ "content": {} })).is_err());
        assert!(content(&json!({ "content": "{" })).is_err());
    }
}
