//! Takes credentials out of payloads before anything but the log sees them (invariant I8).
//!
//! Two kinds of rules, both data (`rules.toml`): field names whose values go whatever they hold,
//! and patterns that recognise credentials inside text. A keyword automaton decides which patterns
//! run on a string at all, so that text without any keyword costs one pass.
//!
//! To add a rule: an entry in `rules.toml` and a line in the table of `tests.rs`. The set's version
//! changes with the file, and a replay applies it to what is in the log.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::{borrow::Cow, collections::HashSet, sync::LazyLock};

use aho_corasick::AhoCorasick;
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

#[cfg(test)]
mod tests;

/// What every replacement begins with; the rule's name and `]` follow.
pub const MARK: &str = "[redacted:";

/// Name of the rule that goes by field names.
const FIELD: &str = "field";

/// Why a rule set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The document is not a rule set.
    #[error("read redaction rules: {0}")]
    Document(#[from] toml::de::Error),
    /// A rule's pattern is not a regular expression.
    #[error("compile redaction rule {rule}")]
    Pattern { rule: String, source: regex::Error },
    /// The keywords do not make an automaton.
    #[error("compile redaction keywords")]
    Keywords(#[from] aho_corasick::BuildError),
    /// More rules than the prefilter's bit set has places.
    #[error("redaction rules: {0} value rules, 64 are possible")]
    TooMany(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    fields: Fields,
    value: Vec<ValueRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    exact: Vec<String>,
    suffixes: Vec<String>,
    parts: Vec<String>,
    keep: Vec<String>,
    paths: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueRule {
    name: String,
    keywords: Vec<String>,
    pattern: String,
    #[serde(default)]
    skip_words: bool,
}

struct Pattern {
    name: String,
    regex: Regex,
    skip_words: bool,
}

/// A compiled rule set.
pub struct Redactor {
    version: String,
    exact: HashSet<String>,
    suffixes: Vec<String>,
    parts: Vec<String>,
    keep: HashSet<String>,
    paths: Vec<(String, String)>,
    keywords: AhoCorasick,
    /// Which pattern a keyword stands for.
    keyword_rule: Vec<usize>,
    patterns: Vec<Pattern>,
}

impl Redactor {
    /// The rule set this binary carries.
    pub fn builtin() -> &'static Self {
        #[cfg_attr(
            not(test),
            expect(clippy::expect_used, reason = "a test compiles this constant")
        )]
        static BUILTIN: LazyLock<Redactor> = LazyLock::new(|| {
            Redactor::parse(include_str!("rules.toml")).expect("the built-in rules compile")
        });
        &BUILTIN
    }

    /// Compiles a rule set from its TOML text.
    ///
    /// # Errors
    /// When the text is not a rule set, or a pattern does not compile.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document: Document = toml::from_str(text)?;
        if document.value.len() > 64 {
            return Err(Error::TooMany(document.value.len()));
        }
        let mut keyword_rule = vec![];
        let mut keywords = vec![];
        let mut patterns = vec![];
        for (index, rule) in document.value.into_iter().enumerate() {
            keyword_rule.extend(std::iter::repeat_n(index, rule.keywords.len()));
            keywords.extend(rule.keywords);
            // Credentials are ASCII; without Unicode tables the patterns are small and fast.
            let regex = RegexBuilder::new(&rule.pattern)
                .unicode(false)
                .build()
                .map_err(|source| Error::Pattern { rule: rule.name.clone(), source })?;
            patterns.push(Pattern { name: rule.name, regex, skip_words: rule.skip_words });
        }
        let hash = const_hex::encode(Sha256::digest(text.as_bytes()));
        Ok(Self {
            version: format!("{}-{}", document.name, &hash[..12]),
            exact: document.fields.exact.into_iter().collect(),
            suffixes: document.fields.suffixes,
            parts: document.fields.parts,
            keep: document.fields.keep.into_iter().collect(),
            paths: (document.fields.paths.iter())
                .filter_map(|p| p.split_once('.'))
                .map(|(parent, field)| (plain(parent), plain(field)))
                .collect(),
            keywords: AhoCorasick::builder().ascii_case_insensitive(true).build(&keywords)?,
            keyword_rule,
            patterns,
        })
    }

    /// Name and hash of the rule set; stored beside everything it was applied to.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Redacts `value` in place, drops NUL characters (Postgres refuses them), and returns how many
    /// values were replaced. Marks of an earlier pass are left alone.
    pub fn value(&self, value: &mut Value) -> u32 {
        self.walk("", value)
    }

    /// Redacts text by the value rules and drops NUL characters; returns how many places were
    /// replaced.
    pub fn text<'a>(&self, text: &'a str) -> (Cow<'a, str>, u32) {
        let text = match text.contains('\0') {
            true => Cow::Owned(text.replace('\0', "")),
            false => Cow::Borrowed(text),
        };
        let spans = self.spans(&text);
        if spans.is_empty() {
            return (text, 0);
        }
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for span in &spans {
            out.push_str(&text[done..span.start]);
            out.push_str(MARK);
            out.push_str(&self.patterns[span.rule].name);
            out.push(']');
            done = span.end;
        }
        out.push_str(&text[done..]);
        (Cow::Owned(out), spans.len() as u32)
    }

    fn walk(&self, parent: &str, value: &mut Value) -> u32 {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => {
                let (clean, count) = self.text(text);
                if let Cow::Owned(clean) = clean {
                    *text = clean;
                }
                count
            }
            Value::Array(items) => {
                // Header and tag lists travel as [name, value].
                if let [Value::String(name), second] = items.as_mut_slice()
                    && self.is_secret("", name)
                {
                    return self.replace(second);
                }
                // The arguments of a command: an option, and its value after it.
                let mut of_option = false;
                let mut count = 0;
                for item in items {
                    count += match item {
                        Value::String(_) if of_option => self.replace(item),
                        _ => self.walk(parent, item),
                    };
                    of_option =
                        item.as_str().is_some_and(|s| s.starts_with('-') && self.is_secret("", s));
                }
                count
            }
            Value::Object(map) => self.walk_object(parent, map),
        }
    }

    fn walk_object(&self, parent: &str, map: &mut serde_json::Map<String, Value>) -> u32 {
        // ... or as {"name": ..., "value": ...}.
        let named = ["name", "key", "header", "field"]
            .iter()
            .filter_map(|k| map.get(*k)?.as_str())
            .any(|name| self.is_secret("", name));
        let mut count = 0;
        let mut odd_names = false;
        for (name, value) in map.iter_mut() {
            count += if self.is_secret(parent, name)
                || (named && ["value", "values", "val"].contains(&name.as_str()))
            {
                self.replace(value)
            } else {
                self.walk(name, value)
            };
            // No credential is shorter than this.
            odd_names |= (name.len() >= 12 || name.contains('\0'))
                && matches!(self.text(name).0, Cow::Owned(_));
        }
        if odd_names {
            for (name, value) in std::mem::take(map) {
                let (clean, replaced) = self.text(&name);
                count += replaced;
                map.insert(clean.into_owned(), value);
            }
        }
        count
    }

    /// Puts the mark in the place of a value that says something.
    fn replace(&self, value: &mut Value) -> u32 {
        let empty = match value {
            Value::Null | Value::Bool(_) => true,
            Value::String(text) => text.is_empty() || self.is_marked(text),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Number(_) => false,
        };
        if !empty {
            *value = Value::String(format!("{MARK}{FIELD}]"));
        }
        u32::from(!empty)
    }

    fn is_secret(&self, parent: &str, name: &str) -> bool {
        // Names longer than this are text, not names.
        if name.len() > 128 {
            return false;
        }
        let name = plain(name);
        if self.keep.contains(&name) {
            return false;
        }
        self.exact.contains(&name)
            || self.suffixes.iter().any(|s| name.ends_with(s.as_str()))
            || self.parts.iter().any(|p| name.contains(p.as_str()))
            || (!parent.is_empty()
                && self.paths.iter().any(|(p, f)| *f == name && *p == plain(parent)))
    }

    /// Whether `text` is a mark this rule set leaves, and nothing besides.
    fn is_marked(&self, text: &str) -> bool {
        let name = text.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(']'));
        name.is_some_and(|name| name == FIELD || self.patterns.iter().any(|p| p.name == name))
    }

    /// The places to replace: sorted, disjoint, on character boundaries.
    fn spans(&self, text: &str) -> Vec<Span> {
        let mut wanted = 0u64;
        for hit in self.keywords.find_overlapping_iter(text) {
            wanted |= 1 << self.keyword_rule[hit.pattern().as_usize()];
        }
        let mut spans = vec![];
        while wanted != 0 {
            let rule = wanted.trailing_zeros() as usize;
            wanted &= wanted - 1;
            self.matches(rule, text, &mut spans);
        }
        spans.sort_unstable_by_key(|span| (span.start, span.rule));
        spans.dedup_by(|next, kept| {
            let overlaps = next.start < kept.end;
            if overlaps {
                kept.end = kept.end.max(next.end);
                kept.rule = kept.rule.min(next.rule);
            }
            overlaps
        });
        spans
    }

    fn matches(&self, rule: usize, text: &str, spans: &mut Vec<Span>) {
        let pattern = &self.patterns[rule];
        for found in pattern.regex.captures_iter(text.as_bytes()) {
            let from = usize::from(found.len() > 1);
            for group in found.iter().skip(from).flatten() {
                let (mut start, mut end) = (group.start(), group.end());
                while !text.is_char_boundary(start) {
                    start -= 1;
                }
                while !text.is_char_boundary(end) {
                    end += 1;
                }
                let taken = &text[start..end];
                let prose = pattern.skip_words && is_word(taken);
                if start < end && !prose && !self.is_marked(taken) {
                    spans.push(Span { start, end, rule });
                }
            }
        }
    }
}

struct Span {
    start: usize,
    end: usize,
    rule: usize,
}

/// A field's name in lower case without separators.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
}

/// One plain word, as prose has it: letters only, at most the first one upper-case.
fn is_word(text: &str) -> bool {
    let text = text.trim_end_matches(['.', ':', '!', '?', ')', ']']);
    text.len() <= 20
        && text.bytes().all(|b| b.is_ascii_alphabetic())
        && text.bytes().skip(1).all(|b| b.is_ascii_lowercase())
}
