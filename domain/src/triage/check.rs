//! What a model wrote, judged: an analysis, or not usable (R29).
//!
//! The shape of an answer stands in `answer.schema.json`, which analysts that offer structured
//! output are held to by their own server ([`response_format`]). What comes is read as if nobody
//! had been: with defaults for what is missing, and repaired where it is almost JSON. A model may
//! enrich and nothing else, so fields that are not in the schema are not read, texts are cut, and
//! every link, mention and piece of markup is taken out before anybody sees them.

use std::sync::LazyLock;

use schemas::job::Analysis;
use serde_json::{Map, Value, json};

use super::{cut, repair};

pub(super) use super::clean::clean;

/// Caps in characters; the schema states them to the model.
const ROOT_CAUSE_MAX: usize = 1_000;
const IMPACT_MAX: usize = 500;
const FIX_MAX: usize = 2_000;
const PREVENTION_MAX: usize = 1_000;
const NAME_MAX: usize = 64;
const EVIDENCE_MAX: usize = 200;

/// How many lines of the input an answer may rest on.
pub const EVIDENCE_LINES_MAX: usize = 5;

/// How many `{` are tried as the beginning of the answer, and how many of them with repair.
const CANDIDATES_MAX: usize = 64;
const REPAIRS_MAX: usize = 8;

/// The keys by which an answer is told from other JSON around it.
const KEYS: [&str; 5] = ["root_cause", "impact", "fix_suggestion", "prevention", "confidence"];

#[expect(clippy::expect_used, reason = "shipped with the binary; a test reads it")]
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("answer.schema.json")).expect("the schema is JSON")
});

/// The JSON Schema of an answer.
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// `response_format` of a chat completion that holds a model to the schema, for servers that know
/// `json_schema`. Protocol: <https://platform.openai.com/docs/guides/structured-outputs>; its strict
/// form wants every property required and knows no lengths, so these stand in descriptions.
pub fn response_format() -> Value {
    json!({
        "type": "json_schema",
        "json_schema": { "name": "analysis", "strict": true, "schema": schema() },
    })
}

/// Why an answer cannot be used; the next analyst is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("holds no json object")]
    NoObject,
    #[error("is an empty json object")]
    Empty,
    #[error("has a confidence that is no number")]
    Confidence,
}

/// Makes an analysis of an answer's text. Code fences, prose and a reasoning model's `<think>`
/// block around the object do no harm. What it rests on is as the model wrote it:
/// [`super::Messages::check`] looks it up in the input.
pub fn check(text: &str) -> Result<Analysis, Unusable> {
    let object = object(text)?;
    Ok(Analysis {
        root_cause: text_of(&object, "root_cause", ROOT_CAUSE_MAX, "無法判斷根本原因"),
        impact: text_of(&object, "impact", IMPACT_MAX, "影響範圍未知"),
        fix_suggestion: text_of(&object, "fix_suggestion", FIX_MAX, "請人工排查"),
        prevention: text_of(&object, "prevention", PREVENTION_MAX, "待補充"),
        confidence: confidence(&object)?,
        analyzed_by: text_of(&object, "analyzed_by", NAME_MAX, "unknown"),
        evidence: evidence(&object),
        inconclusive: inconclusive(&object),
        ..Analysis::default()
    })
}

/// The answer's object: the first that has a known key, else the first that is one, repaired only
/// where no whole one has a known key.
fn object(text: &str) -> Result<Map<String, Value>, Unusable> {
    let text = match text.rfind("</think>") {
        Some(end) => &text[end + "</think>".len()..],
        None => text,
    };
    let known = |object: &Map<String, Value>| KEYS.iter().any(|key| object.contains_key(*key));
    let mut first = None;
    for (start, _) in text.match_indices('{').take(CANDIDATES_MAX) {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter();
        let Some(Ok(Value::Object(object))) = values.next() else { continue };
        if known(&object) {
            return Ok(object);
        }
        first.get_or_insert(object);
    }
    for (start, _) in text.match_indices('{').take(REPAIRS_MAX) {
        let Some(repaired) = repair::object(&text[start..]) else { continue };
        // Half a sentence alone is no analysis.
        let whole = |key: &&&str| !repaired.broken.iter().any(|broken| broken == **key);
        if KEYS.iter().filter(whole).any(|key| repaired.object.contains_key(*key)) {
            return Ok(repaired.object);
        }
    }
    match first {
        None => Err(Unusable::NoObject),
        Some(object) if object.is_empty() => Err(Unusable::Empty),
        Some(object) => Ok(object),
    }
}

/// Missing is 0; a number in quotes is a number; everything else that is no number is refused.
fn confidence(object: &Map<String, Value>) -> Result<f64, Unusable> {
    let number = match object.get("confidence") {
        None => Some(0.0),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
    };
    let number = number.filter(|n| n.is_finite()).ok_or(Unusable::Confidence)?;
    Ok(number.clamp(0.0, 1.0))
}

fn inconclusive(object: &Map<String, Value>) -> bool {
    match object.get("inconclusive") {
        Some(Value::Bool(is)) => *is,
        Some(Value::String(text)) => text.trim().eq_ignore_ascii_case("true"),
        None | Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) => false,
    }
}

/// The lines it rests on, as they were written.
fn evidence(object: &Map<String, Value>) -> Vec<String> {
    let given: Vec<&str> = match object.get("evidence") {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => text.lines().collect(),
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            Vec::new()
        }
    };
    let lines = given.into_iter().map(|line| one_line(line, EVIDENCE_MAX));
    lines.filter(|line| !line.is_empty()).take(EVIDENCE_LINES_MAX).collect()
}

/// Clean text on one line, of at most `max` characters.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let line = clean(cut(text, max * 4)).replace('\n', " ");
    cut(&line, max).trim_end().to_owned()
}

/// A field as clean text; lists are put on lines.
fn text_of(object: &Map<String, Value>, key: &str, max: usize, default: &str) -> String {
    let raw = match object.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
        }
        None | Some(Value::Null | Value::Bool(_) | Value::Object(_)) => String::new(),
    };
    // Cut before as well: cleaning is linear in what it is given, but a few times over.
    let clean = clean(cut(&raw, max * 4));
    let kept = cut(&clean, max).trim_end();
    if kept.is_empty() { default.to_owned() } else { kept.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str) -> Result<(String, f64), Unusable> {
        check(text).map(|a| (a.root_cause, a.confidence))
    }

    #[test]
    fn r29_failed_answers() {
        for (text, why) in [
            ("", Unusable::NoObject),
            ("null", Unusable::NoObject),
            ("I cannot help with that.", Unusable::NoObject),
            ("{\"root_cause\": \"cut off", Unusable::NoObject),
            ("[1, 2]", Unusable::NoObject),
            ("{}", Unusable::Empty),
            ("```json\n{}\n```", Unusable::Empty),
            (r#"{"root_cause":"a","confidence":null}"#, Unusable::Confidence),
            (r#"{"root_cause":"a","confidence":"high"}"#, Unusable::Confidence),
            (r#"{"root_cause":"a","confidence":"NaN"}"#, Unusable::Confidence),
            (r#"{"root_cause":"a","confidence":true}"#, Unusable::Confidence),
            (r#"{"root_cause":"a","confidence":[0.5]}"#, Unusable::Confidence),
        ] {
            assert_eq!(check(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn r29_missing_fields_get_the_defaults() {
        for text in [r#"{"severity":"x"}"#, r#"{"root_cause":null,"impact":" ","prevention":{}}"#] {
            let got = check(text).unwrap();
            assert_eq!(
                got,
                Analysis {
                    root_cause: "無法判斷根本原因".into(),
                    impact: "影響範圍未知".into(),
                    fix_suggestion: "請人工排查".into(),
                    prevention: "待補充".into(),
                    confidence: 0.0,
                    analyzed_by: "unknown".into(),
                    model: None,
                    ..Analysis::default()
                },
                "{text}"
            );
        }
    }

    #[test]
    fn r29_confidence_is_clamped() {
        for (given, want) in
            [("0.875", 0.875), ("-3", 0.0), ("85", 1.0), ("\"0.5\"", 0.5), ("1e400", f64::NAN)]
        {
            let got = judge(&format!(r#"{{"root_cause":"a","confidence":{given}}}"#));
            match got {
                Ok((_, confidence)) => assert_eq!(confidence, want, "{given}"),
                Err(_) => assert!(want.is_nan(), "{given}"),
            }
        }
    }

    #[test]
    fn the_object_is_found_in_what_models_write_around_it() {
        for text in [
            r#"{"root_cause":"連線池耗盡","confidence":0.5}"#,
            "\u{feff}{\"root_cause\":\"連線池耗盡\",\"confidence\":0.5}\n",
            "```json\n{\"root_cause\":\"連線池耗盡\",\"confidence\":0.5}\n```",
            "Sure! Here {is} it: {} {\"root_cause\":\"連線池耗盡\",\"confidence\":0.5} Bye {}",
            "<think>{\"root_cause\":\"no\",\"confidence\":1}</think>\n{\"root_cause\":\"連線池耗盡\",\"confidence\":0.5}",
            "[{\"root_cause\":\"連線池耗盡\",\"confidence\":0.5}]",
            "{\"analysis\":{\"root_cause\":\"連線池耗盡\",\"confidence\":0.5}}",
        ] {
            assert_eq!(judge(text), Ok(("連線池耗盡".into(), 0.5)), "{text}");
        }
    }

    #[test]
    fn r29_an_answer_that_is_almost_json_is_an_answer() {
        for text in [
            "{'root_cause': '連線池耗盡', 'confidence': 0.5,}",
            "{“root_cause”：“連線池耗盡”，“confidence”：0.5}",
            "Here you are: {root_cause: \"連線池耗盡\", confidence: 0.5 // sure\n}",
            "```json\n{\"root_cause\": \"連線池耗盡\", \"confidence\": 0.5, \"impact\": \"使",
            "{note} {\"root_cause\": \"連線池耗盡\", \"confidence\": 0.5",
            "{\"root_cause\": \"連線池耗盡\", \"impact\": \"a\nb\", \"confidence\": \"0.5\"}",
        ] {
            let want = if text.ends_with("0.5") { 0.0 } else { 0.5 };
            assert_eq!(judge(text), Ok(("連線池耗盡".into(), want)), "{text}");
        }
        for (text, why) in [
            ("{'root_cause': 'a', 'confidence': null,}", Unusable::Confidence),
            ("{'root_cause': 'a', 'confidence': high,}", Unusable::Confidence),
            ("{'root_cause': 'half a sent", Unusable::NoObject),
            ("{,}", Unusable::NoObject),
        ] {
            assert_eq!(check(text).unwrap_err(), why, "{text}");
        }
        let cut = check("{\"root_cause\": \"a\", \"impact\": \"使用者無").unwrap();
        assert_eq!((cut.impact.as_str(), cut.confidence), ("使用者無…", 0.0));
    }

    #[test]
    fn a13_an_answer_may_be_inconclusive_and_says_what_it_rests_on() {
        let got = check(
            r#"{"root_cause":"a","inconclusive":true,"evidence":["alert.message"," ","x\ny",3,"**b**","c","d","e"]}"#,
        )
        .unwrap();
        assert!(got.inconclusive);
        assert_eq!(got.evidence, ["alert.message", "x y", "b", "c", "d"]);
        for (given, want) in [("\"True\"", true), ("false", false), ("1", false), ("null", false)] {
            let got = check(&format!("{{\"root_cause\":\"a\",\"inconclusive\":{given}}}")).unwrap();
            assert_eq!(got.inconclusive, want, "{given}");
        }
        let long =
            check(&format!(r#"{{"impact":"a","evidence":"{}"}}"#, "長".repeat(999))).unwrap();
        assert_eq!(long.evidence[0].chars().count(), EVIDENCE_MAX);
    }

    /// The schema and the check say the same: each property is read into the field of its name and
    /// nowhere else, nothing else is read, and the caps it states are those that hold.
    #[test]
    fn r29_the_schema_is_what_is_checked() {
        fn fields(analysis: &Analysis) -> Map<String, Value> {
            let Value::Object(fields) = serde_json::to_value(analysis).unwrap() else { panic!() };
            fields
        }
        let default = fields(&check(r#"{"root_cause":""}"#).unwrap());
        let properties = schema()["properties"].as_object().unwrap();
        let mut read: Vec<String> = Vec::new();
        for (name, property) in properties {
            let value = match property["type"].as_str().unwrap() {
                "string" => json!("長".repeat(9_000)),
                "number" => json!(0.5),
                "boolean" => json!(true),
                "array" => json!(vec!["長".repeat(9_000); 90]),
                other => panic!("{name} is {other}"),
            };
            let mut answer = json!({"impact": "", name: value});
            let got = fields(&check(&answer.to_string()).unwrap());
            let changed: Vec<&String> = got
                .iter()
                .filter(|(key, value)| default.get(*key) != Some(value))
                .map(|x| x.0)
                .collect();
            assert_eq!(changed, [name]);
            read.push(name.clone());
            let longest = match &got[name] {
                Value::String(text) => Some(text.chars().count()),
                Value::Array(lines) => Some(lines.len()),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
            };
            if let Some(longest) = longest {
                let says = property["description"].as_str().unwrap();
                assert!(says.contains(&format!("at most {longest} ")), "{name}: {longest}: {says}");
            }
            // Another type is as if it were missing, but for a confidence.
            answer[name] = json!({"x": 1});
            match check(&answer.to_string()) {
                Ok(got) => assert_eq!(fields(&got), default, "{name}"),
                Err(e) => assert_eq!((e, name.as_str()), (Unusable::Confidence, "confidence")),
            }
        }
        let all: Vec<&String> = properties.keys().collect();
        assert_eq!(schema()["required"], json!(all));
        assert_eq!(schema()["additionalProperties"], false);
        let mut known: Vec<String> = default.keys().cloned().collect();
        known.extend(["evidence".to_owned(), "inconclusive".to_owned()]);
        known.retain(|key| key != "model");
        known.sort();
        read.sort();
        assert_eq!(read, known);
    }

    #[test]
    fn lists_become_lines_and_long_texts_are_cut_by_characters() {
        let got = check(r#"{"fix_suggestion":["1. 重啟","2. 查 log",3]}"#).unwrap();
        assert_eq!(got.fix_suggestion, "1. 重啟\n2. 查 log");
        let long = format!(r#"{{"root_cause":"{}"}}"#, "根".repeat(5_000));
        assert_eq!(check(&long).unwrap().root_cause.chars().count(), ROOT_CAUSE_MAX);
    }

    #[test]
    fn hostile_answers_end_in_time() {
        for text in ["{".repeat(200_000), "[".repeat(200_000), "{\"a\":".repeat(50_000)] {
            assert_eq!(check(&text), Err(Unusable::NoObject));
        }
        let nested =
            format!(r#"{{"root_cause":"{}at id=all{}"}}"#, "<".repeat(3_000), ">".repeat(3_000));
        check(&nested).unwrap();
        let shelled = format!(r#"{{"root_cause":"{}{}"}}"#, "<a".repeat(1_500), ">".repeat(1_000));
        assert!(!check(&shelled).unwrap().root_cause.contains('<'));
    }
}
