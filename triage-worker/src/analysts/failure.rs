//! Why there is no analysis: every way in which asking an analyst can end, by name.

use std::time::Duration;

use domain::triage::Unusable;
use store::spending::Short;

/// Why an analyst did not answer. Its text is kept with the answer and shown, and holds neither
/// credentials nor what the other side wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No answer within its time, all tries together.
    #[error("no answer within {seconds} s")]
    Timeout { seconds: u64 },
    #[error("no connection")]
    NotReached,
    #[error("the connection broke off")]
    BrokenOff,
    /// The same in the body of a success: it was written, and is probably billed.
    #[error("the connection broke off in the answer")]
    AnswerBrokenOff,
    /// Too many requests; it says when to come again, or not.
    #[error("status 429")]
    RateLimited { retry_after: Option<Duration> },
    #[error("status {0}")]
    ServerError(u16),
    /// Where it leads is nobody's business: our data goes where the configuration says.
    #[error("status {0}")]
    Redirected(u16),
    #[error("status {0}: see its api_key and key_header")]
    Unauthorised(u16),
    /// It may not know a parameter that not all of them know.
    #[error("status {status}")]
    FormRefused {
        status: u16,
        /// It names the limit of what it may write.
        limit: bool,
    },
    #[error("status {0}")]
    Refused(u16),
    #[error("answer longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("answer is not json")]
    NotJson,
    /// Status 200 with an error in it.
    #[error("answer is an error")]
    Reported,
    #[error("answer holds no choices[0].message.content")]
    NoContent,
    /// A filter for what models may be asked and say.
    #[error("a content filter held it back")]
    Filtered,
    #[error("the model declines to answer")]
    Declined,
    /// The end is missing, so that it cannot be used.
    #[error("answer cut off at the most tokens it may have; see output_tokens")]
    CutOff,
    /// In the protocol's shape, but no analysis (R29).
    #[error("answer {0}")]
    Unusable(#[from] Unusable),
    /// It failed so often that it is not asked for a while.
    #[error("not asked: it failed {failures} times in a row")]
    BreakerOpen { failures: u32 },
    /// It asked for patience, for longer than a question may wait.
    #[error("not asked: it asked for patience")]
    Paused,
    #[error("not asked: no {} left in this hour{}", words(*short), of(*of_project))]
    OutOfBudget { short: Short, of_project: bool },
    /// Too many take from the budget at once.
    #[error("not asked: the budget could not be had in time")]
    BudgetBusy,
    /// It knows nothing of such an alert.
    #[error("it knows nothing of it")]
    NoEntry,
}

fn words(short: Short) -> &'static str {
    match short {
        Short::Calls => "calls",
        Short::Tokens => "tokens",
        Short::Cost => "money",
    }
}

fn of(project: bool) -> &'static str {
    if project { " for its project" } else { "" }
}

/// Whether asking again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// In a while, or after at least this long.
    Later(Option<Duration>),
    /// At once, without what not all of them know; `limit`: without the limit of what it may write
    /// as well.
    Plainly {
        limit: bool,
    },
}

/// What a failure says of the analyst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tells {
    Unwell,
    /// It is there, and would not answer this question.
    Alive,
    /// It was not asked.
    Nothing,
}

impl Failure {
    /// The word in metrics, logs and attempts.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::NotReached => "not_reached",
            Self::BrokenOff => "broken_off",
            Self::AnswerBrokenOff => "answer_broken_off",
            Self::RateLimited { .. } => "rate_limited",
            Self::ServerError(_) => "server_error",
            Self::Redirected(_) => "redirected",
            Self::Unauthorised(_) => "unauthorised",
            Self::FormRefused { .. } => "form_refused",
            Self::Refused(_) => "refused",
            Self::TooLong { .. } => "too_long",
            Self::NotJson => "not_json",
            Self::Reported => "error_reported",
            Self::NoContent => "no_content",
            Self::Filtered => "filtered",
            Self::Declined => "declined",
            Self::CutOff => "cut_off",
            Self::Unusable(Unusable::NoObject) => "no_object",
            Self::Unusable(Unusable::Empty) => "empty",
            Self::Unusable(Unusable::Confidence) => "bad_confidence",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::Paused => "paused",
            Self::OutOfBudget { short: Short::Calls, .. } => "out_of_calls",
            Self::OutOfBudget { short: Short::Tokens, .. } => "out_of_tokens",
            Self::OutOfBudget { short: Short::Cost, .. } => "out_of_money",
            Self::BudgetBusy => "budget_busy",
            Self::NoEntry => "no_entry",
        }
    }

    /// What an HTTP status that is no success means.
    pub(super) fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            429 => Self::RateLimited { retry_after },
            401 | 403 => Self::Unauthorised(status),
            300..=399 => Self::Redirected(status),
            500..=599 => Self::ServerError(status),
            _ => Self::Refused(status),
        }
    }

    pub(super) const fn again(&self) -> Again {
        match self {
            Self::RateLimited { retry_after } => Again::Later(*retry_after),
            Self::NotReached | Self::BrokenOff | Self::ServerError(_) | Self::BudgetBusy => {
                Again::Later(None)
            }
            Self::FormRefused { limit, .. } => Again::Plainly { limit: *limit },
            // A model that wrote nonsense would be paid for more of it; nothing else changes soon.
            Self::Timeout { .. }
            | Self::AnswerBrokenOff
            | Self::Redirected(_)
            | Self::Unauthorised(_)
            | Self::Refused(_)
            | Self::TooLong { .. }
            | Self::NotJson
            | Self::Reported
            | Self::NoContent
            | Self::Filtered
            | Self::Declined
            | Self::CutOff
            | Self::Unusable(_)
            | Self::BreakerOpen { .. }
            | Self::Paused
            | Self::OutOfBudget { .. }
            | Self::NoEntry => Again::Never,
        }
    }

    pub(super) const fn tells(&self) -> Tells {
        match self {
            Self::Filtered | Self::Declined => Tells::Alive,
            Self::BreakerOpen { .. }
            | Self::Paused
            | Self::OutOfBudget { .. }
            | Self::BudgetBusy
            | Self::NoEntry => Tells::Nothing,
            Self::Timeout { .. }
            | Self::NotReached
            | Self::BrokenOff
            | Self::AnswerBrokenOff
            | Self::RateLimited { .. }
            | Self::ServerError(_)
            | Self::Redirected(_)
            | Self::Unauthorised(_)
            | Self::FormRefused { .. }
            | Self::Refused(_)
            | Self::TooLong { .. }
            | Self::NotJson
            | Self::Reported
            | Self::NoContent
            | Self::CutOff
            | Self::Unusable(_) => Tells::Unwell,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_said() {
        let text = |short, of_project| Failure::OutOfBudget { short, of_project }.to_string();
        assert_eq!(text(Short::Cost, false), "not asked: no money left in this hour");
        assert_eq!(
            text(Short::Calls, true),
            "not asked: no calls left in this hour for its project"
        );
    }
}
