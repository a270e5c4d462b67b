//! The sections `[ingest]` and `[sources.<id>]`.

use std::{net::SocketAddr, time::Duration};

use eventlog::SpoolConfig;
use runtime::{ConfigError, http_server::Limits};
use secrecy::SecretString;
use serde::Deserialize;

/// The largest body that can be configured: the managed server takes messages of 8 MiB, and a
/// frame needs room around its record.
pub const MAX_BODY_BYTES: usize = (8 << 20) - (64 << 10);

/// Section `[ingest]`: where webhooks are received and what one may cost.
///
/// ```toml
/// [ingest]
/// listen = "0.0.0.0:9000"
/// max_body_bytes = 917504        # a larger body is answered 413
/// body_deadline = "10s"          # a slower body is answered 408
/// header_timeout = "5s"          # also how long an idle connection is kept
/// max_connections = 16384        # further ones wait in the kernel's queue
/// max_inflight_bytes = 16777216  # bodies held at once; beyond it 503 with Retry-After
/// spool = { dir = "/var/lib/bellwether/spool", max_bytes = 536870912 }  # while the log is away
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Largest request body in bytes; a larger one is answered 413.
    pub max_body_bytes: usize,
    /// From the end of the header to the end of the body; a slower one is answered 408.
    #[serde(with = "runtime::config::duration")]
    pub body_deadline: Duration,
    /// From the start of a connection, or the last response, to the end of the header.
    #[serde(with = "runtime::config::duration")]
    pub header_timeout: Duration,
    /// Connections held at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Bytes of bodies held at once, until they are durable; beyond it 503 with Retry-After.
    pub max_inflight_bytes: usize,
    /// Where deliveries are kept while the log does not take them; absent: they are answered 503.
    pub spool: Option<SpoolConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([0, 0, 0, 0], 9000).into(),
            max_body_bytes: 896 << 10,
            body_deadline: Duration::from_secs(10),
            header_timeout: Duration::from_secs(5),
            max_connections: 16_384,
            max_inflight_bytes: 16 << 20,
            spool: None,
        }
    }
}

impl Config {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// A bound that would refuse everything.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fail = |key: &str, problem: String, remedy: String| {
            Err(ConfigError::new(format!("ingest.{key}"), problem, remedy))
        };
        if !(1..=MAX_BODY_BYTES).contains(&self.max_body_bytes) {
            let remedy = format!("use 1 to {MAX_BODY_BYTES}");
            return fail("max_body_bytes", format!("is {}", self.max_body_bytes), remedy);
        }
        if self.max_inflight_bytes < self.max_body_bytes {
            let problem = format!(
                "{} is less than one body of max_body_bytes ({})",
                self.max_inflight_bytes, self.max_body_bytes
            );
            return fail("max_inflight_bytes", problem, "raise it".to_owned());
        }
        // Everything that may be held at once must fit, or a spool that is empty would refuse it.
        if let Some(spool) = &self.spool
            && spool.max_bytes < self.max_inflight_bytes as u64
        {
            let remedy = format!("use at least max_inflight_bytes ({})", self.max_inflight_bytes);
            return fail("spool.max_bytes", format!("is {}", spool.max_bytes), remedy);
        }
        if self.max_connections == 0 {
            return fail("max_connections", "is 0".to_owned(), "use at least 1".to_owned());
        }
        for (key, value) in
            [("body_deadline", self.body_deadline), ("header_timeout", self.header_timeout)]
        {
            if value.is_zero() {
                return fail(key, "is 0".to_owned(), "use a positive time".to_owned());
            }
        }
        Ok(())
    }

    /// The bounds of the listener.
    pub fn limits(&self) -> Limits {
        Limits {
            header_timeout: self.header_timeout,
            max_connections: self.max_connections,
            ..Limits::default()
        }
    }
}

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
    /// User and password of a provider without signatures.
    pub basic: Option<BasicConfig>,
    /// Keys sent as `Authorization: Bearer`; list two while the sender changes over.
    pub bearer: Vec<BearerConfig>,
    /// Who may send to a source whose bodies name their sender: nobody in production while it is
    /// empty, anybody elsewhere. `"*"` alone is anybody, also without a name.
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
            basic: None,
            bearer: Vec::new(),
            senders: Vec::new(),
        }
    }
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
}
