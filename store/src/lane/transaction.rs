//! What a batch's transaction writes for the loop.

use std::collections::BTreeMap;

use schemas::{InputPosition, Outcome};
use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::{Cursor, LaneTransaction, Message, ProducerMark};
use crate::{
    Error,
    rows::{JsonText, Row, composites},
};

/// What became of how many records.
struct LedgerRow {
    outcome: &'static str,
    records: u64,
}

impl Row for LedgerRow {
    const TYPE: &'static str = "ledger_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.outcome)?.encode(self.records as i64)?;
        Ok(())
    }
}

impl Row for ProducerMark {
    const TYPE: &'static str = "producer_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.producer.0)?
            .encode(self.of_all)?
            .encode(self.number as i64)?
            .encode(self.total as i64)?;
        Ok(())
    }
}

/// A message and its place among those of its batch.
struct UnpublishedRow<'a> {
    ordinal: i32,
    message: &'a Message,
}

impl Row for UnpublishedRow<'_> {
    const TYPE: &'static str = "unpublished_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let Message { stream, subject, message_id, headers, payload } = self.message;
        let headers: BTreeMap<&str, &str> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        to.encode(self.ordinal)?
            .encode(stream.word())?
            .encode(subject.as_str())?
            .encode(message_id.as_deref())?
            .encode(JsonText(serde_json::to_string(&headers)?))?
            .encode(payload.as_slice())?;
        Ok(())
    }
}

/// The loop's own account of a batch. What is empty writes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// Records of the frame headers that the batch covers; 0 for readers of events.
    pub in_frames: u64,
    /// What became of them (I2).
    pub outcomes: &'a BTreeMap<Outcome, u64>,
    /// The last frame of each producer; at most one mark for a (producer, of_all).
    pub producers: &'a [ProducerMark],
    /// What is to be published once the batch is committed, in this order.
    pub messages: &'a [Message],
}

impl LaneTransaction<'_> {
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

    /// I3: moves the cursor from `old` to `new`, whose `attempts` count from 0 again, and writes
    /// the loop's own account of the batch with it: one statement, because a batch of one alert
    /// pays for each of them as much as a batch of a thousand. The messages of the batch before,
    /// which are in the log, are forgotten. A stage that counts no records and writes no messages
    /// has no account to give.
    ///
    /// # Errors
    /// [`Error::NotOwner`] when the row is not at `old` any more: somebody else has the lane, and
    /// this transaction must not be committed.
    pub async fn advance(
        &mut self,
        old: &Cursor,
        new: &Cursor,
        account: Option<&Account<'_>>,
    ) -> Result<(), Error> {
        const MOVE: &str = "update cursor set inc = $8, seq = $9, rec = $10, through_inc = $11, \
             through_seq = $12, through_rec = $13, batch = $14, marks = $15, lane_time = $16, \
             frames_out = $17, records_out = $18, fold_version = $19, attempts = 0, \
             moved_at = now() \
             where stage = $1 and generation = $2 and lane = $3 \
             and inc = $4 and seq = $5 and rec = $6 and batch = $7";
        const MOVE_WITH_ACCOUNT: &str = "with counted as ( \
                 insert into ledger as l (generation, lane, outcome, records) \
                 select $2, $3, u.* from unnest($20::ledger_row[]) as u \
                 on conflict (generation, lane, outcome) \
                 do update set records = l.records + excluded.records \
             ), marked as ( \
                 insert into producer (generation, lane, producer, of_all, number, total) \
                 select $2, $3, u.* from unnest($21::producer_row[]) as u \
                 on conflict (generation, lane, producer, of_all) \
                 do update set number = excluded.number, total = excluded.total \
             ), published as ( \
                 delete from unpublished \
                 where stage = $1 and generation = $2 and lane = $3 and batch = $7 \
             ), kept as ( \
                 insert into unpublished (stage, generation, lane, batch, ordinal, stream, \
                   subject, message_id, headers, payload) \
                 select $1, $2, $3, $14, u.* from unnest($22::unpublished_row[]) as u \
             ) update cursor set inc = $8, seq = $9, rec = $10, through_inc = $11, \
             through_seq = $12, through_rec = $13, batch = $14, marks = $15, lane_time = $16, \
             frames_out = $17, records_out = $18, fold_version = $19, attempts = 0, \
             moved_at = now() \
             where stage = $1 and generation = $2 and lane = $3 \
             and inc = $4 and seq = $5 and rec = $6 and batch = $7";
        let mut query = sqlx::query(if account.is_some() { MOVE_WITH_ACCOUNT } else { MOVE })
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
            .bind(new.fold_version as i32);
        if let Some(Account { in_frames, outcomes, producers, messages }) = account {
            let counts = outcomes.iter().map(|(outcome, records)| (outcome.word(), *records));
            let counts: Vec<LedgerRow> = [("in_frames", *in_frames)]
                .into_iter()
                .chain(counts)
                .filter(|(_, records)| *records > 0)
                .map(|(outcome, records)| LedgerRow { outcome, records })
                .collect();
            let messages: Vec<UnpublishedRow<'_>> = (0..)
                .zip(messages.iter())
                .map(|(ordinal, message)| UnpublishedRow { ordinal, message })
                .collect();
            query = query
                .bind(composites(&counts))
                .bind(composites(*producers))
                .bind(composites(&messages));
        }
        let moved = query
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
