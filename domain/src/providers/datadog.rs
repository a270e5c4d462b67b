//! Datadog's webhooks (docs.datadoghq.com, "Webhooks"): a JSON template that the user writes.
//!
//! Variables are put in as text, so every number is a string, and what has no value is empty or
//! stays as its `$NAME`. The names that are looked for are those of Datadog's own default and of
//! the template in `docs/providers.md`. Nothing is signed.

use schemas::{
    Alert, Level, Status,
    alert::Stage,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, DeliveryKey, Normalised, Provider, Reading, Refused, Request, auth,
    build::{self, MAX_LINE, MAX_TEXT, Pairs},
    json, severity,
    single::{self, Single, rejected},
    times,
};

#[cfg(test)]
mod tests;

/// Tags of one alert that are kept.
const MAX_TAGS: usize = 256;

/// The tags that say what an alert is about, besides those every sender has.
const TARGET: &[&str] = &["pod_name", "container_name", "kube_deployment", "kube_cluster_name"];

/// See the module.
pub struct Datadog;

impl Provider for Datadog {
    fn name(&self) -> &'static str {
        "datadog"
    }

    fn title(&self) -> &'static str {
        "Datadog"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    /// One more try after a 5xx, none after a 4xx.
    fn retries_too_many(&self) -> bool {
        false
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Datadog basic, bearer or token credentials missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        auth::authorization(request, credentials)
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let mut single = match Single::read(delivery, reading) {
            Ok(single) => single,
            Err(outcome) => return outcome,
        };
        let Some(identity) = identity(&single.body) else { return rejected("missing_title") };
        let key = delivery_key(&single.body);
        single.redact();
        let (status, note) = match status(&single.body) {
            Ok(status) => status,
            Err(word) => return single.recorded("unknown_transition", &word),
        };
        let mut alert = alert(&single, status, identity);
        alert.notes.extend(note);
        single.told(alert, key)
    }
}

/// What one of these names says; a variable without a value says nothing.
fn said(body: &Value, names: &[&str]) -> Option<String> {
    let scalars = names.iter().filter_map(|name| body.get(*name).and_then(json::scalar));
    let variable = |text: &str| {
        text.strip_prefix('$').is_some_and(|name| {
            name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        })
    };
    scalars.map(|text| text.trim().to_owned()).find(|text| !text.is_empty() && !variable(text))
}

const TITLE: &[&str] = &["title", "event_title"];
const MONITOR: &[&str] = &["monitor_id", "alert_id"];
const SCOPE: &[&str] = &["scopes", "scope", "alert_scope"];
const TRANSITION: &[&str] = &["alert_transition", "transition"];
const EVENT: &[&str] = &["id", "event_id"];

/// A title's marks, as `[P2]`, `[Warn]`, `[Triggered on {host:a}]`, and what is behind them.
fn marks(title: &str) -> (Vec<&str>, &str) {
    let (mut marks, mut rest) = (vec![], title.trim());
    while let Some((mark, behind)) = rest.strip_prefix('[').and_then(|text| text.split_once(']')) {
        marks.push(mark.trim());
        rest = behind.trim_start();
    }
    (marks, if rest.is_empty() { title.trim() } else { rest })
}

/// Monitor and scope; a body without them is known by the key of its events, or by its title.
fn identity(body: &Value) -> Option<Vec<String>> {
    let scope = said(body, SCOPE).map(|scopes| {
        let mut parts: Vec<&str> = scopes.split(',').map(str::trim).collect();
        parts.sort_unstable();
        build::identity_part("scope", &parts.join(","))
    });
    let title = said(body, TITLE);
    let about = if let Some(monitor) = said(body, MONITOR) {
        build::identity_part("monitor", &monitor)
    } else if let Some(key) = said(body, &["aggregation_key", "aggreg_key", "alert_cycle_key"]) {
        build::identity_part("key", &key)
    } else {
        build::identity_part("title", marks(title.as_deref()?).1)
    };
    // Without a title there is nothing to tell.
    title?;
    Some([about].into_iter().chain(scope).collect())
}

/// An event's id stays over both tries; the next transition is another event.
fn delivery_key(body: &Value) -> Option<DeliveryKey> {
    let event = said(body, EVENT)?;
    let transition = said(body, TRANSITION).unwrap_or_default();
    Some(single::key("event", &[&event, &transition], true))
}

/// What a transition is called, and what it means.
fn transition(word: &str) -> Option<Status> {
    match word.trim().to_ascii_lowercase().as_str() {
        "triggered" | "re-triggered" | "warn" | "re-warn" | "no data" | "re-no data"
        | "renotify" | "re-notify" => Some(Status::Firing),
        "recovered" => Some(Status::Resolved),
        _ => None,
    }
}

/// The transition: by its own name, else as the title marks it, else after the event's type.
fn status(body: &Value) -> Result<(Status, Option<String>), String> {
    if let Some(word) = said(body, TRANSITION) {
        return transition(&word).map(|status| (status, None)).ok_or(word);
    }
    let title = said(body, TITLE).unwrap_or_default();
    let marked = marks(&title)
        .0
        .into_iter()
        .find_map(|mark| transition(mark.split_once(" on {").map_or(mark, |(word, _)| word)));
    if let Some(status) = marked {
        return Ok((status, None));
    }
    match said(body, &["alert_type"]).map(|word| word.to_ascii_lowercase()).as_deref() {
        Some("success") => Ok((Status::Resolved, None)),
        Some("error" | "warning" | "info") => Ok((Status::Firing, None)),
        Some(_) | None => Ok((Status::Firing, Some("no transition: taken as firing".to_owned()))),
    }
}

/// The priority's; a monitor without one is as bad as the state it went into.
fn level(severity: Option<&str>, state: Option<&str>, kind: Option<&str>) -> Option<Level> {
    if severity.is_some() {
        return severity.and_then(severity::level);
    }
    let state = state.map(str::to_ascii_lowercase);
    if let Some("warn" | "re-warn" | "no data" | "re-no data") = state.as_deref() {
        return Some(Level::Warning);
    }
    match kind.map(str::to_ascii_lowercase).as_deref() {
        Some("error") => Some(Level::Error),
        Some("warning") => Some(Level::Warning),
        Some("info") => Some(Level::Info),
        Some(_) | None => None,
    }
}

fn alert(single: &Single<'_>, status: Status, identity: Vec<String>) -> Alert {
    let body = &single.body;
    let line = |names: &[&str]| said(body, names).map(|text| build::cut(&text, MAX_LINE));
    let title = line(TITLE);
    let (marks, bare) = marks(title.as_deref().unwrap_or_default());
    let text = said(body, &["body", "text", "event_msg", "message"]).unwrap_or_default();
    let tags = tags(&[said(body, SCOPE), said(body, &["tags"])]);
    let tag = |names: &[&str]| tags.first(names).map(|value| build::cut(value, MAX_LINE));
    let (word, kind) = (line(TRANSITION), line(&["alert_type"]));
    let severity_raw = line(&["severity", "priority", "alert_priority"]);
    let at = said(body, &["date", "last_updated"]).map(Value::from);
    let at = at.as_ref().and_then(times::time);
    let resolved = status == Status::Resolved;
    let link = |text: &str| build::link(text);

    let mut facts = single.facts("datadog", title.clone(), status);
    facts.level = level(severity_raw.as_deref(), word.as_deref(), kind.as_deref());
    facts.severity_raw = severity_raw;
    facts.alertname = Some(bare.to_owned()).filter(|name| !name.is_empty());
    facts.message = message(&text);
    // Datadog's own name for it; what users call otherwise may mean anything.
    facts.environment = tag(&["env"]);
    facts.service = tag(&["service"]);
    facts.namespace = tag(&["kube_namespace", "namespace"]);
    facts.target =
        line(&["hostname", "host"]).or_else(|| tag(TARGET)).or_else(|| tag(build::TARGET));
    facts.issue_id = line(MONITOR).map(|id| build::bounded_id(&id));
    let status_page = linked(&text, "Monitor Status").and_then(link);
    facts.url = said(body, &["url", "link"]).and_then(|url| link(&url)).or(status_page.clone());
    facts.started_at = at.filter(|_| !resolved);
    facts.ended_at = at.filter(|_| resolved);
    facts.labels = tags.list;
    let organisation = body.get("org").and_then(|org| single::scalar(org, &["name"]));
    facts.annotations = single::known([
        ("alert_transition", word),
        ("alert_type", kind),
        ("event_type", line(&["event_type"])),
        ("scope", line(SCOPE)),
        ("org", organisation.or_else(|| line(&["org", "org_name"]))),
        ("query", line(&["alert_query", "query"])),
        ("monitor_url", status_page),
    ])
    .collect();

    let event = line(EVENT);
    let id = event.clone().unwrap_or_else(|| identity.join("-"));
    let mut alert = single::alert(facts, identity, &id);
    alert.refs = single::references([("event", event), ("monitor", line(MONITOR))]);
    alert.correlation.related_logs_url = linked(&text, "Related Logs").and_then(link);
    // What "Test notifications" of a monitor sends.
    if marks.iter().any(|mark| mark.eq_ignore_ascii_case("test")) {
        alert.stage = Stage::Test;
    }
    alert
}

/// Tags of comma-separated lists, each once; one without a value is its own name.
fn tags(lists: &[Option<String>]) -> Pairs {
    let mut pairs = Pairs::default();
    let all = lists.iter().flatten().flat_map(|list| list.split(','));
    for tag in all.map(str::trim).filter(|tag| !tag.is_empty() && *tag != "*").take(MAX_TAGS) {
        let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
        if !pairs.list.iter().any(|(n, v)| n == name && v == value) {
            pairs.push(name, value, 2 * MAX_LINE);
        }
    }
    pairs
}

/// The text without the marks around its markdown, and without those who are to be told.
fn message(text: &str) -> Option<String> {
    let told = text.replace("%%%", "");
    let lines = told.lines().map(|line| {
        let words = line.split(' ').filter(|word| !word.starts_with('@') || word.len() == 1);
        words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    });
    let mut kept: Vec<String> = vec![];
    for line in lines {
        // No two empty lines in a row, and none at the top.
        if !line.trim().is_empty() || kept.last().is_some_and(|last| !last.is_empty()) {
            kept.push(line);
        }
    }
    let text = kept.join("\n");
    (!text.trim().is_empty()).then(|| build::cut(text.trim(), MAX_TEXT))
}

/// Where a link of that name leads, in markdown.
fn linked<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, behind) = text.split_once(&format!("[{name}]("))?;
    Some(behind.split_once(')')?.0)
}
