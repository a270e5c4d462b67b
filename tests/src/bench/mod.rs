//! The benches: figures of the whole, each beside its target, measured in one run on this machine.
//!
//! Every server is a process of its own on a free loopback port, so that what each costs can be
//! read from `/proc`. The load generator shares the machine with what it measures, as it did when
//! the targets were set; what counts are ratios within one run. One file per subject:
//! [`ingest`] (accepting, beside [`peers`]), [`pipeline`] (from a request to a row), [`visible`] (how
//! soon), [`observe`] (folding alone, beside what the tables can take), [`storm`] (one problem, and
//! very many), [`takeover`] (how soon a lane has another owner), [`hung`] (messages beside a channel
//! that never answers), [`triage`] (calls of a slow model by many processes).

pub mod bare;
pub mod claim;
pub mod figures;
pub mod filled;
pub mod hung;
pub mod ingest;
pub mod observe;
pub mod peers;
pub mod pipeline;
pub mod process;
pub mod storm;
pub mod takeover;
pub mod traffic;
pub mod triage;
pub mod unpublished;
pub mod visible;
pub mod wal;

use std::time::Duration;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Scale(pub f64);

impl Scale {
    /// A time of the standard run, scaled; never shorter than a second.
    pub fn time(self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds * self.0).max(1.0))
    }
}

/// Says on stderr what happens now, because stdout is for the figures.
pub fn step(text: &str) {
    eprintln!("bench: {text}");
}
