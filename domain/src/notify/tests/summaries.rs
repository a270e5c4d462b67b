//! What is told in the summary of an hour or a day, and quiet hours.

use schemas::job::SummaryReason;

use super::*;

#[test]
fn a10_the_summary_of_the_hour_is_told_at_its_minute_and_counts_all() {
    let mut story = Story::new();
    story.at(600);
    for problem in 1..=25 {
        let level = if problem == 25 { Level::Warning } else { Level::Info };
        let environment = facts(Some(level), "production");
        let said = story.open(problem, Cause::New, environment);
        assert_eq!(said.len(), 1);
    }
    for _ in 0..3 {
        assert_eq!(story.repeat(25), ["hourly_digest in hourly:everything"]);
    }
    assert_eq!(story.at(HOUR - 1).tick(), [""; 0]);
    assert_eq!(story.at(HOUR).tick(), ["summary to default of hourly:everything"]);
    let plan = story.plan().clone();
    let summary = plan.summary.unwrap();
    assert_eq!((summary.reason, summary.incidents, summary.alerts), (SummaryReason::Hourly, 1, 4));
    assert_eq!(summary.items[0].alerts, 4);
    assert_eq!((plan.subject.as_str(), plan.rule.as_str()), (summary.key.as_str(), "digest"));
    // Nine in the morning of the zone.
    assert_eq!(story.at(9 * HOUR - 1).tick(), [""; 0]);
    assert_eq!(story.at(9 * HOUR).tick(), ["summary to default of daily:everything"]);
    let summary = story.plan().summary.clone().unwrap();
    assert_eq!((summary.incidents, summary.alerts, summary.items.len()), (24, 24, 20));
}

#[test]
fn summaries_name_the_worst_first() {
    let mut story = Story::new();
    let repeated = |story: &mut Story, problem, level| {
        story.new_one(problem, level);
        story.repeat(problem);
    };
    repeated(&mut story, 1, Level::Error);
    story.new_one(2, Level::Warning);
    repeated(&mut story, 3, Level::Fatal);
    repeated(&mut story, 4, Level::Error);
    story.at(HOUR).tick();
    let summary = story.plan().summary.clone().unwrap();
    let levels: Vec<_> = summary.items.iter().map(|item| item.level).collect();
    use Level::{Error, Fatal, Warning};
    assert_eq!(levels, [Some(Fatal), Some(Error), Some(Error), Some(Warning)]);
    assert_eq!(story.plan().facts.level, Some(Fatal));
}

#[test]
fn a8_what_was_told_in_a_summary_ends_in_one() {
    let mut story = Story::new();
    story.new_one(1, Level::Warning);
    story.new_one(2, Level::Warning);
    // Before it is told, in that one.
    assert_eq!(story.resolve(1), ["resolve_in_summary in hourly:everything"]);
    story.at(HOUR).tick();
    let summary = story.plan().summary.clone().unwrap();
    assert_eq!((summary.incidents, summary.alerts), (2, 3));
    assert_eq!(summary.items[0].state, IncidentState::Resolved);
    // After it, in the next.
    assert_eq!(story.resolve(2), ["resolve_in_summary in hourly:everything"]);
    assert_eq!(story.at(2 * HOUR).tick(), ["summary to default of hourly:everything"]);
    assert_ne!(story.plan().summary.clone().unwrap().key, summary.key);
    assert_eq!(story.plan().summary.clone().unwrap().items[0].state, IncidentState::Resolved);
    // Each end is told once.
    assert_eq!(story.resolve(2), ["resolve_without_fire"]);
}

#[test]
fn a_warning_that_reappears_bypasses_the_summary() {
    let mut story = Story::new();
    story.new_one(1, Level::Warning);
    story.resolve(1);
    assert_eq!(story.again(1, Level::Warning), ["fire to default"]);
}

const NIGHT: &str = "[defaults.quiet_hours]\nid = \"night\"\nzone = \"+08:00\"\n\
    ranges = [\"22:00-07:00\"]\nwakes = [\"fatal\"]";

#[test]
fn at_night_only_the_worst_wakes_people_and_the_morning_tells_the_rest() {
    let mut story = Story::with(&document(NIGHT));
    assert_eq!(story.at(HOUR + 60).new_one(1, Level::Error), ["quiet_hours in hourly:all"]);
    assert_eq!(rule(&story), "night");
    assert_eq!(story.new_one(2, Level::Fatal), ["fire to default"]);
    assert_eq!(story.open(3, Cause::New, facts(None, "production")), ["fire to default"]);
    assert_eq!(story.at(2 * HOUR).tick(), [""; 0]);
    assert_eq!(story.at(7 * HOUR - 5).tick(), [""; 0]);
    assert_eq!(story.at(7 * HOUR).tick(), ["summary to default of hourly:all"]);
    assert_eq!(story.new_one(4, Level::Error), ["fire to default"]);
    // The end of what was told by day is edited by night, and told in the morning.
    assert_eq!(story.at(23 * HOUR).resolve(4), ["quiet_hours in hourly:all", "update to default"]);
    assert_eq!(story.resolve(2), ["resolve to default"]);
    assert_eq!(story.at(31 * HOUR).tick(), ["summary to default of hourly:all"]);
}

#[test]
fn what_repeats_at_night_does_not_wake_even_in_a_summary() {
    let mut story = Story::with(&document(NIGHT));
    story.at(21 * HOUR).new_one(1, Level::Warning);
    assert_eq!(story.at(22 * HOUR).tick(), [""; 0]);
    assert_eq!(story.at(30 * HOUR).repeat(1), ["hourly_digest in hourly:all"]);
    assert_eq!(story.at(31 * HOUR).tick(), ["summary to default of hourly:all"]);
    assert_eq!(story.plan().summary.clone().unwrap().alerts, 2);
}
