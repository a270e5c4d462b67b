//! An application of Lark or Feishu: cards with buttons, which change as the incident does, and
//! answers in the chat (open.feishu.cn, "Send message", "Reply message", "Update message card").
//!
//! A message has a `uuid`, under which the application sends once an hour; so a repeat within the
//! hour is recognised, and one after it is not. Cards can be changed for fourteen days.
//!
//! What comes of a press on a card that is not changed anyway is shown on that card ("Delay updating
//! message card"), by the token that the press brings; everything else is answered by a message.
//!
//! Whatever stands in an alert is text: the card escapes it, buttons carry a position and a verb
//! alone, and no `<` is left in a text, where `<at user_id="all">` would ring everybody.

use std::time::Duration;

use domain::notify::{Language, feishu_card, feishu_text};
use reqwest::{Method, Url};
use schemas::job::SendKind;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Channel, Form, Grant, Key, Need, Notification, Rate, Request, Response, Verdict, excerpt,
    http_verdict, is_said, retry_after, text::cut,
};
use crate::config::Target;

#[cfg(test)]
mod tests;

/// Where applications of Feishu ask; those of Lark ask open.larksuite.com.
const FEISHU: &str = "https://open.feishu.cn";

/// Bodies with a card are at most 30 KB; the smaller reading of it is kept to.
const MAX_BODY: usize = 30_000;

/// How many characters of a long text a card shows: tried one after the other until it fits.
const TEXT_LIMITS: [usize; 2] = [4_000, 500];

/// The longest text, in bytes: 150 KB are taken, and nobody reads them.
const MAX_TEXT: usize = 20_000;

/// A text without a card is short: it stands in for one that was refused.
const MAX_PLAIN_TEXT: usize = 4_000;

/// How long a token may be, in bytes.
const MAX_TOKEN: usize = 4_096;

/// How long Lark remembers the `uuid` of a message.
const UUID_LASTS: Duration = Duration::from_secs(3_600);

/// How many buttons stand beside one another.
const ROW: usize = 3;

/// Sends cards and texts.
pub struct LarkApp;

impl Channel for LarkApp {
    fn kind(&self) -> &'static str {
        "lark-app"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key {
                name: "url",
                need: Need::May,
                form: Form::Address,
                remedy: "use https://open.larksuite.com for Lark, or remove the key for Feishu",
            },
            Key {
                name: "app_id",
                need: Need::Must,
                form: Form::Text { what: "this is no application", fits: is_id },
                remedy: "use the application's App ID, which begins with cli_",
            },
            Key {
                name: "app_secret",
                need: Need::Must,
                form: Form::Secret { what: "it is empty", fits: is_said },
                remedy: "use the application's App Secret as the console shows it",
            },
            Key {
                name: "receive_id",
                need: Need::Must,
                form: Form::Text { what: "this is no receiver", fits: |id| kind_of(id).is_some() },
                remedy: "use the id of a chat (oc_…), of a user (ou_… or on_…), or a user's mail \
                         address",
            },
        ]
    }

    fn can_edit(&self, _: &Target) -> bool {
        true
    }

    fn idempotent(&self) -> bool {
        true
    }

    /// A second message with the same `uuid` is not sent, within an hour.
    fn recognises_for(&self) -> Option<Duration> {
        Some(UUID_LASTS)
    }

    /// Never more than five in any second in one chat: a burst and what is allowed meanwhile.
    fn rate(&self) -> Rate {
        Rate { per_minute: 180, burst: 2 }
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        match n.kind {
            SendKind::Reply => match on_the_card(n, target) {
                Some(request) => request,
                None => self.send(n, "text", &words(&n.text, MAX_TEXT), target),
            },
            SendKind::Fire
            | SendKind::Resolve
            | SendKind::Update
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Test => {
                for card in cards(n) {
                    let request = self.send(n, "interactive", &card, target)?;
                    if fits(&request) {
                        return Ok(request);
                    }
                }
                self.plain(n, target)
            }
        }
    }

    fn edit(&self, n: &Notification, target: &Target, message: &str) -> Result<Request, String> {
        if !is_id(message) {
            return Err("the message is not known by an id".to_owned());
        }
        let url = address(target, &["im", "v1", "messages", message])?;
        for card in cards(n) {
            let body = json!({ "content": card.to_string() });
            let request = authorised(Method::PATCH, url.clone(), &body, target)?;
            if fits(&request) {
                return Ok(request);
            }
        }
        Err("the card does not fit into what Lark takes".to_owned())
    }

    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        self.send(n, "text", &words(&n.text, MAX_PLAIN_TEXT), target)
    }

    fn language(&self) -> Language {
        Language::SimplifiedChinese
    }

    fn outcome(&self, response: &Response) -> Verdict {
        let reply: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        match (reply["code"].as_i64(), http_verdict(response)) {
            (Some(0), Verdict::Delivered(_)) => {
                Verdict::Delivered(reply["data"]["message_id"].as_str().map(str::to_owned))
            }
            (None, Verdict::Delivered(_)) => {
                Verdict::Ambiguous(format!("status {} without a code", response.status))
            }
            (Some(0) | None, _) if response.status == 413 => {
                Verdict::TryPlain("status 413".to_owned())
            }
            (Some(0) | None, verdict) => verdict,
            (Some(code), _) => by_code(code, &reply, response),
        }
    }

    fn access(&self, target: &Target) -> Option<Result<Request, String>> {
        let ask = || {
            let url = address(target, &["auth", "v3", "tenant_access_token", "internal"])?;
            let secret = target.secret("app_secret").ok_or("the channel has no app_secret")?;
            let body = json!({
                "app_id": target.text("app_id").ok_or("the channel has no app_id")?,
                "app_secret": secret.expose_secret(),
            });
            Ok(Request::post_json(url, &body))
        };
        Some(ask())
    }

    fn grant(&self, response: &Response) -> Result<Grant, Verdict> {
        let reply: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let again = |reason| Verdict::Retry { after: None, pause_target: false, reason };
        match (reply["code"].as_i64(), http_verdict(response)) {
            (Some(0), Verdict::Delivered(_)) => {
                let token = reply["tenant_access_token"].as_str().filter(|token| is_token(token));
                let lasts = reply["expire"].as_u64().map(Duration::from_secs);
                let (token, lasts) =
                    token.zip(lasts).ok_or_else(|| again("code 0 without a token".to_owned()))?;
                Ok(Grant { token: SecretString::from(token), lasts })
            }
            (None, Verdict::Delivered(_)) => {
                Err(again(format!("status {} without a code", response.status)))
            }
            (Some(0) | None, verdict) => Err(verdict),
            // An application that is not there, or is switched off; a secret that is not its own.
            (Some(code @ (10003 | 10005 | 10012 | 10013 | 10014 | 10015)), _) => {
                Err(Verdict::Refused(format!(
                    "{} (set the channel's app_id and app_secret to the application's, and url to \
                     where it is registered)",
                    reason(code, &reply)
                )))
            }
            (Some(code), _) => match by_code(code, &reply, response) {
                limited @ Verdict::Retry { .. } => Err(limited),
                Verdict::Delivered(_)
                | Verdict::DeliveredInPart { .. }
                | Verdict::TryPlain(_)
                | Verdict::Refused(_)
                | Verdict::Ambiguous(_)
                | Verdict::Renew(_)
                | Verdict::CannotEdit(_)
                | Verdict::Moved { .. } => Err(again(reason(code, &reply))),
            },
        }
    }

    fn answers(&self, _: &Target) -> Option<&'static str> {
        Some("lark")
    }

    fn answers_by_credential(&self, _: &Target) -> Option<&'static str> {
        Some("lark")
    }
}

impl LarkApp {
    /// To the channel's receiver; an answer to where it was asked.
    fn send(
        &self,
        n: &Notification,
        kind: &str,
        content: &Value,
        target: &Target,
    ) -> Result<Request, String> {
        let mut body = json!({
            "msg_type": kind, "content": content.to_string(), "uuid": n.key.to_string(),
        });
        let to = match &n.reply {
            None => target.text("receive_id").ok_or("the channel has no receive_id")?,
            Some(reply) if reply.to.provider != "lark" => {
                return Err("it answers a question that was not asked in lark".to_owned());
            }
            Some(reply) => match (reply.to.message.as_deref(), reply.to.chat.as_deref()) {
                (Some(asked), _) if is_id(asked) => {
                    let url = address(target, &["im", "v1", "messages", asked, "reply"])?;
                    return authorised(Method::POST, url, &body, target);
                }
                (_, Some(chat)) => chat,
                (_, None) => return Err("the question names no chat to answer in".to_owned()),
            },
        };
        let kind = kind_of(to).ok_or("this is no receiver")?;
        let mut url = address(target, &["im", "v1", "messages"])?;
        url.query_pairs_mut().append_pair("receive_id_type", kind);
        body["receive_id"] = json!(to);
        authorised(Method::POST, url, &body, target)
    }
}

/// That what a press asks for was done, on the card that was pressed; none of what was not done, which
/// is nobody else's business, of what brings no token, or where the card shows an incident.
fn on_the_card(n: &Notification, target: &Target) -> Option<Result<Request, String>> {
    let (reply, token) = n.reply.as_ref().zip(target.answer_at.as_ref())?;
    if reply.to.provider != "lark" || reply.refused.is_some() || reply.to.ours {
        return None;
    }
    let request = || {
        let url = address(target, &["interactive", "v1", "card", "update"])?;
        let body = json!({ "token": token.expose_secret(), "card": bare_card(n) });
        authorised(Method::POST, url, &body, target)
    };
    Some(request())
}

/// The text alone, as a card that everybody sees changed.
fn bare_card(n: &Notification) -> Value {
    let (title, body) = n.text.split_once('\n').unwrap_or((&n.text, &n.text));
    let plain = |text: &str, limit| json!({ "tag": "plain_text", "content": cut(text, limit, char::len_utf8) });
    json!({
        "config": { "wide_screen_mode": true, "update_multi": true },
        "header": { "title": plain(title, 200) },
        "elements": [{ "tag": "div", "text": plain(body, MAX_PLAIN_TEXT) }],
    })
}

/// The cards that tell it, each smaller than the one before.
fn cards(n: &Notification) -> impl Iterator<Item = Value> {
    let of_limit = move |limit| {
        let number = n.shown_number();
        let mut card = feishu_card(&n.message(&number), limit)["card"].take();
        // Without it a card cannot be changed for everybody.
        card["config"]["update_multi"] = json!(true);
        with_buttons(card, n)
    };
    let bare = move || with_buttons(bare_card(n), n);
    TEXT_LIMITS.into_iter().map(of_limit).chain(std::iter::once_with(bare))
}

/// The card with what can be pressed above its last rule, or at its end.
fn with_buttons(mut card: Value, n: &Notification) -> Value {
    let button = |button: &super::Button| {
        json!({
            "tag": "button",
            "text": { "tag": "plain_text", "content": button.label },
            "type": if button.verb == "ack" { "primary" } else { "default" },
            "value": { "button": button.data },
        })
    };
    if let Some(elements) = card["elements"].as_array_mut() {
        let at = elements.iter().rposition(|element| element["tag"] == "hr");
        let at = at.unwrap_or(elements.len());
        let rows = n.buttons.chunks(ROW).map(|row| {
            let row: Vec<Value> = row.iter().map(button).collect();
            json!({ "tag": "action", "actions": row })
        });
        elements.splice(at..at, rows.collect::<Vec<_>>());
    }
    card
}

/// The content of a text message.
fn words(text: &str, limit: usize) -> Value {
    feishu_text(&cut(text, limit, char::len_utf8))["content"].take()
}

fn reason(code: i64, reply: &Value) -> String {
    format!("code {code}: {}", excerpt(reply["msg"].as_str().unwrap_or_default()))
}

/// What a code other than 0 means: nothing was sent or changed.
fn by_code(code: i64, reply: &Value, response: &Response) -> Verdict {
    let reason = reason(code, reply);
    let advice = |advice: &str| Verdict::Refused(format!("{reason} ({advice})"));
    match code {
        99991661 | 99991663 | 99991668 => Verdict::Renew(reason),
        // Of the application; of the chat; of the bot in older words.
        99991400 | 230020 | 11232 => {
            Verdict::Retry { after: retry_after(response), pause_target: true, reason }
        }
        // Lark's own trouble.
        2200 | 5000 | 230049 => Verdict::Retry { after: None, pause_target: false, reason },
        // Withdrawn; older than fourteen days; not to be seen; no card; changed too often; deleted.
        230011 | 230031 | 230050 | 230054 | 230072 | 230075 | 230110 => Verdict::CannotEdit(reason),
        230002 => advice("let the application's bot into the chat"),
        230006 => advice("switch the application's bot on in its console, and release it"),
        230013 => advice("the user may not see the application: extend its availability"),
        230027 | 99991672 => advice("give the application the scope im:message:send_as_bot"),
        _ => Verdict::TryPlain(reason),
    }
}

fn authorised(method: Method, url: Url, body: &Value, target: &Target) -> Result<Request, String> {
    let token = target.access.as_ref().ok_or("there is no access token")?;
    let headers = vec![
        ("content-type", "application/json; charset=utf-8".to_owned()),
        ("authorization", format!("Bearer {}", token.expose_secret())),
    ];
    Ok(Request::Http { method, url, headers, body: body.to_string().into_bytes() })
}

fn fits(request: &Request) -> bool {
    match request {
        Request::Http { body, .. } => body.len() <= MAX_BODY,
        Request::Print { .. } | Request::Mail(_) => false,
    }
}

/// `<base>/open-apis/<path>`. Errors show nothing of it.
fn address(target: &Target, path: &[&str]) -> Result<Url, String> {
    let base = target.address("url").map_or(FEISHU, Url::as_str).trim_end_matches('/');
    Url::parse(&format!("{base}/open-apis/{}", path.join("/")))
        .map_err(|_| "the url makes no address".to_owned())
}

/// What leads nowhere else in a path.
fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// What may stand in a header.
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// What kind of receiver an id is of, in the word of `receive_id_type`.
fn kind_of(id: &str) -> Option<&'static str> {
    let kinds = [("oc_", "chat_id"), ("ou_", "open_id"), ("on_", "union_id")];
    let by_prefix = kinds.iter().find(|(prefix, _)| id.starts_with(prefix));
    match by_prefix {
        Some((_, kind)) => is_id(id).then_some(*kind),
        None => {
            let mail = id.split_once('@').is_some_and(|(user, host)| {
                !user.is_empty() && host.contains('.') && id.bytes().all(|b| b.is_ascii_graphic())
            });
            mail.then_some("email")
        }
    }
}
