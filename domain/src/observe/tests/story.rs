//! Logs and what they fold to, in few words.

use schemas::{
    Alert, Status,
    event::{Frequency, Kind},
    record::{Body, Tick},
};

use super::{LANE, ONE, Prepared, Status::Firing, Tables};
use crate::{
    invariant,
    observe::{
        Problem, SeenKey,
        samples::{alert, delivery, record, second},
    },
    replay::Folded,
};

/// One record, and the second it comes at.
pub struct Step(i64, What);

enum What {
    Delivery(Vec<Alert>, Option<SeenKey>),
    Tick,
    Other(Box<dyn Fn(u64) -> Prepared>),
}

/// A delivery of one alert that fires.
pub fn fires(at: i64, problem: &str) -> Step {
    says(at, problem, Firing)
}

/// A delivery of one alert of this status.
pub fn says(at: i64, problem: &str, status: Status) -> Step {
    tells(at, vec![of(problem, status)])
}

/// A delivery of these alerts.
pub fn tells(at: i64, alerts: Vec<Alert>) -> Step {
    Step(at, What::Delivery(alerts, None))
}

/// A delivery of these alerts, under its sender's id.
pub fn sends(at: i64, alerts: Vec<Alert>, key: u128) -> Step {
    let key = SeenKey { key: uuid::Uuid::from_u128(key), seconds: 72 * 3600 };
    Step(at, What::Delivery(alerts, Some(key)))
}

pub fn tick(at: i64) -> Step {
    Step(at, What::Tick)
}

/// A record made of its number.
pub fn other(at: i64, made: impl Fn(u64) -> Prepared + 'static) -> Step {
    Step(at, What::Other(Box::new(made)))
}

/// An alert of this status.
pub fn of(problem: &str, status: Status) -> Alert {
    let mut alert = alert(problem);
    alert.facts.status = status;
    alert
}

/// The records, numbered from 1.
pub fn records(steps: Vec<Step>) -> Vec<Prepared> {
    let record = |(n, Step(at, what)): (u64, Step)| match what {
        What::Delivery(alerts, key) => delivery(n, second(at), alerts, key),
        What::Tick => record(n, second(at), None, Body::Tick(Tick { now: second(at) })),
        What::Other(made) => made(n),
    };
    (1u64..).zip(steps).map(record).collect()
}

/// Folds them one by one.
pub fn fold(steps: Vec<Step>) -> Folded {
    let mut tables = Tables::new(LANE, ONE);
    for record in records(steps) {
        tables.fold(vec![record]).unwrap();
    }
    let folded = tables.folded().unwrap();
    invariant::episodes_are_in_order(&folded.events).unwrap();
    folded.problems.values().for_each(|problem| invariant::problem_is_sound(problem).unwrap());
    folded
}

/// Given these records, then the decisions are these; see [`story`].
#[track_caller]
pub fn check(steps: Vec<Step>, expect: &[&str]) -> Folded {
    let folded = fold(steps);
    assert_eq!(story(&folded), expect);
    folded
}

/// Each decision but ticks: `<record> <what> <record that opened it>`.
pub fn story(folded: &Folded) -> Vec<String> {
    let tell = |event: &schemas::Event| {
        let at = event.at.input.sequence;
        let of = |opening: schemas::Position| opening.input.sequence;
        Some(match &event.kind {
            Kind::Opened(o) => format!("{at} {}", o.cause.word()),
            Kind::Repeated(r) => format!("{at} repeats {}", of(r.opening)),
            Kind::Resolved(r) => format!("{at} resolves {}", of(r.opening)),
            Kind::Suppressed(r) => format!("{at} suppresses {}", of(r.opening)),
            Kind::Expired(e) => format!("{at} expires {}", of(e.opening)),
            Kind::Escalated(e) => format!(
                "{at} raises {} {}-{} {}-{}",
                of(e.opening),
                e.before.word(),
                e.frequency.level.word(),
                e.risk_before,
                e.risk
            ),
            Kind::Applied(a) => {
                let same = if a.changed { "" } else { "=" };
                format!("{at} {} {same}{}-{}", a.verb, a.before.word(), a.after.word())
            }
            Kind::Refused(r) => format!("{at} {} ! {}", r.verb, r.reason),
            Kind::Stale(_) => format!("{at} stale"),
            Kind::Answered(a) => format!("{at} answers {}", a.reason),
            Kind::RulesChanged(_) => format!("{at} rules"),
            Kind::SilenceChanged(change) => format!("{at} silence {}", change.id),
            Kind::Asked(asked) => format!("{at} asks {}", asked.verb),
            Kind::Tested(_) => format!("{at} tests"),
            Kind::Ticked
            | Kind::Observed(_)
            | Kind::Settled(_)
            | Kind::Sent(_)
            | Kind::Planned(_)
            | Kind::Withheld(_) => return None,
        })
    };
    folded.events.iter().filter_map(tell).collect()
}

/// What each alert says of how often its problem occurred: 1h/24h/7d level, or nothing.
pub fn frequencies(folded: &Folded) -> Vec<String> {
    let word =
        |f: &Frequency| format!("{}/{}/{} {}", f.count_1h, f.count_24h, f.count_7d, f.level.word());
    let of = |event: &schemas::Event| match &event.kind {
        Kind::Observed(o) => Some(o.frequency.as_ref().map(word).unwrap_or_default()),
        _ => None,
    };
    folded.events.iter().filter_map(of).collect()
}

/// The one problem.
pub fn problem(folded: &Folded) -> &Problem {
    assert_eq!(folded.problems.len(), 1);
    folded.problems.values().next().unwrap()
}
