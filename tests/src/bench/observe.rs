//! Folding alone: a filled log drained by one observe loop, over one lane and over two, beside what
//! the tables take without it. Both sides in one run on one Postgres, the bare one before and after.

use std::path::Path;

use schemas::ProjectId;

use super::{
    Scale,
    bare::{BATCH, Bare, COUNTERS},
    figures::{Figures, Target},
    filled::{Alert, Drained, Filled, projects_by_lane},
    pipeline::cores,
    step,
    traffic::{NEW_EVERY, SentryBodies, event_id},
    unpublished, wal,
};

/// Share of the bare rate.
const OF_BARE: f64 = 0.60;
/// MiB a worker may hold.
const MEMORY: f64 = 120.0;
/// Alerts a lane at the standard scale.
const ALERTS: f64 = 100_000.0;
/// Seconds of one bare measurement.
const SECONDS: f64 = 4.0;
/// Projects of a lane; they share its problems.
const PROJECTS: usize = 4;

/// Measures and adds the figures.
pub async fn run(figures: &mut Figures, scale: Scale, log: Option<&Path>) {
    let site = Filled::start(2, log).await;
    let bare = Bare::new(&site.world.postgres).await;
    let projects = projects_by_lane(site.world.lanes, PROJECTS);
    let alerts = (ALERTS * scale.0) as usize;

    step("observe: the problems open");
    let openers = site.fill(traffic(1, &projects, COUNTERS)).await;
    site.drain(openers).await;
    let mut one_lane = None;
    for (lanes, run) in [(1, 2), (2, 3)] {
        let projects = &projects[..lanes];
        step(&format!("observe, {lanes} lane(s): filling the log"));
        let filled = site.fill(traffic(run, projects, alerts)).await;
        step(&format!("observe, {lanes} lane(s): the bare side, the drain, the bare side"));
        let before = bare.rate(lanes, scale.time(SECONDS)).await;
        let drained = site.drain(filled).await;
        let (from, to) = drained.wal;
        // Before a checkpoint takes the segments away.
        let shares = wal::shares(&site.world.database_url, from, to).await;
        let after = bare.rate(lanes, scale.time(SECONDS)).await;
        let name = |what: &str| format!("observe.{lanes}_lane.{what}");
        figures.add(name("bare.before"), before, "rows/s");
        figures.add(name("bare.after"), after, "rows/s");
        let limit = (before + after) / 2.0;
        figures.add(name("rate"), drained.rate, "alerts/s");
        figures.held(name("of_bare"), drained.rate / limit, "", Target::AtLeast(OF_BARE));
        report(figures, &name, &drained);
        figures.add(name("wal"), (to - from) as f64 / drained.alerts as f64, "B/alert");
        for (table, share) in shares.unwrap_or_default() {
            if table == "unpublished" || share >= 0.02 {
                figures.add(name(&format!("wal_share.{table}")), share * 100.0, "%");
            }
        }
        one_lane.get_or_insert(drained);
    }
    figures.add("observe.bare.batch", BATCH as f64, "rows");
    if let Some(drained) = one_lane {
        step("observe: the batch's transaction with and without its messages");
        unpublished::run(figures, &site, &drained, scale).await;
    }
}

/// Adds what every drain tells.
pub fn report(figures: &mut Figures, name: &impl Fn(&str) -> String, drained: &Drained) {
    figures.add(name("batch"), drained.batch, "alerts");
    cores(figures, &name("cpu"), drained.cpu);
    figures.add(name("cpu_per_alert"), drained.cpu_per_alert(), "us");
    figures.held(name("memory_peak"), drained.memory, "MiB", Target::AtMost(MEMORY));
}

/// `each` alerts a lane, the lanes in turn, over all their projects and problems; one in
/// [`NEW_EVERY`] is of a new problem.
fn traffic(run: u32, lanes: &[Vec<ProjectId>], each: usize) -> impl Iterator<Item = Alert> {
    let bodies = SentryBodies::default();
    let opening = run == 1;
    (0..each * lanes.len()).map(move |n| {
        let (lane, turn) = (n % lanes.len(), n / lanes.len());
        let of_lane = turn % COUNTERS;
        let is_new = !opening && turn % NEW_EVERY == NEW_EVERY - 1;
        let problem = if is_new { run as usize * 10_000_000 + n } else { of_lane };
        let project = lanes[lane][of_lane % PROJECTS].clone();
        Alert { project, body: bodies.body(problem, &event_id(run, n as u64)) }
    })
}
