//! The flat text of one message: of an alert R35's for errors, R66's for everything else.
//!
//! Every line of alert or model text is made one line first, so that no sender can forge a line of
//! the frame, move a terminal's cursor or turn the reading direction.

use schemas::{
    Facts, Level,
    event::Frequency,
    job::{Analysis, SendKind},
};

use super::format::{self, Frame, Language, Message, Words, fill};
use crate::{providers, text::is_hidden};

const BAR: &str = "═══════════════════════════";
const RULE: &str = "───────────────────────────";

/// How many characters (code points) of each part are shown.
pub(super) mod cut {
    pub const TITLE: usize = 100;
    pub const ROOT_CAUSE: usize = 120;
    pub const SUGGESTION: usize = 100;
    /// No source limits these; a payload that means harm must not make a page of them.
    pub const FIELD: usize = 500;
    pub const WORD: usize = 32;
}

/// The message as plain text, without a line break at its end; in traditional Chinese unless the
/// message says otherwise.
///
/// The frequency line is shown only when the problem occurred more than once in 24 h, the analysis
/// only while the incident is not over.
pub fn render_text(message: &Message<'_>) -> String {
    if let Some(written) = message.written {
        return written.to_owned();
    }
    let words = message.words(Language::TraditionalChinese);
    let frame = Frame { bar: BAR, rule: RULE };
    match (message.kind, message.summary, message.reply) {
        (SendKind::Summary, Some(summary), _) => format::summary(message, summary, words, frame),
        (SendKind::Reply, _, Some(reply)) => format::reply(message, reply, words),
        (SendKind::Test, ..) => format::test(message, words, frame),
        (
            SendKind::Fire
            | SendKind::Resolve
            | SendKind::Update
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Reply,
            ..,
        ) => alert(message, words),
    }
}

fn alert(m: &Message<'_>, words: &Words) -> String {
    let mut lines = vec![BAR.to_owned(), header(m, words), BAR.to_owned()];
    lines.extend(subject(m.facts, words));
    lines.extend(format::tags(m, words));
    lines.extend(format::came_back(m, words));
    lines.extend(format::reminder(m, words));
    if m.is_over() {
        lines.extend(duration(m.facts).map(|lasted| format!("⏱️ {}: {lasted}", words.lasted)));
    } else {
        let frequency = m.frequency.filter(|frequency| frequency.count_24h > 1);
        lines.extend(frequency.map(|frequency| frequency_line(frequency, words)));
        lines.extend(format::raised(m, words));
        lines.extend(m.analysis.into_iter().flat_map(|analysis| analysis_lines(analysis, words)));
    }
    let standing = format::standing(m, words);
    if !standing.is_empty() {
        lines.push(RULE.to_owned());
        lines.extend(standing);
    }
    lines.push(RULE.to_owned());
    lines.push(format!("🆔 {}: {}", words.approval, single_line(m.number, cut::FIELD)));
    lines.join("\n")
}

/// The headline: `{emoji} {PROVIDER} {SEVERITY} 告警`, or `✅ … 已恢復` when it is over.
fn header(m: &Message<'_>, words: &Words) -> String {
    let (over, facts) = (m.is_over(), m.facts);
    let emoji = match (over, facts.level) {
        (true, _) => "✅",
        (false, Some(Level::Fatal)) => "💀",
        (false, Some(Level::Error)) => "❌",
        (false, Some(Level::Warning)) => "⚠️",
        (false, Some(Level::Info) | None) => "🐛",
    };
    let end = match m.standing.filter(|_| over && m.kind == SendKind::Update) {
        Some(standing) => words.standing(standing.state),
        None if over => words.recovered,
        None => words.alert,
    };
    let provider = single_line(&facts.provider, cut::WORD).to_uppercase();
    match severity(facts) {
        Some(severity) => format!("{emoji} {provider} {severity} {end}"),
        None => format!("{emoji} {provider} {end}"),
    }
}

/// The sender's word for severity in capitals, else ours; none when the payload states neither.
pub fn severity(facts: &Facts) -> Option<String> {
    facts
        .severity_raw
        .as_deref()
        .map(|word| single_line(word, cut::WORD))
        .filter(|word| !word.is_empty())
        .or_else(|| facts.level.map(|level| level.word().to_owned()))
        .map(|word| word.to_uppercase())
}

/// Project, place and title. The lines of an error always stand (R22 has words for what is absent);
/// of anything else a line that would say nothing is left out.
fn subject(facts: &Facts, words: &Words) -> Vec<String> {
    let mut lines = Vec::with_capacity(3);
    lines.extend(project_of(facts).map(|text| format!("📦 {}: {text}", words.project)));
    lines.extend(place_of(facts).map(|text| format!("📍 {text}")));
    lines.push(format!("🔖 {}", single_line(&facts.title, cut::TITLE)));
    lines
}

/// The project as the sender names it.
pub(super) fn project_of(facts: &Facts) -> Option<String> {
    first(facts, &[&facts.sender_project, &facts.service, &facts.namespace])
}

/// Where it happened.
pub(super) fn place_of(facts: &Facts) -> Option<String> {
    first(facts, &[&facts.culprit, &facts.target])
}

/// The first that says something; of an error only the first, and a word where it says nothing.
fn first(facts: &Facts, candidates: &[&Option<String>]) -> Option<String> {
    let error = providers::tells_errors(&facts.provider);
    candidates
        .iter()
        .take(if error { 1 } else { candidates.len() })
        .filter_map(|text| text.as_deref())
        .chain(error.then_some("unknown"))
        .map(|text| single_line(text, cut::FIELD))
        .find(|text| !text.is_empty())
}

fn frequency_line(f: Frequency, words: &Words) -> String {
    let Frequency { count_1h, count_24h, count_7d, level: _ } = f;
    format!("📊 {}: 1h:{count_1h} / 24h:{count_24h} / 7d:{count_7d}", words.frequency)
}

fn analysis_lines(analysis: &Analysis, words: &Words) -> Vec<String> {
    let share = percent(analysis.confidence).to_string();
    let slots = [("analyst", &*analyst(analysis)), ("percent", &share)];
    let root = root_cause(analysis, words, cut::ROOT_CAUSE);
    let fix = single_line(&analysis.fix_suggestion, cut::SUGGESTION);
    vec![
        RULE.to_owned(),
        format!("🧠 {}", fill(words.analysis, &slots)),
        fill(words.quote, &[("text", &root)]),
        format!("💡 {}: {fix}", words.suggestion),
    ]
}

/// The cause that was found, of at most `longest` characters; an analyst that found none says so
/// first (A13).
pub(super) fn root_cause(analysis: &Analysis, words: &Words, longest: usize) -> String {
    let cause = single_line(&analysis.root_cause, longest);
    if analysis.inconclusive { fill(words.inconclusive, &[("text", &cause)]) } else { cause }
}

/// Whose analysis it is. A playbook does not pose as a model: only a model's answer is called
/// OpenClaw's (R35), and only where the analyst is; any other is shown by its name and its model.
pub(super) fn analyst(analysis: &Analysis) -> String {
    let name = single_line(&analysis.analyzed_by, cut::WORD);
    match &analysis.model {
        None => name,
        Some(_) if name.eq_ignore_ascii_case("openclaw") => "OpenClaw".to_owned(),
        Some(model) => format!("{name} ({})", single_line(model, cut::FIELD)),
    }
}

/// How long it lasted, as the sender says; independent of any time zone.
pub(super) fn duration(facts: &Facts) -> Option<String> {
    let seconds = facts.ended_at?.micros_since(facts.started_at?) / 1_000_000;
    if seconds < 0 {
        return None;
    }
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    Some(match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h {minutes}m"),
    })
}

/// A provider as people write it.
pub(super) fn provider_title(name: &str) -> String {
    match providers::by_name(name) {
        Some(provider) => provider.title().to_owned(),
        None => single_line(name, cut::WORD),
    }
}

/// A share of one in percent, rounded half to even.
pub(super) fn percent(share: f64) -> u8 {
    // `as` saturates, and turns what is no number into 0.
    (share.clamp(0.0, 1.0) * 100.0).round_ties_even() as u8
}

/// `text` as one line of at most `limit` characters (code points): line breaks and tabs become one
/// space, control characters and marks that turn the reading direction go.
pub(super) fn single_line(text: &str, limit: usize) -> String {
    let mut line = String::with_capacity(text.len().min(limit * 4));
    let mut characters = 0;
    let mut broken = false;
    for c in text.trim().chars() {
        let shown = match c {
            '\n' | '\r' | '\t' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                if std::mem::replace(&mut broken, true) {
                    continue;
                }
                ' '
            }
            c if is_hidden(c) => continue,
            c => {
                broken = false;
                c
            }
        };
        if characters == limit {
            break;
        }
        line.push(shown);
        characters += 1;
    }
    line
}

#[cfg(test)]
mod tests;
