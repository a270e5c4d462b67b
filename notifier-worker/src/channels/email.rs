//! Mail: a plain and an HTML part, handed to one SMTP server (RFC 5321, RFC 5322, RFC 3834).
//!
//! Mails of one incident stand together: each has an id of its own, made from the key of what it
//! tells, and all of them refer to one made from the incident, which no mail has. There is no
//! answer to most of what goes wrong later; what the server says of each recipient is all there is.
//!
//! A repeat is not recognised, though the id of the mail is the same: some mailboxes show one of
//! them, others both.

use std::time::{Duration, UNIX_EPOCH};

use domain::notify::severity;
use lettre::{
    Address,
    message::{
        Mailbox, Message, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use schemas::job::SendKind;
use secrecy::ExposeSecret;

use super::{
    Channel, Form, Key, Need, Notification, Rate, Request, Response, Verdict, excerpt, is_said,
    text::{cut, link},
};
use crate::{
    config::Target,
    mail::{Mail, Missed, Said, Security, Stage},
};

#[cfg(test)]
mod tests;

/// How long a subject, a text, and a text without HTML are, in bytes.
const MAX_SUBJECT: usize = 200;
const MAX_TEXT: usize = 100_000;
const MAX_PLAIN_TEXT: usize = 10_000;

/// How many recipients a mail has; servers take at least so many (RFC 5321, section 4.5.3.1.8).
const MAX_RECIPIENTS: usize = 100;

/// Submits mails.
pub struct Email;

impl Channel for Email {
    fn kind(&self) -> &'static str {
        "email"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key {
                name: "host",
                need: Need::Must,
                form: Form::Text { what: "this is no name of a server", fits: is_host },
                remedy: "use the name of the mail server, like smtp.example.com",
            },
            Key {
                name: "port",
                need: Need::May,
                form: Form::Number {
                    what: "this is no port",
                    fits: |port| (1..=65_535).contains(&port),
                },
                remedy: "use 1 to 65535, or remove the key: 587, 465 or 25, as security says",
            },
            Key {
                name: "security",
                need: Need::May,
                form: Form::Text {
                    what: "there is no such word",
                    fits: |word| security_of(word).is_some(),
                },
                remedy: "use starttls, tls or plain; starttls without the key",
            },
            Key {
                name: "authority",
                need: Need::May,
                form: Form::Text { what: "this is no certificate", fits: is_pem },
                remedy: "use the certificate in PEM that signed the server's, or remove the key",
            },
            Key {
                name: "user",
                need: Need::May,
                form: Form::Text { what: "it is empty", fits: is_said },
                remedy: "use the user the server knows, or remove user and password",
            },
            Key {
                name: "password",
                need: Need::May,
                form: Form::Secret { what: "it is empty", fits: is_said },
                remedy: "use the user's password, or remove user and password",
            },
            Key {
                name: "from",
                need: Need::Must,
                form: Form::Text { what: "this is no sender", fits: |t| mailbox(t).is_some() },
                remedy: "use an address, or `Name <address>`",
            },
            Key {
                name: "to",
                need: Need::Must,
                form: Form::Texts {
                    what: "one of these is no address",
                    fits: |t| mailbox(t).is_some(),
                },
                remedy: "list addresses, or `Name <address>`",
            },
        ]
    }

    fn check(&self, target: &Target) -> Result<(), (&'static str, String, &'static str)> {
        let inner =
            |host: &str| host.parse().is_ok_and(|address| !runtime::address::is_public(address));
        if !target.allow_private && target.text("host").is_some_and(inner) {
            let remedy = "set allow_private = true if that is meant";
            return Err(("host", "this is not a public address".to_owned(), remedy));
        }
        match (target.text("user"), target.secret("password")) {
            (Some(_), None) => Err((
                "password",
                "there is a user without a password".to_owned(),
                "set the user's password, or remove user",
            )),
            (None, Some(_)) => Err((
                "user",
                "there is a password without a user".to_owned(),
                "set the user, or remove password",
            )),
            (Some(_), Some(_)) if security(target).0 == Security::Plain => Err((
                "security",
                "a password is not sent in the clear".to_owned(),
                "use starttls or tls, or remove user and password",
            )),
            (Some(_), Some(_)) | (None, None) if target.texts("to").len() > MAX_RECIPIENTS => {
                let remedy = "use at most 100, or the address of a list";
                Err(("to", "these are too many".to_owned(), remedy))
            }
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }

    fn can_edit(&self, _: &Target) -> bool {
        false
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn rate(&self) -> Rate {
        Rate { per_minute: 60, burst: 10 }
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let plain = SinglePart::plain(cut(&n.text, MAX_TEXT, char::len_utf8).into_owned());
        let html = SinglePart::html(html(n));
        // Both functions of a channel are pure: the boundary is not drawn by lot.
        let boundary = format!("=_{}", n.key.0.simple());
        let parts = MultiPart::alternative().boundary(boundary).singlepart(plain).singlepart(html);
        mail(n, target, |builder| builder.multipart(parts))
    }

    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let text = cut(&n.text, MAX_PLAIN_TEXT, char::len_utf8).into_owned();
        mail(n, target, |builder| builder.singlepart(SinglePart::plain(text)))
    }

    fn outcome(&self, response: &Response) -> Verdict {
        match serde_json::from_slice::<Said>(&response.body) {
            Ok(said) => by_said(said),
            Err(_) => Verdict::Ambiguous("the dialogue cannot be read".to_owned()),
        }
    }
}

/// What the dialogue means. Only with stage `taken` was anybody told.
fn by_said(said: Said) -> Verdict {
    let reason = match (said.code, said.text.trim()) {
        (0, text) => excerpt(text),
        (code, "") => code.to_string(),
        (code, text) => format!("{code}: {}", excerpt(text)),
    };
    let advice = |advice: &str| Verdict::Refused(format!("{reason} ({advice})"));
    match (said.stage, said.code) {
        (Stage::Taken, _) if said.missed.is_empty() => Verdict::Delivered(Some(said.id)),
        (Stage::Taken, _) => {
            let missed: Vec<String> = said.missed.iter().map(shown).collect();
            Verdict::DeliveredInPart { message: Some(said.id), missed: missed.join(", ") }
        }
        // 421: the server is about to close; it may be asked by nobody for a while.
        (_, code @ 400..=499) => Verdict::Retry { after: None, pause_target: code == 421, reason },
        (Stage::Login, 0) => advice("set security to what the server offers its logins with"),
        (Stage::Login, _) => advice("set the channel's user and password"),
        (Stage::Tls, _) => advice("set the channel's security, and port, to what the server has"),
        (_, 530) => advice("the server wants a login: set the channel's user and password"),
        (Stage::Sender, _) => advice("the server does not take mail from the channel's from"),
        (Stage::Recipients, _) => {
            let missed: Vec<String> = said.missed.iter().map(shown).collect();
            Verdict::Refused(format!("{} (set the channel's to)", missed.join(", ")))
        }
        // Too large, or not as it should be put: RFC 1870, RFC 3463.
        (Stage::Content, 552 | 554) => Verdict::TryPlain(reason),
        (Stage::Greeting | Stage::Content, _) => Verdict::Refused(reason),
    }
}

fn shown(missed: &Missed) -> String {
    match missed.code {
        0 => format!("{} ({})", missed.to, excerpt(&missed.text)),
        code => format!("{} ({code}: {})", missed.to, excerpt(&missed.text)),
    }
}

fn mail(
    n: &Notification,
    target: &Target,
    finish: impl FnOnce(lettre::message::MessageBuilder) -> Result<Message, lettre::error::Error>,
) -> Result<Request, String> {
    let from = target.text("from").and_then(mailbox).ok_or("the channel has no from")?;
    let to: Vec<Mailbox> = target.texts("to").iter().filter_map(|text| mailbox(text)).collect();
    let host = target.text("host").ok_or("the channel has no host")?;
    let (security, port) = security(target);
    let domain = from.email.domain();
    let id = format!("<{}.{}@{domain}>", n.key.0.simple(), n.kind.word());
    let thread = format!("<{}.incident@{domain}>", n.incident.0.simple());
    let at = Duration::from_micros(n.attempted_at.micros().try_into().unwrap_or_default());
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    let mut builder = Message::builder()
        .date(UNIX_EPOCH + at)
        .from(from.clone())
        .subject(subject(n))
        .message_id(Some(id.clone()))
        .in_reply_to(thread.clone())
        .references(thread)
        .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
    for to in &to {
        builder = builder.to(to.clone());
    }
    let message = finish(builder).map_err(|_| "the mail cannot be put together".to_owned())?;
    let login = target.text("user").zip(target.secret("password"));
    Ok(Request::Mail(Box::new(Mail {
        host: host.to_owned(),
        port,
        security,
        authority: target.text("authority").map(str::to_owned),
        login: login.map(|(user, password)| (user.to_owned(), password.expose_secret().to_owned())),
        from: from.email.to_string(),
        to: to.into_iter().map(|to| to.email.to_string()).collect(),
        id,
        content: message.formatted(),
    })))
}

/// One line: what it is about, and of which incident. Nothing in it ends the header.
fn subject(n: &Notification) -> String {
    let of_incident = |mark: &str| {
        let severity = severity(&n.facts).unwrap_or_default();
        format!("{mark}[{}] {severity} {}", n.shown_number(), n.facts.title)
    };
    let text = match n.kind {
        SendKind::Fire => of_incident(""),
        SendKind::Resolve => of_incident("✅ "),
        SendKind::Update => of_incident("Re: "),
        SendKind::Remind => of_incident("🔔 "),
        SendKind::Summary | SendKind::Test | SendKind::Reply => {
            let drawn = |line: &&str| !line.chars().any(char::is_alphanumeric);
            n.text.lines().find(|line| !drawn(line)).unwrap_or("bellwether").to_owned()
        }
    };
    let words = text.split(|c: char| c.is_whitespace() || is_hidden(c));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    cut(&words.join(" "), MAX_SUBJECT, char::len_utf8).into_owned()
}

/// What ends or turns a line, or is not seen at all.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text as it is, and a link to the sender's page. Nothing is fetched to show it.
fn html(n: &Notification) -> String {
    let text = escape(&cut(&n.text, MAX_TEXT, char::len_utf8));
    let link = link(n).map_or_else(String::new, |(url, label)| {
        format!("<p><a href=\"{}\">{}</a></p>\n", escape(url.as_str()), escape(&label))
    });
    format!(
        "<!doctype html>\n<html><head><meta charset=\"utf-8\"></head><body>\n\
         <div style=\"white-space:pre-wrap;font-family:monospace\">{text}</div>\n{link}\
         </body></html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// How the way is secured, and the port.
fn security(target: &Target) -> (Security, u16) {
    let (security, port) =
        target.text("security").and_then(security_of).unwrap_or((Security::StartTls, 587));
    (security, target.number("port").and_then(|port| port.try_into().ok()).unwrap_or(port))
}

fn security_of(word: &str) -> Option<(Security, u16)> {
    Security::ALL.iter().find(|(known, ..)| *known == word).map(|(_, s, port)| (*s, *port))
}

/// An address with or without a name, all of it ASCII but the name: nothing that a server has to
/// know SMTPUTF8 for.
fn mailbox(text: &str) -> Option<Mailbox> {
    let mailbox: Mailbox = text.parse().ok()?;
    let plain = |address: &Address| {
        let address: &str = address.as_ref();
        address.is_ascii() && !address.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    (plain(&mailbox.email) && !text.chars().any(char::is_control)).then_some(mailbox)
}

fn is_host(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'))
}

fn is_pem(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN CERTIFICATE-----")
        && lettre::transport::smtp::client::Certificate::from_pem(text.as_bytes()).is_ok()
}
