//! The senders: what each one signs, what makes its deliveries and problems the same again, and
//! how its body reads in our words.
//!
//! To add a provider: one file with a type that implements [`Provider`], one line in the registry
//! below, samples in `schemas/fixtures/providers/<name>/`. Nothing outside this folder changes: what
//! others must know of a sender is a method of the trait.
//!
//! A provider knows nothing of the log, of tables or of what is decided later, and it never
//! invents: what a payload does not state stays absent (Sentry's documented defaults excepted).

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::fmt;

use schemas::{
    Alert, ProjectId, SourceId, Time,
    alert::Stage,
    record::{Auth, Delivery},
};

use crate::redact::Redactor;

mod auth;
mod build;
mod fields;
mod group;
mod heartbeat;
mod json;
pub mod severity;
pub mod times;

pub use fields::{FieldMap, FieldPath};

macro_rules! providers {
    ($($module:ident => $entry:ident,)*) => {
        $(pub mod $module;)*
        static ALL: &[&dyn Provider] = &[$(&$module::$entry),*];
    };
}

providers! {
    alertmanager => Alertmanager,
    custom => Custom,
    grafana => Grafana,
    sentry => Sentry,
    signoz => Signoz,
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

/// The source of test deliveries: whatever they say is recorded, and never an incident.
pub const TEST_SOURCE: &str = "test";

/// The source of the heartbeats that this system writes itself (R54).
pub const HEARTBEAT_SOURCE: &str = "heartbeat";

/// Whether no configured source may have this id.
pub fn is_reserved(source: &SourceId) -> bool {
    [TEST_SOURCE, HEARTBEAT_SOURCE].contains(&source.as_str())
}

/// How a delivery came in, as the dossier says it (R50): `webhook`, `chat` or `console`.
pub fn channel_type(provider: &str, source: &SourceId) -> &'static str {
    match source.as_str() {
        HEARTBEAT_SOURCE => "console",
        _ => by_name(provider).map_or("webhook", Provider::channel_type),
    }
}

/// Reads a delivery of `provider` in our words, redacted. Never panics, whatever the bytes.
///
/// Deliveries of the reserved sources are read here as what they are.
pub fn normalise(
    provider: &dyn Provider,
    delivery: &Delivery,
    reading: &Reading<'_>,
) -> Normalised {
    if delivery.source.as_str() == HEARTBEAT_SOURCE {
        return heartbeat::normalise(provider, delivery, reading);
    }
    let mut told = provider.normalise(delivery, reading);
    if delivery.source.as_str() == TEST_SOURCE
        && let Normalised::Alerts { alerts, .. } = &mut told
    {
        for alert in alerts {
            alert.stage = Stage::Test;
        }
    }
    told
}

/// What a body is read with besides itself.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The tenant of the source.
    pub project: &'a ProjectId,
    pub redactor: &'a Redactor,
    /// Where bodies of the source hold what, when their shape is the sender's own.
    pub fields: Option<&'a FieldMap>,
}

/// One inbound HTTP request, as received.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// When it was received: signatures that cover a time hold for a while only.
    pub received_at: Time,
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

/// What it means to hear nothing more of a problem from its sender (R70).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing: the sender tells ends, and in between only what is new.
    Nothing,
    /// That it is over: the sender need not tell an end.
    Over,
    /// That it is over: the sender repeats by the clock what still fires.
    MissedRepeat,
}

/// A kind of sender.
pub trait Provider: Sync {
    /// Registry name, as routes, tables and rules spell it.
    fn name(&self) -> &'static str;

    /// The name as people write it.
    fn title(&self) -> &'static str;

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

    /// Whether an authentic request may be stored, where that depends on what its body says.
    ///
    /// # Errors
    /// What to answer instead of 202.
    fn admit(&self, _request: &Request<'_>, _senders: &Senders) -> Result<(), NotAdmitted> {
        Ok(())
    }

    /// Whether bodies name their sender, so that a source can list who may send.
    fn names_senders(&self) -> bool {
        false
    }

    /// How its deliveries come in: `webhook` or `chat`.
    fn channel_type(&self) -> &'static str {
        "webhook"
    }

    /// Whether one identity has one state over all environments, told by alerts that name none.
    fn spans_environments(&self) -> bool {
        false
    }

    /// Whether alerts name a pod or an instance, so that what recurs is counted by alert name,
    /// namespace and target rather than by fingerprint.
    fn recurs_by_target(&self) -> bool {
        false
    }

    /// What it means to hear nothing more of what this alert tells.
    fn silence(&self, _alert: &Alert) -> Silence {
        Silence::Nothing
    }

    /// The body in our words, redacted. Never panics, whatever the bytes. Called through
    /// [`normalise`].
    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised;
}
