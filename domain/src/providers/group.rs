//! Bodies shaped like Alertmanager's: a group of N alerts, most of them repeats, firing and resolved
//! mixed. The group is packaging and has no identity here.

use schemas::{
    Alert, Facts, Status, Time,
    alert::{LogCorrelation, SourceRefs, Stage, Window},
    record::Delivery,
};
use serde_json::Value;

use super::{
    Normalised,
    build::{self, MAX_LINE, MAX_TEXT, Pairs},
    json, severity, times,
};
use crate::redact::Redactor;

/// How the sender's fingerprint is written among an alert's references.
const FINGERPRINT: &str = "fingerprint:";

/// How many alerts are taken out of one body. Alerts that say anything are larger than the share of
/// the largest body that this leaves each; without a bound, a body of empty ones would be a batch
/// that no worker has the memory for.
pub(super) const MAX_ALERTS: usize = 10_000;

/// How much of a group's labels an alert without any is given, in bytes of text.
const MAX_GROUP_LABELS: usize = 4 * 1024;

/// How one sender speaks the common language.
pub(super) struct Dialect<'a> {
    /// Registry name of the provider.
    pub provider: &'static str,
    /// The sender's fingerprint is made of the labels in the body, and of nothing else.
    pub fingerprints_labels: bool,
    /// What an alert is called whose own labels do not say it.
    pub alertname: Option<String>,
    /// Adds what only this sender says, given the alert's redacted part of the body.
    pub finish: &'a dyn Fn(&mut Alert, &Value),
}

/// The alerts of a parsed body, redacted.
/// Whether an alert was told by such a group.
pub(super) fn told(alert: &Alert) -> bool {
    alert.refs.alert.iter().any(|reference| reference.starts_with(FINGERPRINT))
}

pub(super) fn normalise(
    mut body: Value,
    note: Option<String>,
    delivery: &Delivery,
    redactor: &Redactor,
    dialect: &Dialect<'_>,
) -> Normalised {
    let Some(Value::Array(parts)) = body.get_mut("alerts").map(Value::take) else {
        let reason = if body.is_object() { "missing_alerts" } else { "not_an_object" };
        return Normalised::Rejected { reason: reason.to_owned() };
    };
    if parts.is_empty() {
        return Normalised::Recorded { reason: "empty_group".to_owned() };
    }
    let total = parts.len();
    let group = Group::new(&body, note);
    let member = Member { group: &group, delivery, redactor, dialect };
    let mut alerts = Vec::with_capacity(total.min(MAX_ALERTS));
    let (mut bad, mut too_many) = (0, 0);
    for part in parts {
        match part {
            Value::Object(_) if alerts.len() == MAX_ALERTS => too_many += 1,
            Value::Object(_) => alerts.push(member.alert(part)),
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
    let word = word.trim();
    if word.eq_ignore_ascii_case("firing") {
        Some(Status::Firing)
    } else if word.eq_ignore_ascii_case("resolved") {
        Some(Status::Resolved)
    } else {
        None
    }
}

/// What a member of a group is made from.
struct Member<'a> {
    group: &'a Group,
    delivery: &'a Delivery,
    redactor: &'a Redactor,
    dialect: &'a Dialect<'a>,
}

impl Member<'_> {
    fn alert(&self, mut part: Value) -> Alert {
        let mut notes = self.group.notes.clone();
        // Over the labels as received: redaction must not change who an alert is.
        let computed = self.computed(&mut part, &mut notes);
        let replaced = self.redactor.value(&mut part);
        let labels = Pairs::object(part.get("labels"), 2 * MAX_LINE);
        let annotations = Pairs::object(part.get("annotations"), MAX_TEXT);
        let left_out = labels.left_out + annotations.left_out;
        if left_out > 0 {
            notes.push(format!("{left_out} labels or annotations were too much to keep"));
        }
        let identity = self.identity(&part, computed, &mut notes);
        let status = json::text(&part, &["status"]).and_then(status_word).or(self.group.status);
        if status.is_none() {
            notes.push("no known status: taken as firing".to_owned());
        }
        let status = status.unwrap_or(Status::Firing);
        let resolved = status == Status::Resolved;
        let started_at = build::time_at(&part, &["startsAt"]);
        // While an alert fires, this field holds year 1, 1970 or a guess.
        let ended_at = resolved.then(|| part.get("endsAt").and_then(times::time)).flatten();

        let line = |text: &str| build::cut(text, MAX_LINE);
        let alertname =
            labels.first(&["alertname"]).map(line).or_else(|| self.dialect.alertname.clone());
        let summary = annotations.first(&["summary", "message", "title"]);
        let description = annotations.first(&["description", "details"]);
        let title = [alertname.as_deref(), summary, description].into_iter().flatten().next();
        let title = line(title.unwrap_or("unnamed alert"));
        let message = match (summary, description) {
            (Some(summary), Some(more)) => {
                Some(build::cut(&format!("{summary}\n{more}"), MAX_TEXT))
            }
            (one, other) => one.or(other).map(|text| build::cut(text, MAX_TEXT)),
        };
        let severity_raw = labels.first(&["severity", "priority"]).map(line);
        let labelled = |names: &[&str]| labels.first(names).map(line);
        let episode = started_at.map_or(0, |t: Time| t.micros() / 1_000_000);

        let mut alert = Alert {
            stage: if resolved { Stage::Resolved } else { Stage::Received },
            provider_event_id: format!("{identity}-{episode}"),
            provider_ts: ended_at.or(started_at),
            status_at: if resolved { ended_at } else { started_at },
            identity: vec![identity.clone()],
            occurrence: None,
            refs: SourceRefs {
                signoz: labelled(&["ruleId"]).map(|id| format!("rule:{id}")).into_iter().collect(),
                alert: vec![format!("{FINGERPRINT}{identity}")],
                ..SourceRefs::default()
            },
            correlation: correlation(&labels, &annotations, Window::between(started_at, ended_at)),
            content: build::no_content(),
            notes,
            facts: Facts {
                level: severity_raw.as_deref().and_then(severity::level),
                severity_raw,
                alertname,
                message,
                environment: labelled(build::ENVIRONMENT),
                service: labelled(build::SERVICE),
                namespace: labelled(build::NAMESPACE),
                target: labelled(build::TARGET),
                sender_project: labelled(&["project"]),
                issue_id: Some(identity),
                url: json::text(&part, &["generatorURL"]).and_then(build::link),
                started_at,
                ended_at,
                labels: labels.list,
                annotations: annotations.list,
                ..Facts::new(self.dialect.provider, self.delivery.source.clone(), title, status)
            },
        };
        (self.dialect.finish)(&mut alert, &part);
        let headline = [Some(alert.facts.title.as_str()), alert.facts.message.as_deref()];
        alert.content = build::content(&part, &headline, self.redactor, replaced);
        alert
    }

    /// The fingerprint of the alert's labels; one without any is given its group's.
    fn computed(&self, part: &mut Value, notes: &mut Vec<String>) -> String {
        let Some(labels) = &self.group.labels else { return fingerprint(part.get("labels")) };
        if part.get("labels").is_some_and(Value::is_object) {
            return fingerprint(part.get("labels"));
        }
        if let Some(map) = part.as_object_mut() {
            map.insert("labels".to_owned(), labels.kept.clone());
        }
        notes.push("the alert has no labels: those of its group are taken".to_owned());
        if labels.left_out > 0 {
            notes.push(format!("{} labels of the group were too much", labels.left_out));
        }
        labels.fingerprint.clone()
    }

    /// The sender's fingerprint, whatever it is; where it states none, that of the labels.
    fn identity(&self, part: &Value, computed: String, notes: &mut Vec<String>) -> String {
        match json::at(part, &["fingerprint"]).and_then(json::scalar) {
            Some(stated) => {
                if self.dialect.fingerprints_labels && stated != computed {
                    notes.push(format!("fingerprint differs from {computed}, that of the labels"));
                }
                build::bounded_id(&stated)
            }
            None => {
                notes.push("no fingerprint: computed from the labels".to_owned());
                computed
            }
        }
    }
}

fn correlation(labels: &Pairs, annotations: &Pairs, window: Option<Window>) -> LogCorrelation {
    let line = |text: &str| build::cut(text, MAX_LINE);
    let either = |in_labels: &[&str], in_annotations: &str| {
        labels.first(in_labels).or_else(|| annotations.first(&[in_annotations])).map(line)
    };
    let link = |name: &str| annotations.first(&[name]).and_then(build::link);
    LogCorrelation {
        trace_id: either(&["trace_id", "traceID"], "trace_id"),
        span_id: either(&["span_id", "spanID"], "span_id"),
        request_id: either(&["request_id"], "request_id"),
        release: labels.first(&["release", "version"]).map(line),
        sentry_event_id: None,
        related_logs_url: link("related_logs"),
        related_traces_url: link("related_traces"),
        window,
    }
}

/// [`label_fingerprint`] of labels as they stand in a body.
pub(super) fn fingerprint(labels: Option<&Value>) -> String {
    let pairs = labels.and_then(Value::as_object).into_iter().flatten();
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => build::pair_text(other),
    };
    label_fingerprint(pairs.map(|(name, value)| (name.as_str(), text(value))).collect())
}

/// Alertmanager's own fingerprint: FNV-1a, 64 bit, over name, 0xFF, value, 0xFF of each label in
/// the order of their names, as 16 hex digits (prometheus/common `model/signature.go`).
pub fn label_fingerprint<V: AsRef<str>>(mut pairs: Vec<(&str, V)>) -> String {
    pairs.sort_unstable_by_key(|(name, _)| *name);
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0xFF]) {
            hash ^= u64::from(byte);
            hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for (name, value) in &pairs {
        add(name);
        add(value.as_ref());
    }
    format!("{hash:016x}")
}
