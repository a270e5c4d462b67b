use schemas::{InputPosition, SourceId, job::Reply, job::ReplyTo};

use super::*;
use crate::{
    channels::{
        Button,
        tests::{notification, parts, response},
    },
    config::tests::target_of,
};

const HOOK: &str = "https://hooks.slack.com/services/T0123456/B0123456/hunter2hunter2hunter2";
const TOKEN: &str = "xoxb-1234567890-hunter2hunter2";
const CHANNEL: &str = "C0123456789";

fn hook() -> Target {
    target_of(json!({"kind": "slack", "url": HOOK})).unwrap()
}

fn bot() -> Target {
    target_of(json!({"kind": "slack", "token": TOKEN, "channel": CHANNEL})).unwrap()
}

/// A message with two keys, a page and two sections.
fn full() -> Notification {
    let button = |verb, label: &str| Button { verb, label: label.into(), data: format!("{verb}x") };
    let mut n = notification();
    n.facts.url = Some("https://sentry.example.com/issues/1?a=b&c|d".into());
    n.text =
        "═══\n❌ SENTRY ERROR 告警\n═══\n📍 <module> & co\n🔖 *boom* <!channel>\n───\n🆔 7".into();
    n.buttons = vec![button("ack", "✅ 认领"), button("resolve", "🏁 解决")];
    n
}

fn reply(chat: Option<&str>, message: Option<&str>) -> Notification {
    let to = ReplyTo {
        provider: "slack".into(),
        source: SourceId::new("team").unwrap(),
        chat: chat.map(str::to_owned),
        message: message.map(str::to_owned),
        at: InputPosition { incarnation: 7, sequence: 1, record: 0 }.whole(),
        ours: false,
    };
    let reply = Reply {
        to,
        verb: "ack".into(),
        arguments: "{}".into(),
        actor: "ada".into(),
        refused: None,
    };
    Notification { kind: SendKind::Reply, reply: Some(reply), ..notification() }
}

#[test]
fn a_configuration_is_a_hook_or_a_bot() {
    let check = |keys: Value, expect: Result<(), &str>| {
        let mut config = json!({"kind": "slack"});
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        match (target_of(config).map(|_| ()), expect) {
            (Ok(()), Ok(())) => {}
            (Err(got), Err(want)) => {
                assert!(got.contains(want), "{got:?} lacks {want:?}");
                assert!(!got.contains("hunter2"), "{got:?} shows a secret");
            }
            (got, want) => panic!("{keys} gave {got:?}, not {want:?}"),
        }
    };
    check(json!({"url": HOOK}), Ok(()));
    check(json!({"token": TOKEN, "channel": CHANNEL}), Ok(()));
    check(json!({"token": format!("xoxe.{TOKEN}"), "channel": "G01234567"}), Ok(()));
    check(json!({}), Err("out.url: there is nowhere to send to; set url alone"));
    check(json!({"token": TOKEN}), Err("out.channel: the bot has no channel; set"));
    check(json!({"channel": CHANNEL}), Err("out.token: nobody writes to the channel; set"));
    check(json!({"url": HOOK, "token": TOKEN}), Err("out.url: there is a bot's token"));
    check(
        json!({"url": HOOK, "api_url": "https://slack.com/api"}),
        Err("out.api_url: an incoming"),
    );
    for token in ["hunter2", "xoxp-1234567890-hunter2", "xoxb-hunter2\r\nx: y", "xoxb-"] {
        check(json!({"token": token, "channel": CHANNEL}), Err("out.token: this is no token of a"));
    }
    for channel in ["#ops", "ops", "U0123456789", "C1", "c0123456789"] {
        check(json!({"token": TOKEN, "channel": channel}), Err("out.channel: this is no id of a"));
    }
    assert!(bot().channel.can_edit(&bot()) && !hook().channel.can_edit(&hook()));
    assert_eq!((Slack.answers(&bot()), Slack.answers(&hook())), (Some("slack"), None));
    assert!([bot(), hook()].iter().all(|t| Slack.answers_by_credential(t) == Some("slack")));
}

#[test]
fn a6_what_is_told_is_text_and_nothing_else() {
    let (url, headers, body) = parts(Slack.request(&full(), &bot()).unwrap());
    assert_eq!(url, "https://slack.com/api/chat.postMessage");
    assert!(headers.contains(&("authorization", format!("Bearer {TOKEN}"))));
    assert_eq!(body["channel"], CHANNEL);
    let plain = |text: &str| json!({"type": "plain_text", "text": text, "emoji": false});
    let key = |verb: &str, label: &str| json!({"type": "button", "action_id": verb, "text": plain(label), "value": format!("{verb}x")});
    let link = "<https://sentry.example.com/issues/1?a=b&amp;c%7Cd|🔗 sentry.example.com>";
    let expect = json!([
        {"type": "header", "text": plain("❌ SENTRY ERROR 告警")},
        {"type": "section",
         "text": plain("📍 &lt;module&gt; &amp; co\n🔖 *boom* &lt;!channel&gt;")},
        {"type": "divider"},
        {"type": "section", "text": plain("🆔 7")},
        {"type": "context",
         "elements": [{"type": "mrkdwn", "text": link, "verbatim": true}]},
        {"type": "actions", "block_id": "row-1",
         "elements": [key("ack", "✅ 认领"), key("resolve", "🏁 解决")]},
    ]);
    assert_eq!(body["blocks"], expect);
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("&lt;!channel&gt;") && !text.contains(['<', '>']), "{text}");
    for (name, value) in [("mrkdwn", false), ("link_names", false), ("unfurl_links", false)] {
        assert_eq!(body[name], value, "{name}");
    }

    // The hook's message is the same without keys, and without a place of its own.
    let (url, headers, body) = parts(Slack.request(&full(), &hook()).unwrap());
    assert_eq!((url.as_str(), headers.len()), (HOOK, 1));
    assert_eq!(body["blocks"].as_array().unwrap()[..], expect.as_array().unwrap()[..5]);
    assert_eq!(body["channel"], Value::Null);

    // What is no page on the web is no link.
    let mut n = full();
    n.facts.url = Some("javascript:alert(1)".into());
    let (.., body) = parts(Slack.request(&n, &hook()).unwrap());
    assert!(!body.to_string().contains("javascript"), "{body}");
}

#[test]
fn a6_nothing_is_longer_than_slack_takes() {
    let units = |text: &Value| text.as_str().unwrap().encode_utf16().count();
    let check = |text: &str, sections: usize, cut: bool| {
        let n = Notification { text: text.into(), ..full() };
        let (.., body) = parts(Slack.request(&n, &bot()).unwrap());
        let blocks = body["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50, "{}", blocks.len());
        assert!(units(&blocks[0]["text"]["text"]) <= 150);
        let told: Vec<&Value> = blocks.iter().filter(|block| block["type"] == "section").collect();
        assert_eq!(told.len(), sections);
        assert!(told.iter().all(|section| units(&section["text"]["text"]) <= 3_000));
        let last = told.last().map_or("", |section| section["text"]["text"].as_str().unwrap());
        assert_eq!(last.ends_with('…'), cut, "{last}");
        assert!(units(&body["text"]) <= 4_000);
    };
    check("one", 0, false);
    check(&"🦀".repeat(5_000), 0, false);
    check(&format!("a\n{}", "x".repeat(3_000)), 1, false);
    check(&format!("a\n{}", "x".repeat(3_001)), 2, false);
    check(&format!("a\n{}", "&".repeat(3_000)), 5, false);
    check(&format!("a\n{}", "🦀".repeat(1_501)), 2, false);
    check(&format!("a\n{}", "x".repeat(36_000)), 12, false);
    check(&format!("a\n{}", "x".repeat(36_001)), 12, true);
    check(&format!("a\n{}", "x\n---\n".repeat(100)), 12, true);
    // Lines stay whole where they fit.
    let lines = format!("a\n{}\n{}", "x".repeat(2_000), "y".repeat(2_000));
    let (.., body) =
        parts(Slack.request(&Notification { text: lines, ..notification() }, &bot()).unwrap());
    assert_eq!(body["blocks"][1]["text"]["text"], "x".repeat(2_000));
    assert_eq!(body["blocks"][2]["text"]["text"], "y".repeat(2_000));
}

#[test]
fn r36_six_keys_stand_in_rows_and_are_distinct() {
    let mut n = full();
    let verbs = ["ack", "resolve", "silence", "silence", "confirm", "reject"];
    n.buttons = verbs
        .iter()
        .map(|verb| Button { verb, label: "x".repeat(200), data: (*verb).into() })
        .collect();
    let (.., body) = parts(Slack.request(&n, &bot()).unwrap());
    let rows: Vec<&Value> =
        body["blocks"].as_array().unwrap().iter().filter(|b| b["type"] == "actions").collect();
    assert_eq!(rows.len(), 2);
    let ids: Vec<&str> = rows
        .iter()
        .flat_map(|row| row["elements"].as_array().unwrap())
        .inspect(|key| assert!(key["text"]["text"].as_str().unwrap().chars().count() <= 75))
        .map(|key| key["action_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["ack", "resolve", "silence", "silence", "confirm", "reject"]);
    // In one row the second of two alike has a name of its own.
    n.buttons.swap(1, 3);
    n.buttons.swap(0, 2);
    n.buttons.truncate(3);
    let (.., body) = parts(Slack.request(&n, &bot()).unwrap());
    let row = body["blocks"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(row["elements"][0]["action_id"], "silence");
    assert_eq!(row["elements"][1]["action_id"], "silence-2");
}

#[test]
fn a8_a_message_is_changed_and_followed_in_its_thread() {
    let message = "C0999999999/1700000000.000100";
    let (url, headers, body) = parts(Slack.edit(&full(), &bot(), message).unwrap());
    assert_eq!(url, "https://slack.com/api/chat.update");
    assert!(headers.iter().any(|(name, _)| *name == "authorization"));
    assert_eq!(
        (&body["channel"], &body["ts"]),
        (&json!("C0999999999"), &json!("1700000000.000100"))
    );
    let (.., new) = parts(Slack.request(&full(), &bot()).unwrap());
    assert_eq!(body["blocks"], new["blocks"]);
    assert!(Slack.edit(&full(), &hook(), message).is_err());
    assert!(Slack.edit(&full(), &bot(), "1700000000.000100").is_err());

    for (kind, threaded, seen) in [
        (SendKind::Resolve, true, true),
        (SendKind::Remind, true, true),
        (SendKind::Update, true, false),
        (SendKind::Fire, false, false),
        (SendKind::Summary, false, false),
    ] {
        let n = Notification { kind, first: Some(message.into()), ..notification() };
        let (.., body) = parts(Slack.request(&n, &bot()).unwrap());
        assert_eq!(body["thread_ts"] == "1700000000.000100", threaded, "{kind:?}");
        assert_eq!(body["reply_broadcast"] == true, seen, "{kind:?}");
        let channel = if threaded { "C0999999999" } else { CHANNEL };
        assert_eq!(body["channel"], channel, "{kind:?}");
        let (.., body) = parts(Slack.plain(&n, &bot()).unwrap());
        assert_eq!((&body["thread_ts"], &body["blocks"]), (&Value::Null, &Value::Null));
    }
    let alone = Notification { kind: SendKind::Resolve, ..notification() };
    let (.., body) = parts(Slack.request(&alone, &bot()).unwrap());
    assert_eq!((&body["channel"], &body["thread_ts"]), (&json!(CHANNEL), &Value::Null));
}

#[test]
fn a_question_is_answered_where_it_was_asked() {
    let n = reply(Some("C0777777777"), Some("1700000001.000200"));
    let (url, _, body) = parts(Slack.request(&n, &bot()).unwrap());
    assert!(url.ends_with("/chat.postMessage"));
    assert_eq!(body["channel"], "C0777777777");
    assert_eq!(body["thread_ts"], "1700000001.000200");
    let (.., body) = parts(Slack.request(&reply(Some("C0777777777"), None), &bot()).unwrap());
    assert_eq!(body["thread_ts"], Value::Null);
    let told =
        |n: &Notification, target: &Target| Slack.request(n, target).map(|_| ()).unwrap_err();
    assert!(told(&reply(None, None), &bot()).contains("no chat"));
    assert!(told(&reply(Some("#general"), None), &bot()).contains("no channel"));
    assert!(told(&n, &hook()).contains("only where a question says"));
}

fn check(status: u16, retry_after: Option<&str>, body: &str, expect: Verdict) {
    let got = Slack.outcome(&response(status, retry_after, body));
    assert_eq!(got, expect, "{status} {body}");
}

#[test]
fn a7_what_each_answer_means() {
    let taken = r#"{"ok":true,"channel":"C1","ts":"1700000000.000100","message":{}}"#;
    check(200, None, taken, Verdict::Delivered(Some("C1/1700000000.000100".into())));
    check(200, None, "ok", Verdict::Delivered(None));
    check(200, None, "ok\n", Verdict::Delivered(None));

    let wait = |seconds, reason: &str| Verdict::Retry {
        after: Some(Duration::from_secs(seconds)),
        pause_target: true,
        reason: reason.into(),
    };
    let limited = r#"{"ok":false,"error":"ratelimited"}"#;
    check(429, Some("7"), limited, wait(7, "status 429"));
    check(200, Some("7"), limited, wait(7, "ratelimited"));
    check(200, None, limited, wait(30, "ratelimited"));
    check(429, Some("2"), "", wait(2, "status 429"));

    for word in ["message_not_found", "cant_update_message", "edit_window_closed"] {
        let body = format!(r#"{{"ok":false,"error":"{word}"}}"#);
        check(200, None, &body, Verdict::CannotEdit(word.into()));
    }
    for word in ["invalid_blocks", "msg_too_long", "thread_not_found", "a_word_to_come"] {
        let body = format!(r#"{{"ok":false,"error":"{word}"}}"#);
        check(200, None, &body, Verdict::TryPlain(word.into()));
    }
    check(400, None, "invalid_payload", Verdict::TryPlain("invalid_payload".into()));
    for (status, body, named) in [
        (200, r#"{"ok":false,"error":"invalid_auth"}"#, "token"),
        (200, r#"{"ok":false,"error":"token_revoked"}"#, "token"),
        (200, r#"{"ok":false,"error":"missing_scope","needed":"chat:write"}"#, "scope chat:write"),
        (200, r#"{"ok":false,"error":"channel_not_found"}"#, "invite the app"),
        (200, r#"{"ok":false,"error":"not_in_channel"}"#, "invite the app"),
        (200, r#"{"ok":false,"error":"is_archived"}"#, "archived"),
        (403, "action_prohibited", "administrator"),
        (404, "no_service", "url"),
        (404, "channel_not_found", "channel"),
        (410, "channel_is_archived", "archived"),
    ] {
        let Verdict::Refused(reason) = Slack.outcome(&response(status, None, body)) else {
            panic!("{body}")
        };
        assert!(reason.contains(named) && reason.contains(" ("), "{reason}");
    }
    let retry =
        |reason: &str| Verdict::Retry { after: None, pause_target: false, reason: reason.into() };
    check(200, None, r#"{"ok":false,"error":"service_unavailable"}"#, retry("service_unavailable"));
    check(500, None, "internal_error", retry("status 500"));
    check(502, None, "<html>Bad Gateway</html>", retry("status 502"));
    let lost = |reason: &str| Verdict::Ambiguous(reason.into());
    check(200, None, r#"{"ok":false,"error":"fatal_error"}"#, lost("fatal_error"));
    check(200, None, "<html>", lost("status 200 without a verdict"));
    check(200, None, "", lost("status 200 without a verdict"));
    check(200, None, r#"{"ok":false}"#, lost("status 200 without a verdict"));
    check(404, None, "<html>", Verdict::Refused("status 404".into()));
}

#[test]
fn what_would_be_sent_can_be_shown_without_a_configuration() {
    let (url, _, body) = parts(Slack.request(&full(), &Target::of_kind(&Slack)).unwrap());
    assert!(url.starts_with("https://receiver.invalid/"), "{url}");
    assert_eq!(body["blocks"][0]["type"], "header");
}

const THERE: &str = "https://hooks.slack.com/actions/T0123456/1/hunter2hunter2hunter2";

/// The target for the answer to a question that brings this address.
fn asked_at(target: Target, address: &str) -> Target {
    Target { answer_at: Some(SecretString::from(address)), ..target }
}

#[test]
fn r36_a_question_that_says_where_is_answered_there_without_a_token() {
    let answer = |n: &Notification, target: &Target| {
        let (url, headers, body) = parts(Slack.request(n, target).unwrap());
        assert!(headers.iter().all(|(name, _)| *name == "content-type"), "{headers:?}");
        let kind = body["response_type"].as_str().unwrap().to_owned();
        assert_eq!((url.as_str(), &body["replace_original"]), (THERE, &json!(false)));
        (kind, body["thread_ts"].clone())
    };
    for target in [hook(), bot()] {
        let target = asked_at(target, THERE);
        // What was done is for all, in the thread of what was pressed; a slash command has none.
        let pressed = reply(Some("C0123456789"), Some("17.4"));
        assert_eq!(answer(&pressed, &target), ("in_channel".into(), json!("17.4")));
        let typed = reply(Some("C0123456789"), None);
        assert_eq!(answer(&typed, &target), ("in_channel".into(), Value::Null));
        // What was not done, and what was asked, is for whoever asked.
        let mut refused = pressed.clone();
        refused.reply.as_mut().unwrap().refused = Some("unknown_actor".into());
        assert_eq!(answer(&refused, &target), ("ephemeral".into(), Value::Null));
        let mut question = pressed;
        question.reply.as_mut().unwrap().verb = "status".into();
        assert_eq!(answer(&question, &target), ("ephemeral".into(), Value::Null));
    }
    // Told plainly, it needs no thread and no blocks; the bot has another way left.
    let n = reply(Some("C0123456789"), Some("17.4"));
    let (url, _, body) = parts(Slack.plain(&n, &asked_at(hook(), THERE)).unwrap());
    assert_eq!((url.as_str(), &body["blocks"]), (THERE, &Value::Null));
    let (url, ..) = parts(Slack.plain(&n, &asked_at(bot(), THERE)).unwrap());
    assert_eq!(url, "https://slack.com/api/chat.postMessage");
    // Nothing but an answer goes there.
    let (url, ..) = parts(Slack.request(&full(), &asked_at(hook(), THERE)).unwrap());
    assert_eq!(url, HOOK);
    for word in ["expired_url", "used_url"] {
        let verdict = Slack.outcome(&response(404, None, word));
        assert_eq!(verdict, Verdict::TryPlain(word.into()));
    }
    assert_eq!(Slack.outcome(&response(200, None, "{\"ok\":true}")), Verdict::Delivered(None));
}

#[test]
fn a7_answers_are_posted_to_slack_alone_and_their_address_is_shown_by_nothing() {
    let n = reply(Some("C0123456789"), None);
    for elsewhere in [
        "http://hooks.slack.com/actions/x",
        "https://hooks.slack.com:8443/actions/x",
        "https://hooks.slack.com.evil.example/actions/x",
        "https://evil.example/hooks.slack.com",
        "https://ada:x@hooks.slack.com/actions/x",
        "https://hooks.slack.com@evil.example/x",
        "file:///etc/passwd",
        "hooks.slack.com/actions/x",
        "",
    ] {
        let refused = Slack.request(&n, &asked_at(hook(), elsewhere)).err();
        let reason = refused.unwrap_or_else(|| panic!("{elsewhere} is asked"));
        assert!(reason.contains("not Slack's") && !reason.contains("actions"), "{reason}");
        // The bot answers by itself.
        let (url, ..) = parts(Slack.request(&n, &asked_at(bot(), elsewhere)).unwrap());
        assert_eq!(url, "https://slack.com/api/chat.postMessage", "{elsewhere}");
    }
    // Whoever the configuration names in Slack's place.
    let config = json!({"kind": "slack", "token": TOKEN, "channel": CHANNEL,
        "api_url": "https://slack-gov.com/api"});
    let gov = asked_at(target_of(config).unwrap(), "https://slack-gov.com/actions/x");
    let (url, ..) = parts(Slack.request(&n, &gov).unwrap());
    assert_eq!(url, "https://slack-gov.com/actions/x");

    let target = asked_at(hook(), THERE);
    let shown = format!("{target:?} {}", target.hide_credentials(&format!("no such {THERE}")));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(target.to_show().answer_at.is_none());
}

#[test]
fn a_webhook_whose_app_is_heard_has_buttons() {
    let blocks = |target: &Target| {
        let (_, _, body) = parts(Slack.request(&full(), target).unwrap());
        body["blocks"].as_array().unwrap().iter().any(|block| block["type"] == "actions")
    };
    let heard = target_of(json!({"kind": "slack", "url": HOOK, "source": "team"})).unwrap();
    assert_eq!((blocks(&heard), blocks(&hook()), blocks(&bot())), (true, false, true));
}
