//! Streams make room before they refuse, and never of what has yet to be read; tables keep what is
//! asked for, and no more.

use std::{sync::Arc, time::Duration};

use eventlog::{JetStream, JetStreamConfig, Log, Publish, topology};
use lanes::Janitor;
use runtime::{Health, Shutdown};
use schemas::{
    Lane, LaneKey,
    subject::{self, Class},
};
use sqlx::{Connection, Executor};
use tests::{GENERATION, World, fleet::PATIENCE};

/// Fills lane 0 of a small input stream to over 80%; returns the log.
async fn filled(world: &World) -> Arc<dyn Log> {
    let config = JetStreamConfig { max_bytes: 1 << 20, ..world.log_config() };
    let log: Arc<dyn Log> = Arc::new(JetStream::connect(&config).await.unwrap());
    log.ensure(&[topology::deliveries(&config)]).await.unwrap();
    for class in [Class::Control, Class::Data] {
        let count = if class == Class::Control { 5 } else { 85 };
        for _ in 0..count {
            let publish = Publish {
                stream: subject::deliveries_stream(&world.namespace),
                subject: subject::deliveries(&world.namespace, LaneKey::Lane(Lane(0)), class),
                message_id: None,
                headers: Vec::new(),
                payload: vec![7; 10_000].into(),
                fence: None,
                keep_forever: class == Class::Control,
            };
            log.publish(publish).await.unwrap();
        }
    }
    log
}

/// Runs the janitor until `done` says so.
async fn run(world: &World, log: &Arc<dyn Log>, done: impl AsyncFn(&Health) -> bool) {
    let (shutdown, controller) = Shutdown::new();
    let health = Health::default();
    let janitor = Janitor {
        log: Arc::clone(log),
        store: world.store.clone(),
        generation: GENERATION,
        lanes: world.lanes,
        keep_days: 35,
        health: health.clone(),
        every: Duration::from_millis(20),
    };
    let task = tokio::spawn(janitor.run(shutdown));
    tokio::time::timeout(PATIENCE, async {
        while !done(&health).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    controller.stop();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_is_cut_where_everybody_has_passed() {
    let world = World::with_lanes(2).await;
    let log = filled(&world).await;
    let stream = subject::deliveries_stream(&world.namespace);
    // Lane 0 has passed 60 messages, lane 1 everything.
    let mut sql = world.sql().await;
    sql.execute(
        "insert into cursor (stage, generation, lane, seq)
         values ('observe', 1, 0, 60), ('observe', 1, 1, 90)",
    )
    .await
    .unwrap();
    run(&world, &log, async |_| log.info(&stream).await.unwrap().messages < 90).await;
    let info = log.info(&stream).await.unwrap();
    // The five control records stay, and all the cursor of lane 0 has yet to pass.
    assert!(info.messages >= 5 + 31, "{info:?}");
    let share = info.bytes as f64 / info.max_bytes.unwrap() as f64;
    assert!((0.5..0.8).contains(&share), "{share}");
    assert!(log.get(&stream, 1).await.unwrap().is_some(), "a control record was cut");
    assert!(log.get(&stream, 6).await.unwrap().is_none(), "the oldest stayed");
    assert!(log.get(&stream, 60).await.unwrap().is_some(), "the cursor's own frame was cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_yet_to_be_read_stays_and_is_said() {
    let world = World::with_lanes(2).await;
    let log = filled(&world).await;
    let stream = subject::deliveries_stream(&world.namespace);
    let said = |health: &Health| serde_json::to_string(&health.report()).unwrap();
    run(&world, &log, async |health| said(health).contains("raise nats.max_bytes")).await;
    assert_eq!(log.info(&stream).await.unwrap().messages, 90, "nobody has read anything");
}

/// Rows of each table by its days: `seen 100 101 | ...`.
async fn days(world: &World) -> String {
    let mut sql = world.sql().await;
    sqlx::query_scalar(
        "select string_agg(t || ' ' || days, ' | ' order by t) from (
           select split_part(c.relname, '_', 1) as t,
             string_agg(substring(c.relname from '_d([0-9]+)$'), ' '
               order by substring(c.relname from '_d([0-9]+)$')::int) as days
           from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where c.relname ~ '_g1_d[0-9]+$' and c.relkind = 'r' group by 1) d",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn days_go_when_every_lane_has_left_them_behind_and_the_next_stands_ahead() {
    let world = World::with_lanes(2).await;
    let mut sql = world.sql().await;
    let day = 86_400_000_000_i64;
    for d in [100, 134, 135, 165, 166, 167, 170] {
        sqlx::query("select bw_open_day(1, $1)").bind(d).execute(&mut sql).await.unwrap();
        sqlx::query("insert into seen values (1, $1, 0, gen_random_uuid(), 0)")
            .bind(d)
            .execute(&mut sql)
            .await
            .unwrap();
    }
    let all = "dossier 100 134 135 165 166 167 170";
    let sweep = async || world.store.housekeep(world.lanes, 35).await.unwrap().unwrap();

    // One lane of two has begun: nobody knows where the other will write.
    let cursor = "insert into cursor (stage, generation, lane, lane_time) values ($1, 1, $2, $3)";
    for stage in ["observe", "project"] {
        let begun = sqlx::query(cursor).bind(stage).bind(0).bind(170 * day);
        begun.execute(&mut sql).await.unwrap();
    }
    let first = sweep().await;
    assert_eq!(first.opened, 1);
    assert!(days(&world).await.contains(&format!("{all} 171")), "{}", days(&world).await);
    assert!(first.dropped.iter().all(|(_, count)| *count == 0), "{first:?}");

    // The other is half a day behind it, in the day before.
    for stage in ["observe", "project"] {
        let begun = sqlx::query(cursor).bind(stage).bind(1).bind(170 * day - day / 2);
        begun.execute(&mut sql).await.unwrap();
    }
    let second = sweep().await;
    assert_eq!(second.opened, 0);
    let kept = "134 135 165 166 167 170 171";
    assert_eq!(
        days(&world).await,
        format!(
            "delivery {kept} | dossier {kept} | handle {kept} | rejected {kept} | \
             seen 165 166 167 170 171"
        )
    );
    assert_eq!(
        second.dropped,
        [("seen", 3), ("rejected", 1), ("handle", 1), ("delivery", 1), ("dossier", 1)]
    );

    // A reader of a table is not waited for; the next look does it.
    sqlx::query("update cursor set lane_time = $1")
        .bind(171 * day)
        .execute(&mut sql)
        .await
        .unwrap();
    let mut reader = world.sql().await;
    let mut reading = reader.begin().await.unwrap();
    reading.execute("select from seen").await.unwrap();
    let error = world.store.housekeep(world.lanes, 35).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    reading.rollback().await.unwrap();
    // The lock of the look that failed goes with its transaction, which the pool ends.
    let third = loop {
        if let Some(swept) = world.store.housekeep(world.lanes, 35).await.unwrap() {
            break swept;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(third.dropped[0], ("seen", 2));
    assert!(days(&world).await.contains("seen 167 170 171 172"), "{}", days(&world).await);
    assert!(days(&world).await.contains("dossier 165 166 167 170 171 172"));

    // While one does it another does not.
    let mut other = world.sql().await;
    let mut held = other.begin().await.unwrap();
    held.execute("select pg_advisory_xact_lock(hashtextextended('bw_housekeeping', 0))")
        .await
        .unwrap();
    assert_eq!(world.store.housekeep(world.lanes, 35).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_notes_go_when_nothing_can_ask_for_them() {
    let world = World::with_lanes(2).await;
    let mut sql = world.sql().await;
    // Incident 1 is over, incident 2 open.
    sql.execute(
        "insert into incident (generation, project, incident, fingerprint, opening, cause, episode,
           status, risk, facts, occurrences, opened_at, closed_at, updated_at)
         select 1, 'shop', ('00000000-0000-8000-8000-00000000000' || n)::uuid, gen_random_uuid(),
           '1-1-1-0', 'new', 1, 'open', 'LOW', '{}', 1, now(), case n when 1 then now() end, now()
         from generate_series(1, 2) n",
    )
    .await
    .unwrap();
    // (incident, state, days ago)
    let jobs =
        [(1, "done", 36), (1, "done", 34), (1, "parked", 99), (1, "pending", 99), (2, "done", 99)];
    for (n, (incident, state, ago)) in jobs.into_iter().enumerate() {
        sqlx::query(
            "with j as (insert into job (generation, id, queue, lane, project, target, incident, state,
               trigger, payload, created_at, settled_at)
             values (1, ('00000000-0000-8000-8000-0000000000a' || $1::text)::uuid, 'send', 0, 'shop',
               'hook', ('00000000-0000-8000-8000-00000000000' || $2::text)::uuid, $3, $1::text, '',
               now() - make_interval(days => $4), now() - make_interval(days => $4)) returning id)
             insert into sent select 'shop', 'hook', 'fire', $1::text, $1::text, gen_random_uuid(),
               now() - make_interval(days => $4 - 1) from j",
        )
        .bind(n.to_string())
        .bind(incident.to_string())
        .bind(state)
        .bind(ago)
        .execute(&mut sql)
        .await
        .unwrap();
    }
    // Told by jobs that are gone.
    for ago in [35, 37] {
        sqlx::query(
            "insert into sent values ('shop', 'hook', 'resolve', $1::int::text, '',
               gen_random_uuid(), now() - make_interval(days => $1))",
        )
        .bind(ago)
        .execute(&mut sql)
        .await
        .unwrap();
    }
    for ago in [35, 37] {
        sqlx::query(
            "insert into answer
             select $1::int::text, 'open', '', '', 'shop', 1, 1, 0, '', now() - make_interval(days => $1)",
        )
        .bind(ago)
        .execute(&mut sql)
        .await
        .unwrap();
        sqlx::query(
            "insert into spending values ('openclaw', '', now() - make_interval(days => $1 - 1), 1, 1, 1)",
        )
        .bind(ago)
        .execute(&mut sql)
        .await
        .unwrap();
    }
    let left = async |table: &str| -> i64 {
        let mut sql = world.sql().await;
        let count = format!("select count(*) from {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut sql).await.unwrap()
    };
    let swept = world.store.housekeep(world.lanes, 35).await.unwrap().unwrap();
    // The note of the job that went now is 35 days old: it stays a day more.
    assert_eq!(swept.deleted, [("job", 1), ("sent", 1), ("answer", 1), ("spending", 1)]);
    assert_eq!((left("job").await, left("sent").await), (4, 6));
    sql.execute("update sent set told_at = told_at - interval '2 days'").await.unwrap();
    let swept = world.store.housekeep(world.lanes, 35).await.unwrap().unwrap();
    assert_eq!(swept.deleted, [("job", 0), ("sent", 2), ("answer", 0), ("spending", 0)]);
    assert_eq!((left("job").await, left("sent").await), (4, 4));
    assert_eq!((left("answer").await, left("spending").await), (1, 1));
}
