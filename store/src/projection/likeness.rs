//! `likeness`: the words that an incident with a confirmed diagnosis is found by.

use schemas::{Facts, IncidentId, JobId, ProjectId, Time};
use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder, types::Json};
use uuid::Uuid;

use super::{column, text};
use crate::{
    Error,
    lane::LaneTransaction,
    rows::{Row, composites},
    time, timestamptz,
};

/// One word.
#[derive(Debug)]
pub struct LikenessRow<'a> {
    pub project: &'a ProjectId,
    pub word: String,
    /// Lane time at which the incident opened.
    pub at: Time,
    /// The run whose diagnosis was confirmed.
    pub run: JobId,
}

impl Row for LikenessRow<'_> {
    const TYPE: &'static str = "likeness_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.project.as_str())?
            .encode(text(&self.word))?
            .encode(timestamptz(self.at))?
            .encode(self.run.0)?;
        Ok(())
    }
}

impl LaneTransaction<'_> {
    /// When incidents opened, and on what facts. One whose opening is below where a rebuild began is
    /// left out.
    pub async fn openings_of(
        &mut self,
        incidents: &[(&ProjectId, IncidentId)],
    ) -> Result<Vec<(IncidentId, Time, Facts)>, Error> {
        if incidents.is_empty() {
            return Ok(Vec::new());
        }
        let generation = self.generation.0;
        let rows: Vec<(Uuid, jiff_sqlx::Timestamp, Json<Facts>)> = sqlx::query_as(
            "select i.incident, i.opened_at, i.facts \
             from unnest($2::text[], $3::uuid[]) as u(project, incident) \
             cross join lateral (select * from incident where generation = $1 \
               and project = u.project and incident = u.incident offset 0) i",
        )
        .bind(generation)
        .bind(column(incidents, |(project, _)| project.as_str()))
        .bind(column(incidents, |(_, incident)| incident.0))
        .fetch_all(self.connection().await?)
        .await
        .map_err(Error::doing("read the facts of incidents"))?;
        let opening = |(incident, at, Json(facts))| (IncidentId(incident), time(at), facts);
        Ok(rows.into_iter().map(opening).collect())
    }

    /// Adds words; one that stands there stays.
    pub fn insert_likeness(&mut self, rows: &[LikenessRow<'_>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "likeness",
            "insert into likeness (generation, project, word, at, run) \
             select $1, u.* from unnest(?::likeness_row[]) as u on conflict do nothing",
        )
        .bind(composites(rows));
    }
}
