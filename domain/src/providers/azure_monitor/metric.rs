//! Metric alerts in their own schema, and in the oldest: the same context, in another place.

use schemas::{Alert, Status};
use serde_json::Value;

use super::{dimensions, level, mark_sample, measured, message, resource_part, series};
use crate::providers::{
    Normalised,
    build::{self, MAX_LINE, Pairs},
    json::{at, text},
    single::{self, Single, rejected},
};

/// `path` leads to what holds status and context.
pub(super) fn normalise(mut single: Single<'_>, path: &[&str]) -> Normalised {
    let inside = |name: &'static str| [path, &[name]].concat();
    let Some(context) = at(&single.body, &inside("context")) else {
        return rejected("missing_context");
    };
    let condition = at(context, &["condition"]);
    let rule = text(context, &["id"]).or_else(|| text(context, &["name"]));
    let Some(rule) = rule.map(|rule| resource_part("rule", rule)) else {
        return rejected("missing_alert_rule");
    };
    let resource = text(context, &["resourceId"]).or_else(|| text(context, &["resourceName"]));
    let resource = resource.map(|id| resource_part("targets", id));
    let identity: Vec<_> =
        [Some(rule), resource, series(condition)].into_iter().flatten().collect();
    // Nothing but the time tells one firing of a rule from its next.
    let state = single::scalar(&single.body, &inside("status"));
    let key = state.as_deref().zip(text(context, &["timestamp"])).map(|(state, timestamp)| {
        let parts = [&identity.join("\n"), state, timestamp];
        single::key("alert", &parts, false)
    });
    single.redact();
    let status = match single.line(&inside("status")).as_deref() {
        Some(word) if word.eq_ignore_ascii_case("activated") => Status::Firing,
        Some(word)
            if ["deactivated", "resolved"].iter().any(|end| word.eq_ignore_ascii_case(end)) =>
        {
            Status::Resolved
        }
        Some(other) => return single.recorded("unknown_status", other),
        None => return rejected("missing_status"),
    };
    let Some(context) = at(&single.body, &inside("context")) else {
        return rejected("missing_context");
    };
    let properties = at(&single.body, &inside("properties"));
    let alert = alert(&single, context, properties, (status, identity));
    single.told(alert, key)
}

fn alert(
    single: &Single<'_>,
    context: &Value,
    properties: Option<&Value>,
    (status, identity): (Status, Vec<String>),
) -> Alert {
    let line = |name: &str| single::line(context, &[name]);
    let condition = at(context, &["condition"]);
    let mut labels = Pairs::default();
    let known = [
        ("subscription", line("subscriptionId")),
        ("resourceGroup", line("resourceGroupName")),
        ("resourceType", line("resourceType")),
        ("region", line("resourceRegion")),
    ];
    let own = properties.filter(|own| own.is_object());
    let own = Pairs::object(own, MAX_LINE).list;
    for (name, value) in single::known(known).chain(dimensions(condition)).chain(own) {
        labels.push(&name, &value, MAX_LINE);
    }

    let mut facts = single.facts("azure-monitor", line("name"), status);
    let severity_raw = single::scalar(context, &["severity"]);
    facts.level = severity_raw.as_deref().and_then(level);
    facts.severity_raw = severity_raw;
    facts.alertname = Some(facts.title.clone());
    facts.message = message(single::long(context, &["description"]), measured(condition));
    let environment = [super::ENVIRONMENT, build::ENVIRONMENT].concat();
    facts.environment = labels.first(&environment).map(|word| build::cut(word, MAX_LINE));
    facts.service = line("resourceType");
    facts.namespace = line("resourceGroupName").map(|name| name.to_ascii_lowercase());
    facts.target = line("resourceName");
    facts.sender_project = facts.namespace.clone();
    facts.url = text(context, &["portalLink"]).and_then(build::link);
    let at_change = build::time_at(context, &["timestamp"]);
    facts.started_at = at_change.filter(|_| status != Status::Resolved);
    facts.ended_at = at_change.filter(|_| status == Status::Resolved);
    facts.annotations = single::known([("conditionType", line("conditionType"))]).collect();
    let left_out = labels.left_out;
    facts.labels = labels.list;

    let rule = line("id");
    facts.issue_id = rule.as_deref().map(build::bounded_id);
    let word = if status == Status::Resolved { "deactivated" } else { "activated" };
    let second = at_change.map_or(0, |at| at.micros() / 1_000_000);
    let event_id = format!("{}-{word}-{second}", rule.as_deref().unwrap_or(&facts.title));
    let mut alert = single::alert(facts, identity, &event_id);
    alert.refs = single::references([("rule", rule.clone()), ("resource", line("resourceId"))]);
    if left_out > 0 {
        alert.notes.push(format!("{left_out} labels were too much to keep"));
    }
    mark_sample(&mut alert, rule.as_deref());
    alert
}
