//! Which operator a user of a chat is: said by control records, of which the last one of a user is in
//! force.

use std::collections::BTreeMap;

use eventlog::Log;
use runtime::Clock;
use schemas::{
    InputPosition, Record, Time,
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

/// Who the users of chats are, by user.
///
/// # Errors
/// When the log cannot be asked.
pub async fn mapped(log: &dyn Log) -> anyhow::Result<BTreeMap<String, Mapped>> {
    let mut mapped = BTreeMap::new();
    for (position, Record { received_at: at, body, .. }) in Controls::read(log).await?.records {
        let Body::Control(control) = body else { continue };
        let Control::ChatOperator(said) = *control else { continue };
        if said.removed {
            mapped.remove(&said.user);
        } else {
            mapped.insert(said.user.clone(), Mapped { said, at, position });
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
        };
        for (user, operator, removed) in [
            ("telegram:1", "ada", false),
            ("lark:ou_1", "bob", false),
            ("telegram:1", "eve", false),
            ("lark:ou_1", "bob", true),
            ("slack:U1", "bob", true),
        ] {
            say(&log, &clock, said(user, operator, removed)).await.unwrap();
        }
        let mapped = mapped(&log).await.unwrap();
        assert_eq!(Vec::from_iter(mapped.keys()), ["telegram:1"]);
        let one = &mapped["telegram:1"];
        assert_eq!((&one.said, one.position.sequence), (&said("telegram:1", "eve", false), 3));
    }
}
