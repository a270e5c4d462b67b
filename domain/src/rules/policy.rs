//! How soon it is told: by environment and level (R41, R42).

use std::{collections::BTreeSet, fmt};

use schemas::Level;
use serde::Deserialize;

use super::{
    condition::{Conditions, Subject},
    section::id,
};

/// How soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    Now,
    /// In the summary of the hour.
    Hourly,
    /// In the summary of the day.
    Daily,
    /// It is only recorded.
    Never,
}

impl When {
    /// The word in documents and decisions.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Never => "never",
        }
    }
}

/// What kind of environment an alert is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Whatever is not known to be another.
    Production,
    Testing,
    Development,
}

impl Class {
    /// The word in documents and decisions.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Testing => "testing",
            Self::Development => "development",
        }
    }
}

/// How soon, by level; `unknown` is an alert without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByLevel {
    pub fatal: When,
    pub error: When,
    pub warning: When,
    pub info: When,
    pub performance: When,
    pub unknown: When,
}

impl ByLevel {
    fn of(&self, tier: Tier) -> When {
        match tier {
            Tier::Performance => self.performance,
            Tier::Level(Some(Level::Fatal)) => self.fatal,
            Tier::Level(Some(Level::Error)) => self.error,
            Tier::Level(Some(Level::Warning)) => self.warning,
            Tier::Level(Some(Level::Info)) => self.info,
            Tier::Level(None) => self.unknown,
        }
    }
}

impl fmt::Display for ByLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fatal, error, warning, info, performance, unknown } = self;
        let list = [
            ("fatal", fatal),
            ("error", error),
            ("warning", warning),
            ("info", info),
            ("performance", performance),
            ("unknown", unknown),
        ];
        let list = list.map(|(level, when)| format!("{level} {}", when.word()));
        f.write_str(&list.join(", "))
    }
}

/// Column of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Performance,
    Level(Option<Level>),
}

impl Tier {
    const fn word(self) -> &'static str {
        match self {
            Self::Performance => "performance",
            Self::Level(Some(level)) => level.word(),
            Self::Level(None) => "unknown",
        }
    }
}

/// What stands in an alert's way to people, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Its problem is new.
    New,
    /// Its problem was over, or ignored, and fires again.
    Reappeared,
    /// Its problem fires on.
    Repeat,
}

/// What the policy says of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soon {
    pub when: When,
    pub class: Class,
    /// `<id>.<class>.<level>`: which cell said so.
    pub rule: String,
}

/// How soon who is told, by environment and level.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What decisions call the rule.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Names of environments, in lower case; what is in neither list is production.
    pub testing_environments: BTreeSet<String>,
    pub development_environments: BTreeSet<String>,
    /// An alert is one of performance when one of these lists matches.
    pub performance: Vec<Conditions>,
    /// How soon at the latest, for a problem that fires again after its end.
    pub reappearing: When,
    pub production: ByLevel,
    pub testing: ByLevel,
    pub development: ByLevel,
    /// What fires on, where its first is told at all. Now: a message once the hour is over, until
    /// then in the summary of the hour.
    pub repeats: ByLevel,
}

impl Policy {
    /// The kind of environment an alert is of.
    pub fn class(&self, environment: Option<&str>) -> Class {
        let environment = environment.unwrap_or_default().trim().to_lowercase();
        if self.development_environments.contains(&environment) {
            Class::Development
        } else if self.testing_environments.contains(&environment) {
            Class::Testing
        } else {
            Class::Production
        }
    }

    /// How soon an alert is told.
    pub fn soon(&self, subject: &Subject<'_>, occasion: Occasion) -> Soon {
        let facts = subject.facts;
        let class = self.class(facts.environment.as_deref());
        let performance = self.performance.iter().any(|matchers| matchers.hold(subject));
        let tier = if performance { Tier::Performance } else { Tier::Level(facts.level) };
        let first = match class {
            Class::Production => &self.production,
            Class::Testing => &self.testing,
            Class::Development => &self.development,
        }
        .of(tier);
        let (when, row) = match (first, occasion) {
            (When::Never, _) => (When::Never, class.word()),
            (first, Occasion::New) => (first, class.word()),
            (first, Occasion::Reappeared) if self.reappearing < first => {
                (self.reappearing, "reappearing")
            }
            (first, Occasion::Reappeared) => (first, class.word()),
            (_, Occasion::Repeat) => (self.repeats.of(tier), "repeats"),
        };
        let rule = match occasion {
            Occasion::New | Occasion::Reappeared => format!("{}.{row}.{}", self.id, tier.word()),
            Occasion::Repeat => {
                format!("{}.{}.{row}.{}", self.id, class.word(), tier.word())
            }
        };
        Soon { when, class, rule }
    }
}
