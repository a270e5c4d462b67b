//! What is answered: 202, or a refusal as problem+json (RFC 9457) with a stable `code`.

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use domain::providers::{NotAdmitted, Refused};
use eventlog::AppendError;
use schemas::RecordId;
use serde::Serialize;

use crate::{body::BodyError, decode::DecodeError, outcome::Outcome, source::UNREAD};

/// Seconds until a try makes sense again: overload passes quickly, ...
const RETRY_OVERLOAD: u32 = 1;
/// ... a log that is away takes a restart, ...
const RETRY_NOT_DURABLE: u32 = 2;
/// ... and a missing secret takes a person.
const RETRY_CREDENTIALS: u32 = 60;

/// A request that was not accepted. Nothing was appended, except that an unknown append may have
/// been.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub outcome: Outcome,
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: Cow<'static, str>,
    retry_after: Option<u32>,
    challenge: Option<HeaderValue>,
}

impl Refusal {
    fn new(outcome: Outcome, status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            outcome,
            status,
            code: outcome.name(),
            detail: detail.into(),
            retry_after: None,
            challenge: None,
        }
    }

    fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// No source answers at this path; which ones exist is not said.
    pub fn unknown_source() -> Self {
        Self::new(Outcome::UnknownSource, StatusCode::NOT_FOUND, "unknown source")
    }

    /// A source without credentials in production.
    pub fn credentials_missing(detail: &'static str) -> Self {
        Self::new(Outcome::CredentialsMissing, StatusCode::SERVICE_UNAVAILABLE, detail)
            .retry_after(RETRY_CREDENTIALS)
    }

    /// Whether a key lets it in is known as soon as the log can be read, which is soon.
    pub fn keys_unread() -> Self {
        Self::credentials_missing(UNREAD).retry_after(RETRY_NOT_DURABLE)
    }

    /// What a proof is checked with could not be fetched now. Senders come back after a 503, and
    /// not after a 401.
    pub fn not_verifiable() -> Self {
        let detail = "what the signature is checked with could not be fetched: send it again";
        Self::new(Outcome::NotVerifiable, StatusCode::SERVICE_UNAVAILABLE, detail)
            .retry_after(RETRY_NOT_DURABLE)
    }

    /// An address that is on no list. The body is what the sources answered, and no problem+json.
    pub fn forbidden_ip() -> Self {
        Self::new(Outcome::ForbiddenIp, StatusCode::FORBIDDEN, "IP not allowed")
    }

    /// A body in an encoding that is not read.
    pub fn encoding() -> Self {
        let detail = "content-encoding is not accepted: send gzip, zstd, or the body as it is";
        Self::new(Outcome::Encoding, StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// A body that is not what its encoding says, or too much of it.
    pub fn decoding(error: DecodeError, cap: usize) -> Self {
        match error {
            DecodeError::TooLarge => Self::body(BodyError::TooLarge, cap),
            DecodeError::Broken => {
                let detail = "the body is not encoded as content-encoding says";
                Self::new(Outcome::Encoding, StatusCode::BAD_REQUEST, detail)
            }
        }
    }

    /// More than may be sent; `waits` senders come back after a 429.
    pub fn rate_limited(wait: Duration, waits: bool) -> Self {
        let status =
            if waits { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::SERVICE_UNAVAILABLE };
        let seconds = wait.as_secs_f64().ceil().clamp(1.0, 3600.0);
        Self::new(Outcome::RateLimited, status, "more than this source may send")
            .retry_after(seconds as u32)
    }

    /// A channel that is not configured.
    pub fn unknown_channel() -> Self {
        let detail = "the channel is none of those configured here";
        Self::new(Outcome::InvalidField, StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// A body that broke a bound.
    pub fn body(error: BodyError, cap: usize) -> Self {
        match error {
            BodyError::TooLarge => Self::new(
                Outcome::TooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {cap} bytes"),
            ),
            BodyError::TooSlow => Self::new(
                Outcome::TooSlow,
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            ),
            BodyError::NoRoom => Self::new(
                Outcome::Overloaded,
                StatusCode::SERVICE_UNAVAILABLE,
                "too many bodies are in flight",
            )
            .retry_after(RETRY_OVERLOAD),
            BodyError::Aborted => {
                Self::new(Outcome::Aborted, StatusCode::BAD_REQUEST, "the body broke off")
            }
        }
    }

    /// A request that did not prove where it comes from; the code never says which byte.
    pub fn unauthenticated(refused: &Refused, challenge: Option<HeaderValue>) -> Self {
        let mut refusal = Self::new(Outcome::Unauthentic, StatusCode::UNAUTHORIZED, refused.detail);
        refusal.code = refused.code;
        refusal.challenge = challenge;
        refusal
    }

    /// What its sender can mend, or may not send.
    pub fn not_admitted(reason: &NotAdmitted) -> Self {
        let (outcome, status, detail) = match reason {
            NotAdmitted::Malformed { detail } => {
                (Outcome::Malformed, StatusCode::BAD_REQUEST, detail)
            }
            NotAdmitted::Field { detail } => {
                (Outcome::InvalidField, StatusCode::UNPROCESSABLE_ENTITY, detail)
            }
            NotAdmitted::Forbidden { detail } => {
                (Outcome::ForbiddenSender, StatusCode::FORBIDDEN, detail)
            }
        };
        Self::new(outcome, status, detail.clone())
    }

    /// A record that is not known to be durable.
    pub fn not_durable(error: &AppendError) -> Self {
        let (outcome, seconds) = match error {
            AppendError::Full => (Outcome::Overloaded, RETRY_OVERLOAD),
            AppendError::NotStored { .. } | AppendError::Unknown { .. } | AppendError::Closed => {
                (Outcome::NotDurable, RETRY_NOT_DURABLE)
            }
        };
        let detail = "the delivery could not be made durable: send it again";
        Self::new(outcome, StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(seconds)
    }

    /// The response.
    pub fn into_response(self) -> Response<Body> {
        let mut response = match self.outcome {
            Outcome::ForbiddenIp => {
                // R12, to the letter.
                let body = r#"{"error":"IP not allowed"}"#.to_owned();
                with_type(self.status, "application/json", body)
            }
            _ => problem(self.status, self.code, &self.detail),
        };
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        // What follows on the connection may be the rest of a body that nobody wants.
        if matches!(self.outcome, Outcome::TooLarge | Outcome::TooSlow | Outcome::Aborted) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The record is durable, and this is where its outcome will stand.
pub fn stored(status: StatusCode, id: RecordId) -> Response<Body> {
    let body = format!(r#"{{"event_id":"{id}","status_url":"/api/v1/deliveries/{id}"}}"#);
    with_type(status, "application/json", body)
}

/// What a provider's senders expect to be told.
pub fn said(status: u16, body: String) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    with_type(status, "application/json", body)
}

/// A sender that asks first (CloudEvents, HTTP 1.1 Web Hooks for Event Delivery, section 4) may
/// send: whoever may not is told when it does.
pub fn may_send(origin: &HeaderValue, per_minute: Option<f64>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, ALLOWED);
    headers.insert("webhook-allowed-origin", origin.clone());
    let rate = per_minute.map(|rate| HeaderValue::from((rate.floor() as u64).max(1)));
    headers.insert("webhook-allowed-rate", rate.unwrap_or(HeaderValue::from_static("*")));
    response
}

/// How webhooks are received.
const ALLOWED: HeaderValue = HeaderValue::from_static("POST, PUT");

/// 405 for other methods.
pub async fn method_not_allowed() -> Response<Body> {
    let mut response = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "webhooks are received by POST",
    );
    response.headers_mut().insert(header::ALLOW, ALLOWED);
    response
}

/// 404 for a path that is no route.
pub async fn no_such_route() -> Response<Body> {
    problem(StatusCode::NOT_FOUND, "unknown_route", "no such route")
}

#[derive(Serialize)]
struct Problem<'a> {
    code: &'a str,
    detail: &'a str,
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response<Body> {
    // Two strings always serialise.
    let body = serde_json::to_string(&Problem { code, detail }).unwrap_or_default();
    with_type(status, "application/problem+json", body)
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
