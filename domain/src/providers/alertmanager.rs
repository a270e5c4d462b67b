//! Prometheus Alertmanager webhooks, versions 4 and 3, and what looks like them.
//!
//! The same body arrives again on purpose, whenever a member of its group changes and every
//! `repeat_interval`, so there is no delivery key.

use schemas::{
    Alert,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Likeness, Normalised, Provider, Reading, Refused, Request, Silence, auth,
    group::{self, Dialect},
    json,
};

#[cfg(test)]
mod tests;

/// See the module.
pub struct Alertmanager;

impl Provider for Alertmanager {
    fn name(&self) -> &'static str {
        "alertmanager"
    }

    fn title(&self) -> &'static str {
        "Alertmanager"
    }

    /// It only hands on what Prometheus found.
    fn told_as(&self) -> Option<&'static str> {
        Some("Prometheus")
    }

    fn version(&self) -> u32 {
        4
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    fn likeness(&self, body: &Value) -> Likeness {
        if body.get("alerts").is_some() { Likeness::Shape } else { Likeness::None }
    }

    fn retries_too_many(&self) -> bool {
        false
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Alertmanager basic or bearer credentials missing in production environment"
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
            finish: &|_, _| {},
        };
        group::normalise(body, note, delivery, reading.redactor, &dialect)
    }
}
