//! Why an owner stops applying a lane, and how it is asked to.

use std::any::Any;

use runtime::Shutdown;
use schemas::InputPosition;
use tokio_util::sync::CancellationToken;

/// Why an owner stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// It was asked to.
    Asked,
    /// Somebody else has the lane.
    NotOwner(String),
    /// It must not go on in this process.
    Halt(String),
    /// What it read cannot be applied: counts as an attempt.
    Poison { at: InputPosition, reason: String },
    /// The lane is to be read anew, because the generation was frozen or thawed.
    Frozen,
    /// The tables were in the way.
    Store(store::Error),
    /// The log was in the way.
    Log(String),
}

impl From<store::Error> for Stop {
    fn from(error: store::Error) -> Self {
        match error {
            error @ store::Error::NotOwner { .. } => Self::NotOwner(error.to_string()),
            store::Error::Frozen { .. } => Self::Frozen,
            error @ (store::Error::Address { .. }
            | store::Error::Connect { .. }
            | store::Error::Database { .. }
            | store::Error::Migrate(_)
            | store::Error::Column { .. }
            | store::Error::Generation { .. }) => Self::Store(error),
        }
    }
}

impl From<eventlog::Error> for Stop {
    fn from(error: eventlog::Error) -> Self {
        Self::Log(error.to_string())
    }
}

/// How an owner is asked to stop: the process ends, or this lane goes to somebody else.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub leave: CancellationToken,
    pub shutdown: Shutdown,
}

impl Asked {
    pub fn is_asked(&self) -> bool {
        self.leave.is_cancelled() || self.shutdown.is_stopping()
    }

    pub async fn asked(&self) {
        tokio::select! {
            () = self.leave.cancelled() => {}
            () = self.shutdown.stopping() => {}
        }
    }
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    format!("panicked: {said}")
}
