//! `bellwether operators`.

use std::fmt;

use domain::providers;
use runtime::Clock;
use schemas::{ProjectId, record::ChatOperator};

use super::place::{Place, user};
use crate::operators::{mapped, say};

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
    /// The user is nobody.
    Unknown(String),
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
            Self::Unknown(user) => {
                write!(f, "refused: {user} is nobody; see `bellwether operators list`")
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
    for (user, one) in mapped {
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
    let Map { user: of_chat, operator, project, by, place } = args;
    check(&of_chat, &operator)?;
    let said = ChatOperator {
        user: of_chat,
        operator,
        projects: (!project.is_empty()).then_some(project),
        removed: false,
        by: by.unwrap_or_else(user),
    };
    let (of_chat, operator) = (said.user.clone(), said.operator.clone());
    let position = say(&place.log().await?, &Clock::system(), said).await?;
    println!("{of_chat} is {operator} from position {position} on");
    Ok(())
}

async fn remove(args: Remove) -> anyhow::Result<()> {
    let Remove { user: of_chat, by, place } = args;
    let log = place.log().await?;
    let Some(one) = mapped(&log).await?.remove(&of_chat) else {
        return Err(Refused::Unknown(of_chat).into());
    };
    let said = ChatOperator { removed: true, by: by.unwrap_or_else(user), ..one.said };
    let position = say(&log, &Clock::system(), said).await?;
    println!("{of_chat} is nobody from position {position} on");
    Ok(())
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
    }
}
