//! What tests fold: alerts and records with nothing in them but what a test is about.

use schemas::{
    Alert, Facts, InputPosition, ProjectId, Record, RecordId, SourceId, Status, Time,
    alert::{Content as Text, LogCorrelation, SourceRefs, Stage},
    record::Body,
};
use uuid::Uuid;

use super::{
    Input, Prepared, prepare,
    prepare::{Content, Kind, PreparedDelivery, Readable, SeenKey, Told, prepare_alert},
};
use crate::rules::Rules;

/// An alert that fires for the problem `identity`.
pub fn alert(identity: &str) -> Alert {
    Alert {
        facts: Facts {
            alertname: Some("HighLatency".into()),
            namespace: Some("shop".into()),
            ..Facts::new(
                "alertmanager",
                SourceId::new("main").unwrap(),
                format!("problem {identity}"),
                Status::Firing,
            )
        },
        stage: Stage::Received,
        provider_event_id: identity.into(),
        provider_ts: None,
        status_at: None,
        identity: vec![identity.into()],
        occurrence: None,
        refs: SourceRefs::default(),
        correlation: LogCorrelation::default(),
        content: Text {
            text: String::new(),
            preview: String::new(),
            redaction: "test".into(),
            replaced: 0,
            truncated: false,
        },
        notes: Vec::new(),
    }
}

/// The position of the record that is number `sequence` of its stream.
pub fn at(sequence: u64) -> InputPosition {
    InputPosition { incarnation: 1, sequence, record: 0 }
}

/// Seconds after the first of January 2026.
pub fn second(n: i64) -> Time {
    Time::from_micros(1_767_225_600_000_000).plus_seconds(n)
}

/// The tenant of the samples.
pub fn project() -> ProjectId {
    ProjectId::new("shop").unwrap()
}

/// A delivery of `alerts`, received and stored at `received`.
pub fn delivery(
    sequence: u64,
    received: Time,
    alerts: Vec<Alert>,
    key: Option<SeenKey>,
) -> Prepared {
    let rules = Rules::builtin();
    let alerts = alerts.into_iter().map(|alert| prepare_alert(&project(), alert, rules)).collect();
    told(sequence, received, Told::Alerts { alerts, key })
}

/// A delivery that says `content`.
pub(super) fn told(sequence: u64, received: Time, content: Told) -> Prepared {
    Prepared {
        at: at(sequence),
        stored_at: received,
        of_all: false,
        content: Content::Record(Box::new(Readable {
            id: RecordId(Uuid::from_u128(u128::from(sequence))),
            received_at: received,
            project: Some(project()),
            names: Vec::new(),
            kind: Kind::Delivery(Box::new(PreparedDelivery {
                provider: "alertmanager".into(),
                provider_version: Some(1),
                source: SourceId::new("main").unwrap(),
                raw_sha256: [7; 32],
                raw_length: 99,
                channel: None,
                content,
            })),
        })),
    }
}

/// Any record, through its wire form.
pub fn record(sequence: u64, received: Time, project: Option<ProjectId>, body: Body) -> Prepared {
    let id = RecordId(Uuid::from_u128(u128::from(sequence)));
    let mut bytes = Vec::new();
    Record::new(id, received, project, body).encode_into(&mut bytes);
    let input = Input { at: at(sequence), bytes: &bytes, stored_at: received, of_all: false };
    prepare(input, Rules::builtin()).unwrap()
}
