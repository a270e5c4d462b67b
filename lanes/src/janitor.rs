//! Makes room: in the streams before they refuse new messages, and in the tables for days to come.
//!
//! A stream keeps what it holds until its age or its size says otherwise. At 80% of its size the
//! oldest messages go, down to 60%, but never one that a cursor has yet to pass, and never the last
//! of a subject of events, which carries its writer's fence. What was cut is said and counted. When
//! the cursors stand too far behind to make room, that is said loudly: at 100% the stream refuses,
//! and ingest answers 503.
//!
//! In the tables the partitions of the next lane day are made ahead, those of days long past dropped,
//! and old rows of tables without days deleted in bites ([`store::housekeeping`]).

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use eventlog::{Log, StreamInfo};
use runtime::{Health, Shutdown};
use schemas::{
    Generation, Lane, LaneKey,
    subject::{self, Class, EventChannel},
};
use store::Store;

/// A stream fuller than this is cut ...
const HIGH: f64 = 0.8;
/// ... to about this.
const LOW: f64 = 0.6;

/// Looks after the input stream, one generation's events, and the tables. Several may run; what one
/// has cut the others find cut.
pub struct Janitor {
    pub log: Arc<dyn Log>,
    pub store: Store,
    pub generation: Generation,
    pub lanes: NonZeroU16,
    /// How long the tables keep what is over, in days.
    pub keep_days: u16,
    pub health: Health,
    /// Pause between two looks.
    pub every: Duration,
}

/// Why a look ended early; the next one tries again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Log(#[from] eventlog::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Janitor {
    /// Looks until told to stop.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            if let Err(trouble) = self.look().await {
                tracing::warn!(error = %trouble, "the janitor could not look at the streams");
            }
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "the janitor could not make room in the tables");
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(self.every) => {}
            }
        }
    }

    async fn look(&self) -> Result<(), Trouble> {
        let namespace = self.log.namespace();
        let lanes = self.lanes.get();

        let input = subject::deliveries_stream(namespace);
        if let Some(cut) = self.cut(&input).await? {
            let mut removed = 0;
            let every = Lane::all(self.lanes).map(|lane| (LaneKey::Lane(lane), Some(lane)));
            for (key, lane) in every.chain([(LaneKey::All, None)]) {
                // Control records are kept for ever; of the others nothing unread goes.
                let passed = self.store.slowest_cursor(&["observe"], None, lane, lanes).await?;
                let filter = subject::deliveries(namespace, key, Class::Data);
                removed += self.log.purge(&input, &filter, cut.min(passed)).await?;
            }
            self.report(&input, removed).await?;
        }

        let events = subject::events_stream(namespace, self.generation);
        if let Some(cut) = self.cut(&events).await? {
            let mut removed = 0;
            let readers = ["notify", "project"];
            for lane in Lane::all(self.lanes) {
                let generation = Some(self.generation);
                let passed =
                    self.store.slowest_cursor(&readers, generation, Some(lane), lanes).await?;
                for channel in [EventChannel::Decision, EventChannel::Alert, EventChannel::Notice] {
                    let filter = subject::events(namespace, self.generation, lane, channel);
                    let Some(last) = self.log.last(&events, &filter).await? else { continue };
                    let below = cut.min(passed).min(last.sequence);
                    removed += self.log.purge(&events, &filter, below).await?;
                }
            }
            self.report(&events, removed).await?;
        }
        Ok(())
    }

    /// Makes room in the tables, unless another worker does.
    async fn sweep(&self) -> Result<(), store::Error> {
        let Some(swept) = self.store.housekeep(self.lanes, self.keep_days).await? else {
            return Ok(());
        };
        metrics::counter!("bellwether_days_opened_total").increment(swept.opened as u64);
        for (table, count) in swept.dropped {
            metrics::counter!("bellwether_days_dropped_total", "table" => table)
                .increment(count as u64);
            if count > 0 {
                tracing::info!(table, count, "partitions of {table} were dropped: {count} days");
            }
        }
        for (table, count) in swept.deleted {
            metrics::counter!("bellwether_rows_expired_total", "table" => table)
                .increment(count as u64);
        }
        Ok(())
    }

    /// Below which sequence a stream that is too full would have to be cut.
    async fn cut(&self, stream: &str) -> Result<Option<u64>, Trouble> {
        let info = self.log.info(stream).await?;
        let full = fullness(&info);
        metrics::gauge!("bellwether_stream_fullness", "stream" => stream.to_owned()).set(full);
        if full < HIGH {
            self.health.forget(&part(stream));
            return Ok(None);
        }
        let held = (info.last_sequence + 1).saturating_sub(info.first_sequence);
        let share = 1.0 - LOW / full;
        Ok(Some(info.first_sequence + (held as f64 * share) as u64))
    }

    async fn report(&self, stream: &str, removed: u64) -> Result<(), Trouble> {
        let left = fullness(&self.log.info(stream).await?);
        metrics::counter!("bellwether_stream_purged_total", "stream" => stream.to_owned())
            .increment(removed);
        let percent = (left * 100.0).round();
        if removed > 0 {
            tracing::warn!(stream, removed, "stream {stream} was cut to {percent}% of its size");
        }
        if left >= HIGH {
            let reason = format!(
                "{percent}% full, and its readers have yet to pass what it holds; raise \
                 nats.max_bytes, or see why a stage lags"
            );
            tracing::error!(stream, "stream {stream} is {reason}");
            self.health.degraded(&part(stream), reason);
        } else {
            self.health.forget(&part(stream));
        }
        Ok(())
    }
}

fn part(stream: &str) -> String {
    format!("stream {stream}")
}

/// 0 to 1; a stream without a limit of its own is never full.
fn fullness(info: &StreamInfo) -> f64 {
    info.max_bytes.map_or(0.0, |max| info.bytes as f64 / max as f64)
}
