//! A log that was filled beforehand, and an observe loop in a process of its own that drains it.

use std::{
    num::NonZeroU16,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use eventlog::{Appender, AppenderConfig, topology};
use futures_util::{StreamExt, stream};
use runtime::Clock;
use schemas::{
    Lane, LaneKey, ProducerId, ProjectId, Record, SourceId,
    record::{Auth, Body, Delivery},
    subject::Class,
};
use sha2::{Digest, Sha256};
use sqlx::{Executor, PgConnection};

use super::{
    pipeline::watcher,
    process::{Cpu, Part, Program, peak},
    traffic, wal,
};
use crate::World;

/// Records on their way into the log at once: as many as the pipeline's load has connections, so
/// that frames are as full as they are under load.
const OUTSTANDING: usize = 256;
/// How long a record may wait for its place in the log.
const BUDGET: Duration = Duration::from_secs(30);
/// How often progress is read.
const LOOK: Duration = Duration::from_millis(5);
/// How long a drain may stand still.
const PATIENCE: Duration = Duration::from_secs(60);
/// The part of a drain that is left out at its begin: connections, plans, caches.
const WARM_UP: f64 = 0.05;

/// One alert to be put into the log.
#[derive(Clone, Debug)]
pub struct Alert {
    pub project: ProjectId,
    /// A Sentry `error` webhook.
    pub body: Vec<u8>,
}

/// Both servers, and what an observe loop is started with.
pub struct Filled {
    pub world: World,
    config: PathBuf,
    log: Option<PathBuf>,
}

/// What was seen of one drain.
#[derive(Clone, Copy, Debug)]
pub struct Drained {
    /// Alerts a second, observed and committed.
    pub rate: f64,
    pub cpu: Cpu,
    /// MiB that the worker held at its most.
    pub memory: f64,
    /// Alerts of one batch on average.
    pub batch: f64,
    /// Positions in the write-ahead log at begin and end, and the alerts between them.
    pub wal: (i64, i64),
    pub alerts: i64,
}

impl Drained {
    /// Processor seconds of worker and servers, in microseconds an alert.
    pub fn cpu_per_alert(&self) -> f64 {
        self.cpu.product() / self.rate * 1e6
    }
}

impl Filled {
    /// Starts the servers; the log is empty.
    pub async fn start(lanes: u16, log: Option<&Path>) -> Self {
        let world = World::with_lanes(lanes).await;
        let unlimited = eventlog::JetStreamConfig { max_bytes: -1, ..world.log_config() };
        world.log().await.ensure(&[topology::deliveries(&unlimited)]).await.unwrap();
        let config = world.dir.path().join("bellwether.toml");
        let text = format!(
            "environment = \"test\"\nnats = {{ url = \"{}\", lanes = {lanes}, max_bytes = -1 }}\n\
             postgres = {{ url = \"{}\" }}\n{}",
            world.nats.url(),
            world.database_url,
            traffic::sources(world.lanes)
        );
        std::fs::write(&config, text).unwrap();
        Self { world, config, log: log.map(Path::to_owned) }
    }

    /// Starts a child that plays `part` with this log and these tables.
    pub fn program(&self, part: Part) -> Program {
        Program::start(part, &self.config, self.log.as_deref())
    }

    /// An appender of one's own to the log, as ingest has one; its driver ends with it.
    pub async fn appender(&self) -> Appender {
        let config = AppenderConfig {
            producer: ProducerId(runtime::random_uuid()),
            lanes: self.world.lanes,
            budget: BUDGET,
            max_queued_bytes: 64 << 20,
        };
        let (appender, driver) = Appender::start(self.world.log().await, config);
        tokio::spawn(driver);
        appender
    }

    /// Puts alerts into the log, in order within each lane.
    pub async fn fill(&self, alerts: impl Iterator<Item = Alert>) -> i64 {
        let appender = self.appender().await;
        let (lanes, clock) = (self.world.lanes, Clock::system());
        let appended = stream::iter(alerts).map(|alert| {
            let (appender, record) = (appender.clone(), record(alert, &clock));
            async move { append(&appender, lanes, record).await }
        });
        appended.buffer_unordered(OUTSTANDING).count().await as i64
    }

    /// Starts an observe loop and lets it drain what was filled in since the last drain: `alerts`.
    pub async fn drain(&self, alerts: i64) -> Drained {
        let (mut sql, backend) = watcher(&self.world).await;
        // What autovacuum does within a minute.
        sql.execute("analyze").await.unwrap();
        sql.execute("checkpoint").await.unwrap();
        let before = Moment::read(&mut sql).await.observed;
        let program = self.program(Part::Observe);
        let cpu = || {
            let World { nats, postgres, .. } = &self.world;
            Cpu::read(program.pid(), nats.pid(), postgres.pid(), &[backend])
        };
        let begin = before + (alerts as f64 * WARM_UP) as i64;
        let first = until(&mut sql, begin.max(before + 1)).await;
        let (first_cpu, wal_from) = (cpu(), wal::position(&mut sql).await);
        let last = until(&mut sql, before + alerts).await;
        let (last_cpu, wal_to) = (cpu(), wal::position(&mut sql).await);
        let over = last.at - first.at;
        let done = last.observed - first.observed;
        Drained {
            rate: done as f64 / over.as_secs_f64(),
            cpu: last_cpu.cores_since(first_cpu, over),
            memory: peak(program.pid()),
            batch: done as f64 / (last.batches - first.batches).max(1) as f64,
            wal: (wal_from, wal_to),
            alerts: done,
        }
    }
}

/// How far observe is at a moment; the sums move in the transactions of the batches.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    /// Delivery records observed.
    observed: i64,
    batches: i64,
}

impl Moment {
    async fn read(sql: &mut PgConnection) -> Self {
        let (observed, batches) = sqlx::query_as(
            "select (select coalesce(sum(records), 0)::bigint from ledger \
                     where outcome = 'observed'), \
                    (select coalesce(sum(batch), 0)::bigint from cursor where stage = 'observe')",
        )
        .fetch_one(sql)
        .await
        .unwrap();
        Self { at: Instant::now(), observed, batches }
    }
}

/// Waits until this many records are observed.
async fn until(sql: &mut PgConnection, observed: i64) -> Moment {
    let mut known = Moment::read(sql).await;
    let mut moved = Instant::now();
    while known.observed < observed {
        assert!(moved.elapsed() < PATIENCE, "stands at {} of {observed}", known.observed);
        tokio::time::sleep(LOOK).await;
        let now = Moment::read(sql).await;
        if now.observed > known.observed {
            moved = now.at;
        }
        known = now;
    }
    known
}

/// The record that ingest makes of an alert.
pub fn record(Alert { project, body }: Alert, clock: &Clock) -> Record {
    let delivery = Delivery {
        provider: "sentry".into(),
        source: SourceId::new("sentry-0").unwrap(),
        route: "/webhook/sentry/sentry-0".into(),
        headers: vec![("sentry-hook-resource".into(), "error".into())],
        remote: None,
        auth: Auth { method: "hmac_sha256".into(), credential: None },
        sha256: Sha256::digest(&body).into(),
        raw: body,
        content_type: Some("application/json".into()),
        channel: None,
        recorded: None,
    };
    let body = Body::Delivery(Box::new(delivery));
    Record::new(runtime::record_id(clock), clock.now(), Some(project), body)
}

/// Appends a delivery to the lane of its project; its sequence in the log.
pub async fn append(appender: &Appender, lanes: NonZeroU16, record: Record) -> u64 {
    let project = record.project.clone().unwrap();
    let lane = LaneKey::Lane(Lane::of(&project, lanes));
    appender.append(lane, Class::Data, record).await.unwrap().sequence
}

/// Some projects of each lane.
pub fn projects_by_lane(lanes: NonZeroU16, each: usize) -> Vec<Vec<ProjectId>> {
    Lane::all(lanes)
        .map(|lane| {
            (0..)
                .filter_map(|n| ProjectId::new(format!("team-{n}")).ok())
                .filter(|project| Lane::of(project, lanes) == lane)
                .take(each)
                .collect()
        })
        .collect()
}
