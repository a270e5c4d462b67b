//! What alerts are made of, and must come out as it went in.

use std::{fs, path::PathBuf};

use super::*;

#[test]
fn r51_ordinary_text_survives() {
    for text in [
        "",
        // Identities.
        "8df98227bdd81384",
        "bb78c1407cea4519aa397afc059c793d",
        "trace_id=771a43a4192642f0b136d5159a501700 span_id=a1b2c3d4e5f60718",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "7a485448-a9e2-4c85-8a3c-4f44175783c9",
        "018c2f9e-7c1a-7b3e-9f5d-2a4b6c8d0e1f is the request id",
        "registry.test/shop/api@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
        "commit e5fa44f2b31c1fb553b6021e7360d07d5d91ff5e broke the build",
        "fingerprint 0f1e2d3c4b5a69788796a5b4c3d2e1f0, group {}:{alertname=\"InstanceDown\"}",
        "checkout-6d5f9c7b8-x2lkq",
        "task-runner-5c8f7d9b6d-abcde on ip-10-42-3-17.eu-west-1.compute.internal",
        "arn:aws:iam::123456789012:role/eks-node",
        "2020-08-08T14:32:08.326990857Z",
        "10.42.3.17:8080, [2001:db8::1]:443, fe80::1%eth0",
        "device 3c:22:fb:a1:b2:c3 is away",
        "ETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
        // Links.
        "http://pop-os:9090/graph?g0.expr=up+%3E+20&g0.tab=1",
        "https://prometheus.test/graph?g0.expr=sum%28rate%28auth_token_total%5B5m%5D%29%29&g0.tab=1",
        "https://sentry.io/organizations/o/issues/1/?referrer=webhooks_plugin",
        "https://medium.com/@someone/a-story",
        "https://grafana.example.org:3000/d/x?from=now-1h&to=now",
        "https://grafana.test:3000/alerting/list?user=a@b.test",
        "https://api.slack.com/messaging/webhooks",
        "see https://hooks.slack.com/services/ and /hooks/post-receive/update",
        "ssh://git@example.org/repo",
        "mail to ops@example.org, cc: dev@example.org",
        // Prose.
        "Invalid token: expected",
        "Invalid API key: not found",
        "basic authentication failed",
        "Basic configuration is missing; Bearer authentication required",
        "WWW-Authenticate: Bearer realm=\"shop\"",
        "Authorization: denied for this user",
        "authorization: required",
        "SyntaxError: Unexpected token < in JSON at position 0",
        "SyntaxError: Unexpected token '}', ...\"a\": 1,}\" is not valid JSON",
        "token_count=5 tokens used",
        "tokens=812 session=3 key=7",
        "12 tests pass, 3 fail: compass=north bypass: no pass=12",
        "run it with --token-file /run/x or --secret=",
        "x < password > y",
        "usage: login <user> <password> [file], <token> is optional",
        "cookies are required",
        "cookie: missing",
        "the session: closed, the key: missing, the secret: empty",
        "KeyError: 'customer_id'",
        "secret \"db-credentials\" not found",
        "MountVolume.SetUp failed for volume \"default-token-x7k2p\" : secret \"default-token-x7k2p\" not found",
        "kube_secret_info{namespace=\"shop\"} has no key",
        "rate(auth_token_requests_total{code=~\"5..\"}[5m]) > 0.1",
        "ERROR 1045 (28000): Access denied for user 'app'@'10.0.0.1' (using password: YES)",
        "FATAL: password authentication failed for user \"app\"",
        "duplicate key value violates unique constraint \"orders_pkey\"",
        "Key (id)=(7719) already exists.",
        "author: Jane Doe, keyword: sale, monkey: 3, turnkey=yes",
        "召回結果為空",
        "密码错误，请重试",
        // Placeholders, and what others redacted.
        "password=[Filtered] token: ******** secret=<redacted> api_key=${API_KEY}",
        "password=None, token=null, secret=%s, key=$KEY, pwd={{ pwd }}",
        // Stack traces and lines of code.
        "  File \"/srv/app/auth/token.py\", line 41, in get_token",
        "    at com.acme.auth.TokenFilter.doFilter(TokenFilter.java:88)",
        "    at Object.<anonymous> (/srv/app/node_modules/jsonwebtoken/verify.js:133:19)",
        "thread 'main' panicked at src/session/key.rs:12:9",
        "token::Kind::Secret => self.key(token),",
        "password = get_password()",
        "    token = response.token",
        "login(user=user, password=password)",
        "def login(user, password=None):",
        "secret = os.environ[",
        "if token == expected_token:",
        "interface User { password: string; token?: string }",
        "fn key(&self) -> Key { self.key }",
        "goroutine 17 [running]: main.(*Session).Close(0xc0000b6000)",
        "0x00007ff8a1b2c3d4 <+12>: callq 0x7ff8a1b2c3d4",
    ] {
        let (after, count) = Redactor::builtin().text(text);
        assert_eq!((&*after, count), (text, 0));
        assert!(matches!(after, Cow::Borrowed(_)), "{text} is copied");
    }
}

#[test]
fn r51_ordinary_fields_survive() {
    let value = json!({
        "labels": {
            "alertname": "KubePodCrashLooping", "pod": "checkout-6d5f9c7b8-x2lkq", "uid":
            "7a485448-a9e2-4c85-8a3c-4f44175783c9", "image":
            "registry.test/api@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "instance": "10.42.3.17:8080", "key": "cpu", "keyspace": "orders", "author": "jane",
            "trace_id": "771a43a4192642f0b136d5159a501700", "span_id": "a1b2c3d4e5f60718",
        },
        "tags": [["trace_id", "771a43a4192642f0b136d5159a501700"], ["commit",
            "e5fa44f2b31c1fb553b6021e7360d07d5d91ff5e"], ["key", "checkout"]],
        "fingerprint": ["bb78c1407cea4519aa397afc059c793d", "8df98227bdd81384"],
        "groupKey": "{}/{severity=\"critical\"}:{alertname=\"X\"}", "keys": ["a", "b"],
        "sort_key": "aB3dE5fG7hJ9kL1mN3pQ5r", "keyword": "sale", "monkey": 3, "sessions": 812,
        "nested": "{\"a\": 1.50, \"b\": [true, null], \"text\": \"x\\ny\"}",
    });
    let mut after = value.clone();
    assert_eq!(Redactor::builtin().value(&mut after), 0);
    assert_eq!(after, value);
}

/// The fields of published samples that hold credentials, or what senders take for one.
const CREDENTIALS: [&str; 9] =
    ["token", "Token", "SubscribeURL", "response_url", "session", "cookies", "'dsn'", "1", "code"];

#[test]
fn r51_published_payloads_lose_only_credentials() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let Ok(folders) = fs::read_dir(folder) else {
        println!("corpus not present, skipped");
        return;
    };
    let mut bodies = 0;
    for provider in folders.map(|f| f.unwrap().path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(provider).unwrap().map(|f| f.unwrap().path()) {
            let Ok(before) = serde_json::from_slice::<Value>(&fs::read(&file).unwrap()) else {
                continue;
            };
            let after = redacted(before.clone());
            bodies += 1;
            differences(&mut vec![], &before, &after, &mut |path, before, after| {
                let field = path.last().unwrap().as_str();
                let place = format!("{}: {}", file.display(), path.join("."));
                println!("{place}: {before} -> {after}");
                assert!(CREDENTIALS.contains(&field), "{place}: {before} -> {after}");
            });
        }
    }
    assert!(bodies > 20, "{bodies} bodies");
}

fn differences(
    path: &mut Vec<String>,
    before: &Value,
    after: &Value,
    told: &mut dyn FnMut(&[String], &Value, &Value),
) {
    match (before, after) {
        (Value::Object(b), Value::Object(a)) if b.len() == a.len() => {
            for ((name, b), a) in b.iter().zip(a.values()) {
                path.push(name.clone());
                differences(path, b, a, told);
                path.pop();
            }
        }
        (Value::Array(b), Value::Array(a)) if b.len() == a.len() => {
            for (n, (b, a)) in b.iter().zip(a).enumerate() {
                path.push(n.to_string());
                differences(path, b, a, told);
                path.pop();
            }
        }
        _ if before == after => {}
        _ => told(path, before, after),
    }
}
