//! What an exchange means for a send.

use std::time::Duration;

use schemas::JobId;

use crate::{
    channels::{Response, Verdict},
    config::Target,
    sender::Exchange,
};

/// Longest delay between two attempts that no receiver asked for.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// Longest delay between two attempts while the receiver does not answer at all. It is asked one thing
/// at a time then, so this is how late a send may be once it answers again.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// Longest pause of a whole target that no receiver asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why an exchange ended as it did, in few words: a label of metrics, never what a receiver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing was wrong.
    Fine,
    /// Nothing had to be told.
    NotNeeded,
    /// Another job told it.
    AlreadyTold,
    /// 429.
    RateLimited,
    /// Another status from 400 to 499.
    Status4xx,
    /// 500 to 599.
    Status5xx,
    /// A status that promises nothing: redirects and unknown ones.
    StatusOther,
    /// A good status whose body reports an error.
    BodySaysError,
    /// The receiver does not take it as it is put.
    Markup,
    /// The token is not valid.
    Token,
    /// The message cannot be changed any more.
    MessageGone,
    /// The chat has another id, and is not there either.
    ChatMoved,
    /// The record that asks could not be read.
    QuestionUnread,
    /// Nobody could be reached.
    NotReached,
    /// No answer in time.
    Timeout,
    /// Nothing was asked, because this side had used the time up: it says nothing of the receiver.
    NoTimeLeft,
    /// The connection ended before an answer.
    Lost,
    /// An address that nothing may be sent to.
    BlockedAddress,
    /// The message cannot be put for the channel, or the channel is not there any more.
    Configuration,
    /// The worker was lost while sending.
    WorkerLost,
    /// It may have arrived so long ago that the receiver would not recognise a repeat.
    TooLate,
}

impl Class {
    /// The label.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Fine => "none",
            Self::NotNeeded => "not_needed",
            Self::AlreadyTold => "already_told",
            Self::RateLimited => "rate_limited",
            Self::Status4xx => "status_4xx",
            Self::Status5xx => "status_5xx",
            Self::StatusOther => "status_other",
            Self::BodySaysError => "body_says_error",
            Self::Markup => "markup",
            Self::Token => "token",
            Self::MessageGone => "message_gone",
            Self::ChatMoved => "chat_moved",
            Self::QuestionUnread => "question_unread",
            Self::NotReached => "not_reached",
            Self::Timeout => "timeout",
            Self::NoTimeLeft => "no_time_left",
            Self::Lost => "connection_lost",
            Self::BlockedAddress => "blocked_address",
            Self::Configuration => "configuration",
            Self::WorkerLost => "worker_lost",
            Self::TooLate => "too_late_to_repeat",
        }
    }

    /// Whether the receiver answered; none where it was not asked.
    pub(super) const fn heard(self) -> Option<bool> {
        match self {
            Self::Fine
            | Self::RateLimited
            | Self::Status4xx
            | Self::Status5xx
            | Self::StatusOther
            | Self::BodySaysError
            | Self::Markup
            | Self::MessageGone
            | Self::ChatMoved => Some(true),
            Self::NotReached | Self::Timeout | Self::Lost => Some(false),
            Self::NotNeeded
            | Self::AlreadyTold
            | Self::Token
            | Self::BlockedAddress
            | Self::Configuration
            | Self::QuestionUnread
            | Self::NoTimeLeft
            | Self::WorkerLost
            | Self::TooLate => None,
        }
    }

    fn of(response: &Response, verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Delivered(_) | Verdict::DeliveredInPart { .. } => Self::Fine,
            Verdict::TryPlain(_) => Self::Markup,
            Verdict::Renew(_) => Self::Token,
            Verdict::CannotEdit(_) => Self::MessageGone,
            Verdict::Moved { .. } => Self::ChatMoved,
            Verdict::Retry { pause_target: true, .. } if response.status < 400 => Self::RateLimited,
            Verdict::Retry { .. } | Verdict::Refused(_) | Verdict::Ambiguous(_) => {
                match response.status {
                    200..=299 => Self::BodySaysError,
                    429 => Self::RateLimited,
                    400..=499 => Self::Status4xx,
                    500..=599 => Self::Status5xx,
                    _ => Self::StatusOther,
                }
            }
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub verdict: Verdict,
    /// It is certain that nothing was taken.
    pub not_taken: bool,
    pub class: Class,
}

impl Attempt {
    /// The receiver took it, and what it calls the message, where it says so.
    pub(super) fn taken(&self) -> Option<Option<&str>> {
        match &self.verdict {
            Verdict::Delivered(name) | Verdict::DeliveredInPart { message: name, .. } => {
                Some(name.as_deref())
            }
            Verdict::Retry { .. }
            | Verdict::TryPlain(_)
            | Verdict::Refused(_)
            | Verdict::Ambiguous(_)
            | Verdict::Renew(_)
            | Verdict::CannotEdit(_)
            | Verdict::Moved { .. } => None,
        }
    }

    /// The same of an attempt that went to an address a question brought, and what it says of the
    /// target's health: nothing, for the target itself was not asked. So it does not wait either.
    pub(super) fn elsewhere(mut self) -> (Self, Class) {
        if let Verdict::Retry { pause_target, .. } = &mut self.verdict {
            *pause_target = false;
        }
        (self, Class::NotNeeded)
    }

    /// It was not tried, and trying again changes nothing.
    pub(super) fn refused(class: Class, reason: String) -> Self {
        Self { verdict: Verdict::Refused(reason), not_taken: true, class }
    }

    /// It was not tried now, and is worth trying again.
    pub(super) fn later(class: Class, reason: String) -> Self {
        let verdict = Verdict::Retry { after: None, pause_target: false, reason };
        Self { verdict, not_taken: true, class }
    }
}

/// What an exchange means. Where a repeat does no harm, what may have been taken is asked again.
/// Reasons are free of the target's credentials, which are hidden before anything is cut.
pub(super) fn judge(exchange: Exchange, target: &Target, repeats: bool) -> Attempt {
    let retry = |reason| Verdict::Retry { after: None, pause_target: false, reason };
    let doubtful = |reason| if repeats { retry(reason) } else { Verdict::Ambiguous(reason) };
    let hide = |reason: String| target.hide_credentials(&reason);
    match exchange {
        // Whoever is behind the gateway may have taken it after all.
        Exchange::Answered(response) if response.status == 504 => {
            let verdict = doubtful("status 504".into());
            Attempt { verdict, not_taken: false, class: Class::Status5xx }
        }
        Exchange::Answered(response) => {
            let response = target.hide_in(response);
            let verdict = target.channel.outcome(&response);
            let class = Class::of(&response, &verdict);
            let (verdict, not_taken) = match verdict {
                Verdict::Delivered(id) => (Verdict::Delivered(id), false),
                Verdict::DeliveredInPart { message, missed } => {
                    (Verdict::DeliveredInPart { message, missed: hide(missed) }, false)
                }
                Verdict::Ambiguous(reason) => (doubtful(hide(reason)), false),
                Verdict::Refused(reason) => (Verdict::Refused(hide(reason)), true),
                Verdict::TryPlain(reason) => (Verdict::TryPlain(hide(reason)), true),
                Verdict::Renew(reason) => (Verdict::Renew(hide(reason)), true),
                Verdict::CannotEdit(reason) => (Verdict::CannotEdit(hide(reason)), true),
                Verdict::Moved { to, reason } => {
                    (Verdict::Moved { to, reason: hide(reason) }, true)
                }
                Verdict::Retry { after, pause_target, reason } => {
                    (Verdict::Retry { after, pause_target, reason: hide(reason) }, true)
                }
            };
            Attempt { verdict, not_taken, class }
        }
        Exchange::NotSent(reason) => Attempt::later(Class::NotReached, hide(reason)),
        Exchange::Blocked(reason) => Attempt::refused(Class::BlockedAddress, reason),
        Exchange::Lost(reason) => {
            let class = if reason == "timeout" { Class::Timeout } else { Class::Lost };
            Attempt { verdict: doubtful(hide(reason)), not_taken: false, class }
        }
    }
}

/// How long to wait: what the receiver asked for, and never less than `backoff`, lest a receiver
/// that says "now" and refuses again use all attempts up at once. One send's backoff may not keep a
/// whole target waiting for long.
pub(super) fn wait(asked: Option<Duration>, pause_target: bool, backoff: Duration) -> Duration {
    let grown = if pause_target { backoff.min(LONGEST_PAUSE) } else { backoff };
    asked.unwrap_or_default().max(grown)
}

/// Delay after attempt `attempts`: doubles from 1 s to 10 min, or to 30 s while nobody answers, and is
/// spread by a quarter either way, so that what failed together is not tried together. The spread
/// comes from the job's id.
pub(super) fn backoff(attempts: u32, job: JobId, class: Class) -> Duration {
    let doublings = attempts.saturating_sub(1).min(20);
    let longest = match class.heard() {
        Some(false) => LONGEST_SILENCE,
        Some(true) | None => LONGEST_BACKOFF,
    };
    let delay = Duration::from_secs(1 << doublings).min(longest);
    let [.., spread] = *schemas::id::derive(job.0, "backoff", u64::from(attempts)).as_bytes();
    delay.mul_f64(0.75 + f64::from(spread) / 510.0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        channels::tests::response,
        config::tests::{feishu, target, target_of},
    };

    fn why() -> String {
        "why".to_owned()
    }

    #[track_caller]
    fn check(exchange: Exchange, target: &Target, verdict: Verdict, taken: bool, class: Class) {
        let expect = Attempt { verdict, not_taken: !taken, class };
        assert_eq!(judge(exchange, target, target.repeats), expect);
    }

    #[test]
    fn a7_what_an_exchange_without_an_answer_means() {
        let target = target("webhook", Some("https://hooks.example.com/x"));
        let retry = Verdict::Retry { after: None, pause_target: false, reason: why() };
        check(Exchange::NotSent(why()), &target, retry.clone(), false, Class::NotReached);
        let refused = Verdict::Refused(why());
        check(Exchange::Blocked(why()), &target, refused, false, Class::BlockedAddress);
        // The receiver knows a repeat by its key.
        check(Exchange::Lost(why()), &target, retry, true, Class::Lost);
        let answer = Exchange::Answered(response(429, Some("7"), ""));
        let verdict = Verdict::Retry {
            after: Some(Duration::from_secs(7)),
            pause_target: true,
            reason: "status 429".into(),
        };
        check(answer, &target, verdict, false, Class::RateLimited);
    }

    #[test]
    fn a3_a_lost_answer_is_unknown_where_a_repeat_is_not_recognised() {
        let target = feishu(None);
        let lost = Exchange::Lost("timeout".into());
        let verdict = Verdict::Ambiguous("timeout".into());
        check(lost.clone(), &target, verdict, true, Class::Timeout);
        let gateway = Exchange::Answered(response(504, None, ""));
        let verdict = Verdict::Ambiguous("status 504".into());
        check(gateway, &target, verdict, true, Class::Status5xx);
        // A change may be made twice.
        let again = judge(lost, &target, true);
        let retry = Verdict::Retry { after: None, pause_target: false, reason: "timeout".into() };
        assert_eq!((again.verdict, again.not_taken), (retry, false));
    }

    #[test]
    fn f7_only_who_was_asked_is_silent() {
        // given what this side had no time for, and what was asked of an address that a question brought
        assert_eq!(Class::NoTimeLeft.heard(), None);
        let slack = target_of(serde_json::json!({
            "kind": "slack", "token": "xoxb-0123456789", "channel": "C0123456789",
        }))
        .unwrap();
        for (exchange, class) in [
            (Exchange::Lost("timeout".into()), Class::Timeout),
            (Exchange::Answered(response(429, Some("7"), "")), Class::RateLimited),
        ] {
            let attempt = judge(exchange, &slack, true);
            assert_eq!(attempt.class, class);

            // then the target is neither taken for silent nor told to wait, and the send is tried again
            let (attempt, said) = attempt.elsewhere();
            assert_eq!(said.heard(), None);
            assert_eq!(attempt.class, class);
            let paused = matches!(&attempt.verdict, Verdict::Retry { pause_target: false, .. });
            assert!(paused, "{attempt:?}");
        }
    }

    #[test]
    fn a7_no_reason_repeats_a_credential() {
        let body = r#"{"code":31415,"msg":"no bot 0f1e2d3c-hunter2"}"#;
        let answer = Exchange::Answered(response(200, None, body));
        let verdict = Verdict::TryPlain("code 31415: no bot …".into());
        check(answer, &feishu(None), verdict, false, Class::Markup);
    }

    #[test]
    fn a7_no_half_of_a_credential_is_left_by_cutting() {
        let target = feishu(None);
        let half = |said: &str| {
            let body = serde_json::json!({ "code": 31415, "msg": said }).to_string();
            let answer = Exchange::Answered(response(200, None, &body));
            match judge(answer, &target, false).verdict {
                Verdict::TryPlain(reason) => reason,
                other => panic!("{other:?}"),
            }
        };
        // What is said is cut at 200 characters, wherever the credential stands.
        for before in 150..205 {
            let filler = "x".repeat(before);
            for credential in ["0f1e2d3c-hunter2", "0f1e2d3c\u{8}-hun\u{7f}ter2"] {
                let reason = half(&format!("{filler}{credential} and more"));
                assert!(!reason.contains("0f1"), "{before}: {reason}");
            }
        }
        // As JSON may spell it.
        let body = r#"{"code":31415,"msg":"no bot 0f1e2d3c\u002dhunter2"}"#;
        let answer = Exchange::Answered(response(200, None, body));
        let got = judge(answer, &target, false).verdict;
        assert_eq!(got, Verdict::TryPlain("code 31415: no bot …".into()));
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
                let delay = backoff(attempts, job(n), Class::Status5xx).as_secs_f64();
                assert!((seconds * 0.75..=seconds * 1.25).contains(&delay), "{attempts}: {delay}");
            }
        }
        let third = |n| backoff(3, job(n), Class::Status5xx);
        let delays: std::collections::BTreeSet<_> = (0..50).map(third).collect();
        assert!(delays.len() > 20, "{}", delays.len());
        assert_eq!(third(1), third(1));
        // Who does not answer is asked again soon, lest a page wait once it does.
        for class in [Class::Timeout, Class::Lost, Class::NotReached] {
            let longest = backoff(u32::MAX, job(1), class);
            assert!(longest <= Duration::from_secs(38), "{longest:?}");
            assert!(backoff(1, job(1), class) < Duration::from_secs(2));
        }
    }
}
