//! The signatures the payloads were published with: as they are, and everything that must not do.

use super::*;

/// Headers that say when a request was signed.
const SIGNED_AT: [&str; 4] = [
    "x-grafana-alerting-timestamp",
    "webhook-timestamp",
    "x-slack-request-timestamp",
    "x-lark-request-timestamp",
];

/// Within the validity of the certificate, which says nothing of when payloads were signed.
const WITHIN: &str = "2026-12-01T00:00:00Z";

/// A payload with what it proves itself by.
struct Signed<'a> {
    entry: &'a Entry<'a>,
    headers: Vec<(String, String)>,
    fetched: Option<Vec<u8>>,
    /// The header the proof stands in; some stand in the body.
    header: Option<usize>,
    secret: String,
    at: Time,
}

impl<'a> Signed<'a> {
    fn new(entry: &'a Entry<'a>) -> Option<Self> {
        let signature = entry.http().get("signature")?;
        let headers = entry.headers();
        let header = |name: &&str| headers.iter().find(|(n, _)| n == name);
        let signed = SIGNED_AT.iter().find_map(header).and_then(|(_, text)| text.parse().ok());
        let at = signed.map(|seconds: i64| Time::from_micros(seconds * 1_000_000));
        let name = |name: &str| name.ends_with("signature") || name.ends_with("signature-256");
        // The older of two hashes of one sender is not what is looked at.
        let place = headers.iter().rposition(|(n, _)| name(n) && n != "x-hub-signature");
        let fetched =
            signature["certificate_file"].as_str().map(|file| Corpus::open().unwrap().read(file));
        Some(Self {
            entry,
            header: place,
            fetched,
            secret: signature["secret"].as_str().unwrap_or_default().to_owned(),
            at: at.unwrap_or_else(|| WITHIN.parse().unwrap()),
            headers,
        })
    }

    /// Every credential a secret can be.
    fn credentials(&self, secret: &str) -> Vec<Credential> {
        if self.fetched.is_some() {
            return vec![];
        }
        let id = || secret.to_owned();
        let bytes = secret.as_bytes().to_vec();
        let all = [
            Credential::Hmac { id: id(), secret: bytes.clone() },
            Credential::Token { id: id(), token: bytes },
        ];
        all.into_iter().filter(|c| self.entry.provider.accepts(c)).collect()
    }

    fn says(
        &self,
        headers: &[(String, String)],
        body: &[u8],
        received_at: Time,
        credentials: &[Credential],
    ) -> Result<Auth, &'static str> {
        let fetched = self.fetched.as_deref();
        let request = Request { headers, body, received_at, fetched, ..Request::default() };
        let auth = self.entry.provider.authenticate(&request, credentials);
        auth.map_err(|refused| refused.code)
    }

    fn check(&self) {
        let (file, raw, at) = (self.entry.file, &self.entry.raw, self.at);
        let right = self.credentials(&self.secret);
        let rotated = [self.credentials("another"), right.clone()].concat();
        let auth = self
            .says(&self.headers, raw, at, &rotated)
            .unwrap_or_else(|code| panic!("{file}: {code}"));
        assert!(
            self.fetched.is_some() || auth.credential.as_deref() == Some(&self.secret),
            "{file}"
        );

        let refused =
            |headers: &[(String, String)], body: &[u8], with: &[Credential], why: &str| {
                let code = self.says(headers, body, at, with).expect_err(&format!("{file}: {why}"));
                assert!(
                    ["signature", "token", "credentials"].iter().any(|w| code.starts_with(w)),
                    "{file} {why}: {code}"
                );
            };
        for place in [0, raw.len() / 2, raw.len() / 3] {
            let mut altered = raw.clone();
            altered[place] ^= 1;
            refused(&self.headers, &altered, &right, "one bit of the body");
        }
        if self.fetched.is_none() {
            refused(&self.headers, raw, &self.credentials("another"), "another secret");
            refused(&self.headers, raw, &self.credentials(""), "an empty secret");
        }
        let Some(header) = self.header else { return };
        let with = |value: String| {
            let mut headers = self.headers.clone();
            headers[header].1 = value;
            headers
        };
        let given = &self.headers[header].1;
        // Some headers list several, each with its version: `v1,… v1,…` or `v1=…,v1=…`.
        let separator = if given.contains("v1,") { ' ' } else { ',' };
        let each = |change: &dyn Fn(&str) -> String| -> String {
            let all: Vec<_> = given.split(separator).map(change).collect();
            all.join(&separator.to_string())
        };
        let cut = |n: usize| each(&|one| one[..one.len() - n].to_owned());
        refused(&with(cut(2)), raw, &right, "a truncated MAC");
        refused(&with(cut(20)), raw, &right, "a shorter MAC");
        refused(&with(each(&flip)), raw, &right, "one digit of the MAC");
        refused(&with(String::new()), raw, &right, "an empty MAC");
        let mut without = self.headers.clone();
        without.remove(header);
        refused(&without, raw, &right, "no MAC");
        for other in (0..self.headers.len()).filter(|other| *other != header) {
            let mut swapped = self.headers.clone();
            swapped[header].1 = self.headers[other].1.clone();
            swapped[other].1 = given.clone();
            refused(&swapped, raw, &right, "swapped headers");
        }
        if at != WITHIN.parse().unwrap() {
            let age =
                |seconds: i64| self.says(&self.headers, raw, at.plus_seconds(seconds), &right);
            assert!(age(300).is_ok() && age(-300).is_ok(), "{file}");
            assert_eq!(age(301), Err("signature_stale"), "{file}");
            assert_eq!(age(-301), Err("signature_stale"), "{file}");
        }
    }
}

/// The same text with one digit or letter changed.
fn flip(signature: &str) -> String {
    let mut bytes = signature.as_bytes().to_vec();
    let place = bytes.len().saturating_sub(6);
    bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
    String::from_utf8(bytes).unwrap()
}

/// The bytes that are stored of a payload: opened, where it is sealed with the key that is given.
pub(super) fn stored(entry: &Entry<'_>) -> Vec<u8> {
    let Some(key) = entry.expect()["decrypts_with_encrypt_key"].as_str() else {
        return entry.raw.clone();
    };
    let headers = entry.headers();
    let request = Request { headers: &headers, body: &entry.raw, ..Request::default() };
    let key = Credential::Hmac { id: "key".into(), secret: key.as_bytes().to_vec() };
    let opened = entry.provider.unseal(&request, &[key]).unwrap().unwrap();
    let sha256 = const_hex::encode(Sha256::digest(&opened));
    assert_eq!(entry.expect()["plaintext_sha256"], sha256, "{}", entry.file);
    opened
}

#[test]
fn r11_published_signatures_hold_and_nothing_beside_them() {
    let Some(corpus) = Corpus::open() else { return };
    let entries = corpus.entries();
    let signed: Vec<_> = entries.iter().filter_map(Signed::new).collect();
    signed.iter().for_each(Signed::check);
    println!("corpus: {} signatures", signed.len());
    assert!(signed.len() >= 29, "{}", signed.len());
}

/// Senders that show their secret as it is.
#[test]
fn r11_published_tokens_are_compared_whole() {
    let Some(corpus) = Corpus::open() else { return };
    for entry in corpus.entries() {
        let headers = entry.headers();
        let shown = ["x-gitlab-token", "x-telegram-bot-api-secret-token"];
        let Some(at) = headers.iter().position(|(name, _)| shown.contains(&name.as_str())) else {
            continue;
        };
        let token = headers[at].1.clone();
        let says = |given: Option<&str>, accepted: &str| {
            let mut headers = headers.clone();
            match given {
                Some(given) => headers[at].1 = given.to_owned(),
                None => drop(headers.remove(at)),
            }
            let credential =
                Credential::Token { id: "t".into(), token: accepted.as_bytes().to_vec() };
            let request = Request { headers: &headers, body: &entry.raw, ..Request::default() };
            entry.provider.authenticate(&request, &[credential]).is_ok()
        };
        assert!(says(Some(&token), &token), "{}", entry.file);
        let bit = flip(&token);
        for (given, accepted) in [
            (Some(bit.as_str()), token.as_str()),
            (Some(&token[..token.len() - 1]), &token),
            (Some(""), &token),
            (Some(""), ""),
            (None, &token),
            (None, ""),
        ] {
            assert!(!says(given, accepted), "{} {given:?} {accepted:?}", entry.file);
        }
    }
}
