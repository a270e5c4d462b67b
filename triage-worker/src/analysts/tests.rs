//! The chain: who is asked when, and what is kept of it.

use super::*;
use schemas::{SourceId, Status, job::TriageJob};

/// A question about an alert with nothing but a title.
pub(crate) fn question(title: &str) -> Question {
    let facts = Facts::new("sentry", SourceId::new("sentry").unwrap(), title, Status::Firing);
    let project = ProjectId::new("shop").unwrap();
    let opening: schemas::Position = "1-2-3-4".parse().unwrap();
    let incident = schemas::IncidentId(schemas::id::hash(&[title.as_bytes()]));
    let job = TriageJob::new(project.clone(), incident, opening, "open", Some(facts.clone()));
    let input = Input::new(&job, &facts, Vec::new());
    Question { job: JobId(incident.0), project, facts, input, runbook: Vec::new() }
}

struct Fake {
    name: &'static str,
    local: bool,
    answer: Option<Asked>,
}

impl Analyst for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn model(&self) -> Option<&str> {
        Some("fake")
    }

    fn local(&self) -> bool {
        self.local
    }

    fn longest(&self, _: usize) -> Duration {
        Duration::from_secs(60)
    }

    fn ask<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Asked, store::Error>> {
        match self.answer.clone() {
            Some(answer) => Box::pin(std::future::ready(Ok(answer))),
            None => Box::pin(std::future::pending()),
        }
    }
}

fn fake(name: &'static str, local: bool, answer: Option<Asked>) -> Box<dyn Analyst> {
    Box::new(Fake { name, local, answer })
}

fn failed(failure: Failure, calls: u32) -> Asked {
    let usage = Usage { calls, tokens_in: 10, ..Usage::default() };
    Asked { usage: (calls > 0).then_some(usage), ..Asked::free(Err(failure)) }
}

fn answered(cause: &str) -> Asked {
    Asked::free(Ok(analysis(cause)))
}

pub(crate) fn analysis(cause: &str) -> Analysis {
    domain::triage::check(&format!(r#"{{"root_cause":"{cause}"}}"#)).unwrap()
}

fn chain(analysts: Vec<Box<dyn Analyst>>, prefer_local: bool) -> Chain {
    Chain::new(analysts, prefer_local, 8).unwrap()
}

#[tokio::test(start_paused = true)]
async fn r29_the_next_analyst_is_asked_after_a_failure_and_after_60_s() {
    let chain = chain(
        vec![
            fake("slow", false, None),
            fake("broken", false, Some(failed(Failure::ServerError(500), 3))),
            fake("spent", false, Some(failed(Failure::Paused, 0))),
            fake("good", false, Some(answered("a"))),
            fake("never", false, Some(answered("b"))),
        ],
        true,
    );
    let begun = Instant::now();
    let verdict = chain.ask(&question("x")).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
    assert_eq!(verdict.result.analysis, Some(analysis("a")));
    let attempts: Vec<String> =
        verdict.result.attempts.iter().map(|(who, how)| format!("{who} {how}")).collect();
    assert_eq!(
        attempts,
        [
            "slow timeout: no answer within 60 s",
            "broken server_error: status 500, after 3 calls",
            "spent paused: not asked: it asked for patience",
            "good answered"
        ]
    );
    assert_eq!(verdict.result.latency_ms, 60_000);
    assert_eq!(verdict.model_failure, Some(("spent".into(), Failure::Paused)));
    let usage: Vec<u32> = verdict.result.usage.iter().map(|usage| usage.calls).collect();
    assert_eq!(usage, [3]);
}

#[tokio::test]
async fn r30_nobody_answers() {
    let down = fake("down", false, Some(failed(Failure::ServerError(503), 1)));
    let verdict = chain(vec![down], true).ask(&question("x")).await.unwrap();
    assert_eq!(verdict.result.analysis, None);
    assert_eq!(
        verdict.result.attempts,
        [("down".to_owned(), "server_error: status 503".to_owned())]
    );
    let nobody = chain(Vec::new(), true).ask(&question("x")).await.unwrap();
    assert_eq!((nobody.result.analysis, nobody.result.attempts.len()), (None, 0));
}

#[test]
fn r29_local_analysts_come_first_where_preferred_and_the_playbook_last() {
    let means = Means {
        client: runtime::http_client::build(&runtime::http_client::ClientConfig::default())
            .unwrap(),
        store: None,
        health: Health::default(),
    };
    let openai = |name: &str, local: bool| {
        let config =
            OpenAiConfig { name: name.into(), local, ..OpenAiConfig::new("http://h/v1", "m") };
        AnalystConfig::Openai(Box::new(config))
    };
    let order = |analysts: Vec<AnalystConfig>, prefer_local: bool, playbook: bool| {
        let config = crate::triage::Config {
            analysts,
            prefer_local,
            playbook,
            ..crate::triage::Config::default()
        };
        let chain = Chain::build(&config, &means);
        chain.map(|c| c.analysts().map(|a| a.name().to_owned()).collect::<Vec<_>>().join(" "))
    };
    let two = || vec![openai("far", false), openai("near", true)];
    assert_eq!(order(two(), true, true).unwrap(), "near far playbook");
    assert_eq!(order(two(), false, true).unwrap(), "far near playbook");
    assert_eq!(order(two(), true, false).unwrap(), "near far");
    let early = vec![AnalystConfig::Playbook {}, openai("far", false)];
    assert_eq!(order(early, true, true).unwrap(), "playbook far");
    assert_eq!(order(Vec::new(), true, true).unwrap(), "playbook");
    let same = order(vec![openai("far", false), openai("far", true)], true, true);
    assert!(same.unwrap_err().to_string().contains("two analysts are named far"));
}

#[test]
fn an_endpoint_of_the_configuration_knows_all_of_its_keys() {
    let text = r#"{"kind":"openai","name":"azure","url":"https://x.example/openai/deployments/d",
        "model":"gpt","api_key":"k","key_header":"api-key","api_version":"2024-10-21",
        "output":"json_schema","input_tokens":4000,"output_tokens":900,
        "output_tokens_key":"max_completion_tokens","timeout_s":20,"retries":1,"concurrency":2,
        "breaker":{"failures":3,"pause_s":10},"price":{"input":0.15,"output":0.6},
        "budget":{"calls":100,"tokens":200000,"cost":0.5},"project_budget":{"calls":10}}"#;
    let config: AnalystConfig = serde_json::from_str(text).unwrap();
    let means = Means {
        client: runtime::http_client::build(&runtime::http_client::ClientConfig::default())
            .unwrap(),
        store: None,
        health: Health::default(),
    };
    assert_eq!(
        build(&config, &means, Prompt::builtin()).unwrap().about(),
        "gpt; 20 s, 1 retries, 2 at once; at most 100 calls, 200000 tokens, 0.5 in money an hour; \
         at most 10 calls an hour for each project"
    );
    assert!(serde_json::from_str::<AnalystConfig>(&text.replace("retries", "tries")).is_err());
}
