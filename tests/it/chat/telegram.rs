//! Telegram from the update to what stands in the chat: who presses, writes or reacts there, and a group
//! that becomes a supergroup.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::{Value, json};
use tests::{
    fleet::Fleet,
    receivers::telegram::{Api, CHAT, MOVED, TOKEN},
};

use super::{ADA, ALL, EVE, SOURCE, TOKEN as OF_SOURCE, WORKER};
use crate::newcomer::bellwether;

/// A fleet with a chat in Telegram, and what stands in it.
struct Desk {
    fleet: Fleet,
    number: usize,
    api: Api,
    updates: u64,
    seen: usize,
}

impl Desk {
    async fn start(chat: i64) -> Self {
        let api = Api::start().await;
        let more = format!(
            "{SOURCE}[channels.chat]\nkind = \"telegram\"\nurl = \"{}\"\ntoken = \"{TOKEN}\"\n\
             chat_id = {chat}\nallow_private = true\ntimeout_ms = 1500\nlanguage = \"en\"\n\
             [triage]\nplaybook = false\n",
            api.url
        )
        .replace("project = \"shop\"", "project = \"infra\"");
        let mut fleet = Fleet::new(WORKER, &more).await;
        let number = fleet.start(ALL);
        Self { fleet, number, api, updates: 9000, seen: 0 }
    }

    async fn fire(&mut self, alertname: &str) -> Vec<String> {
        let alert = json!({
            "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
            "alerts": [{
                "status": "firing",
                "labels": {"alertname": alertname, "severity": "critical"}, "annotations": {},
                "startsAt": "2026-01-01T00:00:01Z", "endsAt": "0001-01-01T00:00:00Z",
            }],
        });
        self.fleet.sender(self.number).alertmanager(&alert).await;
        self.news().await
    }

    /// An update of its own number; what Telegram posts again is the same body.
    fn update(&mut self, mut update: Value) -> Value {
        self.updates += 1;
        update["update_id"] = json!(self.updates);
        update
    }

    async fn post(&mut self, update: &Value) -> Vec<String> {
        let ingest = self.fleet.member(self.number).ingest.unwrap();
        let url = format!("http://{ingest}/telegram/webhook");
        let request = self.fleet.client.post(url).body(update.to_string());
        let request = request.header("x-telegram-bot-api-secret-token", OF_SOURCE);
        assert_eq!(request.send().await.unwrap().status(), 200);
        self.news().await
    }

    fn pressed(&mut self, user: u64, message: u64, data: &str) -> Value {
        self.update(json!({"callback_query": {
            "id": "38", "from": {"id": user, "is_bot": false}, "data": data,
            "message": {"message_id": message, "chat": {"id": CHAT}},
        }}))
    }

    async fn write(&mut self, user: u64, message: u64, text: &str) -> Vec<String> {
        let update = self.update(json!({"message": {
            "message_id": message, "chat": {"id": CHAT}, "text": text,
            "from": {"id": user, "is_bot": false},
        }}));
        self.post(&update).await
    }

    async fn react(&mut self, user: u64, message: u64) -> Vec<String> {
        let update = self.update(json!({"message_reaction": {
            "chat": {"id": CHAT}, "message_id": message, "user": {"id": user, "is_bot": false},
            "new_reaction": [{"type": "emoji", "emoji": "👍"}],
        }}));
        self.post(&update).await
    }

    /// What is new in the chat once all is done: `<what it changes or answers>: <text>`.
    async fn news(&mut self) -> Vec<String> {
        self.fleet.settled().await;
        let taken = self.api.inbox.taken();
        let news = taken[self.seen..].iter().map(|message| {
            let below = &message["reply_parameters"]["message_id"];
            let place = match (message["message_id"].as_u64(), below.as_u64()) {
                (Some(id), _) => format!("changed {id}"),
                (None, Some(below)) => format!("below {below}"),
                (None, None) => "new".to_owned(),
            };
            format!("{place}: {}", message["text"].as_str().unwrap())
        });
        let news = news.collect();
        self.seen = taken.len();
        news
    }

    /// The data that the key of the first message hands back for a verb.
    fn key(&self, verb: &str) -> String {
        let first = &self.api.inbox.taken()[0];
        let rows = first["reply_markup"]["inline_keyboard"].as_array().unwrap().iter();
        let mut keys = rows.flat_map(|row| row.as_array().unwrap());
        let found = keys.find_map(|key| {
            let data = key["callback_data"].as_str()?;
            let button: domain::button::Button = data.parse().ok()?;
            (button.verb() == verb).then_some(data)
        });
        found.unwrap_or_else(|| panic!("no {verb}: {first:#}")).to_owned()
    }

    async fn incident(&self) -> Value {
        let console = self.fleet.member(self.number).console.unwrap();
        let list = self.fleet.get(console, "/api/v1/incidents?project_id=infra").await;
        let id = list["items"][0]["incident_id"].as_str().unwrap().to_owned();
        self.fleet.get(console, &format!("/api/v1/incidents/{id}?project_id=infra")).await
    }

    #[track_caller]
    fn run(&self, words: &[&str], code: i32) -> String {
        let place = [PathBuf::from("--config"), self.fleet.config().to_owned()];
        let mut command = Command::new(bellwether());
        command.args(words).args(place).env("USER", "root");
        let Output { status, stdout, stderr } =
            command.current_dir(self.fleet.world.dir.path()).output().unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert_eq!(status.code(), Some(code), "{words:?}: {said}");
        said
    }
}

/// Somewhere in the news is a piece that says all of this.
#[track_caller]
fn says(news: &[String], place: &str, words: &[&str]) {
    let found = news.iter().find(|said| said.starts_with(place));
    let said = found.unwrap_or_else(|| panic!("nothing {place}: {news:#?}"));
    assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_what_is_pressed_written_and_reacted_is_done_once_and_shown_in_the_chat() {
    let mut desk = Desk::start(CHAT).await;
    let user = format!("telegram:{ADA}");
    desk.run(&["operators", "map", &user, "ada", "--source", "telegram"], 0);
    let unknown = desk.run(&["operators", "map", &user, "ada", "--source", "telegarm"], 2);
    assert!(unknown.contains("telegarm is no source") && unknown.contains("telegram"), "{unknown}");
    let listed = desk.run(&["operators", "list"], 0);
    assert!(listed.contains(&format!("{user} of source telegram  ada")), "{listed}");
    says(&desk.fire("DiskFull").await, "new: ", &["DiskFull"]);
    let number = desk.incident().await["number"].as_str().unwrap().to_owned();
    let (ack, first) = (desk.key("ack"), 100);

    // A stranger is told so below the message, an operator's press is shown by it, and once.
    let pressed = desk.pressed(EVE, first, &ack);
    let refused = desk.post(&pressed).await;
    says(&refused, "below 100: ", &["Sorry", "telegram:666"]);
    assert!(refused.len() == 1 && !refused[0].contains(&number), "{refused:?}");
    let pressed = desk.pressed(ADA, first, &ack);
    says(&desk.post(&pressed).await, "changed 100: ", &["ada"]);
    assert_eq!(desk.post(&pressed).await, Vec::<String>::new());
    let incident = desk.incident().await;
    assert_eq!(incident["status"], "acknowledged");
    let actions = incident["actions"].as_array().unwrap();
    assert_eq!((actions.len(), &actions[1]["actor"]), (2, &json!("ada")), "{actions:#?}");

    // Written: done, shown by the message, and answered below what asks.
    let written = desk.write(ADA, 700, &format!("/unack {number}")).await;
    says(&written, "below 700: ✅", &[&number]);
    says(&written, "changed 100: ", &[]);
    let written = desk.write(EVE, 701, &format!("/ack@bw_bot {number}")).await;
    says(&written, "below 701: ", &["Sorry"]);

    // A reaction of somebody who may acts, and the message shows who; a stranger's is answered.
    says(&desk.react(EVE, first).await, "below 100: ", &["Sorry"]);
    assert_eq!(desk.incident().await["status"], "open");
    says(&desk.react(ADA, first).await, "changed 100: ", &["ada"]);
    let incident = desk.incident().await;
    assert_eq!(incident["status"], "acknowledged");
    let last = incident["actions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["verb"], &last["actor"]), (&json!("ack"), &json!("ada")));

    // Whoever is nobody any more is a stranger.
    desk.run(&["operators", "remove", &user], 2);
    desk.run(&["operators", "remove", &user, "--source", "telegram"], 0);
    let pressed = desk.pressed(ADA, first, &desk.key("resolve"));
    says(&desk.post(&pressed).await, "below 100: ", &["Sorry"]);
    assert_eq!(desk.incident().await["status"], "acknowledged");
    desk.fleet.stop_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a_group_that_became_a_supergroup_is_followed_by_every_notifier() {
    let mut desk = Desk::start(MOVED).await;
    desk.api.inbox.may_refuse();
    says(&desk.fire("DiskFull").await, "new: ", &["DiskFull"]);
    assert!(desk.api.inbox.taken().iter().all(|message| message["chat_id"] == CHAT));
    let moved = "bellwether_chats_moved_total{channel=\"telegram\"} 1";
    let metrics = desk.metrics().await;
    assert!(metrics.contains(moved), "{metrics}");
    let said = std::fs::read_to_string(desk.fleet.world.dir.path().join("member-0.log")).unwrap();
    let line = said.lines().find(|line| line.contains("is written to there")).unwrap();
    assert!(line.contains("-3") && line.contains(&CHAT.to_string()), "{line}");

    // Another process never asked the old chat, and does not.
    let told = desk.api.inbox.refused().len();
    desk.fleet.stop_all();
    desk.number = desk.fleet.start(ALL);
    says(&desk.fire("NetDown").await, "new: ", &["NetDown"]);
    assert_eq!(desk.api.inbox.refused().len(), told, "{:?}", desk.api.inbox.refused());
    assert!(!desk.metrics().await.contains("bellwether_chats_moved_total"));
    let given_up = desk.run(&["parked", "sends"], 0);
    assert!(given_up.contains("no send was given up"), "{given_up}");
    desk.fleet.stop_all();
}

impl Desk {
    async fn metrics(&self) -> String {
        let console = self.fleet.member(self.number).console.unwrap();
        let response = self.fleet.client.get(format!("http://{console}/metrics")).send().await;
        response.unwrap().text().await.unwrap()
    }
}
