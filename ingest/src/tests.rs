//! The accept path through the router, over a log in memory.

use std::{collections::BTreeMap, num::NonZeroU16};

use axum::{
    body::Body,
    http::{Request, StatusCode, header, request::Builder},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use eventlog::{AppenderConfig, Log, MemoryLog};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use runtime::Environment;
use schemas::{
    Namespace, ProducerId, RecordFrame, Time,
    record::{Body as RecordBody, Delivery},
    subject::deliveries_stream,
};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::*;

mod chats;
mod doors;
mod encodings;
mod fetches;
mod logs;
mod proofs;
mod senders;
mod shares;
mod socket;
mod threats;
mod tokens;

const NOW: Time = Time::from_micros(1_700_000_000_000_000);
const SECRET: &str = "sesame";

/// A router over a log in memory.
struct World {
    app: Router,
    log: Arc<MemoryLog>,
    appender: SpoolingAppender,
    sources: Arc<Sources>,
}

fn lanes() -> NonZeroU16 {
    NonZeroU16::new(4).unwrap()
}

fn sources(environment: &str) -> Arc<Sources> {
    let sentry = if environment == "production" { Some(SECRET.into()) } else { None };
    let configured = BTreeMap::from([
        ("sentry".to_owned(), SourceConfig { secret: sentry, ..SourceConfig::default() }),
        (
            "scripts".to_owned(),
            SourceConfig {
                provider: Some("custom".to_owned()),
                bearer: vec![BearerConfig { key: Some("k1".into()), ..BearerConfig::default() }],
                senders: vec!["test_bot".to_owned()],
                ..SourceConfig::default()
            },
        ),
        (
            "prometheus".to_owned(),
            SourceConfig {
                provider: Some("alertmanager".to_owned()),
                project: "payments".to_owned(),
                basic: Some(BasicConfig {
                    user: "am".to_owned(),
                    password: "pass:word".into(),
                    previous_password: None,
                }),
                bearer: vec![BearerConfig { key: Some("k1".into()), ..BearerConfig::default() }],
                ..SourceConfig::default()
            },
        ),
    ]);
    let environment = Environment::from(environment.to_owned());
    runtime::telemetry::metrics();
    let config = Config::default();
    Arc::new(Sources::build(&config, &configured, &environment, lanes()).unwrap())
}

#[expect(clippy::disallowed_methods, reason = "a test owns its tasks")]
fn world(environment: &str) -> World {
    let log = Arc::new(MemoryLog::new(Namespace::default(), lanes()));
    let config = AppenderConfig {
        producer: ProducerId(runtime::random_uuid()),
        lanes: lanes(),
        budget: std::time::Duration::from_millis(900),
        max_queued_bytes: 16 << 20,
    };
    let (appender, driver) = SpoolingAppender::start(log.clone(), config, None);
    tokio::spawn(driver);
    let sources = sources(environment);
    let app = router(&Config::default(), sources.clone(), appender.clone(), Clock::fixed(NOW));
    World { app, log, appender, sources }
}

impl World {
    /// Every record in the log, in order.
    async fn records(&self) -> Vec<Record> {
        let stream = deliveries_stream(self.log.namespace());
        let last = self.log.info(&stream).await.map_or(0, |info| info.last_sequence);
        let mut records = Vec::new();
        for sequence in 1..=last {
            let message = self.log.get(&stream, sequence).await.unwrap().unwrap();
            let frame = RecordFrame::parse(&message.payload).unwrap();
            records.extend(frame.records.iter().map(|r| Record::decode(r).unwrap()));
        }
        records
    }

    async fn deliveries(&self) -> Vec<Delivery> {
        let delivery = |record: Record| match record.body {
            RecordBody::Delivery(delivery) => *delivery,
            other => panic!("not a delivery: {other:?}"),
        };
        self.records().await.into_iter().map(delivery).collect()
    }

    /// Sends a request that must be refused with exactly this body, and shows that nothing was
    /// appended.
    async fn check_refused(&self, request: Request<Body>, status: StatusCode, body: &str) {
        let (got, _, text) = answer(&self.app, request).await;
        assert_eq!((got, text.as_str()), (status, body));
        assert!(self.records().await.is_empty(), "nothing is appended on a refusal");
    }
}

async fn answer(app: &Router, request: Request<Body>) -> (StatusCode, header::HeaderMap, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    const_hex::encode(mac.finalize().into_bytes())
}

fn post(path: &str) -> Builder {
    Request::post(path).header("content-type", "application/json")
}

fn signed(body: &[u8]) -> Request<Body> {
    post("/webhook/sentry")
        .header("Sentry-Hook-Signature", sign(SECRET, body))
        .header("Sentry-Hook-Resource", "issue")
        .body(Bytes::copy_from_slice(body).into())
        .unwrap()
}

#[tokio::test]
async fn r1_r71_a_signed_delivery_is_durable_before_202_and_names_its_status() {
    let world = world("production");
    let body = br#"{"action":"created","data":{}}"#;
    let mut request = signed(body);
    let headers = request.headers_mut();
    headers.insert("cookie", "session=1".parse().unwrap());
    headers.insert(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap(),
    );
    let (status, _, text) = answer(&world.app, request).await;
    let records = world.records().await;
    let [record] = records.as_slice() else { panic!("not one record: {records:?}") };
    let id = record.id;
    let expect = format!(r#"{{"event_id":"{id}","status_url":"/api/v1/deliveries/{id}"}}"#);
    assert_eq!((status, text), (StatusCode::ACCEPTED, expect));
    assert_eq!(id.0.get_version_num(), 7);
    assert_eq!((record.received_at, record.project.as_ref().unwrap().as_str()), (NOW, "default"));
    assert!(record.trace.as_ref().unwrap().starts_with("00-4bf92f"));
    let deliveries = world.deliveries().await;
    let delivery = &deliveries[0];
    assert_eq!(delivery.raw, body);
    assert_eq!(delivery.sha256, <[u8; 32]>::from(Sha256::digest(body)));
    assert_eq!((delivery.provider.as_str(), delivery.source.as_str()), ("sentry", "sentry"));
    assert_eq!(delivery.route, "/webhook/sentry");
    assert_eq!(delivery.header("sentry-hook-resource"), Some("issue"));
    assert_eq!(delivery.header("cookie"), None);
    assert_eq!(delivery.header("sentry-hook-signature"), None, "credentials are not kept");
    assert_eq!(delivery.content_type.as_deref(), Some("application/json"));
    assert_eq!(delivery.auth.method, "hmac_sha256");
    assert_eq!(delivery.auth.credential.as_deref(), Some("current"));
}

#[tokio::test]
async fn r1_an_authentic_body_that_is_no_json_is_stored_as_it_is() {
    let world = world("production");
    for body in [&b"\xff\x00 not json"[..], b"", b"{\"a\":"] {
        assert_eq!(answer(&world.app, signed(body)).await.0, StatusCode::ACCEPTED);
    }
    let raw: Vec<_> = world.deliveries().await.into_iter().map(|d| d.raw).collect();
    assert_eq!(raw, [&b"\xff\x00 not json"[..], b"", b"{\"a\":"]);
}

#[tokio::test]
async fn r2_signature_missing_is_401() {
    let world = world("production");
    let request = post("/webhook/sentry").body(Body::from("{}")).unwrap();
    let expect = r#"{"code":"signature_missing","detail":"Missing sentry-hook-signature header"}"#;
    world.check_refused(request, StatusCode::UNAUTHORIZED, expect).await;
}

#[tokio::test]
async fn r2_signature_invalid_is_401_and_counted() {
    let world = world("production");
    let expect = r#"{"code":"signature_invalid","detail":"Invalid sentry-hook-signature"}"#;
    let wrong = [sign("other", b"{}"), sign(SECRET, b"{ }"), "zz".to_owned(), String::new()];
    for signature in &wrong {
        let request = post("/webhook/sentry")
            .header("sentry-hook-signature", signature)
            .body(Body::from("{}"))
            .unwrap();
        let (status, _, text) = answer(&world.app, request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{signature:?}");
        if !signature.is_empty() {
            assert_eq!(text, expect, "{signature:?}");
        }
    }
    assert!(world.records().await.is_empty());
    let counted = counted("sentry", Outcome::Unauthentic);
    assert!(counted >= wrong.len() as u64, "{counted}");
}

use outcome::Outcome;

/// What the metrics say about a source; other tests of the process may have counted too.
fn counted(source: &str, outcome: Outcome) -> u64 {
    let text = runtime::telemetry::metrics().render();
    let labels = [format!("source=\"{source}\""), format!("outcome=\"{}\"", outcome.name())];
    text.lines()
        .filter(|line| line.starts_with("bellwether_ingest_requests_total{"))
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn r2_a_header_that_is_not_text_is_refused_like_a_wrong_one() {
    let world = world("production");
    let mut request = signed(b"{}");
    let value = header::HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    request.headers_mut().insert("sentry-hook-signature", value);
    let expect = r#"{"code":"signature_invalid","detail":"Invalid sentry-hook-signature"}"#;
    world.check_refused(request, StatusCode::UNAUTHORIZED, expect).await;
    let mut request = signed(b"{}");
    request.headers_mut().insert("x-odd", header::HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(answer(&world.app, request).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn r3_without_a_secret_production_answers_503() {
    let world = world("development");
    let config = Config::default();
    let none = BTreeMap::new();
    let sources = Sources::build(&config, &none, &Environment::Production, lanes()).unwrap();
    let app =
        router(&Config::default(), Arc::new(sources), world.appender.clone(), Clock::fixed(NOW));
    let (status, headers, text) = answer(&app, signed(b"{}")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "60");
    assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(
        text,
        r#"{"code":"credentials_missing","detail":"SENTRY_WEBHOOK_SECRET missing in production environment"}"#
    );
    assert!(world.records().await.is_empty());
}

#[tokio::test]
async fn r3_without_a_secret_development_accepts_and_records_the_skip() {
    let world = world("development");
    let request = post("/webhook/sentry").body(Body::from("{}")).unwrap();
    assert_eq!(answer(&world.app, request).await.0, StatusCode::ACCEPTED);
    let deliveries = world.deliveries().await;
    assert_eq!(deliveries[0].auth.method, "skipped_dev");
    assert_eq!(deliveries[0].auth.credential, None);
}

#[tokio::test]
async fn r11_alertmanager_proves_itself_by_basic_or_bearer() {
    let world = world("production");
    let basic = format!("Basic {}", BASE64_STANDARD.encode("am:pass:word"));
    for (path, authorization) in [
        ("/webhook/alertmanager", basic.as_str()),
        ("/webhook/alertmanager/prometheus", "Bearer k1"),
    ] {
        let request =
            post(path).header("authorization", authorization).body(Body::from("{}")).unwrap();
        assert_eq!(answer(&world.app, request).await.0, StatusCode::ACCEPTED, "{path}");
    }
    let records = world.records().await;
    assert!(records.iter().all(|r| r.project.as_ref().unwrap().as_str() == "payments"));
    let deliveries = world.deliveries().await;
    let by: Vec<_> = deliveries.iter().map(|d| d.auth.method.as_str()).collect();
    assert_eq!(by, ["basic", "bearer"]);
    assert!(deliveries.iter().all(|d| d.header("authorization").is_none()));
    assert_eq!(deliveries[1].route, "/webhook/alertmanager/prometheus");
}

#[tokio::test]
async fn r11_wrong_or_absent_credentials_are_401_with_a_challenge() {
    let world = world("production");
    let wrong = format!("Basic {}", BASE64_STANDARD.encode("am:password"));
    for authorization in [None, Some(wrong.as_str()), Some("Bearer k2"), Some("Bearer ")] {
        let mut request = post("/webhook/alertmanager").body(Body::from("{}")).unwrap();
        if let Some(value) = authorization {
            request.headers_mut().insert("authorization", value.parse().unwrap());
        }
        let (status, headers, _) = answer(&world.app, request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{authorization:?}");
        let challenge = &headers[header::WWW_AUTHENTICATE];
        assert_eq!(challenge, r#"Basic realm="bellwether", Bearer"#);
    }
    assert!(world.records().await.is_empty());
}

#[tokio::test]
async fn r8_r10_what_a_script_gets_wrong_is_said_and_not_stored() {
    let world = world("production");
    let send = |body: &str, key: &str| {
        let request = post("/webhook/custom").header("authorization", format!("Bearer {key}"));
        request.body(Body::from(body.to_owned())).unwrap()
    };
    let whole = "{\"message\":\"[告警] x\",\"sender_id\":\"test_bot\"}";
    let before = counted("scripts", Outcome::ForbiddenSender);
    for (body, status, expect) in [
        (
            "[告警] x",
            StatusCode::BAD_REQUEST,
            r#"{"code":"malformed","detail":"the body is not JSON"}"#,
        ),
        (
            r#"{"sender_id":"test_bot"}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
            r#"{"code":"invalid_field","detail":"message is missing"}"#,
        ),
        (
            r#"{"message":"x"}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
            r#"{"code":"invalid_field","detail":"sender_id is missing"}"#,
        ),
        (
            r#"{"message":"x","sender_id":"stranger"}"#,
            StatusCode::FORBIDDEN,
            r#"{"code":"forbidden_sender","detail":"sender_id is not allowed"}"#,
        ),
    ] {
        world.check_refused(send(body, "k1"), status, expect).await;
    }
    assert!(counted("scripts", Outcome::ForbiddenSender) > before);
    // Who is not authentic is told nothing of this.
    let expect = r#"{"code":"credentials_invalid","detail":"Invalid Authorization credentials"}"#;
    world.check_refused(send("{}", "k2"), StatusCode::UNAUTHORIZED, expect).await;
    assert_eq!(answer(&world.app, send(whole, "k1")).await.0, StatusCode::ACCEPTED);
    assert_eq!(world.deliveries().await[0].raw, whole.as_bytes());
}

#[tokio::test]
async fn unknown_sources_are_404_and_say_nothing_about_the_others() {
    let world = world("production");
    for path in ["/webhook/nobody", "/webhook/sentry/other", "/webhook/alertmanager/sentry"] {
        let request = post(path).body(Body::from("{}")).unwrap();
        let expect = r#"{"code":"unknown_source","detail":"unknown source"}"#;
        world.check_refused(request, StatusCode::NOT_FOUND, expect).await;
    }
    assert!(counted("unknown", Outcome::UnknownSource) >= 3);
}

#[tokio::test]
async fn other_methods_are_405() {
    let world = world("production");
    for method in ["GET", "PATCH", "DELETE", "OPTIONS"] {
        let request =
            Request::builder().method(method).uri("/webhook/sentry").body(Body::empty()).unwrap();
        let (status, headers, _) = answer(&world.app, request).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(headers[header::ALLOW], "POST, PUT");
    }
}

#[tokio::test]
async fn r1_a_body_over_the_cap_is_413_announced_or_not() {
    let world = world("production");
    let cap = Config::default().max_body_bytes;
    let expect =
        format!(r#"{{"code":"too_large","detail":"the body is larger than {cap} bytes"}}"#);
    let mut announced = signed(b"{}");
    announced.headers_mut().insert("content-length", (cap + 1).into());
    world.check_refused(announced, StatusCode::PAYLOAD_TOO_LARGE, &expect).await;
    let long = vec![b' '; cap + 1];
    world.check_refused(signed(&long), StatusCode::PAYLOAD_TOO_LARGE, &expect).await;
    let fits = vec![b' '; cap];
    assert_eq!(answer(&world.app, signed(&fits)).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn without_room_for_bodies_the_answer_is_503() {
    let world = world("production");
    let tight = Config { max_inflight_bytes: 1, ..Config::default() };
    let app = router(&tight, world.sources.clone(), world.appender.clone(), Clock::fixed(NOW));
    let (status, headers, text) = answer(&app, signed(b"{}")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "1");
    assert_eq!(text, r#"{"code":"overloaded","detail":"too many bodies are in flight"}"#);
    assert!(world.records().await.is_empty());
}

/// Fails every append in one way.
#[derive(Clone)]
struct Failing(AppendError);

impl Sink for Failing {
    async fn append(&self, _lane: LaneKey, _record: Record) -> Result<Durable, AppendError> {
        Err(self.0.clone())
    }
}

#[tokio::test]
async fn r1_what_is_not_known_to_be_durable_is_503_and_counted_by_reason() {
    for (error, outcome, wait) in [
        (AppendError::Full, Outcome::Overloaded, "1"),
        (AppendError::NotStored { reason: "x".into() }, Outcome::NotDurable, "2"),
        (AppendError::Unknown { waited_ms: 900 }, Outcome::NotDurable, "2"),
        (AppendError::Closed, Outcome::NotDurable, "2"),
    ] {
        let config = Config::default();
        let app = router(&config, sources("production"), Failing(error.clone()), Clock::fixed(NOW));
        let before = counted("sentry", outcome);
        let (status, headers, text) = answer(&app, signed(b"{}")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{error}");
        assert_eq!(headers[header::RETRY_AFTER], wait, "{error}");
        assert!(text.starts_with(&format!(r#"{{"code":"{}""#, outcome.name())), "{text}");
        assert!(counted("sentry", outcome) > before, "{error}");
    }
}

#[tokio::test]
async fn the_edge_alone_answers_the_same_with_nothing_behind_it() {
    let app = router(&Config::default(), sources("production"), Discard, Clock::fixed(NOW));
    assert_eq!(answer(&app, signed(b"{}")).await.0, StatusCode::ACCEPTED);
    let unsigned = post("/webhook/sentry").body(Body::from("{}")).unwrap();
    assert_eq!(answer(&app, unsigned).await.0, StatusCode::UNAUTHORIZED);
}

#[test]
fn bounds_that_would_refuse_everything_are_refused_at_start() {
    let check = |config: Config, key: &str| {
        assert_eq!(config.validate().unwrap_err().key, format!("ingest.{key}"));
    };
    let sound = Config::default();
    assert_eq!(sound.validate(), Ok(()));
    check(Config { max_body_bytes: 0, ..sound.clone() }, "max_body_bytes");
    check(Config { max_body_bytes: 8 << 20, ..sound.clone() }, "max_body_bytes");
    check(Config { max_inflight_bytes: 1000, ..sound.clone() }, "max_inflight_bytes");
    check(Config { peer_inflight_bytes: 1000, ..sound.clone() }, "peer_inflight_bytes");
    check(Config { source_inflight_bytes: 1000, ..sound.clone() }, "source_inflight_bytes");
    check(Config { max_connections: 0, ..sound.clone() }, "max_connections");
    check(Config { body_deadline: std::time::Duration::ZERO, ..sound }, "body_deadline");
}
