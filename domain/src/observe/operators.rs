//! Which operator a user of a chat is, as control records say.
//!
//! A chat's own id of a user says who it is within one workspace; another one may give it to somebody
//! else. So a record may say that it means the users of one source alone, and then goes before one that
//! means whichever source.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use schemas::{ProjectId, SourceId, record::ChatOperator};

/// Most users that can be somebody.
const MOST: usize = 10_000;

/// Who the users of chats are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub(super) struct Operators {
    /// By [`key`]; what was written before sources were told apart has keys without one.
    #[n(0)]
    users: BTreeMap<String, User>,
}

/// Who a user is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct User {
    /// The operator.
    #[n(0)]
    pub operator: String,
    /// The projects whose incidents the user may act on; absent: all of them.
    #[n(1)]
    pub projects: Option<Vec<ProjectId>>,
}

impl User {
    /// Whether the user may act on incidents of that project.
    pub fn may_act_on(&self, project: &ProjectId) -> bool {
        self.projects.as_ref().is_none_or(|projects| projects.contains(project))
    }
}

impl Operators {
    /// Who that user, heard of at `source`, is; nobody, unless a record said so.
    pub fn get(&self, user: &str, source: Option<&SourceId>) -> Option<&User> {
        let of_source = source.and_then(|source| self.users.get(&key(user, Some(source))));
        of_source.or_else(|| self.users.get(user))
    }

    /// Takes in what a record says.
    ///
    /// # Errors
    /// Why it is not taken in.
    pub fn say(&mut self, said: ChatOperator) -> Result<(), &'static str> {
        let ChatOperator { user, operator, projects, removed, by: _, source } = said;
        let user = key(&user, source.as_ref());
        if removed {
            self.users.remove(&user);
            return Ok(());
        }
        if self.users.len() >= MOST && !self.users.contains_key(&user) {
            return Err("too_many_chat_operators");
        }
        self.users.insert(user, User { operator, projects });
        Ok(())
    }
}

/// The name of a user in this state: `<provider>:<id>`, of one source with `@<source>` behind it, which
/// is in no user's id.
fn key(user: &str, source: Option<&SourceId>) -> String {
    source.map_or_else(|| user.to_owned(), |source| format!("{user}@{source}"))
}
