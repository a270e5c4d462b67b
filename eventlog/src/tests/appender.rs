//! The appender over a log in memory that fails as it is told to.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, future::join_all};
use schemas::{
    InputPosition, LaneKey, Namespace, ProducerId, Record, RecordFrame,
    frame::{MAX_FRAME_BYTES, MAX_FRAME_RECORDS},
    record::{Auth, Body, Delivery},
    subject::{Class, deliveries_all, parse_deliveries},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{LANES, input, lane, ns, number_of, record, server::Server};
use crate::{
    Ack, AppendError, Appender, AppenderConfig, Error, Log, MemoryLog, Message, Messages, Publish,
    PublishError, Read, StreamInfo, topology,
};

pub(super) fn config(producer: u128) -> AppenderConfig {
    AppenderConfig {
        producer: ProducerId(Uuid::from_u128(producer)),
        lanes: LANES,
        budget: Duration::from_millis(900),
        max_queued_bytes: 16 << 20,
    }
}

pub(super) fn start(log: Arc<dyn Log>, config: AppenderConfig) -> (Appender, JoinHandle<()>) {
    let (appender, driver) = Appender::start(log, config);
    (appender, tokio::spawn(driver))
}

/// What the log does with one publish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    /// Stores it, but the answer is lost.
    AnswerLost,
    /// Neither stores nor answers it.
    Lost,
    /// Stores it, and says nothing for three seconds.
    Silent,
    Refused,
}

/// A log whose next publishes meet the fates of a script, then succeed. Each takes a millisecond.
pub(super) struct Scripted {
    inner: MemoryLog,
    script: Mutex<VecDeque<Fate>>,
    sent: Mutex<Vec<Publish>>,
    forgets_ids: bool,
}

impl Scripted {
    pub(super) fn new(script: impl IntoIterator<Item = Fate>) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryLog::new(ns(), LANES),
            script: Mutex::new(script.into_iter().collect()),
            sent: Mutex::default(),
            forgets_ids: false,
        })
    }

    /// The same, of a server whose memory of message ids is over.
    pub(super) fn forgetful(script: impl IntoIterator<Item = Fate>) -> Arc<Self> {
        let log = Arc::into_inner(Self::new(script)).unwrap();
        Arc::new(Self { forgets_ids: true, ..log })
    }

    pub(super) fn heal(&self) {
        self.script.lock().unwrap().clear();
    }

    pub(super) fn sent(&self) -> Vec<Publish> {
        self.sent.lock().unwrap().clone()
    }
}

impl Log for Scripted {
    fn namespace(&self) -> &Namespace {
        self.inner.namespace()
    }

    fn publish(&self, mut message: Publish) -> BoxFuture<'_, Result<Ack, PublishError>> {
        Box::pin(async move {
            self.sent.lock().unwrap().push(message.clone());
            message.message_id.take_if(|_| self.forgets_ids);
            let fate = self.script.lock().unwrap().pop_front();
            sleep(Duration::from_millis(1)).await;
            let subject = message.subject.clone();
            match fate {
                None => self.inner.publish(message).await,
                Some(Fate::Refused) => {
                    Err(PublishError::NotStored { subject, reason: "full".into() })
                }
                Some(fate) => {
                    if fate != Fate::Lost {
                        self.inner.publish(message).await.unwrap();
                    }
                    if fate == Fate::Silent {
                        sleep(Duration::from_secs(3)).await;
                    }
                    Err(PublishError::Unknown { subject, waited_ms: 1 })
                }
            }
        })
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Messages, Error>> {
        self.inner.read(read)
    }

    fn last<'a>(
        &'a self,
        stream: &'a str,
        filter: &'a str,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>> {
        self.inner.last(stream, filter)
    }

    fn get<'a>(
        &'a self,
        stream: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>> {
        self.inner.get(stream, sequence)
    }

    fn info<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamInfo, Error>> {
        self.inner.info(stream)
    }

    fn purge<'a>(
        &'a self,
        stream: &'a str,
        filter: &'a str,
        below: u64,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        self.inner.purge(stream, filter, below)
    }

    fn ensure<'a>(
        &'a self,
        topology: &'a [topology::StreamSpec],
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.inner.ensure(topology)
    }
}

/// One frame of the log, read back.
pub(super) struct Stored {
    pub(super) position: InputPosition,
    pub(super) key: LaneKey,
    pub(super) class: Class,
    pub(super) producer: ProducerId,
    pub(super) number: u64,
    pub(super) total: u64,
    pub(super) bytes: usize,
    pub(super) records: Vec<u64>,
}

pub(super) fn parse(incarnation: i64, message: &Message) -> Stored {
    let (key, class) = parse_deliveries(&ns(), &message.subject).unwrap();
    let frame = RecordFrame::parse(&message.payload).unwrap();
    Stored {
        position: InputPosition { incarnation, sequence: message.sequence, record: 0 },
        key,
        class,
        producer: frame.header.producer,
        number: frame.header.number,
        total: frame.header.total,
        bytes: frame.records.iter().map(|r| r.len()).sum(),
        records: frame.records.iter().map(|r| number_of(&Record::decode(r).unwrap())).collect(),
    }
}

/// Everything in the input stream.
pub(super) async fn frames(log: &dyn Log) -> Vec<Stored> {
    let info = log.info(&input()).await.unwrap();
    let read = Read { stream: input(), filters: vec![deliveries_all(&ns())], from: 1 };
    let messages = log.read(read).await.unwrap().take(info.messages as usize);
    messages.map(|m| parse(info.incarnation, &m.unwrap())).collect().await
}

/// Per lane key the numbers run from 1 without gaps, the totals count, and nothing is oversized.
pub(super) fn check_numbering(frames: &[Stored]) {
    let mut last: BTreeMap<(ProducerId, LaneKey), (u64, u64)> = BTreeMap::new();
    for frame in frames {
        let (number, total) = last.entry((frame.producer, frame.key)).or_default();
        *number += 1;
        *total += frame.records.len() as u64;
        assert_eq!((frame.number, frame.total), (*number, *total));
        assert!(frame.records.len() <= MAX_FRAME_RECORDS);
        assert!(frame.bytes <= MAX_FRAME_BYTES || frame.records.len() == 1);
    }
}

/// Every acknowledged record stands where the appender said.
pub(super) fn check_positions(frames: &[Stored], acked: &[(u64, InputPosition)]) {
    let by_sequence: BTreeMap<u64, &Stored> =
        frames.iter().map(|frame| (frame.position.sequence, frame)).collect();
    for (n, at) in acked {
        let frame = by_sequence.get(&at.sequence).unwrap_or_else(|| panic!("{n} lost at {at}"));
        assert_eq!(frame.position.incarnation, at.incarnation);
        assert_eq!(frame.records[at.record as usize], *n, "record at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn positions_are_those_of_the_log() {
    let log = Scripted::new([]);
    let (appender, _driver) = start(log.clone(), config(1));
    let mut acked = Vec::new();
    for n in 0..6 {
        let key = [lane(0), lane(3), LaneKey::All][n as usize % 3];
        acked.push((n, appender.append(key, Class::Data, record(n)).await.unwrap()));
    }
    let frames = frames(&*log).await;
    assert_eq!(frames.len(), 6);
    check_positions(&frames, &acked);
    check_numbering(&frames);
    let keys: Vec<_> = frames.iter().map(|frame| frame.key).collect();
    assert_eq!(keys, [lane(0), lane(3), LaneKey::All, lane(0), lane(3), LaneKey::All]);
}

#[tokio::test(start_paused = true)]
async fn what_arrives_during_an_ack_goes_into_the_next_frame() {
    let log = Scripted::new([]);
    let (appender, _driver) = start(log.clone(), config(1));
    let appends = (0..3000).map(|n| {
        let key = lane((n % 2) as u16);
        appender.append(key, Class::Data, record(n)).map(move |at| (n, at.unwrap()))
    });
    let acked = join_all(appends).await;
    let frames = frames(&*log).await;
    check_positions(&frames, &acked);
    check_numbering(&frames);
    assert!(frames.len() <= 8, "{} frames", frames.len());
}

#[tokio::test]
async fn frames_group_on_a_real_server() {
    let Some(server) = Server::start() else { return };
    let log: Arc<dyn Log> = Arc::new(server.log().await);
    let (appender, driver) = start(log.clone(), config(1));
    let callers = (0..64).map(|caller| {
        let appender = appender.clone();
        tokio::spawn(async move {
            let mut acked = Vec::new();
            for n in (caller * 50)..(caller * 50 + 50) {
                let key = lane((n % 2) as u16);
                acked.push((n, appender.append(key, Class::Data, record(n)).await.unwrap()));
            }
            acked
        })
    });
    let acked: Vec<_> = join_all(callers).await.into_iter().flat_map(|r| r.unwrap()).collect();
    drop(appender);
    driver.await.unwrap();
    let frames = frames(&*log).await;
    check_positions(&frames, &acked);
    check_numbering(&frames);
    assert!(frames.len() * 4 < acked.len(), "{} frames", frames.len());
}

#[tokio::test(start_paused = true)]
async fn classes_are_never_mixed_and_order_is_kept() {
    let log = Scripted::new([]);
    let (appender, _driver) = start(log.clone(), config(1));
    let class = |n: u64| if n % 5 == 4 { Class::Control } else { Class::Data };
    join_all((0..100).map(|n| appender.append(lane(0), class(n), record(n)))).await;
    let frames = frames(&*log).await;
    check_numbering(&frames);
    let order: Vec<u64> = frames.iter().flat_map(|frame| frame.records.clone()).collect();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
    for frame in &frames {
        assert!(frame.records.iter().all(|n| class(*n) == frame.class));
    }
    assert!(log.sent().iter().all(|m| m.keep_forever == m.subject.ends_with(".c")));
}

#[tokio::test(start_paused = true)]
async fn frames_close_at_their_size() {
    let log = Scripted::new([]);
    let (appender, _driver) = start(log.clone(), config(1));
    let delivery = |n: u64, size: usize| {
        let body = Delivery {
            provider: "custom".into(),
            source: "custom".parse().unwrap(),
            route: "/".into(),
            headers: Vec::new(),
            remote: None,
            auth: Auth { method: "basic".into(), credential: None },
            raw: vec![b'x'; size],
            sha256: [0; 32],
            content_type: None,
            channel: None,
            recorded: None,
        };
        Record { body: Body::Delivery(Box::new(body)), ..record(n) }
    };
    let sizes = [200_000, 200_000, 200_000, 600_000, 10, 10];
    let appends = sizes.iter().zip(0..).map(|(size, n)| {
        appender.append(lane(0), Class::Data, delivery(n, *size)).map(move |at| (n, at.unwrap()))
    });
    let acked = join_all(appends).await;
    let frames = frames(&*log).await;
    check_positions(&frames, &acked);
    check_numbering(&frames);
    let counts: Vec<_> = frames.iter().map(|frame| frame.records.len()).collect();
    assert_eq!(counts, [2, 1, 1, 2]);
}

/// Every try carried the same bytes under the same id.
pub(super) fn check_tries_alike(sent: &[Publish]) {
    for message in sent {
        assert_eq!(message.payload, sent[0].payload);
        assert_eq!(message.message_id, sent[0].message_id);
        assert_eq!(message.subject, sent[0].subject);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_keeps_number_and_content() {
    let scripts = [
        vec![Fate::AnswerLost],
        vec![Fate::Lost, Fate::AnswerLost, Fate::Lost],
        // A refusal after a doubt says nothing about the first try.
        vec![Fate::Lost, Fate::Refused, Fate::Refused],
        vec![Fate::Refused, Fate::AnswerLost, Fate::Refused],
    ];
    for script in scripts {
        let tries = script.len() + 1;
        let log = Scripted::new(script);
        let (appender, _driver) = start(log.clone(), config(1));
        let at = appender.append(lane(0), Class::Data, record(7)).await.unwrap();
        let sent = log.sent();
        assert_eq!(sent.len(), tries);
        check_tries_alike(&sent);
        let frames = frames(&*log).await;
        assert_eq!(frames.len(), 1);
        check_positions(&frames, &[(7, at)]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_outcome_callers_are_told_in_time() {
    // given a log that stores the first frame and never answers
    let log = Scripted::new([Fate::AnswerLost; 1000]);
    let (appender, driver) = start(log.clone(), config(1));
    let started = Instant::now();
    let first = appender.append(lane(0), Class::Data, record(1)).await;
    assert_eq!(first, Err(AppendError::Unknown { waited_ms: 900 }));
    // when another arrives behind it, then it is not sent, and its caller told so, in time
    let behind = appender.append(lane(0), Class::Data, record(2)).await;
    assert!(matches!(behind, Err(AppendError::NotStored { .. })), "{behind:?}");
    let waited = started.elapsed();
    assert!((1800..1810).contains(&waited.as_millis()), "{waited:?}");
    // when the log answers again, then numbers go on without a gap
    log.heal();
    let third = appender.append(lane(0), Class::Data, record(3)).await.unwrap();
    let frames = frames(&*log).await;
    assert_eq!(frames.iter().map(|frame| frame.records.clone()).collect::<Vec<_>>(), [[1], [3]]);
    check_numbering(&frames);
    check_positions(&frames, &[(3, third)]);
    drop(appender);
    driver.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_was_refused_gives_its_number_back() {
    let log = Scripted::new([Fate::Refused; 1000]);
    let (appender, _driver) = start(log.clone(), config(1));
    let started = Instant::now();
    let refused = appender.append(lane(0), Class::Data, record(1)).await;
    assert!(matches!(refused, Err(AppendError::NotStored { .. })), "{refused:?}");
    assert_eq!(started.elapsed().as_millis() / 10, 90);
    check_tries_alike(&log.sent());
    log.heal();
    appender.append(lane(0), Class::Data, record(2)).await.unwrap();
    let frames = frames(&*log).await;
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].records, [2]);
    check_numbering(&frames);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_takes_nothing_more() {
    let mut one = Vec::new();
    record(1).encode_into(&mut one);
    let log = Scripted::new([Fate::Lost; 3]);
    let small = AppenderConfig { max_queued_bytes: 2 * one.len(), ..config(1) };
    let (appender, _driver) = start(log.clone(), small);
    let appends = (0..4).map(|n| appender.append(lane(0), Class::Data, record(n)));
    let full = join_all(appends).await;
    assert!(full[..2].iter().all(Result::is_ok), "{full:?}");
    assert_eq!(full[2..], [Err(AppendError::Full), Err(AppendError::Full)]);
    // Once answered, they make room.
    appender.append(lane(0), Class::Data, record(5)).await.unwrap();
    let outside = appender.append(lane(LANES.get()), Class::Data, record(6)).await;
    assert!(matches!(outside, Err(AppendError::NotStored { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_with_its_last_handle() {
    // given records under way, when the handles go, then they are still stored
    let log = Scripted::new([]);
    let (appender, driver) = Appender::start(log.clone(), config(1));
    let mut append = Box::pin({
        let appender = appender.clone();
        async move { appender.append(lane(0), Class::Data, record(1)).await }
    });
    assert!(append.as_mut().now_or_never().is_none());
    drop((appender, append));
    driver.await;
    assert_eq!(frames(&*log).await.len(), 1);
    // given no driver, then nothing is taken
    let (appender, driver) = Appender::start(log.clone(), config(2));
    drop(driver);
    let closed = appender.append(lane(0), Class::Data, record(2)).await;
    assert_eq!(closed, Err(AppendError::Closed));
    // given a log that never answers, then the driver ends once its callers are answered
    let log = Scripted::new([Fate::Lost; 100_000]);
    let (appender, driver) = start(log, config(3));
    let unknown = appender.append(lane(0), Class::Data, record(3)).await;
    assert_eq!(unknown, Err(AppendError::Unknown { waited_ms: 900 }));
    drop(appender);
    driver.await.unwrap();
}
