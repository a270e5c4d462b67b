//! Streams make room before they refuse, and never of what has yet to be read.

use std::{sync::Arc, time::Duration};

use eventlog::{JetStream, JetStreamConfig, Log, Publish, topology};
use lanes::Janitor;
use runtime::{Health, Shutdown};
use schemas::{
    Lane, LaneKey,
    subject::{self, Class},
};
use sqlx::Executor;
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
