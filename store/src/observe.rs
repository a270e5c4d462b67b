//! The rows of the observe stage: problems, openings, senders' delivery ids, incident numbers and
//! other names of incidents.
//!
//! States are CBOR that only the fold can read. All reads and writes are one statement a batch.
//! Reads go through `unnest` and `cross join lateral`, each key on its own by `limit 1` or `max`: on
//! tables that were never analysed the planner would answer a join by reading the whole generation.

use std::collections::HashMap;

use schemas::{Fingerprint, IncidentId, InputPosition, JobId, Position, ProjectId, Time};
use uuid::Uuid;

use crate::{
    Error,
    lane::{LaneConnection, LaneTransaction},
};

/// A row with a state, keyed by project and an id of that project: a problem or an opening.
pub type StateRow<K> = ((ProjectId, K), Vec<u8>);

/// A problem's row: its key and state, and when to look at it again.
pub type ProblemRow = (StateRow<Fingerprint>, Option<Time>);

/// A sender's delivery id that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenRow {
    /// Lane day it was applied on; its partition must be there.
    pub day: i32,
    pub key: Uuid,
    /// Lane time until which it means the same delivery.
    pub expires: Time,
}

/// A name of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandleRow {
    /// Lane day it was given on; its partition must be there.
    pub day: i32,
    pub key: Uuid,
    pub project: ProjectId,
    pub opening: Position,
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

    /// The states of the problems that are due at or before `until`: the first `limit` in the order
    /// of due, project and fingerprint.
    pub async fn load_due_problems(
        &mut self,
        until: Time,
        limit: usize,
    ) -> Result<Vec<StateRow<Fingerprint>>, Error> {
        let rows: Vec<(String, Uuid, Vec<u8>)> = sqlx::query_as(
            "select project, fingerprint, state from problem \
             where generation = $1 and lane = $2 and due <= $3 \
             order by due, project, fingerprint limit $4",
        )
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(until.micros())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::doing("load the problems that are due"))?;
        rows.into_iter().map(|row| state_row("problem", row, Fingerprint)).collect()
    }

    /// Those of these records that ended rejected or parked, and were not redriven since.
    pub async fn load_given_up(
        &mut self,
        records: impl IntoIterator<Item = &InputPosition>,
    ) -> Result<Vec<InputPosition>, Error> {
        let places = Places::of(records);
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(i64, i64, i32)> = sqlx::query_as(
            "select k.inc, k.seq, k.rec \
             from unnest($3::bigint[], $4::bigint[], $5::int[]) as k (inc, seq, rec) \
             where exists (select from rejected r where r.generation = $1 and r.lane = $2 \
             and r.inc = k.inc and r.seq = k.seq and r.rec = k.rec) \
             or exists (select from parked p where p.generation = $1 and p.stage = 'observe' \
             and p.lane = $2 and p.inc = k.inc and p.seq = k.seq and p.rec = k.rec)",
        )
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(places.inc)
        .bind(places.seq)
        .bind(places.rec)
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::doing("load what was given up"))?;
        Ok(rows
            .into_iter()
            .map(|(incarnation, sequence, record)| InputPosition {
                incarnation,
                sequence: sequence as u64,
                record: record as u32,
            })
            .collect())
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

impl LaneConnection {
    /// What each of these names means, an incident's project and opening position; the latest where
    /// there are several.
    pub async fn load_handles(
        &mut self,
        keys: impl IntoIterator<Item = &Uuid>,
    ) -> Result<Vec<(Uuid, (ProjectId, Position))>, Error> {
        let keys: Vec<Uuid> = keys.into_iter().copied().collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(Uuid, String, String)> = sqlx::query_as(
            "select k.key, h.project, h.opening from unnest($3::uuid[]) as k (key) \
             cross join lateral (select project, opening from handle where generation = $1 \
             and lane = $2 and key = k.key order by day desc limit 1) h",
        )
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(keys)
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::doing("load names of incidents"))?;
        let column = |column, detail| Error::Column { table: "handle", column, detail };
        rows.into_iter()
            .map(|(key, project, opening)| {
                let project =
                    ProjectId::new(project).map_err(|e| column("project", e.to_string()))?;
                let opening: Result<Position, _> = opening.parse();
                Ok((key, (project, opening.map_err(|e| column("opening", e.to_string()))?)))
            })
            .collect()
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

/// The statement that writes rows of a table that has one for each problem.
macro_rules! upsert_by_problem {
    ($table:literal) => {
        concat!(
            "insert into ",
            $table,
            " (generation, lane, project, fingerprint, state, due) \
             select $1, $2, * from unnest(?::text[], ?::uuid[], ?::bytea[], ?::bigint[]) \
             on conflict (generation, project, fingerprint) \
             do update set state = excluded.state, due = excluded.due"
        )
    };
}
pub(crate) use upsert_by_problem;

impl LaneTransaction<'_> {
    /// Writes problems; each key at most once.
    pub fn upsert_problems(&mut self, rows: &[ProblemRow]) {
        self.write_by_problem("problem", upsert_by_problem!("problem"), rows);
    }

    /// Writes rows of a table that has one for each problem. A row whose `due` stays the same is
    /// updated in place.
    pub(crate) fn write_by_problem(
        &mut self,
        table: &'static str,
        statement: &'static str,
        rows: &[ProblemRow],
    ) {
        if rows.is_empty() {
            return;
        }
        self.write(table, statement)
            .bind(rows.iter().map(|(((project, _), _), _)| project.as_str()).collect::<Vec<&str>>())
            .bind(rows.iter().map(|(((_, id), _), _)| id.0).collect::<Vec<Uuid>>())
            .bind(rows.iter().map(|((_, state), _)| state.as_slice()).collect::<Vec<&[u8]>>())
            .bind(rows.iter().map(|(_, due)| due.map(Time::micros)).collect::<Vec<Option<i64>>>());
    }

    /// Writes the states of incidents; each key at most once.
    pub fn upsert_openings(&mut self, rows: &[StateRow<IncidentId>]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "opening",
            "insert into opening (generation, lane, project, incident, state) \
             select $1, $2, * from unnest(?::text[], ?::uuid[], ?::bytea[]) \
             on conflict (generation, project, incident) do update set state = excluded.state",
        )
        .bind(rows.iter().map(|((project, _), _)| project.as_str()).collect::<Vec<&str>>())
        .bind(rows.iter().map(|((_, id), _)| id.0).collect::<Vec<Uuid>>())
        .bind(rows.iter().map(|(_, state)| state.as_slice()).collect::<Vec<&[u8]>>());
    }

    /// Notes delivery ids as applied; each (day, key) at most once.
    pub fn insert_seen(&mut self, rows: &[SeenRow]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "seen",
            "insert into seen (generation, lane, day, key, expires) \
             select $1, $2, * from unnest(?::int[], ?::uuid[], ?::bigint[]) \
             on conflict (generation, day, lane, key) do update set expires = excluded.expires",
        )
        .bind(rows.iter().map(|r| r.day).collect::<Vec<i32>>())
        .bind(rows.iter().map(|r| r.key).collect::<Vec<Uuid>>())
        .bind(rows.iter().map(|r| r.expires.micros()).collect::<Vec<i64>>());
    }

    /// Notes records as rejected on a lane day; each at most once.
    pub async fn insert_rejected(&mut self, rows: &[(i32, InputPosition)]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let places = Places::of(rows.iter().map(|(_, at)| at));
        sqlx::query(
            "insert into rejected (generation, lane, day, inc, seq, rec) \
             select $1, $2, * from unnest($3::int[], $4::bigint[], $5::bigint[], $6::int[]) \
             on conflict do nothing",
        )
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(rows.iter().map(|(day, _)| *day).collect::<Vec<i32>>())
        .bind(places.inc)
        .bind(places.seq)
        .bind(places.rec)
        .execute(self.connection().await?)
        .await
        .map_err(Error::doing("note what was rejected"))?;
        Ok(())
    }

    /// Notes names of incidents; each (day, key) at most once.
    pub fn insert_handles(&mut self, rows: &[HandleRow]) {
        if rows.is_empty() {
            return;
        }
        self.write(
            "handle",
            "insert into handle (generation, lane, day, key, project, opening) \
             select $1, $2, * from unnest(?::int[], ?::uuid[], ?::text[], ?::text[]) \
             on conflict (generation, lane, key, day) \
             do update set project = excluded.project, opening = excluded.opening",
        )
        .bind(rows.iter().map(|r| r.day).collect::<Vec<i32>>())
        .bind(rows.iter().map(|r| r.key).collect::<Vec<Uuid>>())
        .bind(rows.iter().map(|r| r.project.as_str()).collect::<Vec<&str>>())
        .bind(rows.iter().map(|r| r.opening.to_string()).collect::<Vec<String>>());
    }

    /// Takes away the rows of records that were given up and then redriven.
    pub async fn forget_given_up(&mut self, records: &[InputPosition]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        for (statement, attempt) in [
            (
                "delete from rejected r \
                 using unnest($3::bigint[], $4::bigint[], $5::int[]) as k (inc, seq, rec) \
                 where r.generation = $1 and r.lane = $2 \
                 and r.inc = k.inc and r.seq = k.seq and r.rec = k.rec",
                "forget what was rejected",
            ),
            (
                "delete from parked p \
                 using unnest($3::bigint[], $4::bigint[], $5::int[]) as k (inc, seq, rec) \
                 where p.generation = $1 and p.stage = 'observe' and p.lane = $2 \
                 and p.inc = k.inc and p.seq = k.seq and p.rec = k.rec",
                "forget what was parked",
            ),
        ] {
            let places = Places::of(records);
            sqlx::query(statement)
                .bind(self.generation.0)
                .bind(i32::from(self.lane.0))
                .bind(places.inc)
                .bind(places.seq)
                .bind(places.rec)
                .execute(self.connection().await?)
                .await
                .map_err(Error::doing(attempt))?;
        }
        Ok(())
    }

    /// What these triage jobs were asked, in whichever generation they stand; absent ones are gone.
    pub async fn triage_payloads(
        &mut self,
        jobs: &[(IncidentId, JobId)],
    ) -> Result<Vec<(JobId, Vec<u8>)>, Error> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
            // By incident, which is what the index has in every generation.
            "select k.id, j.payload from unnest($1::uuid[], $2::uuid[]) as k (incident, id) \
             cross join lateral (select payload from job where incident = k.incident \
             and queue = 'triage' and id = k.id order by generation desc limit 1) j",
        )
        .bind(jobs.iter().map(|(incident, _)| incident.0).collect::<Vec<Uuid>>())
        .bind(jobs.iter().map(|(_, job)| job.0).collect::<Vec<Uuid>>())
        .fetch_all(self.connection().await?)
        .await
        .map_err(Error::doing("read what triage was asked"))?;
        Ok(rows.into_iter().map(|(id, payload)| (JobId(id), payload)).collect())
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
        // The order is restored here: the connection of a lane joins by indexes alone, and there is
        // none over what was just given.
        let rows: Vec<(Uuid, i32)> = sqlx::query_as(
            "with wanted as ( \
                 select * from unnest($1::text[], $2::text[], $3::uuid[], $4::text[]) \
                 with ordinality as w (project, day, incident, opening, n) \
             ), fresh as ( \
                 select w.*, row_number() over (partition by project, day order by n) as place \
                 from wanted w \
                 where (select 1 from incident_number i \
                 where i.incident = w.incident limit 1) is null \
             ), top as ( \
                 select g.project, g.day, coalesce(taken.number, 0) as number \
                 from (select distinct project, day from fresh) g \
                 left join lateral (select max(number) as number from incident_number i \
                 where i.project = g.project and i.day = g.day) taken on true \
             ) \
             insert into incident_number (project, day, number, incident, opening) \
             select f.project, f.day, t.number + f.place, f.incident, f.opening \
             from fresh f join top t on t.project = f.project and t.day = f.day \
             returning incident, number",
        )
        .bind(wanted.iter().map(|w| w.project.as_str()).collect::<Vec<&str>>())
        .bind(wanted.iter().map(|w| w.day.as_str()).collect::<Vec<&str>>())
        .bind(wanted.iter().map(|w| w.incident.0).collect::<Vec<Uuid>>())
        .bind(wanted.iter().map(|w| w.opening.to_string()).collect::<Vec<String>>())
        .fetch_all(self.connection().await?)
        .await
        .map_err(Error::doing("number incidents"))?;
        let numbers: HashMap<Uuid, i32> = rows.into_iter().collect();
        wanted
            .iter()
            .filter_map(|w| numbers.get(&w.incident.0).map(|number| (w, *number)))
            .map(|(w, number)| match u32::try_from(number) {
                Ok(number) => Ok((w.clone(), number)),
                Err(_) => Err(Error::Column {
                    table: "incident_number",
                    column: "number",
                    detail: format!("incident {} is numbered {number}", w.incident),
                }),
            })
            .collect()
    }
}

/// Positions of records, as columns.
struct Places {
    inc: Vec<i64>,
    seq: Vec<i64>,
    rec: Vec<i32>,
}

impl Places {
    fn of<'a>(records: impl IntoIterator<Item = &'a InputPosition>) -> Self {
        let mut places = Self { inc: Vec::new(), seq: Vec::new(), rec: Vec::new() };
        for at in records {
            places.inc.push(at.incarnation);
            places.seq.push(at.sequence as i64);
            places.rec.push(at.record as i32);
        }
        places
    }

    fn is_empty(&self) -> bool {
        self.inc.is_empty()
    }
}
