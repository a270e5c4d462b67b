//! The area `doors`: every provider, every way in, and nothing lost at the edge.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit};

use super::{Area, Verification};

/// The area.
pub const AREA: Area = Area { name: "doors", run };

/// Crates whose tests are about one signature, one body, one answer or one file.
const UNITS: &[&str] = &["domain", "schemas", "eventlog", "runtime", "ingest"];

/// Modules of the integration binary: with every process and both servers.
const MODULES: &[(&str, &str)] = &[
    (
        "published payloads, refusals, poison, slow senders, outages and own errors, over HTTP",
        "doors",
    ),
    ("keys and switches, while the log is there and while it is not", "keys"),
    ("what people ask for in chats", "chat"),
    ("a real Alertmanager", "alertmanager"),
];

/// Targets of `fuzz/`, and the seconds each runs; ten minutes together.
const FUZZ: &[(&str, u32)] = &[("normalise", 300), ("authenticate", 200), ("frame", 100)];

fn run(v: &mut Verification) -> anyhow::Result<()> {
    let mut build = v.cargo(&["build", "--workspace", "--bins"]);
    v.holds("everything builds", &mut build)?;
    v.units("signatures, tokens, bodies, frames, spool files, reports: unit tests", UNITS)?;
    for (what, module) in MODULES {
        let mut tests = v.tests(module)?;
        v.holds(what, &mut tests)?;
    }
    slow(v)?;
    fuzz(v)?;
    bench(v)
}

/// F12 with as many slow clients as it asks for, where a process may open as many files.
fn slow(v: &mut Verification) -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let what = "F12: 10,000 slow clients, others' p99 under 50 ms";
    if most < 12_000 {
        v.skipped(what, &format!("needs 12,000 open files a process, {most} are allowed"));
        return Ok(());
    }
    let mut tests = v.tests("doors::slow")?;
    v.holds(what, tests.env("BELLWETHER_SLOW_CLIENTS", "10000"))
}

/// The fuzz targets under libFuzzer, one after the other. What they find new stays in `target/`; seeds
/// that are worth it are put beside the others by hand.
fn fuzz(v: &mut Verification) -> anyhow::Result<()> {
    let tools = v.root.join(".tools");
    if let Err(why) = fuzzer(&tools) {
        v.skipped("fuzz targets", &why);
        return Ok(());
    }
    for (target, seconds) in FUZZ {
        let seconds = if v.long { seconds * 6 } else { *seconds };
        let found = v.root.join("target/fuzz").join(target);
        std::fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        let mut fuzz = Command::new("nice");
        fuzz.current_dir(v.root.join("fuzz"))
            // The toolchain that runs this is another.
            .env("RUSTUP_TOOLCHAIN", "nightly")
            .env_remove("CARGO")
            .args(["-n", "10"])
            .arg(tools.join("bin/cargo-fuzz"))
            .args(["fuzz", "run", target])
            .arg(&found)
            .arg(v.root.join("fuzz/corpus").join(target))
            .args(["--", "-max_len=16384", "-timeout=10", "-rss_limit_mb=2048"])
            .arg(format!("-max_total_time={seconds}"));
        v.holds(&format!("fuzz target {target}, {seconds} s"), &mut fuzz)?;
    }
    Ok(())
}

/// Sees to it that cargo-fuzz is there, or says why it cannot be.
fn fuzzer(tools: &Path) -> Result<(), String> {
    let works = |command: &mut Command| {
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    if !works(Command::new("cargo").args(["+nightly", "--version"])) {
        return Err("needs a nightly toolchain: rustup toolchain install nightly".to_owned());
    }
    if works(Command::new(tools.join("bin/cargo-fuzz")).args(["fuzz", "--version"])) {
        return Ok(());
    }
    println!("\nverify: installing cargo-fuzz into {}", tools.display());
    let mut install = Command::new("cargo");
    install.args(["install", "cargo-fuzz", "--locked", "--root"]).arg(tools);
    match install.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) | Err(_) => Err("cargo-fuzz cannot be installed from the registry".to_owned()),
    }
}

/// The release bench of the edge; its own table stands above, its figures are taken over.
fn bench(v: &mut Verification) -> anyhow::Result<()> {
    let mut bench = v.cargo(&["run", "--release", "--package", "tests", "--bin", "bench"]);
    bench.args(["--", "--only", "ingest"]);
    v.holds("the bench runs", &mut bench)?;
    let file = v.root.join("target/bench.json");
    v.figures(&file)
}
