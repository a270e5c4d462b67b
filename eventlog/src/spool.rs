//! The spool: closed frames on a disk of this machine, while the log does not take them.
//!
//! What stands here is durable (I1) and goes into the log as it is, under the number and the message
//! id it was closed with, whoever publishes it and however often. An instance holds one folder
//! `<dir>/<n>`, in which it appends at the end and publishes from the front; folders that nobody
//! holds any more are emptied by whoever finds them. Two frames of one lane key are never on their
//! way at once, so the frames of a producer reach the log in their order.
//!
//! The format and its reasons: `docs/adr/0012-the-spool-is-its-own-file-format.md`.

mod drain;
mod entry;
mod folder;
mod identity;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use schemas::{Namespace, ProducerId};
use serde::Deserialize;
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot, watch,
};

pub(crate) use entry::Entry;
use folder::{Folder, Holder};
pub use identity::LogIdentity;

/// Frames that are written and synced at once, at most.
const GROUP: usize = 64;

/// Section `[ingest.spool]`.
///
/// ```
/// let config: eventlog::SpoolConfig =
///     serde_json::from_str(r#"{ "dir": "/var/lib/bellwether/spool" }"#).unwrap();
/// assert_eq!(config.max_bytes, 512 << 20);
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolConfig {
    /// Folder on a disk that outlives the process; replicas on one machine may share it, each takes a
    /// numbered folder of its own below.
    pub dir: PathBuf,
    /// Size in bytes one instance's frames may take; beyond it deliveries are answered 503. Default
    /// 512 MiB.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
}

impl SpoolConfig {
    /// A spool in this folder, with the default size.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir, max_bytes: default_max_bytes() }
    }
}

fn default_max_bytes() -> u64 {
    512 << 20
}

/// Why a frame is not in the spool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpoolFailure {
    #[error("the spool is full at {max_bytes} bytes")]
    Full { max_bytes: u64 },
    /// Nothing of it is on disk.
    #[error("the spool cannot be written: {reason}")]
    Unwritable { reason: String },
    /// It may be on disk, and be published by whoever opens the folder next.
    #[error("the spool did not say what became of a write: {reason}")]
    InDoubt { reason: String },
}

/// How a spool stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Frames that wait.
    pub frames: u64,
    /// Their size on disk, in bytes.
    pub bytes: u64,
    /// Since when the oldest waits.
    pub since: Option<SystemTime>,
    /// Why it takes nothing at the moment.
    pub problem: Option<String>,
    /// The problem is that it is full.
    full: bool,
    /// Something waits, whether or not it can be read.
    waits: bool,
    /// The log took the last frame it was given from here.
    answering: bool,
}

impl SpoolStatus {
    /// How long the oldest frame waits.
    pub fn oldest(&self) -> Option<Duration> {
        self.since.map(|since| since.elapsed().unwrap_or_default())
    }

    /// Whether new frames have to go behind others.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Whether what waits is on its way into a log that answers.
    pub(crate) fn is_emptied(&self) -> bool {
        self.waits && self.answering
    }
}

/// The spool of this process. Clones share it.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
    queue: UnboundedSender<Item>,
}

/// A folder, as far as it could be opened.
type Slot = Mutex<Option<Folder>>;

struct Shared {
    config: SpoolConfig,
    holder: Holder,
    own: Arc<Slot>,
    /// Taken by whoever runs the spool.
    incoming: Mutex<Option<UnboundedReceiver<Item>>>,
    status: watch::Sender<SpoolStatus>,
}

struct Item {
    entry: Entry,
    reply: oneshot::Sender<Result<(), SpoolFailure>>,
}

impl Spool {
    /// Takes a folder below `config.dir` and finds what waits in it. Blocks. A folder that cannot be
    /// opened is tried again for as long as the spool runs, and until then takes nothing.
    pub fn open(config: SpoolConfig, producer: ProducerId, namespace: Namespace) -> Self {
        let (queue, incoming) = mpsc::unbounded_channel();
        let shared = Shared {
            config,
            holder: Holder { salt: producer.0.into_bytes(), namespace },
            own: Arc::default(),
            incoming: Mutex::new(Some(incoming)),
            status: watch::Sender::new(SpoolStatus::default()),
        };
        if let Err(failure) = shared.with_folder(|_| ()) {
            shared.failed(&failure);
        }
        let status = shared.status.borrow().clone();
        if status.waits {
            let (frames, bytes) = (status.frames, status.bytes);
            tracing::warn!(
                frames,
                bytes,
                "{frames} frames of an earlier process wait in the spool"
            );
        }
        Self { shared: Arc::new(shared), queue }
    }

    /// How it stands now.
    pub fn status(&self) -> SpoolStatus {
        self.shared.status.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<SpoolStatus> {
        self.shared.status.subscribe()
    }

    /// Whether new frames have to go behind others.
    pub(crate) fn waits(&self) -> bool {
        self.shared.status.borrow().waits
    }

    /// Returns once the frame is on disk.
    pub(crate) async fn append(&self, entry: Entry) -> Result<(), SpoolFailure> {
        let (reply, answer) = oneshot::channel();
        let ended = || SpoolFailure::InDoubt { reason: "the process is ending".into() };
        self.queue.send(Item { entry, reply }).map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Writes what comes, one sync for all that came during the sync before.
    async fn commit(&self) {
        let Some(mut incoming) = lock(&self.shared.incoming).take() else { return };
        let mut items = Vec::new();
        while incoming.recv_many(&mut items, GROUP).await > 0 {
            let (entries, replies): (Vec<_>, Vec<_>) =
                items.drain(..).map(|item: Item| (item.entry, item.reply)).unzip();
            let max_bytes = self.shared.config.max_bytes;
            let count = entries.len();
            let answers = self
                .blocking(move |shared| {
                    shared.with_folder(|folder| folder.append(&entries, max_bytes))
                })
                .await
                .unwrap_or_else(|failure| vec![Err(failure); count]);
            match answers.iter().find_map(|answer| answer.as_ref().err()) {
                Some(failure) => self.shared.failed(failure),
                None => self.shared.healed(),
            }
            let stored = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
            metrics::counter!("bellwether_spool_spooled_frames_total").increment(stored);
            metrics::counter!("bellwether_spool_refused_frames_total")
                .increment(count as u64 - stored);
            for (reply, answer) in replies.into_iter().zip(answers) {
                // A writer that is gone wants no answer.
                let _ = reply.send(answer);
            }
        }
    }

    /// Shows how it stands, and tries again what did not work.
    async fn look_after(&self) {
        loop {
            let status = self.status();
            metrics::gauge!("bellwether_spool_frames").set(status.frames as f64);
            metrics::gauge!("bellwether_spool_bytes").set(status.bytes as f64);
            let oldest = status.oldest().unwrap_or_default().as_secs_f64();
            metrics::gauge!("bellwether_spool_oldest_seconds").set(oldest);
            metrics::gauge!("bellwether_spool_usable").set(f64::from(status.problem.is_none()));
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.status().problem.is_some() {
                let tried = self.blocking(|shared| {
                    shared.with_folder(|folder| folder.probe())?.map_err(|e| shared.named(&e))
                });
                match tried.await {
                    Ok(()) => self.shared.healed(),
                    Err(failure) => self.shared.failed(&failure),
                }
            }
        }
    }

    /// Does what blocks beside the loops.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, SpoolFailure> + Send + 'static,
    ) -> Result<T, SpoolFailure> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.unwrap_or_else(|e| Err(SpoolFailure::InDoubt { reason: e.to_string() }))
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("dir", &self.shared.config.dir).finish_non_exhaustive()
    }
}

impl Shared {
    /// Works on this process's folder, opening it first if need be, and tells how it stands then.
    fn with_folder<T>(&self, work: impl FnOnce(&mut Folder) -> T) -> Result<T, SpoolFailure> {
        let mut slot = lock(&self.own);
        let folder = match &mut *slot {
            Some(folder) => folder,
            none => {
                let claimed = Folder::claim(&self.config.dir, &self.holder);
                none.insert(claimed.map_err(|e| self.named(&e))?)
            }
        };
        let done = work(folder);
        self.status.send_if_modified(|status| {
            let now = SpoolStatus {
                frames: folder.frames(),
                bytes: folder.bytes(),
                since: folder.since(),
                waits: !folder.is_empty(),
                ..status.clone()
            };
            let changed = now != *status;
            *status = now;
            changed
        });
        Ok(done)
    }

    fn named(&self, e: &io::Error) -> SpoolFailure {
        SpoolFailure::Unwritable { reason: format!("{}: {e}", self.config.dir.display()) }
    }

    fn failed(&self, failure: &SpoolFailure) {
        let problem = failure.to_string();
        let is_news = self.status.send_if_modified(|status| {
            let is_news = status.problem.as_deref() != Some(&problem);
            status.problem = Some(problem.clone());
            status.full = matches!(failure, SpoolFailure::Full { .. });
            is_news
        });
        if is_news {
            let dir = shown(&self.config.dir);
            tracing::error!(
                spool.dir = dir,
                "{problem}; while the log is away deliveries are refused: make room in {dir}, or \
                 see to its disk and its owner"
            );
        }
    }

    /// Something could be written. A spool that was full has room again when a tenth is free, so that
    /// it does not change its mind with the size of each frame.
    fn healed(&self) {
        let enough = self.config.max_bytes / 10 * 9;
        let is_news = self.status.send_if_modified(|status| {
            let heals = status.problem.is_some() && (!status.full || status.bytes <= enough);
            if heals {
                (status.problem, status.full) = (None, false);
            }
            heals
        });
        if is_news {
            tracing::info!(spool.dir = shown(&self.config.dir), "the spool can be written again");
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Nothing panics while it holds one, so what a poisoned lock guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests own their tasks")]
mod tests;
