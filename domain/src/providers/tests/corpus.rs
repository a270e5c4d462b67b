//! Published payloads, kept outside the project: every fact that their index states.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::*;

#[test]
fn r4_r6_published_payloads_read_as_their_index_says() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let Ok(index) = fs::read(corpus.join("index.json")) else {
        println!("corpus not present, skipped");
        return;
    };
    let index: Value = serde_json::from_slice(&index).unwrap();
    let mut checked = 0;
    for entry in index["entries"].as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let folder = file.split('/').next().unwrap();
        let provider = folder.trim_end_matches("-legacy");
        if by_name(provider).is_some() {
            let raw = fs::read(corpus.join(file)).unwrap();
            check_signature(provider, &entry["http"], &raw);
            check_facts(file, provider, entry, &raw);
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked} entries");
}

fn check_signature(provider: &str, http: &Value, raw: &[u8]) {
    let Some(secret) = http["signature"]["secret"].as_str() else { return };
    let sent = delivery(provider, &http["headers"], raw);
    let credential = |secret: &str| Credential::Hmac {
        id: secret.to_owned(),
        secret: secret.as_bytes().to_vec(),
    };
    let signed = ["x-grafana-alerting-timestamp", "webhook-timestamp"];
    let signed = signed.iter().find_map(|name| sent.header(name)?.parse::<i64>().ok());
    let at = Time::from_micros(signed.unwrap_or_default() * 1_000_000);
    let authenticate = |body: &[u8], received_at: Time, credentials: &[Credential]| {
        let request = Request { headers: &sent.headers, body, received_at, ..Request::default() };
        by_name(provider).unwrap().authenticate(&request, credentials)
    };
    let auth = authenticate(raw, at, &[credential("other"), credential(secret)]).unwrap();
    assert_eq!(auth.credential.as_deref(), Some(secret));
    let refused = |body: &[u8], received_at: Time| {
        authenticate(body, received_at, &[credential(secret)]).map_err(|refused| refused.code)
    };
    let mut altered = raw.to_vec();
    altered[raw.len() / 2] ^= 1;
    assert_eq!(refused(&altered, at), Err("signature_invalid"));
    if signed.is_some() {
        assert!(refused(raw, at.plus_seconds(300)).is_ok());
        assert_eq!(refused(raw, at.plus_seconds(301)), Err("signature_stale"));
        assert_eq!(refused(raw, at.plus_seconds(-301)), Err("signature_stale"));
    }
}

/// The field mapping of a source whose bodies are not self-explaining.
fn fields(file: &str) -> Option<FieldMap> {
    let text = match file {
        "custom/minimal-riemann.alerta.json" => "severity = \"state\"",
        _ => return None,
    };
    Some(toml::from_str(text).unwrap())
}

fn check_facts(file: &str, provider: &str, entry: &Value, raw: &[u8]) {
    let expect = &entry["expect"];
    let delivery = delivery(provider, &entry["http"]["headers"], raw);
    let (alerts, key) = match read(&delivery, fields(file).as_ref()) {
        Normalised::Alerts { alerts, key } => (alerts, key),
        Normalised::Recorded { .. } => {
            assert_ne!(expect["disposition"], "alert", "{file}");
            return;
        }
        Normalised::Rejected { reason } => panic!("{file}: rejected, {reason}"),
    };
    assert_ne!(expect["disposition"], "control", "{file}");
    assert_eq!(alerts.len() as u64, expect["alerts"].as_u64().unwrap(), "{file}");
    if let Some(details) = expect["alerts_detail"].as_array() {
        for (alert, detail) in alerts.iter().zip(details) {
            let mut detail = detail.clone();
            detail["title"] = detail["name"].take();
            // A link that leads somewhere on the sender's own pages only.
            if expect["resolved_source_url"].is_string() {
                detail["source_url"] = expect["resolved_source_url"].clone();
            }
            let computed = &expect["computed_fingerprint"];
            if detail["fingerprint"].is_null() {
                detail["fingerprint"] = computed.clone();
            }
            compare(file, alert, &detail);
        }
        let notes = alerts[0].notes.join(" ");
        let left_out = expect["truncated"].as_u64().unwrap();
        assert_eq!(notes.contains(&format!("left out {left_out} alerts")), left_out > 0, "{file}");
    }
    if alerts.len() == 1 || provider == "sentry" {
        compare(file, &alerts[0], expect);
        for (name, id) in expect["ids"].as_object().into_iter().flatten() {
            check_id(file, &alerts[0], key.as_ref(), name, id.as_str().unwrap());
        }
    }
}

/// A sender's id leads to the alert, or to its delivery.
fn check_id(file: &str, alert: &Alert, key: Option<&DeliveryKey>, name: &str, id: &str) {
    // Names of the installation, and the number of an alert rule's page.
    if ["installation", "incident_identifier", "alert_id"].contains(&name) {
        return;
    }
    let refs = &alert.refs;
    let all = refs.sentry.iter().chain(&refs.signoz).chain(&refs.alert).chain(&alert.identity);
    let known = all.clone().any(|r| r.ends_with(&format!(":{id}")))
        || alert.provider_event_id == id
        || key.is_some_and(|key| key.key.ends_with(&format!(":{id}")));
    assert!(known, "{file} {name}: {id} not in {:?}", all.collect::<Vec<_>>());
}

fn compare(file: &str, alert: &Alert, expect: &Value) {
    let found = flat(alert);
    let times = [("started_at_unix", &found["started_at"])];
    for (name, found) in times {
        if let Some(seconds) = expect[name].as_f64() {
            let expected = Time::from_micros((seconds * 1e6).round() as i64);
            assert_eq!(*found, serde_json::to_value(expected).unwrap(), "{file} {name}");
        }
    }
    for (theirs, ours) in [
        ("title", "title"),
        ("status", "status"),
        ("severity_raw", "severity_raw"),
        ("environment", "environment"),
        ("service", "service"),
        ("source_url", "url"),
        ("started_at", "started_at"),
        ("ended_at", "ended_at"),
        ("first_seen", "first_seen"),
        ("last_seen", "provider_ts"),
        ("fingerprint", "issue_id"),
        ("computed_fingerprint", "issue_id"),
        ("project", "sender_project"),
        ("host", "target"),
    ] {
        // Sentry's `fingerprint` is a grouping template, its numeric project has a name in a link.
        let sentry = found["provider"] == "sentry";
        let expected = match (theirs, &expect["project_slug_from_url"]) {
            ("fingerprint", _) if sentry => continue,
            ("project", slug) if slug.is_string() => slug,
            ("project", _) if !sentry => continue,
            _ => match expect.get(theirs) {
                Some(expected) => expected,
                None => continue,
            },
        };
        if expected.is_null() && theirs.ends_with("fingerprint") {
            continue;
        }
        // Every alert has a title; what ends one may say no more than which.
        if expected.is_null() && theirs == "title" {
            continue;
        }
        // The index keeps the text of a time that means none.
        let none = expected.as_str().is_some_and(|text| text.starts_with("0001-"));
        let expected = if none { &Value::Null } else { expected };
        assert!(same(expected, &found[ours]), "{file} {theirs}: {expected} but {}", found[ours]);
    }
    if let Some(occurrences) = expect["occurrences"].as_str() {
        assert_eq!(found["count"].to_string(), occurrences, "{file}");
    }
    for text in ["summary", "description"] {
        if let Some(expected) = expect[text].as_str() {
            let message = alert.facts.message.as_deref().unwrap_or_default();
            let said = message.contains(expected) || found["culprit"] == expected;
            assert!(said, "{file} {text}: {expected:?} but {message:?}");
        }
    }
    if let Some(rule) = expect["rule"].as_str() {
        let known = alert.facts.annotation("triggered_rule") == Some(rule)
            || alert.facts.alertname.as_deref() == Some(rule);
        assert!(known, "{file} rule: {rule}");
    }
    for name in ["substatus", "priority"] {
        if let Some(expected) = expect[name].as_str() {
            assert_eq!(alert.facts.annotation(name), Some(expected), "{file}");
        }
    }
}
