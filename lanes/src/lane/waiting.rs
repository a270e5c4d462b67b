//! The batch that waits for its turn, and grows until it is taken.
//!
//! Reading and preparing go on while a batch is folded, committed and published. What is ready
//! meanwhile becomes one batch, not many: a batch costs the tables about as much as a hundred
//! alerts do, and whoever waits for the second of two batches waits for both.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{entry::Entry, prepare::Batch, stop::Stop};

/// A batch this much smaller than its limits was small ...
const SMALL: usize = 10;

/// ... and was recent for this long: a lane that is idle for longer waits for nobody.
const RECENT: Duration = Duration::from_millis(50);

/// How much a batch may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub items: usize,
    pub bytes: usize,
}

impl Size {
    /// The size of these entries.
    pub fn of(entries: &[Entry]) -> Self {
        Self { items: entries.len(), bytes: entries.iter().map(Entry::weight).sum() }
    }

    /// True if this has reached `limit` one way or the other.
    pub fn fills(self, limit: Self) -> bool {
        self.items >= limit.items || self.bytes >= limit.bytes
    }

    /// What is left of `limit`.
    pub fn below(self, limit: Self) -> Self {
        Self {
            items: limit.items.saturating_sub(self.items),
            bytes: limit.bytes.saturating_sub(self.bytes),
        }
    }

    fn and(self, other: Self) -> Self {
        Self { items: self.items + other.items, bytes: self.bytes + other.bytes }
    }

    fn is_small(self, limit: Self) -> bool {
        self.items < limit.items.div_ceil(SMALL) && self.bytes < limit.bytes.div_ceil(SMALL)
    }
}

/// Between the one who prepares and the one who applies.
pub(super) struct Waiting<P> {
    place: Mutex<Place<P>>,
    limit: Size,
    linger: Duration,
    /// Something was put there.
    put: Notify,
    /// Something was taken away.
    taken: Notify,
}

struct Place<P> {
    batch: Option<Batch<P>>,
    size: Size,
    /// When the first of it came.
    since: Instant,
    /// What the one who prepares came to after it.
    stop: Option<Stop>,
    /// When the last batch was taken, if it was small.
    small: Option<Instant>,
}

/// For how long to wait.
enum Wait {
    Not,
    /// Until something is put there.
    ForSome,
    /// Until then, for more.
    Until(Instant),
}

impl<P> Waiting<P> {
    /// Nothing waits yet. A batch holds at most `limit`, or one entry that is larger, and is held
    /// open for `linger` behind its first entry while batches are small and follow each other closely.
    pub fn new(limit: Size, linger: Duration) -> Self {
        let place = Place {
            batch: None,
            size: Size { items: 0, bytes: 0 },
            since: Instant::now(),
            stop: None,
            small: None,
        };
        Self { place: Mutex::new(place), limit, linger, put: Notify::new(), taken: Notify::new() }
    }

    /// Waits until the waiting batch may grow, and says by how much.
    pub async fn room(&self) -> Size {
        loop {
            if let Some(room) = self.with(|place| place.room(self.limit)) {
                return room;
            }
            self.taken.notified().await;
        }
    }

    /// Adds what follows to the waiting batch, or waits until that is taken.
    pub async fn put(&self, batch: Batch<P>) {
        let size = Size::of(&batch.entries);
        while !self.with(|place| place.takes(size, self.limit)) {
            self.taken.notified().await;
        }
        self.with(|place| place.add(batch, size));
        self.put.notify_one();
    }

    /// Ends the batches with this.
    pub fn stop(&self, stop: Stop) {
        self.with(|place| place.stop = Some(stop));
        self.put.notify_one();
    }

    /// Takes the waiting batch; waits for one, and a little for more of it. Safe to cancel.
    pub async fn take(&self) -> Result<Batch<P>, Stop> {
        loop {
            match self.with(|place| place.wait(self.limit, self.linger)) {
                Wait::Not => break,
                Wait::ForSome => self.put.notified().await,
                Wait::Until(end) => {
                    // Over or not, the next look tells.
                    let _ = tokio::time::timeout_at(end, self.put.notified()).await;
                }
            }
        }
        let taken = self.with(|place| place.take(self.limit));
        self.taken.notify_one();
        taken
    }

    fn with<T>(&self, change: impl FnOnce(&mut Place<P>) -> T) -> T {
        change(&mut self.place.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P> Place<P> {
    fn room(&self, limit: Size) -> Option<Size> {
        let ends = self.batch.as_ref().is_some_and(|batch| batch.ends);
        (!ends && !self.size.fills(limit)).then(|| self.size.below(limit))
    }

    fn takes(&self, more: Size, limit: Size) -> bool {
        let Some(batch) = &self.batch else { return true };
        let sum = self.size.and(more);
        !batch.ends && sum.items <= limit.items && sum.bytes <= limit.bytes
    }

    fn add(&mut self, mut more: Batch<P>, size: Size) {
        match &mut self.batch {
            None => {
                self.since = Instant::now();
                self.size = size;
                self.batch = Some(more);
            }
            Some(batch) => {
                batch.entries.append(&mut more.entries);
                batch.items.append(&mut more.items);
                batch.ends = more.ends;
                self.size = self.size.and(size);
            }
        }
    }

    /// For how long whoever takes the batch has to wait, or had better.
    fn wait(&self, limit: Size, linger: Duration) -> Wait {
        let Some(batch) = &self.batch else {
            return if self.stop.is_some() { Wait::Not } else { Wait::ForSome };
        };
        let trickles = self.small.is_some_and(|taken| taken.elapsed() < RECENT);
        let may_grow = !batch.ends && self.stop.is_none() && !self.size.fills(limit);
        let end = self.since + linger;
        if trickles && may_grow && end > Instant::now() { Wait::Until(end) } else { Wait::Not }
    }

    fn take(&mut self, limit: Size) -> Result<Batch<P>, Stop> {
        let Some(batch) = self.batch.take() else {
            return Err(self.stop.take().unwrap_or(Stop::Asked));
        };
        self.small = self.size.is_small(limit).then(Instant::now);
        self.size = Size { items: 0, bytes: 0 };
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use schemas::{InputPosition, Time};

    use super::*;
    use crate::{Item, lane::entry::Content};

    const LIMIT: Size = Size { items: 20, bytes: 1000 };
    const LINGER: Duration = Duration::from_millis(8);

    /// A batch of `count` items of ten bytes each.
    fn batch(count: u32, ends: bool) -> Batch<()> {
        let item = |record| {
            let at = InputPosition { incarnation: 1, sequence: 1, record };
            let (bytes, stored_at) = (Bytes::from_static(b"ten bytes."), Time::default());
            Item { at, bytes, stored_at, of_all: false }
        };
        let entry = |item: &Item| Entry {
            at: item.at,
            input: item.at,
            through: None,
            stored_at: item.stored_at,
            records: 1,
            producer: None,
            mark: None,
            content: Content::Item(item.clone()),
        };
        let items: Vec<Item> = (0..count).map(item).collect();
        let entries = items.iter().map(entry).collect();
        Batch { entries, items: items.into_iter().map(|item| (item, ())).collect(), ends }
    }

    async fn taken(waiting: &Waiting<()>) -> usize {
        waiting.take().await.map(|batch| batch.items.len()).unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_before_it_is_taken_is_one_batch() {
        let waiting = Waiting::new(LIMIT, LINGER);
        waiting.put(batch(3, false)).await;
        assert_eq!(waiting.room().await.items, 17);
        waiting.put(batch(4, false)).await;
        assert_eq!(taken(&waiting).await, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_batch_is_held_open_only_behind_another() {
        let waiting = Waiting::new(LIMIT, LINGER);
        let took = async |waiting: &Waiting<()>| {
            let begun = Instant::now();
            waiting.put(batch(1, false)).await;
            let more = async {
                tokio::time::sleep(LINGER / 2).await;
                waiting.put(batch(1, false)).await;
            };
            let (count, ()) = tokio::join!(taken(waiting), more);
            (count, begun.elapsed().as_millis())
        };
        assert_eq!(took(&waiting).await.0, 1, "the first of a quiet lane waits for nobody");
        assert_eq!(taken(&waiting).await, 1);
        assert_eq!(took(&waiting).await, (2, 8));
        tokio::time::sleep(RECENT).await;
        assert_eq!(took(&waiting).await.0, 1, "the last one was long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_neither_exceeds_its_limit_nor_grows_behind_its_end() {
        let waiting = Waiting::new(LIMIT, LINGER);
        for (first, ends) in [(15, false), (2, true)] {
            waiting.put(batch(first, ends)).await;
            let (one, ()) = tokio::join!(taken(&waiting), waiting.put(batch(10, false)));
            assert_eq!(one, first as usize);
            assert_eq!(taken(&waiting).await, 10);
        }
        waiting.put(batch(30, false)).await;
        assert_eq!(taken(&waiting).await, 30, "one that is larger comes alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_comes_behind_what_waits() {
        let waiting = Waiting::new(LIMIT, LINGER);
        waiting.put(batch(1, false)).await;
        waiting.stop(Stop::Frozen);
        assert_eq!(taken(&waiting).await, 1);
        assert!(matches!(waiting.take().await, Err(Stop::Frozen)));
    }
}
