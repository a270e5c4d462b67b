//! What is said in the log, and what never is.

use std::{
    io::{self, Write},
    sync::Mutex,
};

use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(self.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn json(&self) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn r3_r46_a_missing_secret_is_critical_once_at_start() {
    let lines = Lines::default();
    let _listening = lines.listen();
    let (config, none) = (Config::default(), BTreeMap::new());
    let sources = Sources::build(&config, &none, &Environment::Production, lanes()).unwrap();
    sources.announce(&Health::default());
    let events: Vec<_> = lines
        .json()
        .into_iter()
        .filter(|line| line["event"] == "sentry_webhook_secret_missing_in_production")
        .collect();
    let [event] = events.as_slice() else { panic!("not once: {events:?}") };
    assert_eq!((&event["level"], &event["severity"]), (&"ERROR".into(), &"critical".into()));
    let message = event["message"].as_str().unwrap();
    assert!(message.contains("SENTRY_WEBHOOK_SECRET missing in production environment"));
}

#[tokio::test]
async fn r46_a_skipped_signature_is_a_warning_with_its_reason() {
    let lines = Lines::default();
    let _listening = lines.listen();
    let world = world("development");
    let request = super::post("/webhook/sentry").body(Body::from("{}")).unwrap();
    answer(&world.app, request).await;
    let found = lines.json().into_iter().any(|line| {
        line["event"] == "sentry_signature_skipped_dev_only"
            && line["level"] == "WARN"
            && line["reason"] == "no credentials configured"
    });
    assert!(found, "{:?}", lines.json());
}

#[tokio::test]
async fn r68_each_sentry_request_logs_one_line_without_body_or_secret() {
    let lines = Lines::default();
    let _listening = lines.listen();
    let world = world("production");
    let body = br#"{"password":"planted-in-body"}"#;
    let signature = sign(SECRET, body);
    answer(&world.app, signed(body)).await;
    let wrong = super::post("/webhook/sentry")
        .header("sentry-hook-signature", "planted-in-header")
        .body(Body::from("{}"))
        .unwrap();
    answer(&world.app, wrong).await;
    let all = lines.json();
    let about: Vec<_> = all
        .iter()
        .filter_map(|line| line["message"].as_str())
        .filter(|message| message.contains("Sentry"))
        .collect();
    let [accepted, refused] = about.as_slice() else { panic!("not two lines: {about:?}") };
    assert!(accepted.starts_with("Sentry delivery ") && accepted.ends_with(" accepted"));
    assert_eq!(*refused, "Sentry request refused: Invalid sentry-hook-signature");
    let text = format!("{all:?}");
    for secret in ["planted-in-body", "planted-in-header", signature.as_str(), SECRET] {
        assert!(!text.contains(secret), "{secret} is logged");
    }
}
