use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use schemas::{Level, Status};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::providers::tests::{normalise, only, request};

const BODY: &[u8] = br#"{"object_kind":"push"}"#;
const SENT: &str = "1763617422";

fn token(value: &str) -> Credential {
    Credential::Token { id: "token".into(), token: value.into() }
}

fn hmac(secret: &str) -> Credential {
    Credential::Hmac { id: "signing".into(), secret: secret.into() }
}

/// `v1,` and the base64 of the HMAC over id, time and body.
fn sign(key: &[u8], id: &str, at: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(&[id.as_bytes(), b".", at.as_bytes(), b".", body].concat());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

fn authenticate(
    headers: &[(&str, &str)],
    credentials: &[Credential],
) -> Result<String, &'static str> {
    let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let found = Gitlab.authenticate(&request(&headers, BODY), credentials);
    found.map(|auth| auth.credential.unwrap_or_default()).map_err(|refused| refused.code)
}

#[test]
fn r11_the_secret_token_as_it_is() {
    const NAME: &str = "x-gitlab-token";
    let credentials = [token("correct-horse")];
    assert_eq!(authenticate(&[(NAME, "correct-horse")], &credentials), Ok("token".into()));
    for wrong in ["correct-horsd", "correct-hors", "correct-horsee", "", "CORRECT-HORSE"] {
        let found = authenticate(&[(NAME, wrong)], &credentials);
        assert_eq!(found, Err("token_invalid"), "{wrong}");
    }
    assert_eq!(authenticate(&[], &credentials), Err("token_missing"));
    let swapped = [("x-gitlab-event", "correct-horse")];
    assert_eq!(authenticate(&swapped, &credentials), Err("token_missing"));
    let swapped = [("authorization", "Bearer correct-horse")];
    assert_eq!(authenticate(&swapped, &credentials), Err("credentials_invalid"));
    assert_eq!(authenticate(&[(NAME, "")], &[token("")]), Err("token_invalid"));
    let basic = Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() };
    assert_eq!(authenticate(&[("authorization", "Basic dTpw")], &[basic]), Ok("b".into()));
}

#[test]
fn r2_newer_hooks_sign() {
    let secret = format!("whsec_{}", BASE64_STANDARD.encode("a key"));
    let credentials = [hmac(&secret), token("t")];
    let right = sign(b"a key", "m1", SENT, BODY);
    let check = |id: &str, at: &str, signature: &str, expect: Result<&str, &str>| {
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", at),
            ("webhook-signature", signature),
            // Whoever signs must sign right, whatever else is shown.
            ("x-gitlab-token", "t"),
        ];
        let found = authenticate(&headers, &credentials);
        assert_eq!(found.as_deref(), expect.as_ref().copied(), "{id} {at} {signature}");
    };
    check("m1", SENT, &right, Ok("signing"));
    check("m1", SENT, &format!("v1,AAAA {right}"), Ok("signing"));
    check("m2", SENT, &right, Err("signature_invalid"));
    check("m1", "1763617423", &right, Err("signature_invalid"));
    check("m1", SENT, &right[..right.len() - 4], Err("signature_invalid"));
    check("m1", SENT, &right[3..], Err("signature_invalid"));
    check("m1", SENT, &sign(b"a kez", "m1", SENT, BODY), Err("signature_invalid"));
    check("m1", SENT, &sign(b"", "m1", SENT, BODY), Err("signature_invalid"));
    let old = "1763617000";
    check("m1", old, &sign(b"a key", "m1", old, BODY), Err("signature_stale"));

    // An empty secret lets nobody in.
    for empty in ["", "whsec_"] {
        let signature = sign(b"", "m1", SENT, BODY);
        let headers =
            [("webhook-id", "m1"), ("webhook-timestamp", SENT), ("webhook-signature", &signature)];
        assert_eq!(authenticate(&headers, &[hmac(empty)]), Err("signature_invalid"));
    }
    assert_eq!(authenticate(&[], &[hmac(&secret)]), Err("signature_missing"));
    // A hook that does not sign yet shows its token.
    assert_eq!(authenticate(&[("x-gitlab-token", "t")], &credentials), Ok("token".into()));
    // One that does, at a source without a secret, does so as well.
    let both = [
        ("webhook-id", "m1"),
        ("webhook-timestamp", SENT),
        ("webhook-signature", "v1,x"),
        ("x-gitlab-token", "t"),
    ];
    assert_eq!(authenticate(&both, &[token("t")]), Ok("token".into()));
    assert!(credentials.iter().all(|credential| Gitlab.accepts(credential)));
}

fn read(headers: &Value, body: &Value) -> Normalised {
    normalise("gitlab", headers, body.to_string().as_bytes())
}

fn pipeline(more: Value) -> Value {
    let mut attributes = json!({"id": 1, "ref": "main", "status": "failed",
        "finished_at": "2025-10-31 04:36:00 UTC"});
    attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"object_kind": "pipeline", "object_attributes": attributes,
        "project": {"id": 3, "default_branch": "main"}})
}

#[test]
fn r26_a_branchs_pipelines_are_one_problem() {
    let of = |more: Value| only(read(&json!({}), &pipeline(more))).identity;
    let own = of(json!({}));
    assert_eq!(of(json!({"id": 2, "status": "success", "sha": "x"})), own);
    assert_ne!(of(json!({"ref": "topic"})), own);
    assert_ne!(of(json!({"name": "nightly"})), own);
    let mut other = pipeline(json!({}));
    other["project"]["id"] = json!(4);
    assert_ne!(only(read(&json!({}), &other)).identity, own);
}

#[test]
fn only_ends_tell() {
    for (word, expect) in [
        ("failed", Some(Status::Firing)),
        ("success", Some(Status::Resolved)),
        ("canceled", None),
        ("skipped", None),
        ("manual", None),
        ("pending", None),
        ("created", None),
        ("brand_new", None),
    ] {
        match (read(&json!({}), &pipeline(json!({"status": word}))), expect) {
            (told @ Normalised::Alerts { .. }, Some(status)) => {
                assert_eq!(only(told).facts.status, status, "{word}");
            }
            (Normalised::Recorded { reason }, None) => {
                assert_eq!(reason, format!("pipeline: {word}"));
            }
            (other, _) => panic!("{word}: {other:?}"),
        }
    }
}

#[test]
fn r4_delivery_keys_follow_the_senders_retries() {
    let key = |headers: Value, more: Value| match read(&headers, &pipeline(more)) {
        Normalised::Alerts { key, .. } => key.unwrap(),
        other => panic!("{other:?}"),
    };
    let id = "f5e5f430-f57b-4e6e-9fac-d9128cd7232f";
    let stable = key(json!({"idempotency-key": id}), json!({}));
    assert!(stable.stable);
    // Signed hooks call it `webhook-id` as well.
    let signed = json!({"webhook-id": id, "idempotency-key": "something-else"});
    assert_eq!(key(signed, json!({"id": 2})), stable);
    // The event's UUID is shared by what follows from it.
    let plain = key(json!({"x-gitlab-event-uuid": id}), json!({}));
    assert!(!plain.stable);
    assert_eq!(key(json!({}), json!({})), plain);
    assert_ne!(key(json!({}), json!({"status": "success"})), plain);
    assert_ne!(key(json!({}), json!({"finished_at": "2025-10-31 04:40:00 UTC"})), plain);
    assert_ne!(key(json!({}), json!({"id": 2})), plain);
}

#[test]
fn r67_severities_and_states_of_vulnerabilities() {
    let facts = |state: &str, severity: &str| {
        let body = json!({"object_kind": "vulnerability", "object_attributes": {
            "url": "https://g/-/security/vulnerabilities/4", "title": "T", "state": state,
            "severity": severity}});
        match read(&json!({}), &body) {
            told @ Normalised::Alerts { .. } => Some(only(told).facts),
            Normalised::Recorded { .. } => None,
            other => panic!("{other:?}"),
        }
    };
    for (severity, level) in [
        ("critical", Some(Level::Fatal)),
        ("high", Some(Level::Error)),
        ("medium", Some(Level::Warning)),
        ("low", Some(Level::Info)),
        ("unknown", None),
    ] {
        let found = facts("detected", severity).unwrap();
        assert_eq!((found.level, found.severity_raw.as_deref()), (level, Some(severity)));
    }
    let status = |state: &str| facts(state, "low").map(|facts| facts.status);
    assert_eq!(status("detected"), Some(Status::Firing));
    assert_eq!(status("confirmed"), Some(Status::Firing));
    assert_eq!(status("resolved"), Some(Status::Resolved));
    assert_eq!(status("dismissed"), Some(Status::Suppressed));
    assert_eq!(status("pondered"), None);
}

#[test]
fn r70_silence_ends_what_nothing_else_would() {
    let on =
        |branch: &str| Gitlab.silence(&only(read(&json!({}), &pipeline(json!({"ref": branch})))));
    assert_eq!(on("main"), Silence::Nothing);
    assert_eq!(on("topic"), Silence::Over);
    let deployment = json!({"object_kind": "deployment", "status": "failed", "ref": "topic",
        "environment": "review/7"});
    assert_eq!(Gitlab.silence(&only(read(&json!({}), &deployment))), Silence::Nothing);
}

#[test]
fn wrong_types_everywhere_are_as_absent() {
    for value in [json!(null), json!([1]), json!({"x": 1}), json!(true), json!("")] {
        let mut body = pipeline(json!({"name": null, "url": value, "created_at": value,
            "finished_at": value, "source": value, "sha": value}));
        for name in ["user", "commit", "builds", "merge_request"] {
            body[name] = value.clone();
        }
        let found = only(read(&json!({}), &body));
        assert_eq!(found.facts.title, "Pipeline for main", "{value}");
        assert_eq!((found.facts.url, found.facts.started_at), (None, None), "{value}");
    }
}
