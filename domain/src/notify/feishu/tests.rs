use std::path::{Path, PathBuf};

use schemas::{Facts, ProjectId, SourceId, Status, Time, job::Analysis};

use super::*;
use crate::{
    notify::{
        SAMPLES, Sample,
        format::tests::{NUMBER, message},
        render_text, sample_facts, wecom_text,
    },
    providers,
};

const KINDS: [SendKind; 2] = [SendKind::Fire, SendKind::Resolve];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/notify")
}

/// The sample of a provider that its messages are shown with.
fn sample(provider: &str, kind: SendKind) -> Facts {
    let file = fixtures().join(format!("{provider}.facts.json"));
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|e| panic!("each provider has a sample, {}: {e}", file.display()));
    let mut facts: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(facts[kind.word()].take()).unwrap()
}

fn card(facts: &Facts, kind: SendKind) -> Value {
    feishu_card(&message(kind, facts), 4_000)
}

fn title(facts: &Facts, kind: SendKind) -> String {
    card(facts, kind)["card"]["header"]["title"]["content"].as_str().unwrap().to_owned()
}

fn colour(facts: &Facts, kind: SendKind) -> String {
    card(facts, kind)["card"]["header"]["template"].as_str().unwrap().to_owned()
}

fn content(element: &Value) -> &str {
    element["text"]["content"].as_str().unwrap()
}

/// Every `lark_md` text of a body.
fn markups(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(map) if map.get("tag").is_some_and(|tag| tag == "lark_md") => {
            map["content"].as_str().into_iter().collect()
        }
        Value::Object(map) => map.values().flat_map(markups).collect(),
        Value::Array(list) => list.iter().flat_map(markups).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    }
}

/// One file for each provider, channel and kind; a new provider needs its own.
#[test]
fn r66_each_provider_in_each_channel_firing_and_resolved() {
    for provider in providers::all().iter().filter(|p| p.channel_type() != "chat") {
        for kind in KINDS {
            let (name, word) = (provider.name(), kind.word());
            let facts = sample(name, kind);
            let read = |file: String| {
                std::fs::read_to_string(fixtures().join(&file))
                    .unwrap_or_else(|e| panic!("{file}: {e}"))
            };
            let text = render_text(&message(kind, &facts));
            assert_eq!(text, read(format!("{name}.telegram.{word}.txt")), "\n{text}");
            let wecom = wecom_text(&message(kind, &facts));
            assert_eq!(wecom, read(format!("{name}.wecom.{word}.txt")), "\n{wecom}");
            let card = card(&facts, kind);
            let expect: Value =
                serde_json::from_str(&read(format!("{name}.feishu.{word}.json"))).unwrap();
            assert_eq!(card, expect, "\n{card:#}");
        }
    }
}

#[test]
fn r40_colours_by_the_senders_word_and_else_red() {
    let sentry = |word: &str| Facts {
        severity_raw: Some(word.to_owned()),
        level: Level::from_word(word),
        ..sample("sentry", SendKind::Fire)
    };
    for (word, expect) in [
        ("ERROR", "red"),
        ("error", "red"),
        ("Warning", "yellow"),
        ("INFO", "blue"),
        ("info", "blue"),
        ("fatal", "red"),
        ("debug", "red"),
    ] {
        assert_eq!(colour(&sentry(word), SendKind::Fire), expect, "{word}");
        assert_eq!(colour(&sentry(word), SendKind::Resolve), "green", "{word}");
    }
    // R67: other providers' words mean a level.
    for (level, expect) in [
        (Some(Level::Fatal), "red"),
        (Some(Level::Warning), "yellow"),
        (Some(Level::Info), "blue"),
        (None, "red"),
    ] {
        let facts = Facts { level, ..sample("alertmanager", SendKind::Fire) };
        assert_eq!(colour(&facts, SendKind::Fire), expect, "{level:?}");
    }
}

#[test]
fn r40_what_is_absent_is_unknown_or_left_out() {
    let facts = Facts { environment: None, ..sample("sentry", SendKind::Fire) };
    assert_eq!(
        title(&facts, SendKind::Fire),
        "【网站服务FATAL】 checkout项目在UNKNOWN环境出现异常"
    );
    // Named by its title: there is no error type, and no space where it would be.
    let facts = Facts { alertname: Some(facts.title.clone()), message: None, ..facts };
    let body = card(&facts, SendKind::Fire);
    let shown = content(&body["card"]["elements"][1]);
    assert!(shown.starts_with("**cart.total in sum_lines**\nKeyError: 'price'"), "{shown}");
    assert!(
        shown.ends_with("\n\n**Message: **\nKeyError: 'price' 購物車 &#60;total&#62; 無法計算"),
        "{shown}"
    );

    let bare = Facts {
        severity_raw: None,
        level: None,
        service: None,
        message: None,
        target: None,
        environment: None,
        issue_id: None,
        ..sample("alertmanager", SendKind::Fire)
    };
    assert_eq!(title(&bare, SendKind::Fire), "【ALERTMANAGER】 shop项目在UNKNOWN环境出现异常");
    let body = card(&bare, SendKind::Fire);
    assert_eq!(content(&body["card"]["elements"][1]), "**PostgresSlow**");
    assert!(body.to_string().contains(&format!("**🔢 事件 ID：**\\n{NUMBER}")), "{body}");
}

#[test]
fn r40_a_button_leads_only_to_a_web_page() {
    for (url, button, note) in [
        (
            Some("https://u:p@s.example.com:8443/x?y"),
            true,
            "[来自Sentry日志平台](https://s.example.com:8443/)",
        ),
        (Some("HTTP://[::1]:3000"), true, "[来自Sentry日志平台](http://[::1]:3000/)"),
        (Some("https://a)b.example.com/"), true, "来自Sentry日志平台"),
        (Some("javascript://alert(1)"), false, "来自Sentry日志平台"),
        (Some("ftp://example.com/"), false, "来自Sentry日志平台"),
        (Some("https://"), false, "来自Sentry日志平台"),
        (Some("12345"), false, "来自Sentry日志平台"),
        (None, false, "来自Sentry日志平台"),
    ] {
        let facts = Facts { url: url.map(str::to_owned), ..sample("sentry", SendKind::Fire) };
        let body = card(&facts, SendKind::Fire);
        let elements = body["card"]["elements"].as_array().unwrap();
        let action = elements.iter().find(|element| element["tag"] == "action");
        assert_eq!(
            action.map(|a| a["actions"][0]["url"].as_str()),
            button.then_some(url),
            "{url:?}"
        );
        let last = elements.last().unwrap();
        assert_eq!(last["elements"][0]["content"], note, "{url:?}");
    }
}

#[test]
fn r40_an_old_issue_is_shown_with_the_time_it_was_heard_of() {
    let facts = sample("sentry", SendKind::Fire);
    let time = |facts: &Facts, kind| {
        let body = card(facts, kind);
        content(&body["card"]["elements"][0]["fields"][0]).to_owned()
    };
    assert_eq!(time(&facts, SendKind::Fire), "**🕐 时间：**\n2026-01-02 04:30:05");
    let old = Facts { first_seen: facts.started_at, ..facts };
    assert_eq!(time(&old, SendKind::Fire), "**🕐 时间：**\n2026-01-02 05:40:00");
    assert_eq!(time(&old, SendKind::Resolve), "**🕐 恢复时间：**\n2026-01-02 05:40:00");
}

#[test]
fn r40_an_analysis_follows_and_says_whose_it_is() {
    let facts = sample("sentry", SendKind::Fire);
    let mut analysis = Analysis {
        root_cause: "the [row](http://evil.example) is gone <at id=all></at>".into(),
        impact: String::new(),
        fix_suggestion: "check *first*".into(),
        prevention: String::new(),
        confidence: 0.625,
        analyzed_by: "playbook".into(),
        model: None,
        ..Analysis::default()
    };
    let third = |analysis: &Analysis, kind| {
        let message = Message { analysis: Some(analysis), ..message(kind, &facts) };
        feishu_card(&message, 4_000)["card"]["elements"][2].clone()
    };
    let expect = "**🧠 playbook 分析（信心：62%）**\n\
                  the &#91;row&#93;(http://evil.example) is gone &#60;at id=all&#62;&#60;/at&#62;\n\
                  **💡 建议：**\ncheck &#42;first&#42;\n**🆔 编号：** INC-20260102-007";
    assert_eq!(content(&third(&analysis, SendKind::Fire)), expect);
    analysis.model = Some("some-model".into());
    analysis.analyzed_by = "openclaw".into();
    assert!(content(&third(&analysis, SendKind::Fire)).starts_with("**🧠 OpenClaw 分析"));
    analysis.analyzed_by = "night*shift".into();
    let shown = content(&third(&analysis, SendKind::Fire)).to_owned();
    assert!(shown.starts_with("**🧠 night&#42;shift (some-model) 分析"), "{shown}");
    analysis.inconclusive = true;
    assert!(content(&third(&analysis, SendKind::Fire)).contains("\n尚无定论：the &#91;row&#93;"));
    assert_eq!(third(&analysis, SendKind::Resolve)["tag"], "action");
}

#[test]
fn a6_nothing_in_an_alert_is_markup_a_link_or_a_mention() {
    let evil = "<at id=all></at> <AT id=all> [x](http://e) **b** ~~s~~ `c` &lt;at id=all&#62; a&b; a&&b\r\n\u{202e}\u{0}";
    assert_eq!(
        escape("<at>*~[x]`&lt;&#62;&b &&c; a & b"),
        "&#60;at&#62;&#42;&#126;&#91;x&#93;&#96;&#38;lt;&#38;#62;&b &&#38;c; a & b"
    );
    for provider in providers::all().iter().filter(|p| p.channel_type() != "chat") {
        let mut facts = sample(provider.name(), SendKind::Fire);
        // The whole frame without the alert's own marks.
        let marks = |facts: &Facts, kind| {
            let body = card(facts, kind);
            let texts = markups(&body).concat();
            assert!(!texts.chars().any(|c| is_hidden(c) && c != '\n'), "{texts:?}");
            ["*", "~", "<", ">", "[", "`"].map(|mark| texts.matches(mark).count())
        };
        for text in [
            &mut facts.title,
            facts.alertname.get_or_insert_default(),
            facts.message.get_or_insert_default(),
            facts.culprit.get_or_insert_default(),
            facts.target.get_or_insert_default(),
            facts.environment.get_or_insert_default(),
            facts.sender_project.get_or_insert_default(),
            facts.service.get_or_insert_default(),
            facts.issue_id.get_or_insert_default(),
        ] {
            *text = "x".to_owned();
        }
        facts.alertname = Some("y".into());
        let plain = KINDS.map(|kind| marks(&facts, kind));
        for text in [
            &mut facts.title,
            facts.alertname.get_or_insert_default(),
            facts.message.get_or_insert_default(),
            facts.culprit.get_or_insert_default(),
            facts.target.get_or_insert_default(),
            facts.environment.get_or_insert_default(),
            facts.sender_project.get_or_insert_default(),
            facts.service.get_or_insert_default(),
            facts.issue_id.get_or_insert_default(),
        ] {
            text.push_str(evil);
        }
        assert_eq!(KINDS.map(|kind| marks(&facts, kind)), plain, "{}", provider.name());
    }
    let text = feishu_text("a < b <at user_id=\"all\">all</at>");
    assert_eq!(text["content"]["text"], "a ＜ b ＜at user_id=\"all\">all＜/at>");
}

#[test]
fn a6_a_long_text_is_cut_by_code_point() {
    let facts = Facts { message: Some("界".repeat(50)), ..sample("sentry", SendKind::Fire) };
    let shown = |limit| feishu_card(&message(SendKind::Fire, &facts), limit).to_string();
    assert_eq!(shown(50).matches('界').count(), 50);
    assert!(!shown(50).contains('…'));
    assert_eq!(shown(49).matches('界').count(), 49);
    assert!(shown(49).contains("界…"));
}

#[test]
fn r40_the_golden_card() {
    let read = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let input = read(include_str!("../../../fixtures/notify/goldens/feishu.input.json"));
    let expect = read(include_str!("../../../fixtures/notify/goldens/feishu.card.json"));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let event = &input["event"];
    let (kind, value) = (&event["metadata"]["type"], &event["metadata"]["value"]);
    let seconds = event["timestamp"].as_f64().unwrap();
    let facts = Facts {
        source: SourceId::new("main").unwrap(),
        status: Status::Firing,
        title: format!("{}: {}", kind.as_str().unwrap(), value.as_str().unwrap()),
        alertname: text(kind),
        level: Level::from_word(input["level"].as_str().unwrap()),
        severity_raw: text(&input["level"]),
        culprit: text(&input["culprit"]),
        sender_project: text(&input["project"]),
        message: text(&input["message"]),
        environment: text(&event["environment"]),
        issue_id: text(&input["id"]),
        url: text(&input["url"]),
        started_at: Some(Time::from_micros((seconds * 1e6) as i64)),
        ..sample("sentry", SendKind::Fire)
    };
    assert_eq!(card(&facts, SendKind::Fire), expect);
}

#[test]
fn a_card_is_written_in_the_language_that_is_asked_for() {
    let foreign = |c: char| !c.is_ascii() && c.is_alphanumeric() || ('！'..='～').contains(&c);
    for kind in [SendKind::Fire, SendKind::Resolve, SendKind::Update, SendKind::Remind] {
        for name in SAMPLES {
            let sample = Sample::new(
                kind,
                sample_facts(name, kind).unwrap(),
                ProjectId::new("shop").unwrap(),
            );
            let message = Message { language: Some(Language::English), ..sample.message() };
            let card = feishu_card(&message, 4_000).to_string();
            assert!(!card.contains(foreign), "{card}");
        }
    }
    let facts = sample_facts("alert", SendKind::Fire).unwrap();
    let title = |language| {
        let message = Message { language, ..message(SendKind::Fire, &facts) };
        feishu_card(&message, 9)["card"]["header"]["title"]["content"].as_str().unwrap().to_owned()
    };
    assert!(title(None).contains("项目在production环境出现异常"), "{}", title(None));
    assert!(title(Some(Language::TraditionalChinese)).contains("出現異常"));
    assert!(title(Some(Language::English)).ends_with("in production: something is wrong"));
}
