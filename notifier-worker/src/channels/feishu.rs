//! Feishu's and Lark's custom bot: a card, signed where the bot asks for it
//! (open.feishu.cn, "Use custom bots in groups").
//!
//! The bot answers 200 to nearly everything; what became of a message stands in `code`. It gives no
//! message id and knows no repeat.

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::notify::{Language, feishu_card, feishu_text};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    Channel, Form, Key, Need, Notification, Rate, Request, Response, Verdict, excerpt, is_said,
    retry_after, robot,
};
use crate::config::Target;

/// The bot takes bodies up to 20 KB; the smaller reading of it is kept to.
const MAX_BODY: usize = 20_000;

/// How many characters of a long text a card shows: tried one after the other until it fits.
const TEXT_LIMITS: [usize; 2] = [4_000, 500];

/// A text without a card is short: it stands in for one that was refused.
const PLAIN_LIMIT: usize = 2_000;

/// POSTs cards.
pub struct Feishu;

impl Channel for Feishu {
    fn kind(&self) -> &'static str {
        "feishu"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key {
                name: "url",
                need: Need::Must,
                form: Form::Address,
                remedy: "set it to the bot's webhook address",
            },
            Key {
                name: "secret",
                need: Need::May,
                form: Form::Secret { what: "it is empty", fits: is_said },
                remedy: "use the secret as the bot's settings show it, or remove the key",
            },
        ]
    }

    fn can_edit(&self, _: &Target) -> bool {
        false
    }

    fn idempotent(&self) -> bool {
        false
    }

    /// 100 a minute and 5 a second.
    fn rate(&self) -> Rate {
        Rate { per_minute: 100, burst: 5 }
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let shown = n.shown_number();
        let message = n.message(&shown);
        for limit in TEXT_LIMITS {
            let body = signed(feishu_card(&message, limit), n, target);
            if body.len() <= MAX_BODY {
                return post(body, target);
            }
        }
        self.plain(n, target)
    }

    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let mut text: String = n.text.chars().take(PLAIN_LIMIT).collect();
        if text.len() < n.text.len() {
            text.push('…');
        }
        post(signed(feishu_text(&text), n, target), target)
    }

    fn language(&self) -> Language {
        Language::SimplifiedChinese
    }

    fn outcome(&self, response: &Response) -> Verdict {
        let reply: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let code = ["code", "StatusCode"].iter().find_map(|key| reply[key].as_i64());
        let said = reply["msg"].as_str().or_else(|| reply["StatusMessage"].as_str());
        let by_code = |code| by_code(code, said.unwrap_or_default(), response);
        robot::coded(response, code, "a code", by_code)
    }
}

/// What a code other than 0 means: the bot has not taken the message.
fn by_code(code: i64, said: &str, response: &Response) -> Verdict {
    let reason = format!("code {code}: {}", excerpt(said));
    let advice = |advice: &str| Verdict::Refused(format!("{reason} ({advice})"));
    match code {
        // One code for a bad request and, in some versions, for too many.
        9499 if said.to_ascii_lowercase().contains("bad request") => Verdict::TryPlain(reason),
        // 99991400 and 230020 are the same limit as other parts of the API call it.
        9499 | 11232 | 99991400 | 230020 => {
            Verdict::Retry { after: retry_after(response), pause_target: true, reason }
        }
        19001 => advice("the url's token is wrong, or the bot was removed: set the channel's url"),
        19021 => advice(
            "the signature does not fit or its time is over an hour off: set the channel's \
             secret to the bot's, and check this machine's clock",
        ),
        19022 => advice("this machine's address is not on the bot's list of allowed addresses"),
        19024 => advice("the bot asks for a keyword that the message does not have"),
        // 11246 and 11310, and whatever else it has against a card.
        _ => Verdict::TryPlain(reason),
    }
}

fn post(body: Vec<u8>, target: &Target) -> Result<Request, String> {
    let headers = vec![("content-type", "application/json".to_owned())];
    Ok(Request::Http { method: Method::POST, url: target.url()?.clone(), headers, body })
}

/// The body as sent: with `timestamp` and `sign` where the channel has a secret.
fn signed(mut body: Value, n: &Notification, target: &Target) -> Vec<u8> {
    if let Some(secret) = target.secret("secret") {
        let timestamp = n.attempted_at.micros().div_euclid(1_000_000).to_string();
        body["sign"] = json!(sign(secret, &timestamp));
        body["timestamp"] = json!(timestamp);
    }
    body.to_string().into_bytes()
}

/// The HMAC-SHA256 of nothing under the key `timestamp LF secret`. Other robots that look alike
/// have key and message the other way round.
fn sign(secret: &SecretString, timestamp: &str) -> String {
    let key = [timestamp.as_bytes(), b"\n", secret.expose_secret().as_bytes()].concat();
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length fits");
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use schemas::job::SendKind;

    use super::*;
    use crate::{
        channels::tests::{notification, parts, response},
        config::tests::{feishu, target_of},
    };

    /// The example that the SDKs are tested against (go-lark/lark, `crypto_test.go`).
    #[test]
    fn the_published_example_is_signed_the_same() {
        let key = SecretString::from("xxx");
        assert_eq!(sign(&key, "1661860880"), "QnWVTSBe6FmQDE0bG6X0mURbI+DnvVyu1h+j5dHOjrU=");
    }

    #[test]
    fn r40_the_card_is_sent_with_a_signature_of_this_attempt() {
        let request = Feishu.request(&notification(), &feishu(Some("xxx"))).unwrap();
        let (_, headers, mut body) = parts(request);
        assert_eq!(headers, [("content-type", "application/json".to_owned())]);
        assert_eq!(body["timestamp"], "1700000001");
        assert_eq!(body["sign"], sign(&SecretString::from("xxx"), "1700000001"));
        let fields = body.as_object_mut().unwrap();
        fields.remove("timestamp");
        fields.remove("sign");

        let (_, _, unsigned) = parts(Feishu.request(&notification(), &feishu(None)).unwrap());
        assert_eq!(body, unsigned);
        assert_eq!(body["msg_type"], "interactive");
        let number = |n| parts(Feishu.request(n, &feishu(None)).unwrap()).2.to_string();
        let over = Notification { kind: SendKind::Resolve, ..notification() };
        assert!(number(&over).contains("INC-20260102-007"));
    }

    #[test]
    fn a6_what_is_too_long_is_cut_and_then_told_without_a_card() {
        let target = feishu(Some("xxx"));
        let sent = |n: &Notification| {
            let Ok(Request::Http { body, .. }) = Feishu.request(n, &target) else { panic!() };
            assert!(body.len() <= MAX_BODY, "{}", body.len());
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        let mut n = notification();
        // Each is five bytes in a card.
        n.facts.message = Some("*".repeat(5_000));
        let body = sent(&n);
        assert_eq!(body["msg_type"], "interactive");
        assert_eq!(body.to_string().matches("&#42;").count(), 500);

        n.facts.url = Some(format!("https://example.com/{}", "x".repeat(20_000)));
        n.text = "🦀".repeat(3_000);
        let body = sent(&n);
        assert_eq!(body["msg_type"], "text");
        let text = body["content"]["text"].as_str().unwrap();
        assert_eq!((text.chars().count(), text.ends_with('…')), (2_001, true));
    }

    fn check(status: u16, body: &str, expect: Verdict) {
        assert_eq!(Feishu.outcome(&response(status, None, body)), expect, "{status} {body}");
    }

    #[test]
    fn a7_what_each_answer_means() {
        let rate = |reason: &str| Verdict::Retry {
            after: None,
            pause_target: true,
            reason: reason.to_owned(),
        };
        let plain = |reason: &str| Verdict::TryPlain(reason.to_owned());
        check(200, r#"{"code":0,"msg":"success","data":{}}"#, Verdict::Delivered(None));
        check(200, r#"{"StatusCode":0,"StatusMessage":"success"}"#, Verdict::Delivered(None));
        let limited = r#"{"code":11232,"msg":"frequency limited psm"}"#;
        check(200, limited, rate("code 11232: frequency limited psm"));
        check(400, limited, rate("code 11232: frequency limited psm"));
        check(
            200,
            r#"{"code":9499,"msg":"too many request"}"#,
            rate("code 9499: too many request"),
        );
        check(200, r#"{"code":9499,"msg":"Bad Request"}"#, plain("code 9499: Bad Request"));
        check(200, r#"{"code":11246,"msg":"card"}"#, plain("code 11246: card"));
        check(200, r#"{"code":11310,"msg":"card"}"#, plain("code 11310: card"));
        check(200, r#"{"code":31415}"#, plain("code 31415: no words"));
        check(413, "", plain("status 413"));
        check(429, "", rate("status 429"));
        let ambiguous = |reason: &str| Verdict::Ambiguous(reason.to_owned());
        check(200, "", ambiguous("status 200 without a code"));
        check(200, "<html>", ambiguous("status 200 without a code"));
        check(200, r#"{"code":"0"}"#, ambiguous("status 200 without a code"));
        check(404, "", Verdict::Refused("status 404".to_owned()));
        for (code, named) in
            [(19001, "url"), (19021, "secret"), (19022, "address"), (19024, "keyword")]
        {
            let body = format!(r#"{{"code":{code},"msg":"why"}}"#);
            let Verdict::Refused(reason) = Feishu.outcome(&response(200, None, &body)) else {
                panic!("{code}")
            };
            assert!(reason.starts_with(&format!("code {code}: why (")), "{reason}");
            assert!(reason.contains(named), "{reason}");
        }
    }

    #[test]
    fn a_secret_of_any_form_is_taken() {
        let config = serde_json::json!({
            "kind": "feishu", "url": "https://open.feishu.cn/open-apis/bot/v2/hook/x",
            "secret": "whsec_is no base64",
        });
        assert!(target_of(config).unwrap().secret("secret").is_some());
    }
}
