//! The lines of an input, and what of them an answer rests on.

use schemas::job::{RunbookEntry, Similar};
use serde::Serialize;
use serde_json::Value;

use super::{
    Input,
    check::{clean, one_line},
};
use crate::text::is_hidden;

/// The longest piece of evidence that is shown, in characters.
const SHOWN_MAX: usize = 160;

/// The shortest text that is looked for in the input when it is not the name of anything.
const QUOTE_MIN: usize = 8;

impl Input {
    /// Each part that says something as a line: its name and JSON.
    pub(super) fn lines(&self) -> String {
        let mut lines = vec![format!("alert {}", self.alert_line())];
        lines.extend(self.frequency.map(|frequency| line("frequency", &frequency)));
        if !self.releases.is_empty() {
            lines.push(line("releases", &self.releases));
        }
        let runbook = self.runbook.iter().enumerate();
        lines.extend(runbook.map(|(n, entry)| line(&format!("runbook.{}", n + 1), entry)));
        let similar = self.similar.iter().enumerate();
        lines.extend(similar.map(|(n, past)| line(&format!("similar.{}", n + 1), past)));
        lines.extend(self.rejection.iter().map(|rejection| line("rejection", rejection)));
        if !self.left_out.is_empty() {
            lines.push(line("left_out", &self.left_out));
        }
        lines.join("\n")
    }

    /// The alert as JSON on one line.
    pub(super) fn alert_line(&self) -> String {
        inert(&self.context.json())
    }

    /// What of the input these name, each with what it says there. What the input does not hold is
    /// left out: it may have been made up.
    pub(super) fn evidence(&self, named: &[String]) -> Vec<String> {
        let Ok(whole) = serde_json::to_value(self) else { return Vec::new() };
        let mut found: Vec<String> = Vec::new();
        for name in named {
            let Some((path, says)) = self.named(name, &whole).or_else(|| quoted(name, &whole, ""))
            else {
                continue;
            };
            // The name of a label may read as an address; then what it stands in is named.
            let path = match path.as_str() {
                path if clean(path) == path => path,
                path if path.starts_with("releases.") => "releases",
                _ => "alert.tags",
            };
            let shown = one_line(&format!("{path}: {says}"), SHOWN_MAX);
            if !found.contains(&shown) {
                found.push(shown);
            }
        }
        found
    }

    /// `alert.message`, `alert.tags.release`, `alert.stacktrace[4]`, `similar.1`, ...: the name and
    /// what it says.
    fn named(&self, name: &str, whole: &Value) -> Option<(String, String)> {
        let path = name.trim().split([':', ' ', '=', '：']).next()?.trim_end_matches(['.', ',']);
        let plain = path.replace('[', ".").replace(']', "");
        let (line, key) = plain.split_once('.').unwrap_or((&plain, ""));
        let nth = || key.split('.').next()?.parse::<usize>().ok()?.checked_sub(1);
        let says = match line {
            "similar" => {
                let Similar { number, title, .. } = self.similar.get(nth()?)?;
                format!("{number} {title}")
            }
            "runbook" => {
                let RunbookEntry { id, cause, .. } = self.runbook.get(nth()?)?;
                format!("{id} {cause}")
            }
            "alert" if key.is_empty() => self.context.title.clone(),
            "alert" | "frequency" | "releases" | "rejection" => {
                says(within(whole.get(line)?, key)?)
            }
            _ => return None,
        };
        let path = match line {
            "similar" | "runbook" => plain.split('.').take(2).collect::<Vec<_>>().join("."),
            _ => plain.clone(),
        };
        (!says.is_empty()).then_some((path, says))
    }
}

/// The value under a path of keys. In a list of pairs a key is a name, in any other a number from 0,
/// and nothing means the last.
fn within<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return match value {
            Value::Array(items) => items.last(),
            Value::Null => None,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Some(value),
        };
    }
    let (key, rest) = path.split_once('.').unwrap_or((path, ""));
    match value {
        Value::Object(map) => within(map.get(key)?, rest),
        Value::Array(items) => {
            // Names of labels have dots in them.
            let pair = items.iter().find(|item| item.get(0).and_then(Value::as_str) == Some(path));
            match pair {
                Some(pair) => pair.get(1),
                None => within(items.get(key.parse::<usize>().ok()?)?, rest),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The first text of the input that holds what was given as evidence, and where it stands.
fn quoted(given: &str, value: &Value, path: &str) -> Option<(String, String)> {
    let given = given.trim_matches(|c: char| c.is_whitespace() || "\"'「」“”".contains(c));
    if given.chars().count() < QUOTE_MIN {
        return None;
    }
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::String(text) => text.contains(given).then(|| (path.to_owned(), given.to_owned())),
        Value::Array(items) => {
            // Runbooks and incidents are counted from 1, as their lines are.
            let first = usize::from(matches!(path, "runbook" | "similar"));
            let mut items = items.iter().enumerate();
            items.find_map(|(n, item)| quoted(given, item, &join(&(n + first).to_string())))
        }
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !path.is_empty() || *key != "left_out")
            .find_map(|(key, item)| quoted(given, item, &join(key))),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A value in few words.
fn says(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => items.iter().map(says).collect::<Vec<_>>().join(" "),
        Value::Object(map) => {
            let pairs = map.iter().filter(|(_, value)| !value.is_null() && !value.is_object());
            pairs
                .map(|(key, value)| format!("{key} {}", says(value)))
                .collect::<Vec<_>>()
                .join(", ")
        }
    }
}

fn line(name: &str, value: &impl Serialize) -> String {
    format!("{name} {}", inert(&super::json(value)))
}

/// JSON without characters that are not shown, that end lines, or that begin the marks by which
/// models are told who speaks (`<|im_end|>`): they are escaped, and mean the same.
fn inert(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        let escaped = c == '<' || is_hidden(c) || matches!(c, '\u{2028}' | '\u{2029}');
        if !escaped {
            out.push(c);
            continue;
        }
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}
