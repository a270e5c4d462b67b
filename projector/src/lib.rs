//! Stage project: folds the derived events of a lane into the read models that the console asks.
//!
//! It runs as [`lanes::Stage`] under the one lane loop, which owns the cursor; the rows and the
//! cursor commit together, so every event is applied exactly once per generation (invariant I3) and
//! counters need no record of what they counted. This crate maps and decides nothing: what an alert
//! means was decided by the fold that wrote the event.
//!
//! To add a read model, see [`projections`].

pub mod projections;

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::BoxFuture;
use lanes::{Halt, Input, Item, Out, Stage};
use schemas::{Event, Lane, codec, event::EVENT_VERSION, event::Kind, subject::EventChannel};
use store::lane::{LaneConnection, LaneTransaction};

pub use projections::{Concerned, Projection};

/// The stage. It reads every channel of its lane.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProjectStage;

/// What a lane's owner keeps in memory.
#[derive(Debug, Default)]
pub struct State {
    /// The batch so far, in log order.
    events: Vec<Concerned>,
    /// Lane days whose partitions are known to stand.
    open_days: BTreeSet<i32>,
}

impl Stage for ProjectStage {
    type Prepared = Event;
    type Context = ();
    type State = State;

    fn name(&self) -> &'static str {
        "project"
    }

    fn input(&self) -> Input {
        Input::Events(&[EventChannel::Decision, EventChannel::Alert, EventChannel::Notice])
    }

    fn fold_version(&self) -> u32 {
        1
    }

    fn linger(&self) -> Duration {
        // What comes is a batch already, and somebody waits for the row.
        Duration::ZERO
    }

    fn context(&self, _: &State) {}

    fn prepare(&self, (): &(), item: &Item) -> Result<Event, Halt> {
        let event: Event = codec::decode("event", &item.bytes)
            .map_err(|e| Halt { reason: format!("event at {}: {e}", item.at) })?;
        if event.version > EVENT_VERSION {
            return Err(Halt {
                reason: format!(
                    "event {} has version {}, newer than {EVENT_VERSION}, the newest this binary \
                     reads",
                    event.id, event.version
                ),
            });
        }
        if event.project.is_none() && !concerns_every_project(&event.kind) {
            return Err(Halt {
                reason: format!("event {} ({}) names no project", event.id, event.kind.word()),
            });
        }
        Ok(event)
    }

    fn load<'a>(
        &'a self,
        _connection: &'a mut LaneConnection,
        _lane: Lane,
    ) -> BoxFuture<'a, Result<State, store::Error>> {
        Box::pin(std::future::ready(Ok(State::default())))
    }

    fn gather<'a>(
        &'a self,
        connection: &'a mut LaneConnection,
        state: &'a mut State,
        batch: &'a [(Item, Event)],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            for day in batch.iter().map(|(_, event)| event.lane_time.day()) {
                if !state.open_days.contains(&day) {
                    connection.open_day(day).await?;
                    state.open_days.insert(day);
                }
            }
            Ok(())
        })
    }

    fn fold(&self, state: &mut State, _item: Item, event: Event, out: &mut Out) {
        out.lane_time = out.lane_time.max(event.lane_time);
        if let Some(project) = event.project.clone() {
            state.events.push(Concerned { project, event });
        }
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        state: &'a mut State,
        _out: &'a mut Out,
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let events = std::mem::take(&mut state.events);
            for projection in projections::ALL {
                projection.write(transaction, &events).await?;
            }
            metrics::counter!("bellwether_projected_events_total").increment(events.len() as u64);
            Ok(())
        })
    }
}

/// Kinds that may concern every project of the lane: no read model of one project changes by them.
const fn concerns_every_project(kind: &Kind) -> bool {
    match kind {
        // A silence of a project names it; one of all stands in no project's list.
        Kind::Ticked | Kind::RulesChanged(_) | Kind::SilenceChanged(_) => true,
        Kind::Opened(_)
        | Kind::Repeated(_)
        | Kind::Resolved(_)
        | Kind::Suppressed(_)
        | Kind::Stale(_)
        | Kind::Answered(_)
        | Kind::Escalated(_)
        | Kind::Expired(_)
        | Kind::Applied(_)
        | Kind::Refused(_)
        | Kind::Asked(_)
        | Kind::Tested(_)
        | Kind::Observed(_)
        | Kind::Settled(_)
        | Kind::Sent(_)
        | Kind::Planned(_)
        | Kind::Withheld(_) => false,
    }
}
