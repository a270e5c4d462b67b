//! What a build, a check or a deployment came to. Only the conclusion tells: `status` is
//! `completed` whatever it was.

use schemas::{Alert, Facts, Status};

use crate::providers::{
    build,
    json::{at, text},
    single::{self, Single},
};

/// What a conclusion means; of the others nothing is said: nobody was at fault, and nothing is
/// known to be right.
fn status(conclusion: &str) -> Option<Status> {
    match conclusion {
        "failure" | "timed_out" | "startup_failure" => Some(Status::Firing),
        "success" => Some(Status::Resolved),
        // cancelled, skipped, neutral, stale, action_required, and what comes.
        _ => None,
    }
}

/// What has not come to an end, or to none that says anything, is named in the error.
fn concluded(single: &Single<'_>, of: &str) -> Result<(Status, String), String> {
    let action = text(&single.body, &["action"]).unwrap_or_default().trim().to_owned();
    let word = single.line(&[of, "conclusion"]);
    match word.filter(|_| action.is_empty() || action == "completed") {
        Some(word) => status(&word).map(|status| (status, word.clone())).ok_or(word),
        None => Err(if action.is_empty() { "not concluded".to_owned() } else { action }),
    }
}

/// What every event says of its repository.
pub(super) fn of_repository(single: &Single<'_>, facts: &mut Facts) {
    facts.sender_project = single.line(&["repository", "full_name"]);
    facts.service = single.line(&["repository", "name"]);
    facts.labels.extend(single::known([
        ("repository", facts.sender_project.clone()),
        ("default_branch", single.line(&["repository", "default_branch"])),
    ]));
}

fn link(single: &Single<'_>, path: &[&str]) -> Option<String> {
    text(&single.body, path).and_then(build::link)
}

pub(super) fn workflow_run(single: &Single<'_>, identity: Vec<String>) -> Result<Alert, String> {
    let (status, conclusion) = concluded(single, "workflow_run")?;
    let line = |name: &str| single.line(&["workflow_run", name]);
    let word = |name: &str| single::scalar(&single.body, &["workflow_run", name]);
    let workflow = line("name").or_else(|| single.line(&["workflow", "name"]));
    let title = line("name").or_else(|| line("display_title")).or_else(|| workflow.clone());

    let mut facts = single.facts("github", title, status);
    facts.alertname = workflow.clone().or_else(|| Some(facts.title.clone()));
    facts.message = single::long(&single.body, &["workflow_run", "display_title"]);
    facts.target = line("head_branch");
    facts.issue_id = word("workflow_id");
    facts.url = link(single, &["workflow_run", "html_url"]);
    of_repository(single, &mut facts);
    facts.started_at = build::time_at(&single.body, &["workflow_run", "created_at"]);
    let ended_at = build::time_at(&single.body, &["workflow_run", "updated_at"]);
    facts.ended_at = ended_at.filter(|_| status == Status::Resolved);
    facts.labels.extend(single::known([
        ("workflow", workflow),
        ("branch", line("head_branch")),
        ("event", line("event")),
        ("commit", line("head_sha")),
        ("actor", single.line(&["workflow_run", "actor", "login"])),
    ]));
    facts.annotations = single::known([
        ("conclusion", Some(conclusion)),
        ("run_number", word("run_number")),
        ("run_attempt", word("run_attempt")),
    ])
    .collect();

    let run = word("id");
    let mut alert = single::alert(facts, identity, &run.clone().unwrap_or_default());
    alert.provider_ts = ended_at.or(alert.facts.started_at);
    // A run that was started earlier and ended later is the newer word.
    alert.status_at = ended_at;
    alert.refs = single::references([("run", run), ("workflow", word("workflow_id"))]);
    Ok(alert)
}

pub(super) fn check_run(single: &Single<'_>, identity: Vec<String>) -> Result<Alert, String> {
    let (status, conclusion) = concluded(single, "check_run")?;
    let body = &single.body;
    let line = |name: &str| single.line(&["check_run", name]);
    let name = line("name");

    let mut facts = single.facts("github", name.clone(), status);
    facts.alertname = name;
    let title = single.line(&["check_run", "output", "title"]);
    let summary = single::long(body, &["check_run", "output", "summary"]);
    facts.message = title.or(summary);
    let branch = single.line(&["check_run", "check_suite", "head_branch"]);
    facts.target = branch.clone().or_else(|| line("head_sha"));
    facts.url = link(single, &["check_run", "html_url"])
        .or_else(|| link(single, &["check_run", "details_url"]));
    of_repository(single, &mut facts);
    facts.started_at = build::time_at(body, &["check_run", "started_at"]);
    let ended_at = build::time_at(body, &["check_run", "completed_at"]);
    facts.ended_at = ended_at.filter(|_| status == Status::Resolved);
    facts.labels.extend(single::known([
        ("app", single.line(&["check_run", "app", "slug"])),
        ("branch", branch),
        ("commit", line("head_sha")),
    ]));
    facts.annotations = single::known([("conclusion", Some(conclusion))]).collect();

    let run = single::scalar(body, &["check_run", "id"]);
    let mut alert = single::alert(facts, identity, &run.clone().unwrap_or_default());
    alert.provider_ts = ended_at.or(alert.facts.started_at);
    alert.status_at = ended_at;
    let suite = single::scalar(body, &["check_run", "check_suite", "id"]);
    alert.refs = single::references([("check_run", run), ("check_suite", suite)]);
    Ok(alert)
}

pub(super) fn deployment_status(
    single: &Single<'_>,
    identity: Vec<String>,
) -> Result<Alert, String> {
    let body = &single.body;
    let line = |name: &str| single.line(&["deployment_status", name]);
    let state = line("state").unwrap_or_default();
    let status = match state.as_str() {
        "failure" | "error" => Status::Firing,
        "success" => Status::Resolved,
        // pending, queued, in_progress, waiting; inactive: another one took its place.
        _ => return Err(state),
    };
    let environment = line("environment").or_else(|| single.line(&["deployment", "environment"]));
    let workflow = single.line(&["workflow", "name"]);
    let about = environment.as_deref().unwrap_or("unknown environment");

    let mut facts = single.facts("github", Some(format!("Deployment to {about}")), status);
    facts.alertname = workflow.or_else(|| single.line(&["deployment", "task"]));
    facts.message = single::long(body, &["deployment_status", "description"]);
    facts.target = environment.clone();
    facts.environment = environment;
    facts.issue_id = single::scalar(body, &["deployment", "id"]);
    let links = [["deployment_status", "log_url"], ["deployment_status", "target_url"]];
    facts.url = links.iter().find_map(|path| link(single, path));
    of_repository(single, &mut facts);
    let at_status = build::time_at(body, &["deployment_status", "created_at"]);
    facts.started_at = build::time_at(body, &["deployment", "created_at"]).or(at_status);
    facts.ended_at = at_status.filter(|_| status == Status::Resolved);
    facts.labels.extend(single::known([
        ("branch", single.line(&["deployment", "ref"])),
        ("commit", single.line(&["deployment", "sha"])),
        ("creator", single.line(&["deployment_status", "creator", "login"])),
    ]));
    facts.annotations = single::known([("state", Some(state))]).collect();

    let id = single::scalar(body, &["deployment_status", "id"]);
    let mut alert = single::alert(facts, identity, &id.clone().unwrap_or_default());
    alert.provider_ts = at_status;
    alert.status_at = at_status;
    let deployment = at(body, &["deployment", "id"]).and_then(crate::providers::json::scalar);
    alert.refs = single::references([("deployment", deployment), ("deployment_status", id)]);
    Ok(alert)
}
