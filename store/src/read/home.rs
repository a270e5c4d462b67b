//! What the home page shows, and what tells it that something changed.
//!
//! Everything here is found by key or stands in tables of a few rows (cursors, ledger, coverage), so
//! that it may be asked several times a second.

use std::collections::BTreeMap;

use schemas::{Facts, Time, job::Analysis};
use sqlx::{Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::View;
use crate::{Error, projection::coverage::Counters, read::coverage::counters, time};

/// One incident as a list shows it.
#[derive(Clone, Debug)]
pub struct Problem {
    pub incident: Uuid,
    pub project: String,
    /// (day as `YYYYMMDD`, running number); absent until it is given.
    pub number: Option<(String, i32)>,
    pub status: String,
    pub risk: String,
    /// Facts of the alert that opened it.
    pub facts: Facts,
    pub occurrences: i64,
    pub analysis: Option<Analysis>,
    pub analysed_at: Option<Time>,
    /// State of its newest triage run.
    pub run: Option<String>,
    pub opened_at: Time,
    pub closed_at: Option<Time>,
}

/// A provider of a project, and when it was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    pub project: String,
    pub provider: String,
    pub counters: Counters,
    pub latest_received_at: Time,
    /// The same without heartbeats and tests.
    pub latest_real_received_at: Option<Time>,
}

/// Where one stage of one lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub stage: String,
    pub lane: i32,
    /// Sequence in the stream the stage reads.
    pub sequence: i64,
    pub lane_time: Time,
    pub moved_at: Time,
}

/// Dead letters of one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    pub stage: String,
    pub records: i64,
    pub oldest: Time,
}

/// How far the read models are: the generation, and per lane the events applied. Equal positions
/// show equal pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    pub generation: i32,
    /// Lane to sequence in the generation's event stream.
    pub lanes: BTreeMap<i32, i64>,
}

/// One incident, as far as it takes to see that it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub incident: Uuid,
    pub project: String,
    pub risk: String,
    pub status: String,
    pub occurrences: i64,
    pub updated_at: Time,
    /// State of its newest triage run.
    pub run: Option<String>,
}

const PROBLEM: &str = "i.incident, i.project, i.status, i.risk, i.facts, i.occurrences, \
    i.analysis, i.analysed_at, i.opened_at, i.closed_at, n.day as number_day, n.number, \
    (select r.state from run r where r.generation = $1 and r.project = i.project \
      and r.incident = i.incident order by r.started_at desc, r.run limit 1) as run_state";

impl View {
    /// Postgres's clock at the beginning of the snapshot.
    pub async fn now(&mut self) -> Result<Time, Error> {
        sqlx::query_scalar("select now()")
            .fetch_one(&mut *self.transaction)
            .await
            .map(time)
            .map_err(Error::doing("read the clock"))
    }

    /// How far the projector's cursors are.
    pub async fn reached(&mut self) -> Result<Reached, Error> {
        let rows: Vec<(i32, i64)> = sqlx::query_as(
            "select lane, seq from cursor where stage = 'project' and generation = $1",
        )
        .bind(self.generation)
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read the projector's cursors"))?;
        Ok(Reached { generation: self.generation, lanes: rows.into_iter().collect() })
    }

    /// Where every stage of every lane stands.
    pub async fn standings(&mut self) -> Result<Vec<Standing>, Error> {
        let rows = sqlx::query(
            "select stage, lane, seq, lane_time, moved_at from cursor where generation = $1 \
             order by stage, lane",
        )
        .bind(self.generation)
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read cursors"))?;
        let standing = |row: &PgRow| {
            Ok(Standing {
                stage: row.try_get("stage")?,
                lane: row.try_get("lane")?,
                sequence: row.try_get("seq")?,
                lane_time: Time::from_micros(row.try_get("lane_time")?),
                moved_at: time(row.try_get("moved_at")?),
            })
        };
        rows.iter().map(standing).collect::<Result<_, _>>().map_err(Error::doing("read a cursor"))
    }

    /// I2: (lane, outcome word or `in_frames`, records). Lanes hold several projects, so this is
    /// not narrowed to the caller's.
    pub async fn ledgers(&mut self) -> Result<Vec<(i32, String, i64)>, Error> {
        sqlx::query_as(
            "select lane, outcome, records from ledger where generation = $1 \
             order by lane, outcome",
        )
        .bind(self.generation)
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read the ledger"))
    }

    /// Dead letters by stage; of all projects, because a record that cannot be read names none.
    pub async fn parked(&mut self) -> Result<Vec<Parked>, Error> {
        let rows = sqlx::query(
            "select stage, count(*) as records, min(parked_at) as oldest from parked \
             where generation = $1 group by stage order by stage",
        )
        .bind(self.generation)
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("count dead letters"))?;
        let parked = |row: &PgRow| {
            Ok(Parked {
                stage: row.try_get("stage")?,
                records: row.try_get("records")?,
                oldest: time(row.try_get("oldest")?),
            })
        };
        rows.iter().map(parked).collect::<Result<_, _>>().map_err(Error::doing("read dead letters"))
    }

    /// Every provider of the visible projects that was ever heard.
    pub async fn heard(&mut self) -> Result<Vec<Heard>, Error> {
        let rows = sqlx::query(
            "select project, provider, total, duplicate_total as duplicates, \
               redacted_total as redacted, missing_source_refs_total as without_refs, \
               sentry_ref_total as sentry_refs, signoz_ref_total as signoz_refs, \
               alert_ref_total as alert_refs, latest_received_at, latest_real_received_at \
             from coverage where generation = $1 \
               and ($2::text[] is null or project = any($2)) order by project, provider",
        )
        .bind(self.generation)
        .bind(&self.projects)
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read who was heard"))?;
        let heard = |row: &PgRow| {
            let real: Option<_> = row.try_get("latest_real_received_at")?;
            Ok(Heard {
                project: row.try_get("project")?,
                provider: row.try_get("provider")?,
                counters: counters(row)?,
                latest_received_at: time(row.try_get("latest_received_at")?),
                latest_real_received_at: real.map(time),
            })
        };
        rows.iter().map(heard).collect::<Result<_, _>>().map_err(Error::doing("read who was heard"))
    }

    /// The newest incidents of the visible ones among `projects`, newest first.
    pub async fn newest_problems(
        &mut self,
        projects: &[String],
        limit: u32,
    ) -> Result<Vec<Problem>, Error> {
        let sql = format!(
            "select {PROBLEM} from (select i.* from unnest($2::text[]) p(project) \
               cross join lateral (select * from incident where generation = $1 \
                 and project = p.project and ($3::text[] is null or project = any($3)) \
                 order by opened_at desc limit $4) i \
               order by i.opened_at desc, i.incident limit $4) i \
             left join incident_number n on n.incident = i.incident \
             order by i.opened_at desc, i.incident"
        );
        self.problems(sql, projects, limit).await
    }

    /// The incidents at HIGH or above that nobody has, of the visible ones among `projects`: by risk, then
    /// oldest first.
    pub async fn urgent_problems(
        &mut self,
        projects: &[String],
        limit: u32,
    ) -> Result<Vec<Problem>, Error> {
        let sql = format!(
            "select {PROBLEM} from (select i.* from unnest($2::text[]) p(project) \
               cross join (values ('CRITICAL'), ('HIGH')) r(risk) \
               cross join lateral (select * from incident where generation = $1 \
                 and project = p.project and ($3::text[] is null or project = any($3)) \
                 and status in ('open', 'reopened') and risk = r.risk order by opened_at limit $4) i \
               order by i.risk, i.opened_at, i.incident limit $4) i \
             left join incident_number n on n.incident = i.incident \
             order by i.risk, i.opened_at, i.incident"
        );
        self.problems(sql, projects, limit).await
    }

    async fn problems(
        &mut self,
        sql: String,
        projects: &[String],
        limit: u32,
    ) -> Result<Vec<Problem>, Error> {
        // Made of constants of this file.
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.generation)
            .bind(projects)
            .bind(&self.projects)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.transaction)
            .await
            .map_err(Error::doing("read problems"))?;
        rows.iter().map(problem).collect::<Result<_, _>>().map_err(Error::doing("read a problem"))
    }

    /// Incidents that nobody has, of the visible ones among `projects`, by risk word: how many, and when the
    /// oldest of them opened.
    pub async fn open_by_risk(
        &mut self,
        projects: &[String],
    ) -> Result<Vec<(String, i64, Time)>, Error> {
        let rows = sqlx::query(
            "select risk, count(*) as open, min(opened_at) as oldest from incident \
             where generation = $1 and project = any($2) \
               and ($3::text[] is null or project = any($3)) and status in ('open', 'reopened') group by risk",
        )
        .bind(self.generation)
        .bind(projects)
        .bind(&self.projects)
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("count open incidents"))?;
        let row = |row: &PgRow| {
            Ok((row.try_get("risk")?, row.try_get("open")?, time(row.try_get("oldest")?)))
        };
        rows.iter().map(row).collect::<Result<_, _>>().map_err(Error::doing("read open incidents"))
    }

    /// Of each of `projects`, its `limit` newest incidents and its `limit` oldest open ones of each
    /// risk from HIGH: what can stand on a home page.
    pub async fn traces(&mut self, projects: &[String], limit: u32) -> Result<Vec<Trace>, Error> {
        let rows = sqlx::query(
            "select i.*, (select r.state from run r where r.generation = $1 \
                 and r.project = i.project and r.incident = i.incident \
                 order by r.started_at desc, r.run limit 1) as run_state \
             from (select i.* from unnest($2::text[]) p(project) cross join lateral \
                 (select incident, project, risk, status, occurrences, updated_at from incident \
                   where generation = $1 and project = p.project \
                   order by opened_at desc limit $4) i \
               union \
               select i.* from unnest($2::text[]) p(project) \
                 cross join (values ('CRITICAL'), ('HIGH')) r(risk) cross join lateral \
                 (select incident, project, risk, status, occurrences, updated_at from incident \
                   where generation = $1 and project = p.project and status in ('open', 'reopened') \
                     and risk = r.risk order by opened_at limit $4) i) i \
             where $3::text[] is null or i.project = any($3)",
        )
        .bind(self.generation)
        .bind(projects)
        .bind(&self.projects)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("look for changed incidents"))?;
        let trace = |row: &PgRow| {
            Ok(Trace {
                incident: row.try_get("incident")?,
                project: row.try_get("project")?,
                risk: row.try_get("risk")?,
                status: row.try_get("status")?,
                occurrences: row.try_get("occurrences")?,
                updated_at: time(row.try_get("updated_at")?),
                run: row.try_get("run_state")?,
            })
        };
        rows.iter().map(trace).collect::<Result<_, _>>().map_err(Error::doing("read an incident"))
    }
}

fn problem(row: &PgRow) -> Result<Problem, sqlx::Error> {
    let Json(facts) = row.try_get("facts")?;
    let day: Option<String> = row.try_get("number_day")?;
    let number: Option<i32> = row.try_get("number")?;
    Ok(Problem {
        incident: row.try_get("incident")?,
        project: row.try_get("project")?,
        number: day.zip(number),
        status: row.try_get("status")?,
        risk: row.try_get("risk")?,
        facts,
        occurrences: row.try_get("occurrences")?,
        analysis: row.try_get::<Option<Json<_>>, _>("analysis")?.map(|Json(a)| a),
        analysed_at: row.try_get::<Option<_>, _>("analysed_at")?.map(time),
        run: row.try_get("run_state")?,
        opened_at: time(row.try_get("opened_at")?),
        closed_at: row.try_get::<Option<_>, _>("closed_at")?.map(time),
    })
}
