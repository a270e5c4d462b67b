//! Reads what models write for JSON: single or curly quotes, bare keys, trailing commas, comments,
//! Python's words, line breaks within texts, and objects that break off.
//!
//! Bounded in what is read and how deep. What broke off in the middle is not guessed: a number or a
//! word is left out, a text ends with `…`.

use serde_json::{Map, Number, Value};

/// The longest object that is read, in bytes.
const LENGTH_MAX: usize = 64 * 1024;
const DEPTH_MAX: u32 = 8;
const ITEMS_MAX: usize = 256;

/// The object that `text` begins with; none where it is none. Keys whose values break off are listed
/// in `broken`.
pub fn object(text: &str) -> Option<Repaired> {
    let mut end = text.len().min(LENGTH_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut reader = Reader { text: &text[..end], at: 0, broken: Vec::new() };
    if !reader.take('{') {
        return None;
    }
    let object = reader.object(0)?;
    Some(Repaired { object, broken: reader.broken })
}

/// What was made of a broken object.
pub struct Repaired {
    pub object: Map<String, Value>,
    /// Keys whose values break off.
    pub broken: Vec<String>,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    broken: Vec<String>,
}

/// A value, and whether the text ended within it.
struct Read {
    value: Value,
    whole: bool,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, c: char) -> bool {
        let is = self.peek() == Some(c);
        if is {
            self.at += c.len_utf8();
        }
        is
    }

    fn over(&self) -> bool {
        self.at == self.text.len()
    }

    /// Blanks and comments.
    fn blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            let rest = self.rest();
            let skipped = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else {
                return;
            };
            self.at += skipped;
        }
    }

    /// The fields behind `{`. A text that ends before `}` ends the object.
    fn object(&mut self, depth: u32) -> Option<Map<String, Value>> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut object = Map::new();
        loop {
            self.blanks();
            if self.take(',') || self.take('，') {
                continue;
            }
            if self.over() || self.take('}') || object.len() > ITEMS_MAX {
                return Some(object);
            }
            let key = self.key()?;
            self.blanks();
            if self.over() {
                return Some(object);
            }
            if !self.take(':') && !self.take('：') {
                return None;
            }
            let Read { value, whole } = self.value(depth)?;
            if !whole {
                self.broken.push(key.clone());
            }
            // A word or a number that breaks off says something else than was meant.
            if whole || !matches!(value, Value::Null) {
                object.entry(key).or_insert(value);
            }
        }
    }

    fn key(&mut self) -> Option<String> {
        if let Some(close) = self.peek().and_then(closing) {
            self.next();
            let Read { value, .. } = self.string(close, [':', '：'].as_slice());
            return value.as_str().map(str::to_owned);
        }
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let key = rest[..end].to_owned();
        self.at += end;
        (!key.is_empty()).then_some(key)
    }

    fn value(&mut self, depth: u32) -> Option<Read> {
        self.blanks();
        let Some(first) = self.peek() else {
            return Some(Read { value: Value::Null, whole: false });
        };
        if let Some(close) = closing(first) {
            self.next();
            return Some(self.string(close, [',', '，', '}', ']'].as_slice()));
        }
        match first {
            '{' => {
                self.next();
                let object = self.object(depth + 1)?;
                Some(Read { value: Value::Object(object), whole: true })
            }
            '[' => {
                self.next();
                self.array(depth + 1)
            }
            _ => self.word(),
        }
    }

    fn array(&mut self, depth: u32) -> Option<Read> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut items = Vec::new();
        loop {
            self.blanks();
            if self.take(',') || self.take('，') {
                continue;
            }
            if self.take(']') {
                return Some(Read { value: Value::Array(items), whole: true });
            }
            if self.over() || items.len() > ITEMS_MAX {
                return Some(Read { value: Value::Array(items), whole: false });
            }
            let Read { value, whole } = self.value(depth)?;
            if whole || !matches!(value, Value::Null) {
                items.push(value);
            }
        }
    }

    /// A number or a word up to what ends it; none where it is neither.
    fn word(&mut self) -> Option<Read> {
        let rest = self.rest();
        let end = rest.find([',', '，', '}', ']', '\n', '/']);
        let word = rest[..end.unwrap_or(rest.len())].trim();
        let (text, whole) = (word.to_ascii_lowercase(), end.is_some());
        let value = match text.as_str() {
            "null" | "none" | "nil" | "undefined" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ if !whole => Value::Null,
            number => match number.parse::<f64>().ok().and_then(Number::from_f64) {
                Some(number) => Value::Number(number),
                // A text without quotes.
                None => Value::String(word.to_owned()),
            },
        };
        self.at += end.unwrap_or(rest.len());
        Some(Read { value, whole })
    }

    /// The text behind an opening quote. A quote within it that nothing follows of what may stand
    /// behind a text is part of it.
    fn string(&mut self, close: char, behind: &[char]) -> Read {
        let mut out = String::new();
        while let Some(c) = self.next() {
            match c {
                '\\' => self.escape(&mut out),
                c if c == close && self.ends(behind) => {
                    return Read { value: Value::String(out), whole: true };
                }
                c => out.push(c),
            }
        }
        out.push('…');
        Read { value: Value::String(out), whole: false }
    }

    /// Whether what may stand behind a text comes next.
    fn ends(&self, behind: &[char]) -> bool {
        let mut next = self.rest().chars().filter(|c| !c.is_whitespace());
        match next.next() {
            None => true,
            Some(',' | '，') if behind.contains(&',') => {
                let after = next.next();
                after
                    .is_none_or(|c| closing(c).is_some() || "}]_/".contains(c) || c.is_alphabetic())
            }
            Some(c) => behind.contains(&c) || closing(c).is_some() && self.rest().starts_with('\n'),
        }
    }

    fn escape(&mut self, out: &mut String) {
        let Some(c) = self.next() else { return };
        out.push(match c {
            'n' => '\n',
            't' | 'r' | 'b' | 'f' => ' ',
            'u' => match self.unit() {
                Some(high @ 0xD800..0xDC00) => {
                    let low = self.rest().starts_with("\\u").then(|| {
                        self.at += 2;
                        self.unit()
                    });
                    let units = [high, low.flatten().unwrap_or_default()];
                    char::decode_utf16(units).next().and_then(Result::ok).unwrap_or(' ')
                }
                Some(unit) => char::from_u32(u32::from(unit)).unwrap_or(' '),
                None => 'u',
            },
            c => c,
        });
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u16> {
        let unit = u16::from_str_radix(self.rest().get(..4)?, 16).ok()?;
        self.at += 4;
        Some(unit)
    }
}

/// The quote that ends what this one begins.
fn closing(open: char) -> Option<char> {
    Some(match open {
        '"' => '"',
        '\'' => '\'',
        '`' => '`',
        '“' => '”',
        '‘' => '’',
        '「' => '」',
        '＂' => '＂',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(given: &str, want: &str) {
        let got = object(given).map(|r| (Value::Object(r.object).to_string(), r.broken.join(" ")));
        let got = got.map(|(object, broken)| format!("{object} {broken}"));
        assert_eq!(got.as_deref().map(str::trim_end).unwrap_or("none"), want, "{given}");
    }

    #[test]
    fn what_models_write_for_json_is_read() {
        for (given, want) in [
            (r#"{"a": "b",}"#, r#"{"a":"b"}"#),
            (r#"{'a': 'it''s', b: 0.5}"#, r#"{"a":"it''s","b":0.5}"#),
            ("{\"a\": \"one\ntwo\"}", r#"{"a":"one\ntwo"}"#),
            (r#"{"a": "the "user" key", "b": 1}"#, r#"{"a":"the \"user\" key","b":1.0}"#),
            (r#"{“a”：“根因”，“b”：0.5}"#, r#"{"a":"根因","b":0.5}"#),
            (
                "{a: True, /* c */ b: None, // d\n c: [1,2,]}",
                r#"{"a":true,"b":null,"c":[1.0,2.0]}"#,
            ),
            (r#"{"a": "x" "b": "y"}"#, r#"{"a":"x\" \"b\": \"y"}"#),
            ("{\"a\": \"x\"\n\"b\": \"y\"}", r#"{"a":"x","b":"y"}"#),
            (r#"{"a": "\u4e2d\ud83d\ude00\q"}"#, r#"{"a":"中😀q"}"#),
            (r#"{"a": {"b": ["c"]}}"#, r#"{"a":{"b":["c"]}}"#),
            ("{'a': high}", r#"{"a":"high"}"#),
            ("{\"a\" \"b\"}", "{}"),
            ("[1]", "none"),
        ] {
            check(given, want);
        }
    }

    #[test]
    fn what_breaks_off_is_not_guessed() {
        for (given, want) in [
            (r#"{"a": "whole", "b": "cut o"#, r#"{"a":"whole","b":"cut o…"} b"#),
            (r#"{"a": "whole", "b": 0.9"#, r#"{"a":"whole"} b"#),
            (r#"{"a": "whole", "b": tru"#, r#"{"a":"whole"} b"#),
            (r#"{"a": "whole", "b":"#, r#"{"a":"whole"} b"#),
            (r#"{"a": "whole", "b"#, r#"{"a":"whole"}"#),
            (r#"{"a": "whole", "b": ["one", "tw"#, r#"{"a":"whole","b":["one","tw…"]} b"#),
            (r#"{"a": "whole""#, r#"{"a":"whole"}"#),
        ] {
            check(given, want);
        }
    }

    #[test]
    fn it_is_bounded() {
        assert!(object(&"{\"a\":".repeat(50_000)).is_none());
        assert!(object(&format!("{{\"a\":{}", "[".repeat(50_000))).is_none());
        let long = object(&format!("{{\"a\":\"{}", "長".repeat(50_000))).unwrap();
        assert!(long.object["a"].as_str().unwrap().len() <= LENGTH_MAX);
        let many = (0..5_000).map(|n| format!("\"k{n}\":1,")).collect::<String>();
        assert!(object(&format!("{{{many}")).unwrap().object.len() <= ITEMS_MAX + 1);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_fail(text in "[{}\\[\\]:,\"'\\\\a1\n /*…“”]{0,80}") {
            object(&format!("{{{text}"));
        }

        /// Whatever is JSON reads as JSON does.
        #[test]
        fn good_json_reads_the_same(key in "[a-z]{1,5}", text in "[^\"\\\\\\x00-\\x1f]{0,40}", n in 0.0..1.0f64) {
            let mut want = Map::new();
            want.insert(key.clone(), Value::String(text));
            want.insert(format!("{key}2"), Value::Number(Number::from_f64(n).unwrap()));
            let got = object(&Value::Object(want.clone()).to_string()).unwrap();
            prop_assert_eq!(got.object, want);
            prop_assert!(got.broken.is_empty());
        }
    }
}
