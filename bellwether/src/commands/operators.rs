//! `bellwether operators`.

use std::fmt;

use domain::providers;
use runtime::Clock;
use schemas::{ProjectId, SourceId, record::ChatOperator};

use super::place::{Place, user};
use crate::{
    Config,
    operators::{mapped, say},
};

/// Longest name of an operator, in characters.
const MAX_NAME: usize = 128;

/// Which operators the users of chats are.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// List the users of chats that are an operator.
    List(List),
    /// Say which operator a user of a chat is: what the user asks for is done in that name.
    Map(Map),
    /// Say that a user of a chat is nobody any more.
    Remove(Remove),
}

#[derive(clap::Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Map {
    /// The user: `telegram:<id>`, `lark:<open_id>`, `slack:<user id>`.
    user: String,
    /// The operator's id.
    operator: String,
    /// A project whose incidents the user may act on; several times for several, all when absent.
    #[arg(long)]
    project: Vec<ProjectId>,
    /// The source whose user it is; every source of the provider when absent. Another workspace may
    /// call somebody else the same.
    #[arg(long)]
    source: Option<SourceId>,
    /// Who says so; your user name when absent.
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Remove {
    /// The user, as `list` says.
    user: String,
    /// The source, where `list` names one.
    #[arg(long)]
    source: Option<SourceId>,
    /// Who says so; your user name when absent.
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// What was understood and is not done.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// No chat names a user so.
    NotAUser(String),
    /// No operator is called so.
    NotAnOperator(String),
    /// The user is nobody, of that source or of every source.
    Unknown(String, Option<SourceId>),
    /// There is no such source of that chat.
    NotItsSource { user: String, source: SourceId, known: Vec<SourceId> },
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAUser(user) => {
                let chats = providers::all().iter().filter(|p| p.channel_type() == "chat");
                let forms: Vec<_> = chats.map(|p| format!("{}:<id>", p.name())).collect();
                write!(f, "refused: {user:?} is no user of a chat; write {}", forms.join(" or "))
            }
            Self::NotAnOperator(name) => {
                write!(f, "refused: {name:?} is no operator; use the id that the console knows")
            }
            Self::Unknown(user, source) => {
                let user = shown(user, source.as_ref());
                write!(f, "refused: {user} is nobody; see `bellwether operators list`")
            }
            Self::NotItsSource { user, source, known } => {
                write!(f, "refused: {source} is no source of the chat that {user} is in; ")?;
                match known.as_slice() {
                    [] => write!(f, "the configuration has none"),
                    known => write!(f, "those are {}", named(known)),
                }
            }
        }
    }
}

/// Does it.
pub async fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List(args) => list(args).await,
        Verb::Map(args) => map(args).await,
        Verb::Remove(args) => remove(args).await,
    }
}

async fn list(args: List) -> anyhow::Result<()> {
    let mapped = mapped(&args.place.log().await?).await?;
    if mapped.is_empty() {
        println!("no user of a chat is an operator");
    }
    for ((user, source), one) in mapped {
        let user = shown(&user, source.as_ref());
        let projects = one.said.projects.map_or_else(
            || "all projects".to_owned(),
            |projects| Vec::from_iter(projects.iter().map(ProjectId::as_str)).join(","),
        );
        let (operator, by, at) = (one.said.operator, one.said.by, one.at);
        println!("{user}  {operator}  {projects}  since {at} by {by}");
    }
    Ok(())
}

async fn map(args: Map) -> anyhow::Result<()> {
    let Map { user: of_chat, operator, project, source, by, place } = args;
    check(&of_chat, &operator)?;
    let config = place.checked()?.config;
    let known = sources_of(&config, &of_chat);
    let strange = source.as_ref().filter(|source| !known.contains(source));
    // A configuration that names none at all knows those of no installation.
    if let Some(source) = strange.filter(|_| !config.sources.is_empty()) {
        let (user, source) = (of_chat, source.clone());
        return Err(Refused::NotItsSource { user, source, known }.into());
    }
    let said = ChatOperator {
        user: of_chat,
        operator,
        projects: (!project.is_empty()).then_some(project),
        removed: false,
        by: by.unwrap_or_else(user),
        source,
    };
    let of_chat = shown(&said.user, said.source.as_ref());
    let (operator, everywhere) = (said.operator.clone(), said.source.is_none());
    let position = say(&place.log().await?, &Clock::system(), said).await?;
    println!("{of_chat} is {operator} from position {position} on");
    if everywhere && known.len() > 1 {
        println!("note: that holds at every source of this chat ({})", named(&known));
        println!("      users of another workspace may be called the same: --source names one");
    }
    Ok(())
}

async fn remove(args: Remove) -> anyhow::Result<()> {
    let Remove { user: of_chat, source, by, place } = args;
    let log = place.log().await?;
    let known = (of_chat, source);
    let Some(one) = mapped(&log).await?.remove(&known) else {
        return Err(Refused::Unknown(known.0, known.1).into());
    };
    let said = ChatOperator { removed: true, by: by.unwrap_or_else(user), ..one.said };
    let position = say(&log, &Clock::system(), said).await?;
    println!("{} is nobody from position {position} on", shown(&known.0, known.1.as_ref()));
    Ok(())
}

/// The configured sources of the chat that a user is in, by id.
fn sources_of(config: &Config, user: &str) -> Vec<SourceId> {
    let chat = user.split_once(':').map_or(user, |(chat, _)| chat);
    let known = config.known_sources().into_iter().filter(|source| source.provider == chat);
    known.filter_map(|source| SourceId::new(source.id).ok()).collect()
}

/// A user as people read it: with the source, where it is that of one alone.
fn shown(user: &str, source: Option<&SourceId>) -> String {
    source.map_or_else(|| user.to_owned(), |source| format!("{user} of source {source}"))
}

fn named(sources: &[SourceId]) -> String {
    Vec::from_iter(sources.iter().map(SourceId::as_str)).join(", ")
}

fn check(user: &str, operator: &str) -> Result<(), Refused> {
    if !providers::is_chat_user(user) {
        return Err(Refused::NotAUser(user.to_owned()));
    }
    let shown = operator.chars().all(|c| c.is_alphanumeric() || "._-@".contains(c));
    if operator.is_empty() || operator.chars().nth(MAX_NAME).is_some() || !shown {
        return Err(Refused::NotAnOperator(operator.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_of_a_chat_and_operators_have_names() {
        for user in ["telegram:160213506", "lark:ou_4f75b532", "slack:U024BE7LH"] {
            assert_eq!(check(user, "ada.l@example-1"), Ok(()), "{user}");
        }
        for user in ["", "telegram", "telegram:", "ou_4f", "sentry:1", "nobody:1", "slack:a b"] {
            assert_eq!(check(user, "ada"), Err(Refused::NotAUser(user.to_owned())), "{user}");
        }
        for operator in ["", "a b", "<b>", &"a".repeat(129)] {
            let refused = Err(Refused::NotAnOperator(operator.to_owned()));
            assert_eq!(check("slack:U1", operator), refused, "{operator}");
        }
        let said = Refused::NotAUser("x".into()).to_string();
        assert!(said.contains("lark:<id> or slack:<id> or telegram:<id>"), "{said}");
        let source = |id: &str| SourceId::new(id).unwrap();
        let known = vec![source("east"), source("west")];
        let (user, source) = ("slack:U1".to_owned(), source("north"));
        let said = Refused::NotItsSource { user, source, known }.to_string();
        assert!(said.contains("north is no source") && said.contains("east, west"), "{said}");
    }
}
