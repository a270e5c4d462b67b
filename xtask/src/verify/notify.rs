//! The area `notify`: who is told, when, in which words, once; and that a channel in trouble is
//! nobody else's.

use super::{Area, Verification};
use crate::has_nextest;

/// The area.
pub const AREA: Area = Area { name: "notify", run };

/// Crates whose tests are about one decision, one text, one answer of a receiver or one table.
const UNITS: &[&str] =
    &["domain", "schemas", "store", "lanes", "runtime", "notifier-worker", "console", "bellwether"];

/// What has to be seen by itself: what it shows, the crates whose tests show it, and what their names
/// begin with.
const SHOWN: &[(&str, &[&str], &[&str])] = &[
    (
        "R41, R42: three environments by five levels, and what repeats",
        &["domain"],
        &["r41_", "r42_"],
    ),
    (
        "R43: folded at 59 minutes, told at 61; by the fold and through the loops",
        &["domain", "tests"],
        &["r43_"],
    ),
    (
        "R44: a storm of 10,000 is bounded, and every alert of it counted",
        &["domain", "tests"],
        &["r44_"],
    ),
    (
        "R31, R32, R35-R38, R40: texts and cards equal their goldens",
        &["domain", "notifier-worker", "tests"],
        &["r31_", "r32_", "r35_", "r36_", "r37_", "r38_", "r40_"],
    ),
    ("R39: one token for all notifiers", &["notifier-worker", "tests"], &["r39_"]),
    (
        "no inner address is dialled, whatever a name says the second time",
        &["runtime", "notifier-worker"],
        &[
            "a_guarded_client_dials_no_inner_address",
            "a_name_that_changes_its_address_leads_nowhere_else",
            "inner_addresses_",
            "names_of_inner_addresses_",
            "urls_cannot_hide_an_address",
            "redirects_are_not_followed",
        ],
    ),
    (
        "A3: nothing is told twice where a repeat is not recognised, also while the tables are away",
        &["notifier-worker", "tests"],
        &["a3_"],
    ),
    (
        "A6, A7, A8: limits, failures, and one message an incident",
        &["domain", "notifier-worker", "tests"],
        &["a6_", "a7_", "a8_"],
    ),
    ("F7: however many targets are slow or silent", &["lanes", "tests"], &["f7_"]),
];

/// Modules of the integration binary: with both servers, and receivers that keep their providers'
/// rules. Each receiver fails the test at whose end it has refused anything that no test meant to be
/// refused, so these hold only where everything that was sent was accepted.
const MODULES: &[(&str, &str)] = &[
    ("every channel against a receiver that is as strict as its provider", "channels"),
    ("sends, from planned to told", "deliver"),
    ("routes, policies, silences and storms, through the loops", "telling"),
    ("buttons, commands and reactions, and what is answered", "chat"),
    ("a test arrives within ten seconds, and its verdict is shown", "send_test"),
    ("jobs: leases, order, budgets, silent targets, crashes", "job_loop"),
    ("three notifiers killed at random; loops that must fail", "crash"),
    ("F7: a channel that hangs delays no other", "hung"),
];

fn run(v: &mut Verification) -> anyhow::Result<()> {
    let mut build = v.cargo(&["build", "--workspace", "--bins"]);
    v.holds("everything builds", &mut build)?;
    v.units("decisions, texts, matchers, channels, tables: unit tests", UNITS)?;
    shown(v)?;
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

/// One line for each of [`SHOWN`]; one without a test fails.
fn shown(v: &mut Verification) -> anyhow::Result<()> {
    for (what, packages, names) in SHOWN {
        let nextest = has_nextest(&v.root)?;
        let mut tests = v.cargo(if nextest { &["nextest", "run"] } else { &["test"] });
        for name in *packages {
            tests.args(["--package", name]);
        }
        if nextest {
            let any = names.join("|");
            tests.args(["--no-tests", "fail", "-E", &format!("test(/(^|::)({any})/)")]);
        } else {
            tests.arg("--").args(*names);
        }
        v.holds(what, &mut tests)?;
    }
    Ok(())
}
