//! R51, I8: credentials inside payloads, and the credentials of the sources themselves, leave the
//! input log nowhere: no table, no event, no answer of the API, no page, no message, no log line.

use std::fs;

use reqwest::redirect::Policy;
use schemas::{event::PartHeader, record::Body, subject};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use tests::{
    GENERATION,
    fleet::{ALERTMANAGER_PASSWORD, Fleet, OPERATOR_KEY, SENTRY_SECRET, sign},
    oracle,
};

use super::{Doors, EVERYTHING, basic, headers, records};

/// One of every kind that the rules know, each in a sentence.
#[path = "../../../domain/src/redact/tests/planted.rs"]
mod every;

/// Stands beside the secrets, and has to arrive everywhere: otherwise this looks nowhere.
const CANARY: &str = "canary-kqzvwx-7719";
/// Stands where no message and so no log line may quote a body.
const QUIET: &str = "quiet-hjwqfp-3306";

/// Fifteen kinds, put together here so that no scanner takes this file for a leak.
fn planted(of: &str) -> Vec<(&'static str, String)> {
    let random = |n: usize| format!("{of}{}", "q7Zx2Kp9Lm4Vb8Nc".repeat(6))[..n].to_owned();
    let upper = |n: usize| random(n).to_uppercase();
    vec![
        ("aws access key", format!("AKIA{}", upper(16))),
        ("aws secret key", random(40)),
        ("github token", format!("ghp_{}", random(36))),
        ("gitlab token", format!("glpat-{}", random(20))),
        ("slack token", format!("xoxb-{}", random(30))),
        ("stripe key", format!("sk_live_{}", random(24))),
        ("openai key", format!("sk-proj-{}", random(40))),
        ("google key", format!("AIza{}", random(35))),
        ("telegram bot token", format!("110201543:AA{}", random(33))),
        ("jwt", format!("eyJhbGciOi{0}.eyJzdWIi{0}.{0}", random(20))),
        ("private key", format!("MIIEow{}", random(60))),
        ("password in a url", format!("pw1{}", random(17))),
        ("bearer token", format!("br1{}", random(29))),
        ("cookie", format!("ck1{}", random(29))),
        ("named password", format!("np1{}", random(13))),
        ("password in text", format!("pt1{}", random(13))),
    ]
}

/// Sentences in which people and programs leak them, and then every kind there is.
fn leaks(of: &str, planted: &[(&'static str, String)]) -> Vec<String> {
    let leak = |(kind, secret): &(&'static str, String)| match *kind {
        "aws secret key" => format!("aws_secret_access_key = {secret}"),
        "private key" => {
            format!("-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----")
        }
        "password in a url" => format!("connect postgres://app:{secret}@db.internal:5432/shop"),
        "bearer token" => format!("curl -H 'Authorization: Bearer {secret}' https://x.test"),
        "cookie" => format!("Set-Cookie: sid={secret}; Path=/"),
        "named password" | "password in text" => format!("login with password={secret} failed"),
        _ => format!("{kind} {secret} was refused"),
    };
    planted.iter().map(leak).chain(every::planted(of).into_iter().map(|one| one.text)).collect()
}

fn secret<'a>(planted: &'a [(&'static str, String)], kind: &str) -> &'a str {
    &planted.iter().find(|(k, _)| *k == kind).unwrap().1
}

/// An error event with a secret wherever an event has room for one.
fn event(of: &str, planted: &[(&'static str, String)]) -> Value {
    let leaks = leaks(of, planted);
    let named = secret(planted, "named password");
    let all = leaks.join("\n");
    json!({"action": "created", "data": {"error": {
        "event_id": "5ec2e700000000000000000000000001", "issue_id": "51", "project": 1,
        "title": format!("{CANARY} {}", leaks[0]), "culprit": leaks[2], "level": "error",
        "environment": "production", "message": format!("{CANARY} {all}"),
        "web_url": format!("https://app:{}@sentry.test/issues/51/?token={}",
            secret(planted, "password in a url"), secret(planted, "bearer token")),
        "tags": [["note", leaks[3]], ["api_key", named], ["browser", CANARY]],
        "user": {"email": "a@b.test", "password": named, "session_id": named},
        "request": {
            "url": format!("https://x.test/?access_token={}", secret(planted, "bearer token")),
            "headers": [["Authorization", format!("Bearer {}", secret(planted, "bearer token"))],
                        ["Cookie", secret(planted, "cookie")], ["Accept", CANARY]],
            "cookies": [["sid", secret(planted, "cookie")]],
            "env": {"DB_PASSWORD": named}, "data": {"client_secret": named, "nested": [{"token": named}]},
        },
        "extra": {"note": QUIET, "lines": leaks, "json": json!({"password": named}).to_string()},
        "contexts": {"runtime": {"name": CANARY, "secrets": [named]}},
        "exception": {"values": [{
            "type": "LeakError", "value": all,
            "stacktrace": {"frames": [{
                "filename": "app/leak.py", "function": "leak", "lineno": 7, "in_app": true,
                "context_line": format!("    password = \"{named}\""),
                "vars": {"password": named, "line": leaks[5]},
            }]},
        }]},
        "breadcrumbs": {"values": leaks.iter().map(|l| json!({"message": l})).collect::<Vec<_>>()},
    }}})
}

/// A group whose annotations, labels and links hold them.
fn group(of: &str, planted: &[(&'static str, String)]) -> Value {
    let leaks = leaks(of, planted);
    let named = secret(planted, "named password");
    let lines = (0..).zip(&leaks).map(|(n, leak)| (format!("line_{n}"), json!(leak)));
    let mut annotations: serde_json::Map<String, Value> = lines.collect();
    annotations.insert("summary".into(), json!(format!("{CANARY} {}", leaks.join(" ; "))));
    annotations.insert("password".into(), json!(named));
    annotations.insert(format!("key {}", secret(planted, "github token")), json!("a name"));
    json!({"version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
    "commonAnnotations": {"description": leaks[1]},
    "alerts": [
        {"status": "firing", "annotations": annotations,
         "labels": {"alertname": CANARY, "severity": "critical", "api_key": named,
            "instance": format!("app:{}@host", secret(planted, "github token")),
            "dsn": leaks[11]},
         "generatorURL": format!("http://u:{}@prom.test/graph?token={}",
            secret(planted, "password in a url"), secret(planted, "bearer token")),
         "startsAt": "2026-01-01T00:00:00Z"},
        // Who it is may not hold it either.
        {"status": "firing", "labels": {"alertname": format!("Leak {}", leaks[4])},
         "annotations": {"description": leaks[10]},
         "fingerprint": secret(planted, "openai key"), "startsAt": "2026-01-01T00:00:00Z"},
    ]})
}

/// What is looked for, and where it was found.
struct Search {
    secrets: Vec<(String, String)>,
    places: usize,
    canary: usize,
    found: Vec<String>,
}

impl Search {
    fn look(&mut self, place: &str, text: &str) {
        self.places += 1;
        self.canary += usize::from(text.contains(CANARY));
        for (kind, secret) in &self.secrets {
            if text.contains(secret.as_str()) {
                self.found.push(format!("{kind} in {place}"));
            }
        }
    }

    /// Ends one kind of place; the canary has to be in it where `expected`.
    fn end(&mut self, what: &str, canary_expected: bool) {
        println!("{what}: {} looked at, the canary in {}", self.places, self.canary);
        assert!(self.places > 0, "{what}");
        assert_eq!(self.canary > 0, canary_expected, "{what}: the canary");
        (self.places, self.canary) = (0, 0);
    }

    /// Every column of every row of every table.
    async fn tables(&mut self, fleet: &Fleet) {
        let mut sql = fleet.world.sql().await;
        let columns = "select c.table_name::text, c.column_name::text, c.data_type::text
            from information_schema.columns c join pg_class t on t.relname = c.table_name
            where c.table_schema = 'public' and t.relkind = 'r'
            order by c.table_name, c.ordinal_position";
        for column in sqlx::query(columns).fetch_all(&mut sql).await.unwrap() {
            let (table, name, kind): (String, String, String) =
                (column.get(0), column.get(1), column.get(2));
            // Escaped bytes leave printable characters as they are.
            let text = match kind.as_str() {
                "bytea" => format!("encode(\"{name}\", 'escape')"),
                _ => format!("\"{name}\"::text"),
            };
            let query = format!("select coalesce({text}, '') from \"{table}\"");
            let rows: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut sql).await.unwrap();
            for row in rows {
                self.look(&format!("{table}.{name}"), &row);
            }
        }
    }
}

/// The first page, as an operator sees it.
async fn home_page(doors: &Doors) -> String {
    let url = format!("http://{}", doors.console);
    let browser = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let signed_in = browser
        .post(format!("{url}/sign-in"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", &url)
        .body(format!("key={OPERATOR_KEY}"))
        .send()
        .await
        .unwrap();
    assert_eq!(signed_in.status(), 303);
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let page = browser.get(format!("{url}/p/~/")).header("cookie", cookie).send().await.unwrap();
    assert_eq!(page.status(), 200);
    page.text().await.unwrap()
}

/// R51: everything settled, then every place is searched.
#[tokio::test(flavor = "multi_thread")]
async fn r51_planted_secrets_stay_in_the_input_log() {
    let doors =
        Doors::open(EVERYTHING, "[channels.terminal]\nkind = \"log\"\ntimeout_ms = 1500").await;
    let (of_event, of_group, of_query) = (planted("A"), planted("B"), planted("C"));
    let body = event("A", &of_event).to_string().into_bytes();
    let signature = sign(SENTRY_SECRET, &body);
    let pairs = headers(&[
        ("sentry-hook-resource", "error"),
        ("sentry-hook-signature", &signature),
        ("x-api-key", secret(&of_query, "named password")),
        ("cookie", secret(&of_query, "cookie")),
    ]);
    let path = format!("/webhook/sentry?token={}", secret(&of_query, "bearer token"));
    let accepted = doors.post(&path, &pairs, body.clone()).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    let authorization = basic("alertmanager", ALERTMANAGER_PASSWORD);
    let pairs = headers(&[("authorization", authorization.as_str())]);
    let group = group("B", &of_group).to_string().into_bytes();
    doors.accepted("/webhook/alertmanager", &pairs, &group).await;
    // What cannot be read, and who is not let in, are not quoted either.
    let broken = format!("{{\"password\": \"{}", secret(&of_query, "password in text"));
    doors.accepted("/webhook/alertmanager", &pairs, broken.as_bytes()).await;
    let wrong = headers(&[("authorization", &basic("alertmanager", secret(&of_query, "jwt")))]);
    assert_eq!(doors.post("/webhook/alertmanager", &wrong, group.clone()).await.status, 401);
    doors.fleet.settled().await;

    let mut secrets: Vec<(String, String)> = Vec::new();
    for (whose, planted) in [("event's", &of_event), ("group's", &of_group), ("query's", &of_query)]
    {
        secrets.extend(planted.iter().map(|(kind, s)| (format!("the {whose} {kind}"), s.clone())));
    }
    for (whose, of) in [("event's", "A"), ("group's", "B")] {
        for one in every::planted(of) {
            let what = format!("the {whose} {}", one.kind);
            secrets.extend(one.pieces.into_iter().map(|piece| (what.clone(), piece)));
        }
    }
    for (what, own) in [
        ("the sentry source's secret", SENTRY_SECRET),
        ("the alertmanager source's password", ALERTMANAGER_PASSWORD),
        ("its header", authorization.as_str()),
        ("the signature", signature.as_str()),
        ("the operator's key", OPERATOR_KEY),
        ("the channel's secret", doors.fleet.receiver.secret.as_str()),
    ] {
        secrets.push((what.to_owned(), own.to_owned()));
    }
    let mut search = Search { secrets, places: 0, canary: 0, found: Vec::new() };

    search.tables(&doors.fleet).await;
    search.end("columns of tables", true);
    let world = &doors.fleet.world;
    let events = subject::events_stream(&world.namespace, GENERATION);
    for message in oracle::everything(&*world.log().await, &events).await {
        let header = PartHeader::from_headers(|name| message.header(name)).unwrap();
        let events = header.unpack(&message.payload).unwrap();
        search.look("the events stream", &String::from_utf8_lossy(&events));
        search.look("the headers of events", &format!("{:?}", message.headers));
    }
    search.end("event messages", true);
    // The input log holds raw bodies and nothing else that was not redacted.
    let mut bodies = 0;
    for record in records(&doors.fleet).await {
        match record.body {
            Body::Delivery(delivery) => {
                bodies += usize::from(delivery.raw == body || delivery.raw == group);
                let (headers, route) = (&delivery.headers, &delivery.route);
                search.look("a kept header", &format!("{headers:?} {route} {:?}", delivery.auth));
            }
            Body::Answer(answer) => search.look("an answer", &format!("{answer:?}")),
            other => search.look("another record", &format!("{other:?}")),
        }
    }
    assert_eq!(bodies, 2, "the log has the bytes as sent");
    search.end("records beside the raw bodies", true);
    let seen = doors.fleet.receiver.seen();
    for (key, body) in &seen.accepted {
        search.look(&format!("message {key}"), &body.to_string());
    }
    assert_eq!(seen.accepted.len(), 3);
    search.end("messages", true);
    for project in ["shop", "infra"] {
        for path in [
            "events/recent",
            "events/dossier",
            "events/dossier/coverage",
            "events/dossier/recurrence",
            "incidents",
        ] {
            let path = format!("/api/v1/{path}?project_id={project}");
            let request = doors.fleet.client.get(format!("http://{}{path}", doors.console));
            let answer = request.bearer_auth(OPERATOR_KEY).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            search.look(&path, &answer.text().await.unwrap());
        }
    }
    search.look("/metrics", &doors.get("/metrics").await.text);
    search.end("answers of the API", true);
    search.look("the home page", &home_page(&doors).await);
    search.end("pages", true);
    for entry in fs::read_dir(world.dir.path()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("member-") {
            search.look(&name, &fs::read_to_string(entry.path()).unwrap());
        }
    }
    // The message of the log channel is there, and of the rest of a body nothing.
    search.end("log files", true);
    assert!(!doors.said().contains(QUIET), "a body is quoted in the log");
    let log = fs::read_to_string(world.dir.path().join("postgres/postgres.log")).unwrap();
    search.look("Postgres's log", &log);
    search.end("the database's log", false);
    assert_eq!(search.found, Vec::<String>::new());
}
