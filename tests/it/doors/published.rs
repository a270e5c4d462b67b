//! Every other published payload through the doors: with its published headers and signature where
//! they hold, signed anew where they are too old, and every fact its index states is found again in
//! what was folded of it.
//!
//! The corpus lies beside the project and is no part of it; without it this test says so.

use std::{collections::BTreeMap, fs, process::Command};

use domain::{
    providers::{self, Normalised, Outgoing, Proof, Provider, Reading, Secret},
    redact::Redactor,
};
use runtime::Clock;
use schemas::{Alert, ProjectId, Time, record::Delivery};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Answer, Doors, EVERYTHING, Shown, headers_of, in_project, source};

#[path = "../../../domain/src/providers/tests/corpus/said.rs"]
mod said;

/// Folders that another test sends, in more depth.
const SENT_ELSEWHERE: [&str; 2] = ["alertmanager", "sentry"];

/// Headers that say when a request was signed: it is believed for five minutes.
const SIGNED_AT: [&str; 4] = [
    "x-grafana-alerting-timestamp",
    "webhook-timestamp",
    "x-slack-request-timestamp",
    "x-lark-request-timestamp",
];

/// Confirming it would ask AWS, so its topic is listed nowhere and it is turned away.
const UNASKED: &str = "aws-sns/subscription-confirmation.alerta.json";
/// Nobody signs this way any more, and the signature it has is too old.
const OUTDATED: &str = "lark/legacy-card-callback.docs.json";
/// Its fields are mapped by the rules, as whoever sets it up has to.
const MAPPED: &str = "custom/minimal-riemann.alerta.json";

/// One payload, and how it is sent.
struct Payload {
    file: String,
    provider: &'static dyn Provider,
    index: Value,
    raw: Vec<u8>,
    /// Its source, and its project.
    id: String,
    /// What it was published with, with names in lower case.
    headers: Vec<(String, String)>,
    proof: Proves,
}

/// What lets it in.
enum Proves {
    /// What it was published with: the source is configured to take this.
    Published(Secret),
    /// The same secret, and a signature of today: the one it was published with is too old.
    Anew(Secret),
    /// Some secret its source may have, as nothing was published.
    Ours(Secret),
    /// Where it comes from, as only AWS can sign.
    Address,
}

impl Payload {
    fn new(folder: &std::path::Path, number: usize, index: &Value) -> Self {
        let file = index["file"].as_str().unwrap().to_owned();
        let name = file.split('/').next().unwrap().trim_end_matches("-legacy");
        let provider = providers::by_name(name).unwrap();
        let raw = match index["http"]["form_body"].as_str() {
            Some(form) => form.as_bytes().to_vec(),
            None => fs::read(folder.join(&file)).unwrap(),
        };
        let mut headers = headers_of(&index["http"]["headers"]);
        headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        if !headers.iter().any(|(name, _)| name == "content-type") {
            let content_type = index["http"]["content_type"].as_str().unwrap();
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        let proof = proof(provider, index, &headers, &raw);
        let (index, id) = (index.clone(), format!("p{number:02}"));
        Self { file, provider, index, raw, id, headers, proof }
    }

    fn expect(&self) -> &Value {
        &self.index["expect"]
    }

    fn configured(&self) -> String {
        let credential = match &self.proof {
            Proves::Published(secret) | Proves::Anew(secret) | Proves::Ours(secret) => {
                in_configuration(secret)
            }
            Proves::Address => "require = \"address\"\nallowed_ips = [\"127.0.0.0/8\"]".to_owned(),
        };
        let senders = match self.provider.names_senders() {
            false => String::new(),
            true if self.file == UNASKED => {
                "\nsenders = [\"arn:aws:sns:eu-west-1:1:a\"]".to_owned()
            }
            true => match self.expect()["ids"]["topic_arn"]
                .as_str()
                .or(self.header("x-amz-sns-topic-arn"))
            {
                Some(topic) => format!("\nsenders = [\"{topic}\"]"),
                None => "\nsenders = [\"*\"]".to_owned(),
            },
        };
        source(&self.id, self.provider.name(), &format!("{credential}{senders}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Sends it as it was published.
    async fn published(&self, doors: &Doors) -> Answer {
        doors.post(&self.path(None), &self.headers, self.raw.clone()).await
    }

    /// Sends it so that it is believed; the bytes that were sent.
    async fn send(&self, doors: &Doors) -> (Answer, Vec<u8>) {
        let secret = match &self.proof {
            Proves::Published(_) | Proves::Address => {
                return (self.published(doors).await, self.raw.clone());
            }
            Proves::Anew(secret) | Proves::Ours(secret) => secret,
        };
        let id = self.header("webhook-id").unwrap_or("corpus-0001");
        let outgoing = Outgoing { sent_at: Clock::system().now(), id, body: &self.raw };
        let Proof { headers, token, body } = self.provider.sign(&outgoing, secret).unwrap();
        let kept = self.headers.iter().filter(|(name, _)| {
            !SIGNED_AT.contains(&name.as_str())
                && !name.ends_with("-signature")
                && headers.iter().all(|(other, _)| other != name)
        });
        let all: Vec<_> = kept.cloned().chain(headers.clone()).collect();
        let body = body.unwrap_or_else(|| self.raw.clone());
        (doors.post(&self.path(token.as_deref()), &all, body.clone()).await, body)
    }

    fn path(&self, token: Option<&str>) -> String {
        let token = token.map_or_else(String::new, |token| format!("/{token}"));
        format!("/webhook/{}/{}{token}", self.provider.name(), self.id)
    }

    /// What is stored of it: opened, where it is sealed.
    fn is_stored(&self, sent: &[u8], stored: &[u8]) {
        match self.expect()["plaintext_sha256"].as_str() {
            Some(sha256) => {
                assert_eq!(const_hex::encode(Sha256::digest(stored)), sha256, "{}", self.file);
            }
            None => assert!(sent == stored, "{}: the log holds the bytes as sent", self.file),
        }
    }
}

/// What lets a payload in, by what it was published with.
fn proof(
    provider: &dyn Provider,
    index: &Value,
    headers: &[(String, String)],
    raw: &[u8],
) -> Proves {
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    if provider.name() == "aws-sns" {
        return Proves::Address;
    }
    if let Some(secret) = index["http"]["signature"]["secret"].as_str() {
        let scheme = index["http"]["signature"]["scheme"].as_str().unwrap();
        let secret = match scheme {
            "lark-legacy-card-sha1" => Secret::Token(secret.to_owned()),
            _ => Secret::Signing(secret.as_bytes().to_vec()),
        };
        let dated = SIGNED_AT.iter().any(|name| header(name).is_some());
        return if dated { Proves::Anew(secret) } else { Proves::Published(secret) };
    }
    let body: Value = serde_json::from_slice(raw).unwrap_or_default();
    let shown = header("x-gitlab-token")
        .or(header("x-telegram-bot-api-secret-token"))
        .or(body["header"]["token"].as_str())
        .or(body["routing_key"].as_str())
        .or(body["token"].as_str());
    if let (Some(token), true) = (shown, takes(provider, &Secret::Token("t".to_owned()))) {
        return Proves::Published(Secret::Token(token.to_owned()));
    }
    let ours = || "a-secret-of-the-corpus".to_owned();
    let secrets = [
        Secret::Basic { user: "corpus".to_owned(), password: ours() },
        Secret::Signing(ours().into_bytes()),
        Secret::Bearer(ours()),
        Secret::Token(ours()),
    ];
    Proves::Ours(secrets.into_iter().find(|secret| takes(provider, secret)).unwrap())
}

fn takes(provider: &dyn Provider, secret: &Secret) -> bool {
    provider.accepts(&secret.credential(""))
}

fn in_configuration(secret: &Secret) -> String {
    match secret {
        Secret::Signing(secret) => format!("secret = {}", json!(String::from_utf8_lossy(secret))),
        Secret::Basic { user, password } => {
            format!("basic = {{ user = \"{user}\", password = \"{password}\" }}")
        }
        Secret::Bearer(key) => format!("bearer = [{{ key = \"{key}\" }}]"),
        Secret::Token(token) => format!("token = {}", json!(token)),
    }
}

fn payloads() -> Option<Vec<Payload>> {
    let folder = in_project("../shared/corpus");
    let Ok(index) = fs::read(folder.join("index.json")) else {
        println!("the corpus {} is not present: nothing is sent", folder.display());
        return None;
    };
    let index: Value = serde_json::from_slice(&index).unwrap();
    let others = index["entries"].as_array().unwrap().iter().filter(|entry| {
        let folder = entry["file"].as_str().unwrap().split('/').next().unwrap();
        !SENT_ELSEWHERE.contains(&folder)
    });
    Some(others.enumerate().map(|(n, entry)| Payload::new(&folder, n, entry)).collect())
}

/// Puts rules in force that map the fields of the source which needs it.
fn map_fields(doors: &Doors, payloads: &[Payload]) {
    let id = &payloads.iter().find(|payload| payload.file == MAPPED).unwrap().id;
    let file = doors.fleet.world.dir.path().join("rules.toml");
    let text = format!(
        "[project.{id}.fields.{id}]\nseverity = \"state\"\n\n[[defaults.routes]]\nname = \"all\"\n\
         receivers = [\"default\"]\n"
    );
    fs::write(&file, text).unwrap();
    let mut apply = Command::new(crate::newcomer::bellwether());
    apply.args(["rules", "apply"]).arg(&file).arg("--config").arg(doors.fleet.config());
    let output = apply.env("USER", "ada").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// R4, R6, R11, R21, R23: each in a fresh project.
#[tokio::test(flavor = "multi_thread")]
async fn r11_r23_every_published_payload_is_let_in_and_says_what_its_index_says() {
    let Some(payloads) = payloads() else { return };
    let sources: String = payloads.iter().map(Payload::configured).collect();
    let doors = Doors::open(EVERYTHING, &sources).await;
    map_fields(&doors, &payloads);
    let mut sent = Vec::new();
    let mut too_old = 0;
    for payload in &payloads {
        let file = &payload.file;
        if matches!(payload.proof, Proves::Anew(_)) {
            // The signature holds, or it would be called another: only its time is over.
            let answer = payload.published(&doors).await;
            assert_eq!(answer.status, 401, "{file}: {}", answer.text);
            assert!(answer.text.contains("\"signature_stale\""), "{file}: {}", answer.text);
            too_old += 1;
        }
        if file == OUTDATED {
            continue;
        }
        let (answer, bytes) = payload.send(&doors).await;
        if file == UNASKED {
            assert_eq!(answer.status, 403, "{file}: {}", answer.text);
            continue;
        }
        assert!((200..300).contains(&answer.status), "{file}: {} {}", answer.status, answer.text);
        if let Some(reply) = payload.expect().get("reply") {
            assert_eq!(serde_json::from_str::<Value>(&answer.text).unwrap(), *reply, "{file}");
            continue;
        }
        sent.push((payload, bytes));
    }
    doors.fleet.settled().await;
    let mut observed = doors.observed().await;
    let by_source: BTreeMap<String, (Uuid, Delivery)> =
        doors.in_log().await.into_iter().map(|(id, d)| (d.source.to_string(), (id, d))).collect();
    let mut facts = 0;
    for (payload, bytes) in &sent {
        let (id, delivery) = &by_source[&payload.id];
        payload.is_stored(bytes, &delivery.raw);
        let shown = doors.shown(*id, &mut observed).await;
        facts += became(payload, delivery, &shown);
    }
    println!(
        "corpus: {} payloads of others sent, {too_old} first with a signature that is too old, \
         {facts} facts compared",
        sent.len()
    );
    assert!(sent.len() >= 50 && too_old >= 5 && facts > 350, "{} {facts}", sent.len());
}

/// What became of a payload is what its index says; how many facts were compared.
fn became(payload: &Payload, delivery: &Delivery, shown: &Shown) -> usize {
    let (file, expect) = (payload.file.as_str(), payload.expect());
    let outcome = shown.outcome();
    match expect["disposition"].as_str().unwrap() {
        "alert" | "lifecycle" if outcome == "observed" => {
            shown.check(file, &delivery.raw);
            let alerts: Vec<Alert> =
                shown.alerts.iter().map(|alert| alert.observed.alert.clone()).collect();
            let key = key(payload.provider, delivery);
            1 + said::alerts_of(file, expect, &alerts, key.as_deref())
        }
        // Below what is an alert, or about one that is known.
        "lifecycle" | "control" | "log" => {
            assert_eq!(outcome, "recorded", "{file}: {}", shown.delivery);
            assert!(shown.delivery["reason"].is_string(), "{file}: {}", shown.delivery);
            1
        }
        // Nobody here is known by these chats' users, so whatever they ask for is refused: said, and
        // done by nobody.
        "interaction" => {
            assert!(["recorded", "command"].contains(&outcome), "{file}: {}", shown.delivery);
            1
        }
        disposition => panic!("{file} is {disposition}: {}", shown.delivery),
    }
}

/// What the delivery is known by when it comes again: by what was stored of it alone.
fn key(provider: &dyn Provider, delivery: &Delivery) -> Option<String> {
    let project = ProjectId::new("shop").unwrap();
    let reading = Reading { project: &project, redactor: Redactor::builtin(), fields: None };
    match providers::normalise(provider, delivery, &reading) {
        Normalised::Alerts { key, .. } => key.map(|key| key.key),
        Normalised::Interaction { .. }
        | Normalised::Recorded { .. }
        | Normalised::Rejected { .. } => None,
    }
}

/// Times are compared as times, also where the index has them as the payload writes them.
fn same(expected: &Value, found: &Value) -> bool {
    let time = |text: &str| {
        let text = text.replacen(' ', "T", 1).replace(" UTC", "Z").replace(' ', "");
        let (rest, offset) = text.split_at_checked(text.len().checked_sub(5)?)?;
        let text = match offset.starts_with(['+', '-']) {
            true => format!("{rest}{}:{}", &offset[..3], &offset[3..]),
            false => text,
        };
        text.parse::<Time>().ok()
    };
    let times = [expected, found].map(|value| value.as_str().and_then(time));
    super::same(expected, found) || (times[0].is_some() && times[0] == times[1])
}

/// The facts and the sender's time, as one JSON object.
fn flat(alert: &Alert) -> Value {
    let mut all = serde_json::to_value(&alert.facts).unwrap();
    all["provider_ts"] = json!(alert.provider_ts);
    all
}
