//! A WeCom group robot: key, sizes in bytes, the form of text and markdown, and the limit of the
//! rate. It answers 200 to everything, with the verdict in `errcode`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    response::Response,
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Arrival, Inbox, recent};

/// The robot's key.
pub const KEY: &str = "00000000-of-these-tests-only-0123";

/// The robot; it stops when dropped.
#[derive(Debug)]
pub struct Robot {
    /// Where to send to.
    pub url: String,
    pub inbox: Arc<Inbox>,
    server: JoinHandle<()>,
}

impl Robot {
    /// Starts on a free loopback port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/cgi-bin/webhook/send?key={KEY}");
        let inbox = Arc::new(Inbox::new());
        let app =
            Router::new().route("/cgi-bin/webhook/send", post(take)).with_state(Arc::clone(&inbox));
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

async fn take(
    State(inbox): State<Arc<Inbox>>,
    Query(query): Query<HashMap<String, String>>,
    raw: Bytes,
) -> Response {
    let check = |taken: &[Arrival], now: Duration, body: &Value| {
        let key = query.get("key").map(String::as_str).unwrap_or_default();
        check(key, taken, now, body)
            .map_err(|(code, said)| (200, json!({ "errcode": code, "errmsg": said })))?;
        Ok(json!({ "errcode": 0, "errmsg": "ok" }))
    };
    inbox.answer(&raw, check).await
}

fn check(key: &str, taken: &[Arrival], now: Duration, body: &Value) -> Result<(), (i64, String)> {
    let refused = |code: i64, said: &str| Err((code, said.to_owned()));
    if key != KEY {
        return refused(93000, &format!("invalid webhook url, hint: [1], key: {key}"));
    }
    if recent(taken, now, Duration::from_secs(60)).0 >= 20 {
        return refused(45009, "api freq out of limit");
    }
    let kind = body["msgtype"].as_str().unwrap_or_default();
    let limit = match kind {
        "text" => 2_048,
        "markdown" => 4_096,
        _ => return refused(40008, "invalid message type"),
    };
    match body[kind]["content"].as_str().map(str::len) {
        None | Some(0) => refused(44004, "empty content"),
        Some(bytes) if bytes > limit => {
            refused(40058, &format!("{kind}.content exceed max length {limit}"))
        }
        Some(_) => Ok(()),
    }
}

/// Whom a message rings: its lists, and what is a mention in its markdown.
pub fn rung(body: &Value) -> Vec<String> {
    let lists = ["mentioned_list", "mentioned_mobile_list"];
    let listed = lists.into_iter().flat_map(|name| body["text"][name].as_array()).flatten();
    let mut rung: Vec<String> = listed.filter_map(Value::as_str).map(str::to_owned).collect();
    for content in [&body["text"]["content"], &body["markdown"]["content"]] {
        let mentions = content.as_str().unwrap_or_default().split("<@").skip(1);
        rung.extend(mentions.filter_map(|rest| rest.split_once('>')).map(|(id, _)| id.to_owned()));
    }
    rung
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_rules_are_enforced() {
        let said = |kind: &str, n: usize| {
            let mut body = json!({ "msgtype": kind });
            body[kind] = json!({ "content": "界".repeat(n) });
            body
        };
        let now = Duration::from_secs(100);
        let before = |ms: u64| Arrival {
            at: now - Duration::from_millis(ms),
            body: Value::Null,
            refused: None,
            fair: true,
        };
        for (key, taken, body, expect) in [
            (KEY, vec![], said("text", 682), None),
            (KEY, vec![], said("text", 683), Some(40058)),
            (KEY, vec![], said("markdown", 1_365), None),
            (KEY, vec![], said("markdown", 1_366), Some(40058)),
            (KEY, vec![], said("text", 0), Some(44004)),
            (KEY, vec![], said("voice", 1), Some(40008)),
            ("other", vec![], said("text", 1), Some(93000)),
            (KEY, vec![before(59_000); 19], said("text", 1), None),
            (KEY, vec![before(59_000); 20], said("text", 1), Some(45009)),
        ] {
            let got = check(key, &taken, now, &body).err().map(|(code, _)| code);
            assert_eq!(got, expect);
        }
        let body = json!({
            "text": {"content": "x", "mentioned_list": ["ada"]},
            "markdown": {"content": "<@eve> <font>"},
        });
        assert_eq!(rung(&body), ["ada", "eve"]);
    }
}
