//! Sends reports over the HTTP client that everything else here uses.

use std::sync::Arc;

use reqwest::{Client, StatusCode, header};
use sentry::{
    Envelope, Transport, TransportFactory, TransportOptions,
    transports::{RateLimiter, TokioTransportThread, TokioTransportThreadOptions},
};

use super::count;
use crate::{
    Error,
    http_client::{self, ClientConfig},
};

/// Makes the transport.
pub(super) struct Post {
    client: Client,
}

impl Post {
    pub fn new() -> Result<Self, Error> {
        // It may stand on an inner address: whoever configures it chose it.
        Ok(Self { client: http_client::build(&ClientConfig::default())? })
    }
}

impl TransportFactory for Post {
    fn create_transport_with_options(&self, options: TransportOptions) -> Arc<dyn Transport> {
        let url = options.dsn.envelope_api_url().to_string();
        let auth = options.dsn.to_auth(Some(&options.user_agent)).to_string();
        let client = self.client.clone();
        let send = move |envelope: Envelope, limiter: RateLimiter| {
            let mut body = Vec::new();
            let written = envelope.to_writer(&mut body);
            let is_report = envelope.event().is_some();
            let request = client
                .post(&url)
                .header("X-Sentry-Auth", &auth)
                .header(header::CONTENT_TYPE, "application/x-sentry-envelope")
                .body(body);
            async move {
                let (outcome, limiter) = match written {
                    Ok(()) => sent(request, limiter).await,
                    Err(_) => ("unwritable", limiter),
                };
                if is_report {
                    count(outcome);
                }
                limiter
            }
        };
        let capacity = options.transport_channel_capacity.map_or(1, std::num::NonZero::get);
        let thread = TokioTransportThreadOptions::new(send)
            .with_client_report_recorder(options.client_report_recorder)
            .with_channel_capacity(capacity)
            .spawn_thread();
        Arc::new(Sending(thread))
    }
}

/// What became of a request, and when the next may be made.
async fn sent(
    request: reqwest::RequestBuilder,
    mut limiter: RateLimiter,
) -> (&'static str, RateLimiter) {
    // Not logged as an error: that would be the next report.
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(error = %error.without_url(), "an error report found nobody");
            return ("unreachable", limiter);
        }
    };
    let said = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = said(header::RETRY_AFTER.as_str());
    if let Some(limits) = said("x-sentry-rate-limits") {
        limiter.update_from_sentry_header(limits);
    } else if let Some(after) = retry_after {
        limiter.update_from_retry_after(after);
    } else if answer.status() == StatusCode::TOO_MANY_REQUESTS {
        limiter.update_from_429();
    }
    let status = answer.status();
    match status {
        _ if status.is_success() => ("delivered", limiter),
        StatusCode::TOO_MANY_REQUESTS => ("limited", limiter),
        _ => {
            tracing::warn!(status = status.as_u16(), "an error report was refused: {status}");
            ("refused", limiter)
        }
    }
}

struct Sending(TokioTransportThread);

impl Transport for Sending {
    fn send_envelope(&self, envelope: Envelope) {
        self.0.send(envelope);
    }

    fn flush(&self, timeout: std::time::Duration) -> bool {
        self.0.flush(timeout)
    }

    fn shutdown(&self, timeout: std::time::Duration) -> bool {
        self.flush(timeout)
    }
}
