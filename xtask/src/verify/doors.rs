//! The area `doors`: every provider, every way in, and nothing lost at the edge.

use std::process::{Command, Stdio};

use super::{Area, Verification};

/// The area.
pub const AREA: Area = Area { name: "doors", run };

/// Crates whose tests are about one signature, one body, one answer or one file.
const UNITS: &[&str] = &["domain", "schemas", "eventlog", "ingest"];

/// Modules of the integration binary: with every process and both servers.
const MODULES: &[(&str, &str)] = &[
    ("published payloads, refusals, poison, slow senders and outages, over HTTP", "doors"),
    ("keys and switches, while the log is there and while it is not", "keys"),
    ("what people ask for in chats", "chat"),
    ("a real Alertmanager", "alertmanager"),
];

/// Targets of `fuzz/`, and the seconds each runs; ten minutes together.
const FUZZ: &[(&str, u32)] = &[("normalise", 300), ("authenticate", 200), ("frame", 100)];

fn run(v: &mut Verification) -> anyhow::Result<()> {
    let mut build = v.cargo(&["build", "--workspace", "--bins"]);
    v.holds("everything builds", &mut build)?;
    v.units("signatures, bodies, frames, spool files: unit tests", UNITS)?;
    for (what, module) in MODULES {
        let mut tests = v.tests(module)?;
        v.holds(what, &mut tests)?;
    }
    fuzz(v)?;
    bench(v)
}

/// The fuzz targets, where the toolchain they need is there.
fn fuzz(v: &mut Verification) -> anyhow::Result<()> {
    let there = Command::new("cargo")
        .args(["+nightly", "fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        v.skipped("fuzz targets", "needs cargo-fuzz and a nightly toolchain");
        return Ok(());
    }
    for (target, seconds) in FUZZ {
        let seconds = if v.long { seconds * 6 } else { *seconds };
        let mut fuzz = Command::new("cargo");
        fuzz.current_dir(&v.root)
            .args(["+nightly", "fuzz", "run", target, "--"])
            .arg(format!("-max_total_time={seconds}"));
        v.holds(&format!("fuzz target {target}"), &mut fuzz)?;
    }
    Ok(())
}

/// The release bench of the edge; its own table stands above, its figures are taken over.
fn bench(v: &mut Verification) -> anyhow::Result<()> {
    let mut bench = v.cargo(&["run", "--release", "--package", "tests", "--bin", "bench"]);
    bench.args(["--", "--only", "ingest"]);
    v.holds("the bench runs", &mut bench)?;
    let file = v.root.join("target/bench.json");
    v.figures(&file)
}
