//! Proofs of origin, compared in constant time and without stopping at the first match.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use schemas::{Time, record::Auth};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Credential, Refused, Request};

/// How far a signed time may lie from when the request was received, in microseconds (Standard
/// Webhooks: 5 minutes).
const WINDOW: u64 = 5 * 60 * 1_000_000;

const MISSING: Refused =
    Refused { code: "credentials_missing", detail: "Missing Authorization header" };
const INVALID: Refused =
    Refused { code: "credentials_invalid", detail: "Invalid Authorization credentials" };
const NO_TOKEN: Refused = Refused { code: "token_missing", detail: "Missing token" };
const BAD_TOKEN: Refused = Refused { code: "token_invalid", detail: "Invalid token" };
const BAD_SIGNATURE: Refused =
    Refused { code: "signature_invalid", detail: "Invalid webhook-signature" };
/// The signature is right, and too old or too new to be taken for a request of now.
pub(super) const STALE: Refused =
    Refused { code: "signature_stale", detail: "The signed time is not within 5 minutes of now" };

/// Signatures of one header that are compared; a sender has one per secret it rotates.
const MAX_SIGNATURES: usize = 8;

/// Whether a request can be let in by a signature, and whether by what it shows
/// ([`authorization`]).
pub(super) fn kinds(credentials: &[Credential]) -> (bool, bool) {
    let signed = |credential: &Credential| matches!(credential, Credential::Hmac { .. });
    (credentials.iter().any(signed), credentials.iter().any(|c| !signed(c)))
}

/// The HMAC-SHA256 credential under which `signature` (hex) is that of `message`, which is given in
/// parts.
pub(super) fn hmac_hex(
    signature: &str,
    message: &[&[u8]],
    credentials: &[Credential],
) -> Option<Auth> {
    // Anything else than 32 bytes of hex is compared as zeros, and refused at the end.
    let mut given = [0u8; 32];
    let well_formed = const_hex::decode_to_slice(signature.trim(), &mut given).is_ok()
        && signature.trim().len() == 64;
    let mut matched = None;
    for credential in credentials {
        let Credential::Hmac { id, secret } = credential else { continue };
        if signs(secret, message, &[given]) {
            matched = matched.or(Some(id));
        }
    }
    let id = matched.filter(|_| well_formed)?;
    Some(Auth { method: "hmac_sha256".to_owned(), credential: Some(id.clone()) })
}

/// Whether one of these is the HMAC-SHA256 of `message` under `secret`; all of them are compared.
/// Under an empty one anybody can sign.
fn signs(secret: &[u8], message: &[&[u8]], signatures: &[[u8; 32]]) -> bool {
    if secret.is_empty() {
        return false;
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
    message.iter().for_each(|part| mac.update(part));
    signatures.iter().fold(false, |any, given| mac.clone().verify_slice(given).is_ok() | any)
}

/// Whether a signed time (Unix seconds, as text) is near enough to when the request was received.
pub(super) fn is_fresh(seconds: &str, request: &Request<'_>) -> bool {
    let Ok(seconds) = seconds.trim().parse::<i64>() else { return false };
    let signed = Time::from_micros(seconds.saturating_mul(1_000_000));
    request.received_at.micros_since(signed).unsigned_abs() <= WINDOW
}

/// Standard Webhooks (github.com/standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`),
/// symmetric signatures: `v1,` and the base64 of the HMAC-SHA256 of id, `.`, timestamp, `.`, body.
/// The key is the secret without `whsec_`, decoded from base64 where it is base64. Older senders
/// call the headers `svix-*`. `None`: the request carries no such signature.
pub(super) fn standard_webhooks(
    request: &Request<'_>,
    credentials: &[Credential],
) -> Option<Result<Auth, Refused>> {
    let header = |name: &str| {
        let of = |prefix: &str| request.header(&format!("{prefix}-{name}"));
        of("webhook").or_else(|| of("svix"))
    };
    let (id, timestamp) = (header("id")?, header("timestamp")?);
    let given: Vec<[u8; 32]> = header("signature")?
        .split_ascii_whitespace()
        .filter_map(|signature| BASE64_STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .filter_map(|bytes| bytes.try_into().ok())
        .take(MAX_SIGNATURES)
        .collect();
    let message = [id.as_bytes(), b".", timestamp.as_bytes(), b".", request.body];
    let mut matched = None;
    for credential in credentials {
        let Credential::Hmac { id, secret } = credential else { continue };
        if signs(&standard_webhooks_key(secret), &message, &given) {
            matched = matched.or(Some(id));
        }
    }
    let Some(id) = matched else { return Some(Err(BAD_SIGNATURE)) };
    if !is_fresh(timestamp, request) {
        return Some(Err(STALE));
    }
    Some(Ok(Auth { method: "standard_webhooks".to_owned(), credential: Some(id.clone()) }))
}

/// The key of Standard Webhooks that a secret's text stands for.
pub(super) fn standard_webhooks_key(secret: &[u8]) -> Vec<u8> {
    let text = secret.strip_prefix(b"whsec_").unwrap_or(secret);
    BASE64_STANDARD.decode(text).unwrap_or_else(|_| text.to_vec())
}

/// The basic or bearer credential in the `Authorization` header, or the token in the path.
pub(super) fn authorization(
    request: &Request<'_>,
    credentials: &[Credential],
) -> Result<Auth, Refused> {
    let in_path = token(request.token, credentials);
    let Some(header) = request.header("authorization") else {
        return if request.token.is_some() { in_path } else { Err(MISSING) };
    };
    in_header(header, credentials).or(in_path).map_err(|_| INVALID)
}

fn in_header(header: &str, credentials: &[Credential]) -> Result<Auth, Refused> {
    let (scheme, given) = header.trim().split_once(' ').ok_or(INVALID)?;
    let given = given.trim();
    let (method, credential) = if scheme.eq_ignore_ascii_case("basic") {
        ("basic", basic(given, credentials))
    } else if scheme.eq_ignore_ascii_case("bearer") {
        ("bearer", bearer(given, credentials))
    } else {
        return Err(INVALID);
    };
    let id = credential.ok_or(INVALID)?;
    Ok(Auth { method: method.to_owned(), credential: Some(id.to_owned()) })
}

/// The token credential that is this text, wherever the sender showed it.
pub(super) fn token(given: Option<&str>, credentials: &[Credential]) -> Result<Auth, Refused> {
    let given_hash = sha256(given.unwrap_or_default().as_bytes());
    let mut matched = None;
    for credential in credentials {
        let Credential::Token { id, token } = credential else { continue };
        if sha256(token).ct_eq(&given_hash).into() {
            matched = matched.or(Some(id));
        }
    }
    match (given, matched) {
        (None, _) => Err(NO_TOKEN),
        (Some(""), _) | (_, None) => Err(BAD_TOKEN),
        (Some(_), Some(id)) => {
            Ok(Auth { method: "token".to_owned(), credential: Some(id.clone()) })
        }
    }
}

/// As [`authorization`]; or the token in one of these query parameters, for senders that can show
/// nothing but a URL.
pub(super) fn in_url(
    request: &Request<'_>,
    parameters: &[&str],
    credentials: &[Credential],
) -> Result<Auth, Refused> {
    let given = parameters.iter().find_map(|name| request.parameter(name));
    match (given, request.shows_credential()) {
        (None, _) => authorization(request, credentials),
        (Some(given), false) => token(Some(&given), credentials),
        (Some(given), true) => authorization(request, credentials)
            .or_else(|refused| token(Some(&given), credentials).map_err(|_| refused)),
    }
}

fn basic<'c>(given: &str, credentials: &'c [Credential]) -> Option<&'c str> {
    let decoded = BASE64_STANDARD.decode(given).unwrap_or_default();
    let colon = decoded.iter().position(|b| *b == b':');
    let (given_user, given_password) = match colon {
        Some(at) => (&decoded[..at], &decoded[at + 1..]),
        None => (&decoded[..0], &decoded[..0]),
    };
    let (given_user, given_password) = (sha256(given_user), sha256(given_password));
    let mut matched = None;
    for credential in credentials {
        let Credential::Basic { id, user, password } = credential else { continue };
        let same: Choice = sha256(user.as_bytes()).ct_eq(&given_user)
            & sha256(password.as_bytes()).ct_eq(&given_password);
        if same.into() {
            matched = matched.or(Some(id.as_str()));
        }
    }
    matched.filter(|_| colon.is_some())
}

fn bearer<'c>(given: &str, credentials: &'c [Credential]) -> Option<&'c str> {
    let given_hash = sha256(given.as_bytes());
    let mut matched = None;
    for credential in credentials {
        let Credential::Bearer { id, sha256 } = credential else { continue };
        if sha256.ct_eq(&given_hash).into() {
            matched = matched.or(Some(id.as_str()));
        }
    }
    matched.filter(|_| !given.is_empty())
}

// Digests have one length: comparing them tells nothing of the length of what was digested.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
