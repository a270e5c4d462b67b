//! F11: authentic bodies that mean harm. Each is accepted, ends in exactly one named outcome, and
//! its neighbours are applied as if it were not there.

use serde_json::{Value, json};
use tests::{
    fleet::{ALERTMANAGER_PASSWORD, SENTRY_SECRET, sign},
    oracle,
};
use uuid::Uuid;

use super::{Doors, EVERYTHING, basic, headers, rest, send};

/// What becomes of a body.
enum Ends {
    /// Observed, with so many alerts; the effect of the first, and its title.
    Observed(usize, &'static str, String),
    /// Rejected, for a reason that begins so.
    Rejected(&'static str),
    /// Recorded, for this reason.
    Recorded(&'static str),
}
use Ends::{Observed, Recorded, Rejected};

struct Case {
    name: &'static str,
    provider: &'static str,
    body: Vec<u8>,
    ends: Ends,
}

/// A sentry issue whose title and further fields are given as JSON text.
fn issue(id: &str, title: &str, more: &str) -> Vec<u8> {
    format!(
        r#"{{"action":"created","data":{{"issue":{{"id":"{id}","title":{title},"level":"error",
        "culprit":"a.b","project":{{"id":"1","slug":"shop"}}{more}}}}}}}"#
    )
    .into_bytes()
}

/// An Alertmanager group of these alerts, given as JSON text.
fn group(alerts: &str) -> Vec<u8> {
    format!(
        r#"{{"version":"4","groupKey":"{{}}","status":"firing","receiver":"r","alerts":{alerts}}}"#
    )
    .into_bytes()
}

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

fn sentry(name: &'static str, body: impl Into<Vec<u8>>, ends: Ends) -> Case {
    Case { name, provider: "sentry", body: body.into(), ends }
}

fn alertmanager(name: &'static str, body: impl Into<Vec<u8>>, ends: Ends) -> Case {
    Case { name, provider: "alertmanager", body: body.into(), ends }
}

fn opened(title: &str) -> Ends {
    Observed(1, "opened", title.to_owned())
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        sentry(
            "NUL characters",
            issue(
                "nul",
                r#""a\u0000b""#,
                r#","meta\u0000":{"\u0000":"\u0000"},"tags":[["k\u0000","v\u0000"]]"#,
            ),
            opened("ab"),
        ),
        sentry("a NUL byte", issue("nul-byte", "\"a\0b\"", ""), Rejected("not_json: ")),
        sentry(
            "depth 110",
            issue("deep", "\"deep\"", &format!(",\"x\":{}", nested(110))),
            opened("deep"),
        ),
        sentry(
            "depth 200",
            issue("deeper", "\"x\"", &format!(",\"x\":{}", nested(200))),
            Rejected("not_json: recursion"),
        ),
        sentry("depth 400000", nested(400_000), Rejected("not_json: recursion")),
        sentry(
            "duplicate keys",
            r#"{"action":"resolved","action":"created","data":{"issue":{"id":"one","id":"two","title":"first","title":"last","project":{"id":"1"}}}}"#,
            opened("last"),
        ),
        sentry(
            "1e400",
            issue("huge", "\"x\"", ",\"count\":1e400"),
            Rejected("not_json: number out of range"),
        ),
        sentry(
            "2^70",
            issue("large", "\"large\"", ",\"count\":1180591620717411303424,\"userCount\":-1"),
            opened("large"),
        ),
        sentry(
            "CR and LF",
            issue(
                "crlf\\r\\nx-a: 1",
                r#""a\r\nHTTP/1.1 200 OK\r\n\r\nb""#,
                r#","shortId":"A\r\nB""#,
            ),
            opened("a\r\nHTTP/1.1 200 OK\r\n\r\nb"),
        ),
        sentry(
            "lone surrogates",
            issue("lone", r#""a\ud800b\udfff""#, ""),
            opened("a\u{fffd}b\u{fffd}"),
        ),
        sentry("broken UTF-8", broken(), opened("a\u{fffd}b")),
        sentry(
            "a byte order mark",
            [&b"\xEF\xBB\xBF"[..], &issue("mark", "\"mark\"", "")].concat(),
            opened("mark"),
        ),
        sentry(
            "terminal and bidi controls",
            issue("esc", r#""\u001b[2J\u202egone\u0007""#, ""),
            opened("\u{1b}[2J\u{202e}gone\u{7}"),
        ),
        sentry(
            "a long title",
            issue("long", &format!("\"{}\"", "t".repeat(600_000)), ""),
            opened(&"t".repeat(1024)),
        ),
        sentry("a long id", issue(&"9".repeat(300_000), "\"long id\"", ""), opened("long id")),
        sentry(
            "20,000 tags",
            issue(
                "tags",
                "\"tags\"",
                &format!(
                    ",\"tags\":[{}[\"a\",\"b\"]]",
                    "[\"name\",\"a value of it\"],".repeat(20_000)
                ),
            ),
            opened("tags"),
        ),
        sentry(
            "times out of all bounds",
            issue(
                "times",
                "\"times\"",
                r#","firstSeen":"9999-12-31T23:59:59.999999Z","lastSeen":"-009998-01-01T00:00:00Z""#,
            ),
            opened("times"),
        ),
        sentry(
            "wrong types everywhere",
            r#"{"action":[],"data":{"issue":{"id":"types","title":7,"culprit":{},"level":[],"tags":"x","count":{},"project":9,"firstSeen":true}}}"#,
            opened("Unknown Error"),
        ),
        sentry("no data", r#"{"action":"created","data":null}"#, Rejected("missing_issue_id")),
        sentry(
            "a comment's body",
            r#"{"action":"created","data":{"comment":"x"}}"#,
            Rejected("resource_mismatch: "),
        ),
        sentry(
            "an issue nobody asked about",
            r#"{"action":"renamed","data":{"issue":{"id":"renamed"}}}"#,
            Recorded("unknown_action: issue"),
        ),
        alertmanager(
            "alerts that are none",
            group(&format!("[{}null]", "7,".repeat(9_999))),
            Rejected("bad_alerts: 10000 of 10000"),
        ),
        alertmanager(
            "one alert among nonsense",
            group(r#"[7,null,[],{"labels":{"alertname":"among"}},"x"]"#),
            opened("among"),
        ),
        alertmanager("a huge label set", group(&huge_labels()), opened("Huge")),
        alertmanager(
            "1,200 alerts of one problem",
            group(&format!(
                "[{}]",
                [r#"{"status":"firing","labels":{"alertname":"Many"}}"#; 1_200].join(",")
            )),
            Observed(1_200, "opened", "Many".into()),
        ),
        alertmanager(
            "labels of every type",
            group(
                r#"[{"labels":{"":"empty","alertname":"Types","n":1e308,"o":{"a":[1]},"x":null,"\u0000":"\u0000"},"annotations":[1,2],"startsAt":7,"endsAt":{},"generatorURL":"javascript:alert(1)"}]"#,
            ),
            opened("Types"),
        ),
        alertmanager(
            "CR and LF in the fingerprint",
            group(
                r#"[{"labels":{"alertname":"Crlf"},"fingerprint":"a\r\nNats-Msg-Id: 1","startsAt":"2999-01-01T00:00:00Z"}]"#,
            ),
            opened("Crlf"),
        ),
        alertmanager("no group", r#"{"alerts":{"0":{}}}"#, Rejected("missing_alerts")),
    ];
    for (name, body, reason) in [
        ("an empty body", "", "not_json: EOF"),
        ("blanks", " \r\n\t", "not_json: EOF"),
        ("half a body", r#"{"action":"created","da"#, "not_json: EOF"),
        ("an array", "[]", "not_an_object"),
        ("a text", r#""{\"action\":\"created\"}""#, "not_an_object"),
        ("null", "null", "not_an_object"),
        ("two bodies", "{}{}", "not_json: trailing characters"),
    ] {
        cases.push(sentry(name, body, Rejected(reason)));
        cases.push(alertmanager(name, body, Rejected(reason)));
    }
    cases
}

/// A title that is no UTF-8.
fn broken() -> Vec<u8> {
    let text = issue("utf8", "\"a#b\"", "");
    text.into_iter().map(|byte| if byte == b'#' { 0xFF } else { byte }).collect()
}

fn huge_labels() -> String {
    let labels: Vec<String> =
        (0..8_000).map(|n| format!("\"label_{n}\":\"a value that takes room {n}\"")).collect();
    format!("[{{\"labels\":{{\"alertname\":\"Huge\",{}}}}}]", labels.join(","))
}

struct Poisoned {
    doors: Doors,
}

impl Poisoned {
    async fn send(&self, provider: &str, body: &[u8]) -> Uuid {
        let headers = match provider {
            "sentry" => headers(&[
                ("sentry-hook-resource", "issue"),
                ("sentry-hook-signature", &sign(SENTRY_SECRET, body)),
            ]),
            _ => headers(&[("authorization", &basic("alertmanager", ALERTMANAGER_PASSWORD))]),
        };
        self.doors.accepted(&format!("/webhook/{provider}"), &headers, body).await
    }

    /// A good body right behind a bad one.
    async fn neighbour(&self, provider: &str, n: usize) -> Uuid {
        let body = match provider {
            "sentry" => issue(&format!("neighbour-{n}"), "\"neighbour\"", ""),
            _ => group(&format!(r#"[{{"labels":{{"alertname":"neighbour","n":"{n}"}}}}]"#)),
        };
        self.send(provider, &body).await
    }

    async fn check(&self, case: &Case, id: Uuid) {
        let delivery = self.doors.delivery(id).await;
        let alerts = delivery["alerts"].as_array().unwrap();
        let (outcome, reason) = (delivery["outcome"].as_str().unwrap(), &delivery["reason"]);
        let is = || format!("{}: {outcome} {reason}, {} alerts", case.name, alerts.len());
        let begins = |with: &str| reason.as_str().is_some_and(|r| r.starts_with(with));
        match &case.ends {
            Observed(count, effect, title) => {
                assert_eq!((outcome, alerts.len()), ("observed", *count), "{}", is());
                assert_eq!(
                    (&alerts[0]["effect"], &alerts[0]["title"]),
                    (&json!(effect), &json!(title))
                );
                for other in &alerts[1..] {
                    assert_eq!(other["effect"], "repeated", "{}", is());
                }
            }
            Rejected(with) => {
                assert_eq!((outcome, alerts.len()), ("rejected", 0), "{}", is());
                assert!(begins(with), "{}", is());
            }
            Recorded(with) => {
                assert_eq!((outcome, alerts.len()), ("recorded", 0), "{}", is());
                assert!(begins(with), "{}", is());
            }
        }
    }
}

/// F11, R1, R23, I2.
#[tokio::test(flavor = "multi_thread")]
async fn f11_no_body_harms_its_neighbours() {
    let poisoned = Poisoned { doors: Doors::open(EVERYTHING, "").await };
    let mut sent = Vec::new();
    for (n, case) in cases().into_iter().enumerate() {
        let id = poisoned.send(case.provider, &case.body).await;
        sent.push((case.name, poisoned.neighbour(case.provider, n).await, id, case));
    }
    poisoned.doors.fleet.settled().await;
    for (name, neighbour, id, case) in &sent {
        poisoned.check(case, *id).await;
        let neighbour = poisoned.doors.delivery(*neighbour).await;
        assert_eq!(neighbour["alerts"][0]["effect"], "opened", "behind {name}: {neighbour}");
    }
    println!("{} bodies, each with a neighbour", sent.len());
    let mut doors = poisoned.doors;
    let parked: i64 = sqlx::query_scalar("select count(*) from parked")
        .fetch_one(&mut doors.fleet.world.sql().await)
        .await
        .unwrap();
    assert_eq!(parked, 0, "no provider needs to give up on any of these");
    // Whatever stands in a message, its receiver can read it.
    let seen = doors.fleet.receiver.seen();
    assert_eq!(seen.invalid, Vec::<String>::new());
    assert!(!doors.said().contains("panicked"), "{}", doors.said());
    doors.fleet.stop_all();
    oracle::check(&doors.fleet.world).await;
}

/// F11: what HTTP itself can carry. Each request gets one answer below 500, none smuggles another.
#[tokio::test(flavor = "multi_thread")]
async fn f11_no_header_harms_the_edge() {
    let doors = Doors::open(EVERYTHING, "").await;
    let body = issue("headers", "\"headers\"", "");
    let signature = sign(SENTRY_SECRET, &body);
    let request = |more: &[u8]| {
        let mut bytes = format!(
            "POST /webhook/sentry HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
             sentry-hook-signature: {signature}\r\ncontent-length: {}\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(more);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        bytes
    };
    let key = b"idempotency-key: 0123456789abcdef\r\n";
    for (name, more, expect) in [
        ("nothing", &b""[..], &[202][..]),
        ("a value that is no text", b"request-id: \xff\xfe\r\n", &[202]),
        ("a resource that is no word", b"sentry-hook-resource: \xc3\x28<script>\r\n", &[202]),
        ("a bare CR in a value", b"idempotency-key: a\rNats-Msg-Id: 1\r\n", &[400]),
        ("NUL in a value", b"idempotency-key: a\0b\r\n", &[400]),
        ("a folded value", b"idempotency-key: a\r\n b\r\n", &[400, 202]),
        ("a name with a blank", b"idempotency key: a\r\n", &[400]),
        ("a second length", b"content-length: 1\r\n", &[400]),
        ("a length and pieces", b"transfer-encoding: chunked\r\n", &[400, 401]),
        ("a second signature", b"sentry-hook-signature: 00\r\n", &[202]),
        ("an escape in the delivery's id", b"idempotency-key: \x1b[2Jabcdefgh\r\n", &[400, 202]),
        ("a second delivery id", &[&key[..], &key[..]].concat(), &[202]),
    ] {
        let answer = rest(&mut send(doors.ingest, &request(more)).await).await;
        let status: u16 = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        assert!(expect.contains(&status), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
    }
    for path in ["/webhook/sentry%0d%0ax", "/webhook/%00", "/webhook/%2e%2e", "/webhook/sentry/%ff"]
    {
        let answer = doors.post(path, &[], body.clone()).await;
        assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
    }
    doors.fleet.settled().await;
    // All are the same issue: one incident, whatever came with it.
    let log = doors.in_log().await;
    let mut incidents = std::collections::BTreeSet::new();
    for id in log.keys() {
        let delivery: Value = doors.delivery(*id).await;
        for alert in delivery["alerts"].as_array().unwrap() {
            incidents.insert(alert["incident_id"].as_str().unwrap().to_owned());
        }
    }
    assert!(log.len() >= 5 && incidents.len() == 1, "{} {incidents:?}", log.len());
    assert!(!doors.said().contains("panicked"), "{}", doors.said());
}
