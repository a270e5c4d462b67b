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
    why::Waiting,
};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{App, PAUSES, Params, bounded, incidents::Incident};
use crate::{auth::Caller, problem::Problem};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// Seconds to wait for the outcome while it is not known, and for what becomes of the messages
    /// of a test.
    #[param(minimum = 0, maximum = 10, default = 0)]
    wait: Option<i64>,
}

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
    /// What its alerts opened, repeated or closed.
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
    let deadline = Instant::now() + Duration::from_secs(wait.into());
    let mut pause = PAUSES.0;
    loop {
        let found = look(&app, &caller.visible, RecordId(id)).await?;
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

async fn look(app: &App, visible: &Visible, id: RecordId) -> Result<Option<Found>, Problem> {
    let mut view = app.store.view(visible).await?;
    let Some(delivery) = view.delivery(id).await? else { return Ok(None) };
    let alerts = view.alerts_of(&delivery).await?;
    let mut ids: Vec<Uuid> = alerts.iter().filter_map(|alert| alert.incident).collect();
    ids.sort_unstable();
    ids.dedup();
    let incidents = view.incidents_by_id(&delivery.project, &ids).await?;
    let tests = tests(&delivery, &alerts);
    ids.extend(&tests);
    let sends = view.sends_of(&delivery.project, &ids).await?;
    let mut waiting = Vec::new();
    for id in &ids {
        waiting.extend(view.waiting_of(&delivery.project, *id).await?);
    }
    let mut withheld = Vec::new();
    let mut settled = true;
    for test in &tests {
        let decisions = view.decisions_of(&delivery.project, *test).await?;
        let planned = decisions.iter().filter(|decision| decision.verdict == "planned").count();
        let told = sends.iter().filter(|send| send.incident == Some(*test)).count();
        settled &= !decisions.is_empty() && told >= planned;
        withheld.extend(decisions.into_iter().filter_map(|decision| decision.reason));
    }
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
        incidents: incidents.into_iter().map(Incident::from).collect(),
        sends: sends.into_iter().map(Send::from).collect(),
        waiting: waiting.into_iter().map(WaitingSend::from).collect(),
        withheld,
    };
    Ok(Some(Found { delivery, settled }))
}

/// What the tests in a delivery are known by, in place of incidents.
fn tests(delivery: &SettledDelivery, alerts: &[DossierEvent]) -> Vec<Uuid> {
    let Ok(project) = ProjectId::new(delivery.project.as_str()) else { return Vec::new() };
    let (incarnation, sequence, record) = delivery.position;
    let input = InputPosition {
        incarnation,
        sequence: sequence.cast_unsigned(),
        record: record.cast_unsigned(),
    };
    let numbered = (0u32..).zip(alerts).filter(|(_, alert)| alert.stage == Stage::Test.word());
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
