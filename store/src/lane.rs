//! The rows of the lane loop: generation, cursor, producers, ledger, unpublished, parked.
//!
//! A lane's owner holds a [`LaneConnection`]: a connection of its own with the advisory lock on it,
//! on which its transactions run. The lock saves work; the compare-and-set of the cursor
//! ([`LaneTransaction::advance`]) is what makes a second owner harmless.

mod connection;
mod rows;
mod transaction;

use schemas::{Generation, InputPosition, Lane};
use sqlx::{PgConnection, Postgres, Transaction};

pub use rows::{Cursor, LogIdentity, Message, Parked, ProducerMark, Stream};
pub use transaction::Account;

/// The connection of one lane's owner: it holds the advisory lock and runs the transactions.
#[derive(Debug)]
pub struct LaneConnection {
    pub(crate) connection: PgConnection,
    pub(crate) stage: &'static str,
    pub(crate) generation: Generation,
    pub(crate) lane: Lane,
}

/// The transaction of one batch. It has read the generation row FOR SHARE.
#[derive(Debug)]
pub struct LaneTransaction<'a> {
    pub(crate) transaction: Transaction<'a, Postgres>,
    pub(crate) stage: &'static str,
    pub(crate) generation: Generation,
    pub(crate) lane: Lane,
    pub(crate) standing: Standing,
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

impl LaneTransaction<'_> {
    /// I6: pending only if this generation is the active one and the trigger is above its promote
    /// position.
    pub fn job_state(&self, trigger: InputPosition) -> JobState {
        let above = (trigger.incarnation, trigger.sequence) > self.standing.promoted_above;
        if self.standing.active && above { JobState::Pending } else { JobState::Shadow }
    }

    /// What the generation may do, as read by this transaction.
    pub fn standing(&self) -> Standing {
        self.standing
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
