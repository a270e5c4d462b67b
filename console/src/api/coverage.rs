//! How complete the newest events are (R52).

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::read::coverage::ProviderCoverage;
use utoipa::{IntoParams, ToSchema};

use super::{App, Params, bounded};
use crate::{auth::Caller, problem::Problem};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CoverageQuery {
    /// The tenant; yours, or the default, when absent.
    project_id: Option<String>,
    /// Only this provider, for example `sentry`.
    provider: Option<String>,
    /// How many of the newest events are counted.
    #[param(minimum = 1, maximum = 200, default = 100)]
    limit: Option<i64>,
}

/// What was counted of one provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelEventProviderCoverage {
    provider: String,
    total: i64,
    duplicate_total: i64,
    redacted_total: i64,
    source_ref_total: i64,
    missing_source_refs_total: i64,
    sentry_ref_total: i64,
    signoz_ref_total: i64,
    alert_ref_total: i64,
    latest_received_at: Option<Timestamp>,
}

/// The same over all providers.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ChannelEventDossierCoverageSummary {
    /// Events counted.
    source_count: i64,
    /// Events whose raw body is still in the log.
    source_envelope_total: i64,
    missing_source_envelope_total: i64,
    with_source_refs_total: i64,
    missing_source_refs_total: i64,
    duplicate_total: i64,
    redacted_total: i64,
    source_ref_total: i64,
    sentry_ref_total: i64,
    signoz_ref_total: i64,
    alert_ref_total: i64,
    latest_received_at: Option<Timestamp>,
}

/// How complete the newest events are.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelEventDossierCoverageResponse {
    project_id: String,
    limit: u32,
    summary: ChannelEventDossierCoverageSummary,
    providers: Vec<ChannelEventProviderCoverage>,
}

/// How complete the newest events are: raw bodies, references, duplicates, redactions.
#[utoipa::path(
    get,
    path = "/api/v1/events/dossier/coverage",
    params(CoverageQuery),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = ChannelEventDossierCoverageResponse),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn coverage(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Params(query): Params<CoverageQuery>,
) -> Result<Json<ChannelEventDossierCoverageResponse>, Problem> {
    let limit = bounded("limit", query.limit, 1..=200, 100)?;
    let project_id = app.project(&caller, query.project_id.as_deref())?;
    let kept = i64::from(app.log_retention_days) * 86_400;
    let log_floor = app.clock.now().plus_seconds(-kept);
    let found = app
        .store
        .view(&caller.visible)
        .await?
        .coverage(&project_id, query.provider.as_deref(), limit, log_floor)
        .await?;
    let summary = summary(&found);
    let providers = found.into_iter().map(ChannelEventProviderCoverage::from).collect();
    Ok(Json(ChannelEventDossierCoverageResponse { project_id, limit, summary, providers }))
}

fn summary(providers: &[ProviderCoverage]) -> ChannelEventDossierCoverageSummary {
    let mut sum = ChannelEventDossierCoverageSummary::default();
    for p in providers {
        let counted = &p.counters;
        sum.source_count += counted.total;
        sum.source_envelope_total += p.with_envelope;
        sum.missing_source_envelope_total += counted.total - p.with_envelope;
        sum.with_source_refs_total += counted.total - counted.without_refs;
        sum.missing_source_refs_total += counted.without_refs;
        sum.duplicate_total += counted.duplicates;
        sum.redacted_total += counted.redacted;
        sum.source_ref_total += counted.refs();
        sum.sentry_ref_total += counted.sentry_refs;
        sum.signoz_ref_total += counted.signoz_refs;
        sum.alert_ref_total += counted.alert_refs;
        sum.latest_received_at = sum.latest_received_at.max(Some(p.latest_received_at.timestamp()));
    }
    sum
}

impl From<ProviderCoverage> for ChannelEventProviderCoverage {
    fn from(p: ProviderCoverage) -> Self {
        Self {
            provider: p.provider,
            total: p.counters.total,
            duplicate_total: p.counters.duplicates,
            redacted_total: p.counters.redacted,
            source_ref_total: p.counters.refs(),
            missing_source_refs_total: p.counters.without_refs,
            sentry_ref_total: p.counters.sentry_refs,
            signoz_ref_total: p.counters.signoz_refs,
            alert_ref_total: p.counters.alert_refs,
            latest_received_at: Some(p.latest_received_at.timestamp()),
        }
    }
}
