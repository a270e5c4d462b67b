//! An SMTP server as strict as RFC 5321 lets it be: order of the commands, line ends and lengths,
//! STARTTLS and implicit TLS, logins under TLS alone, recipients one by one, and what a mail has to
//! have (RFC 5322).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// Who signed the server's certificate, which is for `localhost`.
pub const AUTHORITY: &str = include_str!("../../fixtures/smtp/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../fixtures/smtp/server.pem");
const KEY: &[u8] = include_bytes!("../../fixtures/smtp/server.key.pem");

/// Whoever may send, where the server asks for a login.
pub const USER: &str = "bellwether";
pub const PASSWORD: &str = "a-mail-password-of-these-tests";

/// Those with a mailbox, and one whose mailbox is full for now.
pub const MAILBOXES: [&str; 2] = ["ada@example.org", "bob@example.org"];
pub const FULL: &str = "full@example.org";

/// The longest command and the longest line of a mail, line end included.
const MAX_COMMAND: usize = 512;
const MAX_LINE: usize = 1_000;

/// How the way to the server is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Plain,
    /// Nothing but STARTTLS is taken before it.
    StartTls,
    Tls,
}

/// What the server does instead of what its rules say, at the next command of that kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Replies this.
    Reply(String),
    /// Replies only after so long.
    Hang(Duration),
    /// Goes on to TLS, with this behind its reply, in the clear.
    Inject(String),
    /// Closes the connection.
    Close,
}

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// As it was before dots were doubled.
    pub content: String,
}

impl Mail {
    /// A field of the header, unfolded.
    pub fn field(&self, name: &str) -> Option<String> {
        let (header, _) = self.content.split_once("\r\n\r\n")?;
        let unfolded = header.replace("\r\n ", " ");
        let prefix = format!("{name}: ");
        unfolded.split("\r\n").find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    }
}

/// The server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    pub port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    way: Way,
    login: bool,
    taken: Mutex<Vec<Mail>>,
    /// Every command, without what it carries of a login.
    heard: Mutex<Vec<String>>,
    faults: Mutex<VecDeque<(String, Fault)>>,
    changed: Notify,
}

impl Server {
    /// Starts on a free loopback port; it wants a login by [`USER`] where `login` says so.
    pub async fn start(way: Way, login: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            way,
            login,
            taken: Mutex::default(),
            heard: Mutex::default(),
            faults: Mutex::default(),
            changed: Notify::new(),
        });
        let acceptor = TlsAcceptor::from(tls());
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, acceptor) = (Arc::clone(&shared), acceptor.clone());
                tokio::spawn(async move { serve(&state, &acceptor, stream).await });
            }
        });
        Self { port, state, task }
    }

    /// Meets the next commands that begin like this with a fault, one each; `.` is the end of a
    /// mail, `HELLO` the moment before the greeting.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = (&'static str, Fault)>) {
        let faults = faults.into_iter().map(|(command, fault)| (command.to_owned(), fault));
        self.state.faults.lock().unwrap().extend(faults);
    }

    /// The mails that were taken, in order.
    pub fn taken(&self) -> Vec<Mail> {
        self.state.taken.lock().unwrap().clone()
    }

    /// Every command it heard, in order.
    pub fn heard(&self) -> Vec<String> {
        self.state.heard.lock().unwrap().clone()
    }

    /// Waits until `n` mails were taken; fails the test after `patience`.
    pub async fn wait_for_taken(&self, n: usize, patience: Duration) -> Vec<Mail> {
        let reached = async {
            loop {
                let changed = self.state.changed.notified();
                let taken = self.taken();
                if taken.len() >= n {
                    return taken;
                }
                changed.await;
            }
        };
        match timeout(patience, reached).await {
            Ok(taken) => taken,
            Err(_) => panic!("waited {patience:?} for {n} mails; heard: {:?}", self.heard()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn tls() -> Arc<ServerConfig> {
    let certificates = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates.unwrap(), key)
        .unwrap();
    Arc::new(config)
}

/// One connection, to its end; whoever breaks it off is let go.
async fn serve(state: &State, acceptor: &TlsAcceptor, stream: TcpStream) {
    match state.way {
        Way::Tls => {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let _ = Dialogue::new(state, stream, true).run(true).await;
        }
        Way::Plain | Way::StartTls => {
            let Some(End::Secure(stream)) = Dialogue::new(state, stream, false).run(true).await
            else {
                return;
            };
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let _ = Dialogue::new(state, stream, true).run(false).await;
        }
    }
}

/// How a dialogue ends without being broken off.
enum End<S> {
    Over,
    /// From here on in TLS.
    Secure(S),
}

/// Whether the dialogue goes on.
enum Next {
    On,
    Over,
    Secure,
}

struct Dialogue<'a, S> {
    state: &'a State,
    stream: S,
    secure: bool,
    greeted: bool,
    known: bool,
    from: Option<String>,
    to: Vec<String>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Dialogue<'a, S> {
    fn new(state: &'a State, stream: S, secure: bool) -> Self {
        Self { state, stream, secure, greeted: false, known: false, from: None, to: Vec::new() }
    }

    /// None where the other side, or a fault, breaks it off.
    async fn run(mut self, greet: bool) -> Option<End<S>> {
        if greet && self.meets("HELLO").await?.is_none() {
            self.reply("220 mail.of.these.tests ESMTP").await?;
        }
        loop {
            let line = self.line(MAX_COMMAND).await?;
            let command = String::from_utf8(line).ok()?;
            let word = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let noted = if word == "AUTH" { "AUTH".to_owned() } else { command.clone() };
            self.state.heard.lock().unwrap().push(noted);
            let next = match self.meets(&command).await? {
                Some(next) => next,
                None => self.command(&word, &command).await?,
            };
            match next {
                Next::On => {}
                Next::Over => return Some(End::Over),
                Next::Secure => return Some(End::Secure(self.stream)),
            }
        }
    }

    async fn command(&mut self, word: &str, command: &str) -> Option<Next> {
        let locked = self.state.way == Way::StartTls && !self.secure;
        match word {
            "EHLO" => {
                self.greeted = true;
                let mut lines = vec!["mail.of.these.tests", "PIPELINING", "SIZE 1000000"];
                if locked {
                    lines.push("STARTTLS");
                }
                if self.secure && self.state.login {
                    lines.push("AUTH PLAIN LOGIN");
                }
                let last = lines.len() - 1;
                for (at, line) in lines.into_iter().enumerate() {
                    let mark = if at == last { ' ' } else { '-' };
                    self.reply(&format!("250{mark}{line}")).await?;
                }
            }
            "QUIT" => {
                self.reply("221 bye").await?;
                return Some(Next::Over);
            }
            _ if !self.greeted => self.reply("503 say EHLO first").await?,
            "STARTTLS" if locked => {
                self.reply("220 go ahead").await?;
                return Some(Next::Secure);
            }
            _ if locked => self.reply("530 5.7.0 Must issue a STARTTLS command first").await?,
            "AUTH" if self.secure && self.state.login => self.login(command).await?,
            _ if self.state.login && !self.known => {
                self.reply("530 5.7.0 Authentication required").await?;
            }
            "MAIL" => match address(command, "MAIL FROM:<") {
                Some(from) if self.from.is_none() => {
                    self.from = Some(from);
                    self.reply("250 2.1.0 ok").await?;
                }
                Some(_) => self.reply("503 5.5.1 one mail at a time").await?,
                None => self.reply("501 5.1.7 this is no sender").await?,
            },
            "RCPT" if self.from.is_some() => match address(command, "RCPT TO:<") {
                Some(to) if MAILBOXES.contains(&to.as_str()) => {
                    self.to.push(to);
                    self.reply("250 2.1.5 ok").await?;
                }
                Some(to) if to == FULL => self.reply("452 4.2.2 mailbox full").await?,
                Some(_) => self.reply("550 5.1.1 no such user here").await?,
                None => self.reply("501 5.1.3 this is no recipient").await?,
            },
            "DATA" if !self.to.is_empty() => {
                self.reply("354 go on, end with a dot").await?;
                return self.content().await;
            }
            "RSET" => {
                (self.from, self.to) = (None, Vec::new());
                self.reply("250 ok").await?;
            }
            "NOOP" => self.reply("250 ok").await?,
            _ => self.reply("503 5.5.1 not now").await?,
        }
        Some(Next::On)
    }

    /// AUTH PLAIN with its initial response (RFC 4954, RFC 4616).
    async fn login(&mut self, command: &str) -> Option<()> {
        let given = command.strip_prefix("AUTH PLAIN ").and_then(|text| STANDARD.decode(text).ok());
        self.known = given == Some(format!("\0{USER}\0{PASSWORD}").into_bytes());
        if self.known {
            self.reply("235 2.7.0 welcome").await
        } else {
            self.reply(&format!("535 5.7.8 no, {command}")).await
        }
    }

    async fn content(&mut self) -> Option<Next> {
        let mut content = String::new();
        let mut problem = None;
        loop {
            let line = self.line(MAX_LINE).await?;
            if line == b"." {
                break;
            }
            if !line.is_ascii() {
                problem = problem.or(Some("554 5.6.3 8BITMIME was not offered"));
            }
            let line = line.strip_prefix(b".").unwrap_or(&line[..]);
            content.push_str(&String::from_utf8_lossy(line));
            content.push_str("\r\n");
        }
        let mail = Mail { from: self.from.take()?, to: std::mem::take(&mut self.to), content };
        for name in ["Date", "From", "Message-ID", "Subject", "MIME-Version"] {
            if mail.field(name).is_none() {
                problem = problem.or(Some("554 5.6.0 a field of the header is missing"));
            }
        }
        let fault = self.state.fault(".");
        match (&fault, problem) {
            (Some(Fault::Reply(reply)), _) => self.reply(reply).await?,
            (Some(Fault::Close), _) => return None,
            (_, Some(problem)) => self.reply(problem).await?,
            (Some(Fault::Hang(_) | Fault::Inject(_)) | None, None) => {
                self.state.taken.lock().unwrap().push(mail);
                self.state.changed.notify_waiters();
                if let Some(Fault::Hang(pause)) = fault {
                    tokio::time::sleep(pause).await;
                }
                self.reply("250 2.0.0 queued").await?;
            }
        }
        Some(Next::On)
    }

    /// What follows from the fault that stands in for the reply, where there is one.
    async fn meets(&mut self, command: &str) -> Option<Option<Next>> {
        match self.state.fault(command) {
            None => Some(None),
            Some(Fault::Reply(reply)) => {
                self.reply(&reply).await?;
                Some(Some(Next::On))
            }
            Some(Fault::Hang(pause)) => {
                tokio::time::sleep(pause).await;
                Some(None)
            }
            Some(Fault::Inject(more)) => {
                // In one piece, so that whoever reads ahead has it before TLS begins.
                let both = format!("220 go ahead\r\n{more}\r\n");
                self.stream.write_all(both.as_bytes()).await.ok()?;
                Some(Some(Next::Secure))
            }
            Some(Fault::Close) => None,
        }
    }

    async fn reply(&mut self, reply: &str) -> Option<()> {
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        self.stream.flush().await.ok()
    }

    /// A line without its end, which is CR LF and nothing else; a longer one, or CR or LF alone,
    /// ends the dialogue.
    async fn line(&mut self, limit: usize) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            line.push(self.stream.read_u8().await.ok()?);
            if line.ends_with(b"\r\n") {
                line.truncate(line.len() - 2);
                return Some(line);
            }
            let bare = line.ends_with(b"\n") || line.len() > 1 && line[line.len() - 2] == b'\r';
            if bare || line.len() >= limit {
                let _ = self.reply("500 5.5.2 this is no line").await;
                return None;
            }
        }
    }
}

impl State {
    /// The next fault, if it is for this command.
    fn fault(&self, command: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let (wanted, _) = faults.front()?;
        command.starts_with(wanted.as_str()).then(|| faults.pop_front().unwrap().1)
    }
}

/// The address between `prefix` and `>`.
fn address(command: &str, prefix: &str) -> Option<String> {
    let rest = command.strip_prefix(prefix)?;
    let (address, _) = rest.split_once('>')?;
    address.contains('@').then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes a server gives to these lines, greeting first; each may have several lines.
    async fn codes(way: Way, lines: &[&str]) -> (Vec<u16>, Vec<Mail>) {
        let server = Server::start(way, false).await;
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        stream.write_all(lines.concat().as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        let last = said.lines().filter(|line| line.as_bytes()[3] == b' ');
        (last.map(|line| line[..3].parse().unwrap()).collect(), server.taken())
    }

    const HELLO: &str = "EHLO x\r\n";
    const TO_ADA: &str = "MAIL FROM:<a@x.example>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n";
    const HEADER: &str =
        "Date: x\r\nFrom: x\r\nMessage-ID: x\r\nSubject: x\r\nMIME-Version: 1.0\r\n\r\n";

    #[tokio::test]
    async fn the_protocol_is_enforced() {
        let check = async |lines: &[&str], expect: &[u16], taken: usize| {
            let (codes, mails) = codes(Way::Plain, lines).await;
            assert_eq!((codes.as_slice(), mails.len()), (expect, taken), "{lines:?}");
            mails
        };
        let whole = [HELLO, TO_ADA, HEADER, "..x\r\n.\r\n", "QUIT\r\n"];
        let mails = check(&whole, &[220, 250, 250, 250, 354, 250, 221], 1).await;
        assert!(mails[0].content.ends_with("\r\n\r\n.x\r\n"), "{:?}", mails[0]);
        check(&["MAIL FROM:<a@x.example>\r\n"], &[220, 503], 0).await;
        check(&[HELLO, "RCPT TO:<ada@example.org>\r\n"], &[220, 250, 503], 0).await;
        check(&[HELLO, "AUTH PLAIN x\r\n"], &[220, 250, 503], 0).await;
        // Line ends and lengths. Nothing is left unread, or the reply would be lost with it.
        check(&[HELLO, "NOOP\n"], &[220, 250, 500], 0).await;
        check(&[HELLO, "NO\rO"], &[220, 250, 500], 0).await;
        check(&[HELLO, &"x".repeat(MAX_COMMAND)], &[220, 250, 500], 0).await;
        let long = "x".repeat(MAX_LINE);
        check(&[HELLO, TO_ADA, HEADER, &long], &[220, 250, 250, 250, 354, 500], 0).await;
        // What a mail has to be.
        check(&[HELLO, TO_ADA, HEADER, "界\r\n.\r\n"], &[220, 250, 250, 250, 354, 554], 0).await;
        check(&[HELLO, TO_ADA, "To: x\r\n\r\n.\r\n"], &[220, 250, 250, 250, 354, 554], 0).await;
        // Who may be told.
        let to = |to: &str| format!("MAIL FROM:<a@x.example>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        check(&[HELLO, &to("eve@example.org")], &[220, 250, 250, 550, 503], 0).await;
        check(&[HELLO, &to(FULL)], &[220, 250, 250, 452, 503], 0).await;
    }

    #[tokio::test]
    async fn nothing_is_taken_before_starttls() {
        let (codes, mails) = codes(Way::StartTls, &[HELLO, TO_ADA]).await;
        assert_eq!((codes.as_slice(), mails.len()), (&[220, 250, 530, 530, 530][..], 0));
    }
}
