//! Given Sentry issues in several environments, when a webhook that names none tells of a change,
//! then it holds for the issue wherever it is open.

use schemas::event::Resolved as Over;

use super::*;

/// What Sentry says: an event of an environment, or a change of the issue, which names none.
fn says(environment: Option<&str>, status: Status, event: Option<&str>) -> Alert {
    with(|a| {
        a.facts.provider = "sentry".into();
        a.facts.environment = environment.map(str::to_owned);
        a.facts.status = status;
        a.occurrence = event.map(str::to_owned);
    })
}

fn over(folded: &Folded) -> Vec<(Option<&str>, u64)> {
    let told = |over: &Over| over.opening.input.sequence;
    folded
        .events
        .iter()
        .filter_map(|e| match &e.kind {
            Kind::Resolved(o) | Kind::Suppressed(o) => {
                Some((o.facts.environment.as_deref(), told(o)))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_resolve_without_environment_closes_what_is_open_in_any() {
    let folded = check(
        vec![
            says(Some("staging"), Firing, Some("e1")),
            says(None, Resolved, None),
            // Nothing is open any more.
            says(None, Resolved, None),
            says(Some("staging"), Firing, Some("e2")),
        ],
        &[
            (Effect::Opened, Some(1)),
            (Effect::Resolved, Some(1)),
            (Effect::NothingToClose, None),
            (Effect::Opened, Some(4)),
        ],
    );
    assert_eq!(over(&folded), [(Some("staging"), 1)]);
    let causes: Vec<_> = opened(&folded.events).map(|o| o.cause).collect();
    assert_eq!(causes, [Cause::New, Cause::Regression]);
}

#[test]
fn it_closes_each_once_and_the_alert_belongs_to_its_own_problem_first() {
    let folded = check(
        vec![
            says(Some("staging"), Firing, Some("e1")),
            says(Some("testing"), Firing, Some("e2")),
            says(Some("production"), Firing, Some("e3")),
            says(Some("testing"), Resolved, None),
            says(None, Suppressed, None),
        ],
        &[
            (Effect::Opened, Some(1)),
            (Effect::Opened, Some(2)),
            (Effect::Opened, Some(3)),
            (Effect::Resolved, Some(2)),
            (Effect::Suppressed, Some(3)),
        ],
    );
    assert_eq!(over(&folded), [(Some("testing"), 2), (None, 3), (Some("staging"), 1)]);
    let ids: std::collections::BTreeSet<_> = folded.events.iter().map(|e| e.id).collect();
    assert_eq!(ids.len(), folded.events.len());
}

#[test]
fn one_environment_closes_itself_alone_and_a_first_alert_stays_the_first() {
    let folded = check(
        vec![
            says(Some("staging"), Firing, Some("e1")),
            says(Some("production"), Resolved, None),
            says(Some("production"), Firing, Some("e2")),
        ],
        &[(Effect::Opened, Some(1)), (Effect::NothingToClose, None), (Effect::Opened, Some(3))],
    );
    let causes: Vec<_> = opened(&folded.events).map(|o| (o.cause, o.episode)).collect();
    assert_eq!(causes, [(Cause::New, 1), (Cause::New, 1)]);
    // As without the other environment: what the end before it overtook is stale.
    let at = |n, mut alert: Alert| {
        alert.status_at = Some(second(n));
        alert
    };
    check(
        vec![
            says(Some("staging"), Firing, Some("e1")),
            at(110, says(Some("production"), Resolved, None)),
            at(100, says(Some("production"), Firing, Some("e2"))),
        ],
        &[(Effect::Opened, Some(1)), (Effect::NothingToClose, None), (Effect::Stale, None)],
    );
}

#[test]
fn r4_an_issue_without_environment_that_is_open_in_one_is_told_of_once() {
    let folded = check(
        vec![
            says(Some("staging"), Firing, Some("e1")),
            says(None, Firing, None),
            says(None, Resolved, None),
            // Which environment it was reopened for, nobody says.
            says(None, Firing, None),
            says(None, Firing, None),
        ],
        &[
            (Effect::Opened, Some(1)),
            (Effect::SameOccurrence, Some(1)),
            (Effect::Resolved, Some(1)),
            (Effect::Opened, Some(4)),
            (Effect::Repeated, Some(4)),
        ],
    );
    assert_eq!(folded.triage.len(), 2);
}

#[test]
fn an_older_end_closes_no_newer_episode_elsewhere() {
    let mut late = says(None, Resolved, None);
    late.status_at = Some(second(30));
    check(
        vec![says(Some("staging"), Firing, Some("e1")), late, says(None, Resolved, None)],
        &[(Effect::Opened, Some(1)), (Effect::Stale, Some(1)), (Effect::Resolved, Some(1))],
    );
}

#[test]
fn another_provider_names_its_environment_in_every_alert() {
    let labelled = |environment: Option<&str>, status| {
        with(|a| {
            a.facts.environment = environment.map(str::to_owned);
            a.facts.status = status;
        })
    };
    let folded = check(
        vec![labelled(Some("staging"), Firing), labelled(None, Resolved)],
        &[(Effect::Opened, Some(1)), (Effect::NothingToClose, None)],
    );
    assert_eq!(folded.problems.len(), 2);
}
