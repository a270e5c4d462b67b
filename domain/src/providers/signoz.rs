//! SigNoz: Alertmanager's body with the rule among the labels, and links to logs and traces among
//! the annotations.
//!
//! Samples of older versions name no rule and cannot be told from Alertmanager's: the route
//! chooses.

use schemas::{
    Alert,
    alert::{Stage, Window},
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Likeness, Normalised, Provider, Reading, Refused, Request, Silence, auth,
    build::{self, query},
    group::{self, Dialect},
    json::{self, at, text},
    times,
};

/// See the module.
pub struct Signoz;

impl Provider for Signoz {
    fn name(&self) -> &'static str {
        "signoz"
    }

    fn title(&self) -> &'static str {
        "SigNoz"
    }

    fn version(&self) -> u32 {
        2
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    /// The rule among the labels, or a link to it; without either it is the shape of an Alertmanager.
    fn likeness(&self, body: &Value) -> Likeness {
        let Some(alerts) = body.get("alerts") else { return Likeness::None };
        let first = alerts.get(0).unwrap_or(&Value::Null);
        let labels = [at(first, &["labels"]), at(body, &["commonLabels"])];
        let named = |labels: &Value| ["ruleId", "ruleSource"].iter().any(|n| labels.get(n).is_some());
        let linked = text(first, &["generatorURL"]).is_some_and(|link| {
            ["/alerts/overview?", "/alerts/edit?"].iter().any(|page| link.contains(page))
        });
        match linked || labels.into_iter().flatten().any(named) {
            true => Likeness::Marks,
            false => Likeness::None,
        }
    }

    fn retries_too_many(&self) -> bool {
        false
    }

    fn missing_secret_detail(&self) -> &'static str {
        "SigNoz basic or bearer credentials missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        auth::authorization(request, credentials)
    }

    fn recurs_by_target(&self) -> bool {
        true
    }

    /// What fires is sent again every `repeat_interval`, and ends only where `send_resolved` is on.
    fn silence(&self, _alert: &Alert) -> Silence {
        Silence::MissedRepeat
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let (body, note) = match json::body(&delivery.raw) {
            Ok(parsed) => parsed,
            Err(reason) => return Normalised::Rejected { reason },
        };
        let dialect = Dialect {
            provider: self.name(),
            fingerprints_labels: true,
            alertname: None,
            finish: &finish,
        };
        group::normalise(body, note, delivery, reading.redactor, &dialect)
    }
}

fn finish(alert: &mut Alert, _: &Value) {
    let facts = &mut alert.facts;
    let source = facts.label("ruleSource").and_then(build::link);
    if facts.url.is_none() {
        facts.url = source;
    }
    if alert.refs.signoz.is_empty() {
        // Where the labels do not name the rule, the link to it may.
        let rule = facts.url.as_deref().and_then(|url| query(url, "ruleId"));
        alert.refs.signoz.extend(rule.map(|id| build::bounded_id(&format!("rule:{id}"))));
    }
    let links = [&alert.correlation.related_logs_url, &alert.correlation.related_traces_url];
    let searched = links.into_iter().flatten().find_map(|link| {
        let time = |name| times::time(&Value::from(query(link, name)?));
        Window::between(time("startTime"), time("endTime"))
    });
    if searched.is_some() {
        alert.correlation.window = searched;
    }
    if facts.label("testalert").is_some_and(|word| word != "false") {
        alert.stage = Stage::Test;
    }
}
