//! What a batch's transaction writes for the loop.

use std::collections::BTreeMap;

use schemas::{InputPosition, Outcome};
use uuid::Uuid;

use super::{Cursor, LaneTransaction, Message, ProducerMark};
use crate::Error;

impl LaneTransaction<'_> {
    /// Adds to the ledger: `in_frames` records of frame headers, and what became of them.
    pub async fn add_to_ledger(
        &mut self,
        in_frames: u64,
        outcomes: &BTreeMap<Outcome, u64>,
    ) -> Result<(), Error> {
        let (mut words, mut records) = (vec!["in_frames"], vec![in_frames as i64]);
        for (outcome, count) in outcomes {
            words.push(outcome.word());
            records.push(*count as i64);
        }
        sqlx::query(
            "insert into ledger as l (generation, lane, outcome, records) \
             select $1, $2, outcome, records from unnest($3::text[], $4::bigint[]) \
             as t (outcome, records) where records > 0 \
             on conflict (generation, lane, outcome) \
             do update set records = l.records + excluded.records",
        )
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(words)
        .bind(records)
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("write the ledger"))?;
        Ok(())
    }

    /// Notes the last frame of each producer; at most one mark for a (producer, of_all).
    pub async fn put_producers(&mut self, marks: &[ProducerMark]) -> Result<(), Error> {
        if marks.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into producer (generation, lane, producer, of_all, number, total) \
             select $1, $2, * from unnest($3::uuid[], $4::bool[], $5::bigint[], $6::bigint[]) \
             on conflict (generation, lane, producer, of_all) \
             do update set number = excluded.number, total = excluded.total",
        )
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(marks.iter().map(|m| m.producer.0).collect::<Vec<Uuid>>())
        .bind(marks.iter().map(|m| m.of_all).collect::<Vec<bool>>())
        .bind(marks.iter().map(|m| m.number as i64).collect::<Vec<i64>>())
        .bind(marks.iter().map(|m| m.total as i64).collect::<Vec<i64>>())
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("write the producers"))?;
        Ok(())
    }

    /// Gives records up, at `attempts` tries each.
    pub async fn park(
        &mut self,
        parked: &[(InputPosition, String)],
        attempts: u32,
    ) -> Result<(), Error> {
        // A stage may give up several events of one position; they share a row.
        let mut rows: BTreeMap<InputPosition, String> = BTreeMap::new();
        for (at, reason) in parked {
            rows.entry(*at)
                .and_modify(|all| {
                    all.push_str("; ");
                    all.push_str(reason);
                })
                .or_insert_with(|| reason.clone());
        }
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into parked as p (generation, stage, lane, attempts, inc, seq, rec, reason) \
             select $1, $2, $3, $4, * \
             from unnest($5::bigint[], $6::bigint[], $7::int[], $8::text[]) \
             on conflict (generation, stage, lane, inc, seq, rec) \
             do update set reason = p.reason || '; ' || excluded.reason",
        )
        .bind(self.generation.0)
        .bind(self.stage)
        .bind(i32::from(self.lane.0))
        .bind(attempts as i32)
        .bind(rows.keys().map(|at| at.incarnation).collect::<Vec<i64>>())
        .bind(rows.keys().map(|at| at.sequence as i64).collect::<Vec<i64>>())
        .bind(rows.keys().map(|at| at.record as i32).collect::<Vec<i32>>())
        // A text column takes no NUL.
        .bind(rows.values().map(|r| r.replace('\0', "\u{fffd}")).collect::<Vec<String>>())
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("park records"))?;
        Ok(())
    }

    /// Replaces the messages of earlier batches, which are in the log, by those of `batch`.
    pub async fn put_unpublished(&mut self, batch: u64, messages: &[Message]) -> Result<(), Error> {
        sqlx::query(
            "delete from unpublished \
             where stage = $1 and generation = $2 and lane = $3 and batch < $4",
        )
        .bind(self.stage)
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(batch as i64)
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("forget the published messages"))?;
        if messages.is_empty() {
            return Ok(());
        }
        let headers: Vec<_> = messages
            .iter()
            .map(|message| {
                let pairs = message.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                sqlx::types::Json(pairs.collect::<BTreeMap<&str, &str>>())
            })
            .collect();
        sqlx::query(
            "insert into unpublished \
             (stage, generation, lane, batch, ordinal, stream, subject, message_id, headers, \
              payload) \
             select $1, $2, $3, $4, (n - 1)::int, stream, subject, message_id, headers, payload \
             from unnest($5::text[], $6::text[], $7::text[], $8::jsonb[], $9::bytea[]) \
             with ordinality as m (stream, subject, message_id, headers, payload, n)",
        )
        .bind(self.stage)
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(batch as i64)
        .bind(messages.iter().map(|m| m.stream.word()).collect::<Vec<&str>>())
        .bind(messages.iter().map(|m| m.subject.as_str()).collect::<Vec<&str>>())
        .bind(messages.iter().map(|m| m.message_id.as_deref()).collect::<Vec<Option<&str>>>())
        .bind(headers)
        .bind(messages.iter().map(|m| m.payload.as_slice()).collect::<Vec<&[u8]>>())
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("keep the messages of a batch"))?;
        Ok(())
    }

    /// Keeps the one blob that notify and other folds have a lane.
    pub async fn put_lane_state(&mut self, state: &[u8]) -> Result<(), Error> {
        sqlx::query(
            "insert into lane_state (stage, generation, lane, state) values ($1, $2, $3, $4) \
             on conflict (stage, generation, lane) do update set state = excluded.state",
        )
        .bind(self.stage)
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(state)
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("write the state of the lane"))?;
        Ok(())
    }

    /// Makes the partitions of a lane day ([`schemas::Time::day`]). Safe to call again.
    pub async fn open_day(&mut self, day: i32) -> Result<(), Error> {
        sqlx::query("select bw_open_day($1, $2)")
            .bind(self.generation.0)
            .bind(day)
            .execute(&mut *self.transaction)
            .await
            .map_err(Error::doing("make the partitions of a day"))?;
        Ok(())
    }

    /// I3: moves the cursor from `old` to `new`, whose `attempts` count from 0 again.
    ///
    /// # Errors
    /// [`Error::NotOwner`] when the row is not at `old` any more: somebody else has the lane, and
    /// this transaction must not be committed.
    pub async fn advance(&mut self, old: &Cursor, new: &Cursor) -> Result<(), Error> {
        let moved = sqlx::query(
            "update cursor set inc = $8, seq = $9, rec = $10, through_inc = $11, \
             through_seq = $12, through_rec = $13, batch = $14, marks = $15, lane_time = $16, \
             frames_out = $17, records_out = $18, fold_version = $19, attempts = 0, \
             moved_at = now() \
             where stage = $1 and generation = $2 and lane = $3 \
             and inc = $4 and seq = $5 and rec = $6 and batch = $7",
        )
        .bind(self.stage)
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(old.at.incarnation)
        .bind(old.at.sequence as i64)
        .bind(old.at.record as i32)
        .bind(old.batch as i64)
        .bind(new.at.incarnation)
        .bind(new.at.sequence as i64)
        .bind(new.at.record as i32)
        .bind(new.through.incarnation)
        .bind(new.through.sequence as i64)
        .bind(new.through.record as i32)
        .bind(new.batch as i64)
        .bind(&new.marks)
        .bind(new.lane_time.micros())
        .bind(new.frames_out as i64)
        .bind(new.records_out as i64)
        .bind(new.fold_version as i32)
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::doing("move the cursor"))?
        .rows_affected();
        if moved == 1 {
            return Ok(());
        }
        Err(Error::NotOwner { stage: self.stage.to_owned(), lane: self.lane.0, batch: old.batch })
    }

    /// Makes the batch true.
    pub async fn commit(self) -> Result<(), Error> {
        self.transaction.commit().await.map_err(Error::doing("commit a batch"))
    }

    /// Leaves no trace of the batch.
    pub async fn roll_back(self) -> Result<(), Error> {
        self.transaction.rollback().await.map_err(Error::doing("roll a batch back"))
    }
}
