//! Samples of triage calls asked with all that can be told, and of answers that say all they can.

use super::{at, facts, pair, project, text, uuid};
use crate::{
    IncidentId, JobId,
    event::{EscalationLevel, Frequency},
    job::{Analysis, AnswerResult, Rejection, RunbookEntry, TriageJob, Usage},
    record::{Answer, Body},
};

fn analysis() -> Analysis {
    Analysis {
        root_cause: "the pool is exhausted".into(),
        impact: "checkout".into(),
        fix_suggestion: "raise it".into(),
        prevention: "watch it".into(),
        confidence: 0.25,
        analyzed_by: "openclaw".into(),
        model: text("m1"),
        evidence: vec!["alert.message: pool timeout".into()],
        inconclusive: true,
        prompt: text("0011223344556677"),
    }
}

pub(super) fn bodies() -> Vec<(&'static str, Body)> {
    let usage = Usage {
        analyst: "openclaw".into(),
        model: text("m1"),
        calls: 2,
        tokens_in: 1_200,
        tokens_out: 300,
        cost_micros: 1_530,
        latency_ms: 900,
    };
    let answer = Answer {
        job: JobId(uuid(5)),
        incident: IncidentId(uuid(6)),
        opening: at(),
        reason: "reject 1".into(),
        prompt: "0011223344556677".into(),
        input: "{}".into(),
        result: AnswerResult {
            analysis: Some(analysis()),
            attempts: vec![pair("openclaw", "answered")],
            latency_ms: 900,
            usage: vec![usage],
        },
    };
    vec![("answer-whole", Body::Answer(Box::new(answer)))]
}

pub(super) fn jobs() -> Vec<(&'static str, TriageJob)> {
    let rejection = Rejection {
        analysis: Some(analysis()),
        operator: "ada".into(),
        note: text("it was the deployment"),
    };
    let entry = RunbookEntry {
        id: "pool".into(),
        cause: "too few connections".into(),
        impact: "requests wait".into(),
        checks: vec!["SHOW pg_stat_activity".into()],
        fix: "raise max_connections".into(),
        prevention: "alert on its use".into(),
        owner: text("platform"),
        link: text("https://wiki.example/pool"),
        confidence_percent: 60,
    };
    let asked = TriageJob {
        frequency: Some(Frequency {
            count_1h: 2,
            count_24h: 3,
            count_7d: 4,
            level: EscalationLevel::Repeat,
        }),
        runbook: vec![entry],
        rejection: Some(rejection),
        ..TriageJob::new(project(), IncidentId(uuid(6)), at(), "reject 1", Some(facts()))
    };
    vec![("triage-whole", asked)]
}
