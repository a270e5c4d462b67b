//! Which channels there are, whom they serve, and how patiently they are served.

use std::{collections::BTreeMap, fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::tz::{Offset, TimeZone};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Deserializer, de};

use crate::{
    channels::{self, Channel, Keys, Need, SecretForm},
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

/// Section `deliver`: how sends are tried.
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
    /// Time zone that messages show times in: `+08:00`, `Europe/Berlin`. Default `+08:00`.
    #[serde(with = "jiff::fmt::serde::tz::required")]
    pub zone: TimeZone,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: 32,
            lease_ms: 45_000,
            max_attempts: 60,
            hold_ms: 5_000,
            zone: TimeZone::fixed(Offset::constant(8)),
        }
    }
}

impl Config {
    /// Checks what no single key can say.
    pub fn check(&self, channels: &Channels) -> Result<(), Error> {
        let error = |key: &str, problem: String, remedy: &str| {
            Err(Error { key: format!("deliver.{key}"), problem, remedy: remedy.to_owned() })
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
    /// `log`, `webhook`, `feishu` or `telegram`.
    pub kind: String,
    /// Where to POST to; http or https. It is a credential and never shown. Of `feishu` the bot's
    /// webhook; of `telegram` the server of the Bot API, `https://api.telegram.org` by default.
    #[serde(default)]
    pub url: Option<SecretString>,
    /// Of `webhook` `whsec_` and the base64 of 24 to 64 random bytes (Standard Webhooks); of
    /// `feishu` the bot's signing secret, where it has one.
    #[serde(default)]
    pub secret: Option<SecretString>,
    /// The secret before this one; messages are signed with both while it is set.
    #[serde(default)]
    pub previous_secret: Option<SecretString>,
    /// Of `telegram`: the bot's token, as @BotFather gives it. It is never shown.
    #[serde(default)]
    pub token: Option<SecretString>,
    /// Of `telegram`: the chat's number (negative of a group), or `@name` of a public one.
    #[serde(default, deserialize_with = "number_or_text")]
    pub chat_id: Option<String>,
    /// Of `telegram`: the topic of the chat.
    #[serde(default)]
    pub thread_id: Option<i64>,
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

/// A text, or the text of a whole number.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number or a text")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }
    }

    deserializer.deserialize_any(Visitor)
}

/// A channel's configuration, checked.
#[derive(Clone)]
pub struct Target {
    pub id: String,
    pub channel: &'static dyn Channel,
    pub url: Option<Url>,
    /// Newest first.
    pub keys: Vec<SigningKey>,
    pub token: Option<SecretString>,
    pub chat_id: Option<String>,
    pub thread_id: Option<i64>,
    pub receivers: Vec<String>,
    pub allow_private: bool,
    pub timeout: Duration,
}

impl Target {
    /// `text` without this target's credentials, should what a receiver says repeat them.
    pub(crate) fn hide_credentials(&self, text: &str) -> String {
        let path = self.url.iter().flat_map(|url| url.path().split('/'));
        // Shorter parts of a path are words like `hook`.
        let path = path.filter(|part| part.len() >= 12);
        let query = self.url.iter().filter_map(|url| url.query());
        let token = self.token.iter().map(ExposeSecret::expose_secret);
        path.chain(query).chain(token).filter(|secret| !secret.is_empty()).fold(
            text.to_owned(),
            |text, secret| match text.contains(secret) {
                true => text.replace(secret, "…"),
                false => text,
            },
        )
    }
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
    let takes = channel.keys();
    check_presence(channel.kind(), takes, config)
        .map_err(|(key, problem, remedy)| error(key, &problem, remedy.to_owned()))?;
    let url = match &config.url {
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
            keys.push(signing_key(secret, takes.secret_form).map_err(|problem| {
                error(key, problem, secret_remedy(takes.secret_form).to_owned())
            })?);
        }
    }
    if config.token.as_ref().is_some_and(|token| !is_token(token.expose_secret())) {
        let remedy = "use the bot's token, digits, a colon and letters, as @BotFather gives it";
        return Err(error("token", "this is no bot's token", remedy.into()));
    }
    if config.chat_id.as_ref().is_some_and(|chat| !is_chat(chat)) {
        let remedy = "use the chat's number (negative of a group), or @name of a public chat";
        return Err(error("chat_id", "this is no chat", remedy.into()));
    }
    if config.thread_id.is_some_and(|thread| thread <= 0) {
        return Err(error("thread_id", "this is no topic", "use the topic's number".into()));
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
        token: config.token.clone(),
        chat_id: config.chat_id.clone(),
        thread_id: config.thread_id,
        receivers: config.receivers.clone(),
        allow_private: config.allow_private,
        timeout: Duration::from_millis(config.timeout_ms),
    })
}

/// Every key that is given is taken, and every key that is needed is given; else the key, what is
/// wrong with it and what to do.
fn check_presence(
    kind: &str,
    takes: Keys,
    config: &ChannelConfig,
) -> Result<(), (&'static str, String, &'static str)> {
    for (key, need, given, remedy) in [
        ("url", takes.url, config.url.is_some(), "set it to where messages are to be sent"),
        ("secret", takes.secret, config.secret.is_some(), secret_remedy(takes.secret_form)),
        (
            "previous_secret",
            takes.previous_secret,
            config.previous_secret.is_some(),
            secret_remedy(takes.secret_form),
        ),
        (
            "token",
            takes.token,
            config.token.is_some(),
            "set it to the bot's token, as @BotFather gives it",
        ),
        (
            "chat_id",
            takes.chat_id,
            config.chat_id.is_some(),
            "set it to the chat's number, or @name of a public chat",
        ),
        ("thread_id", takes.thread_id, config.thread_id.is_some(), "set it to the topic's number"),
    ] {
        match (need, given) {
            (Need::Never, true) => {
                return Err((key, format!("kind {kind} takes none"), "remove the key"));
            }
            (Need::Must, false) => {
                return Err((key, format!("kind {kind} needs one"), remedy));
            }
            (Need::Never, false) | (Need::May, _) | (Need::Must, true) => {}
        }
    }
    Ok(())
}

/// Digits, a colon, and what base64 in addresses is made of: nothing that could lead elsewhere.
fn is_token(text: &str) -> bool {
    text.split_once(':').is_some_and(|(bot, key)| {
        (1..=20).contains(&bot.len())
            && bot.bytes().all(|b| b.is_ascii_digit())
            && (20..=100).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    })
}

fn is_chat(text: &str) -> bool {
    match text.strip_prefix('@') {
        Some(name) => {
            (4..=32).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        }
        None => text.parse::<i64>().is_ok_and(|id| id != 0),
    }
}

/// Never returns any of the text: it is a credential.
fn address(text: &str, allow_private: bool) -> Result<Url, (&'static str, &'static str)> {
    let form = "write it as https://host/path";
    let url = Url::parse(text).map_err(|_| ("this is no URL", form))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(("this is no http or https URL", form));
    }
    if !allow_private
        && sender::literal_address(&url).is_some_and(|ip| !runtime::address::is_public(ip))
    {
        return Err(("this is not a public address", "set allow_private = true if that is meant"));
    }
    Ok(url)
}

fn signing_key(secret: &SecretString, form: SecretForm) -> Result<SigningKey, &'static str> {
    let text = secret.expose_secret();
    match form {
        SecretForm::StandardWebhooks => {
            let bytes =
                text.strip_prefix("whsec_").ok_or("it does not start with whsec_").and_then(
                    |rest| STANDARD.decode(rest).map_err(|_| "it is not base64 after whsec_"),
                )?;
            if (24..=64).contains(&bytes.len()) {
                Ok(SigningKey::from(bytes))
            } else {
                Err("it is not 24 to 64 bytes long")
            }
        }
        SecretForm::Text if text.trim().is_empty() => Err("it is empty"),
        SecretForm::Text => Ok(SigningKey::from(text.as_bytes().to_vec())),
    }
}

fn secret_remedy(form: SecretForm) -> &'static str {
    match form {
        SecretForm::StandardWebhooks => "use `whsec_` and the output of `openssl rand -base64 32`",
        SecretForm::Text => "use the secret as the receiver's settings show it, or remove the key",
    }
}

#[cfg(test)]
pub(crate) mod tests;
