//! What a batch's transaction writes for the loop.

use std::collections::BTreeMap;

use schemas::{InputPosition, Outcome};
use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::{Cursor, LaneTransaction, Message, Open, ProducerMark, joint};
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
        .execute(self.connection().await?)
        .await
        .map_err(Error::doing("park records"))?;
        Ok(())
    }

    /// Keeps the one blob that notify and other folds have a lane.
    pub fn put_lane_state(&mut self, state: &[u8]) {
        let stage = self.stage;
        self.write(
            "lane_state",
            "insert into lane_state (stage, generation, lane, state) values (?, $1, $2, ?) \
             on conflict (stage, generation, lane) do update set state = excluded.state",
        )
        .bind(stage)
        .bind(state);
    }

    /// I3: moves the cursor from `old` to `new`, whose `attempts` count from 0 again, and writes
    /// the loop's own account of the batch with it. The messages of the batch before, which are in
    /// the log, are forgotten. A stage that counts no records and writes no messages has no account
    /// to give. `last` is the input position the batch goes through; it may not lie behind where the
    /// generation is frozen.
    pub fn advance(
        &mut self,
        old: &Cursor,
        new: &Cursor,
        last: InputPosition,
        account: Option<&Account<'_>>,
    ) {
        if let Some(account) = account {
            self.account(old, new, account);
        }
        self.moves = Some((old.batch, last));
        let stage = self.stage;
        self.write(
            "cursor",
            "update cursor set inc = ?, seq = ?, rec = ?, through_inc = ?, through_seq = ?, \
               through_rec = ?, batch = ?, marks = ?, lane_time = ?, frames_out = ?, \
               records_out = ?, fold_version = ?, attempts = 0, moved_at = now() \
             where stage = ? and generation = $1 and lane = $2 \
               and inc = ? and seq = ? and rec = ? and batch = ? \
             returning 1",
        )
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
        .bind(stage)
        .bind(old.at.incarnation)
        .bind(old.at.sequence as i64)
        .bind(old.at.record as i32)
        .bind(old.batch as i64);
    }

    fn account(&mut self, old: &Cursor, new: &Cursor, account: &Account<'_>) {
        let Account { in_frames, outcomes, producers, messages } = account;
        let counts = outcomes.iter().map(|(outcome, records)| (outcome.word(), *records));
        let counts: Vec<LedgerRow> = [("in_frames", *in_frames)]
            .into_iter()
            .chain(counts)
            .filter(|(_, records)| *records > 0)
            .map(|(outcome, records)| LedgerRow { outcome, records })
            .collect();
        let stage = self.stage;
        if !counts.is_empty() {
            self.write(
                "ledger",
                "insert into ledger as l (generation, lane, outcome, records) \
                 select $1, $2, u.* from unnest(?::ledger_row[]) as u \
                 on conflict (generation, lane, outcome) \
                 do update set records = l.records + excluded.records",
            )
            .bind(composites(&counts));
        }
        if !producers.is_empty() {
            self.write(
                "producer",
                "insert into producer (generation, lane, producer, of_all, number, total) \
                 select $1, $2, u.* from unnest(?::producer_row[]) as u \
                 on conflict (generation, lane, producer, of_all) \
                 do update set number = excluded.number, total = excluded.total",
            )
            .bind(composites(*producers));
        }
        self.write(
            "published",
            "delete from unpublished \
             where stage = ? and generation = $1 and lane = $2 and batch = ?",
        )
        .bind(stage)
        .bind(old.batch as i64);
        if !messages.is_empty() {
            let messages: Vec<UnpublishedRow<'_>> = (0..)
                .zip(messages.iter())
                .map(|(ordinal, message)| UnpublishedRow { ordinal, message })
                .collect();
            self.write(
                "unpublished",
                "insert into unpublished (stage, generation, lane, batch, ordinal, stream, \
                   subject, message_id, headers, payload) \
                 select ?, $1, $2, ?, u.* from unnest(?::unpublished_row[]) as u",
            )
            .bind(stage)
            .bind(new.batch as i64)
            .bind(composites(&messages));
        }
    }

    /// Makes the batch true: everything it wrote, or nothing.
    ///
    /// # Errors
    /// [`Error::NotOwner`] when the cursor is not where the batch began: somebody else has the lane.
    /// [`Error::Frozen`] when the batch goes beyond where the generation is frozen.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { open, joint, moves, stage, generation, lane, .. } = self;
        let at = moves.map(|(_, last)| (last.incarnation, last.sequence));
        let failed = |error: sqlx::Error| match (joint::refusal(&error), moves) {
            (Some(refusal), Some((batch, _))) => refusal.error(stage, generation.0, lane.0, batch),
            _ => Error::doing("commit a batch")(error),
        };
        match open {
            Open::Not(connection) if !joint.is_empty() => {
                joint.write(connection, at).await.map_err(failed)
            }
            Open::Not(_) => Ok(()),
            Open::Since(mut transaction, _) => {
                if !joint.is_empty() {
                    joint.write(&mut transaction, at).await.map_err(failed)?;
                }
                transaction.commit().await.map_err(Error::doing("commit a batch"))
            }
            Open::Never => Err(Error::doing("commit a batch")(sqlx::Error::WorkerCrashed)),
        }
    }

    /// Leaves no trace of the batch.
    pub async fn roll_back(self) -> Result<(), Error> {
        match self.open {
            Open::Since(transaction, _) => {
                transaction.rollback().await.map_err(Error::doing("roll a batch back"))
            }
            Open::Not(_) | Open::Never => Ok(()),
        }
    }
}
