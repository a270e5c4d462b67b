//! Addresses, tokens and secrets stand in the configuration and nowhere else.

use std::{io, sync::Mutex};

use tests::receivers::{Fault, feishu, telegram};
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
    let api = telegram::Api::start().await;
    let echo = telegram::Api::start().await;
    let said = format!("no route to /bot{}/sendMessage", telegram::TOKEN);
    let answer = json!({ "ok": false, "error_code": 400, "description": said });
    echo.inbox.fail_next([Fault::Answer(400, answer)]);
    let slow = telegram::Api::start().await;
    slow.inbox.fail_next([Fault::Hang(PATIENCE)]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut office = Office::open(json!({
        "team": super::feishu(&bot.url, SECRET),
        "sign": super::feishu(&bot.url, "another-secret"),
        "chat": super::telegram(&api.url),
        "echo": super::telegram(&echo.url),
        "slow": with(super::telegram(&slow.url), "timeout_ms", json!(300)),
        "gone": super::telegram(&format!("http://{nobody}")),
    }))
    .await;
    office.fire("shop", 7, sample("sentry", SendKind::Fire)).await;
    let (task, controller) = office.deliver();
    bot.inbox.wait_for_taken(1, PATIENCE).await;
    let tried = async {
        loop {
            let jobs = office.jobs().await;
            let over = |target: &str| !matches!(jobs[target].0.as_str(), "pending" | "claimed");
            let all = ["team", "sign", "chat", "echo", "slow"].iter().all(|target| over(target));
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
        ("chat", "done"),
        ("echo", "parked"),
        ("gone", "pending"),
        ("sign", "parked"),
        ("slow", "unknown"),
        ("team", "done"),
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
    for secret in [telegram::TOKEN, key, feishu::TOKEN, SECRET, "another-secret"] {
        let hex = const_hex::encode(secret);
        assert!(!lines.contains(secret), "in a log line: {secret}");
        assert!(!tables.contains(secret) && !tables.contains(&hex), "in a table: {secret}");
        assert!(!log.contains(&hex), "in the log: {secret}");
    }
}
