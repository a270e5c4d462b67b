//! Messages beside a channel that never answers: their p99 with it, over their p99 without.

use std::path::Path;

use super::{
    figures::{Figures, Target},
    process::{Part, Program},
    step,
};
use crate::{
    World,
    hung::{Silent, measure},
    receiver::Receiver,
};

/// Turns of each kind, and messages in each.
const ROUNDS: u32 = 6;
const SENDS: u32 = 500;
/// How much longer the slowest of a hundred may take.
const RATIO: f64 = 1.2;
/// How many seconds after it answers again the channel may be left alone: a pause, and an attempt that
/// was begun before.
const NOTICED: f64 = 12.0;

/// Measures and adds the figures.
pub async fn run(figures: &mut Figures, log: Option<&Path>) {
    step(&format!("hung: {ROUNDS} turns of {SENDS} messages with and without"));
    let world = World::with_lanes(1).await;
    let (receiver, silent) = (Receiver::start().await, Silent::start().await);
    let config = world.dir.path().join("bellwether.toml");
    let text = format!(
        "environment = \"test\"\nnats = {{ url = \"{}\", lanes = 1 }}\n\
         postgres = {{ url = \"{}\" }}\n\
         [channels.hook]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = \"{}\"\n\
         allow_private = true\n{}",
        world.nats.url(),
        world.database_url,
        receiver.url,
        receiver.secret,
        silent.channel(&receiver.secret),
    );
    std::fs::write(&config, text).unwrap();
    let _notifier = Program::start(Part::Roles("notifier-worker"), &config, log);
    let latencies = measure(&world, &silent, ROUNDS, SENDS).await;
    let ((p50, p50_beside), (p99, p99_beside)) =
        (latencies.percentile(0.5), latencies.percentile(0.99));
    figures.add("hung.alone_p50", p50 * 1e3, "ms");
    figures.add("hung.beside_p50", p50_beside * 1e3, "ms");
    figures.add("hung.alone_p99", p99 * 1e3, "ms");
    figures.add("hung.beside_p99", p99_beside * 1e3, "ms");
    figures.held("hung.p99_ratio", p99_beside / p99, "", Target::AtMost(RATIO));
    let longest = |all: &[f64]| all.iter().copied().fold(0.0, f64::max);
    figures.held("hung.noticed", longest(&latencies.noticed), "s", Target::AtMost(NOTICED));
    figures.add("hung.recovered", longest(&latencies.recovered), "s");
    figures.add("hung.unanswered", latencies.unanswered as f64 / f64::from(ROUNDS), "");
    figures.add("hung.at_once", latencies.most as f64, "");
}
