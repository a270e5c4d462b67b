//! How soon: environment by level, and once an hour.

use super::*;
use crate::rules::{Class, Policy};

/// The kinds of alert of the policy's columns.
fn column(name: &str, environment: &str) -> Facts {
    let mut facts = facts(Level::from_word(name), environment);
    if name == "performance" {
        facts.level = Some(Level::Error);
        facts.annotations = vec![("issueCategory".into(), "performance".into())];
    }
    facts
}

const COLUMNS: [&str; 5] = ["fatal", "error", "warning", "info", "performance"];

/// Given nothing before, when a problem of that environment begins to fire, then this is said.
fn check(environment: &str, class: Class, expect: [&str; 5]) {
    for (column_name, expect) in COLUMNS.iter().zip(expect) {
        let mut story = Story::new();
        let said = story.open(1, Cause::New, column(column_name, environment));
        assert_eq!(said, [expect], "{environment} {column_name}");
        let cell = format!("policy.{}.{column_name}", class.word());
        let by_rule = rule(&story);
        assert!(by_rule == cell || by_rule == format!("everything/{cell}"), "{by_rule}");
        assert_eq!(story.telling.notices[0].rules, Rules::builtin().hash());
        let tags: &[&str] = if class == Class::Testing { &["environment:testing"] } else { &[] };
        assert!(story.telling.plans.iter().all(|plan| plan.tags == tags));
    }
}

#[test]
fn r41_r42_three_environments_by_five_levels() {
    let production = [
        "fire to default",
        "fire to default",
        "hourly_digest in hourly:everything",
        "daily_digest in daily:everything",
        "daily_digest in daily:everything",
    ];
    check("production", Class::Production, production);
    // What is not known is production.
    check("", Class::Production, production);
    check("canary", Class::Production, production);
    check("testing", Class::Testing, ["fire to default"; 5]);
    check("Test", Class::Testing, ["fire to default"; 5]);
    for name in ["dev", "development", "local"] {
        check(name, Class::Development, ["policy_never"; 5]);
    }
}

#[test]
fn r67_an_alert_without_a_level_is_told_at_once() {
    let mut story = Story::new();
    assert_eq!(story.open(1, Cause::New, facts(None, "production")), ["fire to default"]);
    assert_eq!(rule(&story), "everything/policy.production.unknown");
}

#[test]
fn r41_repeats_of_an_error_are_told_hourly_and_of_a_fatal_once_an_hour_too() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    story.new_one(2, Level::Fatal);
    for minute in [1, 59] {
        story.at(minute * 60);
        assert_eq!(story.repeat(1), ["hourly_digest in hourly:everything"]);
        assert_eq!(rule(&story), "policy.production.repeats.error");
        assert_eq!(story.repeat(2), ["once_per_60m in hourly:everything"]);
        assert_eq!(rule(&story), "once-per-hour");
    }
    assert_eq!(story.at(HOUR).repeat(1), ["hourly_digest in hourly:everything"]);
    assert_eq!(story.repeat(2), ["fire to default"]);
    assert_eq!(rule(&story), "everything/policy.production.repeats.fatal");
    assert_eq!(story.repeat(2), ["once_per_60m in hourly:everything"]);
    // Somebody has it: nobody else is called.
    story.ack(2);
    assert_eq!(story.at(3 * HOUR).repeat(2), ["acknowledged in hourly:everything"]);
}

#[test]
fn r42_repeats_follow_their_level_and_development_says_nothing_of_them() {
    for (facts, expect) in [
        (of(Level::Warning), "hourly_digest in hourly:everything"),
        (of(Level::Info), "daily_digest in daily:everything"),
        (facts(Some(Level::Fatal), "dev"), "policy_never"),
    ] {
        let mut story = Story::new();
        story.open(1, Cause::New, facts);
        assert_eq!(story.repeat(1), [expect]);
    }
}

#[test]
fn r43_within_59_minutes_it_is_edited_into_the_message_and_at_61_it_pages() {
    let mut story = Story::new();
    assert_eq!(story.new_one(1, Level::Error), ["fire to default"]);
    let first = story.plan().subject.clone();
    assert_eq!(story.at(10 * 60).resolve(1), ["resolve to default"]);
    assert_eq!(story.at(59 * 60).again(1, Level::Error), ["once_per_60m", "update to default"]);
    let plan = story.plan().clone();
    assert_eq!(plan.subject, first, "the message of before is edited");
    let standing = plan.standing.unwrap();
    assert_eq!((standing.folded, standing.state), (1, IncidentState::Open));
    assert_eq!(story.resolve(1), ["once_per_60m", "update to default"]);
    assert_eq!(story.at(61 * 60).again(1, Level::Error), ["fire to default"]);
    assert_ne!(story.plan().subject, first);
    assert_eq!(story.plan().standing, None);
    assert_eq!(story.resolve(1), ["resolve to default"]);
}

#[test]
fn r43_what_the_sender_ignored_pages_when_it_reappears_and_so_does_a_warning() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    assert_eq!(story.suppress(1), ["suppressed_at_sender", "update to default"]);
    let reappears = |story: &mut Story, level| story.open(1, Cause::Reappearance, of(level));
    assert_eq!(reappears(story.at(30 * 60), Level::Error), ["once_per_60m", "update to default"]);
    story.suppress(1);
    assert_eq!(reappears(story.at(2 * HOUR), Level::Warning), ["fire to default"]);
    assert_eq!(rule(&story), "everything/policy.reappearing.warning");
}

#[test]
fn r43_a_regression_bypasses_the_hour_where_rules_say_so() {
    let once = "[defaults.once]\nid = \"loud\"\nminutes = 60\nregression_bypass = true";
    let mut story = Story::with(&document(once));
    story.new_one(1, Level::Error);
    story.resolve(1);
    assert_eq!(story.again(1, Level::Error), ["fire to default"]);
    // A repeat of a fatal one bypasses nothing.
    story.new_one(2, Level::Fatal);
    assert_eq!(story.repeat(2), ["once_per_60m in hourly:all"]);
}

#[test]
fn r43_a_flapper_is_told_once_an_hour() {
    let mut story = Story::new();
    story.new_one(1, Level::Fatal);
    for minute in 1..600 {
        story.at(minute * 60);
        story.resolve(1);
        story.again(1, Level::Fatal);
        story.tick();
    }
    let kinds = |kind| story.telling.plans.iter().filter(|plan| plan.kind == kind).count();
    use schemas::job::SendKind::{Fire, Resolve};
    assert_eq!((kinds(Fire), kinds(Resolve)), (10, 10));
}

#[test]
fn the_policy_is_the_projects_own_where_it_has_one() {
    let text = Rules::builtin().text().replace("[defaults", "[project.shop");
    let text = text.replace("warning = \"hourly\"\ninfo", "warning = \"now\"\ninfo");
    let mut story = Story::with(&format!("{text}\n{}", document("")));
    assert_eq!(story.new_one(1, Level::Warning), ["fire to default"]);
    let of_other = Rules::parse(&format!("{text}\n{}", document(""))).unwrap();
    let policy =
        |project: &str| -> Policy { of_other.policy(&ProjectId::new(project).unwrap()).clone() };
    assert_ne!(policy("shop"), policy("other"));
}

#[test]
fn r5_the_channel_a_sender_asked_for_is_told_in_place_of_the_routes() {
    let mut story = Story::new();
    let said = story.open_for(1, Cause::New, of(Level::Error), Some("ops-bot"));
    assert_eq!(said, ["fire to channel:ops-bot"]);
    assert_eq!(story.plan().to, Recipient::Channel("ops-bot".into()));
    assert_eq!(story.repeat(1), ["hourly_digest in hourly:everything"]);
    assert_eq!(story.at(HOUR).tick(), ["summary to channel:ops-bot of hourly:everything"]);
    assert_eq!(story.resolve(1), ["resolve to channel:ops-bot"]);
}
