//! Storing one message, and saying honestly what became of it.

use std::{error::Error as _, str::FromStr as _};

use async_nats::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
        NATS_MESSAGE_TTL,
    },
    jetstream::{
        self, ErrorCode,
        context::{PublishError as NatsError, PublishErrorKind},
        message::PublishMessage,
    },
};
use tokio::time::Instant;

use super::JetStream;
use crate::{Ack, Publish, PublishError};

/// The fence's subject filter (nats-server 2.12, ADR-50); the client has no name for it.
const FENCE_FILTER: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

pub(super) async fn publish(log: &JetStream, message: Publish) -> Result<Ack, PublishError> {
    let subject = message.subject.clone();
    let not_stored = |reason: String| PublishError::NotStored { subject: subject.clone(), reason };
    let expected = message.fence.as_ref().map(|fence| fence.last_sequence);
    // The server stores a message on a wildcard subject without complaint.
    if subject.split('.').any(|token| token.is_empty() || token.contains(['*', '>', ' '])) {
        return Err(not_stored("the subject is not a plain one".into()));
    }
    let headers = headers(&message).map_err(not_stored)?;

    let started = Instant::now();
    // Marked before the connection is looked at, so that no loss after that look is missed.
    let mut losses = log.losses.clone();
    losses.mark_unchanged();
    if !log.connected() {
        // The client would keep it and send it after reconnecting, when its caller is long gone.
        return Err(not_stored("not connected to nats".into()));
    }
    let unknown = || PublishError::Unknown {
        subject: subject.clone(),
        waited_ms: started.elapsed().as_millis() as u64,
    };
    let stored = async {
        let message = PublishMessage::build().payload(message.payload).headers(headers);
        log.context.send_publish(subject.clone(), message).await?.await
    };
    let result = tokio::select! {
        biased;
        result = stored => result,
        _ = losses.changed() => return Err(unknown()),
    };
    let error = match result {
        Ok(ack) => return Ok(Ack { sequence: ack.sequence, duplicate: ack.duplicate }),
        Err(error) => error,
    };
    Err(match (verdict(&error), expected) {
        (Verdict::Unknown, _) => unknown(),
        (Verdict::WrongSequence, Some(expected)) => {
            PublishError::WrongSequence { subject, expected }
        }
        (Verdict::WrongSequence | Verdict::NotStored, _) => not_stored(error.to_string()),
    })
}

/// What a failed publish means.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    WrongSequence,
    NotStored,
    Unknown,
}

fn verdict(error: &NatsError) -> Verdict {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Verdict::WrongSequence,
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::MaxPayloadExceeded => Verdict::NotStored,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Verdict::Unknown,
        PublishErrorKind::Other => {
            let reply = error.source().and_then(|s| s.downcast_ref::<jetstream::Error>());
            match reply.map(jetstream::Error::error_code) {
                // A replicated stream answers so while another fenced write is on its way.
                Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => Verdict::WrongSequence,
                // An earlier try of ours is being stored at this moment.
                Some(ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT) => Verdict::Unknown,
                Some(_) => Verdict::NotStored,
                // No reply that could be read.
                None => Verdict::Unknown,
            }
        }
    }
}

/// All headers of the message. Checked here, because the client panics on a line break.
fn headers(message: &Publish) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let parsed = HeaderName::from_str(name).ok().zip(HeaderValue::from_str(value).ok());
        let (name, value) =
            parsed.ok_or_else(|| format!("header {name:?} has characters nats cannot carry"))?;
        map.insert(name, value);
        Ok::<_, String>(())
    };
    for (name, value) in &message.headers {
        add(name, value)?;
    }
    add(NATS_EXPECTED_STREAM.as_ref(), &message.stream)?;
    if let Some(id) = &message.message_id {
        add(NATS_MESSAGE_ID.as_ref(), id)?;
    }
    if let Some(fence) = &message.fence {
        add(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref(), &fence.last_sequence.to_string())?;
        add(FENCE_FILTER, &fence.filter)?;
    }
    if message.keep_forever {
        add(NATS_MESSAGE_TTL.as_ref(), "never")?;
    }
    Ok(map)
}
