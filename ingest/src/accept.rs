//! The accept path: one request, one record.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode, header, request::Parts},
};
use domain::providers::{self, Reply};
use eventlog::Durable;
use ipnet::IpNet;
use runtime::{Clock, fetch::ANY_AGE, http_server::Peer};
use schemas::{
    Record, RecordId,
    record::{Auth, Body as RecordBody, Delivery},
};
use sha2::{Digest, Sha256};

use crate::{
    Config, Fetch, Sink, Sources,
    body::{self, BodyError},
    budget::{Budget, Held},
    decode,
    gate::{Gate, Shown},
    limits,
    outcome::Outcome,
    peer, proof,
    reply::{self, Refusal},
    source::Source,
    sources::Place,
};

/// What every request shares.
pub struct Edge<S> {
    sources: Arc<Sources>,
    sink: S,
    clock: Clock,
    fetch: Fetch,
    budget: Budget,
    max_body_bytes: usize,
    body_deadline: Duration,
    trusted_proxies: Vec<IpNet>,
}

impl<S: Sink> Edge<S> {
    /// Shares one budget of bytes in flight.
    pub fn new(
        config: &Config,
        sources: Arc<Sources>,
        sink: S,
        clock: Clock,
        fetch: Fetch,
    ) -> Self {
        Self {
            sources,
            sink,
            clock,
            fetch,
            budget: Budget::new(config.shares()),
            max_body_bytes: config.max_body_bytes,
            body_deadline: config.body_deadline,
            trusted_proxies: config.trusted_proxies.clone(),
        }
    }

    /// Whoever sent the request, as far as that can be trusted.
    fn client(&self, parts: &Parts) -> Option<IpAddr> {
        let peer = parts.extensions.get::<Peer>()?.0.ip();
        peer::client(peer, &parts.headers, &self.trusted_proxies)
    }
}

/// Answers a webhook: finds its source, accepts or refuses, counts, and says so in one line.
pub async fn receive<S: Sink>(
    State(edge): State<Arc<Edge<S>>>,
    request: Request,
) -> Response<Body> {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let mut source = None;
    let answer = accept(&edge, &parts, body, &mut source).await;
    let Some(source) = source else {
        let refusal = answer.err().unwrap_or_else(Refusal::unknown_source);
        edge.sources.unknown.count(refusal.outcome);
        return refusal.into_response();
    };
    source.meters.seconds.record(start.elapsed());
    match answer {
        Ok(accepted) => {
            source.meters.count(accepted.outcome);
            let (id, outcome) = (accepted.id, accepted.outcome.name());
            match id {
                Some(id) => tracing::info!(
                    target: "ingest::access",
                    { source.id = %source.id, delivery.id = %id, outcome },
                    "{} delivery {id} accepted", source.provider.title()
                ),
                None => tracing::info!(
                    target: "ingest::access",
                    { source.id = %source.id, outcome },
                    "{} request answered, nothing to store", source.provider.title()
                ),
            }
            accepted.response
        }
        Err(refusal) => {
            refused(source, &refusal);
            refusal.into_response()
        }
    }
}

/// Counts a refusal and says so in one line.
fn refused(source: &Source, refusal: &Refusal) {
    source.meters.count(refusal.outcome);
    let (title, outcome) = (source.provider.title(), refusal.outcome.name());
    if refusal.status.is_server_error() {
        tracing::warn!(
            target: "ingest::access",
            { source.id = %source.id, code = refusal.code, outcome },
            "{title} request refused: {}", refusal.detail
        );
    } else {
        tracing::info!(
            target: "ingest::access",
            { source.id = %source.id, code = refusal.code, outcome },
            "{title} request refused: {}", refusal.detail
        );
    }
}

/// Answers a sender that asks whether it may send, before it does.
pub async fn asked<S: Sink>(State(edge): State<Arc<Edge<S>>>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let Some(origin) = parts.headers.get("webhook-request-origin") else {
        return reply::method_not_allowed().await;
    };
    let Place::Of(source, _) = edge.sources.at(parts.uri.path()) else {
        edge.sources.unknown.count(Outcome::UnknownSource);
        return Refusal::unknown_source().into_response();
    };
    if !source.allows(edge.client(&parts)) {
        let refusal = Refusal::forbidden_ip();
        refused(source, &refusal);
        return refusal.into_response();
    }
    source.meters.count(Outcome::Handshake);
    reply::may_send(origin, source.limits.per_minute())
}

/// A request that was answered as its sender hopes.
struct Accepted {
    outcome: Outcome,
    /// Absent where nothing was stored.
    id: Option<RecordId>,
    response: Response<Body>,
}

/// Bound, verify, admit, append, in the order of what each costs. `found` is set to the source as
/// soon as it is known.
async fn accept<'e, S: Sink>(
    edge: &'e Edge<S>,
    parts: &Parts,
    body: Body,
    found: &mut Option<&'e Source>,
) -> Result<Accepted, Refusal> {
    let client = edge.client(parts);
    let (named, token) = match edge.sources.at(parts.uri.path()) {
        Place::Nowhere => return Err(Refusal::unknown_source()),
        Place::Of(source, token) => (Some(source), token),
        Place::Shared => (None, None),
    };
    *found = named;
    let allowed = match named {
        Some(source) => source.allows(client),
        // Which list counts is known once the body is; who is on none of them is not read.
        None => edge.sources.iter().any(|source| source.allows(client)),
    };
    if !allowed {
        return Err(Refusal::forbidden_ip());
    }
    if let Some(source) = named {
        open(source, edge)?;
    }
    // Its room is held until the record is durable or given up.
    let Arrived { sent, decoded, mut held } = arrive(edge, parts, body, client, named).await?;
    let told = decoded.as_deref().unwrap_or(&sent);

    let source = match named {
        Some(source) => source,
        None => edge.sources.of_body(told).ok_or_else(Refusal::unknown_source)?,
    };
    *found = Some(source);
    if named.is_none() {
        if !source.allows(client) {
            return Err(Refusal::forbidden_ip());
        }
        if sent.len().max(told.len()) > source.max_body_bytes {
            return Err(Refusal::body(BodyError::TooLarge, source.max_body_bytes));
        }
    }
    let gate = open(source, edge)?;
    let headers = texts(&parts.headers);
    let received_at = edge.clock.now();
    let whole = parts.uri.path();
    let path = token.and_then(|token| whole.strip_suffix(token)?.strip_suffix('/'));
    let path = path.unwrap_or(whole);
    // Everything but the body, which is held in one form after the other.
    let about = providers::Request {
        received_at,
        path,
        headers: &headers,
        query: parts.uri.query().unwrap_or_default(),
        token,
        ..providers::Request::default()
    };
    let request = providers::Request { body: &sent, ..about };
    let auth = proof::authentic(&edge.fetch, source, &gate, request, decoded.as_deref()).await?;
    held.authentic();
    source.meters.used(&auth, received_at);
    // Only a signature may hold for what was sent before it was decoded.
    let clear = match decoded {
        Some(decoded) => {
            held.give_back(sent.len());
            drop(sent);
            decoded
        }
        None => sent,
    };
    let mut request = providers::Request { body: &clear, ..about };

    let (provider, shown) = (source.provider, gate.shown().map_or(&[][..], |shown| &**shown));
    let unsealed = provider.unseal(&request, shown).map_err(|refused| {
        Refusal::unauthenticated(&refused, gate.shown().and_then(Shown::challenge))
    })?;
    if let Some(unsealed) = &unsealed {
        let taken = held.take(unsealed.len());
        taken.map_err(|reason| Refusal::body(reason.into(), source.max_body_bytes))?;
        request.body = unsealed;
    }
    let own = provider.reply(&request);
    if let Reply::Handshake { status, body } = own {
        let response = reply::said(status, body);
        return Ok(Accepted { outcome: Outcome::Handshake, id: None, response });
    }
    let silent = is_silent_test(source, request.body);
    if silent {
        request.body = providers::TEST_BODY.as_bytes();
    }
    provider.admit(&request, &source.senders).map_err(|reason| Refusal::not_admitted(&reason))?;
    let channel = provider.channel(&request).map(|asked| {
        edge.sources.channel(source, &asked).map(str::to_owned).ok_or_else(Refusal::unknown_channel)
    });
    let channel = channel.transpose()?;
    let _place = limits::enter(&source.limits, &source.project_limits, Instant::now())
        .map_err(|wait| Refusal::rate_limited(wait, provider.retries_too_many()))?;
    let follow_up = provider.follow_up(&request);
    let recorded = edge.sources.recorded(source, &request);

    // The bytes go into the record as they are; nothing looks at the request again.
    let raw = match silent {
        true => providers::TEST_BODY.as_bytes().to_vec(),
        false => unsealed.unwrap_or(clear),
    };
    let known = Known { client, auth, channel, recorded };
    let record = record(edge, source, &about, known, raw);
    let id = record.id;
    let durable = edge.sink.append(source.lane, record).await.map_err(|error| {
        tracing::warn!(%error, delivery.id = %id, "append of delivery {id} failed");
        Refusal::not_durable(&error)
    })?;
    if let Some(url) = follow_up {
        // Whether it worked is the sender's to know: it asks again where it did not.
        let done = (edge.fetch)(url, ANY_AGE).await.is_some();
        tracing::info!({ source.id = %source.id, delivery.id = %id, done }, "followed delivery {id} up");
    }
    Ok(accepted(own, id, durable, recorded.is_some()))
}

/// What is answered once the record is durable; `recorded`: it is never an alert.
fn accepted(own: Reply, id: RecordId, durable: Durable, recorded: bool) -> Accepted {
    let response = match own {
        Reply::Stored { status, body } => reply::said(status, body),
        Reply::Created => reply::stored(StatusCode::CREATED, id),
        Reply::Accepted | Reply::Handshake { .. } => reply::stored(StatusCode::ACCEPTED, id),
    };
    let outcome = match (recorded, durable) {
        (true, Durable::Appended(_) | Durable::Spooled) => Outcome::OwnProject,
        (false, Durable::Appended(_)) => Outcome::Accepted,
        (false, Durable::Spooled) => Outcome::Spooled,
    };
    Accepted { outcome, id: Some(id), response }
}

/// A whole body.
struct Arrived {
    /// As it was sent.
    sent: Vec<u8>,
    /// In the clear, where it was encoded.
    decoded: Option<Vec<u8>>,
    /// Its room.
    held: Held,
}

/// Reads the body within its bounds, in the clear.
async fn arrive<S>(
    edge: &Edge<S>,
    parts: &Parts,
    body: Body,
    client: Option<IpAddr>,
    named: Option<&Source>,
) -> Result<Arrived, Refusal> {
    let encoding = decode::encoding(&parts.headers).map_err(|()| Refusal::encoding())?;
    let (cap, number) =
        named.map_or((edge.max_body_bytes, 0), |source| (source.max_body_bytes, source.number));
    let mut held = edge.budget.hold(client, number);
    let sent = body::read(body, announced(&parts.headers), cap, edge.body_deadline, &mut held)
        .await
        .map_err(|error| Refusal::body(error, cap))?;
    let decoded = match encoding {
        None => None,
        Some(encoding) => {
            let decoded = decode::decode(encoding, &sent, cap)
                .map_err(|error| Refusal::decoding(error, cap))?;
            held.take_decoded(decoded.len()).map_err(|reason| Refusal::body(reason.into(), cap))?;
            Some(decoded)
        }
    };
    Ok(Arrived { sent, decoded, held })
}

/// What the source asks for now, unless it refuses everything.
fn open<S>(source: &Source, edge: &Edge<S>) -> Result<Gate, Refusal> {
    match source.gate(edge.clock.now()) {
        Gate::Closed(detail) => Err(Refusal::credentials_missing(detail)),
        Gate::Unread => Err(Refusal::keys_unread()),
        gate @ (Gate::Verify(_) | Gate::Address | Gate::Open) => Ok(gate),
    }
}

/// Whether this is a test that says nothing itself.
fn is_silent_test(source: &Source, body: &[u8]) -> bool {
    source.id.as_str() == providers::TEST_SOURCE && body.iter().all(u8::is_ascii_whitespace)
}

/// What is known of a request besides what it says.
struct Known {
    /// Where it comes from, as far as that can be trusted.
    client: Option<IpAddr>,
    /// How it proved that.
    auth: Auth,
    /// The channel it asks for, by id.
    channel: Option<String>,
    /// Why it is never an alert.
    recorded: Option<&'static str>,
}

fn record<S>(
    edge: &Edge<S>,
    source: &Source,
    request: &providers::Request<'_>,
    known: Known,
    raw: Vec<u8>,
) -> Record {
    let Known { client, auth, channel, recorded } = known;
    let kept = source.provider.kept_headers();
    let value = |name: &str| request.header(name).map(str::to_owned);
    let delivery = Delivery {
        provider: source.provider.name().to_owned(),
        source: source.id.clone(),
        route: request.path.to_owned(),
        remote: client.map(|address| address.to_string()),
        auth,
        sha256: Sha256::digest(&raw).into(),
        raw,
        content_type: value("content-type"),
        headers: request
            .headers
            .iter()
            .filter(|(name, _)| kept.contains(&name.as_str()))
            .cloned()
            .collect(),
        channel,
        recorded: recorded.map(str::to_owned),
    };
    let mut record = Record::new(
        runtime::record_id(&edge.clock),
        request.received_at,
        Some(source.project.clone()),
        RecordBody::Delivery(Box::new(delivery)),
    );
    record.trace = value("traceparent").filter(|text| is_traceparent(text));
    record
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
