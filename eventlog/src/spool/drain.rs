//! From the spool into the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{join_all, join4};
use schemas::{LaneKey, subject::Class, subject::deliveries, subject::deliveries_stream};
use tokio::time::{Instant, sleep};

use super::{
    Shared, Slot, Spool,
    entry::{Entry, Found},
    folder::{Abandoned, Folder},
    lock, shown,
};
use crate::{Log, Publish, PublishError};

/// Pause before a frame is sent again, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How often it is said that a frame is not taken.
const SAY_AGAIN: Duration = Duration::from_secs(30);
/// Pause between two looks for folders that nobody holds, and after a folder that cannot be read.
const LOOK: Duration = Duration::from_secs(1);

impl Spool {
    /// Writes, publishes and looks after the spool for as long as it is polled; ends never.
    pub(crate) async fn run(self, log: Arc<dyn Log>) {
        join4(self.commit(), self.drain(&*log), self.adopt(&*log), self.look_after()).await;
    }

    /// Publishes what waits in this process's folder.
    async fn drain(&self, log: &dyn Log) {
        let mut status = self.watch();
        while status.wait_for(|status| status.waits).await.is_ok() {
            if let Err(e) = self.drain_front(&self.shared.own, true, log).await {
                self.unreadable(&e).await;
            }
        }
    }

    /// Publishes what waits in folders whose process is gone.
    async fn adopt(&self, log: &dyn Log) {
        let mut said = BTreeSet::new();
        loop {
            sleep(LOOK).await;
            // A folder is taken only when it can be emptied: its process may come back for it.
            let stream = deliveries_stream(log.namespace());
            if !self.sees_another().await || log.info(&stream).await.is_err() {
                continue;
            }
            let found = match self.abandoned().await {
                Ok(Abandoned { found, unreadable }) => {
                    say_unreadable(&unreadable, &mut said);
                    Ok(found)
                }
                Err(e) => Err(e),
            };
            match found {
                Ok(Some(folder)) => {
                    let (dir, frames) = (shown(folder.dir()), folder.frames());
                    tracing::warn!(
                        spool.dir = dir,
                        "{frames} frames of a process that is gone are published from {dir}"
                    );
                    let slot = Arc::new(Slot::new(Some(folder)));
                    while lock(&slot).as_ref().is_some_and(|folder| !folder.is_empty()) {
                        if let Err(e) = self.drain_front(&slot, false, log).await {
                            self.unreadable(&e).await;
                        }
                    }
                }
                Ok(None) => {}
                Err(e) => self.unreadable(&e).await,
            }
        }
    }

    async fn sees_another(&self) -> bool {
        self.in_background(|shared| {
            let own = lock(&shared.own).as_ref().map(|folder| folder.dir().to_owned());
            own.is_some_and(|own| super::folder::another_waits(&shared.config.dir, &own))
        })
        .await
        .unwrap_or_default()
    }

    async fn abandoned(&self) -> io::Result<Abandoned> {
        self.in_background(|shared| {
            let own = lock(&shared.own).as_ref().map(|folder| folder.dir().to_owned());
            let Some(own) = own else { return Ok(Abandoned::default()) };
            Folder::abandoned(&shared.config.dir, &own, &shared.holder)
        })
        .await?
    }

    /// Publishes one chunk and forgets it.
    async fn drain_front(&self, slot: &Arc<Slot>, is_own: bool, log: &dyn Log) -> io::Result<()> {
        let (of, front) = (slot.clone(), |folder: &Folder| folder.front());
        let chunk = self.in_background(move |_| lock(&of).as_ref().and_then(front)).await?;
        let Some(chunk) = chunk else { return Ok(()) };
        let (chunk, found) = self
            .in_background(move |_| {
                let found = chunk.read();
                (chunk, found)
            })
            .await?;
        let mut is_damaged = false;
        let mut frames: u64 = 0;
        let mut by_key: BTreeMap<LaneKey, Vec<Entry>> = BTreeMap::new();
        for found in found? {
            match found {
                Found::Entry(entry) => {
                    frames += 1;
                    by_key.entry(entry.key).or_default().push(entry);
                }
                Found::Torn { bytes } => tracing::warn!(
                    "{} ends with {bytes} bytes of a write that was cut",
                    shown(&chunk.path)
                ),
                Found::Damaged { bytes } => {
                    is_damaged = true;
                    metrics::counter!("bellwether_spool_damaged_total").increment(1);
                    tracing::error!(
                        "{bytes} bytes of {} are not what was written: frames may be lost; the \
                         file is kept with the ending .damaged",
                        shown(&chunk.path)
                    );
                }
            }
        }
        // The frames of a lane key one after the other, those of different ones side by side.
        join_all(by_key.into_values().map(|entries| async {
            for entry in entries {
                self.publish(entry, is_own, log).await;
            }
        }))
        .await;
        metrics::counter!("bellwether_spool_drained_frames_total").increment(frames);
        let of = slot.clone();
        self.in_background(move |shared| match is_own {
            true => shared
                .with_folder(|folder| folder.published(&chunk, frames, is_damaged))
                .unwrap_or_else(|failure| Err(io::Error::other(failure))),
            false => match &mut *lock(&of) {
                Some(folder) => folder.published(&chunk, frames, is_damaged),
                None => Ok(()),
            },
        })
        .await?
    }

    /// Publishes a frame, as often as it takes.
    async fn publish(&self, entry: Entry, is_own: bool, log: &dyn Log) {
        let message = Publish {
            stream: deliveries_stream(log.namespace()),
            subject: deliveries(log.namespace(), entry.key, entry.class),
            message_id: Some(entry.message_id),
            headers: Vec::new(),
            payload: entry.frame,
            fence: None,
            keep_forever: entry.class == Class::Control,
        };
        let mut pause = FIRST_PAUSE;
        let mut say = Instant::now();
        loop {
            let published = log.publish(message.clone()).await;
            if is_own {
                self.shared.status.send_if_modified(|status| {
                    std::mem::replace(&mut status.answering, published.is_ok()) != published.is_ok()
                });
            }
            let error = match published {
                Ok(_ack) => return,
                Err(error) => error,
            };
            match &error {
                // A log that is away is no news: its readiness says so.
                PublishError::Unknown { .. } => tracing::debug!("{error}"),
                PublishError::NotStored { .. } | PublishError::WrongSequence { .. } => {
                    if say <= Instant::now() {
                        tracing::warn!("a frame stays in the spool: {error}");
                        say = Instant::now() + SAY_AGAIN;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn unreadable(&self, e: &io::Error) {
        let dir = shown(&self.shared.config.dir);
        tracing::error!(spool.dir = dir, "frames in {dir} cannot be read or removed: {e}");
        sleep(LOOK).await;
    }

    async fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> io::Result<T> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || work(&shared)).await.map_err(io::Error::other)
    }
}

/// Says of each folder that cannot be read that it is so, once until its reason changes.
fn say_unreadable(unreadable: &[(PathBuf, io::Error)], said: &mut BTreeSet<String>) {
    let now: BTreeSet<_> =
        unreadable.iter().map(|(dir, e)| format!("{}: {e}", dir.display())).collect();
    for news in now.difference(said) {
        metrics::counter!("bellwether_spool_unreadable_folders_total").increment(1);
        tracing::error!("a folder of the spool is passed over, frames may wait in it: {news}");
    }
    *said = now;
}
