//! The paths, what each answers, and which source hears it.

use domain::providers::{self, Reply};
use runtime::http_server::Peer;

use super::*;
use crate::sources::ChannelName;

/// A world outside production with a source of each of these providers, all of them open.
pub(super) fn open(ids: &[&str]) -> (Router, World) {
    let all = ids.iter().map(|id| ((*id).to_owned(), SourceConfig::default()));
    open_with(all.collect())
}

/// The same with sources of these sections.
fn open_with(configured: BTreeMap<String, SourceConfig>) -> (Router, World) {
    let world = world("development");
    let environment = Environment::from("test".to_owned());
    let config = Config::default();
    let sources = Sources::build(&config, &configured, &environment, lanes()).unwrap();
    let channels = vec![
        ChannelName { id: "ops".to_owned(), kind: "feishu".to_owned(), address: None },
        ChannelName {
            id: "bot".to_owned(),
            kind: "feishu".to_owned(),
            address: Some(Sha256::digest("https://open.feishu.cn/hook/k").into()),
        },
        ChannelName {
            id: "hook".to_owned(),
            kind: "webhook".to_owned(),
            address: Some(Sha256::digest("https://hooks.example/k").into()),
        },
    ];
    let sources = Arc::new(sources.with_channels(channels).unwrap());
    let app = router(&config, sources, world.appender.clone(), Clock::fixed(NOW));
    (app, world)
}

pub(super) fn to(path: &str, body: &str) -> Request<Body> {
    post(path).body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn r6_r7_r8_r20_api_alert_hears_every_shape_and_judges_bad_ones() {
    let (app, world) = open(&["alertmanager", "custom", "grafana", "signoz"]);
    for (body, provider) in [
        (r#"{"version":"4","alerts":[]}"#, "alertmanager"),
        (r#"{"alerts":"bad"}"#, "alertmanager"),
        (r#"{"orgId":1,"alerts":[]}"#, "grafana"),
        (r#"{"ruleId":"bad","evalMatches":7}"#, "grafana"),
        (r#"{"alerts":[{"labels":{"ruleId":"7"}}]}"#, "signoz"),
        (r#"{"message":"[告警] x","sender_id":"test_bot"}"#, "custom"),
    ] {
        let (status, _, text) = answer(&app, to("/api/alert", body)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}: {text}");
        let stored = world.deliveries().await.pop().unwrap();
        assert_eq!((stored.provider.as_str(), stored.source.as_str()), (provider, provider));
        assert_eq!((stored.route.as_str(), stored.raw), ("/api/alert", body.as_bytes().to_vec()));
    }
    let before = world.records().await.len();
    for (body, status, detail) in [
        (r#"{"any":"object"}"#, StatusCode::UNPROCESSABLE_ENTITY, "message is missing"),
        (r#"{"message":"x"}"#, StatusCode::UNPROCESSABLE_ENTITY, "sender_id is missing"),
        ("not JSON", StatusCode::BAD_REQUEST, "the body is not JSON"),
        ("", StatusCode::BAD_REQUEST, "the body is not JSON"),
    ] {
        let (got, _, text) = answer(&app, to("/api/alert", body)).await;
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((got, told["detail"].as_str()), (status, Some(detail)), "{body}");
    }
    assert_eq!(world.records().await.len(), before);
    let (none, _) = open(&["sentry"]);
    assert_eq!(answer(&none, to("/api/alert", "{}")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn r6_api_alert_asks_for_the_credentials_of_whoever_the_body_is_of() {
    let world = world("production");
    let send = |key: &str, body: &str| {
        let request = post("/api/alert").header("authorization", format!("Bearer {key}"));
        request.body(Body::from(body.to_owned())).unwrap()
    };
    let wrong = answer(&world.app, send("k2", r#"{"alerts":[]}"#)).await;
    assert_eq!(wrong.0, StatusCode::UNAUTHORIZED);
    let wrong = answer(&world.app, send("k2", "not JSON")).await;
    assert_eq!(wrong.0, StatusCode::UNAUTHORIZED, "who is not authentic is told nothing");
    let right = answer(&world.app, send("k1", r#"{"alerts":[]}"#)).await;
    assert_eq!(right.0, StatusCode::ACCEPTED);
    assert_eq!(world.deliveries().await[0].source.as_str(), "prometheus");
}

#[tokio::test]
async fn r5_hook_answers_201_and_finds_the_channel_it_names_or_none() {
    let (app, world) = open(&["sentry"]);
    let body = r#"{"id":"7","project":"shop","level":"error","event":{"title":"x"}}"#;
    for (query, channel) in [
        ("", None),
        ("?feishu=", None),
        ("?feishu=ops", Some("ops")),
        ("?feishu=https%3A%2F%2Fopen.feishu.cn%2Fhook%2Fk", Some("bot")),
        ("?x=1&feishu=https://open.feishu.cn/hook/k", Some("bot")),
    ] {
        let (status, _, text) = answer(&app, to(&format!("/hook{query}"), body)).await;
        assert_eq!(status, StatusCode::CREATED, "{query}: {text}");
        let record = world.records().await.pop().unwrap();
        assert!(text.contains(&format!(r#""event_id":"{}""#, record.id)), "{text}");
        let stored = world.deliveries().await.pop().unwrap();
        assert_eq!(stored.channel.as_deref(), channel, "{query}");
        assert_eq!((stored.provider.as_str(), stored.route.as_str()), ("sentry", "/hook"));
        let bytes = format!("{stored:?}");
        assert!(!bytes.contains("feishu"), "an address is a credential: {bytes}");
    }
}

#[tokio::test]
async fn threat_r5_hook_never_takes_an_address_from_a_request() {
    let (app, world) = open(&["sentry"]);
    for named in [
        "nobody",
        "OPS",
        // Channels, but no bots.
        "hook",
        "https://hooks.example/k",
        "http://169.254.169.254/",
        "https://open.feishu.cn/hook/k2",
        "https://open.feishu.cn/hook/k#",
        "https://open.feishu.cn/hook/",
    ] {
        let (status, _, text) = answer(&app, to(&format!("/hook?feishu={named}"), "{}")).await;
        let said = named.contains('#');
        // What stands behind `#` is never sent.
        let expect = if said { StatusCode::CREATED } else { StatusCode::UNPROCESSABLE_ENTITY };
        assert_eq!(status, expect, "{named}: {text}");
        assert!(!text.contains("feishu") && !text.contains("hooks.example"), "{text}");
    }
    assert_eq!(world.records().await.len(), 1);
}

#[tokio::test]
async fn threat_r5_who_sends_for_one_project_names_no_bot_of_another() {
    let section = |project: &str, channels: Option<&[&str]>| SourceConfig {
        project: project.to_owned(),
        channels: channels.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect()),
        ..SourceConfig::default()
    };
    let status = async |configured: [(&str, SourceConfig); 2], named: &str| {
        let configured = configured.map(|(id, section)| (id.to_owned(), section));
        let (app, _) = open_with(configured.into());
        answer(&app, to(&format!("/hook?feishu={named}"), "{}")).await.0
    };
    let (good, bad) = (StatusCode::CREATED, StatusCode::UNPROCESSABLE_ENTITY);
    let other = |project: &str| ("grafana", section(project, None));
    // Of one project alone, any bot; of several, those that are listed.
    assert_eq!(status([("sentry", section("shop", None)), other("shop")], "ops").await, good);
    assert_eq!(status([("sentry", section("shop", None)), other("infra")], "ops").await, bad);
    let listed = || ("sentry", section("shop", Some(&["bot", "hook"])));
    for (named, expect) in
        [("bot", good), ("https://open.feishu.cn/hook/k", good), ("ops", bad), ("hook", bad)]
    {
        assert_eq!(status([listed(), other("infra")], named).await, expect, "{named}");
        assert_eq!(status([listed(), other("shop")], named).await, expect, "{named}");
    }
    let none = || ("sentry", section("shop", Some(&[])));
    assert_eq!(status([none(), other("shop")], "ops").await, bad);
}

#[tokio::test]
async fn r18_a_test_is_a_delivery_of_its_own_source_and_says_something_by_itself() {
    let (app, world) = open(&["sentry"]);
    let request = Request::post("/test").body(Body::empty()).unwrap();
    assert_eq!(answer(&app, request).await.0, StatusCode::ACCEPTED);
    let own = r#"{"message":"[告警] x","sender_id":"me"}"#;
    assert_eq!(answer(&app, to("/test", own)).await.0, StatusCode::ACCEPTED);
    assert_eq!(answer(&app, to("/test", "{}")).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let stored = world.deliveries().await;
    assert_eq!(stored.len(), 2);
    for delivery in &stored {
        assert_eq!((delivery.source.as_str(), delivery.route.as_str()), ("test", "/test"));
    }
    assert_eq!(stored[0].raw, providers::TEST_BODY.as_bytes());
    assert_eq!(stored[1].raw, own.as_bytes());
}

#[tokio::test]
async fn r18_in_production_a_test_needs_a_key_and_its_lack_harms_nobody() {
    let keyed = |keys: Vec<BearerConfig>| {
        let config = Config { test_keys: keys, ..Config::default() };
        let configured = BTreeMap::from([(
            "sentry".to_owned(),
            SourceConfig { secret: Some(SECRET.into()), ..SourceConfig::default() },
        )]);
        let environment = Environment::Production;
        let sources = Sources::build(&config, &configured, &environment, lanes()).unwrap();
        let health = Health::default();
        sources.announce(&health);
        assert!(health.report().ready, "no key for tests is no fault");
        router(&config, Arc::new(sources), Discard, Clock::fixed(NOW))
    };
    let test = |key: &str| {
        let request = Request::post("/test").header("authorization", format!("Bearer {key}"));
        request.body(Body::empty()).unwrap()
    };
    let none = keyed(Vec::new());
    assert_eq!(answer(&none, test("k")).await.0, StatusCode::SERVICE_UNAVAILABLE);
    let key = BearerConfig { key: Some("k".into()), ..BearerConfig::default() };
    let one = keyed(vec![key]);
    assert_eq!(answer(&one, test("k")).await.0, StatusCode::ACCEPTED);
    assert_eq!(answer(&one, test("x")).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn webhooks_may_be_put() {
    let (app, world) = open(&["grafana"]);
    let put =
        |path: &str| Request::put(path).body(Body::from(r#"{"orgId":1,"alerts":[]}"#)).unwrap();
    for path in ["/webhook/grafana", "/api/alert"] {
        assert_eq!(answer(&app, put(path)).await.0, StatusCode::ACCEPTED, "{path}");
    }
    assert_eq!(world.records().await.len(), 2);
}

#[tokio::test]
async fn who_asks_whether_it_may_send_is_answered_and_nothing_is_stored() {
    let (app, world) = open(&["custom"]);
    let ask = |path: &str| {
        let request = Request::builder().method("OPTIONS").uri(path);
        request.header("webhook-request-origin", "eventemitter.example.com")
    };
    let request = ask("/webhook/custom").body(Body::empty()).unwrap();
    let (status, headers, _) = answer(&app, request).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["webhook-allowed-origin"], "eventemitter.example.com");
    assert_eq!(headers["webhook-allowed-rate"], "*");
    assert_eq!(headers[header::ALLOW], "POST, PUT");
    let request = ask("/webhook/nobody").body(Body::empty()).unwrap();
    assert_eq!(answer(&app, request).await.0, StatusCode::NOT_FOUND);
    assert!(world.records().await.is_empty());
    assert!(counted("custom", Outcome::Handshake) >= 1);
}

#[tokio::test]
async fn every_path_a_provider_names_leads_to_its_source() {
    let names: Vec<_> = providers::all().iter().map(|p| p.name()).collect();
    let (app, _) = open(&names);
    for provider in providers::all() {
        for path in provider.paths() {
            let before = total(provider.name());
            let mut request = to(path, "{}");
            request.extensions_mut().insert(Peer(([192, 0, 2, 1], 4711).into()));
            let (status, _, text) = answer(&app, request).await;
            assert_ne!(status, StatusCode::NOT_FOUND, "{path}: {text}");
            assert!(!status.is_server_error(), "{path}: {text}");
            assert!(total(provider.name()) > before, "{path}");
        }
    }
}

/// Requests to a source, whatever became of them.
fn total(source: &str) -> u64 {
    Outcome::ALL.into_iter().map(|outcome| counted(source, outcome)).sum()
}

#[tokio::test]
async fn an_interaction_goes_to_everybody_and_keeps_its_project() {
    let chats = providers::all().iter().filter(|p| p.channel_type() == "chat");
    let sources = Sources::build(
        &Config::default(),
        &chats.clone().map(|p| (p.name().to_owned(), SourceConfig::default())).collect(),
        &Environment::from("test".to_owned()),
        lanes(),
    )
    .unwrap();
    for source in sources.iter().filter(|s| s.provider.channel_type() == "chat") {
        assert_eq!((source.lane, source.project.as_str()), (LaneKey::All, "default"));
    }
    let webhooks = self::sources("production");
    for source in webhooks.iter() {
        assert!(matches!(source.lane, LaneKey::Lane(_)), "{}", source.id);
    }
    // Nothing but a provider's own word makes an answer of another kind.
    let sentry = providers::by_name("sentry").unwrap();
    assert_eq!(sentry.reply(&providers::Request::default()), Reply::Accepted);
}
