//! The texts of messages that are no alert: summaries and tests.

use schemas::{
    Level,
    event::IncidentState,
    job::{Summary, SummaryItem, SummaryReason},
};

use super::{
    Message,
    words::{Words, fill},
};
use crate::notify::render::{cut, single_line};

/// How many incidents a summary names; the rest is a number.
const MOST_ITEMS: usize = 20;

/// The lines that a text is set between.
#[derive(Clone, Copy, Debug)]
pub(in crate::notify) struct Frame {
    pub bar: &'static str,
    /// Between two parts.
    pub rule: &'static str,
}

/// Several incidents in one message, worst first.
pub(in crate::notify) fn summary(
    m: &Message<'_>,
    summary: &Summary,
    words: &Words,
    frame: Frame,
) -> String {
    let mark = match summary.reason {
        SummaryReason::Bundle => "📎",
        SummaryReason::Hourly | SummaryReason::Daily => "📋",
        SummaryReason::Storm => "🌊",
    };
    let name = name(summary.reason, words);
    let (incidents, alerts) = (summary.incidents.to_string(), summary.alerts.to_string());
    let counts = fill(words.counts, &[("incidents", &incidents), ("alerts", &alerts)]);
    let mut lines = vec![
        frame.bar.to_owned(),
        format!("{mark} {name} · {counts}"),
        frame.bar.to_owned(),
        format!("📦 {}: {}", words.project, m.project),
        format!("⏰ {} – {}", m.local(summary.since), m.local(summary.until)),
    ];
    if !summary.group.is_empty() {
        let pair = |(name, value): &(String, String)| {
            format!("{}={}", single_line(name, cut::WORD), single_line(value, cut::TITLE))
        };
        let group: Vec<String> = summary.group.iter().map(pair).collect();
        lines.push(format!("🔗 {}", group.join(", ")));
    }
    lines.extend(super::tags(m, words));
    lines.push(frame.rule.to_owned());
    lines.extend(items(summary, words));
    lines.push(frame.bar.to_owned());
    lines.join("\n")
}

/// What such a summary is called.
pub(super) const fn name(reason: SummaryReason, words: &Words) -> &'static str {
    match reason {
        SummaryReason::Bundle => words.bundle,
        SummaryReason::Hourly => words.hourly,
        SummaryReason::Daily => words.daily,
        SummaryReason::Storm => words.storm,
    }
}

/// The incidents of a summary that are shown.
pub(super) fn worst_first(summary: &Summary) -> Vec<&SummaryItem> {
    let mut items: Vec<&SummaryItem> = summary.items.iter().collect();
    items.sort_by_key(|item| std::cmp::Reverse(Level::risk(item.level)));
    items.truncate(MOST_ITEMS);
    items
}

/// The incidents of a summary, and how many more there are.
pub(super) fn items(summary: &Summary, words: &Words) -> Vec<String> {
    let items = worst_first(summary);
    let shown = items.len() as u64;
    let mut lines: Vec<String> = items.into_iter().map(|item| item_line(item, words)).collect();
    if summary.incidents > shown {
        let count = (summary.incidents - shown).to_string();
        lines.push(format!("… +{}", fill(words.more, &[("count", &count)])));
    }
    lines
}

fn item_line(item: &SummaryItem, words: &Words) -> String {
    let mark = mark(item);
    let provider = single_line(&item.provider, cut::WORD).to_uppercase();
    let mut line = format!("{mark} [{provider}] {}", single_line(&item.title, cut::TITLE));
    if let Some(environment) = &item.environment {
        line.push_str(&format!(" ({})", single_line(environment, cut::WORD)));
    }
    if item.alerts > 1 {
        line.push_str(&format!(" ×{}", item.alerts));
    }
    if item.state != IncidentState::Open {
        line.push_str(&format!(" · {}", words.standing(item.state)));
    }
    line
}

/// Whether it is over, and how bad it is.
pub(super) fn mark(item: &SummaryItem) -> &'static str {
    if item.state.is_over() { "✅" } else { tier(item.level) }
}

/// The mark of a tier (R42): critical, warning, info.
fn tier(level: Option<Level>) -> &'static str {
    match level {
        Some(Level::Fatal | Level::Error) => "🚨",
        Some(Level::Warning) | None => "⚠️",
        Some(Level::Info) => "ℹ️",
    }
}

/// Somebody tries whether messages arrive. The result of a smoke run is told as it is (R72).
pub(in crate::notify) fn test(m: &Message<'_>, words: &Words, frame: Frame) -> String {
    let title = single_line(&m.facts.title, cut::FIELD);
    if m.facts.label("smoke").is_some() {
        return title;
    }
    [
        frame.bar.to_owned(),
        format!("🧪 {}", words.test_title),
        frame.bar.to_owned(),
        words.test_lead.to_owned(),
        format!("📦 {}: {}", words.project, m.project),
        format!("🔖 {title}"),
        format!("⏰ {}: {}", words.time, m.local(m.told_at)),
        frame.bar.to_owned(),
    ]
    .join("\n")
}
