//! What a question brings for its answer stands in the log's input and nowhere else (I8).

use futures_util::StreamExt;
use schemas::subject;
use tests::{GENERATION, fleet::Fleet};

/// Fails where `credential`, or the beginning of several, stands in a table, in an event, or in what
/// the fleet's first process said.
pub(super) async fn stands_nowhere_else(fleet: &Fleet, credential: &str) {
    let mut sql = fleet.world.sql().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select quote_ident(tablename) from pg_tables where schemaname = 'public'",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    assert!(tables.len() > 25, "{tables:?}");
    let hex = const_hex::encode(credential);
    for table in tables {
        let found = format!(
            "select count(*) from {table} as t
             where t::text like '%{credential}%' or t::text like '%{hex}%'"
        );
        let found: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(found)).fetch_one(&mut sql).await.unwrap();
        assert_eq!(found, 0, "{table} holds it");
    }
    let log = fleet.world.log().await;
    let (input, stream) = (
        subject::deliveries_stream(log.namespace()),
        subject::events_stream(log.namespace(), GENERATION),
    );
    // The search finds it where it is.
    let all = subject::deliveries_all(log.namespace());
    assert!(holds(&*log, input, all, credential).await, "it is not in the input");
    let all = subject::events_all(log.namespace(), GENERATION);
    assert!(!holds(&*log, stream, all, credential).await, "an event holds it");
    let said = fleet.world.dir.path().join("member-0.log");
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.len() > 100 && !said.contains(credential), "{said}");
}

/// Whether a message of the stream holds the text.
async fn holds(log: &dyn eventlog::Log, stream: String, filter: String, text: &str) -> bool {
    let last = log.info(&stream).await.unwrap().last_sequence;
    let read = eventlog::Read { stream, filters: vec![filter], from: 1 };
    let mut messages = log.read(read).await.unwrap();
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        if message.payload.windows(text.len()).any(|window| window == text.as_bytes()) {
            return true;
        }
        if message.sequence >= last {
            break;
        }
    }
    false
}
