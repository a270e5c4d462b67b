//! What the playbook says of an alert, as an analysis.

use schemas::job::{Analysis, RunbookEntry, Similar};

use super::{NAME, entry::is_link};

/// How sure it may be of what an operator confirmed of the same problem earlier: it was right once.
const CONFIRMED_MAX: f64 = 0.6;

/// How much of that diagnosis' own confidence is left.
const CONFIRMED_SHARE: f64 = 0.8;

/// Answers from the entries that go with a triage call, the closest first, and from the confirmed
/// diagnosis of an earlier incident of the same problem. Nothing where there is neither.
///
/// An entry answers where there is one, and names the earlier incident beside it.
pub fn answer(runbook: &[RunbookEntry], earlier: Option<&Similar>) -> Option<Analysis> {
    match (runbook.first(), earlier) {
        (Some(entry), earlier) => {
            let mut analysis = from_entry(entry);
            if let Some(earlier) = earlier {
                let confirmed = &earlier.diagnosis;
                let number = &earlier.number;
                let line =
                    format!("\n同一問題先前經確認的診斷（{number}）：{}", confirmed.root_cause);
                analysis.root_cause.push_str(&line);
                let line = format!("\n先前的處理（{number}）：{}", confirmed.fix_suggestion);
                analysis.fix_suggestion.push_str(&line);
                analysis.evidence.push(evidence_of(earlier));
            }
            Some(analysis)
        }
        (None, Some(earlier)) => Some(from_earlier(earlier)),
        (None, None) => None,
    }
}

fn from_entry(entry: &RunbookEntry) -> Analysis {
    let mut fix = entry.fix.clone();
    let mut line = |label: &str, text: &str| {
        fix.push_str(label);
        fix.push_str(text);
    };
    if !entry.checks.is_empty() {
        line("\n先查：", &entry.checks.join("；"));
    }
    if let Some(owner) = &entry.owner {
        line("\n負責：", owner);
    }
    // The one address that may stand in an analysis: who writes the rules put it there.
    if let Some(link) = entry.link.as_deref().filter(|link| is_link(link)) {
        line("\n手冊：", link);
    }
    Analysis {
        root_cause: entry.cause.clone(),
        impact: entry.impact.clone(),
        fix_suggestion: fix,
        prevention: entry.prevention.clone(),
        confidence: f64::from(entry.confidence_percent.min(100)) / 100.0,
        analyzed_by: NAME.to_owned(),
        evidence: vec![format!("playbook:{}", entry.id)],
        ..Analysis::default()
    }
}

fn from_earlier(earlier: &Similar) -> Analysis {
    let confirmed = &earlier.diagnosis;
    Analysis {
        root_cause: format!(
            "同一問題先前經確認的診斷（{}）：{}",
            earlier.number, confirmed.root_cause
        ),
        impact: confirmed.impact.clone(),
        fix_suggestion: confirmed.fix_suggestion.clone(),
        prevention: confirmed.prevention.clone(),
        confidence: (confirmed.confidence * CONFIRMED_SHARE).clamp(0.0, CONFIRMED_MAX),
        analyzed_by: NAME.to_owned(),
        evidence: vec![evidence_of(earlier)],
        ..Analysis::default()
    }
}

fn evidence_of(earlier: &Similar) -> String {
    format!("similar:{}", earlier.number)
}
