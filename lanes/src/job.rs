//! The one loop of the effects: claim, perform, keep the result, append it to the log, settle.
//!
//! A crash anywhere continues where it stopped: before the result is kept the effect is performed
//! again (deliver knows from `sent` that it may have happened), after that only the append and the
//! settling are. So an effect's record may stand in the log twice, never not at all; folds take the
//! first per job.

mod busy;
mod config;
mod hold;
mod pace;

use std::{any::Any, future::Future, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use eventlog::Appender;
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Fuse, FusedFuture},
    stream::FuturesUnordered,
};
use runtime::{Clock, Shutdown, record_id};
use schemas::{
    Record,
    record::Body,
    subject::{Class, LaneKey},
};
use store::Store;
pub use store::job::{Budget, End, Job, NewJob, Queue, Room, Untold};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

pub use self::config::{Faults, JobLoopConfig};
use self::{
    busy::{Busy, Place},
    hold::{Limits, Times},
    pace::Pace,
};

/// One kind of effect.
pub trait Work: Send + Sync + 'static {
    /// Whose jobs it performs.
    fn queue(&self) -> Queue;

    /// How long a claim lasts: the longest that a job of a process that died is left alone.
    fn lease(&self) -> Duration;

    /// How long [`Work::perform`] may take; it is dropped then. Half a lease, so that the rest is for
    /// keeping the result; while it takes longer than that, the claim is renewed.
    fn limit(&self) -> Duration {
        self.lease() / 2
    }

    /// How many jobs this process performs at once.
    fn concurrency(&self) -> usize;

    /// How much each target takes, over all processes; one without a budget takes everything. The
    /// same at every call.
    fn budgets(&self) -> &[Budget] {
        &[]
    }

    /// Does it. An error of the tables, a panic and a deadline passed are tried again later.
    fn perform<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Performed, store::Error>>;

    /// What is appended to the log for a kept result; none where the log says it already. An error
    /// parks the job with that reason.
    fn record(&self, job: &Job, result: &[u8]) -> Result<Option<Body>, String>;
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Performed {
    /// It is over: `result` goes into the row, from there into the log, and the job ends as `end`.
    ///
    /// `untold` is what this claim noted as told, and is certain not to be: it is taken back before
    /// anything else is written.
    Finish { result: Vec<u8>, end: End, reason: Option<String>, untold: Option<Untold> },
    /// Not now. With `pause_target` no other job of the target starts before then either.
    Retry { after: Duration, reason: String, pause_target: bool, untold: Option<Untold> },
}

/// Performs the jobs of one queue, together with any number of others that do the same.
pub struct JobLoop<W> {
    work: Arc<W>,
    store: Store,
    appender: Appender,
    clock: Clock,
    config: JobLoopConfig,
    queue: Queue,
    limits: Limits,
    concurrency: usize,
    per_target: usize,
    /// The targets' budgets have their rows.
    opened: OnceCell<()>,
}

/// How one claim of a job ended.
enum Ended {
    Settled(End),
    /// Handed back.
    Retried,
    /// Left to whoever claims it when the lease is over.
    Left,
}

/// A claim's answer.
struct Claim {
    wanted: usize,
    /// When it was asked for.
    asked: Instant,
    jobs: Result<Vec<Job>, store::Error>,
}

/// Why nothing came of [`Work::perform`].
enum Unperformed {
    Panicked {
        reason: String,
    },
    /// Another worker has the claim.
    Lost,
}

impl<W: Work> JobLoop<W> {
    /// A loop that does nothing until it runs.
    pub fn new(
        work: Arc<W>,
        store: Store,
        appender: Appender,
        clock: Clock,
        config: JobLoopConfig,
    ) -> Self {
        let concurrency = work.concurrency().max(1);
        let per_target = config.per_target.unwrap_or(concurrency / 8).clamp(1, concurrency);
        Self {
            queue: work.queue(),
            limits: Limits { lease: work.lease(), perform: work.limit() },
            work,
            store,
            appender,
            clock,
            config,
            concurrency,
            per_target,
            opened: OnceCell::new(),
        }
    }

    /// Claims and performs until the soft token, then finishes what it holds; until the hard token.
    pub async fn run(self, shutdown: Shutdown) {
        let this = &self;
        let mut running = FuturesUnordered::<BoxFuture<'_, Place>>::new();
        let mut busy = Busy::new(self.per_target);
        let mut pace = Pace::new(self.config.poll_min, self.config.poll_max);
        let mut claiming = pin!(Fuse::terminated());
        loop {
            let stopping = shutdown.is_stopping();
            let asking = !claiming.is_terminated();
            if stopping && !asking && running.is_empty() {
                break;
            }
            let free = self.concurrency - running.len();
            tokio::select! {
                biased;
                () = shutdown.hard() => break,
                () = shutdown.stopping(), if !stopping => {}
                Some(place) = running.next(), if !running.is_empty() => {
                    busy.release(&place);
                    pace.ended();
                }
                // A claim on its way is waited for: dropped, its jobs would rest for a lease.
                claimed = &mut claiming, if asking => {
                    for (job, times) in this.claimed(claimed, &mut pace) {
                        busy.hold(&Place::of(&job));
                        running.push(this.attempt(job, times).boxed());
                    }
                }
                () = sleep_until(pace.wake()), if !stopping && !asking && free > 0 => {
                    let (n, room) = busy.room(free);
                    claiming.set(this.claim(n, room).fuse());
                }
            }
        }
    }

    /// What a claim brought, with the times that hold for it.
    fn claimed(&self, claim: Claim, pace: &mut Pace) -> Vec<(Job, Times)> {
        let queue = self.queue.word();
        match claim.jobs {
            Ok(jobs) => {
                if pace.found(claim.wanted, jobs.len()) {
                    tracing::info!(queue, "jobs_claimed_again");
                }
                metrics::counter!("bellwether_jobs_claimed_total", "queue" => queue)
                    .increment(jobs.len() as u64);
                let times = Times::new(claim.asked, self.limits);
                jobs.into_iter().map(|job| (job, times)).collect()
            }
            Err(e) => {
                if pace.failed() {
                    tracing::warn!(queue, error = &e as &dyn std::error::Error, "jobs_not_claimed");
                }
                Vec::new()
            }
        }
    }

    /// The first claim opens the targets' budgets.
    async fn claim(&self, wanted: usize, room: Room) -> Claim {
        let asked = Instant::now();
        let budgets = self.work.budgets();
        let claim = async {
            self.opened.get_or_try_init(|| self.store.open_targets(budgets)).await?;
            self.store.claim(self.queue, wanted, self.limits.lease, &room, budgets).await
        };
        // What was claimed unheard rests for a lease anyway.
        let jobs = timeout(self.limits.lease, claim).await.unwrap_or_else(|_| {
            tracing::warn!(queue = self.queue.word(), "jobs_claim_unanswered");
            Ok(Vec::new())
        });
        Claim { wanted, asked, jobs }
    }

    /// One claim of one job, from beginning to end. Returns the place it took.
    async fn attempt(&self, job: Job, times: Times) -> Place {
        let queue = self.queue.word();
        let ended = self.carry(&job, times).await;
        metrics::histogram!("bellwether_job_seconds", "queue" => queue)
            .record(times.asked.elapsed().as_secs_f64());
        match ended {
            Ended::Settled(end) => {
                metrics::counter!(
                    "bellwether_jobs_finished_total",
                    "queue" => queue,
                    "end" => end.word()
                )
                .increment(1);
            }
            Ended::Retried => {
                metrics::counter!("bellwether_job_retries_total", "queue" => queue).increment(1);
            }
            Ended::Left => {
                metrics::counter!("bellwether_jobs_left_total", "queue" => queue).increment(1);
                tracing::warn!(queue, job = %job.id, attempts = job.attempts, "job_left_to_lease");
            }
        }
        Place::of(&job)
    }

    async fn carry(&self, job: &Job, mut times: Times) -> Ended {
        self.fault("claimed");
        let (result, end, reason) = match (&job.result, &job.result_end) {
            (Some(result), Some((end, reason))) => (result.clone(), *end, reason.clone()),
            _ => match self.perform(job, &mut times).await {
                Err(Unperformed::Lost) => return Ended::Left,
                Err(Unperformed::Panicked { reason }) if job.attempts >= self.config.panics_max => {
                    return self.settle(job, times, End::Parked, Some(&reason)).await;
                }
                Err(Unperformed::Panicked { reason }) => {
                    let after = self.config.backoff(job.attempts);
                    return self.retry(job, times, after, &reason, false).await;
                }
                Ok(Performed::Retry { after, reason, pause_target, untold }) => {
                    if !self.take_back(job, times, untold).await {
                        return Ended::Left;
                    }
                    return self.retry(job, times, after, &reason, pause_target).await;
                }
                Ok(Performed::Finish { result, end, reason, untold }) => {
                    self.fault("performed");
                    if !self.take_back(job, times, untold).await {
                        return Ended::Left;
                    }
                    let store = || self.store.store_result(job, &result, end, reason.as_deref());
                    let until = times.keep_until(Instant::now(), self.limits);
                    match self.insist(job, until, store).await {
                        Some(true) => (result, end, reason),
                        Some(false) | None => return Ended::Left,
                    }
                }
            },
        };
        self.fault("result_stored");
        let body = match self.work.record(job, &result) {
            Ok(body) => body,
            Err(reason) => {
                tracing::error!(
                    queue = self.queue.word(),
                    job = %job.id,
                    reason,
                    "job_result_unusable"
                );
                return self.settle(job, times, End::Parked, Some(&reason)).await;
            }
        };
        if let Some(body) = body {
            if !self.append(job, body, times.append_until).await {
                return Ended::Left;
            }
            self.fault("appended");
        }
        self.settle(job, times, end, reason.as_deref()).await
    }

    /// Performs within the deadline; everything that goes wrong becomes a retry.
    async fn perform(&self, job: &Job, times: &mut Times) -> Result<Performed, Unperformed> {
        let retry = |reason: String| {
            let after = self.config.backoff(job.attempts);
            Ok(Performed::Retry { after, reason, pause_target: false, untold: None })
        };
        let performing = AssertUnwindSafe(async { self.work.perform(job).await }).catch_unwind();
        let mut performing = pin!(timeout_at(times.perform_until, performing));
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut performing => break ended,
                kept = self.keep(job, *times) => match kept {
                    Some(renewed) => *times = renewed,
                    None => return Err(Unperformed::Lost),
                },
            }
        };
        match ended {
            Ok(Ok(Ok(performed))) => Ok(performed),
            Ok(Ok(Err(e))) => retry(format!("the tables: {e}")),
            Ok(Err(panic)) => {
                let said = said(&*panic);
                tracing::error!(
                    queue = self.queue.word(),
                    job = %job.id,
                    attempts = job.attempts,
                    panic = said,
                    "job_panicked"
                );
                Err(Unperformed::Panicked { reason: format!("panicked: {said}") })
            }
            Err(_) => retry(format!("did not end within {} s", self.limits.perform.as_secs_f64())),
        }
    }

    /// Renews a claim when that is due, however often the tables have to be asked; none when it is
    /// lost. What is being performed is not given up because the tables are away: nobody else can
    /// claim it meanwhile.
    async fn keep(&self, job: &Job, times: Times) -> Option<Times> {
        let (queue, mut due) = (self.queue.word(), self.limits.renew_at(times));
        loop {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
            let asked = Instant::now();
            match timeout(self.limits.lease, self.store.renew(job, self.limits.lease)).await {
                Ok(Ok(true)) => return Some(times.renewed(asked, self.limits)),
                Ok(Ok(false)) => {
                    tracing::warn!(queue, job = %job.id, "job_claim_lost");
                    return None;
                }
                Ok(Err(e)) => {
                    let error = &e as &dyn std::error::Error;
                    tracing::warn!(queue, job = %job.id, error, "job_claim_not_renewed");
                }
                Err(_) => tracing::warn!(queue, job = %job.id, "job_claim_renewal_unanswered"),
            }
            due = Some(Instant::now() + RETRY_MAX.min(self.limits.lease / 8));
        }
    }

    /// Takes back what is certain not to be told, however often the tables have to be asked: what is
    /// not taken back the next claim has to take for told. False: not in time.
    async fn take_back(&self, job: &Job, times: Times, untold: Option<Untold>) -> bool {
        let Some(untold) = untold else { return true };
        let retract = || self.store.retract(job, &untold);
        self.insist(job, times.lease_until, retract).await.is_some()
    }

    async fn retry(
        &self,
        job: &Job,
        times: Times,
        after: Duration,
        reason: &str,
        pause_target: bool,
    ) -> Ended {
        tracing::warn!(
            queue = self.queue.word(),
            job = %job.id,
            target_id = job.target,
            attempts = job.attempts,
            after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            reason,
            "job_retried"
        );
        if pause_target {
            let pause = || self.store.pause_target(&job.target, after);
            if self.insist(job, times.lease_until, pause).await.is_none() {
                return Ended::Left;
            }
        }
        let back = || self.store.retry(job, after, reason);
        match self.insist(job, times.lease_until, back).await {
            Some(true) => Ended::Retried,
            Some(false) | None => Ended::Left,
        }
    }

    async fn settle(&self, job: &Job, times: Times, end: End, reason: Option<&str>) -> Ended {
        let settle = || self.store.settle(job, end, reason);
        match self.insist(job, times.lease_until, settle).await {
            Some(true) => Ended::Settled(end),
            Some(false) | None => Ended::Left,
        }
    }

    /// Appends the record until the log has it. False: not known to be there in time.
    async fn append(&self, job: &Job, body: Body, until: Instant) -> bool {
        let project = Some(job.project.clone());
        let record = Record::new(record_id(&self.clock), self.clock.now(), project, body);
        let mut wait = RETRY_FIRST;
        loop {
            let appending =
                self.appender.append(LaneKey::Lane(job.lane), Class::Data, record.clone());
            match timeout_at(until, appending).await {
                Ok(Ok(_)) => return true,
                Ok(Err(e)) => tracing::warn!(
                    queue = self.queue.word(),
                    job = %job.id,
                    error = &e as &dyn std::error::Error,
                    "job_record_not_appended"
                ),
                Err(_) => return false,
            }
            if Instant::now() + wait >= until {
                return false;
            }
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Asks the tables again while they are away, until `until`.
    async fn insist<T, F>(&self, job: &Job, until: Instant, mut ask: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, store::Error>>,
    {
        let mut wait = RETRY_FIRST;
        loop {
            let e = match timeout_at(until, ask()).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(e)) => e,
                Err(_) => return None,
            };
            tracing::warn!(
                queue = self.queue.word(),
                job = %job.id,
                error = &e as &dyn std::error::Error,
                "job_row_not_written"
            );
            if !e.is_transient() || Instant::now() + wait >= until {
                return None;
            }
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    fn fault(&self, point: &'static str) {
        (self.config.faults)(point);
    }
}

/// First and longest wait between two tries to write a row or a record.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("something that is no text")
}
