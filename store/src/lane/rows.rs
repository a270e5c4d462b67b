//! The shapes of the lane loop's rows, and what can be read of them without owning a lane.

use std::collections::BTreeMap;

use schemas::{Generation, InputPosition, Lane, ProducerId, Time};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::Standing;
use crate::{Error, Store, lane::LaneConnection};

/// Where a stage of a lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last item applied, in the stream the stage reads: for readers of events the sequence of
    /// the message and the index of the event in it.
    pub at: InputPosition,
    /// How far the input log is covered by it; the same as `at` for readers of records.
    pub through: InputPosition,
    /// Running number of this stage's batches.
    pub batch: u64,
    /// Last part applied of each writing stage, in the form the loop gives it.
    pub marks: Vec<u8>,
    pub lane_time: Time,
    /// Frames of control records this stage has written, and the records in them.
    pub frames_out: u64,
    pub records_out: u64,
    /// Batches begun since the last commit that may have failed by what they hold.
    pub attempts: u32,
    /// Version of the fold that moved it last; 0 before the first batch.
    pub fold_version: u32,
}

#[derive(FromRow)]
struct CursorRow {
    inc: i64,
    seq: i64,
    rec: i32,
    through_inc: i64,
    through_seq: i64,
    through_rec: i32,
    batch: i64,
    marks: Vec<u8>,
    lane_time: i64,
    frames_out: i64,
    records_out: i64,
    attempts: i32,
    fold_version: i32,
}

impl From<CursorRow> for Cursor {
    fn from(row: CursorRow) -> Self {
        Self {
            at: InputPosition {
                incarnation: row.inc,
                sequence: row.seq as u64,
                record: row.rec as u32,
            },
            through: InputPosition {
                incarnation: row.through_inc,
                sequence: row.through_seq as u64,
                record: row.through_rec as u32,
            },
            batch: row.batch as u64,
            marks: row.marks,
            lane_time: Time::from_micros(row.lane_time),
            frames_out: row.frames_out as u64,
            records_out: row.records_out as u64,
            attempts: row.attempts as u32,
            fold_version: row.fold_version as u32,
        }
    }
}

/// Last frame of one producer in the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerMark {
    pub producer: ProducerId,
    /// The frame stood in the lane `all`, which has a numbering of its own.
    pub of_all: bool,
    pub number: u64,
    /// Records of the producer up to and including that frame.
    pub total: u64,
}

/// Which stream an unpublished message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Events,
    Deliveries,
}

impl Stream {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Deliveries => "deliveries",
        }
    }

    fn from_word(word: &str) -> Result<Self, Error> {
        match word {
            "events" => Ok(Self::Events),
            "deliveries" => Ok(Self::Deliveries),
            other => Err(Error::Column {
                table: "unpublished",
                column: "stream",
                detail: format!("{other:?} is no stream"),
            }),
        }
    }
}

/// A message that is committed with its batch and published after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub stream: Stream,
    pub subject: String,
    pub message_id: Option<String>,
    pub headers: Vec<(String, String)>,
    pub payload: Vec<u8>,
}

/// A dead letter: the record stays in the log at this position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    pub stage: String,
    pub lane: Lane,
    /// For readers of events: the sequence in the events stream and the event's index.
    pub at: InputPosition,
    pub reason: String,
    pub attempts: u32,
}

/// What the log looked like when the tables were first used with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// Creation time of the input stream in Unix seconds.
    pub incarnation: i64,
    pub lanes: u16,
    /// System identifier of the database at that time.
    pub system_id: String,
}

const CURSOR: &str = "select inc, seq, rec, through_inc, through_seq, through_rec, batch, marks, \
     lane_time, frames_out, records_out, attempts, fold_version \
     from cursor where stage = $1 and generation = $2 and lane = $3";

/// The cursor row, if there is one.
async fn cursor(
    connection: &mut PgConnection,
    stage: &str,
    generation: Generation,
    lane: Lane,
) -> Result<Option<Cursor>, Error> {
    let row: Option<CursorRow> = sqlx::query_as(CURSOR)
        .bind(stage)
        .bind(generation.0)
        .bind(i32::from(lane.0))
        .fetch_optional(connection)
        .await
        .map_err(Error::doing("read the cursor"))?;
    Ok(row.map(Cursor::from))
}

/// What the generation row says; `lock` holds it until the end of the transaction.
pub(super) async fn standing(
    connection: &mut PgConnection,
    generation: Generation,
    lock: bool,
) -> Result<Standing, Error> {
    const READ: &str = "select state, promoted_inc, promoted_seq, frozen_inc, frozen_seq \
         from generation where generation = $1";
    const HOLD: &str = "select state, promoted_inc, promoted_seq, frozen_inc, frozen_seq \
         from generation where generation = $1 for share";
    type Row = (String, i64, i64, Option<i64>, Option<i64>);
    let row: Option<Row> = sqlx::query_as(if lock { HOLD } else { READ })
        .bind(generation.0)
        .fetch_optional(connection)
        .await
        .map_err(Error::doing("read the generation"))?;
    let refuse = |state: &str| Error::Generation { generation: generation.0, state: state.into() };
    let (state, promoted_inc, promoted_seq, frozen_inc, frozen_seq) =
        row.ok_or_else(|| refuse("not there"))?;
    let active = match state.as_str() {
        "active" | "frozen" => true,
        "shadow" => false,
        other => return Err(refuse(other)),
    };
    Ok(Standing {
        active,
        promoted_above: (promoted_inc, promoted_seq as u64),
        frozen_at: frozen_inc.zip(frozen_seq).map(|(inc, seq)| (inc, seq as u64)),
    })
}

impl LaneConnection {
    /// Where the stage stands; makes the row when it is the first owner.
    pub async fn cursor(&mut self) -> Result<Cursor, Error> {
        sqlx::query(
            "insert into cursor (stage, generation, lane) values ($1, $2, $3) on conflict do nothing",
        )
        .bind(self.stage)
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .execute(&mut self.connection)
        .await
        .map_err(Error::doing("make the cursor"))?;
        cursor(&mut self.connection, self.stage, self.generation, self.lane).await?.ok_or_else(
            || Error::Column {
                table: "cursor",
                column: "stage",
                detail: "the row that was just made is not there".into(),
            },
        )
    }

    /// What the generation may do now.
    pub async fn standing(&mut self) -> Result<Standing, Error> {
        let standing = standing(&mut self.connection, self.generation, false).await?;
        self.standing = Some(standing);
        Ok(standing)
    }

    /// The last frame of every producer in this lane.
    pub async fn producers(&mut self) -> Result<Vec<ProducerMark>, Error> {
        let rows: Vec<(Uuid, bool, i64, i64)> = sqlx::query_as(
            "select producer, of_all, number, total from producer \
             where generation = $1 and lane = $2",
        )
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::doing("read the producers"))?;
        Ok(rows
            .into_iter()
            .map(|(producer, of_all, number, total)| ProducerMark {
                producer: ProducerId(producer),
                of_all,
                number: number as u64,
                total: total as u64,
            })
            .collect())
    }

    /// The messages of the last batch in the order they are published in, unless a later commit
    /// knew them to be in the log.
    pub async fn unpublished(&mut self) -> Result<Vec<Message>, Error> {
        type Row =
            (String, String, Option<String>, sqlx::types::Json<BTreeMap<String, String>>, Vec<u8>);
        let rows: Vec<Row> = sqlx::query_as(
            "select stream, subject, message_id, headers, payload from unpublished \
             where stage = $1 and generation = $2 and lane = $3 order by batch, ordinal",
        )
        .bind(self.stage)
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::doing("read the unpublished messages"))?;
        rows.into_iter()
            .map(|(stream, subject, message_id, headers, payload)| {
                Ok(Message {
                    stream: Stream::from_word(&stream)?,
                    subject,
                    message_id,
                    headers: headers.0.into_iter().collect(),
                    payload,
                })
            })
            .collect()
    }

    /// The one blob that notify and other folds keep a lane.
    pub async fn lane_state(&mut self) -> Result<Option<Vec<u8>>, Error> {
        sqlx::query_scalar(
            "select state from lane_state where stage = $1 and generation = $2 and lane = $3",
        )
        .bind(self.stage)
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .fetch_optional(&mut self.connection)
        .await
        .map_err(Error::doing("read the state of the lane"))
    }
}

impl Store {
    /// The live generation.
    pub async fn active_generation(&self) -> Result<Option<Generation>, Error> {
        let row: Option<i32> =
            sqlx::query_scalar("select generation from generation where state = 'active'")
                .fetch_optional(self.pool())
                .await
                .map_err(Error::doing("read the active generation"))?;
        Ok(row.map(Generation))
    }

    /// Where a stage of a lane stands; `None` before its first owner.
    pub async fn cursor(
        &self,
        stage: &str,
        generation: Generation,
        lane: Lane,
    ) -> Result<Option<Cursor>, Error> {
        let mut connection =
            self.pool().acquire().await.map_err(Error::doing("connect to read the cursor"))?;
        cursor(&mut connection, stage, generation, lane).await
    }

    /// The lowest sequence that every cursor of these stages stands at, over all generations that are
    /// folded or over one; 0 while one of them has not begun. `lane`: none takes the lowest of all.
    /// A crash of the server does not take a cursor back behind what was said here.
    pub async fn slowest_cursor(
        &self,
        stages: &[&str],
        generation: Option<Generation>,
        lane: Option<Lane>,
        lanes: u16,
    ) -> Result<u64, Error> {
        let lowest: Option<i64> = sqlx::query_scalar(
            "select min(coalesce(c.seq, 0)) from generation g \
             cross join unnest($1::text[]) s (stage) \
             cross join generate_series(0, $2 - 1) l (lane) \
             left join cursor c \
             on c.stage = s.stage and c.generation = g.generation and c.lane = l.lane \
             where g.state <> 'dropped' and ($3::int is null or g.generation = $3) \
             and ($4::int is null or l.lane = $4)",
        )
        .bind(stages)
        .bind(i32::from(lanes))
        .bind(generation.map(|g| g.0))
        .bind(lane.map(|l| i32::from(l.0)))
        .fetch_one(self.pool())
        .await
        .map_err(Error::doing("read the slowest cursor"))?;
        // Cursors may be committed behind. A commit that waits for the disk waits for all before it;
        // it has to write something for that, and this touches no table.
        sqlx::query("select pg_logical_emit_message(true, 'bellwether', 'cursors')")
            .execute(self.pool())
            .await
            .map_err(Error::doing("wait until the cursors are on disk"))?;
        Ok(lowest.unwrap_or(0) as u64)
    }

    /// I2: the lane's records per outcome word, and `in_frames`, the records in frame headers up to
    /// the cursor.
    pub async fn ledger(
        &self,
        generation: Generation,
        lane: Lane,
    ) -> Result<BTreeMap<String, u64>, Error> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "select outcome, records from ledger where generation = $1 and lane = $2",
        )
        .bind(generation.0)
        .bind(i32::from(lane.0))
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("read the ledger"))?;
        Ok(rows.into_iter().map(|(outcome, records)| (outcome, records as u64)).collect())
    }

    /// The dead letters of a generation in log order.
    pub async fn parked(&self, generation: Generation) -> Result<Vec<Parked>, Error> {
        let rows: Vec<(String, i32, i64, i64, i32, String, i32)> = sqlx::query_as(
            "select stage, lane, inc, seq, rec, reason, attempts from parked \
             where generation = $1 order by inc, seq, rec, stage, lane",
        )
        .bind(generation.0)
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("read the parked records"))?;
        Ok(rows
            .into_iter()
            .map(|(stage, lane, inc, seq, rec, reason, attempts)| Parked {
                stage,
                lane: Lane(lane as u16),
                at: InputPosition { incarnation: inc, sequence: seq as u64, record: rec as u32 },
                reason,
                attempts: attempts as u32,
            })
            .collect())
    }

    /// The identity of the log these tables belong to. The first caller's log becomes it; everyone
    /// else compares.
    pub async fn log_identity(&self, incarnation: i64, lanes: u16) -> Result<LogIdentity, Error> {
        sqlx::query(
            "insert into log_identity (incarnation, lanes, system_id) \
             select $1, $2, system_identifier::text from pg_control_system() \
             on conflict do nothing",
        )
        .bind(incarnation)
        .bind(i32::from(lanes))
        .execute(self.pool())
        .await
        .map_err(Error::doing("note the identity of the log"))?;
        let (incarnation, lanes, system_id): (i64, i32, String) =
            sqlx::query_as("select incarnation, lanes, system_id from log_identity")
                .fetch_one(self.pool())
                .await
                .map_err(Error::doing("read the identity of the log"))?;
        Ok(LogIdentity { incarnation, lanes: lanes as u16, system_id })
    }
}
