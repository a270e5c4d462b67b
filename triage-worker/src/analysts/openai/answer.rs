//! What an endpoint answered, read within bounds and judged.

use std::time::Duration;

use domain::triage::{Messages, tokens};
use reqwest::Response;
use schemas::job::Analysis;
use serde_json::Value;

use super::{Failure, Form, OpenAiConfig, Reply, Spent, Tokens};

/// The longest answer that is read, in bytes, and the longest refusal.
pub(super) const ANSWER_MAX: usize = 1024 * 1024;
pub(super) const ERROR_MAX: usize = 64 * 1024;

/// More tokens than any model takes or writes: a count beyond it is a mistake.
const TOKENS_MAX: u64 = 10_000_000;

/// Reads a body of at most `most` bytes.
pub(super) async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Failure::AnswerBrokenOff)? {
        if body.len() + chunk.len() > most {
            return Err(Failure::TooLong { limit: most });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whether the body of a refusal says more than its status.
pub(super) fn says_why(status: u16) -> bool {
    matches!(status, 400 | 422)
}

/// What a refusal means of what was asked in this form.
pub(super) fn refusal(
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
    form: Form,
) -> Failure {
    if !says_why(status) {
        return Failure::of_status(status, retry_after);
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default();
    match code {
        "content_filter" | "content_policy_violation" => Failure::Filtered,
        // Asked plainly it would be as long.
        "context_length_exceeded" => Failure::Refused(status),
        _ => {
            let limit = names_limit(&body);
            match form {
                Form::Whole => Failure::FormRefused { status, limit },
                Form::Plain if limit => Failure::FormRefused { status, limit },
                Form::Plain | Form::Bare => Failure::Refused(status),
            }
        }
    }
}

/// Whether an error names the limit of what may be written. Only where errors say what they are
/// about: some repeat the whole request beside it.
fn names_limit(body: &Value) -> bool {
    let said = ["/error/param", "/error/message", "/message", "/detail"];
    let said = said.iter().filter_map(|at| body.pointer(at)?.as_str());
    let details = body.get("detail").and_then(Value::as_array).into_iter().flatten();
    let places = details.filter_map(|detail| detail.get("loc")?.as_array()).flatten();
    said.chain(places.filter_map(Value::as_str)).any(|text| {
        ["max_tokens", "max_completion_tokens"].iter().any(|limit| text.contains(limit))
    })
}

/// Judges a body that came with a status of success, as an answer to these messages.
pub(super) fn judge(bytes: &[u8], config: &OpenAiConfig, messages: &Messages) -> Reply {
    let Ok(body) = serde_json::from_slice::<Value>(bytes) else {
        return Reply::failed(Failure::NotJson, Spent::Unknown);
    };
    let content = body.pointer("/choices/0/message/content").and_then(Value::as_str);
    let spent = Spent::Tokens(usage(&body, content, messages));
    match analysis(&body, content, messages) {
        Err(failure) => Reply::failed(failure, spent),
        Ok(analysis) => {
            // A model says what it likes; who it is, is not for it to say.
            let analysis = Analysis {
                analyzed_by: config.name.clone(),
                model: Some(config.model.clone()),
                ..analysis
            };
            Reply { answer: Ok(analysis), spent, told: Some(messages.input()) }
        }
    }
}

fn analysis(body: &Value, content: Option<&str>, messages: &Messages) -> Result<Analysis, Failure> {
    let finish = body.pointer("/choices/0/finish_reason").and_then(Value::as_str);
    if finish == Some("content_filter") {
        return Err(Failure::Filtered);
    }
    let Some(content) = content else {
        let declined = body.pointer("/choices/0/message/refusal").is_some_and(Value::is_string);
        return Err(match body.get("error") {
            _ if declined => Failure::Declined,
            Some(error) if !error.is_null() => Failure::Reported,
            Some(_) | None => Failure::NoContent,
        });
    };
    messages.check(content).map_err(|unusable| match finish {
        Some("length") => Failure::CutOff,
        Some(_) | None => Failure::Unusable(unusable),
    })
}

/// The tokens as the endpoint counts them, else as they are estimated.
fn usage(body: &Value, content: Option<&str>, messages: &Messages) -> Tokens {
    let count = |key: &str| {
        let count = body.pointer("/usage")?.get(key)?.as_u64()?;
        (count <= TOKENS_MAX).then_some(count)
    };
    Tokens {
        input: count("prompt_tokens").unwrap_or_else(|| messages.tokens() as u64),
        output: count("completion_tokens")
            .unwrap_or_else(|| content.map_or(0, |content| tokens(content) as u64)),
    }
}
