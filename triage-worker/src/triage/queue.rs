//! How long triage jobs wait, for whoever watches.

use std::time::Duration;

use runtime::Shutdown;
use store::{Store, job::Queue};
use tokio::time::sleep;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Shows how long the oldest triage job has waited for a worker, until told to stop.
pub async fn watch(store: Store, shutdown: Shutdown) {
    let gauge = metrics::gauge!("bellwether_triage_queue_age_seconds");
    loop {
        match store.oldest_due(Queue::Triage).await {
            Ok(age) => gauge.set(age.as_secs_f64()),
            Err(e) => {
                tracing::debug!(error = &e as &dyn std::error::Error, "triage_queue_not_seen");
            }
        }
        tokio::select! {
            () = shutdown.stopping() => return,
            () = sleep(EVERY) => {}
        }
    }
}
