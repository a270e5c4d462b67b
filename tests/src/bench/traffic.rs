//! What the generator sends: requests as senders make them, prepared byte for byte beforehand, each
//! with an id and a proof of its own.

use std::{num::NonZeroU16, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use schemas::{Lane, ProjectId};
use serde_json::{Value, json};

use crate::{
    fleet::{ALERTMANAGER_PASSWORD, SENTRY_SECRET, sign},
    load::post,
};

/// Projects, two a lane of the default four lanes.
pub const PROJECTS: usize = 8;
/// Problems the repeats of a run are spread over, per project.
pub const PROBLEMS: usize = 250;
/// How often each of them occurred before anything is measured: often enough that it recurs no
/// more than it did, by the built-in rules for escalation. What a problem costs once is no part of
/// what its repeats cost.
pub const OCCURRED: usize = 10;
/// One alert in this many is of a problem that was not there before: it opens an incident, with
/// its number, its triage call and its message.
pub const NEW_EVERY: usize = 1_000;
/// Alerts of one Alertmanager request.
pub const GROUP: usize = 10;

/// The projects: as many to each lane.
pub fn projects(lanes: NonZeroU16) -> Vec<ProjectId> {
    let mut found: Vec<ProjectId> = Vec::new();
    let each = PROJECTS.div_ceil(usize::from(lanes.get()));
    for lane in Lane::all(lanes) {
        let of_lane = (0..)
            .filter_map(|n| ProjectId::new(format!("team-{n}")).ok())
            .filter(|project| Lane::of(project, lanes) == lane);
        found.extend(of_lane.take(each));
    }
    found
}

/// The sources' section of the configuration: two a project, `sentry-<n>` and `alertmanager-<n>`.
pub fn sources(lanes: NonZeroU16) -> String {
    let mut text = String::new();
    for (n, project) in projects(lanes).iter().enumerate() {
        text.push_str(&format!(
            "[sources.sentry-{n}]\nprovider = \"sentry\"\nproject = \"{project}\"\n\
             secret = \"{SENTRY_SECRET}\"\n\
             [sources.alertmanager-{n}]\nprovider = \"alertmanager\"\nproject = \"{project}\"\n\
             basic = {{ user = \"alertmanager\", password = \"{ALERTMANAGER_PASSWORD}\" }}\n"
        ));
    }
    text
}

/// The `provider_event_id` of Sentry request number `n` of a run.
pub fn event_id(run: u32, n: u64) -> String {
    format!("{run:016x}{n:016x}")
}

/// The number that [`event_id`] was made of, if it was one of this run.
pub fn number(run: u32, event_id: &str) -> Option<u64> {
    event_id.strip_prefix(&format!("{run:016x}")).and_then(|n| u64::from_str_radix(n, 16).ok())
}

/// Sentry `error` webhooks of about 2 KB: one alert each, over all projects in turn.
pub fn sentry(run: u32, count: usize) -> Arc<Vec<Vec<u8>>> {
    let bodies = SentryBodies::default();
    prepared(count, move |n| {
        let body = bodies.body(problem(run, n / PROJECTS, n), &event_id(run, n as u64));
        let signature = sign(SENTRY_SECRET, &body);
        let headers = [
            ("content-type", "application/json"),
            ("sentry-hook-resource", "error"),
            ("sentry-hook-signature", signature.as_str()),
        ];
        post(&format!("/webhook/sentry/sentry-{}", n % PROJECTS), &headers, &body)
    })
}

/// Bodies of Sentry `error` webhooks.
pub struct SentryBodies(Template);

impl Default for SentryBodies {
    fn default() -> Self {
        Self(Template::new(&sentry_body(), &["@ISSUE@", "@EVENT@"]))
    }
}

impl SentryBodies {
    /// The body of one event of a problem.
    pub fn body(&self, problem: usize, event_id: &str) -> Vec<u8> {
        self.0.fill(&[&format!("{}", 1_000_000_000 + problem), event_id])
    }
}

/// Alertmanager webhooks of [`GROUP`] alerts each, over all projects in turn.
pub fn alertmanager(run: u32, count: usize) -> Arc<Vec<Vec<u8>>> {
    alertmanager_groups(run, count, GROUP)
}

/// Alertmanager webhooks of `group` alerts each, over all projects in turn.
pub fn alertmanager_groups(run: u32, count: usize, group: usize) -> Arc<Vec<Vec<u8>>> {
    let template = Template::new(&alertmanager_body(group), &["@POD@"]);
    let proof = STANDARD.encode(format!("alertmanager:{ALERTMANAGER_PASSWORD}"));
    let proof = format!("Basic {proof}");
    prepared(count, move |n| {
        let body = template.fill_pods(run, n, group);
        let headers = [("content-type", "application/json"), ("authorization", proof.as_str())];
        post(&format!("/webhook/alertmanager/alertmanager-{}", n % PROJECTS), &headers, &body)
    })
}

/// The same alerts as Prometheus tells an Alertmanager of them: `group` to a request.
pub fn told_to_alertmanager(run: u32, count: usize, group: usize) -> Arc<Vec<Vec<u8>>> {
    let template = Template::new(&alertmanager_body(group)["alerts"], &["@POD@"]);
    prepared(count, move |n| {
        let body = template.fill_pods(run, n, group);
        post("/api/v2/alerts", &[("content-type", "application/json")], &body)
    })
}

/// The problem of an alert, by its turn within its project: mostly one of those there are, now and
/// then a new one. The first ones of a run open the problems that the others repeat.
pub fn problem(run: u32, turn: usize, alert: usize) -> usize {
    if alert % NEW_EVERY == NEW_EVERY - 1 {
        return (run as usize + 1) * 10_000_000 + alert;
    }
    turn % PROBLEMS
}

/// How many requests of a run open every problem, and repeat it so often that it is escalated.
pub fn openers(alerts_each: usize) -> usize {
    (PROJECTS * PROBLEMS * OCCURRED).div_ceil(alerts_each)
}

/// Prepares requests on two threads.
fn prepared(count: usize, one: impl Fn(usize) -> Vec<u8> + Sync) -> Arc<Vec<Vec<u8>>> {
    let one = &one;
    let half = count / 2;
    std::thread::scope(|scope| {
        let rest = scope.spawn(move || (half..count).map(one).collect::<Vec<_>>());
        let mut all: Vec<Vec<u8>> = (0..half).map(one).collect();
        all.extend(rest.join().expect("a thread that prepares requests panicked"));
        Arc::new(all)
    })
}

/// A body with places to fill in; a word may stand in it several times.
struct Template {
    /// Text, and which value follows it.
    parts: Vec<(String, Option<usize>)>,
}

impl Template {
    /// Cuts the text at the words. With one word each place has a value of its own, in order; with
    /// several each word has one.
    fn new(body: &Value, words: &[&str]) -> Self {
        let mut rest = body.to_string();
        let mut parts = Vec::new();
        let mut places = 0;
        while let Some((word, at)) = words
            .iter()
            .enumerate()
            .filter_map(|(word, text)| rest.find(text).map(|at| (word, at)))
            .min_by_key(|(_, at)| *at)
        {
            let after = rest.split_off(at);
            let value = if words.len() == 1 { places } else { word };
            parts.push((rest, Some(value)));
            rest = after[words[word].len()..].to_owned();
            places += 1;
        }
        parts.push((rest, None));
        Self { parts }
    }

    /// The body of request number `n` of a run, about the pods of its `group` alerts.
    fn fill_pods(&self, run: u32, n: usize, group: usize) -> Vec<u8> {
        let pods: Vec<String> = (0..group)
            .map(|k| (n / PROJECTS * group + k, n * group + k))
            .map(|(turn, alert)| format!("checkout-{:09}", problem(run, turn, alert)))
            .collect();
        self.fill(&pods.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn fill(&self, values: &[&str]) -> Vec<u8> {
        let mut body = Vec::with_capacity(4096);
        for (text, value) in &self.parts {
            body.extend_from_slice(text.as_bytes());
            body.extend(value.iter().flat_map(|v| values[*v].as_bytes()));
        }
        body
    }
}

fn sentry_body() -> Value {
    let frame = |file: &str, function: &str, line: u32, own: bool| {
        json!({
            "filename": file, "abs_path": format!("/srv/app/{file}"), "function": function,
            "lineno": line, "context_line": "    total = sum(item.price for item in cart.items)",
            "in_app": own,
        })
    };
    json!({
        "action": "created",
        "actor": {"type": "application", "id": "sentry", "name": "Sentry"},
        "data": {"error": {
            "event_id": "@EVENT@", "issue_id": "@ISSUE@",
            "title": "KeyError: 'shipping_address'", "culprit": "checkout.cart in total",
            "level": "error", "project": 11, "environment": "production", "platform": "python",
            "release": "checkout@2.14.1", "datetime": "2026-01-05T09:30:22.000000Z",
            "web_url": "https://sentry.example/organizations/shop/issues/@ISSUE@/events/@EVENT@/",
            "message": "Order could not be totalled: the address of the customer is missing",
            "tags": [
                ["environment", "production"], ["server_name", "web-3"], ["level", "error"],
                ["browser", "Chrome 140.0"], ["url", "https://shop.example/checkout"],
                ["runtime", "CPython 3.13.1"], ["transaction", "/checkout/total"],
            ],
            "request": {
                "url": "https://shop.example/checkout", "method": "POST",
                "headers": [["User-Agent", "Mozilla/5.0"], ["Authorization", "Bearer not-a-secret-0123456789"]],
            },
            "exception": {"values": [{
                "type": "KeyError", "value": "'shipping_address'",
                "stacktrace": {"frames": [
                    frame("django/core/handlers/base.py", "_get_response", 197, false),
                    frame("app/views.py", "post", 88, true),
                    frame("checkout/cart.py", "total", 31, true),
                ]},
            }]},
        }},
    })
}

fn alertmanager_body(group: usize) -> Value {
    let alerts: Vec<Value> = (0..group)
        .map(|_| {
            json!({
                "status": "firing",
                "labels": {
                    "alertname": "KubePodCrashLooping", "namespace": "payments", "pod": "@POD@",
                    "severity": "critical", "environment": "production", "cluster": "eu-1",
                },
                "annotations": {
                    "summary": "A pod is crash looping",
                    "description": "The container restarted 6 times in 10 minutes.",
                },
                "startsAt": "2026-01-05T09:30:22Z", "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://prometheus.example/graph?g0.expr=KubePodCrashLooping",
            })
        })
        .collect();
    json!({
        "version": "4", "groupKey": "{}:{alertname=\"KubePodCrashLooping\"}",
        "truncatedAlerts": 0, "status": "firing", "receiver": "bellwether",
        "groupLabels": {"alertname": "KubePodCrashLooping"},
        "commonLabels": {"alertname": "KubePodCrashLooping"}, "commonAnnotations": {},
        "externalURL": "https://alertmanager.example", "alerts": alerts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_hold_json_with_ids_of_their_own() {
        let body = |request: &[u8]| -> Value {
            let end = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
            serde_json::from_slice(&request[end + 4..]).unwrap()
        };
        let sentry = sentry(7, 20);
        for (n, request) in sentry.iter().enumerate() {
            let id = body(request)["data"]["error"]["event_id"].as_str().unwrap().to_owned();
            assert_eq!(number(7, &id), Some(n as u64));
        }
        let length = body(&sentry[0]).to_string().len();
        assert!((1_500..2_600).contains(&length), "{length}");
        let pods: std::collections::BTreeSet<String> = body(&alertmanager(7, 1)[0])["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["labels"]["pod"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(pods.len(), GROUP);
        assert_eq!(body(&told_to_alertmanager(7, 1, 3)[0]).as_array().unwrap().len(), 3);
    }

    #[test]
    fn projects_fill_every_lane_alike() {
        let lanes = NonZeroU16::new(4).unwrap();
        let projects = projects(lanes);
        assert_eq!(projects.len(), PROJECTS);
        for lane in Lane::all(lanes) {
            assert_eq!(projects.iter().filter(|p| Lane::of(p, lanes) == lane).count(), 2);
        }
    }
}
