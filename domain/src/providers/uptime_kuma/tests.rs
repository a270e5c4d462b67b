use serde_json::json;

use super::*;
use crate::providers::tests::{delivery, normalise, only, read};

fn tell(body: &Value) -> Normalised {
    normalise("uptime-kuma", &json!({}), body.to_string().as_bytes())
}

fn beat(status: u64) -> Value {
    json!({"heartbeat": {"status": status, "msg": "timeout", "time": "2025-11-20 05:43:42.250",
        "localDateTime": "2025-11-20 06:43:42", "timezoneOffset": "+01:00"},
        "monitor": {"id": 7, "name": "Shop", "url": "https://shop.example/"}, "msg": "[Shop] down"})
}

fn form(boundary: &str, parts: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (name, value) in parts {
        body += &format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
    }
    (body + &format!("--{boundary}--\r\n")).into_bytes()
}

fn of_form(content_type: &str, raw: &[u8]) -> Normalised {
    let mut delivery = delivery("uptime-kuma", &json!({}), raw);
    delivery.content_type = Some(content_type.to_owned());
    read(&delivery, None)
}

#[test]
fn a_form_says_what_the_json_in_its_field_says() {
    let json = beat(0).to_string();
    let expected = only(tell(&beat(0)));
    let raw = form("x-1", &[("name", "data"), ("data", &json)]);
    for content_type in [
        "multipart/form-data; boundary=x-1",
        "Multipart/Form-Data; charset=utf-8; Boundary=\"x-1\"",
    ] {
        assert_eq!(only(of_form(content_type, &raw)).facts, expected.facts, "{content_type}");
    }
    let without = form("x-1", &[("name", "data")]);
    for (content_type, raw) in [
        ("multipart/form-data; boundary=x-1", &without),
        ("multipart/form-data; boundary=x-2", &raw),
        ("multipart/form-data", &raw),
        ("text/plain; boundary=x-1", &raw),
        ("multipart/form-data; boundary=x-1", &raw[..raw.len() - 12].to_vec()),
    ] {
        let told = of_form(content_type, raw);
        assert!(matches!(told, Normalised::Rejected { .. }), "{content_type}: {told:?}");
    }
}

#[test]
fn each_state_is_what_it_means() {
    assert_eq!(only(tell(&beat(0))).facts.status, Status::Firing);
    assert_eq!(only(tell(&beat(1))).facts.status, Status::Resolved);
    assert_eq!(only(tell(&beat(3))).facts.status, Status::Suppressed);
    for (status, word) in [(2, "pending"), (9, "unknown")] {
        let reason = format!("status: {word}");
        assert_eq!(tell(&beat(status)), Normalised::Recorded { reason });
    }
    let mut text = beat(0);
    text["heartbeat"]["status"] = json!("1");
    assert_eq!(only(tell(&text)).facts.status, Status::Resolved);
}

#[test]
fn times_without_a_zone_are_local_with_an_offset_or_utc() {
    let alert = only(tell(&beat(0)));
    assert_eq!(alert.facts.started_at, "2025-11-20T05:43:42Z".parse().ok());
    let mut older = beat(0);
    older["heartbeat"].as_object_mut().unwrap().remove("timezoneOffset");
    assert_eq!(only(tell(&older)).facts.started_at, "2025-11-20T05:43:42.250Z".parse().ok());
}

#[test]
fn a_message_without_a_monitor_is_a_test_or_something_that_runs_out() {
    let notice = |text: &str| only(tell(&json!({"heartbeat": null, "monitor": null, "msg": text})));
    assert_eq!(notice("My hook Testing").stage, Stage::Test);
    let in_days = |days: u8| {
        notice(&format!("[Shop][https://shop.example] certificate shop will expire in {days} days"))
    };
    assert_eq!(in_days(7).stage, Stage::Received);
    assert_eq!(in_days(7).facts.level, Some(Level::Warning));
    assert_eq!(in_days(7).identity, in_days(6).identity);
    assert_ne!(in_days(7).identity, notice("[Blog] certificate b will expire in 7 days").identity);
}

#[test]
fn r51_nothing_that_a_check_logs_in_with_is_shown() {
    let mut body = beat(0);
    for (n, name) in SECRETS.iter().enumerate() {
        body["monitor"][*name] = json!(format!("planted-{n}"));
    }
    body["monitor"]["url"] = json!("https://user:hunter2@shop.example/x");
    let shown = format!("{:?}", tell(&body));
    assert!(!shown.contains("planted-"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn monitors_of_other_servers_are_others() {
    let mut delivery = delivery("uptime-kuma", &json!({}), beat(0).to_string().as_bytes());
    let here = only(read(&delivery, None)).identity;
    delivery.source = schemas::SourceId::new("elsewhere").unwrap();
    assert_ne!(only(read(&delivery, None)).identity, here);
}
