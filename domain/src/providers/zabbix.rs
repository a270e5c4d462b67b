//! Zabbix's webhook media type. What it sends is whatever its parameters and script make, so there
//! is a ready-made template (docs/providers.md), and the names of other common ones are known too.
//!
//! The sender signs nothing: the template sets an `Authorization` header. A problem and its recovery
//! carry the same event id; the trigger makes it the same problem again.

use schemas::{
    Level, Status, Time,
    alert::Stage,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Normalised, Provider, Reading, Refused, Request, auth,
    build::{self, MAX_LINE, MAX_TEXT, Pairs, query},
    json,
    single::{self, Single, rejected},
    times,
};

// The names of a fact: the template's first, then those of other common ones.
const EVENT_ID: &[&str] = &["event_id", "eventid", "eventId"];
const TRIGGER_ID: &[&str] = &["trigger_id", "triggerid", "triggerId"];
const NAME: &[&str] = &["name", "trigger", "trigger_name", "event_name", "subject"];
const STATUS: &[&str] = &["status", "event_status", "trigger_status", "value", "event_value"];
const SEVERITY: &[&str] = &["severity", "trigger_severity", "event_severity", "nseverity"];
const HOST: &[&str] = &["host", "hostname", "host_name"];
const LINK: &[&str] = &["link", "url", "trigger_url"];
const MESSAGE: &[&str] = &["message", "description"];
const ITEM: &[&str] = &["item", "operational_data", "opdata"];
const STARTED_AT: &[&str] = &["started_at", "event_timestamp", "clock"];
const ENDED_AT: &[&str] = &["ended_at", "recovery_timestamp"];
const UPDATE: &[&str] = &["update_status", "event_update_status"];
const TAGS: &[&str] = &["tags", "event_tags"];

/// See the module.
pub struct Zabbix;

impl Provider for Zabbix {
    fn name(&self) -> &'static str {
        "zabbix"
    }

    fn title(&self) -> &'static str {
        "Zabbix"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent"]
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Zabbix basic, bearer or token credentials missing in production environment"
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

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let mut body = match Single::read(delivery, reading) {
            Ok(body) => body,
            Err(told) => return told,
        };
        let received = Words(&body.body);
        let link = received.first(LINK).unwrap_or_default();
        let event_id = received.first(EVENT_ID).or_else(|| linked(&link, "eventid"));
        let trigger_id = received.first(TRIGGER_ID).or_else(|| linked(&link, "triggerid"));
        let (name, host) = (received.first(NAME), received.first(HOST));
        // Another server numbers its triggers from 1 as well.
        let mut identity = vec![format!("source:{}", delivery.source)];
        match (&trigger_id, &name) {
            (Some(id), _) => identity.push(build::identity_part("trigger", id)),
            (None, Some(name)) => {
                identity.push(build::identity_part("host", host.as_deref().unwrap_or_default()));
                identity.push(build::identity_part("name", name));
            }
            (None, None) if received.is_unexpanded(NAME) => {
                identity.push("test".to_owned());
            }
            (None, None) => return rejected("missing_trigger"),
        }
        let word = received.first(STATUS);
        // Escalations repeat an event on purpose, retries do so within half a minute: what says the
        // same is known again for a while only.
        let update = received.first(UPDATE).unwrap_or_default();
        let key = event_id.as_ref().map(|id| {
            let parts =
                [delivery.source.as_str(), id, word.as_deref().unwrap_or_default(), &update];
            single::key(self.name(), &parts, false)
        });
        // "Test" of a media type sends the macros as they stand.
        let is_test =
            [NAME, EVENT_ID, TRIGGER_ID].iter().any(|names| received.is_unexpanded(names));
        body.redact();

        let mut notes = vec![];
        let status = match word.as_deref().map(str::to_ascii_uppercase).as_deref() {
            Some("PROBLEM" | "1" | "FIRING") => Status::Firing,
            Some("RESOLVED" | "OK" | "0") => Status::Resolved,
            Some(_) => {
                notes.push("the status is not known: taken as firing".to_owned());
                Status::Firing
            }
            None => {
                notes.push("no status: taken as firing".to_owned());
                Status::Firing
            }
        };
        let clean = Words(&body.body);
        let line = |names: &[&str]| clean.first(names).map(|t| build::cut(t.trim(), MAX_LINE));
        if line(UPDATE).is_some_and(|word| word == "1") && status == Status::Firing {
            return body.recorded("update", &line(&["update_action"]).unwrap_or_default());
        }
        let link = clean.first(LINK).unwrap_or_default();
        let event_id = clean.first(EVENT_ID).or_else(|| linked(&link, "eventid"));
        let trigger_id = clean.first(TRIGGER_ID).or_else(|| linked(&link, "triggerid"));
        let said = [clean.first(MESSAGE), clean.first(ITEM)];
        let said: Vec<String> = said.into_iter().flatten().collect();
        let severity_raw = line(SEVERITY);
        let tags = tags(&body.body);

        let title = line(NAME);
        let mut facts = body.facts(self.name(), title.clone(), status);
        facts.alertname = title;
        facts.level = severity_raw.as_deref().and_then(level);
        facts.severity_raw = severity_raw;
        facts.message = (!said.is_empty()).then(|| build::cut(&said.join("\n"), MAX_TEXT));
        facts.environment = tags.first(build::ENVIRONMENT).map(str::to_owned);
        facts.service = tags.first(build::SERVICE).map(str::to_owned);
        facts.namespace = tags.first(build::NAMESPACE).map(str::to_owned);
        facts.target = line(HOST);
        facts.issue_id = trigger_id.as_deref().map(build::bounded_id);
        facts.url = build::link(&link);
        facts.started_at = clean.time(STARTED_AT);
        if status == Status::Resolved {
            facts.ended_at = clean.time(ENDED_AT);
        }
        facts.labels = tags.list;
        facts.annotations = single::known([("host groups", line(&["host_groups"]))]).collect();
        let occurred = event_id.as_deref().or(trigger_id.as_deref()).unwrap_or("event");
        let word = if status == Status::Resolved { "resolved" } else { "problem" };
        let mut alert = single::alert(facts, identity, &format!("{occurred}-{word}"));
        alert.refs = single::references([("trigger", trigger_id), ("event", event_id)]);
        alert.notes = notes;
        if is_test {
            alert.stage = Stage::Test;
        }
        body.told(alert, key)
    }
}

/// A body of one level, in words.
struct Words<'a>(&'a Value);

impl Words<'_> {
    /// The first of `names` that says something. A macro that was not expanded says nothing.
    fn first(&self, names: &[&str]) -> Option<String> {
        let said = names.iter().filter_map(|name| json::scalar(self.0.get(*name)?));
        said.map(|text| text.trim().to_owned()).find(|text| !is_macro(text) && text != "*UNKNOWN*")
    }

    /// Whether one of `names` is a macro that was not expanded.
    fn is_unexpanded(&self, names: &[&str]) -> bool {
        let said = names.iter().filter_map(|name| json::scalar(self.0.get(*name)?));
        said.into_iter().any(|text| is_macro(text.trim()))
    }

    fn time(&self, names: &[&str]) -> Option<Time> {
        times::time(&Value::from(self.first(names)?))
    }
}

fn is_macro(text: &str) -> bool {
    let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| {
        name.contains('.')
            && name.bytes().all(|b| b.is_ascii_uppercase() || b".1234567890".contains(&b))
    })
}

/// An id in a link to an event's page.
fn linked(link: &str, name: &str) -> Option<String> {
    let id = query(link, name)?;
    id.bytes().all(|b| b.is_ascii_digit()).then(|| id.to_owned())
}

/// Zabbix's six severities, by name or number; what is not classified stays so.
fn level(word: &str) -> Option<Level> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "disaster" | "5" => Level::Fatal,
        "high" | "4" | "average" | "3" => Level::Error,
        "warning" | "2" => Level::Warning,
        "information" | "1" => Level::Info,
        _ => return None,
    })
}

/// `{EVENT.TAGSJSON}`, as JSON or as a text that holds it, or `{EVENT.TAGS}`: `name:value, name`.
fn tags(body: &Value) -> Pairs {
    let mut pairs = Pairs::default();
    let Some(stated) = TAGS.iter().find_map(|name| json::at(body, &[name])) else { return pairs };
    let parsed = stated.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    match parsed.as_ref().unwrap_or(stated) {
        Value::Array(items) => {
            for item in items {
                if let Some(name) = json::text(item, &["tag"]) {
                    let value = item.get("value").map(build::pair_text).unwrap_or_default();
                    pairs.push(name, &value, MAX_LINE);
                }
            }
        }
        Value::String(text) if !is_macro(text.trim()) => {
            for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
                let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
                pairs.push(name.trim(), value.trim(), MAX_LINE);
            }
        }
        _ => {}
    }
    pairs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::tests::{normalise, only};

    fn tell(body: &Value) -> Normalised {
        normalise("zabbix", &json!({}), body.to_string().as_bytes())
    }

    fn problem() -> Value {
        json!({"event_id": "901", "trigger_id": "77", "name": "High load", "host": "db-1",
            "severity": "High", "status": "PROBLEM", "started_at": "1763617422"})
    }

    fn with(changes: Value) -> Value {
        let mut body = problem();
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        body
    }

    #[test]
    fn a_recovery_belongs_to_its_problem_whatever_its_event() {
        let recovery = with(json!({"status": "RESOLVED", "event_id": "955"}));
        let (fires, ends) = (only(tell(&problem())), only(tell(&recovery)));
        assert_eq!(fires.identity, ends.identity);
        assert_eq!((fires.facts.status, ends.facts.status), (Status::Firing, Status::Resolved));
        assert_ne!(fires.provider_event_id, ends.provider_event_id);
        for (word, status) in
            [("1", Status::Firing), ("0", Status::Resolved), ("OK", Status::Resolved)]
        {
            assert_eq!(only(tell(&with(json!({"status": word})))).facts.status, status, "{word}");
        }
    }

    #[test]
    fn macros_that_were_not_expanded_say_nothing_and_mark_a_test() {
        let test = only(tell(&json!({"event_id": "{EVENT.ID}", "trigger_id": "{TRIGGER.ID}",
            "name": "{EVENT.NAME}", "host": "{HOST.NAME}", "severity": "{EVENT.SEVERITY}",
            "status": "{EVENT.STATUS}", "tags": "{EVENT.TAGSJSON}"})));
        assert_eq!(test.stage, Stage::Test);
        assert_eq!((test.facts.target, test.facts.severity_raw), (None, None));
        assert!(test.facts.labels.is_empty());
        assert_ne!(only(tell(&problem())).stage, Stage::Test);
        assert_eq!(tell(&json!({"status": "PROBLEM"})), rejected("missing_trigger"));
    }

    #[test]
    fn severities_are_known_by_name_and_number() {
        let level = |word: &str| only(tell(&with(json!({"severity": word})))).facts.level;
        for (words, expected) in [
            ("Disaster 5", Some(Level::Fatal)),
            ("High 4 Average 3", Some(Level::Error)),
            ("Warning 2", Some(Level::Warning)),
            ("Information 1", Some(Level::Info)),
            ("0 Unclassified", None),
        ] {
            words.split(' ').for_each(|word| assert_eq!(level(word), expected, "{word}"));
        }
        assert_eq!(level("Not classified"), None);
    }

    #[test]
    fn an_update_by_a_person_is_no_alert() {
        let update = with(json!({"update_status": "1", "update_action": "acknowledged"}));
        let reason = "update: acknowledged".to_owned();
        assert_eq!(tell(&update), Normalised::Recorded { reason });
        assert!(matches!(tell(&with(json!({"update_status": "0"}))), Normalised::Alerts { .. }));
    }

    #[test]
    fn tags_come_as_json_as_text_of_it_or_as_a_list() {
        let labels = |tags: Value| only(tell(&with(json!({"tags": tags})))).facts.labels;
        let expected =
            vec![("env".to_owned(), "prod".to_owned()), ("slow".to_owned(), String::new())];
        let listed = json!([{"tag": "env", "value": "prod"}, {"tag": "slow", "value": ""}]);
        assert_eq!(labels(listed.clone()), expected);
        assert_eq!(labels(listed.to_string().into()), expected);
        assert_eq!(labels("env:prod, slow".into()), expected);
    }
}
