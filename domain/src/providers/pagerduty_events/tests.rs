use schemas::Level;

use super::*;
use crate::providers::tests::{normalise, only, request};

const KEY: &str = "R013CTP2WH1ZQ3V5YBF0N8XD7K9L4M6T";

fn token(id: &str, token: &str) -> Credential {
    Credential::Token { id: id.into(), token: token.into() }
}

fn authenticate(
    headers: &[(&str, &str)],
    body: &Value,
    credentials: &[Credential],
) -> Result<String, &'static str> {
    let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let body = body.to_string();
    let found = PagerdutyEvents.authenticate(&request(&headers, body.as_bytes()), credentials);
    found.map(|auth| auth.credential.unwrap_or_default()).map_err(|refused| refused.code)
}

#[test]
fn r11_the_routing_key_in_the_body_is_the_credential() {
    let both = [token("previous", "older"), token("current", KEY)];
    let body = |key: &str| json!({"routing_key": key, "event_action": "trigger"});
    assert_eq!(authenticate(&[], &body(KEY), &both), Ok("current".into()));
    assert_eq!(authenticate(&[], &body("older"), &both), Ok("previous".into()));
    let mut altered = KEY.to_owned().into_bytes();
    altered[7] ^= 1;
    let altered = String::from_utf8(altered).unwrap();
    for wrong in [altered.as_str(), &KEY[..31], &format!("{KEY}x"), "x"] {
        assert_eq!(authenticate(&[], &body(wrong), &both), Err("token_invalid"), "{wrong}");
    }
    for none in [json!({}), json!([KEY]), json!({"routing_key": 7}), body(""), body("  ")] {
        assert_eq!(authenticate(&[], &none, &both), Err("token_missing"), "{none}");
    }
    // An empty secret lets nobody in.
    let empty = [token("empty", "")];
    for none in [body(""), json!({})] {
        assert_eq!(authenticate(&[], &none, &empty), Err("token_missing"));
    }
    assert_eq!(authenticate(&[("x-routing-key", KEY)], &json!({}), &both), Err("token_missing"));
}

#[test]
fn r1_a_body_with_broken_text_still_shows_its_key() {
    let credentials = [token("t", KEY)];
    for text in [&b"cut \\ud83d"[..], b"\xf0\x9f", b"\\ude00 \\u0000"] {
        let head = "\u{feff} {\"payload\":{\"summary\":\"".as_bytes();
        let tail = format!("\"}},\"event_action\":\"trigger\",\"routing_key\":\"{KEY}\"}}");
        let body = [head, text, tail.as_bytes()].concat();
        let found = PagerdutyEvents.authenticate(&request(&[], &body), &credentials);
        assert!(found.is_ok(), "{}", body.escape_ascii());
        let told = normalise("pagerduty-events", &json!({}), &body[3..]);
        assert!(matches!(told, Normalised::Alerts { .. }), "{told:?}");
    }
    let twice = format!("{{\"routing_key\":\"x\",\"routing_key\":\"{KEY}\"}}");
    let found = PagerdutyEvents.authenticate(&request(&[], twice.as_bytes()), &credentials);
    assert_eq!(found.map_err(|refused| refused.code), Err("token_missing"));
}

#[test]
fn r11_a_routing_key_that_means_nothing_does_not_stand_in_the_way() {
    let basic = Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() };
    let credentials = [basic, token("t", KEY)];
    let body = json!({"routing_key": "whatever", "event_action": "trigger"});
    let authorization = [("authorization", "Basic dTpw")];
    assert_eq!(authenticate(&authorization, &body, &credentials), Ok("b".into()));
    let wrong = [("authorization", "Basic dTpx")];
    assert_eq!(authenticate(&wrong, &body, &credentials), Err("credentials_invalid"));
    // A key elsewhere than in the body proves nothing.
    let swapped = [("authorization", KEY)];
    assert_eq!(authenticate(&swapped, &body, &credentials), Err("credentials_invalid"));
    let hmac = Credential::Hmac { id: "h".into(), secret: KEY.into() };
    assert!(!PagerdutyEvents.accepts(&hmac));
    assert!(credentials.iter().all(|credential| PagerdutyEvents.accepts(credential)));
}

#[test]
fn the_reply_names_the_key_that_the_fold_finds() {
    let raw = br#"{"routing_key":"k","event_action":"trigger","payload":{"summary":"Down"}}"#;
    let key_of = |raw: &[u8]| match PagerdutyEvents.reply(&request(&[], raw)) {
        Reply::Stored { status: 202, body } => {
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["status"], "success");
            body["dedup_key"].as_str().unwrap().to_owned()
        }
        other => panic!("{other:?}"),
    };
    let key = key_of(raw);
    assert_eq!(key.len(), 32);
    let opened = only(normalise("pagerduty-events", &json!({}), raw));
    assert_eq!(opened.facts.issue_id.as_deref(), Some(key.as_str()));
    // Whoever resolves by that key means the same problem; the next try gets the same key.
    let end = json!({"routing_key": "k", "event_action": "resolve", "dedup_key": key}).to_string();
    let closed = only(normalise("pagerduty-events", &json!({}), end.as_bytes()));
    assert_eq!(closed.identity, opened.identity);
    assert_eq!(key_of(raw), key);
    assert_eq!(key_of(end.as_bytes()), key);
    let other = raw.to_ascii_lowercase();
    assert_ne!(key_of(&other), key);

    let accepted = |raw: &[u8]| PagerdutyEvents.reply(&request(&[], raw)) == Reply::Accepted;
    assert!(accepted(b"no json") && accepted(br#"{"event_action":"resolve"}"#));
}

#[test]
fn r51_the_routing_key_is_nowhere_in_what_is_told() {
    let body = json!({"routing_key": KEY, "event_action": "trigger", "dedup_key": "d",
        "payload": {"summary": "Down", "source": "a", "severity": "error"}});
    let alert = only(normalise("pagerduty-events", &json!({}), body.to_string().as_bytes()));
    assert!(!format!("{alert:?}").contains(KEY));
    assert!(alert.content.text.contains("[redacted:routing_key]"));
    assert_eq!(alert.content.replaced, 1);
}

#[test]
fn r67_severities_and_actions() {
    let alert = |severity: Value, action: &str| {
        let body = json!({"event_action": action, "dedup_key": 7,
            "payload": {"summary": "s", "severity": severity}});
        normalise("pagerduty-events", &json!({}), body.to_string().as_bytes())
    };
    for (word, level) in [
        ("critical", Some(Level::Fatal)),
        ("error", Some(Level::Error)),
        ("warning", Some(Level::Warning)),
        ("info", Some(Level::Info)),
        ("sunny", None),
    ] {
        let found = only(alert(json!(word), "trigger")).facts;
        assert_eq!((found.level, found.severity_raw.as_deref()), (level, Some(word)));
    }
    assert_eq!(only(alert(json!(null), "trigger")).facts.severity_raw, None);
    assert_eq!(only(alert(json!(null), "resolve")).facts.status, Status::Resolved);
    for action in ["acknowledge", "", "merge"] {
        assert!(!matches!(alert(json!(null), action), Normalised::Alerts { .. }), "{action}");
    }
}

#[test]
fn a_key_is_one_problem_whatever_environment_a_trigger_names() {
    use crate::{
        observe::{Scope, identify},
        rules::Rules,
    };
    let project = schemas::ProjectId::new("shop").unwrap();
    let read = |body: Value| {
        let alert = only(normalise("pagerduty-events", &json!({}), body.to_string().as_bytes()));
        identify(&project, &alert, Rules::builtin())
    };
    let opened = read(json!({"event_action": "trigger", "dedup_key": "d", "payload": {
        "summary": "s", "custom_details": {"env": "staging"}}}));
    let closed = read(json!({"event_action": "resolve", "dedup_key": "d"}));
    let Scope::One { whole } = opened.scope else { panic!("{opened:?}") };
    assert_eq!((closed.scope, closed.fingerprint), (Scope::Whole, whole));
    assert_eq!(PagerdutyEvents.paths(), ["/v2/enqueue"]);
}
