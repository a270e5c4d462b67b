//! Serving HTTP/1.1 to strangers: every phase of a connection has a bound.
//!
//! `axum::serve` never times out a client that sends nothing or half a header, so this is hyper's
//! HTTP/1 builder with a timer, a cap on connections and a two-step stop. The time a request body
//! may take is the handler's business.

use std::{convert::Infallible, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::{Error, Shutdown};

/// After a refusal the rest of the body is read and thrown away for this long and this many bytes,
/// because closing with unread input makes the kernel reset the connection and the client would
/// never see the answer.
const LINGER: (Duration, usize) = (Duration::from_secs(3), 4 << 20);

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the connection's start, or the previous response, to the end of the next header. Also
    /// how long an idle connection is kept.
    pub header_timeout: Duration,
    /// At the cap new connections wait in the kernel's queue.
    pub max_connections: usize,
    /// Header fields per request; more is 431.
    pub max_headers: usize,
    /// Bytes of request line and header; more is 431.
    pub max_header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            max_connections: 16_384,
            max_headers: 100,
            max_header_bytes: 16 << 10,
        }
    }
}

/// The other end of the connection, in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Binds a listener.
///
/// # Errors
/// The address is taken or not ours.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

/// Answers with `app` until told to stop: at the soft token the listener closes, requests in hand
/// are finished and idle connections closed; at the hard token all connections are dropped.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits, shutdown: Shutdown) {
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let connections = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_header_bytes);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.stopping() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            // A connection that died in the queue says nothing about the next one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                // Out of file descriptors or memory: passes when connections end.
                tracing::warn!(%error, "accept failed: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (http, app, shutdown) = (http.clone(), app.clone(), shutdown.child().0);
        connections.spawn(async move {
            connection(&http, stream, peer, app, &shutdown).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Only latency: a socket that refuses it is served all the same.
    let _ = stream.set_nodelay(true);
    Ok((stream, peer, permit))
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

async fn connection(
    http: &http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    shutdown: &Shutdown,
) {
    let service = service_fn(move |mut request: Request<Incoming>| -> Answer {
        request.extensions_mut().insert(Peer(peer));
        Box::pin(app.clone().call(request))
    });
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let mut stopping = std::pin::pin!(shutdown.stopping());
    let mut asked = false;
    let served = loop {
        tokio::select! {
            biased;
            served = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => break served,
            () = shutdown.hard() => return,
            () = &mut stopping, if !asked => {
                asked = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    match served {
        Ok(()) => {
            let stream = connection.into_parts().io.into_inner();
            tokio::select! {
                _ = tokio::time::timeout(LINGER.0, linger(stream)) => {}
                () = shutdown.hard() => {}
            }
        }
        Err(error) => tracing::debug!(%error, "connection ended early"),
    }
}

/// Says that no more comes, and lets the client finish what it is saying.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut scrap = vec![0; 8 << 10];
    let mut seen = 0;
    while let Ok(read @ 1..) = stream.read(&mut scrap).await {
        seen += read;
        if seen > LINGER.1 {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
