use schemas::{Level, StackFrame, Status};
use serde_json::json;

use super::*;
use crate::providers::tests::{delivery, normalise, request};

fn alert(resource: &str, body: &Value) -> schemas::Alert {
    let headers = json!({"sentry-hook-resource": resource});
    match normalise("sentry", &headers, body.to_string().as_bytes()) {
        Normalised::Alerts { mut alerts, .. } if alerts.len() == 1 => alerts.remove(0),
        other => panic!("{body}: {other:?}"),
    }
}

fn key(resource: &str, body: &Value) -> Option<DeliveryKey> {
    let delivery = delivery("sentry", &json!({"sentry-hook-resource": resource}), b"");
    delivery_key(&delivery, body)
}

#[test]
fn r2_signature_missing_and_invalid_have_the_codes_of_the_source() {
    let body = br#"{"a":1}"#;
    // printf '{"a":1}' | openssl dgst -sha256 -hmac secret
    let valid = "aa9e2e3575f5d7098b6caccd790888c36d5fdb63342a73bada2d6a51747a8494".to_owned();
    let signature = valid.replace("aa9e", "aa9f");
    let hmac = |id: &str, secret: &str| Credential::Hmac {
        id: id.into(),
        secret: secret.as_bytes().to_vec(),
    };
    let both = [hmac("current", "next"), hmac("previous", "secret")];
    let check = |header: Option<&str>, credentials: &[Credential], expected: Result<&str, &str>| {
        let headers: Vec<_> =
            header.iter().map(|h| ("sentry-hook-signature".into(), (*h).to_owned())).collect();
        let found = Sentry.authenticate(&request(&headers, body), credentials);
        let found = match &found {
            Ok(auth) => Ok(auth.credential.as_deref().unwrap()),
            Err(refused) => Err(refused.code),
        };
        assert_eq!(found, expected, "{header:?}");
    };
    check(Some(&valid), &both, Ok("previous"));
    check(Some(&valid.to_uppercase()), &both, Ok("previous"));
    check(Some(&valid), &both[..1], Err("signature_invalid"));
    check(Some(&valid), &[], Err("signature_invalid"));
    check(Some(&signature), &both, Err("signature_invalid"));
    check(Some(&valid[..62]), &both, Err("signature_invalid"));
    check(Some(&format!("0x{}", &valid)), &both, Err("signature_invalid"));
    check(Some("zz"), &both, Err("signature_invalid"));
    check(Some(""), &both, Err("signature_missing"));
    check(None, &both, Err("signature_missing"));
    assert_eq!(MISSING.detail, "Missing sentry-hook-signature header");
    assert_eq!(INVALID.detail, "Invalid sentry-hook-signature");
    let detail = Sentry.missing_secret_detail();
    assert_eq!(detail, "SENTRY_WEBHOOK_SECRET missing in production environment");
}

#[test]
fn r5_the_unsigned_plugin_is_let_in_by_authorization_only() {
    let hmac = Credential::Hmac { id: "h".into(), secret: b"secret".to_vec() };
    let basic = Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() };
    let check = |headers: &[(&str, &str)], credentials: &[Credential], expected: &str| {
        let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let found = Sentry.authenticate(&request(&headers, b"{}"), credentials);
        let found = found.map_or_else(|refused| refused.code.to_owned(), |auth| auth.method);
        assert_eq!(found, expected, "{headers:?}");
    };
    let (signature, authorization) = ("sentry-hook-signature", ("authorization", "Basic dTpw"));
    let both = [hmac.clone(), basic.clone()];
    check(&[authorization], &both, "basic");
    check(&[authorization], std::slice::from_ref(&basic), "basic");
    check(&[("authorization", "Basic dTpx")], &both, "credentials_invalid");
    check(&[], std::slice::from_ref(&basic), "credentials_missing");
    check(&[], &both, "signature_missing");
    // A signature that is there has to be right, and a source with a secret alone asks for one.
    check(&[(signature, "00"), authorization], &both, "signature_invalid");
    check(&[authorization], std::slice::from_ref(&hmac), "signature_missing");
}

#[test]
fn r5_r22_the_plugins_flat_body_has_the_same_defaults() {
    for value in [json!(null), json!([1]), json!({"x": 1}), json!(true), json!("")] {
        let body = json!({"id": 7, "project": value, "project_slug": value, "culprit": value,
            "level": value, "url": value, "message": value, "triggering_rules": value,
            "event": if value.is_object() { json!(3) } else { json!({"title": value,
                "metadata": value, "tags": if value.is_array() { json!(7) } else { value.clone() },
                "timestamp": value, "exception": value, "environment": value}) }});
        let raw = body.to_string();
        let found = match normalise("sentry", &json!({}), raw.as_bytes()) {
            Normalised::Alerts { mut alerts, .. } => alerts.remove(0),
            // Nothing is left that tells the plugin's body from any other.
            other if value.is_object() => {
                let reason = "missing_issue_id".to_owned();
                assert_eq!(other, Normalised::Rejected { reason });
                continue;
            }
            other => panic!("{body}: {other:?}"),
        };
        let facts = &found.facts;
        assert_eq!(facts.title, "Unknown Error", "{value}");
        assert_eq!(facts.culprit.as_deref(), Some("unknown"));
        assert_eq!(facts.level, Some(Level::Error));
        assert_eq!(facts.sender_project.as_deref(), Some("unknown"));
        assert_eq!((facts.count, facts.status), (Some(1), Status::Firing));
        assert_eq!((&facts.message, &facts.url, facts.started_at), (&None, &None, None));
    }
    // R5: an empty message leaves the event's title; a missing time leaves that of the arrival.
    let body = json!({"id": "7", "culprit": "c", "message": "", "event": {"title": "T: v"}});
    let found = normalise("sentry", &json!({}), body.to_string().as_bytes());
    let Normalised::Alerts { alerts, .. } = found else { panic!("{found:?}") };
    assert_eq!((alerts[0].facts.title.as_str(), alerts[0].provider_ts), ("T: v", None));
}

#[test]
fn r22_defaults_for_absent_null_and_wrong_types() {
    let wrong =
        [None, Some(json!(null)), Some(json!([1])), Some(json!({"x": 1})), Some(json!(true))];
    for value in wrong {
        let mut issue = json!({"id": "1"});
        let mut event = json!({});
        if let Some(value) = &value {
            for field in ["title", "culprit", "level", "project", "firstSeen", "count"] {
                issue[field] = value.clone();
            }
            for field in ["message", "platform", "exception"] {
                event[field] = value.clone();
            }
            event["tags"] =
                if value.is_object() || value.is_array() { json!(7) } else { value.clone() };
        }
        let found =
            alert("issue", &json!({"action": "created", "data": {"issue": issue, "event": event}}));
        let facts = &found.facts;
        assert_eq!(facts.title, "Unknown Error", "{value:?}");
        assert_eq!(facts.culprit.as_deref(), Some("unknown"));
        assert_eq!(facts.level, Some(Level::Error));
        assert_eq!(facts.sender_project.as_deref(), Some("unknown"));
        assert_eq!(facts.count, Some(1));
        assert!(facts.labels.is_empty() && facts.stack.is_empty());
        assert_eq!((facts.first_seen, &facts.message, &facts.platform), (None, &None, &None));
    }
}

#[test]
fn r22_counts_levels_and_empty_words() {
    let check = |issue: Value| {
        let mut full = json!({"id": 5, "title": "", "culprit": ""});
        full.as_object_mut().unwrap().extend(issue.as_object().unwrap().clone());
        alert("issue", &json!({"action": "created", "data": {"issue": full, "event": null}}))
    };
    for (count, expected, noted) in [
        (json!("12"), 12, false),
        (json!(12), 12, false),
        (json!("twelve"), 1, true),
        (json!(1.5), 1, true),
        (json!(-3), 1, true),
    ] {
        let found = check(json!({"count": count}));
        assert_eq!(found.facts.count, Some(expected));
        assert_eq!(!found.notes.is_empty(), noted, "{count}");
    }
    for (word, level) in [
        ("FATAL", Some(Level::Fatal)),
        ("error", Some(Level::Error)),
        ("Warning", Some(Level::Warning)),
        ("info", Some(Level::Info)),
        ("debug", None),
    ] {
        assert_eq!(check(json!({"level": word})).facts.level, level, "{word}");
    }
    let found = check(json!({"project": null}));
    assert_eq!(found.facts.title, "Unknown Error");
    assert_eq!(found.facts.culprit.as_deref(), Some("unknown"));
}

#[test]
fn r23_missing_issue_id_is_rejected_by_name() {
    for body in [
        json!({"action": "triggered", "data": {"issue": {"title": "x"}, "event": {"event_id": "e"}}}),
        json!({"action": "created", "data": {"issue": {"id": ""}}}),
        json!({"action": "created", "data": {"issue": {"id": 0}}}),
        json!({"action": "created", "data": {"issue": "text"}}),
        json!({"action": "created", "data": {}}),
        json!({"data": [1]}),
        json!({}),
    ] {
        for resource in ["issue", "event_alert", ""] {
            let headers = json!({"sentry-hook-resource": resource});
            let found = normalise("sentry", &headers, body.to_string().as_bytes());
            let reason = "missing_issue_id".to_owned();
            assert_eq!(found, Normalised::Rejected { reason }, "{resource} {body}");
        }
    }
}

#[test]
fn r24_last_five_frames_in_order_and_malformed_is_empty() {
    let with = |exception: Value| {
        let event = json!({"event_id": "e", "issue_id": 1, "exception": exception});
        alert("event_alert", &json!({"action": "triggered", "data": {"event": event}})).facts.stack
    };
    let frames = |frames: Value| with(json!({"values": [{"stacktrace": {"frames": frames}}]}));
    let seven: Vec<_> = (0..7).map(|n| json!({"function": format!("f{n}"), "lineno": n})).collect();
    let names: Vec<_> = frames(json!(seven)).into_iter().map(|f| f.function.unwrap()).collect();
    assert_eq!(names, ["f2", "f3", "f4", "f5", "f6"]);
    let one = json!([{"filename": null, "function": 7, "lineno": "x", "context_line": "a()"}]);
    let kept = StackFrame { context_line: Some("a()".into()), ..StackFrame::default() };
    assert_eq!(frames(one), [kept]);
    for bad in [json!([1]), json!([{}, null]), json!("x"), json!({}), json!(null)] {
        assert_eq!(frames(bad.clone()), [], "{bad}");
    }
    for bad in [json!(null), json!({"values": []}), json!({"values": {}}), json!([])] {
        assert_eq!(with(bad.clone()), [], "{bad}");
    }
}

#[test]
fn r4_error_issue_and_event_alert_of_one_event_are_one_problem() {
    let event = json!({
        "event_id": "e1", "issue_id": "9", "project": 3, "title": "T", "culprit": "c",
        "url": "https://s/api/0/projects/org/shop/events/e1/",
    });
    let issue = json!({"id": "9", "title": "T", "project": {"id": "3", "slug": "shop"}});
    let error = alert("error", &json!({"action": "created", "data": {"error": event}}));
    let rule = alert("event_alert", &json!({"action": "triggered", "data": {"event": event}}));
    let opened = alert("issue", &json!({"action": "created", "data": {"issue": issue}}));
    assert_eq!(error.identity, opened.identity);
    assert_eq!(rule.identity, opened.identity);
    assert_eq!(error.occurrence, rule.occurrence);
    assert_eq!(error.occurrence.as_deref(), Some("event:e1"));
    for found in [&error, &rule, &opened] {
        assert_eq!(found.facts.sender_project.as_deref(), Some("shop"));
        assert_eq!(found.facts.status, Status::Firing);
    }
}

#[test]
fn r4_delivery_keys_follow_the_senders_retries() {
    let issue = |action: &str, seen: &str, count: &str| {
        json!({"action": action, "data": {"issue":
            {"id": "9", "lastSeen": seen, "count": count, "status": "unresolved"}}})
    };
    let created = key("issue", &issue("created", "a", "1")).unwrap();
    assert!(!created.stable);
    // A retry is built anew, with new counters.
    assert_eq!(key("issue", &issue("created", "b", "2")).unwrap(), created);
    let event = |rule: &str| {
        json!({"action": "triggered", "data":
            {"event": {"event_id": "e", "issue_id": 9}, "triggered_rule": rule}})
    };
    assert_eq!(key("event_alert", &event("a")), key("event_alert", &event("a")));
    assert_ne!(key("event_alert", &event("a")), key("event_alert", &event("b")));
    assert_eq!(key("issue", &json!({"data": {"issue": {}}})), None);
    assert_eq!(key("comment", &json!({"data": {"comment": "x", "issue_id": 9}})), None);

    let sent = |value: &str| {
        let headers = json!({"sentry-hook-resource": "issue", "idempotency-key": value});
        delivery_key(&delivery("sentry", &headers, b""), &issue("created", "a", "1"))
    };
    let stable = sent("5e0f5f3c1d7a4b0e9a1b2c3d4e5f6071").unwrap();
    assert!(stable.stable && stable.key.ends_with(":5e0f5f3c1d7a4b0e9a1b2c3d4e5f6071"));
    let state = json!({"action": "resolved", "data": {"issue": {"id": "9"}}});
    let headers = json!({"sentry-hook-resource": "issue", "idempotency-key": "k".repeat(32)});
    assert!(delivery_key(&delivery("sentry", &headers, b""), &state).unwrap().stable);
    // What is no key falls back to the ids.
    for odd in ["", "short", &"x".repeat(500), "with space in it"] {
        assert_eq!(sent(odd), Some(created.clone()), "{odd}");
    }
}

#[test]
fn r4_a_change_of_state_has_no_fallback_key() {
    // Resolved, reopened and resolved again within minutes, without an event in between, reads the
    // same twice; taking the second for a retry would leave the incident open.
    let issue = json!({"id": "9", "lastSeen": "a", "status": "resolved"});
    let event = json!({"event_id": "e", "issue_id": "9"});
    for action in ["resolved", "archived", "ignored", "unresolved", ""] {
        let bare = json!({"action": action, "data": {"issue": issue}});
        assert_eq!(key("issue", &bare), None, "{action}");
        let with_event = json!({"action": action, "data": {"issue": issue, "event": event}});
        assert_eq!(key("issue", &with_event), None, "{action}");
    }
    let activity = json!({"action": "triggered", "data":
        {"issue": issue, "activity": {"type": "set_resolved"}}});
    assert_eq!(key("activity_alert", &activity), None);
    // Without its id, one event of an issue cannot be told from the next.
    let nameless = json!({"action": "triggered", "data": {"event": {"issue_id": "9"}}});
    assert_eq!(key("event_alert", &nameless), None);
}

#[test]
fn r4_reopening_is_no_report_of_the_event_beside_it() {
    let body = |action: &str| {
        json!({"action": action, "data": {
            "issue": {"id": "9"}, "event": {"event_id": "e", "issue_id": "9"}}})
    };
    assert_eq!(alert("issue", &body("created")).occurrence.as_deref(), Some("event:e"));
    assert_eq!(alert("issue", &body("unresolved")).occurrence, None);
}

#[test]
fn r63_bodies_about_an_own_project_are_known_in_every_shape() {
    let reported_to = Some(("o1.ingest.sentry.io".to_owned(), "42".to_owned()));
    let own = Own::new(reported_to, vec!["gateway".to_owned()]).unwrap();
    let check = |body: Value, expect: bool| {
        let text = body.to_string();
        let request = Request { body: text.as_bytes(), ..Request::default() };
        assert_eq!(Sentry.is_about(&request, &own), expect, "{body}");
    };
    let url = "https://shop.sentry.io/issues/1/";
    for id in [json!(42), json!("42")] {
        check(json!({"data": {"error": {"project": id, "web_url": url}}}), true);
        check(json!({"data": {"event": {"project": id, "web_url": url}}}), true);
        check(
            json!({"data": {"issue": {"project": {"id": id, "slug": "x"}, "web_url": url}}}),
            true,
        );
    }
    let slug = json!({"id": "7", "slug": "gateway"});
    check(json!({"data": {"issue": {"project": slug}, "error": null}}), true);
    // The same number in another installation.
    let elsewhere = "https://sentry.example.com/issues/1/";
    check(json!({"data": {"error": {"project": 42, "web_url": elsewhere}}}), false);
    check(json!({"data": {"error": {"project": 43, "web_url": url}}}), false);
    check(json!({"data": {"issue": {"project": {"id": "43", "slug": "shop"}}}}), false);
    // A metric alert names slugs; one over other projects too is theirs.
    let metric = |projects: Value| json!({"data": {"metric_alert": {"projects": projects}}});
    check(metric(json!(["gateway"])), true);
    check(metric(json!(["gateway", "shop"])), false);
    check(metric(json!([])), false);
    check(json!({"data": {"metric_alert": {"alert_rule": {"projects": ["gateway"]}}}}), true);
    // The plugin's.
    check(json!({"id": "1", "project": "gateway", "url": elsewhere, "event": {}}), true);
    check(json!({"id": "1", "project_slug": "gateway", "culprit": "x"}), true);
    check(json!({"id": "1", "project": "shop", "event": {}}), false);
    for odd in
        [json!(null), json!([]), json!("x"), json!({"data": 1}), json!({"data": {"error": 1}})]
    {
        check(odd, false);
    }
}

#[test]
fn r63_what_is_set_aside_is_not_looked_at() {
    let mut delivery =
        delivery("sentry", &json!({"sentry-hook-resource": "error"}), b"\xff no JSON");
    delivery.recorded = Some(crate::providers::OWN_PROJECT.to_owned());
    let project = schemas::ProjectId::new("shop").unwrap();
    let redactor = Redactor::builtin();
    let reading = Reading { project: &project, redactor, fields: None };
    let told = crate::providers::normalise(&Sentry, &delivery, &reading);
    assert_eq!(told, Normalised::Recorded { reason: "own_project".to_owned() });
}
