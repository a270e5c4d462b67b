//! The log of a process: there when it starts, or away while ingest takes deliveries into its spool.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use eventlog::{Error, JetStream, LogIdentity, Spool, topology};
use runtime::{Health, Shutdown, Tasks};
use schemas::ProducerId;
use tokio::{sync::watch, time::timeout};

use crate::Config;

/// How long a start waits for the log before ingest goes on without it.
const A_MOMENT: Duration = Duration::from_secs(2);

/// Room a frame needs around the largest body.
const AROUND_A_BODY: usize = 64 << 10;

/// A log that may still be on its way.
pub(super) struct OpenedLog {
    pub(super) jetstream: Arc<JetStream>,
    /// Ingest's, where one is configured.
    pub(super) spool: Option<Spool>,
    is_open: watch::Receiver<bool>,
}

/// Opens the log for these roles, and the spool for ingest.
///
/// A process that plays ingest and knows from its spool's folder what the log looks like starts
/// without it; any other waits for it as long as the configuration says.
pub(super) async fn open(
    config: &Config,
    plays_ingest: bool,
    producer: ProducerId,
    tasks: &Tasks,
    shutdown: &Shutdown,
) -> anyhow::Result<OpenedLog> {
    let spool = config.ingest.spool.clone().filter(|_| plays_ingest);
    let topology = [topology::deliveries(&config.nats)];
    let known = spool
        .as_ref()
        .and_then(|spool| LogIdentity::read(&spool.dir, &config.nats.namespace))
        .filter(|known| known.lanes == config.nats.lanes && !known.doubted);
    let dir = spool.as_ref().map(|spool| spool.dir.clone());
    let (opened, is_open) = watch::channel(false);
    let jetstream = match (known, &dir) {
        (Some(known), Some(dir)) => {
            let jetstream = Arc::new(JetStream::begin(&config.nats).await?);
            match timeout(A_MOMENT, jetstream.open(&topology)).await {
                Ok(result) => {
                    result?;
                    look_at(&jetstream, config, plays_ingest, Some(dir.clone())).await?;
                    opened.send_replace(true);
                }
                Err(_) => {
                    check_bodies(config, known.max_payload)?;
                    tracing::warn!(
                        "nats is not there: deliveries go to the spool in {} until it is",
                        dir.display()
                    );
                    let (log, dir, shutdown) = (jetstream.clone(), dir.clone(), shutdown.clone());
                    let config = config.clone();
                    tasks.spawn("log", async move {
                        let found = async {
                            log.open(&topology).await?;
                            loop {
                                match look_at(&log, &config, true, Some(dir.clone())).await {
                                    Err(error) if is_passing(&error) => {
                                        tracing::warn!("the log cannot be looked at: {error:#}");
                                        tokio::time::sleep(A_MOMENT).await;
                                    }
                                    looked => break looked,
                                }
                            }
                        };
                        let found = tokio::select! {
                            found = found => found,
                            () = shutdown.stopping() => return,
                        };
                        if let Err(error) = found {
                            if !is_passing(&error) {
                                // The next start shall not take deliveries for it unseen.
                                LogIdentity::doubt(&dir, &config.nats.namespace);
                            }
                            tracing::error!("the log cannot be used: {error:#}");
                            return;
                        }
                        tracing::info!("the log is open");
                        opened.send_replace(true);
                        shutdown.stopping().await;
                    });
                }
            }
            jetstream
        }
        (_, dir) => {
            let jetstream = JetStream::connect(&config.nats).await?;
            eventlog::Log::ensure(&jetstream, &topology).await?;
            look_at(&jetstream, config, plays_ingest, dir.clone()).await?;
            opened.send_replace(true);
            Arc::new(jetstream)
        }
    };
    let spool = match spool {
        Some(spool) => {
            let namespace = config.nats.namespace.clone();
            let open = move || Spool::open(spool, producer, namespace);
            Some(tokio::task::spawn_blocking(open).await.context("open the spool")?)
        }
        None => None,
    };
    Ok(OpenedLog { jetstream, spool, is_open })
}

/// Checks the log that is there, and keeps its shape for a start without it.
async fn look_at(
    jetstream: &JetStream,
    config: &Config,
    plays_ingest: bool,
    dir: Option<PathBuf>,
) -> anyhow::Result<()> {
    if !plays_ingest {
        return Ok(());
    }
    let identity = jetstream.identity().await?;
    check_bodies(config, identity.max_payload)?;
    let Some(dir) = dir else { return Ok(()) };
    let kept = tokio::task::spawn_blocking(move || identity.keep(&dir)).await;
    match kept.context("keep the log's shape")? {
        // The spool says itself that it cannot be written; with the log there, all goes on.
        Err(error @ Error::Spool { .. }) => tracing::error!("{error}"),
        kept => kept?,
    }
    Ok(())
}

/// Whether the log was only in the way: it may be what it was.
fn is_passing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| !matches!(error, Error::Mismatch { .. }))
}

/// A body that fits no message would wait in the spool for ever.
fn check_bodies(config: &Config, max_payload: usize) -> anyhow::Result<()> {
    let largest = max_payload.saturating_sub(AROUND_A_BODY);
    if config.ingest.max_body_bytes > largest {
        bail!(
            "ingest.max_body_bytes is {}, but nats takes messages of {max_payload} bytes and a \
             frame needs room around its body; set it to {largest} or less, or raise max_payload \
             of nats-server",
            config.ingest.max_body_bytes
        );
    }
    Ok(())
}

impl OpenedLog {
    /// Waits until the log is there, as long as the configuration says.
    pub(super) async fn wait(&self, config: &Config) -> anyhow::Result<()> {
        let patience = config.nats.connect_patience;
        let mut is_open = self.is_open.clone();
        match timeout(patience, is_open.wait_for(|is_open| *is_open)).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                bail!("nats was not there within {patience:?}, and other roles than ingest need it")
            }
        }
    }

    /// Keeps readiness true about the log and the spool.
    ///
    /// Ingest alone works without the log for as long as its spool takes deliveries.
    pub(super) fn watch(
        &self,
        only_ingest: bool,
        tasks: &Tasks,
        health: &Health,
        shutdown: &Shutdown,
    ) {
        let (log, spool) = (self.jetstream.clone(), self.spool.clone());
        let (health, shutdown) = (health.clone(), shutdown.clone());
        tasks.spawn("log watch", async move {
            loop {
                let status = spool.as_ref().map(Spool::status);
                let takes = status.as_ref().is_some_and(|status| status.problem.is_none());
                match (log.connected(), only_ingest && takes) {
                    (true, _) => health.ready("nats"),
                    (false, true) => {
                        health.degraded("nats", "not connected: deliveries go to the spool");
                    }
                    (false, false) => health.not_ready("nats", "not connected"),
                }
                match status.map(|status| (status.problem, status.frames > 0)) {
                    None => {}
                    Some((None, false)) => health.ready("spool"),
                    Some((None, true)) => health.degraded("spool", "frames wait for the log"),
                    Some((Some(problem), false)) => health.degraded("spool", problem),
                    // Neither the log nor the spool takes a delivery.
                    Some((Some(problem), true)) => health.not_ready("spool", problem),
                }
                tokio::select! {
                    () = shutdown.stopping() => return,
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        });
    }
}
