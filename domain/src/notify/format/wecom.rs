//! The texts for WeCom: R37 for errors, R38 for everything else.

use schemas::{Facts, job::SendKind};

use super::{
    Frame, Message, came_back, parts, raised, reminder,
    words::{Language, Words, fill},
};
use crate::{
    notify::render::{analyst, cut, percent, provider_title, root_cause, severity, single_line},
    providers,
};

const BAR: &str = "━━━━━━━━━━━━━━━━";

/// A message as WeCom's applications and robots are told it: plain text, without a line break at
/// its end. Written in simplified Chinese unless the message says otherwise.
///
/// An alert has only the lines for which there is something to say.
pub fn wecom_text(message: &Message<'_>) -> String {
    if let Some(written) = message.written {
        return written.to_owned();
    }
    let words = message.words(Language::SimplifiedChinese);
    let frame = Frame { bar: BAR, rule: "" };
    match (message.kind, message.summary, message.reply) {
        (SendKind::Summary, Some(summary), _) => super::summary(message, summary, words, frame),
        (SendKind::Reply, _, Some(reply)) => super::reply(message, reply, words),
        (SendKind::Test, ..) => super::test(message, words, frame),
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
    let mut lines = match providers::tells_errors(&m.facts.provider) {
        true => error(m, words),
        false => other(m, words),
    };
    let mut more: Vec<String> = parts::standing(m, words);
    more.extend(analysis(m, words));
    if !more.is_empty() {
        lines.push(String::new());
        lines.extend(more);
        // Without it nobody could name the incident in a command.
        lines.push(format!("🆔 {}: {}", words.number, single_line(m.number, cut::FIELD)));
    }
    lines.push(BAR.to_owned());
    lines.join("\n")
}

/// R37.
fn error(m: &Message<'_>, words: &Words) -> Vec<String> {
    let facts = m.facts;
    let (mark, state) = match (m.is_over(), m.is_back()) {
        (true, _) => ("✅", words.resolved),
        (false, true) => ("🔁", words.again),
        (false, false) => ("🆕", words.unresolved),
    };
    let provider = provider_title(&facts.provider);
    let kind = fill(words.app_alert, &[("provider", &provider)]);
    let mut lines =
        vec![format!("{mark} [{kind}] {}", single_line(&facts.title, cut::FIELD)), BAR.to_owned()];
    lines.extend(severity(facts).map(|word| format!("🔥 {}: {word}", words.level)));
    lines.push(format!("🏷️  {}: {provider}", words.source));
    lines.extend(told("📍 ", words.environment, facts.environment.as_deref()));
    lines.extend(told("🖥️  ", words.service, service(facts)));
    lines.extend(told("📝 ", words.place, facts.culprit.as_deref()));
    let first = facts.first_seen.or(facts.started_at);
    lines.extend(first.map(|at| format!("⏰ {}: {}", words.first_seen, m.local(at))));
    lines.push(format!("📊 {}: {state}", words.state));
    lines.extend(facts.count.map(|count| format!("🔢 {}: {count}", words.occurrences)));
    lines.extend(facts.user_count.map(|count| format!("👥 {}: {count}", words.users)));
    lines.extend(super::tags(m, words));
    lines.extend(reminder(m, words));
    lines.extend(raised(m, words));
    if let Some(url) = told("🔗 ", words.details, facts.url.as_deref()) {
        lines.extend([String::new(), url]);
    }
    lines
}

/// R38.
fn other(m: &Message<'_>, words: &Words) -> Vec<String> {
    let facts = m.facts;
    // Its own alerts have the lines of the sample, and no others.
    let told_as = providers::told_as(&facts.provider);
    let name = facts.alertname.as_deref().unwrap_or(&facts.title);
    let flag = if m.is_over() { "✅ [RESOLVED]" } else { "🔥 [FIRING]" };
    let mut lines = vec![format!("{flag} {}", single_line(name, cut::FIELD)), BAR.to_owned()];
    lines.extend(severity(facts).map(|word| format!("🚨 {}: {word}", words.severity)));
    let source = told_as.map_or_else(|| provider_title(&facts.provider), str::to_owned);
    lines.push(format!("🏷️  {}: {source}", words.source));
    let mut instance = facts.label("instance");
    let mut started_at = facts.started_at;
    if told_as.is_none() {
        lines.extend(told("📍 ", words.environment, facts.environment.as_deref()));
        lines.extend(told("🧩 ", words.service, service(facts)));
        instance = instance.or(facts.target.as_deref());
        started_at = started_at.or(Some(m.told_at));
    }
    lines.extend(told("🖥️  ", words.instance, instance));
    lines.extend(told("📦 ", words.job, facts.label("job")));
    lines.extend(started_at.map(|at| format!("⏰ {}: {}", words.time, m.local(at))));
    let ended_at = facts.ended_at.filter(|_| m.is_over());
    lines.extend(ended_at.map(|at| format!("⏰ {}: {}", words.recovered_at, m.local(at))));
    lines.extend(super::tags(m, words));
    lines.extend(came_back(m, words));
    lines.extend(reminder(m, words));
    lines.extend(raised(m, words));
    lines.extend(what(facts, name));
    lines
}

/// Summary and description, a line each; of others what they say.
fn what(facts: &Facts, name: &str) -> Vec<String> {
    let line = |text: &str| Some(single_line(text, cut::FIELD)).filter(|line| !line.is_empty());
    let annotated = |name: &str| facts.annotation(name).and_then(line);
    let (summary, description) = (annotated("summary"), annotated("description"));
    let mut said: Vec<String> = match (&summary, &description) {
        (None, None) => facts.message.as_deref().and_then(line).into_iter().collect(),
        (Some(_), _) | (_, Some(_)) => [summary, description].into_iter().flatten().collect(),
    };
    said.retain(|line| line != name);
    if let Some(first) = said.first_mut() {
        *first = format!("📝 {first}");
        said.insert(0, String::new());
    }
    said
}

fn analysis(m: &Message<'_>, words: &Words) -> Vec<String> {
    let Some(analysis) = m.analysis.filter(|_| !m.is_over()) else { return Vec::new() };
    let share = percent(analysis.confidence).to_string();
    let by = fill(words.analysis, &[("analyst", &analyst(analysis)), ("percent", &share)]);
    vec![
        format!("🧠 {by}"),
        root_cause(analysis, words, cut::FIELD),
        format!("💡 {}: {}", words.suggestion, single_line(&analysis.fix_suggestion, cut::FIELD)),
    ]
}

fn service(facts: &Facts) -> Option<&str> {
    [&facts.service, &facts.sender_project, &facts.namespace]
        .into_iter()
        .find_map(|name| name.as_deref().filter(|name| !name.trim().is_empty()))
}

/// `mark name: text`, where there is a text.
fn told(mark: &str, name: &str, text: Option<&str>) -> Option<String> {
    let text = single_line(text?, cut::FIELD);
    (!text.is_empty()).then(|| format!("{mark}{name}: {text}"))
}
