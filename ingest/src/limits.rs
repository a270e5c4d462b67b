//! How much a source, and all sources of a project together, may send.
//!
//! Counted for what is authentic alone: whoever cannot prove itself must not be able to use up what
//! others may send.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{LimitsConfig, RateConfig};

/// The limits of one source or of one project.
#[derive(Debug, Default)]
pub struct Limits {
    rate: Option<Bucket>,
    concurrent: Option<Arc<Semaphore>>,
}

/// A place among the requests in hand; free again when dropped.
#[derive(Debug, Default)]
pub struct Place {
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Limits {
    /// The limits a section names.
    pub fn new(config: &LimitsConfig) -> Self {
        Self {
            rate: config.rate.map(Bucket::new),
            concurrent: config.max_concurrent.map(|most| Arc::new(Semaphore::new(most))),
        }
    }

    /// Requests per minute in the long run, where they are limited.
    pub fn per_minute(&self) -> Option<f64> {
        self.rate.as_ref().map(|bucket| bucket.rate.per_second * 60.0)
    }
}

/// Lets one request through the limits of its source and of its project.
///
/// # Errors
/// How long it should wait.
pub fn enter(source: &Limits, project: &Limits, now: Instant) -> Result<Place, Duration> {
    // Somebody who is in hand now is done in a moment.
    const SOON: Duration = Duration::from_secs(1);
    let permit = |limits: &Limits| match &limits.concurrent {
        Some(places) => Arc::clone(places).try_acquire_owned().map(Some).map_err(|_| SOON),
        None => Ok(None),
    };
    let permits = [permit(source)?, permit(project)?];
    if let Some(bucket) = &source.rate {
        bucket.take(now)?;
    }
    if let Some(bucket) = &project.rate
        && let Err(wait) = bucket.take(now)
    {
        // What did not get through is not counted.
        source.rate.iter().for_each(Bucket::put_back);
        return Err(wait);
    }
    Ok(Place { _permits: permits })
}

/// A bucket of tokens: full at first, filled steadily, one taken by each request.
#[derive(Debug)]
struct Bucket {
    rate: RateConfig,
    state: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    /// When it was so; nothing was taken before.
    at: Option<Instant>,
}

impl Bucket {
    fn new(rate: RateConfig) -> Self {
        Self { rate, state: Mutex::new(Level { tokens: f64::from(rate.burst()), at: None }) }
    }

    fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut level = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = level.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let full = f64::from(self.rate.burst());
        level.tokens = (level.tokens + since.as_secs_f64() * self.rate.per_second).min(full);
        level.at = Some(level.at.map_or(now, |at| at.max(now)));
        if level.tokens < 1.0 {
            let wait = (1.0 - level.tokens) / self.rate.per_second;
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        level.tokens -= 1.0;
        Ok(())
    }

    fn put_back(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tokens += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(rate: Option<(f64, u32)>, max_concurrent: Option<usize>) -> Limits {
        let rate = rate.map(|(per_second, burst)| RateConfig { per_second, burst: Some(burst) });
        Limits::new(&LimitsConfig { rate, max_concurrent, ..LimitsConfig::default() })
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (source, project, start) =
            (limits(Some((2.0, 3)), None), Limits::default(), Instant::now());
        let at = |ms: u64| enter(&source, &project, start + Duration::from_millis(ms)).map(drop);
        for _ in 0..3 {
            assert_eq!(at(0), Ok(()));
        }
        assert_eq!(at(0), Err(Duration::from_millis(500)));
        assert_eq!(at(400), Err(Duration::from_millis(100)));
        assert_eq!(at(500), Ok(()));
        assert_eq!(at(500), Err(Duration::from_millis(500)));
        // A clock of another thread that is a little behind makes no tokens.
        assert_eq!(at(300), Err(Duration::from_millis(500)));
        for _ in 0..3 {
            assert_eq!(at(60_000), Ok(()), "never more than the burst");
        }
        assert!(at(60_000).is_err());
    }

    #[test]
    fn a_project_limits_all_its_sources_together_and_takes_nothing_when_it_refuses() {
        let project = limits(Some((1.0, 2)), None);
        let (a, b) = (limits(Some((1.0, 2)), None), limits(None, None));
        let now = Instant::now();
        assert!(enter(&a, &project, now).is_ok() && enter(&b, &project, now).is_ok());
        for _ in 0..5 {
            assert!(enter(&a, &project, now).is_err());
        }
        let later = now + Duration::from_secs(1);
        assert!(enter(&a, &project, later).is_ok());
    }

    #[test]
    fn a_place_is_free_again_when_its_request_ends() {
        let (source, project, now) = (limits(None, Some(1)), limits(None, Some(2)), Instant::now());
        let place = enter(&source, &project, now).unwrap();
        assert_eq!(enter(&source, &project, now).unwrap_err(), Duration::from_secs(1));
        let other = limits(None, None);
        let second = enter(&other, &project, now).unwrap();
        assert!(enter(&other, &project, now).is_err());
        drop((place, second));
        assert!(enter(&source, &project, now).is_ok());
    }
}
