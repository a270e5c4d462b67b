//! Who may be claimed for: a slow target must leave room for the others.

use std::collections::HashMap;

/// How many jobs of each target are held here.
pub(super) struct Busy {
    per_target: usize,
    held: HashMap<String, usize>,
}

impl Busy {
    /// None held yet; `per_target` is at least 1.
    pub(super) fn new(per_target: usize) -> Self {
        Self { per_target, held: HashMap::new() }
    }

    pub(super) fn hold(&mut self, target: &str) {
        if !target.is_empty() {
            *self.held.entry(target.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn release(&mut self, target: &str) {
        if let Some(held) = self.held.get_mut(target) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(target);
            }
        }
    }

    /// How many to claim with `free` permits, and the targets that have their share: so few that
    /// all of them may be of one target.
    pub(super) fn room(&self, free: usize) -> (usize, Vec<String>) {
        let (full, open): (Vec<_>, Vec<_>) =
            self.held.iter().partition(|(_, held)| **held >= self.per_target);
        let most = open.into_iter().map(|(_, held)| *held).max().unwrap_or(0);
        let n = free.min(self.per_target - most).max(1);
        (n, full.into_iter().map(|(target, _)| target.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_target_never_gets_more_than_its_share() {
        let mut busy = Busy::new(3);
        assert_eq!(busy.room(8), (3, vec![]));
        busy.hold("slow");
        busy.hold("slow");
        assert_eq!(busy.room(6), (1, vec![]), "one more of it would fill it");
        busy.hold("slow");
        assert_eq!(busy.room(5), (3, vec!["slow".to_owned()]));
        busy.release("slow");
        assert_eq!(busy.room(6), (1, vec![]));
        busy.release("slow");
        busy.release("slow");
        busy.release("");
        assert!(busy.held.is_empty());
    }
}
