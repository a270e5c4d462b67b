//! What is to be sent, and to whom.

use std::fmt;

use minicbor::{Decode, Encode};
use schemas::{
    Facts, IncidentId, Position, ProjectId, SourceId, Time,
    alert::Risk,
    event::{Cause, Frequency},
    job::{Reply, SendKind, Standing, Summary},
};

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Recipient {
    /// Whoever stands behind a receiver that rules name.
    #[n(0)]
    Receiver(#[n(0)] String),
    /// One configured channel, by id.
    #[n(1)]
    Channel(#[n(0)] String),
    /// The chat of a provider and a source in which something was asked.
    #[n(2)]
    Chat(#[n(0)] String, #[n(1)] SourceId),
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receiver(name) => f.write_str(name),
            Self::Channel(id) => write!(f, "channel:{id}"),
            Self::Chat(provider, source) => write!(f, "chat:{provider}/{source}"),
        }
    }
}

/// A message that is to be sent to whoever stands behind a recipient.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub project: ProjectId,
    /// The incident; of a summary, a test or a reply an id derived from its subject.
    pub incident: IncidentId,
    /// The incident's opening position, the key of a summary, or the position of what is replied to:
    /// all that is told of one subject is one message there.
    pub subject: String,
    /// Where the incident, or the first of a summary, was opened.
    pub opening: Position,
    pub kind: SendKind,
    pub to: Recipient,
    pub facts: Facts,
    pub risk: Risk,
    /// The rule that decided, and the hash of the rules document it stands in.
    pub rule: String,
    pub rules: String,
    /// What caused it: with project, target, kind and subject the key nothing is told twice under.
    pub trigger: Position,
    /// Lane time of the event that caused it.
    pub at: Time,
    pub frequency: Option<Frequency>,
    pub cause: Option<Cause>,
    pub standing: Option<Standing>,
    pub summary: Option<Box<Summary>>,
    pub reply: Option<Box<Reply>>,
    pub tags: Vec<String>,
}
