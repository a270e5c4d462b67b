//! Silences: whoever matches is told to nobody for a while. Each is a record in the log; who made it,
//! whose it is, why and until when stand in it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
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
use store::read::silence::SilenceItem;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::{App, PAUSES, Params, bounded};
use crate::{
    auth::{Caller, Principal, Role},
    problem::Problem,
};

mod preview;

pub use preview::{Preview, PreviewAlert, PreviewRequest, breadth, preview, preview_silence};
// The router finds a handler's document beside it.
pub use preview::__path_preview_silence;

/// The header under which a silence is asked for again.
const KEY: &str = "idempotency-key";
/// Longest key, in bytes.
const LONGEST_KEY: usize = 128;

/// A silence that ends within so many seconds is shown as expiring.
const EXPIRING_SECONDS: i64 = 3600;

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
    /// `annotations.<name>`, and the fields `alertname`, `severity` (our word for the level, or the
    /// sender's own), `environment`, `provider`, `source`, `project`, `service`, `namespace`,
    /// `target`, `sender_project`, `platform`, `culprit`, `title`, `level` and `risk`.
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
    /// It is meant although it is about more than half of the problems that fired in the last 24
    /// hours (of at least 5), or its matchers choose nothing (`provider=~".+"`). Else that is a 422.
    #[serde(default)]
    force: bool,
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
/// it. Said again it is the same silence, and nothing is written where the tables show it already: by
/// the header `Idempotency-Key`, or without one by all that is said of it, `ends_at` included. One
/// that was ended holds again when it is said again without a key.
#[utoipa::path(
    post,
    path = "/api/v1/silences",
    params(
        WaitQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "Names what is asked for: said \
            again with the same key it is the same silence, whatever became of it. At most 128 \
            visible ASCII characters."),
    ),
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
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<Said>), Problem> {
    operator(&caller)?;
    let wait = bounded("wait", query.wait, 0..=10, 0)?;
    let key = key(&headers)?;
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
    let (made, matchers) = silence::silence(&wanted, now).map_err(refused)?;
    let project = ProjectId::new(&project_id)
        .map_err(|_| Problem::parameter("project_id", "is no project's id"))?;
    let operator = caller.operator_id.clone();
    let silence_id = match &key {
        Some(key) => silence::id_of_key(&project, &operator, key),
        None => silence::id(&project, &operator, &made),
    };
    let mut view = app.store.view(&caller.visible).await?;
    if let Some(known) = view.silence(&silence_id).await? {
        if key.is_some() && !is_of(&known, &made) {
            return Err(Problem::parameter(KEY, "was used for another silence"));
        }
        if key.is_some() || !known.ended {
            let silence = Some(Silence::of(known, now));
            return Ok(said(silence_id, project_id, None, silence));
        }
    }
    if !asked.force {
        let found = breadth(&mut view, &project, &matchers, now).await?;
        if found.is_wide() {
            return Err(preview::too_wide(found));
        }
    }
    // Nothing is held open while the log is waited for.
    drop(view);
    let change = SilenceChange { id: silence_id.clone(), silence: Some(made), operator };
    let id = runtime::record_id(&app.clock);
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

/// What is said under that key, if there is one.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=LONGEST_KEY).contains(&text.len()));
    match text.filter(|text| text.bytes().all(|b| b.is_ascii_graphic())) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Problem::parameter(KEY, "must be 1 to 128 visible ASCII characters")),
    }
}

/// Whether the tables show a silence as it is asked for. When it begins is not compared: one that begins
/// at once began when it was first said.
fn is_of(known: &SilenceItem, made: &Recorded) -> bool {
    let same = written(&known.matchers) == written(&made.matchers);
    let ends = known.ended || known.ends_at == made.ends_at;
    same && ends && known.owner == made.owner && known.reason == made.reason
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
