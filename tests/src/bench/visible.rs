//! How soon a request is a row that a reader sees, and what a thousand a second cost.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Executor, FromRow};

use super::{
    Scale,
    figures::{Figures, Target},
    pipeline::{Site, cores, print_statements, watcher},
    step, traffic,
};
use crate::{World, load};

/// Requests a second, each of one alert.
const RATE: f64 = 1_000.0;
const CONNECTIONS: usize = 64;
/// Requests at the beginning that are not counted.
const WARM_UP: u64 = 1_000;
/// How often the rows are looked at; a row is visible at most this much earlier than it is seen.
const LOOK: Duration = Duration::from_millis(1);
/// The number of this run in event ids.
const RUN: u32 = 4;

/// A dossier row as the probe sees it: projects are read in log order, each from its last row on.
#[derive(FromRow)]
struct Row {
    place: i32,
    day: i32,
    inc: i64,
    seq: i64,
    rec: i32,
    idx: i32,
    provider_event_id: String,
}

/// When rows were seen, by request.
struct Probe {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<(u64, Instant)>>,
    backend: u32,
}

/// Measures and adds the figures.
pub async fn run(figures: &mut Figures, scale: Scale, statements: bool, log: Option<&Path>) {
    let site = Site::start(statements, log).await;
    let seconds = scale.time(10.0).as_secs_f64();
    let openers = traffic::openers(1);
    let requests = traffic::sentry(RUN, openers + WARM_UP as usize + (RATE * seconds) as usize);
    step("visible: the problems open");
    let mut sql = site.world.sql().await;
    let first = Arc::new(requests[..openers].to_vec());
    let address = site.program.address;
    load::closed_loop(address, 64, Duration::from_secs(60), first, load::Valve::default()).await;
    site.settled(&mut sql, openers as i64).await;
    sql.execute("analyze").await.unwrap();
    if statements {
        sql.execute("select pg_stat_statements_reset()").await.unwrap();
    }

    for probed in [true, false] {
        // The second time without anybody looking, for what it costs.
        let run = if probed { RUN } else { RUN + 1 };
        let requests =
            if probed { Arc::clone(&requests) } else { traffic::sentry(run, requests.len()) };
        let requests = Arc::new(requests[openers..].to_vec());
        step(&format!("visible: {RATE} requests/s, probed: {probed}"));
        let probe = if probed { Some(Probe::start(&site.world).await) } else { None };
        let without: Vec<u32> = probe.iter().map(|p| p.backend).collect();
        let address = site.program.address;
        let load = tokio::spawn(load::open_loop(address, CONNECTIONS, RATE, requests));
        tokio::time::sleep(Duration::from_secs_f64(WARM_UP as f64 / RATE)).await;
        let (cpu, since) = (site.cpu(&without), Instant::now());
        let seen = load.await.unwrap();
        let cpu = site.cpu(&without).cores_since(cpu, since.elapsed());
        match probe {
            Some(probe) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let rows = probe.end().await;
                let mut latency = load::histogram();
                for (number, at) in rows {
                    let Some(n) = number.checked_sub(openers as u64) else { continue };
                    let due = seen.begin + Duration::from_secs_f64(n as f64 / RATE);
                    if n >= WARM_UP {
                        let micros = at.saturating_duration_since(due).as_micros() as u64;
                        latency.record(micros.max(1)).unwrap();
                    }
                }
                let millis = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
                figures.held("visible.p50", millis(0.5), "ms", Target::AtMost(12.0));
                figures.held("visible.p99", millis(0.99), "ms", Target::AtMost(25.0));
                figures.add("visible.p99_9", millis(0.999), "ms");
                figures.add("visible.rows_matched", latency.len() as f64, "");
                figures.add("visible.rows_expected", RATE * seconds, "");
                figures.add("visible.ack_p50", seen.millis(0.5), "ms");
                figures.add("visible.ack_p99", seen.millis(0.99), "ms");
            }
            None => {
                figures.held("at_1000.cpu", cpu.product(), "cores", Target::AtMost(0.8));
                cores(figures, "at_1000.cpu", cpu);
            }
        }
        figures.held(
            format!("at_1000.refused{}", if probed { ".probed" } else { "" }),
            seen.refused as f64,
            "",
            Target::AtMost(0.0),
        );
    }
    if statements {
        print_statements(&mut sql).await;
    }
}

impl Probe {
    async fn start(world: &World) -> Self {
        let (mut sql, backend) = watcher(world).await;
        // Planned once: planning over partitions costs more than the look itself.
        sql.execute("set plan_cache_mode = force_generic_plan").await.unwrap();
        let projects: Vec<String> =
            traffic::projects(world.lanes).iter().map(|p| p.as_str().to_owned()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let count = projects.len();
            let (mut days, mut incs, mut seqs) = (vec![0; count], vec![0; count], vec![0; count]);
            let (mut recs, mut idxs) = (vec![-1; count], vec![-1; count]);
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let rows: Vec<Row> = sqlx::query_as(
                    "select k.place::int as place, d.* \
                     from unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::int[], \
                       $6::int[]) with ordinality \
                       as k(project, day, inc, seq, rec, idx, place) \
                     cross join lateral (select day, inc, seq, rec, idx, provider_event_id \
                       from dossier where generation = 1 and project = k.project \
                       and (day, inc, seq, rec, idx) > (k.day, k.inc, k.seq, k.rec, k.idx) \
                       order by day, inc, seq, rec, idx limit 5000) d \
                     order by k.place, d.day, d.inc, d.seq, d.rec, d.idx",
                )
                .bind(&projects)
                .bind(&days)
                .bind(&incs)
                .bind(&seqs)
                .bind(&recs)
                .bind(&idxs)
                .fetch_all(&mut sql)
                .await
                .unwrap();
                let now = Instant::now();
                for row in rows {
                    let place = row.place as usize - 1;
                    (days[place], incs[place], seqs[place]) = (row.day, row.inc, row.seq);
                    (recs[place], idxs[place]) = (row.rec, row.idx);
                    seen.extend(traffic::number(RUN, &row.provider_event_id).map(|n| (n, now)));
                }
                tokio::time::sleep(LOOK).await;
            }
            seen
        });
        Self { stop, task, backend }
    }

    async fn end(self) -> Vec<(u64, Instant)> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}
