//! What is left of an error when it is reported: its own words.

use sentry::protocol::{Context, Event, Exception, Map, Mechanism, Value, Values};

use super::{LOCATION, Place, Redact, Reporter};

/// Where a report has the fields of what was logged.
const FIELDS: &str = "Rust Tracing Fields";

/// Longest text, in characters.
const MAX_TEXT: usize = 500;
/// Most fields.
const MAX_FIELDS: usize = 16;

/// Takes out of reports what is not ours to tell.
pub(super) struct Cleaner {
    roles: Vec<String>,
    crates: &'static [&'static str],
    redact: Redact,
}

impl Cleaner {
    pub fn new(reporter: Reporter) -> Self {
        Self { roles: reporter.roles, crates: reporter.crates, redact: reporter.redact }
    }

    /// A report of `event` with what it may say, and nothing that is not taken over by name.
    /// `left_out`: reports of the same place since the last one.
    pub fn clean(&self, event: Event<'static>, place: &Place, left_out: u32) -> Event<'static> {
        let mut tags = Map::from([("role".to_owned(), self.role(&place.target))]);
        if left_out > 0 {
            tags.insert("left_out".to_owned(), left_out.to_string());
        }
        let mut contexts = event.contexts;
        let fields = contexts.remove(FIELDS).filter(|_| self.is_ours(&place.target));
        let mut kept = Map::new();
        if let Some(Context::Other(fields)) = fields {
            let fields = fields.into_iter().take(MAX_FIELDS);
            let fields: Map<String, Value> = fields.map(|(k, v)| (k, self.value(v))).collect();
            kept.insert(FIELDS.to_owned(), Context::Other(fields));
        }
        kept.extend(contexts.remove_entry(LOCATION));
        let exceptions = event.exception.values.into_iter().map(|exception| Exception {
            ty: exception.ty,
            value: exception.value.map(|text| self.text(&text)),
            mechanism: exception.mechanism.map(|mechanism| Mechanism {
                ty: mechanism.ty,
                handled: mechanism.handled,
                ..Mechanism::default()
            }),
            ..Exception::default()
        });
        Event {
            event_id: event.event_id,
            level: event.level,
            timestamp: event.timestamp,
            platform: event.platform,
            sdk: event.sdk,
            release: event.release,
            environment: event.environment,
            logger: event.logger,
            message: event.message.map(|text| self.text(&text)),
            exception: Values { values: exceptions.collect() },
            tags,
            contexts: kept,
            // Ids in a message would make an issue of each.
            fingerprint: vec![place.to_string().into()].into(),
            ..Event::default()
        }
    }

    /// The role whose code it is of, else all that this process plays.
    fn role(&self, target: &str) -> String {
        let of_code = top(target).replace('_', "-");
        match self.roles.contains(&of_code) {
            true => of_code,
            false => self.roles.join(","),
        }
    }

    /// Whether this system's own code says it, which logs neither bodies nor credentials.
    fn is_ours(&self, target: &str) -> bool {
        self.crates.contains(&top(target))
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
            Value::Array(_) | Value::Object(_) => Value::String(self.text(&value.to_string())),
        }
    }

    /// The first line of a text without credentials, quotations and paths of addresses.
    pub fn text(&self, text: &str) -> String {
        let line = text.lines().next().unwrap_or_default();
        // What is far beyond the end cannot be in what is left.
        let line: String = line.chars().take(8 * MAX_TEXT).collect();
        let redacted = (self.redact)(&line);
        without_addresses(&without_quotations(&redacted)).chars().take(MAX_TEXT).collect()
    }
}

/// The crate of a target.
fn top(target: &str) -> &str {
    target.split("::").next().unwrap_or(target)
}

/// Errors quote what they could not read, and that is what somebody sent.
fn without_quotations(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '`']) {
        let quote = if rest[at..].starts_with('"') { '"' } else { '`' };
        out.push_str(&rest[..at]);
        out.push(quote);
        out.push('…');
        let inside = &rest[at + 1..];
        let Some(end) = end_of(inside, quote) else { return out };
        out.push(quote);
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    out
}

/// Where a quotation ends; a quote behind a backslash is part of it.
fn end_of(inside: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// Of an address scheme and host are left: what is before the host, and what follows it, may be a
/// credential.
fn without_addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(|c: char| c.is_whitespace() || ")>,;".contains(c));
        let (address, behind) = after.split_at(end.unwrap_or(after.len()));
        let authority = address.find(['/', '?', '#']).map_or(address, |end| &address[..end]);
        let host = authority.rsplit('@').next().unwrap_or_default();
        out.push_str(before);
        out.push_str(host);
        if authority.len() < address.len() {
            out.push_str("/…");
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}
