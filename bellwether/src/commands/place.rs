//! Which log and which tables a verb is about: those of a configuration, or of an `up` that runs.

use std::{path::PathBuf, time::Duration};

use eventlog::{JetStream, JetStreamConfig, jetstream::Credentials};
use runtime::{config::process_environment, http_client};
use secrecy::{ExposeSecret, SecretString};
use store::Store;

use super::up::DATABASE;
use crate::{
    Config,
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
        let file = super::config_file(self.config.clone());
        let here = PathBuf::from(FOLDER);
        let dir = match (&self.dir, &file) {
            (Some(dir), _) => Some(dir.as_path()),
            (None, None) if here.join("running.toml").exists() => Some(here.as_path()),
            (None, _) => None,
        };
        let Some(dir) = dir else {
            return Ok(super::read_config(file.as_deref())?.config);
        };
        let own = dir.join("bellwether.toml");
        let file = self.config.clone().or_else(|| own.exists().then_some(own));
        let mut config = super::read_config(file.as_deref())?.config;
        let running = local::running(dir)?;
        let secrets = local::secrets(dir, &process_environment())?;
        config.nats.url = running.nats;
        config.nats.credentials = Some(Credentials {
            user: local::NATS_USER.to_owned(),
            password: secrets.nats_password,
        });
        if let Some(port) = running.postgres {
            let url = servers::postgres_url(&secrets.postgres_password, port, DATABASE);
            config.postgres.url = SecretString::from(url);
        }
        Ok(config)
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
