//! The control records of the lane `all`, which are kept for ever: read, and appended to.
//!
//! Where one depends on those before it, whoever appends it says behind which it belongs, and the log
//! refuses it when somebody else was faster.

use std::time::Duration;

use domain::replay;
use eventlog::{Fence, Log, Publish, PublishError, Read};
use futures_util::StreamExt;
use schemas::{
    InputPosition, Lane, LaneKey, ProducerId, Record,
    frame::{self, FRAME_VERSION, FrameHeader},
    subject::{Class, deliveries, deliveries_stream},
};

/// How long the log may take to show its control records.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often an append is tried whose outcome is unknown.
const TRIES: u32 = 10;

/// Pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// What stands there.
#[derive(Debug)]
pub(crate) struct Controls {
    /// Oldest first; what cannot be read is left out.
    pub records: Vec<(InputPosition, Record)>,
    /// Last sequence over them; 0: there is none.
    pub last: u64,
    pub incarnation: i64,
    /// Nothing but these was ever appended.
    pub untouched: bool,
}

impl Controls {
    /// Reads them.
    ///
    /// # Errors
    /// When the log cannot be asked, or holds frames of a newer binary.
    pub async fn read(log: &dyn Log) -> anyhow::Result<Self> {
        tokio::time::timeout(PATIENCE, Self::read_all(log)).await.map_err(|_| {
            anyhow::anyhow!("the log did not show its control records within {PATIENCE:?}")
        })?
    }

    async fn read_all(log: &dyn Log) -> anyhow::Result<Self> {
        let namespace = log.namespace();
        let stream = deliveries_stream(namespace);
        let subject = deliveries(namespace, LaneKey::All, Class::Control);
        let last = log.last(&stream, &subject).await?.map_or(0, |message| message.sequence);
        let mut messages = Vec::new();
        if last > 0 {
            let read = Read { stream: stream.clone(), filters: vec![subject], from: 1 };
            let mut read = log.read(read).await?;
            while let Some(message) = read.next().await {
                let message = message?;
                let sequence = message.sequence;
                messages.push(message);
                if sequence >= last {
                    break;
                }
            }
        }
        // After the reading: what was appended behind it only makes it less untouched.
        let info = log.info(&stream).await?;
        let each = messages.iter().map(|message| replay::Message {
            subject: &message.subject,
            sequence: message.sequence,
            stored_at: message.time,
            payload: &message.payload,
        });
        // Any lane: all read these records alike.
        let frames = replay::frames(namespace, info.incarnation, Lane(0), each)?;
        let records = frames.inputs.iter();
        let records = records.filter_map(|i| Some((i.at, Record::decode(i.bytes).ok()?))).collect();
        Ok(Self {
            records,
            last,
            incarnation: info.incarnation,
            untouched: info.last_sequence == messages.len() as u64,
        })
    }
}

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

/// Appends one that stands whatever others are appended meanwhile.
///
/// # Errors
/// When the log did not take it, or did not say.
pub(crate) async fn append(log: &dyn Log, record: &Record) -> anyhow::Result<InputPosition> {
    let incarnation = log.info(&deliveries_stream(log.namespace())).await?.incarnation;
    // A frame that stands twice all the same is known by its number.
    let message = Publish { fence: None, ..publication(log, record, frame_of(record), 0) };
    for _ in 0..TRIES {
        match log.publish(message.clone()).await {
            Ok(ack) => {
                return Ok(InputPosition { incarnation, sequence: ack.sequence, record: 0 });
            }
            Err(PublishError::Unknown { .. }) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!(
        "the log did not say whether it took it; see whether it did before saying it again"
    )
}
