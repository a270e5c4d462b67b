//! A body of any shape: each fact from where the source's field mapping says, else from well-known
//! names.

use schemas::{
    Alert, Facts, Status,
    alert::{LogCorrelation, SourceRefs, Stage},
};
use serde_json::Value;

use super::{Source, reference, text_identity};
use crate::providers::{
    build::{self, MAX_LINE, MAX_TEXT, Pairs},
    fields::{FieldMap, FieldPath},
    json::{self, text},
    severity, times,
};

// Where a fact is looked for, the best name first.
const ID: &[&str] = &["alert_uid", "alert_id", "dedup_key", "fingerprint", "incident_key"];
const TITLE: &[&str] = &[
    "title",
    "alertname",
    "alert_name",
    "rule_name",
    "name",
    "subject",
    "summary",
    "text",
    "message",
    "type",
    "service",
];
const MESSAGE: &[&str] = &["message", "description", "text", "body", "details", "summary"];
const STATUS: &[&str] = &["status", "state", "alert_state"];
const SEVERITY: &[&str] = &["severity", "priority", "level"];
const URL: &[&str] = &["url", "link", "link_to_upstream_details", "href"];
const STARTED_AT: &[&str] =
    &["started_at", "startsAt", "timestamp", "time", "date", "created_at", "occurred_at"];
const SENDER: &[&str] = &["sender_id", "sender", "source"];
/// The fields that hold labels.
const LABELS: &[&str] = &["labels", "tags", "metadata"];
const EVENT_ID: &[&str] = &["event_id", "id", "uuid"];

/// What a status is called, and what it means.
const STATUSES: [(Status, &str); 3] = [
    (
        Status::Firing,
        "firing alerting alert open opened triggered trigger active problem down critical warning \
         error failed failure failing new created unhealthy bad",
    ),
    (
        Status::Resolved,
        "resolved resolve ok okay closed close recovered recovery up normal healthy inactive \
         cleared clear success good fixed",
    ),
    (Status::Suppressed, "suppressed ignored silenced muted snoozed archived"),
];

fn status(word: &str) -> Option<Status> {
    let word = word.trim().to_ascii_lowercase();
    let known = |words: &str| words.split(' ').any(|known| known == word);
    STATUSES.iter().find(|(_, words)| known(words)).map(|(status, _)| *status)
}

/// The names by which a CloudEvent (1.0, structured) is known, sender and all.
pub(super) struct CloudEvent<'a> {
    pub source: &'a str,
    pub id: &'a str,
    kind: &'a str,
    subject: Option<&'a str>,
}

/// The body as a CloudEvent, when it is one.
pub(super) fn cloud_event(body: &Value) -> Option<CloudEvent<'_>> {
    text(body, &["specversion"])?;
    Some(CloudEvent {
        source: text(body, &["source"])?,
        id: text(body, &["id"])?,
        kind: text(body, &["type"])?,
        subject: text(body, &["subject"]),
    })
}

/// Finds facts in a body.
struct Finder<'a> {
    body: &'a Value,
    fields: Option<&'a FieldMap>,
}

impl<'a> Finder<'a> {
    /// The value the mapping names, else the first that a well-known name holds: in a CloudEvent's
    /// `data`, or at the top.
    fn value(
        &self,
        mapped: impl Fn(&'a FieldMap) -> Option<&'a FieldPath>,
        names: &[&str],
    ) -> Option<&'a Value> {
        if let Some(path) = self.fields.and_then(mapped) {
            return path.get(self.body);
        }
        first(self.event_data(), names).or_else(|| first(Some(self.body), names))
    }

    /// What a CloudEvent carries.
    fn event_data(&self) -> Option<&'a Value> {
        self.body.get("data").filter(|_| cloud_event(self.body).is_some())
    }

    fn text(
        &self,
        mapped: impl Fn(&'a FieldMap) -> Option<&'a FieldPath>,
        names: &[&str],
    ) -> Option<String> {
        self.value(mapped, names).and_then(json::scalar)
    }

    fn line(
        &self,
        mapped: impl Fn(&'a FieldMap) -> Option<&'a FieldPath>,
        names: &[&str],
    ) -> Option<String> {
        self.text(mapped, names).map(|text| build::cut(text.trim(), MAX_LINE))
    }

    /// A CloudEvent's envelope names its type; only its data can say more.
    fn title(&self) -> Option<String> {
        let mapped = self.fields.and_then(|fields| fields.title.as_ref());
        match cloud_event(self.body).filter(|_| mapped.is_none()) {
            None => self.line(|fields| fields.title.as_ref(), TITLE),
            Some(event) => {
                let said = first(self.event_data(), TITLE).and_then(json::scalar);
                let title = said.unwrap_or_else(|| match event.subject {
                    Some(subject) => format!("{}: {subject}", event.kind),
                    None => event.kind.to_owned(),
                });
                Some(build::cut(&title, MAX_LINE))
            }
        }
    }

    /// What a label may say as well.
    fn labelled(
        &self,
        mapped: impl Fn(&'a FieldMap) -> Option<&'a FieldPath>,
        names: &[&str],
    ) -> Option<String> {
        let in_labels = || {
            let labels = LABELS.iter().filter_map(|name| self.body.get(*name));
            labels.filter_map(|labels| first(Some(labels), names)).find_map(json::scalar)
        };
        let line = |text: String| build::cut(text.trim(), MAX_LINE);
        self.line(mapped, names).or_else(|| in_labels().map(line))
    }

    fn service(&self) -> Option<String> {
        self.labelled(|f| f.service.as_ref(), build::SERVICE)
    }

    fn target(&self) -> Option<String> {
        let named = [&["target", "resource"], build::TARGET].concat();
        let subject = || cloud_event(self.body)?.subject.map(|text| build::cut(text, MAX_LINE));
        self.labelled(|f| f.target.as_ref(), &named).or_else(subject)
    }

    fn sender(&self) -> Option<String> {
        self.line(|f| f.sender.as_ref(), SENDER)
    }
}

/// The first value that one of `names` has.
fn first<'a>(body: Option<&'a Value>, names: &[&str]) -> Option<&'a Value> {
    let says = |value: &&Value| json::scalar(value).is_some();
    names.iter().filter_map(|name| body?.get(*name)).find(says)
}

/// The sender's id of the problem; without one: sender, title, service and target.
pub(super) fn identity(body: &Value, fields: Option<&FieldMap>) -> Vec<String> {
    let find = Finder { body, fields };
    if let Some(id) = find.text(|f| f.id.as_ref(), ID) {
        return vec![build::identity_part("id", &id)];
    }
    let about = [find.title(), find.service(), find.target()];
    let said: Vec<_> = about.into_iter().flatten().collect();
    let sender = find.sender().unwrap_or_default();
    vec![build::identity_part("sender", &sender), text_identity(&said.join("\n"))]
}

pub(super) fn alert(
    source: &Source<'_>,
    fields: Option<&FieldMap>,
    identity: Vec<String>,
) -> Result<Alert, String> {
    let body = source.body;
    let find = Finder { body, fields };
    let mut notes = vec![];
    let message = find.text(|f| f.message.as_ref(), MESSAGE);
    let message = message.map(|text| build::cut(&text, MAX_TEXT));
    let first_line = message.as_deref().and_then(|text| text.trim().lines().next());
    let title = find.title().or_else(|| first_line.map(|line| build::cut(line, MAX_LINE)));
    let Some(title) = title.filter(|title| !title.trim().is_empty()) else {
        let mapped = fields.and_then(|f| f.title.as_ref()).map_or("title", FieldPath::as_str);
        return Err(format!("missing_field: {mapped}"));
    };

    let status_raw = find.line(|f| f.status.as_ref(), STATUS);
    let known = status_raw.as_deref().and_then(status);
    if known.is_none() {
        notes.push(match &status_raw {
            Some(word) => format!("status {word:?} is not known: taken as firing"),
            None => "no status: taken as firing".to_owned(),
        });
    }
    let status = known.unwrap_or(Status::Firing);
    let severity_raw = find.labelled(|f| f.severity.as_ref(), SEVERITY);
    let stated_at = find.value(|f| f.started_at.as_ref(), STARTED_AT).and_then(times::time);
    let resolved = status == Status::Resolved;
    let event_id = find.line(|_| None, EVENT_ID);
    let digest = || format!("sha256-{}", const_hex::encode(&source.delivery.sha256[..8]));
    let sender = find.sender();
    let issue_id = find.line(|f| f.id.as_ref(), ID).map(|id| build::bounded_id(&id));
    let correlated = |name: &str| find.line(|_| None, &[name]);

    Ok(Alert {
        stage: if resolved { Stage::Resolved } else { Stage::Received },
        provider_event_id: build::bounded_id(&event_id.unwrap_or_else(digest)),
        provider_ts: stated_at,
        status_at: stated_at,
        refs: SourceRefs {
            alert: [("id", &issue_id), ("sender", &sender)]
                .into_iter()
                .filter_map(|(name, value)| Some(reference(name, value.as_deref()?)))
                .collect(),
            ..SourceRefs::default()
        },
        identity,
        occurrence: None,
        correlation: LogCorrelation {
            trace_id: correlated("trace_id"),
            span_id: correlated("span_id"),
            request_id: correlated("request_id"),
            release: correlated("release"),
            ..LogCorrelation::default()
        },
        content: build::content(
            body,
            &[Some(&title), message.as_deref()],
            source.reading.redactor,
            source.replaced,
        ),
        notes,
        facts: Facts {
            level: severity_raw.as_deref().and_then(severity::level),
            severity_raw,
            alertname: Some(title.clone()),
            message,
            environment: find.labelled(|f| f.environment.as_ref(), build::ENVIRONMENT),
            service: find.service(),
            namespace: find.labelled(|f| f.namespace.as_ref(), build::NAMESPACE),
            target: find.target(),
            issue_id,
            url: find.text(|f| f.url.as_ref(), URL).as_deref().and_then(build::link),
            started_at: if resolved { None } else { stated_at },
            ended_at: if resolved { stated_at } else { None },
            labels: labels(body),
            ..Facts::new(source.provider, source.delivery.source.clone(), title, status)
        },
    })
}

/// `labels` and `tags` as they are, and what else the body says in one word.
fn labels(body: &Value) -> Vec<(String, String)> {
    let mut pairs = Pairs::default();
    let said_elsewhere = [TITLE, MESSAGE, URL].concat();
    for (name, value) in body.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) if LABELS.contains(&name.as_str()) => {
                for (name, value) in inner {
                    pairs.push(name, &build::pair_text(value), 2 * MAX_LINE);
                }
            }
            _ => {
                let word = json::scalar(value).filter(|_| !said_elsewhere.contains(&name.as_str()));
                if let Some(word) = word {
                    pairs.push(name, &word, 2 * MAX_LINE);
                }
            }
        }
    }
    pairs.list
}
