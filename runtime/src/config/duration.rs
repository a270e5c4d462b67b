//! Lengths of time in configuration: `"250ms"`, `"5s"`, `"2m"`, `"1h"`, `"35d"`.
//!
//! Used as `#[serde(with = "runtime::config::duration")]`. A bare number is refused, because
//! nobody can see its unit.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Reads a text with a unit.
///
/// # Errors
/// No unit, an unknown one, or no whole number before it.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    parse(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "{text:?} is not a length of time: use a whole number with ms, s, m, h or d"
        ))
    })
}

/// Writes whole milliseconds.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("{}ms", duration.as_millis()))
}

/// The length of time a text says; none: it says none.
pub fn parse(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_needs_its_unit() {
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse("5 s"), Some(Duration::from_secs(5)));
        assert_eq!(parse("35d"), Some(Duration::from_secs(35 * 86_400)));
        for bad in ["", "5", "s", "-1s", "1.5s", "5 weeks", "99999999999999999999s"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
