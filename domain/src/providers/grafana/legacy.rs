//! Legacy alerting: one flat body is one rule, its `evalMatches` are the series it found.
//!
//! No start time, no fingerprint. When the rule is well again the body names no series, so only the
//! rule and its own tags say which problem it is.

use schemas::{
    Alert, Facts, Level, Status,
    alert::{LogCorrelation, SourceRefs, Stage},
    record::Delivery,
};
use serde_json::Value;

use super::MAX_NAME;
use crate::{
    providers::{
        Normalised,
        build::{self, MAX_LINE, MAX_TEXT, Pairs},
        group,
        json::{self, at, text},
        severity,
    },
    redact::Redactor,
};

/// Series of one body that are kept.
const MAX_SERIES: usize = 32;

/// Whether a body is one of legacy alerting.
pub(super) fn is(body: &Value) -> bool {
    ["ruleId", "ruleName", "ruleUrl", "evalMatches"].iter().any(|name| body.get(*name).is_some())
}

pub(super) fn normalise(
    mut body: Value,
    note: Option<String>,
    delivery: &Delivery,
    redactor: &Redactor,
) -> Normalised {
    let rejected = |reason: &str| Normalised::Rejected { reason: reason.to_owned() };
    // Over the body as received: redaction must not change who an alert is.
    let Some(identity) = identity(&body) else { return rejected("missing_rule_id") };
    let replaced = redactor.value(&mut body);
    let Some(state) = text(&body, &["state"]) else { return rejected("missing_state") };
    let state = state.trim().to_ascii_lowercase();
    let status = match state.as_str() {
        "alerting" | "no_data" => Status::Firing,
        "ok" => Status::Resolved,
        // A rule that is switched off, or not yet sure.
        "paused" | "pending" => return Normalised::Recorded { reason: format!("state_{state}") },
        _ => return Normalised::Recorded { reason: "unknown_state".to_owned() },
    };
    let alert = Body { body: &body, delivery, redactor, replaced };
    let alert = alert.alert(identity, &state, status, note);
    Normalised::Alerts { alerts: vec![alert], key: None }
}

/// Organisation, rule, and the rule's own tags. A rule without an id is known by its name.
fn identity(body: &Value) -> Option<Vec<String>> {
    let stated = |name: &str| body.get(name).and_then(json::scalar);
    let rule = match stated("ruleId") {
        Some(id) => build::identity_part("rule", &id),
        None => {
            let name = stated("ruleName").or_else(|| stated("title"))?;
            build::identity_part("name", &name)
        }
    };
    let organisation = build::identity_part("org", &stated("orgId").unwrap_or_default());
    let tags = body.get("tags").filter(|tags| tags.as_object().is_some_and(|t| !t.is_empty()));
    let tags = tags.map(|tags| format!("tags:{}", group::fingerprint(Some(tags))));
    Some([organisation, rule].into_iter().chain(tags).collect())
}

/// A body, redacted.
struct Body<'a> {
    body: &'a Value,
    delivery: &'a Delivery,
    redactor: &'a Redactor,
    replaced: u32,
}

impl Body<'_> {
    fn alert(
        &self,
        identity: Vec<String>,
        state: &str,
        status: Status,
        note: Option<String>,
    ) -> Alert {
        let body = self.body;
        let line = |name: &str| text(body, &[name]).map(|t| build::cut(t, MAX_LINE));
        let id = |name: &str| body.get(name).and_then(json::scalar).map(|i| build::bounded_id(&i));
        let series = Series::all(body);
        // What the rule's tags say holds for the rule; what the series' say, for what they have in
        // common.
        let tags = Pairs::object(at(body, &["tags"]), 2 * MAX_LINE);
        let tagged = |names: &[&str]| tags.first(names).map(|t| build::cut(t, MAX_LINE));
        let common = |names: &[&str]| tagged(names).or_else(|| Series::common(&series, names));
        let severity_raw = tagged(&["severity", "priority"]);
        let level = match &severity_raw {
            Some(word) => severity::level(word),
            None => (state == "no_data").then_some(Level::Warning),
        };
        let rule = id("ruleId");
        let rule_name = line("ruleName");
        let title = line("title").or_else(|| rule_name.clone());
        let title = title.unwrap_or_else(|| "unnamed alert".to_owned());
        let message = text(body, &["message"]).map(|t| build::cut(t, MAX_TEXT));
        let panel = [("dashboard", id("dashboardId")), ("panel", id("panelId"))];
        let named = |(name, id): (&str, Option<String>)| id.map(|id| format!("{name}:{id}"));
        let refs = [("rule", rule.clone())].into_iter().chain(panel).filter_map(named).collect();
        let environment = tagged(build::ENVIRONMENT);
        let (service, target) = (tagged(build::SERVICE), common(build::TARGET));
        let namespace = common(build::NAMESPACE);
        let about = rule.clone().or_else(|| rule_name.clone()).unwrap_or_default();

        Alert {
            stage: match status {
                // What the button "Test" of a notification channel sends.
                _ if rule.as_deref() == Some("0") => Stage::Test,
                Status::Resolved => Stage::Resolved,
                Status::Firing | Status::Suppressed => Stage::Received,
            },
            provider_event_id: build::bounded_id(&match id("orgId") {
                Some(organisation) => format!("org-{organisation}-rule-{about}-{state}"),
                None => format!("rule-{about}-{state}"),
            }),
            // Nothing in the body says when.
            provider_ts: None,
            status_at: None,
            identity,
            occurrence: None,
            refs: SourceRefs { alert: refs, ..SourceRefs::default() },
            correlation: LogCorrelation::default(),
            content: build::content(
                body,
                &[Some(&title), message.as_deref()],
                self.redactor,
                self.replaced,
            ),
            notes: note.into_iter().collect(),
            facts: Facts {
                level,
                severity_raw,
                alertname: rule_name.or_else(|| Some(title.clone())),
                message,
                environment,
                service,
                namespace,
                target,
                issue_id: rule,
                url: text(body, &["ruleUrl"]).and_then(build::link),
                labels: labels(tags, &series),
                annotations: annotations(body, &series),
                ..Facts::new("grafana", self.delivery.source.clone(), title, status)
            },
        }
    }
}

/// One series that the rule's condition holds for.
struct Series {
    metric: String,
    value: String,
    tags: Pairs,
}

impl Series {
    fn all(body: &Value) -> Vec<Self> {
        let matches = at(body, &["evalMatches"]).and_then(Value::as_array);
        let series = matches.into_iter().flatten().filter(|found| found.is_object());
        let read = |found: &Value| Self {
            metric: text(found, &["metric"]).unwrap_or_default().to_owned(),
            value: found.get("value").and_then(json::scalar).unwrap_or_default(),
            tags: Pairs::object(at(found, &["tags"]), 2 * MAX_LINE),
        };
        series.take(MAX_SERIES).map(read).collect()
    }

    /// What the tags of all series say alike.
    fn common(all: &[Self], names: &[&str]) -> Option<String> {
        let (first, rest) = all.split_first()?;
        let of = |series: &Self| series.tags.first(names).map(str::to_owned);
        let stated = of(first)?;
        rest.iter()
            .all(|other| of(other).as_ref() == Some(&stated))
            .then(|| build::cut(&stated, MAX_LINE))
    }

    /// As Prometheus writes a series: `metric{tag="value"}`.
    fn name(&self) -> String {
        let tags: Vec<_> = self.tags.list.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        match tags.is_empty() {
            true => self.metric.clone(),
            false => format!("{}{{{}}}", self.metric, tags.join(",")),
        }
    }
}

/// The rule's tags, and what the series have in common besides.
fn labels(mut tags: Pairs, series: &[Series]) -> Vec<(String, String)> {
    for (name, _) in series.first().map_or(&[][..], |first| &first.tags.list) {
        if tags.list.iter().all(|(known, _)| known != name)
            && let Some(value) = Series::common(series, &[name])
        {
            tags.push(name, &value, 2 * MAX_LINE);
        }
    }
    tags.list
}

/// What each series measured, and the picture of it.
fn annotations(body: &Value, series: &[Series]) -> Vec<(String, String)> {
    let mut pairs = Pairs::default();
    for found in series {
        let name = format!("value {}", found.name());
        if pairs.list.iter().all(|(known, _)| *known != name) {
            pairs.push(&name, &found.value, MAX_NAME);
        }
    }
    if let Some(picture) = text(body, &["imageUrl"]).and_then(build::link) {
        pairs.push("imageUrl", &picture, 4 * MAX_LINE);
    }
    pairs.list
}
