//! Too much at once: storms and budgets.

use schemas::job::{SendKind, SummaryReason};

use super::*;

#[test]
fn r44_a_storm_of_ten_thousand_is_one_message_that_grows_and_counts_all() {
    let mut story = Story::new();
    let mut said: Vec<String> = Vec::new();
    // Within five minutes, with a tick each five seconds.
    for problem in 0..10_000 {
        story.at(i64::try_from(problem * 3 / 100).unwrap());
        said.extend(story.new_one(problem, Level::Fatal));
        if problem % 167 == 0 {
            said.extend(story.tick());
        }
    }
    for second in 300..600 {
        if second % 5 == 0 {
            said.extend(story.at(second).tick());
        }
    }
    let count = |words: &str| said.iter().filter(|said| *said == words).count();
    assert_eq!(count("fire to default"), 30);
    assert_eq!(count("storm in storm:storm"), 9_970);
    assert_eq!(count("summary to default of storm:storm"), 1, "one message");
    let updates = count("update to default of storm:storm");
    assert!((4..=8).contains(&updates), "edited {updates} times");
    assert_eq!(count("resolve to default of storm:storm"), 0, "all of it still fires");
    assert_eq!(said.len(), 30 + 9_970 + 1 + updates);
    let plan = story.plan();
    let summary = plan.summary.clone().unwrap();
    assert_eq!(
        (summary.reason, summary.incidents, summary.alerts),
        (SummaryReason::Storm, 9_970, 9_970)
    );
    assert_eq!(summary.items.len(), 20);
    let of_storm = story.telling.plans.iter().filter(|plan| plan.summary.is_some());
    assert!(
        of_storm.clone().all(|of| (&of.subject, of.incident) == (&plan.subject, plan.incident))
    );
    assert_eq!(of_storm.filter(|plan| plan.kind == SendKind::Summary).count(), 1);
    // It is over: the next is told by itself.
    assert_eq!(story.at(601).new_one(20_000, Level::Fatal), ["fire to default"]);
    // Whoever was given it as an alert of its own ends that with the last one, named or not.
    let mut ends = Vec::new();
    for problem in 0..10_000 {
        ends.extend(story.resolve(problem));
    }
    let of_storm = |said: &String| said == "resolve to default of storm:storm";
    assert_eq!(ends.iter().position(of_storm), Some(ends.len() - 2), "with the last");
    assert_eq!(ends.iter().filter(|said| of_storm(said)).count(), 1);
}

#[test]
fn r44_a_storm_that_is_calm_ends_with_its_last_incident_for_whoever_keeps_it_as_an_alert() {
    let rules = "[defaults.storm]\nid = \"few\"\nproblems_per_minute = 1\nsummary_seconds = 60";
    const END: &str = "resolve to default of storm:few";
    let gathers = |story: &mut Story| {
        for problem in 1..=4 {
            story.new_one(problem, Level::Fatal);
        }
    };
    let mut story = Story::with(&document(rules));
    gathers(&mut story);
    let key = story.plan().subject.clone();
    assert_eq!(story.resolve(2), ["resolve_in_summary in storm:few"]);
    assert_eq!(story.at(60).tick(), ["update to default of storm:few"]);
    // What goes on is counted elsewhere, and ends it all the same.
    assert_eq!(story.at(70).repeat(3), ["once_per_60m in hourly:all"]);
    assert_eq!(story.resolve(4), ["resolve_in_summary in hourly:all"]);
    // An operator opens one again: it has to end twice.
    story.apply(4, "reopen", (IncidentState::Resolved, IncidentState::Reopened), "{}");
    assert!(!story.resolve(3).contains(&END.to_owned()));
    assert!(story.at(80).expire(4).contains(&END.to_owned()));
    let end = story.telling.plans.iter().rfind(|plan| plan.kind == SendKind::Resolve).unwrap();
    assert_eq!(end.subject, key);
    let summary = end.summary.clone().unwrap();
    assert!(summary.items.iter().all(|item| item.state.is_over()), "{summary:?}");
    assert_eq!((summary.incidents, summary.items.len()), (3, 3));
    // One whose incidents are all over by then ends at once; another storm has an end of its own.
    let mut story = Story::with(&document(rules));
    gathers(&mut story);
    for problem in 2..=4 {
        story.resolve(problem);
    }
    assert_eq!(story.at(60).tick(), ["update to default of storm:few", END]);
    story.at(2 * HOUR);
    gathers(&mut story);
    assert_eq!(story.at(2 * HOUR + 60).tick(), ["update to default of storm:few"]);
    let ends = |story: &mut Story, problem| story.resolve(problem).contains(&END.to_owned());
    assert!(!ends(&mut story, 2) && !ends(&mut story, 3));
    assert!(ends(&mut story, 4));
}

#[test]
fn r44_storms_are_of_one_project_and_of_every_environment() {
    let rules = "[defaults.storm]\nid = \"few\"\nproblems_per_minute = 2\nsummary_seconds = 60";
    let mut story = Story::with(&document(rules));
    for problem in 1..=2 {
        let said = story.open(problem, Cause::New, facts(Some(Level::Info), "testing"));
        assert_eq!(said, ["fire to default"]);
    }
    let said = story.open(3, Cause::New, facts(Some(Level::Info), "testing"));
    assert_eq!(said, ["storm in storm:few", "summary to default of storm:few"]);
    assert_eq!(story.plan().tags, ["environment:testing"]);
    // What the policy tells in a summary anyway is none of it.
    assert_eq!(story.new_one(4, Level::Warning), ["hourly_digest in hourly:all"]);
    // Another project is at peace.
    let opened = story.new_one(5, Level::Error);
    assert_eq!(opened, ["storm in storm:few"]);
    let mut event = story.event(story.events.last().unwrap().kind.clone());
    event.project = ProjectId::new("calm").ok();
    story.telling.apply(&mut story.state, vec![event]).unwrap();
    assert_eq!(words(story.telling.notices.last().unwrap()), "fire to default");
}

#[test]
fn r44_what_a_storm_tells_of_repeats_and_ends_in_it_and_after_it_in_the_next_summary() {
    let rules = "[defaults.storm]\nid = \"few\"\nproblems_per_minute = 1\nsummary_seconds = 60";
    let mut story = Story::with(&document(rules));
    story.new_one(1, Level::Fatal);
    story.new_one(2, Level::Fatal);
    story.new_one(3, Level::Fatal);
    assert_eq!(story.repeat(2), ["storm in storm:few"]);
    assert_eq!(story.resolve(2), ["resolve_in_summary in storm:few"]);
    assert_eq!(story.at(60).tick(), ["update to default of storm:few"]);
    let summary = story.plan().summary.clone().unwrap();
    assert_eq!((summary.incidents, summary.alerts), (2, 4));
    assert_eq!(summary.items[0].state, IncidentState::Resolved);
    assert_eq!(story.at(121).tick(), [""; 0]);
    let last = ["resolve to default of storm:few", "resolve_in_summary in hourly:all"];
    assert_eq!(story.resolve(3), last);
    // It was told within the hour.
    assert_eq!(story.again(3, Level::Fatal), ["once_per_60m in hourly:all"]);
}

#[test]
fn a_projects_budget_is_an_hours_and_what_is_beyond_it_is_told_in_a_summary() {
    let rules = "[defaults.limits]\nid = \"two\"\nmessages_per_hour = 2";
    let mut story = Story::with(&document(rules));
    story.at(600);
    assert_eq!(story.new_one(1, Level::Error), ["fire to default"]);
    assert_eq!(story.new_one(2, Level::Error), ["fire to default"]);
    assert_eq!(story.new_one(3, Level::Error), ["rate_limited in hourly:all"]);
    assert_eq!(rule(&story), "two");
    assert_eq!(story.new_one(6, Level::Fatal), ["fire to default"]);
    assert_eq!(story.at(HOUR).tick(), ["summary to default of hourly:all"]);
    assert_eq!(story.new_one(4, Level::Error), ["rate_limited in hourly:all"]);
    assert_eq!(story.at(HOUR + 600).new_one(5, Level::Error), ["fire to default"]);
}
