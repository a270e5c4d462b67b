//! What a token is sealed with, and known by, in the table.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf,
};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::channels::Request;

/// Keeps these keys apart from any others that the same secret may be used for.
const SALT: &[u8] = b"bellwether access token 1";

/// An app with its credentials, of which it keeps none.
pub(super) struct App {
    /// The row of its token.
    pub id: Uuid,
    key: RandomizedNonceKey,
}

/// A length of key material, in bytes.
struct Bytes(usize);

impl hkdf::KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl App {
    /// The app that asks by `request`: HKDF-SHA256 over all of it. The secret is somewhere in it, so
    /// that neither id nor key can be guessed without. None where nothing is asked by HTTP.
    pub fn of(request: &Request) -> Option<Self> {
        let Request::Http { method, url, headers, body } = request else { return None };
        let mut material = Vec::new();
        let mut add = |part: &[u8]| {
            material.extend((part.len() as u64).to_be_bytes());
            material.extend(part);
        };
        add(method.as_str().as_bytes());
        add(url.as_str().as_bytes());
        for (name, value) in headers {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        add(body);
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&material);
        let (mut id, mut key) = ([0; 16], [0; 32]);
        secret.expand(&[b"row"], Bytes(id.len())).ok()?.fill(&mut id).ok()?;
        secret.expand(&[b"seal"], Bytes(key.len())).ok()?.fill(&mut key).ok()?;
        let id = uuid::Builder::from_custom_bytes(id).into_uuid();
        Some(Self { id, key: RandomizedNonceKey::new(&AES_256_GCM, &key).ok()? })
    }

    /// A nonce of its own, the token under AES-256-GCM, and the tag. Every sealing differs.
    pub fn seal(&self, token: &SecretString) -> Option<Vec<u8>> {
        let mut sealed = token.expose_secret().as_bytes().to_vec();
        let nonce = self.key.seal_in_place_append_tag(self.row(), &mut sealed).ok()?;
        Some([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// The token; none where it was sealed by another key, in another row, or in another way.
    pub fn open(&self, sealed: &[u8]) -> Option<SecretString> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let token = self.key.open_in_place(nonce, self.row(), &mut opened).ok()?;
        Some(SecretString::from(str::from_utf8(token).ok()?))
    }

    fn row(&self) -> Aad<[u8; 16]> {
        Aad::from(self.id.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(secret: &str) -> App {
        let url = "https://example.com/token".parse().unwrap();
        App::of(&Request::post_json(url, &serde_json::json!({ "secret": secret }))).unwrap()
    }

    #[test]
    fn i8_a_token_is_read_with_the_secret_alone() {
        let token = SecretString::from("a-token");
        let (ours, same, other) = (app("s1"), app("s1"), app("s2"));
        assert_eq!(ours.id, same.id);
        assert_ne!(ours.id, other.id);
        let sealed = ours.seal(&token).unwrap();
        assert_ne!(sealed, ours.seal(&token).unwrap());
        assert!(!sealed.windows(7).any(|part| part == b"a-token"));
        assert_eq!(same.open(&sealed).unwrap().expose_secret(), "a-token");
        assert!(other.open(&sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(ours.open(&changed).is_none(), "byte {at}");
        }
        assert!(ours.open(&sealed[..11]).is_none());
        assert!(App::of(&Request::Print { text: "x".into() }).is_none());
    }
}
