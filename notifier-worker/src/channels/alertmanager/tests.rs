use schemas::{
    Facts, Level,
    event::IncidentState,
    job::{Standing, Summary, SummaryReason},
};
use serde_json::Value;

use super::*;
use crate::{
    channels::tests::{notification, parts, response},
    config::tests::target_of,
};

fn target(more: Value) -> Target {
    let mut config = json!({"kind": "alertmanager", "url": "https://am.example.com/prefix/"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    target_of(config).unwrap()
}

fn sent(n: &Notification, target: &Target) -> Value {
    let (url, _, body) = parts(Alertmanager.request(n, target).unwrap());
    assert_eq!(url, "https://am.example.com/prefix/api/v2/alerts");
    assert_eq!(body.as_array().unwrap().len(), 1);
    body[0].clone()
}

/// An alert that its sender names by its labels.
fn labelled() -> Notification {
    let labels = [("alertname", "Down"), ("severity", "critical"), ("team", "core")];
    let mut n = notification();
    n.facts.issue_id = Some(label_fingerprint(labels.to_vec()));
    n.facts.labels = labels.map(|(name, value)| (name.into(), value.into())).to_vec();
    n
}

#[test]
fn the_end_of_a_storm_ends_the_alert_that_its_beginning_fired() {
    let target = target(json!({}));
    let summary = Summary {
        reason: SummaryReason::Storm,
        key: "k".into(),
        since: notification().planned_at.plus_seconds(-600),
        until: notification().planned_at,
        incidents: 31,
        alerts: 31,
        group: Vec::new(),
        items: Vec::new(),
    };
    let n = |kind| Notification { kind, summary: Some(summary.clone()), ..notification() };
    let (begun, ended) =
        (sent(&n(SendKind::Summary), &target), sent(&n(SendKind::Resolve), &target));
    assert_eq!(begun["labels"]["alertname"], "BellwetherSummary");
    assert_eq!((&begun["labels"], &begun["startsAt"]), (&ended["labels"], &ended["startsAt"]));
    let now = notification().attempted_at.to_string();
    assert!(begun["endsAt"].as_str().unwrap() > now.as_str(), "{begun}");
    assert!(ended["endsAt"].as_str().unwrap() < now.as_str(), "{ended}");
}

#[test]
fn an_alert_is_the_same_from_its_first_message_to_its_last() {
    let target = target(json!({"labels": ["cluster=eu-1"]}));
    let n = labelled();
    let fire = sent(&n, &target);
    let expect = json!({
        "alertname": "Down", "severity": "critical", "team": "core", "cluster": "eu-1",
        "bellwether_project": "shop", "bellwether_incident": n.incident,
    });
    assert_eq!(fire["labels"], expect);
    for kind in [SendKind::Resolve, SendKind::Update, SendKind::Remind] {
        assert_eq!(sent(&Notification { kind, ..n.clone() }, &target)["labels"], expect);
    }

    // What names itself otherwise has no labels that could change before its end.
    let mut n = notification();
    n.facts.labels = vec![("level".into(), "error".into()), ("9 lives".into(), "x".into())];
    let fire = sent(&n, &target);
    let expect = json!({
        "alertname": "sentry", "cluster": "eu-1",
        "bellwether_project": "shop", "bellwether_incident": n.incident,
    });
    assert_eq!(fire["labels"], expect);
    assert_eq!(fire["annotations"]["label_level"], "error");
    assert_eq!(fire["annotations"]["label__9_lives"], "x");
    let over = Notification {
        kind: SendKind::Resolve,
        risk: schemas::alert::Risk::Critical,
        facts: Facts {
            level: Some(Level::Fatal),
            title: "boom, and over".into(),
            labels: Vec::new(),
            ..n.facts.clone()
        },
        ..n
    };
    assert_eq!(sent(&over, &target)["labels"], expect);
}

#[test]
fn it_fires_until_it_is_over() {
    let check = |n: &Notification, keep: Value, expect: [&str; 2]| {
        let alert = sent(n, &target(keep));
        assert_eq!([&alert["startsAt"], &alert["endsAt"]], expect, "{:?}", n.kind);
    };
    // Planned at 22:13:20, told at 22:13:21.9.
    let mut n = notification();
    check(&n, json!({}), ["2023-11-14T22:13:20Z", "2023-11-21T22:13:21.9Z"]);
    check(&n, json!({"keep_hours": 1}), ["2023-11-14T22:13:20Z", "2023-11-14T23:13:21.9Z"]);
    n.facts.started_at = Some(n.planned_at.plus_seconds(-3_600));
    n.kind = SendKind::Remind;
    check(&n, json!({}), ["2023-11-14T21:13:20Z", "2023-11-21T22:13:21.9Z"]);
    n.kind = SendKind::Resolve;
    check(&n, json!({}), ["2023-11-14T21:13:20Z", "2023-11-14T22:13:10Z"]);
    n.facts.ended_at = Some(n.planned_at.plus_seconds(-600));
    check(&n, json!({}), ["2023-11-14T21:13:20Z", "2023-11-14T22:03:10Z"]);
    // Times to come are no times; no end comes before its beginning.
    n.facts.ended_at = Some(n.planned_at.plus_seconds(600));
    n.facts.started_at = Some(n.planned_at.plus_seconds(-5));
    check(&n, json!({}), ["2023-11-14T22:13:10Z", "2023-11-14T22:13:10Z"]);

    for state in IncidentState::ALL {
        let at = n.planned_at;
        let standing = Standing {
            state,
            verb: None,
            actor: None,
            at,
            silenced_until: None,
            folded: 0,
            rose: None,
        };
        let n = Notification { kind: SendKind::Update, standing: Some(standing), ..notification() };
        let alert = sent(&n, &target(json!({})));
        let fires = alert["endsAt"].as_str().unwrap() > "2023-11-14T22:13:21";
        assert_eq!(fires, !state.is_over(), "{state:?}");
    }
    let reply = Notification { kind: SendKind::Reply, ..notification() };
    assert!(Alertmanager.request(&reply, &target(json!({}))).is_err());
}

#[test]
fn a6_names_and_values_are_what_alertmanager_takes() {
    for (name, expect) in [
        ("ruleSource", "ruleSource"),
        ("threshold.name", "threshold_name"),
        ("9lives", "_9lives"),
        ("__name__", "name__"),
        ("国", "_"),
        ("", ""),
    ] {
        assert_eq!(name_of(name), expect);
    }
    let mut n = labelled();
    n.facts.annotations = vec![
        ("runbook.url".into(), "https://x".into()),
        ("title".into(), "the sender's".into()),
        ("empty".into(), String::new()),
        ("long".into(), "界".repeat(9_000)),
    ];
    n.facts.url = Some("https://sentry.example.com/1".into());
    let alert = sent(&n, &target(json!({})));
    let said = &alert["annotations"];
    assert_eq!(said["runbook_url"], "https://x");
    assert_eq!((&said["title"], &said["summary"]), (&json!("the sender's"), &json!("boom")));
    assert_eq!(said["empty"], Value::Null);
    assert_eq!(said["long"].as_str().unwrap().chars().count(), MAX_ANNOTATION);
    assert_eq!(said["label_team"], Value::Null);
    assert_eq!(alert["generatorURL"], "https://sentry.example.com/1");
    let (.., plain) = parts(Alertmanager.plain(&n, &target(json!({}))).unwrap());
    assert_eq!(plain[0]["labels"], alert["labels"]);
    assert_eq!(plain[0]["annotations"], json!({"title": "the sender's"}));
    n.facts.url = Some("javascript:alert(1)".into());
    assert_eq!(sent(&n, &target(json!({})))["generatorURL"], Value::Null);
}

#[test]
fn it_proves_who_it_is_as_configured() {
    let check = |more: Value, expect: Option<&str>| {
        let Ok(Request::Http { headers, .. }) =
            Alertmanager.request(&notification(), &target(more))
        else {
            panic!()
        };
        let proof = headers.iter().find(|(name, _)| *name == "authorization");
        assert_eq!(proof.map(|(_, value)| value.as_str()), expect);
    };
    check(json!({}), None);
    check(json!({"token": "hunter2"}), Some("Bearer hunter2"));
    check(json!({"user": "ada", "password": "hunter2"}), Some("Basic YWRhOmh1bnRlcjI="));

    let wrong = |more: Value, expect: &str| {
        let mut config = json!({"kind": "alertmanager", "url": "https://am.example.com"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let got = target_of(config).map(|_| ()).unwrap_err();
        assert!(got.contains(expect) && !got.contains("hunter2"), "{got:?} lacks {expect:?}");
    };
    wrong(json!({"user": "ada"}), "out.password: the user has none");
    wrong(json!({"password": "hunter2"}), "out.user: the password is nobody's");
    wrong(
        json!({"user": "ada", "password": "hunter2", "token": "hunter2"}),
        "out.token: there is a",
    );
    wrong(json!({"token": "hunter2\r\nx: y"}), "out.token: this is no bearer token");
    wrong(json!({"labels": ["9=x"]}), "out.labels: one of these is no label");
    wrong(json!({"labels": ["a="]}), "out.labels: one of these is no label");
    wrong(json!({"keep_hours": 0}), "out.keep_hours: out of range");
}

#[test]
fn a7_what_each_answer_means() {
    let check = |status: u16, body: &str, expect: Verdict| {
        assert_eq!(Alertmanager.outcome(&response(status, None, body)), expect, "{status} {body}");
    };
    check(200, "", Verdict::Delivered(None));
    let plain = |reason: &str| Verdict::TryPlain(reason.into());
    check(400, r#""invalid label set""#, plain("status 400: invalid label set"));
    check(413, "", plain("status 413: no words"));
    let retry = |reason: &str, pause_target| Verdict::Retry {
        after: None,
        pause_target,
        reason: reason.into(),
    };
    check(503, "", retry("status 503", true));
    check(500, "oops", retry("status 500", false));
    for (status, named) in [(401, "password"), (403, "token"), (404, "url")] {
        let Verdict::Refused(reason) = Alertmanager.outcome(&response(status, None, "x")) else {
            panic!("{status}")
        };
        assert!(reason.contains(named), "{reason}");
    }
}
