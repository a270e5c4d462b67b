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

use schemas::{
    Alert, ProjectId, SourceId,
    alert::Stage,
    record::{Auth, Delivery},
};
use serde_json::Value;

use crate::redact::Redactor;

mod auth;
mod build;
mod fields;
mod group;
mod heartbeat;
mod interaction;
mod json;
mod own;
mod request;
pub mod severity;
mod sign;
mod single;
pub mod times;

pub use fields::{FieldMap, FieldPath};
pub use group::label_fingerprint;
pub use interaction::{
    Ask, By, Interaction, Number, Place, ReplyCredential, SILENCE_MINUTES, Target, is_chat_user,
};
pub(crate) use interaction::{QUESTIONS, is_command};
pub use own::Own;
pub use request::{Credential, NamedChannel, NotAdmitted, Refused, Reply, Request, Senders};
pub use sign::{Outgoing, Proof, Secret};

macro_rules! providers {
    ($($module:ident => $entry:ident,)*) => {
        $(pub mod $module;)*
        static ALL: &[&dyn Provider] = &[$(&$module::$entry),*];
    };
}

providers! {
    alertmanager => Alertmanager,
    aws_sns => AwsSns,
    azure_monitor => AzureMonitor,
    cloudevents => CloudEvents,
    custom => Custom,
    datadog => Datadog,
    gcp_monitoring => GcpMonitoring,
    github => Github,
    gitlab => Gitlab,
    grafana => Grafana,
    lark => Lark,
    opsgenie => Opsgenie,
    otlp => Otlp,
    pagerduty_events => PagerdutyEvents,
    pagerduty_webhook => PagerdutyWebhook,
    sentry => Sentry,
    signoz => Signoz,
    slack => Slack,
    standard_webhooks => StandardWebhooks,
    telegram => Telegram,
    uptime_kuma => UptimeKuma,
    zabbix => Zabbix,
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

/// Where test deliveries are received.
pub const TEST_PATH: &str = "/test";

/// What a test delivery says whose sender says nothing.
pub const TEST_BODY: &str =
    r#"{"message":"[告警] bellwether test\n服务: bellwether","sender_id":"bellwether"}"#;

/// The provider whose bodies test deliveries are.
pub fn of_tests() -> &'static dyn Provider {
    &custom::Custom
}

/// The source of the heartbeats that this system writes itself (R54).
pub const HEARTBEAT_SOURCE: &str = "heartbeat";

/// Why a delivery is recorded and never an alert: it is about this system's own errors (R63).
pub const OWN_PROJECT: &str = "own_project";

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

/// Whether the alerts of `provider` are errors of a program.
pub fn tells_errors(provider: &str) -> bool {
    by_name(provider).is_some_and(Provider::tells_errors)
}

/// What messages call the system that alerts of `provider` come from, where that is not what the
/// provider is called (R38).
pub fn told_as(provider: &str) -> Option<&'static str> {
    by_name(provider)?.told_as()
}

/// What the log's names for what befalls deliveries of `provider` begin with (R46).
pub fn log_prefix(provider: &str) -> Option<&'static str> {
    by_name(provider)?.log_prefix()
}

/// The path that senders of several providers share: [`detect`] tells whose a body is.
pub const SHARED_PATH: &str = "/api/alert";

/// How much a body looks like what a sender makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// Nothing of it.
    None,
    /// It could be anything, and so it could be this.
    Anything,
    /// The shape that several senders share.
    Shape,
    /// What only this sender writes.
    Marks,
}

/// Whose body this is, of those who may be asked: the provider whose marks it bears, and for a body
/// that is not even JSON the one that takes anything.
pub fn detect(body: &[u8], asked: impl Fn(&dyn Provider) -> bool) -> Option<&'static dyn Provider> {
    let body = json::outline(body).unwrap_or_default();
    let mut best = (Likeness::None, None);
    for provider in ALL.iter().copied().filter(|provider| asked(*provider)) {
        let likeness = provider.likeness(&body);
        if likeness > best.0 {
            best = (likeness, Some(provider));
        }
    }
    best.1
}

/// The chat in which messages of that kind of channel are answered.
pub fn chat_of(channel: &str) -> Option<&'static str> {
    ALL.iter().find(|p| p.channels().contains(&channel)).map(|p| p.name())
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
    // Whoever accepted it knew already: its bytes are not even looked at.
    if let Some(reason) = &delivery.recorded {
        return Normalised::Recorded { reason: build::cut(reason, build::MAX_LINE) };
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
    /// What somebody asks for in a chat.
    Interaction { interaction: Box<Interaction>, key: Option<DeliveryKey> },
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

    /// Whether the sender can prove itself by a credential of this kind: everything that is shown as it
    /// is, unless the provider says otherwise.
    fn accepts(&self, credential: &Credential) -> bool {
        match credential {
            Credential::Basic { .. } | Credential::Bearer { .. } | Credential::Token { .. } => true,
            Credential::Hmac { .. } | Credential::Entra { .. } => false,
        }
    }

    /// Whether its senders come back after a 429. To others too many requests are a 503, because
    /// they would give up what they wanted to say.
    fn retries_too_many(&self) -> bool {
        true
    }

    /// Where it can be reached besides `/webhook/<name>`: paths its senders have built in.
    fn paths(&self) -> &'static [&'static str] {
        &[]
    }

    /// How much a body on [`SHARED_PATH`] looks like this sender's.
    fn likeness(&self, _body: &Value) -> Likeness {
        Likeness::None
    }

    /// Whether a source needs a credential of its own: not where requests are signed with a key
    /// that everybody may know.
    fn needs_credential(&self) -> bool {
        true
    }

    /// The 503 detail of a production source without any credential (R3).
    fn missing_secret_detail(&self) -> &'static str;

    /// An https address whose content [`Provider::authenticate`] wants in
    /// [`Request::fetched`]. The request is not authentic yet: whoever names an address has made
    /// sure that it is one of the sender's own hosts.
    fn needs(&self, _request: &Request<'_>, _credentials: &[Credential]) -> Option<String> {
        None
    }

    /// Whether what was fetched is too old for this request, which names something that it lacks.
    fn is_outdated(&self, _request: &Request<'_>) -> bool {
        false
    }

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

    /// What a sender adds to a request so that [`Provider::authenticate`] lets it in. None: it has
    /// no way to show such a secret.
    fn sign(&self, _outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        sign::shown(secret)
    }

    /// The body to store instead of the one that was sent, where that one is sealed with one of
    /// the credentials. What follows sees it as [`Request::body`].
    ///
    /// # Errors
    /// The 401 to answer, which does not tell how far opening it came.
    fn unseal(
        &self,
        _request: &Request<'_>,
        _credentials: &[Credential],
    ) -> Result<Option<Vec<u8>>, Refused> {
        Ok(None)
    }

    /// What an authentic request is answered.
    fn reply(&self, _request: &Request<'_>) -> Reply {
        Reply::Accepted
    }

    /// An https address to ask for once, after the record is durable (a subscription to confirm).
    /// Whoever names one has made sure that it is one of the sender's own hosts.
    fn follow_up(&self, _request: &Request<'_>) -> Option<String> {
        None
    }

    /// Whether an authentic request is about a project of this system's own, whose errors make no
    /// alerts here.
    fn is_about(&self, _request: &Request<'_>, _own: &Own) -> bool {
        false
    }

    /// The channel the sender wants its messages to go to. One that there is not, or that it may not
    /// name, is answered 422.
    fn channel(&self, _request: &Request<'_>) -> Option<NamedChannel> {
        None
    }

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

    /// The kinds of channel whose messages people of this chat answer, by a reaction or a command:
    /// what those channels say names a message is what the chat names it by.
    fn channels(&self) -> &'static [&'static str] {
        &[]
    }

    /// What one of its deliveries brings for its answer.
    fn reply_credential(&self, _: &Delivery) -> Option<ReplyCredential> {
        None
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

    /// Whether its alerts are errors of a program, with a type, a value and a place in the code,
    /// rather than something watched that crossed a line. Messages (R40) and incidents speak of
    /// them in other words, and have words for what such a body leaves out (R22).
    fn tells_errors(&self) -> bool {
        false
    }

    /// What messages call the system its alerts come from, where that is not [`Self::title`] (R38).
    fn told_as(&self) -> Option<&'static str> {
        None
    }

    /// What its names in the log begin with, where it has names of its own (R46).
    fn log_prefix(&self) -> Option<&'static str> {
        None
    }

    /// What it means to hear nothing more of what this alert tells.
    fn silence(&self, _alert: &Alert) -> Silence {
        Silence::Nothing
    }

    /// The body in our words, redacted. Never panics, whatever the bytes. Called through
    /// [`normalise`].
    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised;
}
