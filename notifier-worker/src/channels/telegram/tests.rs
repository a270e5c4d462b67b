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
    assert_eq!((&body["chat_id"], &body["message_thread_id"]), (&json!("@ops_alerts"), &json!(7)));
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

    let said = "Bad Request: group chat was upgraded to a supergroup chat";
    let moved = Verdict::Moved { to: "-1009876".into(), reason: format!("400: {said}") };
    check(400, failed(400, said, json!({"migrate_to_chat_id": -1_009_876})), moved);

    for (code, said, parameters, named) in [
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

/// A message with so many keys.
fn with_buttons(n: usize) -> Notification {
    let button = |i| Button { verb: "ack", label: format!("key {i}"), data: format!("a{i}") };
    Notification { buttons: (0..n).map(button).collect(), ..notification() }
}

#[test]
fn r36_the_keys_stand_in_rows_of_two_or_three() {
    let rows = |n: &Notification| -> Vec<usize> {
        let (.., body) = parts(Telegram.request(n, &target(json!({}))).unwrap());
        let rows = body["reply_markup"]["inline_keyboard"].as_array().cloned();
        rows.unwrap_or_default().iter().map(|row| row.as_array().unwrap().len()).collect()
    };
    for (keys, expect) in
        [(0, vec![]), (1, vec![1]), (2, vec![2]), (3, vec![3]), (5, vec![2, 3]), (6, vec![2, 2, 2])]
    {
        assert_eq!(rows(&with_buttons(keys)), expect);
    }
    let (.., body) = parts(Telegram.request(&with_buttons(6), &target(json!({}))).unwrap());
    let keyboard = &body["reply_markup"]["inline_keyboard"];
    assert_eq!(keyboard[2][1], json!({"text": "key 5", "callback_data": "a5"}));

    // What Telegram would refuse the whole message for is left out.
    let mut n = with_buttons(2);
    n.buttons[0].data = "x".repeat(65);
    assert_eq!(rows(&n), [1]);

    // The sender's page is a row of its own, where it is somewhere on the internet.
    let page = |url: &str| {
        let mut n = with_buttons(2);
        n.facts.url = Some(url.to_owned());
        let (.., body) = parts(Telegram.request(&n, &target(json!({}))).unwrap());
        body["reply_markup"]["inline_keyboard"][1][0].clone()
    };
    let expect = json!({"text": "🔗 sentry.example.com", "url": "https://sentry.example.com/1"});
    assert_eq!(page("https://sentry.example.com/1"), expect);
    for url in ["javascript:alert(1)", "tg://resolve?domain=x", "http://grafana:3000/d/1"] {
        assert_eq!(page(url), Value::Null, "{url}");
    }
    let mut n = with_buttons(2);
    n.facts.url = Some("https://sentry.example.com/1".into());
    let (.., plain) = parts(Telegram.plain(&n, &target(json!({}))).unwrap());
    assert_eq!(plain["reply_markup"]["inline_keyboard"].as_array().unwrap().len(), 1);
}

#[test]
fn a8_a_message_is_changed_with_its_keys() {
    let n = with_buttons(2);
    let (url, _, body) = parts(Telegram.edit(&n, &target(json!({})), "-1001/42").unwrap());
    assert_eq!(url, format!("https://api.telegram.org/bot{TOKEN}/editMessageText"));
    let expect = json!({
        "chat_id": -1001,
        "message_id": 42,
        "text": "text",
        "link_preview_options": {"is_disabled": true},
        "reply_markup": {"inline_keyboard": [[
            {"text": "key 0", "callback_data": "a0"}, {"text": "key 1", "callback_data": "a1"},
        ]]},
    });
    assert_eq!(body, expect);
    let (.., body) = parts(Telegram.edit(&notification(), &target(json!({})), "-1001/42").unwrap());
    assert_eq!(body["reply_markup"], Value::Null);
    for message in ["42", "-1001/", "/42", "-1001/x"] {
        assert!(Telegram.edit(&n, &target(json!({})), message).is_err(), "{message}");
    }

    let said = "Bad Request: message is not modified: specified new message content is the same";
    check(400, failed(400, said, Value::Null), Verdict::Delivered(None));
    for said in [
        "Bad Request: message to edit not found",
        "Bad Request: message can't be edited",
        "Bad Request: MESSAGE_ID_INVALID",
        "Bad Request: there is no text in the message to edit",
    ] {
        check(400, failed(400, said, Value::Null), Verdict::CannotEdit(format!("400: {said}")));
    }
    for said in ["Bad Request: BUTTON_URL_INVALID", "Bad Request: wrong HTTP URL specified"] {
        check(400, failed(400, said, Value::Null), Verdict::TryPlain(format!("400: {said}")));
    }
}

#[test]
fn what_follows_and_what_answers_stands_below_it() {
    let below = |n: &Notification, more: Value| {
        let (.., body) = parts(Telegram.request(n, &target(more)).unwrap());
        (body["chat_id"].clone(), body["reply_parameters"]["message_id"].clone())
    };
    for (kind, first, expect) in [
        (SendKind::Resolve, Some("-100123/42"), json!(42)),
        (SendKind::Remind, Some("-100123/42"), json!(42)),
        (SendKind::Update, Some("-100123/42"), json!(42)),
        (SendKind::Fire, Some("-100123/42"), Value::Null),
        (SendKind::Resolve, None, Value::Null),
        // The channel was given another chat since.
        (SendKind::Resolve, Some("-100999/42"), Value::Null),
    ] {
        let n = Notification { kind, first: first.map(str::to_owned), ..notification() };
        assert_eq!(below(&n, json!({})), (json!(-100_123), expect), "{kind:?} {first:?}");
    }
    let n = Notification {
        kind: SendKind::Resolve,
        first: Some("-100999/42".into()),
        ..notification()
    };
    assert_eq!(below(&n, json!({"chat_id": "@ops_alerts"})), (json!("@ops_alerts"), json!(42)));

    let reply = |provider: &str, message: Option<&str>| {
        let to = schemas::job::ReplyTo {
            provider: provider.into(),
            source: schemas::SourceId::new("team").unwrap(),
            chat: Some("-100777".into()),
            message: message.map(str::to_owned),
            at: schemas::InputPosition { incarnation: 7, sequence: 1, record: 0 }.whole(),
            ours: false,
        };
        let reply = schemas::job::Reply {
            to,
            verb: "ack".into(),
            arguments: "{}".into(),
            actor: "ada".into(),
            refused: None,
        };
        Notification { kind: SendKind::Reply, reply: Some(reply), ..notification() }
    };
    // A group that became a supergroup: what stood in it is not there.
    let there = Target { moved: Some("-1009876".into()), ..target(json!({})) };
    let moved = |n: &Notification| {
        assert!(Telegram.chat(n, &there).is_some_and(|chat| chat != "-1009876"));
        let (.., body) = parts(Telegram.request(n, &there).unwrap());
        (body["chat_id"].clone(), body["reply_parameters"]["message_id"].clone())
    };
    let n = |kind, first: &str| Notification { kind, first: Some(first.into()), ..notification() };
    let id = json!(-1_009_876);
    assert_eq!(moved(&n(SendKind::Resolve, "-100123/42")), (id.clone(), Value::Null));
    assert_eq!(moved(&n(SendKind::Resolve, "-1009876/7")), (id.clone(), json!(7)));
    assert_eq!(moved(&reply("telegram", Some("9"))), (id, Value::Null));

    let topic = || json!({"thread_id": 7});
    assert_eq!(below(&reply("telegram", Some("-100777/9")), topic()), (json!(-100_777), json!(9)));
    assert_eq!(below(&reply("telegram", Some("9")), topic()), (json!(-100_777), json!(9)));
    assert_eq!(below(&reply("telegram", None), topic()), (json!(-100_777), Value::Null));
    assert!(Telegram.request(&reply("slack", None), &target(json!({}))).is_err());
}
