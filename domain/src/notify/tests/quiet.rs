//! Nights and silences: what waits for their end, and what does not.

use schemas::record::{MatchOperator, Matcher, Silence, SilenceChange};

use super::*;

use IncidentState::Open;

fn silence_all(ends: i64) -> Kind {
    let provider =
        Matcher { name: "provider".into(), operator: MatchOperator::Equal, value: "sentry".into() };
    let silence = Silence {
        matchers: vec![provider],
        starts_at: None,
        ends_at: Time::from_micros((MIDNIGHT + ends) * 1_000_000),
        owner: "bob".into(),
        reason: "maintenance".into(),
    };
    let silence = Some(silence);
    Kind::SilenceChanged(Box::new(SilenceChange {
        id: "s".into(),
        silence,
        operator: "bob".into(),
    }))
}

#[test]
fn a11_an_incident_whose_own_silence_ends_behind_another_is_heard_when_that_one_ends() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    story.apply(1, "silence", (Open, Open), "{\"minutes\":10}");
    story.say(silence_all(2_000));
    // What people have shows that its own is over.
    assert_eq!(story.at(600).tick(), ["update to default"]);
    for second in [900, 1_200, 1_500, 1_800, 1_995] {
        assert_eq!(story.at(second).tick(), [""; 0]);
    }
    assert_eq!(story.at(2_000).tick(), ["remind to default"]);
    assert_eq!(because(&story).as_deref(), Some("silence_over"));
    assert_eq!(story.at(2_300).tick(), [""; 0], "once");
    // Ended before its time, it is heard no later than at the next look.
    story.apply(1, "silence", (Open, Open), "{\"minutes\":10}");
    story.say(silence_all(20_000));
    story.at(2_900).tick();
    let over = SilenceChange { id: "s".into(), silence: None, operator: "bob".into() };
    story.at(3_000).say(Kind::SilenceChanged(Box::new(over)));
    assert_eq!(story.at(3_200).tick(), ["remind to default"]);
    // Somebody who has it by then is not called.
    story.apply(1, "silence", (Open, Open), "{\"minutes\":10}");
    story.say(silence_all(9_000));
    story.at(4_000).tick();
    story.ack(1);
    assert_eq!(story.at(9_000).tick(), ["update to default"]);
}

const NIGHT: &str = "
[defaults.quiet_hours]
id = \"night\"
zone = \"+08:00\"
ranges = [\"00:10-07:00\"]
wakes = [\"fatal\"]
[[defaults.routes]]
name = \"cluster\"
receivers = [\"default\"]
group_by = [\"cluster\"]
group_wait_seconds = 60
group_interval_seconds = 300
";

fn fires(story: &mut Story, problem: u64, level: Option<Level>) -> Vec<String> {
    let labels = vec![("cluster".to_owned(), "a".to_owned())];
    story.open(problem, Cause::New, Facts { labels, ..facts(level, "production") })
}

#[test]
fn a10_a_bundle_asks_whether_it_is_quiet_and_one_that_wakes_has_it_told() {
    for (joins, told_at) in [(Some(Level::Fatal), 1_000), (None, 1_000), (Some(Level::Error), 0)] {
        let mut story = Story::with(NIGHT);
        story.at(590);
        fires(&mut story, 1, Some(Level::Error));
        fires(&mut story, 2, Some(Level::Error));
        // Due in the night.
        assert_eq!(story.at(650).tick(), [""; 0]);
        assert_eq!(story.at(700).tick(), [""; 0]);
        story.at(1_000);
        let said = fires(&mut story, 3, joins);
        if told_at > 0 {
            assert!(said[0].starts_with("bundled in bundle:cluster:"), "{said:?}");
            assert_eq!(story.tick().len(), 1);
            assert_eq!(story.plan().summary.as_ref().unwrap().incidents, 3);
        } else {
            assert_eq!(said, ["quiet_hours in hourly:cluster"]);
            assert_eq!(story.tick(), [""; 0]);
            // What is over by the morning is told to nobody.
            assert_eq!(story.at(7_000).resolve(2), ["over_before_told"]);
            let said = story.at(7 * HOUR).tick();
            assert!(said.contains(&"summary to default of hourly:cluster".to_owned()), "{said:?}");
            let paged = story.telling.plans.iter().any(|p| p.opening == story.openings[&1]);
            assert!(paged, "{said:?}");
        }
    }
}

const FINE: &str = "
[defaults.storm]
id = \"few\"
problems_per_minute = 5
summary_seconds = 60
[[defaults.routes]]
name = \"fine\"
receivers = [\"default\"]
group_by = [\"...\"]
group_wait_seconds = 10
group_interval_seconds = 300
";

#[test]
fn r44_the_ends_of_a_storm_with_fine_groups_are_one_summary() {
    let mut story = Story::with(FINE);
    for problem in 0..500 {
        let labels = [("pod", &*format!("p{problem}"))];
        story.open(problem, Cause::New, labelled(&labels));
    }
    story.at(20).tick();
    for second in 21..200 {
        story.at(second).tick();
    }
    let before = story.telling.plans.len();
    let mut reasons = std::collections::BTreeSet::new();
    for problem in 5..500 {
        reasons.extend(story.resolve(problem));
    }
    // Besides the end of the storm itself, for whoever keeps it as an alert.
    let ends = ["resolve to default of storm:few", "resolve_in_summary in hourly:fine"];
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), ends);
    assert_eq!(story.telling.plans.len() - before, 1, "it ends once");
    for second in 200..800 {
        story.at(second).tick();
    }
    story.at(HOUR).tick();
    assert_eq!(story.telling.plans.len() - before, 2, "one message of all ends");
    let summary = story.plan().summary.clone().unwrap();
    assert_eq!((summary.incidents, summary.alerts), (495, 495));
    // What had a message of its own ends in one.
    assert_eq!(story.resolve(0), ["resolve to default"]);
}

#[test]
fn a10_the_end_of_what_a_bundle_told_is_told_in_one_of_its_group() {
    let mut story = Story::with(NIGHT);
    fires(&mut story, 1, Some(Level::Error));
    fires(&mut story, 2, Some(Level::Error));
    story.at(60).tick();
    let said = story.at(100).resolve(1);
    assert!(said[0].starts_with("resolve_in_summary in bundle:cluster:"), "{said:?}");
    let said = story.at(110).resolve(2);
    assert!(said[0].starts_with("resolve_in_summary in bundle:cluster:"), "{said:?}");
    assert_eq!(story.at(360).tick().len(), 1);
    assert_eq!(story.plan().summary.as_ref().unwrap().incidents, 2);
}
