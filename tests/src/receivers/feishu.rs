//! A Feishu custom bot: token, body size, signature and its age, keyword, limits of the rate, and
//! the form of text and card. It answers 200 to everything, with the verdict in `code`.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    response::Response,
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Arrival, Inbox, recent, unix_seconds};

/// The bot's token, the last part of its URL.
pub const TOKEN: &str = "7f3c1d52-9f0e-4a7b-8b53-000000000001";

/// The largest body.
const MAX_BODY: usize = 20 * 1024;

/// How far a timestamp may be off, in seconds.
const TOLERANCE: u64 = 3_600;

/// The bot; it stops when dropped.
#[derive(Debug)]
pub struct Bot {
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

impl Bot {
    /// Starts on a free loopback port; it asks for a signature by `secret` and for `keyword`, where
    /// given.
    pub async fn start(secret: Option<&str>, keyword: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url =
            format!("http://{}/open-apis/bot/v2/hook/{TOKEN}", listener.local_addr().unwrap());
        let inbox = Arc::new(Inbox::new());
        let rules = Rules {
            secret: secret.map(str::to_owned),
            keyword: keyword.map(str::to_owned),
            inbox: Arc::clone(&inbox),
        };
        let app =
            Router::new().route("/open-apis/bot/v2/hook/{token}", post(take)).with_state(rules);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inbox, server }
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        self.server.abort();
        self.inbox.nothing_was_wrong();
    }
}

async fn take(State(rules): State<Rules>, Path(token): Path<String>, raw: Bytes) -> Response {
    let inbox = Arc::clone(&rules.inbox);
    let check = |taken: &[Arrival], now: Duration, body: &Value| {
        rules
            .check(&token, raw.len(), taken, now, body)
            .map_err(|(code, msg)| (200, json!({ "code": code, "msg": msg, "data": {} })))?;
        let success = json!({
            "StatusCode": 0, "StatusMessage": "success", "code": 0, "msg": "success", "data": {},
        });
        Ok(success)
    };
    inbox.answer(&raw, check).await
}

impl Rules {
    fn check(
        &self,
        token: &str,
        length: usize,
        taken: &[Arrival],
        now: Duration,
        body: &Value,
    ) -> Result<(), (i64, &'static str)> {
        if token != TOKEN {
            return Err((19001, "param invalid: incoming webhook access token invalid"));
        }
        let second = recent(taken, now, Duration::from_secs(1)).0;
        if second >= 5 || recent(taken, now, Duration::from_secs(60)).0 >= 100 {
            return Err((11232, "frequency limited psm[lark.oapi.app_platform_runtime]"));
        }
        if length > MAX_BODY || !body.is_object() {
            return Err((9499, "Bad Request"));
        }
        if let Some(secret) = &self.secret
            && !is_signed(body, secret, unix_seconds())
        {
            let said = "sign match fail or timestamp is not within one hour from current time";
            return Err((19021, said));
        }
        if let Some(keyword) = &self.keyword
            && !body.to_string().contains(keyword)
        {
            return Err((19024, "Key Words Not Found"));
        }
        match body["msg_type"].as_str() {
            Some("text") => match body["content"]["text"].as_str() {
                Some(text) if !text.is_empty() => Ok(()),
                Some(_) | None => Err((9499, "Bad Request")),
            },
            Some("interactive") if is_card(&body["card"]) => Ok(()),
            Some("interactive") => Err((11246, "Failed to create card content")),
            Some(_) | None => Err((9499, "Bad Request")),
        }
    }
}

/// base64(HMAC-SHA256(key = timestamp LF secret, message = nothing)), not older than an hour.
fn is_signed(body: &Value, secret: &str, now: u64) -> bool {
    let (Some(timestamp), Some(sign)) = (body["timestamp"].as_str(), body["sign"].as_str()) else {
        return false;
    };
    let fresh = timestamp.parse::<u64>().is_ok_and(|t| t.abs_diff(now) <= TOLERANCE);
    let key = format!("{timestamp}\n{secret}");
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    fresh && STANDARD.decode(sign).is_ok_and(|sign| mac.verify_slice(&sign).is_ok())
}

/// A header in plain text, elements of known kinds, links to the web only, and no mention of all.
fn is_card(card: &Value) -> bool {
    let title = &card["header"]["title"];
    let known =
        |element: &Value| matches!(element["tag"].as_str(), Some("div" | "hr" | "action" | "note"));
    let url = &card["elements"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|element| element["tag"] == "action")
        .map(|action| action["actions"][0]["url"].clone());
    title["tag"] == "plain_text"
        && title["content"].as_str().is_some_and(|text| !text.is_empty())
        && card["elements"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(known))
        && url.as_ref().is_none_or(|url| url.as_str().is_some_and(|url| url.starts_with("http")))
        && !card.to_string().to_lowercase().contains("<at")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Value), now: u64, expect: bool) {
        let mut body = json!({
            "timestamp": "1661860880",
            "sign": "QnWVTSBe6FmQDE0bG6X0mURbI+DnvVyu1h+j5dHOjrU=",
        });
        change(&mut body);
        assert_eq!(is_signed(&body, "xxx", now), expect, "{body} at {now}");
    }

    #[test]
    fn only_the_published_signature_within_the_hour_is_taken() {
        let (now, same) = (1_661_860_880, |_: &mut Value| {});
        check(same, now, true);
        check(same, now + TOLERANCE, true);
        check(same, now + TOLERANCE + 1, false);
        check(same, now - TOLERANCE - 1, false);
        check(|body| body["timestamp"] = json!("1661860881"), now, false);
        check(|body| body["timestamp"] = json!(1_661_860_880), now, false);
        check(|body| body["sign"] = json!("AAAA"), now, false);
        check(|body| body["sign"] = Value::Null, now, false);
    }
}
