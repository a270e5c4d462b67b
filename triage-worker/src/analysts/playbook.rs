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
        let earlier = question.input.similar.iter().find(|similar| similar.same_problem);
        let answer = answer(&question.runbook, earlier).ok_or(Failure::NoEntry);
        Box::pin(std::future::ready(Ok(Asked::free(answer))))
    }
}

#[cfg(test)]
mod tests {
    use schemas::{
        Time,
        job::{Analysis, RunbookEntry, Similar},
    };

    use super::*;
    use crate::analysts::tests::question;

    /// A confirmed diagnosis of an earlier incident.
    fn earlier(number: &str, same_problem: bool) -> Similar {
        Similar {
            number: number.to_owned(),
            title: "x".to_owned(),
            opened: Time::from_micros(0),
            ended: None,
            same_problem,
            diagnosis: Analysis {
                root_cause: format!("cause of {number}"),
                confidence: 0.5,
                ..Analysis::default()
            },
        }
    }

    async fn asked(question: &Question) -> Result<Analysis, Failure> {
        PlaybookAnalyst.ask(question).await.unwrap().answer
    }

    #[tokio::test]
    async fn r29_the_playbook_answers_from_the_entries_that_go_with_the_job() {
        // The title is one that an entry of the built-in playbook is about: it is not asked again.
        let mut question = question("KeyError: 'user'");
        assert_eq!(asked(&question).await, Err(Failure::NoEntry));
        question.runbook = vec![RunbookEntry {
            id: "shop-keys".to_owned(),
            cause: "the catalogue lacks it".to_owned(),
            impact: "one page".to_owned(),
            checks: vec!["look".to_owned()],
            fix: "ask Ada".to_owned(),
            prevention: "p".to_owned(),
            owner: Some("team-shop".to_owned()),
            link: Some("https://wiki.shop.test/keys".to_owned()),
            confidence_percent: 70,
        }];
        let answer = asked(&question).await.unwrap();
        assert_eq!((answer.analyzed_by.as_str(), answer.model), ("playbook", None));
        assert_eq!(answer.evidence, ["playbook:shop-keys"]);
        assert_eq!(
            (answer.root_cause.as_str(), answer.confidence),
            ("the catalogue lacks it", 0.7)
        );
        assert!(answer.fix_suggestion.ends_with("team-shop\n手冊：https://wiki.shop.test/keys"));
    }

    #[tokio::test]
    async fn r29_only_the_same_problems_diagnosis_is_the_playbooks() {
        let mut question = question("x");
        question.input.similar = vec![earlier("INC-20260101-001", false)];
        assert_eq!(asked(&question).await, Err(Failure::NoEntry));
        question.input.similar.push(earlier("INC-20260101-002", true));
        let answer = asked(&question).await.unwrap();
        assert_eq!(answer.evidence, ["similar:INC-20260101-002"]);
        assert!(answer.root_cause.contains("cause of INC-20260101-002"));
        assert!(answer.confidence < 0.5);
    }
}
