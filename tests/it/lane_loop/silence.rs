//! A network that swallows everything and says nothing, which is how a machine that is gone looks.

use std::time::Duration;

use schemas::LaneKey;
use store::Store;
use tests::World;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{harness::*, toy::Toy};

/// A way to the database that can fall silent.
struct Line {
    url: String,
    silence: watch::Sender<()>,
}

impl Line {
    async fn to(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (from, to) = (listener.local_addr().unwrap().port(), world.postgres.port());
        let url = world.database_url.replace(&format!(":{to}/"), &format!(":{from}/"));
        let (silence, _) = watch::channel(());
        let line = Self { url, silence: silence.clone() };
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut silence = silence.subscribe();
                tokio::spawn(async move {
                    // Refused once the world is over.
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        // Both ends stay open and hear nothing any more.
                        _ = silence.changed() => std::future::pending().await,
                    }
                });
            }
        });
        line
    }

    /// Swallows what the connections of now say from now on; later ones are not concerned.
    fn fall_silent(&self) {
        self.silence.send_replace(());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_database_falls_silent_goes_on_over_a_new_connection() {
    let mut world = World::with_lanes(1).await;
    let line = Line::to(&world).await;
    let through = Store::connect(&line.url, 2, Duration::from_secs(1)).await.unwrap();
    let direct = std::mem::replace(&mut world.store, through);
    let worker = Worker::start(&world, &Toy::observe().shared(), config()).await;
    world.store = direct;
    let mut producer = Producer::new(&world, 1).await;
    let first = producer.append(LaneKey::Lane(LANE), &["before"]).await;
    applied(&world, "observe", LANE, first).await;
    line.fall_silent();
    until("the lane is left", async || worker.health.report().parts.is_empty().then_some(())).await;
    let second = producer.append(LaneKey::Lane(LANE), &["after"]).await;
    applied(&world, "observe", LANE, second).await;
    assert_eq!(check_ledger(&world, LANE).await, (2, 0, 0));
    worker.stop().await;
}
