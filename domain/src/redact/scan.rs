//! Values that text itself gives a name to: `name=value`, `name: value`, headers, parameters of URLs
//! and forms, options of commands, elements of XML, and JSON or code quoted in prose.

use std::ops::Range;

use super::names::{Kind, Names, Place, is_word};

/// How far a name may reach to each side of its stem. Bytes.
const MAX_SIDE: usize = 64;

/// So much of a value tells whether it is one; nothing that is longer is looked at twice. Bytes.
const MAX_VALUE: usize = 512;

/// How far behind a name a second one may stand that announces its value: `name: x, value: y`, or a
/// type as in `x: &str = "y"`. Bytes.
const NEAR: usize = 48;

/// What was seen around a stem.
pub(super) struct Seen {
    /// Where to go on: before here there is no other name to look at.
    pub end: usize,
    /// The value that goes.
    pub value: Option<Range<usize>>,
}

/// What stands between a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sep {
    /// `=`, `=>`, `:=`
    Assign,
    /// `==`
    Compare,
    Colon,
    /// `name("value")`
    Call,
    /// `"name", "value"`
    Comma,
    /// `--name value`
    Blank,
    /// `<name>value<`
    Element,
}

/// A value, without the quotes around it.
struct Value {
    range: Range<usize>,
    quoted: bool,
    /// It stands alone on the line after its name.
    next_line: bool,
}

/// Looks for a name around the stem that begins at `hit`, and for its value. `allowed` knows what is
/// no credential though it stands in the place of one.
pub(super) fn look(names: &Names, allowed: &dyn Fn(&str) -> bool, text: &str, hit: usize) -> Seen {
    let bytes = text.as_bytes();
    let Some(name_end) = name_end(text, hit) else {
        return Seen { end: hit + 1, value: None };
    };
    let none = Seen { end: name_end, value: None };
    let (closed, quoted) = after_name(bytes, name_end);
    let Some((sep, after)) = separator(bytes, closed) else { return none };
    let start = name_start(text, hit);
    let name = &text[start..name_end];
    let before = &bytes[..start];
    let fits = match sep {
        Sep::Assign | Sep::Compare | Sep::Colon => true,
        Sep::Call => !quoted,
        Sep::Comma => quoted,
        Sep::Blank => name.starts_with('-'),
        Sep::Element => is_element(before),
    };
    // `name: x` may be followed by `value: y`, where x is the name that was found.
    let second = match sep {
        Sep::Comma | Sep::Blank => second_name(bytes, closed),
        Sep::Assign | Sep::Compare | Sep::Colon | Sep::Call | Sep::Element => None,
    };
    let (sep, after, quoted) = match (fits, second) {
        (_, Some(after)) => (Sep::Colon, after, true),
        (true, None) => (sep, after, quoted),
        (false, None) => return none,
    };
    let place = match sep {
        Sep::Assign if is_parameter(before) => Place::Query,
        _ if quoted => Place::Key,
        _ => Place::Text,
    };
    let Some(kind) = names.kind(name, place) else { return none };
    let name = Name { text: name, before, kind, sep, quoted, place };
    // What is no credential after all is looked at again by the next name: it has to be short.
    let near = &text[..text.floor_char_boundary(after + MAX_VALUE)];
    if kind == Kind::Random
        && !name.value(names, near, after).is_some_and(|v| names.is_random(&near[v.range]))
    {
        return none;
    }
    let Some(value) = name.value(names, text, after) else { return none };
    let told = &text[value.range.clone()];
    let secret = match told.len() {
        0 => false,
        1..MAX_VALUE => !allowed(told) && name.announces(names, told, &value),
        _ => true,
    };
    match secret {
        true => Seen { end: value.range.end.max(name_end), value: Some(value.range) },
        false => none,
    }
}

/// A name, and how it stands there.
struct Name<'a> {
    text: &'a str,
    /// All of the text before it.
    before: &'a [u8],
    kind: Kind,
    sep: Sep,
    quoted: bool,
    place: Place,
}

impl Name<'_> {
    /// The value that begins at `at`, without what is not its own.
    fn value(&self, names: &Names, text: &str, at: usize) -> Option<Value> {
        let found = match (self.kind, self.sep) {
            (_, Sep::Element) => {
                let rest = &text[at..];
                let end = rest.find('<').unwrap_or(rest.len());
                // Otherwise it is a placeholder in prose: `run <token> <file>`.
                let closed = rest[end..].starts_with("</");
                let cut = end == rest.len() && !rest.contains(char::is_whitespace);
                let range = at..at + end;
                (closed || cut).then_some(Value { range, quoted: true, next_line: false })
            }
            (Kind::Authorization | Kind::Cookie, Sep::Colon | Sep::Assign | Sep::Compare) => {
                header(names, self.kind, text, self.before, at)
            }
            (_, sep) => value(text, at, sep, self.place),
        }?;
        Some(Value { range: trimmed(text, found.range.clone(), found.quoted), ..found })
    }

    /// Whether `told` is the credential that this name announces, and not prose or code.
    fn announces(&self, names: &Names, told: &str, value: &Value) -> bool {
        let phrase = match self.kind {
            Kind::Random | Kind::Authorization | Kind::Cookie => return true,
            Kind::Phrase => true,
            Kind::Credential => false,
        };
        let prose = || is_word(told) || told.len() < 4;
        if value.next_line {
            return if phrase { !told.contains([':', '=']) } else { !prose() };
        }
        let digits = told.bytes().filter(u8::is_ascii_digit).count();
        let code = || !value.quoted && (names.is_code(told) || self.is_handed_on(names, told));
        match self.sep {
            Sep::Assign => {
                let number = digits == told.len() && digits <= 3;
                value.quoted || !code() && (phrase || !number)
            }
            Sep::Compare => {
                let version = told.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                value.quoted || digits > 0 && !version
            }
            Sep::Colon if self.quoted && value.quoted => true,
            Sep::Colon => !code() && (phrase || !prose()),
            Sep::Call | Sep::Comma => !prose() && names.kind(told, Place::Text).is_none(),
            Sep::Blank => phrase || !is_word(told),
            Sep::Element => true,
        }
    }

    /// Code hands values on by their names: `login(password=password)`, `token = reply.token`.
    fn is_handed_on(&self, names: &Names, told: &str) -> bool {
        let path = told.trim_end_matches([')', ',', ';', ':']);
        let last = path.rsplit(['.', '>', ':']).next().unwrap_or_default();
        let of_path = |b: u8| b.is_ascii_alphabetic() || b"_.->:".contains(&b);
        path.eq_ignore_ascii_case(self.text)
            || path.len() > last.len()
                && path.bytes().all(of_path)
                && names.kind(last, Place::Text).is_some()
    }
}

/// Whether `c` may stand in a name.
fn in_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Where the name around `hit` ends, or none if it is too long to be one.
fn name_end(text: &str, hit: usize) -> Option<usize> {
    let rest = &text[hit..text.floor_char_boundary(hit + MAX_SIDE)];
    match rest.find(|c: char| !in_name(c)) {
        Some(length) => Some(hit + length),
        None => (hit + rest.len() == text.len()).then_some(text.len()),
    }
}

/// Where it begins, or where so much of it stands that its end says all.
fn name_start(text: &str, hit: usize) -> usize {
    let mut start = hit;
    for (at, c) in text[..hit].char_indices().rev() {
        if !in_name(c) || hit - at > MAX_SIDE {
            break;
        }
        start = at;
    }
    start
}

fn starts(bytes: &[u8], at: usize, with: &[u8]) -> bool {
    bytes.get(at..at + with.len()).is_some_and(|found| found.eq_ignore_ascii_case(with))
}

/// Whether a quote stands at `at`.
fn quote(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied().filter(|b| matches!(b, b'"' | b'\'' | b'`'))
}

/// Passes what closes a name: quotes, brackets, emphasis. True if a quote was among it.
fn after_name(bytes: &[u8], mut at: usize) -> (usize, bool) {
    let mut quoted = false;
    for _ in 0..4 {
        match bytes.get(at) {
            Some(b'"' | b'\'' | b'`') => quoted = true,
            Some(b']' | b'*') => {}
            _ => break,
        }
        at += 1;
    }
    (at, quoted)
}

fn blanks(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// What separates a name that ends at `at` from a value, and where that begins.
fn separator(bytes: &[u8], at: usize) -> Option<(Sep, usize)> {
    let found = blanks(bytes, at);
    let (sep, length) = match &bytes[found..] {
        [b'=', b'~', ..] | [b':', b':', ..] | [b':', b'/', b'/', ..] => return None,
        [b'=', b'=', b'=', ..] => (Sep::Compare, 3),
        [b'=', b'=', ..] => (Sep::Compare, 2),
        [b'=', b'>', ..] | [b':', b'=', ..] => (Sep::Assign, 2),
        [b'=', ..] => (Sep::Assign, 1),
        [b':', ..] => (Sep::Colon, 1),
        [0xEF, 0xBC, 0x9A, ..] => (Sep::Colon, 3),
        [0xEF, 0xBC, 0x9D, ..] => (Sep::Assign, 3),
        [b'(', ..] if found == at => (Sep::Call, 1),
        [b',', ..] => (Sep::Comma, 1),
        [b'>', ..] if found == at => (Sep::Element, 1),
        [b'\n' | b'\r', ..] => (Sep::Blank, 0),
        _ if found > at => (Sep::Blank, 0),
        _ => return None,
    };
    Some((sep, found + length))
}

/// Where the value of a following `value:` begins.
fn second_name(bytes: &[u8], at: usize) -> Option<usize> {
    let gap = |b: &u8| b.is_ascii_whitespace() || matches!(b, b',' | b'"' | b'\'' | b'-');
    let passed = bytes[at..].iter().take(NEAR).take_while(|b| gap(b)).count();
    let word = at + passed;
    if !starts(bytes, word, b"value") {
        return None;
    }
    match separator(bytes, after_name(bytes, word + b"value".len()).0)? {
        (Sep::Assign | Sep::Colon, after) => Some(after),
        _ => None,
    }
}

/// Whether what stands before a name makes it a parameter of a URL or form.
fn is_parameter(before: &[u8]) -> bool {
    matches!(before.last(), Some(b'?' | b'&' | b'#'))
}

/// Whether what stands before a name makes it that of an element, with a namespace or without.
fn is_element(before: &[u8]) -> bool {
    let space = before.iter().rev().take(MAX_SIDE);
    let space = space.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'));
    before.len().checked_sub(space.count() + 1).is_some_and(|at| before[at] == b'<')
}

/// The value that begins at `at`.
fn value(text: &str, at: usize, sep: Sep, place: Place) -> Option<Value> {
    let bytes = text.as_bytes();
    let mut at = blanks(bytes, at);
    // **Name:** value
    if starts(bytes, at, b"**") && bytes.get(at + 2) != Some(&b'*') {
        at = blanks(bytes, at + 2);
    }
    if sep == Sep::Colon {
        at = past_type(bytes, at);
    }
    for wrapper in ["Some(", "String(", "Secret("] {
        if text[at..].starts_with(wrapper) && quote(bytes, at + wrapper.len()).is_some() {
            at += wrapper.len();
        }
    }
    // b'...', r"...", @"..."
    for _ in 0..2 {
        let letter = bytes.get(at).is_some_and(|b| b"bBrRuUfF@".contains(b));
        let next = bytes.get(at + 1).is_some_and(|b| b"bBrR\"'".contains(b));
        if letter && next && (quote(bytes, at + 1).is_some() || quote(bytes, at + 2).is_some()) {
            at += 1;
        }
    }
    if let Some(mark) = quote(bytes, at) {
        let range = at + 1..closing(bytes, at + 1, mark);
        return Some(Value { range, quoted: true, next_line: false });
    }
    if matches!(sep, Sep::Call | Sep::Comma) || (sep == Sep::Blank && bytes.get(at) == Some(&b'-'))
    {
        return None;
    }
    let line_ends = matches!(bytes.get(at), Some(b'\n' | b'\r'))
        || matches!(bytes.get(at..at + 2), Some(b"|\n" | b">\n"));
    if sep == Sep::Colon && line_ends {
        return next_line(text, at);
    }
    let range = at..unquoted(bytes, at, place);
    Some(Value { range, quoted: false, next_line: false })
}

/// Passes the type in `name: type = "value"`, if that is what stands at `at`.
fn past_type(bytes: &[u8], at: usize) -> usize {
    let of_type = |b: &&u8| b.is_ascii_alphanumeric() || b"_&'<>:[]?.| ".contains(b);
    let length = bytes[at..].iter().take(NEAR).take_while(of_type).count();
    if length == 0 || bytes.get(at + length) != Some(&b'=') {
        return at;
    }
    let after = blanks(bytes, at + length + 1);
    if quote(bytes, after).is_some() { after } else { at }
}

/// The only word of the next line that is not empty.
fn next_line(text: &str, at: usize) -> Option<Value> {
    let rest = &text[at..];
    let word = rest.find(|c: char| !c.is_whitespace() && c != '|' && c != '>')? + at;
    if word - at > NEAR {
        return None;
    }
    let line = text[word..].lines().next().unwrap_or_default().trim_end();
    let alone = !line.contains(char::is_whitespace) && line.len() > 1;
    alone.then_some(Value { range: word..word + line.len(), quoted: false, next_line: true })
}

/// Where a value in quotes ends: at a `mark` that is not escaped, or at the end of the line.
fn closing(bytes: &[u8], start: usize, mark: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in (start..).zip(&bytes[start..]) {
        if matches!(byte, b'\n' | b'\r') || (*byte == mark && !escaped) {
            return at;
        }
        escaped = *byte == b'\\' && !escaped;
    }
    bytes.len()
}

/// What ends a value in Chinese and Japanese text.
const WIDE_STOPS: [&str; 8] = ["\u{3000}", "、", "。", "，", "；", "！", "）", "」"];

/// Where a value without quotes ends.
fn unquoted(bytes: &[u8], start: usize, place: Place) -> usize {
    for (at, byte) in (start..).zip(&bytes[start..]) {
        let ends = match byte {
            b'"' | b'\'' | b'`' | b'<' | b'>' => true,
            b'&' if place == Place::Query => true,
            b'#' => place == Place::Query,
            // Between pairs, and not within a value.
            b'&' => ends_value(bytes, at + 1) || is_entity(&bytes[at + 1..]),
            b',' | b';' => ends_value(bytes, at + 1),
            b'\\' => matches!(bytes.get(at + 1), Some(b'n' | b'r' | b't' | b'"' | b'\'')),
            0xE3 | 0xEF => WIDE_STOPS.iter().any(|stop| starts(bytes, at, stop.as_bytes())),
            byte => byte.is_ascii_whitespace(),
        };
        if ends {
            return at;
        }
    }
    bytes.len()
}

/// Whether another pair, or nothing of a value, begins at `at`.
fn ends_value(bytes: &[u8], at: usize) -> bool {
    let name = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let length = bytes[at..].iter().take(NEAR).take_while(name).count();
    match bytes.get(at + length) {
        None => length == 0,
        Some(b'=' | b':') => true,
        Some(b'"' | b'\'' | b'\\' | b'{' | b'[') => length == 0,
        Some(byte) => length == 0 && byte.is_ascii_whitespace(),
    }
}

/// Whether `rest` goes on as `&amp;` or `&#34;` do.
fn is_entity(rest: &[u8]) -> bool {
    let length =
        rest.iter().take(6).take_while(|b| b.is_ascii_alphanumeric() || **b == b'#').count();
    length > 1 && rest.get(length) == Some(&b';')
}

/// The value of an Authorization or Cookie header that begins at `at`.
fn header(names: &Names, kind: Kind, text: &str, before: &[u8], at: usize) -> Option<Value> {
    let bytes = text.as_bytes();
    let start = blanks(bytes, at);
    let value = |range, quoted| Value { range, quoted, next_line: false };
    if let Some(mark) = quote(bytes, start) {
        return Some(value(start + 1..closing(bytes, start + 1, mark), true));
    }
    // Only near: whether this is a header must not depend on how long the line is.
    let near = &text[start..text.floor_char_boundary(start + MAX_VALUE)];
    let near = near.lines().next().unwrap_or_default();
    let mut words = near.split_ascii_whitespace();
    let first = words.next()?.trim_end_matches(',');
    let scheme = names.is_scheme(first);
    let fits = match kind {
        Kind::Cookie => near.contains('='),
        _ => scheme || !is_word(first),
    };
    if !fits {
        return None;
    }
    // 'Name: value' in quotes of its own, as curl has it.
    if let Some(mark) = before.len().checked_sub(1).and_then(|last| quote(before, last)) {
        return Some(value(start..closing(bytes, start, mark), false));
    }
    let line = before.iter().rev().take_while(|b| **b != b'\n').take(NEAR);
    let opens_line = line.into_iter().all(|b| b.is_ascii_whitespace() || matches!(b, b'<' | b'>'));
    if kind == Kind::Cookie || opens_line {
        // In a string that holds several lines, escapes part them.
        let ends = |n: &usize| {
            matches!(bytes[*n], b'\n' | b'\r' | b'"')
                || bytes[*n] == b'\\' && matches!(bytes.get(n + 1), Some(b'n' | b'r'))
        };
        let end = (start..bytes.len()).find(ends).unwrap_or(bytes.len());
        return Some(value(start..end, false));
    }
    let mut end = unquoted_word(bytes, start);
    if scheme {
        // One word more, and one after each comma.
        loop {
            let next = blanks(bytes, end);
            let comma = next > 0 && bytes[next - 1] == b',';
            end = unquoted_word(bytes, next);
            if end == next || !(comma || bytes[end - 1] == b',') {
                break;
            }
        }
    }
    Some(value(start..end, false))
}

/// Where the word that begins at `at` ends.
fn unquoted_word(bytes: &[u8], at: usize) -> usize {
    let stops = |b: &&u8| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\'' | b'`' | b'\\');
    at + bytes[at..].iter().take_while(stops).count()
}

/// Leaves out blanks around a value, and brackets that were opened before it.
fn trimmed(text: &str, range: Range<usize>, quoted: bool) -> Range<usize> {
    let value = &text[range.clone()];
    let start = range.start + (value.len() - value.trim_start().len());
    let mut end = start + text[start..range.end].trim_end().len();
    // The end of a line of code or of a clause.
    if !quoted && text[start..end].ends_with(':') {
        end -= 1;
    }
    while !quoted && end > start {
        let value = &text[start..end];
        let of =
            |wanted: &[u8]| value.bytes().rev().take(NEAR).filter(|b| wanted.contains(b)).count();
        if !value.ends_with([')', ']', '}']) || of(b")]}") <= of(b"([{") {
            break;
        }
        end -= 1;
    }
    start..end
}
