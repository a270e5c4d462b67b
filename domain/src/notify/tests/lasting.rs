//! The last word people hear is how it is, on channels that cannot change what they told as well.

use super::*;

use IncidentState::Superseded;

#[test]
fn r43_what_fires_again_within_the_hour_and_goes_on_is_told_when_the_hour_is_over() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    let first = story.plan().subject.clone();
    assert_eq!(story.at(600).resolve(1), ["resolve to default"]);
    assert_eq!(story.at(1_200).again(1, Level::Error), ["once_per_60m", "update to default"]);
    assert_eq!(story.at(HOUR - 5).tick(), [""; 0]);
    // It does not repeat: nothing but the clock tells of it.
    assert_eq!(story.at(HOUR).tick(), ["update to default", "fire to default"]);
    assert_eq!(because(&story).as_deref(), Some("still_fires"));
    assert_ne!(story.plan().subject, first);
    // The message it went on in is closed.
    let plans = &story.telling.plans;
    let closed = &plans[plans.len() - 2];
    assert_eq!((&closed.subject, closed.standing.as_ref().unwrap().state), (&first, Superseded));
    assert_eq!(closed.facts.status, Status::Resolved);
    assert_eq!(story.at(HOUR + 5).tick(), [""; 0], "once");
    assert_eq!(story.resolve(1), ["resolve to default"]);
    assert_eq!(story.plan().opening, story.openings[&1]);
}

#[test]
fn r43_what_ends_before_the_hour_is_over_contradicts_nothing() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    story.at(600).resolve(1);
    story.at(1_200).again(1, Level::Error);
    // They heard that it is over, and of nothing since.
    assert_eq!(story.at(1_800).resolve(1), ["once_per_60m", "update to default"]);
    assert_eq!(story.at(HOUR).tick(), [""; 0]);
    assert_eq!(story.at(2 * HOUR).tick(), [""; 0]);
}

#[test]
fn r43_what_its_sender_ignored_is_told_at_the_end_of_the_hour_if_it_reappeared() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    story.suppress(1);
    let reappears = story.at(1_200).open(1, Cause::Reappearance, of(Level::Warning));
    assert_eq!(reappears, ["once_per_60m", "update to default"]);
    assert_eq!(story.at(HOUR).tick(), ["update to default", "fire to default"]);
    assert_eq!(rule(&story), "everything/policy.reappearing.warning");
}

#[test]
fn r43_nobody_is_called_at_the_end_of_the_hour_who_has_it_or_silenced_it() {
    let mut story = Story::new();
    for problem in [1, 2, 3] {
        story.new_one(problem, Level::Error);
        story.resolve(problem);
        story.again(problem, Level::Error);
    }
    story.ack(1);
    let open = (IncidentState::Open, IncidentState::Open);
    story.at(1_800).apply(2, "silence", open, "{\"minutes\":60}");
    assert_eq!(story.at(HOUR).tick(), ["update to default", "fire to default"]);
    assert_eq!(story.plan().opening, story.openings[&3]);
    // Silenced, it is told when that is over.
    assert_eq!(story.at(HOUR + 1_795).tick(), [""; 0]);
    assert_eq!(story.at(HOUR + 1_800).tick(), ["update to default", "fire to default"]);
    assert_eq!(story.plan().opening, story.openings[&2]);
}

#[test]
fn r43_a_flapper_that_ends_up_firing_is_told_once_an_hour_and_at_last() {
    let mut story = Story::new();
    story.new_one(1, Level::Fatal);
    for minute in 1..90 {
        story.at(minute * 60);
        story.resolve(1);
        story.again(1, Level::Fatal);
        story.tick();
    }
    let fires = |story: &Story| {
        let fires = story.telling.plans.iter().filter(|p| p.kind == schemas::job::SendKind::Fire);
        fires.map(|plan| plan.at.micros_since(story.events[0].lane_time) / 60_000_000).collect()
    };
    let at: Vec<i64> = fires(&story);
    assert_eq!(at, [0, 60]);
    for minute in 90..200 {
        story.at(minute * 60).tick();
    }
    let at: Vec<i64> = fires(&story);
    assert_eq!(at, [0, 60, 120]);
}

#[test]
fn r43_a_repeat_at_the_end_of_the_hour_closes_the_message_it_went_on_in() {
    let mut story = Story::new();
    story.new_one(1, Level::Fatal);
    story.resolve(1);
    story.at(600).again(1, Level::Fatal);
    assert_eq!(story.at(HOUR).repeat(1), ["update to default", "fire to default"]);
    assert_eq!(story.tick(), [""; 0]);
}

#[test]
fn at_night_the_end_of_the_hour_is_told_in_a_summary_and_its_end_as_well() {
    let night = "[defaults.quiet_hours]\nid = \"night\"\nzone = \"+08:00\"\n\
        ranges = [\"00:30-07:00\"]\nwakes = [\"fatal\"]";
    let mut story = Story::with(&document(night));
    story.new_one(1, Level::Error);
    assert_eq!(story.at(600).resolve(1), ["resolve to default"]);
    story.at(1_200).again(1, Level::Error);
    assert_eq!(story.at(HOUR).tick(), ["quiet_hours in hourly:all"]);
    assert_eq!(story.at(7 * HOUR).tick(), ["summary to default of hourly:all"]);
    assert_eq!(story.resolve(1), ["resolve to default"]);
}
