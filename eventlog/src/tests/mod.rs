//! What every log must do, and what the appender promises on top of it.

mod appender;
mod kill;
mod semantics;
mod server;
mod spool;
mod spool_outage;

use std::num::NonZeroU16;

use bytes::Bytes;
use schemas::{
    Generation, Lane, LaneKey, Namespace, Record, RecordId, Time,
    record::{Body, Tick},
    subject::{Class, EventChannel, deliveries, deliveries_stream, events, events_stream},
};
use uuid::Uuid;

use crate::{JetStreamConfig, Publish, topology};

const LANES: NonZeroU16 = NonZeroU16::new(4).unwrap();
const GENERATION: Generation = Generation(1);

fn ns() -> Namespace {
    Namespace::default()
}

fn streams(config: &JetStreamConfig) -> Vec<topology::StreamSpec> {
    vec![topology::deliveries(config), topology::events(&ns(), GENERATION)]
}

fn input() -> String {
    deliveries_stream(&ns())
}

fn lane(lane: u16) -> LaneKey {
    LaneKey::Lane(Lane(lane))
}

/// A message of the input stream.
fn message(key: LaneKey, payload: &str) -> Publish {
    Publish {
        stream: input(),
        subject: deliveries(&ns(), key, Class::Data),
        message_id: None,
        headers: Vec::new(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        fence: None,
        keep_forever: false,
    }
}

/// A message of the event stream, lane 0.
fn event(channel: EventChannel, payload: &str) -> Publish {
    Publish {
        stream: events_stream(&ns(), GENERATION),
        subject: events(&ns(), GENERATION, Lane(0), channel),
        ..message(lane(0), payload)
    }
}

/// Record `n`.
fn record(n: u64) -> Record {
    let now = Time::from_micros(1_763_617_422_000_000);
    let id = RecordId(Uuid::from_u128(u128::from(n)));
    Record::new(id, now, None, Body::Tick(Tick { now }))
}

/// Which record it is.
fn number_of(record: &Record) -> u64 {
    record.id.0.as_u128() as u64
}
