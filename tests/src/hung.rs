//! How long messages take while another channel hangs, and while it does not, in one run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use schemas::Lane;
use sqlx::PgConnection;
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinHandle, time::Instant};

use crate::{GENERATION, World, sends::fire};

/// Sends to the channel that hangs: far more than a notifier holds of one target.
const HUNG: u32 = 200;
/// Time between two sends to the other.
const GAP: Duration = Duration::from_millis(10);
/// How often the tables are asked, and how long anything may take.
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver that takes every request and never answers.
pub struct Silent {
    pub url: String,
    open: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Silent {
    /// Starts on a free loopback port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        let server = tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let open = Arc::clone(&counted);
                open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut heard = [0; 4_096];
                    while connection.read(&mut heard).await.is_ok_and(|n| n > 0) {}
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { url, open, server }
    }

    /// What the configuration says of it, as channel `hung`; `secret` as another webhook's.
    pub fn channel(&self, secret: &str) -> String {
        format!(
            "\n[channels.hung]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = \"{secret}\"\n\
             allow_private = true\ntimeout_ms = 1500\n",
            self.url
        )
    }

    /// Waits until `wanted` holds of how many requests are open.
    async fn until(&self, wanted: impl Fn(usize) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(self.open.load(Ordering::SeqCst)) {
            assert!(Instant::now() < deadline, "the requests to the silent channel do not change");
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Seconds from asking for a message until it is settled, in order.
#[derive(Debug, Default)]
pub struct Latencies {
    pub alone: Vec<f64>,
    /// While the other channel hangs.
    pub beside: Vec<f64>,
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
    let mut latencies = Latencies::default();
    let mut next = 0;
    let mut sql = world.sql().await;
    // Connections, plans, caches.
    asked(world, &mut sql, &mut next, sends / 4).await;
    for _ in 0..rounds {
        latencies.alone.extend(asked(world, &mut sql, &mut next, sends).await);
        insert(world, (next..next + HUNG).map(|n| fire(n, "hung")).collect()).await;
        next += HUNG;
        silent.until(|open| open > 0).await;
        latencies.beside.extend(asked(world, &mut sql, &mut next, sends).await);
        assert!(silent.open.load(Ordering::SeqCst) > 0, "the channel did not hang");
        sqlx::query("delete from job where target = 'hung'").execute(&mut sql).await.unwrap();
        silent.until(|open| open == 0).await;
    }
    latencies.alone.sort_by(f64::total_cmp);
    latencies.beside.sort_by(f64::total_cmp);
    latencies
}

async fn insert(world: &World, jobs: Vec<lanes::job::NewJob>) {
    let mut lane = world.store.own_lane("test", GENERATION, Lane(0)).await.unwrap().unwrap();
    let mut batch = lane.begin();
    batch.insert_jobs(&jobs).await.unwrap();
    batch.commit().await.unwrap();
    lane.release().await;
}

/// Asks for `sends` messages, one after the other whatever becomes of them; how long each took.
async fn asked(world: &World, sql: &mut PgConnection, next: &mut u32, sends: u32) -> Vec<f64> {
    let mut lane = world.store.own_lane("test", GENERATION, Lane(0)).await.unwrap().unwrap();
    let first = *next;
    let mut tick = tokio::time::interval(GAP);
    for n in first..first + sends {
        tick.tick().await;
        let mut batch = lane.begin();
        batch.insert_jobs(&[fire(n, "hook")]).await.unwrap();
        batch.commit().await.unwrap();
    }
    lane.release().await;
    *next += sends;
    let ids: Vec<uuid::Uuid> = (first..first + sends).map(|n| fire(n, "hook").id.0).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let took: Vec<f64> = sqlx::query_scalar(
            "select extract(epoch from settled_at - created_at)::float8 from job
             where id = any ($1) and state = 'done'",
        )
        .bind(&ids)
        .fetch_all(&mut *sql)
        .await
        .unwrap();
        if took.len() == ids.len() {
            return took;
        }
        assert!(Instant::now() < deadline, "{} of {} messages are told", took.len(), ids.len());
        tokio::time::sleep(LOOK).await;
    }
}
