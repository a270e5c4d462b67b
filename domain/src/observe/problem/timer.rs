//! What ends an episode besides its sender: silence (R70), and operators.

use schemas::{IncidentId, Status, Time, event::IncidentState};

use super::{FOLD_VERSION, Latest, Problem, Sighting};
use crate::{providers::Silence, rules::Expiry};

/// Reports closer together than this are copies by a peer or retries, and no repeat.
const COPIES_SECONDS: i64 = 300;

/// A problem nothing was heard of for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    pub latest: Latest,
    /// Lane time of the last report.
    pub last_seen: Time,
    /// Seconds without a report after which it is over.
    pub after_seconds: i64,
}

impl Problem {
    /// Seconds since the last report, if this one may be a repeat by the clock.
    pub(super) fn gap(&self, seen: &Sighting<'_>) -> Option<i64> {
        if seen.silence != Silence::MissedRepeat {
            return None;
        }
        let gap = seen.lane_time.micros_since(self.last_seen?) / 1_000_000;
        (gap >= COPIES_SECONDS).then_some(gap)
    }

    /// Notes a report of an open problem.
    pub(super) fn heard(&mut self, seen: &Sighting<'_>) {
        match seen.silence {
            Silence::Nothing => {}
            Silence::Over | Silence::MissedRepeat => {
                self.last_seen = Some(seen.lane_time);
                self.arm(seen.terms.expiry);
            }
        }
    }

    /// Notes that the sender repeats itself every so many seconds.
    pub fn repeats_every(&mut self, seconds: i64, expiry: &Expiry) {
        self.repeat = Some(seconds);
        if self.is_open() {
            self.arm(expiry);
        }
    }

    /// Sees to it that the problem is looked at once its silence is too long. What is due earlier
    /// stays: it is put off then, once, instead of with each report.
    fn arm(&mut self, expiry: &Expiry) {
        let Some(over) = self.over_at(expiry) else { return };
        self.due = Some(self.due.map_or(over, |due| due.min(over)));
    }

    /// When it is over unless something is heard of it.
    fn over_at(&self, expiry: &Expiry) -> Option<Time> {
        Some(self.last_seen?.plus_seconds(expiry.after(self.repeat)))
    }

    /// Looks at a problem that is due: it is over, or due later, or no longer of interest.
    pub fn come_due(&mut self, now: Time, expiry: &Expiry) -> Option<Overdue> {
        self.fold = FOLD_VERSION;
        self.due = None;
        let over = self.over_at(expiry).filter(|_| self.is_open())?;
        if over > now {
            self.due = Some(over);
            return None;
        }
        self.status = Status::Resolved;
        self.expired = true;
        self.changed_lane = Some(now);
        let after_seconds = expiry.after(self.repeat);
        Some(Overdue { latest: self.latest(), last_seen: self.last_seen?, after_seconds })
    }

    /// Where the incident's episode stands, if it is over.
    pub fn is_over(&self, incident: IncidentId) -> Option<IncidentState> {
        if self.incident != Some(incident) {
            return Some(IncidentState::Superseded);
        }
        match self.status {
            Status::Firing => None,
            Status::Suppressed => Some(IncidentState::Suppressed),
            Status::Resolved if self.expired => Some(IncidentState::Expired),
            Status::Resolved => Some(IncidentState::Resolved),
        }
    }

    /// An operator says that the latest episode is over.
    pub fn close(&mut self, now: Time) {
        self.set(Status::Resolved, now);
    }

    /// An operator says that the latest episode is not over.
    pub fn reopen(&mut self, now: Time, expiry: &Expiry) {
        self.set(Status::Firing, now);
        if self.last_seen.is_some() {
            self.last_seen = Some(now);
            self.arm(expiry);
        }
    }

    /// A status change at lane time: what its sender dates before it is stale.
    fn set(&mut self, status: Status, now: Time) {
        self.fold = FOLD_VERSION;
        self.status = status;
        self.expired = false;
        self.last_change = self.last_change.max(now);
        self.changed_lane = Some(now);
    }
}
