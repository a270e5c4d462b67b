use hmac::{Hmac, KeyInit, Mac};
use schemas::Level;
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::providers::tests::{normalise, only, request};

const BODY: &[u8] = br#"{"event":{"id":"e"}}"#;

fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("v1={}", const_hex::encode(mac.finalize().into_bytes()))
}

fn hmac(id: &str, secret: &str) -> Credential {
    Credential::Hmac { id: id.into(), secret: secret.into() }
}

fn authenticate(
    headers: &[(&str, &str)],
    credentials: &[Credential],
) -> Result<String, &'static str> {
    let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let found = PagerdutyWebhook.authenticate(&request(&headers, BODY), credentials);
    found.map(|auth| auth.credential.unwrap_or_default()).map_err(|refused| refused.code)
}

#[test]
fn r2_one_signature_of_the_list_has_to_be_right() {
    const NAME: &str = "x-pagerduty-signature";
    let (old, new) = (sign("old", BODY), sign("new", BODY));
    let listed = format!("{old}, {new}");
    let check = |given: &str, secrets: &[&str], expect: Result<&str, &'static str>| {
        let credentials: Vec<_> = secrets.iter().map(|secret| hmac(secret, secret)).collect();
        let found = authenticate(&[(NAME, given)], &credentials);
        assert_eq!(found.as_deref(), expect.as_ref().copied(), "{given}");
    };
    check(&new, &["new"], Ok("new"));
    check(&listed, &["new"], Ok("new"));
    check(&listed, &["old"], Ok("old"));
    check(&old, &["other", "old"], Ok("old"));
    check(&listed, &["other"], Err("signature_invalid"));

    let hex = new.strip_prefix("v1=").unwrap();
    let altered = format!("v1={}{}", if hex.starts_with('0') { '1' } else { '0' }, &hex[1..]);
    for wrong in [&altered, &new[..new.len() - 2], hex, &format!("v0={hex}"), "v1=", ",", "v1"] {
        check(wrong, &["new"], Err("signature_invalid"));
    }
    check(&sign("new", &[BODY, b" "].concat()), &["new"], Err("signature_invalid"));
    // More signatures than anybody rotates are not looked at.
    let many = [vec![altered.as_str(); 8], vec![new.as_str()]].concat().join(",");
    check(&many, &["new"], Err("signature_invalid"));
    check("", &["new"], Err("signature_missing"));
    // Anybody can sign with an empty secret.
    check(&sign("", BODY), &[""], Err("signature_invalid"));
    assert_eq!(
        authenticate(&[("x-signature", &new)], &[hmac("n", "new")]),
        Err("signature_missing")
    );
}

#[test]
fn r11_or_what_a_subscriptions_own_headers_show() {
    let basic = Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() };
    let authorization = ("authorization", "Basic dTpw");
    let only_basic = std::slice::from_ref(&basic);
    assert_eq!(authenticate(&[authorization], only_basic), Ok("b".into()));
    assert_eq!(authenticate(&[], only_basic), Err("credentials_missing"));
    let both = [hmac("h", "k"), basic.clone()];
    assert_eq!(authenticate(&[authorization], &both), Ok("b".into()));
    let wrong = ("x-pagerduty-signature", "v1=00");
    assert_eq!(authenticate(&[wrong, authorization], &both), Err("signature_invalid"));
    assert_eq!(authenticate(&[authorization], &[hmac("h", "k")]), Err("signature_missing"));
    assert!(both.iter().all(|credential| PagerdutyWebhook.accepts(credential)));
}

fn event(kind: &str, data: &Value) -> Normalised {
    let body = json!({"event": {"id": format!("of {kind}"), "event_type": kind,
        "occurred_at": "2025-10-31T04:31:10Z", "data": data}});
    normalise("pagerduty-webhook", &json!({}), body.to_string().as_bytes())
}

#[test]
fn an_incident_is_one_problem_through_all_its_events() {
    let data = |status: &str| json!({"id": "P1", "status": status, "title": "T"});
    let opened = only(event("incident.triggered", &data("triggered")));
    for (kind, status, expect) in [
        ("incident.reopened", "triggered", Status::Firing),
        ("incident.escalated", "acknowledged", Status::Firing),
        ("incident.priority_updated", "triggered", Status::Firing),
        ("incident.priority_updated", "resolved", Status::Resolved),
        ("incident.unacknowledged", "triggered", Status::Firing),
        ("incident.resolved", "resolved", Status::Resolved),
    ] {
        let found = only(event(kind, &data(status)));
        assert_eq!(found.identity, opened.identity, "{kind}");
        assert_eq!(found.facts.status, expect, "{kind}");
    }
    assert_ne!(
        only(event("incident.triggered", &json!({"id": "P2", "status": "triggered"}))).identity,
        opened.identity
    );
    for kind in [
        "incident.acknowledged",
        "incident.annotated",
        "incident.delegated",
        "incident.reassigned",
        "incident.responder.added",
        "incident.status_update_published",
        "incident.workflow.started",
        "service.updated",
        "pagey.ping",
    ] {
        let reason = format!("event_type: {kind}");
        assert_eq!(event(kind, &data("triggered")), Normalised::Recorded { reason });
    }
}

#[test]
fn r4_the_events_id_is_the_delivery_key() {
    let key = |body: Value, webhook: &str| {
        let headers = json!({"x-webhook-id": webhook});
        match normalise("pagerduty-webhook", &headers, body.to_string().as_bytes()) {
            Normalised::Alerts { key, .. } => key,
            other => panic!("{other:?}"),
        }
    };
    let body = |id: Value| {
        json!({"event": {"id": id, "event_type": "incident.triggered",
            "data": {"id": "P1", "status": "triggered"}}})
    };
    let first = key(body(json!("a")), "w1").unwrap();
    assert!(first.stable);
    assert_eq!(key(body(json!("a")), "w2"), Some(first.clone()), "what is not signed counts not");
    assert_ne!(key(body(json!("b")), "w1"), Some(first));
    assert_eq!(key(body(json!(null)), "w1"), None);
}

#[test]
fn r67_the_priority_and_else_the_urgency() {
    let level = |priority: Value, urgency: Value| {
        let data = json!({"id": "P1", "status": "triggered", "priority": priority,
            "urgency": urgency});
        let facts = only(event("incident.triggered", &data)).facts;
        (facts.level, facts.severity_raw)
    };
    let named = |word: &str| json!({"summary": word});
    let raw = |word: &str| Some(word.to_owned());
    assert_eq!(level(named("P1"), json!("low")), (Some(Level::Fatal), raw("P1")));
    assert_eq!(level(named("P2"), json!("low")), (Some(Level::Error), raw("P2")));
    assert_eq!(level(named("P3"), json!(null)), (Some(Level::Warning), raw("P3")));
    assert_eq!(level(named("P4"), json!("high")), (Some(Level::Info), raw("P4")));
    assert_eq!(level(named("Major"), json!("high")), (Some(Level::Error), raw("Major")));
    assert_eq!(level(json!(null), json!("high")), (Some(Level::Error), None));
    assert_eq!(level(json!(null), json!("low")), (Some(Level::Info), None));
    assert_eq!(level(json!(null), json!(7)), (None, None));
}
