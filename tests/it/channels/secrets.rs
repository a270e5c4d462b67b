//! Addresses, tokens and secrets stand in the configuration and nowhere else.

use std::{io, sync::Mutex};

use base64::{Engine, engine::general_purpose::STANDARD};
use tests::receivers::{
    Fault, dingtalk, email, feishu, lark_app, pagerduty, slack, telegram, wecom_app, wecom_robot,
};
use tracing_subscriber::filter::LevelFilter;

use super::*;

/// Collects what is logged.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every row of every table as text; bytes as hexadecimal digits.
async fn tables(sql: &mut PgConnection) -> String {
    let names: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut *sql)
    .await
    .unwrap();
    let mut all = String::new();
    for name in names {
        let query = format!("select coalesce(string_agg(t::text, E'\\n'), '') from {name} t");
        let rows: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&mut *sql).await.unwrap();
        all.push_str(&rows);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_no_credential_is_in_a_log_line_a_table_or_the_log() {
    // Given everything that is logged, down to the libraries' own traces.
    let sink = Sink::default();
    let writer = sink.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .try_init()
        .unwrap();

    // And channels that succeed, are refused, repeat the address they were asked at, hang, and are
    // not there.
    let bot = feishu::Bot::start(Some(SECRET), None).await;
    // One channel signs with another secret.
    bot.inbox.may_refuse();
    let api = telegram::Api::start().await;
    let echo = telegram::Api::start().await;
    let said = format!("no route to /bot{}/sendMessage", telegram::TOKEN);
    let answer = json!({ "ok": false, "error_code": 400, "description": said });
    echo.inbox.fail_next([Fault::Answer(400, answer)]);
    let slow = telegram::Api::start().await;
    slow.inbox.fail_next([Fault::Hang(PATIENCE)]);
    // Those that grant tokens, which are asked for with a secret in the address or in the body, and
    // a server of mail that repeats the login it refuses.
    let wecom = wecom_app::Server::start().await;
    let lark = lark_app::Server::start().await;
    let mail = email::Server::start(email::Way::StartTls, true).await;
    let mail = |password: &str| {
        json!({
            "kind": "email", "host": "localhost", "port": mail.port, "user": email::USER,
            "password": password, "authority": email::AUTHORITY, "from": "alerts@example.com",
            "to": email::MAILBOXES, "allow_private": true,
        })
    };
    // And robots whose addresses carry their keys, one of which repeats it.
    let space = slack::Workspace::start().await;
    let ding = dingtalk::Robot::start(Some(SECRET), None).await;
    let robot = wecom_robot::Robot::start().await;
    let said = format!("no robot {}", wecom_robot::KEY);
    robot.inbox.fail_next([Fault::Answer(200, json!({ "errcode": 93000, "errmsg": said }))]);
    let service = pagerduty::Service::start().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut office = Office::open(json!({
        "team": super::feishu(&bot.url, SECRET),
        "sign": super::feishu(&bot.url, "another-secret"),
        "chat": super::telegram(&api.url),
        "echo": super::telegram(&echo.url),
        "slow": with(super::telegram(&slow.url), "timeout_ms", json!(300)),
        "gone": super::telegram(&format!("http://{nobody}")),
        "bot": super::slack::bot(&space),
        "hook": super::slack::hook(&space),
        "ding": super::robots::dingtalk(&ding, SECRET),
        "robot": super::robots::wecom(&robot),
        "pager": super::handed_on::pagerduty(&service),
        "wecom": super::wecom(&wecom.url),
        "wecom-other": with(super::wecom(&wecom.url), "corp_secret", json!("another-secret")),
        "lark": super::lark(&lark.url, "a"),
        "mail": mail(email::PASSWORD),
        "mail-other": mail("another-secret"),
    }))
    .await;
    office.fire("shop", 7, sample("sentry", SendKind::Fire)).await;
    let (task, controller) = office.deliver();
    bot.inbox.wait_for_taken(1, PATIENCE).await;
    let tried = async {
        loop {
            let jobs = office.jobs().await;
            let over = |target: &str| !matches!(jobs[target].0.as_str(), "pending" | "claimed");
            let all = jobs.keys().filter(|target| *target != "gone").all(|target| over(target));
            if all && !jobs["gone"].1.is_empty() {
                return jobs;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let jobs = timeout(PATIENCE, tried).await.unwrap();
    controller.stop();
    timeout(PATIENCE, task).await.unwrap().unwrap();
    let states: Vec<(&str, &str)> =
        jobs.iter().map(|(target, (state, _))| (target.as_str(), state.as_str())).collect();
    let expect = [
        ("bot", "done"),
        ("chat", "done"),
        ("ding", "done"),
        ("echo", "parked"),
        ("gone", "pending"),
        ("hook", "done"),
        ("lark", "done"),
        ("mail", "done"),
        ("mail-other", "parked"),
        ("pager", "done"),
        ("robot", "parked"),
        ("sign", "parked"),
        ("slow", "unknown"),
        ("team", "done"),
        ("wecom", "done"),
        ("wecom-other", "parked"),
    ];
    assert_eq!(states, expect, "{jobs:?}");
    assert_eq!(jobs["echo"].1, "400: no route to /bot…/sendMessage");

    // Then no part of any credential is anywhere.
    let lines = String::from_utf8_lossy(&sink.0.lock().unwrap()).into_owned();
    assert!(lines.contains("消息发送成功") && lines.contains("消息发送失败"), "{lines}");
    let tables = tables(&mut office.sql).await;
    assert!(tables.contains("no route to"), "{tables}");
    let log = const_hex::encode(office.frames().await.concat());
    let key = telegram::TOKEN.split_once(':').unwrap().1;
    let granted = [wecom.tokens.granted(), lark.tokens.granted()].concat();
    assert_eq!(granted.len(), 2);
    let login = |password: &str| STANDARD.encode(format!("\0{}\0{password}", email::USER));
    let logins = [login(email::PASSWORD), login("another-secret")];
    let known = [
        telegram::TOKEN,
        key,
        feishu::TOKEN,
        SECRET,
        "another-secret",
        wecom_app::SECRET,
        lark_app::SECRET,
        email::PASSWORD,
        slack::TOKEN,
        slack::HOOK,
        dingtalk::TOKEN,
        wecom_robot::KEY,
        pagerduty::KEY,
    ];
    for secret in known.into_iter().chain(granted.iter().chain(&logins).map(String::as_str)) {
        let hex = const_hex::encode(secret);
        assert!(!lines.contains(secret), "in a log line: {secret}");
        assert!(!tables.contains(secret) && !tables.contains(&hex), "in a table: {secret}");
        assert!(!log.contains(&hex), "in the log: {secret}");
    }
}
