use hmac::{Hmac, KeyInit, Mac};
use schemas::{Level, Status};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::providers::{
    DeliveryKey,
    tests::{normalise, only, request},
};

const BODY: &[u8] = br#"{"zen":"x"}"#;
const NAME: &str = "x-hub-signature-256";

fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", const_hex::encode(mac.finalize().into_bytes()))
}

fn hmac(secret: &str) -> Credential {
    Credential::Hmac { id: secret.into(), secret: secret.into() }
}

fn authenticate(
    headers: &[(&str, &str)],
    body: &[u8],
    credentials: &[Credential],
) -> Result<String, &'static str> {
    let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let found = Github.authenticate(&request(&headers, body), credentials);
    found.map(|auth| auth.credential.unwrap_or_default()).map_err(|refused| refused.code)
}

#[test]
fn r2_the_bodys_hmac_and_nothing_like_it() {
    let right = sign("k", BODY);
    let both = [hmac("other"), hmac("k")];
    assert_eq!(authenticate(&[(NAME, &right)], BODY, &both), Ok("k".into()));
    let hex = right.strip_prefix("sha256=").unwrap();
    let altered = format!("sha256={}{}", if hex.starts_with('0') { '1' } else { '0' }, &hex[1..]);
    for wrong in [&altered, &right[..right.len() - 2], hex, &format!("sha1={hex}"), "sha256="] {
        assert_eq!(authenticate(&[(NAME, wrong)], BODY, &both), Err("signature_invalid"));
    }
    let mut body = BODY.to_vec();
    body[3] ^= 1;
    assert_eq!(authenticate(&[(NAME, &right)], &body, &both), Err("signature_invalid"));
    assert_eq!(authenticate(&[], BODY, &both), Err("signature_missing"));
    assert_eq!(authenticate(&[(NAME, "")], BODY, &both), Err("signature_missing"));
    // The older header, and one with the same value under its name, prove nothing.
    assert_eq!(authenticate(&[("x-hub-signature", &right)], BODY, &both), Err("signature_missing"));
    // Anybody can sign with an empty secret.
    let empty = sign("", BODY);
    assert_eq!(authenticate(&[(NAME, &empty)], BODY, &[hmac("")]), Err("signature_invalid"));
}

#[test]
fn r2_the_documented_example() {
    let secret = "It's a Secret to Everybody";
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let found = authenticate(&[(NAME, signature)], b"Hello, World!", &[hmac(secret)]);
    assert_eq!(found, Ok(secret.into()));
}

#[test]
fn r11_or_what_the_url_shows() {
    let basic = Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() };
    let authorization = ("authorization", "Basic dTpw");
    let both = [hmac("k"), basic.clone()];
    assert_eq!(authenticate(&[authorization], BODY, &both), Ok("b".into()));
    let wrong = (NAME, "sha256=00");
    assert_eq!(authenticate(&[wrong, authorization], BODY, &both), Err("signature_invalid"));
    assert_eq!(authenticate(&[authorization], BODY, &[hmac("k")]), Err("signature_missing"));
    assert!(both.iter().all(|credential| Github.accepts(credential)));
}

fn read(event: &str, body: &Value) -> Normalised {
    normalise("github", &json!({"x-github-event": event}), body.to_string().as_bytes())
}

fn run(more: Value) -> Value {
    let mut run = json!({"id": 1, "workflow_id": 5, "head_branch": "main", "name": "CI",
        "conclusion": "failure", "head_repository": {"id": 7}});
    run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"action": "completed", "workflow_run": run,
        "repository": {"id": 7, "full_name": "a/b", "default_branch": "main"}})
}

#[test]
fn r26_a_workflow_on_a_branch_is_one_problem() {
    let of = |more: Value| only(read("workflow_run", &run(more))).identity;
    let own = of(json!({}));
    for same in [
        json!({"id": 2, "conclusion": "success", "run_number": 9, "head_sha": "x"}),
        json!({"name": "Renamed", "display_title": "y"}),
    ] {
        assert_eq!(of(same.clone()), own, "{same}");
    }
    for other in [
        json!({"workflow_id": 6}),
        json!({"head_branch": "topic"}),
        // A branch of that name in somebody's fork.
        json!({"head_repository": {"id": 8}}),
    ] {
        assert_ne!(of(other.clone()), own, "{other}");
    }
    let mut elsewhere = run(json!({}));
    elsewhere["repository"]["id"] = json!(9);
    assert_ne!(only(read("workflow_run", &elsewhere)).identity, own);
}

#[test]
fn r26_findings_of_each_scan_have_numbers_of_their_own() {
    let scan = |event: &str, found: Value| {
        let mut alert = json!({"number": 4, "state": "open"});
        alert.as_object_mut().unwrap().extend(found.as_object().unwrap().clone());
        let body = json!({"action": "created", "alert": alert, "repository": {"id": 7}});
        only(read(event, &body)).identity
    };
    let code = scan("code_scanning_alert", json!({"rule": {"id": "r"}}));
    let dependency = scan("dependabot_alert", json!({"security_advisory": {"summary": "s"}}));
    let secret = scan("secret_scanning_alert", json!({"secret_type": "t"}));
    assert!(code != dependency && dependency != secret && secret != code);
    assert_eq!(code, scan("code_scanning_alert", json!({"rule": {"id": "r"}, "state": "fixed"})));
    assert_ne!(code, scan("code_scanning_alert", json!({"rule": {"id": "r"}, "number": 5})));
}

#[test]
fn only_conclusions_tell() {
    for (conclusion, expect) in [
        ("failure", Some(Status::Firing)),
        ("timed_out", Some(Status::Firing)),
        ("startup_failure", Some(Status::Firing)),
        ("success", Some(Status::Resolved)),
        ("cancelled", None),
        ("skipped", None),
        ("neutral", None),
        ("stale", None),
        ("action_required", None),
        ("brand_new", None),
    ] {
        match (read("workflow_run", &run(json!({"conclusion": conclusion}))), expect) {
            (told @ Normalised::Alerts { .. }, Some(status)) => {
                assert_eq!(only(told).facts.status, status, "{conclusion}");
            }
            (Normalised::Recorded { reason }, None) => {
                assert_eq!(reason, format!("workflow_run: {conclusion}"));
            }
            (other, _) => panic!("{conclusion}: {other:?}"),
        }
    }
}

#[test]
fn the_states_of_a_finding() {
    let status = |action: &str, state: Value| {
        let body = json!({"action": action, "repository": {"id": 7},
            "alert": {"number": 4, "state": state, "rule": {"id": "r"}}});
        match read("code_scanning_alert", &body) {
            told @ Normalised::Alerts { .. } => Some(only(told).facts.status),
            Normalised::Recorded { .. } => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(status("created", json!("open")), Some(Status::Firing));
    assert_eq!(status("reopened", json!("open")), Some(Status::Firing));
    assert_eq!(status("reopened_by_user", json!(null)), Some(Status::Firing));
    assert_eq!(status("fixed", json!("fixed")), Some(Status::Resolved));
    assert_eq!(status("closed_by_user", json!("dismissed")), Some(Status::Suppressed));
    assert_eq!(status("dismissed", json!(null)), Some(Status::Suppressed));
    assert_eq!(status("auto_dismissed", json!("auto_dismissed")), Some(Status::Suppressed));
    assert_eq!(status("updated_assignment", json!("open")), None);
}

#[test]
fn r67_severities_of_findings() {
    let level = |rule: Value| {
        let body = json!({"action": "created", "repository": {"id": 7},
            "alert": {"number": 4, "state": "open", "rule": rule}});
        let facts = only(read("code_scanning_alert", &body)).facts;
        (facts.level, facts.severity_raw)
    };
    let raw = |word: &str| Some(word.to_owned());
    assert_eq!(level(json!({"severity": "error"})), (Some(Level::Error), raw("error")));
    assert_eq!(level(json!({"severity": "warning"})), (Some(Level::Warning), raw("warning")));
    assert_eq!(level(json!({"severity": "note"})), (Some(Level::Info), raw("note")));
    assert_eq!(level(json!({"severity": "none"})), (None, raw("none")));
    assert_eq!(level(json!({})), (None, None));
    let graded = json!({"severity": "note", "security_severity_level": "critical"});
    assert_eq!(level(graded), (Some(Level::Fatal), raw("critical")));
}

#[test]
fn the_header_has_to_name_what_the_body_is() {
    let body = run(json!({}));
    for (event, expect) in [
        ("workflow_run", true),
        ("", true),
        ("check_run", false),
        ("dependabot_alert", false),
        ("ping", false),
        ("deployment", false),
    ] {
        let told = read(event, &body);
        assert_eq!(matches!(told, Normalised::Alerts { .. }), expect, "{event}");
        // Events that are not read are recorded, whatever else they carry.
        let unknown = ["ping", "deployment"].contains(&event);
        assert_eq!(matches!(told, Normalised::Recorded { .. }), unknown, "{event}");
    }
    // A deployment's status carries the run and the check it came from.
    let mut deployed = run(json!({}));
    deployed["deployment_status"] = json!({"state": "failure", "environment": "e"});
    deployed["check_run"] = json!({"name": "deploy"});
    let found = only(read("deployment_status", &deployed));
    assert_eq!(found.facts.title, "Deployment to e");
    assert!(matches!(read("workflow_run", &deployed), Normalised::Rejected { .. }));
    // One scan's finding is not another's.
    let finding = json!({"action": "created", "repository": {"id": 7},
        "alert": {"number": 4, "state": "open", "rule": {"id": "r"}}});
    assert!(matches!(read("code_scanning_alert", &finding), Normalised::Alerts { .. }));
    assert!(matches!(read("dependabot_alert", &finding), Normalised::Rejected { .. }));
    let reason = "event: release".to_owned();
    assert_eq!(read("release", &json!({"action": "x"})), Normalised::Recorded { reason });
}

#[test]
fn r4_the_delivery_id_is_the_key() {
    let key = |id: &str| {
        let headers = json!({"x-github-event": "workflow_run", "x-github-delivery": id});
        match normalise("github", &headers, run(json!({})).to_string().as_bytes()) {
            Normalised::Alerts { key, .. } => key,
            other => panic!("{other:?}"),
        }
    };
    let id = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
    let expect = DeliveryKey { key: format!("x-github-delivery:{id}"), stable: true };
    assert_eq!(key(id), Some(expect));
    for odd in ["", "short", &"x".repeat(200), "with a blank in it"] {
        assert_eq!(key(odd), None, "{odd}");
    }
}

#[test]
fn forms_are_read_and_signed_as_forms() {
    let text = r#"payload=%7B%22action%22%3A%22completed%22%2C%22workflow_run%22%3A%7B%22id%22%3A1%2C%22workflow_id%22%3A5%2C%22name%22%3A%22a+b%22%2C%22conclusion%22%3A%22failure%22%7D%7D"#;
    let raw = text.as_bytes();
    assert_eq!(only(normalise("github", &json!({}), raw)).facts.title, "a b");
    let signature = sign("k", raw);
    assert_eq!(authenticate(&[(NAME, &signature)], raw, &[hmac("k")]), Ok("k".into()));
    for bad in [&b"payload="[..], b"payload=%7B", b"payload=\xff\xfe", b"payload"] {
        let found = normalise("github", &json!({}), bad);
        assert!(matches!(found, Normalised::Rejected { .. }), "{found:?}");
    }
}

#[test]
fn r70_silence_ends_what_nothing_else_would() {
    let silence = |alert: Alert| Github.silence(&alert);
    let on = |branch: &str| only(read("workflow_run", &run(json!({"head_branch": branch}))));
    assert_eq!(silence(on("main")), Silence::Nothing);
    assert_eq!(silence(on("topic")), Silence::Over);
    let check = json!({"check_run": {"name": "n", "head_sha": "5c1f", "conclusion": "failure"}});
    assert_eq!(silence(only(read("check_run", &check))), Silence::Over, "of a commit alone");
    let finding = json!({"action": "created", "repository": {"id": 7, "full_name": "a/b"},
        "alert": {"number": 4, "state": "open", "rule": {"id": "r"}}});
    assert_eq!(silence(only(read("code_scanning_alert", &finding))), Silence::Nothing);
    let advisory = json!({"action": "published", "security_advisory": {"ghsa_id": "G"}});
    assert_eq!(silence(only(read("security_advisory", &advisory))), Silence::Over);
    let deployment = json!({"deployment_status": {"state": "error", "environment": "e"},
        "deployment": {"ref": "topic"}, "repository": {"id": 7, "full_name": "a/b"}});
    assert_eq!(silence(only(read("deployment_status", &deployment))), Silence::Nothing);
}
