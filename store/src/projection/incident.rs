//! `incident`: one row an incident, opened once and changed by what follows.

use schemas::{
    Facts, Fingerprint, IncidentId, Position, ProjectId, Time, alert::Risk, job::Analysis,
};

use super::{column, json};
use crate::{Error, lane::LaneTransaction, timestamptz};

/// What the pages call an incident's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentStatus {
    Open,
    Resolved,
    Suppressed,
}

impl IncidentStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Resolved, Self::Suppressed];

    /// The word in tables and pages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
            Self::Suppressed => "suppressed",
        }
    }

    /// The status of that name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

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
    /// Lane time.
    pub opened_at: Time,
}

/// All that a batch changes of one incident; what is absent stays as it is.
#[derive(Debug)]
pub struct IncidentChange<'a> {
    pub project: &'a ProjectId,
    pub incident: IncidentId,
    pub occurrences: Option<u64>,
    /// The end of the episode and when, in lane time.
    pub closed: Option<(IncidentStatus, Time)>,
    pub analysis: Option<(&'a Analysis, Time)>,
    /// Lane time of the last change.
    pub updated_at: Time,
}

impl LaneTransaction<'_> {
    /// Adds incidents.
    pub async fn insert_incidents(&mut self, rows: &[OpenedRow<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let facts = rows.iter().map(|r| json(r.facts)).collect::<Result<Vec<_>, _>>()?;
        sqlx::query(
            "insert into incident (generation, project, incident, fingerprint, opening, cause, \
               episode, status, risk, facts, occurrences, opened_at, updated_at) \
             select $1, project, incident, fingerprint, opening, cause, episode, 'open', risk, \
               facts::jsonb, 1, opened_at, opened_at \
             from unnest($2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::int[], \
               $8::text[], $9::text[], $10::timestamptz[]) \
             as u(project, incident, fingerprint, opening, cause, episode, risk, facts, opened_at) \
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
        // An upsert of the rows as they will be, each found by its key: a plain join of the
        // changes with the table may read the whole generation while it has no statistics
        // (`offset 0` keeps the lateral query from becoming one).
        sqlx::query(
            "insert into incident (generation, project, incident, fingerprint, opening, cause, \
               episode, status, risk, facts, occurrences, analysis, analysed_at, opened_at, \
               closed_at, updated_at) \
             select i.generation, i.project, i.incident, i.fingerprint, i.opening, i.cause, \
               i.episode, coalesce(u.status, i.status), i.risk, i.facts, \
               coalesce(u.occurrences, i.occurrences), coalesce(u.analysis::jsonb, i.analysis), \
               coalesce(u.analysed_at, i.analysed_at), i.opened_at, \
               coalesce(u.closed_at, i.closed_at), u.updated_at \
             from unnest($2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::timestamptz[], \
               $7::text[], $8::timestamptz[], $9::timestamptz[]) \
             as u(project, incident, occurrences, status, closed_at, analysis, analysed_at, \
               updated_at) \
             cross join lateral (select * from incident i where i.generation = $1 \
               and i.project = u.project and i.incident = u.incident offset 0) i \
             on conflict (generation, project, incident) do update set \
               status = excluded.status, occurrences = excluded.occurrences, \
               analysis = excluded.analysis, analysed_at = excluded.analysed_at, \
               closed_at = excluded.closed_at, updated_at = excluded.updated_at",
        )
        .bind(self.generation.0)
        .bind(column(rows, |r| r.project.as_str()))
        .bind(column(rows, |r| r.incident.0))
        .bind(column(rows, |r| r.occurrences.map(|n| n as i64)))
        .bind(column(rows, |r| r.closed.map(|(status, _)| status.word())))
        .bind(column(rows, |r| r.closed.map(|(_, at)| timestamptz(at))))
        .bind(analyses)
        .bind(column(rows, |r| r.analysis.map(|(_, at)| timestamptz(at))))
        .bind(column(rows, |r| timestamptz(r.updated_at)))
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("change incidents"))?;
        Ok(())
    }
}
