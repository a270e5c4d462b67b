//! What operators ask for, and what becomes of it.

use schemas::{
    ProjectId,
    event::{Applied, Refused},
    record::CHAT,
};

use super::{
    story::{Step, check, fires, fold, of, other, records, says, story, tells, tick},
    *,
};

/// A command about the incident that the first alert of a record opened.
fn command(second_of: i64, verb: &'static str, opening: u64) -> Step {
    command_with(second_of, verb, opening, |_| {})
}

fn command_with(
    second_of: i64,
    verb: &'static str,
    opening: u64,
    change: impl Fn(&mut Command) + 'static,
) -> Step {
    other(second_of, move |n| {
        let mut command = Command {
            operator: "ada".into(),
            auth_method: "api_key".into(),
            verb: verb.into(),
            opening: Some(at(opening).alert(0)),
            arguments: "{}".into(),
        };
        change(&mut command);
        record(n, second(second_of), Some(project()), Body::Command(Box::new(command)))
    })
}

fn answer(second_of: i64, opening: u64, reason: &'static str) -> Step {
    let analysis = schemas::job::Analysis {
        root_cause: "r".into(),
        impact: "i".into(),
        fix_suggestion: "f".into(),
        prevention: "p".into(),
        confidence: 0.5,
        analyzed_by: "a".into(),
        model: None,
        ..schemas::job::Analysis::default()
    };
    other(second_of, move |n| {
        let opening = at(opening).alert(0);
        let answer = Answer {
            job: schemas::JobId::triage(opening, reason),
            incident: IncidentId(uuid::Uuid::nil()),
            opening,
            reason: reason.into(),
            prompt: "p".into(),
            input: "{}".into(),
            result: AnswerResult {
                analysis: Some(analysis.clone()),
                attempts: Vec::new(),
                latency_ms: 1,
                ..AnswerResult::default()
            },
        };
        record(n, second(second_of), Some(project()), Body::Answer(Box::new(answer)))
    })
}

fn applied(folded: &Folded) -> Vec<&Applied> {
    let of = |event| match event {
        &Event { kind: Kind::Applied(ref a), .. } => Some(&**a),
        _ => None,
    };
    folded.events.iter().filter_map(of).collect()
}

fn refused(folded: &Folded) -> Vec<&Refused> {
    let of = |event| match event {
        &Event { kind: Kind::Refused(ref r), .. } => Some(&**r),
        _ => None,
    };
    folded.events.iter().filter_map(of).collect()
}

#[test]
fn r17_r47_every_command_is_recorded_with_its_actor_and_one_outcome() {
    let folded = check(
        vec![
            fires(0, "a"),
            command(1, "ack", 1),
            command_with(2, "ack", 1, |c| c.operator = "bob".into()),
            command(3, "unack", 1),
            command(4, "note", 1),
            command(5, "handoff", 1),
        ],
        &[
            "1 new",
            "2 ack open-acknowledged",
            "3 ack =acknowledged-acknowledged",
            "4 unack acknowledged-open",
            "5 note open-open",
            "6 handoff open-handed_off",
        ],
    );
    assert_eq!(folded.ledger[&Outcome::Command], 5);
    let first = applied(&folded)[1];
    assert_eq!((first.actor.as_str(), first.auth_method.as_str()), ("bob", "api_key"));
    assert_eq!(first.incident, incident_id(&project(), at(1).alert(0)));
    assert_eq!(first.opening, at(1).alert(0));
    let event = folded.events.iter().find(|e| e.kind.word() == "applied").unwrap();
    assert_eq!((event.at, event.project.clone()), (at(2).whole(), Some(project())));
}

#[test]
fn an_operators_end_closes_the_episode_at_lane_time() {
    let started = |seconds| vec![with(|a| a.status_at = Some(second(seconds)))];
    let folded = check(
        vec![
            tells(0, started(0)),
            command(600, "resolve", 1),
            command(601, "resolve", 1),
            // It repeats under its old start: a copy for a while, then a new episode.
            tells(660, started(0)),
            tells(1201, started(0)),
            // Too late for the first incident.
            command(1202, "reopen", 1),
            command(1203, "resolve", 1),
            command(1204, "ack", 1),
        ],
        &[
            "1 new",
            "2 resolve open-resolved",
            "3 resolve =resolved-resolved",
            "4 stale",
            "5 regression",
            "6 reopen ! superseded",
            "7 resolve =superseded-superseded",
            "8 ack ! not_open",
        ],
    );
    assert_eq!(refused(&folded)[0].incident, Some(incident_id(&project(), at(1).alert(0))));
    let problem = folded.problems.values().next().unwrap();
    assert!(problem.is_open());
}

#[test]
fn an_operator_opens_again_what_is_the_latest_and_its_sender_may_end_it() {
    check(
        vec![
            fires(0, "a"),
            command(1, "ack", 1),
            says(60, "a", Resolved),
            command(120, "reopen", 1),
            command(121, "reopen", 1),
            fires(180, "a"),
            // Dated before it was opened again.
            tells(
                181,
                vec![with(|a| (a.facts.status, a.status_at) = (Resolved, Some(second(60))))],
            ),
            command(182, "ack", 1),
            says(240, "a", Resolved),
            fires(300, "a"),
        ],
        &[
            "1 new",
            "2 ack open-acknowledged",
            "3 resolves 1",
            "4 reopen resolved-reopened",
            "5 reopen =reopened-reopened",
            "6 repeats 1",
            "7 stale",
            "8 ack reopened-acknowledged",
            "9 resolves 1",
            "10 regression",
        ],
    );
}

#[test]
fn r70_what_was_opened_again_expires_again() {
    const HOUR: i64 = 3600;
    check(
        vec![
            fires(0, "a"),
            tick(2 * HOUR),
            command(3 * HOUR, "reopen", 1),
            tick(5 * HOUR - 1),
            tick(5 * HOUR),
            says(6 * HOUR, "b", Suppressed),
        ],
        &["1 new", "2 expires 1", "3 reopen expired-reopened", "5 expires 1"],
    );
}

#[test]
fn what_a_sender_ignores_can_be_opened_again() {
    check(
        vec![
            fires(0, "a"),
            says(60, "a", Suppressed),
            command(61, "ack", 1),
            command(62, "reopen", 1),
            fires(63, "a"),
        ],
        &[
            "1 new",
            "2 suppresses 1",
            "3 ack ! not_open",
            "4 reopen suppressed-reopened",
            "5 repeats 1",
        ],
    );
}

#[test]
fn i7_operators_ask_for_triage_under_reasons_of_their_own() {
    let folded = check(
        vec![
            fires(0, "a"),
            command(1, "reject", 1),
            answer(2, 1, "open"),
            command(3, "confirm", 1),
            command(4, "reject", 1),
            command(5, "reject", 1),
            answer(6, 1, "reject 1"),
            command(7, "reject", 1),
            command(8, "request_triage", 1),
            command(9, "request_triage", 1),
            answer(10, 1, "request 1"),
            command(11, "request_triage", 1),
        ],
        &[
            "1 new",
            "2 reject ! no_diagnosis",
            "3 answers open",
            "4 confirm open-confirmed",
            "5 reject confirmed-open",
            "6 reject =open-open",
            "7 answers reject 1",
            "8 reject open-open",
            "9 request_triage open-open",
            "10 request_triage =open-open",
            "11 answers request 1",
            "12 request_triage open-open",
        ],
    );
    let opening = at(1).alert(0);
    let asked: Vec<_> = folded
        .triage
        .iter()
        .map(|ask| {
            assert_eq!(ask.id, schemas::JobId::triage(opening, &ask.job.reason));
            (ask.trigger.input.sequence, ask.job.reason.as_str(), ask.job.facts.is_some())
        })
        .collect();
    let expect = [
        (1, "open", true),
        (5, "reject 1", false),
        (8, "reject 2", false),
        (9, "request 1", false),
        (12, "request 2", false),
    ];
    assert_eq!(asked, expect);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let folded = check(
        vec![
            fires(0, "a"),
            command(1, "ack", 9),
            command_with(2, "ack", 1, |c| c.opening = None),
            command(3, "reboot", 1),
            command_with(3, "silence", 1, |c| c.arguments = r#"{"minutes":0}"#.into()),
            command_with(4, "ack", 1, |c| c.auth_method = CHAT.into()),
            command(5, "confirm", 1),
        ],
        &[
            "1 new",
            "2 ack ! unknown_incident",
            "3 ack ! unknown_incident",
            "4 reboot ! unknown_verb",
            "5 silence ! bad_duration",
            "6 ack ! unknown_actor",
            "7 confirm ! no_diagnosis",
        ],
    );
    assert_eq!(folded.ledger[&Outcome::Command], 6);
    let incidents: Vec<_> = refused(&folded).iter().map(|r| r.incident.is_some()).collect();
    assert_eq!(incidents, [false, false, true, true, true, true]);
    assert_eq!(refused(&folded)[0].opening, Some(at(9).alert(0)));
}

#[test]
fn a_command_of_nobodys_project_is_parked_and_one_of_another_is_about_nothing() {
    let body = || {
        Body::Command(Box::new(Command {
            operator: "ada".into(),
            auth_method: "api_key".into(),
            verb: "ack".into(),
            opening: Some(at(1).alert(0)),
            arguments: "{}".into(),
        }))
    };
    let folded = check(
        vec![
            fires(0, "a"),
            other(1, move |n| record(n, second(1), None, body())),
            other(2, move |n| record(n, second(2), ProjectId::new("search").ok(), body())),
        ],
        &["1 new", "3 ack ! unknown_incident"],
    );
    assert_eq!(folded.parked.len(), 1);
}

#[test]
fn r51_arguments_are_redacted_and_bounded_and_json() {
    let arguments = |text: String| {
        let folded = fold(vec![
            fires(0, "a"),
            command_with(1, "note", 1, move |c| c.arguments = text.clone()),
        ]);
        applied(&folded)[0].arguments.clone()
    };
    assert_eq!(arguments(r#"{"text":"pool?"}"#.into()), r#"{"text":"pool?"}"#);
    let secret = arguments(r#"{"text":"see","password":"hunter2-hunter2"}"#.into());
    assert!(!secret.contains("hunter2") && secret.contains("see"), "{secret}");
    assert_eq!(arguments("no json".into()), r#""no json""#);
    let long = arguments(format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20)));
    assert!(long.len() < 8192);
    serde_json::from_str::<serde_json::Value>(&long).unwrap();
}

#[test]
fn an_operators_end_takes_an_environment_off_the_list_of_its_issue() {
    let staged = || {
        let mut alert = of("a", Firing);
        alert.facts.provider = "sentry".into();
        alert.facts.environment = Some("staging".into());
        alert.occurrence = Some("e".into());
        vec![alert]
    };
    let listed = |steps: Vec<Step>| -> usize {
        let folded = fold(steps);
        folded.problems.values().flat_map(|p| p.elsewhere.iter().flatten()).count()
    };
    assert_eq!(listed(vec![tells(0, staged())]), 1);
    assert_eq!(listed(vec![tells(0, staged()), command(1, "resolve", 1)]), 0);
    let reopened = vec![tells(0, staged()), command(1, "resolve", 1), command(2, "reopen", 1)];
    assert_eq!(listed(reopened), 1);
}

#[test]
fn a_command_in_the_batch_of_its_opening_is_as_one_behind_it() {
    let log = || {
        let mut staged = of("b", Firing);
        staged.facts.provider = "sentry".into();
        staged.facts.environment = Some("staging".into());
        vec![
            fires(0, "a"),
            command(1, "ack", 1),
            command(2, "resolve", 1),
            fires(3, "a"),
            tells(4, vec![staged]),
            command(5, "resolve", 5),
            command(6, "reopen", 5),
            command(7, "resolve", 1),
        ]
    };
    let oracle = fold(log());
    for cut in 0..8 {
        let mut tables = Tables::new(LANE, ONE);
        let mut records = records(log());
        let rest = records.split_off(cut);
        tables.fold(records).unwrap();
        tables.fold(rest).unwrap();
        assert_eq!(tables.folded().unwrap(), oracle, "{:?}", story(&oracle));
    }
}

#[test]
fn r29_whoever_is_asked_again_is_told_what_was_rejected_by_whom_and_why() {
    let note = |text: &'static str| {
        command_with(6, "reject", 1, move |c| {
            c.operator = "bob".into();
            c.arguments = serde_json::json!({ "text": text }).to_string();
        })
    };
    let folded = check(
        vec![
            fires(0, "a"),
            answer(2, 1, "open"),
            command(3, "confirm", 1),
            command(4, "reject", 1),
            answer(5, 1, "reject 1"),
            note("the disk is fine, password=hunter2hunter2"),
            command(7, "request_triage", 1),
        ],
        &[
            "1 new",
            "2 answers open",
            "3 confirm open-confirmed",
            "4 reject confirmed-open",
            "5 answers reject 1",
            "6 reject open-open",
            "7 request_triage open-open",
        ],
    );
    let rejections: Vec<_> = folded.triage.iter().map(|ask| ask.job.rejection.clone()).collect();
    let [None, Some(first), Some(second), None] = rejections.as_slice() else {
        panic!("{rejections:#?}")
    };
    assert_eq!((first.operator.as_str(), first.note.as_deref()), ("ada", None));
    assert_eq!(first.analysis.as_ref().unwrap().root_cause, "r");
    assert_eq!(second.operator, "bob");
    let said = second.note.as_deref().unwrap();
    assert!(said.starts_with("the disk is fine") && !said.contains("hunter2"), "{said}");
    let about: Vec<_> = applied(&folded).iter().map(|a| a.diagnosis.as_deref()).collect();
    assert_eq!(about, [Some("open"), Some("open"), Some("reject 1"), None]);
}

#[test]
fn a15_whether_it_was_of_use_is_said_at_any_time_and_changes_nothing_else() {
    let by = |second_of, verb, who: &'static str| {
        command_with(second_of, verb, 1, move |c| c.operator = who.into())
    };
    let folded = check(
        vec![
            fires(0, "a"),
            by(1, "noise", "ada"),
            by(2, "noise", "ada"),
            by(3, "useful", "bob"),
            answer(4, 1, "open"),
            command(5, "resolve", 1),
            by(6, "not_useful", "ada"),
            by(7, "useful", "bob"),
        ],
        &[
            "1 new",
            "2 noise open-open",
            "3 noise =open-open",
            "4 useful open-open",
            "5 answers open",
            "6 resolve open-resolved",
            "7 not_useful resolved-resolved",
            "8 useful =resolved-resolved",
        ],
    );
    let said: Vec<_> =
        applied(&folded).iter().map(|a| (a.actor.as_str(), a.diagnosis.as_deref())).collect();
    let expect = [
        ("ada", None),
        ("ada", None),
        ("bob", None),
        ("ada", None),
        ("ada", Some("open")),
        ("bob", Some("open")),
    ];
    assert_eq!(said, expect);
    assert_eq!(folded.triage.len(), 1);
}
