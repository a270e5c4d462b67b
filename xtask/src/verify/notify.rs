//! The area `notify`: who is told, when, in which words, once; and that a channel in trouble is
//! nobody else's.

use super::{Area, Verification};

/// The area.
pub const AREA: Area = Area { name: "notify", run };

/// Crates whose tests are about one decision, one text, one answer of a receiver or one table.
const UNITS: &[&str] = &["domain", "schemas", "store", "notifier-worker", "console", "bellwether"];

/// Modules of the integration binary: with both servers, and receivers that keep their providers'
/// rules.
const MODULES: &[(&str, &str)] = &[
    ("every channel against a receiver that is as strict as its provider", "channels"),
    ("sends, from planned to told", "deliver"),
    ("routes, policies, silences and storms, through the loops", "telling"),
    ("buttons, commands and reactions, and what is answered", "chat"),
    ("a test arrives within ten seconds, and its verdict is shown", "send_test"),
    ("jobs: leases, order, budgets, crashes", "job_loop"),
    ("three notifiers killed at random; loops that must fail", "crash"),
    ("F7: a channel that hangs delays no other", "hung"),
];

fn run(v: &mut Verification) -> anyhow::Result<()> {
    let mut build = v.cargo(&["build", "--workspace", "--bins"]);
    v.holds("everything builds", &mut build)?;
    v.units("decisions, texts, matchers, channels, tables: unit tests", UNITS)?;
    // Of each of the targets that are killed over.
    let sends = if v.long { "1500" } else { "300" };
    for (what, module) in MODULES {
        let mut tests = v.tests(module)?;
        v.holds(what, tests.env("BELLWETHER_SENDS", sends))?;
    }
    let mut bench = v.cargo(&["run", "--release", "--package", "tests", "--bin", "bench", "--"]);
    v.holds("the benches run", bench.args(["--only", "hung,claim"]))?;
    let file = v.root.join("target/bench.json");
    v.figures(&file)
}
