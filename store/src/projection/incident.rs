//! `incident`: one row an incident, opened once and changed by what follows.

use schemas::{
    Facts, Fingerprint, IncidentId, Position, ProjectId, Time,
    alert::Risk,
    event::{Frequency, IncidentState},
    job::Analysis,
};

use super::{column, json};
use crate::{Error, lane::LaneTransaction, timestamptz};

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
    pub frequency: Option<Frequency>,
    pub flapping: Option<bool>,
    pub analysis: Option<(&'a Analysis, Time)>,
    /// Lane time of the last change.
    pub updated_at: Time,
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
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("insert incidents"))?;
        Ok(())
    }

    /// Changes incidents, each at most once a call. An incident that is not there (its opening is
    /// below the floor of the events a rebuild began at) is left out.
    pub async fn change_incidents(&mut self, rows: &[IncidentChange<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let analyses = rows
            .iter()
            .map(|r| r.analysis.map(|(analysis, _)| json(analysis)).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let frequencies = frequencies(rows.iter().map(|r| r.frequency))?;
        // One that is opened again has no end any more.
        let ends = column(rows, |r| {
            r.state.filter(|(state, _)| state.is_over()).map(|(_, at)| timestamptz(at))
        });
        // An upsert of the rows as they will be, each found by its key: a plain join of the
        // changes with the table may read the whole generation while it has no statistics
        // (`offset 0` keeps the lateral query from becoming one).
        sqlx::query(
            "insert into incident (generation, project, incident, fingerprint, opening, cause, \
               episode, status, risk, facts, occurrences, analysis, analysed_at, opened_at, \
               closed_at, updated_at, escalation_level, anomaly_frequency, flapping) \
             select i.generation, i.project, i.incident, i.fingerprint, i.opening, i.cause, \
               i.episode, coalesce(u.status, i.status), coalesce(u.risk, i.risk), i.facts, \
               coalesce(u.occurrences, i.occurrences), coalesce(u.analysis::jsonb, i.analysis), \
               coalesce(u.analysed_at, i.analysed_at), i.opened_at, \
               case when u.status is null then i.closed_at else u.closed_at end, \
               u.updated_at, coalesce(u.level, i.escalation_level), \
               coalesce(u.frequency::jsonb, i.anomaly_frequency), coalesce(u.flapping, i.flapping) \
             from unnest($2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::timestamptz[], \
               $7::text[], $8::timestamptz[], $9::timestamptz[], $10::text[], $11::text[], \
               $12::text[], $13::bool[]) \
             as u(project, incident, occurrences, status, closed_at, analysis, analysed_at, \
               updated_at, risk, level, frequency, flapping) \
             cross join lateral (select * from incident i where i.generation = $1 \
               and i.project = u.project and i.incident = u.incident offset 0) i \
             on conflict (generation, project, incident) do update set \
               status = excluded.status, risk = excluded.risk, \
               occurrences = excluded.occurrences, \
               analysis = excluded.analysis, analysed_at = excluded.analysed_at, \
               closed_at = excluded.closed_at, updated_at = excluded.updated_at, \
               escalation_level = excluded.escalation_level, \
               anomaly_frequency = excluded.anomaly_frequency, flapping = excluded.flapping",
        )
        .bind(self.generation.0)
        .bind(column(rows, |r| r.project.as_str()))
        .bind(column(rows, |r| r.incident.0))
        .bind(column(rows, |r| r.occurrences.map(|n| n as i64)))
        .bind(column(rows, |r| r.state.map(|(state, _)| state.word())))
        .bind(ends)
        .bind(analyses)
        .bind(column(rows, |r| r.analysis.map(|(_, at)| timestamptz(at))))
        .bind(column(rows, |r| timestamptz(r.updated_at)))
        .bind(column(rows, |r| r.risk.map(Risk::word)))
        .bind(column(rows, |r| r.frequency.map(|f| f.level.word())))
        .bind(frequencies)
        .bind(column(rows, |r| r.flapping))
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("change incidents"))?;
        Ok(())
    }
}

fn frequencies(
    rows: impl Iterator<Item = Option<Frequency>>,
) -> Result<Vec<Option<String>>, Error> {
    rows.map(|frequency| frequency.map(|f| json(&f)).transpose()).collect()
}
