//! The tables of a rules document, each with the name its decisions carry.

use std::collections::BTreeMap;

use schemas::{Level, SourceId};
use serde::Deserialize;

use super::{
    FingerprintRule,
    playbook::Entries,
    policy::Policy,
    route::Routes,
    telling::{DigestTimes, Inhibitions, Limits, Once, QuietHours, Reminder, Storm},
};
use crate::{
    providers::FieldMap,
    triage::playbook::{Misplaced, Playbook},
};

/// The longest stale time a document may ask for, in minutes: within it, a real outage is told to
/// nobody.
const LONGEST_STALE: u32 = 24 * 60;

/// The longest silence after which a problem counts as over, and the longest window, in minutes.
const A_WEEK: u32 = 7 * 24 * 60;

/// How many status changes may be asked for: problems remember that many.
const MOST_CHANGES: u32 = 50;

/// One section as written: what it does not say is another's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    pub stale: Option<Stale>,
    pub escalation: Option<Escalation>,
    pub expiry: Option<Expiry>,
    pub flapping: Option<Flapping>,
    pub severity: Option<Severity>,
    /// By provider.
    #[serde(default)]
    pub fingerprint: BTreeMap<String, FingerprintRule>,
    /// By source.
    #[serde(default)]
    pub fields: BTreeMap<SourceId, FieldMap>,
    pub policy: Option<Policy>,
    pub once: Option<Once>,
    pub inhibit: Option<Inhibitions>,
    pub storm: Option<Storm>,
    pub quiet_hours: Option<QuietHours>,
    pub reminder: Option<Reminder>,
    pub digest: Option<DigestTimes>,
    pub limits: Option<Limits>,
    pub playbook: Option<Entries>,
    pub routes: Option<Routes>,
}

/// What holds for a project: everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub stale: Stale,
    pub escalation: Escalation,
    pub expiry: Expiry,
    pub flapping: Flapping,
    pub severity: Severity,
    /// By provider; only rules that say something.
    pub fingerprint: BTreeMap<String, FingerprintRule>,
    /// By source; only mappings that say something.
    pub fields: BTreeMap<SourceId, FieldMap>,
    pub policy: Policy,
    pub once: Once,
    pub inhibit: Inhibitions,
    pub storm: Storm,
    pub quiet_hours: QuietHours,
    pub reminder: Reminder,
    pub digest: DigestTimes,
    pub limits: Limits,
    pub playbook: Playbook,
    pub routes: Routes,
}

impl Settled {
    /// A section that leaves nothing open; none if it does.
    pub fn whole(section: Section) -> Option<Self> {
        Some(Self {
            stale: section.stale?,
            escalation: section.escalation?,
            expiry: section.expiry?,
            flapping: section.flapping?,
            severity: section.severity?,
            fingerprint: section.fingerprint,
            fields: section.fields,
            policy: section.policy?,
            once: section.once?,
            inhibit: section.inhibit.unwrap_or_default(),
            storm: section.storm?,
            quiet_hours: section.quiet_hours?,
            reminder: section.reminder?,
            digest: section.digest?,
            limits: section.limits?,
            playbook: Playbook::builtin().clone(),
            routes: section.routes?,
        })
    }

    /// This, with the tables that `section` has instead, and the playbook's entries over those here.
    ///
    /// # Errors
    /// An entry that is new and does not say all of itself.
    pub fn with(&self, section: Section) -> Result<Self, Misplaced> {
        let mut all = self.clone();
        all.fingerprint.extend(section.fingerprint);
        // One without a say is how a project leaves the defaults' rule of a provider.
        all.fingerprint.retain(|_, rule| !rule.is_empty());
        all.fields.extend(section.fields);
        all.fields.retain(|_, fields| *fields != FieldMap::default());
        put(&mut all.stale, section.stale);
        put(&mut all.escalation, section.escalation);
        put(&mut all.expiry, section.expiry);
        put(&mut all.flapping, section.flapping);
        put(&mut all.severity, section.severity);
        put(&mut all.policy, section.policy);
        put(&mut all.once, section.once);
        put(&mut all.inhibit, section.inhibit);
        put(&mut all.storm, section.storm);
        put(&mut all.quiet_hours, section.quiet_hours);
        put(&mut all.reminder, section.reminder);
        put(&mut all.digest, section.digest);
        put(&mut all.limits, section.limits);
        put(&mut all.routes, section.routes);
        if let Some(Entries(layer)) = section.playbook {
            all.playbook = all.playbook.with(layer)?;
        }
        Ok(all)
    }
}

fn put<T>(table: &mut T, written: Option<T>) {
    if let Some(written) = written {
        *table = written;
    }
}

/// How long a firing that its sender dates before the problem's last status change is stale.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stale {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Minutes of lane time after the status change.
    #[serde(deserialize_with = "stale_minutes")]
    minutes: u32,
}

impl Stale {
    /// Seconds of lane time after the status change.
    pub fn seconds(&self) -> i64 {
        i64::from(self.minutes) * 60
    }
}

/// How often a problem may recur before its incident is raised (R27, R28). Each number is the
/// first that counts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Occurrences within 24 hours that make REPEAT.
    #[serde(deserialize_with = "at_least_one")]
    pub repeat_24h: u32,
    /// Occurrences within one hour that make ESCALATE ...
    #[serde(deserialize_with = "at_least_one")]
    pub escalate_1h: u32,
    /// ... or within 24 hours.
    #[serde(deserialize_with = "at_least_one")]
    pub escalate_24h: u32,
    /// Episodes within 7 days, each resolved and fired again, that make PERMANENT_FIX.
    #[serde(deserialize_with = "at_least_one")]
    pub permanent_fix_episodes_7d: u32,
}

/// After which silence a firing problem counts as over, for senders that send no resolve (R70).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenExpiry")]
pub struct Expiry {
    /// What decisions call the rule.
    pub id: String,
    /// How long the silence is, in percent of the time between two repeats.
    pub factor_percent: u32,
    /// While no repeat was observed, in seconds.
    pub default_seconds: i64,
    /// Whatever was observed, in seconds.
    pub minimum_seconds: i64,
    /// Whatever was observed, in seconds.
    pub maximum_seconds: i64,
}

impl Expiry {
    /// Seconds of lane time without a repeat after which the problem is over; `observed` is the
    /// time between its last two repeats, in seconds.
    pub fn after(&self, observed_repeat_seconds: Option<i64>) -> i64 {
        let Some(observed) = observed_repeat_seconds else { return self.default_seconds };
        let seconds = observed.max(0).saturating_mul(i64::from(self.factor_percent)) / 100;
        seconds.clamp(self.minimum_seconds, self.maximum_seconds)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenExpiry {
    #[serde(deserialize_with = "id")]
    id: String,
    factor_percent: u32,
    default_minutes: u32,
    minimum_minutes: u32,
    maximum_minutes: u32,
}

impl TryFrom<WrittenExpiry> for Expiry {
    type Error = String;

    fn try_from(written: WrittenExpiry) -> Result<Self, String> {
        let WrittenExpiry { id, factor_percent, default_minutes, .. } = written;
        let WrittenExpiry { minimum_minutes, maximum_minutes, .. } = written;
        if !(100..=10_000).contains(&factor_percent) {
            return Err(format!(
                "factor_percent is {factor_percent}: use 100 (one repeat missed) to 10000"
            ));
        }
        if minimum_minutes == 0 {
            return Err("minimum_minutes is 0: a problem would be over at once".into());
        }
        if maximum_minutes > A_WEEK {
            return Err(format!("maximum_minutes is {maximum_minutes}: more than a week"));
        }
        if !(minimum_minutes..=maximum_minutes).contains(&default_minutes) {
            return Err("default_minutes is not between minimum_minutes and maximum_minutes".into());
        }
        let seconds = |minutes: u32| i64::from(minutes) * 60;
        Ok(Self {
            id,
            factor_percent,
            default_seconds: seconds(default_minutes),
            minimum_seconds: seconds(minimum_minutes),
            maximum_seconds: seconds(maximum_minutes),
        })
    }
}

/// From when on a problem that opens and resolves is flapping.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenFlapping")]
pub struct Flapping {
    /// What decisions call the rule.
    pub id: String,
    /// This many times opened or resolved, at most 50 ...
    pub changes: u32,
    /// ... within so many seconds of lane time.
    pub window_seconds: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFlapping {
    #[serde(deserialize_with = "id")]
    id: String,
    changes: u32,
    window_minutes: u32,
}

impl TryFrom<WrittenFlapping> for Flapping {
    type Error = String;

    fn try_from(written: WrittenFlapping) -> Result<Self, String> {
        let WrittenFlapping { id, changes, window_minutes } = written;
        if !(2..=MOST_CHANGES).contains(&changes) {
            return Err(format!("changes is {changes}: use 2 to {MOST_CHANGES}"));
        }
        if !(1..=A_WEEK).contains(&window_minutes) {
            return Err(format!("window_minutes is {window_minutes}: use 1 to {A_WEEK} (a week)"));
        }
        Ok(Self { id, changes, window_seconds: i64::from(window_minutes) * 60 })
    }
}

/// Words for severity besides those every sender uses (R67).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Severity {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Level by word, in lower case.
    #[serde(deserialize_with = "words")]
    words: BTreeMap<String, Level>,
}

impl Severity {
    /// The level a sender's word stands for; none: the rule does not say.
    pub fn level(&self, word: &str) -> Option<Level> {
        if self.words.is_empty() {
            return None;
        }
        self.words.get(&folded(word)).copied()
    }

    /// Every word with its level, in the order of the words.
    pub fn words(&self) -> impl Iterator<Item = (&str, Level)> {
        self.words.iter().map(|(word, level)| (word.as_str(), *level))
    }
}

/// A name decisions carry: one short word.
pub(super) fn id<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    id_of(String::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// A text that is a name decisions may carry.
///
/// # Errors
/// Says why it is none.
pub fn id_of(id: String) -> Result<String, &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match id.len() {
        0 => Err("the id is empty"),
        65.. => Err("the id is longer than 64 bytes"),
        1..=64 if !id.bytes().all(fits) => {
            Err("the id holds more than letters, digits, -, _ and .")
        }
        1..=64 => Ok(id),
    }
}

fn stale_minutes<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        minutes if minutes > LONGEST_STALE => {
            Err(serde::de::Error::custom("minutes is more than a day"))
        }
        minutes => Ok(minutes),
    }
}

fn at_least_one<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        0 => Err(serde::de::Error::custom("0 occurrences are always there: use at least 1")),
        number => Ok(number),
    }
}

fn words<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Level>, D::Error> {
    let written = BTreeMap::<String, Level>::deserialize(from)?;
    let mut words = BTreeMap::new();
    for (word, level) in written {
        let folded = folded(&word);
        if folded.is_empty() {
            return Err(serde::de::Error::custom("a word is empty"));
        }
        if words.insert(folded, level).is_some() {
            return Err(serde::de::Error::custom(format!("the word {word:?} stands there twice")));
        }
    }
    Ok(words)
}

/// A sender's word as it is looked up.
fn folded(word: &str) -> String {
    word.trim().to_ascii_lowercase()
}
