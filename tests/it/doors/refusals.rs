//! What is refused, with which words, and that nothing of it reaches the log.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::fleet::{ALERTMANAGER_PASSWORD, SENTRY_SECRET, sign};
use tokio::io::AsyncWriteExt;

use super::{Answer, Doors, basic, headers, rest, send};

/// The body cap of the default configuration.
const CAP: usize = 917_504;
/// Body deadline and header timeout of these tests.
const SHORT: Duration = Duration::from_secs(1);
/// A deadline is kept when the answer comes within this.
const SOON: Duration = Duration::from_secs(5);

const MISSING: &str =
    r#"{"code":"signature_missing","detail":"Missing sentry-hook-signature header"}"#;
const INVALID: &str = r#"{"code":"signature_invalid","detail":"Invalid sentry-hook-signature"}"#;
const NO_SECRET: &str = r#"{"code":"credentials_missing","detail":"SENTRY_WEBHOOK_SECRET missing in production environment"}"#;
const UNKNOWN: &str = r#"{"code":"unknown_source","detail":"unknown source"}"#;
const ENCODED: &str = r#"{"code":"encoding","detail":"content-encoding is not accepted: send gzip, zstd, or the body as it is"}"#;
const SLOW: &str = r#"{"code":"too_slow","detail":"the body did not arrive in time"}"#;
const TOO_LARGE: &str = r#"{"code":"too_large","detail":"the body is larger than 917504 bytes"}"#;

/// A production process of ingest and console alone: nobody writes ticks, so its log stays empty
/// for as long as nothing is accepted.
struct Refusing {
    doors: Doors,
    /// How many requests should be counted, by source and outcome.
    counted: BTreeMap<(&'static str, &'static str), u64>,
}

impl Refusing {
    async fn open() -> Self {
        let more = "
[sources.second]
provider = \"sentry\"
project = \"second\"
secret = \"another-secret\"

[sources.bare]
provider = \"sentry\"
project = \"bare\"

[sources.rotated]
provider = \"alertmanager\"
project = \"rotated\"
bearer = [{ id = \"blue\", key = \"the-blue-key\" }]
";
        let doors = Doors::changed("ingest,console", more, |text| {
            text.replace("environment = \"test\"", "environment = \"production\"").replace(
                "ingest.listen",
                "ingest.body_deadline = \"1s\"\ningest.header_timeout = \"1s\"\ningest.listen",
            )
        });
        Self { doors: doors.await, counted: BTreeMap::new() }
    }

    /// One request more with this outcome.
    fn count(&mut self, source: &'static str, outcome: &'static str) {
        *self.counted.entry((source, outcome)).or_default() += 1;
    }

    /// A post that must be answered exactly so.
    async fn check(
        &mut self,
        path: &str,
        pairs: &[(&str, &str)],
        (status, text): (u16, &str),
        counted: (&'static str, &'static str),
    ) -> Answer {
        let answer = self.doors.post(path, &headers(pairs), b"{}".to_vec()).await;
        assert_eq!((answer.status, answer.text.as_str()), (status, text), "{path} {pairs:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        self.count(counted.0, counted.1);
        answer
    }

    /// Bytes on a connection of their own that must be answered with this, and then closed.
    async fn check_raw(
        &mut self,
        bytes: &[u8],
        (status, text): (u16, &str),
        outcome: &'static str,
    ) {
        let mut stream = send(self.doors.ingest, bytes).await;
        let answer = rest(&mut stream).await;
        let first = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{first}: {answer}");
        assert!(answer.ends_with(text), "{first}: {answer}");
        self.count("sentry", outcome);
    }

    /// The counters are exactly what was sent, and the log holds nothing at all.
    async fn finish(self) {
        let metrics = self.doors.get("/metrics").await.text;
        let mut found: BTreeMap<(String, String), u64> = BTreeMap::new();
        for line in metrics.lines().filter(|l| l.starts_with("bellwether_ingest_requests_total{")) {
            let label = |name: &str| {
                let from = line.split_once(&format!("{name}=\"")).unwrap().1;
                from.split_once('"').unwrap().0.to_owned()
            };
            let value: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            if value > 0 {
                *found.entry((label("source"), label("outcome"))).or_default() += value;
            }
        }
        let expected = self.counted.iter().map(|((s, o), n)| ((s.to_string(), o.to_string()), *n));
        assert_eq!(found, expected.collect());
        let world = &self.doors.fleet.world;
        let stream = schemas::subject::deliveries_stream(&world.namespace);
        let info = world.log().await.info(&stream).await.unwrap();
        assert_eq!((info.messages, info.last_sequence), (0, 0), "nothing is appended on a refusal");
    }
}

/// The head of a signed sentry request, up to its last line.
fn head(more: &str) -> String {
    format!(
        "POST /webhook/sentry HTTP/1.1\r\nhost: a\r\nsentry-hook-resource: issue\r\n\
         sentry-hook-signature: {}\r\n{more}\r\n\r\n",
        sign(SENTRY_SECRET, b"{}")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_r11_what_does_not_prove_its_origin_is_401() {
    let mut refusing = Refusing::open().await;
    let (own, other) = (sign(SENTRY_SECRET, b"{}"), sign("another-secret", b"{}"));
    let altered = sign(SENTRY_SECRET, b"{ }");
    let counted = ("sentry", "unauthentic");
    for missing in [&[][..], &[("sentry-hook-signature", "")]] {
        refusing.check("/webhook/sentry", missing, (401, MISSING), counted).await;
    }
    for wrong in [&other, &altered, &own[..63], &format!("{own}0"), "zz", "v1,", "sha256="] {
        let pairs = [("sentry-hook-signature", wrong)];
        refusing.check("/webhook/sentry", &pairs, (401, INVALID), counted).await;
    }
    // A secret opens its own source only.
    let pairs = [("sentry-hook-signature", own.as_str())];
    let counted = ("second", "unauthentic");
    refusing.check("/webhook/sentry/second", &pairs, (401, INVALID), counted).await;

    let wrong = [
        basic("alertmanager", "wrong"),
        basic("somebody", ALERTMANAGER_PASSWORD),
        basic("alertmanager", ""),
        "Basic !!!".into(),
        format!("Bearer {ALERTMANAGER_PASSWORD}"),
        "Bearer ".into(),
        "Digest x".into(),
    ];
    let mut requests = vec![("/webhook/alertmanager", "alertmanager", None)];
    requests.extend(wrong.iter().map(|w| ("/webhook/alertmanager", "alertmanager", Some(w))));
    let (blue, green) = (basic("blue", "the-blue-key"), "Bearer the-green-key".to_owned());
    for wrong in [None, Some(&blue), Some(&green)] {
        requests.push(("/webhook/alertmanager/rotated", "rotated", wrong));
    }
    for (path, source, authorization) in requests {
        let pairs: Vec<_> =
            authorization.iter().map(|value| ("authorization", value.as_str())).collect();
        let answer = refusing.doors.post(path, &headers(&pairs), b"{}".to_vec()).await;
        assert_eq!(answer.status, 401, "{path} {authorization:?}: {}", answer.text);
        let said: Value = serde_json::from_str(&answer.text).unwrap();
        let code = said["code"].as_str().unwrap();
        assert!(code.starts_with("credentials_"), "{said}");
        let challenge = if source == "rotated" { "Bearer" } else { r#"Basic realm="bellwether""# };
        assert_eq!(answer.headers["www-authenticate"], challenge);
        refusing.count(source, "unauthentic");
    }
    refusing.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_without_a_secret_production_fails_closed() {
    let mut refusing = Refusing::open().await;
    let signature = sign("", b"{}");
    for pairs in [&[][..], &[("sentry-hook-signature", signature.as_str())]] {
        let counted = ("bare", "credentials_missing");
        let answer = refusing.check("/webhook/sentry/bare", pairs, (503, NO_SECRET), counted).await;
        assert_eq!(answer.headers["retry-after"], "60");
    }
    let ready = refusing.doors.get("/ready").await;
    assert_eq!(ready.status, 503);
    let said: Value = serde_json::from_str(&ready.text).unwrap();
    let part = &said["parts"]["source bare"];
    assert_eq!(part["state"], "not_ready", "{said}");
    assert_eq!(part["reason"], "SENTRY_WEBHOOK_SECRET missing in production environment");
    assert_eq!(refusing.doors.get("/health").await.status, 200, "the process is alive");
    let said = refusing.doors.said();
    let critical = said.lines().filter(|line| {
        line.contains("sentry_webhook_secret_missing_in_production")
            && line.contains("severity=\"critical\"")
    });
    assert_eq!(critical.count(), 1, "{said}");
    refusing.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_what_is_out_of_bounds_is_refused() {
    let mut refusing = Refusing::open().await;
    for path in [
        "/webhook/nobody",
        "/webhook/sentry/other",
        "/webhook/alertmanager/sentry",
        "/webhook/sentry/sentry%20",
    ] {
        let counted = ("unknown", "unknown_source");
        refusing.check(path, &[], (404, UNKNOWN), counted).await;
    }
    for path in ["/nowhere", "/webhook", "/webhook/", "/webhook/sentry/", "/webhook/a/b/c"] {
        let answer = refusing.doors.post(path, &[], b"{}".to_vec()).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        if answer.text == UNKNOWN {
            refusing.count("unknown", "unknown_source");
        }
    }
    for method in ["GET", "PATCH", "DELETE", "OPTIONS"] {
        let url = format!("http://{}/webhook/sentry", refusing.doors.ingest);
        let method = method.parse().unwrap();
        let answer = refusing.doors.fleet.client.request(method, url).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["allow"]),
            (405, &"POST, PUT".parse().unwrap())
        );
    }
    let signature = sign(SENTRY_SECRET, b"{}");
    for encoding in ["deflate", "br", "gzip, zstd", "compress"] {
        let pairs = [("content-encoding", encoding), ("sentry-hook-signature", &signature)];
        let counted = ("sentry", "encoding");
        refusing.check("/webhook/sentry", &pairs, (415, ENCODED), counted).await;
    }
    // Too large: announced with nothing behind it, sent whole, and in pieces of no announced size.
    let announced = head(&format!("content-length: {}", CAP + 1));
    refusing.check_raw(announced.as_bytes(), (413, TOO_LARGE), "too_large").await;
    let announced = head("content-length: 4611686018427387904");
    refusing.check_raw(announced.as_bytes(), (413, TOO_LARGE), "too_large").await;
    let pairs = headers(&[("sentry-hook-signature", signature.as_str())]);
    let whole = refusing.doors.post("/webhook/sentry", &pairs, vec![b' '; CAP + 1]).await;
    assert_eq!((whole.status, whole.text.as_str()), (413, TOO_LARGE));
    refusing.count("sentry", "too_large");
    let mut pieces = head("transfer-encoding: chunked").into_bytes();
    for _ in 0..=CAP / 0x10000 {
        pieces.extend_from_slice(b"10000\r\n");
        pieces.extend_from_slice(&[b' '; 0x10000]);
        pieces.extend_from_slice(b"\r\n");
    }
    refusing.check_raw(&pieces, (413, TOO_LARGE), "too_large").await;
    refusing.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_what_is_slow_is_ended() {
    let mut refusing = Refusing::open().await;
    // One byte of two, then nothing; and a byte now and then, which does not help.
    for trickle in [false, true] {
        let body: &[u8] = if trickle { b"content-length: 1000" } else { b"content-length: 2" };
        let started = Instant::now();
        let mut stream = send(refusing.doors.ingest, &{
            let mut bytes = head(std::str::from_utf8(body).unwrap()).into_bytes();
            bytes.push(b'{');
            bytes
        })
        .await;
        if trickle {
            while started.elapsed() < SHORT * 2 && stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let answer = rest(&mut stream).await;
        let spent = started.elapsed();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with(SLOW), "{answer}");
        assert!(spent >= SHORT && spent < SOON, "{spent:?}");
        refusing.count("sentry", "too_slow");
    }
    // A header that never ends, and a connection that says nothing, are closed.
    for bytes in [&b"POST /webhook/sentry HTTP/1.1\r\nhost:"[..], b""] {
        let started = Instant::now();
        let mut stream = send(refusing.doors.ingest, bytes).await;
        let answer = rest(&mut stream).await;
        let spent = started.elapsed();
        assert!(!answer.contains("HTTP/1.1 2"), "{answer}");
        assert!(spent >= SHORT / 2 && spent < SOON, "{spent:?}");
    }
    // Gone in the middle of the body: there is nobody to answer, but it is counted.
    drop(send(refusing.doors.ingest, head("content-length: 2").as_bytes()).await);
    refusing.count("sentry", "aborted");
    let started = Instant::now();
    while !refusing.doors.get("/metrics").await.text.lines().any(|line| {
        line.contains("source=\"sentry\"") && line.contains("aborted") && line.ends_with(" 1")
    }) {
        assert!(started.elapsed() < SOON, "the broken body is counted");
    }
    // Neither 16 KiB of header nor a hundred fields of it.
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "a".repeat(20_000));
    for field in [many, long] {
        let bytes = head(&format!("{field}content-length: 2"));
        let answer = rest(&mut send(refusing.doors.ingest, bytes.as_bytes()).await).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    refusing.finish().await;
}
