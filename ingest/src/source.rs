//! One source, ready to decide about a request.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU16,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use domain::providers::{self, Provider, Senders};
use ipnet::IpNet;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use runtime::{ConfigError, Environment};
use schemas::{Lane, LaneKey, ProjectId, SourceId, Time, record::Auth};

use crate::{
    Config,
    config::{Require, SourceConfig},
    credentials::{self, Valid},
    gate::{Gate, Keyring, Shown},
    limits::Limits,
    outcome::Outcome,
    peer,
};

/// One source.
pub struct Source {
    pub id: SourceId,
    pub project: ProjectId,
    pub lane: LaneKey,
    pub provider: &'static dyn Provider,
    /// Its number among the sources of this process.
    pub(crate) number: usize,
    /// Who may send, where bodies name their sender.
    pub(crate) senders: Senders,
    pub(crate) require: Require,
    pub(crate) max_body_bytes: usize,
    pub(crate) limits: Limits,
    /// Of all sources of its project together.
    pub(crate) project_limits: Arc<Limits>,
    pub(crate) meters: Meters,
    /// The channels its sender may name; absent: see [`crate::Sources`].
    pub(crate) channels: Option<Vec<String>>,
    /// Networks that may send; empty is everybody.
    allowed_ips: Vec<IpNet>,
    production: bool,
    configured: Vec<Valid>,
    state: RwLock<State>,
}

/// What can change while the process runs.
struct State {
    keyring: Arc<Keyring>,
    off: bool,
    unread: bool,
}

/// What control records say of a source.
#[derive(Clone, Debug, Default)]
pub struct Issued {
    /// Keys that let a request in, beside what is configured.
    pub keys: Vec<Valid>,
    /// There was such a key once: nobody gets in without one, also where all are revoked and this
    /// is not production.
    pub guarded: bool,
    /// The source is switched off: it is unknown, as if it were not configured.
    pub off: bool,
    /// None was read yet: whoever shows a key may be right.
    pub unread: bool,
}

/// What is said of an open gate.
pub(crate) const OPEN: &str = "accepts unauthenticated requests";

/// What is said of a source whose keys nobody has read yet.
pub(crate) const UNREAD: &str = "the keys of this source are not known yet";

/// What is said of a list of senders with nobody on it.
pub(crate) const NOBODY: &str = "answers 403 to everything: its list of senders is empty";

/// What is said of a source that somebody switched off.
pub(crate) const OFF: &str = "is switched off";

/// Who alone is on the list when anybody may send.
const ANYBODY: &str = "*";

/// What all sources are built with.
pub struct Common<'a> {
    pub config: &'a Config,
    pub environment: &'a Environment,
    pub lanes: NonZeroU16,
    /// The limits of each project, made when its first source is.
    pub projects: HashMap<String, Arc<Limits>>,
    /// Sources so far.
    pub count: usize,
}

impl Source {
    /// A source as its section says.
    pub fn build(
        id: &str,
        config: &SourceConfig,
        common: &mut Common<'_>,
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
        config.limits().validate(&format!("sources.{id}"))?;
        let most = common.config.max_body_bytes;
        if config.max_body_bytes.is_some_and(|bytes| bytes > most) {
            let problem = format!("is more than ingest.max_body_bytes ({most})");
            return Err(ConfigError::new(at(".max_body_bytes"), problem, "lower it"));
        }
        if config.require == Require::Address && config.allowed_ips.is_empty() {
            let problem = "asks for an address, and allowed_ips names none";
            let remedy = "list the sender's networks in allowed_ips of this source";
            return Err(ConfigError::new(at(".require"), problem, remedy));
        }
        let configured = credentials::configured(id, provider, config)?;
        let senders = senders(id, provider, config, common.environment)?;
        Ok(Self::new(source, project, provider, senders, config, configured, common))
    }

    /// The source of `POST /test`: keys of its own, and nothing it says is ever an incident.
    pub fn of_tests(common: &mut Common<'_>) -> Result<Self, ConfigError> {
        let fail =
            |problem: String| ConfigError::new("ingest.test_keys", problem, "correct the key");
        let source = SourceId::new(providers::TEST_SOURCE).map_err(|e| fail(e.to_string()))?;
        let section = SourceConfig::default();
        let project = ProjectId::new(section.project.as_str()).map_err(|e| fail(e.to_string()))?;
        let keys = credentials::bearer("ingest.test_keys", &common.config.test_keys)?;
        let provider = providers::of_tests();
        Ok(Self::new(source, project, provider, Senders::Named, &section, keys, common))
    }

    fn new(
        id: SourceId,
        project: ProjectId,
        provider: &'static dyn Provider,
        senders: Senders,
        config: &SourceConfig,
        configured: Vec<Valid>,
        common: &mut Common<'_>,
    ) -> Self {
        // Which lane an interaction concerns is known only to who reads it.
        let lane = match provider.channel_type() {
            "chat" => LaneKey::All,
            _ => LaneKey::Lane(Lane::of(&project, common.lanes)),
        };
        let section = common.config.projects.get(project.as_str());
        let most = [config.max_body_bytes, section.and_then(|section| section.max_body_bytes)];
        let most = most.into_iter().flatten().fold(common.config.max_body_bytes, usize::min);
        let of_project = || Arc::new(section.map(Limits::new).unwrap_or_default());
        let project_limits =
            Arc::clone(common.projects.entry(project.to_string()).or_insert_with(of_project));
        let allowed_ips = match config.allowed_ips.as_slice() {
            [] => common.config.allowed_ips.clone(),
            own => own.to_vec(),
        };
        common.count += 1;
        let keyring = Arc::new(Keyring::new(configured.iter().cloned(), false));
        Self {
            number: common.count,
            lane,
            senders,
            require: config.require,
            max_body_bytes: most,
            limits: Limits::new(&config.limits()),
            project_limits,
            meters: Meters::new(provider.name(), id.as_str()),
            channels: config.channels.clone(),
            allowed_ips,
            production: matches!(common.environment, Environment::Production),
            configured,
            state: RwLock::new(State { keyring, off: false, unread: false }),
            id,
            project,
            provider,
        }
    }

    /// Takes over what control records say, in place of what they said before.
    pub fn issue(&self, issued: Issued) {
        let Issued { keys, guarded, off, unread } = issued;
        let keys = keys.into_iter().filter(|key| self.provider.accepts(&key.credential));
        let all = self.configured.iter().cloned().chain(keys);
        let keyring = Arc::new(Keyring::new(all, guarded));
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { keyring, off, unread };
    }

    /// Whether somebody switched it off.
    pub fn is_off(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).off
    }

    /// Whether nobody knows yet which keys were issued.
    pub(crate) fn is_unread(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).unread
    }

    /// What a request of this time has to show: everything that is configured and still holds, and
    /// every key that was issued.
    pub fn gate(&self, now: Time) -> Gate {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match (self.require, state.keyring.is_guarded(), self.production) {
            (Require::Address, ..) => Gate::Address,
            // Anybody may know how to verify it.
            (_, false, _) if !self.provider.needs_credential() => {
                Gate::Verify(Shown::at(Arc::clone(&state.keyring), now))
            }
            (_, false, true) => Gate::Closed(self.provider.missing_secret_detail()),
            // A source with keys asks for one in development too, from its first request on.
            (_, false, false) if state.unread => Gate::Unread,
            (_, false, false) => Gate::Open,
            (_, true, _) => Gate::Verify(Shown::at(Arc::clone(&state.keyring), now)),
        }
    }

    /// Whether requests from this address are looked at; one that is not known is on no list.
    pub(crate) fn allows(&self, address: Option<IpAddr>) -> bool {
        let listed = |address| peer::listed(&self.allowed_ips, address);
        self.allowed_ips.is_empty() || address.is_some_and(listed)
    }

    pub(crate) fn admits_nobody(&self) -> bool {
        self.provider.names_senders() && self.senders == Senders::Listed(Vec::new())
    }

    /// What to know of a source that refuses everything, or nothing.
    pub fn warning(&self) -> Option<String> {
        if self.is_off() {
            return Some(OFF.to_owned());
        }
        match self.gate(Time::default()) {
            Gate::Verify(_) | Gate::Address => self.admits_nobody().then(|| NOBODY.to_owned()),
            Gate::Closed(detail) => Some(format!("answers 503 to everything: {detail}")),
            Gate::Unread => Some(format!("answers 503 to everything: {UNREAD}")),
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

/// The metrics of one source, registered once.
pub struct Meters {
    requests: [Counter; Outcome::ALL.len()],
    pub(crate) seconds: Histogram,
    source: String,
    /// When each credential last let a request in, by its id.
    used: Mutex<HashMap<String, Gauge>>,
}

impl Meters {
    /// The meters of a source, or of requests to none.
    pub fn new(provider: &str, source: &str) -> Self {
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
        Self { requests, seconds, source: source.to_owned(), used: Mutex::default() }
    }

    /// Counts one request.
    pub(crate) fn count(&self, outcome: Outcome) {
        self.requests[outcome as usize].increment(1);
    }

    /// Notes when a credential was used, so that one nobody uses any more can be taken away.
    pub(crate) fn used(&self, auth: &Auth, now: Time) {
        let Some(id) = &auth.credential else { return };
        let seconds = now.micros() as f64 / 1e6;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gauge) = used.get(id) {
            return gauge.set(seconds);
        }
        let gauge = gauge!(
            "bellwether_ingest_credential_used_timestamp_seconds",
            "source" => self.source.clone(),
            "credential" => id.clone()
        );
        gauge.set(seconds);
        used.insert(id.clone(), gauge);
    }
}
