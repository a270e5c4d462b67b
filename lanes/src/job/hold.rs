//! What has to be over by when, so that a worker that is slow never writes what is another's by then.

use std::time::Duration;

use tokio::time::Instant;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a claim lasts unless it is renewed.
    pub lease: Duration,
    /// How long an effect may take.
    pub perform: Duration,
}

impl Limits {
    /// When to renew a claim; never where the effect fits into it.
    pub(super) fn renew_at(self, times: Times) -> Option<Instant> {
        (self.perform > self.lease / 2).then(|| times.claimed + self.lease / 3)
    }
}

/// The times within one claim, all by this process's clock and from before the claim was asked for,
/// so that each comes before the row's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When the job was claimed first.
    pub asked: Instant,
    pub perform_until: Instant,
    pub append_until: Instant,
    pub lease_until: Instant,
    /// When the claim was asked for, or for the last time renewed.
    claimed: Instant,
}

impl Times {
    pub(super) fn new(asked: Instant, limits: Limits) -> Self {
        let perform_until = asked + limits.perform;
        Self { asked, perform_until, append_until: asked, lease_until: asked, claimed: asked }
            .renewed(asked, limits)
    }

    /// The same after a renewal that was asked for at `claimed`.
    pub(super) fn renewed(self, claimed: Instant, limits: Limits) -> Self {
        let Limits { lease, perform: _ } = limits;
        Self {
            append_until: claimed + lease - lease / 8,
            lease_until: claimed + lease,
            claimed,
            ..self
        }
    }

    /// Until when to try to keep a result that is there at `now`: while the claim lasts, and after an
    /// effect that ended late, or with the tables away, for half a lease in any case. What was paid for
    /// is worth it, and to be late does no harm: the row is written only while the claim is the last.
    pub(super) fn keep_until(self, now: Instant, limits: Limits) -> Instant {
        self.lease_until.max(now + limits.lease / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_parts_of_a_lease_come_in_order() {
        let limits = Limits { lease: Duration::from_millis(10), perform: Duration::from_millis(5) };
        let times = Times::new(Instant::now(), limits);
        assert!(times.asked < times.perform_until);
        assert!(times.perform_until < times.append_until);
        assert!(times.append_until < times.lease_until);
        assert_eq!(limits.renew_at(times), None);
    }

    #[test]
    fn a_result_is_not_thrown_away_with_the_lease() {
        let limits = Limits { lease: 10 * SECOND, perform: 5 * SECOND };
        let begun = Instant::now();
        let times = Times::new(begun, limits);
        for (ended, until) in [(1, 10), (5, 10), (9, 14), (60, 65)] {
            assert_eq!(times.keep_until(begun + ended * SECOND, limits), begun + until * SECOND);
        }
    }

    #[test]
    fn a_long_effect_has_its_claim_renewed_in_time() {
        let limits = Limits { lease: 15 * SECOND, perform: 120 * SECOND };
        let begun = Instant::now();
        let times = Times::new(begun, limits);
        assert_eq!(limits.renew_at(times), Some(begun + 5 * SECOND));
        let times = times.renewed(begun + 5 * SECOND, limits);
        assert_eq!(limits.renew_at(times), Some(begun + 10 * SECOND));
        assert_eq!(times.lease_until, begun + 20 * SECOND);
        assert_eq!((times.asked, times.perform_until), (begun, begun + 120 * SECOND));
    }
}
