use proptest::prelude::*;
use schemas::{
    IncidentId, Level, Position, ProjectId, StackFrame, Time,
    event::{EscalationLevel, Frequency},
};
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::triage::{BUDGET, BUDGET_MIN, tests::facts, tokens};

fn time(seconds: i64) -> Time {
    Time::from_micros((1_767_312_000 + seconds) * 1_000_000)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn said(cause: &str) -> Analysis {
    Analysis {
        root_cause: cause.into(),
        impact: "checkout".into(),
        fix_suggestion: "raise max_connections".into(),
        prevention: "watch the pool".into(),
        confidence: 0.75,
        analyzed_by: "openclaw".into(),
        evidence: vec!["alert.message: then".into()],
        prompt: some("0123456789abcdef"),
        ..Analysis::default()
    }
}

fn job(facts: &Facts) -> TriageJob {
    let project = ProjectId::new("shop").unwrap();
    let opening: Position = "7-1-0-0".parse().unwrap();
    TriageJob {
        frequency: Some(Frequency {
            count_1h: 5,
            count_24h: 12,
            count_7d: 300,
            level: EscalationLevel::Escalate,
        }),
        runbook: vec![RunbookEntry {
            id: "redis-pool".into(),
            cause: "the pool is too small".into(),
            impact: "requests wait".into(),
            checks: vec!["INFO clients".into()],
            fix: "raise max_connections".into(),
            prevention: "alert on its use".into(),
            owner: some("platform"),
            link: some("https://wiki.example/redis"),
            confidence_percent: 60,
        }],
        rejection: Some(Rejection {
            analysis: Some(said("a slow disk")),
            operator: "ada".into(),
            note: some("the disks are idle; it began with 1.4.2"),
        }),
        ..TriageJob::new(project, IncidentId(Uuid::nil()), opening, "reject 1", Some(facts.clone()))
    }
}

fn similar(n: usize) -> Similar {
    Similar {
        number: format!("INC-20260102-{n:03}"),
        title: "Redis pool exhausted".into(),
        opened: time(-86_400),
        ended: Some(time(-80_000)),
        same_problem: false,
        diagnosis: said("a deployment halved the pool"),
    }
}

/// Facts of which all is stated.
fn stated() -> Facts {
    Facts {
        level: Some(Level::Error),
        message: some("Timeout waiting for connection"),
        culprit: some("app.cache.get"),
        sender_project: some("cart-api"),
        platform: some("python"),
        issue_id: some("17"),
        first_seen: Some(time(0)),
        count: Some(12),
        labels: vec![
            ("release".into(), "1.4.2".into()),
            ("app.kubernetes.io/version".into(), "1.4.2".into()),
            ("host".into(), "web-3".into()),
        ],
        stack: vec![StackFrame {
            filename: some("app/cache.py"),
            function: some("get"),
            lineno: Some(42),
            context_line: some("conn = pool.get()"),
        }],
        ..facts("redis.exceptions.ConnectionError")
    }
}

/// An input of which every part is there.
pub(crate) fn full() -> Input {
    let facts = stated();
    Input::new(&job(&facts), &facts, vec![similar(7)])
}

/// An input that is far too long, in characters of this kind.
fn huge(c: &str) -> Input {
    let long = c.repeat(20_000);
    let each = || Some(long.clone());
    let analysis = || Analysis {
        root_cause: long.clone(),
        impact: long.clone(),
        fix_suggestion: long.clone(),
        prevention: long.clone(),
        analyzed_by: long.clone(),
        ..Analysis::default()
    };
    let frame =
        StackFrame { filename: each(), function: each(), lineno: Some(1), context_line: each() };
    let facts = Facts {
        message: each(),
        culprit: each(),
        sender_project: each(),
        platform: each(),
        issue_id: each(),
        labels: (0..200).map(|n| (format!("version{n}{long}"), long.clone())).collect(),
        stack: vec![frame; 60],
        ..facts(&long)
    };
    let entry = RunbookEntry {
        id: long.clone(),
        cause: long.clone(),
        impact: long.clone(),
        checks: vec![long.clone(); 30],
        fix: long.clone(),
        prevention: long.clone(),
        owner: each(),
        link: each(),
        confidence_percent: 1,
    };
    let rejection = Rejection { analysis: Some(analysis()), operator: long.clone(), note: each() };
    let asked = TriageJob { runbook: vec![entry; 9], rejection: Some(rejection), ..job(&facts) };
    let past = Similar { title: long.clone(), diagnosis: analysis(), ..similar(1) };
    Input::new(&asked, &facts, vec![past; 9])
}

#[test]
fn r21_r29_the_eleven_keys_of_the_alert_are_in_it_as_they_are() {
    let facts = stated();
    let recorded: Value = serde_json::from_str(&full().json()).unwrap();
    let alert: Value = serde_json::from_str(&context(&facts).json()).unwrap();
    assert_eq!(recorded["alert"], alert);
    assert_eq!(alert.as_object().unwrap().len(), 11);
    let again: Input = serde_json::from_value(recorded).unwrap();
    assert_eq!(again, full(), "the same can be asked again");
}

#[test]
fn a13_releases_are_the_labels_that_say_what_runs() {
    let names: Vec<String> = full().releases.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["release", "app.kubernetes.io/version"]);
}

#[test]
fn a13_five_similar_incidents_and_three_entries_are_told_and_the_rest_is_said() {
    let facts = stated();
    let mut asked = job(&facts);
    asked.runbook = vec![asked.runbook[0].clone(); 4];
    let input = Input::new(&asked, &facts, (1..=7).map(similar).collect());
    assert_eq!((input.similar.len(), input.runbook.len()), (SIMILAR_MAX, RUNBOOK_MAX));
    let left: Vec<(&str, u64, u64)> =
        input.left_out.iter().map(|left| (left.of.as_str(), left.told, left.were)).collect();
    assert_eq!(left, [("similar", 5, 7), ("runbook", 3, 4)]);
    let user = input.messages(Prompt::builtin(), "x", BUDGET).user;
    assert!(
        user.contains(r#"left_out [{"of":"similar","unit":"items","told":5,"were":7}"#),
        "{user}"
    );
    assert!(!user.contains("wiki.example"), "addresses are for people");
}

#[test]
fn r67_what_operators_and_past_incidents_say_is_redacted_too() {
    let facts = stated();
    let secret = "password=hunter2-Kx93jd0Qz and AKIAIOSFODNN7EXAMPLE";
    let mut asked = job(&facts);
    asked.runbook[0].fix = secret.into();
    asked.rejection = Some(Rejection {
        analysis: Some(said(secret)),
        operator: "ada".into(),
        note: some(secret),
    });
    let past = Similar { title: secret.into(), diagnosis: said(secret), ..similar(1) };
    let input = Input::new(&asked, &facts, vec![past]);
    for text in [input.json(), input.messages(Prompt::builtin(), "x", BUDGET).user] {
        assert!(!text.contains("hunter2") && !text.contains("AKIAIOSFODNN7EXAMPLE"), "{text}");
    }
}

#[test]
fn a13_an_input_that_does_not_fit_loses_the_least_important_first_and_says_so() {
    let whole = huge("x").messages(Prompt::builtin(), "x", usize::MAX);
    assert_eq!(whole.told().similar.len(), 5);
    let mut before = whole.tokens();
    let mut told = Vec::new();
    for budget in [20_000, 12_000, BUDGET, 6_000, BUDGET_MIN] {
        let messages = huge("x").messages(Prompt::builtin(), "x", budget);
        assert!(messages.tokens() <= budget, "{} for {budget}", messages.tokens());
        assert!(messages.tokens() <= before);
        before = messages.tokens();
        let input = messages.told();
        // The recorded input is the told one.
        assert_eq!(&serde_json::from_str::<Input>(&messages.input()).unwrap(), input);
        for left in &input.left_out {
            assert!(left.told < left.were, "{left:?}");
            let line = serde_json::to_string(left).unwrap();
            assert!(messages.user.contains(&line), "{line}");
        }
        told.push((input.similar.len(), input.context.tags.len(), input.runbook.len()));
        assert!(input.rejection.is_some() && !input.context.title.is_empty());
    }
    assert!(told.is_sorted_by(|a, b| a >= b), "{told:?}");
    assert_eq!(told.last().unwrap().0, 0, "past incidents go before the alert");
    let last = huge("x").messages(Prompt::builtin(), "x", BUDGET_MIN);
    let of: Vec<&str> = last.told().left_out.iter().map(|left| left.of.as_str()).collect();
    for part in
        ["alert.message", "alert.tags", "alert.stacktrace", "similar", "runbook", "every text"]
    {
        assert!(of.contains(&part), "{part} of {of:?}");
    }
}

#[test]
fn a_prompt_for_the_alert_alone_records_the_alert_alone() {
    let messages = full().messages(Prompt::find("v1.zh-TW").unwrap(), "x", BUDGET);
    assert!(!messages.user.contains("INC-"));
    let told = messages.told();
    assert_eq!((told.similar.len(), told.runbook.len(), &told.rejection), (0, 0, &None));
    assert_eq!(told.context, full().context);
}

#[test]
fn tokens_are_a_third_of_the_bytes() {
    for (text, want) in [("", 0), ("abc", 1), ("abcd", 2), ("連線", 2)] {
        assert_eq!(tokens(text), want, "{text}");
    }
}

#[test]
fn evidence_is_what_the_input_says() {
    let facts = Facts { message: some("Timeout at https://evil.example @all **now**"), ..stated() };
    let input = Input::new(&job(&facts), &facts, vec![similar(7)]);
    for (named, want) in [
        ("alert.title", Some("alert.title: redis.exceptions.ConnectionError")),
        ("alert.message", Some("alert.message: Timeout at  all now")),
        ("alert.tags.release", Some("alert.tags.release: 1.4.2")),
        (
            "alert.tags.app.kubernetes.io/version",
            // Its name reads as an address.
            Some("alert.tags: 1.4.2"),
        ),
        (
            "alert.stacktrace[0].context_line",
            Some("alert.stacktrace.0.context_line: conn = pool.get()"),
        ),
        ("releases.release = 1.4.2", Some("releases.release: 1.4.2")),
        (
            "frequency",
            Some("frequency: count_1h 5, count_24h 12, count_7d 300, escalation_level ESCALATE"),
        ),
        ("runbook.1", Some("runbook.1: redis-pool the pool is too small")),
        ("runbook[1].fix", Some("runbook.1: redis-pool the pool is too small")),
        ("similar.1：同樣的事", Some("similar.1: INC-20260102-007 Redis pool exhausted")),
        ("rejection.note", Some("rejection.note: the disks are idle; it began with 1.4.2")),
        ("\"conn = pool.get()\"", Some("alert.stacktrace.0.context_line: conn = pool.get()")),
        ("similar.2", None),
        ("similar.0", None),
        ("alert", Some("alert: redis.exceptions.ConnectionError")),
        ("alert.made_up", None),
        ("the moon is full", None),
        ("web-3", None),
        ("", None),
    ] {
        let got = input.evidence(&[named.to_owned(), named.to_owned()]);
        let want: Vec<&str> = want.into_iter().collect();
        assert_eq!(got, want, "{named}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever the characters, the least budget is kept and the least still says what happened.
    #[test]
    fn every_input_fits_the_least_budget(c in "[a-z長<\\\\\"\\u{1}\\u{2028}\\u{E0041}😀]") {
        for prompt in Prompt::shipped() {
            let messages = huge(&c).messages(prompt, "openclaw", BUDGET_MIN);
            prop_assert!(messages.tokens() <= BUDGET_MIN, "{} of {c:?}", messages.tokens());
            prop_assert!(!messages.told().context.title.is_empty());
        }
    }
}
