use serde_json::{Value, json};

use super::*;
use crate::{
    channels::tests::{notification, response},
    config::tests::target_of,
};

fn config() -> Value {
    json!({
        "kind": "email", "host": "smtp.example.com", "user": "bellwether", "password": "hunter2",
        "from": "Bellwether <alerts@example.com>", "to": ["ada@example.org", "Bob <bob@example.org>"],
    })
}

fn target(more: Value) -> Target {
    let mut config = config();
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    target_of(config).unwrap()
}

fn sent(n: &Notification) -> Mail {
    match Email.request(n, &target(json!({}))).unwrap() {
        Request::Mail(mail) => *mail,
        Request::Print { .. } | Request::Http { .. } => panic!("no mail"),
    }
}

/// The header's lines, unfolded, and the rest.
fn header(mail: &Mail) -> (Vec<String>, String) {
    let text = String::from_utf8(mail.content.clone()).unwrap();
    let (header, body) = text.split_once("\r\n\r\n").unwrap();
    let unfolded = header.replace("\r\n ", " ");
    (unfolded.split("\r\n").map(str::to_owned).collect(), body.to_owned())
}

fn field<'a>(header: &'a [String], name: &str) -> &'a str {
    let mut found = header.iter().filter_map(|line| line.strip_prefix(&format!("{name}: ")));
    let value = found.next().unwrap_or_else(|| panic!("no {name} in {header:?}"));
    assert_eq!(found.next(), None, "{name} stands twice");
    value
}

#[test]
fn a8_mails_of_an_incident_stand_together_and_each_has_an_id() {
    let fire = sent(&notification());
    let (lines, body) = header(&fire);
    assert_eq!(
        (fire.host.as_str(), fire.port, fire.security),
        ("smtp.example.com", 587, Security::StartTls)
    );
    assert_eq!(fire.from, "alerts@example.com");
    assert_eq!(fire.to, ["ada@example.org", "bob@example.org"]);
    assert_eq!(fire.login, Some(("bellwether".into(), "hunter2".into())));
    assert_eq!(fire.id, "<00000000000000000000000000000005.fire@example.com>");
    assert_eq!(field(&lines, "Message-ID"), fire.id);
    let thread = "<00000000000000000000000000000006.incident@example.com>";
    assert_eq!(field(&lines, "In-Reply-To"), thread);
    assert_eq!(field(&lines, "References"), thread);
    assert_eq!(field(&lines, "Auto-Submitted"), "auto-generated");
    assert_eq!(field(&lines, "Date"), "Tue, 14 Nov 2023 22:13:21 +0000");
    assert_eq!(field(&lines, "Subject"), "[INC-20260102-007] ERROR boom");
    assert_eq!(field(&lines, "MIME-Version"), "1.0");
    assert!(field(&lines, "Content-Type").starts_with("multipart/alternative;"), "{lines:?}");
    assert!(body.contains("Content-Type: text/plain") && body.contains("Content-Type: text/html"));
    // The same at every attempt but for its date; the next step has an id of its own.
    assert!(sent(&notification()) == fire);
    let over = sent(&Notification { kind: SendKind::Resolve, ..notification() });
    assert_ne!(over.id, fire.id);
    assert_eq!(field(&header(&over).0, "References"), thread);
}

#[test]
fn a6_nothing_in_an_alert_becomes_a_header_or_markup() {
    let mut n = notification();
    n.facts.title = "boom\r\nBcc: eve@evil.example\r\n\r\n<script>\u{202e}告警".to_owned();
    n.facts.url = Some("https://example.com/?a=\"><script>".to_owned());
    n.text = "<script>alert(1)</script> & \"x\"\r\n.\r\nQUIT\r\n界".to_owned();
    let mail = sent(&n);
    assert!(mail.content.is_ascii());
    let (lines, _) = header(&mail);
    assert!(lines.iter().all(|line| !line.starts_with("Bcc")), "{lines:?}");
    assert!(field(&lines, "Subject").contains("=?utf-8?b?"), "{lines:?}");
    assert!(subject(&n).ends_with("boom Bcc: eve@evil.example <script> 告警"), "{}", subject(&n));
    let html = html(&n);
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;alert(1)"), "{html}");
    // No line is longer than what servers take.
    n.text = "x".repeat(5_000);
    n.facts.title = "界".repeat(500);
    let mail = sent(&n);
    assert!(mail.content.split(|b| *b == b'\n').all(|line| line.len() <= 998));
    assert!(subject(&n).len() <= MAX_SUBJECT);
}

fn said(stage: Stage, code: u16, missed: &[(&str, u16)]) -> Verdict {
    let missed = missed.iter().map(|(to, code)| Missed {
        to: (*to).to_owned(),
        code: *code,
        text: "why".into(),
    });
    let said =
        Said { stage, code, text: "why".into(), id: "<1@x>".into(), missed: missed.collect() };
    Email.outcome(&response(200, None, &serde_json::to_string(&said).unwrap()))
}

#[test]
fn a7_what_each_answer_means() {
    assert_eq!(said(Stage::Taken, 250, &[]), Verdict::Delivered(Some("<1@x>".into())));
    let part = Verdict::DeliveredInPart {
        message: Some("<1@x>".into()),
        missed: "bob (550: why), eve (452: why)".into(),
    };
    assert_eq!(said(Stage::Taken, 250, &[("bob", 550), ("eve", 452)]), part);
    for stage in [Stage::Greeting, Stage::Login, Stage::Sender, Stage::Recipients, Stage::Content] {
        for code in [421, 450, 451, 454] {
            let reason = format!("{code}: why");
            let later = Verdict::Retry { after: None, pause_target: code == 421, reason };
            assert_eq!(said(stage, code, &[]), later);
        }
    }
    for (stage, code, named) in [
        (Stage::Greeting, 554, "554: why"),
        (Stage::Tls, 0, "security"),
        (Stage::Login, 535, "user and password"),
        (Stage::Login, 0, "security"),
        (Stage::Sender, 530, "user and password"),
        (Stage::Sender, 553, "from"),
        (Stage::Content, 550, "550: why"),
    ] {
        let Verdict::Refused(reason) = said(stage, code, &[]) else { panic!("{stage:?} {code}") };
        assert!(reason.contains(named), "{reason}");
    }
    let refused = Verdict::Refused("bob (550: why) (set the channel's to)".into());
    assert_eq!(said(Stage::Recipients, 550, &[("bob", 550)]), refused);
    for code in [552, 554] {
        assert_eq!(said(Stage::Content, code, &[]), Verdict::TryPlain(format!("{code}: why")));
    }
    assert!(matches!(Email.outcome(&response(200, None, "x")), Verdict::Ambiguous(_)));
}

#[test]
fn errors_name_key_problem_and_remedy() {
    let check = |change: &[(&str, Value)], expect: &str| {
        let mut config = config();
        for (key, value) in change {
            match value {
                Value::Null => drop(config.as_object_mut().unwrap().remove(*key)),
                value => config[*key] = value.clone(),
            }
        }
        let error = target_of(config).unwrap_err();
        assert!(error.contains(expect) && !error.contains("hunter2"), "{error}");
    };
    check(&[("host", json!("a/b"))], "channels.out.host: this is no name of a server; use");
    check(&[("host", json!("10.0.0.1"))], "channels.out.host: this is not a public address; set");
    check(&[("port", json!(0))], "channels.out.port: this is no port; use");
    check(&[("security", json!("ssl"))], "channels.out.security: there is no such word; use");
    check(&[("security", json!("plain"))], "security: a password is not sent in the clear; use");
    check(&[("password", Value::Null)], "password: there is a user without a password; set");
    check(&[("user", Value::Null)], "user: there is a password without a user; set");
    check(&[("authority", json!("x"))], "authority: this is no certificate; use");
    check(&[("from", json!("alerts"))], "from: this is no sender; use");
    check(&[("from", json!("a@b.c\r\nBcc: d@e.f"))], "from: this is no sender; use");
    check(&[("to", json!(["ada"]))], "to: one of these is no address; list");
    check(&[("to", json!(vec!["a@b.example"; 101]))], "to: these are too many; use");
    let open = [("security", json!("plain")), ("user", Value::Null), ("password", Value::Null)];
    let mut config = config();
    for (key, value) in open {
        if value.is_null() {
            config.as_object_mut().unwrap().remove(key);
        } else {
            config[key] = value;
        }
    }
    assert_eq!(security(&target_of(config).unwrap()), (Security::Plain, 25));
    assert_eq!(
        security(&target(json!({"security": "tls", "port": "2465"}))),
        (Security::Tls, 2_465)
    );
}
