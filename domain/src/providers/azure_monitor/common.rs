//! The common alert schema: the essentials are alike for every kind of alert, the context is not.

use schemas::{Alert, Status};
use serde_json::Value;

use super::{dimensions, level, mark_sample, measured, message, resource_part, segment, series};
use crate::providers::{
    Normalised,
    build::{self, MAX_LINE, Pairs},
    group,
    json::{at, text},
    single::{self, Single, rejected},
};

pub(super) fn normalise(mut single: Single<'_>) -> Normalised {
    let Some(identity) = identity(&single.body) else { return rejected("missing_alert_rule") };
    let word = |name: &str| single::scalar(&single.body, &["data", "essentials", name]);
    // One alert fires once and ends once; tries over minutes, and several action groups, tell it
    // under the same id.
    let key = word("alertId").map(|id| {
        let parts = ["monitorCondition", "firedDateTime", "resolvedDateTime"];
        let parts = parts.map(|name| word(name).unwrap_or_default());
        single::key("alert", &[&id, &parts[0], &parts[1], &parts[2]], true)
    });
    single.redact();
    let stated = single.line(&["data", "essentials", "monitorCondition"]);
    let status = match stated.as_deref() {
        // Alerts over the activity log need not say it.
        None => Status::Firing,
        Some(word) if word.eq_ignore_ascii_case("fired") => Status::Firing,
        Some(word) if word.eq_ignore_ascii_case("resolved") => Status::Resolved,
        Some(other) => return single.recorded("unknown_condition", other),
    };
    let alert = alert(&single, status, identity);
    single.told(alert, key)
}

/// Rule, resources, and the series of the rule. The alert's own id is that of one episode.
fn identity(body: &Value) -> Option<Vec<String>> {
    let essentials = at(body, &["data", "essentials"])?;
    let context = at(body, &["data", "alertContext"]);
    let rule = text(essentials, &["alertRuleId"]).or_else(|| text(essentials, &["alertRule"]));
    let rule = match rule {
        Some(rule) => resource_part("rule", rule),
        None => resource_part("alert", text(essentials, &["alertId"])?),
    };
    let mut targets: Vec<_> = targets(essentials).map(str::to_ascii_lowercase).collect();
    targets.sort_unstable();
    let targets = (!targets.is_empty()).then(|| resource_part("targets", &targets.join("\n")));
    let series = series(context.and_then(|context| at(context, &["condition"])));
    // Of a Prometheus rule.
    let labels = context.and_then(|context| at(context, &["labels"]));
    let labels = labels.filter(|labels| labels.as_object().is_some_and(|l| !l.is_empty()));
    let labels = labels.map(|labels| format!("labels:{}", group::fingerprint(Some(labels))));
    Some([Some(rule), targets, series, labels].into_iter().flatten().collect())
}

fn targets(essentials: &Value) -> impl Iterator<Item = &str> {
    let all = at(essentials, &["alertTargetIDs"]).and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_str)
}

fn alert(single: &Single<'_>, status: Status, identity: Vec<String>) -> Alert {
    let essentials = &single.body["data"]["essentials"];
    let context = &single.body["data"]["alertContext"];
    let line = |name: &str| single::line(essentials, &[name]);
    let condition = at(context, &["condition"]);
    let target = targets(essentials).next();
    let item = at(essentials, &["configurationItems"]).and_then(Value::as_array);
    let item = item.and_then(|items| items.first()).and_then(Value::as_str);
    let last = target.and_then(|id| id.trim_end_matches('/').rsplit('/').next());
    let resource = item.or(last).filter(|name| !name.trim().is_empty());
    let cut = |text: &str| build::cut(text, MAX_LINE);

    let mut labels = Pairs::default();
    for name in ["signalType", "monitoringService"] {
        if let Some(value) = line(name) {
            labels.push(name, &value, MAX_LINE);
        }
    }
    for (name, part) in [("subscription", "subscriptions"), ("resourceGroup", "resourceGroups")] {
        if let Some(value) = target.and_then(|id| segment(id, part)) {
            // Which is written in either case, from one message to the next.
            labels.push(name, &value.to_ascii_lowercase(), MAX_LINE);
        }
    }
    for (name, value) in dimensions(condition) {
        labels.push(&name, &value, MAX_LINE);
    }
    // What users wrote themselves, in the rule or as labels of a Prometheus rule.
    let custom = [
        at(&single.body, &["data", "customProperties"]),
        at(context, &["properties"]),
        at(context, &["labels"]),
    ];
    for own in custom.into_iter().flatten().filter(|own| own.is_object()) {
        for (name, value) in Pairs::object(Some(own), MAX_LINE).list {
            labels.push(&name, &value, MAX_LINE);
        }
    }

    let mut facts = single.facts("azure-monitor", line("alertRule"), status);
    let severity_raw = line("severity");
    facts.level = severity_raw.as_deref().and_then(level);
    facts.severity_raw = severity_raw;
    facts.alertname = Some(facts.title.clone());
    let said = single::long(essentials, &["description"])
        .or_else(|| single::long(context, &["annotations", "description"]));
    facts.message = message(said, measured(condition));
    let environment = [super::ENVIRONMENT, build::ENVIRONMENT].concat();
    facts.environment = labels.first(&environment).map(cut);
    facts.service = line("monitoringService");
    facts.namespace = labels.first(&["resourceGroup"]).map(cut);
    facts.target = resource.map(cut);
    facts.sender_project = facts.namespace.clone();
    let links = [
        text(essentials, &["investigationLink"]),
        text(context, &["LinkToFilteredSearchResultsUI"]),
        text(context, &["LinkToSearchResults"]),
    ];
    facts.url = links.into_iter().flatten().find_map(build::link);
    facts.started_at = build::time_at(essentials, &["firedDateTime"]);
    let ended_at = build::time_at(essentials, &["resolvedDateTime"]);
    facts.ended_at = ended_at.filter(|_| status == Status::Resolved);
    facts.annotations = single::known([
        ("monitorCondition", line("monitorCondition")),
        ("conditionType", single::line(context, &["conditionType"])),
        ("target", target.map(cut)),
    ])
    .collect();
    let left_out = labels.left_out;
    facts.labels = labels.list;

    let alert_id = line("alertId");
    facts.issue_id = alert_id.as_deref().map(build::bounded_id);
    let mut alert = single::alert(facts, identity, alert_id.as_deref().unwrap_or_default());
    alert.refs = single::references([
        ("alert", alert_id.clone()),
        ("rule", line("alertRuleId")),
        ("origin", line("originAlertId")),
    ]);
    if left_out > 0 {
        alert.notes.push(format!("{left_out} labels were too much to keep"));
    }
    mark_sample(&mut alert, alert_id.as_deref());
    alert
}
