//! The section `playbook`: what this organisation knows of alerts, beside what ships with the
//! playbook and over it.

use std::{collections::BTreeSet, sync::Arc};

use serde::Deserialize;

use crate::{
    matcher,
    triage::playbook::{Known, Layer, Misplaced, Playbook, When, Written},
};

/// What its lines begin with.
const PREFIX: &str = "playbook.";

/// The entries of a section, each with an id of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<Written>")]
pub(super) struct Entries(pub Arc<Layer>);

impl TryFrom<Vec<Written>> for Entries {
    type Error = String;

    fn try_from(list: Vec<Written>) -> Result<Self, String> {
        Layer::new(list).map(|layer| Self(Arc::new(layer)))
    }
}

/// Most expressions in the playbook of one document, those of matchers among them: an alert that opens
/// an incident is compared with all of them.
const EXPRESSIONS_MAX: usize = 100;

/// What each of them may take when compiled, in bytes.
const EXPRESSION_BYTES: usize = 1 << 16;

/// Refuses more and larger expressions than a document may have in all its sections.
pub(super) fn bounded<'a>(sections: impl Iterator<Item = &'a Entries>) -> Result<(), Misplaced> {
    let mut entries: Vec<&Written> = sections.flat_map(|Entries(layer)| layer.written()).collect();
    entries.sort_by_key(|entry| entry.at.start);
    let mut expressions = 0;
    for Written { id, at, when, .. } in entries {
        let wrong = |problem| Misplaced { at: at.clone(), problem };
        let of_entry: Vec<&str> = when.iter().flatten().flat_map(When::expressions).collect();
        expressions += of_entry.len();
        if expressions > EXPRESSIONS_MAX {
            return Err(wrong(format!(
                "with entry {id:?} the playbook has {expressions} expressions (regex, and matchers \
                 with =~ or !~): use at most {EXPRESSIONS_MAX} in a document"
            )));
        }
        for text in of_entry {
            matcher::expression(text, EXPRESSION_BYTES)
                .map_err(|problem| wrong(format!("entry {id:?}: {text:?}: {problem}")))?;
        }
    }
    Ok(())
}

/// What is wrong with an entry, by line and column as everything that is wrong with a document.
pub(super) fn located(text: &str, Misplaced { at, problem }: &Misplaced) -> String {
    let before = &text[..text.floor_char_boundary(at.start)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let shown = text.lines().nth(line - 1).unwrap_or_default();
    format!(
        "TOML parse error at line {line}, column {column}\n  |\n{line} | {shown}\n  |\n{problem}\n"
    )
}

/// What holds of the entries that a document speaks of, by the key it stands under.
pub(super) fn lines(playbook: &Playbook) -> impl Iterator<Item = (String, String)> {
    let written = playbook.documents().iter().flat_map(|layer| layer.written());
    let ids: BTreeSet<&str> = written.map(|written| written.id.as_str()).collect();
    ids.into_iter().filter_map(|id| playbook.entry(id)).flat_map(|known| {
        let id = known.entry.id.clone();
        values(known).into_iter().map(move |(key, value)| (format!("{PREFIX}{id}.{key}"), value))
    })
}

/// What holds under a key where no document speaks of the entry.
pub(super) fn built_in(key: &str) -> Option<String> {
    let (id, key) = key.strip_prefix(PREFIX)?.rsplit_once('.')?;
    let values = values(Playbook::builtin().entry(id)?);
    values.into_iter().find(|(known, _)| *known == key).map(|(_, value)| value)
}

fn values(known: Known<'_>) -> Vec<(&'static str, String)> {
    let Known { family, entry, when, disabled } = known;
    let when: Vec<String> = when.iter().map(ToString::to_string).collect();
    let mut values = vec![
        ("family", family.to_owned()),
        ("when", when.join(" or ")),
        ("cause", entry.cause.clone()),
        ("impact", entry.impact.clone()),
        ("checks", entry.checks.join("; ")),
        ("fix", entry.fix.clone()),
        ("prevention", entry.prevention.clone()),
        ("confidence_percent", entry.confidence_percent.to_string()),
        ("disabled", disabled.to_string()),
    ];
    values.extend(entry.owner.clone().map(|owner| ("owner", owner)));
    values.extend(entry.link.clone().map(|link| ("link", link)));
    values
}
