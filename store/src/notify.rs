//! The rows of the notify stage: what was told of problems, and what is gathered in a lane.
//!
//! States are CBOR that only the fold can read. Reads are one statement a batch, and each key is
//! looked up by itself, as in [`crate::observe`].

use schemas::{Fingerprint, ProjectId, Time};
use sqlx::Row;
use uuid::Uuid;

use crate::{
    Error,
    lane::{LaneConnection, LaneTransaction},
    observe::{ProblemRow, StateRow, upsert_by_problem},
};

/// Names a problem.
pub type Key = (ProjectId, Fingerprint);

/// What was told of a problem.
pub type ToldRow = StateRow<Fingerprint>;

impl LaneConnection {
    /// What was told of these problems; what is absent does not exist.
    pub async fn load_told<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a Key>,
    ) -> Result<Vec<ToldRow>, Error> {
        let (projects, ids): (Vec<&str>, Vec<Uuid>) =
            keys.into_iter().map(|(project, id)| (project.as_str(), id.0)).unzip();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(
            "select k.project, k.id, t.state from unnest($2::text[], $3::uuid[]) as k (project, id) \
             cross join lateral (select state from told \
             where generation = $1 and project = k.project and fingerprint = k.id limit 1) t",
        )
        .bind(self.generation.0)
        .bind(projects)
        .bind(ids)
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::doing("load what was told"))?;
        rows.into_iter().map(row).collect()
    }

    /// What was told of the problems that are due at or before `until`: the first `limit` in the
    /// order of due, project and fingerprint.
    pub async fn load_due_told(
        &mut self,
        until: Time,
        limit: usize,
    ) -> Result<Vec<ToldRow>, Error> {
        let rows = sqlx::query(
            "select project, fingerprint, state from told \
             where generation = $1 and lane = $2 and due <= $3 \
             order by due, project, fingerprint limit $4",
        )
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(until.micros())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::doing("load what is due to be told"))?;
        rows.into_iter().map(row).collect()
    }

    /// What is gathered in the lane; none before its first.
    pub async fn load_gathered(&mut self) -> Result<Option<Vec<u8>>, Error> {
        sqlx::query_scalar("select state from gathered where generation = $1 and lane = $2")
            .bind(self.generation.0)
            .bind(i32::from(self.lane.0))
            .fetch_optional(&mut self.connection)
            .await
            .map_err(Error::doing("load what is gathered"))
    }
}

fn row(row: sqlx::postgres::PgRow) -> Result<ToldRow, Error> {
    let doing = || Error::doing("read what was told");
    let project: String = row.try_get(0).map_err(doing())?;
    let project = ProjectId::new(project).map_err(|e| Error::Column {
        table: "told",
        column: "project",
        detail: e.to_string(),
    })?;
    let id: Uuid = row.try_get(1).map_err(doing())?;
    Ok(((project, Fingerprint(id)), row.try_get(2).map_err(doing())?))
}

impl LaneTransaction<'_> {
    /// Writes what was told of problems, and when to look at each again; each key at most once.
    pub fn upsert_told(&mut self, rows: &[ProblemRow]) {
        self.write_by_problem("told", upsert_by_problem!("told"), rows);
    }

    /// Forgets problems, of which none is written in this batch.
    pub fn delete_told(&mut self, keys: &[Key]) {
        if keys.is_empty() {
            return;
        }
        self.write(
            "told_gone",
            "delete from told t using unnest(?::text[], ?::uuid[]) as k (project, id) \
             where t.generation = $1 and t.project = k.project and t.fingerprint = k.id",
        )
        .bind(keys.iter().map(|(project, _)| project.as_str()).collect::<Vec<&str>>())
        .bind(keys.iter().map(|(_, id)| id.0).collect::<Vec<Uuid>>());
    }

    /// Writes what is gathered in the lane.
    pub fn put_gathered(&mut self, state: &[u8]) {
        self.write(
            "gathered",
            "insert into gathered (generation, lane, state) values ($1, $2, ?) \
             on conflict (generation, lane) do update set state = excluded.state",
        )
        .bind(state);
    }
}
