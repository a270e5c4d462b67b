//! Fetching small public documents that senders name: certificates, confirmations.
//!
//! The address comes from a stranger. So: https only, no redirects, public addresses only (looked
//! at when they are dialled), a few seconds, a few kilobytes, a few at once; and what was found, or
//! not found, is remembered, so that nobody makes us ask the same thing again and again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Client, Url};
use tokio::sync::Semaphore;

use crate::{
    Error,
    address::is_public,
    http_client::{ClientConfig, build_guarded},
};

/// From the start of a request to the end of its answer.
const TIME: Duration = Duration::from_secs(3);
/// The largest document.
const MAX_BYTES: usize = 16 << 10;
/// Requests under way at once; further ones fail.
const AT_ONCE: usize = 8;
/// Documents that are remembered, and failures.
const REMEMBERED: usize = 128;
/// For how long what was found is believed, ...
const FOUND_FOR: Duration = Duration::from_secs(3600);
/// ... and for how long it is believed that there is nothing.
const FAILED_FOR: Duration = Duration::from_secs(30);

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

/// Fetches documents. Clones share what is remembered.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    permits: Arc<Semaphore>,
    found: Arc<Mutex<Memory<Arc<[u8]>>>>,
    failed: Arc<Mutex<Memory<FetchError>>>,
}

impl Fetcher {
    /// A fetcher that remembers nothing yet.
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn new() -> Result<Self, Error> {
        let config = ClientConfig { timeout: TIME, ..ClientConfig::default() };
        Ok(Self {
            client: build_guarded(&config)?,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            found: Arc::new(Mutex::new(Memory::new(FOUND_FOR))),
            failed: Arc::new(Mutex::new(Memory::new(FAILED_FOR))),
        })
    }

    /// The document at this address.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, url: &str) -> Result<Arc<[u8]>, FetchError> {
        let parsed = checked(url).ok_or(FetchError::Address)?;
        let now = Instant::now();
        if let Some(found) = locked(&self.found).get(url, now) {
            return Ok(found);
        }
        if let Some(failed) = locked(&self.failed).get(url, now) {
            return Err(failed);
        }
        // Not remembered: it says nothing of the address.
        let _permit = self.permits.try_acquire().map_err(|_| FetchError::Busy)?;
        let fetched = self.get(parsed).await;
        match &fetched {
            Ok(found) => locked(&self.found).put(url, Arc::clone(found), now),
            Err(failed) => locked(&self.failed).put(url, *failed, now),
        }
        fetched
    }

    async fn get(&self, url: Url) -> Result<Arc<[u8]>, FetchError> {
        let no_answer = |_| FetchError::NoAnswer;
        let mut response = self.client.get(url).send().await.map_err(no_answer)?;
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
}

/// An https URL without credentials, on the usual port, of a host that is no inner address.
fn checked(url: &str) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    (url.scheme() == "https" && plain && literal.is_none_or(is_public)).then_some(url)
}

fn locked<T>(memory: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers by address, for a while.
#[derive(Debug)]
struct Memory<T> {
    entries: HashMap<String, (Instant, T)>,
    hold: Duration,
}

impl<T: Clone> Memory<T> {
    fn new(hold: Duration) -> Self {
        Self { entries: HashMap::new(), hold }
    }

    fn get(&self, url: &str, now: Instant) -> Option<T> {
        let (since, answer) = self.entries.get(url)?;
        (now.saturating_duration_since(*since) < self.hold).then(|| answer.clone())
    }

    fn put(&mut self, url: &str, answer: T, now: Instant) {
        let hold = self.hold;
        if self.entries.len() >= REMEMBERED {
            self.entries.retain(|_, (since, _)| now.saturating_duration_since(*since) < hold);
        }
        if self.entries.len() >= REMEMBERED {
            let oldest = self.entries.iter().min_by_key(|(_, (since, _))| *since);
            if let Some(oldest) = oldest.map(|(url, _)| url.clone()) {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(url.to_owned(), (now, answer));
    }
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
            assert_eq!(fetcher.fetch(url).await, Err(FetchError::Address), "{url}");
        }
        // A name is looked at when it is dialled.
        assert_eq!(fetcher.fetch("https://localhost/x").await, Err(FetchError::NoAnswer));
        let remembered = locked(&fetcher.failed).get("https://localhost/x", Instant::now());
        assert_eq!(remembered, Some(FetchError::NoAnswer));
    }

    #[test]
    fn answers_are_remembered_for_a_while_and_not_without_end() {
        let (mut memory, start) = (Memory::new(Duration::from_secs(10)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        memory.put("a", 1, start);
        assert_eq!((memory.get("a", at(9)), memory.get("a", at(10))), (Some(1), None));
        for n in 0..3 * REMEMBERED {
            memory.put(&n.to_string(), n, at(n as u64 / 100));
        }
        assert!(memory.entries.len() <= REMEMBERED);
        let last = 3 * REMEMBERED - 1;
        assert_eq!(memory.get(&last.to_string(), at(3)), Some(last));
    }
}
