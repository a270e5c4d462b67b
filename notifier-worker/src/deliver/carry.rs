//! Doing what was decided, in the order in which a crash does least harm.

use std::time::Duration;

use store::job::Telling;
use uuid::Uuid;

use super::{
    DeliverWork,
    judge::{Attempt, Class},
    step::Step,
    talk::Talk,
};
use crate::channels::Verdict;

/// What a step is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub telling: Telling<'a>,
    /// A hash of what the message shows.
    pub shown: Uuid,
    /// An earlier attempt may have told it.
    pub again: bool,
}

impl DeliverWork {
    /// Does what `step` says.
    pub(super) async fn carry_out(
        &self,
        talk: &mut Talk<'_>,
        step: Step,
        about: About<'_>,
    ) -> Result<Attempt, store::Error> {
        let doubtful = about.again && !talk.target().repeats;
        match step {
            Step::Nothing(why) => Ok(Attempt::refused(Class::NotNeeded, why.into())),
            Step::Send | Step::EditAndSend(_) if doubtful => {
                Ok(lost("the worker was lost while sending"))
            }
            Step::Send => talk.tell().await,
            Step::Edit(name) => {
                let edited = talk.edit(&name).await?;
                match &edited.verdict {
                    // The earlier attempt may have come so far as well.
                    Verdict::CannotEdit(reason) if doubtful => Ok(lost(reason)),
                    Verdict::CannotEdit(_) => talk.tell().await,
                    Verdict::Delivered(_)
                    | Verdict::DeliveredInPart { .. }
                    | Verdict::Retry { .. }
                    | Verdict::TryPlain(_)
                    | Verdict::Refused(_)
                    | Verdict::Ambiguous(_)
                    | Verdict::Renew(_)
                    | Verdict::Moved { .. } => Ok(edited),
                }
            }
            Step::EditAndSend(name) => {
                let edited = talk.edit(&name).await?;
                match &edited.verdict {
                    Verdict::Delivered(_) | Verdict::DeliveredInPart { .. } => {
                        // The next attempt, should there be one, need not change it again; the end is
                        // told, whether that can be noted or not.
                        if let Err(error) =
                            self.store.shows(about.telling, &name, about.shown).await
                        {
                            tracing::warn!("what a message shows was not noted: {error}");
                        }
                        pause(talk).await;
                    }
                    // It would refuse the message as well, and then the change would be forgotten.
                    Verdict::Retry { pause_target: true, .. } if !about.again => return Ok(edited),
                    Verdict::Retry { reason, .. }
                    | Verdict::TryPlain(reason)
                    | Verdict::Refused(reason)
                    | Verdict::Ambiguous(reason)
                    | Verdict::Renew(reason)
                    | Verdict::CannotEdit(reason)
                    | Verdict::Moved { reason, .. } => {
                        let id = &talk.target().id;
                        tracing::info!(
                            target = id,
                            reason,
                            "a message in {id} still shows an alarm that is over: {reason}",
                        );
                    }
                }
                talk.tell().await
            }
        }
    }
}

/// Where a receiver takes one message at a time, the next one waits for its turn, if there is time.
async fn pause(talk: &Talk<'_>) {
    let (rate, timeout) = (talk.target().rate, talk.target().timeout);
    if rate.burst <= 1 {
        let turn = Duration::from_secs(60) / rate.per_minute.max(1);
        tokio::time::sleep(turn.min(timeout / 4)).await;
    }
}

/// Nobody knows whether it was told before, and asking again could tell it twice.
fn lost(reason: &str) -> Attempt {
    Attempt {
        verdict: Verdict::Ambiguous(reason.to_owned()),
        not_taken: false,
        class: Class::WorkerLost,
    }
}
