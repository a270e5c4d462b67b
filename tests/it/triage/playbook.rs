//! The playbook of a running fleet: what the rules said where a question was asked is what answers it,
//! and what a replay asks.

use std::{
    path::Path,
    process::{Command, Output},
};

use schemas::{
    codec,
    job::{Analysis, AnswerResult, RunbookEntry, TriageJob},
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
    changed(names, "firing", 1)
}

/// The same, with this status since that second.
fn changed(names: &[&str], status: &str, second: u32) -> Value {
    let at = format!("2026-01-01T00:00:{second:02}Z");
    let ends = if status == "resolved" { &at } else { "0001-01-01T00:00:00Z" };
    let alert = |name: &&str| {
        json!({
            "status": status,
            "labels": {"alertname": name, "instance": "a", "severity": "critical"},
            "annotations": {"summary": "customers who pay by card wait for half a minute"},
            "startsAt": at, "endsAt": ends,
        })
    };
    json!({
        "version": "4", "groupKey": "{}", "status": status, "receiver": "r",
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

/// What was asked and answered.
struct Answer {
    id: Uuid,
    alertname: String,
    reason: String,
    runbook: Vec<RunbookEntry>,
    result: AnswerResult,
}

impl Answer {
    fn analysis(&self) -> &Analysis {
        self.result.analysis.as_ref().unwrap()
    }
}

/// All answers, in the order in which they were asked for.
async fn answers(fleet: &Fleet) -> Vec<Answer> {
    let mut sql = fleet.world.sql().await;
    let rows: Vec<(Uuid, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "select id, payload, result from job where queue = 'triage' and state = 'done'
         order by ordinal",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let read = |(id, payload, result): (Uuid, Vec<u8>, Vec<u8>)| {
        let asked: TriageJob = codec::decode("triage job", &payload).unwrap();
        let TriageJob { facts, reason, runbook, .. } = asked;
        let result = codec::decode("answer", &result).unwrap();
        Answer { id, alertname: facts.unwrap().alertname.unwrap(), reason, runbook, result }
    };
    rows.into_iter().map(read).collect()
}

/// The last answer for that reason about alerts of that name.
fn last<'a>(answers: &'a [Answer], alertname: &str, reason: &str) -> &'a Answer {
    let is = |answer: &&Answer| answer.alertname == alertname && answer.reason == reason;
    answers.iter().rfind(is).unwrap()
}

/// A fleet that plays every role, with an operator, and which member to ask.
async fn start() -> (Fleet, usize) {
    let ada = format!(
        "[console.operators.ada]\nkey_sha256 = \"{}\"\nrole = \"operator\"\nprojects = [\"infra\"]\n",
        const_hex::encode(Sha256::digest(ADA))
    );
    let mut fleet = Fleet::new(WORKER, &ada).await;
    let number = fleet.start("ingest,console,triage-worker,notifier-worker,projector");
    (fleet, number)
}

/// Says a verb about every incident there is.
async fn say(fleet: &Fleet, number: usize, verb: &str) {
    let console = fleet.member(number).console.unwrap();
    let list = fleet.get(console, "/api/v1/incidents?project_id=infra").await;
    for item in list["items"].as_array().unwrap() {
        let incident = item["incident_id"].as_str().unwrap();
        let url = format!("http://{console}/api/v1/incidents/{incident}/{verb}?wait=10");
        let request = fleet.client.post(url).bearer_auth(ADA).body("{}");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_the_playbook_in_force_where_it_was_asked_answers_and_a_replay_asks_the_same() {
    let (mut fleet, number) = start().await;
    let sender = fleet.sender(number);
    apply(&fleet, &document("the pool is small", ""));
    sender.alertmanager(&alerts(&["CheckoutSlow", "RedisDown", "Something"])).await;
    fleet.settled().await;

    let before = answers(&fleet).await;
    assert_eq!(before.len(), 3);
    let checkout = last(&before, "CheckoutSlow", "open").analysis();
    assert_eq!(checkout.evidence, ["playbook:checkout"]);
    assert_eq!((&*checkout.analyzed_by, &*checkout.root_cause), ("playbook", "the pool is small"));
    let fix = "turn it off and on\n先查：look\n負責：team-payments\n手冊：https://wiki.shop.test/checkout";
    assert_eq!(checkout.fix_suggestion, fix);
    let redis = last(&before, "RedisDown", "open").analysis();
    assert_eq!(redis.evidence, ["playbook:redis-down"]);
    let unknown = last(&before, "Something", "open");
    assert!(unknown.result.analysis.is_none() && unknown.runbook.is_empty());

    // Other rules: who asks again is answered by them, from the facts of the opening.
    apply(
        &fleet,
        &document(
            "the provider is slow",
            "[[project.infra.playbook]]\nid = \"redis-down\"\ndisabled = true",
        ),
    );
    say(&fleet, number, "request_triage").await;
    fleet.settled().await;
    let after = answers(&fleet).await;
    assert_eq!(after.len(), 6);
    let checkout = last(&after, "CheckoutSlow", "request 1").analysis();
    assert_eq!(checkout.root_cause, "the provider is slow");
    assert!(last(&after, "RedisDown", "request 1").result.analysis.is_none());
    assert_eq!(last(&after, "RedisDown", "open").analysis(), redis);

    // The log folded again asks with the same entries.
    fleet.stop_all();
    let lanes = tests::oracle::check(&fleet.world).await;
    let asks: Vec<_> = lanes.iter().flat_map(|lane| &lane.folded.triage).collect();
    assert_eq!(asks.len(), 6);
    for ask in asks {
        let answer = after.iter().find(|answer| answer.id == ask.id.0).unwrap();
        // Who asks in the fold has the facts only of what opened there.
        if ask.job.facts.is_some() {
            assert_eq!(ask.job.runbook, answer.runbook);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_where_no_entry_answers_the_confirmed_diagnosis_of_the_same_problem_does() {
    let (mut fleet, number) = start().await;
    let sender = fleet.sender(number);
    apply(&fleet, &document("the pool is small", ""));
    sender.alertmanager(&alerts(&["CheckoutSlow"])).await;
    fleet.settled().await;
    say(&fleet, number, "confirm").await;
    sender.alertmanager(&changed(&["CheckoutSlow"], "resolved", 2)).await;
    fleet.settled().await;

    // The entry is gone when it fires again; another alert with the same words is another problem.
    let disabled = "[[project.infra.playbook]]\nid = \"checkout\"\ndisabled = true";
    apply(&fleet, &document("the pool is small", disabled));
    sender.alertmanager(&changed(&["CheckoutSlow", "CheckoutLate"], "firing", 3)).await;
    fleet.settled().await;
    let answers = answers(&fleet).await;
    assert_eq!(answers.len(), 3);
    let (first, again) = (answers[0].analysis(), last(&answers, "CheckoutSlow", "open").analysis());
    assert_eq!(first.evidence, ["playbook:checkout"]);
    assert_eq!(again.analyzed_by, "playbook");
    let [evidence] = &again.evidence[..] else { panic!("{again:?}") };
    assert!(evidence.starts_with("similar:INC-") && evidence.ends_with("-001"), "{evidence}");
    assert!(again.root_cause.contains("the pool is small"), "{again:?}");
    assert!(again.confidence < first.confidence);
    assert!(last(&answers, "CheckoutLate", "open").result.analysis.is_none());
    fleet.stop_all();
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
