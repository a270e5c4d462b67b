//! Accepting with every check on: the same handler with nothing behind it, with the log at its default
//! sync, and with the log synced before each ack, beside a publisher with nothing around it and beside
//! Alertmanager. All take turns within one run.

use std::{num::NonZeroU16, path::Path, sync::Arc, time::Duration};

use servers::{NatsOptions, NatsServer};

use super::{
    Scale,
    figures::{Figures, Target},
    peers::{Alertmanager, Publisher},
    process::{self, Part, Program},
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
/// Bodies that the bare publisher packs into one message, as a frame would.
const PACKED: usize = 32;
/// Before anything is measured.
const WARM: Duration = Duration::from_millis(400);

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
        std::fs::write(&file, configuration(url, &dir.path().join(format!("{name}-spool"))))
            .unwrap();
        file
    };
    let programs = [
        Program::start(Part::Edge, &config("edge", "nats://127.0.0.1:1"), log),
        Program::start(Part::Roles("ingest"), &config("default", &fast.url()), log),
        Program::start(Part::Roles("ingest"), &config("always", &safe.url()), log),
    ];
    figures.add("ingest.memory_idle", megabytes(process::resident(programs[2].pid())), "MB");

    let slice = scale.time(1.5);
    let requests = traffic::sentry(1, (slice.as_secs_f64() * 90_000.0) as usize);
    let bodies: Vec<Vec<u8>> = requests.iter().take(2_000).map(|r| body(r).to_vec()).collect();
    let bare = [
        Publisher::new(&fast.url(), &bodies, 1).await,
        Publisher::new(&fast.url(), &bodies, PACKED).await,
    ];
    for connections in [64, 256] {
        step(&format!("ingest, {connections} connections"));
        let mut seen: [Vec<Seen>; 3] = Default::default();
        let mut published = [0.0; 2];
        for program in &programs {
            turn(program, connections, WARM, &requests).await;
        }
        for _ in 0..ROUNDS {
            for (program, seen) in programs.iter().zip(&mut seen) {
                seen.push(turn(program, connections, slice, &requests).await);
            }
            for (bare, rate) in bare.iter().zip(&mut published) {
                *rate += bare.rate(slice / 2).await / ROUNDS as f64;
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
        let name = |name: &str| format!("ingest.{connections}.{name}");
        let [pipelined, packed] = published;
        figures.add(name("bare_pipelined.rate"), pipelined, "1/s");
        figures.add(name("bare_packed.rate"), packed * PACKED as f64, "1/s");
        let of_edge = default.rate() / edge.rate();
        figures.held(name("default_of_edge"), of_edge, "", Target::AtLeast(0.50));
        let of_bare = default.rate() / pipelined;
        figures.held(name("default_of_bare_pipelined"), of_bare, "", Target::AtLeast(0.30));
        figures.add(name("default_of_bare_packed"), default.rate() / (packed * PACKED as f64), "");
        let of_default = always.rate() / default.rate();
        figures.held(name("always_of_default"), of_default, "", Target::AtLeast(0.60));
    }
    for (kind, program) in KINDS.iter().zip(&programs).skip(1) {
        // Behind the last full load of bodies of two kilobytes on 256 connections.
        let name = format!("ingest.{kind}.memory");
        let resident = megabytes(process::resident(program.pid()));
        figures.held(name, resident, "MB", Target::AtMost(40.0));
    }
    let [_, default, always] = &programs;
    beside_alertmanager(figures, scale, [default, always], dir.path()).await;
    for (kind, program) in KINDS.iter().zip(&programs).skip(1) {
        let name = format!("ingest.{kind}.memory_peak");
        figures.add(name, megabytes(process::peak(program.pid())), "MB");
    }
}

/// Everything a source can ask of a request, with bounds that this load stays below.
fn configuration(url: &str, spool: &Path) -> String {
    let limits = "rate = { per_second = 1000000 }\nmax_concurrent = 100000\n";
    let sources = traffic::sources(LANES).replace("project = ", &format!("{limits}project = "));
    let projects: String = traffic::projects(LANES)
        .iter()
        .map(|project| format!("[ingest.projects.{project}]\n{limits}"))
        .collect();
    format!(
        "environment = \"test\"\nnats = {{ url = \"{url}\", max_bytes = -1 }}\n[ingest]\n\
         listen = \"127.0.0.1:0\"\nallowed_ips = [\"10.0.0.0/8\", \"127.0.0.0/8\"]\n\
         trusted_proxies = [\"192.0.2.1\"]\nspool = {{ dir = \"{}\" }}\n{projects}{sources}",
        spool.display()
    )
}

/// The same alerts to this product's Alertmanager webhook and to Alertmanager's own API, one and ten
/// to a request.
async fn beside_alertmanager(
    figures: &mut Figures,
    scale: Scale,
    [default, always]: [&Program; 2],
    dir: &Path,
) {
    const CONNECTIONS: usize = 256;
    let Some(alertmanager) = Alertmanager::start(dir).await else {
        return step(
            "ingest beside Alertmanager: skipped, prometheus-alertmanager is not installed",
        );
    };
    let slice = scale.time(1.5);
    for (group, most) in [(1, 90_000.0), (traffic::GROUP, 25_000.0)] {
        step(&format!("ingest beside Alertmanager, {group} alerts a request"));
        let count = (slice.as_secs_f64() * most) as usize;
        let ours = traffic::alertmanager_groups(2, count, group);
        let theirs = traffic::told_to_alertmanager(2, count, group);
        let sides = [
            ("default_sync", default.address, &ours),
            ("sync_always", always.address, &ours),
            ("alertmanager", alertmanager.address, &theirs),
        ];
        let mut seen: [Vec<Seen>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for ((_, address, requests), seen) in sides.iter().zip(&mut seen) {
                let (requests, valve) = (Arc::clone(requests), Valve::default());
                seen.push(load::closed_loop(*address, CONNECTIONS, slice, requests, valve).await);
            }
        }
        let seen = seen.map(sum);
        let name = |what: &str| format!("ingest.group_{group}.{what}");
        for ((kind, ..), sum) in sides.iter().zip(&seen) {
            figures.add(name(&format!("{kind}.alerts")), sum.rate() * group as f64, "1/s");
            figures.add(name(&format!("{kind}.p99")), sum.millis(0.99), "ms");
            figures.held(
                name(&format!("{kind}.refused")),
                sum.refused as f64,
                "",
                Target::AtMost(0.0),
            );
        }
        let [default, always, alertmanager] = seen.map(|sum| sum.rate());
        // Whichever way the log syncs, what was accepted outlives a killed process, where they keep
        // it in memory; synced before each ack it outlives the machine's power too.
        let of_theirs = default / alertmanager;
        figures.held(name("default_of_alertmanager"), of_theirs, "", Target::AtLeast(1.5));
        figures.add(name("always_of_alertmanager"), always / alertmanager, "");
    }
    let memory = megabytes(process::peak(alertmanager.pid()));
    figures.add("ingest.alertmanager.memory_peak", memory, "MB");
}

/// What a request says behind its head.
fn body(request: &[u8]) -> &[u8] {
    let end = request.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole request");
    &request[end + 4..]
}

fn megabytes(mebibytes: f64) -> f64 {
    mebibytes * 1.048_576
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
