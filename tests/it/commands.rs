//! What operators do with incidents, over the API of a running fleet: said once, done once, and the
//! same as the fold of the log says.

use std::net::SocketAddr;

use eventlog::Publish;
use schemas::{
    Record,
    event::Kind,
    frame::RecordFrame,
    record::Body,
    subject::{self, Class},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::fleet::{Fleet, OPERATOR_KEY};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// Key of an operator who may act on incidents of `infra`.
const ADA: &str = "bwk_of_ada";
const ALL: &str = "ingest,console,triage-worker,notifier-worker,projector";

async fn start() -> (Fleet, usize) {
    let ada = format!(
        "[console.operators.ada]\nkey_sha256 = \"{}\"\nrole = \"operator\"\nprojects = [\"infra\"]\n",
        const_hex::encode(Sha256::digest(ADA))
    );
    let mut fleet = Fleet::new(WORKER, &ada).await;
    let number = fleet.start(ALL);
    (fleet, number)
}

/// One alert of the fleet's alertmanager source.
fn alert(instance: &str) -> Value {
    json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
        "alerts": [{
            "status": "firing",
            "labels": {"alertname": "Down", "instance": instance, "severity": "critical"},
            "annotations": {"summary": "down"},
            "startsAt": "2026-01-01T00:00:01Z", "endsAt": "0001-01-01T00:00:00Z",
        }],
    })
}

/// Whoever asks the API.
struct Asker<'a> {
    fleet: &'a Fleet,
    console: SocketAddr,
}

impl Asker<'_> {
    async fn post(&self, key: &str, path: &str, body: Value) -> (u16, Value) {
        let url = format!("http://{}/api/v1/incidents/{path}", self.console);
        let request = self.fleet.client.post(url).bearer_auth(key).body(body.to_string());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Says a verb and waits; `<verdict> <before> -> <after>`, `=` where nothing changed, or the
    /// reason of a refusal.
    async fn say(&self, incident: &str, verb: &str, body: Value) -> String {
        let (status, body) = self.post(ADA, &format!("{incident}/{verb}?wait=10"), body).await;
        assert_eq!(status, 200, "{body}");
        let outcome = &body["outcome"];
        assert_eq!((&outcome["actor"], &outcome["auth_method"]), (&json!("ada"), &json!("bearer")));
        assert_eq!((&outcome["verb"], &body["verb"]), (&json!(verb), &json!(verb)));
        assert_eq!(outcome["position"], body["position"]);
        told(outcome)
    }

    /// Whether the home page says that the incident needs somebody.
    async fn is_needed(&self, incident: &str) -> bool {
        let policy = reqwest::redirect::Policy::none();
        let browser = reqwest::Client::builder().redirect(policy).build().unwrap();
        let place = format!("http://{}", self.console);
        let sign_in = browser
            .post(format!("{place}/sign-in"))
            .header("origin", &place)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("key={ADA}"));
        let signed_in = sign_in.send().await.unwrap();
        let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next();
        let page = browser.get(format!("{place}/p/infra/main")).header("cookie", cookie.unwrap());
        let page = page.send().await.unwrap().text().await.unwrap();
        let needs = page.split("id=\"needs-rows\"").nth(1).unwrap().split("</tbody>").next();
        needs.unwrap().contains(incident)
    }

    async fn incident(&self, incident: &str) -> Value {
        self.fleet
            .get(self.console, &format!("/api/v1/incidents/{incident}?project_id=infra"))
            .await
    }
}

fn told(action: &Value) -> String {
    let text = |key: &str| action[key].as_str().unwrap_or_default().to_owned();
    if text("verdict") == "refused" {
        return format!("refused {}", text("reason"));
    }
    let same = if action["changed"] == true { "" } else { "= " };
    format!("{same}{} -> {}", text("before"), text("after"))
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_r47_operators_act_on_incidents_over_the_api() {
    let (mut fleet, number) = start().await;
    let sender = fleet.sender(number);
    sender.alertmanager(&alert("a")).await;
    fleet.settled().await;
    let console = fleet.member(number).console.unwrap();
    let ask = Asker { fleet: &fleet, console };
    let list = fleet.get(console, "/api/v1/incidents?project_id=infra").await;
    let incident = list["items"][0]["incident_id"].as_str().unwrap().to_owned();
    let named = list["items"][0]["number"].as_str().unwrap().to_owned();

    let none = || json!({});
    assert!(ask.is_needed(&incident).await);
    assert_eq!(ask.say(&incident, "ack", none()).await, "open -> acknowledged");
    assert!(!ask.is_needed(&incident).await, "somebody has it");
    assert_eq!(ask.say(&incident, "ack", none()).await, "= acknowledged -> acknowledged");
    let to = json!({"to": "the night shift", "text": "disk"});
    assert_eq!(ask.say(&incident, "handoff", to).await, "acknowledged -> handed_off");
    assert_eq!(ask.say(&named, "resolve", none()).await, "handed_off -> resolved");
    assert_eq!(ask.say(&named, "resolve", none()).await, "= resolved -> resolved");
    assert_eq!(ask.incident(&named).await["status"], "resolved");
    assert_eq!(ask.say(&incident, "ack", none()).await, "refused not_open");
    assert_eq!(ask.say(&incident, "reopen", none()).await, "resolved -> reopened");
    assert!(ask.is_needed(&incident).await, "it was opened again, and nobody has it");
    let secret = "it was password=hunter2hunter2 all along";
    ask.say(&incident, "note", json!({"text": secret})).await;

    // Without waiting: it stands in the log, and what became of it is seen later.
    let (status, body) = ask.post(ADA, &format!("{incident}/ack"), none()).await;
    assert_eq!((status, &body["outcome"]), (202, &Value::Null), "{body}");
    fleet.settled().await;
    let shown = ask.incident(&incident).await;
    assert_eq!(shown["status"], "acknowledged");
    assert_eq!(shown["number"], json!(named));
    let actions = shown["actions"].as_array().unwrap();
    let said: Vec<_> =
        actions.iter().map(|a| format!("{} {}", a["verb"].as_str().unwrap(), told(a))).collect();
    assert_eq!(
        said,
        [
            "ack open -> acknowledged",
            "ack = acknowledged -> acknowledged",
            "handoff acknowledged -> handed_off",
            "resolve handed_off -> resolved",
            "resolve = resolved -> resolved",
            "ack refused not_open",
            "reopen resolved -> reopened",
            "note reopened -> reopened",
            "ack reopened -> acknowledged",
        ]
    );
    assert_eq!(actions[8]["position"], body["position"]);
    assert_eq!(actions[2]["arguments"], json!({"to": "the night shift", "text": "disk"}));
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    let rows = actions.len();
    fleet.stop_all();

    let lanes = tests::oracle::check(&fleet.world).await;
    let events = lanes.iter().flat_map(|lane| &lane.folded.events);
    let commands = events.filter(|e| matches!(e.kind, Kind::Applied(_) | Kind::Refused(_)));
    assert_eq!(commands.count(), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn r47_who_may_not_act_is_told_so_and_appends_nothing() {
    let (mut fleet, number) = start().await;
    let sender = fleet.sender(number);
    sender.alertmanager(&alert("a")).await;
    let event = json!({
        "event_id": "0123456789abcdef0123456789abcdef", "issue_id": "7", "title": "Error 7",
        "culprit": "shop.cart", "level": "error", "project": 1, "environment": "production",
    });
    sender.sentry("error", &json!({"action": "created", "data": {"error": event}})).await;
    fleet.settled().await;
    let console = fleet.member(number).console.unwrap();
    let ask = Asker { fleet: &fleet, console };
    let of = async |project: &str| {
        let list = fleet.get(console, &format!("/api/v1/incidents?project_id={project}")).await;
        let item = list["items"][0].clone();
        let text = |key: &str| item[key].as_str().unwrap().to_owned();
        (text("incident_id"), text("number"))
    };
    let ((ours, ours_named), (theirs, theirs_named)) = (of("infra").await, of("shop").await);
    assert_eq!(ours_named, theirs_named, "both are their project's first");

    let check = async |key: &str, path: String, body: Value, expect: u16, says: &str| {
        let (status, problem) = ask.post(key, &path, body).await;
        assert_eq!(status, expect, "{path}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{path}: {detail}");
    };
    let none = || json!({});
    check("nobody's", format!("{ours}/ack"), none(), 401, "invalid operator key").await;
    check(OPERATOR_KEY, format!("{ours}/ack"), none(), 403, "a viewer reads").await;
    check(ADA, format!("{theirs}/ack"), none(), 404, "no incident").await;
    check(ADA, format!("{theirs}/ack?project_id=shop"), none(), 404, "no incident").await;
    check(ADA, format!("{theirs_named}/ack?project_id=shop"), none(), 404, "no project").await;
    let unknown = "00000000-0000-8000-8000-000000000007";
    check(ADA, format!("{unknown}/ack"), none(), 404, "no incident").await;
    check(ADA, "INC-20200101-001/ack".into(), none(), 404, "no incident").await;
    check(ADA, "seven/ack".into(), none(), 422, "INC-").await;
    check(ADA, format!("{ours}/delete"), none(), 404, "no verb").await;
    check(ADA, format!("{ours}/note"), none(), 422, "text: is needed").await;
    check(ADA, format!("{ours}/handoff"), none(), 422, "to: is needed").await;
    check(ADA, format!("{ours}/ack?wait=11"), none(), 422, "wait: ").await;
    let foreign = format!("http://{console}/api/v1/incidents/{theirs}");
    let seen = fleet.client.get(foreign).bearer_auth(ADA).send().await.unwrap();
    assert_eq!(seen.status(), 404);

    assert_eq!(commands(&fleet).await.len(), 0);
    fleet.stop_all();
    tests::oracle::check(&fleet.world).await;
}

/// The messages of the input log that hold commands.
async fn commands(fleet: &Fleet) -> Vec<eventlog::Message> {
    let messages = tests::oracle::input_log(&fleet.world).await;
    let is_command = |message: &eventlog::Message| {
        let frame = RecordFrame::parse(&message.payload).unwrap();
        frame
            .records
            .iter()
            .any(|bytes| matches!(Record::decode(bytes).map(|r| r.body), Ok(Body::Command(_))))
    };
    messages.into_iter().filter(is_command).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_command_that_stands_twice_in_the_log_is_one_command() {
    let (mut fleet, number) = start().await;
    let sender = fleet.sender(number);
    sender.alertmanager(&alert("a")).await;
    fleet.settled().await;
    let console = fleet.member(number).console.unwrap();
    let list = fleet.get(console, "/api/v1/incidents?project_id=infra").await;
    let incident = list["items"][0]["incident_id"].as_str().unwrap().to_owned();
    let ask = Asker { fleet: &fleet, console };
    ask.say(&incident, "request_triage", json!({})).await;
    fleet.settled().await;

    // The log took it twice: its first answer was lost, and the server had forgotten its id.
    let [message] = commands(&fleet).await.try_into().unwrap();
    let stream = subject::deliveries_stream(&fleet.world.namespace);
    let again = Publish {
        stream,
        subject: message.subject.clone(),
        message_id: None,
        headers: Vec::new(),
        payload: message.payload.clone(),
        fence: None,
        keep_forever: false,
    };
    assert!(message.subject.ends_with(Class::Data.token()), "{}", message.subject);
    fleet.world.log().await.publish(again).await.unwrap();
    // A worker that takes over knows it as well.
    fleet.kill(number);
    fleet.restart(number);
    fleet.settled().await;

    let console = fleet.member(number).console.unwrap();
    let ask = Asker { fleet: &fleet, console };
    let shown = ask.incident(&incident).await;
    assert_eq!(shown["actions"].as_array().unwrap().len(), 1, "{shown}");
    let asked = shown["runs"].as_array().unwrap().iter().filter(|r| r["reason"] == "request 1");
    assert_eq!(asked.count(), 1, "{shown}");
    let mut sql = fleet.world.sql().await;
    let counted: Vec<(String, i64)> = sqlx::query_as(
        "select outcome, sum(records)::bigint from ledger
         where outcome in ('command', 'repeated_frame') group by outcome order by outcome",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    assert_eq!(counted, [("command".into(), 1), ("repeated_frame".into(), 1)]);
    fleet.stop_all();
    tests::oracle::check(&fleet.world).await;
}
