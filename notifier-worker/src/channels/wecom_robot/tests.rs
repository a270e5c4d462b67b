use schemas::{Facts, SourceId, Status};

use super::*;
use crate::{
    channels::tests::{notification, parts, response},
    config::tests::target_of,
};

const URL: &str = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=hunter2-hunter2-hunter2";

fn target(more: Value) -> Target {
    let mut config = json!({"kind": "wecom-robot", "url": URL});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    target_of(config).unwrap()
}

fn sent(n: &Notification, target: &Target) -> Value {
    let (url, _, body) = parts(WecomRobot.request(n, target).unwrap());
    assert_eq!(url, URL);
    body
}

/// A message whose text has these lines in it.
fn saying(lines: usize, line: &str) -> Notification {
    let mut n = notification();
    n.facts = Facts::new("alertmanager", SourceId::new("main").unwrap(), "Down", Status::Firing);
    let annotation = |i: usize| (["summary", "description"][i].to_owned(), line.to_owned());
    n.facts.annotations = (0..lines.min(2)).map(annotation).collect();
    n.facts.target = Some(line.to_owned());
    n.facts.labels = vec![("instance".into(), line.into()), ("job".into(), line.into())];
    n
}

#[test]
fn r37_the_text_is_sent_as_it_is_rendered() {
    let n = notification();
    let body = sent(&n, &target(json!({})));
    assert_eq!(
        body,
        json!({"msgtype": "text", "text": {"content": wecom_text(&n.message("INC-20260102-007"))}})
    );
}

#[test]
fn a6_what_is_too_long_for_a_text_is_markdown_and_then_cut() {
    let check = |line: &str, kind: &str, limit: usize, cut: bool| {
        let n = saying(2, line);
        let body = sent(&n, &target(json!({})));
        assert_eq!(body["msgtype"], kind);
        let content = body[kind]["content"].as_str().unwrap();
        assert!(content.len() <= limit, "{} bytes", content.len());
        assert_eq!(content.ends_with('…'), cut, "{content}");
        let plain = parts(WecomRobot.plain(&n, &target(json!({}))).unwrap()).2;
        assert_eq!(plain["msgtype"], "text");
        assert!(plain["text"]["content"].as_str().unwrap().len() <= MAX_PLAIN);
    };
    // Four times the line, each cut at 500 characters where it is rendered.
    check("x", "text", MAX_TEXT, false);
    check(&"x".repeat(500), "markdown", MAX_MARKDOWN, false);
    check(&"界".repeat(150), "text", MAX_TEXT, false);
    check(&"界".repeat(200), "markdown", MAX_MARKDOWN, false);
    check(&"界".repeat(400), "markdown", MAX_MARKDOWN, true);
    check(&"🦀".repeat(500), "markdown", MAX_MARKDOWN, true);
}

#[test]
fn a6_no_alert_writes_markup_or_rings_anybody() {
    let evil = "<@ada> <@all> [x](http://y) <font color=\"warning\">*b*</font> `c` 1 < 2 <module>";
    let body = sent(&saying(1, evil), &target(json!({})));
    assert_eq!(body["text"].as_object().unwrap().len(), 1, "{body}");
    let content = body["text"]["content"].as_str().unwrap();
    assert!(!content.contains("<@") && !content.contains("<font"), "{content}");
    assert!(content.contains("1 < 2 ＜module>"), "{content}");

    let long = format!("# {evil}\n> {}", "界".repeat(600));
    let shown = without_markup(&long);
    assert!(!shown.contains(['<', '[', ']', '*', '`']), "{shown}");
    assert!(shown.starts_with('＃') && shown.contains("\n＞ 界"), "{shown}");
}

#[test]
fn only_what_is_to_wake_somebody_rings_whom_the_channel_names() {
    let target = target(json!({"mention": ["ada", "@all"], "mention_mobiles": ["13800001111"]}));
    // People are rung by a text only, so it is cut sooner.
    let n = saying(2, &"界".repeat(400));
    let body = sent(&n, &target);
    assert_eq!(body["text"]["mentioned_list"], json!(["ada", "@all"]));
    assert_eq!(body["text"]["mentioned_mobile_list"], json!(["13800001111"]));
    assert!(body["text"]["content"].as_str().unwrap().len() <= MAX_TEXT);
    for kind in [SendKind::Resolve, SendKind::Update, SendKind::Test] {
        let body = sent(&Notification { kind, ..n.clone() }, &target);
        assert!(!body.to_string().contains("mentioned"), "{kind:?}");
    }
}

fn check(status: u16, body: &str, expect: Verdict) {
    assert_eq!(WecomRobot.outcome(&response(status, None, body)), expect, "{status} {body}");
}

#[test]
fn a7_what_each_answer_means() {
    check(200, r#"{"errcode":0,"errmsg":"ok"}"#, Verdict::Delivered(None));
    let retry = |reason: &str, pause_target| Verdict::Retry {
        after: None,
        pause_target,
        reason: reason.into(),
    };
    let limited = r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#;
    check(200, limited, retry("errcode 45009: api freq out of limit", true));
    check(200, r#"{"errcode":-1,"errmsg":"busy"}"#, retry("errcode -1: busy", false));
    check(500, "", retry("status 500", false));
    let plain = |reason: &str| Verdict::TryPlain(reason.into());
    check(200, r#"{"errcode":40058,"errmsg":"too long"}"#, plain("errcode 40058: too long"));
    check(200, r#"{"errcode":31415}"#, plain("errcode 31415: no words"));
    check(413, "", plain("status 413"));
    check(200, "<html>", Verdict::Ambiguous("status 200 without an errcode".into()));
    for (code, named) in [(93000, "url"), (93008, "group"), (60020, "address")] {
        let body = format!(r#"{{"errcode":{code},"errmsg":"why"}}"#);
        let Verdict::Refused(reason) = WecomRobot.outcome(&response(200, None, &body)) else {
            panic!("{code}")
        };
        assert!(reason.starts_with(&format!("errcode {code}: why (")), "{reason}");
        assert!(reason.contains(named), "{reason}");
    }
}

#[test]
fn a_configuration_names_its_key_and_shows_it_nowhere() {
    let url = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?hunter2";
    let got = target_of(json!({"kind": "wecom-robot", "url": url})).map(|_| ()).unwrap_err();
    assert!(got.contains("out.url: it has no key; copy") && !got.contains("hunter2"), "{got}");
}
