use std::sync::LazyLock;

use jiff::tz::{Offset, TimeZone};
use schemas::{
    Facts, Level, ProjectId, SourceId, Status, Time,
    job::{Analysis, SendKind},
};

use super::*;

mod keys;
mod kinds;
mod replies;
mod templates;
mod wecom;
mod words;

pub(crate) const NUMBER: &str = "INC-20260102-007";

static PROJECT: LazyLock<ProjectId> = LazyLock::new(|| ProjectId::new("shop").unwrap());
static ZONE: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::fixed(Offset::constant(8)));

pub(crate) fn told_at() -> Time {
    "2026-01-01T21:40:00Z".parse().unwrap()
}

/// A message about `facts`, of which nothing else is known.
pub(crate) fn message(kind: SendKind, facts: &Facts) -> Message<'_> {
    Message {
        kind,
        facts,
        analysis: None,
        number: NUMBER,
        project: &PROJECT,
        told_at: told_at(),
        zone: &ZONE,
        frequency: None,
        cause: None,
        standing: None,
        summary: None,
        reply: None,
        tags: &[],
        language: None,
        written: None,
    }
}

pub(crate) fn facts(provider: &str, title: &str) -> Facts {
    Facts {
        level: Some(Level::Error),
        ..Facts::new(provider, SourceId::new("main").unwrap(), title, Status::Firing)
    }
}

pub(crate) fn analysis(root: &str, fix: &str, confidence: f64, model: Option<&str>) -> Analysis {
    Analysis {
        root_cause: root.into(),
        impact: String::new(),
        fix_suggestion: fix.into(),
        prevention: String::new(),
        confidence,
        analyzed_by: if model.is_some() { "openclaw" } else { "playbook" }.into(),
        model: model.map(Into::into),
        ..Analysis::default()
    }
}

pub(crate) fn check(rendered: &str, expect: &str) {
    assert_eq!(rendered, expect, "\nrendered:\n{rendered}\nexpected:\n{expect}");
}
