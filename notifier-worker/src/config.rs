//! Which channels there are, whom they serve, and how patiently they are served.

mod hide;
mod target;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::notify::{KeyName, Language, Templates};
use jiff::tz::{Offset, TimeZone};
use reqwest::Url;
use schemas::SourceId;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    channels::{self, Form, Need, Rate},
    sender, wording,
};

/// A key that messages are signed with.
pub type SigningKey = SecretSlice<u8>;

use target::Setting;
pub use target::Target;

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
    /// take more than eight hours (about one hour). While the receiver does not answer at all it is
    /// tried for eight hours at least, every half a minute; what may have arrived only for as long as
    /// the receiver knows a repeat, unless the channel says `ambiguous = "again"` (see
    /// `docs/channels.md`). Default 60.
    pub max_attempts: u32,
    /// How long a channel that cannot edit its messages holds the first one back, so that the
    /// analysis can be in it, in milliseconds; at most 4000, because a page is to be out within 5 s.
    /// Default 3000.
    pub hold_ms: u64,
    /// Time zone that messages show times in: `+08:00`, `Europe/Berlin`. Default `+08:00`.
    #[serde(with = "jiff::fmt::serde::tz::required")]
    pub zone: TimeZone,
    /// Language of messages: `zh-CN`, `zh-TW` or `en`; a channel may have its own. Default: each
    /// format is in the one it was given in, flat texts in `zh-TW`, WeCom's and Feishu's in `zh-CN`.
    pub language: Option<Language>,
    /// The keys below a message, in this order: `ack`, `resolve`, `silence`, `confirm`, `reject`,
    /// `handoff`; what is not named is not shown. A channel may have its own. Default: these six.
    pub keys: Vec<KeyName>,
    /// Folder of templates for texts, see `docs/templates.md`; relative to the folder of this
    /// configuration. Default: none.
    pub templates: Option<PathBuf>,
}

/// The longest a first message is held back: what is left of the 5 s of a page is for sending it.
const HOLD_MAX_MS: u64 = 4_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: 32,
            lease_ms: 45_000,
            max_attempts: 60,
            hold_ms: 3_000,
            zone: TimeZone::fixed(Offset::constant(8)),
            language: None,
            keys: KeyName::ALL.to_vec(),
            templates: None,
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
        if self.hold_ms > HOLD_MAX_MS {
            let problem = format!(
                "{} ms is too long for a page to wait: it is to be out within 5 s, sending included",
                self.hold_ms
            );
            return error("hold_ms", problem, "use at most 4000");
        }
        if let Some(problem) = said_twice(&self.keys) {
            return error("keys", problem, "name each key once");
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
pub struct ChannelConfig {
    /// `log`, `webhook`, `feishu`, `telegram`, ...: see [`channels::all`].
    pub kind: String,
    /// The receivers, as the rules name them, that this channel serves. Default `["default"]`.
    #[serde(default = "default_receivers")]
    pub receivers: Vec<String>,
    /// The source whose questions it answers, where a chat has several; those that no other channel
    /// names when absent.
    #[serde(default)]
    pub source: Option<SourceId>,
    /// Also send to loopback, private and link-local addresses. Default false.
    #[serde(default)]
    pub allow_private: bool,
    /// How long a send may take, in milliseconds, 100 to 60000. Default 15000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// How many messages a minute are sent, over all processes; at most 60000. What the receiver
    /// takes by default, and never more.
    #[serde(default)]
    pub per_minute: Option<u32>,
    /// What becomes of a send of which nobody knows whether it arrived: `park` leaves it to an
    /// operator, `again` sends it once more. Default: `again` where the receiver recognises a
    /// repeat, otherwise `park`.
    #[serde(default)]
    pub ambiguous: Option<Ambiguous>,
    /// Language of its messages: `zh-CN`, `zh-TW` or `en`. Default: that of section `deliver`.
    #[serde(default)]
    pub language: Option<Language>,
    /// The keys below its messages. Default: those of section `deliver`.
    #[serde(default)]
    pub keys: Option<Vec<KeyName>>,
    /// The keys of its kind, see [`channels::Channel::keys`].
    #[serde(flatten)]
    pub settings: BTreeMap<String, Written>,
}

impl ChannelConfig {
    /// The text of key `name`, as it is written.
    pub fn written(&self, name: &str) -> Option<&SecretString> {
        match self.settings.get(name)? {
            Written::Text(text) => Some(text),
            Written::Number(_) | Written::Texts(_) | Written::Other(_) => None,
        }
    }
}

/// What becomes of a send of which nobody knows whether it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ambiguous {
    Park,
    Again,
}

/// The value of a key as it is written. It may be a credential, so it shows nothing.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Written {
    Number(i64),
    Text(SecretString),
    Texts(Vec<SecretString>),
    /// Nothing any key takes.
    Other(IgnoredAny),
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

fn default_receivers() -> Vec<String> {
    vec!["default".into()]
}

fn default_timeout_ms() -> u64 {
    15_000
}

/// All configured channels.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    targets: BTreeMap<String, Target>,
    templates: Templates,
}

impl Channels {
    /// Checks every channel; the first problem is returned.
    pub fn new(configs: &BTreeMap<String, ChannelConfig>) -> Result<Self, Error> {
        let checked = |(id, config): (&String, &ChannelConfig)| -> Result<_, Error> {
            Ok((id.clone(), target(id, config)?))
        };
        let targets = configs.iter().map(checked).collect::<Result<_, _>>()?;
        Ok(Self { targets, templates: Templates::default() })
    }

    /// These, with the texts of the templates that the configuration names, if it names any.
    ///
    /// # Errors
    /// The first template that cannot be used.
    pub fn with_templates_of(self, config: &Config) -> Result<Self, Error> {
        let Some(folder) = &config.templates else { return Ok(self) };
        Ok(Self { templates: wording::templates(folder)?, ..self })
    }

    /// What stands in for the texts that are built in.
    pub fn templates(&self) -> &Templates {
        &self.templates
    }

    /// The channel of that id.
    pub fn get(&self, id: &str) -> Option<&Target> {
        self.targets.get(id)
    }

    /// Every channel, by id.
    pub fn all(&self) -> impl Iterator<Item = &Target> {
        self.targets.values()
    }

    /// The channels that serve a receiver, by id.
    pub fn serving<'a>(&'a self, receiver: &'a str) -> impl Iterator<Item = &'a Target> {
        self.targets.values().filter(move |target| target.receivers.iter().any(|r| r == receiver))
    }
}

fn target(id: &str, config: &ChannelConfig) -> Result<Target, Error> {
    let error = |key: &str, problem: String, remedy: &str| {
        let key = if key.is_empty() { String::new() } else { format!(".{key}") };
        Error { key: format!("channels.{id}{key}"), problem, remedy: remedy.to_owned() }
    };
    let is_id = (1..=64).contains(&id.len())
        && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !is_id {
        return Err(error("", "this is no id".into(), "use 1 to 64 of a-z, 0-9 and -"));
    }
    let channel = channels::by_kind(&config.kind).ok_or_else(|| {
        let kinds: Vec<_> = channels::all().iter().map(|channel| channel.kind()).collect();
        let remedy = format!("use {}", kinds.join(" or "));
        error("kind", "there is no such kind of channel".into(), &remedy)
    })?;
    let keys = channel.keys();
    if let Some(name) =
        config.settings.keys().find(|name| keys.iter().all(|key| key.name != **name))
    {
        let problem = format!("kind {} takes none", channel.kind());
        return Err(error(name, problem, "remove the key"));
    }
    let mut settings = BTreeMap::new();
    for key in keys {
        let Some(written) = config.settings.get(key.name) else {
            if key.need == Need::Must {
                let problem = format!("kind {} needs one", channel.kind());
                return Err(error(key.name, problem, key.remedy));
            }
            continue;
        };
        let setting = setting(written, key.form, config.allow_private)
            .map_err(|(problem, remedy)| error(key.name, problem, remedy.unwrap_or(key.remedy)))?;
        settings.insert(key.name, setting);
    }
    if config.receivers.is_empty() || config.receivers.iter().any(String::is_empty) {
        let remedy = "name the receivers of the rules that this channel serves, or [\"default\"]";
        return Err(error("receivers", "a channel that serves nobody".into(), remedy));
    }
    if !(100..=60_000).contains(&config.timeout_ms) {
        let remedy = "use 100 to 60000 (milliseconds)";
        return Err(error("timeout_ms", "out of range".into(), remedy));
    }
    if config.per_minute.is_some_and(|rate| !(1..=60_000).contains(&rate)) {
        return Err(error("per_minute", "out of range".into(), "use 1 to 60000 (messages)"));
    }
    let taken = channel.rate();
    let per_minute = config.per_minute.map_or(taken.per_minute, |less| less.min(taken.per_minute));
    let target = Target {
        id: id.to_owned(),
        channel,
        receivers: config.receivers.clone(),
        source: config.source.clone(),
        allow_private: config.allow_private,
        timeout: Duration::from_millis(config.timeout_ms),
        repeats: config.ambiguous.map_or(channel.idempotent(), |policy| policy == Ambiguous::Again),
        // Who wants it sent again wants it sent again at any time.
        recognises_for: channel.recognises_for().filter(|_| config.ambiguous.is_none()),
        rate: Rate { per_minute, burst: taken.burst.min(per_minute) },
        language: config.language,
        keys: config.keys.clone(),
        access: None,
        answer_at: None,
        moved: None,
        settings,
    };
    if let Some(problem) = config.keys.as_deref().and_then(said_twice) {
        return Err(error("keys", problem, "name each key once"));
    }
    channel.check(&target).map_err(|(key, problem, remedy)| error(key, problem, remedy))?;
    let answers = channel.answers(&target).or(channel.answers_by_credential(&target));
    if target.source.is_some() && answers.is_none() {
        return Err(error("source", "it answers in no chat".into(), "remove the key"));
    }
    Ok(target)
}

/// The problem with keys of which one is named twice.
fn said_twice(keys: &[KeyName]) -> Option<String> {
    let twice = keys.iter().enumerate().find(|(at, key)| keys[..*at].contains(key));
    twice.map(|(_, key)| format!("{} is there twice", key.word()))
}

/// Reads what is written. Fails with the problem, and with what to do where the key's own remedy
/// would not help; never shows what is written.
fn setting(
    written: &Written,
    form: Form,
    allow_private: bool,
) -> Result<Setting, (String, Option<&'static str>)> {
    let wrong = |problem: &str| (problem.to_owned(), None);
    let text = |wanted: &str| match written {
        Written::Number(number) => Ok(SecretString::from(number.to_string())),
        Written::Text(text) => Ok(text.clone()),
        Written::Texts(_) | Written::Other(_) => Err(wrong(wanted)),
    };
    match form {
        Form::Address => {
            let text = text("this is no text")?;
            address(text.expose_secret(), allow_private)
                .map(Setting::Address)
                .map_err(|(problem, remedy)| (problem.to_owned(), Some(remedy)))
        }
        Form::WebhookSecret => {
            signing_key(&text("this is no text")?).map(Setting::Key).map_err(wrong)
        }
        Form::Secret { what, fits } => Some(text("this is no text")?)
            .filter(|secret| fits(secret.expose_secret()))
            .map(Setting::Secret)
            .ok_or_else(|| wrong(what)),
        Form::Text { what, fits } => {
            let text = text("this is neither a whole number nor a text")?;
            Some(text.expose_secret())
                .filter(|text| fits(text))
                .map(|text| Setting::Text(text.to_owned()))
                .ok_or_else(|| wrong(what))
        }
        Form::Number { what, fits } => {
            let text = text("this is no whole number")?;
            let number = text.expose_secret().parse::<i64>();
            number
                .ok()
                .filter(|number| fits(*number))
                .map(Setting::Number)
                .ok_or_else(|| wrong(what))
        }
        Form::Texts { what, fits } => {
            let texts = match written {
                Written::Texts(texts) => texts.clone(),
                // An environment variable holds one text.
                Written::Number(_) | Written::Text(_) => vec![text("this is no list of texts")?],
                Written::Other(_) => return Err(wrong("this is no list of texts")),
            };
            let texts: Vec<String> =
                texts.iter().map(|text| text.expose_secret().to_owned()).collect();
            let fit = !texts.is_empty() && texts.iter().all(|text| fits(text));
            if fit { Ok(Setting::Texts(texts)) } else { Err(wrong(what)) }
        }
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

fn signing_key(secret: &SecretString) -> Result<SigningKey, &'static str> {
    let text = secret.expose_secret();
    let rest = text.strip_prefix("whsec_").ok_or("it does not start with whsec_")?;
    let bytes = STANDARD.decode(rest).map_err(|_| "it is not base64 after whsec_")?;
    if (24..=64).contains(&bytes.len()) {
        Ok(SigningKey::from(bytes))
    } else {
        Err("it is not 24 to 64 bytes long")
    }
}

#[cfg(test)]
pub(crate) mod tests;
