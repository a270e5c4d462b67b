use base64::{Engine, prelude::BASE64_STANDARD};
use schemas::{Alert, Level, Status, alert::Stage};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::providers::{
    group::{MAX_ALERTS, fingerprint},
    tests::{normalise, request},
};

#[test]
fn r6_fingerprint_is_that_of_alertmanager() {
    // Published: target/goalert and grafana/oncall samples.
    let labels = json!({
        "alertname": "InstanceDown", "code": "200", "instance": "127.0.0.1:9090",
        "job": "prometheus", "monitor": "codelab-monitor", "severity": "critical",
    });
    assert_eq!(fingerprint(Some(&labels)), "791cec13fcba0368");
    let labels = json!({
        "severity": "critical", "alertname": "InstanceDown", "job": "node",
        "instance": "localhost:8081", "group": "production",
    });
    assert_eq!(fingerprint(Some(&labels)), "f404ecabc8dd5cd7");
    assert_eq!(fingerprint(None), "cbf29ce484222325");
}

#[test]
fn r70_a_group_with_only_the_keys_of_the_source_is_read_each_alert_by_its_own_status() {
    // Neither groupLabels nor endsAt, as a receiver without resolves gets it; and one that mixes.
    let body = json!({"version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
    "alerts": [
        {"status": "firing", "labels": {"alertname": "A"}, "annotations": {},
            "startsAt": "2024-01-15T10:30:00Z", "fingerprint": "00000000000000aa"},
        {"status": "resolved", "labels": {"alertname": "B"}, "annotations": {},
            "startsAt": "2024-01-15T10:30:00Z", "fingerprint": "00000000000000bb"},
        {"labels": {"alertname": "C"}, "fingerprint": "00000000000000cc"},
    ]});
    let told = normalise("alertmanager", &json!({}), body.to_string().as_bytes());
    let Normalised::Alerts { alerts, key: None } = told else { panic!("{told:?}") };
    let read: Vec<_> = alerts
        .iter()
        .map(|a| (a.facts.title.as_str(), a.facts.status, a.stage, a.facts.ended_at))
        .collect();
    let expected = [
        ("A", Status::Firing, Stage::Received, None),
        ("B", Status::Resolved, Stage::Resolved, None),
        ("C", Status::Firing, Stage::Received, None),
    ];
    assert_eq!(read, expected);
}

#[test]
fn r67_severity_comes_from_severity_or_priority() {
    let check = |labels: Value, level: Option<Level>, raw: Option<&str>| {
        let body = json!({"status": "firing", "alerts": [{"labels": labels}]}).to_string();
        let Normalised::Alerts { alerts, .. } =
            normalise("alertmanager", &json!({}), body.as_bytes())
        else {
            panic!("{body}")
        };
        assert_eq!(alerts[0].facts.level, level, "{body}");
        assert_eq!(alerts[0].facts.severity_raw.as_deref(), raw, "{body}");
    };
    check(json!({"severity": "page"}), Some(Level::Fatal), Some("page"));
    check(json!({"priority": "P2"}), Some(Level::Error), Some("P2"));
    check(json!({"severity": "", "priority": "P4"}), Some(Level::Info), Some("P4"));
    check(json!({"severity": "sev-9"}), None, Some("sev-9"));
    check(json!({}), None, None);
}

#[test]
fn r11_basic_and_bearer_with_two_valid_during_rotation() {
    let digest = |token: &str| Sha256::digest(token.as_bytes()).into();
    let basic = |id: &str, password: &str| Credential::Basic {
        id: id.into(),
        user: "am".into(),
        password: password.into(),
    };
    let credentials = [
        basic("current", "new:pass"),
        basic("previous", "old"),
        Credential::Bearer { id: "key-1".into(), sha256: digest("token-1") },
        Credential::Bearer { id: "key-2".into(), sha256: digest("token-2") },
        Credential::Hmac { id: "hmac".into(), secret: b"x".to_vec() },
    ];
    let check = |header: Option<&str>, expected: Result<(&str, &str), &str>| {
        let headers: Vec<_> =
            header.iter().map(|h| ("authorization".to_owned(), (*h).to_owned())).collect();
        let found = Alertmanager.authenticate(&request(&headers, b"{}"), &credentials);
        let found = match &found {
            Ok(auth) => Ok((auth.method.as_str(), auth.credential.as_deref().unwrap())),
            Err(refused) => Err(refused.code),
        };
        assert_eq!(found, expected, "{header:?}");
    };
    let encoded = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
    check(Some(&encoded("am:new:pass")), Ok(("basic", "current")));
    check(Some(&encoded("am:old")), Ok(("basic", "previous")));
    check(Some(&encoded("am:")), Err("credentials_invalid"));
    check(Some(&encoded("old")), Err("credentials_invalid"));
    check(Some(&encoded("x:old")), Err("credentials_invalid"));
    check(Some("Basic !!!"), Err("credentials_invalid"));
    check(Some("bearer token-1"), Ok(("bearer", "key-1")));
    check(Some("Bearer token-2 "), Ok(("bearer", "key-2")));
    check(Some("Bearer token-3"), Err("credentials_invalid"));
    check(Some("Bearer"), Err("credentials_invalid"));
    check(Some("Digest x"), Err("credentials_invalid"));
    check(None, Err("credentials_missing"));
    assert!(!format!("{credentials:?}").contains("pass"));
}

#[test]
fn r11_a_token_in_the_path_will_do() {
    let token = |id: &str, token: &str| Credential::Token { id: id.into(), token: token.into() };
    let credentials = [
        token("current", "sesame"),
        token("previous", "open"),
        Credential::Basic { id: "basic".into(), user: "am".into(), password: "sesame".into() },
    ];
    let check = |given: Option<&str>, header: Option<&str>, expected: Result<&str, &str>| {
        let headers: Vec<_> =
            header.iter().map(|h| ("authorization".to_owned(), (*h).to_owned())).collect();
        let sent = Request { token: given, ..request(&headers, b"{}") };
        let found = Alertmanager.authenticate(&sent, &credentials);
        let found = found.as_ref().map(|auth| auth.credential.as_deref().unwrap());
        assert_eq!(found.map_err(|refused| refused.code), expected, "{given:?} {header:?}");
    };
    check(Some("sesame"), None, Ok("current"));
    check(Some("open"), None, Ok("previous"));
    check(Some("sesam"), None, Err("token_invalid"));
    check(Some(""), None, Err("token_invalid"));
    check(None, None, Err("credentials_missing"));
    let basic = format!("Basic {}", BASE64_STANDARD.encode("am:sesame"));
    check(Some("wrong"), Some(&basic), Ok("basic"));
    check(Some("open"), Some("Basic !!!"), Ok("previous"));
    check(None, Some("Bearer sesame"), Err("credentials_invalid"));
    let none = Alertmanager.authenticate(&Request { token: Some(""), ..request(&[], b"") }, &[]);
    assert!(none.is_err());
}

#[test]
fn a_small_body_does_not_become_a_large_one() {
    // Given a group whose labels are large, and as many alerts without any as a body can hold ...
    let labels: serde_json::Map<String, Value> =
        (0..200).map(|n| (format!("label{n}"), json!("x".repeat(2000)))).collect();
    let computed = fingerprint(Some(&Value::Object(labels.clone())));
    let parts = vec![json!({}); 150_000];
    let body = json!({"status": "firing", "commonLabels": labels, "alerts": parts}).to_string();
    assert!(body.len() < 896 * 1024, "{}", body.len());
    // ... when it is read, then all of it fits into memory many times over ...
    let Normalised::Alerts { alerts, .. } = normalise("alertmanager", &json!({}), body.as_bytes())
    else {
        panic!("no alerts")
    };
    let size = |alert: &Alert| {
        let pairs = alert.facts.labels.iter().chain(&alert.facts.annotations);
        pairs.map(|(n, v)| n.len() + v.len()).sum::<usize>() + alert.content.text.len()
    };
    let total: usize = alerts.iter().map(size).sum();
    assert!(total < 128 << 20, "{} alerts hold {total} bytes", alerts.len());
    // ... says what was left out, and who they are is that of all labels.
    assert_eq!(alerts.len(), MAX_ALERTS);
    assert!(alerts[0].notes.iter().any(|n| n.contains("140000 alerts")), "{:?}", alerts[0].notes);
    assert_eq!(alerts[0].identity, [computed]);
    assert!(alerts[0].notes.iter().any(|n| n.contains("too much")), "{:?}", alerts[0].notes);
}
