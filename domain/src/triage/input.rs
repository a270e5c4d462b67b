//! All that is known when an analyst is asked: the alert, and what is known of others like it.

use std::borrow::Cow;

use schemas::{
    Facts,
    event::Frequency,
    job::{Analysis, Rejection, RunbookEntry, Similar, TriageJob},
};
use serde::{Deserialize, Serialize};

use super::{
    Context, FRAMES_MAX, MESSAGE_MAX, Prompt, TAGS_MAX, budget, context, cut, message,
    prompt::Messages,
};
use crate::redact::Redactor;

/// How many similar incidents and entries of the playbook are told.
pub const SIMILAR_MAX: usize = 5;
pub const RUNBOOK_MAX: usize = 3;

const RELEASES_MAX: usize = 10;
const CHECKS_MAX: usize = 8;
/// What one text of an incident, an entry or an operator may hold, in characters.
const TEXT_MAX: usize = 500;
const NOTE_MAX: usize = 1_000;

/// What an analyst is told. Kept with its answer, so that the same can be asked again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Why it is asked: `open`, `escalate`, `request n`, `reject n`.
    pub reason: String,
    #[serde(rename = "alert")]
    pub context: Context,
    pub frequency: Option<Frequency>,
    /// Labels that say what was released, and when: `release`, `version`, ...
    pub releases: Vec<(String, String)>,
    pub runbook: Vec<RunbookEntry>,
    /// The most similar first.
    pub similar: Vec<Similar>,
    pub rejection: Option<Rejection>,
    /// What there was more of.
    pub left_out: Vec<LeftOut>,
}

/// Something of which not all is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// `alert.tags`, `similar`, ...
    pub of: String,
    /// `items`, or `characters` of a text, or `characters each` of several.
    pub unit: String,
    /// How many are told, and how many there were.
    pub told: u64,
    pub were: u64,
}

impl Input {
    /// What is told for a job about an alert with these facts, beside these similar incidents (the
    /// most similar first). Redacted, whoever wrote it.
    pub fn new(job: &TriageJob, facts: &Facts, similar: Vec<Similar>) -> Self {
        let were = (similar.len(), job.runbook.len());
        let mut input = Self {
            reason: job.reason.clone(),
            frequency: job.frequency,
            runbook: job.runbook.iter().take(RUNBOOK_MAX).map(entry).collect(),
            similar: similar.into_iter().take(SIMILAR_MAX).map(past).collect(),
            rejection: job.rejection.as_ref().map(rejection),
            ..Self::about(facts)
        };
        input.left_out("similar", "items", input.similar.len(), were.0);
        input.left_out("runbook", "items", input.runbook.len(), were.1);
        input.each_text(|text| {
            if let (Cow::Owned(clean), _) = Redactor::builtin().text(text) {
                *text = clean;
            }
        });
        input
    }

    /// What is told where nothing is known but the alert.
    pub(super) fn about(facts: &Facts) -> Self {
        let mut input = Self {
            reason: "open".to_owned(),
            context: context(facts),
            frequency: None,
            releases: releases(facts),
            runbook: Vec::new(),
            similar: Vec::new(),
            rejection: None,
            left_out: Vec::new(),
        };
        let characters = message(facts).map_or(0, |text| text.chars().count());
        input.left_out("alert.message", "characters", characters.min(MESSAGE_MAX), characters);
        input.left_out("alert.tags", "items", facts.labels.len().min(TAGS_MAX), facts.labels.len());
        let frames = facts.stack.len();
        input.left_out("alert.stacktrace", "items", frames.min(FRAMES_MAX), frames);
        input
    }

    /// What is told by a prompt that has a place for the alert alone.
    pub(super) fn alert_alone(self) -> Self {
        let Self { reason, context, mut left_out, .. } = self;
        left_out.retain(|left| left.of.starts_with("alert.") || left.unit != "items");
        Self {
            reason,
            context,
            left_out,
            frequency: None,
            releases: Vec::new(),
            runbook: Vec::new(),
            similar: Vec::new(),
            rejection: None,
        }
    }

    /// As JSON on one line, whole.
    pub fn json(&self) -> String {
        super::json(self)
    }

    /// The messages to the analyst of this name, of at most `budget` tokens ([`super::tokens`]). What
    /// does not fit is left out, the least important first, and both the messages and what is
    /// recorded of them say so. A budget below [`super::BUDGET_MIN`] may not be kept.
    pub fn messages(&self, prompt: &Prompt, analyst: &str, budget: usize) -> Messages {
        let mut messages = prompt.fill(self.clone(), analyst);
        for step in budget::STEPS {
            if messages.tokens() <= budget {
                break;
            }
            let mut less = messages.told().clone();
            if budget::take(step, &mut less) {
                messages = prompt.fill(less, analyst);
            }
        }
        messages
    }

    /// Notes that not all of something is told; what there was at first stays the measure.
    pub(super) fn left_out(&mut self, of: &str, unit: &str, told: usize, were: usize) {
        let told = told as u64;
        match self.left_out.iter_mut().find(|left| left.of == of && left.unit == unit) {
            Some(left) => left.told = told,
            None if told < were as u64 => {
                let (of, unit) = (of.to_owned(), unit.to_owned());
                self.left_out.push(LeftOut { of, unit, told, were: were as u64 });
            }
            None => {}
        }
    }

    /// Every text that somebody else wrote.
    pub(super) fn each_text(&mut self, mut change: impl FnMut(&mut String)) {
        let Context {
            issue_id,
            title,
            culprit,
            level: _,
            project,
            first_seen: _,
            count: _,
            message,
            platform,
            tags,
            stacktrace,
        } = &mut self.context;
        change(title);
        [issue_id, culprit, project, message, platform].into_iter().flatten().for_each(&mut change);
        for frame in stacktrace {
            let texts = [&mut frame.filename, &mut frame.function, &mut frame.context_line];
            texts.into_iter().flatten().for_each(&mut change);
        }
        for (name, value) in tags.iter_mut().chain(&mut self.releases) {
            change(name);
            change(value);
        }
        for entry in &mut self.runbook {
            let RunbookEntry { id, cause, impact, checks, fix, prevention, owner, .. } = entry;
            [id, cause, impact, fix, prevention].into_iter().for_each(&mut change);
            checks.iter_mut().chain(owner).for_each(&mut change);
        }
        for past in &mut self.similar {
            change(&mut past.title);
            each_of(&mut past.diagnosis, &mut change);
        }
        if let Some(Rejection { analysis, operator, note }) = &mut self.rejection {
            analysis.iter_mut().for_each(|analysis| each_of(analysis, &mut change));
            change(operator);
            note.iter_mut().for_each(&mut change);
        }
    }
}

fn each_of(analysis: &mut Analysis, change: &mut impl FnMut(&mut String)) {
    let Analysis { root_cause, impact, fix_suggestion, prevention, analyzed_by, .. } = analysis;
    [root_cause, impact, fix_suggestion, prevention, analyzed_by].into_iter().for_each(change);
}

/// Words in the names of labels that say what runs there.
const RELEASE: [&str; 7] = ["release", "version", "deploy", "commit", "revision", "image", "build"];

fn releases(facts: &Facts) -> Vec<(String, String)> {
    let says = |name: &str| {
        let name = name.to_ascii_lowercase();
        RELEASE.iter().any(|word| name.contains(word))
    };
    let told = facts.labels.iter().filter(|(name, _)| says(name)).take(RELEASES_MAX);
    told.map(|(name, value)| (short(name), short(value))).collect()
}

fn short(text: &str) -> String {
    cut(text, super::VALUE_MAX).to_owned()
}

fn text(text: &str) -> String {
    cut(text, TEXT_MAX).to_owned()
}

/// An entry as it is told. Addresses are for people.
fn entry(entry: &RunbookEntry) -> RunbookEntry {
    RunbookEntry {
        id: short(&entry.id),
        cause: text(&entry.cause),
        impact: text(&entry.impact),
        checks: entry.checks.iter().take(CHECKS_MAX).map(|check| short(check)).collect(),
        fix: text(&entry.fix),
        prevention: text(&entry.prevention),
        owner: entry.owner.as_deref().map(short),
        link: None,
        ..entry.clone()
    }
}

fn past(past: Similar) -> Similar {
    Similar { title: short(&past.title), diagnosis: diagnosis(&past.diagnosis), ..past }
}

fn rejection(given: &Rejection) -> Rejection {
    Rejection {
        analysis: given.analysis.as_ref().map(diagnosis),
        operator: short(&given.operator),
        note: given.note.as_deref().map(|note| cut(note, NOTE_MAX).to_owned()),
    }
}

/// What was said, without what it rested on then.
fn diagnosis(said: &Analysis) -> Analysis {
    Analysis {
        root_cause: text(&said.root_cause),
        impact: text(&said.impact),
        fix_suggestion: text(&said.fix_suggestion),
        prevention: text(&said.prevention),
        confidence: said.confidence,
        analyzed_by: short(&said.analyzed_by),
        inconclusive: said.inconclusive,
        ..Analysis::default()
    }
}

#[cfg(test)]
pub(crate) mod tests;
