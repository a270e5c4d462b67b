//! Opsgenie's outgoing webhook (support.atlassian.com/opsgenie, "Integrate Opsgenie with Webhook"),
//! and what others send in its shape: an action, and the alert it was taken on.
//!
//! The sender signs nothing. Its numbers go beyond what a double holds: `updatedAt` and `insertedAt`
//! are nanoseconds, while `createdAt` is milliseconds.

use schemas::{
    Level, Status, Time,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Normalised, Provider, Reading, Refused, Request, auth,
    build::{self, MAX_LINE, MAX_TEXT, Pairs},
    json, severity,
    single::{self, Single, rejected},
    times,
};

/// See the module.
pub struct Opsgenie;

impl Provider for Opsgenie {
    fn name(&self) -> &'static str {
        "opsgenie"
    }

    fn title(&self) -> &'static str {
        "Opsgenie"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Opsgenie basic, bearer or token credentials missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        auth::authorization(request, credentials)
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let mut body = match Single::read(delivery, reading) {
            Ok(body) => body,
            Err(told) => return told,
        };
        let Some(action) = json::text(&body.body, &["action"]).map(str::to_owned) else {
            return rejected("missing_action");
        };
        let received = |name: &str| json::id(&body.body, &["alert", name]);
        // The alias is what makes it the same again over a close; who sets none has one made up.
        let Some((name, id)) = [("alias", received("alias")), ("alert", received("alertId"))]
            .into_iter()
            .find_map(|(name, id)| Some((name, id?)))
        else {
            return rejected("missing_alert_id");
        };
        let identity = vec![build::identity_part(name, &id)];
        // No header names the delivery: the same action on the same alert at the same nanosecond is
        // the same one.
        let at = received("updatedAt").unwrap_or_default();
        let parts = [action.as_str(), &received("alertId").unwrap_or_default(), &id, &at];
        let key = single::key(self.name(), &parts, false);
        body.redact();
        let status = match action.to_ascii_lowercase().as_str() {
            "create" => Status::Firing,
            "close" | "delete" => Status::Resolved,
            // Acknowledged, assigned, noted, escalated, snoozed: nothing began and nothing ended.
            _ => return body.recorded("action", &action),
        };
        self.alert(body, identity, status, &action, key)
    }
}

impl Opsgenie {
    fn alert(
        &self,
        body: Single<'_>,
        identity: Vec<String>,
        status: Status,
        action: &str,
        key: super::DeliveryKey,
    ) -> Normalised {
        let Some(alert) = body.body.get("alert") else { return rejected("missing_alert") };
        let line = |name: &str| single::scalar(alert, &[name]);
        let id = |name: &str| json::id(alert, &[name]).map(|id| build::bounded_id(&id));
        let created_at = json::at(alert, &["createdAt"]).and_then(time);
        let updated_at = json::at(alert, &["updatedAt"]).and_then(time);
        let tags = tags(alert);
        let title = line("message").or_else(|| id("alias"));
        let severity_raw = line("priority");
        let entity = line("entity");

        let mut facts = body.facts(self.name(), title.clone(), status);
        facts.alertname = title;
        facts.level = severity_raw.as_deref().and_then(level);
        facts.severity_raw = severity_raw;
        facts.message = json::text(alert, &["description"]).map(|t| build::cut(t, MAX_TEXT));
        facts.environment = tags.first(build::ENVIRONMENT).map(str::to_owned);
        facts.namespace = tags.first(build::NAMESPACE).map(str::to_owned);
        facts.service = tags.first(build::SERVICE).map(str::to_owned).or_else(|| entity.clone());
        facts.target = entity.or_else(|| tags.first(build::TARGET).map(str::to_owned));
        facts.issue_id = id("alias").or_else(|| id("alertId"));
        facts.started_at = created_at;
        if status == Status::Resolved {
            facts.ended_at = updated_at;
        }
        facts.labels = tags.list;
        facts.annotations = single::known([
            ("source", line("source")),
            ("note", line("note")),
            ("integration", single::line(&body.body, &["integrationName"])),
        ])
        .collect();
        let event_id = format!(
            "{}-{}-{}",
            id("alertId").or_else(|| id("alias")).unwrap_or_default(),
            action.to_ascii_lowercase(),
            updated_at.or(created_at).map_or(0, Time::micros),
        );
        let refs = single::references([
            ("alias", id("alias")),
            ("alert", id("alertId")),
            ("tiny", id("tinyId")),
            ("trace", single::line(&body.body, &["alertFlowContext", "traceId"])),
        ]);
        let mut told = single::alert(facts, identity, &event_id);
        told.refs = refs;
        body.told(told, Some(key))
    }
}

/// `P1` to `P5`, of which older versions sent the number alone.
fn level(priority: &str) -> Option<Level> {
    match priority.bytes().all(|b| b.is_ascii_digit()) {
        true => severity::level(&format!("P{priority}")),
        false => severity::level(priority),
    }
}

/// Milliseconds, or from 2001 on nanoseconds, whose 19 digits are more than a double holds.
fn time(value: &Value) -> Option<Time> {
    match value.as_i64() {
        Some(nanos) if nanos >= 1_000_000_000_000_000_000 => Some(Time::from_micros(nanos / 1_000)),
        _ => times::time(value),
    }
}

/// Tags, of which some are `name:value`, and the details the alert was made with.
fn tags(alert: &Value) -> Pairs {
    let mut pairs = Pairs::object(json::at(alert, &["details"]), MAX_LINE);
    let listed = json::at(alert, &["tags"]).and_then(Value::as_array);
    for tag in listed.into_iter().flatten().filter_map(Value::as_str) {
        let (name, value) = tag.split_once(':').unwrap_or(("tag", tag));
        pairs.push(name.trim(), value.trim(), MAX_LINE);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::tests::{normalise, only};

    fn tell(body: &Value) -> Normalised {
        normalise("opsgenie", &json!({}), body.to_string().as_bytes())
    }

    fn body(action: &str) -> Value {
        json!({"action": action, "alert": {
            "alertId": "0f3a", "alias": "db-1/full", "message": "Disk full", "priority": "P2",
            "createdAt": 1_763_617_422_123_u64, "updatedAt": 1_763_617_422_123_456_789_u64}})
    }

    fn key(told: &Normalised) -> String {
        match told {
            Normalised::Alerts { key: Some(key), .. } => key.key.clone(),
            other => panic!("no key: {other:?}"),
        }
    }

    #[test]
    fn only_create_and_close_change_a_state() {
        let status = |action: &str| only(tell(&body(action))).facts.status;
        assert_eq!(status("Create"), Status::Firing);
        assert_eq!(status("Close"), Status::Resolved);
        assert_eq!(status("Delete"), Status::Resolved);
        for action in ["Acknowledge", "UnAcknowledge", "AddNote", "Escalate", "Snooze", "New one"] {
            let Normalised::Recorded { reason } = tell(&body(action)) else { panic!("{action}") };
            assert!(reason.starts_with("action: "), "{reason}");
        }
    }

    #[test]
    fn nineteen_digits_keep_every_one_of_them() {
        let alert = only(tell(&body("Close")));
        assert_eq!(alert.status_at, "2025-11-20T05:43:42.123456Z".parse().ok());
        assert_eq!(alert.facts.started_at, "2025-11-20T05:43:42.123Z".parse().ok());
        assert!(alert.provider_event_id.ends_with("-close-1763617422123456"));
    }

    #[test]
    fn the_same_action_again_is_the_same_delivery_and_another_is_not() {
        let mut later = body("Create");
        later["alert"]["updatedAt"] = json!(1_763_617_422_123_456_790_u64);
        let first = key(&tell(&body("Create")));
        assert_eq!(first, key(&tell(&body("Create"))));
        assert_ne!(first, key(&tell(&body("Close"))));
        assert_ne!(first, key(&tell(&later)));
    }

    #[test]
    fn the_alias_outlives_the_alert() {
        let mut again = body("Create");
        again["alert"]["alertId"] = json!("77aa");
        assert_eq!(only(tell(&again)).identity, only(tell(&body("Create"))).identity);
        for name in ["alias", "alertId"] {
            again["alert"].as_object_mut().unwrap().remove(name);
        }
        assert_eq!(tell(&again), rejected("missing_alert_id"));
    }
}
