//! What is remembered, for how long, and in which form.

use std::collections::BTreeMap;

use minicbor::Encode;
use schemas::{CodecError, alert::Risk, codec};

use super::*;

#[test]
fn b2_an_opened_incident_is_planned_with_its_rule() {
    let mut story = Story::new();
    assert_eq!(story.new_one(1, Level::Fatal), ["fire to default"]);
    let plan = story.plan();
    let opening = story.openings[&1];
    assert_eq!((plan.opening, plan.trigger, plan.risk), (opening, opening, Risk::Critical));
    assert_eq!((plan.subject.clone(), plan.cause), (opening.to_string(), Some(Cause::New)));
    assert_eq!(plan.rules, Rules::builtin().hash());
    assert_eq!(story.telling.notices[0].rules, Rules::builtin().hash());
}

#[test]
fn b2_a_route_that_tells_nobody_says_so() {
    let mut story = Story::with("[[defaults.routes]]\nname = \"quiet\"\nreceivers = []");
    assert_eq!(story.new_one(1, Level::Fatal), ["no_receiver"]);
    assert_eq!(rule(&story), "quiet");
    assert_eq!(story.resolve(1), ["resolve_without_fire"]);
}

#[test]
fn a8_a_resolve_follows_its_fire_and_no_other_does() {
    let mut story = Story::new();
    story.openings.insert(1, at(77));
    assert_eq!(story.resolve(1), ["resolve_without_fire"]);
    assert_eq!(story.suppress(1), ["suppressed_at_sender"]);
    assert_eq!(story.expire(1), ["expired"]);
    assert_eq!(story.repeat(1), ["repeat"]);
    story.new_one(1, Level::Error);
    assert_eq!(story.resolve(1), ["resolve to default"]);
    let plan = story.plan();
    assert_eq!((plan.opening, plan.trigger), (story.openings[&1], at(story.sequence)));
    assert_eq!(plan.facts.status, Status::Resolved);
    assert_eq!(story.resolve(1), ["resolve_without_fire"]);
}

#[test]
fn b6_other_rules_decide_from_their_event_on_and_resolve_whom_the_old_ones_told() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    story.rules("[[defaults.routes]]\nname = \"new\"\nreceivers = [\"other\"]");
    assert_eq!(story.new_one(2, Level::Error), ["fire to other"]);
    assert_eq!(story.resolve(1), ["resolve to default"]);
    assert_eq!(rule(&story), "everything/policy.production.error");
}

#[test]
fn a_document_that_is_not_understood_is_no_event() {
    let document = |hash: &str, text: &str| RulesDocument {
        hash: hash.into(),
        text: text.into(),
        operator: "ada".into(),
    };
    for (bad, why) in [
        (document("0", "[defaults]"), "no route"),
        (document("0", Rules::builtin().text()), "the text hashes to"),
    ] {
        let mut story = Story::new();
        let event = story.event(Kind::RulesChanged(Some(Box::new(bad))));
        let error = prepare(event).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_problem_is_forgotten_a_day_after_its_end() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    story.new_one(2, Level::Error);
    story.at(60).resolve(1);
    assert_eq!(story.at(24 * HOUR).tick().len(), 0);
    assert_eq!(story.telling.remembered(), 2);
    story.at(24 * HOUR + 60).tick();
    assert_eq!(story.telling.remembered(), 1, "what fires is remembered");
}

/// What was written by the fold before rows were kept.
#[derive(Encode)]
#[cbor(map)]
struct Before {
    #[n(0)]
    version: u32,
    #[n(1)]
    ways: Vec<WayBefore>,
    #[n(2)]
    fires: BTreeMap<IncidentId, u32>,
}

#[derive(Encode)]
#[cbor(map)]
struct WayBefore {
    #[n(0)]
    rule: String,
    #[n(1)]
    receivers: Vec<String>,
    #[n(2)]
    risk: Risk,
}

fn before(version: u32) -> Vec<u8> {
    let way = |rule: &str, receivers: &[&str]| WayBefore {
        rule: rule.into(),
        receivers: receivers.iter().map(|r| (*r).to_owned()).collect(),
        risk: Risk::High,
    };
    codec::encode(&Before {
        version,
        ways: vec![way("old", &["default", "second"]), way("quiet", &[])],
        fires: BTreeMap::from([
            (incident(at(101)), 0),
            (incident(at(102)), 0),
            (incident(at(103)), 1),
        ]),
    })
}

#[test]
fn what_was_told_before_rows_were_kept_ends_as_it_was_told() {
    let mut story = Story::new();
    story.state = State::restore(Some(&before(2)), None).unwrap();
    assert_eq!(story.state.rules(), Rules::builtin());
    for problem in 1..=3 {
        story.openings.insert(problem, at(100 + problem));
    }
    assert_eq!(story.repeat(1), ["repeat"]);
    assert_eq!(rule(&story), "old");
    assert_eq!(story.resolve(1), ["resolve to default", "resolve to second"]);
    assert_eq!(story.plan().risk, Risk::High);
    // It is kept over a restart, and forgotten once it is told.
    story.state = story.telling.load().unwrap();
    assert_eq!(story.resolve(1), ["resolve_without_fire"]);
    assert_eq!(story.suppress(2), ["suppressed_at_sender"]);
    assert_eq!(rule(&story), "old");
    assert_eq!(story.resolve(3), ["resolve_without_fire"]);
}

#[test]
fn a_state_of_a_later_binary_is_refused() {
    let refused = State::restore(Some(&before(9)), None).unwrap_err();
    assert!(matches!(refused, CodecError::Newer { found: 9, .. }), "{refused:?}");
    assert!(State::restore(None, Some(&before(9))).is_err());
    assert!(Told::decode(&before(9)).is_err());
}

#[test]
fn r41_what_was_told_before_levels_rose_was_told_as_it_is() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    let Kind::Opened(opened) = &story.events[0].kind else { panic!("{:?}", story.events) };
    let mut told = Told::opened(opened, story.openings[&1], None);
    told.told_at = Some(story.events[0].lane_time);
    assert_eq!(told.told_level, None);
    // Its first field is the version of the fold.
    let before = |told: &Told| {
        let mut bytes = told.encode();
        let version = bytes.windows(2).position(|two| two == [0, 4]).unwrap() + 1;
        bytes[version] = 3;
        Told::decode(&bytes).unwrap()
    };
    let read = before(&told);
    assert_eq!(read.told_level, Some(Level::Error));
    assert_eq!(Told::decode(&read.encode()).unwrap(), read, "brought up once");
    // Nobody was told of it: nothing is known of a level that was.
    told.told_at = None;
    assert_eq!(before(&told).told_level, None);
}

#[test]
fn i5_the_same_events_are_decided_the_same_with_distinct_ids() {
    let told = || {
        let mut story = Story::new();
        story.new_one(1, Level::Error);
        story.repeat(1);
        story.resolve(1);
        story.at(HOUR).tick();
        story.telling
    };
    assert_eq!(told(), told());
    let mut ids: Vec<EventId> = told().notices.iter().map(|notice| notice.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), told().notices.len());
}
