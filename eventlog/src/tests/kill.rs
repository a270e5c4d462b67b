//! A real server that is killed, stands still, or loses its stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::join_all};
use schemas::subject::{Class, deliveries_all};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    appender::{check_positions, config, frames, parse, start},
    input, lane, message, ns, record,
    server::Server,
    streams,
};
use crate::{Ack, AppendError, JetStream, JetStreamConfig, Log, Publish, PublishError, Read};

/// Nothing acknowledged is lost, nothing stands twice under another number,
/// and a reader gets everything once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_servers_lose_nothing_that_was_acknowledged() {
    let Some(mut server) = Server::start() else { return };
    let log: Arc<dyn Log> = Arc::new(server.log().await);
    // given a reader from the beginning, and 16 callers over two processes
    let read = Read { stream: input(), filters: vec![deliveries_all(&ns())], from: 1 };
    let mut messages = log.read(read).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut got = Vec::new();
        while let Some(message) = messages.next().await {
            let message = message.unwrap();
            if message.subject.ends_with(".c") {
                break;
            }
            got.push(message);
        }
        got
    });
    let (stop, ids) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (count, mut acks) = watch::channel(0u64);
    let mut callers = Vec::new();
    let mut drivers = Vec::new();
    for producer in [1, 2] {
        let (appender, driver) = start(Arc::new(server.log().await), config(producer));
        drivers.push(driver);
        for _ in 0..8 {
            let (appender, stop, ids) = (appender.clone(), stop.clone(), ids.clone());
            let count = count.clone();
            callers.push(tokio::spawn(async move {
                let (mut acked, mut unknown) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let n = ids.fetch_add(1, Ordering::Relaxed);
                    match appender.append(lane((n % 4) as u16), Class::Data, record(n)).await {
                        Ok(at) => {
                            acked.push((n, at));
                            count.send_modify(|n| *n += 1);
                        }
                        Err(AppendError::NotStored { .. }) => {}
                        Err(AppendError::Unknown { .. }) => unknown += 1,
                        Err(e) => panic!("{e}"),
                    }
                }
                (acked, unknown)
            }));
        }
    }
    // when the server is killed under load, three times, each time staying away longer
    for away in [0, 300, 1500] {
        let target = *acks.borrow() + 400;
        timeout(Duration::from_secs(30), acks.wait_for(|n| *n >= target)).await.unwrap().unwrap();
        server.kill();
        tokio::time::sleep(Duration::from_millis(away)).await;
        server.restart();
    }
    let target = *acks.borrow() + 400;
    timeout(Duration::from_secs(30), acks.wait_for(|n| *n >= target)).await.unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut acked = Vec::new();
    let mut unknown = 0;
    for result in join_all(callers).await {
        let (positions, doubts) = result.unwrap();
        acked.extend(positions);
        unknown += doubts;
    }
    for driver in drivers {
        driver.await.unwrap();
    }
    // then every acknowledged record stands where it was said to
    let frames = frames(&*log).await;
    check_positions(&frames, &acked);
    // and no record stands under two (producer, number)
    let mut homes: BTreeMap<u64, BTreeSet<_>> = BTreeMap::new();
    for frame in &frames {
        for n in &frame.records {
            homes.entry(*n).or_default().insert((frame.producer, frame.key, frame.number));
        }
    }
    assert!(homes.values().all(|frames| frames.len() == 1));
    assert!(homes.len() <= acked.len() + unknown, "a refused record was stored");
    // and numbers have no gaps: a repeated frame is the only thing out of line
    let mut last: BTreeMap<_, u64> = BTreeMap::new();
    for frame in &frames {
        let number = last.entry((frame.producer, frame.key)).or_default();
        assert!(frame.number <= *number + 1, "gap before {} {}", frame.key, frame.number);
        *number = frame.number.max(*number);
    }
    // and the reader got the same, each once and in order
    let mark = Publish { subject: format!("{}.deliveries.0.c", ns()), ..message(lane(0), "end") };
    log.publish(mark).await.unwrap();
    let got = timeout(Duration::from_secs(20), reader).await.unwrap().unwrap();
    let got: Vec<_> = got.iter().map(|m| parse(0, m)).collect();
    let sequences = |frames: &[super::appender::Stored]| {
        frames.iter().map(|f| f.position.sequence).collect::<Vec<_>>()
    };
    assert_eq!(sequences(&got), sequences(&frames));
}

#[tokio::test]
async fn a_server_that_stands_still_leaves_the_outcome_unknown() {
    let Some(server) = Server::start() else { return };
    let brief = JetStreamConfig { ack_timeout: Duration::from_millis(300), ..server.config() };
    let log = server.log_with(brief).await;
    let with_id =
        |n: u64| Publish { message_id: Some(format!("p:0:{n}")), ..message(lane(0), "x") };
    // given a server that does not answer any more (it may still run for a moment after the
    // signal), then nobody knows
    server.signal("STOP");
    let mut doubtful = 1;
    loop {
        match log.publish(with_id(doubtful)).await {
            Ok(ack) => assert_eq!(ack, Ack { sequence: doubtful, duplicate: false }),
            Err(PublishError::Unknown { waited_ms: 300.., .. }) => break,
            Err(e) => panic!("{e}"),
        }
        doubtful += 1;
    }
    // when it goes on, then another try says that the first was stored
    server.signal("CONT");
    let ack = loop {
        match log.publish(with_id(doubtful)).await {
            Ok(ack) => break ack,
            Err(PublishError::Unknown { .. }) => {}
            Err(e) => panic!("{e}"),
        }
    };
    assert_eq!(ack, Ack { sequence: doubtful, duplicate: true });
}

#[tokio::test]
async fn without_a_server_it_is_said_at_once() {
    let Some(mut server) = Server::start() else { return };
    let log = server.log().await;
    server.kill();
    let gone = async {
        while log.connected() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.unwrap();
    let started = Instant::now();
    let result = log.publish(message(lane(0), "x")).await;
    assert!(matches!(result, Err(PublishError::NotStored { .. })), "{result:?}");
    assert!(started.elapsed() < Duration::from_millis(100));
    // and nothing of it turns up later
    server.restart();
    let back = async {
        while log.publish(message(lane(0), "y")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), back).await.unwrap();
    assert_eq!(log.get(&input(), 1).await.unwrap().unwrap().payload, "y");
    // and a start without a server says where it looked
    server.kill();
    let impatient = JetStreamConfig { connect_patience: Duration::ZERO, ..server.config() };
    let error = JetStream::connect(&impatient).await.unwrap_err().to_string();
    assert!(error.contains(&server.config().url), "{error}");
}

#[tokio::test]
async fn what_was_begun_without_a_server_stores_nothing_before_it_is_open() {
    let Some(mut server) = Server::start() else { return };
    server.log().await;
    server.kill();
    let log = JetStream::begin(&server.config()).await.unwrap();
    let refused = log.publish(message(lane(0), "x")).await;
    assert!(matches!(refused, Err(PublishError::NotStored { .. })), "{refused:?}");
    let topology = streams(&server.config());
    let open = log.open(&topology);
    assert!(timeout(Duration::from_millis(300), open).await.is_err(), "there is no server");
    assert!(!log.connected());
    // The server comes; what it has is looked at before anything is stored.
    server.restart();
    let other = JetStreamConfig { lanes: std::num::NonZeroU16::MIN, ..server.config() };
    let strange = JetStream::begin(&other).await.unwrap();
    let refused = timeout(Duration::from_secs(20), strange.open(&streams(&other))).await.unwrap();
    assert!(matches!(refused, Err(crate::Error::Mismatch { .. })), "{refused:?}");
    let refused = strange.publish(message(lane(0), "x")).await;
    assert!(matches!(refused, Err(PublishError::NotStored { .. })), "{refused:?}");
    timeout(Duration::from_secs(20), log.open(&topology)).await.unwrap().unwrap();
    assert!(log.connected());
    assert_eq!(log.publish(message(lane(0), "x")).await.unwrap().sequence, 1);
    let known = log.identity().await.unwrap();
    assert_eq!((known.lanes, known.max_payload), (server.config().lanes, 1 << 20));
}

#[tokio::test]
async fn a_stream_made_anew_is_another_incarnation() {
    let Some(server) = Server::start() else { return };
    let log = Arc::new(server.log().await);
    let client = async_nats::connect(server.config().url).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let (appender, _driver) = start(log.clone(), config(1));
    let before = appender.append(lane(0), Class::Data, record(1)).await.unwrap();
    let read = Read { stream: input(), filters: vec![deliveries_all(&ns())], from: 1 };
    let mut messages = log.read(read).await.unwrap();
    messages.next().await.unwrap().unwrap();
    // when the stream is removed and made again (its creation time counts in seconds)
    let after = loop {
        context.delete_stream(input()).await.unwrap();
        log.ensure(&streams(&server.config())).await.unwrap();
        let info = log.info(&input()).await.unwrap();
        if info.incarnation != before.incarnation {
            break info;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // then positions say so, and a read ends instead of going on in the other stream
    let at = appender.append(lane(0), Class::Data, record(2)).await.unwrap();
    assert_eq!((at.incarnation, at.sequence), (after.incarnation, 1));
    let ended = timeout(Duration::from_secs(20), messages.next()).await.unwrap().unwrap();
    assert!(ended.is_err(), "{ended:?}");
}
