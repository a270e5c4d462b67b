//! Who asks in a chat is answered there, once: from the signed callback to the message that the chat's
//! provider takes. And what operators silence, and why something was told.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Output},
};

use domain::button::Button;
use schemas::{Lane, LaneKey, Position, ProjectId, subject};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{
    fleet::{Fleet, OPERATOR_KEY},
    receivers::lark_app::{APP, CHATS, Message, SECRET, Server},
};

use super::{ALL, WORKER};
use crate::newcomer::bellwether;

/// What Lark shows in every event.
const TOKEN: &str = "verification-token-of-these-tests";
/// Key of an operator who may act.
const BOSS: &str = "bwk_of_the_boss";
/// Lark's ids of two users: one is an operator.
pub(super) const ADA: &str = "ou_ada";
pub(super) const EVE: &str = "ou_eve";

/// A fleet with a chat in Lark, and what stands in it.
pub(super) struct Desk {
    pub(super) fleet: Fleet,
    number: usize,
    pub(super) lark: Server,
    events: u64,
    /// Messages that stood there when somebody looked last, and how often each was changed.
    seen: BTreeMap<String, usize>,
}

impl Desk {
    pub(super) async fn start() -> Self {
        let lark = Server::start().await;
        let key = const_hex::encode(Sha256::digest(BOSS));
        let more = format!(
            "[sources.lark]\nproject = \"infra\"\ntoken = \"{TOKEN}\"\n\
             [channels.ops]\nkind = \"lark-app\"\nurl = \"{}\"\napp_id = \"{APP}\"\n\
             app_secret = \"{SECRET}\"\nreceive_id = \"{CHATS}1\"\nallow_private = true\ntimeout_ms = 1500\nlanguage = \"en\"\n\
             [console.operators.boss]\nkey_sha256 = \"{key}\"\nrole = \"operator\"\n\
             projects = [\"infra\"]\n",
            lark.url
        );
        let mut fleet = Fleet::new(WORKER, &more).await;
        let number = fleet.start(ALL);
        Self { fleet, number, lark, events: 0, seen: BTreeMap::new() }
    }

    pub(super) async fn fire(&self, alertname: &str) {
        let alert = json!({
            "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
            "alerts": [{
                "status": "firing",
                "labels": {"alertname": alertname, "severity": "critical"},
                "annotations": {"summary": "the disk of db-1 is full"},
                "startsAt": "2026-01-01T00:00:01Z", "endsAt": "0001-01-01T00:00:00Z",
            }],
        });
        self.fleet.sender(self.number).alertmanager(&alert).await;
        self.fleet.settled().await;
    }

    /// Posts an event as Lark does.
    async fn event(&mut self, kind: &str, event: Value) -> Value {
        self.events += 1;
        let id = format!("ev{}", self.events);
        let body = json!({
            "schema": "2.0", "event": event,
            "header": {"event_id": id, "event_type": kind, "token": TOKEN},
        });
        self.post(&body).await
    }

    async fn post(&self, body: &Value) -> Value {
        let ingest = self.fleet.member(self.number).ingest.unwrap();
        let url = format!("http://{ingest}/lark/event");
        let response = self.fleet.client.post(url).body(body.to_string()).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A user presses what carries `value` on a message; answered by a toast at once.
    pub(super) async fn press(&mut self, user: &str, message: &str, value: Value) -> Vec<String> {
        let token = self.lark.press(message);
        self.pressed(user, message, value, Some(token)).await
    }

    /// The same where the press brings no token for its card.
    pub(super) async fn press_without_token(
        &mut self,
        user: &str,
        message: &str,
        value: Value,
    ) -> Vec<String> {
        self.pressed(user, message, value, None).await
    }

    async fn pressed(
        &mut self,
        user: &str,
        message: &str,
        value: Value,
        token: Option<String>,
    ) -> Vec<String> {
        let event = json!({
            "operator": {"open_id": user}, "action": {"tag": "button", "value": value},
            "token": token,
            "context": {"open_chat_id": format!("{CHATS}1"), "open_message_id": message},
        });
        let answer = self.event("card.action.trigger", event).await;
        assert_eq!(answer["toast"]["content"], "已收到");
        self.news().await
    }

    /// A user reacts with a thumb to a message.
    pub(super) async fn react(&mut self, user: &str, message: &str) -> Vec<String> {
        let event = json!({
            "message_id": message, "operator_type": "user", "user_id": {"open_id": user},
            "reaction_type": {"emoji_type": "THUMBSUP"},
        });
        assert_eq!(self.event("im.message.reaction.created_v1", event).await, json!({}));
        self.news().await
    }

    /// A user writes in the chat, in a message of that id.
    async fn write(&mut self, user: &str, id: &str, text: &str) -> Vec<String> {
        let content = json!({"text": format!("@_user_1 {text}")}).to_string();
        let event = json!({
            "sender": {"sender_id": {"open_id": user}, "sender_type": "user"},
            "message": {
                "message_id": id, "chat_id": format!("{CHATS}1"), "message_type": "text",
                "content": content, "mentions": [{"key": "@_user_1", "name": "ai_fixer"}],
            },
        });
        self.event("im.message.receive_v1", event).await;
        self.news().await
    }

    /// What is new in the chat once all is done: `<what it answers>: <text>`, or `changed <id>`.
    pub(super) async fn news(&mut self) -> Vec<String> {
        self.fleet.settled().await;
        let mut news = Vec::new();
        for (id, message) in self.lark.messages() {
            let Message { answers, content, changes, .. } = message;
            match self.seen.insert(id.clone(), changes) {
                None => {
                    let to = answers.unwrap_or_else(|| "chat".to_owned());
                    let text = content["text"].as_str().map(str::to_owned);
                    news.push(format!("{to}: {}", text.unwrap_or_else(|| content.to_string())));
                }
                Some(before) if before != changes => news.push(format!("changed {id}")),
                Some(_) => {}
            }
        }
        news
    }

    async fn get(&self, path: &str) -> Value {
        self.fleet.get(self.fleet.member(self.number).console.unwrap(), path).await
    }

    async fn post_api(&self, key: &str, path: &str, body: &Value) -> (u16, Value) {
        let console = self.fleet.member(self.number).console.unwrap();
        let url = format!("http://{console}/api/v1/{path}");
        let request = self.fleet.client.post(url).bearer_auth(key).body(body.to_string());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// The newest incident of `infra`.
    pub(super) async fn incident(&self) -> Value {
        let list = self.get("/api/v1/incidents?project_id=infra").await;
        let id = list["items"][0]["incident_id"].as_str().unwrap().to_owned();
        self.get(&format!("/api/v1/incidents/{id}?project_id=infra")).await
    }

    fn button(&self, verb: &str, incident: &Value) -> Value {
        let opening: Position = incident["opening"].as_str().unwrap().parse().unwrap();
        let lane = Lane::of(&ProjectId::new("infra").unwrap(), self.fleet.world.lanes);
        json!({ "button": Button::new(verb, lane, opening).unwrap().to_string() })
    }

    /// Given these words behind `bellwether`, then it ends with this code; what it says.
    #[track_caller]
    pub(super) fn run(&self, words: &[&str], code: i32) -> String {
        let place = [PathBuf::from("--config"), self.fleet.config().to_owned()];
        let mut command = Command::new(bellwether());
        command.args(words).args(place).env("USER", "root");
        let Output { status, stdout, stderr } =
            command.current_dir(self.fleet.world.dir.path()).output().unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert_eq!(status.code(), Some(code), "{words:?}: {said}");
        said
    }

    /// How many control records there are.
    async fn controls(&self) -> Option<u64> {
        let log = self.fleet.world.log().await;
        let namespace = &self.fleet.world.namespace;
        let subject = subject::deliveries(namespace, LaneKey::All, subject::Class::Control);
        let last = log.last(&subject::deliveries_stream(namespace), &subject).await.unwrap();
        last.map(|message| message.sequence)
    }
}

/// One piece of news, which says all of this.
#[track_caller]
pub(super) fn one(news: &[String], says: &[&str]) -> String {
    let [one] = news else { panic!("not one piece of news: {news:#?}") };
    assert!(says.iter().all(|words| one.contains(words)), "{says:?}: {one}");
    one.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_r17_r36_who_asks_in_a_chat_is_answered_there_once() {
    let mut desk = Desk::start().await;
    desk.run(&["operators", "map", "lark:ou_ada", "ada", "--project", "infra"], 0);
    desk.fire("DiskFull").await;
    let card = desk.lark.messages().into_keys().next().unwrap();
    one(&desk.news().await, &["chat: ", "DiskFull"]);
    let incident = desk.incident().await;
    let number = incident["number"].as_str().unwrap().to_owned();
    let ack = desk.button("ack", &incident);

    // Whoever may not act is told so politely, and nothing of what there is.
    let refused = desk.press(EVE, &card, ack.clone()).await;
    let refused = one(&refused, &[&format!("{card}: "), "Sorry"]);
    assert!(!refused.contains("DiskFull") && !refused.contains(&number), "{refused}");
    let foreign = desk.write(EVE, "om_w1", "/resolve INC-20200101-001").await;
    assert_eq!(one(&foreign, &["om_w1: "]).replace("resolve", "ack"), {
        let known = desk.write(EVE, "om_w1b", &format!("/ack {number}")).await;
        one(&known, &[]).replace("om_w1b", "om_w1")
    });
    assert_eq!(desk.incident().await["status"], "open");

    // A press shows on the message itself who did it; again it finds its work done.
    one(&desk.press(ADA, &card, ack.clone()).await, &[&format!("changed {card}")]);
    let shown = desk.lark.messages()[&card].content.to_string();
    assert!(shown.contains("ada"), "{shown}");
    assert_eq!(desk.press(ADA, &card, ack).await, Vec::<String>::new());
    assert_eq!(desk.incident().await["status"], "acknowledged");

    // Of what is not there, a reply says so.
    let nothing = json!({"action": "confirm_diagnosis", "incident_id": "INC-20200101-001"});
    one(&desk.press(ADA, &card, nothing).await, &[&format!("{card}: "), "no such incident"]);
    let unread = json!({"action": "confirm_diagnosis", "incident_id": "seven"});
    one(&desk.press(ADA, &card, unread).await, &[&format!("{card}: "), "no such incident"]);

    // Each command, and what is none.
    let help = desk.write(EVE, "om_w2", "/help").await;
    one(&help, &["om_w2: ", "/silence", "/why"]);
    one(&desk.write(EVE, "om_w3", "/dance").await, &["om_w3: ", "/silence"]);
    one(&desk.write(ADA, "om_w4", "/status").await, &["om_w4: "]);
    one(&desk.write(ADA, "om_w5", &format!("/status {number}")).await, &[&number, "acknowledged"]);
    one(&desk.write(ADA, "om_w6", "/top").await, &["om_w6: ", "1×", &number]);
    let why = desk.write(ADA, "om_w7", &format!("/why {number}")).await;
    one(&why, &["om_w7: ", &number, "fire", "delivered"]);
    one(&desk.write(EVE, "om_w8", "/status").await, &["om_w8: ", "Sorry"]);
    let silenced = desk.write(ADA, "om_w9", &format!("/silence {number} 2h")).await;
    assert!(silenced.iter().any(|said| said.starts_with("om_w9: ✅")), "{silenced:#?}");
    let lifted = desk.write(ADA, "om_w10", &format!("/unsilence {number}")).await;
    assert!(lifted.iter().any(|said| said.starts_with("om_w10: ✅")), "{lifted:#?}");
    let bad = desk.write(ADA, "om_w11", &format!("/silence {number} soon")).await;
    one(&bad, &["om_w11: ", "30m"]);
    let triage = desk.write(ADA, "om_w12", &format!("/triage {number}")).await;
    assert!(triage.iter().any(|said| said.starts_with("om_w12: ")), "{triage:#?}");
    let resolved = desk.write(ADA, "om_w13", &format!("/resolve {number}")).await;
    assert!(resolved.iter().any(|said| said.starts_with("om_w13: ✅")), "{resolved:#?}");
    assert_eq!(desk.incident().await["status"], "resolved");
    let late = desk.write(ADA, "om_w14", &format!("/ack {number}")).await;
    one(&late, &["om_w14: ", "Sorry"]);

    // R65: as people try the address by hand.
    desk.post(&json!({"type": "event_callback", "token": TOKEN, "event": {"message": {
        "content": "{\"text\":\"@ai_fixer /help\"}",
        "sender": {"sender_id": {"open_id": "ou_xxxxxxxx"}},
    }}}))
    .await;
    one(&desk.news().await, &["chat: ", "/silence"]);
    desk.fleet.stop_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_b6_what_is_silenced_is_shown_and_why_says_it() {
    let mut desk = Desk::start().await;
    desk.run(&["operators", "map", "lark:ou_ada", "ada", "--project", "infra"], 0);
    desk.fire("DiskFull").await;
    let card = desk.lark.messages().into_keys().next().unwrap();
    let incident = desk.incident().await;
    let number = incident["number"].as_str().unwrap().to_owned();

    // From the button: an hour of lane time, shown, and said twice it is said once.
    let silence = desk.button("silence", &incident);
    desk.press(ADA, &card, silence.clone()).await;
    let shown = desk.incident().await;
    let until: jiff::Timestamp = shown["silenced_until"].as_str().unwrap().parse().unwrap();
    let action = &shown["actions"][0];
    let at: jiff::Timestamp = action["at"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.as_second() - at.as_second(), 3600);
    assert_eq!((&action["changed"], &action["arguments"]), (&json!(true), &json!({"minutes": 60})));
    desk.press(ADA, &card, silence).await;
    let again = desk.incident().await;
    assert_eq!(again["silenced_until"], shown["silenced_until"]);
    assert_eq!(again["actions"][1]["changed"], false);

    // Why, from each end.
    let why = desk.get(&format!("/api/v1/why/{number}?project_id=infra")).await;
    assert_eq!(
        (&why["about"], &why["alerts"][0]["effect"]),
        (&json!("incident"), &json!("opened"))
    );
    assert_eq!(why["deliveries"][0]["outcome"], "observed");
    let steps = &why["steps"][0];
    let decisions = steps["decisions"].as_array().unwrap();
    let fire = decisions.iter().find(|d| d["kind"] == "fire").unwrap();
    assert!(!fire["rule"].as_str().unwrap().is_empty() && fire["rules"].is_string(), "{fire}");
    let sends = steps["sends"].as_array().unwrap();
    let sent = sends.iter().find(|s| s["target"] == "ops" && s["kind"] == "fire").unwrap();
    assert_eq!((&sent["result"], &sent["detail"]), (&json!("delivered"), &json!(card)));
    assert_eq!(steps["actions"][0]["actor"], "ada");
    let of_send = desk.get(&format!("/api/v1/why/{}", sent["job_id"].as_str().unwrap())).await;
    assert_eq!(of_send["about"], "message");
    assert_eq!(of_send["steps"][0]["sends"], json!([sent]));
    let record = why["deliveries"][0]["record_id"].as_str().unwrap();
    let of_delivery = desk.get(&format!("/api/v1/why/{record}")).await;
    assert_eq!(
        (&of_delivery["about"], &of_delivery["alerts"]),
        (&json!("delivery"), &why["alerts"])
    );
    assert_eq!(desk.incident().await["why"], steps["decisions"]);
    let said = desk.run(&["why", &number, "--project", "infra"], 0);
    for words in
        ["arrived ", "folded ", "opened", "decided ", "fire for", "sent ", "silence by ada"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let as_json: Value =
        serde_json::from_str(&desk.run(&["why", &number, "--project", "infra", "--json"], 0))
            .unwrap();
    assert_eq!(as_json["steps"][0]["decisions"], steps["decisions"]);
    assert!(desk.run(&["why", "INC-20200101-001", "--project", "infra"], 2).contains("refused"));

    // A preview says what would have matched, and writes nothing.
    let before = desk.controls().await;
    let asked = json!({"project_id": "infra", "matchers": "alertname=~\"Disk.*\""});
    let (status, preview) = desk.post_api(OPERATOR_KEY, "silences/preview", &asked).await;
    assert_eq!((status, &preview["matched"], &preview["incidents"]), (200, &json!(1), &json!(1)));
    assert_eq!(preview["newest"][0]["incident_id"], incident["incident_id"]);
    let none = json!({"project_id": "infra", "matchers": "alertname=Other", "hours": 168});
    let (_, none) = desk.post_api(OPERATOR_KEY, "silences/preview", &none).await;
    assert_eq!((&none["looked_at"], &none["matched"]), (&json!(1), &json!(0)));
    let said = desk.run(&["silence", "preview", "alertname=DiskFull", "--project", "infra"], 0);
    assert!(said.contains("1 of the 1 alerts"), "{said}");
    assert_eq!(desk.controls().await, before, "a preview wrote something");

    // Made with an owner, a reason and an end, by who may.
    let hour = (jiff::Timestamp::now() + jiff::SignedDuration::from_mins(59)).to_string();
    let new = |matchers: &str, reason: &str| json!({"project_id": "infra", "matchers": matchers, "ends_at": hour, "reason": reason});
    let (status, _) = desk.post_api(OPERATOR_KEY, "silences", &new("alertname=Net", "x")).await;
    assert_eq!(status, 403, "a viewer silences nobody");
    for (matchers, reason, says) in [
        ("alertname=~\"(\"", "x", "matchers: "),
        ("alertname!=Net", "x", "matchers: "),
        ("alertname=Net", " ", "reason: "),
    ] {
        let (status, problem) = desk.post_api(BOSS, "silences", &new(matchers, reason)).await;
        assert_eq!(status, 422, "{problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with(says), "{problem}");
    }
    let (status, made) =
        desk.post_api(BOSS, "silences?wait=10", &new("alertname=Net", "cables are changed")).await;
    assert_eq!((status, &made["silence"]["state"]), (200, &json!("active")), "{made}");
    let one = &made["silence"];
    assert_eq!((&one["owner"], &one["created_by"]), (&json!("boss"), &json!("boss")));
    assert_eq!((&one["matchers"], &one["expiring"]), (&json!("{alertname=\"Net\"}"), &json!(true)));
    let id = made["silence_id"].as_str().unwrap();
    let listed = desk.run(&["silence", "list"], 0);
    assert!(listed.contains(id) && listed.contains("cables are changed"), "{listed}");

    // It holds: nobody is told, and why says what held it back.
    let told = desk.lark.messages().len();
    desk.fire("Net").await;
    assert_eq!(desk.lark.messages().len(), told);
    let held = desk.incident().await;
    let why = held["why"].as_array().unwrap();
    let withheld =
        why.iter().find(|d| d["reason"] == "silenced").unwrap_or_else(|| panic!("{why:?}"));
    assert!(withheld["decided_by"].as_str().unwrap().contains(id), "{withheld}");

    // Ended, and ended again.
    let (status, ended) =
        desk.post_api(BOSS, &format!("silences/{id}/end?wait=10"), &json!({})).await;
    assert_eq!((status, &ended["silence"]["state"]), (200, &json!("over")));
    assert_eq!(ended["silence"]["ended_early"], true);
    let (status, again) = desk.post_api(BOSS, &format!("silences/{id}/end"), &json!({})).await;
    assert_eq!((status, &again["position"]), (200, &Value::Null));
    let all = desk.get("/api/v1/silences?project_id=infra").await;
    assert_eq!(all["items"], json!([]));
    let over = desk.get("/api/v1/silences?project_id=infra&state=over").await;
    assert_eq!(over["items"][0]["silence_id"], *id);
    assert!(desk.run(&["silence", "end", id], 2).contains("is over"));

    // From the command line, over the same records.
    let words = ["silence", "add", "alertname=Fan", "--project", "infra", "--for", "2h"];
    let said = desk.run(&[&words[..], &["--reason", "it is loud"]].concat(), 0);
    let made = said.split_whitespace().nth(1).unwrap().to_owned();
    let said = desk.run(&["silence", "show", &made], 0);
    assert!(said.contains("it is loud") && said.contains("active"), "{said}");
    desk.run(&["silence", "end", &made], 0);
    desk.fleet.settled().await;
    assert_eq!(desk.get(&format!("/api/v1/silences/{made}")).await["ended_early"], true);
    desk.fleet.stop_all();
}
