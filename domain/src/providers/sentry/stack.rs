//! R24: where it broke.

use schemas::StackFrame;
use serde_json::Value;

use crate::providers::{
    build::{MAX_LINE, cut},
    json::{at, text},
};

/// How many frames are kept.
const KEPT: usize = 5;

/// The last frames of the first exception, outermost first; none when anything in them is not what
/// it should be.
pub(super) fn frames(event: &Value) -> Vec<StackFrame> {
    let frames = raw(event).unwrap_or_default();
    let last = &frames[frames.len().saturating_sub(KEPT)..];
    last.iter().map(frame).collect::<Option<_>>().unwrap_or_default()
}

/// Name of the innermost function of the application's own code.
pub(super) fn top_in_app(event: &Value) -> Option<String> {
    let own = |frame: &&Value| frame.get("in_app").and_then(Value::as_bool) == Some(true);
    let frame = frame(raw(event)?.iter().rev().find(own)?)?;
    Some([frame.filename, frame.function].into_iter().flatten().collect::<Vec<_>>().join(":"))
}

/// Type of the first exception.
pub(super) fn exception_type(event: &Value) -> Option<&str> {
    text(first(event)?, &["type"])
}

fn first(event: &Value) -> Option<&Value> {
    // Events of old clients name the interface.
    let values = at(event, &["exception", "values"])
        .or_else(|| at(event, &["sentry.interfaces.Exception", "values"]))?;
    values.as_array()?.first()
}

fn raw(event: &Value) -> Option<&[Value]> {
    at(first(event)?, &["stacktrace", "frames"])?.as_array().map(Vec::as_slice)
}

fn frame(value: &Value) -> Option<StackFrame> {
    value.as_object()?;
    let line = |name: &str| text(value, &[name]).map(|t| cut(t, MAX_LINE));
    Some(StackFrame {
        filename: line("filename"),
        function: line("function"),
        lineno: value.get("lineno").and_then(Value::as_i64),
        context_line: line("context_line"),
    })
}
