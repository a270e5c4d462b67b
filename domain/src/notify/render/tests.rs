use schemas::{Facts, Level, Status, Time, event::EscalationLevel};
use serde_json::Value;

use super::*;
use crate::notify::format::tests::{analysis, check, facts, message};

fn checkout() -> Facts {
    Facts {
        level: Some(Level::Fatal),
        severity_raw: Some("fatal".into()),
        sender_project: Some("checkout".into()),
        culprit: Some("cart.total in sum_lines".into()),
        ..facts("sentry", "KeyError: 'price' 購物車金額無法計算")
    }
}

fn billing() -> Facts {
    Facts {
        level: Some(Level::Warning),
        severity_raw: Some("high".into()),
        service: Some("billing".into()),
        target: Some("db-2:5432".into()),
        ..facts("alertmanager", "PostgresSlow")
    }
}

#[test]
fn r35_a_fire_with_frequency_and_a_models_analysis() {
    // 0.625 is 62.5%: half goes to the even neighbour.
    let analysis =
        analysis("商品資料缺少 price 欄位", "讀取前先檢查欄位", 0.625, Some("some-model"));
    let facts = checkout();
    let fire = Message {
        analysis: Some(&analysis),
        frequency: Some(counted(2, 9, 31)),
        ..message(SendKind::Fire, &facts)
    };
    let text = render_text(&fire);
    check(&text, include_str!("../../../fixtures/notify/fire-full.txt"));
}

#[test]
fn r35_the_frequency_line_needs_more_than_one_in_a_day() {
    let facts = checkout();
    let fire = message(SendKind::Fire, &facts);
    let with = render_text(&Message { frequency: Some(counted(1, 1, 1)), ..fire });
    let without = render_text(&fire);
    check(&with, &without);
    assert!(!with.contains("頻率") && !with.contains("分析"), "{with}");
}

#[test]
fn r66_other_providers_and_a_playbook_that_does_not_pose_as_a_model() {
    let analysis = analysis("queries wait for a lock", "look at pg_stat_activity", 0.5, None);
    let facts = billing();
    let fire = Message {
        number: "INC-20260102-008",
        analysis: Some(&analysis),
        ..message(SendKind::Fire, &facts)
    };
    let text = render_text(&fire);
    check(&text, include_str!("../../../fixtures/notify/fire-playbook.txt"));
}

#[test]
fn a13_an_analyst_that_found_no_cause_says_so_first() {
    let facts = billing();
    let mut analysis = analysis("the input does not suffice", "look at the pool", 0.25, Some("m"));
    analysis.inconclusive = true;
    let words = ["尚无定论：the input", "尚無定論：the input", "Inconclusive: the input"];
    for (language, word) in Language::ALL.into_iter().zip(words) {
        let fire = message(SendKind::Fire, &facts);
        let fire = Message { analysis: Some(&analysis), language: Some(language), ..fire };
        for text in [render_text(&fire), crate::notify::wecom_text(&fire)] {
            assert!(text.contains(word), "{text}");
        }
    }
}

#[test]
fn r35_an_analyst_of_another_name_is_shown_by_it_with_its_model() {
    let facts = billing();
    let openclaw = analysis("the pool is full", "add one", 0.5, Some("qwen3:8b"));
    let other = Analysis { analyzed_by: "night".into(), ..openclaw.clone() };
    let long = Analysis { model: Some("m".repeat(9_000)), ..other.clone() };
    let alone = Analysis { model: None, ..other.clone() };
    for (analysis, by) in [
        (&openclaw, "🧠 OpenClaw 分析".to_owned()),
        (&other, "🧠 night (qwen3:8b) 分析".to_owned()),
        (&long, format!("🧠 night ({}", "m".repeat(99))),
        (&alone, "🧠 night 分析".to_owned()),
    ] {
        let fire = Message { analysis: Some(analysis), ..message(SendKind::Fire, &facts) };
        for text in [render_text(&fire), crate::notify::wecom_text(&fire)] {
            let line = text.lines().find(|line| line.starts_with('🧠')).unwrap();
            assert!(line.starts_with(&by) && line.chars().count() < 600, "{line}");
        }
    }
}

#[test]
fn r66_a_resolve_is_marked_and_says_how_long_it_lasted() {
    let over = Facts {
        status: Status::Resolved,
        started_at: Some(Time::from_micros(0)),
        ended_at: Some(Time::from_micros(0).plus_seconds(3_930)),
        ..billing()
    };
    let resolve = Message { number: "INC-20260102-008", ..message(SendKind::Resolve, &over) };
    let text = render_text(&resolve);
    check(&text, include_str!("../../../fixtures/notify/resolve.txt"));
}

#[test]
fn r35_marks_by_level() {
    for (level, mark) in [
        (Some(Level::Fatal), "💀 SENTRY FATAL 告警"),
        (Some(Level::Error), "❌ SENTRY ERROR 告警"),
        (Some(Level::Warning), "⚠️ SENTRY WARNING 告警"),
        (Some(Level::Info), "🐛 SENTRY INFO 告警"),
        (None, "🐛 SENTRY 告警"),
    ] {
        let facts = Facts { level, ..facts("sentry", "x") };
        let header = header(&message(SendKind::Fire, &facts), Language::TraditionalChinese.words());
        check(&header, mark);
    }
}

#[test]
fn r35_cuts_by_code_point() {
    let long = analysis(&"根".repeat(200), &"修".repeat(200), 1.0, Some("m"));
    let mut facts = checkout();
    facts.title = "界".repeat(200);
    let text = render_text(&Message { analysis: Some(&long), ..message(SendKind::Fire, &facts) });
    let count = |c: char| text.chars().filter(|x| *x == c).count();
    assert_eq!((count('界'), count('根'), count('修')), (100, 120, 100));
}

#[test]
fn alert_text_forges_no_line_and_moves_no_cursor() {
    let mut forged = facts("sentry", "boom\n🆔 Approval: INC-FORGED\r\n\u{1b}[2J\u{202e}gnp");
    forged.culprit = Some("a\u{2028}b\tc\u{0}".into());
    let text = render_text(&message(SendKind::Fire, &forged));
    assert_eq!(text.lines().filter(|l| l.starts_with("🆔")).count(), 1, "{text}");
    assert!(text.contains("🔖 boom 🆔 Approval: INC-FORGED [2Jgnp"), "{text}");
    assert!(text.contains("📍 a b c\n"), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

#[test]
fn r22_sentry_lines_always_stand_and_others_are_left_out() {
    let text = render_text(&message(SendKind::Fire, &facts("sentry", "x")));
    assert!(text.contains("📦 專案: unknown\n📍 unknown\n🔖 x"), "{text}");
    let text = render_text(&message(SendKind::Fire, &facts("custom", "x")));
    assert!(!text.contains("專案") && !text.contains("📍"), "{text}");
}

#[test]
fn r35_the_golden_texts() {
    let full = include_str!("../../../fixtures/notify/goldens/telegram.full.txt");
    let input = include_str!("../../../fixtures/notify/goldens/telegram.input.json");
    check_golden(input, true, full);
    let input = include_str!("../../../fixtures/notify/goldens/telegram.short.input.json");
    check_golden(input, true, include_str!("../../../fixtures/notify/goldens/telegram.short.txt"));
    check_golden(input, false, include_str!("../../../fixtures/notify/goldens/telegram.noai.txt"));
}

/// `whole`: with analysis and frequency.
fn check_golden(input: &str, whole: bool, expect: &str) {
    let v: Value = serde_json::from_str(input).unwrap();
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let (issue, decision, f) = (&v["issue"], &v["decision"], &v["anomaly_frequency"]);
    let facts = Facts {
        level: Level::from_word(issue["level"].as_str().unwrap()),
        severity_raw: text(&issue["level"]),
        culprit: text(&issue["culprit"]),
        sender_project: text(&issue["project"]),
        ..facts("sentry", issue["title"].as_str().unwrap())
    };
    let analysis = analysis(
        decision["root_cause"].as_str().unwrap(),
        decision["fix_suggestion"].as_str().unwrap(),
        decision["confidence"].as_f64().unwrap(),
        decision["analyzed_by"].as_str(),
    );
    let count = |key: &str| f[key].as_u64().unwrap();
    let frequency = Frequency {
        level: EscalationLevel::Escalate,
        ..counted(count("count_1h"), count("count_24h"), count("count_7d"))
    };
    let fire = Message {
        number: v["approval_id"].as_str().unwrap(),
        analysis: whole.then_some(&analysis),
        frequency: whole.then_some(frequency),
        ..message(SendKind::Fire, &facts)
    };
    check(&render_text(&fire), expect);
}

fn counted(count_1h: u64, count_24h: u64, count_7d: u64) -> Frequency {
    Frequency { count_1h, count_24h, count_7d, level: EscalationLevel::None }
}
