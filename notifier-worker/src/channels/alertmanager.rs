//! Another Alertmanager, to which incidents are handed on as alerts (prometheus/alertmanager,
//! `api/v2/openapi.yaml`, `POST /api/v2/alerts`).
//!
//! There an alert is its labels, so those that an incident has stay the same from its first message
//! to its last: what names it, what the configuration adds, and the sender's own labels where they
//! are the sender's name for the alert. Everything else may change meanwhile (a level, a title) and
//! is an annotation. A repeat changes nothing; an end is the same alert with an `endsAt` that is over.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::providers::label_fingerprint;
use reqwest::{Method, Url};
use schemas::{Time, job::SendKind};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{
    Channel, Form, Key, Need, Notification, Rate, Request, Response, Verdict, excerpt,
    http_verdict, is_said, text,
};
use crate::config::Target;

#[cfg(test)]
mod tests;

/// Where alerts are posted, below the address.
const PATH: &str = "/api/v2/alerts";

/// How long an alert goes on firing there when nothing is heard of it, in hours.
const KEEP_HOURS: i64 = 168;

/// How long a summary and a test fire, in seconds.
const SUMMARY_FIRES: i64 = 3_600;
const TEST_FIRES: i64 = 300;

/// Ends are told as of so many seconds earlier: to an Alertmanager whose clock is behind, an end that is
/// still to come is none, and the alert would go on firing.
const BEHIND: i64 = 10;

/// How many characters of a label's value and of an annotation are told.
const MAX_LABEL: usize = 500;
const MAX_ANNOTATION: usize = 4_000;

/// POSTs alerts.
pub struct Alertmanager;

impl Channel for Alertmanager {
    fn kind(&self) -> &'static str {
        "alertmanager"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key {
                name: "url",
                need: Need::Must,
                form: Form::Address,
                remedy: "set it to where its page is, like http://alertmanager:9093",
            },
            Key {
                name: "user",
                need: Need::May,
                form: Form::Text { what: "this is no user", fits: is_user },
                remedy: "use the user's name, without a colon",
            },
            Key {
                name: "password",
                need: Need::May,
                form: Form::Secret { what: "it is empty", fits: is_said },
                remedy: "use the user's password",
            },
            Key {
                name: "token",
                need: Need::May,
                form: Form::Secret { what: "this is no bearer token", fits: is_token },
                remedy: "use the token as whoever stands before it wants it",
            },
            Key {
                name: "labels",
                need: Need::May,
                form: Form::Texts { what: "one of these is no label", fits: is_label },
                remedy: "write each as name=value, the name of letters, digits and _",
            },
            Key {
                name: "keep_hours",
                need: Need::May,
                form: Form::Number { what: "out of range", fits: |h| (1..=8_760).contains(&h) },
                remedy: "use 1 to 8760 (hours)",
            },
        ]
    }

    fn check(&self, target: &Target) -> Result<(), (&'static str, String, &'static str)> {
        let user = target.text("user").is_some();
        match (user, target.secret("password").is_some(), target.secret("token").is_some()) {
            (true, true, false) | (false, false, _) => Ok(()),
            (true, _, true) | (_, true, true) => {
                Err(("token", "there is a user or password beside it".into(), "keep one of them"))
            }
            (true, false, false) => {
                Err(("password", "the user has none".into(), "set it, or remove user"))
            }
            (false, true, false) => {
                Err(("user", "the password is nobody's".into(), "set it, or remove password"))
            }
        }
    }

    fn can_edit(&self, _: &Target) -> bool {
        true
    }

    /// Posted again, an alert is changed.
    fn replaces(&self) -> bool {
        true
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn rate(&self) -> Rate {
        Rate { per_minute: 6_000, burst: 100 }
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        post(n, target, annotations(n))
    }

    fn outcome(&self, response: &Response) -> Verdict {
        // What it has against an alert it says in words, or as a JSON text.
        let said = serde_json::from_slice::<String>(&response.body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&response.body).into_owned());
        let reason = format!("status {}: {}", response.status, excerpt(&said));
        match (response.status, http_verdict(response)) {
            (400 | 413 | 422, _) => Verdict::TryPlain(reason),
            (401 | 403, _) => Verdict::Refused(format!(
                "{reason} (set the channel's user and password, or its token)"
            )),
            (404 | 405, _) => Verdict::Refused(format!(
                "{reason} (set the channel's url to where Alertmanager's page is)"
            )),
            (_, verdict) => verdict,
        }
    }

    /// The same alert, with no more to say of it than what it is.
    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let title = annotations(n).remove_entry("title");
        post(n, target, title.into_iter().collect())
    }
}

fn post(
    n: &Notification,
    target: &Target,
    annotations: BTreeMap<String, String>,
) -> Result<Request, String> {
    let (starts_at, ends_at) = fires(n, target)?;
    let mut alert = json!({
        "labels": labels(n, target),
        "annotations": annotations,
        "startsAt": starts_at,
        "endsAt": ends_at,
    });
    if let Some((url, _)) = text::link(n) {
        alert["generatorURL"] = json!(url.as_str());
    }
    let mut headers = vec![("content-type", "application/json".to_owned())];
    headers.extend(authorization(target).map(|value| ("authorization", value)));
    let base = target.url()?.as_str().trim_end_matches('/');
    let base = base.strip_suffix(PATH).unwrap_or(base);
    let url = Url::parse(&format!("{base}{PATH}")).map_err(|_| "url makes no address")?;
    let body = json!([alert]).to_string().into_bytes();
    Ok(Request::Http { method: Method::POST, url, headers, body })
}

/// From when to when it fires.
fn fires(n: &Notification, target: &Target) -> Result<(Time, Time), String> {
    let kept = target.number("keep_hours").unwrap_or(KEEP_HOURS) * 3_600;
    // What the sender says of a time to come is no beginning.
    let stated = n.facts.started_at.filter(|at| *at <= n.planned_at);
    let began = n.summary.as_ref().map(|summary| summary.since).or(stated).unwrap_or(n.planned_at);
    let over = n.standing.as_ref().is_some_and(|standing| standing.state.is_over());
    let lasts = match n.kind {
        SendKind::Fire | SendKind::Remind => kept,
        SendKind::Update if !over => kept,
        SendKind::Update | SendKind::Resolve => {
            let ended = n.facts.ended_at.filter(|at| *at <= n.planned_at).unwrap_or(n.planned_at);
            let ended = ended.plus_seconds(-BEHIND);
            // An alert that ends before it begins is refused.
            return Ok((began.min(ended), ended));
        }
        SendKind::Summary => SUMMARY_FIRES,
        SendKind::Test => TEST_FIRES,
        SendKind::Reply => return Err("Alertmanager has no chat to answer in".into()),
    };
    Ok((began, n.attempted_at.plus_seconds(lasts)))
}

/// What the alert is known by.
fn labels(n: &Notification, target: &Target) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if is_named_by_labels(n) {
        for (name, value) in &n.facts.labels {
            put(&mut labels, &name_of(name), value, MAX_LABEL);
        }
    }
    let name = match (n.kind, &n.summary) {
        // Its end as well.
        (_, Some(_)) => "BellwetherSummary",
        (SendKind::Test, None) => "BellwetherTest",
        (
            SendKind::Fire
            | SendKind::Resolve
            | SendKind::Update
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Reply,
            None,
        ) => &n.facts.provider,
    };
    put(&mut labels, "alertname", name, MAX_LABEL);
    for label in target.texts("labels") {
        if let Some((name, value)) = label.split_once('=') {
            labels.insert(name.to_owned(), value.to_owned());
        }
    }
    labels.insert("bellwether_project".to_owned(), n.project.to_string());
    labels.insert("bellwether_incident".to_owned(), n.incident.to_string());
    labels
}

/// The sender's name for the alert is made of its labels alone, so they never change.
fn is_named_by_labels(n: &Notification) -> bool {
    let pairs: Vec<(&str, &str)> =
        n.facts.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    !pairs.is_empty() && n.facts.issue_id.as_deref() == Some(&label_fingerprint(pairs))
}

/// What is said of the alert.
fn annotations(n: &Notification) -> BTreeMap<String, String> {
    let facts = &n.facts;
    let mut all = BTreeMap::new();
    for (name, value) in &facts.annotations {
        put(&mut all, &name_of(name), value, MAX_ANNOTATION);
    }
    if !is_named_by_labels(n) {
        for (name, value) in &facts.labels {
            put(&mut all, &format!("label_{}", name_of(name)), value, MAX_ANNOTATION);
        }
    }
    let headline = text::parts(&n.text).headline.to_owned();
    let title = match n.kind {
        SendKind::Summary | SendKind::Test | SendKind::Reply => &headline,
        SendKind::Fire | SendKind::Resolve | SendKind::Update | SendKind::Remind => &facts.title,
    };
    let level = facts.level.map(|level| level.word());
    let analysis = n.analysis.as_ref();
    for (name, value) in [
        ("title", Some(title.as_str())),
        ("summary", Some(title.as_str())),
        ("description", facts.message.as_deref()),
        ("text", Some(&n.text)),
        ("incident", n.number.as_deref()),
        ("risk", Some(n.risk.word())),
        ("level", level),
        ("provider", Some(&facts.provider)),
        ("environment", facts.environment.as_deref()),
        ("service", facts.service.as_deref()),
        ("instance", facts.target.as_deref()),
        ("root_cause", analysis.map(|analysis| analysis.root_cause.as_str())),
        ("fix_suggestion", analysis.map(|analysis| analysis.fix_suggestion.as_str())),
    ] {
        put(&mut all, name, value.unwrap_or_default(), MAX_ANNOTATION);
    }
    all
}

/// Puts it where nothing stands yet; an empty value is no value to Alertmanager.
fn put(all: &mut BTreeMap<String, String>, name: &str, value: &str, limit: usize) {
    if !value.is_empty() && !name.is_empty() && !all.contains_key(name) {
        all.insert(name.to_owned(), text::cut(value, limit, |_| 1).into_owned());
    }
}

/// A name that Alertmanager takes: letters, digits and `_`, no digit first. Names that begin with
/// `__` are its own.
fn name_of(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.trim_start_matches('_').chars().map(safe).collect();
    match name.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("_{name}"),
        false => name,
    }
}

fn authorization(target: &Target) -> Option<String> {
    if let Some(token) = target.secret("token") {
        return Some(format!("Bearer {}", token.expose_secret()));
    }
    let (user, password) = (target.text("user")?, target.secret("password")?);
    Some(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose_secret()))))
}

fn is_label(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, value)| {
        is_said(value)
            && value.chars().count() <= MAX_LABEL
            && !name.is_empty()
            && !name.starts_with("__")
            && name_of(name) == name
    })
}

fn is_user(text: &str) -> bool {
    is_said(text) && !text.contains(':')
}

/// Nothing that could end a header.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}
