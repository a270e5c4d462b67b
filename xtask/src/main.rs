//! Developer tasks: set-up, test, check. Never shipped.

mod check;
mod setup;
mod verify;

use std::{path::Path, process::Command};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

/// Tasks around bellwether's source tree.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing, build, and run `bellwether up` with the arguments given.
    Up {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Install what is missing and run every test; further arguments go to the test runner.
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Everything a change must pass besides the tests: format, lints, boundaries, docs, dependencies.
    Check,
    /// Write the generated files anew (console/openapi.json).
    Gen,
    /// Run an area's acceptance, tests, faults and release benches together, and print each figure
    /// beside its target.
    Verify {
        /// The area: main or observe.
        area: String,
        /// Also what takes longer than CI may.
        #[arg(long)]
        long: bool,
    },
    /// Run the benches in release and print each figure (bounded, loopback only).
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Kill everything at random under load for a while, and compare what is left with the
    /// sequential fold of the log.
    Fault {
        /// How long things die, in seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Another seed is another storm.
        #[arg(long, default_value_t = 20_261)]
        seed: u64,
    },
    /// Only find or install nats-server and Postgres, and say where they are.
    Setup,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent")?;
    match args.task {
        Task::Setup => setup::ensure(root).map(drop),
        Task::Up { args } => {
            setup::ensure(root)?;
            let mut up = cargo(root, &["run", "--quiet", "--package", "bellwether", "--", "up"]);
            run(up.args(args))
        }
        Task::Test { args } => {
            let programs = setup::ensure(root)?;
            // One build for both, then nextest when it is there: it runs each test in a process
            // of its own, so that one test's servers and kills cannot touch another's.
            let nextest = has_nextest(root)?;
            let words: &[&str] =
                if nextest { &["nextest", "run", "--workspace"] } else { &["test", "--workspace"] };
            let mut test = cargo(root, words);
            test.env("BELLWETHER_NATS_SERVER", &programs.nats_server);
            test.env("BELLWETHER_POSTGRES_BIN", &programs.postgres_bin);
            run(&mut cargo(root, &["build", "--workspace", "--bins"]))?;
            run(test.args(args))?;
            if nextest { run(&mut cargo(root, &["test", "--workspace", "--doc"])) } else { Ok(()) }
        }
        Task::Check => check::all(root),
        Task::Gen => generate(root),
        Task::Verify { area, long } => verify::run(root, &area, long),
        Task::Fault { seconds, seed } => {
            let programs = setup::ensure(root)?;
            run(&mut cargo(root, &["build", "--workspace", "--bins"]))?;
            let mut storm = integration_tests(root, "storm")?;
            storm.env("BELLWETHER_NATS_SERVER", &programs.nats_server);
            storm.env("BELLWETHER_POSTGRES_BIN", &programs.postgres_bin);
            storm.env("BELLWETHER_STORM_SECONDS", seconds.to_string());
            run(storm.env("BELLWETHER_STORM_SEED", seed.to_string()))
        }
        Task::Bench { args } => {
            let programs = setup::ensure(root)?;
            let mut bench =
                cargo(root, &["run", "--release", "--package", "tests", "--bin", "bench"]);
            bench.env("BELLWETHER_NATS_SERVER", &programs.nats_server);
            bench.env("BELLWETHER_POSTGRES_BIN", &programs.postgres_bin);
            run(bench.arg("--").args(args))
        }
    }
}

fn has_nextest(root: &Path) -> anyhow::Result<bool> {
    Ok(cargo(root, &["nextest", "--version"]).output()?.status.success())
}

/// The tests of one module of the integration binary, with what they print; by nextest when it is
/// there.
fn integration_tests(root: &Path, module: &str) -> anyhow::Result<Command> {
    if has_nextest(root)? {
        let words = ["nextest", "run", "--package", "tests", "--test", "it", "--no-capture"];
        let mut command = cargo(root, &words);
        command.args(["-E", &format!("test(/^{module}::/)")]);
        return Ok(command);
    }
    let mut command = cargo(root, &["test", "--package", "tests", "--test", "it"]);
    command.args([&format!("{module}::"), "--", "--nocapture", "--test-threads=1"]);
    Ok(command)
}

/// Writes the generated files; the tests that compare them say to run this.
fn generate(root: &Path) -> anyhow::Result<()> {
    let mut openapi = cargo(root, &["run", "--quiet", "--package", "bellwether", "--", "openapi"]);
    let output = openapi.output().context("run bellwether openapi")?;
    if !output.status.success() {
        bail!("bellwether openapi failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let file = root.join("console/openapi.json");
    std::fs::write(&file, &output.stdout).with_context(|| format!("write {}", file.display()))?;
    println!("wrote {}", file.display());
    Ok(())
}

/// `cargo` with the arguments, run from the project's root.
fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.current_dir(root).args(args);
    command
}

/// Runs a command with our output and fails with its name when it fails.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    if status.success() { Ok(()) } else { bail!("{command:?} failed: {status}") }
}
