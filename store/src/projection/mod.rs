//! The read models' rows, as the projector writes them: one file per table, one batched statement
//! per table and batch.
//!
//! Everything here runs in the transaction that moves the projector's cursor (invariant I3), so an
//! event is counted once and no statement needs to know what it wrote before.
//!
//! To add a read model: a table in a migration, a file here, and one in `projector`.

pub mod action;
pub mod analyst_call;
pub mod coverage;
pub mod delivery;
pub mod diagnosis;
pub mod dossier;
pub mod incident;
pub mod likeness;
pub mod notice;
pub mod recurrence;
pub mod run;
pub mod send;
pub mod silence;
pub mod usefulness;

use std::borrow::Cow;

use schemas::Time;
use serde::Serialize;
use serde_json::Value;

use crate::{Error, timestamptz};

/// Most code points of a sender's text that is part of an index: an index row holds 2,700 bytes.
const INDEXED_TEXT: usize = 500;

/// One column of a batch, for `unnest`.
fn column<'r, R, T>(rows: &'r [R], value: impl FnMut(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// Text as Postgres takes it: it cannot hold NUL, and a sender may send one.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// [`text`] cut to what an index row can hold.
pub(crate) fn indexed(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(INDEXED_TEXT) {
        Some((end, _)) => text(&value[..end]),
        None => text(value),
    }
}

/// JSON text for a `jsonb` column, without NUL.
fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    let failed = |e: serde_json::Error| {
        Error::doing("encode a JSON column")(sqlx::Error::Encode(Box::new(e)))
    };
    let text = serde_json::to_string(value).map_err(failed)?;
    if !text.contains("\\u0000") {
        return Ok(text);
    }
    let mut value: Value = serde_json::from_str(&text).map_err(failed)?;
    without_nul(&mut value);
    Ok(value.to_string())
}

fn without_nul(value: &mut Value) {
    match value {
        Value::String(s) => *s = text(s).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(without_nul),
        Value::Object(map) => {
            *map = std::mem::take(map)
                .into_iter()
                .map(|(key, mut value)| {
                    without_nul(&mut value);
                    (text(&key).into_owned(), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A time somebody else stated: clamped to the years 1 to 9999, which tables and JSON can both say.
fn stated(time: Time) -> jiff_sqlx::Timestamp {
    const YEAR_1: i64 = -62_135_596_800_000_000;
    const YEAR_9999: i64 = 253_402_207_200_000_000;
    timestamptz(Time::from_micros(time.micros().clamp(YEAR_1, YEAR_9999)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_never_reaches_a_column() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        assert_eq!(text("ab"), "ab");
        assert_eq!(json(&["a\0", "b"]).unwrap(), "[\"a\u{fffd}\",\"b\"]");
        // The six characters of the escape are text like any other.
        assert_eq!(json(&["\\u0000"]).unwrap(), r#"["\\u0000"]"#);
        assert_eq!(json(&serde_json::json!({"k\0": 1})).unwrap(), "{\"k\u{fffd}\":1}");
    }

    #[test]
    fn indexed_text_is_cut_by_code_points() {
        assert_eq!(indexed("short"), "short");
        assert_eq!(indexed(&"告".repeat(700)).chars().count(), INDEXED_TEXT);
    }

    #[test]
    fn stated_times_fit_the_column() {
        for micros in [i64::MIN, -1, 0, i64::MAX] {
            let year = stated(Time::from_micros(micros)).to_jiff().strftime("%Y").to_string();
            assert!((1..=9999).contains(&year.parse::<i32>().unwrap()), "{micros}: {year}");
        }
    }
}
