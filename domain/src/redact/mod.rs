//! Takes credentials out of payloads before anything but the log sees them (invariant I8).
//!
//! Two kinds of rules, both data (`rules.toml`): names of fields whose values go whatever they hold,
//! and expressions that recognise credentials by their shape. Keywords choose what runs on a text at
//! all, so that text without any costs one pass and no memory.
//!
//! ```text
//! value ── walk (JSON: names, pairs, nested JSON) ──┐
//! text ─────────────────────────────────────────────┴─> prefilter ─┬─> rules (shape)
//!                                                                  └─> scan (name=value in text)
//! ```
//!
//! To add a rule: an entry in `rules.toml` and a line in `tests/planted.rs`. The set's version
//! changes with the file, and a replay applies it to what is in the log.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use regex::bytes::Regex;
use serde_json::Value;
use sha2::{Digest, Sha256};

mod names;
mod prefilter;
mod rules;
mod scan;
#[cfg(test)]
mod tests;
mod view;
mod walk;

use names::Names;
use prefilter::{Hits, Prefilter};
use rules::Rule;
use view::{has_hidden, view};

/// What every replacement begins with; the rule's name and `]` follow.
pub const MARK: &str = "[redacted:";

/// Name of the rules that go by field names.
const FIELD: &str = "field";

/// How deep texts within texts are read as JSON. Deeper ones are still read as text.
const NESTING: u8 = 4;

/// How often a text's escapes are read, one within the other.
const ESCAPES: u8 = 4;

/// Why a rule set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The document is not a rule set.
    #[error("read redaction rules")]
    Document(#[from] toml::de::Error),
    /// A rule's pattern is not a regular expression.
    #[error("compile redaction rule {rule}")]
    Pattern { rule: String, source: regex::Error },
    /// A rule says too little, or what cannot be.
    #[error("redaction rule {rule} {reason}")]
    Rule { rule: String, reason: &'static str },
    /// Too many keywords of less than three characters.
    #[error("redaction rules: too many short keywords")]
    Keywords,
    /// More rules than the prefilter's bit set has places.
    #[error("redaction rules: {found} rules, {max} are possible")]
    TooMany { found: usize, max: usize },
}

/// A compiled rule set.
pub struct Redactor {
    version: String,
    names: Names,
    rules: Vec<Rule>,
    prefilter: Prefilter,
    /// What is no credential anywhere.
    allowlist: Option<Regex>,
}

/// A place to replace; no rule is one that goes by a name.
struct Span {
    range: Range<usize>,
    rule: Option<usize>,
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
        let document: rules::Document = toml::from_str(text)?;
        let allowlist = rules::any("allowlist", &document.allowlist.regexes)?;
        let (rules, prefilter) = rules::build(document.rules, &document.names.stems)?;
        let hash = const_hex::encode(Sha256::digest(text.as_bytes()));
        Ok(Self {
            version: format!("{}-{}", document.title, &hash[..12]),
            names: Names::new(document.names)?,
            rules,
            prefilter,
            allowlist,
        })
    }

    /// Title and hash of the rule set; stored beside everything it was applied to.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Redacts `value` in place, drops NUL characters (Postgres refuses them), and returns how many
    /// values were replaced. Marks of an earlier pass are left alone.
    pub fn value(&self, value: &mut Value) -> u32 {
        self.walk("", value, NESTING)
    }

    /// Redacts text and drops NUL characters; returns how many places were replaced.
    pub fn text<'a>(&self, text: &'a str) -> (Cow<'a, str>, u32) {
        self.nested(text, NESTING)
    }

    /// As [`Redactor::text`]; `nesting` is how many more texts within texts may be read as JSON.
    fn nested<'a>(&self, text: &'a str, nesting: u8) -> (Cow<'a, str>, u32) {
        let mut spans = vec![];
        let hits = self.look(text, &mut spans);
        if !hits.any() {
            return (Cow::Borrowed(text), 0);
        }
        let mut text = Cow::Borrowed(text);
        let mut changed = hits.odd && text.contains('\0');
        if changed {
            text = Cow::Owned(text.replace('\0', ""));
        }
        let mut count = 0;
        if nesting > 0
            && let Some(mut value) = json(&text)
        {
            count = self.walk("", &mut value, nesting - 1);
            if count > 0 {
                (text, changed) = (Cow::Owned(value.to_string()), true);
            }
        }
        if changed {
            spans.clear();
            self.look(&text, &mut spans);
        }
        self.look_behind_escapes(&text, hits, &mut spans);
        merge(&mut spans);
        if spans.is_empty() {
            return (text, count);
        }
        (Cow::Owned(self.replaced(&text, &spans)), count + spans.len() as u32)
    }

    /// `text` with marks in the place of `spans`.
    fn replaced(&self, text: &str, spans: &[Span]) -> String {
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for Span { range, rule } in spans {
            out.push_str(&text[done..range.start]);
            out.push_str(MARK);
            out.push_str(rule.map_or(FIELD, |rule| &self.rules[rule].id));
            out.push(']');
            done = range.end;
        }
        out.push_str(&text[done..]);
        out
    }

    /// Adds what `text` says where its characters are not written as themselves.
    fn look_behind_escapes(&self, text: &str, hits: Hits, spans: &mut Vec<Span>) {
        // Escapes hide punctuation and no words: there is a hit, or nothing to find. What is not shown
        // may stand within a word.
        if !hits.named() && !hits.escape && !has_hidden(text) {
            return;
        }
        let mut last = view(text);
        for _ in 0..ESCAPES {
            let Some(seen) = last else { break };
            let mut found = vec![];
            self.look(&seen.text, &mut found);
            let back = |span: Span| Span { range: seen.back(span.range), ..span };
            spans.extend(found.into_iter().map(back));
            last = view(&seen.text).map(|next| next.of(&seen));
        }
    }

    /// Adds the places to replace in `text` as it is written: on character boundaries, in any order.
    fn look(&self, text: &str, spans: &mut Vec<Span>) -> Hits {
        let mut looked = 0;
        let allowed = |value: &str| self.allowed(value);
        let hits = self.prefilter.hits(text, |start| {
            if start >= looked {
                let seen = scan::look(&self.names, &allowed, text, start);
                looked = seen.end;
                spans.extend(seen.value.map(|range| Span { range, rule: None }));
            }
        });
        self.shapes(text, hits.rules, spans);
        hits
    }

    /// Adds what those of the `rules` find in `text`.
    fn shapes(&self, text: &str, mut rules: u128, spans: &mut Vec<Span>) {
        while rules != 0 {
            let rule = rules.trailing_zeros() as usize;
            rules &= rules - 1;
            self.rules[rule].find(text.as_bytes(), |start, end| {
                let range = text.floor_char_boundary(start)..text.ceil_char_boundary(end);
                if !self.allowed(&text[range.clone()]) {
                    spans.push(Span { range, rule: Some(rule) });
                }
            });
        }
    }

    /// The text of the field `name`, if some of `rules` find something in it because of the name.
    fn under_name(&self, name: &str, text: &str, rules: u128) -> Option<(String, u32)> {
        let before = name.len() + 1;
        let mut spans = vec![];
        self.shapes(&format!("{name}={text}"), rules, &mut spans);
        spans.retain_mut(|Span { range, .. }| {
            let within = range.end > before;
            *range = range.start.saturating_sub(before)..range.end.saturating_sub(before);
            within
        });
        merge(&mut spans);
        (!spans.is_empty()).then(|| (self.replaced(text, &spans), spans.len() as u32))
    }

    /// Whether `text`, in the place of a credential, is none.
    fn allowed(&self, text: &str) -> bool {
        self.is_marked(text) || self.allowlist.as_ref().is_some_and(|a| a.is_match(text.as_bytes()))
    }

    /// Whether `text` is a mark this rule set leaves, and nothing besides.
    fn is_marked(&self, text: &str) -> bool {
        let name = text.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(']'));
        name.is_some_and(|name| name == FIELD || self.rules.iter().any(|rule| rule.id == name))
    }
}

/// Sorts spans and joins those that overlap, under the name of the rule that says most.
fn merge(spans: &mut Vec<Span>) {
    let rank = |rule: Option<usize>| rule.unwrap_or(usize::MAX);
    spans.sort_unstable_by_key(|span| (span.range.start, rank(span.rule)));
    spans.dedup_by(|next, kept| {
        let overlaps = next.range.start < kept.range.end;
        if overlaps {
            kept.range.end = kept.range.end.max(next.range.end);
            if rank(next.rule) < rank(kept.rule) {
                kept.rule = next.rule;
            }
        }
        overlaps
    });
}

/// What `text` says if it is a JSON object or array.
fn json(text: &str) -> Option<Value> {
    let text = text.trim();
    let encloses = text.starts_with('{') && text.ends_with('}')
        || text.starts_with('[') && text.ends_with(']');
    if encloses { serde_json::from_str(text).ok() } else { None }
}
