use super::*;
use crate::{
    channels::tests::{notification, parts, response},
    config::tests::target_of,
};

const URL: &str = "https://oapi.dingtalk.com/robot/send?access_token=hunter2hunter2hunter2";

fn target(more: Value) -> Target {
    let mut config = json!({"kind": "dingtalk", "url": URL});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    target_of(config).unwrap()
}

fn sent(n: &Notification, target: &Target) -> Value {
    parts(DingTalk.request(n, target).unwrap()).2
}

/// The corpus' vector `dingtalk-robot-sign`, which is made from the documented construction.
#[test]
fn the_signature_is_of_milliseconds_under_the_secret() {
    let secret = SecretString::from("this is secret");
    let expect = "FK4/LSWpVkzwsnbYMt6N5/x9lkJzRKWaRXcn0lTZLqI=";
    assert_eq!(sign(&secret, "1661860880000"), expect);

    // It stands in the query, of this attempt, where the robot has a secret.
    let n = Notification {
        attempted_at: schemas::Time::from_micros(1_661_860_880_000_999),
        ..notification()
    };
    let signed = target(json!({"secret": "this is secret"}));
    let (url, ..) = parts(DingTalk.request(&n, &signed).unwrap());
    let query = "&timestamp=1661860880000&sign=FK4%2FLSWpVkzwsnbYMt6N5%2Fx9lkJzRKWaRXcn0lTZLqI%3D";
    assert_eq!(url, format!("{URL}{query}"));
    let (url, ..) = parts(DingTalk.plain(&n, &signed).unwrap());
    assert_eq!(url, format!("{URL}{query}"));
    let (url, ..) = parts(DingTalk.request(&n, &target(json!({}))).unwrap());
    assert_eq!(url, URL);
}

#[test]
fn a6_what_is_told_is_markdown_that_no_alert_can_write() {
    let mut n = notification();
    n.text = "═══\n❌ a_b告警\n═══\n📍 <module> [x](http://y) ![z](http://q)\n# *boom* `c`\n> d\n\
              ───\n🆔 7"
        .into();
    n.facts.url = Some("https://sentry.example.com/issues/(1)".into());
    let body = sent(&n, &target(json!({})));
    assert_eq!(body["msgtype"], "markdown");
    assert_eq!(body["markdown"]["title"], "❌ a_b告警");
    let expect = "#### ❌ a\\_b告警\n\n📍 ＜module> ［x］(http://y) !［z］(http://q)  \n＃ \\*boom\\* \
                  \\`c\\`  \n＞ d\n\n🆔 7\n\n\
                  [🔗 sentry.example.com](https://sentry.example.com/issues/%281%29)";
    assert_eq!(body["markdown"]["text"], expect);
    assert_eq!(body["at"], json!({"isAtAll": false}));

    n.facts.url = Some("javascript:alert(1)".into());
    assert!(!sent(&n, &target(json!({}))).to_string().contains("javascript"));
}

#[test]
fn a6_nobody_is_rung_but_whom_the_channel_names() {
    let names = json!({"mention": ["ada", "@all"], "mention_mobiles": ["13800001111"]});
    let target = target(names);
    let n = Notification { text: "down\n@all @13900002222".into(), ..notification() };
    let expect = json!({"atUserIds": ["ada"], "atMobiles": ["13800001111"], "isAtAll": true});
    for body in [sent(&n, &target), parts(DingTalk.plain(&n, &target).unwrap()).2] {
        assert_eq!(body["at"], expect);
        assert!(body.to_string().contains("@ada @all @13800001111"), "{body}");
    }
    for kind in [SendKind::Resolve, SendKind::Update, SendKind::Summary, SendKind::Test] {
        let body = sent(&Notification { kind, ..n.clone() }, &target);
        assert_eq!(body["at"], json!({"isAtAll": false}), "{kind:?}");
        assert!(!body.to_string().contains("@ada"), "{kind:?}");
    }
}

#[test]
fn a6_a_long_text_is_cut_until_it_fits() {
    for (text, fits) in [
        ("x".repeat(6_000), true),
        ("x".repeat(6_001), false),
        ("界".repeat(9_000), false),
        ("_".repeat(9_000), false),
        ("🦀".repeat(9_000), false),
    ] {
        let n = Notification { text: format!("down\n{text}"), ..notification() };
        let body = sent(&n, &target(json!({})));
        assert!(body.to_string().len() <= MAX_BODY);
        let told = body["markdown"]["text"].as_str().unwrap();
        assert_eq!(told.ends_with('…'), !fits);
        let plain = parts(DingTalk.plain(&n, &target(json!({}))).unwrap()).2;
        assert!(plain["text"]["content"].as_str().unwrap().chars().count() <= PLAIN_LIMIT);
    }
    // What no cut makes fit goes without markdown.
    let mut n = notification();
    n.facts.url = Some(format!("https://example.com/{}", "x".repeat(MAX_BODY)));
    assert_eq!(sent(&n, &target(json!({})))["msgtype"], "text");
}

fn check(status: u16, body: &str, expect: Verdict) {
    assert_eq!(DingTalk.outcome(&response(status, None, body)), expect, "{status} {body}");
}

#[test]
fn a7_what_each_answer_means() {
    check(200, r#"{"errcode":0,"errmsg":"ok"}"#, Verdict::Delivered(None));
    let muted = |reason: &str| Verdict::Retry {
        after: Some(Duration::from_secs(600)),
        pause_target: true,
        reason: reason.into(),
    };
    for code in [130101, 410100, 660026] {
        let body = format!(r#"{{"errcode":{code},"errmsg":"send too fast"}}"#);
        check(200, &body, muted(&format!("errcode {code}: send too fast")));
    }
    let retry = |reason: &str, pause_target| Verdict::Retry {
        after: None,
        pause_target,
        reason: reason.into(),
    };
    check(200, r#"{"errcode":-1,"errmsg":"系统繁忙"}"#, retry("errcode -1: 系统繁忙", false));
    check(429, "", retry("status 429", true));
    check(503, "", retry("status 503", true));
    let plain = |reason: &str| Verdict::TryPlain(reason.into());
    check(200, r#"{"errcode":460101,"errmsg":"too long"}"#, plain("errcode 460101: too long"));
    check(200, r#"{"errcode":31415}"#, plain("errcode 31415: no words"));
    check(413, "", plain("status 413"));
    let lost = |reason: &str| Verdict::Ambiguous(reason.into());
    check(200, "", lost("status 200 without an errcode"));
    check(200, r#"{"errcode":"0"}"#, lost("status 200 without an errcode"));
    for (code, said, named) in [
        (310000, "keywords not in content, more: [https://ding-doc]", "keyword"),
        (310000, "description:关键词不匹配;solution:x", "keyword"),
        (310000, "sign not match, more: [x]", "secret"),
        (
            310000,
            "description:机器人发送签名不匹配;solution:请确认签名和生成签名的时间戳",
            "secret",
        ),
        (310000, "invalid timestamp", "clock"),
        (310000, "ip 203.0.113.7 not in whitelist", "address"),
        (300005, "token is not exist", "url"),
        (400101, "access_token不存在", "url"),
        (400102, "机器人已停用", "switched off"),
    ] {
        let body = json!({"errcode": code, "errmsg": said}).to_string();
        let Verdict::Refused(reason) = DingTalk.outcome(&response(200, None, &body)) else {
            panic!("{said}")
        };
        assert!(reason.starts_with(&format!("errcode {code}: ")), "{reason}");
        let advice = reason.rsplit_once('(').unwrap().1;
        assert!(advice.contains(named), "{reason}");
    }
}

#[test]
fn a_configuration_names_its_token_and_shows_it_nowhere() {
    let check = |keys: Value, expect: &str| {
        let mut config = json!({"kind": "dingtalk", "url": URL});
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let got = target_of(config).map(|_| ()).unwrap_err();
        assert!(got.contains(expect) && !got.contains("hunter2"), "{got:?} lacks {expect:?}");
    };
    check(
        json!({"url": "https://oapi.dingtalk.com/robot/send?hunter2"}),
        "out.url: it has no access",
    );
    let shown = target(json!({})).hide_credentials("no robot hunter2hunter2hunter2");
    assert_eq!(shown, "no robot …");
    check(json!({"secret": " "}), "out.secret: it is empty");
    check(json!({"mention": []}), "out.mention: one of these is nobody");
    check(
        json!({"mention_mobiles": ["hunter2"]}),
        "out.mention_mobiles: one of these is no number",
    );
}
