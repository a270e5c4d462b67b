//! Google Cloud Monitoring's webhook notifications (cloud.google.com, "Schema structure" of
//! notification channels), versions 1.0 to 1.2.
//!
//! Nothing is signed: basic credentials, or a token in the query. An incident's id is that of one
//! episode; the problem is a policy's condition on a resource.

use schemas::{
    Alert, Status,
    alert::Stage,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Normalised, Provider, Reading, Refused, Request, auth,
    build::{self, MAX_LINE, MAX_TEXT, Pairs},
    group,
    json::{at, text},
    severity,
    single::{self, Single, rejected},
};

#[cfg(test)]
mod tests;

/// The labels a namespace is read from, besides those every sender has.
const NAMESPACE: &[&str] = &["namespace_name", "namespace_id"];

/// See the module.
pub struct GcpMonitoring;

impl Provider for GcpMonitoring {
    fn name(&self) -> &'static str {
        "gcp-monitoring"
    }

    fn title(&self) -> &'static str {
        "Google Cloud Monitoring"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    /// It is not documented to.
    fn retries_too_many(&self) -> bool {
        false
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Google Cloud Monitoring token, basic or bearer credentials missing in production \
         environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        auth::in_url(request, &["auth_token", "token"], credentials)
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let mut single = match Single::read(delivery, reading) {
            Ok(single) => single,
            Err(outcome) => return outcome,
        };
        let Some(incident) = at(&single.body, &["incident"]).filter(|i| i.is_object()) else {
            return rejected("missing_incident");
        };
        let Some(identity) = identity(incident) else { return rejected("missing_incident_id") };
        let word = |name: &str| single::scalar(incident, &[name]);
        // While it is open, an incident may be told again every half an hour or less often.
        let key = word("incident_id")
            .zip(word("state"))
            .map(|(id, state)| single::key("incident", &[&id, &state.to_ascii_lowercase()], false));
        single.redact();
        let state = single.line(&["incident", "state"]);
        let status = match state.as_deref() {
            Some(word) if word.eq_ignore_ascii_case("open") => Status::Firing,
            Some(word) if word.eq_ignore_ascii_case("closed") => Status::Resolved,
            Some(other) => return single.recorded("unknown_state", other),
            None => return rejected("missing_state"),
        };
        let alert = alert(&single, status, identity);
        single.told(alert, key)
    }
}

/// Project, condition, resource, and the metric's labels, which tell the series of one condition
/// apart. Labels of the resource's metadata are left out: a deployment changes them.
fn identity(incident: &Value) -> Option<Vec<String>> {
    let of = |path: &[&str], name: &str| {
        single::scalar(incident, path).map(|value| build::identity_part(name, &value))
    };
    let labels = |path: &[&str], name: &str| {
        let labels = at(incident, path).filter(|l| l.as_object().is_some_and(|l| !l.is_empty()))?;
        Some(format!("{name}:{}", group::fingerprint(Some(labels))))
    };
    let named = of(&["condition", "name"], "condition").map(|name| vec![name]);
    let condition = named.or_else(|| {
        let policy = of(&["policy_name"], "policy")?;
        Some([Some(policy), of(&["condition_name"], "condition")].into_iter().flatten().collect())
    });
    let Some(condition) = condition else {
        return Some(vec![of(&["incident_id"], "incident")?]);
    };
    let resource = labels(&["resource", "labels"], "resource")
        .or_else(|| of(&["resource_id"], "resource"))
        .or_else(|| of(&["resource_name"], "resource"));
    let rest = [resource, labels(&["metric", "labels"], "metric")];
    let project = of(&["scoping_project_id"], "project");
    Some(project.into_iter().chain(condition).chain(rest.into_iter().flatten()).collect())
}

fn alert(single: &Single<'_>, status: Status, identity: Vec<String>) -> Alert {
    let incident = &single.body["incident"];
    let line = |path: &[&str]| single::line(incident, path);
    let mut labels = Pairs::default();
    for (name, path) in
        [("resource_type", &["resource", "type"]), ("metric_type", &["metric", "type"])]
    {
        if let Some(value) = line(path) {
            labels.push(name, &value, MAX_LINE);
        }
    }
    for path in [
        &["policy_user_labels"][..],
        &["metadata", "user_labels"],
        &["resource", "labels"],
        &["metric", "labels"],
        &["metadata", "system_labels"],
    ] {
        let own = at(incident, path).filter(|own| own.is_object());
        for (name, value) in Pairs::object(own, MAX_LINE).list {
            labels.push(&name, &value, MAX_LINE);
        }
    }
    let labelled = |names: &[&str]| labels.first(names).map(|text| build::cut(text, MAX_LINE));
    let title =
        line(&["policy_name"]).or_else(|| line(&["condition_name"])).or_else(|| line(&["summary"]));
    let summary = single::long(incident, &["summary"]);
    let documentation = single::long(incident, &["documentation", "content"]);
    let said: Vec<_> = [summary, documentation].into_iter().flatten().collect();
    let none = |word: &String| !word.eq_ignore_ascii_case("no severity");
    let resolved = status == Status::Resolved;

    let mut facts = single.facts("gcp-monitoring", title, status);
    let severity_raw = line(&["severity"]).filter(none).or_else(|| labelled(&["severity"]));
    facts.level = severity_raw.as_deref().and_then(severity::level);
    facts.severity_raw = severity_raw;
    facts.alertname = Some(facts.title.clone());
    facts.message = (!said.is_empty()).then(|| build::cut(&said.join("\n"), MAX_TEXT));
    facts.environment = labelled(build::ENVIRONMENT);
    facts.service = labelled(build::SERVICE);
    facts.namespace = labelled(NAMESPACE).or_else(|| labelled(build::NAMESPACE));
    facts.target = line(&["resource_display_name"])
        .or_else(|| line(&["resource_name"]))
        .or_else(|| labelled(build::TARGET));
    facts.sender_project = line(&["scoping_project_id"]).or_else(|| labelled(&["project_id"]));
    facts.url = text(incident, &["url"]).and_then(build::link);
    facts.started_at = build::time_at(incident, &["started_at"]);
    facts.ended_at = build::time_at(incident, &["ended_at"]).filter(|_| resolved);
    let left_out = labels.left_out;
    facts.labels = labels.list;
    facts.annotations = single::known([
        ("condition", line(&["condition_name"])),
        ("observed_value", single::scalar(incident, &["observed_value"])),
        ("threshold_value", single::scalar(incident, &["threshold_value"])),
        ("subject", line(&["documentation", "subject"])),
    ])
    .collect();

    let id = single::scalar(incident, &["incident_id"]);
    facts.issue_id = id.as_deref().map(build::bounded_id);
    let state = if resolved { "closed" } else { "open" };
    let event_id = format!("{}-{state}", id.as_deref().unwrap_or(&facts.title));
    let mut alert = single::alert(facts, identity, &event_id);
    alert.refs = single::references([("incident", id)]);
    if left_out > 0 {
        alert.notes.push(format!("{left_out} labels were too much to keep"));
    }
    // What the button "Send test notification" of a channel sends.
    if single.line(&["version"]).is_some_and(|word| word.eq_ignore_ascii_case("test")) {
        alert.stage = Stage::Test;
    }
    alert
}
