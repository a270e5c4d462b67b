//! A worker that dies at each point of a job.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A configuration that dies when `point` is reached for the third time.
fn dies_at(point: &'static str) -> JobLoopConfig {
    let reached = AtomicU32::new(0);
    JobLoopConfig {
        faults: Arc::new(move |at| {
            if at == point && reached.fetch_add(1, Ordering::SeqCst) == 2 {
                panic!("dies at {at}");
            }
        }),
        ..quick()
    }
}

/// Five jobs; a worker dies at `point` of the third, another takes over when the lease is over.
/// `calls` and `records` are what the third job has in the end; the others have one of each.
async fn check(rig: &Rig, round: u32, point: &'static str, calls: usize, records: usize) {
    // given
    let first = round * 10;
    let numbers = first..first + 5;
    let jobs: Vec<NewJob> = numbers.clone().map(|n| job(n, n, "a")).collect();
    let stub = Stub::new(Duration::from_millis(600), 1, works(Duration::ZERO));
    rig.insert(GENERATION, &jobs).await;
    let before: u64 = u64::from(round) * 5;

    // when
    let (task, _controller) = rig.run(&stub, dies_at(point));
    let died = timeout(PATIENCE, task).await.unwrap();
    assert!(died.unwrap_err().is_panic(), "{point}");
    let (task, controller) = rig.run(&stub, quick());
    rig.settled(&[("done", before + 5)]).await;
    controller.stop();
    timeout(PATIENCE, task).await.unwrap().unwrap();

    // then
    let third = id(first + 2);
    let want = |n: usize| -> BTreeMap<JobId, usize> {
        numbers.clone().map(|i| (id(i), if id(i) == third { n } else { 1 })).collect()
    };
    assert_eq!(stub.counts(), want(calls), "calls, died at {point}");
    let mut outcomes = rig.outcomes().await;
    outcomes.retain(|job, _| want(0).contains_key(job));
    assert_eq!(outcomes, want(records), "records, died at {point}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_is_continued_there() {
    let rig = Rig::start().await;
    check(&rig, 0, "claimed", 1, 1).await;
    // Nobody kept what it returned; `sent` and the channel's key are what deliver has for this.
    check(&rig, 1, "performed", 2, 1).await;
    check(&rig, 2, "result_stored", 1, 1).await;
    // The record stands there twice and says the same; a fold takes the first.
    check(&rig, 3, "appended", 1, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_lost_its_lease_changes_nothing() {
    // given a worker that is still busy when its lease ends: its deadline was not honoured
    let rig = Rig::start().await;
    let store = &rig.world.store;
    rig.insert(GENERATION, &[job(0, 0, "a")]).await;
    let lease = Duration::from_millis(1);
    let late = store.claim(Queue::Send, 1, lease, &Room::default(), &[]).await.unwrap().remove(0);
    sleep(Duration::from_millis(20)).await;
    let next =
        store.claim(Queue::Send, 1, PATIENCE, &Room::default(), &[]).await.unwrap().remove(0);
    assert_eq!((late.attempts, next.attempts), (1, 2));

    // when it comes back, then each of its writes is refused
    assert!(!store.store_result(&late, b"late", End::Done, None).await.unwrap());
    assert!(!store.settle(&late, End::Done, None).await.unwrap());
    assert!(!store.retry(&late, Duration::ZERO, "late").await.unwrap());
    // NUL, which no column takes, must not make a row that can never be written.
    assert!(store.store_result(&next, b"next", End::Parked, Some("why\0")).await.unwrap());
    assert!(store.retry(&next, Duration::ZERO, "the log\0 is away").await.unwrap());

    // and what was kept comes with the next claim
    let third =
        store.claim(Queue::Send, 1, PATIENCE, &Room::default(), &[]).await.unwrap().remove(0);
    assert_eq!(third.result.as_deref(), Some(&b"next"[..]));
    assert_eq!(third.result_end.map(|(end, _)| end), Some(End::Parked));
    assert_eq!(third.payload, 0u32.to_be_bytes());
    assert_eq!(third.trigger, trigger(0));
    assert_eq!(third.lane, LANE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_tried_again_and_parked_in_the_end() {
    let rig = Rig::start().await;
    rig.insert(GENERATION, &[job(0, 0, "a"), job(1, 0, "a"), job(2, 1, "a")]).await;
    let stub = Stub::new(
        Duration::from_secs(20),
        4,
        Arc::new(|job| {
            async move {
                match job.id {
                    bad if bad == id(0) => panic!("cannot be sent"),
                    flaky if flaky == id(2) && job.attempts < 3 => panic!("not yet"),
                    _ => done(),
                }
            }
            .boxed()
        }),
    );
    let config = JobLoopConfig { panics_max: 4, ..quick() };
    let (_task, controller) = rig.run(&stub, config);
    rig.settled(&[("done", 2), ("parked", 1)]).await;
    controller.stop();
    let mut sql = rig.world.sql().await;
    let (reason, attempts): (String, i32) =
        sqlx::query_as("select reason, attempts from job where state = 'parked'")
            .fetch_one(&mut sql)
            .await
            .unwrap();
    assert_eq!((reason.as_str(), attempts), ("panicked: cannot be sent", 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_past_its_deadline_is_tried_again() {
    let rig = Rig::start().await;
    rig.insert(GENERATION, &[job(0, 0, "a")]).await;
    let stub = Stub::new(
        Duration::from_millis(800),
        1,
        Arc::new(|job| {
            async move {
                if job.attempts == 1 {
                    std::future::pending::<()>().await;
                }
                done()
            }
            .boxed()
        }),
    );
    let (_task, _controller) = rig.run(&stub, quick());
    rig.settled(&[("done", 1)]).await;
    assert_eq!(rig.outcomes().await, [(id(0), 1)].into());
}
