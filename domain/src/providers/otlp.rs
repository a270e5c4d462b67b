//! OpenTelemetry logs over HTTP as JSON (github.com/open-telemetry/opentelemetry-proto,
//! `docs/specification.md`, OTLP/HTTP; `opentelemetry/proto/logs/v1/logs.proto`).
//!
//! A log record is an alert when it is an error or worse; what is less is only stored, for whoever
//! looks for what happened around an alert. Nothing tells an end, and nothing names a delivery: an
//! exporter that had no answer sends the same records again, which are known by their times.

use schemas::{
    Alert, Time,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, DeliveryKey, Normalised, NotAdmitted, Provider, Reading, Refused, Reply, Request,
    Senders, Silence, auth, json, single,
};

mod record;
#[cfg(test)]
mod tests;

use record::Origin;

/// Records of one request that are read; an exporter's batches hold 512 unless told otherwise.
const MAX_RECORDS: usize = 10_000;

/// `SEVERITY_NUMBER_ERROR`: from here on a record is an alert.
const ERROR: u64 = 17;

/// See the module.
pub struct Otlp;

impl Provider for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn title(&self) -> &'static str {
        "OpenTelemetry"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/v1/logs"]
    }

    fn missing_secret_detail(&self) -> &'static str {
        "OTLP basic, bearer or token credentials missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        auth::authorization(request, credentials)
    }

    /// An exporter that speaks protobuf is told so: a body that is never read would be lost.
    fn admit(&self, request: &Request<'_>, _senders: &Senders) -> Result<(), NotAdmitted> {
        match json::body(request.body) {
            Ok((body, _)) if body.is_object() => Ok(()),
            Ok(_) | Err(_) => Err(NotAdmitted::Malformed {
                detail: "the body is not OTLP JSON: set the exporter's protocol to http/json"
                    .to_owned(),
            }),
        }
    }

    /// Nothing was refused: an empty `partialSuccess`.
    fn reply(&self, _request: &Request<'_>) -> Reply {
        Reply::Stored { status: 200, body: r#"{"partialSuccess":{}}"#.to_owned() }
    }

    fn recurs_by_target(&self) -> bool {
        true
    }

    /// A log says that something went wrong, and never that it is well again.
    fn silence(&self, _alert: &Alert) -> Silence {
        Silence::Over
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let (body, note) = match json::body(&delivery.raw) {
            Ok(parsed) => parsed,
            Err(reason) => return Normalised::Rejected { reason },
        };
        if body.get("resourceLogs").or_else(|| body.get("resource_logs")).is_none() {
            return single::rejected("missing_resource_logs");
        }
        let (mut alerts, mut times, mut less, mut over) = (vec![], vec![], 0u64, 0u64);
        for of_resource in list(&body, "resourceLogs", "resource_logs") {
            for of_scope in list(of_resource, "scopeLogs", "scope_logs") {
                let origin = Origin::new(of_resource, of_scope);
                for record in list(of_scope, "logRecords", "log_records") {
                    times.push(record::time(record));
                    if record::severity_number(record) < ERROR {
                        less += 1;
                    } else if alerts.len() == MAX_RECORDS {
                        over += 1;
                    } else {
                        alerts.push(origin.alert(record, delivery, reading.redactor));
                    }
                }
            }
        }
        if alerts.is_empty() {
            return Normalised::Recorded { reason: format!("log_records: {less} below error") };
        }
        let mut notes: Vec<String> = note.into_iter().collect();
        if less > 0 {
            notes.push(format!("{less} records of the request are below error"));
        }
        if over > 0 {
            notes.push(format!("{over} records of the request are over {MAX_RECORDS}"));
        }
        alerts.iter_mut().for_each(|alert| alert.notes.extend(notes.iter().cloned()));
        let key = key(self.name(), &alerts, &times);
        Normalised::Alerts { alerts, key }
    }
}

/// The members of a list, by either of its names.
fn list<'a>(value: &'a Value, name: &str, other: &str) -> &'a [Value] {
    let found = value.get(name).or_else(|| value.get(other)).and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

/// Who says something at these very times says it once; without a time nothing is known again.
fn key(provider: &str, alerts: &[Alert], times: &[Option<Time>]) -> Option<DeliveryKey> {
    let times: Vec<String> = times
        .iter()
        .map(|time| Some(time.as_ref()?.micros().to_string()))
        .collect::<Option<_>>()?;
    let said = alerts.iter().flat_map(|alert| &alert.identity).map(String::as_str);
    let parts: Vec<&str> = said.chain(times.iter().map(String::as_str)).collect();
    Some(single::key(provider, &parts, false))
}
