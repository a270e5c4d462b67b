//! Whether this process can do its work, part by part.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// The state of every part of the process. Clones share it.
///
/// A part is anything that can fail on its own: `ingest`, `nats`, `source sentry`,
/// `channel log`. One part that is not ready makes the process not ready; a degraded part is
/// listed and leaves it ready, because its work waits or has a substitute.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Part>>>);

/// The state of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    pub state: State,
    /// Why it is not simply ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a part can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ready,
    Degraded,
    NotReady,
}

/// What `/ready` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// No part is [`State::NotReady`].
    pub ready: bool,
    pub parts: BTreeMap<String, Part>,
    /// The parts that work less well than they should, and why.
    pub degraded: Vec<Degraded>,
}

/// One part that works less well than it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Degraded {
    pub part: String,
    pub reason: String,
}

impl Health {
    /// `part` does its work.
    pub fn ready(&self, part: &str) {
        self.set(part, State::Ready, None);
    }

    /// `part` cannot do its work.
    pub fn not_ready(&self, part: &str, reason: impl Into<String>) {
        self.set(part, State::NotReady, Some(reason.into()));
    }

    /// `part` does its work less well than it should.
    pub fn degraded(&self, part: &str, reason: impl Into<String>) {
        self.set(part, State::Degraded, Some(reason.into()));
    }

    /// `part` is gone, for example a channel taken out of the configuration.
    pub fn forget(&self, part: &str) {
        self.parts().remove(part);
    }

    /// Everything known now.
    pub fn report(&self) -> Report {
        let parts = self.parts().clone();
        let degraded = parts
            .iter()
            .filter(|(_, p)| p.state == State::Degraded)
            .map(|(name, p)| Degraded {
                part: name.clone(),
                reason: p.reason.clone().unwrap_or_default(),
            })
            .collect();
        let ready = parts.values().all(|p| p.state != State::NotReady);
        Report { ready, parts, degraded }
    }

    fn set(&self, part: &str, state: State, reason: Option<String>) {
        let new = Part { state, reason };
        let old = self.parts().insert(part.to_owned(), new.clone());
        if old.as_ref() == Some(&new) {
            return;
        }
        let reason = new.reason.as_deref().unwrap_or("");
        match state {
            State::Ready => tracing::info!(health.part = part, "{part} is ready"),
            State::Degraded => {
                tracing::warn!(health.part = part, health.reason = reason, "{part} is degraded");
            }
            State::NotReady => {
                tracing::warn!(health.part = part, health.reason = reason, "{part} is not ready");
            }
        }
    }

    // A panic while the lock is held cannot leave the map half written.
    fn parts(&self) -> MutexGuard<'_, BTreeMap<String, Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_that_is_not_ready_makes_the_process_not_ready() {
        let health = Health::default();
        health.ready("nats");
        health.not_ready("postgres", "no connection");
        assert!(!health.report().ready);
        health.ready("postgres");
        assert!(health.report().ready);
    }

    #[test]
    fn r18_degraded_parts_are_listed_and_leave_the_process_ready() {
        let health = Health::default();
        health.degraded("channel log", "stdout is closed");
        let report = health.report();
        assert!(report.ready);
        assert_eq!(report.degraded[0].part, "channel log");
        assert_eq!(report.degraded[0].reason, "stdout is closed");
        health.forget("channel log");
        assert!(health.report().degraded.is_empty());
    }
}
