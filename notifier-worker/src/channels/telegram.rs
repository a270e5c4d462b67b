//! Telegram's bots: the flat text, sent to one chat or one topic of it, with keys below it
//! (core.telegram.org/bots/api, `sendMessage`, `editMessageText`).
//!
//! Without a parse mode nothing in the text is markup, so nothing has to be escaped and the text
//! arrives as it was rendered. The bot's token stands in the address, which is therefore never
//! shown. A repeat is not recognised. A group that became a supergroup has another id
//! (`ResponseParameters.migrate_to_chat_id`), and what stood in it cannot be changed any more.

use std::time::Duration;

use reqwest::Url;
use schemas::job::SendKind;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    Button, Channel, Form, Key, LONGEST_WAIT, Need, Notification, Rate, Request, Response, Verdict,
    excerpt, http_verdict, retry_after, text,
};
use crate::config::Target;

#[cfg(test)]
mod tests;

/// Where the bots of the public service are asked.
const OFFICIAL: &str = "https://api.telegram.org";

/// The longest text, in UTF-16 code units, which is what Telegram counts in.
const MAX_TEXT: usize = 4_096;

/// The longest text of a second try.
const MAX_PLAIN_TEXT: usize = 1_024;

/// What a key hands back, in bytes.
const MAX_DATA: usize = 64;

/// Calls `sendMessage` and `editMessageText`.
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

    fn can_edit(&self, _: &Target) -> bool {
        true
    }

    fn idempotent(&self) -> bool {
        false
    }

    /// One a second and twenty a minute, which is what groups take, changes included.
    fn rate(&self) -> Rate {
        Rate { per_minute: 20, burst: 1 }
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let body = with_keys(sent(n, MAX_TEXT, target)?, n, page(n));
        call("sendMessage", &body, target)
    }

    fn edit(&self, n: &Notification, target: &Target, message: &str) -> Result<Request, String> {
        let place = text::place(message).and_then(|(chat, id)| Some((chat, id.parse().ok()?)));
        let (chat, id): (&str, i64) = place.ok_or("this is no message of a chat")?;
        let mut body = told(n, MAX_TEXT);
        body["chat_id"] = chat_id(chat);
        body["message_id"] = json!(id);
        // Without keys those it has go.
        call("editMessageText", &with_keys(body, n, page(n)), target)
    }

    /// A short text, with the keys only that hand something back: perhaps the link is what was
    /// refused.
    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let body = with_keys(sent(n, MAX_PLAIN_TEXT, target)?, n, None);
        call("sendMessage", &body, target)
    }

    fn answers(&self, _: &Target) -> Option<&'static str> {
        Some("telegram")
    }

    fn chat<'a>(&self, n: &'a Notification, target: &'a Target) -> Option<&'a str> {
        match &n.reply {
            Some(reply) => reply.to.chat.as_deref(),
            None => target.text("chat_id"),
        }
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

/// What is said of a message that is gone, or of one that may not be changed any more.
const CANNOT_EDIT: [&str; 4] = [
    "message to edit not found",
    "message can't be edited",
    "message_id_invalid",
    "no text in the message to edit",
];

/// What is said of a message that is refused as it is put.
const CANNOT_SHOW: [&str; 6] = [
    "can't parse entities",
    "too long",
    "button_url_invalid",
    "wrong http url",
    "button_data_invalid",
    "reply_markup_too_long",
];

/// What `"ok": false` means; the message was not taken.
fn refused(reply: &Value, response: &Response, by_status: Verdict) -> Verdict {
    let said = reply["description"].as_str().unwrap_or_default();
    let code = reply["error_code"].as_i64().unwrap_or_else(|| i64::from(response.status));
    let reason = format!("{code}: {}", excerpt(said));
    let said = said.to_ascii_lowercase();
    let parameters = &reply["parameters"];
    if let Some(chat) = parameters["migrate_to_chat_id"].as_i64() {
        return Verdict::Moved { to: chat.to_string(), reason };
    }
    match code {
        429 => {
            let asked = parameters["retry_after"].as_u64().map(Duration::from_secs);
            let after = asked.map(|wait| wait.min(LONGEST_WAIT)).or_else(|| retry_after(response));
            Verdict::Retry { after, pause_target: true, reason }
        }
        // It stands there as it should.
        400 if said.contains("message is not modified") => Verdict::Delivered(None),
        400 if CANNOT_EDIT.iter().any(|words| said.contains(words)) => Verdict::CannotEdit(reason),
        400 if CANNOT_SHOW.iter().any(|words| said.contains(words)) => Verdict::TryPlain(reason),
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

/// What is shown, without where.
fn told(n: &Notification, limit: usize) -> Value {
    json!({
        "text": text::cut(&without_mentions(&n.text), limit, char::len_utf16),
        // Otherwise Telegram's servers would fetch what an alert names.
        "link_preview_options": { "is_disabled": true },
    })
}

/// A new message: in the target's chat and topic or, of a reply, where it was asked; below what it
/// answers or follows.
fn sent(n: &Notification, limit: usize, target: &Target) -> Result<Value, String> {
    let mut body = told(n, limit);
    let below = match text::asked(n, "telegram")? {
        Some((chat, message)) => {
            body["chat_id"] = chat_id(target.moved.as_deref().unwrap_or(chat));
            // What asks stayed behind in the group.
            message.filter(|_| target.moved.is_none())
        }
        None => {
            let chat = target.text("chat_id").ok_or("the channel has no chat_id")?;
            let chat = target.moved.as_deref().unwrap_or(chat);
            body["chat_id"] = chat_id(chat);
            if let Some(thread) = target.number("thread_id") {
                body["message_thread_id"] = json!(thread);
            }
            follows(n, chat)
        }
    };
    if let Some(id) = below.and_then(|id| id.parse::<i64>().ok()) {
        // A message that was deleted meanwhile keeps nobody from being told.
        body["reply_parameters"] = json!({ "message_id": id, "allow_sending_without_reply": true });
    }
    Ok(body)
}

/// The message that this follows, where it follows one of this chat.
fn follows<'a>(n: &'a Notification, chat: &str) -> Option<&'a str> {
    match n.kind {
        SendKind::Resolve | SendKind::Update | SendKind::Remind => {
            let (there, id) = text::place(n.first.as_deref()?)?;
            // A public name stands for the same chat as its number.
            (there == chat || chat.starts_with('@')).then_some(id)
        }
        SendKind::Fire | SendKind::Summary | SendKind::Test | SendKind::Reply => None,
    }
}

/// Numbers are chats, names are channels.
fn chat_id(chat: &str) -> Value {
    chat.parse::<i64>().map_or_else(|_| json!(chat), |id| json!(id))
}

/// The body with a keyboard below the message, where there is anything to press.
fn with_keys(mut body: Value, n: &Notification, page: Option<Value>) -> Value {
    let mut rows = rows(&n.buttons);
    rows.extend(page.map(|page| vec![page]));
    if !rows.is_empty() {
        body["reply_markup"] = json!({ "inline_keyboard": rows });
    }
    body
}

/// Rows of two; the last is of three where one would be left over.
fn rows(buttons: &[Button]) -> Vec<Vec<Value>> {
    let fit = |button: &&Button| (1..=MAX_DATA).contains(&button.data.len());
    let keys: Vec<Value> = buttons
        .iter()
        .filter(fit)
        .map(|button| json!({ "text": button.label, "callback_data": button.data }))
        .collect();
    let mut rows: Vec<Vec<Value>> = keys.chunks(2).map(<[Value]>::to_vec).collect();
    if let [.., before, last] = rows.as_mut_slice()
        && last.len() == 1
    {
        before.append(last);
        rows.pop();
    }
    rows
}

/// The key that opens the sender's page. Telegram refuses addresses that lead nowhere on the
/// internet, such as a bare name of a host.
fn page(n: &Notification) -> Option<Value> {
    let (url, label) = text::link(n)?;
    let host = url.host_str()?;
    (host.contains('.') || host.contains(':'))
        .then(|| json!({ "text": label, "url": url.as_str() }))
}

fn call(method: &str, body: &Value, target: &Target) -> Result<Request, String> {
    Ok(Request::post_json(address(method, target)?, body))
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

/// `<base>/bot<token>/<method>`. Errors show nothing of it.
fn address(method: &str, target: &Target) -> Result<Url, String> {
    let token = target.secret("token").ok_or("the channel has no token")?.expose_secret();
    let base = target.address("url").map_or(OFFICIAL, Url::as_str).trim_end_matches('/');
    Url::parse(&format!("{base}/bot{token}/{method}"))
        .map_err(|_| "url and token make no address".to_owned())
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
