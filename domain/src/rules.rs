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
    #[serde(default)]
    stale: Stale,
    routes: Vec<Route>,
}

/// How long a firing that its sender dates before the problem's last status change is stale.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stale {
    /// What decisions call the rule.
    pub id: String,
    /// Minutes of lane time after the status change.
    minutes: u16,
}

impl Stale {
    /// The longest a document may ask for: within it, a real outage is told to nobody.
    const LONGEST: u16 = 24 * 60;

    /// Seconds of lane time after the status change.
    pub fn seconds(&self) -> i64 {
        i64::from(self.minutes) * 60
    }
}

impl Default for Stale {
    /// What the built-in document says, for a document that says nothing.
    fn default() -> Self {
        Self { id: "stale-firing-10m".to_owned(), minutes: 10 }
    }
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

    /// How long an older firing is stale.
    pub fn stale(&self) -> &Stale {
        &self.document.defaults.stale
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
        let at = format!("{section}.stale");
        if self.stale.id.is_empty() {
            return invalid(at, "the id is empty");
        }
        if self.stale.minutes > Stale::LONGEST {
            return invalid(at, "minutes is more than a day");
        }
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
        let stale = |text: &str| format!("[defaults.stale]\n{text}\n{route}[\"x\"]");
        check(&stale("id = \"s\"\nminutes = 1440"), Ok("x"));
        check(&stale("id = \"s\"\nminutes = 1441"), Err("more than a day"));
        check(&stale("id = \"s\"\nminutes = -1"), Err("parse rules"));
        check(&stale("id = \"\"\nminutes = 1"), Err("id is empty"));
        check(&stale("minutes = 1"), Err("missing field `id`"));
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
        assert_eq!(rules.stale(), &Stale::default());
        assert!(rules.text().contains("[defaults.stale]"));
    }
}
