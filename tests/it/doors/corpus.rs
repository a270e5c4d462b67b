//! Published payloads, byte for byte, with their headers and signatures: every fact their index
//! states is found again.
//!
//! The corpus lies beside the project and is no part of it; without it these tests say so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Doors, EVERYTHING, Shown, ShownAlert, basic, headers_of, in_project, same, source};

/// The providers whose files are sent.
const PROVIDERS: [&str; 2] = ["alertmanager", "sentry"];
const PASSWORD: &str = "a-password-of-the-corpus";

/// Facts of a group that no alert of it carries: they stay in the raw body alone, so there is
/// nothing of ours to compare, and they count as nothing compared.
const OF_GROUP: [&str; 3] = ["receiver", "group_key", "external_url"];

/// One file of the corpus.
struct File {
    name: String,
    /// Its source and its project.
    source: String,
    provider: String,
    entry: Value,
    raw: Vec<u8>,
}

impl File {
    fn expect(&self) -> &Value {
        &self.entry["expect"]
    }

    fn configured(&self) -> String {
        configured(&self.source, &self.provider, &self.entry)
    }

    async fn send_to(&self, doors: &Doors, source: &str) -> Uuid {
        let http = &self.entry["http"];
        let mut headers = headers_of(&http["headers"]);
        let content_type = http["content_type"].as_str().unwrap();
        headers.push(("content-type".into(), content_type.into()));
        if http["signature"].is_null() {
            headers.push(("authorization".into(), basic("corpus", PASSWORD)));
        }
        let path = format!("/webhook/{}/{source}", self.provider);
        doors.accepted(&path, &headers, &self.raw).await
    }
}

fn configured(id: &str, provider: &str, entry: &Value) -> String {
    let credential = match entry["http"]["signature"]["secret"].as_str() {
        Some(secret) => format!("secret = \"{secret}\""),
        None => format!("basic = {{ user = \"corpus\", password = \"{PASSWORD}\" }}"),
    };
    source(id, provider, &credential)
}

/// Every file of the two providers; none when the corpus is not there.
fn files() -> Option<Vec<File>> {
    let folder = in_project("../shared/corpus");
    let Ok(index) = fs::read(folder.join("index.json")) else {
        println!("the corpus {} is not present: nothing is compared", folder.display());
        return None;
    };
    let index: Value = serde_json::from_slice(&index).unwrap();
    let mut files = Vec::new();
    for entry in index["entries"].as_array().unwrap() {
        let name = entry["file"].as_str().unwrap();
        let provider = name.split('/').next().unwrap();
        if PROVIDERS.contains(&provider) {
            files.push(File {
                name: name.to_owned(),
                source: format!("c{:02}", files.len()),
                provider: provider.to_owned(),
                entry: entry.clone(),
                raw: fs::read(folder.join(name)).unwrap(),
            });
        }
    }
    let named: BTreeSet<String> = files.iter().map(|f| f.name.clone()).collect();
    assert_eq!(named, on_disk(folder), "the index names every file");
    Some(files)
}

fn on_disk(folder: PathBuf) -> BTreeSet<String> {
    let of = |provider: &str| {
        let entries = fs::read_dir(folder.join(provider)).unwrap().map(Result::unwrap);
        let name = |e: fs::DirEntry| format!("{provider}/{}", e.file_name().to_str().unwrap());
        entries.map(name).collect::<Vec<_>>()
    };
    PROVIDERS.into_iter().flat_map(of).collect()
}

/// R4, R6, R21, R49, R50, R71: each file in a fresh project.
#[tokio::test(flavor = "multi_thread")]
async fn real_input() {
    let Some(files) = files() else { return };
    let doors =
        Doors::open(EVERYTHING, &files.iter().map(File::configured).collect::<String>()).await;
    let mut sent = Vec::new();
    for file in &files {
        sent.push((file.send_to(&doors, &file.source).await, file));
    }
    doors.fleet.settled().await;
    let (log, mut observed) = (doors.in_log().await, doors.observed().await);
    let (mut facts, mut opened, mut resting) = (0, BTreeSet::new(), 0);
    for (id, file) in sent {
        assert_eq!(log[&id].raw, file.raw, "{}: the log holds the bytes as sent", file.name);
        let shown = doors.shown(id, &mut observed).await;
        shown.check(&file.name, &file.raw);
        facts += becomes(file, &shown);
        let compared = Compared { file, shown: &shown };
        let (compared, not_shown) = compared.all();
        facts += compared;
        resting += not_shown;
        let incidents = shown.alerts.iter().filter_map(|a| a.observed.incident);
        opened.extend(incidents.map(|i| i.to_string()));
    }
    // What opened an incident was told once, where it is to be told by a message of its own; why it is
    // not stands in its notice.
    let told = doors.fleet.receiver.seen();
    let fires: Vec<String> = told
        .of_type("incident.fire")
        .iter()
        .map(|body| body["data"]["incident_id"].as_str().unwrap().to_owned())
        .collect();
    let (planned, noticed) = doors.noticed().await;
    assert!(!planned.is_empty() && planned.is_subset(&opened), "{planned:?}");
    assert_eq!(opened.difference(&noticed).next(), None, "each has a notice");
    assert_eq!(told.invalid, Vec::<String>::new());
    let once = (planned.len(), planned);
    assert_eq!((fires.len(), fires.into_iter().collect::<BTreeSet<_>>()), once);
    println!(
        "corpus: {} files, {facts} facts compared; {resting} facts of files that are no alert \
         rest in the log with their bytes",
        files.len()
    );
    assert!(files.len() >= 28 && facts > 250, "{} {facts}", files.len());
}

/// What a file becomes in a project that has seen nothing yet.
fn becomes(file: &File, shown: &Shown) -> usize {
    let expect = file.expect();
    let word = |name: &str| expect[name].as_str().unwrap_or_default();
    let recorded = |reason| ("recorded", json!(reason), false);
    let (outcome, reason, alerts) =
        match (word("disposition"), word("action"), file.entry["kind"].as_str().unwrap()) {
            ("alert", _, _) => ("observed", Value::Null, true),
            ("lifecycle", "ignored" | "archived", _) => ("observed", Value::Null, true),
            // Whose it is changes neither the problem nor its episode.
            ("lifecycle", "assigned", _) => recorded("issue_assigned"),
            ("lifecycle", "created", "comment.created") => recorded("comment"),
            ("lifecycle", "root_cause_completed", _) => recorded("seer"),
            ("control", "created", "installation.created") => recorded("installation"),
            other => panic!("{}: nobody says what becomes of {other:?}", file.name),
        };
    assert_eq!(shown.outcome(), outcome, "{}", file.name);
    assert_eq!(shown.delivery["reason"], reason, "{}", file.name);
    assert_eq!(!shown.alerts.is_empty(), alerts, "{}", file.name);
    for alert in &shown.alerts {
        let status = alert.get("status");
        let (effect, stage) = match status.as_str().unwrap() {
            "firing" => ("opened", "received"),
            "resolved" => ("nothing_to_close", "resolved"),
            "suppressed" => ("nothing_to_close", "received"),
            other => panic!("{}: status {other}", file.name),
        };
        assert_eq!(alert.get("effect"), effect, "{}", file.name);
        assert_eq!(alert.get("stage"), stage, "{}", file.name);
        assert_eq!(alert.get("incident_id").is_string(), effect == "opened", "{}", file.name);
    }
    3 + 2 * shown.alerts.len()
}

struct Compared<'a> {
    file: &'a File,
    shown: &'a Shown,
}

impl Compared<'_> {
    /// Compares every field of the expectation; says how many facts were compared and how many
    /// belong to no alert and so are shown nowhere.
    fn all(&self) -> (usize, usize) {
        let (mut compared, mut not_shown) = (0, 0);
        for (name, expected) in self.file.expect().as_object().unwrap() {
            match name.as_str() {
                // For readers of the index.
                "notes" | "dedupe_hint" | "fingerprint_check" => {}
                "disposition" => compared += 1,
                "secret_fields" => compared += self.secret_fields(expected),
                "alerts" if self.shown.outcome() == "observed" => {
                    self.equal(name, expected, &json!(self.shown.alerts.len()));
                    compared += 1;
                }
                _ if self.shown.alerts.is_empty() => not_shown += 1,
                _ => compared += self.one(name, expected),
            }
        }
        (compared, not_shown)
    }

    fn equal(&self, name: &str, expected: &Value, found: &Value) {
        assert!(same(expected, found), "{} {name}: {expected} but {found}", self.file.name);
    }

    /// One field, over all alerts.
    fn one(&self, name: &str, expected: &Value) -> usize {
        let statuses: Vec<Value> = self.shown.alerts.iter().map(|a| a.get("status")).collect();
        match name {
            "firing" | "resolved" => {
                let count = statuses.iter().filter(|s| *s == name).count();
                self.equal(name, expected, &json!(count));
                return 1;
            }
            "alerts_detail" => {
                let details = expected.as_array().unwrap();
                assert_eq!(details.len(), self.shown.alerts.len(), "{}", self.file.name);
                let each = details.iter().zip(&self.shown.alerts);
                return each.map(|(detail, alert)| self.detail(detail, alert)).sum();
            }
            "truncated" => {
                for alert in &self.shown.alerts {
                    let notes = alert.observed.alert.notes.join(" ");
                    let said = notes.contains(&format!("left out {expected} alerts"));
                    assert_eq!(said, *expected != 0, "{}: {notes}", self.file.name);
                }
                return 1;
            }
            // Of a group: its members' own statuses are in the details.
            "status" if self.file.provider == "alertmanager" => {
                assert!(statuses.contains(expected), "{} {statuses:?}", self.file.name);
                return 1;
            }
            _ => {}
        }
        if OF_GROUP.contains(&name) {
            return 0;
        }
        self.shown.alerts.iter().map(|alert| self.fact(name, expected, alert)).sum()
    }

    /// What the index says of one alert of a group.
    fn detail(&self, detail: &Value, alert: &ShownAlert) -> usize {
        let mut compared = 0;
        for (name, expected) in detail.as_object().unwrap() {
            compared += match name.as_str() {
                "name" => self.fact("title", expected, alert),
                // Not stated: computed from the labels.
                "fingerprint" if expected.is_null() => {
                    assert!(!alert.observed.alert.notes.is_empty(), "{}", self.file.name);
                    1
                }
                "fingerprint" => self.fact("computed_fingerprint", expected, alert),
                other => self.fact(other, expected, alert),
            };
        }
        compared
    }

    /// One field of one alert.
    fn fact(&self, name: &str, expected: &Value, alert: &ShownAlert) -> usize {
        let sentry = self.file.provider == "sentry";
        let ours = match name {
            "title" | "status" | "severity_raw" | "environment" | "service" | "started_at"
            | "ended_at" | "first_seen" => name,
            "source_url" => "url",
            "last_seen" => "provider_ts",
            "computed_fingerprint" => "issue_id",
            "project_slug_from_url" => "sender_project",
            // Alertmanager knows no projects: the index means the job.
            "project" if !sentry => "service",
            "project" if self.file.expect()["project_slug_from_url"].is_string() => {
                let number = format!("project:{}", expected.as_str().unwrap());
                self.equal(name, &json!(number), &alert.get("identity")[0]);
                return 1;
            }
            "project" => "sender_project",
            "occurrences" => {
                let count: u64 = expected.as_str().unwrap().parse().unwrap();
                self.equal(name, &json!(count), &alert.get("count"));
                return 1;
            }
            "summary" | "description" => return self.text(name, expected, alert),
            "ids" => return self.ids(expected, alert),
            "substatus" | "priority" => return self.annotation(name, name, expected, alert),
            "category" => return self.annotation(name, "issueCategory", expected, alert),
            "activity_type" => return self.annotation(name, "activity", expected, alert),
            "rule" if alert.get("alertname") == *expected => return 1,
            "rule" => return self.annotation(name, "triggered_rule", expected, alert),
            "action" | "status_raw" | "assignee" | "actor" | "fingerprint" | "hashes"
            | "settings" => return self.content(name, expected, alert),
            other => panic!("{}: nobody compares {other}", self.file.name),
        };
        self.equal(name, expected, &alert.get(ours));
        1
    }

    fn text(&self, name: &str, expected: &Value, alert: &ShownAlert) -> usize {
        let Some(text) = expected.as_str() else { return 0 };
        let message = alert.get("message");
        let said = message.as_str().is_some_and(|m| m.contains(text));
        let found = said || alert.get("culprit") == *expected;
        assert!(found, "{} {name}: {text:?} but {message}", self.file.name);
        1
    }

    fn annotation(&self, name: &str, ours: &str, expected: &Value, alert: &ShownAlert) -> usize {
        let found = alert.observed.alert.facts.annotation(ours);
        self.equal(name, expected, &json!(found));
        1
    }

    /// What no column has: it stands in the redacted content, which people read.
    fn content(&self, name: &str, expected: &Value, alert: &ShownAlert) -> usize {
        let content: Value =
            serde_json::from_str(alert.dossier["content_redacted"].as_str().unwrap()).unwrap();
        let mut wanted = Vec::new();
        leaves(expected, &mut wanted);
        let mut there = Vec::new();
        leaves(&content, &mut there);
        for leaf in &wanted {
            assert!(there.contains(leaf), "{} {name}: {leaf} not in {content}", self.file.name);
        }
        wanted.len()
    }

    fn ids(&self, expected: &Value, alert: &ShownAlert) -> usize {
        let refs = &alert.dossier["source_refs"]["sentry"];
        let ids = expected.as_object().unwrap();
        for (name, id) in ids {
            let id = id.as_str().unwrap();
            let prefix = match name.as_str() {
                "issue_id" | "issue_id_from_url" => "issue",
                "short_id" => "short_id",
                "event_id" => "event",
                "incident_id" => "incident",
                "alert_rule_id" => "alert_rule",
                // Names of the installation and of pages: for people.
                "installation" | "incident_identifier" | "alert_id" => {
                    let content = alert.dossier["content_redacted"].as_str().unwrap();
                    assert!(content.contains(id), "{} {name}: {id}", self.file.name);
                    continue;
                }
                other => panic!("{}: nobody looks for id {other}", self.file.name),
            };
            let wanted = json!(format!("{prefix}:{id}"));
            let known = refs.as_array().unwrap().contains(&wanted);
            assert!(known, "{} {name}: {wanted} not in {refs}", self.file.name);
        }
        ids.len()
    }

    /// R51: what the index calls secret stands in no answer.
    fn secret_fields(&self, expected: &Value) -> usize {
        let raw: Value = serde_json::from_slice(&self.file.raw).unwrap();
        for path in expected.as_array().unwrap() {
            let secret = path.as_str().unwrap().split('.').fold(&raw, |v, step| &v[step]);
            let secret = secret.as_str().unwrap();
            let shown = self.shown.delivery.to_string();
            assert!(!shown.contains(secret), "{} shows {path}", self.file.name);
        }
        expected.as_array().unwrap().len()
    }
}

/// Every text and number inside a value.
fn leaves(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|v| leaves(v, found)),
        Value::Object(map) => map.values().for_each(|v| leaves(v, found)),
        leaf => found.push(leaf.clone()),
    }
}

/// A file, and the effect of each of its alerts.
type Step = (&'static str, &'static [&'static str]);

/// Files that the index pairs, in one project each, and how many incidents that makes.
const STORIES: [(&str, &[Step], usize); 5] = [
    (
        // An archived issue that comes back is a new incident (R4).
        "reappears",
        &[
            ("sentry/issue.created.docs-2025.json", &["opened"]),
            ("sentry/issue.archived.derived.json", &["suppressed"]),
            ("sentry/issue.unresolved-regressed.derived.json", &["opened"]),
        ],
        2,
    ),
    (
        // The issue and its first event are one occurrence (R4).
        "one-occurrence",
        &[
            ("sentry/issue.created.docs-2019.json", &["opened"]),
            ("sentry/error.created.docs.json", &["same_occurrence"]),
        ],
        1,
    ),
    (
        // Nothing fired: an assignment, a resolve and an ignore open nothing.
        "never-fired",
        &[
            ("sentry/issue.assigned-team.captured-2020.json", &[]),
            ("sentry/issue.resolved.captured-2020.json", &["nothing_to_close"]),
            ("sentry/issue.ignored.captured-2020.json", &["nothing_to_close"]),
        ],
        0,
    ),
    (
        // Resolved by fingerprint (R6).
        "resolved",
        &[
            ("alertmanager/firing-2.goalert.json", &["opened", "opened"]),
            ("alertmanager/resolved-truncated-0.34.derived.json", &["resolved", "resolved"]),
        ],
        2,
    ),
    (
        // Each alert's own status decides, not that of its group (R6).
        "mixed",
        &[
            ("alertmanager/firing-2.goalert.json", &["opened", "opened"]),
            ("alertmanager/mixed-firing-resolved.derived.json", &["repeated", "resolved"]),
        ],
        2,
    ),
];

/// R4, R6: what the index says of files that belong together.
#[tokio::test(flavor = "multi_thread")]
async fn r4_r6_files_of_one_problem_make_one_story() {
    let Some(files) = files() else { return };
    let files: BTreeMap<&str, &File> = files.iter().map(|f| (f.name.as_str(), f)).collect();
    let sources: String = STORIES
        .iter()
        .map(|(story, steps, _)| {
            let first = files[steps[0].0];
            configured(story, &first.provider, &first.entry)
        })
        .collect();
    let doors = Doors::open(EVERYTHING, &sources).await;
    for (story, steps, incidents) in STORIES {
        let mut seen = BTreeSet::new();
        for (name, effects) in steps {
            let id = files[name].send_to(&doors, story).await;
            let delivery = doors.delivery(id).await;
            let alerts = delivery["alerts"].as_array().unwrap();
            let is: Vec<&str> = alerts.iter().map(|a| a["effect"].as_str().unwrap()).collect();
            assert_eq!(is, *effects, "{story} {name}");
            seen.extend(alerts.iter().filter_map(|a| a["incident_id"].as_str().map(String::from)));
        }
        assert_eq!(seen.len(), incidents, "{story}");
    }
    doors.fleet.settled().await;
    let seen = doors.fleet.receiver.seen();
    // Every opening is told and every resolve of what was told; what was suppressed is not.
    // The regression of the first came within the hour of its message, which says so (R43).
    assert_eq!(seen.of_type("incident.fire").len(), 1 + 1 + 2 + 2);
    assert_eq!(seen.of_type("incident.resolve").len(), 2 + 1);
}
