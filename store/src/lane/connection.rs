//! Owning a lane.

use schemas::{Generation, Lane, Time};
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::{LaneConnection, LaneTransaction, Open, joint::Joint};
use crate::{Error, Store, lane::Cursor, time};

/// A connection that says nothing for this long is closed by the server, and its lock with it, so
/// that a frozen owner does not keep its lane.
const IDLE: &str = "10s";

/// First key of the advisory locks of a stage's lanes in a generation; the second is the lane.
fn lock_key(stage: &str, generation: Generation) -> i32 {
    let [a, b, c, d, ..] =
        *schemas::id::hash(&[b"lane", stage.as_bytes(), &generation.0.to_be_bytes()]).as_bytes();
    i32::from_be_bytes([a, b, c, d])
}

impl Store {
    /// Takes a lane: a connection of its own that holds the lane's advisory lock. `None` when
    /// somebody else has it.
    ///
    /// The server closes the connection after 10 s without a query, so the owner asks something
    /// every few seconds ([`LaneConnection::now`]).
    pub async fn own_lane(
        &self,
        stage: &'static str,
        generation: Generation,
        lane: Lane,
    ) -> Result<Option<LaneConnection>, Error> {
        let mut connection: PgConnection = self
            .options()
            .clone()
            .options([
                ("idle_session_timeout", IDLE),
                ("idle_in_transaction_session_timeout", IDLE),
                // Every statement of a batch finds its rows by key. Planning one costs more than
                // running it, so each is planned once, and so that a plan made while the tables
                // are empty is right for full ones, it may only go through indexes.
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
                // A bitmap scan never marks what it found dead, so it finds it again next time.
                ("enable_bitmapscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
            ])
            .application_name(&format!("bellwether {stage} {generation} {lane}"))
            .connect()
            .await
            .map_err(Error::doing("connect for a lane"))?;
        let held: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
            .bind(lock_key(stage, generation))
            .bind(i32::from(lane.0))
            .fetch_one(&mut connection)
            .await
            .map_err(Error::doing("lock a lane"))?;
        if held {
            return Ok(Some(LaneConnection {
                connection,
                stage,
                generation,
                lane,
                standing: None,
            }));
        }
        // Its lock is another's; how this connection ends does not matter.
        let _ = connection.close().await;
        Ok(None)
    }

    /// The lanes of a stage that somebody owns now.
    pub async fn owned_lanes(
        &self,
        stage: &str,
        generation: Generation,
    ) -> Result<Vec<Lane>, Error> {
        // Locks with two keys have objsubid 2; both keys are shown unsigned.
        let lanes: Vec<i64> = sqlx::query_scalar(
            "select objid::bigint from pg_locks where locktype = 'advisory' and objsubid = 2 \
             and granted and classid::bigint = $1 \
             and database = (select oid from pg_database where datname = current_database())",
        )
        .bind(i64::from(lock_key(stage, generation) as u32))
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("look who owns the lanes"))?;
        Ok(lanes.into_iter().filter_map(|lane| u16::try_from(lane).ok()).map(Lane).collect())
    }
}

impl LaneConnection {
    /// The lane.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// The generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// From now on commits of this connection return before they are on disk, which they are within
    /// a second. What the server loses with them when it crashes is a tail of batches, each with its
    /// move of the cursor, so they are folded again. Only for a stage whose batches make nothing
    /// outside of the tables; who takes away what it reads asks [`Store::slowest_cursor`].
    pub async fn commit_behind(&mut self) -> Result<(), Error> {
        sqlx::query("set synchronous_commit = off")
            .execute(&mut self.connection)
            .await
            .map_err(Error::doing("let a lane commit behind"))?;
        Ok(())
    }

    /// The server's clock; also what keeps the connection and its lock alive.
    pub async fn now(&mut self) -> Result<Time, Error> {
        let now: jiff_sqlx::Timestamp = sqlx::query_scalar("select clock_timestamp()")
            .fetch_one(&mut self.connection)
            .await
            .map_err(Error::doing("ask for the time"))?;
        Ok(time(now))
    }

    /// Notes, in a transaction of its own, that the batch behind `cursor` is about to be tried;
    /// `at_least` is where the count goes on when it is lower. Returns the attempt's number.
    ///
    /// # Errors
    /// [`Error::NotOwner`] when the cursor has moved.
    pub async fn raise_attempts(&mut self, cursor: &Cursor, at_least: u32) -> Result<u32, Error> {
        let attempts: Option<i32> = sqlx::query_scalar(
            "update cursor set attempts = greatest(attempts, $5) + 1 \
             where stage = $1 and generation = $2 and lane = $3 and batch = $4 returning attempts",
        )
        .bind(self.stage)
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(cursor.batch as i64)
        .bind(at_least as i32)
        .fetch_optional(&mut self.connection)
        .await
        .map_err(Error::doing("raise the attempts"))?;
        attempts.map(|n| n as u32).ok_or_else(|| Error::NotOwner {
            stage: self.stage.to_owned(),
            lane: self.lane.0,
            batch: cursor.batch,
        })
    }

    /// Takes the last raise behind `batch` back: what kept it from being applied lies outside of
    /// it.
    pub async fn forgive_attempt(&mut self, batch: u64) -> Result<(), Error> {
        sqlx::query(
            "update cursor set attempts = greatest(attempts - 1, 0) \
             where stage = $1 and generation = $2 and lane = $3 and batch = $4",
        )
        .bind(self.stage)
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(batch as i64)
        .execute(&mut self.connection)
        .await
        .map_err(Error::doing("lower the attempts"))?;
        Ok(())
    }

    /// Makes the partitions of a lane day ([`Time::day`]). Safe to call again.
    pub async fn open_day(&mut self, day: i32) -> Result<(), Error> {
        sqlx::query("select bw_open_day($1, $2)")
            .bind(self.generation.0)
            .bind(day)
            .execute(&mut self.connection)
            .await
            .map_err(Error::doing("make the partitions of a day"))?;
        Ok(())
    }

    /// Begins a batch; dropped, it leaves no trace.
    pub fn begin(&mut self) -> LaneTransaction<'_> {
        LaneTransaction {
            open: Open::Not(&mut self.connection),
            joint: Joint::new(self.generation.0, i32::from(self.lane.0)),
            moves: None,
            stage: self.stage,
            generation: self.generation,
            lane: self.lane,
            known: &mut self.standing,
        }
    }

    /// Gives the lane back. The server drops the lock with the connection in any case; this way it
    /// does so now.
    pub async fn release(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(
                stage = self.stage,
                lane = self.lane.0,
                "closing the connection of a lane: {error}"
            );
        }
    }
}
