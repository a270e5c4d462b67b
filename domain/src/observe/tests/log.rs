//! I4: state at a position is the sequential fold, wherever batches end and whoever takes over.

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{RngSeed, TestRunner},
};
use schemas::{Record, RecordId, SourceId, record::Auth};

use super::{
    story::{Step, of, other, records, sends, tells, tick},
    *,
};
use crate::observe::prepare::Kind as PreparedKind;

/// One record of a random log.
#[derive(Clone, Debug)]
enum Entry {
    Alerts { alerts: Vec<(u8, Status, Option<i64>, Option<u8>)>, key: Option<u8> },
    Tick,
    Command { verb: usize, opening: u64, alert: u32 },
    Answer { opening: u64, reason: usize, diagnosed: bool },
    Rules(bool),
    Rejected,
    Parked,
    Redrive { original: u64, problem: u8 },
    Number,
    Sent,
    Broken,
}

const VERBS: [&str; 10] = [
    "ack",
    "unack",
    "resolve",
    "reopen",
    "confirm",
    "reject",
    "request_triage",
    "handoff",
    "note",
    "dance",
];
const REASONS: [&str; 4] = ["open", "escalate", "reject 1", "request 1"];
const PROVIDERS: [&str; 3] = ["alertmanager", "sentry", "custom"];

fn entries() -> impl Strategy<Value = Vec<(i64, Entry)>> {
    let status = prop_oneof![4 => Just(Firing), 2 => Just(Resolved), 1 => Just(Suppressed)];
    let moment = prop::option::weighted(0.3, 0i64..40_000);
    let alert = (0u8..6, status, moment, prop::option::weighted(0.3, 0u8..9));
    let alerts = (prop::collection::vec(alert, 1..4), prop::option::weighted(0.3, 0u8..9))
        .prop_map(|(alerts, key)| Entry::Alerts { alerts, key });
    // Mostly what the first record opens: about most others there is nothing to say.
    let opening = prop_oneof![4 => Just(1u64), 1 => 1u64..30];
    let command = (0..VERBS.len(), opening.clone(), 0u32..2)
        .prop_map(|(verb, opening, alert)| Entry::Command { verb, opening, alert });
    let answer = (opening.clone(), 0..REASONS.len(), any::<bool>())
        .prop_map(|(opening, reason, diagnosed)| Entry::Answer { opening, reason, diagnosed });
    let redrive =
        (opening, 0u8..6).prop_map(|(original, problem)| Entry::Redrive { original, problem });
    let entry = prop_oneof![
        10 => alerts,
        6 => Just(Entry::Tick),
        9 => command,
        2 => answer,
        1 => any::<bool>().prop_map(Entry::Rules),
        2 => Just(Entry::Rejected),
        1 => Just(Entry::Parked),
        2 => redrive,
        1 => Just(Entry::Number),
        1 => Just(Entry::Sent),
        1 => Just(Entry::Broken),
    ];
    // Minutes mostly, hours at times: problems come due.
    let gap = prop_oneof![6 => 0i64..300, 3 => 300i64..4_000, 1 => 4_000i64..30_000];
    let first =
        Entry::Alerts { alerts: vec![(0, Firing, None, None), (2, Firing, None, None)], key: None };
    prop::collection::vec((gap, entry), 1..80).prop_map(move |mut log| {
        log.insert(0, (0, first.clone()));
        log
    })
}

fn alert_of(
    &(problem, status, moment, occurrence): &(u8, Status, Option<i64>, Option<u8>),
) -> Alert {
    let mut alert = of(&problem.to_string(), status);
    alert.facts.provider = PROVIDERS[usize::from(problem) % 3].into();
    alert.status_at = moment.map(second);
    alert.occurrence = occurrence.map(|o| o.to_string());
    if alert.facts.provider == "sentry" {
        let environments = ["production", "staging", "testing"];
        alert.facts.environment = occurrence.map(|o| environments[usize::from(o) % 3].to_owned());
    }
    alert
}

fn steps(log: &[(i64, Entry)]) -> Vec<Step> {
    let mut now = 0;
    let step = |(gap, entry): &(i64, Entry)| {
        now += gap;
        step(now, entry.clone())
    };
    log.iter().map(step).collect()
}

fn step(now: i64, entry: Entry) -> Step {
    let shop = move |n, body| record(n, second(now), Some(project()), body);
    match entry {
        Entry::Alerts { alerts, key } => {
            let alerts = alerts.iter().map(alert_of).collect();
            match key {
                Some(key) => sends(now, alerts, key.into()),
                None => tells(now, alerts),
            }
        }
        Entry::Tick => tick(now),
        Entry::Command { verb, opening, alert } => other(now, move |n| {
            let command = Command {
                operator: "ada".into(),
                auth_method: "api_key".into(),
                verb: VERBS[verb].into(),
                opening: Some(at(opening).alert(alert)),
                arguments: format!("{{\"n\":{}}}", n % 3),
            };
            shop(n, Body::Command(Box::new(command)))
        }),
        Entry::Answer { opening, reason, diagnosed } => other(now, move |n| {
            let (opening, reason) = (at(opening).alert(0), REASONS[reason].to_owned());
            let analysis = diagnosed.then(|| schemas::job::Analysis {
                root_cause: "r".into(),
                impact: "i".into(),
                fix_suggestion: "f".into(),
                prevention: "p".into(),
                confidence: 0.5,
                analyzed_by: "a".into(),
                model: None,
                ..schemas::job::Analysis::default()
            });
            let answer = Answer {
                job: schemas::JobId::triage(opening, &reason),
                incident: IncidentId(uuid::Uuid::nil()),
                opening,
                reason,
                prompt: "p".into(),
                input: "{}".into(),
                result: AnswerResult {
                    analysis,
                    attempts: Vec::new(),
                    latency_ms: n,
                    ..AnswerResult::default()
                },
            };
            shop(n, Body::Answer(Box::new(answer)))
        }),
        Entry::Rules(strict) => other(now, move |n| {
            let least = if strict { 2 } else { 5 };
            let text = format!(
                "[[defaults.routes]]\nname = \"r\"\nreceivers = [\"x\"]\n[defaults.escalation]\n\
                 id = \"e\"\nrepeat_24h = 1\nescalate_1h = {least}\nescalate_24h = 9\n\
                 permanent_fix_episodes_7d = {least}\n"
            );
            let hash = Rules::parse(&text).unwrap().hash().to_owned();
            let document = RulesDocument { hash, text, operator: "o".into() };
            record(n, second(now), None, Body::Control(Box::new(Control::Rules(document))))
        }),
        Entry::Rejected => {
            other(now, move |n| told(n, second(now), Told::Rejected { reason: "not_json".into() }))
        }
        Entry::Parked => other(now, move |n| {
            told(n, second(now), Told::Unknown { reason: "unknown_provider".into() })
        }),
        Entry::Redrive { original, problem } => other(now, move |n| {
            let redrive = Redrive {
                original: at(original).whole(),
                operator: "ada".into(),
                record: Some(original_of(problem)),
            };
            shop(n, Body::Redrive(redrive))
        }),
        Entry::Number => other(now, move |n| {
            let number = IncidentNumber {
                incident: IncidentId(uuid::Uuid::nil()),
                opening: at(1).whole(),
                day: "20260101".into(),
                number: 1,
            };
            shop(n, Body::Control(Box::new(Control::IncidentNumber(number))))
        }),
        Entry::Sent => other(now, move |n| {
            let sent = SendOutcome {
                job: schemas::JobId(uuid::Uuid::nil()),
                incident: None,
                target: "log".into(),
                channel: "log".into(),
                kind: SendKind::Fire.word().into(),
                subject: "s".into(),
                trigger: at(1).whole(),
                attempts: 1,
                result: SendResult::AlreadyTold,
            };
            shop(n, Body::Outcome(Box::new(sent)))
        }),
        Entry::Broken => other(now, move |n| {
            let mut broken = record(n, second(now), None, Body::Tick(Tick { now: second(now) }));
            broken.content = Content::Unreadable { reason: "bytes".into() };
            broken
        }),
    }
}

/// A record that can be applied: what a redrive carries.
fn original_of(problem: u8) -> Vec<u8> {
    let raw = format!(
        r#"{{"version":"4","groupKey":"{{}}","status":"firing","receiver":"r","alerts":[{{
        "status":"firing","labels":{{"alertname":"Down"}},"annotations":{{}},
        "startsAt":"2026-01-01T00:00:00Z","fingerprint":"{problem:016x}"}}]}}"#
    );
    let delivery = schemas::record::Delivery {
        provider: "alertmanager".into(),
        source: SourceId::new("main").unwrap(),
        route: "/webhook".into(),
        headers: Vec::new(),
        remote: None,
        auth: Auth { method: "basic".into(), credential: None },
        raw: raw.into(),
        sha256: [4; 32],
        content_type: None,
        channel: None,
        recorded: None,
    };
    let id = RecordId(uuid::Uuid::from_u128(9));
    let body = Body::Delivery(Box::new(delivery));
    let mut bytes = Vec::new();
    Record::new(id, second(1), Some(project()), body).encode_into(&mut bytes);
    bytes
}

/// How one batch is folded: how many records at most, and by an owner that has just taken over.
type Cut = (usize, bool);

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    prop::collection::vec((1usize..12, any::<bool>()), 80)
}

/// Cuts a log into batches. One ends where a batch has to.
fn batches(log: &[(i64, Entry)], cuts: &[Cut]) -> Vec<(Vec<Prepared>, bool)> {
    let mut rest = records(steps(log)).into_iter().peekable();
    let mut batches = Vec::new();
    for (size, taken_over) in cuts.iter().copied().cycle() {
        if rest.peek().is_none() {
            break;
        }
        let mut batch: Vec<Prepared> = Vec::new();
        while batch.len() < size && !batch.last().is_some_and(Prepared::ends_batch) {
            match rest.next() {
                Some(record) => batch.push(record),
                None => break,
            }
        }
        batches.push((batch, taken_over));
    }
    batches
}

fn one_by_one(log: &[(i64, Entry)]) -> Folded {
    super::story::fold(steps(log))
}

/// As the lane loop does it: an owner keeps its rows until another takes over.
fn in_batches(log: &[(i64, Entry)], cuts: &[Cut]) -> Folded {
    let mut tables = Tables::new(LANE, ONE);
    let mut state = tables.load().unwrap();
    for (batch, taken_over) in batches(log, cuts) {
        if taken_over {
            state = tables.load().unwrap();
        }
        tables.apply(&mut state, batch).unwrap();
    }
    tables.folded().unwrap()
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 300,
        rng_seed: RngSeed::Fixed(20_260_101),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn i4_any_log_in_any_batches_is_its_sequential_fold(log in entries(), cuts in cuts()) {
        let oracle = one_by_one(&log);
        invariant::ledger_balances(log.len() as u64, &oracle.ledger)
            .map_err(TestCaseError::fail)?;
        let ids: std::collections::BTreeSet<_> = oracle.events.iter().map(|e| e.id).collect();
        prop_assert_eq!(ids.len(), oracle.events.len());
        prop_assert_eq!(in_batches(&log, &cuts), oracle);
    }
}

/// Folds random logs both ways; how often the wrong way differs, of so many.
fn caught(wrong: impl Fn(&[(i64, Entry)], &[Cut]) -> Folded) -> (usize, usize) {
    const LOGS: usize = 60;
    let mut runner = TestRunner::new(config());
    let mut differ = 0;
    for _ in 0..LOGS {
        let log = entries().new_tree(&mut runner).unwrap().current();
        let cuts = cuts().new_tree(&mut runner).unwrap().current();
        differ += usize::from(wrong(&log, &cuts) != one_by_one(&log));
    }
    (differ, LOGS)
}

#[test]
fn an_owner_that_goes_on_with_its_rows_after_another_was_there_is_caught() {
    let (differ, logs) = caught(|log, cuts| {
        let mut tables = Tables::new(LANE, ONE);
        let mut owners = [tables.load().unwrap(), tables.load().unwrap()];
        for (batch, first) in batches(log, cuts) {
            tables.apply(&mut owners[usize::from(first)], batch).unwrap();
        }
        tables.folded().unwrap()
    });
    assert!(differ * 2 > logs, "{differ} of {logs}");
}

#[test]
fn a_batch_that_is_applied_again_is_caught() {
    let (differ, logs) = caught(|log, cuts| {
        let mut tables = Tables::new(LANE, ONE);
        let again = batches(log, cuts).pop().unwrap().0;
        for (batch, _) in batches(log, cuts) {
            tables.fold(batch).unwrap();
        }
        tables.fold(again).unwrap();
        tables.folded().unwrap()
    });
    assert_eq!(differ, logs);
}

fn is_tick(prepared: &Prepared) -> bool {
    match &prepared.content {
        Content::Record(record) => matches!(record.kind, PreparedKind::Tick { .. }),
        Content::Unreadable { .. } => false,
    }
}

#[test]
fn a_tick_that_looks_at_what_was_due_before_its_batch_is_caught() {
    // What comes due within a batch is seen only by the next one.
    let (differ, logs) = caught(|log, cuts| {
        let mut tables = Tables::new(LANE, ONE);
        for (batch, _) in batches(log, cuts) {
            let (ticks, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_tick);
            tables.fold(ticks).unwrap();
            tables.fold(rest).unwrap();
        }
        tables.folded().unwrap()
    });
    assert!(differ * 2 > logs, "{differ} of {logs}");
}

#[test]
fn random_logs_hold_everything_a_fold_decides() {
    let mut runner = TestRunner::new(config());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let folded = one_by_one(&entries().new_tree(&mut runner).unwrap().current());
        seen.extend(folded.events.iter().map(|event| match &event.kind {
            Kind::Applied(applied) if applied.changed => applied.verb.clone(),
            Kind::Refused(refused) => refused.reason.clone(),
            Kind::Settled(settled) if settled.original.is_some() => "redriven".to_owned(),
            kind => kind.word().to_owned(),
        }));
    }
    let decided = [
        "opened",
        "repeated",
        "resolved",
        "suppressed",
        "stale",
        "answered",
        "ticked",
        "escalated",
        "expired",
        "rules_changed",
        "redriven",
        "unknown_incident",
        "unknown_verb",
        "not_open",
        "superseded",
        "no_diagnosis",
        "original_not_given_up",
    ];
    let verbs = VERBS.iter().filter(|verb| **verb != "dance");
    for what in decided.iter().chain(verbs) {
        assert!(seen.contains(*what), "no {what} in {seen:?}");
    }
}
