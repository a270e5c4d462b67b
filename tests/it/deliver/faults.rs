//! What is certain stays certain while the tables are away: a refusal that cannot be noted at once is
//! noted later, and what was refused is told after all. Only a lost lease makes it unknown.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use tests::{
    GENERATION,
    fleet::{Fleet, PATIENCE},
    receiver::{Fault, Receiver},
    receivers::{self, wecom_app},
    sends::fire,
};
use tokio::time::{Instant, sleep};

use super::*;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A notifier, and channel `once` to `receiver`, which is asked nothing twice.
async fn fleet_with(receiver: &Receiver) -> Fleet {
    let more = format!(
        "[channels.once]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = \"{}\"\n\
         allow_private = true\ntimeout_ms = 1500\nambiguous = \"park\"\n",
        receiver.url, receiver.secret
    );
    let mut fleet = Fleet::new(WORKER, &more).await;
    fleet.start("notifier-worker");
    fleet
}

/// Asks for a send to `target`.
async fn ask(fleet: &Fleet, n: u32, target: &str) {
    let mut lane = fleet.world.store.own_lane("test", GENERATION, Lane(1)).await.unwrap().unwrap();
    let mut batch = lane.begin();
    batch.insert_jobs(&[fire(n, target)]).await.unwrap();
    batch.commit().await.unwrap();
    lane.release().await;
}

/// From now on the first `times` changes of rows of `table` fail, as they do while a server is shut
/// down; `which` says what change is meant.
async fn fail(sql: &mut PgConnection, table: &str, which: &str, times: u32) {
    for statement in [
        "create sequence fault".to_owned(),
        format!(
            "create function fault() returns trigger language plpgsql as $$ begin
                 if nextval('fault') <= {times} then
                     raise exception 'away' using errcode = '57P01';
                 end if;
                 return new;
             end $$"
        ),
        format!("create trigger fault {which} execute function fault()").replace("TABLE", table),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *sql).await.unwrap();
    }
}

/// How many changes came upon that.
async fn faults(sql: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select case when is_called then last_value else 0 end from fault")
        .fetch_one(sql)
        .await
        .unwrap()
}

/// State, reason and attempts of the one job of `target`, once it is over.
async fn ended(sql: &mut PgConnection, target: &str) -> (String, Option<String>, i32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row: (String, Option<String>, i32) =
            sqlx::query_as("select state, reason, attempts from job where target = $1")
                .bind(target)
                .fetch_one(&mut *sql)
                .await
                .unwrap();
        if !matches!(row.0.as_str(), "pending" | "claimed") {
            return row;
        }
        assert!(Instant::now() < deadline, "{row:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

const REFUSALS: &str = "before update on TABLE for each row
     when (old.refused_at is null and new.refused_at is not null)";

#[tokio::test(flavor = "multi_thread")]
async fn a3_a_refusal_that_cannot_be_noted_at_once_stays_one() {
    let receiver = Receiver::start().await;
    let fleet = fleet_with(&receiver).await;
    let mut sql = fleet.world.sql().await;
    fail(&mut sql, "sent", REFUSALS, 5).await;
    receiver.fail_next([Fault::Status(500)]);
    ask(&fleet, 1, "once").await;
    let (state, reason, attempts) = ended(&mut sql, "once").await;
    assert_eq!((state.as_str(), attempts), ("done", 2), "{reason:?}");
    let seen = receiver.seen();
    assert_eq!((seen.accepted.len(), seen.requests), (1, 2), "{seen:?}");
    assert_eq!(faults(&mut sql).await, 6, "the tables were asked until they noted it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_a_refusal_for_good_that_cannot_be_noted_at_once_is_parked_as_one() {
    let receiver = Receiver::start().await;
    let fleet = fleet_with(&receiver).await;
    let mut sql = fleet.world.sql().await;
    fail(&mut sql, "sent", REFUSALS, 3).await;
    receiver.fail_next([Fault::Status(410)]);
    ask(&fleet, 1, "once").await;
    let (state, reason, attempts) = ended(&mut sql, "once").await;
    assert_eq!((state.as_str(), reason.as_deref(), attempts), ("parked", Some("status 410"), 1));
    let refused: i64 = sqlx::query_scalar("select count(*) from sent where refused_at is not null")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    assert_eq!((refused, receiver.seen().requests), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_what_could_not_be_noted_before_it_was_sent_was_not_sent() {
    let receiver = Receiver::start().await;
    let fleet = fleet_with(&receiver).await;
    let mut sql = fleet.world.sql().await;
    fail(&mut sql, "sent", "before insert on TABLE for each row", 2).await;
    ask(&fleet, 1, "once").await;
    let (state, reason, attempts) = ended(&mut sql, "once").await;
    assert_eq!((state.as_str(), attempts), ("done", 3), "{reason:?}");
    assert_eq!((receiver.seen().requests, faults(&mut sql).await), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_only_a_lost_lease_makes_a_refusal_unknown() {
    let receiver = Receiver::start().await;
    let fleet = fleet_with(&receiver).await;
    let mut sql = fleet.world.sql().await;
    fail(&mut sql, "sent", REFUSALS, 1_000_000).await;
    receiver.fail_next([Fault::Status(500)]);
    ask(&fleet, 1, "once").await;
    let (state, reason, attempts) = ended(&mut sql, "once").await;
    assert_eq!((state.as_str(), attempts), ("unknown", 2));
    assert_eq!(reason.as_deref(), Some("the worker was lost while sending"));
    assert_eq!(receiver.seen().requests, 1, "it is not told twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_a_token_that_cannot_be_renewed_just_now_leaves_no_doubt() {
    // given a channel with a token, which was told something
    let server = wecom_app::Server::start().await;
    let more = format!(
        "[channels.app]\nkind = \"wecom-app\"\nurl = \"{}\"\ncorp_id = \"{}\"\n\
         corp_secret = \"{}\"\nagent_id = {}\nto_user = \"ada\"\nallow_private = true\n\
         timeout_ms = 1500\n",
        server.url,
        wecom_app::CORP,
        wecom_app::SECRET,
        wecom_app::AGENT
    );
    let mut fleet = Fleet::new(WORKER, &more).await;
    fleet.start("notifier-worker");
    let mut sql = fleet.world.sql().await;
    ask(&fleet, 1, "app").await;
    assert_eq!(ended(&mut sql, "app").await.0, "done");
    sqlx::query("delete from job").execute(&mut sql).await.unwrap();

    // when the token is refused, and the tables cannot say who asks for another
    fail(&mut sql, "access", "before insert or update on TABLE for each row", 2).await;
    let stale: Value = json!({ "errcode": 42001, "errmsg": "access_token expired" });
    server.inbox.fail_next([receivers::Fault::Answer(200, stale)]);
    ask(&fleet, 2, "app").await;

    // then nobody was told, so it is told after all
    let (state, reason, _) = ended(&mut sql, "app").await;
    assert_eq!(state, "done", "{reason:?}");
    assert_eq!(server.inbox.taken().len(), 2);
    assert!(faults(&mut sql).await >= 1, "the tables were not asked");
}
