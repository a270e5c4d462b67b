//! What holds for any sequence of alerts, wherever batches end.

use proptest::prelude::*;
use schemas::{
    Alert, Level,
    Status::{self, Firing, Resolved, Suppressed},
    event::Effect,
};

use super::{LANE, ONE, effects, fold};
use crate::{
    invariant,
    observe::{
        Prepared, Problem, Scope, SeenKey, identify,
        samples::{alert, delivery, project, second},
    },
    replay::Tables,
    rules::Rules,
};

/// One delivery of the property test: when it comes, its sender's id, its alerts. Every second
/// problem is Sentry's, where the occurrence decides on the environment.
type Sent = (i64, Option<u8>, Vec<(u8, Status, Option<i64>, Option<u8>)>);

fn deliveries() -> impl Strategy<Value = Vec<Sent>> {
    let status = prop_oneof![4 => Just(Firing), 2 => Just(Resolved), 1 => Just(Suppressed)];
    let alert = (0u8..3, status, prop::option::of(0i64..600), prop::option::of(0u8..20));
    let told = (0i64..600, prop::option::of(0u8..30), prop::collection::vec(alert, 1..4));
    prop::collection::vec(told, 1..40)
}

fn report(
    (problem, status, status_at, occurrence): &(u8, Status, Option<i64>, Option<u8>),
) -> Alert {
    let mut alert = alert(&problem.to_string());
    alert.facts.status = *status;
    alert.status_at = status_at.map(second);
    alert.occurrence = occurrence.map(|o| o.to_string());
    // Nine of ten say how bad it is, and not always the same.
    let word = status_at.unwrap_or_default() % 10;
    let levels = [Level::Warning, Level::Warning, Level::Error, Level::Info, Level::Fatal];
    alert.facts.level = (word < 9).then(|| levels[word as usize % levels.len()]);
    if problem % 2 == 1 {
        alert.facts.provider = "sentry".into();
        let environments = ["production", "staging", "testing"];
        alert.facts.environment = occurrence.map(|o| environments[usize::from(o) % 3].to_owned());
    }
    alert
}

fn alerts(told: &[Sent]) -> impl Iterator<Item = Alert> {
    told.iter().flat_map(|(_, _, alerts)| alerts.iter().map(report))
}

fn records(told: &[Sent]) -> Vec<Prepared> {
    (1u64..)
        .zip(told)
        .map(|(n, (received, key, alerts))| {
            let key = key.map(|k| SeenKey { key: uuid::Uuid::from_u128(k.into()), seconds: 90 });
            delivery(n, second(*received), alerts.iter().map(report).collect(), key)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn r26_where_batches_end_changes_nothing(
        told in deliveries(),
        cuts in prop::collection::vec(1usize..9, 40),
    ) {
        let oracle = fold(records(&told));

        let (mut batched, mut rest) = (Tables::new(LANE, ONE), records(&told).into_iter());
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let batch: Vec<_> = rest.by_ref().take(cut).collect();
            batched.fold(batch).unwrap();
        }
        prop_assert_eq!(&batched.folded().unwrap(), &oracle);

        // One owner that keeps its state, as long as it lives.
        let mut kept = Tables::new(LANE, ONE);
        let mut state = kept.load().unwrap();
        for prepared in records(&told) {
            kept.apply(&mut state, vec![prepared]).unwrap();
        }
        prop_assert_eq!(&kept.folded().unwrap(), &oracle);
    }

    #[test]
    fn what_a_fold_made_is_consistent(told in deliveries()) {
        let folded = fold(records(&told));
        invariant::episodes_are_in_order(&folded.events).map_err(TestCaseError::fail)?;
        invariant::incidents_only_get_worse(&folded.events).map_err(TestCaseError::fail)?;
        invariant::ledger_balances(told.len() as u64, &folded.ledger)
            .map_err(TestCaseError::fail)?;
        for problem in folded.problems.values() {
            invariant::problem_is_sound(problem).map_err(TestCaseError::fail)?;
        }
        // is_duplicate: whatever opened or advanced nothing; the rest changed something.
        let seen = effects(&folded);
        let duplicates = seen.iter().filter(|(e, _)| e.is_duplicate()).count();
        // One alert may close its problem in several environments.
        let changed: std::collections::BTreeSet<_> = folded
            .events
            .iter()
            .filter(|e| matches!(e.kind.word(), "opened" | "resolved" | "suppressed"))
            .map(|e| e.at)
            .collect();
        let idle = seen.iter().filter(|(e, _)| *e == Effect::NothingToClose).count();
        prop_assert_eq!(seen.len(), duplicates + changed.len() + idle);
        // Each incident is triaged because it opened, and once more at most because it escalated.
        let asked = |reason: &str| {
            let of = folded.triage.iter().filter(|ask| ask.job.reason == reason);
            of.map(|ask| ask.job.incident).collect::<Vec<_>>()
        };
        let opened: Vec<_> = folded.openings.iter().map(|opening| opening.incident).collect();
        prop_assert_eq!(asked("open"), opened);
        let escalated = asked("escalate");
        let distinct: std::collections::BTreeSet<_> = escalated.iter().collect();
        prop_assert_eq!(distinct.len(), escalated.len());
        let ids: std::collections::BTreeSet<_> = folded.events.iter().map(|e| e.id).collect();
        prop_assert_eq!(ids.len(), folded.events.len());
        // What is open in an environment, and nothing else, is on the list of the whole.
        let listed: std::collections::BTreeSet<_> = folded
            .problems
            .values()
            .flat_map(|p| p.elsewhere.iter().flatten().map(|other| other.fingerprint))
            .collect();
        let open: std::collections::BTreeSet<_> = alerts(&told)
            .map(|alert| identify(&project(), &alert, Rules::builtin()))
            .filter(|identity| matches!(identity.scope, Scope::One { .. }))
            .map(|identity| identity.fingerprint)
            .filter(|own| folded.problems.get(&(project(), *own)).is_some_and(Problem::is_open))
            .collect();
        prop_assert_eq!(listed, open);
    }
}
