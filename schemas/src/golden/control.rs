//! Samples of control records.

use super::{at, project, time, uuid};
use crate::{
    Generation, IncidentId, SourceId,
    record::{
        Body, ChatOperator, Control, IncidentNumber, KeyChange, KeyEvent, KeyScope, Promote,
        RulesDocument, SourceSwitch,
    },
};

pub(super) fn bodies() -> Vec<(&'static str, Body)> {
    let samples = vec![
        (
            "control-rules",
            Control::Rules(RulesDocument {
                hash: "0011223344556677".into(),
                text: "version = 1".into(),
                operator: "alice".into(),
            }),
        ),
        (
            "control-incident-number",
            Control::IncidentNumber(IncidentNumber {
                incident: IncidentId(uuid(6)),
                opening: at(),
                day: "20251120".into(),
                number: 1,
            }),
        ),
        (
            "control-promote",
            Control::Promote(Promote {
                from: Generation(1),
                to: Generation(2),
                operator: "alice".into(),
            }),
        ),
        (
            "control-key-created",
            Control::Key(KeyChange {
                id: "0a1b2c3d".into(),
                scope: KeyScope::Source(SourceId::new("prometheus").unwrap()),
                event: KeyEvent::Created { sha256: [7; 32], previous_until: time(86_400) },
                operator: "alice".into(),
            }),
        ),
        (
            "control-key-revoked",
            Control::Key(KeyChange {
                id: "0a1b2c3d".into(),
                scope: KeyScope::Project(project()),
                event: KeyEvent::Revoked,
                operator: "alice".into(),
            }),
        ),
        (
            "control-source-switch",
            Control::SourceSwitch(SourceSwitch {
                source: SourceId::new("prometheus").unwrap(),
                on: false,
                operator: "alice".into(),
            }),
        ),
        (
            "control-chat-operator",
            Control::ChatOperator(ChatOperator {
                user: "telegram:160213506".into(),
                operator: "ada".into(),
                projects: Some(vec![project()]),
                removed: false,
                by: "alice".into(),
                source: None,
            }),
        ),
        (
            "control-chat-operator-removed",
            Control::ChatOperator(ChatOperator {
                user: "lark:ou_4f75".into(),
                operator: "ada".into(),
                projects: None,
                removed: true,
                by: "alice".into(),
                source: None,
            }),
        ),
        (
            "control-chat-operator-of-source",
            Control::ChatOperator(ChatOperator {
                user: "slack:U024BE7LH".into(),
                operator: "ada".into(),
                projects: None,
                removed: false,
                by: "alice".into(),
                source: Some(SourceId::new("slack-emea").unwrap()),
            }),
        ),
    ];
    let body = |control| Body::Control(Box::new(control));
    samples.into_iter().map(|(name, control)| (name, body(control))).collect()
}
