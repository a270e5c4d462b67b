//! Whatever happens, in whatever batches.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use schemas::{
    alert::Risk,
    job::SendKind,
    record::{MatchOperator, Matcher, Silence, SilenceChange},
};

use super::*;
use crate::invariant;

/// Rules in which everything there is happens often.
const RULES: &str = "
[defaults.storm]
id = \"storm\"
problems_per_minute = 3
summary_seconds = 20

[defaults.limits]
id = \"limits\"
messages_per_hour = 12

[defaults.quiet_hours]
id = \"night\"
zone = \"Europe/Berlin\"
ranges = [\"18:00-19:30\"]
wakes = [\"fatal\"]

[defaults.reminder]
id = \"reminder\"
minutes = 7
times = 2
receivers = [\"second\"]
levels = [\"fatal\", \"error\"]

[[defaults.inhibit]]
id = \"down\"
source = ['level=\"fatal\"']
target = ['level=\"error\"']
equal = [\"cluster\"]

[[defaults.routes]]
name = \"grouped\"
matchers = ['cluster=\"c1\"']
receivers = [\"default\"]
group_by = [\"cluster\"]
group_wait_seconds = 20
group_interval_seconds = 90

[[defaults.routes]]
name = \"rest\"
receivers = [\"default\"]
";

const LEVELS: [Level; 4] = [Level::Fatal, Level::Error, Level::Warning, Level::Info];

/// One step of a random story: seconds that pass, what happens, and to which problem.
type Step = (u16, u8, u8);

/// The events a lane's observe could make of these steps.
fn events(steps: &[Step], rules: bool) -> Vec<Event> {
    let mut story = Story::new();
    let mut open: BTreeMap<u64, bool> = BTreeMap::new();
    let mut worst: BTreeMap<u64, Level> = BTreeMap::new();
    if rules {
        story.rules(RULES);
    }
    for (seconds, what, problem) in steps {
        story.now += i64::from(*seconds);
        let problem = u64::from(*problem % 12);
        // A problem has a level of its own, and now and then another.
        let other = if what % 5 < 2 { usize::from(what / 12) } else { 0 };
        let level = LEVELS[(problem as usize + other) % 4];
        let environment = ["production", "testing", "dev"][problem as usize % 3];
        let cluster = format!("c{}", problem % 4);
        let mut facts = facts(Some(level), environment);
        facts.labels = vec![("cluster".into(), cluster)];
        let is_open = open.get(&problem).copied();
        match (what % 12, is_open) {
            (0 | 1, Some(true)) => drop(story.repeat(problem)),
            (2..=4, Some(true)) => {
                let before = worst[&problem];
                let rises = Level::risk(Some(level)) > Level::risk(Some(before));
                if rises {
                    worst.insert(problem, level);
                }
                story.repeat_as(problem, facts, rises.then_some(Some(before)));
            }
            (0..=4, before) => {
                let cause = if before.is_none() { Cause::New } else { Cause::Regression };
                story.open(problem, cause, facts);
                open.insert(problem, true);
                worst.insert(problem, level);
            }
            (5 | 6, Some(true)) => {
                story.resolve(problem);
                open.insert(problem, false);
            }
            (7, Some(true)) => {
                if what % 2 == 0 {
                    story.suppress(problem);
                } else {
                    story.expire(problem);
                }
                open.insert(problem, false);
            }
            (8, Some(true)) => drop(story.ack(problem)),
            (9, Some(true)) => {
                let states = (IncidentState::Open, IncidentState::Open);
                story.apply(problem, "silence", states, "{\"minutes\":3}");
            }
            (10, _) => {
                let matchers = vec![Matcher {
                    name: "cluster".into(),
                    operator: MatchOperator::Equal,
                    value: "c2".into(),
                }];
                let ends_at = Time::from_micros((MIDNIGHT + story.now + 400) * 1_000_000);
                let silence = Silence {
                    matchers,
                    starts_at: None,
                    ends_at,
                    owner: "ada".into(),
                    reason: "test".into(),
                };
                let silence = (problem % 2 == 0).then_some(silence);
                let change = SilenceChange { id: "s".into(), silence, operator: "ada".into() };
                story.say(Kind::SilenceChanged(Box::new(change)));
            }
            _ => drop(story.tick()),
        }
    }
    // Long enough for everything that is gathered to be told.
    for _ in 0..4 {
        story.now += 25 * HOUR;
        story.tick();
    }
    story.events
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..400_u16, any::<u8>(), any::<u8>()), 1..150)
}

/// At most one message that rings of a problem within the hour, but for what is worse than all that
/// was told in it.
fn once_an_hour(events: &[Event], telling: &Telling) -> Result<(), String> {
    let mut problems = BTreeMap::new();
    for event in events {
        if let Kind::Opened(opened) = &event.kind {
            problems.insert(opened.incident, opened.fingerprint);
        }
    }
    let rings = |plan: &&Plan| match plan.kind {
        SendKind::Fire => true,
        // A reminder that nobody has it is asked for by a rule of its own.
        SendKind::Remind => {
            plan.standing.as_ref().and_then(|s| s.rose).is_some_and(|rose| rose.news)
        }
        _ => false,
    };
    let mut fired: BTreeMap<(Fingerprint, String), (Position, Time, Risk)> = BTreeMap::new();
    for plan in telling.plans.iter().filter(rings) {
        let key = (problems[&plan.incident], plan.to.to_string());
        let mut bad = Level::risk(plan.facts.level);
        if let Some((trigger, at, told)) = fired.get(&key)
            && plan.at < at.plus_seconds(HOUR)
        {
            if bad <= *told {
                return Err(format!("{} and {trigger} fire within the hour", plan.trigger));
            }
            bad = bad.max(*told);
        }
        fired.insert(key, (plan.trigger, plan.at, bad));
    }
    Ok(())
}

/// Whatever fires at the end, as bad as it ever was, was told as that bad, but for what nobody is to be
/// told of: in a message of its own or a summary, at once or once what stood in the way was gone.
fn what_fires_is_known(events: &[Event], telling: &Telling, rules: bool) -> Result<(), String> {
    let mut open: BTreeMap<Fingerprint, (IncidentId, Position, Facts)> = BTreeMap::new();
    let mut acknowledged = BTreeSet::new();
    for event in events {
        match &event.kind {
            Kind::Opened(opened) => {
                let (incident, facts) = (opened.incident, opened.facts.clone());
                open.insert(opened.fingerprint, (incident, event.at, facts));
            }
            Kind::Repeated(Repeated { fingerprint, incident, rise: Some(rise), .. }) => {
                open.insert(*fingerprint, (*incident, event.at, rise.facts.clone()));
            }
            Kind::Resolved(over) | Kind::Suppressed(over) => drop(open.remove(&over.fingerprint)),
            Kind::Expired(over) => drop(open.remove(&over.fingerprint)),
            Kind::Applied(applied) if applied.after == IncidentState::Acknowledged => {
                acknowledged.insert(applied.incident);
            }
            _ => {}
        }
    }
    for (incident, since, facts) in open.values() {
        let development = facts.environment.as_deref() == Some("dev");
        // Its source may fire for ever.
        let inhibited = rules && facts.level == Some(Level::Error);
        if development || inhibited || acknowledged.contains(incident) {
            continue;
        }
        let tells = |notice: &Event| match &notice.kind {
            Kind::Planned(planned) => {
                planned.incident == *incident
                    && matches!(planned.kind, SendKind::Fire | SendKind::Remind)
            }
            Kind::Withheld(withheld) => {
                withheld.incident == *incident && withheld.summary.is_some()
            }
            _ => false,
        };
        if !telling.notices.iter().any(|notice| notice.at >= *since && tells(notice)) {
            return Err(format!("{incident} fires since {since}, and nobody knows"));
        }
    }
    Ok(())
}

/// No two plans would be one job (I6).
fn keys_are_distinct(telling: &Telling) -> Result<(), String> {
    let mut keys = BTreeSet::new();
    for plan in &telling.plans {
        let key = (plan.to.to_string(), plan.kind.word(), plan.subject.clone(), plan.trigger);
        if !keys.insert(key.clone()) {
            return Err(format!("planned twice: {key:?}"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_alert_is_accounted_for_and_nobody_is_told_too_much(steps in steps(), rules: bool) {
        let events = events(&steps, rules);
        let telling = Telling::sequential(events.clone()).unwrap();
        let open = telling.open().unwrap();
        prop_assert_eq!(&open, &[]);
        let checked = invariant::alerts_are_accounted_for(&events, &telling.notices)
            .and_then(|()| invariant::summaries_add_up(&telling.notices, &telling.plans, &open))
            .and_then(|()| invariant::resolves_follow_fires(&telling.notices))
            .and_then(|()| once_an_hour(&events, &telling))
            .and_then(|()| what_fires_is_known(&events, &telling, rules))
            .and_then(|()| keys_are_distinct(&telling));
        prop_assert_eq!(checked, Ok(()));
    }

    #[test]
    fn i4_batches_and_restarts_change_no_decision(
        steps in steps(),
        rules: bool,
        cuts in prop::collection::vec((1..40_usize, any::<bool>()), 1..40),
    ) {
        let events = events(&steps, rules);
        let expect = Telling::sequential(events.clone()).unwrap();
        let mut telling = Telling::default();
        let mut state = telling.load().unwrap();
        let mut rest = events;
        for (length, restart) in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let batch = rest.drain(..rest.len().min(*length)).collect();
            telling.apply(&mut state, batch).unwrap();
            if *restart {
                state = telling.load().unwrap();
            }
        }
        prop_assert_eq!(telling, expect);
    }
}
