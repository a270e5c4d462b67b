//! The playbook of a running fleet: what the rules said where a question was asked is what answers it,
//! and what a replay asks.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use schemas::{
    codec,
    job::{AnswerResult, RunbookEntry, TriageJob},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::fleet::Fleet;
use uuid::Uuid;

use super::WORKER;
use crate::newcomer::bellwether;

/// Key of an operator who may act on incidents of `infra`.
const ADA: &str = "bwk_of_ada";

/// Alerts of the fleet's alertmanager source, one for each rule.
fn alerts(names: &[&str]) -> Value {
    let alert = |name: &&str| {
        json!({
            "status": "firing",
            "labels": {"alertname": name, "instance": "a", "severity": "critical"},
            "annotations": {"summary": "it is bad"},
            "startsAt": "2026-01-01T00:00:01Z", "endsAt": "0001-01-01T00:00:00Z",
        })
    };
    json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
        "alerts": names.iter().map(alert).collect::<Vec<_>>(),
    })
}

/// A document with this entry for `CheckoutSlow`, and these tables.
fn document(cause: &str, tables: &str) -> String {
    format!(
        "[[defaults.playbook]]\nid = \"checkout\"\nfamily = \"shop\"\n\
         when = [{{ alertname = [\"CheckoutSlow\"] }}]\ncause = \"{cause}\"\nimpact = \"i\"\n\
         checks = [\"look\"]\nfix = \"turn it off and on\"\nprevention = \"p\"\n\
         owner = \"team-payments\"\nlink = \"https://wiki.shop.test/checkout\"\n{tables}\n\
         [[defaults.routes]]\nname = \"r\"\nreceivers = [\"default\"]\n"
    )
}

fn rules(place: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(bellwether());
    command.arg("rules").args(arguments).env("USER", "ada").current_dir(place);
    command.output().unwrap()
}

/// What a verb says, which has to end with this code.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn apply(fleet: &Fleet, text: &str) {
    let folder = fleet.world.dir.path();
    std::fs::write(folder.join("draft.toml"), text).unwrap();
    let config = fleet.config().to_str().unwrap();
    said(&rules(folder, &["apply", "draft.toml", "--config", config]), 0);
}

/// What was asked and answered, by alert and reason.
struct Answer {
    id: Uuid,
    runbook: Vec<RunbookEntry>,
    result: AnswerResult,
}

impl Answer {
    fn evidence(&self) -> Vec<&str> {
        let analysis = self.result.analysis.iter();
        analysis.flat_map(|a| a.evidence.iter().map(String::as_str)).collect()
    }
}

async fn answers(fleet: &Fleet) -> BTreeMap<(String, String), Answer> {
    let mut sql = fleet.world.sql().await;
    let rows: Vec<(Uuid, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "select id, payload, result from job where queue = 'triage' and state = 'done'",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let read = |(id, payload, result): (Uuid, Vec<u8>, Vec<u8>)| {
        let asked: TriageJob = codec::decode("triage job", &payload).unwrap();
        let result = codec::decode("answer", &result).unwrap();
        let alertname = asked.facts.unwrap().alertname.unwrap();
        ((alertname, asked.reason), Answer { id, runbook: asked.runbook, result })
    };
    rows.into_iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_the_playbook_in_force_where_it_was_asked_answers_and_a_replay_asks_the_same() {
    let ada = format!(
        "[console.operators.ada]\nkey_sha256 = \"{}\"\nrole = \"operator\"\nprojects = [\"infra\"]\n",
        const_hex::encode(Sha256::digest(ADA))
    );
    let mut fleet = Fleet::new(WORKER, &ada).await;
    let number = fleet.start("ingest,console,triage-worker,notifier-worker,projector");
    let sender = fleet.sender(number);
    apply(&fleet, &document("the pool is small", ""));
    sender.alertmanager(&alerts(&["CheckoutSlow", "RedisDown", "Something"])).await;
    fleet.settled().await;

    let open = |name: &str| (name.to_owned(), "open".to_owned());
    let before = answers(&fleet).await;
    assert_eq!(before.len(), 3);
    let checkout = &before[&open("CheckoutSlow")];
    assert_eq!(checkout.evidence(), ["playbook:checkout"]);
    let analysis = checkout.result.analysis.as_ref().unwrap();
    assert_eq!((&*analysis.analyzed_by, &*analysis.root_cause), ("playbook", "the pool is small"));
    let fix = "turn it off and on\n先查：look\n負責：team-payments\n手冊：https://wiki.shop.test/checkout";
    assert_eq!(analysis.fix_suggestion, fix);
    assert_eq!(before[&open("RedisDown")].evidence(), ["playbook:redis-down"]);
    let unknown = &before[&open("Something")];
    assert!(unknown.result.analysis.is_none() && unknown.runbook.is_empty());

    // Other rules: who asks again is answered by them, from the facts of the opening.
    apply(
        &fleet,
        &document(
            "the provider is slow",
            "[[project.infra.playbook]]\nid = \"redis-down\"\ndisabled = true",
        ),
    );
    let console = fleet.member(number).console.unwrap();
    let list = fleet.get(console, "/api/v1/incidents?project_id=infra").await;
    for item in list["items"].as_array().unwrap() {
        let incident = item["incident_id"].as_str().unwrap();
        let url = format!("http://{console}/api/v1/incidents/{incident}/request_triage?wait=10");
        let request = fleet.client.post(url).bearer_auth(ADA).body("{}");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    fleet.settled().await;
    let after = answers(&fleet).await;
    assert_eq!(after.len(), 6);
    let again = |name: &str| (name.to_owned(), "request 1".to_owned());
    let checkout = after[&again("CheckoutSlow")].result.analysis.as_ref().unwrap();
    assert_eq!(checkout.root_cause, "the provider is slow");
    assert!(after[&again("RedisDown")].result.analysis.is_none());
    assert_eq!(after[&open("RedisDown")].evidence(), ["playbook:redis-down"]);

    // The log folded again asks with the same entries.
    fleet.stop_all();
    let lanes = tests::oracle::check(&fleet.world).await;
    let asks: Vec<_> = lanes.iter().flat_map(|lane| &lane.folded.triage).collect();
    assert_eq!(asks.len(), 6);
    for ask in asks {
        let answer = after.values().find(|answer| answer.id == ask.id.0).unwrap();
        // Who asks in the fold has the facts only of what opened there.
        if ask.job.facts.is_some() {
            assert_eq!(ask.job.runbook, answer.runbook);
        }
    }
}

#[test]
fn r29_the_verb_says_which_entries_an_alert_would_get_and_why() {
    let folder = tests::temp_dir();
    let at = folder.path();
    let write = |name: &str, text: &str| std::fs::write(at.join(name), text).unwrap();
    write("alert.json", &alerts(&["checkout-slow", "RedisDown", "Something"]).to_string());
    let disabled = "[[project.infra.playbook]]\nid = \"redis-down\"\ndisabled = true";
    write("rules.toml", &document("the pool is small", disabled));
    let ask = |more: &[&str]| {
        let arguments = ["playbook", "--file", "rules.toml", "--alert", "alert.json"];
        rules(at, &[&arguments[..], more].concat())
    };

    let text = said(&ask(&[]), 0);
    for line in [
        "alert       checkout-slow\nentry 1     checkout (shop, by the rules), 1000: alertname checkout-slow",
        "cause       the pool is small\n",
        "fix         turn it off and on\n            先查：look\n            負責：team-payments\n",
        "confidence  50 %",
        "alert       RedisDown\nentry 1     redis-down (redis, built in), 1000: alertname RedisDown",
        "alert       Something\nentries     none is about it",
    ] {
        assert!(text.contains(line), "{text}\nlacks {line}");
    }
    // For another project other entries hold.
    let text = said(&ask(&["--project", "infra"]), 0);
    assert!(text.contains("alert       RedisDown\nentries     none is about it"), "{text}");

    // What is wrong is said where it stands.
    write(
        "rules.toml",
        &document("the pool is small", "[[defaults.playbook]]\nid = \"new\"\nfix = \"f\""),
    );
    let text = said(&ask(&[]), 64);
    for words in ["rules.toml", "line 13, column 6", "entry \"new\" is not known", "lacks when"] {
        assert!(text.contains(words), "{text}");
    }
    write("rules.toml", &document("see https://evil.test", ""));
    assert!(said(&ask(&[]), 64).contains("cause holds an address"));
    write("alert.json", "{}");
    write("rules.toml", &document("the pool is small", ""));
    assert!(said(&ask(&["--provider", "nobody"]), 1).contains("name whose payload it is"));
    assert!(said(&ask(&["--provider", "alertmanager"]), 1).contains("alert.json"));
}
