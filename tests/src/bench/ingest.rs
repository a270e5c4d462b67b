//! Accepting: the same handler with nothing behind it, with the log at its default sync, and with
//! the log synced before each ack. The three take turns within one run.

use std::{num::NonZeroU16, path::Path, sync::Arc, time::Duration};

use servers::{NatsOptions, NatsServer};

use super::{
    Scale,
    figures::{Figures, Target},
    process::{Part, Program},
    step, traffic,
};
use crate::{
    load::{self, Seen, Valve},
    programs, temp_dir,
};

/// Each kind is measured this often, in turn.
const ROUNDS: usize = 2;
const LANES: NonZeroU16 = NonZeroU16::new(4).expect("not zero");

/// What stands behind the handler.
const KINDS: [&str; 3] = ["edge_only", "default_sync", "sync_always"];

/// Measures and adds the figures.
pub async fn run(figures: &mut Figures, scale: Scale, log: Option<&Path>) {
    let dir = temp_dir();
    let nats = |name: &str, sync_always: bool| {
        let options =
            NatsOptions { dir: dir.path().join(name), port: None, sync_always, credentials: None };
        NatsServer::start(&programs(), options).unwrap()
    };
    let (fast, safe) = (nats("default", false), nats("always", true));
    let config = |name: &str, url: &str| {
        let file = dir.path().join(format!("{name}.toml"));
        let text = format!(
            "environment = \"test\"\nnats = {{ url = \"{url}\", max_bytes = -1 }}\n\
             ingest.listen = \"127.0.0.1:0\"\n{}",
            traffic::sources(LANES)
        );
        std::fs::write(&file, text).unwrap();
        file
    };
    let programs = [
        Program::start(Part::Edge, &config("edge", "nats://127.0.0.1:1"), log),
        Program::start(Part::Roles("ingest"), &config("default", &fast.url()), log),
        Program::start(Part::Roles("ingest"), &config("always", &safe.url()), log),
    ];

    let slice = scale.time(1.5);
    let requests = traffic::sentry(1, (slice.as_secs_f64() * 90_000.0) as usize);
    for connections in [64, 256] {
        step(&format!("ingest, {connections} connections"));
        let mut seen: [Vec<Seen>; 3] = Default::default();
        for program in &programs {
            turn(program, connections, Duration::from_millis(400), &requests).await;
        }
        for _ in 0..ROUNDS {
            for (program, seen) in programs.iter().zip(&mut seen) {
                seen.push(turn(program, connections, slice, &requests).await);
            }
        }
        let [edge, default, always] = seen.map(sum);
        for (kind, sum) in KINDS.iter().zip([&edge, &default, &always]) {
            let name = |what: &str| format!("ingest.{connections}.{kind}.{what}");
            figures.add(name("rate"), sum.rate(), "1/s");
            figures.add(name("p50"), sum.millis(0.5), "ms");
            let bound = match (*kind, connections) {
                ("sync_always", 256) => Target::AtMost(15.0),
                _ => Target::None,
            };
            figures.held(name("p99"), sum.millis(0.99), "ms", bound);
            figures.held(name("refused"), sum.refused as f64, "", Target::AtMost(0.0));
        }
        let ratio = |name: &str| format!("ingest.{connections}.{name}");
        let of_edge = default.rate() / edge.rate();
        let of_default = always.rate() / default.rate();
        figures.held(ratio("default_of_edge"), of_edge, "", Target::AtLeast(0.40));
        figures.held(ratio("always_of_default"), of_default, "", Target::AtLeast(0.50));
    }
}

async fn turn(
    program: &Program,
    connections: usize,
    time: Duration,
    requests: &Arc<Vec<Vec<u8>>>,
) -> Seen {
    let valve = Valve::default();
    load::closed_loop(program.address, connections, time, Arc::clone(requests), valve).await
}

/// Several turns as one.
fn sum(turns: Vec<Seen>) -> Seen {
    let mut turns = turns.into_iter();
    let mut all = turns.next().expect("at least one round");
    for turn in turns {
        all.accepted += turn.accepted;
        all.refused += turn.refused;
        all.elapsed += turn.elapsed;
        all.latency.add(turn.latency).expect("same bounds");
    }
    all
}
