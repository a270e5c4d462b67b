//! The list of common alerts: each as its sender sends it, read as the pipeline reads it.

use schemas::{
    Facts, ProjectId, SourceId,
    record::{Auth, Delivery},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    providers::{self, Normalised, Reading},
    redact::Redactor,
    rules::Subject,
    triage::playbook::{Playbook, answer},
};

const KNOWN: [&str; 4] = [
    include_str!("../../../../fixtures/triage/alerts.kubernetes.toml"),
    include_str!("../../../../fixtures/triage/alerts.hosts.toml"),
    include_str!("../../../../fixtures/triage/alerts.stores.toml"),
    include_str!("../../../../fixtures/triage/alerts.code.toml"),
];
const NOISE: &str = include_str!("../../../../fixtures/triage/alerts.noise.toml");

/// How many of the list have to be answered by the right entry.
const ANSWERED_MIN: usize = 78;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    alert: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    provider: String,
    #[serde(default)]
    labels: toml::Table,
    #[serde(default)]
    annotations: toml::Table,
    /// Of an error: its type and value, where, and in what.
    r#type: Option<String>,
    value: Option<String>,
    culprit: Option<String>,
    platform: Option<String>,
    /// The entry that comes first, and words of its answer.
    expect: Option<String>,
    #[serde(default)]
    words: Vec<String>,
    /// All families that may be about it.
    #[serde(default)]
    families: Vec<String>,
}

impl Listed {
    fn name(&self) -> String {
        match self.labels.get("alertname") {
            Some(name) => name.to_string(),
            None => {
                format!("{}: {}", self.r#type.as_deref().unwrap(), self.value.as_deref().unwrap())
            }
        }
    }

    /// The body its sender would send.
    fn body(&self) -> Value {
        let Some(kind) = &self.r#type else {
            let (labels, annotations) = (json!(self.labels), json!(self.annotations));
            let alert = json!({
                "status": "firing", "labels": labels, "annotations": annotations,
                "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus.test/graph", "fingerprint": "0123456789abcdef",
            });
            return json!({
                "version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "default",
                "groupLabels": {}, "commonLabels": labels, "commonAnnotations": annotations,
                "externalURL": "http://alertmanager.test", "alerts": [alert],
            });
        };
        let (value, culprit) = (&self.value, &self.culprit);
        let title = format!("{kind}: {}", value.as_deref().unwrap());
        json!({
            "action": "created", "installation": {"uuid": "a8e5d37a-696c-4c54-adb5-b3f28d64c7de"},
            "data": {"issue": {
                "id": "1170820242", "shortId": "SHOP-9", "title": title, "culprit": culprit,
                "level": "error", "status": "unresolved", "platform": self.platform, "type": "error",
                "metadata": {"type": kind, "value": value},
                "project": {"id": "1", "name": "shop", "slug": "shop", "platform": self.platform},
                "count": "3", "userCount": 1,
                "firstSeen": "2026-01-01T00:00:00Z", "lastSeen": "2026-01-01T00:00:00Z",
            }},
        })
    }

    /// What the pipeline makes of it.
    fn facts(&self) -> Facts {
        let delivery = Delivery {
            provider: self.provider.clone(),
            source: SourceId::new("main").unwrap(),
            route: "/webhook".to_owned(),
            headers: vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("sentry-hook-resource".to_owned(), "issue".to_owned()),
            ],
            remote: None,
            auth: Auth { method: "none".to_owned(), credential: None },
            sha256: [0; 32],
            raw: self.body().to_string().into_bytes(),
            content_type: Some("application/json".to_owned()),
            channel: None,
            recorded: None,
        };
        let project = ProjectId::new("shop").unwrap();
        let reading = Reading { project: &project, redactor: Redactor::builtin(), fields: None };
        let provider = providers::by_name(&self.provider).unwrap();
        match providers::normalise(provider, &delivery, &reading) {
            Normalised::Alerts { alerts, .. } => alerts.into_iter().next().unwrap().facts,
            other => panic!("{}: {other:?}", self.name()),
        }
    }
}

fn read(text: &str) -> Vec<Listed> {
    toml::from_str::<Document>(text).unwrap().alert
}

#[test]
fn r29_common_alerts_are_answered_by_their_entries() {
    let list: Vec<Listed> = KNOWN.iter().flat_map(|text| read(text)).collect();
    assert_eq!(list.len(), 80);
    let project = ProjectId::new("shop").unwrap();
    let (mut missed, mut foreign) = (vec![], vec![]);
    for listed in &list {
        let facts = listed.facts();
        let chosen = Playbook::builtin().choose(&Subject { project: &project, facts: &facts });
        for entry in &chosen {
            if !listed.families.iter().any(|family| family == entry.family) {
                foreign.push(format!("{}: {} by {}", listed.name(), entry.entry.id, entry.fit.why));
            }
        }
        let want = listed.expect.as_deref().unwrap();
        if chosen.first().is_none_or(|first| first.entry.id != want) {
            let got: Vec<&str> = chosen.iter().map(|chosen| chosen.entry.id.as_str()).collect();
            missed.push(format!("{}: {got:?}, wanted {want}", listed.name()));
            continue;
        }
        let runbook: Vec<_> = chosen.iter().map(|chosen| chosen.entry.clone()).collect();
        let said = answer(&runbook, None).unwrap();
        let text = [said.root_cause, said.impact, said.fix_suggestion, said.prevention].join("\n");
        assert!(!listed.words.is_empty());
        for word in &listed.words {
            assert!(text.contains(word), "{}: {word} is not in {text}", listed.name());
        }
    }
    assert!(foreign.is_empty(), "{foreign:#?}");
    assert!(list.len() - missed.len() >= ANSWERED_MIN, "{missed:#?}");
    println!("{} of {} answered; missed: {missed:#?}", list.len() - missed.len(), list.len());
}

#[test]
fn r29_noise_is_answered_by_nothing() {
    let list = read(NOISE);
    assert_eq!(list.len(), 20);
    let project = ProjectId::new("shop").unwrap();
    let mut answered = vec![];
    for listed in list {
        let facts = listed.facts();
        for entry in Playbook::builtin().choose(&Subject { project: &project, facts: &facts }) {
            answered.push(format!("{}: {} by {}", listed.name(), entry.entry.id, entry.fit.why));
        }
    }
    assert!(answered.is_empty(), "{answered:#?}");
}
