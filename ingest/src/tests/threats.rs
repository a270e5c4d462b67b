//! What an attacker would try at the door, for every provider there is.
//!
//! The threats of bodies that are too large, slow or compressed, of addresses, forwarded addresses
//! and rates, of rotated credentials and of addresses in requests are shown beside what they attack
//! (`threat_` in the other files).

use domain::providers::{self, Credential, Provider};

use super::*;

/// A source of each provider, all alike.
fn build(environment: &str, section: impl Fn(&'static dyn Provider) -> SourceConfig) -> Router {
    let configured = providers::all().iter().map(|p| (p.name().to_owned(), section(*p))).collect();
    runtime::telemetry::metrics();
    let (config, environment) = (Config::default(), Environment::from(environment.to_owned()));
    let sources = Sources::build(&config, &configured, &environment, lanes()).unwrap();
    router(&config, Arc::new(sources), Discard, Clock::fixed(NOW))
}

/// Everything a provider can be let in by.
fn every_credential(provider: &'static dyn Provider) -> SourceConfig {
    let text = String::new;
    let takes = |credential: Credential| provider.accepts(&credential);
    let mut section = SourceConfig::default();
    if takes(Credential::Hmac { id: text(), secret: Vec::new() }) {
        section.secret = Some("a-signing-secret".into());
    }
    if takes(Credential::Token { id: text(), token: Vec::new() }) {
        section.token = Some("a-token-of-this-source".into());
    }
    if takes(Credential::Basic { id: text(), user: text(), password: text() }) {
        section.basic = Some(BasicConfig {
            user: "u".to_owned(),
            password: "a-password".into(),
            previous_password: None,
        });
    }
    if takes(Credential::Bearer { id: text(), sha256: [0; 32] }) {
        section.bearer =
            vec![BearerConfig { key: Some("a-key".into()), ..BearerConfig::default() }];
    }
    section
}

#[tokio::test]
async fn threat_nobody_gets_in_with_nothing_or_with_something_empty() {
    let app = build("production", every_credential);
    let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
    let shown = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer undefined".to_owned(),
        "Basic ".to_owned(),
        basic(":"),
        basic("u:"),
        basic("u:a-passwor"),
        basic("u:a-password:"),
        basic("a-password"),
        "Basic !!!".to_owned(),
        "Negotiate a-key".to_owned(),
    ];
    for provider in providers::all() {
        let path = format!("/webhook/{0}/{0}", provider.name());
        for body in ["{}", "", "[]", r#"{"token":"","routing_key":"","challenge":"x"}"#] {
            for authorization in &shown {
                let request = post(&path).header("authorization", authorization);
                let request = request.body(Body::from(body)).unwrap();
                let (status, _, text) = answer(&app, request).await;
                let expect = StatusCode::UNAUTHORIZED;
                assert_eq!(status, expect, "{path} {authorization:?} {body:?}: {text}");
            }
        }
        for token in ["", "x", "a-token-of-this-sourc", "a-token-of-this-source/x"] {
            let request = post(&format!("{path}/{token}")).body(Body::from("{}")).unwrap();
            let (status, _, text) = answer(&app, request).await;
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND];
            assert!(refused.contains(&status), "{path}/{token}: {status} {text}");
        }
    }
}

#[tokio::test]
async fn threat_r3_a_source_without_a_secret_lets_nobody_in() {
    for blank in [None, Some(""), Some("  ")] {
        let app = build("production", |provider| {
            let signs = provider.accepts(&Credential::Hmac { id: String::new(), secret: vec![] });
            let secret = blank.filter(|_| signs).map(Into::into);
            SourceConfig { secret, ..SourceConfig::default() }
        });
        for provider in providers::all() {
            let path = format!("/webhook/{}", provider.name());
            let request = post(&path).body(Body::from("{}")).unwrap();
            let (status, _, text) = answer(&app, request).await;
            // Where everybody can verify, nothing is missing.
            let expect = match provider.needs_credential() {
                true => StatusCode::SERVICE_UNAVAILABLE,
                false => StatusCode::UNAUTHORIZED,
            };
            assert_eq!(status, expect, "{path} {blank:?}: {text}");
        }
    }
}

#[tokio::test]
async fn threat_a_signature_holds_for_these_bytes_and_this_secret_alone() {
    let world = world("production");
    let body = br#"{"action":"created"}"#;
    let right = sign(SECRET, body);
    let altered = |at: usize| {
        let mut hex = right.clone().into_bytes();
        hex[at] = if hex[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(hex).unwrap()
    };
    let mut wrong = vec![
        right[..62].to_owned(),
        right[..32].to_owned(),
        format!("{right}00"),
        sign("", body),
        sign(&SECRET[1..], body),
        "0".repeat(64),
        "v1,".to_owned(),
    ];
    wrong.extend((0..right.len()).map(altered));
    for signature in wrong {
        let request = post("/webhook/sentry").header("sentry-hook-signature", &signature);
        let request = request.body(Body::from(&body[..])).unwrap();
        assert_eq!(answer(&world.app, request).await.0, StatusCode::UNAUTHORIZED, "{signature}");
    }
    for bit in 0..body.len() * 8 {
        let mut bytes = body.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let request = post("/webhook/sentry").header("sentry-hook-signature", &right);
        let request = request.body(Body::from(bytes)).unwrap();
        assert_eq!(answer(&world.app, request).await.0, StatusCode::UNAUTHORIZED, "bit {bit}");
    }
    // The right signature under another name proves nothing.
    let request = post("/webhook/sentry").header("x-hook-signature", &right);
    let request = request.body(Body::from(&body[..])).unwrap();
    assert_eq!(answer(&world.app, request).await.0, StatusCode::UNAUTHORIZED);
    assert!(world.records().await.is_empty());
    assert_eq!(answer(&world.app, signed(body)).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn threat_a_delivery_that_is_sent_again_later_is_stale() {
    let configured = BTreeMap::from([(
        "scripts".to_owned(),
        SourceConfig {
            provider: Some("custom".to_owned()),
            secret: Some("whsec_c2VzYW1l".into()),
            senders: vec!["*".to_owned()],
            ..SourceConfig::default()
        },
    )]);
    let config = Config::default();
    let sources = Sources::build(&config, &configured, &Environment::Production, lanes()).unwrap();
    let sources = Arc::new(sources);
    let signed_at = NOW.micros() / 1_000_000;
    let mut mac = Hmac::<Sha256>::new_from_slice(b"sesame").unwrap();
    mac.update(format!("msg_1.{signed_at}.{{}}").as_bytes());
    let signature = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    for (later, expect) in [
        (0, StatusCode::ACCEPTED),
        (300, StatusCode::ACCEPTED),
        (301, StatusCode::UNAUTHORIZED),
        (-301, StatusCode::UNAUTHORIZED),
        (86_400, StatusCode::UNAUTHORIZED),
    ] {
        let clock = Clock::fixed(NOW.plus_seconds(later));
        let app = router(&config, sources.clone(), Discard, clock);
        let request = post("/webhook/custom")
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", signed_at)
            .header("webhook-signature", &signature)
            .body(Body::from("{}"))
            .unwrap();
        let (status, _, text) = answer(&app, request).await;
        assert_eq!(status, expect, "{later} s: {text}");
    }
}

#[tokio::test]
async fn threat_f11_no_body_costs_a_5xx_whoever_it_is_for() {
    let app = build("test", |provider| SourceConfig {
        senders: provider.names_senders().then(|| "*".to_owned()).into_iter().collect(),
        ..SourceConfig::default()
    });
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", r#"{"alerts":"#.repeat(depth), "}".repeat(depth));
    let bodies: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\xff\xfe\x00".to_vec(),
        b"\xEF\xBB\xBF{}".to_vec(),
        br#"{"a":"\ud800","b":"\u0000"}"#.to_vec(),
        b"{\"a\":\"\0\"}".to_vec(),
        br#"{"id":1,"id":2,"alerts":[],"alerts":{},"message":"a","message":7}"#.to_vec(),
        br#"{"count":1e400,"n":123456789012345678901234567890}"#.to_vec(),
        nested(200).into_bytes(),
        nested(200_000).into_bytes(),
        objects(100).into_bytes(),
        objects(80_000).into_bytes(),
        format!("[{}1]", "1,".repeat(400_000)).into_bytes(),
        b"payload=%7B%22a%22%3A1%7D&payload=".to_vec(),
        b"%%%00%zz=&&&==".to_vec(),
        b"a\r\nHTTP/1.1 200 OK\r\n\r\n".to_vec(),
    ];
    let paths = providers::all().iter().map(|p| format!("/webhook/{}", p.name()));
    let fixed = crate::sources::fixed_paths().map(str::to_owned);
    for path in paths.chain(fixed) {
        for body in &bodies {
            let sample = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            let request = post(&path).body(Body::from(body.clone())).unwrap();
            let (status, _, text) = answer(&app, request).await;
            assert!(status.as_u16() < 500, "{path} {sample:?}: {status} {text}");
        }
    }
}

#[tokio::test]
async fn threat_nothing_in_a_request_chooses_the_project_the_lane_or_another_source() {
    let world = world("production");
    for path in [
        "/webhook/sentry/..%2Falertmanager",
        "/webhook/sentry/%2e%2e",
        "/webhook/%2A",
        "/webhook/sentry/%3E",
        "/webhook/sentry/a%0d%0aX-Evil:%201",
        "/webhook/SENTRY",
        "/webhook//sentry",
        "/webhook/sentry/sentry/token/more",
    ] {
        let request = post(path).header("sentry-hook-signature", sign(SECRET, b"{}"));
        let request = request.body(Body::from("{}")).unwrap();
        assert_eq!(answer(&world.app, request).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let body = br#"{"project":"payments","project_id":"payments","action":"created"}"#;
    let mut request = signed(body);
    *request.uri_mut() = "/webhook/sentry?project=payments&source=prometheus".parse().unwrap();
    for name in ["x-project", "x-project-id", "x-bellwether-project", "x-source"] {
        request.headers_mut().insert(name, "payments".parse().unwrap());
    }
    assert_eq!(answer(&world.app, request).await.0, StatusCode::ACCEPTED);
    let records = world.records().await;
    assert_eq!(records[0].project.as_ref().unwrap().as_str(), "default");
    let delivery = world.deliveries().await.remove(0);
    assert_eq!((delivery.source.as_str(), delivery.route.as_str()), ("sentry", "/webhook/sentry"));
    assert!(delivery.headers.iter().all(|(name, _)| !name.starts_with("x-")));
}
