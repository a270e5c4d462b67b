//! What the demo sends: a few stories as senders would tell them, one delivery at a time.

use schemas::Time;
use serde_json::{Value, json};

/// One delivery to be sent.
#[derive(Clone, Debug)]
pub struct Told {
    /// Registry name of the provider.
    pub provider: &'static str,
    /// Headers the sender would set, without its proof.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// One line for people: what this is.
    pub line: String,
}

/// The stories, told step by step; `step` counts from 0 and never ends.
///
/// `run` separates one run of the demo from the next, so that a second run opens problems of its
/// own instead of repeating the first one's.
pub fn tell(run: u32, step: u32, now: Time) -> Told {
    const CAST: &[fn(u32, u32, Time) -> Told] =
        &[checkout, crash_loop, search, postgres, checkout, crash_loop, web, latency];
    let turn = step as usize % CAST.len();
    CAST[turn](run, step / CAST.len() as u32, now)
}

/// A KeyError in production that is seen as error, alert and issue, is resolved, and comes back.
fn checkout(run: u32, round: u32, now: Time) -> Told {
    let issue = format!("41{run:05}1");
    let event = format!("{:032x}", (u128::from(run) << 64) + u128::from(round / 2) + 1);
    let title = "KeyError: 'shipping_address'";
    let culprit = "checkout.cart in total";
    match round % 8 {
        5 => issue_changed(&issue, "resolved", "resolved", title, culprit, now),
        7 => issue_changed(&issue, "unresolved", "regressed", title, culprit, now),
        n if n % 2 == 0 => sentry(
            "error",
            json!({
                "action": "created",
                "actor": {"type": "application", "id": "sentry", "name": "Sentry"},
                "data": {"error": event_body(&issue, &event, title, culprit, "error", now)},
            }),
            format!("error.created   {title}"),
        ),
        _ => sentry(
            "event_alert",
            json!({
                "action": "triggered",
                "actor": {"type": "application", "id": "sentry", "name": "Sentry"},
                "data": {
                    "event": event_body(&issue, &event, title, culprit, "error", now),
                    "triggered_rule": "Any error in checkout",
                },
            }),
            format!("event_alert     {title} (the same event, told again)"),
        ),
    }
}

/// A fatal error in search, once per run.
fn search(run: u32, round: u32, now: Time) -> Told {
    let issue = format!("42{run:05}{}", round % 3);
    let event = format!("{:032x}", (u128::from(run) << 64) + 5_000 + u128::from(round));
    let (title, level) = match round % 3 {
        0 => ("OutOfMemoryError: Java heap space", "fatal"),
        1 => ("TimeoutError: index shard 7 did not answer in 2000 ms", "error"),
        _ => ("SlowQueryWarning: 1800 ms for suggest", "warning"),
    };
    sentry(
        "error",
        json!({
            "action": "created",
            "actor": {"type": "application", "id": "sentry", "name": "Sentry"},
            "data": {"error": event_body(&issue, &event, title, "search.index in query", level, now)},
        }),
        format!("error.created   {title}"),
    )
}

/// A front-end error whose event carries a visitor's token: what the pages show of it is redacted.
fn web(run: u32, round: u32, now: Time) -> Told {
    let issue = format!("43{run:05}1");
    let event = format!("{:032x}", (u128::from(run) << 64) + 9_000 + u128::from(round));
    let title = "TypeError: Cannot read properties of undefined (reading 'price')";
    let mut body = event_body(&issue, &event, title, "ProductCard.render", "warning", now);
    body["request"] = json!({
        "url": "https://shop.example/product/17?session_token=tok-9f8e7d6c5b4a",
        "headers": [["Authorization", "Bearer demo-visitor-0123456789abcdef"]],
    });
    sentry(
        "error",
        json!({
            "action": "created",
            "actor": {"type": "application", "id": "sentry", "name": "Sentry"},
            "data": {"error": body},
        }),
        format!("error.created   {title}"),
    )
}

/// Two pods of one deployment that crash, repeat and recover as one Alertmanager group.
fn crash_loop(run: u32, round: u32, now: Time) -> Told {
    let since = now.plus_seconds(-90);
    let recovered = round % 6 == 5;
    let pods = ["payments-7c9d8f6b5-x2x7p", "payments-7c9d8f6b5-q9w4k"];
    let alerts = pods
        .iter()
        .map(|pod| {
            alert(
                "KubePodCrashLooping",
                &[
                    ("namespace", "payments"),
                    ("pod", pod),
                    ("severity", "critical"),
                    ("run", &run.to_string()),
                ],
                &format!("Pod {pod} is crash looping"),
                "The container restarted 6 times in 10 minutes.",
                since,
                recovered.then_some(now),
            )
        })
        .collect();
    group("KubePodCrashLooping", alerts, recovered)
}

/// A database that runs out of connections.
fn postgres(run: u32, round: u32, now: Time) -> Told {
    let resolved = round % 4 == 3;
    let one = alert(
        "PostgresTooManyConnections",
        &[
            ("instance", "pg-main-0:5432"),
            ("job", "postgres"),
            ("severity", "warning"),
            ("run", &run.to_string()),
        ],
        "Postgres pg-main-0 uses 95% of its connections",
        "189 of 200 connections are in use; new sessions will be refused soon.",
        now.plus_seconds(-240),
        resolved.then_some(now),
    );
    group("PostgresTooManyConnections", vec![one], resolved)
}

/// A slow API, with another instance each time: problems of one kind, told apart.
fn latency(run: u32, round: u32, now: Time) -> Told {
    let instance = format!("api-{}:8080", round % 4);
    let one = alert(
        "HighRequestLatency",
        &[
            ("instance", &instance),
            ("service", "api"),
            ("severity", "page"),
            ("run", &run.to_string()),
        ],
        &format!("p99 of {instance} is above 2 s"),
        "99th percentile over 5 minutes is 2.4 s, the objective is 800 ms.",
        now.plus_seconds(-300),
        None,
    );
    group("HighRequestLatency", vec![one], false)
}

fn sentry(resource: &str, body: Value, line: String) -> Told {
    Told {
        provider: "sentry",
        headers: vec![("sentry-hook-resource", resource.to_owned())],
        body: body.to_string().into_bytes(),
        line,
    }
}

fn issue_changed(
    issue: &str,
    action: &str,
    substatus: &str,
    title: &str,
    culprit: &str,
    now: Time,
) -> Told {
    let status = if action == "resolved" { "resolved" } else { "unresolved" };
    let body = json!({
        "action": action,
        "actor": {"type": "user", "id": 7, "name": "On-call"},
        "data": {"issue": {
            "id": issue, "shortId": format!("CHECKOUT-{}", &issue[5..]), "title": title,
            "culprit": culprit, "level": "error", "status": status, "substatus": substatus,
            "platform": "python", "count": "17", "userCount": 5,
            "project": {"id": "11", "slug": "checkout-api", "name": "checkout-api"},
            "metadata": {"type": "KeyError", "value": "'shipping_address'"},
            "firstSeen": now.plus_seconds(-3600), "lastSeen": now,
            "web_url": format!("https://sentry.example/issues/{issue}/"),
        }},
    });
    sentry("issue", body, format!("issue.{action:<9} {title}"))
}

fn event_body(
    issue: &str,
    event: &str,
    title: &str,
    culprit: &str,
    level: &str,
    now: Time,
) -> Value {
    let (kind, value) = title.split_once(": ").unwrap_or((title, ""));
    json!({
        "event_id": event, "issue_id": issue, "title": title, "culprit": culprit, "level": level,
        "project": 11, "environment": "production", "platform": "python", "release": "checkout@2.14.1",
        "datetime": now, "timestamp": now.micros() as f64 / 1e6,
        "web_url": format!("https://sentry.example/issues/{issue}/events/{event}/"),
        "tags": [["environment", "production"], ["server_name", "web-3"], ["level", level]],
        "exception": {"values": [{
            "type": kind, "value": value,
            "stacktrace": {"frames": [
                {"filename": "app/views.py", "function": "post", "lineno": 88, "context_line": "return total(cart)", "in_app": true},
                {"filename": "checkout/cart.py", "function": "total", "lineno": 31, "context_line": "cart['shipping_address']", "in_app": true},
            ]},
        }]},
    })
}

fn alert(
    name: &str,
    labels: &[(&str, &str)],
    summary: &str,
    description: &str,
    since: Time,
    until: Option<Time>,
) -> Value {
    let mut all: serde_json::Map<String, Value> =
        labels.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    all.insert("alertname".into(), json!(name));
    all.insert("environment".into(), json!("production"));
    json!({
        "status": if until.is_some() { "resolved" } else { "firing" },
        "labels": all,
        "annotations": {"summary": summary, "description": description},
        "startsAt": since,
        "endsAt": until.map_or_else(|| json!("0001-01-01T00:00:00Z"), |t| json!(t)),
        "generatorURL": format!("https://prometheus.example/graph?g0.expr={name}"),
    })
}

fn group(name: &str, alerts: Vec<Value>, resolved: bool) -> Told {
    let status = if resolved { "resolved" } else { "firing" };
    let line = format!("{status:<15} {name} ({} alerts)", alerts.len());
    let body = json!({
        "version": "4", "groupKey": format!("{{}}:{{alertname=\"{name}\"}}"), "truncatedAlerts": 0,
        "status": status, "receiver": "bellwether",
        "groupLabels": {"alertname": name}, "commonLabels": {"alertname": name},
        "commonAnnotations": {}, "externalURL": "https://alertmanager.example", "alerts": alerts,
    });
    Told {
        provider: "alertmanager",
        headers: vec![("user-agent", "Alertmanager/0.28.1".into())],
        body: body.to_string().into_bytes(),
        line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_story_is_json_and_a_second_run_tells_other_problems() {
        let now = Time::from_micros(1_763_617_422_000_000);
        for step in 0..100 {
            let told = tell(1, step, now);
            serde_json::from_slice::<Value>(&told.body).unwrap();
            assert_ne!(told.body, tell(2, step, now).body, "step {step}");
        }
    }
}
