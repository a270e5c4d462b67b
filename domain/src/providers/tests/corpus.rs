//! Published payloads, kept outside the project: every fact that their index states.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::*;

#[test]
fn r4_r6_published_payloads_read_as_their_index_says() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let Ok(index) = fs::read(folder.join("index.json")) else {
        println!("corpus not present, skipped");
        return;
    };
    let index: Value = serde_json::from_slice(&index).unwrap();
    let mut checked = 0;
    for entry in index["entries"].as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let provider = file.split('/').next().unwrap();
        if by_name(provider).is_some() {
            let raw = fs::read(folder.join(file)).unwrap();
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
    let authenticate = |body: &[u8], credentials: &[Credential]| {
        let request = Request { headers: &sent.headers, body };
        by_name(provider).unwrap().authenticate(&request, credentials)
    };
    let auth = authenticate(raw, &[credential("other"), credential(secret)]).unwrap();
    assert_eq!(auth.credential.as_deref(), Some(secret));
    let mut altered = raw.to_vec();
    altered[raw.len() / 2] ^= 1;
    assert_eq!(
        authenticate(&altered, &[credential(secret)]).unwrap_err().code,
        "signature_invalid"
    );
}

fn check_facts(file: &str, provider: &str, entry: &Value, raw: &[u8]) {
    let expect = &entry["expect"];
    let alerts = match normalise(provider, &entry["http"]["headers"], raw) {
        Normalised::Alerts { alerts, .. } => alerts,
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
    }
}

fn compare(file: &str, alert: &Alert, expect: &Value) {
    let found = flat(alert);
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
    for (name, id) in expect["ids"].as_object().into_iter().flatten() {
        let id = id.as_str().unwrap();
        // Names of the installation, and the number of an alert rule's page.
        if ["installation", "incident_identifier", "alert_id"].contains(&name.as_str()) {
            continue;
        }
        let known = alert.refs.sentry.iter().any(|r| r.ends_with(&format!(":{id}")));
        assert!(known, "{file} {name}: {id} not in {:?}", alert.refs.sentry);
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
