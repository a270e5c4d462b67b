//! Each kind of event in our words. The error is the state that says nothing of a problem.

use schemas::{Alert, Facts, Status};
use serde_json::Value;

use crate::providers::{
    build::{self, MAX_LINE},
    json::{at, text},
    severity,
    single::{self, Single},
};

/// Failed jobs of one pipeline that are named.
const MAX_JOBS: usize = 16;

/// What came of a pipeline, a job or a deployment; the other words are steps on the way, and ends
/// that somebody wanted.
fn status(word: &str) -> Option<Status> {
    match word {
        "failed" => Some(Status::Firing),
        "success" => Some(Status::Resolved),
        _ => None,
    }
}

fn link(single: &Single<'_>, path: &[&str]) -> Option<String> {
    text(&single.body, path).and_then(build::link)
}

/// What every event says of its project, and more labels.
fn of_project<const N: usize>(
    single: &Single<'_>,
    facts: &mut Facts,
    labels: [(&str, Option<String>); N],
) {
    facts.sender_project =
        single.line(&["project", "path_with_namespace"]).or_else(|| single.line(&["project_name"]));
    facts.service =
        single.line(&["project", "name"]).or_else(|| single.line(&["repository", "name"]));
    let project = [
        ("project", facts.sender_project.clone()),
        ("default_branch", single.line(&["project", "default_branch"])),
    ];
    facts.labels = single::known(project).chain(single::known(labels)).collect();
}

pub(super) fn pipeline(single: &Single<'_>, identity: Vec<String>) -> Result<Alert, String> {
    let body = &single.body;
    let line = |name: &str| single.line(&["object_attributes", name]);
    let word = |name: &str| single::scalar(body, &["object_attributes", name]);
    let state = line("status").unwrap_or_default();
    let status = status(&state).ok_or(state.clone())?;
    let branch = line("ref");
    let id = word("id");
    let title = line("name").or_else(|| Some(format!("Pipeline for {}", branch.as_deref()?)));

    let mut facts = single.facts("gitlab", title, status);
    facts.alertname = Some(facts.title.clone());
    facts.message = single::long(body, &["commit", "title"])
        .or_else(|| single::long(body, &["commit", "message"]));
    facts.target = branch.clone();
    facts.issue_id = id.clone();
    let page = || {
        let project = text(body, &["project", "web_url"])?;
        build::link(&format!("{project}/-/pipelines/{}", id.as_deref()?))
    };
    facts.url = link(single, &["object_attributes", "url"]).or_else(page);
    facts.started_at = build::time_at(body, &["object_attributes", "created_at"]);
    let ended_at = build::time_at(body, &["object_attributes", "finished_at"]);
    facts.ended_at = ended_at.filter(|_| status == Status::Resolved);
    of_project(
        single,
        &mut facts,
        [
            ("branch", branch),
            ("source", line("source")),
            ("commit", line("sha")),
            ("user", single.line(&["user", "username"])),
        ],
    );
    facts.annotations = single::known([
        ("status", Some(state.clone())),
        ("failed_jobs", failed_jobs(body)),
        ("merge_request", link(single, &["merge_request", "url"])),
    ])
    .collect();

    let event_id = format!("pipeline-{}-{state}", id.as_deref().unwrap_or_default());
    let mut alert = single::alert(facts, identity, &event_id);
    alert.provider_ts = ended_at.or(alert.facts.started_at);
    alert.status_at = ended_at;
    alert.refs = single::references([("pipeline", id), ("iid", word("iid"))]);
    Ok(alert)
}

/// The jobs a pipeline failed by.
fn failed_jobs(body: &Value) -> Option<String> {
    let jobs = at(body, &["builds"]).and_then(Value::as_array).into_iter().flatten();
    let failed = jobs.filter(|job| {
        text(job, &["status"]) == Some("failed") && job.get("allow_failure") != Some(&true.into())
    });
    let names: Vec<_> = failed.filter_map(|job| text(job, &["name"])).take(MAX_JOBS).collect();
    (!names.is_empty()).then(|| build::cut(&names.join(", "), MAX_LINE))
}

pub(super) fn job(single: &Single<'_>, identity: Vec<String>) -> Result<Alert, String> {
    let body = &single.body;
    let line = |name: &str| single.line(&[name]);
    let word = |name: &str| single::scalar(body, &[name]);
    let state = line("build_status").unwrap_or_default();
    let status = status(&state).ok_or(state.clone())?;
    if status == Status::Firing && body.get("build_allow_failure") == Some(&true.into()) {
        return Err("allowed_to_fail".to_owned());
    }
    let id = word("build_id");

    let mut facts = single.facts("gitlab", line("build_name"), status);
    facts.alertname = line("build_name");
    facts.message = single::long(body, &["commit", "message"]);
    facts.environment = single.line(&["environment", "name"]);
    facts.target = line("ref");
    facts.issue_id = id.clone();
    let home =
        text(body, &["project", "web_url"]).or_else(|| text(body, &["repository", "homepage"]));
    facts.url =
        home.zip(id.as_deref()).and_then(|(home, id)| build::link(&format!("{home}/-/jobs/{id}")));
    facts.started_at = build::time_at(body, &["build_started_at"])
        .or_else(|| build::time_at(body, &["build_created_at"]));
    let ended_at = build::time_at(body, &["build_finished_at"]);
    facts.ended_at = ended_at.filter(|_| status == Status::Resolved);
    of_project(
        single,
        &mut facts,
        [
            ("branch", line("ref")),
            ("stage", line("build_stage")),
            ("commit", line("sha")),
            ("user", single.line(&["user", "username"])),
        ],
    );
    facts.annotations = single::known([
        ("status", Some(state.clone())),
        ("failure_reason", line("build_failure_reason")),
    ])
    .collect();

    let event_id = format!("job-{}-{state}", id.as_deref().unwrap_or_default());
    let mut alert = single::alert(facts, identity, &event_id);
    alert.provider_ts = ended_at.or(alert.facts.started_at);
    alert.status_at = ended_at;
    alert.refs = single::references([("job", id), ("pipeline", word("pipeline_id"))]);
    Ok(alert)
}

pub(super) fn deployment(single: &Single<'_>, identity: Vec<String>) -> Result<Alert, String> {
    let body = &single.body;
    let line = |name: &str| single.line(&[name]);
    let word = |name: &str| single::scalar(body, &[name]);
    let state = line("status").unwrap_or_default();
    let status = status(&state).ok_or(state.clone())?;
    let environment = line("environment");
    let name = environment.as_ref().map(|environment| format!("Deployment to {environment}"));
    let changed_at = build::time_at(body, &["status_changed_at"]);

    let title = line("commit_title").or_else(|| name.clone());
    let mut facts = single.facts("gitlab", title, status);
    facts.alertname = name.or_else(|| Some(facts.title.clone()));
    facts.target = environment.clone();
    facts.environment = environment;
    facts.issue_id = word("deployment_id");
    facts.url = link(single, &["deployable_url"]).or_else(|| link(single, &["commit_url"]));
    facts.started_at = changed_at;
    facts.ended_at = changed_at.filter(|_| status == Status::Resolved);
    of_project(
        single,
        &mut facts,
        [
            ("branch", line("ref")),
            ("commit", line("short_sha")),
            ("tier", line("environment_tier")),
            ("user", single.line(&["user", "username"])),
        ],
    );
    facts.annotations = single::known([("status", Some(state.clone()))]).collect();

    let id = word("deployment_id");
    let event_id = format!("deployment-{}-{state}", id.as_deref().unwrap_or_default());
    let mut alert = single::alert(facts, identity, &event_id);
    alert.provider_ts = changed_at;
    alert.status_at = changed_at;
    alert.refs = single::references([("deployment", id), ("job", word("deployable_id"))]);
    Ok(alert)
}

pub(super) fn vulnerability(single: &Single<'_>, identity: Vec<String>) -> Result<Alert, String> {
    let body = &single.body;
    let line = |name: &str| single.line(&["object_attributes", name]);
    let time = |name: &str| build::time_at(body, &["object_attributes", name]);
    let state = line("state").unwrap_or_default();
    let status = match state.as_str() {
        "detected" | "confirmed" => Status::Firing,
        "resolved" => Status::Resolved,
        "dismissed" => Status::Suppressed,
        _ => return Err(state),
    };
    let severity_raw = line("severity");
    let url = link(single, &["object_attributes", "url"]);

    let mut facts = single.facts("gitlab", line("title"), status);
    facts.level = severity_raw.as_deref().and_then(severity::level);
    facts.severity_raw = severity_raw;
    facts.alertname = line("report_type").or_else(|| Some(facts.title.clone()));
    let place = ["object_attributes", "location", "file"];
    facts.target = single.line(&place);
    facts.started_at = time("created_at");
    facts.first_seen = facts.started_at;
    facts.ended_at = time("resolved_at").filter(|_| status == Status::Resolved);
    of_project(single, &mut facts, [("file", single.line(&place))]);
    facts.annotations = single::known([("state", Some(state.clone()))]).collect();

    // The address ends in the number.
    let number = url.as_deref().and_then(|url| url.rsplit('/').next()).map(str::to_owned);
    facts.url = url;
    facts.issue_id = number.clone();
    let changed_at = match status {
        Status::Firing => time("confirmed_at").or(facts.started_at),
        Status::Resolved => time("resolved_at"),
        Status::Suppressed => time("dismissed_at"),
    };
    let event_id = format!("vulnerability-{}-{state}", number.as_deref().unwrap_or_default());
    let mut alert = single::alert(facts, identity, &event_id);
    alert.provider_ts = time("updated_at").or(changed_at);
    alert.status_at = changed_at;
    alert.refs = single::references([("vulnerability", number)]);
    Ok(alert)
}

pub(super) fn incident(single: &Single<'_>, identity: Vec<String>) -> Result<Alert, String> {
    let body = &single.body;
    let line = |name: &str| single.line(&["object_attributes", name]);
    let word = |name: &str| single::scalar(body, &["object_attributes", name]);
    let time = |name: &str| build::time_at(body, &["object_attributes", name]);
    let action = line("action").unwrap_or_default();
    let status = match action.as_str() {
        "open" | "reopen" => Status::Firing,
        "close" => Status::Resolved,
        _ => return Err(action),
    };
    let severity_raw = line("severity");

    let mut facts = single.facts("gitlab", line("title"), status);
    facts.level = severity_raw.as_deref().and_then(severity::level);
    facts.severity_raw = severity_raw;
    facts.alertname = Some(facts.title.clone());
    facts.message = single::long(body, &["object_attributes", "description"]);
    facts.url = link(single, &["object_attributes", "url"]);
    facts.started_at = time("created_at");
    facts.ended_at = time("closed_at").filter(|_| status == Status::Resolved);
    of_project(single, &mut facts, []);
    facts.annotations = single::known([("action", Some(action.clone()))]).collect();
    facts.issue_id = word("iid");

    let id = word("id");
    let event_id = format!("incident-{}-{action}", id.as_deref().unwrap_or_default());
    let mut alert = single::alert(facts, identity, &event_id);
    let changed_at = match status {
        Status::Resolved => time("closed_at"),
        Status::Firing | Status::Suppressed => None,
    };
    alert.provider_ts = time("updated_at").or(alert.facts.started_at);
    alert.status_at = changed_at.or_else(|| time("updated_at"));
    alert.refs = single::references([("incident", id), ("iid", word("iid"))]);
    Ok(alert)
}
