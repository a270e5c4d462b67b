//! `metric_alert`: a rule over a metric. The rule is the subject, the incident is one episode.

use schemas::{
    Alert, Facts, Status,
    alert::{LogCorrelation, SourceRefs, Stage},
};

use super::Context;
use crate::providers::{
    build::{self, MAX_LINE, MAX_TEXT, Pairs, time_at},
    json::{at, id, text},
    severity,
};

pub(super) fn alert(context: &Context<'_>, status: Status) -> Result<Alert, &'static str> {
    let body = context.body;
    let metric = at(body, &["data", "metric_alert"]).ok_or("missing_alert_rule_id")?;
    let data = at(body, &["data"]).ok_or("missing_alert_rule_id")?;
    let line = |path: &[&str]| text(metric, path).map(|t| build::cut(t, MAX_LINE));

    let rule_name = line(&["alert_rule", "name"]);
    let rule_id = id(metric, &["alert_rule", "id"]);
    let incident = id(metric, &["id"]).map(|i| build::bounded_id(&i));
    let subject = rule_id.clone().or_else(|| rule_name.clone()).ok_or("missing_alert_rule_id")?;
    let subject = build::bounded_id(&subject);

    let title = text(data, &["description_title"]).map(|t| build::cut(t, MAX_LINE));
    let title = title
        .or_else(|| rule_name.clone())
        .or_else(|| line(&["title"]))
        .unwrap_or_else(|| "Unknown Error".to_owned());
    let message = text(data, &["description_text"]).map(|t| build::cut(t, MAX_TEXT));
    let action = text(body, &["action"]).unwrap_or_default();
    let project = [&["projects"][..], &["alert_rule", "projects"]]
        .iter()
        .find_map(|path| at(metric, path)?.as_array()?.first()?.as_str())
        .filter(|slug| !slug.is_empty())
        .map(|slug| build::cut(slug, MAX_LINE));

    let resolved = status == Status::Resolved;
    let started_at = time_at(metric, &["date_started"]);
    let ended_at = resolved.then(|| time_at(metric, &["date_closed"])).flatten();
    let mut annotations = Pairs::default();
    for name in ["query", "aggregate"] {
        if let Some(value) = text(metric, &["alert_rule", name]) {
            annotations.push(name, value, MAX_TEXT);
        }
    }
    let mut refs = vec![format!("alert_rule:{subject}")];
    refs.extend(incident.iter().map(|incident| format!("incident:{incident}")));

    Ok(Alert {
        stage: if resolved { Stage::Resolved } else { Stage::Received },
        provider_event_id: match &incident {
            Some(incident) => format!("incident-{incident}-{action}"),
            None => format!("alert-rule-{subject}-{action}"),
        },
        provider_ts: ended_at.or(started_at),
        // Start and end are backdated by the rule's window; the time of detection is not.
        status_at: if resolved { None } else { time_at(metric, &["date_detected"]) },
        identity: vec!["metric_alert".to_owned(), subject.clone()],
        occurrence: None,
        refs: SourceRefs { sentry: refs, ..SourceRefs::default() },
        correlation: LogCorrelation::default(),
        content: build::content(
            body,
            &[Some(&title), message.as_deref()],
            context.redactor,
            context.replaced,
        ),
        notes: vec![],
        facts: Facts {
            level: severity::level(action),
            severity_raw: (!action.is_empty()).then(|| action.to_owned()),
            alertname: rule_name.clone(),
            message,
            environment: line(&["alert_rule", "environment"]),
            service: project.clone(),
            target: rule_name,
            sender_project: project,
            issue_id: Some(subject),
            url: text(data, &["web_url"]).and_then(build::link),
            started_at,
            ended_at,
            annotations: annotations.list,
            ..Facts::new("sentry", context.source.clone(), title, status)
        },
    })
}
