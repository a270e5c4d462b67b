//! How complete the newest events are (R52).

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::read::coverage::ProviderCoverage;
use utoipa::{IntoParams, ToSchema};

use super::{App, Params, bounded, counts_all};
use crate::{auth::Caller, problem::Problem};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CoverageQuery {
    /// The tenant; yours, or the default, when absent.
    project_id: Option<String>,
    /// Only this provider, for example `sentry`.
    provider: Option<String>,
    /// How many of the newest events are counted; `window=all` counts every event.
    #[param(minimum = 1, maximum = 200, default = 100)]
    limit: Option<i64>,
    /// `all`: totals over everything ever observed, from the materialised counters.
    #[param(pattern = "^all$")]
    window: Option<String>,
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
    /// Events whose raw body is still in the log; null with `window=all`, because the log forgets
    /// and its counters do not.
    source_envelope_total: Option<i64>,
    /// Null with `window=all`.
    missing_source_envelope_total: Option<i64>,
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

/// How complete the newest events are, or all: raw bodies, references, duplicates, redactions.
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
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn coverage(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Params(query): Params<CoverageQuery>,
) -> Result<Json<ChannelEventDossierCoverageResponse>, Problem> {
    let limit = bounded("limit", query.limit, 1..=200, 100)?;
    let all = counts_all(query.window.as_deref())?;
    let project_id = app.project(&caller, query.project_id.as_deref())?;
    let kept = i64::from(app.log_retention_days) * 86_400;
    let log_floor = app.clock.now().plus_seconds(-kept);
    let mut view = app.store.view(&caller.visible).await?;
    let provider = query.provider.as_deref();
    let found = if all {
        view.coverage_of_all(&project_id, provider).await?
    } else {
        view.coverage(&project_id, provider, limit, log_floor).await?
    };
    let summary = summary(&found, all);
    let providers = found.into_iter().map(ChannelEventProviderCoverage::from).collect();
    Ok(Json(ChannelEventDossierCoverageResponse { project_id, limit, summary, providers }))
}

fn summary(providers: &[ProviderCoverage], all: bool) -> ChannelEventDossierCoverageSummary {
    let mut sum = ChannelEventDossierCoverageSummary::default();
    let mut with_envelope = (!all).then_some(0);
    for p in providers {
        let counted = &p.counters;
        sum.source_count += counted.total;
        with_envelope = with_envelope.zip(p.with_envelope).map(|(sum, more)| sum + more);
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
    sum.source_envelope_total = with_envelope;
    sum.missing_source_envelope_total = with_envelope.map(|there| sum.source_count - there);
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
