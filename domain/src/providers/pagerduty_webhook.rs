//! PagerDuty's webhooks v3: what happens to its incidents (developer.pagerduty.com, "Webhooks").
//!
//! Each of several secrets signs the body, and the header lists all signatures. No time is signed:
//! a replay is known by the event's id.

use schemas::{
    Alert, Status,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Normalised, Outgoing, Proof, Provider, Reading, Refused, Request, Secret, auth,
    build::{self, MAX_LINE},
    json::{at, id, text},
    severity, sign,
    single::{self, Single, rejected},
};

#[cfg(test)]
mod tests;

const MISSING: Refused =
    Refused { code: "signature_missing", detail: "Missing x-pagerduty-signature header" };
const INVALID: Refused =
    Refused { code: "signature_invalid", detail: "Invalid x-pagerduty-signature" };

/// Signatures of one header that are compared; there is one per secret that is rotated.
const MAX_SIGNATURES: usize = 8;

/// People or teams of one incident that are kept.
const MAX_NAMES: usize = 16;

/// See the module.
pub struct PagerdutyWebhook;

impl Provider for PagerdutyWebhook {
    fn name(&self) -> &'static str {
        "pagerduty-webhook"
    }

    fn title(&self) -> &'static str {
        "PagerDuty"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent", "x-webhook-id"]
    }

    fn accepts(&self, credential: &Credential) -> bool {
        match credential {
            Credential::Hmac { .. }
            | Credential::Basic { .. }
            | Credential::Bearer { .. }
            | Credential::Token { .. } => true,
            Credential::Entra { .. } => false,
        }
    }

    fn missing_secret_detail(&self) -> &'static str {
        "PagerDuty webhook secret, basic, bearer or token credentials missing in production \
         environment"
    }

    /// `v1=` and the hexadecimal HMAC-SHA256 of the body, several with commas between them; else
    /// what a subscription's own headers or its URL show.
    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let signatures = request.header("x-pagerduty-signature").unwrap_or_default().trim();
        let (by_signature, by_authorization) = auth::kinds(credentials);
        let asks = signatures.is_empty() && request.shows_credential();
        if by_authorization && (asks || !by_signature) {
            return auth::authorization(request, credentials);
        }
        if signatures.is_empty() {
            return Err(MISSING);
        }
        let listed = signatures.split(',').filter_map(|one| one.trim().strip_prefix("v1="));
        let compared: Vec<_> = listed
            .take(MAX_SIGNATURES)
            .map(|one| auth::hmac_hex(one, &[request.body], credentials))
            .collect();
        compared.into_iter().flatten().next().ok_or(INVALID)
    }

    fn sign(&self, outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        let Secret::Signing(secret) = secret else { return sign::shown(secret) };
        let signature = sign::hmac_hex(secret, &[outgoing.body])?;
        Some(Proof::headers([("x-pagerduty-signature", format!("v1={signature}"))]))
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let mut single = match Single::read(delivery, reading) {
            Ok(single) => single,
            Err(outcome) => return outcome,
        };
        // The id of the event stays over all tries; that of the webhook is not signed.
        let key =
            id(&single.body, &["event", "id"]).map(|event| single::key("event", &[&event], true));
        let incident = id(&single.body, &["event", "data", "id"]);
        let identity = incident.map(|id| vec![build::identity_part("incident", &id)]);
        single.redact();
        let body = &single.body;
        if at(body, &["event"]).is_none() {
            let old = at(body, &["messages"]).is_some();
            return rejected(if old { "old_format: webhooks v1 and v2" } else { "missing_event" });
        }
        let Some(kind) = text(body, &["event", "event_type"]).map(str::trim) else {
            return rejected("missing_event_type");
        };
        if !TOLD.contains(&kind) {
            return single.recorded("event_type", kind);
        }
        let status = match text(body, &["event", "data", "status"]).map(str::trim) {
            Some("triggered" | "acknowledged") => Status::Firing,
            Some("resolved") => Status::Resolved,
            Some(other) => return single.recorded("unknown_status", other),
            None => return rejected("missing_incident_status"),
        };
        let Some(identity) = identity else { return rejected("missing_incident_id") };
        let alert = alert(&single, kind, status, identity);
        single.told(alert, key)
    }
}

/// The events that say something of what is wrong; the others say who does what about it.
const TOLD: &[&str] = &[
    "incident.triggered",
    "incident.reopened",
    "incident.resolved",
    "incident.escalated",
    "incident.priority_updated",
    "incident.unacknowledged",
];

fn alert(single: &Single<'_>, kind: &str, status: Status, identity: Vec<String>) -> Alert {
    let incident = &single.body["event"]["data"];
    let line = |path: &[&str]| single::line(incident, path);
    let occurred_at = build::time_at(&single.body, &["event", "occurred_at"]);
    let incident_id = id(incident, &["id"]).map(|id| build::bounded_id(&id));
    let event_id = id(&single.body, &["event", "id"]);
    let urgency = line(&["urgency"]);
    let severity_raw = line(&["priority", "summary"]);
    // Priorities are named as an account pleases, urgencies are high or low.
    let known = severity_raw.as_deref().and_then(severity::level);
    let resolved = status == Status::Resolved;

    let title = line(&["title"]).or_else(|| line(&["summary"]));
    let mut facts = single.facts("pagerduty-webhook", title, status);
    facts.level = known.or_else(|| urgency.as_deref().and_then(severity::level));
    facts.severity_raw = severity_raw;
    facts.alertname = Some(facts.title.clone());
    facts.service = line(&["service", "summary"]);
    facts.issue_id = incident_id.clone();
    facts.url = text(incident, &["html_url"]).and_then(build::link);
    facts.started_at = build::time_at(incident, &["created_at"]);
    let resolved_at = build::time_at(incident, &["resolved_at"]).or(occurred_at);
    facts.ended_at = resolved_at.filter(|_| resolved);
    let labels = [
        ("service", facts.service.clone()),
        ("escalation_policy", line(&["escalation_policy", "summary"])),
        ("priority", facts.severity_raw.clone()),
        ("urgency", urgency),
        ("teams", summaries(incident, "teams")),
        ("assignees", summaries(incident, "assignees")),
    ];
    facts.labels = single::known(labels).collect();
    facts.annotations = single::known([
        ("event_type", Some(build::cut(kind, MAX_LINE))),
        ("status", line(&["status"])),
        ("number", single::scalar(incident, &["number"])),
        ("resolve_reason", line(&["resolve_reason", "type"])),
    ])
    .collect();

    let id_shown = event_id.clone().or_else(|| incident_id.clone()).unwrap_or_default();
    let mut alert = single::alert(facts, identity, &id_shown);
    alert.provider_ts = occurred_at;
    alert.status_at = occurred_at;
    alert.refs = single::references([
        ("incident", incident_id),
        ("incident_key", line(&["incident_key"])),
        ("event", event_id),
    ]);
    alert
}

/// The names of those in a list, with commas between them.
fn summaries(incident: &Value, list: &str) -> Option<String> {
    let all = at(incident, &[list]).and_then(Value::as_array).into_iter().flatten();
    let names: Vec<_> = all.filter_map(|one| text(one, &["summary"])).take(MAX_NAMES).collect();
    (!names.is_empty()).then(|| build::cut(&names.join(", "), MAX_LINE))
}
