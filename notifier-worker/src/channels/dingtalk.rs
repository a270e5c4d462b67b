//! DingTalk's custom robot: markdown with a title, signed where the robot asks for it
//! (open.dingtalk.com, "Custom robot access").
//!
//! The robot answers 200 to nearly everything; what became of a message stands in `errcode`. It
//! gives no message id, knows no repeat, and is silenced for ten minutes when it is asked too often.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use schemas::job::SendKind;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    Channel, Form, Key, Need, Notification, Rate, Request, Response, Verdict, excerpt, is_said,
    robot, text,
};
use crate::config::Target;

#[cfg(test)]
mod tests;

/// The robot takes bodies up to about 20 KB; the smaller reading of it is kept to.
const MAX_BODY: usize = 20_000;

/// How many characters of a long text are shown: tried one after the other until it fits. Most
/// characters here are three bytes, and some are six once they are in JSON.
const TEXT_LIMITS: [usize; 3] = [6_000, 3_000, 1_000];

/// A text that stands in for a refused one is short.
const PLAIN_LIMIT: usize = 1_000;

/// What the list of conversations shows of a message.
const TITLE_LIMIT: usize = 64;

/// How long the robot stays silent once it was asked too often.
const MUTED: Duration = Duration::from_secs(600);

/// POSTs markdown.
pub struct DingTalk;

impl Channel for DingTalk {
    fn kind(&self) -> &'static str {
        "dingtalk"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key {
                name: "url",
                need: Need::Must,
                form: Form::Address,
                remedy: "set it to the robot's webhook address, with its access_token",
            },
            Key {
                name: "secret",
                need: Need::May,
                form: Form::Secret { what: "it is empty", fits: is_said },
                remedy: "use the secret that the robot's security settings show, SEC and all, or \
                         remove the key",
            },
            Key {
                name: "mention",
                need: Need::May,
                form: Form::Texts { what: "one of these is nobody", fits: is_said },
                remedy: "list user ids, or @all",
            },
            Key {
                name: "mention_mobiles",
                need: Need::May,
                form: Form::Texts { what: "one of these is no number of a phone", fits: is_mobile },
                remedy: "list the numbers as they are in DingTalk, like 13800001111",
            },
        ]
    }

    fn check(&self, target: &Target) -> Result<(), (&'static str, String, &'static str)> {
        robot::check(target, "access_token")
    }

    fn can_edit(&self, _: &Target) -> bool {
        false
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn rate(&self) -> Rate {
        robot::RATE
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let parts = text::parts(&n.text);
        let title = text::cut(parts.headline, TITLE_LIMIT, |_| 1);
        for limit in TEXT_LIMITS {
            let body = json!({
                "msgtype": "markdown",
                "markdown": { "title": title, "text": markdown(n, &parts, limit, target) },
                "at": at(n, target),
            });
            if body.to_string().len() <= MAX_BODY {
                return post(&body, n, target);
            }
        }
        self.plain(n, target)
    }

    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let mut content = text::cut(&n.text, PLAIN_LIMIT, |_| 1).into_owned();
        let called = called(n, target);
        if !called.is_empty() {
            content = format!("{content}\n{called}");
        }
        let body = json!({
            "msgtype": "text", "text": { "content": content }, "at": at(n, target),
        });
        post(&body, n, target)
    }

    fn outcome(&self, response: &Response) -> Verdict {
        robot::outcome(response, by_code)
    }
}

/// What a code other than 0 means: the robot has not taken the message.
fn by_code(code: i64, said: &str) -> Verdict {
    let reason = format!("errcode {code}: {}", excerpt(said));
    let advice = |advice: &str| Verdict::Refused(format!("{reason} ({advice})"));
    match code {
        -1 => Verdict::Retry { after: None, pause_target: false, reason },
        // Whoever goes on asking is not heard any sooner.
        130101 | 410100 | 660026 => {
            Verdict::Retry { after: Some(MUTED), pause_target: true, reason }
        }
        300001 | 300005 | 400101 | 400106 => advice(
            "the url's access_token is wrong, or the robot was removed: set the channel's url",
        ),
        400013 | 400102 => {
            advice("the group or the robot is switched off: set another robot's url")
        }
        310000 => advice(security(said)),
        // 400105, 4301xx, 460101, and whatever else it has against how a message is put.
        _ => Verdict::TryPlain(reason),
    }
}

/// What to do about a message that did not pass the robot's security settings, which say which of
/// them it was.
fn security(said: &str) -> &'static str {
    let said = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["keyword", "关键词"]) {
        "the robot asks for a keyword that the message does not have: let it ask for a signature"
    } else if says(&["timestamp", "时间戳"]) && !says(&["sign not match", "签名不匹配"]) {
        "the time of the signature is over an hour off: check this machine's clock"
    } else if says(&["ip", "地址"]) && !says(&["sign", "签名"]) {
        "this machine's address is not on the robot's list of allowed addresses"
    } else {
        "the signature does not fit: set the channel's secret to the robot's"
    }
}

/// The message as markdown, of which about `limit` characters are shown.
fn markdown(n: &Notification, parts: &text::Parts<'_>, limit: usize, target: &Target) -> String {
    let mut blocks = Vec::new();
    let headline = escape(&text::cut(parts.headline, limit, |_| 1));
    if !headline.is_empty() {
        blocks.push(format!("#### {headline}"));
    }
    let whole = parts.sections.join("\n---\n");
    let shown = text::cut(&whole, limit, |_| 1);
    for section in shown.split("\n---\n") {
        // One line break alone is none.
        let lines: Vec<String> = section.lines().map(escape).collect();
        blocks.push(lines.join("  \n"));
    }
    if let Some((url, label)) = text::link(n) {
        let url = url.as_str().replace('(', "%28").replace(')', "%29");
        blocks.push(format!("[{label}]({url})"));
    }
    blocks.push(called(n, target));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n")
}

/// A line of foreign text. What begins a link, a picture, a tag, a heading or a quotation is written
/// as a letter that looks like it, because nothing says how to escape it; of emphasis and code it is
/// known that a backslash does.
fn escape(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len() + 8);
    let mut begun = false;
    for c in line.chars() {
        match c {
            '[' => escaped.push('［'),
            ']' => escaped.push('］'),
            '<' => escaped.push('＜'),
            '#' if !begun => escaped.push('＃'),
            '>' if !begun => escaped.push('＞'),
            '\\' | '`' | '*' | '_' => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
        begun |= !c.is_whitespace();
    }
    escaped
}

/// Whom the message rings: those the channel names, of what is to wake somebody.
fn at(n: &Notification, target: &Target) -> Value {
    if called(n, target).is_empty() {
        return json!({ "isAtAll": false });
    }
    let users: Vec<&String> =
        target.texts("mention").iter().filter(|user| *user != "@all").collect();
    json!({
        "atMobiles": target.texts("mention_mobiles"),
        "atUserIds": users,
        "isAtAll": target.texts("mention").iter().any(|user| user == "@all"),
    })
}

/// The same in the text, without which nobody is rung.
fn called(n: &Notification, target: &Target) -> String {
    if !wakes(n) {
        return String::new();
    }
    let names = target.texts("mention").iter().chain(target.texts("mention_mobiles"));
    let names: Vec<String> =
        names.map(|name| format!("@{}", name.trim_start_matches('@'))).collect();
    names.join(" ")
}

/// Only what fires, or still does and nobody has it.
fn wakes(n: &Notification) -> bool {
    match n.kind {
        SendKind::Fire | SendKind::Remind => true,
        SendKind::Resolve
        | SendKind::Update
        | SendKind::Summary
        | SendKind::Test
        | SendKind::Reply => false,
    }
}

fn is_mobile(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (5..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

fn post(body: &Value, n: &Notification, target: &Target) -> Result<Request, String> {
    let mut url = target.url()?.clone();
    if let Some(secret) = target.secret("secret") {
        let timestamp = n.attempted_at.micros().div_euclid(1_000).to_string();
        let sign = sign(secret, &timestamp);
        url.query_pairs_mut().append_pair("timestamp", &timestamp).append_pair("sign", &sign);
    }
    let headers = vec![("content-type", "application/json".to_owned())];
    Ok(Request::Http { method: Method::POST, url, headers, body: body.to_string().into_bytes() })
}

/// The HMAC-SHA256 of `timestamp LF secret` under the secret, the timestamp in milliseconds. Feishu
/// has key and message the other way round, and seconds.
fn sign(secret: &SecretString, timestamp: &str) -> String {
    let secret = secret.expose_secret();
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length fits");
    mac.update(format!("{timestamp}\n{secret}").as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}
