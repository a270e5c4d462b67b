//! The job loop against real servers: what is claimed, performed, kept, appended and settled, and
//! what a crash at each point leaves to the next worker.

mod budget;
mod crash;
mod order;
mod rows;
mod silent;
mod triage;

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroU16,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use eventlog::{Appender, AppenderConfig, Log, Read};
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use lanes::{
    JobLoop, JobLoopConfig, Performed, Work,
    job::{End, Job, NewJob, Queue, Room},
};
use runtime::{Clock, Controller, Shutdown};
use schemas::{
    Generation, IncidentId, JobId, Lane, LaneKey, Position, ProducerId, ProjectId, Record,
    RecordFrame,
    job::SendResult,
    record::{Body, SendOutcome},
    subject::{Class, deliveries, deliveries_stream},
};
use tests::{GENERATION, World};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

/// No wait in these tests is longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lane all jobs here are of.
const LANE: Lane = Lane(1);

/// What the stand-in for a channel does with a job.
type Behaviour = Arc<dyn Fn(Job) -> BoxFuture<'static, Performed> + Send + Sync>;

/// One call of `perform`.
#[derive(Clone, Debug)]
struct Call {
    job: JobId,
    begun: Instant,
    ended: Instant,
}

/// A channel that notes who called it.
struct Stub {
    lease: Duration,
    concurrency: usize,
    behaviour: Behaviour,
    budgets: Vec<lanes::job::Budget>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: Vec<Call>,
    running: HashSet<JobId>,
    /// Jobs that were performed while they were being performed.
    twice_at_once: Vec<JobId>,
}

impl Stub {
    fn new(lease: Duration, concurrency: usize, behaviour: Behaviour) -> Arc<Self> {
        Self::with_budgets(lease, concurrency, behaviour, Vec::new())
    }

    fn with_budgets(
        lease: Duration,
        concurrency: usize,
        behaviour: Behaviour,
        budgets: Vec<lanes::job::Budget>,
    ) -> Arc<Self> {
        Arc::new(Self { lease, concurrency, behaviour, budgets, seen: Mutex::default() })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn calls(&self) -> Vec<Call> {
        self.seen().calls.clone()
    }

    /// How often each job was performed.
    fn counts(&self) -> BTreeMap<JobId, usize> {
        let mut counts = BTreeMap::new();
        for call in self.calls() {
            *counts.entry(call.job).or_default() += 1;
        }
        counts
    }
}

impl Work for Stub {
    fn queue(&self) -> Queue {
        Queue::Send
    }

    fn lease(&self) -> Duration {
        self.lease
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn budgets(&self) -> &[lanes::job::Budget] {
        &self.budgets
    }

    fn perform<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Performed, store::Error>> {
        async move {
            let begun = Instant::now();
            if !self.seen().running.insert(job.id) {
                self.seen().twice_at_once.push(job.id);
            }
            let performed = (self.behaviour)(job.clone()).await;
            let mut seen = self.seen();
            seen.running.remove(&job.id);
            seen.calls.push(Call { job: job.id, begun, ended: Instant::now() });
            Ok(performed)
        }
        .boxed()
    }

    fn record(&self, job: &Job, result: &[u8]) -> Result<Option<Body>, String> {
        let text = String::from_utf8(result.to_vec()).map_err(|e| e.to_string())?;
        Ok(Some(Body::Outcome(Box::new(SendOutcome {
            job: job.id,
            incident: Some(job.incident),
            target: job.target.clone(),
            channel: "stub".into(),
            kind: "fire".into(),
            subject: job.trigger.to_string(),
            trigger: job.trigger,
            attempts: job.attempts,
            result: SendResult::Delivered(Some(text)),
        }))))
    }
}

/// It worked.
fn done() -> Performed {
    Performed::Finish { result: b"ok".to_vec(), end: End::Done, reason: None, untold: None }
}

/// A behaviour that always works, after `pause`.
fn works(pause: Duration) -> Behaviour {
    Arc::new(move |_| {
        async move {
            sleep(pause).await;
            done()
        }
        .boxed()
    })
}

/// Servers and an appender.
struct Rig {
    world: World,
    log: Arc<dyn Log>,
    appender: Appender,
}

impl Rig {
    async fn start() -> Self {
        let world = World::start().await;
        let log = world.log().await;
        let (appender, driver) = Appender::start(log.clone(), appender_config(world.lanes));
        tokio::spawn(driver);
        Self { world, log, appender }
    }

    /// Puts jobs of generation `generation` in as a fold does.
    async fn insert(&self, generation: Generation, jobs: &[NewJob]) {
        let mut lane = self.world.store.own_lane("test", generation, LANE).await.unwrap().unwrap();
        let mut batch = lane.begin();
        batch.insert_jobs(jobs).await.unwrap();
        batch.commit().await.unwrap();
        lane.release().await;
    }

    /// Runs one more loop.
    fn run<W: Work>(&self, work: &Arc<W>, config: JobLoopConfig) -> (JoinHandle<()>, Controller) {
        let (shutdown, controller) = Shutdown::new();
        let job_loop = JobLoop::new(
            work.clone(),
            self.world.store.clone(),
            self.appender.clone(),
            Clock::system(),
            config,
        );
        (tokio::spawn(job_loop.run(shutdown)), controller)
    }

    /// Waits until as many send jobs as given are in each of the states.
    async fn settled(&self, wanted: &[(&str, u64)]) {
        let wanted: BTreeMap<String, u64> =
            wanted.iter().map(|(state, n)| ((*state).to_owned(), *n)).collect();
        let mut states = BTreeMap::new();
        let waiting = async {
            loop {
                states = self.states(Queue::Send).await;
                if states == wanted {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = timeout(PATIENCE, waiting).await;
        assert!(in_time.is_ok(), "jobs are {states:?}, wanted {wanted:?}");
    }

    async fn states(&self, queue: Queue) -> BTreeMap<String, u64> {
        let states: Vec<(String, i64)> =
            sqlx::query_as("select state, count(*) from job where queue = $1 group by state")
                .bind(queue.word())
                .fetch_all(&mut self.world.sql().await)
                .await
                .unwrap();
        states.into_iter().map(|(state, n)| (state, n as u64)).collect()
    }

    /// All data records of the lane, in order.
    async fn records(&self) -> Vec<Record> {
        let stream = deliveries_stream(&self.world.namespace);
        let subject = deliveries(&self.world.namespace, LaneKey::Lane(LANE), Class::Data);
        let Some(last) = self.log.last(&stream, &subject).await.unwrap() else {
            return Vec::new();
        };
        let read = Read { stream, filters: vec![subject], from: 1 };
        let mut messages = self.log.read(read).await.unwrap();
        let mut records = Vec::new();
        loop {
            let message = timeout(PATIENCE, messages.next()).await.unwrap().unwrap().unwrap();
            let frame = RecordFrame::parse(&message.payload).unwrap();
            records.extend(frame.records.iter().map(|bytes| Record::decode(bytes).unwrap()));
            if message.sequence == last.sequence {
                return records;
            }
        }
    }

    /// How many outcome records each job has.
    async fn outcomes(&self) -> BTreeMap<JobId, usize> {
        let mut counts = BTreeMap::new();
        for record in self.records().await {
            match record.body {
                Body::Outcome(outcome) => *counts.entry(outcome.job).or_default() += 1,
                other => panic!("{other:?} is no outcome"),
            }
        }
        counts
    }
}

fn appender_config(lanes: NonZeroU16) -> AppenderConfig {
    AppenderConfig {
        producer: ProducerId(runtime::random_uuid()),
        lanes,
        budget: Duration::from_millis(900),
        max_queued_bytes: 1 << 20,
    }
}

/// Job number `n`, about `incident`, for `target`.
fn job(n: u32, incident: u32, target: &str) -> NewJob {
    NewJob {
        id: id(n),
        queue: Queue::Send,
        project: ProjectId::new("payments").unwrap(),
        incident: IncidentId(Uuid::from_u128(u128::from(incident))),
        target: target.into(),
        trigger: trigger(n),
        not_before_delay: None,
        urgent: false,
        payload: n.to_be_bytes().to_vec(),
    }
}

fn id(n: u32) -> JobId {
    JobId(Uuid::from_u128(0x1000 + u128::from(n)))
}

fn trigger(n: u32) -> Position {
    format!("1735689600-{}-0-0", n + 1).parse().unwrap()
}

/// A test's process must not wait minutes for a second attempt.
fn quick() -> JobLoopConfig {
    JobLoopConfig { backoff_first: Duration::from_millis(20), ..JobLoopConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_two_loops_perform_each_job_once() {
    // given 300 jobs of 5 targets and 2 loops
    let rig = Rig::start().await;
    let jobs: Vec<NewJob> =
        (0..300).map(|n| job(n, n, ["a", "b", "c", "d", "e"][n as usize % 5])).collect();
    rig.insert(GENERATION, &jobs).await;
    let stub = Stub::new(Duration::from_secs(20), 16, works(Duration::from_millis(3)));

    // when both run, and the fold asks for the same jobs again meanwhile
    let loops = [rig.run(&stub, quick()), rig.run(&stub, quick())];
    rig.insert(GENERATION, &jobs).await;
    rig.settled(&[("done", 300)]).await;

    // then each was performed once, never twice at once, and has one record
    assert_eq!(stub.seen().twice_at_once, []);
    assert_eq!(stub.counts(), jobs.iter().map(|j| (j.id, 1)).collect());
    assert_eq!(rig.outcomes().await, jobs.iter().map(|j| (j.id, 1)).collect());
    for (task, controller) in loops {
        controller.stop();
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_finishes_what_is_held_and_takes_nothing_new() {
    // given a loop that holds one job of two
    let rig = Rig::start().await;
    rig.insert(GENERATION, &[job(0, 0, "a"), job(1, 1, "a")]).await;
    let (open, gate) = tokio::sync::watch::channel(false);
    let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let stub = Stub::new(
        Duration::from_secs(60),
        1,
        Arc::new(move |job| {
            let mut gate = gate.clone();
            called.send(job.id).unwrap();
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                done()
            }
            .boxed()
        }),
    );
    let (mut task, controller) = rig.run(&stub, quick());
    assert_eq!(timeout(PATIENCE, calls.recv()).await.unwrap(), Some(id(0)));

    // when it is told to stop, then it waits for that job
    controller.stop();
    assert!(timeout(Duration::from_millis(200), &mut task).await.is_err());
    open.send(true).unwrap();
    timeout(PATIENCE, task).await.unwrap().unwrap();
    assert_eq!(rig.states(Queue::Send).await, [("done".into(), 1), ("pending".into(), 1)].into());

    // and a hard stop does not wait
    open.send(false).unwrap();
    let (task, controller) = rig.run(&stub, quick());
    assert_eq!(timeout(PATIENCE, calls.recv()).await.unwrap(), Some(id(1)));
    controller.abort();
    timeout(PATIENCE, task).await.unwrap().unwrap();
    assert_eq!(rig.states(Queue::Send).await, [("done".into(), 1), ("claimed".into(), 1)].into());
}
