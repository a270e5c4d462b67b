//! Keys and switches in a log in memory, and in one that answers late or never.

use std::{num::NonZeroU16, sync::Mutex};

use eventlog::{
    Ack, Error, MemoryLog, Message, Messages, Publish, Read, StreamInfo, topology::StreamSpec,
};
use futures_util::future::BoxFuture;
use schemas::{Namespace, ProjectId};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn log() -> MemoryLog {
    MemoryLog::new(Namespace::default(), NonZeroU16::MIN)
}

fn source(id: &str) -> Scope {
    Scope::Source(SourceId::new(id).unwrap())
}

fn second(n: i64) -> Clock {
    Clock::fixed(Time::from_micros(1_800_000_000_000_000).plus_seconds(n))
}

async fn make(log: &dyn Log, at: i64, scope: &Scope) -> anyhow::Result<Made> {
    create(log, &second(at), scope, DAY, "ada").await
}

#[tokio::test]
async fn r11_a_key_is_random_and_only_its_hash_is_in_the_log() {
    let log = log();
    let made = make(&log, 0, &source("main")).await.unwrap();
    assert!(made.key.starts_with("bws_") && made.key.len() == 4 + 43, "{}", made.key);
    assert!(made.before.is_none());
    let known = known(&log, &second(1)).await.unwrap();
    let key = known.held.find(&made.id).unwrap();
    assert_eq!(key.sha256, <[u8; 32]>::from(Sha256::digest(&made.key)));
    assert_eq!((key.made.operator.as_str(), key.holds(second(1).now())), ("ada", true));
    let stream = schemas::subject::deliveries_stream(log.namespace());
    let message = log.get(&stream, made.position.unwrap().sequence).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&message.payload).into_owned();
    assert!(!text.contains(&made.key[4..]), "the key is in the log");
}

#[tokio::test]
async fn r11_two_keys_hold_at_a_time_and_a_third_is_refused() {
    let (log, main) = (log(), source("main"));
    let first = make(&log, 0, &main).await.unwrap();
    let second_one = make(&log, 10, &main).await.unwrap();
    let (before, until) = second_one.before.unwrap();
    assert_eq!((before, until), (first.id.clone(), second(10).now().plus_seconds(86_400)));
    let refused = make(&log, 20, &main).await.unwrap_err();
    let said = refused.to_string();
    assert!(refused.is::<Refused>() && said.contains(&first.id), "{said}");
    assert!(said.contains(&second_one.id) && said.contains("keys revoke"), "{said}");
    // Another scope has its own two.
    let shop = Scope::Project(ProjectId::new("main").unwrap());
    assert!(make(&log, 20, &shop).await.unwrap().before.is_none());
    // Once the first has ended, or is revoked, there is room again.
    let third = make(&log, 10 + 86_400, &main).await.unwrap();
    assert_eq!(third.before.unwrap().0, second_one.id);
    let done = revoke(&log, &second(10 + 86_401), &second_one.id, "bob").await.unwrap();
    assert!(matches!(done, Verdict::Done(Some(_))));
    assert!(make(&log, 10 + 86_402, &main).await.is_ok());
}

#[tokio::test]
async fn a_key_is_revoked_once() {
    let log = log();
    let made = make(&log, 0, &source("main")).await.unwrap();
    let unknown = revoke(&log, &second(1), "00000000", "bob").await.unwrap_err();
    assert!(matches!(unknown.downcast_ref(), Some(Refused::NoSuchKey(id)) if id == "00000000"));
    revoke(&log, &second(1), &made.id, "bob").await.unwrap();
    let again = revoke(&log, &second(2), &made.id, "eve").await.unwrap();
    let Verdict::Already(Some(by)) = again else { panic!("{again:?}") };
    assert_eq!((by.operator.as_str(), by.at), ("bob", second(1).now()));
}

#[tokio::test]
async fn a_source_is_switched_off_and_on() {
    let (log, main) = (log(), SourceId::new("main").unwrap());
    let turn = async |at, on| switch(&log, &second(at), &main, on, "ada").await.unwrap();
    assert!(matches!(turn(0, true).await, Verdict::Already(None)));
    assert!(matches!(turn(1, false).await, Verdict::Done(Some(_))));
    assert!(matches!(turn(2, false).await, Verdict::Already(Some(by)) if by.at == second(1).now()));
    assert!(matches!(turn(3, true).await, Verdict::Done(Some(_))));
    assert!(known(&log, &second(4)).await.unwrap().held.off(&main).is_none());
}

/// What happens to the first publish.
#[derive(Clone, Copy)]
enum Fault {
    /// Somebody else's key of the same source comes first.
    Overtaken,
    /// It is stored, and the answer is lost.
    AnswerLost,
    /// It is lost, and nobody says so.
    Lost,
}

struct Faulty {
    inner: MemoryLog,
    fault: Mutex<Option<Fault>>,
}

impl Log for Faulty {
    fn namespace(&self) -> &Namespace {
        self.inner.namespace()
    }

    fn publish(&self, message: Publish) -> BoxFuture<'_, Result<Ack, PublishError>> {
        let fault = self.fault.lock().unwrap().take();
        Box::pin(async move {
            let subject = message.subject.clone();
            let unknown = || PublishError::Unknown { subject, waited_ms: 3 };
            match fault {
                None => self.inner.publish(message).await,
                Some(Fault::Overtaken) => {
                    make(&self.inner, 0, &source("main")).await.unwrap();
                    self.inner.publish(message).await
                }
                Some(Fault::AnswerLost) => {
                    self.inner.publish(message).await.unwrap();
                    Err(unknown())
                }
                Some(Fault::Lost) => Err(unknown()),
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

    fn ensure<'a>(&'a self, topology: &'a [StreamSpec]) -> BoxFuture<'a, Result<(), Error>> {
        self.inner.ensure(topology)
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_made_once_whatever_the_log_says() {
    for (fault, keys) in [(Fault::Overtaken, 2), (Fault::AnswerLost, 1), (Fault::Lost, 1)] {
        let log = Faulty { inner: log(), fault: Mutex::new(Some(fault)) };
        let made = make(&log, 5, &source("main")).await.unwrap();
        assert_eq!(made.before.is_some(), keys == 2);
        let held = known(&log, &second(6)).await.unwrap().held;
        assert_eq!(held.keys().len(), keys);
        assert!(held.find(&made.id).unwrap().holds(second(6).now()));
    }
}
