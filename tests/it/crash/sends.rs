//! Three notifiers that are killed at random, and a target that is slow and busy at times: nothing
//! is missing, nothing is told twice, and what nobody knows says so (RELIABILITY, "Notifications";
//! F1, F7).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use lanes::job::NewJob;
use schemas::Lane;
use store::{Store, job::End};
use tests::{
    GENERATION,
    fleet::Fleet,
    receiver::{Fault, Receiver, Seen},
    senders::Senders,
    sends::fire,
};
use uuid::Uuid;

use super::WORKER;

/// Where a notifier is killed.
const POINTS: [&str; 4] = ["claimed", "performed", "result_stored", "appended"];

/// Of a thousand requests to a target: how many are answered too late, and how many with 429.
const SLOW: u64 = 10;
const BUSY: u64 = 50;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// A target that recognises a repeat by its key, and the same where nothing is repeated.
const TARGETS: [&str; 2] = ["hook", "once"];

/// The sends of each target; `BELLWETHER_SENDS` says another number.
fn sends() -> u32 {
    std::env::var("BELLWETHER_SENDS").map_or(300, |n| n.parse().unwrap())
}

/// Asks for `count` sends to each target; returns their ids by target.
async fn ask(store: &Store, count: u32) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut asked: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut lane = store.own_lane("test", GENERATION, Lane(1)).await.unwrap().unwrap();
    for target in TARGETS {
        let jobs: Vec<NewJob> = (0..count).map(|n| fire(n, target)).collect();
        asked.insert(target, jobs.iter().map(|job| job.id.to_string()).collect());
        let mut batch = lane.begin();
        batch.insert_jobs(&jobs).await.unwrap();
        batch.commit().await.unwrap();
    }
    lane.release().await;
    asked
}

/// A share of the requests, spread by a hash of their number.
fn misbehave(receiver: &Receiver, seed: u64) {
    receiver.fail_by(move |number| {
        match Senders::new_quietly(seed ^ (u64::from(number) << 20) ^ 0x9e37).next(1_000) {
            // Longer than the channel waits.
            n if n < SLOW => Some(Fault::Hang(Duration::from_secs(2))),
            n if n < SLOW + BUSY => Some(Fault::TooMany { retry_after: 1 }),
            _ => None,
        }
    });
}

/// Starts three notifiers that are each killed at a random point, and one more in place of each
/// that is gone, until nothing is left to do; the last ones live. Returns how many were killed.
async fn kill_at_random(fleet: &mut Fleet, seed: u64, kills: u32) -> u32 {
    let mut random = Senders::new(seed);
    let mut doomed = |fleet: &mut Fleet, left: u32| {
        let point = POINTS[random.next(4) as usize];
        let nth = 3 + random.next(25) as u32;
        if left > 0 {
            fleet.start_doomed("notifier-worker", point, nth)
        } else {
            fleet.start("notifier-worker")
        }
    };
    let mut sql = fleet.world.sql().await;
    let mut killed = 0;
    let mut members = [0; 3].map(|_| doomed(fleet, kills));
    let began = Instant::now();
    loop {
        let open: i64 =
            sqlx::query_scalar("select count(*) from job where state in ('pending', 'claimed')")
                .fetch_one(&mut sql)
                .await
                .unwrap();
        for member in &mut members {
            if !fleet.is_alive(*member) {
                killed += 1;
                *member = doomed(fleet, kills.saturating_sub(killed));
            }
        }
        if open == 0 {
            return killed;
        }
        assert!(began.elapsed() < PATIENCE, "{open} sends are still to be done");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How each send of `target` ended, with the words.
async fn ended(fleet: &Fleet, target: &str) -> BTreeMap<String, (String, Option<String>)> {
    let rows: Vec<(Uuid, String, Option<String>)> =
        sqlx::query_as("select id, state, reason from job where target = $1")
            .bind(target)
            .fetch_all(&mut fleet.world.sql().await)
            .await
            .unwrap();
    rows.into_iter().map(|(id, state, reason)| (id.to_string(), (state, reason))).collect()
}

fn accepted(seen: &Seen) -> BTreeSet<String> {
    assert!(seen.invalid.is_empty(), "{:?}", seen.invalid);
    let ids: BTreeSet<String> = seen.accepted.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids.len(), seen.accepted.len());
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_f7_a3_killed_notifiers_miss_nothing_and_tell_nothing_twice() {
    let (count, seed) = (sends(), 71);
    let once = Receiver::start().await;
    let more = format!(
        r#"
[channels.once]
kind = "webhook"
url = "{}"
secret = "{}"
allow_private = true
timeout_ms = 1500
ambiguous = "park"
"#,
        once.url, once.secret
    );
    let mut fleet = Fleet::new(WORKER, &more).await;
    misbehave(&fleet.receiver, seed);
    misbehave(&once, seed + 1);
    let asked = ask(&fleet.world.store, count).await;

    let killed = kill_at_random(&mut fleet, seed, (count / 25).max(8)).await;
    fleet.stop_all();
    assert!(killed >= 5, "only {killed} were killed");

    // Where a repeat is recognised: every one is there, once, and the crashes did repeat some.
    let hook = fleet.receiver.seen();
    assert_eq!(accepted(&hook), asked["hook"], "missing or told unasked");
    let ends = ended(&fleet, "hook").await;
    assert!(ends.values().all(|(state, _)| state == "done"), "{ends:?}");
    assert!(hook.repeated() > 0, "no crash came between a send and its result");

    // Where it is not: none came twice, each that is done came, and the others say why not known.
    let seen = once.seen();
    let (came, ends) = (accepted(&seen), ended(&fleet, "once").await);
    assert_eq!(seen.repeated(), 0, "told twice: {:?}", seen.repeats);
    let (mut done, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for (id, (state, reason)) in &ends {
        match state.as_str() {
            "done" => done.insert(id.clone()),
            "unknown" => {
                let reason = reason.as_deref().unwrap_or_default();
                let lost = reason == "the worker was lost while sending" || reason == "timeout";
                assert!(lost, "{id} is unknown because of {reason:?}");
                unknown.insert(id.clone())
            }
            state => panic!("{id} ended {state}: {reason:?}"),
        };
    }
    assert!(done.is_subset(&came), "missing: {:?}", done.difference(&came));
    assert!(came.difference(&done).all(|id| unknown.contains(id)));
    assert_eq!(done.len() + unknown.len(), count as usize);
    assert!(!unknown.is_empty(), "no crash and no slow answer left a doubt");
    println!(
        "{} sends, {killed} killed: missing 0, twice 0; {} repeats recognised; {} unknown, of \
         which {} had arrived",
        2 * count,
        hook.repeated(),
        unknown.len(),
        came.intersection(&unknown).count(),
    );

    // An operator finds them, and the log has one outcome or more of each.
    let parked = fleet.world.store.unsent(10_000).await.unwrap();
    let listed: BTreeSet<String> = parked
        .iter()
        .filter(|unsent| unsent.end == End::Unknown)
        .map(|unsent| unsent.job.to_string())
        .collect();
    assert_eq!(listed, unknown);
}
