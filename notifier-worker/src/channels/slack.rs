//! Slack, by an app's incoming webhook or by its bot (docs.slack.dev: "Sending messages using
//! incoming webhooks", `chat.postMessage`, `chat.update`, "Blocks", "Rate limits").
//!
//! Everything told stands in `plain_text`, in which nothing is formatted, and is escaped, so that
//! `<!channel>` in an alert rings nobody. The webhook answers with a word and gives no message id.
//! The bot answers 200 to nearly everything, with the verdict in `ok` and `error`; it can change its
//! messages, has buttons, and answers in threads. Neither knows a repeat.
//!
//! A press and a slash command bring a `response_url` ("Handling user interaction"): for half an hour it
//! takes answers without a token, in any conversation, so it goes before the bot, which may not be
//! there. What is nobody else's business is answered for whoever asked alone. A question is posted to
//! no other host than Slack's.

use std::time::Duration;

use reqwest::{Method, Url};
use schemas::job::SendKind;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Channel, Form, Key, Need, Notification, Rate, Request, Response, Verdict, excerpt,
    http_verdict, retry_after, text,
};
use crate::config::Target;

mod blocks;

#[cfg(test)]
mod tests;

/// Where the methods of the public service are called.
const OFFICIAL: &str = "https://slack.com/api";

/// How much of a text stands in for the blocks where there is no room for them, as Slack counts.
/// Slack takes 40,000 characters and advises to keep to a tenth of that.
const MAX_TEXT: usize = 4_000;

/// How long to wait where Slack asks for patience and does not say how long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the public service takes answers.
const ANSWERS: &str = "hooks.slack.com";

/// What is asked for in order to read the answer: nobody else asked.
const QUESTIONS: [&str; 4] = ["help", "status", "top", "why"];

/// POSTs messages of blocks.
pub struct Slack;

impl Channel for Slack {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key {
                name: "url",
                need: Need::May,
                form: Form::Address,
                remedy: "set it to the app's incoming webhook, or use token and channel",
            },
            Key {
                name: "token",
                need: Need::May,
                form: Form::Secret { what: "this is no token of a bot", fits: is_token },
                remedy: "use the Bot User OAuth Token of the app, which starts with xoxb-",
            },
            Key {
                name: "channel",
                need: Need::May,
                form: Form::Text { what: "this is no id of a channel", fits: is_channel },
                remedy: "use the id at the end of the channel's details, like C0123456789",
            },
            Key {
                name: "api_url",
                need: Need::May,
                form: Form::Address,
                remedy: "set it to where Slack's methods are called, or remove the key",
            },
        ]
    }

    fn check(&self, target: &Target) -> Result<(), (&'static str, String, &'static str)> {
        let token = target.secret("token").is_some();
        let channel = target.text("channel").is_some();
        let one = "set url alone for an incoming webhook, or token and channel for a bot";
        match (target.address("url").is_some(), token, channel) {
            (true, false, false) if target.address("api_url").is_some() => {
                Err(("api_url", "an incoming webhook calls no methods".into(), "remove the key"))
            }
            (true, false, false) | (false, true, true) => Ok(()),
            (true, _, _) => Err(("url", "there is a bot's token or channel beside it".into(), one)),
            (false, true, false) => Err(("channel", "the bot has no channel".into(), one)),
            (false, false, true) => Err(("token", "nobody writes to the channel".into(), one)),
            (false, false, false) => Err(("url", "there is nowhere to send to".into(), one)),
        }
    }

    fn can_edit(&self, target: &Target) -> bool {
        target.secret("token").is_some()
    }

    fn idempotent(&self) -> bool {
        false
    }

    /// One a second to a channel, with short bursts; changes count 50 a minute.
    fn rate(&self) -> Rate {
        Rate { per_minute: 50, burst: 3 }
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        if let Some(request) = answer(with_blocks(n, false), n, target) {
            return request;
        }
        let Some(token) = target.secret("token") else {
            // A press is heard of where the app of the webhook sends it.
            return hook(with_blocks(n, target.source.is_some()), n, target);
        };
        let mut body = addressed(with_blocks(n, true), n, target)?;
        if let Some((channel, ts)) = follows(n) {
            body["channel"] = json!(channel);
            body["thread_ts"] = json!(ts);
            // A thread is read by those who follow it; what wakes people or tells them that it is
            // over stands in the channel as well.
            body["reply_broadcast"] = json!(n.kind != SendKind::Update);
        }
        call("chat.postMessage", &body, token, target)
    }

    fn edit(&self, n: &Notification, target: &Target, message: &str) -> Result<Request, String> {
        let token = target.secret("token").ok_or("an incoming webhook changes no messages")?;
        let (channel, ts) = text::place(message).ok_or("this is no message of a channel")?;
        let mut body = with_blocks(n, true);
        body["channel"] = json!(channel);
        body["ts"] = json!(ts);
        call("chat.update", &body, token, target)
    }

    fn outcome(&self, response: &Response) -> Verdict {
        let reply: Option<Value> = serde_json::from_slice(&response.body).ok();
        let by_status = http_verdict(response);
        let (taken, word) = match reply.as_ref().and_then(Value::as_object) {
            Some(reply) => {
                let ok = reply.get("ok").and_then(Value::as_bool);
                (ok == Some(true), reply.get("error").and_then(Value::as_str))
            }
            // The webhook answers with one word.
            None => {
                let said = std::str::from_utf8(&response.body).unwrap_or_default().trim();
                (said == "ok", Some(said).filter(|said| is_word(said) && *said != "ok"))
            }
        };
        match (taken, word, by_status) {
            (true, _, Verdict::Delivered(_)) => {
                let place = reply.and_then(|reply| {
                    Some(format!("{}/{}", reply["channel"].as_str()?, reply["ts"].as_str()?))
                });
                Verdict::Delivered(place)
            }
            (_, Some(word), Verdict::Delivered(_) | Verdict::Refused(_)) => by_word(word, response),
            (_, _, Verdict::Retry { after, .. }) if response.status == 429 => {
                patience(after, "status 429".to_owned())
            }
            (_, None, Verdict::Delivered(_)) => {
                Verdict::Ambiguous(format!("status {} without a verdict", response.status))
            }
            (_, _, by_status) => by_status,
        }
    }

    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        match target.secret("token") {
            None => {
                answer(words_only(n), n, target).unwrap_or_else(|| hook(words_only(n), n, target))
            }
            Some(token) => {
                let mut body = addressed(words_only(n), n, target)?;
                // Perhaps the thread is what was refused.
                body.as_object_mut().and_then(|fields| fields.remove("thread_ts"));
                call("chat.postMessage", &body, token, target)
            }
        }
    }

    fn answers(&self, target: &Target) -> Option<&'static str> {
        target.secret("token").map(|_| "slack")
    }

    fn answers_by_credential(&self, _: &Target) -> Option<&'static str> {
        Some("slack")
    }
}

/// What an error's word means: the message was not taken, or not changed.
fn by_word(word: &str, response: &Response) -> Verdict {
    let reason = excerpt(word);
    let advice = |advice: &str| Verdict::Refused(format!("{reason} ({advice})"));
    match word {
        "ratelimited" | "rate_limited" | "rollup_error" => patience(retry_after(response), reason),
        "message_not_found" | "cant_update_message" | "edit_window_closed" => {
            Verdict::CannotEdit(reason)
        }
        "not_authed" | "invalid_auth" | "account_inactive" | "token_revoked" | "token_expired"
        | "invalid_token" => {
            advice("the bot's token is not valid (any more): set the channel's token")
        }
        "missing_scope" | "no_permission" | "not_allowed_token_type" => {
            advice("give the app the scope chat:write, install it again, and set its token")
        }
        "channel_not_found" | "not_in_channel" => {
            advice("set the channel's channel, and invite the app into it")
        }
        "is_archived" | "channel_is_archived" => {
            advice("it is archived: set the channel's channel or url to one that is in use")
        }
        "no_service" | "no_service_id" | "no_active_hooks" | "no_team" | "team_disabled" => {
            advice("the incoming webhook is gone: set the channel's url to a new one")
        }
        "action_prohibited"
        | "restricted_action"
        | "restricted_action_read_only_channel"
        | "posting_to_general_channel_denied"
        | "ekm_access_denied"
        | "access_denied" => {
            advice("an administrator of the workspace has to allow the app to write there")
        }
        "service_unavailable" | "team_added_to_org" => {
            Verdict::Retry { after: retry_after(response), pause_target: false, reason }
        }
        // Some of it may have been done before it failed.
        "internal_error" | "fatal_error" | "request_timeout" => Verdict::Ambiguous(reason),
        // `invalid_blocks`, `invalid_payload`, `msg_too_long`, `thread_not_found`, and whatever
        // else it has against how a message is put.
        _ => Verdict::TryPlain(reason),
    }
}

fn patience(asked: Option<Duration>, reason: String) -> Verdict {
    Verdict::Retry { after: Some(asked.unwrap_or(PATIENCE)), pause_target: true, reason }
}

/// A message of blocks, and the text that stands for them in what Slack shows of a message
/// elsewhere.
fn with_blocks(n: &Notification, buttons: bool) -> Value {
    let mut body = words_only(n);
    body["blocks"] = blocks::of(n, buttons);
    body
}

/// The text without anything that Slack would read as more than text.
fn words_only(n: &Notification) -> Value {
    json!({
        "text": blocks::escape(&n.text, MAX_TEXT),
        "mrkdwn": false,
        "parse": "none",
        "link_names": false,
        // Otherwise Slack's servers would fetch what an alert names.
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// The body with the channel it goes to: the target's, or where a question was asked.
fn addressed(mut body: Value, n: &Notification, target: &Target) -> Result<Value, String> {
    match text::asked(n, "slack")? {
        Some((channel, _)) if !is_channel(channel) => {
            return Err("the question was asked in what is no channel".into());
        }
        Some((channel, message)) => {
            body["channel"] = json!(channel);
            if let Some(message) = message {
                body["thread_ts"] = json!(message);
            }
        }
        None => body["channel"] = json!(target.text("channel").ok_or("the target has no channel")?),
    }
    Ok(body)
}

/// Channel and time of the message that this follows, where it follows one.
fn follows(n: &Notification) -> Option<(&str, &str)> {
    match n.kind {
        SendKind::Resolve | SendKind::Update | SendKind::Remind => {
            n.first.as_deref().and_then(text::place)
        }
        SendKind::Fire | SendKind::Summary | SendKind::Test | SendKind::Reply => None,
    }
}

/// The answer to a question that brings where it is answered; none of what is no answer, or of a
/// question that brings nothing.
fn answer(mut body: Value, n: &Notification, target: &Target) -> Option<Result<Request, String>> {
    let (reply, brought) = n.reply.as_ref().zip(target.answer_at.as_ref())?;
    let Some(url) = Url::parse(brought.expose_secret()).ok().filter(|url| is_slacks(url, target))
    else {
        let bot = target.secret("token").is_some();
        let reason = "the question is to be answered at an address that is not Slack's".to_owned();
        return (!bot).then_some(Err(reason));
    };
    let done = reply.refused.is_none() && !QUESTIONS.contains(&reply.verb.as_str());
    body["response_type"] = json!(if done { "in_channel" } else { "ephemeral" });
    // Otherwise it could take the place of the message that was pressed.
    body["replace_original"] = json!(false);
    if let Some(message) = reply.to.message.as_deref().filter(|_| done) {
        body["thread_ts"] = json!(message);
    }
    Some(Ok(Request::post_json(url, &body)))
}

/// Whether answers may be posted there: to Slack, or to whom the configuration names in its place.
fn is_slacks(url: &Url, target: &Target) -> bool {
    let configured = ["url", "api_url"].into_iter().filter_map(|key| target.address(key));
    let plain = url.username().is_empty() && url.password().is_none();
    let official =
        url.scheme() == "https" && url.host_str() == Some(ANSWERS) && url.port().is_none();
    plain && (official || configured.into_iter().any(|known| known.origin() == url.origin()))
}

fn hook(body: Value, n: &Notification, target: &Target) -> Result<Request, String> {
    if n.kind == SendKind::Reply {
        return Err("an incoming webhook answers only where a question says: use a bot".into());
    }
    Ok(Request::post_json(target.url()?.clone(), &body))
}

/// `<base>/<method>` with the token as header. Errors show nothing of either.
fn call(
    method: &str,
    body: &Value,
    token: &SecretString,
    target: &Target,
) -> Result<Request, String> {
    let base = target.address("api_url").map_or(OFFICIAL, Url::as_str).trim_end_matches('/');
    let url = Url::parse(&format!("{base}/{method}"));
    let url = url.map_err(|_| "api_url makes no address".to_owned())?;
    let headers = vec![
        ("content-type", "application/json; charset=utf-8".to_owned()),
        ("authorization", format!("Bearer {}", token.expose_secret())),
    ];
    Ok(Request::Http { method: Method::POST, url, headers, body: body.to_string().into_bytes() })
}

/// `xoxb-…`, or `xoxe.xoxb-…` where tokens are exchanged; nothing that could end a header.
fn is_token(text: &str) -> bool {
    let rest = text.strip_prefix("xoxe.").unwrap_or(text);
    let key = rest.strip_prefix("xoxb-").unwrap_or_default();
    (10..=400).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// A public or private channel, or a conversation with one person. Names would do for new messages
/// and not for changes.
fn is_channel(text: &str) -> bool {
    (8..=32).contains(&text.len())
        && text.starts_with(['C', 'G', 'D'])
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
