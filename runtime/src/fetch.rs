//! Fetching small public documents that senders name: certificates, confirmations.
//!
//! The address comes from a stranger. So: https only, no redirects, public addresses only (looked
//! at when they are dialled), a few seconds, a few kilobytes, a few at once; and what was found, or
//! not found, is remembered, so that nobody makes us ask the same thing again and again.

mod once;

use std::{fmt, sync::Arc, time::Duration};

use reqwest::{Client, Url};

use self::once::Once;
use crate::{
    Error,
    address::is_public,
    http_client::{ClientConfig, build_guarded},
};

/// From the start of a request to the end of its answer.
const TIME: Duration = Duration::from_secs(3);
/// The largest document: the keys of a tenant, each with its certificate.
const MAX_BYTES: usize = 64 << 10;
/// Requests under way at once, each for another address; further ones fail.
const AT_ONCE: usize = 32;

/// However old what is remembered may be.
pub const ANY_AGE: Duration = Duration::MAX;

/// Why there is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("fetch: not an https address of a public host")]
    Address,
    #[error("fetch: too many at once")]
    Busy,
    #[error("fetch: no answer in time, or no connection")]
    NoAnswer,
    #[error("fetch: answered {0}")]
    Status(u16),
    #[error("fetch: the document is too large")]
    TooLarge,
}

/// Fetches documents. Clones share what is remembered and what is under way.
#[derive(Clone)]
pub struct Fetcher {
    client: Client,
    once: Once,
}

impl Fetcher {
    /// A fetcher that remembers nothing yet.
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn new() -> Result<Self, Error> {
        let config = ClientConfig { timeout: TIME, ..ClientConfig::default() };
        Ok(Self { client: build_guarded(&config)?, once: Once::new(AT_ONCE, TIME) })
    }

    /// The document at this address, as it is remembered or as it was at most `age` ago, whichever
    /// is less. However many ask for it, it is asked for once at a time.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, url: &str, age: Duration) -> Result<Arc<[u8]>, FetchError> {
        let url = checked(url).ok_or(FetchError::Address)?;
        self.once.fetch(url, age, |url| get(self.client.clone(), url)).await
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses may hold what confirms a subscription.
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

async fn get(client: Client, url: Url) -> Result<Arc<[u8]>, FetchError> {
    let no_answer = |_| FetchError::NoAnswer;
    let mut response = client.get(url).send().await.map_err(no_answer)?;
    if !response.status().is_success() {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if chunk.len() > MAX_BYTES - document.len() {
            return Err(FetchError::TooLarge);
        }
        document.extend_from_slice(&chunk);
    }
    Ok(document.into())
}

/// An https URL without credentials, on the usual port, of a host that is no inner address; the
/// same however it is written.
fn checked(url: &str) -> Option<Url> {
    let mut url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    if url.scheme() != "https" || !plain || !literal.is_none_or(is_public) {
        return None;
    }
    // It is not sent.
    url.set_fragment(None);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_public_https_hosts_are_asked() {
        let fetcher = Fetcher::new().unwrap();
        for url in [
            "http://sns.eu-west-1.amazonaws.com/x.pem",
            "https://127.0.0.1/x",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/x",
            "https://[::ffff:10.0.0.1]/x",
            "https://2130706433/",
            "https://user@example.com/x",
            "https://example.com:8443/x",
            "file:///etc/passwd",
            "no address",
        ] {
            assert_eq!(fetcher.fetch(url, ANY_AGE).await, Err(FetchError::Address), "{url}");
        }
        // A name is looked at when it is dialled; however it is written, what came of it counts.
        assert_eq!(fetcher.fetch("https://localhost/x", ANY_AGE).await, Err(FetchError::NoAnswer));
        let again = checked("https://LOCALHOST:443/./x#y").unwrap();
        let unasked = |_| std::future::ready(Ok(Arc::from([])));
        assert_eq!(fetcher.once.fetch(again, ANY_AGE, unasked).await, Err(FetchError::NoAnswer));
    }
}
