//! `diagnosis`: what a triage run came to, and an operator's last verdict on it.

use schemas::{IncidentId, JobId, ProjectId, Time, job::Analysis};
use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::{json, text};
use crate::{
    lane::LaneTransaction,
    rows::{JsonText, Row, composites},
    timestamptz,
};

/// All that a batch says of one diagnosis; what is absent stays as it is.
#[derive(Debug)]
pub struct DiagnosisRow<'a> {
    pub project: &'a ProjectId,
    pub run: JobId,
    pub incident: IncidentId,
    pub came_to: Option<CameTo<'a>>,
    pub verdict: Option<Verdict<'a>>,
}

/// What a run came to.
#[derive(Debug)]
pub struct CameTo<'a> {
    pub analyst: &'a str,
    pub model: Option<&'a str>,
    /// Version of the prompt; absent of an analyst that needs none.
    pub prompt: Option<&'a str>,
    pub analysis: &'a Analysis,
    /// Lane time.
    pub at: Time,
}

/// What an operator said of it.
#[derive(Debug)]
pub struct Verdict<'a> {
    /// `confirmed` or `rejected`.
    pub word: &'static str,
    pub operator: &'a str,
    pub note: Option<String>,
    /// Lane time.
    pub at: Time,
}

impl Row for DiagnosisRow<'_> {
    const TYPE: &'static str = "diagnosis_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let (came_to, verdict) = (self.came_to.as_ref(), self.verdict.as_ref());
        to.encode(self.project.as_str())?
            .encode(self.run.0)?
            .encode(self.incident.0)?
            .encode(came_to.map(|c| text(c.analyst)))?
            .encode(came_to.and_then(|c| c.model).map(text))?
            .encode(came_to.and_then(|c| c.prompt).map(text))?
            .encode(came_to.map(|c| json(c.analysis)).transpose()?.map(JsonText))?
            .encode(came_to.is_some_and(|c| c.analysis.inconclusive))?
            .encode(came_to.map(|c| timestamptz(c.at)))?
            .encode(verdict.map(|v| v.word))?
            .encode(verdict.map(|v| text(v.operator)))?
            .encode(verdict.map(|v| timestamptz(v.at)))?
            .encode(verdict.and_then(|v| v.note.as_deref()).map(text))?;
        Ok(())
    }
}

impl LaneTransaction<'_> {
    /// Adds diagnoses, or what is new of those that stand already; each at most once a call.
    pub fn put_diagnoses(&mut self, rows: &[DiagnosisRow<'_>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "diagnosis",
            "insert into diagnosis as d (generation, project, run, incident, analyst, model, \
               prompt, analysis, inconclusive, answered_at, verdict, verdict_by, verdict_at, note) \
             select $1, u.* from unnest(?::diagnosis_row[]) as u \
             on conflict (generation, project, run) do update set \
               analyst = coalesce(excluded.analyst, d.analyst), \
               model = coalesce(excluded.model, d.model), \
               prompt = coalesce(excluded.prompt, d.prompt), \
               analysis = coalesce(excluded.analysis, d.analysis), \
               inconclusive = d.inconclusive or excluded.inconclusive, \
               answered_at = coalesce(excluded.answered_at, d.answered_at), \
               verdict = coalesce(excluded.verdict, d.verdict), \
               verdict_by = coalesce(excluded.verdict_by, d.verdict_by), \
               verdict_at = coalesce(excluded.verdict_at, d.verdict_at), \
               note = case when excluded.verdict is null then d.note else excluded.note end",
        )
        .bind(composites(rows));
    }
}
