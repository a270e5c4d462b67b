//! The configured sources: checked once at start, then only looked up.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU16,
};

use axum::http::HeaderValue;
use domain::providers::{self, Credential, Provider, Senders};
use metrics::{Counter, Histogram, counter, histogram};
use runtime::{ConfigError, Environment, Health, config::SOURCE_NAMES};
use schemas::{Lane, LaneKey, ProjectId, SourceId, record::Auth};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::{
    config::{BasicConfig, BearerConfig, SourceConfig},
    reply::Outcome,
};

/// Every source that answers, by path.
pub struct Sources {
    by_provider: HashMap<&'static str, Routes>,
    /// Requests to no source at all.
    pub(crate) unknown: Meters,
}

#[derive(Default)]
struct Routes {
    by_id: HashMap<String, Source>,
    /// The id that answers at `/webhook/<provider>`.
    default: Option<String>,
}

/// One source, ready to decide about a request.
pub struct Source {
    pub id: SourceId,
    pub project: ProjectId,
    pub lane: LaneKey,
    pub provider: &'static dyn Provider,
    pub(crate) gate: Gate,
    /// Who may send, where bodies name their sender.
    pub(crate) senders: Senders,
    /// `WWW-Authenticate` of a 401.
    pub(crate) challenge: Option<HeaderValue>,
    pub(crate) meters: Meters,
}

/// What happens to a request before it is believed.
pub enum Gate {
    /// It has to show one of these.
    Verify(Vec<Credential>),
    /// There is nothing to verify with, and this is production: the detail of the 503.
    Closed(&'static str),
    /// There is nothing to verify with, and this is not production.
    Open,
}

/// What is said of an open gate.
const OPEN: &str = "accepts unauthenticated requests";

/// What is said of a list of senders with nobody on it.
const NOBODY: &str = "answers 403 to everything: its list of senders is empty";

/// Who alone is on the list when anybody may send.
const ANYBODY: &str = "*";

/// The metrics of one source, registered once.
pub struct Meters {
    requests: [Counter; Outcome::ALL.len()],
    pub(crate) seconds: Histogram,
}

impl Meters {
    fn new(provider: &str, source: &str) -> Self {
        let requests = Outcome::ALL.map(|outcome| {
            counter!(
                "bellwether_ingest_requests_total",
                "provider" => provider.to_owned(),
                "source" => source.to_owned(),
                "outcome" => outcome.name()
            )
        });
        let seconds =
            histogram!("bellwether_ingest_accept_seconds", "provider" => provider.to_owned());
        Self { requests, seconds }
    }

    /// Counts one request.
    pub(crate) fn count(&self, outcome: Outcome) {
        self.requests[outcome as usize].increment(1);
    }
}

impl Sources {
    /// Checks the configuration and builds the table.
    ///
    /// Without any configured source, those that an environment name speaks of exist (without a
    /// secret they fail closed); with some, only they do.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn build(
        configured: &BTreeMap<String, SourceConfig>,
        environment: &Environment,
        lanes: NonZeroU16,
    ) -> Result<Self, ConfigError> {
        let implied: BTreeMap<_, _>;
        let configured = if configured.is_empty() {
            implied = SOURCE_NAMES
                .iter()
                .filter_map(|(_, key)| key.strip_prefix("sources.")?.split('.').next())
                .map(|id| (id.to_owned(), SourceConfig::default()))
                .collect();
            &implied
        } else {
            configured
        };
        let mut by_provider: HashMap<&'static str, Routes> = HashMap::new();
        for (id, config) in configured {
            let source = Source::build(id, config, environment, lanes)?;
            if config.enabled {
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
        Ok(Self { by_provider, unknown: Meters::new("unknown", "unknown") })
    }

    /// The source that answers at `/webhook/<provider>` or `/webhook/<provider>/<source>`.
    pub(crate) fn at(&self, path: &str) -> Option<&Source> {
        let rest = path.strip_prefix("/webhook/")?;
        let (provider, id) = rest.split_once('/').map_or((rest, None), |(p, s)| (p, Some(s)));
        let routes = self.by_provider.get(provider)?;
        routes.by_id.get(id.or(routes.default.as_deref())?)
    }

    /// Every source, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.by_provider.values().flat_map(|routes| routes.by_id.values())
    }

    /// Says once, at start, which sources have no credentials and what that means.
    pub fn announce(&self, health: &Health) {
        for source in self.iter() {
            let part = format!("source {}", source.id);
            let provider = source.provider.name();
            match &source.gate {
                Gate::Verify(_) if source.admits_nobody() => health.degraded(&part, NOBODY),
                Gate::Verify(_) => health.ready(&part),
                Gate::Closed(detail) => {
                    health.not_ready(&part, *detail);
                    tracing::error!(
                        event = format!("{provider}_webhook_secret_missing_in_production"),
                        severity = "critical",
                        source.id = %source.id,
                        "{provider}_webhook_secret_missing_in_production: source {} answers 503: \
                         {detail}",
                        source.id
                    );
                }
                Gate::Open => health.degraded(&part, OPEN),
            }
        }
    }
}

impl Source {
    fn build(
        id: &str,
        config: &SourceConfig,
        environment: &Environment,
        lanes: NonZeroU16,
    ) -> Result<Self, ConfigError> {
        let at = |field: &str| format!("sources.{id}{field}");
        let source = SourceId::new(id)
            .map_err(|e| ConfigError::new(at(""), e.to_string(), "rename the source"))?;
        let project = ProjectId::new(config.project.as_str()).map_err(|e| {
            ConfigError::new(at(".project"), e.to_string(), "correct the project's id")
        })?;
        let name = config.provider.as_deref().unwrap_or(id);
        let provider = providers::by_name(name).ok_or_else(|| {
            let known: Vec<_> = providers::all().iter().map(|p| p.name()).collect();
            ConfigError::new(
                at(".provider"),
                format!("there is no provider {name:?}"),
                format!("set it to one of: {}", known.join(", ")),
            )
        })?;
        if providers::is_reserved(&source) {
            let problem = "is the id of deliveries that are never incidents";
            return Err(ConfigError::new(at(""), problem, "rename the source"));
        }
        let credentials = credentials(id, provider, config)?;
        let senders = senders(id, provider, config, environment)?;
        let challenge = challenge(&credentials);
        let gate = match (credentials.is_empty(), environment) {
            (false, _) => Gate::Verify(credentials),
            (true, Environment::Development(_)) => Gate::Open,
            (true, Environment::Production) => Gate::Closed(provider.missing_secret_detail()),
        };
        // Which lane an interaction concerns is known only to who reads it.
        let lane = match provider.channel_type() {
            "chat" => LaneKey::All,
            _ => LaneKey::Lane(Lane::of(&project, lanes)),
        };
        let meters = Meters::new(provider.name(), id);
        Ok(Self { id: source, project, lane, provider, gate, senders, challenge, meters })
    }

    fn admits_nobody(&self) -> bool {
        self.provider.names_senders() && self.senders == Senders::Listed(Vec::new())
    }

    /// What to know of a source without credentials: it refuses everything, or nothing.
    pub fn warning(&self) -> Option<String> {
        match &self.gate {
            Gate::Verify(_) => self.admits_nobody().then(|| NOBODY.to_owned()),
            Gate::Closed(detail) => Some(format!("answers 503 to everything: {detail}")),
            Gate::Open => Some(OPEN.to_owned()),
        }
    }

    /// What is recorded for a request let in without credentials.
    pub(crate) fn skipped(&self) -> Auth {
        let provider = self.provider.name();
        tracing::warn!(
            event = format!("{provider}_signature_skipped_dev_only"),
            reason = "no credentials configured",
            source.id = %self.id,
            "{provider}_signature_skipped_dev_only: source {} has no credentials and this is not \
             production",
            self.id
        );
        Auth { method: "skipped_dev".to_owned(), credential: None }
    }
}

/// Everything that lets a request in; blank texts count as absent.
fn credentials(
    id: &str,
    provider: &dyn Provider,
    config: &SourceConfig,
) -> Result<Vec<Credential>, ConfigError> {
    let mut all: Vec<(&str, Credential)> = Vec::new();
    if let Some(secret) = given(config.secret.as_ref()) {
        all.push(("secret", hmac("current", secret)));
        if let Some(previous) = given(config.previous_secret.as_ref()) {
            all.push(("previous_secret", hmac("previous", previous)));
        }
    }
    if let Some(text) = given(config.token.as_ref()) {
        all.push(("token", token("current", text)));
        if let Some(previous) = given(config.previous_token.as_ref()) {
            all.push(("previous_token", token("previous", previous)));
        }
    }
    if let Some(basic) = &config.basic {
        all.extend(basic_credentials(id, basic)?.into_iter().map(|c| ("basic", c)));
    }
    for (number, bearer) in config.bearer.iter().enumerate() {
        all.extend(bearer_credential(id, number, bearer)?.map(|c| ("bearer", c)));
    }
    for (field, credential) in &all {
        if !provider.accepts(credential) {
            return Err(ConfigError::new(
                format!("sources.{id}.{field}"),
                format!("provider {} cannot use it", provider.name()),
                format!("remove it and set {}", usable(provider)),
            ));
        }
    }
    Ok(all.into_iter().map(|(_, credential)| credential).collect())
}

/// Who may send, of those who can show a credential.
fn senders(
    id: &str,
    provider: &dyn Provider,
    config: &SourceConfig,
    environment: &Environment,
) -> Result<Senders, ConfigError> {
    let fail = |problem: String, remedy: &str| {
        Err(ConfigError::new(format!("sources.{id}.senders"), problem, remedy))
    };
    let listed = &config.senders;
    if !listed.is_empty() && !provider.names_senders() {
        return fail(format!("provider {} cannot use it", provider.name()), "remove it");
    }
    if listed.iter().any(|sender| sender.trim().is_empty()) {
        return fail("names nobody".to_owned(), "remove the empty text");
    }
    match (listed.as_slice(), environment) {
        ([one], _) if one == ANYBODY => Ok(Senders::Anybody),
        (some, _) if some.iter().any(|sender| sender == ANYBODY) => {
            fail("lists senders beside \"*\"".to_owned(), "name them, or \"*\" alone")
        }
        ([], Environment::Development(_)) => Ok(Senders::Named),
        (listed, _) => Ok(Senders::Listed(listed.to_vec())),
    }
}

fn given(secret: Option<&SecretString>) -> Option<&str> {
    secret.map(ExposeSecret::expose_secret).filter(|text| !text.trim().is_empty())
}

fn hmac(id: &str, secret: &str) -> Credential {
    Credential::Hmac { id: id.to_owned(), secret: secret.as_bytes().to_vec() }
}

fn token(id: &str, text: &str) -> Credential {
    Credential::Token { id: id.to_owned(), token: text.as_bytes().to_vec() }
}

fn basic_credentials(id: &str, config: &BasicConfig) -> Result<Vec<Credential>, ConfigError> {
    // RFC 7617: the first colon ends the user.
    if config.user.is_empty() || config.user.contains(':') {
        return Err(ConfigError::new(
            format!("sources.{id}.basic.user"),
            "is empty or holds a colon",
            "use the user name the sender sends",
        ));
    }
    let basic = |name: &str, password: &str| Credential::Basic {
        id: name.to_owned(),
        user: config.user.clone(),
        password: password.to_owned(),
    };
    let Some(password) = given(Some(&config.password)) else { return Ok(Vec::new()) };
    let mut all = vec![basic("current", password)];
    all.extend(given(config.previous_password.as_ref()).map(|p| basic("previous", p)));
    Ok(all)
}

fn bearer_credential(
    id: &str,
    number: usize,
    config: &BearerConfig,
) -> Result<Option<Credential>, ConfigError> {
    let fail = |problem: &str| {
        Err(ConfigError::new(
            format!("sources.{id}.bearer[{number}]"),
            problem,
            "set either key, or sha256 to the 64 hex digits of the key's SHA-256",
        ))
    };
    let name = config.id.clone().unwrap_or_else(|| number.to_string());
    let sha256 = match (given(config.key.as_ref()), config.sha256.as_deref()) {
        (Some(_), Some(_)) => return fail("has both key and sha256"),
        (Some(key), None) => Sha256::digest(key.as_bytes()).into(),
        (None, Some(hex)) => match const_hex::decode_to_array::<_, 32>(hex) {
            Ok(sha256) if sha256 == <[u8; 32]>::from(Sha256::digest("")) => {
                return fail("sha256 is that of an empty key");
            }
            Ok(sha256) => sha256,
            Err(_) => return fail("sha256 is not 64 hex digits"),
        },
        (None, None) => return Ok(None),
    };
    Ok(Some(Credential::Bearer { id: name, sha256 }))
}

/// The keys a provider can use, for remedies.
fn usable(provider: &dyn Provider) -> String {
    let text = String::new;
    let kinds = [
        ("secret", Credential::Hmac { id: text(), secret: Vec::new() }),
        ("basic", Credential::Basic { id: text(), user: text(), password: text() }),
        ("bearer", Credential::Bearer { id: text(), sha256: [0; 32] }),
        ("token", Credential::Token { id: text(), token: Vec::new() }),
    ];
    let usable: Vec<_> =
        kinds.iter().filter(|(_, c)| provider.accepts(c)).map(|(name, _)| *name).collect();
    usable.join(" or ")
}

fn challenge(credentials: &[Credential]) -> Option<HeaderValue> {
    let (mut basic, mut bearer) = (false, false);
    for credential in credentials {
        match credential {
            Credential::Basic { .. } => basic = true,
            Credential::Bearer { .. } => bearer = true,
            Credential::Hmac { .. } | Credential::Token { .. } => {}
        }
    }
    match (basic, bearer) {
        (true, true) => Some(r#"Basic realm="bellwether", Bearer"#),
        (true, false) => Some(r#"Basic realm="bellwether""#),
        (false, true) => Some("Bearer"),
        (false, false) => None,
    }
    .map(HeaderValue::from_static)
}

#[cfg(test)]
mod tests;
