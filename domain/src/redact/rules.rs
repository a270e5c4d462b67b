//! The rules that know credentials by their shape: the document, compiled.

use regex::bytes::{Captures, Regex, RegexBuilder};
use serde::Deserialize;

use super::{
    Error, names,
    prefilter::{Meaning, Prefilter},
};

/// A rule set as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub title: String,
    pub names: names::Document,
    #[serde(default)]
    pub allowlist: Allowlist,
    pub rules: Vec<RuleDocument>,
}

/// What is no credential though it stands in the place of one.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Allowlist {
    pub regexes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleDocument {
    id: String,
    description: String,
    keywords: Vec<String>,
    regex: String,
    #[serde(rename = "secretGroup")]
    secret_group: Option<usize>,
    entropy: Option<f64>,
    #[serde(default)]
    allowlist: Allowlist,
}

/// A rule, compiled.
pub(super) struct Rule {
    pub id: String,
    regex: Regex,
    secret_group: Option<usize>,
    entropy: f64,
    allowlist: Option<Regex>,
}

/// Compiles over bytes: credentials are ASCII, and without Unicode tables the automata are small.
pub(super) fn compile(rule: &str, pattern: &str) -> Result<Regex, Error> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .build()
        .map_err(|source| Error::Pattern { rule: rule.to_owned(), source })
}

/// One expression that matches where any of `patterns` does.
pub(super) fn any(rule: &str, patterns: &[String]) -> Result<Option<Regex>, Error> {
    let alternatives: Vec<_> = patterns.iter().map(|p| format!("(?:{p})")).collect();
    match alternatives.is_empty() {
        true => Ok(None),
        false => compile(rule, &alternatives.join("|")).map(Some),
    }
}

impl Rule {
    fn new(document: RuleDocument) -> Result<Self, Error> {
        let RuleDocument { id, description, keywords, regex, secret_group, entropy, allowlist } =
            document;
        let regex = compile(&id, &regex)?;
        let reason = if description.trim().is_empty() {
            Some("has no description")
        } else if keywords.is_empty() || keywords.iter().any(String::is_empty) {
            Some("has no keyword, so it would never run")
        } else if secret_group.is_some_and(|group| group >= regex.captures_len()) {
            Some("names a group that its regex has not")
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(Error::Rule { rule: id, reason });
        }
        let allowlist = any(&id, &allowlist.regexes)?;
        Ok(Self { id, regex, secret_group, entropy: entropy.unwrap_or_default(), allowlist })
    }

    /// Calls `found` with start and end of every credential in `text` that this rule knows.
    pub fn find(&self, text: &[u8], mut found: impl FnMut(usize, usize)) {
        let mut take = |start: usize, end: usize| {
            let taken = &text[start..end];
            let enough = self.entropy == 0.0 || entropy(taken) >= self.entropy;
            let allowed = self.allowlist.as_ref().is_some_and(|a| a.is_match(taken));
            if start < end && enough && !allowed {
                found(start, end);
            }
        };
        if self.regex.captures_len() == 1 || self.secret_group == Some(0) {
            return self.regex.find_iter(text).for_each(|m| take(m.start(), m.end()));
        }
        let mut groups = |captures: Captures<'_>, one: Option<usize>| {
            let all = captures.iter().enumerate();
            let wanted = all.filter(|(n, _)| one.map_or(*n > 0, |one| *n == one));
            let mut any = false;
            for group in wanted.filter_map(|(_, group)| group) {
                any = true;
                take(group.start(), group.end());
            }
            // An alternative without a group is a credential as a whole.
            if let (false, None, Some(whole)) = (any, one, captures.get(0)) {
                take(whole.start(), whole.end());
            }
        };
        self.regex.captures_iter(text).for_each(|captures| groups(captures, self.secret_group));
    }
}

/// Shannon's entropy in bits a character. No longer text has more than 8.
pub(super) fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    text.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let length = text.len() as f64;
    let shares = counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / length);
    // The last digits of a logarithm differ from machine to machine; thresholds have few digits.
    (shares.map(|share| -share * share.log2()).sum::<f64>() * 1e6).round() / 1e6
}

/// Escapes that may stand for letters, or for other escapes.
const ESCAPES: [&str; 7] = ["%25", "%00", "%e2%80%8", "%ef%b", "%c2%ad", "\\u", "&#"];

/// How `keyword` looks in a URL, if not as it is.
fn percent_encoded(keyword: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let encoded = keyword.bytes().map(|b| match plain(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02x}"),
    });
    (!keyword.bytes().all(plain)).then(|| encoded.collect())
}

/// The rules, in the order of the document, and what chooses among them.
pub(super) fn build(
    documents: Vec<RuleDocument>,
    stems: &[String],
) -> Result<(Vec<Rule>, Prefilter), Error> {
    const MAX: usize = u128::BITS as usize;
    if documents.len() > MAX {
        return Err(Error::TooMany { found: documents.len(), max: MAX });
    }
    let mut keywords: Vec<_> = stems.iter().map(|stem| (stem.clone(), Meaning::Stem)).collect();
    let escapes = ESCAPES.into_iter().map(str::to_owned);
    let escapes = escapes.chain(stems.iter().filter_map(|stem| percent_encoded(stem)));
    keywords.extend(escapes.map(|escape| (escape, Meaning::Escape)));
    let mut rules = Vec::with_capacity(documents.len());
    for (index, document) in (0u8..).zip(documents) {
        for keyword in &document.keywords {
            let both = [Some(keyword.clone()), percent_encoded(keyword)];
            keywords.extend(both.into_iter().flatten().map(|k| (k, Meaning::Rule(index))));
        }
        rules.push(Rule::new(document)?);
    }
    let prefilter = Prefilter::new(keywords).ok_or(Error::Keywords)?;
    Ok((rules, prefilter))
}
