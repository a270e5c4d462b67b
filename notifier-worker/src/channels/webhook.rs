//! The generic webhook: one JSON object, signed as Standard Webhooks 1.0.0 says
//! (standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`).

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use schemas::{event::Cause, job::SendKind};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    Channel, Form, Key, Need, Notification, Rate, Request, Response, Verdict, http_verdict,
};
use crate::config::{SigningKey, Target};

/// POSTs JSON under a key that stays the same when it is tried again, so that the receiver can tell
/// a repeat from news.
pub struct Webhook;

impl Channel for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn keys(&self) -> &'static [Key] {
        const REMEDY: &str = "use `whsec_` and the output of `openssl rand -base64 32`";
        &[
            Key {
                name: "url",
                need: Need::Must,
                form: Form::Address,
                remedy: "set it to where messages are to be sent",
            },
            Key { name: "secret", need: Need::Must, form: Form::WebhookSecret, remedy: REMEDY },
            Key {
                name: "previous_secret",
                need: Need::May,
                form: Form::WebhookSecret,
                remedy: REMEDY,
            },
        ]
    }

    fn can_edit(&self, _: &Target) -> bool {
        false
    }

    /// Each message says of itself what it changes.
    fn replaces(&self) -> bool {
        true
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn rate(&self) -> Rate {
        Rate { per_minute: 6_000, burst: 100 }
    }

    fn request(&self, notification: &Notification, target: &Target) -> Result<Request, String> {
        let id = notification.key.to_string();
        let timestamp = notification.attempted_at.micros().div_euclid(1_000_000);
        let body = body(notification).to_string().into_bytes();
        let signatures: Vec<String> =
            target.signing_keys().map(|key| signature(key, &id, timestamp, &body)).collect();
        if signatures.is_empty() {
            return Err("the channel has no secret to sign with".into());
        }
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ];
        Ok(Request::Http { method: Method::POST, url: target.url()?.clone(), headers, body })
    }

    fn outcome(&self, response: &Response) -> Verdict {
        match http_verdict(response) {
            Verdict::Delivered(_) if reports_error(&response.body) => Verdict::Retry {
                after: None,
                pause_target: false,
                reason: format!("status {}, but the body reports an error", response.status),
            },
            verdict => verdict,
        }
    }
}

/// The payload. Readers may meet further fields; those here stay.
fn body(n: &Notification) -> Value {
    let about = match n.kind {
        SendKind::Fire | SendKind::Resolve | SendKind::Update | SendKind::Remind => "incident",
        SendKind::Summary | SendKind::Test | SendKind::Reply => "message",
    };
    json!({
        "type": format!("{about}.{}", n.kind.word()),
        "timestamp": n.planned_at,
        "data": {
            "incident_id": n.incident,
            "number": n.number,
            "project": n.project,
            "kind": n.kind,
            "risk": n.risk.word(),
            "facts": n.facts,
            "analysis": n.analysis,
            "frequency": n.frequency,
            "cause": n.cause.map(why),
            "standing": n.standing,
            "summary": n.summary,
            "reply": n.reply,
            "tags": n.tags,
            "text": n.text,
        },
    })
}

/// Why the incident was opened, in the word of the API.
fn why(cause: Cause) -> &'static str {
    match cause {
        Cause::New => "new",
        Cause::Regression => "regression",
        Cause::Reappearance => "reappearance",
    }
}

/// `v1,` and the HMAC-SHA256 of `id.timestamp.body`.
fn signature(key: &SigningKey, id: &str, timestamp: i64, body: &[u8]) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("any length fits");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// True for a JSON object that says of itself that it failed, in one of the usual ways. Anything
/// else, an empty body included, leaves the verdict to the status.
fn reports_error(body: &[u8]) -> bool {
    let Ok(Value::Object(reply)) = serde_json::from_slice(body) else { return false };
    let is_false = |key: &str| reply.get(key) == Some(&Value::Bool(false));
    let is_code = |key: &str| reply.get(key).and_then(Value::as_i64).is_some_and(|n| n != 0);
    let says_failed = reply
        .get("status")
        .and_then(Value::as_str)
        .is_some_and(|word| ["error", "failed", "failure"].contains(&word));
    let names_error = match reply.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Bool(true) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
    };
    is_false("ok") || is_false("success") || is_code("errcode") || says_failed || names_error
}

#[cfg(test)]
mod tests {
    use schemas::Time;

    use super::*;
    use crate::{
        channels::tests::{notification, response},
        config::tests::target,
    };

    /// The example that Standard Webhooks libraries are tested against.
    #[test]
    fn the_published_example_is_signed_the_same() {
        let secret = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let key = SigningKey::from(STANDARD.decode(secret).unwrap());
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            signature(&key, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn a_retry_keeps_its_key_and_is_signed_afresh_by_every_secret() {
        let target = target("webhook", Some("https://hooks.example.com/x"));
        let again = Notification { attempted_at: Time::from_micros(0), ..notification() };
        let parts = |n: &Notification| match Webhook.request(n, &target).unwrap() {
            Request::Http { headers, body, .. } => (headers, body),
            Request::Print { .. } | Request::Mail(_) => panic!("not by HTTP"),
        };
        let ((first, body), (second, same)) = (parts(&notification()), parts(&again));
        let header = |headers: &[(&str, String)], name: &str| {
            headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()).unwrap()
        };
        assert_eq!(header(&first, "webhook-id"), notification().key.to_string());
        assert_eq!(header(&first, "webhook-id"), header(&second, "webhook-id"));
        assert_eq!(header(&first, "webhook-timestamp"), "1700000001");
        assert_ne!(header(&first, "webhook-signature"), header(&second, "webhook-signature"));
        assert_eq!(header(&first, "webhook-signature").split(' ').count(), 2);
        assert_eq!(body, same);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "incident.fire");
        assert_eq!(body["timestamp"], "2023-11-14T22:13:20Z");
        assert_eq!(body["data"]["number"], "INC-20260102-007");
        assert_eq!(body["data"]["kind"], "fire");
        assert_eq!(body["data"]["risk"], "HIGH");
        assert_eq!(body["data"]["facts"]["title"], "boom");
        assert_eq!(body["data"]["analysis"], Value::Null);
    }

    #[test]
    fn each_kind_of_message_has_its_type() {
        for (kind, expect) in [
            (SendKind::Fire, "incident.fire"),
            (SendKind::Resolve, "incident.resolve"),
            (SendKind::Update, "incident.update"),
            (SendKind::Remind, "incident.remind"),
            (SendKind::Summary, "message.summary"),
            (SendKind::Test, "message.test"),
            (SendKind::Reply, "message.reply"),
        ] {
            let n = Notification { kind, tags: vec!["a:b".into()], ..notification() };
            let body = body(&n);
            assert_eq!(
                (&body["type"], &body["data"]["kind"]),
                (&json!(expect), &json!(kind.word()))
            );
            assert_eq!(
                (&body["data"]["tags"], &body["data"]["text"]),
                (&json!(["a:b"]), &json!("text"))
            );
        }
    }

    #[test]
    fn a7_success_with_an_error_in_the_body_is_a_failure() {
        for (body, failed) in [
            ("", false),
            ("ok", false),
            ("{", false),
            ("[]", false),
            (r#"{"ok":true,"error":null,"errcode":0,"status":"success"}"#, false),
            (r#"{"status":"ok","error":"","code":200}"#, false),
            (r#"{"ok":false}"#, true),
            (r#"{"success":false}"#, true),
            (r#"{"status":"error"}"#, true),
            (r#"{"errcode":40001,"errmsg":"x"}"#, true),
            (r#"{"error":"bad"}"#, true),
            (r#"{"error":{"code":1}}"#, true),
        ] {
            let verdict = Webhook.outcome(&response(200, None, body));
            match verdict {
                Verdict::Retry { reason, .. } if failed => {
                    assert_eq!(reason, "status 200, but the body reports an error");
                }
                verdict => {
                    assert_eq!((verdict, failed), (Verdict::Delivered(None), false), "{body}")
                }
            }
        }
    }
}
