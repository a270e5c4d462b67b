//! Stage triage: job row -> analysts -> answer record in the input log.
//!
//! Any number of workers; the loop (`lanes::job`) claims, keeps and appends. What was told and what
//! was answered go into one record, so replay asks nobody (I7).

use std::{sync::Arc, time::Duration};

use domain::{
    providers,
    triage::{Prompt, context},
};
use futures_util::future::BoxFuture;
use lanes::{
    Performed, Work,
    job::{End, Job, Queue},
};
use minicbor::{Decode, Encode};
use schemas::{
    codec,
    job::{Analysis, AnswerResult, TriageJob, Usage},
    record::{Answer, Body},
};
use serde::Deserialize;

use crate::analysts::{AnalystConfig, Chain, ConfigError, Question};

/// Room in a lease beside the analysts' time limits, for the tables and the log.
const SLACK: Duration = Duration::from_secs(5);

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
}

impl Default for Config {
    fn default() -> Self {
        Self { analysts: Vec::new(), prefer_local: true, playbook: true, concurrency: 8 }
    }
}

/// What a job row keeps: [`AnswerResult`] and what was told to get it. Readers that only want the
/// answer decode it as an `AnswerResult`, whose fields these numbers repeat.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
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
    #[cbor(default)]
    usage: Vec<Usage>,
}

/// Performs triage jobs.
pub struct TriageWork {
    chain: Chain,
    concurrency: usize,
}

impl TriageWork {
    /// Checks the configuration; `client` is for the analysts that are asked over HTTP.
    pub fn new(config: &Config, client: &reqwest::Client) -> Result<Arc<Self>, ConfigError> {
        let chain = Chain::build(&config.analysts, config.prefer_local, config.playbook, client)?;
        Ok(Arc::new(Self { chain, concurrency: config.concurrency }))
    }

    /// The analysts' names in the order they are asked.
    pub fn analysts(&self) -> Vec<&str> {
        self.chain.names()
    }

    async fn answer(&self, job: &Job) -> Performed {
        let asked: TriageJob = match codec::decode("triage job", &job.payload) {
            Ok(asked) => asked,
            // Nothing that could be told; the loop parks it when no record can be made.
            Err(e) => {
                let reason = Some(e.to_string());
                return Performed::Finish { result: Vec::new(), end: End::Parked, reason };
            }
        };
        let Some(facts) = asked.facts else {
            let reason = Some("the facts of the incident are gone".to_owned());
            return Performed::Finish { result: Vec::new(), end: End::Parked, reason };
        };
        let input = context(&facts).json();
        let question = Question { facts };
        let verdict = self.chain.ask(&question).await;
        let unanswered = verdict.result.analysis.is_none().then(|| {
            let attempts = verdict.result.attempts.iter();
            let each: Vec<String> = attempts.map(|(who, how)| format!("{who}: {how}")).collect();
            if each.is_empty() { "no analyst is configured".to_owned() } else { each.join("; ") }
        });
        if let Some(error) = unanswered.clone().or(verdict.model_failure) {
            report(&question.facts.provider, &asked.incident.to_string(), &error);
        }
        let AnswerResult { analysis, attempts, latency_ms, usage } = verdict.result;
        let prompt = Prompt::builtin().hash().to_owned();
        let kept = Kept { analysis, attempts, latency_ms, prompt, input, usage };
        // Nobody having an answer is an answer: the incident stays pending (R30).
        Performed::Finish { result: codec::encode(&kept), end: End::Done, reason: unanswered }
    }
}

/// R46.
fn report(provider: &str, incident: &str, error: &str) {
    match providers::log_prefix(provider) {
        Some(prefix) => tracing::error!(incident, error, "{prefix}_openclaw_analyze_failed"),
        None => tracing::error!(provider, incident, error, "analyze_failed"),
    }
}

impl Work for TriageWork {
    fn queue(&self) -> Queue {
        Queue::Triage
    }

    fn lease(&self) -> Duration {
        // The loop gives the work half of it.
        (self.chain.longest() + SLACK) * 2
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn perform<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Performed, store::Error>> {
        Box::pin(async move { Ok(self.answer(job).await) })
    }

    fn record(&self, job: &Job, result: &[u8]) -> Result<Body, String> {
        let asked: TriageJob =
            codec::decode("triage job", &job.payload).map_err(|e| e.to_string())?;
        let kept: Kept = codec::decode("kept answer", result).map_err(|e| e.to_string())?;
        Ok(Body::Answer(Box::new(Answer {
            job: job.id,
            incident: asked.incident,
            opening: asked.opening,
            reason: asked.reason,
            prompt: kept.prompt,
            input: kept.input,
            result: AnswerResult {
                analysis: kept.analysis,
                attempts: kept.attempts,
                latency_ms: kept.latency_ms,
                usage: kept.usage,
            },
        })))
    }
}
