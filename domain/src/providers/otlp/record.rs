//! One log record, with what its resource and its scope say of it.

use schemas::{Alert, Level, Status, Time, record::Delivery};
use serde_json::{Map, Value, json};

use crate::{
    providers::{
        build::{self, MAX_LINE, MAX_TEXT, Pairs},
        custom,
        json::{self as read, text},
        severity, single,
    },
    redact::Redactor,
};

/// How deep values may lie in each other; what is deeper is left out.
const MAX_DEPTH: usize = 16;

/// Attributes that say what a record is about, beside the well-known ones.
const EXCEPTION_TYPE: &str = "exception.type";
const EXCEPTION_MESSAGE: &str = "exception.message";

/// What the records of one scope share.
pub(super) struct Origin {
    resource: Value,
    scope: Option<String>,
}

impl Origin {
    pub fn new(of_resource: &Value, of_scope: &Value) -> Self {
        let resource = read::at(of_resource, &["resource"]).unwrap_or(&Value::Null);
        Self {
            resource: attributes(resource, 0),
            scope: text(of_scope, &["scope", "name"]).map(str::to_owned),
        }
    }

    /// The alert that a record is, redacted.
    pub fn alert(&self, record: &Value, delivery: &Delivery, redactor: &Redactor) -> Alert {
        let body = either(record, "body", "body").map(|body| any_value(body, 0));
        let mut part = json!({
            "resource": self.resource,
            "scope": self.scope,
            "severityText": either(record, "severityText", "severity_text"),
            "severityNumber": severity_number(record),
            "eventName": either(record, "eventName", "event_name"),
            "body": body,
            "attributes": attributes(record, 0),
            "traceId": either(record, "traceId", "trace_id"),
            "spanId": either(record, "spanId", "span_id"),
        });
        // Over what was received: redaction must not change who an alert is.
        let identity = identity(&part);
        let replaced = redactor.value(&mut part);

        let line = |path: &[&str]| single::scalar(&part, path);
        let said =
            read::at(&part, &["body"]).map(build::pair_text).filter(|t| !t.trim().is_empty());
        let mut labels = Pairs::object(part.get("resource"), MAX_LINE);
        for (name, value) in part.get("attributes").and_then(Value::as_object).into_iter().flatten()
        {
            labels.push(name, &build::pair_text(value), MAX_LINE);
        }
        let labelled = |names: &[&str]| labels.first(names).map(|text| build::cut(text, MAX_LINE));
        let exception = labelled(&[EXCEPTION_TYPE]);
        let first_line = said.as_deref().and_then(|text| text.trim().lines().next());
        let title = first_line.map(|text| build::cut(text, MAX_LINE)).or_else(|| {
            let message = labelled(&[EXCEPTION_MESSAGE]);
            match (&exception, message) {
                (Some(kind), Some(message)) => Some(format!("{kind}: {message}")),
                (one, other) => one.clone().or(other),
            }
        });
        let at = time(record);
        let title =
            title.or_else(|| line(&["eventName"])).unwrap_or_else(|| "log record".to_owned());
        let mut facts = schemas::Facts::new("otlp", delivery.source.clone(), title, Status::Firing);
        facts.alertname = exception.clone().or_else(|| line(&["eventName"]));
        facts.level = Some(level(severity_number(record)));
        facts.severity_raw = line(&["severityText"]);
        facts.message = said.map(|text| build::cut(&text, MAX_TEXT));
        facts.environment = labelled(build::ENVIRONMENT);
        facts.service = labelled(build::SERVICE);
        facts.namespace = labelled(build::NAMESPACE).or_else(|| labelled(&["service.namespace"]));
        facts.target = labelled(build::TARGET);
        facts.started_at = at;
        facts.labels = labels.list;
        facts.annotations =
            single::known([("scope", line(&["scope"])), ("exception", exception)]).collect();
        let seconds = at.map_or(0, |at: Time| at.micros());
        let name = identity.last().cloned().unwrap_or_default();
        let mut alert = single::alert(facts, identity, &format!("{name}-{seconds}"));
        alert.correlation.trace_id = line(&["traceId"]);
        alert.correlation.span_id = line(&["spanId"]);
        alert.correlation.release = alert.facts.label("service.version").map(str::to_owned);
        let headline = [Some(alert.facts.title.as_str()), alert.facts.message.as_deref()];
        alert.content = build::content(&part, &headline, redactor, replaced);
        alert
    }
}

/// The service, and what the record says without its numbers, or the exception it tells of.
fn identity(part: &Value) -> Vec<String> {
    let of = |group: &str, name: &str| text(part, &[group, name]).unwrap_or_default().to_owned();
    let kind = of("attributes", EXCEPTION_TYPE);
    let said = part.get("body").map(build::pair_text).unwrap_or_default();
    vec![
        build::identity_part("service", &of("resource", "service.name")),
        build::identity_part("scope", text(part, &["scope"]).unwrap_or_default()),
        match kind.is_empty() {
            true => custom::text_identity(&said),
            false => build::identity_part("exception", &kind),
        },
    ]
}

/// 1 to 24 (`SeverityNumber`); where it is not stated, what the word stands for.
pub(super) fn severity_number(record: &Value) -> u64 {
    let stated = either(record, "severityNumber", "severity_number").and_then(read::count);
    let word = || text(record, &["severityText"]).and_then(severity::level);
    stated.filter(|number| *number > 0).unwrap_or_else(|| match word() {
        Some(Level::Fatal) => 21,
        Some(Level::Error) => 17,
        Some(Level::Warning) => 13,
        Some(Level::Info) => 9,
        None => 0,
    })
}

fn level(number: u64) -> Level {
    match number {
        21.. => Level::Fatal,
        17..=20 => Level::Error,
        13..=16 => Level::Warning,
        _ => Level::Info,
    }
}

/// When it happened, else when it was seen; nanoseconds, as text or number.
pub(super) fn time(record: &Value) -> Option<Time> {
    [("timeUnixNano", "time_unix_nano"), ("observedTimeUnixNano", "observed_time_unix_nano")]
        .into_iter()
        .filter_map(|(name, other)| nanos(record, name, other))
        .next()
        .map(|nanos| Time::from_micros((nanos / 1_000) as i64))
}

fn nanos(record: &Value, name: &str, other: &str) -> Option<u64> {
    either(record, name, other).and_then(read::count).filter(|nanos| *nanos > 0)
}

/// Proto3's JSON has both spellings.
fn either<'a>(value: &'a Value, name: &str, other: &str) -> Option<&'a Value> {
    read::at(value, &[name]).or_else(|| read::at(value, &[other]))
}

/// The attributes of a resource or a record, as plain JSON.
fn attributes(of: &Value, depth: usize) -> Value {
    let listed = read::at(of, &["attributes"]).and_then(Value::as_array);
    let pairs = listed.into_iter().flatten().filter_map(|pair| pair_of(pair, depth));
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn pair_of(pair: &Value, depth: usize) -> Option<(String, Value)> {
    let name = pair.get("key")?.as_str()?;
    Some((name.to_owned(), any_value(pair.get("value")?, depth)))
}

/// An `AnyValue` as plain JSON; 64-bit integers are texts in it.
fn any_value(value: &Value, depth: usize) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Value::Null;
    };
    let listed = || inner.get("values").and_then(Value::as_array).into_iter().flatten();
    match kind.as_str() {
        "arrayValue" | "array_value" if depth < MAX_DEPTH => {
            listed().map(|value| any_value(value, depth + 1)).collect()
        }
        "kvlistValue" | "kvlist_value" if depth < MAX_DEPTH => {
            Value::Object(listed().filter_map(|pair| pair_of(pair, depth + 1)).collect())
        }
        "arrayValue" | "array_value" | "kvlistValue" | "kvlist_value" => Value::Null,
        _ => inner.clone(),
    }
}
