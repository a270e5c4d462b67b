//! What a sender adds to a request so that it is believed: the other side of
//! [`Provider::authenticate`](super::Provider::authenticate).

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use schemas::Time;
use sha2::{Digest, Sha256};

use super::{Credential, auth};

/// A credential as its sender has it: in the clear.
#[derive(Clone)]
pub enum Secret {
    /// What signatures are made with.
    Signing(Vec<u8>),
    /// User and password of HTTP basic authentication.
    Basic { user: String, password: String },
    /// A key shown as `Authorization: Bearer`.
    Bearer(String),
    /// A text shown in the path, or where the provider looks for it.
    Token(String),
}

impl Secret {
    /// What a source is configured with to accept it, under this id.
    pub fn credential(&self, id: &str) -> Credential {
        let id = id.to_owned();
        match self {
            Self::Signing(secret) => Credential::Hmac { id, secret: secret.clone() },
            Self::Basic { user, password } => {
                Credential::Basic { id, user: user.clone(), password: password.clone() }
            }
            Self::Bearer(key) => Credential::Bearer { id, sha256: Sha256::digest(key).into() },
            Self::Token(token) => Credential::Token { id, token: token.clone().into_bytes() },
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.credential("").kind())
    }
}

/// A request before it proves anything.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// When it is sent, for signatures that cover a time.
    pub sent_at: Time,
    /// An id of its own, for signatures that cover one: 8 or more graphic ASCII characters.
    pub id: &'a str,
    pub body: &'a [u8],
}

/// What is added to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// A further last segment of the path.
    pub token: Option<String>,
    /// The body to send instead, where the proof stands in it.
    pub body: Option<Vec<u8>>,
}

impl Proof {
    /// These headers alone.
    pub(super) fn headers<const N: usize>(headers: [(&str, String); N]) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value));
        Self { headers: headers.collect(), ..Self::default() }
    }
}

/// What shows a secret that nothing is signed with: the `Authorization` header, or the path.
pub(super) fn shown(secret: &Secret) -> Option<Proof> {
    let authorization = |value| Some(Proof::headers([("authorization", value)]));
    match secret {
        Secret::Signing(_) => None,
        Secret::Basic { user, password } => {
            let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
            authorization(format!("Basic {pair}"))
        }
        Secret::Bearer(key) => authorization(format!("Bearer {key}")),
        Secret::Token(token) => Some(Proof { token: Some(token.clone()), ..Proof::default() }),
    }
}

/// The HMAC-SHA256 of a message that is given in parts.
pub(super) fn hmac(secret: &[u8], message: &[&[u8]]) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    message.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().into())
}

/// The same in hexadecimal digits.
pub(super) fn hmac_hex(secret: &[u8], message: &[&[u8]]) -> Option<String> {
    hmac(secret, message).map(const_hex::encode)
}

/// The headers of Standard Webhooks (see [`auth::standard_webhooks`]).
pub(super) fn standard_webhooks(outgoing: &Outgoing<'_>, secret: &[u8]) -> Option<Proof> {
    let seconds = unix_seconds(outgoing);
    let message = [outgoing.id.as_bytes(), b".", seconds.as_bytes(), b".", outgoing.body];
    let mac = hmac(&auth::standard_webhooks_key(secret), &message)?;
    Some(Proof::headers([
        ("webhook-id", outgoing.id.to_owned()),
        ("webhook-timestamp", seconds),
        ("webhook-signature", format!("v1,{}", BASE64_STANDARD.encode(mac))),
    ]))
}

/// When it is sent, in Unix seconds.
pub(super) fn unix_seconds(outgoing: &Outgoing<'_>) -> String {
    outgoing.sent_at.micros().div_euclid(1_000_000).to_string()
}
