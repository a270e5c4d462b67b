//! R8, R9: an alert in a text. `[告警] X` says what it is, and the lines `名称: 值` after it what it
//! is about.

use schemas::{
    Alert, Facts, Status,
    alert::{LogCorrelation, SourceRefs, Stage},
};
use serde_json::Value;

use super::{Source, reference, text_identity};
use crate::providers::{
    build::{self, MAX_LINE, MAX_TEXT, Pairs, time_at},
    json::{self, at, text},
    severity,
};

/// What marks a text as an alert, and one that ends it.
const MARKS: [(&str, Status); 8] = [
    ("[告警]", Status::Firing),
    ("【告警】", Status::Firing),
    ("[alert]", Status::Firing),
    ("[恢复]", Status::Resolved),
    ("[已恢复]", Status::Resolved),
    ("【恢复】", Status::Resolved),
    ("【已恢复】", Status::Resolved),
    ("[resolved]", Status::Resolved),
];

// What the lines of a text are called, for what.
const SERVICE: &[&str] = &["服务", "服務", "应用", "應用", "service", "app"];
const NAMESPACE: &[&str] = &["命名空间", "命名空間", "namespace"];
const ENVIRONMENT: &[&str] = &["环境", "環境", "environment", "env"];
const SEVERITY: &[&str] = &["级别", "級別", "等级", "严重程度", "severity", "level", "priority"];
const TARGET: &[&str] =
    &["pod", "实例", "實例", "instance", "主机", "主機", "host", "节点", "節點", "node"];

/// An alert found in a text.
struct Found<'a> {
    status: Status,
    name: &'a str,
    /// The lines `name: value`, names in lower case.
    lines: Vec<(String, &'a str)>,
}

fn find(text: &str) -> Option<Found<'_>> {
    let (status, rest) = MARKS.iter().find_map(|(mark, status)| {
        let at = find_ignoring_case(text, mark)?;
        Some((*status, &text[at + mark.len()..]))
    })?;
    let mut lines = rest.lines().map(str::trim);
    // The name stands behind the mark, or on the next line that says something.
    let first = lines.next().unwrap_or_default();
    let mut pairs = vec![];
    let mut name = first;
    for line in lines {
        match line.split_once([':', '：']).map(|(n, v)| (n.trim(), v.trim())) {
            Some((key, value)) if !key.is_empty() && key.chars().count() <= 32 => {
                pairs.push((key.to_lowercase(), value));
            }
            _ if name.is_empty() => name = line,
            _ => {}
        }
    }
    Some(Found { status, name, lines: pairs })
}

/// Where `mark` (lower case) stands in `text`; only ASCII letters have a case here.
fn find_ignoring_case(text: &str, mark: &str) -> Option<usize> {
    let (text, mark) = (text.as_bytes(), mark.as_bytes());
    text.windows(mark.len()).position(|window| window.eq_ignore_ascii_case(mark))
}

/// Sender, name, and what the text is about; without its mark, so that the end of an alert is known
/// as that of its start.
pub(super) fn identity(body: &Value) -> Vec<String> {
    let sender = text(body, &["sender_id"]).unwrap_or_default();
    let message = text(body, &["message"]).unwrap_or_default();
    let said = find(message).map_or(String::new(), |found| {
        let about = [SERVICE, NAMESPACE, ENVIRONMENT, TARGET].concat();
        let lines = found.lines.iter().filter(|(name, _)| about.contains(&name.as_str()));
        let lines = lines.map(|(name, value)| format!("\n{name}:{value}"));
        [found.name.to_owned()].into_iter().chain(lines).collect()
    });
    vec![build::identity_part("sender", sender), text_identity(&said)]
}

/// The alert that the message tells of; `None` when no mark stands in it.
pub(super) fn alert(source: &Source<'_>, identity: Vec<String>) -> Option<Alert> {
    let body = source.body;
    let message = text(body, &["message"])?;
    let sender = text(body, &["sender_id"]).unwrap_or_default();
    let Found { status, name, lines } = find(message)?;

    let metadata = at(body, &["metadata"]);
    let said = |names: &[&str]| {
        let line = lines.iter().find(|(n, v)| names.contains(&n.as_str()) && !v.is_empty());
        line.map(|(_, value)| (*value).to_owned())
    };
    let beside =
        |names: &[&str]| names.iter().find_map(|name| metadata?.get(*name).and_then(json::scalar));
    let fact = |in_text: &[&str], in_metadata: &[&str]| {
        said(in_text).or_else(|| beside(in_metadata)).map(|t| build::cut(&t, MAX_LINE))
    };
    let severity_raw = beside(&["severity", "level", "priority"]).or_else(|| said(SEVERITY));
    let severity_raw = severity_raw.map(|word| build::cut(&word, MAX_LINE));
    let service = fact(SERVICE, build::SERVICE);
    let target = fact(TARGET, build::TARGET).or_else(|| service.clone());

    let mut labels = Pairs::default();
    for (name, value) in &lines {
        labels.push(name, value, 2 * MAX_LINE);
    }
    for name in ["sender_id", "chat_id"] {
        if let Some(value) = body.get(name).and_then(json::scalar) {
            labels.push(name, &value, MAX_LINE);
        }
    }
    for (name, value) in metadata.and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = json::scalar(value) {
            labels.push(name, &value, 2 * MAX_LINE);
        }
    }

    let name = if name.is_empty() { "unnamed alert" } else { name };
    let title = build::cut(name, MAX_LINE);
    let started_at = time_at(body, &["timestamp"]);
    let resolved = status == Status::Resolved;
    let digest = const_hex::encode(&source.delivery.sha256[..8]);
    Some(Alert {
        stage: if resolved { Stage::Resolved } else { Stage::Received },
        provider_event_id: build::bounded_id(&format!("{sender}-{digest}")),
        provider_ts: started_at,
        status_at: started_at,
        refs: SourceRefs { alert: vec![reference("sender", sender)], ..SourceRefs::default() },
        identity,
        occurrence: None,
        correlation: LogCorrelation {
            trace_id: beside(&["trace_id"]),
            request_id: beside(&["request_id"]),
            ..LogCorrelation::default()
        },
        content: build::content(body, &[Some(message)], source.reading.redactor, source.replaced),
        notes: vec![],
        facts: Facts {
            level: severity_raw.as_deref().and_then(severity::level),
            severity_raw,
            alertname: Some(title.clone()),
            message: Some(build::cut(message, MAX_TEXT)),
            environment: fact(ENVIRONMENT, build::ENVIRONMENT),
            service,
            namespace: fact(NAMESPACE, build::NAMESPACE),
            target,
            url: beside(&["url", "link"]).as_deref().and_then(build::link),
            started_at: if resolved { None } else { started_at },
            ended_at: if resolved { started_at } else { None },
            labels: labels.list,
            ..Facts::new(source.provider, source.delivery.source.clone(), title, status)
        },
    })
}
