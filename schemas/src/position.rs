//! Where something stands in the input log.

use std::{fmt, str::FromStr};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// How far the input log has been read: everything up to and including this record.
///
/// `incarnation` is the stream's creation time in Unix seconds: a stream that is made anew starts
/// at sequence 1 again, and must not be taken for the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct InputPosition {
    #[n(0)]
    pub incarnation: i64,
    #[n(1)]
    pub sequence: u64,
    /// Index of the record in its frame, from 0.
    #[n(2)]
    pub record: u32,
}

impl InputPosition {
    /// The position of alert `index` inside this record.
    pub const fn alert(self, index: u32) -> Position {
        Position { input: self, alert: Some(index) }
    }

    /// This record as a whole.
    pub const fn whole(self) -> Position {
        Position { input: self, alert: None }
    }
}

/// A record, or one alert inside it. Text form `inc-seq-rec` or `inc-seq-rec-alert`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Position {
    #[n(0)]
    pub input: InputPosition,
    #[n(1)]
    pub alert: Option<u32>,
}

impl fmt::Display for InputPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.incarnation, self.sequence, self.record)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt(f)?;
        match self.alert {
            Some(index) => write!(f, "-{index}"),
            None => Ok(()),
        }
    }
}

/// The text is not `inc-seq-rec` or `inc-seq-rec-alert`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a position: expected inc-seq-rec or inc-seq-rec-alert")]
pub struct NotAPosition(String);

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        fn number<T: FromStr>(part: Option<&str>) -> Option<T> {
            part?.parse().ok()
        }
        let parse = || {
            let mut parts = s.split('-');
            let input = InputPosition {
                incarnation: number(parts.next())?,
                sequence: number(parts.next())?,
                record: number(parts.next())?,
            };
            let alert = match parts.next() {
                Some(text) => Some(text.parse().ok()?),
                None => None,
            };
            parts.next().is_none().then_some(Position { input, alert })
        };
        parse().ok_or_else(|| NotAPosition(s.to_owned()))
    }
}

impl FromStr for InputPosition {
    type Err = NotAPosition;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let position: Position = s.parse()?;
        match position.alert {
            None => Ok(position.input),
            Some(_) => Err(NotAPosition(s.to_owned())),
        }
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_orders() {
        let a: Position = "1763617422-7-0-3".parse().unwrap();
        assert_eq!(a.to_string(), "1763617422-7-0-3");
        let b: Position = "1763617422-7-1".parse().unwrap();
        assert!(a < b);
        assert!(a.input < b.input);
        for bad in ["", "1-2", "1-2-3-4-5", "a-2-3", "1-2-3-"] {
            assert!(bad.parse::<Position>().is_err(), "{bad:?}");
        }
    }
}
