//! Recent events (R48) and the dossier (R49-R51).

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use schemas::{
    JobId,
    alert::{LogCorrelation, SourceRefs},
};
use serde::{Deserialize, Serialize};
use store::read::event::{DossierEvent, DossierFilter, RecentEvent};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{App, Params, bounded};
use crate::{auth::Caller, problem::Problem};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RecentQuery {
    /// The tenant; yours, or the default, when absent.
    project_id: Option<String>,
    /// `webhook`, `chat` or `console`.
    channel_type: Option<String>,
    /// Beginning of `provider_event_id`.
    provider_prefix: Option<String>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
}

/// One event.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelEventItem {
    event_id: Uuid,
    project_id: String,
    channel_type: String,
    provider_event_id: String,
    /// The chat it came from; null for webhooks.
    channel_chat_id: Option<String>,
    content_preview: Option<String>,
    is_duplicate: bool,
    received_at: Timestamp,
}

/// The newest events.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecentEventsResponse {
    /// Newest first.
    events: Vec<ChannelEventItem>,
    /// Events returned.
    total: usize,
    limit: u32,
}

/// The newest events, whatever became of them.
#[utoipa::path(
    get,
    path = "/api/v1/events/recent",
    params(RecentQuery),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = RecentEventsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn recent(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Params(query): Params<RecentQuery>,
) -> Result<Json<RecentEventsResponse>, Problem> {
    let limit = bounded("limit", query.limit, 1..=100, 20)?;
    let project = app.project(&caller, query.project_id.as_deref())?;
    let found = app
        .store
        .view(&caller.visible)
        .await?
        .recent_events(
            &project,
            query.channel_type.as_deref(),
            query.provider_prefix.as_deref(),
            limit,
        )
        .await?;
    let events: Vec<_> = found.into_iter().map(ChannelEventItem::from).collect();
    Ok(Json(RecentEventsResponse { total: events.len(), events, limit }))
}

impl From<RecentEvent> for ChannelEventItem {
    fn from(e: RecentEvent) -> Self {
        Self {
            event_id: e.event,
            project_id: e.project,
            channel_type: e.channel_type,
            provider_event_id: e.provider_event_id,
            channel_chat_id: None,
            content_preview: e.content_preview,
            is_duplicate: e.is_duplicate,
            received_at: e.received_at.timestamp(),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DossierQuery {
    /// The tenant; yours, or the default, when absent.
    project_id: Option<String>,
    /// Only events of the incident this run is about.
    run_id: Option<Uuid>,
    /// Only events with exactly this id.
    provider_event_id: Option<String>,
    #[param(minimum = 1, maximum = 50, default = 20)]
    limit: Option<i64>,
}

/// One event with its evidence. All text is redacted.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelEventDossierItem {
    event_id: Uuid,
    project_id: String,
    channel_type: String,
    provider: Option<String>,
    /// `received`, `resolved`, `heartbeat` or `test`.
    stage: String,
    provider_event_id: String,
    content_preview: Option<String>,
    content_redacted: Option<String>,
    /// At least one value was replaced.
    has_redacted_content: bool,
    redaction_version: Option<String>,
    source_url: Option<String>,
    /// Of the raw body.
    content_sha256: Option<String>,
    /// Of the raw body, in bytes.
    content_length: Option<i64>,
    #[schema(value_type = Object)]
    source_refs: SourceRefs,
    source_ref_count: i32,
    #[schema(value_type = Object)]
    log_correlation: LogCorrelation,
    alertname: Option<String>,
    /// The sender's own word.
    severity: Option<String>,
    namespace: Option<String>,
    target_resource: Option<String>,
    fingerprint: Option<String>,
    /// A redelivery, or a fold that opened and advanced nothing.
    is_duplicate: bool,
    provider_ts: Option<Timestamp>,
    received_at: Timestamp,
}

/// Sums over the events returned.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelEventDossierSummary {
    /// Events.
    source_count: usize,
    duplicate_total: usize,
    redacted_total: usize,
    /// References of all events.
    source_ref_total: i64,
}

/// Events with their evidence.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelEventDossierResponse {
    /// Newest first.
    events: Vec<ChannelEventDossierItem>,
    /// Events returned.
    total: usize,
    limit: u32,
    summary: ChannelEventDossierSummary,
}

/// Events with their evidence: content, references, links to logs and traces.
#[utoipa::path(
    get,
    path = "/api/v1/events/dossier",
    params(DossierQuery),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = ChannelEventDossierResponse),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn dossier(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Params(query): Params<DossierQuery>,
) -> Result<Json<ChannelEventDossierResponse>, Problem> {
    let limit = bounded("limit", query.limit, 1..=50, 20)?;
    let project = app.project(&caller, query.project_id.as_deref())?;
    let filter = DossierFilter {
        run: query.run_id.map(JobId),
        provider_event_id: query.provider_event_id.as_deref(),
    };
    let found = app.store.view(&caller.visible).await?.dossier(&project, &filter, limit).await?;
    let events: Vec<_> = found.into_iter().map(ChannelEventDossierItem::from).collect();
    let summary = ChannelEventDossierSummary {
        source_count: events.len(),
        duplicate_total: events.iter().filter(|e| e.is_duplicate).count(),
        redacted_total: events.iter().filter(|e| e.has_redacted_content).count(),
        source_ref_total: events.iter().map(|e| i64::from(e.source_ref_count)).sum(),
    };
    Ok(Json(ChannelEventDossierResponse { total: events.len(), events, limit, summary }))
}

impl From<DossierEvent> for ChannelEventDossierItem {
    fn from(e: DossierEvent) -> Self {
        Self {
            event_id: e.event,
            project_id: e.project,
            channel_type: e.channel_type,
            provider: Some(e.provider),
            stage: e.stage,
            provider_event_id: e.provider_event_id,
            content_preview: e.content_preview,
            content_redacted: e.content_redacted,
            has_redacted_content: e.has_redacted_content,
            redaction_version: e.redaction_version,
            source_url: e.source_url,
            content_sha256: e.content_sha256.map(const_hex::encode),
            content_length: e.content_length,
            source_refs: e.refs,
            source_ref_count: e.source_ref_count,
            log_correlation: e.correlation,
            alertname: e.alertname,
            severity: e.severity,
            namespace: e.namespace,
            target_resource: e.target_resource,
            fingerprint: Some(e.fingerprint.to_string()),
            is_duplicate: e.is_duplicate,
            provider_ts: e.provider_ts.map(|t| t.timestamp()),
            received_at: e.received_at.timestamp(),
        }
    }
}
