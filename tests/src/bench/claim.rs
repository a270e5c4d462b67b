//! What a claim of send jobs costs where targets have budgets, over what it costs where they have
//! none.

use std::time::Instant;

use schemas::Lane;
use store::job::{Budget, Queue, Room};

use super::{
    figures::{Figures, Target},
    step,
};
use crate::{GENERATION, World, sends::fire};

/// Targets, and jobs of each.
const TARGETS: u32 = 20;
const JOBS: u32 = 200;
/// Jobs a claim asks for.
const AT_ONCE: usize = 16;
/// Turns of both kinds.
const ROUNDS: u32 = 4;
/// How much more it may cost.
const RATIO: f64 = 1.5;

/// Measures and adds the figures.
pub async fn run(figures: &mut Figures) {
    step("claim: jobs of 20 targets with and without budgets");
    let world = World::with_lanes(1).await;
    let targets: Vec<String> = (0..TARGETS).map(|n| format!("target-{n}")).collect();
    let budget = |target: &String| Budget {
        target: target.clone(),
        per_minute: 60_000,
        burst: JOBS * ROUNDS * 2,
    };
    let budgets: Vec<Budget> = targets.iter().map(budget).collect();
    world.store.open_targets(&budgets).await.unwrap();
    let (mut free, mut budgeted) = (0.0, 0.0);
    // The first turn makes plans and caches.
    for round in 0..=ROUNDS {
        for (budgets, sum) in [(&[][..], &mut free), (&budgets[..], &mut budgeted)] {
            let seconds = drain(&world, &targets, budgets).await;
            if round > 0 {
                *sum += seconds;
            }
        }
    }
    let claims = f64::from(ROUNDS) * f64::from(TARGETS * JOBS) / AT_ONCE as f64;
    figures.add("claim.without_budgets", free / claims * 1e3, "ms");
    figures.add("claim.with_budgets", budgeted / claims * 1e3, "ms");
    figures.held("claim.ratio", budgeted / free, "", Target::AtMost(RATIO));
}

/// Asks for jobs and claims them all; seconds that the claims took.
async fn drain(world: &World, targets: &[String], budgets: &[Budget]) -> f64 {
    let mut lane = world.store.own_lane("test", GENERATION, Lane(0)).await.unwrap().unwrap();
    let mut batch = lane.begin();
    let jobs: Vec<_> =
        targets.iter().flat_map(|target| (0..JOBS).map(|n| fire(n, target))).collect();
    batch.insert_jobs(&jobs).await.unwrap();
    batch.commit().await.unwrap();
    lane.release().await;
    let mut sql = world.sql().await;
    let (mut claimed, mut took) = (0, 0.0);
    while claimed < jobs.len() {
        let (lease, began) = (std::time::Duration::from_secs(600), Instant::now());
        let claim = world
            .store
            .claim(Queue::Send, AT_ONCE, lease, &Room::default(), budgets)
            .await
            .unwrap();
        took += began.elapsed().as_secs_f64();
        claimed += claim.len();
        // They are soon over, and out of the way of the next claim.
        sqlx::query("update job set state = 'done' where state = 'claimed'")
            .execute(&mut sql)
            .await
            .unwrap();
    }
    sqlx::query("delete from job").execute(&mut sql).await.unwrap();
    took
}
