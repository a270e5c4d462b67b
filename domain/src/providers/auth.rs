//! Proofs of origin, compared in constant time and without stopping at the first match.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use schemas::record::Auth;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Credential, Refused, Request};

const MISSING: Refused =
    Refused { code: "credentials_missing", detail: "Missing Authorization header" };
const INVALID: Refused =
    Refused { code: "credentials_invalid", detail: "Invalid Authorization credentials" };

/// The HMAC-SHA256 credential under which `signature` (hex) is that of `message`.
pub(super) fn hmac_hex(
    signature: &str,
    message: &[u8],
    credentials: &[Credential],
) -> Option<Auth> {
    // Anything else than 32 bytes of hex is compared as zeros, and refused at the end.
    let mut given = [0u8; 32];
    let well_formed = const_hex::decode_to_slice(signature.trim(), &mut given).is_ok()
        && signature.trim().len() == 64;
    let mut matched = None;
    for credential in credentials {
        let Credential::Hmac { id, secret } = credential else { continue };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { continue };
        mac.update(message);
        if mac.verify_slice(&given).is_ok() {
            matched = matched.or(Some(id));
        }
    }
    let id = matched.filter(|_| well_formed)?;
    Some(Auth { method: "hmac_sha256".to_owned(), credential: Some(id.clone()) })
}

/// The basic or bearer credential in the `Authorization` header.
pub(super) fn authorization(
    request: &Request<'_>,
    credentials: &[Credential],
) -> Result<Auth, Refused> {
    let header = request.header("authorization").ok_or(MISSING)?.trim();
    let (scheme, given) = header.split_once(' ').ok_or(INVALID)?;
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
