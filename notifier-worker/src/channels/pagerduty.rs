//! PagerDuty's Events API v2: an event that opens, acknowledges or resolves PagerDuty's own incident
//! of ours (developer.pagerduty.com, "Send an Alert Event").
//!
//! Both sides mean the same incident by `dedup_key`, which is our incident's id. So a repeat changes
//! nothing, and every later message is a change of the first.
//!
//! An incident there has to end there. So what is no incident becomes none: a summary of an hour or a
//! day, and one of what is over, is a change event, which is shown beside the service and wakes nobody
//! ("Send a Change Event"). A storm is an incident from its first message to its end, and a bundle of
//! what fires is one. So is an update about what reappeared within the hour of a message a change event:
//! its incident there is over, and nobody is to be woken before the hour is (R43).

use reqwest::Url;
use schemas::{
    alert::Risk,
    event::IncidentState,
    job::{SendKind, Summary, SummaryReason},
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::{
    Channel, Form, Key, Need, Notification, Rate, Request, Response, Verdict, excerpt,
    http_verdict, text,
};
use crate::config::Target;

#[cfg(test)]
mod tests;

/// Where events of accounts outside the EU go.
const OFFICIAL: &str = "https://events.pagerduty.com";

/// Where events go below that: alerts, and changes.
const PATH: &str = "/v2/enqueue";
const CHANGE_PATH: &str = "/v2/change/enqueue";

/// The longest summary, in characters.
const MAX_SUMMARY: usize = 1_024;

/// The largest event is 512 KB: tried one after the other, with so many characters of each text,
/// until it fits.
const MAX_EVENT: usize = 500_000;
const TEXT_LIMITS: [usize; 2] = [8_000, 500];

/// How many labels, annotations and incidents of a summary are told of.
const MAX_ITEMS: usize = 50;

/// How many characters of a word are shown: names and values of labels, places.
const MAX_WORD: usize = 255;

/// POSTs events.
pub struct PagerDuty;

impl Channel for PagerDuty {
    fn kind(&self) -> &'static str {
        "pagerduty"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key {
                name: "routing_key",
                need: Need::Must,
                form: Form::Secret { what: "this is no integration key", fits: is_routing_key },
                remedy: "use the integration key, 32 letters and digits, of the service's \
                         integration \"Events API v2\"",
            },
            Key {
                name: "url",
                need: Need::May,
                form: Form::Address,
                remedy: "set it to https://events.eu.pagerduty.com for an account in the EU, or \
                         remove the key",
            },
        ]
    }

    fn can_edit(&self, _: &Target) -> bool {
        true
    }

    /// An event with the same key is a change of the incident. A change event has no key, and one that
    /// is shown twice wakes nobody.
    fn replaces(&self) -> bool {
        true
    }

    fn idempotent(&self) -> bool {
        true
    }

    /// About 120 a minute for each integration key, bursts included.
    fn rate(&self) -> Rate {
        Rate { per_minute: 100, burst: 20 }
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let action = action(n)?;
        for limit in TEXT_LIMITS {
            let event = event(n, action, target, Some(limit))?;
            if event.to_string().len() <= MAX_EVENT {
                return Ok(Request::post_json(address(target, action)?, &event));
            }
        }
        self.plain(n, target)
    }

    fn outcome(&self, response: &Response) -> Verdict {
        let reply: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let by_status = http_verdict(response);
        let errors: Vec<&str> =
            reply["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let message = reply["message"].as_str().unwrap_or_default();
        let said = excerpt(&[&[message], errors.as_slice()].concat().join("; "));
        let reason = format!("status {}: {said}", response.status);
        match (response.status, by_status) {
            (_, Verdict::Delivered(_)) if reply["status"] == "success" => {
                Verdict::Delivered(reply["dedup_key"].as_str().map(str::to_owned))
            }
            (status, Verdict::Delivered(_)) => {
                // A success that does not say so is none; the key makes a repeat harmless.
                let reason = format!("status {status}, but the body reports no success: {said}");
                Verdict::Retry { after: None, pause_target: false, reason }
            }
            (400 | 401 | 403 | 404, Verdict::Refused(_))
                if said.to_lowercase().contains("routing")
                    || said.to_lowercase().contains("key is invalid")
                    || response.status != 400 =>
            {
                Verdict::Refused(format!(
                    "{reason} (set the channel's routing_key to the integration key of a service's \
                     Events API v2, and url to the region of its account)"
                ))
            }
            (400 | 413, Verdict::Refused(_)) => Verdict::TryPlain(reason),
            (_, by_status) => by_status,
        }
    }

    /// The event with nothing that it need not have.
    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let action = action(n)?;
        let event = event(n, action, target, None)?;
        Ok(Request::post_json(address(target, action)?, &event))
    }
}

/// What becomes of PagerDuty's incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Trigger,
    Acknowledge,
    Resolve,
    /// There is none.
    Change,
}

fn action(n: &Notification) -> Result<Action, String> {
    Ok(match n.kind {
        SendKind::Fire | SendKind::Remind | SendKind::Test => Action::Trigger,
        SendKind::Summary if n.summary.as_ref().is_some_and(is_report) => Action::Change,
        SendKind::Summary => Action::Trigger,
        SendKind::Resolve => Action::Resolve,
        SendKind::Update => match n.standing.as_ref().map(|standing| standing.state) {
            Some(
                IncidentState::Acknowledged | IncidentState::Confirmed | IncidentState::HandedOff,
            ) => Action::Acknowledge,
            Some(
                IncidentState::Resolved
                | IncidentState::Suppressed
                | IncidentState::Expired
                | IncidentState::Superseded,
            ) => Action::Resolve,
            // It reappeared within the hour of a message whose end was told: a trigger would open a new
            // incident there, and the hour in which nobody is rung (R43) would ring.
            Some(IncidentState::Open) if folded(n) => Action::Change,
            Some(IncidentState::Open | IncidentState::Reopened) | None => Action::Trigger,
        },
        SendKind::Reply => return Err("PagerDuty has no chat to answer in".into()),
    })
}

/// Whether what reappeared goes on in this message.
fn folded(n: &Notification) -> bool {
    n.standing.as_ref().is_some_and(|standing| standing.folded > 0)
}

/// A summary of what nobody has to be woken for.
fn is_report(summary: &Summary) -> bool {
    match summary.reason {
        SummaryReason::Hourly | SummaryReason::Daily => true,
        // Of those that are not named nobody here knows where they stand.
        SummaryReason::Bundle => {
            summary.incidents <= summary.items.len() as u64
                && summary.items.iter().all(|item| item.state.is_over())
        }
        SummaryReason::Storm => false,
    }
}

/// The event; with details of which so many characters of each text are told, or with none.
fn event(
    n: &Notification,
    action: Action,
    target: &Target,
    limit: Option<usize>,
) -> Result<Value, String> {
    let key = target.secret("routing_key").ok_or("the channel has no routing_key")?;
    let mut event = json!({ "routing_key": key.expose_secret() });
    let word = match action {
        Action::Trigger => Some("trigger"),
        Action::Acknowledge => Some("acknowledge"),
        Action::Resolve => Some("resolve"),
        Action::Change => None,
    };
    if let Some(word) = word {
        event["event_action"] = json!(word);
        event["dedup_key"] = json!(n.incident);
        if action != Action::Trigger {
            return Ok(event);
        }
    }
    let facts = &n.facts;
    let place = [&facts.target, &facts.service, &facts.culprit, &facts.sender_project];
    let place = place.into_iter().flatten().find(|place| !place.trim().is_empty());
    let mut payload = json!({
        "summary": summary(n),
        "source": head(place.unwrap_or(&facts.provider), MAX_WORD),
    });
    if action == Action::Trigger {
        payload["severity"] = json!(severity(n));
    }
    if let Some(limit) = limit {
        payload["timestamp"] = json!(facts.started_at.unwrap_or(n.planned_at));
        payload["custom_details"] = details(n, limit);
        if action == Action::Trigger {
            for (name, word) in [
                ("component", &facts.service),
                ("group", &facts.namespace),
                ("class", &facts.alertname),
            ] {
                if let Some(word) = word {
                    payload[name] = json!(head(word, MAX_WORD));
                }
            }
            event["client"] = json!("Bellwether");
        }
        if let Some((url, label)) = text::link(n) {
            event["links"] = json!([{ "href": url.as_str(), "text": label }]);
        }
    }
    event["payload"] = payload;
    Ok(event)
}

/// One line that says what it is: the text's own headline for what is no incident.
fn summary(n: &Notification) -> String {
    let said = match n.kind {
        SendKind::Fire | SendKind::Remind | SendKind::Update | SendKind::Resolve => {
            let number = n.number.as_ref().map(|number| format!("[{number}] ")).unwrap_or_default();
            format!("{number}{}", n.facts.title)
        }
        SendKind::Summary | SendKind::Test | SendKind::Reply => {
            text::parts(&n.text).headline.to_owned()
        }
    };
    let line: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    // An event without a summary is refused.
    if line.is_empty() { "alert".to_owned() } else { head(&line, MAX_SUMMARY) }
}

/// PagerDuty's word for how bad it is. What is tried is never bad.
fn severity(n: &Notification) -> &'static str {
    match (n.kind, n.risk) {
        (SendKind::Test, _) | (_, Risk::Low) => "info",
        (_, Risk::Critical) => "critical",
        (_, Risk::High) => "error",
        (_, Risk::Medium) => "warning",
    }
}

fn details(n: &Notification, limit: usize) -> Value {
    let mut all = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.trim().is_empty()) {
            all.insert(name.to_owned(), json!(head(value, limit)));
        }
    };
    let facts = &n.facts;
    put("text", Some(&n.text));
    put("incident", n.number.as_deref());
    put("project", Some(n.project.as_str()));
    put("provider", Some(&facts.provider));
    put("environment", facts.environment.as_deref());
    put("risk", Some(n.risk.word()));
    put("message", facts.message.as_deref());
    put("culprit", facts.culprit.as_deref());
    if let Some(analysis) = &n.analysis {
        put("root_cause", Some(&analysis.root_cause));
        put("impact", Some(&analysis.impact));
        put("fix_suggestion", Some(&analysis.fix_suggestion));
        put("analyzed_by", Some(&analysis.analyzed_by));
    }
    for (name, pairs) in [("labels", &facts.labels), ("annotations", &facts.annotations)] {
        if !pairs.is_empty() {
            let pairs = pairs.iter().take(MAX_ITEMS);
            let pairs =
                pairs.map(|(name, value)| (head(name, MAX_WORD), json!(head(value, limit))));
            all.insert(name.to_owned(), Value::Object(pairs.collect()));
        }
    }
    if !n.tags.is_empty() {
        all.insert("tags".to_owned(), json!(n.tags));
    }
    if let Some(summary) = &n.summary {
        all.insert("incidents".to_owned(), incidents(summary));
    }
    Value::Object(all)
}

fn incidents(summary: &Summary) -> Value {
    let items = summary.items.iter().take(MAX_ITEMS);
    let items = items.map(|item| {
        json!({
            "incident": item.incident,
            "title": head(&item.title, MAX_WORD),
            "level": item.level,
            "environment": item.environment,
            "alerts": item.alerts,
        })
    });
    json!({ "total": summary.incidents, "alerts": summary.alerts, "first": items.collect::<Vec<_>>() })
}

fn head(text: &str, limit: usize) -> String {
    text::cut(text, limit, |_| 1).into_owned()
}

/// Below the configured host, or beside the configured address of alerts.
fn address(target: &Target, action: Action) -> Result<Url, String> {
    let base = target.address("url").map_or(OFFICIAL, Url::as_str).trim_end_matches('/');
    let base = base.strip_suffix(PATH).unwrap_or(base);
    let path = match action {
        Action::Trigger | Action::Acknowledge | Action::Resolve => PATH,
        Action::Change => CHANGE_PATH,
    };
    Url::parse(&format!("{base}{path}")).map_err(|_| "url makes no address".to_owned())
}

fn is_routing_key(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}
