//! What a target takes is shared by all who send to it, and goes first to what somebody waits for.

use lanes::job::Budget;
use store::Store;

use super::*;

/// `burst` at once, then `per_minute`.
fn budget(target: &str, per_minute: u32, burst: u32) -> Budget {
    Budget { target: target.into(), per_minute, burst }
}

fn urgent(n: u32, incident: u32, target: &str) -> NewJob {
    NewJob { urgent: true, ..job(n, incident, target) }
}

async fn claim(store: &Store, n: usize, budgets: &[Budget]) -> Vec<JobId> {
    let jobs = store.claim(Queue::Send, n, PATIENCE, &Room::default(), budgets).await.unwrap();
    let mut ids: Vec<JobId> = jobs.into_iter().map(|job| job.id).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_three_workers_spend_one_budget() {
    // given 40 jobs of a target that takes 5 at once and 20 a second, 10 of one without a budget,
    // and 3 workers
    const BURST: usize = 5;
    const PER_SECOND: f64 = 20.0;
    let rig = Rig::start().await;
    let mut jobs: Vec<NewJob> = (0..40).map(|n| job(n, n, "slow")).collect();
    jobs.extend((40..50).map(|n| job(n, n, "free")));
    rig.insert(GENERATION, &jobs).await;
    let budgets = vec![budget("slow", 1_200, BURST as u32)];
    let stub =
        Stub::with_budgets(Duration::from_secs(20), 16, works(Duration::from_millis(1)), budgets);

    // when they work
    let began = Instant::now();
    let loops = [0; 3].map(|_| rig.run(&stub, quick()));
    rig.settled(&[("done", 50)]).await;
    for (task, controller) in loops {
        controller.stop();
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }

    // then in no time more were begun than it takes, and waiting cost no attempt
    assert!(began.elapsed().as_secs_f64() > (40 - BURST) as f64 / PER_SECOND, "too fast");
    let slow: std::collections::HashSet<_> = jobs[..40].iter().map(|job| job.id).collect();
    let mut begun: Vec<Instant> =
        stub.calls().iter().filter(|c| slow.contains(&c.job)).map(|c| c.begun).collect();
    begun.sort();
    for (i, first) in begun.iter().enumerate() {
        for (more, last) in begun[i..].iter().enumerate() {
            // From a claim to its work some time goes by, and never the same.
            let time = (*last - *first).as_secs_f64() + 0.25;
            let taken = BURST as f64 + PER_SECOND * time;
            assert!((more + 1) as f64 <= taken + 1.0, "{} in {time:.2} s", more + 1);
        }
    }
    let most: i32 = sqlx::query_scalar("select max(attempts) from job")
        .fetch_one(&mut rig.world.sql().await)
        .await
        .unwrap();
    assert_eq!(most, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_claims_at_once_spend_no_more_than_there_is() {
    let rig = Rig::start().await;
    let jobs: Vec<NewJob> = (0..60).map(|n| job(n, n, "a")).collect();
    rig.insert(GENERATION, &jobs).await;
    let (store, budgets) = (&rig.world.store, [budget("a", 1, 7)]);
    store.open_targets(&budgets).await.unwrap();
    let mut claimed = Vec::new();
    for _ in 0..10 {
        let at_once = futures_util::future::join_all((0..6).map(|_| claim(store, 3, &budgets)));
        claimed.extend(at_once.await.into_iter().flatten());
    }
    claimed.sort();
    claimed.dedup();
    assert_eq!(claimed.len(), 7);
    // What was not used comes back, and what was used besides goes.
    store.spend("a", -2).await.unwrap();
    store.spend("a", 1).await.unwrap();
    assert_eq!(claim(store, 10, &budgets).await.len(), 1);
    // Restarted with the same or other budgets, nobody gets more.
    store.open_targets(&budgets).await.unwrap();
    assert_eq!(claim(store, 10, &budgets).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_what_somebody_waits_for_goes_first() {
    // given a backlog, and then three urgent jobs, one of them behind one of the backlog
    let rig = Rig::start().await;
    let backlog: Vec<NewJob> = (0..20).map(|n| job(n, n, "a")).collect();
    rig.insert(GENERATION, &backlog).await;
    let late = [urgent(20, 20, "a"), urgent(21, 21, "a"), urgent(22, 9, "a")];
    rig.insert(GENERATION, &late).await;
    let (store, budgets) = (&rig.world.store, [budget("a", 1, 4)]);
    store.open_targets(&budgets).await.unwrap();

    // when the budget is short, then they go first, and what one of them waits for as well
    assert_eq!(claim(store, 10, &budgets).await, [id(0), id(9), id(20), id(21)]);
    assert_eq!(claim(store, 10, &budgets).await, []);
    let (done, end) = (job_row(&rig, id(9)).await, End::Done);
    assert!(store.settle(&done, end, None).await.unwrap());
    store.spend("a", -1).await.unwrap();
    assert_eq!(claim(store, 10, &budgets).await, [id(22)]);
    // Without budgets, or with a claim for few, the order is the same.
    rig.insert(GENERATION, &[urgent(30, 30, "b"), job(31, 31, "b")]).await;
    assert_eq!(claim(store, 1, &[]).await, [id(30)]);
}

/// The row of a claimed job, as far as settling needs it.
async fn job_row(rig: &Rig, job: JobId) -> Job {
    let claim: Uuid = sqlx::query_scalar("select claim from job where id = $1")
        .bind(job.0)
        .fetch_one(&mut rig.world.sql().await)
        .await
        .unwrap();
    Job {
        generation: GENERATION,
        id: job,
        queue: Queue::Send,
        lane: LANE,
        project: ProjectId::new("payments").unwrap(),
        incident: IncidentId(Uuid::nil()),
        target: "a".into(),
        attempts: 1,
        trigger: trigger(9),
        payload: Vec::new(),
        result: None,
        result_end: None,
        claim,
        health: store::job::Health::Answers,
    }
}
