//! Building HTTP clients: one TLS stack, no redirects, always a time limit.

use std::{net::SocketAddr, time::Duration};

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

/// The same, and it dials public addresses only: names are looked up and looked at for each
/// connection, and a URL that names an address itself is for its caller to check.
///
/// # Errors
/// As [`build`].
pub fn build_guarded(config: &ClientConfig) -> Result<Client, Error> {
    finish(|| builder(config).dns_resolver(PublicOnly))
}

fn finish(builder: impl Fn() -> ClientBuilder) -> Result<Client, Error> {
    install_tls_provider();
    builder().build().or_else(|_| {
        let client = builder().tls_certs_only([]).build().map_err(Error::HttpClient)?;
        tracing::warn!("no CA certificates on this machine: https targets cannot be reached");
        Ok(client)
    })
}

/// Looks names up, and finds public addresses or none.
#[derive(Clone, Copy, Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is put in by whoever dials.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|a| is_public(a.ip())).collect();
            if public.is_empty() {
                return Err("the name has no public address".into());
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
        assert!(format!("{error:?}").contains("no public address"), "{error:?}");
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
