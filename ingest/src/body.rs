//! Reading a body within its bounds.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;

use crate::budget::{Held, NoRoom};

/// Room made before the first byte has arrived: what a sender merely announces costs it nothing.
const FIRST_ROOM: usize = 16 << 10;

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

impl From<NoRoom> for BodyError {
    fn from(reason: NoRoom) -> Self {
        match reason {
            NoRoom::Full => Self::NoRoom,
            // Those that have been arriving for the longest do.
            NoRoom::GaveWay => Self::TooSlow,
        }
    }
}

/// Reads the whole body: at most `cap` bytes within `deadline`, into what is `held`.
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
    held: &mut Held,
) -> Result<Vec<u8>, BodyError> {
    let announced = announced.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > cap) {
        return Err(BodyError::TooLarge);
    }
    let whole = collect(body, announced.unwrap_or(0).min(FIRST_ROOM), cap, held);
    tokio::time::timeout(deadline, whole).await.unwrap_or(Err(BodyError::TooSlow))
}

async fn collect(
    mut body: Body,
    room: usize,
    cap: usize,
    held: &mut Held,
) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::with_capacity(room);
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = held.gives_way() => return Err(BodyError::TooSlow),
        };
        let Some(frame) = frame else { break };
        // Trailers are no part of what was signed.
        let Ok(data) = frame.map_err(|_| BodyError::Aborted)?.into_data() else { continue };
        if data.len() > cap - bytes.len() {
            return Err(BodyError::TooLarge);
        }
        held.take(data.len())?;
        bytes.extend_from_slice(&data);
    }
    held.whole()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::budget::{Budget, Shares};

    const LONG: Duration = Duration::from_secs(60);

    fn chunks(parts: &[&'static str]) -> Body {
        let parts: Vec<Result<Bytes, std::io::Error>> =
            parts.iter().map(|p| Ok(Bytes::from_static(p.as_bytes()))).collect();
        Body::from_stream(stream::iter(parts))
    }

    fn budget(total: usize) -> Budget {
        Budget::new(Shares { total, peer: total, source: total })
    }

    async fn check(
        body: Body,
        announced: Option<u64>,
        budget: &Budget,
        expect: Result<&str, BodyError>,
    ) {
        let before = budget.left();
        let mut held = budget.hold(None, 0);
        let got = read(body, announced, 8, LONG, &mut held).await;
        assert_eq!(got.as_deref().map_err(|e| *e), expect.map(str::as_bytes));
        drop(held);
        assert_eq!(budget.left(), before, "everything is given back");
    }

    #[tokio::test]
    async fn a_body_up_to_the_cap_is_read_whole() {
        let budget = budget(8);
        check(chunks(&["1234", "5678"]), Some(8), &budget, Ok("12345678")).await;
        check(Body::empty(), None, &budget, Ok("")).await;
    }

    #[tokio::test]
    async fn a_body_over_the_cap_is_refused_announced_or_not() {
        let budget = budget(100);
        check(chunks(&["1"]), Some(9), &budget, Err(BodyError::TooLarge)).await;
        check(chunks(&["1"]), Some(u64::MAX), &budget, Err(BodyError::TooLarge)).await;
        check(chunks(&["1234", "56789"]), None, &budget, Err(BodyError::TooLarge)).await;
    }

    #[tokio::test]
    async fn without_room_a_body_is_refused_and_what_it_held_is_given_back() {
        let budget = budget(6);
        check(chunks(&["1234", "5678"]), None, &budget, Err(BodyError::NoRoom)).await;
        let mut held = budget.hold(None, 0);
        read(chunks(&["123456"]), None, 8, LONG, &mut held).await.unwrap();
        check(chunks(&["1"]), None, &budget, Err(BodyError::NoRoom)).await;
        drop(held);
        check(chunks(&["123456"]), None, &budget, Ok("123456")).await;
    }

    #[tokio::test]
    async fn a_body_that_never_ends_or_breaks_off_is_refused() {
        let budget = budget(8);
        let endless = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let mut held = budget.hold(None, 0);
        let got = read(endless(), None, 8, Duration::from_millis(20), &mut held).await;
        assert_eq!(got.unwrap_err(), BodyError::TooSlow);
        let broken = stream::iter([Ok(Bytes::from_static(b"1")), Err(std::io::Error::other("x"))]);
        check(Body::from_stream(broken), None, &budget, Err(BodyError::Aborted)).await;
        assert_eq!(budget.left(), 8);
    }

    #[tokio::test]
    async fn a_body_that_keeps_others_waiting_ends_at_once() {
        let budget = budget(8);
        let begun = stream::iter([Ok(Bytes::from_static(b"123456"))]).chain(stream::pending());
        let begun: Body = Body::from_stream::<_>(begun.map(|b: Result<Bytes, std::io::Error>| b));
        let mut held = budget.hold(None, 0);
        let slow = read(begun, None, 8, LONG, &mut held);
        let fast = async {
            let mut held = budget.hold(None, 0);
            read(chunks(&["1234"]), None, 8, LONG, &mut held).await
        };
        let (slow, fast) = tokio::join!(slow, fast);
        assert_eq!((slow.unwrap_err(), fast.unwrap()), (BodyError::TooSlow, b"1234".to_vec()));
    }
}
