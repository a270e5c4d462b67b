//! The probes every listener answers: alive, ready, metrics.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;

use crate::{Health, telemetry::MetricsHandle};

/// Routes that depend on nothing but this process.
///
/// `GET /health` and `/livez` answer 200 for as long as the process answers at all. `GET /ready`
/// and `/readyz` answer 503 while a part cannot do its work; faults with a substitute are listed
/// in `degraded` and leave it 200. `GET /metrics` answers in the Prometheus text format.
pub fn router(health: Health, metrics: MetricsHandle) -> Router {
    Router::new()
        .route("/health", get(live))
        .route("/livez", get(live))
        .route("/ready", get(ready))
        .route("/readyz", get(ready))
        .with_state(health)
        .route(
            "/metrics",
            get(|State(metrics): State<MetricsHandle>| async move {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())
            })
            .with_state(metrics),
        )
}

#[derive(Serialize)]
struct Live {
    status: &'static str,
}

async fn live() -> Json<Live> {
    Json(Live { status: "ok" })
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let report = health.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn check(health: &Health, path: &str, status: StatusCode, body: &str) {
        let app = router(health.clone(), crate::telemetry::metrics());
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(String::from_utf8_lossy(&bytes), body, "{path}");
    }

    #[tokio::test]
    async fn r18_health_answers_whatever_the_parts_say() {
        let health = Health::default();
        health.not_ready("nats", "no connection");
        for path in ["/health", "/livez"] {
            check(&health, path, StatusCode::OK, r#"{"status":"ok"}"#).await;
        }
    }

    #[tokio::test]
    async fn r18_ready_is_red_only_for_parts_that_cannot_work() {
        let health = Health::default();
        health.degraded("model", "no answer");
        let degraded = r#"{"ready":true,"parts":{"model":{"state":"degraded","reason":"no answer"}},"degraded":[{"part":"model","reason":"no answer"}]}"#;
        check(&health, "/ready", StatusCode::OK, degraded).await;
        health.forget("model");
        health.not_ready("nats", "no connection");
        let red = r#"{"ready":false,"parts":{"nats":{"state":"not_ready","reason":"no connection"}},"degraded":[]}"#;
        for path in ["/ready", "/readyz"] {
            check(&health, path, StatusCode::SERVICE_UNAVAILABLE, red).await;
        }
    }
}
