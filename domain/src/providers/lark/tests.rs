use super::*;
use crate::providers::tests::{delivery, normalise, request};
use aes::Aes256;
use base64::{Engine, prelude::BASE64_STANDARD};
use cbc::cipher::{KeyIvInit, block_padding::Pkcs7};
use sha1::Sha1;

const KEY: &str = "enc-key";
const TOKEN: &str = "ver-token";
/// What [`request`] is received at.
const NOW: &str = "1763617422";
const NONCE: &str = "nonce-7";

fn key(secret: &str) -> Credential {
    Credential::Hmac { id: format!("key {secret}"), secret: secret.into() }
}

fn token_of(token: &str) -> Credential {
    Credential::Token { id: format!("token {token}"), token: token.into() }
}

/// The credential that let the request in, or why none did.
fn authentic(
    headers: &[(&str, &str)],
    body: &[u8],
    credentials: &[Credential],
) -> Result<String, &'static str> {
    let headers: Vec<_> =
        headers.iter().map(|(n, v)| (format!("x-lark-{n}"), (*v).to_owned())).collect();
    let found = Lark.authenticate(&request(&headers, body), credentials);
    found.map(|auth| auth.credential.unwrap_or(auth.method)).map_err(|refused| refused.code)
}

fn signed<'a>(signature: &'a str, timestamp: &'a str) -> [(&'a str, &'a str); 3] {
    [("signature", signature), ("request-timestamp", timestamp), ("request-nonce", NONCE)]
}

/// As Lark signs an event.
fn event_signature_of(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let text = [timestamp.as_bytes(), NONCE.as_bytes(), secret.as_bytes(), body].concat();
    const_hex::encode(Sha256::digest(text))
}

/// As Lark seals a body.
fn sealed(secret: &str, plain: &[u8]) -> Vec<u8> {
    use cbc::cipher::BlockModeEncrypt;
    let iv = [7u8; 16];
    let key = Sha256::digest(secret);
    let cipher = cbc::Encryptor::<Aes256>::new_from_slices(&key, &iv).unwrap();
    let bytes = [iv.to_vec(), cipher.encrypt_padded_vec::<Pkcs7>(plain)].concat();
    json!({ "encrypt": BASE64_STANDARD.encode(bytes) }).to_string().into_bytes()
}

#[test]
fn r14_events_are_signed_with_the_encrypt_key() {
    let body = br#"{"a":1}"#;
    // printf '%s' '1763617422nonce-7enc-key{"a":1}' | openssl dgst -sha256
    let valid = "8193bb7b616692f6868a5631b49e788b3a294340b8ec5005e85b5a049dc435b7";
    let both = [key("next"), key(KEY), token_of(TOKEN)];
    let check = |signature: &str, time: &str, body: &[u8], expect: Result<&str, &str>| {
        let found = authentic(&signed(signature, time), body, &both);
        assert_eq!(found.as_deref().map_err(|code| *code), expect, "{signature} {time}");
    };
    check(valid, NOW, body, Ok("key enc-key"));
    check(&valid.to_uppercase(), NOW, body, Ok("key enc-key"));
    check(valid, NOW, br#"{"a":2}"#, Err("signature_invalid"));
    check(valid, "1763617423", body, Err("signature_invalid"));
    check(&valid[..62], NOW, body, Err("signature_invalid"));
    check(&valid.replace('8', "9"), NOW, body, Err("signature_invalid"));
    check("zz", NOW, body, Err("signature_invalid"));
    check("", NOW, body, Err("signature_missing"));
    check("test_signature", NOW, body, Err("signature_invalid"));
    let swapped = [("signature", valid), ("request-timestamp", NONCE), ("request-nonce", NOW)];
    assert_eq!(authentic(&swapped, body, &both), Err("signature_invalid"));
    assert_eq!(authentic(&signed(valid, NOW), body, &[key("")]), Err("signature_invalid"));
    for (seconds, expect) in [(-300, true), (300, true), (-301, false), (301, false)] {
        let time = (1_763_617_422i64 + seconds).to_string();
        let found = authentic(&signed(&event_signature_of(KEY, &time, body), &time), body, &both);
        assert_eq!(found == Err("signature_stale"), !expect, "{seconds}");
    }
}

#[test]
fn r14_without_an_encrypt_key_the_token_in_the_body_counts() {
    let check = |body: Value, credentials: &[Credential], expect: Result<&str, &str>| {
        let found = authentic(&[], body.to_string().as_bytes(), credentials);
        assert_eq!(found.as_deref().map_err(|code| *code), expect, "{body}");
    };
    let both = [token_of("next"), token_of(TOKEN)];
    let v2 = |token: &str| json!({"schema": "2.0", "header": {"token": token}, "event": {}});
    check(v2(TOKEN), &both, Ok("token ver-token"));
    check(v2("x"), &both, Err("token_invalid"));
    check(v2(TOKEN), &both[..1], Err("token_invalid"));
    check(json!({"uuid": "1", "token": TOKEN, "event": {}}), &both, Ok("token ver-token"));
    check(
        json!({"challenge": "c", "type": "url_verification", "token": TOKEN}),
        &both,
        Ok("token ver-token"),
    );
    check(json!({"header": {}}), &both, Err("token_missing"));
    // The token of a card is no proof, even where it is the same text.
    check(json!({"open_id": "ou_1", "token": TOKEN, "action": {}}), &both, Err("token_missing"));
    let test = [("signature", "test_signature")];
    let body = v2(TOKEN).to_string();
    assert_eq!(authentic(&test, body.as_bytes(), &both), Err("signature_invalid"));
    // Where there is a key, a token alone is not enough.
    let with_key = [key(KEY), token_of(TOKEN)];
    check(v2(TOKEN), &with_key, Err("signature_missing"));
}

#[test]
fn r17_cards_of_before_are_signed_with_the_verification_token() {
    let body = br#"{"open_id":"ou_1","action":{"value":{}}}"#;
    // printf '%s' '1763617422nonce-7ver-token{"open_id":...}' | openssl dgst -sha1
    let valid = "32a4d66e02d103ab74967278a12a22fc173821a8";
    let both = [key(KEY), token_of("next"), token_of(TOKEN)];
    let found = authentic(&signed(valid, NOW), body, &both);
    assert_eq!(found.as_deref(), Ok("token ver-token"));
    let other = valid.replace("32a4", "32a5");
    assert_eq!(authentic(&signed(&other, NOW), body, &both), Err("signature_invalid"));
    assert_eq!(authentic(&signed(valid, NOW), body, &[key(KEY)]), Err("signature_invalid"));
    let hash = |time: &str, body: &[u8]| {
        let text = [time.as_bytes(), NONCE.as_bytes(), TOKEN.as_bytes(), body].concat();
        const_hex::encode(Sha1::digest(text))
    };
    let late = authentic(&signed(&hash("1763617000", body), "1763617000"), body, &both);
    assert_eq!(late, Err("signature_stale"));
    // The weaker hash lets in nothing but cards, sealed or not.
    let event = br#"{"schema":"2.0","header":{"token":"ver-token"},"event":{},"action":{}}"#;
    let found = authentic(&signed(&hash(NOW, event), NOW), event, &both);
    assert_eq!(found, Err("signature_invalid"));
    for (inside, expect) in [(&body[..], true), (&event[..], false)] {
        let body = sealed(KEY, inside);
        let found = authentic(&signed(&hash(NOW, &body), NOW), &body, &both);
        assert_eq!(found.is_ok(), expect, "{found:?}");
    }
}

#[test]
fn r13_the_check_of_the_address_comes_unsigned_and_is_echoed() {
    let handshake = |token: &str| {
        json!({"type": "url_verification", "challenge": "ajls", "token": token,
            "header": {"event_type": "contact.user.created_v3"}})
        .to_string()
        .into_bytes()
    };
    let (with_token, alone) = ([key(KEY), token_of(TOKEN)], [key(KEY)]);
    let check = |body: &[u8], credentials: &[Credential], expect: Result<&str, &str>| {
        let found = authentic(&[], body, credentials);
        assert_eq!(found.as_deref().map_err(|code| *code), expect);
    };
    check(&handshake(TOKEN), &with_token, Ok("token ver-token"));
    check(&handshake("x"), &with_token, Err("token_invalid"));
    check(&sealed(KEY, &handshake(TOKEN)), &with_token, Ok("token ver-token"));
    check(&sealed(KEY, &handshake("x")), &with_token, Err("token_invalid"));
    check(&sealed(KEY, &handshake("x")), &alone, Ok("lark_sealed"));
    check(&sealed("other", &handshake(TOKEN)), &alone, Err("signature_missing"));
    check(&handshake(TOKEN), &alone, Err("signature_missing"));
    check(&sealed(KEY, br#"{"event":{}}"#), &alone, Err("signature_missing"));

    let reply = Lark.reply(&request(&[], &handshake(TOKEN)));
    let body = r#"{"challenge":"ajls"}"#.to_owned();
    assert_eq!(reply, Reply::Handshake { status: 200, body });
}

#[test]
fn r13_sealed_bodies_are_opened_with_any_of_the_keys() {
    // printf '{"a":"你好"}' | openssl enc -aes-256-cbc -K $(printf enc-key | sha256) -iv 0001..0f
    let published = br#"{"encrypt":"AAECAwQFBgcICQoLDA0OD9tYQCeroTfIZ//aRWFN/q0="}"#;
    let unseal = |body: &[u8], credentials: &[Credential]| {
        Lark.unseal(&request(&[], body), credentials).map_err(|refused| refused.code)
    };
    let both = [key("next"), key(KEY), token_of(TOKEN)];
    let plain = r#"{"a":"你好"}"#.as_bytes().to_vec();
    assert_eq!(unseal(published, &both), Ok(Some(plain)));
    assert_eq!(unseal(br#"{"schema":"2.0"}"#, &both), Ok(None));
    assert_eq!(unseal(b"not json", &both), Ok(None));
    // Whatever is wrong with it, it looks the same.
    let refused = Err("signature_invalid");
    assert_eq!(unseal(published, &[key("next")]), refused);
    assert_eq!(unseal(published, &[token_of(KEY)]), refused);
    let short = |cut: usize| {
        let bytes = BASE64_STANDARD.decode("AAECAwQFBgcICQoLDA0OD9tYQCeroTfIZ//aRWFN/q0=").unwrap();
        json!({"encrypt": BASE64_STANDARD.encode(&bytes[..cut])}).to_string().into_bytes()
    };
    for cut in [0, 1, 15, 16, 17, 31] {
        assert_eq!(unseal(&short(cut), &both), refused, "{cut}");
    }
    assert_eq!(unseal(br#"{"encrypt":"!"}"#, &both), refused);
    assert_eq!(unseal(&sealed(KEY, b"hello world"), &both), refused);
}

fn told(body: &Value) -> String {
    match normalise("lark", &json!({}), body.to_string().as_bytes()) {
        Normalised::Interaction { interaction, key } => {
            let Interaction { user, by, place, on, ask } = *interaction;
            let Place { chat, message } = place;
            let place = [chat, message].map(Option::unwrap_or_default).join("#");
            let on = on.map_or("nothing".into(), |on| match on {
                Target::Message { id, .. } => id,
                other => format!("{other:?}"),
            });
            format!("{user} {by:?} {ask:?} {key:?} in {place} on {on}")
        }
        other => format!("{other:?}"),
    }
}

#[track_caller]
fn check(body: &Value, expect: &[&str]) {
    let told = told(body);
    assert!(expect.iter().all(|e| told.contains(e)), "{body}: {told}");
}

fn event(kind: &str, event: Value) -> Value {
    json!({"schema": "2.0", "header": {"event_id": "5e37", "event_type": kind}, "event": event})
}

fn message(text: &str, sender: &str) -> Value {
    event(
        "im.message.receive_v1",
        json!({
        "sender": {"sender_id": {"open_id": "ou_84a"}, "sender_type": sender},
        "message": {"message_id": "om_5ce", "chat_type": "group", "message_type": "text",
            "content": json!({"text": text}).to_string(), "chat_id": "oc_9",
            "mentions": [{"key": "@_user_1", "name": "ai_fixer"}]}}),
    )
}

#[test]
fn r15_mentions_are_stripped_and_commands_read() {
    check(
        &message("@_user_1 /help", "user"),
        &["lark:ou_84a Command", "Say", "help", "message:om_5ce", "in oc_9#om_5ce on nothing"],
    );
    check(&message("/ack@ai_fixer INC-20261120-001 @_user_1", "user"), &["ack", "20261120"]);
    check(&message("@_user_1 /dance", "user"), &["unknown_command"]);
    check(&message("@_user_10 /help", "user"), &["Recorded", "no_command"]);
    check(&message("@_user_1 hello", "user"), &["Recorded", "no_command"]);
    check(&message("@_user_1 /help", "app"), &["Recorded", "sent_by_an_app"]);
    let mut reply = message("/resolve", "user");
    reply["event"]["message"]["parent_id"] = json!("om_alert");
    check(&reply, &["resolve", "Message", "om_alert"]);
    let mut post = message("/help", "user");
    post["event"]["message"]["message_type"] = json!("post");
    check(&post, &["Recorded", "not_text: post"]);
    let mut nobody = message("/help", "user");
    nobody["event"]["sender"]["sender_id"] = json!(null);
    check(&nobody, &["Recorded", "no_user"]);
}

#[test]
fn r13_schema_1_tells_the_same() {
    let of_before = |text: &str| {
        json!({"uuid": "41b5", "token": "t", "type": "event_callback", "event": {
            "type": "message", "msg_type": "text", "open_id": "ou_18e", "open_message_id": "om_366",
            "text": format!("<at open_id=\"x\">@bot</at> {text}"), "text_without_at_bot": text}})
    };
    check(
        &of_before(" /ack INC-20261120-001"),
        &["lark:ou_18e ", "ack", "message:om_366", "in ou_18e#om_366"],
    );
    check(&of_before("<at open_id=\"y\">@Tom</at> /help"), &["Say", "help"]);
    check(&of_before("<at open_id=\"y\"/help"), &["Recorded", "no_command"]);
    let alone = json!({"type": "event_callback", "event": {"message": {
        "content": "{\"text\":\"@ai_fixer /help\"}", "sender": {"sender_id": {"open_id": "ou_x"}}}}});
    check(&alone, &["lark:ou_x Command", "Say", "help", "None", "in ou_x#"]);
    let mut other = of_before("");
    other["event"]["type"] = json!("user_add");
    check(&other, &["Recorded", "event: user_add"]);
}

#[test]
fn r16_some_reactions_acknowledge_and_others_are_recorded() {
    let reaction = |emoji: &str, by: &str| {
        event(
            "im.message.reaction.created_v1",
            json!({"message_id": "om_t", "operator_type": by,
            "reaction_type": {"emoji_type": emoji}, "user_id": {"open_id": "ou_r"}}),
        )
    };
    for emoji in ["THUMBSUP", "OK", "DONE", "OnIt"] {
        check(
            &reaction(emoji, "user"),
            &["lark:ou_r Reaction", "\"ack\"", "event:5e37", "in #om_t on om_t"],
        );
    }
    check(&reaction("HEART", "user"), &["Recorded", "unmapped_reaction: HEART"]);
    check(&reaction("THUMBSUP", "app"), &["Recorded", "sent_by_an_app"]);
}

#[test]
fn r17_presses_of_both_kinds_are_read_and_answered_at_once() {
    let value = json!({"action": "confirm_diagnosis", "incident_id": "INC-20240115-001"});
    let press = |value: &Value| {
        event(
            "card.action.trigger",
            json!({"operator": {"open_id": "ou_4f7"}, "token": "c-29",
            "action": {"tag": "button", "value": value}, "context": {"open_message_id": "om_57", "open_chat_id": "oc_1"}}),
        )
    };
    let texts =
        [value.clone(), json!(value.to_string()), json!(json!(value.to_string()).to_string())];
    for value in &texts {
        check(
            &press(value),
            &["lark:ou_4f7 Button", "\"confirm\"", "20240115", "in oc_1#om_57 on om_57"],
        );
    }
    let value = &value;
    check(&press(&json!({"key": "value"})), &["Say", "unknown_button"]);
    let card = json!({"open_id": "ou_sdf", "open_message_id": "om_abc", "token": "c-1",
        "action": {"value": value, "tag": "button"}});
    check(
        &card,
        &["ou_sdf Button", "\"confirm\"", "press:", "stable: false", "in ou_sdf#om_abc on om_abc"],
    );
    assert_eq!(told(&card), told(&card));
    let mut again = card.clone();
    again["token"] = json!("c-2");
    assert_ne!(told(&card), told(&again), "another press");
    let reply = |body: &Value| match Lark.reply(&request(&[], body.to_string().as_bytes())) {
        Reply::Stored { status: 200, body } => serde_json::from_str::<Value>(&body).unwrap(),
        other => panic!("{other:?}"),
    };
    for body in [&press(&texts[0]), &card] {
        assert_eq!(reply(body)["toast"]["content"], "已收到");
    }
    assert_eq!(reply(&message("/help", "user")), json!({}));
    // I8: the token of a press is for its answer, and in nothing else that is made of it.
    let token = |body: &Value| {
        let raw = body.to_string();
        let found = Lark.reply_credential(&delivery("lark", &json!({}), raw.as_bytes()));
        found.map(|found| (found.expose().to_owned(), found.seconds, found.uses))
    };
    assert_eq!(token(&press(value)), Some(("c-29".into(), 1800, 2)));
    assert_eq!(token(&card), Some(("c-1".into(), 1800, 2)));
    assert!(!told(&press(value)).contains("c-29") && !told(&card).contains("c-1\""));
    // What every event shows is no token of a card.
    let mut event = message("/help", "user");
    event["header"]["token"] = json!("verification");
    let of_before = json!({"uuid": "1", "token": "t", "event": {"type": "message"}});
    for body in [&event, &of_before, &json!({"encrypt": "x", "token": "t"})] {
        assert_eq!(token(body), None, "{body}");
    }
}

#[test]
fn what_is_no_event_is_rejected() {
    check(&json!({"encrypt": "x"}), &["Rejected", "still_encrypted"]);
    check(&json!({"a": 1}), &["Rejected", "no_event"]);
    check(&json!([1]), &["Rejected", "not_an_object"]);
    check(&json!({"type": "url_verification"}), &["Recorded", "url_verification"]);
}
