//! A target that does not answer is told one thing at a time, by all workers together, and everything
//! again as soon as it answers.

use lanes::job::Budget;
use store::{Store, job::Health};

use super::*;

fn budget(target: &str) -> Budget {
    Budget { target: target.into(), per_minute: 60_000, burst: 1_000 }
}

/// What a worker claims that has room for everything.
async fn claim(store: &Store, n: usize, targets: &[&str]) -> Vec<Job> {
    let budgets: Vec<Budget> = targets.iter().map(|target| budget(target)).collect();
    store.claim(Queue::Send, n, PATIENCE, &Room::default(), &budgets).await.unwrap()
}

/// Lets the pause between two probes be over.
async fn pause_over(rig: &Rig) {
    sqlx::query("update target set probe_at = now() where probe_at is not null")
        .execute(&mut rig.world.sql().await)
        .await
        .unwrap();
}

/// How long the pause of target `a` is, in seconds.
async fn pause(rig: &Rig) -> f64 {
    sqlx::query_scalar(
        "select extract(epoch from probe_at - now())::float8 from target where target = 'a'",
    )
    .fetch_one(&mut rig.world.sql().await)
    .await
    .unwrap()
}

async fn with_jobs(targets: &[&str]) -> Rig {
    let rig = Rig::start().await;
    let count = u32::try_from(targets.len()).unwrap();
    let jobs: Vec<NewJob> =
        (0..40 * count).map(|n| job(n, n, targets[n as usize % targets.len()])).collect();
    rig.insert(GENERATION, &jobs).await;
    let budgets: Vec<Budget> = targets.iter().map(|target| budget(target)).collect();
    rig.world.store.open_targets(&budgets).await.unwrap();
    rig
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_silent_target_is_probed_by_one_worker_at_a_time() {
    // given a target of which three attempts in a row had no answer, and another one
    let rig = with_jobs(&["a", "b"]).await;
    let store = &rig.world.store;
    let begun = claim(store, 8, &["a", "b"]).await;
    assert!(begun.iter().all(|job| job.health == Health::Answers));
    let of_a: Vec<&Job> = begun.iter().filter(|job| job.target == "a").collect();
    assert_eq!(of_a.len(), 4);
    let mut turned = Vec::new();
    for job in &of_a {
        turned.push(store.unanswered(job).await.unwrap());
    }
    assert_eq!(turned, [false, false, true, false], "it turns silent once");

    assert!(pause(&rig).await <= 1.0, "it is not left alone for long");

    // when its pause is over and many workers claim at once, then one of them probes it
    pause_over(&rig).await;
    let at_once = (0..6).map(|_| claim(store, 4, &["a", "b"]));
    let claimed: Vec<Job> =
        futures_util::future::join_all(at_once).await.into_iter().flatten().collect();
    let probes: Vec<&Job> = claimed.iter().filter(|job| job.target == "a").collect();
    assert_eq!(probes.len(), 1, "{probes:?}");
    assert_eq!(probes[0].health, Health::Probed);
    assert!(claimed.len() >= 5, "the other target is claimed as before");

    // when an attempt from before ends in silence, then nobody else probes
    store.unanswered(of_a[0]).await.unwrap();
    let jobs = claim(store, 8, &["a", "b"]).await;
    assert!(!jobs.is_empty() && jobs.iter().all(|job| job.target == "b"), "{jobs:?}");

    // when the probe has an answer, then it has all its places
    store.answered("a").await.unwrap();
    let jobs = claim(store, 80, &["a", "b"]).await;
    assert_eq!(jobs.iter().filter(|job| job.target == "a").count(), 40 - 4 - 1);
    assert!(jobs.iter().all(|job| job.health == Health::Answers));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_the_pause_grows_with_the_silence_and_never_beyond_ten_seconds() {
    let rig = with_jobs(&["a"]).await;
    let store = &rig.world.store;
    for job in &claim(store, 3, &["a"]).await {
        store.unanswered(job).await.unwrap();
    }
    for (silence, least, most) in
        [("2 seconds", 0.0, 1.0), ("20 seconds", 4.0, 6.0), ("2 hours", 9.0, 10.0)]
    {
        sqlx::query("update target set silent_since = now() - $1::interval")
            .bind(silence)
            .execute(&mut rig.world.sql().await)
            .await
            .unwrap();
        pause_over(&rig).await;
        let [probe] = &claim(store, 8, &["a"]).await[..] else { panic!("not one probe") };
        assert!(pause(&rig).await > 10.0, "for as long as the probe's lease nobody else probes");
        assert!(!store.unanswered(probe).await.unwrap());
        let pause = pause(&rig).await;
        assert!((least..=most).contains(&pause), "{silence}: {pause}");
    }
    assert!(claim(store, 8, &["a"]).await.is_empty(), "it is left alone");
    // A turn in which nothing was asked goes to the next.
    pause_over(&rig).await;
    assert_eq!(claim(store, 8, &["a"]).await.len(), 1);
    store.pass_probe("a").await.unwrap();
    assert_eq!(claim(store, 8, &["a"]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_what_answers_now_and_then_keeps_its_places() {
    let rig = with_jobs(&["a"]).await;
    let store = &rig.world.store;
    for _ in 0..4 {
        let jobs = claim(store, 3, &["a"]).await;
        assert_eq!(jobs.len(), 3);
        for job in &jobs[..2] {
            assert!(!store.unanswered(job).await.unwrap());
        }
        let [next] = &claim(store, 1, &["a"]).await[..] else { panic!("it is left alone") };
        assert_eq!(next.health, Health::Doubtful);
        store.answered(&next.target).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_worker_without_a_place_for_probes_claims_none() {
    let rig = with_jobs(&["a", "b"]).await;
    let store = &rig.world.store;
    let jobs = claim(store, 8, &["a", "b"]).await;
    for job in jobs.iter().filter(|job| job.target == "a") {
        store.unanswered(job).await.unwrap();
    }
    pause_over(&rig).await;
    let (budgets, room) = ([budget("a"), budget("b")], Room { full: vec![], probes: false });
    let jobs = store.claim(Queue::Send, 8, PATIENCE, &room, &budgets).await.unwrap();
    assert_eq!(jobs.iter().filter(|job| job.target == "b").count(), 8);
    assert_eq!(jobs.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_success_ends_the_silence_whenever_it_was_begun() {
    // given a target that turned silent while somebody was still telling it something
    let rig = with_jobs(&["a"]).await;
    let store = &rig.world.store;
    let begun = claim(store, 4, &["a"]).await;
    assert!(begun.iter().all(|job| job.health == Health::Answers));
    for job in &begun[1..] {
        store.unanswered(job).await.unwrap();
    }
    // when that one has its answer, then the target has all its places, and it turned once
    assert!(store.answered("a").await.unwrap());
    assert!(!store.answered("a").await.unwrap());
    assert_eq!(claim(store, 8, &["a"]).await.len(), 8);
}

/// Job `n` for target `a`, about an incident of its own.
fn waiting(n: u32, urgent: bool) -> NewJob {
    NewJob { urgent, ..job(n, n, "a") }
}

/// The ids of `jobs`.
fn ids(jobs: &[NewJob]) -> Vec<schemas::JobId> {
    jobs.iter().map(|job| job.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_silent_target_is_probed_with_what_is_not_urgent_first() {
    // given pages and less urgent messages for a target, and it turns silent
    let rig = Rig::start().await;
    let store = &rig.world.store;
    let (first, pages): (Vec<_>, Vec<_>) =
        ((0..3).map(|n| waiting(n, true)).collect(), (3..6).map(|n| waiting(n, true)).collect());
    let others: Vec<_> = (6..8).map(|n| waiting(n, false)).collect();
    rig.insert(GENERATION, &[&first[..], &pages, &others].concat()).await;
    store.open_targets(&[budget("a")]).await.unwrap();
    let begun = claim(store, 3, &["a"]).await;
    assert_eq!(begun.len(), 3);
    for job in &begun {
        assert!(ids(&first).contains(&job.id), "while it answers the urgent ones go first");
        store.unanswered(job).await.unwrap();
    }
    // then it is probed with those, oldest first, and with pages when nothing else is left
    let mut probed = Vec::new();
    for _ in 0..5 {
        pause_over(&rig).await;
        let [probe] = &claim(store, 8, &["a"]).await[..] else { panic!("not one probe") };
        assert_eq!(probe.health, Health::Probed);
        probed.push(probe.id);
        store.unanswered(probe).await.unwrap();
        assert!(claim(store, 8, &["a"]).await.is_empty(), "each at the pace of probes");
    }
    assert_eq!(probed, [ids(&others), ids(&pages)].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_probe_for_which_a_page_waits_has_its_turn_beside_urgent_ones() {
    // given a silent target with a page that waits, and another one with pages without end
    let rig = Rig::start().await;
    let store = &rig.world.store;
    let of_a: Vec<_> = (0..5).map(|n| waiting(n, n < 4)).collect();
    let of_b: Vec<_> = (5..20).map(|n| NewJob { urgent: true, ..job(n, n, "b") }).collect();
    rig.insert(GENERATION, &[&of_a[..], &of_b].concat()).await;
    store.open_targets(&[budget("a"), budget("b")]).await.unwrap();
    for job in &claim(store, 3, &["a"]).await {
        store.unanswered(job).await.unwrap();
    }
    pause_over(&rig).await;
    // when a worker with one place claims, then it probes with what is not urgent
    let [probe] = &claim(store, 1, &["a", "b"]).await[..] else { panic!("not one") };
    assert_eq!(probe.id, of_a[4].id);
}
