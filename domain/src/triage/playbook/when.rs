//! When an entry of the playbook is about an alert, and how closely.

use std::{
    cell::OnceCell,
    fmt::{self, Write as _},
};

use regex::{Regex, RegexSet};
use serde::Deserialize;

use crate::{
    matcher,
    rules::{Conditions, Subject},
};

/// Most names, types, places or phrases of one condition, and the longest of them in characters.
const MOST: usize = 32;
const LONGEST: usize = 200;

/// Fewest letters and digits that tell one thing from another.
const FEWEST: usize = 3;

/// What one compiled expression may take, in bytes.
const REGEX_BYTES: usize = 1 << 17;

/// How much of an alert's texts is looked at, in bytes of each.
const LOOKED_AT: usize = 4_096;

/// How closely each condition says what is meant: the name of an alert rule more than an exception's
/// type, that more than words of its text, those more than where it happened.
const NAMED: u32 = 1_000;
const TYPED: u32 = 600;
const NAMED_LOOSELY: u32 = 400;
const TYPED_LOOSELY: u32 = 350;
const SAID: u32 = 300;
const PLACED: u32 = 200;
const MATCHED: u32 = 60;

/// Of more matchers no more is made.
const MATCHERS_COUNTED: u32 = 8;

/// Conditions as written; all that are stated have to hold, of each list one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Written {
    /// Names of alert rules. Capitals, spaces and punctuation are not compared; `*` is any text.
    alertname: Vec<String>,
    /// Types of exceptions, by their last part (`NullPointerException`); `*` is any text.
    exception: Vec<String>,
    /// Words of where it happened: the culprit, and files and functions of the stack.
    culprit: Vec<String>,
    /// Phrases of the title, the message, the summary or the description. Capitals and the width of
    /// gaps are not compared.
    text: Vec<String>,
    /// An expression on the same texts.
    regex: Option<String>,
    /// Matchers as routes have them: labels and fields.
    matchers: Conditions,
}

/// Conditions, compiled.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct When {
    written: Written,
    alertname: Vec<Name>,
    exception: Vec<Name>,
    culprit: Vec<String>,
    /// The phrases as an alert's text is compared with them.
    text: Vec<String>,
    regex: Option<Regex>,
}

impl PartialEq for When {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for When {}

/// How closely conditions fit an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// More is closer.
    pub specificity: u32,
    /// The conditions that held, in words.
    pub why: String,
}

/// A name, of which letters and digits are compared.
#[derive(Clone, Debug)]
struct Name {
    /// What stands between the asterisks, in order.
    parts: Vec<String>,
    open_start: bool,
    open_end: bool,
}

impl Name {
    fn read(text: &str) -> Result<Self, String> {
        let parts: Vec<String> =
            text.split('*').map(letters).filter(|part| !part.is_empty()).collect();
        if parts.iter().map(String::len).sum::<usize>() < FEWEST {
            return Err(format!("{text:?}: use at least {FEWEST} letters or digits"));
        }
        Ok(Self { parts, open_start: text.starts_with('*'), open_end: text.ends_with('*') })
    }

    /// Whether it names one thing only.
    fn is_exact(&self) -> bool {
        self.parts.len() == 1 && !self.open_start && !self.open_end
    }

    /// Whether it names what has these letters.
    fn names(&self, letters: &str) -> bool {
        let mut rest = letters;
        for (n, part) in self.parts.iter().enumerate() {
            let anchored = n == 0 && !self.open_start;
            let last = n + 1 == self.parts.len() && !self.open_end;
            rest = match (anchored, last) {
                (true, true) => return rest == part,
                (true, false) => match rest.strip_prefix(part.as_str()) {
                    Some(rest) => rest,
                    None => return false,
                },
                (false, true) => return rest.ends_with(part.as_str()),
                (false, false) => match rest.find(part.as_str()) {
                    Some(at) => &rest[at + part.len()..],
                    None => return false,
                },
            };
        }
        true
    }

    /// How closely it names what it names.
    fn specificity(&self, exact: u32, loose: u32) -> u32 {
        if self.is_exact() {
            exact
        } else {
            loose + length(self.parts.iter().map(String::len).sum())
        }
    }
}

/// A length as a small addition: what says more is closer.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).min(49)
}

/// Letters and digits of a text, in lower case.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// A text in lower case with single gaps.
fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().map(|c| c.to_ascii_lowercase()));
    }
    out
}

impl TryFrom<Written> for When {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { alertname, exception, culprit, text, regex, matchers } = &written;
        for (key, list) in [
            ("alertname", alertname),
            ("exception", exception),
            ("culprit", culprit),
            ("text", text),
        ] {
            if list.len() > MOST {
                return Err(format!("{key} has {} values: use at most {MOST}", list.len()));
            }
            if let Some(long) = list.iter().find(|value| value.chars().count() > LONGEST) {
                let head: String = long.chars().take(20).collect();
                return Err(format!("{key} {head:?}...: longer than {LONGEST} characters"));
            }
        }
        let names = |list: &[String]| -> Result<Vec<Name>, String> {
            list.iter().map(|text| Name::read(text)).collect()
        };
        let words = |list: &[String]| -> Result<Vec<String>, String> {
            list.iter()
                .map(|text| match folded(text) {
                    short if short.chars().filter(|c| c.is_alphanumeric()).count() < FEWEST => {
                        Err(format!("{text:?}: use at least {FEWEST} letters or digits"))
                    }
                    words => Ok(words),
                })
                .collect()
        };
        let expression = |text: &String| {
            if text.chars().count() > LONGEST {
                return Err(format!("regex: longer than {LONGEST} characters"));
            }
            // Texts are compared in lower case.
            let built = matcher::expression(&format!("(?i){text}"), REGEX_BYTES)
                .map_err(|problem| format!("regex {text:?}: {problem}"))?;
            // An expression that fits nothing at all fits every alert.
            if built.is_match("") {
                Err(format!("regex {text:?} fits every text"))
            } else {
                Ok(built)
            }
        };
        let when = Self {
            alertname: names(alertname)?,
            exception: names(exception)?,
            culprit: words(culprit)?,
            text: words(text)?,
            regex: regex.as_ref().map(expression).transpose()?,
            written: Written::default(),
        };
        let states_something = !(alertname.is_empty()
            && exception.is_empty()
            && culprit.is_empty()
            && text.is_empty()
            && regex.is_none()
            && matchers.is_empty());
        if !states_something {
            return Err("a condition states nothing: it would fit every alert".to_owned());
        }
        Ok(Self { written, ..when })
    }
}

/// As a document says them, in short.
impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written { alertname, exception, culprit, text, regex, matchers } = &self.written;
        let mut said: Vec<String> = [
            ("alertname", alertname),
            ("exception", exception),
            ("culprit", culprit),
            ("text", text),
        ]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(key, list)| format!("{key} {}", list.join(" | ")))
        .collect();
        said.extend(regex.iter().map(|regex| format!("regex {regex}")));
        if !matchers.is_empty() {
            said.push(format!("matchers {matchers}"));
        }
        f.write_str(&said.join(" and "))
    }
}

impl When {
    /// The expressions it holds, as they are built: those of matchers among them.
    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        let own = self.regex.as_ref().map(Regex::as_str);
        own.into_iter().chain(self.written.matchers.expressions())
    }

    /// The phrases that are looked for in an alert's text.
    pub fn phrases(&self) -> &[String] {
        &self.text
    }

    /// How closely the conditions fit; none where they do not. `found` says which of the phrases,
    /// by their place, stand in the alert's text.
    pub fn fits(&self, said: &Said<'_>, found: impl Fn(usize) -> bool) -> Option<Fit> {
        let mut fit = Fit { specificity: 0, why: String::new() };
        if !self.alertname.is_empty() {
            let name = said.alertname.as_deref()?;
            let closest = closest(&self.alertname, [name], NAMED, NAMED_LOOSELY)?;
            fit.holds(closest, "alertname", said.subject.facts.alertname.as_deref()?);
        }
        if !self.exception.is_empty() {
            let types = said.exceptions.iter().map(|(_, letters)| letters.as_str());
            let closest = closest(&self.exception, types, TYPED, TYPED_LOOSELY)?;
            let named =
                said.exceptions.iter().find(|(_, l)| self.exception.iter().any(|n| n.names(l)))?;
            fit.holds(closest, "exception", named.0);
        }
        let matchers = &self.written.matchers;
        if !matchers.is_empty() {
            if !matchers.hold(&said.subject) {
                return None;
            }
            let number = u32::try_from(matchers.len()).unwrap_or(u32::MAX).min(MATCHERS_COUNTED);
            fit.holds(MATCHED * number, "matchers", &matchers.to_string());
        }
        if !self.text.is_empty() {
            let longest = (0..self.text.len()).filter(|n| found(*n)).max_by_key(|n| {
                // Of two that are as long the first.
                (self.text[*n].len(), std::cmp::Reverse(*n))
            })?;
            let phrase = &self.text[longest];
            fit.holds(SAID + length(phrase.len()), "text", phrase);
        }
        if !self.culprit.is_empty() {
            let place = said.place();
            let word = self.culprit.iter().find(|word| place.contains(word.as_str()))?;
            fit.holds(PLACED + length(word.len()), "culprit", word);
        }
        if let Some(regex) = &self.regex {
            let found = regex.find(said.text())?;
            fit.holds(SAID + length(found.len()), "regex", found.as_str());
        }
        Some(fit)
    }
}

/// How closely the closest of the names fits one of the values.
fn closest<'a>(
    names: &[Name],
    values: impl IntoIterator<Item = &'a str>,
    exact: u32,
    loose: u32,
) -> Option<u32> {
    let fitting = values.into_iter().flat_map(|value| {
        names.iter().filter(move |name| name.names(value)).map(|n| n.specificity(exact, loose))
    });
    fitting.max()
}

impl Fit {
    fn holds(&mut self, specificity: u32, condition: &str, value: &str) {
        self.specificity += specificity;
        let comma = if self.why.is_empty() { "" } else { ", " };
        // Writing to a text does not fail.
        let _ = write!(self.why, "{comma}{condition} {}", head(value, LONGEST));
    }
}

/// What an alert says, as conditions see it. Each text is made once, and only when asked for.
#[derive(Debug)]
pub struct Said<'a> {
    subject: Subject<'a>,
    alertname: Option<String>,
    /// The types it may be an exception of, as written and as compared.
    exceptions: Vec<(&'a str, String)>,
    text: OnceCell<String>,
    place: OnceCell<String>,
}

impl<'a> Said<'a> {
    pub fn of(subject: Subject<'a>) -> Self {
        let facts = subject.facts;
        let mut exceptions: Vec<(&str, String)> = Vec::new();
        let labels = ["exception", "exception.type", "exception_type", "error.type", "error_type"];
        let stated = labels.into_iter().filter_map(|label| facts.label(label));
        let named = [Some(facts.title.as_str()), facts.alertname.as_deref()].into_iter().flatten();
        let looked_at = stated.chain(named).map(|text| head(text, LOOKED_AT));
        for kind in looked_at.filter_map(exception_type) {
            let compared = letters(kind);
            if !exceptions.iter().any(|(_, known)| *known == compared) {
                exceptions.push((kind, compared));
            }
        }
        let alertname = facts.alertname.as_deref().map(|name| letters(head(name, LOOKED_AT)));
        let (text, place) = (OnceCell::new(), OnceCell::new());
        Self { subject, alertname, exceptions, text, place }
    }

    /// Title, message, summary and description, a line each, in lower case and with single gaps.
    pub fn text(&self) -> &str {
        self.text.get_or_init(|| {
            let facts = self.subject.facts;
            let texts = [
                Some(facts.title.as_str()),
                facts.alertname.as_deref().filter(|name| *name != facts.title),
                facts.message.as_deref(),
                facts.annotation("summary"),
                facts.annotation("description"),
            ];
            let texts = texts.into_iter().flatten().map(|text| folded(head(text, LOOKED_AT)));
            texts.collect::<Vec<_>>().join("\n")
        })
    }

    /// Culprit, and files and functions of the stack, a line each, in lower case.
    fn place(&self) -> &str {
        self.place.get_or_init(|| {
            let facts = self.subject.facts;
            let frames = facts.stack.iter().flat_map(|frame| [&frame.filename, &frame.function]);
            let texts = std::iter::once(&facts.culprit).chain(frames).flatten();
            let texts = texts.map(|text| folded(head(text, LOOKED_AT)));
            texts.collect::<Vec<_>>().join("\n")
        })
    }
}

/// The first bytes of a text, whole characters of it.
fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The type of the exception that a title tells of, by its last part: `KeyError` of
/// `KeyError: 'user'`, `NullPointerException` of `java.lang.NullPointerException`.
fn exception_type(title: &str) -> Option<&str> {
    let title = title.trim();
    let title =
        ["Uncaught ", "Unhandled "].iter().find_map(|w| title.strip_prefix(w)).unwrap_or(title);
    let name = title.split_once(": ").map_or(title, |(name, _)| name).trim_end_matches(':').trim();
    let last = name.rsplit(['.', '\\', '$', '/', ':']).next()?;
    (!last.is_empty() && !name.contains(char::is_whitespace)).then_some(last)
}

/// A set that finds phrases in a text as [`Said::text`] makes it, whole words only.
///
/// # Errors
/// When all of them together are too much.
pub fn set<'a>(phrases: impl Iterator<Item = &'a String>) -> Result<RegexSet, String> {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let expressions = phrases.map(|phrase| {
        let edge = |c: Option<char>| if word(c) { r"(?-u:\b)" } else { "" };
        let (start, end) = (edge(phrase.chars().next()), edge(phrase.chars().next_back()));
        format!("{start}{}{end}", regex::escape(phrase))
    });
    RegexSet::new(expressions).map_err(|_| "the phrases are too much together".to_owned())
}
