//! The folder `bellwether up` keeps everything in: data, generated configuration and secrets.

use std::{
    fs::{self, File, TryLockError},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use eventlog::SpoolConfig;
use runtime::config::process_environment;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The user of the managed nats-server.
pub const NATS_USER: &str = "bellwether";

/// Name of the folder in the working directory.
pub const FOLDER: &str = ".bellwether";

/// The folder, locked for this process.
#[derive(Debug)]
pub struct Local {
    dir: PathBuf,
    secrets: Secrets,
    /// True when this start made the folder.
    pub first_start: bool,
    // Held until the process ends; the system releases it whatever the end.
    _lock: File,
}

/// What the first start makes up. Kept in a file only its owner can read.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    pub postgres_password: String,
    pub nats_password: String,
    pub sentry_secret: String,
    pub alertmanager_password: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// What a running `up` tells the other verbs of this folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    pub ingest: String,
    pub console: String,
    pub nats: String,
    /// Port of its Postgres; absent in files of before it was told.
    #[serde(default)]
    pub postgres: Option<u16>,
}

impl Local {
    /// Opens the folder, making it on the first start; refuses while another process has it.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        // Postgres runs as another user under root and has to pass through.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o711))
            .with_context(|| format!("set the mode of {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let lock = File::create(dir.join("lock")).context("create the lock file")?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another `bellwether up` uses {}; stop it, or choose another folder with --dir",
                dir.display()
            ),
            Err(TryLockError::Error(e)) => return Err(e).context("lock the folder"),
        }
        let file = dir.join("secrets.toml");
        let first_start = !file.exists();
        if first_start {
            let key = format!("bwk_{}", random_text());
            let secrets = Secrets {
                postgres_password: random_text(),
                nats_password: random_text(),
                sentry_secret: random_text(),
                alertmanager_password: random_text(),
            };
            write_private(&dir.join("operator-key"), &format!("{key}\n"))?;
            write_private(&dir.join("bellwether.toml"), &configuration(&secrets, &key))?;
            // Last, so that an interrupted first start is a first start again.
            write_private(&file, &toml::to_string(&secrets)?)?;
        }
        let secrets = secrets(&dir, &process_environment())?;
        Ok(Self { dir, secrets, first_start, _lock: lock })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the first start made up.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The generated configuration; people may change it.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("bellwether.toml")
    }

    /// Where deliveries wait while the log is away.
    pub fn spool(&self) -> SpoolConfig {
        SpoolConfig::at(self.dir.join("spool"))
    }

    /// The operator key the first start made up.
    pub fn operator_key(&self) -> anyhow::Result<String> {
        operator_key(&self.dir)
    }

    /// Tells the other verbs where this process listens.
    pub fn announce(&self, running: &Running) -> anyhow::Result<()> {
        write_private(&self.dir.join("running.toml"), &toml::to_string(running)?)
    }

    /// Writes down which servers the data belongs to.
    pub fn pin_versions(&self, nats: (u32, u32), postgres: (u32, u32)) -> anyhow::Result<()> {
        let text = format!(
            "# The servers this folder was last opened with. Postgres data can only be opened by the\n\
             # same major version.\nnats-server = \"{}.{}\"\npostgres = \"{}.{}\"\n",
            nats.0, nats.1, postgres.0, postgres.1
        );
        write_private(&self.dir.join("versions.toml"), &text)
    }
}

/// The operator key kept in a folder of `up`.
pub fn operator_key(dir: &Path) -> anyhow::Result<String> {
    let file = dir.join("operator-key");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

/// Where the `up` of this folder listens.
pub fn running(dir: &Path) -> anyhow::Result<Running> {
    read_toml(&dir.join("running.toml"))
        .context("nothing was started here yet: run `cargo xtask up` (or `bellwether up`) first")
}

/// The secrets an `up` of this folder runs with: those kept in it, and what the environment says
/// instead, as it does for the configuration.
pub fn secrets(dir: &Path, env: &[(String, String)]) -> anyhow::Result<Secrets> {
    let mut secrets: Secrets = read_toml(&dir.join("secrets.toml"))?;
    let said = env.iter().find(|(name, _)| name == "SENTRY_WEBHOOK_SECRET");
    if let Some((_, secret)) = said.filter(|(_, secret)| !secret.is_empty()) {
        secrets.sentry_secret.clone_from(secret);
    }
    Ok(secrets)
}

fn read_toml<T: for<'de> Deserialize<'de>>(file: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("understand {}", file.display()))
}

/// 256 bits as text.
fn random_text() -> String {
    const_hex::encode(runtime::random_bytes::<32>())
}

fn write_private(file: &Path, text: &str) -> anyhow::Result<()> {
    // Written beside and moved into place, so that a crash leaves the old file or the new one.
    let beside = file.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut out =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&beside, file)
    };
    write().with_context(|| format!("write {}", file.display()))
}

/// The configuration of a first start: two sources with secrets of their own, one for scripts
/// and one for chats, messages to the terminal, one operator.
fn configuration(secrets: &Secrets, key: &str) -> String {
    let key = const_hex::encode(Sha256::digest(key.as_bytes()));
    format!(
        r#"# Made by `bellwether up` on its first start and read on every start: change it freely.
# config/example.toml in the source tree has every key with its meaning.

environment = "local"

# What this process says of itself; "info" tells much more.
[log]
filter = "warn"

[sources.sentry]
provider = "sentry"
project = "default"
secret = "{sentry}"

[sources.alertmanager]
provider = "alertmanager"
project = "default"
basic = {{ user = "alertmanager", password = "{alertmanager}" }}

# Texts of your own scripts, at /webhook/custom and /api/alert; without a key, because this is not
# production: bearer = [{{ key = "..." }}] asks for one.
[sources.custom]
provider = "custom"
project = "default"

# What people write and press in Lark, at /lark/event and /lark/card/action; the app's encrypt key is
# the secret, its verification token the token.
[sources.lark]
provider = "lark"
project = "default"

# Prints each message to the terminal.
[channels.terminal]
kind = "log"

# [channels.hook]
# kind = "webhook"
# url = "https://example.com/alerts"
# secret = "whsec_..."

# Any OpenAI-compatible endpoint; without one the built-in playbook answers alone.
# [[triage.analysts]]
# name = "local"
# kind = "openai"
# url = "http://127.0.0.1:11434/v1"
# model = "qwen3"
# local = true

[console.operators.local]
key_sha256 = "{key}"
role = "admin"
projects = ["*"]
"#,
        sentry = secrets.sentry_secret,
        alertmanager = secrets.alertmanager_password,
    )
}
