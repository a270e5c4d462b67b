//! Triage calls with a model that takes a second: how the rate grows with the processes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use schemas::Lane;

use super::{
    Scale,
    figures::{Figures, Target},
    process::{Part, Program},
    step,
};
use crate::{
    World, asks,
    model::{Does, ModelServer},
};

/// Processes of each turn, the first the measure of the others.
const PROCESSES: [u32; 4] = [1, 2, 4, 8];
/// Places of each process.
const AT_ONCE: u32 = 8;
const LATENCY: Duration = Duration::from_secs(1);
/// What a process adds, as a share of what one alone does.
const RATIO: f64 = 0.9;

/// Measures and adds the figures.
pub async fn run(figures: &mut Figures, scale: Scale, log: Option<&Path>) {
    // Whole seconds of all places, because jobs of a turn begin and end together.
    let rounds = scale.time(10.0).as_secs().max(3) as u32;
    step(&format!("triage: {PROCESSES:?} processes, {rounds} s each"));
    let world = World::with_lanes(1).await;
    let model = ModelServer::start(Does::Slow(LATENCY)).await;
    let config = world.dir.path().join("bellwether.toml");
    let text = format!(
        "environment = \"test\"\nnats = {{ url = \"{}\", lanes = 1 }}\n\
         postgres = {{ url = \"{}\" }}\n\
         [triage]\nplaybook = false\nconcurrency = {AT_ONCE}\n{}",
        world.nats.url(),
        world.database_url,
        model.analyst("openclaw", ""),
    );
    std::fs::write(&config, text).unwrap();
    let (mut asked, mut alone) = (0, 0.0);
    for processes in PROCESSES {
        let _workers: Vec<Program> = (0..processes)
            .map(|_| Program::start(Part::Roles("triage-worker"), &config, log))
            .collect();
        let count = processes * AT_ONCE * rounds;
        let jobs: Vec<_> = (asked..asked + count).map(asks::triage).collect();
        asked += count;
        let began = Instant::now();
        asks::ask(&world.store, Lane(0), &jobs).await;
        done(&world, asked).await;
        let rate = f64::from(count) / began.elapsed().as_secs_f64();
        figures.add(format!("triage.{processes}_processes"), rate, "1/s");
        if processes == 1 {
            alone = rate;
        } else {
            let share = rate / (alone * f64::from(processes));
            figures.held(
                format!("triage.{processes}_of_linear"),
                share,
                "",
                Target::AtLeast(RATIO),
            );
        }
    }
    figures.held(
        "triage.calls_per_job",
        model.calls().len() as f64 / f64::from(asked),
        "",
        Target::AtMost(1.0),
    );
}

/// Waits until so many jobs are over.
async fn done(world: &World, jobs: u32) {
    let mut sql = world.sql().await;
    loop {
        let done: i64 = sqlx::query_scalar("select count(*) from job where state = 'done'")
            .fetch_one(&mut sql)
            .await
            .unwrap();
        if done == i64::from(jobs) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
