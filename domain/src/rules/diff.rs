//! What another document would change, in the words of the document.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
};

use schemas::ProjectId;

use crate::providers::FieldMap;

use super::{
    Rules,
    section::{Route, Settled},
};

/// One thing that would be otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it stands: `defaults.escalation.repeat_24h`, `project.shop.routes`.
    pub at: String,
    /// What holds now; none: nothing does.
    pub before: Option<String>,
    /// What would hold.
    pub after: Option<String>,
    /// Other fingerprints: every firing alert it concerns would be a new problem.
    pub fingerprint: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{}: {} -> {}", self.at, value(&self.before), value(&self.after))
    }
}

/// What holds in `before` and would not in `after`, the defaults first, then by project. Where the
/// defaults change, only projects that would differ from them are named.
pub fn diff(before: &Rules, after: &Rules) -> Vec<Change> {
    let (old, new) = (&before.0, &after.0);
    let mut changes = changes("defaults", &old.defaults, &new.defaults);
    let projects: BTreeSet<&ProjectId> = old.projects.keys().chain(new.projects.keys()).collect();
    for project in projects {
        changes.extend(changes_of(project, before, after));
    }
    changes
}

/// The changes of one project that are not those of the defaults.
fn changes_of(project: &ProjectId, before: &Rules, after: &Rules) -> Vec<Change> {
    let at = format!("project.{project}");
    let (old, new) = (lines(before.of(project)), lines(after.of(project)));
    let (old_defaults, new_defaults) = (lines(&before.0.defaults), lines(&after.0.defaults));
    let inherits =
        |key: &str| old.get(key) == old_defaults.get(key) && new.get(key) == new_defaults.get(key);
    let mut changes = between(&at, &old, &new);
    changes.retain(|change| !inherits(&change.at[at.len() + 1..]));
    changes
}

fn changes(at: &str, old: &Settled, new: &Settled) -> Vec<Change> {
    between(at, &lines(old), &lines(new))
}

fn between(
    at: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<Change> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| Change {
            at: format!("{at}.{key}"),
            before: old.get(key).cloned(),
            after: new.get(key).cloned(),
            fingerprint: key.starts_with("fingerprint.") || renames(key, old),
        })
        .collect()
}

/// Whether a changed mapping gives new names to problems that are known by the one before.
fn renames(key: &str, old: &BTreeMap<String, String>) -> bool {
    let Some(key) = key.strip_prefix("fields.") else { return false };
    let Some((source, fact)) = key.rsplit_once('.') else { return false };
    let of_source = format!("fields.{source}.");
    FieldMap::is_identity(fact) && old.keys().any(|key| key.starts_with(&of_source))
}

/// What holds, by the key it stands under.
fn lines(settled: &Settled) -> BTreeMap<String, String> {
    let Settled { stale, escalation, expiry, flapping, severity, fingerprint, fields, routes } =
        settled;
    let minutes = |seconds: i64| format!("{} min", seconds / 60);
    let mut lines: BTreeMap<String, String> = [
        ("stale.id", stale.id.clone()),
        ("stale.minutes", minutes(stale.seconds())),
        ("escalation.id", escalation.id.clone()),
        ("escalation.repeat_24h", escalation.repeat_24h.to_string()),
        ("escalation.escalate_1h", escalation.escalate_1h.to_string()),
        ("escalation.escalate_24h", escalation.escalate_24h.to_string()),
        ("escalation.permanent_fix_episodes_7d", escalation.permanent_fix_episodes_7d.to_string()),
        ("expiry.id", expiry.id.clone()),
        ("expiry.factor_percent", format!("{} %", expiry.factor_percent)),
        ("expiry.default_minutes", minutes(expiry.default_seconds)),
        ("expiry.minimum_minutes", minutes(expiry.minimum_seconds)),
        ("expiry.maximum_minutes", minutes(expiry.maximum_seconds)),
        ("flapping.id", flapping.id.clone()),
        ("flapping.changes", flapping.changes.to_string()),
        ("flapping.window_minutes", minutes(flapping.window_seconds)),
        ("severity.id", severity.id.clone()),
        ("routes", routes.iter().map(route).collect::<Vec<_>>().join("; ")),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    for (word, level) in severity.words() {
        lines.insert(format!("severity.words.{word}"), level.to_string());
    }
    for (provider, rule) in fingerprint {
        lines.insert(format!("fingerprint.{provider}"), rule.to_string());
    }
    for (source, map) in fields {
        for (fact, path) in map.paths() {
            lines.insert(format!("fields.{source}.{fact}"), path.as_str().to_owned());
        }
    }
    lines
}

fn route(route: &Route) -> String {
    let mut text = format!("{} to ", route.name);
    match route.receivers.as_slice() {
        [] => text.push_str("nobody"),
        receivers => {
            let _ = write!(text, "{}", receivers.join(", "));
        }
    }
    text
}
