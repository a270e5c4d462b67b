//! `cargo xtask verify <area>`: is it still true? Runs an area's acceptance, prints each figure beside
//! its target, and fails when one falls short.
//!
//! To add an area: one file here and one line in [`AREAS`].

mod doors;
mod main_line;
mod notify;
mod observe;
mod triage;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, bail};
use servers::Programs;

use crate::{cargo, has_nextest, integration_tests, setup};

/// One area.
pub struct Area {
    pub name: &'static str,
    run: fn(&mut Verification) -> anyhow::Result<()>,
}

/// Every area.
const AREAS: &[Area] = &[main_line::AREA, observe::AREA, doors::AREA, notify::AREA, triage::AREA];

/// Runs the area of that name; `long` adds what does not belong in CI.
pub fn run(root: &Path, name: &str, long: bool) -> anyhow::Result<()> {
    let Some(area) = AREAS.iter().find(|a| a.name == name) else {
        let known: Vec<_> = AREAS.iter().map(|a| a.name).collect();
        bail!("no area {name:?}; there is {}", known.join(", "));
    };
    let programs = setup::ensure(root)?;
    let began = Instant::now();
    let mut verification =
        Verification { root: root.to_owned(), programs, long, results: Vec::new() };
    (area.run)(&mut verification)?;
    verification.report(area.name, began)
}

/// What was seen of one thing.
struct Seen {
    what: String,
    value: String,
    target: String,
    /// None: skipped, with the reason as value.
    met: Option<bool>,
}

/// A running verification: what it has to work with, and what it has seen.
pub struct Verification {
    pub root: PathBuf,
    pub programs: Programs,
    /// Also what takes longer than CI may.
    pub long: bool,
    results: Vec<Seen>,
}

impl Verification {
    /// A cargo command that finds the servers.
    pub fn cargo(&self, words: &[&str]) -> Command {
        self.with_servers(cargo(&self.root, words))
    }

    /// The tests of one module of the integration binary.
    pub fn tests(&self, module: &str) -> anyhow::Result<Command> {
        Ok(self.with_servers(integration_tests(&self.root, module)?))
    }

    /// The unit tests of these crates.
    pub fn units(&mut self, what: &str, packages: &[&str]) -> anyhow::Result<()> {
        let words: &[&str] = if has_nextest(&self.root)? { &["nextest", "run"] } else { &["test"] };
        let mut tests = self.cargo(words);
        for name in packages {
            tests.args(["--package", name]);
        }
        self.holds(what, &mut tests)
    }

    /// The tests of these crates whose names begin so; it fails where there is none.
    pub fn named(&mut self, what: &str, packages: &[&str], names: &[&str]) -> anyhow::Result<()> {
        let nextest = has_nextest(&self.root)?;
        let mut tests = self.cargo(if nextest { &["nextest", "run"] } else { &["test"] });
        for name in packages {
            tests.args(["--package", name]);
        }
        if nextest {
            let any = names.join("|");
            tests.args(["--no-tests", "fail", "-E", &format!("test(/(^|::)({any})/)")]);
        } else {
            tests.arg("--").args(names);
        }
        self.holds(what, &mut tests)
    }

    fn with_servers(&self, mut command: Command) -> Command {
        command.env("BELLWETHER_NATS_SERVER", &self.programs.nats_server);
        command.env("BELLWETHER_POSTGRES_BIN", &self.programs.postgres_bin);
        command
    }

    /// Runs something that says by its exit code whether it holds.
    pub fn holds(&mut self, what: &str, command: &mut Command) -> anyhow::Result<()> {
        println!("\nverify: {what}");
        let began = Instant::now();
        let status = command.status().with_context(|| format!("run {command:?}"))?;
        let value = format!(
            "{} in {:.0} s",
            if status.success() { "holds" } else { "fails" },
            began.elapsed().as_secs_f64()
        );
        self.results.push(Seen {
            what: what.to_owned(),
            value,
            target: "holds".into(),
            met: Some(status.success()),
        });
        Ok(())
    }

    /// Holds a number against its target: at most, or at least.
    pub fn at_most(&mut self, what: &str, value: f64, unit: &str, most: f64) {
        self.results.push(Seen {
            what: what.to_owned(),
            value: format!("{value:.1} {unit}"),
            target: format!("<= {most}"),
            met: Some(value <= most),
        });
    }

    /// Something that cannot be seen on this machine, and why.
    pub fn skipped(&mut self, what: &str, why: &str) {
        println!("\nverify: {what} skipped: {why}");
        self.results.push(Seen {
            what: what.to_owned(),
            value: format!("skipped: {why}"),
            target: String::new(),
            met: None,
        });
    }

    /// Takes over the figures a bench run wrote as JSON.
    pub fn figures(&mut self, file: &Path) -> anyhow::Result<()> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let json: serde_json::Value = serde_json::from_str(&text)?;
        for figure in json["figures"].as_array().context("the bench wrote no figures")? {
            let number = |v: &serde_json::Value| v.as_f64().map(|n| format!("{n:.2}"));
            let target = &figure["target"];
            let target = match (number(&target["at_least"]), number(&target["at_most"])) {
                (Some(least), _) => format!(">= {least}"),
                (_, Some(most)) => format!("<= {most}"),
                (None, None) => String::new(),
            };
            self.results.push(Seen {
                what: figure["figure"].as_str().unwrap_or("?").to_owned(),
                value: format!(
                    "{} {}",
                    number(&figure["value"]).unwrap_or_default(),
                    figure["unit"].as_str().unwrap_or("")
                ),
                met: figure["met"].as_bool().or(if target.is_empty() { Some(true) } else { None }),
                target,
            });
        }
        Ok(())
    }

    fn report(&self, area: &str, began: Instant) -> anyhow::Result<()> {
        let width = self.results.iter().map(|s| s.what.len()).max().unwrap_or(0);
        println!("\n{:width$} | {:>28} | target", "figure", "value");
        println!("{:-<width$}-+-{:-<28}-+-------", "", "");
        for seen in &self.results {
            let verdict = match seen.met {
                Some(true) if seen.target.is_empty() => "",
                Some(true) => "ok",
                Some(false) => "SHORT",
                None => "",
            };
            println!("{:width$} | {:>28} | {} {verdict}", seen.what, seen.value, seen.target);
        }
        let short: Vec<&str> =
            self.results.iter().filter(|s| s.met == Some(false)).map(|s| s.what.as_str()).collect();
        println!("\nverify {area}: {:.0} s", began.elapsed().as_secs_f64());
        if short.is_empty() {
            return Ok(());
        }
        bail!("falls short: {}", short.join(", "))
    }
}
