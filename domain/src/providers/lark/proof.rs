//! What proves that a request is Lark's, and opens what it sealed.

use aes::Aes256;
use base64::{Engine, prelude::BASE64_STANDARD};
use cbc::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use schemas::record::Auth;
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    super::{Credential, Refused, Request, auth, json},
    INVALID, MISSING, is_card, is_handshake, is_sealed, outline, parse,
};

pub(super) fn keys(credentials: &[Credential]) -> impl Iterator<Item = (&String, &Vec<u8>)> {
    credentials.iter().filter_map(|credential| match credential {
        Credential::Hmac { id, secret } => Some((id, secret)),
        Credential::Basic { .. }
        | Credential::Bearer { .. }
        | Credential::Token { .. }
        | Credential::Entra { .. } => None,
    })
}

fn tokens(credentials: &[Credential]) -> impl Iterator<Item = (&String, &Vec<u8>)> {
    credentials.iter().filter_map(|credential| match credential {
        Credential::Token { id, token } => Some((id, token)),
        Credential::Basic { .. }
        | Credential::Bearer { .. }
        | Credential::Hmac { .. }
        | Credential::Entra { .. } => None,
    })
}

/// The verification token in the body: in the header of schema 2.0, else at the top.
pub(super) fn token(body: &Value, credentials: &[Credential]) -> Result<Auth, Refused> {
    // The card callback of before carries another token under this name.
    let given = if is_card(body) {
        None
    } else {
        json::text(body, &["header", "token"]).or(json::text(body, &["token"]))
    };
    auth::token(given, credentials)
}

/// SHA-256 of timestamp, nonce, encrypt key and the body as it was sent. A plain hash, no MAC.
pub(super) fn event_signature(
    request: &Request<'_>,
    signature: &str,
    credentials: &[Credential],
) -> Result<Auth, Refused> {
    signed::<Sha256>(request, signature, "lark_sha256", keys(credentials))
}

/// SHA-1 of timestamp, nonce, verification token and the body as it was sent; of the card callback
/// of before alone, whose hash is weaker and whose token stands in every event.
pub(super) fn card_signature(
    request: &Request<'_>,
    signature: &str,
    credentials: &[Credential],
) -> Result<Auth, Refused> {
    let auth = signed::<Sha1>(request, signature, "lark_card_sha1", tokens(credentials))?;
    let mut body = parse(request.body);
    if is_sealed(&body) {
        body = open(&body, credentials).as_deref().map_or(Value::Null, parse);
    }
    if is_card(&body) { Ok(auth) } else { Err(INVALID) }
}

fn signed<'c, D: Digest>(
    request: &Request<'_>,
    signature: &str,
    method: &str,
    secrets: impl Iterator<Item = (&'c String, &'c Vec<u8>)>,
) -> Result<Auth, Refused> {
    let timestamp = request.header("x-lark-request-timestamp").unwrap_or_default();
    let nonce = request.header("x-lark-request-nonce").unwrap_or_default();
    let given = const_hex::decode(signature).unwrap_or_default();
    let mut matched = None;
    for (id, secret) in secrets {
        let parts = [timestamp.as_bytes(), nonce.as_bytes(), secret, request.body];
        let hash = parts.iter().fold(D::new(), |hash, part| hash.chain_update(part)).finalize();
        if hash.as_slice().ct_eq(&given).into() {
            matched = matched.or(Some(id));
        }
    }
    let id = matched.ok_or(INVALID)?;
    if !auth::is_fresh(timestamp, request) {
        return Err(auth::STALE);
    }
    Ok(Auth { method: method.to_owned(), credential: Some(id.clone()) })
}

/// Where there is an encrypt key, only the check of the address comes unsigned: it proves itself by
/// the verification token, and without one by being encrypted.
pub(super) fn unsigned_handshake(
    request: &Request<'_>,
    credentials: &[Credential],
) -> Result<Auth, Refused> {
    let body = outline(request.body);
    let opened = if is_sealed(&body) { open(&body, credentials) } else { None };
    let inside = opened.as_deref().map_or(body, outline);
    if !is_handshake(&inside) {
        return Err(MISSING);
    }
    match (tokens(credentials).next(), opened) {
        (Some(_), _) => token(&inside, credentials),
        (None, Some(_)) => Ok(Auth { method: "lark_sealed".to_owned(), credential: None }),
        (None, None) => Err(MISSING),
    }
}

/// The JSON sealed in `encrypt`: base64 of the IV and of AES-256-CBC with PKCS#7 padding, under the
/// SHA-256 of the encrypt key.
pub(super) fn open(body: &Value, credentials: &[Credential]) -> Option<Vec<u8>> {
    let sealed = BASE64_STANDARD.decode(json::text(body, &["encrypt"])?.trim()).ok()?;
    let mut opened = keys(credentials).filter_map(|(_, secret)| {
        let plain = decrypted(secret, &sealed)?;
        serde_json::from_slice::<Value>(&plain).is_ok_and(|v| v.is_object()).then_some(plain)
    });
    opened.next()
}

pub(in crate::providers) fn decrypted(secret: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (iv, sealed) = sealed.split_at_checked(16)?;
    let key = Sha256::digest(secret);
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(&key, iv).ok()?;
    cipher.decrypt_padded_vec::<Pkcs7>(sealed).ok()
}
