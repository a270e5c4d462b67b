//! `bellwether sources`: which sources there are, and the switch of each.

use eventlog::{Log, topology};
use runtime::{Clock, ConfigError};
use schemas::SourceId;

use super::place::{Place, connect, user};
use crate::{
    config::Checked,
    keys::{self, Verdict},
};

/// What to do with sources.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// List the configured sources, where each is reached, and which are switched off.
    List(List),
    /// Let nothing of a source in, within a second, until it is switched on again: it is unknown,
    /// as if it were not configured.
    Off(Switch),
    /// Let a source in again.
    On(Switch),
}

#[derive(clap::Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Switch {
    /// The source.
    id: String,
    /// Who switches it; your user name when absent.
    #[arg(long)]
    operator: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Does it.
pub async fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List(args) => list(args).await,
        Verb::Off(args) => switch(args, false).await,
        Verb::On(args) => switch(args, true).await,
    }
}

async fn list(args: List) -> anyhow::Result<()> {
    let checked = args.place.checked()?;
    let held = keys::known(&args.place.log().await?, &Clock::system()).await?.held;
    let (ingest, _) = args.place.addresses(&checked.config)?;
    let mut sources: Vec<_> = checked.sources.iter().collect();
    sources.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    for source in sources {
        let (id, provider) = (&source.id, source.provider.name());
        let state = match (held.off(id), source.warning()) {
            (Some(by), _) => format!("off since {} by {}", by.at, by.operator),
            (None, Some(warning)) => warning,
            (None, None) => "on".to_owned(),
        };
        println!("{id}  project {}  {ingest}/webhook/{provider}/{id}  {state}", source.project);
    }
    // A typing error of before, or a source that was taken out of the configuration.
    for (id, by) in held.all_off().filter(|(id, _)| !is_configured(&checked, id)) {
        println!("{id}  not configured  off since {} by {}", by.at, by.operator);
    }
    Ok(())
}

async fn switch(args: Switch, on: bool) -> anyhow::Result<()> {
    let checked = args.place.checked()?;
    let fail = |problem: &str| {
        let known: Vec<_> = checked.sources.iter().map(|source| source.id.as_str()).collect();
        let remedy = format!("name one that is configured: {}", known.join(", "));
        ConfigError {
            file: args.place.name(),
            ..ConfigError::new(format!("sources.{}", args.id), problem, remedy)
        }
    };
    let id = SourceId::new(args.id.as_str()).map_err(|error| fail(&error.to_string()))?;
    if !on && !is_configured(&checked, &id) {
        return Err(fail("is not configured, or not enabled").into());
    }
    let operator = args.operator.clone().unwrap_or_else(user);
    let nats = &checked.config.nats;
    let log = connect(nats).await?;
    log.ensure(&[topology::deliveries(nats)]).await?;
    let word = if on { "on" } else { "off" };
    match keys::switch(&log, &Clock::system(), &id, on, &operator).await? {
        Verdict::Already(Some(by)) => {
            println!("{id} is {word} already, since {} by {}", by.at, by.operator);
        }
        Verdict::Already(None) => println!("{id} is {word} already"),
        Verdict::Done(position) => {
            println!("switched  {id} {word}");
            if let Some(position) = position {
                println!("position  {position}");
            }
        }
    }
    Ok(())
}

fn is_configured(checked: &Checked, id: &SourceId) -> bool {
    checked.sources.iter().any(|source| source.id == *id)
}
