//! How the loop waits and retries.

use std::{fmt, sync::Arc, time::Duration};

/// Called with the name of each point where a crash would be interesting: `claimed`, `performed`,
/// `result_stored`, `appended`. A panic in it ends the loop as a crash would.
pub type Faults = Arc<dyn Fn(&'static str) + Send + Sync>;

/// How the loop waits and retries.
#[derive(Clone)]
pub struct JobLoopConfig {
    /// Pause between two looks for work while there is some.
    pub poll_min: Duration,
    /// Pause between two looks when nothing was found for a while.
    pub poll_max: Duration,
    /// Wait before the second attempt; doubled with each further one.
    pub backoff_first: Duration,
    /// Longest wait between two attempts.
    pub backoff_max: Duration,
    /// A panic at this attempt or a later one parks the job.
    pub panics_max: u32,
    /// How many jobs of one target this process performs at once, so that a slow target leaves room
    /// for the others; an eighth of the concurrency when absent. Does not apply to the target ''.
    pub per_target: Option<usize>,
    /// Nothing in production.
    pub faults: Faults,
}

impl Default for JobLoopConfig {
    fn default() -> Self {
        Self {
            poll_min: Duration::from_millis(5),
            poll_max: Duration::from_millis(250),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            panics_max: 10,
            per_target: None,
            faults: Arc::new(|_| ()),
        }
    }
}

impl fmt::Debug for JobLoopConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobLoopConfig")
            .field("poll_min", &self.poll_min)
            .field("poll_max", &self.poll_max)
            .field("backoff_first", &self.backoff_first)
            .field("backoff_max", &self.backoff_max)
            .field("panics_max", &self.panics_max)
            .field("per_target", &self.per_target)
            .finish_non_exhaustive()
    }
}

impl JobLoopConfig {
    /// Wait after attempt number `attempts` (from 1).
    pub fn backoff(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        self.backoff_first.saturating_mul(1 << doublings).min(self.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_limit() {
        let config = JobLoopConfig::default();
        let seconds: Vec<u64> =
            [0, 1, 2, 3, 9, 10, 1000].iter().map(|n| config.backoff(*n).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 256, 300, 300]);
    }
}
