//! `incident`: one row an incident, opened once and changed by what follows.

use schemas::{
    Facts, Fingerprint, IncidentId, Position, ProjectId, Time,
    alert::Risk,
    event::{Frequency, IncidentState},
    job::Analysis,
};

use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::{column, json, stated};
use crate::{
    Error,
    lane::LaneTransaction,
    rows::{JsonText, Row, composites},
    timestamptz,
};

/// An incident as it opens.
#[derive(Debug)]
pub struct OpenedRow<'a> {
    pub project: &'a ProjectId,
    pub incident: IncidentId,
    pub fingerprint: Fingerprint,
    pub opening: Position,
    pub cause: &'static str,
    pub episode: u32,
    pub risk: Risk,
    pub facts: &'a Facts,
    pub frequency: Option<Frequency>,
    pub flapping: bool,
    /// Lane time.
    pub opened_at: Time,
}

/// All that a batch changes of one incident; what is absent stays as it is.
#[derive(Debug)]
pub struct IncidentChange<'a> {
    pub project: &'a ProjectId,
    pub incident: IncidentId,
    pub occurrences: Option<u64>,
    /// Where it stands, and since when, in lane time.
    pub state: Option<(IncidentState, Time)>,
    pub risk: Option<Risk>,
    /// Those of the alert that made it worse.
    pub facts: Option<&'a Facts>,
    pub frequency: Option<Frequency>,
    pub flapping: Option<bool>,
    pub analysis: Option<(&'a Analysis, Time)>,
    /// Until when nobody is told of it; the inner is absent where that is over.
    pub silenced_until: Option<Option<Time>>,
    /// Lane time of the last change.
    pub updated_at: Time,
}

impl Row for IncidentChange<'_> {
    const TYPE: &'static str = "incident_change_row_3";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let analysis = self.analysis.map(|(analysis, _)| json(analysis)).transpose()?;
        let frequency = self.frequency.map(|frequency| json(&frequency)).transpose()?;
        let facts = self.facts.map(json).transpose()?;
        // One that is opened again has no end any more.
        let end = self.state.filter(|(state, _)| state.is_over());
        to.encode(self.project.as_str())?
            .encode(self.incident.0)?
            .encode(self.occurrences.map(|n| n as i64))?
            .encode(self.state.map(|(state, _)| state.word()))?
            .encode(end.map(|(_, at)| timestamptz(at)))?
            .encode(analysis.map(JsonText))?
            .encode(self.analysis.map(|(_, at)| timestamptz(at)))?
            .encode(timestamptz(self.updated_at))?
            .encode(self.risk.map(Risk::word))?
            .encode(self.frequency.map(|frequency| frequency.level.word()))?
            .encode(frequency.map(JsonText))?
            .encode(self.flapping)?
            .encode(self.silenced_until.is_some())?
            .encode(self.silenced_until.flatten().map(stated))?
            .encode(facts.map(JsonText))?;
        Ok(())
    }
}

impl IncidentChange<'_> {
    /// Changes where it stands.
    pub fn turn(&mut self, state: IncidentState, at: Time) {
        self.state = Some((state, at));
    }
}

impl LaneTransaction<'_> {
    /// Adds incidents.
    pub async fn insert_incidents(&mut self, rows: &[OpenedRow<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let facts = rows.iter().map(|r| json(r.facts)).collect::<Result<Vec<_>, _>>()?;
        let frequencies = frequencies(rows.iter().map(|r| r.frequency))?;
        sqlx::query(
            "insert into incident (generation, project, incident, fingerprint, opening, cause, \
               episode, status, risk, facts, occurrences, opened_at, updated_at, \
               escalation_level, anomaly_frequency, flapping) \
             select $1, project, incident, fingerprint, opening, cause, episode, 'open', risk, \
               facts::jsonb, 1, opened_at, opened_at, level, frequency::jsonb, flapping \
             from unnest($2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::int[], \
               $8::text[], $9::text[], $10::timestamptz[], $11::text[], $12::text[], $13::bool[]) \
             as u(project, incident, fingerprint, opening, cause, episode, risk, facts, opened_at, \
               level, frequency, flapping) \
             on conflict do nothing",
        )
        .bind(self.generation.0)
        .bind(column(rows, |r| r.project.as_str()))
        .bind(column(rows, |r| r.incident.0))
        .bind(column(rows, |r| r.fingerprint.0))
        .bind(column(rows, |r| r.opening.to_string()))
        .bind(column(rows, |r| r.cause))
        .bind(column(rows, |r| r.episode as i32))
        .bind(column(rows, |r| r.risk.word()))
        .bind(facts)
        .bind(column(rows, |r| timestamptz(r.opened_at)))
        .bind(column(rows, |r| r.frequency.unwrap_or_default().level.word()))
        .bind(frequencies)
        .bind(column(rows, |r| r.flapping))
        .execute(self.connection().await?)
        .await
        .map_err(Error::doing("insert incidents"))?;
        Ok(())
    }

    /// Changes incidents, each at most once a call. An incident that is not there (its opening is
    /// below the floor of the events a rebuild began at) is left out.
    pub fn change_incidents(&mut self, rows: &[IncidentChange<'_>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "incident",
            "update incident i set \
               status = coalesce(u.status, i.status), risk = coalesce(u.risk, i.risk), \
               facts = coalesce(u.facts, i.facts), \
               occurrences = coalesce(u.occurrences, i.occurrences), \
               analysis = coalesce(u.analysis, i.analysis), \
               analysed_at = coalesce(u.analysed_at, i.analysed_at), \
               closed_at = case when u.status is null then i.closed_at else u.closed_at end, \
               updated_at = u.updated_at, \
               escalation_level = coalesce(u.level, i.escalation_level), \
               anomaly_frequency = coalesce(u.frequency, i.anomaly_frequency), \
               flapping = coalesce(u.flapping, i.flapping), \
               silenced_until = case when u.silenced then u.silenced_until \
                 else i.silenced_until end \
             from (select $1 as generation, c.* from unnest(?::incident_change_row_3[]) as c \
               offset 0) as u \
             where i.generation = u.generation and i.project = u.project \
               and i.incident = u.incident",
        )
        .bind(composites(rows));
    }
}

fn frequencies(
    rows: impl Iterator<Item = Option<Frequency>>,
) -> Result<Vec<Option<String>>, Error> {
    rows.map(|frequency| frequency.map(|f| json(&f)).transpose()).collect()
}
