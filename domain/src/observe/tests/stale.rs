//! Given a firing that its sender dates before the problem's last status change, when it comes, then
//! it is a late copy for a while, and after that an outage nobody was told of.

use schemas::event::{Opened, Stale};

use super::*;
use crate::observe::{Problem, problem::Terms};
use crate::providers::Silence;

/// How long the built-in rule holds, in seconds.
const WINDOW: i64 = 600;

/// Given alerts of (seconds of receipt, status, seconds of the sender's time), then these effects.
#[track_caller]
fn told(alerts: &[(i64, Status, i64)], expect: &[(Effect, Option<u64>)]) -> Folded {
    let record = |(n, (received, status, at)): (u64, &(i64, Status, i64))| {
        let alert = with(|a| (a.facts.status, a.status_at) = (*status, Some(second(*at))));
        delivery(n, second(*received), vec![alert], None)
    };
    let folded = fold((1u64..).zip(alerts).map(record).collect());
    assert_eq!(effects(&folded), expect);
    invariant::episodes_are_in_order(&folded.events).unwrap();
    for problem in folded.problems.values() {
        invariant::problem_is_sound(problem).unwrap();
    }
    folded
}

/// What an Alertmanager says whose Prometheus was away: the alert resolves by timeout, and goes on
/// under its first start time.
const TIMED_OUT: [(i64, Status, i64); 2] = [(60, Firing, 50), (900, Resolved, 890)];

#[test]
fn a_receipt_dated_by_a_slow_clock_does_not_make_the_senders_time_a_wrong_one() {
    told(
        &[(1000, Firing, 990), (200, Resolved, 1100)],
        &[(Effect::Opened, Some(1)), (Effect::Resolved, Some(1))],
    );
}

#[test]
fn a_firing_that_keeps_coming_under_its_first_start_time_opens_again() {
    let again = 900 + WINDOW + 1;
    let folded = told(
        &[
            &TIMED_OUT[..],
            &[
                // At once, and once more five minutes later: copies, as far as anybody can tell.
                (930, Firing, 50),
                (1230, Firing, 50),
                (again, Firing, 50),
                (again + 60, Firing, 50),
                // A copy of the old end closes nothing, the new end does.
                (again + 61, Resolved, 890),
                (again + 300, Resolved, again + 290),
            ],
        ]
        .concat(),
        &[
            (Effect::Opened, Some(1)),
            (Effect::Resolved, Some(1)),
            (Effect::Stale, Some(1)),
            (Effect::Stale, Some(1)),
            (Effect::Opened, Some(5)),
            (Effect::Repeated, Some(5)),
            (Effect::Stale, Some(5)),
            (Effect::Resolved, Some(5)),
        ],
    );
    let opened: Vec<&Opened> = opened(&folded.events).collect();
    assert_eq!((opened[1].cause, opened[1].episode), (Cause::Regression, 2));
    assert_eq!(folded.triage.len(), 2);
}

#[test]
fn late_copies_within_the_window_open_nothing() {
    for after in [0, 1, 300, WINDOW] {
        let copy = (900 + after, Firing, 50);
        told(
            &[&TIMED_OUT[..], &[copy]].concat(),
            &[(Effect::Opened, Some(1)), (Effect::Resolved, Some(1)), (Effect::Stale, Some(1))],
        );
    }
    // The window is counted from the change, not from the last copy or the last resolve.
    told(
        &[&TIMED_OUT[..], &[(1400, Resolved, 890), (1490, Firing, 50), (1501, Firing, 50)]]
            .concat(),
        &[
            (Effect::Opened, Some(1)),
            (Effect::Resolved, Some(1)),
            (Effect::NothingToClose, Some(1)),
            (Effect::Stale, Some(1)),
            (Effect::Opened, Some(5)),
        ],
    );
}

#[test]
fn an_end_that_was_overtaken_closes_nothing_however_late_it_comes() {
    told(
        &[(60, Firing, 50), (90, Resolved, 80), (100, Firing, 95), (5000, Resolved, 80)],
        &[
            (Effect::Opened, Some(1)),
            (Effect::Resolved, Some(1)),
            (Effect::Opened, Some(3)),
            (Effect::Stale, Some(3)),
        ],
    );
}

#[test]
fn i9_decisions_name_the_rule() {
    let later = (900 + WINDOW + 1, Firing, 50);
    let folded = told(
        &[&TIMED_OUT[..], &[(930, Firing, 50), later]].concat(),
        &[
            (Effect::Opened, Some(1)),
            (Effect::Resolved, Some(1)),
            (Effect::Stale, Some(1)),
            (Effect::Opened, Some(4)),
        ],
    );
    let rule = Rules::builtin().stale(&project()).id.clone();
    assert_eq!(Rules::builtin().stale(&project()).seconds(), WINDOW);
    let stale: Vec<&Stale> = folded
        .events
        .iter()
        .filter_map(|e| match &e.kind {
            Kind::Stale(stale) => Some(stale),
            _ => None,
        })
        .collect();
    assert_eq!(stale[0].rule.as_deref(), Some(rule.as_str()));
    let rules: Vec<_> = opened(&folded.events).map(|o| o.rule.clone()).collect();
    assert_eq!(rules, [None, Some(rule)]);
}

/// A problem's row without the lane time of its last change.
#[derive(minicbor::Encode)]
#[cbor(map)]
struct Fold1 {
    #[n(0)]
    fold: u32,
    #[n(1)]
    status: Status,
    #[n(2)]
    last_change: schemas::Time,
    #[n(3)]
    episodes: u32,
    #[n(4)]
    opening: Option<Position>,
    #[n(5)]
    incident: Option<IncidentId>,
    #[n(6)]
    occurrences: u64,
    #[n(7)]
    total: u64,
    #[n(8)]
    recent: Vec<u64>,
    #[n(9)]
    announced: bool,
}

#[test]
fn a_row_of_an_earlier_fold_begins_its_window_at_the_first_copy() {
    let row = schemas::codec::encode(&Fold1 {
        fold: 1,
        status: Resolved,
        last_change: second(890),
        episodes: 1,
        opening: Some(at(1).alert(0)),
        incident: Some(incident_id(&project(), at(1).alert(0))),
        occurrences: 1,
        total: 1,
        recent: Vec::new(),
        announced: false,
    });
    let mut problem = Some(Problem::decode(&row).unwrap());
    let mut say = |lane_time| {
        let sighting = crate::observe::Sighting {
            at: at(2).alert(0),
            incident: incident_id(&project(), at(2).alert(0)),
            status: Firing,
            changed_at: second(50),
            occurrence: None,
            lane_time: second(lane_time),
            level: None,
            silence: Silence::Nothing,
            terms: Terms::of(Rules::builtin(), &project()),
        };
        Problem::apply(&mut problem, &sighting).change.effect()
    };
    assert_eq!(say(10_000), Effect::Stale);
    assert_eq!(say(10_000 + WINDOW), Effect::Stale);
    assert_eq!(say(10_001 + WINDOW), Effect::Opened);
}
