//! I2, I3, I4: whatever stands in the log, and whoever dies over it, what is left equals the
//! sequential fold of the log.

mod bodies;
mod broken;
mod faults;
mod log;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

use eventlog::Log;
use log::{Dice, Mix, RandomLog};
use nix::sys::signal::Signal;
use schemas::{Time, event::Kind, subject};
use tests::{fleet::Fleet, oracle};
use tokio::{sync::watch, task::JoinHandle};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

const LANES: NonZeroU16 = NonZeroU16::new(4).unwrap();

/// Most workers at a time.
const WORKERS: usize = 8;

/// Points of the lane loop at which a worker may die.
const POINTS: [&str; 3] = ["before_commit", "after_commit", "after_publish"];

/// The first strikes: one joins, one joins that will die, a lock is lost, one is killed, one joins,
/// one is paused.
const FIRST: [u64; 6] = [0, 3, 7, 10, 0, 6];

/// How many records: `BELLWETHER_PROPERTY_RECORDS`, else few enough for every change.
fn records() -> u64 {
    number("BELLWETHER_PROPERTY_RECORDS").unwrap_or(20_000)
}

fn seed() -> u64 {
    number("BELLWETHER_PROPERTY_SEED").unwrap_or(20_261)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The story of a log begins in a day, so that no tick of a live owner is later than its own.
fn tomorrow() -> Time {
    runtime::Clock::system().now().plus_seconds(86_400)
}

/// Appends records until there are so many; says how far the log reaches then.
fn appending(
    log: Arc<dyn Log>,
    mut random: RandomLog,
    records: u64,
    pause: Duration,
) -> (JoinHandle<u64>, watch::Receiver<bool>) {
    let (over, is_over) = watch::channel(false);
    let task = tokio::spawn(async move {
        let mut appended = 0;
        while appended < records {
            appended += random.append(&*log).await;
            tokio::time::sleep(pause).await;
        }
        let stream = subject::deliveries_stream(log.namespace());
        let last = log.info(&stream).await.unwrap().last_sequence;
        over.send_replace(true);
        last
    });
    (task, is_over)
}

/// The workers of one run, and what befalls them.
struct Workers {
    dice: Dice,
    members: Vec<usize>,
    paused: Option<(usize, Instant)>,
    strikes: usize,
    befell: BTreeMap<&'static str, u32>,
    most: usize,
}

impl Workers {
    fn new(fleet: &mut Fleet, seed: u64) -> Self {
        let members = vec![fleet.start("triage-worker")];
        let dice = Dice::new(seed);
        Self { dice, members, paused: None, strikes: 0, befell: BTreeMap::new(), most: 1 }
    }

    fn any(&mut self) -> usize {
        self.members[self.dice.below(self.members.len() as u64) as usize]
    }

    async fn strike(&mut self, fleet: &mut Fleet) {
        if let Some((member, until)) = self.paused.filter(|(_, until)| Instant::now() >= *until) {
            fleet.signal(member, Signal::SIGCONT);
            self.paused = None;
            let late = until.elapsed();
            assert!(late < Duration::from_secs(30), "the test itself stood still for {late:?}");
        }
        // Those that died where they were to die are replaced.
        for n in 0..self.members.len() {
            if !fleet.is_alive(self.members[n]) {
                fleet.restart(self.members[n]);
                self.befell("died at a point");
            }
        }
        // Each kind once, then whatever comes.
        let what = FIRST.get(self.strikes).copied().unwrap_or_else(|| self.dice.below(12));
        self.strikes += 1;
        match what {
            0..=2 if self.members.len() < WORKERS => {
                let member = fleet.start("triage-worker");
                self.members.push(member);
                self.most = self.most.max(self.members.len());
                self.befell("joined");
            }
            3..=4 if self.members.len() < WORKERS => {
                let point = POINTS[self.dice.below(3) as usize];
                let nth = 1 + self.dice.below(6) as u32;
                let member = fleet.start_doomed("triage-worker", point, nth);
                self.members.push(member);
                self.most = self.most.max(self.members.len());
            }
            5 if self.members.len() > 1 => {
                // Dies for good.
                let n = self.dice.below(self.members.len() as u64) as usize;
                let member = self.members.swap_remove(n);
                self.let_go(member, fleet);
                fleet.kill(member);
                self.befell("left for good");
            }
            6 if self.paused.is_none() => {
                let member = self.any();
                fleet.signal(member, Signal::SIGSTOP);
                let pause = Duration::from_millis(500 + self.dice.below(3_000));
                self.paused = Some((member, Instant::now() + pause));
                self.befell("pause");
            }
            7..=9 => {
                self.lose_a_lock(fleet).await;
            }
            _ => {
                let member = self.any();
                self.let_go(member, fleet);
                fleet.kill(member);
                fleet.restart(member);
                self.befell("kill -9");
            }
        }
    }

    fn let_go(&mut self, member: usize, fleet: &Fleet) {
        if self.paused.is_some_and(|(paused, _)| paused == member) {
            fleet.signal(member, Signal::SIGCONT);
            self.paused = None;
        }
    }

    /// Ends the connection that holds a lane, whichever stage's it is.
    async fn lose_a_lock(&mut self, fleet: &Fleet) {
        let mut sql = fleet.world.sql().await;
        let mut holders: Vec<i32> = sqlx::query_scalar(
            "select distinct pid from pg_locks where locktype = 'advisory' and granted
             and database = (select oid from pg_database where datname = current_database())
             order by pid",
        )
        .fetch_all(&mut sql)
        .await
        .unwrap();
        if holders.is_empty() {
            return;
        }
        let holder = holders.swap_remove(self.dice.below(holders.len() as u64) as usize);
        sqlx::query("select pg_terminate_backend($1)")
            .bind(holder)
            .execute(&mut sql)
            .await
            .unwrap();
        self.befell("lock lost");
    }

    fn befell(&mut self, what: &'static str) {
        *self.befell.entry(what).or_default() += 1;
    }

    /// What is paused goes on; somebody lives.
    fn calm(&mut self, fleet: &mut Fleet) {
        if let Some((member, _)) = self.paused.take() {
            fleet.signal(member, Signal::SIGCONT);
        }
        for member in &self.members {
            if !fleet.is_alive(*member) {
                fleet.restart(*member);
            }
        }
    }
}

/// Waits until a count of lanes is all of them.
async fn every_lane(fleet: &Fleet, question: &'static str, argument: u64, patience: Duration) {
    let mut sql = fleet.world.sql().await;
    let deadline = Instant::now() + patience;
    loop {
        let lanes: i64 = sqlx::query_scalar(question)
            .bind(i64::try_from(argument).unwrap())
            .fetch_one(&mut sql)
            .await
            .unwrap();
        if lanes == i64::from(fleet.world.lanes.get()) {
            return;
        }
        if Instant::now() >= deadline {
            let cursors: Vec<(String, i32, i64, i64, i32)> = sqlx::query_as(
                "select stage, lane, seq, through_seq, attempts from cursor order by stage, lane",
            )
            .fetch_all(&mut sql)
            .await
            .unwrap();
            panic!("not in time: {question} ({argument}): {cursors:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until observe covers the log up to `last` and the projector all of that, then ends all.
async fn settle(fleet: &mut Fleet, observers: &[usize], last: u64, patience: Duration) {
    let observed = "select count(*) from cursor where stage = 'observe' and seq >= $1";
    every_lane(fleet, observed, last, patience).await;
    let observers: Vec<usize> =
        observers.iter().copied().filter(|member| fleet.is_alive(*member)).collect();
    fleet.stop(&observers);
    let projected = "select count(*) from cursor p join cursor o on o.lane = p.lane
                     where o.stage = 'observe' and p.stage = 'project' and p.through_seq >= o.seq
                     and o.seq >= $1";
    every_lane(fleet, projected, last, patience).await;
    fleet.stop_all();
}

/// What was decided in a run, in words.
fn decided(lanes: &[oracle::Compared]) -> BTreeSet<String> {
    let events = lanes.iter().flat_map(|lane| &lane.folded.events);
    let told = events.map(|event| match &event.kind {
        Kind::Applied(applied) if applied.changed => applied.verb.clone(),
        Kind::Refused(refused) => refused.reason.clone(),
        Kind::Observed(observed) => observed.effect.word().to_owned(),
        Kind::Settled(settled) if settled.original.is_some() => "redriven".to_owned(),
        kind => kind.word().to_owned(),
    });
    let outcomes = lanes.iter().flat_map(|lane| lane.folded.ledger.keys());
    told.chain(outcomes.map(|outcome| format!("outcome {}", outcome.word()))).collect()
}

/// Everything that a run of some thousand records is about.
const DECIDED: [&str; 43] = [
    "opened",
    "repeated",
    "resolved",
    "suppressed",
    "stale",
    "same_occurrence",
    "redelivered",
    "nothing_to_close",
    "recorded_only",
    "answered",
    "ticked",
    "escalated",
    "expired",
    "rules_changed",
    "redriven",
    "sent",
    "ack",
    "resolve",
    "reopen",
    "confirm",
    "reject",
    "request_triage",
    "handoff",
    "note",
    "unknown_incident",
    "unknown_verb",
    "unknown_actor",
    "not_open",
    "no_diagnosis",
    "original_not_given_up",
    "outcome observed",
    "outcome recorded",
    "outcome rejected",
    "outcome parked",
    "outcome redelivered",
    "outcome repeated_frame",
    "outcome elsewhere",
    "outcome command",
    "outcome answer",
    "outcome outcome",
    "outcome tick",
    "outcome redrive",
    "outcome control",
];

/// The property. 20,000 records with every change, as many as are asked for otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn property_i4_any_log_through_any_workers_is_its_sequential_fold() {
    let (records, seed) = (records(), seed());
    println!("seed {seed}, {records} records");
    let began = Instant::now();
    let patience = Duration::from_secs(60 + records / 400);
    let mut fleet = Fleet::with_lanes(WORKER, LANES.get(), "").await;
    fleet.start("projector");
    let mut workers = Workers::new(&mut fleet, seed + 1);
    let random = RandomLog::new(seed, LANES, Mix::Broken, tomorrow());
    let log = fleet.world.log().await;
    let (appending, over) = appending(log, random, records, Duration::from_millis(5));
    while !*over.borrow() {
        tokio::time::sleep(Duration::from_millis(50 + workers.dice.below(300))).await;
        workers.strike(&mut fleet).await;
    }
    let last = appending.await.unwrap();
    println!("{last} messages after {:.1} s", began.elapsed().as_secs_f64());
    workers.calm(&mut fleet);
    settle(&mut fleet, &workers.members, last, patience).await;
    println!("covered after {:.1} s", began.elapsed().as_secs_f64());
    println!("at most {} workers; {:?}", workers.most, workers.befell);
    let lanes = oracle::check(&fleet.world).await;
    println!("compared after {:.1} s", began.elapsed().as_secs_f64());

    let decided = decided(&lanes);
    for what in DECIDED {
        assert!(decided.contains(what), "no {what} in {decided:?}");
    }
    for what in ["kill -9", "lock lost", "joined", "pause"] {
        assert!(workers.befell.contains_key(what), "no {what}: {:?}", workers.befell);
    }
    let incidents: usize = lanes.iter().map(|lane| lane.folded.incidents.len()).sum();
    println!("{incidents} incidents, {} kinds of decision", decided.len());
}
