//! Published constructions of signatures, byte for byte.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::*;
use crate::providers::{group, lark};

/// Vectors of what is sent, and the file whose tests hold their value.
const ELSEWHERE: &[(&str, &str)] =
    &[("feishu-custom-bot-sign", "notifier-worker/src/channels/feishu.rs")];

/// Vectors of senders and channels there is nothing of.
const NOT_OURS: &[&str] = &["dingtalk-robot-sign", "wecom-callback-msg-signature"];

/// What a vector signs, as a request.
struct Vector<'a> {
    input: &'a Value,
    expected: &'a str,
}

impl Vector<'_> {
    fn text(&self, name: &str) -> &str {
        self.input[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.input))
    }

    /// Holds as it is; with one bit of the body or of the signature changed it does not.
    fn check(&self, provider: &str, headers: &[(&str, &str)], secret: &str, at: i64) {
        let says = |signature: &str, body: &[u8]| {
            let fill = |value: &str| value.replace("{}", signature);
            let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), fill(v))).collect();
            let received_at = Time::from_micros(at * 1_000_000);
            let request = Request { headers: &headers, body, received_at, ..Request::default() };
            let provider = by_name(provider).unwrap();
            let both = [
                Credential::Hmac { id: "s".into(), secret: secret.as_bytes().to_vec() },
                Credential::Token { id: "s".into(), token: secret.as_bytes().to_vec() },
            ];
            let usable: Vec<_> = both.into_iter().filter(|c| provider.accepts(c)).collect();
            provider.authenticate(&request, &usable).map(|_| ()).map_err(|refused| refused.code)
        };
        let body = self.text("body").as_bytes();
        let found = says(self.expected, body);
        // Some vectors are signed at no time at all, which is too old once the rest is right.
        let timeless = self.input["timestamp"].as_str().is_some_and(|t| t.parse::<i64>().is_err());
        let right = found == Ok(()) || (timeless && found == Err("signature_stale"));
        assert!(right, "{provider}: {found:?}");
        let mut altered = body.to_vec();
        altered[0] ^= 1;
        assert_eq!(says(self.expected, &altered), Err("signature_invalid"), "{provider}");
        let last = self.expected.len() - 4;
        let digit = if self.expected.as_bytes()[last] == b'0' { "1" } else { "0" };
        let flipped = format!("{}{digit}{}", &self.expected[..last], &self.expected[last + 1..]);
        assert_eq!(says(&flipped, body), Err("signature_invalid"), "{provider}");
    }
}

#[test]
fn published_constructions_hold() {
    let Some(corpus) = Corpus::open() else { return };
    let vectors: Value = serde_json::from_slice(&corpus.read("signature-vectors.json")).unwrap();
    for vector in vectors["vectors"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let (input, expected) = (&vector["input"], &vector["expected"]);
        if let Some((_, file)) = ELSEWHERE.iter().find(|(of, _)| *of == name) {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains(expected.as_str().unwrap()), "{name} is not in {file}");
            continue;
        }
        if NOT_OURS.contains(&name) {
            continue;
        }
        let vector = Vector { input, expected: expected.as_str().unwrap() };
        let provider = name.split('-').next().unwrap();
        if TO_COME.contains(&provider) {
            continue;
        }
        match name {
            "alertmanager-fingerprint" => {
                assert_eq!(group::fingerprint(Some(&input["labels"])), vector.expected);
            }
            "standard-webhooks-v1" => {
                let at = input["timestamp"].as_i64().unwrap();
                let time = at.to_string();
                let headers = [
                    ("webhook-id", vector.text("id")),
                    ("webhook-timestamp", time.as_str()),
                    ("webhook-signature", "{}"),
                ];
                for provider in ["standard-webhooks", "custom"] {
                    vector.check(provider, &headers, vector.text("secret"), at);
                }
            }
            "github-x-hub-signature-256" => {
                vector.check("github", &[("x-hub-signature-256", "{}")], vector.text("secret"), 0);
            }
            "slack-v0" => {
                let time = vector.text("timestamp");
                let headers = [("x-slack-request-timestamp", time), ("x-slack-signature", "{}")];
                vector.check("slack", &headers, vector.text("secret"), time.parse().unwrap());
            }
            "lark-aes-256-cbc" => {
                let sealed = BASE64_STANDARD.decode(vector.text("encrypt")).unwrap();
                let opened = lark::proof::decrypted(vector.text("encrypt_key").as_bytes(), &sealed);
                assert_eq!(opened.as_deref(), Some(vector.expected.as_bytes()));
            }
            "lark-event-signature" | "lark-legacy-card-signature" => {
                let headers = [
                    ("x-lark-request-timestamp", vector.text("timestamp")),
                    ("x-lark-request-nonce", vector.text("nonce")),
                    ("x-lark-signature", "{}"),
                ];
                let secret = ["encrypt_key", "verification_token"].map(|name| input[name].as_str());
                let secret = secret.into_iter().flatten().next().unwrap();
                vector.check("lark", &headers, secret, 0);
            }
            "grafana-hmac-with-timestamp" => {
                let headers = [
                    ("x-grafana-alerting-timestamp", vector.text("timestamp")),
                    ("x-grafana-alerting-signature", "{}"),
                ];
                vector.check("grafana", &headers, vector.text("secret"), 0);
            }
            "grafana-hmac-without-timestamp" => {
                let headers = [("x-grafana-alerting-signature", "{}")];
                vector.check("grafana", &headers, vector.text("secret"), 0);
            }
            "sentry-hook-signature" => {
                let headers = [("sentry-hook-signature", "{}")];
                vector.check("sentry", &headers, vector.text("secret"), 0);
            }
            other => panic!("nothing checks {other}"),
        }
    }
}
