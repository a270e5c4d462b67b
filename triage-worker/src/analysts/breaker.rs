//! A circuit breaker: an analyst that failed several times in a row is left alone for a while, then
//! asked once; as long as that fails it is left alone longer each time.
//!
//! Each process has its own: what it sees of an analyst is what its network lets it see.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runtime::Health;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Failure, failure::Tells};

/// When it opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Questions in a row that fail before it opens.
    pub failures: u32,
    /// How long nobody asks then, in seconds; doubled each time the probe fails.
    pub pause_s: u64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, pause_s: 30 }
    }
}

/// The longest pause, unless [`BreakerConfig::pause_s`] is longer; and the longest patience an
/// analyst gets where it asks for it.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// The breaker of one analyst.
#[derive(Debug)]
pub(super) struct Breaker {
    analyst: String,
    config: BreakerConfig,
    health: Health,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is asked.
    Closed { failures: u32 },
    /// It said that it is not to be asked until then.
    Resting { until: Instant, failures: u32 },
    /// It failed too often to be asked until then.
    Open { until: Instant, pause: Duration },
    /// One question is on its way to see.
    HalfOpen { pause: Duration },
}

/// Why a question may not be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It may be asked then.
    Until(Instant),
    /// Nobody knows when: it failed so often in a row.
    Failed { failures: u32 },
}

/// Leave to ask one question. Dropped without a word, as when the question is given up, it says that
/// a probe failed and nothing otherwise.
#[derive(Debug)]
pub(super) struct Pass<'b> {
    breaker: &'b Breaker,
    probe: bool,
    told: bool,
}

impl Breaker {
    pub(super) fn new(analyst: &str, config: BreakerConfig, health: Health) -> Self {
        let state = Mutex::new(State::Closed { failures: 0 });
        Self { analyst: analyst.to_owned(), config, health, state }
    }

    /// Leave to ask, or why not.
    pub(super) fn enter(&self) -> Result<Pass<'_>, Closed> {
        let now = Instant::now();
        let mut state = self.state();
        let probe = match *state {
            State::Closed { .. } => false,
            State::Resting { until, .. } if until > now => return Err(Closed::Until(until)),
            State::Resting { failures, .. } => {
                *state = State::Closed { failures };
                self.tell(*state, None);
                false
            }
            State::Open { until, pause } if until <= now => {
                *state = State::HalfOpen { pause };
                self.tell(*state, None);
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                return Err(Closed::Failed { failures: self.config.failures });
            }
        };
        Ok(Pass { breaker: self, probe, told: false })
    }

    /// Nobody asks for so long, because the analyst says so.
    pub(super) fn rest(&self, patience: Duration) {
        let until = Instant::now() + patience.min(PAUSE_MAX);
        let mut state = self.state();
        let failures = match *state {
            State::Closed { failures } => failures,
            State::Resting { until: longer, .. } if longer >= until => return,
            State::Resting { failures, .. } => failures,
            // That is longer, or a probe will say.
            State::Open { .. } | State::HalfOpen { .. } => return,
        };
        *state = State::Resting { until, failures };
        self.tell(*state, None);
    }

    fn succeeded(&self) {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => *state = State::Closed { failures: 0 },
            // Asked before it said so.
            State::Resting { until, .. } => *state = State::Resting { until, failures: 0 },
            State::Open { .. } | State::HalfOpen { .. } => {
                *state = State::Closed { failures: 0 };
                self.tell(*state, None);
            }
        }
    }

    fn failed(&self, probe: bool, failure: Option<&Failure>) {
        let first = Duration::from_secs(self.config.pause_s);
        let mut state = self.state();
        let (failures, pause) = match *state {
            State::Closed { failures } | State::Resting { failures, .. } => {
                (failures.saturating_add(1), first)
            }
            State::HalfOpen { pause } if probe => {
                (self.config.failures, (pause * 2).min(PAUSE_MAX.max(first)))
            }
            // Asked before it opened.
            State::Open { .. } | State::HalfOpen { .. } => return,
        };
        if failures >= self.config.failures {
            *state = State::Open { until: Instant::now() + pause, pause };
            return self.tell(*state, failure);
        }
        match &mut *state {
            State::Closed { failures: so_far } | State::Resting { failures: so_far, .. } => {
                *so_far = failures;
            }
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    /// The probe was not made: the next question may be it.
    fn give_back(&self) {
        let mut state = self.state();
        if let State::HalfOpen { pause } = *state {
            *state = State::Open { until: Instant::now(), pause };
        }
    }

    /// Says what it is from now on: 0 closed, 1 half open, 2 open.
    fn tell(&self, state: State, failure: Option<&Failure>) {
        let analyst = &self.analyst;
        let part = format!("analyst {analyst}");
        let level = match state {
            State::Closed { .. } => {
                tracing::info!(analyst, "analyst_breaker_closed");
                self.health.ready(&part);
                0.0
            }
            State::HalfOpen { .. } => {
                tracing::info!(analyst, "analyst_breaker_half_open");
                1.0
            }
            State::Resting { until, .. } => {
                let seconds = until.saturating_duration_since(Instant::now()).as_secs();
                tracing::warn!(analyst, seconds, "analyst_rests: it asked for patience");
                self.health.degraded(&part, "it asked for patience");
                2.0
            }
            State::Open { pause, .. } => {
                let (seconds, failures) = (pause.as_secs(), self.config.failures);
                let last = failure.map_or("given_up", Failure::word);
                let reason = format!("{failures} failures in a row: {last}");
                tracing::warn!(analyst, seconds, reason, "analyst_breaker_opened");
                self.health.degraded(&part, reason);
                2.0
            }
        };
        metrics::gauge!("bellwether_analyst_breaker", "analyst" => analyst.clone()).set(level);
    }

    // A panic while the lock is held cannot leave the state half written.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The question is the one that finds out whether the analyst is back.
    pub(super) fn is_probe(&self) -> bool {
        self.probe
    }

    /// It answered.
    pub(super) fn succeeded(mut self) {
        self.told = true;
        self.breaker.succeeded();
    }

    /// It did not answer, which may say something of the analyst.
    pub(super) fn failed(mut self, failure: &Failure) {
        match failure.tells() {
            Tells::Unwell => {
                self.told = true;
                self.breaker.failed(self.probe, Some(failure));
            }
            Tells::Alive => self.succeeded(),
            Tells::Nothing => self.unused(),
        }
    }

    /// Nothing was found out of the analyst.
    pub(super) fn unused(mut self) {
        self.told = true;
        if self.probe {
            self.breaker.give_back();
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.told && self.probe {
            self.breaker.failed(true, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use store::spending::Short;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const OUT_OF_BUDGET: Failure = Failure::OutOfBudget { short: Short::Calls, of_project: false };

    fn breaker() -> Breaker {
        let config = BreakerConfig { failures: 3, pause_s: 10 };
        Breaker::new("openclaw", config, Health::default())
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.enter().unwrap().failed(&Failure::ServerError(500));
        }
    }

    fn is_open(breaker: &Breaker) -> bool {
        breaker.enter().is_err_and(|closed| closed == Closed::Failed { failures: 3 })
    }

    #[tokio::test(start_paused = true)]
    async fn r30_it_opens_after_failures_in_a_row_and_lets_one_probe_through() {
        let breaker = breaker();
        fail(&breaker, 2);
        breaker.enter().unwrap().succeeded();
        fail(&breaker, 2);
        let slow = breaker.enter().unwrap();
        fail(&breaker, 1);
        assert!(is_open(&breaker));
        let part = breaker.health.report().degraded.remove(0);
        assert_eq!(part.part, "analyst openclaw");
        assert_eq!(part.reason, "3 failures in a row: server_error");
        // What was asked before it opened says nothing new.
        slow.failed(&Failure::ServerError(500));

        tokio::time::advance(9 * SECOND).await;
        assert!(is_open(&breaker));
        tokio::time::advance(SECOND).await;
        let probe = breaker.enter().unwrap();
        assert!(probe.is_probe());
        assert!(is_open(&breaker), "one probe at a time");
        probe.succeeded();
        assert!(!breaker.enter().unwrap().is_probe());
        assert!(breaker.health.report().degraded.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn r30_while_probes_fail_it_waits_longer_each_time() {
        let breaker = breaker();
        fail(&breaker, 3);
        for seconds in [10, 20, 40, 80, 160, 320, 600, 600] {
            tokio::time::advance(seconds * SECOND - SECOND).await;
            assert!(is_open(&breaker), "{seconds}");
            tokio::time::advance(SECOND).await;
            let probe = breaker.enter().unwrap();
            assert!(probe.is_probe(), "{seconds}");
            // A question that is given up has found nothing out.
            if seconds == 40 { drop(probe) } else { probe.failed(&Failure::ServerError(500)) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn r30_an_analyst_that_asks_for_patience_gets_it() {
        let breaker = breaker();
        let earlier = breaker.enter().unwrap();
        let until = Instant::now() + 30 * SECOND;
        breaker.rest(30 * SECOND);
        breaker.rest(SECOND);
        // What was asked before changes nothing of it, and its failures count.
        earlier.succeeded();
        breaker.failed(false, None);
        breaker.failed(false, None);
        assert_eq!(breaker.enter().unwrap_err(), Closed::Until(until));
        assert_eq!(breaker.health.report().degraded[0].reason, "it asked for patience");
        tokio::time::advance(30 * SECOND).await;
        assert!(!breaker.enter().unwrap().is_probe());
        assert!(breaker.health.report().degraded.is_empty());
        fail(&breaker, 1);
        assert!(is_open(&breaker));
        // A pause for failures is not made shorter, and patience has its bounds.
        breaker.rest(SECOND);
        assert!(is_open(&breaker));
        tokio::time::advance(10 * SECOND).await;
        breaker.enter().unwrap().succeeded();
        breaker.rest(100 * PAUSE_MAX);
        assert_eq!(breaker.enter().unwrap_err(), Closed::Until(Instant::now() + PAUSE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn what_says_nothing_of_the_analyst_does_not_open_it() {
        let breaker = breaker();
        for _ in 0..10 {
            breaker.enter().unwrap().failed(&OUT_OF_BUDGET);
            drop(breaker.enter().unwrap());
        }
        fail(&breaker, 2);
        // It is there, whatever it says of the question.
        breaker.enter().unwrap().failed(&Failure::Filtered);
        fail(&breaker, 2);
        assert!(breaker.enter().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn r30_a_probe_that_is_not_made_changes_no_pause_and_one_that_is_declined_is_answered() {
        let breaker = breaker();
        fail(&breaker, 3);
        tokio::time::advance(10 * SECOND).await;
        for give_back in [Pass::unused, |probe: Pass<'_>| probe.failed(&OUT_OF_BUDGET)] {
            let probe = breaker.enter().unwrap();
            assert!(probe.is_probe());
            give_back(probe);
        }
        // The next one is the probe at once, and what it finds out counts as the first.
        breaker.enter().unwrap().failed(&Failure::ServerError(500));
        tokio::time::advance(19 * SECOND).await;
        assert!(is_open(&breaker));
        tokio::time::advance(SECOND).await;
        breaker.enter().unwrap().failed(&Failure::Declined);
        assert!(!breaker.enter().unwrap().is_probe());
        assert!(breaker.health.report().degraded.is_empty());
    }
}
