use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use schemas::{Level, Status, Time};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::providers::{
    FieldMap,
    tests::{delivery, normalise, only, read, request},
};

fn alert(body: &Value) -> schemas::Alert {
    only(normalise("custom", &json!({}), body.to_string().as_bytes()))
}

fn message(text: &str) -> Value {
    json!({"message": text, "sender_id": "bot"})
}

#[test]
fn r8_r10_what_people_send_by_hand_is_answered_by_name() {
    let check = |senders: &Senders, raw: &str, expected: Result<(), &str>| {
        let found = Custom.admit(&request(&[], raw.as_bytes()), senders);
        let said = match &found {
            Ok(()) => Ok(()),
            Err(NotAdmitted::Malformed { detail }) => Err(format!("400 {detail}")),
            Err(NotAdmitted::Field { detail }) => Err(format!("422 {detail}")),
            Err(NotAdmitted::Forbidden { detail }) => Err(format!("403 {detail}")),
        };
        assert_eq!(said, expected.map_err(str::to_owned), "{senders:?} {raw}");
    };
    let listed = Senders::Listed(vec!["bot".into(), "other".into()]);
    let nobody = Senders::Listed(vec![]);
    let whole = r#"{"message": "[告警] x", "sender_id": "bot"}"#;
    for senders in [&listed, &Senders::Named] {
        check(senders, whole, Ok(()));
        check(senders, r#"{"sender_id": "bot"}"#, Err("422 message is missing"));
        check(senders, r#"{"message": "x"}"#, Err("422 sender_id is missing"));
        check(senders, r#"{"message": null, "sender_id": "bot"}"#, Err("422 message is missing"));
        check(senders, r#"{"message": 7, "sender_id": "bot"}"#, Err("422 message is not a text"));
        check(senders, r#"{"message": "x", "sender_id": " "}"#, Err("422 sender_id is empty"));
        check(senders, "[]", Err("422 body is not a JSON object"));
        check(senders, "[告警] x", Err("400 the body is not JSON"));
        check(senders, "", Err("400 the body is not JSON"));
    }
    let stranger = r#"{"message": "x", "sender_id": "stranger"}"#;
    check(&listed, stranger, Err("403 sender_id is not allowed"));
    check(&Senders::Named, stranger, Ok(()));
    check(&nobody, whole, Err("403 sender_id is not allowed"));
    check(&Senders::Anybody, r#"{"anything": 1}"#, Ok(()));
    check(&Senders::Anybody, "7", Err("422 body is not a JSON object"));
}

#[test]
fn r9_an_alert_is_found_in_a_text_or_is_not() {
    let found = alert(&message("[告警] X\n服务: a\n命名空间: b"));
    assert_eq!(found.facts.alertname.as_deref(), Some("X"));
    assert_eq!(found.facts.target.as_deref(), Some("a"));
    assert_eq!(found.facts.namespace.as_deref(), Some("b"));

    for (text, name, status) in [
        ("【告警】X", "X", Status::Firing),
        ("@all [告警]\n\nX\n服务:a", "X", Status::Firing),
        ("  [Alert] X y  \r\nservice: a", "X y", Status::Firing),
        ("[告警][P1] X", "[P1] X", Status::Firing),
        ("[恢复] X", "X", Status::Resolved),
        ("【已恢复】 X", "X", Status::Resolved),
        ("[RESOLVED] X", "X", Status::Resolved),
        ("[告警]", "unnamed alert", Status::Firing),
        ("[告警]\n服务: a", "unnamed alert", Status::Firing),
    ] {
        let found = alert(&message(text));
        assert_eq!((found.facts.title.as_str(), found.facts.status), (name, status), "{text}");
    }
    for text in ["X", "告警 X", "[info] X", "服务: a", "[告 警] X"] {
        let told = normalise("custom", &json!({}), message(text).to_string().as_bytes());
        let reason = "alert_not_detected: no [告警] in the message".to_owned();
        assert_eq!(told, Normalised::Recorded { reason }, "{text}");
    }
}

#[test]
fn r67_the_word_beside_the_text_goes_before_the_word_in_it() {
    let level = |body: Value| {
        let facts = alert(&body).facts;
        (facts.severity_raw.unwrap_or_default(), facts.level)
    };
    let text = "[告警] X\n级别: P3";
    assert_eq!(level(message(text)), ("P3".into(), Some(Level::Warning)));
    let mut body = message(text);
    body["metadata"] = json!({"severity": "High"});
    assert_eq!(level(body.clone()), ("High".into(), Some(Level::Error)));
    body["metadata"] = json!({"severity": ["High"], "level": null});
    assert_eq!(level(body), ("P3".into(), Some(Level::Warning)));
    assert_eq!(level(message("[告警] X")), (String::new(), None));
}

#[test]
fn r26_the_same_thing_said_again_is_the_same_problem() {
    let of = |text: &str| alert(&message(text)).identity;
    let first = of("[告警] CPU 使用率 95.3% at 10:30:00\n服务: api-1\n当前值: 95.3");
    for same in [
        "[告警] cpu 使用率 7% at 10:31:59\n服务: api-1\n当前值: 96",
        "【告警】 CPU  使用率 95.3% at 10:30:00\r\n服务：api-1\n说明: anything",
        "[恢复] CPU 使用率 95.3% at 10:30:00\n服务: api-1",
    ] {
        assert_eq!(of(same), first, "{same}");
    }
    for other in [
        "[告警] CPU 使用率 95.3% at 10:30:00\n服务: api-2",
        "[告警] CPU 使用率 95.3% at 10:30:00",
        "[告警] Memory 使用率 95.3% at 10:30:00\n服务: api-1",
        "[告警] CPU 使用率 95.3% at 10:30:00\n服务: api-1\n命名空间: b",
    ] {
        assert_ne!(of(other), first, "{other}");
    }
    assert_eq!(
        of("[告警] down since 2024-01-15T10:31:59+08:00, 5m30s"),
        of("[告警] down since 2025-02-16T11:32:00+08:00, 6m31s"),
    );
    assert_ne!(of("[告警] sda1 is full"), of("[告警] sda2 is full"));
    assert_ne!(of("[告警] 10.0.0.7 is down"), of("[告警] 10.0.0.8 is down"));
    assert_ne!(of("[告警] 10.0.0.7:9100 is down"), of("[告警] 10.0.0.8:9100 is down"));
    assert_eq!(of("[告警] 3 of 10 pods are down"), of("[告警] 4 of 10 pods are down"));
    let of_sender =
        |sender: &str| alert(&json!({"message": "[告警] X", "sender_id": sender})).identity;
    assert_ne!(of_sender("a"), of_sender("b"));
    // A secret in the text is no part of what is stored, and changes who it is.
    let secret = of("[告警] login with password=hunter2hunter2");
    assert!(!format!("{secret:?}").contains("hunter2"));
}

#[test]
fn a_field_mapping_says_where_the_facts_are() {
    let fields: FieldMap = toml::from_str(
        r#"
        id = "check.uid"
        title = "check.names.0"
        message = "output"
        status = "state"
        severity = "/weird.name/how bad"
        url = "link"
        environment = "at.env"
        service = "at.service"
        namespace = "at.ns"
        target = "at.host"
        started_at = "since"
        sender = "who"
        "#,
    )
    .unwrap();
    let body = json!({
        "check": {"uid": 17, "names": ["disk full", "x"]}, "output": "98%", "state": "UP",
        "weird.name": {"how bad": "P2"}, "link": "https://x.example.org/1", "title": "not this",
        "at": {"env": "staging", "service": "db", "ns": "shop", "host": "db-1"},
        "since": 1_761_906_600, "who": "me",
        // With a mapping, even these are fields like others.
        "message": "[告警] no", "sender_id": "no",
    });
    let raw = body.to_string();
    let told = only(read(&delivery("custom", &json!({}), raw.as_bytes()), Some(&fields)));
    let facts = &told.facts;
    assert_eq!((facts.title.as_str(), facts.status), ("disk full", Status::Resolved));
    assert_eq!(facts.message.as_deref(), Some("98%"));
    assert_eq!((facts.severity_raw.as_deref(), facts.level), (Some("P2"), Some(Level::Error)));
    assert_eq!(facts.url.as_deref(), Some("https://x.example.org/1"));
    assert_eq!(facts.environment.as_deref(), Some("staging"));
    assert_eq!(facts.service.as_deref(), Some("db"));
    assert_eq!(facts.namespace.as_deref(), Some("shop"));
    assert_eq!(facts.target.as_deref(), Some("db-1"));
    assert_eq!(facts.ended_at, "2025-10-31T10:30:00Z".parse::<Time>().ok());
    assert_eq!(told.identity, ["id:17"]);
    assert_eq!(told.refs.alert, ["id:17", "sender:me"]);

    // What the mapping leads to is not there: said by its name, unless the message says enough.
    let read = |body: Value| {
        read(&delivery("custom", &json!({}), body.to_string().as_bytes()), Some(&fields))
    };
    let reason = "missing_field: check.names.0".to_owned();
    assert_eq!(read(json!({"title": "x"})), Normalised::Rejected { reason });
    assert_eq!(only(read(json!({"output": "first\nsecond"}))).facts.title, "first");
}

#[test]
fn r8_wrong_types_everywhere_are_as_absent() {
    for value in [json!(null), json!([1]), json!({"x": [1]}), json!(-1.5), json!(""), json!(true)] {
        let body = json!({"message": "[告警] X", "sender_id": "bot", "chat_id": value,
            "timestamp": value, "metadata": value});
        let found = alert(&body);
        assert_eq!((found.facts.title.as_str(), found.facts.level), ("X", None), "{value}");
        assert_eq!(found.facts.started_at, None, "{value}");
        let body = json!({"title": "X", "status": value, "severity": value, "url": value,
            "labels": value, "tags": value, "time": value, "id": value, "specversion": value});
        let found = alert(&body);
        assert_eq!((found.facts.title.as_str(), found.facts.level), ("X", None), "{value}");
        assert_eq!(found.facts.status, Status::Firing, "{value}");
    }
}

#[test]
fn standard_webhooks_signatures_are_checked_over_id_time_and_body() {
    const SENT: i64 = 1_763_617_422;
    let key = b"a key of twenty-four byt";
    let secret = format!("whsec_{}", BASE64_STANDARD.encode(key));
    let body = br#"{"title":"x"}"#;
    let sign = |key: &[u8], message: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(message.as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    };
    let good = sign(key, &format!("msg_1.{SENT}."));
    let hmac = |secret: &str| Credential::Hmac {
        id: "current".into(),
        secret: secret.as_bytes().to_vec(),
    };
    let basic = Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() };
    let check = |prefix: &str, signature: &str, age: i64, with: &[Credential], expected: &str| {
        let headers = vec![
            (format!("{prefix}-id"), "msg_1".to_owned()),
            (format!("{prefix}-timestamp"), SENT.to_string()),
            (format!("{prefix}-signature"), signature.to_owned()),
            ("authorization".to_owned(), "Basic dTpw".to_owned()),
        ];
        let received_at = Time::from_micros((SENT + age) * 1_000_000);
        let found = Custom.authenticate(
            &Request { received_at, headers: &headers, body, ..Request::default() },
            with,
        );
        let found = found.map_or_else(|refused| refused.code.to_owned(), |auth| auth.method);
        assert_eq!(found, expected, "{prefix} {signature} {age}");
    };
    let ours = [hmac("whsec_b3RoZXI="), hmac(&secret)];
    check("webhook", &good, 0, &ours, "standard_webhooks");
    check("svix", &good, 300, &ours, "standard_webhooks");
    check("webhook", &good, 301, &ours, "signature_stale");
    check("webhook", &good, -301, &ours, "signature_stale");
    let old = sign(b"an old key", &format!("msg_1.{SENT}."));
    check("webhook", &format!("{old} v1a,xx {good}"), 0, &ours, "standard_webhooks");
    check("webhook", &old, 0, &ours, "signature_invalid");
    check("webhook", &sign(key, &format!("msg_2.{SENT}.")), 0, &ours, "signature_invalid");
    check("webhook", &good.replace("v1,", "v2,"), 0, &ours, "signature_invalid");
    check("webhook", &good[..20], 0, &ours, "signature_invalid");
    check("webhook", "", 0, &ours, "signature_invalid");
    // A secret that is no base64 is its own key.
    check(
        "webhook",
        &sign(b"not base64!", &format!("msg_1.{SENT}.")),
        0,
        &[hmac("not base64!")],
        "standard_webhooks",
    );
    // Whoever signs must sign right; without a secret there is nothing to check.
    check("webhook", &old, 0, &[hmac(&secret), basic.clone()], "signature_invalid");
    check("webhook", &old, 0, std::slice::from_ref(&basic), "basic");
    check("other", &old, 0, &[hmac(&secret), basic], "basic");
    check("other", &old, 0, &ours, "signature_missing");
}

#[test]
fn a_sender_that_names_its_deliveries_is_known_again() {
    let key = |headers: Value, body: &Value| delivery_key(&delivery("custom", &headers, b""), body);
    let plain = message("[告警] X");
    assert_eq!(key(json!({}), &plain), None);
    for name in ["webhook-id", "svix-id", "idempotency-key"] {
        let found = key(json!({name: " msg_1 "}), &plain).unwrap();
        assert!(found.stable);
        assert_eq!(found.key, format!("{name}:msg_1"));
        for odd in ["", "a b c d", "x", &"x".repeat(300)] {
            assert_eq!(key(json!({name: odd}), &plain), None, "{odd}");
        }
    }
    let event = |id: &str| json!({"specversion": "1.0", "type": "t", "source": "s", "id": id});
    assert_eq!(key(json!({}), &event("1")), key(json!({}), &event("1")));
    assert_ne!(key(json!({}), &event("1")), key(json!({}), &event("2")));
    assert!(key(json!({}), &event("1")).unwrap().stable);
}
