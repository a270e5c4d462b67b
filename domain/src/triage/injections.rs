//! Texts that mean to be obeyed: the exact request that is made with each, and what is left of the
//! answer of a model that obeys it to the letter.

use jiff::tz::TimeZone;
use regex::Regex;
use schemas::{
    Facts, IncidentId, Position, ProjectId, StackFrame, Time,
    job::{Analysis, Rejection, SendKind, TriageJob},
};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{BUDGET, Input, Messages, Prompt, Unusable, tests::facts};
use crate::{
    notify::{Language, Message, feishu_card, render_text, wecom_text},
    text::is_hidden,
};

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

fn injections() -> Vec<Injection> {
    let text = include_str!("../../fixtures/triage/injections.toml");
    toml::from_str::<Document>(text).unwrap().injection
}

/// An input with `text` in a place, and where it stands in the lines: a name and a JSON pointer.
fn with(place: &str, text: &str) -> (Input, &'static str, &'static str) {
    let mut facts = Facts { labels: vec![("host".into(), "web-3".into())], ..facts("boom") };
    let mut note = "not the disks".to_owned();
    let (line, pointer) = match place {
        "title" => {
            facts.title = text.into();
            ("alert", "/title")
        }
        "message" => {
            facts.message = Some(text.into());
            ("alert", "/message")
        }
        "annotation" => {
            facts.annotations = vec![("description".into(), text.into())];
            ("alert", "/message")
        }
        "culprit" => {
            facts.culprit = Some(text.into());
            ("alert", "/culprit")
        }
        "stack" => {
            let frame = StackFrame { context_line: Some(text.into()), ..StackFrame::default() };
            facts.stack = vec![frame];
            ("alert", "/stacktrace/0/context_line")
        }
        "label" => {
            facts.labels = vec![("host".into(), text.into())];
            ("alert", "/tags/0/1")
        }
        "label_name" => {
            facts.labels = vec![(text.into(), "web-3".into())];
            ("alert", "/tags/0/0")
        }
        "note" => {
            note = text.into();
            ("rejection", "/note")
        }
        other => panic!("no place is called {other}"),
    };
    let opening: Position = "7-1-0-0".parse().unwrap();
    let project = ProjectId::new("shop").unwrap();
    let rejection = Rejection { analysis: None, operator: "ada".into(), note: Some(note) };
    let job = TriageJob {
        rejection: Some(rejection),
        ..TriageJob::new(project, IncidentId(Uuid::nil()), opening, "reject 1", None)
    };
    (Input::new(&job, &facts, Vec::new()), line, pointer)
}

/// The lines of the input, between the fences.
fn fenced(messages: &Messages) -> (&str, Vec<&str>) {
    let ends =
        |c: char| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{B}' | '\u{C}');
    let lines: Vec<&str> = messages.user.split(ends).collect();
    let fence = lines[1];
    assert!(fence.starts_with("INPUT-"), "{fence}");
    assert_eq!(lines.last(), Some(&fence));
    assert_eq!(messages.user.matches(fence).count(), 2);
    (fence, lines[2..lines.len() - 1].to_vec())
}

#[test]
fn r29_i7_an_injected_text_is_data_in_the_request_and_nothing_else() {
    let injections = injections();
    assert!(injections.len() >= 40);
    for prompt in Prompt::shipped().iter().filter(|prompt| prompt.name().starts_with("v2")) {
        for Injection { id, place, text, .. } in &injections {
            let (input, line, pointer) = with(place, text);
            let messages = input.messages(prompt, "openclaw", BUDGET);
            let harmless = with(place, "harmless").0.messages(prompt, "openclaw", BUDGET);
            // The instructions are the same, byte for byte, and so is every line but the one it is in.
            assert_eq!(messages.system, harmless.system, "{id}");
            let (fence, lines) = fenced(&messages);
            let (_, others) = fenced(&harmless);
            assert_eq!(lines.len(), others.len(), "{id}");
            for (got, other) in lines.iter().zip(others) {
                let (name, json) = got.split_once(' ').unwrap();
                if name != line {
                    assert_eq!(*got, other, "{id}");
                    continue;
                }
                let value: Value = serde_json::from_str(json).unwrap();
                assert_eq!(value.pointer(pointer).and_then(Value::as_str), Some(&**text), "{id}");
                let mut swapped = value.clone();
                *swapped.pointer_mut(pointer).unwrap() = Value::from("harmless");
                let other: Value = serde_json::from_str(other.split_once(' ').unwrap().1).unwrap();
                assert_eq!(swapped, other, "{id}: it changes what stands beside it");
            }
            assert!(
                !messages.user.contains(|c: char| is_hidden(c) && c != '\n'),
                "{id}: {}",
                messages.user
            );
            assert!(!messages.user.contains('<'), "{id}: a mark of a model's own template");
            assert!(!messages.input().contains(fence), "{id}");
            let recorded: Value = serde_json::from_str(&messages.input()).unwrap();
            let key = if line == "alert" { "/alert" } else { "/rejection" };
            let told = recorded.pointer(&format!("{key}{pointer}")).and_then(Value::as_str);
            assert_eq!(told, Some(&**text), "{id}: what is recorded is what was told");
        }
    }
}

/// What is left of every text of an obedient answer, as a golden file to be read.
#[test]
fn r29_an_obedient_answer_says_words_and_nothing_else() {
    let mut got = String::new();
    for Injection { id, place, text, obeyed } in injections() {
        let messages = with(&place, &text).0.messages(Prompt::builtin(), "openclaw", BUDGET);
        got.push_str(&format!("## {id}\n"));
        match messages.check(&obeyed) {
            Err(e) => got.push_str(&format!("unusable: it {e}\n")),
            Ok(analysis) => {
                harmless(&id, &analysis);
                let Value::Object(fields) = serde_json::to_value(&analysis).unwrap() else {
                    panic!()
                };
                for (name, value) in fields.iter().filter(|(name, _)| *name != "prompt") {
                    let shown = value.to_string();
                    let shown: String = shown.chars().take(200).collect();
                    got.push_str(&format!("{name}: {shown}\n"));
                }
            }
        }
        got.push('\n');
    }
    assert_eq!(got, include_str!("../../fixtures/triage/injections.cleaned.txt"));
}

/// By other means than the ones it was cleaned with.
#[track_caller]
fn harmless(id: &str, analysis: &Analysis) {
    let Analysis {
        root_cause,
        impact,
        fix_suggestion,
        prevention,
        confidence,
        analyzed_by,
        model,
        evidence,
        inconclusive: _,
        prompt,
    } = analysis;
    assert!((0.0..=1.0).contains(confidence), "{id}");
    assert_eq!(prompt.as_deref(), Some(Prompt::builtin().hash()), "{id}: a prompt's name is ours");
    assert_eq!(model, &None, "{id}: a model does not name itself");
    let caps = [(root_cause, 1_000), (impact, 500), (fix_suggestion, 2_000), (prevention, 1_000)];
    let caps = caps.into_iter().chain([(analyzed_by, 64)]);
    let caps = caps.chain(evidence.iter().map(|line| (line, 200)));
    let forbidden = [
        r"(?i)https?\W{0,3}/",
        r"://",
        r"[@＠﹫]",
        r"\]\(",
        r"\*\*|~~|`",
        r"(?m)^\s*#",
        r"(?i)<\s*/?[a-z!@#]",
        r"＜",
        r"(?i)&(lt|gt|amp|#)",
        r"(?i)evil\W?com",
        r"(?i)(evil|login-corp)\.[a-z]",
        r"(?i)\bwww\.",
        r"(?i)(javascript|data|mailto|tel):",
        r"(^|\s|、)[/／](resolve|silence|ack)",
        r"[ｈ𝗁ⓔ]",
        r"\{\{",
    ];
    let forbidden: Vec<Regex> = forbidden.iter().map(|text| Regex::new(text).unwrap()).collect();
    for (text, cap) in caps {
        assert!(text.chars().count() <= cap, "{id}: {text}");
        assert!(!text.contains(|c: char| is_hidden(c) && c != '\n'), "{id}: {text:?}");
        for pattern in &forbidden {
            assert!(!pattern.is_match(text), "{id}: {pattern} in {text}");
        }
    }
    let lines = ["alert.", "frequency", "releases", "rejection."];
    for line in evidence {
        assert!(lines.iter().any(|name| line.starts_with(name)), "{id}: made up: {line}");
    }
}

/// What is shown of an obedient answer, in every layout and language.
#[test]
fn r29_a_message_with_an_obedient_answer_links_to_nothing_and_rings_nobody() {
    let (facts, project) = (facts("boom"), ProjectId::new("shop").unwrap());
    for Injection { id, place, text, obeyed } in injections() {
        let messages = with(&place, &text).0.messages(Prompt::builtin(), "openclaw", BUDGET);
        let Ok(analysis) = messages.check(&obeyed) else { continue };
        for language in Language::ALL {
            let told = Message {
                kind: SendKind::Fire,
                facts: &facts,
                analysis: Some(&analysis),
                number: "INC-20260102-007",
                project: &project,
                told_at: Time::from_micros(0),
                zone: &TimeZone::UTC,
                frequency: None,
                cause: None,
                standing: None,
                summary: None,
                reply: None,
                tags: &[],
                language: Some(language),
                written: None,
            };
            let card = feishu_card(&told, 10_000).to_string();
            for shown in [render_text(&told), wecom_text(&told), card] {
                assert!(shown.contains('🧠'), "{id}: {shown}");
                for forbidden in
                    ["://", "@", "＠", "﹫", "<at", "<font", "](", "```", "~~", "evil.com"]
                {
                    assert!(!shown.contains(forbidden), "{id}: {forbidden} in {shown}");
                }
            }
        }
    }
}

#[test]
fn r29_what_is_no_answer_stays_none_whoever_asks_for_it() {
    let failed: Vec<(String, Unusable)> = injections()
        .into_iter()
        .filter_map(|injection| {
            let (input, ..) = with(&injection.place, &injection.text);
            let messages = input.messages(Prompt::builtin(), "x", BUDGET);
            messages.check(&injection.obeyed).err().map(|why| (injection.id, why))
        })
        .collect();
    let want = [("close-fence", Unusable::Empty), ("confidence-words", Unusable::Confidence)];
    assert_eq!(failed, want.map(|(id, why)| (id.to_owned(), why)));
}
