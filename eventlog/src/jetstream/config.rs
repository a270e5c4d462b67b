//! How the log is reached.

use std::{fmt, num::NonZeroU16, time::Duration};

use async_nats::ServerAddr;
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use schemas::Namespace;
use serde::Deserialize;

/// Configuration of the log: where the server is, and what the streams may use.
///
/// Durations are texts such as `3s` or `900ms`.
/// ```
/// let config: eventlog::JetStreamConfig =
///     serde_json::from_str(r#"{ "url": "nats://nats:4222", "lanes": 8, "ack_timeout": "2s" }"#)
///         .unwrap();
/// assert_eq!(config.replicas, 1);
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JetStreamConfig {
    /// One server or several of a cluster, separated by commas. Default `nats://127.0.0.1:4222`.
    pub url: String,
    /// Prefix of all streams and subjects. Default `bw`.
    pub namespace: Namespace,
    /// Number of lanes; fixed when the input stream is made. Default 4.
    pub lanes: NonZeroU16,
    /// Copies the servers keep of each stream: 1 survives a process, 3 a machine. Default 1.
    pub replicas: usize,
    /// Size in bytes at which a stream refuses new messages; must fit the servers' disks, once for
    /// the input and once per generation. -1: no limit of its own. Default 4 GiB.
    pub max_bytes: i64,
    /// User and password, when the server wants them.
    pub credentials: Option<Credentials>,
    /// How long an answer of the server is awaited. Default 3 s.
    #[serde(with = "duration")]
    pub ack_timeout: Duration,
    /// How long a start waits for a server that is not there yet. Default 30 s.
    #[serde(with = "duration")]
    pub connect_patience: Duration,
}

impl Default for JetStreamConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".into(),
            namespace: Namespace::default(),
            lanes: const { NonZeroU16::new(4).unwrap() },
            replicas: 1,
            max_bytes: 4 << 30,
            credentials: None,
            ack_timeout: Duration::from_secs(3),
            connect_patience: Duration::from_secs(30),
        }
    }
}

impl JetStreamConfig {
    /// The servers' addresses, one by one.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.url.split(',').map(|address| address.trim().to_owned()).collect()
    }

    /// Checks what the types cannot say; connects to nothing.
    ///
    /// # Errors
    /// The key, and what is wrong with its value; values are not repeated, they may hold secrets.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for address in self.addresses() {
            if let Err(e) = address.parse::<ServerAddr>() {
                return Err(("url", format!("is no address of a server: {e}")));
            }
        }
        if self.replicas == 0 {
            return Err(("replicas", "is 0: nothing would be kept".to_owned()));
        }
        if self.replicas > 5 {
            return Err(("replicas", format!("is {}: JetStream keeps at most 5", self.replicas)));
        }
        if self.ack_timeout.is_zero() {
            return Err(("ack_timeout", "is 0: no answer would be awaited".to_owned()));
        }
        Ok(())
    }

    /// The address as it may be shown: without what stands before an `@`.
    pub(super) fn shown_url(&self) -> String {
        let shown = |address: &str| match (address.split_once("://"), address.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            (_, None) => address.to_owned(),
        };
        self.url.split(',').map(shown).collect::<Vec<_>>().join(",")
    }
}

/// User and password of a NATS server.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_unknown_ones_refused() {
        let read = serde_json::from_str::<JetStreamConfig>;
        let config = read(
            r#"{"lanes": 2, "connect_patience": "1m", "ack_timeout": "900ms",
                "credentials": {"user": "u", "password": "hidden"}}"#,
        )
        .unwrap();
        assert_eq!(config.lanes.get(), 2);
        assert_eq!(config.connect_patience, Duration::from_secs(60));
        assert_eq!(config.ack_timeout, Duration::from_millis(900));
        assert!(!format!("{config:?}").contains("hidden"));
        assert!(read(r#"{"lane": 2}"#).is_err());
        assert!(read(r#"{"lanes": 0}"#).is_err());
    }

    #[test]
    fn secrets_in_addresses_are_not_shown() {
        let check = |url: &str, expected| {
            let config = JetStreamConfig { url: url.into(), ..JetStreamConfig::default() };
            assert_eq!(config.shown_url(), expected);
        };
        check("nats://a:4222", "nats://a:4222");
        check("nats://u:p@a:4222,nats://b", "nats://a:4222,nats://b");
        check("u:p@a", "a");
    }
}
