//! What was given up: records that ended rejected or parked, for whoever looks after them.

use schemas::{Generation, InputPosition, Time};
use sqlx::{Row, postgres::PgRow};

use crate::{Error, Store, time};

/// One record that was given up by one stage.
#[derive(Clone, Debug)]
pub struct GivenUp {
    pub at: InputPosition,
    /// `parked` or `rejected`.
    pub how: String,
    pub stage: String,
    pub lane: i32,
    /// Why it was parked; what was rejected says so with its delivery.
    pub reason: Option<String>,
    pub attempts: Option<i32>,
    pub parked_at: Option<Time>,
}

/// Both tables in one shape. Positions of readers of events are none of the input log.
const BOTH: &str = "select inc, seq, rec, 'parked' as how, stage, lane, reason, attempts, parked_at \
     from parked where generation = $1 and stage = 'observe' \
     union all \
     select inc, seq, rec, 'rejected', 'observe', lane, null, null, null \
     from rejected where generation = $1";

impl Store {
    /// The records of the input log that were given up in a generation, newest first.
    pub async fn given_up(
        &self,
        generation: Generation,
        limit: u32,
    ) -> Result<Vec<GivenUp>, Error> {
        let statement =
            format!("select * from ({BOTH}) g order by inc desc, seq desc, rec desc limit $2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(generation.0)
            .bind(i64::from(limit))
            .fetch_all(self.pool())
            .await
            .map_err(Error::doing("list what was given up"))?;
        rows.iter().map(given_up).collect::<Result<_, _>>().map_err(Error::doing("read a row"))
    }

    /// How the record at a position was given up, if it was and was not redriven since.
    pub async fn given_up_at(
        &self,
        generation: Generation,
        at: InputPosition,
    ) -> Result<Option<GivenUp>, Error> {
        let statement =
            format!("select * from ({BOTH}) g where inc = $2 and seq = $3 and rec = $4 limit 1");
        let row = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(generation.0)
            .bind(at.incarnation)
            .bind(at.sequence as i64)
            .bind(at.record as i32)
            .fetch_optional(self.pool())
            .await
            .map_err(Error::doing("look for what was given up"))?;
        row.as_ref().map(given_up).transpose().map_err(Error::doing("read a row"))
    }

    /// Forgets that a record was given up, in every generation that did: none of them takes a redrive
    /// of it any more. Returns whether one did.
    pub async fn drop_given_up(&self, at: InputPosition) -> Result<bool, Error> {
        let dropped: i64 = sqlx::query_scalar(
            "with p as (delete from parked where stage = 'observe' \
               and inc = $1 and seq = $2 and rec = $3 returning 1), \
             r as (delete from rejected where inc = $1 and seq = $2 and rec = $3 returning 1) \
             select (select count(*) from p) + (select count(*) from r)",
        )
        .bind(at.incarnation)
        .bind(at.sequence as i64)
        .bind(at.record as i32)
        .fetch_one(self.pool())
        .await
        .map_err(Error::doing("drop what was given up"))?;
        Ok(dropped > 0)
    }
}

fn given_up(row: &PgRow) -> Result<GivenUp, sqlx::Error> {
    let (sequence, record): (i64, i32) = (row.try_get("seq")?, row.try_get("rec")?);
    Ok(GivenUp {
        at: InputPosition {
            incarnation: row.try_get("inc")?,
            sequence: sequence as u64,
            record: record as u32,
        },
        how: row.try_get("how")?,
        stage: row.try_get("stage")?,
        lane: row.try_get("lane")?,
        reason: row.try_get("reason")?,
        attempts: row.try_get("attempts")?,
        parked_at: row.try_get::<Option<_>, _>("parked_at")?.map(time),
    })
}
