//! The channels: how a message is put for one kind of receiver, and what its answer means.
//!
//! To add a channel: one file here with a type that implements [`Channel`], and one line in the
//! registry below. Both of its functions are pure; connections, time limits, the address guard and
//! size caps are the sender's and the same for all.

mod alertmanager;
mod dingtalk;
mod email;
mod feishu;
mod lark_app;
mod log;
mod pagerduty;
mod robot;
mod slack;
mod telegram;
mod text;
mod webhook;
mod wecom_app;
mod wecom_robot;

use std::time::Duration;

use bytes::Bytes;
use domain::notify::{Language, Message, render_text};
use jiff::tz::TimeZone;
use reqwest::{Method, Url};
use schemas::{
    Facts, IncidentId, JobId, ProjectId, Time,
    alert::Risk,
    event::{Cause, Frequency},
    job::{Analysis, Reply, SendKind, Standing, Summary},
};
use secrecy::SecretString;

use crate::{config::Target, mail::Mail};

/// The registry.
static ALL: &[&dyn Channel] = &[
    &log::Log,
    &webhook::Webhook,
    &feishu::Feishu,
    &telegram::Telegram,
    &wecom_app::WecomApp,
    &lark_app::LarkApp,
    &email::Email,
    &slack::Slack,
    &dingtalk::DingTalk,
    &wecom_robot::WecomRobot,
    &pagerduty::PagerDuty,
    &alertmanager::Alertmanager,
];

/// Every channel.
pub fn all() -> &'static [&'static dyn Channel] {
    ALL
}

/// The channel of that kind.
pub fn by_kind(kind: &str) -> Option<&'static dyn Channel> {
    ALL.iter().copied().find(|channel| channel.kind() == kind)
}

/// One kind of receiver.
pub trait Channel: Send + Sync {
    /// The word in configuration, tables and metrics.
    fn kind(&self) -> &'static str;

    /// Which keys its configuration takes besides those that all take.
    fn keys(&self) -> &'static [Key];

    /// What one key alone cannot say of a configuration whose keys are all right; the key, what is
    /// wrong and what to do.
    fn check(&self, _: &Target) -> Result<(), (&'static str, String, &'static str)> {
        Ok(())
    }

    /// A message that was sent to it can be changed later, so the first one need not wait for
    /// anything.
    fn can_edit(&self, target: &Target) -> bool;

    /// What it is told of an incident takes the place of what it was told before, by a key of ours:
    /// a change is sent like anything else, and nobody has to know what the receiver calls it.
    fn replaces(&self) -> bool {
        false
    }

    /// A second send under the same key is recognised by the receiver, or does no harm. Without it
    /// a send with an unknown end is never repeated.
    fn idempotent(&self) -> bool;

    /// For how long it is recognised; absent: for as long as anything is sent again.
    fn recognises_for(&self) -> Option<Duration> {
        None
    }

    /// How many messages the receiver takes; a configuration may say less.
    fn rate(&self) -> Rate;

    /// What to do to tell it; fails for good with the reason.
    fn request(&self, notification: &Notification, target: &Target) -> Result<Request, String>;

    /// What to do to change the message that the receiver knows by `message`.
    fn edit(&self, _: &Notification, _: &Target, _message: &str) -> Result<Request, String> {
        Err("its messages cannot be changed".into())
    }

    /// What its answer means.
    fn outcome(&self, response: &Response) -> Verdict;

    /// The same told as simply as can be, after [`Verdict::TryPlain`].
    fn plain(&self, _: &Notification, _: &Target) -> Result<Request, String> {
        Err("there is no plainer form".into())
    }

    /// The text it tells, as it is built in.
    fn text(&self, message: &Message<'_>) -> String {
        render_text(message)
    }

    /// The language that text was given in.
    fn language(&self) -> Language {
        Language::TraditionalChinese
    }

    /// How a token for further requests is asked for, where the receiver wants one; it is then in
    /// [`Target::access`].
    fn access(&self, _: &Target) -> Option<Result<Request, String>> {
        None
    }

    /// The token in the answer to [`Channel::access`].
    ///
    /// # Errors
    /// Why there is none.
    fn grant(&self, _: &Response) -> Result<Grant, Verdict> {
        Err(Verdict::Refused("it grants no token".into()))
    }

    /// The provider whose chats the target can answer in, whatever a question brings.
    fn answers(&self, _: &Target) -> Option<&'static str> {
        None
    }

    /// The provider whose questions the target can answer by what they bring for that (a
    /// [`domain::providers::ReplyCredential`]), which is then in [`Target::answer_at`].
    fn answers_by_credential(&self, _: &Target) -> Option<&'static str> {
        None
    }

    /// The chat that a message goes to, where its provider may give it another id; the new one is then
    /// in [`Target::moved`].
    fn chat<'a>(&self, _: &'a Notification, _: &'a Target) -> Option<&'a str> {
        None
    }
}

/// A key of a channel's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub need: Need,
    pub form: Form,
    /// What to set it to.
    pub remedy: &'static str,
}

/// Whether a key has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    May,
    Must,
}

/// What a value has to be.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Where to send to: http or https. Guarded as [`crate::sender`] says, and never shown.
    Address,
    /// `whsec_` and the base64 of 24 to 64 bytes (Standard Webhooks).
    WebhookSecret,
    /// A credential as the receiver shows it, for which `what` holds. Never shown.
    Secret { what: &'static str, fits: fn(&str) -> bool },
    /// A text, or the text of a whole number, for which `what` holds.
    Text { what: &'static str, fits: fn(&str) -> bool },
    /// A whole number, for which `what` holds.
    Number { what: &'static str, fits: fn(i64) -> bool },
    /// Texts, at least one, for each of which `what` holds.
    Texts { what: &'static str, fits: fn(&str) -> bool },
}

/// A text that says something.
pub fn is_said(text: &str) -> bool {
    !text.trim().is_empty()
}

/// How many messages a receiver takes, over all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub per_minute: u32,
    /// How many of them at once.
    pub burst: u32,
}

/// A token that was granted.
#[derive(Clone)]
pub struct Grant {
    pub token: SecretString,
    /// How long it may be used.
    pub lasts: Duration,
}

/// What is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// The same at every attempt to tell this.
    pub key: JobId,
    pub kind: SendKind,
    /// When this attempt is made.
    pub attempted_at: Time,
    /// When it was decided (lane time).
    pub planned_at: Time,
    pub project: ProjectId,
    pub incident: IncidentId,
    /// `INC-YYYYMMDD-NNN`.
    pub number: Option<String>,
    pub risk: Risk,
    pub facts: Facts,
    pub analysis: Option<Analysis>,
    /// How often the problem occurred lately.
    pub frequency: Option<Frequency>,
    /// Why the incident was opened.
    pub cause: Option<Cause>,
    /// Where it stands; absent while nobody did anything with it.
    pub standing: Option<Standing>,
    /// What a summary says.
    pub summary: Option<Summary>,
    /// Whom a reply answers, and where.
    pub reply: Option<Reply>,
    /// Marks the policy puts on it.
    pub tags: Vec<String>,
    /// What the receiver calls the first message about the same subject, where it took one and
    /// said so: what follows goes below it, where the channel can.
    pub first: Option<String>,
    /// What can be pressed, where the channel has buttons; in rows of two or three.
    pub buttons: Vec<Button>,
    /// The whole as flat text.
    pub text: String,
    /// The zone that times are shown in.
    pub zone: TimeZone,
    /// The language it is written in; absent: the one its format was given in.
    pub language: Option<Language>,
    /// The text of an operator's template, told instead of what is built in.
    pub written: Option<String>,
}

impl Notification {
    /// What its texts are made from; `number` is what [`Self::shown_number`] says.
    pub fn message<'a>(&'a self, number: &'a str) -> Message<'a> {
        Message {
            kind: self.kind,
            facts: &self.facts,
            analysis: self.analysis.as_ref(),
            number,
            project: &self.project,
            told_at: self.planned_at,
            zone: &self.zone,
            frequency: self.frequency,
            cause: self.cause,
            standing: self.standing.as_ref(),
            summary: self.summary.as_ref(),
            reply: self.reply.as_ref(),
            tags: &self.tags,
            language: self.language,
            written: self.written.as_deref(),
        }
    }

    /// The incident's number, or its id while it has none.
    pub fn shown_number(&self) -> String {
        self.number.clone().unwrap_or_else(|| self.incident.to_string())
    }
}

/// Something that can be pressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    /// `ack`, `resolve`, ...: the verb it asks for.
    pub verb: &'static str,
    /// What stands on it.
    pub label: String,
    /// What the chat hands back: [`domain::button::Button`] as text, at most 40 bytes.
    pub data: String,
}

/// What the sender is to do. It shows no `Debug`: addresses and headers are credentials.
#[derive(Clone, PartialEq)]
pub enum Request {
    /// Hand the text to the process's printer.
    Print { text: String },
    /// Hand a mail to an SMTP server.
    Mail(Box<Mail>),
    /// Ask an HTTP server.
    Http { method: Method, url: Url, headers: Vec<(&'static str, String)>, body: Vec<u8> },
}

impl Request {
    /// POSTs JSON.
    pub fn post_json(url: Url, body: &serde_json::Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self::Http { method: Method::POST, url, headers, body: body.to_string().into_bytes() }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Header `Retry-After` as received.
    pub retry_after: Option<String>,
    /// The head of the body, at most [`crate::sender::MAX_RESPONSE_BYTES`].
    pub body: Bytes,
    /// When it came.
    pub at: Time,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken; with the receiver's message id where it gives one.
    Delivered(Option<String>),
    /// Taken for some of those it is for, with the receiver's message id where it gives one.
    /// `missed` says who was left out: a second send would tell the others twice.
    DeliveredInPart { message: Option<String>, missed: String },
    /// Definitely not taken, and worth asking again.
    Retry {
        /// When the receiver says so; otherwise the delay grows with the attempts.
        after: Option<Duration>,
        /// The receiver asks for quiet: other messages to the same target wait too.
        pause_target: bool,
        reason: String,
    },
    /// Definitely not taken because of how it is put: told once more, at once, by
    /// [`Channel::plain`].
    TryPlain(String),
    /// Definitely not taken, and asking again changes nothing.
    Refused(String),
    /// It may or may not have been taken.
    Ambiguous(String),
    /// Definitely not taken because the token is not valid (any more): a fresh one is asked for,
    /// once.
    Renew(String),
    /// Definitely not changed because the message is gone or may not be changed any more: it is
    /// told as a new one.
    CannotEdit(String),
    /// Definitely not taken because its chat ([`Channel::chat`]) has another id since: that is kept for
    /// every notifier, and it is told once more, there.
    Moved { to: String, reason: String },
}

/// No receiver may make a message wait longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What a status means where the receiver speaks plain HTTP.
fn http_verdict(response: &Response) -> Verdict {
    let reason = format!("status {}", response.status);
    match response.status {
        200..=299 => Verdict::Delivered(None),
        408 | 425 | 429 | 500..=599 => Verdict::Retry {
            after: retry_after(response),
            pause_target: matches!(response.status, 429 | 503),
            reason,
        },
        300..=399 => Verdict::Refused(format!("{reason}: redirects are not followed")),
        400..=499 => Verdict::Refused(reason),
        _ => Verdict::Ambiguous(reason),
    }
}

/// How long `Retry-After` asks to wait: seconds or an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.retry_after.as_deref()?.trim();
    let wait = if value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() {
        // Digits that do not fit are a very long time.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date: Time = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().into();
        Duration::from_micros(date.micros_since(response.at).try_into().unwrap_or(0))
    };
    Some(wait.min(LONGEST_WAIT))
}

/// What a receiver says of a failure, in one line that is not long. Its answer is free of credentials
/// by then: what is cut through the middle cannot be found any more.
fn excerpt(said: &str) -> String {
    let line: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    if line.is_empty() { "no words".to_owned() } else { line }
}

#[cfg(test)]
pub(crate) mod tests;
