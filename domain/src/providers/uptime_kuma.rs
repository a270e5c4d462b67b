//! Uptime Kuma's webhook notifications (github.com/louislam/uptime-kuma,
//! `server/notification-providers/webhook.js`): JSON, or a form with the JSON in its field `data`.
//! A body made by a user's own template is read as any JSON is.
//!
//! The sender signs nothing and never tries again. The monitor it tells of may carry what the check
//! itself logs in with: all of that is taken out.

use schemas::{
    Level, Status, Time,
    alert::Stage,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Normalised, Provider, Reading, Refused, Request, auth,
    build::{self, MAX_LINE, MAX_TEXT, Pairs},
    custom, json,
    single::{self, Single},
    times,
};
use crate::redact::MARK;

mod form;
#[cfg(test)]
mod tests;

/// Fields of a monitor that are, or may hold, what the check logs in with (`server/model/monitor.js`,
/// `toJSON` with sensitive data).
const SECRETS: &[&str] = &[
    "headers",
    "body",
    "grpcBody",
    "grpcMetadata",
    "basic_auth_user",
    "basic_auth_pass",
    "bearer_token",
    "pushToken",
    "databaseConnectionString",
    "radiusUsername",
    "radiusPassword",
    "radiusSecret",
    "mqttUsername",
    "mqttPassword",
    "authWorkstation",
    "authDomain",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_token_url",
    "oauth_scopes",
    "tlsCa",
    "tlsCert",
    "tlsKey",
    "kafkaProducerSaslOptions",
    "rabbitmqUsername",
    "rabbitmqPassword",
    "snmpCommunityString",
    "snmp_v3_username",
];

/// See the module.
pub struct UptimeKuma;

impl Provider for UptimeKuma {
    fn name(&self) -> &'static str {
        "uptime-kuma"
    }

    fn title(&self) -> &'static str {
        "Uptime Kuma"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Uptime Kuma basic, bearer or token credentials missing in production environment"
    }

    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        auth::authorization(request, credentials)
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let raw = form::field(delivery, "data").unwrap_or(&delivery.raw);
        let mut body = match Single::parse(raw, delivery, reading) {
            Ok(body) => body,
            Err(told) => return told,
        };
        if body.body.get("heartbeat").is_none() && body.body.get("monitor").is_none() {
            return custom::generic(self.name(), body.body, None, delivery, reading);
        }
        let mut identity = vec![format!("source:{}", delivery.source)];
        // Another server numbers its monitors from 1 as well.
        let monitor_id = json::id(&body.body, &["monitor", "id"]);
        let named = json::text(&body.body, &["monitor", "name"]);
        match (&monitor_id, named) {
            (Some(id), _) => identity.push(build::identity_part("monitor", id)),
            (None, Some(name)) => identity.push(build::identity_part("name", name)),
            (None, None) => return self.notice(body, identity),
        }
        let stated = |name: &str| json::at(&body.body, &["heartbeat", name]).and_then(json::scalar);
        let key = stated("time").or_else(|| stated("localDateTime")).map(|time| {
            let status = stated("status").unwrap_or_default();
            let source = delivery.source.as_str();
            let monitor = identity.last().map(String::as_str).unwrap_or_default();
            single::key(self.name(), &[source, monitor, &status, &time], false)
        });
        redact_monitor(&mut body);
        let heartbeat = body.body.get("heartbeat").filter(|beat| beat.is_object());
        let status = match heartbeat.and_then(|beat| beat.get("status")).and_then(json::count) {
            Some(0) => Status::Firing,
            Some(1) => Status::Resolved,
            Some(2) => return body.recorded("status", "pending"),
            Some(3) => Status::Suppressed,
            Some(_) | None => return body.recorded("status", "unknown"),
        };
        let (monitor, empty) = (body.body.get("monitor"), Value::Null);
        let (monitor, heartbeat) = (monitor.unwrap_or(&empty), heartbeat.unwrap_or(&empty));
        let at = beat_time(heartbeat);
        let tags = tags(monitor);
        let title = single::line(monitor, &["name"]);
        let message = json::text(heartbeat, &["msg"]).or_else(|| json::text(&body.body, &["msg"]));
        let monitor_id = json::id(monitor, &["id"]).map(|id| build::bounded_id(&id));

        let mut facts = body.facts(self.name(), title.clone(), status);
        facts.alertname = title.clone();
        facts.message = message.map(|text| build::cut(text.trim(), MAX_TEXT));
        facts.environment = tags.first(build::ENVIRONMENT).map(str::to_owned);
        facts.service = tags.first(build::SERVICE).map(str::to_owned);
        facts.namespace = tags.first(build::NAMESPACE).map(str::to_owned);
        facts.target = single::line(monitor, &["hostname"]);
        facts.issue_id = monitor_id.clone();
        facts.url = json::text(monitor, &["url"]).and_then(build::link);
        match status {
            Status::Resolved => facts.ended_at = at,
            Status::Firing | Status::Suppressed => facts.started_at = at,
        }
        facts.labels = tags.list;
        facts.annotations = single::known([
            ("type", single::line(monitor, &["type"])),
            ("ping", single::scalar(heartbeat, &["ping"])),
            ("retries", single::scalar(heartbeat, &["retries"])),
        ])
        .collect();
        let known_as = monitor_id.as_deref().or(title.as_deref()).unwrap_or_default();
        let seconds = at.map_or(0, |at: Time| at.micros() / 1_000_000);
        let mut alert = single::alert(facts, identity, &format!("{known_as}-{seconds}"));
        alert.refs = single::references([("monitor", monitor_id)]);
        body.told(alert, key)
    }
}

impl UptimeKuma {
    /// A message without a monitor: the button "Test", or a certificate or domain that runs out.
    fn notice(&self, mut body: Single<'_>, mut identity: Vec<String>) -> Normalised {
        let Some(message) = json::text(&body.body, &["msg"]).map(str::to_owned) else {
            return single::rejected("missing_monitor");
        };
        // "[shop][https://…] certificate x will expire in 7 days": the days are told one by one.
        let (about, runs_out) = match message.split_once(" will expire") {
            Some((about, _)) => (about, true),
            None => (message.as_str(), false),
        };
        identity.push(build::identity_part("notice", about));
        body.redact();
        let title = single::line(&body.body, &["msg"]);
        let mut facts = body.facts(self.name(), title.clone(), Status::Firing);
        facts.alertname = title;
        facts.message = single::long(&body.body, &["msg"]);
        facts.level = runs_out.then_some(Level::Warning);
        let event_id = identity.last().cloned().unwrap_or_default();
        let mut alert = single::alert(facts, identity, &event_id);
        if !runs_out {
            alert.stage = Stage::Test;
        }
        body.told(alert, None)
    }
}

/// Takes the credentials out, and what a monitor's definition holds of them under names of its own.
fn redact_monitor(body: &mut Single<'_>) {
    if let Some(monitor) = body.body.get_mut("monitor").and_then(Value::as_object_mut) {
        for name in SECRETS {
            if let Some(value) = monitor.get_mut(*name)
                && !value.is_null()
            {
                *value = format!("{MARK}{name}]").into();
            }
        }
    }
    body.redact();
}

/// When it was: the server's local time with its offset, else what is UTC without saying so.
fn beat_time(heartbeat: &Value) -> Option<Time> {
    let local = || {
        let time = json::text(heartbeat, &["localDateTime"])?;
        let offset = json::text(heartbeat, &["timezoneOffset"])?;
        times::time(&Value::from(format!("{}{offset}", time.replacen(' ', "T", 1))))
    };
    local().or_else(|| json::at(heartbeat, &["time"]).and_then(times::time))
}

/// Tags of the monitor, of which some have a value.
fn tags(monitor: &Value) -> Pairs {
    let mut pairs = Pairs::default();
    let listed = json::at(monitor, &["tags"]).and_then(Value::as_array);
    for tag in listed.into_iter().flatten() {
        if let Some(name) = json::text(tag, &["name"]) {
            pairs.push(name, &tag.get("value").map(build::pair_text).unwrap_or_default(), MAX_LINE);
        }
    }
    pairs
}
