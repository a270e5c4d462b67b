//! How a request proves where it comes from, and what has to be fetched to believe it.

use std::{sync::Arc, time::Duration};

use domain::providers::{Provider, Request};
use runtime::fetch::ANY_AGE;
use schemas::record::Auth;

use crate::{
    Fetch,
    gate::{Gate, Shown},
    reply::Refusal,
    source::Source,
};

/// What is fetched again because it lacks something is at most so old; so one sender of nonsense
/// makes us ask once a minute.
const NEWER: Duration = Duration::from_secs(60);

/// How the request proves where it comes from.
///
/// A signature holds for the bytes as sent, or for what they decode to: senders that compress
/// differ in what they do first, and neither can be made without the secret.
pub(crate) async fn authentic(
    fetch: &Fetch,
    source: &Source,
    gate: &Gate,
    mut request: Request<'_>,
    decoded: Option<&[u8]>,
) -> Result<Auth, Refusal> {
    let shown = match gate {
        Gate::Verify(shown) => shown,
        Gate::Address => return Ok(Auth { method: "address".to_owned(), credential: None }),
        Gate::Open => return Ok(source.skipped()),
        Gate::Closed(detail) => return Err(Refusal::credentials_missing(detail)),
        Gate::Unread => return Err(Refusal::keys_unread()),
    };
    let told = Request { body: decoded.unwrap_or(request.body), ..request };
    let fetched = fetched(fetch, source.provider, &told, shown).await?;
    request.fetched = fetched.as_deref();
    let verify = |request: &Request<'_>| shown.verify(source.provider, source.require, request);
    let verdict = verify(&request).or_else(|refused| match decoded {
        Some(body) => verify(&Request { body, ..request }),
        None => Err(refused),
    });
    verdict.map_err(|refused| {
        if request.shows_credential() && source.is_unread() {
            return Refusal::keys_unread();
        }
        Refusal::unauthenticated(&refused, shown.challenge())
    })
}

/// What the provider wants to look at besides the request; newer than what is remembered where that
/// does not do.
async fn fetched(
    fetch: &Fetch,
    provider: &dyn Provider,
    request: &Request<'_>,
    shown: &Shown,
) -> Result<Option<Arc<[u8]>>, Refusal> {
    let Some(url) = provider.needs(request, shown) else { return Ok(None) };
    let get = |age| fetch(url.clone(), age);
    let remembered = get(ANY_AGE).await.ok_or_else(Refusal::not_verifiable)?;
    let with = Request { fetched: Some(&remembered), ..*request };
    if !provider.is_outdated(&with) {
        return Ok(Some(remembered));
    }
    Ok(Some(get(NEWER).await.ok_or_else(Refusal::not_verifiable)?))
}
