//! Incidents: the approval record of the sources (R31), with its runs.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use domain::observe::{BlastRadius, IncidentFields};
use jiff::Timestamp;
use schemas::{event::IncidentState, job::Analysis};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::read::{
    View,
    incident::{IncidentItem, RunItem},
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    App, Params, bounded,
    commands::Action,
    why::{Decision, decisions},
};
use crate::{
    auth::{Caller, Principal},
    problem::Problem,
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct IncidentsQuery {
    /// The tenant; yours, or the default, when absent.
    project_id: Option<String>,
    /// `open`, `acknowledged`, `confirmed`, `handed_off`, `reopened`, `resolved`, `suppressed` or
    /// `expired`.
    status: Option<String>,
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

/// One incident.
#[derive(Debug, Serialize, ToSchema)]
pub struct Incident {
    incident_id: Uuid,
    /// `INC-YYYYMMDD-NNN`, unique per project; null for the moment until it is given.
    number: Option<String>,
    project_id: String,
    /// `open`, `acknowledged`, `confirmed`, `handed_off`, `reopened`, `resolved`, `suppressed` or
    /// `expired`.
    status: String,
    /// `LOW`, `MEDIUM`, `HIGH` or `CRITICAL`.
    risk: String,
    title: String,
    provider: String,
    /// Position in the log of the alert that opened it.
    opening: String,
    /// Why it was opened: `new`, `regression` or `reappearance`.
    cause: String,
    /// Running number of the problem's episodes, from 1.
    episode: i32,
    action: String,
    description: String,
    requested_by: String,
    /// Always empty: nothing is done that could be tried first.
    dry_run_checks: Vec<String>,
    #[schema(value_type = BlastRadiusBody)]
    blast_radius: BlastRadius,
    /// What else the sender and the analysts say: `source`, `alert_type`, ..., and
    /// `anomaly_frequency` where it is known.
    metadata: Map<String, Value>,
    /// The problem opens and resolves too often.
    flapping: bool,
    occurrences: i64,
    opened_at: Timestamp,
    closed_at: Option<Timestamp>,
    /// Nobody is told of it until then, because an operator said so.
    silenced_until: Option<Timestamp>,
    /// The analyst that answered; `pending` until one did.
    llm_provider: String,
    /// 0 to 1; 0 until an analyst answered.
    llm_confidence: f64,
    #[schema(value_type = Option<AnalysisBody>)]
    analysis: Option<Analysis>,
    runs: Vec<Run>,
}

/// What an approval would touch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BlastRadius)]
pub struct BlastRadiusBody {
    affected_pods: u32,
    estimated_downtime: String,
    related_services: Vec<String>,
    data_impact: String,
}

/// What an analyst said.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Analysis)]
pub struct AnalysisBody {
    root_cause: String,
    impact: String,
    fix_suggestion: String,
    prevention: String,
    /// 0 to 1.
    confidence: f64,
    /// The analyst that answered.
    analyzed_by: String,
    /// The model, when one answered.
    model: Option<String>,
    /// The lines of the input it rests on; absent where the analyst names none.
    #[schema(required = false)]
    evidence: Vec<String>,
    /// The analyst says that what it was told does not suffice; absent where it does.
    #[schema(required = false)]
    inconclusive: bool,
    /// Version of the prompt that was answered; absent where there was none.
    prompt: Option<String>,
}

/// One triage run.
#[derive(Debug, Serialize, ToSchema)]
pub struct Run {
    run_id: Uuid,
    /// What it was asked for: `open`, ...
    reason: String,
    /// `running`, `completed` or `failed`.
    state: String,
    /// The analyst that answered.
    agent_id: Option<String>,
    /// Each analyst that was asked, and how it ended.
    attempts: Vec<Attempt>,
    /// From first call to last, in milliseconds.
    latency_ms: Option<i64>,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
}

/// One analyst that was asked.
#[derive(Debug, Serialize, ToSchema)]
pub struct Attempt {
    analyst: String,
    /// `answered`, or the name of the failure and what there is to say of it: `server_error: status 500`.
    end: String,
}

/// The newest incidents.
#[derive(Debug, Serialize, ToSchema)]
pub struct IncidentsResponse {
    project_id: String,
    /// Newest first.
    items: Vec<Incident>,
    /// Incidents returned.
    total: usize,
    limit: u32,
}

/// The newest incidents, with analysis and runs.
#[utoipa::path(
    get,
    path = "/api/v1/incidents",
    params(IncidentsQuery),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = IncidentsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn incidents(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Params(query): Params<IncidentsQuery>,
) -> Result<Json<IncidentsResponse>, Problem> {
    let limit = bounded("limit", query.limit, 1..=200, 50)?;
    let status = query.status.as_deref().map(status).transpose()?;
    let project_id = app.project(&caller, query.project_id.as_deref())?;
    let found =
        app.store.view(&caller.visible).await?.incidents(&project_id, status, limit).await?;
    let items: Vec<_> = found.into_iter().map(Incident::from).collect();
    Ok(Json(IncidentsResponse { project_id, total: items.len(), items, limit }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct IncidentQuery {
    /// The tenant of an incident named by its number; yours, or the default, when absent.
    project_id: Option<String>,
}

/// One incident, with what operators asked for and what was decided.
#[derive(Debug, Serialize, ToSchema)]
pub struct IncidentWithActions {
    #[serde(flatten)]
    incident: Incident,
    /// Oldest first; the newest 500.
    actions: Vec<Action>,
    /// What was decided of telling it, and why; oldest first, the newest 500.
    why: Vec<Decision>,
}

/// One incident, with what operators asked for.
#[utoipa::path(
    get,
    path = "/api/v1/incidents/{id}",
    params(
        ("id" = String, Path, description = "The incident's id, or its number `INC-YYYYMMDD-NNN`."),
        IncidentQuery,
    ),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = IncidentWithActions),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn incident(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    id: Result<Path<String>, PathRejection>,
    Params(query): Params<IncidentQuery>,
) -> Result<Json<IncidentWithActions>, Problem> {
    let Path(id) = id.map_err(|_| Problem::parameter("id", "cannot be read"))?;
    let mut view = app.store.view(&caller.visible).await?;
    let found = find(&app, &mut view, &caller, &id, query.project_id).await?;
    let actions = view.actions_of(&found.project, &[found.incident]).await?;
    let actions = actions.into_iter().map(Action::from).collect();
    let why = decisions(&mut view, &found.project, found.incident).await?;
    Ok(Json(IncidentWithActions { incident: Incident::from(found), actions, why }))
}

/// The incident that `id` names: its id, or its number within a project. One that the caller may not
/// see is answered like one that is not there.
pub async fn find(
    app: &App,
    view: &mut View,
    caller: &Principal,
    id: &str,
    project_id: Option<String>,
) -> Result<IncidentItem, Problem> {
    let none = || Problem::not_found(format!("no incident {id:?}"));
    let named = match (Named::of(id)?, project_id) {
        (Named::Id(incident), Some(project)) => Some((project, incident)),
        (Named::Id(incident), None) => {
            view.project_of(incident).await?.map(|project| (project, incident))
        }
        (Named::Number(day, number), project) => {
            let project = app.project(caller, project.as_deref())?;
            let incident = view.incident_of_number(&project, &day, number).await?;
            incident.map(|incident| (project, incident))
        }
    };
    let (project, incident) = named.ok_or_else(none)?;
    view.incidents_by_id(&project, &[incident]).await?.pop().ok_or_else(none)
}

/// How a caller names an incident.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    Id(Uuid),
    /// Day as `YYYYMMDD`, and the running number.
    Number(String, i32),
}

impl Named {
    /// What a text names.
    ///
    /// # Errors
    /// When it is neither an id nor a number.
    pub fn of(text: &str) -> Result<Self, Problem> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let number = text.strip_prefix("INC-").and_then(|rest| rest.split_once('-'));
        match number.map(|(day, number)| (day, number.parse())) {
            Some((day, Ok(number)))
                if day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit()) =>
            {
                Ok(Self::Number(day.to_owned(), number))
            }
            _ => Err(Problem::parameter("id", "must be a UUID or INC-YYYYMMDD-NNN")),
        }
    }
}

fn status(word: &str) -> Result<IncidentState, Problem> {
    // No incident is listed as superseded: what it ended as is what is shown.
    let all = || IncidentState::ALL.into_iter().filter(|s| *s != IncidentState::Superseded);
    all().find(|state| state.word() == word).ok_or_else(|| {
        let words: Vec<_> = all().map(IncidentState::word).collect();
        Problem::parameter("status", format_args!("must be one of {}", words.join(", ")))
    })
}

impl From<IncidentItem> for Incident {
    fn from(i: IncidentItem) -> Self {
        let analysis = i.analysis;
        let fields = IncidentFields::of(&i.facts, i.risk, analysis.as_ref(), i.frequency);
        Self {
            incident_id: i.incident,
            number: i.number.map(|(day, number)| format!("INC-{day}-{number:03}")),
            project_id: i.project,
            status: i.status,
            risk: fields.risk.to_owned(),
            opening: i.opening,
            cause: i.cause,
            episode: i.episode,
            action: fields.action,
            description: fields.description,
            requested_by: fields.requested_by,
            dry_run_checks: fields.dry_run_checks,
            blast_radius: fields.blast_radius,
            metadata: fields.metadata,
            flapping: i.flapping,
            title: i.facts.title,
            provider: i.facts.provider,
            occurrences: i.occurrences,
            opened_at: i.opened_at.timestamp(),
            closed_at: i.closed_at.map(|t| t.timestamp()),
            silenced_until: i.silenced_until.map(|t| t.timestamp()),
            llm_provider: analysis.as_ref().map_or("pending", |a| &a.analyzed_by).to_owned(),
            llm_confidence: analysis.as_ref().map_or(0.0, |a| a.confidence),
            analysis,
            runs: i.runs.into_iter().map(Run::from).collect(),
        }
    }
}

impl From<RunItem> for Run {
    fn from(r: RunItem) -> Self {
        Self {
            run_id: r.run,
            reason: r.reason,
            state: r.state,
            agent_id: r.agent,
            attempts: r
                .attempts
                .into_iter()
                .map(|(analyst, end)| Attempt { analyst, end })
                .collect(),
            latency_ms: r.latency_ms,
            started_at: r.started_at.timestamp(),
            finished_at: r.finished_at.map(|t| t.timestamp()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r34_an_incident_is_named_by_id_or_number() {
        let id = Uuid::from_u128(7);
        assert_eq!(Named::of(&id.to_string()), Ok(Named::Id(id)));
        assert_eq!(Named::of("INC-20251121-007"), Ok(Named::Number("20251121".into(), 7)));
        assert_eq!(Named::of("INC-20251121-1234"), Ok(Named::Number("20251121".into(), 1234)));
        for bad in ["", "INC-", "INC-2025-1", "INC-20251121-x", "INC-20251121", "7"] {
            assert_eq!(Named::of(bad).unwrap_err().status, 422, "{bad:?}");
        }
    }

    #[test]
    fn r61_an_unknown_status_is_named() {
        assert_eq!(status("open").unwrap(), IncidentState::Open);
        let problem = status("firing").unwrap_err();
        assert_eq!(problem.status, 422);
        let words =
            "open, acknowledged, confirmed, handed_off, reopened, resolved, suppressed, expired";
        assert_eq!(problem.detail, format!("status: must be one of {words}"));
    }
}
