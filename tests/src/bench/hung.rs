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

/// Turns, and messages in each.
const ROUNDS: u32 = 5;
const SENDS: u32 = 600;
/// How much longer the slowest of a hundred may take.
const RATIO: f64 = 1.2;

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
}
