use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::json;

use super::*;

mod hostile;
mod leaks;
mod ordinary;
mod planted;
mod speed;

use planted::planted;

/// Redacts `before` and expects that nothing of `secret` is left and that `rule` took it.
#[track_caller]
fn check(before: &str, secret: &str, rule: &str) {
    let (after, count) = Redactor::builtin().text(before);
    assert!(!after.contains(secret), "{rule}: {before:?} -> {after:?}");
    assert!(after.contains(&format!("{MARK}{rule}]")), "{rule}: {before:?} -> {after:?}");
    assert!(count >= 1);
}

fn redacted(mut value: Value) -> Value {
    Redactor::builtin().value(&mut value);
    value
}

#[test]
fn r51_version_is_title_and_hash_of_the_rules() {
    let text = include_str!("rules.toml");
    let version = Redactor::builtin().version();
    assert!(version.starts_with("builtin-2-") && version.len() == 22, "{version}");
    let other = Redactor::parse(&format!("{text}\n# changed")).unwrap();
    assert_ne!(other.version(), version);
    assert!(Redactor::parse("title = 1").is_err());
}

#[test]
fn a_rule_that_could_not_work_is_refused() {
    let text = include_str!("rules.toml");
    let names = &text[..text.find("\n[[rules]]").unwrap()];
    let with = |rule: &str| match Redactor::parse(&format!("{names}\n[[rules]]\n{rule}")) {
        Ok(_) => panic!("{rule} is taken"),
        Err(error) => error.to_string(),
    };
    let rule = "id = \"x\"\ndescription = \"d\"\nregex = \"(a)b\"\n";
    assert_eq!(
        with(&format!("{rule}keywords = []")),
        "redaction rule x has no keyword, so it would never run"
    );
    assert_eq!(
        with(&format!("{rule}keywords = [\"b\"]\nsecretGroup = 2")),
        "redaction rule x names a group that its regex has not"
    );
    assert_eq!(
        with("id = \"x\"\ndescription = \" \"\nregex = \"a\"\nkeywords = [\"a\"]"),
        "redaction rule x has no description"
    );
    assert_eq!(
        with("id = \"x\"\ndescription = \"d\"\nregex = \"(\"\nkeywords = [\"a\"]"),
        "compile redaction rule x"
    );
    let one = format!("\n[[rules]]\n{rule}keywords = [\"b\"]");
    let many = Redactor::parse(&format!("{names}{}", one.repeat(129)));
    assert_eq!(many.err().unwrap().to_string(), "redaction rules: 129 rules, 128 are possible");
    let stemless = text.replacen("exact = [", "exact = [\"nostemhere\", ", 1);
    let error = Redactor::parse(&stemless).err().unwrap().to_string();
    assert_eq!(error, "redaction rule nostemhere holds none of the stems");
}

fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let encode = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(encode).collect()
}

/// How text gets where it is read, each with what of it.
fn wrapped(text: &str) -> Vec<(&'static str, String)> {
    let json = json!({"level": "error", "body": text, "n": 1}).to_string();
    let twice = json!({"inner": json}).to_string();
    let encoded = percent_encoded(text);
    vec![
        ("alone", text.to_owned()),
        ("in a line", format!("前 2026-11-20T08:43:01Z ERROR {text} (retry 3) 后")),
        ("in lines", format!("first line\n{text}\nlast line")),
        ("in json", json.clone()),
        ("in json in json", twice.clone()),
        ("in json that was cut", json[..json.len() - 1].to_owned()),
        ("in json in json that was cut", twice[..twice.len() - 1].to_owned()),
        ("in a list", format!("[{text}]")),
        ("percent-encoded", format!("https://h.test/x?q={encoded}")),
    ]
}

#[test]
fn r51_every_kind_is_taken_out_however_it_is_wrapped() {
    let mut failed = vec![];
    for one in planted("wrapped") {
        for (how, text) in wrapped(&one.text) {
            let (after, count) = Redactor::builtin().text(&text);
            let mut value = json!({"neutral": text, "list": [{"x": text}]});
            let counted = Redactor::builtin().value(&mut value);
            let all = format!("{after} {value}");
            if count == 0 || counted < 2 || one.pieces.iter().any(|piece| all.contains(piece)) {
                failed.push(format!("{} {how}: {text:?} -> {after:?}", one.kind));
            }
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(planted("").len() >= 30);
}

#[test]
fn r51_broken_bytes_and_nul_do_not_hide_a_secret() {
    let mut failed = vec![];
    for one in planted("broken") {
        let piece = &one.pieces[0];
        for put in ["\0", "\u{fffd}", "\u{200b}", "\u{ad}"] {
            let (head, tail) = piece.split_at(piece.len() / 2);
            let text = one.text.replace(piece.as_str(), &format!("{head}{put}{tail}"));
            assert_ne!(text, one.text);
            let (after, _) = Redactor::builtin().text(&text);
            let shown = after.replace(put, "");
            if one.pieces.iter().any(|piece| shown.contains(piece)) {
                failed.push(format!("{} {put:?}: {text:?} -> {after:?}", one.kind));
            }
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn r51_what_is_redacted_stays_as_it_is() {
    for one in planted("twice") {
        for (how, text) in wrapped(&one.text) {
            let (once, _) = Redactor::builtin().text(&text);
            assert_eq!(
                Redactor::builtin().text(&once),
                (Cow::Borrowed(&*once), 0),
                "{} {how}",
                one.kind
            );
        }
    }
}

#[test]
fn r51_rules_leave_what_is_no_secret() {
    check("postgres://app:hunter2@db:5432/x", "hunter2", "url_credentials");
    check("redis://:p@ss@cache:6379", "p@ss", "url_credentials");
    check("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz", "authorization_scheme");
    check("password=[redacted:field]hunter2", "hunter2", "field");
    for (before, after) in [
        ("postgres://app:hunter2@db:5432/x", "postgres://[redacted:url_credentials]@db:5432/x"),
        (
            "https://x/y?a=1&access_token=abc&b=2",
            "https://x/y?a=1&access_token=[redacted:field]&b=2",
        ),
        ("https://x/y?key=abc#frag", "https://x/y?key=[redacted:field]#frag"),
        ("login(user=a, password=hunter2)", "login(user=a, password=[redacted:field])"),
        ("{\"token\": \"abc\", \"n\": 1", "{\"token\": \"[redacted:field]\", \"n\": 1"),
        ("?next=password%3Dhunter2", "?next=password%3D[redacted:field]"),
        ("Authorization: Bearer abc failed", "Authorization: [redacted:field]"),
        ("got Authorization: Bearer abc failed", "got Authorization: [redacted:field] failed"),
        ("--token a1b2 --verbose", "--token [redacted:field] --verbose"),
        ("API_KEY=пароль", "API_KEY=[redacted:field]"),
        ("密码：hunter2，请检查", "密码：[redacted:field]，请检查"),
        ("sent Bearer abc123def456", "sent Bearer [redacted:authorization_scheme]"),
        (
            "/api/webhooks/ of https://discord.com/api/webhooks/1/aBcDeFgHiJkL",
            "/api/webhooks/ of https://discord.com/api/webhooks/1/[redacted:bot_url]",
        ),
        ("<key>Zk4Qw8Rt2Yp6Lm9Xc3Vb7Nd5</key>", "<key>[redacted:field]</key>"),
        ("password:\n  hunter2\nnext", "password:\n  [redacted:field]\nnext"),
        ("['app', '--api-key', 'hunter2']", "['app', '--api-key', '[redacted:field]']"),
        (
            r#"add key="password" value="hunter2" />"#,
            r#"add key="password" value="[redacted:field]" />"#,
        ),
        ("Password: Some(\"hunter2\")", "Password: Some(\"[redacted:field]\")"),
    ] {
        assert_eq!(Redactor::builtin().text(before).0, after);
    }
}

#[test]
fn r51_long_values_go_as_a_whole() {
    let long = "Zk4Qw8Rt2Yp6Lm9Xc3Vb7Nd5".repeat(100);
    for name in
        ["key=", "key= ", "key: ", "password=", "token: \"", "<key>", "Authorization: Bearer "]
    {
        let text = format!("{name}{long}");
        let (after, _) = Redactor::builtin().text(&text);
        assert!(!after.contains("Zk4Q") && !after.contains("Nd5"), "{name}: {after}");
    }
}

#[test]
fn r51_fields_go_by_name_whatever_they_hold() {
    let mut value = json!({
        "Authorization": "x", "X-Api-Key": 7, "dbPassword": ["a", {"b": "c"}], "set-cookie": "k=v",
        "SENTRY_DSN": "y", "user_session": {"id": 1}, "tags": [["token", "t"], ["browser", "Chrome"]],
        "headers": [["Cookie", "sid=1"]], "vars": [{"name": "secret", "value": "v"}],
        "rawHeaders": ["Host", "h", "Cookie", "sid=1", "Authorization", "y"],
        "attributes": [{"Key": "http.request.header.authorization", "Value": {"stringValue": "v"}}],
        "installation": {"code": "grant", "uuid": "u"},
        "token_count": 5, "max_tokens": 9, "code": "200", "has_password": true, "secret": null,
        "issue_id": "1170820242", "fingerprint": "8df98227bdd81384", "password": "[Filtered]",
        "access_token_expires_at": "2026-11-20", "groupKey": "{}:{alertname=\"X\"}",
    });
    let count = Redactor::builtin().value(&mut value);
    let gone = json!("[redacted:field]");
    assert_eq!(
        value,
        json!({
            "Authorization": gone, "X-Api-Key": gone, "dbPassword": gone, "set-cookie": gone,
            "SENTRY_DSN": gone, "user_session": gone, "tags": [["token", gone], ["browser", "Chrome"]],
            "headers": [["Cookie", gone]], "vars": [{"name": "secret", "value": gone}],
            "rawHeaders": ["Host", "h", "Cookie", gone, "Authorization", gone],
            "attributes": [{"Key": "http.request.header.authorization", "Value": gone}],
            "installation": {"code": gone, "uuid": "u"},
            "token_count": 5, "max_tokens": 9, "code": "200", "has_password": true, "secret": null,
            "issue_id": "1170820242", "fingerprint": "8df98227bdd81384", "password": "[Filtered]",
            "access_token_expires_at": "2026-11-20", "groupKey": "{}:{alertname=\"X\"}",
        })
    );
    assert_eq!(count, 13);
}

#[test]
fn r51_fields_go_by_what_their_names_hold_and_by_what_stands_beside_them() {
    for name in [
        "passwords",
        "password2",
        "password_hash",
        "newPasswordConfirmation",
        "DB_PASS",
        "pass",
        "PHP-Auth-PW",
        "SECRET_KEY_BASE",
        "api_key_1",
        "authToken2",
        "credentials_json",
        "ssh-key",
        "密码",
        "app_secret",
        "to\0ken",
        "pass\u{200b}word",
    ] {
        let text = redacted(json!({name: "s3cr3t"})).to_string();
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    let random = "Zk4Qw8Rt2Yp6Lm9Xc3Vb7Nd5";
    let hex = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    for value in [
        json!({"header": "Authorization", "values": ["s3cr3t"]}),
        json!({"name": "password", "val": "s3cr3t"}),
        json!({"args": ["app", "--token", "s3cr3t", "-v"]}),
        json!({"password": "[redacted:field] s3cr3t"}),
        json!({"credentials": "{\"user\":\"a\",\"x\":\"s3cr3tZ\"}", "secret": "{s3cr3tZ}"}),
        json!({"token": "${s3cr3tZ!}", "password": "<s3cr3tZ>"}),
        json!({"webhook_key": format!("s3cr3t{random}")}),
        json!([["service.auth", format!("s3cr3t{random}")]]),
        // Known by the name they go under.
        json!({"heroku": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "s": "s3cr3t"}),
        json!({"datadog_key": hex}),
        json!({"feishu_robot": "Zk4Qw8Rt2Yp6Lm9Xc3Vb7Nd5Zk4Qw8Rt"}),
        json!({"routing_key": hex}),
    ] {
        let text = redacted(value).to_string();
        for secret in ["s3cr3tZ", "\"s3cr3t\"]", hex, "0f1e2d3c-", "Zk4Qw8"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    for kept in [
        json!({"args": ["app", "--verbose", "yes"], "compass": "north", "bypass": "no"}),
        json!({"args": ["token", "bucket", "full"]}),
        json!({"password": "[redacted:field]"}),
        json!({"key": "checkout.error", "cache_key": random, "auth": null, "routing_key": "orders.created"}),
        json!({"datadog": "https://app.datadoghq.com/monitors/1", "trace_id": hex, "heroku_app": "shop"}),
    ] {
        assert_eq!(redacted(kept.clone()), kept);
    }
}

#[test]
fn r51_names_of_fields_are_redacted_and_none_is_lost() {
    let mut value = json!({"a\0b": "c\0d", "x password=hunter2": 1, "x password=hunter3": 2});
    assert_eq!(Redactor::builtin().value(&mut value), 4);
    let (name, gone) = ("x password=[redacted:field]", "[redacted:field]");
    assert_eq!(value, json!({"ab": "cd", name: gone, format!("{name}#1"): gone}));
}

proptest! {
    #[test]
    fn r51_redaction_never_panics_and_leaves_no_nul(
        parts in proptest::collection::vec(prop_oneof![
            Just("password="), Just("token: "), Just("Bearer "), Just("://u:p@"), Just("&key="),
            Just("eyJhbGciOiJI.eyJzdWIiOi.x"), Just("Authorization: "), Just("\""), Just("\\"),
            Just("[redacted:"), Just("cookie: "), Just("пар\0оль"), Just("12345678:"), Just("%3D"),
            Just("密码："), Just("<key>"), Just("key="), Just("<token>"), Just("--pwd "), Just("\u{1b}[3m"), Just("\u{200b}"), Just("%22"),
            Just("secret(\""), Just("\n"), Just("value: "), Just("{\""), Just("&quot;"), Just("%"),
        ], 0..8),
        noise in proptest::collection::vec(".{0,12}", 8),
    ) {
        let text: String =
            parts.iter().zip(&noise).flat_map(|(p, n)| [*p, n.as_str()]).collect();
        let (once, _) = Redactor::builtin().text(&text);
        prop_assert!(!once.contains('\0'));
        let (twice, _) = Redactor::builtin().text(&once);
        prop_assert!(!twice.contains('\0'));
        let mut value = json!({text.clone(): text, "list": [text, text]});
        Redactor::builtin().value(&mut value);
        prop_assert!(!value.to_string().contains("\\u0000"));
    }
}
