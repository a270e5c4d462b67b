//! One connection's part of the stream.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::response::sse::Event;
use futures_util::{Stream, stream};
use store::read::Visible;
use tokio::{
    sync::{broadcast, watch},
    time::timeout,
};

use super::{Fact, Hub, MAX_LISTENERS, Position};

/// How long a browser waits before it connects again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a connection waits for the poller's first round before it says `resync`.
const FIRST_ROUND: Duration = Duration::from_secs(5);

/// The process has as many connections as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_LISTENERS} live streams are open; try again later")]
pub struct NoRoom;

/// A registered connection; dropping it ends its registration.
#[derive(Debug)]
pub struct Listener {
    hub: Arc<Hub>,
    key: u64,
    scope: Visible,
    rounds: watch::Receiver<(u64, bool)>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hub.shared().scopes.remove(&self.key);
    }
}

enum Next {
    First(Option<Position>),
    Then(broadcast::Receiver<Arc<Fact>>),
}

impl Listener {
    /// Begins to watch what `scope` may see.
    ///
    /// # Errors
    /// Too many listen already.
    pub fn new(hub: &Arc<Hub>, scope: Visible) -> Result<Self, NoRoom> {
        let mut shared = hub.shared();
        if shared.scopes.len() >= MAX_LISTENERS {
            return Err(NoRoom);
        }
        let key = shared.next;
        shared.next += 1;
        shared.scopes.insert(key, scope.clone());
        drop(shared);
        let rounds = hub.rounds.subscribe();
        hub.wake.notify_one();
        Ok(Self { hub: Arc::clone(hub), key, scope, rounds })
    }

    /// The events from position `from` on; `alive` is asked at each beat whether the session still
    /// stands. Ends after `session`, or when the process stops.
    pub fn events(
        self,
        from: Option<Position>,
        alive: impl Fn() -> bool + Send + 'static,
    ) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        let begin = Event::default().retry(RETRY).comment("live");
        let state = (self, Next::First(from), VecDeque::from([begin]), alive, false);
        stream::unfold(state, async |(mut me, mut next, mut queue, alive, mut ended)| {
            loop {
                if let Some(event) = queue.pop_front() {
                    return Some((Ok(event), (me, next, queue, alive, ended)));
                }
                if ended {
                    return None;
                }
                next = match next {
                    Next::First(from) => {
                        let (missed, receiver) = me.begin(from).await?;
                        queue.extend(missed);
                        Next::Then(receiver)
                    }
                    Next::Then(mut receiver) => {
                        let fact = tokio::select! {
                            fact = receiver.recv() => fact,
                            _ = me.rounds.wait_for(|(_, open)| !open) => return None,
                        };
                        match fact {
                            Ok(fact) if fact.name() == "beat" && !alive() => {
                                ended = true;
                                queue.push_back(Event::default().event("session").data("{}"));
                            }
                            Ok(fact) => {
                                if fact.concerns(&me.scope) {
                                    queue.push_back(event(&fact));
                                }
                            }
                            Err(broadcast::error::RecvError::Lagged(_)) => {
                                queue.push_back(resync(&me.hub.shared().position));
                            }
                            Err(broadcast::error::RecvError::Closed) => return None,
                        }
                        Next::Then(receiver)
                    }
                };
            }
        })
    }

    /// Waits until the poller has looked at what this connection watches; then what it missed. None
    /// when the process stops.
    async fn begin(
        &mut self,
        from: Option<Position>,
    ) -> Option<(Vec<Event>, broadcast::Receiver<Arc<Fact>>)> {
        // The round that was under way when this one registered may not have seen it.
        let started = self.rounds.borrow().0;
        let round = self.rounds.wait_for(|(rounds, open)| *rounds >= started + 2 || !open);
        match timeout(FIRST_ROUND, round).await {
            Ok(Ok(state)) if !state.1 => return None,
            Ok(Err(_)) => return None,
            Ok(Ok(_)) | Err(_) => {}
        }
        let shared = self.hub.shared();
        let receiver = self.hub.facts.subscribe();
        let watched_since = |from: &Position| match &self.scope {
            Visible::Everything => shared.since_all.as_ref().is_some_and(|p| from.covers(p)),
            Visible::Projects(ids) => ids.iter().all(|id| {
                shared
                    .since
                    .get(id.as_str())
                    .or(shared.since_all.as_ref())
                    .is_some_and(|p| from.covers(p))
            }),
        };
        let mut events: Vec<Event> = match from {
            Some(from)
                if from.0.generation == shared.position.0.generation
                    && (shared.floor == Position::default() || from.covers(&shared.floor))
                    && watched_since(&from) =>
            {
                let missed = shared.kept.iter().filter(|f| !from.covers(&f.at));
                missed.filter(|f| f.concerns(&self.scope)).map(|f| event(f)).collect()
            }
            Some(_) | None => vec![resync(&shared.position)],
        };
        // The last round succeeded, so the page need not wait for the next beat to know that it is live.
        let beat = shared
            .beat
            .as_ref()
            .map(|beat| Event::default().event("beat").data(beat.data().to_string()));
        events.extend(beat);
        Some((events, receiver))
    }
}

fn event(fact: &Fact) -> Event {
    Event::default().event(fact.name()).id(fact.id.to_string()).data(fact.data().to_string())
}

fn resync(position: &Position) -> Event {
    Event::default().event("resync").id(position.to_string()).data("{}")
}
