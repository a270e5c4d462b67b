//! The operator API and the pages: reads the tables for people and scripts.
//!
//! It knows who may see what and the shapes of the answers; it must not know the log's contents or
//! decide anything. It reads tables only, every query narrowed to the caller's projects
//! ([`store::read::View`]); what it changes it appends to the log like everybody else.
//!
//! To add a route, see [`api`]; to add a page, see [`pages`].

pub mod api;
pub mod auth;
pub mod live;
pub mod pages;
pub mod problem;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use axum::{Router, http::StatusCode, middleware};
use eventlog::Appender;
use runtime::{Clock, ConfigError, Health, Shutdown, http_server, telemetry::MetricsHandle};
use schemas::ProjectId;
use serde::Deserialize;
use store::{Store, read::Visible};
use tokio::net::TcpListener;

use live::Hub;

pub use auth::{KeyHash, Operator, Projects, Role};
pub use pages::home::KnownSource;
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
    /// A source from which nothing came for this long is shown as silent; default 24 h.
    #[serde(with = "runtime::config::duration")]
    pub silent_after: Duration,
    /// The configured sources, so that one never heard can be named; from their own section.
    #[serde(skip)]
    pub sources: Vec<KnownSource>,
}

impl Default for Config {
    #[expect(clippy::expect_used, reason = "the constant is an id, and a test reads it")]
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            default_project: ProjectId::new("default").expect("a valid id"),
            operators: BTreeMap::new(),
            log_retention_days: 35,
            silent_after: Duration::from_secs(24 * 3600),
            sources: Vec::new(),
        }
    }
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// Two operators with one key: whoever shows it would be either.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut known = Vec::new();
        for (id, operator) in &self.operators {
            if let Some((other, _)) = known.iter().find(|(_, key)| *key == operator.key_sha256) {
                return Err(ConfigError::new(
                    format!("console.operators.{id}.key_sha256"),
                    format!("is also the key of {other}"),
                    "give each operator a key of its own",
                ));
            }
            known.push((id, operator.key_sha256));
        }
        Ok(())
    }
}

/// What it works with.
#[derive(Clone)]
pub struct Deps {
    pub store: Store,
    /// Where commands go.
    pub appender: Appender,
    /// Number of lanes of the input log.
    pub lanes: NonZeroU16,
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

/// The routes of API and pages, without probes. The pages' live streams say nothing unless `hub`
/// runs.
pub fn router(config: Config, deps: &Deps, hub: Arc<Hub>) -> Router {
    let keys = Arc::new(auth::Keys::new(config.operators));
    let pages = pages::Pages {
        store: deps.store.clone(),
        keys: Arc::clone(&keys),
        sessions: pages::session::Sessions::new(deps.clock.clone()),
        hub,
        sources: config.sources,
        silent_after: config.silent_after,
    };
    let app = api::App {
        store: deps.store.clone(),
        appender: deps.appender.clone(),
        lanes: deps.lanes,
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
        .merge(pages::router(Arc::new(pages)))
        .layer(middleware::from_fn(pages::front_door))
}

/// The OpenAPI document of all routes, as it is checked in.
pub fn openapi() -> String {
    let document = api::guarded().merge(api::open()).into_openapi();
    // Serialising a document of strings and numbers into memory cannot fail.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Answers the API, the pages, the probes, and what stands `beside` them, until told to stop.
pub async fn run(config: Config, deps: Deps, listener: TcpListener, shutdown: Shutdown) {
    let probes = runtime::admin::router(deps.health.clone(), deps.metrics.clone());
    let hub = Arc::new(Hub::new(deps.store.clone()));
    let app = router(config, &deps, Arc::clone(&hub)).merge(probes);
    let app = match deps.beside {
        Some(beside) => app.fallback_service(beside),
        None => app.fallback(async || Problem::not_found("no such route")),
    };
    let limits = http_server::Limits::default();
    tokio::join!(
        http_server::serve(listener, app, limits, shutdown.clone()),
        watch(&deps.store, &deps.health, &shutdown),
        hub.run(&shutdown),
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
                "/api/v1/incidents/{id}",
                "/api/v1/incidents/{id}/{verb}",
                "/api/v1/openapi.json",
                "/api/v1/silences",
                "/api/v1/silences/preview",
                "/api/v1/silences/{id}",
                "/api/v1/silences/{id}/end",
                "/api/v1/triage/report",
                "/api/v1/why/{id}",
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

    #[test]
    fn r47_two_operators_have_two_keys() {
        let read = |keys: [&str; 2]| {
            let [ann, ben] = keys.map(|key| {
                serde_json::json!({"key_sha256": key.repeat(32), "role": "viewer", "projects": ["*"]})
            });
            let config = serde_json::json!({"operators": {"ann": ann, "ben": ben}});
            serde_json::from_value::<Config>(config).unwrap().check()
        };
        assert_eq!(read(["01", "02"]), Ok(()));
        let error = read(["01", "01"]).unwrap_err();
        assert_eq!(error.key, "console.operators.ben.key_sha256");
        assert_eq!(error.problem, "is also the key of ann");
    }
}
