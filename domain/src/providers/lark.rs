//! Lark and Feishu: messages and reactions (event subscription, schemas 1.0 and 2.0) and presses of
//! buttons (`card.action.trigger`, and the card callback of before).
//!
//! With an encrypt key (a source's `secret`) bodies are encrypted and signed; without one there is no
//! signature, and the verification token (a source's `token`) in the body is all there is. The card
//! callback of before is signed otherwise, with the verification token. Sources of all this:
//! the Go SDK (github.com/larksuite/oapi-sdk-go, `event` and `card`).

use schemas::record::{Auth, Delivery};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Credential, DeliveryKey, Normalised, Outgoing, Proof, Provider, Reading, Refused, Reply,
    Request, Secret,
    interaction::{
        Ask, By, Interaction, Place, ReplyCredential, Target, command, press, user, word_of,
    },
    json, sign,
};

pub(super) mod proof;
#[cfg(test)]
mod tests;

use proof::{card_signature, event_signature, keys, open, token, unsigned_handshake};

const MISSING: Refused =
    Refused { code: "signature_missing", detail: "Missing X-Lark-Signature header" };
/// Whatever is wrong with a signed or sealed body: which of it would tell how far somebody came.
const INVALID: Refused = Refused { code: "signature_invalid", detail: "Invalid X-Lark-Signature" };

/// What documents and scripts send in place of a signature; never one (R14).
const TEST_SIGNATURE: &str = "test_signature";

/// Reactions that say "I have it" (R16).
const ACKNOWLEDGES: [&str; 4] = ["THUMBSUP", "OK", "DONE", "OnIt"];

/// What a press is answered; what comes of it is shown on the card (R17).
const RECEIVED: &str = r#"{"toast":{"type":"info","content":"已收到"}}"#;

/// How long, in seconds, and how often the token of a card's callback may be used
/// (open.feishu.cn, "Delay updating message card").
const CARD_TOKEN: (i64, u32) = (30 * 60, 2);

/// See the module.
pub struct Lark;

impl Provider for Lark {
    fn name(&self) -> &'static str {
        "lark"
    }

    fn title(&self) -> &'static str {
        "Lark"
    }

    fn version(&self) -> u32 {
        3
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["x-lark-request-timestamp", "user-agent"]
    }

    fn accepts(&self, credential: &Credential) -> bool {
        matches!(credential, Credential::Hmac { .. } | Credential::Token { .. })
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/lark/event", "/lark/card/action"]
    }

    fn channel_type(&self) -> &'static str {
        "chat"
    }

    fn channels(&self) -> &'static [&'static str] {
        &["lark", "lark-app", "feishu"]
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Lark encrypt key or verification token missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let signature = request.header("x-lark-signature").unwrap_or_default().trim();
        let has_key = keys(credentials).next().is_some();
        if signature == TEST_SIGNATURE {
            return Err(INVALID);
        }
        // 20 bytes of SHA-1; an event's signature has 32.
        if signature.len() == 40 {
            return card_signature(request, signature, credentials);
        }
        match (has_key, signature) {
            (true, "") => unsigned_handshake(request, credentials),
            (true, signature) => event_signature(request, signature, credentials),
            (false, _) => token(&outline(request.body), credentials),
        }
    }

    fn sign(&self, outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        match secret {
            Secret::Signing(key) => {
                let (timestamp, nonce) = (sign::unix_seconds(outgoing), outgoing.id.to_owned());
                let signed = [timestamp.as_bytes(), nonce.as_bytes(), key, outgoing.body].concat();
                Some(Proof::headers([
                    ("x-lark-signature", const_hex::encode(Sha256::digest(signed))),
                    ("x-lark-request-timestamp", timestamp),
                    ("x-lark-request-nonce", nonce),
                ]))
            }
            Secret::Token(token) => {
                let mut body = parse(outgoing.body);
                let of_event = body.get_mut("header").and_then(Value::as_object_mut);
                let place = match of_event {
                    Some(header) => header,
                    None => body.as_object_mut()?,
                };
                place.insert("token".to_owned(), Value::from(token.as_str()));
                let body = Some(body.to_string().into_bytes());
                Some(Proof { body, ..Proof::default() })
            }
            Secret::Basic { .. } | Secret::Bearer(_) => None,
        }
    }

    fn unseal(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Option<Vec<u8>>, Refused> {
        let body = parse(request.body);
        if !is_sealed(&body) {
            return Ok(None);
        }
        open(&body, credentials).map(Some).ok_or(INVALID)
    }

    fn reply(&self, request: &Request<'_>) -> Reply {
        let body = parse(request.body);
        if let (true, Some(challenge)) = (is_handshake(&body), json::at(&body, &["challenge"])) {
            let body = json!({ "challenge": challenge }).to_string();
            return Reply::Handshake { status: 200, body };
        }
        let press = kind(&body) == Kind::Press || kind(&body) == Kind::PressOfBefore;
        let body = if press { RECEIVED } else { "{}" };
        Reply::Stored { status: 200, body: body.to_owned() }
    }

    fn normalise(&self, delivery: &Delivery, _: &Reading<'_>) -> Normalised {
        let body = match json::body(&delivery.raw) {
            Ok((body, _)) if body.is_object() => body,
            Ok(_) => return Normalised::Rejected { reason: "not_an_object".to_owned() },
            Err(reason) => return Normalised::Rejected { reason },
        };
        let event = &body["event"];
        let kind = kind(&body);
        let told = match kind {
            Kind::Message => message(event),
            Kind::MessageOfBefore => message_of_before(event),
            Kind::MessageAlone => message_alone(event),
            Kind::Reaction => reaction(event),
            Kind::Press => {
                let id = json::text(event, &["operator", "open_id"]);
                Ok((id, press(&event["action"]["value"])))
            }
            Kind::PressOfBefore => {
                Ok((json::text(&body, &["open_id"]), press(&body["action"]["value"])))
            }
            Kind::Handshake => Err("url_verification".to_owned()),
            Kind::Sealed => return Normalised::Rejected { reason: "still_encrypted".to_owned() },
            Kind::Other(kind) => Err(format!("event: {}", word_of(kind))),
            Kind::Unknown => return Normalised::Rejected { reason: "no_event".to_owned() },
        };
        match told {
            Ok((id, ask)) => match id.and_then(|id| user("lark", id)) {
                Some(user) => {
                    let (by, place) = whereabouts(kind, &body, id);
                    let on = match by {
                        By::Button | By::Reaction => place.message.as_deref().map(message_target),
                        By::Command => None,
                    };
                    Normalised::Interaction {
                        interaction: Box::new(Interaction { user, by, place, on, ask }),
                        key: key(&body),
                    }
                }
                None => Normalised::Recorded { reason: "no_user".to_owned() },
            },
            Err(reason) => Normalised::Recorded { reason },
        }
    }

    fn reply_credential(&self, delivery: &Delivery) -> Option<ReplyCredential> {
        let body = parse(&delivery.raw);
        let token = match kind(&body) {
            Kind::Press => json::text(&body, &["event", "token"]),
            Kind::PressOfBefore => json::text(&body, &["token"]),
            Kind::Message
            | Kind::MessageOfBefore
            | Kind::MessageAlone
            | Kind::Reaction
            | Kind::Handshake
            | Kind::Sealed
            | Kind::Other(_)
            | Kind::Unknown => None,
        };
        ReplyCredential::new(token, CARD_TOKEN.0, CARD_TOKEN.1)
    }
}

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    Handshake,
    Message,
    /// Of schema 1.0.
    MessageOfBefore,
    /// Without a header, the sender within: as people try the address by hand (R65).
    MessageAlone,
    Reaction,
    Press,
    /// The flat card callback.
    PressOfBefore,
    Sealed,
    Other(&'a str),
    Unknown,
}

fn kind(body: &Value) -> Kind<'_> {
    // Bodies with the header of an event and this type were seen; the type wins.
    if is_handshake(body) {
        return Kind::Handshake;
    }
    if is_sealed(body) {
        return Kind::Sealed;
    }
    match (json::text(body, &["header", "event_type"]), json::text(body, &["event", "type"])) {
        (Some("im.message.receive_v1"), _) => Kind::Message,
        (Some("im.message.reaction.created_v1"), _) => Kind::Reaction,
        (Some("card.action.trigger"), _) => Kind::Press,
        (Some(other), _) => Kind::Other(other),
        (None, Some("message")) => Kind::MessageOfBefore,
        (None, None) if body["event"]["message"].is_object() => Kind::MessageAlone,
        (None, Some(other)) => Kind::Other(other),
        (None, None) if is_card(body) => Kind::PressOfBefore,
        (None, None) => Kind::Unknown,
    }
}

fn is_handshake(body: &Value) -> bool {
    json::text(body, &["type"]) == Some("url_verification")
}

fn is_sealed(body: &Value) -> bool {
    body.get("encrypt").is_some()
}

/// Whether this is the flat callback; its `token` is for changing the card, not for proving anything.
fn is_card(body: &Value) -> bool {
    let of_event = ["schema", "header", "event", "uuid"];
    json::at(body, &["action"]).is_some_and(Value::is_object)
        && of_event.iter().all(|name| body.get(name).is_none())
}

/// A body that proves nothing yet.
fn outline(body: &[u8]) -> Value {
    json::outline(body).unwrap_or_default()
}

fn parse(body: &[u8]) -> Value {
    json::body(body).map_or(Value::Null, |(body, _)| body)
}

/// The user and what the message asks for, or why it asks for nothing.
fn message(event: &Value) -> Result<(Option<&str>, Ask), String> {
    if json::text(event, &["sender", "sender_type"]) != Some("user") {
        return Err("sent_by_an_app".to_owned());
    }
    let kind = json::text(event, &["message", "message_type"]).unwrap_or_default();
    if kind != "text" {
        return Err(format!("not_text: {}", word_of(kind)));
    }
    let content = json::text(event, &["message", "content"]).unwrap_or_default();
    let content: Value = serde_json::from_str(content).unwrap_or_default();
    let mut text = json::text(&content, &["text"]).unwrap_or_default().to_owned();
    let mentions = event["message"]["mentions"].as_array();
    for key in mentions.into_iter().flatten().filter_map(|mention| mention["key"].as_str()) {
        text = without(&text, key);
    }
    let user = json::text(event, &["sender", "sender_id", "open_id"]);
    let replied_to = json::text(event, &["message", "parent_id"]);
    Ok((user, asked(&text, replied_to)?))
}

fn message_of_before(event: &Value) -> Result<(Option<&str>, Ask), String> {
    let kind = json::text(event, &["msg_type"]).unwrap_or_default();
    if kind != "text" {
        return Err(format!("not_text: {}", word_of(kind)));
    }
    let text = json::text(event, &["text_without_at_bot"]).or(json::text(event, &["text"]));
    let text = without_tags(text.unwrap_or_default());
    let ask = asked(&text, json::text(event, &["parent_id"]))?;
    Ok((json::text(event, &["open_id"]), ask))
}

fn message_alone(event: &Value) -> Result<(Option<&str>, Ask), String> {
    let content = json::text(event, &["message", "content"]).unwrap_or_default();
    let content: Value = serde_json::from_str(content).unwrap_or_default();
    let mut text = json::text(&content, &["text"]).unwrap_or_default().trim_start();
    // Nothing says whose name it is.
    while text.starts_with('@') {
        text = text.split_once(char::is_whitespace).map_or("", |(_, behind)| behind.trim_start());
    }
    let ask = asked(text, None)?;
    Ok((json::text(event, &["message", "sender", "sender_id", "open_id"]), ask))
}

/// With what it was asked, and where: in a chat of nobody else where the body names none.
fn whereabouts(kind: Kind<'_>, body: &Value, user: Option<&str>) -> (By, Place) {
    let event = &body["event"];
    let (by, chat, message) = match kind {
        Kind::Message => {
            let of = |name| json::text(event, &["message", name]);
            (By::Command, of("chat_id"), of("message_id"))
        }
        Kind::MessageOfBefore => {
            let of = |name| json::text(event, &[name]);
            (By::Command, of("open_chat_id"), of("open_message_id"))
        }
        Kind::Press => {
            let of = |name| json::text(event, &["context", name]);
            (By::Button, of("open_chat_id"), of("open_message_id"))
        }
        Kind::PressOfBefore => {
            let of = |name| json::text(body, &[name]);
            (By::Button, of("open_chat_id"), of("open_message_id"))
        }
        Kind::Reaction => {
            return (By::Reaction, Place::new(None, json::text(event, &["message_id"])));
        }
        Kind::MessageAlone | Kind::Handshake | Kind::Sealed | Kind::Other(_) | Kind::Unknown => {
            (By::Command, None, None)
        }
    };
    (by, Place::new(chat.or(user), message))
}

fn asked(text: &str, replied_to: Option<&str>) -> Result<Ask, String> {
    let replied_to = replied_to.map(message_target);
    command(text, false, replied_to).ok_or_else(|| "no_command".to_owned())
}

fn reaction(event: &Value) -> Result<(Option<&str>, Ask), String> {
    // Our own reactions come back as events.
    if json::text(event, &["operator_type"]) != Some("user") {
        return Err("sent_by_an_app".to_owned());
    }
    let emoji = json::text(event, &["reaction_type", "emoji_type"]).unwrap_or_default();
    let message = json::text(event, &["message_id"]);
    let (Some(message), true) = (message, ACKNOWLEDGES.contains(&emoji)) else {
        return Err(format!("unmapped_reaction: {}", word_of(emoji)));
    };
    let target = message_target(message);
    let ask = Ask::Do { verb: "ack", target, arguments: "{}".to_owned() };
    Ok((json::text(event, &["user_id", "open_id"]), ask))
}

fn message_target(id: &str) -> Target {
    Target::Message { chat: "lark", id: id.to_owned() }
}

/// The text without a word that stands for whoever was mentioned: `@_user_1`, not `@_user_10`.
fn without(text: &str, mention: &str) -> String {
    let words = text.split(' ').filter(|word| *word != mention);
    words.collect::<Vec<_>>().join(" ")
}

/// The text without `<at ...>name</at>`.
fn without_tags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once("<at ") {
        out.push_str(before);
        rest = tag.split_once("</at>").map_or("", |(_, behind)| behind);
    }
    out + rest
}

/// What makes it the same again. A message is known by its own id: the same one was seen under two
/// ids of events.
fn key(body: &Value) -> Option<DeliveryKey> {
    let stable =
        |kind: &str, id: &str| Some(DeliveryKey { key: format!("{kind}:{id}"), stable: true });
    let event = &body["event"];
    let message = match kind(body) {
        Kind::Message => json::text(event, &["message", "message_id"]),
        Kind::MessageOfBefore => json::text(event, &["open_message_id"]),
        Kind::PressOfBefore => {
            // Nothing names the press but what it carries, and a token made for it.
            let parts = ["open_message_id", "open_id", "token"].map(|name| body[name].to_string());
            let action = body["action"]["value"].to_string();
            let hash = Sha256::digest(format!("{}\0{action}", parts.join("\0")));
            let key = format!("press:{}", const_hex::encode(hash));
            return Some(DeliveryKey { key, stable: false });
        }
        Kind::Reaction | Kind::Press | Kind::Handshake | Kind::Sealed => None,
        Kind::MessageAlone => json::text(event, &["message", "message_id"]),
        Kind::Other(_) | Kind::Unknown => None,
    };
    match message {
        Some(id) => stable("message", id),
        None => {
            let id = json::text(body, &["header", "event_id"]).or(json::text(body, &["uuid"]));
            id.and_then(|id| stable("event", id))
        }
    }
}
