//! How bad an episode is, and that it gets worse.

use schemas::{
    Level,
    alert::Risk,
    event::{Repeated, Rise},
};

use super::{
    story::{fold, of, says, tells},
    *,
};
use crate::observe::Problem;

use Level::{Error, Fatal, Info, Warning};

fn at_level(level: Option<Level>) -> Alert {
    let mut alert = of("a", Status::Firing);
    alert.facts.level = level;
    alert
}

/// Given an episode of these levels, the repeats that say it got worse: from, to, and the risk.
fn rises(levels: &[Option<Level>]) -> Vec<(Option<Level>, Option<Level>, Risk)> {
    let steps = (0..).zip(levels).map(|(n, level)| tells(n * 4_000, vec![at_level(*level)]));
    let folded = fold(steps.collect());
    let said = repeats(&folded).filter_map(|repeated| {
        let rise = repeated.rise.as_deref()?;
        assert_eq!(repeated.level, rise.facts.level);
        Some((rise.before, rise.facts.level, rise.risk))
    });
    said.collect()
}

fn repeats(folded: &Folded) -> impl Iterator<Item = &Repeated> {
    folded.events.iter().filter_map(|event| match &event.kind {
        Kind::Repeated(repeated) => Some(repeated),
        _ => None,
    })
}

#[test]
fn r41_a_repeat_says_how_bad_it_is_and_a_rise_above_all_before_what_it_is_now() {
    let some = |levels: &[Level]| -> Vec<_> { levels.iter().copied().map(Some).collect() };
    assert_eq!(rises(&some(&[Warning, Warning])), []);
    assert_eq!(
        rises(&some(&[Info, Warning, Fatal])),
        [(Some(Info), Some(Warning), Risk::Medium), (Some(Warning), Some(Fatal), Risk::Critical)]
    );
    // Down and up again is no rise; only what was never as bad is.
    assert_eq!(
        rises(&some(&[Warning, Error, Info, Error, Warning, Fatal, Fatal])),
        [(Some(Warning), Some(Error), Risk::High), (Some(Error), Some(Fatal), Risk::Critical)]
    );
    assert_eq!(rises(&some(&[Fatal, Warning, Fatal])), []);
    // What says no level is as bad as a warning, and makes nothing worse.
    assert_eq!(rises(&[None, Some(Warning), Some(Error)]), [(None, Some(Error), Risk::High)]);
    assert_eq!(
        rises(&[Some(Info), None, Some(Warning)]),
        [(Some(Info), Some(Warning), Risk::Medium)]
    );
}

#[test]
fn r41_each_episode_begins_anew_and_its_incident_keeps_the_worst() {
    let folded = fold(vec![
        tells(0, vec![at_level(Some(Warning))]),
        tells(60, vec![at_level(Some(Fatal))]),
        tells(120, vec![at_level(Some(Warning))]),
    ]);
    let problem = problem_of(&folded);
    assert_eq!((problem.worst, problem.risk), (Some(Fatal), Some(Risk::Critical)));
    let folded = fold(vec![
        tells(0, vec![at_level(Some(Fatal))]),
        says(60, "a", Status::Resolved),
        tells(4_000, vec![at_level(Some(Warning))]),
        tells(8_000, vec![at_level(Some(Error))]),
    ]);
    let said: Vec<_> = repeats(&folded).map(|r| r.rise.as_deref().map(|rise| rise.risk)).collect();
    assert_eq!(said, [Some(Risk::High)]);
    assert_eq!(problem_of(&folded).worst, Some(Error));
}

fn problem_of(folded: &Folded) -> &Problem {
    folded.problems.values().next().unwrap()
}

#[test]
fn r28_a_rise_says_the_risk_that_the_same_alert_is_raised_to() {
    // Four repeats, and the fifth occurrence is worse, and raised for being the fifth.
    let mut steps: Vec<_> = (0..4).map(|n| tells(n * 60, vec![at_level(Some(Info))])).collect();
    steps.push(tells(240, vec![at_level(Some(Warning))]));
    let folded = fold(steps);
    let rise = repeats(&folded).find_map(|r| r.rise.as_deref()).unwrap();
    let Rise { risk_before, risk, .. } = *rise;
    assert_eq!((risk_before, risk), (Risk::Low, Risk::High));
    let raised = folded.events.iter().find_map(|event| match &event.kind {
        Kind::Escalated(raised) => Some((raised.risk_before, raised.risk)),
        _ => None,
    });
    assert_eq!(raised, Some((Risk::Medium, Risk::High)));
    // What was raised is no lower for a rise to less.
    let mut steps: Vec<_> = (0..5).map(|n| tells(n * 60, vec![at_level(Some(Info))])).collect();
    steps.push(tells(300, vec![at_level(Some(Warning))]));
    let folded = fold(steps);
    let rise = repeats(&folded).find_map(|r| r.rise.as_deref()).unwrap();
    assert_eq!((rise.risk_before, rise.risk), (Risk::High, Risk::High));
}

#[test]
fn r4_another_report_of_one_occurrence_that_knows_it_worse_is_no_occurrence_but_a_rise() {
    let report = |level| {
        let mut alert = at_level(Some(level));
        alert.occurrence = Some("x".into());
        vec![alert]
    };
    let folded = fold(vec![
        tells(0, report(Warning)),
        tells(1, report(Fatal)),
        tells(2, report(Fatal)),
        tells(3, report(Error)),
    ]);
    let said: Vec<_> = repeats(&folded)
        .map(|r| (r.occurrences, r.frequency, r.rise.as_deref().and_then(|rise| rise.before)))
        .collect();
    assert_eq!(said, [(1, None, Some(Warning))]);
    invariant::episodes_are_in_order(&folded.events).unwrap();
    let told: Vec<_> = effects(&folded).into_iter().map(|(effect, _)| effect).collect();
    let same = Effect::SameOccurrence;
    assert_eq!(told, [Effect::Opened, same, same, same]);
}
