use hmac::{Hmac, KeyInit, Mac};
use schemas::{Level, Status, Time};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::providers::tests::{normalise, only};

const BODY: &[u8] = br#"{"alerts":[]}"#;
const SENT: i64 = 1_763_617_422;

fn hmac(secret: &str, message: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(message);
    const_hex::encode(mac.finalize().into_bytes())
}

fn authenticate(headers: &[(&str, &str)], credentials: &[Credential], at: i64) -> &'static str {
    let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let received_at = Time::from_micros(at * 1_000_000);
    let request = Request { received_at, headers: &headers, body: BODY, ..Request::default() };
    match Grafana.authenticate(&request, credentials) {
        Ok(auth) if auth.method == "hmac_sha256" => "signed",
        Ok(_) => "authorized",
        Err(refused) => refused.code,
    }
}

#[test]
fn r11_signed_with_and_without_a_time_or_by_authorization() {
    let secret = Credential::Hmac { id: "current".into(), secret: b"k".to_vec() };
    let other = Credential::Hmac { id: "other".into(), secret: b"x".to_vec() };
    let basic = Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() };
    let hmacs = [other.clone(), secret.clone()];
    let plain = hmac("k", BODY);
    let timed = hmac("k", &[SENT.to_string().as_bytes(), b":", BODY].concat());
    let sent = SENT.to_string();
    let (signature, time) = ("x-grafana-alerting-signature", "x-grafana-alerting-timestamp");
    let authorization = ("authorization", "Basic dTpw");
    let check = |headers: &[(&str, &str)], credentials: &[Credential], expected: &str| {
        assert_eq!(authenticate(headers, credentials, SENT), expected, "{headers:?}");
    };
    check(&[(signature, &plain)], &hmacs, "signed");
    check(&[(signature, &timed), (time, &sent)], &hmacs, "signed");
    check(&[(signature, &timed)], &hmacs, "signature_invalid");
    check(&[(signature, &plain), (time, &sent)], &hmacs, "signature_invalid");
    check(&[(signature, &plain)], std::slice::from_ref(&other), "signature_invalid");
    check(&[(signature, &plain[..62])], &hmacs, "signature_invalid");
    check(&[], &hmacs, "signature_missing");
    check(&[authorization], &hmacs, "signature_missing");
    check(&[authorization], &[secret.clone(), basic.clone()], "authorized");
    check(&[], &[secret.clone(), basic.clone()], "signature_missing");
    // Who signs must sign right, whatever else stands there.
    check(&[(signature, "00"), authorization], &[secret, basic.clone()], "signature_invalid");
    check(&[(signature, "00"), authorization], std::slice::from_ref(&basic), "authorized");
    check(&[], &[basic], "credentials_missing");

    for (age, expected) in [
        (300, "signed"),
        (-300, "signed"),
        (301, "signature_stale"),
        (-301, "signature_stale"),
        (i64::MAX / 1_000_000 - SENT, "signature_stale"),
    ] {
        let headers = [(signature, timed.as_str()), (time, sent.as_str())];
        assert_eq!(authenticate(&headers, &hmacs, SENT + age), expected, "{age}");
    }
    for odd in ["", "x", "9223372036854775807", "-9223372036854775808"] {
        let timed = hmac("k", &[odd.as_bytes(), b":", BODY].concat());
        check(&[(signature, &timed), (time, odd)], &hmacs, "signature_stale");
    }
}

#[test]
fn r7_ok_closes_what_alerting_opened_whatever_series_it_names() {
    let body = |state: &str, more: Value| {
        let mut body = json!({"ruleId": 7, "orgId": 2, "state": state, "title": "CPU",
            "tags": {"team": "blue", "namespace": "shop"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        only(normalise("grafana", &json!({}), body.to_string().as_bytes()))
    };
    let series = json!([{"metric": "cpu", "value": 97, "tags": {"pod": "a-1"}}]);
    let opened = body("alerting", json!({"evalMatches": series}));
    for closing in [
        json!({"evalMatches": []}),
        json!({"evalMatches": null}),
        json!({"title": "[OK] CPU", "message": "fine"}),
        // The order of tags is that of a map.
        json!({"tags": {"namespace": "shop", "team": "blue"}}),
    ] {
        let closed = body("ok", closing.clone());
        assert_eq!(closed.facts.status, Status::Resolved);
        assert_eq!(closed.identity, opened.identity, "{closing}");
    }
    for other in [json!({"orgId": 3}), json!({"ruleId": 8}), json!({"tags": {"team": "red"}})] {
        assert_ne!(body("ok", other.clone()).identity, opened.identity, "{other}");
    }
    assert_eq!(opened.facts.target.as_deref(), Some("a-1"));
    assert_eq!(opened.facts.annotation("value cpu{pod=\"a-1\"}"), Some("97"));
}

#[test]
fn r7_wrong_types_in_legacy_bodies_are_as_absent() {
    for value in [json!(null), json!([1]), json!({"x": 1}), json!(true), json!(-1.5), json!("")] {
        let body = json!({"ruleId": 7, "state": "alerting", "title": value, "ruleName": value,
            "message": value, "ruleUrl": value, "orgId": value, "dashboardId": value,
            "panelId": value, "imageUrl": value, "evalMatches": [value, {"tags": value,
            "metric": value, "value": value}], "tags": if value.is_object() { json!(3) }
            else { value.clone() }});
        let alert = only(normalise("grafana", &json!({}), body.to_string().as_bytes()));
        assert_eq!(alert.facts.title, "unnamed alert", "{value}");
        assert_eq!((alert.facts.message, alert.facts.url), (None, None), "{value}");
        assert_eq!(alert.identity[1], "rule:7");
    }
}

#[test]
fn r67_no_data_is_a_warning_unless_the_rule_says_more() {
    let level = |tags: Value| {
        let body = json!({"ruleId": 1, "state": "no_data", "tags": tags}).to_string();
        only(normalise("grafana", &json!({}), body.as_bytes())).facts.level
    };
    assert_eq!(level(json!(null)), Some(Level::Warning));
    assert_eq!(level(json!({"severity": "critical"})), Some(Level::Fatal));
    assert_eq!(level(json!({"severity": "whatever"})), None);
}

#[test]
fn r51_links_lead_to_the_senders_pages_or_nowhere() {
    let home = Some("https://g.example.org/grafana/");
    for (url, expected) in [
        ("https://g.example.org/a", Some("https://g.example.org/a")),
        ("?orgId=1", Some("https://g.example.org/grafana/?orgId=1")),
        ("/d/x", Some("https://g.example.org/grafana/d/x")),
        ("//evil.example.org/", None),
        ("javascript:alert(1)", None),
        ("d/x", None),
        ("", None),
    ] {
        assert_eq!(resolved(url, home).as_deref(), expected, "{url}");
    }
    assert_eq!(resolved("?orgId=1", None), None);
    assert_eq!(resolved("?orgId=1", Some("javascript:")), None);
}
