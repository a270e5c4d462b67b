//! Golden samples of everything that is written: one line a kind, name and hex, under `fixtures/v1`.
//!
//! Lines are added, never edited: bytes like these stand in logs. A reader must read them and the
//! writer must still write them, for as long as this format version exists.

mod control;
mod incident;
mod notify;
mod triage;

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use uuid::Uuid;

use crate::{
    Alert, Event, EventId, Facts, Fingerprint, IncidentId, InputPosition, JobId, Level, Outcome,
    Position, ProjectId, Record, RecordId, SourceId, StackFrame, Status, Time,
    alert::{Content, LogCorrelation, Risk, SourceRefs, Stage, Window},
    codec,
    event::{
        Answered, Cause, EVENT_VERSION, Effect, FingerprintBy, Kind, Observed, Opened, Planned,
        Repeated, Resolved, Settled, Stale, Withheld,
    },
    job::{Analysis, AnswerResult, SendJob, SendKind, SendResult, TriageJob},
    record::{Answer, Auth, Body, Command, Delivery, Redrive, RulesDocument, SendOutcome, Tick},
};

fn time(seconds: i64) -> Time {
    Time::from_micros((1_763_617_422 + seconds) * 1_000_000 + 7)
}

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn input() -> InputPosition {
    InputPosition { incarnation: 1_763_617_400, sequence: 7, record: 2 }
}

fn at() -> Position {
    input().alert(1)
}

fn project() -> ProjectId {
    ProjectId::new("shop").unwrap()
}

fn text(s: &str) -> Option<String> {
    Some(s.to_owned())
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

fn facts() -> Facts {
    Facts {
        provider: "sentry".into(),
        source: SourceId::new("sentry").unwrap(),
        title: "KeyError: total".into(),
        status: Status::Firing,
        level: Some(Level::Error),
        severity_raw: text("error"),
        alertname: text("KeyError"),
        message: text("total"),
        culprit: text("cart.sum"),
        environment: text("production"),
        service: text("cart"),
        namespace: text("shop-prod"),
        target: text("cart.sum"),
        sender_project: text("cart-api"),
        platform: text("python"),
        issue_id: text("17"),
        url: text("https://sentry.example/issues/17/"),
        started_at: Some(time(1)),
        ended_at: Some(time(2)),
        first_seen: Some(time(-9)),
        count: Some(3),
        user_count: Some(2),
        labels: vec![pair("release", "1.2"), pair("host", "web-3")],
        annotations: vec![pair("summary", "broken")],
        stack: vec![StackFrame {
            filename: text("cart.py"),
            function: text("sum"),
            lineno: Some(31),
            context_line: text("total += x"),
        }],
    }
}

fn analysis() -> AnswerResult {
    AnswerResult {
        analysis: Some(Analysis {
            root_cause: "a key is missing".into(),
            impact: "carts fail".into(),
            fix_suggestion: "check it".into(),
            prevention: "test it".into(),
            confidence: 0.5,
            analyzed_by: "openclaw".into(),
            model: text("m1"),
            ..Analysis::default()
        }),
        attempts: vec![pair("openclaw", "answered")],
        latency_ms: 1200,
        ..AnswerResult::default()
    }
}

fn outcome(result: SendResult) -> SendOutcome {
    SendOutcome {
        job: JobId(uuid(5)),
        incident: Some(IncidentId(uuid(6))),
        target: "hook".into(),
        channel: "webhook".into(),
        kind: "fire".into(),
        subject: at().to_string(),
        trigger: at(),
        attempts: 2,
        result,
    }
}

fn records() -> Vec<(&'static str, Record)> {
    let delivery = Delivery {
        provider: "sentry".into(),
        source: SourceId::new("sentry").unwrap(),
        route: "/webhook/sentry".into(),
        headers: vec![pair("sentry-hook-resource", "error")],
        remote: text("192.0.2.7"),
        auth: Auth { method: "hmac_sha256".into(), credential: text("current") },
        raw: b"{\"a\":1}".to_vec(),
        sha256: [9; 32],
        content_type: text("application/json"),
        channel: None,
        recorded: None,
    };
    let bodies = vec![
        ("delivery", Body::Delivery(Box::new(delivery.clone()))),
        (
            "delivery-channel",
            Body::Delivery(Box::new(Delivery { channel: text("ops"), ..delivery.clone() })),
        ),
        (
            "delivery-recorded",
            Body::Delivery(Box::new(Delivery { recorded: text("own_project"), ..delivery })),
        ),
        (
            "command",
            Body::Command(Box::new(Command {
                operator: "alice".into(),
                auth_method: "key".into(),
                verb: "ack".into(),
                opening: Some(at()),
                arguments: "{}".into(),
            })),
        ),
        (
            "answer",
            Body::Answer(Box::new(Answer {
                job: JobId(uuid(5)),
                incident: IncidentId(uuid(6)),
                opening: at(),
                reason: "open".into(),
                prompt: "p1".into(),
                input: "{}".into(),
                result: analysis(),
            })),
        ),
        ("outcome-delivered", Body::Outcome(Box::new(outcome(SendResult::Delivered(text("m-1")))))),
        ("outcome-already-told", Body::Outcome(Box::new(outcome(SendResult::AlreadyTold)))),
        (
            "outcome-refused",
            Body::Outcome(Box::new(outcome(SendResult::Refused("status 410".into())))),
        ),
        (
            "outcome-unknown",
            Body::Outcome(Box::new(outcome(SendResult::Unknown("timeout".into())))),
        ),
        ("tick", Body::Tick(Tick { now: time(3) })),
        (
            "redrive",
            Body::Redrive(Redrive { original: at(), operator: "alice".into(), record: None }),
        ),
        (
            "redrive-record",
            Body::Redrive(Redrive {
                original: at(),
                operator: "alice".into(),
                record: Some(vec![0xa0]),
            }),
        ),
    ];
    let whole = |body| {
        let mut record = Record::new(RecordId(uuid(1)), time(0), Some(project()), body);
        record.key = Some(1);
        record.trace = text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        record
    };
    let bodies =
        bodies.into_iter().chain(control::bodies()).chain(notify::bodies()).chain(triage::bodies());
    bodies.map(|(name, body)| (name, whole(body))).collect()
}

fn observed() -> Observed {
    Observed {
        alert: Alert {
            facts: facts(),
            stage: Stage::Received,
            provider_event_id: "e-1".into(),
            provider_ts: Some(time(1)),
            status_at: Some(time(1)),
            identity: vec!["11".into(), "17".into()],
            occurrence: text("e-1"),
            refs: SourceRefs { sentry: vec!["17".into()], signoz: vec![], alert: vec!["a".into()] },
            correlation: LogCorrelation {
                trace_id: text("t"),
                span_id: text("s"),
                request_id: text("r"),
                release: text("1.2"),
                sentry_event_id: text("e-1"),
                related_logs_url: text("https://logs.example/"),
                related_traces_url: text("https://traces.example/"),
                window: None,
            },
            content: Content {
                text: "{}".into(),
                preview: "KeyError".into(),
                redaction: "builtin-1".into(),
                replaced: 2,
                truncated: false,
            },
            notes: vec!["count was a text".into()],
        },
        record: RecordId(uuid(1)),
        received_at: time(0),
        fingerprint: Fingerprint(uuid(8)),
        fingerprint_version: 1,
        recurrence_key: Fingerprint(uuid(9)),
        effect: Effect::Opened,
        incident: Some(IncidentId(uuid(6))),
        opening: Some(at()),
        raw_sha256: [9; 32],
        raw_length: 7,
        channel_type: "webhook".into(),
        fingerprint_by: None,
        frequency: None,
        provider_version: None,
    }
}

fn resolved() -> Box<Resolved> {
    Box::new(Resolved {
        incident: IncidentId(uuid(6)),
        fingerprint: Fingerprint(uuid(8)),
        opening: at(),
        occurrences: 4,
        facts: facts(),
        flapping: None,
    })
}

fn events() -> Vec<(&'static str, Event)> {
    let kinds = vec![
        (
            "opened",
            Kind::Opened(Box::new(Opened {
                incident: IncidentId(uuid(6)),
                fingerprint: Fingerprint(uuid(8)),
                cause: Cause::Regression,
                episode: 2,
                risk: Risk::High,
                facts: facts(),
                rule: None,
                frequency: None,
                raised_by: None,
                flapping: None,
                channel: None,
            })),
        ),
        (
            "repeated",
            Kind::Repeated(Repeated {
                incident: IncidentId(uuid(6)),
                fingerprint: Fingerprint(uuid(8)),
                opening: at(),
                occurrences: 3,
                frequency: None,
                level: None,
                rise: None,
            }),
        ),
        ("resolved", Kind::Resolved(resolved())),
        ("suppressed", Kind::Suppressed(resolved())),
        (
            "stale",
            Kind::Stale(Stale {
                fingerprint: Fingerprint(uuid(8)),
                status_at: time(1),
                last_change: time(2),
                rule: None,
            }),
        ),
        (
            "answered",
            Kind::Answered(Box::new(Answered {
                incident: IncidentId(uuid(6)),
                opening: at(),
                job: JobId(uuid(5)),
                reason: "open".into(),
                prompt: "p1".into(),
                result: analysis(),
                fingerprint: None,
            })),
        ),
        ("ticked", Kind::Ticked),
        ("rules-changed", Kind::RulesChanged(None)),
        (
            "rules-changed-document",
            Kind::RulesChanged(Some(Box::new(RulesDocument {
                hash: "0123456789abcdef".into(),
                text: "[defaults]".into(),
                operator: "ada".into(),
            }))),
        ),
        ("observed", Kind::Observed(Box::new(observed()))),
        (
            "observed-by-rule",
            Kind::Observed(Box::new(Observed {
                fingerprint_version: 2,
                fingerprint_by: Some(FingerprintBy {
                    rule: "by-name".into(),
                    inputs: vec!["alertname=KeyError".into()],
                }),
                ..observed()
            })),
        ),
        (
            "settled",
            Kind::Settled(Box::new(Settled {
                record: RecordId(uuid(1)),
                outcome: Outcome::Rejected,
                reason: text("missing_issue_id"),
                alerts: 0,
                provider: "sentry".into(),
                source: SourceId::new("sentry").unwrap(),
                received_at: time(0),
                original: None,
            })),
        ),
        ("sent", Kind::Sent(Box::new(outcome(SendResult::Delivered(None))))),
        (
            "planned",
            Kind::Planned(Planned {
                incident: IncidentId(uuid(6)),
                opening: at(),
                kind: SendKind::Fire,
                receiver: "default".into(),
                rule: "everything".into(),
                summary: None,
                reason: None,
            }),
        ),
        (
            "withheld",
            Kind::Withheld(Withheld {
                incident: IncidentId(uuid(6)),
                opening: at(),
                reason: "repeat".into(),
                rule: "repeat".into(),
                summary: None,
                by: None,
            }),
        ),
    ];
    let whole = |kind| Event {
        version: EVENT_VERSION,
        id: EventId(uuid(4)),
        at: at(),
        lane_time: time(3),
        project: Some(project()),
        rules: "0011223344556677".into(),
        kind,
    };
    let kinds = kinds.into_iter().chain(incident::kinds()).chain(notify::kinds());
    kinds.map(|(name, kind)| (name, whole(kind))).collect()
}

fn jobs() -> (TriageJob, SendJob) {
    let (project, incident) = (project(), IncidentId(uuid(6)));
    let triage = TriageJob::new(project.clone(), incident, at(), "open", Some(facts()));
    let send = SendJob {
        project,
        incident,
        subject: at().to_string(),
        opening: at(),
        kind: SendKind::Resolve,
        target: "hook".into(),
        facts: facts(),
        risk: Risk::Critical,
        rule: "everything".into(),
        rules: "0011223344556677".into(),
        planned_at: time(3),
        frequency: None,
        cause: None,
        standing: None,
        summary: None,
        reply: None,
        tags: Vec::new(),
    };
    (triage, send)
}

fn check<T>(file: &str, samples: &[(&str, T)])
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + std::fmt::Debug,
{
    let golden: BTreeMap<&str, &str> =
        file.lines().filter_map(|line| line.split_once(' ')).collect();
    let missing: Vec<String> = samples
        .iter()
        .filter(|(name, _)| !golden.contains_key(name))
        .map(|(name, sample)| {
            let hex: String = codec::encode(sample).iter().map(|b| format!("{b:02x}")).collect();
            format!("{name} {hex}")
        })
        .collect();
    assert!(missing.is_empty(), "no golden lines; add these:\n{}", missing.join("\n"));
    for (name, sample) in samples {
        let hex: String = codec::encode(sample).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(golden[name], hex, "{name}: the writer changed the wire format");
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        assert_eq!(&codec::decode::<T>("sample", &bytes).unwrap(), sample, "{name}");
    }
    assert_eq!(golden.len(), samples.len(), "a golden line has no sample");
}

#[test]
fn records_keep_their_wire_format() {
    check(include_str!("../fixtures/v1/records.txt"), &records());
}

#[test]
fn events_keep_their_wire_format() {
    check(include_str!("../fixtures/v1/events.txt"), &events());
}

#[test]
fn jobs_keep_their_wire_format() {
    let (triage, send) = jobs();
    let sends: Vec<_> = [("send", send)].into_iter().chain(notify::sends()).collect();
    let asked: Vec<_> = [("triage", triage)].into_iter().chain(triage::jobs()).collect();
    check(include_str!("../fixtures/v1/triage-job.txt"), &asked);
    check(include_str!("../fixtures/v1/send-job.txt"), &sends);
}

#[test]
fn correlations_keep_their_wire_format() {
    let window = Window::between(Some(time(0)), Some(time(60)));
    let windowed = LogCorrelation { window, trace_id: text("t"), ..LogCorrelation::default() };
    check(include_str!("../fixtures/v1/correlation.txt"), &[("windowed", windowed)]);
}

/// New reader, old data and old reader, new data: fields may be added, and are skipped by those
/// that do not know them.
#[test]
fn fields_can_be_added() {
    #[derive(Encode, Decode, PartialEq, Debug)]
    #[cbor(map)]
    struct Before {
        #[n(0)]
        a: u32,
    }
    #[derive(Encode, Decode, PartialEq, Debug)]
    #[cbor(map)]
    struct After {
        #[n(0)]
        a: u32,
        #[n(1)]
        b: Option<String>,
    }
    let after = codec::encode(&After { a: 1, b: text("new") });
    assert_eq!(codec::decode::<Before>("", &after).unwrap(), Before { a: 1 });
    let before = codec::encode(&Before { a: 1 });
    assert_eq!(codec::decode::<After>("", &before).unwrap(), After { a: 1, b: None });
}
