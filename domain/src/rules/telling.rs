//! The tables of a rules document that say when who is told of what; see [`super::policy`] and
//! [`super::route`] for the largest two.

use std::fmt;

use schemas::{Level, Time};
use serde::Deserialize;

use super::{
    condition::{Conditions, Subject},
    section::id,
    zone::{Clock, Range, Zone},
};

/// A week, in minutes.
const A_WEEK: u32 = 7 * 24 * 60;

/// How many quiet ranges in a row are taken as one: a week of nights and days.
const MOST_RANGES: usize = 14;

/// At most one message of a problem in so long (R43).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Once {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    #[serde(deserialize_with = "minutes")]
    minutes: u32,
    /// A problem that fires again after its end is told at once all the same.
    pub regression_bypass: bool,
}

impl Once {
    /// How long, in seconds.
    pub fn seconds(&self) -> i64 {
        i64::from(self.minutes) * 60
    }

    /// Why a message is withheld by it: `once_per_60m`.
    pub fn reason(&self) -> String {
        format!("once_per_{}m", self.minutes)
    }
}

/// While a source fires, its targets are told to nobody.
///
/// As Alertmanager documents it: the values of `equal` must be the same in both (what neither has is the
/// same), and an alert that matches both sides is not inhibited by one that does as well.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inhibition {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub source: Conditions,
    pub target: Conditions,
    #[serde(default)]
    pub equal: Vec<String>,
}

impl Inhibition {
    /// The values that must be the same.
    pub fn values(&self, subject: &Subject<'_>) -> Vec<String> {
        self.equal.iter().map(|name| subject.value(name).into_owned()).collect()
    }
}

impl fmt::Display for Inhibition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, source, target, equal } = self;
        write!(f, "{id}: {source} inhibits {target} where [{}] are equal", equal.join(", "))
    }
}

/// The inhibitions of a section, each with a name of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Inhibition>")]
pub(super) struct Inhibitions(pub Vec<Inhibition>);

impl TryFrom<Vec<Inhibition>> for Inhibitions {
    type Error = String;

    fn try_from(list: Vec<Inhibition>) -> Result<Self, String> {
        for (i, rule) in list.iter().enumerate() {
            if list.iter().take(i).any(|before| before.id == rule.id) {
                return Err(format!("inhibition {:?} stands there twice", rule.id));
            }
            if rule.source.is_empty() || rule.target.is_empty() {
                return Err(format!("inhibition {:?}: a side without matchers is all", rule.id));
            }
        }
        Ok(Self(list))
    }
}

/// From when on new problems of a project are told in one message (R44).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// So many messages about problems of one project within 60 seconds go out by themselves; from
    /// there on it is a storm, until a minute brings fewer.
    #[serde(deserialize_with = "at_least_one")]
    pub problems_per_minute: u32,
    /// Seconds between two updates of the message about it.
    #[serde(deserialize_with = "at_least_one")]
    summary_seconds: u32,
}

impl Storm {
    /// Seconds between two updates of the message about it.
    pub fn interval_seconds(&self) -> i64 {
        i64::from(self.summary_seconds)
    }
}

/// When only the worst may wake people.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    zone: Zone,
    ranges: Vec<Range>,
    /// Levels that are told all the same.
    wakes: Vec<Level>,
}

impl QuietHours {
    /// Until when it is quiet for a level; none: it is not. What has no level may wake: nobody knows
    /// how bad it is.
    pub fn until(&self, now: Time, level: Option<Level>) -> Option<Time> {
        if level.is_none_or(|level| self.wakes.contains(&level)) {
            return None;
        }
        self.over(now)
    }

    /// When it is over, with ranges that follow each other as one; none: it is not quiet.
    pub fn over(&self, now: Time) -> Option<Time> {
        let mut until = None;
        // Ranges that cover the whole week have no end: it is looked again when this is over.
        for _ in 0..MOST_RANGES {
            let from = until.unwrap_or(now);
            let ends = self.ranges.iter().filter_map(|range| range.until(from, &self.zone));
            match ends.max() {
                Some(end) => until = Some(end),
                None => break,
            }
        }
        until
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<String> = self.ranges.iter().map(Range::to_string).collect();
        let wakes: Vec<&str> = self.wakes.iter().map(|level| level.word()).collect();
        write!(f, "[{}] {}, woken by [{}]", ranges.join("; "), self.zone, wakes.join(", "))
    }
}

/// The step that is taken when nobody acknowledges.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reminder {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// From the message to the first reminder, and from one to the next.
    #[serde(deserialize_with = "minutes")]
    minutes: u32,
    /// How often; 0 is never.
    pub times: u32,
    /// Who is reminded besides those who were told.
    #[serde(default)]
    pub receivers: Vec<String>,
    /// Levels that are reminded of; what has none is.
    levels: Vec<Level>,
}

impl Reminder {
    /// Seconds until the next reminder, of an incident of that level that was reminded of so often;
    /// none: there is none to come.
    pub fn next(&self, level: Option<Level>, reminded: u32) -> Option<i64> {
        let of_level = level.is_none_or(|level| self.levels.contains(&level));
        (of_level && reminded < self.times).then(|| i64::from(self.minutes) * 60)
    }
}

impl fmt::Display for Reminder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { minutes, times, receivers, levels, .. } = self;
        let levels: Vec<&str> = levels.iter().map(|level| level.word()).collect();
        let (levels, receivers) = (levels.join(", "), receivers.join(", "));
        write!(f, "{times} times, every {minutes} min, of [{levels}], also to [{receivers}]")
    }
}

/// When summaries are told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestTimes {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    zone: Zone,
    /// Minutes past each hour.
    #[serde(deserialize_with = "minute")]
    hourly: i8,
    daily: Clock,
}

impl DigestTimes {
    /// When the summary of the hour that `now` is in is told.
    pub fn next_hourly(&self, now: Time) -> Time {
        self.zone.next_hour(now, self.hourly)
    }

    /// When the summary of the day that `now` is in is told.
    pub fn next_daily(&self, now: Time) -> Time {
        self.zone.next_day(now, self.daily)
    }
}

impl fmt::Display for DigestTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} past the hour, {} each day, {}", self.hourly, self.daily, self.zone)
    }
}

/// How much a project may tell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// So many messages about single problems in an hour; what comes then is told in the summary of
    /// the hour.
    #[serde(deserialize_with = "at_least_one")]
    pub messages_per_hour: u32,
}

fn minutes<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let minutes = u32::deserialize(from)?;
    if (1..=A_WEEK).contains(&minutes) {
        return Ok(minutes);
    }
    let problem = format!("minutes is {minutes}: use 1 to {A_WEEK} (a week)");
    Err(serde::de::Error::custom(problem))
}

fn minute<'de, D: serde::Deserializer<'de>>(from: D) -> Result<i8, D::Error> {
    let minute = u32::deserialize(from)?;
    i8::try_from(minute).ok().filter(|minute| *minute < 60).ok_or_else(|| {
        serde::de::Error::custom(format!("hourly is {minute}: use 0 to 59 minutes past the hour"))
    })
}

fn at_least_one<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        0 => Err(serde::de::Error::custom("use at least 1")),
        number => Ok(number),
    }
}
