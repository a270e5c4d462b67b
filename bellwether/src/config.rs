//! The whole configuration: one section per part, each defined where it is used.

mod check;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use domain::providers::Own;
use eventlog::JetStreamConfig;
use notifier_worker::{ChannelConfig, Channels};
use runtime::{ConfigError, Environment, config, telemetry::LogFormat};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Digest;

/// `bellwether.toml`. `config/example.toml` has every key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `dev`, `development`, `local`, `test` or `testing`; anything else counts as production, where
    /// a source without a secret refuses everything. Default: production.
    pub environment: Environment,
    pub log: LogConfig,
    /// Where errors of this system itself are reported.
    pub sentry: runtime::reports::Config,
    pub nats: JetStreamConfig,
    pub postgres: PostgresConfig,
    pub ingest: ingest::Config,
    /// One endpoint each, by id.
    pub sources: BTreeMap<String, ingest::SourceConfig>,
    pub observe: triage_worker::observe::Config,
    pub triage: triage_worker::triage::Config,
    pub deliver: notifier_worker::Config,
    /// One target of messages each, by id.
    pub channels: BTreeMap<String, ChannelConfig>,
    pub console: console::Config,
    pub rules: RulesConfig,
    pub worker: WorkerConfig,
}

/// Section `[log]`: this process's own log lines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: LogFormat,
    /// In `tracing` syntax, such as `info,ingest=debug`. Default `info`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

/// Section `[postgres]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`. A pooler in transaction mode does not do.
    pub url: SecretString,
    /// Shared connections of this process; each owned lane has one more of its own. Default 16.
    pub connections: u32,
    /// How long a start waits for a server that is not there yet. Default 30 s.
    #[serde(with = "runtime::config::duration")]
    pub connect_patience: Duration,
    /// How long tables keep alerts, deliveries, jobs that are done and notes of what was told, in
    /// days; at least as long as the log keeps what it holds. Default 35.
    pub keep_days: u16,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: SecretString::from("postgres://bellwether@127.0.0.1:5432/bellwether"),
            connections: 16,
            connect_patience: Duration::from_secs(30),
            keep_days: LOG_DAYS,
        }
    }
}

/// Days for which the log keeps what it holds.
pub(crate) const LOG_DAYS: u16 = (eventlog::topology::RETENTION.as_secs() / 86_400) as u16;

/// Section `[rules]`: where `up` finds the rules document.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesConfig {
    /// Relative to the folder of this configuration. Absent: `rules.toml` there, else
    /// `config/rules.toml` in the working directory, if there is one.
    pub file: Option<std::path::PathBuf>,
}

/// Section `[worker]`: processes without ingest and console.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// Address for `/health`, `/ready` and `/metrics`; absent: none.
    pub listen: Option<std::net::SocketAddr>,
}

/// What can be built from the configuration before any socket opens.
#[derive(Clone)]
pub struct Checked {
    pub config: Config,
    pub sources: Arc<ingest::Sources>,
    pub channels: Arc<Channels>,
}

impl Config {
    /// Reads the layers and checks everything that needs no connection.
    ///
    /// # Errors
    /// The first problem: file, key, problem, remedy.
    pub fn read(file: Option<&Path>, env: &[(String, String)]) -> Result<Checked, ConfigError> {
        let mut config: Self = config::load(file, env)?;
        if let (Some(folder), Some(base)) = (&config.deliver.templates, file.and_then(Path::parent))
        {
            config.deliver.templates = Some(base.join(folder));
        }
        config.check().map_err(|e| e.found_in(file, env))
    }

    /// Checks everything that needs no connection.
    ///
    /// # Errors
    /// The first problem.
    pub fn check(self) -> Result<Checked, ConfigError> {
        // Sources hold their meters, and a meter belongs to the recorder there is when it is made.
        runtime::telemetry::metrics();
        self.check_sections()?;
        self.ingest.validate()?;
        self.console.check()?;
        let sources = ingest::Sources::build(
            &self.ingest,
            &self.sources,
            &self.environment,
            self.nats.lanes,
        )?;
        let told = |e: notifier_worker::Error| ConfigError::new(e.key, e.problem, e.remedy);
        let channels = Channels::new(&self.channels).map_err(told)?;
        let channels = channels.with_templates_of(&self.deliver).map_err(told)?;
        let own = Own::new(self.sentry.reported_to(), self.sentry.own_projects.clone());
        let sources = sources.with_channels(self.channel_names())?.with_own(own);
        self.deliver.check(&channels).map_err(told)?;
        let (sources, channels) = (Arc::new(sources), Arc::new(channels));
        Ok(Checked { config: self, sources, channels })
    }

    /// The channels, as senders may name them.
    fn channel_names(&self) -> Vec<ingest::ChannelName> {
        let name = |(id, channel): (&String, &ChannelConfig)| {
            let address = channel.written("url").map(|url| url.expose_secret().as_bytes());
            let address = address.map(|url| sha2::Sha256::digest(url).into());
            ingest::ChannelName { id: id.clone(), kind: channel.kind.clone(), address }
        };
        self.channels.iter().map(name).collect()
    }

    /// The enabled sources, as the pages name them.
    pub fn known_sources(&self) -> Vec<console::KnownSource> {
        let known = |(id, source): (&String, &ingest::SourceConfig)| {
            let provider = source.provider.clone().unwrap_or_else(|| id.clone());
            let project = schemas::ProjectId::new(source.project.clone()).ok()?;
            Some(console::KnownSource { id: id.clone(), provider, project })
        };
        self.sources.iter().filter(|(_, source)| source.enabled).filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Checked, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bellwether.toml");
        std::fs::write(&file, text).unwrap();
        Config::read(Some(&file), &[])
    }

    #[test]
    fn the_example_has_every_section_and_is_valid() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/example.toml");
        Config::read(Some(&example), &[]).map(drop).unwrap();
        let text = std::fs::read_to_string(example).unwrap();
        for section in [
            "log", "sentry", "nats", "postgres", "ingest", "sources", "triage", "deliver",
            "channels", "console", "rules", "worker",
        ] {
            assert!(text.contains(&format!("[{section}")), "[{section}] is missing");
        }
    }

    #[test]
    fn problems_name_file_key_and_remedy() {
        let check = |text: &str, key: &str| {
            let error = read(text).map(drop).unwrap_err();
            assert_eq!(error.key, key, "{error}");
            let shown = error.to_string();
            assert!(shown.contains("bellwether.toml") && shown.contains("remedy"), "{shown}");
        };
        check("[observe]\nzone = \"nowhere\"", "observe.zone");
        check("[ingest]\nmax_body_bytes = 0", "ingest.max_body_bytes");
        check("[nats]\nlane = 4", "nats.lane");
        check("[sentry]\ndsn = \"https://key@host\"", "sentry.dsn");
        check("[sentry]\nown_projects = [\"\"]", "sentry.own_projects");
        check("[sources.x]\nprovider = \"nobody\"", "sources.x.provider");
        check("[sources.sentry]\nchannels = [\"x\"]", "sources.sentry.channels");
        check("[channels.x]\nkind = \"pigeon\"", "channels.x.kind");
    }
}
