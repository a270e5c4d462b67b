//! What another document would change, in the words of the document.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use schemas::ProjectId;

use crate::providers::FieldMap;

use super::{Rules, condition::Conditions, playbook, section::Settled};

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
    // Of what ships with the playbook only what a document says stands among the lines.
    let value = |lines: &BTreeMap<String, String>, key: &String| {
        lines.get(key).cloned().or_else(|| playbook::built_in(key))
    };
    keys.into_iter()
        .map(|key| (key, value(old, key), value(new, key)))
        .filter(|(_, before, after)| before != after)
        .map(|(key, before, after)| Change {
            at: format!("{at}.{key}"),
            before,
            after,
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
    let Settled { stale, escalation, expiry, flapping, severity, fingerprint, fields, .. } =
        settled;
    let Settled {
        policy, once, inhibit, storm, quiet_hours, reminder, digest, limits, routes, ..
    } = settled;
    let names = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    let performance: Vec<String> = policy.performance.iter().map(Conditions::to_string).collect();
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
        ("policy.id", policy.id.clone()),
        ("policy.testing_environments", names(&policy.testing_environments)),
        ("policy.development_environments", names(&policy.development_environments)),
        ("policy.performance", performance.join(" or ")),
        ("policy.reappearing", policy.reappearing.word().to_owned()),
        ("policy.production", policy.production.to_string()),
        ("policy.testing", policy.testing.to_string()),
        ("policy.development", policy.development.to_string()),
        ("policy.repeats", policy.repeats.to_string()),
        ("once.id", once.id.clone()),
        ("once.minutes", minutes(once.seconds())),
        ("once.regression_bypass", once.regression_bypass.to_string()),
        ("storm.id", storm.id.clone()),
        ("storm.problems_per_minute", storm.problems_per_minute.to_string()),
        ("storm.summary_seconds", format!("{} s", storm.interval_seconds())),
        ("quiet_hours.id", quiet_hours.id.clone()),
        ("quiet_hours", quiet_hours.to_string()),
        ("reminder.id", reminder.id.clone()),
        ("reminder", reminder.to_string()),
        ("digest.id", digest.id.clone()),
        ("digest", digest.to_string()),
        ("limits.id", limits.id.clone()),
        ("limits.messages_per_hour", limits.messages_per_hour.to_string()),
        ("routes", routes.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    lines.extend(playbook::lines(&settled.playbook));
    for rule in &inhibit.0 {
        lines.insert(format!("inhibit.{}", rule.id), rule.to_string());
    }
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
