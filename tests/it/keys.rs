//! Keys and switches from the command line to ingest, over a real log.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::fleet::{Fleet, PATIENCE};

use crate::newcomer::bellwether;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// Sources without credentials of their own.
const SOURCES: &str = r#"
[sources.scripts]
provider = "custom"
project = "infra"
senders = ["*"]

[sources.both]
provider = "custom"
project = "elsewhere"
senders = ["*"]
secret = "a-signing-secret"
token = "a-token-in-the-path"
require = "every_kind"

[sources.unsigned]
provider = "custom"
project = "elsewhere"
senders = ["*"]
"#;

const BODY: &str = r#"{"title":"disk full","status":"firing"}"#;

/// Given these words behind `bellwether`, then it ends with this code and says all of this.
#[track_caller]
fn check(fleet: &Fleet, words: &[&str], code: i32, says: &[&str]) -> String {
    check_with(fleet, words, &[], b"", code, says)
}

#[track_caller]
fn check_with(
    fleet: &Fleet,
    words: &[&str],
    env: &[(&str, &str)],
    input: &[u8],
    code: i32,
    says: &[&str],
) -> String {
    let place = [PathBuf::from("--config"), fleet.config().to_owned()];
    let mut command = Command::new(bellwether());
    command.args(words).args(place).env("USER", "ada").envs(env.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.current_dir(fleet.world.dir.path()).spawn().unwrap();
    // One that reads nothing may be gone before it is written to.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert_eq!(status.code(), Some(code), "{words:?}: {said}");
    for words in says {
        assert!(said.contains(words), "{said:?} lacks {words:?}");
    }
    said
}

/// What a line that begins with this word says.
#[track_caller]
fn line(said: &str, word: &str) -> String {
    let line = said.lines().find_map(|line| line.strip_prefix(word));
    line.unwrap_or_else(|| panic!("{said:?} has no line {word:?}")).trim().to_owned()
}

/// Posts as a sender with a key does; the status of the answer.
async fn post(fleet: &Fleet, member: usize, path: &str, key: &str) -> u16 {
    let ingest = fleet.member(member).ingest.unwrap();
    let request = fleet.client.post(format!("http://{ingest}{path}")).body(BODY);
    request.bearer_auth(key).send().await.unwrap().status().as_u16()
}

/// Waits until a key is answered so; how long that took.
async fn until(fleet: &Fleet, member: usize, path: &str, key: &str, wanted: u16) -> Duration {
    let since = Instant::now();
    loop {
        let status = post(fleet, member, path, key).await;
        if status == wanted {
            return since.elapsed();
        }
        assert!(since.elapsed() < PATIENCE, "{path} still answers {status}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const SCRIPTS: &str = "/webhook/custom/scripts";
const ALERTMANAGER: &str = "/webhook/alertmanager";

#[tokio::test(flavor = "multi_thread")]
async fn r11_a_key_works_within_a_second_of_being_made_and_not_a_second_after_being_revoked() {
    let mut fleet = Fleet::new(WORKER, SOURCES).await;
    with_spool(&fleet);
    let ingest = [fleet.start("ingest"), fleet.start("ingest")];
    check(&fleet, &["keys", "list"], 0, &["there is no key"]);

    let said = check(
        &fleet,
        &["keys", "create", "--source", "alertmanager"],
        0,
        &[
            "shown this once",
            "lets in   source alertmanager",
            "Authorization: Bearer bws_",
            "/webhook/alertmanager/alertmanager",
        ],
    );
    let (key, id) = (line(&said, "key "), line(&said, "id "));
    for member in ingest {
        assert!(until(&fleet, member, ALERTMANAGER, &key, 202).await < Duration::from_secs(1));
        assert_eq!(post(&fleet, member, ALERTMANAGER, "bws_of-nobody").await, 401);
        assert_eq!(post(&fleet, member, SCRIPTS, &key).await, 202, "it asks for none: a test");
    }
    // The one before it goes on, and there are never three.
    let second = check(
        &fleet,
        &["keys", "create", "--source", "alertmanager"],
        0,
        &[&format!("before    {id}, which holds until ")],
    );
    let (second, second_id) = (line(&second, "key "), line(&second, "id "));
    until(&fleet, ingest[0], ALERTMANAGER, &second, 202).await;
    assert_eq!(post(&fleet, ingest[0], ALERTMANAGER, &key).await, 202);
    let third = ["keys", "create", "--source", "alertmanager", "--expires-previous", "1h"];
    check(&fleet, &third, 2, &["has two keys already", &id, &second_id, "keys revoke"]);
    let list = check(&fleet, &["keys", "list"], 0, &[&id, &second_id, "by ada", "holds until"]);
    assert!(!list.contains(&key) && !list.contains(&second), "{list}");

    // Within a second, everywhere.
    check(&fleet, &["keys", "revoke", &id], 0, &[&format!("revoked   {id}"), "position  "]);
    for member in ingest {
        let took = until(&fleet, member, ALERTMANAGER, &key, 401).await;
        assert!(took < Duration::from_secs(1), "a revoked key held for {took:?}");
        assert_eq!(post(&fleet, member, ALERTMANAGER, &second).await, 202);
    }
    check(&fleet, &["keys", "revoke", &id], 0, &["was revoked already: ", "by ada"]);
    check(&fleet, &["keys", "revoke", "00000000"], 2, &["there is no key 00000000", "keys list"]);
    check(&fleet, &["keys", "list"], 0, &["1 more hold no more"]);
    check(&fleet, &["keys", "list", "--all"], 0, &[&format!("{id}  source alertmanager  revoked")]);

    // A key of a project, and its source that asked for none.
    let said = check(&fleet, &["keys", "create", "--project", "infra"], 0, &["project infra"]);
    let of_project = line(&said, "key ");
    until(&fleet, ingest[0], SCRIPTS, "bws_of-nobody", 401).await;
    for path in [SCRIPTS, ALERTMANAGER] {
        assert_eq!(post(&fleet, ingest[0], path, &of_project).await, 202, "{path}");
    }
    assert_eq!(post(&fleet, ingest[0], SCRIPTS, &second).await, 401);

    // What is wrong is said with what to do.
    let unknown = ["keys", "create", "--source", "promethius"];
    check(&fleet, &unknown, 64, &["bellwether.toml", "sources.promethius", "alertmanager, "]);
    check(&fleet, &["keys", "create", "--project", "shopp"], 64, &["\"shopp\"", "infra, "]);
    check(&fleet, &["keys", "create"], 64, &["--source", "--project"]);

    // What lets in stands in each record, as the id alone.
    let log = tests::oracle::input_log(&fleet.world).await;
    let text: Vec<u8> = log.iter().flat_map(|message| message.payload.to_vec()).collect();
    let holds = |word: &str| text.windows(word.len()).any(|bytes| bytes == word.as_bytes());
    assert!(holds(&id) && holds(&second_id), "no record names a key");
    for key in [&key, &second, &of_project] {
        assert!(!holds(key), "a key stands in the log");
    }
    fleet.stop_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_without_nats_a_start_lets_in_by_the_last_copy() {
    let mut fleet = Fleet::new(WORKER, "").await;
    let spool = with_spool(&fleet);
    let ingest = fleet.start("ingest");
    let create = ["keys", "create", "--source", "alertmanager", "--expires-previous", "0s"];
    let old = line(&check(&fleet, &create, 0, &[]), "key ");
    let key = line(&check(&fleet, &create, 0, &["before "]), "key ");
    until(&fleet, ingest, ALERTMANAGER, &key, 202).await;
    until(&fleet, ingest, ALERTMANAGER, &old, 401).await;
    let copy = spool.join("keys.json");
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&copy).is_ok_and(|text| text.matches("sha256").count() == 2) {
        assert!(Instant::now() < deadline, "no copy was written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fleet.kill(ingest);

    fleet.world.nats.kill();
    fleet.restart(ingest);
    assert_eq!(post(&fleet, ingest, ALERTMANAGER, &key).await, 202, "from the spool");
    assert_eq!(post(&fleet, ingest, ALERTMANAGER, &old).await, 401);
    let ready = degraded(&fleet, ingest).await;
    assert!(ready.contains("keys and switches are those of"), "{ready}");

    fleet.world.nats.restart().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while degraded(&fleet, ingest).await.contains("keys and switches") {
        assert!(Instant::now() < deadline, "it never read the log");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(post(&fleet, ingest, ALERTMANAGER, &key).await, 202);
    fleet.stop_all();
}

/// What readiness says works less well than it should.
async fn degraded(fleet: &Fleet, member: usize) -> String {
    let ingest = fleet.member(member).ingest.unwrap();
    let response = fleet.client.get(format!("http://{ingest}/ready")).send().await.unwrap();
    let report: Value = response.json().await.unwrap();
    report["degraded"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_switched_off_and_on() {
    let mut fleet = Fleet::new(WORKER, SOURCES).await;
    let ingest = fleet.start("ingest");
    assert_eq!(post(&fleet, ingest, SCRIPTS, "").await, 202);
    check(&fleet, &["sources", "off", "scripts"], 0, &["switched  scripts off"]);
    assert!(until(&fleet, ingest, SCRIPTS, "", 404).await < Duration::from_secs(1));
    check(&fleet, &["sources", "off", "scripts"], 0, &["is off already, since ", "by ada"]);
    check(&fleet, &["sources", "list"], 0, &["scripts  project infra", "off since", "sentry  "]);
    check(&fleet, &["sources", "off", "script"], 64, &["sources.script", "scripts"]);
    check(&fleet, &["sources", "on", "scripts"], 0, &["switched  scripts on"]);
    until(&fleet, ingest, SCRIPTS, "", 202).await;
    fleet.stop_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_by_hand_is_signed_as_its_sender_signs() {
    let mut fleet = Fleet::new(WORKER, SOURCES).await;
    let all = fleet.start("ingest,console,triage-worker,notifier-worker,projector");
    let url = format!("http://{}", fleet.member(all).ingest.unwrap());
    let file = fleet.world.dir.path().join("payload.json");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schemas/fixtures/providers");
    std::fs::copy(folder.join("sentry/issue-created.json"), &file).unwrap();
    let file = file.to_str().unwrap();
    let sent = ["send", "--provider", "sentry", file, "--url", &url];
    let said = check(&fleet, &sent, 0, &["status    202", "/api/v1/deliveries/"]);
    let id = line(&said, "id ");
    let path = format!("/api/v1/deliveries/{id}?wait=10");
    let settled = fleet.get(fleet.member(all).console.unwrap(), &path).await;
    assert_eq!(settled["outcome"], "observed", "{settled}");

    // From standard input, with a password, with a key, and with nothing where nothing is asked.
    let am = std::fs::read(folder.join("alertmanager/v4-mixed.json")).unwrap();
    let to = |source: &'static str| ["send", "--source", source, "-", "--url", &url];
    check_with(&fleet, &to("alertmanager"), &[], &am, 0, &["status    202"]);
    let body = BODY.as_bytes();
    check_with(&fleet, &to("scripts"), &[], body, 0, &["has no secret", "status    202"]);
    check_with(&fleet, &to("both"), &[], body, 0, &["status    202"]);
    let create = ["keys", "create", "--source", "scripts"];
    let key = line(&check(&fleet, &create, 0, &[]), "key ");
    until(&fleet, all, SCRIPTS, "", 401).await;
    check_with(&fleet, &to("scripts"), &[], body, 2, &["refused with 401"]);
    let env = [("BELLWETHER_KEY", key.as_str())];
    let said = check_with(&fleet, &to("scripts"), &env, body, 0, &["status    202"]);
    assert!(!said.contains(&key), "{said}");

    // What is wrong is said with what to do.
    let unknown = ["send", "--provider", "pigeon", file];
    check(&fleet, &unknown, 64, &["\"pigeon\"", "sentry (sentry)"]);
    let other = ["send", "--provider", "sentry", "--source", "scripts", file];
    check(&fleet, &other, 64, &["sources.scripts.provider", "is a source of custom"]);
    let several = ["send", "--provider", "custom", file];
    check(
        &fleet,
        &several,
        64,
        &["several sources", "both (custom), scripts (custom), unsigned (custom)"],
    );
    check(&fleet, &["send", file], 64, &["--provider"]);
    let absent = ["send", "--provider", "sentry", "nowhere.json"];
    check(&fleet, &absent, 1, &["nowhere.json", "standard input"]);
    let nobody = ["send", "--provider", "sentry", file, "--url", "http://127.0.0.1:1"];
    check(&fleet, &nobody, 1, &["http://127.0.0.1:1", "bellwether up", "--url"]);
    let env = [("ENVIRONMENT", "production")];
    let none = ["send", "--source", "unsigned", file];
    check_with(&fleet, &none, &env, b"", 64, &["sources.unsigned", "keys create"]);
    fleet.stop_all();
}

/// Gives those who play ingest a folder, before they are started.
fn with_spool(fleet: &Fleet) -> PathBuf {
    let spool = fleet.world.dir.path().join("spool");
    let text = std::fs::read_to_string(fleet.config()).unwrap();
    let without = "ingest.listen = \"127.0.0.1:0\"";
    let with = format!("ingest = {{ listen = \"127.0.0.1:0\", spool = {{ dir = {spool:?} }} }}");
    assert!(text.contains(without), "{text}");
    std::fs::write(fleet.config(), text.replace(without, &with)).unwrap();
    spool
}
