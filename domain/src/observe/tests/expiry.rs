//! R70: what its sender would repeat and does not is over.

use schemas::event::Expired;

use super::{
    story::{
        Step, check, fires, fold, of, other, problem, records, says, sends, story, tells, tick,
    },
    *,
};
use crate::{
    observe::{DUE_PER_TICK, Problem},
    providers::Silence,
};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

fn expired(folded: &Folded) -> Vec<&Expired> {
    let of = |event| match event {
        &Event { kind: Kind::Expired(ref e), .. } => Some(&**e),
        _ => None,
    };
    folded.events.iter().filter_map(of).collect()
}

/// Given firings of a problem at these minutes, then it is over so many minutes after the last: not
/// at a tick a second before.
#[track_caller]
fn over_after(firings: &[i64], minutes: i64) {
    let last = *firings.last().unwrap();
    let log = |second: i64| {
        let mut steps: Vec<_> = firings.iter().map(|at| fires(at * MINUTE, "a")).collect();
        steps.push(tick((last + minutes) * MINUTE + second));
        fold(steps)
    };
    assert_eq!(expired(&log(-1)).len(), 0, "{firings:?}");
    let folded = log(0);
    let [over] = expired(&folded)[..] else { panic!("{:?}", story(&folded)) };
    assert_eq!(over.last_seen, second(last * MINUTE));
    assert_eq!(over.after_seconds, minutes * MINUTE);
    assert_eq!(over.occurrences, firings.len() as u64);
    assert_eq!(over.rule, Rules::builtin().expiry(&project()).id);
    assert!(problem(&folded).expired);
}

#[test]
fn r70_a_problem_is_over_two_hours_after_its_only_report() {
    over_after(&[0], 120);
}

#[test]
fn r70_a_problem_is_over_after_twice_the_time_between_its_repeats() {
    over_after(&[0, 60], 120);
    over_after(&[0, 60, 120, 180], 120);
    over_after(&[0, 30, 60], 60);
    over_after(&[0, 90], 180);
    // As it repeats now, not as it did.
    over_after(&[0, 90, 120, 150], 60);
    over_after(&[0, 10, 20], 30);
}

#[test]
fn r70_copies_by_peers_and_retries_are_no_repeats() {
    let copies = [0, 15, 4 * MINUTE].map(|at| fires(at, "a"));
    let last = 4 * MINUTE;
    let folded = fold(copies.into_iter().chain([tick(last + 2 * HOUR - 1)]).collect());
    assert!(expired(&folded).is_empty());
}

#[test]
fn r70_a_group_that_changes_is_no_repeat_of_what_fires_on() {
    let group = |minute: i64, others: &[&str]| {
        let names = [&["a"], others].concat();
        tells(minute * MINUTE, names.iter().map(|name| of(name, Firing)).collect())
    };
    // Every ten minutes another alert joins; then nothing changes for an hour.
    let joining = || {
        vec![group(0, &[]), group(10, &["b"]), group(20, &["b", "c"]), group(30, &["b", "c", "d"])]
    };
    let quiet = |minute| fold(joining().into_iter().chain([tick(minute * MINUTE)]).collect());
    assert!(expired(&quiet(30 + 119)).is_empty());
    assert_eq!(expired(&quiet(30 + 120)).len(), 4);
    // The repeat of the whole group is one of each.
    let mut steps = joining();
    steps.extend([group(90, &["b", "c", "d"]), tick(209 * MINUTE), tick(210 * MINUTE)]);
    let folded = fold(steps);
    let at: Vec<_> = expired(&folded).iter().map(|e| e.after_seconds).collect();
    assert_eq!(at, [2 * HOUR; 4]);
}

#[test]
fn r70_nothing_is_sent_and_a_later_firing_is_a_regression() {
    let folded = check(
        vec![fires(0, "a"), tick(2 * HOUR), says(3 * HOUR, "a", Resolved), fires(4 * HOUR, "a")],
        &["1 new", "2 expires 1", "4 regression"],
    );
    assert_eq!(
        effects(&folded)[1],
        (Effect::NothingToClose, Some(1)),
        "an end that comes late finds nothing to end"
    );
    assert_eq!(folded.triage.len(), 2);
}

#[test]
fn r70_what_fires_on_under_its_first_start_time_opens_again_and_tells_how_it_repeats() {
    // An Alertmanager whose interval is four hours.
    let firing = |hour: i64| {
        let alert = with(|a| a.status_at = Some(second(0)));
        tells(hour * HOUR, vec![alert])
    };
    let folded = check(
        vec![
            firing(0),
            tick(2 * HOUR),
            firing(4),
            tick(6 * HOUR),
            firing(8),
            tick(16 * HOUR - 1),
            tick(16 * HOUR),
            // Its end, as the sender dates it.
            tells(
                17 * HOUR,
                vec![with(|a| {
                    (a.facts.status, a.status_at) = (Resolved, Some(second(9 * HOUR)));
                })],
            ),
        ],
        &["1 new", "2 expires 1", "3 regression", "5 repeats 3", "7 expires 3"],
    );
    let after: Vec<_> = expired(&folded).iter().map(|e| e.after_seconds / HOUR).collect();
    assert_eq!(after, [2, 8]);
}

#[test]
fn r70_silence_says_nothing_of_a_sender_that_tells_ends_and_repeats_nothing() {
    for (provider, over) in
        [("sentry", false), ("datadog", false), ("signoz", true), ("custom", true)]
    {
        let mut alert = of("a", Firing);
        alert.facts.provider = provider.into();
        let folded = fold(vec![tells(0, vec![alert]), tick(30 * 24 * HOUR)]);
        assert_eq!(expired(&folded).len(), usize::from(over), "{provider}");
        assert!(problem(&folded).due.is_none(), "{provider}");
    }
    // A message a happening: that it comes every ten minutes is no promise.
    let steps = (0..3).map(|n| {
        let mut alert = of("a", Firing);
        alert.facts.provider = "custom".into();
        tells(n * 10 * MINUTE, vec![alert])
    });
    let folded = fold(steps.chain([tick(20 * MINUTE + 2 * HOUR - 1)]).collect());
    assert!(expired(&folded).is_empty());
}

#[test]
fn r70_grafana_repeats_what_fires_in_unified_alerting_alone() {
    let silence = |raw: &[u8]| {
        let delivery = schemas::record::Delivery {
            provider: "grafana".into(),
            source: schemas::SourceId::new("main").unwrap(),
            route: "/".into(),
            headers: Vec::new(),
            remote: None,
            auth: schemas::record::Auth { method: "basic".into(), credential: None },
            raw: raw.to_vec(),
            sha256: [0; 32],
            content_type: None,
            channel: None,
            recorded: None,
        };
        let body = Body::Delivery(Box::new(delivery));
        let prepared = record(1, second(0), Some(project()), body);
        prepared.told().unwrap().0[0].silence
    };
    macro_rules! sample {
        ($name:literal) => {
            include_bytes!(concat!("../../../../schemas/fixtures/providers/grafana/", $name))
        };
    }
    assert_eq!(silence(sample!("unified-firing.json")), Silence::MissedRepeat);
    assert_eq!(silence(sample!("legacy-alerting.json")), Silence::Nothing);
}

#[test]
fn r70_every_report_puts_it_off_and_a_redelivery_does_not() {
    let report = || vec![with(|a| a.occurrence = Some("x".into()))];
    let again = |second_report: Step| {
        let steps = vec![sends(0, report(), 1), second_report, tick(2 * HOUR)];
        expired(&fold(steps)).len()
    };
    assert_eq!(again(sends(HOUR, report(), 2)), 0, "reported another way");
    assert_eq!(again(sends(HOUR, report(), 1)), 1, "sent again");
}

#[test]
fn r70_a_timer_moves_when_it_goes_off_and_not_with_reports() {
    let mut steps: Vec<_> = (0..100).map(|n| fires(n * MINUTE, "a")).collect();
    assert_eq!(problem(&fold(steps)).due, Some(second(2 * HOUR)));
    steps = (0..100).map(|n| fires(n * MINUTE, "a")).collect();
    steps.push(tick(2 * HOUR));
    assert_eq!(problem(&fold(steps)).due, Some(second(99 * MINUTE + 2 * HOUR)));
    // A repeat that is observed may bring it forward; an end leaves it, to be dropped in its turn.
    let observed = || vec![fires(0, "a"), fires(30 * MINUTE, "a")];
    assert_eq!(problem(&fold(observed())).due, Some(second(90 * MINUTE)));
    let mut ended = observed();
    ended.push(says(31 * MINUTE, "a", Resolved));
    assert_eq!(problem(&fold(ended)).due, Some(second(90 * MINUTE)));
    let mut ended = observed();
    ended.extend([says(31 * MINUTE, "a", Resolved), tick(90 * MINUTE)]);
    let folded = fold(ended);
    assert_eq!((problem(&folded).due, expired(&folded).len()), (None, 0));
}

#[test]
fn r70_a_tick_ends_the_first_thousand_in_order_and_the_next_the_rest() {
    let many = DUE_PER_TICK as i64 + 300;
    let names: Vec<String> = (0..many).map(|n| format!("p{n}")).collect();
    // Two seconds, so that due decides before the fingerprint does.
    let half = |range: std::ops::Range<usize>, at| {
        tells(at, names[range].iter().map(|name| of(name, Firing)).collect())
    };
    let folded = fold(vec![
        half(0..600, 0),
        half(600..names.len(), 1),
        tick(3 * HOUR),
        tick(3 * HOUR + 5),
        tick(3 * HOUR + 10),
    ]);
    let over: Vec<_> = folded
        .events
        .iter()
        .filter_map(|e| match &e.kind {
            Kind::Expired(x) => Some((e.at.input.sequence, (x.last_seen, x.fingerprint), e.id)),
            _ => None,
        })
        .collect();
    let at = |tick| over.iter().filter(move |(at, ..)| *at == tick).count();
    assert_eq!((at(3), at(4), at(5)), (DUE_PER_TICK, 300, 0));
    assert!(over.windows(2).all(|pair| pair[0].1 < pair[1].1), "in order of due and fingerprint");
    let ids: std::collections::BTreeSet<_> = folded.events.iter().map(|e| e.id).collect();
    assert_eq!(ids.len(), folded.events.len(), "each event has an id of its own");
}

#[test]
fn r70_within_a_batch_ticks_see_what_the_batch_changed() {
    // Opened, closed, opened again, due and seen again, all in one batch, over hours of lane time.
    let log = || {
        vec![
            fires(0, "a"),
            fires(0, "b"),
            tick(HOUR),
            fires(HOUR, "b"),
            says(HOUR, "c", Firing),
            tick(2 * HOUR),
            says(2 * HOUR, "b", Resolved),
            fires(2 * HOUR + 1, "a"),
            tick(3 * HOUR),
            tick(9 * HOUR),
            fires(9 * HOUR, "c"),
            tick(9 * HOUR + 5),
        ]
    };
    let oracle = check(
        log(),
        &[
            "1 new",
            "2 new",
            "4 repeats 2",
            "5 new",
            "6 expires 1",
            "7 resolves 2",
            "8 regression",
            "9 expires 5",
            "10 expires 8",
            "11 regression",
        ],
    );
    for cut in 1..12 {
        let mut tables = Tables::new(LANE, ONE);
        let mut records = records(log());
        let rest = records.split_off(cut);
        tables.fold(records).unwrap();
        tables.fold(rest).unwrap();
        assert_eq!(tables.folded().unwrap(), oracle, "cut behind {cut}");
    }
}

#[test]
fn i9_the_window_is_that_of_the_rules_in_force_at_the_tick() {
    let text = "[[defaults.routes]]\nname = \"r\"\nreceivers = [\"x\"]\n\
        [defaults.expiry]\nid = \"short\"\nfactor_percent = 100\ndefault_minutes = 30\n\
        minimum_minutes = 5\nmaximum_minutes = 60\n";
    let document = |n| {
        let hash = Rules::parse(text).unwrap().hash().to_owned();
        let document = RulesDocument { hash, text: text.to_owned(), operator: "o".into() };
        record(n, second(60), None, Body::Control(Box::new(Control::Rules(document))))
    };
    let folded = check(
        vec![fires(0, "a"), other(60, document), tick(2 * HOUR - 1), tick(2 * HOUR)],
        &["1 new", "2 rules", "4 expires 1"],
    );
    let [over] = expired(&folded)[..] else { panic!() };
    assert_eq!((over.rule.as_str(), over.after_seconds), ("short", 30 * MINUTE));
}

#[test]
fn a_problem_of_an_earlier_fold_has_a_timer_from_its_next_report_on() {
    let fresh = fold(vec![fires(0, "a")]);
    let mut old = problem(&fresh).clone();
    (old.fold, old.last_seen, old.due, old.lately) = (2, None, None, Default::default());
    let mut problem = Problem::decode(&old.encode()).unwrap();
    let rule = Rules::builtin().expiry(&project());
    assert_eq!(problem.come_due(second(90 * 24 * HOUR), rule), None);
    assert!(problem.is_open());
}
