//! The wall clock and randomness.

use std::{fmt, sync::Arc};

use schemas::{RecordId, Time};
use uuid::{Builder, Uuid};

/// The wall clock, or a stand-in for it. Never used in a fold: decisions know lane time only.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Given(Arc<dyn Fn() -> Time + Send + Sync>),
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `time`.
    pub fn fixed(time: Time) -> Self {
        Self::from_fn(move || time)
    }

    /// A clock that says what `now` says.
    pub fn from_fn(now: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        Self(Source::Given(Arc::new(now)))
    }

    /// The time now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::System => jiff::Timestamp::now().into(),
            Source::Given(now) => now(),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock(system)",
            Source::Given(_) => "Clock(given)",
        })
    }
}

/// A new record id: UUIDv7, the clock's milliseconds followed by 74 random bits.
pub fn record_id(clock: &Clock) -> RecordId {
    let millis = u64::try_from(clock.now().micros() / 1_000).unwrap_or(0);
    RecordId(Builder::from_unix_timestamp_millis(millis, &random_bytes()).into_uuid())
}

/// A random UUIDv4: worker names, producers, claims.
pub fn random_uuid() -> Uuid {
    Builder::from_random_bytes(random_bytes()).into_uuid()
}

/// `N` bytes fit for secrets, from the operating system's seeded generator.
#[expect(clippy::disallowed_methods, reason = "this is the one place that draws random numbers")]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::RngExt::fill(&mut rand::rng(), &mut bytes[..]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_ids_are_version_7_and_sort_by_the_clock() {
        let early = record_id(&Clock::fixed(Time::from_micros(1_700_000_000_000_000)));
        let late = record_id(&Clock::fixed(Time::from_micros(1_700_000_000_001_000)));
        assert_eq!(early.0.get_version_num(), 7);
        assert!(early < late);
        assert_eq!(
            early.0.get_timestamp().map(|t| t.to_unix()),
            Some((1_700_000_000, 0)),
            "the id carries the time it was made"
        );
    }

    #[test]
    fn random_ids_differ() {
        assert_ne!(random_uuid(), random_uuid());
        assert_eq!(random_uuid().get_version_num(), 4);
        assert_ne!(random_bytes::<32>(), random_bytes::<32>());
    }
}
