//! The project's own samples through the doors: what each expectation states is found again, and
//! sent a second time each is known again.

use std::fs;

use domain::providers::{self, Reply, Request};
use serde_json::{Value, json};
use tests::fleet::sign;
use uuid::Uuid;

use super::{Doors, EVERYTHING, basic, headers_of, in_project, same, source};

const SECRET: &str = "a-secret-of-the-samples";

/// One sample with what is expected of it.
pub(super) struct Sample {
    pub name: String,
    pub provider: &'static str,
    pub raw: Vec<u8>,
    pub expect: Value,
}

impl Sample {
    /// The sample of that name, such as `sentry/issue-created`.
    pub fn named(name: &str) -> Self {
        let mut all = samples();
        let at = all.iter().position(|s| s.name == name).unwrap();
        all.swap_remove(at)
    }

    /// Its source's configuration, under its own id and project.
    pub fn configured(&self, id: &str) -> String {
        let basic = format!("basic = {{ user = \"samples\", password = \"{SECRET}\" }}");
        let credential = match self.provider {
            "sentry" => format!("secret = \"{SECRET}\""),
            "custom" => format!("{basic}\nsenders = [\"*\"]"),
            "alertmanager" | "grafana" | "signoz" => basic,
            // What each of the others asks for is shown beside it; outside production they need
            // show nothing.
            _ => String::new(),
        };
        source(id, self.provider, &credential)
    }

    pub async fn send_to(&self, doors: &Doors, id: &str) -> Uuid {
        let mut headers = headers_of(&self.expect["headers"]);
        match self.provider {
            "sentry" => headers.push(("sentry-hook-signature".into(), sign(SECRET, &self.raw))),
            "alertmanager" | "custom" | "grafana" | "signoz" => {
                headers.push(("authorization".into(), basic("samples", SECRET)));
            }
            _ => {}
        }
        let path = format!("/webhook/{}/{id}", self.provider);
        doors.accepted(&path, &headers, &self.raw).await
    }
}

fn samples() -> Vec<Sample> {
    let mut found = Vec::new();
    for provider in providers::all().iter().map(|p| p.name()) {
        let folder = in_project("schemas/fixtures/providers").join(provider);
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some(stem) = name.strip_suffix(".expect.json") else { continue };
            let expect: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let raw = fs::read(folder.join(format!("{stem}.json"))).unwrap();
            // Such a body comes into the log by another door only.
            if expect["refused_at_the_door"] == true || !names_its_record(provider, &expect, &raw) {
                continue;
            }
            found.push(Sample { name: format!("{provider}/{stem}"), provider, raw, expect });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Whether its sender is told which record became of it, so that the record can be looked up here.
/// Others are answered what they expect, and their samples are read in `domain`.
fn names_its_record(provider: &str, expect: &Value, raw: &[u8]) -> bool {
    let headers = headers_of(&expect["headers"]);
    let request = Request { headers: &headers, body: raw, ..Request::default() };
    providers::by_name(provider).unwrap().reply(&request) == Reply::Accepted
}

/// R4, R6, R21, R23, R49, R50, R71.
#[tokio::test(flavor = "multi_thread")]
async fn r21_every_sample_shows_what_its_expectation_says() {
    let samples = samples();
    let id = |n: usize| format!("f{n:02}");
    let sources = samples.iter().enumerate().map(|(n, s)| s.configured(&id(n)));
    let doors = Doors::open(EVERYTHING, &sources.collect::<String>()).await;
    let mut sent = Vec::new();
    for (n, sample) in samples.iter().enumerate() {
        sent.push((sample.send_to(&doors, &id(n)).await, sample));
    }
    doors.fleet.settled().await;
    let (log, mut observed) = (doors.in_log().await, doors.observed().await);
    let mut facts = 0;
    for (record, sample) in sent {
        let Sample { name, raw, expect, .. } = sample;
        assert_eq!(log[&record].raw, *raw, "{name}: the log holds the bytes as sent");
        let shown = doors.shown(record, &mut observed).await;
        shown.check(name, raw);
        let outcome = match expect["outcome"].as_str().unwrap() {
            "alerts" => "observed",
            other => other,
        };
        assert_eq!(shown.outcome(), outcome, "{name}");
        assert_eq!(shown.delivery["reason"], expect["reason"], "{name}");
        let alerts = expect["alerts"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(shown.alerts.len(), alerts.len(), "{name}");
        facts += 2;
        for (alert, expected) in shown.alerts.iter().zip(alerts) {
            for (field, value) in expected.as_object().unwrap() {
                let found = alert.get(field);
                assert!(same(value, &found), "{name} {field}: {value} but {found}");
                facts += 1;
            }
        }
    }
    println!("samples: {} files, {facts} facts compared", samples.len());
    assert!(samples.len() >= 70 && facts > 500, "{} {facts}", samples.len());
    again(&doors, &samples, id).await;
}

/// The same bytes once more: a sender that names its deliveries is told apart from one that
/// repeats itself on purpose, and neither opens anything.
async fn again(doors: &Doors, samples: &[Sample], id: impl Fn(usize) -> String) {
    let fires = || doors.fleet.receiver.seen().of_type("incident.fire").len();
    let told = fires();
    for (n, sample) in samples.iter().enumerate() {
        let record = sample.send_to(doors, &id(n)).await;
        let delivery = doors.delivery(record).await;
        let (name, stable) = (&sample.name, &sample.expect["stable_key"]);
        let outcome = match sample.expect["outcome"].as_str().unwrap() {
            "alerts" if stable.is_boolean() => "redelivered",
            "alerts" => "observed",
            other => other,
        };
        assert_eq!(delivery["outcome"], outcome, "{name}");
        for alert in delivery["alerts"].as_array().unwrap() {
            let effect = alert["effect"].as_str().unwrap();
            assert_ne!(effect, "opened", "{name}");
            // A test is recorded each time, and nothing besides.
            if outcome == "redelivered" && effect != "recorded_only" {
                assert_eq!((effect, &alert["is_duplicate"]), ("redelivered", &json!(true)));
            }
        }
    }
    doors.fleet.settled().await;
    assert_eq!(fires(), told, "nothing is told again");
}
