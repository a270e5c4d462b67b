//! What a stage hands to the lane loop.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use schemas::{Event, InputPosition, Lane, Outcome, Record, Time, subject::EventChannel};
use store::lane::{LaneConnection, LaneTransaction};

/// What a stage reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The input log: its own lane and `all`.
    Records,
    /// Derived events of its own lane. For each writing stage named here its first channel must be
    /// (observe: decision), or lost parts could not be told from parts that were never wanted; the
    /// first one named is the stage whose `through` this one's cursor follows.
    Events(&'static [EventChannel]),
}

/// One record or one event, still as bytes.
#[derive(Clone, Debug)]
pub struct Item {
    /// Input position: of the record, or of the batch the event belongs to (`through`).
    pub at: InputPosition,
    /// Exactly one CBOR item.
    pub bytes: Bytes,
    /// When the server stored the frame it came in.
    pub stored_at: Time,
    /// The record stands in the lane `all`, which every lane reads.
    pub of_all: bool,
}

/// Why a lane may not go on in this process, however often it is tried: a newer format, a fault in
/// our own events. The lane is released and the reason is loud.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Halt {
    pub reason: String,
}

/// What a batch makes besides the stage's own rows. The loop turns it into ledger counts, parked
/// rows, `unpublished` messages and the new cursor, all in the batch's transaction.
#[derive(Debug, Default)]
pub struct Out {
    /// Events in fold order; the loop sorts them onto their channels.
    pub events: Vec<Event>,
    /// I2: every record adds exactly one.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Records given up, with the reason; each also counts as [`Outcome::Parked`].
    pub parked: Vec<(InputPosition, String)>,
    /// Control records this batch causes (incident numbers); put into the lane's own `c` subject.
    pub controls: Vec<Record>,
    /// Lane time after the batch; kept in the cursor row.
    pub lane_time: Time,
}

impl Out {
    /// Counts one record's outcome.
    pub fn count(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// Gives a record up, by name and with the reason.
    pub fn park(&mut self, at: InputPosition, reason: impl Into<String>) {
        self.count(Outcome::Parked);
        self.parked.push((at, reason.into()));
    }
}

/// One ordered stage: what is done with each item, in the order of the log.
///
/// The loop calls, per lane it owns: `load` once, then for each batch `prepare` for every item (in
/// parallel, on threads that may block), `gather` once, `fold` for every item in order, and `write`
/// once inside the batch's transaction; `context` after `load` and after each batch that had to
/// end where it did. After any error it drops the state and loads anew, so
/// `fold` may change the state freely before the commit is known.
pub trait Stage: Send + Sync + 'static {
    /// What `prepare` makes of an item.
    type Prepared: Send + Sync + 'static;
    /// What `prepare` goes by besides the item: what is in force in the lane.
    type Context: Clone + Send + Sync + 'static;
    /// What a lane's owner keeps in memory.
    type State: Send + 'static;

    /// `observe`, `notify` or `project`: the name in tables, subjects, metrics and logs.
    fn name(&self) -> &'static str;

    /// What it reads.
    fn input(&self) -> Input;

    /// Version of its fold: stored with the cursor; an older binary releases a lane stamped newer.
    fn fold_version(&self) -> u32;

    /// How long behind its first entry a batch is held open for more, while batches are small and
    /// follow each other closely. What arrives while the batch before is applied costs no wait.
    fn linger(&self) -> Duration;

    /// What is in force in a lane. Only an item that ends its batch may change it.
    fn context(&self, state: &Self::State) -> Self::Context;

    /// Reads an item as far as that needs no state: decode, normalise, redact. Called in parallel,
    /// before the items in front of it are folded; a panic counts as an attempt at the item.
    fn prepare(&self, context: &Self::Context, item: &Item) -> Result<Self::Prepared, Halt>;

    /// True for an item that must be the last of its batch, because what follows is prepared by
    /// what it says (a rules record).
    fn ends_batch(&self, _prepared: &Self::Prepared) -> bool {
        false
    }

    /// What the owner of `lane` needs in memory, read at take-over.
    fn load<'a>(
        &'a self,
        connection: &'a mut LaneConnection,
        lane: Lane,
    ) -> BoxFuture<'a, Result<Self::State, store::Error>>;

    /// Reads the facts a batch needs and the state does not hold.
    fn gather<'a>(
        &'a self,
        connection: &'a mut LaneConnection,
        state: &'a mut Self::State,
        batch: &'a [(Item, Self::Prepared)],
    ) -> BoxFuture<'a, Result<(), store::Error>>;

    /// Applies one item, strictly in log order.
    fn fold(&self, state: &mut Self::State, item: Item, prepared: Self::Prepared, out: &mut Out);

    /// Writes what the folds of this batch changed; job rows get their state from
    /// [`store::lane::Standing::job_state`]. `out` holds no events by then: they are being made into
    /// messages meanwhile.
    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        state: &'a mut Self::State,
        out: &'a mut Out,
    ) -> BoxFuture<'a, Result<(), store::Error>>;

    /// Called when a batch of the live generation is committed, or could not be: for what is said
    /// and counted of its events.
    fn ended(&self, _events: &[Event], _failed: Option<&store::Error>) {}

    /// Called for each owned lane every few seconds with Postgres's `now()`; observe appends its
    /// tick here.
    fn beat<'a>(&'a self, _lane: Lane, _now: Time) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}
