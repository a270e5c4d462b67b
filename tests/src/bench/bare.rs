//! What the tables can take: events and counters in one transaction, and nothing around it.
//!
//! Batches of 500: rows of a 1.5 KB jsonb body with two indexes by `unnest`, and an upsert of the
//! counter of each problem. The bodies are prepared beforehand; the client only sends.

use std::{sync::Arc, time::Duration};

use servers::PostgresServer;
use sqlx::{Connection, Executor, PgConnection};
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

/// Rows of one transaction.
pub const BATCH: usize = 500;
/// Counters of one connection: as many as a lane of the other side has problems.
pub const COUNTERS: usize = 1_000;
/// Prepared bodies, sent in turn.
const BODIES: usize = 4 * BATCH;

const TABLES: &str = "create table if not exists bare_event (
        id uuid primary key, project text collate \"C\" not null,
        received_at timestamptz not null default now(), body jsonb not null);
    create index if not exists bare_newest on bare_event (project, received_at);
    create table if not exists bare_counter (
        project text collate \"C\", problem int, seen bigint not null,
        primary key (project, problem)) with (fillfactor = 60)";
const EVENTS: &str = "insert into bare_event (id, project, body) \
    select i, $2, b::jsonb from unnest($1::uuid[], $3::text[]) as u (i, b)";
const COUNT: &str = "insert into bare_counter as c (project, problem, seen) \
    select $1, u.* from unnest($2::int[], $3::bigint[]) as u \
    on conflict (project, problem) do update set seen = c.seen + excluded.seen";

/// The database of the bare side, beside the product's on the same server.
pub struct Bare {
    url: String,
    bodies: Arc<Vec<String>>,
}

impl Bare {
    /// Makes it.
    pub async fn new(postgres: &PostgresServer) -> Self {
        let mut admin = PgConnection::connect(&postgres.url("postgres")).await.unwrap();
        admin.execute("create database bare").await.unwrap();
        let url = postgres.url("bare");
        let mut sql = PgConnection::connect(&url).await.unwrap();
        sql.execute(TABLES).await.unwrap();
        Self { url, bodies: Arc::new((0..BODIES).map(body).collect()) }
    }

    /// Rows a second over `connections` connections for this long, after a short warm-up.
    pub async fn rate(&self, connections: usize, time: Duration) -> f64 {
        let mut sql = PgConnection::connect(&self.url).await.unwrap();
        sql.execute("truncate bare_event").await.unwrap();
        sql.execute("checkpoint").await.unwrap();
        let begin = Instant::now() + Duration::from_millis(300);
        let mut clients = JoinSet::new();
        for connection in 0..connections {
            let (url, bodies) = (self.url.clone(), Arc::clone(&self.bodies));
            clients.spawn(async move { client(&url, connection, &bodies, begin, time).await });
        }
        clients.join_all().await.into_iter().sum()
    }
}

/// One connection's share: rows a second between `begin` and the end of its last transaction.
async fn client(
    url: &str,
    connection: usize,
    bodies: &[String],
    begin: Instant,
    time: Duration,
) -> f64 {
    let mut sql = PgConnection::connect(url).await.unwrap();
    let (mut from, mut measured) = (None, 0u64);
    for batch in 0.. {
        let now = Instant::now();
        if from.is_none() && now >= begin {
            from = Some(now);
        }
        if from.is_some_and(|from| now - from >= time) {
            break;
        }
        transaction(&mut sql, connection, batch, bodies).await;
        measured += from.map_or(0, |_| BATCH as u64);
    }
    measured as f64 / from.map_or(f64::INFINITY, |from| from.elapsed().as_secs_f64())
}

async fn transaction(sql: &mut PgConnection, connection: usize, batch: usize, bodies: &[String]) {
    let first = batch * BATCH % bodies.len();
    let project = format!("team-{connection}");
    // New rows are neighbours in the index, as the product's keys are.
    let now = runtime::Clock::system().now().micros() as u128;
    let ids: Vec<Uuid> = (0..BATCH)
        .map(|n| Uuid::from_u128(now << 64 | (connection as u128) << 32 | n as u128))
        .collect();
    let problems: Vec<i32> = (0..BATCH).map(|n| ((batch * BATCH + n) % COUNTERS) as i32).collect();
    let mut transaction = sql.begin().await.unwrap();
    sqlx::query(EVENTS)
        .bind(ids)
        .bind(&project)
        .bind(&bodies[first..first + BATCH])
        .execute(&mut *transaction)
        .await
        .unwrap();
    sqlx::query(COUNT)
        .bind(&project)
        .bind(problems)
        .bind(vec![1i64; BATCH])
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

/// JSON of 1.5 KB: an alert with its facts.
fn body(n: usize) -> String {
    let frames: Vec<_> = (0..6)
        .map(|line| {
            serde_json::json!({
                "filename": "checkout/cart.py", "function": "total", "lineno": line + n,
                "context_line": "    total = sum(item.price for item in cart.items)",
                "in_app": true,
            })
        })
        .collect();
    serde_json::json!({
        "event_id": format!("{n:032x}"), "issue_id": format!("{}", 1_000_000_000 + n),
        "title": "KeyError: 'shipping_address'", "culprit": "checkout.cart in total",
        "level": "error", "environment": "production", "platform": "python",
        "release": "checkout@2.14.1", "server_name": "web-3",
        "web_url": format!("https://sentry.example/organizations/shop/issues/{n}/events/{n:032x}/"),
        "message": "Order could not be totalled: the address of the customer is missing",
        "browser": "Chrome 140.0", "url": "https://shop.example/checkout",
        "runtime": "CPython 3.13.1", "transaction": "/checkout/total", "frames": frames,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_body_is_as_long_as_the_limit_says() {
        let length = super::body(7).len();
        assert!((1_400..1_600).contains(&length), "{length}");
    }
}
