//! Silences, and what they would have matched.

use schemas::{EventId, Facts, Time, record::Matcher};
use sqlx::{Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::View;
use crate::{Error, time, timestamptz};

/// Most silences of a project that are listed.
const MOST: i64 = 500;

/// One silence.
#[derive(Clone, Debug)]
pub struct SilenceItem {
    pub id: String,
    pub project: String,
    pub matchers: Vec<Matcher>,
    pub starts_at: Time,
    pub ends_at: Time,
    pub owner: String,
    pub reason: String,
    pub created_at: Time,
    pub created_by: String,
    pub changed_at: Time,
    pub changed_by: String,
    /// It was ended before its time.
    pub ended: bool,
}

/// An alert, as far as it takes to see whether a silence is about it.
#[derive(Clone, Debug)]
pub struct Matchable {
    pub event: EventId,
    pub facts: Facts,
    /// Of its problem.
    pub fingerprint: Uuid,
    pub incident: Option<Uuid>,
    pub received_at: Time,
    /// Where it stands, for the next page: day, incarnation, sequence, record, index.
    pub place: Place,
}

/// Where an alert stands in the order of a project.
pub type Place = (i32, i64, i64, i32, i32);

const COLUMNS: &str = "silence, project, matchers, starts_at, ends_at, owner, reason, created_at, \
    created_by, changed_at, changed_by, ended";

impl View {
    /// The silences of `project`: those that end last first, at most 500; without those that ended
    /// before `since`, if that is given.
    pub async fn silences(
        &mut self,
        project: &str,
        since: Option<Time>,
    ) -> Result<Vec<SilenceItem>, Error> {
        let sql = format!(
            "select {COLUMNS} from silence where generation = $1 and project = $2 \
               and ($3::text[] is null or project = any($3)) \
               and ($4::timestamptz is null or ends_at > $4) \
             order by ends_at desc, silence limit $5"
        );
        // Made of a constant of this file.
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.generation)
            .bind(project)
            .bind(&self.projects)
            .bind(since.map(timestamptz))
            .bind(MOST)
            .fetch_all(&mut *self.transaction)
            .await
            .map_err(Error::doing("read silences"))?;
        rows.iter().map(item).collect::<Result<_, _>>().map_err(Error::doing("read a silence"))
    }

    /// The silence of that id, of a visible project.
    pub async fn silence(&mut self, id: &str) -> Result<Option<SilenceItem>, Error> {
        // Ids are made at random or of their project: no two projects have the same.
        let sql = format!(
            "select {COLUMNS} from silence where generation = $1 and silence = $2 \
               and ($3::text[] is null or project = any($3)) limit 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.generation)
            .bind(id)
            .bind(&self.projects)
            .fetch_optional(&mut *self.transaction)
            .await
            .map_err(Error::doing("look for a silence"))?;
        row.as_ref().map(item).transpose().map_err(Error::doing("read a silence"))
    }

    /// Alerts of `project` that fired since `since`, newest first, before `before` if that is given;
    /// at most `limit`.
    pub async fn fired_since(
        &mut self,
        project: &str,
        since: Time,
        before: Option<Place>,
        limit: u32,
    ) -> Result<Vec<Matchable>, Error> {
        let (day, inc, seq, rec, idx) =
            before.unwrap_or((i32::MAX, i64::MAX, i64::MAX, i32::MAX, i32::MAX));
        let rows = sqlx::query(
            "select event_id, facts, fingerprint, incident, received_at, day, inc, seq, rec, idx from dossier \
             where generation = $1 and project = $2 and ($3::text[] is null or project = any($3)) \
               and day >= $4 and received_at >= $5 \
               and (day, inc, seq, rec, idx) < ($6, $7, $8, $9, $10) \
               and stage = 'received' \
             order by day desc, inc desc, seq desc, rec desc, idx desc limit $11",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(since.day())
        .bind(timestamptz(since))
        .bind(day)
        .bind(inc)
        .bind(seq)
        .bind(rec)
        .bind(idx)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read alerts that fired"))?;
        let matchable = |row: &PgRow| {
            let Json(facts) = row.try_get("facts")?;
            Ok(Matchable {
                event: EventId(row.try_get("event_id")?),
                facts,
                fingerprint: row.try_get("fingerprint")?,
                incident: row.try_get("incident")?,
                received_at: time(row.try_get("received_at")?),
                place: (
                    row.try_get("day")?,
                    row.try_get("inc")?,
                    row.try_get("seq")?,
                    row.try_get("rec")?,
                    row.try_get("idx")?,
                ),
            })
        };
        rows.iter().map(matchable).collect::<Result<_, _>>().map_err(Error::doing("read an alert"))
    }
}

fn item(row: &PgRow) -> Result<SilenceItem, sqlx::Error> {
    let Json(matchers) = row.try_get("matchers")?;
    Ok(SilenceItem {
        id: row.try_get("silence")?,
        project: row.try_get("project")?,
        matchers,
        starts_at: time(row.try_get("starts_at")?),
        ends_at: time(row.try_get("ends_at")?),
        owner: row.try_get("owner")?,
        reason: row.try_get("reason")?,
        created_at: time(row.try_get("created_at")?),
        created_by: row.try_get("created_by")?,
        changed_at: time(row.try_get("changed_at")?),
        changed_by: row.try_get("changed_by")?,
        ended: row.try_get("ended")?,
    })
}
