//! Whether a body is about a project of this system's own (R63).
//!
//! It is asked before anything is stored, so of the body only the few fields are kept that say it.

use serde::Deserialize;
use serde_json::Value;

use crate::providers::{Own, json};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    data: Option<Data>,
    // The plugin's flat body.
    project: Value,
    project_slug: Value,
    url: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    issue: Option<Subject>,
    error: Option<Subject>,
    event: Option<Subject>,
    metric_alert: Option<Metric>,
    web_url: Value,
}

/// An issue, whose project is an object, or an event, whose project is a number.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Subject {
    project: Value,
    web_url: Value,
    permalink: Value,
    url: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metric {
    projects: Value,
    alert_rule: Option<Rule>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rule {
    projects: Value,
}

/// See the module. What is none of Sentry's bodies is about nothing.
pub(super) fn is_about(body: &[u8], own: &Own) -> bool {
    let Ok(said) = serde_json::from_slice::<Said>(body) else { return false };
    let Some(data) = said.data else {
        let names = [named(&said.project), named(&said.project_slug)].concat();
        return own.is(names.iter().map(String::as_str), said.url.as_str());
    };
    let subjects = [data.issue, data.error, data.event];
    let one = subjects.iter().flatten().any(|subject| {
        let urls = [&subject.web_url, &subject.permalink, &subject.url];
        let url = urls.into_iter().find_map(Value::as_str);
        own.is(named(&subject.project).iter().map(String::as_str), url)
    });
    let metric = data.metric_alert.unwrap_or_default();
    let listed = [metric.projects, metric.alert_rule.unwrap_or_default().projects];
    let mut listed = listed.iter().filter_map(Value::as_array).filter(|slugs| !slugs.is_empty());
    // One over other projects too is theirs.
    let all = listed
        .next()
        .is_some_and(|slugs| slugs.iter().all(|slug| own.is(slug.as_str(), data.web_url.as_str())));
    one || all
}

/// Everything a project goes by: its id, its short name.
fn named(project: &Value) -> Vec<String> {
    match project {
        Value::Object(fields) => {
            ["id", "slug"].iter().filter_map(|name| json::scalar(fields.get(*name)?)).collect()
        }
        other => json::scalar(other).into_iter().collect(),
    }
}
