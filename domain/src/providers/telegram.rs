//! Telegram's webhook (core.telegram.org/bots/api#setwebhook): presses of buttons, commands and
//! reactions.
//!
//! The secret token of `setWebhook` comes with every update in a header of its own. Whoever is in a
//! chat can press its buttons: who may is for the fold to say, by the id of the user.

use schemas::record::{Auth, Delivery};
use serde_json::{Value, json};

use super::{
    Credential, DeliveryKey, Normalised, Outgoing, Proof, Provider, Reading, Refused, Reply,
    Request, Secret, auth,
    interaction::{self, Ask, By, Interaction, Place, Target, command, press, word_of},
    json, sign,
};

/// Reactions that say "I have it" (R16).
const ACKNOWLEDGES: [&str; 2] = ["👍", "👌"];

/// See the module.
pub struct Telegram;

impl Provider for Telegram {
    fn name(&self) -> &'static str {
        "telegram"
    }

    fn title(&self) -> &'static str {
        "Telegram"
    }

    fn version(&self) -> u32 {
        3
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/telegram/webhook"]
    }

    fn channel_type(&self) -> &'static str {
        "chat"
    }

    fn channels(&self) -> &'static [&'static str] {
        &["telegram"]
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Telegram secret token missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let given = request.header("x-telegram-bot-api-secret-token");
        if given.is_none() && request.shows_credential() {
            return auth::authorization(request, credentials);
        }
        auth::token(given, credentials)
    }

    fn sign(&self, _: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        match secret {
            Secret::Token(token) => {
                Some(Proof::headers([("x-telegram-bot-api-secret-token", token.clone())]))
            }
            Secret::Signing(_) | Secret::Basic { .. } | Secret::Bearer(_) => sign::shown(secret),
        }
    }

    fn reply(&self, request: &Request<'_>) -> Reply {
        let body = json::body(request.body).map_or(Value::Null, |(body, _)| body);
        let query = json::text(&body, &["callback_query", "id"]);
        // A method in the answer is called; without this one the client shows a press as pending.
        let body = query.map_or_else(
            || "{}".to_owned(),
            |id| {
                let method = "answerCallbackQuery";
                json!({ "method": method, "callback_query_id": id, "text": "已收到" }).to_string()
            },
        );
        Reply::Stored { status: 200, body }
    }

    fn normalise(&self, delivery: &Delivery, _: &Reading<'_>) -> Normalised {
        let body = match json::body(&delivery.raw) {
            Ok((body, _)) if body.is_object() => body,
            Ok(_) => return Normalised::Rejected { reason: "not_an_object".to_owned() },
            Err(reason) => return Normalised::Rejected { reason },
        };
        let Some(update) = json::id(&body, &["update_id"]) else {
            return Normalised::Rejected { reason: "no_update_id".to_owned() };
        };
        let told = if let Some(query) = json::at(&body, &["callback_query"]) {
            pressed(query).map(|asked| (asked, By::Button, &query["message"]))
        } else if let Some(message) = json::at(&body, &["message"]) {
            written(message).map(|asked| (asked, By::Command, message))
        } else if let Some(reaction) = json::at(&body, &["message_reaction"]) {
            reacted(reaction).map(|asked| (asked, By::Reaction, reaction))
        } else {
            let kind = body.as_object().into_iter().flat_map(|b| b.keys());
            let kind = kind.filter(|name| *name != "update_id").map(|name| word_of(name)).next();
            Err(format!("update: {}", kind.unwrap_or_default()))
        };
        match told {
            Ok(((user, ask), by, message)) => {
                let on = match by {
                    By::Button | By::Reaction => place(&message["chat"], &message["message_id"]),
                    By::Command => None,
                };
                let place = whereabouts(message);
                Normalised::Interaction {
                    interaction: Box::new(Interaction { user, by, place, on, ask }),
                    key: Some(DeliveryKey { key: format!("update:{update}"), stable: true }),
                }
            }
            Err(reason) => Normalised::Recorded { reason },
        }
    }
}

fn pressed(query: &Value) -> Result<(String, Ask), String> {
    Ok((user(&query["from"])?, press(&query["data"])))
}

fn written(message: &Value) -> Result<(String, Ask), String> {
    let user = user(&message["from"])?;
    let text = json::text(message, &["text"]).ok_or("not_text")?;
    // Where the bot is called by its name first.
    let mut text = text.trim_start();
    while text.starts_with('@') {
        text = text.split_once(char::is_whitespace).map_or("", |(_, behind)| behind.trim_start());
    }
    let replied_to = json::at(message, &["reply_to_message"])
        .and_then(|replied| place(&message["chat"], &replied["message_id"]));
    let ask = command(text, false, replied_to).ok_or("no_command")?;
    Ok((user, ask))
}

fn reacted(reaction: &Value) -> Result<(String, Ask), String> {
    let user = user(&reaction["user"])?;
    let emoji = reaction["new_reaction"].as_array().into_iter().flatten();
    let said = emoji.filter_map(|reaction| reaction["emoji"].as_str());
    let target = place(&reaction["chat"], &reaction["message_id"]);
    match (target, said.clone().any(|emoji| ACKNOWLEDGES.contains(&emoji))) {
        (Some(target), true) => {
            Ok((user, Ask::Do { verb: "ack", target, arguments: "{}".to_owned() }))
        }
        _ => Err("unmapped_reaction".to_owned()),
    }
}

/// Whose it is, unless it is a bot's (ours, too) or of nobody in particular.
fn user(from: &Value) -> Result<String, String> {
    if from["is_bot"] == true {
        return Err("sent_by_an_app".to_owned());
    }
    let id = json::id(from, &["id"]);
    id.and_then(|id| interaction::user("telegram", &id)).ok_or_else(|| "no_user".to_owned())
}

/// Where a message or reaction stands.
fn whereabouts(message: &Value) -> Place {
    let (chat, id) = (json::id(&message["chat"], &["id"]), json::id(message, &["message_id"]));
    Place::new(chat.as_deref(), id.as_deref())
}

/// A message, as the channel names those it sent: ids of messages are unique within a chat.
fn place(chat: &Value, message: &Value) -> Option<Target> {
    let (chat, message) = (json::id(chat, &["id"])?, message.as_i64()?);
    Some(Target::Message { chat: "telegram", id: format!("{chat}/{message}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::tests::{normalise, request};

    fn token(id: &str, token: &str) -> Credential {
        Credential::Token { id: id.into(), token: token.into() }
    }

    #[test]
    fn r36_updates_come_with_the_secret_token() {
        let both = [token("current", "T0ken_-new"), token("previous", "T0ken_-old")];
        let check = |headers: &[(&str, &str)], path: Option<&str>, expect: Result<&str, &str>| {
            let headers: Vec<_> =
                headers.iter().map(|(n, v)| ((*n).into(), (*v).to_owned())).collect();
            let request = Request { token: path, ..request(&headers, b"{}") };
            let found = Telegram.authenticate(&request, &both);
            let found = found.as_ref().map(|auth| auth.credential.as_deref().unwrap());
            assert_eq!(found.map_err(|refused| refused.code), expect, "{headers:?}");
        };
        let name = "x-telegram-bot-api-secret-token";
        check(&[(name, "T0ken_-new")], None, Ok("current"));
        check(&[(name, "T0ken_-old")], None, Ok("previous"));
        check(&[(name, "t0ken_-new")], None, Err("token_invalid"));
        check(&[(name, "")], None, Err("token_invalid"));
        check(&[(name, "T0ken_-ne")], Some("T0ken_-new"), Err("token_invalid"));
        check(&[], None, Err("token_missing"));
        check(&[], Some("T0ken_-new"), Ok("current"));
        assert!(!Telegram.accepts(&Credential::Hmac { id: "a".into(), secret: vec![1] }));
    }

    fn told(body: &Value) -> String {
        match normalise("telegram", &json!({}), body.to_string().as_bytes()) {
            Normalised::Interaction { interaction, key } => {
                let Interaction { user, by, place, on, ask } = *interaction;
                let Place { chat, message } = place;
                let place = [chat, message].map(Option::unwrap_or_default).join("#");
                let on = on.map_or("nothing".into(), |on| match on {
                    Target::Message { id, .. } => id,
                    other => format!("{other:?}"),
                });
                format!("{user} {by:?} {ask:?} {} in {place} on {on}", key.unwrap().key)
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn r36_presses_commands_and_reactions_name_their_user() {
        let check = |mut update: Value, expect: &[&str]| {
            update["update_id"] = json!(913_527_394);
            let told = told(&update);
            assert!(expect.iter().all(|e| told.contains(e)), "{update}: {told}");
        };
        let (chat, from) = (json!({"id": -1001}), json!({"id": 160_213_506, "is_bot": false}));
        let bot = json!({"id": 7, "is_bot": true});
        let query = |from: &Value, data: Value| {
            json!({"callback_query": {"id": "6", "from": from, "data": data,
                "message": {"message_id": 37, "chat": chat, "from": bot}}})
        };
        let ack = json!("/ack shop/INC-20261120-001");
        check(
            query(&from, ack.clone()),
            &[
                "telegram:160213506 Button",
                "ack",
                "shop",
                "update:913527394",
                "in -1001#37 on -1001/37",
            ],
        );
        check(query(&from, json!("?")), &["Say", "unknown_button"]);
        check(query(&from, json!(null)), &["Say", "unknown_button"]);
        check(query(&bot, ack), &["Recorded", "sent_by_an_app"]);
        let write = |from: &Value, text: &str| {
            json!({"message": {"chat": chat, "from": from, "text": text, "message_id": 41,
                "reply_to_message": {"message_id": 37}}})
        };
        check(
            write(&from, "@bw_bot /ack"),
            &["verb: \"ack\"", "Message", "\"-1001/37\"", "in -1001#41 on nothing"],
        );
        check(write(&from, "good morning"), &["Recorded", "no_command"]);
        check(write(&from, "@"), &["Recorded", "no_command"]);
        check(write(&bot, "/ack"), &["Recorded", "sent_by_an_app"]);
        check(json!({"message": {"chat": chat, "from": from}}), &["Recorded", "not_text"]);
        check(json!({"message": {"text": "/help"}}), &["Recorded", "no_user"]);
        let react = |emoji: &str| {
            json!({"message_reaction": {"chat": chat, "message_id": 37, "user": from,
                "new_reaction": [{"type": "emoji", "emoji": emoji}]}})
        };
        check(react("👍"), &["Reaction", "ack", "\"-1001/37\"", "in -1001#37 on -1001/37"]);
        check(react("👎"), &["Recorded", "unmapped_reaction"]);
        check(json!({"my_chat_member": {}}), &["Recorded", "update: my_chat_member"]);
        assert!(told(&json!({"message": {}})).contains("no_update_id"));
    }

    #[test]
    fn r36_a_press_is_answered_at_once() {
        let reply = |body: &[u8]| match Telegram.reply(&request(&[], body)) {
            Reply::Stored { status: 200, body } => body,
            other => panic!("{other:?}"),
        };
        let pressed = reply(br#"{"update_id":1,"callback_query":{"id":"68"}}"#);
        let expect = json!({"method": "answerCallbackQuery", "callback_query_id": "68",
            "text": "已收到"});
        assert_eq!(serde_json::from_str::<Value>(&pressed).unwrap(), expect);
        for body in [&b"{"[..], b"{}", br#"{"callback_query":{"id":null}}"#] {
            assert_eq!(reply(body), "{}");
        }
    }
}
