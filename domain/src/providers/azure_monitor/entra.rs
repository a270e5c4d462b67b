//! Tokens of Microsoft Entra, which "secure webhooks" show (RFC 7519 and 7515; learn.microsoft.com,
//! "Access tokens in the Microsoft identity platform" and "Secure webhook" of action groups).
//!
//! A token is believed when a key of the tenant signed it, for the application that stands for this
//! receiver, to the one that action groups call with, which was given the role; and now. Where the
//! keys stand is known from the configuration alone: nothing a token says is asked for.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use schemas::{Time, record::Auth};
use serde::{Deserialize, de::DeserializeOwned};

use crate::providers::{Credential, Refused, Request};

/// Action groups call with this application, in every tenant of the public cloud ...
const ACTION_GROUPS: &str = "461e8683-5575-4561-ac7f-899cc907d62a";
/// ... which was given this role of the receiver's.
const ROLE: &str = "ActionGroupsSecureWebhook";

/// The only algorithm Entra signs with. What else a token names is not even looked up: `none` needs
/// no key, and a public key is no secret to make a MAC with.
const ALGORITHM: &str = "RS256";

/// Longest token, in bytes. Entra's have two or three thousand.
const MAX_TOKEN: usize = 16 << 10;

/// How far the clocks may be apart, in seconds.
const SKEW: i64 = 300;

const MISSING: Refused =
    Refused { code: "token_missing", detail: "No token of Microsoft Entra in Authorization" };
const INVALID: Refused =
    Refused { code: "token_invalid", detail: "The token is not one of Microsoft Entra for us" };
const EXPIRED: Refused = Refused { code: "token_expired", detail: "The token does not hold now" };
const KEY: Refused = Refused { code: "token_key_unknown", detail: "The tenant has no such key" };

/// What a token has to say.
struct Expected<'c> {
    id: &'c str,
    tenant: &'c str,
    audiences: &'c [String],
    application: &'c str,
    role: &'c str,
}

fn expected(credentials: &[Credential]) -> impl Iterator<Item = Expected<'_>> {
    credentials.iter().filter_map(|credential| match credential {
        Credential::Entra { id, tenant, audiences, application, role } => Some(Expected {
            id,
            tenant,
            audiences,
            application: application.as_deref().unwrap_or(ACTION_GROUPS),
            role: role.as_deref().unwrap_or(ROLE),
        }),
        Credential::Hmac { .. }
        | Credential::Basic { .. }
        | Credential::Bearer { .. }
        | Credential::Token { .. } => None,
    })
}

/// Where the keys are that the request has to be signed with, if it shows a token at all.
pub(super) fn keys_at(request: &Request<'_>, credentials: &[Credential]) -> Option<String> {
    let expected = expected(credentials).next()?;
    let header = Shown::in_request(request)?.header()?;
    let known = header.alg == ALGORITHM;
    known.then(|| {
        format!("https://login.microsoftonline.com/{}/discovery/v2.0/keys", expected.tenant)
    })
}

/// Whether the keys that were fetched lack the one the token names: the tenant may have a new one.
pub(super) fn is_outdated(request: &Request<'_>) -> bool {
    let header = Shown::in_request(request).and_then(|shown| shown.header());
    header.is_some_and(|header| key_of(request, &header.kid).is_none())
}

/// Whether the request shows a token that one of these credentials asks for.
///
/// # Errors
/// The 401 to answer.
pub(super) fn verify(request: &Request<'_>, credentials: &[Credential]) -> Result<Auth, Refused> {
    let shown = Shown::in_request(request).ok_or(MISSING)?;
    let header = shown.header().ok_or(INVALID)?;
    if header.alg != ALGORITHM || header.crit.is_some() {
        return Err(INVALID);
    }
    let key = key_of(request, &header.kid).ok_or(KEY)?;
    let signature = decoded(shown.signature).ok_or(INVALID)?;
    key.verify(&RSA_PKCS1_2048_8192_SHA256, shown.signed.as_bytes(), &signature)
        .map_err(|_| INVALID)?;
    let claims: Claims = json(shown.claims).ok_or(INVALID)?;
    let found = expected(credentials).find(|expected| claims.are(expected)).ok_or(INVALID)?;
    if !claims.hold_at(request.received_at) {
        return Err(EXPIRED);
    }
    Ok(Auth { method: "entra".to_owned(), credential: Some(found.id.to_owned()) })
}

/// A token, in its parts (RFC 7515, 7.1).
struct Shown<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// Header and claims as they are signed.
    signed: &'a str,
}

impl<'a> Shown<'a> {
    fn in_request(request: &Request<'a>) -> Option<Self> {
        let (scheme, token) = request.header("authorization")?.trim().split_once(' ')?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        (!claims.contains('.')).then_some(Self { header, claims, signature, signed })
    }

    fn header(&self) -> Option<Header> {
        json(self.header)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    /// Names what has to be understood, and nothing is.
    crit: Option<serde::de::IgnoredAny>,
}

/// Of versions 1 and 2: they differ in the issuer and in the name of the caller.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    tid: String,
    exp: i64,
    nbf: i64,
    azp: Option<String>,
    appid: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
}

impl Claims {
    fn are(&self, expected: &Expected<'_>) -> bool {
        let tenant = expected.tenant;
        let issuers = [
            format!("https://login.microsoftonline.com/{tenant}/v2.0"),
            format!("https://sts.windows.net/{tenant}/"),
        ];
        // One that names two callers names none.
        let caller = match (&self.azp, &self.appid) {
            (Some(caller), None) | (None, Some(caller)) => caller.as_str(),
            (Some(_), Some(_)) | (None, None) => return false,
        };
        issuers.iter().any(|issuer| issuer.eq_ignore_ascii_case(&self.iss))
            && self.tid.eq_ignore_ascii_case(tenant)
            && expected.audiences.contains(&self.aud)
            && caller.eq_ignore_ascii_case(expected.application)
            && self.roles.iter().any(|role| role == expected.role)
    }

    fn hold_at(&self, time: Time) -> bool {
        let now = time.micros().div_euclid(1_000_000);
        self.nbf.saturating_sub(SKEW) <= now && now < self.exp.saturating_add(SKEW)
    }
}

/// Keys of a tenant (RFC 7517).
#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// The key of that name among those that were fetched.
fn key_of(request: &Request<'_>, kid: &str) -> Option<RsaPublicKeyComponents<Vec<u8>>> {
    let keys: Keys = serde_json::from_slice(request.fetched?).ok()?;
    let signs = |key: &Key| key.kty == "RSA" && key.purpose.as_deref().is_none_or(|u| u == "sig");
    let named = |key: &&Key| key.kid.as_deref() == Some(kid);
    let key = keys.keys.iter().filter(|key| signs(key)).find(named)?;
    Some(RsaPublicKeyComponents { n: decoded(key.n.as_ref()?)?, e: decoded(key.e.as_ref()?)? })
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&decoded(part)?).ok()
}

#[cfg(test)]
mod tests;
