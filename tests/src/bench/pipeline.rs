//! From a request to its row: every role in one process, both servers beside it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};

use super::{
    Scale,
    figures::{Figures, Target},
    process::{ALL_ROLES, Cpu, Program, resident},
    step, traffic, wal,
};
use crate::{
    World,
    load::{self, Valve},
};

/// Alerts that may be accepted and not yet rows before the generator waits: some batches of every
/// lane and stage. So the load is what the pipeline takes, and no more.
const OUTSTANDING: i64 = 20_000;
/// Connections of the load: durable acks take milliseconds, and each waits for one.
const CONNECTIONS: usize = 256;
/// How often progress is read.
const LOOK: Duration = Duration::from_millis(20);
/// How long anything may take to be settled.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most alerts a second that requests are prepared for.
const MOST: f64 = 30_000.0;

/// Everything that is measured here and in [`super::visible`].
pub struct Site {
    pub world: World,
    pub program: Program,
}

impl Site {
    /// Starts the servers and all roles.
    pub async fn start(statements: bool, log: Option<&Path>) -> Self {
        let mut world = World::with_lanes(4).await;
        if statements {
            keep_statements(&mut world).await;
        }
        let config = world.dir.path().join("bellwether.toml");
        let text = format!(
            "environment = \"test\"\nnats = {{ url = \"{}\", max_bytes = -1 }}\n\
             postgres = {{ url = \"{}\" }}\ningest.listen = \"127.0.0.1:0\"\n\
             console.listen = \"127.0.0.1:0\"\n\
             [channels.screen]\nkind = \"log\"\nreceivers = [\"default\"]\n{}",
            world.nats.url(),
            world.database_url,
            traffic::sources(world.lanes)
        );
        std::fs::write(&config, text).unwrap();
        let program = Program::start(ALL_ROLES, &config, log);
        Self { world, program }
    }

    /// Processor time so far, without that of the bench's own backends.
    pub fn cpu(&self, without: &[u32]) -> Cpu {
        let World { nats, postgres, .. } = &self.world;
        Cpu::read(self.program.pid(), nats.pid(), postgres.pid(), without)
    }

    /// Waits until the lanes are owned and `alerts` are rows, and no job is open.
    pub async fn settled(&self, sql: &mut PgConnection, alerts: i64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let open: i64 = sqlx::query_scalar(
                "select count(*) from job where state in ('pending', 'claimed')",
            )
            .fetch_one(&mut *sql)
            .await
            .unwrap();
            let rows = Progress::read(sql).await.rows;
            if open == 0 && rows >= alerts {
                return;
            }
            assert!(Instant::now() < deadline, "not settled: {open} jobs open, {rows} of {alerts}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Bytes of the events stream, as the server tells.
    async fn event_bytes(&self) -> f64 {
        let url = format!("{}/jsz?streams=true", self.world.nats.monitor_url());
        let told: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let streams = told["account_details"][0]["stream_detail"].as_array().cloned();
        streams
            .unwrap_or_default()
            .iter()
            .filter(|s| s["name"].as_str().is_some_and(|n| n.contains("EVENTS")))
            .filter_map(|s| s["state"]["bytes"].as_f64())
            .sum()
    }
}

/// How far everything is. Both sums are exact: they move in the transactions of the batches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Delivery records observed.
    pub observed: i64,
    /// Alerts that are dossier rows.
    pub rows: i64,
}

impl Progress {
    /// Reads it.
    pub async fn read(sql: &mut PgConnection) -> Self {
        let (observed, rows) = sqlx::query_as(
            "select (select coalesce(sum(records), 0)::bigint from ledger \
                     where outcome = 'observed'), \
                    (select coalesce(sum(total), 0)::bigint from coverage)",
        )
        .fetch_one(sql)
        .await
        .unwrap();
        Self { observed, rows }
    }
}

/// One moment of a run.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    /// Alerts accepted, folded, and turned into rows.
    accepted: i64,
    folded: i64,
    rows: i64,
    cpu: Cpu,
}

/// Measures one variant: `group` alerts a request.
async fn variant(figures: &mut Figures, site: &Site, group: usize, run: u32, window: Duration) {
    let each = group as i64;
    let name = |what: &str| format!("pipeline.{group}.{what}");
    let prepare = |count| {
        if group == 1 { traffic::sentry(run, count) } else { traffic::alertmanager(run, count) }
    };
    let mut sql = site.world.sql().await;
    let before = Progress::read(&mut sql).await;
    step(&format!("pipeline, {group} alert(s) per request: the problems open"));
    let openers = traffic::openers(group);
    let requests = prepare(openers);
    let address = site.program.address;
    let valve = Valve::default();
    let opened = load::closed_loop(address, 64, PATIENCE, requests, valve).await;
    assert_eq!(opened.accepted, openers as u64, "{opened:?}");
    let begun = before.rows + openers as i64 * each;
    site.settled(&mut sql, begun).await;
    // What autovacuum does within a minute: before it, plans are made for empty tables.
    sql.execute("analyze").await.unwrap();
    sql.execute("checkpoint").await.unwrap();

    let warm_up = Duration::from_secs(2);
    let most = (MOST * (warm_up + window).as_secs_f64() / each as f64) as usize;
    // Of the same run, behind the openers: ids stay unique, and the problems are there.
    let requests = Arc::new(prepare(openers + most)[openers..].to_vec());
    step(&format!("pipeline, {group} alert(s) per request: load"));
    let (wal_from, bytes_from) = (wal::position(&mut sql).await, site.event_bytes().await);
    let valve = Valve::default();
    let limit = warm_up + window + Duration::from_millis(200);
    let load =
        tokio::spawn(load::closed_loop(address, CONNECTIONS, limit, requests, valve.clone()));
    let mut moments: Vec<Moment> = Vec::new();
    let mut memory = 0.0f64;
    let begin = Instant::now();
    while !load.is_finished() {
        let progress = Progress::read(&mut sql).await;
        let accepted = valve.accepted() as i64 * each;
        let rows = progress.rows - begun;
        valve.hold(accepted - rows > OUTSTANDING);
        if begin.elapsed() > warm_up && begin.elapsed() < warm_up + window {
            let folded = (progress.observed - before.observed - openers as i64) * each;
            let (at, cpu) = (Instant::now(), site.cpu(&[]));
            moments.push(Moment { at, accepted, folded, rows, cpu });
            memory = memory.max(resident(site.program.pid()));
        }
        tokio::time::sleep(LOOK).await;
    }
    let seen = load.await.unwrap();
    // Before the drain, in which observe has nothing left to do.
    let wal_loaded = wal::position(&mut sql).await;
    let accepted = seen.accepted as i64 * each;
    let draining = Instant::now();
    while Progress::read(&mut sql).await.rows - begun < accepted {
        assert!(draining.elapsed() < PATIENCE, "the backlog does not drain");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let drained = draining.elapsed();
    let wal_to = wal::position(&mut sql).await;
    let counted: i64 =
        sqlx::query_scalar("select count(*) from dossier").fetch_one(&mut sql).await.unwrap();
    assert_eq!(counted, begun + accepted, "every accepted alert is one row");

    let (first, last) = (moments[0], moments[moments.len() - 1]);
    let over = last.at - first.at;
    let rate = |count: i64| count as f64 / over.as_secs_f64();
    figures.add(name("accepted"), rate(last.accepted - first.accepted), "alerts/s");
    figures.add(name("folded"), rate(last.folded - first.folded), "alerts/s");
    let rows = rate(last.rows - first.rows);
    figures.held(name("rows"), rows, "alerts/s", Target::AtLeast(12_000.0));
    figures.add(name("window"), over.as_secs_f64(), "s");
    let backlog = |moments: &[Moment]| {
        let sum: i64 = moments.iter().map(|m| m.accepted - m.rows).sum();
        sum as f64 / moments.len() as f64
    };
    let third = moments.len().div_ceil(3);
    let (early, late) = (&moments[..third], &moments[moments.len() - third..]);
    figures.add(name("backlog_first_third"), backlog(early), "alerts");
    let bound = Target::AtMost(OUTSTANDING as f64 * 1.5);
    figures.held(name("backlog_last_third"), backlog(late), "alerts", bound);
    figures.add(name("drained_after"), drained.as_secs_f64() * 1e3, "ms");
    figures.held(name("refused"), seen.refused as f64, "", Target::AtMost(0.0));
    let cpu = last.cpu.cores_since(first.cpu, over);
    cores(figures, &name("cpu"), cpu);
    // Unlike the rate this holds on a machine that does other things too.
    figures.add(name("cpu_per_alert"), cpu.product() / rows * 1e6, "us");
    figures.add(name("memory_loaded"), memory, "MiB");

    figures.add(name("wal"), (wal_to - wal_from) as f64 / accepted as f64, "B/alert");
    let events = site.event_bytes().await - bytes_from;
    figures.add(name("event_frames"), events / accepted as f64, "B/alert");
    let shares = wal::shares(&site.world.database_url, wal_from, wal_loaded).await;
    for (table, share) in shares.unwrap_or_default() {
        if table == "unpublished" || share >= 0.02 {
            figures.add(name(&format!("wal_share.{table}")), share * 100.0, "%");
        }
    }
}

/// Adds cores by process.
pub fn cores(figures: &mut Figures, name: &str, cpu: Cpu) {
    figures.add(format!("{name}.roles"), cpu.roles, "cores");
    figures.add(format!("{name}.nats"), cpu.nats, "cores");
    figures.add(format!("{name}.postgres"), cpu.postgres, "cores");
    figures.add(format!("{name}.generator"), cpu.generator, "cores");
}

/// Measures both variants on one site, the second on what the first left.
pub async fn run(figures: &mut Figures, scale: Scale, statements: bool, log: Option<&Path>) {
    let site = Site::start(statements, log).await;
    let mut sql = site.world.sql().await;
    site.settled(&mut sql, 0).await;
    figures.add("memory.idle", resident(site.program.pid()), "MiB");
    for (run, group) in [(2, 1), (3, traffic::GROUP)] {
        variant(figures, &site, group, run, scale.time(12.0)).await;
    }
    if statements {
        print_statements(&mut sql).await;
    }
}

/// Makes the server keep what each statement cost; it costs something itself.
async fn keep_statements(world: &mut World) {
    let mut sql = world.sql().await;
    sql.execute("alter system set shared_preload_libraries = 'pg_stat_statements'").await.unwrap();
    drop(sql);
    world.postgres.restart().unwrap();
    world.sql().await.execute("create extension pg_stat_statements").await.unwrap();
}

/// Prints what the statements cost since they are kept, and how large the tables became.
pub async fn print_statements(sql: &mut PgConnection) {
    let rows: Vec<(String, i64, f64, i64, i64)> = sqlx::query_as(
        "select regexp_replace(left(query, 100), '\\s+', ' ', 'g'), calls, total_exec_time, \
           rows, wal_bytes::bigint \
         from pg_stat_statements order by total_exec_time desc limit 30",
    )
    .fetch_all(&mut *sql)
    .await
    .unwrap();
    eprintln!("{:>9} {:>9} {:>10} {:>8}  statement", "ms", "calls", "rows", "WAL MB");
    for (query, calls, millis, rows, wal) in rows {
        eprintln!("{millis:>9.0} {calls:>9} {rows:>10} {:>8.1}  {query}", wal as f64 / 1e6);
    }
    let sizes: Vec<(String, i64, i64, i64, i64, i64)> = sqlx::query_as(
        "select c.relname::text, pg_relation_size(c.oid), pg_indexes_size(c.oid), \
           case when c.reltoastrelid = 0 then 0 else pg_total_relation_size(c.reltoastrelid) end, \
           s.n_tup_upd, s.n_tup_hot_upd \
         from pg_class c join pg_stat_user_tables s on s.relid = c.oid where c.relkind = 'r' \
         order by pg_total_relation_size(c.oid) desc limit 15",
    )
    .fetch_all(sql)
    .await
    .unwrap();
    eprintln!(
        "{:>8} {:>8} {:>8} {:>9} {:>9}  table",
        "heap MB", "index", "toast", "updates", "hot"
    );
    for (table, heap, index, toast, updates, hot) in sizes {
        let mb = |bytes: i64| bytes as f64 / 1e6;
        let (heap, index, toast) = (mb(heap), mb(index), mb(toast));
        eprintln!("{heap:>8.1} {index:>8.1} {toast:>8.1} {updates:>9} {hot:>9}  {table}");
    }
}

/// A connection for looking on; returns its backend's process id too.
pub async fn watcher(world: &World) -> (PgConnection, u32) {
    let mut sql = PgConnection::connect(&world.database_url).await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut sql).await.unwrap();
    (sql, pid as u32)
}
