//! Silences and inhibition, by what Alertmanager documents of both.
//!
//! Source: Prometheus Alertmanager, documentation of silences, inhibition and matchers.

use schemas::record::{MatchOperator, Matcher, Silence, SilenceChange};

use super::*;

fn matcher(name: &str, operator: MatchOperator, value: &str) -> Matcher {
    Matcher { name: name.into(), operator, value: value.into() }
}

fn seconds(seconds: i64) -> Time {
    Time::from_micros((MIDNIGHT + seconds) * 1_000_000)
}

/// A silence of these matchers from now on until then, in seconds.
fn silence(id: &str, matchers: Vec<Matcher>, ends: i64) -> Kind {
    let silence = Silence {
        matchers,
        starts_at: None,
        ends_at: seconds(ends),
        owner: "ada".into(),
        reason: "maintenance".into(),
    };
    change(id, Some(silence))
}

fn change(id: &str, silence: Option<Silence>) -> Kind {
    let change = SilenceChange { id: id.into(), silence, operator: "ada".into() };
    Kind::SilenceChanged(Box::new(change))
}

/// Given a silence of these matchers, when an alert with these labels fires, then it is silenced, or
/// not.
fn check(matchers: &[(&str, MatchOperator, &str)], labels: &[(&str, &str)], silenced: bool) {
    let mut story = Story::new();
    let list = matchers.iter().map(|(name, operator, value)| matcher(name, *operator, value));
    story.say(silence("s1", list.collect(), HOUR));
    let said = story.open(1, Cause::New, labelled(labels));
    let expect = if silenced { "silenced" } else { "fire to default" };
    assert_eq!(said, [expect], "{matchers:?} of {labels:?}");
    if silenced {
        assert_eq!((rule(&story).as_str(), by(&story).as_deref()), ("silence", Some("s1")));
    }
}

#[test]
fn b6_a_silence_matches_as_alertmanagers_do() {
    use MatchOperator::{Equal, NotEqual, NotRegex, Regex};
    check(&[("team", Equal, "a")], &[("team", "a")], true);
    check(&[("team", Equal, "a")], &[("team", "b")], false);
    check(&[("team", Equal, "a")], &[], false);
    // All matchers have to match.
    check(&[("team", Equal, "a"), ("zone", Equal, "x")], &[("team", "a")], false);
    check(&[("team", Equal, "a"), ("zone", Equal, "x")], &[("team", "a"), ("zone", "x")], true);
    // A label that is not there is an empty one.
    check(&[("team", Equal, "a"), ("zone", Equal, "")], &[("team", "a")], true);
    check(&[("team", Equal, "a"), ("zone", NotEqual, "x")], &[("team", "a")], true);
    check(&[("team", Equal, "a"), ("zone", NotEqual, "")], &[("team", "a")], false);
    // Expressions match the whole value.
    check(&[("team", Regex, "a|b")], &[("team", "b")], true);
    check(&[("team", Regex, "a|b")], &[("team", "ab")], false);
    check(&[("team", Regex, "a.*")], &[("team", "ab")], true);
    check(&[("team", Regex, "a"), ("zone", NotRegex, "x|y")], &[("team", "a")], true);
    check(
        &[("team", Regex, "a"), ("zone", NotRegex, "x|y")],
        &[("team", "a"), ("zone", "y")],
        false,
    );
    check(&[("team", Regex, "a"), ("zone", Regex, "x?")], &[("team", "a")], true);
    // Fields of the alert go by their names.
    check(&[("environment", Equal, "production")], &[], true);
    check(&[("provider", Equal, "sentry"), ("title", Regex, "bo+m")], &[], true);
}

#[test]
fn b6_a_silence_begins_and_ends_in_time_and_before_it() {
    let team = || vec![matcher("team", MatchOperator::Equal, "a")];
    let later = Silence {
        matchers: team(),
        starts_at: Some(seconds(600)),
        ends_at: seconds(1_200),
        owner: "ada".into(),
        reason: "deploy".into(),
    };
    let mut story = Story::new();
    story.say(change("s", Some(later.clone())));
    let fires =
        |story: &mut Story, problem| story.open(problem, Cause::New, labelled(&[("team", "a")]));
    assert_eq!(fires(&mut story, 1), ["fire to default"]);
    assert_eq!(fires(story.at(600), 2), ["silenced"]);
    assert_eq!(fires(story.at(1_199), 3), ["silenced"]);
    assert_eq!(fires(story.at(1_200), 4), ["fire to default"]);
    // The same id again is a change of it; without a silence it is over.
    story.say(change("s", Some(Silence { ends_at: seconds(9_000), ..later })));
    assert_eq!(fires(&mut story, 5), ["silenced"]);
    story.say(change("s", None));
    assert_eq!(fires(&mut story, 6), ["fire to default"]);
}

#[test]
fn b6_what_fires_on_is_told_when_its_silence_is_over() {
    let mut story = Story::new();
    story.say(silence("s", vec![matcher("team", MatchOperator::Equal, "a")], 600));
    assert_eq!(story.open(1, Cause::New, labelled(&[("team", "a")])), ["silenced"]);
    assert_eq!(story.open(2, Cause::New, labelled(&[("team", "a")])), ["silenced"]);
    assert_eq!(story.at(300).repeat(1), ["silenced"]);
    assert_eq!(story.tick(), [""; 0]);
    assert_eq!(story.resolve(2), ["silenced"]);
    assert_eq!(story.at(600).tick(), ["fire to default"]);
    assert_eq!(story.plan().incident, incident(story.openings[&1]));
    assert_eq!(story.resolve(1), ["resolve to default"]);
}

#[test]
fn b6_a_silence_that_is_taken_back_lets_the_next_repeat_speak() {
    let mut story = Story::new();
    story.say(silence("s", vec![matcher("team", MatchOperator::Equal, "a")], 600));
    story.open(1, Cause::New, labelled(&[("team", "a")]));
    story.say(change("s", None));
    assert_eq!(story.repeat(1), ["fire to default"]);
}

/// Not every sender repeats.
#[test]
fn b6_what_waits_behind_a_silence_that_is_taken_back_is_told_without_a_repeat() {
    let mut story = Story::new();
    story.say(silence("s", vec![matcher("team", MatchOperator::Equal, "a")], 7 * 86_400));
    story.open(1, Cause::New, labelled(&[("team", "a")]));
    assert_eq!(story.at(300).tick(), [""; 0]);
    story.say(change("s", None));
    assert_eq!(story.at(600).tick(), ["fire to default"]);
}

#[test]
fn b6_a_silence_holds_in_its_project_or_in_all() {
    for (of, silenced) in [(None, true), (Some(project()), true), (ProjectId::new("x").ok(), false)]
    {
        let mut story = Story::new();
        let kind = silence("s", vec![matcher("team", MatchOperator::Equal, "a")], 600);
        let event = Event { project: of, ..story.event(kind) };
        story.telling.apply(&mut story.state, vec![event]).unwrap();
        let said = story.open(1, Cause::New, labelled(&[("team", "a")]));
        assert_eq!(said == ["silenced"], silenced, "{said:?}");
    }
}

#[test]
fn the_end_of_what_is_silenced_is_no_message_but_an_edit() {
    let mut story = Story::new();
    story.open(1, Cause::New, labelled(&[("team", "a")]));
    story.say(silence("s", vec![matcher("team", MatchOperator::Equal, "a")], 600));
    assert_eq!(story.repeat(1), ["silenced"]);
    assert_eq!(story.resolve(1), ["silenced", "update to default"]);
}

#[test]
fn a_silence_that_asks_for_nothing_it_could_find_silences_nothing() {
    let mut story = Story::new();
    let broken = vec![matcher("team", MatchOperator::Regex, "(")];
    assert_eq!(story.say(silence("s", broken, 600)), [""; 0]);
    assert_eq!(story.open(1, Cause::New, labelled(&[("team", "(")])), ["fire to default"]);
}

const INHIBIT: &str = "
[[defaults.inhibit]]
id = \"cluster\"
source = ['alertname=\"ClusterDown\"']
target = ['severity=~\"warning|error\"']
equal = [\"cluster\", \"zone\"]
";

fn cluster(alertname: &str, severity: &str, labels: &[(&str, &str)]) -> Facts {
    Facts {
        alertname: Some(alertname.into()),
        severity_raw: Some(severity.into()),
        ..labelled(labels)
    }
}

#[test]
fn inhibition_as_alertmanager_documents_it() {
    let here = [("cluster", "a")];
    for (source, target, inhibited) in [
        // Same values.
        (cluster("ClusterDown", "fatal", &here), cluster("Slow", "error", &here), true),
        // Other values.
        (
            cluster("ClusterDown", "fatal", &here),
            cluster("Slow", "error", &[("cluster", "b")]),
            false,
        ),
        // Neither has the label: that is the same value.
        (cluster("ClusterDown", "fatal", &[]), cluster("Slow", "error", &[]), true),
        (cluster("ClusterDown", "fatal", &[]), cluster("Slow", "error", &here), false),
        // One of the values differs.
        (
            cluster("ClusterDown", "fatal", &here),
            cluster("Slow", "error", &[("cluster", "a"), ("zone", "1")]),
            false,
        ),
        // The target's side does not match.
        (cluster("ClusterDown", "fatal", &here), cluster("Slow", "page", &here), true),
        (cluster("Other", "fatal", &here), cluster("Slow", "error", &here), false),
    ] {
        let mut story = Story::with(&document(INHIBIT));
        // The level goes by the word of severity as well.
        let target = if target.severity_raw.as_deref() == Some("page") {
            Facts { level: Some(Level::Error), ..target }
        } else {
            target
        };
        story.open(1, Cause::New, source.clone());
        let said = story.open(2, Cause::New, target.clone());
        let expect = if inhibited { "inhibited" } else { "fire to default" };
        assert_eq!(said, [expect], "{source:?} {target:?}");
        if inhibited {
            let source = incident(story.openings[&1]).to_string();
            assert_eq!((rule(&story), by(&story)), ("cluster".into(), Some(source)));
        }
    }
}

#[test]
fn inhibition_lasts_as_long_as_its_source_fires() {
    let mut story = Story::with(&document(INHIBIT));
    let here = [("cluster", "a")];
    story.open(1, Cause::New, cluster("ClusterDown", "fatal", &here));
    assert_eq!(story.open(2, Cause::New, cluster("Slow", "error", &here)), ["inhibited"]);
    assert_eq!(story.open(3, Cause::New, cluster("Slow", "error", &here)), ["inhibited"]);
    assert_eq!(story.at(300).tick(), [""; 0]);
    story.resolve(1);
    // The next repeat, or the next look, tells of it.
    assert_eq!(story.at(400).repeat(2), ["fire to default"]);
    assert_eq!(story.at(600).tick(), ["fire to default"]);
}

#[test]
fn inhibition_spares_what_matches_both_sides_and_a_source_that_is_silenced_inhibits() {
    let both = INHIBIT.replace("alertname=\\\"ClusterDown\\\"", "alertname=~\\\"Cluster.*\\\"");
    let both = both.replace("alertname=\"ClusterDown\"", "alertname=~\"Cluster.*\"");
    let here = [("cluster", "a")];
    let mut story = Story::with(&document(&both));
    // Both match both sides: neither inhibits the other.
    story.open(1, Cause::New, cluster("ClusterDown", "error", &here));
    assert_eq!(
        story.open(2, Cause::New, cluster("ClusterSlow", "error", &here)),
        ["fire to default"]
    );
    // One of one side only is inhibited by them.
    assert_eq!(story.open(3, Cause::New, cluster("Slow", "error", &here)), ["inhibited"]);

    let mut story = Story::with(&document(INHIBIT));
    let down = vec![matcher("alertname", MatchOperator::Equal, "ClusterDown")];
    story.say(silence("s", down, HOUR));
    assert_eq!(story.open(1, Cause::New, cluster("ClusterDown", "fatal", &here)), ["silenced"]);
    assert_eq!(story.open(2, Cause::New, cluster("Slow", "error", &here)), ["inhibited"]);
}

#[test]
fn b6_rules_that_are_reloaded_inhibit_on_and_forget_what_they_do_not_name() {
    let here = [("cluster", "a")];
    let mut story = Story::new();
    story.open(1, Cause::New, cluster("ClusterDown", "fatal", &here));
    story.rules(&document(INHIBIT));
    assert_eq!(story.open(2, Cause::New, cluster("Slow", "error", &here)), ["fire to default"]);
    // It is found when it is heard of again.
    story.repeat(1);
    assert_eq!(story.open(3, Cause::New, cluster("Slow", "error", &here)), ["inhibited"]);
    story.rules(&format!("{}\n#", document(INHIBIT)));
    assert_eq!(story.open(4, Cause::New, cluster("Slow", "error", &here)), ["inhibited"]);
    story.rules(&document(""));
    assert_eq!(story.open(5, Cause::New, cluster("Slow", "error", &here)), ["fire to default"]);
}

/// Whoever gives back what they took on lets others be told of it: the message it went on in is closed.
#[test]
fn r43_what_waits_after_it_was_folded_closes_the_message_it_went_on_in_when_it_is_told() {
    let mut story = Story::new();
    story.open(1, Cause::New, labelled(&[("team", "a")]));
    let first = story.plan().subject.clone();
    story.at(300).resolve(1);
    let said = story.at(600).open(1, Cause::Regression, labelled(&[("team", "a")]));
    assert_eq!(said, ["once_per_60m", "update to default"]);
    story.say(silence("s", vec![matcher("team", MatchOperator::Equal, "a")], HOUR + 1_000));
    assert_eq!(story.at(HOUR).tick(), [""; 0]);
    story.ack(1);
    assert_eq!(story.at(HOUR + 400).tick(), [""; 0]);
    assert_eq!(story.at(HOUR + 1_100).tick(), [""; 0], "somebody has it");
    story.apply(1, "unack", (IncidentState::Acknowledged, IncidentState::Open), "{}");
    let before = story.telling.plans.len();
    assert_eq!(story.at(HOUR + 1_200).tick(), ["update to default", "fire to default"]);
    let [closed, told] = &story.telling.plans[before..] else { panic!("two messages") };
    assert_eq!(closed.subject, first);
    let state = closed.standing.as_ref().map(|standing| standing.state);
    assert_eq!(state, Some(IncidentState::Superseded));
    assert_eq!(told.incident, incident(story.openings[&1]));
    assert_eq!(story.resolve(1), ["resolve to default"]);
}
