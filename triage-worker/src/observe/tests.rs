//! Days of numbers, and how often a lane is ticked.

use std::sync::Arc;

use eventlog::{AppenderConfig, Log, MemoryLog};
use schemas::{Namespace, ProducerId, RecordFrame, subject};

use super::*;

const LANES: NonZeroU16 = NonZeroU16::MIN;

fn config(text: &str) -> Result<Config, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

#[test]
fn r34_the_day_of_a_number_is_that_of_the_configured_zone() {
    let day = |text, at: &str| {
        let clock = Clock::fixed(Time::default());
        let stage = ObserveStage::new(config(text).unwrap(), LANES, None, clock);
        stage.day(at.parse().unwrap())
    };
    assert_eq!(day("{}", "2026-01-01T15:59:59Z"), "20260101");
    assert_eq!(day("{}", "2026-01-01T16:00:00Z"), "20260102");
    assert_eq!(day(r#"{"zone":"-05:00"}"#, "2026-01-01T04:00:00Z"), "20251231");
    assert_eq!(day(r#"{"zone":"Europe/Berlin"}"#, "2026-07-01T22:30:00Z"), "20260702");
    assert!(config(r#"{"zone":"Nowhere/Town"}"#).is_err());
    assert!(config(r#"{"zome":"+08:00"}"#).is_err());
}

#[tokio::test]
async fn a_lane_is_ticked_as_often_as_asked_and_its_beats_allow() {
    for (every, beats, expect) in [
        (5, vec![0, 3, 6, 9], vec![0, 3, 6, 9]),
        (10, vec![0, 3, 6, 9, 12, 15, 18], vec![0, 9, 18]),
        (5, vec![0, 60], vec![0, 60]),
    ] {
        let log = Arc::new(MemoryLog::new(Namespace::default(), LANES));
        let (appender, driver) = Appender::start(
            log.clone(),
            AppenderConfig {
                producer: ProducerId(runtime::random_uuid()),
                lanes: LANES,
                budget: std::time::Duration::from_secs(5),
                max_queued_bytes: 1 << 20,
            },
        );
        let config = Config { tick_seconds: every, ..Config::default() };
        let clock = Clock::fixed(Time::default());
        let stage = ObserveStage::new(config, LANES, Some(appender), clock);
        let beat = async move {
            for second in beats {
                stage.beat(Lane(0), Time::default().plus_seconds(second)).await;
            }
        };
        futures_util::future::join(driver, beat).await;
        assert_eq!(ticks(&*log).await, expect, "every {every} s");
    }
}

async fn ticks(log: &dyn Log) -> Vec<i64> {
    let stream = subject::deliveries_stream(log.namespace());
    let mut ticks = Vec::new();
    for sequence in 1..=log.info(&stream).await.unwrap().last_sequence {
        let message = log.get(&stream, sequence).await.unwrap().unwrap();
        let frame = RecordFrame::parse(&message.payload).unwrap();
        for record in frame.records {
            let Body::Tick(tick) = Record::decode(record).unwrap().body else { panic!() };
            ticks.push(tick.now.micros() / 1_000_000);
        }
    }
    ticks
}
