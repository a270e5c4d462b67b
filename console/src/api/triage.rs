//! The report on analysts: what they were asked, what it cost, and what operators think of it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use schemas::Time;
use serde::{Deserialize, Serialize};
use store::read::{
    View,
    triage::{AnalystFigures, Span},
};
use utoipa::{IntoParams, ToSchema};

use super::{App, Params};
use crate::{auth::Caller, problem::Problem};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReportQuery {
    /// The tenant; yours, or the default, when absent.
    project_id: Option<String>,
    /// From this time on: `2026-11-20T08:00:00Z`, or a day of UTC. Everything when absent.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
}

/// What analysts were asked, what it cost, and what operators think of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Report {
    /// The project it is about; null for all of them.
    pub project_id: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// One for each analyst, model and version of the prompt.
    pub items: Vec<Analyst>,
}

/// The figures of one analyst, model and version of the prompt.
#[derive(Debug, Serialize, ToSchema)]
pub struct Analyst {
    /// Its configured name; null for what operators said of messages that no diagnosis stood in.
    pub analyst: Option<String>,
    /// Null where it needs none, or failed before it named one.
    pub model: Option<String>,
    /// Version of the prompt; null where there was none.
    pub prompt: Option<String>,
    /// How often it was asked, and how often it had an answer.
    pub asked: i64,
    pub answered: i64,
    /// How often it failed, by name.
    pub failures: BTreeMap<String, i64>,
    /// Requests made.
    pub calls: i64,
    pub tokens_in: i64,
    pub tokens_out: i64,
    /// Millionths of the currency that prices are configured in.
    pub cost_micros: i64,
    /// In milliseconds: half of its calls took no longer, and 95 of 100.
    pub latency_p50_ms: Option<i64>,
    pub latency_p95_ms: Option<i64>,
    /// Diagnoses it came to in this time, and what operators said of them since.
    pub diagnoses: i64,
    pub confirmed: i64,
    pub rejected: i64,
    /// Diagnoses that say that what was told does not suffice.
    pub inconclusive: i64,
    /// What operators said in this time of messages its diagnosis stood in; of each the last word.
    pub useful: i64,
    pub not_useful: i64,
    pub noise: i64,
}

/// What analysts were asked, what it cost, and what operators think of it.
#[utoipa::path(
    get,
    path = "/api/v1/triage/report",
    params(ReportQuery),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = Report),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn triage_report(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Params(query): Params<ReportQuery>,
) -> Result<Json<Report>, Problem> {
    let time = |name: &str, text: Option<&str>| {
        text.map(moment).transpose().map_err(|e| Problem::parameter(name, e))
    };
    let (from, to) = (time("from", query.from.as_deref())?, time("to", query.to.as_deref())?);
    let project = app.project(&caller, query.project_id.as_deref())?;
    let mut view = app.store.view(&caller.visible).await?;
    Ok(Json(report(&mut view, Some(&project), (from, to)).await?))
}

/// The report on one project, or on all that the view shows.
///
/// # Errors
/// When the tables cannot be read.
pub async fn report(
    view: &mut View,
    project: Option<&str>,
    (from, to): (Option<Timestamp>, Option<Timestamp>),
) -> Result<Report, store::Error> {
    let (since, until) = (from.map(Time::from), to.map(Time::from));
    let lines = view.analysts(Span { project, from: since, to: until }).await?;
    let line = |((analyst, model, prompt), figures): (_, AnalystFigures)| Analyst {
        analyst,
        model,
        prompt,
        asked: figures.asked,
        answered: figures.answered,
        failures: figures.failures,
        calls: figures.calls,
        tokens_in: figures.tokens_in,
        tokens_out: figures.tokens_out,
        cost_micros: figures.cost_micros,
        latency_p50_ms: figures.latency_ms.map(|(half, _)| half),
        latency_p95_ms: figures.latency_ms.map(|(_, most)| most),
        diagnoses: figures.diagnoses,
        confirmed: figures.confirmed,
        rejected: figures.rejected,
        inconclusive: figures.inconclusive,
        useful: figures.useful,
        not_useful: figures.not_useful,
        noise: figures.noise,
    };
    let items = lines.into_iter().map(line).collect();
    Ok(Report { project_id: project.map(str::to_owned), from, to, items })
}

/// A time as people write it: `2026-11-20T08:00:00Z`, or a day, which begins at midnight UTC.
///
/// # Errors
/// When it is neither.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    let day = |text: &str| {
        let day: Date = text.parse().ok()?;
        day.to_zoned(TimeZone::UTC).ok().map(|midnight| midnight.timestamp())
    };
    // A time without its zone would be read as a day, and its hours forgotten.
    let of_day = if text.len() == "2026-11-20".len() { day(text) } else { text.parse().ok() };
    of_day.ok_or_else(|| {
        format!("{text:?} is no time; write 2026-11-20T08:00:00Z, or 2026-11-20 for a day of UTC")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_a_day() {
        let check = |text: &str, expect: Option<&str>| {
            let got = moment(text).map(|at| at.to_string());
            assert_eq!(got.as_deref().ok(), expect, "{text}");
        };
        check("2026-11-20", Some("2026-11-20T00:00:00Z"));
        check("2026-11-20T08:00:00+08:00", Some("2026-11-20T00:00:00Z"));
        for bad in ["", "2026-11-20T08:00:00", "2026-13-01", "yesterday", "20261120"] {
            check(bad, None);
        }
    }
}
