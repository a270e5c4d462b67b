//! Routes that have alerts wait for each other, as Alertmanager documents `group_by`, `group_wait`,
//! `group_interval` and `continue`.

use schemas::job::{SendKind, SummaryReason};

use super::*;

const GROUPS: &str = "
[[defaults.routes]]
name = \"cluster\"
receivers = [\"default\"]
group_by = [\"cluster\"]
group_wait_seconds = 30
group_interval_seconds = 300
";

fn fires(story: &mut Story, problem: u64, cluster: &str) -> Vec<String> {
    story.open(problem, Cause::New, labelled(&[("cluster", cluster)]))
}

fn in_group(words: &[String], reason: &str) -> bool {
    matches!(words, [only] if only.starts_with(reason))
}

#[test]
fn a10_alerts_of_a_group_wait_for_each_other_and_those_of_another_do_not() {
    let mut story = Story::with(GROUPS);
    assert!(in_group(&fires(&mut story, 1, "a"), "bundled in bundle:cluster:"));
    fires(&mut story, 2, "a");
    assert!(in_group(&story.repeat(2), "bundled in bundle:cluster:"));
    fires(story.at(10), 3, "b");
    assert_eq!(story.at(29).tick(), [""; 0]);
    assert_eq!(story.at(30).tick().len(), 1);
    let plan = story.plan().clone();
    let summary = plan.summary.unwrap();
    assert_eq!((summary.reason, summary.incidents, summary.alerts), (SummaryReason::Bundle, 2, 3));
    assert_eq!(summary.group, [("cluster".to_owned(), "a".to_owned())]);
    // A group of one is a message of its own.
    assert_eq!(story.at(40).tick().len(), 1);
    assert_eq!(
        (story.plan().kind, story.plan().incident),
        (SendKind::Fire, incident(story.openings[&3]))
    );
    assert_eq!(story.resolve(3), ["resolve to default"]);
}

#[test]
fn a10_a_group_that_was_told_waits_for_its_interval() {
    let mut story = Story::with(GROUPS);
    fires(&mut story, 1, "a");
    fires(&mut story, 2, "a");
    story.at(30).tick();
    fires(story.at(40), 3, "a");
    assert!(in_group(&story.resolve(1), "resolve_in_summary in bundle:cluster:"));
    assert_eq!(story.at(329).tick(), [""; 0]);
    assert_eq!(story.at(330).tick().len(), 1);
    let summary = story.plan().summary.clone().unwrap();
    assert_eq!((summary.incidents, summary.alerts), (2, 2));
    // Nobody waits for a group that was told long ago.
    fires(story.at(2_000), 4, "a");
    assert_eq!(story.at(2_030).tick().len(), 1);
}

/// One route tells at once, another waits for more: each is told once, and both of the end.
#[test]
fn a10_whom_two_routes_tell_of_one_incident_hears_of_its_end_once() {
    let rules = "
[[defaults.routes]]
name = \"team\"
receivers = [\"team\", \"both\"]
continue = true
[[defaults.routes]]
name = \"ops\"
receivers = [\"ops\", \"both\"]
group_by = [\"cluster\"]
group_wait_seconds = 30
";
    let mut story = Story::with(rules);
    let said = fires(&mut story, 1, "a");
    assert!(said.contains(&"fire to team".to_owned()), "{said:?}");
    assert!(said.contains(&"fire to both".to_owned()), "{said:?}");
    let said = story.at(30).tick();
    assert!(matches!(said.as_slice(), [one] if one.starts_with("fire to ops")), "{said:?}");
    let said = story.resolve(1);
    assert_eq!(said, ["resolve to team", "resolve to both", "resolve to ops"]);
}

#[test]
fn a10_what_is_over_before_it_is_told_is_told_to_nobody() {
    let mut story = Story::with(GROUPS);
    fires(&mut story, 1, "a");
    story.repeat(1);
    fires(&mut story, 2, "a");
    assert_eq!(story.at(20).resolve(1), ["over_before_told"]);
    assert!(by(&story).unwrap().starts_with("bundle:cluster:"));
    assert_eq!(story.at(30).tick().len(), 1);
    assert_eq!(story.plan().incident, incident(story.openings[&2]));
    // Nothing is left to tell of this one.
    fires(&mut story, 3, "b");
    story.resolve(3);
    assert_eq!(story.at(90).tick(), [""; 0]);
}

#[test]
fn r43_the_hour_begins_when_a_bundle_is_told() {
    let mut story = Story::with(GROUPS);
    fires(&mut story, 1, "a");
    fires(&mut story, 2, "a");
    story.at(30).tick();
    story.resolve(1);
    let said = story.at(HOUR + 29).open(1, Cause::Regression, labelled(&[("cluster", "a")]));
    assert_eq!(said, ["once_per_60m in hourly:cluster"]);
    story.resolve(1);
    let said = story.at(HOUR + 30).open(1, Cause::Regression, labelled(&[("cluster", "a")]));
    assert!(in_group(&said, "bundled in bundle:cluster:"));
}

#[test]
fn routes_that_continue_tell_all_and_each_receiver_once() {
    let routes = "
[[defaults.routes]]
name = \"team\"
matchers = ['team=~\"a|b\"']
receivers = [\"team\", \"all\"]
continue = true
[[defaults.routes.routes]]
name = \"team-b\"
matchers = ['team=\"b\"']
receivers = [\"b\"]
[[defaults.routes]]
name = \"quiet\"
matchers = ['team=\"q\"']
receivers = []
[[defaults.routes]]
name = \"rest\"
receivers = [\"all\"]
";
    let mut story = Story::with(routes);
    let fires = |story: &mut Story, problem, team| {
        story.open(problem, Cause::New, labelled(&[("team", team)]))
    };
    assert_eq!(fires(&mut story, 1, "a"), ["fire to team", "fire to all"]);
    assert_eq!(rule(&story), "team+rest/policy.production.error");
    // The route below decides where it fits, with whom it names.
    assert_eq!(fires(&mut story, 2, "b"), ["fire to b", "fire to all"]);
    assert_eq!(fires(&mut story, 3, "q"), ["no_receiver"]);
    assert_eq!(rule(&story), "quiet");
    assert_eq!(fires(&mut story, 4, "c"), ["fire to all"]);
    assert_eq!(story.resolve(1), ["resolve to team", "resolve to all"]);
    assert_eq!(story.resolve(3), ["resolve_without_fire"]);
}

#[test]
fn a_document_may_leave_alerts_without_a_route() {
    let routes =
        "[[defaults.routes]]\nname = \"a\"\nmatchers = ['team=\"a\"']\nreceivers = [\"x\"]";
    let mut story = Story::with(routes);
    assert_eq!(story.new_one(1, Level::Fatal), ["no_receiver"]);
    assert_eq!(rule(&story), "no_route");
}
