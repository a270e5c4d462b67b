//! Storms that were told. Where one is kept as an alert of its own, that ends with the last incident in
//! it: whoever has it would else stop being called while everything in it still fires.

use schemas::job::SendKind;

use super::Desk;
use crate::notify::{row::Told, summary::Gathering};

/// How many storms of a lane wait for their incidents to end. The oldest makes room: what never ends
/// must not fill memory.
const CALM: usize = 100;

impl Desk<'_> {
    /// A storm brings nothing new any more.
    pub(super) fn calm(&mut self, storm: Gathering) {
        self.state.gathered_changed = true;
        if storm.is_over() {
            return self.end_storm(&storm);
        }
        let calm = &mut self.state.gathered.calm;
        calm.insert(storm.key.clone(), storm);
        if calm.len() <= CALM {
            return;
        }
        let oldest = calm.values().min_by_key(|storm| storm.since).map(|storm| storm.key.clone());
        if let Some(storm) = oldest.and_then(|key| calm.remove(&key)) {
            self.end_storm(&storm);
        }
    }

    /// An incident is over, or fires again after all: the storms it stands in count that. One that is
    /// calm ends with its last.
    pub(super) fn count_in_storms(&mut self, told: &Told) {
        let mut ended = Vec::new();
        for (slot, key) in &told.summaries {
            let gathered = &mut self.state.gathered;
            let rages = gathered.summaries.get_mut(slot).filter(|open| open.key == *key);
            let Some(storm) = rages.or_else(|| gathered.calm.get_mut(key)) else { continue };
            if !storm.turn(told) {
                continue;
            }
            self.state.gathered_changed = true;
            if storm.is_over() {
                ended.extend(gathered.calm.remove(key));
            }
        }
        for storm in ended {
            self.end_storm(&storm);
        }
    }

    /// Whoever was given a storm as an alert of its own ends that.
    fn end_storm(&mut self, storm: &Gathering) {
        self.tell_summary(storm, SendKind::Resolve, &storm.told);
    }
}
