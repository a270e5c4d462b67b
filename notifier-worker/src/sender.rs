//! The one sender all channels share: it owns the connections, the time limit, the address guard
//! and the size cap, and shows nobody where a message goes or what it carries.

mod mail;

use std::{error::Error as _, fmt, net::IpAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use reqwest::{Client, RequestBuilder, Url, header};
use runtime::{
    Clock,
    address::is_public,
    http_client::{Clients, NotPublic},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    channels::{Request, Response},
    config::Target,
};

/// How much of an answer is read; the rest is not asked for.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Why nothing was sent to an inner address.
const NOT_PUBLIC: &str = "the address is not public, and the channel has no allow_private";

/// Where the log channel prints.
pub type Printer = Arc<dyn Fn(&str) + Send + Sync>;

/// Prints through the process's log, target `bellwether::channel::log`.
pub fn print_to_log() -> Printer {
    Arc::new(|text| tracing::info!(target: "bellwether::channel::log", "{text}"))
}

/// Sends requests.
#[derive(Clone)]
pub struct Sender {
    clients: Clients,
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
    /// A sender over `clients`, one of them for targets with `allow_private`.
    pub fn new(clients: Clients, clock: Clock, print: Printer) -> Self {
        Self { clients, clock, print }
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
                let client = match client(&self.clients, &url, target.allow_private) {
                    Ok(client) => client,
                    Err(end) => return end,
                };
                let mut request = client.request(method, url).body(body);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                self.ask(request, deadline).await
            }
            Request::Mail(mail) => {
                let deadline = Instant::now() + target.timeout;
                match mail::submit(&mail, target.allow_private, deadline).await {
                    mail::Ended::Exchange(exchange) => exchange,
                    // A dialogue of many replies has no status; its channel reads them all.
                    mail::Ended::Said(said) => {
                        let said = serde_json::to_vec(&said).unwrap_or_default();
                        Exchange::Answered(self.response(200, None, said.into()))
                    }
                }
            }
        }
    }

    async fn ask(&self, request: RequestBuilder, deadline: Instant) -> Exchange {
        // The client's own limit must not be the shorter one.
        let left = deadline.saturating_duration_since(Instant::now());
        let request = request.timeout(left);
        let mut response = match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return failed(&error),
            Err(_) => return Exchange::Lost("timeout".into()),
        };
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            // What Lark and Feishu call it, in seconds.
            .or_else(|| response.headers().get("x-ogw-ratelimit-reset"))
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

/// Which client may dial a URL. Names are the client's to check, for it looks them up; what a URL
/// names as an address is not looked up, so it is checked here.
fn client<'a>(
    clients: &'a Clients,
    url: &Url,
    allow_private: bool,
) -> Result<&'a Client, Exchange> {
    if allow_private {
        return Ok(&clients.any);
    }
    match literal_address(url) {
        Some(ip) if !is_public(ip) => Err(Exchange::Blocked(NOT_PUBLIC.into())),
        Some(_) | None => Ok(&clients.public),
    }
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
        if inner.is::<NotPublic>() {
            return Exchange::Blocked(NOT_PUBLIC.into());
        }
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
