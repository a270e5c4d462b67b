//! What people name an incident by: its number, a message about it, the position that opened it.
//!
//! A name is kept as a row, from the record that gives it on: the control record of the number, the
//! outcome of the send. So every fold of the log finds the same incident by the same name, and no
//! fold has to remember them all.

use schemas::{
    Position, ProjectId, id,
    job::{SendKind, SendResult},
    record::{IncidentNumber, SendOutcome},
};
use uuid::Uuid;

use crate::providers::{self, Number, Target};

/// An incident, by what it is found with: its project and the position that opened it.
pub type Named = (ProjectId, Position);

/// What the control record of a number names an incident by: the number, and the position, which
/// does not tell the project.
pub(super) fn of_number(project: &ProjectId, given: &IncidentNumber) -> [(Uuid, Named); 2] {
    let named = (project.clone(), given.opening);
    [(number(project, &given.day, given.number), named.clone()), (opening(given.opening), named)]
}

/// What the outcome of a send names an incident by: the message, where people can answer it.
pub(super) fn of_outcome(project: &ProjectId, outcome: &SendOutcome) -> Option<(Uuid, Named)> {
    let SendResult::Delivered(Some(id)) = &outcome.result else { return None };
    // What an answer or a trial stands under is a position too, and opened nothing.
    if [SendKind::Reply, SendKind::Test].iter().any(|kind| kind.word() == outcome.kind) {
        return None;
    }
    let chat = providers::chat_of(&outcome.channel)?;
    // A digest tells of many, and answers to it of none.
    let opening = outcome.subject.parse().ok()?;
    Some((message(chat, id), (project.clone(), opening)))
}

/// The key of what a person named; `project` is that of the chat's source.
pub(super) fn of_target(project: &ProjectId, target: &Target) -> Uuid {
    match target {
        Target::Opening { opening: at, lane: _ } => opening(*at),
        Target::Number { project: named, number: Number { day, number: n } } => {
            number(named.as_ref().unwrap_or(project), day, *n)
        }
        Target::Message { chat, id } => message(chat, id),
    }
}

fn number(project: &ProjectId, day: &str, number: u32) -> Uuid {
    id::hash(&[b"number", project.as_str().as_bytes(), day.as_bytes(), &number.to_be_bytes()])
}

fn opening(at: Position) -> Uuid {
    id::hash(&[b"opening", at.to_string().as_bytes()])
}

fn message(chat: &str, message: &str) -> Uuid {
    id::hash(&[b"message", chat.as_bytes(), message.as_bytes()])
}
