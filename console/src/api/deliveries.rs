//! What became of one delivery (R71).

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use jiff::Timestamp;
use schemas::RecordId;
use serde::{Deserialize, Serialize};
use store::read::{Visible, delivery::SettledSend, event::DossierEvent};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{App, PAUSES, Params, bounded, incidents::Incident};
use crate::{auth::Caller, problem::Problem};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// Seconds to wait for the outcome while it is not known.
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
    /// What was told of those incidents.
    sends: Vec<Send>,
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
    /// `fire` or `resolve`.
    kind: String,
    /// Position in the log of what caused it.
    trigger: String,
    /// `delivered`, `already_told`, `refused` or `unknown`.
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
        if let Some(found) = look(&app, &caller.visible, RecordId(id)).await? {
            return Ok(Json(found));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Problem::not_found(format!(
                "no outcome of delivery {id} is known; if it was accepted just now, ask with ?wait="
            )));
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn look(app: &App, visible: &Visible, id: RecordId) -> Result<Option<Delivery>, Problem> {
    let mut view = app.store.view(visible).await?;
    let Some(delivery) = view.delivery(id).await? else { return Ok(None) };
    let alerts = view.alerts_of(&delivery).await?;
    let mut ids: Vec<Uuid> = alerts.iter().filter_map(|alert| alert.incident).collect();
    ids.sort_unstable();
    ids.dedup();
    let incidents = view.incidents_by_id(&delivery.project, &ids).await?;
    let sends = view.sends_of(&delivery.project, &ids).await?;
    Ok(Some(Delivery {
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
    }))
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
