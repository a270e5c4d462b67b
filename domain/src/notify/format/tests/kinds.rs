use schemas::{
    IncidentId, InputPosition,
    event::{Cause, EscalationLevel, Frequency, IncidentState},
    job::{Rose, Standing, Summary, SummaryItem, SummaryReason},
};
use uuid::Uuid;

use super::*;
use crate::notify::{feishu_card, render_text};

fn item(level: Option<Level>, title: &str) -> SummaryItem {
    SummaryItem {
        incident: IncidentId(Uuid::from_u128(1)),
        opening: InputPosition { incarnation: 7, sequence: 1, record: 0 }.alert(0),
        provider: "grafana".into(),
        title: title.into(),
        level,
        environment: None,
        alerts: 1,
        state: IncidentState::Open,
    }
}

fn summary_of(reason: SummaryReason, items: Vec<SummaryItem>) -> Summary {
    Summary {
        reason,
        key: "k".into(),
        since: told_at().plus_seconds(-3_600),
        until: told_at(),
        incidents: items.len() as u64,
        alerts: 40,
        group: vec![("cluster".into(), "eu-1".into())],
        items,
    }
}

fn text_of(summary: &Summary, language: Option<Language>) -> String {
    let facts = facts("grafana", "");
    let message =
        Message { summary: Some(summary), language, ..message(SendKind::Summary, &facts) };
    render_text(&message)
}

#[test]
fn r41_a_summary_counts_and_names_the_worst_first() {
    let warning = SummaryItem {
        environment: Some("staging".into()),
        alerts: 3,
        state: IncidentState::Acknowledged,
        ..item(Some(Level::Warning), "disk is full")
    };
    let over = SummaryItem {
        state: IncidentState::Resolved,
        ..item(Some(Level::Info), "forged\n🚨 [X] line")
    };
    let items = vec![over, warning, item(Some(Level::Fatal), "database is away")];
    let text = text_of(&summary_of(SummaryReason::Hourly, items), None);
    let expect = "\
═══════════════════════════
📋 每小時摘要 · 3 個事件，40 則告警
═══════════════════════════
📦 專案: shop
⏰ 2026-01-02 04:40:00 – 2026-01-02 05:40:00
🔗 cluster=eu-1
───────────────────────────
🚨 [GRAFANA] database is away
⚠️ [GRAFANA] disk is full (staging) ×3 · 已認領
✅ [GRAFANA] forged 🚨 [X] line · 已解決
═══════════════════════════";
    check(&text, expect);
}

#[test]
fn r41_a_summary_names_twenty_and_counts_the_rest() {
    let items = (0..25).map(|n| item(None, &format!("problem {n}"))).collect();
    let text = text_of(&summary_of(SummaryReason::Storm, items), Some(Language::English));
    assert!(text.contains("🌊 Alert storm · 25 incidents, 40 alerts\n"), "{text}");
    assert_eq!(text.matches("problem").count(), 20, "{text}");
    assert!(text.contains("problem 19\n… +5 more\n═"), "{text}");
    for (reason, name) in [
        (SummaryReason::Bundle, "📎 合併告警"),
        (SummaryReason::Hourly, "📋 每小時摘要"),
        (SummaryReason::Daily, "📋 每日摘要"),
        (SummaryReason::Storm, "🌊 告警風暴"),
    ] {
        let text = text_of(&summary_of(reason, vec![item(None, "x")]), None);
        assert!(text.contains(name) && !text.contains("… +"), "{text}");
    }
}

#[test]
fn r18_a_test_is_marked_as_one_in_every_language_and_form() {
    let facts = facts("custom", "does it\narrive?");
    for (language, mark) in
        Language::ALL.into_iter().zip(["🧪 测试消息", "🧪 測試訊息", "🧪 Test message"])
    {
        let test = Message { language: Some(language), ..message(SendKind::Test, &facts) };
        for text in [render_text(&test), wecom_text(&test)] {
            assert!(text.contains(mark) && text.contains("🔖 does it arrive?\n"), "{text}");
            assert!(text.contains("2026-01-02 05:40:00"), "{text}");
        }
        let card = feishu_card(&test, 4_000);
        assert_eq!(card["card"]["header"]["title"]["content"], mark);
        assert!(card.to_string().contains("does it arrive?"), "{card}");
    }
}

#[test]
fn r72_the_result_of_a_smoke_run_is_told_as_it_is() {
    let mut facts = facts("custom", "🎭 Smoke: PASS 5/5");
    facts.labels.push(("smoke".into(), "pass".into()));
    let test = message(SendKind::Test, &facts);
    check(&render_text(&test), "🎭 Smoke: PASS 5/5");
    check(&wecom_text(&test), "🎭 Smoke: PASS 5/5");
}

#[test]
fn r43_what_comes_back_is_marked() {
    let facts = facts("sentry", "boom");
    for (cause, mark) in [
        (Cause::New, None),
        (Cause::Regression, Some("🔁 再次出現：先前已解決")),
        (Cause::Reappearance, Some("🔁 再次出現：先前被忽略")),
    ] {
        let fire = Message { cause: Some(cause), ..message(SendKind::Fire, &facts) };
        let text = render_text(&fire);
        assert_eq!(text.lines().find(|line| line.starts_with("🔁")), mark, "{text}");
        let card = feishu_card(&fire, 4_000).to_string();
        assert_eq!(card.contains("再次出现"), mark.is_some(), "{card}");
    }
    let tags = ["environment:testing".to_owned()];
    let fire = Message { tags: &tags, ..message(SendKind::Fire, &facts) };
    assert!(render_text(&fire).contains("🏷️ 標記: environment:testing\n"));
}

#[test]
fn r27_an_update_and_a_reminder_say_that_it_was_raised_and_a_first_message_does_not() {
    let facts = facts("sentry", "boom");
    let frequency =
        Frequency { count_1h: 5, count_24h: 5, count_7d: 5, level: EscalationLevel::Escalate };
    for (kind, raised, reminds) in [
        (SendKind::Fire, false, false),
        (SendKind::Update, true, false),
        (SendKind::Remind, true, true),
    ] {
        let text = render_text(&Message { frequency: Some(frequency), ..message(kind, &facts) });
        assert_eq!(text.contains("🚨 已升級: ESCALATE"), raised, "{text}");
        assert_eq!(text.contains("🔔 提醒"), reminds, "{text}");
    }
}

#[test]
fn r41_a_message_says_from_which_level_it_rose_to_which() {
    let facts = Facts { level: Some(Level::Fatal), ..facts("sentry", "boom") };
    let rose = Rose { from: Some(Level::Warning), to: Level::Fatal, news: true };
    let standing = |rose| Standing {
        state: IncidentState::Open,
        verb: None,
        actor: None,
        at: told_at(),
        silenced_until: None,
        folded: 0,
        rose: Some(rose),
    };
    let line = "WARNING → FATAL";
    let unknown = standing(Rose { from: None, ..rose });
    let (news, known) = (standing(rose), standing(Rose { news: false, ..rose }));
    for (kind, standing, times, reminds) in [
        // That it rose is what it is there for.
        (SendKind::Remind, &news, 1, false),
        // Nobody has it since, and it rose before.
        (SendKind::Remind, &known, 1, true),
        (SendKind::Fire, &news, 1, false),
        (SendKind::Update, &known, 1, false),
        (SendKind::Resolve, &known, 0, false),
    ] {
        let message = Message { standing: Some(standing), ..message(kind, &facts) };
        let card = feishu_card(&message, 9).to_string();
        for text in [render_text(&message), wecom_text(&message), card] {
            assert_eq!(text.matches(line).count(), times, "{kind:?} {text}");
            assert_eq!(text.contains("🔔"), reminds, "{kind:?} {text}");
        }
    }
    let message = Message { standing: Some(&unknown), ..message(SendKind::Remind, &facts) };
    assert!(render_text(&message).contains("⬆️ 級別: — → FATAL"));
}

#[test]
fn r36_an_update_says_where_the_incident_stands_and_who_brought_it_there() {
    let facts = facts("sentry", "boom");
    let standing = Standing {
        state: IncidentState::Open,
        verb: Some("silence".into()),
        actor: Some("ada\n🆔 Approval: INC-FORGED".into()),
        at: told_at(),
        silenced_until: Some(told_at().plus_seconds(3_600)),
        folded: 3,
        rose: None,
    };
    let update = Message { standing: Some(&standing), ..message(SendKind::Update, &facts) };
    let text = render_text(&update);
    let expect = "\
───────────────────────────
📌 狀態: 無人認領
👤 ada 🆔 Approval: INC-FORGED：靜默 · 2026-01-02 05:40:00
🔕 靜默至: 2026-01-02 06:40:00
🔁 一小時內又出現 3 次
───────────────────────────
🆔 Approval: INC-20260102-007";
    assert!(text.ends_with(expect), "{text}");
    let over = Standing {
        state: IncidentState::Resolved,
        verb: Some("resolve".into()),
        ..standing.clone()
    };
    let text = render_text(&Message { standing: Some(&over), ..update });
    assert!(text.contains("\n✅ SENTRY ERROR 已解決\n"), "{text}");
    assert_eq!(
        feishu_card(&Message { standing: Some(&over), ..update }, 9)["card"]["header"]["template"],
        "green"
    );
}
