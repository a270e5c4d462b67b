//! More workers ask more at once.

use std::time::Duration;

use schemas::Lane;
use tests::{
    asks,
    fleet::Fleet,
    model::{Does, ModelServer},
};

use super::{PATIENCE, WORKER, until_done};

/// R64: each process brings all of its places, whatever the others do. With a model that takes a
/// second that is what the rate is made of; `bench triage` measures it.
#[tokio::test(flavor = "multi_thread")]
async fn r64_every_worker_adds_its_places() {
    const WORKERS: usize = 3;
    const AT_ONCE: usize = 4;
    let model = ModelServer::start(Does::Slow(Duration::from_secs(1))).await;
    let more = format!(
        "[triage]\nplaybook = false\nconcurrency = {AT_ONCE}\n{}",
        model.analyst("openclaw", "")
    );
    let mut fleet = Fleet::with_lanes(WORKER, 1, &more).await;
    for _ in 0..WORKERS {
        fleet.start("triage-worker");
    }
    let jobs: Vec<_> = (0..48).map(asks::triage).collect();
    asks::ask(&fleet.world.store, Lane(0), &jobs).await;
    model.wait_for(jobs.len(), PATIENCE).await;
    until_done(&fleet, jobs.len()).await;
    assert_eq!(model.calls().len(), jobs.len());
    assert_eq!(model.most_at_once(), WORKERS * AT_ONCE);
    fleet.stop_all();
}
