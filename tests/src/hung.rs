//! How long messages take while another channel hangs, and while it does not, in one run.
//!
//! Both kinds of turn ask for the same messages at the same pace; in the one nothing else is asked
//! for, in the other a backlog for a channel that stops answering at that moment, so that the time in
//! which nobody knows it yet is measured too. The turns alternate, and begin with either kind by turns.
//! After each the channel answers again, and everything is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use schemas::Lane;
use sqlx::PgConnection;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

use crate::{GENERATION, World, sends::fire};

/// Sends to the channel that hangs: far more than a notifier holds of one target.
const HUNG: u32 = 200;
/// Time between two sends to the other: two thirds of what its budget allows.
const GAP: Duration = Duration::from_millis(15);
/// How often the tables are asked, and how long anything may take.
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver that takes every request, and at times answers none.
pub struct Silent {
    pub url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    hangs: AtomicBool,
    /// Requests that came while it hung, those of them that wait, and the most that did at once.
    unanswered: AtomicUsize,
    waiting: AtomicUsize,
    most: AtomicUsize,
}

/// One request that waits; until whoever asks gives up.
struct Waiting(Arc<Shared>);

impl Waiting {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.unanswered.fetch_add(1, Ordering::SeqCst);
        let waiting = shared.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most.fetch_max(waiting, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Silent {
    /// Starts on a free loopback port; it answers.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let app = Router::new().route("/hook", post(take)).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, server }
    }

    /// What the configuration says of it, as channel `hung`; `secret` as another webhook's.
    pub fn channel(&self, secret: &str) -> String {
        format!(
            "\n[channels.hung]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = \"{secret}\"\n\
             allow_private = true\ntimeout_ms = 1500\n",
            self.url
        )
    }

    /// From now on it answers nothing.
    pub fn hang(&self) {
        self.shared.unanswered.store(0, Ordering::SeqCst);
        self.shared.most.store(0, Ordering::SeqCst);
        self.shared.hangs.store(true, Ordering::SeqCst);
    }

    /// From now on it answers; what waits goes on waiting.
    pub fn answer(&self) {
        self.shared.hangs.store(false, Ordering::SeqCst);
    }

    /// Requests without an answer since it hangs, and the most of them at once.
    pub fn unanswered(&self) -> (usize, usize) {
        (self.shared.unanswered.load(Ordering::SeqCst), self.shared.most.load(Ordering::SeqCst))
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(shared): State<Arc<Shared>>) -> StatusCode {
    if shared.hangs.load(Ordering::SeqCst) {
        let _waiting = Waiting::begin(&shared);
        std::future::pending::<()>().await;
    }
    StatusCode::OK
}

/// Seconds from asking for a message until it is settled, in order.
#[derive(Debug, Default)]
pub struct Latencies {
    pub alone: Vec<f64>,
    /// While the other channel hangs.
    pub beside: Vec<f64>,
    /// From the moment the other channel answers again until something is told to it, and until
    /// everything is.
    pub noticed: Vec<f64>,
    pub recovered: Vec<f64>,
    /// The requests that the other channel left without an answer, in all, and the most at once.
    pub unanswered: usize,
    pub most: usize,
}

impl Latencies {
    /// The share `p` of both.
    pub fn percentile(&self, p: f64) -> (f64, f64) {
        let of = |sorted: &[f64]| sorted[((sorted.len() - 1) as f64 * p).round() as usize];
        (of(&self.alone), of(&self.beside))
    }
}

/// Sends to channel `hook`, alone and beside channel `hung`, in turns. A notifier that has both
/// runs.
pub async fn measure(world: &World, silent: &Silent, rounds: u32, sends: u32) -> Latencies {
    let mut bench = Bench { world, sql: world.sql().await, next: 0 };
    let mut latencies = Latencies::default();
    // Connections, plans, caches.
    bench.asked(sends / 4).await;
    bench.backlog(20).await;
    bench.told(0, Instant::now()).await;
    for round in 0..rounds {
        if round % 2 == 0 {
            latencies.alone.extend(bench.asked(sends).await);
            bench.beside(silent, sends, &mut latencies).await;
        } else {
            bench.beside(silent, sends, &mut latencies).await;
            latencies.alone.extend(bench.asked(sends).await);
        }
    }
    for all in [&mut latencies.alone, &mut latencies.beside] {
        all.sort_by(f64::total_cmp);
    }
    latencies
}

struct Bench<'a> {
    world: &'a World,
    sql: PgConnection,
    next: u32,
}

impl Bench<'_> {
    /// One turn beside the channel that hangs.
    async fn beside(&mut self, silent: &Silent, sends: u32, latencies: &mut Latencies) {
        silent.hang();
        self.backlog(HUNG).await;
        latencies.beside.extend(self.asked(sends).await);
        let (unanswered, most) = silent.unanswered();
        assert!(unanswered > 0, "the channel did not hang");
        latencies.unanswered += unanswered;
        latencies.most = latencies.most.max(most);
        silent.answer();
        let answers = Instant::now();
        let left = self.left().await;
        latencies.noticed.push(self.told(left - 1, answers).await);
        latencies.recovered.push(self.told(0, answers).await);
    }

    /// Asks for so many messages to the channel that hangs, all at once.
    async fn backlog(&mut self, count: u32) {
        let jobs: Vec<_> = (self.next..self.next + count).map(|n| fire(n, "hung")).collect();
        self.next += count;
        self.insert(&jobs).await;
    }

    async fn insert(&self, jobs: &[lanes::job::NewJob]) {
        let world = self.world;
        let mut lane = world.store.own_lane("test", GENERATION, Lane(0)).await.unwrap().unwrap();
        let mut batch = lane.begin();
        batch.insert_jobs(jobs).await.unwrap();
        batch.commit().await.unwrap();
        lane.release().await;
    }

    /// Messages to the channel that hangs which are not told.
    async fn left(&mut self) -> i64 {
        sqlx::query_scalar(
            "select count(*) from job where target = 'hung' and state in ('pending', 'claimed')",
        )
        .fetch_one(&mut self.sql)
        .await
        .unwrap()
    }

    /// Waits until no more than `most` of them are left; seconds since `since`.
    async fn told(&mut self, most: i64, since: Instant) -> f64 {
        loop {
            let left = self.left().await;
            if left <= most {
                return since.elapsed().as_secs_f64();
            }
            assert!(since.elapsed() < PATIENCE, "{left} messages wait for a channel that answers");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks for `sends` messages, one after the other whatever becomes of them; how long each took.
    async fn asked(&mut self, sends: u32) -> Vec<f64> {
        let world = self.world;
        let mut lane = world.store.own_lane("test", GENERATION, Lane(0)).await.unwrap().unwrap();
        let first = self.next;
        let mut tick = tokio::time::interval(GAP);
        for n in first..first + sends {
            tick.tick().await;
            let mut batch = lane.begin();
            batch.insert_jobs(&[fire(n, "hook")]).await.unwrap();
            batch.commit().await.unwrap();
        }
        lane.release().await;
        self.next += sends;
        let ids: Vec<uuid::Uuid> = (first..first + sends).map(|n| fire(n, "hook").id.0).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let took: Vec<f64> = sqlx::query_scalar(
                "select extract(epoch from settled_at - created_at)::float8 from job
                 where id = any ($1) and state = 'done'",
            )
            .bind(&ids)
            .fetch_all(&mut self.sql)
            .await
            .unwrap();
            if took.len() == ids.len() {
                return took;
            }
            assert!(Instant::now() < deadline, "{} of {} messages are told", took.len(), ids.len());
            tokio::time::sleep(LOOK).await;
        }
    }
}
