//! The area `observe`: one problem, one incident, however the alerts arrive; and what that costs.

use super::{Area, Verification};
use crate::has_nextest;

/// The area.
pub const AREA: Area = Area { name: "observe", run };

/// Crates whose tests are about one decision, one table or one loop.
const UNITS: &[&str] = &["domain", "schemas", "store", "lanes", "triage-worker"];

/// Tests with every process and both servers: what they show, and what their names begin with.
const WHOLE: &[(&str, &[&str])] = &[
    (
        "random logs and random kills equal the sequential fold; broken loops are caught",
        &["property_"],
    ),
    (
        "F1, F2, F3, F8, F13: faults of senders, log, tables and processes",
        &["f1_", "f2_", "f3_", "f8_", "f13_"],
    ),
];

/// Modules of the same binary.
const MODULES: &[(&str, &str)] = &[
    ("rows of the requirements, through the loops", "observe"),
    ("rules change under load", "rules"),
    ("crashes at named points, and a loop that must fail", "crash"),
    ("a storm of crashes; a paused owner", "storm"),
];

fn run(v: &mut Verification) -> anyhow::Result<()> {
    let mut build = v.cargo(&["build", "--workspace", "--bins"]);
    v.holds("everything builds", &mut build)?;
    v.units("fold, redaction, providers, rules, tables, loops: unit tests", UNITS)?;
    whole(v)?;
    bench(v)
}

fn whole(v: &mut Verification) -> anyhow::Result<()> {
    for (what, names) in WHOLE {
        let mut tests = if has_nextest(&v.root)? {
            let any = names.join("|");
            let mut tests = v.cargo(&["nextest", "run", "--package", "tests", "--test", "it"]);
            tests.args(["--no-capture", "--no-tests", "fail", "-E"]);
            tests.arg(format!("test(/(^|::)({any})/)"));
            tests
        } else {
            let mut tests = v.cargo(&["test", "--package", "tests", "--test", "it", "--"]);
            tests.args(*names).args(["--nocapture", "--test-threads=1"]);
            tests
        };
        v.holds(what, lengthened(&mut tests, v.long))?;
    }
    for (what, module) in MODULES {
        let mut tests = v.tests(module)?;
        v.holds(what, lengthened(&mut tests, v.long))?;
    }
    Ok(())
}

/// How long and how much where that is free to choose.
fn lengthened(command: &mut std::process::Command, long: bool) -> &mut std::process::Command {
    let (storm, records, backlog, outage) =
        if long { ("300", "200000", "1000000", "30") } else { ("40", "20000", "10000", "5") };
    command
        .env("BELLWETHER_STORM_SECONDS", storm)
        .env("BELLWETHER_PROPERTY_RECORDS", records)
        .env("BELLWETHER_BACKLOG_RECORDS", backlog)
        .env("BELLWETHER_OUTAGE_SECONDS", outage)
}

/// The release benches; their own table stands above, their figures are taken over.
fn bench(v: &mut Verification) -> anyhow::Result<()> {
    let mut bench = v.cargo(&["run", "--release", "--package", "tests", "--bin", "bench", "--"]);
    bench.args(["--only", "observe,storm,takeover"]);
    if v.long {
        bench.arg("--long");
    }
    v.holds("the benches run", &mut bench)?;
    let file = v.root.join("target/bench.json");
    v.figures(&file)
}
