//! `bellwether silence`.

use std::fmt;

use anyhow::Context;
use console::api::silences::{Standing, breadth, preview, standing_of, written};
use domain::{
    matcher::{self, Matchers},
    silence::{self, Asked, Breadth, silence},
};
use runtime::Clock;
use schemas::{ProjectId, Time};
use store::read::Visible;

use super::place::{Place, user};
use crate::silences::{Kept, Made, end, kept, make};

/// For how long a silence holds that does not say it, in seconds.
const USUAL: i64 = 3600;

/// Who is told nothing for a while.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Tell nobody of the alerts of a project that match, for a while.
    Add(Add),
    /// List the silences that are not over.
    List(List),
    /// Say all of one.
    Show(Show),
    /// End one before its time.
    End(End),
    /// Say what a silence would have matched; nothing is written.
    Preview(Preview),
}

#[derive(clap::Args)]
pub struct Add {
    /// What has to match, in Alertmanager's syntax: `alertname="DiskFull",instance=~"db-.*"`.
    matchers: String,
    /// The project whose alerts are meant.
    #[arg(long)]
    project: ProjectId,
    /// For how long: `30m`, `2h`, `7d`; an hour when absent, at most 90 days.
    #[arg(long, value_parser = seconds, conflicts_with = "until")]
    r#for: Option<i64>,
    /// Until when, as in `2026-11-21T08:00:00Z`.
    #[arg(long)]
    until: Option<Time>,
    /// From when on; at once when absent.
    #[arg(long)]
    from: Option<Time>,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Whom to ask about it; who says so when absent.
    #[arg(long)]
    owner: Option<String>,
    /// Who says so; your user name when absent.
    #[arg(long)]
    by: Option<String>,
    /// It is meant although it is about more than half of what fires, or chooses nothing; also where
    /// the tables cannot be asked.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct List {
    /// Those of this project; of all when absent.
    #[arg(long)]
    project: Option<ProjectId>,
    /// Those that are over as well.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Show {
    /// The silence, as `list` says.
    id: String,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct End {
    /// The silence, as `list` says.
    id: String,
    /// Who says so; your user name when absent.
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Preview {
    /// What has to match, in Alertmanager's syntax.
    matchers: String,
    /// The project whose alerts are meant.
    #[arg(long)]
    project: ProjectId,
    /// How far back to look: `24h` or `7d`.
    #[arg(long, value_parser = seconds, default_value = "24h")]
    since: i64,
    #[command(flatten)]
    place: Place,
}

/// What was understood and is not done.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is no silence.
    NoSilence(silence::Error),
    /// There are no such matchers.
    NoMatchers(matcher::Error),
    /// It is about so much that it has to be forced.
    Wide(Breadth),
    /// There is no silence of that id.
    Unknown(String),
    /// It is over.
    Over(String),
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSilence(error) => write!(f, "refused: {error}"),
            Self::NoMatchers(error) => write!(f, "refused: matchers: {error}"),
            Self::Wide(Breadth { of_anything: true, .. }) => {
                write!(f, "refused: the matchers choose nothing; narrow them, or say --force")
            }
            Self::Wide(Breadth { problems, matching, .. }) => write!(
                f,
                "refused: the matchers match {matching} of the {problems} problems that fired in \
                 the last 24 hours; narrow them, or say --force"
            ),
            Self::Unknown(id) => {
                write!(f, "refused: there is no silence {id}; see `bellwether silence list --all`")
            }
            Self::Over(id) => write!(f, "refused: silence {id} is over"),
        }
    }
}

/// Does it.
pub async fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Add(args) => add(args).await,
        Verb::List(args) => list(args).await,
        Verb::Show(args) => show(args).await,
        Verb::End(args) => end_one(args).await,
        Verb::Preview(args) => look(args).await,
    }
}

async fn add(args: Add) -> anyhow::Result<()> {
    let clock = Clock::system();
    let now = clock.now();
    let by = args.by.unwrap_or_else(user);
    let begins = args.from.unwrap_or(now).max(now);
    let ends_at = args.until.unwrap_or_else(|| begins.plus_seconds(args.r#for.unwrap_or(USUAL)));
    let owner = args.owner.as_deref().unwrap_or(&by);
    let asked = Asked {
        matchers: &args.matchers,
        starts_at: args.from,
        ends_at,
        owner,
        reason: &args.reason,
    };
    let (made, matchers) = silence(&asked, now).map_err(Refused::NoSilence)?;
    if !args.force {
        let store = args.place.store().await;
        let store = store.context("see how much it is about; --force does not look")?;
        let mut view = store.view(&Visible::Everything).await?;
        let found = breadth(&mut view, &args.project, &matchers, now).await?;
        if found.is_wide() {
            return Err(Refused::Wide(found).into());
        }
    }
    let log = args.place.log().await?;
    let Made { id, position } = make(&log, &clock, args.project, made, by).await?;
    match position {
        Some(at) => {
            println!("silence {id} of {matchers} holds until {ends_at}, from position {at} on")
        }
        None => println!("silence {id} of {matchers} holds until then already"),
    }
    Ok(())
}

async fn list(args: List) -> anyhow::Result<()> {
    let now = Clock::system().now();
    let mut all: Vec<_> = kept(&args.place.log().await?).await?.into_iter().collect();
    all.retain(|(_, one)| {
        (args.all || standing(one, now) != Standing::Over)
            && (args.project.is_none() || one.project == args.project)
    });
    all.sort_by_key(|(_, one)| one.silence.ends_at);
    if all.is_empty() {
        println!("nothing is silenced");
    }
    for (id, one) in all {
        let Kept { silence, project, .. } = &one;
        println!(
            "{id}  {}  {}  {}  until {}  owner {}  {}",
            standing(&one, now).word(),
            project.as_ref().map_or("all projects", ProjectId::as_str),
            written(&silence.matchers),
            silence.ends_at,
            silence.owner,
            silence.reason,
        );
    }
    Ok(())
}

async fn show(args: Show) -> anyhow::Result<()> {
    let one = find(&args.place, &args.id).await?;
    let now = Clock::system().now();
    let Kept { silence, project, created_at, created_by, ended, position } = &one;
    println!("id        {}", args.id);
    println!("state     {}", standing(&one, now).word());
    println!("project   {}", project.as_ref().map_or("all", ProjectId::as_str));
    println!("matchers  {}", written(&silence.matchers));
    println!("starts    {}", silence.starts_at.unwrap_or(*created_at));
    println!("ends      {}", silence.ends_at);
    println!("owner     {}", silence.owner);
    println!("reason    {}", silence.reason);
    println!("made      {created_at} by {created_by}");
    if let Some((at, by)) = ended {
        println!("ended     {at} by {by}");
    }
    println!("position  {position}");
    Ok(())
}

async fn end_one(args: End) -> anyhow::Result<()> {
    let End { id, by, place } = args;
    let clock = Clock::system();
    let one = find(&place, &id).await?;
    if standing(&one, clock.now()) == Standing::Over {
        return Err(Refused::Over(id).into());
    }
    let by = by.unwrap_or_else(user);
    let position = end(&place.log().await?, &clock, one.project, id.clone(), by).await?;
    println!("silence {id} is over from position {position} on");
    Ok(())
}

async fn look(args: Preview) -> anyhow::Result<()> {
    let matchers = Matchers::parse(&args.matchers).map_err(Refused::NoMatchers)?;
    let since = Clock::system().now().plus_seconds(-args.since);
    let mut view = args.place.store().await?.view(&Visible::Everything).await?;
    let seen = preview(&mut view, &args.project, &matchers, since).await?;
    let newest = if seen.complete { "" } else { " newest" };
    println!(
        "{} of the{newest} {} alerts since {} match {}, of {} incidents and {} of {} problems",
        seen.matched,
        seen.looked_at,
        seen.since,
        seen.matchers,
        seen.incidents,
        seen.problems_matched,
        seen.problems,
    );
    if seen.wide {
        println!("a silence of them needs --force");
    }
    for alert in seen.newest {
        let environment = alert.environment.unwrap_or_default();
        println!("{}  {}  {environment}  {}", alert.received_at, alert.provider, alert.title);
    }
    Ok(())
}

async fn find(place: &Place, id: &str) -> anyhow::Result<Kept> {
    let found = kept(&place.log().await?).await?.remove(id);
    Ok(found.ok_or_else(|| Refused::Unknown(id.to_owned()))?)
}

fn standing(one: &Kept, now: Time) -> Standing {
    if one.ended.is_some() {
        return Standing::Over;
    }
    standing_of(&one.silence, one.created_at, now)
}

/// A duration as `90m`, `2h` or `7d`, in seconds.
fn seconds(text: &str) -> Result<i64, String> {
    let each = [('m', 60), ('h', 3600), ('d', 24 * 3600)];
    let found = each.iter().find_map(|(unit, each)| {
        let number: i64 = text.strip_suffix(*unit)?.parse().ok()?;
        number.checked_mul(*each).filter(|seconds| *seconds > 0)
    });
    found.ok_or_else(|| "write it as 90m, 2h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b6_durations_have_a_unit() {
        for (text, expect) in [("90m", Some(5400)), ("2h", Some(7200)), ("7d", Some(604_800))] {
            assert_eq!(seconds(text).ok(), expect, "{text}");
        }
        for none in ["", "m", "0m", "-1h", "1w", "90", "1.5h", "99999999999999999999d"] {
            assert!(seconds(none).is_err(), "{none}");
        }
    }
}
