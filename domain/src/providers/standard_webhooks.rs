//! Anybody who signs by Standard Webhooks (github.com/standard-webhooks/standard-webhooks,
//! `spec/standard-webhooks.md`) and sends the shape it recommends: `type`, `timestamp` and `data`.
//!
//! Nothing but the signature lets a request in: `v1` by the shared secret, or `v1a` (ed25519) where
//! the configured secret is the sender's public key, `whpk_` and base64.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, prelude::BASE64_STANDARD};
use schemas::{
    Alert,
    alert::Stage,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Normalised, Outgoing, Proof, Provider, Reading, Refused, Request, Secret, Silence,
    auth, custom, json, sign,
};

const MISSING: Refused = Refused {
    code: "signature_missing",
    detail: "Missing webhook-id, webhook-timestamp or webhook-signature header",
};

/// What a sender's public key begins with.
const PUBLIC_KEY: &[u8] = b"whpk_";

/// Longest word at the end of a type that is taken for a status.
const MAX_WORD: usize = 16;

/// Signatures of one header that are compared; a sender has one per key it rotates.
const MAX_SIGNATURES: usize = 8;

/// See the module.
pub struct StandardWebhooks;

impl Provider for StandardWebhooks {
    fn name(&self) -> &'static str {
        "standard-webhooks"
    }

    fn title(&self) -> &'static str {
        "Standard Webhooks"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent", "webhook-id", "webhook-timestamp", "svix-id", "svix-timestamp"]
    }

    fn accepts(&self, credential: &Credential) -> bool {
        matches!(credential, Credential::Hmac { .. })
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Standard Webhooks secret missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let (public, shared): (Vec<_>, Vec<_>) =
            credentials.iter().cloned().partition(|c| public_key(c).is_some());
        let symmetric = auth::standard_webhooks(request, &shared).unwrap_or(Err(MISSING));
        match asymmetric(request, &public).filter(|_| symmetric.is_err()) {
            Some(id) if is_fresh(request) => {
                Ok(Auth { method: "standard_webhooks_ed25519".to_owned(), credential: Some(id) })
            }
            Some(_) => Err(auth::STALE),
            None => symmetric,
        }
    }

    fn sign(&self, outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        match secret {
            // Its private half is the sender's alone.
            Secret::Signing(secret) if secret.starts_with(PUBLIC_KEY) => None,
            Secret::Signing(secret) => sign::standard_webhooks(outgoing, secret),
            Secret::Basic { .. } | Secret::Bearer(_) | Secret::Token(_) => None,
        }
    }

    /// Events tell what happened, and seldom that it is over.
    fn silence(&self, _alert: &Alert) -> Silence {
        Silence::Over
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let (body, note) = match json::body(&delivery.raw) {
            Ok(parsed) => parsed,
            Err(reason) => return Normalised::Rejected { reason },
        };
        let word = json::text(&body, &["type"]).and_then(|kind| kind.rsplit('.').next());
        let is_test = word.is_some_and(|word| ["test", "ping"].contains(&word));
        let body = match reading.fields {
            // The paths of a mapping are those of the body as it is sent.
            Some(_) => body,
            None => flat(body),
        };
        let mut told = custom::generic(self.name(), body, note, delivery, reading);
        if let Normalised::Alerts { alerts, .. } = &mut told
            && is_test
        {
            alerts.iter_mut().for_each(|alert| alert.stage = Stage::Test);
        }
        told
    }
}

/// What a body says, and around it what it says of itself: the facts are looked for in `data`
/// first, and an end may be told by the last part of the type (`incident.resolved`).
fn flat(mut body: Value) -> Value {
    let Some(Value::Object(mut all)) = body.get_mut("data").map(Value::take) else { return body };
    let kind = json::text(&body, &["type"]).map(str::to_owned);
    let has_status = ["status", "state", "alert_state"].iter().any(|name| all.contains_key(*name));
    let word = kind.as_deref().and_then(|kind| kind.rsplit_once('.')).map(|(_, word)| word);
    // A word and nothing else: what is cut off a longer text is not known for a credential again.
    let plain =
        |word: &&str| word.len() <= MAX_WORD && word.bytes().all(|b| b.is_ascii_lowercase());
    if let Some(word) = word.filter(|_| !has_status).filter(plain) {
        all.insert("status".to_owned(), word.into());
    }
    for (name, value) in body.as_object().into_iter().flatten() {
        if name != "data" && !all.contains_key(name) {
            all.insert(name.clone(), value.clone());
        }
    }
    Value::Object(all)
}

/// The sender's public key, 32 bytes, where the credential is one.
fn public_key(credential: &Credential) -> Option<Vec<u8>> {
    let Credential::Hmac { secret, .. } = credential else { return None };
    let text = secret.strip_prefix(PUBLIC_KEY)?;
    BASE64_STANDARD.decode(text).ok()
}

/// A header of Standard Webhooks.
fn header<'a>(request: &Request<'a>, name: &str) -> Option<&'a str> {
    request.header(&format!("webhook-{name}"))
}

/// The public key under which one of the `v1a` signatures is that of id, time and body.
fn asymmetric(request: &Request<'_>, credentials: &[Credential]) -> Option<String> {
    let (id, timestamp) = (header(request, "id")?, header(request, "timestamp")?);
    let message = [id.as_bytes(), b".", timestamp.as_bytes(), b".", request.body].concat();
    let given: Vec<Vec<u8>> = header(request, "signature")?
        .split_ascii_whitespace()
        .filter_map(|signature| BASE64_STANDARD.decode(signature.strip_prefix("v1a,")?).ok())
        .take(MAX_SIGNATURES)
        .collect();
    let signs = |credential: &&Credential| {
        let Some(key) = public_key(credential) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, key);
        given.iter().any(|signature| key.verify(&message, signature).is_ok())
    };
    credentials.iter().find(signs).map(|credential| credential.id().to_owned())
}

fn is_fresh(request: &Request<'_>) -> bool {
    header(request, "timestamp").is_some_and(|signed| auth::is_fresh(signed, request))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use hmac::{Hmac, KeyInit, Mac};
    use schemas::{Status, Time};
    use serde_json::json;
    use sha2::Sha256;

    use super::*;
    use crate::providers::tests::{normalise, only};

    const SENT: i64 = 1_763_617_422;
    const BODY: &[u8] = br#"{"type":"disk.full","data":{"title":"Disk full"}}"#;

    fn message(id: &str) -> Vec<u8> {
        [format!("{id}.{SENT}.").as_bytes(), BODY].concat()
    }

    fn by_secret(secret: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(&message("msg_1"));
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }

    fn secret(id: &str, text: &str) -> Credential {
        Credential::Hmac { id: id.into(), secret: text.as_bytes().to_vec() }
    }

    fn check(headers: &[(&str, &str)], body: &[u8], with: &[Credential], age: i64, expected: &str) {
        let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let received_at = Time::from_micros((SENT + age) * 1_000_000);
        let request = Request { received_at, headers: &headers, body, ..Request::default() };
        let found = StandardWebhooks.authenticate(&request, with);
        let found = found.map_or_else(|refused| refused.code.to_owned(), |auth| auth.method);
        assert_eq!(found, expected, "{headers:?} {age}");
    }

    #[test]
    fn r11_only_a_signature_lets_a_request_in() {
        let key = BASE64_STANDARD.encode("sesame");
        let with = [secret("previous", "other"), secret("current", &format!("whsec_{key}"))];
        let sent = SENT.to_string();
        let right = by_secret(b"sesame");
        let signed = |signature: &str, age: i64, expected: &str| {
            let headers = [
                ("webhook-id", "msg_1"),
                ("webhook-timestamp", &sent),
                ("webhook-signature", signature),
            ];
            check(&headers, BODY, &with, age, expected);
        };
        signed(&right, 0, "standard_webhooks");
        signed(&format!("v1,AAAA {right}"), 300, "standard_webhooks");
        signed(&right, 301, "signature_stale");
        signed(&right, -301, "signature_stale");
        signed(&right[..right.len() - 4], 0, "signature_invalid");
        signed(&right.replacen("v1,", "v1a,", 1), 0, "signature_invalid");
        signed(&right.replacen("v1,", "v2,", 1), 0, "signature_invalid");
        signed(&by_secret(b""), 0, "signature_invalid");
        signed("", 0, "signature_invalid");

        let headers = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", sent.as_str()),
            ("webhook-signature", &right),
        ];
        let mut altered = BODY.to_vec();
        altered[3] ^= 1;
        check(&headers, &altered, &with, 0, "signature_invalid");
        // Swapped, missing and shown elsewhere.
        let swapped = [headers[0], ("webhook-timestamp", &right), ("webhook-signature", &sent)];
        check(&swapped, BODY, &with, 0, "signature_invalid");
        check(&headers[..2], BODY, &with, 0, "signature_missing");
        check(&[("authorization", "Bearer sesame")], BODY, &with, 0, "signature_missing");
        let other_id = [("webhook-id", "msg_2"), headers[1], headers[2]];
        check(&other_id, BODY, &with, 0, "signature_invalid");
        // An empty secret signs nothing that anybody could not sign.
        check(&headers, BODY, &[secret("empty", "")], 0, "signature_invalid");
    }

    #[test]
    fn r11_a_public_key_checks_ed25519() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = format!("whpk_{}", BASE64_STANDARD.encode(pair.public_key().as_ref()));
        let signature =
            format!("v1a,{}", BASE64_STANDARD.encode(pair.sign(&message("msg_1")).as_ref()));
        let sent = SENT.to_string();
        let headers = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", sent.as_str()),
            ("webhook-signature", &signature),
        ];
        let with = [secret("current", &public)];
        check(&headers, BODY, &with, 0, "standard_webhooks_ed25519");
        check(&headers, BODY, &with, 301, "signature_stale");
        check(&headers, b"{}", &with, 0, "signature_invalid");
        check(&headers, BODY, &[secret("a", "whpk_AAAA")], 0, "signature_invalid");
        // A public key is known to all: as a shared secret it signs nothing.
        let forged = by_secret(&BASE64_STANDARD.decode(&public[5..]).unwrap());
        check(
            &[headers[0], headers[1], ("webhook-signature", &forged)],
            BODY,
            &with,
            0,
            "signature_invalid",
        );
        let forged = by_secret(public.as_bytes());
        check(
            &[headers[0], headers[1], ("webhook-signature", &forged)],
            BODY,
            &with,
            0,
            "signature_invalid",
        );
    }

    #[test]
    fn facts_are_found_in_the_data_and_an_end_in_the_type() {
        let tell =
            |body: Value| normalise("standard-webhooks", &json!({}), body.to_string().as_bytes());
        let body = |kind: &str| {
            json!({"type": kind, "timestamp": "2025-11-20T05:43:42Z",
            "data": {"title": "Disk full", "severity": "high", "host": "db-1"}})
        };
        let fires = only(tell(body("disk.full.firing")));
        assert_eq!((fires.facts.title.as_str(), fires.facts.status), ("Disk full", Status::Firing));
        assert_eq!(fires.facts.target.as_deref(), Some("db-1"));
        let ends = only(tell(body("disk.full.resolved")));
        assert_eq!((ends.facts.status, ends.stage), (Status::Resolved, Stage::Resolved));
        assert_eq!(ends.identity, fires.identity);
        assert_eq!(only(tell(body("endpoint.test"))).stage, Stage::Test);
        assert_eq!(only(tell(json!({"type": "example.event"}))).facts.title, "example.event");
    }
}
