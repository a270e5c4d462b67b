//! What is answered: 202, or a refusal as problem+json (RFC 9457) with a stable `code`.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use domain::providers::{NotAdmitted, Refused};
use eventlog::AppendError;
use schemas::RecordId;
use serde::Serialize;

use crate::body::BodyError;

/// Seconds until a try makes sense again: overload passes quickly, ...
const RETRY_OVERLOAD: u32 = 1;
/// ... a log that is away takes a restart, ...
const RETRY_NOT_DURABLE: u32 = 2;
/// ... and a missing secret takes a person.
const RETRY_CREDENTIALS: u32 = 60;

/// How a request ended. The names are metric labels and, for refusals, problem codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    UnknownSource,
    CredentialsMissing,
    ContentEncoding,
    BodyTooLarge,
    BodyTimeout,
    BodyAborted,
    Overloaded,
    Unauthenticated,
    /// A person or a script sent what is not JSON, ...
    Malformed,
    /// ... or lacks a field, ...
    InvalidField,
    /// ... or says it is from somebody who may not send here.
    ForbiddenSender,
    /// The appender's queue is full.
    AppendFull,
    /// The log refused the record.
    AppendNotStored,
    /// The log did not answer in time: it may be stored.
    AppendUnknown,
    /// The process is stopping.
    AppendClosed,
}

impl Outcome {
    /// Every outcome, in the order of the discriminants.
    pub const ALL: [Self; 16] = [
        Self::Accepted,
        Self::UnknownSource,
        Self::CredentialsMissing,
        Self::ContentEncoding,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::BodyAborted,
        Self::Overloaded,
        Self::Unauthenticated,
        Self::Malformed,
        Self::InvalidField,
        Self::ForbiddenSender,
        Self::AppendFull,
        Self::AppendNotStored,
        Self::AppendUnknown,
        Self::AppendClosed,
    ];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::UnknownSource => "unknown_source",
            Self::CredentialsMissing => "credentials_missing",
            Self::ContentEncoding => "content_encoding",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyAborted => "body_aborted",
            Self::Overloaded => "overloaded",
            Self::Unauthenticated => "unauthenticated",
            Self::Malformed => "malformed",
            Self::InvalidField => "invalid_field",
            Self::ForbiddenSender => "forbidden_sender",
            Self::AppendFull => "append_full",
            Self::AppendNotStored => "append_not_stored",
            Self::AppendUnknown => "append_unknown",
            Self::AppendClosed => "append_closed",
        }
    }
}

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

    /// A compressed body: signatures hold for the bytes as sent, and a small one may unpack to
    /// anything.
    pub fn content_encoding() -> Self {
        let detail = "content-encoding is not accepted: send the body as it is";
        Self::new(Outcome::ContentEncoding, StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// A body that broke a bound.
    pub fn body(error: BodyError, cap: usize) -> Self {
        match error {
            BodyError::TooLarge => Self::new(
                Outcome::BodyTooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {cap} bytes"),
            ),
            BodyError::TooSlow => Self::new(
                Outcome::BodyTimeout,
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
                Self::new(Outcome::BodyAborted, StatusCode::BAD_REQUEST, "the body broke off")
            }
        }
    }

    /// A request that did not prove where it comes from; the code never says which byte.
    pub fn unauthenticated(refused: &Refused, challenge: Option<HeaderValue>) -> Self {
        let mut refusal =
            Self::new(Outcome::Unauthenticated, StatusCode::UNAUTHORIZED, refused.detail);
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
            AppendError::Full => (Outcome::AppendFull, RETRY_OVERLOAD),
            AppendError::NotStored { .. } => (Outcome::AppendNotStored, RETRY_NOT_DURABLE),
            AppendError::Unknown { .. } => (Outcome::AppendUnknown, RETRY_NOT_DURABLE),
            AppendError::Closed => (Outcome::AppendClosed, RETRY_NOT_DURABLE),
        };
        let detail = "the delivery could not be made durable: send it again";
        Self::new(outcome, StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(seconds)
    }

    /// The response.
    pub fn into_response(self) -> Response<Body> {
        let mut response = problem(self.status, self.code, &self.detail);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        // What follows on the connection may be the rest of a body that nobody wants.
        if matches!(
            self.outcome,
            Outcome::BodyTooLarge | Outcome::BodyTimeout | Outcome::BodyAborted
        ) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// 202: the record is durable, and this is where its outcome will stand.
pub fn accepted(id: RecordId) -> Response<Body> {
    let body = format!(r#"{{"event_id":"{id}","status_url":"/api/v1/deliveries/{id}"}}"#);
    with_type(StatusCode::ACCEPTED, "application/json", body)
}

/// 405 for anything but POST.
pub async fn method_not_allowed() -> Response<Body> {
    let mut response = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "webhooks are received by POST",
    );
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
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
