//! An analyst that repeats recorded answers: for tests, and for comparing rules or prompts without
//! asking a model again.

use std::{collections::BTreeMap, time::Duration};

use domain::triage::{Unusable, check};
use futures_util::future::BoxFuture;
use schemas::job::Analysis;
use serde::Deserialize;

use super::{Analyst, Asked, Failure, Question};

/// What was recorded.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedConfig {
    /// Name in attempts and metrics.
    #[serde(default = "recorded")]
    pub name: String,
    /// Answer texts as the model wrote them, by the alert's title.
    #[serde(default)]
    pub answers: BTreeMap<String, String>,
    /// The answer for every other title; without it there is none.
    pub otherwise: Option<String>,
    /// What [`Analysis::model`] says.
    pub model: Option<String>,
    /// How long an answer takes, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// How long to wait for it, in milliseconds.
    #[serde(default = "minute")]
    pub timeout_ms: u64,
}

fn recorded() -> String {
    "recorded".into()
}

fn minute() -> u64 {
    60_000
}

/// Repeats what was recorded. Each answer is judged anew.
pub struct Recorded {
    config: RecordedConfig,
}

impl Recorded {
    /// From a configuration.
    pub fn new(config: RecordedConfig) -> Self {
        Self { config }
    }

    fn answer(&self, title: &str) -> Result<Analysis, Failure> {
        let text = self
            .config
            .answers
            .get(title)
            .or(self.config.otherwise.as_ref())
            .ok_or(Failure::NoEntry)?;
        let analysis = check(text).map_err(|e: Unusable| Failure::Unusable(e))?;
        Ok(Analysis { model: self.config.model.clone(), ..analysis })
    }
}

impl Analyst for Recorded {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn model(&self) -> Option<&str> {
        Some(self.config.model.as_deref().unwrap_or(&self.config.name))
    }

    fn local(&self) -> bool {
        false
    }

    fn longest(&self, _: usize) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }

    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Asked, store::Error>> {
        Box::pin(async move {
            if self.config.delay_ms > 0 {
                tokio::time::sleep(Duration::from_millis(self.config.delay_ms)).await;
            }
            Ok(Asked::free(self.answer(&question.facts.title)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysts::tests::question;

    #[tokio::test]
    async fn it_repeats_what_was_recorded_by_title() {
        let recorded = Recorded::new(RecordedConfig {
            name: recorded(),
            answers: [("a".to_owned(), r#"{"root_cause":"甲"}"#.to_owned())].into(),
            otherwise: Some("{}".into()),
            model: Some("qwen".into()),
            delay_ms: 0,
            timeout_ms: minute(),
        });
        let got = recorded.ask(&question("a")).await.unwrap().answer.unwrap();
        assert_eq!((got.root_cause.as_str(), got.model.as_deref()), ("甲", Some("qwen")));
        let failure = recorded.ask(&question("b")).await.unwrap().answer.unwrap_err();
        assert_eq!(failure, Failure::Unusable(Unusable::Empty));
    }
}
