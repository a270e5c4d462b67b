//! What happens to a request before it is believed.

use std::{ops::Deref, sync::Arc};

use axum::http::HeaderValue;
use domain::providers::{Credential, Provider, Refused, Request};
use schemas::{Time, record::Auth};

use crate::{config::Require, credentials::Valid};

/// What was asked for once is asked for still, also where there is nothing left to show: a provider
/// that needs no credential would take none at all for none asked for.
const NONE_HOLDS: Refused =
    Refused { code: "credentials_invalid", detail: "No credential of this source holds now" };

/// What a request has to show, now.
pub enum Gate {
    /// One of these, or one of each kind.
    Verify(Shown),
    /// Its address, which was looked at already.
    Address,
    /// There is nothing to verify with, and this is production: the detail of the 503.
    Closed(&'static str),
    /// There is nothing to verify with yet: whether keys were issued is not known.
    Unread,
    /// There is nothing to verify with, and this is not production.
    Open,
}

/// Everything that lets a request into a source, as long as it holds.
#[derive(Debug)]
pub struct Keyring {
    credentials: Vec<Credential>,
    until: Vec<Option<Time>>,
    /// Every kind of credential in it, those that are over or revoked included.
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
            Self::Address | Self::Closed(_) | Self::Unread | Self::Open => None,
        }
    }
}

impl Keyring {
    /// A keyring of these. `issued`: there was a bearer key among them once, and that it was revoked
    /// takes nothing from what is asked for.
    pub fn new(valid: impl Iterator<Item = Valid>, issued: bool) -> Self {
        let (credentials, until): (Vec<_>, Vec<_>) =
            valid.map(|valid| (valid.credential, valid.until)).unzip();
        let mut kinds: Vec<_> = credentials.iter().map(Credential::kind).collect();
        if issued {
            let (id, sha256) = (String::new(), [0; 32]);
            kinds.push(Credential::Bearer { id, sha256 }.kind());
        }
        kinds.sort_unstable();
        kinds.dedup();
        let challenge = challenge(&credentials);
        Self { credentials, until, kinds, challenge }
    }

    /// Whether nobody gets in without a credential of it, also where none holds any more.
    pub fn is_guarded(&self) -> bool {
        !self.kinds.is_empty()
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
        let one_of = |some: &[Credential]| {
            let auth = provider.authenticate(request, some)?;
            if some.is_empty() && self.keyring.is_guarded() { Err(NONE_HOLDS) } else { Ok(auth) }
        };
        match require {
            Require::Credential | Require::Address => one_of(self),
            // Of no kind, every one is shown by anybody: what the provider itself verifies decides.
            Require::EveryKind if !self.keyring.is_guarded() => one_of(self),
            Require::EveryKind => {
                let of_kind = |kind: &&str| -> Vec<Credential> {
                    self.iter().filter(|c| c.kind() == *kind).cloned().collect()
                };
                let kinds = self.keyring.kinds.iter().map(of_kind);
                let shown = kinds.map(|some| one_of(&some));
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
            // Entra's tokens are shown like keys.
            Credential::Bearer { .. } | Credential::Entra { .. } => bearer = true,
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
