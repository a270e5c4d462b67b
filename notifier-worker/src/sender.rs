//! The one sender all channels share: it owns the connections, the time limit, the address guard
//! and the size cap, and shows nobody where a message goes or what it carries.

use std::{
    error::Error as _,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Method, Url, header};
use runtime::{Clock, address::is_public};
use tokio::time::{Instant, timeout_at};

use crate::{
    channels::{Request, Response},
    config::Target,
};

/// How much of an answer is read; the rest is not asked for.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Where the log channel prints.
pub type Printer = Arc<dyn Fn(&str) + Send + Sync>;

/// Prints through the process's log, target `bellwether::channel::log`.
pub fn print_to_log() -> Printer {
    Arc::new(|text| tracing::info!(target: "bellwether::channel::log", "{text}"))
}

/// Sends requests.
#[derive(Clone)]
pub struct Sender {
    client: Client,
    clock: Clock,
    print: Printer,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// How sending ended. Reasons carry no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    Answered(Response),
    /// It was definitely not sent: nobody could be reached.
    NotSent(String),
    /// It was not sent, because nothing may be sent to that address.
    Blocked(String),
    /// It was sent at least in part, and no answer came.
    Lost(String),
}

impl Sender {
    /// A sender over `client`, which must not follow redirects.
    pub fn new(client: Client, clock: Clock, print: Printer) -> Self {
        Self { client, clock, print }
    }

    /// Does what the request says, within the target's time limit.
    pub async fn send(&self, request: Request, target: &Target) -> Exchange {
        match request {
            Request::Print { text } => {
                (self.print)(&text);
                Exchange::Answered(self.response(200, None, Bytes::new()))
            }
            Request::Http { method, url, headers, body } => {
                let deadline = Instant::now() + target.timeout;
                let guarded = match timeout_at(deadline, guard(url, target.allow_private)).await {
                    Ok(Ok(guarded)) => guarded,
                    Ok(Err(end)) => return end,
                    Err(_) => return Exchange::NotSent("name lookup: timeout".into()),
                };
                self.ask(method, guarded, headers, body, deadline).await
            }
        }
    }

    async fn ask(
        &self,
        method: Method,
        guarded: Guarded,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
        deadline: Instant,
    ) -> Exchange {
        // The client's own limit must not be the shorter one.
        let left = deadline.saturating_duration_since(Instant::now());
        let mut request = self.client.request(method, guarded.url).body(body).timeout(left);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(host) = guarded.host {
            request = request.header(header::HOST, host);
        }
        let mut response = match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return failed(&error),
            Err(_) => return Exchange::Lost("timeout".into()),
        };
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let status = response.status().as_u16();
        // The status is the answer; a body that stops in the middle does not take it back.
        let mut head = BytesMut::new();
        while head.len() < MAX_RESPONSE_BYTES {
            match timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    head.extend_from_slice(
                        &chunk[..chunk.len().min(MAX_RESPONSE_BYTES - head.len())],
                    );
                }
                Ok(Ok(None) | Err(_)) | Err(_) => break,
            }
        }
        Exchange::Answered(self.response(status, retry_after, head.freeze()))
    }

    fn response(&self, status: u16, retry_after: Option<String>, body: Bytes) -> Response {
        Response { status, retry_after, body, at: self.clock.now() }
    }
}

/// A URL that may be dialled.
struct Guarded {
    url: Url,
    /// The `Host` header, where the URL's own host was replaced.
    host: Option<String>,
}

/// Looks the host up and refuses addresses that are not public.
///
/// The address that was checked is the one that is dialled: a plain http URL gets it in place of
/// its name. An https URL keeps its name, because the certificate is checked against it: whoever
/// answers has to prove that name, which a server inside does not, should the name be looked up
/// once more and mean another address by then.
async fn guard(url: Url, allow_private: bool) -> Result<Guarded, Exchange> {
    if allow_private {
        return Ok(Guarded { url, host: None });
    }
    let blocked = |reason: &str| Exchange::Blocked(reason.to_owned());
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(blocked("the address has no host"));
    };
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), port))
        .await
        .map_err(|_| Exchange::NotSent("name lookup failed".into()))?
        .collect();
    let Some(first) = found.first() else {
        return Err(Exchange::NotSent("name lookup found no address".into()));
    };
    if !found.iter().all(|address| is_public(address.ip())) {
        return Err(blocked("the address is not public, and the channel has no allow_private"));
    }
    pin(url, first.ip()).ok_or_else(|| blocked("the address has no host"))
}

/// Puts the address that was checked in place of a plain http URL's name.
fn pin(mut url: Url, ip: IpAddr) -> Option<Guarded> {
    if url.scheme() != "http" || literal_address(&url).is_some() {
        return Some(Guarded { url, host: None });
    }
    let name = url.host_str()?;
    let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
    url.set_ip_host(ip).ok()?;
    Some(Guarded { url, host: Some(host) })
}

/// The address a URL names without a name.
pub(crate) fn literal_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Sorts a failure without an answer; never shows the error itself, which names the address.
fn failed(error: &reqwest::Error) -> Exchange {
    let mut source = error.source();
    let mut kind = None;
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            kind = Some(io.kind());
        }
        source = inner.source();
    }
    let why = kind.map_or_else(|| "failed".to_owned(), |kind| kind.to_string());
    if error.is_connect() {
        Exchange::NotSent(format!("connect: {why}"))
    } else if error.is_builder() {
        Exchange::Blocked("the request cannot be built".into())
    } else if error.is_timeout() {
        Exchange::Lost("timeout".into())
    } else {
        Exchange::Lost(format!("no answer: {why}"))
    }
}

#[cfg(test)]
mod tests;
