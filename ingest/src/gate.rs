//! What happens to a request before it is believed.

use std::{ops::Deref, sync::Arc};

use axum::http::HeaderValue;
use domain::providers::{Credential, Provider, Refused, Request};
use schemas::{Time, record::Auth};

use crate::{config::Require, credentials::Valid};

/// What a request has to show, now.
pub enum Gate {
    /// One of these, or one of each kind.
    Verify(Shown),
    /// Its address, which was looked at already.
    Address,
    /// There is nothing to verify with, and this is production: the detail of the 503.
    Closed(&'static str),
    /// There is nothing to verify with, and this is not production.
    Open,
}

/// Everything that lets a request into a source, as long as it holds.
#[derive(Debug)]
pub struct Keyring {
    credentials: Vec<Credential>,
    until: Vec<Option<Time>>,
    /// Every kind of credential in it, those that are over included.
    kinds: Vec<&'static str>,
    /// `WWW-Authenticate` of a 401.
    pub challenge: Option<HeaderValue>,
}

/// The credentials that hold now.
pub struct Shown {
    keyring: Arc<Keyring>,
    /// Without those that are over; absent where none is.
    left: Option<Vec<Credential>>,
}

impl Gate {
    /// The credentials that hold now, where there are any.
    pub fn shown(&self) -> Option<&Shown> {
        match self {
            Self::Verify(shown) => Some(shown),
            Self::Address | Self::Closed(_) | Self::Open => None,
        }
    }
}

impl Keyring {
    /// A keyring of these.
    pub fn new(valid: impl Iterator<Item = Valid>) -> Self {
        let (credentials, until): (Vec<_>, Vec<_>) =
            valid.map(|valid| (valid.credential, valid.until)).unzip();
        let mut kinds: Vec<_> = credentials.iter().map(Credential::kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let challenge = challenge(&credentials);
        Self { credentials, until, kinds, challenge }
    }

    /// Whether there never was anything in it.
    pub fn is_empty(&self) -> bool {
        self.credentials.is_empty()
    }
}

impl Shown {
    /// What of a keyring holds at this time.
    pub fn at(keyring: Arc<Keyring>, now: Time) -> Self {
        let over = |until: &Option<Time>| until.is_some_and(|until| until <= now);
        let left = keyring.until.iter().any(over).then(|| {
            let both = keyring.credentials.iter().zip(&keyring.until);
            both.filter(|(_, until)| !over(until)).map(|(c, _)| c.clone()).collect()
        });
        Self { keyring, left }
    }

    /// Whether the request shows what is required.
    ///
    /// # Errors
    /// The 401 to answer.
    pub fn verify(
        &self,
        provider: &dyn Provider,
        require: Require,
        request: &Request<'_>,
    ) -> Result<Auth, Refused> {
        match require {
            Require::Credential | Require::Address => provider.authenticate(request, self),
            Require::EveryKind => {
                let of_kind = |kind: &&str| -> Vec<Credential> {
                    self.iter().filter(|c| c.kind() == *kind).cloned().collect()
                };
                let kinds = self.keyring.kinds.iter().map(of_kind);
                let shown = kinds.map(|some| provider.authenticate(request, &some));
                let shown: Vec<Auth> = shown.collect::<Result<_, _>>()?;
                let methods: Vec<_> = shown.iter().map(|auth| auth.method.as_str()).collect();
                let ids: Vec<_> = shown.iter().filter_map(|a| a.credential.as_deref()).collect();
                Ok(Auth { method: methods.join("+"), credential: Some(ids.join("+")) })
            }
        }
    }

    /// `WWW-Authenticate` of a 401.
    pub fn challenge(&self) -> Option<HeaderValue> {
        self.keyring.challenge.clone()
    }
}

impl Deref for Shown {
    type Target = [Credential];

    fn deref(&self) -> &[Credential] {
        self.left.as_deref().unwrap_or(&self.keyring.credentials)
    }
}

/// The `WWW-Authenticate` that names what is accepted; none where that is only signatures.
fn challenge(credentials: &[Credential]) -> Option<HeaderValue> {
    let (mut basic, mut bearer) = (false, false);
    for credential in credentials {
        match credential {
            Credential::Basic { .. } => basic = true,
            Credential::Bearer { .. } => bearer = true,
            Credential::Hmac { .. } | Credential::Token { .. } => {}
        }
    }
    match (basic, bearer) {
        (true, true) => Some(r#"Basic realm="bellwether", Bearer"#),
        (true, false) => Some(r#"Basic realm="bellwether""#),
        (false, true) => Some("Bearer"),
        (false, false) => None,
    }
    .map(HeaderValue::from_static)
}
