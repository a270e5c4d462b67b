//! The texts that answer somebody in a chat: polite, and saying what to do.

use schemas::job::Reply;
use serde_json::Value;

use super::{
    Message, kinds, parts,
    words::{Words, fill},
};
use crate::notify::render::{cut, single_line};

/// How many lines of a result are shown.
const MOST_LINES: usize = 30;

/// The answer to `asked`.
pub(in crate::notify) fn reply(m: &Message<'_>, asked: &Reply, words: &Words) -> String {
    let actor = single_line(&asked.actor, cut::TITLE);
    let verb = single_line(&asked.verb, cut::WORD);
    if let Some(reason) = &asked.refused {
        return refused(&verb, (&actor, asked.to.source.as_str()), reason, words);
    }
    let arguments: Value = serde_json::from_str(&asked.arguments).unwrap_or_default();
    let mut lines = match asked.verb.as_str() {
        "help" => return help(words),
        "status" => vec![format!("📊 {}", words.reply_status)],
        "top" => vec![format!("🔝 {}", words.reply_top)],
        "why" => vec![format!("❓ {}", words.reply_why)],
        "triage" | "request_triage" => vec![format!("🧠 {}", words.reply_triage)],
        _ if arguments["changed"] == Value::Bool(false) => {
            vec![format!("✅ {}", fill(words.reply_same, &[("actor", &actor)]))]
        }
        _ => match parts::deed(words, &asked.verb) {
            Some(did) => {
                vec![format!("✅ {}", fill(words.reply_done, &[("actor", &actor), ("did", did)]))]
            }
            None => return unknown(&verb, words),
        },
    };
    let told = lines.len();
    lines.extend(incident(m, &arguments));
    lines.extend(parts::standing(m, words));
    lines.extend(m.summary.into_iter().flat_map(|summary| kinds::items(summary, words)));
    let result = arguments["lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(result.take(MOST_LINES).map(|line| single_line(line, cut::FIELD)));
    if lines.len() == told {
        match asked.verb.as_str() {
            "status" => lines.push(words.nothing_open.to_owned()),
            "top" | "why" => lines.push(words.nothing_known.to_owned()),
            _ => {}
        }
    }
    lines.join("\n")
}

/// The incident it is about, where it is about one.
fn incident(m: &Message<'_>, arguments: &Value) -> Option<String> {
    let number = arguments["number"].as_str().or(m.standing.map(|_| m.number))?;
    let title = single_line(&m.facts.title, cut::TITLE);
    Some(format!("🆔 {} {title}", single_line(number, cut::TITLE)).trim_end().to_owned())
}

fn help(words: &Words) -> String {
    format!("💬 {}\n{}", words.help_title, words.help)
}

fn unknown(verb: &str, words: &Words) -> String {
    let sorry = fill(words.reply_unknown, &[("verb", &format!("/{verb}"))]);
    format!("🙏 {sorry}\n{}", help(words))
}

fn refused(verb: &str, (actor, source): (&str, &str), reason: &str, words: &Words) -> String {
    // Of that source alone: another workspace may call somebody else the same.
    let unknown_actor = fill(words.unknown_actor, &[("actor", actor), ("source", source)]);
    let why = match reason {
        "unknown_verb" => return unknown(verb, words),
        "unknown_actor" => &unknown_actor,
        "not_your_project" => words.not_your_project,
        "other_chat" => words.other_chat,
        "unknown_incident" => words.unknown_incident,
        "not_open" => words.not_open,
        "superseded" => words.superseded_by_later,
        "no_diagnosis" => words.no_diagnosis,
        "too_many_triage" => words.too_many_triage,
        "bad_arguments" => words.bad_arguments,
        "bad_duration" => words.no_duration,
        other => &single_line(other, cut::FIELD),
    };
    let (verb, reason) = (format!("/{verb}"), why);
    format!("🙏 {}", fill(words.reply_refused, &[("verb", &verb), ("reason", reason)]))
}
