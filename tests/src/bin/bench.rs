//! Runs the benches and prints each figure beside its target; also writes `target/bench.json`.

#![expect(clippy::unwrap_used, reason = "a bench that cannot start has to fail")]

use std::path::{Path, PathBuf};

use clap::Parser;
use tests::bench::{
    Scale, claim, figures::Figures, hung, ingest, observe, pipeline, process, storm, takeover,
    triage, visible,
};

// The product's allocator, because the product's roles run in children of this program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures the whole on this machine: loopback only, servers of its own on free ports.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    /// About how long the run takes; every time measured is scaled with it.
    #[arg(long, default_value_t = STANDARD)]
    seconds: f64,
    /// Only these subjects: ingest, pipeline, visible, observe, storm, takeover, hung, claim, triage.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Also what takes many minutes: the storm goes on to a million problems.
    #[arg(long)]
    long: bool,
    /// Print what each SQL statement of the pipeline cost (which costs something itself).
    #[arg(long)]
    statements: bool,
    /// Keep the roles' log lines in this file instead of throwing them away.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Seconds of a standard run.
const STANDARD: f64 = 80.0;

fn main() {
    // As the product does, whose roles run in children of this program.
    bellwether::roles::use_small_pages();
    run();
}

#[tokio::main]
async fn run() {
    let words: Vec<String> = std::env::args().collect();
    if let [_, verb, config, part] = words.as_slice()
        && verb == process::CHILD
    {
        return process::child(Path::new(config), part).await;
    }
    let args = Args::parse();
    let scale = Scale(args.seconds / STANDARD);
    let wanted = |subject: &str| args.only.is_empty() || args.only.iter().any(|o| o == subject);
    let log = args.log.as_deref();
    let mut figures = Figures::default();
    let dir = tests::temp_dir();
    let (synced, load) = process::machine(dir.path());
    figures.add("machine.load_before", load, "");
    figures.add("machine.synced_write_p50", synced[synced.len() / 2] * 1e3, "ms");
    figures.add("machine.synced_write_p99", synced[synced.len() * 99 / 100] * 1e3, "ms");
    drop(dir);
    if wanted("ingest") {
        ingest::run(&mut figures, scale, log).await;
    }
    if wanted("pipeline") {
        pipeline::run(&mut figures, scale, args.statements, log).await;
    }
    if wanted("visible") {
        visible::run(&mut figures, scale, args.statements, log).await;
    }
    if wanted("observe") {
        observe::run(&mut figures, scale, log).await;
    }
    if wanted("storm") {
        storm::run(&mut figures, scale, args.long, log).await;
    }
    if wanted("takeover") {
        takeover::run(&mut figures, args.long, log).await;
    }
    if wanted("hung") {
        hung::run(&mut figures, log).await;
    }
    if wanted("claim") {
        claim::run(&mut figures).await;
    }
    if wanted("triage") {
        triage::run(&mut figures, scale, log).await;
    }
    print!("{}", figures.table());
    let json = args
        .json
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench.json"));
    figures.write(&json).unwrap();
    for figure in figures.short() {
        eprintln!("bench: {} falls short of its target", figure.name);
    }
}
