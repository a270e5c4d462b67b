//! An entry of the playbook as it is written.

use std::ops::Range;

use schemas::job::RunbookEntry;
use serde::Deserialize;
use toml::Spanned;

use super::when::When;
use crate::{rules::id_of, triage::clean::clean};

/// Longest texts, in characters.
const TEXT_MAX: usize = 500;
const CHECK_MAX: usize = 300;
const OWNER_MAX: usize = 100;
const LINK_MAX: usize = 300;

/// Most of each in one entry.
const CONDITIONS_MAX: usize = 12;
const CHECKS_MAX: usize = 8;

/// The family of an entry that names none.
const NO_FAMILY: &str = "own";

/// How sure an entry is that does not say.
const CONFIDENCE_PERCENT: u8 = 50;

/// An entry as written. Of one whose id is known already, what it does not say stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Read")]
pub struct Written {
    pub id: String,
    /// Where its id stands in the document, in bytes.
    pub at: Range<usize>,
    pub disabled: Option<bool>,
    pub family: Option<String>,
    pub when: Option<Vec<When>>,
    pub texts: Texts,
}

/// What an entry says, where it says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    pub cause: Option<String>,
    pub impact: Option<String>,
    pub checks: Option<Vec<String>>,
    pub fix: Option<String>,
    pub prevention: Option<String>,
    pub owner: Option<String>,
    pub link: Option<String>,
    pub confidence_percent: Option<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    id: Spanned<String>,
    disabled: Option<bool>,
    /// What belongs together: a product, a language, a team.
    family: Option<String>,
    /// When it is about an alert: any of them.
    when: Option<Vec<When>>,
    cause: Option<String>,
    impact: Option<String>,
    /// What to look at first, in order.
    checks: Option<Vec<String>>,
    fix: Option<String>,
    prevention: Option<String>,
    /// Who knows more.
    owner: Option<String>,
    /// Where more is written; https only.
    link: Option<String>,
    confidence_percent: Option<u8>,
}

impl TryFrom<Read> for Written {
    type Error = String;

    fn try_from(read: Read) -> Result<Self, String> {
        let (at, id) = (read.id.span(), read.id.into_inner());
        let wrong = |problem: String| format!("entry {id:?}: {problem}");
        let name = |text: String| id_of(text).map_err(|problem| wrong(problem.to_owned()));
        name(id.clone())?;
        let family = read.family.map(name).transpose()?;
        if let Some(when) = &read.when {
            match when.len() {
                0 => return Err(wrong("when is empty: use disabled = true".to_owned())),
                1..=CONDITIONS_MAX => {}
                many => {
                    return Err(wrong(format!("{many} conditions: use at most {CONDITIONS_MAX}")));
                }
            }
        }
        let text = |key: &str, text: Option<String>, longest: usize| {
            let of = |text: String| plain(&text, longest).map_err(|e| wrong(format!("{key} {e}")));
            text.map(of).transpose()
        };
        let checks = match read.checks {
            Some(checks) if checks.len() > CHECKS_MAX => {
                return Err(wrong(format!("{} checks: use at most {CHECKS_MAX}", checks.len())));
            }
            checks => checks.map(|checks| {
                let each = checks.iter().map(|check| plain(check, CHECK_MAX));
                each.collect::<Result<Vec<_>, _>>().map_err(|e| wrong(format!("a check {e}")))
            }),
        };
        if read.confidence_percent.is_some_and(|percent| percent > 100) {
            return Err(wrong("confidence_percent is more than 100".to_owned()));
        }
        if let Some(link) = &read.link
            && !is_link(link)
        {
            let problem = "link is no address that starts with https:// and names a host, or is \
                           longer than 300 characters";
            return Err(wrong(problem.to_owned()));
        }
        let texts = Texts {
            cause: text("cause", read.cause, TEXT_MAX)?,
            impact: text("impact", read.impact, TEXT_MAX)?,
            checks: checks.transpose()?,
            fix: text("fix", read.fix, TEXT_MAX)?,
            prevention: text("prevention", read.prevention, TEXT_MAX)?,
            owner: text("owner", read.owner, OWNER_MAX)?,
            link: read.link,
            confidence_percent: read.confidence_percent,
        };
        Ok(Self { id, at, disabled: read.disabled, family, when: read.when, texts })
    }
}

impl Written {
    /// The family it names, or that of those without one.
    pub fn family(&self) -> &str {
        self.family.as_deref().unwrap_or(NO_FAMILY)
    }

    /// An entry that was not known before.
    ///
    /// # Errors
    /// Names what it does not say.
    pub fn new_entry(&self) -> Result<RunbookEntry, String> {
        let lacks = |key: &str| {
            let id = &self.id;
            format!("entry {id:?} is not known, so it is a new one, and lacks {key}")
        };
        if self.when.is_none() {
            return Err(lacks("when"));
        }
        let texts = self.texts.clone();
        Ok(RunbookEntry {
            id: self.id.clone(),
            cause: texts.cause.ok_or_else(|| lacks("cause"))?,
            impact: texts.impact.ok_or_else(|| lacks("impact"))?,
            checks: texts.checks.ok_or_else(|| lacks("checks"))?,
            fix: texts.fix.ok_or_else(|| lacks("fix"))?,
            prevention: texts.prevention.ok_or_else(|| lacks("prevention"))?,
            owner: texts.owner,
            link: texts.link,
            confidence_percent: texts.confidence_percent.unwrap_or(CONFIDENCE_PERCENT),
        })
    }
}

impl Texts {
    /// `entry` with what is said here instead.
    pub fn over(&self, entry: &RunbookEntry) -> RunbookEntry {
        let mut entry = entry.clone();
        let put = |text: &mut String, said: &Option<String>| {
            if let Some(said) = said {
                text.clone_from(said);
            }
        };
        put(&mut entry.cause, &self.cause);
        put(&mut entry.impact, &self.impact);
        put(&mut entry.fix, &self.fix);
        put(&mut entry.prevention, &self.prevention);
        if let Some(checks) = &self.checks {
            entry.checks.clone_from(checks);
        }
        if self.owner.is_some() {
            entry.owner.clone_from(&self.owner);
        }
        if self.link.is_some() {
            entry.link.clone_from(&self.link);
        }
        if let Some(percent) = self.confidence_percent {
            entry.confidence_percent = percent;
        }
        entry
    }
}

/// A text that says something, is short enough, and is nothing but words: it goes into messages,
/// where addresses, mentions and markup would do something.
fn plain(text: &str, longest: usize) -> Result<String, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join("\n");
    let characters = text.chars().count();
    if characters == 0 {
        return Err("is empty".to_owned());
    }
    if characters > longest {
        return Err(format!("is {characters} characters long: use at most {longest}"));
    }
    if clean(&text) != text {
        let problem = "holds an address, a mention, a tag or Markdown: use plain words (names of \
                       what is to be filled in as $NAME, an address as link)";
        return Err(problem.to_owned());
    }
    Ok(text)
}

/// An address that may be shown: https, a host, no credentials, and nothing that ends it early where
/// it is shown.
pub fn is_link(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    text.len() <= LINK_MAX
        && !authority.is_empty()
        && authority.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c))
        && text.chars().all(|c| c.is_ascii_graphic() && !"<>\"'`()|\\*".contains(c))
}
