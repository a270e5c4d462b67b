//! Which alerts are meant: matchers with Alertmanager's operators and syntax, over labels and over the
//! fields of an alert. Silences, their preview, routes and inhibitions all ask this one.
//!
//! Source: Prometheus Alertmanager, `pkg/labels` and <https://prometheus.io/docs/alerting/latest/configuration/#matcher>.

use std::{borrow::Cow, fmt};

use regex::{Regex, RegexBuilder};
use schemas::{
    Facts, Level, ProjectId,
    record::{MatchOperator, Matcher},
};

mod parse;
#[cfg(test)]
mod tests;

/// Most matchers that are looked at together.
pub const MOST_MATCHERS: usize = 32;

/// Longest name and longest value, in bytes.
const LONGEST: usize = 1024;

/// What one compiled expression may take, in bytes. `.{1,1000}` fits, what multiplies that does not.
const REGEX_BYTES: usize = 1 << 20;

/// What no field of an alert says.
const UNTHOUGHT: &str = "qzxv-7731";

/// The fields of an alert that a matcher may name beside its labels.
pub const FIELDS: [&str; 15] = [
    "alertname",
    "severity",
    "environment",
    "provider",
    "source",
    "project",
    "service",
    "namespace",
    "target",
    "sender_project",
    "platform",
    "culprit",
    "title",
    "level",
    "risk",
];

/// Why a text or a list is none of matchers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{at}: expected {expected}, found {found:?}")]
    Syntax {
        /// Characters from the start of the text, from 1.
        at: usize,
        expected: &'static str,
        /// What stands there instead; empty at the end.
        found: String,
    },
    #[error("the name of a matcher is empty")]
    NoName,
    #[error("{name}: longer than {LONGEST} bytes")]
    TooLong { name: String },
    #[error("{name}: {detail}")]
    Regex { name: String, detail: String },
    #[error("{0} matchers: use at most {MOST_MATCHERS}")]
    TooMany(usize),
}

/// Matchers, all of which have to match. None at all match every alert.
#[derive(Clone, Debug, Default)]
pub struct Matchers {
    all: Vec<Compiled>,
}

#[derive(Clone, Debug)]
struct Compiled {
    matcher: Matcher,
    /// Of the two operators that compare with an expression.
    regex: Option<Regex>,
}

impl PartialEq for Matchers {
    fn eq(&self, other: &Self) -> bool {
        self.list().eq(other.list())
    }
}

impl Eq for Matchers {}

impl Matchers {
    /// Reads `{name="value", other=~"a|b"}` or the same without braces, as Alertmanager does: values
    /// may stand without quotes, names may stand in them.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::new(parse::matchers(text)?)
    }

    /// Compiles matchers.
    ///
    /// # Errors
    /// When there are too many, one is too long, or an expression is none.
    pub fn new(matchers: impl IntoIterator<Item = Matcher>) -> Result<Self, Error> {
        let all: Vec<_> = matchers.into_iter().map(compile).collect::<Result<_, _>>()?;
        if all.len() > MOST_MATCHERS {
            return Err(Error::TooMany(all.len()));
        }
        Ok(Self { all })
    }

    /// The matchers, as written.
    pub fn list(&self) -> impl ExactSizeIterator<Item = &Matcher> {
        self.all.iter().map(|compiled| &compiled.matcher)
    }

    /// Whether any of them asks for something to be there. Those of which none does match an alert of
    /// which nothing is known, and so nearly every alert: no silence may be made of them.
    pub fn ask_for_something(&self) -> bool {
        self.all.iter().any(|compiled| !compiled.matches(&[]))
    }

    /// Whether they match an alert of `project` that nobody thought of: of which every field says
    /// something, and no label does. Such matchers choose nothing, `provider=~".+"` for one.
    pub fn choose_nothing(&self, project: &ProjectId) -> bool {
        self.all.iter().all(|compiled| {
            let value = match compiled.matcher.name.as_str() {
                "project" => project.as_str(),
                name if FIELDS.contains(&name) => UNTHOUGHT,
                _ => "",
            };
            compiled.matches(&[Cow::from(value)])
        })
    }

    /// Whether all of them match the alert.
    pub fn matches(&self, facts: &Facts, project: &ProjectId) -> bool {
        self.all
            .iter()
            .all(|compiled| compiled.matches(&values(facts, project, &compiled.matcher.name)))
    }
}

/// As Alertmanager writes them: `{name="value",other=~"a|b"}`.
impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, Matcher { name, operator, value }) in self.list().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let name =
                if parse::is_bare_name(name) { Cow::from(name) } else { quoted(name).into() };
            write!(f, "{comma}{name}{}{}", operator.word(), quoted(value))?;
        }
        f.write_str("}")
    }
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    format!("\"{escaped}\"")
}

fn compile(matcher: Matcher) -> Result<Compiled, Error> {
    let Matcher { name, operator, value } = &matcher;
    if name.is_empty() {
        return Err(Error::NoName);
    }
    if name.len() > LONGEST || value.len() > LONGEST {
        let name = name.chars().take(64).collect();
        return Err(Error::TooLong { name });
    }
    let regex = match operator {
        MatchOperator::Equal | MatchOperator::NotEqual => None,
        MatchOperator::Regex | MatchOperator::NotRegex => {
            Some(whole(value).map_err(|detail| Error::Regex { name: name.clone(), detail })?)
        }
    };
    Ok(Compiled { matcher, regex })
}

/// An expression that matches whole values only.
fn whole(expression_text: &str) -> Result<Regex, String> {
    // By itself first: `a)|(?:b` is an expression only between the anchors.
    expression(expression_text, REGEX_BYTES)?;
    expression(&format!("^(?:{expression_text})$"), REGEX_BYTES)
}

/// An expression that takes at most `bytes` when compiled.
///
/// # Errors
/// Says in one line what is wrong with it.
pub(crate) fn expression(text: &str, bytes: usize) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(bytes).dfa_size_limit(bytes).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("the expression takes more than {bytes} bytes"),
        // Its text spans lines and ends in the reason.
        error => error
            .to_string()
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned(),
    })
}

impl Compiled {
    /// Whether it matches what the alert has under its name; what is absent counts as empty. A
    /// negation matches where the operator it negates does not.
    fn matches(&self, values: &[Cow<'_, str>]) -> bool {
        let any = |is: &dyn Fn(&str) -> bool| match values {
            [] => is(""),
            values => values.iter().any(|value| is(value)),
        };
        let fits = |value: &str| self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.matcher.operator {
            MatchOperator::Equal => any(&|value| value == self.matcher.value),
            MatchOperator::NotEqual => !any(&|value| value == self.matcher.value),
            MatchOperator::Regex => any(&fits),
            MatchOperator::NotRegex => !any(&fits),
        }
    }
}

/// The first of what an alert has under a name, as matchers see it; empty where there is nothing.
pub fn value<'a>(facts: &'a Facts, project: &'a ProjectId, name: &str) -> Cow<'a, str> {
    values(facts, project, name).into_iter().next().unwrap_or_default()
}

/// What an alert has under a name: of a field what it says, with the label of that name where there is
/// one; of anything else the label. `annotations.<name>` is the annotation.
fn values<'a>(facts: &'a Facts, project: &'a ProjectId, name: &str) -> Vec<Cow<'a, str>> {
    if let Some(name) = name.strip_prefix("annotations.") {
        let of_name = facts.annotations.iter().filter(|(known, _)| known == name);
        return of_name.map(|(_, value)| Cow::from(value)).filter(|v| !v.is_empty()).collect();
    }
    let label = facts.label(name).map(Cow::Borrowed);
    let text = |field: &'a Option<String>| field.as_deref().map(Cow::Borrowed);
    let (first, second) = match name {
        "alertname" => (text(&facts.alertname), None),
        "severity" => (facts.level.map(|level| level.word().into()), text(&facts.severity_raw)),
        "environment" => (text(&facts.environment), None),
        "provider" => (Some(facts.provider.as_str().into()), None),
        "source" => (Some(facts.source.as_str().into()), None),
        "project" => (Some(project.as_str().into()), None),
        "service" => (text(&facts.service), None),
        "namespace" => (text(&facts.namespace), None),
        "target" => (text(&facts.target), None),
        "sender_project" => (text(&facts.sender_project), None),
        "platform" => (text(&facts.platform), None),
        "culprit" => (text(&facts.culprit), None),
        "title" => (Some(facts.title.as_str().into()), None),
        "level" => (facts.level.map(|level| level.word().into()), None),
        "risk" => (Some(Level::risk(facts.level).word().into()), None),
        _ => (None, None),
    };
    [first, second, label].into_iter().flatten().filter(|value| !value.is_empty()).collect()
}
