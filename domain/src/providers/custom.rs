//! Anybody's own JSON: a shape of ours, a field mapping for what has other names, and CloudEvents.
//!
//! Our own shape is `{"message": "[告警] ...", "sender_id": "..."}`, with `chat_id`, `timestamp` and
//! `metadata` beside it: text that bots and people write, in which an alert is found or is not.

use schemas::{
    Alert,
    record::{Auth, Delivery},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Credential, DeliveryKey, Likeness, NamedChannel, Normalised, NotAdmitted, Outgoing, Proof,
    Provider, Reading, Refused, Request, Secret, Senders, Silence, TEST_PATH, auth, build,
    json::{self, text},
    sign,
};

mod facts;
mod message;
#[cfg(test)]
mod tests;

/// Longest identifier of a delivery that is taken as it is, in bytes.
const MAX_KEY: usize = 256;

/// See the module.
pub struct Custom;

impl Provider for Custom {
    fn name(&self) -> &'static str {
        "custom"
    }

    fn title(&self) -> &'static str {
        "Custom"
    }

    fn version(&self) -> u32 {
        2
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[
            "user-agent",
            "idempotency-key",
            "webhook-id",
            "webhook-timestamp",
            "svix-id",
            "svix-timestamp",
        ]
    }

    fn accepts(&self, credential: &Credential) -> bool {
        !matches!(credential, Credential::Entra { .. })
    }

    fn likeness(&self, _body: &Value) -> Likeness {
        Likeness::Anything
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Custom webhook secret, basic or bearer credentials missing in production environment"
    }

    /// A test may name the one channel it tries.
    fn channel(&self, request: &Request<'_>) -> Option<NamedChannel> {
        let named = request.parameter("channel");
        let named = named.filter(|named| request.path == TEST_PATH && !named.is_empty())?;
        Some(NamedChannel { named, kind: None })
    }

    /// A Standard Webhooks signature where there is one and the source has a secret, else the
    /// `Authorization` header.
    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let (by_signature, by_authorization) = auth::kinds(credentials);
        match auth::standard_webhooks(request, credentials).filter(|_| by_signature) {
            Some(verdict) => verdict,
            None if by_signature && !by_authorization => Err(Refused {
                code: "signature_missing",
                detail: "Missing webhook-id, webhook-timestamp or webhook-signature header",
            }),
            None => auth::authorization(request, credentials),
        }
    }

    fn sign(&self, outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        match secret {
            Secret::Signing(secret) => sign::standard_webhooks(outgoing, secret),
            Secret::Basic { .. } | Secret::Bearer(_) | Secret::Token(_) => sign::shown(secret),
        }
    }

    /// Whoever writes these bodies by hand is told what is wrong with them.
    fn admit(&self, request: &Request<'_>, senders: &Senders) -> Result<(), NotAdmitted> {
        let (body, _) = json::body(request.body)
            .map_err(|_| NotAdmitted::Malformed { detail: "the body is not JSON".to_owned() })?;
        let field = |name: &str, problem: &str| {
            Err(NotAdmitted::Field { detail: format!("{name} {problem}") })
        };
        if !body.is_object() {
            return field("body", "is not a JSON object");
        }
        let listed = match senders {
            Senders::Anybody => return Ok(()),
            Senders::Named => None,
            Senders::Listed(listed) => Some(listed),
        };
        for name in ["message", "sender_id"] {
            match body.get(name) {
                None | Some(Value::Null) => return field(name, "is missing"),
                Some(Value::String(text)) if text.trim().is_empty() => {
                    return field(name, "is empty");
                }
                Some(Value::String(_)) => {}
                Some(_) => return field(name, "is not a text"),
            }
        }
        let sender = text(&body, &["sender_id"]).unwrap_or_default();
        match listed {
            Some(listed) if !listed.iter().any(|known| known == sender) => {
                Err(NotAdmitted::Forbidden { detail: "sender_id is not allowed".to_owned() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn names_senders(&self) -> bool {
        true
    }

    /// Scripts and people tell what happened, and seldom that it is over.
    fn silence(&self, _alert: &Alert) -> Silence {
        Silence::Over
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        match json::body(&delivery.raw) {
            Ok((body, note)) => generic(self.name(), body, note, delivery, reading),
            Err(reason) => Normalised::Rejected { reason },
        }
    }
}

/// Reads a body that has no shape `provider` would know.
pub(super) fn generic(
    provider: &'static str,
    mut body: Value,
    note: Option<String>,
    delivery: &Delivery,
    reading: &Reading<'_>,
) -> Normalised {
    if !body.is_object() {
        return Normalised::Rejected { reason: "not_an_object".to_owned() };
    }
    let key = delivery_key(delivery, &body);
    let fields = reading.fields;
    let own = fields.is_none()
        && text(&body, &["message"]).is_some()
        && text(&body, &["sender_id"]).is_some();
    // Over the body as received: redaction must not change who an alert is.
    let identity = match own {
        true => message::identity(&body),
        false => facts::identity(&body, fields),
    };
    let replaced = reading.redactor.value(&mut body);
    let source = Source { provider, body: &body, delivery, reading, replaced };
    let alert = match own {
        true => match message::alert(&source, identity) {
            Some(alert) => Ok(alert),
            None => {
                let reason = "alert_not_detected: no [告警] in the message".to_owned();
                return Normalised::Recorded { reason };
            }
        },
        false => facts::alert(&source, fields, identity),
    };
    match alert {
        Ok(mut alert) => {
            alert.notes.extend(note);
            Normalised::Alerts { alerts: vec![alert], key }
        }
        Err(reason) => Normalised::Rejected { reason },
    }
}

/// What an alert is made from.
struct Source<'a> {
    provider: &'static str,
    /// The whole body, redacted.
    body: &'a Value,
    delivery: &'a Delivery,
    reading: &'a Reading<'a>,
    replaced: u32,
}

/// What the sender calls this delivery, over all its tries: `webhook-id` (Standard Webhooks),
/// `Idempotency-Key`, or source and id of a CloudEvent.
fn delivery_key(delivery: &Delivery, body: &Value) -> Option<DeliveryKey> {
    let sent = ["webhook-id", "svix-id", "idempotency-key"].into_iter().find_map(|name| {
        let id = delivery.header(name)?.trim();
        let usable = (4..=MAX_KEY).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        usable.then(|| format!("{name}:{id}"))
    });
    let of_event = || {
        let event = facts::cloud_event(body)?;
        // Hashed: nobody redacted it.
        let parts = [event.source, event.id].join("\0");
        Some(format!("cloudevent:{}", const_hex::encode(Sha256::digest(parts.as_bytes()))))
    };
    let key = sent.or_else(of_event)?;
    Some(DeliveryKey { key, stable: true })
}

/// A text, reduced to what stays when the same thing is said again: in lower case, without the
/// numbers that are measured or counted or tell the time.
pub(super) fn text_identity(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        plain.push(' ');
        without_numbers(word, &mut plain);
    }
    build::identity_part("text", &plain.to_lowercase())
}

/// Appends `word` with `#` in place of its numbers. What belongs to a name stays: `node-1`, `sda2`,
/// an IPv4 address.
fn without_numbers(word: &str, out: &mut String) {
    let mut rest = word;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let before = rest[..at].trim_end_matches(['-', '_', '.', '/']);
        let name = before.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        // Letters behind a number are its unit, or the middle of a time.
        let unit = name.is_empty() && !before.is_empty() && out.ends_with('#');
        let of_name = name.len() < before.len() && !unit;
        out.push_str(&rest[..at]);
        // A number goes with the signs inside it, as times, dates and fractions have them.
        let length = rest[at..].find(|c: char| !c.is_ascii_digit() && !".,:/+-".contains(c));
        let number = &rest[at..length.map_or(rest.len(), |length| at + length)];
        let number = number.trim_end_matches(|c: char| !c.is_ascii_digit());
        let host = number.split(':').next().unwrap_or_default();
        let address = host.parse::<std::net::Ipv4Addr>().is_ok();
        out.push_str(if of_name || address { number } else { "#" });
        rest = &rest[at + number.len()..];
    }
    out.push_str(rest);
}

/// What leads to the sender's own side, redacted.
fn reference(name: &str, value: &str) -> String {
    build::bounded_id(&format!("{name}:{value}"))
}
