//! What GitHub's scans found: in the code, in the dependencies, of secrets; and advisories.

use schemas::{Alert, Level, Status};

use super::{Kind, checks::of_repository};
use crate::providers::{
    build,
    json::{at, text},
    severity,
    single::{self, Single},
};

/// The level of a finding; code scanning has a word of its own for the least.
fn level(word: &str) -> Option<Level> {
    match word.to_ascii_lowercase().as_str() {
        "note" => Some(Level::Info),
        "moderate" => Some(Level::Warning),
        other => severity::level(other),
    }
}

/// What a finding's state means; one that somebody dismissed may come back.
fn status(state: &str) -> Option<Status> {
    match state {
        "open" => Some(Status::Firing),
        "fixed" | "resolved" | "closed" => Some(Status::Resolved),
        "dismissed" | "auto_dismissed" => Some(Status::Suppressed),
        _ => None,
    }
}

/// What an action means where no state stands beside it.
fn by_action(action: &str) -> Option<Status> {
    match action {
        "created" | "reopened" | "reopened_by_user" | "appeared_in_branch" | "auto_reopened"
        | "reintroduced" | "publicly_leaked" => Some(Status::Firing),
        "fixed" | "resolved" => Some(Status::Resolved),
        "closed_by_user" | "dismissed" | "auto_dismissed" => Some(Status::Suppressed),
        _ => None,
    }
}

/// A finding. The error is the action that says nothing of it.
pub(super) fn alert(
    single: &Single<'_>,
    kind: Kind,
    identity: Vec<String>,
) -> Result<Alert, String> {
    let body = &single.body;
    let line = |path: &[&str]| single.line(&[&["alert"], path].concat());
    let time = |name: &str| build::time_at(body, &["alert", name]);
    let action = single.line(&["action"]).unwrap_or_default();
    // Who looks after it, where it was seen: nothing new of the finding itself.
    let told = by_action(&action);
    if told.is_none() && !action.is_empty() {
        return Err(action);
    }
    let state = line(&["state"]);
    let status = state.as_deref().and_then(status).or(told).ok_or(action.clone())?;
    let (title, name, severity_raw) = match kind {
        Kind::CodeScanning => {
            let name = line(&["rule", "id"]).or_else(|| line(&["rule", "name"]));
            let said = [&["rule", "description"], &["rule", "full_description"], &["rule", "name"]];
            let title = said.iter().find_map(|path| line(&path[..])).or_else(|| name.clone());
            let grade = line(&["rule", "security_severity_level"]);
            (title, name, grade.or_else(|| line(&["rule", "severity"])))
        }
        Kind::SecretScanning => {
            let kind = line(&["secret_type_display_name"]).or_else(|| line(&["secret_type"]));
            let title = kind.map(|kind| format!("Secret found: {kind}"));
            (title, line(&["secret_type"]), None)
        }
        Kind::Dependabot
        | Kind::Advisory
        | Kind::WorkflowRun
        | Kind::CheckRun
        | Kind::DeploymentStatus => {
            let grade = line(&["security_vulnerability", "severity"]);
            let title = line(&["security_advisory", "summary"]);
            let name = line(&["security_advisory", "ghsa_id"]);
            (title, name, grade.or_else(|| line(&["security_advisory", "severity"])))
        }
    };
    let package = line(&["dependency", "package", "name"])
        .or_else(|| line(&["security_vulnerability", "package", "name"]));
    let instance = |name: &str| line(&["most_recent_instance", "location", name]);
    let file = instance("path").or_else(|| line(&["dependency", "manifest_path"]));

    let mut facts = single.facts("github", title, status);
    facts.level = severity_raw.as_deref().and_then(level);
    facts.severity_raw = severity_raw;
    facts.alertname = name;
    facts.message = [
        &["alert", "security_advisory", "description"][..],
        &["alert", "most_recent_instance", "message", "text"],
        &["alert", "rule", "full_description"],
    ]
    .iter()
    .find_map(|path| single::long(body, path));
    facts.target = package.clone().or_else(|| file.clone());
    facts.url = text(body, &["alert", "html_url"]).and_then(build::link);
    of_repository(single, &mut facts);
    facts.started_at = time("created_at");
    facts.first_seen = facts.started_at;
    let changed_at = match status {
        Status::Firing => time("reopened_at"),
        Status::Resolved => time("fixed_at").or_else(|| time("resolved_at")),
        Status::Suppressed => time("dismissed_at").or_else(|| time("auto_dismissed_at")),
    };
    let changed_at = changed_at.or_else(|| time("updated_at"));
    facts.ended_at = changed_at.filter(|_| status == Status::Resolved);
    facts.labels.extend(single::known([
        ("tool", line(&["tool", "name"])),
        ("package", package),
        ("ecosystem", line(&["dependency", "package", "ecosystem"])),
        ("file", file),
        ("ref", single.line(&["ref"])),
        ("commit", single.line(&["commit_oid"])),
    ]));
    facts.annotations = single::known([
        ("action", Some(action.clone()).filter(|action| !action.is_empty())),
        ("state", state),
        ("dismissed_reason", line(&["dismissed_reason"])),
        ("resolution", line(&["resolution"])),
        ("patched_in", line(&["security_vulnerability", "first_patched_version", "identifier"])),
    ])
    .collect();

    let number = at(body, &["alert", "number"]).and_then(crate::providers::json::scalar);
    facts.issue_id = number.clone();
    let repository = facts.sender_project.clone().unwrap_or_default();
    let event_id = format!("{repository}#{}-{action}", number.as_deref().unwrap_or_default());
    let mut alert = single::alert(facts, identity, &event_id);
    alert.provider_ts = changed_at.or(alert.facts.started_at);
    // The first word of a finding is dated by the finding; a later one only where it says when.
    alert.status_at = match action.as_str() {
        "created" => alert.facts.started_at,
        _ => changed_at,
    };
    alert.refs = single::references([
        ("alert", number),
        ("ghsa", line(&["security_advisory", "ghsa_id"])),
        ("cve", line(&["security_advisory", "cve_id"])),
    ]);
    Ok(alert)
}

/// An advisory that was published or changed, or is none any more.
pub(super) fn advisory(single: &Single<'_>, identity: Vec<String>) -> Result<Alert, String> {
    let body = &single.body;
    let line = |name: &str| single.line(&["security_advisory", name]);
    let action = single.line(&["action"]).unwrap_or_default();
    let status = match action.as_str() {
        "published" | "updated" => Status::Firing,
        "withdrawn" => Status::Resolved,
        _ => return Err(action),
    };
    let time = |name: &str| build::time_at(body, &["security_advisory", name]);
    let severity_raw = line("severity");
    let id = line("ghsa_id");

    let mut facts = single.facts("github", line("summary").or_else(|| id.clone()), status);
    facts.level = severity_raw.as_deref().and_then(level);
    facts.severity_raw = severity_raw;
    facts.alertname = id.clone();
    facts.message = single::long(body, &["security_advisory", "description"]);
    facts.issue_id = id.clone();
    let page = text(body, &["security_advisory", "html_url"]).and_then(build::link);
    facts.url = page.or_else(|| {
        let first = at(body, &["security_advisory", "references"])?.as_array()?.first()?;
        build::link(text(first, &["url"])?)
    });
    facts.started_at = time("published_at");
    facts.ended_at = time("withdrawn_at").filter(|_| status == Status::Resolved);
    facts.annotations = single::known([("action", Some(action.clone()))]).collect();

    let event_id = format!("{}-{action}", id.as_deref().unwrap_or_default());
    let mut alert = single::alert(facts, identity, &event_id);
    let at = match status {
        Status::Resolved => time("withdrawn_at"),
        Status::Firing | Status::Suppressed => time("updated_at"),
    };
    alert.provider_ts = at.or(alert.facts.started_at);
    alert.status_at = at;
    alert.refs = single::references([("ghsa", id), ("cve", line("cve_id"))]);
    Ok(alert)
}
