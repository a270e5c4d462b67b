//! How often something happened lately, on lane time, in bounded memory (R27).
//!
//! What happened is counted by the minute. A window of n minutes holds the current minute and the
//! n - 1 before it: what happened leaves the window n minutes after its minute began, so it counts
//! for 59 minutes of an hour, and after 60 it does not. While no more than [`EXACT`] different
//! minutes of the last week are known, that is all the error there is. Of more, those older than an
//! hour are merged into quarters of an hour and those older than a day into hours, which leave with
//! their first minute: the counts are then too low by at most what happened in one of them.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use schemas::Time;

const HOUR: u32 = 60;
const DAY: u32 = 24 * HOUR;

/// The longest window, in minutes; what is older is forgotten.
pub const LONGEST: u32 = 7 * DAY;

/// This many different minutes are kept apart.
const EXACT: usize = 128;

const MICROS_PER_MINUTE: i64 = 60_000_000;

/// Counts by minute, oldest first: minutes since the Unix epoch, each greater than the one before.
///
/// At most 60 minutes, 93 quarters and 145 hours are kept whatever happens; about 4 bytes each as
/// stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(u32, u32)>);

impl Counts {
    /// Counts something that happens `now`, which is not earlier than what was counted before.
    pub fn push(&mut self, now: Time) {
        let minute = minute_of(now);
        if let Some((last, count)) = self.0.last_mut()
            && *last >= minute
        {
            *count = count.saturating_add(1);
            return;
        }
        let gone = self.0.partition_point(|(then, _)| minute - then >= LONGEST);
        self.0.drain(..gone);
        self.0.push((minute, 1));
        if self.0.len() > EXACT {
            self.merge(minute);
        }
    }

    /// How often it happened in the last `minutes` before `now`, the current one included.
    pub fn within(&self, minutes: u32, now: Time) -> u64 {
        let minute = minute_of(now);
        let recent =
            self.0.iter().rev().take_while(|(then, _)| minute.saturating_sub(*then) < minutes);
        recent.map(|(_, count)| u64::from(*count)).sum()
    }

    /// True while nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps what is older in coarser parts.
    fn merge(&mut self, minute: u32) {
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(self.0.len());
        for (then, count) in self.0.drain(..) {
            let part = match minute - then {
                age if age < HOUR => 1,
                age if age < DAY => HOUR / 4,
                _ => HOUR,
            };
            let start = then - then % part;
            match merged.last_mut() {
                Some((last, sum)) if *last == start => *sum = sum.saturating_add(count),
                Some(_) | None => merged.push((start, count)),
            }
        }
        self.0 = merged;
    }
}

fn minute_of(time: Time) -> u32 {
    let minute = time.micros().div_euclid(MICROS_PER_MINUTE);
    u32::try_from(minute.max(0)).unwrap_or(u32::MAX)
}

/// As bytes: the distance to the minute before and the count, each as LEB128.
impl<C> Encode<C> for Counts {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let mut bytes = Vec::with_capacity(self.0.len() * 4);
        let mut before = 0;
        for (minute, count) in &self.0 {
            put(&mut bytes, minute - before);
            put(&mut bytes, *count);
            before = *minute;
        }
        e.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Counts {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let mut bytes = d.bytes()?.iter();
        let mut counts: Vec<(u32, u32)> = Vec::new();
        let broken = || decode::Error::message("counts by minute").at(at);
        while !bytes.as_slice().is_empty() {
            let (apart, count) = take(&mut bytes).zip(take(&mut bytes)).ok_or_else(broken)?;
            let minute = match counts.last() {
                Some((before, _)) if apart > 0 => before.checked_add(apart).ok_or_else(broken)?,
                Some(_) => return Err(broken()),
                None => apart,
            };
            counts.push((minute, count));
        }
        Ok(Self(counts))
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u32> {
    let mut number = 0u32;
    for shift in (0..32).step_by(7) {
        let byte = *bytes.next()?;
        number |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::codec;

    use super::*;
    use crate::observe::samples::second;

    fn counts(at: &[i64]) -> Counts {
        let mut counts = Counts::default();
        at.iter().for_each(|at| counts.push(second(*at)));
        counts
    }

    /// Given one occurrence, then it counts in a window of so many minutes until so many seconds
    /// after it, and not from a second later on.
    #[track_caller]
    fn check(window: u32, counts_for: i64) {
        for phase in [0, 1, 30, 59] {
            let one = counts(&[phase]);
            // The minute it happened in may be over after a second.
            let last = counts_for - phase;
            assert_eq!(one.within(window, second(phase + last)), 1, "{window} min, phase {phase}");
            assert_eq!(one.within(window, second(phase + last + 1)), 0, "{window} min, {phase}");
        }
    }

    #[test]
    fn r27_what_happened_leaves_a_window_as_its_minute_does() {
        check(60, 60 * 60 - 1);
        check(24 * 60, 24 * 3600 - 1);
        check(LONGEST, 7 * 24 * 3600 - 1);
    }

    #[test]
    fn r27_after_59_minutes_it_counts_and_after_60_and_61_it_does_not() {
        for phase in [0, 17, 59] {
            let one = counts(&[phase]);
            for (minutes, expect) in [(0, 1), (58, 1), (59, 1), (60, 0), (61, 0)] {
                assert_eq!(one.within(60, second(phase + 60 * minutes)), expect, "{minutes}");
            }
            for (minutes, expect) in [(1439, 1), (1440, 0), (1441, 0)] {
                assert_eq!(one.within(24 * 60, second(phase + 60 * minutes)), expect, "{minutes}");
            }
        }
    }

    #[test]
    fn a_minute_that_is_busy_is_one_entry_and_a_week_is_bounded() {
        let mut counts = Counts::default();
        for n in 0..100_000 {
            counts.push(second(n / 5_000));
        }
        assert_eq!(counts.0.len(), 1);
        assert_eq!(counts.within(60, second(20)), 100_000);

        // Every minute of eight days.
        for n in 0..8 * i64::from(DAY) {
            counts.push(second(60 * n + 30));
        }
        assert!(counts.0.len() <= 60 + 93 + 145, "{}", counts.0.len());
        assert!(codec::encode(&counts).len() <= 1024, "{}", codec::encode(&counts).len());
        let end = second(60 * (8 * i64::from(DAY) - 1) + 30);
        assert_eq!(counts.within(60, end), 60);
        assert!((1440 - 15..=1440).contains(&counts.within(DAY, end)));
        assert!((10_080 - 60..=10_080).contains(&counts.within(LONGEST, end)));
    }

    #[test]
    fn a_time_before_the_epoch_or_out_of_range_is_counted_all_the_same() {
        let mut counts = Counts::default();
        for micros in [i64::MIN, 0, i64::MAX, i64::MAX] {
            counts.push(Time::from_micros(micros));
        }
        assert_eq!(counts.within(60, Time::from_micros(i64::MAX)), 2);
    }

    #[test]
    fn bytes_that_are_no_counts_are_refused() {
        for bytes in [&[1u8][..], &[1, 0x80], &[1, 1, 0, 1], &[0xff; 12], &[5, 1, 0xff, 0xff, 0xff]]
        {
            let mut cbor = Vec::new();
            Encoder::new(&mut cbor).bytes(bytes).unwrap();
            assert!(codec::decode::<Counts>("counts", &cbor).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        /// Against every single time, kept: exact as long as few minutes are known, and never too
        /// high; the stored form says the same.
        #[test]
        fn r27_windows_agree_with_a_recount(
            gaps in prop::collection::vec(prop_oneof![0i64..120, 0i64..4_000, 0i64..90_000], 1..400),
            after in 0i64..100_000,
        ) {
            let mut times = Vec::new();
            let mut now = 0;
            let mut counts = Counts::default();
            for gap in gaps {
                now += gap;
                times.push(now);
                counts.push(second(now));
            }
            let distinct: std::collections::BTreeSet<_> =
                times.iter().map(|t| t / 60).filter(|m| now / 60 - m < i64::from(LONGEST)).collect();
            let end = now + after;
            for window in [60, DAY, LONGEST] {
                let recount = times
                    .iter()
                    .filter(|t| end / 60 - *t / 60 < i64::from(window))
                    .count() as u64;
                let counted = counts.within(window, second(end));
                prop_assert!(counted <= recount);
                if distinct.len() <= EXACT {
                    prop_assert_eq!(counted, recount);
                }
            }
            prop_assert!(counts.0.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let stored: Counts = codec::decode("counts", &codec::encode(&counts)).unwrap();
            prop_assert_eq!(stored, counts);
        }
    }
}
