//! Stage deliver: one send job after the other, each told at most once where that is possible.
//!
//! At-least-once at the receiver's edge is the honest word: when a worker dies between sending and
//! keeping the answer, nobody knows whether the message arrived. A channel that recognises a repeat
//! is asked again under the same key; with any other the send is parked as unknown, for an
//! operator, unless its configuration says that twice is better than not at all.

mod answer;
mod carry;
mod health;
mod judge;
mod message;
mod question;
mod step;
mod talk;

use std::{sync::Arc, time::Duration};

use eventlog::Log;
use futures_util::future::BoxFuture;
use lanes::{Performed, Work, job::Untold};
use runtime::Clock;
use schemas::{
    alert::Risk,
    job::{SendJob, SendKind, SendResult},
    record::{Body, SendOutcome},
};
use store::{
    Store,
    job::{Budget, End, History, Job, Message, Queue, Telling, Told},
};
use tokio::time::Instant;

use self::{
    carry::About,
    judge::{Attempt, Class, backoff, wait},
    question::{Answerable, Questions},
    step::{Given, Step},
    talk::Talk,
};
use crate::{
    access::Access,
    channels::Verdict,
    config::{Channels, Config, Target},
    sender::Sender,
};

/// How long a receiver that does not answer is asked at least.
const PATIENCE: Duration = Duration::from_secs(8 * 3_600);

/// The effect of queue `send`.
#[derive(Debug)]
pub struct DeliverWork {
    config: Config,
    channels: Arc<Channels>,
    budgets: Vec<Budget>,
    store: Store,
    sender: Sender,
    access: Access,
    questions: Questions,
    clock: Clock,
}

/// Whether somebody waits for a message: it goes before what is not urgent, however long that has
/// waited, when a target takes less than there is to tell.
pub fn is_urgent(kind: SendKind, risk: Risk) -> bool {
    match kind {
        // A summary may be all that is told of something grave.
        SendKind::Fire | SendKind::Resolve | SendKind::Remind | SendKind::Summary => match risk {
            Risk::High | Risk::Critical => true,
            Risk::Low | Risk::Medium => false,
        },
        // An update is urgent when something urgent waits for it.
        SendKind::Update => false,
        SendKind::Test | SendKind::Reply => true,
    }
}

/// What [`Store::tell`] is asked for a send.
pub fn telling<'a>(job: &'a Job, send: &'a SendJob) -> Telling<'a> {
    Telling {
        project: &job.project,
        target: &job.target,
        kind: send.kind.word(),
        subject: &send.subject,
        trigger: job.trigger,
        job: Telling::teller(job.generation, job.id),
    }
}

/// A job and what it is told through.
#[derive(Clone, Copy)]
struct Errand<'a> {
    job: &'a Job,
    send: &'a SendJob,
    target: &'a Target,
}

impl DeliverWork {
    /// The work over these channels; `config` must have passed [`Config::check`] with them.
    pub fn new(
        config: Config,
        channels: Arc<Channels>,
        store: Store,
        sender: Sender,
        clock: Clock,
    ) -> Self {
        let access = Access::new(store.clone(), sender.clone());
        let budget = |target: &Target| Budget {
            target: target.id.clone(),
            per_minute: target.rate.per_minute,
            burst: target.rate.burst.max(1),
        };
        let budgets = channels.all().map(budget).collect();
        let questions = Questions::default();
        Self { config, channels, budgets, store, sender, access, questions, clock }
    }

    /// The same, reading in `log` what questions bring for their answers (I8); without it nothing is
    /// known of that.
    #[must_use]
    pub fn reading(self, log: Arc<dyn Log>) -> Self {
        Self { questions: Questions(Some(log)), ..self }
    }

    async fn deliver(&self, job: &Job) -> Result<Performed, store::Error> {
        let begun = Instant::now();
        let send: SendJob = match schemas::codec::decode("send job", &job.payload) {
            Ok(send) => send,
            Err(e) => return Ok(refused(e.to_string())),
        };
        let Some(target) = self.channels.get(&job.target) else {
            return Ok(self.not_here(job));
        };
        let errand = Errand { job, send: &send, target };
        let telling = telling(job, &send);
        let history = if step::looks_back(&send) {
            self.store.history(telling).await?
        } else {
            History::default()
        };
        let notification = self.notification(errand, &history).await?;
        let given = Given {
            history: &history,
            can_edit: target.channel.can_edit(target),
            replaces: target.channel.replaces(),
            shown: notification.shown(),
            analysed: notification.analysis.is_some(),
            over: notification.is_over(),
            newer: step::collapses(&send) && self.newer(job, &send).await?,
        };
        let step = step::step(&send, given);
        if let Step::Nothing(why) = step {
            return self
                .needless(errand, SendResult::NotNeeded(why.into()), Class::NotNeeded)
                .await;
        }
        let asked = self.questions.answerable(errand, target, self.clock.now()).await;
        let target: &Target = match &asked {
            Answerable::By(target) => target,
            Answerable::AsEver => target,
            Answerable::Never(why) => {
                let result = SendResult::NotNeeded((*why).into());
                return self.needless(errand, result, Class::NotNeeded).await;
            }
            Answerable::Later(attempt) => return self.unasked(errand, attempt.clone()).await,
        };
        let mut admitted = match self.access.admit(target).await? {
            Ok(admitted) => admitted,
            Err(verdict) => {
                let attempt = Attempt { verdict, not_taken: true, class: Class::Token };
                return self.unasked(errand, attempt).await;
            }
        };
        if let Some(chat) = target.channel.chat(&notification, target)
            && let Some(moved) = self.store.moved_chat(&target.id, chat).await?
        {
            admitted.to_mut().moved = Some(moved);
        }
        let again = match self.store.tell(telling, job.claim).await {
            Ok(Told::First) => None,
            Ok(Told::Again { since }) => Some(since),
            Ok(Told::ByAnother) => {
                return self.needless(errand, SendResult::AlreadyTold, Class::AlreadyTold).await;
            }
            // It may be noted all the same, and nothing is sent.
            Err(e) => {
                let after = backoff(job.attempts, job.id, Class::WorkerLost);
                let (reason, untold) = (format!("the tables: {e}"), Some(telling.into()));
                return Ok(Performed::Retry { after, reason, pause_target: false, untold });
            }
            Ok(Told::Delivered(message)) => {
                let verdict = Verdict::Delivered(message.name);
                let attempt = Attempt { verdict, not_taken: false, class: Class::Fine };
                return self.unasked(errand, attempt).await;
            }
        };
        let mut talk = Talk::new(self, &notification, admitted, begun);
        let about = About { telling, shown: given.shown, again };
        let attempt = self.carry_out(&mut talk, step, about).await;
        let (attempt, said) = match target.answer_at {
            Some(_) => attempt.elsewhere(),
            None => {
                let said = attempt.class;
                (attempt, said)
            }
        };
        if let Some(name) = attempt.taken() {
            let (shown, analysed) = (given.shown, given.analysed);
            let message = Message { name: name.map(str::to_owned), shown, analysed };
            self.keep(errand, telling, &message).await;
        }
        self.settle_up(errand, talk.requests).await;
        self.note_health(errand, said).await;
        self.measure(errand, begun, &attempt);
        // Nobody was told under this claim: the next attempt is a first one again.
        let untold = attempt.not_taken.then(|| telling.into());
        Ok(self.end(errand, attempt, untold))
    }

    /// The channel is not in this process's configuration: it may be in another's, which knows a newer
    /// one.
    fn not_here(&self, job: &Job) -> Performed {
        let reason = format!("channel {} is not configured where it was to be sent", job.target);
        if job.attempts >= self.config.max_attempts {
            tracing::error!(job = %job.id, target = job.target, "消息发送失败: given up: {reason}");
            return refused(reason);
        }
        tracing::warn!(job = %job.id, target = job.target, "消息发送失败: tried again: {reason}");
        let after = backoff(job.attempts, job.id, Class::Configuration);
        Performed::Retry { after, reason, pause_target: false, untold: None }
    }

    /// Whether a newer job that says all of it waits behind this one.
    async fn newer(&self, job: &Job, send: &SendJob) -> Result<bool, store::Error> {
        let later = self.store.later(job).await?;
        Ok(later.iter().any(|payload| {
            schemas::codec::decode("send job", payload)
                .is_ok_and(|later: SendJob| step::says_all(&later, send))
        }))
    }

    /// Nothing had to be sent.
    async fn needless(
        &self,
        errand: Errand<'_>,
        result: SendResult,
        class: Class,
    ) -> Result<Performed, store::Error> {
        self.store.spend(&errand.job.target, -1).await?;
        self.note_health(errand, class).await;
        count(errand, result.word(), class);
        let (kind, incident) = (errand.send.kind.word(), errand.send.incident);
        tracing::debug!(
            job = %errand.job.id, %incident, target = errand.job.target,
            "{kind} of incident {incident} is not told to {}: {}", errand.job.target, class.word(),
        );
        Ok(finish(result, End::Done, None, None))
    }

    /// It ended before anything was asked.
    async fn unasked(
        &self,
        errand: Errand<'_>,
        attempt: Attempt,
    ) -> Result<Performed, store::Error> {
        self.store.spend(&errand.job.target, -1).await?;
        self.note_health(errand, Class::NotNeeded).await;
        Ok(self.end(errand, attempt, None))
    }

    /// Keeps what the receiver has now. When the tables are away the job's result says all but what
    /// the message is called: then it is not changed later, and not told twice.
    async fn keep(&self, errand: Errand<'_>, telling: Telling<'_>, message: &Message) {
        if let Err(e) = self.store.delivered(telling, message).await {
            tracing::warn!(
                job = %errand.job.id, target = errand.job.target,
                error = &e as &dyn std::error::Error,
                "what {} calls a message is not kept: it will not be changed", errand.job.target,
            );
        }
    }

    /// Spends what was asked besides what the claim spent. What cannot be noted is not worth asking
    /// again for.
    async fn settle_up(&self, errand: Errand<'_>, requests: i32) {
        if requests == 1 {
            return;
        }
        if let Err(e) = self.store.spend(&errand.job.target, requests - 1).await {
            tracing::warn!(
                target = errand.job.target,
                error = &e as &dyn std::error::Error,
                "requests to {} are missing in its budget",
                errand.job.target,
            );
        }
    }

    fn measure(&self, errand: Errand<'_>, begun: Instant, attempt: &Attempt) {
        let Errand { send, target, .. } = errand;
        let channel = target.channel.kind();
        metrics::histogram!(
            "bellwether_send_seconds", "channel" => channel, "reason" => attempt.class.word()
        )
        .record(begun.elapsed().as_secs_f64());
        if attempt.taken().is_some() {
            let age = self.clock.now().micros_since(send.planned_at).max(0);
            metrics::histogram!(
                "bellwether_send_age_seconds", "channel" => channel, "kind" => send.kind.word()
            )
            .record(age as f64 / 1e6);
        }
    }

    /// Whether a send that was not taken is tried once more: as often as the configuration says, and
    /// for hours while its receiver does not answer at all.
    fn goes_on(&self, errand: Errand<'_>, class: Class) -> bool {
        let age = self.clock.now().micros_since(errand.send.planned_at);
        let silent = class.heard() == Some(false);
        errand.job.attempts < self.config.max_attempts
            || silent && u128::try_from(age).is_ok_and(|age| age < PATIENCE.as_micros())
    }

    /// What follows from an attempt, and what is certain not to be told by it; counted and said here,
    /// once.
    fn end(&self, errand: Errand<'_>, attempt: Attempt, untold: Option<Untold>) -> Performed {
        let Errand { job, send, target } = errand;
        let (channel, class) = (target.channel.kind(), attempt.class);
        let (kind, incident) = (send.kind.word(), send.incident);
        match attempt.verdict {
            Verdict::Delivered(id) => {
                count(errand, "delivered", class);
                tracing::info!(
                    job = %job.id, %incident, target = job.target, channel, attempts = job.attempts,
                    "消息发送成功: {kind} of incident {incident} delivered to {}", job.target,
                );
                finish(SendResult::Delivered(id), End::Done, None, None)
            }
            Verdict::DeliveredInPart { message, missed } => {
                count(errand, "delivered_in_part", class);
                tracing::error!(
                    job = %job.id, %incident, target = job.target, channel, attempts = job.attempts,
                    missed,
                    "消息发送成功: {kind} of incident {incident} delivered to {}, but not to all: {missed}",
                    job.target,
                );
                let reason = format!("not delivered to all: {missed}");
                finish(SendResult::Delivered(message), End::Done, Some(reason), None)
            }
            Verdict::Retry { after, pause_target, reason } if self.goes_on(errand, class) => {
                count(errand, "retried", class);
                let after = wait(after, pause_target, backoff(job.attempts, job.id, class));
                tracing::warn!(
                    job = %job.id, %incident, target = job.target, channel, attempts = job.attempts,
                    reason, after_ms = after.as_millis() as u64,
                    "消息发送失败: {kind} of incident {incident} not taken by {}, tried again in \
                     {after:?}: {reason}", job.target,
                );
                Performed::Retry { after, reason, pause_target, untold }
            }
            Verdict::Retry { reason, .. } => {
                count(errand, "refused", class);
                given_up(errand, &reason);
                parked(format!("given up after {} attempts: {reason}", job.attempts), untold)
            }
            Verdict::Refused(reason)
            | Verdict::TryPlain(reason)
            | Verdict::Renew(reason)
            | Verdict::CannotEdit(reason)
            | Verdict::Moved { reason, .. } => {
                count(errand, "refused", class);
                given_up(errand, &reason);
                parked(reason, untold)
            }
            Verdict::Ambiguous(reason) => {
                count(errand, "unknown", class);
                given_up(errand, &reason);
                finish(SendResult::Unknown(reason.clone()), End::Unknown, Some(reason), None)
            }
        }
    }
}

fn count(errand: Errand<'_>, result: &'static str, class: Class) {
    metrics::counter!(
        "bellwether_sends_total",
        "channel" => errand.target.channel.kind(),
        "kind" => errand.send.kind.word(),
        "result" => result,
        "reason" => class.word()
    )
    .increment(1);
}

fn given_up(errand: Errand<'_>, reason: &str) {
    let Errand { job, send, target } = errand;
    let (kind, incident) = (send.kind.word(), send.incident);
    tracing::error!(
        job = %job.id, %incident, target = job.target, channel = target.channel.kind(),
        attempts = job.attempts, reason,
        "消息发送失败: {kind} of incident {incident} to {} is given up: {reason}", job.target,
    );
}

fn refused(reason: String) -> Performed {
    parked(reason, None)
}

fn parked(reason: String, untold: Option<Untold>) -> Performed {
    finish(SendResult::Refused(reason.clone()), End::Parked, Some(reason), untold)
}

fn finish(
    result: SendResult,
    end: End,
    reason: Option<String>,
    untold: Option<Untold>,
) -> Performed {
    Performed::Finish { result: schemas::codec::encode(&result), end, reason, untold }
}

impl Work for DeliverWork {
    fn queue(&self) -> Queue {
        Queue::Send
    }

    fn lease(&self) -> Duration {
        self.config.lease()
    }

    fn concurrency(&self) -> usize {
        self.config.concurrency
    }

    fn budgets(&self) -> &[Budget] {
        &self.budgets
    }

    fn perform<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Performed, store::Error>> {
        Box::pin(self.deliver(job))
    }

    fn record(&self, job: &Job, result: &[u8]) -> Result<Option<Body>, String> {
        let send: SendJob =
            schemas::codec::decode("send job", &job.payload).map_err(|e| e.to_string())?;
        let result: SendResult =
            schemas::codec::decode("send result", result).map_err(|e| e.to_string())?;
        let channel = self.channels.get(&job.target).map_or("none", |t| t.channel.kind());
        Ok(Some(Body::Outcome(Box::new(SendOutcome {
            job: job.id,
            incident: Some(send.incident),
            target: job.target.clone(),
            channel: channel.to_owned(),
            kind: send.kind.word().to_owned(),
            subject: send.subject,
            trigger: job.trigger,
            attempts: job.attempts,
            result,
        }))))
    }
}
