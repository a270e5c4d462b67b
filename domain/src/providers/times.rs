//! Senders' times: RFC 3339 with any offset spelling, without zone (read as UTC), or Unix numbers.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use schemas::Time;
use serde_json::Value;

/// Everything before 1971 means "none": senders write year 1, 1970 or epoch 0 for it.
const FIRST: Time = Time::from_micros(365 * 86_400 * 1_000_000);

/// The point in time `value` states, cut to microseconds; `None` when it states none.
///
/// Numbers are Unix seconds (with fraction), or milliseconds when seconds would lie past the year
/// 5138.
pub fn time(value: &Value) -> Option<Time> {
    let time = match value {
        Value::String(text) => parse(text.trim())?,
        Value::Number(number) => unix(number.as_f64()?)?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (time >= FIRST).then_some(time)
}

fn unix(number: f64) -> Option<Time> {
    let seconds = if number.abs() >= 1e11 { number / 1e3 } else { number };
    let micros = (seconds * 1e6).round();
    // Beyond this, f64 no longer counts microseconds and jiff has no date.
    (micros.abs() < 2.5e17).then(|| Time::from_micros(micros as i64))
}

fn parse(text: &str) -> Option<Time> {
    if let Ok(number) = text.parse::<f64>() {
        return unix(number);
    }
    // GitLab puts a blank before the offset.
    let joined = match text.rsplit_once(' ') {
        Some((time, offset)) if offset.starts_with(['+', '-']) => Some(format!("{time}{offset}")),
        _ => None,
    };
    let text = joined.as_deref().unwrap_or(text);
    let bare = text.strip_suffix("UTC").map(str::trim_end);
    if bare.is_none()
        && let Ok(timestamp) = text.parse::<Timestamp>()
    {
        return Some(timestamp.into());
    }
    let civil: DateTime = bare.unwrap_or(text).parse().ok()?;
    // A civil time parser would also take, and ignore, what it cannot use.
    let zoned = text.ends_with(['Z', 'z']) || text.contains('[');
    let timestamp = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
    (!zoned).then(|| timestamp.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value, expected: Option<&str>) {
        let expected = expected.map(|t| t.parse::<Time>().unwrap());
        assert_eq!(time(&value), expected, "{value}");
    }

    #[test]
    fn senders_times_in_every_spelling() {
        check(json!("2020-08-08T14:32:08.326990857Z"), Some("2020-08-08T14:32:08.326990Z"));
        check(json!("2018-11-04T22:43:58.283995108+01:00"), Some("2018-11-04T21:43:58.283995Z"));
        check(json!("2025-11-10T20:56:00.679000+00:00"), Some("2025-11-10T20:56:00.679Z"));
        check(json!("2025-11-10T20:56:00+0000"), Some("2025-11-10T20:56:00Z"));
        check(json!("2025-11-10T20:56:00+05:30"), Some("2025-11-10T15:26:00Z"));
        check(json!("2025-11-10 20:56:00 +0000"), Some("2025-11-10T20:56:00Z"));
        check(json!("2025-11-10 20:56:00 -0300"), Some("2025-11-10T23:56:00Z"));
        check(json!("2025-11-10 20:56:00 UTC"), Some("2025-11-10T20:56:00Z"));
        check(json!("2025-11-10 20:56:00"), Some("2025-11-10T20:56:00Z"));
        check(json!("2025-11-10T20:56:00"), Some("2025-11-10T20:56:00Z"));
        check(json!(1_588_082_704.210_463), Some("2020-04-28T14:05:04.210463Z"));
        check(json!(1_588_082_704_210_u64), Some("2020-04-28T14:05:04.210Z"));
        check(json!("1588082704"), Some("2020-04-28T14:05:04Z"));
    }

    #[test]
    fn year_one_1970_and_nonsense_are_none() {
        for none in [
            json!("0001-01-01T00:00:00Z"),
            json!("1970-01-01T00:00:00Z"),
            json!(0),
            json!(-1),
            json!(1e300),
            json!("NaN"),
            json!("inf"),
            json!(""),
            json!("yesterday"),
            json!("yesterday +0000"),
            json!(null),
            json!([1]),
        ] {
            check(none, None);
        }
    }
}
