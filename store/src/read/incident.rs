//! Incidents with their number and runs.

use schemas::{
    Facts, Time,
    alert::Risk,
    event::{Frequency, IncidentState},
    job::Analysis,
};
use sqlx::{Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::View;
use crate::{Error, time};

/// One incident.
#[derive(Clone, Debug)]
pub struct IncidentItem {
    pub incident: Uuid,
    pub project: String,
    /// (day as `YYYYMMDD` in the configured zone, running number); absent until it is given.
    pub number: Option<(String, i32)>,
    /// The opening position.
    pub opening: String,
    pub cause: String,
    pub episode: i32,
    pub status: String,
    pub risk: Risk,
    /// Facts of the alert that opened it.
    pub facts: Facts,
    pub occurrences: i64,
    /// How often its problem occurred when it last did.
    pub frequency: Option<Frequency>,
    pub flapping: bool,
    pub analysis: Option<Analysis>,
    pub opened_at: Time,
    pub closed_at: Option<Time>,
    /// Nobody is told of it until then, because an operator said so.
    pub silenced_until: Option<Time>,
    /// Oldest first.
    pub runs: Vec<RunItem>,
}

/// One triage run.
#[derive(Clone, Debug)]
pub struct RunItem {
    pub run: Uuid,
    pub reason: String,
    pub state: String,
    pub agent: Option<String>,
    /// Each analyst that was asked, and how it ended.
    pub attempts: Vec<(String, String)>,
    pub latency_ms: Option<i64>,
    pub started_at: Time,
    pub finished_at: Option<Time>,
}

impl View {
    /// The newest incidents of `project`, newest first.
    pub async fn incidents(
        &mut self,
        project: &str,
        status: Option<IncidentState>,
        limit: u32,
    ) -> Result<Vec<IncidentItem>, Error> {
        let rows = sqlx::query(
            "select i.*, n.day as number_day, n.number \
             from (select * from incident \
               where generation = $1 and project = $2 \
                 and ($3::text[] is null or project = any($3)) \
                 and ($4::text is null or status = $4) \
               order by opened_at desc, incident limit $5) i \
             left join incident_number n on n.incident = i.incident \
             order by i.opened_at desc, i.incident",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(status.map(IncidentState::word))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read incidents"))?;
        self.with_runs(project, rows).await
    }

    /// These incidents of `project`, oldest first.
    pub async fn incidents_by_id(
        &mut self,
        project: &str,
        incidents: &[Uuid],
    ) -> Result<Vec<IncidentItem>, Error> {
        let rows = sqlx::query(
            "select i.*, n.day as number_day, n.number \
             from unnest($4::uuid[]) u(incident) cross join lateral \
               (select * from incident where generation = $1 and project = $2 \
                 and ($3::text[] is null or project = any($3)) and incident = u.incident \
                 offset 0) i \
             left join incident_number n on n.incident = i.incident \
             order by i.opened_at, i.incident",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(incidents)
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read incidents by id"))?;
        self.with_runs(project, rows).await
    }

    async fn with_runs(
        &mut self,
        project: &str,
        rows: Vec<PgRow>,
    ) -> Result<Vec<IncidentItem>, Error> {
        let mut incidents = rows
            .iter()
            .map(incident_item)
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::doing("read an incident"))?;
        let ids: Vec<Uuid> = incidents.iter().map(|i| i.incident).collect();
        let runs = sqlx::query(
            "select r.* from unnest($4::uuid[]) u(incident) cross join lateral \
               (select * from run where generation = $1 and project = $2 \
                 and ($3::text[] is null or project = any($3)) and incident = u.incident \
                 order by started_at limit 100) r \
             order by r.started_at, r.run",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(&ids)
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read runs"))?;
        for row in &runs {
            let (incident, run) = run_item(row).map_err(Error::doing("read a run"))?;
            if let Some(item) = incidents.iter_mut().find(|i| i.incident == incident) {
                item.runs.push(run);
            }
        }
        Ok(incidents)
    }
}

fn incident_item(row: &PgRow) -> Result<IncidentItem, sqlx::Error> {
    let Json(facts) = row.try_get("facts")?;
    let day: Option<String> = row.try_get("number_day")?;
    let number: Option<i32> = row.try_get("number")?;
    let risk: &str = row.try_get("risk")?;
    let risk = Risk::from_word(risk)
        .ok_or_else(|| sqlx::Error::Decode(format!("risk {risk:?} is none").into()))?;
    Ok(IncidentItem {
        incident: row.try_get("incident")?,
        project: row.try_get("project")?,
        number: day.zip(number),
        opening: row.try_get("opening")?,
        cause: row.try_get("cause")?,
        episode: row.try_get("episode")?,
        status: row.try_get("status")?,
        risk,
        facts,
        occurrences: row.try_get("occurrences")?,
        frequency: row.try_get::<Option<Json<_>>, _>("anomaly_frequency")?.map(|Json(f)| f),
        flapping: row.try_get("flapping")?,
        analysis: row.try_get::<Option<Json<_>>, _>("analysis")?.map(|Json(a)| a),
        opened_at: time(row.try_get("opened_at")?),
        closed_at: row.try_get::<Option<_>, _>("closed_at")?.map(time),
        silenced_until: row.try_get::<Option<_>, _>("silenced_until")?.map(time),
        runs: Vec::new(),
    })
}

fn run_item(row: &PgRow) -> Result<(Uuid, RunItem), sqlx::Error> {
    let Json(attempts) = row.try_get("attempts")?;
    Ok((
        row.try_get("incident")?,
        RunItem {
            run: row.try_get("run")?,
            reason: row.try_get("reason")?,
            state: row.try_get("state")?,
            agent: row.try_get("agent")?,
            attempts,
            latency_ms: row.try_get("latency_ms")?,
            started_at: time(row.try_get("started_at")?),
            finished_at: row.try_get::<Option<_>, _>("finished_at")?.map(time),
        },
    ))
}
