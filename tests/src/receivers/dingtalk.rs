//! A DingTalk custom robot: token, signature and its age, keyword, size, the form of text and
//! markdown, and a limit of the rate after which it is silent. It answers 200 to everything, with
//! the verdict in `errcode`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    response::Response,
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Arrival, Inbox, recent, unix_seconds};

/// The robot's token.
pub const TOKEN: &str = "of-these-tests-only-0123456789abcdef";

/// The largest body.
const MAX_BODY: usize = 20 * 1024;

/// How far a timestamp may be off, in milliseconds.
const TOLERANCE: u64 = 3_600_000;

/// The robot; it stops when dropped.
#[derive(Debug)]
pub struct Robot {
    /// Where to send to.
    pub url: String,
    pub inbox: Arc<Inbox>,
    server: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Rules {
    secret: Option<String>,
    keyword: Option<String>,
    inbox: Arc<Inbox>,
}

impl Robot {
    /// Starts on a free loopback port; it asks for a signature by `secret` and for `keyword`, where
    /// given.
    pub async fn start(secret: Option<&str>, keyword: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/robot/send?access_token={TOKEN}");
        let inbox = Arc::new(Inbox::new());
        let rules = Rules {
            secret: secret.map(str::to_owned),
            keyword: keyword.map(str::to_owned),
            inbox: Arc::clone(&inbox),
        };
        let app = Router::new().route("/robot/send", post(take)).with_state(rules);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inbox, server }
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        self.server.abort();
        self.inbox.nothing_was_wrong();
    }
}

type Parameters = HashMap<String, String>;

async fn take(State(rules): State<Rules>, Query(query): Query<Parameters>, raw: Bytes) -> Response {
    let inbox = Arc::clone(&rules.inbox);
    let check = |taken: &[Arrival], now: Duration, body: &Value| {
        rules
            .check(&query, raw.len(), taken, now, body)
            .map_err(|(code, said)| (200, json!({ "errcode": code, "errmsg": said })))?;
        Ok(json!({ "errcode": 0, "errmsg": "ok" }))
    };
    inbox.answer(&raw, check).await
}

impl Rules {
    fn check(
        &self,
        query: &Parameters,
        length: usize,
        taken: &[Arrival],
        now: Duration,
        body: &Value,
    ) -> Result<(), (i64, &'static str)> {
        if query.get("access_token").map(String::as_str) != Some(TOKEN) {
            return Err((300005, "token is not exist"));
        }
        if let Some(secret) = &self.secret {
            is_signed(query, secret, unix_seconds() * 1_000).map_err(|said| (310000, said))?;
        }
        // Who asks more often than twenty times in a minute is not heard for ten.
        let within = recent(taken, now, Duration::from_secs(60)).0;
        if within >= 20 {
            return Err((130101, "send too fast, exceed 20 times per minute"));
        }
        if length > MAX_BODY {
            return Err((460101, "message too long"));
        }
        if let Some(keyword) = &self.keyword
            && !body.to_string().contains(keyword)
        {
            return Err((310000, "keywords not in content"));
        }
        let said = |kind: &str, name: &str| {
            body[kind][name].as_str().is_some_and(|text| !text.trim().is_empty())
        };
        match body["msgtype"].as_str() {
            Some("text") if said("text", "content") => Ok(()),
            Some("markdown") if said("markdown", "title") && said("markdown", "text") => Ok(()),
            Some("text" | "markdown") => Err((40035, "缺少参数 json")),
            Some(_) | None => Err((400105, "不支持的消息类型")),
        }
    }
}

/// base64(HMAC-SHA256(key = secret, message = timestamp LF secret)), in milliseconds, not older than
/// an hour.
fn is_signed(query: &Parameters, secret: &str, now: u64) -> Result<(), &'static str> {
    let timestamp = query.get("timestamp").map(String::as_str).unwrap_or_default();
    let fresh = timestamp.parse::<u64>().is_ok_and(|t| t.abs_diff(now) <= TOLERANCE);
    if !fresh {
        return Err("invalid timestamp");
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{timestamp}\n{secret}").as_bytes());
    let sign = query.get("sign").and_then(|sign| STANDARD.decode(sign).ok());
    let right = sign.is_some_and(|sign| mac.verify_slice(&sign).is_ok());
    if right { Ok(()) } else { Err("sign not match") }
}

/// Whom a message rings: who is in its list and in its text as well; `@all` for everybody.
pub fn rung(body: &Value) -> Vec<String> {
    let text = [&body["text"]["content"], &body["markdown"]["text"]];
    let text: String = text.into_iter().filter_map(Value::as_str).collect();
    let listed =
        ["atMobiles", "atUserIds"].into_iter().flat_map(|name| body["at"][name].as_array());
    let mut rung: Vec<String> = listed
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| text.contains(&format!("@{name}")))
        .map(str::to_owned)
        .collect();
    rung.extend((body["at"]["isAtAll"] == true).then(|| "@all".to_owned()));
    rung
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_vectors_signature_within_the_hour_is_taken() {
        let now = 1_661_860_880_000;
        let check = |timestamp: &str, sign: &str, now: u64, expect: Result<(), &str>| {
            let query = HashMap::from([
                ("timestamp".to_owned(), timestamp.to_owned()),
                ("sign".to_owned(), sign.to_owned()),
            ]);
            assert_eq!(is_signed(&query, "this is secret", now), expect, "{timestamp} at {now}");
        };
        let (at, sign) = ("1661860880000", "FK4/LSWpVkzwsnbYMt6N5/x9lkJzRKWaRXcn0lTZLqI=");
        check(at, sign, now, Ok(()));
        check(at, sign, now + TOLERANCE, Ok(()));
        check(at, sign, now + TOLERANCE + 1, Err("invalid timestamp"));
        check("1661860880", sign, now, Err("invalid timestamp"));
        check("1661860880001", sign, now, Err("sign not match"));
        check(at, "", now, Err("sign not match"));
    }

    #[test]
    fn people_are_rung_where_list_and_text_agree() {
        let body = json!({
            "markdown": {"title": "x", "text": "@ada @eve @138"},
            "at": {"atUserIds": ["ada", "bob"], "atMobiles": ["138"], "isAtAll": true},
        });
        assert_eq!(rung(&body), ["138", "ada", "@all"]);
    }
}
