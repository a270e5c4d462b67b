//! Tokens of Microsoft Entra at the door: whose keys are fetched, how often, and what is answered
//! while they cannot be had.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::config::EntraConfig;

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const CALLER: &str = "461e8683-5575-4561-ac7f-899cc907d62a";

/// A tenant that publishes one key.
struct Tenant {
    kid: &'static str,
    pair: RsaKeyPair,
}

impl Tenant {
    fn new(kid: &'static str) -> Self {
        Self { kid, pair: RsaKeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    fn keys(&self) -> Arc<[u8]> {
        // A PKCS #1 key of 2048 bits has its modulus behind nine bytes.
        let modulus = &self.pair.public_key().as_ref()[9..265];
        let n = BASE64_URL_SAFE_NO_PAD.encode(modulus);
        let key = json!({"kty": "RSA", "use": "sig", "kid": self.kid, "n": n, "e": "AQAB"});
        json!({ "keys": [key] }).to_string().into_bytes().into()
    }

    fn token(&self) -> String {
        let now = NOW.micros() / 1_000_000;
        let claims = json!({
            "aud": "api://bellwether", "iss": format!("https://sts.windows.net/{TENANT}/"),
            "tid": TENANT, "nbf": now, "exp": now + 3600, "appid": CALLER,
            "roles": ["ActionGroupsSecureWebhook"],
        });
        let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(json!({"alg": "RS256", "kid": self.kid})), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What is published, since when what is remembered was fetched, and every question.
struct Published {
    now: Option<Arc<[u8]>>,
    remembered: Option<(Instant, Arc<[u8]>)>,
    asked: Vec<String>,
}

struct Azure {
    app: Router,
    world: World,
    published: Arc<Mutex<Published>>,
}

/// A source that asks for tokens; `age`: for how long the keys have been remembered.
fn azure(keys: Option<Arc<[u8]>>) -> Azure {
    let world = world("production");
    let entra = EntraConfig {
        tenant: TENANT.to_uppercase(),
        audience: vec!["api://bellwether".to_owned()],
        ..EntraConfig::default()
    };
    let source = SourceConfig { entra: Some(entra), ..SourceConfig::default() };
    let configured = BTreeMap::from([("azure-monitor".to_owned(), source)]);
    let config = Config::default();
    let sources = Sources::build(&config, &configured, &Environment::Production, lanes()).unwrap();
    let published = Published { now: keys, remembered: None, asked: vec![] };
    let published = Arc::new(Mutex::new(published));
    let fetch: Fetch = Arc::new({
        let published = published.clone();
        move |url, age| {
            let mut published = published.lock().unwrap();
            let found = match &published.remembered {
                Some((since, keys)) if since.elapsed() < age => Some(keys.clone()),
                Some(_) | None => {
                    published.asked.push(url);
                    published.remembered = published.now.clone().map(|k| (Instant::now(), k));
                    published.now.clone()
                }
            };
            Box::pin(std::future::ready(found))
        }
    });
    let clock = Clock::fixed(NOW);
    let app = routes(&config, Arc::new(sources), world.appender.clone(), clock, fetch);
    Azure { app, world, published }
}

impl Azure {
    async fn shows(&self, token: &str) -> (StatusCode, String) {
        let request = Request::post("/webhook/azure-monitor")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from("{}"))
            .unwrap();
        let (status, _, text) = answer(&self.app, request).await;
        (status, text)
    }

    fn publish(&self, keys: Option<Arc<[u8]>>) {
        self.published.lock().unwrap().now = keys;
    }

    /// Lets what is remembered grow older.
    fn wait(&self, time: Duration) {
        let mut published = self.published.lock().unwrap();
        if let Some((since, _)) = &mut published.remembered {
            *since = since.checked_sub(time).unwrap();
        }
    }

    fn asked(&self) -> usize {
        let asked = std::mem::take(&mut self.published.lock().unwrap().asked);
        let keys = format!("https://login.microsoftonline.com/{TENANT}/discovery/v2.0/keys");
        assert!(asked.iter().all(|url| *url == keys), "{asked:?}");
        asked.len()
    }
}

#[tokio::test]
async fn r11_keys_are_fetched_once_and_a_new_one_is_found() {
    let (old, new) = (Tenant::new("old"), Tenant::new("new"));
    let azure = azure(Some(old.keys()));
    for _ in 0..3 {
        assert_eq!(azure.shows(&old.token()).await.0, StatusCode::ACCEPTED);
    }
    assert_eq!(azure.asked(), 1);
    let deliveries = azure.world.deliveries().await;
    let auth = &deliveries[0].auth;
    assert_eq!((auth.method.as_str(), auth.credential.as_deref()), ("entra", Some("entra")));

    // The tenant changes its key. What was just fetched is believed for a minute, ...
    azure.publish(Some(new.keys()));
    let (status, text) = azure.shows(&new.token()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(text.contains("token_key_unknown"), "{text}");
    assert_eq!(azure.asked(), 0);
    // ... then it is asked for again, and the old one is over.
    azure.wait(Duration::from_secs(61));
    assert_eq!(azure.shows(&new.token()).await.0, StatusCode::ACCEPTED);
    assert_eq!(azure.shows(&old.token()).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(azure.asked(), 1);
}

#[tokio::test]
async fn threat_names_of_keys_that_there_are_not_make_one_question_a_minute() {
    let azure = azure(Some(Tenant::new("k1").keys()));
    let nobody = Tenant::new("nobody's").token();
    for _ in 0..100 {
        assert_eq!(azure.shows(&nobody).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(azure.asked(), 1);
    azure.wait(Duration::from_secs(61));
    for _ in 0..100 {
        assert_eq!(azure.shows(&nobody).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(azure.asked(), 1);
    assert!(azure.world.records().await.is_empty());
}

#[tokio::test]
async fn r11_while_the_keys_cannot_be_had_the_sender_is_asked_to_come_back() {
    let tenant = Tenant::new("k1");
    let azure = azure(None);
    let (status, text) = azure.shows(&tenant.token()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    // What is no token of Entra is refused without asking anybody.
    assert_eq!(azure.asked(), 1);
    for odd in ["k1", "a.b.c", ""] {
        assert_eq!(azure.shows(odd).await.0, StatusCode::UNAUTHORIZED, "{odd}");
    }
    assert_eq!(azure.asked(), 0);
    assert!(azure.world.records().await.is_empty());
    azure.publish(Some(tenant.keys()));
    assert_eq!(azure.shows(&tenant.token()).await.0, StatusCode::ACCEPTED);
}
