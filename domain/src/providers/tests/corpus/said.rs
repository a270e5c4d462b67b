//! What a payload's index says of its alerts, compared with what was made of them. Read by two tests:
//! of `domain`, over what a provider reads, and of the whole, over what stands in the events once it
//! came in over HTTP and was folded.

use schemas::{Alert, Time};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{flat, same};

/// Compares every fact there is a place for, of all alerts of a payload that was known by this key;
/// how many those were.
pub fn alerts_of(file: &str, expect: &Value, alerts: &[Alert], key: Option<&str>) -> usize {
    assert_eq!(alerts.len() as u64, expect["alerts"].as_u64().unwrap(), "{file}");
    let mut compared = 1;
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
            compared += compare(file, alert, &detail);
        }
        let notes = alerts[0].notes.join(" ");
        let left_out = expect["truncated"].as_u64().unwrap();
        assert_eq!(notes.contains(&format!("left out {left_out} alerts")), left_out > 0, "{file}");
    }
    if alerts.len() == 1 || file.starts_with("sentry") {
        compared += compare(file, &alerts[0], expect);
        for (name, id) in expect["ids"].as_object().into_iter().flatten() {
            check_id(file, &alerts[0], key, name, id.as_str().unwrap());
            compared += 1;
        }
    }
    compared
}

/// A sender's id leads to the alert, or to its delivery.
fn check_id(file: &str, alert: &Alert, key: Option<&str>, name: &str, id: &str) {
    // Names of the installation, and the number of an alert rule's page.
    if ["installation", "incident_identifier"].contains(&name)
        || (name == "alert_id" && file.starts_with("sentry/"))
    {
        return;
    }
    let refs = &alert.refs;
    let all = refs.sentry.iter().chain(&refs.signoz).chain(&refs.alert).chain(&alert.identity);
    // What is too long to be an id is known by its hash.
    let hashed = const_hex::encode(Sha256::digest(id.as_bytes()));
    let is = |text: &str| text == id || text.ends_with(&format!(":{id}")) || text.contains(&hashed);
    let known = all.clone().any(|r| is(r))
        || is(&alert.provider_event_id)
        || alert.facts.issue_id.as_deref().is_some_and(is)
        || alert.facts.labels.iter().chain(&alert.facts.annotations).any(|(_, v)| is(v))
        || key.is_some_and(is);
    assert!(known, "{file} {name}: {id} not in {:?}", all.collect::<Vec<_>>());
}

/// When it began, however the index writes it.
fn started_at(expect: &Value) -> Option<Time> {
    let micros = |value: &Value, per_micro: i128| {
        let number: i128 =
            value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse().ok()?;
        Some(Time::from_micros(i64::try_from(number * 1_000 / per_micro).unwrap()))
    };
    if let Some(seconds) = expect["started_at_unix"].as_f64() {
        return Some(Time::from_micros((seconds * 1e6).round() as i64));
    }
    if let Some(local) = expect["started_at_local"].as_str() {
        let offset = expect["utc_offset"].as_str().unwrap();
        return format!("{}{offset}", local.replace(' ', "T")).parse().ok();
    }
    micros(&expect["started_at_ms"], 1)
        .or_else(|| micros(&expect["started_at_unix_nano"], 1_000_000))
}

/// Compares what both have a place for; how much that was.
pub fn compare(file: &str, alert: &Alert, expect: &Value) -> usize {
    let found = flat(alert);
    let mut compared = 0;
    if let Some(expected) = started_at(expect) {
        let at = [&found["started_at"], &found["provider_ts"]];
        let expected = serde_json::to_value(expected).unwrap();
        assert!(at.contains(&&expected), "{file} started_at: {expected} but {at:?}");
        compared += 1;
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
        ("resource", "target"),
    ] {
        // Sentry's `fingerprint` is a grouping template, its numeric project has a name in a link.
        let sentry = found["provider"] == "sentry";
        let expected = match (theirs, &expect["project_slug_from_url"]) {
            ("fingerprint", _) if sentry => continue,
            ("project", slug) if slug.is_string() => slug,
            // A group's labels say it, which every sender uses as it likes.
            ("project", _) if file.starts_with("alertmanager/") => continue,
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
        // Neither firing nor resolved: told as a warning, and said to be so.
        if expected == "unknown" && theirs == "status" {
            assert_eq!(found["level"], "warning", "{file}");
            assert!(alert.notes.iter().any(|note| note.contains("neither")), "{file}");
            continue;
        }
        // The index keeps the text of a time that means none.
        let none = expected.as_str().is_some_and(|text| text.starts_with("0001-"));
        let expected = if none { &Value::Null } else { expected };
        // Our words are texts, whatever a sender makes of them.
        let text = expected.as_number().map(|number| Value::from(number.to_string()));
        let expected = text.as_ref().unwrap_or(expected);
        assert!(same(expected, &found[ours]), "{file} {theirs}: {expected} but {}", found[ours]);
        compared += 1;
    }
    if let Some(occurrences) = expect["occurrences"].as_str() {
        assert_eq!(found["count"].to_string(), occurrences, "{file}");
        compared += 1;
    }
    for text in ["summary", "description"] {
        if let Some(expected) = expect[text].as_str() {
            let message = alert.facts.message.as_deref().unwrap_or_default();
            let said = message.contains(expected) || found["culprit"] == expected;
            assert!(said, "{file} {text}: {expected:?} but {message:?}");
            compared += 1;
        }
    }
    if let Some(rule) = expect["rule"].as_str() {
        let known = alert.facts.annotation("triggered_rule") == Some(rule)
            || alert.facts.annotation("rule") == Some(rule)
            || alert.facts.alertname.as_deref() == Some(rule);
        assert!(known, "{file} rule: {rule}");
        compared += 1;
    }
    for name in ["substatus", "priority"] {
        if let Some(expected) = expect[name].as_str() {
            assert_eq!(alert.facts.annotation(name), Some(expected), "{file}");
            compared += 1;
        }
    }
    for (name, value) in expect["dimensions"].as_object().into_iter().flatten() {
        assert_eq!(alert.facts.label(name), value.as_str(), "{file} {name}");
        compared += 1;
    }
    compared
}
