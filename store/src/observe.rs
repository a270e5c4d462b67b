//! The rows of the observe stage: problems, openings, senders' delivery ids, incident numbers.
//!
//! States are CBOR that only the fold can read. All reads and writes are one statement a batch.
//! Reads go through `unnest` and `cross join lateral`, each key on its own by `limit 1` or `max`: on
//! tables that were never analysed the planner would answer a join by reading the whole generation.

use schemas::{Fingerprint, IncidentId, Position, ProjectId, Time};
use uuid::Uuid;

use crate::{
    Error,
    lane::{LaneConnection, LaneTransaction},
};

/// A row with a state, keyed by project and an id of that project: a problem or an opening.
pub type StateRow<K> = ((ProjectId, K), Vec<u8>);

/// A sender's delivery id that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenRow {
    /// Lane day it was applied on; its partition must be there.
    pub day: i32,
    pub key: Uuid,
    /// Lane time until which it means the same delivery.
    pub expires: Time,
}

/// An incident that wants a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantsNumber {
    pub project: ProjectId,
    pub incident: IncidentId,
    pub opening: Position,
    /// `YYYYMMDD` in the configured zone.
    pub day: String,
}

impl LaneConnection {
    /// The states of these problems; what is absent does not exist.
    pub async fn load_problems<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a (ProjectId, Fingerprint)>,
    ) -> Result<Vec<StateRow<Fingerprint>>, Error> {
        let rows = self
            .load_states(
                "select k.project, k.id, p.state \
                 from unnest($2::text[], $3::uuid[]) as k (project, id) \
                 cross join lateral (select state from problem \
                 where generation = $1 and project = k.project and fingerprint = k.id limit 1) p",
                keys.into_iter().map(|(project, id)| (project, id.0)),
                "load problems",
            )
            .await?;
        rows.into_iter().map(|row| state_row("problem", row, Fingerprint)).collect()
    }

    /// The states of these incidents; what is absent was not opened in this generation.
    pub async fn load_openings<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a (ProjectId, IncidentId)>,
    ) -> Result<Vec<StateRow<IncidentId>>, Error> {
        let rows = self
            .load_states(
                "select k.project, k.id, o.state \
                 from unnest($2::text[], $3::uuid[]) as k (project, id) \
                 cross join lateral (select state from opening \
                 where generation = $1 and project = k.project and incident = k.id limit 1) o",
                keys.into_iter().map(|(project, id)| (project, id.0)),
                "load openings",
            )
            .await?;
        rows.into_iter().map(|row| state_row("opening", row, IncidentId)).collect()
    }

    async fn load_states<'a>(
        &mut self,
        statement: &'static str,
        keys: impl Iterator<Item = (&'a ProjectId, Uuid)>,
        attempt: &'static str,
    ) -> Result<Vec<(String, Uuid, Vec<u8>)>, Error> {
        let (projects, ids): (Vec<&str>, Vec<Uuid>) =
            keys.map(|(project, id)| (project.as_str(), id)).unzip();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        sqlx::query_as(statement)
            .bind(self.generation.0)
            .bind(projects)
            .bind(ids)
            .fetch_all(&mut self.connection)
            .await
            .map_err(Error::doing(attempt))
    }

    /// Until when each of these delivery ids means the same delivery, as far as it was applied on a
    /// lane day from `first` to `last`; the latest where there are several.
    pub async fn load_seen(
        &mut self,
        keys: impl IntoIterator<Item = &Uuid>,
        first: i32,
        last: i32,
    ) -> Result<Vec<(Uuid, Time)>, Error> {
        let keys: Vec<Uuid> = keys.into_iter().copied().collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(
            // Each day by itself: a range of days would make each look-up walk whole partitions,
            // because the day stands before the key in their index.
            "select k.key, max(s.expires) from generate_series($2::int, $3::int) as d (day) \
             cross join unnest($5::uuid[]) as k (key) \
             cross join lateral (select expires from seen where generation = $1 \
             and day = d.day and lane = $4 and key = k.key limit 1) s group by k.key",
        )
        .bind(self.generation.0)
        .bind(first)
        .bind(last)
        .bind(i32::from(self.lane.0))
        .bind(keys)
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::doing("load delivery ids"))?;
        Ok(rows.into_iter().map(|(key, expires)| (key, Time::from_micros(expires))).collect())
    }
}

fn state_row<K>(
    table: &'static str,
    (project, id, state): (String, Uuid, Vec<u8>),
    key: fn(Uuid) -> K,
) -> Result<StateRow<K>, Error> {
    let project = ProjectId::new(project).map_err(|e| Error::Column {
        table,
        column: "project",
        detail: e.to_string(),
    })?;
    Ok(((project, key(id)), state))
}

impl LaneTransaction<'_> {
    /// Writes the states of problems; each key at most once.
    pub async fn upsert_problems(&mut self, rows: &[StateRow<Fingerprint>]) -> Result<(), Error> {
        self.upsert_states(
            "insert into problem (generation, lane, project, fingerprint, state) \
             select $1, $2, * from unnest($3::text[], $4::uuid[], $5::bytea[]) \
             on conflict (generation, project, fingerprint) do update set state = excluded.state",
            rows.iter().map(|((project, id), state)| (project, id.0, state)),
            "write problems",
        )
        .await
    }

    /// Writes the states of incidents; each key at most once.
    pub async fn upsert_openings(&mut self, rows: &[StateRow<IncidentId>]) -> Result<(), Error> {
        self.upsert_states(
            "insert into opening (generation, lane, project, incident, state) \
             select $1, $2, * from unnest($3::text[], $4::uuid[], $5::bytea[]) \
             on conflict (generation, project, incident) do update set state = excluded.state",
            rows.iter().map(|((project, id), state)| (project, id.0, state)),
            "write openings",
        )
        .await
    }

    async fn upsert_states<'a>(
        &mut self,
        statement: &'static str,
        rows: impl Iterator<Item = (&'a ProjectId, Uuid, &'a Vec<u8>)>,
        attempt: &'static str,
    ) -> Result<(), Error> {
        let (mut projects, mut ids, mut states) = (Vec::new(), Vec::new(), Vec::new());
        for (project, id, state) in rows {
            projects.push(project.as_str());
            ids.push(id);
            states.push(state.as_slice());
        }
        if ids.is_empty() {
            return Ok(());
        }
        sqlx::query(statement)
            .bind(self.generation.0)
            .bind(i32::from(self.lane.0))
            .bind(projects)
            .bind(ids)
            .bind(states)
            .execute(&mut *self.transaction)
            .await
            .map_err(Error::doing(attempt))?;
        Ok(())
    }

    /// Notes delivery ids as applied; each (day, key) at most once.
    pub async fn insert_seen(&mut self, rows: &[SeenRow]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into seen (generation, lane, day, key, expires) \
             select $1, $2, * from unnest($3::int[], $4::uuid[], $5::bigint[]) \
             on conflict (generation, day, lane, key) do update set expires = excluded.expires",
        )
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(rows.iter().map(|r| r.day).collect::<Vec<i32>>())
        .bind(rows.iter().map(|r| r.key).collect::<Vec<Uuid>>())
        .bind(rows.iter().map(|r| r.expires.micros()).collect::<Vec<i64>>())
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("write delivery ids"))?;
        Ok(())
    }

    /// Numbers incidents within their project and day, in the order given, after the numbers that
    /// are taken. Returns the numbers given now; an incident that has one keeps it and is not
    /// among them.
    pub async fn assign_incident_numbers(
        &mut self,
        wanted: &[WantsNumber],
    ) -> Result<Vec<(WantsNumber, u32)>, Error> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(i64, i32)> = sqlx::query_as(
            "with wanted as ( \
                 select * from unnest($1::text[], $2::text[], $3::uuid[], $4::text[]) \
                 with ordinality as w (project, day, incident, opening, n) \
             ), fresh as ( \
                 select w.*, row_number() over (partition by project, day order by n) as place \
                 from wanted w \
                 where not exists (select from incident_number i where i.incident = w.incident) \
             ), top as ( \
                 select g.project, g.day, coalesce(taken.number, 0) as number \
                 from (select distinct project, day from fresh) g \
                 left join lateral (select max(number) as number from incident_number i \
                 where i.project = g.project and i.day = g.day) taken on true \
             ), given as ( \
                 insert into incident_number (project, day, number, incident, opening) \
                 select f.project, f.day, t.number + f.place, f.incident, f.opening \
                 from fresh f join top t on t.project = f.project and t.day = f.day \
                 returning incident, number \
             ) \
             select f.n, g.number from given g join fresh f on f.incident = g.incident \
             order by f.n",
        )
        .bind(wanted.iter().map(|w| w.project.as_str()).collect::<Vec<&str>>())
        .bind(wanted.iter().map(|w| w.day.as_str()).collect::<Vec<&str>>())
        .bind(wanted.iter().map(|w| w.incident.0).collect::<Vec<Uuid>>())
        .bind(wanted.iter().map(|w| w.opening.to_string()).collect::<Vec<String>>())
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("number incidents"))?;
        rows.into_iter()
            .map(|(n, number)| {
                let of = usize::try_from(n - 1).ok().and_then(|n| wanted.get(n));
                let number = u32::try_from(number).ok();
                of.cloned().zip(number).ok_or_else(|| Error::Column {
                    table: "incident_number",
                    column: "number",
                    detail: format!("row {n} of {} is numbered {number:?}", wanted.len()),
                })
            })
            .collect()
    }
}
