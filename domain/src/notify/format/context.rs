//! What a template sees: data only. `docs/templates.md` says it name by name.

use std::collections::BTreeMap;

use minijinja::{Value, value::Serde};
use schemas::{
    Time,
    event::Frequency,
    job::{Analysis, Reply, Standing, Summary, SummaryItem},
};
use serde_json::{Value as Json, json};

use super::{Language, Message, kinds, parts, reply, words::Words};
use crate::notify::render::{
    analyst, cut, duration, percent, place_of, project_of, provider_title, severity, single_line,
};
use crate::triage::prompt_name;

/// How many lines of a sender's message there are.
const MOST_LINES: usize = 50;

/// The names and what they hold; `own` is the built-in text.
pub(super) fn context(m: &Message<'_>, own: &str, language: Language) -> Value {
    let words = language.words();
    let names = [told(m, own, language), said(m), happened(m), known(m, words)];
    let names = names.into_iter().filter_map(|part| match part {
        Json::Object(names) => Some(names),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => None,
    });
    Value::from(Serde(names.flatten().collect::<BTreeMap<String, Json>>()))
}

/// The message itself.
fn told(m: &Message<'_>, own: &str, language: Language) -> Json {
    json!({
        "text": own,
        "kind": m.kind.word(),
        "language": language.tag(),
        "words": language.words().entries().into_iter().collect::<BTreeMap<_, _>>(),
        "number": single_line(m.number, cut::FIELD),
        "tenant": m.project.as_str(),
        "told_at": m.local(m.told_at),
        "over": m.is_over(),
        "back": m.is_back(),
        "cause": m.cause.map(|cause| cause.word()),
        "tags": m.tags.iter().map(|tag| single_line(tag, cut::FIELD)).collect::<Vec<_>>(),
    })
}

/// What the sender says that it is.
fn said(m: &Message<'_>) -> Json {
    let facts = m.facts;
    let message = facts.message.as_deref().unwrap_or_default();
    let lines: Vec<String> =
        message.lines().take(MOST_LINES).map(|text| single_line(text, cut::FIELD)).collect();
    json!({
        "provider": single_line(&facts.provider, cut::WORD),
        "provider_title": provider_title(&facts.provider),
        "source": facts.source.as_str(),
        "title": single_line(&facts.title, cut::FIELD),
        "level": facts.level.map(|level| level.word()),
        "severity": severity(facts),
        "project": project_of(facts),
        "place": place_of(facts),
        "alertname": line(&facts.alertname),
        "message": (!message.trim().is_empty()).then(|| single_line(message, cut::FIELD)),
        "message_lines": lines,
        "labels": pairs(&facts.labels),
        "annotations": pairs(&facts.annotations),
    })
}

/// Where and when it happened, and how often.
fn happened(m: &Message<'_>) -> Json {
    let facts = m.facts;
    let at = |time: Option<Time>| time.map(|time| m.local(time));
    json!({
        "culprit": line(&facts.culprit),
        "environment": line(&facts.environment),
        "service": line(&facts.service),
        "namespace": line(&facts.namespace),
        "target": line(&facts.target),
        "platform": line(&facts.platform),
        "issue_id": line(&facts.issue_id),
        "url": line(&facts.url),
        "started_at": at(facts.started_at),
        "ended_at": at(facts.ended_at),
        "first_seen": at(facts.first_seen),
        "lasted": duration(facts),
        "count": facts.count,
        "user_count": facts.user_count,
    })
}

/// What is known besides.
fn known(m: &Message<'_>, words: &Words) -> Json {
    let frequency = m.frequency.map(|f| {
        let Frequency { count_1h, count_24h, count_7d, level } = f;
        json!({
            "count_1h": count_1h,
            "count_24h": count_24h,
            "count_7d": count_7d,
            "level": level.word(),
        })
    });
    json!({
        "frequency": frequency,
        "analysis": m.analysis.map(analysis),
        "standing": m.standing.map(|standing| stands(m, standing, words)),
        "summary": m.summary.map(|summary| sums_up(m, summary, words)),
        "reply": m.reply.map(|asked| replies(m, asked, words)),
    })
}

fn line(text: &Option<String>) -> Option<String> {
    text.as_deref().map(|text| single_line(text, cut::FIELD))
}

fn pairs(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    let pair = |(name, value): &(String, String)| {
        (single_line(name, cut::FIELD), single_line(value, cut::FIELD))
    };
    pairs.iter().map(pair).collect()
}

fn analysis(analysis: &Analysis) -> Json {
    let line = |text: &str| single_line(text, cut::FIELD);
    json!({
        "analyst": analyst(analysis),
        "percent": percent(analysis.confidence),
        "root_cause": line(&analysis.root_cause),
        "impact": line(&analysis.impact),
        "fix_suggestion": line(&analysis.fix_suggestion),
        "prevention": line(&analysis.prevention),
        "model": analysis.model.as_deref().map(line),
        "prompt": analysis.prompt.as_deref().map(prompt_name),
        "inconclusive": analysis.inconclusive,
        "evidence": analysis.evidence.iter().map(|evidence| line(evidence)).collect::<Vec<_>>(),
    })
}

fn stands(m: &Message<'_>, standing: &Standing, words: &Words) -> Json {
    json!({
        "state": standing.state.word(),
        "word": words.standing(standing.state),
        "verb": line(&standing.verb),
        "did": standing.verb.as_deref().and_then(|verb| parts::deed(words, verb)),
        "actor": line(&standing.actor),
        "at": m.local(standing.at),
        "silenced_until": standing.silenced_until.map(|until| m.local(until)),
        "folded": standing.folded,
    })
}

fn sums_up(m: &Message<'_>, summary: &Summary, words: &Words) -> Json {
    let items = kinds::worst_first(summary);
    let more = summary.incidents.saturating_sub(items.len() as u64);
    let item = |item: &SummaryItem| {
        json!({
            "mark": kinds::mark(item),
            "provider": single_line(&item.provider, cut::WORD),
            "title": single_line(&item.title, cut::TITLE),
            "level": item.level.map(|level| level.word()),
            "environment": item.environment.as_deref().map(|e| single_line(e, cut::WORD)),
            "alerts": item.alerts,
            "state": item.state.word(),
            "word": words.standing(item.state),
        })
    };
    let pair = |(name, value): &(String, String)| json!({ "name": single_line(name, cut::WORD), "value": single_line(value, cut::TITLE) });
    json!({
        "reason": summary.reason.word(),
        "name": kinds::name(summary.reason, words),
        "incidents": summary.incidents,
        "alerts": summary.alerts,
        "since": m.local(summary.since),
        "until": m.local(summary.until),
        "group": summary.group.iter().map(pair).collect::<Vec<_>>(),
        "items": items.into_iter().map(item).collect::<Vec<_>>(),
        "more": more,
    })
}

fn replies(m: &Message<'_>, asked: &Reply, words: &Words) -> Json {
    json!({
        "verb": single_line(&asked.verb, cut::WORD),
        "actor": single_line(&asked.actor, cut::TITLE),
        "refused": asked.refused.as_deref().map(|why| single_line(why, cut::FIELD)),
        "text": reply::reply(m, asked, words),
    })
}
