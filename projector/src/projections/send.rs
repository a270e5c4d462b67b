//! What became of each send.

use futures_util::future::BoxFuture;
use schemas::{event::Kind, job::SendResult};
use store::{lane::LaneTransaction, projection::send::SendRow};

use super::{Concerned, Projection};

/// One row a send.
pub struct Send;

impl Projection for Send {
    fn name(&self) -> &'static str {
        "send"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let rows: Vec<_> = events.iter().filter_map(row).collect();
            transaction.insert_sends(&rows).await
        })
    }
}

fn row(Concerned { project, event }: &Concerned) -> Option<SendRow<'_>> {
    let Kind::Sent(sent) = &event.kind else { return None };
    Some(SendRow {
        project,
        job: sent.job,
        incident: sent.incident,
        target: &sent.target,
        channel: &sent.channel,
        kind: &sent.kind,
        subject: &sent.subject,
        trigger: sent.trigger,
        result: sent.result.word(),
        detail: match &sent.result {
            SendResult::Delivered(message) => message.as_deref(),
            SendResult::AlreadyTold => None,
            SendResult::Refused(reason)
            | SendResult::Unknown(reason)
            | SendResult::NotNeeded(reason) => Some(reason),
        },
        attempts: sent.attempts,
        settled_at: event.lane_time,
    })
}
