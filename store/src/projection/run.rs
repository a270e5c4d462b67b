//! `run`: one row a triage run.

use schemas::{IncidentId, JobId, ProjectId, Time};

use super::{column, json, text};
use crate::{Error, lane::LaneTransaction, timestamptz};

/// A run as a batch leaves it.
#[derive(Debug)]
pub struct RunRow<'a> {
    pub project: &'a ProjectId,
    pub run: JobId,
    pub incident: IncidentId,
    pub reason: &'a str,
    /// Lane time; kept when the row stands already.
    pub started_at: Time,
    pub end: Option<RunEnd<'a>>,
}

/// How a run ended.
#[derive(Debug)]
pub struct RunEnd<'a> {
    /// The analyst that answered; absent when none did, and the run failed.
    pub agent: Option<&'a str>,
    /// Each analyst that was asked, and how it ended.
    pub attempts: &'a [(String, String)],
    pub latency_ms: u64,
    /// Lane time.
    pub finished_at: Time,
}

impl RunRow<'_> {
    const fn state(&self) -> &'static str {
        match &self.end {
            None => "running",
            Some(RunEnd { agent: Some(_), .. }) => "completed",
            Some(RunEnd { agent: None, .. }) => "failed",
        }
    }
}

impl LaneTransaction<'_> {
    /// Adds runs, or ends those that stand already; each at most once a call.
    pub async fn upsert_runs(&mut self, rows: &[RunRow<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let attempts = rows
            .iter()
            .map(|r| json(&r.end.as_ref().map_or(&[][..], |end| end.attempts)))
            .collect::<Result<Vec<_>, _>>()?;
        sqlx::query(
            "insert into run (generation, project, run, incident, reason, state, agent, \
               attempts, latency_ms, started_at, finished_at) \
             select $1, project, run, incident, reason, state, agent, attempts::jsonb, \
               latency_ms, started_at, finished_at \
             from unnest($2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], \
               $8::text[], $9::bigint[], $10::timestamptz[], $11::timestamptz[]) \
             as u(project, run, incident, reason, state, agent, attempts, latency_ms, started_at, \
               finished_at) \
             on conflict (generation, project, run) do update set \
               state = excluded.state, agent = excluded.agent, attempts = excluded.attempts, \
               latency_ms = excluded.latency_ms, finished_at = excluded.finished_at",
        )
        .bind(self.generation.0)
        .bind(column(rows, |r| r.project.as_str()))
        .bind(column(rows, |r| r.run.0))
        .bind(column(rows, |r| r.incident.0))
        .bind(column(rows, |r| text(r.reason)))
        .bind(column(rows, |r| r.state()))
        .bind(column(rows, |r| r.end.as_ref().and_then(|end| end.agent).map(text)))
        .bind(attempts)
        .bind(column(rows, |r| r.end.as_ref().map(|end| end.latency_ms as i64)))
        .bind(column(rows, |r| timestamptz(r.started_at)))
        .bind(column(rows, |r| r.end.as_ref().map(|end| timestamptz(end.finished_at))))
        .execute(self.connection().await?)
        .await
        .map_err(Error::doing("write runs"))?;
        Ok(())
    }
}
