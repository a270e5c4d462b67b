//! What every provider's alert is put together from: bounds, links, content.

use schemas::{alert::Content, time::Time};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::json;
use crate::redact::{MARK, Redactor};

/// Stored content of one alert, in bytes.
pub(super) const MAX_CONTENT: usize = 64 * 1024;
/// One line of text: titles, names, words. Bytes.
pub(super) const MAX_LINE: usize = 1024;
/// Longer text: messages, annotations. Bytes.
pub(super) const MAX_TEXT: usize = 8 * 1024;
/// All labels, or all annotations, of one alert. Bytes.
const MAX_PAIRS: usize = 48 * 1024;
/// Preview of the content, in characters.
const MAX_PREVIEW: usize = 200;
/// An id, key or identity part; longer ones are hashed. Bytes.
const MAX_ID: usize = 256;

/// The labels an alert's environment is read from, ours and OpenTelemetry's; the first goes first.
pub(super) const ENVIRONMENT: &[&str] = &[
    "environment",
    "env",
    "deployment.environment.name",
    "deployment.environment",
    "deployment_environment",
];

/// The labels a service is read from.
pub(super) const SERVICE: &[&str] = &["service", "service.name", "service_name", "job", "app"];

/// The labels a namespace is read from.
pub(super) const NAMESPACE: &[&str] = &["namespace", "k8s.namespace.name", "k8s_namespace_name"];

/// The labels that say what an alert is about, the most particular first.
pub(super) const TARGET: &[&str] = &[
    "pod",
    "k8s.pod.name",
    "k8s_pod_name",
    "instance",
    "host",
    "host.name",
    "host_name",
    "hostname",
    "node",
    "k8s.node.name",
    "deployment",
    "container",
    "service",
    "service.name",
    "service_name",
    "job",
    "app",
];

/// `text`, cut at a character boundary to at most `max` bytes.
pub(super) fn cut(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].to_owned()
}

/// An id as it is, or its hash when it is too long to be one.
pub(super) fn bounded_id(id: &str) -> String {
    match id.len() {
        0..=MAX_ID => id.to_owned(),
        _ => format!("sha256:{}", const_hex::encode(Sha256::digest(id.as_bytes()))),
    }
}

/// A part of an identity that is taken from a body as received. Redaction must not change who an
/// alert is, and nobody redacted this: what is not a mere number is hashed.
pub(super) fn identity_part(name: &str, value: &str) -> String {
    let value = value.trim();
    match value.len() <= 20 && value.bytes().all(|b| b.is_ascii_digit()) {
        true => format!("{name}:{value}"),
        false => format!("{name}:{}", &const_hex::encode(Sha256::digest(value.as_bytes()))[..32]),
    }
}

/// A link people may follow: http(s) only, without what redaction put into it.
pub(super) fn link(text: &str) -> Option<String> {
    let text = text.trim();
    let scheme = text.split_once("://")?.0;
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let odd = |c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c);
    let mut clean = text.to_owned();
    while let Some(start) = clean.find(MARK) {
        let Some(length) = clean[start..].find(']') else { break };
        clean.replace_range(start..=start + length, "");
    }
    let clean = clean.replacen("://@", "://", 1);
    let host = clean.split_once("://")?.1;
    let named = host.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '[');
    (web && named && !clean.contains(odd) && clean.len() <= 4 * MAX_LINE).then_some(clean)
}

/// The first value of `name` in a link's query, as it is written there.
pub(super) fn query<'a>(link: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = link.split_once('?')?;
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(n, v)| *n == name && !v.is_empty()).map(|(_, v)| v).next()
}

/// Collects name/value pairs until they are too many.
#[derive(Default)]
pub(super) struct Pairs {
    pub list: Vec<(String, String)>,
    size: usize,
    pub left_out: usize,
}

impl Pairs {
    pub fn push(&mut self, name: &str, value: &str, max: usize) {
        let (name, value) = (cut(name, MAX_LINE), cut(value, max));
        self.size += name.len() + value.len();
        match self.size {
            0..=MAX_PAIRS => self.list.push((name, value)),
            _ => self.left_out += 1,
        }
    }

    /// The fields of an object; what is no text is written as JSON.
    pub fn object(value: Option<&Value>, max: usize) -> Self {
        let mut pairs = Self::default();
        for (name, value) in value.and_then(Value::as_object).into_iter().flatten() {
            pairs.push(name, &pair_text(value), max);
        }
        pairs
    }

    /// The first of `names` that has a value which is not blank.
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| {
            let found = self.list.iter().find(|(n, v)| n == name && !v.trim().is_empty());
            found.map(|(_, v)| v.as_str())
        })
    }
}

/// A label's value as text.
pub(super) fn pair_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The content row of an alert; `part` is its redacted part of the body.
pub(super) fn content(
    part: &Value,
    headline: &[Option<&str>],
    redactor: &Redactor,
    replaced: u32,
) -> Content {
    let full = serde_json::to_string(part).unwrap_or_default();
    let mut words = headline.iter().flatten().flat_map(|text| text.split_whitespace());
    let mut preview = String::new();
    let mut length = 0;
    for word in &mut words {
        length += word.chars().count() + usize::from(!preview.is_empty());
        if !preview.is_empty() {
            preview.push(' ');
        }
        preview.push_str(word);
        if length > MAX_PREVIEW {
            preview = preview.chars().take(MAX_PREVIEW - 1).chain(['…']).collect();
            break;
        }
    }
    Content {
        truncated: full.len() > MAX_CONTENT,
        text: if full.len() > MAX_CONTENT { cut(&full, MAX_CONTENT) } else { full },
        preview,
        redaction: redactor.version().to_owned(),
        replaced,
    }
}

/// The content row of an alert that is still being put together.
pub(super) fn no_content() -> Content {
    Content {
        text: String::new(),
        preview: String::new(),
        redaction: String::new(),
        replaced: 0,
        truncated: false,
    }
}

/// The point in time at `path`.
pub(super) fn time_at(value: &Value, path: &[&str]) -> Option<Time> {
    super::times::time(json::at(value, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r51_only_web_links_survive_and_carry_no_tokens() {
        let redacted = |text: &str| {
            let (text, _) = Redactor::builtin().text(text);
            link(&text)
        };
        for (text, expected) in [
            ("https://s.io/issues/1/?referrer=x", Some("https://s.io/issues/1/?referrer=x")),
            ("http://g/d?a=1&auth_token=abc&b=2", Some("http://g/d?a=1&auth_token=&b=2")),
            ("https://u:p@g/d", Some("https://g/d")),
            ("javascript:alert(1)", None),
            ("javascript://x/%0aalert(1)", None),
            ("ftp://x/y", None),
            ("https://", None),
            ("https://a b", None),
            ("https://a/\"onclick=", None),
            ("", None),
        ] {
            assert_eq!(redacted(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn r51_preview_is_one_short_line_and_content_is_capped() {
        let part = Value::String("界".repeat(40_000));
        let headline = "two\nlines ".repeat(80);
        let content = content(&part, &[None, Some(&headline)], Redactor::builtin(), 3);
        assert!(content.truncated && content.text.len() <= MAX_CONTENT);
        assert_eq!(content.preview.chars().count(), 200);
        assert!(content.preview.starts_with("two lines two") && !content.preview.contains('\n'));
    }
}
