//! Slack: presses of buttons (interactivity), slash commands, and messages and reactions (Events
//! API).
//!
//! Requests are signed (api.slack.com/authentication/verifying-requests-from-slack): over `v0:`, the
//! timestamp, `:` and the body as it was sent, which is a form for buttons and slash commands. Buttons
//! of ours carry their text in `value`. What comes of a press or a slash command can be answered at the
//! `response_url` they bring (docs.slack.dev, "Handling user interaction").

use schemas::record::{Auth, Delivery};
use serde_json::{Value, json};

use super::{
    Credential, DeliveryKey, Normalised, Outgoing, Proof, Provider, Reading, Refused, Reply,
    Request, Secret, auth,
    interaction::{
        self, Ask, By, Interaction, Place, ReplyCredential, Target, command, press, word_of,
    },
    json, sign,
};

const MISSING: Refused =
    Refused { code: "signature_missing", detail: "Missing X-Slack-Signature header" };
const INVALID: Refused = Refused { code: "signature_invalid", detail: "Invalid X-Slack-Signature" };

/// Reactions that say "I have it" (R16).
const ACKNOWLEDGES: [&str; 5] = ["+1", "thumbsup", "ok", "ok_hand", "white_check_mark"];

/// What a slash command is answered, for whoever typed it alone.
const RECEIVED: &str = r#"{"response_type":"ephemeral","text":"已收到"}"#;

/// How long, in seconds, and how often a `response_url` may be used.
const RESPONSE_URL: (i64, u32) = (30 * 60, 5);

/// See the module.
pub struct Slack;

impl Provider for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn title(&self) -> &'static str {
        "Slack"
    }

    fn version(&self) -> u32 {
        3
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["x-slack-request-timestamp", "x-slack-retry-num", "x-slack-retry-reason", "user-agent"]
    }

    fn accepts(&self, credential: &Credential) -> bool {
        matches!(credential, Credential::Hmac { .. })
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/slack/interactivity", "/slack/command"]
    }

    fn channel_type(&self) -> &'static str {
        "chat"
    }

    fn channels(&self) -> &'static [&'static str] {
        &["slack"]
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Slack signing secret missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let timestamp = request.header("x-slack-request-timestamp").unwrap_or_default();
        let signature = request.header("x-slack-signature").ok_or(MISSING)?.trim();
        let message = [b"v0:", timestamp.as_bytes(), b":", request.body];
        // Without its prefix it is compared all the same, and refused.
        let hex = signature.strip_prefix("v0=").unwrap_or_default();
        let Auth { credential, .. } = auth::hmac_hex(hex, &message, credentials).ok_or(INVALID)?;
        if !auth::is_fresh(timestamp, request) {
            return Err(auth::STALE);
        }
        Ok(Auth { method: "slack_v0".to_owned(), credential })
    }

    fn sign(&self, outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        let Secret::Signing(secret) = secret else { return None };
        let timestamp = sign::unix_seconds(outgoing);
        let message = [b"v0:", timestamp.as_bytes(), b":", outgoing.body];
        let signature = sign::hmac_hex(secret, &message)?;
        Some(Proof::headers([
            ("x-slack-signature", format!("v0={signature}")),
            ("x-slack-request-timestamp", timestamp),
        ]))
    }

    fn reply(&self, request: &Request<'_>) -> Reply {
        let stored = |body: &str| Reply::Stored { status: 200, body: body.to_owned() };
        match shape(request.body) {
            Shape::Json(body) => {
                let challenge = json::text(&body, &["challenge"]);
                match (json::text(&body, &["type"]), challenge) {
                    (Some("url_verification"), Some(challenge)) => {
                        let body = json!({ "challenge": challenge }).to_string();
                        Reply::Handshake { status: 200, body }
                    }
                    _ => stored("{}"),
                }
            }
            Shape::Command(_) => stored(RECEIVED),
            Shape::Press(_) | Shape::Unknown => stored("{}"),
        }
    }

    fn normalise(&self, delivery: &Delivery, _: &Reading<'_>) -> Normalised {
        let told = match shape(&delivery.raw) {
            Shape::Json(body) => event(&body),
            Shape::Command(form) => typed(&form),
            Shape::Press(payload) => pressed(&payload),
            Shape::Unknown => {
                return Normalised::Rejected { reason: "no_payload".to_owned() };
            }
        };
        match told {
            Ok(Told { user, by, place, on, ask, key }) => Normalised::Interaction {
                interaction: Box::new(Interaction { user, by, place, on, ask }),
                key: key.map(|key| DeliveryKey { key, stable: true }),
            },
            Err(reason) => Normalised::Recorded { reason },
        }
    }

    fn reply_credential(&self, delivery: &Delivery) -> Option<ReplyCredential> {
        let (seconds, uses) = RESPONSE_URL;
        match shape(&delivery.raw) {
            Shape::Command(form) => ReplyCredential::new(form.field("response_url"), seconds, uses),
            Shape::Press(payload) => {
                ReplyCredential::new(json::text(&payload, &["response_url"]), seconds, uses)
            }
            Shape::Json(_) | Shape::Unknown => None,
        }
    }
}

/// What a body is.
enum Shape {
    /// Of the Events API.
    Json(Value),
    /// A slash command's form.
    Command(Form),
    /// What stands in the field `payload` of a form.
    Press(Value),
    Unknown,
}

/// The fields of a form, decoded.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    fn field(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }
}

fn shape(body: &[u8]) -> Shape {
    if body.trim_ascii_start().starts_with(b"{") {
        return match json::body(body) {
            Ok((body, _)) => Shape::Json(body),
            Err(_) => Shape::Unknown,
        };
    }
    let form = Form::parse(body);
    if let Some(payload) = form.field("payload") {
        return match json::body(payload.as_bytes()) {
            Ok((payload, _)) if payload.is_object() => Shape::Press(payload),
            Ok(_) | Err(_) => Shape::Unknown,
        };
    }
    if form.field("command").is_some() { Shape::Command(form) } else { Shape::Unknown }
}

struct Told {
    user: String,
    by: By,
    place: Place,
    on: Option<Target>,
    ask: Ask,
    key: Option<String>,
}

fn user(id: Option<&str>) -> Result<String, String> {
    id.and_then(|id| interaction::user("slack", id)).ok_or_else(|| "no_user".to_owned())
}

fn event(body: &Value) -> Result<Told, String> {
    let event = &body["event"];
    let kind = json::text(event, &["type"]).or(json::text(body, &["type"])).unwrap_or_default();
    let key = json::text(body, &["event_id"]).map(|id| format!("event:{id}"));
    let from_app = json::at(event, &["bot_id"]).is_some()
        || json::text(event, &["subtype"]).is_some_and(|subtype| subtype.starts_with("bot_"));
    if from_app {
        return Err("sent_by_an_app".to_owned());
    }
    let user = user(json::text(event, &["user"]));
    let channel = json::text(event, &["channel"]);
    let (by, place, on, ask) = match kind {
        "message" | "app_mention" => {
            let text = json::text(event, &["text"]).unwrap_or_default();
            let (text, mentioned) = without_mentions(text);
            let replied_to = json::text(event, &["thread_ts"]);
            let replied_to = replied_to.and_then(|ts| message(channel, ts));
            // The client takes a slash for one of its own commands, so that none can be written.
            let addressed = mentioned && kind == "app_mention";
            // An answer stands in the thread of what asks; the thread is known by its first message.
            let ts = json::text(event, &["thread_ts"]).or(json::text(event, &["ts"]));
            let ask = command(&text, addressed, replied_to).ok_or("no_command")?;
            (By::Command, Place::new(channel, ts), None, ask)
        }
        "reaction_added" => {
            let reaction = json::text(event, &["reaction"]).unwrap_or_default();
            // A skin tone follows the name behind `::`.
            let name = reaction.split("::").next().unwrap_or_default();
            let item = &event["item"];
            let ts = json::text(item, &["ts"]).unwrap_or_default();
            let channel = json::text(item, &["channel"]);
            match message(channel, ts) {
                Some(target) if ACKNOWLEDGES.contains(&name) => {
                    let on = Some(target.clone());
                    let ask = Ask::Do { verb: "ack", target, arguments: "{}".to_owned() };
                    (By::Reaction, Place::new(channel, Some(ts)), on, ask)
                }
                _ => return Err(format!("unmapped_reaction: {}", word_of(reaction))),
            }
        }
        other => return Err(format!("event: {}", word_of(other))),
    };
    Ok(Told { user: user?, by, place, on, ask, key })
}

fn typed(form: &Form) -> Result<Told, String> {
    let user = user(form.field("user_id"))?;
    let (name, text) = (form.field("command").unwrap_or_default(), form.field("text"));
    let line = format!("{name} {}", text.unwrap_or_default());
    // A command of its own name, or ours with the name of what is asked for behind it.
    let ask = match command(&line, false, None) {
        Some(Ask::Say { about }) if about.starts_with("unknown_command") => {
            command(text.unwrap_or("help"), true, None)
        }
        asked => asked,
    };
    let key = form.field("trigger_id").map(|id| format!("trigger:{id}"));
    let place = Place::new(form.field("channel_id"), None);
    let ask = ask.ok_or("no_command")?;
    Ok(Told { user, by: By::Command, place, on: None, ask, key })
}

fn pressed(payload: &Value) -> Result<Told, String> {
    let kind = json::text(payload, &["type"]).unwrap_or_default();
    if !["block_actions", "interactive_message"].contains(&kind) {
        return Err(format!("interaction: {}", word_of(kind)));
    }
    let user = user(json::text(payload, &["user", "id"]))?;
    let action = payload["actions"].as_array().and_then(|actions| actions.first());
    let ask = press(action.map_or(&Value::Null, |action| &action["value"]));
    let key = json::text(payload, &["trigger_id"]).map(|id| format!("trigger:{id}"));
    let of = |one: &[&str; 2], other: &[&str; 2]| {
        json::text(payload, one).or(json::text(payload, other))
    };
    let channel = of(&["container", "channel_id"], &["channel", "id"]);
    let ts = of(&["container", "message_ts"], &["message", "ts"]);
    let on = ts.and_then(|ts| message(channel, ts));
    Ok(Told { user, by: By::Button, place: Place::new(channel, ts), on, ask, key })
}

/// A text without the mentions it begins with (`<@U024BE7LH>`), and whether there were any.
fn without_mentions(text: &str) -> (String, bool) {
    let mut rest = text.trim_start();
    while let Some(mention) = rest.strip_prefix("<@") {
        let Some((_, behind)) = mention.split_once('>') else { break };
        rest = behind.trim_start();
    }
    (rest.to_owned(), rest.len() < text.trim_start().len())
}

/// A message, as the channel names those it sent: times are unique within a channel.
fn message(channel: Option<&str>, ts: &str) -> Option<Target> {
    let channel = channel.filter(|_| !ts.is_empty())?;
    Some(Target::Message { chat: "slack", id: format!("{channel}/{ts}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::tests::{delivery, normalise, request};

    const SECRET: &[u8] = b"0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    const BODY: &str = "command=%2Fbw&text=&user_id=U0ROAD&user_name=runner&trigger_id=17.4.ab\
        &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT0%2F1%2Fx";
    /// `printf 'v0:1763617422:%s' "$BODY" | openssl dgst -sha256 -hmac "$SECRET"`
    const SIGNATURE: &str = "v0=1b8ebecf916a60e2e704431663b29e7d34558ad19bcb60a4d2ff1f72dc2b97e8";

    #[test]
    fn requests_are_signed_with_their_time() {
        let hmac =
            |id: &str, secret: &[u8]| Credential::Hmac { id: id.into(), secret: secret.into() };
        let both = [hmac("current", b"another"), hmac("previous", SECRET)];
        let check = |seconds: i64, signature: &str, body: &str, expect: Result<&str, &str>| {
            let headers = [
                ("x-slack-request-timestamp".to_owned(), "1763617422".to_owned()),
                ("x-slack-signature".to_owned(), signature.to_owned()),
            ];
            let received_at = schemas::Time::from_micros((1_763_617_422 + seconds) * 1_000_000);
            let request = Request { received_at, ..request(&headers, body.as_bytes()) };
            let found = Slack.authenticate(&request, &both);
            let found = found.as_ref().map(|auth| auth.credential.as_deref().unwrap());
            assert_eq!(found.map_err(|refused| refused.code), expect, "{seconds} {signature}");
        };
        check(0, SIGNATURE, BODY, Ok("previous"));
        check(300, SIGNATURE, BODY, Ok("previous"));
        check(-300, SIGNATURE, BODY, Ok("previous"));
        check(301, SIGNATURE, BODY, Err("signature_stale"));
        check(-301, SIGNATURE, BODY, Err("signature_stale"));
        check(0, SIGNATURE, &BODY.replace("runner", "coyote"), Err("signature_invalid"));
        check(0, &SIGNATURE.replace("v0=1", "v0=2"), BODY, Err("signature_invalid"));
        check(0, &SIGNATURE.replace("v0=", "v1="), BODY, Err("signature_invalid"));
        check(0, &SIGNATURE[3..], BODY, Err("signature_invalid"));
        check(0, &SIGNATURE[..60], BODY, Err("signature_invalid"));
        check(0, "v0=", BODY, Err("signature_invalid"));
        check(0, "", BODY, Err("signature_invalid"));
        let unsigned = Slack.authenticate(&request(&[], b"{}"), &both).unwrap_err();
        assert_eq!(unsigned.code, "signature_missing");
        assert!(!Slack.accepts(&Credential::Token { id: "a".into(), token: vec![1] }));
    }

    fn told(body: &str) -> String {
        match normalise("slack", &json!({}), body.as_bytes()) {
            Normalised::Interaction { interaction, key } => {
                let Interaction { user, by, place, on, ask } = *interaction;
                let Place { chat, message } = place;
                let place = [chat, message].map(Option::unwrap_or_default).join("#");
                let key = key.map_or("no key".into(), |key| key.key);
                let on = on.map_or("nothing".into(), |on| match on {
                    Target::Message { id, .. } => id,
                    other => format!("{other:?}"),
                });
                format!("{user} {by:?} {ask:?} {key} in {place} on {on}")
            }
            other => format!("{other:?}"),
        }
    }

    fn form(fields: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
    }

    #[track_caller]
    fn check(body: &str, expect: &[&str]) {
        let told = told(body);
        assert!(expect.iter().all(|e| told.contains(e)), "{body}: {told}");
    }

    #[test]
    fn r36_a_press_comes_in_a_form_field() {
        let press = |kind: &str, value: &str| {
            let payload = json!({"type": kind, "user": {"id": "UA8"}, "trigger_id": "12.3.d8",
                "container": {"channel_id": "C7", "message_ts": "1.5"},
                "actions": [{"type": "button", "value": value}]});
            form(&[("payload", &payload.to_string())])
        };
        let ack = "/ack shop/INC-20261120-001";
        check(
            &press("block_actions", ack),
            &["slack:UA8 Button", "ack", "shop", "12.3.d8 in C7#1.5 on C7/1.5"],
        );
        check(&press("interactive_message", "click_me_123"), &["Say", "unknown_button"]);
        check(&press("view_submission", ack), &["Recorded", "interaction: view_submission"]);
        check(&form(&[("payload", "[]")]), &["Rejected", "no_payload"]);
        check(&form(&[("payload", r#"{"type":"block_actions"}"#)]), &["Recorded", "no_user"]);
        check("", &["Rejected", "no_payload"]);
        check("{", &["Rejected", "no_payload"]);
    }

    #[test]
    fn r15_slash_commands_have_a_name_of_their_own_or_ours() {
        let slash = |name: &str, text: &str| {
            form(&[("command", name), ("text", text), ("user_id", "U2"), ("trigger_id", "39.8")])
        };
        check(&slash("/ack", "INC-20261120-001"), &["slack:U2 ", "verb: \"ack\"", "trigger:39.8"]);
        check(&slash("/bellwether", "ack INC-20261120-001"), &["verb: \"ack\""]);
        check(&slash("/bellwether", "/ack INC-20261120-001"), &["verb: \"ack\""]);
        check(&slash("/bellwether", ""), &["Say", "help"]);
        check(&slash("/bellwether", "dance"), &["Say", "unknown_command"]);
        check(BODY, &["slack:U0ROAD", "Say", "help", "trigger:17.4.ab"]);
        check(&form(&[("command", "/ack")]), &["Recorded", "no_user"]);
    }

    #[test]
    fn r16_events_are_commands_when_we_are_mentioned_and_reactions() {
        let event = |event: Value| {
            json!({"type": "event_callback", "event_id": "Ev1", "event": event}).to_string()
        };
        let mention = |text: &str| {
            event(json!({"type": "app_mention", "user": "U2", "text": text,
            "channel": "C1", "thread_ts": "1548261231.000200"}))
        };
        check(&mention("<@U0> ack INC-20261120-001"), &["slack:U2 ", "Number", "event:Ev1"]);
        let thread = ["resolve", "Message", "\"C1/1548261231.000200\"", "in C1#1548261231.000200"];
        check(&mention("<@U0> resolve"), &thread);
        check(&mention("ack INC-20261120-001"), &["Recorded", "no_command"]);
        let message = |more: Value| {
            let mut message = json!({"type": "message", "user": "U2", "text": "ack me"});
            message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            event(message)
        };
        check(&message(json!({})), &["Recorded", "no_command"]);
        check(&message(json!({"bot_id": "B1"})), &["Recorded", "sent_by_an_app"]);
        check(&message(json!({"subtype": "bot_message"})), &["Recorded", "sent_by_an_app"]);
        let react = |name: &str| {
            event(json!({"type": "reaction_added", "user": "U2",
            "reaction": name, "item": {"type": "message", "channel": "C1", "ts": "1.2"}}))
        };
        check(&react("+1::skin-tone-2"), &["ack", "\"C1/1.2\"", "event:Ev1 in C1#1.2 on C1/1.2"]);
        check(&react("tada"), &["Recorded", "unmapped_reaction: tada"]);
        check(&event(json!({"type": "team_join"})), &["Recorded", "event: team_join"]);
    }

    #[test]
    fn i8_presses_and_slash_commands_bring_where_they_are_answered() {
        const THERE: &str = "https://hooks.slack.com/actions/T0/1/x";
        let credential = |raw: &str| {
            let delivery = delivery("slack", &json!({}), raw.as_bytes());
            let found = Slack.reply_credential(&delivery);
            found.map(|found| (found.expose().to_owned(), found.seconds, found.uses))
        };
        let there = |url: &str| Some((url.to_owned(), 1800, 5));
        assert_eq!(credential(BODY), there("https://hooks.slack.com/commands/T0/1/x"));
        let press = json!({"type": "block_actions", "response_url": THERE});
        assert_eq!(credential(&form(&[("payload", &press.to_string())])), there(THERE));
        for none in [
            form(&[("payload", r#"{"response_url":7}"#)]),
            form(&[("command", "/ack")]),
            json!({"response_url": THERE}).to_string(),
            String::new(),
        ] {
            assert_eq!(credential(&none), None, "{none}");
        }
    }

    #[test]
    fn every_request_is_answered_as_its_client_wants() {
        let reply = |body: &str| Slack.reply(&request(&[], body.as_bytes()));
        let stored = |body: &str| Reply::Stored { status: 200, body: body.into() };
        let check = json!({"type": "url_verification", "token": "t", "challenge": "3eZb"});
        let body = r#"{"challenge":"3eZb"}"#.to_owned();
        assert_eq!(reply(&check.to_string()), Reply::Handshake { status: 200, body });
        assert_eq!(reply(&json!({"type": "event_callback"}).to_string()), stored("{}"));
        assert_eq!(reply(&form(&[("payload", "{}")])), stored("{}"));
        assert_eq!(reply(BODY), stored(RECEIVED));
        assert_eq!(reply("nonsense"), stored("{}"));
    }
}
