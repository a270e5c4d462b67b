//! All that is known when an analyst is asked: the alert, and what is known of others like it.

use schemas::{
    Facts,
    event::Frequency,
    job::{Rejection, RunbookEntry, Similar, TriageJob},
};
use serde::{Deserialize, Serialize};

use super::{Context, Prompt, context, json, prompt::Messages};

/// How many similar incidents are told.
pub const SIMILAR_MAX: usize = 5;

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
    /// The most similar first.
    pub similar: Vec<Similar>,
    pub runbook: Vec<RunbookEntry>,
    pub rejection: Option<Rejection>,
}

impl Input {
    /// What is told for a job about an alert with these facts, beside these similar incidents (the
    /// most similar first).
    pub fn new(job: &TriageJob, facts: &Facts, similar: Vec<Similar>) -> Self {
        Self {
            reason: job.reason.clone(),
            context: context(facts),
            frequency: job.frequency,
            releases: releases(facts),
            similar: similar.into_iter().take(SIMILAR_MAX).collect(),
            runbook: job.runbook.clone(),
            rejection: job.rejection.clone(),
        }
    }

    /// As JSON on one line, whole.
    pub fn json(&self) -> String {
        json(self)
    }

    /// The messages to the analyst of this name, of at most `budget` tokens.
    pub fn messages(&self, prompt: &Prompt, analyst: &str, budget: usize) -> Messages {
        let _ = budget;
        prompt.messages(&self.context, analyst)
    }
}

/// Words in the names of labels that say what runs there.
const RELEASE: [&str; 6] = ["release", "version", "deploy", "commit", "revision", "image"];

fn releases(facts: &Facts) -> Vec<(String, String)> {
    let says = |name: &str| RELEASE.iter().any(|word| name.to_ascii_lowercase().contains(word));
    facts.labels.iter().filter(|(name, _)| says(name)).take(10).cloned().collect()
}
