//! Making room in the tables: partitions of days to come, of days long past, and rows by their age.
//!
//! Every step is a transaction of its own that begins with an advisory lock, so that one worker does
//! it at a time, and that gives up when it would have to wait long for a table: it is tried again
//! soon.

use std::num::NonZeroU16;

use sqlx::{Postgres, Transaction};

use crate::{Error, Store};

/// Most partitions of one table that one look drops, and most rows it deletes.
const MOST_DAYS: i32 = 8;
const MOST_ROWS: i64 = 10_000;

/// Days of lane time for which `seen` is kept: delivery ids mean what they say for 72 h.
const SEEN_DAYS: i32 = 4;

/// A table by lane day, the stage that writes it, and whether it is kept as long as the rest.
const BY_DAY: [(&str, &str, Keep); 5] = [
    ("seen", "observe", Keep::Seen),
    ("rejected", "observe", Keep::Configured),
    ("handle", "observe", Keep::Configured),
    ("delivery", "project", Keep::Configured),
    ("dossier", "project", Keep::Configured),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Seen,
    Configured,
}

/// What one look did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Days whose partitions were made ahead.
    pub opened: i64,
    /// Partitions dropped, by table.
    pub dropped: Vec<(&'static str, i64)>,
    /// Rows deleted, by table.
    pub deleted: Vec<(&'static str, i64)>,
}

impl Store {
    /// Makes room in the tables of every generation that is not dropped; `keep_days` is how long they
    /// keep what has a day, what is done and what was told. None: another worker is doing it.
    pub async fn housekeep(
        &self,
        lanes: NonZeroU16,
        keep_days: u16,
    ) -> Result<Option<Swept>, Error> {
        let mut swept = Swept::default();
        let Some(generations) = self.generations().await? else { return Ok(None) };
        for generation in generations {
            let Some(opened) = self.open_next_day(generation).await? else { return Ok(None) };
            swept.opened += opened;
            for (table, stage, keep) in BY_DAY {
                let days = if keep == Keep::Seen { SEEN_DAYS } else { i32::from(keep_days) };
                let dropped = self.drop_days(generation, lanes, table, stage, days).await?;
                let Some(dropped) = dropped else { return Ok(None) };
                add(&mut swept.dropped, table, dropped);
            }
            let Some(deleted) = self.delete_jobs(generation, keep_days).await? else {
                return Ok(None);
            };
            add(&mut swept.deleted, "job", deleted);
        }
        let Some(deleted) = self.delete_sent(keep_days).await? else { return Ok(None) };
        add(&mut swept.deleted, "sent", deleted);
        let Some(deleted) = self.delete_answers(keep_days).await? else { return Ok(None) };
        add(&mut swept.deleted, "answer", deleted);
        let Some(deleted) = self.delete_spending(keep_days).await? else { return Ok(None) };
        add(&mut swept.deleted, "spending", deleted);
        Ok(Some(swept))
    }

    /// A transaction of the one worker that makes room.
    async fn alone(&self) -> Result<Option<Transaction<'static, Postgres>>, Error> {
        let doing = || Error::doing("begin to make room");
        let mut transaction = self.pool().begin().await.map_err(doing())?;
        sqlx::query("set local lock_timeout = '1s'")
            .execute(&mut *transaction)
            .await
            .map_err(doing())?;
        let alone: bool = sqlx::query_scalar(
            "select pg_try_advisory_xact_lock(hashtextextended('bw_housekeeping', 0))",
        )
        .fetch_one(&mut *transaction)
        .await
        .map_err(doing())?;
        Ok(alone.then_some(transaction))
    }

    async fn generations(&self) -> Result<Option<Vec<i32>>, Error> {
        let Some(mut transaction) = self.alone().await? else { return Ok(None) };
        let generations = sqlx::query_scalar(
            "select generation from generation where state <> 'dropped' order by generation",
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(Error::doing("read the generations"))?;
        // Said here, not left to the drop: that one takes its time, and the lock with it.
        transaction.commit().await.map_err(Error::doing("read the generations"))?;
        Ok(Some(generations))
    }

    /// Makes the partitions of the day after the one the foremost lane is in.
    async fn open_next_day(&self, generation: i32) -> Result<Option<i64>, Error> {
        let Some(mut transaction) = self.alone().await? else { return Ok(None) };
        let doing = || Error::doing("make the partitions of a day ahead");
        let day: Option<i32> = sqlx::query_scalar(
            "select next from (select (max(lane_time) / 86400000000)::int + 1 as next from cursor \
               where generation = $1 and lane_time > 0) n \
             where exists (select from unnest( \
               array['dossier', 'delivery', 'seen', 'rejected', 'handle']) t \
               where to_regclass(t || '_g' || $1 || '_d' || next) is null)",
        )
        .bind(generation)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(doing())?
        .flatten();
        if let Some(day) = day {
            sqlx::query("select bw_open_day($1, $2)")
                .bind(generation)
                .bind(day)
                .execute(&mut *transaction)
                .await
                .map_err(doing())?;
        }
        transaction.commit().await.map_err(doing())?;
        Ok(Some(i64::from(day.is_some())))
    }

    /// Drops the partitions of a table that lie more than `days` days before the day of the lane that
    /// is furthest behind; none while a lane has not begun.
    async fn drop_days(
        &self,
        generation: i32,
        lanes: NonZeroU16,
        table: &'static str,
        stage: &'static str,
        days: i32,
    ) -> Result<Option<i64>, Error> {
        let Some(mut transaction) = self.alone().await? else { return Ok(None) };
        let doing = || Error::doing("drop the partitions of past days");
        let dropped: i32 = sqlx::query_scalar(
            "select coalesce((select bw_drop_days($2, $1, day - $5, $6) \
             from (select (min(lane_time) / 86400000000)::int as day, count(*) as begun \
               from cursor where generation = $1 and stage = $3) c \
             where begun = $4), 0)",
        )
        .bind(generation)
        .bind(table)
        .bind(stage)
        .bind(i64::from(lanes.get()))
        .bind(days)
        .bind(MOST_DAYS)
        .fetch_one(&mut *transaction)
        .await
        .map_err(doing())?;
        transaction.commit().await.map_err(doing())?;
        Ok(Some(i64::from(dropped)))
    }

    /// Deletes jobs that were done so long ago, of incidents that are over: messages and analyses of
    /// an open one still look at them.
    async fn delete_jobs(&self, generation: i32, keep_days: u16) -> Result<Option<i64>, Error> {
        let Some(mut transaction) = self.alone().await? else { return Ok(None) };
        let doing = || Error::doing("delete jobs that were done long ago");
        let deleted = sqlx::query(
            "delete from job where generation = $1 and id in (select id from job j \
               where generation = $1 and created_at < now() - make_interval(days => $2) \
               and state = 'done' and settled_at < now() - make_interval(days => $2) \
               and not exists (select from incident i where i.generation = $1 \
                 and i.project = j.project and i.incident = j.incident and i.closed_at is null) \
               limit $3)",
        )
        .bind(generation)
        .bind(i32::from(keep_days))
        .bind(MOST_ROWS)
        .execute(&mut *transaction)
        .await
        .map_err(doing())?;
        transaction.commit().await.map_err(doing())?;
        Ok(Some(deleted.rows_affected() as i64))
    }

    /// Deletes the notes of what was told so long ago that the log does not hold what caused it, so
    /// that no fold can ask for it again; a day more, for clocks. Those of jobs that stand stay.
    async fn delete_sent(&self, keep_days: u16) -> Result<Option<i64>, Error> {
        let Some(mut transaction) = self.alone().await? else { return Ok(None) };
        let doing = || Error::doing("delete notes of what was told long ago");
        let deleted = sqlx::query(
            "delete from sent where ctid = any(array(select s.ctid from sent s \
               where told_at < now() - make_interval(days => $1 + 1) \
               and not exists (select from generation g join job j \
                 on j.generation = g.generation and j.project = s.project \
                 and j.target = s.target and j.trigger = s.trigger) \
               limit $2))",
        )
        .bind(i32::from(keep_days))
        .bind(MOST_ROWS)
        .execute(&mut *transaction)
        .await
        .map_err(doing())?;
        transaction.commit().await.map_err(doing())?;
        Ok(Some(deleted.rows_affected() as i64))
    }

    /// Deletes answers to what the log does not hold any more, so that no fold can ask for it again;
    /// a day more, for clocks.
    async fn delete_answers(&self, keep_days: u16) -> Result<Option<i64>, Error> {
        let Some(mut transaction) = self.alone().await? else { return Ok(None) };
        let doing = || Error::doing("delete answers of long ago");
        let deleted = sqlx::query(
            "delete from answer where ctid = any(array(select ctid from answer \
               where made_at < now() - make_interval(days => $1 + 1) limit $2))",
        )
        .bind(i32::from(keep_days))
        .bind(MOST_ROWS)
        .execute(&mut *transaction)
        .await
        .map_err(doing())?;
        transaction.commit().await.map_err(doing())?;
        Ok(Some(deleted.rows_affected() as i64))
    }

    /// Deletes what was spent in hours long past.
    async fn delete_spending(&self, keep_days: u16) -> Result<Option<i64>, Error> {
        let Some(mut transaction) = self.alone().await? else { return Ok(None) };
        let doing = || Error::doing("delete what was spent long ago");
        let deleted = sqlx::query(
            "delete from spending where ctid = any(array(select ctid from spending \
               where hour < now() - make_interval(days => $1) limit $2))",
        )
        .bind(i32::from(keep_days))
        .bind(MOST_ROWS)
        .execute(&mut *transaction)
        .await
        .map_err(doing())?;
        transaction.commit().await.map_err(doing())?;
        Ok(Some(deleted.rows_affected() as i64))
    }
}

fn add(counts: &mut Vec<(&'static str, i64)>, table: &'static str, count: i64) {
    match counts.iter_mut().find(|(name, _)| *name == table) {
        Some((_, sum)) => *sum += count,
        None => counts.push((table, count)),
    }
}
