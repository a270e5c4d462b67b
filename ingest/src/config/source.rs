//! Section `[sources.<id>]`.

use std::fmt;

use ipnet::IpNet;
use schemas::Time;
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use super::{LimitsConfig, RateConfig};

/// Section `[sources.<id>]`: one endpoint, reached at `/webhook/<provider>/<id>`, and at
/// `/webhook/<provider>` when the id is the provider's name or it is the provider's only source.
///
/// ```toml
/// [sources.sentry]
/// secret = "..."                                       # or SENTRY_WEBHOOK_SECRET
///
/// [sources.prometheus]
/// provider = "alertmanager"
/// project = "payments"
/// basic = { user = "alertmanager", password = "..." }
/// bearer = [{ id = "2024-a", sha256 = "..." }]         # or key = "..."
///
/// [sources.scripts]
/// provider = "custom"
/// bearer = [{ key = "..." }]
/// senders = ["backup-bot", "deploy-bot"]               # or ["*"]: any body, from anybody
/// rate = { per_second = 10, burst = 50 }
///
/// [sources.legacy]                                     # /webhook/sentry/legacy/<the token>
/// provider = "sentry"
/// token = "..."
/// previous_token = "..."                               # still accepted, ...
/// previous_until = "2027-01-31T00:00:00Z"              # ... until then
/// allowed_ips = ["192.0.2.0/24"]                       # and from nowhere else
///
/// [sources.azure]
/// provider = "azure-monitor"
/// entra = { tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47", audience = "api://bellwether" }
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// Registry name of the provider; the source's id when absent.
    pub provider: Option<String>,
    /// The tenant everything from this source belongs to.
    pub project: String,
    /// `false` takes the source away: it is then unknown, as if it were not configured.
    pub enabled: bool,
    /// Secret of a signing provider. Empty counts as absent.
    pub secret: Option<SecretString>,
    /// The secret before, still accepted while the sender changes over.
    pub previous_secret: Option<SecretString>,
    /// A text the sender shows in the path, or where its provider looks for it.
    pub token: Option<SecretString>,
    /// The token before, still accepted while the sender changes over.
    pub previous_token: Option<SecretString>,
    /// When what is called `previous_...` is accepted no more. Absent: when it is removed.
    pub previous_until: Option<Time>,
    /// What a request has to show, of what is configured here.
    pub require: Require,
    /// Networks that may send; `ingest.allowed_ips` when empty. From elsewhere the answer is 403,
    /// whatever else is shown.
    #[serde(deserialize_with = "networks")]
    pub allowed_ips: Vec<IpNet>,
    /// Requests per second ([`LimitsConfig::rate`]).
    pub rate: Option<RateConfig>,
    /// Requests that may wait for the log at once.
    pub max_concurrent: Option<usize>,
    /// Largest request body in bytes, where it is less than `ingest.max_body_bytes`.
    pub max_body_bytes: Option<usize>,
    /// User and password of a provider without signatures.
    pub basic: Option<BasicConfig>,
    /// Keys sent as `Authorization: Bearer`; list two while the sender changes over.
    pub bearer: Vec<BearerConfig>,
    /// Tokens of Microsoft Entra, for a provider whose senders show them.
    pub entra: Option<EntraConfig>,
    /// The channels its sender may name in its address, where its senders can (`?feishu=` of `/hook`).
    /// Absent: every one of the kind while all sources are of one project, and none otherwise.
    pub channels: Option<Vec<String>>,
    /// Who may send to a source whose bodies name their sender: nobody in production while it is
    /// empty, anybody elsewhere. `"*"` alone is anybody, also without a name. From `ALERT_BOT_IDS`,
    /// a text with commas, for the source `custom`.
    #[serde(deserialize_with = "texts")]
    pub senders: Vec<String>,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            provider: None,
            project: "default".to_owned(),
            enabled: true,
            secret: None,
            previous_secret: None,
            token: None,
            previous_token: None,
            previous_until: None,
            require: Require::Credential,
            allowed_ips: Vec::new(),
            rate: None,
            max_concurrent: None,
            max_body_bytes: None,
            basic: None,
            bearer: Vec::new(),
            entra: None,
            channels: None,
            senders: Vec::new(),
        }
    }
}

impl SourceConfig {
    /// Its limits.
    pub fn limits(&self) -> LimitsConfig {
        LimitsConfig {
            rate: self.rate,
            max_concurrent: self.max_concurrent,
            max_body_bytes: self.max_body_bytes,
        }
    }
}

/// What a request has to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Require {
    /// One of the credentials, of whichever kind.
    #[default]
    Credential,
    /// One of each kind that is configured: a signature and a password, say.
    EveryKind,
    /// That it comes from one of `allowed_ips`, and nothing else.
    Address,
}

/// HTTP Basic credentials of a source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicConfig {
    pub user: String,
    /// Empty counts as absent.
    pub password: SecretString,
    /// The password before, still accepted while the sender changes over.
    pub previous_password: Option<SecretString>,
}

/// One bearer key of a source: the key itself, or its SHA-256 so that the file holds no secret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BearerConfig {
    /// Recorded with every delivery it lets in; its number in the list when absent.
    pub id: Option<String>,
    /// The key as the sender sends it. Empty counts as absent.
    pub key: Option<SecretString>,
    /// SHA-256 of the key as 64 hex digits, instead of `key`.
    pub sha256: Option<String>,
    /// When it is accepted no more. Absent: when it is removed.
    pub until: Option<Time>,
}

/// Which tokens of Microsoft Entra are believed; nothing of it is secret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EntraConfig {
    /// Id of the tenant (a GUID), whose keys sign them.
    pub tenant: String,
    /// The application that stands for this receiver there: its id, its URI, or both, as a list or
    /// a text with commas. Tokens of version 1 are for the URI, those of version 2 for the id.
    #[serde(deserialize_with = "texts")]
    pub audience: Vec<String>,
    /// Id of the application that calls (a GUID); that of the provider's senders when absent.
    pub application: Option<String>,
    /// The role that one has to have; what the provider's senders ask for when absent.
    pub role: Option<String>,
}

/// A list, or a text with commas between its entries, as the environment gives it.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct Texts;

    impl<'de> Visitor<'de> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts, or a text with commas")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            Ok(entries.map(str::to_owned).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = list.next_element()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    from.deserialize_any(Texts)
}

/// Networks in the form `10.0.0.0/8`; an address alone is a network of one.
pub(super) fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: &String| {
        let alone = || text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
        text.parse::<IpNet>()
            .ok()
            .or_else(alone)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is no network such as 10.0.0.0/8")))
    };
    texts(from)?.iter().map(network).collect()
}
