//! A spool in front of a real server that stands still, is killed, or whose acks are cut.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use schemas::subject::Class;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    appender::frames,
    lane, record,
    server::Server,
    spool::{Replica, fold},
};
use crate::{Durable, JetStream, JetStreamConfig, Log, SpoolingAppender};

/// How long a sender waits at most (Sentry).
const SENDER: Duration = Duration::from_secs(1);

/// Senders that post one record after the other until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    spooled: Arc<AtomicU64>,
    senders: Vec<JoinHandle<Vec<u64>>>,
}

impl Load {
    /// Four senders a replica, a record every 20 ms each; all of a sender's go to one lane.
    fn start(appenders: &[SpoolingAppender]) -> Self {
        let (stop, spooled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let start = |sender: u64| {
            let appender = appenders[sender as usize % appenders.len()].clone();
            let (stop, spooled) = (stop.clone(), spooled.clone());
            tokio::spawn(async move {
                let mut acked = Vec::new();
                let mut n = sender * 1_000_000;
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let key = lane((sender % 3) as u16);
                    let durable = appender.append(key, Class::Data, record(n)).await;
                    if durable.unwrap() == Durable::Spooled {
                        spooled.fetch_add(1, Ordering::Relaxed);
                    }
                    assert!(began.elapsed() < SENDER, "{n} after {:?}", began.elapsed());
                    acked.push(n);
                    n += 1;
                    sleep(Duration::from_millis(20)).await;
                }
                acked
            })
        };
        let senders = (0..4 * appenders.len() as u64).map(start).collect();
        Self { stop, spooled, senders }
    }

    fn spooled(&self) -> u64 {
        self.spooled.load(Ordering::Relaxed)
    }

    async fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.senders).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

/// Every acknowledged record is folded exactly once, those of a sender in their order.
async fn check(log: &dyn Log, acked: &[u64]) -> usize {
    let (records, repeated) = fold(&frames(log).await);
    for lane in records.values() {
        let senders: BTreeSet<u64> = lane.iter().map(|n| n / 1_000_000).collect();
        for sender in senders {
            assert!(lane.iter().filter(|n| **n / 1_000_000 == sender).is_sorted());
        }
    }
    let mut folded: Vec<u64> = records.into_values().flatten().collect();
    folded.sort_unstable();
    let mut acked = acked.to_vec();
    acked.sort_unstable();
    assert_eq!(folded.len(), acked.len());
    assert_eq!(folded, acked);
    repeated
}

/// F2, F5: away for ten seconds under load.
async fn away_for_ten_seconds(leave: impl FnOnce(&mut Server), come: impl FnOnce(&mut Server)) {
    let Some(mut server) = Server::start() else { return };
    let dir = TempDir::new().unwrap();
    let mut replicas = Vec::new();
    for producer in [1, 2] {
        replicas.push(Replica::start(Arc::new(server.log().await), producer, dir.path()));
    }
    let appenders: Vec<_> = replicas.iter().map(|replica| replica.appender.clone()).collect();
    let load = Load::start(&appenders);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(load.spooled(), 0, "nothing is spooled while the log answers");
    leave(&mut server);
    sleep(Duration::from_secs(10)).await;
    let spooled = load.spooled();
    assert!(spooled > 100, "{spooled}");
    come(&mut server);
    // New frames go on behind the old ones, and pass the spool again once it is empty.
    for replica in &replicas {
        replica.drained().await;
    }
    sleep(Duration::from_secs(1)).await;
    let acked = load.stop().await;
    for replica in &replicas {
        replica.drained().await;
        assert_eq!(replica.spool.status().bytes, 0);
    }
    let repeated = check(&server.log().await, &acked).await;
    println!("{} acknowledged, {spooled} from the spool, {repeated} repeated", acked.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_server_that_stands_still_costs_nothing() {
    away_for_ten_seconds(|server| server.signal("STOP"), |server| server.signal("CONT")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f2_a_server_that_is_killed_costs_nothing() {
    away_for_ten_seconds(Server::kill, Server::restart).await;
}

/// Between a client and a server; while it is mute, what the client sends arrives and what the
/// server answers does not. A connection that missed an answer ends with that.
struct Proxy {
    address: String,
    mute: Arc<AtomicBool>,
}

impl Proxy {
    async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("nats://{}", listener.local_addr().unwrap());
        let mute = Arc::new(AtomicBool::new(false));
        let is_mute = mute.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                let is_mute = is_mute.clone();
                tokio::spawn(async move {
                    let never = AtomicBool::new(false);
                    tokio::select! {
                        () = forward(from_client, to_server, &never) => {}
                        () = forward(from_server, to_client, &is_mute) => {}
                    }
                });
            }
        });
        Self { address, mute }
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_mute: &AtomicBool) {
    let (mut buffer, mut missed) = (vec![0; 64 << 10], false);
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if is_mute.load(Ordering::Relaxed) {
            missed = true;
        } else if missed || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_cut_after_the_store_cost_nothing() {
    let Some(server) = Server::start() else { return };
    let direct = server.log().await;
    let proxy = Proxy::start(server.config().url.replace("nats://", "")).await;
    let config = JetStreamConfig {
        url: proxy.address.clone(),
        ack_timeout: Duration::from_millis(500),
        ..server.config()
    };
    let log: Arc<dyn Log> = Arc::new(JetStream::connect(&config).await.unwrap());
    let dir = TempDir::new().unwrap();
    let replica = Replica::start(log, 1, dir.path());
    let load = Load::start(std::slice::from_ref(&replica.appender));
    for _ in 0..3 {
        sleep(Duration::from_millis(500)).await;
        proxy.mute.store(true, Ordering::Relaxed);
        sleep(Duration::from_millis(1_500)).await;
        proxy.mute.store(false, Ordering::Relaxed);
        replica.drained().await;
    }
    assert!(load.spooled() > 0);
    let acked = load.stop().await;
    replica.drained().await;
    check(&direct, &acked).await;
}
