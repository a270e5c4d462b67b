//! Which log and which tables a verb is about: those of a configuration, or of an `up` that runs.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use eventlog::{JetStream, JetStreamConfig, jetstream::Credentials};
use runtime::{config::process_environment, http_client};
use secrecy::{ExposeSecret, SecretString};
use store::Store;

use super::up::DATABASE;
use crate::{
    Config,
    config::Checked,
    local::{self, FOLDER},
};

/// How long a server is waited for: a person is waiting too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which log.
#[derive(clap::Args)]
pub struct Place {
    /// The configuration; `bellwether.toml` in this folder when absent, else that of an `up` here.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The folder of a running `up`, whose log it is.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Place {
    /// The log.
    pub async fn log(&self) -> anyhow::Result<JetStream> {
        connect(&self.nats()?).await
    }

    /// How the log is reached.
    pub fn nats(&self) -> anyhow::Result<JetStreamConfig> {
        Ok(self.config()?.nats)
    }

    /// The tables.
    pub async fn store(&self) -> anyhow::Result<Store> {
        let postgres = self.config()?.postgres;
        let patience = postgres.connect_patience.min(PATIENCE);
        Ok(Store::connect(postgres.url.expose_secret(), 2, patience).await?)
    }

    /// The configuration, with the servers of an `up` in place of those it names.
    fn config(&self) -> anyhow::Result<Config> {
        Ok(self.checked()?.config)
    }

    /// The same with what is built from it.
    pub fn checked(&self) -> anyhow::Result<Checked> {
        let file = super::config_file(self.config.clone());
        let Some(dir) = self.folder(file.as_deref()) else {
            return super::read_config(file.as_deref());
        };
        let own = dir.join("bellwether.toml");
        let file = self.config.clone().or_else(|| own.exists().then_some(own));
        let mut checked = super::read_config(file.as_deref())?;
        let running = local::running(&dir)?;
        let secrets = local::secrets(&dir, &process_environment())?;
        let config = &mut checked.config;
        config.nats.url = running.nats;
        config.nats.credentials = Some(Credentials {
            user: local::NATS_USER.to_owned(),
            password: secrets.nats_password,
        });
        if let Some(port) = running.postgres {
            let url = servers::postgres_url(&secrets.postgres_password, port, DATABASE);
            config.postgres.url = SecretString::from(url);
        }
        Ok(checked)
    }

    /// Where ingest and the API are reached, as URLs: those of an `up`, else those this
    /// configuration makes them listen on.
    pub fn addresses(&self, config: &Config) -> anyhow::Result<(String, String)> {
        let file = super::config_file(self.config.clone());
        if let Some(dir) = self.folder(file.as_deref()) {
            let running = local::running(&dir)?;
            return Ok((running.ingest, running.console));
        }
        let url = |listen: SocketAddr| {
            let ip = match listen.ip() {
                ip if !ip.is_unspecified() => ip,
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            format!("http://{}", SocketAddr::new(ip, listen.port()))
        };
        Ok((url(config.ingest.listen), url(config.console.listen)))
    }

    /// The operator's key of the `up` that is meant; none where no `up` is.
    pub fn operator_key(&self) -> Option<String> {
        let file = super::config_file(self.config.clone());
        local::operator_key(&self.folder(file.as_deref())?).ok()
    }

    /// What the configuration is called in problems.
    pub fn name(&self) -> String {
        let file = super::config_file(self.config.clone());
        match self.folder(file.as_deref()) {
            Some(dir) => dir.join("bellwether.toml").display().to_string(),
            None => file.map_or_else(
                || "defaults and environment".to_owned(),
                |file| file.display().to_string(),
            ),
        }
    }

    /// The folder of the `up` that is meant; `file` is the configuration that was found.
    fn folder(&self, file: Option<&Path>) -> Option<PathBuf> {
        let here = PathBuf::from(FOLDER);
        match (&self.dir, file) {
            (Some(dir), _) => Some(dir.clone()),
            (None, None) if here.join("running.toml").exists() => Some(here),
            (None, _) => None,
        }
    }
}

/// Connects to a log that a person waits for.
pub async fn connect(nats: &JetStreamConfig) -> anyhow::Result<JetStream> {
    http_client::install_tls_provider();
    let patience = nats.connect_patience.min(PATIENCE);
    Ok(JetStream::connect(&JetStreamConfig { connect_patience: patience, ..nats.clone() }).await?)
}

/// Who asks, as far as this process knows.
pub fn user() -> String {
    let env = process_environment();
    let named = |key: &str| env.iter().find(|(name, value)| name == key && !value.is_empty());
    let name = named("USER").or_else(|| named("LOGNAME"));
    name.map_or_else(|| "somebody".to_owned(), |(_, name)| name.clone())
}
