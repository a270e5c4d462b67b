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
use crate::{channels::Verdict, config::Target};

/// What a step is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub telling: Telling<'a>,
    /// A hash of what the message shows.
    pub shown: Uuid,
    /// How long ago an earlier attempt was made that may have told it; absent: there was none.
    pub again: Option<Duration>,
}

impl DeliverWork {
    /// Does what `step` says.
    pub(super) async fn carry_out(
        &self,
        talk: &mut Talk<'_>,
        step: Step,
        about: About<'_>,
    ) -> Attempt {
        let doubt = about.again.and_then(|since| doubt(talk.target(), since));
        match (step, doubt) {
            (Step::Nothing(why), _) => Attempt::refused(Class::NotNeeded, why.into()),
            (Step::Send | Step::EditAndSend(_), Some(doubt)) => doubt,
            (Step::Send, None) => talk.tell().await,
            (Step::Edit(name), doubt) => {
                let edited = talk.edit(&name).await;
                match (&edited.verdict, doubt) {
                    // The earlier attempt may have come so far as well.
                    (Verdict::CannotEdit(_), Some(doubt)) => doubt,
                    (Verdict::CannotEdit(_), None) => talk.tell().await,
                    (
                        Verdict::Delivered(_)
                        | Verdict::DeliveredInPart { .. }
                        | Verdict::Retry { .. }
                        | Verdict::TryPlain(_)
                        | Verdict::Refused(_)
                        | Verdict::Ambiguous(_)
                        | Verdict::Renew(_)
                        | Verdict::Moved { .. },
                        _,
                    ) => edited,
                }
            }
            (Step::EditAndSend(name), None) => {
                let edited = talk.edit(&name).await;
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
                    Verdict::Retry { pause_target: true, .. } if about.again.is_none() => {
                        return edited;
                    }
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

/// Why it is not asked again of a target what it may have been told so long ago: nobody knows whether
/// it was, and asking again could tell it twice. None where a repeat does no harm.
fn doubt(target: &Target, since: Duration) -> Option<Attempt> {
    let (class, reason) = match (target.repeats, target.recognises_for) {
        (true, None) => return None,
        (true, Some(time)) if since + target.timeout < time => return None,
        (true, Some(_)) => {
            let minutes = since.as_secs() / 60;
            let reason = format!(
                "it may have arrived {minutes} minutes ago, and a repeat would not be recognised \
                 any more (ambiguous = \"again\" in the channel's section tells it all the same)"
            );
            (Class::TooLate, reason)
        }
        (false, _) => (Class::WorkerLost, "the worker was lost while sending".to_owned()),
    };
    Some(Attempt { verdict: Verdict::Ambiguous(reason), not_taken: false, class })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{feishu, target, target_of};

    #[test]
    fn a3_a_repeat_is_as_long_harmless_as_the_receiver_knows_it() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let class = |target: &Target, since| doubt(target, since).map(|attempt| attempt.class);
        // By its key for ever; never.
        let hook = target("webhook", Some("https://hooks.example.com/x"));
        assert_eq!(class(&hook, minutes(10_000)), None);
        assert_eq!(class(&feishu(None), minutes(0)), Some(Class::WorkerLost));

        // For an hour, which has to be left when the repeat arrives.
        let app = |more: serde_json::Value| {
            let mut config = serde_json::json!({
                "kind": "lark-app", "app_id": "cli_0123456789abcdef", "app_secret": "hunter2",
                "receive_id": "oc_0123456789abcdef0123456789abcdef",
            });
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            target_of(config).unwrap()
        };
        let lark = app(serde_json::json!({}));
        for (since, expect) in [(0, None), (59, None), (60, Some(Class::TooLate))] {
            assert_eq!(class(&lark, minutes(since)), expect, "{since}");
        }
        let late = doubt(&lark, minutes(60) - lark.timeout).unwrap();
        assert!(!late.not_taken);
        assert!(matches!(&late.verdict, Verdict::Ambiguous(reason) if reason.contains("59 min")));

        // Who prefers twice to not at all is not asked; who does not, at once.
        let again = app(serde_json::json!({ "ambiguous": "again" }));
        assert_eq!(class(&again, minutes(10_000)), None);
        let park = app(serde_json::json!({ "ambiguous": "park" }));
        assert_eq!(class(&park, minutes(0)), Some(Class::WorkerLost));
    }
}
