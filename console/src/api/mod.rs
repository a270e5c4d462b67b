//! The API under `/api/v1`: one file per subject.
//!
//! To add a route: a handler with `#[utoipa::path]`, one line in [`routes`], and `cargo xtask gen`
//! for the document.

pub mod commands;
pub mod coverage;
pub mod deliveries;
pub mod events;
pub mod incidents;
pub mod page;
pub mod recurrence;
pub mod silences;
pub mod triage;
pub mod why;

use std::{num::NonZeroU16, ops::RangeInclusive, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRequestParts, Query, State},
    http::{header, request::Parts},
    response::IntoResponse,
};
use eventlog::Appender;
use schemas::ProjectId;
use serde::{Serialize, de::DeserializeOwned};
use store::{Store, read::Visible};
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{auth::Principal, problem::Problem};

/// The first and the longest pause between two looks at the tables while a caller waits.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// What the handlers share.
#[derive(Debug)]
pub struct App {
    pub store: Store,
    /// Where commands go.
    pub appender: Appender,
    /// Number of lanes of the input log.
    pub lanes: NonZeroU16,
    pub clock: runtime::Clock,
    pub default_project: ProjectId,
    /// How long the log keeps raw bodies, in days.
    pub log_retention_days: u16,
    /// The OpenAPI document.
    pub document: String,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "bellwether",
        description = "Operator API: what arrived, what it was taken for, and what was done."
    ),
    modifiers(&OperatorKey)
)]
struct Document;

/// The security scheme every guarded route names.
struct OperatorKey;

impl Modify for OperatorKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            "operator_key",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
    }
}

/// Routes that ask for an operator's key.
pub fn guarded() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(events::recent))
        .routes(routes!(events::dossier))
        .routes(routes!(coverage::coverage))
        .routes(routes!(recurrence::recurrence))
        .routes(routes!(deliveries::delivery))
        .routes(routes!(incidents::incidents))
        .routes(routes!(incidents::incident))
        .routes(routes!(commands::command))
        .routes(routes!(silences::silences, silences::new_silence))
        .routes(routes!(silences::preview_silence))
        .routes(routes!(silences::silence_by_id))
        .routes(routes!(silences::end_silence))
        .routes(routes!(triage::triage_report))
        .routes(routes!(why::why))
}

/// Routes that anybody may ask.
pub fn open() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(index)).routes(routes!(document))
}

/// Where things are.
#[derive(Debug, Serialize, ToSchema)]
struct Index {
    name: &'static str,
    version: &'static str,
    /// The API's document.
    openapi: &'static str,
    /// Where to begin.
    incidents: &'static str,
}

/// Where things are.
#[utoipa::path(get, path = "/", responses((status = 200, body = Index)))]
async fn index() -> Json<Index> {
    Json(Index {
        name: "bellwether",
        version: env!("CARGO_PKG_VERSION"),
        openapi: "/api/v1/openapi.json",
        incidents: "/api/v1/incidents",
    })
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", responses((status = 200, body = Object)))]
async fn document(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], app.document.clone())
}

/// Query parameters; 422 names the one that cannot be read.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Postgres takes no such text; as a failed query it would be our fault.
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(Problem::new(
                axum::http::StatusCode::UNPROCESSABLE_ENTITY,
                "a parameter holds NUL",
            ));
        }
        Query::try_from_uri(&parts.uri).map(|Query(params)| Self(params)).map_err(|rejection| {
            // The source of the rejection reads `limit: invalid digit found in string`.
            let cause = std::error::Error::source(&rejection)
                .map_or_else(|| rejection.body_text(), ToString::to_string);
            Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, cause)
        })
    }
}

/// A number parameter within its bounds; 422 names it and them.
pub fn bounded(
    name: &str,
    value: Option<i64>,
    bounds: RangeInclusive<u32>,
    default: u32,
) -> Result<u32, Problem> {
    let Some(value) = value else { return Ok(default) };
    u32::try_from(value).ok().filter(|v| bounds.contains(v)).ok_or_else(|| {
        let (low, high) = (bounds.start(), bounds.end());
        Problem::parameter(name, format_args!("must be from {low} to {high}, not {value}"))
    })
}

/// Whether everything is counted (`window=all`) instead of the newest events; 422 for another
/// window.
pub fn counts_all(window: Option<&str>) -> Result<bool, Problem> {
    match window {
        None => Ok(false),
        Some("all") => Ok(true),
        Some(_) => Err(Problem::parameter("window", "must be all, or absent")),
    }
}

impl App {
    /// The project a request is about: the one it names, else the caller's only one, else the
    /// configured default. One that the caller may not see is answered like one that is not there.
    pub fn project(&self, caller: &Principal, project_id: Option<&str>) -> Result<String, Problem> {
        let project = match (project_id, &caller.visible) {
            (Some(named), _) => named,
            (None, Visible::Projects(projects)) if projects.len() == 1 => projects[0].as_str(),
            (None, Visible::Projects(_) | Visible::Everything) => self.default_project.as_str(),
        };
        // What is no id cannot be a project; the caller may have guessed.
        if ProjectId::new(project).is_ok() && caller.visible.contains(project) {
            Ok(project.to_owned())
        } else {
            Err(Problem::not_found(format!("no project {project:?}; name one with project_id")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r61_numbers_outside_their_bounds_are_named() {
        let check = |value, expect: Result<u32, &str>| {
            let got = bounded("limit", value, 1..=100, 20).map_err(|p| (p.status, p.detail));
            assert_eq!(got, expect.map_err(|detail| (422, detail.to_owned())));
        };
        check(None, Ok(20));
        check(Some(1), Ok(1));
        check(Some(100), Ok(100));
        check(Some(0), Err("limit: must be from 1 to 100, not 0"));
        check(Some(101), Err("limit: must be from 1 to 100, not 101"));
        check(Some(-1), Err("limit: must be from 1 to 100, not -1"));
    }

    #[tokio::test]
    async fn r61_parameters_that_cannot_be_read_are_named() {
        async fn check(query: &str, expect: Result<Option<i64>, &str>) {
            #[derive(serde::Deserialize)]
            struct Limited {
                limit: Option<i64>,
            }
            let request = axum::http::Request::get(format!("/x?{query}")).body(()).unwrap();
            let got = Params::<Limited>::from_request_parts(&mut request.into_parts().0, &()).await;
            match (got, expect) {
                (Ok(Params(params)), Ok(limit)) => assert_eq!(params.limit, limit),
                (Err(problem), Err(name)) => {
                    assert_eq!(problem.status, 422);
                    assert!(problem.detail.starts_with(name), "{query}: {problem:?}");
                }
                (got, _) => panic!("{query}: {:?}", got.map(|p| p.0.limit)),
            }
        }
        check("", Ok(None)).await;
        check("limit=7&other=1", Ok(Some(7))).await;
        check("limit=", Err("limit: ")).await;
        check("limit=ten", Err("limit: ")).await;
        check("limit=99999999999999999999", Err("limit: ")).await;
        // No table can hold it, so it is not asked.
        check("limit=7&other=a%00b", Err("a parameter holds NUL")).await;
        check("limit=7&other=a%2500b", Ok(Some(7))).await;
    }
}
