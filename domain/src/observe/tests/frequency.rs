//! How often a problem occurs, what that makes of its incident, and when it flaps.

use schemas::{alert::Risk, event::EscalationLevel};

use super::{
    story::{check, fires, fold, frequencies, of, other, says, sends, tells},
    *,
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

#[test]
fn r27_an_occurrence_counts_for_59_minutes_and_not_after_60() {
    for (after, expect) in [
        (59 * 60, "2/2/2 REPEAT"),
        (HOUR, "1/2/2 REPEAT"),
        (61 * 60, "1/2/2 REPEAT"),
        (DAY - 60, "1/2/2 REPEAT"),
        (DAY, "1/1/2 NONE"),
        (DAY + 60, "1/1/2 NONE"),
        (7 * DAY - 60, "1/1/2 NONE"),
        (7 * DAY, "1/1/1 NONE"),
        (7 * DAY + 60, "1/1/1 NONE"),
    ] {
        // Whenever in its minute it comes. The end lets the level begin anew.
        for phase in [0, 31, 59] {
            let folded = fold(vec![
                fires(phase, "a"),
                says(phase + 1, "a", Resolved),
                fires(phase + after, "a"),
            ]);
            assert_eq!(frequencies(&folded)[2], expect, "{after} s after {phase} s");
        }
    }
}

#[test]
fn r27_occurrences_count_and_reports_of_one_do_not() {
    let report = |occurrence: &str| vec![with(|a| a.occurrence = Some(occurrence.to_owned()))];
    let stale = with(|a| a.status_at = Some(second(-900)));
    let folded = fold(vec![
        sends(0, report("x"), 1),
        sends(1, report("x"), 2),
        // The sender sends the first again.
        sends(2, report("x"), 1),
        sends(3, report("y"), 3),
        says(4, "a", Resolved),
        // A late copy.
        tells(5, vec![stale]),
        sends(6, report("z"), 4),
    ]);
    assert_eq!(
        frequencies(&folded),
        ["1/1/1 NONE", "", "", "2/2/2 REPEAT", "", "", "3/3/3 REPEAT"]
    );
    let opened = opened(&folded.events).map(|o| o.frequency.unwrap().count_1h);
    assert_eq!(Vec::from_iter(opened), [1, 3]);
    let repeated = folded.events.iter().find_map(|e| match &e.kind {
        Kind::Repeated(r) => r.frequency,
        _ => None,
    });
    assert_eq!(repeated.unwrap().count_24h, 2);
}

#[test]
fn r27_r28_a_level_only_rises_within_an_episode_and_asks_for_triage_once() {
    // Five within an hour; one the day after, when the counts alone would say NONE.
    let mut steps: Vec<_> = (0..6).map(|n| fires(n * 60, "a")).collect();
    // Nothing expires meanwhile: no tick says so.
    steps.extend([fires(3 * DAY, "a"), says(3 * DAY + 60, "a", Resolved), fires(5 * DAY, "a")]);
    let folded = check(
        steps,
        &[
            "1 new",
            "2 repeats 1",
            "3 repeats 1",
            "4 repeats 1",
            "5 repeats 1",
            "5 raises 1 REPEAT-ESCALATE MEDIUM-HIGH",
            "6 repeats 1",
            "7 repeats 1",
            "8 resolves 1",
            "9 regression",
        ],
    );
    assert_eq!(
        frequencies(&folded),
        [
            "1/1/1 NONE",
            "2/2/2 REPEAT",
            "3/3/3 REPEAT",
            "4/4/4 REPEAT",
            "5/5/5 ESCALATE",
            "6/6/6 ESCALATE",
            "1/1/7 ESCALATE",
            "",
            "1/1/8 NONE",
        ]
    );
    let asked: Vec<_> = folded
        .triage
        .iter()
        .map(|ask| (ask.trigger.input.sequence, ask.job.opening.input.sequence, &*ask.job.reason))
        .collect();
    assert_eq!(asked, [(1, 1, "open"), (5, 1, "escalate"), (9, 9, "open")]);
    let risks: Vec<_> = opened(&folded.events).map(|o| (o.risk, o.raised_by.clone())).collect();
    assert_eq!(risks, [(Risk::Medium, None), (Risk::Medium, None)]);
}

#[test]
fn r28_the_third_refire_within_a_week_is_critical_from_the_start() {
    let run = |n: i64, apart: i64| [fires(n * apart, "a"), says(n * apart + 60, "a", Resolved)];
    let opened_at = |apart: i64| {
        let folded = fold((0..4).flat_map(|n| run(n, apart)).collect());
        let all = opened(&folded.events).map(|o| (o.frequency.unwrap().level, o.risk));
        let raised = opened(&folded.events).last().unwrap().raised_by.clone();
        (Vec::from_iter(all).pop().unwrap(), raised)
    };
    // The first refire is a week old when the third comes, or just not.
    let fix = (EscalationLevel::PermanentFix, Risk::Critical);
    let rule = Some(Rules::builtin().escalation(&project()).id.clone());
    assert_eq!(opened_at(3 * DAY), (fix, rule));
    assert_eq!(opened_at(3 * DAY + 12 * HOUR).0.0, EscalationLevel::None);
    // What the sender ignored and shows again was never resolved.
    let ignored = |n: i64| [fires(n * DAY, "a"), says(n * DAY + 60, "a", Suppressed)];
    let folded = fold((0..6).flat_map(ignored).collect());
    let levels = opened(&folded.events).map(|o| o.frequency.unwrap().level);
    assert!(levels.into_iter().all(|level| level < EscalationLevel::PermanentFix));
}

#[test]
fn r28_a_fatal_incident_stays_critical() {
    let fatal = || {
        let mut alert = of("a", Firing);
        alert.facts.level = Some(schemas::Level::Fatal);
        vec![alert]
    };
    let folded = fold((0..5).map(|n| tells(n, fatal())).collect());
    let raised = folded.events.iter().find_map(|e| match &e.kind {
        Kind::Escalated(e) => Some((e.risk_before, e.risk)),
        _ => None,
    });
    assert_eq!(raised, Some((Risk::Critical, Risk::Critical)));
}

#[test]
fn a_problem_flaps_from_the_sixth_change_within_an_hour_on() {
    let flapping = |apart: i64| {
        let steps = (0..8)
            .map(|n| says(n * apart, "a", if n % 2 == 0 { Firing } else { Resolved }))
            .collect();
        let folded = fold(steps);
        let of = |event: &Event| match &event.kind {
            Kind::Opened(o) => Some(o.flapping.is_some()),
            Kind::Resolved(r) => Some(r.flapping.is_some()),
            _ => None,
        };
        folded.events.iter().filter_map(of).position(|flaps| flaps)
    };
    assert_eq!(flapping(60), Some(5));
    assert_eq!(flapping(11 * 60), Some(5));
    assert_eq!(flapping(12 * 60), None, "the first has left the hour when the sixth comes");
    // Repeats change nothing.
    let folded = fold((0..20).map(|n| fires(n, "a")).collect());
    assert!(opened(&folded.events).all(|o| o.flapping.is_none()));
}

#[test]
fn i9_thresholds_are_the_rules_of_the_project() {
    let text = "[[defaults.routes]]\nname = \"r\"\nreceivers = [\"x\"]\n\
        [project.shop.escalation]\nid = \"strict\"\nrepeat_24h = 1\nescalate_1h = 2\n\
        escalate_24h = 9\npermanent_fix_episodes_7d = 9\n";
    let rules = text.to_owned();
    let document = move |n| {
        let hash = Rules::parse(&rules).unwrap().hash().to_owned();
        let document = RulesDocument { hash, text: rules.clone(), operator: "o".into() };
        record(n, second(0), None, Body::Control(Box::new(Control::Rules(document))))
    };
    let folded = check(
        vec![other(0, document), fires(1, "a"), fires(2, "a")],
        &["1 rules", "2 new", "3 repeats 2", "3 raises 2 REPEAT-ESCALATE MEDIUM-HIGH"],
    );
    let rule = folded.events.iter().find_map(|e| match &e.kind {
        Kind::Escalated(e) => Some(e.rule.clone()),
        _ => None,
    });
    assert_eq!(rule.as_deref(), Some("strict"));
}
