//! What became of one delivery (R71).

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use domain::notify::incident_of_test;
use jiff::Timestamp;
use schemas::{InputPosition, ProjectId, RecordId, alert::Stage};
use serde::{Deserialize, Serialize};
use store::read::{
    Visible,
    delivery::{SettledDelivery, SettledSend},
    event::DossierEvent,
    why::{Decision, Waiting},
};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{App, PAUSES, Params, bounded, incidents::Incident, page::Page};
use crate::{auth::Caller, problem::Problem};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// Seconds to wait for the outcome while it is not known, and for what becomes of the messages
    /// of a test.
    #[param(minimum = 0, maximum = 10, default = 0)]
    wait: Option<i64>,
    /// The alerts behind this one, as `next` says; the first when absent.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// How many of its alerts.
    #[param(minimum = 1, maximum = 1000, default = 500)]
    limit: Option<i64>,
}

/// Alerts in one answer, at most and where nothing is said. One delivery may hold ten thousand, each
/// with an incident of its own.
const ALERTS: (u32, u32) = (1000, 500);

/// One delivery and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delivery {
    /// The id its sender got with the 202.
    event_id: Uuid,
    project_id: String,
    source: String,
    provider: String,
    received_at: Timestamp,
    /// `observed`, `recorded`, `rejected`, `redelivered`, `parked`, ...
    outcome: String,
    /// Why, for every outcome but `observed`.
    reason: Option<String>,
    /// In the order of the body.
    alerts: Vec<DeliveredAlert>,
    /// How many it has.
    alerts_total: i32,
    /// Where it has more than these: what to ask for as `after`.
    next: Option<i32>,
    /// What these alerts opened, repeated or closed.
    incidents: Vec<Incident>,
    /// What was told of those incidents, and of a test.
    sends: Vec<Send>,
    /// What is still to be told of them.
    waiting: Vec<WaitingSend>,
    /// Why a test is told to nobody.
    withheld: Vec<String>,
}

/// A message that is still to be sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaitingSend {
    job_id: Uuid,
    /// Id of the configured channel.
    target: String,
    /// `pending` or `claimed`.
    state: String,
    attempts: i32,
    not_before: Timestamp,
    /// What the receiver said last.
    reason: Option<String>,
}

/// One alert of a delivery.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveredAlert {
    event_id: Uuid,
    provider_event_id: String,
    stage: String,
    title: String,
    alertname: Option<String>,
    severity: Option<String>,
    namespace: Option<String>,
    target_resource: Option<String>,
    fingerprint: Uuid,
    /// What it did: `opened`, `repeated`, `resolved`, ...
    effect: String,
    is_duplicate: bool,
    incident_id: Option<Uuid>,
}

/// One message.
#[derive(Debug, Serialize, ToSchema)]
pub struct Send {
    job_id: Uuid,
    incident_id: Option<Uuid>,
    /// Id of the configured channel.
    target: String,
    /// Its kind.
    channel: String,
    /// `fire`, `resolve`, `update`, `remind`, `summary`, `test` or `reply`.
    kind: String,
    /// Position in the log of what caused it.
    trigger: String,
    /// `delivered`, `already_told`, `refused`, `unknown` or `not_needed`.
    result: String,
    /// The provider's message id, or why it was not delivered.
    detail: Option<String>,
    attempts: i32,
    settled_at: Timestamp,
}

/// What became of a delivery.
///
/// 404 also while the outcome is not known: the tables hear of a delivery when it is observed.
#[utoipa::path(
    get,
    path = "/api/v1/deliveries/{id}",
    params(
        ("id" = Uuid, Path, description = "The id the sender got with the 202."),
        DeliveryQuery,
    ),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = Delivery),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn delivery(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    id: Result<Path<Uuid>, PathRejection>,
    Params(query): Params<DeliveryQuery>,
) -> Result<Json<Delivery>, Problem> {
    let Path(id) = id.map_err(|_| Problem::parameter("id", "must be a UUID"))?;
    let wait = bounded("wait", query.wait, 0..=10, 0)?;
    let page = Page::asked(query.after, query.limit, ALERTS)?;
    let deadline = Instant::now() + Duration::from_secs(wait.into());
    let mut pause = PAUSES.0;
    loop {
        let found = look(&app, &caller.visible, RecordId(id), page).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(found) = found
            && (found.settled || left.is_zero())
        {
            return Ok(Json(found.delivery));
        }
        if left.is_zero() {
            return Err(Problem::not_found(format!(
                "no outcome of delivery {id} is known; if it was accepted just now, ask with ?wait="
            )));
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// A delivery as far as it came.
struct Found {
    delivery: Delivery,
    /// Nothing is waited for any more.
    settled: bool,
}

async fn look(
    app: &App,
    visible: &Visible,
    id: RecordId,
    page: Page,
) -> Result<Option<Found>, Problem> {
    let mut view = app.store.view(visible).await?;
    let Some(delivery) = view.delivery(id).await? else { return Ok(None) };
    let alerts = view.alerts_of(&delivery, (page.after, page.limit)).await?;
    let last = page.after.saturating_add(i32::try_from(alerts.len()).unwrap_or(i32::MAX));
    let next = Page::next((!alerts.is_empty()).then_some(last), delivery.alerts);
    let mut ids: Vec<Uuid> = alerts.iter().filter_map(|alert| alert.incident).collect();
    ids.sort_unstable();
    ids.dedup();
    let incidents = view.incidents_by_id(&delivery.project, &ids).await?;
    let tests = tests(&delivery, page.after, &alerts);
    ids.extend(&tests);
    let sends = view.sends_of(&delivery.project, &ids).await?;
    let waiting = view.waiting_of(&delivery.project, &ids).await?;
    let decisions = view.decisions_of(&delivery.project, &tests).await?;
    let settled = tests.iter().all(|test| {
        let of = |decision: &&Decision| decision.incident == *test;
        let planned = |decision: &&Decision| of(decision) && decision.verdict == "planned";
        let planned = decisions.iter().filter(planned).count();
        let told = sends.iter().filter(|send| send.incident == Some(*test)).count();
        decisions.iter().any(|decision| of(&decision)) && told >= planned
    });
    let withheld = decisions.into_iter().filter_map(|decision| decision.reason).collect();
    let settled = settled && (tests.is_empty() || waiting.is_empty());
    let delivery = Delivery {
        event_id: delivery.record.0,
        project_id: delivery.project,
        source: delivery.source,
        provider: delivery.provider,
        received_at: delivery.received_at.timestamp(),
        outcome: delivery.outcome,
        reason: delivery.reason,
        alerts: alerts.into_iter().map(DeliveredAlert::from).collect(),
        alerts_total: delivery.alerts,
        next,
        incidents: incidents.into_iter().map(Incident::from).collect(),
        sends: sends.into_iter().map(Send::from).collect(),
        waiting: waiting.into_iter().map(WaitingSend::from).collect(),
        withheld,
    };
    Ok(Some(Found { delivery, settled }))
}

/// What the tests in a delivery are known by, in place of incidents.
///
/// `alerts` are those behind the index `after`.
fn tests(delivery: &SettledDelivery, after: i32, alerts: &[DossierEvent]) -> Vec<Uuid> {
    let Ok(project) = ProjectId::new(delivery.project.as_str()) else { return Vec::new() };
    let (incarnation, sequence, record) = delivery.position;
    let input = InputPosition {
        incarnation,
        sequence: sequence.cast_unsigned(),
        record: record.cast_unsigned(),
    };
    let first = u32::try_from(after.saturating_add(1)).unwrap_or_default();
    let numbered = (first..).zip(alerts).filter(|(_, alert)| alert.stage == Stage::Test.word());
    numbered.map(|(index, _)| incident_of_test(&project, input.alert(index)).0).collect()
}

impl From<Waiting> for WaitingSend {
    fn from(w: Waiting) -> Self {
        Self {
            job_id: w.job,
            target: w.target,
            state: w.state,
            attempts: w.attempts,
            not_before: w.not_before.timestamp(),
            reason: w.reason,
        }
    }
}

impl From<DossierEvent> for DeliveredAlert {
    fn from(e: DossierEvent) -> Self {
        Self {
            event_id: e.event,
            provider_event_id: e.provider_event_id,
            stage: e.stage,
            title: e.title,
            alertname: e.alertname,
            severity: e.severity,
            namespace: e.namespace,
            target_resource: e.target_resource,
            fingerprint: e.fingerprint,
            effect: e.effect,
            is_duplicate: e.is_duplicate,
            incident_id: e.incident,
        }
    }
}

impl From<SettledSend> for Send {
    fn from(s: SettledSend) -> Self {
        Self {
            job_id: s.job,
            incident_id: s.incident,
            target: s.target,
            channel: s.channel,
            kind: s.kind,
            trigger: s.trigger,
            result: s.result,
            detail: s.detail,
            attempts: s.attempts,
            settled_at: s.settled_at.timestamp(),
        }
    }
}
