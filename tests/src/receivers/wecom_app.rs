//! WeCom's server as far as an application's texts go: tokens, the application, who may be told,
//! the length in bytes, and the check for repeats. It answers 200 to everything, with the verdict in
//! `errcode`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    Arrival, Inbox,
    tokens::{Tokens, Worth},
};

/// The corporation and the application's secret.
pub const CORP: &str = "ww0123456789abcdef";
pub const SECRET: &str = "an-application-secret-of-these-tests";

/// The application.
pub const AGENT: i64 = 1_000_002;

/// Who may be told.
pub const USERS: [&str; 2] = ["ada", "bob"];

/// The longest text, in bytes of UTF-8.
const MAX_TEXT: usize = 2_048;

/// Whoever gets more in a minute gets none of it, and nobody is told.
const PER_MINUTE: usize = 30;

/// The server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    /// What stands before `/cgi-bin/…`.
    pub url: String,
    pub inbox: Arc<Inbox>,
    pub tokens: Arc<Tokens>,
    server: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Rules {
    inbox: Arc<Inbox>,
    tokens: Arc<Tokens>,
}

impl Server {
    /// Starts on a free loopback port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inbox = Arc::new(Inbox::new());
        let tokens = Arc::new(Tokens::new(Duration::from_secs(7_200)));
        let rules = Rules { inbox: Arc::clone(&inbox), tokens: Arc::clone(&tokens) };
        let app = Router::new()
            .route("/cgi-bin/gettoken", get(grant))
            .route("/cgi-bin/message/send", post(take))
            .with_state(rules);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inbox, tokens, server }
    }

    /// The texts that are shown to a user, in order: without repeats within the interval that was
    /// asked for, and without what came too fast.
    pub fn shown(&self, user: &str) -> Vec<String> {
        let mut shown: Vec<(Duration, Value)> = Vec::new();
        for arrival in self.inbox.arrivals().into_iter().filter(|a| a.refused.is_none()) {
            let Arrival { at, body, .. } = arrival;
            let interval =
                Duration::from_secs(body["duplicate_check_interval"].as_u64().unwrap_or(1_800));
            let checked = body["enable_duplicate_check"] == 1;
            let again = |(earlier, other): &(Duration, Value)| {
                checked && *other == body && *earlier + interval > at
            };
            let fast = shown.iter().filter(|(earlier, _)| *earlier + Duration::from_secs(60) > at);
            let mut to = body["touser"].as_str().unwrap_or_default().split('|');
            if to.any(|to| to == user) && !shown.iter().any(again) && fast.count() < PER_MINUTE {
                shown.push((at, body));
            }
        }
        let text = |(_, body): (_, Value)| body["text"]["content"].as_str().unwrap().to_owned();
        shown.into_iter().map(text).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.server.abort();
        self.inbox.nothing_was_wrong();
    }
}

fn errcode(code: i64, said: &str) -> Value {
    // As the real one does, with whoever asked.
    let hint = ", hint: [1700000000_1_0123456789abcdef], from ip: 192.0.2.7, more info at https://open.work.weixin.qq.com/devtool/query";
    json!({ "errcode": code, "errmsg": format!("{said}{hint}") })
}

async fn grant(
    State(rules): State<Rules>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let is = |key: &str, value: &str| query.get(key).is_some_and(|given| given == value);
    let (status, answer) = if !is("corpid", CORP) {
        (200, errcode(40013, "invalid corpid"))
    } else if !is("corpsecret", SECRET) {
        (200, errcode(40001, "invalid credential"))
    } else {
        match rules.tokens.grant().await {
            Ok((token, lasts)) => (
                200,
                json!({
                    "errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": lasts,
                }),
            ),
            Err(fault) => fault,
        }
    };
    (axum::http::StatusCode::from_u16(status).unwrap(), Json(answer)).into_response()
}

async fn take(
    State(rules): State<Rules>,
    Query(query): Query<HashMap<String, String>>,
    raw: Bytes,
) -> Response {
    let token = query.get("access_token").map(String::as_str).unwrap_or_default();
    let worth = rules.tokens.worth(token);
    let check = |taken: &[Arrival], _: Duration, body: &Value| {
        let unknown = check(worth, body).map_err(|(code, said)| (200, errcode(code, said)))?;
        Ok(json!({
            "errcode": 0, "errmsg": "ok", "invaliduser": unknown.join("|"), "invalidparty": "",
            "invalidtag": "", "msgid": format!("msg-{}", taken.len()),
        }))
    };
    rules.inbox.answer(&raw, check).await
}

/// The users among the receivers that there are none of, or the code.
fn check(worth: Worth, body: &Value) -> Result<Vec<String>, (i64, &'static str)> {
    match worth {
        Worth::Valid => {}
        Worth::Over => return Err((42001, "access_token expired")),
        Worth::Unknown => return Err((40014, "invalid access_token")),
    }
    if body["agentid"].as_i64() != Some(AGENT) {
        return Err((301002, "not allow operate another agent with this accesstoken"));
    }
    if body["msgtype"] != "text" {
        return Err((40008, "invalid message type"));
    }
    match body["text"]["content"].as_str() {
        Some(text) if text.len() > MAX_TEXT => return Err((45002, "content size out of limit")),
        Some(text) if text.contains("<a ") => return Err((40035, "an alert wrote a link")),
        Some(text) if !text.trim().is_empty() => {}
        Some(_) | None => return Err((44004, "empty content")),
    }
    let to: Vec<&str> = body["touser"].as_str().unwrap_or_default().split('|').collect();
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        to.into_iter().partition(|user| USERS.contains(&user.to_lowercase().as_str()));
    if known.is_empty() {
        return Err((81013, "user & party & tag all invalid"));
    }
    Ok(unknown.into_iter().map(str::to_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_rules_are_enforced() {
        let good = || {
            json!({
                "touser": "ada|Eve", "agentid": AGENT, "msgtype": "text",
                "text": { "content": "界".repeat(682) },
            })
        };
        assert_eq!(check(Worth::Valid, &good()), Ok(vec!["eve".to_owned()]));
        assert_eq!(check(Worth::Over, &good()).unwrap_err().0, 42001);
        assert_eq!(check(Worth::Unknown, &good()).unwrap_err().0, 40014);
        for (key, value, code) in [
            ("touser", json!("eve|mallory"), 81013),
            ("touser", json!(null), 81013),
            ("agentid", json!(7), 301002),
            ("msgtype", json!("markdown"), 40008),
            ("text", json!({ "content": "界".repeat(683) }), 45002),
            ("text", json!({ "content": " " }), 44004),
            ("text", json!({ "content": "<a href=\"x\">y</a>" }), 40035),
        ] {
            let mut body = good();
            body[key] = value;
            assert_eq!(check(Worth::Valid, &body).unwrap_err().0, code, "{body}");
        }
    }
}
