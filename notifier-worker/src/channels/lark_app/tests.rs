use schemas::{
    InputPosition, Lane, SourceId,
    job::{Reply, ReplyTo},
};

use super::*;
use crate::{
    channels::{
        Button,
        tests::{notification, parts, response},
    },
    config::tests::target_of,
};

const CHAT: &str = "oc_0123456789abcdef";

fn config() -> Value {
    json!({
        "kind": "lark-app", "app_id": "cli_0123", "app_secret": "hunter2", "receive_id": CHAT,
    })
}

fn target() -> Target {
    Target { access: Some(SecretString::from("t-oken")), ..target_of(config()).unwrap() }
}

fn button(verb: &'static str) -> Button {
    let opening = InputPosition { incarnation: 7, sequence: 3, record: 0 }.alert(0);
    let data = domain::button::Button::new(verb, Lane(2), opening).unwrap().to_string();
    Button { verb, label: format!("<{verb}>"), data }
}

/// The content that is sent as a text.
fn content(body: &Value) -> Value {
    serde_json::from_str(body["content"].as_str().unwrap()).unwrap()
}

#[test]
fn r39_the_token_is_asked_for_with_the_apps_credentials() {
    let (url, _, body) = parts(LarkApp.access(&target()).unwrap().unwrap());
    assert_eq!(url, "https://open.feishu.cn/open-apis/auth/v3/tenant_access_token/internal");
    assert_eq!(body, json!({ "app_id": "cli_0123", "app_secret": "hunter2" }));

    let granted = |status, body: Value| LarkApp.grant(&response(status, None, &body.to_string()));
    let ok = json!({"code": 0, "msg": "ok", "tenant_access_token": "t-1", "expire": 7140});
    let Ok(Grant { token, lasts }) = granted(200, ok) else { panic!("not granted") };
    assert_eq!((token.expose_secret(), lasts.as_secs()), ("t-1", 7_140));
    for code in [10003, 10014] {
        let wrong = granted(200, json!({"code": code, "msg": "why"})).err().unwrap();
        let Verdict::Refused(reason) = wrong else { panic!("{wrong:?}") };
        assert!(reason.starts_with(&format!("code {code}: why (")), "{reason}");
    }
    let long = "x".repeat(MAX_TOKEN + 1);
    for (status, body) in [
        (200, json!({"code": 0})),
        (200, json!({"code": 0, "tenant_access_token": "a b", "expire": 7200})),
        (200, json!({"code": 0, "tenant_access_token": long, "expire": 7200})),
        (400, json!({"code": 99991400})),
        (200, json!({"code": 31415})),
        (200, json!({})),
        (502, json!({})),
    ] {
        let verdict = granted(status, body.clone()).err().unwrap();
        assert!(matches!(verdict, Verdict::Retry { .. }), "{status} {body}: {verdict:?}");
    }
}

#[test]
fn r40_the_card_is_sent_once_under_its_key_with_buttons_that_name_the_incident() {
    let verbs = ["ack", "resolve", "silence", "request_triage"];
    let n = Notification { buttons: verbs.map(button).to_vec(), ..notification() };
    let (url, headers, body) = parts(LarkApp.request(&n, &target()).unwrap());
    let expect = "https://open.feishu.cn/open-apis/im/v1/messages?receive_id_type=chat_id";
    assert_eq!(url, expect);
    assert_eq!(headers[1], ("authorization", "Bearer t-oken".to_owned()));
    assert_eq!(body["uuid"], n.key.to_string());
    assert!(n.key.to_string().len() <= 50);
    assert_eq!((&body["msg_type"], &body["receive_id"]), (&json!("interactive"), &json!(CHAT)));

    // The card is R40's, and two rows of buttons above its last rule.
    let mut card = content(&body);
    assert_eq!(card["config"]["update_multi"], true);
    let elements = card["elements"].as_array_mut().unwrap();
    let rule = elements.iter().rposition(|element| element["tag"] == "hr").unwrap();
    let rows: Vec<Value> = elements.drain(rule - 2..rule).collect();
    assert_eq!(rows.iter().map(|r| r["actions"].as_array().unwrap().len()).sum::<usize>(), 4);
    for (at, verb) in verbs.into_iter().enumerate() {
        let pressed = &rows[at / 3]["actions"][at % 3];
        assert_eq!(pressed["text"]["tag"], "plain_text");
        let value = pressed["value"]["button"].as_str().unwrap();
        assert_eq!(value.parse::<domain::button::Button>().unwrap().verb(), verb);
    }
    card["config"].as_object_mut().unwrap().remove("update_multi");
    assert_eq!(card, feishu_card(&n.message("INC-20260102-007"), 4_000)["card"]);
}

#[test]
fn a8_a_card_is_changed_by_its_id() {
    let n = Notification { kind: SendKind::Update, ..notification() };
    let edit = LarkApp.edit(&n, &target(), "om_1-x").unwrap();
    let Request::Http { method, .. } = &edit else { panic!("not by HTTP") };
    assert_eq!(method, Method::PATCH);
    let (url, _, body) = parts(edit);
    assert_eq!(url, "https://open.feishu.cn/open-apis/im/v1/messages/om_1-x");
    assert_eq!(body.as_object().unwrap().len(), 1);
    assert_eq!(content(&body)["config"]["update_multi"], true);
    for id in ["", "../x", "om/1", "om?1"] {
        assert!(LarkApp.edit(&n, &target(), id).is_err(), "{id}");
    }
}

#[test]
fn r16_an_answer_goes_to_where_it_was_asked_and_rings_nobody() {
    let asked = |provider: &str, chat: Option<&str>, message: Option<&str>| {
        let to = ReplyTo {
            provider: provider.into(),
            source: SourceId::new("team").unwrap(),
            chat: chat.map(str::to_owned),
            message: message.map(str::to_owned),
            at: InputPosition { incarnation: 7, sequence: 1, record: 0 }.whole(),
            ours: false,
        };
        let reply = Reply {
            to,
            verb: "help".into(),
            arguments: "{}".into(),
            actor: "ada".into(),
            refused: None,
        };
        let text = "<at user_id=\"all\"></at> help".to_owned();
        let n = Notification { kind: SendKind::Reply, reply: Some(reply), text, ..notification() };
        LarkApp.request(&n, &target()).map(parts)
    };
    let base = "https://open.feishu.cn/open-apis/im/v1/messages";
    let (url, _, body) = asked("lark", Some(CHAT), Some("om_1")).unwrap();
    assert_eq!(url, format!("{base}/om_1/reply"));
    assert_eq!(body["msg_type"], "text");
    assert_eq!(content(&body), json!({ "text": "＜at user_id=\"all\">＜/at> help" }));
    let (url, _, body) = asked("lark", Some("ou_1"), None).unwrap();
    assert_eq!(url, format!("{base}?receive_id_type=open_id"));
    assert_eq!(body["receive_id"], "ou_1");
    assert!(asked("slack", Some("C1"), None).unwrap_err().contains("not asked in lark"));
    assert!(asked("lark", None, None).unwrap_err().contains("no chat"));
    assert!(asked("lark", Some("../x"), None).unwrap_err().contains("no receiver"));
}

#[test]
fn a6_what_is_too_long_is_cut_and_stays_a_card() {
    let mut n = notification();
    let sent = |n: &Notification| {
        let Ok(Request::Http { body, .. }) = LarkApp.request(n, &target()) else { panic!() };
        assert!(body.len() <= MAX_BODY, "{}", body.len());
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["msg_type"], "interactive");
        content(&body)
    };
    n.facts.message = Some("*".repeat(8_000));
    assert_eq!(sent(&n).to_string().matches("&#42;").count(), 4_000);
    n.facts.message = Some("\"".repeat(20_000));
    assert!(sent(&n)["elements"].as_array().unwrap().len() > 1);
    n.facts.url = Some(format!("https://example.com/{}", "x".repeat(30_000)));
    n.text = format!("{}\n{}", "界".repeat(300), "🦀<at>".repeat(9_000));
    n.buttons = vec![button("ack")];
    let card = sent(&n);
    assert_eq!(card["elements"][0]["text"]["tag"], "plain_text");
    assert_eq!(card["elements"][1]["actions"][0]["text"]["content"], "<ack>");
    let (_, _, plain) = parts(LarkApp.plain(&n, &target()).unwrap());
    assert!(content(&plain)["text"].as_str().unwrap().ends_with('…'));
}

fn check(status: u16, body: Value, expect: Verdict) {
    let got = LarkApp.outcome(&response(status, Some("3"), &body.to_string()));
    assert_eq!(got, expect, "{status} {body}");
}

#[test]
fn a7_what_each_answer_means() {
    let taken = json!({"code": 0, "msg": "success", "data": {"message_id": "om_1"}});
    check(200, taken, Verdict::Delivered(Some("om_1".into())));
    check(200, json!({"code": 0, "data": {}}), Verdict::Delivered(None));
    check(200, json!({}), Verdict::Ambiguous("status 200 without a code".into()));
    let failed = |code: i64| json!({"code": code, "msg": "why"});
    let why = |code: i64| format!("code {code}: why");
    for code in [99991661, 99991663, 99991668] {
        check(400, failed(code), Verdict::Renew(why(code)));
        check(200, failed(code), Verdict::Renew(why(code)));
    }
    for (status, code) in [(400, 99991400), (429, 99991400), (400, 230020)] {
        let after = Some(Duration::from_secs(3));
        check(
            status,
            failed(code),
            Verdict::Retry { after, pause_target: true, reason: why(code) },
        );
    }
    for code in [230011, 230031, 230054, 230110] {
        check(400, failed(code), Verdict::CannotEdit(why(code)));
    }
    for code in [230001, 230025, 230099, 31415] {
        check(400, failed(code), Verdict::TryPlain(why(code)));
    }
    for (code, named) in [(230002, "bot into the chat"), (99991672, "scope"), (230013, "see")] {
        let verdict = LarkApp.outcome(&response(400, None, &failed(code).to_string()));
        let Verdict::Refused(reason) = verdict else { panic!("{code}: {verdict:?}") };
        assert!(reason.starts_with(&why(code)) && reason.contains(named), "{reason}");
    }
    check(413, json!({}), Verdict::TryPlain("status 413".into()));
    check(404, json!({}), Verdict::Refused("status 404".into()));
}

#[test]
fn errors_name_key_problem_and_remedy() {
    for (key, value, expect) in [
        ("app_id", json!("a/b"), "channels.out.app_id: this is no application; use"),
        ("app_secret", json!(""), "channels.out.app_secret: it is empty; use"),
        ("receive_id", json!("ops"), "channels.out.receive_id: this is no receiver; use"),
        ("receive_id", json!("oc_a/b"), "channels.out.receive_id: this is no receiver; use"),
    ] {
        let mut config = config();
        config[key] = value;
        let error = target_of(config).unwrap_err();
        assert!(error.contains(expect) && !error.contains("hunter2"), "{error}");
    }
    for id in ["oc_1", "ou_1", "on_1", "ada@example.com"] {
        let mut config = config();
        config["receive_id"] = json!(id);
        target_of(config).unwrap();
    }
}

#[test]
fn r17_what_a_press_did_is_shown_on_its_card_by_the_token_it_brings() {
    let reply = |refused: Option<&str>| {
        let to = ReplyTo {
            provider: "lark".into(),
            source: SourceId::new("team").unwrap(),
            chat: Some(CHAT.into()),
            message: Some("om_1".into()),
            at: InputPosition { incarnation: 7, sequence: 1, record: 0 }.whole(),
            ours: false,
        };
        let reply = Reply {
            to,
            verb: "confirm".into(),
            arguments: "{}".into(),
            actor: "ada".into(),
            refused: refused.map(str::to_owned),
        };
        let text = "✅ ada <at id=all> confirmed\n🆔 INC-1".to_owned();
        Notification { kind: SendKind::Reply, reply: Some(reply), text, ..notification() }
    };
    let pressed = Target { answer_at: Some(SecretString::from("c-hunter2")), ..target() };
    let (url, headers, body) = parts(LarkApp.request(&reply(None), &pressed).unwrap());
    assert_eq!(url, "https://open.feishu.cn/open-apis/interactive/v1/card/update");
    assert!(headers.contains(&("authorization", "Bearer t-oken".to_owned())));
    assert_eq!(body["token"], "c-hunter2");
    assert_eq!(body["card"]["config"]["update_multi"], true);
    let title = &body["card"]["header"]["title"];
    assert_eq!(
        (&title["tag"], &title["content"]),
        (&json!("plain_text"), &json!("✅ ada <at id=all> confirmed"))
    );
    assert_eq!(body["card"]["elements"][0]["text"]["content"], "🆔 INC-1");

    // What was not done is a message, and so is what the card does not take.
    let there = "https://open.feishu.cn/open-apis/im/v1/messages/om_1/reply";
    let (url, ..) = parts(LarkApp.request(&reply(Some("unknown_actor")), &pressed).unwrap());
    assert_eq!(url, there);
    let (url, ..) = parts(LarkApp.request(&reply(None), &target()).unwrap());
    assert_eq!(url, there);
    let mut ours = reply(None);
    ours.reply.as_mut().unwrap().to.ours = true;
    let (url, ..) = parts(LarkApp.request(&ours, &pressed).unwrap());
    assert_eq!(url, there, "the card of an incident goes on showing it");
    let (url, ..) = parts(LarkApp.plain(&reply(None), &pressed).unwrap());
    assert_eq!(url, there);
    assert_eq!(pressed.hide_credentials("bad token c-hunter2"), "bad token …");
}
