//! Stage deliver: one send job after the other, each told at most once where that is possible.
//!
//! At-least-once at the receiver's edge is the honest word: when a worker dies between sending and
//! keeping the answer, nobody knows whether the message arrived. A channel that recognises a repeat
//! is asked again under the same key; with any other the send is parked as unknown, for an
//! operator.

use std::{sync::Arc, time::Duration};

use domain::notify::render_text;
use futures_util::future::BoxFuture;
use lanes::{Performed, Work};
use runtime::Clock;
use schemas::{
    JobId,
    job::{SendJob, SendKind, SendResult},
    record::{Body, SendOutcome},
};
use store::{
    Store,
    job::{End, Job, Queue, Telling, Told},
};
use tokio::time::Instant;

use crate::{
    access::Access,
    channels::{Notification, Request, Verdict},
    config::{Channels, Config, Target},
    sender::{Exchange, Sender},
};

/// Longest delay between two attempts that no receiver asked for.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// Longest pause of a whole target that no receiver asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// With less time left a send is not begun.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(50);

/// The effect of queue `send`.
#[derive(Debug)]
pub struct DeliverWork {
    config: Config,
    channels: Arc<Channels>,
    store: Store,
    sender: Sender,
    access: Access,
    clock: Clock,
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
        Self { config, channels, store, sender, access, clock }
    }

    async fn deliver(&self, job: &Job) -> Result<Performed, store::Error> {
        let send: SendJob = match schemas::codec::decode("send job", &job.payload) {
            Ok(send) => send,
            Err(e) => return Ok(refused(e.to_string())),
        };
        let Some(target) = self.channels.get(&job.target) else {
            return Ok(refused(format!("channel {} is not configured any more", job.target)));
        };
        let admitted = match self.access.admit(target).await? {
            Ok(admitted) => admitted,
            Err(verdict) => return Ok(self.end(job, &send, target, verdict)),
        };
        let target = &*admitted;
        let notification = self.notification(job, &send).await?;
        let request = match target.channel.request(&notification, target) {
            Ok(request) => request,
            Err(reason) => return Ok(self.end(job, &send, target, Verdict::Refused(reason))),
        };
        let telling = telling(job, &send);
        let told = self.store.tell(telling).await?;
        match told {
            Told::First => {}
            Told::ByAnother => return Ok(finish(SendResult::AlreadyTold, End::Done, None)),
            Told::Again if target.channel.idempotent() => {}
            Told::Again => {
                let verdict = Verdict::Ambiguous("the worker was lost while sending".into());
                return Ok(self.end(job, &send, target, verdict));
            }
        }
        let (verdict, not_taken) = self.attempt(request, &notification, target).await?;
        if told == Told::First && not_taken {
            // Nobody was told so far: the next attempt is a first one again.
            self.store.retract(telling).await?;
        }
        Ok(self.end(job, &send, target, verdict))
    }

    /// Sends; once more with a fresh token where the token was refused, and once more in the
    /// channel's plain form where only the form was refused; all within the target's time limit.
    /// Whether it is certain that nothing was taken comes along.
    async fn attempt(
        &self,
        request: Request,
        notification: &Notification,
        target: &Target,
    ) -> Result<(Verdict, bool), store::Error> {
        let begun = Instant::now();
        let exchange = self.sender.send(request, target).await;
        let (mut verdict, mut not_taken) = judge(exchange, target);
        let mut renewed = None;
        if let Verdict::Renew(reason) = &verdict {
            let left = target.within(target.timeout.saturating_sub(begun.elapsed()));
            let fresh = match self.access.renew(&left, reason).await? {
                Ok(fresh) => renewed.insert(Target { timeout: target.timeout, ..fresh }),
                Err(verdict) => return Ok((verdict, true)),
            };
            let request = match fresh.channel.request(notification, fresh) {
                Ok(request) => request,
                Err(reason) => return Ok((Verdict::Refused(reason), true)),
            };
            let left = fresh.within(target.timeout.saturating_sub(begun.elapsed()));
            (verdict, not_taken) = judge(self.sender.send(request, &left).await, fresh);
        }
        let target = renewed.as_ref().unwrap_or(target);
        let Verdict::TryPlain(reason) = verdict else { return Ok((verdict, not_taken)) };
        let channel = target.channel.kind();
        metrics::counter!("bellwether_sends_plain_total", "channel" => channel).increment(1);
        tracing::warn!(
            incident = %notification.incident, target = target.id, channel, reason,
            "message about incident {} is refused by {} as it is put, told again plainly: {reason}",
            notification.incident, target.id,
        );
        let request = match target.channel.plain(notification, target) {
            Ok(request) => request,
            Err(why) => return Ok((Verdict::Refused(format!("{reason}; {why}")), true)),
        };
        let timeout = target.timeout.saturating_sub(begun.elapsed());
        if timeout < SHORTEST_TIMEOUT {
            let reason = format!("{reason}; no time was left to tell it plainly");
            return Ok((Verdict::Retry { after: None, pause_target: false, reason }, true));
        }
        let exchange = self.sender.send(request, &target.within(timeout)).await;
        Ok(match judge(exchange, target) {
            (Verdict::TryPlain(again), _) => {
                (Verdict::Refused(format!("{reason}; told plainly: {again}")), true)
            }
            ended => ended,
        })
    }

    async fn notification(&self, job: &Job, send: &SendJob) -> Result<Notification, store::Error> {
        let number = self.store.incident_number(send.incident).await?;
        let analysis = match send.kind {
            SendKind::Fire | SendKind::Update | SendKind::Remind => {
                self.store.latest_answer(send.incident).await?
            }
            SendKind::Resolve | SendKind::Summary | SendKind::Test | SendKind::Reply => None,
        };
        let analysis = analysis.and_then(|answer| answer.analysis);
        let mut notification = Notification {
            key: job.id,
            kind: send.kind,
            attempted_at: self.clock.now(),
            planned_at: send.planned_at,
            project: send.project.clone(),
            incident: send.incident,
            number,
            risk: send.risk,
            frequency: send.frequency,
            cause: send.cause,
            standing: send.standing.clone(),
            summary: send.summary.as_deref().cloned(),
            reply: send.reply.as_deref().cloned(),
            tags: send.tags.clone(),
            first: None,
            buttons: Vec::new(),
            text: String::new(),
            facts: send.facts.clone(),
            analysis,
            zone: self.config.zone.clone(),
            language: None,
        };
        let number = notification.shown_number();
        notification.text = render_text(&notification.message(&number));
        Ok(notification)
    }

    /// What follows from a verdict; counted and said here, once.
    fn end(&self, job: &Job, send: &SendJob, target: &Target, verdict: Verdict) -> Performed {
        let channel = target.channel.kind();
        let count = |result: &'static str| {
            metrics::counter!("bellwether_sends_total", "channel" => channel, "result" => result)
                .increment(1);
        };
        let (kind, incident) = (send.kind.word(), send.incident);
        match verdict {
            Verdict::Delivered(id) => {
                count("delivered");
                tracing::info!(
                    job = %job.id, %incident, target = job.target, channel, attempts = job.attempts,
                    "消息发送成功: {kind} of incident {incident} delivered to {}", job.target,
                );
                finish(SendResult::Delivered(id), End::Done, None)
            }
            Verdict::Retry { after, pause_target, reason }
                if job.attempts < self.config.max_attempts =>
            {
                count("retried");
                let after = wait(after, pause_target, backoff(job.attempts, job.id));
                tracing::warn!(
                    job = %job.id, %incident, target = job.target, channel, attempts = job.attempts,
                    reason, after_ms = after.as_millis() as u64,
                    "消息发送失败: {kind} of incident {incident} not taken by {}, tried again in \
                     {after:?}: {reason}", job.target,
                );
                Performed::Retry { after, reason, pause_target }
            }
            Verdict::Retry { reason, .. } => {
                count("refused");
                self.given_up(job, send, channel, &reason);
                refused(format!("given up after {} attempts: {reason}", job.attempts))
            }
            Verdict::Refused(reason)
            | Verdict::TryPlain(reason)
            | Verdict::Renew(reason)
            | Verdict::CannotEdit(reason) => {
                count("refused");
                self.given_up(job, send, channel, &reason);
                refused(reason)
            }
            Verdict::Ambiguous(reason) => {
                count("unknown");
                self.given_up(job, send, channel, &reason);
                finish(SendResult::Unknown(reason.clone()), End::Unknown, Some(reason))
            }
        }
    }

    fn given_up(&self, job: &Job, send: &SendJob, channel: &str, reason: &str) {
        let (kind, incident) = (send.kind.word(), send.incident);
        tracing::error!(
            job = %job.id, %incident, target = job.target, channel, attempts = job.attempts, reason,
            "消息发送失败: {kind} of incident {incident} to {} is given up: {reason}", job.target,
        );
    }
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

    fn perform<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Performed, store::Error>> {
        Box::pin(self.deliver(job))
    }

    fn record(&self, job: &Job, result: &[u8]) -> Result<Body, String> {
        let send: SendJob =
            schemas::codec::decode("send job", &job.payload).map_err(|e| e.to_string())?;
        let result: SendResult =
            schemas::codec::decode("send result", result).map_err(|e| e.to_string())?;
        let channel = self.channels.get(&job.target).map_or("none", |t| t.channel.kind());
        Ok(Body::Outcome(Box::new(SendOutcome {
            job: job.id,
            incident: Some(send.incident),
            target: job.target.clone(),
            channel: channel.to_owned(),
            kind: send.kind.word().to_owned(),
            subject: send.subject,
            trigger: job.trigger,
            attempts: job.attempts,
            result,
        })))
    }
}

/// What an exchange means for the send, and whether it is certain that it was not taken. Reasons
/// are free of the target's credentials.
fn judge(exchange: Exchange, target: &Target) -> (Verdict, bool) {
    let channel = target.channel;
    let retry = |reason| Verdict::Retry { after: None, pause_target: false, reason };
    match exchange {
        // Whoever is behind the gateway may have taken it after all.
        Exchange::Answered(response) if response.status == 504 && !channel.idempotent() => {
            (Verdict::Ambiguous("status 504".into()), false)
        }
        Exchange::Answered(response) => {
            let hide = |reason: String| target.hide_credentials(&reason);
            match channel.outcome(&response) {
                Verdict::Delivered(id) => (Verdict::Delivered(id), false),
                Verdict::Ambiguous(reason) => (Verdict::Ambiguous(hide(reason)), false),
                Verdict::Refused(reason) => (Verdict::Refused(hide(reason)), true),
                Verdict::TryPlain(reason) => (Verdict::TryPlain(hide(reason)), true),
                Verdict::Renew(reason) => (Verdict::Renew(hide(reason)), true),
                Verdict::CannotEdit(reason) => (Verdict::CannotEdit(hide(reason)), true),
                Verdict::Retry { after, pause_target, reason } => {
                    (Verdict::Retry { after, pause_target, reason: hide(reason) }, true)
                }
            }
        }
        Exchange::NotSent(reason) => (retry(reason), true),
        Exchange::Blocked(reason) => (Verdict::Refused(reason), true),
        Exchange::Lost(reason) if channel.idempotent() => (retry(reason), false),
        Exchange::Lost(reason) => (Verdict::Ambiguous(reason), false),
    }
}

/// The id of a send is the same in every generation; who told it is one generation's job.
fn telling<'a>(job: &'a Job, send: &'a SendJob) -> Telling<'a> {
    let generation = u64::from(job.generation.0.unsigned_abs());
    Telling {
        project: &job.project,
        target: &job.target,
        kind: send.kind.word(),
        subject: &send.subject,
        trigger: job.trigger,
        job: JobId(schemas::id::derive(job.id.0, "generation", generation)),
    }
}

fn refused(reason: String) -> Performed {
    finish(SendResult::Refused(reason.clone()), End::Parked, Some(reason))
}

fn finish(result: SendResult, end: End, reason: Option<String>) -> Performed {
    Performed::Finish { result: schemas::codec::encode(&result), end, reason }
}

/// How long to wait: what the receiver asked for, and never less than `backoff`, lest a receiver
/// that says "now" and refuses again use all attempts up at once. One send's backoff may not keep a
/// whole target waiting for long.
fn wait(asked: Option<Duration>, pause_target: bool, backoff: Duration) -> Duration {
    let grown = if pause_target { backoff.min(LONGEST_PAUSE) } else { backoff };
    asked.unwrap_or_default().max(grown)
}

/// Delay after attempt `attempts`: doubles from 1 s to 10 min, and is spread by a quarter either
/// way, so that what failed together is not tried together. The spread comes from the job's id.
fn backoff(attempts: u32, job: JobId) -> Duration {
    let doublings = attempts.saturating_sub(1).min(20);
    let delay = Duration::from_secs(1 << doublings).min(LONGEST_BACKOFF);
    let [.., spread] = *schemas::id::derive(job.0, "backoff", u64::from(attempts)).as_bytes();
    delay.mul_f64(0.75 + f64::from(spread) / 510.0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::config::tests::{feishu, target};

    #[test]
    fn a7_what_an_exchange_without_an_answer_means() {
        let target = target("webhook", Some("https://hooks.example.com/x"));
        let reason = || "why".to_owned();
        let retry = Verdict::Retry { after: None, pause_target: false, reason: reason() };
        for (exchange, expect) in [
            (Exchange::NotSent(reason()), (retry.clone(), true)),
            (Exchange::Blocked(reason()), (Verdict::Refused(reason()), true)),
            // The receiver knows a repeat by its key.
            (Exchange::Lost(reason()), (retry, false)),
        ] {
            assert_eq!(judge(exchange, &target), expect);
        }
        let answer = Exchange::Answered(crate::channels::tests::response(429, Some("7"), ""));
        let expect = Verdict::Retry {
            after: Some(Duration::from_secs(7)),
            pause_target: true,
            reason: "status 429".into(),
        };
        assert_eq!(judge(answer, &target), (expect, true));
    }

    #[test]
    fn a3_a_lost_answer_is_unknown_where_a_repeat_is_not_recognised() {
        let target = feishu(None);
        let lost = judge(Exchange::Lost("timeout".into()), &target);
        assert_eq!(lost, (Verdict::Ambiguous("timeout".into()), false));
        let gateway = Exchange::Answered(crate::channels::tests::response(504, None, ""));
        assert_eq!(judge(gateway, &target), (Verdict::Ambiguous("status 504".into()), false));
    }

    #[test]
    fn a7_no_reason_repeats_a_credential() {
        let body = r#"{"code":31415,"msg":"no bot 0f1e2d3c-hunter2"}"#;
        let answer = Exchange::Answered(crate::channels::tests::response(200, None, body));
        let expect = Verdict::TryPlain("code 31415: no bot …".into());
        assert_eq!(judge(answer, &feishu(None)), (expect, true));
    }

    #[test]
    fn a7_a_receiver_is_waited_for_and_not_hammered() {
        let s = Duration::from_secs;
        for (asked, pauses, backoff, expect) in [
            (None, false, 600, 600),
            (None, true, 600, 60),
            (Some(0), true, 4, 4),
            (Some(7), true, 4, 7),
            (Some(3600), true, 600, 3600),
        ] {
            assert_eq!(wait(asked.map(s), pauses, s(backoff)), s(expect));
        }
    }

    #[test]
    fn delays_grow_to_ten_minutes_and_are_spread() {
        let job = |n| JobId(Uuid::from_u128(n));
        for (attempts, seconds) in [(1, 1.0), (2, 2.0), (5, 16.0), (11, 600.0), (u32::MAX, 600.0)] {
            for n in 0..50 {
                let delay = backoff(attempts, job(n)).as_secs_f64();
                assert!((seconds * 0.75..=seconds * 1.25).contains(&delay), "{attempts}: {delay}");
            }
        }
        let delays: std::collections::BTreeSet<_> = (0..50).map(|n| backoff(3, job(n))).collect();
        assert!(delays.len() > 20, "{}", delays.len());
        assert_eq!(backoff(3, job(1)), backoff(3, job(1)));
    }
}
