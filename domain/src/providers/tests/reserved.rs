//! What is recorded and is no alert: tests and heartbeats.

use std::num::NonZeroU16;

use schemas::{
    Event, InputPosition, Lane, Record, RecordId,
    event::{Effect, Kind, Observed},
    record::Body,
};
use uuid::Uuid;

use super::*;
use crate::{observe::Input, replay};

/// What a lane tells of these deliveries, all of the project `shop`, and how many incidents it opens.
pub(super) fn told(deliveries: &[Delivery]) -> (Vec<Event>, usize) {
    let at = Time::from_micros(1_761_885_900_000_000);
    let project = ProjectId::new("shop").unwrap();
    let records: Vec<Vec<u8>> = (1u128..)
        .zip(deliveries)
        .map(|(n, delivery)| {
            let mut bytes = vec![];
            let body = Body::Delivery(Box::new(delivery.clone()));
            let id = RecordId(Uuid::from_u128(n));
            Record::new(id, at, Some(project.clone()), body).encode_into(&mut bytes);
            bytes
        })
        .collect();
    let inputs = (1u64..).zip(&records).map(|(sequence, bytes)| Input {
        at: InputPosition { incarnation: 1, sequence, record: 0 },
        bytes,
        stored_at: at,
        of_all: false,
    });
    let folded = replay::sequential(Lane(0), NonZeroU16::MIN, inputs).unwrap();
    (folded.events, folded.openings.len())
}

/// What a lane makes of the alerts in these deliveries, and how many incidents it opens.
fn folded(deliveries: &[Delivery]) -> (Vec<Observed>, usize) {
    let (events, opened) = told(deliveries);
    let observed = events.into_iter().filter_map(|event| match event.kind {
        Kind::Observed(observed) => Some(*observed),
        _ => None,
    });
    (observed.collect(), opened)
}

fn of_source(source: &str, provider: &str, body: &Value) -> Delivery {
    let mut delivery = delivery(provider, &json!({}), body.to_string().as_bytes());
    delivery.source = SourceId::new(source).unwrap();
    delivery
}

fn group(labels: Value) -> Value {
    json!({"status": "firing", "alerts": [{"labels": labels, "status": "firing"}]})
}

#[test]
fn r54_a_heartbeat_fills_the_dossier_and_opens_nothing() {
    let body = json!({
        "event_id": "heartbeat-20251031T043000Z", "recorded_at": "2025-10-31T04:30:00Z",
        "reason": "scheduled_provider_freshness_smoke", "run_ref": null, "operator_id": "ops-1",
        "auth_method": "operator_key", "synthetic": true,
        "side_effects": {"incident_created": false, "telegram_sent": false,
            "approval_created": false},
    });
    for provider in ["sentry", "signoz"] {
        let (observed, opened) = folded(&[of_source(HEARTBEAT_SOURCE, provider, &body)]);
        let [found] = &observed[..] else { panic!("{observed:?}") };
        assert_eq!((found.effect, found.incident, opened), (Effect::RecordedOnly, None, 0));
        assert_eq!(found.channel_type, "console");
        let (alert, facts) = (&found.alert, &found.alert.facts);
        assert_eq!(alert.stage, Stage::Heartbeat);
        assert_eq!(alert.provider_event_id, "heartbeat-20251031T043000Z");
        assert_eq!(facts.provider, provider);
        assert_eq!(facts.title, "SourceProviderHeartbeat");
        assert_eq!(facts.severity_raw.as_deref(), Some("info"));
        assert_eq!(facts.namespace.as_deref(), Some("shop-prod"));
        assert_eq!(facts.target.as_deref(), Some("source-provider-ingestion"));
        let fingerprint = format!("source-provider-heartbeat:{provider}");
        assert_eq!(facts.issue_id, Some(fingerprint.clone()));
        assert_eq!(alert.identity, [fingerprint]);
        for (name, value) in [
            ("provider", provider),
            ("synthetic", "true"),
            ("alert_category", "alertchain_provider_freshness"),
            ("telegram", "not_sent"),
            ("incident", "not_created"),
        ] {
            assert_eq!(facts.label(name), Some(value));
        }
        assert_eq!(facts.annotation("reason"), Some("scheduled_provider_freshness_smoke"));
        assert_eq!(
            facts.annotation("summary"),
            Some(
                "Low-noise provider freshness smoke; verifies AwoooP source dossier ingestion \
                 without creating an incident."
            )
        );
        let payload: Value = serde_json::from_str(&alert.content.text).unwrap();
        assert_eq!(payload, body);
    }
    let nameless = of_source(HEARTBEAT_SOURCE, "sentry", &json!({"reason": "x"}));
    let reason = "missing_event_id".to_owned();
    assert_eq!(read(&nameless, None), Normalised::Rejected { reason });
}

#[test]
fn r54_tests_are_recorded_and_open_nothing() {
    let real = group(json!({"alertname": "Down"}));
    let signoz = group(json!({"alertname": "Down", "testalert": "true"}));
    let legacy = json!({"ruleId": 0, "state": "alerting", "title": "[Alerting] Test"});
    let grafana = group(json!({"alertname": "TestAlert", "instance": "Grafana"}));
    let sentry = json!({"data": {"event": {"event_id": "e", "issue_id": "1",
        "tags": [["sample_event", "yes"]]}}});
    let tests = [
        of_source(TEST_SOURCE, "alertmanager", &real),
        of_source("main", "signoz", &signoz),
        of_source("main", "grafana", &legacy),
        of_source("main", "grafana", &grafana),
        of_source("main", "sentry", &sentry),
    ];
    let (observed, opened) = folded(&tests);
    assert_eq!((observed.len(), opened), (tests.len(), 0));
    for found in observed {
        assert_eq!(found.alert.stage, Stage::Test, "{found:?}");
        assert_eq!((found.effect, found.incident), (Effect::RecordedOnly, None));
        assert_eq!(found.channel_type, "webhook");
    }
    // The same, in earnest.
    let (observed, opened) = folded(&[of_source("main", "alertmanager", &real)]);
    assert_eq!((observed[0].effect, opened), (Effect::Opened, 1));
}

#[test]
fn no_source_may_have_a_reserved_name() {
    let reserved = |id: &str| is_reserved(&SourceId::new(id).unwrap());
    assert!(reserved("test") && reserved("heartbeat"));
    assert!(!reserved("sentry") && !reserved("test-1"));
}
