use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair},
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;
use crate::providers::{Provider, azure_monitor::AzureMonitor};

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
/// 2023-11-14T22:13:20Z.
const NOW: i64 = 1_700_000_000;

/// A key of a tenant.
struct Signer {
    kid: &'static str,
    pair: RsaKeyPair,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        Self { kid, pair: RsaKeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// Its modulus: a PKCS #1 key of 2048 bits has it behind nine bytes.
    fn modulus(&self) -> &[u8] {
        &self.pair.public_key().as_ref()[9..265]
    }

    fn jwk(&self) -> Value {
        json!({"kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid,
            "n": BASE64_URL_SAFE_NO_PAD.encode(self.modulus()), "e": "AQAB"})
    }

    fn sign_as(
        &self,
        encoding: &'static dyn RsaEncoding,
        header: &Value,
        claims: &Value,
    ) -> String {
        let signed = signed(header, claims);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair.sign(encoding, &random, signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign_as(&RSA_PKCS1_SHA256, &header(self.kid), claims)
    }
}

fn header(kid: &str) -> Value {
    json!({"typ": "JWT", "alg": "RS256", "x5t": kid, "kid": kid})
}

fn signed(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// What Entra issues for action groups, in version 2, with some of it changed.
fn claims(changed: Value) -> Value {
    let mut claims = json!({
        "aud": CLIENT, "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 3600, "aio": "x", "azp": ACTION_GROUPS,
        "azpacr": "2", "oid": "o", "roles": [ROLE], "sub": "o", "tid": TENANT, "ver": "2.0",
    });
    claims.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    claims
}

fn credential() -> Credential {
    Credential::Entra {
        id: "entra".into(),
        tenant: TENANT.into(),
        audiences: vec![CLIENT.into(), "api://bellwether".into()],
        application: None,
        role: None,
    }
}

fn jwks(signers: &[&Signer]) -> Vec<u8> {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({"keys": keys}).to_string().into_bytes()
}

struct Check {
    keys: Vec<u8>,
    credentials: Vec<Credential>,
    at: i64,
}

impl Check {
    fn new(keys: Vec<u8>) -> Self {
        Self { keys, credentials: vec![credential()], at: NOW }
    }

    fn with<T>(&self, authorization: &str, look: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers = [("authorization".to_owned(), authorization.to_owned())];
        look(&Request {
            received_at: Time::from_micros(self.at * 1_000_000),
            headers: &headers,
            body: b"{}",
            fetched: Some(&self.keys),
            ..Request::default()
        })
    }

    fn shows(&self, authorization: &str) -> Result<String, &'static str> {
        self.with(authorization, |request| {
            let auth = AzureMonitor.authenticate(request, &self.credentials);
            auth.map(|auth| auth.method).map_err(|refused| refused.code)
        })
    }

    fn of(&self, token: &str) -> Result<String, &'static str> {
        self.shows(&format!("Bearer {token}"))
    }
}

#[test]
fn r11_tokens_of_both_versions_let_in() {
    let signer = Signer::new("k1");
    let check = Check::new(jwks(&[&signer]));
    assert_eq!(check.of(&signer.token(&claims(json!({})))), Ok("entra".into()));
    let first = json!({"aud": "api://bellwether", "iss": format!("https://sts.windows.net/{TENANT}/"),
        "appid": ACTION_GROUPS, "azp": null, "ver": "1.0"});
    assert_eq!(check.of(&signer.token(&claims(first))), Ok("entra".into()));
    let token = signer.token(&claims(json!({"tid": TENANT.to_uppercase()})));
    assert_eq!(check.shows(&format!("bearer  {token} ")), Ok("entra".into()));
}

#[test]
fn threat_a_token_for_others_or_of_others_is_refused() {
    let signer = Signer::new("k1");
    let check = Check::new(jwks(&[&signer]));
    let other = "99999999-8888-7777-6666-555555555555";
    let of_other = format!("https://login.microsoftonline.com/{other}/v2.0");
    for changed in [
        json!({"aud": other}),
        json!({"aud": ""}),
        json!({"aud": [CLIENT]}),
        json!({"aud": format!("{CLIENT} ")}),
        json!({"iss": of_other}),
        json!({"iss": "https://login.microsoftonline.com/common/v2.0"}),
        json!({"iss": format!("https://login.microsoftonline.com.evil/{TENANT}/v2.0")}),
        json!({"tid": other}),
        json!({"tid": other, "iss": of_other}),
        json!({"azp": other}),
        json!({"azp": null}),
        json!({"appid": other}),
        json!({"roles": []}),
        json!({"roles": ["Reader"]}),
        json!({"roles": ROLE}),
        json!({"exp": "never"}),
        json!({"nbf": null}),
    ] {
        let token = signer.token(&claims(changed.clone()));
        assert_eq!(check.of(&token), Err("token_invalid"), "{changed}");
    }
}

#[test]
fn threat_a_token_holds_for_its_time() {
    let signer = Signer::new("k1");
    let token = signer.token(&claims(json!({"nbf": NOW, "exp": NOW + 600})));
    for (at, expect) in [
        (NOW - SKEW - 1, Err("token_expired")),
        (NOW - SKEW, Ok("entra".to_owned())),
        (NOW + 600 + SKEW - 1, Ok("entra".to_owned())),
        (NOW + 600 + SKEW, Err("token_expired")),
        (NOW + 1_000_000, Err("token_expired")),
    ] {
        let check = Check { at, ..Check::new(jwks(&[&signer])) };
        assert_eq!(check.of(&token), expect, "{at}");
    }
    let check = Check::new(jwks(&[&signer]));
    for changed in [json!({"exp": i64::MIN}), json!({"nbf": i64::MAX})] {
        assert_eq!(check.of(&signer.token(&claims(changed))), Err("token_expired"));
    }
}

#[test]
fn threat_the_algorithm_is_not_the_token_s_to_choose() {
    let signer = Signer::new("k1");
    let check = Check::new(jwks(&[&signer]));
    let with = |alg: &str| json!({"typ": "JWT", "alg": alg, "kid": "k1"});
    let claims = claims(json!({}));
    // No signature at all.
    for alg in ["none", "None", "NONE", ""] {
        let bare = signed(&with(alg), &claims);
        assert_eq!(check.of(&format!("{bare}.")), Err("token_invalid"), "{alg}");
    }
    // The public key, which everybody has, as the secret of a MAC: in every form it comes in.
    let jwk = signer.jwk().to_string().into_bytes();
    let forms = [signer.modulus(), signer.pair.public_key().as_ref(), &jwk, &check.keys];
    for secret in forms {
        for alg in ["HS256", "RS256"] {
            let bare = signed(&with(alg), &claims);
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
            mac.update(bare.as_bytes());
            let tag = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
            assert_eq!(check.of(&format!("{bare}.{tag}")), Err("token_invalid"), "{alg}");
        }
    }
    // Signed by the right key, and said or made otherwise.
    for alg in ["RS384", "RS512", "PS256", "ES256", "rs256"] {
        let token = signer.sign_as(&RSA_PKCS1_SHA256, &with(alg), &claims);
        assert_eq!(check.of(&token), Err("token_invalid"), "{alg}");
    }
    let token = signer.sign_as(&RSA_PSS_SHA256, &with("RS256"), &claims);
    assert_eq!(check.of(&token), Err("token_invalid"));
    let critical = json!({"alg": "RS256", "kid": "k1", "crit": ["b64"], "b64": false});
    let token = signer.sign_as(&RSA_PKCS1_SHA256, &critical, &claims);
    assert_eq!(check.of(&token), Err("token_invalid"));
    // A key the token brings along is not looked at.
    let thief = Signer::new("k1");
    let brought = json!({"alg": "RS256", "kid": "k1", "jwk": thief.jwk(), "jku": "https://evil/k"});
    let token = thief.sign_as(&RSA_PKCS1_SHA256, &brought, &claims);
    assert_eq!(check.of(&token), Err("token_invalid"));
}

#[test]
fn threat_what_is_signed_and_changed_is_refused() {
    let signer = Signer::new("k1");
    let check = Check::new(jwks(&[&signer]));
    let token = signer.token(&claims(json!({"roles": ["Reader"]})));
    let (_, signature) = token.rsplit_once('.').unwrap();
    let risen = signed(&header("k1"), &claims(json!({})));
    assert_eq!(check.of(&format!("{risen}.{signature}")), Err("token_invalid"));
    let good = signer.token(&claims(json!({})));
    for at in (0..good.len()).step_by(7).filter(|at| good.as_bytes()[*at] != b'.') {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(check.of(&changed).is_err(), "byte {at}");
    }
    for odd in ["", ".", "..", "...", "a.b.c", "a.b", &format!("{good}.x"), &good.repeat(20)] {
        assert!(check.of(odd).is_err(), "{odd}");
    }
    for odd in [String::new(), "Bearer".into(), format!("Basic {good}"), good.clone()] {
        assert!(check.shows(&odd).is_err(), "{odd}");
    }
}

#[test]
fn threat_a_key_that_is_not_there_is_asked_for_again_and_one_that_is_gone_is_not_believed() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let before = Check::new(jwks(&[&old]));
    let of_new = new.token(&claims(json!({})));
    let of_old = old.token(&claims(json!({})));
    let outdated = |check: &Check, token: &str| {
        check.with(&format!("Bearer {token}"), |request| AzureMonitor.is_outdated(request))
    };
    assert_eq!(before.of(&of_new), Err("token_key_unknown"));
    assert!(outdated(&before, &of_new) && !outdated(&before, &of_old));
    let after = Check::new(jwks(&[&new]));
    assert_eq!(after.of(&of_new), Ok("entra".into()));
    assert_eq!(after.of(&of_old), Err("token_key_unknown"));
    // Under the name of a key that is there.
    let forged = Signer { kid: "new", pair: old.pair }.token(&claims(json!({})));
    assert_eq!(after.of(&forged), Err("token_invalid"));
    assert!(!outdated(&after, &forged));
    for keys in ["", "{}", "[]", r#"{"keys": []}"#, r#"{"keys": [{"kty": "RSA", "kid": "new"}]}"#] {
        let check = Check::new(keys.as_bytes().to_vec());
        assert_eq!(check.of(&of_new), Err("token_key_unknown"), "{keys}");
    }
    let mut of_encryption = new.jwk();
    of_encryption["use"] = "enc".into();
    let check = Check::new(json!({"keys": [of_encryption]}).to_string().into_bytes());
    assert_eq!(check.of(&of_new), Err("token_key_unknown"));
}

#[test]
fn threat_ssrf_where_the_keys_are_is_configured_and_not_said_by_a_token() {
    let check = Check::new(vec![]);
    let needs = |authorization: &str| {
        check.with(authorization, |request| AzureMonitor.needs(request, &check.credentials))
    };
    let header = json!({"alg": "RS256", "kid": "../../evil", "jku": "https://evil.example/keys"});
    let evil = json!({"iss": "https://evil.example/", "tid": "evil"});
    let token = format!("{}.c2ln", signed(&header, &claims(evil)));
    let keys = format!("https://login.microsoftonline.com/{TENANT}/discovery/v2.0/keys");
    assert_eq!(needs(&format!("Bearer {token}")), Some(keys));
    // What cannot be let in by a key needs none.
    for authorization in ["", "Bearer k1", "Basic dTpw", "Bearer a.b.c"] {
        assert_eq!(needs(authorization), None, "{authorization}");
    }
    let none =
        format!("Bearer {}.", signed(&json!({"alg": "none", "kid": "k"}), &claims(json!({}))));
    assert_eq!(needs(&none), None);
    let others = [Credential::Token { id: "t".into(), token: b"t".to_vec() }];
    let asked = check.with(&format!("Bearer {token}"), |r| AzureMonitor.needs(r, &others));
    assert_eq!(asked, None);
}

#[test]
fn r11_a_token_of_entra_and_one_in_the_url_each_let_in() {
    let signer = Signer::new("k1");
    let in_url = Credential::Token { id: "t".into(), token: b"secret-1".to_vec() };
    let both = Check { credentials: vec![credential(), in_url], ..Check::new(jwks(&[&signer])) };
    assert_eq!(both.of(&signer.token(&claims(json!({})))), Ok("entra".into()));
    let request = Request { query: "code=secret-1", ..Request::default() };
    let auth = AzureMonitor.authenticate(&request, &both.credentials).unwrap();
    assert_eq!(auth.credential.as_deref(), Some("t"));
    assert_eq!(both.shows("Bearer secret-1"), Err("token_missing"));
    // Where only Entra is asked for, nothing else helps.
    let refused = AzureMonitor.authenticate(&request, &[credential()]).unwrap_err();
    assert_eq!(refused.code, "token_missing");
}

#[test]
fn r11_another_caller_and_another_role_may_be_asked_for() {
    let signer = Signer::new("k1");
    let gateway = "99999999-8888-7777-6666-555555555555".to_owned();
    let own = Credential::Entra {
        id: "own".into(),
        tenant: TENANT.into(),
        audiences: vec![CLIENT.into()],
        application: Some(gateway.clone()),
        role: Some("Alerts.Send".into()),
    };
    let check = Check { credentials: vec![own], ..Check::new(jwks(&[&signer])) };
    let theirs = json!({"azp": gateway, "roles": ["Reader", "Alerts.Send"]});
    assert_eq!(check.of(&signer.token(&claims(theirs))), Ok("entra".into()));
    assert_eq!(check.of(&signer.token(&claims(json!({})))), Err("token_invalid"));
}
