//! Samples of what happens to an incident between its opening and its end, and of the fields that
//! came with it.

use super::{at, facts, observed, resolved, text, time, uuid};
use crate::{
    Facts, Fingerprint, IncidentId, Level, Outcome, RecordId, SourceId,
    alert::Risk,
    event::{
        Applied, Cause, Escalated, EscalationLevel, Expired, Frequency, IncidentState, Kind,
        Observed, Opened, Refused, Repeated, Resolved, Rise, Settled,
    },
};

const FREQUENCY: Frequency =
    Frequency { count_1h: 5, count_24h: 12, count_7d: 300, level: EscalationLevel::Escalate };

pub(super) fn applied(before: IncidentState, after: IncidentState) -> Applied {
    Applied {
        incident: IncidentId(uuid(6)),
        fingerprint: Fingerprint(uuid(8)),
        opening: at(),
        verb: "reject".into(),
        actor: "ada".into(),
        auth_method: "api_key".into(),
        before,
        after,
        changed: true,
        arguments: r#"{"comment":"no"}"#.into(),
        triage: text("reject 1"),
        reply: None,
        diagnosis: None,
    }
}

pub fn kinds() -> Vec<(&'static str, Kind)> {
    let escalated = Escalated {
        incident: IncidentId(uuid(6)),
        fingerprint: Fingerprint(uuid(8)),
        opening: at(),
        before: EscalationLevel::Repeat,
        frequency: FREQUENCY,
        risk_before: Risk::Medium,
        risk: Risk::High,
        rule: "escalation".into(),
        triage: text("escalate"),
    };
    let mut kinds = vec![
        (
            "opened-raised",
            Kind::Opened(Box::new(Opened {
                incident: IncidentId(uuid(6)),
                fingerprint: Fingerprint(uuid(8)),
                cause: Cause::Regression,
                episode: 4,
                risk: Risk::Critical,
                facts: facts(),
                rule: None,
                frequency: Some(Frequency { level: EscalationLevel::PermanentFix, ..FREQUENCY }),
                raised_by: text("escalation"),
                flapping: text("flapping"),
                channel: None,
            })),
        ),
        (
            "repeated-frequency",
            Kind::Repeated(Repeated {
                incident: IncidentId(uuid(6)),
                fingerprint: Fingerprint(uuid(8)),
                opening: at(),
                occurrences: 5,
                frequency: Some(FREQUENCY),
                level: None,
                rise: None,
            }),
        ),
        (
            "repeated-rise",
            Kind::Repeated(Repeated {
                incident: IncidentId(uuid(6)),
                fingerprint: Fingerprint(uuid(8)),
                opening: at(),
                occurrences: 6,
                frequency: Some(FREQUENCY),
                level: Some(Level::Fatal),
                rise: Some(Box::new(Rise {
                    before: Some(Level::Warning),
                    risk_before: Risk::Medium,
                    risk: Risk::Critical,
                    facts: Facts { level: Some(Level::Fatal), ..facts() },
                })),
            }),
        ),
        (
            "resolved-flapping",
            Kind::Resolved(Box::new(Resolved { flapping: text("flapping"), ..*resolved() })),
        ),
        (
            "observed-frequency",
            Kind::Observed(Box::new(Observed {
                frequency: Some(Frequency { level: EscalationLevel::None, ..FREQUENCY }),
                provider_version: Some(3),
                ..observed()
            })),
        ),
        (
            "settled-redriven",
            Kind::Settled(Box::new(Settled {
                record: RecordId(uuid(1)),
                outcome: Outcome::Observed,
                reason: None,
                alerts: 1,
                provider: "sentry".into(),
                source: SourceId::new("sentry").unwrap(),
                received_at: time(0),
                original: Some(at()),
            })),
        ),
        ("escalated", Kind::Escalated(Box::new(escalated))),
        (
            "expired",
            Kind::Expired(Box::new(Expired {
                incident: IncidentId(uuid(6)),
                fingerprint: Fingerprint(uuid(8)),
                opening: at(),
                occurrences: 3,
                last_seen: time(1),
                after_seconds: 7200,
                rule: "expiry".into(),
            })),
        ),
        (
            "refused",
            Kind::Refused(Box::new(Refused {
                incident: None,
                opening: Some(at()),
                verb: "ack".into(),
                actor: "ada".into(),
                auth_method: "api_key".into(),
                reason: "unknown_incident".into(),
                reply: None,
            })),
        ),
    ];
    // Each state stands in one of them.
    let states = IncidentState::ALL;
    let names = [
        "applied-open",
        "applied-acknowledged",
        "applied-confirmed",
        "applied-handed-off",
        "applied-reopened",
        "applied-resolved",
        "applied-suppressed",
        "applied-expired",
        "applied-superseded",
    ];
    for (name, state) in names.into_iter().zip(states) {
        kinds.push((name, Kind::Applied(Box::new(applied(state, IncidentState::Open)))));
    }
    let of_diagnosis = Applied {
        diagnosis: text("request 2"),
        ..applied(IncidentState::Confirmed, IncidentState::Open)
    };
    kinds.push(("applied-diagnosis", Kind::Applied(Box::new(of_diagnosis))));
    kinds
}
