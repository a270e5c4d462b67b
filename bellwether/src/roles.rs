//! Which roles a process plays, and what each is handed.

mod log;

use std::{collections::BTreeSet, fmt, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use eventlog::{Appender, AppenderConfig, Log, SpoolingAppender, topology};
use ingest::keys::{CopyFile, Follower};
use lanes::{Janitor, JobLoop, JobLoopConfig, LaneLoop, LaneLoopConfig, Stage, Work};
use notifier_worker::{DeliverWork, NotifyStage, Sender};
use projector::ProjectStage;
use runtime::{
    Clock, Controller, Health, MetricsHandle, Shutdown, Tasks, http_client, random_uuid,
};
use schemas::{Generation, ProducerId};
use secrecy::ExposeSecret;
use store::Store;
use tokio::net::TcpListener;
use triage_worker::{ObserveStage, TriageWork};

use self::log::OpenedLog;
use crate::config::Checked;

/// What a process can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    Ingest,
    TriageWorker,
    NotifierWorker,
    Projector,
    Console,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] =
        [Self::Ingest, Self::TriageWorker, Self::NotifierWorker, Self::Projector, Self::Console];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingest => "ingest",
            Self::TriageWorker => "triage-worker",
            Self::NotifierWorker => "notifier-worker",
            Self::Projector => "projector",
            Self::Console => "console",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|r| r.to_string() == s).ok_or_else(|| format!("no role {s:?}"))
    }
}

/// How long ingest waits for the keys of the log before it answers.
const A_MOMENT: Duration = Duration::from_secs(1);

/// What differs between a process that is used and one that is watched: where the log channel
/// prints, how the loops are tuned, and which points of them are looked at.
#[derive(Clone)]
pub struct Hooks {
    pub print: notifier_worker::Printer,
    pub lane_loop: LaneLoopConfig,
    pub job_loop: JobLoopConfig,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            print: notifier_worker::print_to_log(),
            lane_loop: LaneLoopConfig::default(),
            job_loop: JobLoopConfig::default(),
        }
    }
}

/// Sockets, opened before anything is started so that a taken address stops the start.
#[derive(Debug, Default)]
pub struct Listeners {
    ingest: Option<TcpListener>,
    console: Option<TcpListener>,
    worker: Option<TcpListener>,
}

impl Listeners {
    /// Opens what the roles need.
    pub async fn open(checked: &Checked, roles: &BTreeSet<Role>) -> anyhow::Result<Self> {
        let config = &checked.config;
        let mut listeners = Self::default();
        if roles.contains(&Role::Ingest) {
            listeners.ingest = Some(bind(config.ingest.listen, "ingest.listen").await?);
        }
        if roles.contains(&Role::Console) {
            listeners.console = Some(bind(config.console.listen, "console.listen").await?);
        }
        if let (Some(address), true) = (config.worker.listen, is_worker_only(roles)) {
            listeners.worker = Some(bind(address, "worker.listen").await?);
        }
        Ok(listeners)
    }

    /// Where ingest listens.
    pub fn ingest_address(&self) -> Option<SocketAddr> {
        self.ingest.as_ref().and_then(|l| l.local_addr().ok())
    }

    /// Where the console listens.
    pub fn console_address(&self) -> Option<SocketAddr> {
        self.console.as_ref().and_then(|l| l.local_addr().ok())
    }
}

fn is_worker_only(roles: &BTreeSet<Role>) -> bool {
    !roles.contains(&Role::Ingest) && !roles.contains(&Role::Console)
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("listen on {address}; free the port, or set {key} to another address")
    })
}

/// A process that plays its roles.
pub struct Process {
    pub controller: Controller,
    pub shutdown: Shutdown,
    pub tasks: Tasks,
    pub health: Health,
}

impl Process {
    /// Runs until a signal or a failed task ends it.
    pub async fn run_until_stopped(&self, grace: Duration) -> anyhow::Result<()> {
        runtime::lifecycle::run_until_stopped(&self.controller, &self.tasks, grace).await?;
        Ok(())
    }
}

/// Connects and starts the roles.
pub async fn start(
    checked: &Checked,
    roles: &BTreeSet<Role>,
    listeners: Listeners,
    hooks: Hooks,
) -> anyhow::Result<Process> {
    if roles.is_empty() {
        bail!(
            "no role to play; name some with --role ({})",
            Role::ALL.map(|r| r.to_string()).join(",")
        );
    }
    let config = &checked.config;
    http_client::install_tls_provider();
    let (shutdown, controller) = Shutdown::new();
    let tasks = Tasks::new(controller.clone());
    let health = Health::default();
    let metrics = runtime::telemetry::metrics();
    tasks.spawn("metrics", metrics.clone().upkeep(shutdown.clone()));

    let appender_config = || AppenderConfig {
        producer: ProducerId(random_uuid()),
        lanes: config.nats.lanes,
        // Sentry gives a second, and the answer has to travel too.
        budget: Duration::from_millis(900),
        max_queued_bytes: config.ingest.max_inflight_bytes,
    };
    let (of_ingest, of_others) = (appender_config(), appender_config());
    let plays_ingest = roles.contains(&Role::Ingest);
    let opened = log::open(config, plays_ingest, of_ingest.producer, &tasks, &shutdown).await?;
    let only_ingest = roles.iter().all(|r| *r == Role::Ingest);
    opened.watch(only_ingest, &tasks, &health, &shutdown);
    let log: Arc<dyn Log> = opened.jetstream.clone();
    // What waits for a position must stand in the log; a delivery only has to be durable.
    let (intake, driver) =
        SpoolingAppender::start(Arc::clone(&log), of_ingest, opened.spool.clone());
    tasks.spawn_finite("intake", driver);
    let (appender, driver) = Appender::start(Arc::clone(&log), of_others);
    tasks.spawn_finite("appender", driver);

    let parts = Parts {
        checked: checked.clone(),
        clock: Clock::system(),
        health: health.clone(),
        metrics,
        shutdown: shutdown.clone(),
        tasks: tasks.clone(),
        log,
        opened,
        intake,
        appender,
        hooks,
    };
    parts.play(roles, listeners).await?;
    Ok(Process { controller, shutdown, tasks, health })
}

/// Keeps the kernel from backing the heap with huge pages, of which roles touch a tenth: with them an
/// ingest takes twice the memory, and answers no more. To be called first of all: pages that are huge
/// already stay so.
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "huge pages stay as they are: {error}");
    }
}

/// What roles are made of.
struct Parts {
    checked: Checked,
    clock: Clock,
    health: Health,
    metrics: MetricsHandle,
    shutdown: Shutdown,
    tasks: Tasks,
    log: Arc<dyn Log>,
    opened: OpenedLog,
    intake: SpoolingAppender,
    appender: Appender,
    hooks: Hooks,
}

impl Parts {
    async fn play(self, roles: &BTreeSet<Role>, listeners: Listeners) -> anyhow::Result<()> {
        // The console answers the ingest routes too where both are in one process, so that senders
        // configured for its port are heard; whichever they use, they share one budget for bodies.
        let routes = roles.contains(&Role::Ingest).then(|| {
            let (config, sources) =
                (&self.checked.config.ingest, Arc::clone(&self.checked.sources));
            ingest::router(config, sources, self.intake.clone(), self.clock.clone())
        });
        if let (Some(listener), Some(routes)) = (listeners.ingest, routes.clone()) {
            self.follow_keys().await;
            self.ingest(listener, routes);
        }
        if roles.iter().any(|r| *r != Role::Ingest) {
            self.opened.wait(&self.checked.config).await?;
            let store = self.store().await?;
            let generation = store
                .active_generation()
                .await?
                .context("no generation is active in this database")?;
            let events = topology::events(self.log.namespace(), generation);
            self.log.ensure(&[events]).await?;
            for role in roles {
                match role {
                    Role::Ingest | Role::Console => {}
                    Role::TriageWorker => self.triage_worker(&store, generation)?,
                    Role::NotifierWorker => self.notifier_worker(&store, generation)?,
                    Role::Projector => {
                        self.lane_loop("project", Arc::new(ProjectStage), &store, generation);
                        self.janitor(&store, generation);
                    }
                }
            }
            if let Some(listener) = listeners.console {
                self.console(store, listener, routes);
            }
        }
        if let Some(listener) = listeners.worker {
            let app = runtime::admin::router(self.health.clone(), self.metrics.clone());
            let limits = runtime::http_server::Limits::default();
            let served = runtime::http_server::serve(listener, app, limits, self.shutdown.clone());
            self.tasks.spawn("worker probes", served);
        }
        Ok(())
    }

    /// The database; refuses one whose schema is not this binary's.
    async fn store(&self) -> anyhow::Result<Store> {
        let config = &self.checked.config.postgres;
        let store =
            Store::connect(config.url.expose_secret(), config.connections, config.connect_patience)
                .await?;
        let missing = store.missing_migrations().await?;
        if !missing.is_empty() {
            bail!(
                "the database lacks {} migration(s): {}; run `bellwether migrate` first",
                missing.len(),
                missing.join(", ")
            );
        }
        watch_postgres(&self.tasks, store.clone(), &self.health, &self.shutdown);
        Ok(store)
    }

    /// Lets in by the keys and switches in the log. Their copy stands beside the spool, which is
    /// there for the same times.
    /// Lets requests in by the keys of the log, as soon as they are known; those that come first wait
    /// a moment in the listener's queue.
    async fn follow_keys(&self) {
        let config = &self.checked.config.ingest;
        let copy = config.spool.as_ref().map(|spool| CopyFile::in_folder(&spool.dir));
        let (log, sources) = (Arc::clone(&self.log), Arc::clone(&self.checked.sources));
        let (clock, health) = (self.clock.clone(), self.health.clone());
        let follower = Follower::begin(log, sources, copy, clock, health);
        let mut is_known = follower.is_known();
        self.tasks.spawn("keys", follower.follow(self.shutdown.clone()));
        // Without them ingest goes on by what is configured.
        let _ = tokio::time::timeout(A_MOMENT, is_known.wait_for(|known| *known)).await;
    }

    fn ingest(&self, listener: TcpListener, routes: axum::Router) {
        let deps = ingest::Deps {
            routes,
            sources: Arc::clone(&self.checked.sources),
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            listener,
        };
        let config = self.checked.config.ingest.clone();
        self.tasks.spawn("ingest", ingest::run(config, deps, self.shutdown.clone()));
    }

    fn triage_worker(&self, store: &Store, generation: Generation) -> anyhow::Result<()> {
        let config = &self.checked.config;
        let observe = ObserveStage::new(
            config.observe.clone(),
            config.nats.lanes,
            Some(self.appender.clone()),
            self.clock.clone(),
        );
        self.lane_loop("observe", Arc::new(observe), store, generation);
        let client = http_client::build(&http_client::ClientConfig {
            timeout: Duration::from_secs(300),
            ..http_client::ClientConfig::default()
        })?;
        let deps = triage_worker::triage::Deps {
            client,
            store: store.clone(),
            log: Arc::clone(&self.log),
            health: self.health.clone(),
        };
        self.job_loop("triage", TriageWork::new(&config.triage, deps)?, store);
        let watch = triage_worker::triage::watch(store.clone(), self.shutdown.clone());
        self.tasks.spawn("triage queue", watch);
        Ok(())
    }

    fn notifier_worker(&self, store: &Store, generation: Generation) -> anyhow::Result<()> {
        let config = &self.checked.config;
        let channels = Arc::clone(&self.checked.channels);
        let hold = (config.triage.playbook || !config.triage.analysts.is_empty())
            .then(|| Duration::from_millis(config.deliver.hold_ms));
        let notify = NotifyStage::new(Arc::clone(&channels), hold);
        self.lane_loop("notify", Arc::new(notify), store, generation);
        let clients = http_client::Clients::new(&http_client::ClientConfig {
            timeout: Duration::from_secs(60),
            ..http_client::ClientConfig::default()
        })?;
        let sender = Sender::new(clients, self.clock.clone(), Arc::clone(&self.hooks.print));
        let deliver = DeliverWork::new(
            config.deliver.clone(),
            channels,
            store.clone(),
            sender,
            self.clock.clone(),
        )
        .reading(Arc::clone(&self.log));
        self.job_loop("deliver", Arc::new(deliver), store);
        Ok(())
    }

    /// The projector reads everything and tells nobody, so it is where room is made.
    fn janitor(&self, store: &Store, generation: Generation) {
        let janitor = Janitor {
            log: Arc::clone(&self.log),
            store: store.clone(),
            generation,
            lanes: self.checked.config.nats.lanes,
            keep_days: self.checked.config.postgres.keep_days,
            health: self.health.clone(),
            every: Duration::from_secs(30),
        };
        self.tasks.spawn("janitor", janitor.run(self.shutdown.clone()));
    }

    fn lane_loop<S: Stage>(
        &self,
        name: &'static str,
        stage: Arc<S>,
        store: &Store,
        generation: Generation,
    ) {
        let mut config = self.hooks.lane_loop.clone();
        if let Some(probe) = &mut config.probe {
            probe.args.push(stage.name().to_owned());
        }
        let lane_loop = LaneLoop::new(
            stage,
            Arc::clone(&self.log),
            store.clone(),
            generation,
            self.checked.config.nats.lanes,
            random_uuid(),
            config,
        )
        .with_health(self.health.clone());
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(name, async move {
            if let Err(error) = lane_loop.run(shutdown).await {
                tracing::error!(stage = name, error = chain(&error), "the stage cannot run");
            }
        });
    }

    fn job_loop<W: Work>(&self, name: &'static str, work: Arc<W>, store: &Store) {
        let job_loop = JobLoop::new(
            work,
            store.clone(),
            self.appender.clone(),
            self.clock.clone(),
            self.hooks.job_loop.clone(),
        );
        self.tasks.spawn(name, job_loop.run(self.shutdown.clone()));
    }

    fn console(&self, store: Store, listener: TcpListener, routes: Option<axum::Router>) {
        let config = &self.checked.config;
        let deps = console::Deps {
            store,
            appender: self.appender.clone(),
            lanes: config.nats.lanes,
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            beside: routes,
        };
        let mut settings = config.console.clone();
        settings.sources = config.known_sources();
        let run = console::run(settings, deps, listener, self.shutdown.clone());
        self.tasks.spawn("console", run);
    }
}

/// Keeps readiness true about the tables.
fn watch_postgres(tasks: &Tasks, store: Store, health: &Health, shutdown: &Shutdown) {
    let (health, shutdown) = (health.clone(), shutdown.clone());
    tasks.spawn("postgres watch", async move {
        loop {
            match store.active_generation().await {
                Ok(_) => health.ready("postgres"),
                Err(error) => health.not_ready("postgres", chain(&error)),
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(Duration::from_secs(3)) => {}
            }
        }
    });
}

/// An error with all it stems from.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
