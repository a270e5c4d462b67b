//! How a process stops: softly first, then hard; and never unnoticed.
//!
//! The soft token means "take no new work, finish what you hold". The hard token follows after a
//! grace period or a second signal and means "drop what you hold"; what was not committed or
//! acknowledged then counts as not done, and its owner or sender tries again.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a task may take to leave after the hard token before it is dropped.
const HARD_GRACE: Duration = Duration::from_millis(500);

/// What a task listens to. Clones listen to the same tokens.
#[derive(Clone, Debug)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
}

/// What stops the tasks that hold a [`Shutdown`] made with it.
#[derive(Clone, Debug)]
pub struct Controller {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Shutdown {
    /// A pair of fresh tokens and what cancels them.
    pub fn new() -> (Self, Controller) {
        let soft = CancellationToken::new();
        let hard = CancellationToken::new();
        (Self { soft: soft.clone(), hard: hard.clone() }, Controller { soft, hard })
    }

    /// Whether the soft token is cancelled.
    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Waits for the soft token: take no new work, finish what you hold.
    pub async fn stopping(&self) {
        self.soft.cancelled().await;
    }

    /// Waits for the hard token: drop what you hold.
    pub async fn hard(&self) {
        self.hard.cancelled().await;
    }

    /// A pair that stops with this one and can be stopped alone.
    pub fn child(&self) -> (Self, Controller) {
        let soft = self.soft.child_token();
        let hard = self.hard.child_token();
        (Self { soft: soft.clone(), hard: hard.clone() }, Controller { soft, hard })
    }
}

impl Controller {
    /// Cancels the soft token. Again is harmless.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Cancels both tokens.
    pub fn abort(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }
}

/// A task that ended although nobody had asked it to, or that did not end when asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {task} {how}")]
pub struct TaskFailure {
    pub task: String,
    /// What happened, as the end of a sentence.
    pub how: String,
}

/// The tracked tasks of a process. The only way to start a task that outlives its caller.
///
/// A task that panics, or that ends before the soft token is cancelled, is logged, stops all the
/// others softly, and makes [`Tasks::wait`] fail, so that the process ends non-zero and whatever
/// supervises it starts it anew instead of keeping one that only looks alive.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    controller: Controller,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, &'static str>,
    failure: Option<TaskFailure>,
}

impl Tasks {
    /// No tasks yet; a failure among them stops `controller`.
    pub fn new(controller: Controller) -> Self {
        Self { tracker: TaskTracker::new(), controller, state: Arc::default() }
    }

    /// Starts a task that runs until it is told to stop.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name, false, future);
    }

    /// Starts a task that may end by itself; only a panic is a failure.
    pub fn spawn_finite<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name, true, future);
    }

    /// Waits until every task has ended, which they do after the soft token. Starts nothing and
    /// stops nothing by itself.
    ///
    /// # Errors
    /// The first task that panicked or ended unasked.
    pub async fn wait(&self) -> Result<(), TaskFailure> {
        self.tracker.close();
        self.tracker.wait().await;
        self.state().failure.clone().map_or(Ok(()), Err)
    }

    /// The names of the tasks that have not ended.
    pub fn running(&self) -> Vec<&'static str> {
        self.state().running.values().copied().collect()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts tasks")]
    fn start<F>(&self, name: &'static str, finite: bool, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let id = {
            let mut state = self.state();
            state.next += 1;
            let id = state.next;
            state.running.insert(id, name);
            id
        };
        let this = self.clone();
        tokio::spawn(self.tracker.track_future(async move {
            let hard = this.controller.hard.clone();
            let ended = tokio::select! {
                biased;
                ended = AssertUnwindSafe(future).catch_unwind() => ended,
                () = async { hard.cancelled().await; tokio::time::sleep(HARD_GRACE).await } => {
                    tracing::warn!(task.name = name, "task {name} dropped by hard shutdown");
                    Ok(())
                }
            };
            let failure = match ended {
                Err(panic) => Some(format!("panicked: {}", panic_text(panic.as_ref()))),
                Ok(()) if !finite && !this.controller.soft.is_cancelled() => {
                    Some("ended although nobody had asked it to".to_owned())
                }
                Ok(()) => None,
            };
            this.end(id, name, failure);
        }));
    }

    fn end(&self, id: u64, name: &'static str, failure: Option<String>) {
        let mut state = self.state();
        state.running.remove(&id);
        if let Some(how) = failure {
            tracing::error!(task.name = name, "task {name} {how}");
            state.failure.get_or_insert(TaskFailure { task: name.to_owned(), how });
            drop(state);
            self.controller.stop();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// Runs until a signal (SIGTERM, SIGINT) or a failed task stops the process, then waits for the
/// tasks: `grace` softly, less after a second signal, then hard.
///
/// # Errors
/// The first task that failed, or one that was still there after the hard token.
pub async fn run_until_stopped(
    controller: &Controller,
    tasks: &Tasks,
    grace: Duration,
) -> Result<(), TaskFailure> {
    let mut signals = Signals::listen()?;
    run_until(controller, tasks, grace, &mut signals).await
}

/// Waits for a signal that asks the process to stop and returns its name; for a start that has
/// something to take back. From the first call on no such signal ends the process by itself.
///
/// # Errors
/// When signals cannot be listened to.
pub async fn signalled() -> Result<&'static str, TaskFailure> {
    Ok(Signals::listen()?.next().await)
}

async fn run_until(
    controller: &Controller,
    tasks: &Tasks,
    grace: Duration,
    signals: &mut Signals,
) -> Result<(), TaskFailure> {
    tokio::select! {
        name = signals.next() => tracing::info!("{name}: stopping, {grace:?} for what is in hand"),
        () = controller.soft.cancelled() => tracing::info!("stopping"),
    }
    controller.stop();
    tokio::select! {
        ended = tasks.wait() => return ended,
        name = signals.next() => tracing::warn!("{name} again: stopping hard"),
        () = tokio::time::sleep(grace) => {
            tracing::warn!(tasks = ?tasks.running(), "still running after {grace:?}: stopping hard");
        }
    }
    controller.abort();
    tokio::select! {
        ended = tasks.wait() => ended,
        // Only a task that never yields can be left: one that blocks its thread.
        () = tokio::time::sleep(2 * HARD_GRACE) => Err(TaskFailure {
            task: tasks.running().join(", "),
            how: "did not end when told to".to_owned(),
        }),
    }
}

/// The signals that ask a process to stop.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, TaskFailure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|e| TaskFailure {
                task: "signals".to_owned(),
                how: format!("could not be listened to: {e}"),
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests;
