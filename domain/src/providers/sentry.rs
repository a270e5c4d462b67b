//! Sentry's integration platform (internal and public apps), and its legacy "WebHooks" plugin.
//!
//! The plugin signs nothing: it is let in by basic or bearer credentials in its source's URL or
//! proxy, and its flat body is known by its shape.
//!
//! The signature covers the body and nothing else, so neither the resource header nor any
//! timestamp header is believed: the header only says which shape to expect, and a body of another
//! shape is refused. `Request-ID` changes with every attempt and is no delivery key.

use schemas::record::{Auth, Delivery};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Credential, DeliveryKey, NamedChannel, Normalised, Outgoing, Own, Proof, Provider, Reading,
    Refused, Reply, Request, Secret, auth, json, sign,
};
use crate::redact::Redactor;

mod issue;
mod metric;
mod own;
mod shape;
mod stack;
#[cfg(test)]
mod tests;

use shape::{Verdict, shape};

/// What names a bot in the plugin's address, and the kind of channel that is one.
const BOT: &str = "feishu";

/// Where the plugin sends to, by a path of its own.
const HOOK: &str = "/hook";

const MISSING: Refused =
    Refused { code: "signature_missing", detail: "Missing sentry-hook-signature header" };
const INVALID: Refused =
    Refused { code: "signature_invalid", detail: "Invalid sentry-hook-signature" };

/// See the module.
pub struct Sentry;

impl Provider for Sentry {
    fn name(&self) -> &'static str {
        "sentry"
    }

    fn title(&self) -> &'static str {
        "Sentry"
    }

    fn version(&self) -> u32 {
        4
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[
            "sentry-hook-resource",
            "sentry-hook-timestamp",
            "request-id",
            "idempotency-key",
            "user-agent",
        ]
    }

    fn accepts(&self, credential: &Credential) -> bool {
        !matches!(credential, Credential::Entra { .. })
    }

    fn paths(&self) -> &'static [&'static str] {
        &[HOOK]
    }

    fn missing_secret_detail(&self) -> &'static str {
        "SENTRY_WEBHOOK_SECRET missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let signature = request.header("sentry-hook-signature").unwrap_or_default().trim();
        let (by_signature, by_authorization) = auth::kinds(credentials);
        let asks = signature.is_empty() && request.shows_credential();
        if by_authorization && (asks || !by_signature) {
            return auth::authorization(request, credentials);
        }
        if signature.is_empty() {
            return Err(MISSING);
        }
        auth::hmac_hex(signature, &[request.body], credentials).ok_or(INVALID)
    }

    fn sign(&self, outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        let Secret::Signing(secret) = secret else { return sign::shown(secret) };
        let signature = sign::hmac_hex(secret, &[outgoing.body])?;
        Some(Proof::headers([("sentry-hook-signature", signature)]))
    }

    fn reply(&self, request: &Request<'_>) -> Reply {
        match request.path {
            HOOK => Reply::Created,
            _ => Reply::Accepted,
        }
    }

    /// The plugin's address could say which bot tells of its alerts (R5).
    fn channel(&self, request: &Request<'_>) -> Option<NamedChannel> {
        let named = request.parameter(BOT);
        let named = named.filter(|named| request.path == HOOK && !named.is_empty())?;
        Some(NamedChannel { named, kind: Some(BOT) })
    }

    fn is_about(&self, request: &Request<'_>, own: &Own) -> bool {
        own::is_about(request.body, own)
    }

    fn spans_environments(&self) -> bool {
        true
    }

    fn tells_errors(&self) -> bool {
        true
    }

    fn log_prefix(&self) -> Option<&'static str> {
        Some("sentry")
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let redactor = reading.redactor;
        let (mut body, note) = match json::body(&delivery.raw) {
            Ok(parsed) => parsed,
            Err(reason) => return Normalised::Rejected { reason },
        };
        if !body.is_object() {
            return Normalised::Rejected { reason: "not_an_object".to_owned() };
        }
        let key = delivery_key(delivery, &body);
        let replaced = redactor.value(&mut body);
        let shape = shape(resource(delivery).as_deref(), &body);
        let context = Context { body: &body, source: &delivery.source, redactor, replaced };
        let alert = match shape.verdict(&body) {
            Verdict::Issue { status } => issue::alert(&context, &shape, status),
            Verdict::Metric { status } => metric::alert(&context, status),
            Verdict::Recorded(reason) => {
                let reason = redactor.text(&reason).0.into_owned();
                return Normalised::Recorded { reason };
            }
            Verdict::Rejected(reason) => return Normalised::Rejected { reason },
        };
        match alert {
            Ok(mut alert) => {
                alert.notes.extend(note);
                Normalised::Alerts { alerts: vec![alert], key }
            }
            Err(reason) => Normalised::Rejected { reason: reason.to_owned() },
        }
    }
}

/// What makes the delivery the same again; `body` as parsed, before redaction.
fn delivery_key(delivery: &Delivery, body: &Value) -> Option<DeliveryKey> {
    let sent = delivery.header("idempotency-key").map(str::trim);
    if let Some(sent) = sent
        && (8..=128).contains(&sent.len())
        && sent.bytes().all(|b| b.is_ascii_graphic())
    {
        return Some(DeliveryKey { key: format!("idempotency-key:{sent}"), stable: true });
    }
    // Retries are built anew by the sender: of all they carry, only ids stay the same.
    let parts = shape(resource(delivery).as_deref(), body).key_parts(body)?;
    // Hashed: among the parts is text of the body, and nobody redacted it.
    let hash = const_hex::encode(Sha256::digest(parts.join("\0").as_bytes()));
    Some(DeliveryKey { key: format!("sentry:{hash}"), stable: false })
}

/// What an alert is made from.
struct Context<'a> {
    /// The whole body, redacted.
    body: &'a Value,
    source: &'a schemas::SourceId,
    redactor: &'a Redactor,
    replaced: u32,
}

/// The resource header, reduced to what a resource's name is made of.
fn resource(delivery: &Delivery) -> Option<String> {
    let name: String = delivery
        .header("sentry-hook-resource")?
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c))
        .take(40)
        .collect();
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}
