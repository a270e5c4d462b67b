use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use sentry::protocol::{Request, User};
use tokio::sync::mpsc;

use super::*;
use crate::{LogFormat, Shutdown, Tasks, telemetry};

const SECRET: &str = "hunter2-of-the-sender";

fn reporter(dsn: &str) -> Reporter {
    Reporter {
        config: Config { dsn: Some(dsn.into()), own_projects: vec![] },
        roles: vec!["console".to_owned(), "triage-worker".to_owned()],
        environment: "test".to_owned(),
        release: "bellwether@0.0.1".to_owned(),
        crates: &["runtime", "triage_worker"],
        redact: Arc::new(|text| text.replace(SECRET, "[redacted]")),
    }
}

fn cleaner() -> Cleaner {
    Cleaner::new(reporter("https://key@host/1"))
}

#[test]
fn r63_texts_are_our_own_words() {
    let check = |text: &str, expect: &str| assert_eq!(cleaner().text(text), expect, "{text}");
    check("the stage cannot run", "the stage cannot run");
    check("first line\n  left: [1]\n right: [2]", "first line");
    check(&format!("token {SECRET}!"), "token [redacted]!");
    check(r#"unknown variant "a \"quoted\" b", expected c"#, r#"unknown variant "…", expected c"#);
    check("byte 5 of `what was sent", "byte 5 of `…");
    check("`a` and \"b\" and `c", "`…` and \"…\" and `…");
    check("body \"ends with a backslash \\", "body \"…");
    check(
        "post https://u:p@hook.example:8443/v2/abc?x=1 failed",
        "post https://hook.example:8443/… failed",
    );
    check("(https://hook.example) postgres://h/db, x", "(https://hook.example) postgres://h/…, x");
    check("nats://10.0.0.1:4222", "nats://10.0.0.1:4222");
    check("it's a sender's", "it's a sender's");
    assert_eq!(cleaner().text(&"长".repeat(10_000)).chars().count(), 500);
}

#[test]
fn r63_a_report_holds_what_it_may_hold_and_nothing_else() {
    let fields = |pairs: &[(&str, Value)]| {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Context::Other(pairs.collect())
    };
    let event = |target: &str| Event {
        message: Some("refused \"what was sent\"".into()),
        logger: Some(target.into()),
        contexts: Map::from([
            (LOCATION.to_owned(), fields(&[("file", "a.rs".into()), ("line", 7.into())])),
            (
                "Rust Tracing Fields".to_owned(),
                fields(&[("stage", "observe".into()), ("n", 3.into()), ("e", SECRET.into())]),
            ),
            ("device".to_owned(), fields(&[("name", "host-1".into())])),
        ]),
        user: Some(User { email: Some("a@example.com".into()), ..User::default() }),
        request: Some(Request { data: Some("body".into()), ..Request::default() }),
        extra: Map::from([("body".to_owned(), "what was sent".into())]),
        tags: Map::from([("customer".to_owned(), "one".to_owned())]),
        server_name: Some("host-1".into()),
        ..Event::default()
    };
    let clean = |target: &str| {
        let event = event(target);
        let place = Place::of(&event);
        serde_json::to_value(cleaner().clean(event, &place, 4)).unwrap()
    };
    let ours = clean("triage_worker::observe");
    assert_eq!(ours["message"], "refused \"…\"");
    assert_eq!(ours["tags"], serde_json::json!({"role": "triage-worker", "left_out": "4"}));
    assert_eq!(ours["fingerprint"], serde_json::json!(["triage_worker::observe a.rs:7"]));
    let said = &ours["contexts"]["Rust Tracing Fields"];
    assert_eq!(
        (&said["stage"], &said["n"], &said["e"]),
        (&"observe".into(), &3.into(), &"[redacted]".into())
    );
    // Crates of others log what they like.
    let foreign = clean("h2::proto");
    assert_eq!(foreign["tags"]["role"], "console,triage-worker");
    assert_eq!(foreign["contexts"].as_object().unwrap().len(), 1);
    for report in [ours, foreign] {
        for key in ["user", "request", "extra", "server_name", "breadcrumbs"] {
            assert!(report.get(key).is_none(), "{key}: {report}");
        }
        let text = report.to_string();
        for absent in ["what was sent", SECRET, "host-1", "customer"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
    }
}

#[test]
fn r63_a_dsn_names_the_project_and_is_never_shown() {
    let of = |dsn: &str| Config { dsn: Some(dsn.into()), own_projects: vec![] };
    let check = |dsn: &str, expect: Option<(&str, &str)>| {
        let expect = expect.map(|(host, id)| (host.to_owned(), id.to_owned()));
        assert_eq!(of(dsn).reported_to(), expect, "{dsn}");
    };
    check("https://key@o1.ingest.sentry.io/42", Some(("o1.ingest.sentry.io", "42")));
    check(" http://key@127.0.0.1:9/prefix/7 ", Some(("127.0.0.1", "7")));
    check("", None);
    for bad in ["https://a-public-key@host", "https://host/1", "a-public-key", "ftp://k@h/1"] {
        let error = of(bad).check().unwrap_err();
        assert_eq!(error.key, "sentry.dsn");
        assert!(!error.to_string().contains(bad), "{error}");
    }
    assert!(!format!("{:?}", of("https://a-public-key@host/1")).contains("a-public-key"));
    assert!(!format!("{:?}", reporter("https://a-public-key@host/1")).contains("a-public-key"));
}

/// A Sentry that takes envelopes.
#[expect(clippy::disallowed_methods, reason = "a test owns its tasks")]
async fn receiver() -> (String, mpsc::UnboundedReceiver<(String, serde_json::Value)>) {
    type Sender = mpsc::UnboundedSender<(String, serde_json::Value)>;
    async fn take(State(sender): State<Sender>, headers: HeaderMap, body: Bytes) {
        let auth = headers["x-sentry-auth"].to_str().unwrap().to_owned();
        let text = String::from_utf8(body.to_vec()).unwrap();
        // Header, then a header and a payload for each item.
        let lines: Vec<&str> = text.lines().skip(1).collect();
        for item in lines.chunks(2) {
            let header: serde_json::Value = serde_json::from_str(item[0]).unwrap();
            if header["type"] == "event" {
                sender.send((auth.clone(), serde_json::from_str(item[1]).unwrap())).unwrap();
            }
        }
    }
    let (sender, received) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/api/42/envelope/", post(take)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (format!("http://a-public-key@{address}/42"), received)
}

#[tokio::test]
async fn r63_errors_panics_and_ends_arrive_and_storms_do_not() {
    let (dsn, mut received) = receiver().await;
    let metrics = telemetry::metrics();
    // Whatever the lines say: errors are reported also where none are printed.
    let guard = telemetry::init(LogFormat::Text, "off", Some(reporter(&dsn))).unwrap();

    for n in 0..1000 {
        tracing::error!(stage = "observe", error = SECRET, "frame {n} of `a body` is lost");
    }
    tracing::warn!("not an error");
    let (auth, report) = received.recv().await.unwrap();
    assert!(auth.contains("sentry_key=a-public-key"), "{auth}");
    assert_eq!(report["message"], "frame 0 of `…` is lost");
    assert_eq!(report["release"], "bellwether@0.0.1");
    assert_eq!(report["environment"], "test");
    assert_eq!(report["tags"]["role"], "console,triage-worker");
    assert_eq!(report["contexts"]["Rust Tracing Fields"]["error"], "[redacted]");
    let file = report["contexts"]["Rust Tracing Location"]["file"].as_str().unwrap();
    assert!(file.ends_with("reports/tests.rs"), "{file}");

    let (shutdown, controller) = Shutdown::new();
    let tasks = Tasks::new(controller);
    tasks.spawn("doomed", async { panic!("cannot read {:?}", "what was sent") });
    shutdown.stopping().await;
    let (_, panicked) = received.recv().await.unwrap();
    assert_eq!(panicked["exception"]["values"][0]["value"], "cannot read \"…\"");
    assert_eq!(panicked["level"], "fatal");
    let (_, ended) = received.recv().await.unwrap();
    assert_eq!(ended["message"], "task doomed panicked: cannot read \"…\"");

    guard.ended("listen on 127.0.0.1:9000: address in use");
    // Waits for what is on its way, which is sent from a thread of its own.
    tokio::task::spawn_blocking(move || drop(guard)).await.unwrap();
    let (_, last) = received.recv().await.unwrap();
    assert_eq!(last["message"], "the process ended: listen on 127.0.0.1:9000: address in use");
    assert!(
        received.try_recv().is_err(),
        "one report of a thousand, and one of each of the others"
    );
    let text = metrics.render();
    for line in [
        "bellwether_error_reports_total{outcome=\"queued\"} 4",
        "bellwether_error_reports_total{outcome=\"repeated\"} 999",
        "bellwether_error_reports_total{outcome=\"delivered\"} 4",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
