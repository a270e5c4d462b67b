//! What gets worse while it fires.

use schemas::{
    alert::Risk,
    event::{Escalated, EscalationLevel, Frequency},
    job::{Rose, SendKind},
    record::{MatchOperator, Matcher, Silence, SilenceChange},
};

use super::*;

use Level::{Error, Fatal, Info, Warning};

fn rose(story: &Story) -> Option<Rose> {
    story.plan().standing.as_ref().and_then(|standing| standing.rose)
}

#[test]
fn r41_a_warning_of_the_digest_that_becomes_fatal_pages_at_once() {
    for (before, digest) in [(Warning, "hourly_digest"), (Info, "daily_digest")] {
        for level in [Error, Fatal] {
            let mut story = Story::new();
            let said = story.new_one(1, before);
            assert!(said[0].starts_with(digest), "{said:?}");
            assert_eq!(story.at(60).rises(1, before, level), ["fire to default"]);
            let cell = format!("everything/policy.production.{}", level.word());
            assert_eq!((rule(&story), because(&story).as_deref()), (cell, Some("level_rose")));
            let plan = story.plan();
            assert_eq!((plan.risk, plan.facts.level), (Level::risk(Some(level)), Some(level)));
            assert_eq!(rose(&story), Some(Rose { from: Some(before), to: level, news: true }));
            // It was told by a message, so its end is.
            assert_eq!(story.resolve(1), ["resolve to default"]);
        }
    }
}

#[test]
fn r41_what_was_told_already_is_told_that_its_level_rose_whatever_the_hour_says() {
    let mut story = Story::new();
    assert_eq!(story.new_one(1, Error), ["fire to default"]);
    let subject = story.plan().subject.clone();
    assert_eq!(story.at(60).rises(1, Error, Fatal), ["remind to default"]);
    assert_eq!(because(&story).as_deref(), Some("level_rose"));
    let plan = story.plan().clone();
    assert_eq!((plan.subject, plan.risk), (subject, Risk::Critical));
    assert_eq!(rose(&story), Some(Rose { from: Some(Error), to: Fatal, news: true }));
    // That was a message: the hour begins again, and it repeats as what is fatal does.
    assert_eq!(story.at(HOUR + 59).goes_on_as(1, Fatal), ["once_per_60m in hourly:everything"]);
    assert_eq!(story.at(HOUR + 60).goes_on_as(1, Fatal), ["fire to default"]);
    assert_eq!(story.resolve(1), ["resolve to default"]);
    assert_eq!(rose(&story).map(|rose| rose.news), Some(false));
}

#[test]
fn r43_a_level_that_comes_and_goes_is_told_once() {
    let mut story = Story::new();
    story.new_one(1, Warning);
    assert_eq!(story.rises(1, Warning, Fatal), ["fire to default"]);
    for minute in 1..59 {
        story.at(minute * 60);
        assert_eq!(story.goes_on_as(1, Warning), ["hourly_digest in hourly:everything"]);
        assert_eq!(story.goes_on_as(1, Fatal), ["once_per_60m in hourly:everything"]);
    }
    // Episode after episode as well, while the hour runs.
    story.resolve(1);
    assert_eq!(story.again(1, Warning), ["once_per_60m", "update to default"]);
    assert_eq!(story.rises(1, Warning, Fatal), ["once_per_60m", "update to default"]);
    let fires = |story: &Story| {
        let mut plans = story.telling.plans.iter();
        plans.by_ref().filter(|p| matches!(p.kind, SendKind::Fire | SendKind::Remind)).count()
    };
    assert_eq!(fires(&story), 1);
}

#[test]
fn r43_what_fires_again_within_the_hour_pages_if_it_is_worse_than_people_were_told() {
    let mut story = Story::new();
    story.new_one(1, Error);
    assert_eq!(story.at(600).resolve(1), ["resolve to default"]);
    assert_eq!(story.at(1_200).again(1, Error), ["once_per_60m", "update to default"]);
    story.at(1_300).resolve(1);
    assert_eq!(story.at(1_800).again(1, Fatal), ["fire to default"]);
    assert_eq!(because(&story).as_deref(), Some("level_rose"));
    assert_eq!(story.at(1_900).resolve(1), ["resolve to default"]);
    assert_eq!(story.at(2_000).again(1, Fatal), ["once_per_60m", "update to default"]);
}

#[test]
fn r41_a_level_that_falls_tells_nobody_and_repeats_are_told_as_of_the_level_there_is() {
    let mut story = Story::new();
    story.new_one(1, Fatal);
    assert_eq!(story.at(60).goes_on_as(1, Warning), ["hourly_digest in hourly:everything"]);
    assert_eq!(rule(&story), "policy.production.repeats.warning");
    // Two hours later a fatal one would be told anew; this is none any more.
    assert_eq!(story.at(2 * HOUR).goes_on_as(1, Warning), ["hourly_digest in hourly:everything"]);
    // A sender that says no level says nothing of it.
    assert_eq!(story.repeat(1), ["fire to default"]);
    assert_eq!(story.plan().facts.level, Some(Fatal), "as bad as it ever was");
}

#[test]
fn r41_a_rise_that_the_policy_tells_hourly_moves_to_that_summary() {
    let mut story = Story::new();
    story.new_one(1, Info);
    assert_eq!(story.rises(1, Info, Warning), ["hourly_digest in hourly:everything"]);
    story.at(HOUR).tick();
    let summary = story.plan().summary.clone().unwrap();
    assert_eq!(summary.items[0].level, Some(Warning));
    // The one of the day says how bad it is as well.
    story.at(25 * HOUR).tick();
    let daily = story.telling.plans.iter().rfind(|plan| plan.subject.starts_with("daily")).unwrap();
    assert_eq!(daily.summary.as_ref().unwrap().items[0].level, Some(Warning));
}

const BY_LEVEL: &str = "
[[defaults.routes]]
name = \"worst\"
matchers = ['level=\"fatal\"']
receivers = [\"pager\", \"team\"]
[[defaults.routes]]
name = \"rest\"
receivers = [\"team\", \"log\"]
";

#[test]
fn r41_a_rise_goes_by_the_routes_of_the_higher_level_and_all_hear_of_the_end() {
    let mut story = Story::with(BY_LEVEL);
    assert_eq!(story.new_one(1, Error), ["fire to team", "fire to log"]);
    let said = story.at(60).rises(1, Error, Fatal);
    assert_eq!(said, ["remind to team", "fire to pager", "update to log"]);
    assert_eq!(rule(&story), "worst/policy.production.fatal");
    assert_eq!(story.resolve(1), ["resolve to team", "resolve to log", "resolve to pager"]);
    // Told to nobody else, if the routes of the higher level name nobody.
    let nobody = BY_LEVEL.replace("[\"pager\", \"team\"]", "[]");
    let mut story = Story::with(&nobody);
    story.new_one(1, Error);
    assert_eq!(story.rises(1, Error, Fatal), ["no_receiver", "update to team", "update to log"]);
}

#[test]
fn r42_a_rise_in_development_is_told_to_nobody() {
    let mut story = Story::new();
    story.open(1, Cause::New, facts(Some(Warning), "dev"));
    let said = story.repeat_as(1, facts(Some(Fatal), "dev"), Some(Some(Warning)));
    assert_eq!(said, ["policy_never"]);
}

fn silence(severity: Option<&str>, ends: i64) -> Kind {
    let matcher = |value: &str| Matcher {
        name: "level".into(),
        operator: MatchOperator::Regex,
        value: value.into(),
    };
    let silence = severity.map(|value| Silence {
        matchers: vec![matcher(value)],
        starts_at: None,
        ends_at: Time::from_micros((MIDNIGHT + ends) * 1_000_000),
        owner: "ada".into(),
        reason: "maintenance".into(),
    });
    let change = SilenceChange { id: "s".into(), silence, operator: "ada".into() };
    Kind::SilenceChanged(Box::new(change))
}

#[test]
fn a11_a_silence_of_the_lower_level_does_not_hold_a_rise_and_one_of_both_does_until_it_is_over() {
    // Nobody was told of it: it fires.
    let mut story = Story::new();
    story.say(silence(Some("warning"), HOUR));
    assert_eq!(story.new_one(1, Warning), ["silenced"]);
    assert_eq!(story.rises(1, Warning, Fatal), ["fire to default"]);
    let mut story = Story::new();
    story.say(silence(Some("warning|fatal"), 2_000));
    story.new_one(1, Warning);
    assert_eq!(story.at(60).rises(1, Warning, Fatal), ["silenced"]);
    assert_eq!(by(&story).as_deref(), Some("s"));
    assert_eq!(story.at(2_000).tick(), ["fire to default"]);
    assert_eq!(because(&story).as_deref(), Some("level_rose"));
    // They were told of it: they hear that it rose, although no alert comes.
    let mut story = Story::new();
    story.new_one(1, Error);
    story.say(silence(Some("error|fatal"), 2_000));
    assert_eq!(story.at(60).rises(1, Error, Fatal), ["silenced"]);
    assert_eq!(story.at(1_995).tick(), [""; 0]);
    assert_eq!(story.at(2_000).tick(), ["remind to default"]);
    assert_eq!(because(&story).as_deref(), Some("level_rose"));
    assert_eq!(story.at(2_400).tick(), [""; 0], "once");
    // A silence that is taken back lets the next repeat speak.
    let mut story = Story::new();
    story.new_one(1, Error);
    story.say(silence(Some("error|fatal"), 2_000));
    story.at(60).rises(1, Error, Fatal);
    story.say(silence(None, 0));
    assert_eq!(story.at(70).goes_on_as(1, Fatal), ["remind to default"]);
    assert_eq!(because(&story).as_deref(), Some("level_rose"));
}

#[test]
fn a9_whoever_acknowledged_less_is_told_that_it_rose_and_is_not_called_again() {
    let reminder = "[defaults.reminder]\nid = \"step\"\nminutes = 10\ntimes = 2\n\
        receivers = [\"second\"]\nlevels = [\"error\", \"fatal\"]";
    let mut story = Story::with(&document(reminder));
    story.new_one(1, Error);
    story.ack(1);
    assert_eq!(story.rises(1, Error, Fatal), ["remind to default"]);
    assert_eq!(story.at(HOUR - 60).tick(), [""; 0]);
    // Whoever acknowledges while the rise is silenced saw it.
    let mut story = Story::new();
    story.new_one(1, Error);
    story.say(silence(Some("error|fatal"), 2_000));
    story.rises(1, Error, Fatal);
    story.ack(1);
    assert_eq!(story.at(2_100).tick(), [""; 0]);
}

#[test]
fn a_rise_wakes_people_at_night_only_where_its_level_does() {
    let night = "[defaults.quiet_hours]\nid = \"night\"\nzone = \"+08:00\"\n\
        ranges = [\"00:00-07:00\"]\nwakes = [\"fatal\"]";
    let mut story = Story::with(&document(night));
    story.new_one(1, Warning);
    assert_eq!(story.rises(1, Warning, Error), ["quiet_hours in hourly:all"]);
    assert_eq!(story.rises(1, Error, Fatal), ["fire to default"]);
}

#[test]
fn r44_rises_are_bounded_as_any_message_and_a_storm_names_what_is_worst() {
    let few = "[defaults.storm]\nid = \"few\"\nproblems_per_minute = 1\nsummary_seconds = 60";
    let mut story = Story::with(&document(few));
    for problem in 0..40 {
        story.new_one(problem, Error);
    }
    assert_eq!(story.at(30).rises(39, Error, Fatal), ["storm in storm:few"]);
    // What has a message of its own shows it.
    assert_eq!(story.rises(0, Error, Fatal), ["storm in storm:few", "update to default"]);
    story.at(60).tick();
    let summary = story.plan().summary.clone().unwrap();
    let worst: Vec<_> = summary.items[..2].iter().map(|item| item.incident).collect();
    let of = |problem| incident(story.openings[&problem]);
    assert_eq!(worst, [of(39), of(0)]);
    assert_eq!((summary.items[0].level, summary.items.len()), (Some(Fatal), 20));
    let limit = "[defaults.limits]\nid = \"one\"\nmessages_per_hour = 1";
    let mut story = Story::with(&document(limit));
    for problem in [1, 2, 3] {
        story.new_one(problem, Warning);
    }
    assert_eq!(story.rises(1, Warning, Error), ["fire to default"]);
    assert_eq!(story.rises(2, Warning, Error), ["rate_limited in hourly:all"]);
    assert_eq!(story.rises(3, Warning, Fatal), ["fire to default"]);
}

#[test]
fn inhibition_goes_by_the_higher_level_on_both_sides() {
    let inhibit = "[[defaults.inhibit]]\nid = \"worse\"\nsource = ['level=\"fatal\"']\n\
        target = ['level=~\"warning|error\"']\nequal = []";
    let mut story = Story::with(&document(inhibit));
    story.new_one(1, Error);
    story.rises(1, Error, Fatal);
    // It inhibits what is less bad from now on, and what gets as bad no more.
    assert_eq!(story.new_one(2, Error), ["inhibited"]);
    assert_eq!(story.rises(2, Error, Fatal), ["fire to default"]);
}

#[test]
fn r28_a_raise_by_the_same_alert_is_said_with_the_rise() {
    let mut story = Story::with(BY_LEVEL);
    story.new_one(1, Error);
    story.rises(1, Error, Fatal);
    let (at, opening) = (story.events.last().unwrap().at, story.openings[&1]);
    let frequency =
        Frequency { count_1h: 5, level: EscalationLevel::Escalate, ..Frequency::default() };
    let escalated = |story: &mut Story| {
        story.event(Kind::Escalated(Box::new(Escalated {
            incident: incident(opening),
            fingerprint: fingerprint(1),
            opening,
            before: EscalationLevel::None,
            frequency,
            risk_before: Risk::High,
            risk: Risk::Critical,
            rule: "escalation".into(),
            triage: None,
        })))
    };
    let before = story.telling.notices.len();
    let same = Event { at, ..escalated(&mut story) };
    story.telling.apply(&mut story.state, vec![same]).unwrap();
    assert_eq!(story.telling.notices.len(), before);
    let later = escalated(&mut story);
    story.telling.apply(&mut story.state, vec![later]).unwrap();
    assert_eq!(story.telling.notices.len(), before + 3);
}

/// What was folded rings nobody; what is worse does, and then its end is told as well.
#[test]
fn r43_a_rise_of_what_was_folded_has_an_end_however_it_was_told() {
    let few = "[defaults.storm]\nid = \"few\"\nproblems_per_minute = 3\nsummary_seconds = 60";
    let folded = |story: &mut Story| {
        story.new_one(1, Error);
        assert_eq!(story.at(300).resolve(1), ["resolve to default"]);
        assert_eq!(story.at(600).again(1, Error), ["once_per_60m", "update to default"]);
        story.at(1_200);
    };
    let mut story = Story::with(&document(few));
    folded(&mut story);
    for problem in 2..=6 {
        story.new_one(problem, Error);
    }
    let said = story.rises(1, Error, Fatal);
    assert_eq!(said, ["storm in storm:few", "update to default"]);
    assert_eq!(story.at(2_400).resolve(1), ["resolve to default"]);
    // Of several that wait for each other.
    let grouped = "[[defaults.routes]]\nname = \"all\"\nreceivers = [\"default\"]\n\
        group_by = [\"alertname\"]\ngroup_wait_seconds = 30\ngroup_interval_seconds = 30";
    let mut story = Story::new();
    folded(&mut story);
    story.rules(grouped);
    let said = story.rises(1, Error, Fatal);
    assert!(said[0].starts_with("bundled in bundle:all"), "{said:?}");
    story.new_one(2, Error);
    let said = story.at(1_230).tick();
    assert!(matches!(said.as_slice(), [one] if one.starts_with("summary to default")), "{said:?}");
    assert_eq!(story.at(2_400).resolve(1), ["resolve to default"]);
    // Without the rise it is told of as before: nobody was rung.
    let mut story = Story::new();
    folded(&mut story);
    assert_eq!(story.resolve(1), ["once_per_60m", "update to default"]);
}

#[test]
fn a10_whom_a_message_told_hears_of_a_rise_at_once_and_only_the_others_wait() {
    let rules = "
[[defaults.routes]]
name = \"worst\"
matchers = ['level=\"fatal\"']
receivers = [\"chat\", \"oncall\"]
group_by = [\"alertname\"]
group_wait_seconds = 30
[[defaults.routes]]
name = \"rest\"
receivers = [\"chat\"]
";
    let mut story = Story::with(rules);
    assert_eq!(story.new_one(1, Error), ["fire to chat"]);
    let said = story.at(60).rises(1, Error, Fatal);
    assert!(said[0].starts_with("bundled in bundle:worst"), "{said:?}");
    assert_eq!(said[1..], ["remind to chat"]);
    assert_eq!(because(&story).as_deref(), Some("level_rose"));
    assert_eq!(rose(&story), Some(Rose { from: Some(Error), to: Fatal, news: true }));
    let said = story.at(90).tick();
    assert!(matches!(said.as_slice(), [one] if one.starts_with("fire to oncall")), "{said:?}");
    assert_eq!(story.resolve(1), ["resolve to chat", "resolve to oncall"]);
}
