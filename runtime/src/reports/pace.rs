//! How often is reported: errors come in storms.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Each place in the code once in this time, ...
const EVERY: Duration = Duration::from_secs(60);
/// ... and all together this often in it.
pub(super) const MOST: u32 = 30;
/// Places that are remembered. There are fewer that log errors.
const PLACES: usize = 512;

/// Whether a report is made now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is, after so many of the same place that were not.
    Now { left_out: u32 },
    /// The same place has just reported.
    Repeated,
    /// All together have reported too often.
    TooMany,
}

/// What was reported lately.
#[derive(Default)]
pub(super) struct Pace(Mutex<Lately>);

#[derive(Default)]
struct Lately {
    /// When each place last reported, and how often it did not since.
    places: HashMap<String, (Instant, u32)>,
    /// Since when, and how often all did.
    all: Option<(Instant, u32)>,
}

impl Pace {
    /// Whether what happened at `place` is reported.
    pub fn turn(&self, place: &str, now: Instant) -> Turn {
        // Every change is made whole before anything can panic.
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |since: Instant| now.saturating_duration_since(since) < EVERY;
        if let Some((since, left_out)) = lately.places.get_mut(place)
            && recent(*since)
        {
            *left_out = left_out.saturating_add(1);
            return Turn::Repeated;
        }
        let (since, reported) = lately.all.filter(|(since, _)| recent(*since)).unwrap_or((now, 0));
        if reported >= MOST {
            return Turn::TooMany;
        }
        lately.all = Some((since, reported + 1));
        if lately.places.len() >= PLACES {
            lately.places.retain(|_, (since, _)| recent(*since));
        }
        let before = lately.places.insert(place.to_owned(), (now, 0));
        Turn::Now { left_out: before.map_or(0, |(_, left_out)| left_out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r63_a_place_reports_once_a_minute_and_says_what_was_left_out() {
        let (pace, start) = (Pace::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.turn("a", at(0)), Turn::Now { left_out: 0 });
        for second in 0..59 {
            assert_eq!(pace.turn("a", at(second)), Turn::Repeated);
        }
        assert_eq!(pace.turn("b", at(59)), Turn::Now { left_out: 0 });
        assert_eq!(pace.turn("a", at(60)), Turn::Now { left_out: 59 });
        assert_eq!(pace.turn("a", at(120)), Turn::Now { left_out: 0 });
    }

    #[test]
    fn r63_all_together_report_a_bounded_number() {
        let (pace, start) = (Pace::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let turns = |from: u32, second: u64| {
            let turns = (from..from + 1000).map(|n| pace.turn(&format!("place {n}"), at(second)));
            turns.filter(|turn| matches!(turn, Turn::Now { .. })).count()
        };
        assert_eq!(turns(0, 0), MOST as usize);
        assert_eq!(turns(1000, 59), 0);
        assert_eq!(turns(2000, 60), MOST as usize);
        assert!(pace.0.lock().unwrap().places.len() <= PLACES + 1);
    }
}
