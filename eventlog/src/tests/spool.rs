//! The appender with a spool, over a log in memory that fails as it is told to.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use futures_util::future::join_all;
use schemas::{LaneKey, ProducerId, subject::Class};
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    appender::{Fate, Scripted, Stored, check_numbering, check_tries_alike, config, frames},
    lane, ns, record,
};
use crate::{AppendError, Durable, Log, Spool, SpoolConfig, SpoolingAppender};

/// An ingest's appender with its spool.
pub(super) struct Replica {
    pub(super) appender: SpoolingAppender,
    pub(super) spool: Spool,
    driver: JoinHandle<()>,
}

impl Replica {
    pub(super) fn start(log: Arc<dyn Log>, producer: u128, dir: &Path) -> Self {
        Self::bounded(log, producer, SpoolConfig::at(dir.to_owned()))
    }

    fn bounded(log: Arc<dyn Log>, producer: u128, spool: SpoolConfig) -> Self {
        let config = config(producer);
        let spool = Spool::open(spool, config.producer, ns());
        let (appender, driver) = SpoolingAppender::start(log, config, Some(spool.clone()));
        Self { appender, spool, driver: tokio::spawn(driver) }
    }

    async fn append(&self, key: LaneKey, n: u64) -> Result<Durable, AppendError> {
        self.appender.append(key, Class::Data, record(n)).await
    }

    /// Ends it at whatever it is doing.
    pub(super) async fn kill(self) {
        self.driver.abort();
        assert!(self.driver.await.unwrap_err().is_cancelled());
    }

    /// Waits until nothing waits any more.
    pub(super) async fn drained(&self) {
        let mut status = self.spool.watch();
        let drained = status.wait_for(|status| !status.waits());
        timeout(Duration::from_secs(60), drained).await.unwrap().unwrap();
    }
}

/// What a fold makes of the log (DESIGN section 5): a number that is not greater is a repeat, a jump
/// is never seen. The records of each lane key in order, and how many frames were repeats.
pub(super) fn fold(frames: &[Stored]) -> (BTreeMap<LaneKey, Vec<u64>>, usize) {
    let mut last: BTreeMap<(ProducerId, LaneKey), u64> = BTreeMap::new();
    let (mut records, mut repeated) = (BTreeMap::<LaneKey, Vec<u64>>::new(), 0);
    for frame in frames {
        let number = last.entry((frame.producer, frame.key)).or_default();
        if frame.number <= *number {
            repeated += 1;
            continue;
        }
        assert_eq!(frame.number, *number + 1, "a jump in {} of {}", frame.key, frame.producer);
        *number = frame.number;
        records.entry(frame.key).or_default().extend(&frame.records);
    }
    (records, repeated)
}

#[tokio::test(start_paused = true)]
async fn what_is_not_acknowledged_in_time_goes_to_the_spool_with_all_behind_it() {
    let dir = TempDir::new().unwrap();
    let log = Scripted::new([Fate::Silent].into_iter().chain([Fate::Lost; 1000]));
    let replica = Replica::start(log.clone(), 1, dir.path());
    let began = Instant::now();
    assert_eq!(replica.append(lane(0), 1).await, Ok(Durable::Spooled));
    let waited = began.elapsed().as_millis();
    assert!((300..330).contains(&waited), "{waited} ms");
    // Nobody waits for a log that is known not to answer, in whatever lane.
    for n in 2..5 {
        assert_eq!(replica.append(lane(n as u16 % 3), n).await, Ok(Durable::Spooled));
    }
    let behind = began.elapsed().as_millis() - waited;
    assert!(behind < 300, "{behind} ms");
    assert_eq!(replica.spool.status().frames, 4);
    log.heal();
    replica.drained().await;
    assert!(matches!(replica.append(lane(0), 5).await, Ok(Durable::Appended(_))));
    let frames = frames(&*log).await;
    check_numbering(&frames);
    let (records, repeated) = fold(&frames);
    assert_eq!(records[&lane(0)], [1, 3, 5]);
    assert_eq!((&records[&lane(1)], &records[&lane(2)], repeated), (&vec![4], &vec![2], 0));
    let status = replica.spool.status();
    assert_eq!((status.frames, status.bytes, status.problem), (0, 0, None));
}

#[tokio::test(start_paused = true)]
async fn a_frame_stored_before_its_ack_was_cut_is_folded_once() {
    // given a server that knows the message id, and one that has forgotten it
    for (forgets, repeats) in [(false, 0), (true, 2)] {
        let dir = TempDir::new().unwrap();
        let script = [Fate::Silent, Fate::AnswerLost];
        let log = if forgets { Scripted::forgetful(script) } else { Scripted::new(script) };
        let replica = Replica::start(log.clone(), 1, dir.path());
        assert_eq!(replica.append(lane(0), 1).await, Ok(Durable::Spooled));
        replica.drained().await;
        assert!(matches!(replica.append(lane(0), 2).await, Ok(Durable::Appended(_))));
        let sent = log.sent();
        check_tries_alike(&sent[..3]);
        let (records, repeated) = fold(&frames(&*log).await);
        assert_eq!((&records[&lane(0)], repeated), (&vec![1, 2], repeats));
    }
}

#[tokio::test(start_paused = true)]
async fn the_order_of_a_lane_survives_any_failure() {
    for seed in 1..40u64 {
        let mut state = seed;
        let mut next = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let fates = [Fate::AnswerLost, Fate::Lost, Fate::Silent, Fate::Refused];
        let script: Vec<_> = (0..next(25)).map(|_| fates[next(4) as usize]).collect();
        let dir = TempDir::new().unwrap();
        let log = Scripted::forgetful(script);
        let replica = Replica::start(log.clone(), 1, dir.path());
        // Three senders, each of which waits for an answer before it sends the next.
        join_all((0..3).map(|sender| {
            let replica = &replica;
            async move {
                for n in 0..40 {
                    let n = sender * 1000 + n;
                    let durable = replica.append(lane(sender as u16 % 2), n).await;
                    assert!(durable.is_ok(), "seed {seed}: {n}: {durable:?}");
                }
            }
        }))
        .await;
        replica.drained().await;
        let (records, _) = fold(&frames(&*log).await);
        let mut all: Vec<u64> = records.values().flatten().copied().collect();
        for lane in records.values() {
            for sender in 0..3 {
                let of_sender = lane.iter().filter(|n| **n / 1000 == sender);
                assert!(of_sender.is_sorted(), "seed {seed}");
            }
        }
        all.sort_unstable();
        let sent: Vec<u64> = (0..3).flat_map(|s| (0..40).map(move |n| s * 1000 + n)).collect();
        assert_eq!(all, sent, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_refuses_as_if_there_were_none_and_heals() {
    let dir = TempDir::new().unwrap();
    let log = Scripted::new([Fate::Refused; 1000]);
    let small = SpoolConfig { dir: dir.path().to_owned(), max_bytes: 350 };
    let replica = Replica::bounded(log.clone(), 1, small);
    let mut kept = Vec::new();
    let mut n = 0;
    let refused = loop {
        n += 1;
        let began = Instant::now();
        match replica.append(lane(0), n).await {
            Ok(durable) => {
                assert_eq!(durable, Durable::Spooled);
                kept.push(n);
            }
            Err(refused) => {
                assert_eq!(began.elapsed().as_millis() / 10, 90);
                break refused;
            }
        }
    };
    assert!(!kept.is_empty());
    assert!(matches!(&refused, AppendError::NotStored { reason } if reason.contains("full")));
    assert!(replica.spool.status().problem.unwrap().contains("full"));
    log.heal();
    replica.drained().await;
    // The number of what was refused was given back.
    kept.push(100);
    assert!(matches!(replica.append(lane(0), 100).await, Ok(Durable::Appended(_))));
    let frames = frames(&*log).await;
    check_numbering(&frames);
    assert_eq!(fold(&frames).0[&lane(0)], kept);
    let mut status = replica.spool.watch();
    status.wait_for(|status| status.problem.is_none()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_left_is_published_by_its_successor_or_its_sibling() {
    for successor in [true, false] {
        let dir = TempDir::new().unwrap();
        let log = Scripted::new([Fate::Lost; 10_000]);
        let sibling = Replica::start(log.clone(), 2, dir.path());
        let replica = Replica::start(log.clone(), 1, dir.path());
        for n in 1..=20 {
            assert_eq!(replica.append(lane(n as u16 % 2), n).await, Ok(Durable::Spooled));
        }
        replica.kill().await;
        let heir = if successor {
            sibling.kill().await;
            // It takes the sibling's folder, the first that is free, and finds the other.
            Replica::start(log.clone(), 3, dir.path())
        } else {
            sibling
        };
        log.heal();
        let all = async {
            while frames(&*log).await.len() < 20 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(60), all).await.unwrap();
        assert!(matches!(heir.append(lane(0), 21).await, Ok(Durable::Appended(_))));
        let (records, repeated) = fold(&frames(&*log).await);
        let of = |rest: u64| (1..=20).filter(move |n| n % 2 == rest);
        assert_eq!(records[&lane(0)], of(0).chain([21]).collect::<Vec<_>>());
        assert_eq!(records[&lane(1)], of(1).collect::<Vec<_>>());
        assert_eq!(repeated, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_in_the_same_folder_appends_behind_what_is_there() {
    let dir = TempDir::new().unwrap();
    let log = Scripted::new([Fate::Lost; 10_000]);
    let first = Replica::start(log.clone(), 1, dir.path());
    for n in 1..=3 {
        assert_eq!(first.append(lane(0), n).await, Ok(Durable::Spooled));
    }
    first.kill().await;
    let second = Replica::start(log.clone(), 2, dir.path());
    assert_eq!(second.spool.status().frames, 3);
    assert_eq!(second.append(lane(0), 4).await, Ok(Durable::Spooled));
    log.heal();
    second.drained().await;
    let (records, _) = fold(&frames(&*log).await);
    assert_eq!(records[&lane(0)], [1, 2, 3, 4]);
}
