//! The operator API: reads the tables for people and scripts.
//!
//! It knows who may see what and the shapes of the answers; it must not know the log's contents or
//! decide anything. It reads tables only, every query narrowed to the caller's projects
//! ([`store::read::View`]); what it will change it will append to the log like everybody else.
//!
//! To add a route, see [`api`].

pub mod api;
pub mod auth;
pub mod problem;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, http::StatusCode, middleware};
use runtime::{Clock, Health, Shutdown, http_server, telemetry::MetricsHandle};
use schemas::ProjectId;
use serde::Deserialize;
use store::{Store, read::Visible};
use tokio::net::TcpListener;

pub use auth::{KeyHash, Operator, Projects, Role};
pub use problem::Problem;

/// The console's section of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens; default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// The project a request is about that names none, unless its operator has only one; default
    /// `default`.
    pub default_project: ProjectId,
    /// Who may ask, by operator id; default nobody.
    pub operators: BTreeMap<String, Operator>,
    /// How long the log keeps raw bodies, in days: the retention of the input stream; default 35.
    pub log_retention_days: u16,
}

impl Default for Config {
    #[expect(clippy::expect_used, reason = "the constant is an id, and a test reads it")]
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            default_project: ProjectId::new("default").expect("a valid id"),
            operators: BTreeMap::new(),
            log_retention_days: 35,
        }
    }
}

/// What it works with.
#[derive(Clone)]
pub struct Deps {
    pub store: Store,
    pub clock: Clock,
    pub health: Health,
    pub metrics: MetricsHandle,
    /// Routes of other roles to answer on the same listener.
    pub beside: Option<Router>,
}

/// Name of the console in the health report.
const PART: &str = "console";
/// How often the tables are asked whether they answer.
const PROBE_EVERY: Duration = Duration::from_secs(3);

/// The API's routes, without probes.
pub fn router(config: Config, deps: &Deps) -> Router {
    let keys = Arc::new(auth::Keys::new(config.operators));
    let app = api::App {
        store: deps.store.clone(),
        clock: deps.clock.clone(),
        default_project: config.default_project,
        log_retention_days: config.log_retention_days,
        document: openapi(),
    };
    let (guarded, _) = api::guarded().split_for_parts();
    let (open, _) = api::open().split_for_parts();
    guarded
        .route_layer(middleware::from_fn_with_state(keys, auth::guard))
        .merge(open)
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this route has other methods")
        })
        .with_state(Arc::new(app))
}

/// The OpenAPI document of all routes, as it is checked in.
pub fn openapi() -> String {
    let document = api::guarded().merge(api::open()).into_openapi();
    // Serialising a document of strings and numbers into memory cannot fail.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Answers the API, the probes, and what stands `beside` them, until told to stop.
pub async fn run(config: Config, deps: Deps, listener: TcpListener, shutdown: Shutdown) {
    let probes = runtime::admin::router(deps.health.clone(), deps.metrics.clone());
    let app = router(config, &deps).merge(probes);
    let app = match deps.beside {
        Some(beside) => app.fallback_service(beside),
        None => app.fallback(async || Problem::not_found("no such route")),
    };
    let limits = http_server::Limits::default();
    tokio::join!(
        http_server::serve(listener, app, limits, shutdown.clone()),
        watch(&deps.store, &deps.health, &shutdown),
    );
}

/// Says in the health report whether the tables answer.
async fn watch(store: &Store, health: &Health, shutdown: &Shutdown) {
    let mut every = tokio::time::interval(PROBE_EVERY);
    loop {
        tokio::select! {
            () = shutdown.stopping() => return,
            _ = every.tick() => {}
        }
        match store.view(&Visible::Projects(Vec::new())).await {
            Ok(_) => health.ready(PART),
            Err(error) => {
                tracing::warn!(%error, "the console cannot read its tables");
                health.not_ready(PART, format!("the tables cannot be read: {error}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn r19_the_checked_in_document_is_the_one_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let stands = fs::read_to_string(path).unwrap_or_default();
        assert!(stands == openapi(), "{path} is not what the handlers say: run `cargo xtask gen`");
    }

    #[test]
    fn r19_the_document_lists_every_route_and_its_key() {
        let document: serde_json::Value = serde_json::from_str(&openapi()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
        assert_eq!(
            paths,
            [
                "/",
                "/api/v1/deliveries/{id}",
                "/api/v1/events/dossier",
                "/api/v1/events/dossier/coverage",
                "/api/v1/events/dossier/recurrence",
                "/api/v1/events/recent",
                "/api/v1/incidents",
                "/api/v1/openapi.json",
            ]
        );
        let key = &document["components"]["securitySchemes"]["operator_key"];
        assert_eq!(key["scheme"], "bearer");
        assert!(
            document["paths"]["/api/v1/incidents"]["get"]["security"][0]["operator_key"].is_array()
        );
        assert!(document["paths"]["/"]["get"]["security"].is_null());
    }

    #[test]
    fn config_defaults_are_the_documented_ones_and_unknown_keys_are_refused() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.default_project.as_str(), "default");
        assert_eq!(config.log_retention_days, 35);
        assert!(serde_json::from_str::<Config>(r#"{"listne": "x"}"#).is_err());
    }
}
