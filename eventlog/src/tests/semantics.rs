//! One set of checks over both logs.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use schemas::{
    Lane, LaneKey,
    subject::{
        Class, EventChannel, deliveries, deliveries_all, events_all, events_of_stage,
        events_stream, lane_input,
    },
};
use tokio::time::timeout;

use super::{GENERATION, LANES, event, input, lane, message, ns, server::Server, streams};
use crate::{
    Ack, Error, Fence, JetStream, JetStreamConfig, Log, MemoryLog, Message, Messages, Publish,
    PublishError, Read, topology,
};

macro_rules! on_both_logs {
    ($($check:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $check() {
                let log = super::MemoryLog::new(super::ns(), super::LANES);
                super::Log::ensure(&log, &super::streams(&Default::default())).await.unwrap();
                super::$check(&log).await;
            })*
        }
        mod jetstream {
            $(#[tokio::test]
            async fn $check() {
                let Some(server) = super::Server::start() else { return };
                super::$check(&server.log().await).await;
            })*
        }
    };
}

on_both_logs! {
    acks_carry_the_sequence
    a_known_message_id_is_not_stored_again
    a_fence_holds_and_refuses
    the_fence_is_looked_at_before_the_id
    a_read_follows_live_traffic_in_order
    a_read_cannot_begin_beyond_the_end
    the_last_message_over_a_filter
    a_message_by_its_sequence
    what_was_published_is_what_is_read
    what_cannot_be_stored_is_refused
    the_incarnation_stays
    lanes_are_fixed
    a_purge_takes_what_it_names_and_readers_go_on
}

/// Only the filter's messages below the sequence go; sequences, fences and readers stay as they were.
async fn a_purge_takes_what_it_names_and_readers_go_on(log: &dyn Log) {
    for n in 0..6 {
        log.publish(message(lane(n % 2), &n.to_string())).await.unwrap();
    }
    let filter = deliveries(&ns(), lane(0), Class::Data);
    for nothing in [0, 1] {
        assert_eq!(log.purge(&input(), &filter, nothing).await.unwrap(), 0, "below {nothing}");
    }
    assert_eq!(log.purge(&input(), &filter, 4).await.unwrap(), 2, "sequences 1 and 3");
    let info = log.info(&input()).await.unwrap();
    assert_eq!((info.first_sequence, info.last_sequence, info.messages), (2, 6, 4));
    assert!(log.get(&input(), 3).await.unwrap().is_none());
    assert_eq!(log.last(&input(), &filter).await.unwrap().unwrap().sequence, 5);
    let read = Read { stream: input(), filters: vec![deliveries_all(&ns())], from: 1 };
    let mut messages = log.read(read).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(next(&mut messages).await.sequence);
    }
    assert_eq!(seen, [2, 4, 5, 6]);
    assert_eq!(log.publish(message(lane(0), "on")).await.unwrap().sequence, 7);
    assert_eq!(next(&mut messages).await.sequence, 7);
}

async fn next(messages: &mut Messages) -> Message {
    timeout(Duration::from_secs(10), messages.next()).await.unwrap().unwrap().unwrap()
}

async fn stored(log: &impl Log, message: Publish) -> u64 {
    let ack = log.publish(message).await.unwrap();
    assert!(!ack.duplicate);
    ack.sequence
}

async fn acks_carry_the_sequence(log: &impl Log) {
    for expected in 1..=3 {
        let ack = log.publish(message(lane(0), "x")).await.unwrap();
        assert_eq!(ack, Ack { sequence: expected, duplicate: false });
    }
    let info = log.info(&input()).await.unwrap();
    assert_eq!((info.first_sequence, info.last_sequence, info.messages), (1, 3, 3));
    assert!(info.bytes > 0);
}

async fn a_known_message_id_is_not_stored_again(log: &impl Log) {
    let with_id = || Publish { message_id: Some("p:0:1".into()), ..message(lane(0), "x") };
    let first = stored(log, with_id()).await;
    stored(log, message(lane(0), "y")).await;
    let again = log.publish(with_id()).await.unwrap();
    assert_eq!(again, Ack { sequence: first, duplicate: true });
    assert_eq!(log.info(&input()).await.unwrap().messages, 2);
}

fn fenced(channel: EventChannel, last_sequence: u64) -> Publish {
    let filter = events_of_stage(&ns(), GENERATION, Lane(0), "observe");
    Publish { fence: Some(Fence { filter, last_sequence }), ..event(channel, "x") }
}

async fn a_fence_holds_and_refuses(log: &impl Log) {
    // given a stage that publishes on two channels under one fence
    let refused = |result| match result {
        Err(PublishError::WrongSequence { expected, .. }) => expected,
        other => panic!("{other:?}"),
    };
    assert_eq!(stored(log, fenced(EventChannel::Decision, 0)).await, 1);
    assert_eq!(stored(log, fenced(EventChannel::Alert, 1)).await, 2);
    // when another stage writes, the fence still holds
    assert_eq!(stored(log, event(EventChannel::Notice, "x")).await, 3);
    assert_eq!(stored(log, fenced(EventChannel::Decision, 2)).await, 4);
    // then a stale owner is refused on either channel
    for channel in [EventChannel::Decision, EventChannel::Alert] {
        for stale in [0, 1, 2, 3, 5] {
            assert_eq!(refused(log.publish(fenced(channel, stale)).await), stale);
        }
    }
    assert_eq!(log.info(&events_stream(&ns(), GENERATION)).await.unwrap().messages, 4);
}

async fn the_fence_is_looked_at_before_the_id(log: &impl Log) {
    let first =
        || Publish { message_id: Some("observe:1".into()), ..fenced(EventChannel::Decision, 0) };
    let sequence = stored(log, first()).await;
    // An owner whose first try was stored, unknown to it, learns so from the last frame's id.
    let again = log.publish(first()).await;
    assert!(matches!(again, Err(PublishError::WrongSequence { expected: 0, .. })), "{again:?}");
    let filter = events_of_stage(&ns(), GENERATION, Lane(0), "observe");
    let last = log.last(&events_stream(&ns(), GENERATION), &filter).await.unwrap().unwrap();
    assert_eq!((last.sequence, last.header("Nats-Msg-Id")), (sequence, Some("observe:1")));
    // With the fence it now needs, the id alone says that it is there.
    let filter_holds = Publish { fence: fenced(EventChannel::Decision, 1).fence, ..first() };
    let again = log.publish(filter_holds).await.unwrap();
    assert_eq!(again, Ack { sequence, duplicate: true });
}

async fn a_read_follows_live_traffic_in_order(log: &impl Log) {
    // given messages of all lanes
    let keys = [lane(0), lane(1), LaneKey::All];
    for n in 0..30 {
        stored(log, message(keys[n % 3], &n.to_string())).await;
    }
    // when lane 1 reads from the middle, while more arrive
    let read = Read { stream: input(), filters: lane_input(&ns(), Lane(1)).into(), from: 11 };
    let mut messages = log.read(read).await.unwrap();
    let mut got = Vec::new();
    for n in 30..60 {
        stored(log, message(keys[n % 3], &n.to_string())).await;
        if n % 3 == 0 {
            got.push(next(&mut messages).await);
        }
    }
    let expected: Vec<u64> = (11..=60).filter(|sequence| sequence % 3 != 1).collect();
    while got.len() < expected.len() {
        got.push(next(&mut messages).await);
    }
    // then it gets its own and those of all, each once and in order
    assert_eq!(got.iter().map(|m| m.sequence).collect::<Vec<_>>(), expected);
    for message in &got {
        assert_eq!(message.payload, (message.sequence - 1).to_string());
        let key = keys[(message.sequence as usize - 1) % 3];
        assert_eq!(message.subject, deliveries(&ns(), key, Class::Data));
    }
}

async fn a_read_cannot_begin_beyond_the_end(log: &impl Log) {
    stored(log, message(lane(0), "1")).await;
    let read = |from| Read { stream: input(), filters: vec![deliveries_all(&ns())], from };
    assert!(matches!(log.read(read(3)).await, Err(Error::Read { .. })));
    let mut messages = log.read(read(2)).await.unwrap();
    stored(log, message(lane(0), "2")).await;
    assert_eq!(next(&mut messages).await.payload, "2");
    assert!(log.read(Read { stream: "none".into(), ..read(1) }).await.is_err());
}

async fn the_last_message_over_a_filter(log: &impl Log) {
    let stream = events_stream(&ns(), GENERATION);
    let filter = events_of_stage(&ns(), GENERATION, Lane(0), "observe");
    assert!(log.last(&stream, &filter).await.unwrap().is_none());
    for (channel, text) in
        [(EventChannel::Decision, "a"), (EventChannel::Alert, "b"), (EventChannel::Notice, "c")]
    {
        stored(log, event(channel, text)).await;
    }
    let last = log.last(&stream, &filter).await.unwrap().unwrap();
    assert_eq!((last.sequence, &last.payload[..]), (2, &b"b"[..]));
    let all = log.last(&stream, &events_all(&ns(), GENERATION)).await.unwrap().unwrap();
    assert_eq!(all.sequence, 3);
    let one = event(EventChannel::Decision, "").subject;
    assert_eq!(log.last(&stream, &one).await.unwrap().unwrap().sequence, 1);
    assert!(log.last("none", &filter).await.is_err());
}

async fn a_message_by_its_sequence(log: &impl Log) {
    stored(log, message(lane(0), "a")).await;
    stored(log, message(lane(1), "b")).await;
    let got = log.get(&input(), 2).await.unwrap().unwrap();
    assert_eq!((got.sequence, &got.payload[..]), (2, &b"b"[..]));
    assert!(log.get(&input(), 3).await.unwrap().is_none());
}

async fn what_was_published_is_what_is_read(log: &impl Log) {
    // given a large binary payload with headers, kept for ever
    let payload = Bytes::from((0..900_000u32).map(|n| n as u8).collect::<Vec<_>>());
    let sent = Publish {
        message_id: Some("id-1".into()),
        headers: vec![("part".into(), "0".into()), ("batch".into(), "7".into())],
        payload: payload.clone(),
        keep_forever: true,
        ..message(lane(0), "")
    };
    stored(log, sent).await;
    // then every way of reading gives the same
    let read = Read { stream: input(), filters: vec![deliveries_all(&ns())], from: 1 };
    let followed = next(&mut log.read(read).await.unwrap()).await;
    let got = log.get(&input(), 1).await.unwrap().unwrap();
    let last = log.last(&input(), &deliveries_all(&ns())).await.unwrap().unwrap();
    for message in [followed, got, last] {
        assert_eq!(message.payload, payload);
        let headers = [("Nats-Msg-Id", "id-1"), ("batch", "7"), ("part", "0")];
        assert_eq!(message.headers, headers.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(message.header("batch"), Some("7"));
        assert!(message.time.micros() > 1_700_000_000_000_000, "{}", message.time);
    }
}

async fn what_cannot_be_stored_is_refused(log: &impl Log) {
    let check = async |message: Publish| match log.publish(message).await {
        Err(PublishError::NotStored { .. }) => {}
        other => panic!("{other:?}"),
    };
    let with_header = |name: &str, value: &str| Publish {
        headers: vec![(name.into(), value.into())],
        ..message(lane(0), "x")
    };
    check(with_header("a", "line\r\nbreak")).await;
    check(with_header("a\n", "b")).await;
    check(with_header("a:b", "c")).await;
    check(Publish { subject: deliveries_all(&ns()), ..message(lane(0), "x") }).await;
    check(Publish { subject: "bw.deliveries.>".into(), ..message(lane(0), "x") }).await;
    check(Publish { subject: "bw.elsewhere".into(), ..message(lane(0), "x") }).await;
    check(Publish { stream: "none".into(), ..message(lane(0), "x") }).await;
    check(Publish { stream: events_stream(&ns(), GENERATION), ..message(lane(0), "x") }).await;
    assert_eq!(log.info(&input()).await.unwrap().messages, 0);
}

async fn the_incarnation_stays(log: &impl Log) {
    let before = log.info(&input()).await.unwrap().incarnation;
    assert!(before > 1_700_000_000, "{before} are no Unix seconds");
    stored(log, message(lane(0), "x")).await;
    log.ensure(&streams(&Server::limits())).await.unwrap();
    assert_eq!(log.info(&input()).await.unwrap().incarnation, before);
}

async fn lanes_are_fixed(log: &impl Log) {
    let other = JetStreamConfig { lanes: LANES.checked_add(1).unwrap(), ..Default::default() };
    let result = log.ensure(&[topology::deliveries(&other)]).await;
    assert!(matches!(result, Err(Error::Mismatch { .. })), "{result:?}");
}

#[tokio::test]
async fn a_full_stream_refuses_at_once() {
    let check = async |log: &dyn Log| {
        let full =
            topology::StreamSpec { max_bytes: Some(4096), ..streams(&Server::limits()).remove(1) };
        log.ensure(&[full]).await.unwrap();
        let text = "x".repeat(1500);
        let mut refused = 0;
        for _ in 0..4 {
            match log.publish(event(EventChannel::Alert, &text)).await {
                Ok(_) => assert_eq!(refused, 0),
                Err(PublishError::NotStored { .. }) => refused += 1,
                Err(e) => panic!("{e}"),
            }
        }
        assert_eq!(refused, 2);
    };
    check(&MemoryLog::new(ns(), LANES)).await;
    let Some(server) = Server::start() else { return };
    check(&JetStream::connect(&server.config()).await.unwrap()).await;
}

#[tokio::test]
async fn limits_follow_the_configuration_and_foreign_streams_are_refused() {
    let Some(server) = Server::start() else { return };
    let log = server.log().await;
    let client = async_nats::connect(server.config().url).await.unwrap();
    let context = async_nats::jetstream::new(client);
    // given a stream made with other limits, when a process starts, then it has the new ones
    stored(&log, message(lane(0), "x")).await;
    server.log_with(JetStreamConfig { max_bytes: 32 << 20, ..server.config() }).await;
    let found = context.get_stream(input()).await.unwrap().cached_info().clone();
    assert_eq!(found.config.max_bytes, 32 << 20);
    assert_eq!(found.config.metadata.get(topology::LANES_KEY).unwrap(), "4");
    assert_eq!(found.state.messages, 1);
    // given a stream that drops its oldest messages, then nothing starts on it
    let stream = events_stream(&ns(), GENERATION);
    let mut old = context.get_stream(&stream).await.unwrap().cached_info().config.clone();
    old.discard = async_nats::jetstream::stream::DiscardPolicy::Old;
    context.update_stream(&old).await.unwrap();
    let result = log.ensure(&streams(&Server::limits())).await;
    assert!(matches!(result, Err(Error::Mismatch { .. })), "{result:?}");
}

#[tokio::test]
async fn what_is_kept_for_ever_outlives_the_retention() {
    let Some(server) = Server::start() else { return };
    let log = JetStream::connect(&server.config()).await.unwrap();
    let second = Duration::from_secs(1);
    let brief = topology::StreamSpec {
        max_age: Some(second),
        duplicate_window: second,
        ..streams(&Server::limits()).remove(0)
    };
    log.ensure(&[brief]).await.unwrap();
    stored(&log, message(lane(0), "aged")).await;
    let kept = Publish { keep_forever: true, ..message(LaneKey::All, "kept") };
    let sequence = stored(&log, kept).await;
    let gone = async {
        while log.get(&input(), 1).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(15), gone).await.unwrap();
    assert_eq!(log.get(&input(), sequence).await.unwrap().unwrap().payload, "kept");
}
