//! Storms: very many alerts of one problem, as many of different ones, and what an alert costs while
//! the problems that are known grow to a million.

use std::path::Path;

use schemas::ProjectId;

use super::{
    Scale,
    figures::{Figures, Target},
    filled::{Alert, Filled, projects_by_lane},
    observe::report,
    step,
    traffic::{SentryBodies, event_id},
};

/// Alerts of each storm at the standard scale, and so the problems that the first one leaves.
const ALERTS: f64 = 100_000.0;
/// Problems known at the end of a long run.
const MANY: usize = 1_000_000;
/// Alerts that are measured at each number of known problems.
const PROBE: f64 = 60_000.0;
/// How much dearer an alert may be among many problems.
const GROWTH: f64 = 1.3;

/// Measures and adds the figures; `long` goes on to `MANY` problems.
pub async fn run(figures: &mut Figures, scale: Scale, long: bool, log: Option<&Path>) {
    let alerts = (ALERTS * scale.0) as usize;
    step(&format!("storm: {alerts} alerts of one problem"));
    let site = Site::start(log).await;
    site.measure(figures, "storm.one_problem", 0..alerts, |_| 0).await;
    drop(site);

    step(&format!("storm: {alerts} alerts of as many problems"));
    let mut site = Site::start(log).await;
    site.measure(figures, "storm.distinct", 0..alerts, |n| n).await;
    let probe = (PROBE * scale.0) as usize;
    let few = site.probe(figures, alerts, probe).await;
    if !long {
        return;
    }
    let mut known = alerts + probe;
    while known < MANY {
        let next = (known + alerts).min(MANY);
        step(&format!("storm: up to {next} problems"));
        let name = format!("storm.up_to_{next}");
        site.measure(figures, &name, known..next, |n| n).await;
        known = next;
    }
    let many = site.probe(figures, MANY, probe).await;
    let most = Target::AtMost(GROWTH);
    figures.held("storm.growth.of_known", many.of_known / few.of_known, "", most);
    figures.held("storm.growth.new", many.new / few.new, "", most);
}

/// One lane with one project.
struct Site {
    filled: Filled,
    project: ProjectId,
    run: u32,
}

/// Microseconds an alert.
struct Cost {
    of_known: f64,
    new: f64,
}

impl Site {
    async fn start(log: Option<&Path>) -> Self {
        let filled = Filled::start(1, log).await;
        let project = projects_by_lane(filled.world.lanes, 1)[0][0].clone();
        Self { filled, project, run: 1 }
    }

    /// Drains one alert for each of `numbers`, of the problem that `problem` says; adds its figures
    /// and returns the microseconds an alert took.
    async fn measure(
        &self,
        figures: &mut Figures,
        name: &str,
        numbers: std::ops::Range<usize>,
        problem: impl Fn(usize) -> usize,
    ) -> f64 {
        let bodies = SentryBodies::default();
        let alerts = numbers.map(|n| Alert {
            project: self.project.clone(),
            body: bodies.body(problem(n), &event_id(self.run, n as u64)),
        });
        let filled = self.filled.fill(alerts).await;
        let drained = self.filled.drain(filled).await;
        figures.add(format!("{name}.rate"), drained.rate, "alerts/s");
        report(figures, &|what: &str| format!("{name}.{what}"), &drained);
        1e6 / drained.rate
    }

    /// What an alert costs while `known` problems are known: one of any of them, and one of a new
    /// problem. Leaves `alerts` more problems.
    async fn probe(&mut self, figures: &mut Figures, known: usize, alerts: usize) -> Cost {
        step(&format!("storm: {alerts} alerts among {known} problems"));
        // Their numbers were given in order, so any order but that one finds them anywhere.
        let scattered = move |n: usize| (n * 7_919 + 13) * 104_729 % known;
        self.run += 1;
        let name = format!("storm.among_{known}");
        let of_known =
            self.measure(figures, &format!("{name}.of_known"), 0..alerts, scattered).await;
        let new = known..known + alerts;
        let new = self.measure(figures, &format!("{name}.new"), new, |n| n).await;
        figures.add(format!("{name}.of_known.cost"), of_known, "us/alert");
        figures.add(format!("{name}.new.cost"), new, "us/alert");
        Cost { of_known, new }
    }
}
