//! Reading JSON that may hold anything: absent, null and wrong types are all "not stated".

use serde_json::Value;

/// Parses a body, forgiving what senders get wrong: a byte order mark, invalid UTF-8 and halves of
/// surrogate pairs (text that was cut inside a character). The second value is a note about it.
pub(super) fn body(raw: &[u8]) -> Result<(Value, Option<String>), String> {
    let raw = raw.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(raw);
    match serde_json::from_slice(raw) {
        Ok(value) => Ok((value, None)),
        Err(first) => {
            let mended = lone_surrogates(&String::from_utf8_lossy(raw));
            match serde_json::from_str(&mended) {
                Ok(value) => Ok((value, Some("text held broken characters".to_owned()))),
                Err(_) => Err(format!("not_json: {first}")),
            }
        }
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
