//! The accept path: one request, one record.

use std::{sync::Arc, time::Duration, time::Instant};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Response, header},
};
use domain::providers;
use runtime::{Clock, http_server::Peer};
use schemas::{
    Record, RecordId, Time,
    record::{Auth, Body as RecordBody, Delivery},
};
use sha2::{Digest, Sha256};

use crate::{
    Config, Sink, Sources,
    body::{self, Budget},
    reply::{self, Outcome, Refusal},
    sources::{Gate, Source},
};

/// What every request shares.
pub struct Edge<S> {
    sources: Arc<Sources>,
    sink: S,
    clock: Clock,
    budget: Budget,
    max_body_bytes: usize,
    body_deadline: Duration,
}

impl<S: Sink> Edge<S> {
    /// Shares one budget of bytes in flight.
    pub fn new(config: &Config, sources: Arc<Sources>, sink: S, clock: Clock) -> Self {
        Self {
            sources,
            sink,
            clock,
            budget: Budget::new(config.max_inflight_bytes),
            max_body_bytes: config.max_body_bytes,
            body_deadline: config.body_deadline,
        }
    }
}

/// Answers a webhook: finds its source, accepts or refuses, counts, and says so in one line.
pub async fn receive<S: Sink>(
    State(edge): State<Arc<Edge<S>>>,
    request: Request,
) -> Response<Body> {
    let start = Instant::now();
    let Some(source) = edge.sources.at(request.uri().path()) else {
        edge.sources.unknown.count(Outcome::UnknownSource);
        return Refusal::unknown_source().into_response();
    };
    let answer = accept(&edge, source, request).await;
    source.meters.seconds.record(start.elapsed());
    match answer {
        Ok(id) => {
            source.meters.count(Outcome::Accepted);
            tracing::info!(
                target: "ingest::access",
                { source.id = %source.id, delivery.id = %id },
                "{} delivery {id} accepted", source.provider.title()
            );
            reply::accepted(id)
        }
        Err(refusal) => {
            source.meters.count(refusal.outcome);
            if refusal.status.is_server_error() {
                tracing::warn!(
                    target: "ingest::access",
                    { source.id = %source.id, code = refusal.code },
                    "{} request refused: {}", source.provider.title(), refusal.detail
                );
            } else {
                tracing::info!(
                    target: "ingest::access",
                    { source.id = %source.id, code = refusal.code },
                    "{} request refused: {}", source.provider.title(), refusal.detail
                );
            }
            refusal.into_response()
        }
    }
}

/// Bound, verify, admit, append, in the order of what each costs.
async fn accept<S: Sink>(
    edge: &Edge<S>,
    source: &Source,
    request: Request,
) -> Result<RecordId, Refusal> {
    if let Gate::Closed(detail) = &source.gate {
        return Err(Refusal::credentials_missing(detail));
    }
    let (parts, body) = request.into_parts();
    if is_encoded(&parts.headers) {
        return Err(Refusal::content_encoding());
    }
    let (cap, deadline) = (edge.max_body_bytes, edge.body_deadline);
    // Held until the record is durable or given up.
    let (raw, _held) = body::read(body, announced(&parts.headers), cap, deadline, &edge.budget)
        .await
        .map_err(|error| Refusal::body(error, cap))?;
    let headers = texts(&parts.headers);
    let received_at = edge.clock.now();
    let request = providers::Request {
        received_at,
        path: parts.uri.path(),
        headers: &headers,
        query: parts.uri.query().unwrap_or_default(),
        body: &raw,
        ..providers::Request::default()
    };
    let auth = authenticate(source, &request)?;
    source
        .provider
        .admit(&request, &source.senders)
        .map_err(|reason| Refusal::not_admitted(&reason))?;
    let record = record(edge, source, &parts, received_at, headers, auth, raw);
    let id = record.id;
    edge.sink.append(source.lane, record).await.map_err(|error| {
        tracing::warn!(%error, delivery.id = %id, "append of delivery {id} failed");
        Refusal::not_durable(&error)
    })?;
    Ok(id)
}

fn authenticate(source: &Source, request: &providers::Request<'_>) -> Result<Auth, Refusal> {
    match &source.gate {
        Gate::Verify(credentials) => source
            .provider
            .authenticate(request, credentials)
            .map_err(|refused| Refusal::unauthenticated(&refused, source.challenge.clone())),
        Gate::Open => Ok(source.skipped()),
        Gate::Closed(detail) => Err(Refusal::credentials_missing(detail)),
    }
}

fn record<S>(
    edge: &Edge<S>,
    source: &Source,
    parts: &axum::http::request::Parts,
    received_at: Time,
    headers: Vec<(String, String)>,
    auth: Auth,
    raw: Vec<u8>,
) -> Record {
    let kept = source.provider.kept_headers();
    let value = |name| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let (content_type, trace) = (value("content-type"), value("traceparent"));
    let delivery = Delivery {
        provider: source.provider.name().to_owned(),
        source: source.id.clone(),
        route: parts.uri.path().to_owned(),
        remote: parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_string()),
        auth,
        sha256: Sha256::digest(&raw).into(),
        raw,
        content_type,
        headers: headers.into_iter().filter(|(n, _)| kept.contains(&n.as_str())).collect(),
    };
    let mut record = Record::new(
        runtime::record_id(&edge.clock),
        received_at,
        Some(source.project.clone()),
        RecordBody::Delivery(Box::new(delivery)),
    );
    record.trace = trace.filter(|text| is_traceparent(text));
    record
}

/// Whether the body is anything but itself. Signatures hold for the bytes as sent, and a small
/// body may unpack to any size.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The headers as texts. A value that is not UTF-8 cannot be any we look for, and must not be a
/// reason to lose the delivery.
fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

/// W3C Trace Context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
fn is_traceparent(text: &str) -> bool {
    let mut fields = text.split('-');
    let mut hex = |length: usize| {
        fields.next().is_some_and(|f| {
            f.len() == length && f.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    hex(2) && hex(32) && hex(16) && hex(2) && fields.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_context_is_kept_as_one() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for bad in ["", "00", "00-x-y-z", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1"]
        {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
