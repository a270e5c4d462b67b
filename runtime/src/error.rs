//! Why the process could not be set up.

use std::net::SocketAddr;

/// Why the process could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client cannot be built.
    #[error("build http client")]
    HttpClient(#[source] reqwest::Error),
    /// The log filter is not a filter.
    #[error("log filter {filter:?}: {reason}")]
    LogFilter { filter: String, reason: String },
    /// Another subscriber is installed already.
    #[error("install log output: {reason}")]
    LogOutput { reason: String },
}
