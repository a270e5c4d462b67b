//! Who asks in a chat is answered: what was asked for is done, or why it is not, or how things are.
//!
//! What is asked about is looked up when the answer is sent; here only stands what it is about, and
//! where it belongs.

use schemas::{
    IncidentId,
    event::{Applied, Asked, Refused},
    job::Reply,
};
use serde_json::{Map, Value, json};

/// The incident that a reply is about, in its arguments.
const INCIDENT: &str = "incident";

/// That something was done; none where nobody waits for that.
pub(super) fn done(applied: &Applied) -> Option<Reply> {
    let to = applied.reply.clone()?;
    let mut arguments = object(&applied.arguments);
    arguments.insert("changed".to_owned(), json!(applied.changed));
    arguments.insert(INCIDENT.to_owned(), json!(applied.incident));
    Some(Reply {
        to,
        verb: applied.verb.clone(),
        arguments: Value::Object(arguments).to_string(),
        actor: applied.actor.clone(),
        refused: None,
    })
}

/// That something was not done, and why: nothing of what it was about, because whoever may not act is
/// not told what there is.
pub(super) fn not_done(refused: &Refused) -> Option<Reply> {
    Some(Reply {
        to: refused.reply.clone()?,
        verb: refused.verb.clone(),
        arguments: "{}".to_owned(),
        actor: refused.actor.clone(),
        refused: Some(refused.reason.clone()),
    })
}

/// How things are.
pub(super) fn asked_for(asked: &Asked) -> Reply {
    let mut arguments = object(&asked.arguments);
    if let Some(incident) = asked.incident {
        arguments.insert(INCIDENT.to_owned(), json!(incident));
    }
    Reply {
        to: asked.to.clone(),
        verb: asked.verb.clone(),
        arguments: Value::Object(arguments).to_string(),
        actor: asked.actor.clone(),
        refused: None,
    }
}

/// The incident that an answer is about; none where it is about none, or none may be told of.
pub fn about(reply: &Reply) -> Option<IncidentId> {
    object(&reply.arguments).get(INCIDENT)?.as_str()?.parse().ok().map(IncidentId)
}

/// The same, with what was found to be said: the number of the incident it is about, and lines.
pub fn with_found(reply: &Reply, number: Option<&str>, lines: &[String]) -> Reply {
    let mut arguments = object(&reply.arguments);
    if let Some(number) = number {
        arguments.insert("number".to_owned(), json!(number));
    }
    if !lines.is_empty() {
        arguments.insert("lines".to_owned(), json!(lines));
    }
    Reply { arguments: Value::Object(arguments).to_string(), ..reply.clone() }
}

fn object(text: &str) -> Map<String, Value> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use schemas::{
        Fingerprint, InputPosition, Position, SourceId, event::IncidentState, job::ReplyTo,
    };
    use uuid::Uuid;

    use super::*;

    fn at(sequence: u64) -> Position {
        InputPosition { incarnation: 7, sequence, record: 0 }.whole()
    }

    fn to() -> ReplyTo {
        ReplyTo {
            provider: "telegram".into(),
            source: SourceId::new("ops").unwrap(),
            chat: Some("-100".into()),
            message: Some("7".into()),
            at: at(9),
            ours: false,
        }
    }

    fn applied(reply: Option<ReplyTo>) -> Applied {
        Applied {
            incident: IncidentId(Uuid::from_u128(5)),
            fingerprint: Fingerprint(Uuid::from_u128(6)),
            opening: at(3),
            verb: "silence".into(),
            actor: "ada".into(),
            auth_method: "chat:telegram:1".into(),
            before: IncidentState::Open,
            after: IncidentState::Open,
            changed: true,
            arguments: r#"{"minutes":30}"#.into(),
            triage: None,
            reply,
            diagnosis: None,
        }
    }

    #[test]
    fn r15_an_answer_says_what_it_is_about_and_what_was_found() {
        assert_eq!(done(&applied(None)), None, "the message itself shows it");
        let said = done(&applied(Some(to()))).unwrap();
        assert_eq!(about(&said), Some(IncidentId(Uuid::from_u128(5))));
        let found = with_found(&said, Some("INC-20260101-001"), &["a".to_owned()]);
        let arguments: Value = serde_json::from_str(&found.arguments).unwrap();
        assert_eq!((&arguments["changed"], &arguments["minutes"]), (&json!(true), &json!(30)));
        assert_eq!(arguments["number"], "INC-20260101-001");
        assert_eq!(arguments["lines"], json!(["a"]));
    }

    #[test]
    fn r47_a_refusal_tells_nothing_of_what_there_is() {
        let refused = |reply| Refused {
            incident: Some(IncidentId(Uuid::from_u128(5))),
            opening: Some(at(3)),
            verb: "ack".into(),
            actor: "telegram:4711".into(),
            auth_method: "chat".into(),
            reason: "unknown_actor".into(),
            reply,
        };
        assert_eq!(not_done(&refused(None)), None);
        let said = not_done(&refused(Some(to()))).unwrap();
        assert_eq!((about(&said), said.refused.as_deref()), (None, Some("unknown_actor")));
        let shown = format!("{said:?}");
        assert!(!shown.contains(&Uuid::from_u128(5).to_string()), "{shown}");
    }
}
