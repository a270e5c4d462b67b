//! `bellwether rules`: shows the rules document in force, compares another with it, puts another in
//! force, and tries what the playbook says of an alert.

mod playbook;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use domain::rules::{Change, Rules, diff};
use eventlog::{JetStream, Log, topology};
use runtime::{Clock, ConfigError};
use similar::TextDiff;

use super::place::{Place, connect, user};
use crate::rules::{self, Applied, History, Verdict};

/// What to do with the rules.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Print the document in force: its hash, its position in the log, since when, and its text.
    Show(Show),
    /// Say what a document would change, decision by decision and line by line.
    Diff(Diff),
    /// Put a document in force, from its position in the log on.
    ///
    /// Exits with 2, and puts nothing in force, when the document changes fingerprints or somebody
    /// else put another one in force meanwhile.
    Apply(Apply),
    /// Say which entries of the playbook an alert would get, and why.
    Playbook(playbook::Playbook),
}

#[derive(clap::Args)]
pub struct Show {
    /// The text alone, to be edited and applied.
    #[arg(long)]
    text: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Diff {
    /// The document.
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Apply {
    /// The document.
    file: PathBuf,
    /// Who puts it in force; your user name when absent.
    #[arg(long)]
    operator: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Does it.
pub async fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Show(args) => show(args).await,
        Verb::Diff(args) => compare(args).await,
        Verb::Apply(args) => apply(args).await,
        Verb::Playbook(args) => playbook::run(args).await,
    }
}

async fn show(args: Show) -> anyhow::Result<()> {
    let history = history(&args.place.log().await?).await?;
    let rules = history.in_force();
    if !args.text {
        println!("hash      {}", rules.hash());
        match history.applied.last() {
            Some(Applied { position, at, operator, .. }) => {
                println!("position  {position}");
                println!("applied   {at} by {operator}");
            }
            None => println!("position  none: the built-in document, until another is applied"),
        }
        println!();
    }
    print!("{}", rules.text());
    Ok(())
}

async fn compare(args: Diff) -> anyhow::Result<()> {
    let wanted = read(&args.file)?;
    let history = history(&args.place.log().await?).await?;
    let before = history.in_force();
    let file = args.file.display().to_string();
    println!("in force  {}", before.hash());
    println!("{file:<8}  {}", wanted.hash());
    if before.hash() == wanted.hash() {
        println!("the same document");
        return Ok(());
    }
    println!();
    print!("{}", told(&diff(before, &wanted)));
    println!();
    let text = TextDiff::from_lines(before.text(), wanted.text());
    print!("{}", text.unified_diff().context_radius(3).header("in force", &file));
    Ok(())
}

async fn apply(args: Apply) -> anyhow::Result<()> {
    let wanted = read(&args.file)?;
    let operator = args.operator.unwrap_or_else(user);
    let nats = args.place.nats()?;
    let log = connect(&nats).await?;
    // Rules may be there before anything else is.
    log.ensure(&[topology::deliveries(&nats)]).await?;
    match rules::apply(&log, &Clock::system(), &wanted, &operator).await? {
        Verdict::Already(None) => {
            println!("{} is in force already: it is the built-in document", wanted.hash());
        }
        Verdict::Already(Some(position)) => {
            println!("{} is in force already, from position {position}", wanted.hash());
        }
        Verdict::Applied { position, changes } => {
            print!("{}", told(&changes));
            println!("hash      {}", wanted.hash());
            println!("position  {position}");
        }
    }
    Ok(())
}

/// Changes for people, a line each.
pub fn told(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "nothing is decided otherwise: only the text differs\n".to_owned();
    }
    let mut text: String = changes.iter().map(|change| format!("{change}\n")).collect();
    if changes.iter().any(|change| change.fingerprint) {
        text.push_str(
            "fingerprints change: `rules apply` refuses this; use `bellwether replay --rules FILE` \
             and `bellwether promote`\n",
        );
    }
    text
}

/// Reads a document from a file; one that is none is a configuration that cannot be used.
pub fn read(file: &Path) -> Result<Rules, ConfigError> {
    let fail = |problem: String, remedy: &str| ConfigError {
        file: file.display().to_string(),
        ..ConfigError::new("", problem, remedy)
    };
    let text = fs::read_to_string(file)
        .map_err(|e| fail(e.to_string(), "name a file with a rules document"))?;
    Rules::parse(&text)
        .map_err(|e| fail(e.to_string(), "correct the document; docs/rules.md has every key"))
}

async fn history(log: &JetStream) -> anyhow::Result<History> {
    History::read(log).await.context("read the rules in the log")
}
