//! Laying the environment over the file.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::ConfigError;

const PREFIX: &str = "BELLWETHER__";

/// The environment names of the sources, and the keys they set.
pub const SOURCE_NAMES: [(&str, &str); 4] = [
    ("ENVIRONMENT", "environment"),
    ("SENTRY_WEBHOOK_SECRET", "sources.sentry.secret"),
    ("ALERT_BOT_IDS", "sources.custom.senders"),
    ("ALLOWED_IPS", "ingest.allowed_ips"),
];

/// The names of lists: an empty one says nothing, rather than that there is such a section.
const LISTS: [&str; 2] = ["ALERT_BOT_IDS", "ALLOWED_IPS"];

/// Where a value came from.
#[derive(Debug)]
pub(super) struct Origin {
    /// The variable.
    pub name: String,
    /// Still the text as it was given.
    raw: bool,
}

/// Sets every key the environment names; returns them by key path.
pub(super) fn apply(
    table: &mut Table,
    env: &[(String, String)],
) -> Result<BTreeMap<String, Origin>, ConfigError> {
    let mut from_env = BTreeMap::new();
    let prefixed = env.iter().filter_map(|(name, value)| {
        let path = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
        Some((name, path.split("__").map(str::to_owned).collect::<Vec<_>>(), value))
    });
    let named = SOURCE_NAMES.iter().flat_map(|(known, key)| {
        let says = |name: &str, value: &str| !(value.trim().is_empty() && LISTS.contains(&name));
        env.iter().filter(move |(name, value)| name == known && says(name, value)).map(
            move |(name, value)| {
                (name, key.split('.').map(str::to_owned).collect::<Vec<_>>(), value)
            },
        )
    });
    for (name, path, value) in prefixed.chain(named) {
        let key = set(table, &path, value).map_err(|key| ConfigError {
            file: format!("environment variable {name}"),
            key,
            problem: "is a value in the file and a section in the variable's name".to_owned(),
            remedy: "correct the name of the variable, or remove it".to_owned(),
        })?;
        from_env.insert(key, Origin { name: name.clone(), raw: true });
    }
    Ok(from_env)
}

/// Sets the value at `path` and returns the key path used, or the path of what is no table.
fn set(mut table: &mut Table, path: &[String], value: &str) -> Result<String, String> {
    let (last, sections) = path.split_last().ok_or_else(String::new)?;
    let mut used = Vec::new();
    for section in sections {
        let name = existing(table, section);
        used.push(name.clone());
        table = table
            .entry(name)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| used.join("."))?;
    }
    let name = existing(table, last);
    used.push(name.clone());
    table.insert(name, Value::String(value.to_owned()));
    Ok(used.join("."))
}

/// Ids may hold `-`, which most shells refuse in a name: `MY_APP` finds the id `my-app`.
fn existing(table: &Table, segment: &str) -> String {
    if table.contains_key(segment) {
        return segment.to_owned();
    }
    let same = |key: &&String| key.replace('-', "_") == segment;
    table.keys().find(same).cloned().unwrap_or_else(|| segment.to_owned())
}

/// Replaces the text at `key` by the TOML value it spells; false when there is none to replace.
pub(super) fn reinterpret(
    table: &mut Table,
    from_env: &mut BTreeMap<String, Origin>,
    key: &str,
) -> bool {
    let Some(origin) = from_env.get_mut(key).filter(|o| o.raw) else { return false };
    origin.raw = false;
    let mut sections = key.split('.');
    let last = sections.next_back().unwrap_or_default();
    let found = sections.try_fold(table, |table, name| table.get_mut(name)?.as_table_mut());
    let Some(value) = found.and_then(|table| table.get_mut(last)) else { return false };
    let spelled = value
        .as_str()
        .and_then(|text| format!("value = {text}").parse::<Table>().ok())
        .and_then(|mut table| table.remove("value"));
    match spelled {
        Some(spelled) => {
            *value = spelled;
            true
        }
        None => false,
    }
}
