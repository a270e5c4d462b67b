//! What one sender may take from others: nothing.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use runtime::http_server::Peer;

use super::*;
use crate::config::{LimitsConfig, RateConfig};

fn build(config: &Config, id: &str, source: SourceConfig) -> Router {
    let configured = BTreeMap::from([(id.to_owned(), source)]);
    let environment = Environment::Production;
    runtime::telemetry::metrics();
    let sources = Sources::build(config, &configured, &environment, lanes()).unwrap();
    router(config, Arc::new(sources), Discard, Clock::fixed(NOW))
}

fn keyed(provider: &str) -> SourceConfig {
    let key = BearerConfig { key: Some("k".into()), ..BearerConfig::default() };
    SourceConfig {
        provider: Some(provider.to_owned()),
        bearer: vec![key],
        ..SourceConfig::default()
    }
}

fn to(provider: &str, key: &str) -> Request<Body> {
    let request = post(&format!("/webhook/{provider}"));
    let request = request.header("authorization", format!("Bearer {key}"));
    request.body(Body::from("{}")).unwrap()
}

#[tokio::test]
async fn threat_more_than_a_source_may_send_is_429_with_retry_after() {
    let rate = Some(RateConfig { per_second: 0.001, burst: Some(2) });
    let app = build(&Config::default(), "limited", SourceConfig { rate, ..keyed("sentry") });
    // What proves nothing takes nothing from those that do.
    for _ in 0..5 {
        assert_eq!(answer(&app, to("sentry", "x")).await.0, StatusCode::UNAUTHORIZED);
    }
    for _ in 0..2 {
        assert_eq!(answer(&app, to("sentry", "k")).await.0, StatusCode::ACCEPTED);
    }
    let (status, headers, text) = answer(&app, to("sentry", "k")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u32 = headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((990..=1000).contains(&wait), "{wait}");
    assert_eq!(text, r#"{"code":"rate_limited","detail":"more than this source may send"}"#);
    assert!(counted("limited", Outcome::RateLimited) >= 1);
}

#[tokio::test]
async fn a_sender_that_gives_up_after_a_4xx_is_told_503_instead() {
    let rate = Some(RateConfig { per_second: 0.001, burst: Some(1) });
    let app = build(&Config::default(), "slowly", SourceConfig { rate, ..keyed("alertmanager") });
    assert_eq!(answer(&app, to("alertmanager", "k")).await.0, StatusCode::ACCEPTED);
    let (status, headers, text) = answer(&app, to("alertmanager", "k")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key(header::RETRY_AFTER));
    assert!(text.starts_with(r#"{"code":"rate_limited""#), "{text}");
}

#[tokio::test]
async fn a_project_bounds_its_sources_together_and_bodies_have_a_cap_of_their_own() {
    let limits = LimitsConfig {
        rate: Some(RateConfig { per_second: 0.001, burst: Some(1) }),
        max_body_bytes: Some(10),
        ..LimitsConfig::default()
    };
    let config =
        Config { projects: BTreeMap::from([("default".to_owned(), limits)]), ..Config::default() };
    let source = SourceConfig { max_body_bytes: Some(1000), ..keyed("sentry") };
    let app = build(&config, "small", source);
    let long = post("/webhook/sentry").header("authorization", "Bearer k");
    let long = long.body(Body::from("12345678901")).unwrap();
    let (status, _, text) = answer(&app, long).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(text.contains("larger than 10 bytes"), "{text}");
    assert_eq!(answer(&app, to("sentry", "k")).await.0, StatusCode::ACCEPTED);
    assert_eq!(answer(&app, to("sentry", "k")).await.0, StatusCode::TOO_MANY_REQUESTS);
}

/// A body that begins with so many bytes and never ends.
fn endless(bytes: usize) -> Body {
    let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b' '; bytes]))]);
    Body::from_stream(begun.chain(stream::pending()))
}

#[tokio::test]
async fn threat_f12_many_slow_strangers_take_nothing_from_those_who_send() {
    let config = Config {
        max_body_bytes: 64 << 10,
        max_inflight_bytes: 256 << 10,
        peer_inflight_bytes: 64 << 10,
        source_inflight_bytes: 128 << 10,
        body_deadline: Duration::from_secs(600),
        ..Config::default()
    };
    let world = world("production");
    let app = router(&config, world.sources.clone(), world.appender.clone(), Clock::fixed(NOW));
    // From one address, from many, to one source and to another: 40 MB in all, 160 times the room.
    let slow: Vec<_> = (0..10_000u32)
        .map(|n| {
            let path = if n % 2 == 0 { "/webhook/sentry" } else { "/webhook/alertmanager" };
            let mut request = post(path).body(endless(4096)).unwrap();
            let address = if n % 3 == 0 { [192, 0, 2, 1] } else { [198, 51, 100, (n % 200) as u8] };
            request.extensions_mut().insert(Peer((address, 4711).into()));
            Box::pin(answer(&app, request))
        })
        .collect();
    let mut slow = stream::iter(slow).buffer_unordered(10_000);
    let mut ended = Vec::new();
    for round in 0..200 {
        // All of them get on for as long as they can, ...
        while let Some(Some(answer)) = futures_util::FutureExt::now_or_never(slow.next()) {
            ended.push(answer.0);
        }
        // ... and whoever sends is heard all the same, from an address of its own or from theirs.
        for address in [[203, 0, 113, 9], [192, 0, 2, 1], [198, 51, 100, 7]] {
            let mut request = signed(br#"{"action":"created","data":{}}"#);
            request.extensions_mut().insert(Peer((address, 4712).into()));
            let (status, _, text) = answer(&app, request).await;
            assert_eq!(status, StatusCode::ACCEPTED, "round {round}: {text}");
        }
    }
    assert!(ended.len() > 9_000, "{} of 10000 slow ones were let go", ended.len());
    let expected = [StatusCode::REQUEST_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE];
    assert!(ended.iter().all(|status| expected.contains(status)));
    assert_eq!(world.records().await.len(), 600);
}
