//! Triage: what an analyst is told, how its answer is judged, and the analyst that needs no model.
//!
//! [`Input`] is what is known: the alert as [`context()`] (R21), and others like it. A [`Prompt`] makes
//! messages of it that keep a budget, [`Messages::check`] makes an analysis of what a model wrote
//! (R29), [`playbook`] answers from written runbook knowledge.
//! Calling anybody is the worker's; a recorded answer is judged by the same functions.

mod budget;
pub mod check;
mod clean;
mod evidence;
#[cfg(test)]
mod injections;
mod input;
mod likeness;
pub mod playbook;
pub mod prompt;
mod repair;

use schemas::{Facts, StackFrame, Time};
use serde::{Deserialize, Serialize};

pub use budget::{BUDGET, BUDGET_MIN, tokens};
pub use check::{Unusable, check, response_format};
pub use input::{Input, LeftOut, SIMILAR_MAX};
pub use likeness::{LIKE_ENOUGH, Word, likeness};
pub use playbook::Playbook;
pub use prompt::{Messages, Prompt, UnknownPrompt, prompt_name};

/// What one text of the input may hold, in characters; a prompt has a budget.
const TITLE_MAX: usize = 500;
const MESSAGE_MAX: usize = 4_000;
const VALUE_MAX: usize = 300;
const TAGS_MAX: usize = 50;
const FRAMES_MAX: usize = 5;

/// The 11 keys an analyst is told of an alert (R21), redacted as the facts are. Times are ISO 8601;
/// what the payload does not state is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    pub issue_id: Option<String>,
    pub title: String,
    pub culprit: Option<String>,
    pub level: Option<String>,
    pub project: Option<String>,
    pub first_seen: Option<Time>,
    pub count: Option<u64>,
    pub message: Option<String>,
    pub platform: Option<String>,
    pub tags: Vec<(String, String)>,
    pub stacktrace: Vec<Frame>,
}

/// One frame of a stack trace, outermost first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    pub filename: Option<String>,
    pub function: Option<String>,
    pub lineno: Option<i64>,
    pub context_line: Option<String>,
}

impl Context {
    /// As JSON on one line.
    pub fn json(&self) -> String {
        json(self)
    }
}

/// What an analyst is told of an alert; long texts are cut.
pub fn context(facts: &Facts) -> Context {
    let short = |text: &Option<String>| text.as_deref().map(|t| cut(t, VALUE_MAX).to_owned());
    let frame = |frame: &StackFrame| Frame {
        filename: short(&frame.filename),
        function: short(&frame.function),
        lineno: frame.lineno,
        context_line: short(&frame.context_line),
    };
    Context {
        issue_id: short(&facts.issue_id),
        title: cut(&facts.title, TITLE_MAX).to_owned(),
        culprit: short(&facts.culprit).or_else(|| short(&facts.target)),
        level: facts.level.map(|l| l.word().to_owned()),
        project: short(&facts.sender_project),
        first_seen: facts.first_seen.or(facts.started_at),
        count: facts.count,
        message: message(facts).map(|m| cut(m, MESSAGE_MAX).to_owned()),
        platform: short(&facts.platform),
        tags: facts
            .labels
            .iter()
            .take(TAGS_MAX)
            .map(|(name, value)| {
                (cut(name, VALUE_MAX).to_owned(), cut(value, VALUE_MAX).to_owned())
            })
            .collect(),
        stacktrace: facts.stack.iter().rev().take(FRAMES_MAX).rev().map(frame).collect(),
    }
}

/// What the sender says in prose: the message, else the annotations made for it.
fn message(facts: &Facts) -> Option<&str> {
    facts
        .message
        .as_deref()
        .or_else(|| facts.annotation("description"))
        .or_else(|| facts.annotation("summary"))
}

/// As JSON on one line: what is written is texts, numbers and lists of them.
#[expect(clippy::expect_used, reason = "texts and numbers in memory always serialise")]
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers are JSON")
}

/// The first `max` characters of `text`.
fn cut(text: &str, max: usize) -> &str {
    match text.char_indices().nth(max) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use schemas::{Level, SourceId, Status};

    /// Facts with nothing stated but a title.
    pub(crate) fn facts(title: &str) -> Facts {
        Facts::new("sentry", SourceId::new("sentry").unwrap(), title, Status::Firing)
    }

    #[test]
    fn r21_the_context_has_the_eleven_keys() {
        let full = Facts {
            level: Some(Level::Error),
            message: Some("召回結果為空".into()),
            culprit: Some("app.main.get_recommend".into()),
            sender_project: Some("recommendation-api".into()),
            platform: Some("python".into()),
            issue_id: Some("12345".into()),
            first_seen: Some(Time::from_micros(1_761_885_045_000_000)),
            count: Some(12),
            labels: vec![("release".into(), "1.4.2".into())],
            stack: vec![StackFrame {
                filename: Some("app/main.py".into()),
                function: Some("get_recommend".into()),
                lineno: Some(42),
                context_line: None,
            }],
            ..facts("ValueError in calculate_score")
        };
        let got = serde_json::to_string_pretty(&context(&full)).unwrap();
        assert_eq!(got, include_str!("../../fixtures/triage/context.json").trim_end());

        let bare = context(&facts("x")).json();
        assert_eq!(
            bare,
            "{\"issue_id\":null,\"title\":\"x\",\"culprit\":null,\"level\":null,\
             \"project\":null,\"first_seen\":null,\"count\":null,\"message\":null,\
             \"platform\":null,\"tags\":[],\"stacktrace\":[]}"
        );
    }

    #[test]
    fn the_context_is_bounded() {
        let long = "長".repeat(100_000);
        let mut big = facts(&long);
        big.message = Some(long.clone());
        big.labels = vec![(long.clone(), long.clone()); 1_000];
        big.stack = vec![StackFrame { context_line: Some(long), ..StackFrame::default() }; 50];
        assert!(context(&big).json().len() < 120_000);
    }
}
