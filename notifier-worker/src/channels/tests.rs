use schemas::{Level, SourceId, Status};
use uuid::Uuid;

use super::*;

pub(crate) fn notification() -> Notification {
    Notification {
        key: JobId(Uuid::from_u128(5)),
        kind: SendKind::Fire,
        attempted_at: Time::from_micros(1_700_000_001_900_000),
        planned_at: Time::from_micros(1_700_000_000_000_000),
        project: ProjectId::new("shop").unwrap(),
        incident: IncidentId(Uuid::from_u128(6)),
        number: Some("INC-20260102-007".into()),
        risk: Risk::High,
        facts: Facts {
            level: Some(Level::Error),
            ..Facts::new("sentry", SourceId::new("main").unwrap(), "boom", Status::Firing)
        },
        analysis: None,
        frequency: None,
        cause: None,
        standing: None,
        summary: None,
        reply: None,
        tags: Vec::new(),
        first: None,
        buttons: Vec::new(),
        text: "text".into(),
        zone: TimeZone::UTC,
        language: None,
        written: None,
    }
}

/// Address, headers and JSON body of a POST.
pub(crate) fn parts(request: Request) -> (String, Vec<(&'static str, String)>, serde_json::Value) {
    match request {
        Request::Http { url, headers, body, .. } => {
            (url.to_string(), headers, serde_json::from_slice(&body).unwrap())
        }
        Request::Print { .. } | Request::Mail(_) => panic!("not by HTTP"),
    }
}

pub(crate) fn response(status: u16, retry_after: Option<&str>, body: &str) -> Response {
    Response {
        status,
        retry_after: retry_after.map(str::to_owned),
        body: Bytes::copy_from_slice(body.as_bytes()),
        // Wed, 21 Oct 2015 07:28:00 GMT
        at: Time::from_micros(1_445_412_480_000_000),
    }
}

#[test]
fn kinds_are_distinct() {
    for (i, channel) in all().iter().enumerate() {
        assert!(all()[..i].iter().all(|other| other.kind() != channel.kind()));
        assert!(by_kind(channel.kind()).is_some());
    }
    assert!(by_kind("smoke-signal").is_none());
}

#[test]
fn a7_what_each_status_means() {
    for status in [200, 201, 202, 204] {
        assert_eq!(http_verdict(&response(status, None, "")), Verdict::Delivered(None));
    }
    for (status, pauses) in [
        (408, false),
        (425, false),
        (429, true),
        (500, false),
        (502, false),
        (503, true),
        (504, false),
    ] {
        let expect = Verdict::Retry {
            after: None,
            pause_target: pauses,
            reason: format!("status {status}"),
        };
        assert_eq!(http_verdict(&response(status, None, "")), expect);
    }
    for status in [301, 307, 400, 401, 403, 404, 410, 413, 422] {
        let verdict = http_verdict(&response(status, None, ""));
        assert!(matches!(verdict, Verdict::Refused(_)), "{status}: {verdict:?}");
    }
    assert!(matches!(http_verdict(&response(101, None, "")), Verdict::Ambiguous(_)));
}

#[test]
fn a7_retry_after_is_honoured_and_capped() {
    let seconds = Duration::from_secs;
    for (value, expect) in [
        ("0", Some(seconds(0))),
        ("7", Some(seconds(7))),
        (" 7 ", Some(seconds(7))),
        ("Wed, 21 Oct 2015 07:28:30 GMT", Some(seconds(30))),
        // Over already.
        ("Wed, 21 Oct 2015 07:00:00 GMT", Some(seconds(0))),
        ("Fri, 23 Oct 2015 07:28:00 GMT", Some(LONGEST_WAIT)),
        ("86400", Some(LONGEST_WAIT)),
        ("99999999999999999999999", Some(LONGEST_WAIT)),
        ("-1", None),
        ("soon", None),
        ("", None),
    ] {
        assert_eq!(retry_after(&response(429, Some(value), "")), expect, "{value:?}");
    }
}
