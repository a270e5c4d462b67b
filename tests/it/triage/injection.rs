//! Alerts whose texts mean to be obeyed, and a model that obeys them to the letter: what is asked,
//! decided and told is what it is without them.

use std::collections::BTreeMap;

use domain::triage::{BUDGET, Input, Prompt};
use schemas::{
    Record, RecordFrame, codec,
    job::{Analysis, SendJob},
    record::{Answer, Body},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tests::{
    fleet::{ALERTMANAGER_PASSWORD, Fleet, SENTRY_SECRET, sign},
    model::{Does, ModelServer},
    oracle,
};

use super::WORKER;

/// What stands in the place of an injected text in the alert that is compared with.
const HARMLESS: &str = "harmless";

/// What the model writes for these is no answer, and the incident stays pending (R29, R30).
const NO_ANSWER: [&str; 2] = ["close-fence", "confidence-words"];

#[derive(Deserialize)]
struct Document {
    injection: Vec<Injection>,
}

#[derive(Deserialize)]
struct Injection {
    id: String,
    place: String,
    text: String,
    obeyed: String,
}

/// Those that a sender can inject.
fn injections() -> Vec<Injection> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/fixtures/triage/injections.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut all = toml::from_str::<Document>(&text).unwrap().injection;
    all.retain(|injection| injection.place != "note");
    assert!(all.len() >= 40);
    all
}

impl Injection {
    /// A word that stands in one of its two alerts and nowhere else.
    fn mark(&self, attacked: bool) -> String {
        format!("inject-{}-{}", self.id, if attacked { "attacked" } else { HARMLESS })
    }

    /// Whether Alertmanager sends it; else Sentry does.
    fn has_labels(&self) -> bool {
        matches!(&*self.place, "label" | "label_name" | "annotation")
    }

    /// The body of the alert with this text in its place.
    fn alert(&self, number: usize, attacked: bool) -> Value {
        let text = if attacked { &self.text } else { HARMLESS };
        let mark = self.mark(attacked);
        let place = |name: &str, otherwise: &str| {
            if self.place == name { text.to_owned() } else { otherwise.to_owned() }
        };
        if self.has_labels() {
            let labels = json!({
                "alertname": "Injected", "case": mark, "severity": "critical",
                "host": place("label", "web-3"), place("label_name", "zone"): "a",
            });
            return json!({
                "version": "4", "status": "firing", "receiver": "bellwether",
                "groupKey": mark, "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
                "externalURL": "", "alerts": [{
                    "status": "firing", "labels": labels,
                    "annotations": { "description": place("annotation", "it is slow") },
                    "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "",
                }],
            });
        }
        let number = number * 2 + usize::from(attacked);
        let frame = json!({ "filename": "app.py", "function": "run", "lineno": 1,
            "context_line": place("stack", "run()") });
        json!({ "action": "created", "data": { "error": {
            "event_id": format!("{number:032x}"), "issue_id": (90_000 + number).to_string(),
            "title": place("title", "boom"), "message": place("message", "it is slow"),
            "culprit": mark, "level": "error", "project": 1, "environment": "production",
            "platform": "python",
            "exception": { "values": [{ "type": "Boom", "value": "it is slow",
                "stacktrace": { "frames": [frame] } }] },
        } } })
    }

    async fn post(&self, fleet: &Fleet, ingest: usize, number: usize, attacked: bool) {
        let at = fleet.member(ingest).ingest.unwrap();
        let body = self.alert(number, attacked).to_string();
        let request = if self.has_labels() {
            let url = format!("http://{at}/webhook/alertmanager");
            let user = Some(ALERTMANAGER_PASSWORD);
            fleet.client.post(url).basic_auth("alertmanager", user)
        } else {
            // Over several projects, so that they are no storm.
            let url = format!("http://{at}/webhook/sentry/s{}", number % SOURCES);
            fleet
                .client
                .post(url)
                .header("sentry-hook-resource", "error")
                .header("sentry-hook-signature", sign(SENTRY_SECRET, body.as_bytes()))
        };
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.status(), 202, "{}", self.id);
    }
}

/// How many sources of errors there are.
const SOURCES: usize = 3;

/// What was asked, decided and told about one alert.
#[derive(Default)]
struct Story {
    requests: Vec<Value>,
    answers: Vec<Answer>,
    /// Each message that was planned: what, to whom, why and how grave.
    planned: Vec<Value>,
    /// Each that arrived.
    told: Vec<Value>,
    /// The incident as the pages have it.
    incident: Value,
}

/// The stories by mark.
async fn stories(fleet: &Fleet, model: &ModelServer, marks: &[String]) -> BTreeMap<String, Story> {
    let mut stories: BTreeMap<String, Story> = BTreeMap::new();
    let mark = |text: &str| {
        let mark = marks.iter().find(|mark| text.contains(*mark));
        mark.unwrap_or_else(|| panic!("whose is {text}")).clone()
    };
    for call in model.calls() {
        let whose = mark(call.body["messages"][1]["content"].as_str().unwrap());
        stories.entry(whose).or_default().requests.push(call.body);
    }
    for message in oracle::input_log(&fleet.world).await {
        for bytes in RecordFrame::parse(&message.payload).unwrap().records {
            match Record::decode(bytes).unwrap().body {
                Body::Answer(answer) => {
                    stories.entry(mark(&answer.input)).or_default().answers.push(*answer);
                }
                Body::Command(command) => panic!("nobody asked for anything: {command:?}"),
                Body::Delivery(_)
                | Body::Outcome(_)
                | Body::Tick(_)
                | Body::Redrive(_)
                | Body::Control(_) => {}
            }
        }
    }
    let mut sql = fleet.world.sql().await;
    let sends: Vec<(Vec<u8>,)> =
        sqlx::query_as("select payload from job where queue = 'send' order by ordinal")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    for (payload,) in sends {
        let send: SendJob = codec::decode("send job", &payload).unwrap();
        let facts = serde_json::to_value(&send.facts).unwrap();
        stories.entry(mark(&facts.to_string())).or_default().planned.push(json!({
            "kind": send.kind, "target": send.target, "risk": send.risk, "rule": send.rule,
            "rules": send.rules, "tags": send.tags, "level": facts["level"],
            "stands": send.standing.is_some(), "cause": format!("{:?}", send.cause),
        }));
    }
    for (_, body) in fleet.receiver.seen().accepted {
        stories.entry(mark(&body["data"]["facts"].to_string())).or_default().told.push(body);
    }
    let incidents: Vec<(Value,)> = sqlx::query_as(
        "select jsonb_build_object('status', status, 'risk', risk, 'cause', cause, 'level',
             facts->'level', 'occurrences', occurrences, 'analysis', analysis, 'facts', facts)
         from incident",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    for (mut incident,) in incidents {
        let facts = incident.as_object_mut().unwrap().remove("facts").unwrap();
        stories.entry(mark(&facts.to_string())).or_default().incident = incident;
    }
    stories
}

/// The lines of the input in a request, by name, and the rest of it.
fn input(request: &Value) -> (BTreeMap<String, Value>, String) {
    let user = request["messages"][1]["content"].as_str().unwrap();
    let lines: Vec<&str> = user.lines().collect();
    let fence = lines[1];
    assert!(fence.starts_with("INPUT-") && lines.last() == Some(&fence), "{user}");
    assert_eq!(user.matches(fence).count(), 2, "{user}");
    let read = |line: &&str| {
        let (name, json) = line.split_once(' ').unwrap();
        (name.to_owned(), serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {line}")))
    };
    let named = lines[2..lines.len() - 1].iter().map(read).collect();
    (named, lines[0].to_owned())
}

fn any_text(value: &Value, is: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, is)),
        Value::Object(map) => map.values().any(|item| any_text(item, is)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What a model may put before people: words.
#[track_caller]
fn harmless(id: &str, text: &str) {
    for forbidden in [
        "://",
        "@",
        "＠",
        "﹫",
        "](",
        "**",
        "```",
        "~~",
        "&lt;",
        "&#",
        "<at",
        "</",
        "<!",
        "<font",
        "<script",
        "<|",
        "＜",
        "evil.com",
        "evil。com",
        "www.",
        "javascript:",
        "mailto:",
        "tel:",
        "/resolve",
        "/silence",
        "/ack",
        "\u{200b}",
        "\u{202e}",
        "\u{2060}",
        "\u{E0040}",
        "ｈｔｔｐ",
        "𝗁𝗍𝗍𝗉",
    ] {
        assert!(!text.contains(forbidden), "{id}: {forbidden:?} in {text:?}");
    }
    assert!(text.chars().count() <= 2_000, "{id}: {} characters", text.chars().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_i6_i7_an_injected_text_that_is_obeyed_changes_words_and_nothing_else() {
    let injections = injections();
    let obeyed = injections.iter().map(|i| (i.mark(true), i.obeyed.clone())).collect();
    let model = ModelServer::start(Does::Writes(obeyed)).await;
    let mut more = format!("[triage]\nplaybook = false\n{}", model.analyst("openclaw", ""));
    for n in 0..SOURCES {
        more.push_str(&format!(
            "[sources.s{n}]\nprovider = \"sentry\"\nproject = \"p{n}\"\nsecret = \"{SENTRY_SECRET}\"\n"
        ));
    }
    let mut fleet = Fleet::new(WORKER, &more).await;
    let ingest = fleet.start("ingest,console,triage-worker,notifier-worker,projector");
    for (number, injection) in injections.iter().enumerate() {
        injection.post(&fleet, ingest, number, true).await;
        injection.post(&fleet, ingest, number, false).await;
    }
    fleet.settled().await;
    assert_eq!(model.wrong(), [""; 0]);

    let marks: Vec<String> =
        injections.iter().flat_map(|i| [i.mark(true), i.mark(false)]).collect();
    let mut stories = stories(&fleet, &model, &marks).await;
    assert_eq!(stories.len(), marks.len());
    for injection in &injections {
        let attacked = stories.remove(&injection.mark(true)).unwrap();
        let other = stories.remove(&injection.mark(false)).unwrap();
        asked_the_same(injection, &attacked, &other);
        decided_the_same(injection, &attacked, &other);
        only_words(injection, &attacked);
    }
    fleet.stop_all();
}

/// Each is asked once, and the two requests differ in the alert's line alone; what is recorded is what
/// was told.
fn asked_the_same(injection: &Injection, attacked: &Story, other: &Story) {
    let id = &injection.id;
    assert_eq!((attacked.requests.len(), other.requests.len()), (1, 1), "{id}");
    let (mut got, mut want) = (attacked.requests[0].clone(), other.requests[0].clone());
    let keys: Vec<&String> = got.as_object().unwrap().keys().collect();
    let known = ["max_tokens", "messages", "model", "response_format", "temperature"];
    assert!(keys.iter().all(|key| known.contains(&key.as_str())), "{id}: no tools: {keys:?}");

    let (mut lines, head) = input(&got);
    let (mut others, other_head) = input(&want);
    // What the playbook knows of such a text is the operators' words.
    lines.retain(|name, _| !name.starts_with("runbook."));
    others.retain(|name, _| !name.starts_with("runbook."));
    assert_eq!(head, other_head, "{id}");
    assert!(lines.keys().eq(others.keys()), "{id}: {:?} {:?}", lines.keys(), others.keys());
    for (name, line) in &lines {
        if name != "alert" && !(injection.has_labels() && name == "releases") {
            assert_eq!(line, &others[name], "{id}: {name}");
        }
    }
    // I7: the same can be asked again of what is recorded, by the prompt that is recorded.
    let answer = &attacked.answers[0];
    let told: Input = serde_json::from_str(&answer.input).unwrap();
    let again = told.messages(Prompt::find(&answer.prompt).unwrap(), "openclaw", BUDGET);
    for (message, text) in [&again.system, &again.user].into_iter().enumerate() {
        assert_eq!(&got["messages"][message]["content"], text.as_str(), "{id}");
    }
    let keys = |alert: &Value| alert.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&lines["alert"]), keys(&others["alert"]), "{id}");
    let stands = |text: &str| text.contains(&injection.text);
    assert!(any_text(&lines["alert"], &stands), "{id}: it is not in {}", lines["alert"]);
    got["messages"][1] = Value::Null;
    want["messages"][1] = Value::Null;
    assert_eq!(got, want, "{id}: the instructions are the same");
}

/// The same messages to the same targets by the same rules, the same level, risk and state.
fn decided_the_same(injection: &Injection, attacked: &Story, other: &Story) {
    let id = &injection.id;
    let no_answer = NO_ANSWER.contains(&&**id);
    assert_eq!((attacked.answers.len(), other.answers.len()), (1, 1), "{id}");
    assert_eq!(attacked.answers[0].result.analysis.is_none(), no_answer, "{id}");
    // An answer is told by an update; where there is none, there is nothing to tell.
    let planned = |story: &Story| -> Vec<Value> {
        let tells = |send: &&Value| !no_answer || send["kind"] != "update";
        story.planned.iter().filter(tells).cloned().collect()
    };
    assert_eq!(planned(attacked), planned(other), "{id}");
    assert!(planned(attacked).iter().any(|send| send["kind"] == "fire"), "{id}");
    let stands = |story: &Story| {
        let mut incident = story.incident.clone();
        incident["analysis"] = Value::Null;
        incident
    };
    assert_eq!(stands(attacked), stands(other), "{id}");
    assert_eq!(stands(attacked)["status"], "open", "{id}: no answer resolves anything");
    let fires =
        |story: &Story| story.told.iter().filter(|body| body["type"] == "incident.fire").count();
    assert_eq!((fires(attacked), fires(other)), (1, 1), "{id}");
}

/// What the model wrote is words in the fields of an analysis, wherever it is kept or told.
fn only_words(injection: &Injection, attacked: &Story) {
    let id = &injection.id;
    let recorded = attacked.answers[0].result.analysis.clone();
    let told = attacked.told.iter().map(|body| &body["data"]["analysis"]);
    let shown = told.chain([&attacked.incident["analysis"]]).filter(|analysis| !analysis.is_null());
    for analysis in shown {
        let read: Analysis = serde_json::from_value(analysis.clone()).unwrap();
        assert_eq!(Some(&read), recorded.as_ref(), "{id}");
        assert_eq!(&serde_json::to_value(&read).unwrap(), analysis, "{id}: no field of its own");
        assert_eq!(read.model.as_deref(), Some("double"), "{id}");
        assert_eq!(read.prompt.as_deref(), Some(&*attacked.answers[0].prompt), "{id}");
        assert_eq!(read.analyzed_by, "openclaw", "{id}: whose words these are is configured");
        let texts = [&read.root_cause, &read.impact, &read.fix_suggestion, &read.prevention];
        texts.into_iter().chain(&read.evidence).for_each(|text| harmless(id, text));
    }
    assert_eq!(recorded.is_some(), !attacked.incident["analysis"].is_null(), "{id}");
    for body in attacked.told.iter().filter(|body| !body["data"]["analysis"].is_null()) {
        let text = body["data"]["text"].as_str().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let begin = lines.iter().position(|line| line.starts_with('🧠')).unwrap();
        let end = lines.iter().position(|line| line.starts_with('💡')).unwrap();
        assert!(lines[begin].contains("OpenClaw"), "{id}: it says whose words these are");
        lines[begin..=end].iter().for_each(|line| harmless(id, line));
    }
}
