//! The flat text of one message: R35 for errors, R66 for everything else.
//!
//! Every line of alert or model text is made one line first, so that no sender can forge a line of
//! the frame, move a terminal's cursor or turn the reading direction.

use schemas::{
    Facts, Level,
    job::{Analysis, SendKind},
};

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

/// How often the problem occurred, on lane time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency {
    pub count_1h: u64,
    pub count_24h: u64,
    pub count_7d: u64,
}

/// The message as plain text, without a line break at its end.
///
/// `number` is the incident's number (`INC-YYYYMMDD-NNN`). The frequency line is shown only when
/// the problem occurred more than once in 24 h, the analysis only of a fire.
pub fn render_text(
    kind: SendKind,
    facts: &Facts,
    analysis: Option<&Analysis>,
    number: &str,
    frequency: Option<Frequency>,
) -> String {
    let mut lines = vec![BAR.to_owned(), header(kind, facts), BAR.to_owned()];
    lines.extend(subject(facts).into_iter().map(|(mark, text)| format!("{mark}{text}")));
    match kind {
        SendKind::Fire
        | SendKind::Update
        | SendKind::Remind
        | SendKind::Summary
        | SendKind::Test
        | SendKind::Reply => {
            lines.extend(frequency.filter(|f| f.count_24h > 1).map(frequency_line));
            lines.extend(analysis.into_iter().flat_map(analysis_lines));
        }
        SendKind::Resolve => lines.extend(duration_line(facts)),
    }
    lines.push(RULE.to_owned());
    lines.push(format!("🆔 Approval: {}", single_line(number, cut::FIELD)));
    lines.join("\n")
}

/// The headline: `{emoji} {PROVIDER} {SEVERITY} 告警`, or `✅ … 已恢復` when it is over.
pub fn header(kind: SendKind, facts: &Facts) -> String {
    let emoji = match (kind, facts.level) {
        (SendKind::Resolve, _) => "✅",
        (_, Some(Level::Fatal)) => "💀",
        (_, Some(Level::Error)) => "❌",
        (_, Some(Level::Warning)) => "⚠️",
        (_, Some(Level::Info) | None) => "🐛",
    };
    let end = match kind {
        SendKind::Fire
        | SendKind::Update
        | SendKind::Remind
        | SendKind::Summary
        | SendKind::Test
        | SendKind::Reply => "告警",
        SendKind::Resolve => "已恢復",
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
fn subject(facts: &Facts) -> Vec<(&'static str, String)> {
    let error = providers::tells_errors(&facts.provider);
    let project = [&facts.sender_project, &facts.service, &facts.namespace];
    let place = [&facts.culprit, &facts.target];
    let first = |candidates: &[&Option<String>]| {
        candidates
            .iter()
            .take(if error { 1 } else { candidates.len() })
            .filter_map(|text| text.as_deref())
            .chain(error.then_some("unknown"))
            .map(|text| single_line(text, cut::FIELD))
            .find(|text| !text.is_empty())
    };
    let mut lines = Vec::with_capacity(3);
    lines.extend(first(&project).map(|text| ("📦 專案: ", text)));
    lines.extend(first(&place).map(|text| ("📍 ", text)));
    lines.push(("🔖 ", single_line(&facts.title, cut::TITLE)));
    lines
}

fn frequency_line(f: Frequency) -> String {
    format!("📊 頻率: 1h:{} / 24h:{} / 7d:{}", f.count_1h, f.count_24h, f.count_7d)
}

fn analysis_lines(analysis: &Analysis) -> Vec<String> {
    let name = analyst(analysis);
    vec![
        RULE.to_owned(),
        format!("🧠 {name} 分析 (信心: {}%):", percent(analysis.confidence)),
        format!("「{}」", single_line(&analysis.root_cause, cut::ROOT_CAUSE)),
        format!("💡 建議: {}", single_line(&analysis.fix_suggestion, cut::SUGGESTION)),
    ]
}

/// Whose analysis it is. A playbook does not pose as a model: only a model's answer is called
/// OpenClaw's.
pub(super) fn analyst(analysis: &Analysis) -> String {
    match analysis.model {
        Some(_) => "OpenClaw".to_owned(),
        None => single_line(&analysis.analyzed_by, cut::WORD),
    }
}

fn duration_line(facts: &Facts) -> Option<String> {
    Some(format!("⏱️ 持續: {}", duration(facts)?))
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
