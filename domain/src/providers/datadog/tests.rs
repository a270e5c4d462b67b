use serde_json::json;

use super::*;
use crate::providers::tests::{normalise, only, request};

fn alert(body: &Value) -> Alert {
    only(normalise("datadog", &json!({}), body.to_string().as_bytes()))
}

#[test]
fn r11_basic_bearer_or_a_token_in_the_path() {
    let basic = Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() };
    let bearer = Credential::Bearer {
        id: "k".into(),
        sha256: <sha2::Sha256 as sha2::Digest>::digest(b"bearer-1").into(),
    };
    let token = Credential::Token { id: "t".into(), token: b"path-1".to_vec() };
    let empty = Credential::Token { id: "e".into(), token: vec![] };
    let all = [basic, bearer, token, empty];
    let check = |header: Option<&str>, in_path: Option<&str>, expect: Result<&str, &str>| {
        let headers: Vec<_> =
            header.map(|h| ("authorization".to_owned(), h.to_owned())).into_iter().collect();
        let request = Request { token: in_path, ..request(&headers, b"{}") };
        let found = Datadog.authenticate(&request, &all);
        let found = found.map(|auth| auth.credential.unwrap()).map_err(|refused| refused.code);
        assert_eq!(found.as_deref(), expect.as_ref().copied(), "{header:?} {in_path:?}");
    };
    check(Some("Basic dTpw"), None, Ok("b"));
    check(Some("Bearer bearer-1"), None, Ok("k"));
    check(None, Some("path-1"), Ok("t"));
    // Changed by one bit, cut, empty, in the wrong place.
    check(Some("Basic dTpx"), None, Err("credentials_invalid"));
    check(Some("Bearer bearer-0"), None, Err("credentials_invalid"));
    check(Some("Bearer bearer-"), None, Err("credentials_invalid"));
    check(Some("Bearer path-1"), None, Err("credentials_invalid"));
    check(Some("Bearer "), None, Err("credentials_invalid"));
    check(None, Some("path-0"), Err("token_invalid"));
    check(None, Some("path-"), Err("token_invalid"));
    check(None, Some(""), Err("token_invalid"));
    check(None, Some("bearer-1"), Err("token_invalid"));
    check(None, None, Err("credentials_missing"));
    assert!(all.iter().all(|credential| Datadog.accepts(credential)));
    assert!(!Datadog.accepts(&Credential::Hmac { id: "h".into(), secret: vec![1] }));
}

#[test]
fn a_variable_without_a_value_says_nothing() {
    let body = json!({"a": "$ALERT_SCOPE", "b": "", "c": " ", "d": null, "e": "$5 off", "f": 7,
        "g": "$", "h": "$lower"});
    let say = |name: &str| said(&body, &[name]);
    for none in ["a", "b", "c", "d", "g", "missing"] {
        assert_eq!(say(none), None, "{none}");
    }
    assert_eq!(say("e").as_deref(), Some("$5 off"));
    assert_eq!(say("f").as_deref(), Some("7"));
    assert_eq!(say("h").as_deref(), Some("$lower"));
    assert_eq!(said(&body, &["a", "b", "f"]).as_deref(), Some("7"));
}

#[test]
fn r67_transitions_states_and_priorities() {
    let read = |transition: &str, kind: &str, severity: &str| {
        let facts = alert(&json!({"title": "T", "alert_transition": transition,
            "alert_type": kind, "severity": severity}))
        .facts;
        (facts.status, facts.level)
    };
    for (transition, kind, severity, status, level) in [
        ("Triggered", "error", "", Status::Firing, Some(Level::Error)),
        ("Re-Triggered", "error", "P1", Status::Firing, Some(Level::Fatal)),
        ("Warn", "warning", "", Status::Firing, Some(Level::Warning)),
        ("Re-Warn", "warning", "P2", Status::Firing, Some(Level::Error)),
        ("No Data", "error", "", Status::Firing, Some(Level::Warning)),
        ("Renotify", "error", "P4", Status::Firing, Some(Level::Info)),
        ("Recovered", "success", "", Status::Resolved, None),
        ("Recovered", "success", "P2", Status::Resolved, Some(Level::Error)),
        ("$ALERT_TRANSITION", "success", "", Status::Resolved, None),
        ("", "info", "", Status::Firing, Some(Level::Info)),
        ("", "", "sunny", Status::Firing, None),
    ] {
        assert_eq!(read(transition, kind, severity), (status, level), "{transition} {severity}");
    }
    let body = json!({"title": "T", "alert_transition": "Snoozed"}).to_string();
    let reason = "unknown_transition: snoozed".to_owned();
    let found = normalise("datadog", &json!({}), body.as_bytes());
    assert_eq!(found, Normalised::Recorded { reason });
}

#[test]
fn titles_carry_marks() {
    for (title, expect, bare) in [
        ("[P2] [Warn] Too many", &["P2", "Warn"][..], "Too many"),
        ("[Recovered on {service:a,env:b}] M", &["Recovered on {service:a,env:b}"], "M"),
        ("No marks [here]", &[], "No marks [here]"),
        ("[open", &[], "[open"),
        ("[only]", &["only"], "[only]"),
        ("", &[], ""),
    ] {
        assert_eq!(marks(title), (expect.to_vec(), bare), "{title}");
    }
    // Datadog's own default names no transition but in the title.
    let status = |title: &str| status(&json!({"title": title})).unwrap().0;
    assert_eq!(status("[P1] [Recovered on {a:b}] M"), Status::Resolved);
    assert_eq!(status("[Recovered] M"), Status::Resolved);
    assert_eq!(status("[No Data on {a:b}] M"), Status::Firing);
}

#[test]
fn r26_a_monitors_scope_is_one_problem() {
    let of = |more: Value| {
        let mut body = json!({"title": "[Triggered] M", "monitor_id": "7", "scopes": "a:1,b:2",
            "alert_transition": "Triggered", "date": "1761885045500", "id": "1"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        alert(&body).identity
    };
    let own = of(json!({}));
    for same in [
        json!({"title": "[Recovered] M", "alert_transition": "Recovered", "id": "2"}),
        json!({"scopes": "b:2, a:1"}),
        json!({"severity": "P1", "date": "1"}),
        json!({"monitor_id": 7}),
    ] {
        assert_eq!(of(same.clone()), own, "{same}");
    }
    for other in [json!({"monitor_id": "8"}), json!({"scopes": "a:1"}), json!({"scopes": ""})] {
        assert_ne!(of(other.clone()), own, "{other}");
    }
    // Without a monitor: the key of its events, else the title behind the marks.
    let keyed = of(json!({"monitor_id": "", "alert_cycle_key": "9"}));
    assert_eq!(keyed, of(json!({"monitor_id": "", "alert_cycle_key": "9", "title": "x"})));
    let titled = of(json!({"monitor_id": ""}));
    assert_eq!(titled, of(json!({"monitor_id": "", "title": "[P3] [Recovered] M"})));
    assert_ne!(titled, of(json!({"monitor_id": "", "title": "[P3] [Recovered] N"})));
}

#[test]
fn r4_both_tries_of_an_event_are_one_delivery() {
    let key = |id: &str, transition: &str| {
        let body = json!({"title": "T", "id": id, "alert_transition": transition});
        match normalise("datadog", &json!({}), body.to_string().as_bytes()) {
            Normalised::Alerts { key, .. } => key,
            other => panic!("{other:?}"),
        }
    };
    let first = key("1", "Triggered").unwrap();
    assert!(first.stable);
    assert_eq!(key("1", "Triggered"), Some(first.clone()));
    assert_ne!(key("2", "Triggered"), Some(first.clone()));
    assert_ne!(key("1", "Recovered"), Some(first));
    assert_eq!(key("$ID", "Triggered"), None);
}

#[test]
fn texts_lose_their_wrapping_and_whom_they_call() {
    assert_eq!(message("%%%\nslow @slack-ops\n\n\n@all\n%%%").as_deref(), Some("slow"));
    assert_eq!(message("a @ b\n\nmail x@y.z").as_deref(), Some("a @ b\n\nmail x@y.z"));
    assert_eq!(message("%%%\n@webhook-x\n%%%"), None);
}
