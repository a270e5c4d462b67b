//! AWS SNS over HTTPS: CloudWatch's alarms, and whatever else is published to a topic
//! (docs.aws.amazon.com/sns, "Verifying the signatures of Amazon SNS messages").
//!
//! The body is JSON whatever its content type says, and proves itself by an RSA signature over some
//! of its fields; the certificate stands on a host of the region's. The signature only proves that
//! *some* topic of *somebody's* account sent it, so every source lists its topics (`senders`), and
//! what comes from any other is not let in. Basic credentials or a token in the address may be
//! asked for as well.
//!
//! There is no window for the signed time: SNS retries for an hour, or longer where the topic says
//! so. What is sent again is known by its `MessageId`, and much later by its old state change.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use schemas::{
    Alert,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Normalised, NotAdmitted, Provider, Reading, Refused, Request, Senders, Silence,
    auth, json,
};

mod address;
mod alarm;
mod certificate;
#[cfg(test)]
mod tests;

use certificate::Certificate;

const RAW: Refused = Refused {
    code: "raw_delivery",
    detail: "Raw message delivery carries no signature: switch it off for this subscription",
};
const MISSING: Refused =
    Refused { code: "signature_missing", detail: "Missing SigningCertURL or Signature" };
const ADDRESS: Refused = Refused {
    code: "certificate_refused",
    detail: "SigningCertURL is no certificate on an SNS host of AWS",
};
const CERTIFICATE: Refused = Refused {
    code: "certificate_refused",
    detail: "The certificate cannot be had, cannot be read or is not valid now",
};
const INVALID: Refused = Refused { code: "signature_invalid", detail: "Invalid Signature" };

/// What is signed, in this order, of what is there.
const NOTIFICATION: &[&str] = &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
const CONFIRMATION: &[&str] =
    &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];

/// Headers that repeat a signed field.
const REPEATED: &[(&str, &str)] = &[
    ("x-amz-sns-message-type", "Type"),
    ("x-amz-sns-message-id", "MessageId"),
    ("x-amz-sns-topic-arn", "TopicArn"),
];

/// See the module.
pub struct AwsSns;

impl Provider for AwsSns {
    fn name(&self) -> &'static str {
        "aws-sns"
    }

    fn title(&self) -> &'static str {
        "AWS SNS"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent", "x-amz-sns-message-type", "x-amz-sns-message-id", "x-amz-sns-topic-arn"]
    }

    fn needs_credential(&self) -> bool {
        false
    }

    fn missing_secret_detail(&self) -> &'static str {
        "No SNS topic is listed in `senders` in production environment"
    }

    fn needs(&self, request: &Request<'_>, _credentials: &[Credential]) -> Option<String> {
        let body = json::outline(request.body)?;
        Some(field(&body, "SigningCertURL").filter(|url| address::is_certificate(url))?.to_owned())
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let shown = match credentials {
            [] => None,
            some => Some(auth::authorization(request, some)?),
        };
        if request.header("x-amz-sns-rawdelivery").is_some_and(|word| word != "false") {
            return Err(RAW);
        }
        let body = json::outline(request.body).ok_or(MISSING)?;
        let url = field(&body, "SigningCertURL").ok_or(MISSING)?;
        if !address::is_certificate(url) {
            return Err(ADDRESS);
        }
        let signed = Signed::read(&body)?;
        // Whoever looks at the headers must not be told something else than what is signed.
        let contradicted = |(header, name): &(&str, &str)| {
            request.header(header).is_some_and(|said| Some(said) != field(&body, name))
        };
        if REPEATED.iter().any(contradicted) {
            return Err(INVALID);
        }
        // The chain of the certificate is not checked: SNS hands out the leaf alone, without the
        // intermediate that signed it, so there is nothing to build a path of. What decides is
        // where it was fetched: over TLS, whose chain the client did check, from a host that only
        // the region's SNS answers on. AWS's own verifiers do the same.
        let certificate = request.fetched.and_then(Certificate::from_pem).ok_or(CERTIFICATE)?;
        if !certificate.is_valid_at(request.received_at) {
            return Err(CERTIFICATE);
        }
        let key = UnparsedPublicKey::new(signed.algorithm, certificate.public_key);
        key.verify(&signed.message, &signed.signature).map_err(|_| INVALID)?;
        let credential = shown.and_then(|auth| auth.credential);
        Ok(Auth { method: signed.method.to_owned(), credential })
    }

    fn names_senders(&self) -> bool {
        true
    }

    /// Only topics that are listed: of others, what somebody else may subscribe us to is unknown.
    fn admit(&self, request: &Request<'_>, senders: &Senders) -> Result<(), NotAdmitted> {
        let (body, _) = json::body(request.body)
            .map_err(|_| NotAdmitted::Malformed { detail: "the body is not JSON".to_owned() })?;
        let Some(topic) = field(&body, "TopicArn") else {
            return Err(NotAdmitted::Field { detail: "TopicArn is missing".to_owned() });
        };
        let known = match senders {
            Senders::Listed(listed) => listed.iter().any(|known| known == topic),
            // In development: whoever is signed may tell, and nobody may be subscribed to.
            Senders::Anybody | Senders::Named => field(&body, "Type") == Some("Notification"),
        };
        let detail = || "TopicArn is not listed in the source's senders".to_owned();
        if known { Ok(()) } else { Err(NotAdmitted::Forbidden { detail: detail() }) }
    }

    /// A subscription to a listed topic is confirmed; that one ended is only recorded, for its
    /// `SubscribeURL` would begin it again.
    fn follow_up(&self, request: &Request<'_>) -> Option<String> {
        let (body, _) = json::body(request.body).ok()?;
        let topic = field(&body, "TopicArn")?;
        let url = field(&body, "SubscribeURL")?;
        let asked = field(&body, "Type") == Some("SubscriptionConfirmation");
        (asked && address::is_confirmation(url, topic)).then(|| url.to_owned())
    }

    /// CloudWatch tells each state once; what else is published seldom tells an end.
    fn silence(&self, alert: &Alert) -> Silence {
        if alarm::told(alert) { Silence::Nothing } else { Silence::Over }
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        alarm::normalise(self.name(), delivery, reading)
    }
}

/// A field of the envelope, exactly as it is signed.
fn field<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name)?.as_str()
}

/// What a body says is signed, and how.
struct Signed {
    algorithm: &'static dyn VerificationAlgorithm,
    method: &'static str,
    signature: Vec<u8>,
    /// Name, line feed, value, line feed of each field.
    message: Vec<u8>,
}

impl Signed {
    fn read(body: &Value) -> Result<Self, Refused> {
        let fields = match field(body, "Type").ok_or(MISSING)? {
            "Notification" => NOTIFICATION,
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => CONFIRMATION,
            _ => return Err(INVALID),
        };
        let (algorithm, method): (&'static dyn VerificationAlgorithm, _) =
            match field(body, "SignatureVersion").ok_or(MISSING)? {
                "1" => (&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, "sns_rsa_sha1"),
                "2" => (&RSA_PKCS1_2048_8192_SHA256, "sns_rsa_sha256"),
                _ => return Err(INVALID),
            };
        let signature = field(body, "Signature").filter(|text| !text.is_empty()).ok_or(MISSING)?;
        let signature = BASE64_STANDARD.decode(signature).map_err(|_| INVALID)?;
        let mut message = Vec::new();
        for name in fields {
            match field(body, name) {
                Some(value) => {
                    for part in [name, "\n", value, "\n"] {
                        message.extend_from_slice(part.as_bytes());
                    }
                }
                None if *name == "Subject" => {}
                None => return Err(INVALID),
            }
        }
        Ok(Self { algorithm, method, signature, message })
    }
}
