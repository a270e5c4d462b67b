//! One channel's configuration, checked.

use std::{collections::BTreeMap, fmt, time::Duration};

use domain::notify::{KeyName, Language};
use reqwest::Url;
use schemas::SourceId;
use secrecy::SecretString;

use super::SigningKey;
use crate::channels::{Channel, Form, Need, Rate};

/// What stands where a credential would.
const NO_CREDENTIAL: &str = "no-credential";

/// A channel's configuration, checked.
#[derive(Clone)]
pub struct Target {
    pub id: String,
    pub channel: &'static dyn Channel,
    pub receivers: Vec<String>,
    /// The source whose questions it answers; absent: those that no other channel names.
    pub source: Option<SourceId>,
    pub allow_private: bool,
    pub timeout: Duration,
    /// What may have arrived is sent again.
    pub repeats: bool,
    /// Only so long after it may have arrived, then it is parked as unknown; absent: whenever that is,
    /// as everywhere where the configuration says what becomes of it.
    pub recognises_for: Option<Duration>,
    pub rate: Rate,
    /// The language of its messages; absent: that of section `deliver`.
    pub language: Option<Language>,
    /// The keys below its messages, in this order; absent: those of section `deliver`.
    pub keys: Option<Vec<KeyName>>,
    /// The token for its requests, where the receiver grants one; see [`Channel::access`].
    pub access: Option<SecretString>,
    /// What the question that a send answers brings for its answer; of that send alone.
    pub answer_at: Option<SecretString>,
    /// Where the chat of a send went, see [`crate::channels::Verdict::Moved`]; of that send alone.
    pub moved: Option<String>,
    pub(crate) settings: BTreeMap<&'static str, Setting>,
}

/// The value of a key.
#[derive(Clone)]
pub(crate) enum Setting {
    Address(Url),
    Key(SigningKey),
    Secret(SecretString),
    Text(String),
    Number(i64),
    Texts(Vec<String>),
}

/// A value of that form that leads nowhere.
fn invented(form: Form) -> Setting {
    match form {
        Form::Address => match Url::parse("https://receiver.invalid/?key=none") {
            Ok(url) => Setting::Address(url),
            Err(_) => Setting::Text(String::new()),
        },
        Form::WebhookSecret => Setting::Key(SigningKey::from(vec![0; 32])),
        Form::Secret { .. } => Setting::Secret(SecretString::from(NO_CREDENTIAL)),
        Form::Text { .. } => Setting::Text("1".to_owned()),
        Form::Number { .. } => Setting::Number(1),
        Form::Texts { .. } => Setting::Texts(vec!["1".to_owned()]),
    }
}

impl Target {
    /// This, with less time.
    pub(crate) fn within(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// This, with credentials that let nobody in: what it sends may be shown.
    pub fn to_show(&self) -> Self {
        let shown = Self::of_kind(self.channel);
        let mut settings = self.settings.clone();
        for (name, setting) in &mut settings {
            match setting {
                Setting::Address(_) | Setting::Key(_) | Setting::Secret(_) => {
                    let form = self.channel.keys().iter().find(|key| key.name == *name);
                    if let Some(form) = form.map(|key| key.form) {
                        *setting = invented(form);
                    }
                }
                Setting::Text(_) | Setting::Number(_) | Setting::Texts(_) => {}
            }
        }
        Self { settings, access: shown.access, answer_at: None, ..self.clone() }
    }

    /// A target of that kind behind which nobody is.
    pub fn of_kind(channel: &'static dyn Channel) -> Self {
        let keys = channel.keys().iter().filter(|key| key.need == Need::Must);
        let mut target = Self {
            id: channel.kind().to_owned(),
            channel,
            receivers: Vec::new(),
            source: None,
            allow_private: false,
            timeout: Duration::from_secs(15),
            repeats: channel.idempotent(),
            recognises_for: channel.recognises_for(),
            rate: channel.rate(),
            language: None,
            keys: None,
            access: Some(SecretString::from(NO_CREDENTIAL)),
            answer_at: None,
            moved: None,
            settings: keys.map(|key| (key.name, invented(key.form))).collect(),
        };
        // Of keys of which one has to be there, the one that is missed first.
        if let Err((missed, ..)) = channel.check(&target)
            && let Some(key) = channel.keys().iter().find(|key| key.name == missed)
        {
            target.settings.insert(key.name, invented(key.form));
        }
        target
    }

    /// The address that key `name` holds.
    pub fn address(&self, name: &str) -> Option<&Url> {
        match self.settings.get(name)? {
            Setting::Address(url) => Some(url),
            Setting::Key(_)
            | Setting::Secret(_)
            | Setting::Text(_)
            | Setting::Number(_)
            | Setting::Texts(_) => None,
        }
    }

    /// The address that key `url` holds.
    ///
    /// # Errors
    /// Where there is none.
    pub fn url(&self) -> Result<&Url, String> {
        self.address("url").ok_or_else(|| "the channel has no url".to_owned())
    }

    /// What messages are signed with, newest first: the keys `secret` and `previous_secret`.
    pub fn signing_keys(&self) -> impl Iterator<Item = &SigningKey> {
        ["secret", "previous_secret"].into_iter().filter_map(|name| {
            match self.settings.get(name)? {
                Setting::Key(key) => Some(key),
                Setting::Address(_)
                | Setting::Secret(_)
                | Setting::Text(_)
                | Setting::Number(_)
                | Setting::Texts(_) => None,
            }
        })
    }

    /// The credential that key `name` holds.
    pub fn secret(&self, name: &str) -> Option<&SecretString> {
        match self.settings.get(name)? {
            Setting::Secret(secret) => Some(secret),
            Setting::Address(_)
            | Setting::Key(_)
            | Setting::Text(_)
            | Setting::Number(_)
            | Setting::Texts(_) => None,
        }
    }

    /// The text that key `name` holds.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.settings.get(name)? {
            Setting::Text(text) => Some(text),
            Setting::Address(_)
            | Setting::Key(_)
            | Setting::Secret(_)
            | Setting::Number(_)
            | Setting::Texts(_) => None,
        }
    }

    /// The number that key `name` holds.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.settings.get(name)? {
            Setting::Number(number) => Some(*number),
            Setting::Address(_)
            | Setting::Key(_)
            | Setting::Secret(_)
            | Setting::Text(_)
            | Setting::Texts(_) => None,
        }
    }

    /// The texts that key `name` holds; none where it is not there.
    pub fn texts(&self, name: &str) -> &[String] {
        match self.settings.get(name) {
            Some(Setting::Texts(texts)) => texts,
            Some(
                Setting::Address(_)
                | Setting::Key(_)
                | Setting::Secret(_)
                | Setting::Text(_)
                | Setting::Number(_),
            )
            | None => &[],
        }
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
