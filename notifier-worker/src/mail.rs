//! What is handed to an SMTP server, and what the server said to it.

use serde::{Deserialize, Serialize};

/// A mail, and the server that is to take it. It shows no `Debug`: it has a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    pub host: String,
    pub port: u16,
    pub security: Security,
    /// The authority whose certificates alone are trusted, in PEM; the machine's without one.
    pub authority: Option<String>,
    /// User and password.
    pub login: Option<(String, String)>,
    /// The sender's address, without a name.
    pub from: String,
    /// The recipients' addresses, without names.
    pub to: Vec<String>,
    /// What the mail calls itself, with angle brackets.
    pub id: String,
    /// The mail itself: header, blank line, body, in lines that end with CR LF.
    pub content: Vec<u8>,
}

/// How the way to the server is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// In the clear at first, then STARTTLS (RFC 3207); never without.
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// In the clear.
    Plain,
}

impl Security {
    /// The word in the configuration, and the port the server listens on by custom.
    pub const ALL: [(&str, Self, u16); 3] =
        [("starttls", Self::StartTls, 587), ("tls", Self::Tls, 465), ("plain", Self::Plain, 25)];
}

/// How the dialogue with the server ended: the body of the answer that the channel reads, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// How far it came.
    pub stage: Stage,
    /// The code of the server's last reply; 0 where it was this side that would not go on.
    pub code: u16,
    /// That reply's text, or this side's reason.
    pub text: String,
    /// The mail's own id.
    pub id: String,
    /// Recipients it does not take the mail for.
    pub missed: Vec<Missed>,
}

/// A recipient the server does not take the mail for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    pub to: String,
    pub code: u16,
    pub text: String,
}

/// A part of the dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The server's greeting, and ours.
    Greeting,
    Tls,
    Login,
    Sender,
    /// None of the recipients is taken.
    Recipients,
    /// The server will not hear the content, or does not take it.
    Content,
    /// It is taken.
    Taken,
}
