//! The dialogue with an SMTP server (RFC 5321), for one mail.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{
            AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters,
        },
        commands::{Data, Mail as MailFrom, Rcpt},
        extension::ClientId,
    },
};
use runtime::address::is_public;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::Exchange;
use crate::mail::{Mail, Missed, Said, Security, Stage};

/// How long a server that has taken the mail is waited for to say good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// What came of it: the server's word, or no word.
pub(super) enum Ended {
    Said(Said),
    Exchange(Exchange),
}

/// Hands the mail over before `deadline`.
pub(super) async fn submit(mail: &Mail, allow_private: bool, deadline: Instant) -> Ended {
    let addresses = match timeout_at(deadline, look_up(mail, allow_private)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(exchange)) => return Ended::Exchange(exchange),
        Err(_) => return Ended::Exchange(Exchange::NotSent("name lookup: timeout".into())),
    };
    // Up to the last dot nothing was taken; from there on only the server knows.
    let doubtful = AtomicBool::new(false);
    let ended = timeout_at(deadline, converse(mail, &addresses, deadline, &doubtful)).await;
    let doubtful = doubtful.load(Ordering::Relaxed);
    match ended {
        Ok(Ok(said)) => Ended::Said(said),
        Ok(Err(reason)) if doubtful => Ended::Exchange(Exchange::Lost(reason)),
        Ok(Err(reason)) => Ended::Exchange(Exchange::NotSent(reason)),
        Err(_) if doubtful => Ended::Exchange(Exchange::Lost("timeout".into())),
        Err(_) => {
            Ended::Exchange(Exchange::NotSent("timeout before the mail was handed over".into()))
        }
    }
}

/// The server's addresses, none of which is inside unless that is allowed.
async fn look_up(mail: &Mail, allow_private: bool) -> Result<Vec<SocketAddr>, Exchange> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((mail.host.as_str(), mail.port))
        .await
        .map_err(|_| Exchange::NotSent("name lookup failed".into()))?
        .collect();
    if found.is_empty() {
        return Err(Exchange::NotSent("name lookup found no address".into()));
    }
    if !allow_private && !found.iter().all(|address| is_public(address.ip())) {
        let reason = "the address is not public, and the channel has no allow_private";
        return Err(Exchange::Blocked(reason.into()));
    }
    Ok(found)
}

/// The whole dialogue. An error is why there was no reply.
async fn converse(
    mail: &Mail,
    addresses: &[SocketAddr],
    deadline: Instant,
    doubtful: &AtomicBool,
) -> Result<Said, String> {
    let said = |stage, code, text: String| Said {
        stage,
        code,
        text,
        id: mail.id.clone(),
        missed: Vec::new(),
    };
    let ended = |stage, failure| match failure {
        Failure::Said(code, text) => Ok(said(stage, code, text)),
        Failure::Silent(reason) => Err(reason),
    };
    let ours = |stage, text: &str| Ok(said(stage, 0, text.to_owned()));

    // Greeting, and security.
    let hello = ClientId::Domain(domain(&mail.from).to_owned());
    let tls = match mail.security {
        Security::Plain => None,
        Security::StartTls | Security::Tls => Some(parameters(mail)?),
    };
    let implicit = tls.clone().filter(|_| mail.security == Security::Tls);
    let mut connection = match connect(addresses, &hello, implicit, deadline).await {
        Ok(connection) => connection,
        Err(failure) => return ended(Stage::Greeting, failure),
    };
    if let Some(tls) = tls.filter(|_| mail.security == Security::StartTls) {
        if !connection.can_starttls() {
            connection.abort().await;
            return ours(Stage::Tls, "the server does not offer STARTTLS");
        }
        if let Err(error) = connection.starttls(tls, &hello).await {
            return ended(Stage::Tls, failure(&error));
        }
    }
    if let Some((user, password)) = &mail.login {
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        if !mechanisms.iter().any(|m| connection.server_info().supports_auth_mechanism(*m)) {
            connection.abort().await;
            return ours(Stage::Login, "the server offers neither PLAIN nor LOGIN");
        }
        let credentials = Credentials::new(user.clone(), password.clone());
        if let Err(error) = connection.auth(&mechanisms, &credentials).await {
            // Its text may repeat what it was told.
            return match failure(&error) {
                Failure::Said(code, _) => Ok(said(Stage::Login, code, String::new())),
                Failure::Silent(reason) => Err(reason),
            };
        }
    }

    // The envelope.
    let Ok(from) = mail.from.parse::<Address>() else {
        return ours(Stage::Sender, "the sender is no address");
    };
    if let Err(error) = connection.command(MailFrom::new(Some(from), Vec::new())).await {
        return ended(Stage::Sender, failure(&error));
    }
    let mut missed = Vec::new();
    for to in &mail.to {
        let Ok(address) = to.parse::<Address>() else {
            missed.push(Missed { to: to.clone(), code: 0, text: "this is no address".to_owned() });
            continue;
        };
        if let Err(error) = connection.command(Rcpt::new(address, Vec::new())).await {
            match failure(&error) {
                Failure::Said(code, text) => missed.push(Missed { to: to.clone(), code, text }),
                Failure::Silent(reason) => return Err(reason),
            }
        }
    }
    if missed.len() == mail.to.len() {
        connection.abort().await;
        // Somebody may be reached later: that counts, not who never will.
        let later = missed.iter().find(|m| (400..500).contains(&m.code));
        let last = later.or(missed.first());
        let (code, text) = last.map_or((0, String::new()), |m| (m.code, m.text.clone()));
        return Ok(Said { missed, ..said(Stage::Recipients, code, text) });
    }

    // The content.
    if let Err(error) = connection.command(Data).await {
        return ended(Stage::Content, failure(&error));
    }
    doubtful.store(true, Ordering::Relaxed);
    match connection.message(&mail.content).await {
        Ok(_) => {
            // It is taken, whether or not the server says good-bye in time.
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = timeout(FAREWELL.min(left / 2), connection.quit()).await;
            Ok(Said { missed, ..said(Stage::Taken, 250, String::new()) })
        }
        Err(error) => ended(Stage::Content, failure(&error)),
    }
}

/// The first of the addresses that answers.
async fn connect(
    addresses: &[SocketAddr],
    hello: &ClientId,
    tls: Option<TlsParameters>,
    deadline: Instant,
) -> Result<AsyncSmtpConnection, Failure> {
    let mut failed = Failure::Silent("no address".to_owned());
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        let connection = match &tls {
            Some(tls) => {
                let tls = Some(tls.clone());
                AsyncSmtpConnection::connect_tokio1(*address, Some(left), hello, tls, None).await
            }
            None => match timeout(left, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let stream = Box::new(ByByte { stream, begun_tls: false });
                    AsyncSmtpConnection::connect_with_transport(stream, hello).await
                }
                Ok(Err(error)) => {
                    failed = Failure::Silent(format!("connect: {}", error.kind()));
                    continue;
                }
                Err(_) => {
                    failed = Failure::Silent("connect: timeout".to_owned());
                    continue;
                }
            },
        };
        match connection.map_err(|error| failure(&error)) {
            Ok(connection) => return Ok(connection),
            // A server that answers and refuses is an answer.
            Err(said @ Failure::Said(..)) => return Err(said),
            Err(silent @ Failure::Silent(_)) => failed = silent,
        }
    }
    Err(failed)
}

/// Why a step of the dialogue was not the last.
enum Failure {
    /// The server's reply refuses it: code and text.
    Said(u16, String),
    /// There was no reply, and why.
    Silent(String),
}

fn failure(error: &Error) -> Failure {
    match error.status() {
        Some(code) => {
            let text = std::error::Error::source(error).map(ToString::to_string);
            Failure::Said(code.into(), text.unwrap_or_default())
        }
        None => Failure::Silent(chain(error)),
    }
}

/// Whom to trust, and whose certificate to ask for.
fn parameters(mail: &Mail) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(mail.host.clone());
    if let Some(authority) = &mail.authority {
        let certificate = Certificate::from_pem(authority.as_bytes())
            .map_err(|_| "the authority's certificate cannot be read".to_owned())?;
        builder =
            builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| format!("no TLS: {}", chain(&error)))
}

/// What an error says and why; no address is in it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut source = error.source();
    let mut text = None;
    while let Some(inner) = source {
        text = Some(match inner.downcast_ref::<io::Error>() {
            // Others would repeat the operating system's words.
            Some(io) if io.get_ref().is_none() => io.kind().to_string(),
            Some(_) | None => inner.to_string(),
        });
        source = inner.source();
    }
    let text = text.unwrap_or_else(|| "failed".to_owned());
    format!("no answer: {}", text.chars().filter(|c| !c.is_control()).take(200).collect::<String>())
}

fn domain(address: &str) -> &str {
    address.rsplit_once('@').map_or("localhost", |(_, domain)| domain)
}

/// A connection that gives one byte at a time until TLS begins.
///
/// The client reads ahead. Whatever stood behind the reply to STARTTLS it would take for a reply
/// within TLS, whoever put it there (RFC 3207, section 5); so there is never anything to read ahead.
struct ByByte {
    stream: TcpStream,
    begun_tls: bool,
}

impl fmt::Debug for ByByte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByByte")
    }
}

impl AsyncTokioStream for ByByte {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for ByByte {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begun_tls {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, &mut one))?;
        buffer.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByByte {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The first byte of a TLS record that shakes hands; no command begins with it.
        self.begun_tls |= bytes.first() == Some(&22);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
