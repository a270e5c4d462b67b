//! I3: what refuses a batch refuses all of it, whatever happened while it waited.

use schemas::InputPosition;
use sqlx::{Connection, Executor};
use store::{
    Error,
    lane::{Account, Cursor},
};
use tests::{GENERATION, World};

use super::harness::LANE;

/// A batch that goes through sequence 10, beside what `meanwhile` does to the tables while its
/// statement waits for the generation's row; returns its error and what stands in the tables then.
async fn refused(meanwhile: &'static str) -> (Error, i64) {
    let world = World::with_lanes(1).await;
    let mut lane = world.store.own_lane("observe", GENERATION, LANE).await.unwrap().unwrap();
    let old = lane.cursor().await.unwrap();
    let last = InputPosition { incarnation: 7, sequence: 10, record: 0 };
    let new = Cursor { at: last, through: last, batch: old.batch + 1, ..old.clone() };

    let (mut other, mut watch) = (world.sql().await, world.sql().await);
    let mut held = other.begin().await.unwrap();
    held.execute("select from generation for update").await.unwrap();
    held.execute(meanwhile).await.unwrap();
    let commit = async {
        let mut batch = lane.begin();
        batch.put_lane_state(b"new");
        let outcomes = [(schemas::Outcome::Observed, 3)].into();
        let account = Account { in_frames: 3, outcomes: &outcomes, producers: &[], messages: &[] };
        batch.advance(&old, &new, last, Some(&account));
        batch.commit().await
    };
    let let_go = async {
        let waits = "select count(*) from pg_stat_activity \
                     where wait_event_type = 'Lock' and query like 'with held as %'";
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut watch).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        held.commit().await.unwrap();
    };
    let (committed, ()) = tokio::join!(commit, let_go);
    let written: i64 = sqlx::query_scalar(
        "select (select count(*) from lane_state) + (select count(*) from ledger) \
           + (select max(batch) from cursor)",
    )
    .fetch_one(&mut watch)
    .await
    .unwrap();
    (committed.unwrap_err(), written)
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_batch_beyond_where_the_generation_was_just_frozen_writes_nothing() {
    let freeze = "update generation set state = 'frozen', frozen_inc = 7, frozen_seq = 9";
    let (error, written) = refused(freeze).await;
    assert!(matches!(error, Error::Frozen { .. }), "{error}");
    assert_eq!(written, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_batch_of_a_generation_that_was_just_dropped_writes_nothing() {
    let (error, written) = refused("update generation set state = 'dropped'").await;
    assert!(matches!(error, Error::Generation { .. }), "{error}");
    assert_eq!(written, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_was_told_outlives_a_crash_of_the_tables() {
    let mut world = World::with_lanes(1).await;
    let mut sql = world.sql().await;
    // The server writes what was committed behind as late as it can.
    sql.execute("alter system set wal_writer_delay = '10s'").await.unwrap();
    sql.execute("select pg_reload_conf()").await.unwrap();
    let mut lane = world.store.own_lane("project", GENERATION, LANE).await.unwrap().unwrap();
    lane.commit_behind().await.unwrap();
    let old = lane.cursor().await.unwrap();
    let last = InputPosition { incarnation: 7, sequence: 10, record: 0 };
    let new = Cursor { at: last, through: last, batch: old.batch + 1, ..old.clone() };
    let mut batch = lane.begin();
    batch.advance(&old, &new, last, None);
    batch.commit().await.unwrap();

    let told = world.store.slowest_cursor(&["project"], Some(GENERATION), Some(LANE), 1).await;
    assert_eq!(told.unwrap(), 10);
    world.postgres.kill();
    world.postgres.restart().unwrap();
    let kept: i64 = sqlx::query_scalar("select seq from cursor where stage = 'project'")
        .fetch_one(&mut world.sql().await)
        .await
        .unwrap();
    assert_eq!(kept, 10, "what was told was lost");
}
