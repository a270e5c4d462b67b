//! A lane loop with one fault, say: its cursor moves in a transaction of its own, after the effects.
//!
//! Undisturbed that one passes the same check as the real loop; killed between the two it does not.
//! So the check can fail, and what it holds the loop to is that one transaction.

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use bytes::Bytes;
use eventlog::{Appender, AppenderConfig, Fence, Log, Publish, Read};
use futures_util::StreamExt;
use lanes::{Item, Out, Stage};
use runtime::Clock;
use schemas::{
    InputPosition, Lane, LaneKey, ProducerId, ProjectId, Record, SourceId, codec,
    event::PartHeader,
    frame::RecordFrame,
    record::{Auth, Body, Delivery},
    subject::{self, Class, EventChannel},
};
use serde_json::json;
use store::lane::Account;
use tests::{GENERATION, fleet::Fleet, oracle};
use triage_worker::{ObserveStage, observe::Config};

use super::WORKER;

/// What is wrong with a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The cursor moves after the effects, in a transaction of its own, and between the two of
    /// each batch whose number is a multiple of this one the process dies; at 0 it never does.
    CursorApart {
        crash_every: usize,
    },
    /// A batch's ticks are folded before its other records.
    TimeOfBatch,
    /// Two owners take turns with the rows each holds since it took the lane over, and neither sees
    /// by the cursor that the other was there.
    TwoOwners,
}

/// Applies every frame of a log of whole frames, none of which stands twice, as a process would
/// that has the fault; one that died starts again from the tables.
pub(crate) async fn fold_wrongly(fleet: &Fleet, lane: Lane, fault: Fault) {
    let (world, log) = (&fleet.world, fleet.world.log().await);
    let stage = ObserveStage::new(Config::default(), world.lanes, None, Clock::system());
    let stream = subject::deliveries_stream(&world.namespace);
    let info = log.info(&stream).await.unwrap();
    let filters = subject::lane_input(&world.namespace, lane).to_vec();
    let mut end = 0;
    for filter in &filters {
        end = end.max(log.last(&stream, filter).await.unwrap().map_or(0, |m| m.sequence));
    }
    let mut done = 0;
    'owner: loop {
        let mut owner = loop {
            // The lock of the owner that was dropped goes when the server notices.
            if let Some(owner) = world.store.own_lane("observe", GENERATION, lane).await.unwrap() {
                break owner;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let mut cursor = owner.cursor().await.unwrap();
        let mut states = vec![stage.load(&mut owner, lane).await.unwrap()];
        if fault == Fault::TwoOwners {
            states.push(stage.load(&mut owner, lane).await.unwrap());
        }
        let from = cursor.at.sequence + 1;
        let read = Read { stream: stream.clone(), filters: filters.clone(), from };
        let mut messages = log.read(read).await.unwrap();
        while cursor.at.sequence < end {
            let message = messages.next().await.unwrap().unwrap();
            let frame = RecordFrame::parse(&message.payload).unwrap();
            let (key, _) = subject::parse_deliveries(&world.namespace, &message.subject).unwrap();
            let mut records = (0u32..).zip(&frame.records).peekable();
            while records.peek().is_some() {
                done += 1;
                let turn = done % states.len();
                let state = &mut states[turn];
                let (mut batch, mut last) = (Vec::new(), cursor.at);
                for (record, bytes) in records.by_ref() {
                    let (incarnation, sequence) = (info.incarnation, message.sequence);
                    last = InputPosition { incarnation, sequence, record };
                    let item = Item {
                        at: last,
                        bytes: Bytes::copy_from_slice(bytes),
                        stored_at: message.time,
                        of_all: key == LaneKey::All,
                    };
                    let prepared = stage.prepare(&stage.context(state), &item).unwrap();
                    let ends = stage.ends_batch(&prepared);
                    batch.push((item, prepared));
                    if ends {
                        break;
                    }
                }
                if fault == Fault::TimeOfBatch {
                    batch.sort_by_key(|(item, _)| !is_tick(&item.bytes));
                }
                stage.gather(&mut owner, state, &batch).await.unwrap();
                let mut out = Out { lane_time: cursor.lane_time, ..Out::default() };
                let records = batch.len() as u64;
                for (item, prepared) in batch {
                    stage.fold(state, item, prepared, &mut out);
                }
                let mut new = cursor.clone();
                (new.at, new.through) = (last, last);
                new.batch += 1;
                let mut transaction = owner.begin();
                stage.write(&mut transaction, state, &mut out).await.unwrap();
                if let Fault::CursorApart { crash_every } = fault {
                    transaction.commit().await.unwrap();
                    if crash_every > 0 && done % crash_every == 0 {
                        drop(owner);
                        continue 'owner;
                    }
                    transaction = owner.begin();
                }
                new.lane_time = out.lane_time;
                let account = Account {
                    in_frames: records,
                    outcomes: &out.outcomes,
                    producers: &[],
                    messages: &[],
                };
                transaction.advance(&cursor, &new, new.at, Some(&account));
                transaction.commit().await.unwrap();
                publish(&*log, lane, new.batch, new.through, &out).await;
                cursor = new;
            }
        }
        return;
    }
}

fn is_tick(bytes: &[u8]) -> bool {
    Record::decode(bytes).is_ok_and(|record| matches!(record.body, Body::Tick(_)))
}

/// Decisions, then alerts.
async fn publish(log: &dyn Log, lane: Lane, batch: u64, through: InputPosition, out: &Out) {
    let namespace = log.namespace();
    let stream = subject::events_stream(namespace, GENERATION);
    let filter = subject::events_of_stage(namespace, GENERATION, lane, "observe");
    for (part, channel) in (0u32..).zip([EventChannel::Decision, EventChannel::Alert]) {
        let header =
            PartHeader { batch, part, parts: 2, leading: 1, through, own: None, unpacked: None };
        let mut payload = Vec::new();
        for event in out.events.iter().filter(|e| e.kind.channel() == channel) {
            codec::append(event, &mut payload);
        }
        let last = log.last(&stream, &filter).await.unwrap().map_or(0, |m| m.sequence);
        let headers = header.to_headers().into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
        log.publish(Publish {
            stream: stream.clone(),
            subject: subject::events(namespace, GENERATION, lane, channel),
            message_id: None,
            headers,
            payload: payload.into(),
            fence: Some(Fence { filter: filter.clone(), last_sequence: last }),
            keep_forever: false,
        })
        .await
        .unwrap();
    }
}

/// Ten deliveries of one problem, one frame each.
async fn append(log: Arc<dyn Log>, lanes: NonZeroU16, project: &ProjectId) {
    let clock = Clock::system();
    let producer = ProducerId(runtime::random_uuid());
    let config = AppenderConfig {
        producer,
        lanes,
        budget: Duration::from_secs(5),
        max_queued_bytes: 1 << 20,
    };
    let (appender, driver) = Appender::start(log, config);
    let driver = tokio::spawn(driver);
    for n in 0..10 {
        let body = json!({"action": "created", "data": {"error": {
            "event_id": format!("{n:032x}"), "issue_id": "1", "title": "Error",
            "culprit": "shop.cart", "level": "error", "project": 1,
        }}});
        let delivery = Delivery {
            provider: "sentry".into(),
            source: SourceId::new("sentry").unwrap(),
            route: "/webhook/sentry".into(),
            headers: vec![("sentry-hook-resource".into(), "error".into())],
            remote: None,
            auth: Auth { method: "hmac_sha256".into(), credential: None },
            raw: body.to_string().into_bytes(),
            sha256: [0; 32],
            content_type: None,
            channel: None,
            recorded: None,
        };
        let body = Body::Delivery(Box::new(delivery));
        let id = runtime::record_id(&clock);
        let record = Record::new(id, clock.now(), Some(project.clone()), body);
        let lane = LaneKey::Lane(Lane::of(project, lanes));
        appender.append(lane, Class::Data, record).await.unwrap();
    }
    drop(appender);
    driver.await.unwrap();
}

async fn run(fault: Fault) -> Vec<String> {
    let mut fleet = Fleet::new(WORKER, "").await;
    let project = ProjectId::new("shop").unwrap();
    append(fleet.world.log().await, fleet.world.lanes, &project).await;
    let lane = Lane::of(&project, fleet.world.lanes);
    fold_wrongly(&fleet, lane, fault).await;
    fleet.start("projector");
    let covered = "select count(*) from cursor p join cursor o on o.lane = p.lane
                   and o.stage = 'observe' and p.stage = 'project' and p.through_seq >= o.seq
                   where o.seq > $1";
    fleet.until(covered, 0, 1).await;
    oracle::differences(&fleet.world).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_outside_the_transaction_passes_undisturbed() {
    assert_eq!(run(Fault::CursorApart { crash_every: 0 }).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_outside_the_transaction_is_caught_by_the_same_check() {
    let differences = run(Fault::CursorApart { crash_every: 4 }).await;
    assert!(differences.iter().any(|d| d.contains("ledger")), "{differences:?}");
    assert!(differences.iter().any(|d| d.contains("decision events")), "{differences:?}");
    assert!(differences.iter().any(|d| d.contains("dossier")), "{differences:?}");
}
