//! Laying the environment over the file.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::ConfigError;

const PREFIX: &str = "BELLWETHER__";

/// The environment names of the sources, and the keys they set.
pub const SOURCE_NAMES: [(&str, &str); 9] = [
    ("ENVIRONMENT", "environment"),
    ("SENTRY_WEBHOOK_SECRET", "sources.sentry.secret"),
    ("SENTRY_DSN", "sentry.dsn"),
    ("ALERT_BOT_IDS", "sources.custom.senders"),
    ("ALLOWED_IPS", "ingest.allowed_ips"),
    ("WEIXIN_CORP_ID", "channels.wecom.corp_id"),
    ("WEIXIN_CORP_SECRET", "channels.wecom.corp_secret"),
    ("WEIXIN_AGENT_ID", "channels.wecom.agent_id"),
    ("WEIXIN_TO_USER", "channels.wecom.to_user"),
];

/// Names that say nothing when they are empty, rather than that there is such a section.
const OPTIONAL: [&str; 7] = [
    "SENTRY_DSN",
    "ALERT_BOT_IDS",
    "ALLOWED_IPS",
    "WEIXIN_CORP_ID",
    "WEIXIN_CORP_SECRET",
    "WEIXIN_AGENT_ID",
    "WEIXIN_TO_USER",
];

/// What a section that the environment alone made is: its kind has no name there.
const KIND_OF_WECOM: (&str, &str) = ("kind", "wecom-app");

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
        let says = |name: &str, value: &str| !(value.trim().is_empty() && OPTIONAL.contains(&name));
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
        if key.starts_with("channels.wecom.") && name.starts_with("WEIXIN_") {
            let wecom = table.get_mut("channels").and_then(|channels| channels.get_mut("wecom"));
            if let Some(wecom) = wecom.and_then(Value::as_table_mut) {
                let (key, kind) = KIND_OF_WECOM;
                wecom.entry(key).or_insert_with(|| Value::String(kind.to_owned()));
            }
        }
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
