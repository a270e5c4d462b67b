//! The area `triage`: what an analyst is told, how its answer is judged, what asking costs, and what
//! operators think of it; and that a model in trouble is in nobody's way.

use super::{Area, Verification};

/// The area.
pub const AREA: Area = Area { name: "triage", run };

/// Crates whose tests are about one prompt, one answer, one analyst, one table or one page.
const UNITS: &[&str] =
    &["domain", "schemas", "store", "lanes", "triage-worker", "projector", "console", "bellwether"];

/// What has to be seen by itself: what it shows, the crates whose tests show it, and what their names
/// begin with. One without a test fails.
const SHOWN: &[(&str, &[&str], &[&str])] = &[
    (
        "R21, R29: what an analyst is told, how its answer is judged, the playbook, past incidents",
        &["domain", "triage-worker", "tests"],
        &["r21_", "r29_"],
    ),
    ("R30: nobody answers, and everything else goes on", &["triage-worker", "tests"], &["r30_"]),
    (
        "A13: no call in vain, within a budget, honest about what it does not know",
        &["domain", "triage-worker", "tests"],
        &["a13_"],
    ),
    (
        "A15: what operators think counts once, and the report equals a recount of the log",
        &["domain", "tests"],
        &["a15_", "a13_a15_", "r29_a15_"],
    ),
    ("I7: an answer is input; a replay asks nobody", &["domain", "tests"], &["i7_"]),
];

fn run(v: &mut Verification) -> anyhow::Result<()> {
    let mut build = v.cargo(&["build", "--workspace", "--bins"]);
    v.holds("everything builds", &mut build)?;
    v.units("prompts, checks, analysts, rows, pages: unit tests", UNITS)?;
    for (what, packages, names) in SHOWN {
        v.named(what, packages, names)?;
    }
    let mut tests = v.tests("triage")?;
    let what = if v.long {
        tests.env("BELLWETHER_LONG", "1");
        "300 incidents and a model that takes 20 s, killed workers, budgets, injections, feedback"
    } else {
        "300 incidents and a model that takes 1 s, killed workers, budgets, injections, feedback"
    };
    v.holds(what, &mut tests)?;
    let mut bench = v.cargo(&["run", "--release", "--package", "tests", "--bin", "bench", "--"]);
    v.holds("the bench runs", bench.args(["--only", "triage"]))?;
    let file = v.root.join("target/bench.json");
    v.figures(&file)
}
