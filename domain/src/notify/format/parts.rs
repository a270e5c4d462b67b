//! Lines that every format of an alert may have.

use schemas::{
    event::{Cause, EscalationLevel},
    job::{Rose, SendKind, Standing},
};

use super::{
    Message,
    words::{Words, fill},
};
use crate::notify::render::{cut, single_line};

/// That the problem is back, and what it was before.
pub(in crate::notify) fn came_back(m: &Message<'_>, words: &Words) -> Option<String> {
    if !m.is_back() {
        return None;
    }
    match m.cause? {
        Cause::New => None,
        Cause::Regression => Some(format!("🔁 {}", words.came_back)),
        Cause::Reappearance => Some(format!("🔁 {}", words.came_back_ignored)),
    }
}

/// That it recurs so often that it was raised. A first message says how often, and no more (R35).
pub(in crate::notify) fn raised(m: &Message<'_>, words: &Words) -> Option<String> {
    match m.kind {
        SendKind::Update | SendKind::Remind => {}
        SendKind::Fire
        | SendKind::Resolve
        | SendKind::Summary
        | SendKind::Test
        | SendKind::Reply => return None,
    }
    match m.frequency?.level {
        EscalationLevel::None | EscalationLevel::Repeat => None,
        level @ (EscalationLevel::Escalate | EscalationLevel::PermanentFix) => {
            Some(format!("🚨 {}: {}", words.raised, level.word()))
        }
    }
}

/// That it fires and nobody has it, or is worse than they were told.
pub(in crate::notify) fn reminder(m: &Message<'_>, words: &Words) -> Option<String> {
    match m.kind {
        SendKind::Remind if is_news(m) => rose(m, words),
        SendKind::Remind => Some(format!("🔔 {}", words.reminder)),
        SendKind::Fire
        | SendKind::Resolve
        | SendKind::Update
        | SendKind::Summary
        | SendKind::Test
        | SendKind::Reply => None,
    }
}

/// The message is there to say that it is worse.
fn is_news(m: &Message<'_>) -> bool {
    m.standing.and_then(|standing| standing.rose).is_some_and(|rose| rose.news)
}

/// From which level it rose to which.
fn rose(m: &Message<'_>, words: &Words) -> Option<String> {
    let Rose { from, to, .. } = m.standing?.rose?;
    let from = from.map_or("—".to_owned(), |from| from.word().to_uppercase());
    Some(format!("⬆️ {}: {from} → {}", words.level, to.word().to_uppercase()))
}

/// The marks the policy puts on it.
pub(in crate::notify) fn tags(m: &Message<'_>, words: &Words) -> Option<String> {
    let tags: Vec<String> = m.tags.iter().map(|tag| single_line(tag, cut::FIELD)).collect();
    (!tags.is_empty()).then(|| format!("🏷️ {}: {}", words.tags, tags.join(", ")))
}

/// Where the incident stands, who brought it there and when, and what was folded into it.
pub(in crate::notify) fn standing(m: &Message<'_>, words: &Words) -> Vec<String> {
    let Some(standing) = m.standing else { return Vec::new() };
    let mut lines = Vec::new();
    // An end says of itself that it is one.
    if m.kind != SendKind::Resolve || standing.actor.is_some() {
        lines.push(format!("📌 {}: {}", words.state, words.standing(standing.state)));
    }
    lines.extend(
        done_by(standing, words).map(|done| format!("👤 {done} · {}", m.local(standing.at))),
    );
    lines.extend(
        standing
            .silenced_until
            .map(|until| format!("🔕 {}: {}", words.silenced_until, m.local(until))),
    );
    if m.kind != SendKind::Resolve && (m.kind != SendKind::Remind || !is_news(m)) {
        lines.extend(rose(m, words));
    }
    if standing.folded > 0 {
        let count = standing.folded.to_string();
        lines.push(format!("🔁 {}", fill(words.folded, &[("count", &count)])));
    }
    lines
}

fn done_by(standing: &Standing, words: &Words) -> Option<String> {
    let actor = single_line(standing.actor.as_deref()?, cut::TITLE);
    let verb = standing.verb.as_deref()?;
    let did = deed(words, verb).map_or_else(|| single_line(verb, cut::WORD), str::to_owned);
    Some(fill(words.done_by, &[("actor", &actor), ("did", &did)]))
}

/// What an operator's verb is called; none for a verb that no operator has.
pub(in crate::notify) fn deed(words: &Words, verb: &str) -> Option<&'static str> {
    Some(match verb {
        "ack" => words.ack,
        "unack" => words.unack,
        "resolve" => words.resolve,
        "reopen" => words.reopen,
        "silence" => words.silence,
        "unsilence" => words.unsilence,
        "confirm" => words.confirm,
        "reject" => words.reject,
        "request_triage" | "triage" => words.request_triage,
        "handoff" => words.handoff,
        "note" => words.note,
        "useful" => words.useful,
        "not_useful" => words.not_useful,
        "noise" => words.noise,
        _ => return None,
    })
}
