//! How a control record of the lane `all` is published: whoever appends one says behind which it
//! belongs, and the log refuses it when somebody else was faster.

use eventlog::{Fence, Log, Publish};
use schemas::{
    LaneKey, ProducerId, Record,
    frame::{self, FRAME_VERSION, FrameHeader},
    subject::{Class, deliveries, deliveries_stream},
};

/// A frame of its own, by a producer of its own.
pub(crate) fn frame_of(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode_into(&mut bytes);
    let header = FrameHeader {
        version: FRAME_VERSION,
        producer: ProducerId(runtime::random_uuid()),
        number: 1,
        total: 1,
        count: 1,
    };
    frame::encode(&header, &bytes)
}

/// The message of a control record; `last` is the sequence of the one before it, 0 of the first.
pub(crate) fn publication(log: &dyn Log, record: &Record, payload: Vec<u8>, last: u64) -> Publish {
    let subject = deliveries(log.namespace(), LaneKey::All, Class::Control);
    Publish {
        stream: deliveries_stream(log.namespace()),
        subject: subject.clone(),
        message_id: Some(format!("control:{}", record.id)),
        headers: Vec::new(),
        payload: payload.into(),
        fence: Some(Fence { filter: subject, last_sequence: last }),
        keep_forever: true,
    }
}
