//! Stage triage: job row -> analysts -> answer record in the input log.
//!
//! Any number of workers; the loop (`lanes::job`) claims, keeps and appends. What was told and what
//! was answered go into one record, so replay asks nobody (I7); and what the log says already is
//! found (`found`) before anybody is asked.

mod found;
mod queue;

use std::{sync::Arc, time::Duration};

use domain::{
    providers,
    triage::{Input, LIKE_ENOUGH, Prompt, UnknownPrompt, likeness},
};
use eventlog::Log;
use futures_util::future::BoxFuture;
use lanes::{
    Performed, Work,
    job::{End, Job, Queue},
};
use minicbor::{Decode, Encode};
use runtime::Health;
use schemas::{
    Facts, codec,
    job::{Analysis, AnswerResult, Similar, TriageJob, Usage},
    record::{Answer, Body},
};
use serde::Deserialize;
use store::{Store, similar::Sought};

use self::found::Past;
use crate::analysts::{AnalystConfig, Chain, ConfigError, Failure, Means, Question};

pub use queue::watch;

/// Room beside the analysts' time limits, for the tables and the log.
const SLACK: Duration = Duration::from_secs(20);

/// Triage's section of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who is asked, in this order, until one answers. Default: nobody but the playbook.
    pub analysts: Vec<AnalystConfig>,
    /// Analysts marked `local` are asked before the others.
    pub prefer_local: bool,
    /// The playbook is asked last where it is not listed.
    pub playbook: bool,
    /// How many jobs one process works on at once.
    pub concurrency: usize,
    /// How long a job of a process that died is left alone, in milliseconds. A process that lives
    /// renews its claims, however slow a model is.
    pub lease_ms: u64,
    /// Version and language of what models are told, `v2.zh-TW`; absent: the newest.
    pub prompt: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            analysts: Vec::new(),
            prefer_local: true,
            playbook: true,
            concurrency: 8,
            lease_ms: 15_000,
            prompt: None,
        }
    }
}

/// The shortest lease: claims are renewed three times in it, over the network.
const LEASE_MIN: u64 = 1_000;

impl Config {
    /// The prompt that models are asked with.
    pub fn prompt(&self) -> Result<&'static Prompt, UnknownPrompt> {
        self.prompt.as_deref().map_or(Ok(Prompt::builtin()), Prompt::find)
    }

    /// Hashes of the prompts that models are asked with: `usual`, and those of analysts that have
    /// their own.
    fn prompts(&self, usual: &'static Prompt) -> Vec<&'static str> {
        let own = self.analysts.iter().filter_map(|analyst| match analyst {
            AnalystConfig::Openai(config) => Prompt::find(config.prompt.as_deref()?).ok(),
            AnalystConfig::Playbook {} | AnalystConfig::Recorded(_) => None,
        });
        own.chain([usual]).map(Prompt::hash).collect()
    }

    /// Checks the section, with a client that asks nobody: a line of each analyst, in the order they
    /// are asked.
    pub fn check(&self, client: &reqwest::Client) -> Result<Vec<String>, ConfigError> {
        if self.lease_ms < LEASE_MIN {
            return Err(ConfigError::Lease { least: LEASE_MIN });
        }
        let means = Means { client: client.clone(), store: None, health: Health::default() };
        let chain = Chain::build(self, &means)?;
        let line = |name: &str, about: String| match about.is_empty() {
            true => name.to_owned(),
            false => format!("{name} ({about})"),
        };
        Ok(chain.analysts().map(|analyst| line(analyst.name(), analyst.about())).collect())
    }
}

/// What a job row keeps: [`AnswerResult`] and what was told to get it. Readers that only want the
/// answer decode it as an `AnswerResult`, whose fields these numbers repeat.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
struct Kept {
    #[n(0)]
    analysis: Option<Analysis>,
    #[n(1)]
    attempts: Vec<(String, String)>,
    #[n(2)]
    latency_ms: u64,
    /// Hash of the prompt.
    #[n(3)]
    prompt: String,
    /// The input as JSON text.
    #[n(4)]
    input: String,
    #[n(5)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    usage: Vec<Usage>,
    /// Where the record stands that it was found in: then the log says it already.
    #[n(6)]
    found_at: Option<String>,
}

impl Kept {
    fn new(result: AnswerResult, prompt: String, input: String) -> Self {
        let AnswerResult { analysis, attempts, latency_ms, usage } = result;
        Self { analysis, attempts, latency_ms, prompt, input, usage, found_at: None }
    }

    fn result(self) -> AnswerResult {
        let Self { analysis, attempts, latency_ms, usage, .. } = self;
        AnswerResult { analysis, attempts, latency_ms, usage }
    }

    /// Who was asked and why nobody answered; nothing where somebody did.
    fn unanswered(&self) -> Option<String> {
        if self.analysis.is_some() {
            return None;
        }
        let each: Vec<String> =
            self.attempts.iter().map(|(who, how)| format!("{who}: {how}")).collect();
        Some(if each.is_empty() { "no analyst is configured".to_owned() } else { each.join("; ") })
    }
}

/// What triage needs besides its configuration.
#[derive(Clone)]
pub struct Deps {
    /// For analysts that are asked over HTTP.
    pub client: reqwest::Client,
    pub store: Store,
    pub log: Arc<dyn Log>,
    pub health: Health,
}

/// Performs triage jobs.
pub struct TriageWork {
    chain: Chain,
    config: Config,
    prompt: &'static Prompt,
    store: Store,
    past: Past,
}

impl TriageWork {
    /// Checks the configuration and connects to nobody.
    pub fn new(config: &Config, deps: Deps) -> Result<Arc<Self>, ConfigError> {
        let Deps { client, store, log, health } = deps;
        let means = Means { client, store: Some(store.clone()), health };
        let chain = Chain::build(config, &means)?;
        let past = Past::new(store.clone(), log);
        Ok(Arc::new(Self { chain, config: config.clone(), prompt: config.prompt()?, store, past }))
    }

    async fn answer(&self, job: &Job) -> Result<Performed, store::Error> {
        let mut asked: TriageJob = match codec::decode("triage job", &job.payload) {
            Ok(asked) => asked,
            // Nothing that could be told; the loop parks it when no record can be made.
            Err(e) => return Ok(parked(e.to_string())),
        };
        if let Err(reason) = self.past.caught_up(job).await? {
            let after = Duration::from_secs(1);
            return Ok(Performed::Retry { after, reason, pause_target: false, untold: None });
        }
        let models: Vec<&str> = self.chain.analysts().filter_map(|a| a.model()).collect();
        let prompts = self.config.prompts(self.prompt);
        if let Some(found) = self.past.answer(&asked, &prompts, &models).await? {
            metrics::counter!("bellwether_answers_found_total").increment(1);
            tracing::info!(
                incident = %asked.incident,
                reason = asked.reason,
                record = found.found_at,
                "answer_found"
            );
            return Ok(done(&found));
        }
        let Some(facts) = asked.facts.take() else {
            return Ok(parked("the facts of the incident are gone".to_owned()));
        };
        let question = self.question(job, &asked, facts).await?;
        let verdict = self.chain.ask(&question).await?;
        let input = verdict.told.unwrap_or_else(|| question.input.json());
        let own = verdict.result.analysis.as_ref().and_then(|said| said.prompt.clone());
        let prompt = own.unwrap_or_else(|| self.prompt.hash().to_owned());
        let kept = Kept::new(verdict.result, prompt, input);
        if let Some((analyst, failure)) = &verdict.model_failure {
            report(&question.facts.provider, &asked.incident.to_string(), analyst, failure);
        }
        Ok(done(&kept))
    }

    async fn question(
        &self,
        job: &Job,
        asked: &TriageJob,
        facts: Facts,
    ) -> Result<Question, store::Error> {
        let words: Vec<(String, u32)> = likeness(&facts, asked.fingerprint)
            .into_iter()
            .map(|word| (word.text, word.weight))
            .collect();
        let similar = Sought {
            project: &job.project,
            incident: job.incident,
            fingerprint: asked.fingerprint,
            words: &words,
            enough: LIKE_ENOUGH,
        };
        let similar = self.similar(similar).await?;
        let input = Input::new(asked, &facts, similar);
        let (project, runbook) = (job.project.clone(), asked.runbook.clone());
        Ok(Question { job: job.id, project, facts, input, runbook })
    }

    /// Past incidents like this one; none where they cannot be read, which would not change however
    /// often the job is tried again.
    async fn similar(&self, sought: Sought<'_>) -> Result<Vec<Similar>, store::Error> {
        let incident = sought.incident;
        match self.store.similar(sought).await {
            Err(e) if !e.is_transient() => {
                metrics::counter!("bellwether_similar_unread_total").increment(1);
                let error = &e as &dyn std::error::Error;
                tracing::error!(%incident, error, "similar_incidents_not_read");
                Ok(Vec::new())
            }
            found => found,
        }
    }
}

/// The end of a job that has an answer. Nobody having one is one: the incident stays pending (R30).
fn done(kept: &Kept) -> Performed {
    Performed::Finish {
        result: codec::encode(kept),
        end: End::Done,
        reason: kept.unanswered(),
        untold: None,
    }
}

fn parked(reason: String) -> Performed {
    Performed::Finish { result: Vec::new(), end: End::Parked, reason: Some(reason), untold: None }
}

/// R46.
fn report(provider: &str, incident: &str, analyst: &str, failure: &Failure) {
    let (outcome, error) = (failure.word(), failure.to_string());
    match providers::log_prefix(provider) {
        Some(prefix) => {
            tracing::error!(incident, analyst, outcome, error, "{prefix}_openclaw_analyze_failed");
        }
        None => {
            tracing::error!(provider, incident, analyst, outcome, error, "analyze_failed");
        }
    }
}

impl Work for TriageWork {
    fn queue(&self) -> Queue {
        Queue::Triage
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(self.config.lease_ms)
    }

    fn limit(&self) -> Duration {
        self.chain.longest() + SLACK
    }

    fn concurrency(&self) -> usize {
        self.config.concurrency
    }

    fn perform<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Performed, store::Error>> {
        Box::pin(self.answer(job))
    }

    fn record(&self, job: &Job, result: &[u8]) -> Result<Option<Body>, String> {
        let asked: TriageJob =
            codec::decode("triage job", &job.payload).map_err(|e| e.to_string())?;
        let kept: Kept = codec::decode("kept answer", result).map_err(|e| e.to_string())?;
        if kept.found_at.is_some() {
            return Ok(None);
        }
        Ok(Some(Body::Answer(Box::new(Answer {
            job: job.id,
            incident: asked.incident,
            opening: asked.opening,
            reason: asked.reason,
            prompt: kept.prompt.clone(),
            input: kept.input.clone(),
            result: kept.result(),
        }))))
    }
}
