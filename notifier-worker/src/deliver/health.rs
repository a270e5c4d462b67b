//! What an attempt says of its target: one that does not answer is asked one thing at a time, by all
//! notifiers together, so that it takes no places from the others ([`store::job::Health`]).

use store::job::Health;

use super::{DeliverWork, Errand, judge::Class};

impl DeliverWork {
    /// Notes whether the target answered. What cannot be noted is noted by the next attempt.
    pub(super) async fn note_health(&self, errand: Errand<'_>, class: Class) {
        let Errand { job, target, .. } = errand;
        let channel = target.channel.kind();
        let turned = |to: &'static str| {
            metrics::counter!("bellwether_target_turns_total", "channel" => channel, "to" => to)
                .increment(1);
        };
        let noted = match (class.heard(), job.health) {
            (Some(false), _) => match self.store.unanswered(job).await {
                Ok(true) => {
                    turned("silent");
                    tracing::warn!(
                        target = job.target,
                        channel,
                        "{} does not answer: it is told one thing at a time until it does",
                        job.target,
                    );
                    Ok(())
                }
                Ok(false) => Ok(()),
                Err(e) => Err(e),
            },
            // It may have turned silent since the claim.
            (Some(true), _) => match self.store.answered(&job.target).await {
                Ok(true) => {
                    turned("answering");
                    tracing::info!(target = job.target, channel, "{} answers again", job.target);
                    Ok(())
                }
                Ok(false) => Ok(()),
                Err(e) => Err(e),
            },
            (None, Health::Probed) => self.store.pass_probe(&job.target).await,
            (None, Health::Answers | Health::Doubtful) => Ok(()),
        };
        if let Err(e) = noted {
            tracing::warn!(
                target = job.target,
                error = &e as &dyn std::error::Error,
                "whether {} answers is not noted",
                job.target,
            );
        }
    }
}
