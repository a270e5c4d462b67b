//! Who may be claimed for: slow targets must leave room for the others, however many are slow.
//!
//! A target may hold a seventh of the places that are free besides, at least one, and no more than its
//! share. So one slow target leaves seven of eight places to the others, each further one an eighth
//! less, and a target that holds none gets the last. Those that are only probed count as one target.

use std::collections::HashMap;

use store::job::{Health, Job, Room};

/// What a job holds while it is performed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    target: String,
    probe: bool,
}

impl Place {
    pub(super) fn of(job: &Job) -> Self {
        Self { target: job.target.clone(), probe: job.health == Health::Probed }
    }
}

/// How many places each target holds here.
pub(super) struct Busy {
    per_target: usize,
    held: HashMap<String, usize>,
    probes: usize,
}

impl Busy {
    /// None held yet; `per_target` is at least 1.
    pub(super) fn new(per_target: usize) -> Self {
        Self { per_target, held: HashMap::new(), probes: 0 }
    }

    pub(super) fn hold(&mut self, place: &Place) {
        self.probes += usize::from(place.probe);
        if !place.target.is_empty() {
            *self.held.entry(place.target.clone()).or_default() += 1;
        }
    }

    pub(super) fn release(&mut self, place: &Place) {
        self.probes -= usize::from(place.probe);
        if let Some(held) = self.held.get_mut(&place.target) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&place.target);
            }
        }
    }

    /// How many to claim with `free` places, so few that all of them may be of one target, and what
    /// there is no room for.
    pub(super) fn room(&self, free: usize) -> (usize, Room) {
        let more = |held| self.more(held, free);
        let (full, open): (Vec<_>, Vec<_>) =
            self.held.iter().partition(|(_, held)| more(**held) == 0);
        let n = open.into_iter().map(|(_, held)| more(*held)).min().unwrap_or(usize::MAX);
        let full = full.into_iter().map(|(target, _)| target.clone()).collect();
        (n.min(more(0)).min(free), Room { full, probes: more(self.probes) > 0 })
    }

    /// How many of the free places a target may have that holds so many: with them it holds no more
    /// than a seventh of what is free then.
    fn more(&self, held: usize, free: usize) -> usize {
        let more = free.saturating_sub(7 * held) / 8;
        let more = more.min(self.per_target.saturating_sub(held));
        if held == 0 { more.max(1) } else { more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: &str) -> Place {
        Place { target: target.into(), probe: false }
    }

    fn room(busy: &Busy, free: usize) -> (usize, Vec<String>) {
        let (n, room) = busy.room(free);
        (n, room.full)
    }

    #[test]
    fn one_target_never_gets_more_than_its_share() {
        let (mut busy, slow) = (Busy::new(3), of("slow"));
        assert_eq!(room(&busy, 32), (3, vec![]));
        busy.hold(&slow);
        busy.hold(&slow);
        assert_eq!(room(&busy, 30), (1, vec![]), "one more of it would fill it");
        busy.hold(&slow);
        assert_eq!(room(&busy, 29), (3, vec!["slow".to_owned()]));
        busy.release(&slow);
        assert_eq!(room(&busy, 30), (1, vec![]));
        busy.release(&slow);
        busy.release(&slow);
        busy.release(&of(""));
        assert!(busy.held.is_empty());
        // Of few places there is one for each.
        assert_eq!(room(&busy, 1), (1, vec![]));
        busy.hold(&slow);
        assert_eq!(room(&busy, 1), (1, vec!["slow".to_owned()]));
    }

    /// Places that are free once so many targets took what they get, and gave nothing back.
    fn left_by(slow: usize) -> usize {
        let (mut busy, mut free) = (Busy::new(4), 32);
        for turn in 0..40 * slow {
            if free == 0 {
                break;
            }
            let target = format!("slow-{}", turn % slow);
            let (n, room) = busy.room(free);
            if !room.full.contains(&target) {
                (0..n).for_each(|_| busy.hold(&of(&target)));
                free -= n;
            }
        }
        free
    }

    #[test]
    fn f7_slow_targets_leave_places_to_the_others() {
        assert_eq!([1, 2, 3, 4, 8].map(left_by), [28, 25, 22, 20, 13]);
        assert!(left_by(20) > 0, "twenty are slow");
    }

    #[test]
    fn f7_probes_of_many_silent_targets_hold_no_more_than_one_target_would() {
        let (mut busy, mut free) = (Busy::new(4), 32);
        let probe = |n: usize| Place { target: format!("silent-{n}"), probe: true };
        while busy.room(free).1.probes {
            busy.hold(&probe(free));
            free -= 1;
        }
        assert_eq!(free, 28);
        let (_, room) = busy.room(free);
        assert!(room.full.is_empty(), "what is no probe is not kept back");
        busy.release(&probe(32));
        assert!(busy.room(free + 1).1.probes);
    }
}
