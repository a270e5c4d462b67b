//! What a silence would be about: said before it is made.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Json, extract::State};
use domain::{matcher::Matchers, silence::Breadth};
use jiff::Timestamp;
use schemas::{ProjectId, Time};
use serde::{Deserialize, Serialize};
use store::read::View;
use utoipa::ToSchema;
use uuid::Uuid;

use super::read;
use crate::{api::App, auth::Caller, problem::Problem};

/// How many alerts a preview shows.
const SHOWN: usize = 20;
/// How many alerts are read at once, and by a preview at most: each has all its facts with it.
const PAGE: u32 = 2_000;
const MOST_LOOKED_AT: u64 = 10_000;
/// In seconds.
const DAY: i64 = 24 * 3600;

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
    /// Problems that those are of, all of them and the matching ones.
    pub problems: usize,
    pub problems_matched: usize,
    /// Incidents that the matching ones belong to.
    pub incidents: usize,
    /// False where there were more alerts than are looked at: the newest 10,000 were.
    pub complete: bool,
    /// A silence of these matchers would have to be forced: they choose nothing, or match more than
    /// half of the problems.
    pub wide: bool,
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
///
/// Looked at are the newest 10,000 alerts of that time; `complete` says whether those are all.
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
        problems: 0,
        problems_matched: 0,
        incidents: 0,
        complete: true,
        wide: false,
        newest: Vec::new(),
    };
    let (mut all, mut matching) = (BTreeSet::new(), BTreeSet::new());
    let mut incidents = BTreeSet::new();
    let mut before = None;
    loop {
        let page = view.fired_since(project.as_str(), since, before, PAGE).await?;
        let Some(last) = page.last().map(|alert| alert.place) else { break };
        let full = page.len() as u32 == PAGE;
        for alert in page {
            preview.looked_at += 1;
            all.insert(alert.fingerprint);
            if !matchers.matches(&alert.facts, project) {
                continue;
            }
            preview.matched += 1;
            matching.insert(alert.fingerprint);
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
    let of_anything = matchers.choose_nothing(project);
    let found = Breadth { of_anything, problems: all.len(), matching: matching.len() };
    (preview.problems, preview.problems_matched) = (found.problems, found.matching);
    (preview.incidents, preview.wide) = (incidents.len(), found.is_wide());
    Ok(preview)
}

/// How much a silence of these matchers would be about, of the newest 2,000 alerts of the last 24 hours.
///
/// # Errors
/// When the tables cannot be read.
pub async fn breadth(
    view: &mut View,
    project: &ProjectId,
    matchers: &Matchers,
    now: Time,
) -> Result<Breadth, store::Error> {
    let since = now.plus_seconds(-DAY);
    let alerts = view.fired_since(project.as_str(), since, None, PAGE).await?;
    let (mut all, mut matching) = (BTreeSet::new(), BTreeSet::new());
    for alert in alerts {
        all.insert(alert.fingerprint);
        if matchers.matches(&alert.facts, project) {
            matching.insert(alert.fingerprint);
        }
    }
    let of_anything = matchers.choose_nothing(project);
    Ok(Breadth { of_anything, problems: all.len(), matching: matching.len() })
}

/// What is said of a silence that is too wide.
pub(super) fn too_wide(found: Breadth) -> Problem {
    let Breadth { of_anything, problems, matching } = found;
    let what = match of_anything {
        true => "they choose nothing".to_owned(),
        false => format!(
            "they match {matching} of the {problems} problems that fired in the last 24 hours"
        ),
    };
    Problem::parameter("matchers", format!("{what}; narrow them, or say force: true"))
}
