//! Who is asked: the analysts in their configured order, each with its own time limit.
//!
//! To add one: a file here, a kind in [`AnalystConfig`], a line in `build`.

pub mod openai;
pub mod playbook;
pub mod recorded;

use std::{collections::BTreeSet, time::Duration};

use domain::triage::Unusable;
use futures_util::future::BoxFuture;
use schemas::{
    Facts,
    job::{Analysis, AnswerResult},
};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

pub use openai::{OpenAi, OpenAiConfig};
pub use playbook::PlaybookAnalyst;
pub use recorded::{Recorded, RecordedConfig};

/// What an analyst is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// Redacted; a model is told the [`domain::triage::Context`] of them.
    pub facts: Facts,
}

/// Why an analyst did not answer. Its text is kept with the answer and shown, and holds neither
/// credentials nor what the other side wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("timeout after {seconds} s")]
    Timeout { seconds: u64 },
    #[error("status {0}")]
    Status(u16),
    #[error("not reached: {0}")]
    NotReached(String),
    #[error("answer longer than {limit} bytes")]
    TooLong { limit: usize },
    /// Not in the protocol's shape.
    #[error("answer {0}")]
    Shape(&'static str),
    /// In the protocol's shape, but no analysis (R29).
    #[error("answer {0}")]
    Unusable(#[from] Unusable),
    /// It knows nothing of such an alert.
    #[error("no entry")]
    NoEntry,
}

/// Somebody who can be asked what is wrong.
pub trait Analyst: Send + Sync + 'static {
    /// Its configured name.
    fn name(&self) -> &str;

    /// True for a model: its failure is reported, the playbook's silence is not.
    fn is_model(&self) -> bool;

    /// It runs on our own machines; asked first with `prefer_local`.
    fn local(&self) -> bool;

    /// How long it may take.
    fn timeout(&self) -> Duration;

    /// Asks. May be dropped at any time.
    fn analyse<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Analysis, Failure>>;
}

/// One configured analyst.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AnalystConfig {
    /// Any OpenAI-compatible endpoint.
    Openai(OpenAiConfig),
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
}

/// The analysts in the order they are asked.
pub struct Chain {
    analysts: Vec<Box<dyn Analyst>>,
}

/// What the chain found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub result: AnswerResult,
    /// The last failure of a model, when there was one.
    pub model_failure: Option<String>,
}

impl Chain {
    /// In this order; with `prefer_local` the local ones come first.
    pub fn new(mut analysts: Vec<Box<dyn Analyst>>, prefer_local: bool) -> Self {
        if prefer_local {
            analysts.sort_by_key(|analyst| !analyst.local());
        }
        Self { analysts }
    }

    /// The analysts of the configuration. The playbook is asked last where `with_playbook` says so
    /// and it is not listed.
    pub fn build(
        configs: &[AnalystConfig],
        prefer_local: bool,
        with_playbook: bool,
        client: &reqwest::Client,
    ) -> Result<Self, ConfigError> {
        let mut analysts: Vec<Box<dyn Analyst>> = Vec::new();
        for config in configs {
            analysts.push(build(config, client)?);
        }
        let mut chain = Self::new(analysts, prefer_local);
        let listed = configs.iter().any(|c| matches!(c, AnalystConfig::Playbook {}));
        if with_playbook && !listed {
            chain.analysts.push(Box::new(PlaybookAnalyst::builtin()));
        }
        let mut names = BTreeSet::new();
        match chain.analysts.iter().map(|a| a.name()).find(|name| !names.insert(*name)) {
            Some(name) => Err(ConfigError::SameName(name.to_owned())),
            None => Ok(chain),
        }
    }

    /// The names in the order they are asked.
    pub fn names(&self) -> Vec<&str> {
        self.analysts.iter().map(|analyst| analyst.name()).collect()
    }

    /// The longest that asking all of them may take.
    pub fn longest(&self) -> Duration {
        self.analysts.iter().map(|analyst| analyst.timeout()).sum()
    }

    /// Asks one after the other until one answers.
    pub async fn ask(&self, question: &Question) -> Verdict {
        let begun = Instant::now();
        let mut attempts = Vec::new();
        let mut model_failure = None;
        let mut analysis = None;
        for analyst in &self.analysts {
            let limit = analyst.timeout();
            let answer = timeout(limit, analyst.analyse(question))
                .await
                .unwrap_or(Err(Failure::Timeout { seconds: limit.as_secs() }));
            let word = if answer.is_ok() { "answered" } else { "failed" };
            metrics::counter!(
                "bellwether_analyst_asked_total",
                "analyst" => analyst.name().to_owned(),
                "result" => word
            )
            .increment(1);
            match answer {
                Ok(found) => {
                    attempts.push((analyst.name().to_owned(), word.to_owned()));
                    analysis = Some(found);
                    break;
                }
                Err(failure) => {
                    if analyst.is_model() {
                        model_failure = Some(format!("{}: {failure}", analyst.name()));
                    }
                    attempts.push((analyst.name().to_owned(), failure.to_string()));
                }
            }
        }
        let latency_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let result = AnswerResult { analysis, attempts, latency_ms, ..AnswerResult::default() };
        Verdict { result, model_failure }
    }
}

fn build(
    config: &AnalystConfig,
    client: &reqwest::Client,
) -> Result<Box<dyn Analyst>, ConfigError> {
    Ok(match config {
        AnalystConfig::Openai(config) => Box::new(OpenAi::new(config.clone(), client.clone())?),
        AnalystConfig::Playbook {} => Box::new(PlaybookAnalyst::builtin()),
        AnalystConfig::Recorded(config) => Box::new(Recorded::new(config.clone())),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use schemas::{SourceId, Status};

    /// A question about an alert with nothing but a title.
    pub(crate) fn question(title: &str) -> Question {
        let facts = Facts::new("sentry", SourceId::new("sentry").unwrap(), title, Status::Firing);
        Question { facts }
    }

    struct Fake {
        name: &'static str,
        local: bool,
        answer: Option<Result<Analysis, Failure>>,
    }

    impl Analyst for Fake {
        fn name(&self) -> &str {
            self.name
        }

        fn is_model(&self) -> bool {
            true
        }

        fn local(&self) -> bool {
            self.local
        }

        fn timeout(&self) -> Duration {
            Duration::from_secs(60)
        }

        fn analyse<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Analysis, Failure>> {
            match self.answer.clone() {
                Some(answer) => Box::pin(std::future::ready(answer)),
                None => Box::pin(std::future::pending()),
            }
        }
    }

    fn fake(
        name: &'static str,
        local: bool,
        answer: Option<Result<Analysis, Failure>>,
    ) -> Box<dyn Analyst> {
        Box::new(Fake { name, local, answer })
    }

    fn analysis(cause: &str) -> Analysis {
        domain::triage::check(&format!(r#"{{"root_cause":"{cause}"}}"#)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn r29_the_next_analyst_is_asked_after_a_failure_and_after_60_s() {
        let chain = Chain::new(
            vec![
                fake("slow", false, None),
                fake("broken", false, Some(Err(Failure::Status(500)))),
                fake("good", false, Some(Ok(analysis("a")))),
                fake("never", false, Some(Ok(analysis("b")))),
            ],
            true,
        );
        let begun = Instant::now();
        let verdict = chain.ask(&question("x")).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
        assert_eq!(verdict.result.analysis, Some(analysis("a")));
        let attempts: Vec<String> =
            verdict.result.attempts.iter().map(|(who, how)| format!("{who}: {how}")).collect();
        assert_eq!(attempts, ["slow: timeout after 60 s", "broken: status 500", "good: answered"]);
        assert_eq!(verdict.result.latency_ms, 60_000);
        assert_eq!(verdict.model_failure.as_deref(), Some("broken: status 500"));
    }

    #[tokio::test]
    async fn r30_nobody_answers() {
        let chain = Chain::new(vec![fake("down", false, Some(Err(Failure::Status(503))))], true);
        let verdict = chain.ask(&question("x")).await;
        assert_eq!(verdict.result.analysis, None);
        assert_eq!(chain.longest(), Duration::from_secs(60));
        assert_eq!(Chain::new(vec![], true).ask(&question("x")).await.result.analysis, None);
    }

    #[test]
    fn analysts_are_configured_in_order_and_unknown_keys_are_refused() {
        let read = |text: &str| serde_json::from_str::<Vec<AnalystConfig>>(text);
        let client = runtime::http_client::build(&Default::default()).unwrap();
        let configs = read(
            r#"[{"kind": "openai", "url": "https://api.example/v1", "model": "m", "api_key": "k"},
                {"kind": "openai", "name": "local", "url": "http://localhost/v1", "model": "q",
                 "local": true, "timeout_s": 20}]"#,
        )
        .unwrap();
        assert!(!format!("{configs:?}").contains("\"k\""), "keys are not shown");
        let names = |prefer, with_playbook| {
            let chain = Chain::build(&configs, prefer, with_playbook, &client).unwrap();
            chain.names().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(true, true), ["local", "openclaw", "playbook"]);
        assert_eq!(names(false, false), ["openclaw", "local"]);

        let twice = read(r#"[{"kind": "recorded"}, {"kind": "recorded"}]"#).unwrap();
        let e = Chain::build(&twice, true, true, &client).err().unwrap();
        assert_eq!(e.to_string(), "two analysts are named recorded; give each its own name");
        let listed = read(r#"[{"kind": "playbook"}, {"kind": "recorded"}]"#).unwrap();
        let chain = Chain::build(&listed, true, true, &client).unwrap();
        assert_eq!(chain.names(), ["playbook", "recorded"]);

        for bad in [
            r#"[{"kind": "openai", "url": "http://a", "model": "m", "key": "k"}]"#,
            r#"[{"kind": "oracle"}]"#,
            r#"[{"kind": "playbook", "url": "x"}]"#,
            r#"[{"kind": "openai", "url": "http://a"}]"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn r29_local_analysts_come_first_when_preferred() {
        let three = || vec![fake("a", false, None), fake("b", true, None), fake("c", true, None)];
        assert_eq!(Chain::new(three(), true).names(), ["b", "c", "a"]);
        assert_eq!(Chain::new(three(), false).names(), ["a", "b", "c"]);
    }
}
