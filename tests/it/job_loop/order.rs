//! What may start when: order within an incident, pauses of targets, parked jobs, generations.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_one_target_and_incident_go_in_order() {
    // given 8 incidents with 6 jobs each for two targets, some of which need a second attempt
    let rig = Rig::start().await;
    let mut jobs = Vec::new();
    for step in 0..6 {
        for incident in 0..8 {
            for (t, target) in ["a", "b"].into_iter().enumerate() {
                jobs.push(job(incident * 100 + step * 10 + t as u32, incident, target));
            }
        }
    }
    rig.insert(GENERATION, &jobs).await;
    let stub = Stub::new(
        Duration::from_secs(20),
        16,
        Arc::new(|job| {
            async move {
                let n = u32::from_be_bytes(job.payload.try_into().unwrap());
                sleep(Duration::from_millis(u64::from(n % 7))).await;
                if n % 30 < 10 && job.attempts == 1 {
                    let after = Duration::from_millis(30);
                    return Performed::Retry {
                        after,
                        reason: "429".into(),
                        pause_target: false,
                        untold: None,
                    };
                }
                done()
            }
            .boxed()
        }),
    );

    // when two loops work on them
    let _loops = [rig.run(&stub, quick()), rig.run(&stub, quick())];
    rig.settled(&[("done", 96)]).await;

    // then within one (target, incident) each began after the one before had ended for good
    let calls = stub.calls();
    let mut ended: BTreeMap<(String, IncidentId), (JobId, Instant)> = BTreeMap::new();
    for asked in &jobs {
        let of_job = || calls.iter().filter(|call| call.job == asked.id);
        let begun = of_job().map(|call| call.begun).min().unwrap();
        let over = of_job().map(|call| call.ended).max().unwrap();
        let key = (asked.target.clone(), asked.incident);
        if let Some((before, over_before)) = ended.insert(key, (asked.id, over)) {
            assert!(begun >= over_before, "{} began before {before} was over", asked.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_target_rests_and_the_others_do_not() {
    // given three incidents for each of two targets, and a first answer of `a` that says 429
    let rig = Rig::start().await;
    let pause = Duration::from_millis(1_500);
    let jobs: Vec<NewJob> = (0..6).map(|n| job(n, n, if n < 3 { "a" } else { "b" })).collect();
    rig.insert(GENERATION, &jobs).await;
    let stub = Stub::new(
        Duration::from_secs(20),
        8,
        Arc::new(move |job| {
            async move {
                if job.id == id(0) && job.attempts == 1 {
                    let reason = "429".into();
                    return Performed::Retry {
                        after: pause,
                        reason,
                        pause_target: true,
                        untold: None,
                    };
                }
                done()
            }
            .boxed()
        }),
    );

    // when one loop works on them, one job of a target at a time
    let config = JobLoopConfig { per_target: Some(1), ..quick() };
    let _loop = rig.run(&stub, config);
    rig.settled(&[("done", 6)]).await;

    // then nothing of `a` began within the pause, and all of `b` was over by then
    let calls = stub.calls();
    let refused = calls.iter().find(|call| call.job == id(0)).unwrap();
    for call in &calls {
        let of_a = jobs.iter().any(|j| j.id == call.job && j.target == "a");
        if of_a && call.begun > refused.begun {
            assert!(call.begun >= refused.ended + pause, "{call:?}");
        }
        if !of_a {
            assert!(call.ended < refused.ended + pause, "{call:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_or_unknown_job_does_not_block_the_next() {
    let rig = Rig::start().await;
    rig.insert(GENERATION, &[job(0, 0, "a"), job(1, 0, "a"), job(2, 0, "a")]).await;
    let stub = Stub::new(
        Duration::from_secs(20),
        2,
        Arc::new(|job| {
            async move {
                let end = match job.id {
                    j if j == id(0) => End::Parked,
                    j if j == id(1) => End::Unknown,
                    _ => End::Done,
                };
                let reason = Some("as told".to_owned());
                Performed::Finish { result: b"ok".to_vec(), end, reason, untold: None }
            }
            .boxed()
        }),
    );
    let _loop = rig.run(&stub, quick());
    rig.settled(&[("done", 1), ("parked", 1), ("unknown", 1)]).await;
    assert_eq!(rig.outcomes().await.len(), 3, "each end is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_only_jobs_of_the_live_or_frozen_generation_are_claimed() {
    // given a frozen generation, a live one, and a shadow, each with a job
    let rig = Rig::start().await;
    let mut sql = rig.world.sql().await;
    rig.insert(GENERATION, &[job(0, 0, "a")]).await;
    for statement in [
        "update generation set state = 'frozen' where generation = 1",
        "insert into generation (generation, state, promoted_inc, promoted_seq)
         values (2, 'active', 1735689600, 10), (3, 'shadow', 0, 0)",
        "select bw_open_generation(2), bw_open_generation(3)",
    ] {
        sqlx::query(statement).execute(&mut sql).await.unwrap();
    }
    // 5 is at or below the promote position of generation 2, 20 is above it
    rig.insert(Generation(2), &[job(5, 5, "a"), job(20, 20, "a")]).await;
    rig.insert(Generation(3), &[job(30, 30, "a")]).await;
    // a row of the shadow that is pending by mistake
    sqlx::query(
        "insert into job (generation, id, queue, lane, project, incident, state, trigger, payload)
         values (3, gen_random_uuid(), 'send', 1, 'payments', gen_random_uuid(), 'pending', '1-1-0', '')",
    )
    .execute(&mut sql)
    .await
    .unwrap();

    // when a loop runs, then it performs the old one's and the new one's
    let stub = Stub::new(Duration::from_secs(20), 8, works(Duration::ZERO));
    let (task, controller) = rig.run(&stub, quick());
    rig.settled(&[("done", 2), ("pending", 1), ("shadow", 2)]).await;
    controller.stop();
    timeout(PATIENCE, task).await.unwrap().unwrap();
    assert_eq!(stub.counts(), [(id(0), 1), (id(20), 1)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_not_begun_before_its_time() {
    let rig = Rig::start().await;
    let later = NewJob { not_before_delay: Some(Duration::from_secs(3_600)), ..job(0, 0, "a") };
    rig.insert(GENERATION, &[later, job(1, 1, "a"), job(2, 2, "full")]).await;
    let full = Room { full: vec!["full".to_owned()], ..Room::default() };
    let claimed = rig.world.store.claim(Queue::Send, 10, PATIENCE, &full, &[]).await.unwrap();
    assert_eq!(claimed.iter().map(|j| j.id).collect::<Vec<_>>(), [id(1)]);
    let none =
        rig.world.store.claim(Queue::Triage, 10, PATIENCE, &Room::default(), &[]).await.unwrap();
    assert_eq!(none, []);
}
