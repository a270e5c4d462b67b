//! Sends that were given up are listed with the receiver's words, and sent again at an operator's word,
//! once.

use serde_json::{Value, json};
use tests::{
    fleet::Fleet,
    receivers::{
        Fault,
        telegram::{Api, CHAT, TOKEN},
    },
};

use super::{WORKER, check};

const ALL: &str = "ingest,triage-worker,notifier-worker,projector";

/// A fleet that tells a chat in Telegram as well, and what opened an incident only.
async fn fleet(api: &Api) -> Fleet {
    let more = format!(
        "[channels.chat]\nkind = \"telegram\"\nurl = \"{}\"\ntoken = \"{TOKEN}\"\nchat_id = {CHAT}\n\
         allow_private = true\ntimeout_ms = 1000\n[triage]\nplaybook = false\n",
        api.url
    );
    Fleet::new(WORKER, &more).await
}

async fn fire(fleet: &Fleet, number: usize) {
    let alert = json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
        "alerts": [{
            "status": "firing", "labels": {"alertname": "Down", "severity": "critical"},
            "annotations": {}, "startsAt": "2026-01-01T00:00:01Z",
            "endsAt": "0001-01-01T00:00:00Z",
        }],
    });
    fleet.sender(number).alertmanager(&alert).await;
    fleet.settled().await;
}

/// The id that begins the only line about a message of this kind.
#[track_caller]
fn only_send(fleet: &Fleet, kind: &str, says: &[&str]) -> String {
    let said = check(fleet, &["sends"], 0, says);
    let about = format!("  {kind} of incident ");
    let mut lines = said.lines().filter(|line| line.contains(&about));
    let (Some(line), None) = (lines.next(), lines.next()) else { panic!("{kind}: {said}") };
    assert!(says.iter().all(|words| line.contains(words)), "{line}");
    assert!(!said.contains(TOKEN), "{said}");
    line.split(' ').next().unwrap().to_owned()
}

/// New messages in the chat, changes left out.
fn new(api: &Api) -> Vec<Value> {
    api.inbox.taken().into_iter().filter(|message| message["message_id"].is_null()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_a_send_that_was_refused_is_sent_again_once_when_an_operator_says_so() {
    let api = Api::start().await;
    let mut fleet = fleet(&api).await;
    check(&fleet, &["sends"], 0, &["no send was given up"]);
    let number = fleet.start(ALL);
    let kicked = json!({"ok": false, "error_code": 403,
        "description": "Forbidden: bot was kicked from the supergroup chat"});
    api.inbox.fail_next([Fault::Answer(403, kicked)]);
    fire(&fleet, number).await;
    let job = only_send(&fleet, "fire", &["to chat was refused: ", "bot was kicked", "let it in"]);
    assert_eq!(new(&api).len(), 0);

    // What is no send, and one that nobody knows, are refused with what to do.
    let unknown = "00000000-0000-8000-8000-000000000000";
    let known = ["was not given up, or was sent again since", "bellwether parked sends"];
    check(&fleet, &["resend", unknown], 2, &[&known[..], &[unknown]].concat());
    check(&fleet, &["resend", "nonsense"], 64, &["nonsense", "as `bellwether parked sends` says"]);
    check(&fleet, &["resend"], 64, &["<JOB>"]);
    assert_eq!(only_send(&fleet, "fire", &[]), job);

    // Let in again, the bot is asked by a worker; again there is nothing to send again.
    let said = check(&fleet, &["resend", &job, "--operator", "bob"], 0, &["target    chat"]);
    let again = said.lines().find_map(|line| line.strip_prefix("job       ")).unwrap().to_owned();
    assert_ne!(again, job);
    fleet.settled().await;
    assert_eq!(new(&api).len(), 1, "{:?}", api.inbox.arrivals());
    check(&fleet, &["sends"], 0, &["no send was given up"]);
    for gone in [&job, &again] {
        check(&fleet, &["resend", gone], 2, &known);
    }
    let mut sql = fleet.world.sql().await;
    let reason: String = sqlx::query_scalar("select reason from job where id = $1::uuid")
        .bind(&job)
        .fetch_one(&mut sql)
        .await
        .unwrap();
    assert!(reason.contains(&format!("sent again by bob as {again}")), "{reason}");
    fleet.stop_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_a_send_that_may_have_arrived_is_an_operators_to_repeat_unless_it_is_known_to_be_told() {
    let api = Api::start().await;
    let mut fleet = fleet(&api).await;
    let number = fleet.start(ALL);
    // The chat takes the message, and nobody hears of it.
    api.inbox.fail_next([Fault::Hang(std::time::Duration::from_secs(3))]);
    fire(&fleet, number).await;
    let job = only_send(&fleet, "fire", &["to chat may have arrived: ", "timeout"]);
    assert_eq!(new(&api).len(), 1);

    // Somebody else's job told it meanwhile: an operator cannot want it twice.
    let mut sql = fleet.world.sql().await;
    let set = "update sent set delivered_at = now() where target = 'chat' and kind = 'fire'";
    assert_eq!(sqlx::query(set).execute(&mut sql).await.unwrap().rows_affected(), 1);
    check(&fleet, &["resend", &job], 2, &["refused: what send", &job, "was told already"]);
    assert_eq!(only_send(&fleet, "fire", &[]), job);

    let unset = "update sent set delivered_at = null where target = 'chat' and kind = 'fire'";
    assert_eq!(sqlx::query(unset).execute(&mut sql).await.unwrap().rows_affected(), 1);
    check(&fleet, &["resend", &job], 0, &["job  ", "target    chat"]);
    fleet.settled().await;
    assert_eq!(new(&api).len(), 2, "{:?}", api.inbox.arrivals());
    check(&fleet, &["sends"], 0, &["no send was given up"]);
    fleet.stop_all();
}
