//! What operators do with an incident: each request becomes a command in the log, and the fold says
//! what comes of it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use domain::{observe::Verb, providers::SILENCE_MINUTES};
use eventlog::AppendError;
use jiff::Timestamp;
use schemas::{
    InputPosition, Lane, LaneKey, ProjectId, Record, RecordId,
    record::{Body, Command},
    subject::Class,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::read::action::ActionItem;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{App, PAUSES, Params, bounded, incidents};
use crate::{
    auth::{Caller, Principal, Role},
    problem::Problem,
};

/// Most characters of a remark.
const MOST_TEXT: usize = 2000;
/// Most characters of a name.
const MOST_NAME: usize = 128;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CommandQuery {
    /// The tenant of an incident named by its number; yours, or the default, when absent.
    project_id: Option<String>,
    /// Seconds to wait for what becomes of the command.
    #[param(minimum = 0, maximum = 10, default = 0)]
    wait: Option<i64>,
}

/// What goes with a verb. The fields stand in the record in this order, so that the same words are
/// the same text.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// Who has the incident now: for `handoff`, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// A remark: `note` needs it, the other verbs take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// How long, in minutes: for `silence`, an hour when absent, at most a week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minutes: Option<u32>,
}

/// A command that stands in the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Commanded {
    /// The id of its record.
    record_id: Uuid,
    /// Where it stands in the log.
    position: String,
    project_id: String,
    incident_id: Uuid,
    verb: String,
    /// What became of it; null while that is not known.
    outcome: Option<Action>,
}

/// Something an operator asked for, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Action {
    /// Where it stands in the log.
    position: String,
    /// `applied` or `refused`.
    verdict: String,
    verb: String,
    /// The operator's id.
    actor: String,
    /// How that is known: `bearer`, `session`, ...
    auth_method: String,
    /// The incident's status before and after, of what was applied.
    before: Option<String>,
    after: Option<String>,
    /// False where nothing was left to be done, and of what was refused.
    changed: bool,
    /// What went with the verb, redacted.
    #[schema(value_type = Option<Object>)]
    arguments: Option<Value>,
    /// Why it was refused: `not_open`, `superseded`, ...
    reason: Option<String>,
    /// Lane time.
    at: Timestamp,
}

/// Has something done with an incident.
///
/// `ack`, `unack`, `resolve`, `reopen`, `silence`, `unsilence`, `confirm`, `reject`, `request_triage`,
/// `handoff`, `note`, or, of the messages about it, `useful`, `not_useful` or `noise`: of each operator
/// the last word counts.
/// Each may be said again: it then finds its work done. 202 says that the command stands in the log;
/// 200, with `wait`, what became of it, which may be that it was refused.
#[utoipa::path(
    post,
    path = "/api/v1/incidents/{id}/{verb}",
    params(
        ("id" = String, Path, description = "The incident's id, or its number `INC-YYYYMMDD-NNN`."),
        ("verb" = String, Path, description = "What to do."),
        CommandQuery,
    ),
    request_body(content = Option<Arguments>, content_type = "application/json"),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = Commanded, description = "What became of it is known."),
        (status = 202, body = Commanded, description = "It stands in the log."),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn command(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    path: Result<Path<(String, String)>, PathRejection>,
    Params(query): Params<CommandQuery>,
    body: Bytes,
) -> Result<(StatusCode, Json<Commanded>), Problem> {
    let Path((id, verb)) = path.map_err(|_| Problem::parameter("id", "cannot be read"))?;
    let wait = bounded("wait", query.wait, 0..=10, 0)?;
    let verb =
        Verb::from_word(&verb).ok_or_else(|| Problem::not_found(format!("no verb {verb:?}")))?;
    if caller.role < Role::Operator {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "a viewer reads; ask for the role operator to act on incidents",
        ));
    }
    let arguments = arguments(verb, &body)?;
    let mut view = app.store.view(&caller.visible).await?;
    let incident = incidents::find(&app, &mut view, &caller, &id, query.project_id).await?;
    drop(view);
    let project = ProjectId::new(&incident.project)
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "its project has no id"))?;
    let opening = incident.opening.parse().map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "its opening is no position")
    })?;
    let command = Command {
        operator: caller.operator_id.clone(),
        auth_method: caller.auth_method.to_owned(),
        verb: verb.word().to_owned(),
        opening: Some(opening),
        arguments,
    };
    let (record, position) = append(&app, &project, command).await?;
    let outcome = outcome(&app, &caller, &project, record, wait).await?;
    let status = if outcome.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let commanded = Commanded {
        record_id: record.0,
        position: position.to_string(),
        project_id: incident.project,
        incident_id: incident.incident,
        verb: verb.word().to_owned(),
        outcome,
    };
    Ok((status, Json(commanded)))
}

/// The arguments of a verb as they stand in its record.
fn arguments(verb: Verb, body: &[u8]) -> Result<String, Problem> {
    let arguments = if body.trim_ascii().is_empty() {
        Arguments::default()
    } else {
        serde_json::from_slice(body).map_err(|e| Problem::parameter("body", e))?
    };
    let Arguments { to, text, minutes } = &arguments;
    bounded_text("text", text.as_deref(), verb == Verb::Note, MOST_TEXT)?;
    bounded_text("to", to.as_deref(), verb == Verb::Handoff, MOST_NAME)?;
    if to.is_some() && verb != Verb::Handoff {
        return Err(Problem::parameter("to", format_args!("{} takes none", verb.word())));
    }
    if minutes.is_some() && verb != Verb::Silence {
        return Err(Problem::parameter("minutes", format_args!("{} takes none", verb.word())));
    }
    let (_, most) = SILENCE_MINUTES;
    if minutes.is_some_and(|minutes| !(1..=most).contains(&minutes)) {
        return Err(Problem::parameter("minutes", format_args!("must be from 1 to {most}")));
    }
    serde_json::to_string(&arguments).map_err(|e| Problem::parameter("body", e))
}

fn bounded_text(name: &str, text: Option<&str>, needed: bool, most: usize) -> Result<(), Problem> {
    match text {
        None if needed => Err(Problem::parameter(name, "is needed")),
        None => Ok(()),
        Some(text) if text.trim().is_empty() => Err(Problem::parameter(name, "is empty")),
        Some(text) if text.chars().nth(most).is_some() => {
            Err(Problem::parameter(name, format_args!("must have at most {most} characters")))
        }
        Some(_) => Ok(()),
    }
}

/// Appends a command to the lane of its project, whose owner has the incident.
async fn append(
    app: &App,
    project: &ProjectId,
    command: Command,
) -> Result<(RecordId, InputPosition), Problem> {
    let id = runtime::record_id(&app.clock);
    let body = Body::Command(Box::new(command));
    let record = Record::new(id, app.clock.now(), Some(project.clone()), body);
    let lane = LaneKey::Lane(Lane::of(project, app.lanes));
    let position = app.appender.append(lane, Class::Data, record).await.map_err(|error| {
        tracing::warn!(%error, "a command was not appended");
        let detail = match error {
            AppendError::Unknown { .. } => {
                "the log did not say whether it took the command; say it again, twice does no harm"
            }
            AppendError::Full | AppendError::NotStored { .. } | AppendError::Closed => {
                "the log did not take the command; say it again"
            }
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    metrics::counter!("bellwether_console_commands_total").increment(1);
    Ok((id, position))
}

/// What became of a command, as soon as the tables say so within `wait` seconds.
async fn outcome(
    app: &App,
    caller: &Principal,
    project: &ProjectId,
    record: RecordId,
    wait: u32,
) -> Result<Option<Action>, Problem> {
    let deadline = Instant::now() + Duration::from_secs(wait.into());
    let mut pause = PAUSES.0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        tokio::time::sleep(pause.min(left)).await;
        let mut view = app.store.view(&caller.visible).await?;
        if let Some(found) = view.action_of_record(project.as_str(), record).await? {
            return Ok(Some(Action::from(found)));
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

impl Action {
    /// The same in one line.
    pub fn line(&self) -> String {
        let Self { at, verb, actor, auth_method, .. } = self;
        let came = match (&self.reason, &self.before, &self.after) {
            (Some(reason), ..) => format!("refused ({reason})"),
            (None, Some(before), Some(after)) if before != after => format!("{before} -> {after}"),
            _ if self.changed => "done".to_owned(),
            _ => "nothing was left to be done".to_owned(),
        };
        format!("{at}  {verb} by {actor} ({auth_method}): {came}")
    }
}

impl From<ActionItem> for Action {
    fn from(a: ActionItem) -> Self {
        let (inc, seq, rec) = a.position;
        Self {
            position: format!("{inc}-{seq}-{rec}"),
            verdict: a.verdict,
            verb: a.verb,
            actor: a.actor,
            auth_method: a.auth_method,
            before: a.before,
            after: a.after,
            changed: a.changed,
            arguments: a.arguments,
            reason: a.reason,
            at: a.at.timestamp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_strictly_and_written_one_way() {
        let check = |verb, body: &str, expect: Result<&str, &str>| {
            let got = arguments(verb, body.as_bytes()).map_err(|p| (p.status, p.detail));
            match (got, expect) {
                (Ok(text), Ok(expect)) => assert_eq!(text, expect),
                (Err((status, detail)), Err(name)) => {
                    assert_eq!(status, 422);
                    assert!(detail.starts_with(name), "{detail}");
                }
                (got, _) => panic!("{verb:?} {body}: {got:?}"),
            }
        };
        check(Verb::Ack, "", Ok("{}"));
        check(Verb::Ack, "{}", Ok("{}"));
        check(Verb::Ack, r#"{"text":"mine"}"#, Ok(r#"{"text":"mine"}"#));
        check(Verb::Handoff, r#"{"text":"b", "to":"a"}"#, Ok(r#"{"to":"a","text":"b"}"#));
        check(Verb::Handoff, "{}", Err("to: is needed"));
        check(Verb::Ack, r#"{"to":"a"}"#, Err("to: ack takes none"));
        check(Verb::Note, "{}", Err("text: is needed"));
        check(Verb::Note, r#"{"text":" "}"#, Err("text: is empty"));
        check(Verb::Note, r#"{"txet":"a"}"#, Err("body: unknown field"));
        check(Verb::Note, "[", Err("body: "));
        check(Verb::Silence, "", Ok("{}"));
        check(Verb::Silence, r#"{"minutes":30}"#, Ok(r#"{"minutes":30}"#));
        check(Verb::Silence, r#"{"minutes":0}"#, Err("minutes: must be from 1"));
        check(Verb::Silence, r#"{"minutes":10081}"#, Err("minutes: must be from 1"));
        check(Verb::Ack, r#"{"minutes":1}"#, Err("minutes: ack takes none"));
        let long = format!(r#"{{"text":"{}"}}"#, "a".repeat(MOST_TEXT + 1));
        check(Verb::Note, &long, Err("text: must have at most 2000"));
    }
}
