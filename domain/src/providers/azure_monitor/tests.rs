use serde_json::json;

use super::*;
use crate::providers::tests::{normalise, only, request};

fn key_and_alert(body: &Value) -> (Option<crate::providers::DeliveryKey>, Alert) {
    let told = normalise("azure-monitor", &json!({}), body.to_string().as_bytes());
    let key = match &told {
        Normalised::Alerts { key, .. } => key.clone(),
        other => panic!("{body}: {other:?}"),
    };
    (key, only(told))
}

fn alert(body: &Value) -> Alert {
    key_and_alert(body).1
}

fn common(essentials: Value, context: Value) -> Value {
    let mut all = json!({"alertId": "/subscriptions/s/x", "alertRule": "R", "severity": "Sev2",
        "signalType": "Metric", "monitorCondition": "Fired", "alertTargetIDs": ["/a/B"],
        "firedDateTime": "2025-10-31T04:30:45Z"});
    all.as_object_mut().unwrap().extend(essentials.as_object().unwrap().clone());
    json!({"schemaId": "azureMonitorCommonAlertSchema",
        "data": {"essentials": all, "alertContext": context}})
}

fn metric(status: &str, more: Value) -> Value {
    let mut context = json!({"timestamp": "2025-10-31T04:30:45Z", "id": "/x/R", "name": "R",
        "resourceId": "/a/b"});
    context.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"schemaId": "AzureMonitorMetricAlert", "data": {"status": status, "context": context}})
}

fn of_series(value: &str) -> Value {
    json!({"condition": {"allOf": [{"dimensions": [{"name": "Core", "value": value}]}]}})
}

#[test]
fn r11_credentials_in_the_url() {
    let basic = Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() };
    let token = Credential::Token { id: "t".into(), token: b"secret-1".to_vec() };
    let all = [basic, token];
    let check = |header: &str, in_path: Option<&str>, query: &str, expect: Result<&str, &str>| {
        let named = ("authorization".to_owned(), header.to_owned());
        let headers = if header.is_empty() { vec![] } else { vec![named] };
        let request = Request { query, token: in_path, ..request(&headers, b"{}") };
        let found = AzureMonitor.authenticate(&request, &all);
        let found = found.map(|auth| auth.credential.unwrap()).map_err(|refused| refused.code);
        assert_eq!(found.as_deref(), expect.as_ref().copied(), "{header} {in_path:?} {query}");
    };
    check("Basic dTpw", None, "", Ok("b"));
    check("", Some("secret-1"), "", Ok("t"));
    check("", None, "token=secret-1", Ok("t"));
    check("", None, "code=secret-1", Ok("t"));
    // Microsoft's own token is not looked into; the one in the URL lets the request in.
    check("Bearer eyJ.x.y", Some("secret-1"), "", Ok("t"));
    check("Bearer eyJ.x.y", None, "", Err("credentials_invalid"));
    check("", Some("secret-0"), "", Err("token_invalid"));
    check("", Some("secret-"), "", Err("token_invalid"));
    check("", Some(""), "", Err("token_invalid"));
    check("", None, "token=", Err("token_invalid"));
    check("", None, "secret=secret-1", Err("credentials_missing"));
    check("Bearer secret-1", None, "", Err("credentials_invalid"));
}

#[test]
fn r67_severities() {
    for (words, expect) in [
        ("Sev0 sev0 0", Some(Level::Fatal)),
        ("Sev1 1", Some(Level::Error)),
        ("Sev2 2", Some(Level::Warning)),
        ("Sev3 3 Sev4 4", Some(Level::Info)),
        ("Sev5 Sev -1 high séva", None),
    ] {
        for word in words.split(' ') {
            assert_eq!(level(word), expect, "{word}");
        }
    }
    assert_eq!(level(""), None);
}

#[test]
fn r26_a_rule_on_a_resource_is_one_problem_through_its_episodes() {
    let none = json!({});
    let own = alert(&common(none.clone(), none.clone())).identity;
    for same in [
        json!({"monitorCondition": "Resolved", "resolvedDateTime": "2025-10-31T04:40:45Z"}),
        json!({"alertId": "/subscriptions/s/y", "severity": "Sev0", "description": "x"}),
        json!({"alertTargetIDs": ["/A/b"], "alertRule": "r"}),
    ] {
        assert_eq!(alert(&common(same.clone(), none.clone())).identity, own, "{same}");
    }
    for other in [
        json!({"alertRule": "S"}),
        json!({"alertRuleId": "/x/R"}),
        json!({"alertTargetIDs": ["/a/c"]}),
        json!({"alertTargetIDs": ["/a/b", "/a/c"]}),
    ] {
        assert_ne!(alert(&common(other.clone(), none.clone())).identity, own, "{other}");
    }
    let turned = |ids: Value| alert(&common(json!({"alertTargetIDs": ids}), none.clone())).identity;
    assert_eq!(turned(json!(["/a", "/b"])), turned(json!(["/b", "/a"])));
    let series = |value: &str| alert(&common(none.clone(), of_series(value))).identity;
    assert_eq!(series("a"), series("A"));
    assert_ne!(series("a"), series("b"));
    assert_ne!(series("a"), own);
    let labels = |pod: &str| alert(&common(none.clone(), json!({"labels": {"pod": pod}}))).identity;
    assert_ne!(labels("a"), labels("b"));
}

#[test]
fn r26_metric_alerts_pair_by_rule_resource_and_series() {
    let own = alert(&metric("Activated", json!({}))).identity;
    let end = json!({"timestamp": "2025-10-31T05:30:45Z", "resourceId": "/A/B"});
    let over = alert(&metric("Deactivated", end.clone()));
    assert_eq!((over.identity, over.facts.status), (own.clone(), schemas::Status::Resolved));
    let oldest = |status: &str| {
        let body = metric(status, json!({}));
        alert(&json!({"status": body["data"]["status"], "context": body["data"]["context"]}))
    };
    assert_eq!(oldest("Activated").identity, own);
    assert_eq!(oldest("Resolved").facts.status, schemas::Status::Resolved);
    assert_ne!(alert(&metric("Activated", json!({"resourceId": "/a/c"}))).identity, own);
    assert_ne!(alert(&metric("Activated", of_series("a"))).identity, own);
    let body = metric("Pending", json!({})).to_string();
    let reason = "unknown_status: pending".to_owned();
    let found = normalise("azure-monitor", &json!({}), body.as_bytes());
    assert_eq!(found, Normalised::Recorded { reason });
}

#[test]
fn r4_delivery_keys_follow_an_alert_into_each_state() {
    let key = |more: Value| key_and_alert(&common(more, json!({}))).0.unwrap();
    let first = key(json!({}));
    assert!(first.stable);
    assert_eq!(key(json!({"description": "x"})), first);
    assert_ne!(key(json!({"monitorCondition": "Resolved"})), first);
    assert_ne!(key(json!({"alertId": "/subscriptions/s/y"})), first);
    assert_ne!(key(json!({"firedDateTime": "2025-10-31T04:35:45Z"})), first);
    assert_eq!(key_and_alert(&common(json!({"alertId": null}), json!({}))).0, None);

    let key = |status: &str, more: Value| key_and_alert(&metric(status, more)).0.unwrap();
    let first = key("Activated", json!({}));
    assert!(!first.stable);
    assert_eq!(key("Activated", json!({"description": "x"})), first);
    assert_ne!(key("Deactivated", json!({})), first);
    assert_ne!(key("Activated", json!({"timestamp": "2025-10-31T04:35:45Z"})), first);
    assert_ne!(key("Activated", of_series("a")), first);
}

#[test]
fn r70_silence_ends_only_what_need_not_tell_its_end() {
    let silence = |signal: &str| {
        AzureMonitor.silence(&alert(&common(json!({"signalType": signal}), json!({}))))
    };
    assert_eq!(silence("Metric"), Silence::Nothing);
    assert_eq!(silence("Log"), Silence::Over);
    assert_eq!(silence("Activity Log"), Silence::Over);
    assert_eq!(AzureMonitor.silence(&alert(&metric("Activated", json!({})))), Silence::Nothing);
}

#[test]
fn wrong_types_everywhere_are_as_absent() {
    for value in [json!(null), json!([1]), json!({"x": 1}), json!(true), json!("")] {
        let essentials = json!({"alertRuleId": value, "severity": value, "signalType": value,
            "alertTargetIDs": value, "configurationItems": value, "firedDateTime": value,
            "description": value, "investigationLink": value, "monitoringService": value});
        let context = json!({"condition": value, "labels": value, "properties": value});
        let found = alert(&common(essentials, context));
        assert_eq!((found.facts.title.as_str(), found.facts.url), ("R", None), "{value}");
        let found = alert(&metric(
            "Activated",
            json!({"condition": value, "severity": value,
            "portalLink": value, "resourceId": value, "timestamp": value, "name": value}),
        ));
        assert!(found.facts.url.is_none() && found.facts.started_at.is_none(), "{value}");
    }
}
