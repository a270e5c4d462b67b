//! The one loop of the ordered stages: own a lane, read it, prepare in parallel, fold in order,
//! commit with the cursor, publish.
//!
//! [`LaneLoop::run`] keeps a worker's share of the lanes. Each owned lane is a task: take over
//! (load, publish what an earlier owner committed and did not publish), then batch after batch:
//! while one is folded, committed and published, the next is read and prepared. An owner that
//! fails leaves, and whoever comes next starts from the cursor in the tables; nothing else is
//! needed to go on.

mod apply;
mod beat;
mod entry;
mod meters;
mod parts;
mod prepare;
mod probe;
mod publish;
mod read;
mod session;
mod stop;
mod waiting;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    num::NonZeroU16,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use eventlog::Log;
use runtime::{Health, Shutdown};
use schemas::{Generation, Lane, subject};
use store::{Store, lane::LaneConnection, worker::Place};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    beat::Beat,
    meters::Meters,
    parts::Writer,
    session::{Memory, Owner},
    stop::{Asked, Stop, chain, panic_text},
};
use crate::{Error, Stage, shares::Shares};

/// How a lane loop works. The defaults are what production runs with.
#[derive(Clone, Debug)]
pub struct LaneLoopConfig {
    /// Most records or events in a batch.
    pub max_alerts: usize,
    /// Most bytes of records or events in a batch; a larger one stands alone.
    pub max_bytes: usize,
    /// A query at least this often on each lane's connection, and a heartbeat of the worker.
    pub beat: Duration,
    /// A worker whose last heartbeat is older is dead.
    pub dead_after: Duration,
    /// A lane that is free for this long is taken above one's share: its owner died, and until its
    /// heartbeat is old it still has a share.
    pub patience: Duration,
    /// A lane that was handed back is left to the others for this long.
    pub hand_over: Duration,
    /// How often a worker looks for free lanes.
    pub poll: Duration,
    /// From this attempt on a batch is applied one record at a time.
    pub careful_at: u32,
    /// At this attempt the record is parked.
    pub park_at: u32,
    /// The lane stops when more than `max_parked` of the last `parked_window` records were parked.
    pub max_parked: u64,
    pub parked_window: u64,
    /// Pause before a batch that could not be applied is tried again.
    pub retry_pause: Duration,
    /// First pause before a lane is taken again that tables or log were in the way of; it doubles
    /// up to ten seconds.
    pub back_off: Duration,
    /// Pause before a lane is tried again that must not go on in this process.
    pub halt_pause: Duration,
    /// Threads a batch is prepared on.
    pub threads: usize,
    /// How a record is tried in a child process; without it, it is tried in this one.
    pub probe: Option<ProbeCommand>,
    /// Where tests break in.
    pub faults: Faults,
}

impl Default for LaneLoopConfig {
    fn default() -> Self {
        Self {
            max_alerts: 1000,
            max_bytes: 4 * 1024 * 1024,
            beat: Duration::from_secs(3),
            dead_after: Duration::from_secs(10),
            patience: Duration::from_millis(900),
            hand_over: Duration::from_secs(5),
            poll: Duration::from_millis(500),
            careful_at: 3,
            park_at: 6,
            max_parked: 100,
            parked_window: 10_000,
            retry_pause: Duration::from_millis(100),
            back_off: Duration::from_millis(250),
            halt_pause: Duration::from_secs(30),
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            probe: None,
            faults: Faults::default(),
        }
    }
}

/// A program that is given one record on its standard input and exits with 0 when the record can
/// be applied. It is called with `args` and `--memory-limit=<bytes>`, which it sets for itself
/// before it reads, and is killed after `deadline`.
#[derive(Clone, Debug)]
pub struct ProbeCommand {
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Bytes of address space.
    pub memory_limit: u64,
    pub deadline: Duration,
}

/// Called at named points of the loop: `before_commit`, `after_commit` (before anything is
/// published), `after_publish` (before the next batch). Nothing, unless a test says what.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<dyn Fn(&'static str) + Send + Sync>>);

impl Faults {
    /// Calls `hook` with the name of each point that is reached.
    pub fn hook(hook: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    fn at(&self, point: &'static str) {
        if let Some(hook) = &self.0 {
            hook(point);
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Faults(hook)" } else { "Faults(none)" })
    }
}

/// The longest pause before a lane is taken again.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);

/// Runs one stage on this worker's share of the lanes.
pub struct LaneLoop<S: Stage> {
    stage: Arc<S>,
    log: Arc<dyn Log>,
    store: Store,
    generation: Generation,
    lanes: NonZeroU16,
    worker: Uuid,
    config: Arc<LaneLoopConfig>,
    health: Option<Health>,
}

impl<S: Stage> LaneLoop<S> {
    /// A loop for `stage` in one generation; `worker` names this process among its like.
    pub fn new(
        stage: Arc<S>,
        log: Arc<dyn Log>,
        store: Store,
        generation: Generation,
        lanes: NonZeroU16,
        worker: Uuid,
        config: LaneLoopConfig,
    ) -> Self {
        let config = Arc::new(config);
        Self { stage, log, store, generation, lanes, worker, config, health: None }
    }

    /// Says in `health` which lanes cannot go on, and why.
    #[must_use]
    pub fn with_health(mut self, health: Health) -> Self {
        self.health = Some(health);
        self
    }

    /// Owns its share of the lanes until told to stop: softly, each lane finishes and publishes the
    /// batch in hand; hard, everything is dropped at once.
    ///
    /// # Errors
    /// [`Error::LogIdentity`] when the tables belong to another log. Log and tables that are away
    /// are waited for.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = shutdown.hard() => return Ok(()),
            () = shutdown.stopping() => return Ok(()),
            known = self.check_identity() => known?,
        }
        let mut crew = Crew::new(&self, shutdown.clone());
        let mut poll = tokio::time::interval(self.config.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.hard() => return Ok(()),
                () = shutdown.stopping() => break,
                Some(ended) = crew.tasks.join_next_with_id() => crew.settle(ended),
                _ = poll.tick() => tokio::select! {
                    biased;
                    () = shutdown.hard() => return Ok(()),
                    () = shutdown.stopping() => break,
                    done = tokio::time::timeout(beat::ANSWER, crew.round()) => if done.is_err() {
                        tracing::warn!("looking for lanes: no answer for {:?}", beat::ANSWER);
                    },
                },
            }
        }
        let drain = async {
            while let Some(ended) = crew.tasks.join_next_with_id().await {
                crew.settle(ended);
            }
            if let Err(error) = self.store.leave(&crew.place).await {
                tracing::debug!("taking this worker's row away: {}", chain(&error));
            }
        };
        tokio::select! {
            biased;
            () = shutdown.hard() => {}
            () = drain => {}
        }
        Ok(())
    }

    /// Positions of one log mean nothing in another.
    async fn check_identity(&self) -> Result<(), Error> {
        let stream = subject::deliveries_stream(self.log.namespace());
        let mut pause = self.config.back_off;
        loop {
            let reason = match self.log.info(&stream).await {
                Err(error) => chain(&error),
                Ok(info) => {
                    let lanes = self.lanes.get();
                    match self.store.log_identity(info.incarnation, lanes).await {
                        Err(error) => chain(&error),
                        Ok(known)
                            if (known.incarnation, known.lanes) == (info.incarnation, lanes) =>
                        {
                            return Ok(());
                        }
                        Ok(known) => {
                            return Err(Error::LogIdentity {
                                known: known.incarnation,
                                known_lanes: known.lanes,
                                found: info.incarnation,
                                found_lanes: lanes,
                            });
                        }
                    }
                }
            };
            tracing::warn!(stage = self.stage.name(), "waiting for log and tables: {reason}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_BACK_OFF);
        }
    }
}

/// How a lane's task ended.
enum Ended {
    /// Somebody else has it.
    Taken,
    Stopped(Stop, Memory),
}

/// The lanes of this worker.
struct Crew<'a, S: Stage> {
    lane_loop: &'a LaneLoop<S>,
    shutdown: Shutdown,
    place: Place,
    shares: Shares,
    beat_due: Instant,
    /// Dropped, it drops every owner.
    tasks: JoinSet<(Lane, Ended)>,
    running: HashMap<Id, Lane>,
    leave: BTreeMap<Lane, CancellationToken>,
    memory: BTreeMap<Lane, Memory>,
    failures: BTreeMap<Lane, u32>,
}

impl<'a, S: Stage> Crew<'a, S> {
    fn new(lane_loop: &'a LaneLoop<S>, shutdown: Shutdown) -> Self {
        let LaneLoop { stage, generation, lanes, worker, config, .. } = lane_loop;
        Self {
            place: Place::new(*worker, stage.name(), *generation),
            shares: Shares::new(*lanes, config.patience),
            lane_loop,
            shutdown,
            beat_due: Instant::now(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            leave: BTreeMap::new(),
            memory: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Says that the worker lives, hands back what is too much, takes what is free.
    async fn round(&mut self) {
        let LaneLoop { store, stage, generation, config, .. } = self.lane_loop;
        let name = stage.name();
        if Instant::now() >= self.beat_due {
            match store.beat(&self.place, config.dead_after.as_secs_f64()).await {
                Ok(live) => {
                    self.beat_due = Instant::now() + config.beat;
                    for lane in self.shares.workers(live) {
                        tracing::info!(stage = name, lane = lane.0, "handing lane {lane} back");
                        if let Some(leave) = self.leave.get(&lane) {
                            leave.cancel();
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(stage = name, "heartbeat of this worker: {}", chain(&error));
                    return;
                }
            }
        }
        if !self.shares.lacks_some() {
            return;
        }
        match store.owned_lanes(name, *generation).await {
            Ok(held) => {
                for lane in self.shares.wanted(&held, Instant::now()) {
                    self.take(lane);
                }
            }
            Err(error) => {
                tracing::warn!(stage = name, "looking for free lanes: {}", chain(&error));
            }
        }
    }

    /// Starts an owner of the lane.
    fn take(&mut self, lane: Lane) {
        let LaneLoop { stage, log, store, generation, config, health, .. } = self.lane_loop;
        let asked = Asked { leave: CancellationToken::new(), shutdown: self.shutdown.clone() };
        self.shares.took(lane);
        self.leave.insert(lane, asked.leave.clone());
        let memory = self.memory.remove(&lane).unwrap_or_default();
        let (part, health) = (self.part(lane), health.clone());
        let on_ready = Box::new(move || {
            if let Some(health) = &health {
                health.ready(&part);
            }
        });
        let writer = Writer {
            namespace: log.namespace().clone(),
            stage: stage.name(),
            generation: *generation,
            lane,
        };
        let (stage, log, store, generation, config) =
            (Arc::clone(stage), Arc::clone(log), store.clone(), *generation, Arc::clone(config));
        let task = self.tasks.spawn(async move {
            let connection = tokio::select! {
                biased;
                () = asked.asked() => return (lane, Ended::Stopped(Stop::Asked, memory)),
                connection = beat::answered(
                    beat::ANSWER,
                    own(&store, &*stage, generation, lane),
                ) => connection,
            };
            let connection = match connection {
                Ok(Ok(Some(connection))) => connection,
                Ok(Ok(None)) => return (lane, Ended::Taken),
                Ok(Err(error)) => return (lane, Ended::Stopped(error.into(), memory)),
                Err(stop) => return (lane, Ended::Stopped(stop, memory)),
            };
            tracing::info!(stage = stage.name(), lane = lane.0, "lane {lane} is taken over");
            let (beat, pulse) = Beat::new(config.beat);
            let listen = beat::listen(&*stage, Arc::clone(&log), generation, lane, pulse);
            let owner = Owner {
                stage: Arc::clone(&stage),
                input: stage.input(),
                log: Arc::clone(&log),
                lane,
                writer,
                config,
                connection,
                beat,
                asked,
                memory,
                meters: Meters::new(stage.name(), lane),
                on_ready,
            };
            let (stop, memory) = tokio::select! {
                ended = owner.run() => ended,
                never = listen => match never {},
            };
            (lane, Ended::Stopped(stop, memory))
        });
        self.running.insert(task.id(), lane);
    }

    /// Notes that a lane's task ended, says why, and when the lane may be tried again.
    fn settle(&mut self, ended: Result<(Id, (Lane, Ended)), JoinError>) {
        let LaneLoop { stage, config, health, .. } = self.lane_loop;
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(lane) = self.running.remove(&id) else { return };
        self.leave.remove(&lane);
        let stop = match ended {
            Ok((_, (_, Ended::Taken))) => {
                self.shares.lost(lane, Instant::now());
                return;
            }
            Ok((_, (_, Ended::Stopped(stop, mut memory)))) => {
                if std::mem::take(&mut memory.progress) {
                    self.failures.remove(&lane);
                }
                self.memory.insert(lane, memory);
                stop
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Stop::Halt(format!("its owner {}", panic_text(&*panic))),
                Err(_) => Stop::Asked,
            },
        };
        let (name, part) = (stage.name(), self.part(lane));
        if let Some(health) = health {
            health.forget(&part);
        }
        let failures = self.failures.remove(&lane).unwrap_or(0);
        let pause = match stop {
            Stop::Asked | Stop::Frozen => {
                tracing::info!(stage = name, lane = lane.0, "lane {lane} is given back");
                if matches!(stop, Stop::Asked) { config.hand_over } else { Duration::ZERO }
            }
            Stop::NotOwner(reason) => {
                tracing::warn!(stage = name, lane = lane.0, "lane {lane} is left: {reason}");
                config.back_off
            }
            Stop::Halt(reason) | Stop::Poison { reason, .. } => {
                tracing::error!(
                    stage = name,
                    lane = lane.0,
                    "lane {lane} stops, and is tried again in {:?}: {reason}",
                    config.halt_pause
                );
                if let Some(health) = health {
                    health.degraded(&part, reason);
                }
                config.halt_pause
            }
            Stop::Store(error) => self.back_off(lane, failures, &chain(&error)),
            Stop::Log(reason) => self.back_off(lane, failures, &reason),
        };
        self.shares.lost(lane, Instant::now() + pause);
    }

    fn back_off(&mut self, lane: Lane, failures: u32, reason: &str) -> Duration {
        self.failures.insert(lane, failures + 1);
        let LaneLoop { stage, config, health, .. } = self.lane_loop;
        let pause = config.back_off.saturating_mul(1 << failures.min(10)).min(LONGEST_BACK_OFF);
        tracing::warn!(
            stage = stage.name(),
            lane = lane.0,
            "lane {lane} is released, and tried again in {pause:?}: {reason}"
        );
        if let Some(health) = health {
            health.degraded(&self.part(lane), reason);
        }
        pause
    }

    /// The name of a lane in health reports.
    fn part(&self, lane: Lane) -> String {
        format!("{} lane {lane}", self.lane_loop.stage.name())
    }
}

/// Takes the lane's connection. What a stage that publishes nothing makes is made again from its
/// input, so its commits need not wait for the disk.
async fn own<S: Stage>(
    store: &Store,
    stage: &S,
    generation: Generation,
    lane: Lane,
) -> Result<Option<LaneConnection>, store::Error> {
    let mut owned = store.own_lane(stage.name(), generation, lane).await?;
    if let (Some(connection), true) = (&mut owned, parts::channels_of(stage.name()).is_empty()) {
        connection.commit_behind().await?;
    }
    Ok(owned)
}
