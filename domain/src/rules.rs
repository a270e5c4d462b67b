//! The rules document: what decides, named by its hash in every decision (invariant I9).
//!
//! A document is TOML text that stands in the log as a control record; until there is one, the
//! built-in document is in force. Unknown keys are refused, so that a document never means less
//! than it says.

use std::{collections::BTreeSet, sync::LazyLock};

use schemas::Facts;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The built-in document.
const BUILTIN: &str = include_str!("rules/builtin.toml");

/// Hex digits of the SHA-256 that name a document.
const HASH_DIGITS: usize = 16;

/// Why a text is not a rules document.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Not TOML, or not of this shape; the parser's words say where.
    #[error("parse rules: {0}")]
    Parse(String),
    /// Two names that must differ do not, or one is missing.
    #[error("rules {at}: {problem}")]
    Invalid { at: String, problem: &'static str },
}

/// A rules document in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    hash: String,
    text: String,
    document: Document,
}

/// Where an alert goes, and which rule said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// Name of the route.
    pub rule: String,
    /// Names of the receivers, in the document's order.
    pub receivers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    defaults: Section,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    routes: Vec<Route>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    name: String,
    receivers: Vec<String>,
}

impl Rules {
    /// The built-in document.
    #[expect(clippy::expect_used, reason = "the text is part of this binary, and a test parses it")]
    pub fn builtin() -> &'static Self {
        static RULES: LazyLock<Rules> =
            LazyLock::new(|| Rules::parse(BUILTIN).expect("the built-in rules parse"));
        &RULES
    }

    /// Reads and checks a document.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document: Document = toml::from_str(text).map_err(|e| Error::Parse(e.to_string()))?;
        document.defaults.check("defaults")?;
        let mut hash = const_hex::encode(Sha256::digest(text.as_bytes()));
        hash.truncate(HASH_DIGITS);
        Ok(Self { hash, text: text.to_owned(), document })
    }

    /// The document's name: the first 16 hex digits of its SHA-256.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The document as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where an alert with these facts goes.
    pub fn route(&self, _facts: &Facts) -> Routed {
        // Routes carry no conditions, and `check` lets no route stand behind one that takes all.
        match self.document.defaults.routes.first() {
            Some(route) => Routed { rule: route.name.clone(), receivers: route.receivers.clone() },
            None => Routed { rule: "no_route".into(), receivers: Vec::new() },
        }
    }
}

impl Section {
    fn check(&self, section: &str) -> Result<(), Error> {
        let invalid = |at: String, problem| Err(Error::Invalid { at, problem });
        let at = format!("{section}.routes");
        match self.routes.as_slice() {
            [] => invalid(at, "there is no route"),
            [route] => {
                let at = format!("{at} {:?}", route.name);
                let distinct: BTreeSet<_> = route.receivers.iter().collect();
                if route.name.is_empty() {
                    invalid(at, "the name is empty")
                } else if route.receivers.iter().any(String::is_empty) {
                    invalid(at, "the name of a receiver is empty")
                } else if distinct.len() != route.receivers.len() {
                    invalid(at, "a receiver is named twice")
                } else {
                    Ok(())
                }
            }
            [_, second, ..] => invalid(
                format!("{at} {:?}", second.name),
                "the route above takes every alert, so this one is never reached",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, &str>) {
        let got = Rules::parse(text)
            .map(|rules| rules.document.defaults.routes[0].receivers.join(","))
            .map_err(|e| e.to_string());
        match (got, expect) {
            (Ok(got), Ok(want)) => assert_eq!(got, want),
            (Err(got), Err(want)) => assert!(got.contains(want), "{got:?} lacks {want:?}"),
            (got, want) => panic!("{text:?} gave {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn documents_are_checked() {
        let route = "[[defaults.routes]]\nname = \"a\"\nreceivers = ";
        check(&format!("{route}[\"x\", \"y\"]"), Ok("x,y"));
        check(&format!("{route}[]"), Ok(""));
        check(&format!("{route}[\"x\", \"x\"]"), Err("named twice"));
        check(&format!("{route}[\"\"]"), Err("receiver is empty"));
        check(&format!("{route}[\"x\"]\n{route}[\"y\"]"), Err("never reached"));
        check(&format!("{route}[\"x\"]\nmute = true"), Err("unknown field `mute`"));
        check("[defaults]\nroutes = []", Err("no route"));
        check("", Err("missing field `defaults`"));
        check("{", Err("parse rules"));
    }

    #[test]
    fn the_builtin_document_is_named_by_its_hash() {
        let rules = Rules::builtin();
        assert_eq!(rules.hash().len(), HASH_DIGITS);
        assert_eq!(rules.hash(), Rules::parse(rules.text()).unwrap().hash());
        assert_ne!(rules.hash(), Rules::parse(&format!("{BUILTIN}#")).unwrap().hash());
        assert_eq!(rules.document.defaults.routes[0].name, "everything");
    }
}
