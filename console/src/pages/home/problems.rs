//! One problem as a row: risk, what, state, count, analysis, age, number.

use schemas::{Time, job::Analysis};
use store::read::home::Problem;

use super::RiskMark;
use crate::pages::{
    text::{self, Html},
    words::Words,
};

/// Most characters of a text that is shown in a row: the rest is cut off by its width anyway.
const LONGEST: usize = 400;

/// One row of the list.
#[derive(Debug)]
pub struct Row {
    /// Of the incident; the row's id is `i-` and this.
    pub id: String,
    pub risk: RiskMark,
    pub title: Html,
    /// Where: culprit or target, namespace, environment, provider.
    pub place: Html,
    pub project: String,
    pub state: State,
    pub count: Html,
    pub analysis: AiBox,
    pub age: Html,
    pub number: Option<String>,
    pub closed: bool,
}

/// State by class and word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub class: &'static str,
    pub glyph: &'static str,
    pub word: &'static str,
}

/// What an analyst said, or that none did yet.
#[derive(Debug)]
pub enum AiBox {
    Pending,
    NoAnswer,
    Said {
        /// `likely 82%`.
        verdict: String,
        /// Who said it, with which model.
        by: Html,
        at: Option<Html>,
        cause: Html,
        /// Label and text.
        parts: Vec<(&'static str, Html)>,
    },
}

impl Row {
    pub(super) fn new(p: Problem, now: Time, words: &'static Words) -> Self {
        let facts = &p.facts;
        let place = [
            facts.culprit.as_deref().or(facts.target.as_deref()),
            facts.namespace.as_deref(),
            facts.environment.as_deref(),
            Some(facts.provider.as_str()),
        ];
        let place: Vec<&str> = place.into_iter().flatten().filter(|t| !t.is_empty()).collect();
        let state = match p.status.as_str() {
            "resolved" | "expired" => {
                State { class: "resolved", glyph: "–", word: words.resolved }
            }
            "suppressed" => State { class: "suppressed", glyph: "◌", word: words.suppressed },
            _ => State { class: "open", glyph: "●", word: words.open },
        };
        Self {
            id: p.incident.to_string(),
            risk: RiskMark::of(&p.risk, words),
            title: Html::foreign(cut(&facts.title)),
            place: Html::foreign(cut(&place.join(" · "))),
            state,
            count: Html::number(p.occurrences),
            analysis: AiBox::new(p.analysis.as_ref(), p.analysed_at, p.run.as_deref(), words),
            age: Html::age(p.opened_at, now, words),
            number: p.number.map(|(day, number)| format!("INC-{day}-{number:03}")),
            closed: p.closed_at.is_some(),
            project: p.project,
        }
    }
}

impl AiBox {
    fn new(
        analysis: Option<&Analysis>,
        at: Option<Time>,
        run: Option<&str>,
        words: &'static Words,
    ) -> Self {
        let Some(a) = analysis else {
            return if run == Some("failed") { Self::NoAnswer } else { Self::Pending };
        };
        let Some(word) = confidence(a.confidence, words) else { return Self::NoAnswer };
        let by = match &a.model {
            Some(model) => format!("{} · {model}", a.analyzed_by),
            None => a.analyzed_by.clone(),
        };
        let parts = [
            (words.root_cause, &a.root_cause),
            (words.impact, &a.impact),
            (words.fix, &a.fix_suggestion),
            (words.prevention, &a.prevention),
        ];
        Self::Said {
            verdict: format!("{word} {:.0}%", a.confidence * 100.0),
            by: Html::foreign(&by),
            at: at.map(Html::clock),
            cause: Html::foreign(cut(&a.root_cause)),
            parts: parts
                .into_iter()
                .filter(|(_, text)| !text.trim().is_empty())
                .map(|(label, text)| (label, Html::foreign(text)))
                .collect(),
        }
    }
}

/// From 0.8 likely, from 0.5 possible, above 0 weak; 0 is no answer.
fn confidence(value: f64, words: &'static Words) -> Option<&'static str> {
    match value {
        v if v >= 0.8 => Some(words.likely),
        v if v >= 0.5 => Some(words.possible),
        v if v > 0.0 => Some(words.weak),
        _ => None,
    }
}

/// At most [`LONGEST`] characters.
pub(super) fn cut(text: &str) -> &str {
    text::cut(text, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::words::ALL;

    #[test]
    fn confidence_is_a_word() {
        for (value, word) in [
            (1.0, Some("likely")),
            (0.8, Some("likely")),
            (0.79, Some("possible")),
            (0.5, Some("possible")),
            (0.49, Some("weak")),
            (0.01, Some("weak")),
            (0.0, None),
        ] {
            assert_eq!(confidence(value, ALL[0]), word, "{value}");
        }
    }
}
