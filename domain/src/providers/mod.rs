//! The senders: what each one signs, what makes its deliveries and problems the same again, and
//! how its body reads in our words.
//!
//! To add a provider: one file with a type that implements [`Provider`], one line in the registry
//! below, samples in `schemas/fixtures/providers/<name>/`. Nothing outside this folder changes.
//!
//! A provider knows nothing of the log, of tables or of what is decided later, and it never
//! invents: what a payload does not state stays absent (Sentry's documented defaults excepted).

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::fmt;

use schemas::{
    Alert,
    record::{Auth, Delivery},
};
use serde_json::Value;

use crate::redact::Redactor;

mod auth;
mod build;
mod json;
pub mod severity;
pub mod times;

macro_rules! providers {
    ($($module:ident => $entry:ident,)*) => {
        $(pub mod $module;)*
        static ALL: &[&dyn Provider] = &[$(&$module::$entry),*];
    };
}

providers! {
    alertmanager => Alertmanager,
    sentry => Sentry,
}

#[cfg(test)]
mod tests;

/// Every provider, by name.
pub fn all() -> &'static [&'static dyn Provider] {
    ALL
}

/// The provider of that registry name.
pub fn by_name(name: &str) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|p| p.name() == name)
}

/// One inbound HTTP request, as received.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Lower-case names, values as received.
    pub headers: &'a [(String, String)],
    /// The raw bytes; signatures hold for exactly these.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// One of the credentials a source accepts; several are valid while they are rotated.
#[derive(Clone)]
pub enum Credential {
    /// Secret of a message authentication code.
    Hmac { id: String, secret: Vec<u8> },
    /// User and password of HTTP basic authentication.
    Basic { id: String, user: String, password: String },
    /// SHA-256 of a bearer token.
    Bearer { id: String, sha256: [u8; 32] },
}

impl Credential {
    /// What the credential is called in records and logs.
    pub fn id(&self) -> &str {
        match self {
            Self::Hmac { id, .. } | Self::Basic { id, .. } | Self::Bearer { id, .. } => id,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Hmac { .. } => "Hmac",
            Self::Basic { .. } => "Basic",
            Self::Bearer { .. } => "Bearer",
        };
        f.debug_struct(kind).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Why a request is not authentic; the body of the 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: &'static str,
    pub detail: &'static str,
}

/// What makes a delivery the same delivery, sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryKey {
    /// Unique within one source.
    pub key: String,
    /// The sender keeps it over its retries: it holds for 72 h of lane time. Otherwise it is made
    /// of what the body says, and holds for 20 minutes.
    pub stable: bool,
}

/// What became of a delivery's body.
///
/// A reason is one snake_case word, followed by `: ` and detail where there is more to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Normalised {
    /// At least one alert.
    Alerts { alerts: Vec<Alert>, key: Option<DeliveryKey> },
    /// Understood, and no alert.
    Recorded { reason: String },
    /// Not this provider's payload.
    Rejected { reason: String },
}

/// A kind of sender.
pub trait Provider: Sync {
    /// Registry name, as routes, tables and rules spell it.
    fn name(&self) -> &'static str;

    /// Version of the normalisation: raised whenever the same bytes would read differently.
    fn version(&self) -> u32;

    /// The request headers that are kept in the record, lower-case. Never a credential.
    fn kept_headers(&self) -> &'static [&'static str];

    /// Whether the sender can prove itself by a credential of this kind.
    fn accepts(&self, credential: &Credential) -> bool;

    /// The 503 detail of a production source without any credential (R3).
    fn missing_secret_detail(&self) -> &'static str;

    /// Whether the request comes from a holder of one of the credentials.
    ///
    /// Takes the same time whichever credential matches, and whether one does.
    ///
    /// # Errors
    /// The 401 to answer.
    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused>;

    /// What makes the delivery the same again; `body` as parsed, before redaction.
    fn delivery_key(&self, delivery: &Delivery, body: &Value) -> Option<DeliveryKey>;

    /// The body in our words, redacted. Never panics, whatever the bytes.
    fn normalise(&self, delivery: &Delivery, redactor: &Redactor) -> Normalised;
}
