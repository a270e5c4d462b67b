//! Applying one batch: gather, fold, one transaction, publish.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures_util::FutureExt;
use schemas::{Event, InputPosition, Outcome};
use store::lane::{Account, Cursor, LaneConnection, Message, ProducerMark};
use tokio::{task::JoinHandle, time::Instant};

use super::{
    Owner,
    beat::{BATCH_ANSWER, answered},
    entry::{Content, Entry, Marks},
    parts::{Writer, channels_of},
    prepare::Batch,
    publish::Publishing,
    stop::{Stop, panic_text},
};
use crate::{Input, Item, Out, Stage};

/// This many items are folded where they are; more go to a thread that may block.
const INLINE: usize = 64;

/// Everything an owner holds between two batches of one reading of the lane.
pub(super) struct Session<S: Stage> {
    pub cursor: Cursor,
    pub marks: Marks,
    pub publishing: Publishing,
    /// Gone after a batch that failed; then the lane has to be read anew.
    pub state: Option<S::State>,
}

impl<S: Stage> Session<S> {
    /// What the next batch is prepared by.
    pub fn context(&self, stage: &S) -> Result<S::Context, Stop> {
        self.state.as_ref().map(|state| stage.context(state)).ok_or(Stop::Frozen)
    }
}

/// What the records of the last batches became, to stop rather than park everything.
#[derive(Debug, Default)]
pub(super) struct Window {
    batches: VecDeque<(u64, u64)>,
    records: u64,
    parked: u64,
}

impl Window {
    /// Parked records among the last `length`, were these the next.
    fn parked_with(&self, parked: u64) -> u64 {
        self.parked + parked
    }

    /// Counts a batch; what is more than `length` records ago is forgotten.
    pub fn add(&mut self, records: u64, parked: u64, length: u64) {
        self.batches.push_back((records, parked));
        self.records += records;
        self.parked += parked;
        while let Some((records, parked)) = self.batches.front().copied() {
            if self.records - records < length {
                break;
            }
            self.records -= records;
            self.parked -= parked;
            self.batches.pop_front();
        }
    }
}

impl<S: Stage> Owner<S> {
    /// Applies a batch and publishes what it made. After an error the session is to be dropped.
    /// `attempts` is what a record parked here is said to have been tried.
    pub(super) async fn apply(
        &mut self,
        session: &mut Session<S>,
        batch: Batch<S::Prepared>,
        attempts: u32,
    ) -> Result<(), Stop> {
        let Batch { entries, items, .. } = batch;
        let Some(last) = entries.last() else { return Ok(()) };
        let Some(mut state) = session.state.take() else { return Err(Stop::Frozen) };
        let (last_input, count) = (last.input, items.len());
        let stored_at = last.stored_at;
        let first_at = items.first().map_or(last_input, |(item, _)| item.at);
        if count > 0 {
            let gathered = self.stage.gather(&mut self.connection, &mut state, &items);
            answered(BATCH_ANSWER, AssertUnwindSafe(gathered).catch_unwind())
                .await?
                .map_err(|panic| poison(first_at, "gather", &*panic))??;
        }
        let (mut state, mut out) = fold(&self.stage, state, items, &session.cursor).await?;
        let new = self.account(session, &entries, count, &mut out)?;
        // Made while the messages of the batch before and the rows of this one are waited for.
        let messages = Encoding::begin(&self.writer, &new, std::mem::take(&mut out.events));
        let parked = match self.input {
            Input::Records => out.outcomes.get(&Outcome::Parked).copied().unwrap_or(0),
            Input::Events(_) => out.parked.len() as u64,
        };
        if self.memory.window.parked_with(parked) > self.config.max_parked {
            return Err(Stop::Halt(format!(
                "more than {} of the last {} records would be parked, the last one because: {}",
                self.config.max_parked,
                self.config.parked_window,
                out.parked.last().map_or("no reason was given", |(_, reason)| reason),
            )));
        }

        let Self { beat, connection, .. } = self;
        beat.during(connection, session.publishing.done()).await??;
        let begun = Instant::now();
        let commit = commit(
            &mut self.connection,
            &self.config.faults,
            &*self.stage,
            Effects {
                entries: &entries,
                old: &session.cursor,
                new,
                attempts,
                writer: &self.writer,
                messages,
                input: self.input,
                state: &mut state,
                out: &mut out,
            },
        );
        let committed = answered(BATCH_ANSWER, commit).await??;
        self.meters.committed(begun.elapsed(), entries.len() as u64, parked);
        self.meters.outcomes(&out.outcomes);
        self.memory.committed(entries.len() as u64, parked, self.config.parked_window);
        session.state = Some(state);
        session.cursor = committed.cursor;
        self.beat.applied(session.cursor.at, Some(stored_at));
        self.config.faults.at("after_commit");

        let faults = self.config.faults.clone();
        let published = move || faults.at("after_publish");
        session.publishing.begin(committed.messages, self.asked.clone(), published)?;
        self.beat.if_due(&mut self.connection).await
    }

    /// Counts what never reached the stage, checks that every record has its outcome, and says
    /// where the cursor goes.
    fn account(
        &self,
        session: &mut Session<S>,
        entries: &[Entry],
        items: usize,
        out: &mut Out,
    ) -> Result<Cursor, Stop> {
        if self.input == Input::Records {
            let outcomes: u64 = out.outcomes.values().sum();
            debug_assert_eq!(outcomes, items as u64, "I2: one outcome for each record");
            if outcomes != items as u64 {
                self.meters.unaccounted.increment(1);
                tracing::error!(
                    stage = self.stage.name(),
                    lane = self.lane.0,
                    "the ledger does not add up: {items} records of one batch have {outcomes} \
                     outcomes"
                );
            }
        }
        let mut new = session.cursor.clone();
        for entry in entries {
            match &entry.content {
                Content::Repeated => {
                    *out.outcomes.entry(Outcome::RepeatedFrame).or_default() += entry.records;
                }
                Content::GivenUp(reason) => out.park(entry.at, reason.as_str()),
                Content::Item(_) | Content::Nothing => {}
            }
            new.at = entry.at;
            if let Some(through) = entry.through {
                new.through = through;
            }
            if let Some(mark) = &entry.mark {
                session.marks.set(mark.clone());
            }
        }
        new.marks = match self.input {
            Input::Records => Vec::new(),
            Input::Events(_) => session.marks.encode(),
        };
        new.batch += 1;
        new.attempts = 0;
        new.fold_version = self.stage.fold_version();
        Ok(new)
    }
}

/// What a batch's transaction makes true.
struct Effects<'a, S: Stage> {
    entries: &'a [Entry],
    old: &'a Cursor,
    /// Without what `write` still changes: lane time and the numbers of the control records.
    new: Cursor,
    attempts: u32,
    writer: &'a Writer,
    messages: Encoding,
    input: Input,
    state: &'a mut S::State,
    out: &'a mut Out,
}

struct Committed {
    cursor: Cursor,
    messages: Vec<Message>,
}

/// The one transaction of a batch (I3): state, job rows, ledger, dead letters, producers, the
/// messages to publish, and the cursor. Any error leaves no trace of it.
async fn commit<S: Stage>(
    connection: &mut LaneConnection,
    faults: &super::Faults,
    stage: &S,
    effects: Effects<'_, S>,
) -> Result<Committed, Stop> {
    let Effects { entries, old, mut new, attempts, writer, messages, input, state, out } = effects;
    let last = entries.last().map_or(old.at, |entry| entry.input);
    let mut transaction = connection.begin();
    let written = AssertUnwindSafe(stage.write(&mut transaction, state, out))
        .catch_unwind()
        .await
        .map_err(|panic| poison(last, "write", &*panic))?;
    let live = transaction.was_live();
    let (events, encoded) = messages.done().await?;
    out.events = events;
    if let Err(error) = written {
        say(stage, live, out, Some(&error));
        return Err(error.into());
    }

    new.lane_time = out.lane_time;
    let mut messages = encoded.map_err(Stop::Halt)?;
    messages.extend(writer.controls(&out.controls, &mut new.frames_out, &mut new.records_out));
    transaction.park(&out.parked, attempts).await?;
    let producers: BTreeMap<_, ProducerMark> = entries
        .iter()
        .filter_map(|entry| entry.producer)
        .map(|mark| ((mark.producer, mark.of_all), mark))
        .collect();
    let none = BTreeMap::new();
    let (in_frames, outcomes) = match input {
        Input::Records => (entries.iter().map(|entry| entry.records).sum(), &out.outcomes),
        Input::Events(_) => (0, &none),
    };
    let producers: Vec<_> = producers.into_values().collect();
    let account = Account { in_frames, outcomes, producers: &producers, messages: &messages };
    let silent = input != Input::Records && channels_of(writer.stage).is_empty();
    transaction.advance(old, &new, last, (!silent).then_some(&account));
    faults.at("before_commit");
    let committed = transaction.commit().await;
    say(stage, live, out, committed.as_ref().err());
    committed?;
    Ok(Committed { cursor: new, messages })
}

/// The events of a batch becoming messages.
enum Encoding {
    Done(Encoded),
    /// In a thread that may block.
    Running(JoinHandle<Encoded>),
}

/// The events, and the messages they travel in or why there are none.
type Encoded = (Vec<Event>, Result<Vec<Message>, String>);

impl Encoding {
    /// Begins with the events of the batch that ends at `new`.
    fn begin(writer: &Writer, new: &Cursor, events: Vec<Event>) -> Self {
        let (writer, batch, through) = (writer.clone(), new.batch, new.through);
        let here = events.len() <= INLINE;
        let encode = move || {
            let messages = writer.parts(batch, through, &events);
            (events, messages)
        };
        if here { Self::Done(encode()) } else { Self::Running(tokio::task::spawn_blocking(encode)) }
    }

    /// Waits for them.
    async fn done(self) -> Result<Encoded, Stop> {
        match self {
            Self::Done(encoded) => Ok(encoded),
            Self::Running(task) => match task.await {
                Ok(encoded) => Ok(encoded),
                Err(ended) => match ended.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Only while the runtime shuts down.
                    Err(_) => Err(Stop::Asked),
                },
            },
        }
    }
}

/// Lets the stage say what became of a batch; not of one that somebody else applies.
fn say<S: Stage>(stage: &S, live: bool, out: &Out, failed: Option<&store::Error>) {
    use store::Error::{Frozen, NotOwner};
    if live && !matches!(failed, Some(Frozen { .. } | NotOwner { .. })) {
        stage.ended(&out.events, failed);
    }
}

/// Folds strictly in log order.
async fn fold<S: Stage>(
    stage: &Arc<S>,
    state: S::State,
    items: Vec<(Item, S::Prepared)>,
    cursor: &Cursor,
) -> Result<(S::State, Out), Stop> {
    let out = Out { lane_time: cursor.lane_time, ..Out::default() };
    if items.len() <= INLINE {
        return fold_here(&**stage, state, items, out);
    }
    let stage = Arc::clone(stage);
    tokio::task::spawn_blocking(move || fold_here(&*stage, state, items, out))
        .await
        // Panics are caught inside; this only fails while the runtime shuts down.
        .unwrap_or(Err(Stop::Asked))
}

fn fold_here<S: Stage>(
    stage: &S,
    mut state: S::State,
    items: Vec<(Item, S::Prepared)>,
    mut out: Out,
) -> Result<(S::State, Out), Stop> {
    for (item, prepared) in items {
        let at = item.at;
        catch_unwind(AssertUnwindSafe(|| stage.fold(&mut state, item, prepared, &mut out)))
            .map_err(|panic| poison(at, "fold", &*panic))?;
    }
    Ok((state, out))
}

fn poison(at: InputPosition, step: &str, panic: &(dyn std::any::Any + Send)) -> Stop {
    Stop::Poison { at, reason: format!("{step} {}", panic_text(panic)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_forgets_what_is_older_than_its_length() {
        let mut window = Window::default();
        window.add(5_000, 60, 10_000);
        window.add(5_000, 30, 10_000);
        assert_eq!(window.parked_with(20), 110);
        window.add(5_000, 0, 10_000);
        assert_eq!(window.parked_with(0), 30, "the first 5,000 are more than 10,000 ago");
        window.add(100, 1, 10_000);
        assert_eq!(window.parked_with(0), 31, "part of a batch still counts as the whole");
    }
}
