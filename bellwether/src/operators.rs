//! Which operator a user of a chat is: said by control records, of which the last one of a user is in
//! force.

use std::collections::BTreeMap;

use eventlog::Log;
use runtime::Clock;
use schemas::{
    InputPosition, Record, SourceId, Time,
    record::{Body, ChatOperator, Control},
};

use crate::controls::{self, Controls};

/// A user of a chat who is somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub said: ChatOperator,
    /// Since when, and from where on.
    pub at: Time,
    pub position: InputPosition,
}

/// A user of a chat, and the source whose user it is; none where it is that of every source.
pub type Known = (String, Option<SourceId>);

/// Who the users of chats are.
///
/// # Errors
/// When the log cannot be asked.
pub async fn mapped(log: &dyn Log) -> anyhow::Result<BTreeMap<Known, Mapped>> {
    let mut mapped = BTreeMap::new();
    for (position, Record { received_at: at, body, .. }) in Controls::read(log).await?.records {
        let Body::Control(control) = body else { continue };
        let Control::ChatOperator(said) = *control else { continue };
        let known = (said.user.clone(), said.source.clone());
        if said.removed {
            mapped.remove(&known);
        } else {
            mapped.insert(known, Mapped { said, at, position });
        }
    }
    Ok(mapped)
}

/// Puts it in force from the position that is returned.
///
/// # Errors
/// When the log did not take it, or did not say.
pub async fn say(
    log: &dyn Log,
    clock: &Clock,
    said: ChatOperator,
) -> anyhow::Result<InputPosition> {
    let body = Body::Control(Box::new(Control::ChatOperator(said)));
    let record = Record::new(runtime::record_id(clock), clock.now(), None, body);
    controls::append(log, &record).await
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use eventlog::MemoryLog;
    use schemas::{Namespace, ProjectId};

    use super::*;

    #[tokio::test]
    async fn the_last_record_of_a_user_is_in_force() {
        let log = MemoryLog::new(Namespace::default(), NonZeroU16::MIN);
        let clock = Clock::system();
        assert_eq!(mapped(&log).await.unwrap(), BTreeMap::new());
        let said = |user: &str, operator: &str, removed| ChatOperator {
            user: user.into(),
            operator: operator.into(),
            projects: Some(vec![ProjectId::new("shop").unwrap()]),
            removed,
            by: "root".into(),
            source: None,
        };
        let of = |source: &str, said: ChatOperator| {
            let source = Some(SourceId::new(source).unwrap());
            ChatOperator { source, ..said }
        };
        for said in [
            said("telegram:1", "ada", false),
            said("lark:ou_1", "bob", false),
            said("telegram:1", "eve", false),
            said("lark:ou_1", "bob", true),
            said("slack:U1", "bob", true),
            // The same user of two workspaces, and of neither in particular.
            of("east", said("slack:U2", "ada", false)),
            of("west", said("slack:U2", "bob", false)),
            said("slack:U2", "eve", false),
            of("east", said("slack:U2", "ada", true)),
        ] {
            say(&log, &clock, said).await.unwrap();
        }
        let mapped = mapped(&log).await.unwrap();
        let west = ("slack:U2".to_owned(), Some(SourceId::new("west").unwrap()));
        let of_all = |user: &str| (user.to_owned(), None);
        let known = [of_all("slack:U2"), west.clone(), of_all("telegram:1")];
        assert_eq!(Vec::from_iter(mapped.keys()), Vec::from_iter(&known));
        let one = &mapped[&known[2]];
        assert_eq!((&one.said, one.position.sequence), (&said("telegram:1", "eve", false), 3));
        assert_eq!(mapped[&west].said.operator, "bob");
    }
}
