//! One problem as a row: risk, what, state, count, analysis, age, number.

use domain::triage::prompt_name;
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
        /// Who said it, with which model, asked how.
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
        // That the input does not suffice is an answer, whatever the number beside it.
        let said = a.inconclusive.then_some(words.inconclusive);
        let Some(word) = said.or_else(|| confidence(a.confidence, words)) else {
            return Self::NoAnswer;
        };
        let prompt =
            a.prompt.as_deref().map(|hash| format!("{} {}", words.prompt, prompt_name(hash)));
        let by = [Some(a.analyzed_by.clone()), a.model.clone(), prompt];
        let by = by.into_iter().flatten().collect::<Vec<_>>().join(" · ");
        let parts = [
            (words.root_cause, &a.root_cause),
            (words.impact, &a.impact),
            (words.fix, &a.fix_suggestion),
            (words.prevention, &a.prevention),
            (words.evidence, &a.evidence.join("\n")),
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
    fn r29_a13_what_was_said_is_labelled_with_model_and_prompt() {
        let prompt = domain::triage::Prompt::builtin();
        let analysis = Analysis {
            root_cause: "a <pool>".into(),
            confidence: 0.0,
            analyzed_by: "openclaw".into(),
            model: Some("qwen3".into()),
            prompt: Some(prompt.hash().into()),
            evidence: vec!["alert.message: timeout".into(), "similar.1: INC-1".into()],
            inconclusive: true,
            ..Analysis::default()
        };
        let labels = [("inconclusive", "prompt"), ("尚无定论", "提示词"), ("尚無定論", "提示詞")];
        for (words, (word, label)) in ALL.into_iter().zip(labels) {
            let AiBox::Said { verdict, by, parts, .. } =
                AiBox::new(Some(&analysis), None, Some("completed"), words)
            else {
                panic!("inconclusive is an answer");
            };
            assert_eq!(verdict, format!("{word} 0%"));
            assert_eq!(
                by.to_string(),
                Html::foreign(&format!("openclaw · qwen3 · {label} v2.zh-TW")).to_string()
            );
            assert_eq!(parts.len(), 2, "cause and evidence");
        }
        let nothing = Analysis { inconclusive: false, ..analysis };
        assert!(matches!(AiBox::new(Some(&nothing), None, None, ALL[0]), AiBox::NoAnswer));
    }

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
