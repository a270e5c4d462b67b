//! What comes in by HTTP, what proves it, and what is answered.

use std::fmt;

use schemas::Time;

/// One inbound HTTP request, as received.
#[derive(Clone, Copy, Default)]
pub struct Request<'a> {
    /// When it was received: signatures that cover a time hold for a while only.
    pub received_at: Time,
    /// The path, without query and without a token in it.
    pub path: &'a str,
    /// Lower-case names, values as received.
    pub headers: &'a [(String, String)],
    /// What stood behind `?`, as received.
    pub query: &'a str,
    /// The last segment of `/webhook/{provider}/{source}/{token}`.
    pub token: Option<&'a str>,
    /// The raw bytes; signatures hold for exactly these.
    pub body: &'a [u8],
    /// What stood at the address that [`Provider::needs`](super::Provider::needs) named, where it
    /// could be had.
    pub fetched: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first query parameter of that name, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut values = pairs.filter(|(key, _)| decoded(key) == name).map(|(_, value)| value);
        values.next().map(decoded)
    }

    /// Whether it shows what [`Credential::Basic`], [`Credential::Bearer`] or a token in the path
    /// is compared with.
    pub fn shows_credential(&self) -> bool {
        self.token.is_some() || self.header("authorization").is_some()
    }
}

/// A part of a form or a query: `+` is a space, `%` and two digits a byte; what is neither stays.
fn decoded(text: &str) -> String {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match (byte, digit(bytes.get(at)), digit(bytes.get(at + 1))) {
            (b'+', ..) => out.push(b' '),
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits are less than 256.
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            _ => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One of the credentials a source accepts; several are valid while they are rotated.
#[derive(Clone)]
pub enum Credential {
    /// Secret of a message authentication code, or of a signature made with it.
    Hmac { id: String, secret: Vec<u8> },
    /// User and password of HTTP basic authentication.
    Basic { id: String, user: String, password: String },
    /// SHA-256 of a bearer token.
    Bearer { id: String, sha256: [u8; 32] },
    /// A text the sender shows in the path, in a header of its own, in the query or in the body.
    Token { id: String, token: Vec<u8> },
    /// What a token of Microsoft Entra has to say; no secret.
    Entra {
        id: String,
        /// The id of the tenant whose keys sign it.
        tenant: String,
        /// What it may be for: ids and URIs of the application that stands for the receiver.
        audiences: Vec<String>,
        /// The id of the application that calls; the provider's own when absent.
        application: Option<String>,
        /// The role that one was given; what the provider's is called when absent.
        role: Option<String>,
    },
}

impl Credential {
    /// What the credential is called in records and logs.
    pub fn id(&self) -> &str {
        match self {
            Self::Hmac { id, .. }
            | Self::Basic { id, .. }
            | Self::Bearer { id, .. }
            | Self::Token { id, .. }
            | Self::Entra { id, .. } => id,
        }
    }

    /// Its kind in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hmac { .. } => "secret",
            Self::Basic { .. } => "basic",
            Self::Bearer { .. } => "bearer",
            Self::Token { .. } => "token",
            Self::Entra { .. } => "entra",
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.kind()).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Who may send to a source whose bodies name their sender (R10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Senders {
    /// Anybody who is authentic; the body need not name its sender.
    Anybody,
    /// Anybody who is authentic and named.
    Named,
    /// These alone.
    Listed(Vec<String>),
}

/// Why an authentic request is not stored: its sender is a person or a script that reads the
/// answer, and can mend what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The body is not JSON (400).
    Malformed { detail: String },
    /// A field is missing or of the wrong kind; the detail begins with its name (422).
    Field { detail: String },
    /// Its sender may not send here (403).
    Forbidden { detail: String },
}

/// Why a request is not authentic; the body of the 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: &'static str,
    pub detail: &'static str,
}

/// A channel that a sender names.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedChannel {
    /// The id or the whole address of a configured one.
    pub named: String,
    /// Only one of this kind is meant, and only one that the source may name; absent: any.
    pub kind: Option<&'static str>,
}

/// What an authentic request is answered; bodies are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 202 with the record's id and where its outcome will stand, once it is durable.
    Accepted,
    /// The same with 201.
    Created,
    /// This, once it is durable: what the sender expects.
    Stored { status: u16, body: String },
    /// This, and nothing is stored: it only asked whether somebody listens.
    Handshake { status: u16, body: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let check = |query: &str, expect: Option<&str>| {
            let request = Request { query, ..Request::default() };
            assert_eq!(request.parameter("feishu").as_deref(), expect, "{query}");
        };
        check("", None);
        check("feishus=1", None);
        check("feishu", Some(""));
        check("a=1&feishu=ops+team&feishu=2", Some("ops team"));
        check("f%65ishu=https%3A%2F%2Fx%2F%e4%BD%A0", Some("https://x/你"));
        check("feishu=100%&b", Some("100%"));
        check("feishu=%zz%4", Some("%zz%4"));
        check("feishu=%ff=", Some("\u{fffd}="));
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = || "sesame".to_owned();
        for credential in [
            Credential::Hmac { id: "a".into(), secret: secret().into_bytes() },
            Credential::Basic { id: "a".into(), user: secret(), password: secret() },
            Credential::Token { id: "a".into(), token: secret().into_bytes() },
        ] {
            let shown = format!("{credential:?}");
            assert!(shown.contains('a') && !shown.contains("sesame"), "{shown}");
            assert!(!shown.contains("115"), "{shown}");
        }
    }
}
