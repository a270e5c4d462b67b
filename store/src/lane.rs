//! The rows of the lane loop: generation, cursor, producers, ledger, unpublished, parked.
//!
//! A lane's owner holds a [`LaneConnection`]: a connection of its own with the advisory lock on it,
//! on which its transactions run. The lock saves work; the compare-and-set of the cursor
//! ([`LaneTransaction::advance`]) is what makes a second owner harmless.

mod connection;
mod joint;
mod rows;
mod transaction;

use schemas::{Generation, InputPosition, Lane};
use sqlx::{Connection, PgConnection, Postgres, Transaction};

use self::joint::{Joint, Part};
use crate::Error;

pub use rows::{Cursor, LogIdentity, Message, Parked, ProducerMark, Stream};
pub use transaction::Account;

/// The connection of one lane's owner: it holds the advisory lock and runs the transactions.
#[derive(Debug)]
pub struct LaneConnection {
    pub(crate) connection: PgConnection,
    pub(crate) stage: &'static str,
    pub(crate) generation: Generation,
    pub(crate) lane: Lane,
    /// What the generation may do, as it was last read.
    pub(crate) standing: Option<Standing>,
}

/// The transaction of one batch.
///
/// What the batch writes is gathered, and made true by one statement at the end; that is all there
/// is in most batches. A statement that is needed before opens a transaction around them all. Either
/// way the generation row is held FOR SHARE while a batch that moves the cursor is committed.
#[derive(Debug)]
pub struct LaneTransaction<'a> {
    open: Open<'a>,
    joint: Joint,
    /// Where the cursor moves from, by the number of its batch, and the input position it moves to.
    moves: Option<(u64, InputPosition)>,
    pub(crate) stage: &'static str,
    pub(crate) generation: Generation,
    pub(crate) lane: Lane,
    known: &'a mut Option<Standing>,
}

/// Whether a transaction is open on the connection.
#[derive(Debug)]
enum Open<'a> {
    Not(&'a mut PgConnection),
    Since(Transaction<'a, Postgres>, Standing),
    /// Opening it failed.
    Never,
}

/// What the generation may do, as its row says in this transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The live generation: its effects may leave the system. A frozen one is live up to where it
    /// was frozen, and nothing is folded behind that.
    pub active: bool,
    /// (incarnation, sequence): only triggers above it may.
    pub promoted_above: (i64, u64),
    /// No batch crosses this position.
    pub frozen_at: Option<(i64, u64)>,
}

/// The state a new job row gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    Pending,
    Shadow,
}

impl Standing {
    /// I6: pending only if the generation is the active one and the trigger is above its promote
    /// position.
    pub fn job_state(&self, trigger: InputPosition) -> JobState {
        let above = (trigger.incarnation, trigger.sequence) > self.promoted_above;
        if self.active && above { JobState::Pending } else { JobState::Shadow }
    }
}

impl<'a> LaneTransaction<'a> {
    /// Holds the generation row until the end, and says what the generation may do.
    ///
    /// # Errors
    /// [`Error::Generation`] when there is nothing to be written any more.
    pub async fn hold(&mut self) -> Result<Standing, Error> {
        if let Open::Since(_, standing) = &self.open {
            return Ok(*standing);
        }
        let Open::Not(connection) = std::mem::replace(&mut self.open, Open::Never) else {
            return Err(Error::doing("begin a batch")(sqlx::Error::WorkerCrashed));
        };
        let mut transaction = connection.begin().await.map_err(Error::doing("begin a batch"))?;
        let standing = rows::standing(&mut transaction, self.generation, true).await?;
        *self.known = Some(standing);
        self.open = Open::Since(transaction, standing);
        Ok(standing)
    }

    /// Whether the generation was the live one when it was last looked at: for what is said, not
    /// for what is done.
    pub fn was_live(&self) -> bool {
        self.known.is_some_and(|standing| standing.active)
    }

    /// The connection, for a statement that cannot wait for the end: it reads, or others build on
    /// what it writes. What is [written at the end](Self::write) comes after it.
    pub(crate) async fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        self.hold().await?;
        match &mut self.open {
            Open::Since(transaction, _) => Ok(&mut *transaction),
            Open::Not(_) | Open::Never => {
                Err(Error::doing("begin a batch")(sqlx::Error::WorkerCrashed))
            }
        }
    }

    /// Writes `table` at the end of the batch, once a batch. In the statement `$1` is the generation,
    /// `$2` the lane, and each `?` the next parameter, bound in this order.
    pub(crate) fn write(&mut self, table: &'static str, statement: &str) -> Part<'_> {
        self.joint.add(table, statement)
    }

    /// The generation this batch belongs to.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The lane this batch belongs to.
    pub fn lane(&self) -> Lane {
        self.lane
    }
}
