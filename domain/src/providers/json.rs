//! Reading JSON that may hold anything: absent, null and wrong types are all "not stated".

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

/// Parses a body, forgiving what senders get wrong: a byte order mark, invalid UTF-8, halves of
/// surrogate pairs (text that was cut inside a character) and keys that are stated twice, of which
/// the last counts. The second value is a note about it. Nesting is read 127 deep.
pub(super) fn body(raw: &[u8]) -> Result<(Value, Option<String>), String> {
    read(raw, usize::MAX, usize::MAX)
}

/// The outline of a body that is not known to be authentic: of each list the first entries, and of
/// all values the first few thousand. Parsed whole, a body can take a hundred times its size, and
/// whoever sends anything could make us do it; the outline takes a few megabytes at most, for as
/// long as it is looked at. `None` where it is no JSON.
pub(super) fn outline(raw: &[u8]) -> Option<Value> {
    read(raw, OUTLINE_LIST, OUTLINE_VALUES).map(|(value, _)| value).ok()
}

/// Entries of each list in an outline.
const OUTLINE_LIST: usize = 16;
/// Values in an outline.
const OUTLINE_VALUES: usize = 4096;

fn read(raw: &[u8], list: usize, values: usize) -> Result<(Value, Option<String>), String> {
    let raw = raw.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(raw);
    let parsed = |raw: &[u8]| parsed(raw, list, values);
    match parsed(raw) {
        Ok((value, 0)) => Ok((value, None)),
        Ok((value, twice)) => Ok((value, Some(stated_twice(twice)))),
        Err(first) => {
            let mended = lone_surrogates(&String::from_utf8_lossy(raw));
            match parsed(mended.as_bytes()) {
                Ok((value, twice)) => {
                    let mut note = "text held broken characters".to_owned();
                    if twice > 0 {
                        note = format!("{note}; {}", stated_twice(twice));
                    }
                    Ok((value, Some(note)))
                }
                Err(_) => Err(format!("not_json: {first}")),
            }
        }
    }
}

/// Templates make such bodies by mistake, and who sends them wants to be heard: what counted, and
/// that something did not, is said.
fn stated_twice(keys: u32) -> String {
    format!("{keys} keys were stated twice, the last counts")
}

/// The value with so many entries of each list and so many values of all, and how many keys of it
/// were stated again.
fn parsed(raw: &[u8], list: usize, values: usize) -> Result<(Value, u32), serde_json::Error> {
    let (twice, left) = (Cell::new(0), Cell::new(values));
    let mut reader = serde_json::Deserializer::from_slice(raw);
    let value = Counting { list, left: &left, twice: &twice }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, twice.get()))
}

/// Reads a value as it is, within its bounds, and counts the keys that are stated again.
#[derive(Clone, Copy)]
struct Counting<'c> {
    /// Entries that are kept of each list.
    list: usize,
    /// Values that may still be kept.
    left: &'c Cell<usize>,
    twice: &'c Cell<u32>,
}

impl Counting<'_> {
    /// Whether one more value may be kept.
    fn keeps(self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}

impl<'de> DeserializeSeed<'de> for Counting<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counting<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while list.len() < self.list && self.keeps() {
            match parts.next_element_seed(self)? {
                Some(part) => list.push(part),
                None => return Ok(Value::Array(list)),
            }
        }
        while parts.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = serde_json::Map::new();
        while self.keeps() {
            let Some(key) = fields.next_key::<String>()? else { return Ok(Value::Object(object)) };
            if object.insert(key, fields.next_value_seed(self)?).is_some() {
                self.twice.set(self.twice.get().saturating_add(1));
            }
        }
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object(object))
    }
}

/// Replaces `\uD800`-`\uDFFF` escapes that are no pair by `\uFFFD`.
fn lone_surrogates(text: &str) -> String {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        let escape = at + found;
        out.push_str(&text[at..escape]);
        let (replacement, length) = match unit(escape) {
            Some(0xD800..=0xDBFF) => match unit(escape + 6) {
                Some(0xDC00..=0xDFFF) => (None, 12),
                _ => (Some("\\uFFFD"), 6),
            },
            Some(0xDC00..=0xDFFF) => (Some("\\uFFFD"), 6),
            Some(_) => (None, 6),
            // The backslash and the character it escapes.
            None => (None, 1 + text[escape + 1..].chars().next().map_or(0, char::len_utf8)),
        };
        at = escape + length;
        out.push_str(replacement.unwrap_or(&text[escape..at]));
    }
    out.push_str(&text[at..]);
    out
}

/// What stands at `path`; null is absent.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let mut value = value;
    for step in path {
        value = value.get(*step)?;
    }
    (!value.is_null()).then_some(value)
}

/// Text at `path`; blank text is absent.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path)?.as_str().filter(|t| !t.trim().is_empty())
}

/// A string, number or truth value as text; blank text is absent.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!text.trim().is_empty()).then(|| text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An id at `path`: text or a whole number, which is never 0.
pub(super) fn id(value: &Value, path: &[&str]) -> Option<String> {
    match at(value, path)? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|t| !t.is_empty()),
        Value::Number(number) if number.as_u64() != Some(0) && !number.is_f64() => {
            Some(number.to_string())
        }
        _ => None,
    }
}

/// A count: a whole number that is not negative, as number or text.
pub(super) fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            // Whole numbers up to here are exact in f64.
            (float.fract() == 0.0 && (0.0..=9e15).contains(&float)).then_some(float as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn r1_text_cut_inside_a_character_still_parses() {
        for (raw, expected) in [
            (r#""a\ud83d""#.as_bytes(), "a\u{fffd}"),
            (r#""\ude00\ud83d\ude00""#.as_bytes(), "\u{fffd}😀"),
            (r#""\\ud83d \n\ud83dx""#.as_bytes(), "\\ud83d \n\u{fffd}x"),
            (b"\"a\xF0\x9F\"", "a\u{fffd}"),
            (b"\xEF\xBB\xBF\"a\"", "a"),
        ] {
            assert_eq!(body(raw).unwrap().0, json!(expected), "{}", raw.escape_ascii());
        }
        for bad in [&b""[..], b"{", br#""\"#, br#""\ud8"#, br#""\ud83d\"#, b"\xFF"] {
            assert!(body(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn threat_nesting_has_an_end_and_keys_that_are_stated_twice_are_noted() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(body(nested(127).as_bytes()).is_ok());
        for depth in [128, 200, 400_000] {
            let reason = body(nested(depth).as_bytes()).unwrap_err();
            assert!(reason.starts_with("not_json: recursion"), "{depth}: {reason}");
        }
        let (value, note) =
            body(br#"{"a":1,"b":{"c":1,"c":2},"a":[{"d":0,"d":1,"d":"x"}]}"#).unwrap();
        assert_eq!(value, json!({"a": [{"d": "x"}], "b": {"c": 2}}));
        assert_eq!(note.unwrap(), "4 keys were stated twice, the last counts");
        let (value, note) = body(br#"{"a":"\ud800","a":"\ud800"}"#).unwrap();
        assert_eq!(value, json!({"a": "\u{fffd}"}));
        let note = note.unwrap();
        assert!(note.contains("broken") && note.contains("1 keys"), "{note}");
    }

    #[test]
    fn threat_the_outline_of_a_body_is_small_whatever_the_body() {
        fn values(value: &Value) -> usize {
            let inside = match value {
                Value::Array(list) => list.iter().map(values).sum(),
                Value::Object(object) => object.values().map(values).sum(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
            };
            1 + inside
        }
        let list = |part: &str, count: usize| format!("[{}]", vec![part; count].join(","));
        let tree = (0..4).fold("{\"\":0}".to_owned(), |inner, _| list(&inner, 17));
        let fields: Vec<_> = (0..100_000).map(|n| format!("\"{n}\":0")).collect();
        let fields = format!("{{{}}}", fields.join(","));
        for body in [list("{\"\":0}", 100_000), list("0", 400_000), tree, fields] {
            let outline = outline(body.as_bytes()).unwrap();
            let kept = values(&outline);
            assert!(kept <= OUTLINE_VALUES + 1, "{kept}");
            assert!(kept > OUTLINE_LIST, "{kept}");
        }
        // What stands behind a long list is seen, and what is small is seen whole.
        let body = format!(r#"{{"alerts":{},"state":"x"}}"#, list("0", 400_000));
        let seen = outline(body.as_bytes()).unwrap();
        assert_eq!(seen["state"], "x");
        assert_eq!(seen["alerts"].as_array().unwrap().len(), OUTLINE_LIST);
        let small = r#" {"a":[1,[],{},"",null],"b":{"c":{"d":"\ud800"}}}"#.as_bytes();
        assert_eq!(outline(small), body_of(small));
        for bad in ["", "{", "[0,1", "{}{}", "{\"a\"}"] {
            assert_eq!(outline(bad.as_bytes()), None, "{bad}");
        }
        let cut = format!("{}x", list("0", 100));
        assert_eq!(outline(cut.as_bytes()), None);
    }

    fn body_of(raw: &[u8]) -> Option<Value> {
        body(raw).map(|(value, _)| value).ok()
    }

    #[test]
    fn everything_else_is_read_as_it_is() {
        for text in [
            "null",
            "true",
            "-0",
            "-1",
            "0",
            "18446744073709551615",
            "-9223372036854775808",
            "1.5",
            "1e300",
            "123456789012345678901234567890",
            r#""a\u0000\n\ud83d\ude00""#,
            r#"[1,[],{},"",null]"#,
            r#"{"b":1,"a":{"":[]}}"#,
            " {\n} ",
        ] {
            let (value, note) = body(text.as_bytes()).unwrap();
            assert_eq!(value, serde_json::from_str::<Value>(text).unwrap(), "{text}");
            assert_eq!(note, None, "{text}");
        }
        for bad in ["{}{}", "[1,]", "1e400", "{\"a\"}", "'a'", "NaN"] {
            let reason = body(bad.as_bytes()).unwrap_err();
            let theirs = serde_json::from_str::<Value>(bad).unwrap_err();
            assert_eq!(reason, format!("not_json: {theirs}"));
        }
    }

    #[test]
    fn ids_and_counts() {
        let value = json!({"a": 7, "b": " 7 ", "c": 0, "d": "", "e": null, "f": [1], "g": 1.5});
        let ids: Vec<_> = "abcdefgh".chars().map(|k| id(&value, &[&k.to_string()])).collect();
        let seven = Some("7".to_owned());
        assert_eq!(ids, [seven.clone(), seven, None, None, None, None, None, None]);
        assert_eq!(count(&json!("12")), Some(12));
        assert_eq!(count(&json!(12.0)), Some(12));
        for bad in [json!("x"), json!(-1), json!(1.5), json!([]), json!(true), json!(1e300)] {
            assert_eq!(count(&bad), None);
        }
    }
}
