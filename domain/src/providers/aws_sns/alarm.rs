//! What is published to a topic: a CloudWatch alarm, or anything else.

use schemas::{Alert, Level, Status, record::Delivery};
use serde_json::{Value, json};

use super::field;
use crate::providers::{
    DeliveryKey, Normalised, Reading,
    build::{self, MAX_LINE, MAX_TEXT, Pairs},
    custom,
    json::{self as read, text},
    single::{self, Single, rejected},
    times,
};

/// How an alarm is written among an alert's references.
const ALARM: &str = "alarm:";

/// The dimensions that say what an alarm is about, the most particular first.
const TARGET: &[&str] = &[
    "InstanceId",
    "DBInstanceIdentifier",
    "DBClusterIdentifier",
    "FunctionName",
    "QueueName",
    "TopicName",
    "TableName",
    "BucketName",
    "ServiceName",
    "ClusterName",
    "CacheClusterId",
    "DomainName",
    "LoadBalancer",
    "TargetGroup",
    "AutoScalingGroupName",
    "ApiName",
    "DistributionId",
];

/// Whether an alert was told by CloudWatch.
pub(super) fn told(alert: &Alert) -> bool {
    alert.refs.alert.iter().any(|reference| reference.starts_with(ALARM))
}

pub(super) fn normalise(
    provider: &'static str,
    delivery: &Delivery,
    reading: &Reading<'_>,
) -> Normalised {
    let (envelope, _) = match read::body(&delivery.raw) {
        Ok(parsed) => parsed,
        Err(reason) => return Normalised::Rejected { reason },
    };
    let recorded = |reason: &str| Normalised::Recorded { reason: reason.to_owned() };
    match field(&envelope, "Type") {
        Some("Notification") => {}
        Some("SubscriptionConfirmation") => return recorded("subscription_confirmation"),
        Some("UnsubscribeConfirmation") => return recorded("unsubscribe_confirmation"),
        Some(_) | None => return rejected("not_a_notification"),
    }
    let Some(message) = field(&envelope, "Message") else { return rejected("missing_message") };
    let key = field(&envelope, "MessageId")
        .map(|id| DeliveryKey { key: build::bounded_id(&format!("message:{id}")), stable: true });
    let alarm = Single::parse(message.as_bytes(), delivery, reading)
        .ok()
        .filter(|alarm| text(&alarm.body, &["AlarmName"]).is_some());
    match alarm.filter(|alarm| text(&alarm.body, &["NewStateValue"]).is_some()) {
        Some(alarm) => cloudwatch(provider, alarm, &envelope, key, reading),
        None => published(provider, message, &envelope, key, delivery, reading),
    }
}

fn cloudwatch(
    provider: &str,
    mut alarm: Single<'_>,
    envelope: &Value,
    key: Option<DeliveryKey>,
    reading: &Reading<'_>,
) -> Normalised {
    // Older alarms state no ARN, and the same alarm must stay the same when they begin to.
    let part = |name: &str| text(&alarm.body, &[name]).unwrap_or_default();
    let identity = vec![
        build::identity_part("account", part("AWSAccountId")),
        build::identity_part("region", part("Region")),
        build::identity_part("alarm", part("AlarmName")),
    ];
    alarm.redact();
    let body = &alarm.body;
    let line = |path: &[&str]| single::line(body, path);

    let word = line(&["NewStateValue"]).unwrap_or_default();
    let mut notes = vec![];
    let status = match word.as_str() {
        "OK" => Status::Resolved,
        "ALARM" => Status::Firing,
        other => {
            notes.push(format!("{other} is neither firing nor resolved: taken as a warning"));
            Status::Firing
        }
    };
    let changed_at = read::at(body, &["StateChangeTime"]).and_then(times::time);
    let message: Vec<&str> = ["NewStateReason", "AlarmDescription"]
        .iter()
        .filter_map(|name| text(body, &[name]))
        .collect();
    let message = (!message.is_empty()).then(|| build::cut(&message.join("\n"), MAX_TEXT));
    let dimensions = dimensions(body);
    let name = line(&["AlarmName"]);
    let arn = line(&["AlarmArn"]);
    let clean = |name: &str| field(envelope, name).map(|text| reading.redactor.text(text).0);
    let topic = clean("TopicArn").map(|topic| build::cut(&topic, MAX_LINE));
    let event_id = clean("MessageId").unwrap_or_default();

    let mut facts = alarm.facts(provider, name.clone(), status);
    facts.level = (word != "OK" && word != "ALARM").then_some(Level::Warning);
    facts.alertname = name.clone();
    facts.message = message;
    facts.service = line(&["Trigger", "Namespace"]);
    facts.target = dimensions
        .first(TARGET)
        .or_else(|| dimensions.list.first().map(|(_, value)| value.as_str()))
        .map(|target| build::cut(target, MAX_LINE));
    facts.environment =
        dimensions.first(&[&["Environment"], build::ENVIRONMENT].concat()).map(str::to_owned);
    facts.sender_project = line(&["AWSAccountId"]);
    facts.issue_id = arn.clone().or_else(|| name.clone()).map(|id| build::bounded_id(&id));
    match status {
        Status::Resolved => facts.ended_at = changed_at,
        Status::Firing | Status::Suppressed => facts.started_at = changed_at,
    }
    facts.labels = dimensions.list;
    facts.annotations = single::known([
        ("state", Some(word)),
        ("previous state", line(&["OldStateValue"])),
        ("region", line(&["Region"])),
        ("metric", line(&["Trigger", "MetricName"])),
        ("comparison", line(&["Trigger", "ComparisonOperator"])),
        ("threshold", single::scalar(body, &["Trigger", "Threshold"])),
        ("rule", line(&["AlarmRule"])),
    ])
    .collect();

    let mut alert = single::alert(facts, identity, &event_id);
    alert.refs = single::references([("alarm", name), ("arn", arn), ("topic", topic)]);
    alert.notes = notes;
    alarm.told(alert, key)
}

/// The dimensions of the alarm's metric: `name` and `value`, in capitals or not.
fn dimensions(body: &Value) -> Pairs {
    let mut pairs = Pairs::default();
    let listed = read::at(body, &["Trigger", "Dimensions"]).and_then(Value::as_array);
    for dimension in listed.into_iter().flatten() {
        let either = |a: &str, b: &str| text(dimension, &[a]).or_else(|| text(dimension, &[b]));
        if let (Some(name), Some(value)) = (either("name", "Name"), either("value", "Value")) {
            pairs.push(name, value, MAX_LINE);
        }
    }
    pairs
}

/// What somebody else published: JSON is read as any JSON is, a text as what it says.
fn published(
    provider: &'static str,
    message: &str,
    envelope: &Value,
    key: Option<DeliveryKey>,
    delivery: &Delivery,
    reading: &Reading<'_>,
) -> Normalised {
    let (mut body, note) = match read::body(message.as_bytes()) {
        Ok((body, note)) if body.is_object() => (body, note),
        Ok(_) | Err(_) => (json!({ "message": message }), None),
    };
    let titled = ["title", "alertname", "name"].iter().any(|name| text(&body, &[name]).is_some());
    if let Some(subject) =
        field(envelope, "Subject").filter(|_| !titled && reading.fields.is_none())
    {
        body["title"] = subject.into();
    }
    match custom::generic(provider, body, note, delivery, reading) {
        Normalised::Alerts { alerts, key: own } => Normalised::Alerts { alerts, key: key.or(own) },
        other => other,
    }
}
