//! What is fetched because a sender's request asks for it, and what never is.

use std::sync::Mutex;

use super::*;
use crate::config::Require;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:alarms";

fn sample(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/fixtures/providers/aws-sns/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// A router that fetches from memory, and what it was asked to fetch.
struct Fetching {
    app: Router,
    sources: Arc<Sources>,
    asked: Arc<Mutex<Vec<String>>>,
    world: World,
}

/// `certificate`: what stands where the samples say that their certificate is.
fn fetching(topic: &str, certificate: Option<Vec<u8>>) -> Fetching {
    requiring(Require::Credential, topic, certificate)
}

fn requiring(require: Require, topic: &str, certificate: Option<Vec<u8>>) -> Fetching {
    let world = world("production");
    let senders = vec![topic.to_owned()];
    let source = SourceConfig { senders, require, ..SourceConfig::default() };
    let configured = BTreeMap::from([("aws-sns".to_owned(), source)]);
    let config = Config::default();
    let sources = Sources::build(&config, &configured, &Environment::Production, lanes()).unwrap();
    let sources = Arc::new(sources);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let certificate: Option<Arc<[u8]>> = certificate.map(Into::into);
    let fetch: Fetch = Arc::new({
        let asked = asked.clone();
        move |url: String, _| {
            asked.lock().unwrap().push(url.clone());
            let found = certificate.clone();
            Box::pin(async move { if url.ends_with(".pem") { found } else { Some(Arc::from([])) } })
        }
    });
    // Within the certificate's validity.
    let clock = Clock::fixed("2026-12-01T00:00:00Z".parse().unwrap());
    let app = routes(&config, sources.clone(), world.appender.clone(), clock, fetch);
    Fetching { app, sources, asked, world }
}

impl Fetching {
    async fn send(&self, body: &[u8]) -> StatusCode {
        let request = Request::post("/webhook/aws-sns").header("content-type", "text/plain");
        let request = request.body(Bytes::copy_from_slice(body).into()).unwrap();
        answer(&self.app, request).await.0
    }

    /// The ends of the addresses that were asked for.
    fn asked(&self) -> Vec<bool> {
        self.asked.lock().unwrap().drain(..).map(|url| url.ends_with(".pem")).collect()
    }
}

const CERTIFICATE: bool = true;
const CONFIRMATION: bool = false;

#[tokio::test]
async fn a_certificate_is_fetched_and_a_subscription_confirmed_once_it_is_stored() {
    let fetching = fetching(TOPIC, Some(sample("certificate.pem")));
    assert_eq!(fetching.send(&sample("cloudwatch-alarm.json")).await, StatusCode::ACCEPTED);
    assert_eq!(fetching.asked(), [CERTIFICATE]);
    let confirmation = sample("subscription-confirmation.json");
    assert_eq!(fetching.send(&confirmation).await, StatusCode::ACCEPTED);
    assert_eq!(fetching.asked(), [CERTIFICATE, CONFIRMATION]);
    assert_eq!(fetching.world.records().await.len(), 2);
}

#[tokio::test]
async fn threat_ssrf_nothing_is_fetched_for_who_is_not_authentic_but_what_the_provider_allows() {
    let confirmation = sample("subscription-confirmation.json");
    let text = String::from_utf8(confirmation.clone()).unwrap();
    // Without the certificate nothing is believed, and the sender is asked to come back.
    let without = fetching(TOPIC, None);
    assert_eq!(without.send(&confirmation).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(without.asked(), [CERTIFICATE]);
    let fetching = fetching(TOPIC, Some(sample("certificate.pem")));
    // Forged: the certificate of a host that may have one, and no further.
    let forged = text.replace("123456789012", "210987654321");
    assert_ne!(forged, text);
    assert_eq!(fetching.send(forged.as_bytes()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(fetching.asked(), [CERTIFICATE]);
    // Another host: not even that.
    let certificate: serde_json::Value = serde_json::from_str(&text).unwrap();
    let url = certificate["SigningCertURL"].as_str().unwrap();
    for other in ["http://169.254.169.254/x.pem", "https://sns.eu-west-1.amazonaws.com.evil/x.pem"]
    {
        let forged = text.replace(url, other);
        assert_eq!(fetching.send(forged.as_bytes()).await, StatusCode::UNAUTHORIZED, "{other}");
        assert!(fetching.asked().is_empty(), "{other}");
    }
    assert!(fetching.world.records().await.is_empty());
}

#[tokio::test]
async fn a_subscription_to_a_topic_that_is_not_listed_is_not_confirmed() {
    let fetching = fetching("arn:aws:sns:eu-west-1:1:other", Some(sample("certificate.pem")));
    let status = fetching.send(&sample("subscription-confirmation.json")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(fetching.asked(), [CERTIFICATE]);
    assert!(fetching.world.records().await.is_empty());
}

#[tokio::test]
async fn threat_r11_a_signature_is_asked_for_whatever_else_is_required() {
    let alarm = sample("cloudwatch-alarm.json");
    let text = String::from_utf8(alarm.clone()).unwrap();
    let envelope: serde_json::Value = serde_json::from_str(&text).unwrap();
    let unsigned = text.replace(envelope["Signature"].as_str().unwrap(), "");
    for require in [Require::Credential, Require::EveryKind] {
        let fetching = requiring(require, TOPIC, Some(sample("certificate.pem")));
        let refused = StatusCode::UNAUTHORIZED;
        assert_eq!(fetching.send(unsigned.as_bytes()).await, refused, "{require:?}");
        assert!(fetching.world.records().await.is_empty());
        assert_eq!(fetching.send(&alarm).await, StatusCode::ACCEPTED, "{require:?}");
        // A key was asked for once: that it was revoked does not make the signature enough again.
        let source = fetching.sources.iter().next().unwrap();
        source.issue(Issued { guarded: true, ..Issued::default() });
        assert_eq!(fetching.send(&alarm).await, refused, "{require:?}");
        assert_eq!(fetching.world.records().await.len(), 1);
    }
}
