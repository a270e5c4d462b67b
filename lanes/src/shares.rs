//! Who owns which lane: each worker its share, and no lane without an owner for long.
//!
//! Pure bookkeeping of one worker: what it owns, who else lives, which lanes are free since when.
//! The advisory lock of a lane decides; this only decides what is worth trying.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    time::Duration,
};

use schemas::Lane;
use tokio::time::Instant;

/// One worker's view of who owns what.
#[derive(Debug)]
pub struct Shares {
    lanes: NonZeroU16,
    /// A lane that is free for this long is taken above one's share.
    patience: Duration,
    live: u16,
    owned: BTreeSet<Lane>,
    free_since: BTreeMap<Lane, Instant>,
    not_before: BTreeMap<Lane, Instant>,
}

impl Shares {
    /// The view of a worker that owns nothing and knows nobody.
    pub fn new(lanes: NonZeroU16, patience: Duration) -> Self {
        Self {
            lanes,
            patience,
            live: 0,
            owned: BTreeSet::new(),
            free_since: BTreeMap::new(),
            not_before: BTreeMap::new(),
        }
    }

    /// The most lanes one of `live` workers takes at once.
    fn share(&self) -> usize {
        usize::from(self.lanes.get().div_ceil(self.live.max(1)))
    }

    /// `live` workers are there, this one included. When one joined, the lanes to hand back.
    pub fn workers(&mut self, live: u16) -> Vec<Lane> {
        let joined = live > self.live;
        self.live = live;
        let excess = self.owned.len().saturating_sub(self.share());
        if joined { self.owned.iter().rev().take(excess).copied().collect() } else { Vec::new() }
    }

    /// The lanes worth trying now, given those that somebody owns.
    pub fn wanted(&mut self, held: &[Lane], now: Instant) -> Vec<Lane> {
        let mut room = self.share().saturating_sub(self.owned.len());
        let mut wanted = Vec::new();
        for lane in Lane::all(self.lanes) {
            if self.owned.contains(&lane) || held.contains(&lane) {
                self.free_since.remove(&lane);
                continue;
            }
            let since = *self.free_since.entry(lane).or_insert(now);
            if self.not_before.get(&lane).is_some_and(|until| now < *until) {
                continue;
            }
            if room > 0 {
                room -= 1;
                wanted.push(lane);
            } else if now.duration_since(since) >= self.patience {
                wanted.push(lane);
            }
        }
        wanted
    }

    /// Whether there is a lane that this worker does not own.
    pub fn lacks_some(&self) -> bool {
        self.owned.len() < usize::from(self.lanes.get())
    }

    /// The worker tries or owns the lane.
    pub fn took(&mut self, lane: Lane) {
        self.owned.insert(lane);
        self.free_since.remove(&lane);
    }

    /// The worker has the lane no more, and does not try it before `not_before`.
    pub fn lost(&mut self, lane: Lane, not_before: Instant) {
        self.owned.remove(&lane);
        self.not_before.insert(lane, not_before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares() -> Shares {
        Shares::new(NonZeroU16::new(4).unwrap(), Duration::from_secs(5))
    }

    fn lanes(numbers: impl IntoIterator<Item = u16>) -> Vec<Lane> {
        numbers.into_iter().map(Lane).collect()
    }

    fn take(shares: &mut Shares, taken: Vec<Lane>) {
        taken.into_iter().for_each(|lane| shares.took(lane));
    }

    #[test]
    fn a_worker_alone_takes_every_lane() {
        let mut alone = shares();
        alone.workers(1);
        assert_eq!(alone.wanted(&[], Instant::now()), lanes(0..4));
    }

    #[test]
    fn a_worker_takes_its_share_at_once_and_more_only_after_a_while() {
        let (mut one, now) = (shares(), Instant::now());
        one.workers(3);
        let first = one.wanted(&[], now);
        assert_eq!(first, lanes([0, 1]), "4 lanes, 3 workers: 2 each at most");
        take(&mut one, first);
        assert_eq!(one.wanted(&lanes([3]), now), lanes([]));
        let later = now + Duration::from_secs(5);
        assert_eq!(one.wanted(&lanes([3]), later), lanes([2]), "3 is somebody's");
        assert_eq!(one.wanted(&lanes([2]), later), lanes([]), "3 is only free since now");
    }

    #[test]
    fn what_exceeds_the_share_goes_back_when_another_joins_and_only_then() {
        let (mut one, now) = (shares(), Instant::now());
        assert_eq!(one.workers(1), lanes([]));
        let all = one.wanted(&[], now);
        take(&mut one, all);
        assert_eq!(one.workers(2), lanes([3, 2]));
        assert_eq!(one.workers(2), lanes([]), "asked once");
        one.lost(Lane(3), now);
        one.lost(Lane(2), now);
        assert_eq!(one.wanted(&[], now), lanes([]), "left to the one that joined");
        // It never took them.
        let later = now + Duration::from_secs(5);
        assert_eq!(one.wanted(&[], later), lanes([2, 3]));
        take(&mut one, lanes([2, 3]));
        assert_eq!(one.workers(2), lanes([]), "kept: nobody joined");
    }

    #[test]
    fn a_lane_that_failed_is_left_alone_for_a_while() {
        let (mut one, now) = (shares(), Instant::now());
        one.workers(1);
        one.took(Lane(0));
        one.lost(Lane(0), now + Duration::from_secs(30));
        assert_eq!(one.wanted(&[], now), lanes(1..4));
        assert_eq!(one.wanted(&[], now + Duration::from_secs(30)), lanes(0..4));
    }
}
