//! What the problems of a provider's alerts are known by, where an operator knows better than the
//! sender (R26).

use std::{collections::BTreeSet, fmt};

use schemas::{Alert, Facts};
use serde::Deserialize;

/// The name of what the sender says: the identity of fingerprint v1.
const DEFAULT: &str = "default";

/// What labels are named with.
const LABELS: &str = "labels.";

/// All labels.
const EVERY_LABEL: &str = "labels.*";

/// Longest value one input adds to what is stored, in bytes; of a longer one, the head counts.
const MAX_VALUE: usize = 1024;

/// The inputs of a provider's fingerprints: those that are included, without those that are
/// excluded, or a text made of them. Project, provider and environment are always among them;
/// severity, status, counts and times never, unless they stand in a label that is named.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct FingerprintRule {
    /// What decisions call the rule.
    pub id: String,
    says: Says,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    Nothing,
    Inputs { include: Vec<Input>, exclude: BTreeSet<String> },
    Template(Vec<Piece>),
}

/// One thing an alert says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Input {
    Default,
    Field(Field),
    Label(String),
    EveryLabel,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Input),
}

/// Fields an alert can be known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Title,
    Alertname,
    Message,
    Culprit,
    Service,
    Namespace,
    Target,
    SenderProject,
    Platform,
    IssueId,
}

impl Field {
    const ALL: [(&'static str, Self); 10] = [
        ("title", Self::Title),
        ("alertname", Self::Alertname),
        ("message", Self::Message),
        ("culprit", Self::Culprit),
        ("service", Self::Service),
        ("namespace", Self::Namespace),
        ("target", Self::Target),
        ("sender_project", Self::SenderProject),
        ("platform", Self::Platform),
        ("issue_id", Self::IssueId),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, field)| *field == self).map_or("", |(name, _)| name)
    }

    fn of(self, facts: &Facts) -> Option<&str> {
        match self {
            Self::Title => Some(&facts.title),
            Self::Alertname => facts.alertname.as_deref(),
            Self::Message => facts.message.as_deref(),
            Self::Culprit => facts.culprit.as_deref(),
            Self::Service => facts.service.as_deref(),
            Self::Namespace => facts.namespace.as_deref(),
            Self::Target => facts.target.as_deref(),
            Self::SenderProject => facts.sender_project.as_deref(),
            Self::Platform => facts.platform.as_deref(),
            Self::IssueId => facts.issue_id.as_deref(),
        }
    }
}

impl FingerprintRule {
    /// True for a rule that leaves everything as without one.
    pub fn is_empty(&self) -> bool {
        self.says == Says::Nothing
    }

    /// What an alert's problem is known by instead of its sender's identity, each input as
    /// `name=value`, or the template's text.
    ///
    /// None for an alert that has no value for any of them: it would be one problem with every
    /// other such alert, so it is known as without a rule.
    pub fn inputs(&self, alert: &Alert) -> Option<Vec<String>> {
        let inputs = match &self.says {
            Says::Nothing => return None,
            Says::Inputs { include, exclude } => include
                .iter()
                .flat_map(|input| input.values(alert, exclude))
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>(),
            Says::Template(pieces) => render(pieces, alert).into_iter().collect(),
        };
        (!inputs.is_empty()).then_some(inputs)
    }
}

impl Input {
    fn parse(name: &str) -> Result<Self, String> {
        if name == DEFAULT {
            return Ok(Self::Default);
        }
        if name == EVERY_LABEL {
            return Ok(Self::EveryLabel);
        }
        if let Some(label) = name.strip_prefix(LABELS).filter(|label| !label.is_empty()) {
            return Ok(Self::Label(label.to_owned()));
        }
        let field = Field::ALL.iter().find(|(known, _)| *known == name);
        field.map(|(_, field)| Self::Field(*field)).ok_or_else(|| {
            let known: Vec<_> = Field::ALL.iter().map(|(name, _)| *name).collect();
            format!(
                "{name:?} is no name of an input: use {DEFAULT}, {LABELS}<name> or one of {}",
                known.join(", ")
            )
        })
    }

    /// The values an alert has for this, with their names; blank ones count as absent.
    fn values<'a>(&self, alert: &'a Alert, exclude: &BTreeSet<String>) -> Vec<(String, &'a str)> {
        let facts = &alert.facts;
        let mut values: Vec<(String, &str)> = match self {
            Self::Default => {
                alert.identity.iter().map(|part| (DEFAULT.to_owned(), part.as_str())).collect()
            }
            Self::Field(field) => {
                field.of(facts).map(|value| (field.name().to_owned(), value)).into_iter().collect()
            }
            Self::Label(name) => facts
                .label(name)
                .map(|value| (format!("{LABELS}{name}"), value))
                .into_iter()
                .collect(),
            Self::EveryLabel => {
                let labels = facts.labels.iter().filter(|(name, _)| !exclude.contains(name));
                let mut labels: Vec<_> = labels
                    .map(|(name, value)| (format!("{LABELS}{name}"), value.as_str()))
                    .collect();
                labels.sort_unstable();
                labels
            }
        };
        values.retain(|(_, value)| !value.trim().is_empty());
        for (_, value) in &mut values {
            *value = &value[..value.floor_char_boundary(MAX_VALUE)];
        }
        values
    }

    /// The values an alert has for this, as one text.
    fn text(&self, alert: &Alert) -> String {
        let values = self.values(alert, &BTreeSet::new());
        values.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join("|")
    }
}

/// The template's text; none when no value stands in it.
fn render(pieces: &[Piece], alert: &Alert) -> Option<String> {
    let (mut text, mut found) = (String::new(), false);
    for piece in pieces {
        match piece {
            Piece::Text(constant) => text.push_str(constant),
            Piece::Value(input) => {
                let value = input.text(alert);
                found |= !value.is_empty();
                text.push_str(&value);
            }
        }
    }
    found.then_some(text)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(deserialize_with = "super::section::id")]
    id: String,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    template: Option<String>,
}

impl TryFrom<Written> for FingerprintRule {
    type Error = String;

    fn try_from(Written { id, include, exclude, template }: Written) -> Result<Self, String> {
        let says = match template {
            Some(_) if !include.is_empty() || !exclude.is_empty() => {
                return Err("a template stands alone, without include and exclude".into());
            }
            Some(template) => Says::Template(pieces(&template)?),
            None if include.is_empty() && exclude.is_empty() => Says::Nothing,
            None => inputs(&include, &exclude)?,
        };
        Ok(Self { id, says })
    }
}

fn inputs(include: &[String], exclude: &[String]) -> Result<Says, String> {
    let exclude = exclude
        .iter()
        .map(|name| match Input::parse(name)? {
            Input::Label(label) => Ok(label),
            Input::Default | Input::Field(_) | Input::EveryLabel => {
                Err(format!("{name:?} cannot be excluded: name a label, as {LABELS}pod"))
            }
        })
        .collect::<Result<BTreeSet<_>, String>>()?;
    let mut inputs =
        include.iter().map(|name| Input::parse(name)).collect::<Result<Vec<_>, _>>()?;
    if inputs.is_empty() {
        inputs.push(Input::EveryLabel);
    }
    if let Some(twice) = (1..inputs.len()).find(|i| inputs[..*i].contains(&inputs[*i])) {
        return Err(format!("{} is included twice", inputs[twice]));
    }
    if !exclude.is_empty() && !inputs.contains(&Input::EveryLabel) {
        return Err(format!("exclude takes out of {EVERY_LABEL}, which is not included"));
    }
    Ok(Says::Inputs { include: inputs, exclude })
}

fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, from_name)) = rest.split_once("{{") {
        let Some((name, behind)) = from_name.split_once("}}") else {
            return Err(format!("the template has {{{{ without }}}} in {template:?}"));
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        match Input::parse(name.trim())? {
            Input::EveryLabel => return Err(format!("{EVERY_LABEL} has no one value")),
            input @ (Input::Default | Input::Field(_) | Input::Label(_)) => {
                pieces.push(Piece::Value(input));
            }
        }
        rest = behind;
    }
    if pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) {
        return Err("the template names nothing: every alert would be the same problem".into());
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str(DEFAULT),
            Self::Field(field) => f.write_str(field.name()),
            // Quoted where it could be taken for something else.
            Self::Label(name) if !name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                write!(f, "{LABELS}{name:?}")
            }
            Self::Label(name) => write!(f, "{LABELS}{name}"),
            Self::EveryLabel => f.write_str(EVERY_LABEL),
        }
    }
}

/// As `rules diff` shows it.
impl fmt::Display for FingerprintRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.id)?;
        match &self.says {
            Says::Nothing => f.write_str("as the sender says"),
            Says::Inputs { include, exclude } => {
                let include: Vec<String> = include.iter().map(ToString::to_string).collect();
                write!(f, "by {}", include.join(", "))?;
                let exclude: Vec<String> =
                    exclude.iter().map(|name| Input::Label(name.clone()).to_string()).collect();
                if !exclude.is_empty() {
                    write!(f, " without {}", exclude.join(", "))?;
                }
                Ok(())
            }
            Says::Template(pieces) => {
                f.write_str("by the text ")?;
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => f.write_str(text)?,
                        Piece::Value(input) => write!(f, "{{{{ {input} }}}}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{ProjectId, event::FingerprintBy};

    use crate::{
        observe::{identify, samples},
        rules::Rules,
    };

    fn rules(says: &str) -> Result<Rules, String> {
        let route = "[[defaults.routes]]\nname = \"a\"\nreceivers = []\n";
        let rule = format!("[defaults.fingerprint.alertmanager]\nid = \"f\"\n{says}\n");
        Rules::parse(&format!("{rule}{route}")).map_err(|e| e.to_string())
    }

    fn alert() -> schemas::Alert {
        let mut alert = samples::alert("7");
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        alert.facts.labels =
            vec![label("pod", "api-1"), label("cluster", "eu"), label("empty", " ")];
        alert
    }

    /// Given a rule, then an alert is known by exactly these; none: as without a rule.
    #[track_caller]
    fn check(says: &str, expect: Option<&[&str]>) {
        let rules = rules(says).unwrap();
        let (project, alert) = (samples::project(), alert());
        let identity = identify(&project, &alert, &rules);
        let inputs: Option<Vec<&str>> = identity.by.as_ref().map(|by: &FingerprintBy| {
            assert_eq!(by.rule, "f");
            by.inputs.iter().map(String::as_str).collect()
        });
        assert_eq!(inputs.as_deref(), expect);
        let own = identify(&project, &alert, Rules::builtin());
        assert_eq!(identity == own, expect.is_none());
        assert_ne!(
            identity.fingerprint,
            identify(&ProjectId::new("other").unwrap(), &alert, &rules).fingerprint
        );
    }

    #[test]
    fn r26_a_rule_says_what_a_problem_is_known_by() {
        check("", None);
        check("include = []", None);
        check("include = [\"alertname\"]", Some(&["alertname=HighLatency"]));
        check(
            "include = [\"labels.cluster\", \"namespace\", \"service\"]",
            Some(&["labels.cluster=eu", "namespace=shop"]),
        );
        check("include = [\"default\"]", Some(&["default=7"]));
        check("include = [\"labels.*\"]", Some(&["labels.cluster=eu", "labels.pod=api-1"]));
        check("exclude = [\"labels.pod\"]", Some(&["labels.cluster=eu"]));
        check(
            "include = [\"title\", \"labels.*\"]\nexclude = [\"labels.pod\"]",
            Some(&["title=problem 7", "labels.cluster=eu"]),
        );
        check("template = \"{{ alertname }} in {{labels.cluster}}\"", Some(&["HighLatency in eu"]));
        check("template = \"{{ service }}/{{ namespace }}\"", Some(&["/shop"]));
    }

    #[test]
    fn r26_an_alert_that_has_none_of_the_inputs_is_known_as_without_a_rule() {
        check("include = [\"service\", \"labels.absent\", \"labels.empty\"]", None);
        check("exclude = [\"labels.pod\", \"labels.cluster\"]", None);
        check("template = \"all of {{ service }}\"", None);
    }

    #[test]
    fn r26_what_is_included_and_nothing_else_tells_problems_apart() {
        let rules = rules("include = [\"alertname\"]").unwrap();
        let of = |change: &dyn Fn(&mut schemas::Alert)| {
            let mut alert = alert();
            change(&mut alert);
            identify(&samples::project(), &alert, &rules).fingerprint
        };
        let own = of(&|_| {});
        // Golden: this value is a key in tables.
        assert_eq!(own.to_string(), "07a49318-d46a-819b-9c36-5bc43411b1a6");
        assert_eq!(own, of(&|a| a.identity = vec!["8".into()]));
        assert_eq!(own, of(&|a| a.facts.labels.clear()));
        assert_eq!(own, of(&|a| a.facts.level = Some(schemas::Level::Fatal)));
        assert_ne!(own, of(&|a| a.facts.alertname = Some("Other".into())));
        assert_ne!(own, of(&|a| a.facts.environment = Some("testing".into())));
        assert_ne!(own, of(&|a| a.facts.provider = "signoz".into()));
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        for (says, problem) in [
            ("include = [\"severity\"]", "is no name of an input"),
            ("include = [\"labels.\"]", "is no name of an input"),
            ("include = [\"title\", \"title\"]", "title is included twice"),
            ("exclude = [\"title\"]", "cannot be excluded"),
            ("include = [\"title\"]\nexclude = [\"labels.pod\"]", "which is not included"),
            ("include = [\"title\"]\ntemplate = \"{{ title }}\"", "stands alone"),
            ("template = \"same for all\"", "names nothing"),
            ("template = \"{{ title\"", "without }}"),
            ("template = \"{{ labels.* }}\"", "no one value"),
            ("template = \"{{ count }}\"", "is no name of an input"),
            ("inclde = [\"title\"]", "unknown field `inclde`"),
        ] {
            let error = rules(says).unwrap_err();
            assert!(error.contains(problem) && error.contains("line "), "{says}: {error}");
        }
    }
}
