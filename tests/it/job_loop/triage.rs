//! Triage jobs through the loop: each becomes one answer record, whatever the analysts do.

use domain::rules::{Rules, Subject};
use schemas::{Facts, SourceId, alert::Status, codec, job::TriageJob, record::Answer};
use triage_worker::{
    TriageWork,
    analysts::{AnalystConfig, RecordedConfig},
    triage::{Config, Deps},
};

use super::*;

/// A triage job about an alert with this title.
fn asked(n: u32, title: &str) -> NewJob {
    let project = ProjectId::new("payments").unwrap();
    let facts = Facts {
        culprit: Some("app.main".into()),
        ..Facts::new("sentry", SourceId::new("sentry").unwrap(), title, Status::Firing)
    };
    let incident = IncidentId(Uuid::from_u128(u128::from(n)));
    let reason = "open";
    let runbook = Rules::builtin().runbook(&Subject { project: &project, facts: &facts });
    let payload =
        TriageJob { runbook, ..TriageJob::new(project, incident, trigger(n), reason, Some(facts)) };
    NewJob { queue: Queue::Triage, payload: codec::encode(&payload), ..job(n, n, "") }
}

fn recorded(answers: &[(&str, &str)]) -> AnalystConfig {
    AnalystConfig::Recorded(RecordedConfig {
        name: "recorded".into(),
        answers: answers.iter().map(|(t, a)| ((*t).to_owned(), (*a).to_owned())).collect(),
        otherwise: None,
        model: Some("qwen3".into()),
        delay_ms: 0,
        timeout_ms: 60_000,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r29_r30_every_triage_job_ends_in_one_answer_record() {
    // given a model that knows one alert, gives an empty answer to another, and the playbook
    let rig = Rig::start().await;
    let config = Config {
        analysts: vec![recorded(&[
            (
                "ValueError in calculate_score",
                r#"{"root_cause":"Redis 連線池耗盡","confidence":1.5}"#,
            ),
            ("KeyError: 'user'", "{}"),
        ])],
        ..Config::default()
    };
    let client = runtime::http_client::build(&runtime::http_client::ClientConfig::default());
    let client = client.unwrap();
    assert_eq!(config.check(&client).unwrap(), ["recorded", "playbook"]);
    let deps = Deps {
        client,
        store: rig.world.store.clone(),
        log: rig.log.clone(),
        health: runtime::Health::default(),
    };
    let work = TriageWork::new(&config, deps).unwrap();
    let undecodable = NewJob { payload: vec![0xff], ..asked(3, "x") };
    let jobs = [
        asked(0, "ValueError in calculate_score"),
        asked(1, "KeyError: 'user'"),
        asked(2, "Sacred Marmot"),
        undecodable,
    ];
    rig.insert(GENERATION, &jobs).await;

    // when
    let (task, controller) = rig.run(&work, quick());
    let over = [("done".to_owned(), 3), ("parked".to_owned(), 1)].into();
    timeout(PATIENCE, async {
        while rig.states(Queue::Triage).await != over {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    controller.stop();
    timeout(PATIENCE, task).await.unwrap().unwrap();

    // then
    let answers: BTreeMap<JobId, Answer> = rig
        .records()
        .await
        .into_iter()
        .map(|record| match record.body {
            Body::Answer(answer) => (answer.job, *answer),
            other => panic!("{other:?} is no answer"),
        })
        .collect();
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [id(0), id(1), id(2)]);

    let by_model = answers[&id(0)].result.analysis.clone().unwrap();
    assert_eq!(by_model.root_cause, "Redis 連線池耗盡");
    assert_eq!((by_model.confidence, by_model.impact.as_str()), (1.0, "影響範圍未知"));
    assert_eq!(by_model.model.as_deref(), Some("qwen3"));

    let by_playbook = &answers[&id(1)].result;
    assert_eq!(by_playbook.analysis.as_ref().unwrap().analyzed_by, "playbook");
    let how: Vec<&str> = by_playbook.attempts.iter().map(|(_, how)| how.as_str()).collect();
    assert_eq!(how, ["empty: answer is an empty json object", "answered"]);

    let nobody = &answers[&id(2)];
    assert_eq!(nobody.result.analysis, None);
    assert_eq!(nobody.result.attempts.len(), 2);
    assert_eq!((nobody.opening, nobody.reason.as_str()), (trigger(2), "open"));
    assert_eq!(nobody.prompt, domain::triage::Prompt::builtin().hash());
    let input: serde_json::Value = serde_json::from_str(&nobody.input).unwrap();
    assert_eq!(input["alert"]["title"], "Sacred Marmot");
    assert_eq!(input["alert"]["culprit"], "app.main");

    // and deliver finds what was said
    let incident = IncidentId(Uuid::from_u128(0));
    let latest = rig.world.store.latest_answer(incident).await.unwrap().unwrap();
    assert_eq!(latest, answers[&id(0)].result);
}
