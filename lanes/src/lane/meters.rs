//! The figures of a lane.

use std::{collections::BTreeMap, time::Duration};

use metrics::{Counter, Histogram, counter, histogram};
use schemas::{Lane, Outcome};

/// Handles of one lane's figures.
#[derive(Clone)]
pub(super) struct Meters {
    labels: [(&'static str, String); 2],
    batches: Counter,
    items: Counter,
    commit: Histogram,
    parked: Counter,
    repeated: Counter,
    /// Numbers that jumped: records or events are missing.
    pub gaps: Counter,
    /// Batches that could not be applied.
    pub failed: Counter,
    /// Batches whose outcomes did not add up.
    pub unaccounted: Counter,
}

impl Meters {
    pub fn new(stage: &'static str, lane: Lane) -> Self {
        let labels = [("stage", stage.to_owned()), ("lane", lane.to_string())];
        Self {
            batches: counter!("bellwether_lane_batches_total", &labels),
            items: counter!("bellwether_lane_items_total", &labels),
            commit: histogram!("bellwether_lane_commit_seconds", &labels),
            parked: counter!("bellwether_lane_parked_total", &labels),
            repeated: counter!("bellwether_lane_repeated_frame_records_total", &labels),
            gaps: counter!("bellwether_lane_gaps_total", &labels),
            failed: counter!("bellwether_lane_failed_batches_total", &labels),
            unaccounted: counter!("bellwether_lane_unaccounted_batches_total", &labels),
            labels,
        }
    }

    /// A batch was committed.
    pub fn committed(&self, took: Duration, items: u64, parked: u64) {
        self.batches.increment(1);
        self.items.increment(items);
        self.commit.record(took.as_secs_f64());
        self.parked.increment(parked);
    }

    /// What became of a batch's records.
    pub fn outcomes(&self, outcomes: &BTreeMap<Outcome, u64>) {
        for (outcome, count) in outcomes {
            if *outcome == Outcome::RepeatedFrame {
                self.repeated.increment(*count);
            }
            let [stage, lane] = &self.labels;
            let labels = [stage.clone(), lane.clone(), ("outcome", outcome.word().to_owned())];
            counter!("bellwether_lane_outcomes_total", &labels).increment(*count);
        }
    }
}
