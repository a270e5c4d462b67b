//! Telegram's bots: the flat text, sent to one chat or one topic of it (core.telegram.org/bots/api,
//! `sendMessage`).
//!
//! Without a parse mode nothing in the text is markup, so nothing has to be escaped and the text
//! arrives as it was rendered. The bot's token stands in the address, which is therefore never
//! shown. A repeat is not recognised.

use std::time::Duration;

use reqwest::Url;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    Channel, Form, Key, LONGEST_WAIT, Need, Notification, Rate, Request, Response, Verdict,
    excerpt, http_verdict, retry_after,
};
use crate::config::Target;

/// Where the bots of the public service are asked.
const OFFICIAL: &str = "https://api.telegram.org";

/// The longest text, in UTF-16 code units, which is what Telegram counts in.
const MAX_TEXT: usize = 4_096;

/// The longest text of a second try.
const MAX_PLAIN_TEXT: usize = 1_024;

/// Calls `sendMessage`.
pub struct Telegram;

impl Channel for Telegram {
    fn kind(&self) -> &'static str {
        "telegram"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key {
                name: "url",
                need: Need::May,
                form: Form::Address,
                remedy: "set it to a server of the Bot API, or remove the key",
            },
            Key {
                name: "token",
                need: Need::Must,
                form: Form::Secret { what: "this is no bot's token", fits: is_token },
                remedy: "use the bot's token, digits, a colon and letters, as @BotFather gives it",
            },
            Key {
                name: "chat_id",
                need: Need::Must,
                form: Form::Text { what: "this is no chat", fits: is_chat },
                remedy: "use the chat's number (negative of a group), or @name of a public chat",
            },
            Key {
                name: "thread_id",
                need: Need::May,
                form: Form::Number { what: "this is no topic", fits: |thread| thread > 0 },
                remedy: "use the topic's number",
            },
        ]
    }

    /// Telegram can; nothing here does yet.
    fn can_edit(&self, _: &Target) -> bool {
        false
    }

    fn idempotent(&self) -> bool {
        false
    }

    /// One a second and twenty a minute, which is what groups take.
    fn rate(&self) -> Rate {
        Rate { per_minute: 20, burst: 1 }
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        send_message(&without_mentions(&n.text), MAX_TEXT, target)
    }

    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        send_message(&without_mentions(&n.text), MAX_PLAIN_TEXT, target)
    }

    fn outcome(&self, response: &Response) -> Verdict {
        let reply: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        match (reply["ok"].as_bool(), http_verdict(response)) {
            (Some(true), Verdict::Delivered(_)) => {
                // Ids of messages are unique within a chat. Whoever answers a message names both.
                let (chat, id) = (&reply["result"]["chat"]["id"], &reply["result"]["message_id"]);
                let place = chat.as_i64().zip(id.as_i64());
                Verdict::Delivered(place.map(|(chat, id)| format!("{chat}/{id}")))
            }
            (Some(false), verdict) => refused(&reply, response, verdict),
            (_, Verdict::Delivered(_)) => {
                Verdict::Ambiguous(format!("status {} without a verdict", response.status))
            }
            (_, Verdict::Refused(reason)) if matches!(response.status, 401 | 404) => {
                Verdict::Refused(format!("{reason} ({BAD_TOKEN})"))
            }
            (_, verdict) => verdict,
        }
    }
}

const BAD_TOKEN: &str = "the bot's token is not valid (any more): set the channel's token";

/// What `"ok": false` means; the message was not taken.
fn refused(reply: &Value, response: &Response, by_status: Verdict) -> Verdict {
    let said = reply["description"].as_str().unwrap_or_default();
    let code = reply["error_code"].as_i64().unwrap_or_else(|| i64::from(response.status));
    let reason = format!("{code}: {}", excerpt(said));
    let said = said.to_ascii_lowercase();
    let parameters = &reply["parameters"];
    if let Some(chat) = parameters["migrate_to_chat_id"].as_i64() {
        return Verdict::Refused(format!(
            "{reason} (the group became a supergroup: set the channel's chat_id to {chat})"
        ));
    }
    match code {
        429 => {
            let asked = parameters["retry_after"].as_u64().map(Duration::from_secs);
            let after = asked.map(|wait| wait.min(LONGEST_WAIT)).or_else(|| retry_after(response));
            Verdict::Retry { after, pause_target: true, reason }
        }
        400 if said.contains("can't parse entities") || said.contains("too long") => {
            Verdict::TryPlain(reason)
        }
        400 if said.contains("chat not found") => Verdict::Refused(format!(
            "{reason} (set the channel's chat_id, and let the bot into the chat)"
        )),
        400 if said.contains("thread not found") => {
            Verdict::Refused(format!("{reason} (set the channel's thread_id to an open topic's)"))
        }
        401 | 404 => Verdict::Refused(format!("{reason} ({BAD_TOKEN})")),
        403 => Verdict::Refused(format!(
            "{reason} (the bot was blocked or is not in the chat: let it in again)"
        )),
        500..=599 => Verdict::Retry { after: retry_after(response), pause_target: false, reason },
        _ => match by_status {
            // A status that says otherwise takes nothing back.
            Verdict::Delivered(_) | Verdict::Refused(_) => Verdict::Refused(reason),
            verdict => verdict,
        },
    }
}

fn send_message(text: &str, limit: usize, target: &Target) -> Result<Request, String> {
    let chat = target.text("chat_id").ok_or("the channel has no chat_id")?;
    let mut body = json!({
        // Numbers are chats, names are channels.
        "chat_id": chat.parse::<i64>().map_or_else(|_| json!(chat), |id| json!(id)),
        "text": cut(text, limit),
        // Otherwise Telegram's servers would fetch what an alert names.
        "link_preview_options": { "is_disabled": true },
    });
    if let Some(thread) = target.number("thread_id") {
        body["message_thread_id"] = json!(thread);
    }
    Ok(Request::post_json(address(target)?, &body))
}

/// Digits, a colon, and what base64 in addresses is made of: nothing that could lead elsewhere.
fn is_token(text: &str) -> bool {
    text.split_once(':').is_some_and(|(bot, key)| {
        (1..=20).contains(&bot.len())
            && bot.bytes().all(|b| b.is_ascii_digit())
            && (20..=100).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    })
}

fn is_chat(text: &str) -> bool {
    match text.strip_prefix('@') {
        Some(name) => {
            (4..=32).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        }
        None => text.parse::<i64>().is_ok_and(|id| id != 0),
    }
}

/// `<base>/bot<token>/sendMessage`. Errors show nothing of it.
fn address(target: &Target) -> Result<Url, String> {
    let token = target.secret("token").ok_or("the channel has no token")?.expose_secret();
    let base = target.address("url").map_or(OFFICIAL, |url| url.as_str()).trim_end_matches('/');
    Url::parse(&format!("{base}/bot{token}/sendMessage"))
        .map_err(|_| "url and token make no address".to_owned())
}

/// The head of `text` that has at most `limit` UTF-16 code units, cut between code points.
fn cut(text: &str, limit: usize) -> String {
    if text.encode_utf16().count() <= limit {
        return text.to_owned();
    }
    let mut units = 0;
    // One is for the mark that something is missing.
    let fits = |c: &char| {
        units += c.len_utf16();
        units < limit
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// The text with a word joiner after each `@` that would begin a mention, lest an alert ring
/// somebody. An address of mail is none: before its `@` stands a word.
fn without_mentions(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        shown.push(c);
        if c == '@' && !in_word {
            shown.push('\u{2060}');
        }
        in_word = c.is_alphanumeric() || c == '_';
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        channels::tests::{notification, parts, response},
        config::tests::target_of,
    };

    const TOKEN: &str = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";

    fn target(more: Value) -> Target {
        let mut config = json!({"kind": "telegram", "token": TOKEN, "chat_id": -100_123});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        target_of(config).unwrap()
    }

    #[test]
    fn r35_the_text_is_sent_as_it_is() {
        let n = notification();
        let (url, _, body) = parts(Telegram.request(&n, &target(json!({}))).unwrap());
        assert_eq!(url, format!("https://api.telegram.org/bot{TOKEN}/sendMessage"));
        let expect = json!({
            "chat_id": -100_123,
            "text": n.text,
            "link_preview_options": {"is_disabled": true},
        });
        assert_eq!(body, expect);

        let more = json!({
            "chat_id": "@ops_alerts", "thread_id": 7, "url": "http://10.0.0.1:8081/telegram/",
            "allow_private": true,
        });
        let (url, _, body) = parts(Telegram.request(&n, &target(more)).unwrap());
        assert_eq!(url, format!("http://10.0.0.1:8081/telegram/bot{TOKEN}/sendMessage"));
        assert_eq!(
            (&body["chat_id"], &body["message_thread_id"]),
            (&json!("@ops_alerts"), &json!(7))
        );
    }

    #[test]
    fn a6_a_long_text_is_cut_between_code_points() {
        for (text, units) in [
            ("x".repeat(4_096), 4_096),
            ("x".repeat(4_097), 4_096),
            ("🦀".repeat(2_048), 4_096),
            // The last crab has no room beside the mark.
            ("🦀".repeat(2_049), 4_095),
            ("界".repeat(9_000), 4_096),
        ] {
            let n = Notification { text: text.clone(), ..notification() };
            let (_, _, body) = parts(Telegram.request(&n, &target(json!({}))).unwrap());
            let sent = body["text"].as_str().unwrap();
            assert_eq!(sent.encode_utf16().count(), units);
            assert!(text.starts_with(sent.trim_end_matches('…')));
            assert_eq!(sent.ends_with('…'), sent != text);
            let (_, _, body) = parts(Telegram.plain(&n, &target(json!({}))).unwrap());
            assert!(body["text"].as_str().unwrap().encode_utf16().count() <= 1_024);
        }
    }

    #[test]
    fn a6_an_alert_rings_nobody() {
        for (text, expect) in [
            ("@ops help", "@\u{2060}ops help"),
            ("(@ops) mail a.b@example.com", "(@\u{2060}ops) mail a.b@example.com"),
            ("@@x", "@\u{2060}@\u{2060}x"),
        ] {
            assert_eq!(without_mentions(text), expect);
        }
    }

    fn check(status: u16, body: Value, expect: Verdict) {
        let got = Telegram.outcome(&response(status, None, &body.to_string()));
        assert_eq!(got, expect, "{status} {body}");
    }

    fn failed(code: u16, description: &str, parameters: Value) -> Value {
        json!({"ok": false, "error_code": code, "description": description, "parameters": parameters})
    }

    #[test]
    fn a7_what_each_answer_means() {
        let taken = json!({"ok": true, "result": {"message_id": 42, "chat": {"id": -1001}}});
        check(200, taken, Verdict::Delivered(Some("-1001/42".into())));
        check(200, json!({"ok": true}), Verdict::Delivered(None));
        check(200, json!({}), Verdict::Ambiguous("status 200 without a verdict".into()));

        let wait = |seconds, reason: &str| Verdict::Retry {
            after: Some(Duration::from_secs(seconds)),
            pause_target: true,
            reason: reason.into(),
        };
        let said = "Too Many Requests: retry after 7";
        check(429, failed(429, said, json!({"retry_after": 7})), wait(7, &format!("429: {said}")));
        check(
            200,
            failed(429, said, json!({"retry_after": 9_999})),
            wait(3_600, &format!("429: {said}")),
        );

        let said = "Bad Request: can't parse entities: unmatched tag";
        check(400, failed(400, said, Value::Null), Verdict::TryPlain(format!("400: {said}")));
        let said = "Bad Request: message is too long";
        check(400, failed(400, said, Value::Null), Verdict::TryPlain(format!("400: {said}")));
        let retry =
            Verdict::Retry { after: None, pause_target: false, reason: "502: Bad Gateway".into() };
        check(502, failed(502, "Bad Gateway", Value::Null), retry);
        check(
            400,
            failed(400, "Bad Request: x", Value::Null),
            Verdict::Refused("400: Bad Request: x".into()),
        );

        for (code, said, parameters, named) in [
            (
                400,
                "Bad Request: group chat was upgraded",
                json!({"migrate_to_chat_id": -1_009_876}),
                "-1009876",
            ),
            (400, "Bad Request: chat not found", Value::Null, "chat_id"),
            (400, "Bad Request: message thread not found", Value::Null, "thread_id"),
            (401, "Unauthorized", Value::Null, "token"),
            (404, "Not Found", Value::Null, "token"),
            (403, "Forbidden: bot was kicked", Value::Null, "kicked"),
        ] {
            let body = failed(code, said, parameters).to_string();
            let Verdict::Refused(reason) = Telegram.outcome(&response(code, None, &body)) else {
                panic!("{said}")
            };
            assert!(reason.contains(said) && reason.contains(named), "{reason}");
        }
        let Verdict::Refused(reason) = Telegram.outcome(&response(404, None, "<html>")) else {
            panic!("404")
        };
        assert!(reason.contains("token"), "{reason}");
    }
}
