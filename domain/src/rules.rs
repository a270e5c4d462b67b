//! The rules document: what decides, named by its hash in every decision (invariant I9).
//!
//! A document is TOML text that stands in the log as a control record; until there is one, the
//! built-in document is in force. `[defaults]` holds for every project; `[project.<id>]` replaces
//! whole tables of it for one. What a document does not say is as in the built-in one, its routes
//! excepted. Unknown keys are refused, so that a document never means less than it says.
//!
//! To add a kind of rule: its shape in `rules/section.rs`, its default in `rules/builtin.toml`, an
//! accessor here, a line in `rules/diff.rs`.

mod condition;
mod diff;
mod fingerprint;
mod playbook;
mod policy;
mod route;
mod section;
mod telling;
#[cfg(test)]
mod tests;
mod zone;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

use schemas::{ProjectId, SourceId, job::RunbookEntry};
use serde::Deserialize;
use sha2::{Digest, Sha256};

pub use condition::{Conditions, Subject};
pub use diff::{Change, diff};
pub use fingerprint::FingerprintRule;
pub use policy::{ByLevel, Class, Occasion, Policy, Soon, When};
pub use route::{Group, Routed};
pub use section::{Escalation, Expiry, Flapping, Severity, Stale, id_of};
pub use telling::{DigestTimes, Inhibition, Limits, Once, QuietHours, Reminder, Storm};
pub use zone::Zone;

use crate::{
    providers::FieldMap,
    triage::playbook::{Misplaced, Playbook},
};
use section::{Section, Settled};

/// The built-in document.
const BUILTIN: &str = include_str!("rules/builtin.toml");

/// Hex digits of the SHA-256 that name a document.
const HASH_DIGITS: usize = 16;

/// Longest text of a document, in bytes: it travels whole in one record and in one event a lane,
/// and stands in the state of every lane.
const MAX_TEXT: usize = 64 * 1024;

/// Why a text is not a rules document.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Not TOML, not of this shape, or a value that cannot be meant; it says line and column.
    #[error("parse rules: {0}")]
    Parse(String),
    /// More text than a record of it may hold.
    #[error("rules of {bytes} bytes are longer than {MAX_TEXT}")]
    TooLong { bytes: usize },
    /// It came with the name of another text.
    #[error("rules: the text hashes to {hash}, the record says {said}")]
    Misnamed { hash: String, said: String },
}

/// A rules document in force. A copy shares it.
#[derive(Clone, PartialEq, Eq)]
pub struct Rules(Arc<Document>);

/// By its name: the text is long, and what it says much longer.
impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rules").field(&self.hash()).finish()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Document {
    hash: String,
    text: String,
    defaults: Settled,
    /// The projects with a section of their own, the defaults filled in.
    projects: BTreeMap<ProjectId, Settled>,
}

/// A document as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    defaults: Section,
    #[serde(default)]
    project: BTreeMap<ProjectId, Section>,
}

impl Rules {
    /// The built-in document.
    #[expect(clippy::expect_used, reason = "the text is part of this binary, and a test parses it")]
    pub fn builtin() -> &'static Self {
        static RULES: LazyLock<Rules> = LazyLock::new(|| {
            let written: Written = toml::from_str(BUILTIN).expect("the built-in rules parse");
            let defaults = Settled::whole(written.defaults).expect("the built-in rules are whole");
            Rules(Arc::new(Document {
                hash: hash(BUILTIN),
                text: BUILTIN.to_owned(),
                defaults,
                projects: BTreeMap::new(),
            }))
        });
        &RULES
    }

    /// Reads and checks a document.
    ///
    /// # Errors
    /// Says where the text is wrong, by line and column.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_TEXT {
            return Err(Error::TooLong { bytes: text.len() });
        }
        let written: Written = toml::from_str(text).map_err(|e| Error::Parse(e.to_string()))?;
        if written.defaults.routes.is_none() {
            return Err(Error::Parse("[defaults]: there is no route".to_owned()));
        }
        let misplaced = |wrong: Misplaced| Error::Parse(playbook::located(text, &wrong));
        let sections = std::iter::once(&written.defaults).chain(written.project.values());
        playbook::bounded(sections.filter_map(|section| section.playbook.as_ref()))
            .map_err(misplaced)?;
        let defaults = Self::builtin().0.defaults.with(written.defaults).map_err(misplaced)?;
        let projects = written.project.into_iter();
        let projects = projects.map(|(id, section)| Ok((id, defaults.with(section)?)));
        let projects = projects.collect::<Result<_, _>>().map_err(misplaced)?;
        Ok(Self(Arc::new(Document { hash: hash(text), text: text.to_owned(), defaults, projects })))
    }

    /// Reads and checks a document that is known by a name.
    ///
    /// # Errors
    /// As [`Self::parse`], and when the text is another than the name says.
    pub fn named(hash: &str, text: &str) -> Result<Self, Error> {
        let rules = Self::parse(text)?;
        if rules.hash() != hash {
            return Err(Error::Misnamed { hash: rules.hash().to_owned(), said: hash.to_owned() });
        }
        Ok(rules)
    }

    /// The document's name: the first 16 hex digits of its SHA-256.
    pub fn hash(&self) -> &str {
        &self.0.hash
    }

    /// The document as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// How long an older firing is stale.
    pub fn stale(&self, project: &ProjectId) -> &Stale {
        &self.of(project).stale
    }

    /// From when on a problem recurs too often (R27, R28).
    pub fn escalation(&self, project: &ProjectId) -> &Escalation {
        &self.of(project).escalation
    }

    /// After which silence a firing problem counts as over (R70).
    pub fn expiry(&self, project: &ProjectId) -> &Expiry {
        &self.of(project).expiry
    }

    /// From when on a problem that opens and resolves is flapping.
    pub fn flapping(&self, project: &ProjectId) -> &Flapping {
        &self.of(project).flapping
    }

    /// What the project's senders mean by words for severity that are not known to all (R67).
    pub fn severity(&self, project: &ProjectId) -> &Severity {
        &self.of(project).severity
    }

    /// What the problems of a provider's alerts are known by; none: fingerprint v1 (R26).
    pub fn fingerprint(&self, project: &ProjectId, provider: &str) -> Option<&FingerprintRule> {
        self.of(project).fingerprint.get(provider)
    }

    /// Where a source's bodies hold what, for those whose shape is the sender's own.
    pub fn fields(&self, project: &ProjectId, source: &SourceId) -> Option<&FieldMap> {
        self.of(project).fields.get(source)
    }

    /// How soon who is told, by environment and level (R41, R42).
    pub fn policy(&self, project: &ProjectId) -> &Policy {
        &self.of(project).policy
    }

    /// How often a problem is told at most (R43).
    pub fn once(&self, project: &ProjectId) -> &Once {
        &self.of(project).once
    }

    /// What keeps what else from being told.
    pub fn inhibitions(&self, project: &ProjectId) -> &[Inhibition] {
        &self.of(project).inhibit.0
    }

    /// From when on new problems are told in one message (R44).
    pub fn storm(&self, project: &ProjectId) -> &Storm {
        &self.of(project).storm
    }

    /// When only the worst may wake people.
    pub fn quiet_hours(&self, project: &ProjectId) -> &QuietHours {
        &self.of(project).quiet_hours
    }

    /// The step that is taken when nobody acknowledges.
    pub fn reminder(&self, project: &ProjectId) -> &Reminder {
        &self.of(project).reminder
    }

    /// When summaries are told.
    pub fn digest(&self, project: &ProjectId) -> &DigestTimes {
        &self.of(project).digest
    }

    /// How much a project may tell.
    pub fn limits(&self, project: &ProjectId) -> &Limits {
        &self.of(project).limits
    }

    /// What is written of alerts of a kind (R29).
    pub fn playbook(&self, project: &ProjectId) -> &Playbook {
        &self.of(project).playbook
    }

    /// What goes with a triage call about an alert: the entries about it, the closest first.
    pub fn runbook(&self, subject: &Subject<'_>) -> Vec<RunbookEntry> {
        self.playbook(subject.project).runbook(subject)
    }

    /// The routes that take an alert, in the document's order; none where none fits.
    pub fn routes(&self, subject: &Subject<'_>) -> Vec<Routed> {
        self.of(subject.project).routes.take(subject)
    }

    fn of(&self, project: &ProjectId) -> &Settled {
        self.0.projects.get(project).unwrap_or(&self.0.defaults)
    }
}

fn hash(text: &str) -> String {
    let mut hash = const_hex::encode(Sha256::digest(text.as_bytes()));
    hash.truncate(HASH_DIGITS);
    hash
}
