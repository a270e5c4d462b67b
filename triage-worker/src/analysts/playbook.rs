//! The built-in playbook as an analyst: no model, no network.

use std::time::Duration;

use domain::triage::{Playbook, playbook::NAME};
use futures_util::future::BoxFuture;
use schemas::job::Analysis;

use super::{Analyst, Failure, Question};

/// Answers from written runbook knowledge.
pub struct PlaybookAnalyst {
    playbook: &'static Playbook,
}

impl PlaybookAnalyst {
    /// With the playbook that ships with this binary.
    pub fn builtin() -> Self {
        Self { playbook: Playbook::builtin() }
    }
}

impl Analyst for PlaybookAnalyst {
    fn name(&self) -> &str {
        NAME
    }

    fn is_model(&self) -> bool {
        false
    }

    /// False although it is here: it is asked after the models, local or not.
    fn local(&self) -> bool {
        false
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn analyse<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Analysis, Failure>> {
        let answer = self.playbook.analyse(&question.facts).ok_or(Failure::NoEntry);
        Box::pin(std::future::ready(answer))
    }
}
