//! What the robots of groups have in common: an address that is the credential, how many messages a
//! minute they take, and answers that are 200 nearly always and say in a code what became of the
//! message.

use reqwest::Url;
use serde_json::Value;

use super::{Rate, Response, Verdict, http_verdict};
use crate::config::Target;

/// Never more than twenty in any minute: a burst and what is allowed meanwhile.
pub(super) const RATE: Rate = Rate { per_minute: 18, burst: 2 };

/// Whether the address has the parameter `name`, without which it is nobody's.
pub(super) fn check(
    target: &Target,
    name: &str,
) -> Result<(), (&'static str, String, &'static str)> {
    let named = |url: &Url| url.query_pairs().any(|(known, _)| known == name);
    if target.address("url").is_some_and(named) {
        return Ok(());
    }
    let remedy = "copy the whole address from the robot's settings";
    Err(("url", format!("it has no {name}"), remedy))
}

/// What an answer means whose `errcode` is 0 where the message was taken; `by_code` says what another
/// code and its `errmsg` mean.
pub(super) fn outcome(response: &Response, by_code: fn(i64, &str) -> Verdict) -> Verdict {
    let reply: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let said = reply["errmsg"].as_str().unwrap_or_default();
    coded(response, reply["errcode"].as_i64(), "an errcode", |code| by_code(code, said))
}

/// What an answer means that has a code, 0 where the message was taken; `what` is what it lacks where
/// it has none.
pub(super) fn coded(
    response: &Response,
    code: Option<i64>,
    what: &str,
    by_code: impl FnOnce(i64) -> Verdict,
) -> Verdict {
    match (code, http_verdict(response)) {
        (Some(0), Verdict::Delivered(_)) => Verdict::Delivered(None),
        (None, Verdict::Delivered(_)) => {
            Verdict::Ambiguous(format!("status {} without {what}", response.status))
        }
        (Some(0) | None, _) if response.status == 413 => Verdict::TryPlain("status 413".to_owned()),
        (Some(0) | None, verdict) => verdict,
        (Some(code), _) => by_code(code),
    }
}
