//! Given records, when the next is folded, then it ends so and says this.

use std::num::NonZeroU16;

use schemas::{
    Alert, Event, IncidentId, Lane, Outcome, Position, Status,
    alert::Stage,
    event::{Cause, Effect, Kind},
    job::{AnswerResult, SendKind, SendResult},
    record::{
        Answer, Body, Command, Control, IncidentNumber, Redrive, RulesDocument, SendOutcome, Tick,
    },
};

use super::{
    LaneState, Prepared, SeenKey, incident_id,
    prepare::{Content, Told},
    samples::{alert, at, delivery, project, record, second, told},
};
use crate::{
    invariant,
    replay::{Folded, Tables},
    rules::Rules,
};

mod commands;
mod control;
mod environments;
mod expiry;
mod frequency;
mod interactions;
mod levels;
mod log;
mod properties;
mod redrive;
mod rows;
mod runbook;
mod stale;
mod story;

const LANE: Lane = Lane(0);
const ONE: NonZeroU16 = NonZeroU16::MIN;

/// Folds every record as a batch of its own.
fn fold(records: Vec<Prepared>) -> Folded {
    let mut tables = Tables::new(LANE, ONE);
    for record in records {
        tables.fold(vec![record]).unwrap();
    }
    tables.folded().unwrap()
}

/// What the fold says of each alert, and which incident it belongs to (by its opening record).
fn effects(folded: &Folded) -> Vec<(Effect, Option<u64>)> {
    folded
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Observed(o) => Some((o.effect, o.opening.map(|p| p.input.sequence))),
            _ => None,
        })
        .collect()
}

fn words(folded: &Folded) -> Vec<&'static str> {
    folded.events.iter().map(|e| e.kind.word()).collect()
}

fn ledger(folded: &Folded) -> Vec<(Outcome, u64)> {
    folded.ledger.iter().map(|(o, n)| (*o, *n)).collect()
}

fn with(change: impl FnOnce(&mut Alert)) -> Alert {
    let mut alert = alert("a");
    change(&mut alert);
    alert
}

fn is(status: Status) -> Alert {
    with(|a| a.facts.status = status)
}

/// Given alerts of one problem, one record each and one a minute, then these effects.
#[track_caller]
fn check(alerts: Vec<Alert>, expect: &[(Effect, Option<u64>)]) -> Folded {
    let records = (1u64..)
        .zip(alerts)
        .map(|(n, alert)| delivery(n, second(60 * n as i64), vec![alert], None))
        .collect();
    let folded = fold(records);
    assert_eq!(effects(&folded), expect);
    invariant::episodes_are_in_order(&folded.events).unwrap();
    for problem in folded.problems.values() {
        invariant::problem_is_sound(problem).unwrap();
    }
    folded
}

use Status::{Firing, Resolved, Suppressed};

#[test]
fn a_first_firing_opens_an_incident_and_asks_for_triage_and_a_number() {
    let folded = check(vec![is(Firing)], &[(Effect::Opened, Some(1))]);
    assert_eq!(words(&folded), ["opened", "observed", "settled"]);
    assert_eq!(ledger(&folded), [(Outcome::Observed, 1)]);
    let opening = at(1).alert(0);
    let incident = incident_id(&project(), opening);
    let Kind::Opened(opened) = &folded.events[0].kind else { panic!() };
    assert_eq!((opened.incident, opened.cause, opened.episode), (incident, Cause::New, 1));
    assert_eq!(folded.events[0].at, opening);
    assert_eq!(folded.triage[0].job.reason, "open");
    assert_eq!(folded.triage[0].id, schemas::JobId::triage(opening, "open"));
    assert_eq!(folded.openings[0].opened_at, second(60));
    assert_eq!(folded.incidents.len(), 1);
}

#[test]
fn firing_again_repeats_and_opens_nothing() {
    let folded = check(
        vec![is(Firing), is(Firing), is(Firing)],
        &[(Effect::Opened, Some(1)), (Effect::Repeated, Some(1)), (Effect::Repeated, Some(1))],
    );
    let Kind::Repeated(repeated) = &folded.events[6].kind else { panic!("{:?}", words(&folded)) };
    assert_eq!(repeated.occurrences, 3);
    assert_eq!(folded.triage.len(), 1);
}

#[test]
fn resolved_closes_and_a_later_firing_is_a_regression() {
    let folded = check(
        vec![is(Firing), is(Resolved), is(Resolved), is(Firing)],
        &[
            (Effect::Opened, Some(1)),
            (Effect::Resolved, Some(1)),
            (Effect::NothingToClose, Some(1)),
            (Effect::Opened, Some(4)),
        ],
    );
    let causes: Vec<_> = opened(&folded.events).map(|o| (o.cause, o.episode)).collect();
    assert_eq!(causes, [(Cause::New, 1), (Cause::Regression, 2)]);
}

#[test]
fn r4_ignored_suppresses_until_it_reappears() {
    let folded = check(
        vec![is(Firing), is(Suppressed), is(Firing)],
        &[(Effect::Opened, Some(1)), (Effect::Suppressed, Some(1)), (Effect::Opened, Some(3))],
    );
    let causes: Vec<_> = opened(&folded.events).map(|o| o.cause).collect();
    assert_eq!(causes, [Cause::New, Cause::Reappearance]);
}

#[test]
fn resolved_without_an_episode_closes_nothing_and_what_it_overtook_is_stale() {
    let folded = check(
        vec![
            with(|a| (a.facts.status, a.status_at) = (Resolved, Some(second(50)))),
            with(|a| a.status_at = Some(second(40))),
            with(|a| a.status_at = Some(second(55))),
        ],
        &[(Effect::NothingToClose, None), (Effect::Stale, None), (Effect::Opened, Some(3))],
    );
    assert_eq!(opened(&folded.events).next().unwrap().cause, Cause::New);
    assert_eq!(folded.problems.values().next().unwrap().total, 2);
}

#[test]
fn a_status_change_that_was_overtaken_is_stale_but_a_repeat_never_is() {
    check(
        vec![
            with(|a| a.status_at = Some(second(10))),
            // An Alertmanager repeat: the same start time again.
            with(|a| a.status_at = Some(second(10))),
            with(|a| (a.facts.status, a.status_at) = (Resolved, Some(second(30)))),
            with(|a| a.status_at = Some(second(10))),
            with(|a| a.status_at = Some(second(30))),
            with(|a| a.status_at = Some(second(31))),
            with(|a| (a.facts.status, a.status_at) = (Resolved, Some(second(31)))),
        ],
        &[
            (Effect::Opened, Some(1)),
            (Effect::Repeated, Some(1)),
            (Effect::Resolved, Some(1)),
            (Effect::Stale, Some(1)),
            (Effect::Stale, Some(1)),
            (Effect::Opened, Some(6)),
            (Effect::Stale, Some(6)),
        ],
    );
}

#[test]
fn a_sender_whose_clock_is_far_ahead_does_not_make_the_rest_stale() {
    check(
        vec![with(|a| a.status_at = Some(second(1_000_000))), is(Resolved)],
        &[(Effect::Opened, Some(1)), (Effect::Resolved, Some(1))],
    );
}

#[test]
fn r4_one_occurrence_reported_three_ways_counts_once() {
    let report = || with(|a| a.occurrence = Some("event-1".into()));
    let folded = check(
        vec![
            report(),
            report(),
            is(Resolved),
            report(),
            with(|a| a.occurrence = Some("event-2".into())),
        ],
        &[
            (Effect::Opened, Some(1)),
            (Effect::SameOccurrence, Some(1)),
            (Effect::Resolved, Some(1)),
            (Effect::SameOccurrence, Some(1)),
            (Effect::Opened, Some(5)),
        ],
    );
    assert_eq!(folded.problems.values().next().unwrap().total, 2);
}

#[test]
fn r4_an_announcement_and_the_occurrence_behind_it_count_once_in_either_order() {
    let at_second = |n, occurrence: Option<&str>| {
        with(|a| (a.status_at, a.occurrence) = (Some(second(n)), occurrence.map(str::to_owned)))
    };
    // Sentry: issue.created and its event, reported twice.
    for alerts in [
        [at_second(5, None), at_second(6, Some("x")), at_second(6, Some("x"))],
        [at_second(6, Some("x")), at_second(5, None), at_second(6, Some("x"))],
    ] {
        let folded = check(
            alerts.into(),
            &[
                (Effect::Opened, Some(1)),
                (Effect::SameOccurrence, Some(1)),
                (Effect::SameOccurrence, Some(1)),
            ],
        );
        assert_eq!(folded.problems.values().next().unwrap().total, 1);
        assert_eq!(folded.triage.len(), 1);
    }
    check(
        vec![at_second(5, None), at_second(66, Some("x")), at_second(67, Some("y"))],
        &[(Effect::Opened, Some(1)), (Effect::Repeated, Some(1)), (Effect::Repeated, Some(1))],
    );
}

#[test]
fn tests_and_heartbeats_are_recorded_only() {
    let folded = check(
        vec![with(|a| a.stage = Stage::Test), with(|a| a.stage = Stage::Heartbeat)],
        &[(Effect::RecordedOnly, None), (Effect::RecordedOnly, None)],
    );
    assert!(folded.problems.is_empty() && folded.triage.is_empty());
}

#[test]
fn a_redelivery_is_known_for_as_long_as_its_key_means_something() {
    let stable = |n| SeenKey { key: uuid::Uuid::from_u128(n), seconds: 72 * 3600 };
    let fallback = |n| SeenKey { key: uuid::Uuid::from_u128(n), seconds: 20 * 60 };
    let hour = 3600;
    for (key, after, expect) in [
        (stable(1), 0, Outcome::Redelivered),
        (stable(1), 72 * hour - 1, Outcome::Redelivered),
        (stable(1), 72 * hour, Outcome::Observed),
        (fallback(1), 20 * 60 - 1, Outcome::Redelivered),
        (fallback(1), 20 * 60, Outcome::Observed),
    ] {
        let folded = fold(vec![
            delivery(1, second(0), vec![alert("a")], Some(key)),
            delivery(2, second(after), vec![alert("a"), alert("b")], Some(key)),
            delivery(3, second(after), vec![alert("a")], Some(stable(2))),
        ]);
        let settled: Vec<_> = settled(&folded.events).map(|s| s.outcome).collect();
        assert_eq!(settled, [Outcome::Observed, expect, Outcome::Observed], "after {after} s");
        if expect == Outcome::Redelivered {
            assert_eq!(
                effects(&folded)[1..3],
                [(Effect::Redelivered, Some(1)), (Effect::Redelivered, None)]
            );
            assert_eq!(folded.problems.len(), 1);
        }
    }
}

#[test]
fn a_redelivery_within_one_batch_is_known() {
    let key = Some(SeenKey { key: uuid::Uuid::from_u128(1), seconds: 60 });
    let mut tables = Tables::new(LANE, ONE);
    let batch = (1..=3).map(|n| delivery(n, second(n as i64), vec![alert("a")], key)).collect();
    tables.fold(batch).unwrap();
    let folded = tables.folded().unwrap();
    assert_eq!(ledger(&folded), [(Outcome::Observed, 1), (Outcome::Redelivered, 2)]);
    assert_eq!(folded.seen.len(), 1);
}

#[test]
fn r23_what_is_recorded_rejected_or_unknown_is_settled_with_its_reason() {
    let folded = fold(vec![
        told(1, second(1), Told::Recorded { reason: "comment".into() }),
        told(2, second(2), Told::Rejected { reason: "not_json".into() }),
        told(3, second(3), Told::Unknown { reason: "unknown_provider".into() }),
    ]);
    let settled: Vec<_> = settled(&folded.events).map(|s| (s.outcome, s.reason.clone())).collect();
    assert_eq!(
        settled,
        [
            (Outcome::Recorded, Some("comment".into())),
            (Outcome::Rejected, Some("not_json".into())),
            (Outcome::Parked, Some("unknown_provider".into())),
        ]
    );
    assert_eq!(folded.parked[&at(3)], "unknown_provider");
    assert_eq!(folded.parked.len(), 1);
}

#[test]
fn lane_time_is_the_tick_or_the_earlier_of_received_and_stored_and_never_runs_back() {
    let mut state = LaneState::restore(LANE, ONE, second(0), None).unwrap();
    let mut at_time = |received, stored, body| {
        let mut record = record(1, second(received), None, body);
        record.stored_at = second(stored);
        state.fold(record, &mut Default::default());
        state.lane_time()
    };
    let command = || {
        let (verb, opening, arguments) = ("note".into(), None, "{}".into());
        let (operator, auth_method) = ("o".into(), "key".into());
        Body::Command(Box::new(Command { operator, auth_method, verb, opening, arguments }))
    };
    let tick = |n| Body::Tick(Tick { now: second(n) });
    assert_eq!(at_time(5, 7, command()), second(5));
    assert_eq!(at_time(900, 8, command()), second(8));
    assert_eq!(at_time(1, 1, command()), second(8));
    assert_eq!(at_time(1, 1, tick(60)), second(60));
    assert_eq!(at_time(1, 1, tick(50)), second(60));
}

#[test]
fn the_first_answer_for_an_opening_and_reason_takes_effect() {
    let opening = at(1).alert(0);
    let answer = |n, opening: Position, reason: &str| {
        let body = Body::Answer(Box::new(Answer {
            job: schemas::JobId::triage(opening, reason),
            incident: IncidentId(uuid::Uuid::nil()),
            opening,
            reason: reason.into(),
            prompt: "p".into(),
            input: "{}".into(),
            result: AnswerResult {
                analysis: None,
                attempts: Vec::new(),
                latency_ms: n,
                ..AnswerResult::default()
            },
        }));
        record(n, second(60), Some(project()), body)
    };
    let folded = fold(vec![
        delivery(1, second(1), vec![alert("a")], None),
        answer(2, opening, "open"),
        answer(3, opening, "open"),
        answer(4, opening, "request 1"),
        answer(5, at(9).alert(0), "open"),
    ]);
    let answered: Vec<_> = folded
        .events
        .iter()
        .filter_map(|e| match &e.kind {
            Kind::Answered(a) => Some((a.reason.as_str(), a.result.latency_ms, a.incident)),
            _ => None,
        })
        .collect();
    let incident = incident_id(&project(), opening);
    assert_eq!(answered, [("open", 2, incident), ("request 1", 4, incident)]);
    assert_eq!(folded.ledger[&Outcome::Answer], 4);
}

#[test]
fn the_other_kinds_of_record_have_outcomes_of_their_own() {
    let sent = SendOutcome {
        job: schemas::JobId(uuid::Uuid::nil()),
        incident: None,
        target: "log".into(),
        channel: "log".into(),
        kind: SendKind::Fire.word().into(),
        subject: "s".into(),
        trigger: at(1).whole(),
        attempts: 1,
        result: SendResult::Delivered(None),
    };
    let command = Command {
        operator: "o".into(),
        auth_method: "key".into(),
        verb: "ack".into(),
        opening: None,
        arguments: "{}".into(),
    };
    let number = IncidentNumber {
        incident: IncidentId(uuid::Uuid::nil()),
        opening: at(1).whole(),
        day: "20260101".into(),
        number: 1,
    };
    let redrive = Redrive { original: at(1).whole(), operator: "o".into(), record: None };
    let mut broken = record(6, second(6), None, Body::Tick(Tick { now: second(6) }));
    broken.content = Content::Unreadable { reason: "bytes".into() };
    let shop = Some(project());
    let folded = fold(vec![
        record(1, second(1), shop.clone(), Body::Outcome(Box::new(sent))),
        record(2, second(2), shop.clone(), Body::Command(Box::new(command))),
        record(
            3,
            second(3),
            shop.clone(),
            Body::Control(Box::new(Control::IncidentNumber(number))),
        ),
        record(4, second(4), shop, Body::Redrive(redrive)),
        record(5, second(5), None, Body::Tick(Tick { now: second(5) })),
        broken,
    ]);
    assert_eq!(words(&folded), ["sent", "refused", "refused", "ticked"]);
    assert_eq!(
        ledger(&folded),
        [
            (Outcome::Parked, 1),
            (Outcome::Command, 1),
            (Outcome::Outcome, 1),
            (Outcome::Tick, 1),
            (Outcome::Redrive, 1),
            (Outcome::Control, 1),
        ]
    );
}

#[test]
fn a_rules_record_is_in_force_from_its_position_on() {
    let text = "[[defaults.routes]]\nname = \"r\"\nreceivers = [\"x\"]\n";
    let hash = Rules::parse(text).unwrap().hash().to_owned();
    let rules = |n, text: &str, hash: &str| {
        let (hash, text) = (hash.to_owned(), text.to_owned());
        let document = RulesDocument { hash, text, operator: "o".into() };
        let record = record(n, second(1), None, Body::Control(Box::new(Control::Rules(document))));
        assert!(record.changes_rules());
        record
    };
    let folded = fold(vec![
        delivery(1, second(1), vec![alert("a")], None),
        rules(2, text, &hash),
        rules(3, "nonsense", "0"),
        rules(4, text, "another"),
        delivery(5, second(1), vec![alert("a")], None),
    ]);
    let builtin = Rules::builtin().hash();
    let hashes: Vec<_> =
        folded.events.iter().map(|e| if e.rules == builtin { 0 } else { 1 }).collect();
    assert_eq!(hashes, [0, 0, 0, 1, 1, 1, 1]);
    assert!(folded.events.iter().all(|e| e.rules == builtin || e.rules == hash));
    assert_eq!(words(&folded)[3], "rules_changed");
    assert_eq!(folded.rules, hash);
    assert_eq!(folded.parked.len(), 2);
    assert_eq!(folded.ledger[&Outcome::Control], 1);
}

#[test]
fn each_record_of_all_is_applied_by_the_lane_of_its_project_alone() {
    let lanes = NonZeroU16::new(4).unwrap();
    let home = Lane::of(&project(), lanes);
    for lane in Lane::all(lanes) {
        let mut tables = Tables::new(lane, lanes);
        let mut of_all = delivery(1, second(1), vec![alert("a")], None);
        of_all.of_all = true;
        tables.fold(vec![of_all]).unwrap();
        // In a lane's own subject, another lane's project is a fault.
        tables.fold(vec![delivery(2, second(1), vec![alert("a")], None)]).unwrap();
        let folded = tables.folded().unwrap();
        let expect = if lane == home {
            vec![(Outcome::Observed, 2)]
        } else {
            vec![(Outcome::Parked, 1), (Outcome::Elsewhere, 1)]
        };
        assert_eq!(ledger(&folded), expect);
    }
}

fn opened(events: &[Event]) -> impl Iterator<Item = &schemas::event::Opened> {
    events.iter().filter_map(|e| match &e.kind {
        Kind::Opened(o) => Some(o.as_ref()),
        _ => None,
    })
}

fn settled(events: &[Event]) -> impl Iterator<Item = &schemas::event::Settled> {
    events.iter().filter_map(|e| match &e.kind {
        Kind::Settled(s) => Some(s.as_ref()),
        _ => None,
    })
}
