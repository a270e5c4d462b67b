//! One request for each address at a time, and what came of the last.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use reqwest::Url;

use super::FetchError;

/// Documents that are remembered, and failures.
const REMEMBERED: usize = 128;
/// For how long what was found is believed, ...
const FOUND_FOR: Duration = Duration::from_secs(3600);
/// ... and for how long it is believed that there is nothing.
const FAILED_FOR: Duration = Duration::from_secs(30);

/// What came of a request.
type Fetched = Result<Arc<[u8]>, FetchError>;

/// A request under way. Whoever waits for it drives it; once nobody does, it is given up.
type Flight = BoxFuture<'static, Fetched>;

/// Requests under way and answers, by address: those who want the same document wait for one
/// request, and those who want another do not wait for it.
#[derive(Clone)]
pub(super) struct Once {
    /// Requests for different addresses at once; further ones fail.
    at_once: usize,
    /// From the start of a request to its end.
    time: Duration,
    state: Arc<Mutex<State>>,
}

struct State {
    found: Memory<Arc<[u8]>>,
    failed: Memory<FetchError>,
    under_way: HashMap<Url, WeakShared<Flight>>,
}

impl Once {
    /// Nothing under way, nothing remembered.
    pub(super) fn new(at_once: usize, time: Duration) -> Self {
        let state = State {
            found: Memory::new(FOUND_FOR),
            failed: Memory::new(FAILED_FOR),
            under_way: HashMap::new(),
        };
        Self { at_once, time, state: Arc::new(Mutex::new(state)) }
    }

    /// What is remembered of this address since at most `age`, or what its request, begun by `get`
    /// if none is under way, comes to.
    ///
    /// # Errors
    /// What `get` says; [`FetchError::NoAnswer`] where it takes too long, and [`FetchError::Busy`]
    /// where too many others are under way.
    pub(super) async fn fetch<G>(
        &self,
        url: Url,
        age: Duration,
        get: impl FnOnce(Url) -> G,
    ) -> Fetched
    where
        G: Future<Output = Fetched> + Send + 'static,
    {
        let flight = {
            let mut state = locked(&self.state);
            let now = Instant::now();
            if let Some(found) = state.found.get(&url, now, age) {
                return Ok(found);
            }
            if let Some(failed) = state.failed.get(&url, now, FAILED_FOR) {
                return Err(failed);
            }
            match state.under_way.get(&url).and_then(WeakShared::upgrade) {
                Some(flight) => flight,
                None => self.begin(&mut state, url.clone(), get(url))?,
            }
        };
        flight.await
    }

    fn begin(
        &self,
        state: &mut State,
        url: Url,
        get: impl Future<Output = Fetched> + Send + 'static,
    ) -> Result<Shared<Flight>, FetchError> {
        // Nobody waits for some of them any more.
        state.under_way.retain(|_, flight| flight.upgrade().is_some());
        if state.under_way.len() >= self.at_once {
            // Not remembered: it says nothing of the address.
            return Err(FetchError::Busy);
        }
        let (time, shared, key) = (self.time, Arc::clone(&self.state), url.clone());
        let flight = async move {
            let fetched = tokio::time::timeout(time, get).await;
            let fetched = fetched.unwrap_or(Err(FetchError::NoAnswer));
            let (mut state, now) = (locked(&shared), Instant::now());
            state.under_way.remove(&key);
            match &fetched {
                Ok(found) => state.found.put(key, Arc::clone(found), now),
                Err(failed) => state.failed.put(key, *failed, now),
            }
            fetched
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            state.under_way.insert(url, weak);
        }
        Ok(flight)
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every change is made whole before anything can panic.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers by address, for a while.
struct Memory<T> {
    entries: HashMap<Url, (Instant, T)>,
    hold: Duration,
}

impl<T: Clone> Memory<T> {
    fn new(hold: Duration) -> Self {
        Self { entries: HashMap::new(), hold }
    }

    /// The answer, where it is not older than `age` either.
    fn get(&self, url: &Url, now: Instant, age: Duration) -> Option<T> {
        let (since, answer) = self.entries.get(url)?;
        (now.saturating_duration_since(*since) < self.hold.min(age)).then(|| answer.clone())
    }

    fn put(&mut self, url: Url, answer: T, now: Instant) {
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
        self.entries.insert(url, (now, answer));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{join_all, pending, ready};
    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn url(name: &str) -> Url {
        Url::parse(&format!("https://example.com/{name}")).unwrap()
    }

    fn document() -> Fetched {
        Ok(Arc::from(*b"document"))
    }

    #[tokio::test]
    async fn all_who_want_a_document_wait_for_one_request() {
        let (once, begun) = (Once::new(8, LONG), AtomicUsize::new(0));
        let (answer, awaited) = oneshot::channel::<Fetched>();
        let mut awaited = Some(awaited);
        let mut waiting: Vec<_> = (0..100)
            .map(|_| {
                let awaited = awaited.take();
                once.fetch(url("a"), LONG, |_| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    async move { awaited.unwrap().await.unwrap() }
                })
                .boxed()
            })
            .collect();
        // Whoever asked first goes away, and the others still get what was begun for it.
        assert!(waiting[0].as_mut().now_or_never().is_none());
        assert!(join_all(waiting.iter_mut().skip(1)).now_or_never().is_none());
        drop(waiting.remove(0));
        answer.send(document()).unwrap();
        assert!(join_all(waiting).await.iter().all(|fetched| *fetched == document()));
        // And whoever comes later gets what is remembered.
        assert_eq!(once.fetch(url("a"), LONG, |_| pending()).await, document());
        assert_eq!(begun.into_inner(), 1);
    }

    #[tokio::test]
    async fn who_wants_it_newer_asks_again_and_a_failure_takes_nothing_away() {
        let once = Once::new(8, LONG);
        assert_eq!(once.fetch(url("a"), LONG, |_| ready(document())).await, document());
        // What is remembered is new enough for a while, ...
        assert_eq!(once.fetch(url("a"), LONG, |_| pending()).await, document());
        // ... and for who wants it as it is now it is not.
        let failed = once.fetch(url("a"), Duration::ZERO, |_| ready(Err(FetchError::Status(500))));
        assert_eq!(failed.await, Err(FetchError::Status(500)));
        let soon = once.fetch(url("a"), Duration::ZERO, |_| pending());
        assert_eq!(soon.await, Err(FetchError::Status(500)), "not asked again at once");
        assert_eq!(once.fetch(url("a"), LONG, |_| pending()).await, document());
    }

    #[tokio::test]
    async fn a_slow_address_delays_no_other_and_ends_in_time() {
        let once = Once::new(2, Duration::from_millis(50));
        let mut slow = once.fetch(url("slow"), LONG, |_| pending()).boxed();
        assert!(slow.as_mut().now_or_never().is_none());
        for name in ["a", "b", "c"] {
            let other = once.fetch(url(name), LONG, |_| ready(document())).now_or_never();
            assert_eq!(other, Some(document()), "{name} does not wait");
        }
        assert_eq!(slow.await, Err(FetchError::NoAnswer));
        // That is remembered too.
        assert_eq!(
            once.fetch(url("slow"), LONG, |_| ready(document())).await,
            Err(FetchError::NoAnswer)
        );
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_given_up_and_takes_no_place() {
        let once = Once::new(2, LONG);
        let waits = |name: &str| once.fetch(url(name), LONG, |_| pending()).boxed();
        let mut slow = ["a", "b"].map(waits);
        assert!(slow.iter_mut().all(|slow| slow.as_mut().now_or_never().is_none()));
        let get = |name: &str| once.fetch(url(name), LONG, |_| ready(document()));
        assert_eq!(get("c").await, Err(FetchError::Busy));
        drop(slow);
        assert_eq!(get("c").await, document());
        assert_eq!(get("a").await, document(), "begun anew");
        assert!(locked(&once.state).under_way.len() <= 1);
    }

    #[test]
    fn answers_are_remembered_for_a_while_and_not_without_end() {
        let (mut memory, start) = (Memory::new(Duration::from_secs(10)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        memory.put(url("a"), 1, start);
        let get = |at| memory.get(&url("a"), at, LONG);
        assert_eq!((get(at(9)), get(at(10))), (Some(1), None));
        let within = |seconds| memory.get(&url("a"), at(5), Duration::from_secs(seconds));
        assert_eq!((within(6), within(5)), (Some(1), None));
        for n in 0..3 * REMEMBERED {
            memory.put(url(&n.to_string()), n, at(n as u64 / 100));
        }
        assert!(memory.entries.len() <= REMEMBERED);
        let last = 3 * REMEMBERED - 1;
        assert_eq!(memory.get(&url(&last.to_string()), at(3), LONG), Some(last));
    }
}
