//! Slack from the signed callback to what the workspace takes: through its bot, and through an incoming
//! webhook alone, where a press and a slash command say themselves where they are answered.

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tests::{
    fleet::{Fleet, sign},
    receivers::slack::{CHANNEL, TOKEN, Workspace, ts},
};

use super::{ALL, WORKER, leaks::stands_nowhere_else};
use crate::newcomer::bellwether;

/// Signing secrets of two workspaces' apps.
const EAST: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const WEST: &str = "f0e1d2c3b4a5968778695a4b3c2d1e0f";
/// Users: one is an operator in the east.
const ADA: &str = "UADA00001";
const EVE: &str = "UEVE00001";

/// A fleet with two workspaces, of which the first is told.
struct Desk {
    fleet: Fleet,
    number: usize,
    space: Workspace,
    asked: usize,
    /// How much of what the workspace took was looked at.
    seen: (usize, usize),
}

impl Desk {
    /// `channel` is how the workspace is told, as lines of its section.
    async fn start(channel: impl Fn(&Workspace) -> String) -> Self {
        let space = Workspace::start().await;
        let more = format!(
            "[sources.east]\nprovider = \"slack\"\nproject = \"infra\"\nsecret = \"{EAST}\"\n\
             [sources.west]\nprovider = \"slack\"\nproject = \"infra\"\nsecret = \"{WEST}\"\n\
             [channels.team]\nkind = \"slack\"\nallow_private = true\ntimeout_ms = 1500\n\
             language = \"en\"\n{}\n[triage]\nplaybook = false\n",
            channel(&space)
        );
        let mut fleet = Fleet::new(WORKER, &more).await;
        let number = fleet.start(ALL);
        Self { fleet, number, space, asked: 0, seen: (0, 0) }
    }

    async fn fire(&self, alertname: &str) {
        let alert = json!({
            "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
            "alerts": [{
                "status": "firing",
                "labels": {"alertname": alertname, "severity": "critical"}, "annotations": {},
                "startsAt": "2026-01-01T00:00:01Z", "endsAt": "0001-01-01T00:00:00Z",
            }],
        });
        self.fleet.sender(self.number).alertmanager(&alert).await;
        self.fleet.settled().await;
    }

    /// Posts a body as Slack does for the app of a workspace; what is answered at once.
    async fn post(&self, workspace: &str, secret: &str, body: String) -> String {
        let ingest = self.fleet.member(self.number).ingest.unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let signature = sign(secret, format!("v0:{now}:{body}").as_bytes());
        let request = self.fleet.client.post(format!("http://{ingest}/webhook/slack/{workspace}"));
        let request = request
            .header("x-slack-request-timestamp", now.to_string())
            .header("x-slack-signature", format!("v0={signature}"));
        let response = request.body(body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{text}");
        text
    }

    /// A key of its own, in the address that the next question brings.
    fn key(&mut self) -> String {
        self.asked += 1;
        format!("of-these-tests-only-{:04}", self.asked)
    }

    /// A user presses what carries `value` below a message; the body that Slack sends.
    fn pressed(&mut self, user: &str, message: &str, value: &str, url: &str) -> String {
        self.asked += 1;
        let payload = json!({
            "type": "block_actions", "user": {"id": user}, "trigger_id": format!("7.{}", self.asked),
            "container": {"type": "message", "channel_id": CHANNEL, "message_ts": message},
            "response_url": url, "actions": [{"type": "button", "value": value}],
        });
        form(&[("payload", &payload.to_string())])
    }

    async fn press(&mut self, user: &str, message: &str, value: &str) -> Vec<String> {
        let key = self.key();
        let url = self.space.response_url(&key);
        let body = self.pressed(user, message, value, &url);
        assert_eq!(self.post("east", EAST, body).await, "{}");
        self.news().await
    }

    /// A user types a slash command.
    async fn slash(&mut self, user: &str, line: &str) -> Vec<String> {
        let key = self.key();
        let url = self.space.response_url(&key);
        let trigger = format!("8.{}", self.asked);
        let (command, text) = line.split_once(' ').unwrap_or((line, ""));
        let body = form(&[
            ("command", command),
            ("text", text),
            ("user_id", user),
            ("channel_id", CHANNEL),
            ("trigger_id", &trigger),
            ("response_url", &url),
        ]);
        assert!(self.post("east", EAST, body).await.contains("已收到"));
        self.news().await
    }

    /// A user writes to the bot in a thread, or reacts: what brings no address.
    async fn event(&mut self, event: Value) -> Vec<String> {
        self.asked += 1;
        let body = json!({"type": "event_callback", "event_id": format!("Ev{}", self.asked),
            "event": event});
        assert_eq!(self.post("east", EAST, body.to_string()).await, "{}");
        self.news().await
    }

    /// What is new in the workspace once all is done: `<where>: <text>`.
    async fn news(&mut self) -> Vec<String> {
        self.fleet.settled().await;
        let (sent, answers) = (self.space.inbox.taken(), self.space.answers.taken());
        let mut news: Vec<String> = sent[self.seen.0..]
            .iter()
            .map(|message| {
                let place = match (message["ts"].as_str(), message["thread_ts"].as_str()) {
                    (Some(ts), _) => format!("changed {ts}"),
                    (None, Some(ts)) => format!("in {ts}"),
                    (None, None) => "new".to_owned(),
                };
                format!("{place}: {}", message["text"].as_str().unwrap())
            })
            .collect();
        news.extend(answers[self.seen.1..].iter().map(|answer| {
            let thread = answer["thread_ts"].as_str().map(|ts| format!(" in {ts}"));
            let kind = answer["response_type"].as_str().unwrap();
            let said = answer["text"].as_str().unwrap();
            format!("{kind}{}: {said}", thread.unwrap_or_default())
        }));
        self.seen = (sent.len(), answers.len());
        news
    }

    /// The only incident of `infra`, with what was asked for.
    async fn incident(&self) -> Value {
        let console = self.fleet.member(self.number).console.unwrap();
        let list = self.fleet.get(console, "/api/v1/incidents?project_id=infra").await;
        let id = list["items"][0]["incident_id"].as_str().unwrap().to_owned();
        self.fleet.get(console, &format!("/api/v1/incidents/{id}?project_id=infra")).await
    }

    /// Its status, and who asked for what with which end.
    async fn story(&self) -> (String, Vec<String>) {
        let incident = self.incident().await;
        let text = |action: &Value, key: &str| action[key].as_str().unwrap_or_default().to_owned();
        let actions = incident["actions"].as_array().unwrap().iter();
        let told = actions.map(|action| {
            let end = if action["changed"] == true { "after" } else { "reason" };
            format!("{} by {}: {}", text(action, "verb"), text(action, "actor"), text(action, end))
        });
        (text(&incident, "status"), told.collect())
    }

    /// The value that the button of the first message carries for a verb.
    fn button(&self, verb: &str) -> String {
        let first = &self.space.inbox.taken()[0];
        let rows = first["blocks"].as_array().unwrap().iter();
        let mut buttons = rows.filter_map(|block| block["elements"].as_array()).flatten();
        let found = buttons.find(|button| button["action_id"] == verb);
        found.unwrap_or_else(|| panic!("no {verb}: {first:#}"))["value"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Given these words behind `bellwether`, then it ends with this code; what it says.
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

fn form(fields: &[(&str, &str)]) -> String {
    let url = reqwest::Url::parse_with_params("http://x/", fields).unwrap();
    url.query().unwrap().to_owned()
}

/// One piece of news, which says all of this.
#[track_caller]
fn one(news: &[String], says: &[&str]) {
    let [one] = news else { panic!("not one piece of news: {news:#?}") };
    assert!(says.iter().all(|words| one.contains(words)), "{says:?}: {one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_a_press_and_a_slash_command_are_done_once_and_answered_where_they_were_asked() {
    let mut desk = Desk::start(|space| {
        format!("token = \"{TOKEN}\"\nchannel = \"{CHANNEL}\"\napi_url = \"{}\"", space.api)
    })
    .await;
    let mapped = ["operators", "map", "slack:UADA00001", "ada", "--source", "east"];
    assert!(!desk.run(&mapped, 0).contains("note: "));
    let everywhere = desk.run(&["operators", "map", "slack:UBOB00001", "bob"], 0);
    assert!(everywhere.contains("every source of this chat (east, west)"), "{everywhere}");
    desk.fire("DiskFull").await;
    assert!(desk.news().await[0].starts_with("new: "));
    let (first, ack) = (ts(0), desk.button("ack"));
    let number = desk.incident().await["number"].as_str().unwrap().to_owned();

    // A stranger alone is told that he is one, and nothing of what there is.
    let told = desk.press(EVE, &first, &ack).await;
    one(&told, &["ephemeral: ", "Sorry", "slack:UEVE00001"]);
    assert!(!told[0].contains("DiskFull") && !told[0].contains(&number), "{told:?}");

    // An operator's press is shown by the message; sent again it is the same press.
    let url = desk.space.response_url("of-these-tests-only-ada");
    let body = desk.pressed(ADA, &first, &ack, &url);
    desk.post("east", EAST, body.clone()).await;
    one(&desk.news().await, &[&format!("changed {first}: "), "ada"]);
    desk.post("east", EAST, body).await;
    assert_eq!(desk.news().await, Vec::<String>::new());

    // The same id in another workspace is somebody else.
    let url = desk.space.response_url("of-these-tests-only-west");
    let body = desk.pressed(ADA, &first, &desk.button("resolve"), &url);
    desk.post("west", WEST, body).await;
    one(&desk.news().await, &["ephemeral: ", "Sorry"]);
    let story = [
        "ack by slack:UEVE00001: unknown_actor",
        "ack by ada: acknowledged",
        "resolve by slack:UADA00001: unknown_actor",
    ];
    assert_eq!(desk.story().await, ("acknowledged".to_owned(), story.map(str::to_owned).to_vec()));

    // Slash commands: what is done is said to all, what is asked to whoever asked.
    one(&desk.slash(EVE, &format!("/unack {number}")).await, &["ephemeral: ", "Sorry"]);
    let unacked = desk.slash(ADA, &format!("/bellwether unack {number}")).await;
    assert!(unacked.iter().any(|said| said.starts_with("in_channel: ✅")), "{unacked:#?}");
    one(&desk.slash(ADA, &format!("/status {number}")).await, &["ephemeral: ", &number, "open"]);
    one(&desk.slash(EVE, "/help").await, &["ephemeral: ", "/silence"]);

    // What brings no address is answered by the bot, in the thread.
    let mention = |user: &str, text: &str| {
        json!({"type": "app_mention", "user": user, "text": format!("<@U0> {text}"),
            "channel": CHANNEL, "thread_ts": ts(0), "ts": "1800000000.000001"})
    };
    let place = format!("in {first}: ");
    one(&desk.event(mention(ADA, "why")).await, &[&place, &number, "fire"]);

    // A reaction is shown by the message; a stranger's is answered below it.
    let reaction = |user: &str| {
        json!({"type": "reaction_added", "user": user, "reaction": "+1",
            "item": {"type": "message", "channel": CHANNEL, "ts": ts(0)}})
    };
    one(&desk.event(reaction(EVE)).await, &[&place, "Sorry"]);
    one(&desk.event(reaction(ADA)).await, &[&format!("changed {first}: "), "ada"]);
    assert_eq!(desk.story().await.0, "acknowledged");
    stands_nowhere_else(&desk.fleet, "of-these-tests-only-").await;
    desk.fleet.stop_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_a_webhook_alone_answers_presses_and_slash_commands() {
    let mut desk =
        Desk::start(|space| format!("url = \"{}\"\nsource = \"east\"", space.hook)).await;
    desk.run(&["operators", "map", "slack:UADA00001", "ada", "--source", "east"], 0);
    desk.fire("DiskFull").await;
    assert!(desk.news().await[0].starts_with("new: "));
    let (message, ack) = ("1700000000.000100", desk.button("ack"));
    let number = desk.incident().await["number"].as_str().unwrap().to_owned();

    // Nobody can change what a webhook wrote, so what is done is said below it.
    one(&desk.press(EVE, message, &ack).await, &["ephemeral: ", "Sorry"]);
    let done = desk.press(ADA, message, &ack).await;
    one(&done, &[&format!("in_channel in {message}: "), "ada", &number]);
    let resolved = desk.slash(ADA, &format!("/resolve {number}")).await;
    assert!(resolved.iter().any(|said| said.starts_with("in_channel: ✅")), "{resolved:#?}");
    assert_eq!(desk.story().await.0, "resolved");

    // A question that says nothing of where it is answered is not.
    let mention = json!({"type": "app_mention", "user": ADA, "text": "<@U0> status",
        "channel": CHANNEL, "ts": "1800000000.000001"});
    assert_eq!(desk.event(mention).await, Vec::<String>::new());
    let ends = "select detail from send where kind = 'reply' and result = 'not_needed'";
    let mut sql = desk.fleet.world.sql().await;
    let ends: Vec<String> = sqlx::query_scalar(ends).fetch_all(&mut sql).await.unwrap();
    assert!(ends.len() == 1 && ends[0].contains("brings nothing to answer it by"), "{ends:?}");

    // Nor is one whose address is not Slack's, or of whoever the configuration names in its place.
    let elsewhere = Workspace::start().await;
    let url = elsewhere.response_url("of-these-tests-only-evil");
    let body = desk.pressed(ADA, message, &ack, &url);
    desk.post("east", EAST, body).await;
    assert_eq!(desk.news().await, Vec::<String>::new());
    assert_eq!(elsewhere.answers.arrivals(), []);
    let said = desk.run(&["parked", "sends"], 0);
    assert!(said.contains("reply") && said.contains("not Slack's"), "{said}");
    stands_nowhere_else(&desk.fleet, "of-these-tests-only-").await;
    desk.fleet.stop_all();
}
