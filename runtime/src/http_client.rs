//! Building HTTP clients: one TLS stack, no redirects, always a time limit.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use reqwest::{
    Client, ClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

use crate::{Error, address::is_public};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// From the start of a request to the end of its response body.
    pub timeout: Duration,
    /// TCP and TLS handshake.
    pub connect_timeout: Duration,
    /// `User-Agent` of every request.
    pub user_agent: String,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            user_agent: concat!("bellwether/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Makes aws-lc-rs the TLS provider of the process. Again is harmless.
pub fn install_tls_provider() {
    // An error means that somebody was first, and there is only one provider in the graph.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A client that follows no redirect (a receiver that answers 302 would otherwise choose where our
/// data goes) and uses no proxy but the configured target.
///
/// On a machine without any CA certificate the client still speaks `http` and trusts no `https`.
///
/// # Errors
/// The client cannot be built, for example because of a user agent with line breaks.
pub fn build(config: &ClientConfig) -> Result<Client, Error> {
    finish(|| builder(config))
}

/// The same, and it dials public addresses only, for http and https alike: names are looked up once
/// for each connection, and what is found is looked at and then dialled, so that nobody can answer
/// otherwise in between. A URL that names an address itself is for its caller to check. The error
/// of a name without a public address has [`NotPublic`] among its sources.
///
/// # Errors
/// As [`build`].
pub fn build_guarded(config: &ClientConfig) -> Result<Client, Error> {
    build_guarded_over(config, by_system())
}

/// The same over another way to look names up.
///
/// # Errors
/// As [`build`].
pub fn build_guarded_over(config: &ClientConfig, lookup: Lookup) -> Result<Client, Error> {
    finish(|| builder(config).dns_resolver(PublicOnly(Arc::clone(&lookup))))
}

/// Clients for those who send to public addresses, and for those who may send to any.
#[derive(Clone, Debug)]
pub struct Clients {
    /// As [`build_guarded`].
    pub public: Client,
    /// As [`build`].
    pub any: Client,
}

impl Clients {
    /// Both, that behave alike.
    ///
    /// # Errors
    /// As [`build`].
    pub fn new(config: &ClientConfig) -> Result<Self, Error> {
        Ok(Self { public: build_guarded(config)?, any: build(config)? })
    }
}

/// Finds the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Asks as every program on the machine does.
fn by_system() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// The name has no address that a guarded client may dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name has no public address")]
pub struct NotPublic;

fn finish(builder: impl Fn() -> ClientBuilder) -> Result<Client, Error> {
    install_tls_provider();
    builder().build().or_else(|_| {
        let client = builder().tls_certs_only([]).build().map_err(Error::HttpClient)?;
        tracing::warn!("no CA certificates on this machine: https targets cannot be reached");
        Ok(client)
    })
}

/// Looks names up, and finds public addresses or none.
struct PublicOnly(Lookup);

impl fmt::Debug for PublicOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicOnly")
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.0)(name.as_str().to_owned());
        Box::pin(async move {
            // The port is put in by whoever dials.
            let public: Vec<SocketAddr> = found
                .await?
                .into_iter()
                .filter(|ip| is_public(*ip))
                .map(|ip| SocketAddr::new(ip, 0))
                .collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that builds HTTP clients")]
fn builder(config: &ClientConfig) -> ClientBuilder {
    Client::builder()
        .timeout(config.timeout)
        .connect_timeout(config.connect_timeout)
        .user_agent(&config.user_agent)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guarded_client_dials_no_inner_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let get = |client: Client| async move { client.get(&url).send().await };
        let error = get(build_guarded(&ClientConfig::default()).unwrap()).await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
        assert!(format!("{error:?}").contains("NotPublic"), "{error:?}");
        let visit = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(visit.is_err(), "somebody dialled");
    }

    #[tokio::test]
    async fn a_name_that_changes_its_address_leads_nowhere_else() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        // given a name that is public when it is first asked for, and an inner address after that
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, public) = (Arc::new(AtomicUsize::new(0)), IpAddr::from([8, 8, 8, 8]));
        let counted = Arc::clone(&asked);
        let lookup: Lookup = Arc::new(move |_| {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            let found = if first { public } else { IpAddr::from([127, 0, 0, 1]) };
            Box::pin(std::future::ready(Ok(vec![found])))
        });
        let quick = Duration::from_millis(300);
        let config =
            ClientConfig { timeout: quick, connect_timeout: quick, ..ClientConfig::default() };
        let client = build_guarded_over(&config, lookup).unwrap();

        // when it is dialled in every scheme
        for (n, scheme) in ["https", "http", "https"].into_iter().enumerate() {
            let url = format!("{scheme}://rebinding.example:{port}/");
            let error = client.get(url).send().await.unwrap_err();
            // then each connection looks once, and dials what it looked at
            assert_eq!(asked.load(Ordering::SeqCst), n + 1);
            assert_eq!(format!("{error:?}").contains("NotPublic"), n > 0, "{error:?}");
        }
        let visit = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(visit.is_err(), "somebody dialled");
    }

    #[test]
    fn a_client_is_built_and_a_bad_user_agent_is_an_error() {
        assert!(build(&ClientConfig::default()).is_ok());
        let bad = ClientConfig { user_agent: "a\r\nb".into(), ..ClientConfig::default() };
        assert!(matches!(build(&bad), Err(Error::HttpClient(_))));
    }
}
