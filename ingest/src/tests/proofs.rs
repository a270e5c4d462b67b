//! What a request has to show, and from where.

use std::net::{IpAddr, SocketAddr};

use runtime::http_server::Peer;

use super::*;
use crate::config::Require;

fn build(config: &Config, sources: &[(&str, SourceConfig)]) -> (Router, World) {
    let world = world("production");
    let configured = sources.iter().map(|(id, c)| ((*id).to_owned(), c.clone())).collect();
    let sources = Sources::build(config, &configured, &Environment::Production, lanes()).unwrap();
    let sources = Arc::new(sources);
    let app = router(config, sources, world.appender.clone(), Clock::fixed(NOW));
    (app, world)
}

fn of(provider: &str) -> SourceConfig {
    SourceConfig { provider: Some(provider.to_owned()), ..SourceConfig::default() }
}

fn networks(list: &[&str]) -> Vec<ipnet::IpNet> {
    list.iter().map(|network| network.parse().unwrap()).collect()
}

/// The request as it comes from this address.
fn from(mut request: Request<Body>, address: &str) -> Request<Body> {
    let address: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(Peer(SocketAddr::new(address, 4711)));
    request
}

async fn status(app: &Router, request: Request<Body>) -> StatusCode {
    answer(app, request).await.0
}

#[tokio::test]
async fn r12_who_is_on_no_list_is_answered_403_before_anything_is_looked_at() {
    let config = Config { allowed_ips: networks(&["10.0.0.0/8"]), ..Config::default() };
    let own = SourceConfig {
        secret: Some(SECRET.into()),
        allowed_ips: networks(&["192.0.2.0/24", "2001:db8::/32"]),
        ..of("sentry")
    };
    let open = SourceConfig { secret: Some(SECRET.into()), ..of("sentry") };
    let (app, world) = build(&config, &[("own", own), ("sentry", open)]);
    let to = |path: &str| {
        let body = b"{}";
        let request = post(path).header("sentry-hook-signature", sign(SECRET, body));
        request.body(Body::from(&body[..])).unwrap()
    };
    for (path, address, allowed) in [
        ("/webhook/sentry", "10.1.2.3", true),
        ("/webhook/sentry", "::ffff:10.1.2.3", true),
        ("/webhook/sentry", "192.0.2.1", false),
        ("/webhook/sentry/own", "192.0.2.1", true),
        ("/webhook/sentry/own", "2001:db8::7", true),
        ("/webhook/sentry/own", "10.1.2.3", false),
        ("/hook", "192.0.2.1", false),
        ("/api/alert", "198.51.100.1", false),
        ("/test", "192.0.2.1", false),
    ] {
        let (got, headers, text) = answer(&app, from(to(path), address)).await;
        if allowed {
            assert_eq!(got, StatusCode::ACCEPTED, "{path} {address}: {text}");
        } else {
            assert_eq!(got, StatusCode::FORBIDDEN, "{path} {address}");
            assert_eq!(text, r#"{"error":"IP not allowed"}"#);
            assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        }
    }
    // Whose address nobody knows is on no list.
    assert_eq!(status(&app, to("/webhook/sentry")).await, StatusCode::FORBIDDEN);
    let remotes: Vec<_> = world.deliveries().await.into_iter().map(|d| d.remote.unwrap()).collect();
    assert_eq!(remotes, ["10.1.2.3", "10.1.2.3", "192.0.2.1", "2001:db8::7"]);
    assert!(counted("own", Outcome::ForbiddenIp) >= 1);
}

#[tokio::test]
async fn threat_r12_a_forwarded_address_counts_where_a_listed_proxy_says_it() {
    let config = Config {
        allowed_ips: networks(&["192.0.2.0/24"]),
        trusted_proxies: networks(&["10.0.0.0/8"]),
        ..Config::default()
    };
    let source = SourceConfig { secret: Some(SECRET.into()), ..of("sentry") };
    let (app, world) = build(&config, &[("sentry", source)]);
    for (peer, forwarded, expect) in [
        ("10.0.0.1", "192.0.2.7", StatusCode::ACCEPTED),
        ("10.0.0.1", "198.51.100.1, 192.0.2.8, 10.0.0.2", StatusCode::ACCEPTED),
        ("10.0.0.1", "192.0.2.7, 198.51.100.1", StatusCode::FORBIDDEN),
        ("198.51.100.1", "192.0.2.7", StatusCode::FORBIDDEN),
    ] {
        let mut request = from(signed(b"{}"), peer);
        request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
        assert_eq!(status(&app, request).await, expect, "{peer} {forwarded}");
    }
    let remotes: Vec<_> = world.deliveries().await.into_iter().map(|d| d.remote.unwrap()).collect();
    assert_eq!(remotes, ["192.0.2.7", "192.0.2.8"]);
}

#[tokio::test]
async fn r11_one_credential_will_do_or_one_of_each_kind() {
    let both = SourceConfig {
        secret: Some(SECRET.into()),
        basic: Some(BasicConfig {
            user: "u".to_owned(),
            password: "p".into(),
            previous_password: Some("o".into()),
        }),
        ..of("sentry")
    };
    let every = SourceConfig { require: Require::EveryKind, ..both.clone() };
    let (app, world) = build(&Config::default(), &[("any", both), ("every", every)]);
    let send = |source: &str, signature: Option<&str>, password: Option<&str>| {
        let mut request = post(&format!("/webhook/sentry/{source}"));
        if let Some(secret) = signature {
            request = request.header("sentry-hook-signature", sign(secret, b"{}"));
        }
        if let Some(password) = password {
            let pair = BASE64_STANDARD.encode(format!("u:{password}"));
            request = request.header("authorization", format!("Basic {pair}"));
        }
        request.body(Body::from("{}")).unwrap()
    };
    let (yes, no) = (StatusCode::ACCEPTED, StatusCode::UNAUTHORIZED);
    for (source, signature, password, expect) in [
        ("any", Some(SECRET), None, yes),
        ("any", None, Some("p"), yes),
        ("any", None, None, no),
        ("any", Some("x"), None, no),
        ("every", Some(SECRET), Some("p"), yes),
        ("every", Some(SECRET), Some("o"), yes),
        ("every", Some(SECRET), None, no),
        ("every", None, Some("p"), no),
        ("every", Some("x"), Some("p"), no),
        ("every", Some(SECRET), Some("x"), no),
    ] {
        let got = status(&app, send(source, signature, password)).await;
        assert_eq!(got, expect, "{source} {signature:?} {password:?}");
    }
    let deliveries = world.deliveries().await;
    let auth = |at: usize| {
        let auth = &deliveries[at].auth;
        (auth.method.as_str(), auth.credential.as_deref().unwrap())
    };
    assert_eq!(auth(0), ("hmac_sha256", "current"));
    assert_eq!(auth(1), ("basic", "current"));
    assert_eq!(auth(2), ("basic+hmac_sha256", "current+current"));
    assert_eq!(auth(3), ("basic+hmac_sha256", "previous+current"));
}

#[tokio::test]
async fn r11_r12_an_address_alone_will_do_where_the_source_says_so() {
    let by_address = SourceConfig {
        require: Require::Address,
        allowed_ips: networks(&["192.0.2.0/24"]),
        ..of("sentry")
    };
    // A list alone is no proof: without a secret the source stays closed.
    let listed = SourceConfig { allowed_ips: networks(&["192.0.2.0/24"]), ..of("alertmanager") };
    let (app, world) = build(&Config::default(), &[("plugin", by_address), ("am", listed)]);
    let to = |path: &str| post(path).body(Body::from("{}")).unwrap();
    let status = async |path: &str, address: &str| answer(&app, from(to(path), address)).await.0;
    assert_eq!(status("/webhook/sentry", "192.0.2.1").await, StatusCode::ACCEPTED);
    assert_eq!(status("/webhook/sentry", "198.51.100.1").await, StatusCode::FORBIDDEN);
    let closed = status("/webhook/alertmanager", "192.0.2.1").await;
    assert_eq!(closed, StatusCode::SERVICE_UNAVAILABLE);
    let auth = &world.deliveries().await[0].auth;
    assert_eq!((auth.method.as_str(), auth.credential.as_deref()), ("address", None));
}

#[tokio::test]
async fn threat_r11_the_credential_that_let_a_request_in_is_recorded_and_its_time_shown() {
    let rotating = SourceConfig {
        token: Some("new-token".into()),
        previous_token: Some("old-token".into()),
        previous_until: Some(NOW.plus_seconds(10)),
        ..of("alertmanager")
    };
    let (app, world) = build(&Config::default(), &[("rotating", rotating.clone())]);
    let to = |token: &str| {
        let path = format!("/webhook/alertmanager/rotating/{token}");
        post(&path).body(Body::from("{}")).unwrap()
    };
    assert_eq!(status(&app, to("new-token")).await, StatusCode::ACCEPTED);
    assert_eq!(status(&app, to("old-token")).await, StatusCode::ACCEPTED);
    assert_eq!(status(&app, to("no-token")).await, StatusCode::UNAUTHORIZED);
    let deliveries = world.deliveries().await;
    let by: Vec<_> = deliveries.iter().map(|d| d.auth.credential.as_deref().unwrap()).collect();
    assert_eq!(by, ["current", "previous"]);
    for delivery in deliveries {
        assert_eq!(delivery.route, "/webhook/alertmanager/rotating", "no token is kept");
    }
    let metrics = runtime::telemetry::metrics().render();
    let used = r#"bellwether_ingest_credential_used_timestamp_seconds{source="rotating",credential="previous"} 1700000000"#;
    assert!(metrics.contains(used), "{metrics}");
    // Ten seconds later the one before is over.
    let sources = BTreeMap::from([("rotating".to_owned(), rotating)]);
    let environment = Environment::Production;
    let sources = Sources::build(&Config::default(), &sources, &environment, lanes()).unwrap();
    let later = Clock::fixed(NOW.plus_seconds(10));
    let app = router(&Config::default(), Arc::new(sources), Discard, later);
    assert_eq!(status(&app, to("new-token")).await, StatusCode::ACCEPTED);
    assert_eq!(status(&app, to("old-token")).await, StatusCode::UNAUTHORIZED);
}

/// What became of a key that was issued for a source.
enum Key {
    Never,
    Holds,
    Revoked,
}

fn issue(source: &Source, key: &Key) {
    let valid = || Valid {
        credential: domain::providers::Credential::Bearer {
            id: "k1".to_owned(),
            sha256: Sha256::digest("k1").into(),
        },
        until: None,
    };
    source.issue(match key {
        Key::Never => Issued::default(),
        Key::Holds => Issued { keys: vec![valid()], guarded: true, ..Issued::default() },
        Key::Revoked => Issued { guarded: true, ..Issued::default() },
    });
}

#[tokio::test]
async fn threat_r11_every_kind_of_none_lets_nobody_in_and_a_revoked_key_loosens_nothing() {
    let every = |config: SourceConfig| SourceConfig { require: Require::EveryKind, ..config };
    let scripts = SourceConfig { senders: vec!["bot".to_owned()], ..of("custom") };
    let signed_too = SourceConfig { secret: Some(SECRET.into()), ..of("sentry") };
    let world = world("production");
    let configured = BTreeMap::from([
        ("scripts".to_owned(), every(scripts)),
        ("both".to_owned(), every(signed_too)),
    ]);
    let config = Config::default();
    let sources = Sources::build(&config, &configured, &Environment::Production, lanes()).unwrap();
    let sources = Arc::new(sources);
    let app = router(&config, sources.clone(), world.appender.clone(), Clock::fixed(NOW));
    let (yes, no) = (StatusCode::ACCEPTED, StatusCode::UNAUTHORIZED);
    let closed = StatusCode::SERVICE_UNAVAILABLE;
    for (key, shown, to_scripts, to_both) in [
        (Key::Never, None, closed, yes),
        (Key::Holds, Some("Bearer k1"), yes, yes),
        (Key::Holds, None, no, no),
        (Key::Revoked, Some("Bearer k1"), no, no),
        (Key::Revoked, None, no, no),
    ] {
        sources.iter().for_each(|source| issue(source, &key));
        let body = r#"{"message":"x","sender_id":"bot"}"#;
        for (path, expect) in
            [("/webhook/custom/scripts", to_scripts), ("/webhook/sentry/both", to_both)]
        {
            let mut request =
                post(path).header("sentry-hook-signature", sign(SECRET, body.as_bytes()));
            if let Some(shown) = shown {
                request = request.header("authorization", shown);
            }
            let got = status(&app, request.body(Body::from(body)).unwrap()).await;
            assert_eq!(got, expect, "{path} {shown:?}");
        }
    }
}
