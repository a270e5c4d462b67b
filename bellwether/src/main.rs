//! The command line.

use std::process::ExitCode;

use bellwether::{
    commands::{
        check_config, demo, keys, migrate, openapi, operators, parked, probe, ready, render, rules,
        run, send, send_test, silence, sources, triage_report, up, why,
    },
    keys::Refused as KeyRefused,
    rules::Refused,
};
use clap::{Parser, Subcommand};
use runtime::{ConfigError, config::EXIT_CODE};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Alerts in, one log, everything else a fold of it.
#[derive(Parser)]
#[command(name = "bellwether", version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start everything in one process, on a nats-server and a Postgres of its own.
    Up(up::Args),
    /// Send a realistic stream of signed deliveries to a running `up`.
    Demo(demo::Args),
    /// Play roles against servers named in the configuration.
    Run(run::Args),
    /// Bring the database up to this binary's schema.
    Migrate(migrate::Args),
    /// Show the rules in force, compare a document with them, or put another in force.
    #[command(subcommand)]
    Rules(rules::Verb),
    /// List which operators the users of chats are, or say so of one.
    #[command(subcommand)]
    Operators(operators::Verb),
    /// Silence alerts for a while, list who is silenced, or see what a silence would match.
    #[command(subcommand)]
    Silence(silence::Verb),
    /// Say why something was told, or was not.
    Why(why::Args),
    /// Report what analysts were asked, what it cost, and what operators think of it.
    TriageReport(triage_report::Args),
    /// List what was given up, and have it applied again.
    #[command(subcommand)]
    Parked(parked::Verb),
    /// Make, list and revoke the keys that senders show.
    #[command(subcommand)]
    Keys(keys::Verb),
    /// List the sources, switch one off, or on again.
    #[command(subcommand)]
    Sources(sources::Verb),
    /// Sign a payload as its sender would, and send it.
    Send(send::Args),
    /// Try whether messages arrive, and say what each receiver said.
    SendTest(send_test::Args),
    /// Show what a channel would send; nothing is sent.
    Render(render::Args),
    /// Read a configuration and say what is wrong with it, or what it means.
    CheckConfig(check_config::Args),
    /// Ask a running process whether it can work (for health checks).
    Ready(ready::Args),
    /// Print the API's OpenAPI document.
    Openapi,
    /// Try one record, read from standard input (used by the workers).
    #[command(hide = true)]
    Probe(probe::Args),
}

/// Exit code of what was understood and refused.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    bellwether::roles::use_small_pages();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // A closed pipe is nobody's loss.
            let _ = error.print();
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CODE) };
        }
    };
    match args.verb {
        Verb::Openapi => {
            openapi::run();
            ExitCode::SUCCESS
        }
        Verb::CheckConfig(args) => ended(check_config::run(args)),
        Verb::Probe(args) => ended(probe::run(&args)),
        Verb::Up(args) => block_on(up::run(args)),
        Verb::Demo(args) => block_on(demo::run(args)),
        Verb::Run(args) => block_on(run::run(args)),
        Verb::Migrate(args) => block_on(migrate::run(args)),
        Verb::Rules(verb) => block_on(rules::run(verb)),
        Verb::Operators(verb) => block_on(operators::run(verb)),
        Verb::Silence(verb) => block_on(silence::run(verb)),
        Verb::Why(args) => block_on(why::run(args)),
        Verb::TriageReport(args) => block_on(triage_report::run(args)),
        Verb::Parked(verb) => block_on(parked::run(verb)),
        Verb::Keys(verb) => block_on(keys::run(verb)),
        Verb::Sources(verb) => block_on(sources::run(verb)),
        Verb::Send(args) => block_on(send::run(args)),
        Verb::SendTest(args) => block_on(send_test::run(args)),
        Verb::Render(args) => ended(render::run(&args)),
        Verb::Ready(args) => block_on(ready::run(args)),
    }
}

fn block_on(verb: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => ended(runtime.block_on(verb)),
        Err(error) => ended(Err(error.into())),
    }
}

/// Errors are for people: what was attempted, then why. A configuration that cannot be used has an
/// exit code of its own.
fn ended(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if let Some(problem) = error.downcast_ref::<ConfigError>() {
        eprintln!("{problem}");
        return ExitCode::from(EXIT_CODE);
    }
    if let Some(refused) = error.downcast_ref::<Refused>() {
        eprintln!("{refused}");
        return ExitCode::from(REFUSED);
    }
    let refused = error.downcast_ref::<parked::Refused>().map(ToString::to_string);
    let refused = refused
        .or_else(|| error.downcast_ref::<operators::Refused>().map(ToString::to_string))
        .or_else(|| error.downcast_ref::<silence::Refused>().map(ToString::to_string))
        .or_else(|| error.downcast_ref::<why::Unknown>().map(ToString::to_string))
        .or_else(|| error.downcast_ref::<KeyRefused>().map(ToString::to_string))
        .or_else(|| error.downcast_ref::<send::Refused>().map(ToString::to_string));
    if let Some(refused) = refused {
        eprintln!("{refused}");
        return ExitCode::from(REFUSED);
    }
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
