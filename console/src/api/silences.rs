//! Silences: whoever matches is told to nobody for a while. Each is a record in the log; who made it,
//! whose it is, why and until when stand in it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use domain::{matcher::Matchers, silence};
use eventlog::AppendError;
use jiff::Timestamp;
use schemas::{
    InputPosition, LaneKey, ProjectId, Record, RecordId, Time,
    record::{Body, Control, Matcher, Silence as Recorded, SilenceChange},
    subject::Class,
};
use serde::{Deserialize, Serialize};
use store::read::{View, silence::SilenceItem};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{App, PAUSES, Params, bounded};
use crate::{
    auth::{Caller, Principal, Role},
    problem::Problem,
};

/// A silence that ends within so many seconds is shown as expiring.
const EXPIRING_SECONDS: i64 = 3600;

/// How many alerts a preview shows.
const SHOWN: usize = 20;
/// How many alerts a preview reads at once, and at most.
const PAGE: u32 = 2_000;
const MOST_LOOKED_AT: u64 = 100_000;

/// Where a silence is in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has not begun.
    Pending,
    Active,
    /// Its time is over, or somebody ended it.
    Over,
}

impl Standing {
    /// Of one that holds from `starts_at` to `ends_at`.
    pub fn of(starts_at: Time, ends_at: Time, now: Time) -> Self {
        if ends_at <= now {
            Self::Over
        } else if starts_at > now {
            Self::Pending
        } else {
            Self::Active
        }
    }

    /// The word of it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Over => "over",
        }
    }
}

/// One silence.
#[derive(Debug, Serialize, ToSchema)]
pub struct Silence {
    silence_id: String,
    project_id: String,
    state: Standing,
    /// It is active and ends within an hour.
    expiring: bool,
    /// In Alertmanager's syntax.
    matchers: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    /// Whom to ask about it.
    owner: String,
    reason: String,
    created_at: Timestamp,
    created_by: String,
    changed_at: Timestamp,
    changed_by: String,
    /// Somebody ended it before its time.
    ended_early: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SilencesQuery {
    /// The tenant; yours, or the default, when absent.
    project_id: Option<String>,
    /// `pending`, `active`, `over`, or `all`; those that are not over when absent.
    state: Option<String>,
}

/// The silences of a project.
#[derive(Debug, Serialize, ToSchema)]
pub struct SilencesResponse {
    project_id: String,
    /// Those that end last first; at most 500.
    items: Vec<Silence>,
    total: usize,
}

/// The silences of a project.
#[utoipa::path(
    get,
    path = "/api/v1/silences",
    params(SilencesQuery),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = SilencesResponse),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn silences(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Params(query): Params<SilencesQuery>,
) -> Result<Json<SilencesResponse>, Problem> {
    let project_id = app.project(&caller, query.project_id.as_deref())?;
    let wanted = match query.state.as_deref() {
        None => None,
        Some("all") => Some(vec![Standing::Pending, Standing::Active, Standing::Over]),
        Some("pending") => Some(vec![Standing::Pending]),
        Some("active") => Some(vec![Standing::Active]),
        Some("over") => Some(vec![Standing::Over]),
        Some(_) => {
            return Err(Problem::parameter("state", "must be pending, active, over or all"));
        }
    };
    let now = app.clock.now();
    let over = wanted.as_ref().is_some_and(|wanted| wanted.contains(&Standing::Over));
    let since = (!over).then_some(now);
    let found = app.store.view(&caller.visible).await?.silences(&project_id, since).await?;
    let items = found.into_iter().map(|item| Silence::of(item, now));
    let items: Vec<_> = items
        .filter(|item| wanted.as_ref().is_none_or(|wanted| wanted.contains(&item.state)))
        .collect();
    Ok(Json(SilencesResponse { project_id, total: items.len(), items }))
}

/// One silence.
#[utoipa::path(
    get,
    path = "/api/v1/silences/{id}",
    params(("id" = String, Path, description = "The silence's id.")),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = Silence),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn silence_by_id(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Silence>, Problem> {
    let found = find(&app, &caller, path).await?;
    Ok(Json(Silence::of(found, app.clock.now())))
}

async fn find(
    app: &App,
    caller: &Principal,
    path: Result<Path<String>, PathRejection>,
) -> Result<SilenceItem, Problem> {
    let Path(id) = path.map_err(|_| Problem::parameter("id", "cannot be read"))?;
    let found = app.store.view(&caller.visible).await?.silence(&id).await?;
    found.ok_or_else(|| Problem::not_found(format!("no silence {id:?}")))
}

/// A silence to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    /// The tenant; yours, or the default, when absent.
    project_id: Option<String>,
    /// In Alertmanager's syntax: `alertname="DiskFull",instance=~"db-.*"`. All of them match; labels,
    /// and the fields `alertname`, `severity`, `environment`, `provider`, `source`, `service`,
    /// `namespace`, `target`, `sender_project`, `platform`, `culprit`, `title` and `risk`.
    matchers: String,
    /// From when on; at once when absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Time>,
    /// Until when, at most 90 days.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Time,
    /// Whom to ask about it; you when absent.
    owner: Option<String>,
    reason: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Seconds to wait until the tables show it.
    #[param(minimum = 0, maximum = 10, default = 0)]
    wait: Option<i64>,
}

/// A silence whose record stands in the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Said {
    silence_id: String,
    project_id: String,
    /// Where its record stands; null where there was nothing left to be said.
    position: Option<String>,
    /// As the tables show it; null while they do not.
    silence: Option<Silence>,
}

/// Makes a silence.
///
/// 202 says that it stands in the log and holds from there on; 200, with `wait`, that the tables show
/// it.
#[utoipa::path(
    post,
    path = "/api/v1/silences",
    params(WaitQuery),
    request_body = NewSilence,
    security(("operator_key" = [])),
    responses(
        (status = 200, body = Said, description = "The tables show it."),
        (status = 202, body = Said, description = "It stands in the log."),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn new_silence(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Params(query): Params<WaitQuery>,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<Said>), Problem> {
    operator(&caller)?;
    let wait = bounded("wait", query.wait, 0..=10, 0)?;
    let asked: NewSilence = read(&body)?;
    let project_id = app.project(&caller, asked.project_id.as_deref())?;
    let now = app.clock.now();
    let wanted = silence::Asked {
        matchers: &asked.matchers,
        starts_at: asked.starts_at,
        ends_at: asked.ends_at,
        owner: asked.owner.as_deref().unwrap_or(&caller.operator_id),
        reason: &asked.reason,
    };
    let (made, _) = silence::silence(&wanted, now).map_err(refused)?;
    let id = runtime::record_id(&app.clock);
    let change = SilenceChange {
        id: id.0.to_string(),
        silence: Some(made),
        operator: caller.operator_id.clone(),
    };
    let silence_id = change.id.clone();
    let position = append(&app, &project_id, id, change).await?;
    let shown = |item: &SilenceItem| !item.ended;
    let silence = shown_as(&app, &caller, &silence_id, wait, shown).await?;
    Ok(said(silence_id, project_id, Some(position), silence))
}

/// Ends a silence before its time. Said again, it finds its work done.
#[utoipa::path(
    post,
    path = "/api/v1/silences/{id}/end",
    params(("id" = String, Path, description = "The silence's id."), WaitQuery),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = Said, description = "It is over."),
        (status = 202, body = Said, description = "That it ends stands in the log."),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn end_silence(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    path: Result<Path<String>, PathRejection>,
    Params(query): Params<WaitQuery>,
) -> Result<(StatusCode, Json<Said>), Problem> {
    operator(&caller)?;
    let wait = bounded("wait", query.wait, 0..=10, 0)?;
    let found = find(&app, &caller, path).await?;
    let (silence_id, project_id) = (found.id.clone(), found.project.clone());
    if found.ended || found.ends_at <= app.clock.now() {
        let silence = Some(Silence::of(found, app.clock.now()));
        return Ok(said(silence_id, project_id, None, silence));
    }
    let id = runtime::record_id(&app.clock);
    let change = SilenceChange {
        id: silence_id.clone(),
        silence: None,
        operator: caller.operator_id.clone(),
    };
    let position = append(&app, &project_id, id, change).await?;
    let silence = shown_as(&app, &caller, &silence_id, wait, |item| item.ended).await?;
    Ok(said(silence_id, project_id, Some(position), silence))
}

fn said(
    silence_id: String,
    project_id: String,
    position: Option<InputPosition>,
    silence: Option<Silence>,
) -> (StatusCode, Json<Said>) {
    let status = if silence.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let position = position.map(|position| position.to_string());
    (status, Json(Said { silence_id, project_id, position, silence }))
}

/// What a silence would be about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The tenant; yours, or the default, when absent.
    project_id: Option<String>,
    /// In Alertmanager's syntax.
    matchers: String,
    /// How far back to look: 24 or 168 hours; 24 when absent.
    hours: Option<i64>,
}

/// What a silence would have matched. Nothing is written.
#[derive(Debug, Serialize, ToSchema)]
pub struct Preview {
    pub project_id: String,
    /// As they were understood.
    pub matchers: String,
    pub since: Timestamp,
    /// Alerts that fired since then, and those of them that match.
    pub looked_at: u64,
    pub matched: u64,
    /// Incidents that the matching ones belong to.
    pub incidents: usize,
    /// False where there were more alerts than are looked at: the newest were.
    pub complete: bool,
    /// The newest matching ones, at most 20.
    pub newest: Vec<PreviewAlert>,
}

/// One alert that a silence would have matched.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewAlert {
    pub event_id: Uuid,
    pub incident_id: Option<Uuid>,
    pub title: String,
    pub provider: String,
    pub environment: Option<String>,
    pub received_at: Timestamp,
}

/// Says what a silence would have matched, and writes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/silences/preview",
    request_body = PreviewRequest,
    security(("operator_key" = [])),
    responses(
        (status = 200, body = Preview),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn preview_silence(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    body: axum::body::Bytes,
) -> Result<Json<Preview>, Problem> {
    let asked: PreviewRequest = read(&body)?;
    let project_id = app.project(&caller, asked.project_id.as_deref())?;
    let hours = match asked.hours {
        None | Some(24) => 24,
        Some(168) => 168,
        Some(_) => return Err(Problem::parameter("hours", "must be 24 or 168")),
    };
    let matchers =
        Matchers::parse(&asked.matchers).map_err(|error| Problem::parameter("matchers", error))?;
    let project = ProjectId::new(&project_id)
        .map_err(|_| Problem::parameter("project_id", "is no project's id"))?;
    let since = app.clock.now().plus_seconds(-hours * 3600);
    let mut view = app.store.view(&caller.visible).await?;
    Ok(Json(preview(&mut view, &project, &matchers, since).await?))
}

/// What `matchers` would have matched of the alerts that fired since.
///
/// # Errors
/// When the tables cannot be read.
pub async fn preview(
    view: &mut View,
    project: &ProjectId,
    matchers: &Matchers,
    since: Time,
) -> Result<Preview, store::Error> {
    let mut preview = Preview {
        project_id: project.to_string(),
        matchers: matchers.to_string(),
        since: since.timestamp(),
        looked_at: 0,
        matched: 0,
        incidents: 0,
        complete: true,
        newest: Vec::new(),
    };
    let mut incidents = std::collections::BTreeSet::new();
    let mut before = None;
    loop {
        let page = view.fired_since(project.as_str(), since, before, PAGE).await?;
        let Some(last) = page.last().map(|alert| alert.place) else { break };
        let full = page.len() as u32 == PAGE;
        for alert in page {
            preview.looked_at += 1;
            if !matchers.matches(&alert.facts, project) {
                continue;
            }
            preview.matched += 1;
            incidents.extend(alert.incident);
            if preview.newest.len() < SHOWN {
                preview.newest.push(PreviewAlert {
                    event_id: alert.event.0,
                    incident_id: alert.incident,
                    title: alert.facts.title,
                    provider: alert.facts.provider,
                    environment: alert.facts.environment,
                    received_at: alert.received_at.timestamp(),
                });
            }
        }
        if !full {
            break;
        }
        if preview.looked_at >= MOST_LOOKED_AT {
            preview.complete = false;
            break;
        }
        before = Some(last);
    }
    preview.incidents = incidents.len();
    Ok(preview)
}

fn operator(caller: &Principal) -> Result<(), Problem> {
    if caller.role < Role::Operator {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "a viewer reads; ask for the role operator to silence alerts",
        ));
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|e| Problem::parameter("body", e))
}

fn refused(error: silence::Error) -> Problem {
    // Its text begins with the field it is about.
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
}

/// Appends to what all lanes read, to be kept for ever.
async fn append(
    app: &App,
    project: &str,
    id: RecordId,
    change: SilenceChange,
) -> Result<InputPosition, Problem> {
    let project = ProjectId::new(project)
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "its project has no id"))?;
    let body = Body::Control(Box::new(Control::Silence(change)));
    let record = Record::new(id, app.clock.now(), Some(project), body);
    app.appender.append(LaneKey::All, Class::Control, record).await.map_err(|error| {
        tracing::warn!(%error, "a silence was not appended");
        let detail = match error {
            AppendError::Unknown { .. } => {
                "the log did not say whether it took the silence; see GET /api/v1/silences"
            }
            AppendError::Full | AppendError::NotStored { .. } | AppendError::Closed => {
                "the log did not take the silence; say it again"
            }
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })
}

/// The silence as the tables show it, as soon as they show it so within `wait` seconds.
async fn shown_as(
    app: &App,
    caller: &Principal,
    id: &str,
    wait: u32,
    so: impl Fn(&SilenceItem) -> bool,
) -> Result<Option<Silence>, Problem> {
    let deadline = Instant::now() + Duration::from_secs(wait.into());
    let mut pause = PAUSES.0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        tokio::time::sleep(pause.min(left)).await;
        let found = app.store.view(&caller.visible).await?.silence(id).await?;
        if let Some(found) = found.filter(&so) {
            return Ok(Some(Silence::of(found, app.clock.now())));
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Matchers as they are written.
pub fn written(matchers: &[Matcher]) -> String {
    // They were read before they were recorded; one that a later binary wrote is shown as far as it
    // is understood.
    Matchers::new(matchers.iter().cloned()).unwrap_or_default().to_string()
}

impl Silence {
    fn of(item: SilenceItem, now: Time) -> Self {
        let standing = Standing::of(item.starts_at, item.ends_at, now);
        let state = if item.ended { Standing::Over } else { standing };
        let expiring =
            state == Standing::Active && item.ends_at <= now.plus_seconds(EXPIRING_SECONDS);
        Self {
            silence_id: item.id,
            project_id: item.project,
            state,
            expiring,
            matchers: written(&item.matchers),
            starts_at: item.starts_at.timestamp(),
            ends_at: item.ends_at.timestamp(),
            owner: item.owner,
            reason: item.reason,
            created_at: item.created_at.timestamp(),
            created_by: item.created_by,
            changed_at: item.changed_at.timestamp(),
            changed_by: item.changed_by,
            ended_early: item.ended,
        }
    }
}

/// A recorded silence in its time.
pub fn standing_of(recorded: &Recorded, since: Time, now: Time) -> Standing {
    Standing::of(recorded.starts_at.unwrap_or(since), recorded.ends_at, now)
}
