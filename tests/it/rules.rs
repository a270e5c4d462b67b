//! The rules document in the log of a running fleet: decisions name the one in force at their
//! position, and nothing is lost or told twice while it changes.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use domain::rules::Rules;
use schemas::{InputPosition, LaneKey, Position, subject};
use serde_json::{Value, json};
use tests::{
    World,
    fleet::{Fleet, PATIENCE},
    oracle::Compared,
    senders::{Senders, check},
};

use crate::newcomer::{Up, bellwether};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const WORK: &str = "triage-worker,notifier-worker,projector";

/// A document whose route has this name.
fn document(route: &str, tables: &str) -> String {
    format!("{tables}\n[[defaults.routes]]\nname = \"{route}\"\nreceivers = [\"default\"]\n")
}

fn hash(text: &str) -> String {
    Rules::parse(text).unwrap().hash().to_owned()
}

/// Whoever types `bellwether rules ...`.
struct Operator {
    /// Which log: `--config FILE` or `--dir FOLDER`.
    place: [PathBuf; 2],
    folder: PathBuf,
}

impl Operator {
    fn of(fleet: &Fleet) -> Self {
        let folder = fleet.world.dir.path().to_owned();
        Self { place: ["--config".into(), fleet.config().to_owned()], folder }
    }

    fn run(&self, verb: &str, file: Option<&Path>) -> Output {
        let mut command = Command::new(bellwether());
        command.args(["rules", verb]).args(file).args(&self.place);
        command.env("USER", "ada").current_dir(&self.folder).output().unwrap()
    }

    fn write(&self, text: &str) -> PathBuf {
        let file = self.folder.join("draft.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Given a document, then `verb` ends with this code and says all of this.
    #[track_caller]
    fn check(&self, verb: &str, text: Option<&str>, code: i32, says: &[&str]) -> String {
        let file = text.map(|text| self.write(text));
        let output = self.run(verb, file.as_deref());
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        for words in says {
            assert!(said.contains(words), "{said:?} lacks {words:?}");
        }
        said
    }

    /// Puts a document in force; from where on.
    #[track_caller]
    fn apply(&self, text: &str) -> InputPosition {
        let said = self.check("apply", Some(text), 0, &[&hash(text)]);
        let line = said.lines().find_map(|line| line.strip_prefix("position  ")).unwrap();
        line.parse().unwrap()
    }
}

/// How many control records stand in the lane `all`.
async fn controls(world: &World) -> usize {
    let subject = subject::deliveries(&world.namespace, LaneKey::All, subject::Class::Control);
    let log = tests::oracle::input_log(world).await;
    log.iter().filter(|message| message.subject == subject).count()
}

/// Every decision and every notice names the document in force at its position. Returns how many
/// notices name each, in the order of `documents`.
async fn decisions_name_their_rules(
    fleet: &Fleet,
    lanes: &[Compared],
    documents: &[(InputPosition, String)],
) -> Vec<usize> {
    let in_force = |at: InputPosition| {
        let last = documents.iter().rfind(|(from, _)| *from <= at);
        last.map_or_else(|| Rules::builtin().hash(), |(_, hash)| hash.as_str())
    };
    for event in lanes.iter().flat_map(|lane| &lane.folded.events) {
        assert_eq!(event.rules, in_force(event.at.input), "{event:?}");
    }
    let mut sql = fleet.world.sql().await;
    let notices: Vec<(String, String)> =
        sqlx::query_as("select at, rules from notice").fetch_all(&mut sql).await.unwrap();
    for (at, rules) in &notices {
        let at: Position = at.parse().unwrap();
        assert_eq!(rules, in_force(at.input), "notice at {at}");
    }
    let name = |hash: &str| notices.iter().filter(|(_, rules)| rules == hash).count();
    documents.iter().map(|(_, hash)| name(hash)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_rules_applied_under_load_decide_from_their_position_on() {
    let mut fleet = Fleet::new(WORKER, "").await;
    let operator = Operator::of(&fleet);
    let ingest = fleet.start("ingest,console");
    let workers = [fleet.start(WORK), fleet.start(WORK)];
    let sender = fleet.sender(ingest);
    let load: Vec<_> = (1..=2)
        .map(|group| {
            let (sender, mut senders) = (sender.clone(), Senders::new(20 + group).of_group(group));
            tokio::spawn(async move { senders.send(&sender, 120).await })
        })
        .collect();
    let mut own = Senders::new(23);
    let mut documents = Vec::new();
    for (n, route) in ["first", "second", "third"].into_iter().enumerate() {
        own.send(&sender, 10).await;
        let text = document(route, "");
        documents.push((operator.apply(&text), hash(&text)));
        // Whoever holds the lanes may have read the record, and not what is behind it.
        fleet.kill(workers[n % 2]);
        own.send(&sender, 10).await;
        fleet.restart(workers[n % 2]);
    }
    for sent in load {
        sent.await.unwrap();
    }
    own.send(&sender, 20).await;
    let lanes = check(&mut fleet).await;
    let named = decisions_name_their_rules(&fleet, &lanes, &documents).await;
    assert!(named.iter().all(|n| *n > 0), "{named:?}");
    assert_eq!(controls(&fleet.world).await, 3);
}

/// One alert of the fleet's alertmanager source.
fn alert(instance: &str, status: &str, second: u32) -> Value {
    let at = format!("2026-01-01T00:00:{second:02}Z");
    json!({
        "version": "4", "groupKey": "{}", "status": status, "receiver": "r",
        "alerts": [{
            "status": status,
            "labels": {"alertname": "Down", "instance": instance, "severity": "critical"},
            "annotations": {"summary": "down"},
            "startsAt": at, "endsAt": if status == "resolved" { &at } else { "0001-01-01T00:00:00Z" },
        }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_a_reload_neither_loses_nor_resends() {
    let mut fleet = Fleet::new(WORKER, "").await;
    let operator = Operator::of(&fleet);
    let all = fleet.start(&format!("ingest,console,{WORK}"));
    let sender = fleet.sender(all);
    sender.alertmanager(&alert("a", "firing", 1)).await;
    fleet.settled().await;
    assert_eq!(fleet.receiver.seen().accepted.len(), 1);

    // What is open stays as it was told, over other rules and a restart.
    let text = document("other", "");
    operator.apply(&text);
    fleet.kill(all);
    fleet.restart(all);
    let sender = fleet.sender(all);
    sender.alertmanager(&alert("a", "firing", 2)).await;
    fleet.settled().await;
    assert_eq!(fleet.receiver.seen().accepted.len(), 1);

    // What comes now is told by them, and what ends is told to whom it was told.
    sender.alertmanager(&alert("b", "firing", 3)).await;
    sender.alertmanager(&alert("a", "resolved", 4)).await;
    fleet.settled().await;
    let seen = fleet.receiver.seen();
    assert_eq!(
        (seen.of_type("incident.fire").len(), seen.of_type("incident.resolve").len()),
        (2, 1)
    );
    let mut sql = fleet.world.sql().await;
    let rules: Vec<(String, String)> = sqlx::query_as(
        "select rule, rules from notice where verdict = 'planned' and kind in ('fire', 'resolve')
         order by lane_time, at",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let (old, new) = (Rules::builtin().hash().to_owned(), hash(&text));
    let by = |rule: &str, rules: &String| (rule.to_owned(), rules.clone());
    let cell = "policy.production.fatal";
    let (everything, other) = (format!("everything/{cell}"), format!("other/{cell}"));
    assert_eq!(rules, [by(&everything, &old), by(&other, &new), by(&everything, &new)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_a_change_of_fingerprints_is_refused_and_appends_nothing() {
    let mut fleet = Fleet::new(WORKER, "").await;
    let operator = Operator::of(&fleet);
    let by_name =
        "[defaults.fingerprint.alertmanager]\nid = \"by-name\"\ninclude = [\"alertname\"]\n";

    // Before anything was received it is no change of what is known.
    let text = document("first", by_name);
    let position = operator.apply(&text);
    assert_eq!(position.sequence, 1);
    let all = fleet.start(&format!("ingest,console,{WORK}"));
    let sender = fleet.sender(all);
    for (second, instance) in (1..).zip(["a", "b", "c"]) {
        sender.alertmanager(&alert(instance, "firing", second)).await;
    }
    fleet.settled().await;
    assert_eq!(fleet.receiver.seen().accepted.len(), 1, "the three are one problem");

    let ways = ["replay --rules", "promote", "defaults.fingerprint.alertmanager: by-name: by"];
    operator.check("apply", Some(&document("first", "")), 2, &ways);
    let other = by_name.replace("alertname\"]", "alertname\", \"labels.instance\"]");
    operator.check("apply", Some(&document("first", &other)), 2, &ways);
    assert_eq!(controls(&fleet.world).await, 1);

    // The same fingerprints with anything else changed are no matter.
    operator.apply(&document("second", by_name));
    assert_eq!(controls(&fleet.world).await, 2);
    fleet.settled().await;
    fleet.stop_all();
    let lanes = tests::oracle::check(&fleet.world).await;
    assert_eq!(lanes.iter().map(|lane| lane.opened().len()).sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verbs_say_what_is_in_force_and_what_would_change() {
    let fleet = Fleet::new(WORKER, "").await;
    let operator = Operator::of(&fleet);
    let builtin = Rules::builtin();
    operator.check("show", None, 0, &[builtin.hash(), "built-in", "[defaults.stale]"]);
    operator.check("apply", Some(builtin.text()), 0, &["in force already", "built-in"]);

    let shop = "[project.shop.stale]\nid = \"short\"\nminutes = 3\n";
    let text = document("everything", shop);
    let changes = "project.shop.stale.minutes: 10 min -> 3 min";
    let line = "+[project.shop.stale]";
    operator.check("diff", Some(&text), 0, &[builtin.hash(), &hash(&text), changes, line]);
    assert_eq!(controls(&fleet.world).await, 0);

    let position = operator.apply(&text).to_string();
    operator.check("show", None, 0, &[&hash(&text), &position, "by ada", shop]);
    operator.check("apply", Some(&text), 0, &["in force already", &position]);
    operator.check("diff", Some(&text), 0, &["the same document"]);
    let remark = format!("# a remark\n{text}");
    operator.check("diff", Some(&remark), 0, &["only the text differs", "+# a remark"]);
    assert_eq!(controls(&fleet.world).await, 1);

    let broken = text.replace("minutes = 3", "minuts = 3");
    for verb in ["diff", "apply"] {
        operator.check(verb, Some(&broken), 64, &["draft.toml", "line 3, column 1", "minuts"]);
        let absent = operator.run(verb, Some(Path::new("absent.toml")));
        assert_eq!(absent.status.code(), Some(64));
    }
    operator.check("aply", None, 64, &["aply"]);
    assert_eq!(controls(&fleet.world).await, 1);
}

/// Waits until probes say of the rules file what is asked for.
async fn file_is_broken(up: &Up, wanted: bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready: Value =
            reqwest::get(format!("{}/ready", up.console)).await.unwrap().json().await.unwrap();
        if ready["degraded"].to_string().contains("rules.toml") == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{ready}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn up_applies_its_rules_file_and_survives_a_broken_one() {
    let home = tests::temp_dir();
    let folder = home.path().join("kept");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("rules.toml");
    let (first, second) = (document("first", ""), document("second", ""));
    std::fs::write(&file, &first).unwrap();
    let mut up = Up::start(home.path(), "first");
    let operator =
        Operator { place: ["--dir".into(), folder.clone()], folder: home.path().to_owned() };
    operator.check("show", None, 0, &[&hash(&first), "by up"]);

    std::fs::write(&file, "nonsense").unwrap();
    file_is_broken(&up, true).await;
    operator.check("show", None, 0, &[&hash(&first)]);
    std::fs::write(&file, &second).unwrap();
    up.wait_for(&format!("{} of", hash(&second)));
    operator.check("show", None, 0, &[&hash(&second), "by up"]);
    file_is_broken(&up, false).await;

    // What an operator applied since outlives a restart; a broken file does not keep it from
    // starting.
    let third = document("third", "");
    operator.apply(&third);
    drop(up);
    let up = Up::start(home.path(), "second");
    operator.check("show", None, 0, &[&hash(&third), "by ada"]);
    drop(up);
    std::fs::write(&file, "nonsense").unwrap();
    let up = Up::start(home.path(), "third");
    file_is_broken(&up, true).await;
    operator.check("show", None, 0, &[&hash(&third)]);
}
