//! CloudEvents 1.0 over HTTP (github.com/cloudevents/spec, `cloudevents/bindings/http-protocol-binding.md`):
//! structured, in batches, or binary with the attributes in `ce-*` headers.
//!
//! Source and id together name an event, over all its tries. What an event is about is its sender's
//! own: facts are looked for in its data under well-known names, or where the source's field
//! mapping says.

use schemas::record::{Auth, Delivery};
use serde_json::{Map, Value};

use super::{
    Credential, Normalised, Provider, Reading, Refused, Request, Silence, auth, custom, json,
    single::{self, rejected},
};

/// The attributes that are taken out of headers, by the names of the headers.
const HEADERS: &[&str] =
    &["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject", "ce-time", "ce-dataschema"];

/// The attributes without which an event is none.
const REQUIRED: &[&str] = &["id", "source", "type"];

/// Events of one batch that are read; more come in more batches.
const MAX_EVENTS: usize = 10_000;

/// See the module.
pub struct CloudEvents;

impl Provider for CloudEvents {
    fn name(&self) -> &'static str {
        "cloudevents"
    }

    fn title(&self) -> &'static str {
        "CloudEvents"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[
            "user-agent",
            "ce-specversion",
            "ce-id",
            "ce-source",
            "ce-type",
            "ce-subject",
            "ce-time",
            "ce-dataschema",
        ]
    }

    fn missing_secret_detail(&self) -> &'static str {
        "CloudEvents basic, bearer or token credentials missing in production environment"
    }

    /// By the `Authorization` header, the token in the path, or the parameter `access_token`
    /// (CloudEvents, HTTP webhooks, 3.2).
    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        auth::in_url(request, &["access_token"], credentials)
    }

    /// Events tell what happened, and seldom that it is over.
    fn silence(&self, _alert: &schemas::Alert) -> Silence {
        Silence::Over
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        if let Some(event) = binary(delivery) {
            return match event {
                Ok((event, note)) => self.one(event, note, delivery, reading),
                Err(reason) => rejected(reason),
            };
        }
        match json::body(&delivery.raw) {
            Ok((Value::Array(events), note)) => self.batch(events, note, delivery, reading),
            Ok((event, note)) => self.one(event, note, delivery, reading),
            Err(reason) => Normalised::Rejected { reason },
        }
    }
}

impl CloudEvents {
    fn one(
        &self,
        event: Value,
        note: Option<String>,
        delivery: &Delivery,
        reading: &Reading<'_>,
    ) -> Normalised {
        match lacking(&event) {
            None => custom::generic(self.name(), event, note, delivery, reading),
            Some(reason) => rejected(&reason),
        }
    }

    /// One alert of each event; what is no event is left out and counted.
    fn batch(
        &self,
        events: Vec<Value>,
        note: Option<String>,
        delivery: &Delivery,
        reading: &Reading<'_>,
    ) -> Normalised {
        if events.is_empty() {
            return Normalised::Recorded { reason: "empty_batch".to_owned() };
        }
        let total = events.len();
        let (mut alerts, mut names, mut bad) = (vec![], vec![], 0);
        for event in events.into_iter().take(MAX_EVENTS) {
            if lacking(&event).is_some() {
                bad += 1;
                continue;
            }
            for name in ["source", "id"] {
                names.push(json::text(&event, &[name]).unwrap_or_default().to_owned());
            }
            let told = custom::generic(self.name(), event, note.clone(), delivery, reading);
            if let Normalised::Alerts { alerts: one, .. } = told {
                alerts.extend(one);
            } else {
                bad += 1;
            }
        }
        if alerts.is_empty() {
            return Normalised::Rejected { reason: format!("no_events: {bad} are none") };
        }
        let mut notes = vec![];
        if bad > 0 {
            notes.push(format!("{bad} of {total} are no events"));
        }
        if total > MAX_EVENTS {
            notes.push(format!("{} events are over {MAX_EVENTS}", total - MAX_EVENTS));
        }
        alerts.iter_mut().for_each(|alert| alert.notes.extend(notes.iter().cloned()));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Normalised::Alerts { alerts, key: Some(single::key(self.name(), &names, true)) }
    }
}

/// What an event lacks, if anything.
fn lacking(event: &Value) -> Option<String> {
    if !event.is_object() {
        return Some("not_an_object".to_owned());
    }
    if !json::text(event, &["specversion"]).is_some_and(|version| version.starts_with("1.")) {
        return Some("unknown_specversion".to_owned());
    }
    let missing = REQUIRED.iter().find(|name| json::text(event, &[name]).is_none())?;
    Some(format!("missing_attribute: {missing}"))
}

/// The event whose attributes stand in headers, its body as `data`; `None` when none stand there.
fn binary(delivery: &Delivery) -> Option<Result<(Value, Option<String>), &'static str>> {
    delivery.header("ce-specversion")?;
    let mut event = Map::new();
    for header in HEADERS {
        if let Some(value) = delivery.header(header) {
            event.insert(header["ce-".len()..].to_owned(), decoded(value).into());
        }
    }
    let media_type = delivery.content_type.as_deref().unwrap_or("application/json");
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut note = None;
    if media_type.ends_with("json") && !delivery.raw.is_empty() {
        let Ok((data, said)) = json::body(&delivery.raw) else { return Some(Err("data_not_json")) };
        event.insert("data".to_owned(), data);
        note = said;
    } else if media_type.starts_with("text/") {
        let text = String::from_utf8_lossy(&delivery.raw);
        // Whole: what is cut before it is redacted may end in a part of a secret.
        event.insert("message".to_owned(), text.into_owned().into());
    }
    Some(Ok((Value::Object(event), note)))
}

/// A header's value: what cannot stand in one is percent-encoded (3.1.3.2).
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let byte =
            hex.and_then(|two| const_hex::decode(two).ok()).and_then(|one| one.first().copied());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::tests::{delivery, normalise, only, read, request};

    fn event(id: &str) -> Value {
        json!({"specversion": "1.0", "id": id, "source": "/shop/db", "type": "com.example.full",
            "time": "2025-11-20T05:43:42Z", "data": {"severity": "high", "status": "firing"}})
    }

    fn tell(body: &Value) -> Normalised {
        normalise("cloudevents", &json!({}), body.to_string().as_bytes())
    }

    fn key(told: Normalised) -> String {
        match told {
            Normalised::Alerts { key: Some(key), .. } if key.stable => key.key,
            other => panic!("no stable key: {other:?}"),
        }
    }

    #[test]
    fn the_same_event_is_the_same_in_headers_and_in_json() {
        let headers = json!({"ce-specversion": "1.0", "ce-id": "a-1", "ce-source": "/shop/db",
            "ce-type": "com.example.full", "ce-time": "2025-11-20T05:43:42Z",
            "content-type": "application/json"});
        let raw = event("a-1")["data"].to_string();
        let (binary, json) =
            (normalise("cloudevents", &headers, raw.as_bytes()), tell(&event("a-1")));
        assert_eq!(key(binary.clone()), key(json.clone()));
        let (binary, json) = (only(binary), only(json));
        assert_eq!((binary.identity, binary.facts), (json.identity, json.facts));
    }

    #[test]
    fn header_values_are_decoded_and_texts_are_messages() {
        let headers = json!({"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t",
            "ce-source": "/caf%C3%A9%20%zz"});
        let mut sent = delivery("cloudevents", &headers, "disk full".as_bytes());
        sent.content_type = Some("text/plain; charset=utf-8".to_owned());
        let alert = only(read(&sent, None));
        assert_eq!(alert.facts.label("source"), Some("/café %zz"));
        assert_eq!(alert.facts.message.as_deref(), Some("disk full"));
        sent.content_type = Some("application/json".to_owned());
        assert_eq!(read(&sent, None), rejected("data_not_json"));
    }

    #[test]
    fn a_batch_is_as_many_alerts_as_it_holds_events() {
        let batch = json!([event("a"), 7, event("b"), {"specversion": "1.0"}]);
        let Normalised::Alerts { alerts, .. } = tell(&batch) else { panic!() };
        assert_eq!(alerts.len(), 2);
        assert!(alerts[0].notes.contains(&"2 of 4 are no events".to_owned()));
        assert_eq!(key(tell(&batch)), key(tell(&batch)));
        assert_ne!(key(tell(&json!([event("a")]))), key(tell(&json!([event("b")]))));
        assert_eq!(tell(&json!([])), Normalised::Recorded { reason: "empty_batch".to_owned() });
        assert!(matches!(tell(&json!([1])), Normalised::Rejected { .. }));
    }

    #[test]
    fn what_lacks_a_required_attribute_is_no_event() {
        for name in REQUIRED {
            let mut body = event("a");
            body[*name] = json!("");
            assert_eq!(tell(&body), rejected(&format!("missing_attribute: {name}")));
        }
        let mut old = event("a");
        old["specversion"] = json!("0.3");
        assert_eq!(tell(&old), rejected("unknown_specversion"));
    }

    #[test]
    fn r11_the_access_token_may_stand_in_the_query() {
        let token = [Credential::Token { id: "current".into(), token: b"sesame".to_vec() }];
        let check = |query: &str, token_in_path: Option<&str>, expected: Result<(), &str>| {
            let mut asked = request(&[], b"{}");
            (asked.query, asked.token) = (query, token_in_path);
            let found = CloudEvents.authenticate(&asked, &token);
            assert_eq!(found.map(|_| ()).map_err(|refused| refused.code), expected, "{query}");
        };
        check("access_token=sesame", None, Ok(()));
        check("", Some("sesame"), Ok(()));
        check("access_token=sesamf", None, Err("token_invalid"));
        check("access_token=sesam", None, Err("token_invalid"));
        check("access_token=", None, Err("token_invalid"));
        check("token=sesame", None, Err("credentials_missing"));
    }
}
