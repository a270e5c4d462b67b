//! Who is asked: the analysts in their configured order, each with its own time limit.
//!
//! A model is asked by a protocol of its own ([`openai`]) and within bounds that are the same for all
//! of them (`guarded`): turns, a breaker, a budget, retries. To add a protocol: a file here that
//! makes one request of a question and one reply of its answer, a kind in [`AnalystConfig`], a line
//! in `build`.

mod breaker;
mod budget;
mod failure;
mod guarded;
pub mod openai;
pub mod playbook;
pub mod recorded;

use std::{collections::BTreeSet, time::Duration};

use domain::triage::{Input, Prompt, UnknownPrompt};
use futures_util::future::BoxFuture;
use runtime::Health;
use schemas::{
    Facts, JobId, ProjectId,
    job::{Analysis, AnswerResult, RunbookEntry, Usage},
};
use serde::Deserialize;
use store::Store;
use tokio::time::{Instant, timeout};

pub use breaker::BreakerConfig;
pub use budget::{BudgetConfig, PriceConfig};
pub use failure::Failure;
pub use openai::OpenAiConfig;
pub use playbook::PlaybookAnalyst;
pub use recorded::{Recorded, RecordedConfig};

/// What an analyst is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// One question is one job, however often it is asked.
    pub job: JobId,
    /// Whose budget it is asked on.
    pub project: ProjectId,
    /// Redacted.
    pub facts: Facts,
    /// What a model is told.
    pub input: Input,
    /// The entries of the playbook that go with the job, whole: their addresses are told to people, and
    /// to no model.
    pub runbook: Vec<RunbookEntry>,
}

/// Tokens told and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
}

/// What came of asking an analyst.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub answer: Result<Analysis, Failure>,
    /// What it took; absent where nothing was asked of anybody outside.
    pub usage: Option<Usage>,
    /// What was told of the input, where that is not all of it.
    pub told: Option<String>,
}

impl Asked {
    /// Of an analyst that calls nobody.
    pub fn free(answer: Result<Analysis, Failure>) -> Self {
        Self { answer, usage: None, told: None }
    }
}

/// Somebody who can be asked what is wrong.
pub trait Analyst: Send + Sync + 'static {
    /// Its configured name.
    fn name(&self) -> &str;

    /// The model it asks, if it does: a model's failure is reported, the playbook's silence is not.
    fn model(&self) -> Option<&str>;

    /// It runs on our own machines; asked first with `prefer_local`.
    fn local(&self) -> bool;

    /// What there is to say of it in a line, for whoever checks a configuration.
    fn about(&self) -> String {
        String::new()
    }

    /// The longest a question may take where so many are asked at once; it is given up then.
    fn longest(&self, at_once: usize) -> Duration;

    /// Asks. May be dropped at any time. An error of the tables says that it is not known whether it
    /// may be asked.
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Asked, store::Error>>;
}

/// One configured analyst.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AnalystConfig {
    /// Any OpenAI-compatible endpoint.
    Openai(Box<OpenAiConfig>),
    /// The built-in playbook, where it is not to be the last.
    Playbook {},
    /// Recorded answers, for tests and comparisons.
    Recorded(RecordedConfig),
}

/// Why the analysts cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("analyst {name}: {reason}")]
    Analyst { name: String, reason: String },
    #[error("two analysts are named {0}; give each its own name")]
    SameName(String),
    #[error(transparent)]
    Prompt(#[from] UnknownPrompt),
    #[error("is too short to be renewed in time; give at least {least}")]
    Lease { least: u64 },
}

impl ConfigError {
    /// Which part of section `triage` it is in.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Analyst { .. } | Self::SameName(_) => "triage.analysts",
            Self::Prompt(_) => "triage.prompt",
            Self::Lease { .. } => "triage.lease_ms",
        }
    }
}

/// What analysts need besides their configuration.
#[derive(Clone, Debug)]
pub struct Means {
    /// For those that are asked over HTTP.
    pub client: reqwest::Client,
    /// Where budgets are; without it nothing has a limit.
    pub store: Option<Store>,
    /// Told of analysts that fail.
    pub health: Health,
}

/// The analysts in the order they are asked.
pub struct Chain {
    analysts: Vec<Box<dyn Analyst>>,
    /// How many questions are asked at once.
    at_once: usize,
}

/// What the chain found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub result: AnswerResult,
    /// What was told of the input to the analyst that answered, where that is not all of it.
    pub told: Option<String>,
    /// The last failure of a model, when there was one, and whose it is.
    pub model_failure: Option<(String, Failure)>,
}

impl Chain {
    /// In this order; with `prefer_local` the local ones come first. At most `at_once` questions are
    /// asked at once.
    pub fn new(
        mut analysts: Vec<Box<dyn Analyst>>,
        prefer_local: bool,
        at_once: usize,
    ) -> Result<Self, ConfigError> {
        if prefer_local {
            analysts.sort_by_key(|analyst| !analyst.local());
        }
        let mut names = BTreeSet::new();
        if let Some(name) = analysts.iter().map(|a| a.name()).find(|name| !names.insert(*name)) {
            return Err(ConfigError::SameName(name.to_owned()));
        }
        Ok(Self { analysts, at_once })
    }

    /// The analysts of the configuration. The playbook is asked last where `config` says so and it is
    /// not listed.
    pub fn build(config: &crate::triage::Config, means: &Means) -> Result<Self, ConfigError> {
        let prompt = config.prompt()?;
        let mut analysts: Vec<Box<dyn Analyst>> = Vec::new();
        for config in &config.analysts {
            analysts.push(build(config, means, prompt)?);
        }
        let listed = config.analysts.iter().any(|c| matches!(c, AnalystConfig::Playbook {}));
        if config.playbook && !listed {
            analysts.push(Box::new(PlaybookAnalyst));
        }
        Self::new(analysts, config.prefer_local, config.concurrency)
    }

    /// The analysts in the order they are asked.
    pub fn analysts(&self) -> impl Iterator<Item = &dyn Analyst> {
        self.analysts.iter().map(AsRef::as_ref)
    }

    /// The longest that asking all of them may take.
    pub fn longest(&self) -> Duration {
        self.analysts().map(|analyst| analyst.longest(self.at_once)).sum()
    }

    /// Asks one after the other until one answers.
    pub async fn ask(&self, question: &Question) -> Result<Verdict, store::Error> {
        let begun = Instant::now();
        let mut result = AnswerResult::default();
        let (mut told_of_input, mut model_failure) = (None, None);
        for analyst in self.analysts() {
            let limit = analyst.longest(self.at_once);
            let asked = match timeout(limit, analyst.ask(question)).await {
                Ok(asked) => asked?,
                Err(_) => Asked::free(Err(Failure::Timeout { seconds: limit.as_secs() })),
            };
            let Asked { answer, usage, told: of_input } = asked;
            let calls = usage.as_ref().map_or(0, |usage| usage.calls);
            result.usage.extend(usage);
            let word = answer.as_ref().map_or_else(Failure::word, |_| "answered");
            metrics::counter!(
                "bellwether_analyst_asked_total",
                "analyst" => analyst.name().to_owned(),
                "result" => word
            )
            .increment(1);
            let name = analyst.name().to_owned();
            match answer {
                Ok(found) => {
                    result.attempts.push((name, word.to_owned()));
                    result.analysis = Some(found);
                    told_of_input = of_input;
                    break;
                }
                Err(failure) => {
                    result.attempts.push((name.clone(), told(&failure, calls)));
                    if analyst.model().is_some() {
                        model_failure = Some((name, failure));
                    }
                }
            }
        }
        result.latency_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Verdict { result, told: told_of_input, model_failure })
    }
}

/// A failure as it is kept: its word, and what there is to say of it.
fn told(failure: &Failure, calls: u32) -> String {
    let word = failure.word();
    if calls > 1 {
        format!("{word}: {failure}, after {calls} calls")
    } else {
        format!("{word}: {failure}")
    }
}

fn build(
    config: &AnalystConfig,
    means: &Means,
    prompt: &'static Prompt,
) -> Result<Box<dyn Analyst>, ConfigError> {
    Ok(match config {
        AnalystConfig::Openai(config) => openai::build(config, means, prompt)?,
        AnalystConfig::Playbook {} => Box::new(PlaybookAnalyst),
        AnalystConfig::Recorded(config) => Box::new(Recorded::new(config.clone())),
    })
}

#[cfg(test)]
pub(crate) mod tests;
