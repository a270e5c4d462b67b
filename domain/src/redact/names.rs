//! The rules that go by the names of fields.

use regex::bytes::Regex;
use serde::Deserialize;

use super::{
    Error,
    rules::{compile, entropy},
};

/// Longer names are text. Bytes.
pub(super) const MAX_NAME: usize = 128;

/// The section `names` of a rule set; `rules.toml` says what each list means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub stems: Vec<String>,
    exact: Vec<String>,
    keys: Vec<String>,
    query: Vec<String>,
    parts: Vec<String>,
    suffixes: Vec<String>,
    phrases: Vec<String>,
    authorization: Vec<String>,
    cookie: Vec<String>,
    schemes: Vec<String>,
    random: Vec<String>,
    entropy: f64,
    keep: Vec<String>,
    keep_suffixes: Vec<String>,
    paths: Vec<String>,
    code: String,
}

/// The name rules, compiled.
pub(super) struct Names {
    document: Document,
    /// (parent, field), both plain.
    paths: Vec<(String, String)>,
    code: Regex,
}

/// Where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In running text, where many a word is no name.
    Text,
    /// Where only names stand: keys of JSON, headers, labels.
    Key,
    /// A parameter of a URL or form.
    Query,
}

/// What kind of value a name announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A password: any text.
    Phrase,
    /// A credential that some machine made.
    Credential,
    /// A scheme and credentials.
    Authorization,
    /// Pairs of name and value.
    Cookie,
    /// A credential if it looks random.
    Random,
}

impl Names {
    pub fn new(document: Document) -> Result<Self, Error> {
        let lists = [&document.exact, &document.keys, &document.query, &document.parts];
        let more =
            [&document.suffixes, &document.authorization, &document.cookie, &document.random];
        for name in lists.into_iter().chain(more).flatten() {
            if !document.stems.iter().any(|stem| name.contains(stem.as_str())) {
                return Err(Error::Rule { rule: name.clone(), reason: "holds none of the stems" });
            }
        }
        let code = compile("names.code", &document.code)?;
        let paths = document.paths.iter().filter_map(|path| path.split_once('.'));
        let paths = paths.map(|(parent, field)| (plain(parent), plain(field))).collect();
        Ok(Self { document, paths, code })
    }

    /// What the value of `name` is, or none if it is no credential.
    pub fn kind(&self, name: &str, place: Place) -> Option<Kind> {
        if name.len() > MAX_NAME {
            return None;
        }
        let name = &plain(name);
        let names = &self.document;
        let is = |list: &[String]| list.iter().any(|entry| entry == name);
        let ends = |list: &[String]| list.iter().any(|entry| name.ends_with(entry.as_str()));
        let holds = |list: &[String]| list.iter().any(|entry| name.contains(entry.as_str()));
        if is(&names.keep) || ends(&names.keep_suffixes) {
            None
        } else if ends(&names.authorization) {
            Some(Kind::Authorization)
        } else if ends(&names.cookie) {
            Some(Kind::Cookie)
        } else if holds(&names.phrases) {
            Some(Kind::Phrase)
        } else if is(&names.exact)
            || ends(&names.suffixes)
            || holds(&names.parts)
            || (place != Place::Text && is(&names.keys))
            || (place == Place::Query && is(&names.query))
        {
            Some(Kind::Credential)
        } else if ends(&names.random) {
            Some(Kind::Random)
        } else {
            None
        }
    }

    /// Whether `parent.field` is one of the listed paths.
    pub fn is_path(&self, parent: &str, field: &str) -> bool {
        let same = |name: &str, wanted: &str| plain_chars(name).eq(wanted.chars());
        self.paths.iter().any(|(p, f)| same(field, f) && same(parent, p))
    }

    /// Whether `word` opens the value of an Authorization header.
    pub fn is_scheme(&self, word: &str) -> bool {
        self.document.schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(word))
    }

    /// Whether `value` looks made by a machine to be unguessable: long, of both cases and digits,
    /// and not put together from short parts as the names of things are.
    pub fn is_random(&self, value: &str) -> bool {
        let count = |is: fn(&u8) -> bool| value.bytes().filter(is).count();
        value.len() >= 16
            && count(u8::is_ascii_digit) >= 2
            && count(u8::is_ascii_lowercase) > 0
            && count(u8::is_ascii_uppercase) > 0
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_~.-".contains(&b))
            && value.split(['-', '_', '.', '~', '/']).any(|part| part.len() >= 12)
            && entropy(value.as_bytes()) >= self.document.entropy
    }

    /// Whether `value`, not in quotes, is code that computes a value.
    pub fn is_code(&self, value: &str) -> bool {
        self.code.is_match(value.as_bytes())
    }
}

/// A name in lower case without separators.
fn plain(name: &str) -> String {
    plain_chars(name).collect()
}

fn plain_chars(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase())
}

/// One plain word, as prose has it: letters only, at most the first one upper-case; or several with
/// separators between them, as names of things are.
pub(super) fn is_word(text: &str) -> bool {
    let text = text.trim_end_matches(['.', ':', '!', '?', ')', ']', ',']);
    let mut parts = text.split(['-', '.', '/', '_']);
    let first = parts.next().unwrap_or_default();
    let word = |part: &str| {
        part.len() <= 20
            && part.bytes().all(|b| b.is_ascii_alphabetic())
            && part.bytes().skip(1).all(|b| b.is_ascii_lowercase())
    };
    word(first)
        && parts.all(|part| {
            !part.is_empty() && word(part) && part.bytes().all(|b| b.is_ascii_lowercase())
        })
}
