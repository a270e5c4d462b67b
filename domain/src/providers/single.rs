//! Bodies that hold one alert: what the normalisation of their providers begins and ends with.

use schemas::{
    Alert, Facts, SourceId, Status, Time,
    alert::{LogCorrelation, SourceRefs, Stage},
    record::Delivery,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    DeliveryKey, Normalised, Reading,
    build::{self, MAX_LINE, MAX_TEXT},
    json,
};
use crate::redact::Redactor;

/// A body, at first as received: who an alert is, and which delivery it came in, must not change
/// with redaction, so both are read before [`Single::redact`].
pub(super) struct Single<'a> {
    pub body: Value,
    note: Option<String>,
    replaced: u32,
    redactor: &'a Redactor,
    source: &'a SourceId,
}

impl<'a> Single<'a> {
    /// The delivery's body, which has to be a JSON object.
    pub fn read(delivery: &'a Delivery, reading: &Reading<'a>) -> Result<Self, Normalised> {
        Self::parse(&delivery.raw, delivery, reading)
    }

    /// `raw`, which is the delivery's body or was inside it.
    pub fn parse(
        raw: &[u8],
        delivery: &'a Delivery,
        reading: &Reading<'a>,
    ) -> Result<Self, Normalised> {
        let (body, note) = json::body(raw).map_err(|reason| Normalised::Rejected { reason })?;
        if !body.is_object() {
            return Err(rejected("not_an_object"));
        }
        let (redactor, source) = (reading.redactor, &delivery.source);
        Ok(Self { body, note, replaced: 0, redactor, source })
    }

    /// Takes the credentials out.
    pub fn redact(&mut self) {
        self.replaced += self.redactor.value(&mut self.body);
    }

    /// Takes out what only this provider knows to be a credential.
    pub fn redact_field(&mut self, name: &str) {
        if let Some(value) = self.body.get_mut(name)
            && !value.is_null()
        {
            *value = format!("{}{name}]", crate::redact::MARK).into();
            self.replaced += 1;
        }
    }

    /// One line of text at `path`.
    pub fn line(&self, path: &[&str]) -> Option<String> {
        line(&self.body, path)
    }

    /// Facts of which only this is known.
    pub fn facts(&self, provider: &str, title: Option<String>, status: Status) -> Facts {
        let title = title.unwrap_or_else(|| "unnamed alert".to_owned());
        Facts::new(provider, self.source.clone(), title, status)
    }

    /// The only alert of this body.
    pub fn told(self, mut alert: Alert, key: Option<DeliveryKey>) -> Normalised {
        let facts = &alert.facts;
        let headline = [Some(facts.title.as_str()), facts.message.as_deref()];
        alert.content = build::content(&self.body, &headline, self.redactor, self.replaced);
        alert.notes.extend(self.note);
        Normalised::Alerts { alerts: vec![alert], key }
    }

    /// Understood, and no alert; `word` is the sender's.
    pub fn recorded(&self, reason: &str, word: &str) -> Normalised {
        let word = self.redactor.text(&plain(word)).0.into_owned();
        Normalised::Recorded { reason: format!("{reason}: {word}") }
    }
}

/// Not the provider's payload.
pub(super) fn rejected(reason: &str) -> Normalised {
    Normalised::Rejected { reason: reason.to_owned() }
}

/// A sender's word, reduced to what words of protocols are made of.
fn plain(word: &str) -> String {
    let known = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
    word.chars().filter(known).take(64).collect::<String>().to_ascii_lowercase()
}

/// One line of text at `path`.
pub(super) fn line(value: &Value, path: &[&str]) -> Option<String> {
    json::text(value, path).map(|text| build::cut(text.trim(), MAX_LINE))
}

/// Longer text at `path`.
pub(super) fn long(value: &Value, path: &[&str]) -> Option<String> {
    json::text(value, path).map(|text| build::cut(text.trim(), MAX_TEXT))
}

/// A text, number or truth value at `path`, in one line.
pub(super) fn scalar(value: &Value, path: &[&str]) -> Option<String> {
    let word = json::at(value, path).and_then(json::scalar)?;
    Some(build::cut(word.trim(), MAX_LINE))
}

/// What leads to the sender's own side, `name:id`, of those that are known.
pub(super) fn references<const N: usize>(known: [(&str, Option<String>); N]) -> SourceRefs {
    let known = known.into_iter().filter_map(|(name, id)| Some((name, id?)));
    let alert = known.map(|(name, id)| build::bounded_id(&format!("{name}:{id}"))).collect();
    SourceRefs { alert, ..SourceRefs::default() }
}

/// Annotations or labels of those that are known.
pub(super) fn known<const N: usize>(
    pairs: [(&str, Option<String>); N],
) -> impl Iterator<Item = (String, String)> {
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))
}

/// A delivery key of parts of a body: hashed, for nobody redacted them.
pub(super) fn key(provider: &str, parts: &[&str], stable: bool) -> DeliveryKey {
    let hash = const_hex::encode(Sha256::digest(parts.join("\0").as_bytes()));
    DeliveryKey { key: format!("{provider}:{hash}"), stable }
}

/// A delivery key out of a header of that name, where it looks like one.
pub(super) fn key_header(delivery: &Delivery, name: &str) -> Option<DeliveryKey> {
    let sent = delivery.header(name)?.trim();
    let usable = (8..=128).contains(&sent.len()) && sent.bytes().all(|b| b.is_ascii_graphic());
    usable.then(|| DeliveryKey { key: format!("{name}:{sent}"), stable: true })
}

/// An alert with these facts, and nothing beside them.
pub(super) fn alert(facts: Facts, identity: Vec<String>, event_id: &str) -> Alert {
    let at: Option<Time> = match facts.status {
        Status::Resolved => facts.ended_at,
        Status::Firing | Status::Suppressed => facts.started_at,
    };
    Alert {
        stage: match facts.status {
            Status::Resolved => Stage::Resolved,
            Status::Firing | Status::Suppressed => Stage::Received,
        },
        provider_event_id: build::bounded_id(event_id),
        provider_ts: at,
        status_at: at,
        identity,
        occurrence: None,
        refs: SourceRefs::default(),
        correlation: LogCorrelation::default(),
        content: build::no_content(),
        notes: vec![],
        facts,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::tests::{normalise, only};

    /// An object with far more than can be kept.
    fn many(text: &str) -> Value {
        (0..400)
            .map(|n| (format!("name{n}"), json!(text)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    #[test]
    fn the_largest_alerts_fit_into_an_event() {
        let long = "界".repeat(4_000);
        let line = "界".repeat(400);
        let all = many(&"界".repeat(200));
        let ids = json!([format!("/subscriptions/{long}/resourceGroups/{long}/x")]);
        let condition = json!({"allOf": vec![json!({"metricName": long, "metricValue": long,
            "operator": long, "threshold": long,
            "dimensions": vec![json!({"name": line, "value": line}); 40]}); 40]});
        let tags: Vec<_> = (0..4000).map(|n| format!("tag{n}:{}", "界".repeat(90))).collect();
        let markdown = format!("[Monitor Status](https://{0}) [Related Logs](https://{0})", long);
        for (provider, body) in [
            (
                "azure-monitor",
                json!({"schemaId": "azureMonitorCommonAlertSchema", "data": {
                "essentials": {"alertId": long, "alertRule": long, "alertRuleId": long,
                    "severity": long, "signalType": long, "monitoringService": long,
                    "alertTargetIDs": ids, "configurationItems": [long], "originAlertId": long,
                    "description": long, "investigationLink": format!("https://{long}")},
                "alertContext": {"condition": condition, "labels": all, "properties": all,
                    "conditionType": long},
                "customProperties": all}}),
            ),
            (
                "azure-monitor",
                json!({"status": "Activated", "properties": all, "context": {
                "id": long, "name": long, "description": long, "severity": long,
                "condition": condition, "resourceId": long, "resourceName": long,
                "resourceType": long, "resourceGroupName": long, "subscriptionId": long,
                "resourceRegion": long, "conditionType": long}}),
            ),
            (
                "datadog",
                json!({"title": long, "id": long, "monitor_id": long, "scopes": long,
                "tags": tags.join(","), "body": format!("{markdown}\n{long}"), "severity": long,
                "alert_type": long, "alert_query": long, "org": {"name": long}, "hostname": long,
                "event_type": long, "url": format!("https://{long}")}),
            ),
            (
                "gcp-monitoring",
                json!({"version": long, "incident": {"incident_id": long,
                "state": "open", "policy_name": long, "condition_name": long, "summary": long,
                "severity": long, "scoping_project_id": long, "resource_name": long,
                "resource": {"type": long, "labels": all}, "metric": {"type": long, "labels": all},
                "metadata": {"user_labels": all, "system_labels": all}, "observed_value": long,
                "policy_user_labels": all, "documentation": {"content": long, "subject": long}}}),
            ),
            (
                "github",
                json!({"action": "completed", "workflow": {"name": long},
                "repository": {"id": long, "full_name": long, "name": long, "default_branch": long},
                "workflow_run": {"id": long, "workflow_id": long, "name": long,
                    "display_title": long, "head_branch": long, "head_sha": long, "event": long,
                    "conclusion": "failure", "actor": {"login": long}, "run_number": long}}),
            ),
            (
                "github",
                json!({"action": "created", "ref": long, "commit_oid": long,
                "repository": {"id": long, "full_name": long, "name": long, "default_branch": long},
                "alert": {"number": long, "state": "open", "tool": {"name": long},
                    "rule": {"id": long, "severity": long, "description": long},
                    "most_recent_instance": {"location": {"path": long}, "message": {"text": long}},
                    "dependency": {"package": {"name": long, "ecosystem": long}}}}),
            ),
            (
                "gitlab",
                json!({"object_kind": "pipeline", "user": {"username": long},
                "object_attributes": {"id": long, "iid": long, "name": long, "ref": long,
                    "status": "failed", "source": long, "sha": long},
                "project": {"id": long, "name": long, "path_with_namespace": long,
                    "default_branch": long, "web_url": format!("https://{long}")},
                "commit": {"message": long},
                "builds": vec![json!({"name": line, "status": "failed"}); 400]}),
            ),
            (
                "pagerduty-events",
                json!({"event_action": "trigger", "dedup_key": long,
                "client": long, "client_url": format!("https://{long}"),
                "links": vec![json!({"href": format!("https://{}", &long[..3000]), "text": line}); 400],
                "payload": {"summary": long, "source": long, "severity": long, "component": long,
                    "group": long, "class": long, "custom_details": all}}),
            ),
            (
                "pagerduty-webhook",
                json!({"event": {"id": long, "event_type": "incident.triggered",
                "data": {"id": long, "status": "triggered", "title": long, "urgency": long,
                    "incident_key": long, "number": long, "service": {"summary": long},
                    "priority": {"summary": long}, "escalation_policy": {"summary": long},
                    "teams": vec![json!({"summary": line}); 400],
                    "assignees": vec![json!({"summary": line}); 400]}}}),
            ),
        ] {
            let alert = only(normalise(provider, &json!({}), body.to_string().as_bytes()));
            let size = schemas::codec::encode(&alert).len();
            // Beside it stands what the fold adds, which is small.
            assert!(size < 250 * 1024, "{provider}: {size} bytes");
        }
    }

    #[test]
    fn words_of_senders_are_plain_in_reasons() {
        assert_eq!(plain("incident.acknowledged"), "incident.acknowledged");
        assert_eq!(plain("<b>Ünknown\u{0}\n event</b>"), "bnknowneventb");
        assert_eq!(plain(&"x".repeat(100)).len(), 64);
        let body = json!({"object_kind": "ghp_0123456789abcdefghijABCDEFGHIJ012345"}).to_string();
        let told = format!("{:?}", normalise("gitlab", &json!({}), body.as_bytes()));
        assert!(!told.contains("0123456789abcdefghij"), "{told}");
    }

    #[test]
    fn r23_bodies_that_are_none_are_rejected_by_name() {
        for provider in [
            "azure-monitor",
            "datadog",
            "gcp-monitoring",
            "github",
            "gitlab",
            "pagerduty-events",
            "pagerduty-webhook",
        ] {
            for (raw, reason) in [
                (&b""[..], "not_json"),
                (b"{", "not_json"),
                (b"\xff\xfe", "not_json"),
                (b"null", "not_an_object"),
                (b"[{}]", "not_an_object"),
                (b"\"text\"", "not_an_object"),
            ] {
                match normalise(provider, &json!({}), raw) {
                    Normalised::Rejected { reason: found } => {
                        assert!(found.starts_with(reason), "{provider}: {found}");
                    }
                    other => panic!("{provider} {}: {other:?}", raw.escape_ascii()),
                }
            }
        }
    }
}
