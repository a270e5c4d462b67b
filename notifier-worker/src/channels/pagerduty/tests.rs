use std::collections::BTreeSet;

use schemas::{
    IncidentId, InputPosition, Level,
    event::IncidentState,
    job::{Standing, SummaryItem, SummaryReason},
};
use uuid::Uuid;

use super::*;
use crate::{
    channels::tests::{notification, parts, response},
    config::tests::target_of,
};

const KEY: &str = "hunter2hunter2hunter2hunter2abcd";

fn target(more: Value) -> Target {
    let mut config = json!({"kind": "pagerduty", "routing_key": KEY});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    target_of(config).unwrap()
}

fn sent(n: &Notification) -> Value {
    parts(PagerDuty.request(n, &target(json!({}))).unwrap()).2
}

fn standing(state: IncidentState) -> Notification {
    let at = notification().planned_at;
    let standing = Standing {
        state,
        verb: None,
        actor: None,
        at,
        silenced_until: None,
        folded: 0,
        rose: None,
    };
    Notification { kind: SendKind::Update, standing: Some(standing), ..notification() }
}

#[test]
fn an_incident_is_one_alert_from_its_first_message_to_its_last() {
    let mut n = notification();
    n.facts.url = Some("https://sentry.example.com/1".into());
    n.facts.service = Some("checkout".into());
    n.facts.labels = vec![("team".into(), "core".into())];
    n.facts.started_at = Some(n.planned_at.plus_seconds(-60));
    let expect = json!({
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": n.incident,
        "client": "Bellwether",
        "links": [{"href": "https://sentry.example.com/1", "text": "🔗 sentry.example.com"}],
        "payload": {
            "summary": "[INC-20260102-007] boom",
            "source": "checkout",
            "severity": "error",
            "timestamp": "2023-11-14T22:12:20Z",
            "component": "checkout",
            "custom_details": {
                "text": "text", "incident": "INC-20260102-007", "project": "shop",
                "provider": "sentry", "risk": "HIGH", "labels": {"team": "core"},
            },
        },
    });
    assert_eq!(sent(&n), expect);
    n.facts.url = Some("javascript:alert(1)".into());
    assert_eq!(sent(&n)["links"], Value::Null);

    let short = |action: &str| json!({"routing_key": KEY, "event_action": action, "dedup_key": notification().incident});
    let resolve = Notification { kind: SendKind::Resolve, ..notification() };
    assert_eq!(sent(&resolve), short("resolve"));
    for state in IncidentState::ALL {
        let expect = match state {
            IncidentState::Open | IncidentState::Reopened => "trigger",
            IncidentState::Acknowledged | IncidentState::Confirmed | IncidentState::HandedOff => {
                "acknowledge"
            }
            IncidentState::Resolved
            | IncidentState::Suppressed
            | IncidentState::Expired
            | IncidentState::Superseded => "resolve",
        };
        let n = standing(state);
        assert_eq!(sent(&n)["event_action"], expect, "{state:?}");
    }
    let reply = Notification { kind: SendKind::Reply, ..notification() };
    assert!(PagerDuty.request(&reply, &target(json!({}))).is_err());
}

#[test]
fn r43_what_reappears_within_the_hour_wakes_nobody() {
    let mut n = standing(IncidentState::Open);
    n.standing.as_mut().unwrap().folded = 1;
    let (url, _, event) = parts(PagerDuty.request(&n, &target(json!({}))).unwrap());
    assert_eq!(url, "https://events.pagerduty.com/v2/change/enqueue");
    assert_eq!((&event["event_action"], &event["dedup_key"]), (&Value::Null, &Value::Null));
    assert_eq!(event["payload"]["summary"], "[INC-20260102-007] boom");
    // What ends it, and the page when the hour is over, are of incidents there.
    for (state, expect) in [
        (IncidentState::Acknowledged, "acknowledge"),
        (IncidentState::Reopened, "trigger"),
        (IncidentState::Superseded, "resolve"),
    ] {
        n.standing.as_mut().unwrap().state = state;
        assert_eq!(sent(&n)["event_action"], expect, "{state:?}");
    }
    let page = Notification { kind: SendKind::Fire, ..n };
    assert_eq!(sent(&page)["event_action"], "trigger");
}

#[test]
fn each_risk_and_kind_has_its_severity() {
    for (kind, risk, expect) in [
        (SendKind::Fire, Risk::Critical, "critical"),
        (SendKind::Fire, Risk::High, "error"),
        (SendKind::Remind, Risk::Medium, "warning"),
        (SendKind::Summary, Risk::Low, "info"),
        (SendKind::Test, Risk::Critical, "info"),
    ] {
        let n = Notification { kind, risk, ..notification() };
        assert_eq!(sent(&n)["payload"]["severity"], expect, "{kind:?} {risk:?}");
    }
}

fn summary(reason: SummaryReason, incidents: u64, states: &[IncidentState]) -> Summary {
    let at = InputPosition { incarnation: 7, sequence: 1, record: 0 }.alert(0);
    let item = |(i, state): (u128, &IncidentState)| SummaryItem {
        incident: IncidentId(Uuid::from_u128(i)),
        opening: at,
        provider: "sentry".into(),
        title: format!("title {i}"),
        level: Some(Level::Error),
        environment: None,
        alerts: 3,
        state: *state,
    };
    Summary {
        reason,
        key: "k".into(),
        since: notification().planned_at,
        until: notification().planned_at,
        incidents,
        alerts: 210,
        group: Vec::new(),
        items: (0..).zip(states).map(item).collect(),
    }
}

/// A message that tells it.
fn telling(kind: SendKind, summary: Summary) -> Notification {
    Notification {
        kind,
        summary: Some(summary),
        text: "═══\n70 incidents\n═══\nand so on".into(),
        ..notification()
    }
}

#[test]
fn a_summary_tells_what_is_in_it() {
    let all = summary(SummaryReason::Bundle, 70, &[IncidentState::Open; 70]);
    let n = telling(SendKind::Summary, all);
    let payload = &sent(&n)["payload"];
    assert_eq!(payload["summary"], "70 incidents");
    let incidents = &payload["custom_details"]["incidents"];
    assert_eq!((&incidents["total"], &incidents["alerts"]), (&json!(70), &json!(210)));
    assert_eq!(incidents["first"].as_array().unwrap().len(), 50);
    assert_eq!(incidents["first"][0]["title"], "title 0");
}

#[test]
fn a8_only_what_ends_there_too_becomes_an_incident_there() {
    use IncidentState::{Open, Resolved};
    let sent = |n: &Notification| parts(PagerDuty.request(n, &target(json!({}))).unwrap());
    let of = |reason, incidents, states: &[_]| {
        telling(SendKind::Summary, summary(reason, incidents, states))
    };
    for (n, opens) in [
        (of(SummaryReason::Hourly, 1, &[Open]), false),
        (of(SummaryReason::Daily, 1, &[Open]), false),
        (of(SummaryReason::Storm, 70, &[Open]), true),
        (of(SummaryReason::Storm, 1, &[Resolved]), true),
        (of(SummaryReason::Bundle, 2, &[Open, Resolved]), true),
        (of(SummaryReason::Bundle, 2, &[Resolved, Resolved]), false),
        // One that is not named may still fire.
        (of(SummaryReason::Bundle, 3, &[Resolved, Resolved]), true),
    ] {
        let reason = n.summary.as_ref().unwrap().reason;
        let (url, _, event) = sent(&n);
        if opens {
            assert_eq!(url, "https://events.pagerduty.com/v2/enqueue", "{reason:?}");
            assert_eq!(event["event_action"], "trigger", "{reason:?}");
            continue;
        }
        assert_eq!(url, "https://events.pagerduty.com/v2/change/enqueue", "{reason:?}");
        let names = |value: &Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(Vec::from_iter(names(&event)), ["payload", "routing_key"], "{reason:?}");
        let names = Vec::from_iter(names(&event["payload"]));
        assert_eq!(names, ["custom_details", "source", "summary", "timestamp"], "{reason:?}");
        assert_eq!(event["payload"]["summary"], "70 incidents");
        let (url, _, plain) = parts(PagerDuty.plain(&n, &target(json!({}))).unwrap());
        assert!(url.ends_with("/v2/change/enqueue") && plain["event_action"].is_null());
    }
    // The end of a storm ends what its beginning opened.
    let storm = of(SummaryReason::Storm, 70, &[Open]);
    let end = Notification { kind: SendKind::Resolve, ..storm.clone() };
    let (begun, ended) = (sent(&storm).2, sent(&end).2);
    assert_eq!(ended["event_action"], "resolve");
    assert_eq!(begun["dedup_key"], ended["dedup_key"]);
    // Beside the configured address of alerts.
    let proxy = target(json!({"url": "https://proxy.example.com/pd/v2/enqueue"}));
    let report = of(SummaryReason::Daily, 1, &[Open]);
    let (url, ..) = parts(PagerDuty.request(&report, &proxy).unwrap());
    assert_eq!(url, "https://proxy.example.com/pd/v2/change/enqueue");
}

#[test]
fn a6_an_event_is_never_too_large() {
    let mut n = notification();
    n.facts.title = "界".repeat(2_000);
    n.facts.message = Some("🦀".repeat(100_000));
    n.facts.annotations = (0..200).map(|i| (format!("a{i}"), "界".repeat(9_000))).collect();
    let event = sent(&n);
    assert!(event.to_string().len() <= 512 * 1_024, "{}", event.to_string().len());
    let summary = event["payload"]["summary"].as_str().unwrap();
    assert_eq!((summary.chars().count(), summary.ends_with('…')), (1_024, true));
    assert_eq!(event["payload"]["custom_details"]["annotations"].as_object().unwrap().len(), 50);
    let plain = parts(PagerDuty.plain(&n, &target(json!({}))).unwrap()).2;
    assert_eq!(plain["payload"].as_object().unwrap().len(), 3);
    let nothing = Notification { text: String::new(), kind: SendKind::Test, ..notification() };
    assert_eq!(sent(&nothing)["payload"]["summary"], "alert");
}

#[test]
fn the_region_is_chosen_by_the_address() {
    for (url, expect) in [
        (None, "https://events.pagerduty.com/v2/enqueue"),
        (Some("https://events.eu.pagerduty.com"), "https://events.eu.pagerduty.com/v2/enqueue"),
        (
            Some("https://events.eu.pagerduty.com/v2/enqueue"),
            "https://events.eu.pagerduty.com/v2/enqueue",
        ),
        (Some("https://proxy.example.com/pd/"), "https://proxy.example.com/pd/v2/enqueue"),
    ] {
        let target = target(url.map_or(json!({}), |url| json!({"url": url})));
        let (got, ..) = parts(PagerDuty.request(&notification(), &target).unwrap());
        assert_eq!(got, expect);
    }
    for key in ["hunter2", "hunter2hunter2hunter2hunter2abc!"] {
        let config = json!({"kind": "pagerduty", "routing_key": key});
        let got = target_of(config).map(|_| ()).unwrap_err();
        assert!(got.contains("out.routing_key: this is no integration key") && !got.contains(key));
    }
}

fn check(status: u16, retry_after: Option<&str>, body: &str, expect: Verdict) {
    let got = PagerDuty.outcome(&response(status, retry_after, body));
    assert_eq!(got, expect, "{status} {body}");
}

#[test]
fn a7_what_each_answer_means() {
    let taken = r#"{"status":"success","message":"Event processed","dedup_key":"k"}"#;
    check(202, None, taken, Verdict::Delivered(Some("k".into())));
    let change = r#"{"status":"success","message":"Change event processed","links":[]}"#;
    check(202, None, change, Verdict::Delivered(None));
    let retry = |after: Option<u64>, pause_target, reason: &str| Verdict::Retry {
        after: after.map(std::time::Duration::from_secs),
        pause_target,
        reason: reason.into(),
    };
    check(429, Some("7"), "", retry(Some(7), true, "status 429"));
    check(500, None, "", retry(None, false, "status 500"));
    let said = "status 202, but the body reports no success: ";
    check(202, None, "<html>", retry(None, false, &format!("{said}no words")));
    let odd = r#"{"status":"throttled","message":"slow"}"#;
    check(202, None, odd, retry(None, false, &format!("{said}slow")));
    let long = r#"{"status":"invalid event","message":"Event object is invalid","errors":["'payload.summary' is too long"]}"#;
    let reason = "status 400: Event object is invalid; 'payload.summary' is too long";
    check(400, None, long, Verdict::TryPlain(reason.into()));
    check(413, None, "", Verdict::TryPlain("status 413: no words".into()));
    for (status, body) in [
        (
            400,
            r#"{"status":"invalid event","message":"Event object is invalid","errors":["Invalid routing key"]}"#,
        ),
        (403, "{}"),
        (404, ""),
    ] {
        let Verdict::Refused(reason) = PagerDuty.outcome(&response(status, None, body)) else {
            panic!("{body}")
        };
        assert!(reason.contains("routing_key") && reason.contains("region"), "{reason}");
    }
}
