//! Azure Monitor's action groups (learn.microsoft.com, "Common alert schema"), in three shapes: the
//! common schema, the metric alerts' own, and the oldest, which names no schema.
//!
//! Bodies are not signed. A "secure webhook" shows a token of Microsoft Entra (`entra`); others have
//! credentials in their URL.

use schemas::{
    Alert, Level,
    alert::Stage,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Normalised, Provider, Reading, Refused, Request, Silence, auth, build, group,
    json::{at, text},
    single::{self, Single, rejected},
};

mod common;
mod entra;
mod metric;
#[cfg(test)]
mod tests;

/// What the button "Test" of an action group puts in place of a subscription.
const SAMPLE: &str = "/subscriptions/11111111-1111-1111-1111-111111111111/";

/// The custom property an environment is read from, besides those every sender has.
const ENVIRONMENT: &[&str] = &["Environment", "Env"];

/// Conditions of one alert that are kept.
const MAX_CONDITIONS: usize = 16;

/// See the module.
pub struct AzureMonitor;

impl Provider for AzureMonitor {
    fn name(&self) -> &'static str {
        "azure-monitor"
    }

    fn title(&self) -> &'static str {
        "Azure Monitor"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent", "x-ms-request-id"]
    }

    fn accepts(&self, credential: &Credential) -> bool {
        match credential {
            Credential::Basic { .. }
            | Credential::Bearer { .. }
            | Credential::Token { .. }
            | Credential::Entra { .. } => true,
            Credential::Hmac { .. } => false,
        }
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Azure Monitor entra, token, basic or bearer credentials missing in production environment"
    }

    fn needs(&self, request: &Request<'_>, credentials: &[Credential]) -> Option<String> {
        entra::keys_at(request, credentials)
    }

    fn is_outdated(&self, request: &Request<'_>) -> bool {
        entra::is_outdated(request)
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let in_url = || auth::in_url(request, &["token", "code"], credentials);
        let entra = |credential: &Credential| matches!(credential, Credential::Entra { .. });
        if !credentials.iter().any(entra) {
            return in_url();
        }
        let verified = entra::verify(request, credentials);
        match credentials.iter().all(entra) {
            true => verified,
            false => verified.or_else(|refused| in_url().map_err(|_| refused)),
        }
    }

    /// Metric alerts tell their end. Those over logs may be such as only tell that they fire, again
    /// and again, and those of the activity log tell what happened once.
    fn silence(&self, alert: &Alert) -> Silence {
        let signal = alert.facts.label("signalType").unwrap_or_default();
        if signal.to_ascii_lowercase().contains("log") { Silence::Over } else { Silence::Nothing }
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let single = match Single::read(delivery, reading) {
            Ok(single) => single,
            Err(outcome) => return outcome,
        };
        let schema = text(&single.body, &["schemaId"]).map(|id| id.trim().to_ascii_lowercase());
        match schema.as_deref() {
            Some("azuremonitorcommonalertschema") => common::normalise(single),
            Some("azuremonitormetricalert") => metric::normalise(single, &["data"]),
            Some(other) => single.recorded("schema", other),
            None if at(&single.body, &["context"]).is_some() => metric::normalise(single, &[]),
            None => rejected("missing_schema_id"),
        }
    }
}

/// `Sev0` is the worst. Metric alerts of the older schema give the number alone.
fn level(word: &str) -> Option<Level> {
    let word = word.trim();
    let number =
        word.get(..3).filter(|head| head.eq_ignore_ascii_case("sev")).map_or(word, |_| &word[3..]);
    match number {
        "0" => Some(Level::Fatal),
        "1" => Some(Level::Error),
        "2" => Some(Level::Warning),
        // Informational and verbose.
        "3" | "4" => Some(Level::Info),
        _ => None,
    }
}

/// A part of an identity that is the id of a resource, which Azure writes in either case.
fn resource_part(name: &str, id: &str) -> String {
    build::identity_part(name, &id.trim().to_ascii_lowercase())
}

/// The series a condition was true for: one rule may hold for many.
fn series(condition: Option<&Value>) -> Option<String> {
    let mut pairs = serde_json::Map::new();
    for (name, value) in dimensions(condition) {
        pairs.insert(name, Value::from(value.to_ascii_lowercase()));
    }
    let pairs = Value::Object(pairs);
    let any = pairs.as_object().is_some_and(|pairs| !pairs.is_empty());
    any.then(|| format!("series:{}", group::fingerprint(Some(&pairs))))
}

/// Name and value of each dimension of all conditions.
fn dimensions(condition: Option<&Value>) -> Vec<(String, String)> {
    let mut found = vec![];
    for one in conditions(condition) {
        let all = at(one, &["dimensions"]).and_then(Value::as_array).into_iter().flatten();
        for dimension in all.take(MAX_CONDITIONS) {
            let word = |name: &str| single::scalar(dimension, &[name]);
            found.extend(word("name").zip(word("value")));
        }
    }
    found
}

/// The conditions that are true; the oldest schema has one, without a list.
fn conditions(condition: Option<&Value>) -> Vec<&Value> {
    match condition.and_then(|condition| at(condition, &["allOf"])) {
        Some(all) => all.as_array().into_iter().flatten().take(MAX_CONDITIONS).collect(),
        None => condition.into_iter().collect(),
    }
}

/// What was measured and what it was held against, one line for each condition.
fn measured(condition: Option<&Value>) -> Option<String> {
    let line = |one: &Value| {
        let word = |name: &str| single::scalar(one, &[name]);
        let metric = word("metricName").or_else(|| word("metricMeasureColumn"))?;
        let value = word("metricValue").map(|value| format!(" = {value}")).unwrap_or_default();
        let against = word("operator").zip(word("threshold"));
        let against = against.map(|(operator, to)| format!(" ({operator} {to})"));
        Some(format!("{metric}{value}{}", against.unwrap_or_default()))
    };
    let lines: Vec<_> = conditions(condition).into_iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| build::cut(&lines.join("\n"), build::MAX_TEXT))
}

/// The part of a resource's id behind one of that name.
fn segment<'a>(id: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = id.split('/');
    parts.find(|part| part.eq_ignore_ascii_case(name))?;
    parts.next().filter(|part| !part.is_empty())
}

/// A description, and what was measured under it.
fn message(description: Option<String>, measured: Option<String>) -> Option<String> {
    let lines: Vec<_> = [description, measured].into_iter().flatten().collect();
    (!lines.is_empty()).then(|| build::cut(&lines.join("\n"), build::MAX_TEXT))
}

/// A sample is no alert.
fn mark_sample(alert: &mut Alert, id: Option<&str>) {
    if id.is_some_and(|id| id.to_ascii_lowercase().starts_with(SAMPLE)) {
        alert.stage = Stage::Test;
    }
}
