//! The owner's beat: a query every few seconds keeps the connection and its lock, and gives the
//! stage Postgres's time.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use eventlog::Log;
use metrics::{Gauge, gauge};
use schemas::{Generation, InputPosition, Lane, Time};
use store::lane::{LaneConnection, Standing};
use tokio::{sync::watch, time::Instant};

use super::{read::subjects, stop::Stop};
use crate::{Input, Stage};

/// How long the tables may take to answer a beat: the server closes a silent connection after as
/// long, and the lock goes with it.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// How long they may take to read or write a batch.
pub(super) const BATCH_ANSWER: Duration = Duration::from_secs(120);

/// Waits for the tables, but not for ever: when the server's machine or the network is gone, nobody
/// says so.
pub(super) async fn answered<T>(
    limit: Duration,
    answer: impl Future<Output = T>,
) -> Result<T, Stop> {
    let silent = |_| Stop::NotOwner(format!("the tables have not answered for {limit:?}"));
    tokio::time::timeout(limit, answer).await.map_err(silent)
}

/// What a beat tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulse {
    pub now: Time,
    /// Where the cursor stands, and when what it covers was stored.
    pub at: InputPosition,
    pub stored_at: Option<Time>,
}

/// Beats while the owner waits or works.
pub(super) struct Beat {
    every: Duration,
    due: Instant,
    pulse: watch::Sender<Pulse>,
    /// The position the generation was frozen at when the lane was read.
    pub frozen_at: Option<(i64, u64)>,
}

impl Beat {
    /// Beats at once and then `every` so often; the receiver sees each.
    pub fn new(every: Duration) -> (Self, watch::Receiver<Pulse>) {
        let (pulse, receiver) = watch::channel(Pulse::default());
        (Self { every, due: Instant::now(), pulse, frozen_at: None }, receiver)
    }

    /// Where the cursor stands, for the next beat.
    pub fn applied(&mut self, at: InputPosition, stored_at: Option<Time>) {
        // Not worth waking anybody: the next beat does.
        self.pulse.send_if_modified(|pulse| {
            pulse.at = at;
            pulse.stored_at = stored_at.or(pulse.stored_at);
            false
        });
    }

    /// Beats if it is time to.
    pub async fn if_due(&mut self, connection: &mut LaneConnection) -> Result<(), Stop> {
        if Instant::now() < self.due {
            return Ok(());
        }
        self.due = Instant::now() + self.every;
        answered(ANSWER, self.beat(connection)).await?
    }

    async fn beat(&self, connection: &mut LaneConnection) -> Result<(), Stop> {
        let now = connection.now().await?;
        self.pulse.send_modify(|pulse| pulse.now = now);
        if self.frozen_at.is_some() {
            let Standing { frozen_at, .. } = connection.standing().await?;
            if frozen_at != self.frozen_at {
                return Err(Stop::Frozen);
            }
        }
        Ok(())
    }

    /// Waits for `future` and beats meanwhile.
    pub async fn during<T>(
        &mut self,
        connection: &mut LaneConnection,
        future: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                done = &mut future => return Ok(done),
                () = tokio::time::sleep_until(self.due) => self.if_due(connection).await?,
            }
        }
    }
}

/// How far a lane is behind what it has to read.
struct Lag {
    sequences: Gauge,
    /// Between the last message applied and the newest one, by the server's clock.
    seconds: Gauge,
}

impl Drop for Lag {
    /// The lane is another worker's now; its last figures must not stand here for ever.
    fn drop(&mut self) {
        self.sequences.set(0.0);
        self.seconds.set(0.0);
    }
}

/// Hands every beat on to the stage and says how far the lane is behind. Ends never.
pub(super) async fn listen<S: Stage>(
    stage: &S,
    log: Arc<dyn Log>,
    generation: Generation,
    lane: Lane,
    mut pulse: watch::Receiver<Pulse>,
) -> Infallible {
    let labels = [("stage", stage.name().to_owned()), ("lane", lane.to_string())];
    let lag = Lag {
        sequences: gauge!("bellwether_lane_lag_sequences", &labels),
        seconds: gauge!("bellwether_lane_lag_seconds", &labels),
    };
    while pulse.changed().await.is_ok() {
        let Pulse { now, at, stored_at } = *pulse.borrow_and_update();
        stage.beat(lane, now).await;
        if let Some(last) = last_message(&*log, stage.input(), generation, lane).await {
            let (sequence, time) = last;
            let behind = sequence.saturating_sub(at.sequence);
            let late = stored_at.filter(|_| behind > 0).map_or(0, |at| time.micros_since(at));
            lag.sequences.set(behind as f64);
            lag.seconds.set(late.max(0) as f64 / 1e6);
        }
    }
    std::future::pending().await
}

/// The newest message a stage has to read; nothing is said while the log is away.
async fn last_message(
    log: &dyn Log,
    input: Input,
    generation: Generation,
    lane: Lane,
) -> Option<(u64, Time)> {
    let (stream, filters) = subjects(log.namespace(), generation, lane, input);
    let mut newest = None;
    for filter in filters {
        if let Some(message) = log.last(&stream, &filter).await.ok()? {
            newest = newest.max(Some((message.sequence, message.time)));
        }
    }
    newest.or(Some((0, Time::default())))
}
