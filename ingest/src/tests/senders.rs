//! Senders as they come: the path they have built in, what they show, and what they read in the
//! answer.

use serde_json::{Value, json};

use super::*;

const ROUTING_KEY: &str = "R013CTP2WH1ZQ3V5YBF0N8XD7K9L4M6T";

/// In production, one source of each of these, with what its senders can show.
fn built() -> (Router, World) {
    let signing = || SourceConfig { secret: Some(SECRET.into()), ..SourceConfig::default() };
    let token = |token: &str| SourceConfig {
        token: Some(token.to_owned().into()),
        ..SourceConfig::default()
    };
    let configured = BTreeMap::from([
        ("azure-monitor".to_owned(), token("t0ken-of-azure")),
        ("datadog".to_owned(), token("t0ken-of-datadog")),
        ("gcp-monitoring".to_owned(), token("t0ken-of-gcp")),
        ("github".to_owned(), signing()),
        ("gitlab".to_owned(), token("t0ken-of-gitlab")),
        ("pagerduty-events".to_owned(), token(ROUTING_KEY)),
        ("pagerduty-webhook".to_owned(), signing()),
    ]);
    let world = world("production");
    let config = Config::default();
    let sources = Sources::build(&config, &configured, &Environment::Production, lanes()).unwrap();
    let app = router(&config, Arc::new(sources), world.appender.clone(), Clock::fixed(NOW));
    (app, world)
}

fn to(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<Body> {
    let request = headers.iter().fold(post(path), |request, (n, v)| request.header(*n, *v));
    request.body(Body::from(body.to_vec())).unwrap()
}

#[tokio::test]
async fn r2_r11_each_sender_is_let_in_by_what_it_shows_and_by_nothing_else() {
    let (app, world) = built();
    let body = b"{}";
    let hub = format!("sha256={}", sign(SECRET, body));
    let pager = format!("v1={}", sign(SECRET, body));
    let wrong = format!("sha256={}", sign("other", body));
    let two = format!("v1={},{pager}", sign("old", body));
    let stored = StatusCode::ACCEPTED;
    let refused = StatusCode::UNAUTHORIZED;
    let (github, gitlab) = ("/webhook/github", "/webhook/gitlab");
    let (gcp, pagerduty) = ("/webhook/gcp-monitoring", "/webhook/pagerduty-webhook");
    for (path, headers, expect) in [
        (github, vec![("x-hub-signature-256", hub.as_str())], stored),
        (github, vec![("x-hub-signature-256", &wrong)], refused),
        (github, vec![("x-hub-signature", &hub)], refused),
        (github, vec![], refused),
        (pagerduty, vec![("x-pagerduty-signature", &two)], stored),
        (pagerduty, vec![("x-pagerduty-signature", &hub)], refused),
        (gitlab, vec![("x-gitlab-token", "t0ken-of-gitlab")], stored),
        (gitlab, vec![("x-gitlab-token", "t0ken-of-gitlaa")], refused),
        ("/webhook/gitlab/gitlab/t0ken-of-gitlab", vec![], stored),
        ("/webhook/datadog/datadog/t0ken-of-datadog", vec![], stored),
        ("/webhook/datadog/datadog/t0ken-of-gitlab", vec![], refused),
        ("/webhook/datadog", vec![], refused),
        ("/webhook/azure-monitor/azure-monitor/t0ken-of-azure", vec![], stored),
        ("/webhook/azure-monitor?token=t0ken-of-azure", vec![], stored),
        ("/webhook/azure-monitor?token=t0ken-of-azur", vec![], refused),
        ("/webhook/gcp-monitoring?auth_token=t0ken-of-gcp", vec![], stored),
        ("/webhook/gcp-monitoring?auth_token=", vec![], refused),
        (gcp, vec![("authorization", "Bearer t0ken-of-gcp")], refused),
    ] {
        let before = world.records().await.len();
        let (status, _, text) = answer(&app, to(path, &headers, body)).await;
        assert_eq!(status, expect, "{path} {headers:?}: {text}");
        let more = world.records().await.len() - before;
        assert_eq!(more, usize::from(expect == stored), "{path} {headers:?}");
        assert!(!text.contains("t0ken") && !text.contains(SECRET), "{text}");
    }
    for delivery in world.deliveries().await {
        let shown = format!("{} {:?} {:?}", delivery.route, delivery.headers, delivery.auth);
        assert!(!shown.contains("t0ken") && !shown.contains("sha256="), "{shown}");
    }
}

#[tokio::test]
async fn events_v2_are_heard_at_their_own_path_and_answered_as_pagerduty_answers() {
    let (app, world) = built();
    let trigger = json!({"routing_key": ROUTING_KEY, "event_action": "trigger", "payload": {
        "summary": "Down", "source": "a", "severity": "error"}});
    let send = |body: &Value| to("/v2/enqueue", &[], body.to_string().as_bytes());
    let (status, _, text) = answer(&app, send(&trigger)).await;
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &told["status"]), (StatusCode::ACCEPTED, &json!("success")));
    let key = told["dedup_key"].as_str().unwrap();
    // The next try of the same event is told the same key.
    let (_, _, again) = answer(&app, send(&trigger)).await;
    assert_eq!(again, text);
    let end = json!({"routing_key": ROUTING_KEY, "event_action": "resolve", "dedup_key": key});
    let (status, _, again) = answer(&app, send(&end)).await;
    assert_eq!((status, again), (StatusCode::ACCEPTED, text));

    let stored = world.deliveries().await;
    assert_eq!(stored.len(), 3);
    for delivery in &stored {
        assert_eq!(delivery.provider, "pagerduty-events");
        assert_eq!(
            (delivery.route.as_str(), delivery.auth.method.as_str()),
            ("/v2/enqueue", "token")
        );
    }
    for (body, code) in [
        (json!({"routing_key": "R0WRONG", "event_action": "trigger"}), "token_invalid"),
        (json!({"event_action": "trigger"}), "token_missing"),
    ] {
        let (status, _, text) = answer(&app, send(&body)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{text}");
        assert!(text.contains(code) && !text.contains("R0WRONG"), "{text}");
    }
    assert_eq!(world.records().await.len(), 3);
}
