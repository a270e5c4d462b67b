//! What people ask for in a chat, from the request to the incident: who may act is said with
//! `bellwether operators`, and a press is done once.

mod answers;
mod cards;
mod leaks;
mod slack;
mod telegram;

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use domain::button::Button;
use schemas::{Lane, Position, ProjectId};
use serde_json::{Value, json};
use tests::fleet::Fleet;

use crate::newcomer::bellwether;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const ALL: &str = "ingest,console,triage-worker,notifier-worker,projector";
const TOKEN: &str = "secret-token_of-the-bot";
/// The chat is another project's than the incident.
const SOURCE: &str =
    "[sources.telegram]\nproject = \"shop\"\ntoken = \"secret-token_of-the-bot\"\n";
/// Telegram's ids of two users.
const ADA: u64 = 160_213_506;
const EVE: u64 = 666;

/// A fleet with a chat.
struct Chat {
    fleet: Fleet,
    number: usize,
    updates: u64,
}

impl Chat {
    async fn start() -> Self {
        let mut fleet = Fleet::new(WORKER, SOURCE).await;
        let number = fleet.start(ALL);
        Self { fleet, number, updates: 7000 }
    }

    /// Posts an update as Telegram does; the body of the answer.
    async fn post(&self, token: &str, update: &Value) -> (u16, String) {
        let ingest = self.fleet.member(self.number).ingest.unwrap();
        let url = format!("http://{ingest}/telegram/webhook");
        let request = self.fleet.client.post(url).header("x-telegram-bot-api-secret-token", token);
        let response = request.body(update.to_string()).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    fn update(&mut self, user: u64, mut update: Value) -> Value {
        self.updates += 1;
        let from = json!({"id": user, "is_bot": false, "first_name": "A"});
        let (_, inner) = update.as_object_mut().unwrap().iter_mut().next().unwrap();
        inner["from"] = from;
        update["update_id"] = json!(self.updates);
        update
    }

    /// Presses a button; answered at once, whoever presses.
    async fn press(&mut self, user: u64, button: &str) -> Value {
        let update = self.update(user, json!({"callback_query": {"id": "38", "data": button}}));
        let (status, body) = self.post(TOKEN, &update).await;
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["method"], "answerCallbackQuery");
        assert_eq!(
            (&answer["callback_query_id"], &answer["text"]),
            (&json!("38"), &json!("已收到"))
        );
        update
    }

    async fn write(&mut self, user: u64, text: &str) {
        let message = json!({"chat": {"id": -100}, "message_id": 5, "text": text});
        let update = self.update(user, json!({ "message": message }));
        assert_eq!(self.post(TOKEN, &update).await, (200, "{}".to_owned()));
    }

    /// The only incident of `infra`.
    async fn incident(&self) -> Value {
        self.fleet.settled().await;
        let console = self.fleet.member(self.number).console.unwrap();
        let list = self.fleet.get(console, "/api/v1/incidents?project_id=infra").await;
        let id = list["items"][0]["incident_id"].as_str().unwrap().to_owned();
        self.fleet.get(console, &format!("/api/v1/incidents/{id}?project_id=infra")).await
    }

    /// Its status, and what was asked for and by whom.
    async fn story(&self) -> (String, Vec<String>) {
        let incident = self.incident().await;
        let text = |action: &Value, key: &str| action[key].as_str().unwrap_or_default().to_owned();
        let said = incident["actions"].as_array().unwrap().iter().map(|action| {
            let same = if action["changed"] == true { "" } else { "=" };
            format!(
                "{} {same}{}{} by {} ({})",
                text(action, "verb"),
                text(action, "after"),
                text(action, "reason"),
                text(action, "actor"),
                text(action, "auth_method")
            )
        });
        (text(&incident, "status"), said.collect())
    }

    /// Given these words behind `bellwether operators`, then it ends with this code and says all
    /// of this.
    #[track_caller]
    fn operators(&self, words: &[&str], code: i32, says: &[&str]) {
        let place = [PathBuf::from("--config"), self.fleet.config().to_owned()];
        let mut command = Command::new(bellwether());
        command.arg("operators").args(words).args(place).env("USER", "root");
        let Output { status, stdout, stderr } =
            command.current_dir(self.fleet.world.dir.path()).output().unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert_eq!(status.code(), Some(code), "{words:?}: {said}");
        assert!(says.iter().all(|words| said.contains(words)), "{words:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_a_press_acknowledges_once_in_the_name_of_who_may() {
    let mut chat = Chat::start().await;
    let alert = json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
        "alerts": [{
            "status": "firing",
            "labels": {"alertname": "Down", "severity": "critical"}, "annotations": {},
            "startsAt": "2026-01-01T00:00:01Z", "endsAt": "0001-01-01T00:00:00Z",
        }],
    });
    chat.fleet.sender(chat.number).alertmanager(&alert).await;
    let named = chat.incident().await["number"].as_str().unwrap().to_owned();
    let mut sql = chat.fleet.world.sql().await;
    let opening: String = sqlx::query_scalar("select opening from incident_number")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    let opening: Position = opening.parse().unwrap();
    let lane = Lane::of(&ProjectId::new("infra").unwrap(), chat.fleet.world.lanes);
    let ack = Button::new("ack", lane, opening).unwrap().to_string();

    // Whoever is in the chat can press; it is known who, and that nobody said who that is.
    chat.operators(&["list"], 0, &["no user of a chat is an operator"]);
    chat.press(ADA, &ack).await;
    let refused = "ack =unknown_actor by telegram:160213506 (chat)".to_owned();
    assert_eq!(chat.story().await, ("open".to_owned(), vec![refused.clone()]));

    let user = "telegram:160213506";
    chat.operators(&["map", "160213506", "ada"], 2, &["refused", "telegram:<id>"]);
    chat.operators(&["map", user, "ada", "--project", "infra"], 0, &["is ada from position"]);
    chat.operators(&["list"], 0, &[user, "ada", "infra", "by root"]);
    let pressed = chat.press(ADA, &ack).await;
    let by = "by ada (chat:telegram:160213506)";
    let first = format!("ack acknowledged {by}");
    let acknowledged = || "acknowledged".to_owned();
    assert_eq!(chat.story().await, (acknowledged(), vec![refused.clone(), first.clone()]));

    // Sent again it is the same press; pressed again it finds its work done; and it is nobody else's.
    assert_eq!(chat.post(TOKEN, &pressed).await.0, 200);
    chat.press(ADA, &ack).await;
    chat.press(EVE, &ack).await;
    let mut story = vec![
        refused,
        first,
        format!("ack =acknowledged {by}"),
        "ack =unknown_actor by telegram:666 (chat)".to_owned(),
    ];
    assert_eq!(chat.story().await, (acknowledged(), story.clone()));

    // By its number, from the chat of another project.
    chat.write(ADA, &format!("/resolve@bw_bot infra/{named} it was DNS")).await;
    chat.write(ADA, "/help").await;
    story.push(format!("resolve resolved {by}"));
    assert_eq!(chat.story().await, ("resolved".to_owned(), story.clone()));

    chat.operators(&["remove", "telegram:1"], 2, &["refused: telegram:1 is nobody"]);
    chat.operators(&["remove", user], 0, &["is nobody from position"]);
    chat.write(ADA, &format!("/reopen infra/{named}")).await;
    story.push("reopen =unknown_actor by telegram:160213506 (chat)".to_owned());
    assert_eq!(chat.story().await, ("resolved".to_owned(), story));

    // Every lane's ledger balances, and only the source's says more than that it is elsewhere.
    let outcomes: Vec<(String, i64)> = sqlx::query_as(
        "select outcome, sum(records)::bigint from ledger where generation = 1
         and outcome in ('command', 'recorded', 'redelivered') group by 1 order by 1",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let of = |outcome: &str, records| (outcome.to_owned(), records);
    assert_eq!(outcomes, [of("command", 6), of("recorded", 1), of("redelivered", 1)]);

    // Nothing comes in without the token that Telegram was told.
    let update = chat.update(ADA, json!({"callback_query": {"id": "38", "data": ack}}));
    assert_eq!(chat.post("another", &update).await.0, 401);
    chat.fleet.stop_all();
}
