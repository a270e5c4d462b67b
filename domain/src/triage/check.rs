//! What a model wrote, judged: an analysis, or not usable (R29).
//!
//! A model may enrich and nothing else, so its texts are cut and every link, mention and piece of
//! markup is taken out before anybody sees them.

use std::sync::LazyLock;

use regex::Regex;
use schemas::job::Analysis;
use serde_json::{Map, Value};

use super::cut;
use crate::text::is_hidden;

/// Caps in characters.
const ROOT_CAUSE_MAX: usize = 1_000;
const IMPACT_MAX: usize = 500;
const FIX_MAX: usize = 2_000;
const PREVENTION_MAX: usize = 1_000;
const NAME_MAX: usize = 64;

/// How many `{` are tried as the beginning of the answer.
const CANDIDATES_MAX: usize = 64;

/// The keys by which an answer is told from other JSON around it.
const KEYS: [&str; 5] = ["root_cause", "impact", "fix_suggestion", "prevention", "confidence"];

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
/// block around the object do no harm.
pub fn check(text: &str) -> Result<Analysis, Unusable> {
    let object = object(text)?;
    Ok(Analysis {
        root_cause: text_of(&object, "root_cause", ROOT_CAUSE_MAX, "無法判斷根本原因"),
        impact: text_of(&object, "impact", IMPACT_MAX, "影響範圍未知"),
        fix_suggestion: text_of(&object, "fix_suggestion", FIX_MAX, "請人工排查"),
        prevention: text_of(&object, "prevention", PREVENTION_MAX, "待補充"),
        confidence: confidence(&object)?,
        analyzed_by: text_of(&object, "analyzed_by", NAME_MAX, "unknown"),
        model: None,
        ..Analysis::default()
    })
}

/// The answer's object: the first that has a known key, else the first.
fn object(text: &str) -> Result<Map<String, Value>, Unusable> {
    let text = match text.rfind("</think>") {
        Some(end) => &text[end + "</think>".len()..],
        None => text,
    };
    let mut first = None;
    for (start, _) in text.match_indices('{').take(CANDIDATES_MAX) {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter();
        let Some(Ok(Value::Object(object))) = values.next() else { continue };
        if KEYS.iter().any(|key| object.contains_key(*key)) {
            return Ok(object);
        }
        first.get_or_insert(object);
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

#[expect(clippy::expect_used, reason = "constant patterns; a test uses each")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// `[text](url)`, `![text](url)` and `<url|text>`: the text stays.
static LINK_WITH_TEXT: LazyLock<[Regex; 2]> = LazyLock::new(|| {
    [pattern(r"!?\[([^\[\]]*)\]\([^()\s]*\)"), pattern(r"<[^<>|\s]+\|([^<>|]*)>")]
});

/// `<at id=all>`, `<!channel>`, `<@U1>`, `<#C1>`, `</b>`.
static TAG: LazyLock<Regex> = LazyLock::new(|| pattern(r"<[/!@#A-Za-z][^<>]*>"));

/// Addresses with a scheme.
static LINKS: LazyLock<[Regex; 2]> = LazyLock::new(|| {
    [pattern(r"(?i)[a-z][a-z0-9+.-]{0,20}://[!-~]*"), pattern(r"(?i)(?:mailto|javascript):[!-~]+")]
});

/// Names with dots in them.
static DOTTED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)[a-z0-9_-]+(?:\.[a-z0-9_-]+)+"));

/// Last parts of names that chat clients make clickable by themselves. Not all there are: most
/// file endings are domains as well.
const CLICKABLE: [&str; 20] = [
    "com", "net", "org", "info", "biz", "xyz", "top", "io", "co", "me", "ru", "cn", "tw", "app",
    "dev", "link", "site", "online", "shop", "click",
];

/// Emphasis, code marks and headings of Markdown.
static MARKS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^[ \t]*#{1,6}[ \t]+|```[a-zA-Z]*|`|\*\*|~~"));

/// Rounds of cleaning before everything that links and tags are made of is taken out at once.
const ROUNDS_MAX: usize = 20;

/// Plain text: no links, mentions, markup or invisible characters.
pub(super) fn clean(text: &str) -> String {
    let mut text: String = text.chars().filter_map(visible).collect();
    // Taking one thing out can put another together, so until nothing changes.
    for round in 0.. {
        let mut next = text.clone();
        for link in LINK_WITH_TEXT.iter() {
            next = link.replace_all(&next, "$1").into_owned();
        }
        next = TAG.replace_all(&next, "").into_owned();
        for link in LINKS.iter() {
            next = link.replace_all(&next, "").into_owned();
        }
        next = MARKS.replace_all(&without_hosts(&next), "").replace(['@', '＠'], "");
        if next == text {
            break;
        }
        if round > ROUNDS_MAX {
            next.retain(|c| !"<>[]()/:.".contains(c));
        }
        text = next;
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Without bare host names and the paths behind them.
fn without_hosts(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(name) = DOTTED.find_at(text, at) {
        let last = name.as_str().rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        let first = name.as_str().split('.').next().unwrap_or_default();
        let host = CLICKABLE.contains(&last.as_str()) || first.eq_ignore_ascii_case("www");
        out.push_str(&text[at..if host { name.start() } else { name.end() }]);
        at = name.end();
        if host && text[at..].starts_with(['/', '?', '#', ':']) {
            at += text[at..].find(|c: char| !c.is_ascii_graphic()).unwrap_or(text.len() - at);
        }
    }
    out.push_str(&text[at..]);
    out
}

/// Control characters go, and those that hide text or turn it around.
fn visible(c: char) -> Option<char> {
    match c {
        '\n' => Some('\n'),
        '\t' | '\r' => Some(' '),
        c if is_hidden(c) => None,
        c => Some(c),
    }
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
    fn links_mentions_and_markup_are_taken_out() {
        for (given, want) in [
            ("見[這裡](https://evil.example/x)處理", "見這裡處理"),
            ("看https://evil.example/a?b=c，然後重啟", "看，然後重啟"),
            ("<https://evil.example|點我>", "點我"),
            ("go to www.evil.example/x now", "go to  now"),
            ("go to login.evil.com/x now", "go to  now"),
            ("javascript:alert(1)", ""),
            ("<at id=all></at>@all <!channel> <@U123> @here", "all   here"),
            ("<<at>at id=all>x", "x"),
            ("ht<b>tps://evil.example/", ""),
            ("**重要** `kubectl get pods`\n## 標題", "重要 kubectl get pods\n標題"),
            ("```sh\nls\n```", "ls"),
            ("SELECT * FROM a WHERE x < 5 AND y > 3", "SELECT * FROM a WHERE x < 5 AND y > 3"),
            ("com.example.app.Foo@1f", "com.example.app.Foo1f"),
            ("main.py:evil.com/x", "main.py:"),
            ("app.main.get_recommend in main.py:3", "app.main.get_recommend in main.py:3"),
            ("a\u{202e}b\u{200b}c\u{7}d", "abcd"),
        ] {
            assert_eq!(clean(given), want, "{given}");
        }
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
