//! Prometheus Alertmanager webhooks, versions 4 and 3, and what looks like them.
//!
//! One body is a group: N alerts, most of them repeats, firing and resolved mixed. The group is
//! packaging and has no identity here. The same body arrives again on purpose, so there is no
//! delivery key.

use schemas::{
    Alert, Facts, SourceId, Status, Time,
    alert::{LogCorrelation, SourceRefs, Stage},
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, DeliveryKey, Normalised, Provider, Refused, Request, auth,
    build::{self, MAX_LINE, MAX_TEXT, Pairs},
    json, severity, times,
};
use crate::redact::Redactor;

#[cfg(test)]
mod tests;

/// How many alerts are taken out of one body. Alerts that say anything are larger than the share of
/// the largest body that this leaves each; without a bound, a body of empty ones would be a batch
/// that no worker has the memory for.
const MAX_ALERTS: usize = 10_000;

/// How much of a group's labels an alert without any is given, in bytes of text.
const MAX_GROUP_LABELS: usize = 4 * 1024;

/// See the module.
pub struct Alertmanager;

impl Provider for Alertmanager {
    fn name(&self) -> &'static str {
        "alertmanager"
    }

    fn version(&self) -> u32 {
        2
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    fn accepts(&self, credential: &Credential) -> bool {
        matches!(credential, Credential::Basic { .. } | Credential::Bearer { .. })
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Alertmanager basic or bearer credentials missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        auth::authorization(request, credentials)
    }

    fn delivery_key(&self, _: &Delivery, _: &Value) -> Option<DeliveryKey> {
        None
    }

    fn normalise(&self, delivery: &Delivery, redactor: &Redactor) -> Normalised {
        let (mut body, note) = match json::body(&delivery.raw) {
            Ok(parsed) => parsed,
            Err(reason) => return Normalised::Rejected { reason },
        };
        let Some(Value::Array(parts)) = body.get_mut("alerts").map(Value::take) else {
            let reason = if body.is_object() { "missing_alerts" } else { "not_an_object" };
            return Normalised::Rejected { reason: reason.to_owned() };
        };
        if parts.is_empty() {
            return Normalised::Recorded { reason: "empty_group".to_owned() };
        }
        let total = parts.len();
        let group = Group::new(&body, note);
        let mut alerts = Vec::with_capacity(total.min(MAX_ALERTS));
        let (mut bad, mut too_many) = (0, 0);
        for part in parts {
            match part {
                Value::Object(_) if alerts.len() == MAX_ALERTS => too_many += 1,
                Value::Object(_) => alerts.push(alert(part, &group, &delivery.source, redactor)),
                _ => bad += 1,
            }
        }
        if alerts.is_empty() {
            return Normalised::Rejected { reason: format!("bad_alerts: {bad} of {total}") };
        }
        if bad > 0 {
            for alert in &mut alerts {
                alert.notes.push(format!("{bad} of {total} alerts in the body are no objects"));
            }
        }
        if too_many > 0 {
            for alert in &mut alerts {
                alert.notes.push(format!("{too_many} alerts of the body are over {MAX_ALERTS}"));
            }
        }
        Normalised::Alerts { alerts, key: None }
    }
}

/// What the members of a group share.
struct Group {
    status: Option<Status>,
    /// The labels of an alert that carries none of its own, before redaction.
    labels: Option<GroupLabels>,
    notes: Vec<String>,
}

/// A group's labels, as far as they stand in for an alert's own.
struct GroupLabels {
    /// As many as each alert can be given.
    kept: Value,
    /// How many are not.
    left_out: usize,
    /// The fingerprint of all.
    fingerprint: String,
}

impl GroupLabels {
    fn new(all: &Value) -> Self {
        let mut kept = serde_json::Map::new();
        let mut size = 0;
        for (name, value) in all.as_object().into_iter().flatten() {
            size += name.len() + build::pair_text(value).len();
            if size <= MAX_GROUP_LABELS {
                kept.insert(name.clone(), value.clone());
            }
        }
        let left_out = all.as_object().map_or(0, serde_json::Map::len) - kept.len();
        Self { kept: Value::Object(kept), left_out, fingerprint: fingerprint(Some(all)) }
    }
}

impl Group {
    fn new(body: &Value, note: Option<String>) -> Self {
        let labels = ["commonLabels", "groupLabels"]
            .iter()
            .find_map(|k| body.get(*k).filter(|v| v.as_object().is_some_and(|o| !o.is_empty())))
            .map(GroupLabels::new);
        let mut notes: Vec<String> = note.into_iter().collect();
        if let Some(left_out) = json::at(body, &["truncatedAlerts"]).and_then(json::count)
            && left_out > 0
        {
            notes.push(format!("the sender left out {left_out} alerts of this group"));
        }
        let status = json::text(body, &["status"]).and_then(status_word);
        Self { status, labels, notes }
    }
}

fn status_word(word: &str) -> Option<Status> {
    match word.trim().to_ascii_lowercase().as_str() {
        "firing" => Some(Status::Firing),
        "resolved" => Some(Status::Resolved),
        _ => None,
    }
}

fn alert(mut part: Value, group: &Group, source: &SourceId, redactor: &Redactor) -> Alert {
    let mut notes = group.notes.clone();
    // Over the labels as received: redaction must not change who an alert is.
    let computed = match &group.labels {
        Some(labels) if !part.get("labels").is_some_and(Value::is_object) => {
            if let Some(map) = part.as_object_mut() {
                map.insert("labels".to_owned(), labels.kept.clone());
            }
            notes.push("the alert has no labels: those of its group are taken".to_owned());
            if labels.left_out > 0 {
                notes.push(format!("{} labels of the group were too much", labels.left_out));
            }
            labels.fingerprint.clone()
        }
        Some(_) | None => fingerprint(part.get("labels")),
    };
    let replaced = redactor.value(&mut part);
    let labels = Pairs::object(part.get("labels"), 2 * MAX_LINE);
    let annotations = Pairs::object(part.get("annotations"), MAX_TEXT);
    let left_out = labels.left_out + annotations.left_out;
    if left_out > 0 {
        notes.push(format!("{left_out} labels or annotations were too much to keep"));
    }

    let stated = json::at(&part, &["fingerprint"]).and_then(json::scalar);
    let identity = match stated {
        Some(stated) => {
            if stated != computed {
                notes.push(format!("fingerprint differs from {computed}, that of the labels"));
            }
            build::bounded_id(&stated)
        }
        None => {
            notes.push("no fingerprint: computed from the labels".to_owned());
            computed
        }
    };

    let status = json::text(&part, &["status"]).and_then(status_word).or(group.status);
    if status.is_none() {
        notes.push("no known status: taken as firing".to_owned());
    }
    let status = status.unwrap_or(Status::Firing);
    let started_at = build::time_at(&part, &["startsAt"]);
    // While an alert fires, this field holds year 1, 1970 or a guess.
    let ended_at =
        (status == Status::Resolved).then(|| part.get("endsAt").and_then(times::time)).flatten();

    let line = |text: &str| build::cut(text, MAX_LINE);
    let alertname = labels.first(&["alertname"]).map(line);
    let summary = annotations.first(&["summary", "message", "title"]);
    let description = annotations.first(&["description", "details"]);
    let title = [alertname.as_deref(), summary, description].into_iter().flatten().next();
    let title = line(title.unwrap_or("unnamed alert"));
    let message: Vec<_> = summary.into_iter().chain(description).collect();
    let message = (!message.is_empty()).then(|| build::cut(&message.join("\n"), MAX_TEXT));
    let severity_raw = labels.first(&["severity", "priority"]).map(line);

    let url = json::text(&part, &["generatorURL"]).and_then(build::link);
    let annotated = |name: &str| annotations.first(&[name]).map(line);
    let annotated_link = |name: &str| annotations.first(&[name]).and_then(build::link);
    let labelled = |names: &[&str]| labels.first(names).map(line);
    let correlation = LogCorrelation {
        trace_id: labelled(&["trace_id", "traceID"]).or_else(|| annotated("trace_id")),
        span_id: labelled(&["span_id", "spanID"]).or_else(|| annotated("span_id")),
        request_id: labelled(&["request_id"]).or_else(|| annotated("request_id")),
        release: labelled(&["release", "version"]),
        sentry_event_id: None,
        related_logs_url: annotated_link("related_logs"),
        related_traces_url: annotated_link("related_traces"),
    };
    let refs = SourceRefs {
        sentry: vec![],
        signoz: labels.first(&["ruleId"]).map(|id| format!("rule:{id}")).into_iter().collect(),
        alert: vec![format!("fingerprint:{identity}")],
    };
    let content = build::content(&part, &[Some(&title), message.as_deref()], redactor, replaced);
    let episode = started_at.map_or(0, |t: Time| t.micros() / 1_000_000);

    Alert {
        stage: match status {
            Status::Resolved => Stage::Resolved,
            Status::Firing | Status::Suppressed => Stage::Received,
        },
        provider_event_id: format!("{identity}-{episode}"),
        provider_ts: ended_at.or(started_at),
        status_at: match status {
            Status::Resolved => ended_at,
            Status::Firing | Status::Suppressed => started_at,
        },
        identity: vec![identity.clone()],
        occurrence: None,
        refs,
        correlation,
        content,
        notes,
        facts: Facts {
level: severity_raw.as_deref().and_then(severity::level),
severity_raw,
alertname,
message,
environment: labelled(&["environment", "env"]),
service: labelled(&["service", "job", "app"]),
namespace: labelled(&["namespace"]),
target: labelled(&[
                "pod",
                "instance",
                "host",
                "hostname",
                "node",
                "deployment",
                "container",
                "service",
                "job",
                "app",
            ]),
sender_project: labelled(&["project"]),
issue_id: Some(identity),
url,
started_at,
ended_at,
labels: labels.list,
annotations: annotations.list,
..Facts::new("alertmanager", source.clone(), title, status)
},
    }
}

/// Alertmanager's own fingerprint: FNV-1a, 64 bit, over name, 0xFF, value, 0xFF of each label in
/// the order of their names, as 16 hex digits (prometheus/common `model/signature.go`).
fn fingerprint(labels: Option<&Value>) -> String {
    let mut pairs: Vec<(&str, String)> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), build::pair_text(value)))
        .collect();
    pairs.sort_unstable();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |byte: u8| {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    };
    for (name, value) in &pairs {
        name.bytes().for_each(&mut add);
        add(0xFF);
        value.bytes().for_each(&mut add);
        add(0xFF);
    }
    format!("{hash:016x}")
}
