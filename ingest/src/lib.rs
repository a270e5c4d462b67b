//! Stage accept: from an HTTP request to a durable record.
//!
//! One job: verify, bound, append. A sender gets 202 only after its record is durable (invariant
//! I1), and nothing is appended on a refusal. This crate knows HTTP and the provider registry; it
//! must not know what a delivery means, nor any table, nor any vendor: which headers are kept and
//! how a request proves its origin is [`domain::providers`]' business, so a new provider changes
//! nothing here.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod config;
pub mod gate;
pub mod keys;
pub mod outcome;
pub mod reply;
pub mod source;
pub mod sources;

mod accept;
mod body;
mod budget;
mod credentials;
mod decode;
mod limits;
mod peer;
mod proof;

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::post};
use eventlog::{AppendError, Durable, SpoolingAppender};
use futures_util::future::BoxFuture;
use runtime::{Clock, Health, MetricsHandle, Shutdown, fetch::Fetcher, http_server};
use schemas::{InputPosition, LaneKey, Record, subject::Class};
use tokio::net::TcpListener;

pub use config::{BasicConfig, BearerConfig, Config, EntraConfig, SourceConfig};
pub use credentials::Valid;
pub use source::{Issued, Source};
pub use sources::{ChannelName, Sources};

/// Gets the document at an https address that a provider named, at most so old; `None` where it
/// cannot be had.
pub type Fetch =
    Arc<dyn Fn(String, Duration) -> BoxFuture<'static, Option<Arc<[u8]>>> + Send + Sync>;

/// Where accepted records go.
///
/// Two implementations: [`SpoolingAppender`] (the log or, while it is away, the spool), and
/// [`Discard`] for benches.
pub trait Sink: Clone + Send + Sync + 'static {
    /// Returns once the record is durable, and where, or says that this cannot be promised.
    fn append(
        &self,
        lane: LaneKey,
        record: Record,
    ) -> impl Future<Output = Result<Durable, AppendError>> + Send;
}

impl Sink for SpoolingAppender {
    async fn append(&self, lane: LaneKey, record: Record) -> Result<Durable, AppendError> {
        SpoolingAppender::append(self, lane, Class::Data, record).await
    }
}

/// Acknowledges at once and keeps nothing: the same handler with nothing behind it, which is the
/// limit the durable figures are compared with. For benches only; never wired to a role.
#[derive(Clone, Copy, Debug)]
pub struct Discard;

impl Sink for Discard {
    async fn append(&self, _lane: LaneKey, _record: Record) -> Result<Durable, AppendError> {
        Ok(Durable::Appended(InputPosition { incarnation: 0, sequence: 0, record: 0 }))
    }
}

/// What [`run`] needs from the process.
pub struct Deps {
    /// [`router`]'s. A clone answers on a further listener out of the same budget.
    pub routes: Router,
    /// Those of the routes, validated before any socket opens ([`Sources::build`]).
    pub sources: Arc<Sources>,
    pub health: Health,
    pub metrics: MetricsHandle,
    /// Bound already, so that a taken address stops the start.
    pub listener: TcpListener,
}

/// Listens and accepts until told to stop; then finishes the requests in hand.
pub async fn run(config: Config, deps: Deps, shutdown: Shutdown) {
    let Deps { routes, sources, health, metrics, listener } = deps;
    sources.announce(&health);
    let app = routes
        .merge(runtime::admin::router(health.clone(), metrics))
        .fallback(reply::no_such_route);
    health.ready("ingest");
    http_server::serve(listener, app, config.limits(), shutdown).await;
}

/// The ingest routes alone, for whoever listens.
///
/// Each call has its own budget of bytes in flight, and remembers alone what it fetched: call it
/// once in a process, and clone the router for a further listener.
pub fn router<S: Sink>(config: &Config, sources: Arc<Sources>, sink: S, clock: Clock) -> Router {
    routes(config, sources, sink, clock, fetch_outside())
}

/// Fetches from outside, by the rules of [`Fetcher`].
fn fetch_outside() -> Fetch {
    let fetcher = Fetcher::new().inspect_err(|error| {
        tracing::error!(%error, "nothing can be fetched: senders who need it are refused");
    });
    let fetcher = fetcher.ok();
    Arc::new(move |url, age| {
        let fetcher = fetcher.clone();
        Box::pin(async move {
            let fetched = fetcher?.fetch(&url, age).await;
            fetched.inspect_err(|error| tracing::warn!(%error, "{error}")).ok()
        })
    })
}

fn routes<S: Sink>(
    config: &Config,
    sources: Arc<Sources>,
    sink: S,
    clock: Clock,
    fetch: Fetch,
) -> Router {
    let edge = Arc::new(accept::Edge::new(config, sources, sink, clock, fetch));
    let route = || {
        let receive = post(accept::receive::<S>).put(accept::receive::<S>);
        receive.options(accept::asked::<S>).fallback(reply::method_not_allowed)
    };
    let webhooks = [
        "/webhook/{provider}",
        "/webhook/{provider}/{source}",
        "/webhook/{provider}/{source}/{token}",
    ];
    let paths = webhooks.into_iter().chain(sources::fixed_paths());
    paths.fold(Router::new(), |router, path| router.route(path, route())).with_state(edge)
}

#[cfg(test)]
mod tests;
