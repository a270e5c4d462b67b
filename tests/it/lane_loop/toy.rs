//! Small stages whose whole state is a chain of hashes over what they were given, in order: two
//! folds of the same records agree if and only if each saw every record once, in log order.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use lanes::{Halt, Input, Item, Out, Stage};
use schemas::{
    Event, EventId, InputPosition, Lane, Outcome, Record, RecordId, Time,
    event::{EVENT_VERSION, Kind},
    id,
    record::{Body, Control, Promote},
    subject::{EventChannel, Generation},
};
use store::lane::{LaneConnection, LaneTransaction};
use uuid::Uuid;

/// The chain's next link.
pub fn link(chain: Uuid, record: &[u8]) -> Uuid {
    id::hash(&[chain.as_bytes(), record])
}

type Hook = Box<dyn Fn(&str) + Send + Sync>;

/// Observe in miniature. What a delivery says in its body makes it misbehave:
/// `poison` panics in the fold, `rules` ends its batch, `number` makes a control record.
pub struct Toy {
    fold_version: u32,
    /// How often the fold panicked.
    pub panics: AtomicU32,
    /// Rules records folded so far, and items that were not prepared under all of them.
    pub rules: AtomicU64,
    pub prepared_too_early: AtomicU64,
    /// Called inside `write`, before anything is written.
    pub on_write: Mutex<Option<Hook>>,
    /// Notify in miniature reads decisions instead.
    reads: Input,
    name: &'static str,
}

impl Toy {
    pub fn observe() -> Self {
        Self::observe_of_version(1)
    }

    pub fn observe_of_version(fold_version: u32) -> Self {
        Self {
            fold_version,
            panics: AtomicU32::new(0),
            rules: AtomicU64::new(0),
            prepared_too_early: AtomicU64::new(0),
            on_write: Mutex::new(None),
            reads: Input::Records,
            name: "observe",
        }
    }

    pub fn notify() -> Self {
        Self { reads: Input::Events(&[EventChannel::Decision]), name: "notify", ..Self::observe() }
    }

    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}

pub struct Prepared {
    text: String,
    outcome: Outcome,
    rules: u64,
}

pub struct State {
    chain: Uuid,
    /// Rules records folded since it was loaded.
    rules: u64,
}

impl Stage for Toy {
    type Prepared = Prepared;
    type Context = u64;
    type State = State;

    fn name(&self) -> &'static str {
        self.name
    }

    fn input(&self) -> Input {
        self.reads
    }

    fn fold_version(&self) -> u32 {
        self.fold_version
    }

    fn linger(&self) -> Duration {
        Duration::from_millis(8)
    }

    fn context(&self, state: &State) -> u64 {
        state.rules
    }

    fn prepare(&self, context: &u64, item: &Item) -> Result<Prepared, Halt> {
        let rules = *context;
        if let Input::Events(_) = self.reads {
            return Ok(Prepared { text: String::new(), outcome: Outcome::Observed, rules });
        }
        let record = Record::decode(&item.bytes).map_err(|e| Halt { reason: e.to_string() })?;
        let (text, outcome) = match record.body {
            Body::Delivery(delivery) => {
                let outcome = if item.of_all { Outcome::Elsewhere } else { Outcome::Observed };
                (String::from_utf8(delivery.raw).unwrap(), outcome)
            }
            Body::Tick(_) => (String::new(), Outcome::Tick),
            Body::Control(_) => (String::new(), Outcome::Control),
            Body::Command(_) | Body::Answer(_) | Body::Outcome(_) | Body::Redrive(_) => {
                return Err(Halt { reason: "the tests append none of these".into() });
            }
        };
        Ok(Prepared { text, outcome, rules })
    }

    fn ends_batch(&self, prepared: &Prepared) -> bool {
        prepared.text == "rules"
    }

    fn load<'a>(
        &'a self,
        connection: &'a mut LaneConnection,
        _lane: Lane,
    ) -> BoxFuture<'a, Result<State, store::Error>> {
        Box::pin(async move {
            let stored = connection.lane_state().await?;
            let chain = stored.map_or(Uuid::nil(), |bytes| Uuid::from_slice(&bytes).unwrap());
            Ok(State { chain, rules: 0 })
        })
    }

    fn gather<'a>(
        &'a self,
        _connection: &'a mut LaneConnection,
        _state: &'a mut State,
        _batch: &'a [(Item, Prepared)],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn fold(&self, state: &mut State, item: Item, prepared: Prepared, out: &mut Out) {
        if prepared.text == "poison" {
            self.panics.fetch_add(1, Ordering::SeqCst);
            panic!("poisoned on purpose");
        }
        if prepared.rules != state.rules {
            self.prepared_too_early.fetch_add(1, Ordering::SeqCst);
        }
        if prepared.text == "rules" {
            self.rules.fetch_add(1, Ordering::SeqCst);
            state.rules += 1;
        }
        if prepared.text == "number" {
            out.controls.push(control(item.at));
        }
        state.chain = link(state.chain, &item.bytes);
        out.count(prepared.outcome);
        out.lane_time = out.lane_time.max(item.stored_at);
        if self.reads == Input::Records {
            out.events.push(Event {
                version: EVENT_VERSION,
                id: EventId(link(Uuid::nil(), &item.bytes)),
                at: item.at.whole(),
                lane_time: out.lane_time,
                project: None,
                rules: String::new(),
                kind: Kind::Ticked,
            });
        }
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        state: &'a mut State,
        _out: &'a mut Out,
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            if let Some(hook) = self.on_write.lock().unwrap().as_ref() {
                hook(self.name);
            }
            transaction.put_lane_state(state.chain.as_bytes());
            Ok(())
        })
    }
}

fn control(at: InputPosition) -> Record {
    Record::new(
        RecordId(id::hash(&[at.to_string().as_bytes()])),
        Time::default(),
        None,
        Body::Control(Box::new(Control::Promote(Promote {
            from: Generation(1),
            to: Generation(2),
            operator: at.to_string(),
        }))),
    )
}
