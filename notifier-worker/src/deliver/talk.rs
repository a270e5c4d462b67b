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

    /// Tells it as a message of its own, and once more plainly where only the form is refused, or the
    /// message that it was to stand below or on is gone.
    pub(super) async fn tell(&mut self) -> Attempt {
        let attempt = self.ask(Form::New).await;
        let (Verdict::TryPlain(reason) | Verdict::CannotEdit(reason)) = attempt.verdict else {
            return attempt;
        };
        let (incident, channel) = (self.notification.incident, self.target.channel.kind());
        metrics::counter!("bellwether_sends_plain_total", "channel" => channel).increment(1);
        tracing::warn!(
            %incident, target = self.target.id, channel, reason,
            "message about incident {incident} is refused by {} as it is put, told again plainly: \
             {reason}",
            self.target.id,
        );
        let plain = self.ask(Form::Plain).await;
        match plain.verdict {
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
            | Verdict::CannotEdit(_)
            | Verdict::Moved { .. } => plain,
        }
    }

    /// Changes the message of that name. Made twice, a change does no harm.
    pub(super) async fn edit(&mut self, name: &str) -> Attempt {
        let mut attempt = self.ask(Form::Edit(name)).await;
        if let Verdict::Delivered(id) = attempt.verdict {
            attempt.verdict = Verdict::Delivered(id.or_else(|| Some(name.to_owned())));
        }
        attempt
    }

    /// Asks, and once more where the chat went.
    async fn ask(&mut self, form: Form<'_>) -> Attempt {
        let attempt = self.ask_there(form).await;
        let Verdict::Moved { to, reason } = attempt.verdict else { return attempt };
        self.note_move(&to, &reason).await;
        match form {
            // What was told before stayed behind.
            Form::Edit(_) => Attempt { verdict: Verdict::CannotEdit(reason), ..attempt },
            Form::New | Form::Plain => {
                self.target.to_mut().moved = Some(to);
                let attempt = self.ask_there(form).await;
                match attempt.verdict {
                    Verdict::Moved { reason, .. } => Attempt::refused(Class::ChatMoved, reason),
                    Verdict::Delivered(_)
                    | Verdict::DeliveredInPart { .. }
                    | Verdict::Retry { .. }
                    | Verdict::TryPlain(_)
                    | Verdict::Refused(_)
                    | Verdict::Ambiguous(_)
                    | Verdict::Renew(_)
                    | Verdict::CannotEdit(_) => attempt,
                }
            }
        }
    }

    /// Keeps where the chat went, and says so when nobody knew. When the tables are away whoever
    /// writes next hears of it as well.
    async fn note_move(&self, to: &str, reason: &str) {
        let (id, channel) = (&self.target.id, self.target.channel);
        let Some(chat) = channel.chat(self.notification, &self.target) else { return };
        match self.work.store.chat_moved(id, chat, to).await {
            Ok(true) => {
                metrics::counter!("bellwether_chats_moved_total", "channel" => channel.kind())
                    .increment(1);
                tracing::warn!(
                    target = id,
                    channel = channel.kind(),
                    chat,
                    moved_to = to,
                    reason,
                    "chat {chat} of {id} is now {to}, and is written to there; name {to} in the \
                     configuration: {reason}",
                );
            }
            Ok(false) => {}
            Err(e) => tracing::warn!(
                target = id,
                channel = channel.kind(),
                chat,
                moved_to = to,
                error = &e as &dyn std::error::Error,
                "that chat {chat} of {id} is now {to} is not kept",
            ),
        }
    }

    /// Asks, and once more with a fresh token where the token is refused.
    async fn ask_there(&mut self, form: Form<'_>) -> Attempt {
        let attempt = self.request(form).await;
        let Verdict::Renew(reason) = &attempt.verdict else { return attempt };
        let left = self.target.within(self.left(form));
        let fresh = match self.work.access.renew(&left, reason).await {
            Ok(Ok(fresh)) => Target { timeout: self.target.timeout, ..fresh },
            Ok(Err(verdict)) => return Attempt { verdict, not_taken: true, class: Class::Token },
            // The receiver took nothing, whatever is wrong with the tables.
            Err(e) => return Attempt::later(Class::Token, format!("the tables: {e}")),
        };
        self.target = Cow::Owned(fresh);
        self.request(form).await
    }

    async fn request(&mut self, form: Form<'_>) -> Attempt {
        let left = self.left(form);
        if left < SHORTEST_TIMEOUT {
            return Attempt::later(Class::NoTimeLeft, "no time was left".into());
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
