//! What holds for every provider: the registry, its samples, and that no body makes it panic.

use std::{fs, path::Path};

use proptest::prelude::*;
use schemas::{SourceId, Time, alert::Alert};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;

mod corpus;
mod dossier;
mod large;
mod registry;
mod reserved;
mod signing;

pub(super) fn delivery(provider: &str, headers: &Value, raw: &[u8]) -> Delivery {
    let headers = headers.as_object().into_iter().flatten();
    let headers = headers.map(|(n, v)| (n.to_lowercase(), v.as_str().unwrap().to_owned()));
    let headers: Vec<_> = headers.collect();
    let content_type = headers.iter().find(|(name, _)| name == "content-type");
    Delivery {
        provider: provider.to_owned(),
        source: SourceId::new("samples").unwrap(),
        route: "/webhook".to_owned(),
        content_type: content_type.map(|(_, value)| value.clone()),
        headers,
        remote: None,
        auth: Auth { method: "test".to_owned(), credential: None },
        raw: raw.to_vec(),
        sha256: Sha256::digest(raw).into(),
        channel: None,
        recorded: None,
    }
}

pub(super) fn normalise(provider: &str, headers: &Value, raw: &[u8]) -> Normalised {
    read(&delivery(provider, headers, raw), None)
}

/// Reads a delivery of the project `shop`.
pub(super) fn read(delivery: &Delivery, fields: Option<&FieldMap>) -> Normalised {
    let project = ProjectId::new("shop").unwrap();
    let reading = Reading { project: &project, redactor: Redactor::builtin(), fields };
    super::normalise(by_name(&delivery.provider).unwrap(), delivery, &reading)
}

/// The only alert of a body.
pub(super) fn only(told: Normalised) -> Alert {
    match told {
        Normalised::Alerts { mut alerts, .. } if alerts.len() == 1 => alerts.remove(0),
        other => panic!("not one alert: {other:?}"),
    }
}

/// The headers and the body of a request of now.
pub(super) fn request<'a>(headers: &'a [(String, String)], body: &'a [u8]) -> Request<'a> {
    let received_at = Time::from_micros(1_763_617_422_000_000);
    Request { received_at, headers, body, ..Request::default() }
}

/// The facts and what goes beside them, as one JSON object.
pub(super) fn flat(alert: &Alert) -> Value {
    let mut all = serde_json::to_value(&alert.facts).unwrap();
    let more = json!({
        "stage": alert.stage.word(), "provider_event_id": alert.provider_event_id,
        "provider_ts": alert.provider_ts, "status_at": alert.status_at,
        "identity": alert.identity, "occurrence": alert.occurrence, "notes": alert.notes,
        "correlation": alert.correlation, "replaced": alert.content.replaced,
        "refs": alert.refs,
    });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

/// What somebody asks for in a chat, as one JSON object.
fn asked(ask: &Ask) -> Value {
    match ask {
        Ask::Say { about } => json!({ "about": about }),
        Ask::Do { verb, target, arguments } => {
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            let target = match target {
                Target::Opening { lane, opening } => json!({ "lane": lane.0, "opening": opening }),
                Target::Number { project, number: Number { day, number } } => {
                    json!({ "project": project, "day": day, "number": number })
                }
                Target::Message { chat, id } => json!({ "chat": chat, "message": id }),
            };
            json!({ "verb": verb, "target": target, "arguments": arguments })
        }
    }
}

/// Times are compared as times, everything else as it is.
fn same(expected: &Value, found: &Value) -> bool {
    let time = |v: &Value| times::time(v).filter(|_| v.is_string());
    expected == found || time(expected).is_some_and(|t| Some(t) == time(found))
}

fn fixtures(provider: &str) -> Vec<(String, Vec<u8>, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/fixtures/providers");
    let mut found = vec![];
    for entry in fs::read_dir(folder.join(provider)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(stem) = name.strip_suffix(".expect.json") {
            let raw = fs::read(path.with_file_name(format!("{stem}.json"))).unwrap();
            let expect = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            found.push((format!("{provider}/{stem}"), raw, expect));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn r20_registry_names_are_unique_and_each_has_samples() {
    let mut names: Vec<_> = all().iter().map(|p| p.name()).collect();
    for name in &names {
        assert!(by_name(name).is_some());
        assert!(!fixtures(name).is_empty(), "no samples of {name}");
        for header in by_name(name).unwrap().kept_headers() {
            assert!(!["authorization", "cookie", "sentry-hook-signature"].contains(header));
        }
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all().len());
    assert!(by_name("nobody").is_none());
}

#[test]
fn r6_r7_r8_r20_a_body_tells_whose_it_is() {
    let check = |body: &str, expect: &str| {
        let found = detect(body.as_bytes(), |_| true).unwrap();
        assert_eq!(found.name(), expect, "{body}");
    };
    let alerts = r#""alerts":[{"labels":{"alertname":"x"}}]"#;
    check(&format!(r#"{{"version":"4",{alerts}}}"#), "alertmanager");
    check(r#"{"alerts":"no list"}"#, "alertmanager");
    check(r#"{"alerts":null}"#, "alertmanager");
    check(&format!(r#"{{"orgId":1,"state":"alerting",{alerts}}}"#), "grafana");
    check(r#"{"ruleId":1,"state":"ok","title":"t"}"#, "grafana");
    check(r#"{"evalMatches":7}"#, "grafana");
    check(r#"{"alerts":[{"labels":{"ruleId":"7"}}]}"#, "signoz");
    check(r#"{"alerts":[],"commonLabels":{"ruleSource":"https://x/"}}"#, "signoz");
    check(r#"{"alerts":[{"generatorURL":"https://x/alerts/edit?ruleId=7"}]}"#, "signoz");
    check(r#"{"message":"[告警] x","sender_id":"test_bot"}"#, "custom");
    for other in ["{}", "[]", "7", "not JSON", ""] {
        check(other, "custom");
    }
    // Of those that may be asked, the next best; and nobody, where nobody takes anything.
    let only = |names: &[&str]| {
        let body = br#"{"alerts":[{"labels":{"ruleId":"7"}}]}"#;
        Some(detect(body, |provider| names.contains(&provider.name()))?.name())
    };
    assert_eq!(only(&["custom", "alertmanager"]), Some("alertmanager"));
    assert_eq!(only(&["custom", "sentry"]), Some("custom"));
    assert_eq!(only(&["sentry"]), None);
}

#[test]
fn r5_the_plugin_has_a_path_of_its_own_and_may_name_a_channel() {
    let request = |path, query| Request { path, query, ..Request::default() };
    let sentry = by_name("sentry").unwrap();
    assert_eq!(sentry.paths(), ["/hook"]);
    assert_eq!(sentry.reply(&request("/hook", "")), Reply::Created);
    assert_eq!(sentry.reply(&request("/webhook/sentry", "")), Reply::Accepted);
    let named = |path, query| {
        let asked = sentry.channel(&request(path, query));
        asked.map(|asked| (asked.named, asked.kind))
    };
    let bot = ("https://x/y".to_owned(), Some("feishu"));
    assert_eq!(named("/hook", "feishu=https%3A%2F%2Fx%2Fy"), Some(bot));
    assert_eq!(named("/hook", "feishu="), None);
    assert_eq!(named("/webhook/sentry", "feishu=ops"), None);
}

#[test]
fn r21_every_sample_reads_as_its_expectation_says() {
    for (provider, (name, raw, expect)) in
        all().iter().flat_map(|p| fixtures(p.name()).into_iter().map(|f| (p.name(), f)))
    {
        let result = normalise(provider, &expect["headers"], &raw);
        match (&result, expect["outcome"].as_str().unwrap()) {
            (Normalised::Alerts { alerts, key }, "alerts") => {
                assert_eq!(json!(key.as_ref().map(|k| k.stable)), expect["stable_key"], "{name}");
                let expected = expect["alerts"].as_array().unwrap();
                assert_eq!(alerts.len(), expected.len(), "{name}");
                for (alert, expected) in alerts.iter().zip(expected) {
                    let found = flat(alert);
                    for (field, value) in expected.as_object().unwrap() {
                        let found = &found[field];
                        assert!(same(value, found), "{name} {field}: {value} but {found}");
                    }
                }
            }
            (Normalised::Interaction { interaction, key }, "interaction") => {
                assert_eq!(json!(key.as_ref().map(|k| k.stable)), expect["stable_key"], "{name}");
                assert_eq!(json!(interaction.user), expect["user"], "{name}");
                assert_eq!(asked(&interaction.ask), expect["ask"], "{name}");
            }
            (Normalised::Recorded { reason }, "recorded")
            | (Normalised::Rejected { reason }, "rejected") => {
                assert_eq!(json!(reason), expect["reason"], "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn r51_no_planted_secret_is_left_in_any_sample() {
    for provider in all() {
        for (name, raw, expect) in fixtures(provider.name()) {
            let result = format!("{:?}", normalise(provider.name(), &expect["headers"], &raw));
            for secret in ["hunter2", "s3cr3t", "abc.def", "sid=1", "one-time-grant", "u:pw@"] {
                assert!(!result.contains(secret), "{name} shows {secret}");
            }
        }
    }
}

#[test]
fn i8_nothing_that_is_read_of_a_sample_shows_what_it_brings_for_its_answer() {
    let mut found = Vec::new();
    for provider in all() {
        for (name, raw, expect) in fixtures(provider.name()) {
            let delivery = delivery(provider.name(), &expect["headers"], &raw);
            let Some(credential) = provider.reply_credential(&delivery) else { continue };
            let read = format!("{:?} {credential:?}", read(&delivery, None));
            assert!(!read.contains(credential.expose()), "{name} shows what it brings");
            found.push(provider.name());
        }
    }
    found.dedup();
    assert_eq!(found, ["lark", "slack"], "no sample brings anything");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!("2025-10-31T04:30:45Z")),
    ];
    // Names that are looked at, so that the values under them are reached.
    let name = proptest::sample::select(vec![
        "action",
        "data",
        "issue",
        "event",
        "error",
        "metric_alert",
        "alert_rule",
        "alerts",
        "labels",
        "annotations",
        "status",
        "project",
        "tags",
        "exception",
        "values",
        "stacktrace",
        "frames",
        "id",
        "issue_id",
        "event_id",
        "activity",
        "url",
        "count",
        "evalMatches",
        "ruleId",
        "state",
        "orgId",
        "generatorURL",
        "message",
        "sender_id",
        "timestamp",
        "metadata",
        "title",
        "severity",
        "specversion",
        "culprit",
        "x",
    ]);
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()),
        ]
    })
}

/// Replaces the `nth` value (in order of reading) by `new`.
fn replace_nth(value: &mut Value, nth: &mut usize, new: &Value) {
    if *nth == 0 {
        *value = new.clone();
    }
    *nth = nth.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|v| replace_nth(v, nth, new)),
        Value::Object(map) => map.values_mut().for_each(|v| replace_nth(v, nth, new)),
        _ => {}
    }
}

fn check_bounds(result: &Normalised) {
    if let Normalised::Alerts { alerts, .. } = result {
        assert!(!alerts.is_empty());
        for alert in alerts {
            assert!(!alert.identity.is_empty() && !alert.facts.title.is_empty());
            assert!(alert.content.text.len() <= 64 * 1024);
            assert!(alert.content.preview.chars().count() <= 200);
            assert!(!alert.content.text.contains('\0'));
            if let Some(url) = &alert.facts.url {
                assert!(url.to_lowercase().starts_with("http"));
            }
        }
    }
}

proptest! {
    #[test]
    fn r23_no_json_makes_a_provider_panic(body in any_json(), resource in 0usize..8) {
        let headers = header(resource);
        for provider in all() {
            check_bounds(&normalise(provider.name(), &headers, body.to_string().as_bytes()));
        }
    }

    #[test]
    fn r23_no_bytes_make_a_provider_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        for provider in all() {
            check_bounds(&normalise(provider.name(), &json!({}), &raw));
            let _ = provider.reply_credential(&delivery(provider.name(), &json!({}), &raw));
        }
    }

    #[test]
    fn r23_no_mutated_sample_makes_a_provider_panic(
        pick in any::<proptest::sample::Index>(),
        place in any::<proptest::sample::Index>(),
        new in any_json(),
        cut in any::<proptest::sample::Index>(),
    ) {
        for provider in all() {
            let samples = fixtures(provider.name());
            let (_, raw, expect) = &samples[pick.index(samples.len())];
            let (mut body, _) = match json::body(raw) {
                Ok(body) => body,
                Err(_) => continue,
            };
            replace_nth(&mut body, &mut place.index(200), &new);
            let raw = body.to_string().into_bytes();
            let result = normalise(provider.name(), &expect["headers"], &raw);
            check_bounds(&result);
            prop_assert_eq!(&result, &normalise(provider.name(), &expect["headers"], &raw));
            let brought = provider.reply_credential(&delivery(provider.name(), &json!({}), &raw));
            prop_assert!(brought.is_none_or(|brought| brought.expose().len() <= 2048));
            let part = &raw[..cut.index(raw.len() + 1)];
            check_bounds(&normalise(provider.name(), &expect["headers"], part));
        }
    }
}

fn header(resource: usize) -> Value {
    let names =
        ["issue", "error", "event_alert", "metric_alert", "activity_alert", "comment", "new", ""];
    json!({"sentry-hook-resource": names[resource]})
}

#[test]
fn the_largest_alert_fits_into_an_event() {
    let pairs = |name: &str| -> serde_json::Map<String, Value> {
        (0..400).map(|n| (format!("{name}{n}"), json!("界".repeat(300)))).collect()
    };
    let long = "界".repeat(20_000);
    let frame = json!({"filename": long, "function": long, "context_line": long, "lineno": 1});
    let mut labels = pairs("label");
    for name in ["alertname", "severity", "environment", "service", "namespace", "pod", "ruleId"] {
        labels.insert(name.to_owned(), json!(long));
    }
    let mut annotations = pairs("annotation");
    annotations.insert("summary".to_owned(), json!(long));
    let group = json!({"alerts": [{
        "labels": labels, "annotations": annotations, "fingerprint": long, "generatorURL": long,
    }]});
    let subject = json!({
        "id": long, "event_id": long, "issue_id": long, "title": long, "culprit": long,
        "level": long, "message": long, "platform": long, "environment": long, "release": long,
        "tags": pairs("tag"), "project": {"id": long, "slug": long}, "shortId": long,
        "exception": {"values": [{"type": long, "stacktrace": {"frames": [frame, frame, frame]}}]},
        "contexts": {"trace": {"trace_id": long, "span_id": long}},
    });
    let issue = json!({"action": "created", "data": {"issue": subject, "event": subject,
        "triggered_rule": long, "alert": {"title": long}}});
    let activity = json!({"action": "界".repeat(200_000), "data": {
        "issue": {"id": "9"}, "activity": {"type": long}}});
    let metric = json!({"action": "critical", "data": {"description_title": long,
        "description_text": long, "metric_alert": {"id": long, "alert_rule": {
            "id": long, "name": long, "query": long, "aggregate": long, "environment": long}}}});
    let many = |name: &str| -> Vec<Value> {
        let series = json!({"metric": name, "value": long, "tags": pairs("tag")});
        vec![series; 400]
    };
    let legacy = json!({"ruleId": long, "ruleName": long, "ruleUrl": long, "title": long,
        "message": long, "state": "alerting", "orgId": long, "tags": pairs("tag"),
        "evalMatches": many("m")});
    let mut unified = group.clone();
    unified["orgId"] = json!(long);
    unified["externalURL"] = json!(format!("https://{}", "x".repeat(4000)));
    unified["alerts"][0]["values"] = Value::Object(pairs("value"));
    let plain: Vec<_> = (0..4000).map(|n| format!("name{n}: {}", "界".repeat(90))).collect();
    let message = json!({"message": format!("[告警] {long}\n{}", plain.join("\n")),
        "sender_id": long, "chat_id": long, "metadata": pairs("meta")});
    let mut any = Value::Object(pairs("any"));
    any.as_object_mut().unwrap().extend(subject.as_object().unwrap().clone());
    let plugin = json!({"id": long, "culprit": long, "project": long, "message": long, "url": long,
        "level": long, "triggering_rules": vec![long.clone(); 400], "event": subject});
    let bodies = [
        ("alertmanager", group.clone()),
        ("signoz", group),
        ("grafana", unified),
        ("grafana", legacy),
        ("custom", message),
        ("custom", any),
        ("sentry", issue),
        ("sentry", activity),
        ("sentry", metric),
        ("sentry", plugin),
    ];
    for (provider, body) in bodies {
        let found = normalise(provider, &json!({}), body.to_string().as_bytes());
        let Normalised::Alerts { alerts, .. } = found else { panic!("{provider}: {found:?}") };
        let size = schemas::codec::encode(&alerts[0]).len();
        // Beside it stands what the fold adds, which is small.
        assert!(size < 250 * 1024, "{provider}: {size} bytes");
    }
}
