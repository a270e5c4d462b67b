//! The configured sources: checked once at start, then only looked up.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU16,
    sync::{Mutex, PoisonError},
};

use domain::providers::{self, NamedChannel, Own, SHARED_PATH, TEST_PATH};
use runtime::{ConfigError, Environment, Health, config::SOURCE_NAMES};
use schemas::Time;
use sha2::{Digest, Sha256};

use crate::{
    Config,
    config::SourceConfig,
    gate::Gate,
    source::{Common, Meters, NOBODY, OFF, OPEN, Source, UNREAD},
};

/// A configured channel, as senders may name it.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelName {
    pub id: String,
    /// As its section says.
    pub kind: String,
    /// SHA-256 of its address, where it has one: the address is a credential.
    pub address: Option<[u8; 32]>,
}

/// Every source that answers, by path.
pub struct Sources {
    by_provider: HashMap<&'static str, Routes>,
    /// What answers at `POST /test`.
    test: Source,
    /// Whose senders have which path built in.
    paths: HashMap<&'static str, &'static str>,
    channels: Vec<ChannelName>,
    /// The projects this system reports its own errors to.
    own: Option<Own>,
    /// Whether the health was told about the sources; held while it is.
    announced: Mutex<bool>,
    /// Requests to no source at all.
    pub(crate) unknown: Meters,
}

#[derive(Default)]
struct Routes {
    by_id: HashMap<String, Source>,
    /// The id that answers at `/webhook/<provider>`.
    default: Option<String>,
}

/// Who answers at a path.
#[derive(Clone, Copy)]
pub(crate) enum Place<'s, 'p> {
    /// A source; the token that stood in the path.
    Of(&'s Source, Option<&'p str>),
    /// Whoever's the body is: [`Sources::of_body`].
    Shared,
    /// Nobody.
    Nowhere,
}

/// Every path beside `/webhook/...`, for the router.
pub(crate) fn fixed_paths() -> impl Iterator<Item = &'static str> {
    let own = providers::all().iter().flat_map(|provider| provider.paths());
    own.copied().chain([SHARED_PATH, TEST_PATH])
}

impl Sources {
    /// Checks the configuration and builds the table.
    ///
    /// Without any configured source, in production those exist that an environment name speaks of
    /// (without a secret they fail closed), elsewhere one of each provider; with some, only they
    /// do.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn build(
        config: &Config,
        configured: &BTreeMap<String, SourceConfig>,
        environment: &Environment,
        lanes: NonZeroU16,
    ) -> Result<Self, ConfigError> {
        let implied: BTreeMap<_, _>;
        let configured = if configured.is_empty() {
            implied = implied_ids(environment)
                .map(|id| (id.to_owned(), SourceConfig::default()))
                .collect();
            &implied
        } else {
            configured
        };
        let mut common = Common { config, environment, lanes, projects: HashMap::new(), count: 0 };
        let test = Source::of_tests(&mut common)?;
        let mut by_provider: HashMap<&'static str, Routes> = HashMap::new();
        for (id, section) in configured {
            let source = Source::build(id, section, &mut common)?;
            if section.enabled {
                let routes = by_provider.entry(source.provider.name()).or_default();
                routes.by_id.insert(id.clone(), source);
            }
        }
        for (provider, routes) in &mut by_provider {
            routes.default = match routes.by_id.keys().next() {
                _ if routes.by_id.contains_key(*provider) => Some((*provider).to_owned()),
                Some(only) if routes.by_id.len() == 1 => Some(only.clone()),
                _ => None,
            };
        }
        let of = |provider: &&'static dyn providers::Provider| {
            let name = provider.name();
            provider.paths().iter().map(move |path| (*path, name))
        };
        let paths = providers::all().iter().flat_map(of).collect();
        let (channels, unknown) = (Vec::new(), Meters::new("unknown", "unknown"));
        let (own, announced) = (None, Mutex::default());
        Ok(Self { by_provider, test, paths, channels, own, announced, unknown })
    }

    /// The same, knowing these channels.
    ///
    /// # Errors
    /// A source whose sender may name a channel that there is not.
    pub fn with_channels(self, channels: Vec<ChannelName>) -> Result<Self, ConfigError> {
        let known = |id: &String| channels.iter().any(|channel| channel.id == *id);
        for source in self.iter() {
            let unknown = source.channels.iter().flatten().find(|id| !known(id));
            if let Some(id) = unknown {
                let key = format!("sources.{}.channels", source.id);
                let problem = format!("there is no channel {id:?}");
                return Err(ConfigError::new(key, problem, "name one of section channels"));
            }
        }
        Ok(Self { channels, ..self })
    }

    /// The same, knowing which projects are this system's own.
    #[must_use]
    pub fn with_own(self, own: Option<Own>) -> Self {
        Self { own, ..self }
    }

    /// Why an authentic request is recorded and never an alert, if it is.
    pub(crate) fn recorded(
        &self,
        source: &Source,
        request: &providers::Request<'_>,
    ) -> Option<&'static str> {
        let own = self.own.as_ref()?;
        source.provider.is_about(request, own).then_some(providers::OWN_PROJECT)
    }

    /// The channel that a sender of `source` named, by its id or its whole address.
    ///
    /// Where one kind is meant, it has to be one that the source lists, or, where it lists none, any
    /// while all sources are of one project: else who sends for one tenant could write to another's.
    pub(crate) fn channel(&self, source: &Source, asked: &NamedChannel) -> Option<&str> {
        let NamedChannel { named, kind } = asked;
        let address: [u8; 32] = Sha256::digest(named.as_bytes()).into();
        let mut channels = self.channels.iter();
        let found = channels.find(|c| c.id == *named || c.address.is_some_and(|a| a == address))?;
        let allowed = match (kind, &source.channels) {
            (None, _) => true,
            (Some(kind), _) if *kind != found.kind => false,
            (Some(_), Some(listed)) => listed.contains(&found.id),
            (Some(_), None) => self.iter().all(|other| other.project == source.project),
        };
        allowed.then_some(found.id.as_str())
    }

    /// Who answers at this path.
    pub(crate) fn at<'p>(&self, path: &'p str) -> Place<'_, 'p> {
        let (source, token) = match path.strip_prefix("/webhook/") {
            Some(rest) => {
                let mut segments = rest.splitn(3, '/');
                let (provider, id) = (segments.next().unwrap_or_default(), segments.next());
                (self.source(provider, id), segments.next())
            }
            None if path == SHARED_PATH => return Place::Shared,
            None if path == TEST_PATH => (Some(&self.test), None),
            None => (self.paths.get(path).and_then(|provider| self.source(provider, None)), None),
        };
        source.map_or(Place::Nowhere, |source| Place::Of(source, token))
    }

    fn source(&self, provider: &str, id: Option<&str>) -> Option<&Source> {
        let routes = self.by_provider.get(provider)?;
        let source = routes.by_id.get(id.or(routes.default.as_deref())?)?;
        (!source.is_off()).then_some(source)
    }

    /// Whose this body is, of those who answer for their provider.
    pub(crate) fn of_body(&self, body: &[u8]) -> Option<&Source> {
        let answers = |provider: &dyn providers::Provider| self.source(provider.name(), None);
        let provider = providers::detect(body, |provider| answers(provider).is_some())?;
        answers(provider)
    }

    /// The source of `POST /test`.
    pub fn test(&self) -> &Source {
        &self.test
    }

    /// Every configured source, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.by_provider.values().flat_map(|routes| routes.by_id.values())
    }

    /// Whether the health was told about them.
    pub(crate) fn are_announced(&self) -> bool {
        *self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which sources have no credentials and what that means: at start, and again when keys
    /// or switches changed.
    pub fn announce(&self, health: &Health) {
        // Of two at once the second says what is true after both.
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        *announced = true;
        for source in self.iter() {
            let part = format!("source {}", source.id);
            let provider = source.provider.name();
            if source.is_off() {
                health.degraded(&part, OFF);
                continue;
            }
            match source.gate(Time::default()) {
                Gate::Verify(_) | Gate::Address if source.admits_nobody() => {
                    health.degraded(&part, NOBODY);
                }
                Gate::Verify(_) | Gate::Address => health.ready(&part),
                Gate::Closed(detail) => {
                    health.not_ready(&part, detail);
                    tracing::error!(
                        event = format!("{provider}_webhook_secret_missing_in_production"),
                        severity = "critical",
                        source.id = %source.id,
                        "{provider}_webhook_secret_missing_in_production: source {} answers 503: \
                         {detail}",
                        source.id
                    );
                }
                Gate::Unread => health.not_ready(&part, UNREAD),
                Gate::Open => health.degraded(&part, OPEN),
            }
        }
    }
}

/// The ids of sources that exist where none is configured.
fn implied_ids(environment: &Environment) -> impl Iterator<Item = &'static str> {
    let named = SOURCE_NAMES.iter().filter_map(|(_, key)| {
        let id = key.strip_prefix("sources.")?.split('.').next()?;
        // A list of who may send is no reason to listen to them.
        key.ends_with(".secret").then_some(id)
    });
    let all = providers::all().iter().map(|provider| provider.name());
    let production = matches!(environment, Environment::Production);
    named.filter(move |_| production).chain(all.filter(move |_| !production))
}

#[cfg(test)]
mod tests;
