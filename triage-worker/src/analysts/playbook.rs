//! The playbook as an analyst: no model, no network.

use std::time::Duration;

use domain::triage::playbook::{NAME, answer};
use futures_util::future::BoxFuture;

use super::{Analyst, Asked, Failure, Question};

/// Answers from written runbook knowledge: from the entries that go with the job, so that what was in
/// force where it was asked answers, whatever holds by now.
pub struct PlaybookAnalyst;

impl Analyst for PlaybookAnalyst {
    fn name(&self) -> &str {
        NAME
    }

    fn model(&self) -> Option<&str> {
        None
    }

    /// False although it is here: it is asked after the models, local or not.
    fn local(&self) -> bool {
        false
    }

    fn longest(&self, _: usize) -> Duration {
        Duration::from_secs(1)
    }

    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Asked, store::Error>> {
        let input = &question.input;
        let earlier = input.similar.iter().find(|past| past.title == question.facts.title);
        let answer = answer(&input.runbook, earlier).ok_or(Failure::NoEntry);
        Box::pin(std::future::ready(Ok(Asked::free(answer))))
    }
}
