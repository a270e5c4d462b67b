//! Sessions of the pages: who is signed in, and that a form was sent from our own page.
//!
//! A session is 32 random bytes in a cookie and a row in this process's memory, so a restart signs
//! everybody out, and several consoles behind one address need a balancer that keeps a browser with
//! one of them. Memory holds only the SHA-256 of the cookie.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};
use runtime::Clock;
use schemas::Time;
use sha2::{Digest, Sha256};

use crate::auth::Principal;

/// The session cookie.
pub const COOKIE: &str = "bw_session";
/// How long a session lasts, in seconds.
const LIFETIME: i64 = 12 * 3600;
/// Sessions held; beyond it the one that ends first makes room.
const MOST: usize = 10_000;

/// SHA-256 of a session's cookie. Looked up by hash, so that no comparison with the secret itself
/// can be timed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; 32]);

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

#[derive(Debug)]
struct Session {
    principal: Arc<Principal>,
    ends: Time,
}

/// Who is signed in.
#[derive(Debug)]
pub struct Sessions {
    clock: Clock,
    held: Mutex<HashMap<SessionKey, Session>>,
}

impl Sessions {
    pub fn new(clock: Clock) -> Self {
        Self { clock, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<SessionKey, Session>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session; the value of its cookie.
    pub fn begin(&self, principal: &Principal) -> String {
        let secret = const_hex::encode(runtime::random_bytes::<32>());
        let now = self.clock.now();
        let principal = Arc::new(Principal { auth_method: "session", ..principal.clone() });
        let mut held = self.held();
        held.retain(|_, session| session.ends > now);
        if held.len() >= MOST {
            let first = held.iter().min_by_key(|(_, session)| session.ends).map(|(key, _)| *key);
            first.map(|key| held.remove(&key));
        }
        held.insert(key(&secret), Session { principal, ends: now.plus_seconds(LIFETIME) });
        secret
    }

    /// The session that a request's cookie names, and whose it is.
    pub fn of(&self, headers: &HeaderMap) -> Option<(SessionKey, Arc<Principal>)> {
        let key = key(cookie(headers, COOKIE)?);
        let now = self.clock.now();
        let held = self.held();
        let session = held.get(&key).filter(|session| session.ends > now)?;
        Some((key, Arc::clone(&session.principal)))
    }

    /// Whether a session still stands.
    pub fn stands(&self, key: SessionKey) -> bool {
        let now = self.clock.now();
        self.held().get(&key).is_some_and(|session| session.ends > now)
    }

    /// Ends a session.
    pub fn end(&self, key: SessionKey) {
        self.held().remove(&key);
    }
}

fn key(secret: &str) -> SessionKey {
    SessionKey(Sha256::digest(secret.as_bytes()).into())
}

/// The cookie `name` of a request.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// `Set-Cookie` of a session that begins (its secret), or ends (absent). `Secure` when the request
/// came over TLS, as far as a proxy says so: saying it falsely only makes the cookie stricter.
pub fn set_cookie(headers: &HeaderMap, secret: Option<&str>) -> HeaderValue {
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
    let (value, age) = secret.map_or(("", 0), |secret| (secret, LIFETIME));
    let text =
        format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
    // Hex digits and the constants above are header characters.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a form was sent from a page of ours: by the browser's word (`Sec-Fetch-Site`, told only
/// to trustworthy origins), else by `Origin`. A request with neither comes from no browser, and
/// scripts have keys.
pub fn from_own_page(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else {
        return false;
    };
    let authority = origin.split_once("://").and_then(|(_, rest)| rest.parse::<Authority>().ok());
    authority.is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host))
}

/// Where to go after signing in: a page of ours, or the front page. Anything a browser could read
/// as another host is neither.
pub fn next(asked: Option<&str>) -> &str {
    match asked {
        Some(path)
            if path.starts_with("/p/")
                && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'"')
                && !path.contains("//") =>
        {
            path
        }
        Some(_) | None => "/p/~/",
    }
}

#[cfg(test)]
mod tests {
    use store::read::Visible;

    use super::*;
    use crate::Role;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn next_is_never_another_host() {
        let check = |asked: &str, expect: &str| assert_eq!(next(Some(asked)), expect, "{asked}");
        check("/p/payments/", "/p/payments/");
        check("/p/~/?lang=en", "/p/~/?lang=en");
        for other in [
            "",
            "//evil.example/p/",
            "https://evil.example/p/x",
            "/\\evil.example",
            "/p/\\evil.example",
            "/p//evil.example",
            "/sign-in",
            "/p/x\r\nset-cookie: a=b",
            "javascript:alert(1)",
        ] {
            check(other, "/p/~/");
        }
        assert_eq!(next(None), "/p/~/");
    }

    #[test]
    fn forms_come_from_our_own_pages() {
        let check = |pairs: &[(&'static str, &str)], expect| {
            assert_eq!(from_own_page(&headers(pairs)), expect, "{pairs:?}");
        };
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "same-site")], false);
        check(&[("sec-fetch-site", "cross-site")], false);
        check(&[("sec-fetch-site", "none")], false);
        check(&[("host", "bw.example:8080"), ("origin", "http://bw.example:8080")], true);
        check(&[("host", "bw.example:8080"), ("origin", "http://bw.example")], false);
        check(&[("host", "bw.example"), ("origin", "http://evil.example")], false);
        check(&[("host", "bw.example"), ("origin", "null")], false);
        check(&[("host", "bw.example")], false);
        // The browser's word goes before Origin.
        let both = [
            ("sec-fetch-site", "cross-site"),
            ("host", "bw.example"),
            ("origin", "http://bw.example"),
        ];
        check(&both, false);
    }

    #[test]
    fn a_session_stands_until_it_ends() {
        let now = Arc::new(std::sync::atomic::AtomicI64::new(0));
        let clock = Clock::from_fn({
            let now = Arc::clone(&now);
            move || Time::from_micros(now.load(std::sync::atomic::Ordering::Relaxed))
        });
        let sessions = Sessions::new(clock);
        let ann = Principal {
            operator_id: "ann".into(),
            auth_method: "bearer",
            role: Role::Viewer,
            visible: Visible::Everything,
        };
        let secret = sessions.begin(&ann);
        let with = |secret: &str| headers(&[("cookie", &format!("a=b; {COOKIE}={secret}"))]);
        let (key, principal) = sessions.of(&with(&secret)).unwrap();
        assert_eq!((principal.operator_id.as_str(), principal.auth_method), ("ann", "session"));
        assert!(sessions.of(&with(&"0".repeat(64))).is_none());
        assert!(sessions.of(&HeaderMap::new()).is_none());

        now.store((LIFETIME + 1) * 1_000_000, std::sync::atomic::Ordering::Relaxed);
        assert!(sessions.of(&with(&secret)).is_none());
        now.store(0, std::sync::atomic::Ordering::Relaxed);
        sessions.end(key);
        assert!(!sessions.stands(key) && sessions.of(&with(&secret)).is_none());
    }

    #[test]
    fn the_cookie_is_for_our_pages_only() {
        let plain = set_cookie(&HeaderMap::new(), Some("ab")).to_str().unwrap().to_owned();
        assert_eq!(plain, "bw_session=ab; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200");
        let tls = set_cookie(&headers(&[("x-forwarded-proto", "https")]), None);
        assert_eq!(tls, "bw_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0; Secure");
    }
}
