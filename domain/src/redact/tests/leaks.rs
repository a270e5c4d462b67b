//! I8: whatever a sender puts its secrets into, no event and no row has them. Every text of every
//! sample of every provider is tried.

use std::{collections::BTreeMap, fs, num::NonZeroU16, path::Path};

use aho_corasick::AhoCorasick;
use schemas::{
    Lane, SourceId, codec,
    record::{Auth, Body, Command, Delivery},
};

use super::{planted::Planted, *};
use crate::{
    observe::samples::{at, project, record, second},
    providers::by_name,
    replay::{Folded, Tables},
};

/// Stands beside the secrets, and has to come out: otherwise this looks at nothing.
const CANARY: &str = "canary-kqzvwx";

/// The name of the provider, the headers and the body of every sample.
fn samples() -> Vec<(String, Value, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/fixtures/providers");
    let mut found = vec![];
    for provider in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        for path in fs::read_dir(&provider).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some(stem) = name.strip_suffix(".expect.json") else { continue };
            let expect: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let raw = fs::read(path.with_file_name(format!("{stem}.json"))).unwrap();
            if let Ok(body) = serde_json::from_slice(&raw) {
                let provider = provider.file_name().unwrap().to_str().unwrap().to_owned();
                found.push((provider, expect["headers"].clone(), body));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// Calls `each` with every text in `value`, in order.
fn texts(value: &mut Value, each: &mut dyn FnMut(&mut String)) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => each(text),
        Value::Array(items) => items.iter_mut().for_each(|item| texts(item, each)),
        Value::Object(map) => map.values_mut().for_each(|item| texts(item, each)),
    }
}

/// Calls `each` with every object in `value`.
fn objects(value: &mut Value, each: &mut dyn FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(items) => items.iter_mut().for_each(|item| objects(item, each)),
        Value::Object(map) => {
            map.values_mut().for_each(|item| objects(item, each));
            each(map);
        }
    }
}

/// A delivery as ingest writes it.
fn delivery(provider: &str, headers: &Value, raw: Vec<u8>) -> Body {
    let headers = headers.as_object().into_iter().flatten();
    let headers = headers.map(|(n, v)| (n.to_lowercase(), v.as_str().unwrap().to_owned()));
    Body::Delivery(Box::new(Delivery {
        provider: provider.to_owned(),
        source: SourceId::new("main").unwrap(),
        route: "/webhook".to_owned(),
        headers: headers.collect(),
        remote: None,
        auth: Auth { method: "hmac".to_owned(), credential: None },
        raw,
        sha256: [0; 32],
        content_type: None,
        channel: None,
        recorded: None,
    }))
}

/// Prepares and folds `bodies`, in this order.
fn fold(bodies: Vec<Body>) -> Folded {
    let mut tables = Tables::new(Lane(0), NonZeroU16::MIN);
    for (n, body) in (1..).zip(bodies) {
        tables.fold(vec![record(n, second(1), Some(project()), body)]).unwrap();
    }
    tables.folded().unwrap()
}

struct Search {
    planted: Vec<Planted>,
    pieces: AhoCorasick,
    /// Whose each piece is.
    kinds: Vec<&'static str>,
    /// How many deliveries showed the canary, by provider.
    canaries: BTreeMap<String, usize>,
    leaks: Vec<String>,
}

impl Search {
    fn new() -> Self {
        let planted = planted("leaks");
        let pieces: Vec<_> = planted.iter().flat_map(|p| p.pieces.clone()).collect();
        let kinds = planted.iter().flat_map(|p| p.pieces.iter().map(|_| p.kind)).collect();
        let pieces = AhoCorasick::new(pieces).unwrap();
        Self { planted, pieces, kinds, canaries: BTreeMap::new(), leaks: vec![] }
    }

    /// Some sentences with secrets, other ones for another `n`.
    fn sentences(&self, n: usize, count: usize) -> String {
        let all = self.planted.iter().cycle().skip(n * count % self.planted.len());
        let texts: Vec<_> = all.take(count).map(|p| p.text.as_str()).collect();
        format!("{CANARY} {}", texts.join("\n"))
    }

    /// Folds `raw` and looks at all that the fold made of it.
    fn look(&mut self, provider: &str, headers: &Value, what: &str, raw: Vec<u8>) {
        self.look_at(provider, what, vec![delivery(provider, headers, raw)]);
    }

    fn look_at(&mut self, provider: &str, what: &str, bodies: Vec<Body>) {
        let folded = fold(bodies);
        let mut shown: Vec<u8> = folded.events.iter().flat_map(codec::encode).collect();
        // Rows, jobs and reasons.
        shown.extend(format!("{folded:?}").into_bytes());
        let canary = shown.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        *self.canaries.entry(provider.to_owned()).or_default() += usize::from(canary);
        for hit in self.pieces.find_overlapping_iter(&shown) {
            self.leaks.push(format!("{}: {provider} {what}", self.kinds[hit.pattern()]));
        }
    }

    #[track_caller]
    fn end(self) {
        for (provider, _, _) in samples() {
            // What people write in a chat goes no further than to what they ask for.
            if by_name(&provider).unwrap().channel_type() == "chat" {
                continue;
            }
            assert!(self.canaries[&provider] > 0, "nothing of {provider} comes out");
        }
        assert!(self.leaks.is_empty(), "{} leaks:\n{}", self.leaks.len(), self.leaks.join("\n"));
    }
}

#[test]
fn r51_no_text_of_any_alert_leaks() {
    let mut search = Search::new();
    for (provider, headers, body) in samples() {
        let mut count = 0;
        texts(&mut body.clone(), &mut |_| count += 1);
        for nth in 0..count {
            let (mut changed, mut seen, sentences) = (body.clone(), 0, search.sentences(nth, 12));
            texts(&mut changed, &mut |text| {
                if seen == nth {
                    *text = format!("{text} {sentences}");
                }
                seen += 1;
            });
            search.look(
                &provider,
                &headers,
                &format!("text {nth}"),
                changed.to_string().into_bytes(),
            );
        }
    }
    search.end();
}

#[test]
fn r51_no_field_of_any_alert_leaks_by_its_name() {
    let mut search = Search::new();
    for (provider, headers, body) in samples() {
        let mut changed = body.clone();
        let mut n = 0;
        objects(&mut changed, &mut |map| {
            let sentences = search.sentences(n, 1);
            map.insert(sentences.clone(), json!(1));
            map.insert(format!("field {n}"), json!(sentences));
            // OpenTelemetry's fields are few; names of the sender's own stand in lists of pairs.
            if let Some(Value::Array(pairs)) = map.get_mut("attributes") {
                pairs.push(json!({"key": sentences, "value": {"stringValue": sentences}}));
            }
            // A body within a body, as AWS sends them.
            for text in map.values_mut() {
                let inner = text.as_str().map(serde_json::from_str::<serde_json::Map<_, _>>);
                if let Some(Ok(mut inner)) = inner {
                    inner.insert(sentences.clone(), json!(1));
                    inner.insert(format!("field {n}"), json!(sentences));
                    *text = Value::Object(inner).to_string().into();
                }
            }
            n += 1;
        });
        search.look(&provider, &headers, "names", changed.to_string().into_bytes());
    }
    search.end();
}

#[test]
fn r51_nothing_leaks_where_text_is_cut() {
    let mut search = Search::new();
    let headers = json!({});
    for n in 0..search.planted.len() {
        let sentence = search.sentences(n, 1);
        // Bounds of previews, lines and longer text, in characters or bytes.
        for bound in [200, 1024, 2048, 8 * 1024] {
            let before = "ab ".repeat((bound - sentence.len().min(bound) / 2) / 3);
            let text = format!("{before}{sentence}");
            let labels = json!({"alertname": text, "severity": text, "pod": text});
            let alert = json!({"labels": labels, "annotations": {"summary": text, "description": text},
                "generatorURL": format!("https://h.test/?q={}", percent_encoded(&sentence))});
            let body = json!({"alerts": [alert]}).to_string();
            search.look("alertmanager", &headers, "cut", body.clone().into_bytes());
            let error = json!({"title": text, "culprit": text, "message": text, "event_id": "1",
                "issue_id": "2", "tags": [["a", text]], "exception": {"values": [{"type": text,
                "stacktrace": {"frames": [{"filename": text, "function": text, "context_line": text}]}}]}});
            let event = json!({"action": "created", "data": {"error": error}}).to_string();
            search.look("sentry", &headers, "cut", event.into_bytes());
            // The body itself, cut by the sender.
            let cut = body.floor_char_boundary(body.len() * 3 / 4);
            search.look("alertmanager", &headers, "cut body", body.as_bytes()[..cut].to_vec());
        }
    }
    search.leaks.sort();
    search.leaks.dedup();
    assert!(search.leaks.is_empty(), "{:?}", search.leaks);
    assert!(search.canaries.values().all(|n| *n > 0));
}

#[test]
fn r51_escapes_and_broken_bytes_of_a_body_do_not_hide_a_secret() {
    let mut search = Search::new();
    let headers = json!({});
    for n in 0..search.planted.len() {
        let sentence = search.sentences(n, 1);
        let body = |text: &str| {
            format!(
                r#"{{"alerts":[{{"labels":{{"alertname":"{text}"}},"annotations":{{"summary":"{text}"}}}}]}}"#
            )
        };
        // Every character as an escape.
        let escaped: String =
            sentence.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        search.look("alertmanager", &headers, "escaped", body(&escaped).into_bytes());
        // A byte that is no character, a NUL and half a pair in the middle of the secret.
        let piece = search.planted[n].pieces[0].clone();
        let (head, tail) = piece.split_at(5);
        let text = json!(sentence).to_string();
        let text = &text[1..text.len() - 1];
        for put in [&b"\xFF"[..], b"\\u0000", b"\\ud83d", b"\xE2\x80\x8B"] {
            let raw = body(text).replace(&piece, &format!("{head}<put>{tail}")).into_bytes();
            let mut broken = vec![];
            let mut rest = &raw[..];
            while let Some(at) = rest.windows(5).position(|window| window == b"<put>") {
                broken.extend_from_slice(&rest[..at]);
                broken.extend_from_slice(put);
                rest = &rest[at + 5..];
            }
            broken.extend_from_slice(rest);
            search.look("alertmanager", &headers, &format!("broken {put:?}"), broken);
        }
    }
    assert!(search.leaks.is_empty(), "{:?}", search.leaks);
    assert_eq!(search.canaries["alertmanager"], 5 * search.planted.len());
}

#[test]
fn r51_no_command_leaks() {
    let mut search = Search::new();
    let firing = json!({"alerts": [{"labels": {"alertname": "x"}, "status": "firing"}]});
    for n in 0..search.planted.len() {
        let sentence = search.sentences(n, 1);
        let json = json!({"text": sentence, "password": sentence}).to_string();
        let cut = json[..json.floor_char_boundary(json.len() - 2)].to_owned();
        for arguments in [json, cut, sentence] {
            let command = Command {
                operator: "ann".to_owned(),
                auth_method: "api_key".to_owned(),
                verb: "note".to_owned(),
                opening: Some(at(1).alert(0)),
                arguments,
            };
            let opening = delivery("alertmanager", &json!({}), firing.to_string().into_bytes());
            let command = Body::Command(Box::new(command));
            search.look_at("console", "command", vec![opening, command]);
        }
    }
    assert!(search.leaks.is_empty(), "{:?}", search.leaks);
    assert_eq!(search.canaries["console"], 3 * search.planted.len());
}
