//! Which channels there are, whom they serve, and how patiently they are served.

use std::{collections::BTreeMap, fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize;

use crate::{
    channels::{self, Channel},
    sender,
};

/// A key that messages are signed with.
pub type SigningKey = SecretSlice<u8>;

/// Configuration that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{key}: {problem}; {remedy}")]
pub struct Error {
    /// The key, as in the configuration file.
    pub key: String,
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// Section `notifier`: how sends are tried.
///
/// ```
/// # use notifier_worker::Config;
/// let config: Config = serde_json::from_str(r#"{"concurrency": 4, "max_attempts": 3}"#).unwrap();
/// assert_eq!(config.lease_ms, 45_000);
/// assert!(serde_json::from_str::<Config>(r#"{"concurency": 4}"#).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Sends in flight at once in this process. Default 32.
    pub concurrency: usize,
    /// How long a send belongs to the worker that took it, in milliseconds; more than twice the
    /// longest `timeout_ms` of a channel. Default 45000.
    pub lease_ms: u64,
    /// A send that was not taken is tried this often before it is parked. The delays double from
    /// 1 s to 10 min (to 1 min where the receiver asks the whole target to wait), so 60 attempts
    /// take more than eight hours (about one hour). Default 60.
    pub max_attempts: u32,
    /// How long a channel that cannot edit its messages holds the first one back, so that the
    /// analysis can be in it, in milliseconds; at most 5000. Default 5000.
    pub hold_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { concurrency: 32, lease_ms: 45_000, max_attempts: 60, hold_ms: 5_000 }
    }
}

impl Config {
    /// Checks what no single key can say.
    pub fn check(&self, channels: &Channels) -> Result<(), Error> {
        let error = |key: &str, problem: String, remedy: &str| {
            Err(Error { key: format!("notifier.{key}"), problem, remedy: remedy.to_owned() })
        };
        if self.concurrency == 0 {
            return error("concurrency", "nothing would be sent".into(), "use at least 1");
        }
        if self.max_attempts == 0 {
            return error("max_attempts", "nothing would be sent".into(), "use at least 1");
        }
        if self.hold_ms > 5_000 {
            let problem = format!("{} ms is too long for a page to wait", self.hold_ms);
            return error("hold_ms", problem, "use at most 5000");
        }
        let longest = channels.all().map(|target| target.timeout).max().unwrap_or_default();
        if self.lease() <= longest * 2 {
            let problem = format!(
                "{} ms is not more than twice the longest timeout of a channel, {} ms",
                self.lease_ms,
                longest.as_millis()
            );
            return error("lease_ms", problem, "raise it, or lower that channel's timeout_ms");
        }
        Ok(())
    }

    /// How long a send belongs to the worker that took it.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// Section `channels.<id>`: one target messages can be sent to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// `log` or `webhook`.
    pub kind: String,
    /// Where to POST to; http or https. It is a credential and never shown.
    #[serde(default)]
    pub url: Option<SecretString>,
    /// `whsec_` and the base64 of 24 to 64 random bytes (Standard Webhooks).
    #[serde(default)]
    pub secret: Option<SecretString>,
    /// The secret before this one; messages are signed with both while it is set.
    #[serde(default)]
    pub previous_secret: Option<SecretString>,
    /// The receivers, as the rules name them, that this channel serves. Default `["default"]`.
    #[serde(default = "default_receivers")]
    pub receivers: Vec<String>,
    /// Also send to loopback, private and link-local addresses. Default false.
    #[serde(default)]
    pub allow_private: bool,
    /// How long a send may take, in milliseconds, 100 to 60000. Default 15000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn default_receivers() -> Vec<String> {
    vec!["default".into()]
}

fn default_timeout_ms() -> u64 {
    15_000
}

/// A channel's configuration, checked.
#[derive(Clone)]
pub struct Target {
    pub id: String,
    pub channel: &'static dyn Channel,
    pub url: Option<Url>,
    /// Newest first.
    pub keys: Vec<SigningKey>,
    pub receivers: Vec<String>,
    pub allow_private: bool,
    pub timeout: Duration,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("id", &self.id)
            .field("kind", &self.channel.kind())
            .field("receivers", &self.receivers)
            .finish_non_exhaustive()
    }
}

/// All configured channels.
#[derive(Clone, Debug, Default)]
pub struct Channels(BTreeMap<String, Target>);

impl Channels {
    /// Checks every channel; the first problem is returned.
    pub fn new(configs: &BTreeMap<String, ChannelConfig>) -> Result<Self, Error> {
        configs
            .iter()
            .map(|(id, config)| Ok((id.clone(), target(id, config)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The channel of that id.
    pub fn get(&self, id: &str) -> Option<&Target> {
        self.0.get(id)
    }

    /// Every channel, by id.
    pub fn all(&self) -> impl Iterator<Item = &Target> {
        self.0.values()
    }

    /// The channels that serve a receiver, by id.
    pub fn serving<'a>(&'a self, receiver: &'a str) -> impl Iterator<Item = &'a Target> {
        self.0.values().filter(move |target| target.receivers.iter().any(|r| r == receiver))
    }
}

fn target(id: &str, config: &ChannelConfig) -> Result<Target, Error> {
    let error = |key: &str, problem: &str, remedy: String| {
        let key = if key.is_empty() { String::new() } else { format!(".{key}") };
        Error { key: format!("channels.{id}{key}"), problem: problem.to_owned(), remedy }
    };
    let is_id = (1..=64).contains(&id.len())
        && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !is_id {
        return Err(error("", "this is no id", "use 1 to 64 of a-z, 0-9 and -".into()));
    }
    let channel = channels::by_kind(&config.kind).ok_or_else(|| {
        let kinds: Vec<_> = channels::all().iter().map(|channel| channel.kind()).collect();
        error("kind", "there is no such kind of channel", format!("use {}", kinds.join(" or ")))
    })?;
    let kind = channel.kind();
    let takes = channel.keys();
    for (key, taken, given) in [
        ("url", takes.url, config.url.is_some()),
        ("secret", takes.secret, config.secret.is_some()),
        ("previous_secret", takes.secret, config.previous_secret.is_some()),
    ] {
        if given && !taken {
            return Err(error(key, &format!("kind {kind} takes none"), "remove the key".into()));
        }
    }
    if takes.secret && config.secret.is_none() {
        let remedy = "set it to `whsec_` and the output of `openssl rand -base64 32`".into();
        return Err(error("secret", &format!("kind {kind} signs its messages"), remedy));
    }
    let url = match &config.url {
        None if takes.url => {
            let problem = format!("kind {kind} needs an address");
            return Err(error("url", &problem, "set it to where messages are to be sent".into()));
        }
        None => None,
        Some(url) => Some(
            address(url.expose_secret(), config.allow_private)
                .map_err(|(problem, remedy)| error("url", problem, remedy.to_owned()))?,
        ),
    };
    let mut keys = Vec::new();
    for (key, secret) in [("secret", &config.secret), ("previous_secret", &config.previous_secret)]
    {
        if let Some(secret) = secret {
            keys.push(signing_key(secret).map_err(|problem| {
                let remedy = "use `whsec_` and the output of `openssl rand -base64 32`".into();
                error(key, problem, remedy)
            })?);
        }
    }
    if config.receivers.is_empty() || config.receivers.iter().any(String::is_empty) {
        let remedy = "name the receivers of the rules that this channel serves, or [\"default\"]";
        return Err(error("receivers", "a channel that serves nobody", remedy.into()));
    }
    if !(100..=60_000).contains(&config.timeout_ms) {
        return Err(error("timeout_ms", "out of range", "use 100 to 60000 (milliseconds)".into()));
    }
    Ok(Target {
        id: id.to_owned(),
        channel,
        url,
        keys,
        receivers: config.receivers.clone(),
        allow_private: config.allow_private,
        timeout: Duration::from_millis(config.timeout_ms),
    })
}

/// Never returns any of the text: it is a credential.
fn address(text: &str, allow_private: bool) -> Result<Url, (&'static str, &'static str)> {
    let form = "write it as https://host/path";
    let url = Url::parse(text).map_err(|_| ("this is no URL", form))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(("this is no http or https URL", form));
    }
    if !allow_private && sender::literal_address(&url).is_some_and(|ip| !sender::is_public(ip)) {
        return Err(("this is not a public address", "set allow_private = true if that is meant"));
    }
    Ok(url)
}

fn signing_key(secret: &SecretString) -> Result<SigningKey, &'static str> {
    let text = secret.expose_secret();
    let bytes = text
        .strip_prefix("whsec_")
        .ok_or("it does not start with whsec_")
        .and_then(|rest| STANDARD.decode(rest).map_err(|_| "it is not base64 after whsec_"))?;
    if (24..=64).contains(&bytes.len()) {
        Ok(SigningKey::from(bytes))
    } else {
        Err("it is not 24 to 64 bytes long")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";

    pub(crate) fn target(kind: &str, url: Option<&str>) -> Target {
        let (text, webhook) = (url.map(SecretString::from), kind == "webhook");
        let secret = webhook.then(|| SecretString::from(SECRET));
        let config = ChannelConfig {
            kind: kind.into(),
            url: text,
            previous_secret: secret.clone(),
            secret,
            receivers: default_receivers(),
            allow_private: false,
            timeout_ms: 15_000,
        };
        super::target("out", &config).unwrap()
    }

    fn check(json: serde_json::Value, expect: Result<(), &str>) {
        let got = serde_json::from_value(json.clone())
            .map_err(|e| e.to_string())
            .map(|config: ChannelConfig| BTreeMap::from([("out".to_owned(), config)]))
            .and_then(|configs| Channels::new(&configs).map_err(|e| e.to_string()));
        match (got, expect) {
            (Ok(channels), Ok(())) => assert!(channels.get("out").is_some()),
            (Err(got), Err(want)) => {
                assert!(got.contains(want), "{json}: {got:?} lacks {want:?}");
                assert!(!got.contains("hunter2"), "{json}: {got:?} shows a secret");
            }
            (got, want) => panic!("{json} gave {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn errors_name_key_problem_and_remedy_and_show_no_secret() {
        use serde_json::json;
        let hook = "https://hooks.example.com/hunter2";
        check(json!({"kind": "log"}), Ok(()));
        check(json!({"kind": "webhook", "url": hook, "secret": SECRET}), Ok(()));
        check(json!({"kind": "pigeon"}), Err("channels.out.kind: there is no such kind"));
        check(json!({"kind": "log", "colour": "red"}), Err("unknown field `colour`"));
        check(json!({"kind": "log", "url": hook}), Err("channels.out.url: kind log takes none"));
        check(json!({"kind": "webhook", "secret": SECRET}), Err("out.url: kind webhook needs"));
        check(json!({"kind": "webhook", "url": hook}), Err("openssl rand -base64 32"));
        for secret in ["hunter2", "whsec_hunter2!", "whsec_aHVudGVyMg=="] {
            let channel = json!({"kind": "webhook", "url": hook, "secret": secret});
            check(channel, Err("channels.out.secret: it "));
        }
        for url in ["hunter2", "ftp://example.com/hunter2", "data:hunter2"] {
            let channel = json!({"kind": "webhook", "url": url, "secret": SECRET});
            check(channel, Err("channels.out.url: this is no"));
        }
        let private = "http://2130706433/hunter2";
        let channel = json!({"kind": "webhook", "url": private, "secret": SECRET});
        check(channel, Err("set allow_private = true"));
        let channel =
            json!({"kind": "webhook", "url": private, "secret": SECRET, "allow_private": true});
        check(channel, Ok(()));
        check(json!({"kind": "log", "receivers": []}), Err("serves nobody"));
        check(json!({"kind": "log", "timeout_ms": 0}), Err("out of range"));
    }

    #[test]
    fn a_lease_outlives_two_timeouts() {
        let config = serde_json::from_str(r#"{"kind": "log", "timeout_ms": 30000}"#).unwrap();
        let channels = Channels::new(&BTreeMap::from([("slow".to_owned(), config)])).unwrap();
        assert_eq!(Config::default().check(&Channels::default()), Ok(()));
        assert_eq!(Config::default().check(&channels).unwrap_err().key, "notifier.lease_ms");
        let config = Config { lease_ms: 60_001, ..Config::default() };
        assert_eq!(config.check(&channels), Ok(()));
    }

    #[test]
    fn receivers_are_served_by_the_channels_that_name_them() {
        let config = |json| serde_json::from_str::<ChannelConfig>(json).unwrap();
        let channels = Channels::new(&BTreeMap::from([
            ("a".to_owned(), config(r#"{"kind": "log"}"#)),
            ("b".to_owned(), config(r#"{"kind": "log", "receivers": ["ops", "default"]}"#)),
        ]))
        .unwrap();
        let ids = |receiver| channels.serving(receiver).map(|t| t.id.as_str()).collect::<Vec<_>>();
        assert_eq!(ids("default"), ["a", "b"]);
        assert_eq!(ids("ops"), ["b"]);
        assert!(ids("nobody").is_empty());
    }
}
