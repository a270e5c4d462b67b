//! The sections `[ingest]` and `[sources.<id>]`.

mod source;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use eventlog::SpoolConfig;
use ipnet::IpNet;
use runtime::{ConfigError, http_server};
use serde::Deserialize;

use crate::budget::Shares;

pub use source::{BasicConfig, BearerConfig, EntraConfig, Require, SourceConfig};

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
/// peer_inflight_bytes = 4194304  # of these, by one address that has not proved anything yet
/// source_inflight_bytes = 8388608  # of these, to one source, not proved yet
/// allowed_ips = ["10.0.0.0/8"]   # or ALLOWED_IPS; for sources without a list of their own
/// trusted_proxies = ["10.0.0.5/32"]  # whose X-Forwarded-For is believed
/// test_keys = [{ id = "ci", sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }]
///
/// [ingest.projects.payments]     # all sources of a project together
/// rate = { per_second = 100, burst = 500 }
/// max_concurrent = 64
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
    /// Of these, by requests of one address (IPv6: one /64) that are not known to be authentic.
    pub peer_inflight_bytes: usize,
    /// Of these, by requests to one source that are not known to be authentic.
    pub source_inflight_bytes: usize,
    /// Networks that may send to sources without a list of their own; empty is everybody. From
    /// `ALLOWED_IPS`, a text with commas. Health and metrics are not concerned.
    #[serde(deserialize_with = "source::networks")]
    pub allowed_ips: Vec<IpNet>,
    /// The proxies whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "source::networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Keys that `POST /test` takes as `Authorization: Bearer`; in production there is no test
    /// without one.
    pub test_keys: Vec<BearerConfig>,
    /// What all sources of a project together may send, by project.
    pub projects: BTreeMap<String, LimitsConfig>,
}

/// How much may be sent; what is absent is not limited.
///
/// Requests that prove nothing are not counted, and take nothing from those that do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Requests per second. More are answered 429 with Retry-After, or 503 to senders that never
    /// come back after a 4xx.
    pub rate: Option<RateConfig>,
    /// Requests that may wait for the log at once; more are answered like those over the rate.
    pub max_concurrent: Option<usize>,
    /// Largest request body in bytes, where it is less than `ingest.max_body_bytes`.
    pub max_body_bytes: Option<usize>,
}

/// A rate of requests.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// In the long run.
    pub per_second: f64,
    /// At once, after a time of nothing; twice what comes in a second when absent.
    pub burst: Option<u32>,
}

impl RateConfig {
    /// Requests that may come at once.
    pub fn burst(&self) -> u32 {
        // Checked to be a number of requests, so it is in range.
        self.burst.unwrap_or((self.per_second * 2.0).ceil().max(1.0) as u32)
    }
}

impl LimitsConfig {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// A bound that would refuse everything.
    pub fn validate(&self, section: &str) -> Result<(), ConfigError> {
        let fail = |key: &str, problem: &str, remedy: &str| {
            Err(ConfigError::new(format!("{section}.{key}"), problem, remedy))
        };
        if let Some(rate) = &self.rate {
            if !(rate.per_second > 0.0 && rate.per_second <= 1e6) {
                let remedy = "use a number above 0 and up to 1000000, or leave the rate out";
                return fail("rate.per_second", "is no rate", remedy);
            }
            if rate.burst == Some(0) {
                return fail("rate.burst", "is 0", "use at least 1");
            }
        }
        if self.max_concurrent == Some(0) {
            return fail("max_concurrent", "is 0", "use at least 1");
        }
        if self.max_body_bytes == Some(0) {
            return fail("max_body_bytes", "is 0", "use at least 1");
        }
        Ok(())
    }
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
            peer_inflight_bytes: 4 << 20,
            source_inflight_bytes: 8 << 20,
            allowed_ips: Vec::new(),
            trusted_proxies: Vec::new(),
            test_keys: Vec::new(),
            projects: BTreeMap::new(),
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
        // One that comes compressed is held as it was sent and as it decodes.
        if self.max_inflight_bytes < 2 * self.max_body_bytes {
            let problem = format!(
                "{} is less than a body of max_body_bytes ({}) as sent and as decoded",
                self.max_inflight_bytes, self.max_body_bytes
            );
            let remedy = format!("use at least {}", 2 * self.max_body_bytes);
            return fail("max_inflight_bytes", problem, remedy);
        }
        for (key, share) in [
            ("peer_inflight_bytes", self.peer_inflight_bytes),
            ("source_inflight_bytes", self.source_inflight_bytes),
        ] {
            if share < self.max_body_bytes {
                let problem = format!(
                    "{share} is less than one body of max_body_bytes ({})",
                    self.max_body_bytes
                );
                return fail(key, problem, "raise it".to_owned());
            }
        }
        for (project, limits) in &self.projects {
            limits.validate(&format!("ingest.projects.{project}"))?;
            if limits.max_body_bytes.is_some_and(|bytes| bytes > self.max_body_bytes) {
                let problem =
                    format!("is more than ingest.max_body_bytes ({})", self.max_body_bytes);
                let key = format!("projects.{project}.max_body_bytes");
                return fail(&key, problem, "lower it".to_owned());
            }
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
    pub fn limits(&self) -> http_server::Limits {
        http_server::Limits {
            header_timeout: self.header_timeout,
            max_connections: self.max_connections,
            ..http_server::Limits::default()
        }
    }

    /// Who may hold how many bytes of bodies.
    pub(crate) fn shares(&self) -> Shares {
        Shares {
            total: self.max_inflight_bytes,
            peer: self.peer_inflight_bytes,
            source: self.source_inflight_bytes,
        }
    }
}
