use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Redacts `before` and expects that nothing of `secret` is left and `kept` still stands.
fn check(before: &str, secret: &str, rule: &str) {
    let (after, count) = Redactor::builtin().text(before);
    assert!(!after.contains(secret), "{rule}: {before:?} -> {after:?}");
    assert!(after.contains(&format!("{MARK}{rule}]")), "{rule}: {before:?} -> {after:?}");
    assert!(count >= 1);
}

fn check_untouched(text: &str) {
    assert_eq!(Redactor::builtin().text(text), (Cow::Borrowed(text), 0));
}

#[test]
fn r51_version_is_name_and_hash_of_the_rules() {
    let text = include_str!("rules.toml");
    let version = Redactor::builtin().version();
    assert!(version.starts_with("builtin-1-") && version.len() == 22, "{version}");
    let other = Redactor::parse(&format!("{text}\n# changed")).unwrap();
    assert_ne!(other.version(), version);
    assert!(Redactor::parse("name = 1").is_err());
}

#[test]
fn r51_each_value_rule_takes_its_credential() {
    // Assembled from parts, so that no scanner takes this file for a leak.
    let long =
        |prefix: &str, n: usize| format!("{prefix}{}", "aB3dE5fG7h".repeat(9)[..n].to_owned());
    for (rule, secret) in [
        ("aws_access_key", "AKIA".to_owned() + "IOSFODNN7EXAMPLE"),
        ("github_token", long("ghp_", 36)),
        ("github_token", long("github_pat_", 40)),
        ("gitlab_token", long("glpat-", 20)),
        ("slack_token", long("xoxb-1234-", 24)),
        ("stripe_key", long("sk_live_", 24)),
        ("stripe_key", long("whsec_", 32)),
        ("openai_key", long("sk-", 48)),
        ("openai_key", long("sk-proj-", 48)),
        ("openai_key", long("sk-ant-api03-", 48)),
        ("google_key", long("AIza", 35)),
        ("sendgrid_key", long("SG.", 22) + &long(".", 43)),
        ("telegram_bot_token", long("110201543:AA", 33)),
        ("package_registry_token", long("npm_", 36)),
        ("package_registry_token", long("pypi-AgEIcHlwaS5vcmc", 40)),
        ("vendor_token", long("hf_", 34)),
        ("jwt", long("eyJhbGciOi", 12) + &long(".eyJzdWIi", 12) + &long(".", 20)),
    ] {
        check(&secret, &secret, rule);
        check(&format!("前 {secret} 后"), &secret, rule);
        check(&format!("error at \"{secret}\", again"), &secret, rule);
    }
    let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----";
    check(&format!("x {key} y"), "MIIEow", "private_key");
    check("-----BEGIN PRIVATE KEY-----\nMIIEcut", "MIIEcut", "private_key");
    let public = "0123456789abcdef".repeat(2);
    check(&format!("dsn https://{public}@o1.ingest.sentry.io/42"), &public, "sentry_dsn");
    check("postgres://app:hunter2@db:5432/x", "hunter2", "url_credentials");
    check("redis://:p@ss@cache:6379", "p@ss", "url_credentials");
    check("https://hooks.slack.com/services/T00/B00/abcdefghij", "abcdefghij", "bot_url");
    check("https://open.feishu.cn/open-apis/bot/v2/hook/aaaa-bbbb-cccc", "bbbb", "bot_url");
    check("/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/send", "AAHdq", "telegram_bot_token");
    check(
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "wJalr",
        "aws_secret_key",
    );
    check("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz", "authorization");
    check("sent Bearer abc123def456", "abc123def456", "authorization_scheme");
    check("Cookie: a=1; b=2", "b=2", "cookie");
    check("https://x/y?a=1&access_token=abc&b=2", "abc", "url_query");
    check("https://x/y?key=abc", "=abc", "url_query");
    check("password=hunter2", "hunter2", "password_assignment");
    check("db_password: hunter", "hunter", "password_assignment");
    check(r#"{"password": "two words"}"#, "words", "password_assignment");
    check(r#"{\"client_secret\":\"x1y2z3\"}"#, "x1y2z3", "secret_named");
    check("API_KEY=пароль", "пароль", "secret_assignment");
    check("?next=password%3Dhunter2", "hunter2", "password_assignment");
    check("DB_PASS=hunter2", "hunter2", "password_assignment");
    check("https://sk_abc123:@api.example.com/x", "sk_abc123", "url_credentials");
    check("https://dXNlcjpwYXNz@h/x", "dXNlcjpwYXNz", "url_credentials");
    check("mysqldump --password hunter2 shop", "hunter2", "option");
    check("['app', '--api-key', 'hunter2']", "hunter2", "option");
    check("<a:Password>hunter2</a:Password>", "hunter2", "element");
    check(r#"{"Cookie": "sid=1; b=2"}"#, "sid=1", "cookie");
    check(r#"{\"Set-Cookie\":\"sid=1\"}"#, "sid=1", "cookie");
    check("?h=Bearer%20abc123def456", "abc123def456", "authorization_scheme");
    // What only begins like a mark is none.
    check("password=[redacted:field]hunter2", "hunter2", "password_assignment");
}

#[test]
fn r51_prose_and_identities_survive() {
    for text in [
        "",
        "Invalid token: expected",
        "basic authentication failed",
        "SyntaxError: Unexpected token < in JSON at position 0",
        "token_count=5 tokens used",
        "8df98227bdd81384",
        "bb78c1407cea4519aa397afc059c793d",
        "2020-08-08T14:32:08.326990857Z",
        "{}:{alertname=\"InstanceDown\"}",
        "http://pop-os:9090/graph?g0.expr=up+%3E+20&g0.tab=1",
        "https://sentry.io/organizations/o/issues/1/?referrer=webhooks_plugin",
        "ssh://git@example.org/repo",
        "https://medium.com/@someone/a-story",
        "https://grafana.example.org:3000/d/x?from=now-1h&to=now",
        "12 tests pass, 3 fail: compass=north bypass: no",
        "run it with --token-file /run/x or --secret=",
        "x < password > y",
        "cookies are required",
        "召回結果為空",
    ] {
        check_untouched(text);
    }
}

#[test]
fn r51_fields_go_by_name_whatever_they_hold() {
    let mut value = json!({
        "Authorization": "x", "X-Api-Key": 7, "dbPassword": ["a", {"b": "c"}], "set-cookie": "k=v",
        "SENTRY_DSN": "y", "user_session": {"id": 1}, "tags": [["token", "t"], ["browser", "Chrome"]],
        "headers": [["Cookie", "sid=1"]], "vars": [{"name": "secret", "value": "v"}],
        "installation": {"code": "grant", "uuid": "u"},
        "token_count": 5, "max_tokens": 9, "code": "200", "has_password": true, "secret": null,
        "issue_id": "1170820242", "fingerprint": "8df98227bdd81384",
    });
    let count = Redactor::builtin().value(&mut value);
    let gone = json!("[redacted:field]");
    assert_eq!(
        value,
        json!({
            "Authorization": gone, "X-Api-Key": gone, "dbPassword": gone, "set-cookie": gone,
            "SENTRY_DSN": gone, "user_session": gone, "tags": [["token", gone], ["browser", "Chrome"]],
            "headers": [["Cookie", gone]], "vars": [{"name": "secret", "value": gone}],
            "installation": {"code": gone, "uuid": "u"},
            "token_count": 5, "max_tokens": 9, "code": "200", "has_password": true, "secret": null,
            "issue_id": "1170820242", "fingerprint": "8df98227bdd81384",
        })
    );
    assert_eq!(count, 10);
}

#[test]
fn r51_fields_go_by_what_their_names_hold_and_by_what_stands_beside_them() {
    let redacted = |mut value: Value| {
        Redactor::builtin().value(&mut value);
        value
    };
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
    ] {
        let text = redacted(json!({name: "s3cr3t"})).to_string();
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    for value in [
        json!({"header": "Authorization", "values": ["s3cr3t"]}),
        json!({"name": "password", "val": "s3cr3t"}),
        json!({"args": ["app", "--token", "s3cr3t", "-v"]}),
        json!({"password": "[redacted:field] s3cr3t"}),
    ] {
        let text = redacted(value).to_string();
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    for kept in [
        json!({"args": ["app", "--verbose", "yes"], "compass": "north", "bypass": "no"}),
        json!({"args": ["token", "bucket", "full"]}),
        json!({"password": "[redacted:field]"}),
    ] {
        assert_eq!(redacted(kept.clone()), kept);
    }
}

#[test]
fn r51_nul_characters_and_secret_names_are_dropped() {
    let mut value = json!({"a\0b": "c\0d", "x password=hunter2": 1});
    assert_eq!(Redactor::builtin().value(&mut value), 2);
    assert_eq!(value["ab"], "cd");
    assert!(!value.to_string().contains("hunter2"));
}

proptest! {
    #[test]
    fn r51_redaction_never_panics_and_leaves_no_nul(
        parts in proptest::collection::vec(prop_oneof![
            Just("password="), Just("token: "), Just("Bearer "), Just("://u:p@"), Just("&key="),
            Just("eyJhbGciOiJI.eyJzdWIiOi.x"), Just("Authorization: "), Just("\""), Just("\\"),
            Just("[redacted:"), Just("cookie: "), Just("пар\0оль"), Just("12345678:"), Just("%3D"),
        ], 0..8),
        noise in proptest::collection::vec(".{0,12}", 8),
    ) {
        let text: String =
            parts.iter().zip(&noise).flat_map(|(p, n)| [*p, n.as_str()]).collect();
        let (once, _) = Redactor::builtin().text(&text);
        prop_assert!(!once.contains('\0'));
        let (twice, _) = Redactor::builtin().text(&once);
        prop_assert!(!twice.contains('\0'));
    }
}
