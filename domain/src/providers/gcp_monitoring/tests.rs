use schemas::Level;
use serde_json::json;

use super::*;
use crate::providers::tests::{normalise, only, request};

fn alert(incident: &Value) -> Alert {
    let body = json!({"version": "1.2", "incident": incident});
    only(normalise("gcp-monitoring", &json!({}), body.to_string().as_bytes()))
}

fn incident(more: Value) -> Value {
    let mut incident = json!({"incident_id": "i", "state": "open", "policy_name": "P",
        "condition_name": "C", "scoping_project_id": "p",
        "resource": {"type": "t", "labels": {"a": "1", "b": "2"}},
        "metric": {"labels": {"code": "500"}}});
    incident.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    incident
}

#[test]
fn r11_basic_credentials_or_a_token_in_the_url() {
    let basic = Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() };
    let token = Credential::Token { id: "t".into(), token: b"a b+c".to_vec() };
    let empty = Credential::Token { id: "e".into(), token: vec![] };
    let all = [basic, token, empty];
    let check = |header: &str, query: &str, expect: Result<&str, &str>| {
        let named = ("authorization".to_owned(), header.to_owned());
        let headers = if header.is_empty() { vec![] } else { vec![named] };
        let request = Request { query, ..request(&headers, b"{}") };
        let found = GcpMonitoring.authenticate(&request, &all);
        let found = found.map(|auth| auth.credential.unwrap()).map_err(|refused| refused.code);
        assert_eq!(found.as_deref(), expect.as_ref().copied(), "{header} {query}");
    };
    check("Basic dTpw", "", Ok("b"));
    check("", "x=1&auth_token=a+b%2Bc", Ok("t"));
    check("", "token=a%20b%2bc", Ok("t"));
    // Changed by one bit, cut, empty, under another name, of another kind.
    check("", "auth_token=a+b%2Bb", Err("token_invalid"));
    check("", "auth_token=a+b%2B", Err("token_invalid"));
    check("", "auth_token=", Err("token_invalid"));
    check("", "auth_token", Err("token_invalid"));
    check("", "other=a+b%2Bc", Err("credentials_missing"));
    check("", "auth_token=dTpw", Err("token_invalid"));
    check("", "", Err("credentials_missing"));
    // Either of both will do.
    check("Basic dTpx", "auth_token=a+b%2Bc", Ok("t"));
    check("Basic dTpw", "auth_token=x", Ok("b"));
    check("Basic dTpx", "auth_token=x", Err("credentials_invalid"));
}

#[test]
fn r26_the_next_incident_of_a_condition_is_the_same_problem() {
    let own = alert(&incident(json!({}))).identity;
    for same in [
        json!({"state": "CLOSED", "ended_at": 1_761_885_645}),
        json!({"incident_id": "j", "summary": "again", "observed_value": "9"}),
        json!({"metadata": {"user_labels": {"release": "13"}}}),
    ] {
        assert_eq!(alert(&incident(same.clone())).identity, own, "{same}");
    }
    for other in [
        json!({"policy_name": "Q"}),
        json!({"condition_name": "D"}),
        json!({"scoping_project_id": "q"}),
        json!({"resource": {"labels": {"a": "1", "b": "3"}}}),
        json!({"metric": {"labels": {"code": "501"}}}),
    ] {
        assert_ne!(alert(&incident(other.clone())).identity, own, "{other}");
    }
    // What names no condition is known by the incident alone.
    let bare = |id: &str| alert(&json!({"incident_id": id, "state": "open"})).identity;
    assert_ne!(bare("a"), bare("b"));
}

#[test]
fn r4_an_incident_is_told_once_in_each_state() {
    let key = |more: Value| {
        let body = json!({"incident": incident(more)}).to_string();
        match normalise("gcp-monitoring", &json!({}), body.as_bytes()) {
            Normalised::Alerts { key, .. } => key.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let first = key(json!({}));
    // It may be told again on purpose, half an hour later.
    assert!(!first.stable);
    assert_eq!(key(json!({"state": "OPEN"})), first);
    assert_ne!(key(json!({"state": "closed"})), first);
    assert_ne!(key(json!({"incident_id": "j"})), first);
}

#[test]
fn r67_severities_from_where_they_are_stated() {
    let level = |more: Value| {
        let facts = alert(&incident(more)).facts;
        (facts.level, facts.severity_raw)
    };
    let raw = |word: &str| Some(word.to_owned());
    assert_eq!(level(json!({"severity": "Critical"})), (Some(Level::Fatal), raw("Critical")));
    assert_eq!(level(json!({"severity": "ERROR"})), (Some(Level::Error), raw("ERROR")));
    assert_eq!(level(json!({"severity": "Warning"})), (Some(Level::Warning), raw("Warning")));
    assert_eq!(level(json!({"severity": "No severity"})), (None, None));
    assert_eq!(level(json!({})), (None, None));
    let labelled = json!({"severity": "No severity", "policy_user_labels": {"severity": "low"}});
    assert_eq!(level(labelled), (Some(Level::Info), raw("low")));
    let of_metadata = json!({"metadata": {"system_labels": {"severity": "critical"}}});
    assert_eq!(level(of_metadata), (Some(Level::Fatal), raw("critical")));
}

#[test]
fn wrong_types_everywhere_are_as_absent() {
    for value in [json!(null), json!([1]), json!({"x": 1}), json!(true), json!("")] {
        let found = alert(&json!({"incident_id": "i", "state": "open", "policy_name": value,
            "condition_name": value, "resource": value, "metric": value, "metadata": value,
            "severity": value, "url": value, "started_at": value, "documentation": value,
            "policy_user_labels": value, "summary": value, "condition": value}));
        assert!(found.facts.url.is_none() && found.facts.started_at.is_none(), "{value}");
    }
}
