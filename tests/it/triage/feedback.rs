//! What operators think of diagnoses and of messages: said once, kept with who said it, and told to
//! whoever is asked again.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::Row;
use tests::{
    asks::error,
    fleet::Fleet,
    model::{Does, ModelServer},
};

use super::WORKER;

/// Keys of two operators of project `shop`.
pub(super) const ADA: &str = "bwk_of_ada_who_decides";
pub(super) const BOB: &str = "bwk_of_bob_who_decides";

/// A fleet with a model, and operators who say what they think.
pub(super) struct Desk {
    pub(super) fleet: Fleet,
    pub(super) number: usize,
    pub(super) model: ModelServer,
}

impl Desk {
    /// A process with these roles; `triage` is added to that section, `bounds` to that of the model.
    pub(super) async fn start(roles: &str, triage: &str, bounds: &str) -> Self {
        let model = ModelServer::start(Does::Says("連線池耗盡".into())).await;
        let operator = |id: &str, key: &str| {
            format!(
                "[console.operators.{id}]\nkey_sha256 = \"{}\"\nrole = \"operator\"\n\
                 projects = [\"shop\"]\n",
                const_hex::encode(Sha256::digest(key))
            )
        };
        let more = format!(
            "{}{}[triage]\n{triage}\n{}",
            operator("ada", ADA),
            operator("bob", BOB),
            model.analyst("openclaw", bounds)
        );
        let mut fleet = Fleet::new(WORKER, &more).await;
        let number = fleet.start(roles);
        Self { fleet, number, model }
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let console = self.fleet.member(self.number).console.unwrap();
        self.fleet.get(console, &format!("/api/v1/{path}")).await
    }

    /// Fires error `n` and waits for all that follows; the incident it opened.
    pub(super) async fn fire(&self, n: u32) -> Value {
        self.fleet.sender(self.number).sentry("error", &error(n)).await;
        self.fleet.settled().await;
        let list = self.get("incidents?project_id=shop&limit=200").await;
        let items = list["items"].as_array().unwrap();
        let title = format!("Boom {n} in checkout");
        items.iter().find(|item| item["title"] == title.as_str()).unwrap().clone()
    }

    /// Says a verb and waits for what becomes of it.
    pub(super) async fn say(&self, key: &str, incident: &Value, verb: &str, body: Value) -> Value {
        let console = self.fleet.member(self.number).console.unwrap();
        let id = incident["incident_id"].as_str().unwrap();
        let url = format!("http://{console}/api/v1/incidents/{id}/{verb}?wait=10");
        let request = self.fleet.client.post(url).bearer_auth(key).body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{verb}: {body}");
        body["outcome"].clone()
    }

    /// What the model was told last.
    pub(super) fn told_last(&self) -> String {
        let calls = self.model.calls();
        calls.last().unwrap().body["messages"][1]["content"].as_str().unwrap().to_owned()
    }
}

pub(super) const ALL: &str = "ingest,console,triage-worker,notifier-worker,projector";

#[tokio::test(flavor = "multi_thread")]
async fn r29_a15_what_operators_think_is_kept_and_told_to_whoever_is_asked_again() {
    let mut desk = Desk::start(ALL, "playbook = false", "").await;
    let incident = desk.fire(1).await;
    let none = || json!({});

    // A diagnosis is confirmed once, by somebody, at a place in the log.
    let confirmed = desk.say(ADA, &incident, "confirm", none()).await;
    assert_eq!((&confirmed["before"], &confirmed["after"]), (&json!("open"), &json!("confirmed")));
    assert_eq!((&confirmed["actor"], &confirmed["changed"]), (&json!("ada"), &json!(true)));
    assert!(confirmed["position"].is_string());
    assert_eq!(desk.say(BOB, &incident, "confirm", none()).await["changed"], false);

    // Of each operator the last word counts; it changes nothing else, and nobody is told.
    desk.fleet.settled().await;
    let told = desk.fleet.receiver.seen().accepted.len();
    for (key, verb, changed) in [
        (ADA, "noise", true),
        (ADA, "noise", false),
        (BOB, "useful", true),
        (ADA, "useful", true),
        (BOB, "not_useful", true),
    ] {
        let said = desk.say(key, &incident, verb, none()).await;
        assert_eq!((&said["changed"], &said["after"]), (&json!(changed), &json!("confirmed")));
    }
    desk.fleet.settled().await;
    assert_eq!(desk.fleet.receiver.seen().accepted.len(), told);

    // Whoever is asked again is told what was rejected, by whom and why; and no secret.
    desk.model.does([], Does::Says("磁碟空間不足".into()));
    let note = "the pool is fine, look at the disk; password=hunter2hunter2";
    let rejected = desk.say(BOB, &incident, "reject", json!({ "text": note })).await;
    assert_eq!((&rejected["actor"], &rejected["changed"]), (&json!("bob"), &json!(true)));
    desk.fleet.settled().await;
    assert_eq!(desk.model.calls().len(), 2);
    let asked = desk.told_last();
    for words in ["連線池耗盡", "the pool is fine, look at the disk", "bob"] {
        assert!(asked.contains(words), "{words}: {asked}");
    }
    assert!(!asked.contains("hunter2"), "{asked}");
    let shown = desk.get(&format!("incidents/{}", incident["incident_id"].as_str().unwrap())).await;
    assert_eq!(shown["analysis"]["root_cause"], "磁碟空間不足");
    assert_eq!(shown["status"], "open", "what was confirmed was something else");
    let actions = shown["actions"].as_array().unwrap();
    let said: Vec<String> = actions
        .iter()
        .map(|a| format!("{} {}", a["actor"].as_str().unwrap(), a["verb"].as_str().unwrap()))
        .collect();
    let presses = ["ada noise", "ada noise", "bob useful", "ada useful", "bob not_useful"];
    assert_eq!(said[..2], ["ada confirm", "bob confirm"]);
    assert_eq!(said[2..7], presses);
    assert_eq!(said[7..], ["bob reject"]);

    let mut sql = desk.fleet.world.sql().await;
    let rows = sqlx::query("select operator, verdict from usefulness order by operator")
        .fetch_all(&mut sql)
        .await
        .unwrap();
    let words: Vec<(String, String)> =
        rows.iter().map(|row| (row.get("operator"), row.get("verdict"))).collect();
    let of = |who: &str, word: &str| (who.to_owned(), word.to_owned());
    assert_eq!(words, [of("ada", "useful"), of("bob", "not_useful")]);
    let rows = sqlx::query(
        "select analysis->>'root_cause' as cause, verdict, verdict_by, note from diagnosis \
         order by answered_at",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let first: (String, Option<String>, Option<String>) =
        (rows[0].get("cause"), rows[0].get("verdict"), rows[0].get("verdict_by"));
    assert_eq!(first, ("連線池耗盡".into(), Some("rejected".into()), Some("bob".into())));
    let kept: String = rows[0].get("note");
    assert!(kept.starts_with("the pool is fine") && !kept.contains("hunter2"), "{kept}");
    let second: (String, Option<String>) = (rows[1].get("cause"), rows[1].get("verdict"));
    assert_eq!(second, ("磁碟空間不足".into(), None));
    assert_eq!(desk.model.wrong(), [""; 0]);
    desk.fleet.stop_all();
    tests::oracle::check(&desk.fleet.world).await;
}
