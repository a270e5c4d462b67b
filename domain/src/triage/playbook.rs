//! The analyst that needs no model: written runbook knowledge, matched to the alert.
//!
//! It says what an alert of this kind usually means and what to look at first. It does not look at
//! anything, so its confidence is modest and it never answers for an alert it does not know.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};
use schemas::{Facts, job::Analysis};
use serde::Deserialize;

/// What `analyzed_by` says.
pub const NAME: &str = "playbook";

#[expect(clippy::expect_used, reason = "shipped with the binary; a test reads it")]
static BUILTIN: LazyLock<Playbook> = LazyLock::new(|| {
    Playbook::parse(include_str!("playbook.toml")).expect("the built-in playbook")
});

/// Why a playbook cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlaybookError {
    #[error("read the playbook: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("entry {entry} of the playbook: {reason}")]
    Entry { entry: String, reason: String },
}

/// Entries in order; the first that matches answers.
#[derive(Clone, Debug)]
pub struct Playbook {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    matchers: Vec<Matcher>,
    analysis: Analysis,
}

/// All of what is stated must hold.
#[derive(Clone, Debug)]
struct Matcher {
    provider: Option<String>,
    alertname: Option<Regex>,
    exception: Option<Regex>,
    text: Option<Regex>,
    labels: Vec<(String, Regex)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    entry: Vec<EntryText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    id: String,
    /// Any of them.
    when: Vec<MatcherText>,
    cause: String,
    impact: String,
    /// What to look at first, in order.
    checks: Vec<String>,
    fix: String,
    prevention: String,
    confidence: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatcherText {
    provider: Option<String>,
    /// Name of the alert rule.
    alertname: Option<String>,
    /// The beginning of the title or of the alert's name up to a colon: an exception's type.
    exception: Option<String>,
    /// Title, message, summary or description.
    text: Option<String>,
    #[serde(default)]
    labels: toml::Table,
}

impl Playbook {
    /// The playbook that ships with this binary.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads a playbook document (TOML); patterns ignore case.
    pub fn parse(text: &str) -> Result<Self, PlaybookError> {
        let document: Document = toml::from_str(text)?;
        let entries = document.entry.into_iter().map(EntryText::read).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// What the playbook says of an alert; nothing when no entry matches.
    pub fn analyse(&self, facts: &Facts) -> Option<Analysis> {
        self.entries
            .iter()
            .find(|entry| entry.matchers.iter().any(|matcher| matcher.matches(facts)))
            .map(|entry| entry.analysis.clone())
    }
}

impl EntryText {
    fn read(self) -> Result<Entry, PlaybookError> {
        let wrong = |reason: String| PlaybookError::Entry { entry: self.id.clone(), reason };
        if !(0.0..=1.0).contains(&self.confidence) {
            return Err(wrong(format!("confidence {} is not within 0 and 1", self.confidence)));
        }
        let matchers =
            self.when.iter().map(MatcherText::read).collect::<Result<_, _>>().map_err(wrong)?;
        let checks = self.checks.join("；");
        Ok(Entry {
            matchers,
            analysis: Analysis {
                root_cause: self.cause,
                impact: self.impact,
                fix_suggestion: format!("{}\n先查：{checks}", self.fix),
                prevention: self.prevention,
                confidence: self.confidence,
                analyzed_by: NAME.to_owned(),
                model: None,
                ..Analysis::default()
            },
        })
    }
}

impl MatcherText {
    fn read(&self) -> Result<Matcher, String> {
        fn pattern(text: &str) -> Result<Regex, String> {
            RegexBuilder::new(text).case_insensitive(true).build().map_err(|e| e.to_string())
        }
        let optional = |text: &Option<String>| text.as_deref().map(pattern).transpose();
        let mut labels = Vec::new();
        for (name, value) in &self.labels {
            let value =
                value.as_str().ok_or_else(|| format!("the pattern of label {name} is no text"))?;
            labels.push((name.clone(), pattern(value)?));
        }
        let matcher = Matcher {
            provider: self.provider.clone(),
            alertname: optional(&self.alertname)?,
            exception: optional(&self.exception)?,
            text: optional(&self.text)?,
            labels,
        };
        let states_something = matcher.alertname.is_some()
            || matcher.exception.is_some()
            || matcher.text.is_some()
            || !matcher.labels.is_empty();
        if states_something { Ok(matcher) } else { Err("a matcher states nothing".to_owned()) }
    }
}

impl Matcher {
    fn matches(&self, facts: &Facts) -> bool {
        let name = facts.alertname.as_deref();
        self.provider.as_ref().is_none_or(|p| *p == facts.provider)
            && self.alertname.as_ref().is_none_or(|r| name.is_some_and(|n| r.is_match(n)))
            && self.exception.as_ref().is_none_or(|r| {
                [Some(facts.title.as_str()), name].into_iter().flatten().any(|text| {
                    let kind = text.split(':').next().unwrap_or_default().trim();
                    r.is_match(kind)
                })
            })
            && self.text.as_ref().is_none_or(|r| {
                [
                    Some(facts.title.as_str()),
                    facts.message.as_deref(),
                    facts.annotation("summary"),
                    facts.annotation("description"),
                ]
                .into_iter()
                .flatten()
                .any(|text| r.is_match(text))
            })
            && self
                .labels
                .iter()
                .all(|(label, r)| facts.label(label).is_some_and(|v| r.is_match(v)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::tests::facts;

    fn check(alertname: Option<&str>, title: &str, want: Option<&str>) {
        let facts = Facts { alertname: alertname.map(str::to_owned), ..facts(title) };
        let got = Playbook::builtin().analyse(&facts).map(|a| a.root_cause);
        match (got, want) {
            (None, None) => {}
            (Some(got), Some(want)) => assert!(got.contains(want), "{title}: {got}"),
            (got, want) => panic!("{alertname:?} {title}: {got:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn known_alerts_are_answered() {
        for (alertname, title, want) in [
            (Some("KubePodCrashLooping"), "Pod is crash looping", "反覆"),
            (Some("ContainerOOMKilled"), "x", "記憶體上限"),
            (None, "java.lang.OutOfMemoryError: Java heap space", "堆積"),
            (Some("KubeNodeNotReady"), "x", "節點"),
            (Some("NodeFilesystemAlmostOutOfSpace"), "x", "磁碟"),
            (None, "OSError: [Errno 28] No space left on device", "磁碟"),
            (Some("High CPU Temperature"), "x", "溫度"),
            (Some("HighCPUUsage"), "x", "CPU"),
            (Some("HostHighMemory"), "x", "記憶體"),
            (Some("InstanceDown"), "Instance localhost:8081 down", "抓取"),
            (Some("TargetDown"), "x", "抓取"),
            (Some("HighErrorRate"), "5xx above 5%", "5xx"),
            (Some("HighRequestLatency"), "x", "延遲"),
            (None, "OperationalError: FATAL: sorry, too many clients already", "連線數"),
            (Some("PostgresqlTooManyConnections"), "x", "連線數"),
            (None, "DeadlockDetected: deadlock detected", "死結"),
            (Some("PostgresReplicationLag"), "x", "複寫"),
            (
                None,
                "ConnectionError: Error 111 connecting to redis:6379. Connection refused.",
                "Redis",
            ),
            (Some("RedisMemoryHigh"), "x", "Redis"),
            (Some("SSLCertExpiringSoon"), "x", "憑證"),
            (None, "KeyError: 'user'", "鍵"),
            (None, "AttributeError: 'NoneType' object has no attribute 'id'", "空值"),
            (None, "TypeError: Cannot read properties of undefined (reading 'x')", "空值"),
            (None, "java.lang.NullPointerException", "空值"),
            (None, "TypeError: you aren't my type", "型別"),
            (None, "ReferenceError: blooopy is not defined", "未定義"),
            (None, "TimeoutError: timed out", "逾時"),
            (None, "ConnectionRefusedError: [Errno 111] Connection refused", "拒絕"),
        ] {
            check(alertname, title, Some(want));
        }
    }

    #[test]
    fn unknown_alerts_are_not_answered() {
        for (alertname, title) in [
            (None, "ValueError in calculate_score"),
            (Some("Watchdog"), "Sacred Marmot"),
            (None, ""),
        ] {
            check(alertname, title, None);
        }
    }

    #[test]
    fn an_answer_says_that_it_is_the_playbook() {
        let got = Playbook::builtin().analyse(&facts("KeyError: 'user'")).unwrap();
        assert_eq!(got.analyzed_by, "playbook");
        assert_eq!(got.model, None);
        assert!(got.confidence <= 0.6);
        let golden = include_str!("../../fixtures/triage/playbook-keyerror.txt");
        let text = format!(
            "{}\n{}\n{}\n{}\n",
            got.root_cause, got.impact, got.fix_suggestion, got.prevention
        );
        assert_eq!(text, golden);
    }

    #[test]
    fn bad_documents_are_refused_by_name() {
        for (text, want) in [
            ("entry = 1", "invalid type"),
            (
                "[[entry]]\nid='a'\nwhen=[{}]\ncause=''\nimpact=''\nchecks=[]\nfix=''\nprevention=''\nconfidence=0.1",
                "entry a",
            ),
            (
                "[[entry]]\nid='b'\nwhen=[{alertname='('}]\ncause=''\nimpact=''\nchecks=[]\nfix=''\nprevention=''\nconfidence=0.1",
                "entry b",
            ),
            (
                "[[entry]]\nid='c'\nwhen=[{alertname='x'}]\ncause=''\nimpact=''\nchecks=[]\nfix=''\nprevention=''\nconfidence=2",
                "entry c",
            ),
        ] {
            let e = Playbook::parse(text).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        }
    }
}
