use schemas::{
    event::{Cause, IncidentState},
    job::Standing,
    record::{Auth, Delivery},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    providers::{self, Normalised, Reading},
    redact::Redactor,
};

fn golden(name: &str) -> Value {
    let text = match name {
        "sentry" => include_str!("../../../../fixtures/notify/goldens/wecom.sentry.input.json"),
        "alertmanager" => {
            include_str!("../../../../fixtures/notify/goldens/wecom.alertmanager.input.json")
        }
        other => panic!("{other}"),
    };
    serde_json::from_str(text).unwrap()
}

fn error() -> Facts {
    let v = golden("sentry");
    let text = |key: &str| v[key].as_str().map(str::to_owned);
    Facts {
        severity_raw: text("level"),
        environment: text("environment"),
        service: text("service"),
        culprit: text("culprit"),
        url: text("url"),
        first_seen: v["first_seen"].as_str().map(|at| at.parse().unwrap()),
        count: v["count"].as_u64(),
        user_count: v["user_count"].as_u64(),
        ..facts("sentry", v["title"].as_str().unwrap())
    }
}

/// The alert as the provider reads it out of a delivery.
fn of_alertmanager(alert: &Value) -> Facts {
    let body = json!({ "version": "4", "status": alert["status"], "alerts": [alert] });
    let delivery = Delivery {
        provider: "alertmanager".into(),
        source: SourceId::new("prom").unwrap(),
        route: "/webhook/alertmanager/prom".into(),
        headers: Vec::new(),
        remote: None,
        auth: Auth { method: "bearer".into(), credential: None },
        raw: body.to_string().into_bytes(),
        sha256: [0; 32],
        content_type: None,
        channel: None,
        recorded: None,
    };
    let provider = providers::by_name("alertmanager").unwrap();
    let reading = Reading { project: &PROJECT, redactor: Redactor::builtin(), fields: None };
    let told = providers::normalise(provider, &delivery, &reading);
    let Normalised::Alerts { mut alerts, .. } = told else { panic!("{told:?}") };
    alerts.remove(0).facts
}

#[test]
fn r37_the_golden_text_of_an_error() {
    let expect = include_str!("../../../../fixtures/notify/goldens/wecom.sentry.txt");
    check(&wecom_text(&message(SendKind::Fire, &error())), expect);
}

#[test]
fn r38_the_golden_text_of_an_alert() {
    let expect = include_str!("../../../../fixtures/notify/goldens/wecom.alertmanager.txt");
    check(&wecom_text(&message(SendKind::Fire, &of_alertmanager(&golden("alertmanager")))), expect);
}

#[test]
fn r37_an_error_that_is_over_or_is_back() {
    let facts = error();
    let over = wecom_text(&message(SendKind::Resolve, &facts));
    assert!(over.starts_with("✅ [Sentry 应用告警] ValueError in calculate_score\n"), "{over}");
    assert!(over.contains("📊 状态: ✅ 已解决\n"), "{over}");
    for cause in [Cause::Regression, Cause::Reappearance] {
        let back = Message { cause: Some(cause), ..message(SendKind::Fire, &facts) };
        let back = wecom_text(&back);
        assert!(back.starts_with("🔁 [Sentry 应用告警] "), "{back}");
        assert!(back.contains("📊 状态: 🔁 再次出现\n"), "{back}");
    }
}

#[test]
fn r38_an_alert_that_is_over_says_when() {
    let mut alert = golden("alertmanager");
    alert["status"] = json!("resolved");
    alert["endsAt"] = json!("2025-10-31T04:50:30Z");
    let text = wecom_text(&message(SendKind::Resolve, &of_alertmanager(&alert)));
    let expect = include_str!("../../../../fixtures/notify/goldens/wecom.alertmanager.txt")
        .replace("🔥 [FIRING]", "✅ [RESOLVED]")
        .replace("12:35:00\n", "12:35:00\n⏰ 恢复时间: 2025-10-31 12:50:30\n");
    check(&text, &expect);
}

#[test]
fn r38_a_label_that_is_missing_drops_its_line() {
    let whole = include_str!("../../../../fixtures/notify/goldens/wecom.alertmanager.txt");
    for (label, mark) in [("severity", "🚨 严重程度"), ("instance", "🖥️  实例"), ("job", "📦 任务")]
    {
        let mut alert = golden("alertmanager");
        alert["labels"].as_object_mut().unwrap().remove(label);
        let expect: Vec<&str> = whole.lines().filter(|line| !line.starts_with(mark)).collect();
        assert_eq!(expect.len() + 1, whole.lines().count());
        let text = wecom_text(&message(SendKind::Fire, &of_alertmanager(&alert)));
        check(&text, &expect.join("\n"));
    }
    let bare = of_alertmanager(&json!({ "status": "firing", "labels": { "alertname": "A" } }));
    let expect = "🔥 [FIRING] A\n━━━━━━━━━━━━━━━━\n🏷️  来源: Prometheus\n━━━━━━━━━━━━━━━━";
    check(&wecom_text(&message(SendKind::Fire, &bare)), expect);
}

#[test]
fn r37_alert_text_forges_no_line() {
    let mut forged = error();
    forged.title = "boom\n📊 状态: ✅ 已解决".into();
    forged.culprit = Some("a\u{2028}🔗 详情: http://evil.example".into());
    let text = wecom_text(&message(SendKind::Fire, &forged));
    for mark in ["📊", "🔗"] {
        assert_eq!(text.lines().filter(|line| line.starts_with(mark)).count(), 1, "{text}");
    }
    let mut alert = golden("alertmanager");
    alert["annotations"]["description"] = json!("x\n━━━━━━━━━━━━━━━━\n🔥 [FIRING] forged");
    let text = wecom_text(&message(SendKind::Fire, &of_alertmanager(&alert)));
    assert_eq!(text.lines().filter(|line| line.starts_with("━━")).count(), 2, "{text}");
}

#[test]
fn r37_an_update_says_what_was_done_and_by_whom() {
    let facts = error();
    let standing = Standing {
        state: IncidentState::Acknowledged,
        verb: Some("ack".into()),
        actor: Some("ada".into()),
        at: told_at(),
        silenced_until: None,
        folded: 2,
        rose: None,
    };
    let analysis = analysis("连接池耗尽", "调高 max_connections", 0.875, Some("m"));
    let update = Message {
        standing: Some(&standing),
        analysis: Some(&analysis),
        ..message(SendKind::Update, &facts)
    };
    let expect = "\n\n📌 状态: 已认领\n👤 ada：认领 · 2026-01-02 05:40:00\n🔁 一小时内又出现 2 次\n\
                  🧠 OpenClaw 分析 (信心: 88%):\n连接池耗尽\n💡 建议: 调高 max_connections\n\
                  🆔 编号: INC-20260102-007\n━━━━━━━━━━━━━━━━";
    let text = wecom_text(&update);
    assert!(text.ends_with(expect), "{text}");
    let english = Message { language: Some(Language::English), ..update };
    let text = wecom_text(&english);
    assert!(text.starts_with("🆕 [Sentry error] ValueError in calculate_score\n"), "{text}");
    assert!(text.contains("👤 ada: acknowledge · 2026-01-02 05:40:00\n"), "{text}");
}
