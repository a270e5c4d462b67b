//! PagerDuty Events API v2, as senders of PagerDuty speak it: they are pointed here instead, and
//! change nothing else (developer.pagerduty.com, "Events API v2").
//!
//! The credential stands in the body: `routing_key`. A `dedup_key` names one problem, of which the
//! sender tells that it fires (`trigger`) and that it is over (`resolve`), each by its own word
//! alone: the end says nothing else.

use schemas::{
    Alert, Status,
    record::{Auth, Delivery},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Credential, Normalised, Outgoing, Proof, Provider, Reading, Refused, Reply, Request, Secret,
    auth,
    build::{self, MAX_LINE, MAX_TEXT, Pairs},
    json::{self, at, text},
    severity, sign,
    single::{self, Single, rejected},
    times,
};

#[cfg(test)]
mod tests;

const MISSING: Refused = Refused { code: "token_missing", detail: "Missing routing_key" };
const INVALID: Refused = Refused { code: "token_invalid", detail: "Invalid routing_key" };

/// Links of one event that are kept.
const MAX_LINKS: usize = 8;

/// See the module.
pub struct PagerdutyEvents;

impl Provider for PagerdutyEvents {
    fn name(&self) -> &'static str {
        "pagerduty-events"
    }

    fn title(&self) -> &'static str {
        "PagerDuty Events"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/v2/enqueue"]
    }

    fn missing_secret_detail(&self) -> &'static str {
        "PagerDuty routing key (token), basic or bearer credentials missing in production \
         environment"
    }

    /// The routing key is a token; senders fill it in whatever it is worth, so that one which is
    /// none of the source's may still come with another credential.
    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let routing_key = routing_key(request.body);
        match auth::token(routing_key.as_deref().map(str::trim), credentials) {
            Ok(auth) => Ok(auth),
            Err(_) if request.shows_credential() => auth::authorization(request, credentials),
            Err(_) => Err(if routing_key.is_some() { INVALID } else { MISSING }),
        }
    }

    /// A token stands in the body; one that holds nothing else has it in the path.
    fn sign(&self, outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        match (secret, json::body(outgoing.body)) {
            (Secret::Token(token), Ok((Value::Object(mut body), _))) => {
                body.insert("routing_key".to_owned(), Value::from(token.as_str()));
                let body = Value::Object(body).to_string().into_bytes();
                Some(Proof { body: Some(body), ..Proof::default() })
            }
            _ => sign::shown(secret),
        }
    }

    /// As PagerDuty answers: senders read the key of what they told out of it.
    fn reply(&self, request: &Request<'_>) -> Reply {
        let body = json::body(request.body).map_or(Value::Null, |(body, _)| body);
        let Some(dedup_key) = dedup_key(&body, request.body) else { return Reply::Accepted };
        let body =
            json!({"status": "success", "message": "Event processed", "dedup_key": dedup_key});
        Reply::Stored { status: 202, body: body.to_string() }
    }

    /// A key is in one state; what ends it names no environment.
    fn spans_environments(&self) -> bool {
        true
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let mut single = match Single::read(delivery, reading) {
            Ok(single) => single,
            Err(outcome) => return outcome,
        };
        let key = dedup_key(&single.body, &delivery.raw);
        single.redact_field("routing_key");
        single.redact();
        let status = match text(&single.body, &["event_action"]).map(str::trim) {
            Some("trigger") => Status::Firing,
            Some("resolve") => Status::Resolved,
            // Somebody at the sender's side looks at it; it fires on.
            Some("acknowledge") => return single.recorded("event_action", "acknowledge"),
            Some(other) => return single.recorded("unknown_event_action", other),
            None => return rejected("missing_event_action"),
        };
        // Only a trigger may leave it to the receiver.
        let Some(key) = key else { return rejected("missing_dedup_key") };
        let (key_shown, _) = reading.redactor.text(&key);
        let alert = alert(&single, status, &build::bounded_id(key_shown.trim()), &key);
        single.told(alert, None)
    }
}

/// The credential, out of a body that nobody vouches for yet: of the rest, nothing is kept.
fn routing_key(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Event {
        routing_key: String,
    }
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    // A list of fields would be read as an object.
    let event: Event = serde_json::from_slice(body.starts_with(b"{").then_some(body)?).ok()?;
    Some(event.routing_key).filter(|key| !key.trim().is_empty())
}

/// What the event's problem is called: by the sender, or, for a trigger that calls it nothing, after
/// its bytes. So the reply and the fold find the same name, and so does the sender's next try.
fn dedup_key(body: &Value, raw: &[u8]) -> Option<String> {
    let stated = at(body, &["dedup_key"]).and_then(json::scalar);
    stated.or_else(|| {
        let trigger = text(body, &["event_action"])?.trim() == "trigger";
        trigger.then(|| const_hex::encode(&Sha256::digest(raw)[..16]))
    })
}

fn alert(single: &Single<'_>, status: Status, key_shown: &str, key: &str) -> Alert {
    let body = &single.body;
    let line = |name: &str| single.line(&["payload", name]);
    // The end of a problem says nothing of it but its key.
    let title = line("summary").unwrap_or_else(|| build::cut(key_shown, MAX_LINE));
    let details = at(body, &["payload", "custom_details"]);
    let told = match details {
        Some(Value::Object(_)) => Pairs::object(details, MAX_TEXT),
        _ => Pairs::default(),
    };
    let class = line("class");
    let severity_raw = line("severity");
    let stated_at = at(body, &["payload", "timestamp"]).and_then(times::time);
    let resolved = status == Status::Resolved;
    let links = links(body);
    let page = text(body, &["client_url"]).and_then(build::link);

    let mut facts = single.facts("pagerduty-events", Some(title), status);
    facts.level = severity_raw.as_deref().and_then(severity::level);
    facts.severity_raw = severity_raw;
    facts.alertname = class.clone().or_else(|| Some(facts.title.clone()));
    facts.message = single::long(body, &["payload", "custom_details"]);
    facts.environment = told.first(build::ENVIRONMENT).map(|word| build::cut(word, MAX_LINE));
    facts.service = line("component");
    facts.namespace = told.first(build::NAMESPACE).map(|word| build::cut(word, MAX_LINE));
    facts.target = line("source");
    facts.issue_id = Some(key_shown.to_owned());
    facts.url = page.or_else(|| links.first().map(|(_, href)| href.clone()));
    facts.started_at = stated_at.filter(|_| !resolved);
    facts.ended_at = stated_at.filter(|_| resolved);
    let labels = [
        ("source", line("source")),
        ("component", line("component")),
        ("group", line("group")),
        ("class", class),
        ("client", single.line(&["client"])),
    ];
    facts.labels = single::known(labels).collect();
    facts.annotations = told.list;
    facts.annotations.extend(links);

    let mut alert = single::alert(facts, vec![build::identity_part("dedup_key", key)], key_shown);
    // Arrival decides, as it does at PagerDuty: an end states no time of its own.
    alert.status_at = None;
    alert.refs = single::references([("dedup_key", Some(key_shown.to_owned()))]);
    if told.left_out > 0 {
        alert.notes.push(format!("{} details were too much to keep", told.left_out));
    }
    alert
}

/// The links beside an event, by their texts.
fn links(body: &Value) -> Vec<(String, String)> {
    let all = at(body, &["links"]).and_then(Value::as_array).into_iter().flatten();
    all.take(MAX_LINKS)
        .filter_map(|link| {
            let href = build::link(text(link, &["href"])?)?;
            let name = single::line(link, &["text"]).unwrap_or_else(|| "link".to_owned());
            Some((name, href))
        })
        .collect()
}
