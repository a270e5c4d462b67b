//! `analyst_call`: one row an analyst that was asked in a triage run.

use schemas::{JobId, ProjectId, Time};
use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::text;
use crate::{
    lane::LaneTransaction,
    rows::{Row, composites},
    timestamptz,
};

/// One analyst that was asked.
#[derive(Debug)]
pub struct AnalystCallRow<'a> {
    pub project: &'a ProjectId,
    pub run: JobId,
    /// Its place among those that were asked.
    pub ordinal: usize,
    pub analyst: &'a str,
    pub model: Option<&'a str>,
    /// Version of the prompt; absent of an analyst that needs none.
    pub prompt: Option<&'a str>,
    /// `answered`, or the name of the failure.
    pub result: &'a str,
    /// Requests made.
    pub calls: u32,
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// Millionths of the currency that prices are configured in.
    pub cost_micros: u64,
    pub latency_ms: Option<u64>,
    /// Lane time of the answer.
    pub at: Time,
}

impl Row for AnalystCallRow<'_> {
    const TYPE: &'static str = "analyst_call_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.project.as_str())?
            .encode(self.run.0)?
            .encode(self.ordinal as i32)?
            .encode(text(self.analyst))?
            .encode(self.model.map(text))?
            .encode(self.prompt.map(text))?
            .encode(text(self.result))?
            .encode(self.calls as i32)?
            .encode(self.tokens_in as i64)?
            .encode(self.tokens_out as i64)?
            .encode(self.cost_micros as i64)?
            .encode(self.latency_ms.map(|ms| ms as i64))?
            .encode(timestamptz(self.at))?;
        Ok(())
    }
}

impl LaneTransaction<'_> {
    /// Adds who was asked; each (run, ordinal) at most once.
    pub fn insert_analyst_calls(&mut self, rows: &[AnalystCallRow<'_>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "analyst_call",
            "insert into analyst_call (generation, project, run, ordinal, analyst, model, prompt, \
               result, calls, tokens_in, tokens_out, cost_micros, latency_ms, at) \
             select $1, u.* from unnest(?::analyst_call_row[]) as u on conflict do nothing",
        )
        .bind(composites(rows));
    }
}
