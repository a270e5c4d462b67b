//! R50: which of the fourteen identity and state fields each provider fills, as a checked-in
//! table. R23, R46: what cannot be read is visible and said.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Doors, EVERYTHING, fixtures::Sample};

/// The fields of R50.
const FIELDS: [&str; 14] = [
    "event_id",
    "project_id",
    "channel_type",
    "provider",
    "stage",
    "provider_event_id",
    "alertname",
    "severity",
    "namespace",
    "target_resource",
    "fingerprint",
    "is_duplicate",
    "provider_ts",
    "received_at",
];

/// One firing sample of each provider.
const FIRING: [(&str, &str); 5] = [
    ("alertmanager", "alertmanager/v4-mixed"),
    ("custom", "custom/message"),
    ("grafana", "grafana/unified-firing"),
    ("sentry", "sentry/error-created"),
    ("signoz", "signoz/metric-critical"),
];

/// R50: the first alert of each sample against `dossier.golden.json`.
#[tokio::test(flavor = "multi_thread")]
async fn r50_the_dossier_is_filled_for_each_provider() {
    let samples = FIRING.map(|(provider, name)| (provider, Sample::named(name)));
    let sources: String =
        samples.iter().map(|(id, s)| s.configured(&format!("own-{id}"))).collect();
    let doors = Doors::open(EVERYTHING, &sources).await;
    let mut table = Map::new();
    for (provider, sample) in samples {
        let id = format!("own-{provider}");
        let record = sample.send_to(&doors, &id).await;
        let delivery = doors.delivery(record).await;
        let path = format!(
            "/api/v1/events/dossier?project_id={id}&provider_event_id={}",
            delivery["alerts"][0]["provider_event_id"].as_str().unwrap()
        );
        let dossier = doors.fleet.get(doors.console, &path).await;
        assert_eq!(dossier["total"], 1, "{dossier}");
        let event = &dossier["events"][0];
        // What differs each time: only its form is golden.
        assert_eq!(event["received_at"], delivery["received_at"]);
        assert!(event["event_id"].as_str().unwrap().parse::<Uuid>().is_ok());
        let mut row = Map::new();
        for field in FIELDS {
            let value = match field {
                "event_id" => Value::from("(uuid)"),
                "received_at" => Value::from("(time)"),
                _ => event.get(field).unwrap_or_else(|| panic!("no {field}")).clone(),
            };
            row.insert(field.to_owned(), value);
        }
        table.insert(provider.to_owned(), Value::Object(row));
    }
    let table = Value::Object(table);
    let golden: Value = serde_json::from_str(include_str!("dossier.golden.json")).unwrap();
    assert_eq!(table, golden, "tests/it/doors/dossier.golden.json is not\n{table:#}");
}

/// R23, R46: no issue id, and no JSON at all: rejected, visible with the reason, said in the log
/// under the event's name, and the lane goes on.
#[tokio::test(flavor = "multi_thread")]
async fn r23_r46_what_cannot_be_read_is_rejected_visibly() {
    let cases = [
        ("sentry/issue-without-id", "missing_issue_id", "sentry_parse_missing_issue_id", "WARN"),
        ("sentry/empty-data", "missing_issue_id", "sentry_parse_missing_issue_id", "WARN"),
        (
            "sentry/not-json",
            "not_json: expected value at line 1 column 1",
            "sentry_parse_failed",
            "ERROR",
        ),
    ];
    let good = Sample::named("sentry/issue-created");
    let doors = Doors::changed(EVERYTHING, &good.configured("mixed"), |text| {
        text.replace("log.filter", "log.format = \"json\"\nlog.filter")
    })
    .await;
    let mut rejected = Vec::new();
    for (name, reason, event, level) in cases {
        let record = Sample::named(name).send_to(&doors, "mixed").await;
        let delivery = doors.delivery(record).await;
        assert_eq!(
            (&delivery["outcome"], &delivery["reason"]),
            (&"rejected".into(), &reason.into())
        );
        assert_eq!(delivery["alerts"], Value::Array(vec![]));
        rejected.push((record, reason, event, level));
    }
    let record = good.send_to(&doors, "mixed").await;
    let delivery = doors.delivery(record).await;
    assert_eq!(delivery["alerts"][0]["effect"], "opened", "{delivery}");
    doors.fleet.settled().await;
    let lines: Vec<Value> =
        doors.said().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (record, reason, event, level) in rejected {
        let said: Vec<&Value> = lines
            .iter()
            .filter(|line| line["message"] == event && line["record"] == record.to_string())
            .collect();
        let [line] = said.as_slice() else { panic!("{event} of {record}: {said:?}") };
        assert_eq!(line["level"], level, "{line}");
        if level == "ERROR" {
            assert_eq!(line["error"], reason, "{line}");
        }
    }
    let incident = delivery["alerts"][0]["incident_id"].clone();
    let created: Vec<&Value> =
        lines.iter().filter(|line| line["message"] == "sentry_incident_created").collect();
    let [line] = created.as_slice() else { panic!("{created:?}") };
    assert_eq!(line["approval_id"], incident);
    assert_eq!((&line["issue_id"], &line["risk_level"]), (&"40012345".into(), &"HIGH".into()));
}
