//! Configuration: one document out of several layers, and errors a person can act on.
//!
//! Layers, later ones win: the defaults of the types (`#[serde(default)]`), the TOML file,
//! `BELLWETHER__SECTION__KEY`, the environment names of [`SOURCE_NAMES`]. Parsed into types that
//! deny unknown keys, so that a typing error is an error and not a silent default.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

pub mod duration;
mod overlay;

pub use overlay::SOURCE_NAMES;

/// Exit code of a process whose configuration cannot be used (`EX_USAGE`).
pub const EXIT_CODE: u8 = 64;

/// Why the configuration cannot be used: where, what, why, and what to do about it.
///
/// Printed as four lines. Values never appear for keys that hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, or the environment variable, that says it.
    pub file: String,
    /// The key path, for example `sources.payments.secret`; empty for the whole document.
    pub key: String,
    pub problem: String,
    pub remedy: String,
}

impl ConfigError {
    /// A problem found after parsing; [`ConfigError::found_in`] says where.
    pub fn new(
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            file: "configuration".to_owned(),
            key: key.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// The same problem with the file, or the environment variable, that its key comes from.
    #[must_use]
    pub fn found_in(mut self, file: Option<&Path>, env: &[(String, String)]) -> Self {
        let mut table = file.and_then(|f| read(f).ok()).unwrap_or_default();
        let from_env = overlay::apply(&mut table, env).unwrap_or_default();
        self.file = origin_of(&from_env, file, &self.key);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_empty() { "(whole document)" } else { &self.key };
        write!(
            f,
            "file: {}\nkey: {key}\nproblem: {}\nremedy: {}",
            self.file, self.problem, self.remedy
        )
    }
}

impl std::error::Error for ConfigError {}

/// The environment of this process, for [`load`]. Values that are not UTF-8 are left out.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn process_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads the configuration from its layers.
///
/// A text from the environment becomes a number, truth value, list or table only where the type
/// wants one: `BELLWETHER__INGEST__MAX_BODY_BYTES=1000`,
/// `BELLWETHER__CHANNELS__OPS__RECEIVERS='["default"]'`.
///
/// # Errors
/// A file that cannot be read or is not TOML, an unknown key, a value of the wrong type, or an
/// environment name that leads into something that is no section.
pub fn load<T: DeserializeOwned>(
    file: Option<&Path>,
    env: &[(String, String)],
) -> Result<T, ConfigError> {
    let mut table = file.map_or_else(|| Ok(Table::new()), read)?;
    let mut from_env = overlay::apply(&mut table, env)?;
    loop {
        match serde_path_to_error::deserialize(Value::Table(table.clone())) {
            Ok(config) => return Ok(config),
            Err(error) => {
                let key = error.path().to_string();
                // A text that its type refused is tried once more as the TOML value it spells.
                if overlay::reinterpret(&mut table, &mut from_env, &key) {
                    continue;
                }
                return Err(explain(&from_env, file, key, error.inner().message()));
            }
        }
    }
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let fail = |problem: String, remedy: &str| ConfigError {
        file: path.display().to_string(),
        key: String::new(),
        problem,
        remedy: remedy.to_owned(),
    };
    let text = fs::read_to_string(path).map_err(|e| {
        fail(format!("cannot be read: {e}"), "create it, or name another file with --config")
    })?;
    text.parse().map_err(|e: toml::de::Error| {
        // Only the line number: the line itself may hold a secret.
        let line = e.span().map_or(1, |s| text[..s.start.min(text.len())].lines().count().max(1));
        fail(format!("line {line} is not TOML: {}", e.message()), "correct the line")
    })
}

fn explain(
    from_env: &BTreeMap<String, overlay::Origin>,
    file: Option<&Path>,
    key: String,
    message: &str,
) -> ConfigError {
    let file = origin_of(from_env, file, &key);
    let key = if key == "." { String::new() } else { key };
    let remedy = if message.starts_with("unknown field") {
        "remove the key or correct its name"
    } else if message.starts_with("missing field") {
        "add the key"
    } else {
        "correct the value"
    };
    let names_a_key = ["unknown field", "missing field"].iter().any(|of| message.starts_with(of));
    let problem = if holds_secret(&key) && !names_a_key {
        "the value cannot be used (it is not shown, because it may be a secret)".to_owned()
    } else {
        message.to_owned()
    };
    ConfigError { file, key, problem, remedy: remedy.to_owned() }
}

fn holds_secret(key: &str) -> bool {
    // Which kind an analyst is of is known only when all of it was read: its errors name the analyst,
    // and may show the value of any of its keys.
    if key.starts_with("triage.analysts") {
        return true;
    }
    ["secret", "password", "token", "bearer", "basic", "credential", "key", "url", "dsn"]
        .iter()
        .any(|word| key.contains(word))
}

fn origin_of(
    from_env: &BTreeMap<String, overlay::Origin>,
    file: Option<&Path>,
    key: &str,
) -> String {
    from_env.get(key).map_or_else(|| name_of(file), |o| format!("environment variable {}", o.name))
}

fn name_of(file: Option<&Path>) -> String {
    file.map_or_else(|| "configuration".to_owned(), |p| p.display().to_string())
}

#[cfg(test)]
mod tests;
