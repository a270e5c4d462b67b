//! One attempt to tell a target something: up to a few requests, all within its time limit.

use std::{borrow::Cow, time::Duration};

use tokio::time::Instant;

use super::{
    DeliverWork,
    judge::{Attempt, Class, judge},
};
use crate::{
    channels::{Notification, Request, Verdict},
    config::Target,
};

/// With less time left nothing is asked.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(50);

/// How something is put.
#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    /// As a message of its own.
    New,
    /// As a change of the message of that name.
    Edit(&'a str),
    /// As a message of its own, as simply as can be.
    Plain,
}

/// An attempt.
pub(super) struct Talk<'a> {
    work: &'a DeliverWork,
    notification: &'a Notification,
    target: Cow<'a, Target>,
    begun: Instant,
    /// How many requests were made; each costs the target's budget a message.
    pub requests: i32,
}

impl<'a> Talk<'a> {
    /// Nothing is asked yet. `target` is admitted.
    pub(super) fn new(
        work: &'a DeliverWork,
        notification: &'a Notification,
        target: Cow<'a, Target>,
        begun: Instant,
    ) -> Self {
        Self { work, notification, target, begun, requests: 0 }
    }

    /// The target, with the token it has now.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Tells it as a message of its own, and once more plainly where only the form is refused.
    pub(super) async fn tell(&mut self) -> Result<Attempt, store::Error> {
        let attempt = self.ask(Form::New).await?;
        let Verdict::TryPlain(reason) = attempt.verdict else { return Ok(attempt) };
        let (incident, channel) = (self.notification.incident, self.target.channel.kind());
        metrics::counter!("bellwether_sends_plain_total", "channel" => channel).increment(1);
        tracing::warn!(
            %incident, target = self.target.id, channel, reason,
            "message about incident {incident} is refused by {} as it is put, told again plainly: \
             {reason}",
            self.target.id,
        );
        let plain = self.ask(Form::Plain).await?;
        Ok(match plain.verdict {
            Verdict::TryPlain(again) => {
                Attempt::refused(Class::Markup, format!("{reason}; told plainly: {again}"))
            }
            Verdict::Refused(why) => Attempt {
                verdict: Verdict::Refused(format!("{reason}; told plainly: {why}")),
                ..plain
            },
            Verdict::Delivered(_)
            | Verdict::DeliveredInPart { .. }
            | Verdict::Retry { .. }
            | Verdict::Ambiguous(_)
            | Verdict::Renew(_)
            | Verdict::CannotEdit(_) => plain,
        })
    }

    /// Changes the message of that name. Made twice, a change does no harm.
    pub(super) async fn edit(&mut self, name: &str) -> Result<Attempt, store::Error> {
        let mut attempt = self.ask(Form::Edit(name)).await?;
        if let Verdict::Delivered(id) = attempt.verdict {
            attempt.verdict = Verdict::Delivered(id.or_else(|| Some(name.to_owned())));
        }
        Ok(attempt)
    }

    /// Asks, and once more with a fresh token where the token is refused.
    async fn ask(&mut self, form: Form<'_>) -> Result<Attempt, store::Error> {
        let attempt = self.request(form).await;
        let Verdict::Renew(reason) = &attempt.verdict else { return Ok(attempt) };
        let left = self.target.within(self.left(form));
        let fresh = match self.work.access.renew(&left, reason).await? {
            Ok(fresh) => Target { timeout: self.target.timeout, ..fresh },
            Err(verdict) => return Ok(Attempt { verdict, not_taken: true, class: Class::Token }),
        };
        self.target = Cow::Owned(fresh);
        Ok(self.request(form).await)
    }

    async fn request(&mut self, form: Form<'_>) -> Attempt {
        let left = self.left(form);
        if left < SHORTEST_TIMEOUT {
            return Attempt::later(Class::Timeout, "no time was left".into());
        }
        let (n, target) = (self.notification, &*self.target);
        let request: Result<Request, String> = match form {
            Form::New => target.channel.request(n, target),
            Form::Edit(name) => target.channel.edit(n, target, name),
            Form::Plain => target.channel.plain(n, target),
        };
        let request = match request {
            Ok(request) => request,
            Err(reason) => return Attempt::refused(Class::Configuration, reason),
        };
        self.requests += 1;
        let repeats = target.repeats || matches!(form, Form::Edit(_));
        judge(self.work.sender.send(request, &target.within(left)).await, target, repeats)
    }

    /// The time a request may take: a change leaves half of it for what may have to follow.
    fn left(&self, form: Form<'_>) -> Duration {
        let whole = match form {
            Form::New | Form::Plain => self.target.timeout,
            Form::Edit(_) => self.target.timeout / 2,
        };
        whole.saturating_sub(self.begun.elapsed())
    }
}
