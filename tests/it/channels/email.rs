//! Mail: from a decision event to a mailbox, over every kind of way, and what the server may say.

use base64::{Engine, engine::general_purpose::STANDARD};
use tests::receivers::email::{AUTHORITY, FULL, Fault, PASSWORD, Server, USER, Way};

use super::*;

fn mail(server: &Server, security: &str) -> Value {
    json!({
        "kind": "email", "host": "localhost", "port": server.port, "security": security,
        "from": "Bellwether <alerts@example.com>", "to": ["ada@example.org", "Bob <bob@example.org>"],
        "allow_private": true, "timeout_ms": 3_000,
    })
}

fn logged_in(channel: Value) -> Value {
    let channel = with(with(channel, "user", json!(USER)), "password", json!(PASSWORD));
    with(channel, "authority", json!(AUTHORITY))
}

/// The one job of channel `mail`, performed; and what is said of it.
async fn performed(office: &mut Office, n: u16) -> SendResult {
    office.fire("shop", n, sample("sentry", SendKind::Fire)).await;
    let job = office.claim().await.remove("mail").unwrap();
    let result = office.perform(&job).await;
    sqlx::query("update job set state = 'done'").execute(&mut office.sql).await.unwrap();
    result
}

/// The text of a mail's part of that kind.
fn part(content: &str, kind: &str) -> String {
    let (_, rest) = content.split_once(&format!("Content-Type: {kind}")).unwrap();
    let (header, body) = rest.split_once("\r\n\r\n").unwrap();
    let (body, _) = body.split_once("\r\n--").unwrap_or((body, ""));
    if header.contains("base64") {
        let bytes = STANDARD.decode(body.replace("\r\n", "")).unwrap();
        return String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
    }
    let mut bytes = Vec::new();
    let mut rest = body.replace("=\r\n", "").into_bytes().into_iter();
    while let Some(byte) = rest.next() {
        if byte == b'=' && header.contains("quoted-printable") {
            let hex = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_the_mails_of_an_incident_stand_together_and_arrive_over_every_way() {
    let servers = [
        ("plain", Server::start(Way::Plain, false).await),
        ("starttls", Server::start(Way::StartTls, true).await),
        ("tls", Server::start(Way::Tls, true).await),
    ];
    let channels: Value = servers
        .iter()
        .map(|(security, server)| {
            let channel = mail(server, security);
            let channel = if *security == "plain" { channel } else { logged_in(channel) };
            ((*security).to_owned(), channel)
        })
        .collect();
    let mut office = Office::open(channels).await;
    let hostile = Facts {
        title: "boom\r\nBcc: eve@evil.example\r\n\r\n<script>".into(),
        message: Some(".\r\n.\r\nQUIT\r\n<script>alert(1)</script>".into()),
        ..sample("sentry", SendKind::Fire)
    };
    office.fire("shop", 7, hostile).await;
    office.resolve("shop", 7, sample("sentry", SendKind::Resolve)).await;
    office.deliver_all().await;
    for (security, server) in &servers {
        let taken = server.taken();
        let [fire, resolve] = &taken[..] else { panic!("{security}: {taken:#?}") };
        assert_eq!(fire.from, "alerts@example.com");
        assert_eq!(fire.to, ["ada@example.org", "bob@example.org"], "nobody else");
        assert_eq!(fire.field("References"), resolve.field("References"));
        assert_eq!(fire.field("In-Reply-To"), fire.field("References"));
        assert_ne!(fire.field("Message-ID"), resolve.field("Message-ID"));
        assert_eq!(fire.field("Auto-Submitted").as_deref(), Some("auto-generated"));
        assert_eq!(fire.field("Bcc"), None);
        let subject = fire.field("Subject").unwrap();
        assert!(subject.ends_with("boom Bcc: eve@evil.example <script>"), "{subject}");
        let text = part(&fire.content, "text/plain");
        assert!(text.contains("INC-20260102-007"), "{text}");
        let html = part(&fire.content, "text/html");
        assert!(html.contains("INC-20260102-007") && !html.contains("<script"), "{html}");
        let commands = server.heard();
        let encrypted = commands.iter().position(|command| command == "STARTTLS");
        let login = commands.iter().position(|command| command == "AUTH");
        match *security {
            "starttls" => assert!(encrypted < login, "{commands:?}"),
            "tls" => assert!(encrypted.is_none() && login.is_some(), "{commands:?}"),
            _ => assert!(encrypted.is_none() && login.is_none(), "{commands:?}"),
        }
    }
    for outcome in office.outcomes().await {
        let SendResult::Delivered(Some(id)) = outcome.result else { panic!("{outcome:?}") };
        assert!(id.starts_with('<') && id.ends_with("@example.com>"), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_each_recipient_has_its_own_answer() {
    let server = Server::start(Way::Plain, false).await;
    let to = |to: &[&str]| with(mail(&server, "plain"), "to", json!(to));
    let mut office = Office::open(json!({
        "some": to(&["ada@example.org", "nobody@example.org", FULL]),
        "none": to(&["nobody@example.org", "noone@example.org"]),
        "later": to(&["nobody@example.org", FULL]),
    }))
    .await;
    office.fire("shop", 7, sample("sentry", SendKind::Fire)).await;
    let jobs = office.claim().await;
    let reason = |performed: Performed| match performed {
        Performed::Finish { result, reason, .. } => {
            let result: SendResult = schemas::codec::decode("send result", &result).unwrap();
            (Some(result), reason)
        }
        Performed::Retry { reason, pause_target: false, .. } => (None, Some(reason)),
        Performed::Retry { reason, .. } => panic!("the whole target waits: {reason}"),
    };
    let (result, said) = reason(office.attempt(&jobs["some"]).await);
    assert!(matches!(result, Some(SendResult::Delivered(Some(_)))), "{result:?}");
    let said = said.unwrap();
    for part in ["not delivered to all: ", "nobody@example.org (550: ", "full@example.org (452: "] {
        assert!(said.contains(part), "{said}");
    }
    let (result, said) = reason(office.attempt(&jobs["none"]).await);
    let said = said.unwrap();
    assert!(matches!(result, Some(SendResult::Refused(_))), "{result:?}");
    assert!(
        said.contains("noone@example.org (550: ") && said.contains("the channel's to"),
        "{said}"
    );
    // Whoever may be reached later counts.
    let (result, said) = reason(office.attempt(&jobs["later"]).await);
    assert!(result.is_none() && said.as_ref().unwrap().contains("452"), "{result:?} {said:?}");
    let taken = server.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].to, ["ada@example.org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_what_the_server_refuses_is_waited_for_told_plainly_or_parked() {
    let server = Server::start(Way::Plain, false).await;
    let mut office = Office::open(json!({ "mail": mail(&server, "plain") })).await;
    let reply = |text: &str| Fault::Reply(text.to_owned());
    for (n, at) in ["HELLO", "MAIL", "DATA", "."].into_iter().enumerate() {
        server.fail_next([(at, reply("451 4.7.1 greylisted, come back"))]);
        office.fire("shop", n as u16 + 1, sample("sentry", SendKind::Fire)).await;
        let job = office.claim().await.remove("mail").unwrap();
        let performed = office.attempt(&job).await;
        let Performed::Retry { reason, .. } = performed else { panic!("{at}: {performed:?}") };
        assert!(reason.contains("451: 4.7.1 greylisted"), "{at}: {reason}");
        assert!(matches!(office.perform(&job).await, SendResult::Delivered(_)), "{at}");
        sqlx::query("update job set state = 'done'").execute(&mut office.sql).await.unwrap();
    }
    assert_eq!(server.taken().len(), 4);

    // Too large: once more without HTML.
    server.fail_next([(".", reply("552 5.3.4 message too big"))]);
    assert!(matches!(performed(&mut office, 10).await, SendResult::Delivered(_)));
    let plain = server.taken().pop().unwrap();
    assert!(plain.field("Content-Type").unwrap().starts_with("text/plain"), "{plain:?}");

    for (n, (at, text, named)) in [
        ("MAIL", "553 5.7.1 not your address", "from"),
        ("MAIL", "530 5.7.0 login first", "user and password"),
        (".", "550 5.7.1 spam", "spam"),
    ]
    .into_iter()
    .enumerate()
    {
        server.fail_next([(at, reply(text))]);
        let result = performed(&mut office, 20 + n as u16).await;
        let SendResult::Refused(reason) = result else { panic!("{at}: {result:?}") };
        assert!(reason.contains(&text[4..]) && reason.contains(named), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_after_the_last_dot_only_the_server_knows() {
    let server = Server::start(Way::Plain, false).await;
    let quick = with(mail(&server, "plain"), "timeout_ms", json!(1_000));
    let mut office = Office::open(json!({ "mail": quick })).await;
    // It was taken, and no word of it came.
    server.fail_next([(".", Fault::Hang(PATIENCE))]);
    assert_eq!(performed(&mut office, 1).await, SendResult::Unknown("timeout".into()));
    assert_eq!(server.taken().len(), 1);
    // Before, nothing can have been taken.
    for (n, fault) in [Fault::Hang(PATIENCE), Fault::Close].into_iter().enumerate() {
        server.fail_next([("DATA", fault)]);
        office.fire("shop", n as u16 + 2, sample("sentry", SendKind::Fire)).await;
        let job = office.claim().await.remove("mail").unwrap();
        let performed = office.attempt(&job).await;
        assert!(matches!(performed, Performed::Retry { .. }), "{performed:?}");
        sqlx::query("update job set state = 'done'").execute(&mut office.sql).await.unwrap();
    }
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_no_password_goes_to_whoever_is_not_proved_to_be_the_server() {
    let offered = Server::start(Way::StartTls, true).await;
    let stripped = Server::start(Way::Plain, false).await;
    let injected = Server::start(Way::StartTls, true).await;
    let channel = |server: &Server| logged_in(mail(server, "starttls"));
    let mut unknown = channel(&offered);
    unknown.as_object_mut().unwrap().remove("authority");
    let mut office = Office::open(json!({
        "unknown": unknown,
        "name": with(channel(&offered), "host", json!("127.0.0.1")),
        "stripped": channel(&stripped),
        "injected": channel(&injected),
        "login": with(channel(&offered), "password", json!("another-mail-password")),
        "inner": with(channel(&offered), "allow_private", json!(false)),
    }))
    .await;
    // A reply that somebody put behind the one to STARTTLS, in the clear.
    injected.fail_next([("STARTTLS", Fault::Inject("250 mail.of.these.tests".into()))]);
    office.fire("shop", 7, sample("sentry", SendKind::Fire)).await;
    let jobs = office.claim().await;
    for target in ["unknown", "name", "injected"] {
        let performed = office.attempt(&jobs[target]).await;
        let Performed::Retry { reason, .. } = performed else { panic!("{target}: {performed:?}") };
        assert!(!reason.contains("another-mail-password"), "{target}: {reason}");
    }
    for (target, named) in [
        ("stripped", "does not offer STARTTLS"),
        ("login", "535 (set the channel's user and password)"),
        ("inner", "the address is not public"),
    ] {
        let result = office.perform(&jobs[target]).await;
        let SendResult::Refused(reason) = result else { panic!("{target}: {result:?}") };
        assert!(reason.contains(named), "{target}: {reason}");
    }
    let heard = [offered.heard(), stripped.heard(), injected.heard()].concat();
    let logins = heard.iter().filter(|command| *command == "AUTH").count();
    assert_eq!(logins, 1, "{heard:?}");
    assert!(offered.taken().is_empty() && stripped.taken().is_empty());
}
