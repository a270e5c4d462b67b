//! How soon a lane has another owner, and the log is applied again: after `kill -9`, and after an
//! owner that keeps its connections and says nothing.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use runtime::Clock;
use schemas::Lane;
use sqlx::PgConnection;

use super::{
    figures::{Figures, Target},
    filled::{Alert, Filled, append, projects_by_lane, record},
    process::Part,
    step,
    traffic::{SentryBodies, event_id},
};

/// What is killed and what takes over.
const WORKER: Part = Part::Roles("triage-worker");
/// How often each is measured.
const ROUNDS: u64 = 3;
/// Seconds that a lane may stand still.
const KILLED: f64 = 2.0;
const SILENT: f64 = 15.0;
/// Two heartbeats, after which each worker knows the other and the lanes are shared.
const SHARED: Duration = Duration::from_secs(7);
/// How often the tables are asked.
const LOOK: Duration = Duration::from_millis(2);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures and adds the figures: the slowest of all rounds.
pub async fn run(figures: &mut Figures, long: bool, log: Option<&Path>) {
    let site = Site::start(log).await;
    let rounds = if long { 3 * ROUNDS } else { ROUNDS };
    let mut number = 0;
    for (name, signal, most) in
        [("killed", Signal::SIGKILL, KILLED), ("silent", Signal::SIGSTOP, SILENT)]
    {
        let rounds = if signal == Signal::SIGSTOP { rounds.div_ceil(3) } else { rounds };
        let mut slowest = 0.0f64;
        for round in 1..=rounds {
            step(&format!("takeover: an owner is {name}, round {round} of {rounds}"));
            number += 1;
            let took = site.round(signal, number).await;
            eprintln!("bench: {took:.2} s");
            slowest = slowest.max(took);
        }
        figures.held(format!("takeover.{name}"), slowest, "s", Target::AtMost(most));
    }
}

/// Two lanes for two workers.
struct Site {
    filled: Filled,
}

impl Site {
    async fn start(log: Option<&Path>) -> Self {
        Self { filled: Filled::start(2, log).await }
    }

    /// Two workers share the lanes; one is sent `signal`. Seconds until what was appended to every
    /// lane right after it is applied.
    async fn round(&self, signal: Signal, number: u64) -> f64 {
        let world = &self.filled.world;
        let mut sql = world.sql().await;
        let owner = self.filled.program(WORKER);
        self.applied(&mut sql, number * 3).await;
        let _other = self.filled.program(WORKER);
        self.shared(&mut sql).await;
        self.applied(&mut sql, number * 3 + 1).await;
        owner.signal(signal);
        let began = Instant::now();
        self.applied(&mut sql, number * 3 + 2).await;
        let took = began.elapsed().as_secs_f64();
        if signal == Signal::SIGSTOP {
            // It must not come back and take part in the next round.
            owner.signal(Signal::SIGKILL);
        }
        took
    }

    /// Appends an alert to each lane and waits until observe has applied them all.
    async fn applied(&self, sql: &mut PgConnection, number: u64) {
        let lanes = self.filled.world.lanes;
        let (appender, clock) = (self.filled.appender().await, Clock::system());
        let bodies = SentryBodies::default();
        let began = Instant::now();
        for (lane, projects) in Lane::all(lanes).zip(projects_by_lane(lanes, 1)) {
            let body = bodies.body(0, &event_id(u32::from(lane.0), number));
            let alert = Alert { project: projects[0].clone(), body };
            let sequence = append(&appender, lanes, record(alert, &clock)).await;
            loop {
                let at: Option<i64> = sqlx::query_scalar(
                    "select seq from cursor where stage = 'observe' and lane = $1",
                )
                .bind(i32::from(lane.0))
                .fetch_optional(&mut *sql)
                .await
                .unwrap();
                if at.is_some_and(|at| at as u64 >= sequence) {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "lane {lane} stands still");
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Waits until two workers live and had the time to share the lanes.
    async fn shared(&self, sql: &mut PgConnection) {
        let began = Instant::now();
        loop {
            let live: i64 = sqlx::query_scalar(
                "select count(*) from worker where stage like 'observe:%' \
                 and beat_at > now() - interval '5 s'",
            )
            .fetch_one(&mut *sql)
            .await
            .unwrap();
            if live >= 2 && began.elapsed() > SHARED {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{live} workers live");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
