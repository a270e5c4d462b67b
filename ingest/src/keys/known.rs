//! How far the control records were read, and what they came to.

use eventlog::{Log, Message, Read};
use futures_util::StreamExt;
use schemas::{
    LaneKey, Record, Time,
    frame::RecordFrame,
    record::{Body, Control, KeyChange, KeyEvent, SourceSwitch},
    subject::{Class, deliveries, deliveries_stream},
};
use serde::{Deserialize, Serialize};

use super::Held;

/// The newest format of a copy that this binary writes and reads.
pub(super) const VERSION: u32 = 1;

/// What was known, and how far the log was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    pub(super) version: u32,
    /// Which log: creation time of its stream in Unix seconds.
    pub incarnation: i64,
    /// Every control record up to this sequence of it is in `held`.
    pub sequence: u64,
    /// When it was so.
    pub at: Time,
    pub held: Held,
}

impl Known {
    /// Nothing yet of that log.
    pub fn nothing(incarnation: i64, at: Time) -> Self {
        Self { version: VERSION, incarnation, sequence: 0, at, held: Held::default() }
    }

    /// Takes in the records of one message, and says what they change if that is news.
    pub(super) fn apply(&mut self, message: &Message, is_news: bool) {
        self.sequence = message.sequence;
        let frame = match RecordFrame::parse(&message.payload) {
            Ok(frame) => frame,
            Err(error) => return skipped(message.sequence, &error),
        };
        for bytes in frame.records {
            match Record::decode(bytes) {
                Ok(record) => {
                    if let Body::Control(control) = &record.body
                        && self.held.apply(record.received_at, control)
                        && is_news
                    {
                        tell(control);
                    }
                }
                Err(error) => skipped(message.sequence, &error),
            }
        }
    }
}

/// Every control record up to the end of the log as it is now, folded.
///
/// # Errors
/// When the log cannot be read.
pub async fn read(log: &dyn Log, at: Time) -> Result<Known, eventlog::Error> {
    let stream = deliveries_stream(log.namespace());
    let subject = deliveries(log.namespace(), LaneKey::All, Class::Control);
    let mut known = Known::nothing(log.info(&stream).await?.incarnation, at);
    let last = log.last(&stream, &subject).await?.map_or(0, |message| message.sequence);
    if last == 0 {
        return Ok(known);
    }
    let mut messages = log.read(Read { stream, filters: vec![subject], from: 1 }).await?;
    while known.sequence < last
        && let Some(message) = messages.next().await
    {
        known.apply(&message?, false);
    }
    Ok(known)
}

/// A record of a newer binary may be about keys: whoever made one with it has to know.
fn skipped(sequence: u64, error: &schemas::CodecError) {
    tracing::error!(%error, "control record {sequence} cannot be read and is passed over: {error}");
}

fn tell(control: &Control) {
    match control {
        Control::Key(KeyChange { id, event, operator, .. }) => {
            let became = match event {
                KeyEvent::Created { .. } => "created",
                KeyEvent::Revoked => "revoked",
            };
            tracing::info!(key.id = %id, %operator, "key {id} was {became}");
        }
        Control::SourceSwitch(SourceSwitch { source, on, operator }) => {
            let became = if *on { "on" } else { "off" };
            tracing::info!(source.id = %source, %operator, "source {source} was switched {became}");
        }
        Control::Rules(_)
        | Control::IncidentNumber(_)
        | Control::Promote(_)
        | Control::ChatOperator(_)
        | Control::Silence(_) => {}
    }
}
