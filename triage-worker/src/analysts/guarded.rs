//! A model that is asked within bounds: in its turn, while its breaker is closed, as far as its
//! budget goes, again where that may help, and never longer than its time limit.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use runtime::Health;
use schemas::{
    JobId, id,
    job::{Analysis, Usage},
};
use store::Store;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    Analyst, Asked, Failure, Question, Tokens,
    breaker::{Breaker, BreakerConfig, Closed, Pass},
    budget::{BudgetConfig, PriceConfig, Purse},
    failure::Again,
};

/// First and longest wait between two tries, unless the other side says when.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// What a question may take beside its calls: the budget stands in the tables.
const SLACK: Duration = Duration::from_secs(5);

/// How long it is remembered that an endpoint refuses a form: it may have been one question's fault.
const PLAIN_FOR: Duration = Duration::from_secs(600);

/// Longest time limit and pause, in seconds: beyond them is a slip of the keyboard.
const TIMEOUT_MAX_S: u64 = 3_600;
const PAUSE_MAX_S: u64 = 86_400;

/// What a request holds beside model and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    /// Only the limit of what it may write.
    Plain,
    Bare,
}

impl Form {
    /// The next one to try where this one was refused, the limit by name or not.
    const fn plainer(self, limit: bool) -> Option<Self> {
        match (self, limit) {
            (Self::Whole, false) => Some(Self::Plain),
            (Self::Whole | Self::Plain, true) => Some(Self::Bare),
            (Self::Plain, false) | (Self::Bare, _) => None,
        }
    }
}

/// A protocol that models are asked by: one request, one answer.
pub(super) trait Model: Send + Sync + 'static {
    /// The analyst's configured name.
    fn name(&self) -> &str;

    /// The model's name.
    fn model(&self) -> &str;

    /// What a question may cost at most, as far as that can be told before.
    fn size(&self, question: &Question) -> Tokens;

    /// Asks once, in this form. May be dropped at any time.
    fn call<'a>(&'a self, question: &'a Question, form: Form) -> BoxFuture<'a, Reply>;
}

/// What came of one call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub answer: Result<Analysis, Failure>,
    pub spent: Spent,
    /// What was told of the input, of one that answered.
    pub told: Option<String>,
}

impl Reply {
    pub(super) fn failed(failure: Failure, spent: Spent) -> Self {
        Self { answer: Err(failure), spent, told: None }
    }
}

/// What one call took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// It was never received.
    NoCall,
    Tokens(Tokens),
    /// Nobody knows; what it may cost at most counts.
    Unknown,
}

/// How a model may be asked; explained with [`super::OpenAiConfig`], which has the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub timeout_s: u64,
    pub retries: u32,
    pub concurrency: usize,
    pub breaker: BreakerConfig,
    pub price: PriceConfig,
    pub budget: BudgetConfig,
    pub project_budget: BudgetConfig,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            timeout_s: 60,
            retries: 2,
            concurrency: 8,
            breaker: BreakerConfig::default(),
            price: PriceConfig::default(),
            budget: BudgetConfig::default(),
            project_budget: BudgetConfig::default(),
        }
    }
}

impl Bounds {
    /// What is wrong with them.
    pub(super) fn check(&self) -> Result<(), String> {
        let least = |key: &str, value: u64| match value {
            0 => Err(format!("{key} is 0; give at least 1")),
            _ => Ok(()),
        };
        let most = |key: &str, value: u64, most: u64| match value > most {
            true => Err(format!("{key} is {value}; give at most {most}")),
            false => Ok(()),
        };
        least("timeout_s", self.timeout_s)?;
        most("timeout_s", self.timeout_s, TIMEOUT_MAX_S)?;
        least("concurrency", self.concurrency as u64)?;
        least("breaker.failures", u64::from(self.breaker.failures))?;
        least("breaker.pause_s", self.breaker.pause_s)?;
        most("breaker.pause_s", self.breaker.pause_s, PAUSE_MAX_S)?;
        self.price.check()?;
        self.budget.check("budget", self.price)?;
        self.project_budget.check("project_budget", self.price)
    }
}

/// A model within its bounds.
pub(super) struct Guarded<M> {
    model: M,
    local: bool,
    bounds: Bounds,
    turns: Semaphore,
    breaker: Breaker,
    purse: Purse,
    /// Which form it was found out to want, and when.
    plain: Mutex<Option<(Form, Instant)>>,
}

impl<M: Model> Guarded<M> {
    /// `bounds` must have passed [`Bounds::check`].
    pub(super) fn new(
        model: M,
        local: bool,
        bounds: Bounds,
        store: Option<Store>,
        health: Health,
    ) -> Self {
        let Bounds { price, budget, project_budget, .. } = bounds;
        Self {
            local,
            turns: Semaphore::new(bounds.concurrency.min(Semaphore::MAX_PERMITS)),
            breaker: Breaker::new(model.name(), bounds.breaker, health),
            purse: Purse::new(model.name(), price, budget, project_budget, store),
            plain: Mutex::new(None),
            bounds,
            model,
        }
    }

    async fn within_bounds(&self, question: &Question) -> Result<Asked, store::Error> {
        let began = Instant::now();
        let turn = self.turn().await;
        let mut usage = Usage {
            analyst: self.model.name().to_owned(),
            model: Some(self.model.model().to_owned()),
            ..Usage::default()
        };
        let deadline = Instant::now() + self.time();
        let pass = match self.pass(question, deadline).await {
            Ok(pass) => pass,
            Err(failure) => return Ok(Asked::free(Err(failure))),
        };
        let retries = if pass.is_probe() { 0 } else { self.bounds.retries };
        let mut form = self.form();
        let mut tries = 0;
        let answer = loop {
            let failure = match self.once(question, form, deadline, &mut usage).await {
                Ok(Ok(answered)) => {
                    self.remember(form);
                    pass.succeeded();
                    break Ok(answered);
                }
                Ok(Err(failure)) => failure,
                Err(e) => {
                    // Of the tables, not of the analyst.
                    pass.unused();
                    return Err(e);
                }
            };
            let asked_for = match failure.again() {
                Again::Plainly { limit } => match form.plainer(limit) {
                    Some(plainer) => {
                        form = plainer;
                        continue;
                    }
                    None => {
                        pass.failed(&failure);
                        break Err(failure);
                    }
                },
                Again::Never => {
                    pass.failed(&failure);
                    break Err(failure);
                }
                Again::Later(asked_for) => asked_for,
            };
            if let Some(patience) = asked_for {
                // For every question.
                self.breaker.rest(patience);
            }
            let wait = backoff(question.job, tries).max(asked_for.unwrap_or_default());
            if tries == retries || Instant::now() + wait >= deadline {
                pass.failed(&failure);
                break Err(failure);
            }
            tries += 1;
            sleep(wait).await;
        };
        drop(turn);
        usage.latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let usage = (usage.calls > 0).then_some(usage);
        let (answer, told) = match answer {
            Ok((analysis, told)) => (Ok(analysis), told),
            Err(failure) => (Err(failure), None),
        };
        Ok(Asked { answer, usage, told })
    }

    /// Leave to ask, as soon as the analyst may be asked within the time there is.
    async fn pass(&self, question: &Question, deadline: Instant) -> Result<Pass<'_>, Failure> {
        loop {
            match self.breaker.enter() {
                Ok(pass) => return Ok(pass),
                Err(Closed::Failed { failures }) => return Err(Failure::BreakerOpen { failures }),
                Err(Closed::Until(then)) => {
                    // Not all of those that wait at the same moment.
                    let then = then + backoff(question.job, 0);
                    if then >= deadline {
                        return Err(Failure::Paused);
                    }
                    sleep_until(then).await;
                }
            }
        }
    }

    /// One call, as far as the budget goes: the analysis, and what was told.
    async fn once(
        &self,
        question: &Question,
        form: Form,
        deadline: Instant,
        usage: &mut Usage,
    ) -> Result<Result<(Analysis, Option<String>), Failure>, store::Error> {
        let estimate = self.model.size(question);
        let lent = match self.purse.take(&question.project, estimate).await? {
            Ok(lent) => lent,
            Err(failure) => return Ok(Err(failure)),
        };
        let began = Instant::now();
        let calling = timeout_at(deadline, self.model.call(question, form));
        let Reply { answer, spent, told } = calling.await.unwrap_or_else(|_| {
            let seconds = self.bounds.timeout_s;
            Reply::failed(Failure::Timeout { seconds }, Spent::Unknown)
        });
        let (calls, tokens) = match spent {
            Spent::NoCall => (0, Some(Tokens::default())),
            Spent::Tokens(tokens) => (1, Some(tokens)),
            Spent::Unknown => (1, None),
        };
        let cost_micros = self.purse.settle(lent, calls, tokens).await;
        let Tokens { input, output } = tokens.unwrap_or(estimate);
        usage.calls += calls as u32;
        usage.tokens_in = usage.tokens_in.saturating_add(input);
        usage.tokens_out = usage.tokens_out.saturating_add(output);
        usage.cost_micros = usage.cost_micros.saturating_add(cost_micros);

        let analyst = || self.model.name().to_owned();
        let result = answer.as_ref().map_or_else(Failure::word, |_| "answered");
        metrics::counter!(
            "bellwether_analyst_calls_total", "analyst" => analyst(), "result" => result
        )
        .increment(1);
        metrics::histogram!(
            "bellwether_analyst_call_seconds", "analyst" => analyst(), "result" => result
        )
        .record(began.elapsed().as_secs_f64());
        for (of, tokens) in [("input", input), ("output", output)] {
            metrics::counter!("bellwether_analyst_tokens_total", "analyst" => analyst(), "of" => of)
                .increment(tokens);
        }
        metrics::counter!("bellwether_analyst_cost_micros_total", "analyst" => analyst())
            .increment(cost_micros);
        Ok(answer.map(|analysis| (analysis, told)))
    }

    /// Waits until it may be asked one more question. That is no part of the time limit: what waits
    /// here waits for its own process's questions alone.
    async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let began = Instant::now();
        let waiting = metrics::gauge!(
            "bellwether_analyst_waiting", "analyst" => self.model.name().to_owned()
        );
        waiting.increment(1.0);
        let waits = Waits(waiting);
        // Never closed.
        let turn = self.turns.acquire().await.ok();
        drop(waits);
        metrics::histogram!(
            "bellwether_analyst_wait_seconds", "analyst" => self.model.name().to_owned()
        )
        .record(began.elapsed().as_secs_f64());
        turn
    }

    /// The form to ask in.
    fn form(&self) -> Form {
        let mut plain = self.plain();
        match *plain {
            Some((form, since)) if since.elapsed() < PLAIN_FOR => form,
            Some(_) | None => {
                *plain = None;
                Form::Whole
            }
        }
    }

    /// Keeps the form that it answered to.
    fn remember(&self, form: Form) {
        let mut plain = self.plain();
        let known = plain.is_some_and(|(known, _)| known == form);
        if form == Form::Whole || known {
            return;
        }
        *plain = Some((form, Instant::now()));
        let analyst = self.model.name();
        match form {
            Form::Whole => {}
            Form::Plain => tracing::warn!(
                analyst,
                "analyst_asked_plainly: it refuses parameters; output = \"text\" says so at once"
            ),
            Form::Bare => tracing::warn!(
                analyst,
                "analyst_asked_without_limit: it refuses the limit of tokens; see output_tokens_key"
            ),
        }
    }

    // A panic while the lock is held cannot leave it half written.
    fn plain(&self) -> MutexGuard<'_, Option<(Form, Instant)>> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.bounds.timeout_s)
    }
}

/// One that waits, however it ends.
struct Waits(metrics::Gauge);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl<M: Model> Analyst for Guarded<M> {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn model(&self) -> Option<&str> {
        Some(self.model.model())
    }

    fn local(&self) -> bool {
        self.local
    }

    fn longest(&self, at_once: usize) -> Duration {
        // Those before it in the queue for a turn may each take as long.
        let rounds = at_once.div_ceil(self.bounds.concurrency).max(1);
        (self.time() + SLACK) * u32::try_from(rounds).unwrap_or(u32::MAX)
    }

    fn about(&self) -> String {
        let Bounds { timeout_s, retries, concurrency, budget, project_budget, .. } = self.bounds;
        let place = if self.local { ", local" } else { "" };
        let model = self.model.model();
        let mut text =
            format!("{model}{place}; {timeout_s} s, {retries} retries, {concurrency} at once");
        for (whose, budget) in [("", budget), (" for each project", project_budget)] {
            if let Some(most) = budget.about() {
                text.push_str(&format!("; at most {most} an hour{whose}"));
            }
        }
        text
    }

    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Asked, store::Error>> {
        Box::pin(self.within_bounds(question))
    }
}

/// The wait after try number `tries` (from 0): doubled each time, and between half and all of that,
/// so that those who failed together do not come again together.
fn backoff(job: JobId, tries: u32) -> Duration {
    let full = BACKOFF_FIRST.saturating_mul(1 << tries.min(10)).min(BACKOFF_MAX);
    // By the job's id, which is as good as random and needs no generator.
    let spread = id::derive(job.0, "retry", u64::from(tries)).as_u128() % 1_000;
    full / 2 + full.mul_f64(spread as f64 / 2_000.0)
}

#[cfg(test)]
mod tests;
