//! Reading a body within its bounds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http_body_util::BodyExt;

/// Room made before the first byte has arrived: what a sender merely announces costs it nothing.
const FIRST_ROOM: usize = 16 << 10;

/// The bytes of bodies that may be held at once.
#[derive(Clone, Debug)]
pub struct Budget(Arc<AtomicUsize>);

/// Bytes taken from a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    fn hold(&self) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes `bytes` more; false when there are not so many left.
    fn take(&mut self, bytes: usize) -> bool {
        let left = &self.budget.0;
        let taken = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    TooLarge,
    TooSlow,
    /// The budget is used up.
    NoRoom,
    /// The client went away or broke the framing.
    Aborted,
}

/// Reads the whole body: at most `cap` bytes within `deadline`, out of `budget`.
///
/// Bytes are taken from the budget as they arrive, so that a client holds what it has sent and
/// nothing for what it promises.
///
/// # Errors
/// The first bound that was broken.
pub async fn read(
    body: Body,
    announced: Option<u64>,
    cap: usize,
    deadline: Duration,
    budget: &Budget,
) -> Result<(Vec<u8>, Held), BodyError> {
    let announced = announced.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > cap) {
        return Err(BodyError::TooLarge);
    }
    let whole = collect(body, announced.unwrap_or(0).min(FIRST_ROOM), cap, budget);
    tokio::time::timeout(deadline, whole).await.unwrap_or(Err(BodyError::TooSlow))
}

async fn collect(
    mut body: Body,
    room: usize,
    cap: usize,
    budget: &Budget,
) -> Result<(Vec<u8>, Held), BodyError> {
    let mut held = budget.hold();
    let mut bytes = Vec::with_capacity(room);
    while let Some(frame) = body.frame().await {
        // Trailers are no part of what was signed.
        let Ok(data) = frame.map_err(|_| BodyError::Aborted)?.into_data() else { continue };
        if data.len() > cap - bytes.len() {
            return Err(BodyError::TooLarge);
        }
        if !held.take(data.len()) {
            return Err(BodyError::NoRoom);
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, held))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn chunks(parts: &[&'static str]) -> Body {
        let parts: Vec<Result<Bytes, std::io::Error>> =
            parts.iter().map(|p| Ok(Bytes::from_static(p.as_bytes()))).collect();
        Body::from_stream(stream::iter(parts))
    }

    async fn check(
        body: Body,
        announced: Option<u64>,
        budget: &Budget,
        expect: Result<&str, BodyError>,
    ) {
        let before = budget.0.load(Ordering::Relaxed);
        let got = read(body, announced, 8, LONG, budget).await;
        assert_eq!(
            got.as_ref().map(|(b, _)| b.as_slice()).map_err(|e| *e),
            expect.map(str::as_bytes)
        );
        drop(got);
        assert_eq!(budget.0.load(Ordering::Relaxed), before, "everything is given back");
    }

    #[tokio::test]
    async fn a_body_up_to_the_cap_is_read_whole() {
        let budget = Budget::new(8);
        check(chunks(&["1234", "5678"]), Some(8), &budget, Ok("12345678")).await;
        check(Body::empty(), None, &budget, Ok("")).await;
    }

    #[tokio::test]
    async fn a_body_over_the_cap_is_refused_announced_or_not() {
        let budget = Budget::new(100);
        check(chunks(&["1"]), Some(9), &budget, Err(BodyError::TooLarge)).await;
        check(chunks(&["1"]), Some(u64::MAX), &budget, Err(BodyError::TooLarge)).await;
        check(chunks(&["1234", "56789"]), None, &budget, Err(BodyError::TooLarge)).await;
    }

    #[tokio::test]
    async fn without_room_a_body_is_refused_and_what_it_held_is_given_back() {
        let budget = Budget::new(6);
        check(chunks(&["1234", "5678"]), None, &budget, Err(BodyError::NoRoom)).await;
        let (_, held) = read(chunks(&["123456"]), None, 8, LONG, &budget).await.unwrap();
        check(chunks(&["1"]), None, &budget, Err(BodyError::NoRoom)).await;
        drop(held);
        check(chunks(&["123456"]), None, &budget, Ok("123456")).await;
    }

    #[tokio::test]
    async fn a_body_that_never_ends_or_breaks_off_is_refused() {
        let budget = Budget::new(8);
        let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let got = read(endless, None, 8, Duration::from_millis(20), &budget).await;
        assert_eq!(got.unwrap_err(), BodyError::TooSlow);
        let broken = stream::iter([Ok(Bytes::from_static(b"1")), Err(std::io::Error::other("x"))]);
        check(Body::from_stream(broken), None, &budget, Err(BodyError::Aborted)).await;
        assert_eq!(budget.0.load(Ordering::Relaxed), 8);
    }
}
