use schemas::{Level, Status};
use serde_json::json;

use super::*;
use crate::providers::tests::{normalise, only, request};

fn record(severity: Value, body: &str) -> Value {
    json!({"timeUnixNano": "1763617422123456789", "severityNumber": severity,
        "severityText": "Error", "body": {"stringValue": body}})
}

fn of(records: &[Value]) -> Value {
    json!({"resourceLogs": [{"resource": {"attributes": [
        {"key": "service.name", "value": {"stringValue": "pay"}},
        {"key": "db.password", "value": {"stringValue": "hunter2hunter2"}},
    ]}, "scopeLogs": [{"scope": {"name": "lib"}, "logRecords": records}]}]})
}

fn tell(body: &Value) -> Normalised {
    normalise("otlp", &json!({}), body.to_string().as_bytes())
}

#[test]
fn errors_are_alerts_and_the_rest_is_only_stored() {
    let told = tell(&of(&[record(json!(9), "a"), record(json!(16), "b")]));
    assert_eq!(told, Normalised::Recorded { reason: "log_records: 2 below error".to_owned() });
    let told =
        tell(&of(&[record(json!(17), "a"), record(json!(9), "b"), record(json!("21"), "c")]));
    let Normalised::Alerts { alerts, .. } = told else { panic!("{told:?}") };
    let levels: Vec<_> = alerts.iter().map(|alert| alert.facts.level).collect();
    assert_eq!(levels, [Some(Level::Error), Some(Level::Fatal)]);
    assert_eq!(alerts[0].facts.status, Status::Firing);
    assert_eq!(alerts[0].notes, ["1 records of the request are below error"]);
    // Not stated: what the word stands for.
    assert_eq!(only(tell(&of(&[record(json!(0), "a")]))).facts.level, Some(Level::Error));
    let empty = tell(&json!({"resourceLogs": []}));
    assert_eq!(empty, Normalised::Recorded { reason: "log_records: 0 below error".to_owned() });
}

#[test]
fn the_same_thing_said_again_is_the_same_problem() {
    let identity = |body: &str| only(tell(&of(&[record(json!(17), body)]))).identity;
    assert_eq!(identity("timeout after 31 ms"), identity("timeout after 7 ms"));
    assert_ne!(identity("timeout after 31 ms"), identity("refused after 31 ms"));
    let mut thrown = record(json!(17), "a");
    thrown["attributes"] =
        json!([{"key": "exception.type", "value": {"stringValue": "TimeoutError"}}]);
    let mut again = thrown.clone();
    again["body"] = json!({"stringValue": "other words"});
    let (first, second) = (only(tell(&of(&[thrown]))), only(tell(&of(&[again]))));
    assert_eq!(first.identity, second.identity);
    assert_eq!(first.facts.alertname.as_deref(), Some("TimeoutError"));
}

#[test]
fn records_sent_again_are_known_by_their_times() {
    let key = |body: &Value| match tell(body) {
        Normalised::Alerts { key, .. } => key,
        other => panic!("{other:?}"),
    };
    let first = of(&[record(json!(17), "a")]);
    assert_eq!(key(&first), key(&first));
    assert!(key(&first).is_some_and(|key| !key.stable));
    let mut later = record(json!(17), "a");
    later["timeUnixNano"] = json!("1763617422123457789");
    assert_ne!(key(&first), key(&of(&[later.clone()])));
    later.as_object_mut().unwrap().remove("timeUnixNano");
    assert_eq!(key(&of(&[later])), None);
}

#[test]
fn values_of_every_kind_are_plain_json_and_redacted() {
    let mut all = record(json!(17), "a");
    all["attributes"] = json!([
        {"key": "n", "value": {"intValue": "9007199254740993"}},
        {"key": "b", "value": {"boolValue": true}},
        {"key": "l", "value": {"arrayValue": {"values": [{"stringValue": "x"}, {"doubleValue": 1.5}]}}},
        {"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": 1}}]}}},
        {"key": "e", "value": {}}, {"value": {}}, 7,
    ]);
    let alert = only(tell(&of(&[all])));
    let label = |name: &str| alert.facts.label(name);
    assert_eq!(label("n"), Some("9007199254740993"));
    assert_eq!((label("b"), label("l")), (Some("true"), Some(r#"["x",1.5]"#)));
    assert_eq!((label("m"), label("e")), (Some(r#"{"k":1}"#), Some("")));
    assert!(!format!("{alert:?}").contains("hunter2"), "{alert:?}");
}

#[test]
fn exporters_are_answered_what_they_expect() {
    let ok = of(&[]).to_string();
    assert_eq!(Otlp.admit(&request(&[], ok.as_bytes()), &Senders::Anybody), Ok(()));
    for bad in [&b"\x0a\x07protobuf"[..], b"", b"[]"] {
        let refused = Otlp.admit(&request(&[], bad), &Senders::Anybody);
        assert!(matches!(refused, Err(NotAdmitted::Malformed { .. })), "{refused:?}");
    }
    let reply = Reply::Stored { status: 200, body: r#"{"partialSuccess":{}}"#.to_owned() };
    assert_eq!(Otlp.reply(&request(&[], ok.as_bytes())), reply);
    assert_eq!(tell(&json!({"x": 1})), single::rejected("missing_resource_logs"));
}

#[test]
fn values_in_values_end_somewhere() {
    let mut deep = json!({"stringValue": "x"});
    for _ in 0..30 {
        deep = json!({"arrayValue": {"values": [deep]}});
    }
    let mut of_depth = record(json!(17), "a");
    of_depth["body"] = deep;
    assert!(matches!(tell(&of(&[of_depth])), Normalised::Alerts { .. }));
}
