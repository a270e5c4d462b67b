//! Redaction of JSON, value by value.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    FIELD, MARK, Redactor,
    names::{Kind, MAX_NAME, Place},
    view::{has_hidden, view},
};

/// Under these an object has a field's name ...
const NAMES: [&str; 7] = ["name", "key", "header", "field", "k", "param", "variable"];

/// ... and under these its value.
const VALUES: [&str; 4] = ["value", "values", "val", "v"];

impl Redactor {
    /// Redacts `value`, the field `parent` or an item of it; `nesting` is how many more texts within
    /// texts may be read as JSON.
    pub(super) fn walk(&self, parent: &str, value: &mut Value, nesting: u8) -> u32 {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => {
                let (clean, count) = self.nested(text, nesting);
                if let Cow::Owned(clean) = clean {
                    *text = clean;
                }
                count
            }
            Value::Array(items) => self.walk_array(parent, items, nesting),
            Value::Object(map) => self.walk_object(parent, map, nesting),
        }
    }

    fn walk_array(&self, parent: &str, items: &mut [Value], nesting: u8) -> u32 {
        // Header and tag lists travel as [name, value].
        if let [Value::String(name), second] = items
            && self.kind(name).is_some()
        {
            let count = self.walk_field(&name.clone(), second, nesting).0;
            return count + self.walk(parent, &mut items[0], nesting);
        }
        // The arguments of a command: an option, and its value after it. Or headers, all in one list.
        let mut of_name = false;
        let mut count = 0;
        for item in items {
            count += match item {
                Value::String(_) if of_name => self.replace(item),
                _ => self.walk(parent, item, nesting),
            };
            of_name = item.as_str().is_some_and(|name| match self.kind(name) {
                Some(Kind::Authorization | Kind::Cookie) => !name.ends_with('s'),
                Some(Kind::Phrase | Kind::Credential) => name.starts_with('-'),
                Some(Kind::Random) | None => false,
            });
        }
        count
    }

    fn walk_object(&self, parent: &str, map: &mut Map<String, Value>, nesting: u8) -> u32 {
        let is = |name: &str, list: &[&str]| list.iter().any(|n| n.eq_ignore_ascii_case(name));
        // ... or as {"name": ..., "value": ...}.
        let named = map.keys().any(|name| is(name, &VALUES))
            && (map.iter().filter(|(name, _)| is(name, &NAMES)))
                .filter_map(|(_, value)| self.kind(value.as_str()?))
                .any(|kind| kind != Kind::Random);
        let mut count = 0;
        let mut odd_names = false;
        for (name, value) in map.iter_mut() {
            let (replaced, odd) = if named && is(name, &VALUES) || self.names.is_path(parent, name)
            {
                (self.replace(value), false)
            } else {
                self.walk_field(name, value, nesting)
            };
            count += replaced;
            odd_names |= odd;
        }
        if odd_names && map.keys().any(|name| matches!(self.text(name).0, Cow::Owned(_))) {
            count += self.rename(map);
        }
        count
    }

    /// Redacts the value of the field `name`; true if the name itself may have to go.
    fn walk_field(&self, name: &str, value: &mut Value, nesting: u8) -> (u32, bool) {
        let hits = self.prefilter.hits(name, |_| ());
        if hits.odd
            && has_hidden(name)
            && let Some(shown) = view(name)
        {
            return (self.walk_field(&shown.text, value, nesting).0, true);
        }
        let odd = hits.any();
        let kind = if hits.stem { self.names.kind(name, Place::Key) } else { None };
        match (kind, &mut *value) {
            (Some(Kind::Random), Value::String(text)) => {
                if self.names.is_random(text) && !self.allowed(text) {
                    return (self.replace(value), odd);
                }
            }
            (Some(Kind::Random) | None, _) => {}
            (Some(_), _) => return (self.replace(value), odd),
        }
        let mut count = 0;
        // Some credentials are known only by the name that they go under.
        if hits.rules != 0
            && let Value::String(text) = value
            && let Some((clean, replaced)) = self.under_name(name, text, hits.rules)
        {
            *text = clean;
            count = replaced;
        }
        (count + self.walk(name, value, nesting), odd)
    }

    /// What the value of a field called `name` is.
    fn kind(&self, name: &str) -> Option<Kind> {
        let may_be = name.len() <= MAX_NAME && self.prefilter.hits(name, |_| ()).stem;
        if may_be { self.names.kind(name, Place::Key) } else { None }
    }

    /// Redacts the names of fields; none is lost when two become the same.
    fn rename(&self, map: &mut Map<String, Value>) -> u32 {
        let mut count = 0;
        let mut doubles = 0;
        for (name, value) in std::mem::take(map) {
            let (clean, replaced) = self.text(&name);
            count += replaced;
            let mut clean = clean.into_owned();
            while map.contains_key(&clean) {
                doubles += 1;
                clean = format!("{clean}#{doubles}");
            }
            map.insert(clean, value);
        }
        count
    }

    /// Puts the mark in the place of a value that says something.
    fn replace(&self, value: &mut Value) -> u32 {
        let nothing = match value {
            Value::Null | Value::Bool(_) => true,
            Value::String(text) => text.is_empty() || self.allowed(text),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Number(_) => false,
        };
        if !nothing {
            *value = Value::String(format!("{MARK}{FIELD}]"));
        }
        u32::from(!nothing)
    }
}
