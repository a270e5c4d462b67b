//! Conditions as a document writes them: a list of matchers, all of which have to match.

use std::{borrow::Cow, fmt};

use schemas::{Facts, ProjectId, record::MatchOperator};
use serde::Deserialize;

use crate::matcher::{self, Matchers};

/// What conditions look at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub project: &'a ProjectId,
    pub facts: &'a Facts,
}

impl<'a> Subject<'a> {
    /// What goes by `name`, as matchers see it; empty where there is nothing.
    pub fn value(&self, name: &str) -> Cow<'a, str> {
        matcher::value(self.facts, self.project, name)
    }
}

/// Matchers of a rules document; none fit every alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Conditions(Matchers);

impl Conditions {
    /// Whether all of them match.
    pub fn hold(&self, subject: &Subject<'_>) -> bool {
        self.0.matches(subject.facts, subject.project)
    }

    /// True when there is none, so that everything fits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many matchers there are.
    pub fn len(&self) -> usize {
        self.0.list().len()
    }

    /// The expressions that values are compared with.
    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        self.0.list().filter_map(|matcher| match matcher.operator {
            MatchOperator::Equal | MatchOperator::NotEqual => None,
            MatchOperator::Regex | MatchOperator::NotRegex => Some(matcher.value.as_str()),
        })
    }
}

impl TryFrom<Vec<String>> for Conditions {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let mut all = Vec::new();
        for text in &texts {
            let matchers = Matchers::parse(text).map_err(|e| format!("matcher {text:?}: {e}"))?;
            all.extend(matchers.list().cloned());
        }
        Matchers::new(all).map(Self).map_err(|e| e.to_string())
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
