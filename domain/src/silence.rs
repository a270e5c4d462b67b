//! What makes a silence of operators: checked before its record is appended, alike wherever it comes
//! from.

use schemas::{ProjectId, Time, id::hash, record::Silence};

use crate::matcher::{self, Matchers};

/// Longest time a silence may hold, in days: one that nobody comes back to is a rule.
pub const LONGEST_DAYS: i64 = 90;

/// With fewer problems than these no share of them is much: whoever has two may silence one.
const FEW_PROBLEMS: usize = 5;

/// Longest reason, in characters.
const MOST_REASON: usize = 1000;
/// Longest name of an owner, in characters.
const MOST_OWNER: usize = 128;

/// How much of what fires a silence would be about: problems, not alerts, for one that fires all the
/// time is the very one to be silenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breadth {
    /// The matchers choose nothing by themselves.
    pub of_anything: bool,
    /// Problems that fired lately, and those of them that match.
    pub problems: usize,
    pub matching: usize,
}

impl Breadth {
    /// Whether it is about so much that whoever means it has to say so.
    pub fn is_wide(self) -> bool {
        self.of_anything || (self.problems >= FEW_PROBLEMS && 2 * self.matching > self.problems)
    }
}

/// The id of a silence that is asked for without a name: whoever says the same again, because nobody
/// answered for one, means the same silence.
pub fn id(project: &ProjectId, operator: &str, silence: &Silence) -> String {
    let Silence { matchers, starts_at, ends_at, owner, reason } = silence;
    let matchers = Matchers::new(matchers.iter().cloned()).unwrap_or_default().to_string();
    let starts_at = starts_at.map(|time| time.to_string()).unwrap_or_default();
    let ends_at = ends_at.to_string();
    let parts: [&str; 8] =
        ["silence", project.as_str(), operator, &matchers, &starts_at, &ends_at, owner, reason];
    hash(&parts.map(str::as_bytes)).to_string()
}

/// The id of the silence that an operator asks for under a key of their own.
pub fn id_of_key(project: &ProjectId, operator: &str, key: &str) -> String {
    let parts = ["silence by key", project.as_str(), operator, key];
    hash(&parts.map(str::as_bytes)).to_string()
}

/// A silence as somebody asks for it.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// In Alertmanager's syntax.
    pub matchers: &'a str,
    /// Absent: at once.
    pub starts_at: Option<Time>,
    pub ends_at: Time,
    pub owner: &'a str,
    pub reason: &'a str,
}

/// Why a silence is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("matchers: {0}")]
    Matchers(#[from] matcher::Error),
    /// Every alert without the labels they name would match.
    #[error(
        "matchers: none of them asks for something to be there, so nearly everything matches; name what is meant"
    )]
    EverythingMatches,
    #[error("ends_at: {ends_at} is not after {after}, when it begins")]
    Over { ends_at: Time, after: Time },
    #[error(
        "ends_at: it would hold longer than {LONGEST_DAYS} days; end it earlier, or change the rules"
    )]
    TooLong,
    #[error("{0}: say it; a silence without it is nobody's")]
    Missing(&'static str),
    #[error("{0}: it is too long")]
    LongText(&'static str),
}

/// The silence, as it is recorded at `now`.
///
/// # Errors
/// What is wrong with it.
pub fn silence(asked: &Asked<'_>, now: Time) -> Result<(Silence, Matchers), Error> {
    let Asked { matchers, starts_at, ends_at, owner, reason } = *asked;
    let matchers = Matchers::parse(matchers)?;
    if !matchers.ask_for_something() {
        return Err(Error::EverythingMatches);
    }
    let begins = starts_at.unwrap_or(now).max(now);
    if ends_at <= begins {
        return Err(Error::Over { ends_at, after: begins });
    }
    if ends_at > begins.plus_seconds(LONGEST_DAYS * 24 * 3600) {
        return Err(Error::TooLong);
    }
    let said = |name, text: &str, most| match text.trim() {
        "" => Err(Error::Missing(name)),
        text if text.chars().nth(most).is_some() => Err(Error::LongText(name)),
        text => Ok(text.to_owned()),
    };
    let silence = Silence {
        matchers: matchers.list().cloned().collect(),
        starts_at: starts_at.filter(|starts_at| *starts_at > now),
        ends_at,
        owner: said("owner", owner, MOST_OWNER)?,
        reason: said("reason", reason, MOST_REASON)?,
    };
    Ok((silence, matchers))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn at(hour: i64) -> Time {
        Time::default().plus_seconds(hour * HOUR)
    }

    fn asked(matchers: &'static str, starts_at: Option<i64>, ends_at: i64) -> Asked<'static> {
        let starts_at = starts_at.map(at);
        Asked { matchers, starts_at, ends_at: at(ends_at), owner: "sre", reason: "disks change" }
    }

    #[test]
    fn b6_what_is_said_twice_is_one_silence() {
        let shop = ProjectId::new("shop").unwrap();
        let of = |asked: &Asked<'_>| silence(asked, at(1)).unwrap().0;
        let one = of(&asked("job=node", None, 2));
        let own = id(&shop, "ada", &one);
        assert_eq!(own, id(&shop, "ada", &of(&asked("{ job = \"node\" }", Some(0), 2))));
        let others = [
            id(&ProjectId::new("infra").unwrap(), "ada", &one),
            id(&shop, "bob", &one),
            id(&shop, "ada", &of(&asked("job=node", None, 3))),
            id(&shop, "ada", &of(&asked("job=node", Some(2), 3))),
            id(&shop, "ada", &of(&asked("job=other", None, 2))),
            id(&shop, "ada", &of(&Asked { reason: "x", ..asked("job=node", None, 2) })),
            id_of_key(&shop, "ada", "k1"),
            id_of_key(&shop, "ada", "k2"),
            id_of_key(&shop, "bob", "k1"),
        ];
        let distinct: std::collections::BTreeSet<_> = others.iter().chain([&own]).collect();
        assert_eq!(distinct.len(), others.len() + 1);
    }

    #[test]
    fn b6_a_silence_is_wide_by_what_it_asks_for_or_by_what_it_finds() {
        let shop = ProjectId::new("shop").unwrap();
        for (matchers, of_anything) in [
            ("project=shop", true),
            ("project=~\".+\"", true),
            ("provider=~\".+\"", true),
            ("title=~\".*\",level!=fatal", true),
            ("environment=~\".+\",team!=sre", true),
            ("project=infra", false),
            ("project=shop,alertname=DiskFull", false),
            ("provider=~\"sentry|grafana\"", false),
            ("team=~\".+\"", false),
        ] {
            let matchers = Matchers::parse(matchers).unwrap();
            assert_eq!(matchers.choose_nothing(&shop), of_anything, "{matchers}");
        }
        let wide =
            |of_anything, problems, matching| Breadth { of_anything, problems, matching }.is_wide();
        assert!(wide(true, 0, 0));
        assert!(!wide(false, 4, 4), "one of one is not much");
        assert!(!wide(false, 6, 3));
        assert!(wide(false, 6, 4) && wide(false, 5, 3) && wide(false, 2000, 2000));
    }

    #[test]
    fn b6_a_silence_says_what_until_when_whose_and_why() {
        let (made, matchers) = silence(&asked("job=node", None, 2), at(1)).unwrap();
        assert_eq!(made.matchers, Vec::from_iter(matchers.list().cloned()));
        assert_eq!((made.starts_at, made.ends_at), (None, at(2)));
        let later = silence(&asked("job=node", Some(3), 4), at(1)).unwrap().0;
        assert_eq!(later.starts_at, Some(at(3)));
        // One that has begun already begins now.
        assert_eq!(silence(&asked("job=node", Some(0), 4), at(1)).unwrap().0.starts_at, None);
        let refused = |asked: &Asked<'_>| silence(asked, at(1)).unwrap_err();
        assert_eq!(refused(&asked("", None, 2)), Error::EverythingMatches);
        assert_eq!(refused(&asked("job!=node", None, 2)), Error::EverythingMatches);
        assert!(matches!(refused(&asked("job", None, 2)), Error::Matchers(_)));
        assert_eq!(refused(&asked("a=b", None, 1)), Error::Over { ends_at: at(1), after: at(1) });
        assert_eq!(
            refused(&asked("a=b", Some(3), 3)),
            Error::Over { ends_at: at(3), after: at(3) }
        );
        assert!(silence(&asked("a=b", None, 1 + 90 * 24), at(1)).is_ok());
        assert_eq!(refused(&asked("a=b", None, 2 + 90 * 24)), Error::TooLong);
        assert_eq!(
            refused(&Asked { owner: " ", ..asked("a=b", None, 2) }),
            Error::Missing("owner")
        );
        let long = "x".repeat(1001);
        let told = refused(&Asked { reason: &long, ..asked("a=b", None, 2) });
        assert_eq!(told, Error::LongText("reason"));
    }
}
