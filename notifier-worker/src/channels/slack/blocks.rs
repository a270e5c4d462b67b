//! The blocks of a message, within Slack's limits ("Block Kit", reference of each block).

use serde_json::{Value, json};

use crate::channels::{
    Button, Notification,
    text::{MARK, cut, link, parts},
};

/// The longest text of a header and of a section.
const MAX_HEADER: usize = 150;
const MAX_SECTION: usize = 3_000;

/// The longest text of a link's element and of a button.
const MAX_LINK: usize = 2_000;
const MAX_LABEL: usize = 75;

/// How many sections a message has; Slack takes 50 blocks of any kind.
const MAX_SECTIONS: usize = 12;

/// How many buttons stand in a row.
const ROW: usize = 3;

/// The message as blocks; with its buttons, where they are wanted.
pub fn of(n: &Notification, buttons: bool) -> Value {
    let told = parts(&n.text);
    let mut blocks = Vec::new();
    if !told.headline.is_empty() {
        blocks.push(json!({ "type": "header", "text": plain(escape(told.headline, MAX_HEADER)) }));
    }
    let pieces = told.sections.iter().enumerate().flat_map(|(section, text)| {
        pieces(text).into_iter().enumerate().map(move |(i, piece)| (section > 0 && i == 0, piece))
    });
    let pieces: Vec<(bool, &str)> = pieces.collect();
    for (at, (ruled, piece)) in pieces.iter().take(MAX_SECTIONS).enumerate() {
        if *ruled {
            blocks.push(json!({ "type": "divider" }));
        }
        let text = match at + 1 == MAX_SECTIONS && pieces.len() > MAX_SECTIONS {
            true => escape(&format!("{piece}\n{MARK}"), MAX_SECTION),
            false => escape(piece, MAX_SECTION),
        };
        blocks.push(json!({ "type": "section", "text": plain(text) }));
    }
    blocks.extend(page(n));
    if buttons {
        blocks.extend(n.buttons.chunks(ROW).enumerate().map(|(at, row)| actions(at, row)));
    }
    json!(blocks)
}

fn plain(text: String) -> Value {
    // Nor is `:boom:` a picture.
    json!({ "type": "plain_text", "text": text, "emoji": false })
}

/// The link to the sender's page.
fn page(n: &Notification) -> Option<Value> {
    let (url, label) = link(n)?;
    // A bar would end the address within a link.
    let url = escape(&url.as_str().replace('|', "%7C"), usize::MAX);
    let link = format!("<{url}|{}>", escape(&label, usize::MAX));
    let element = json!({ "type": "mrkdwn", "text": link, "verbatim": true });
    (link.chars().map(char::len_utf16).sum::<usize>() <= MAX_LINK)
        .then(|| json!({ "type": "context", "elements": [element] }))
}

/// A row of buttons. What one carries is its value; ids are distinct within a row.
fn actions(at: usize, row: &[Button]) -> Value {
    let buttons: Vec<Value> = row
        .iter()
        .enumerate()
        .map(|(i, button)| {
            let before = row[..i].iter().filter(|other| other.verb == button.verb).count();
            let id = match before {
                0 => button.verb.to_owned(),
                n => format!("{}-{}", button.verb, n + 1),
            };
            json!({
                "type": "button",
                "action_id": id,
                "text": plain(escape(&button.label, MAX_LABEL)),
                "value": button.data,
            })
        })
        .collect();
    json!({ "type": "actions", "block_id": format!("row-{}", at + 1), "elements": buttons })
}

/// A section's text in pieces that fit, cut between lines, and within a line where it is too long.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (mut used, mut end, mut line) = (0, rest.len(), 0);
        for (at, c) in rest.char_indices() {
            used += units(c);
            if used > MAX_SECTION {
                end = if line > 0 { line } else { at };
                break;
            }
            if c == '\n' {
                line = at + 1;
            }
        }
        let piece = rest[..end].trim_matches('\n');
        if !piece.is_empty() {
            pieces.push(piece);
        }
        rest = &rest[end..];
    }
    pieces
}

/// Escaped, at most `limit` long: what Slack reads as control characters are references.
pub fn escape(text: &str, limit: usize) -> String {
    let head = cut(text, limit, units);
    head.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What a character counts once it is escaped. UTF-16 is the longer of the readings of "character".
fn units(c: char) -> usize {
    match c {
        '&' => 5,
        '<' | '>' => 4,
        c => c.len_utf16(),
    }
}
